//! Rules: read from TOML, given the names of an archive, and made into work.

mod file;
mod resolve;

pub use file::{RuleFile, RuleFileError};
pub use resolve::{Unknown, check, resolve};
