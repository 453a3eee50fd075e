//! From a file that `pg_dump` wrote to a verified archive, without any database.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufWriter};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::oneshot;

use super::pump::{compute, has_rows};
use super::{CreateError, CreateReport, Made, NewFile, now, resolved};
use crate::format::batch::{Batch, BatchBuilder, KnownBlobs};
use crate::format::manifest::{DumpFacts, Manifest, TableData};
use crate::format::parity::Protection;
use crate::format::writer::{ArchiveWriter, WriteError, WriterOptions};
use crate::io::Scratch;
use crate::pg::dump;
use crate::progress::{Phase, Progress};
use crate::source::ddl::DeclaredSequence;
use crate::source::{Dump, DumpFileError, Run, Stop};
use crate::verify::rules::RuleFile;

mod large_objects;

/// What a run of rows may take of memory: as text, as a batch, and as blobs of it.
const RUN: usize = 8 << 20;

/// How to make an archive of a dump.
#[derive(Clone, Debug)]
pub struct DumpOptions {
    /// The dump: plain SQL (also compressed by gzip or zstd), custom, directory or tar; `-` is
    /// standard input. What it is its content says.
    pub dump: PathBuf,
    /// The archive's final name. What has to be kept of a dump that cannot be read twice is kept in
    /// the same folder, in files without a name.
    pub output: PathBuf,
    /// Bytes of rows and objects that may be in memory at once. One row always fits.
    pub memory: usize,
    /// The profile that the manifest is to name.
    pub profile: Option<String>,
    /// What the manifest's `comment` is to say.
    pub comment: Option<String>,
    /// Whether a file of that name may be replaced.
    pub overwrite: bool,
    /// The creation second to write instead of now's (since 1970-01-01 UTC).
    pub created: Option<u64>,
    /// Whether to verify the archive before it gets its name.
    pub read_back: bool,
    /// The parity to add, if any.
    pub parity: Option<Protection>,
    /// Rules to keep in the archive, and to hold it against when it is read back.
    pub rules: Option<RuleFile>,
}

/// Makes an archive of a dump. Blocks until it is done.
///
/// # Errors
/// [`CreateError`]; of the dump [`CreateError::Dump`]. There is then no file under the final name
/// but the one that was there before.
pub fn run(
    options: &DumpOptions,
    progress: &Arc<dyn Progress>,
) -> Result<CreateReport, CreateError> {
    let file = NewFile {
        path: &options.output,
        overwrite: options.overwrite,
        memory: options.memory,
        read_back: options.read_back,
        base: None,
    };
    file.make(progress, |file| write(options, progress.as_ref(), file))
}

fn write(options: &DumpOptions, progress: &dyn Progress, file: File) -> Result<Made, CreateError> {
    let path = options.output.as_path();
    let wrong = |error| CreateError::write(path, error);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let length = std::fs::metadata(&options.dump).map_or(0, |meta| meta.len());
    progress.begin(Phase::Schema, 0, length);
    let mut told = |bytes| {
        progress.bytes(bytes);
        !progress.interrupted()
    };
    let dump = match Dump::open(&options.dump, folder.unwrap_or(Path::new(".")), &mut told) {
        Err(DumpFileError::Stopped) => return Err(CreateError::Interrupted),
        dump => dump?,
    };
    let schema = dump::of_entries(&dump.entries, &dump.labels)?;
    let rules = resolved(options.rules.as_ref(), &dump.declared.tables)?;
    for note in &dump.declared.notes {
        progress.note(note);
    }
    let mut source = dump.source.clone();
    source.dump = Some(DumpFacts { form: dump.form.to_owned(), made: dump.made.clone() });
    source.profile.clone_from(&options.profile);
    source.comment.clone_from(&options.comment);
    let declared = dump.declared.clone();
    let sequences = declared.sequences.into_iter().map(DeclaredSequence::into_sequence);
    let mut manifest = Manifest {
        tool: concat!("pgark ", env!("CARGO_PKG_VERSION")).into(),
        source,
        schema: schema.schema,
        enums: declared.enums,
        tables: declared.tables,
        foreign_keys: declared.foreign_keys,
        sequences: sequences.collect(),
        rules,
        ..Manifest::default()
    };

    let half = options.memory / 2;
    let created = options.created.unwrap_or_else(now);
    let out = BufWriter::with_capacity(256 << 10, file);
    let writing = WriterOptions { created, memory: half };
    let scratch = Scratch::beside(path);
    let mut writer =
        ArchiveWriter::create_on(out, &writing, options.parity, None, scratch).map_err(wrong)?;
    writer.schema(&schema.pre, &schema.post, &manifest).map_err(wrong)?;

    progress.begin(Phase::Rows, 0, 0);
    let mut data: Vec<TableData> = Vec::new();
    for (at, table) in manifest.tables.iter_mut().enumerate() {
        if !has_rows(table) {
            continue;
        }
        progress.on(&table.name.to_string());
        writer.begin_table(Some(&table.name)).map_err(wrong)?;
        let table_name = table.name.to_string();
        let mut rows = Rows::new(&mut writer, half, progress, &table_name);
        let given = dump.rows(at, &mut |run| rows.take(run)).and_then(|()| rows.end());
        rows.done(given).map_err(|error| error.of(path))?;
        let stored = writer.end_table().map_err(wrong)?;
        data.push(stored);
        table.data = Some(stored);
    }
    let tables = u64::try_from(data.len()).unwrap_or(0);
    if let Some(objects) = dump.large_objects() {
        progress.on(large_objects::NAME);
        writer.begin_table(None).map_err(wrong)?;
        let mut rows = Rows::new(&mut writer, half, progress, large_objects::NAME);
        let given = large_objects::read(&dump, objects, &mut rows).and_then(|()| rows.end());
        rows.done(given).map_err(|error| error.of(path))?;
        let stored = writer.end_table().map_err(wrong)?;
        data.push(stored);
        manifest.large_objects = Some(stored);
    }

    progress.begin(Phase::Finish, 0, 0);
    let (out, stored) = writer.finish(manifest).map_err(wrong)?;
    out.into_inner()
        .map_err(io::IntoInnerError::into_error)
        .map_err(|source| CreateError::Output { path: path.to_owned(), source })?;
    Ok(Made { stored, tables, data })
}

/// Why rows are not in the archive.
enum RowError {
    Write(WriteError),
    Other(CreateError),
}

impl RowError {
    fn of(self, path: &Path) -> CreateError {
        match self {
            Self::Write(error) => CreateError::write(path, error),
            Self::Other(error) => error,
        }
    }
}

/// Runs of rows on their way: made batches of on all cores, written in their order.
struct Rows<'a> {
    writer: &'a mut ArchiveWriter<BufWriter<File>>,
    known: KnownBlobs,
    waiting: VecDeque<(usize, oneshot::Receiver<Result<Batch, String>>)>,
    /// Runs that may be on their way at once.
    most: usize,
    progress: &'a dyn Progress,
    failed: Option<RowError>,
    table: &'a str,
}

impl<'a> Rows<'a> {
    fn new(
        writer: &'a mut ArchiveWriter<BufWriter<File>>,
        memory: usize,
        progress: &'a dyn Progress,
        table: &'a str,
    ) -> Self {
        Self {
            known: writer.known(),
            writer,
            waiting: VecDeque::new(),
            most: (memory / RUN).max(2),
            progress,
            failed: None,
            table,
        }
    }

    fn take(&mut self, run: Run) -> Result<(), Stop> {
        self.send(run.length(), move |builder| run.batch(builder))
    }

    /// `work` makes a batch of so many bytes.
    fn send(
        &mut self,
        length: usize,
        work: impl FnOnce(BatchBuilder) -> Result<Batch, String> + Send + 'static,
    ) -> Result<(), Stop> {
        if self.progress.interrupted() {
            return Err(Stop::Taker);
        }
        while self.waiting.len() >= self.most {
            self.write_first()?;
        }
        let builder = BatchBuilder::new(self.known.clone());
        self.waiting.push_back((length, compute(move || work(builder))));
        Ok(())
    }

    /// What became of them.
    fn done(self, given: Result<(), Stop>) -> Result<(), RowError> {
        match (self.failed, given) {
            (Some(failed), _) => Err(failed),
            (None, Err(Stop::Dump(error))) => Err(RowError::Other(error.into())),
            (None, Err(Stop::Taker)) => Err(RowError::Other(CreateError::Interrupted)),
            (None, Ok(())) => Ok(()),
        }
    }

    fn end(&mut self) -> Result<(), Stop> {
        while !self.waiting.is_empty() {
            self.write_first()?;
        }
        Ok(())
    }

    fn write_first(&mut self) -> Result<(), Stop> {
        let Some((length, batch)) = self.waiting.pop_front() else { return Ok(()) };
        let batch = match batch.blocking_recv() {
            Ok(Ok(batch)) => batch,
            Ok(Err(what)) => {
                let table = self.table.to_owned();
                return Err(Stop::Dump(DumpFileError::Rows { table, what }));
            }
            Err(_) => {
                let error = CreateError::Internal("a conversion panicked".into());
                self.failed = Some(RowError::Other(error));
                return Err(Stop::Taker);
            }
        };
        self.progress.rows(batch.sum().rows);
        self.progress.bytes(u64::try_from(length).unwrap_or(0));
        self.writer.batch(&batch).map_err(|error| {
            self.failed = Some(RowError::Write(error));
            Stop::Taker
        })
    }
}
