//! Makes an archive that stands alone of one that is thin.
//!
//! Rows and blobs are read as for a restore, each checked by its digest, and written as `create`
//! writes them. The bytes of an archive follow from its rows, so what comes out is what `create`
//! would have written without a base in the same second with the same options; only rows that were
//! too big to be fetched whole may stand in other segments.

use std::io::{self, BufWriter};
use std::path::PathBuf;
use std::sync::Arc;

use crate::format::batch::{Batch, BatchBuilder};
use crate::format::manifest::{Name, Table, TableData};
use crate::format::parity::Protection;
use crate::format::reader::{Archive, OpenError, PackCache, ReadError, Section};
use crate::format::rows::{self, BlobRef, Bytea, RowError};
use crate::format::writer::{ArchiveWriter, WriteError, WriterOptions, Written};
use crate::io::{AtomicFile, DiskFile, ReadAt, Scratch};
use crate::progress::{Phase, Progress};
use crate::verify::{self, ImageCheck, Level, Report, VerifyError, VerifyOptions};

/// Bytes of rows and blobs that the writer gets at a time.
const BATCH: usize = 1 << 20;
/// A longer blob is never in memory as a whole.
const LONG: u64 = 8 << 20;

/// How to merge.
#[derive(Clone, Debug)]
pub struct MergeOptions {
    /// The thin archive.
    pub file: PathBuf,
    /// Files, or folders with files, that it may be based on; its own folder is looked through too.
    pub bases: Vec<PathBuf>,
    /// The archive to write.
    pub output: PathBuf,
    /// Whether a file of that name may be replaced.
    pub overwrite: bool,
    /// Bytes of memory for data in flight, and for verifying the result.
    pub memory: usize,
    /// The parity to add, if any.
    pub parity: Option<Protection>,
}

/// What was made.
#[derive(Clone, Debug)]
pub struct Merged {
    /// What is stored.
    pub written: Written,
    /// What verifying it said. There is no damage among its findings; there may be faults that the
    /// data had.
    pub verified: Report,
}

/// Why nothing was made. There is then no file under the name but the one that was there.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// The archive cannot be opened, or its base is not there.
    #[error("{}", path.display())]
    Open {
        /// The archive.
        path: PathBuf,
        /// Why.
        source: OpenError,
    },
    /// It stands alone.
    #[error("{} stands alone already", .0.display())]
    NotThin(PathBuf),
    /// The result is there already, and may not be replaced.
    #[error("{} exists", .0.display())]
    Exists(PathBuf),
    /// Part of the archive or of a base cannot be read.
    #[error("{what}")]
    Read {
        /// The table, or the schema.
        what: String,
        /// Why.
        source: ReadError,
    },
    /// A row is not one, though its digest is right.
    #[error("{table}, row {row}")]
    Row {
        /// The table.
        table: String,
        /// The number of the row, from 1.
        row: u64,
        /// Why.
        source: RowError,
    },
    /// What was read is not what the manifest says.
    #[error("{0}: the rows that were read are not those that the manifest describes")]
    Differs(String),
    /// The result cannot be written.
    #[error("the merged archive cannot be written")]
    Output(#[from] io::Error),
    /// The same, for another reason than I/O.
    #[error("the merged archive cannot be written")]
    Write(#[source] WriteError),
    /// The result could not be verified.
    #[error("the merged archive could not be verified")]
    Verify(#[from] VerifyError),
    /// What was written does not verify.
    #[error("the merged archive does not verify: {} error(s)", .0.errors)]
    ReadBack(Box<Report>),
    /// The person wanted it to stop.
    #[error("interrupted")]
    Interrupted,
}

fn write_error(error: WriteError) -> MergeError {
    match error {
        WriteError::Io(error) => MergeError::Output(error),
        error => MergeError::Write(error),
    }
}

/// Merges a thin archive with what it is based on. The result is verified before it gets its name.
///
/// # Errors
/// [`MergeError`].
pub fn run(options: &MergeOptions, progress: &dyn Progress) -> Result<Merged, MergeError> {
    let open = |source| MergeError::Open { path: options.file.clone(), source };
    let archive = Archive::open_on(&options.file, &options.bases).map_err(open)?;
    if archive.manifest().bases.is_empty() {
        return Err(MergeError::NotThin(options.file.clone()));
    }
    let made = if options.overwrite {
        AtomicFile::create_over(&options.output)
    } else {
        AtomicFile::create(&options.output)
    };
    let output = made.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => MergeError::Exists(options.output.clone()),
        _ => MergeError::Output(error),
    })?;
    let out = BufWriter::with_capacity(256 << 10, output.file().try_clone()?);
    let scratch = Scratch::beside(&options.output);
    let (out, written) = merge(&archive, out, options.memory, options.parity, scratch, progress)?;
    out.into_inner().map_err(io::IntoInnerError::into_error)?;
    drop(archive);
    output.sync()?;

    let disk: Arc<dyn ReadAt> = Arc::new(DiskFile::open(output.partial_path())?);
    let how =
        VerifyOptions { level: Level::Full, memory: options.memory, images: ImageCheck::Parts };
    let verified = verify::run(&disk, &how, progress);
    if progress.interrupted() {
        return Err(MergeError::Interrupted);
    }
    let verified = verified?;
    if verified.findings.iter().any(crate::repair::is_damage) {
        return Err(MergeError::ReadBack(Box::new(verified)));
    }
    output.commit()?;
    Ok(Merged { written, verified })
}

/// Writes all that `archive` and its bases hold to `out`. `memory` is in bytes; what does not fit in it
/// goes to `scratch`.
///
/// # Errors
/// [`MergeError`].
pub fn merge<W: io::Write + Send + 'static>(
    archive: &Archive,
    out: W,
    memory: usize,
    parity: Option<Protection>,
    scratch: Scratch,
    progress: &dyn Progress,
) -> Result<(W, Written), MergeError> {
    let manifest = archive.manifest();
    let text = |section| {
        let read = archive.schema_sql(section);
        read.map_err(|source| MergeError::Read { what: "the schema".into(), source })
    };
    let (pre, post) = (text(Section::PreData)?, text(Section::PostData)?);
    let how = WriterOptions { created: manifest.created, memory: memory / 2 };
    let mut writer =
        ArchiveWriter::create_on(out, &how, parity, None, scratch).map_err(write_error)?;
    writer.schema(&pre, &post, manifest).map_err(write_error)?;
    drop((pre, post));

    let mut new = manifest.clone();
    let data = manifest.tables.iter().filter_map(|table| table.data);
    progress.begin(Phase::Merge, data.chain(manifest.large_objects).map(|data| data.rows).sum(), 0);
    for table in &mut new.tables {
        let Some(data) = table.data else { continue };
        let name = table.name.to_string();
        let bytea = table.stored_columns().map(crate::format::manifest::Column::is_bytea).collect();
        let copying = Copying { archive, progress, name, bytea };
        table.data = Some(copying.table(&mut writer, Some(table), &data)?);
    }
    if let Some(data) = &mut new.large_objects {
        let (name, bytea) = ("large objects".into(), vec![false, false, false, false, true]);
        *data = Copying { archive, progress, name, bytea }.table(&mut writer, None, data)?;
    }
    progress.begin(Phase::Finish, 0, 0);
    writer.finish(new).map_err(write_error)
}

struct Copying<'a> {
    archive: &'a Archive,
    progress: &'a dyn Progress,
    name: String,
    /// Which fields are `bytea`.
    bytea: Vec<bool>,
}

impl Copying<'_> {
    fn table<W: io::Write + Send + 'static>(
        &self,
        writer: &mut ArchiveWriter<W>,
        table: Option<&Table>,
        data: &TableData,
    ) -> Result<TableData, MergeError> {
        self.progress.on(&self.name);
        let name: Option<&Name> = table.map(|table| &table.name);
        writer.begin_table(name).map_err(write_error)?;
        let mut cache = PackCache::default();
        let mut row = 0;
        let end = data.first_segment.saturating_add(data.segments);
        for number in data.first_segment..end {
            if self.progress.interrupted() {
                return Err(MergeError::Interrupted);
            }
            let text = self.archive.segment(number).map_err(|source| self.unread(source))?;
            let before = row;
            if self.bytea.iter().any(|bytea| *bytea) {
                self.rows(writer, &text, &mut cache, &mut row)?;
            } else {
                let batch = Batch::from_copy_text(text).map_err(|source| MergeError::Row {
                    table: self.name.clone(),
                    row,
                    source,
                })?;
                row += batch.sum().rows;
                writer.batch(&batch).map_err(write_error)?;
            }
            self.progress.rows(row - before);
        }
        let mut made = writer.end_table().map_err(write_error)?;
        let segments = (made.first_segment, made.segments);
        (made.first_segment, made.segments) = (data.first_segment, data.segments);
        if made != *data {
            return Err(MergeError::Differs(self.name.clone()));
        }
        (made.first_segment, made.segments) = segments;
        Ok(made)
    }

    fn unread(&self, source: ReadError) -> MergeError {
        MergeError::Read { what: self.name.clone(), source }
    }

    /// Rows with blobs.
    fn rows<W: io::Write + Send + 'static>(
        &self,
        writer: &mut ArchiveWriter<W>,
        text: &[u8],
        cache: &mut PackCache,
        row: &mut u64,
    ) -> Result<(), MergeError> {
        let mut builder = BatchBuilder::new(writer.known());
        let mut bytes = 0;
        for line in rows::rows(text) {
            *row += 1;
            let wrong = |source| MergeError::Row { table: self.name.clone(), row: *row, source };
            let mut fields = Vec::with_capacity(self.bytea.len());
            for (field, bytea) in rows::fields(line).zip(&self.bytea) {
                fields.push(match bytea {
                    true => rows::bytea(field).map_err(wrong)?.map(Ok),
                    false => rows::unescape(field).map_err(wrong)?.map(Err),
                });
            }
            let long = |field: &Option<Result<Bytea, _>>| matches!(field, Some(Ok(Bytea::Blob(blob))) if blob.length > LONG);
            if fields.iter().any(long) {
                // Long blobs go ahead of their row, and what is before that row ahead of them.
                writer.batch(&builder.finish()).map_err(write_error)?;
                builder = BatchBuilder::new(writer.known());
                bytes = 0;
            }
            for field in fields {
                match field {
                    None => builder.null(),
                    Some(Err(text)) => builder.text(&text),
                    Some(Ok(Bytea::Inline(value))) => builder.blob(&value),
                    Some(Ok(Bytea::Blob(blob))) if blob.length > LONG => {
                        self.long(writer, blob, cache)?;
                        builder.blob_ref(blob);
                    }
                    Some(Ok(Bytea::Blob(blob))) => {
                        let mut value = Vec::new();
                        let mut take = |piece: &[u8]| {
                            value.extend_from_slice(piece);
                            Ok(())
                        };
                        let read = self.archive.blob(blob, cache, &mut take);
                        read.map_err(|source| self.unread(source))?;
                        bytes += value.len();
                        builder.blob(&value);
                    }
                }
            }
            builder.end_row();
            bytes += line.len();
            if bytes >= BATCH {
                writer.batch(&builder.finish()).map_err(write_error)?;
                builder = BatchBuilder::new(writer.known());
                bytes = 0;
            }
        }
        writer.batch(&builder.finish()).map_err(write_error)
    }

    /// A blob that is written piece by piece.
    fn long<W: io::Write + Send + 'static>(
        &self,
        writer: &mut ArchiveWriter<W>,
        blob: BlobRef,
        cache: &mut PackCache,
    ) -> Result<(), MergeError> {
        let mut place = 0;
        let mut fault = None;
        let mut next = || {
            let piece = self.archive.blob_piece(&blob, place, cache);
            place += 1;
            piece.map_err(|error| {
                fault = Some(error);
                WriteError::Internal("a blob could not be read")
            })
        };
        let written = writer.blob(&mut next);
        if let Some(error) = fault {
            return Err(self.unread(error));
        }
        match written.map_err(write_error)? {
            Bytea::Blob(made) if made == blob => Ok(()),
            _ => Err(self.unread(ReadError::Blob(blob.digest))),
        }
    }
}
