//! How much of a writer's memory what it knows of chunks, blobs and segments may take.

use super::digests::Room;

/// Bounds in bytes. What is beyond them goes to files without a name.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// What is known of chunks.
    pub(super) chunks: Room,
    /// What is known of blobs of many chunks.
    pub(super) blobs: Room,
    /// What is known of segments.
    pub(super) segments: Room,
    /// Lists that are only added to: the chunks of blobs, entries, the segments of tables.
    pub(super) list: usize,
    /// The blobs that need not be cut again.
    pub(super) known: usize,
    /// Sorting, when nothing is on its way any more.
    pub(super) sorting: usize,
}

impl Bounds {
    /// The shares of so much memory: at most 26 of 32 parts, and only as far as there is so much to be
    /// known. What is taken is not there for objects on their way.
    pub(super) fn of(memory: usize) -> Self {
        let part = memory / 32;
        Self {
            chunks: Room { records: 4 * part, filters: 16 * part },
            blobs: Room { records: part, filters: part },
            segments: Room { records: part / 2, filters: part / 2 },
            list: part / 2,
            known: part,
            sorting: 8 * part,
        }
    }

    /// So little that what is known goes to files all the time.
    #[cfg(test)]
    pub(super) fn cramped() -> Self {
        let room = |records| Room { records, filters: 8192 };
        let (chunks, blobs, segments) = (room(1000), room(200), room(1));
        Self { chunks, blobs, segments, list: 100, known: 500, sorting: 300 }
    }
}
