//! Where rows come from other than a live server: files that `pg_dump` wrote.

pub mod ddl;
#[cfg(feature = "postgres")]
mod dump;
#[cfg(feature = "postgres")]
mod error;
#[cfg(feature = "postgres")]
mod heads;
#[cfg(feature = "postgres")]
mod input;
#[cfg(feature = "postgres")]
mod insert;
#[cfg(feature = "postgres")]
mod names;
#[cfg(feature = "postgres")]
mod plain;
#[cfg(feature = "postgres")]
mod reader;
#[cfg(feature = "postgres")]
mod toc;
mod utc;

#[cfg(feature = "postgres")]
pub use dump::Dump;
#[cfg(feature = "postgres")]
pub(crate) use dump::{Run, Stop};
#[cfg(feature = "postgres")]
pub use error::DumpFileError;
pub use utc::in_utc;
