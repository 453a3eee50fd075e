//! What belongs to a database itself and not to what is in it (spec section 7.2, `properties`).

use serde::{Deserialize, Serialize};

/// Owner, comment, privileges, settings: what `pg_dump` writes with `--create` only.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
pub struct Properties {
    /// The role that owns it.
    pub owner: String,
    /// Its tablespace, where that is not `pg_default`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tablespace: Option<String>,
    /// Its comment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// How many connections it takes; absent where nobody set a limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection_limit: Option<u64>,
    /// Whether anybody may copy it (`IS_TEMPLATE`).
    pub template: bool,
    /// Who may do what; absent where nobody ever changed that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub privileges: Option<Vec<Privilege>>,
    /// Security labels, sorted by provider.
    pub labels: Vec<Label>,
    /// Settings of the database and of roles in it; of the database first, each role's in their
    /// order.
    pub settings: Vec<Setting>,
}

/// One privilege on the database.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Privilege {
    /// Who has it; absent for PUBLIC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grantee: Option<String>,
    /// Who gave it.
    pub grantor: String,
    /// `CREATE`, `CONNECT` or `TEMPORARY`.
    pub privilege: String,
    /// Whether it may be given on.
    pub grantable: bool,
}

/// A security label.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Label {
    /// Whose it is.
    pub provider: String,
    /// What it says.
    pub label: String,
}

/// `ALTER DATABASE ... SET`, or `ALTER ROLE ... IN DATABASE ... SET`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Setting {
    /// The role it is for; absent where it is for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// What is set.
    pub name: String,
    /// To what, as the server stores it.
    pub value: String,
}
