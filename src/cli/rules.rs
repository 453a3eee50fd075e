//! `pgark rules`: checks that the database does not declare.

use super::Context;
use super::args::{Rules, RulesVerb, Suggest};
use super::cat::open;
use super::exit::Exit;
use super::hints::Failure;
use crate::progress::{Phase, Progress as _};
use crate::verify::suggest::{self, SuggestError};

/// Runs it.
pub(super) fn run(typed: &Rules, context: &Context) -> Result<Exit, Failure> {
    match &typed.verb {
        RulesVerb::Suggest(typed) => propose(typed, context),
    }
}

fn propose(typed: &Suggest, context: &Context) -> Result<Exit, Failure> {
    let archive = open(&typed.file, &typed.bases)?;
    let bars = context.bars();
    let rows = archive.manifest().tables.iter().filter_map(|table| table.data);
    bars.begin(Phase::Verify, rows.map(|data| data.rows).fold(0, u64::saturating_add), 0);
    let found = suggest::suggest(&archive, typed.memory, &*bars);
    bars.finish();
    match found {
        Ok(found) => context.printer.result(&found.to_toml()),
        Err(SuggestError::Interrupted) => return Err(Failure::Interrupted),
        Err(error) => return Err(Failure::Suggest(typed.file.clone(), error)),
    }
    Ok(Exit::Clean)
}
