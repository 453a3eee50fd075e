//! Where rows come from other than a live server: files that `pg_dump` wrote.

pub mod ddl;
mod utc;

pub use utc::in_utc;
