//! `pgark create`.

use super::Context;
use super::args::Create;
use super::exit::Exit;
use super::hints::Failure;

/// Runs it.
pub(super) fn run(_typed: &Create, _context: &Context) -> Result<Exit, Failure> {
    Err(Failure::Missing("create"))
}
