//! Why nothing was rescued.

use std::io;
use std::path::PathBuf;

use super::Evidence;
use crate::create::CreateError;
use crate::pg::PgError;
use crate::pg::throwaway::ThrowawayError;

/// Why a rescue was refused, or did not come to its end. The original is as it was; the copy is
/// gone, unless the error says so.
#[derive(Debug, thiserror::Error)]
pub enum RescueError {
    /// The input, or a part of it, cannot be read.
    #[error("{}: {source}", path.display())]
    Input {
        /// The folder or file.
        path: PathBuf,
        /// What the system says, or what is wrong with it.
        source: io::Error,
    },
    /// A file of the input breaks off with an error of the disk.
    #[error("{}: reading it failed after {offset} bytes: {source}", path.display())]
    Unread {
        /// The file.
        path: PathBuf,
        /// How many bytes could be read.
        offset: u64,
        /// What the system says.
        source: io::Error,
    },
    /// There is no data directory.
    #[error("{}: no data directory of PostgreSQL is in it{}", path.display(), clue.as_ref().map_or_else(String::new, |clue| format!(" ({clue})")))]
    NoCluster {
        /// The input.
        path: PathBuf,
        /// What there is instead, if that is telling.
        clue: Option<String>,
    },
    /// There are several, and it was not said which is meant.
    #[error("{}: there are {} data directories in it: {}", path.display(), found.len(), found.join(", "))]
    Several {
        /// The input.
        path: PathBuf,
        /// Each, with its version.
        found: Vec<String>,
    },
    /// The one that was asked for is not there.
    #[error("{}: {} in it is no data directory; there is {}", path.display(), within.display(), found.join(", "))]
    NotThere {
        /// The input.
        path: PathBuf,
        /// What was asked for.
        within: PathBuf,
        /// Those that are there, with their versions.
        found: Vec<String>,
    },
    /// It is of a version that is not supported.
    #[error("the data directory is of PostgreSQL {0}, and only version 14 and later are supported")]
    Version(String),
    /// A server is at work on it.
    #[error("{}: a server runs on it (process {pid}): a copy would not be of one moment", path.display())]
    Alive {
        /// The data directory.
        path: PathBuf,
        /// A process of the server.
        pid: u32,
    },
    /// Something changed while it was copied.
    #[error("{}: it changed while it was copied: a server works on it", .0.display())]
    Changed(PathBuf),
    /// Links lead to nothing.
    #[error("the data directory has links that lead nowhere: {}", .0.iter().map(|(name, target)| format!("{} to {}", name.display(), target.display())).collect::<Vec<_>>().join(", "))]
    Broken(Vec<(PathBuf, PathBuf)>),
    /// What a path leads to is not what it should be.
    #[error("{}: it has nothing in it of what the data directory expects there", .0.display())]
    Unfit(PathBuf),
    /// There is no WAL.
    #[error("the data directory has no WAL: pg_wal is empty or missing")]
    NoWal,
    /// The archive, or the copy, would be written into the original.
    #[error("{} is within {}, which is never written to", what.display(), input.display())]
    IntoOriginal {
        /// What would be written.
        what: PathBuf,
        /// The original.
        input: PathBuf,
    },
    /// There is no room for the copy.
    #[error("the copy needs {needed} bytes in {}, and {free} are free", folder.display())]
    NoRoom {
        /// Where it would be.
        folder: PathBuf,
        /// Bytes of the copy and what its server needs.
        needed: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// The copy cannot be written.
    #[error("the copy could not be made: {}: {source}", path.display())]
    Copy {
        /// The file or folder of the copy.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// There is no server for it, or it could not be removed.
    #[error(transparent)]
    Server(ThrowawayError),
    /// Replaying the WAL would make a tablespace at a path outside of the copy.
    #[error(
        "the WAL that is to be replayed makes tablespace {oid} in {}: replaying it writes there, outside of the copy",
        path.display()
    )]
    MakesTablespace {
        /// The tablespace.
        oid: u32,
        /// Where it was made.
        path: PathBuf,
    },
    /// The server did not come up on the copy.
    #[error("the server does not come up on the copy; it says: {}", words.join("; "))]
    NotUp {
        /// Its last words.
        words: Vec<String>,
    },
    /// A program of the server could not be run.
    #[error("{program}: {source}")]
    Program {
        /// Which.
        program: String,
        /// What the system says.
        source: io::Error,
    },
    /// A program of the server failed.
    #[error("{program} failed: {said}")]
    Said {
        /// Which.
        program: String,
        /// What it said.
        said: String,
    },
    /// Nobody can log in, not even after the first role was made a superuser again.
    #[error("no role of the cluster may read everything")]
    NoSuperuser,
    /// There is no session in a database.
    #[error("database {database}: {source}")]
    Session {
        /// The database.
        database: String,
        /// Why.
        source: PgError,
    },
    /// The cluster could not be asked.
    #[error("asking the copy's server: {0}")]
    Ask(PgError),
    /// The database is not there.
    #[error("there is no database {name}; there is {}", found.join(", "))]
    NoDatabase {
        /// What was asked for.
        name: String,
        /// Those that are there.
        found: Vec<String>,
    },
    /// There are several databases, and it was not said which is meant.
    #[error("there are {} databases: {}", .0.len(), .0.join(", "))]
    Databases(Vec<String>),
    /// There is no database but templates.
    #[error("there is no database in it but templates")]
    Nothing,
    /// Rows are in a tablespace that is missing.
    #[error(
        "database {database}: tablespace {tablespace} is missing (it was in {}), and with it {}",
        was.display(),
        tables.join(", ")
    )]
    Missing {
        /// The database.
        database: String,
        /// The tablespace.
        tablespace: String,
        /// Where it was.
        was: PathBuf,
        /// What is in it.
        tables: Vec<String>,
    },
    /// A database could not be saved.
    #[error("database {database}: {source}")]
    Unsaved {
        /// The database.
        database: String,
        /// Why.
        source: Box<CreateError>,
        /// What is known about damage.
        evidence: Box<Evidence>,
    },
    /// The rescue failed, and the copy was kept, as was wished.
    #[error("{error}; the copy was kept in {}", folder.display())]
    Kept {
        /// Why it failed.
        error: Box<RescueError>,
        /// Its folder.
        folder: PathBuf,
    },
    /// The person wanted it to stop.
    #[error("interrupted")]
    Interrupted,
    /// A mistake of this program, or a system that gives no threads.
    #[error("internal error: {0}")]
    Internal(String),
}

impl From<ThrowawayError> for RescueError {
    fn from(error: ThrowawayError) -> Self {
        match error {
            ThrowawayError::Interrupted => Self::Interrupted,
            error => Self::Server(error),
        }
    }
}

impl RescueError {
    /// What is known about damage, where that is why.
    pub fn evidence(&self) -> Option<&Evidence> {
        match self {
            Self::Unsaved { evidence, .. } => Some(evidence),
            Self::Kept { error, .. } => error.evidence(),
            _ => None,
        }
    }
}
