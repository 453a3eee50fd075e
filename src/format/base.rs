//! What a writer takes from another archive instead of storing it again.

use std::sync::{Arc, Mutex, PoisonError};

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
        let mut last = None;
        for number in 0..manifest.index.entries {
            let entry = archive.index().entry(number)?;
            // What is taken is listed in the order of the base's index: that of bases and places.
            if last.is_some_and(|last| last >= entry.offset) {
                return Err(super::index::IndexError::Record { section: "entries", number }.into());
            }
            last = Some(entry.offset);
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

    /// An object of the base, by its number there, as an archive on it has it.
    pub(super) fn entry(&self, number: u32) -> Option<EntryRecord> {
        let mut entry = self.archive.index().entry(number.into()).ok()?;
        let base = entry.base() + 1;
        entry.offset = entry.offset_in_file();
        entry.in_base(base)
    }

    fn is(&self, number: u32, kind: EntryKind) -> bool {
        self.entry(number).is_some_and(|entry| entry.kind == kind)
    }

    /// The chunk of this digest and length, where a pack of the base has it.
    pub fn chunk(&self, digest: &Digest, length: u64) -> Option<ChunkRecord> {
        let (_, chunk) = self.archive.index().find_chunk(digest)?;
        let same = u64::from(chunk.length) == length;
        (same && self.is(chunk.entry, EntryKind::Pack)).then_some(chunk)
    }

    /// The chunks of a blob that has more than one.
    pub fn blob(&self, blob: &BlobRef) -> Option<Vec<ChunkRecord>> {
        let index = self.archive.index();
        let (_, record) = index.find_blob(&blob.digest)?;
        let chunk = |place: u64| {
            let number = index.blob_chunk(record.first.checked_add(place)?).ok()?;
            let chunk = index.chunk(number).ok()?;
            self.is(chunk.entry, EntryKind::Pack).then_some(chunk)
        };
        if record.length != blob.length {
            return None;
        }
        (0..u64::from(record.count)).map(chunk).collect()
    }

    /// The number of the segment of this name.
    pub fn segment(&self, digest: &Digest) -> Option<u32> {
        let prefix = prefix(digest);
        let first = self.segments.partition_point(|(other, _)| *other < prefix);
        let alike = self.segments.get(first..)?.iter().take_while(|(other, _)| *other == prefix);
        let same = |number: &u32| {
            let entry = self.entry(*number);
            entry.is_some_and(|e| e.kind == EntryKind::Segment && e.digest == *digest)
        };
        alike.map(|(_, number)| *number).find(same)
    }
}

/// Which objects of the base were taken: a bit for each entry of its index.
#[derive(Clone, Default, Debug)]
pub(super) struct Taken(Arc<Mutex<Vec<u64>>>);

impl Taken {
    /// Takes the object of this number.
    pub(super) fn take(&self, number: u32) {
        let mut words = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = usize::try_from(number / 64).unwrap_or(usize::MAX);
        if words.len() <= at {
            words.resize(at.saturating_add(1), 0);
        }
        if let Some(word) = words.get_mut(at) {
            *word |= 1 << (number % 64);
        }
    }

    /// What was taken so far.
    pub(super) fn all(&self) -> TakenAll {
        let words = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut before = Vec::with_capacity(words.len());
        let mut count = 0;
        for word in &words {
            before.push(count);
            count += word.count_ones();
        }
        TakenAll { words, before, count }
    }
}

/// All that was taken, in the order of the base's index.
#[derive(Debug)]
pub(super) struct TakenAll {
    words: Vec<u64>,
    /// How many were taken in front of each word.
    before: Vec<u32>,
    pub(super) count: u32,
}

impl TakenAll {
    /// How many were taken in front of the object of this number, if that was taken.
    pub(super) fn place(&self, number: u32) -> Option<u32> {
        let at = usize::try_from(number / 64).ok()?;
        let (word, bit) = (*self.words.get(at)?, 1_u64 << (number % 64));
        let before = (word & (bit - 1)).count_ones();
        (word & bit != 0).then_some(self.before.get(at)? + before)
    }

    /// The numbers of all.
    pub(super) fn numbers(&self) -> impl Iterator<Item = u32> {
        let bits = |(at, word): (u32, &u64)| {
            let word = *word;
            (0..64).filter(move |bit| word >> bit & 1 != 0).map(move |bit| 64 * at + bit)
        };
        (0..).zip(&self.words).flat_map(bits)
    }
}

#[cfg(test)]
mod tests {
    //! An object of a base that is listed at another place would be another object.
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_taken_is_counted(mut numbers in prop::collection::vec(0_u32..1000, 0..200)) {
            let taken = Taken::default();
            for number in &numbers {
                taken.take(*number);
            }
            numbers.sort_unstable();
            numbers.dedup();
            let all = taken.all();
            prop_assert_eq!(all.count as usize, numbers.len());
            prop_assert_eq!(all.numbers().collect::<Vec<_>>(), numbers.clone());
            for number in 0..1100 {
                let place = numbers.binary_search(&number).ok().map(|at| u32::try_from(at).unwrap());
                prop_assert_eq!(all.place(number), place);
            }
        }
    }
}
