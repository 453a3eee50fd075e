//! Format 1: what the bytes of an archive mean. Knows neither databases nor terminals.

pub mod base;
pub mod batch;
mod bounds;
pub mod cbor;
pub mod chunking;
pub mod digest;
mod digests;
mod entries;
mod fences;
pub mod index;
pub mod keywords;
pub mod limits;
pub mod line_ends;
mod listing;
pub mod manifest;
pub mod object;
mod output;
pub mod paged;
pub mod parity;
pub mod properties;
pub mod raw;
pub mod reader;
pub mod rows;
pub mod rules;
pub mod seal;
pub mod sql;
mod store;
pub mod thin;
pub mod time;
pub mod ustar;
pub mod writer;

#[cfg(test)]
pub(crate) mod tests;
#[cfg(test)]
mod tests_bounds;
