//! `pgark create`: a database becomes an archive.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::Context;
use super::args::Create;
use super::dumps;
use super::exit::Exit;
use super::hints::Failure;
use super::json::Created;
use super::named::{Reached, latest};
use super::printer::Style;
use super::render;
use super::saving::{self, Shelved};
use super::units::{self, counted, near, size, span};
use crate::create::{self, CreateOptions, CreateReport};
use crate::format::parity::Protection;
use crate::profile::Profile;
use crate::profile::shelf::series;
use crate::progress::Progress;

/// Runs it.
pub(super) fn run(typed: &Create, context: &Context) -> Result<Exit, Failure> {
    let profile = typed.source.as_deref().map(|name| context.profile(name)).transpose()?.flatten();
    let dump = typed.source.as_deref().filter(|_| profile.is_none()).and_then(dumps::path);
    if let Some(dump) = dump {
        let report = dumps::save(typed, dump, context)?;
        tell(typed, &report, None, context);
        return Ok(exit(&report));
    }
    let Some(profile) = profile else {
        let reached = context.reach(typed.source.as_deref())?;
        let report = save(&meaning(typed, &reached, None, context)?, context)?;
        tell(typed, &report, None, context);
        return Ok(exit(&report));
    };
    let reached = context.reach_profile(profile.clone(), typed.source.as_deref())?;
    // An archive that goes elsewhere is in nobody's way.
    let ours = typed.output.is_none();
    let _lock = ours.then(|| saving::lock(&profile, "create", context)).transpose()?;
    let report = save(&meaning(typed, &reached, Some(&profile), context)?, context)?;
    let shelved = saving::shelve(&profile, &report, context)?;
    tell(typed, &report, Some(&shelved), context);
    Ok(exit(&report))
}

/// Makes an archive, with progress.
pub(super) fn save(options: &CreateOptions, context: &Context) -> Result<CreateReport, Failure> {
    let bars = context.bars();
    let progress: Arc<dyn Progress> = bars.clone();
    let report = create::run(options, &progress);
    bars.finish();
    report.map_err(|error| Failure::Create(Box::new(error)))
}

fn tell(typed: &Create, report: &CreateReport, shelved: Option<&Shelved>, context: &Context) {
    let printer = &context.printer;
    let created = Created::new(report);
    context.report(
        typed.json,
        &match shelved {
            Some(shelved) => created.shelved(shelved),
            None => created,
        },
    );
    context.archive_is(&report.path);
    if typed.json {
        return;
    }
    if !printer.is_quiet() {
        let mut text = words(report, printer.out_paint());
        if let Some(shelved) = shelved {
            if let Some(holdings) = &shelved.holdings {
                text.push_str(&saving::holding_words(holdings, report.verified.as_ref()));
            }
            if let Some(latest) = &shelved.latest {
                _ = writeln!(text, "  {} leads to it", near(latest));
            }
        }
        printer.result(&text);
    }
    if let Some(report) = report.verified.as_ref().filter(|report| !report.ok) {
        printer.error(&render::findings(report, printer.err_paint()));
    }
}

/// Faults that were in the data before: the archive is what the database is, and says so.
fn exit(report: &CreateReport) -> Exit {
    match &report.verified {
        Some(report) if !report.ok => Exit::Findings,
        _ => Exit::Clean,
    }
}

/// What was typed, with what it leaves out.
fn meaning(
    typed: &Create,
    reached: &Reached,
    profile: Option<&Profile>,
    context: &Context,
) -> Result<CreateOptions, Failure> {
    let at = typed.created.unwrap_or_else(now);
    let (output, created) = match (&typed.output, profile) {
        (Some(output), _) => (output.clone(), at),
        (None, Some(profile)) => saving::place(profile, &series(&profile.name), typed.created),
        (None, None) => (default_name(reached.params.database(), at), at),
    };
    let rules = match (&typed.rules, profile) {
        (Some(path), _) => Some(super::verify::rule_file(path)?),
        (None, Some(profile)) => saving::rules(profile)?,
        (None, None) => None,
    };
    let mut bases = typed.base.iter();
    let base = match (bases.next(), profile) {
        (Some(base), Some(profile)) if base.as_os_str() == "latest" => Some(latest(profile)?),
        (Some(base), _) => Some(context.archive(base)?),
        (None, _) => None,
    };
    let base = base.map(|base| (base, bases.cloned().collect()));
    Ok(CreateOptions {
        params: reached.params.clone(),
        output,
        jobs: typed.jobs.unwrap_or_else(default_jobs),
        memory: typed.memory,
        pg_dump: typed.pg_dump.clone().or_else(|| reached.pg_dump.clone()).unwrap_or_default(),
        lock_timeout: typed.lock_timeout,
        profile: profile.map(|profile| profile.name.clone()),
        comment: typed.comment.clone(),
        overwrite: typed.force,
        // The time in the name of a profile's archive is the one that it was made.
        created: if profile.is_some() { Some(created) } else { typed.created },
        snapshot: typed.snapshot.clone(),
        read_back: !typed.no_read_back,
        parity: typed.parity.0.map(|share| Protection { share, ..Protection::default() }),
        rules,
        base,
    })
}

/// One connection a core.
pub(super) fn default_jobs() -> usize {
    std::thread::available_parallelism().map_or(2, Into::into)
}

/// Seconds since 1970-01-01 UTC.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// `<database>_<YYYYMMDD_HHMMSS>.pgark`. A database may be called anything: what could lead out
/// of the folder, hide the file or trouble a shell is replaced.
pub(super) fn default_name(database: &str, created: u64) -> PathBuf {
    let tame = |c: char| {
        let odd = c.is_control() || c.is_whitespace() || "/\\:*?\"'<>|".contains(c);
        if odd { '_' } else { c }
    };
    let database: String = database.chars().map(tame).collect();
    let guard = if database.starts_with(['.', '-']) { "_" } else { "" };
    format!("{guard}{database}_{}.pgark", units::stamp(created)).into()
}

fn words(report: &CreateReport, paint: super::printer::Paint) -> String {
    let mut out = String::new();
    let checked = match &report.verified {
        Some(report) if report.ok => paint.paint(Style::Good, "saved and verified."),
        Some(_) => {
            paint.paint(Style::Warn, "saved and read back; the data has faults (see below).")
        }
        None => paint.paint(Style::Warn, "saved, but not read back."),
    };
    out.push_str(&render::headed(&near(&report.path), &checked));
    let blobs = match report.blobs {
        0 => String::new(),
        some => format!(
            ", {} of {} stored in {}",
            counted(some, "blob", "blobs"),
            size(report.blob_bytes),
            size(report.stored.chunk_bytes)
        ),
    };
    _ = writeln!(
        out,
        "  {}, {}{blobs}; file of {}",
        counted(report.tables, "table", "tables"),
        counted(report.rows, "row", "rows"),
        size(report.bytes)
    );
    if report.stored.taken > 0 {
        let taken = counted(report.stored.taken, "object", "objects");
        let of = size(report.stored.taken_bytes);
        _ = writeln!(out, "  thin: {taken} of {of} are in its base, without which it is nothing");
    }
    let back = match report.reading_back {
        Duration::ZERO => String::new(),
        time => format!(", {} to verify", span(time)),
    };
    _ = writeln!(out, "  {} to save{back}", span(report.writing));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_names_are_tame() {
        let name = |database| default_name(database, 1_795_417_509).display().to_string();
        assert_eq!(name("shop"), "shop_20261123_070509.pgark");
        assert_eq!(name("../etc/x y"), "_.._etc_x_y_20261123_070509.pgark");
        assert_eq!(name("-rf"), "_-rf_20261123_070509.pgark");
        assert_eq!(name("ហាង"), "ហាង_20261123_070509.pgark");
    }
}
