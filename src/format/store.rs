//! The blobs of an archive that is being written: each chunk once, in packs, found by digest.

use std::io::{self, Write};
use std::sync::Arc;

use super::base::{OnBase, Taken};
use super::batch::{KnownBlobs, NewBlob};
use super::bounds::Bounds;
use super::digest::Digest;
use super::digests::{Digests, Sorted};
use super::index::{ChunkRecord, together};
use super::limits::{SEGMENT_BLOB_CHUNKS, SEGMENT_BLOBS};
use super::object::{self, BlobList, Chunk, Contents};
use super::output::{Home, Queue};
use super::rows::BlobRef;
use super::ustar::EntryKind;
use super::writer::WriteError;
use crate::io::{Scratch, Spool};

/// A pack is closed when the next chunk would take it past this.
const PACK_RAW: usize = 4 << 20;
const PACK_CHUNKS: usize = 16 << 10;
const PACK_LEVEL: i32 = 3;

/// Bytes of what is known of a chunk.
pub(super) const CHUNK: usize = 45;
/// Bytes of what is known of a blob.
pub(super) const BLOB: usize = 52;
/// Where the number of a pack goes in what is known of a chunk, and what stands there until the pack
/// has one.
const HOME: usize = 40;
const OPEN: [u8; 5] = [0xFF; 5];

/// What is known of a chunk.
#[derive(Clone, Copy, Debug)]
pub(super) struct StoredChunk {
    pub(super) digest: Digest,
    pub(super) offset: u32,
    pub(super) length: u32,
    /// None as long as its pack is open.
    pub(super) home: Option<Home>,
}

impl StoredChunk {
    fn encode(&self) -> [u8; CHUNK] {
        let words = [self.offset, self.length].map(u32::to_le_bytes);
        let home = self.home.map_or(OPEN, Home::encode);
        together(&[&self.digest.0, words.as_flattened(), &home])
    }

    pub(super) fn decode(bytes: &[u8; CHUNK]) -> Option<Self> {
        let (digest, rest) = bytes.split_first_chunk::<32>()?;
        let (offset, rest) = rest.split_first_chunk()?;
        let (length, home) = rest.split_first_chunk()?;
        let (offset, length) = (u32::from_le_bytes(*offset), u32::from_le_bytes(*length));
        Some(Self { digest: Digest(*digest), offset, length, home: Home::decode(home) })
    }
}

/// What is known of a blob of many chunks.
#[derive(Clone, Copy, Debug)]
pub(super) struct StoredBlob {
    pub(super) digest: Digest,
    pub(super) length: u64,
    /// Where its chunks are in the list of all.
    pub(super) first: u64,
    pub(super) count: u32,
}

impl StoredBlob {
    fn encode(&self) -> [u8; BLOB] {
        let words = [self.length, self.first].map(u64::to_le_bytes);
        together(&[&self.digest.0, words.as_flattened(), &self.count.to_le_bytes()])
    }

    pub(super) fn decode(bytes: &[u8; BLOB]) -> Option<Self> {
        let (digest, rest) = bytes.split_first_chunk::<32>()?;
        let (length, rest) = rest.split_first_chunk()?;
        let (first, rest) = rest.split_first_chunk()?;
        let count = u32::from_le_bytes(*rest.first_chunk()?);
        let (length, first) = (u64::from_le_bytes(*length), u64::from_le_bytes(*first));
        Some(Self { digest: Digest(*digest), length, first, count })
    }
}

#[derive(Default)]
struct PackBuilder {
    raw: Vec<u8>,
    chunks: Vec<Chunk>,
    /// Where each is in what is known.
    places: Vec<u32>,
}

/// What is stored of blobs.
pub(super) struct Store {
    known: KnownBlobs,
    base: Option<Arc<OnBase>>,
    taken: Taken,
    chunks: Digests<CHUNK>,
    chunk_bytes: u64,
    blobs: Digests<BLOB>,
    /// The digests of the chunks of each blob, one blob after the other.
    lists: Spool<32>,
    /// Chunks that compression does not make smaller, and those it does.
    packs: [PackBuilder; 2],
}

/// All that is stored of blobs, in the order of digests.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) chunks: Sorted<CHUNK>,
    pub(super) chunk_bytes: u64,
    pub(super) blobs: Sorted<BLOB>,
    /// The digests of the chunks of each blob, where the blob says.
    pub(super) lists: Spool<32>,
}

fn count(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

fn scratch(error: io::Error) -> WriteError {
    WriteError::Scratch(error)
}

impl Store {
    /// One that takes what it can from a base.
    pub(super) fn on(
        base: Option<Arc<OnBase>>,
        taken: Taken,
        bounds: &Bounds,
        scratch: &Scratch,
    ) -> Self {
        Self {
            known: KnownBlobs::on(base.clone(), bounds.known),
            base,
            taken,
            chunks: Digests::new(bounds.chunks, scratch.clone()),
            chunk_bytes: 0,
            blobs: Digests::new(bounds.blobs, scratch.clone()),
            lists: Spool::new(bounds.list, scratch.clone()),
            packs: Default::default(),
        }
    }

    /// What the makers of batches need not cut again.
    pub(super) fn known(&self) -> KnownBlobs {
        self.known.clone()
    }

    /// Bytes of memory that it takes for what it knows; what is in open packs aside.
    pub(super) fn held(&self) -> usize {
        let known = self.known.held();
        self.chunks.held() + self.blobs.held() + self.lists.held() + known
    }

    pub(super) fn has_chunk(&self, digest: &Digest) -> Result<bool, WriteError> {
        Ok(self.chunks.find(digest)?.is_some())
    }

    pub(super) fn find_blob(&self, digest: &Digest) -> Result<Option<StoredBlob>, WriteError> {
        Ok(self.blobs.find(digest)?.as_ref().and_then(StoredBlob::decode))
    }

    /// What a segment's head says of these blobs of many chunks.
    pub(super) fn lists(&self, mut blobs: Vec<StoredBlob>) -> Result<Vec<BlobList>, WriteError> {
        blobs.sort_unstable_by_key(|blob| blob.digest);
        blobs.dedup_by_key(|blob| blob.digest);
        let chunks: u64 = blobs.iter().map(|blob| u64::from(blob.count)).sum();
        if count(blobs.len()) > u64::from(SEGMENT_BLOBS) || chunks > u64::from(SEGMENT_BLOB_CHUNKS)
        {
            return Err(WriteError::TooMany("chunks of the blobs of one segment"));
        }
        let mut lists = Vec::with_capacity(blobs.len());
        let mut digests = Vec::new();
        for blob in blobs {
            digests.clear();
            let many = usize::try_from(blob.count).unwrap_or(usize::MAX);
            self.lists.read(blob.first, many, &mut digests).map_err(scratch)?;
            let chunks = digests.iter().copied().map(Digest).collect();
            lists.push(BlobList { digest: blob.digest, length: blob.length, chunks });
        }
        Ok(lists)
    }

    /// Stores a blob that a batch brings, unless it is there. What is known of it, if it has many
    /// chunks.
    pub(super) fn take_blob<W: Write + Send + 'static>(
        &mut self,
        queue: &mut Queue<W>,
        new: &NewBlob,
        data: &[u8],
    ) -> Result<Option<StoredBlob>, WriteError> {
        if let Some(blob) = self.find_blob(&new.blob.digest)? {
            return Ok(Some(blob));
        }
        if self.has_chunk(&new.blob.digest)? {
            return Ok(None);
        }
        // As the base has it, even if it was cut anew: which of the two happens is a matter of time.
        if let Some(chunks) = self.base.as_ref().and_then(|base| base.blob(&new.blob)) {
            for chunk in &chunks {
                if !self.has_chunk(&chunk.digest)? {
                    self.take_chunk(chunk)?;
                }
            }
            let digests: Vec<_> = chunks.iter().map(|chunk| chunk.digest).collect();
            return self.keep_new_blob(new.blob, &digests);
        }
        if new.chunks.is_empty() {
            return Err(WriteError::Internal("a blob was taken for known and is not"));
        }
        for chunk in &new.chunks {
            let bytes = data.get(chunk.bytes.clone()).unwrap_or_default();
            self.chunk(queue, chunk.digest, bytes, chunk.incompressible)?;
        }
        let digests: Vec<_> = new.chunks.iter().map(|chunk| chunk.digest).collect();
        self.keep_new_blob(new.blob, &digests)
    }

    /// Keeps the chunks of a blob that came in pieces, unless they are known.
    pub(super) fn keep_blob(&mut self, blob: BlobRef, chunks: &[Digest]) -> Result<(), WriteError> {
        if chunks.len() > 1 && self.find_blob(&blob.digest)?.is_none() {
            self.keep_new_blob(blob, chunks)?;
        }
        Ok(())
    }

    fn keep_new_blob(
        &mut self,
        blob: BlobRef,
        chunks: &[Digest],
    ) -> Result<Option<StoredBlob>, WriteError> {
        if chunks.len() < 2 {
            return Ok(None);
        }
        let BlobRef { digest, length } = blob;
        let many = u32::try_from(chunks.len());
        let many = many.map_err(|_| WriteError::TooMany("chunks of a blob"))?;
        let stored = StoredBlob { digest, length, first: self.lists.len(), count: many };
        chunks.iter().try_for_each(|chunk| self.lists.push(chunk.0)).map_err(scratch)?;
        if self.blobs.is_full() {
            self.blobs.make_room(|_| false)?;
        }
        self.blobs.add(stored.encode())?;
        self.known.insert(digest);
        Ok(Some(stored))
    }

    /// Stores a chunk unless it is there.
    pub(super) fn chunk<W: Write + Send + 'static>(
        &mut self,
        queue: &mut Queue<W>,
        digest: Digest,
        bytes: &[u8],
        incompressible: bool,
    ) -> Result<(), WriteError> {
        if self.has_chunk(&digest)? {
            return Ok(());
        }
        let held = self.base.as_ref().and_then(|base| base.chunk(&digest, count(bytes.len())));
        if let Some(chunk) = held {
            return self.take_chunk(&chunk);
        }
        let which = usize::from(!incompressible);
        let full = self.packs.get(which).is_some_and(|pack| {
            !pack.chunks.is_empty()
                && (pack.raw.len() + bytes.len() > PACK_RAW || pack.chunks.len() == PACK_CHUNKS)
        });
        if full {
            self.end_pack(queue, which)?;
        }
        let narrow = |n: usize| u32::try_from(n).map_err(|_| WriteError::TooMany("bytes"));
        let raw = self.packs.get(which).map_or(0, |pack| pack.raw.len());
        let (offset, length) = (narrow(raw)?, narrow(bytes.len())?);
        let place = self.add(StoredChunk { digest, offset, length, home: None })?;
        let pack = self.packs.get_mut(which).ok_or(WriteError::Internal("no such pack"))?;
        if pack.raw.is_empty() {
            pack.raw.reserve(PACK_RAW.max(bytes.len()));
        }
        pack.raw.extend_from_slice(bytes);
        pack.chunks.push(Chunk { digest, length });
        pack.places.push(place);
        Ok(())
    }

    /// A chunk that a pack of the base has.
    fn take_chunk(&mut self, chunk: &ChunkRecord) -> Result<(), WriteError> {
        let ChunkRecord { digest, entry, offset, length } = *chunk;
        self.taken.take(entry);
        self.add(StoredChunk { digest, offset, length, home: Some(Home::Taken(entry)) })?;
        Ok(())
    }

    fn add(&mut self, chunk: StoredChunk) -> Result<u32, WriteError> {
        if self.chunks.len() >= u64::from(u32::MAX) {
            return Err(WriteError::TooMany("chunks"));
        }
        if self.chunks.is_full() {
            // Where an open pack is, is not known yet.
            let stayed = self.chunks.make_room(|chunk| chunk.ends_with(&OPEN))?;
            for place in self.packs.iter_mut().flat_map(|pack| &mut pack.places) {
                let now = stayed.binary_search(place).ok().and_then(|at| u32::try_from(at).ok());
                *place = now.ok_or(WriteError::Internal("a chunk of an open pack is gone"))?;
            }
        }
        self.chunk_bytes = self.chunk_bytes.saturating_add(chunk.length.into());
        self.chunks.add(chunk.encode())
    }

    fn end_pack<W: Write + Send + 'static>(
        &mut self,
        queue: &mut Queue<W>,
        which: usize,
    ) -> Result<(), WriteError> {
        let Some(pack) = self.packs.get_mut(which).map(std::mem::take) else { return Ok(()) };
        if pack.chunks.is_empty() {
            return Ok(());
        }
        let PackBuilder { raw, chunks, places } = pack;
        let level = (which == 1).then_some(PACK_LEVEL);
        let object = queue.object(EntryKind::Pack, raw.len(), move || {
            let (label, blobs) = (Vec::new(), Vec::new());
            let contents = Contents { kind: EntryKind::Pack, chunks, rows: 0, label, blobs };
            object::encode(contents, raw, level)
        })?;
        let home = Home::Object(object).encode();
        for place in places {
            let known = self.chunks.at_mut(place).and_then(|chunk| chunk.get_mut(HOME..));
            let known = known.filter(|known| *known == OPEN);
            known.ok_or(WriteError::Internal("a chunk of a pack is gone"))?.copy_from_slice(&home);
        }
        Ok(())
    }

    /// Writes the packs that are still open.
    pub(super) fn end<W: Write + Send + 'static>(
        &mut self,
        queue: &mut Queue<W>,
    ) -> Result<(), WriteError> {
        self.end_pack(queue, 0)?;
        self.end_pack(queue, 1)
    }

    /// What the index is to say of them.
    pub(super) fn finish(self) -> Result<Stored, WriteError> {
        Ok(Stored {
            chunks: self.chunks.finish()?,
            chunk_bytes: self.chunk_bytes,
            blobs: self.blobs.finish()?,
            lists: self.lists,
        })
    }
}
