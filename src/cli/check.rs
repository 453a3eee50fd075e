//! `pgark check`: whether a live database is in order, and whether it still has what an archive
//! has. The first line is for somebody who is afraid; the rest fits on a screen.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use super::Context;
use super::args::Check;
use super::cat::open;
use super::compare::{all, number, shown, sum};
use super::create::default_jobs;
use super::exit::Exit;
use super::hints::Failure;
use super::json::CheckReport;
use super::named::{Reached, latest};
use super::printer::{Paint, Printer, Style};
use super::render;
use super::units::{count, counted, near, quoted};
use crate::check::{self, CheckOptions, Given, Report, RuleState};
use crate::compare::{self, CompareOptions, Comparison, Live, LiveOptions, State};
use crate::format::reader::Archive;
use crate::progress::Progress;
use crate::verify::ImageCheck;
use crate::verify::rules::RuleFile;

/// Lines of a list that people see.
const LINES: usize = 12;
/// Rules that people see one by one.
const RULES: usize = 20;

/// Runs it.
pub(super) fn run(typed: &Check, context: &Context) -> Result<Exit, Failure> {
    let printer = &context.printer;
    // What the connection goes through stays open to the end.
    let reached = context.reach(typed.source.as_deref())?;
    let rules = match (&typed.rules, &reached.profile) {
        (Some(path), _) => Some(super::verify::rule_file(path)?),
        (None, Some(profile)) => super::saving::rules(profile)?,
        (None, None) => None,
    };
    let against = match (typed.against.as_deref(), &reached.profile) {
        (Some(word), Some(profile)) if word == Path::new("latest") => Some(latest(profile)?),
        (Some(file), _) => Some(context.archive(file)?),
        (None, _) => None,
    };
    let looked = looked(typed, &reached, rules.as_ref(), against.as_deref(), context)?;
    context.report(typed.json, &looked.json());
    if let Some(path) = &against {
        context.archive_is(path);
    }
    if !typed.json && (!looked.ok || !printer.is_quiet()) {
        printer.result(&looked.words(printer));
    }
    Ok(if looked.ok { Exit::Clean } else { Exit::Findings })
}

/// What was seen of a database.
pub(super) struct Looked<'a> {
    typed: &'a Check,
    against: Option<&'a Path>,
    described: String,
    name: String,
    psql: Vec<String>,
    archive: Option<Archive>,
    checked: Report,
    comparison: Option<Comparison>,
    lost: Vec<String>,
    changed: Vec<String>,
    /// Whether all is there, as it was, and in order.
    pub(super) ok: bool,
}

/// Looks at a database, with progress.
pub(super) fn looked<'a>(
    typed: &'a Check,
    reached: &Reached,
    rules: Option<&RuleFile>,
    against: Option<&'a Path>,
    context: &Context,
) -> Result<Looked<'a>, Failure> {
    let archive = against.map(|path| open(path, &typed.bases)).transpose()?;
    let bars = context.bars();
    let progress: Arc<dyn Progress> = bars.clone();
    let done = look(typed, reached, rules, archive.as_ref(), &progress);
    bars.finish();
    let (checked, comparison) = done?;
    let lost = comparison.as_ref().map(lost).unwrap_or_default();
    let changed = comparison.as_ref().map(changed).unwrap_or_default();
    let as_it_was = lost.is_empty() && (changed.is_empty() || typed.allow_changes);
    let ok = as_it_was && checked.ok && !(typed.strict && checked.warnings > 0);
    let described = reached.params.describe();
    let (name, psql) = (reached.name(), reached.psql.clone());
    Ok(Looked {
        typed,
        against,
        described,
        name,
        psql,
        archive,
        checked,
        comparison,
        lost,
        changed,
        ok,
    })
}

impl Looked<'_> {
    /// For programs.
    pub(super) fn json(&self) -> CheckReport<'_> {
        let differences = [self.lost.as_slice(), self.changed.as_slice()];
        CheckReport::new(
            self.against,
            &self.described,
            self.ok,
            self.typed.strict,
            &self.checked,
            differences,
            self.comparison.as_ref(),
        )
    }

    /// For people.
    pub(super) fn words(&self, printer: &Printer) -> String {
        let source = match &self.typed.source {
            Some(source) => printer.redact(source),
            None => String::new(),
        };
        let seen = Seen {
            typed: self.typed,
            archive: self.archive.as_ref(),
            checked: &self.checked,
            lost: &self.lost,
            changed: &self.changed,
            ok: self.ok,
        };
        let paint = printer.out_paint();
        let mut out = words(&self.name, &seen, self.comparison.as_ref(), paint);
        let differs = !self.lost.is_empty() || !self.changed.is_empty() && !self.ok;
        if let Some(file) = self.against.filter(|_| differs) {
            back(&mut out, file, &source, &self.psql, &seen);
        }
        out
    }
}

/// Both looks at the database, in one snapshot.
fn look(
    typed: &Check,
    reached: &Reached,
    rules: Option<&RuleFile>,
    archive: Option<&Archive>,
    progress: &Arc<dyn Progress>,
) -> Result<(Report, Option<Comparison>), Failure> {
    let jobs = typed.jobs.unwrap_or_else(default_jobs);
    let carried = archive.and_then(|archive| archive.manifest().rules.as_ref());
    let given = match (rules, carried) {
        (Some(file), _) => Given::File(file),
        (None, Some(rules)) => Given::Carried(rules),
        (None, None) => Given::None,
    };
    let mut options = CheckOptions {
        jobs,
        memory: typed.memory,
        lock_timeout: typed.lock_timeout,
        images: ImageCheck::Pixels,
        snapshot: None,
    };
    let Some(archive) = archive else {
        let checked = check::run(&reached.params, given, &options, progress);
        return Ok((checked.map_err(|error| Failure::Check(Box::new(error)))?, None));
    };
    let failed = |error| Failure::Compare(Box::new(error));
    let live = LiveOptions {
        params: reached.params.clone(),
        jobs,
        memory: typed.memory / 2,
        lock_timeout: typed.lock_timeout,
        pg_dump: typed.pg_dump.clone().or_else(|| reached.pg_dump.clone()).unwrap_or_default(),
    };
    let mut live = Live::open(live, progress.as_ref()).map_err(failed)?;
    options.snapshot = Some(live.snapshot_id().to_owned());
    let checked = check::run(live.params(), given, &options, progress);
    let checked = checked.map_err(|error| Failure::Check(Box::new(error)))?;
    let options =
        CompareOptions { examples: 3, memory: typed.memory / 2, schema: !typed.no_schema };
    let comparison = compare::run(archive, &mut live, &options, None, progress).map_err(failed)?;
    Ok((checked, Some(comparison)))
}

/// What people are told about.
struct Seen<'a> {
    typed: &'a Check,
    archive: Option<&'a Archive>,
    checked: &'a Report,
    lost: &'a [String],
    changed: &'a [String],
    ok: bool,
}

/// Everything of the archive that is not there any more, a sentence each.
fn lost(comparison: &Comparison) -> Vec<String> {
    let mut out = Vec::new();
    let is = |number: u64| if number == 1 { "is" } else { "are" };
    for table in all(comparison) {
        let name = shown(table);
        if table.state == State::OnlyHere {
            let rows = counted(table.rows_here, "row", "rows");
            out.push(format!("table {name} is gone, with {rows}"));
        } else if table.other_kind {
            out.push(format!("table {name} is of another kind, and its rows were not compared"));
        }
    }
    for table in all(comparison).filter(|table| table.state != State::OnlyHere) {
        let name = shown(table);
        if table.only_here > 0 {
            let rows = counted(table.only_here, "row", "rows");
            let was = if table.only_here == 1 { "was" } else { "were" };
            out.push(format!("{rows} of {name} {was} lost"));
        }
        for column in table.changed_columns.iter().filter(|column| column.now_null > 0) {
            let values = counted(column.now_null, "value", "values");
            out.push(format!(
                "{values} of {name}.{} {} NULL now",
                column.name,
                is(column.now_null)
            ));
        }
        for column in table.columns.iter().filter(|column| column.state == State::OnlyHere) {
            out.push(format!("column {} of {name} is gone", column.name));
        }
    }
    for object in comparison.objects.iter().flatten() {
        if object.state == State::OnlyHere {
            let schema = object.in_schema.as_ref().map(|schema| format!("{schema}."));
            let name = format!("{}{}", schema.unwrap_or_default(), object.name);
            out.push(format!("{} {name} is gone", object.kind));
        }
    }
    for sequence in &comparison.sequences {
        match (sequence.state, sequence.behind) {
            (State::OnlyHere, _) => out.push(format!("sequence {} is gone", sequence.name)),
            (_, true) => out.push(format!(
                "sequence {} is behind where it was: it would give numbers again",
                sequence.name
            )),
            _ => {}
        }
    }
    out
}

/// Values of the archive that are others now, a column each.
fn changed(comparison: &Comparison) -> Vec<String> {
    let mut out = Vec::new();
    for table in all(comparison) {
        for column in &table.changed_columns {
            let other = column.rows.saturating_sub(column.now_null);
            if other > 0 {
                let rows = counted(other, "row", "rows");
                out.push(format!("{}.{} in {rows}", shown(table), column.name));
            }
        }
    }
    out
}

fn words(name: &str, seen: &Seen<'_>, comparison: Option<&Comparison>, paint: Paint) -> String {
    let mut out = String::new();
    out.push_str(&render::headed(name, &verdict(seen, paint)));
    for line in seen.lost.iter().take(LINES) {
        out.push_str(&render::wrapped(line, "  ", "    "));
    }
    more(&mut out, seen.lost.len(), "losses");
    if let Some(comparison) = comparison {
        since(&mut out, seen, comparison);
    }
    rule_lines(&mut out, seen.checked, paint);
    if seen.checked.sequences + seen.checked.unchecked_foreign_keys > 0 {
        let keys = match seen.checked.unchecked_foreign_keys {
            0 => String::new(),
            some => format!(
                ", {} that the server does not vouch for",
                counted(some, "foreign key", "foreign keys")
            ),
        };
        let sequences = counted(seen.checked.sequences, "sequence", "sequences");
        _ = writeln!(out, "  also looked at: {sequences}{keys}");
    }
    render::details(&mut out, &seen.checked.findings, paint);
    out
}

fn verdict(seen: &Seen<'_>, paint: Paint) -> String {
    let since = seen.archive.map(|archive| archive.manifest().source.when());
    let rules = rules_told(seen.checked);
    let paint = |style, word: &str| paint.paint(style, word);
    let Some(since) = since else {
        return if seen.ok {
            format!("{} As of now {rules}.", paint(Style::Good, "IN ORDER."))
        } else {
            format!("{} As of now {rules}.", paint(Style::Bad, "NOT IN ORDER."))
        };
    };
    if !seen.lost.is_empty() {
        let word = paint(Style::Bad, "NOT ALL THERE.");
        return format!("{word} Something was lost since {since}:");
    }
    if seen.ok {
        let word = paint(Style::Good, "ALL THERE.");
        return format!("{word} Nothing was lost since {since}; {rules}.");
    }
    if !seen.changed.is_empty() && !seen.typed.allow_changes {
        let word = paint(Style::Warn, "ALL THERE, BUT NOT AS IT WAS.");
        return format!(
            "{word} No row was lost since {since}, but values are others now; {rules}."
        );
    }
    let word = paint(Style::Bad, "ALL THERE, BUT NOT IN ORDER.");
    format!("{word} Nothing was lost since {since}; {rules}.")
}

/// What is otherwise and no loss.
fn since(out: &mut String, seen: &Seen<'_>, comparison: &Comparison) {
    let new = sum(comparison, |table| table.only_there);
    if new > 0 {
        let tables = all(comparison).filter(|table| table.only_there > 0).count();
        _ = writeln!(
            out,
            "  new since then: {} in {}",
            counted(new, "row", "rows"),
            counted(number(tables), "table", "tables")
        );
    }
    if !seen.changed.is_empty() {
        let shown = seen.changed.get(..LINES / 2).unwrap_or(seen.changed);
        let rest = match seen.changed.len() - shown.len() {
            0 => String::new(),
            rest => format!(", and {} more columns", count(number(rest))),
        };
        let line = format!("other values since then: {}{rest}", shown.join(", "));
        out.push_str(&render::wrapped(&line, "  ", "    "));
    }
    let objects = comparison.objects.iter().flatten();
    let objects = objects.filter(|object| object.state != State::OnlyHere).count();
    if objects > 0 {
        let objects = counted(number(objects), "object", "objects");
        _ = writeln!(out, "  new or changed in the schema: {objects}");
    }
    if comparison.objects.is_none() {
        _ = writeln!(out, "  the schema was not compared");
    }
    let rows = counted(sum(comparison, |table| table.rows_here), "row", "rows");
    if seen.lost.is_empty() {
        let tables = number(all(comparison).count());
        let tables = counted(tables, "table", "tables");
        _ = writeln!(out, "  compared: {tables}, {rows} in the archive");
    }
}

/// How many rules hold.
pub(super) fn rules_told(checked: &Report) -> String {
    let broken = checked.rules.iter().filter(|rule| rule.state == RuleState::Broken).count();
    let unknown =
        checked.findings.iter().any(|finding| finding.rule.is_none()) && !checked.ok && broken == 0;
    match (checked.rules.len(), broken) {
        _ if unknown => "a rule is about what is not there".into(),
        (0, _) => "there are no rules to break (pgark rules suggest proposes some)".into(),
        (1, 0) => "its one rule holds".into(),
        (all, 0) => format!("all {} rules hold", count(number(all))),
        (all, 1) => format!("1 of {} does not hold", counted(number(all), "rule", "rules")),
        (all, broken) => format!(
            "{} of {} do not hold",
            count(number(broken)),
            counted(number(all), "rule", "rules")
        ),
    }
}

/// Each rule, and what came of it.
pub(super) fn rule_lines(out: &mut String, checked: &Report, paint: Paint) {
    if checked.rules.is_empty() {
        return;
    }
    _ = writeln!(out, "\n{}", paint.paint(Style::Bold, "Rules"));
    let mut sorted: Vec<_> = checked.rules.iter().collect();
    sorted.sort_by_key(|rule| rule.state == RuleState::Holds);
    for rule in sorted.iter().take(RULES) {
        let (word, told) = match rule.state {
            RuleState::Holds => {
                (paint.paint(Style::Good, "holds "), format!("{} seen", count(rule.looked_at)))
            }
            RuleState::Undecided => (paint.paint(Style::Warn, "unsure"), "not checked".into()),
            RuleState::Broken if rule.rule.starts_with("count ") => {
                (paint.paint(Style::Bad, "BROKEN"), format!("there are {}", count(rule.looked_at)))
            }
            RuleState::Broken => (
                paint.paint(Style::Bad, "BROKEN"),
                format!("{} of {}", count(rule.broken), count(rule.looked_at)),
            ),
        };
        let line = format!("{} ({told})", rule.rule);
        out.push_str(&render::wrapped(&line, &format!("  {word}  "), "          "));
    }
    if let Some(left) = sorted.len().checked_sub(RULES).filter(|left| *left > 0) {
        _ = writeln!(out, "  and {} more rules", count(number(left)));
    }
    if checked.images > 0 {
        let images = counted(checked.images, "image", "images");
        let told = match checked.images_damaged {
            0 => "all decode".to_owned(),
            damaged => format!("{} of them not", count(damaged)),
        };
        _ = writeln!(out, "  {images} looked at: {told}");
    }
}

fn more(out: &mut String, all: usize, what: &str) {
    if let Some(left) = all.checked_sub(LINES).filter(|left| *left > 0) {
        _ = writeln!(out, "  and {} more {what}: --json has them all", count(number(left)));
    }
}

/// How to get it back. Lines are broken so that they can be copied from a narrow terminal.
fn back(out: &mut String, file: &Path, source: &str, psql: &[String], seen: &Seen<'_>) {
    // The latest may be another one when this is typed.
    let real = std::fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    let file = quoted(&near(&real));
    let compare = format!("pgark compare {file}");
    let with = format!("--with {}", quoted(source));
    _ = writeln!(out, "\nHow to bring it back");
    _ = writeln!(out, "  1. See what exactly differs:\n       {compare} \\\n         {with}");
    let scope = if seen.lost.is_empty() { "--sql" } else { "--sql=lost" };
    _ = writeln!(
        out,
        "  2. Write statements that bring it back, and read them:\n       {compare} \\\n         {with} {scope} > back.sql"
    );
    if !seen.lost.is_empty() && !seen.changed.is_empty() {
        _ = writeln!(
            out,
            "     (lost rows and values that are NULL now; --sql also sets changed values back)"
        );
    }
    let psql: Vec<String> = psql.iter().map(|word| quoted(word)).collect();
    _ = writeln!(
        out,
        "  3. Run them:\n       {} \\\n         -X -v ON_ERROR_STOP=1 < back.sql",
        psql.join(" ")
    );
    _ = writeln!(
        out,
        "  4. See that all is there:\n       pgark check {} --against \\\n         {file}",
        quoted(source)
    );
}
