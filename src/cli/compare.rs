//! `pgark compare`: what differs between an archive and a database, or another archive.

use std::fmt::Write as _;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use super::Context;
use super::args::{Compare, SqlScope};
use super::cat::open;
use super::create::default_jobs;
use super::exit::Exit;
use super::hints::Failure;
use super::json::{self, Compared};
use super::named::Reached;
use super::printer::{Paint, Printer, Style};
use super::render::{Align, columns, headed};
use super::units::{count, counted};
use crate::compare::{
    self, Cell, CompareError, CompareOptions, Comparison, Kind, Live, LiveOptions, RowDifference,
    Scope, State, Statements, TableComparison, There, Verdict,
};
use crate::format::reader::Archive;
use crate::progress::Progress;

/// Examples of each kind of difference in a table.
const EXAMPLES: usize = 5;
/// Characters of a value that people see of an example.
const SHORT: usize = 40;
/// Lines of a list that people see without `--full`.
const LINES: usize = 10;

/// Runs it.
pub(super) fn run(typed: &Compare, context: &Context) -> Result<Exit, Failure> {
    let printer = &context.printer;
    let found = context.archive(&typed.file)?;
    let path = found.as_path();
    let here = open(path, &typed.bases)?;
    let other = other(typed, context)?;
    let bars = context.bars();
    let progress: Arc<dyn Progress> = bars.clone();
    let options = CompareOptions {
        examples: if typed.full { usize::MAX } else { EXAMPLES },
        memory: typed.memory / 2,
        schema: !typed.no_schema,
    };
    let done = compare(typed, context, &here, other, &options, &progress);
    bars.finish();
    let (with, comparison, statements) = match done {
        Ok(done) => done,
        // Nobody reads any more; whether for a reason is for the printer to say.
        Err(Failure::Compare(error)) if printer.is_gone() && is_output(&error) => {
            return Ok(Exit::Findings);
        }
        Err(failure) => return Err(failure),
    };
    let equal = comparison.verdict == Verdict::Equal;
    if typed.sql.is_some() {
        let (word, told) = verdict(&comparison, printer.err_paint());
        let written = counted(statements, "statement", "statements");
        printer.message(&format!("{}: {word} {told}\n{written} written.", path.display()));
    } else if typed.json {
        json::print(printer, &Compared::new(path, &with, &comparison));
    } else if !equal || !printer.is_quiet() {
        printer.result(&words(typed, &with, &comparison, printer.out_paint()));
    }
    Ok(if equal { Exit::Clean } else { Exit::Findings })
}

fn is_output(error: &CompareError) -> bool {
    matches!(error, CompareError::Output(_))
}

/// What the archive is compared with.
enum Other {
    Archive(Box<Archive>),
    Live(Box<Reached>),
}

fn other(typed: &Compare, context: &Context) -> Result<Other, Failure> {
    let path = Path::new(&typed.with);
    let named = path.extension().is_some_and(|extension| extension == "pgark");
    if path.is_file() || named && !typed.with.contains("://") && !typed.with.contains('=') {
        return Ok(Other::Archive(Box::new(open(path, &typed.bases)?)));
    }
    Ok(Other::Live(Box::new(context.reach(Some(&typed.with))?)))
}

fn compare(
    typed: &Compare,
    context: &Context,
    here: &Archive,
    other: Other,
    options: &CompareOptions,
    progress: &Arc<dyn Progress>,
) -> Result<(String, Comparison, u64), Failure> {
    let failed = |error| Failure::Compare(Box::new(error));
    // What a connection goes through stays open to the end.
    let (with, mut there, _open): (String, Box<dyn There>, _) = match other {
        Other::Archive(archive) => (typed.with.clone(), archive, None),
        Other::Live(reached) => {
            let described = reached.name();
            let pg_dump = typed.pg_dump.clone().or_else(|| reached.pg_dump.clone());
            let pg_dump = pg_dump.unwrap_or_default();
            let live = LiveOptions {
                params: reached.params.clone(),
                jobs: typed.jobs.unwrap_or_else(default_jobs),
                memory: typed.memory / 2,
                lock_timeout: typed.lock_timeout,
                pg_dump,
            };
            let live = Live::open(live, progress.as_ref()).map_err(failed)?;
            (described, Box::new(live), Some(reached))
        }
    };
    let mut out = BufWriter::with_capacity(256 << 10, Out(&context.printer));
    let mut statements = typed.sql.map(|scope| {
        let scope = match scope {
            SqlScope::All => Scope::All,
            SqlScope::Lost => Scope::Lost,
        };
        Statements::new(here, scope, &mut out)
    });
    let comparison = compare::run(here, there.as_mut(), options, statements.as_mut(), progress)
        .map_err(failed)?;
    let written = statements.as_ref().map_or(0, Statements::count);
    Ok((with, comparison, written))
}

/// Standard output for statements.
struct Out<'a>(&'a Printer);

impl Write for Out<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.data(bytes);
        if self.0.is_gone() { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(bytes.len()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The verdict: a word, and what it stands for.
fn verdict(comparison: &Comparison, paint: Paint) -> (String, String) {
    match comparison.verdict {
        Verdict::Equal => {
            let what = match comparison.objects {
                Some(_) => "Schema, rows, blobs and sequences are what the archive holds.",
                None => "Rows, blobs and sequences are what the archive holds.",
            };
            (paint.paint(Style::Good, "EQUAL."), what.into())
        }
        Verdict::AllThere => (
            paint.paint(Style::Good, "ALL THERE."),
            format!("All that the archive holds is still there; {}.", news(comparison)),
        ),
        Verdict::Missing => (paint.paint(Style::Bad, "MISSING."), losses(comparison)),
    }
}

pub(super) fn sum(comparison: &Comparison, of: fn(&TableComparison) -> u64) -> u64 {
    all(comparison).map(of).fold(0, u64::saturating_add)
}

pub(super) fn all(comparison: &Comparison) -> impl Iterator<Item = &TableComparison> {
    comparison.tables.iter().chain(&comparison.large_objects)
}

pub(super) fn number(of: usize) -> u64 {
    u64::try_from(of).unwrap_or(u64::MAX)
}

/// What is there beside.
fn news(comparison: &Comparison) -> String {
    let rows = sum(comparison, |table| table.only_there);
    let mut parts = Vec::new();
    if rows > 0 {
        parts.push(format!("{} came since", counted(rows, "row", "rows")));
    }
    let objects = comparison.objects.as_ref().map_or(0, Vec::len);
    if objects > 0 {
        parts.push(format!(
            "{} differ",
            counted(number(objects), "schema object", "schema objects")
        ));
    }
    if !comparison.sequences.is_empty() {
        parts.push(format!(
            "{} moved on",
            counted(number(comparison.sequences.len()), "sequence", "sequences")
        ));
    }
    if parts.is_empty() { "columns were added or changed".into() } else { parts.join(", ") }
}

/// What is not there as it was.
fn losses(comparison: &Comparison) -> String {
    let mut parts = Vec::new();
    let tables = all(comparison).filter(|table| table.state == State::OnlyHere || table.other_kind);
    let mut tell = |of: u64, one: &str, many: &str, what: &str| {
        if of > 0 {
            parts.push(format!("{} {what}", counted(of, one, many)));
        }
    };
    tell(number(tables.count()), "table", "tables", "not there");
    tell(sum(comparison, |table| table.only_here), "row", "rows", "lost");
    tell(sum(comparison, |table| table.changed), "row", "rows", "changed");
    let nulls = all(comparison).flat_map(|table| &table.changed_columns);
    let nulls = nulls.map(|column| column.now_null).fold(0, u64::saturating_add);
    tell(nulls, "value", "values", "now NULL");
    let columns = all(comparison).flat_map(|table| &table.columns);
    let columns = columns.filter(|column| column.state == State::OnlyHere).count();
    tell(number(columns), "column", "columns", "not there");
    let objects = comparison.objects.iter().flatten();
    let objects = objects.filter(|object| object.state == State::OnlyHere).count();
    tell(number(objects), "schema object", "schema objects", "not there");
    let gone = |state: &&compare::SequenceDifference| state.state == State::OnlyHere;
    tell(
        number(comparison.sequences.iter().filter(gone).count()),
        "sequence",
        "sequences",
        "not there",
    );
    let behind = comparison.sequences.iter().filter(|sequence| sequence.behind).count();
    tell(number(behind), "sequence", "sequences", "behind");
    format!("{}.", parts.join(", "))
}

fn words(typed: &Compare, with: &str, comparison: &Comparison, paint: Paint) -> String {
    let mut out = String::new();
    let (word, told) = verdict(comparison, paint);
    let file = typed.file.display();
    out.push_str(&headed(&format!("{file} compared with {with}"), &format!("{word} {told}")));
    let equal = all(comparison).filter(|table| table.state == State::Equal).count();
    _ = writeln!(
        out,
        "  {}: {} equal; {} in the archive, {} there",
        counted(number(all(comparison).count()), "table", "tables"),
        count(number(equal)),
        counted(sum(comparison, |table| table.rows_here), "row", "rows"),
        count(sum(comparison, |table| table.rows_there)),
    );
    let schema = comparison.objects.as_ref().map_or_else(
        || "schema not compared".into(),
        |objects| match objects.len() {
            0 => "schema equal".into(),
            differ => {
                format!("{} of the schema differ", counted(number(differ), "object", "objects"))
            }
        },
    );
    let sequences = match comparison.sequences.len() {
        0 => "sequences equal".into(),
        differ => format!("{} differ", counted(number(differ), "sequence", "sequences")),
    };
    _ = writeln!(out, "  {schema}, {sequences}");
    if comparison.verdict == Verdict::Equal {
        return out;
    }
    tables(&mut out, typed, comparison, paint);
    objects(&mut out, typed, comparison, paint);
    sequence_lines(&mut out, typed, comparison, paint);
    next(&mut out, typed, comparison, paint);
    out
}

pub(super) fn shown(table: &TableComparison) -> String {
    if table.name.name.is_empty() { "large objects".into() } else { table.name.to_string() }
}

fn tables(out: &mut String, typed: &Compare, comparison: &Comparison, paint: Paint) {
    let different: Vec<&TableComparison> =
        all(comparison).filter(|table| table.state != State::Equal).collect();
    if different.is_empty() {
        return;
    }
    let head = ["  Tables", "archive", "there", "lost", "changed", "new"];
    let mut lines = vec![head.map(str::to_owned).to_vec()];
    let limit = if typed.full { usize::MAX } else { 2 * LINES };
    // What is lost comes before what is new.
    let mut sorted = different;
    sorted.sort_by_key(|table| !table.is_missing());
    for table in sorted.iter().take(limit) {
        let figures =
            [table.rows_here, table.rows_there, table.only_here, table.changed, table.only_there];
        let mut line = vec![format!("  {}", shown(table))];
        line.extend(figures.map(count));
        lines.push(line);
    }
    let right = Align::Right;
    _ = writeln!(
        out,
        "\n{}",
        columns(&lines, &[Align::Left, right, right, right, right, right]).trim_end()
    );
    more(out, sorted.len(), limit, "tables");
    for table in sorted.iter().take(limit) {
        details(out, typed, table, paint);
    }
}

fn more(out: &mut String, all: usize, limit: usize, what: &str) {
    if let Some(left) = all.checked_sub(limit).filter(|left| *left > 0) {
        _ = writeln!(out, "  and {} more {what}: --full shows them", count(number(left)));
    }
}

fn details(out: &mut String, typed: &Compare, table: &TableComparison, paint: Paint) {
    _ = writeln!(out, "\n{}", paint.paint(Style::Bold, &shown(table)));
    match table.state {
        _ if table.other_kind => {
            _ = writeln!(
                out,
                "  partitioned in one of them and not in the other: rows were not compared"
            );
        }
        State::OnlyHere => _ = writeln!(out, "  the table is not there"),
        State::OnlyThere => _ = writeln!(out, "  the table is not in the archive"),
        _ => {}
    }
    for column in &table.columns {
        let kind = |kind: &Option<String>| kind.clone().unwrap_or_default();
        let told = match column.state {
            State::OnlyHere => "is not there".into(),
            State::OnlyThere => format!("({}) is not in the archive", kind(&column.there)),
            _ => format!("is {}, in the archive {}", kind(&column.there), kind(&column.here)),
        };
        _ = writeln!(out, "  column {} {told}", column.name);
    }
    let changed: Vec<String> = table
        .changed_columns
        .iter()
        .map(|column| match column.now_null {
            0 => format!("{} ({})", column.name, count(column.rows)),
            null if null == column.rows => format!("{} ({}, now NULL)", column.name, count(null)),
            null => format!("{} ({}, {} now NULL)", column.name, count(column.rows), count(null)),
        })
        .collect();
    let keyless = table.key.is_empty() && !table.examples.is_empty();
    if keyless {
        _ = writeln!(out, "  no primary key: rows are matched whole");
    }
    let kinds = [
        (Kind::OnlyHere, "lost", table.only_here, String::new()),
        (Kind::Changed, "changed", table.changed, format!(" in {}", changed.join(", "))),
        (Kind::OnlyThere, "new", table.only_there, String::new()),
    ];
    let full = typed.full;
    for (kind, word, rows, columns) in kinds {
        let examples: Vec<&RowDifference> =
            table.examples.iter().filter(|example| example.kind == kind).collect();
        if examples.is_empty() {
            continue;
        }
        _ = writeln!(out, "  {} {word}{columns}", counted(rows, "row", "rows"));
        for example in &examples {
            _ = writeln!(out, "    {}", example_line(example, full));
        }
        if rows > number(examples.len()) {
            _ = writeln!(out, "    and {} more", count(rows - number(examples.len())));
        }
    }
}

fn example_line(example: &RowDifference, full: bool) -> String {
    let here = example.kind != Kind::OnlyThere;
    let of = |cell: &Cell| if here { cell.here.clone() } else { cell.there.clone() };
    let key: Vec<String> = example
        .key
        .iter()
        .map(|cell| format!("{}={}", cell.column, short(of(cell), full)))
        .collect();
    let mut line = key.join(", ");
    if !full && line.chars().count() > 2 * SHORT {
        line = line.chars().take(2 * SHORT).chain(['…']).collect();
    }
    let cells = example.cells.iter().map(|cell| {
        let (here, there) = (short(cell.here.clone(), full), short(cell.there.clone(), full));
        format!("{} {here} -> {there}", cell.column)
    });
    let cells: Vec<String> = cells.collect();
    if !cells.is_empty() {
        _ = write!(line, ": {}", cells.join(", "));
    }
    line
}

/// A value on one line: NULL stands for itself, text is in quotes if it is not plain.
fn short(value: Option<String>, full: bool) -> String {
    let Some(value) = value else { return "NULL".into() };
    if let Some((hex, length)) = value.strip_prefix('#').and_then(|rest| rest.split_once(':'))
        && hex.len() == 64
    {
        return format!("blob {}… ({length} bytes)", hex.get(..12).unwrap_or(hex));
    }
    let plain =
        !value.is_empty() && value.chars().all(|c| c.is_alphanumeric() || "-_.:@/".contains(c));
    let cut = !full && value.chars().count() > SHORT;
    let value: String =
        if cut { value.chars().take(SHORT).chain(['…']).collect() } else { value };
    if plain && value != "NULL" {
        value
    } else {
        format!("'{}'", value.escape_debug().to_string().replace("\\'", "'").replace("\\\"", "\""))
    }
}

fn objects(out: &mut String, typed: &Compare, comparison: &Comparison, paint: Paint) {
    let Some(objects) = comparison.objects.as_ref().filter(|objects| !objects.is_empty()) else {
        return;
    };
    _ = writeln!(out, "\n{}", paint.paint(Style::Bold, "Schema"));
    if let Some([here, there]) = &comparison.pg_dump_versions {
        _ = writeln!(
            out,
            "  written by {here}, there by {there}: they may word the same thing otherwise"
        );
    }
    let limit = if typed.full { usize::MAX } else { LINES };
    for object in objects.iter().take(limit) {
        let state = match object.state {
            State::OnlyHere => "not there:  ",
            State::OnlyThere => "new:        ",
            _ => "changed:    ",
        };
        let schema = object.in_schema.as_ref().map(|schema| format!("{schema}."));
        _ = writeln!(out, "  {state}{} {}{}", object.kind, schema.unwrap_or_default(), object.name);
        if typed.full {
            for (side, text) in [("archive", &object.here), ("there", &object.there)] {
                for line in
                    text.iter().flat_map(|text| text.lines()).filter(|line| !line.is_empty())
                {
                    _ = writeln!(out, "    {side}: {line}");
                }
            }
        }
    }
    more(out, objects.len(), limit, "objects");
}

fn sequence_lines(out: &mut String, typed: &Compare, comparison: &Comparison, paint: Paint) {
    if comparison.sequences.is_empty() {
        return;
    }
    _ = writeln!(out, "\n{}", paint.paint(Style::Bold, "Sequences"));
    let limit = if typed.full { usize::MAX } else { LINES };
    let mut sorted: Vec<_> = comparison.sequences.iter().collect();
    sorted.sort_by_key(|sequence| !sequence.behind);
    for sequence in sorted.iter().take(limit) {
        let told = match (sequence.here, sequence.there) {
            (Some(here), Some(there)) => {
                let behind = if sequence.behind { ": BEHIND" } else { "" };
                let (here, there) = (here.last_value, there.last_value);
                format!("is at {there}, in the archive at {here}{behind}")
            }
            (Some(_), None) => "is not there".into(),
            _ => "is not in the archive".into(),
        };
        _ = writeln!(out, "  {} {told}", sequence.name);
    }
    more(out, sorted.len(), limit, "sequences");
}

fn next(out: &mut String, typed: &Compare, comparison: &Comparison, paint: Paint) {
    if comparison.verdict != Verdict::Missing {
        return;
    }
    let file = typed.file.display();
    _ = writeln!(out, "\n{}", paint.paint(Style::Bold, "What next"));
    let rows = all(comparison)
        .any(|table| table.only_here + table.changed > 0 && table.state != State::OnlyHere);
    if rows || comparison.sequences.iter().any(|sequence| sequence.behind) {
        _ = writeln!(
            out,
            "  --sql        statements that bring lost rows and values back, to read and run"
        );
        _ = writeln!(out, "  --sql=lost   the same, but values that were changed to others stay");
    }
    if comparison.tables.iter().any(|table| table.state == State::OnlyHere || table.other_kind) {
        _ = writeln!(out, "  pgark restore {file} --to NEW   all of it, into an empty database");
    }
    if !typed.full {
        _ = writeln!(out, "  --full       every difference, not only the first");
    }
}
