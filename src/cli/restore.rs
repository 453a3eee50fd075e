//! `pgark restore`.

use super::Context;
use super::args::Restore;
use super::exit::Exit;
use super::hints::Failure;

/// Runs it.
pub(super) fn run(_typed: &Restore, _context: &Context) -> Result<Exit, Failure> {
    Err(Failure::Missing("restore"))
}
