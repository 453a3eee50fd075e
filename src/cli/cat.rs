//! `pgark cat`.

use super::Context;
use super::args::Cat;
use super::exit::Exit;
use super::hints::Failure;

/// Runs it.
pub(super) fn run(_typed: &Cat, _context: &Context) -> Result<Exit, Failure> {
    Err(Failure::Missing("cat"))
}
