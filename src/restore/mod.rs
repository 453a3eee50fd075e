//! From an archive to a database, compared with the archive afterwards.
//!
//! The archive is verified first: no byte of a damaged one reaches the server. The target must be
//! empty. Then types and tables, rows, sequences, large objects, indexes and constraints,
//! materialized views, ANALYZE; triggers, foreign keys and row security come after the rows, so
//! they do not act on them. In the end the target is read back and compared.

mod big;
mod binary;
mod compare;
mod convert;
mod large_objects;
mod load;
mod schema;
mod target;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::create::pump::PumpError;
use crate::create::{interruptible, runtime};
use crate::format::manifest::{Manifest, Name, TableKind};
use crate::format::reader::{Archive, OpenError, ReadError, Section};
use crate::io::{DiskFile, ReadAt};
use crate::pg::{Params, PgError, Session, literal, qualified};
use crate::progress::{Phase, Progress};
use crate::verify::{self, Level, Report, VerifyError, VerifyOptions};
pub use convert::RowProblem;

/// How to restore an archive.
#[derive(Clone, Debug)]
pub struct RestoreOptions {
    /// The archive.
    pub file: PathBuf,
    /// The target: a database with nothing in it.
    pub target: Params,
    /// Sessions that load at the same time; at least 1.
    pub jobs: usize,
    /// Bytes that verifying and comparing may hold. Loading holds some 100 MiB a session at most,
    /// where blobs are that large.
    pub memory: usize,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct RestoreReport {
    /// Every table that has rows of its own (even if none), in the archive's order.
    pub tables: Vec<TableOutcome>,
    /// The large objects, if the archive or the target has any.
    pub large_objects: Option<Outcome>,
    /// Sequences of the archive.
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

/// Why a restore was refused or did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The file cannot be opened as an archive.
    #[error("{}: {source}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: OpenError,
    },
    /// Verification could not be done.
    #[error("{}: {source}", path.display())]
    Verify {
        /// The file.
        path: PathBuf,
        /// Why.
        source: VerifyError,
    },
    /// The archive does not verify. Nothing was done.
    #[error("{}: the archive does not verify: {} error(s)", path.display(), report.errors)]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        report: Box<Report>,
    },
    /// The archive needs a newer pgark. Nothing was done.
    #[error("{}: the archive needs a newer pgark", path.display())]
    TooNew {
        /// The file.
        path: PathBuf,
        /// What was found.
        report: Box<Report>,
    },
    /// There is something in the target. Nothing was done.
    #[error("the target ({target}) is not empty: {}", contents.join(", "))]
    NotEmpty {
        /// The target.
        target: String,
        /// What is in it.
        contents: Vec<String>,
    },
    /// The target's server is older than the source's. Nothing was done.
    #[error("the source's server has version {from}, the target's is older: {to}")]
    OlderServer {
        /// The source's version.
        from: String,
        /// The target's version.
        to: String,
    },
    /// Roles that the archive names do not exist. Nothing was done.
    #[error("roles that the archive names do not exist on the target's server: {}", .0.join(", "))]
    MissingRoles(Vec<String>),
    /// The server said no, or went away.
    #[error(transparent)]
    Server(#[from] PgError),
    /// An object of the schema could not be made.
    #[error("{kind} {object}: {source}")]
    Object {
        /// `pg_dump`'s word for what it is.
        kind: String,
        /// Its name.
        object: String,
        /// What the server says.
        source: PgError,
    },
    /// A table's rows could not be loaded.
    #[error("loading {table}: {source}")]
    Load {
        /// The table.
        table: String,
        /// What the server says.
        source: PgError,
    },
    /// A table's rows could not be converted.
    #[error("rows of {table}: {source}")]
    Rows {
        /// The table.
        table: String,
        /// What is wrong.
        source: RowProblem,
    },
    /// The server took another number of rows than it was given.
    #[error("{table}: {sent} rows were sent and the server took {loaded}")]
    Count {
        /// The table.
        table: String,
        /// Rows sent.
        sent: u64,
        /// Rows the server says it took.
        loaded: u64,
    },
    /// The archive could not be read.
    #[error(transparent)]
    Archive(#[from] ReadError),
    /// The target could not be read back.
    #[error("comparing the target with the archive: {0}")]
    Compare(PumpError),
    /// The restore failed after it had begun: the target is partly filled.
    #[error("{0}; the target is left partly filled")]
    Partial(Box<RestoreError>),
    /// The person wanted it to stop.
    #[error("interrupted")]
    Interrupted,
    /// A mistake of this program, or a system that gives no threads.
    #[error("internal error: {0}")]
    Internal(String),
}

impl RestoreError {
    /// Whether it ended because the person wanted it to.
    pub fn is_interrupted(&self) -> bool {
        match self {
            Self::Interrupted | Self::Compare(PumpError::Interrupted) => true,
            Self::Partial(error) => error.is_interrupted(),
            _ => false,
        }
    }
}

/// Restores an archive. Blocks until it is done; builds its own runtime, so it must not be called
/// from within one.
///
/// # Errors
/// [`RestoreError`]; [`RestoreError::Partial`] where the target was changed already.
pub fn run(
    options: &RestoreOptions,
    progress: &Arc<dyn Progress>,
) -> Result<RestoreReport, RestoreError> {
    let path = &options.file;
    let open = |source| RestoreError::Open { path: path.clone(), source };
    let file: Arc<dyn ReadAt> =
        Arc::new(DiskFile::open(path).map_err(|error| open(OpenError::Io(error)))?);
    let started = Instant::now();
    let how = VerifyOptions { level: Level::Full, memory: options.memory };
    let verified = match verify::run(&file, &how, progress.as_ref()) {
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
    if !verified.ok {
        return Err(RestoreError::Damaged { path: path.clone(), report: Box::new(verified) });
    }
    let verifying = started.elapsed();
    let archive = Arc::new(Archive::from_file(file).map_err(open)?);
    let runtime = runtime().map_err(|error| RestoreError::Internal(error.to_string()))?;
    let begun = AtomicBool::new(false);
    let done = runtime
        .block_on(interruptible(progress.as_ref(), restore(options, &archive, progress, &begun)));
    runtime.shutdown_background();
    let done = done.unwrap_or(Err(RestoreError::Interrupted));
    let Restored { tables, large_objects, sequences, findings, equal, restoring, comparing } =
        match done {
            Ok(done) => done,
            Err(error) if begun.into_inner() => {
                return Err(RestoreError::Partial(Box::new(error)));
            }
            Err(error) => return Err(error),
        };
    Ok(RestoreReport {
        tables,
        large_objects,
        sequences,
        findings,
        equal,
        verified,
        verifying,
        restoring,
        comparing,
    })
}

struct Restored {
    tables: Vec<TableOutcome>,
    large_objects: Option<Outcome>,
    sequences: u64,
    findings: Vec<RestoreFinding>,
    equal: bool,
    restoring: Duration,
    comparing: Duration,
}

async fn restore(
    options: &RestoreOptions,
    archive: &Arc<Archive>,
    progress: &Arc<dyn Progress>,
    begun: &AtomicBool,
) -> Result<Restored, RestoreError> {
    let manifest = archive.manifest();
    let pre_data = archive.schema_sql(Section::PreData)?;
    let post_data = archive.schema_sql(Section::PostData)?;
    let started = Instant::now();
    let lead = session(&options.target).await?;
    // All sessions go where this one went, whatever other hosts were given.
    let target = lead.params().clone();
    target::check(&lead, archive, [&pre_data, &post_data], progress.as_ref()).await?;

    begun.store(true, Ordering::Relaxed);
    progress.begin(Phase::PreData, count(manifest.schema.pre_data.len()), 0);
    schema::pre_data(&lead, &pre_data, &manifest.schema.pre_data, progress.as_ref()).await?;
    clear_extension_rows(&lead, manifest).await?;

    let data = manifest.tables.iter().filter_map(|table| table.data).chain(manifest.large_objects);
    let (rows, bytes) = data.fold((0, 0), |(rows, bytes): (u64, u64), data| {
        (rows + data.rows, bytes + data.bytes + data.blob_bytes)
    });
    progress.begin(Phase::Load, rows, bytes);
    load::load(archive, &target, options.jobs, progress).await?;
    set_sequences(&lead, manifest).await?;
    large_objects::load(&lead, archive, progress.as_ref()).await?;

    progress.begin(Phase::PostData, count(manifest.schema.post_data.len()), 0);
    let objects = &manifest.schema.post_data;
    let mut findings =
        schema::post_data(&lead, &target, &post_data, objects, options.jobs, progress).await?;
    // Commits so far were not waited for; this one is, and those before it are on disk with it.
    lead.run("waiting for the disk", "RESET synchronous_commit").await?;
    if let Err(error) = lead.run("ANALYZE", "ANALYZE").await {
        if matches!(error, PgError::Lost { .. }) {
            return Err(error.into());
        }
        findings.push(RestoreFinding {
            kind: "statistics".into(),
            object: "the database".into(),
            message: error.to_string(),
            statement: Some("ANALYZE;".into()),
        });
    }
    lead.close().await;
    let restoring = started.elapsed();

    let again = Instant::now();
    progress.begin(Phase::Compare, rows, bytes);
    let compared = compare::compare(archive, &target, options, progress).await?;
    let equal = compared.equal;
    findings.extend(compared.findings);
    Ok(Restored {
        tables: compared.tables,
        large_objects: compared.large_objects,
        sequences: count(manifest.sequences.len()),
        findings,
        equal,
        restoring,
        comparing: again.elapsed(),
    })
}

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
    Ok(session)
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
