//! The index: fixed-width records of entries, chunks, blobs and segments (spec section 6).
//! Searched in place, so that its size is never a matter of memory.

use std::cmp::Ordering;
use std::io::{self, Write};
use std::ops::Deref;

use super::digest::Digest;
use super::manifest::IndexFacts;
use super::ustar::EntryKind;
use crate::io::Mapped;

const MAGIC: &[u8; 8] = b"PGARKIDX";
const VERSION: u32 = 1;
/// Bytes before the first record.
pub const HEADER: usize = 64;
/// An entry's record.
pub const ENTRY: usize = 56;
/// A chunk's record.
pub const CHUNK: usize = 44;
/// A blob's record.
pub const BLOB: usize = 52;
/// A record of a blob's chunk.
pub const BLOB_CHUNK: usize = 4;
/// A segment's record.
pub const SEGMENT: usize = 8;

/// Bits of an [`EntryRecord`]'s offset that say where in a file; those above are a base's number.
const WITHIN: u32 = 56;

/// One tar entry, or an object that a base has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EntryRecord {
    /// What it is.
    pub kind: EntryKind,
    /// A parity entry's number; 0 for all others.
    pub number: u32,
    /// Offset of its body in the file: its header is 512 bytes before. Of an object of a base, where
    /// that object is in the joined file ([`super::thin::Joined`]): see [`Self::in_base`].
    pub offset: u64,
    /// Length of its body.
    pub length: u64,
    /// SHA-256 of its body; of its head, for objects.
    pub digest: Digest,
}

impl EntryRecord {
    /// Its name in the tar.
    pub fn name(&self) -> String {
        self.kind.name(&self.digest, self.number)
    }

    /// The number of the base that has it, from 1; 0 of one of the archive's own.
    pub fn base(&self) -> u64 {
        self.offset >> WITHIN
    }

    /// Where it is in its own file.
    pub fn offset_in_file(&self) -> u64 {
        self.offset & ((1 << WITHIN) - 1)
    }

    /// This entry of the base with this number, from 1. None for an offset that no file has.
    #[must_use]
    pub fn in_base(mut self, base: u64) -> Option<Self> {
        if self.base() != 0 || base == 0 || base >= 1 << (64 - WITHIN) {
            return None;
        }
        self.offset |= base << WITHIN;
        Some(self)
    }
}

/// Where the base with this number begins in a joined file.
pub fn base_start(base: u64) -> u64 {
    base.checked_shl(WITHIN).unwrap_or(u64::MAX)
}

/// One chunk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChunkRecord {
    /// SHA-256 of its bytes.
    pub digest: Digest,
    /// Number of the pack's entry.
    pub entry: u32,
    /// Where it begins in the pack's raw bytes.
    pub offset: u32,
    /// Its length.
    pub length: u32,
}

/// One blob of more than one chunk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlobRecord {
    /// SHA-256 of its bytes.
    pub digest: Digest,
    /// Its length.
    pub length: u64,
    /// The first of its records among the blobs' chunks.
    pub first: u64,
    /// How many chunks; at least two.
    pub count: u32,
}

/// One segment of a table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SegmentRecord {
    /// Number of the object's entry.
    pub entry: u32,
    /// Its rows.
    pub rows: u32,
}

/// Why bytes are not an index.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum IndexError {
    /// No magic.
    #[error("it does not begin as an index does")]
    Magic,
    /// A later version.
    #[error("it has version {0}; this pgark reads version 1")]
    Version(u32),
    /// A reserved byte is not zero.
    #[error("a reserved byte is not zero")]
    Reserved,
    /// The counts and the length disagree.
    #[error("its length does not fit the number of its records")]
    Length,
    /// A record has a value it cannot have.
    #[error("record {number} of its {section} is not possible")]
    Record {
        /// Which section.
        section: &'static str,
        /// Which record, from 0.
        number: u64,
    },
}

/// The bytes of an index: in memory when small, mapped when not.
#[derive(Debug)]
pub enum IndexBytes {
    /// In memory.
    Owned(Vec<u8>),
    /// In the file.
    Mapped(Mapped),
}

impl Deref for IndexBytes {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        match self {
            Self::Owned(bytes) => bytes,
            Self::Mapped(bytes) => bytes,
        }
    }
}

/// An index whose header and length are right. Its records are checked when they are read.
#[derive(Debug)]
pub struct Index {
    bytes: IndexBytes,
    entries: u64,
    chunks: u64,
    blobs: u64,
    blob_chunks: u64,
    segments: u64,
}

impl Index {
    /// Takes `bytes` for an index if header and length allow.
    ///
    /// # Errors
    /// See [`IndexError`].
    pub fn parse(bytes: IndexBytes) -> Result<Self, IndexError> {
        let mut at = Fields(bytes.get(..HEADER).ok_or(IndexError::Length)?);
        if at.take::<8>() != *MAGIC {
            return Err(IndexError::Magic);
        }
        let version = at.u32();
        if version != VERSION {
            return Err(IndexError::Version(version));
        }
        if at.u32() != 0 {
            return Err(IndexError::Reserved);
        }
        let [entries, chunks, blobs, blob_chunks, segments] =
            [at.u64(), at.u64(), at.u64(), at.u64(), at.u64()];
        if at.u64() != 0 {
            return Err(IndexError::Reserved);
        }
        let index = Self { bytes, entries, chunks, blobs, blob_chunks, segments };
        let length = index.segment_at(segments).ok_or(IndexError::Length)?;
        // Entry and chunk numbers have 32 bits in the records.
        let narrow = u32::try_from(entries).is_ok() && u32::try_from(chunks).is_ok();
        if usize::try_from(length) != Ok(index.bytes.len()) || !narrow {
            return Err(IndexError::Length);
        }
        Ok(index)
    }

    /// How many of each there are, as the manifest should say; the digest is the caller's.
    pub fn facts(&self, digest: Digest) -> IndexFacts {
        IndexFacts {
            digest,
            entries: self.entries,
            chunks: self.chunks,
            blobs: self.blobs,
            blob_chunks: self.blob_chunks,
            segments: self.segments,
        }
    }

    fn chunk_at(&self, number: u64) -> Option<u64> {
        let before = self.entries.checked_mul(56)?.checked_add(64)?;
        number.checked_mul(44)?.checked_add(before)
    }

    fn blob_at(&self, number: u64) -> Option<u64> {
        number.checked_mul(52)?.checked_add(self.chunk_at(self.chunks)?)
    }

    fn blob_chunk_at(&self, number: u64) -> Option<u64> {
        number.checked_mul(4)?.checked_add(self.blob_at(self.blobs)?)
    }

    fn segment_at(&self, number: u64) -> Option<u64> {
        number.checked_mul(8)?.checked_add(self.blob_chunk_at(self.blob_chunks)?)
    }

    fn record(&self, offset: Option<u64>, length: usize) -> Option<Fields<'_>> {
        let start = usize::try_from(offset?).ok()?;
        self.bytes.get(start..start.checked_add(length)?).map(Fields)
    }

    /// The entry of this number, counted from 0 in file order.
    ///
    /// # Errors
    /// [`IndexError::Record`] where there is none or it is of no known kind.
    pub fn entry(&self, number: u64) -> Result<EntryRecord, IndexError> {
        let wrong = IndexError::Record { section: "entries", number };
        let offset = number.checked_mul(56).and_then(|at| at.checked_add(64));
        let mut at = self.record(offset, ENTRY).filter(|_| number < self.entries).ok_or(wrong)?;
        let kind = u16::from_le_bytes(at.take());
        let base = u16::from_le_bytes(at.take());
        let entry = EntryRecord {
            kind: EntryKind::from_code(kind).ok_or(wrong)?,
            number: at.u32(),
            offset: at.u64(),
            length: at.u64(),
            digest: Digest(at.take()),
        };
        match base {
            // An offset with a base's bits of its own would lead into another file.
            0 if entry.base() == 0 => Ok(entry),
            0 => Err(wrong),
            base => entry.in_base(base.into()).ok_or(wrong),
        }
    }

    /// The chunk of this number, in the order of digests.
    ///
    /// # Errors
    /// [`IndexError::Record`] where there is none.
    pub fn chunk(&self, number: u64) -> Result<ChunkRecord, IndexError> {
        let wrong = IndexError::Record { section: "chunks", number };
        let mut at = self
            .record(self.chunk_at(number), CHUNK)
            .filter(|_| number < self.chunks)
            .ok_or(wrong)?;
        Ok(ChunkRecord {
            digest: Digest(at.take()),
            entry: at.u32(),
            offset: at.u32(),
            length: at.u32(),
        })
    }

    /// The blob of this number, in the order of digests.
    ///
    /// # Errors
    /// [`IndexError::Record`] where there is none.
    pub fn blob(&self, number: u64) -> Result<BlobRecord, IndexError> {
        let wrong = IndexError::Record { section: "blobs", number };
        let mut at =
            self.record(self.blob_at(number), BLOB).filter(|_| number < self.blobs).ok_or(wrong)?;
        Ok(BlobRecord {
            digest: Digest(at.take()),
            length: at.u64(),
            first: at.u64(),
            count: at.u32(),
        })
    }

    /// The number of the chunk that a record of the blobs' chunks names.
    ///
    /// # Errors
    /// [`IndexError::Record`] where there is none.
    pub fn blob_chunk(&self, number: u64) -> Result<u64, IndexError> {
        let wrong = IndexError::Record { section: "blob chunks", number };
        let mut at = self
            .record(self.blob_chunk_at(number), BLOB_CHUNK)
            .filter(|_| number < self.blob_chunks)
            .ok_or(wrong)?;
        Ok(u64::from(at.u32()))
    }

    /// The segment of this number, counted over all tables.
    ///
    /// # Errors
    /// [`IndexError::Record`] where there is none.
    pub fn segment(&self, number: u64) -> Result<SegmentRecord, IndexError> {
        let wrong = IndexError::Record { section: "segments", number };
        let mut at = self
            .record(self.segment_at(number), SEGMENT)
            .filter(|_| number < self.segments)
            .ok_or(wrong)?;
        Ok(SegmentRecord { entry: at.u32(), rows: at.u32() })
    }

    /// The number and record of the chunk with this digest.
    pub fn find_chunk(&self, digest: &Digest) -> Option<(u64, ChunkRecord)> {
        search(self.chunks, |number| self.chunk(number).ok().map(|c| (c.digest, c)), digest)
    }

    /// The number and record of the many-chunk blob with this digest.
    pub fn find_blob(&self, digest: &Digest) -> Option<(u64, BlobRecord)> {
        search(self.blobs, |number| self.blob(number).ok().map(|b| (b.digest, b)), digest)
    }
}

fn search<T>(
    count: u64,
    read: impl Fn(u64) -> Option<(Digest, T)>,
    wanted: &Digest,
) -> Option<(u64, T)> {
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low + (high - low) / 2;
        let (digest, record) = read(middle)?;
        match digest.cmp(wanted) {
            Ordering::Equal => return Some((middle, record)),
            Ordering::Less => low = middle + 1,
            Ordering::Greater => high = middle,
        }
    }
    None
}

/// All that an index is written from. Chunks and blobs sorted by digest, without repeats.
#[derive(Debug, Default)]
pub struct Records {
    /// In file order.
    pub entries: Vec<EntryRecord>,
    /// Sorted by digest.
    pub chunks: Vec<ChunkRecord>,
    /// Sorted by digest.
    pub blobs: Vec<BlobRecord>,
    /// Numbers of chunks.
    pub blob_chunks: Vec<u32>,
    /// Table by table.
    pub segments: Vec<SegmentRecord>,
}

impl Records {
    /// The length of the index in bytes.
    pub fn length(&self) -> u64 {
        let parts = [
            (self.entries.len(), ENTRY),
            (self.chunks.len(), CHUNK),
            (self.blobs.len(), BLOB),
            (self.blob_chunks.len(), BLOB_CHUNK),
            (self.segments.len(), SEGMENT),
        ];
        let sum: usize = parts.iter().map(|(count, width)| count * width).sum();
        u64::try_from(sum + HEADER).unwrap_or(u64::MAX)
    }

    /// Writes the index.
    ///
    /// # Errors
    /// What `out` says.
    pub fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX).to_le_bytes();
        out.write_all(MAGIC)?;
        out.write_all(&VERSION.to_le_bytes())?;
        out.write_all(&[0; 4])?;
        let lengths = [
            self.entries.len(),
            self.chunks.len(),
            self.blobs.len(),
            self.blob_chunks.len(),
            self.segments.len(),
        ];
        for length in lengths {
            out.write_all(&count(length))?;
        }
        out.write_all(&[0; 8])?;
        for entry in &self.entries {
            let base = u16::try_from(entry.base()).unwrap_or(u16::MAX);
            out.write_all(&entry.kind.code().to_le_bytes())?;
            out.write_all(&base.to_le_bytes())?;
            out.write_all(&entry.number.to_le_bytes())?;
            out.write_all(&entry.offset_in_file().to_le_bytes())?;
            out.write_all(&entry.length.to_le_bytes())?;
            out.write_all(&entry.digest.0)?;
        }
        for chunk in &self.chunks {
            out.write_all(&chunk.digest.0)?;
            for word in [chunk.entry, chunk.offset, chunk.length] {
                out.write_all(&word.to_le_bytes())?;
            }
        }
        for blob in &self.blobs {
            out.write_all(&blob.digest.0)?;
            out.write_all(&blob.length.to_le_bytes())?;
            out.write_all(&blob.first.to_le_bytes())?;
            out.write_all(&blob.count.to_le_bytes())?;
        }
        for chunk in &self.blob_chunks {
            out.write_all(&chunk.to_le_bytes())?;
        }
        for segment in &self.segments {
            out.write_all(&segment.entry.to_le_bytes())?;
            out.write_all(&segment.rows.to_le_bytes())?;
        }
        Ok(())
    }
}

struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    /// The next bytes; the record's length was checked, so there are enough.
    fn take<const N: usize>(&mut self) -> [u8; N] {
        match self.0.split_first_chunk::<N>() {
            Some((head, rest)) => {
                self.0 = rest;
                *head
            }
            None => [0; N],
        }
    }
    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }
    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }
}

#[cfg(test)]
mod tests {
    //! A record that comes back otherwise than it was written points at other bytes.
    use super::*;

    fn records() -> Records {
        let mut chunks: Vec<ChunkRecord> = (0..9_u32)
            .map(|n| ChunkRecord {
                digest: Digest::of(&n.to_le_bytes()),
                entry: n,
                offset: n,
                length: 1,
            })
            .collect();
        chunks.sort_by_key(|chunk| chunk.digest);
        let blob = BlobRecord { digest: Digest::of(b"b"), length: 7, first: 0, count: 2 };
        let entry = EntryRecord {
            kind: EntryKind::Pack,
            number: 0,
            offset: 512,
            length: 9,
            digest: Digest::of(b"e"),
        };
        Records {
            entries: vec![entry],
            chunks,
            blobs: vec![blob],
            blob_chunks: vec![3, 4],
            segments: vec![SegmentRecord { entry: 0, rows: 5 }],
        }
    }

    #[test]
    fn what_is_written_is_found() {
        let records = records();
        let mut bytes = Vec::new();
        records.write(&mut bytes).unwrap();
        assert_eq!(bytes.len() as u64, records.length());
        let index = Index::parse(IndexBytes::Owned(bytes)).unwrap();
        assert_eq!(index.entry(0), Ok(records.entries[0]));
        for (number, chunk) in records.chunks.iter().enumerate() {
            assert_eq!(index.find_chunk(&chunk.digest), Some((number as u64, *chunk)));
        }
        assert_eq!(index.find_blob(&records.blobs[0].digest), Some((0, records.blobs[0])));
        assert_eq!(index.blob_chunk(1), Ok(4));
        assert_eq!(index.segment(0), Ok(records.segments[0]));
        assert!(index.segment(1).is_err() && index.blob_chunk(2).is_err());
        assert!(index.entry(1).is_err() && index.chunk(9).is_err() && index.blob(1).is_err());
        assert_eq!(index.find_chunk(&Digest::of(b"?")), None);
    }

    #[test]
    fn counts_that_overflow_are_refused() {
        let mut bytes = Vec::new();
        records().write(&mut bytes).unwrap();
        for at in (16..56).step_by(8) {
            let mut bad = bytes.clone();
            bad[at..at + 8].copy_from_slice(&u64::MAX.to_le_bytes());
            assert_eq!(
                Index::parse(IndexBytes::Owned(bad)).err(),
                Some(IndexError::Length),
                "{at}"
            );
        }
    }
}
