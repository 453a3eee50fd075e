//! `pgark create`: a database becomes an archive.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::Context;
use super::args::Create;
use super::exit::Exit;
use super::hints::Failure;
use super::json::{self, Created};
use super::printer::Style;
use super::render;
use super::units::{self, counted, size, span};
use crate::create::{self, CreateOptions, CreateReport};
use crate::format::parity::Protection;
use crate::pg::Params;
use crate::progress::Progress;

/// Runs it.
pub(super) fn run(typed: &Create, context: &Context) -> Result<Exit, Failure> {
    let options = meaning(typed)?;
    for note in options.params.notes() {
        context.printer.message(&format!("note: {note}"));
    }
    let bars = context.bars();
    let progress: Arc<dyn Progress> = bars.clone();
    let report = create::run(&options, &progress);
    bars.finish();
    let report = report.map_err(|error| Failure::Create(Box::new(error)))?;
    let printer = &context.printer;
    if typed.json {
        json::print(printer, &Created::new(&report));
    } else if !printer.is_quiet() {
        printer.result(&words(&report, printer.out_paint()));
    }
    // Faults that were in the data before: the archive is what the database is, and says so.
    Ok(match &report.verified {
        Some(report) if !report.ok => {
            if !typed.json {
                printer.error(&render::findings(report, printer.err_paint()));
            }
            Exit::Findings
        }
        _ => Exit::Clean,
    })
}

/// What was typed, with what it leaves out.
fn meaning(typed: &Create) -> Result<CreateOptions, Failure> {
    let params = Params::resolve(typed.source.as_deref()).map_err(Failure::Connection)?;
    let created = typed.created.unwrap_or_else(now);
    let output = typed.output.clone().unwrap_or_else(|| default_name(params.database(), created));
    Ok(CreateOptions {
        params,
        output,
        jobs: typed.jobs.unwrap_or_else(default_jobs),
        memory: typed.memory,
        pg_dump: typed.pg_dump.clone().unwrap_or_default(),
        lock_timeout: typed.lock_timeout,
        comment: typed.comment.clone(),
        overwrite: typed.force,
        created: typed.created,
        snapshot: typed.snapshot.clone(),
        read_back: !typed.no_read_back,
        parity: typed.parity.0.map(|share| Protection { share, ..Protection::default() }),
        rules: typed.rules.as_deref().map(super::verify::rule_file).transpose()?,
    })
}

/// One connection a core.
pub(super) fn default_jobs() -> usize {
    std::thread::available_parallelism().map_or(2, Into::into)
}

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// `<database>_<YYYYMMDD_HHMMSS>.pgark`. A database may be called anything: what could lead out
/// of the folder, hide the file or trouble a shell is replaced.
fn default_name(database: &str, created: u64) -> PathBuf {
    let tame = |c: char| {
        let odd = c.is_control() || c.is_whitespace() || "/\\:*?\"'<>|".contains(c);
        if odd { '_' } else { c }
    };
    let database: String = database.chars().map(tame).collect();
    let guard = if database.starts_with(['.', '-']) { "_" } else { "" };
    format!("{guard}{database}_{}.pgark", units::stamp(created)).into()
}

fn words(report: &CreateReport, paint: super::printer::Paint) -> String {
    let path = report.path.display();
    let mut out = String::new();
    let checked = match &report.verified {
        Some(report) if report.ok => paint.paint(Style::Good, "saved and verified."),
        Some(_) => {
            paint.paint(Style::Warn, "saved and read back; the data has faults (see below).")
        }
        None => paint.paint(Style::Warn, "saved, but not read back."),
    };
    _ = writeln!(out, "{path}: {checked}");
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
