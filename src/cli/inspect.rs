//! `pgark inspect`.

use super::Context;
use super::args::Inspect;
use super::exit::Exit;
use super::hints::Failure;

/// Runs it.
pub(super) fn run(_typed: &Inspect, _context: &Context) -> Result<Exit, Failure> {
    Err(Failure::Missing("inspect"))
}
