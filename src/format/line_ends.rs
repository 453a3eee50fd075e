//! What a transfer in text mode does to an archive: the marks that seals and parity heads begin with
//! end in `\r\n\x1a\n`, so that it shows (spec section 14.4).

use memchr::memmem;

use crate::io::ReadAt;

/// What both marks begin with, to search for.
pub const MARK: &[u8] = b"PGARK ";
const MARKS: [&[u8]; 2] = [b"PGARK PARITY", b"PGARK SEAL"];
/// How far from the end of the file the seal is looked for, however its line ends were changed.
const NEAR_END: u64 = 8 << 10;

/// What was done to the ends of lines.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Change {
    /// `\n` became `\r\n`, everywhere.
    Returned,
    /// `\n` became `\r\n`, but where it was `\r\n` already.
    ReturnedWhereNone,
    /// `\r\n` became `\n`.
    Taken,
}

impl Change {
    /// In words.
    pub fn what(self) -> &'static str {
        match self {
            Self::Returned => "a carriage return was put before each line feed",
            Self::ReturnedWhereNone => "a carriage return was put before line feeds that had none",
            Self::Taken => "the carriage return before line feeds was taken away",
        }
    }

    /// What was done to the mark that these bytes begin with, if they do and something was.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        let behind = MARKS.iter().find_map(|mark| bytes.strip_prefix(*mark))?;
        let ways: [(&[u8], Self); 3] = [
            (b"\r\r\n\x1a\r\n", Self::Returned),
            (b"\r\n\x1a\r\n", Self::ReturnedWhereNone),
            (b"\n\x1a\n", Self::Taken),
        ];
        ways.into_iter().find(|(end, _)| behind.starts_with(end)).map(|(_, change)| change)
    }

    /// What was done to the seal of a file, as far as it is found near its end.
    pub fn at_end_of(file: &dyn ReadAt) -> Option<Self> {
        let from = file.len().saturating_sub(NEAR_END);
        let mut bytes = vec![0; usize::try_from(file.len() - from).unwrap_or(0)];
        file.read_exact_at(&mut bytes, from).ok()?;
        memmem::find_iter(&bytes, MARK).find_map(|at| Self::of(bytes.get(at..)?))
    }
}
