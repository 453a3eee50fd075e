//! `pgark merge`: a thin archive and what it is based on become one that stands alone.

use std::time::Instant;

use super::Context;
use super::args::Merge;
use super::exit::Exit;
use super::hints::{Failure, SCRATCH, Trouble, chain, file, open};
use super::json::{self, Merging};
use super::printer::Style;
use super::render;
use super::units::{counted, size, span};
use crate::format::parity::Protection;
use crate::format::writer::WriteError;
use crate::merge::{self, MergeError, MergeOptions};
use crate::progress::Progress as _;

/// Runs it.
pub(super) fn run(typed: &Merge, context: &Context) -> Result<Exit, Failure> {
    let options = MergeOptions {
        file: context.archive(&typed.file)?,
        bases: typed.bases.base.clone(),
        output: typed.output.clone(),
        overwrite: typed.force,
        memory: typed.memory,
        parity: typed.parity.0.map(|share| Protection { share, ..Protection::default() }),
    };
    let bars = context.bars();
    let began = Instant::now();
    let done = merge::run(&options, &*bars);
    bars.finish();
    if bars.interrupted() && done.is_err() {
        return Err(Failure::Interrupted);
    }
    let done = done.map_err(|error| Failure::Merge(Box::new(error)))?;
    let (printer, took) = (&context.printer, began.elapsed());
    let exit = if done.verified.ok { Exit::Clean } else { Exit::Findings };
    if typed.json {
        json::print(printer, &Merging::new(&options, &done, took));
        return Ok(exit);
    }
    if !printer.is_quiet() {
        let paint = printer.out_paint();
        let said = if done.verified.ok {
            paint.paint(Style::Good, "merged and verified; it stands alone.")
        } else {
            paint.paint(Style::Warn, "merged; the data has faults (see below). It stands alone.")
        };
        printer.result(&format!(
            "{}: {said}\n  {}, {}; file of {}; {}\n",
            typed.output.display(),
            counted(done.verified.tables, "table", "tables"),
            counted(done.verified.rows, "row", "rows"),
            size(done.written.bytes),
            span(took)
        ));
    }
    if !done.verified.ok {
        printer.error(&render::findings(&done.verified, printer.err_paint()));
    }
    Ok(exit)
}

/// What to do about a merge that failed.
pub(super) fn explain(error: &MergeError) -> Trouble {
    let trouble = Trouble::new(Exit::Failed, chain(error));
    match error {
        MergeError::Open { path, source } => open(path, source),
        MergeError::NotThin(path) => {
            trouble.hint(format!("nothing is to be merged: copy {} as it is", path.display()))
        }
        MergeError::Exists(_) => trouble.hint("--force replaces it"),
        MergeError::Output(source) => file(std::path::Path::new("the merged archive"), source),
        MergeError::Read { .. } | MergeError::Row { .. } | MergeError::Differs(_) => trouble.hint(
            "nothing was written. pgark verify says what is damaged, in which file; \
             pgark repair mends it if its parity is enough",
        ),
        MergeError::Write(WriteError::Scratch(_)) => trouble.hint(SCRATCH),
        MergeError::Interrupted => Failure::Interrupted.explain(),
        _ => trouble,
    }
}
