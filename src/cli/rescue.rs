//! `pgark rescue`: a data directory that no server runs on becomes an archive.

mod trouble;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::args::Rescue;
use super::create::{default_jobs, default_name, now};
use super::exit::Exit;
use super::hints::Failure;
use super::json::{self, Rescued};
use super::printer::{Paint, Style};
use super::render::headed;
use super::units::{count, counted, near, size, span};
use super::{Context, render};
use crate::create::{CreateError, CreateReport};
use crate::format::parity::Protection;
use crate::progress::Progress;
use crate::rescue::{
    self, Checksums, Evidence, Outcome, Page, Part, RescueOptions, RescueReport, Wanted, Why,
};

pub(super) use trouble::trouble;

/// How many pages or messages are named.
const NAMED: usize = 20;

/// Runs it.
pub(super) fn run(typed: &Rescue, context: &Context) -> Result<Exit, Failure> {
    let options = meaning(typed)?;
    let made = typed.output.as_deref().map_or(Ok(false), |output| ready(typed, output))?;
    let bars = context.bars();
    let progress: Arc<dyn Progress> = bars.clone();
    let report = rescue::run(&options, &progress);
    bars.finish();
    let printer = &context.printer;
    let report = match report {
        Ok(report) => report,
        Err(error) => {
            if let Some(folder) = typed.output.as_deref().filter(|_| made) {
                // Only if nothing is in it.
                _ = std::fs::remove_dir(folder);
            }
            if let Some(evidence) = error.evidence().filter(|_| !typed.json) {
                let words = evidence_words(evidence, printer.err_paint());
                if !words.is_empty() {
                    printer.error(&words);
                }
            }
            return Err(Failure::Rescue(Box::new(error)));
        }
    };
    if typed.json {
        json::print(printer, &Rescued::new(&typed.input, &report));
    } else if !report.ok() || !printer.is_quiet() {
        printer.result(&words(&typed.input, &report, printer.out_paint()));
    }
    let mut exit = if report.ok() { Exit::Clean } else { Exit::Findings };
    for outcome in &report.databases {
        let verified = outcome.archive.as_ref().and_then(|archive| archive.verified.as_ref());
        if let Some(verified) = verified.filter(|verified| !verified.ok && !typed.json) {
            printer.error(&render::findings(verified, printer.err_paint()));
        }
    }
    for (_, error) in report.failed() {
        let trouble = trouble(error);
        exit = exit.worst(trouble.exit);
        context.tell(&trouble);
    }
    Ok(exit)
}

fn meaning(typed: &Rescue) -> Result<RescueOptions, Failure> {
    let second = now();
    let absolute = |path: &PathBuf| {
        std::path::absolute(path).map_err(|error| Failure::File(path.clone(), error))
    };
    let rules = typed.rules.as_deref().map(super::verify::rule_file).transpose()?;
    let place = typed.output.clone().unwrap_or_else(|| PathBuf::from("."));
    let (output, all) = (typed.output.clone(), typed.all);
    let output = move |database: &str| match (&output, all) {
        (Some(folder), true) => folder.join(default_name(database, second)),
        (Some(file), false) => file.clone(),
        (None, _) => default_name(database, second),
    };
    Ok(RescueOptions {
        input: typed.input.clone(),
        within: typed.within.clone(),
        maps: typed.map.clone(),
        binaries: typed.bin.as_ref().map(absolute).transpose()?,
        work: typed.work.as_ref().map(absolute).transpose()?,
        databases: match &typed.database {
            Some(name) => Wanted::Named(name.clone()),
            None if typed.all => Wanted::All,
            None => Wanted::Only,
        },
        output: Arc::new(output),
        place,
        reset_wal: typed.reset_wal,
        zero_damaged_pages: typed.zero_damaged_pages,
        drop_unreadable_rows: typed.drop_unreadable_rows,
        ignore_backup_label: typed.ignore_backup_label,
        settings: typed.set.clone(),
        keep: typed.keep,
        jobs: typed.jobs.unwrap_or_else(default_jobs),
        memory: typed.memory,
        overwrite: typed.force,
        comment: typed.comment.clone(),
        parity: typed.parity.0.map(|share| Protection { share, ..Protection::default() }),
        rules,
    })
}

/// What can be known to fail is said before hours of copying. The folder for several archives is
/// made; whether it was.
fn ready(typed: &Rescue, output: &Path) -> Result<bool, Failure> {
    if typed.all {
        // Not into the original, which is looked at with the rest.
        let inside =
            match (output.parent().and_then(|p| p.canonicalize().ok()), typed.input.canonicalize())
            {
                (Some(parent), Ok(input)) => parent.starts_with(input),
                _ => false,
            };
        let make = !inside && !output.is_dir();
        if make {
            std::fs::create_dir(output)
                .map_err(|error| Failure::Target(output.to_owned(), error))?;
        }
        return Ok(make);
    }
    if output.symlink_metadata().is_ok() && !typed.force {
        return Err(Failure::Create(Box::new(CreateError::Exists(output.to_owned()))));
    }
    Ok(false)
}

fn words(input: &Path, report: &RescueReport, paint: Paint) -> String {
    let mut out = String::new();
    out.push_str(&headed(&near(input), &verdict(report, paint)));
    let within = if report.within.as_os_str().is_empty() {
        String::new()
    } else {
        format!(" in {}", report.within.display())
    };
    let user = report.server_user.map_or_else(String::new, |user| format!(", as user {user}"));
    _ = writeln!(
        out,
        "  data directory{within}: {} of {}\n  on a throwaway server {}{user}",
        counted(report.files, "file", "files"),
        size(report.bytes),
        report.server_version
    );
    _ = writeln!(out, "  {}", state_words(report));
    if report.role != "postgres" {
        _ = writeln!(out, "  read as role {}", report.role);
    }
    for space in &report.tablespaces {
        _ = match &space.found {
            Some(found) => writeln!(
                out,
                "  tablespace {} of {} was read from {}",
                space.oid,
                space.was.display(),
                found.display()
            ),
            None => writeln!(
                out,
                "  tablespace {} of {} is missing; nothing that was saved is in it",
                space.oid,
                space.was.display()
            ),
        };
    }
    _ = writeln!(out, "  {}", checksum_words(&report.evidence));
    for outcome in &report.databases {
        out.push_str(&render::wrapped(&database_line(outcome), "  ", "    "));
    }
    _ = writeln!(out, "  {}", times(report));
    notes(&mut out, report);
    if report.kept.is_none() {
        _ = writeln!(out, "  The copy was removed again; the original was only read.");
    }
    if !report.doubts.is_empty() {
        _ = writeln!(out, "\n{}", paint.paint(Style::Bold, "Doubts"));
        for doubt in &report.doubts {
            out.push_str(&wrapped(&doubt.words));
        }
    }
    let evidence = evidence_words(&report.evidence, paint);
    if !evidence.is_empty() {
        _ = write!(out, "\n{evidence}");
    }
    if let Some(folder) = &report.kept {
        _ = writeln!(out, "\n{}", kept_words(folder, &report.role));
    }
    out
}

/// A sentence in lines that a terminal has room for.
fn wrapped(text: &str) -> String {
    let mut out = String::new();
    let mut room = 0;
    for word in text.split_whitespace() {
        let wide = word.chars().count();
        if room <= wide {
            let begin = if out.is_empty() { "  " } else { "\n    " };
            out.push_str(begin);
            room = 80 - begin.trim_start_matches('\n').len();
        } else {
            out.push(' ');
            room -= 1;
        }
        out.push_str(word);
        room = room.saturating_sub(wide);
    }
    out.push('\n');
    out
}

fn verdict(report: &RescueReport, paint: Paint) -> String {
    if report.failed().next().is_some() {
        let word = paint.paint(Style::Bad, "RESCUED IN PART.");
        return format!("{word} Not every database could be saved; see below.");
    }
    if !report.doubts.is_empty() {
        let word = paint.paint(Style::Warn, "RESCUED, WITH DOUBTS.");
        return format!("{word} The archive verifies; whether it holds all that was, see below.");
    }
    if !report.ok() {
        let word = paint.paint(Style::Warn, "RESCUED, AND THE DATA HAS FAULTS.");
        return format!(
            "{word} All that was committed is saved; what is wrong with it, see below."
        );
    }
    let word = paint.paint(Style::Good, "RESCUED.");
    format!("{word} All that was committed is in the archive, and it verifies.")
}

fn state_words(report: &RescueReport) -> String {
    if report.doubts.iter().any(|doubt| doubt.kind == "wal-reset") {
        return "the WAL was thrown away".into();
    }
    let stopped = report.state.starts_with("shut down");
    if stopped && !report.replayed {
        return "the server had been stopped in an orderly way".into();
    }
    let last = match &report.last_transaction {
        Some(time) => format!("\n  the last transaction was committed at {time}"),
        None => String::new(),
    };
    format!("the server had not been stopped ({}), and was recovered{last}", report.state)
}

fn checksum_words(evidence: &Evidence) -> String {
    match (&evidence.checksums, evidence.bad_pages.len()) {
        (Checksums::Off, _) => "pages have no checksums".into(),
        (Checksums::Unchecked, _) => "pages have checksums, but pg_checksums is not here".into(),
        (Checksums::Stopped(_), _) => "the checksums of pages were not all checked".into(),
        (Checksums::Checked, 0) => "the checksums of all pages are right".into(),
        (Checksums::Checked, 1) => "the checksum of 1 page is wrong".into(),
        (Checksums::Checked, some) => {
            format!("the checksums of {} pages are wrong", count(u64::try_from(some).unwrap_or(0)))
        }
    }
}

fn database_line(outcome: &Outcome) -> String {
    let what = match (&outcome.archive, &outcome.why) {
        (Some(archive), _) => archive_words(archive),
        (None, Some(Why::NotWanted)) => "not asked for".into(),
        (None, Some(Why::Empty)) => "empty, left out".into(),
        (None, Some(Why::Invalid)) => "left out: dropping it had begun".into(),
        (None, _) => "not saved: see below".into(),
    };
    format!("{}: {what}", outcome.name)
}

fn archive_words(archive: &CreateReport) -> String {
    let blobs = match archive.blobs {
        0 => String::new(),
        some => format!(", {} of {}", counted(some, "blob", "blobs"), size(archive.blob_bytes)),
    };
    format!(
        "{}, {}{blobs} in {} of {}",
        counted(archive.tables, "table", "tables"),
        counted(archive.rows, "row", "rows"),
        near(&archive.path),
        size(archive.bytes)
    )
}

fn times(report: &RescueReport) -> String {
    let archives = || report.databases.iter().filter_map(|outcome| outcome.archive.as_ref());
    let sum = |of: fn(&CreateReport) -> Duration| archives().map(of).sum::<Duration>();
    format!(
        "{} to copy, {} to recover, {} to save, {} to verify",
        span(report.copying),
        span(report.recovering),
        span(sum(|archive| archive.writing)),
        span(sum(|archive| archive.reading_back))
    )
}

/// What is good to know, and no reason for doubt.
fn notes(out: &mut String, report: &RescueReport) {
    if let Some(libraries) = &report.libraries {
        _ = writeln!(
            out,
            "  the old server had loaded {libraries}; this one did not, and read the rows without"
        );
    }
    for collation in &report.collations {
        let name = collation.name.as_deref().unwrap_or("its collation");
        _ = writeln!(
            out,
            "  database {}: {name} is of version {} here, and was {}: text may be in another order",
            collation.database, collation.here, collation.was
        );
    }
    for name in &report.prepared {
        _ = writeln!(
            out,
            "  prepared transaction {name} was neither committed nor rolled back: not saved"
        );
    }
    if !report.left_out.is_empty() {
        _ = writeln!(out, "  not copied, for no server needs it: {}", report.left_out.join(", "));
    }
}

fn evidence_words(evidence: &Evidence, paint: Paint) -> String {
    let mut out = String::new();
    for (title, pages) in [
        ("Pages with a wrong checksum", &evidence.bad_pages),
        ("Pages read as empty", &evidence.zeroed_pages),
    ] {
        if pages.is_empty() {
            continue;
        }
        _ = writeln!(out, "{}", paint.paint(Style::Bold, title));
        for page in pages.iter().take(NAMED) {
            _ = writeln!(out, "  {}", page_words(page));
        }
        more(&mut out, pages.len());
    }
    if !evidence.dropped.is_empty() {
        _ = writeln!(out, "{}", paint.paint(Style::Bold, "Rows left out"));
        for row in evidence.dropped.iter().take(NAMED) {
            let key = match &row.key {
                Some(key) => key.clone(),
                None => format!("at {}", row.place),
            };
            _ = writeln!(out, "  {} {key}: {}", row.table, row.why);
        }
        more(&mut out, evidence.dropped.len());
    }
    if !evidence.log.is_empty() {
        _ = writeln!(out, "{}", paint.paint(Style::Bold, "The server's log about damage"));
        for line in evidence.log.iter().take(NAMED) {
            _ = writeln!(out, "  {line}");
        }
        more(&mut out, evidence.log.len());
    }
    out
}

fn more(out: &mut String, all: usize) {
    if all > NAMED {
        _ = writeln!(out, "  and {} more", count(u64::try_from(all - NAMED).unwrap_or(0)));
    }
}

fn page_words(page: &Page) -> String {
    let whose = match &page.owner {
        Some(owner) => {
            let of = format!("{} of database {}", owner.table, owner.database);
            match owner.part {
                Part::Rows => format!("rows of {of}"),
                Part::LongValues => format!("long values of {of}"),
                Part::Index => format!("index {} of {of}: no row is lost with it", owner.relation),
                Part::Other => of,
            }
        }
        None => "nobody could say whose".into(),
    };
    let fork = match page.fork.as_str() {
        "main" => String::new(),
        fork => format!(" ({fork})"),
    };
    format!("page {} of {}{fork}: {whose}", page.block, page.relation)
}

fn kept_words(folder: &Path, role: &str) -> String {
    let shown = folder.display();
    let role = role.replace('\'', "'\\''");
    format!(
        "The copy and its server were kept:\n  psql -h {shown} -U '{role}' -l\n\
         To stop and remove them:\n  \
         kill -INT $(head -n 1 {shown}/data/postmaster.pid); sleep 3; rm -rf {shown}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_fit_a_terminal() {
        let text = "rows may be of different moments, or missing ".repeat(5);
        let lines = wrapped(&text);
        assert!(lines.lines().count() == 3 && lines.ends_with('\n'), "{lines}");
        assert!(lines.lines().all(|line| line.chars().count() <= 80 && line.starts_with("  ")));
        assert_eq!(lines.split_whitespace().count(), text.split_whitespace().count());
        assert_eq!(wrapped(&"x".repeat(100)).lines().count(), 1);
    }
}
