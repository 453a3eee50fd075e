//! Where rows come from other than a live server: files that `pg_dump` wrote.

#[cfg(feature = "dumps")]
mod contents;
pub mod ddl;
#[cfg(feature = "dumps")]
mod dump;
#[cfg(feature = "dumps")]
mod encoding;
#[cfg(feature = "dumps")]
mod encodings;
#[cfg(feature = "dumps")]
mod error;
#[cfg(feature = "dumps")]
mod heads;
#[cfg(feature = "dumps")]
mod input;
#[cfg(feature = "dumps")]
mod insert;
#[cfg(feature = "dumps")]
mod large;
#[cfg(feature = "dumps")]
mod names;
#[cfg(feature = "dumps")]
mod packed;
#[cfg(feature = "dumps")]
mod plain;
#[cfg(feature = "dumps")]
mod reader;
#[cfg(feature = "dumps")]
mod scan;
#[cfg(feature = "dumps")]
mod toc;
mod utc;

#[cfg(feature = "dumps")]
pub use dump::{Dump, Run, Stop};
#[cfg(feature = "dumps")]
pub use error::DumpFileError;
#[cfg(feature = "dumps")]
pub use large::Facts;
pub use utc::in_utc;
