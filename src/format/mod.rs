//! Format 1: what the bytes of an archive mean. Knows neither databases nor terminals.

pub mod digest;
pub mod manifest;
