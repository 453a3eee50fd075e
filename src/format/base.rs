//! What a writer takes from another archive instead of storing it again.

use super::digest::Digest;
use super::index::{ChunkRecord, EntryRecord};
use super::manifest::Base;
use super::reader::Archive;
use super::rows::BlobRef;
use super::thin::BASES;
use super::ustar::EntryKind;

/// Why nothing can be taken from an archive.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NoBase {
    /// Archives on archives on archives.
    #[error("it needs {0} archives itself: an archive on it would need more than {BASES}")]
    TooMany(usize),
    /// Its index names an entry that cannot be.
    #[error("its index is wrong: {0}")]
    Index(#[from] super::index::IndexError),
}

/// An archive that objects are taken from. Chunks and blobs are looked up in its index where that
/// is, on disk if it is long. Of its segments 16 bytes each are held: 32 MiB for a TiB of rows.
#[derive(Debug)]
pub struct OnBase {
    archive: Archive,
    bases: Vec<Base>,
    /// The first eight bytes of each segment's digest, and its entry; sorted.
    segments: Vec<(u64, u32)>,
}

fn prefix(digest: &Digest) -> u64 {
    digest.0.first_chunk().map_or(0, |head| u64::from_be_bytes(*head))
}

impl OnBase {
    /// Prepares for taking objects from `archive`, and from those that it has them from.
    ///
    /// # Errors
    /// [`NoBase`].
    pub fn new(archive: Archive) -> Result<Self, NoBase> {
        let manifest = archive.manifest();
        let first = Base {
            manifest: archive.seal().manifest.digest,
            created: manifest.created,
            length: archive.seal().total,
            objects: 0,
            bytes: 0,
        };
        let nothing = |base: &Base| Base { objects: 0, bytes: 0, ..*base };
        let bases: Vec<_> =
            std::iter::once(first).chain(manifest.bases.iter().map(nothing)).collect();
        if bases.len() > BASES {
            return Err(NoBase::TooMany(bases.len()));
        }
        let mut segments = Vec::new();
        for number in 0..manifest.index.entries {
            let entry = archive.index().entry(number)?;
            if entry.kind == EntryKind::Segment
                && let Ok(number) = u32::try_from(number)
            {
                segments.push((prefix(&entry.digest), number));
            }
        }
        segments.sort_unstable();
        Ok(Self { archive, bases, segments })
    }

    /// What is to stand in the manifest as long as nothing was taken.
    pub fn bases(&self) -> &[Base] {
        &self.bases
    }

    /// An entry of the base as an archive on it has it.
    fn entry(&self, number: u32, kind: EntryKind) -> Option<EntryRecord> {
        let mut entry = self.archive.index().entry(number.into()).ok()?;
        if entry.kind != kind {
            return None;
        }
        let base = entry.base() + 1;
        entry.offset = entry.offset_in_file();
        entry.in_base(base)
    }

    /// The pack that has a chunk of this digest and length, and the chunk in it.
    pub fn chunk(&self, digest: &Digest, length: u64) -> Option<(EntryRecord, ChunkRecord)> {
        let (_, chunk) = self.archive.index().find_chunk(digest)?;
        let same = u64::from(chunk.length) == length;
        Some((self.entry(chunk.entry, EntryKind::Pack).filter(|_| same)?, chunk))
    }

    /// The chunks of a blob that has more than one.
    pub fn blob(&self, blob: &BlobRef) -> Option<Vec<(EntryRecord, ChunkRecord)>> {
        let index = self.archive.index();
        let (_, record) = index.find_blob(&blob.digest)?;
        let chunk = |place: u64| {
            let number = index.blob_chunk(record.first.checked_add(place)?).ok()?;
            let chunk = index.chunk(number).ok()?;
            Some((self.entry(chunk.entry, EntryKind::Pack)?, chunk))
        };
        if record.length != blob.length {
            return None;
        }
        (0..u64::from(record.count)).map(chunk).collect()
    }

    /// The segment of this name.
    pub fn segment(&self, digest: &Digest) -> Option<EntryRecord> {
        let prefix = prefix(digest);
        let first = self.segments.partition_point(|(other, _)| *other < prefix);
        let alike = self.segments.get(first..)?.iter().take_while(|(other, _)| *other == prefix);
        let mut entries = alike.filter_map(|(_, number)| self.entry(*number, EntryKind::Segment));
        entries.find(|entry| entry.digest == *digest)
    }
}
