//! Words for people: tables of text, and the answer of a verification.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use super::printer::{Paint, Style};
use super::units::{count, counted, size, span};
use crate::verify::{Code, Finding, Level, Report, Severity, TableReport, TableState};

/// To which side a column of text goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Align {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

/// Lines of cells as columns, two blanks apart, each as wide as its widest cell.
pub(super) fn columns(lines: &[Vec<String>], aligns: &[Align]) -> String {
    let width = |at: usize| {
        lines.iter().filter_map(|line| line.get(at)).map(|cell| wide(cell)).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..aligns.len()).map(width).collect();
    let mut out = String::new();
    for line in lines {
        let mut text = String::new();
        for ((cell, align), width) in line.iter().zip(aligns).zip(&widths) {
            let pad = " ".repeat(width.saturating_sub(wide(cell)));
            match align {
                Align::Left => _ = write!(text, "{cell}{pad}  "),
                Align::Right => _ = write!(text, "{pad}{cell}  "),
            }
        }
        out.push_str(text.trim_end());
        out.push('\n');
    }
    out
}

/// How many columns of a terminal a text takes, near enough.
fn wide(text: &str) -> usize {
    text.chars().count()
}

/// How many findings of one code are shown to people; `--json` has all.
const SHOWN: usize = 10;
/// How many intact tables are named.
const NAMED: usize = 12;

/// The answer for one file: first the verdict in one line, then what is lost and what is safe,
/// then the details.
pub(super) fn verification(
    file: &Path,
    report: &Report,
    strict: bool,
    took: Duration,
    paint: Paint,
) -> String {
    let mut out = format!("{}: {}\n", file.display(), verdict(report, strict, paint));
    if report.too_new {
        details(&mut out, report, paint);
        return out;
    }
    if report.ok {
        _ = writeln!(out, "  {}", checked(report, took));
    } else {
        losses(&mut out, report, paint);
    }
    details(&mut out, report, paint);
    out
}

/// The verdict in one line.
pub(super) fn verdict(report: &Report, strict: bool, paint: Paint) -> String {
    if report.too_new {
        let word = paint.paint(Style::Warn, "NEEDS A NEWER PGARK.");
        return format!("{word} Nothing was checked; the file is no worse for it.");
    }
    let (hit, intact) = (states(report, TableState::Damaged), states(report, TableState::Intact));
    if !report.ok {
        let tables = match report.tables {
            0 => "Which tables are hit cannot be told from this file.".to_owned(),
            all => {
                let are = if hit == 1 { "is" } else { "are" };
                format!(
                    "{} of {} {are} hit, {} intact.",
                    count(hit),
                    counted(all, "table", "tables"),
                    count(intact)
                )
            }
        };
        return if is_damaged(report) {
            format!("{} {tables}", paint.paint(Style::Bad, "DAMAGED."))
        } else {
            let word = paint.paint(Style::Bad, "BROKEN DATA.");
            format!(
                "{word} The file is undamaged, but rows in it break rules of their own \
                 database: {}.",
                counted(report.errors, "error", "errors")
            )
        };
    }
    let warnings = match report.warnings {
        0 => String::new(),
        some => format!(", with {}", counted(some, "warning", "warnings")),
    };
    let style = if report.warnings == 0 { Style::Good } else { Style::Warn };
    let fails = if strict && report.warnings > 0 { " (not good enough for --strict)" } else { "" };
    match report.level {
        Level::Full => format!(
            "{}{fails} A restore gives back exactly what was saved.",
            paint.paint(style, &format!("GOOD{warnings}."))
        ),
        Level::Quick => format!(
            "{}{fails} Rows and blobs were not read.",
            paint.paint(style, &format!("NO DAMAGE SEEN at a quick look{warnings}."))
        ),
    }
}

/// Whether the file itself is hit, or only what was saved in it was not in order.
fn is_damaged(report: &Report) -> bool {
    // Codes from 4xx on that break no section of the format are about the data.
    let of_data = |code: Code| code.spec().is_empty() && code.id() >= "E4";
    report
        .findings
        .iter()
        .any(|finding| finding.severity == Severity::Error && !of_data(finding.code))
}

fn states(report: &Report, state: TableState) -> u64 {
    let number = report.table_states.iter().filter(|table| table.state == state).count();
    u64::try_from(number).unwrap_or(u64::MAX)
}

fn checked(report: &Report, took: Duration) -> String {
    let blobs = if report.blobs == 0 {
        String::new()
    } else {
        format!(", {} ({})", counted(report.blobs, "blob", "blobs"), size(report.blob_bytes))
    };
    format!(
        "{}, {}{blobs} in {}; took {}",
        counted(report.tables, "table", "tables"),
        counted(report.rows, "row", "rows"),
        size(report.bytes),
        span(took)
    )
}

/// What is lost and what is safe, table by table.
fn losses(out: &mut String, report: &Report, paint: Paint) {
    let of = |state: TableState| -> Vec<&TableReport> {
        report.table_states.iter().filter(|table| table.state == state).collect()
    };
    let hit = of(TableState::Damaged);
    if !hit.is_empty() {
        _ = writeln!(out, "\n{}", paint.paint(Style::Bad, "Lost or wrong"));
        let lines: Vec<Vec<String>> = hit
            .iter()
            .map(|table| {
                let name = name_of(table);
                let errors = report
                    .findings
                    .iter()
                    .filter(|finding| finding.severity == Severity::Error)
                    .filter(|finding| finding.table.as_ref() == Some(&name))
                    .map(|finding| finding.count)
                    .fold(0, u64::saturating_add);
                let read = format!("{} of {} read", count(table.rows_read), rows_of(table));
                vec![format!("  {name}"), read, counted(errors, "error", "errors")]
            })
            .collect();
        out.push_str(&columns(&lines, &[Align::Left, Align::Right, Align::Right]));
    }
    listed(out, "Safe", Style::Good, &of(TableState::Intact), paint);
    listed(out, "Not checked", Style::Warn, &of(TableState::Unchecked), paint);
}

fn listed(out: &mut String, title: &str, style: Style, tables: &[&TableReport], paint: Paint) {
    if tables.is_empty() {
        return;
    }
    _ = writeln!(out, "\n{}", paint.paint(style, title));
    let lines: Vec<Vec<String>> = tables
        .iter()
        .take(NAMED)
        .map(|table| vec![format!("  {}", name_of(table)), rows_of(table)])
        .collect();
    out.push_str(&columns(&lines, &[Align::Left, Align::Right]));
    if let Some(more) = tables.len().checked_sub(NAMED).filter(|more| *more > 0) {
        _ = writeln!(out, "  and {more} more");
    }
}

fn name_of(table: &TableReport) -> String {
    crate::format::manifest::Name::new(&*table.schema, &*table.name).to_string()
}

fn rows_of(table: &TableReport) -> String {
    counted(table.rows, "row", "rows")
}

/// The findings alone.
pub(super) fn findings(report: &Report, paint: Paint) -> String {
    let mut out = String::new();
    details(&mut out, report, paint);
    out.trim_start().to_owned()
}

/// Every finding, by code: what it is, where it is, what to do.
fn details(out: &mut String, report: &Report, paint: Paint) {
    let mut rest = report.findings.as_slice();
    if !rest.is_empty() {
        _ = writeln!(out, "\n{}", paint.paint(Style::Bold, "Details"));
    }
    while let Some(first) = rest.first() {
        let length = rest.iter().take_while(|finding| finding.code == first.code).count();
        let (group, after) = rest.split_at(length);
        rest = after;
        one_code(out, first, group, paint);
    }
}

fn one_code(out: &mut String, first: &Finding, group: &[Finding], paint: Paint) {
    let style = match first.severity {
        Severity::Error => Style::Bad,
        Severity::Warning => Style::Warn,
        Severity::Note => Style::Plain,
    };
    let code = paint.paint(style, first.code.id());
    let word = match first.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
        Severity::Note => "note",
    };
    _ = writeln!(out, "  {code} {word}: {}", first.title);
    for finding in group.iter().take(SHOWN) {
        let place = finding.place();
        let colon = if place.is_empty() { "" } else { ": " };
        _ = writeln!(out, "    - {place}{colon}{}", finding.message);
    }
    let more: u64 =
        group.iter().skip(SHOWN).map(|finding| finding.count).fold(0, u64::saturating_add);
    if more > 0 {
        _ = writeln!(out, "    - and {} more (--json has more of them)", count(more));
    }
    if !first.advice.is_empty() {
        _ = writeln!(out, "    What to do: {}", first.advice);
    }
}
