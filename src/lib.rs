//! Backups of `PostgreSQL` databases that can be trusted.
//!
//! An *archive* is one file that holds one consistent snapshot of a database: its SQL schema, its
//! rows, and its large `bytea` values, each distinct stretch of bytes stored once under its
//! SHA-256. The format is specified in `spec/format-1.md` of the source tree, which every archive
//! carries too.
//!
//! - [`format`](mod@format) reads and writes archives. It knows neither databases nor terminals.
//! - [`verify`] says whether an archive is right: every byte, row, key and reference, offline.
//! - [`compare`](mod@compare) says what differs between an archive and another, or a database.
//! - [`export`] writes plain SQL for `psql` and picks single rows, [`extract`] writes blobs as files.
//! - [`create`] makes an archive of a live database, [`restore`] brings it back into an empty one
//!   (feature `postgres`, on by default).
//! - [`rescue`] makes archives of the databases of a data directory that no server runs on.
//! - [`profile`] has environments by name, containers, and folders of archives.
//! - [`source`] reads what `pg_dump` wrote.
//! - [`progress`] is how long work tells how far it is.
//!
//! Without default features the library needs no server, no async runtime and no TLS:
//!
//! ```no_run
//! use std::path::Path;
//! use pgark::format::reader::Archive;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let archive = Archive::open(Path::new("shop.pgark"))?;
//! for table in &archive.manifest().tables {
//!     let rows = table.data.map_or(0, |data| data.rows);
//!     assert!(rows < 1_000_000, "{} has grown", table.name);
//! }
//! # Ok(())
//! # }
//! ```

pub mod compare;
pub mod export;
pub mod extract;
pub mod format;
pub mod io;
pub mod merge;
pub mod progress;
pub mod repair;
pub mod source;
pub mod verify;

#[cfg(feature = "postgres")]
pub mod check;
#[cfg(feature = "postgres")]
pub mod create;
#[cfg(feature = "postgres")]
pub mod drill;
#[cfg(feature = "postgres")]
pub mod pg;
#[cfg(feature = "postgres")]
pub mod profile;
#[cfg(feature = "postgres")]
pub mod rescue;
#[cfg(feature = "postgres")]
pub mod restore;

#[cfg(feature = "cli")]
pub mod cli;
