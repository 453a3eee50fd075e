//! Words for people: tables of text, and the answer of a verification.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use super::printer::{Paint, Style};
use super::units::{count, counted, size, span};
use crate::verify::{Code, Finding, Level, Report, Severity, TableReport, TableState, Use};

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

/// Columns of a terminal that is nobody's choice.
const WIDTH: usize = 80;

/// `subject: words` on one line if it fits, else on two or more: a line that the terminal breaks is
/// hard to read.
pub(super) fn headed(subject: &str, words: &str) -> String {
    if wide(subject) + 2 + wide(words) <= WIDTH {
        return format!("{subject}: {words}\n");
    }
    format!("{subject}:\n{}", wrapped(words, "", ""))
}

/// `words` in lines of the width of a terminal: the first after `first`, the others after `more`.
pub(super) fn wrapped(words: &str, first: &str, more: &str) -> String {
    broken(words, first, more, WIDTH)
}

/// A line in lines of this width, the second and further ones set in.
pub(super) fn folded(line: &str, width: usize) -> String {
    if wide(line) <= width {
        return format!("{line}\n");
    }
    let text = line.trim_start_matches(' ');
    let blank = line.get(..line.len() - text.len()).unwrap_or_default();
    broken(text, blank, &format!("{blank}  "), width)
}

fn broken(words: &str, first: &str, more: &str, columns: usize) -> String {
    let mut out = first.to_owned();
    let mut column = wide(first);
    let mut fresh = true;
    for word in words.split(' ') {
        let width = wide(word);
        if !fresh && column + 1 + width > columns {
            _ = write!(out, "\n{more}");
            column = wide(more);
            fresh = true;
        }
        if !fresh {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += width;
        fresh = false;
    }
    out.push('\n');
    out
}

/// How many columns of a terminal a text takes, near enough. Colours take none.
fn wide(text: &str) -> usize {
    let mut rest = text.chars();
    let mut columns = 0;
    while let Some(c) = rest.next() {
        match c {
            '\x1b' => _ = rest.find(|c| *c == 'm'),
            _ => columns += 1,
        }
    }
    columns
}

/// How many findings of one code are shown to people; `--json` has all.
const SHOWN: usize = 10;
/// How many rows are named that refer to a damaged one.
const USERS: usize = 5;
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
        details(&mut out, &report.findings, paint);
        return out;
    }
    if report.ok {
        _ = writeln!(out, "  {}", checked(report, took));
    } else {
        losses(&mut out, report, paint);
    }
    images(&mut out, report, paint);
    uses(&mut out, report, paint);
    details(&mut out, &report.findings, paint);
    out
}

/// How many images decode, and which tables use those that do not.
fn images(out: &mut String, report: &Report, paint: Paint) {
    let all = counted(report.images, "image", "images");
    match (report.images, report.images_damaged) {
        (0, _) => {}
        (_, 0) => _ = writeln!(out, "  {all}: all decode"),
        (_, damaged) => {
            let of_images = [
                Code::ImageDamaged,
                Code::ImageDamagedNoRule,
                Code::ImageTooLarge,
                Code::ImageTooLargeNoRule,
            ];
            let mut users: Vec<&str> = report
                .findings
                .iter()
                .filter(|finding| of_images.contains(&finding.code))
                .filter_map(|finding| finding.table.as_deref())
                .collect();
            users.sort_unstable();
            users.dedup();
            let title = paint.paint(Style::Bad, "Images");
            let verb = if damaged == 1 { "does" } else { "do" };
            _ = writeln!(
                out,
                "\n{title}\n  {} of {all} {verb} not decode, in {}",
                count(damaged),
                users.join(", ")
            );
        }
    }
}

/// The verdict in one line.
pub(super) fn verdict(report: &Report, strict: bool, paint: Paint) -> String {
    if report.too_new {
        let word = paint.paint(Style::Warn, "NEEDS A NEWER PGARK.");
        return format!("{word} Nothing was checked; the file is no worse for it.");
    }
    if report.lacks_base() {
        let word = paint.paint(Style::Bad, "ITS BASE IS NOT THERE.");
        return format!("{word} Rows and blobs were not checked; see below what is needed.");
    }
    if !report.ok {
        return bad_verdict(report, paint);
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

fn bad_verdict(report: &Report, paint: Paint) -> String {
    let has = |id: &str| report.findings.iter().any(|finding| finding.code.id() == id);
    let bad = |word: &str| paint.paint(Style::Bad, word);
    if report.tables == 0 && has("E002") {
        return format!("{} Nothing in it can be read.", bad("NOT A PGARK ARCHIVE."));
    }
    if !is_damaged(report) {
        return format!(
            "{} The file is undamaged, but rows in it break rules of their own database: {}.",
            bad("BROKEN DATA."),
            counted(report.errors, "error", "errors")
        );
    }
    let (hit, intact) = (states(report, TableState::Damaged), states(report, TableState::Intact));
    let of = counted(report.tables, "table", "tables");
    let tables = match (report.tables, hit, intact) {
        (0, ..) => "Which tables are hit cannot be told from this file.".to_owned(),
        (_, 0, 0) => format!("Whether any of {of} is hit was not checked."),
        (_, 0, intact) => format!(
            "No table is hit: {} of {of} {} intact.",
            count(intact),
            if intact == 1 { "is" } else { "are" }
        ),
        (_, hit, intact) => format!(
            "{} of {of} {} hit, {} intact.",
            count(hit),
            if hit == 1 { "is" } else { "are" },
            count(intact)
        ),
    };
    format!("{} {tables}", bad("DAMAGED."))
}

/// Whether the file itself is hit, or only what was saved in it was not in order.
/// Where damage was found: that parity may be enough to mend it. Whether it is, a repair tells.
pub(super) fn repair_hint(file: &Path, report: &Report) -> Option<String> {
    let archive = !report.findings.iter().any(|finding| finding.code == Code::NotAnArchive);
    let damaged = !report.ok && !report.too_new && archive && is_damaged(report);
    let file = file.display();
    damaged.then(|| {
        format!(
            "\npgark repair {file} -o FIXED mends it if its parity is enough, and says if not.\n"
        )
    })
}

fn is_damaged(report: &Report) -> bool {
    // Codes from 4xx on that break no section of the format are about the data.
    let of_data = |code: Code| code.spec().is_empty() && code.id() >= "E4";
    report
        .findings
        .iter()
        .filter(|finding| finding.severity == Severity::Error)
        .any(|finding| !of_data(finding.code) && !finding.code.is_of_base())
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
        let lines: Vec<Vec<String>> = hit.iter().map(|table| loss(table, report)).collect();
        out.push_str(&columns(&lines, &[Align::Left, Align::Left]));
    }
    listed(out, "Safe", Style::Good, &of(TableState::Intact), paint);
    listed(out, "Not checked", Style::Warn, &of(TableState::Unchecked), paint);
}

/// Who refers to rows of which a blob is lost or an image damaged.
fn uses(out: &mut String, report: &Report, paint: Paint) {
    if report.uses.is_empty() {
        return;
    }
    _ = writeln!(out, "\n{}", paint.paint(Style::Bad, "Used by"));
    for Use { table, by, columns, rows, at_least, examples, .. } in &report.uses {
        let least = if *at_least { "at least " } else { "" };
        let used = counted(*rows, "row", "rows");
        _ = writeln!(out, "  {by} ({}): {least}{used} refer to {table}", columns.join(", "));
        let shown: Vec<_> = examples.iter().take(USERS).map(String::as_str).collect();
        let more = rows.saturating_sub(u64::try_from(shown.len()).unwrap_or(u64::MAX));
        let more = if more == 0 { String::new() } else { format!("; and {} more", count(more)) };
        _ = writeln!(out, "    {}{more}", shown.join("; "));
    }
}

/// What a table has lost: `3 of 12 rows lost, 2 blobs lost, 1 other error`.
fn loss(table: &TableReport, report: &Report) -> Vec<String> {
    let name = name_of(table);
    let of_table = report
        .findings
        .iter()
        .filter(|finding| finding.severity == Severity::Error)
        .filter(|finding| finding.table.as_ref() == Some(&name));
    let (mut blobs, mut broken, mut others) = (0_u64, 0_u64, 0_u64);
    for finding in of_table {
        // Rows that are lost are told by their number.
        let number = match (finding.code, &finding.blob) {
            (Code::RowsLost, _) => continue,
            // What is told of a blob's content is about what was saved: nothing of it is lost.
            (code, _) if code.id().starts_with("E7") => &mut broken,
            (_, Some(_)) => &mut blobs,
            _ => &mut others,
        };
        *number = number.saturating_add(finding.count);
    }
    let mut parts = Vec::new();
    match table.rows.saturating_sub(table.rows_read) {
        0 => parts.push(format!("all {} there", rows_of(table))),
        lost => parts.push(format!("{} of {} lost", count(lost), rows_of(table))),
    }
    if blobs > 0 {
        parts.push(format!("{} lost", counted(blobs, "blob", "blobs")));
    }
    if broken > 0 {
        parts.push(format!("{} not as a rule wants", counted(broken, "blob", "blobs")));
    }
    if others > 0 {
        parts.push(counted(others, "other error", "other errors"));
    }
    vec![format!("  {name}"), parts.join(", ")]
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
    details(&mut out, &report.findings, paint);
    out.trim_start().to_owned()
}

/// Every finding, by code: what it is, where it is, what to do.
pub(super) fn details(out: &mut String, findings: &[Finding], paint: Paint) {
    let mut rest = findings;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_broken_between_words() {
        assert_eq!(headed("a", "b c"), "a: b c\n");
        let long = "word ".repeat(30);
        let out = headed(&"x".repeat(60), long.trim());
        assert!(out.starts_with(&format!("{}:\nword ", "x".repeat(60))));
        assert!(out.lines().all(|line| line.len() <= WIDTH && !line.ends_with(' ')), "{out}");
        assert_eq!(out.matches("word").count(), 30);
        let out = wrapped(long.trim(), "  1. ", "     ");
        assert!(out.starts_with("  1. word") && out.contains("\n     word"), "{out}");
        let out = folded(&format!("  {}", long.trim()), 40);
        assert!(out.starts_with("  word") && out.contains("\n    word"), "{out}");
        assert!(out.lines().all(|line| line.len() <= 40), "{out}");
        // A word that fits nowhere stays whole; colours take no room.
        let path = "/".repeat(100);
        assert_eq!(wrapped(&path, "", ""), format!("{path}\n"));
        assert_eq!(wide("\u{1b}[1;31mred\u{1b}[0m"), 3);
    }
}
