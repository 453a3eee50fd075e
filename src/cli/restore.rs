//! `pgark restore`: an archive becomes a database again, and is compared with it.

use std::fmt::Write as _;
use std::sync::Arc;

use super::Context;
use super::args::Restore;
use super::create::default_jobs;
use super::exit::Exit;
use super::hints::Failure;
use super::json::{self, Restored};
use super::printer::{Paint, Style};
use super::render::{Align, columns};
use super::units::{count, counted, span};
use crate::pg::Params;
use crate::progress::Progress;
use crate::restore::{self, RestoreOptions, RestoreReport};

/// Runs it.
pub(super) fn run(typed: &Restore, context: &Context) -> Result<Exit, Failure> {
    let target = Params::resolve(Some(&typed.to)).map_err(Failure::Connection)?;
    let described = target.describe();
    let printer = &context.printer;
    for note in target.notes() {
        printer.message(&format!("note: {note}"));
    }
    let options = RestoreOptions {
        file: typed.file.clone(),
        target,
        jobs: typed.jobs.unwrap_or_else(default_jobs),
        memory: typed.memory,
    };
    let bars = context.bars();
    let progress: Arc<dyn Progress> = bars.clone();
    let report = restore::run(&options, &progress);
    bars.finish();
    let report = report.map_err(|error| Failure::Restore(Box::new(error)))?;
    let clean = report.equal && report.findings.is_empty();
    if typed.json {
        json::print(printer, &Restored::new(&typed.file, &described, &report));
    } else if !clean || !printer.is_quiet() {
        printer.result(&words(&described, &report, printer.out_paint()));
    }
    Ok(if clean { Exit::Clean } else { Exit::Findings })
}

fn words(target: &str, report: &RestoreReport, paint: Paint) -> String {
    let mut out = String::new();
    let verdict = match (report.equal, report.findings.is_empty()) {
        (true, true) => {
            let word = paint.paint(Style::Good, "RESTORED AND EQUAL.");
            format!("{word} Every table was read back and is what the archive holds.")
        }
        (true, false) => {
            let word = paint.paint(Style::Warn, "RESTORED, WITH SOMETHING LEFT TO DO.");
            format!("{word} All rows are what the archive holds; see below for the rest.")
        }
        (false, _) => {
            let word = paint.paint(Style::Bad, "NOT EQUAL.");
            format!("{word} The target is not what the archive holds; see below.")
        }
    };
    _ = writeln!(out, "{target}: {verdict}");
    let rows = report.tables.iter().map(|table| table.outcome.rows).fold(0, u64::saturating_add);
    let tables = u64::try_from(report.tables.len()).unwrap_or(u64::MAX);
    let large = report.large_objects.map_or_else(String::new, |outcome| {
        format!(", {}", counted(outcome.rows, "large object", "large objects"))
    });
    _ = writeln!(
        out,
        "  {}, {}, {}{large}",
        counted(tables, "table", "tables"),
        counted(rows, "row", "rows"),
        counted(report.sequences, "sequence", "sequences")
    );
    _ = writeln!(
        out,
        "  {} to verify, {} to restore, {} to compare",
        span(report.verifying),
        span(report.restoring),
        span(report.comparing)
    );
    let outcomes = report
        .tables
        .iter()
        .map(|table| (table.name.to_string(), table.outcome))
        .chain(report.large_objects.map(|outcome| ("large objects".to_owned(), outcome)));
    let different: Vec<Vec<String>> = outcomes
        .filter(|(_, outcome)| !outcome.equal)
        .map(|(name, outcome)| {
            let told = if outcome.rows == outcome.expected {
                format!("{} in both, but not the same", counted(outcome.rows, "row", "rows"))
            } else {
                format!(
                    "{} where the archive has {}",
                    counted(outcome.rows, "row", "rows"),
                    count(outcome.expected)
                )
            };
            vec![format!("  {name}"), told]
        })
        .collect();
    if !different.is_empty() {
        _ = writeln!(out, "\n{}", paint.paint(Style::Bad, "Different"));
        out.push_str(&columns(&different, &[Align::Left, Align::Left]));
    }
    if !report.findings.is_empty() {
        _ = writeln!(out, "\n{}", paint.paint(Style::Warn, "Left to do"));
    }
    for finding in &report.findings {
        _ = writeln!(out, "  {} {}: {}", finding.kind, finding.object, finding.message);
        if let Some(statement) = &finding.statement {
            _ = writeln!(out, "    What to run: {}", statement.trim_end());
        }
    }
    out
}
