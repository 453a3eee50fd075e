//! Backups of `PostgreSQL` databases that can be trusted.

pub mod format;
pub mod io;
pub mod progress;
pub mod verify;

#[cfg(feature = "postgres")]
pub mod create;
#[cfg(feature = "postgres")]
pub mod pg;
#[cfg(feature = "postgres")]
pub mod restore;
#[cfg(feature = "postgres")]
pub mod source;

#[cfg(feature = "cli")]
pub mod cli;
