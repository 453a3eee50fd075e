//! Archives of the databases of a data directory that no server runs on: a folder, or the tar of a
//! volume.
//!
//! The original is only read. A copy of it gets a throwaway server of the same major version with
//! settings of its own; that recovers what was committed, and an ordinary archive is made of it.
//! What there is to say about damage (pages whose checksum is wrong, the server's own words) is in
//! the report.

mod alive;
mod ask;
mod config;
mod control;
mod copy;
mod damage;
mod error;
mod listing;
mod log;
mod look;
mod plan;
mod programs;
mod report;
mod rows;
mod server;
mod stream;
mod wal;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use ask::Collation;
pub use damage::{Owner, Page, Part};
pub use error::RescueError;
pub use plan::Tablespace;
pub use report::{Checksums, Doubt, Evidence, Outcome, RescueOptions, RescueReport, Wanted, Why};
pub use rows::DroppedRow;

use crate::create::{self, CreateError, CreateOptions, CreateReport, runtime};
use crate::pg::throwaway::{Binaries, Keeper};
use crate::progress::{Phase, Progress};
use ask::Database;
use control::Control;
use listing::{Input, Listing};
use look::{inside, look, plan_of, refuse_alive};
use plan::Plan;
use server::Copy;

/// Nobody else is in a server that only we can reach; prepared transactions may hold locks.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);

/// Rescues. Blocks until it is done; builds its own runtime, so it must not be called from within
/// one.
///
/// # Errors
/// [`RescueError`]. Databases of several that could not be saved are in the report.
pub fn run(
    options: &RescueOptions,
    progress: &Arc<dyn Progress>,
) -> Result<RescueReport, RescueError> {
    let found = look(options, progress.as_ref())?;
    let mut copy = Copy::new(found.keeper);
    let mut made = Made { options, progress, plan: &found.plan, major: found.binaries.major };
    let done = made.all(&found.input, &found.root, &found.listing, &found.binaries, &mut copy);
    let folder = copy.keeper.folder().to_owned();
    if options.keep && !progress.interrupted() {
        copy.keeper.keep();
        return match done {
            Ok(report) => Ok(RescueReport { kept: Some(folder), ..report }),
            Err(error) => Err(RescueError::Kept { error: Box::new(error), folder }),
        };
    }
    progress.begin(Phase::Server, 0, 0);
    progress.on("removing the copy");
    // What is left behind outranks what else went wrong.
    copy.remove()?;
    match done {
        Err(_) if progress.interrupted() => Err(RescueError::Interrupted),
        done => done,
    }
}

/// The work on the copy.
struct Made<'a> {
    options: &'a RescueOptions,
    progress: &'a Arc<dyn Progress>,
    plan: &'a Plan,
    major: u32,
}

impl Made<'_> {
    fn all(
        &mut self,
        input: &Input,
        root: &Path,
        listing: &Listing,
        binaries: &Binaries,
        copy: &mut Copy,
    ) -> Result<RescueReport, RescueError> {
        let (options, plan, progress) = (self.options, self.plan, self.progress.as_ref());
        copy::check_room(copy.keeper.folder(), plan.bytes)?;
        let began = Instant::now();
        copy::make(input, plan, &copy.keeper, progress)?;
        self.refuse_changed(input, root)?;
        if options.input == Path::new("-")
            && let Input::Tar(path) = input
        {
            let failed = |source| RescueError::Copy { path: path.clone(), source };
            std::fs::remove_file(path).map_err(failed)?;
        }
        let copying = began.elapsed();

        let began = Instant::now();
        copy.keeper.use_programs(binaries, progress)?;
        let control = Control::of(&copy.keeper, progress)?;
        let failed = |source| RescueError::Copy { path: copy.keeper.folder().to_owned(), source };
        config::write(&copy.keeper, options, &control, self.major).map_err(failed)?;
        for space in self.missing() {
            // An empty one, so that nobody stumbles over it.
            let name = control.tablespace_folder(self.major);
            let inner = Path::new("tablespaces").join(space.oid.to_string()).join(name);
            copy.keeper.make_folder(&inner.to_string_lossy()).map_err(failed)?;
        }
        let mut last_transaction = None;
        if options.reset_wal {
            reset_wal(&copy.keeper, progress)?;
        } else if !control.is_clean() {
            wal::refuse_tablespaces(&copy.keeper, &control, progress)?;
            last_transaction = wal::last_commit(&copy.keeper, &control, progress);
        }
        let mut evidence = Evidence::default();
        if control.has_checksums() {
            if !control.is_clean() && !options.reset_wal {
                // Recovery mends pages that were half written.
                copy.up(progress)?;
                copy.down(progress)?;
            }
            progress.begin(Phase::Pages, 0, 0);
            (evidence.checksums, evidence.bad_pages) =
                match damage::check_pages(&copy.keeper, progress) {
                    Ok(Some(pages)) => (Checksums::Checked, pages),
                    Ok(None) => (Checksums::Unchecked, Vec::new()),
                    // A file that it cannot read; what can be read is saved all the same.
                    Err(RescueError::Said { said, .. }) => (Checksums::Stopped(said), Vec::new()),
                    Err(error) => return Err(error),
                };
        }
        let runtime = runtime().map_err(|error| RescueError::Internal(error.to_string()))?;
        let session = copy.first_session(&runtime, progress)?;
        let cluster = runtime.block_on(ask::cluster(&session))?;
        runtime.block_on(session.close());
        let libraries = config::libraries(&[
            listing.text(&root.join("postgresql.conf")),
            listing.text(&root.join("postgresql.auto.conf")),
        ]);
        let mut report = RescueReport {
            within: root.to_owned(),
            server_version: binaries.version.clone(),
            server_user: copy.keeper.user(),
            role: copy.user.clone(),
            files: u64::try_from(plan.files.len()).unwrap_or(u64::MAX),
            bytes: plan.bytes,
            state: control.state().to_owned(),
            replayed: false,
            last_transaction,
            tablespaces: plan.tablespaces.clone(),
            libraries,
            left_out: plan.left_out.clone(),
            missing_locales: Vec::new(),
            collations: cluster.collations,
            prepared: cluster.prepared,
            evidence,
            doubts: Vec::new(),
            databases: Vec::new(),
            copying,
            recovering: began.elapsed(),
            kept: None,
        };
        let told = self.databases(&cluster.databases, copy, &runtime, binaries, &mut report);
        runtime.shutdown_background();
        if !options.keep {
            // What it says while it stops belongs to the log too; the copy goes in any case.
            _ = copy.down(progress);
        }
        told?;
        report.missing_locales.clone_from(&copy.stand_ins);
        self.doubts(input, &control, &mut report);
        Ok(report)
    }

    /// Tablespaces that are not there, and where they were.
    fn missing(&self) -> Vec<Tablespace> {
        self.plan.tablespaces.iter().filter(|space| space.found.is_none()).cloned().collect()
    }

    /// Whether everything is as it was when it was looked at first.
    fn refuse_changed(&self, input: &Input, root: &Path) -> Result<(), RescueError> {
        let Input::Folder(base) = input else { return Ok(()) };
        let progress = self.progress.as_ref();
        refuse_alive(&inside(base, root))?;
        let listing = Listing::of_folder(base, root, progress)?;
        let again = plan_of(self.options, &listing, root, Some(base), self.major, progress)?;
        let both = self.plan.files.keys().chain(again.files.keys());
        let mut differ = both.filter(|name| self.plan.files.get(*name) != again.files.get(*name));
        match differ.next() {
            None => Ok(()),
            Some(name) => {
                let inner = name.strip_prefix("data").unwrap_or(name);
                Err(RescueError::Changed(inside(base, root).join(inner)))
            }
        }
    }

    fn databases(
        &self,
        all: &[Database],
        copy: &mut Copy,
        runtime: &tokio::runtime::Runtime,
        binaries: &Binaries,
        report: &mut RescueReport,
    ) -> Result<(), RescueError> {
        let progress = self.progress.as_ref();
        let wanted = self.wanted(all, copy, runtime)?;
        for (database, why) in all.iter().zip(wanted) {
            let name = database.name.clone();
            if let Some(why) = why {
                report.databases.push(Outcome { name, archive: None, why: Some(why) });
                continue;
            }
            let saved = self.one(database, copy, runtime, binaries, report);
            // What the log says grows with each of them.
            Self::read_log(copy, report);
            self.name_pages(database, copy, runtime, report);
            match saved {
                Ok(archive) => {
                    report.databases.push(Outcome { name, archive: Some(archive), why: None });
                }
                Err(error) if progress.interrupted() => return Err(error),
                Err(error) => {
                    let error = match error {
                        RescueError::Unsaved { database, source, .. } => RescueError::Unsaved {
                            database,
                            source,
                            evidence: Box::new(report.evidence.clone()),
                        },
                        error => error,
                    };
                    if self.options.databases != Wanted::All {
                        return Err(error);
                    }
                    let why = Some(Why::Failed(Arc::new(error)));
                    report.databases.push(Outcome { name, archive: None, why });
                }
            }
        }
        Ok(())
    }

    /// For each database, why it is left out.
    fn wanted(
        &self,
        all: &[Database],
        copy: &mut Copy,
        runtime: &tokio::runtime::Runtime,
    ) -> Result<Vec<Option<Why>>, RescueError> {
        let progress = self.progress.as_ref();
        let names = || all.iter().map(|database| database.name.clone()).collect::<Vec<_>>();
        if let Wanted::Named(wanted) = &self.options.databases {
            if !all.iter().any(|database| database.name == *wanted) {
                return Err(RescueError::NoDatabase { name: wanted.clone(), found: names() });
            }
            let why = |database: &Database| {
                if database.name == *wanted { None } else { Some(Why::NotWanted) }
            };
            return Ok(all.iter().map(why).collect());
        }
        let mut out = Vec::new();
        for database in all {
            out.push(if database.invalid {
                Some(Why::Invalid)
            } else if database.name == "postgres" && all.len() > 1 {
                // Every cluster has it, and hardly anybody anything in it.
                match copy.session("postgres", runtime, progress) {
                    Ok(session) => {
                        let contents = runtime.block_on(crate::pg::contents(&session));
                        runtime.block_on(session.close());
                        contents.is_ok_and(|contents| contents.is_empty()).then_some(Why::Empty)
                    }
                    // Reading it will say why.
                    Err(_) => None,
                }
            } else {
                None
            });
        }
        let meant = out.iter().filter(|why| why.is_none()).count();
        match (&self.options.databases, meant) {
            (_, 0) if all.is_empty() => Err(RescueError::Nothing),
            // Nothing but an empty `postgres` and what is no database any more.
            (_, 0) | (Wanted::Only, 2..) => Err(RescueError::Databases(names())),
            _ => Ok(out),
        }
    }

    fn one(
        &self,
        database: &Database,
        copy: &mut Copy,
        runtime: &tokio::runtime::Runtime,
        binaries: &Binaries,
        report: &mut RescueReport,
    ) -> Result<CreateReport, RescueError> {
        let (options, progress) = (self.options, self.progress.as_ref());
        let name = database.name.as_str();
        if !database.may_connect {
            let session = copy.first_session(runtime, progress)?;
            let opened = runtime.block_on(ask::open_up(&session, name));
            runtime.block_on(session.close());
            opened?;
        }
        let session = copy.session(name, runtime, progress)?;
        let asked = runtime.block_on(async {
            let missing = ask::lost(&session, name, &self.missing()).await?;
            let collations = ask::collations(&session, name).await;
            Ok::<_, RescueError>((missing, collations))
        });
        let (missing, collations) = asked?;
        report.collations.extend(collations);
        if let Some(missing) = missing {
            return Err(missing);
        }
        if options.drop_unreadable_rows {
            progress.begin(Phase::Pages, 0, 0);
            let work = rows::drop_unreadable(&session, name, progress);
            let dropped = runtime.block_on(create::interruptible(progress, work));
            report.evidence.dropped.extend(dropped.unwrap_or(Err(RescueError::Interrupted))?);
        }
        runtime.block_on(session.close());
        let pg_dump = binaries.folder.join("pg_dump");
        let creating = CreateOptions {
            base: None,
            params: copy.params(name)?,
            output: (options.output)(name),
            jobs: options.jobs,
            memory: options.memory,
            pg_dump: if pg_dump.is_file() { quoted(&pg_dump) } else { String::new() },
            lock_timeout: LOCK_TIMEOUT,
            profile: None,
            comment: options.comment.clone(),
            overwrite: options.overwrite,
            created: None,
            snapshot: None,
            read_back: true,
            parity: options.parity,
            rules: options.rules.clone(),
        };
        create::run(&creating, self.progress).map_err(|error| match error {
            CreateError::Interrupted => RescueError::Interrupted,
            source => RescueError::Unsaved {
                database: name.to_owned(),
                source: Box::new(source),
                evidence: Box::default(),
            },
        })
    }

    fn read_log(copy: &Copy, report: &mut RescueReport) {
        let told = log::told(&copy.log());
        report.replayed = told.replayed;
        report.evidence.log = told.damage;
        for page in told.zeroed {
            let same = |known: &&Page| known.relation == page.relation && known.block == page.block;
            if report.evidence.zeroed_pages.iter().find(same).is_none() {
                report.evidence.zeroed_pages.push(page);
            }
        }
    }

    /// Whose the damaged pages are, as far as this database knows.
    fn name_pages(
        &self,
        database: &Database,
        copy: &mut Copy,
        runtime: &tokio::runtime::Runtime,
        report: &mut RescueReport,
    ) {
        let evidence = &mut report.evidence;
        if evidence.bad_pages.is_empty() && evidence.zeroed_pages.is_empty() {
            return;
        }
        // A database too damaged for it leaves them without a name.
        let Ok(session) = copy.session(&database.name, runtime, self.progress.as_ref()) else {
            return;
        };
        for pages in [&mut evidence.bad_pages, &mut evidence.zeroed_pages] {
            _ = runtime.block_on(damage::name(&session, &database.name, database.oid, pages));
        }
        runtime.block_on(session.close());
    }

    fn doubts(&self, input: &Input, control: &Control, report: &mut RescueReport) {
        let mut doubts = Vec::new();
        let mut doubt = |kind, words: String| doubts.push(Doubt { kind, words });
        if control.damaged {
            doubt("control-file", "the checksum of the control file is wrong".into());
        }
        if self.options.reset_wal {
            doubt(
                "wal-reset",
                "the WAL was thrown away: what was only in it is lost, transactions may be there in \
                 part, and keys, references and indexes may not fit together"
                    .into(),
            );
        }
        if self.options.ignore_backup_label && self.plan.has_backup_label {
            doubt(
                "backup-label",
                "backup_label was left out: if this is a base backup, rows may be of different moments"
                    .into(),
            );
        }
        // A base backup is made of a server that runs, and knows it.
        let is_backup = self.plan.has_backup_label && !self.plan.has_pid_file;
        if matches!(input, Input::Tar(_)) && !is_backup && !control.is_clean() {
            doubt(
                "made-while-running",
                "the server was not stopped before the tar was made: if it still ran then, rows may \
                 be of different moments, or missing"
                    .into(),
            );
        }
        let evidence = &report.evidence;
        if let Checksums::Stopped(said) = &evidence.checksums {
            doubt("checksums", format!("the check of checksums broke off: {said}"));
        }
        let bad = evidence.bad_pages.len();
        if bad > 0 {
            let pages = if bad == 1 { "page has a" } else { "pages have a" };
            doubt("bad-pages", format!("{bad} {pages} wrong checksum"));
        }
        let zeroed = evidence.zeroed_pages.len();
        if zeroed > 0 {
            let were = if zeroed == 1 { "page was" } else { "pages were" };
            doubt(
                "zeroed-pages",
                format!("{zeroed} damaged {were} read as empty: rows in it are lost"),
            );
        }
        let dropped = evidence.dropped.len();
        if dropped > 0 {
            let rows = if dropped == 1 { "row" } else { "rows" };
            doubt("dropped-rows", format!("{dropped} {rows} could not be read, and are left out"));
        }
        if !evidence.log.is_empty() && zeroed + dropped == 0 {
            doubt("log", "the server's log speaks of damage".into());
        }
        report.doubts = doubts;
    }
}

/// A word of a command line.
fn quoted(path: &Path) -> String {
    let text = path.to_string_lossy();
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// A new WAL for the copy, whatever was in it.
fn reset_wal(keeper: &Keeper, progress: &dyn Progress) -> Result<(), RescueError> {
    let name = "pg_resetwal";
    let mut command = keeper.program(name);
    command.arg("-f").arg("-D").arg(keeper.folder().join("data"));
    let ran = programs::run_own(name, command, "", progress)?;
    if ran.success { Ok(()) } else { Err(ran.failed(name)) }
}
