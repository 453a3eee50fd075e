//! Why a restore was refused or did not come to its end.

use std::path::PathBuf;

use super::convert::RowProblem;
use super::place::Connection;
use crate::create::pump::PumpError;
use crate::format::reader::{OpenError, ReadError};
use crate::pg::PgError;
use crate::verify::{Report, VerifyError};

/// Why a restore was refused or did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The file cannot be opened as an archive.
    #[error("{}: {source}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: OpenError,
    },
    /// Verification could not be done.
    #[error("{}: {source}", path.display())]
    Verify {
        /// The file.
        path: PathBuf,
        /// Why.
        source: VerifyError,
    },
    /// The archive does not verify. Nothing was done.
    #[error("{}: the archive does not verify: {} error(s)", path.display(), report.errors)]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        report: Box<Report>,
    },
    /// The archive needs a newer pgark. Nothing was done.
    #[error("{}: the archive needs a newer pgark", path.display())]
    TooNew {
        /// The file.
        path: PathBuf,
        /// What was found.
        report: Box<Report>,
    },
    /// There is something in the target. Nothing was done.
    #[error("the target ({target}) is not empty: {}", contents.join(", "))]
    NotEmpty {
        /// The target.
        target: String,
        /// What is in it.
        contents: Vec<String>,
    },
    /// The tables that rows are to go into are not as they must be. Nothing was done.
    #[error("the target cannot take these rows: {}", .0.join("; "))]
    Unfit(Vec<String>),
    /// The target's server is older than the source's. Nothing was done.
    #[error("the source's server has version {from}, the target's is older: {to}")]
    OlderServer {
        /// The source's version.
        from: String,
        /// The target's version.
        to: String,
    },
    /// The target's server is a standby. Nothing was done.
    #[error("the target's server is a standby and takes no changes")]
    Standby,
    /// The server does not have these extensions. Nothing was done.
    #[error("extensions that the archive needs are not available on the target's server: {}", .0.join(", "))]
    MissingExtensions(Vec<String>),
    /// The server does not have these tablespaces. Nothing was done.
    #[error("tablespaces that the archive names do not exist on the target's server: {}", .0.join(", "))]
    MissingTablespaces(Vec<String>),
    /// The role may not do all of this. Nothing was done.
    #[error("role {role} may not do this: {}", lacks.join("; "))]
    Privileges {
        /// The role that restores.
        role: String,
        /// What it lacks.
        lacks: Vec<String>,
    },
    /// The database that is to be created is there already. Nothing was done.
    #[error("database {0} exists already")]
    Exists(String),
    /// The database that is to be replaced is not there. Nothing was done.
    #[error("database {0} does not exist")]
    NoDatabase(String),
    /// A name that the server would cut off or not take. Nothing was done.
    #[error("{0:?} cannot be the name of a database: names have 1 to 63 bytes")]
    BadName(String),
    /// The server refuses what the archive says of its database itself.
    #[error("the new database cannot have what the archive's had: {}", .0.join("; "))]
    Properties(Vec<String>),
    /// Somebody is connected to the database that is to be replaced; it was not.
    #[error("database {database} is in use: {}", list(connections))]
    Connected {
        /// The database.
        database: String,
        /// Who is.
        connections: Vec<Connection>,
    },
    /// Another restore that creates or replaces this database is at work. Nothing was done.
    #[error("another restore of database {0} is under way")]
    UnderWay(String),
    /// Several things stand in the way. Nothing was done.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Several(Vec<RestoreError>),
    /// It failed; the new database was dropped again and all else is as it was.
    #[error("{error}; {}", dropped(database, dropping.as_ref()))]
    Undone {
        /// Why.
        error: Box<RestoreError>,
        /// The new database, by its working name.
        database: String,
        /// Why it could not be dropped, if so.
        dropping: Option<PgError>,
    },
    /// Roles that the archive names do not exist. Nothing was done.
    #[error("roles that the archive names do not exist on the target's server: {}", .0.join(", "))]
    MissingRoles(Vec<String>),
    /// The server said no, or went away.
    #[error(transparent)]
    Server(#[from] PgError),
    /// An object of the schema could not be made.
    #[error("{kind} {object}: {source}")]
    Object {
        /// `pg_dump`'s word for what it is.
        kind: String,
        /// Its name.
        object: String,
        /// What the server says.
        source: PgError,
    },
    /// A table's rows could not be loaded.
    #[error("loading {table}: {source}")]
    Load {
        /// The table.
        table: String,
        /// What the server says.
        source: PgError,
    },
    /// A table's rows could not be converted.
    #[error("rows of {table}: {source}")]
    Rows {
        /// The table.
        table: String,
        /// What is wrong.
        source: RowProblem,
    },
    /// The server took another number of rows than it was given.
    #[error("{table}: {sent} rows were sent and the server took {loaded}")]
    Count {
        /// The table.
        table: String,
        /// Rows sent.
        sent: u64,
        /// Rows the server says it took.
        loaded: u64,
    },
    /// The archive could not be read.
    #[error(transparent)]
    Archive(#[from] ReadError),
    /// The target could not be read back.
    #[error("comparing the target with the archive: {0}")]
    Compare(PumpError),
    /// The restore failed after it had begun: the target is partly filled.
    #[error("{0}; the target is left partly filled")]
    Partial(Box<RestoreError>),
    /// Rows alone were to be loaded, in one transaction, which failed: the target is as it was.
    #[error("{0}; the target is as it was")]
    RolledBack(Box<RestoreError>),
    /// The person wanted it to stop.
    #[error("interrupted")]
    Interrupted,
    /// A mistake of this program, or a system that gives no threads.
    #[error("internal error: {0}")]
    Internal(String),
}

impl RestoreError {
    /// Whether it ended because the person wanted it to.
    pub fn is_interrupted(&self) -> bool {
        match self {
            Self::Interrupted | Self::Compare(PumpError::Interrupted) => true,
            Self::Partial(error) | Self::RolledBack(error) | Self::Undone { error, .. } => {
                error.is_interrupted()
            }
            _ => false,
        }
    }
}

fn list(connections: &[Connection]) -> String {
    connections.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn dropped(database: &str, dropping: Option<&PgError>) -> String {
    match dropping {
        None => format!("the new database ({database}) was dropped again"),
        Some(error) => {
            format!("the new database {database} is left, for dropping it failed: {error}")
        }
    }
}
