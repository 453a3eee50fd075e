//! Files that were sent as text: what such a transfer does to the ends of lines is seen in the marks
//! that this format has for that, and one kind of it can be undone.

use std::io;

use memchr::{memchr_iter, memmem};

use crate::format::line_ends::{self, Change};
use crate::io::ReadAt;
use crate::progress::Progress;
use crate::repair::RepairError;
use crate::repair::scan::{READ, SECTOR, read};

/// Of how many bytes of the original the place in the file is kept.
const EVERY: u64 = 64 << 10;

/// What was done to the ends of lines.
#[derive(Debug)]
pub(in crate::repair) enum Text {
    /// Nothing that is seen.
    No,
    /// A carriage return before each line feed of the file: it can be undone.
    Undo(Lines),
    /// This, and it cannot.
    Lost(Change),
}

/// Where each of so many bytes of the original stands in a file in which every line feed got a carriage
/// return.
#[derive(Debug)]
pub(in crate::repair) struct Lines {
    places: Vec<u64>,
    length: u64,
    /// Carriage returns that were put in.
    pub(in crate::repair) added: u64,
}

/// Looks at the whole file. Memory: 8 bytes for each 64 KiB.
pub(in crate::repair) fn text(
    file: &dyn ReadAt,
    progress: &dyn Progress,
) -> Result<Text, RepairError> {
    let finder = memmem::Finder::new(line_ends::MARK);
    let mut seen = None;
    let mut lines = Lines { places: Vec::new(), length: 0, added: 0 };
    let (mut at, mut bare, mut last) = (0, false, 0);
    while at < file.len() {
        if progress.interrupted() {
            return Err(RepairError::Interrupted);
        }
        let length = READ.min(file.len() - at);
        let bytes = read(file, at, (length + 32).min(file.len() - at), SECTOR).bytes;
        for within in finder.find_iter(&bytes) {
            let change = bytes.get(within..).and_then(Change::of);
            seen = seen.into_iter().chain(change).min();
        }
        let bytes = bytes.get(..usize::try_from(length).unwrap_or(0)).unwrap_or_default();
        for within in memchr_iter(b'\n', bytes) {
            let before = within.checked_sub(1).map_or(Some(&last), |before| bytes.get(before));
            if before == Some(&b'\r') {
                lines.dropped(at + u64::try_from(within).unwrap_or(0) - 1);
            } else {
                bare = true;
            }
        }
        last = bytes.last().copied().unwrap_or(0);
        progress.bytes(length);
        at += length;
    }
    lines.until(file.len());
    lines.length = file.len() - lines.added;
    Ok(match seen {
        None => Text::No,
        Some(Change::Returned) if !bare => Text::Undo(lines),
        Some(change) => Text::Lost(change),
    })
}

impl Lines {
    /// Notes the places of the original up to one of the file.
    fn until(&mut self, at: u64) {
        loop {
            let next = u64::try_from(self.places.len()).unwrap_or(u64::MAX).saturating_mul(EVERY);
            let place = next.saturating_add(self.added);
            if place >= at {
                return;
            }
            self.places.push(place);
        }
    }

    /// A carriage return at this place of the file is not of the original.
    fn dropped(&mut self, at: u64) {
        self.until(at);
        self.added += 1;
    }
}

/// The file as it was before every line feed got a carriage return.
pub(in crate::repair) struct Undone<F> {
    file: F,
    lines: Lines,
}

impl<F: ReadAt> Undone<F> {
    pub(in crate::repair) fn new(file: F, lines: Lines) -> Self {
        Self { file, lines }
    }
}

impl<F: ReadAt> ReadAt for Undone<F> {
    fn len(&self) -> u64 {
        self.lines.length
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let eof = || io::Error::from(io::ErrorKind::UnexpectedEof);
        let wide = |n: u64| usize::try_from(n).map_err(|_| eof());
        let length = u64::try_from(buf.len()).map_err(|_| eof())?;
        if offset.checked_add(length).is_none_or(|end| end > self.lines.length) {
            return Err(eof());
        }
        let mut skip = wide(offset % EVERY)?;
        let mut done = 0;
        let mut at = self.lines.places.get(wide(offset / EVERY)?).copied().unwrap_or(0);
        while done < buf.len() {
            // One more, to see whether a line feed follows.
            let left = self.file.len().saturating_sub(at);
            let mut bytes = vec![0; wide((EVERY + 1).min(left))?];
            if bytes.is_empty() {
                return Err(eof());
            }
            self.file.read_exact_at(&mut bytes, at)?;
            let more = u64::try_from(bytes.len()).unwrap_or(0) < left;
            let now = bytes.len() - usize::from(more);
            at += u64::try_from(now).unwrap_or(0);
            let follows = bytes.iter().skip(1).copied().map(Some).chain([None]);
            for (byte, next) in bytes.iter().zip(follows).take(now) {
                if *byte == b'\r' && next == Some(b'\n') {
                    continue;
                }
                if skip > 0 {
                    skip -= 1;
                } else if let Some(place) = buf.get_mut(done) {
                    *place = *byte;
                    done += 1;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Silent;
    use crate::repair::tests::noise;

    fn with_returns(bytes: &[u8]) -> Vec<u8> {
        let each = |byte: &u8| match byte {
            b'\n' => vec![b'\r', b'\n'],
            other => vec![*other],
        };
        bytes.iter().flat_map(each).collect()
    }

    #[test]
    fn line_ends_are_made_what_they_were() {
        let mark = b"PGARK SEAL\r\n\x1a\n\0\0\r\n\n\r\r\n\n";
        for length in [0, 1, 65_500, 65_530, 200_000, 1_048_500, 1_048_570] {
            let original = [&noise(length, 3), mark as &[u8], &noise(70_000, 9)].concat();
            let file = with_returns(&original);
            let Text::Undo(lines) = text(&file, &Silent).unwrap() else {
                panic!("{length}: not seen")
            };
            assert_eq!(lines.added, (file.len() - original.len()) as u64);
            let view = Undone::new(&file, lines);
            assert_eq!(ReadAt::len(&view), original.len() as u64);
            for (from, to) in [(0, original.len()), (1, 2), (65_535, 65_545), (131_000, 135_000)] {
                let to = to.min(original.len());
                let from = from.min(to);
                let mut part = vec![0; to - from];
                view.read_exact_at(&mut part, from as u64).unwrap();
                assert!(part == original[from..to], "{length}: {from} to {to}");
            }
            let end = original.len() as u64;
            assert!(view.read_exact_at(&mut [0; 2], end - 1).is_err());
        }
    }

    #[test]
    fn what_cannot_be_undone_is_told() {
        let original = [b"PGARK PARITY\r\n\x1a\n" as &[u8], &noise(5000, 1)].concat();
        assert!(matches!(text(&original, &Silent), Ok(Text::No)));
        let without: Vec<u8> = original
            .iter()
            .enumerate()
            .filter(|(at, byte)| !(**byte == b'\r' && original.get(at + 1) == Some(&b'\n')))
            .map(|(_, byte)| *byte)
            .collect();
        let told = |bytes: &Vec<u8>| match text(bytes, &Silent).unwrap() {
            Text::Lost(change) => change,
            other => panic!("{other:?}"),
        };
        assert_eq!(told(&without), Change::Taken);
        let kept = [b"PGARK PARITY\r\n\x1a\r\n" as &[u8], &noise(5000, 1)].concat();
        assert_eq!(told(&kept), Change::ReturnedWhereNone);
        let half = [with_returns(&original), b"\n".to_vec()].concat();
        assert_eq!(told(&half), Change::Returned);
    }
}
