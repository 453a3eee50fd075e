//! `pgark extract`: blobs as files.

use std::fmt::Write as _;
use std::path::Path;

use super::Context;
use super::args::Extract;
use super::cat::open;
use super::exit::Exit;
use super::hints::Failure;
use super::json::{self, Extracted};
use super::names;
use super::printer::{Paint, Style};
use super::render::{Align, columns};
use super::units::{count, counted, size};
use crate::extract::names::MANIFEST;
use crate::extract::{self, ExtractError, ExtractOptions, ExtractReport};

/// How many problems are shown to people; `--json` has more.
const SHOWN: usize = 10;

/// Runs it.
pub(super) fn run(typed: &Extract, context: &Context) -> Result<Exit, Failure> {
    let path = typed.file.as_path();
    let archive = open(path, &typed.bases)?;
    let name = |error| Failure::Name(path.to_owned(), error);
    let (table, column) = names::find_bytea(archive.manifest(), &typed.column).map_err(name)?;
    let name_by = typed.name_by.as_deref().map(|typed| names::column(table, typed)).transpose();
    let options = ExtractOptions {
        table: table.name.clone(),
        column: column.name.clone(),
        folder: typed.to.clone(),
        name_by: name_by.map_err(name)?.map(|column| column.name.clone()),
    };
    let bars = context.bars();
    let done = extract::run(&archive, &options, &*bars);
    bars.finish();
    let report =
        done.map_err(|error: ExtractError| Failure::Extract(path.to_owned(), Box::new(error)))?;
    let exit = if report.problem_count == 0 { Exit::Clean } else { Exit::Findings };
    if typed.json {
        json::print(&context.printer, &Extracted::new(path, &options, &report));
    } else if exit != Exit::Clean || !context.printer.is_quiet() {
        context.printer.result(&words(&typed.to, &report, context.printer.out_paint()));
    }
    Ok(exit)
}

fn words(folder: &Path, report: &ExtractReport, paint: Paint) -> String {
    let mut out = format!(
        "{}: {}, {}, and {MANIFEST}\n",
        folder.display(),
        counted(report.files, "file", "files"),
        size(report.bytes)
    );
    let lines: Vec<Vec<String>> = report
        .media
        .iter()
        .map(|(media, (files, bytes))| {
            vec![format!("  {}", media.media_type), count(*files), size(*bytes)]
        })
        .collect();
    out.push_str(&columns(&lines, &[Align::Left, Align::Right, Align::Right]));
    if report.nulls > 0 {
        _ = writeln!(out, "  {} without a value (NULL)", counted(report.nulls, "row", "rows"));
    }
    if report.empties > 0 {
        _ = writeln!(out, "  {} with an empty value", counted(report.empties, "row", "rows"));
    }
    if report.problem_count > 0 {
        _ = writeln!(out, "\n{}", paint.paint(Style::Bad, "Damaged, and not written"));
        for problem in report.problems.iter().take(SHOWN) {
            _ = writeln!(out, "  {problem}");
        }
        let shown = u64::try_from(SHOWN).unwrap_or(u64::MAX);
        if let Some(more) = report.problem_count.checked_sub(shown).filter(|more| *more > 0) {
            _ = writeln!(out, "  and {} more", count(more));
        }
    }
    out
}
