//! The steps of a restore, as data: who shows them chooses words and units.

use std::path::PathBuf;

/// One step of a restore.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// What is there now is saved to a file whose name has a time in it; no part of the restore
    /// proper, but who arranges one puts it in front.
    Save(PathBuf),
    /// The archive is verified.
    Verify(PathBuf),
    /// A database that an earlier restore has left is dropped.
    DropLeftover(String),
    /// A new database is made under a working name.
    Make {
        /// Its encoding.
        encoding: String,
        /// Its collation.
        collation: String,
    },
    /// Tables and the rest of the schema, with rows.
    Restore {
        /// How many tables.
        tables: u64,
        /// How many rows.
        rows: u64,
        /// Bytes of rows and blobs, before the server's overhead and indexes.
        bytes: u64,
    },
    /// The schema without rows: at most so many objects.
    Schema(u64),
    /// Rows into tables that are there.
    Fill {
        /// How many rows.
        rows: u64,
        /// Bytes of rows and blobs.
        bytes: u64,
        /// How many sequences are set.
        sequences: u64,
    },
    /// All of it is read back and compared.
    Compare,
    /// A database that is there gets what belonged to the archive's.
    Give(String),
    /// The new database gets its name.
    Name {
        /// The name.
        database: String,
        /// Whether it gets what belonged to the archive's database.
        given: bool,
    },
    /// All connections to this database are ended.
    Disconnect(String),
    /// The new database takes the place of the old one, in one transaction.
    Swap {
        /// The name that both had or get.
        database: String,
        /// How large the old one is, where that may be known.
        bytes: Option<u64>,
        /// How many settings the new one takes over from it; none where it gets what belonged to
        /// the archive's.
        settings: Option<u64>,
    },
}
