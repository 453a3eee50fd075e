//! `pgark rescue`: a data directory that no server runs on becomes an archive.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::args::Rescue;
use super::create::{default_jobs, default_name, now};
use super::exit::Exit;
use super::hints::{BUG, Failure, Trouble, chain, io_words};
use super::json::{self, Rescued};
use super::printer::{Paint, Style};
use super::render::{Align, columns};
use super::units::{count, counted, size, span};
use super::{Context, drill, render, servers};
use crate::create::{CreateError, CreateReport};
use crate::format::parity::Protection;
use crate::pg::throwaway::ThrowawayError;
use crate::progress::Progress;
use crate::rescue::{
    self, Checksums, Evidence, Outcome, Page, Part, RescueError, RescueOptions, RescueReport,
    Wanted, Why,
};

/// How many pages or messages are named.
const NAMED: usize = 20;

/// Runs it.
pub(super) fn run(typed: &Rescue, context: &Context) -> Result<Exit, Failure> {
    let options = meaning(typed)?;
    let bars = context.bars();
    let progress: Arc<dyn Progress> = bars.clone();
    let report = rescue::run(&options, &progress);
    bars.finish();
    let printer = &context.printer;
    let report = match report {
        Ok(report) => report,
        Err(error) => {
            if let Some(evidence) = error.evidence().filter(|_| !typed.json) {
                let words = evidence_words(evidence, printer.err_paint());
                if !words.is_empty() {
                    printer.error(&words);
                }
            }
            return Err(Failure::Rescue(typed.input.clone(), Box::new(error)));
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
        let trouble = trouble(&typed.input, error);
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
    if let Some(output) = typed.output.as_deref() {
        ready(typed, output)?;
    }
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
/// made.
fn ready(typed: &Rescue, output: &Path) -> Result<(), Failure> {
    if typed.all {
        // Not into the original, which is looked at with the rest.
        let inside =
            match (output.parent().and_then(|p| p.canonicalize().ok()), typed.input.canonicalize())
            {
                (Some(parent), Ok(input)) => parent.starts_with(input),
                _ => false,
            };
        if !inside && !output.is_dir() {
            std::fs::create_dir(output)
                .map_err(|error| Failure::Target(output.to_owned(), error))?;
        }
    } else if output.symlink_metadata().is_ok() && !typed.force {
        return Err(Failure::Create(Box::new(CreateError::Exists(output.to_owned()))));
    }
    Ok(())
}

fn words(input: &Path, report: &RescueReport, paint: Paint) -> String {
    let mut out = String::new();
    _ = writeln!(out, "{}: {}", input.display(), verdict(report, paint));
    let within = if report.within.as_os_str().is_empty() {
        String::new()
    } else {
        format!(" in {}", report.within.display())
    };
    let user = report.server_user.map_or_else(String::new, |user| format!(", as user {user}"));
    _ = writeln!(
        out,
        "  data directory{within}: {} of {}, on a throwaway server {}{user}",
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
    let lines: Vec<Vec<String>> = report.databases.iter().map(database_line).collect();
    out.push_str(&columns(&lines, &[Align::Left, Align::Left, Align::Left]));
    _ = writeln!(out, "  {}", times(report));
    notes(&mut out, report);
    if !report.doubts.is_empty() {
        _ = writeln!(out, "\n{}", paint.paint(Style::Bold, "Doubts"));
        for doubt in &report.doubts {
            _ = writeln!(out, "  {}", doubt.words);
        }
    }
    let evidence = evidence_words(&report.evidence, paint);
    if !evidence.is_empty() {
        _ = write!(out, "\n{evidence}");
    }
    match &report.kept {
        Some(folder) => _ = writeln!(out, "\n{}", kept_words(folder, &report.role)),
        None => {
            _ = writeln!(out, "  The copy was removed again; the original was only read.");
        }
    }
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
        Some(time) => format!(": what was in the WAL is there, up to the commit of {time}"),
        None => ": what was in the WAL is there".into(),
    };
    format!("the server had not been stopped ({}) and was recovered{last}", report.state)
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

fn database_line(outcome: &Outcome) -> Vec<String> {
    let what = match (&outcome.archive, &outcome.why) {
        (Some(archive), _) => archive_words(archive),
        (None, Some(Why::NotWanted)) => "not asked for".into(),
        (None, Some(Why::Empty)) => "empty, left out".into(),
        (None, Some(Why::Invalid)) => "left out: dropping it had begun".into(),
        (None, _) => "not saved: see below".into(),
    };
    vec![String::new(), outcome.name.clone(), what]
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
        archive.path.display(),
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

/// What is always so.
const UNTOUCHED: &str = "the original was only read, and is as it was";

/// Words and advice for a rescue that did not come to its end.
pub(super) fn trouble(path: &Path, error: &RescueError) -> Trouble {
    let trouble = Trouble::new(Exit::Failed, chain(error));
    match error {
        RescueError::Input { path, source } => input(path, source),
        RescueError::Unread { .. } => trouble.hint(
            "the disk fails: make an image of it first (ddrescue keeps what can be read), and rescue \
             from that",
        ),
        RescueError::NoCluster { .. } => trouble.hint(
            "a data directory has PG_VERSION and global/pg_control in it; that of a Docker image is \
             /var/lib/postgresql/data, since version 18 /var/lib/postgresql/18/docker",
        ),
        RescueError::Several { .. } | RescueError::NotThere { .. } => {
            Trouble { exit: Exit::Usage, ..trouble }
                .hint("say which with --within, such as --within 18/docker")
        }
        RescueError::Version(_) => trouble.hint(
            "start a server of that version on a copy of it, and make an archive of a dump of it",
        ),
        RescueError::Alive { .. } => trouble
            .hint(
                "pgark create makes an archive of a server that runs, without stopping it: it is alive",
            )
            .hint("or stop the server first, and run this again"),
        RescueError::Changed(_) => trouble.hint(
            "find out which server works on it (perhaps in a container, or on another machine), and \
             stop it first, or take the archive from it with pgark create",
        ),
        RescueError::Broken(_) => {
            trouble.hint("say with --map OLD=NEW where what they lead to is now").hint(UNTOUCHED)
        }
        RescueError::Unfit(_) => trouble.hint("name another folder with --map OLD=NEW"),
        RescueError::NoWal => trouble
            .hint("find it first: it may be elsewhere (--map), or in a WAL archive")
            .hint(
                "--reset-wal starts without it, on the copy; rows may then be lost or broken, and \
                 nobody can say which",
            ),
        RescueError::IntoOriginal { .. } => Trouble { exit: Exit::Usage, ..trouble }
            .hint("name places outside of it with -o and --work"),
        RescueError::NoRoom { folder, needed, free } => Trouble::new(
            Exit::Failed,
            format!(
                "the copy needs {} in {}, and {} are free",
                size(*needed),
                parent(folder).display(),
                size(*free)
            ),
        )
        .hint("name a folder with more room with --work"),
        RescueError::Copy { source, .. } if is_full(source) => {
            trouble.hint("name a folder with more room with --work").hint(UNTOUCHED)
        }
        RescueError::Copy { .. } => trouble.hint(UNTOUCHED),
        RescueError::Server(error) => server(trouble, error),
        RescueError::MakesTablespace { path, .. } => trouble.hint(format!(
            "do it where {} is not that of the original: in a container, with an empty folder there \
             that the server's user may write to",
            path.display()
        )),
        RescueError::NotUp { words } => {
            let mut trouble = trouble;
            for hint in why_not_up(words) {
                trouble = trouble.hint(hint);
            }
            trouble.hint(UNTOUCHED)
        }
        RescueError::Program { .. } => {
            trouble.hint("the server's programs are not complete: install all of its package")
        }
        RescueError::Said { said, .. } => {
            let mut trouble = trouble;
            for hint in why_not_up(std::slice::from_ref(said)) {
                trouble = trouble.hint(hint);
            }
            trouble.hint(UNTOUCHED)
        }
        RescueError::NoSuperuser => trouble.hint(BUG),
        RescueError::Session { source, .. } => session(trouble, source),
        RescueError::Ask(source) => servers::server(trouble, source).hint(UNTOUCHED),
        RescueError::NoDatabase { .. } => Trouble { exit: Exit::Usage, ..trouble },
        RescueError::Databases(_) => Trouble { exit: Exit::Usage, ..trouble }
            .hint("--database NAME saves one of them, --all each to an archive of its own"),
        RescueError::Nothing => trouble,
        RescueError::Missing { .. } => trouble.hint(
            "say with --map OLD=NEW where it is now; rows of the other tables are not saved without it",
        ),
        RescueError::Unsaved { source, .. } => unsaved(trouble, source),
        RescueError::Kept { error, folder } => {
            let inner = self::trouble(path, error);
            let kept = kept_words(folder, "postgres");
            Trouble { exit: inner.exit, hints: inner.hints, ..trouble }.hint(kept)
        }
        RescueError::Interrupted => Failure::Interrupted.explain(),
        RescueError::Internal(_) => trouble.hint(BUG),
    }
}

fn parent(folder: &Path) -> &Path {
    folder.parent().unwrap_or(folder)
}

fn is_full(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
}

fn input(path: &Path, error: &std::io::Error) -> Trouble {
    let trouble = Trouble::new(Exit::Failed, format!("{}: {}", path.display(), io_words(error)));
    match error.kind() {
        std::io::ErrorKind::PermissionDenied => trouble.hint(
            "a data directory is for its owner alone: run this as root (sudo), or as the user that \
             owns it",
        ),
        std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof => trouble
            .hint("take another copy of the volume, if it is still there; nothing was changed"),
        _ => trouble,
    }
}

fn server(trouble: Trouble, error: &ThrowawayError) -> Trouble {
    match error {
        ThrowawayError::NoServer { wanted, .. } => trouble
            .hint(format!(
                "a data directory needs a server of its own major version: install that of PostgreSQL \
                 {wanted} (Debian and Ubuntu: apt install postgresql-{wanted}, from apt.postgresql.org if \
                 the system has another; Red Hat: dnf install postgresql{wanted}-server; macOS: brew \
                 install postgresql@{wanted}), or say with --bin where its programs are"
            ))
            .hint(format!(
                "or run pgark in the container image that has it: docker run --rm -v VOLUME:/old:ro \
                 -v \"$PWD\":/out -v \"$(command -v pgark)\":/pgark postgres:{wanted} /pgark rescue /old \
                 -o /out/FILE"
            )),
        ThrowawayError::Folder { .. } | ThrowawayError::LongName { .. } => trouble.hint(
            "name a folder with a short name with --work, that the server's user can write to (chmod \
             1777 makes it as /tmp is)",
        ),
        ThrowawayError::Left(folder) => {
            let folder = folder.display();
            trouble.hint(format!(
                "the next rescue there removes it if nothing uses it; or: kill -INT $(head -n 1 \
                 {folder}/data/postmaster.pid); rm -rf {folder}"
            ))
        }
        error => drill::server(trouble, error),
    }
}

/// What a server's last words mean, and what to try.
fn why_not_up(words: &[String]) -> Vec<String> {
    let text = words.join("\n");
    let table: [(&[&str], &str); 12] = [
        (
            &["could not locate required checkpoint record", "could not find redo location"],
            "WAL that recovery begins with is missing. If this is a base backup, put the WAL files of \
             the archive into its pg_wal first; if the server was killed while a backup was made of \
             it, --ignore-backup-label",
        ),
        (
            &["could not locate a valid checkpoint record", "invalid checkpoint record"],
            "the WAL is damaged or not all there. If a better copy is nowhere, --reset-wal starts \
             without it: rows may then be lost or broken, and nobody can say which",
        ),
        (
            &["WAL ends before"],
            "this is a base backup, and the WAL that makes it whole is missing: put it from the \
             archive into its pg_wal; without it, it is not of one moment",
        ),
        (
            &["incompatible with server", "incompatible with this"],
            "the server's programs are built otherwise than those of the old server (block size, \
             processor, edition): use the same package or image as it had",
        ),
        (
            &["incorrect checksum in control file"],
            "global/pg_control is damaged, or of a machine of another kind; --reset-wal rewrites what \
             it can",
        ),
        (
            &[
                "invalid page in block",
                "invalid pages among blocks",
                "WAL contains references to invalid pages",
            ],
            "a page is damaged; --zero-damaged-pages reads it as an empty one, and what was in it is \
             lost",
        ),
        (
            &[
                "could not access file \"$libdir",
                "could not access file",
                "resource manager with ID",
            ],
            "a library of an extension is missing: install it for these programs, and load it with \
             --set shared_preload_libraries=NAME if the WAL needs it",
        ),
        (
            &["unrecognized configuration parameter", "invalid value for parameter"],
            "a setting of --set is not one of this version",
        ),
        (&["No space left"], "name a folder with more room with --work"),
        (
            &["could not access status of transaction", "could not open file \"pg_xact"],
            "the record of what was committed (pg_xact) is damaged: nothing here brings it back; an \
             older backup may be better",
        ),
        (
            &["could not create shared memory", "could not map anonymous shared memory"],
            "this machine has too little memory: --set shared_buffers=16MB needs less",
        ),
        (
            &["create this directory for the tablespace"],
            "the WAL makes a tablespace: do it in a container, with an empty folder where it was",
        ),
    ];
    let fits = |words: &[&str]| words.iter().any(|words| text.contains(words));
    table.iter().filter(|(words, _)| fits(words)).map(|(_, hint)| (*hint).to_owned()).collect()
}

fn session(trouble: Trouble, error: &crate::pg::PgError) -> Trouble {
    let text = error.to_string();
    if text.contains("ICU is not supported") {
        return trouble.hint("use programs that are built with ICU, as those of the packages are");
    }
    if text.contains("not recognized by setlocale") {
        return trouble.hint(
            "make that locale on this machine (localedef, locale-gen), or do it in the container \
             image that the server had",
        );
    }
    let hints = why_not_up(&[text]);
    if hints.is_empty() {
        return servers::server(trouble, error);
    }
    hints.into_iter().fold(trouble, Trouble::hint)
}

fn unsaved(trouble: Trouble, error: &CreateError) -> Trouble {
    let inner = servers::create(error);
    let text = chain(error);
    let damaged = ["invalid page", "invalid pages", "could not read block"];
    let trouble = Trouble { exit: inner.exit, ..trouble };
    if damaged.iter().any(|words| text.contains(words)) {
        return trouble
            .hint("--zero-damaged-pages reads damaged pages as empty ones: the rows in them are lost, \
                   each such page is told, and the rest is saved")
            .hint(UNTOUCHED);
    }
    if ["missing chunk", "unexpected chunk", "data is corrupt"]
        .iter()
        .any(|words| text.contains(words))
    {
        return trouble
            .hint("a long value is damaged: --keep leaves the server running on the copy, where the row \
                   can be found and deleted; then pgark create makes the archive")
            .hint(UNTOUCHED);
    }
    if text.contains("could not access file") || text.contains("must be loaded via shared_preload")
    {
        return trouble.hint(
            "an extension is missing: install it for these programs, and load it with --set \
             shared_preload_libraries=NAME if it asks for that",
        );
    }
    if text.contains("55P03") {
        return trouble.hint(
            "a prepared transaction holds it: --keep leaves the server running on the copy, where it \
             can be rolled back; then pgark create makes the archive",
        );
    }
    Trouble { hints: inner.hints, ..trouble }
}
