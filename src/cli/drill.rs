//! `pgark drill`: whether an archive can be restored, by doing it.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use super::Context;
use super::args::Drill;
use super::check::{rule_lines, rules_told};
use super::create::default_jobs;
use super::exit::Exit;
use super::hints::{BUG, Failure, Trouble, chain, io_words, open};
use super::json::Drilled;
use super::printer::{Paint, Style};
use super::restore::differences;
use super::units::{counted, near, span};
use super::{render, servers};
use crate::drill::{self, DrillError, DrillOptions, DrillReport, Kept};
use crate::pg::throwaway::ThrowawayError;
use crate::progress::Progress;
use crate::restore::RestoreError;

/// Runs it.
pub(super) fn run(typed: &Drill, context: &Context) -> Result<Exit, Failure> {
    let rules = typed.rules.as_deref().map(super::verify::rule_file).transpose()?;
    if !typed.file.exists()
        && let Some(name) = typed.file.to_str()
        && let Some(profile) = context.profile(name)?
    {
        context.about(&profile);
    }
    let file = context.archive(&typed.file)?;
    context.archive_is(&file);
    let options = DrillOptions {
        file: file.clone(),
        bases: typed.bases.base.clone(),
        binaries: typed.bin.as_deref().map(absolute).transpose()?,
        rules,
        keep: typed.keep,
        jobs: typed.jobs.unwrap_or_else(default_jobs),
        memory: typed.memory,
    };
    let bars = context.bars();
    let progress: Arc<dyn Progress> = bars.clone();
    let report = drill::run(&options, &progress);
    bars.finish();
    let report = report.map_err(|error| Failure::Drill(file.clone(), Box::new(error)))?;
    let printer = &context.printer;
    context.report(typed.json, &Drilled::new(&file, &report));
    if !typed.json && (!report.ok() || !printer.is_quiet()) {
        printer.result(&words(&file, &report, printer.out_paint()));
    }
    Ok(if report.ok() { Exit::Clean } else { Exit::Findings })
}

/// The server is started from elsewhere.
fn absolute(path: &Path) -> Result<std::path::PathBuf, Failure> {
    std::path::absolute(path).map_err(|error| Failure::File(path.to_owned(), error))
}

fn words(file: &Path, report: &DrillReport, paint: Paint) -> String {
    let mut out = String::new();
    out.push_str(&render::headed(&near(file), &verdict(report, paint)));
    let newer = if report.server_version.starts_with(&format!("{}.", report.wanted)) {
        String::new()
    } else {
        format!(", for none of version {} is here", report.wanted)
    };
    let user = report.server_user.map_or_else(String::new, |user| format!(", as user {user}"));
    _ = writeln!(out, "  on a throwaway server {}{newer}{user}", report.server_version);
    for (made, one, many) in
        [(&report.roles, "role", "roles"), (&report.tablespaces, "tablespace", "tablespaces")]
    {
        if !made.is_empty() {
            let number = u64::try_from(made.len()).unwrap_or(u64::MAX);
            _ = writeln!(out, "  {} made for it: {}", counted(number, one, many), made.join(", "));
        }
    }
    if let Some(locale) = &report.other_locale {
        _ = writeln!(out, "  with locale {locale}, for the archive's is not installed here");
    }
    if let Some(restored) = &report.restored {
        let rows = restored.tables.iter().map(|table| table.outcome.rows);
        _ = writeln!(
            out,
            "  {}, {}, {}",
            counted(u64::try_from(restored.tables.len()).unwrap_or(u64::MAX), "table", "tables"),
            counted(rows.fold(0, u64::saturating_add), "row", "rows"),
            counted(restored.sequences, "sequence", "sequences")
        );
        let checking = match &report.checked {
            Some(_) => format!(", {} to check rules", span(report.checking)),
            None => String::new(),
        };
        let times = format!(
            "{} to start, {} to verify, {} to restore, {} to compare{checking}",
            span(report.starting),
            span(restored.verifying),
            span(restored.restoring),
            span(restored.comparing)
        );
        out.push_str(&render::wrapped(&times, "  ", "  "));
        differences(&mut out, restored, paint);
    }
    if let Some(checked) = &report.checked {
        rule_lines(&mut out, checked, paint);
        render::details(&mut out, &checked.findings, paint);
    }
    if let Some(damaged) = &report.damaged {
        render::details(&mut out, &damaged.findings, paint);
    }
    match &report.kept {
        Some(kept) => _ = writeln!(out, "\n{}", kept_words(kept)),
        None => _ = writeln!(out, "  Server and files were removed again."),
    }
    out
}

fn verdict(report: &DrillReport, paint: Paint) -> String {
    if report.damaged.is_some() {
        let word = paint.paint(Style::Bad, "DAMAGED.");
        return format!("{word} The archive does not verify, and was not restored.");
    }
    let Some(restored) = &report.restored else {
        return paint.paint(Style::Bad, "NOT RESTORED.");
    };
    if !restored.equal || restored.database.is_none() {
        let word = paint.paint(Style::Bad, "NOT EQUAL.");
        return format!("{word} What was restored is not what the archive holds.");
    }
    let rules = report.checked.as_ref().map(rules_told).unwrap_or_default();
    if report.checked.as_ref().is_some_and(|checked| !checked.ok) {
        let word = paint.paint(Style::Bad, "RESTORED AND EQUAL, BUT RULES DO NOT HOLD.");
        return format!("{word} It was so when it was saved; {rules}.");
    }
    if !restored.findings.is_empty() {
        let word = paint.paint(Style::Warn, "RESTORED, WITH SOMETHING LEFT TO DO.");
        return format!("{word} All rows are what the archive holds; see below for the rest.");
    }
    let word = paint.paint(Style::Good, "RESTORED AND EQUAL.");
    format!("{word} Every table was read back and is what the archive holds; {rules}.")
}

fn kept_words(kept: &Kept) -> String {
    let folder = kept.folder.display();
    format!(
        "The server was kept, and holds database {}:\n  \
         {}/psql -h {folder} -U postgres -d '{}'\n\
         To stop and remove it:\n  \
         kill -INT $(head -n 1 {folder}/data/postmaster.pid); sleep 3; rm -rf {folder}",
        kept.database,
        kept.programs.display(),
        kept.database.replace('\'', "'\\''")
    )
}

/// Words and advice for a drill that was not held to its end.
pub(super) fn trouble(path: &Path, error: &DrillError) -> Trouble {
    let trouble = Trouble::new(Exit::Failed, chain(error));
    match error {
        DrillError::Open { source, .. } => open(path, source),
        DrillError::Interrupted => Failure::Interrupted.explain(),
        DrillError::Server(error) => server(trouble, error),
        DrillError::Prepare(error) => servers::server(trouble, error),
        DrillError::Folder { source, .. } => {
            Trouble { error: format!("{} ({})", trouble.error, io_words(source)), ..trouble }
        }
        DrillError::Restore(error) => restore(trouble, error),
        DrillError::Check(error) => {
            let inner = servers::check(error);
            Trouble { exit: inner.exit, hints: inner.hints, ..trouble }
        }
        DrillError::Kept { error, kept } => {
            let inner = self::trouble(path, error);
            Trouble { exit: inner.exit, hints: inner.hints, ..trouble }.hint(kept_words(kept))
        }
        DrillError::Internal(_) => trouble.hint(BUG),
    }
}

pub(super) fn server(trouble: Trouble, error: &ThrowawayError) -> Trouble {
    match error {
        ThrowawayError::NoServer { wanted, given, .. } => {
            let hint = format!(
                "install the server of PostgreSQL {wanted} (Debian and Ubuntu: apt install \
                 postgresql-{wanted}; Red Hat: dnf install postgresql{wanted}-server; macOS: brew \
                 install postgresql@{wanted}); its programs are enough, it need not run"
            );
            let trouble = trouble.hint(hint);
            match given {
                Some(_) => trouble,
                None => trouble.hint("or say with --bin where its programs are"),
            }
        }
        ThrowawayError::NoUser => {
            trouble.hint("make one (useradd --system postgres), or run pgark as an ordinary user")
        }
        ThrowawayError::Folder { .. } | ThrowawayError::LongName { .. } => {
            trouble.hint("set TMPDIR to a folder with a short name that this user can write to")
        }
        ThrowawayError::OutOfReach { user, .. } => {
            trouble.hint(format!("let user {user} read it, or name other programs with --bin"))
        }
        ThrowawayError::Failed { log, .. } | ThrowawayError::Late { log, .. }
            if log.contains("No space left") =>
        {
            trouble.hint("set TMPDIR to a folder with more room")
        }
        ThrowawayError::Left(folder) => {
            let folder = folder.display();
            trouble.hint(format!(
                "the next drill removes it if nothing uses it; or: kill -INT $(head -n 1 \
                 {folder}/data/postmaster.pid); rm -rf {folder}"
            ))
        }
        ThrowawayError::Interrupted => Failure::Interrupted.explain(),
        ThrowawayError::Failed { .. }
        | ThrowawayError::Late { .. }
        | ThrowawayError::Program { .. }
        | ThrowawayError::Params(_) => trouble,
    }
}

/// What a restore says, without its words about a target that somebody else has.
fn restore(trouble: Trouble, error: &RestoreError) -> Trouble {
    let inner = servers::restore(error);
    let trouble = Trouble { exit: inner.exit, ..trouble };
    match error {
        RestoreError::MissingExtensions(_) => trouble.hint(
            "install them for the PostgreSQL that the drill uses (packages such as \
             postgresql-contrib), or name one that has them with --bin",
        ),
        RestoreError::Object { .. } => trouble.hint(
            "a drill on the archive's own version of PostgreSQL says whether it is the version: \
             see --bin",
        ),
        RestoreError::TooNew { .. } | RestoreError::Internal(_) => {
            Trouble { hints: inner.hints, ..trouble }
        }
        RestoreError::Server(error) | RestoreError::Load { source: error, .. } => {
            servers::server(trouble, error)
        }
        _ => trouble,
    }
}
