//! Where the bytes of an archive stand in a file in which they were moved.

use std::io;

use crate::io::ReadAt;
use crate::repair::Stretch;

/// How far bytes were moved: their place in the file less that in the archive.
pub(super) type Shift = i64;

/// A run of the archive's bytes that stand in the file as they were written, moved as one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Piece {
    /// Where it begins in the archive.
    pub(super) start: u64,
    /// Where it ends there.
    pub(super) end: u64,
    /// How far it was moved.
    pub(super) shift: Shift,
}

impl Piece {
    /// Where it begins in the file.
    fn at(&self) -> Option<u64> {
        self.start.checked_add_signed(self.shift)
    }
}

/// Pieces in the order of the archive, one behind the other and disjoint.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(in crate::repair) struct Map {
    pieces: Vec<Piece>,
    /// The archive's length.
    length: u64,
    /// What was moved where, in words.
    told: Vec<Stretch>,
}

impl Map {
    /// The map of an archive of this length; what lies between `pieces` is taken to follow the one
    /// before it, as far as there is room. Of a file of `bytes` bytes. None if nothing was moved.
    pub(super) fn new(mut pieces: Vec<Piece>, length: u64, bytes: u64) -> Option<Self> {
        pieces.retain(|piece| piece.start < piece.end && piece.end <= length);
        pieces.sort_unstable_by_key(|piece| piece.start);
        let mut map = Self { pieces: Vec::new(), length, told: Vec::new() };
        // Before all of them stands nothing that was moved, unless the first begins the archive.
        let mut last = Piece { start: 0, end: 0, shift: 0 };
        for piece in pieces {
            if piece.start < last.end {
                continue;
            }
            map.between(&last, &piece);
            last = piece;
            map.push(piece);
        }
        let end = Piece { start: length, end: length, shift: last.shift };
        map.between(&last, &end);
        let end = length.saturating_add_signed(last.shift);
        if let Some(more) = bytes.checked_sub(end).filter(|more| *more > 0) {
            map.tell(length, 0, format!("{more} bytes behind the archive, left out"));
        }
        let moved = map.pieces.iter().any(|piece| piece.shift != 0);
        (moved && last.end > 0).then_some(map)
    }

    fn tell(&mut self, offset: u64, length: u64, what: String) {
        self.told.push(Stretch { offset, length, what });
    }

    /// Fills what is between two pieces, and tells of what was put in or taken out there.
    fn between(&mut self, one: &Piece, other: &Piece) {
        let gap = other.start.saturating_sub(one.end);
        let by = other.shift.saturating_sub(one.shift);
        match by {
            0 => {}
            1.. => self.tell(one.end, gap, format!("{by} bytes that were put in, taken out again")),
            _ => {
                let missing = by.unsigned_abs();
                self.tell(
                    one.end,
                    gap,
                    format!("{missing} bytes are missing, what follows is moved back"),
                );
            }
        }
        let room = i128::from(gap) + i128::from(by);
        let room = u64::try_from(room.max(0)).unwrap_or(u64::MAX).min(gap);
        self.push(Piece { start: one.end, end: one.end + room, shift: one.shift });
    }

    fn push(&mut self, piece: Piece) {
        match self.pieces.last_mut() {
            _ if piece.start == piece.end => {}
            Some(last) if last.end == piece.start && last.shift == piece.shift => {
                last.end = piece.end;
            }
            _ => self.pieces.push(piece),
        }
    }

    /// What was put in and taken out, in the order of the archive.
    pub(in crate::repair) fn told(&self) -> &[Stretch] {
        &self.told
    }
}

/// A file as it was before bytes in it were moved. What is missing reads as zero bytes.
pub(in crate::repair) struct Realigned<F> {
    file: F,
    map: Map,
}

impl<F> Realigned<F> {
    pub(in crate::repair) fn new(file: F, map: Map) -> Self {
        Self { file, map }
    }
}

impl<F: ReadAt> ReadAt for Realigned<F> {
    fn len(&self) -> u64 {
        self.map.length
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let length = u64::try_from(buf.len()).unwrap_or(u64::MAX);
        let end = offset.checked_add(length).filter(|end| *end <= self.map.length);
        let end = end.ok_or(io::ErrorKind::UnexpectedEof)?;
        buf.fill(0);
        let first = self.map.pieces.partition_point(|piece| piece.end <= offset);
        let pieces = self.map.pieces.get(first..).unwrap_or_default();
        for piece in pieces.iter().take_while(|piece| piece.start < end) {
            let (from, to) = (piece.start.max(offset), piece.end.min(end));
            let Some(at) = piece.at() else { continue };
            let at = at + (from - piece.start);
            // The file may end before the archive does.
            let to = to.min(from.saturating_add(self.file.len().saturating_sub(at)));
            if to <= from {
                continue;
            }
            let wide = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
            if let Some(part) = buf.get_mut(wide(from - offset)..wide(to - offset)) {
                self.file.read_exact_at(part, at)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(map: &Map, file: &[u8]) -> Vec<u8> {
        let view = Realigned::new(file.to_vec(), map.clone());
        let mut all = vec![0; usize::try_from(view.len()).unwrap()];
        view.read_exact_at(&mut all, 0).unwrap();
        // However it is read, it is the same.
        for step in [1, 3, 7] {
            let mut parts = Vec::new();
            for at in (0..all.len()).step_by(step) {
                let mut part = vec![0; step.min(all.len() - at)];
                view.read_exact_at(&mut part, at as u64).unwrap();
                parts.extend(part);
            }
            assert_eq!(parts, all, "{step} at a time");
        }
        assert!(view.read_exact_at(&mut [0; 2], view.len() - 1).is_err());
        all
    }

    fn piece(start: u64, end: u64, shift: Shift) -> Piece {
        Piece { start, end, shift }
    }

    #[test]
    fn what_is_between_follows_what_is_before_it() {
        let original = b"0123456789abcdefghij";
        // Two bytes put in behind the 5, of which nothing but the ends is known.
        let file = b"012345##6789abcdefghij";
        let map = Map::new(vec![piece(0, 4, 0), piece(8, 20, 2)], 20, 22).unwrap();
        assert_eq!(read(&map, file), b"012345##89abcdefghij");
        assert_eq!((map.told().len(), map.told()[0].offset, map.told()[0].length), (1, 4, 4));
        // Three missing.
        let file = b"012345" as &[u8];
        let file = [file, b"9abcdefghij"].concat();
        let map = Map::new(vec![piece(12, 20, -3), piece(0, 4, 0)], 20, 17).unwrap();
        assert_eq!(read(&map, &file), b"0123459ab\0\0\0cdefghij");
        assert!(map.told()[0].what.contains("3 bytes are missing"));
        // Put in before the beginning, and left over at the end.
        let file = [b"###" as &[u8], original, b"++"].concat();
        let map = Map::new(vec![piece(0, 20, 3)], 20, 25).unwrap();
        assert_eq!(read(&map, &file), original);
        assert_eq!(map.told().len(), 2);
        // Where the file ends early.
        let map = Map::new(vec![piece(0, 10, 3)], 20, 15).unwrap();
        assert_eq!(read(&map, &file[..15]), b"0123456789ab\0\0\0\0\0\0\0\0");
    }

    #[test]
    fn where_nothing_was_moved_there_is_no_map() {
        assert_eq!(Map::new(vec![piece(0, 4, 0), piece(9, 12, 0)], 12, 12), None);
        assert_eq!(Map::new(Vec::new(), 12, 12), None);
    }
}
