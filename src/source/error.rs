//! Why a dump cannot be taken.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::ddl::DdlError;

/// What is wrong with a dump, or with what it does not hold.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DumpFileError {
    /// It cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It is nothing that `pg_dump` writes.
    #[error("{}: {what}", path.display())]
    Kind {
        /// The file.
        path: PathBuf,
        /// What it is instead.
        what: String,
    },
    /// It ends too early, or a part of it is missing or damaged.
    #[error("{}: {what}", path.display())]
    Incomplete {
        /// The file.
        path: PathBuf,
        /// What is missing.
        what: String,
    },
    /// It does not hold all of a database.
    #[error("the dump does not hold all of a database: {0}")]
    Partial(String),
    /// A statement was not understood, or its object is not declared.
    #[error(transparent)]
    Ddl(#[from] DdlError),
    /// Rows are not what their table has.
    #[error("rows of {table}: {what}")]
    Rows {
        /// The table.
        table: String,
        /// What is wrong, with the row or statement.
        what: String,
    },
    /// A large object is not whole, or is not all there.
    #[error("large object {oid}: {what}")]
    LargeObject {
        /// Its OID.
        oid: u32,
        /// What is wrong.
        what: String,
    },
    /// Whoever asked for it wanted it to stop.
    #[error("stopped")]
    Stopped,
    /// It holds what this version cannot take from a dump.
    #[error("{0}")]
    Unsupported(String),
}

impl DumpFileError {
    pub(super) fn large_object(oid: u32, what: impl Into<String>) -> Self {
        Self::LargeObject { oid, what: what.into() }
    }
}
