//! The blobs of an archive that is being written: each chunk once, in packs, found by digest.

use std::io::Write;
use std::sync::Arc;

use hashbrown::HashTable;

use super::base::OnBase;
use super::batch::{KnownBlobs, NewBlob};
use super::digest::Digest;
use super::index::{BlobRecord, ChunkRecord, EntryRecord};
use super::limits::{SEGMENT_BLOB_CHUNKS, SEGMENT_BLOBS};
use super::object::{self, BlobList, Chunk, Contents};
use super::output::{Home, Queue, Taken};
use super::rows::BlobRef;
use super::ustar::EntryKind;
use super::writer::WriteError;

/// A pack is closed when the next chunk would take it past this.
const PACK_RAW: usize = 4 << 20;
const PACK_CHUNKS: usize = 16 << 10;
const PACK_LEVEL: i32 = 3;

struct ChunkInfo {
    digest: Digest,
    home: Home,
    offset: u32,
    length: u32,
}

#[derive(Default)]
struct PackBuilder {
    raw: Vec<u8>,
    ids: Vec<u32>,
}

struct BlobInfo {
    digest: Digest,
    length: u64,
    ids: Vec<u32>,
}

/// What is stored of blobs.
#[derive(Default)]
pub(super) struct Store {
    known: KnownBlobs,
    base: Option<Arc<OnBase>>,
    taken: Taken,
    chunks: Vec<ChunkInfo>,
    /// Positions in `chunks`, by digest.
    ids: HashTable<u32>,
    blobs: Vec<BlobInfo>,
    blob_places: HashTable<usize>,
    /// Chunks that compression does not make smaller, and those it does.
    packs: [PackBuilder; 2],
}

/// The records of the index for chunks and for blobs of many chunks, and the chunks of these.
type OfBlobs = (Vec<ChunkRecord>, Vec<BlobRecord>, Vec<u32>);

fn hash(digest: &Digest) -> u64 {
    digest.0.first_chunk().map_or(0, |head| u64::from_le_bytes(*head))
}

fn count(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

impl Store {
    /// One that takes what it can from a base.
    pub(super) fn on(base: Option<Arc<OnBase>>, taken: Taken) -> Self {
        Self { known: KnownBlobs::on(base.clone()), base, taken, ..Self::default() }
    }

    /// What the makers of batches need not cut again.
    pub(super) fn known(&self) -> KnownBlobs {
        self.known.clone()
    }

    pub(super) fn find_chunk(&self, digest: &Digest) -> Option<u32> {
        let same = |id: &u32| self.info(*id).is_some_and(|info| info.digest == *digest);
        self.ids.find(hash(digest), same).copied()
    }

    fn info(&self, id: u32) -> Option<&ChunkInfo> {
        usize::try_from(id).ok().and_then(|id| self.chunks.get(id))
    }

    pub(super) fn find_blob(&self, digest: &Digest) -> Option<usize> {
        let same = |at: &usize| self.blobs.get(*at).is_some_and(|blob| blob.digest == *digest);
        self.blob_places.find(hash(digest), same).copied()
    }

    /// What a segment's head says of these blobs of many chunks.
    pub(super) fn lists(&self, mut places: Vec<usize>) -> Result<Vec<BlobList>, WriteError> {
        let digest = |place: &usize| self.blobs.get(*place).map(|blob| blob.digest);
        places.sort_unstable_by_key(digest);
        places.dedup();
        let mut chunks = 0;
        let list = |blob: &BlobInfo| {
            chunks += blob.ids.len();
            let ids = blob.ids.iter().filter_map(|id| self.info(*id));
            let chunks = ids.map(|info| info.digest).collect();
            BlobList { digest: blob.digest, length: blob.length, chunks }
        };
        let lists: Vec<_> = places.iter().filter_map(|at| self.blobs.get(*at)).map(list).collect();
        if count(lists.len()) > u64::from(SEGMENT_BLOBS)
            || count(chunks) > u64::from(SEGMENT_BLOB_CHUNKS)
        {
            return Err(WriteError::TooMany("chunks of the blobs of one segment"));
        }
        Ok(lists)
    }

    /// Stores a blob that a batch brings, unless it is there.
    pub(super) fn take_blob<W: Write + Send + 'static>(
        &mut self,
        queue: &mut Queue<W>,
        new: &NewBlob,
        data: &[u8],
    ) -> Result<(), WriteError> {
        if self.find_blob(&new.blob.digest).is_some() || self.find_chunk(&new.blob.digest).is_some()
        {
            return Ok(());
        }
        // As the base has it, even if it was cut anew: which of the two happens is a matter of time.
        if let Some(chunks) = self.base.as_ref().and_then(|base| base.blob(&new.blob)) {
            let mut ids = Vec::with_capacity(chunks.len());
            for (pack, chunk) in chunks {
                ids.push(match self.find_chunk(&chunk.digest) {
                    Some(id) => id,
                    None => self.take_chunk(pack, &chunk)?,
                });
            }
            self.keep_blob(new.blob, ids);
            return Ok(());
        }
        if new.chunks.is_empty() {
            return Err(WriteError::Internal("a blob was taken for known and is not"));
        }
        let mut ids = Vec::with_capacity(new.chunks.len());
        for chunk in &new.chunks {
            let bytes = data.get(chunk.bytes.clone()).unwrap_or_default();
            ids.push(self.chunk(queue, chunk.digest, bytes, chunk.incompressible)?);
        }
        self.keep_blob(new.blob, ids);
        Ok(())
    }

    pub(super) fn keep_blob(&mut self, blob: BlobRef, ids: Vec<u32>) {
        if ids.len() > 1 && self.find_blob(&blob.digest).is_none() {
            let BlobRef { digest, length } = blob;
            let at = self.blobs.len();
            self.blobs.push(BlobInfo { digest, length, ids });
            let blobs = &self.blobs;
            let rehash = |at: &usize| blobs.get(*at).map_or(0, |blob| hash(&blob.digest));
            self.blob_places.insert_unique(hash(&digest), at, rehash);
            self.known.insert(digest);
        }
    }

    /// Stores a chunk unless it is there; its id.
    pub(super) fn chunk<W: Write + Send + 'static>(
        &mut self,
        queue: &mut Queue<W>,
        digest: Digest,
        bytes: &[u8],
        incompressible: bool,
    ) -> Result<u32, WriteError> {
        if let Some(id) = self.find_chunk(&digest) {
            return Ok(id);
        }
        let held = self.base.as_ref().and_then(|base| base.chunk(&digest, count(bytes.len())));
        if let Some((pack, chunk)) = held {
            return self.take_chunk(pack, &chunk);
        }
        let which = usize::from(!incompressible);
        let full = self.packs.get(which).is_some_and(|pack| {
            !pack.ids.is_empty()
                && (pack.raw.len() + bytes.len() > PACK_RAW || pack.ids.len() == PACK_CHUNKS)
        });
        if full {
            self.end_pack(queue, which)?;
        }
        let pack = self.packs.get_mut(which).ok_or(WriteError::Internal("no such pack"))?;
        let narrow = |n: usize| u32::try_from(n).map_err(|_| WriteError::TooMany("bytes"));
        let (offset, length) = (narrow(pack.raw.len())?, narrow(bytes.len())?);
        if pack.raw.is_empty() {
            pack.raw.reserve(PACK_RAW.max(bytes.len()));
        }
        let id = u32::try_from(self.chunks.len()).map_err(|_| WriteError::TooMany("chunks"))?;
        pack.raw.extend_from_slice(bytes);
        pack.ids.push(id);
        self.add(ChunkInfo { digest, home: Home::Object(0), offset, length })
    }

    /// A chunk that a pack of the base has.
    fn take_chunk(&mut self, pack: EntryRecord, chunk: &ChunkRecord) -> Result<u32, WriteError> {
        let home = Home::Taken(self.taken.take(pack)?);
        let ChunkRecord { digest, offset, length, .. } = *chunk;
        self.add(ChunkInfo { digest, home, offset, length })
    }

    fn add(&mut self, chunk: ChunkInfo) -> Result<u32, WriteError> {
        let id = u32::try_from(self.chunks.len())
            .ok()
            .filter(|id| *id < u32::MAX)
            .ok_or(WriteError::TooMany("chunks"))?;
        let digest = chunk.digest;
        self.chunks.push(chunk);
        let chunks = &self.chunks;
        let rehash = |id: &u32| {
            let info = usize::try_from(*id).ok().and_then(|id| chunks.get(id));
            info.map_or(0, |info| hash(&info.digest))
        };
        self.ids.insert_unique(hash(&digest), id, rehash);
        Ok(id)
    }

    fn end_pack<W: Write + Send + 'static>(
        &mut self,
        queue: &mut Queue<W>,
        which: usize,
    ) -> Result<(), WriteError> {
        let Some(pack) = self.packs.get_mut(which).map(std::mem::take) else { return Ok(()) };
        if pack.ids.is_empty() {
            return Ok(());
        }
        let PackBuilder { raw, ids } = pack;
        let info = |id: &u32| usize::try_from(*id).ok().and_then(|id| self.chunks.get(id));
        let chunks = ids
            .iter()
            .filter_map(info)
            .map(|info| Chunk { digest: info.digest, length: info.length })
            .collect();
        let level = (which == 1).then_some(PACK_LEVEL);
        let object = queue.object(EntryKind::Pack, raw.len(), move || {
            let (label, blobs) = (Vec::new(), Vec::new());
            let contents = Contents { kind: EntryKind::Pack, chunks, rows: 0, label, blobs };
            object::encode(contents, raw, level)
        })?;
        for id in ids {
            if let Some(info) = usize::try_from(id).ok().and_then(|id| self.chunks.get_mut(id)) {
                info.home = Home::Object(object);
            }
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

    /// What the index says of them; `entry` gives the entry that an object has become.
    pub(super) fn records(
        mut self,
        entry: &dyn Fn(Home) -> Result<u32, WriteError>,
    ) -> Result<OfBlobs, WriteError> {
        let mut order: Vec<u32> = (0..u32::try_from(self.chunks.len()).unwrap_or(0)).collect();
        let at = |id: u32| usize::try_from(id).ok().and_then(|id| self.chunks.get(id));
        order.sort_unstable_by_key(|id| at(*id).map(|info| info.digest));
        let mut place = vec![0_u32; order.len()];
        let mut chunks = Vec::with_capacity(order.len());
        for (position, id) in (0_u32..).zip(&order) {
            let info = at(*id).ok_or(WriteError::Internal("a chunk is missing"))?;
            if let Some(place) = usize::try_from(*id).ok().and_then(|id| place.get_mut(id)) {
                *place = position;
            }
            chunks.push(ChunkRecord {
                digest: info.digest,
                entry: entry(info.home)?,
                offset: info.offset,
                length: info.length,
            });
        }
        self.blobs.sort_unstable_by_key(|blob| blob.digest);
        let mut blobs = Vec::with_capacity(self.blobs.len());
        let mut blob_chunks = Vec::new();
        for blob in &self.blobs {
            blobs.push(BlobRecord {
                digest: blob.digest,
                length: blob.length,
                first: count(blob_chunks.len()),
                count: u32::try_from(blob.ids.len())
                    .map_err(|_| WriteError::TooMany("chunks of a blob"))?,
            });
            let ids = blob.ids.iter().filter_map(|id| usize::try_from(*id).ok());
            blob_chunks.extend(ids.filter_map(|id| place.get(id)));
        }
        Ok((chunks, blobs, blob_chunks))
    }
}
