//! From an archive to a database, compared with the archive afterwards.
//!
//! The archive is verified first: no byte of a damaged one reaches the server. The target must be
//! empty. Then types and tables, rows, sequences, large objects, indexes and constraints,
//! materialized views, ANALYZE; triggers, foreign keys and row security come after the rows, so
//! they do not act on them. In the end the target is read back and compared.
//!
//! Instead of into an empty database, an archive can be restored into a new one, which gets its
//! name when all is in it and compared, in place of an old one if wanted: see [`Place`].

mod analyze;
mod big;
mod binary;
mod choices;
mod compare;
mod convert;
mod error;
mod existing;
mod large_objects;
mod load;
mod names;
mod part;
mod place;
mod plan;
mod roles;
mod schema;
mod settings;
mod space;
mod steps;
mod target;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::create::{interruptible, runtime};
use crate::format::manifest::{Manifest, Name, TableKind};
use crate::format::reader::{Archive, OpenError};
use crate::format::thin;
use crate::pg::{Params, PgError, Session, literal, qualified};
use crate::progress::{Phase, Progress};
use crate::verify::{self, Code, ImageCheck, Level, Report, Severity, VerifyOptions};
pub use choices::Choices;
pub use convert::RowProblem;
pub use error::RestoreError;
use part::Part;
use place::Director;
pub(crate) use place::create_database_sql;
pub use place::{Connection, Place};
pub use plan::{Plan, plan};
use settings::Given;
pub use space::Space;
pub use steps::Step;

/// How to restore an archive.
#[derive(Clone, Debug)]
pub struct RestoreOptions {
    /// The archive.
    pub file: PathBuf,
    /// Files, or folders with files, that it may be based on if it is thin. Its own folder is looked
    /// through too.
    pub bases: Vec<PathBuf>,
    /// The target: a database with nothing in it.
    pub target: Params,
    /// Sessions that load at the same time; at least 1.
    pub jobs: usize,
    /// Bytes that verifying and comparing may hold. Loading holds some 100 MiB a session at most,
    /// where blobs are that large.
    pub memory: usize,
}

/// Where to, and what of the archive. The default: the target itself, all of it.
#[derive(Clone, Default, Debug)]
pub struct How {
    /// Where to.
    pub place: Place,
    /// What of the archive, and for whom.
    pub choices: Choices,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct RestoreReport {
    /// The database that the archive's contents are in now; none if it was dropped again, because
    /// it is not what the archive holds.
    pub database: Option<String>,
    /// The database that was there before, under its new name.
    pub kept: Option<String>,
    /// Whether the target was read back and compared.
    pub compared: bool,
    /// Where tables or schemas were chosen: what came along with them and what was left out, in
    /// words. None where it was the whole archive.
    pub chosen: Option<Vec<String>>,
    /// Every table restored that has rows of its own (even if none), in the archive's order.
    pub tables: Vec<TableOutcome>,
    /// The large objects, if the archive or the target has any.
    pub large_objects: Option<Outcome>,
    /// Sequences restored.
    pub sequences: u64,
    /// What is not as it was: see [`RestoreFinding`].
    pub findings: Vec<RestoreFinding>,
    /// Whether all rows, large objects and sequences of the target are those of the archive.
    pub equal: bool,
    /// What verifying the archive said before anything was done.
    pub verified: Report,
    /// How long verifying took.
    pub verifying: Duration,
    /// How long restoring took.
    pub restoring: Duration,
    /// How long comparing took.
    pub comparing: Duration,
}

/// A table after the restore.
#[derive(Clone, Debug)]
pub struct TableOutcome {
    /// The table.
    pub name: Name,
    /// What the comparison said.
    pub outcome: Outcome,
}

/// What comparing rows said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// Rows in the archive.
    pub expected: u64,
    /// Rows in the target.
    pub rows: u64,
    /// Whether count and digest of the rows are the same.
    pub equal: bool,
}

/// Something that a restore could not do, and that can be done by hand; or a difference.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RestoreFinding {
    /// What kind of object: `pg_dump`'s word, or `sequence`.
    pub kind: String,
    /// Its name.
    pub object: String,
    /// What is the case.
    pub message: String,
    /// The SQL statement that would mend it.
    pub statement: Option<String>,
}

/// Restores an archive into an empty database: [`run_as`] with nothing special.
///
/// # Errors
/// [`RestoreError`]; [`RestoreError::Partial`] where the target was changed already.
pub fn run(
    options: &RestoreOptions,
    progress: &Arc<dyn Progress>,
) -> Result<RestoreReport, RestoreError> {
    run_as(options, &How::default(), progress)
}

/// Restores an archive. Blocks until it is done; builds its own runtime, so it must not be called
/// from within one.
///
/// # Errors
/// [`RestoreError`]; [`RestoreError::Partial`] where an existing target was changed already,
/// [`RestoreError::Undone`] where a new database had been made.
pub fn run_as(
    options: &RestoreOptions,
    how: &How,
    progress: &Arc<dyn Progress>,
) -> Result<RestoreReport, RestoreError> {
    let path = &options.file;
    let open = |source| RestoreError::Open { path: path.clone(), source };
    let file = thin::open(path, &options.bases).map_err(|error| open(OpenError::Io(error)))?;
    // Said before anything else: it is no damage of this file.
    if let Ok(archive) = Archive::from_file(Arc::clone(&file)) {
        thin::check(&*file, archive.manifest()).map_err(|fault| open(fault.into()))?;
    }
    let started = Instant::now();
    let level =
        VerifyOptions { level: Level::Full, memory: options.memory, images: ImageCheck::Parts };
    let verified = match verify::run(&file, &level, progress.as_ref()) {
        Ok(report) => report,
        Err(_) if progress.interrupted() => return Err(RestoreError::Interrupted),
        Err(source) => return Err(RestoreError::Verify { path: path.clone(), source }),
    };
    if progress.interrupted() {
        return Err(RestoreError::Interrupted);
    }
    if verified.too_new {
        return Err(RestoreError::TooNew { path: path.clone(), report: Box::new(verified) });
    }
    let mut errors = verified.findings.iter().filter(|f| f.severity == Severity::Error);
    if errors.any(|finding| forbids(finding.code, &how.choices)) {
        return Err(RestoreError::Damaged { path: path.clone(), report: Box::new(verified) });
    }
    let verifying = started.elapsed();
    let archive = Arc::new(Archive::from_file(file).map_err(open)?);
    let part = Part::of(&archive, &how.choices)?;
    for note in &part.notes {
        progress.note(note);
    }
    let runtime = runtime().map_err(|error| RestoreError::Internal(error.to_string()))?;
    let done = match &how.place {
        Place::Existing => in_place(&runtime, options, how, &archive, &part.manifest, progress),
        _ => runtime.block_on(beside(options, how, &archive, &part.manifest, progress)),
    };
    runtime.shutdown_background();
    let (done, database, kept) = done?;
    Ok(RestoreReport {
        database,
        kept,
        compared: done.compared,
        chosen: how.choices.is_part().then_some(part.notes),
        tables: done.tables,
        large_objects: done.large_objects,
        sequences: done.sequences,
        findings: done.findings,
        equal: done.equal,
        verified,
        verifying,
        restoring: done.restoring,
        comparing: done.comparing,
    })
}

/// Whether an error of verification is a reason not to restore: the archive is damaged, or the target
/// would refuse the rows. What only a rule asks for, and an image that was broken in the source, are
/// restored as they were.
fn forbids(code: Code, choices: &Choices) -> bool {
    match code {
        Code::DanglingForeignKey => !choices.not_valid,
        Code::RuleNamesNothing | Code::DanglingSoftReference | Code::CountRule => false,
        code => !code.id().starts_with("E7"),
    }
}

/// What was done, the database it is in, and the one that was kept.
type Done = (Restored, Option<String>, Option<String>);

fn in_place(
    runtime: &tokio::runtime::Runtime,
    options: &RestoreOptions,
    how: &How,
    archive: &Arc<Archive>,
    manifest: &Manifest,
    progress: &Arc<dyn Progress>,
) -> Result<Done, RestoreError> {
    let (checked, begun) = (AtomicBool::new(false), AtomicBool::new(false));
    let work = async {
        let lead = session(&options.target).await?;
        let target = lead.params().clone();
        plan::refuse(plan::check(&lead, archive, manifest, how).await?, progress.as_ref())?;
        checked.store(true, Ordering::Relaxed);
        let filling =
            fill(options, &how.choices, archive, manifest, lead, &target, &begun, progress);
        let mut done = Box::pin(filling).await?;
        if how.choices.database_settings {
            let session = Session::open(&target).await?;
            session.run("setting up a session for restoring", WRITABLE).await?;
            let there = crate::pg::read_properties(&session, target.database()).await?;
            if let Some(given) = Given::of(manifest, how, Some(&there.owner)) {
                let refused = settings::apply(&session, target.database(), &given).await?;
                done.findings.extend(refused);
            }
            session.close().await;
        }
        Ok(done)
    };
    let done = runtime.block_on(interruptible(progress.as_ref(), work));
    match done.unwrap_or(Err(RestoreError::Interrupted)) {
        Ok(done) => Ok((done, Some(options.target.database().to_owned()), None)),
        Err(error) if begun.into_inner() => Err(RestoreError::Partial(Box::new(error))),
        Err(error) if checked.into_inner() => Err(RestoreError::RolledBack(Box::new(error))),
        Err(error) => Err(error),
    }
}

/// Into a new database, which then gets its name, or is dropped.
async fn beside(
    options: &RestoreOptions,
    how: &How,
    archive: &Arc<Archive>,
    manifest: &Manifest,
    progress: &Arc<dyn Progress>,
) -> Result<Done, RestoreError> {
    let begin = async {
        let name = plan::name(options, how)?;
        let director = Director::open(&options.target, &name).await?;
        let target = director.session.params().clone();
        plan::refuse(
            plan::check_beside(&director, archive, manifest, how).await?,
            progress.as_ref(),
        )?;
        director.lock().await?;
        for leftover in director.leftovers(&target).await? {
            director.drop(&leftover).await?;
            progress.note(&format!("dropped {leftover}, which an earlier restore had left"));
        }
        let working = director.free_name(place::WORKING).await?;
        Ok::<_, RestoreError>((director, target, working))
    };
    // What is awaited here is long: on the heap, not in every future around it.
    let (director, target, working) = interruptible(progress.as_ref(), Box::pin(begin))
        .await
        .unwrap_or(Err(RestoreError::Interrupted))?;
    let new = target.with_database(&working);
    let work = async {
        let old = match how.place {
            Place::Swap { .. } => {
                Some(settings::Old::read(&director.session, &director.name).await?)
            }
            _ => None,
        };
        let owner = given_owner(how, &director.session, old.as_ref());
        let given = Given::of(manifest, how, owner);
        director.make(&working, &archive.manifest().source, old.as_ref(), given.as_ref()).await?;
        let (mut taken, mut refused) = (String::new(), Vec::new());
        if let Some(given) = &given {
            let name = &director.name;
            (taken, refused) = settings::try_out(&director.session, &working, name, given).await?;
            if old.is_some() && !refused.is_empty() {
                // Else it would not be replaced in the end, after hours.
                let refused = refused.into_iter().map(|finding| finding.message);
                return Err(RestoreError::Properties(refused.collect()));
            }
        }
        let lead = session(&new).await?;
        let touched = AtomicBool::new(false);
        let filling =
            fill(options, &how.choices, archive, manifest, lead, &new, &touched, progress);
        let mut done = Box::pin(filling).await?;
        done.findings.extend(refused);
        Ok((done, given, taken))
    };
    let work = interruptible(progress.as_ref(), Box::pin(work)).await;
    let undo = |error| undo(&target, &director.name, &working, error);
    let (mut done, given, taken) = match work.unwrap_or(Err(RestoreError::Interrupted)) {
        Ok(done) => done,
        Err(error) => return Err(undo(error).await),
    };
    // Nobody would want to find out later that what was kept aside was the better one.
    if !done.equal || matches!(how.place, Place::Swap { .. }) && has_failed(&done.findings) {
        return match director.drop(&working).await {
            Ok(()) => Ok((done, None, None)),
            Err(error) => {
                done.findings.push(RestoreFinding {
                    kind: "DATABASE".into(),
                    object: working.clone(),
                    message: format!("it could not be dropped: {error}"),
                    statement: Some(format!("DROP DATABASE {};", crate::pg::ident(&working))),
                });
                Ok((done, None, None))
            }
        };
    }
    if progress.interrupted() {
        return Err(undo(RestoreError::Interrupted).await);
    }
    // Short, and best not left in the middle: not interruptible.
    let named = match how.place {
        Place::Swap { disconnect } => {
            progress.on("renaming");
            let kept = director.free_name(place::BEFORE).await;
            match kept {
                Ok(kept) => {
                    let (given, progress) = (given.as_ref(), progress.as_ref());
                    let swap = director.swap(&target, &working, &kept, disconnect, given, progress);
                    Box::pin(swap).await.map(|()| Some(kept))
                }
                Err(error) => Err(error),
            }
        }
        _ => director.name(&working, &taken).await.map(|()| None),
    };
    match named {
        Ok(kept) => {
            let name = director.name.clone();
            director.session.close().await;
            Ok((done, Some(name), kept))
        }
        Err(error) => Err(undo(error).await),
    }
}

/// Who owns the database that gets what the archive says of its own, where the archive does not
/// say that.
fn given_owner<'a>(
    how: &How,
    session: &'a Session,
    old: Option<&'a settings::Old>,
) -> Option<&'a str> {
    match old {
        Some(old) => Some(&old.properties.owner),
        None => how.choices.no_owner.then(|| session.params().user()),
    }
}

/// A restore that ended early leaves nothing: the new database goes, by a session of its own, for
/// the other one may be what failed.
async fn undo(target: &Params, name: &str, working: &str, error: RestoreError) -> RestoreError {
    let dropping = match Director::open(target, name).await {
        Ok(director) => director.drop(working).await.err(),
        Err(RestoreError::Server(error)) => Some(error),
        Err(other) => Some(PgError::protocol("connecting", other.to_string())),
    };
    RestoreError::Undone { error: Box::new(error), database: working.to_owned(), dropping }
}

/// Whether something is missing that was there: a reason not to replace anything with it.
fn has_failed(findings: &[RestoreFinding]) -> bool {
    findings.iter().any(|finding| !matches!(finding.kind.as_str(), "FK CONSTRAINT" | "statistics"))
}

struct Restored {
    tables: Vec<TableOutcome>,
    large_objects: Option<Outcome>,
    sequences: u64,
    findings: Vec<RestoreFinding>,
    equal: bool,
    compared: bool,
    restoring: Duration,
    comparing: Duration,
}

/// Fills an empty database, or empty tables. `begun` is set when something may have changed that
/// does not go back by itself.
#[expect(clippy::too_many_arguments, reason = "each is one thing, and there is one caller a place")]
async fn fill(
    options: &RestoreOptions,
    choices: &Choices,
    archive: &Arc<Archive>,
    manifest: &Manifest,
    lead: Session,
    target: &Params,
    begun: &AtomicBool,
    progress: &Arc<dyn Progress>,
) -> Result<Restored, RestoreError> {
    begun.store(!choices.data_only, Ordering::Relaxed);
    let [pre, post] = plan::objects(archive, manifest, choices, lead.server_version_num())?;
    let started = Instant::now();
    // All sessions go where this one went, whatever other hosts were given.
    let target = lead.params().with_database(target.database());
    progress.begin(Phase::PreData, count(pre.objects.len()), 0);
    schema::pre_data(&lead, &pre.sql, &pre.objects, progress.as_ref()).await?;

    let data = manifest.tables.iter().filter_map(|table| table.data).chain(manifest.large_objects);
    let (rows, bytes) = data.fold((0, 0), |(rows, bytes): (u64, u64), data| {
        (rows + data.rows, bytes + data.bytes + data.blob_bytes)
    });
    let mut findings = Vec::new();
    if !choices.schema_only {
        progress.begin(Phase::Load, rows, bytes);
        if choices.data_only {
            let broken = existing::fill(&lead, archive, manifest, begun, progress.as_ref());
            findings.extend(Box::pin(broken).await?);
        } else {
            clear_extension_rows(&lead, manifest).await?;
            load::load(archive, manifest, &target, options.jobs, progress).await?;
            set_sequences(&lead, manifest).await?;
        }
        large_objects::load(&lead, archive, manifest.large_objects, choices, progress.as_ref())
            .await?;
    }

    progress.begin(Phase::PostData, count(post.objects.len()), 0);
    let (sql, objects, unchecked) = (&post.sql, &post.objects, choices.not_valid);
    let post =
        schema::post_data(&lead, &target, sql, objects, options.jobs, unchecked, progress).await?;
    findings.extend(post);
    findings.extend(analyze::analyze(&lead, progress.as_ref()).await?);
    // Commits so far were not waited for; this one is, and those before it are on disk with it.
    let flush = "RESET synchronous_commit; \
                 SELECT pg_catalog.pg_logical_emit_message(true, 'pgark', 'restored'::pg_catalog.text)";
    lead.run("waiting for the disk", flush).await?;
    lead.close().await;
    let restoring = started.elapsed();

    if choices.no_compare || choices.schema_only {
        return Ok(Restored {
            tables: Vec::new(),
            large_objects: None,
            sequences: if choices.schema_only { 0 } else { count(manifest.sequences.len()) },
            findings,
            equal: true,
            compared: false,
            restoring,
            comparing: Duration::ZERO,
        });
    }
    let again = Instant::now();
    progress.begin(Phase::Compare, rows, bytes);
    let compared = compare::compare(manifest, &target, options, choices, progress).await?;
    let equal = compared.equal;
    findings.extend(compared.findings);
    Ok(Restored {
        tables: compared.tables,
        large_objects: compared.large_objects,
        sequences: count(manifest.sequences.len()),
        findings,
        equal,
        compared: true,
        restoring,
        comparing: again.elapsed(),
    })
}

/// Whatever a role or a database is set to.
const WRITABLE: &str = "SET default_transaction_read_only = off";

/// A session that restores: as `pg_restore` sets one up.
async fn session(target: &Params) -> Result<Session, PgError> {
    let session = Session::open(target).await?;
    session
        .run(
            "setting up a session for restoring",
            "SET check_function_bodies = off; SET default_table_access_method = 'heap'; \
             SET default_tablespace = ''; SET synchronous_commit = off",
        )
        .await?;
    session.run("setting up a session for restoring", WRITABLE).await?;
    limit_waiting(&session).await?;
    Ok(session)
}

/// Nobody else should be at work in a database that was empty a moment ago. Who holds a lock there
/// is waited for a minute, or less where the role or the database has a shorter limit.
async fn limit_waiting(session: &Session) -> Result<(), PgError> {
    let sql = "SELECT pg_catalog.set_config('lock_timeout', \
               CASE WHEN reset_val::pg_catalog.int4 BETWEEN 1 AND 60000 THEN reset_val \
                    ELSE '60000' END, false) \
               FROM pg_catalog.pg_settings WHERE name = 'lock_timeout'";
    session.run("setting up a session for restoring", sql).await
}

/// An extension may fill its configuration tables when it is created. What of that belongs to a
/// backup is in the archive, so it makes room here.
async fn clear_extension_rows(lead: &Session, manifest: &Manifest) -> Result<(), RestoreError> {
    for table in &manifest.tables {
        if table.kind == TableKind::ExtensionConfig && table.data.is_some() {
            let condition = table.condition.as_deref().unwrap_or_default();
            let sql = format!("DELETE FROM ONLY {} {condition}", qualified(&table.name));
            let error = |source| RestoreError::Load { table: table.name.to_string(), source };
            lead.run("making room for the archive's rows", &sql).await.map_err(error)?;
        }
    }
    Ok(())
}

async fn set_sequences(lead: &Session, manifest: &Manifest) -> Result<(), RestoreError> {
    for batch in manifest.sequences.chunks(200) {
        let mut sql = String::new();
        for sequence in batch {
            let name = literal(&qualified(&sequence.name));
            let (value, called) = (sequence.last_value, sequence.is_called);
            let _ = writeln!(
                sql,
                "SELECT pg_catalog.setval({name}::pg_catalog.regclass, {value}, {called});"
            );
        }
        let doing = match batch {
            [one] => format!("setting sequence {}", one.name),
            [first, .., last] => format!("setting sequences {} to {}", first.name, last.name),
            [] => continue,
        };
        lead.run(&doing, &sql).await?;
    }
    Ok(())
}

fn count(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}
