//! Writing the index from what a writer knows, none of which has to fit in memory: chunks and blobs
//! come in the order of digests, and which number a blob's chunk has is found by sorting.

use std::io::{self, Write};

use super::base::{OnBase, TakenAll};
use super::index::{BlobRecord, ChunkRecord, Counts, ENTRY, SEGMENT, SegmentRecord, together};
use super::output::Home;
use super::store::{Stored, StoredBlob, StoredChunk};
use super::writer::WriteError;
use crate::io::spill::{Merge, Sorter};
use crate::io::{Scratch, Spool};

/// Digest of a blob's chunk, and its place among the chunks of all blobs.
const WANTED: usize = 40;
/// Its place, and the number of the chunk.
const PLACED: usize = 12;

/// All that an index is written from.
pub(super) struct Listing<'a> {
    /// The archive's own entries, as the index has them.
    pub(super) entries: Spool<ENTRY>,
    /// Which entry each object became, or which of those that were taken.
    pub(super) objects: Vec<Home>,
    pub(super) base: Option<&'a OnBase>,
    pub(super) taken: TakenAll,
    pub(super) stored: Stored,
    /// Of every table: the number of the object, and its rows.
    pub(super) segments: Spool<SEGMENT>,
    pub(super) scratch: Scratch,
    /// Bytes that sorting may take.
    pub(super) memory: usize,
}

fn scratch(error: io::Error) -> WriteError {
    WriteError::Scratch(error)
}

impl Listing<'_> {
    pub(super) fn counts(&self) -> Counts {
        Counts {
            entries: self.entries.len().saturating_add(self.taken.count.into()),
            chunks: self.stored.chunks.len(),
            blobs: self.stored.blobs.len(),
            blob_chunks: self.stored.lists.len(),
            segments: self.segments.len(),
        }
    }

    /// The entry that has what has this home.
    fn entry(&self, home: Home) -> Result<u32, WriteError> {
        let nowhere = WriteError::Internal("an object without an entry");
        let home = match home {
            Home::Object(object) => {
                let entry = usize::try_from(object).ok().and_then(|at| self.objects.get(at));
                *entry.ok_or(WriteError::Internal("an object without an entry"))?
            }
            taken @ Home::Taken(_) => taken,
        };
        match home {
            // What an object has become is an entry.
            Home::Object(entry) => Ok(entry),
            Home::Taken(number) => {
                let own = u32::try_from(self.entries.len()).ok();
                let place = self.taken.place(number);
                own.zip(place).and_then(|(own, place)| own.checked_add(place)).ok_or(nowhere)
            }
        }
    }

    /// Writes the index, of the length that [`Self::counts`] says.
    pub(super) fn write(&self, out: &mut dyn Write) -> Result<(), WriteError> {
        out.write_all(&self.counts().header())?;
        self.entries.each(scratch, |entry| Ok(out.write_all(entry)?))?;
        for number in self.taken.numbers() {
            let entry = self.base.and_then(|base| base.entry(number));
            let entry = entry.ok_or(WriteError::Internal("what was taken is not in the base"))?;
            out.write_all(&entry.encode())?;
        }
        let placed = self.chunks(out)?;
        self.blobs(|blob, first| {
            let StoredBlob { digest, length, count, .. } = *blob;
            Ok(out.write_all(&BlobRecord { digest, length, first, count }.encode())?)
        })?;
        self.blob_chunks(placed, out)?;
        self.segments.each(scratch, |segment| {
            let (object, rows) = segment.split_first_chunk().unwrap_or((&[0; 4], &[]));
            let rows = rows.first_chunk().map_or(0, |rows| u32::from_le_bytes(*rows));
            let entry = self.entry(Home::Object(u32::from_le_bytes(*object)))?;
            Ok(out.write_all(&SegmentRecord { entry, rows }.encode())?)
        })
    }

    /// Gives the blobs in order, each with where its chunks begin among those of all.
    fn blobs(
        &self,
        mut take: impl FnMut(&StoredBlob, u64) -> Result<(), WriteError>,
    ) -> Result<(), WriteError> {
        let mut first = 0_u64;
        self.stored.blobs.each(|blob| {
            let blob = StoredBlob::decode(blob).ok_or(WriteError::Internal("a blob is none"))?;
            take(&blob, first)?;
            first = first.saturating_add(blob.count.into());
            Ok(())
        })
    }

    /// The chunks of all blobs, by digest.
    fn wanted(&self) -> Result<Merge<WANTED>, WriteError> {
        let mut wanted = Sorter::within(self.memory, self.scratch.clone());
        let mut digests = Vec::new();
        self.blobs(|blob, first| {
            digests.clear();
            let many = usize::try_from(blob.count).unwrap_or(usize::MAX);
            self.stored.lists.read(blob.first, many, &mut digests).map_err(scratch)?;
            for (place, digest) in (first..).zip(&digests) {
                wanted.push(together(&[digest, &place.to_be_bytes()])).map_err(scratch)?;
            }
            Ok(())
        })?;
        Merge::new(vec![wanted], self.memory).map_err(scratch)
    }

    /// Writes the chunks; what the place of each chunk of a blob is, to be sorted.
    fn chunks(&self, out: &mut dyn Write) -> Result<Sorter<PLACED>, WriteError> {
        let mut wanted = self.wanted()?;
        let mut next = wanted.next().map_err(scratch)?;
        let mut placed = Sorter::within(self.memory, self.scratch.clone());
        let mut number = 0_u32;
        self.stored.chunks.each(|chunk| {
            let chunk =
                StoredChunk::decode(chunk).ok_or(WriteError::Internal("a chunk is none"))?;
            let StoredChunk { digest, offset, length, home } = chunk;
            let home = home.ok_or(WriteError::Internal("a chunk is in no pack"))?;
            let entry = self.entry(home)?;
            out.write_all(&ChunkRecord { digest, entry, offset, length }.encode())?;
            while let Some(place) = next.as_ref().and_then(|next| next.strip_prefix(&digest.0)) {
                placed.push(together(&[place, &number.to_be_bytes()])).map_err(scratch)?;
                next = wanted.next().map_err(scratch)?;
            }
            number = number.checked_add(1).ok_or(WriteError::TooMany("chunks"))?;
            Ok(())
        })?;
        if next.is_some() {
            return Err(WriteError::Internal("a chunk of a blob is not stored"));
        }
        Ok(placed)
    }

    fn blob_chunks(&self, placed: Sorter<PLACED>, out: &mut dyn Write) -> Result<(), WriteError> {
        let mut placed = Merge::new(vec![placed], self.memory).map_err(scratch)?;
        let mut expected = 0_u64;
        while let Some(record) = placed.next().map_err(scratch)? {
            let (place, number) = record.split_first_chunk().unwrap_or((&[0; 8], &[]));
            let number = number.first_chunk().map_or(0, |number| u32::from_be_bytes(*number));
            if u64::from_be_bytes(*place) != expected {
                return Err(WriteError::Internal("a chunk of a blob has no place"));
            }
            expected += 1;
            out.write_all(&number.to_le_bytes())?;
        }
        Ok(())
    }
}
