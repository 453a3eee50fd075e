//! The records of an index, and all of them together as they are written.

use std::io::{self, Write};

use crate::format::digest::Digest;
use crate::format::manifest::IndexFacts;
use crate::format::ustar::EntryKind;

pub(super) const MAGIC: &[u8; 8] = b"PGARKIDX";
pub(super) const VERSION: u32 = 1;
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
    /// that object is in the joined file ([`crate::format::thin::Joined`]): see [`Self::in_base`].
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

    /// As the index has it.
    pub fn encode(&self) -> [u8; ENTRY] {
        together(&[
            &self.kind.code().to_le_bytes(),
            &u16::try_from(self.base()).unwrap_or(u16::MAX).to_le_bytes(),
            &self.number.to_le_bytes(),
            &self.offset_in_file().to_le_bytes(),
            &self.length.to_le_bytes(),
            &self.digest.0,
        ])
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

impl ChunkRecord {
    /// As the index has it.
    pub fn encode(&self) -> [u8; CHUNK] {
        let words = [self.entry, self.offset, self.length].map(u32::to_le_bytes);
        together(&[&self.digest.0, words.as_flattened()])
    }

    pub(super) fn decode(record: &[u8; CHUNK]) -> Self {
        let mut at = Fields(record);
        let digest = Digest(at.take());
        Self { digest, entry: at.u32(), offset: at.u32(), length: at.u32() }
    }
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

impl BlobRecord {
    /// As the index has it.
    pub fn encode(&self) -> [u8; BLOB] {
        let words = [self.length, self.first].map(u64::to_le_bytes);
        together(&[&self.digest.0, words.as_flattened(), &self.count.to_le_bytes()])
    }

    pub(super) fn decode(record: &[u8; BLOB]) -> Self {
        let mut at = Fields(record);
        let digest = Digest(at.take());
        Self { digest, length: at.u64(), first: at.u64(), count: at.u32() }
    }
}

/// One segment of a table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SegmentRecord {
    /// Number of the object's entry.
    pub entry: u32,
    /// Its rows.
    pub rows: u32,
}

impl SegmentRecord {
    /// As the index has it.
    pub fn encode(&self) -> [u8; SEGMENT] {
        together(&[&self.entry.to_le_bytes(), &self.rows.to_le_bytes()])
    }
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
    fn counts(&self) -> Counts {
        let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        Counts {
            entries: count(self.entries.len()),
            chunks: count(self.chunks.len()),
            blobs: count(self.blobs.len()),
            blob_chunks: count(self.blob_chunks.len()),
            segments: count(self.segments.len()),
        }
    }

    /// The length of the index in bytes.
    pub fn length(&self) -> u64 {
        self.counts().length()
    }

    /// Writes the index.
    ///
    /// # Errors
    /// What `out` says.
    pub fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(&self.counts().header())?;
        self.entries.iter().try_for_each(|entry| out.write_all(&entry.encode()))?;
        self.chunks.iter().try_for_each(|chunk| out.write_all(&chunk.encode()))?;
        self.blobs.iter().try_for_each(|blob| out.write_all(&blob.encode()))?;
        self.blob_chunks.iter().try_for_each(|chunk| out.write_all(&chunk.to_le_bytes()))?;
        self.segments.iter().try_for_each(|segment| out.write_all(&segment.encode()))
    }
}

/// How many records of each kind an index has.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Counts {
    /// Entries of the archive, and of bases.
    pub entries: u64,
    /// Chunks.
    pub chunks: u64,
    /// Blobs of many chunks.
    pub blobs: u64,
    /// Chunks of these.
    pub blob_chunks: u64,
    /// Segments.
    pub segments: u64,
}

impl Counts {
    /// The length of the index in bytes.
    pub fn length(&self) -> u64 {
        let parts = [
            (self.entries, ENTRY),
            (self.chunks, CHUNK),
            (self.blobs, BLOB),
            (self.blob_chunks, BLOB_CHUNK),
            (self.segments, SEGMENT),
            (1, HEADER),
        ];
        let one = |(count, width): (u64, usize)| {
            count.saturating_mul(u64::try_from(width).unwrap_or(u64::MAX))
        };
        parts.map(one).into_iter().fold(0, u64::saturating_add)
    }

    /// What is before the first record.
    pub fn header(&self) -> [u8; HEADER] {
        let counts = [self.entries, self.chunks, self.blobs, self.blob_chunks, self.segments];
        let counts = counts.map(u64::to_le_bytes);
        together(&[MAGIC, &VERSION.to_le_bytes(), &[0; 4], counts.as_flattened(), &[0; 8]])
    }

    /// What the manifest says of an index of this digest.
    pub fn facts(&self, digest: Digest) -> IndexFacts {
        let Self { entries, chunks, blobs, blob_chunks, segments } = *self;
        IndexFacts { digest, entries, chunks, blobs, blob_chunks, segments }
    }
}

/// A record of these parts, which have its length together.
pub(in crate::format) fn together<const N: usize>(parts: &[&[u8]]) -> [u8; N] {
    let mut out = [0; N];
    let mut rest = out.as_mut_slice();
    for part in parts {
        let Some((to, after)) = rest.split_at_mut_checked(part.len()) else { break };
        to.copy_from_slice(part);
        rest = after;
    }
    out
}

pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl Fields<'_> {
    /// The next bytes; the record's length was checked, so there are enough.
    pub(super) fn take<const N: usize>(&mut self) -> [u8; N] {
        match self.0.split_first_chunk::<N>() {
            Some((head, rest)) => {
                self.0 = rest;
                *head
            }
            None => [0; N],
        }
    }
    pub(super) fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }
    pub(super) fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }
}
