//! What damage beyond repair leaves: a new archive of every row that is whole.
//!
//! Where seal, manifest or index is lost, what the entries themselves say takes their place.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufWriter};
use std::sync::Arc;

use serde::Serialize;

use super::rebuild::rebuild;
use super::{RepairError, whole};
use crate::format::batch::BatchBuilder;
use crate::format::manifest::{Base, Manifest, Name, TableData};
use crate::format::parity::Protection;
use crate::format::reader::{Archive, OpenError, PackCache, ReadError, Section};
use crate::format::rows::{self, BlobRef, Bytea};
use crate::format::seal::Place;
use crate::format::thin::{self, Joined};
use crate::format::writer::{ArchiveWriter, WriteError, WriterOptions};
use crate::io::{ReadAt, Scratch};
use crate::progress::{Phase, Progress};

/// How many keys of rows that were lost together are told.
const KEYS: usize = 20;
/// What is said of a thin archive whose index is lost.
const UNLISTED: &str = "rows that it took from the archives it is based on are not in it: which they \
    are, its index said, and that is lost";
/// Bytes of rows and blobs that the writer gets at a time.
const BATCH: usize = 1 << 20;

/// Rows that are not in the salvaged archive.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct LostRows {
    /// Their table, as `schema.table`.
    pub table: String,
    /// The number of the first, from 1, in the damaged archive.
    pub row: u64,
    /// How many follow each other.
    pub rows: u64,
    /// Primary keys of the first of them, where the rows themselves are there.
    pub keys: Vec<String>,
    /// Why.
    pub what: String,
}

/// What a salvage came to.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Salvage {
    /// Rows that are in the new archive.
    pub rows_kept: u64,
    /// Rows that are not.
    pub rows_lost: u64,
    /// Which.
    pub lost: Vec<LostRows>,
    /// Whether manifest and index were there, so that every row that is missing is in `lost`. Without
    /// them there may be more, of which nothing is known.
    pub counted: bool,
    /// Of a thin archive: which of its bases are not there or not what they should be, and what else
    /// is missing because of them.
    pub bases: Vec<String>,
}

/// Looks for the files of bases, in their order; None for one that is not found.
/// See [`thin::find`].
pub type Find<'a> = &'a dyn Fn(&[Base]) -> Vec<Option<Arc<dyn ReadAt>>>;

/// Writes what is whole of `source` to `out`: a new archive, which stands alone. A row is left out if
/// it, or a blob of it, is damaged, or was in a base that is not there. `memory` is in bytes; what does
/// not fit in it goes to `scratch`.
///
/// # Errors
/// [`RepairError::Nothing`] if not even the schema is there, or no row without a base that is not
/// there; [`RepairError::Output`]; [`RepairError::Interrupted`].
pub fn salvage(
    source: &Arc<dyn ReadAt>,
    bases: Find<'_>,
    out: File,
    memory: usize,
    scratch: Scratch,
    progress: &dyn Progress,
) -> Result<Salvage, RepairError> {
    let nothing = |what: String| RepairError::Nothing(what);
    let mut result = Salvage { counted: true, ..Salvage::default() };
    let mut lenders = Vec::new();
    let (archive, protected) = match Archive::from_file(Arc::clone(source)) {
        Ok(archive) => {
            let protected = archive.seal().tail != Place::default();
            let archive = on_bases(archive, source, bases, &mut result)?;
            (archive, protected)
        }
        Err(OpenError::TooNew(what)) => return Err(nothing(what)),
        Err(_) => {
            result.counted = false;
            let rebuilt = rebuild(source, bases, progress)?;
            if !rebuilt.archive.manifest().bases.is_empty() {
                result.bases.push(UNLISTED.into());
                result.bases.extend(rebuilt.lacking);
            }
            lenders = rebuilt.lenders;
            (rebuilt.archive, rebuilt.protected)
        }
    };
    let text = |section| {
        archive.schema_sql(section).map_err(|error| nothing(format!("its schema is lost: {error}")))
    };
    let (pre, post) = (text(Section::PreData)?, text(Section::PostData)?);
    let manifest = archive.manifest();
    let options = WriterOptions { created: manifest.created, memory: memory / 2 };
    let protection = protected.then(Protection::default);
    let out = BufWriter::with_capacity(256 << 10, out);
    let mut writer =
        ArchiveWriter::create_on(out, &options, protection, None, scratch).map_err(write_error)?;
    let lenders = &lenders;
    let mut new = manifest.clone();
    new.source.salvaged = Some(String::new());
    writer.schema(&pre, &post, &new).map_err(write_error)?;
    drop((pre, post));

    let rows = manifest.tables.iter().filter_map(|table| table.data).map(|data| data.rows).sum();
    progress.begin(Phase::Repair, rows, 0);
    for table in &mut new.tables {
        let Some(data) = table.data else { continue };
        let stored = table.columns.iter().filter(|column| !column.generated);
        let bytea: Vec<bool> =
            stored.map(|column| column.base.name == Name::new("pg_catalog", "bytea")).collect();
        let columns = table.primary_key.iter().flat_map(|key| &key.columns);
        let field = |name: &String| {
            let at = table.stored_columns().position(|column| column.name == *name)?;
            Some((name.clone(), at))
        };
        let key = columns.filter_map(field).collect();
        let name = table.name.to_string();
        let kept = Copying { archive: &archive, lenders, progress, name, bytea, key };
        table.data = Some(kept.table(&mut writer, Some(&table.name), &data, &mut result)?);
    }
    if let Some(data) = new.large_objects {
        let bytea = vec![false, false, false, false, true];
        let (name, key) = ("large objects".into(), vec![("oid".into(), 0)]);
        let kept = Copying { archive: &archive, lenders, progress, name, bytea, key };
        new.large_objects = Some(kept.table(&mut writer, None, &data, &mut result)?);
    }
    if result.rows_kept == 0
        && (result.rows_lost > 0 || !result.counted)
        && !result.bases.is_empty()
    {
        return Err(nothing(result.bases.join("; ")));
    }
    note(&mut new, &result);
    let (out, _) = writer.finish(new).map_err(write_error)?;
    out.into_inner().map_err(io::IntoInnerError::into_error)?;
    Ok(result)
}

/// The archive says of itself that it is not what the database was.
fn note(manifest: &mut Manifest, result: &Salvage) {
    let mut tables: Vec<&str> = result.lost.iter().map(|lost| lost.table.as_str()).collect();
    tables.dedup();
    let from = if tables.is_empty() { String::new() } else { format!(" of {}", tables.join(", ")) };
    let unknown = match (result.counted, result.rows_lost) {
        (true, _) => "",
        (false, 0) => ", and how many were never found is not known",
        (false, _) => "; how many more were never found is not known",
    };
    let mut said = format!("{} rows{from} could not be read{unknown}", result.rows_lost);
    for what in &result.bases {
        said += "; ";
        said += what;
    }
    manifest.source.salvaged = Some(said);
}

/// The archive with its bases. What is wrong with them is noted, and no reason not to go on: all that
/// is taken from them proves itself by its digest.
fn on_bases(
    archive: Archive,
    source: &Arc<dyn ReadAt>,
    bases: Find<'_>,
    result: &mut Salvage,
) -> Result<Archive, RepairError> {
    let manifest = archive.manifest();
    if manifest.bases.is_empty() {
        return Ok(archive);
    }
    let joined: Arc<dyn ReadAt> = Arc::new(Joined::new(Arc::clone(source), bases(&manifest.bases)));
    let faults =
        thin::needed(manifest).filter_map(|(number, base)| thin::has(&*joined, number, base).err());
    result.bases.extend(faults.map(|fault| fault.to_string()));
    Archive::from_file(joined).map_err(|error| RepairError::Nothing(error.to_string()))
}

/// A value of a row that is whole.
enum Field<'t> {
    Null,
    Text(Cow<'t, [u8]>),
    Blob(Vec<u8>),
}

impl Field<'_> {
    /// Hands it on; bytes that it has besides its row's text.
    fn give(&self, builder: &mut BatchBuilder) -> usize {
        match self {
            Self::Null => builder.null(),
            Self::Text(value) => builder.text(value),
            Self::Blob(bytes) => {
                builder.blob(bytes);
                return bytes.len();
            }
        }
        0
    }
}

/// Packs that were read lately, of the archive and of each lender.
struct Caches {
    own: PackCache,
    lent: Vec<PackCache>,
}

struct Copying<'a> {
    archive: &'a Archive,
    /// Where values may be that the archive's index does not know.
    lenders: &'a [Archive],
    progress: &'a dyn Progress,
    name: String,
    /// Which fields are `bytea`.
    bytea: Vec<bool>,
    /// The columns of the primary key, and which fields they are.
    key: Vec<(String, usize)>,
}

impl Copying<'_> {
    fn table(
        &self,
        writer: &mut ArchiveWriter<BufWriter<File>>,
        name: Option<&Name>,
        data: &TableData,
        result: &mut Salvage,
    ) -> Result<TableData, RepairError> {
        self.progress.on(&self.name);
        writer.begin_table(name).map_err(write_error)?;
        let mut cache = Caches {
            own: PackCache::reading_with(whole::raw),
            lent: self.lenders.iter().map(|_| PackCache::reading_with(whole::raw)).collect(),
        };
        let mut row = 1;
        let end = data.first_segment.saturating_add(data.segments);
        for number in data.first_segment..end {
            if self.progress.interrupted() {
                return Err(RepairError::Interrupted);
            }
            let count = self.archive.index().segment(number).map_or(0, |one| u64::from(one.rows));
            let text = self.archive.segment(number);
            match text.or_else(|error| whole::segment(self.archive, number).ok_or(error)) {
                Ok(text) => {
                    let mut builder = BatchBuilder::new(writer.known());
                    let mut bytes = 0;
                    for line in rows::rows(&text) {
                        match self.row(line, &mut cache) {
                            Ok(fields) => {
                                bytes += line.len();
                                for field in fields {
                                    bytes += field.give(&mut builder);
                                }
                                builder.end_row();
                            }
                            Err(what) => {
                                self.lose(result, row, 1, what);
                                self.name(result, line);
                            }
                        }
                        row += 1;
                        if bytes >= BATCH {
                            writer.batch(&builder.finish()).map_err(write_error)?;
                            builder = BatchBuilder::new(writer.known());
                            bytes = 0;
                        }
                    }
                    writer.batch(&builder.finish()).map_err(write_error)?;
                }
                Err(error) => {
                    self.lose(result, row, count, unread(&error));
                    row += count;
                }
            }
            self.progress.rows(count);
        }
        let kept = writer.end_table().map_err(write_error)?;
        result.rows_kept += kept.rows;
        Ok(kept)
    }

    /// Reads one row with its blobs; why not, if one of them is damaged.
    fn row<'t>(&self, line: &'t [u8], cache: &mut Caches) -> Result<Vec<Field<'t>>, String> {
        let mut out = Vec::with_capacity(self.bytea.len());
        for (field, bytea) in rows::fields(line).zip(&self.bytea) {
            if !bytea {
                let value = rows::unescape(field).map_err(|error| error.to_string())?;
                out.push(value.map_or(Field::Null, Field::Text));
                continue;
            }
            out.push(match rows::bytea(field).map_err(|error| error.to_string())? {
                None => Field::Null,
                Some(Bytea::Inline(bytes)) => Field::Blob(bytes),
                Some(Bytea::Blob(blob)) => Field::Blob(self.blob(blob, cache)?),
            });
        }
        Ok(out)
    }

    /// A value, from wherever it is whole.
    fn blob(&self, blob: BlobRef, cache: &mut Caches) -> Result<Vec<u8>, String> {
        let read = |archive: &Archive, cache: &mut PackCache| {
            let mut bytes = Vec::new();
            let mut take = |piece: &[u8]| {
                bytes.extend_from_slice(piece);
                Ok(())
            };
            archive.blob(blob, cache, &mut take).map(|()| bytes)
        };
        let own = read(self.archive, &mut cache.own);
        let mut lent = || {
            let mut lenders = self.lenders.iter().zip(&mut cache.lent);
            lenders.find_map(|(lender, cache)| read(lender, cache).ok())
        };
        // Without its digest, so that neighbours that are lost alike are one.
        own.or_else(|error| lent().ok_or(error)).map_err(|error| match error {
            ReadError::NoBlob(_) => "a value is not in the archive".into(),
            ReadError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                "a value is in a base that is not there".into()
            }
            _ => "a value is damaged".into(),
        })
    }

    fn lose(&self, result: &mut Salvage, row: u64, rows: u64, what: String) {
        result.rows_lost += rows;
        match result.lost.last_mut() {
            Some(last)
                if last.table == self.name && last.row + last.rows == row && last.what == what =>
            {
                last.rows += rows;
            }
            _ => {
                let table = self.name.clone();
                result.lost.push(LostRows { table, row, rows, keys: Vec::new(), what });
            }
        }
    }

    /// Adds the key of the row that was lost last.
    fn name(&self, result: &mut Salvage, line: &[u8]) {
        let Some(last) = result.lost.last_mut() else { return };
        if self.key.is_empty() || last.keys.len() >= KEYS {
            return;
        }
        let one = |(name, at): &(String, usize)| {
            let value = rows::fields(line).nth(*at).map(rows::unescape);
            let value = value.and_then(Result::ok).flatten().unwrap_or_default();
            format!("{name} = {}", String::from_utf8_lossy(value.get(..80).unwrap_or(&value)))
        };
        last.keys.push(self.key.iter().map(one).collect::<Vec<_>>().join(", "));
    }
}

/// Why a segment cannot be read; an error of the medium with what it says.
fn unread(error: &ReadError) -> String {
    match error {
        ReadError::Io { source, .. } => format!("{error}: {source}"),
        other => other.to_string(),
    }
}

fn write_error(error: WriteError) -> RepairError {
    match error {
        WriteError::Io(error) => RepairError::Output(error),
        error => RepairError::Output(io::Error::other(error)),
    }
}
