//! From a live database, or from a dump of one ([`from_dump`]), to a verified archive.
//!
//! One snapshot for everything; the schema by `pg_dump` in it, rows by the `pump`. The file is
//! written under another name, synced, read back and verified, and only then gets its own: nothing
//! that looks finished was not verified, however this ends.

mod big;
mod budget;
pub(crate) mod digesting;
pub mod from_dump;
mod large_objects;
pub(crate) mod pump;
mod sequencer;

use std::fs::File;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use crate::format::base::OnBase;
use crate::format::batch::Batch;
use crate::format::digest::Digest;
use crate::format::manifest::{Manifest, Name, Sequence, Table, TableData};
use crate::format::parity::Protection;
use crate::format::reader::Archive;
use crate::format::rows::Bytea;
use crate::format::rules::Rules;
use crate::format::thin;
use crate::format::writer::{ArchiveWriter, WriteError, WriterOptions, Written};
use crate::io::{AtomicFile, DiskFile, ReadAt, Scratch};
use crate::pg::catalog::{self, Catalog};
use crate::pg::dump::{self, DumpError, SchemaText};
use crate::pg::plan;
use crate::pg::{Params, PgError, Snapshot};
use crate::progress::{Phase, Progress};
use crate::source::DumpFileError;
use crate::verify::rules::{RuleFile, Unknown, resolve};
use crate::verify::{
    self, Finding, ImageCheck, Level, Report, Severity, VerifyError, VerifyOptions,
};
use pump::{Mode, PumpError, Reading, Sink, Slices, What};

/// How to make an archive.
#[derive(Clone, Debug)]
pub struct CreateOptions {
    /// The source.
    pub params: Params,
    /// The archive's final name.
    pub output: PathBuf,
    /// Sessions that read rows at the same time; at least 1.
    pub jobs: usize,
    /// Bytes of rows and objects that may be in memory at once. One row, or 8 MiB of a large one,
    /// always fits.
    pub memory: usize,
    /// The `pg_dump` command.
    pub pg_dump: String,
    /// How long to wait for the locks on the tables.
    pub lock_timeout: Duration,
    /// The profile that the manifest is to name.
    pub profile: Option<String>,
    /// What the manifest's `comment` is to say.
    pub comment: Option<String>,
    /// Whether a file of that name may be replaced.
    pub overwrite: bool,
    /// The creation second to write instead of now's (since 1970-01-01 UTC).
    pub created: Option<u64>,
    /// A snapshot that another session exported and keeps open, to read in instead of a new one.
    pub snapshot: Option<String>,
    /// Whether to verify the archive before it gets its name.
    pub read_back: bool,
    /// The parity to add, if any: what makes damage repairable.
    pub parity: Option<Protection>,
    /// Rules to keep in the archive, and to hold it against when it is read back.
    pub rules: Option<RuleFile>,
    /// The archive to take from what it has, for a thin archive; and, if that is thin itself, files
    /// or folders with files that it may be based on. Its own folder is looked through too.
    pub base: Option<(PathBuf, Vec<PathBuf>)>,
}

/// What was made.
#[derive(Clone, Debug)]
pub struct CreateReport {
    /// The archive.
    pub path: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// Tables with rows of their own (even if none).
    pub tables: u64,
    /// Rows in them, and large objects.
    pub rows: u64,
    /// Blob references.
    pub blobs: u64,
    /// Bytes of the blobs referred to, repeats counted.
    pub blob_bytes: u64,
    /// What is stored.
    pub stored: Written,
    /// The manifest's digest: it names this archive.
    pub manifest: Digest,
    /// How long writing took.
    pub writing: Duration,
    /// How long reading back took; zero if that was not asked for.
    pub reading_back: Duration,
    /// What reading back said. There is no damage among its findings; there may be faults of the
    /// data, such as references that resolve to nothing in the source either.
    pub verified: Option<Report>,
}

/// Why there is no archive. Nothing is left under its name, and what was there before still is.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// The file is there already, and may not be replaced.
    #[error("{} exists", .0.display())]
    Exists(PathBuf),
    /// Nothing can be taken from the archive that was to be the base.
    #[error("{}: it cannot be a base: {what}", path.display())]
    Base {
        /// The base.
        path: PathBuf,
        /// Why.
        what: String,
    },
    /// The file cannot be written.
    #[error("{}: {source}", path.display())]
    Output {
        /// The final name.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The server said no, or went away.
    #[error(transparent)]
    Server(#[from] PgError),
    /// The schema could not be had from `pg_dump`.
    #[error(transparent)]
    Schema(#[from] DumpError),
    /// A dump cannot be taken.
    #[error(transparent)]
    Dump(#[from] DumpFileError),
    /// The rows could not be had, or do not add up.
    #[error(transparent)]
    Rows(PumpError),
    /// The archive could not be written for another reason than I/O.
    #[error("{}: {source}", path.display())]
    Write {
        /// The final name.
        path: PathBuf,
        /// The reason.
        source: WriteError,
    },
    /// What was written cannot be read back, or is not what was written.
    #[error("{}: what was written does not verify: {} error(s)", path.display(), report.errors)]
    ReadBack {
        /// The final name.
        path: PathBuf,
        /// What verification found.
        report: Box<Report>,
    },
    /// Reading back could not be done.
    #[error("{}: reading back failed: {source}", path.display())]
    Verify {
        /// The final name.
        path: PathBuf,
        /// The reason.
        source: VerifyError,
    },
    /// The person wanted it to stop.
    #[error("interrupted")]
    Interrupted,
    /// Rules name what the database does not have.
    #[error("the rules do not fit the database: {}", rules_words(.0))]
    Rules(Vec<Unknown>),
    /// A mistake of this program, or a system that gives no threads.
    #[error("internal error: {0}")]
    Internal(String),
}

fn rules_words(unknown: &[Unknown]) -> String {
    unknown.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

impl CreateError {
    fn write(path: &Path, error: WriteError) -> Self {
        match error {
            WriteError::Io(source) => Self::Output { path: path.to_owned(), source },
            source => Self::Write { path: path.to_owned(), source },
        }
    }

    fn rows(path: &Path, error: PumpError) -> Self {
        match error {
            PumpError::Write(error) => Self::write(path, error),
            PumpError::Server(error) => Self::Server(error),
            PumpError::Interrupted => Self::Interrupted,
            error => Self::Rows(error),
        }
    }
}

/// Makes an archive. Blocks until it is done; builds its own runtime, so it must not be called
/// from within one.
///
/// # Errors
/// [`CreateError`]. There is then no file under the final name but the one that was there before.
pub fn run(
    options: &CreateOptions,
    progress: &Arc<dyn Progress>,
) -> Result<CreateReport, CreateError> {
    let base = options.base.as_ref().map(|(path, others)| base(path, others, progress.as_ref()));
    let base = base.transpose()?;
    let file = NewFile {
        path: &options.output,
        overwrite: options.overwrite,
        memory: options.memory,
        read_back: options.read_back,
        base: options.base.as_ref(),
    };
    file.make(progress, |file| {
        let runtime = runtime().map_err(|error| CreateError::Internal(error.to_string()))?;
        let work = write(options, progress, file, base);
        let made = runtime.block_on(interruptible(progress.as_ref(), work));
        // A session that hangs must not hold this up.
        runtime.shutdown_background();
        made.unwrap_or(Err(CreateError::Interrupted))
    })
}

/// An archive that is to be made, of whatever.
struct NewFile<'a> {
    path: &'a Path,
    overwrite: bool,
    memory: usize,
    read_back: bool,
    /// What it is built on, and what that is built on.
    base: Option<&'a (PathBuf, Vec<PathBuf>)>,
}

impl NewFile<'_> {
    /// Has `write` write it, reads it back, and gives it its name.
    fn make(
        &self,
        progress: &Arc<dyn Progress>,
        write: impl FnOnce(File) -> Result<Made, CreateError>,
    ) -> Result<CreateReport, CreateError> {
        let path = self.path;
        let output = |source: io::Error| match source.kind() {
            io::ErrorKind::AlreadyExists => CreateError::Exists(path.to_owned()),
            _ => CreateError::Output { path: path.to_owned(), source },
        };
        let started = Instant::now();
        let file =
            if self.overwrite { AtomicFile::create_over(path) } else { AtomicFile::create(path) }
                .map_err(output)?;
        let made = write(file.file().try_clone().map_err(output)?)?;
        file.sync().map_err(output)?;
        let writing = started.elapsed();

        let again = Instant::now();
        let verified = if self.read_back { Some(self.read_back(&file, progress)?) } else { None };
        let reading_back = if verified.is_some() { again.elapsed() } else { Duration::ZERO };
        if progress.interrupted() {
            return Err(CreateError::Interrupted);
        }
        file.commit().map_err(output)?;

        let sum = |of: fn(&TableData) -> u64| made.data.iter().map(of).sum();
        Ok(CreateReport {
            path: path.to_owned(),
            bytes: made.stored.bytes,
            tables: made.tables,
            rows: sum(|data| data.rows),
            blobs: sum(|data| data.blobs),
            blob_bytes: sum(|data| data.blob_bytes),
            manifest: made.stored.manifest,
            stored: made.stored,
            writing,
            reading_back,
            verified,
        })
    }

    fn read_back(
        &self,
        file: &AtomicFile,
        progress: &Arc<dyn Progress>,
    ) -> Result<Report, CreateError> {
        let path = self.path.to_owned();
        let disk: Arc<dyn ReadAt> = match DiskFile::open(file.partial_path()) {
            Ok(disk) => Arc::new(disk),
            Err(source) => return Err(CreateError::Output { path, source }),
        };
        let disk = match self.base {
            Some((base, others)) => {
                let folder = std::fs::canonicalize(base).ok();
                let near = folder.as_deref().and_then(Path::parent);
                let given: Vec<_> = std::iter::once(base).chain(others).cloned().collect();
                thin::join(disk, near, &given)
            }
            None => disk,
        };
        let how =
            VerifyOptions { level: Level::Full, memory: self.memory, images: ImageCheck::Parts };
        let report = match verify::run(&disk, &how, progress.as_ref()) {
            Ok(report) => report,
            Err(_) if progress.interrupted() => return Err(CreateError::Interrupted),
            Err(source) => return Err(CreateError::Verify { path, source }),
        };
        if progress.interrupted() {
            return Err(CreateError::Interrupted);
        }
        if report.too_new || report.findings.iter().any(is_damage) {
            return Err(CreateError::ReadBack { path, report: Box::new(report) });
        }
        Ok(report)
    }
}

/// Opens the archive to build on, after a look at its seal, manifest, index and lengths. That what is
/// taken from it is whole is seen when the new archive is read back.
fn base(
    path: &Path,
    others: &[PathBuf],
    progress: &dyn Progress,
) -> Result<Arc<OnBase>, CreateError> {
    let wrong = |what: String| CreateError::Base { path: path.to_owned(), what };
    let file = thin::open(path, others).map_err(|error| wrong(error.to_string()))?;
    let how = VerifyOptions { level: Level::Quick, ..VerifyOptions::default() };
    let report = verify::run(&file, &how, progress);
    let report = report.map_err(|error| wrong(error.to_string()))?;
    if let Some(finding) =
        report.findings.iter().find(|finding| finding.severity == Severity::Error)
    {
        return Err(wrong(finding.to_string()));
    }
    let archive = Archive::from_file(file).map_err(|error| wrong(error.to_string()))?;
    thin::check(&**archive.file(), archive.manifest()).map_err(|error| wrong(error.to_string()))?;
    Ok(Arc::new(OnBase::new(archive).map_err(|error| wrong(error.to_string()))?))
}

/// A runtime for sessions: they mostly wait, and what is heavy is done elsewhere.
pub(crate) fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()
}

/// `work`, unless the person wants it to stop: `None`.
pub(crate) async fn interruptible<T>(
    progress: &dyn Progress,
    work: impl Future<Output = T>,
) -> Option<T> {
    let stop = async {
        while !progress.interrupted() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        // Whoever polls by itself ends in an orderly way within this.
        tokio::time::sleep(Duration::from_secs(2)).await;
    };
    tokio::select! {
        result = work => Some(result),
        () = stop => None,
    }
}

/// Whether a finding says that the archive is not what was read, rather than that the data was at
/// fault before (a reference that resolves to nothing, say: classes 6 and 7).
fn is_damage(finding: &Finding) -> bool {
    let class = finding.code.id().as_bytes().get(1);
    finding.severity == Severity::Error && !matches!(class, Some(b'6' | b'7'))
}

struct Made {
    stored: Written,
    tables: u64,
    data: Vec<TableData>,
}

async fn write(
    options: &CreateOptions,
    progress: &Arc<dyn Progress>,
    file: File,
    base: Option<Arc<OnBase>>,
) -> Result<Made, CreateError> {
    let path = options.output.as_path();
    let write = |error| CreateError::write(path, error);
    progress.begin(Phase::Schema, 0, 0);
    let id = options.snapshot.as_deref();
    let snapshot = Snapshot::take_from(&options.params, id, options.lock_timeout).await?;
    let snapshot = Arc::new(snapshot);
    let lead = snapshot.lead();
    let mut catalog = snapshot.read_catalog().await?;
    let rules = resolved(options.rules.as_ref(), &catalog.tables)?;
    let mut schema = dump::dump_schema(&snapshot, &options.pg_dump).await?;
    let parts = plan::plan(&catalog);
    let large_objects = catalog.large_objects > 0;
    for note in &catalog.notes {
        progress.note(note);
    }

    let created = options.created.unwrap_or_else(now);
    let half = options.memory / 2;
    let out = BufWriter::with_capacity(256 << 10, file);
    let mut writer = ArchiveWriter::create_on(
        out,
        &WriterOptions { created, memory: half },
        options.parity,
        base,
        Scratch::beside(path),
    )
    .map_err(write)?;
    let (pre, post) = (std::mem::take(&mut schema.pre), std::mem::take(&mut schema.post));
    let sequences = catalog::read_sequences(lead, &catalog.sequences).await?;
    let numbered = std::mem::take(&mut catalog.sequences);
    let mut manifest = manifest(options, catalog, schema, sequences, rules);
    writer.schema(&pre, &post, &manifest).map_err(write)?;
    drop((pre, post));

    progress.begin(Phase::Rows, 0, parts.iter().map(|part| part.estimate).sum());
    let known = writer.known();
    let tables = Arc::new(manifest.tables.clone());
    let sink = ArchiveSink {
        writer,
        names: tables.iter().map(|table| table.name.clone()).collect(),
        data: tables.iter().map(|_| None).collect(),
        large_objects: None,
    };
    let reading = Reading {
        snapshot: Arc::clone(&snapshot),
        tables,
        parts,
        large_objects,
        jobs: options.jobs,
        memory: options.memory - half,
        progress: Arc::clone(progress),
        mode: Mode::Archive(known),
    };
    let sink = pump::pump(reading, sink).await.map_err(|error| CreateError::rows(path, error))?;

    progress.begin(Phase::Finish, 0, 0);
    // After the rows, so that no sequence is behind the rows it numbered.
    manifest.sequences = catalog::read_sequences(lead, &numbered).await?;
    snapshot.check_rewrites().await?;
    let ArchiveSink { writer, data, large_objects, .. } = sink;
    let all: Vec<TableData> = data.iter().chain([&large_objects]).flatten().copied().collect();
    for (table, data) in manifest.tables.iter_mut().zip(data) {
        table.data = data;
    }
    manifest.large_objects = large_objects;
    let tables = manifest.tables.iter().filter(|table| table.data.is_some()).count();
    let stored = tokio::task::spawn_blocking(move || -> Result<Written, WriteError> {
        let (out, written) = writer.finish(manifest)?;
        out.into_inner().map_err(io::IntoInnerError::into_error)?;
        Ok(written)
    })
    .await
    .map_err(|error| CreateError::Internal(error.to_string()))?
    .map_err(write)?;
    Ok(Made { stored, tables: u64::try_from(tables).unwrap_or(0), data: all })
}

/// Rules as an archive has them.
fn resolved(file: Option<&RuleFile>, tables: &[Table]) -> Result<Option<Rules>, CreateError> {
    match file.map(|file| resolve(file, tables)) {
        Some((_, unknown)) if !unknown.is_empty() => Err(CreateError::Rules(unknown)),
        Some((rules, _)) if !rules.is_empty() => Ok(Some(rules)),
        _ => Ok(None),
    }
}

/// What is known before the rows are read.
fn manifest(
    options: &CreateOptions,
    catalog: Catalog,
    schema: SchemaText,
    sequences: Vec<Sequence>,
    rules: Option<Rules>,
) -> Manifest {
    let mut source = catalog.source;
    source.pg_dump_version = schema.pg_dump_version;
    source.profile.clone_from(&options.profile);
    source.comment.clone_from(&options.comment);
    Manifest {
        tool: concat!("pgark ", env!("CARGO_PKG_VERSION")).into(),
        source,
        schema: schema.schema,
        enums: catalog.enums,
        tables: catalog.tables,
        foreign_keys: catalog.foreign_keys,
        sequences,
        rules,
        ..Manifest::default()
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

struct ArchiveSink {
    writer: ArchiveWriter<BufWriter<File>>,
    names: Vec<Name>,
    data: Vec<Option<TableData>>,
    large_objects: Option<TableData>,
}

impl Sink for ArchiveSink {
    fn begin(&mut self, what: What) -> Result<(), WriteError> {
        self.writer.begin_table(match what {
            What::Table(table) => self.names.get(table),
            What::LargeObjects => None,
        })
    }

    fn batch(&mut self, batch: &Batch) -> Result<(), WriteError> {
        self.writer.batch(batch)
    }

    fn blob(&mut self, slices: &mut Slices<'_>) -> Result<Bytea, WriteError> {
        self.writer.blob(slices)
    }

    fn end(&mut self, what: What) -> Result<u64, WriteError> {
        let data = self.writer.end_table()?;
        match what {
            What::LargeObjects => self.large_objects = Some(data),
            What::Table(table) => {
                if let Some(slot) = self.data.get_mut(table) {
                    *slot = Some(data);
                }
            }
        }
        Ok(data.rows)
    }
}
