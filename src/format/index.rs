//! The index: fixed-width records of entries, chunks, blobs and segments (spec section 6).
//! Searched in place, so that its size is never a matter of memory.

mod records;

use std::cmp::Ordering;
use std::io;

pub(super) use records::together;
pub use records::{
    BLOB, BLOB_CHUNK, BlobRecord, CHUNK, ChunkRecord, Counts, ENTRY, EntryRecord, HEADER, Records,
    SEGMENT, SegmentRecord, base_start,
};

use super::digest::Digest;
use super::fences::Fences;
use super::manifest::IndexFacts;
use super::paged::Paged;
use super::ustar::EntryKind;
use records::{Fields, MAGIC, VERSION};

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
    /// The medium does not give back what was there before.
    #[error("its bytes could be read once, and not again")]
    Unreadable,
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

/// The bytes of an index: in memory when small, in the file when not.
#[derive(Debug)]
pub enum IndexBytes {
    /// In memory.
    Owned(Vec<u8>),
    /// In the file, where their digest was found right.
    Paged(Paged),
}

impl IndexBytes {
    fn len(&self) -> u64 {
        match self {
            Self::Owned(bytes) => u64::try_from(bytes.len()).unwrap_or(u64::MAX),
            Self::Paged(paged) => paged.len(),
        }
    }

    fn read<const N: usize>(&self, at: u64) -> Option<[u8; N]> {
        match self {
            Self::Owned(bytes) => bytes.get(usize::try_from(at).ok()?..)?.first_chunk().copied(),
            Self::Paged(paged) => paged.read(at),
        }
    }

    fn fault(&self) -> Option<&io::Error> {
        match self {
            Self::Owned(_) => None,
            Self::Paged(paged) => paged.fault(),
        }
    }

    /// Why something is not there: for this reason, unless bytes could not be read.
    fn wrong(&self, reason: IndexError) -> IndexError {
        self.fault().map_or(reason, |_| IndexError::Unreadable)
    }
}

/// An index whose header and length are right. Its records are checked when they are read.
#[derive(Debug)]
pub struct Index {
    bytes: IndexBytes,
    counts: Counts,
    /// Of an index that is not in memory: where chunks and blobs are.
    fences: [Fences; 2],
}

impl Index {
    /// Takes `bytes` for an index if header and length allow.
    ///
    /// # Errors
    /// See [`IndexError`].
    pub fn parse(bytes: IndexBytes) -> Result<Self, IndexError> {
        let header = bytes.read::<HEADER>(0).ok_or_else(|| bytes.wrong(IndexError::Length))?;
        let mut at = Fields(&header);
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
        let counts = Counts { entries, chunks, blobs, blob_chunks, segments };
        let mut index = Self { bytes, counts, fences: Default::default() };
        // Entry and chunk numbers have 32 bits in the records.
        let narrow = u32::try_from(entries).is_ok() && u32::try_from(chunks).is_ok();
        if index.segment_at(segments) != Some(index.bytes.len()) || !narrow {
            return Err(IndexError::Length);
        }
        if matches!(index.bytes, IndexBytes::Paged(_)) {
            index.fences = [
                Fences::of(chunks, |number| index.chunk(number).map(|chunk| chunk.digest))?,
                Fences::of(blobs, |number| index.blob(number).map(|blob| blob.digest))?,
            ];
        }
        Ok(index)
    }

    /// How many of each there are, as the manifest should say; the digest is the caller's.
    pub fn facts(&self, digest: Digest) -> IndexFacts {
        self.counts.facts(digest)
    }

    /// Why part of it could not be read again after its digest was found right. Then what was said
    /// not to be there may be there.
    pub fn fault(&self) -> Option<&io::Error> {
        self.bytes.fault()
    }

    fn chunk_at(&self, number: u64) -> Option<u64> {
        let before = self.counts.entries.checked_mul(56)?.checked_add(64)?;
        number.checked_mul(44)?.checked_add(before)
    }

    fn blob_at(&self, number: u64) -> Option<u64> {
        number.checked_mul(52)?.checked_add(self.chunk_at(self.counts.chunks)?)
    }

    fn blob_chunk_at(&self, number: u64) -> Option<u64> {
        number.checked_mul(4)?.checked_add(self.blob_at(self.counts.blobs)?)
    }

    fn segment_at(&self, number: u64) -> Option<u64> {
        number.checked_mul(8)?.checked_add(self.blob_chunk_at(self.counts.blob_chunks)?)
    }

    fn record<const N: usize>(&self, offset: Option<u64>) -> Option<[u8; N]> {
        self.bytes.read(offset?)
    }

    /// The entry of this number, counted from 0 in file order.
    ///
    /// # Errors
    /// [`IndexError::Record`] where there is none or it is of no known kind.
    pub fn entry(&self, number: u64) -> Result<EntryRecord, IndexError> {
        let wrong = IndexError::Record { section: "entries", number };
        let offset = number.checked_mul(56).and_then(|at| at.checked_add(64));
        let record = self.record::<ENTRY>(offset).filter(|_| number < self.counts.entries);
        let record = record.ok_or_else(|| self.bytes.wrong(wrong))?;
        let mut at = Fields(&record);
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
        let record = self.record(self.chunk_at(number)).filter(|_| number < self.counts.chunks);
        record.as_ref().map(ChunkRecord::decode).ok_or_else(|| self.bytes.wrong(wrong))
    }

    /// The blob of this number, in the order of digests.
    ///
    /// # Errors
    /// [`IndexError::Record`] where there is none.
    pub fn blob(&self, number: u64) -> Result<BlobRecord, IndexError> {
        let wrong = IndexError::Record { section: "blobs", number };
        let record = self.record(self.blob_at(number)).filter(|_| number < self.counts.blobs);
        record.as_ref().map(BlobRecord::decode).ok_or_else(|| self.bytes.wrong(wrong))
    }

    /// The number of the chunk that a record of the blobs' chunks names.
    ///
    /// # Errors
    /// [`IndexError::Record`] where there is none.
    pub fn blob_chunk(&self, number: u64) -> Result<u64, IndexError> {
        let wrong = IndexError::Record { section: "blob chunks", number };
        let record = self.record::<BLOB_CHUNK>(self.blob_chunk_at(number));
        let record = record.filter(|_| number < self.counts.blob_chunks);
        let record = record.ok_or_else(|| self.bytes.wrong(wrong))?;
        Ok(u32::from_le_bytes(record).into())
    }

    /// The segment of this number, counted over all tables.
    ///
    /// # Errors
    /// [`IndexError::Record`] where there is none.
    pub fn segment(&self, number: u64) -> Result<SegmentRecord, IndexError> {
        let wrong = IndexError::Record { section: "segments", number };
        let record = self.record::<SEGMENT>(self.segment_at(number));
        let record = record.filter(|_| number < self.counts.segments);
        let record = record.ok_or_else(|| self.bytes.wrong(wrong))?;
        let mut at = Fields(&record);
        Ok(SegmentRecord { entry: at.u32(), rows: at.u32() })
    }

    /// The number and record of the chunk with this digest.
    pub fn find_chunk(&self, digest: &Digest) -> Option<(u64, ChunkRecord)> {
        let IndexBytes::Paged(paged) = &self.bytes else {
            let read = |number| self.chunk(number).ok().map(|chunk| (chunk.digest, chunk));
            return search(self.counts.chunks, read, digest);
        };
        let [fences, _] = &self.fences;
        let found = fences.find(digest, |from, window: &mut [[u8; CHUNK]]| {
            let at = self.chunk_at(from).ok_or(io::ErrorKind::UnexpectedEof)?;
            paged.fill(window.as_flattened_mut(), at)
        });
        paged.found(found).map(|(number, record)| (number, ChunkRecord::decode(&record)))
    }

    /// The number and record of the many-chunk blob with this digest.
    pub fn find_blob(&self, digest: &Digest) -> Option<(u64, BlobRecord)> {
        let IndexBytes::Paged(paged) = &self.bytes else {
            let read = |number| self.blob(number).ok().map(|blob| (blob.digest, blob));
            return search(self.counts.blobs, read, digest);
        };
        let [_, fences] = &self.fences;
        let found = fences.find(digest, |from, window: &mut [[u8; BLOB]]| {
            let at = self.blob_at(from).ok_or(io::ErrorKind::UnexpectedEof)?;
            paged.fill(window.as_flattened_mut(), at)
        });
        paged.found(found).map(|(number, record)| (number, BlobRecord::decode(&record)))
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

#[cfg(test)]
mod tests {
    //! A record that comes back otherwise than it was written points at other bytes.
    use std::io::Write;

    use super::*;

    fn records() -> Records {
        let mut chunks: Vec<ChunkRecord> = (0..3000_u32)
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
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&[&b"before"[..], &bytes, b"after"].concat()).unwrap();
        let paged = Paged::of(&file, 6, bytes.len() as u64).unwrap();
        for bytes in [IndexBytes::Owned(bytes), IndexBytes::Paged(paged)] {
            found(&records, &Index::parse(bytes).unwrap());
        }
    }

    fn found(records: &Records, index: &Index) {
        assert_eq!(index.entry(0), Ok(records.entries[0]));
        for (number, chunk) in records.chunks.iter().enumerate() {
            assert_eq!(index.find_chunk(&chunk.digest), Some((number as u64, *chunk)));
        }
        assert_eq!(index.find_blob(&records.blobs[0].digest), Some((0, records.blobs[0])));
        assert_eq!(index.blob_chunk(1), Ok(4));
        assert_eq!(index.segment(0), Ok(records.segments[0]));
        assert!(index.segment(1).is_err() && index.blob_chunk(2).is_err());
        assert!(index.entry(1).is_err() && index.chunk(3000).is_err() && index.blob(1).is_err());
        assert_eq!(index.find_chunk(&Digest::of(b"?")), None);
        assert_eq!(index.find_blob(&Digest::of(b"?")), None);
        assert!(index.fault().is_none());
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
