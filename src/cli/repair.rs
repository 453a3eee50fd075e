//! `pgark repair`: a damaged archive made whole from its parity.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use super::Context;
use super::args::Repair;
use super::exit::Exit;
use super::hints::Failure;
use super::json;
use super::printer::{Paint, Style};
use super::render;
use super::units::{count, counted, size, span};
use crate::repair::{self, RepairOptions, Repaired, Stretch};
use crate::verify;

/// Stretches that are shown to people; `--json` has all.
const SHOWN: usize = 20;
/// How many keys of rows that are lost together are shown.
const KEYS: usize = 5;

/// Runs it.
pub(super) fn run(typed: &Repair, context: &Context) -> Result<Exit, Failure> {
    let options = RepairOptions {
        file: typed.file.clone(),
        output: typed.output.clone(),
        overwrite: typed.force,
        memory: typed.memory,
        salvage: typed.salvage,
        bases: typed.bases.base.clone(),
    };
    let bars = context.bars();
    let began = Instant::now();
    let done = repair::run(&options, &*bars);
    bars.finish();
    let done = done.map_err(|error| Failure::Repair(Box::new(error)))?;
    let (printer, took) = (&context.printer, began.elapsed());
    let faults = done.verified.as_ref().filter(|report| !report.ok);
    // Repairing needs no base: that it is not there is no fault of the file.
    let faults = faults.filter(|report| !report.lacks_base());
    let exit = if done.report.whole && faults.is_none() { Exit::Clean } else { Exit::Findings };
    if typed.json {
        json::print(printer, &json::Repaired::new(&typed.file, &typed.output, &done, took));
    } else if exit != Exit::Clean || !printer.is_quiet() {
        printer.result(&words(typed, &done, took, printer.out_paint()));
        if let Some(report) = faults {
            printer.error(&render::findings(report, printer.err_paint()));
        }
    }
    Ok(exit)
}

fn words(typed: &Repair, done: &Repaired, took: Duration, paint: Paint) -> String {
    let report = &done.report;
    let mut out = String::new();
    let (file, fixed) = (typed.file.display(), typed.output.display());
    if !report.whole {
        let verdict = paint.paint(Style::Bad, "BEYOND REPAIR.");
        let bytes: u64 = report.beyond.iter().map(|stretch| stretch.length).sum();
        let written = match &done.salvaged {
            None => "Nothing was written.".to_owned(),
            Some(salvage) if salvage.counted => format!(
                "{fixed} has what is whole: {} of {} rows.",
                count(salvage.rows_kept),
                count(salvage.rows_kept.saturating_add(salvage.rows_lost))
            ),
            Some(salvage) => format!(
                "{fixed} has what is whole and could be found: {}.",
                counted(salvage.rows_kept, "row", "rows")
            ),
        };
        _ = writeln!(out, "{file}: {verdict} {written}");
        for what in done.salvaged.iter().flat_map(|salvage| &salvage.bases) {
            _ = writeln!(out, "  {what}");
        }
        for lost in done.salvaged.iter().flat_map(|salvage| &salvage.lost).take(SHOWN) {
            let rows = match lost.rows {
                1 => format!("row {}", lost.row),
                rows => format!("rows {} to {}", lost.row, lost.row.saturating_add(rows - 1)),
            };
            _ = writeln!(out, "  lost: {} {rows}: {}", lost.table, lost.what);
            if !lost.keys.is_empty() {
                let keys: Vec<_> = lost.keys.iter().take(KEYS).map(String::as_str).collect();
                let more =
                    u64::try_from(keys.len()).map_or(0, |told| lost.rows.saturating_sub(told));
                let more =
                    if more == 0 { String::new() } else { format!("; and {} more", count(more)) };
                _ = writeln!(out, "    {}{more}", keys.join("; "));
            }
        }
        if done.salvaged.as_ref().is_some_and(|salvage| !salvage.counted) {
            _ = writeln!(
                out,
                "  Its end is lost, and with it how many rows there were: more may be missing than\n  \
                 is named here. pgark inspect {fixed} shows how many rows each table has now."
            );
        }
        _ = writeln!(out, "  {} cannot be made whole:", size(bytes));
        list(&mut out, &report.beyond);
        if !report.repaired.is_empty() {
            _ = writeln!(out, "  What else is damaged could be repaired:");
            list(&mut out, &report.repaired);
        }
        if done.salvaged.is_none() {
            _ = writeln!(out, "  pgark verify {file} says which tables and rows are hit.");
        }
        return out;
    }
    let faults = done.verified.as_ref().is_some_and(|report| !report.ok);
    let lacks_base = done.verified.as_ref().is_some_and(verify::Report::lacks_base);
    let as_written = if lacks_base {
        "It is the file as it was written. It is thin, and its base is not there: its\n  \
         rows were not checked."
    } else if faults {
        "It is the file as it was written, with the faults its data had (see below)."
    } else {
        "It is the file as it was written, and verified."
    };
    if report.repaired.is_empty() {
        let verdict = paint.paint(Style::Good, "NOT DAMAGED.");
        _ = writeln!(out, "{file}: {verdict} {fixed} is a copy.");
        return out;
    }
    let verdict = paint.paint(Style::Good, "REPAIRED.");
    _ = writeln!(out, "{fixed}: {verdict} {as_written}");
    let windows = counted(report.windows, "window", "windows");
    _ = writeln!(
        out,
        "  {} of {windows} damaged; {} in {}",
        count(report.windows_damaged),
        size(report.bytes),
        span(took)
    );
    list(&mut out, &report.repaired);
    out
}

fn list(out: &mut String, stretches: &[Stretch]) {
    for Stretch { offset, length, what } in stretches.iter().take(SHOWN) {
        // What is about the file as a whole is at no place.
        _ = match (offset, length) {
            (0, 0) => writeln!(out, "    {what}"),
            _ => writeln!(out, "    at byte {offset}, {length} bytes: {what}"),
        };
    }
    if let Some(more) = stretches.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        _ = writeln!(out, "    and {more} more (see --json)");
    }
}
