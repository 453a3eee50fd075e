//! Writing an archive: one thread decides, in row order, what is new and where it goes; rayon
//! compresses; one thread writes. The bytes depend on the rows alone, never on timing.

use std::io::Write;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::base::{OnBase, Taken};
use super::batch::{Batch, KnownBlobs, NewBlob};
use super::bounds::Bounds;
use super::cbor::CborError;
use super::chunking::{self, SEGMENT_MAX, SEGMENT_MIN};
use super::digest::{Digest, RowSum};
use super::digests::Digests;
use super::index::{SEGMENT, together};
use super::limits::SEGMENT_RAW;
use super::listing::Listing;
use super::manifest::{Base, Manifest, Name, TableData};
use super::object::{self, Chunk, Contents};
use super::output::{Output, Queue};
use super::parity::Protection;
use super::rows::{BlobRef, Bytea, INLINE_BYTEA};
use super::seal::{self, Place, Seal};
use super::store::{Store, StoredBlob};
use super::thin::FEATURE;
use super::ustar::{self, EntryKind};
use crate::io::{Scratch, Spool};

const README: &[u8] = include_bytes!("readme.txt");
// Where every byte of an archive is changed in turn, or a fuzzer changes it, long texts of which each
// has one digest would be most of the work.
const SHORT: bool = cfg!(any(test, fuzzing));
const RECOVER: &[u8] =
    if SHORT { b"# recover.py\n" } else { include_bytes!("../../spec/recover.py") };
const SPEC: &[u8] = if SHORT { b"# format\n" } else { include_bytes!("../../spec/format-1.md") };
/// Rows of a segment, so that the index's 32 bits hold them.
const SEGMENT_ROWS: u64 = 1 << 24;
const SEGMENT_LEVEL: i32 = 1;

/// Why an archive could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The file could not be written.
    #[error("writing the archive failed")]
    Io(#[from] std::io::Error),
    /// What is known of chunks and blobs does not fit in memory, and not on disk either.
    #[error("a scratch file of what is known of chunks could not be written or read")]
    Scratch(#[source] std::io::Error),
    /// A single row longer than a segment can hold.
    #[error("a row of {table} has {bytes} bytes of text; the format holds {limit}")]
    RowTooLong {
        /// The table.
        table: String,
        /// Its length.
        bytes: usize,
        /// The bound.
        limit: u64,
    },
    /// A count or number that the format has no room for.
    #[error("the archive would have more {0} than the format can count")]
    TooMany(&'static str),
    /// The manifest cannot be encoded.
    #[error("the manifest cannot be encoded")]
    Manifest(#[from] CborError),
    /// What the caller promised did not hold.
    #[error("internal error in the archive writer: {0}")]
    Internal(&'static str),
    /// What was to be written could not be had; told by the caller of [`ArchiveWriter::blob`].
    #[error("the source of a value failed")]
    Source(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// How to write.
#[derive(Clone, Copy, Debug)]
pub struct WriterOptions {
    /// The creation second (since 1970-01-01 UTC): mtime of every header.
    pub created: u64,
    /// Bytes of objects that may be on their way to the file at one time, together with what is known
    /// of chunks and blobs. That takes up to 26 of 32 parts; what does not fit goes to scratch files.
    pub memory: usize,
}

/// What was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Written {
    /// Length of the file.
    pub bytes: u64,
    /// Tar entries before the index.
    pub entries: u64,
    /// Distinct chunks.
    pub chunks: u64,
    /// Bytes of all distinct chunks, before compression.
    pub chunk_bytes: u64,
    /// Objects that are taken from a base.
    pub taken: u64,
    /// Bytes of these, as they are stored there.
    pub taken_bytes: u64,
    /// Digest of the manifest: it names this archive.
    pub manifest: Digest,
}

/// Takes rows table by table and writes an archive.
#[expect(missing_debug_implementations, reason = "it holds queues and hash tables")]
pub struct ArchiveWriter<W: Write + Send + 'static> {
    created: u64,
    queue: Queue<W>,
    store: Store,
    base: Option<Arc<OnBase>>,
    taken: Taken,
    /// The object of each, and its rows.
    segments: Spool<SEGMENT>,
    memory: usize,
    bounds: Bounds,
    scratch: Scratch,
    table: Option<TableState>,
    catalog: Option<Manifest>,
}

struct TableState {
    name: Option<Name>,
    text: Vec<u8>,
    rows: u64,
    data: TableData,
    sum: RowSum,
    /// Of the segment: the blobs of many chunks, and what all blobs weigh.
    blobs: Vec<StoredBlob>,
    weight: usize,
}

type Blobs<'a> = std::iter::Peekable<std::slice::Iter<'a, NewBlob>>;

/// Rows of a batch that are not in a segment yet, and where in the batch they begin.
struct Waiting<'a> {
    text: &'a [u8],
    at: usize,
    rows: u64,
}

fn count(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

impl<W: Write + Send + 'static> ArchiveWriter<W> {
    /// Begins an archive without parity: writes the entries that are the same in all.
    ///
    /// # Errors
    /// [`WriteError::Io`].
    pub fn create(out: W, options: &WriterOptions) -> Result<Self, WriteError> {
        Self::create_protected(out, options, None)
    }

    /// Begins an archive, with parity where `protection` is given. Its memory is taken out of the
    /// options' (see [`Protection::memory`]).
    ///
    /// # Errors
    /// [`WriteError::Io`].
    pub fn create_protected(
        out: W,
        options: &WriterOptions,
        protection: Option<Protection>,
    ) -> Result<Self, WriteError> {
        Self::create_on(out, options, protection, None, Scratch::default())
    }

    /// Begins an archive that takes what it can from `base`, where one is given: a thin archive,
    /// which cannot be read without it. What does not fit in memory goes to `scratch`.
    ///
    /// # Errors
    /// [`WriteError::Io`].
    pub fn create_on(
        out: W,
        options: &WriterOptions,
        protection: Option<Protection>,
        base: Option<Arc<OnBase>>,
        scratch: Scratch,
    ) -> Result<Self, WriteError> {
        let parity = protection.map_or(0, |protection| protection.memory());
        let memory = options.memory.saturating_sub(parity).max(1 << 20);
        let options = WriterOptions { memory, ..*options };
        Self::within(out, &options, protection, base, scratch, Bounds::of(memory))
    }

    /// The same, with memory for parity taken off the options', and other bounds.
    pub(super) fn within(
        out: W,
        options: &WriterOptions,
        protection: Option<Protection>,
        base: Option<Arc<OnBase>>,
        scratch: Scratch,
        bounds: Bounds,
    ) -> Result<Self, WriteError> {
        if protection.is_some_and(|protection| !protection.is_valid()) {
            return Err(WriteError::Internal("parity beyond its limits"));
        }
        let mut output = Output::new(out, options.created, protection, &bounds, scratch.clone());
        output.entry(EntryKind::Readme, README)?;
        output.entry(EntryKind::Recover, RECOVER)?;
        output.entry(EntryKind::Spec, &zstd::bulk::compress(SPEC, 19)?)?;
        let names = Digests::new(bounds.segments, scratch.clone());
        let taken = Taken::default();
        let lender = base.clone().map(|base| (base, taken.clone()));
        Ok(Self {
            created: options.created,
            queue: Queue::start(output, options.memory, lender, names),
            store: Store::on(base.clone(), taken.clone(), &bounds, &scratch),
            base,
            taken,
            segments: Spool::new(bounds.list, scratch.clone()),
            memory: options.memory,
            bounds,
            scratch,
            table: None,
            catalog: None,
        })
    }

    /// What the makers of batches need not cut again.
    pub fn known(&self) -> KnownBlobs {
        self.store.known()
    }

    /// Writes the two SQL files, and of the manifest what is known before the rows: a file that is
    /// cut off later can be read by it. Once, before any row. The manifest's `created` and the
    /// digests of the files are set here.
    ///
    /// # Errors
    /// [`WriteError::Io`]; [`WriteError::Manifest`] if it cannot be encoded.
    pub fn schema(
        &mut self,
        pre_data: &[u8],
        post_data: &[u8],
        manifest: &Manifest,
    ) -> Result<(), WriteError> {
        let mut catalog = manifest.clone();
        self.thin(&mut catalog, self.base.as_ref().map_or(&[], |base| base.bases()));
        let mut catalog = catalog.catalog();
        catalog.created = self.created;
        catalog.schema.pre_data_digest = Digest::of(pre_data);
        catalog.schema.post_data_digest = Digest::of(post_data);
        self.queue.entry(EntryKind::PreData, pre_data.to_vec())?;
        self.queue.entry(EntryKind::PostData, post_data.to_vec())?;
        self.queue.entry(EntryKind::Catalog, super::cbor::encode(&catalog)?)?;
        self.catalog = Some(catalog);
        Ok(())
    }

    /// What the manifest says of bases: nothing, or that it is thin, and on what.
    fn thin(&self, manifest: &mut Manifest, bases: &[Base]) {
        let thin = self.base.is_some();
        manifest.features.retain(|feature| feature != FEATURE);
        manifest.features.extend(thin.then(|| FEATURE.to_owned()));
        manifest.features.sort();
        manifest.bases = bases.to_vec();
    }

    /// Begins a table, in the manifest's order; `None` for the large objects, which come last.
    ///
    /// # Errors
    /// [`WriteError::Internal`] if another is open.
    pub fn begin_table(&mut self, name: Option<&Name>) -> Result<(), WriteError> {
        if self.table.is_some() {
            return Err(WriteError::Internal("a table begins in another"));
        }
        let data = TableData { first_segment: self.segments.len(), ..Default::default() };
        self.table = Some(TableState {
            name: name.cloned(),
            text: Vec::new(),
            rows: 0,
            data,
            sum: RowSum::default(),
            blobs: Vec::new(),
            weight: 0,
        });
        Ok(())
    }

    /// Takes rows of the table that was begun.
    ///
    /// # Errors
    /// [`WriteError`] of any kind; the archive is then lost.
    pub fn batch(&mut self, batch: &Batch) -> Result<(), WriteError> {
        let mut table = self.table.take().ok_or(WriteError::Internal("rows without a table"))?;
        self.queue.set_limit(self.memory.saturating_sub(self.store.held()));
        table.sum.add(batch.sum);
        table.data.bytes += count(batch.text.len());
        let mut blobs = batch.blobs.iter().peekable();
        let (mut from, mut rows_before) = (0, 0);
        let end = super::batch::Candidate { end: batch.text.len(), rows: batch.sum.rows };
        for (last, place) in
            batch.candidates.iter().map(|c| (false, c)).chain(std::iter::once((true, &end)))
        {
            let text = batch.text.get(from..place.end).unwrap_or_default();
            let mut rows = Waiting { text, at: from, rows: place.rows - rows_before };
            self.cut_long(&mut table, &mut rows, &mut blobs, &batch.data)?;
            self.take_blobs(&mut table, &mut blobs, place.end, &batch.data)?;
            table.text.extend_from_slice(rows.text);
            table.rows += rows.rows;
            if !last && table.text.len().saturating_add(table.weight) >= SEGMENT_MIN {
                self.end_segment(&mut table)?;
            }
            (from, rows_before) = (place.end, place.rows);
        }
        self.table = Some(table);
        Ok(())
    }

    /// Stores the blobs that are referred to before `end`. Always before the segment that refers
    /// to them is ended, so that the order in the file has nothing to do with where batches end.
    fn take_blobs(
        &mut self,
        table: &mut TableState,
        blobs: &mut Blobs<'_>,
        end: usize,
        data: &[u8],
    ) -> Result<(), WriteError> {
        while let Some(blob) = blobs.next_if(|blob| blob.at < end) {
            table.data.blobs += 1;
            table.data.blob_bytes += blob.blob.length;
            table.blobs.extend(self.store.take_blob(&mut self.queue, blob, data)?);
            table.weight = table.weight.saturating_add(chunking::list_weight(blob.blob.length));
        }
        Ok(())
    }

    /// Ends segments before the row that would make them too long, until the rows left fit.
    fn cut_long(
        &mut self,
        table: &mut TableState,
        left: &mut Waiting<'_>,
        blobs: &mut Blobs<'_>,
        data: &[u8],
    ) -> Result<(), WriteError> {
        while table.text.len() + left.text.len() > SEGMENT_MAX
            || table.rows + left.rows > SEGMENT_ROWS
        {
            let room = SEGMENT_MAX.saturating_sub(table.text.len()).min(left.text.len());
            let window = left.text.get(..room).unwrap_or_default();
            let (mut fits, mut fitting) = (0, 0);
            for (at, _) in window.iter().enumerate().filter(|(_, byte)| **byte == b'\n') {
                if table.rows + fitting == SEGMENT_ROWS {
                    break;
                }
                (fits, fitting) = (at + 1, fitting + 1);
            }
            if fits == 0 && table.text.is_empty() {
                // One row longer than a segment should be: it gets one of its own.
                let mut rows = left.text.split_inclusive(|byte| *byte == b'\n');
                fits = rows.next().map_or(0, <[u8]>::len);
                fitting = 1;
                if count(fits) > SEGMENT_RAW {
                    let name = table.name.as_ref();
                    return Err(WriteError::RowTooLong {
                        table: name.map_or("the large objects".into(), ToString::to_string),
                        bytes: fits,
                        limit: SEGMENT_RAW,
                    });
                }
            }
            let (now, rest) = left.text.split_at_checked(fits).unwrap_or((left.text, &[]));
            self.take_blobs(table, blobs, left.at + now.len(), data)?;
            table.text.extend_from_slice(now);
            table.rows += fitting;
            *left = Waiting { text: rest, at: left.at + now.len(), rows: left.rows - fitting };
            self.end_segment(table)?;
        }
        Ok(())
    }

    fn end_segment(&mut self, table: &mut TableState) -> Result<(), WriteError> {
        if table.rows == 0 {
            return Ok(());
        }
        let raw = std::mem::take(&mut table.text);
        let rows = std::mem::take(&mut table.rows);
        let label = object::label(table.name.as_ref());
        let lists = self.store.lists(std::mem::take(&mut table.blobs))?;
        table.weight = 0;
        let object = self.queue.object(EntryKind::Segment, raw.len(), move || {
            let length = u32::try_from(raw.len()).unwrap_or(u32::MAX);
            let chunks = vec![Chunk { digest: Digest::of(&raw), length }];
            let contents = Contents { kind: EntryKind::Segment, chunks, rows, label, blobs: lists };
            object::encode(contents, raw, Some(SEGMENT_LEVEL))
        })?;
        let rows = u32::try_from(rows).map_err(|_| WriteError::TooMany("rows in a segment"))?;
        let segment = [object, rows].map(u32::to_le_bytes);
        self.segments.push(together(&[segment.as_flattened()])).map_err(WriteError::Scratch)
    }

    /// Ends the table; what is to stand in the manifest about its rows.
    ///
    /// # Errors
    /// [`WriteError`] of any kind.
    pub fn end_table(&mut self) -> Result<TableData, WriteError> {
        let mut table = self.table.take().ok_or(WriteError::Internal("no table to end"))?;
        self.end_segment(&mut table)?;
        table.data.rows = table.sum.rows;
        table.data.digest = table.sum.digest();
        table.data.segments = self.segments.len() - table.data.first_segment;
        Ok(table.data)
    }

    /// Stores a value that comes in pieces, however long; `next` gives `None` at its end.
    ///
    /// # Errors
    /// What `next` gives; [`WriteError`] of any kind.
    pub fn blob(
        &mut self,
        next: &mut dyn FnMut() -> Result<Option<Vec<u8>>, WriteError>,
    ) -> Result<Bytea, WriteError> {
        let mut whole = Sha256::new();
        let mut length = 0_u64;
        let mut waiting: Vec<u8> = Vec::new();
        let mut chunks = Vec::new();
        let mut cutter: Option<chunking::Cutter> = None;
        loop {
            let piece = next()?;
            let ended = piece.is_none();
            let piece = piece.unwrap_or_default();
            whole.update(&piece);
            length += count(piece.len());
            waiting.extend_from_slice(&piece);
            if ended && length <= count(INLINE_BYTEA) {
                return Ok(Bytea::Inline(waiting));
            }
            let mut from = 0;
            loop {
                let rest = waiting.get(from..).unwrap_or_default();
                if rest.is_empty() || !ended && rest.len() < chunking::MAX {
                    break;
                }
                // Unless it is all there, it is longer than what is one chunk in any case.
                let cutter = cutter.get_or_insert_with(|| chunking::Cutter::new(rest, length));
                let cut = cutter.next(rest);
                let chunk = rest.get(..cut.length).unwrap_or(rest);
                let digest = Digest::of(chunk);
                self.store.chunk(&mut self.queue, digest, chunk, cut.incompressible)?;
                chunks.push(digest);
                from += cut.length;
            }
            waiting.drain(..from);
            if ended {
                let blob = BlobRef { digest: Digest(whole.finalize().into()), length };
                // Equal bytes that are one chunk elsewhere need no record of their own.
                if !self.store.has_chunk(&blob.digest)? {
                    self.store.keep_blob(blob, &chunks)?;
                }
                return Ok(Bytea::Blob(blob));
            }
        }
    }

    /// Writes what is left, then index, manifest and seal. The manifest's `created` and `index`
    /// are set here.
    ///
    /// # Errors
    /// [`WriteError`] of any kind; nothing that was written is an archive then.
    pub fn finish(mut self, mut manifest: Manifest) -> Result<(W, Written), WriteError> {
        if self.table.is_some() {
            return Err(WriteError::Internal("a table was not ended"));
        }
        self.store.end(&mut self.queue)?;
        let mut bases = self.base.as_ref().map_or(Vec::new(), |base| base.bases().to_vec());
        self.thin(&mut manifest, &[]);
        let (mut output, entries, objects) = self.queue.finish()?;
        let taken = self.taken.all();
        let (own, mut taken_bytes) = (entries.len(), 0_u64);
        for number in taken.numbers() {
            let entry = self.base.as_ref().and_then(|base| base.entry(number));
            let entry = entry.ok_or(WriteError::Internal("what was taken is not in the base"))?;
            taken_bytes = taken_bytes.saturating_add(entry.length);
            let base = entry.base().checked_sub(1).and_then(|at| usize::try_from(at).ok());
            if let Some(base) = base.and_then(|base| bases.get_mut(base)) {
                base.objects += 1;
                base.bytes += entry.length;
            }
        }
        manifest.bases = bases;

        let listing = Listing {
            entries,
            objects,
            base: self.base.as_deref(),
            taken,
            stored: self.store.finish()?,
            segments: self.segments,
            scratch: self.scratch,
            memory: self.bounds.sorting,
        };
        let counts = listing.counts();
        if u32::try_from(counts.entries).is_err() {
            return Err(WriteError::TooMany("entries"));
        }
        let index = output.streamed(ustar::INDEX, counts.length(), |out| listing.write(out))?;
        let catalog = self.catalog.ok_or(WriteError::Internal("an archive without a schema"))?;
        manifest.created = self.created;
        manifest.schema.pre_data_digest = catalog.schema.pre_data_digest;
        manifest.schema.post_data_digest = catalog.schema.post_data_digest;
        if !manifest.grew_from(&catalog) {
            return Err(WriteError::Internal("the manifest is not that of the catalog"));
        }
        manifest.index = counts.facts(index.digest);
        let manifest_place = output.named(ustar::MANIFEST, &super::cbor::encode(&manifest)?)?;
        let tail = output.end_tail()?;
        let (out, total) = seal_up(output, index, manifest_place, tail)?;
        let written = Written {
            bytes: total,
            entries: own,
            chunks: counts.chunks,
            chunk_bytes: listing.stored.chunk_bytes,
            taken: listing.taken.count.into(),
            taken_bytes,
            manifest: manifest_place.digest,
        };
        Ok((out, written))
    }
}

fn seal_up<W: Write>(
    mut output: Output<W>,
    index: Place,
    manifest: Place,
    tail: Place,
) -> Result<(W, u64), WriteError> {
    let total = output.offset() + count(seal::TAIL);
    let copy = Seal { total, created: output.created(), index, manifest, tail }.encode();
    output.named(ustar::SEAL, &[copy, copy].concat())?;
    Ok((output.end()?, total))
}
