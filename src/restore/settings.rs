//! What belongs to a database and not to its contents: owner, comment, security labels, connection
//! limit, privileges, settings. A new database gets what the archive says; one that takes the place
//! of another what that one had; one that is there keeps its own, unless asked otherwise.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::{Choices, How, Place, RestoreFinding};
use crate::format::manifest::Manifest;
use crate::format::properties::{Privilege, Properties, Setting};
use crate::pg::{self, PgError, Session, ident, literal};

/// These hold lists of names, quoted as in SQL; all others are one value.
const LISTS: [&str; 6] = [
    "local_preload_libraries",
    "search_path",
    "session_preload_libraries",
    "shared_preload_libraries",
    "temp_tablespaces",
    "unix_socket_directories",
];

/// The privileges that a database has (manual of the server, GRANT).
const PRIVILEGES: [&str; 3] = ["CREATE", "CONNECT", "TEMPORARY"];

/// A database as it is.
#[derive(Clone, Debug)]
pub(super) struct Old {
    pub(super) properties: Properties,
    pub(super) bytes: Option<i64>,
    connections: bool,
}

impl Old {
    /// Reads it.
    pub(super) async fn read(session: &Session, name: &str) -> Result<Self, PgError> {
        let properties = pg::read_properties(session, name).await?;
        let doing = format!("reading what belongs to database {name}");
        let wrong = |error| PgError::server(doing.clone(), error);
        let sql = "SELECT d.datallowconn, \
                   CASE WHEN pg_catalog.has_database_privilege(d.oid, 'CONNECT') \
                        THEN pg_catalog.pg_database_size(d.oid) END \
                   FROM pg_catalog.pg_database d WHERE d.datname = $1";
        let rows = session.rows(&doing, sql, &[&name]).await?;
        let row = rows.first().ok_or_else(|| PgError::protocol(&*doing, "it is not there"))?;
        Ok(Self {
            properties,
            connections: row.try_get(0).map_err(wrong)?,
            bytes: row.try_get(1).map_err(wrong)?,
        })
    }

    /// The statements that give all of it to another database, or, of another's properties, only
    /// its owner.
    pub(super) fn statements(&self, new: &str, given: Option<&Given>) -> String {
        let name = ident(new);
        let owner = ident(&self.properties.owner);
        let mut sql = format!(
            "ALTER DATABASE {name} OWNER TO {owner}; COMMENT ON DATABASE {name} IS NULL; \
             ALTER DATABASE {name} WITH ALLOW_CONNECTIONS {};",
            self.connections
        );
        let own;
        let given = if let Some(given) = given {
            given
        } else {
            own = Given {
                properties: self.properties.clone(),
                owner: self.properties.owner.clone(),
                new: true,
                choices: Choices::default(),
            };
            &own
        };
        for statement in given.statements(new) {
            sql.push_str(&statement.sql);
            sql.push(';');
        }
        sql
    }
}

/// The properties that an archive's database had, and the wish that another has them.
pub(super) struct Given {
    properties: Properties,
    /// The owner of the database that gets them: what the archive's owner was granted, and what he
    /// granted, is this one's.
    owner: String,
    /// Whether the database is made for them, and so gets its owner from them as well.
    new: bool,
    choices: Choices,
}

/// A statement that gives a database one of its properties.
pub(super) struct Statement {
    /// Which, in words.
    pub(super) what: String,
    /// Without a semicolon at its end. It may be several, which belong into one transaction.
    pub(super) sql: String,
}

impl Given {
    /// What is to be given to the database that this restore is about, if anything. The owner of
    /// one that is there is `owner`.
    pub(super) fn of(manifest: &Manifest, how: &How, owner: Option<&str>) -> Option<Self> {
        let choices = &how.choices;
        let properties = manifest.source.properties.as_ref()?;
        let new = matches!(how.place, Place::Create(_));
        if choices.data_only || !choices.database_settings && (!new || choices.is_part()) {
            return None;
        }
        let owner = owner.unwrap_or_else(|| choices.role(&properties.owner)).to_owned();
        let (properties, choices) = (properties.clone(), choices.clone());
        Some(Self { properties, owner, new: new && !choices.no_owner, choices })
    }

    fn role<'a>(&'a self, role: &'a str) -> &'a str {
        if role == self.properties.owner { &self.owner } else { self.choices.role(role) }
    }

    /// The roles that must be there.
    pub(super) fn roles(&self) -> BTreeSet<String> {
        let mut roles = BTreeSet::new();
        roles.extend(self.properties.settings.iter().filter_map(|setting| setting.role.as_deref()));
        if !self.choices.no_privileges {
            let privileges = self.properties.privileges.iter().flatten();
            roles.extend(privileges.flat_map(|one| {
                [Some(one.grantor.as_str()), one.grantee.as_deref()].into_iter().flatten()
            }));
        }
        roles.into_iter().map(|role| self.role(role).to_owned()).collect()
    }

    /// The role that is to own the database, where these say it.
    pub(super) fn owner(&self) -> Option<&str> {
        self.new.then_some(&self.owner)
    }

    /// The tablespace that the database is made in, where these say it.
    pub(super) fn tablespace(&self) -> Option<&str> {
        self.properties.tablespace.as_deref().filter(|_| self.new)
    }

    /// The statements that give them to the database of this name, in order.
    pub(super) fn statements(&self, database: &str) -> Vec<Statement> {
        let name = ident(database);
        let mut out = Vec::new();
        let mut add = |what: String, sql: String| out.push(Statement { what, sql });
        let properties = &self.properties;
        if self.new {
            let owner = ident(&self.owner);
            add("its owner".into(), format!("ALTER DATABASE {name} OWNER TO {owner}"));
        }
        if let Some(comment) = &properties.comment {
            let comment = literal(comment);
            add("its comment".into(), format!("COMMENT ON DATABASE {name} IS {comment}"));
        }
        for label in &properties.labels {
            let (provider, label) = (ident(&label.provider), literal(&label.label));
            let sql = format!("SECURITY LABEL FOR {provider} ON DATABASE {name} IS {label}");
            add("a security label".into(), sql);
        }
        if let Some(limit) = properties.connection_limit {
            let sql = format!("ALTER DATABASE {name} WITH CONNECTION LIMIT {limit}");
            add("its connection limit".into(), sql);
        }
        if properties.template && self.new {
            let sql = format!("ALTER DATABASE {name} WITH IS_TEMPLATE true");
            add("that it is a template".into(), sql);
        }
        if let Some(privileges) = &properties.privileges
            && !self.choices.no_privileges
        {
            add("its privileges".into(), self.grants(&name, privileges));
        }
        for setting in &properties.settings {
            add(self.words(setting), self.set(&name, setting));
        }
        out
    }

    fn words(&self, setting: &Setting) -> String {
        match &setting.role {
            Some(role) => format!("setting {} of role {}", setting.name, self.role(role)),
            None => format!("setting {}", setting.name),
        }
    }

    fn grants(&self, name: &str, privileges: &[Privilege]) -> String {
        let owner = ident(&self.owner);
        let mut sql = format!(
            "REVOKE ALL ON DATABASE {name} FROM PUBLIC; REVOKE ALL ON DATABASE {name} FROM {owner}"
        );
        // Who passes a privilege on has to have it first: the owner's own come first.
        let (owners, others): (Vec<_>, Vec<_>) =
            privileges.iter().partition(|one| self.role(&one.grantor) == self.owner);
        for one in owners.into_iter().chain(others) {
            let grantee = one.grantee.as_deref();
            let grantee = grantee.map_or_else(|| "PUBLIC".to_owned(), |one| ident(self.role(one)));
            let option = if one.grantable { " WITH GRANT OPTION" } else { "" };
            // Archives are not trusted: what is no privilege is a name, and refused by the server.
            let privilege = if PRIVILEGES.contains(&one.privilege.as_str()) {
                one.privilege.clone()
            } else {
                ident(&one.privilege)
            };
            let grant = format!("GRANT {privilege} ON DATABASE {name} TO {grantee}{option}");
            let grantor = self.role(&one.grantor);
            if grantor == self.owner {
                let _ = write!(sql, "; {grant}");
            } else {
                let _ = write!(sql, "; SET LOCAL ROLE {}; {grant}; RESET ROLE", ident(grantor));
            }
        }
        sql
    }

    fn set(&self, name: &str, setting: &Setting) -> String {
        let value = if LISTS.contains(&setting.name.to_ascii_lowercase().as_str()) {
            list(&setting.value)
        } else {
            literal(&setting.value)
        };
        let whose = match &setting.role {
            Some(role) => format!("ALTER ROLE {} IN DATABASE {name}", ident(self.role(role))),
            None => format!("ALTER DATABASE {name}"),
        };
        // A setting of an extension has a name with a dot, each part by itself.
        let setting: Vec<String> = setting.name.split('.').map(ident).collect();
        format!("{whose} SET {} TO {value}", setting.join("."))
    }

    /// What of them a database of these properties does not have, in words.
    fn lacking(&self, there: &Properties) -> Vec<String> {
        let ours = &self.properties;
        let mut out = Vec::new();
        let has = |setting: &Setting| {
            let role = setting.role.as_deref().map(|role| self.role(role));
            there.settings.iter().any(|theirs| {
                (theirs.role.as_deref(), &theirs.name, &theirs.value)
                    == (role, &setting.name, &setting.value)
            })
        };
        let settings = ours.settings.iter().filter(|setting| !has(setting));
        out.extend(settings.map(|setting| self.words(setting)));
        if ours.comment.is_some() && ours.comment != there.comment {
            out.push("its comment".into());
        }
        if !ours.labels.is_empty() && ours.labels != there.labels {
            out.push("its security labels".into());
        }
        if ours.connection_limit.is_some() && ours.connection_limit != there.connection_limit {
            out.push("its connection limit".into());
        }
        let privileges = ours.privileges.as_ref().map(|privileges| {
            let mapped = |one: &Privilege| Privilege {
                grantee: one.grantee.as_deref().map(|role| self.role(role).to_owned()),
                grantor: self.role(&one.grantor).to_owned(),
                ..one.clone()
            };
            privileges.iter().map(mapped).collect::<BTreeSet<_>>()
        });
        let theirs = there.privileges.as_ref().map(|all| all.iter().cloned().collect());
        if privileges.is_some() && privileges != theirs && !self.choices.no_privileges {
            out.push("its privileges".into());
        }
        out
    }
}

/// What a database that is there, or that is replaced, does not get, in words; nothing where it
/// has all of it or gets it.
pub(super) fn not_given(manifest: &Manifest, how: &How, there: &Properties) -> Option<String> {
    if how.choices.database_settings || how.choices.data_only || how.choices.is_part() {
        return None;
    }
    let mut choices = how.choices.clone();
    choices.database_settings = true;
    let asked = How { place: how.place.clone(), choices };
    let lacking = Given::of(manifest, &asked, Some(&there.owner))?.lacking(there);
    (!lacking.is_empty()).then(|| {
        format!(
            "the database keeps what belongs to it; the archive's had: {} \
             (--database-settings gives it that)",
            lacking.join(", ")
        )
    })
}

/// Gives them to a database that is there; what the server refuses is told.
pub(super) async fn apply(
    session: &Session,
    database: &str,
    given: &Given,
) -> Result<Vec<RestoreFinding>, PgError> {
    let mut findings = Vec::new();
    for statement in given.statements(database) {
        let doing = format!("giving database {database} {}", statement.what);
        match session.run(&doing, &format!("BEGIN; {}; COMMIT", statement.sql)).await {
            Ok(()) => {}
            Err(error) if error.code().is_some() => {
                session.run("rolling back", "ROLLBACK").await?;
                findings.push(refused(database, &statement, &error));
            }
            Err(error) => return Err(error),
        }
    }
    Ok(findings)
}

/// Tries them on a database that is being made, and takes them back: what the server refuses is
/// known before anything is loaded. Gives the statements for the database of this name that it
/// takes, and findings for the others.
pub(super) async fn try_out(
    session: &Session,
    working: &str,
    name: &str,
    given: &Given,
) -> Result<(String, Vec<RestoreFinding>), PgError> {
    const DOING: &str = "trying what belongs to the database";
    let (mut taken, mut findings) = (String::new(), Vec::new());
    session.run(DOING, "BEGIN").await?;
    for (statement, told) in given.statements(working).into_iter().zip(given.statements(name)) {
        session.run(DOING, "SAVEPOINT pgark").await?;
        match session.run(DOING, &statement.sql).await {
            Ok(()) => {
                taken.push_str(&statement.sql);
                taken.push_str("; ");
            }
            Err(error) if error.code().is_some() => {
                session.run(DOING, "ROLLBACK TO SAVEPOINT pgark").await?;
                findings.push(refused(name, &told, &error));
            }
            Err(error) => return Err(error),
        }
    }
    session.run(DOING, "ROLLBACK").await?;
    Ok((taken, findings))
}

fn refused(database: &str, statement: &Statement, error: &PgError) -> RestoreFinding {
    RestoreFinding {
        kind: "DATABASE PROPERTIES".into(),
        object: database.to_owned(),
        message: format!("{}: {error}", statement.what),
        statement: Some(format!("{};", statement.sql)),
    }
}

/// A list of names as it is stored, as SET takes it: each as a text of its own.
fn list(value: &str) -> String {
    let mut items = Vec::new();
    let mut item = String::new();
    let mut quoted = false;
    let mut chars = value.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.next_if_eq(&'"').is_some() => item.push('"'),
            '"' => quoted = !quoted,
            ',' if !quoted => items.push(std::mem::take(&mut item)),
            c if c.is_whitespace() && !quoted => {}
            c => item.push(c),
        }
    }
    items.push(item);
    items.iter().map(|item| literal(item)).collect::<Vec<_>>().join(", ")
}

/// Guards against a `search_path` that becomes one schema with a comma in its name.
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_stay_lists() {
        assert_eq!(list("\"$user\", public"), "'$user', 'public'");
        assert_eq!(list("a, \"B, \"\"c\""), "'a', 'B, \"c'");
        assert_eq!(list("\"\""), "''");
    }
}
