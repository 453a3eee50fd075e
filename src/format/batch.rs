//! Rows on their way into an archive: turned into row text, hashed, their blobs cut into chunks.
//! Pure work for any thread; what is new and where it goes, the writer decides in row order.

use std::collections::HashSet;
use std::ops::Range;
use std::sync::{Arc, RwLock};

use super::base::OnBase;
use super::chunking::{self, Cut};
use super::digest::{Digest, RowSum};
use super::rows::{self, BlobRef, INLINE_BYTEA, RowError};

/// The blobs of more than one chunk that a writer has: no need to cut them again. Only a hint: a
/// blob not found here may be known all the same, and the archive is the same either way. So those
/// that were not written lately may be forgotten.
#[derive(Clone, Debug)]
pub struct KnownBlobs {
    written: Arc<RwLock<Lately>>,
    base: Option<Arc<OnBase>>,
}

#[derive(Debug)]
struct Lately {
    new: HashSet<Digest>,
    old: HashSet<Digest>,
    /// How many may be new before those that are old are forgotten.
    most: usize,
}

/// Bytes of memory for each blob in a set, at most.
const KNOWN: usize = 80;

impl Default for KnownBlobs {
    fn default() -> Self {
        Self::on(None, 1 << 20)
    }
}

impl KnownBlobs {
    /// With those that a base has, and in so many bytes those that were written.
    pub(super) fn on(base: Option<Arc<OnBase>>, bytes: usize) -> Self {
        let most = (bytes / 2 / KNOWN).max(1);
        let written = Lately { new: HashSet::new(), old: HashSet::new(), most };
        Self { written: Arc::new(RwLock::new(written)), base }
    }

    fn contains(&self, blob: &BlobRef) -> bool {
        // Never waits: a busy set is one that says no.
        let here =
            |known: &Lately| known.new.contains(&blob.digest) || known.old.contains(&blob.digest);
        self.written.try_read().is_ok_and(|known| here(&known))
            || self.base.as_ref().is_some_and(|base| base.blob(blob).is_some())
    }

    pub(super) fn insert(&self, digest: Digest) {
        if let Ok(mut known) = self.written.write() {
            if known.new.len() >= known.most {
                known.old = std::mem::take(&mut known.new);
            }
            known.new.insert(digest);
        }
    }

    /// Bytes of memory that it takes.
    pub(super) fn held(&self) -> usize {
        self.written.read().map_or(0, |known| (known.new.len() + known.old.len()) * KNOWN)
    }
}

/// A chunk and where its bytes are in the batch.
#[derive(Debug)]
pub(super) struct NewChunk {
    pub(super) digest: Digest,
    pub(super) bytes: Range<usize>,
    pub(super) incompressible: bool,
}

/// A blob as a row refers to it.
#[derive(Debug)]
pub(super) struct NewBlob {
    /// Where in the row text the reference stands: blobs and segments go on in that order.
    pub(super) at: usize,
    pub(super) blob: BlobRef,
    /// None if it was known already.
    pub(super) chunks: Vec<NewChunk>,
}

/// A place where a segment may end: after this byte, so many rows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate {
    pub(super) end: usize,
    pub(super) rows: u64,
}

/// Rows of one table, ready for the writer.
#[derive(Debug, Default)]
pub struct Batch {
    pub(super) sum: RowSum,
    pub(super) text: Vec<u8>,
    pub(super) candidates: Vec<Candidate>,
    pub(super) blobs: Vec<NewBlob>,
    pub(super) data: Arc<Vec<u8>>,
}

impl Batch {
    /// Takes COPY text of a table without `bytea` columns as it is.
    ///
    /// # Errors
    /// [`RowError::Unterminated`] if the last row has no newline.
    pub fn from_copy_text(text: Vec<u8>) -> Result<Self, RowError> {
        if !rows::is_whole(&text) {
            return Err(RowError::Unterminated);
        }
        let mut batch = Self::default();
        let mut end = 0;
        for row in rows::rows(&text) {
            end += row.len() + 1;
            batch.count_row(row, row.len(), end);
        }
        batch.text = text;
        Ok(batch)
    }

    /// A row that weighs as much as its text and what the segment's head says of its blobs.
    fn count_row(&mut self, row: &[u8], weight: usize, end: usize) {
        let digest = Digest::of(row);
        self.sum.add(RowSum::of_digest(digest));
        if chunking::ends_segment(&digest, weight) {
            self.candidates.push(Candidate { end, rows: self.sum.rows });
        }
    }

    /// Row count and digest of these rows.
    pub fn sum(&self) -> RowSum {
        self.sum
    }

    /// The rows as text, where they were kept: not by [`BatchBuilder::for_digest`].
    pub fn text(&self) -> &[u8] {
        &self.text
    }
}

/// Makes a batch, field by field.
#[derive(Debug)]
pub struct BatchBuilder {
    known: Option<KnownBlobs>,
    keeps_text: bool,
    batch: Batch,
    data: Vec<u8>,
    in_batch: HashSet<Digest>,
    /// Bytes of each chunk, where they are not cut by what they hold.
    piece: Option<usize>,
    row_start: usize,
    row_begun: bool,
    /// Of the blobs in the row.
    row_weight: usize,
}

impl BatchBuilder {
    /// For rows on their way into an archive.
    pub fn new(known: KnownBlobs) -> Self {
        Self::begin(Some(known), true)
    }

    /// For rows whose digest alone is wanted: keeps no bytes.
    pub fn for_digest() -> Self {
        Self::begin(None, false)
    }

    /// For rows whose text is wanted, blobs by reference alone.
    pub fn for_text() -> Self {
        Self::begin(None, true)
    }

    fn begin(known: Option<KnownBlobs>, keeps_text: bool) -> Self {
        Self {
            known,
            keeps_text,
            batch: Batch::default(),
            data: Vec::new(),
            in_batch: HashSet::new(),
            piece: None,
            row_start: 0,
            row_begun: false,
            row_weight: 0,
        }
    }

    /// Cuts blobs every so many bytes (at least one), whatever they hold: then very many chunks are
    /// made in little time, to see what they take. Readers take any cut.
    #[must_use]
    pub fn in_pieces(self, bytes: usize) -> Self {
        Self { piece: Some(bytes.max(1)), ..self }
    }

    /// Makes room for so many bytes of blobs, if they are kept at all.
    pub fn expect(&mut self, bytes: usize) {
        if self.known.is_some() {
            self.data.reserve(bytes);
        }
    }

    fn begin_field(&mut self) {
        if self.row_begun {
            self.batch.text.push(b'\t');
        }
        self.row_begun = true;
    }

    /// A field with this value, as the type's output function writes it.
    pub fn text(&mut self, value: &[u8]) {
        self.begin_field();
        rows::escape_into(&mut self.batch.text, value);
    }

    /// A field that is NULL.
    pub fn null(&mut self) {
        self.begin_field();
        self.batch.text.extend_from_slice(b"\\N");
    }

    /// A `bytea` field of any length.
    pub fn blob(&mut self, bytes: &[u8]) {
        self.bytea(bytes, None);
    }

    /// A `bytea` field whose bytes stand at this place of the run that [`BatchBuilder::finish_in`]
    /// will be given. All blobs of a batch are given like this, or none.
    pub fn blob_in(&mut self, run: &[u8], place: Range<usize>) {
        debug_assert!(self.data.is_empty(), "a blob in a run beside one that was copied");
        self.bytea(run.get(place.clone()).unwrap_or_default(), Some(place.start));
    }

    fn bytea(&mut self, bytes: &[u8], at: Option<usize>) {
        self.begin_field();
        if bytes.len() <= INLINE_BYTEA {
            rows::inline_bytea(&mut self.batch.text, bytes);
            return;
        }
        let digest = Digest::of(bytes);
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.refer(BlobRef { digest, length }, Some((bytes, at)));
    }

    /// A `bytea` field whose bytes the writer was already given.
    pub fn blob_ref(&mut self, blob: BlobRef) {
        self.begin_field();
        self.refer(blob, None);
    }

    fn refer(&mut self, blob: BlobRef, bytes: Option<(&[u8], Option<usize>)>) {
        let at = self.batch.text.len();
        blob.write(&mut self.batch.text);
        self.row_weight = self.row_weight.saturating_add(chunking::list_weight(blob.length));
        let Some(known) = &self.known else { return };
        let mut chunks = Vec::new();
        let whole = self.piece.unwrap_or(chunking::WHOLE);
        let many = bytes.is_some_and(|(bytes, _)| bytes.len() > whole);
        let skip = self.in_batch.contains(&blob.digest) || many && known.contains(&blob);
        if let Some((bytes, at)) = bytes.filter(|_| !skip) {
            self.in_batch.insert(blob.digest);
            let start = at.unwrap_or_else(|| {
                self.data.extend_from_slice(bytes);
                self.data.len() - bytes.len()
            });
            cut(bytes, blob.digest, self.piece, start, &mut chunks);
        }
        self.batch.blobs.push(NewBlob { at, blob, chunks });
    }

    /// Ends a row.
    pub fn end_row(&mut self) {
        let row = std::mem::take(&mut self.batch.text);
        let body = row.get(self.row_start..).unwrap_or_default();
        let blobs = std::mem::take(&mut self.row_weight);
        self.batch.count_row(body, body.len().saturating_add(blobs), row.len() + 1);
        self.batch.text = row;
        if self.keeps_text {
            self.batch.text.push(b'\n');
        } else {
            self.batch.text.clear();
        }
        self.row_start = self.batch.text.len();
        self.row_begun = false;
    }

    /// The rows that were ended.
    pub fn finish(mut self) -> Batch {
        self.batch.text.truncate(self.row_start);
        self.batch.data = Arc::new(self.data);
        self.batch
    }

    /// The rows that were ended, their blobs in the run that they came in, which is kept if they are.
    pub fn finish_in(mut self, run: Vec<u8>) -> Batch {
        if self.known.is_some() && !self.batch.blobs.is_empty() {
            self.data = run;
        }
        self.finish()
    }
}

/// Cuts a blob that begins at `at` of what the batch holds.
fn cut(
    bytes: &[u8],
    digest: Digest,
    piece: Option<usize>,
    mut at: usize,
    chunks: &mut Vec<NewChunk>,
) {
    let mut cutter = chunking::Cutter::new(bytes, u64::try_from(bytes.len()).unwrap_or(u64::MAX));
    let mut rest = bytes;
    while !rest.is_empty() {
        let cut = match piece {
            Some(piece) => Cut { length: piece.min(rest.len()), incompressible: true },
            None => cutter.next(rest),
        };
        let (chunk, after) = rest.split_at_checked(cut.length).unwrap_or((rest, &[]));
        let digest = if chunk.len() == bytes.len() { digest } else { Digest::of(chunk) };
        let incompressible = cut.incompressible;
        chunks.push(NewChunk { digest, bytes: at..at + chunk.len(), incompressible });
        at += chunk.len();
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    //! The digest of rows must not depend on which way they came.
    use super::*;

    #[test]
    fn text_and_fields_give_the_same_digest() {
        let text = Batch::from_copy_text(b"1\ta\\tb\t\\N\n2\t\t\\\\x00ff\n".to_vec()).unwrap();
        let build = |mut builder: BatchBuilder| {
            builder.text(b"1");
            builder.text(b"a\tb");
            builder.null();
            builder.end_row();
            builder.text(b"2");
            builder.text(b"");
            builder.blob(&[0, 255]);
            builder.end_row();
            builder.finish()
        };
        let fields = build(BatchBuilder::new(KnownBlobs::default()));
        assert_eq!(fields.text, text.text);
        assert_eq!(fields.sum(), text.sum());
        assert_eq!(build(BatchBuilder::for_digest()).sum(), text.sum());
        assert_eq!(build(BatchBuilder::for_text()).text(), text.text());
    }

    #[test]
    fn a_table_without_columns_has_rows() {
        let mut builder = BatchBuilder::new(KnownBlobs::default());
        builder.end_row();
        builder.end_row();
        let batch = builder.finish();
        assert_eq!((batch.sum.rows, &batch.text[..]), (2, &b"\n\n"[..]));
        assert_eq!(batch.sum(), Batch::from_copy_text(b"\n\n".to_vec()).unwrap().sum());
    }
}
