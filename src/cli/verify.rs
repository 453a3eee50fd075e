//! `pgark verify`.

use super::Context;
use super::args::Verify;
use super::exit::Exit;
use super::hints::Failure;

/// Runs it.
pub(super) fn run(_typed: &Verify, _context: &Context) -> Result<Exit, Failure> {
    Err(Failure::Missing("verify"))
}
