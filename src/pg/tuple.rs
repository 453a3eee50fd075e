//! Tuples of binary COPY: pure, without a server. What comes over the wire is not trusted: every
//! count and every length is checked against the bytes that are there.

use std::ops::Range;

use thiserror::Error;

/// What every binary COPY begins with, before flags and header extension.
pub const SIGNATURE: &[u8; 11] = b"PGCOPY\n\xff\r\n\0";

/// The header this side writes: signature, no flags, no extension.
pub const HEADER: &[u8; 19] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// The column count that says "no more tuples".
pub const TRAILER: i16 = -1;

/// A run of tuples is not what it should be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum TupleError {
    /// A tuple has another number of columns than the statement.
    #[error("a tuple at byte {at} has {found} columns, not {expected}")]
    Columns {
        /// Offset of the tuple in the run.
        at: usize,
        /// How many it says.
        found: i16,
        /// How many there must be.
        expected: u16,
    },
    /// A field's length is below -1.
    #[error("a field at byte {at} has the length {length}")]
    Length {
        /// Offset of the field in the run.
        at: usize,
        /// The length it says.
        length: i32,
    },
    /// The run ends inside a tuple.
    #[error("the run ends at byte {at}, inside a tuple")]
    Short {
        /// Offset of what is cut off.
        at: usize,
    },
}

/// Goes through the tuples of a run as [`super::CopyOut`] gives it: whole tuples, no header, no
/// trailer.
#[derive(Clone, Debug)]
pub struct Tuples<'a> {
    run: &'a [u8],
    at: usize,
    columns: u16,
}

impl<'a> Tuples<'a> {
    /// The tuples of `run`, of `columns` columns each.
    pub fn new(run: &'a [u8], columns: u16) -> Self {
        Self { run, at: 0, columns }
    }

    /// Puts the fields of the next tuple into `fields`, which is emptied first; NULL is `None`.
    /// False at the end of the run. After an error there is nothing more to be had.
    pub fn next_into(&mut self, fields: &mut Vec<Option<&'a [u8]>>) -> Result<bool, TupleError> {
        self.next(fields, |bytes, _| bytes)
    }

    /// The same, as places in the run.
    pub fn next_places(
        &mut self,
        fields: &mut Vec<Option<Range<usize>>>,
    ) -> Result<bool, TupleError> {
        self.next(fields, |bytes, at| at..at + bytes.len())
    }

    fn next<T>(
        &mut self,
        fields: &mut Vec<Option<T>>,
        field: impl Fn(&'a [u8], usize) -> T,
    ) -> Result<bool, TupleError> {
        fields.clear();
        if self.at >= self.run.len() {
            return Ok(false);
        }
        let result = self.read(fields, field);
        if result.is_err() {
            self.at = self.run.len();
        }
        result.map(|()| true)
    }

    fn read<T>(
        &mut self,
        fields: &mut Vec<Option<T>>,
        field: impl Fn(&'a [u8], usize) -> T,
    ) -> Result<(), TupleError> {
        let start = self.at;
        let found = i16::from_be_bytes(*self.take::<2>()?);
        if u16::try_from(found) != Ok(self.columns) {
            return Err(TupleError::Columns { at: start, found, expected: self.columns });
        }
        for _ in 0..self.columns {
            let at = self.at;
            let length = i32::from_be_bytes(*self.take::<4>()?);
            let start = self.at;
            fields.push(match usize::try_from(length) {
                Ok(length) => Some(field(self.bytes(length)?, start)),
                Err(_) if length == -1 => None,
                Err(_) => return Err(TupleError::Length { at, length }),
            });
        }
        Ok(())
    }

    fn take<const N: usize>(&mut self) -> Result<&'a [u8; N], TupleError> {
        let rest = self.run.get(self.at..).unwrap_or_default();
        let head = rest.first_chunk::<N>().ok_or(TupleError::Short { at: self.at })?;
        self.at += N;
        Ok(head)
    }

    fn bytes(&mut self, length: usize) -> Result<&'a [u8], TupleError> {
        let rest = self.run.get(self.at..).unwrap_or_default();
        let bytes = rest.get(..length).ok_or(TupleError::Short { at: self.at })?;
        self.at += length;
        Ok(bytes)
    }
}

/// Begins a tuple of `columns` fields; as many calls of [`put_field`] must follow.
pub fn begin_tuple(out: &mut Vec<u8>, columns: u16) {
    out.extend_from_slice(&columns.to_be_bytes());
}

/// Adds a field; `None` is NULL. A value of 2 GiB or more does not fit: it is not written, and
/// false comes back.
#[must_use]
pub fn put_field(out: &mut Vec<u8>, value: Option<&[u8]>) -> bool {
    match value.map(|bytes| (i32::try_from(bytes.len()), bytes)) {
        None => out.extend_from_slice(&(-1_i32).to_be_bytes()),
        Some((Ok(length), bytes)) => {
            out.extend_from_slice(&length.to_be_bytes());
            out.extend_from_slice(bytes);
        }
        Some((Err(_), _)) => return false,
    }
    true
}

/// Finds where tuples end in a stream that arrives in pieces cut anywhere.
///
/// It looks at headers, counts and lengths only, each once, and never at the same byte twice
/// unless a piece ends inside it.
#[derive(Debug, Default)]
pub(super) struct Walker {
    /// Offset in the buffer of what is to be read next; may lie past the buffer's end.
    at: usize,
    /// Where the last whole tuple ended.
    whole: usize,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum State {
    /// The signature, flags and header extension are to come.
    #[default]
    Header,
    /// A tuple or the trailer is to come, once what is in front of it has arrived.
    Tuple,
    /// Inside a tuple with so many fields to come.
    Fields(u16),
    /// The trailer has been seen.
    Ended,
}

impl Walker {
    /// Looks at what has been added to `buf`. The header is removed from it on the way, and the
    /// trailer is left behind the last whole tuple.
    pub(super) fn walk(&mut self, buf: &mut Vec<u8>) -> Result<(), String> {
        if self.state == State::Header && !self.header(buf)? {
            return Ok(());
        }
        loop {
            match self.state {
                State::Tuple => {
                    // A tuple ends only once its last field has arrived.
                    if self.at > buf.len() {
                        return Ok(());
                    }
                    self.whole = self.at;
                    let Some(head) = part::<2>(buf, self.at) else { return Ok(()) };
                    match i16::from_be_bytes(head) {
                        TRAILER => {
                            self.at += 2;
                            self.state = State::Ended;
                        }
                        count => {
                            let count = u16::try_from(count)
                                .map_err(|_| format!("a tuple of {count} columns"))?;
                            self.at += 2;
                            self.enter(count);
                        }
                    }
                }
                State::Fields(left) => {
                    let Some(head) = part::<4>(buf, self.at) else { return Ok(()) };
                    let length = i32::from_be_bytes(head);
                    let length = match usize::try_from(length) {
                        Ok(length) => length,
                        Err(_) if length == -1 => 0,
                        Err(_) => return Err(format!("a field of length {length}")),
                    };
                    self.at += 4 + length;
                    self.enter(left - 1);
                }
                State::Ended if buf.len() > self.at => {
                    return Err(format!("{} bytes after the trailer", buf.len() - self.at));
                }
                State::Header | State::Ended => return Ok(()),
            }
        }
    }

    /// How many bytes of the buffer are whole tuples.
    pub(super) fn whole(&self) -> usize {
        self.whole
    }

    /// The first `count` bytes of the buffer have been taken away.
    pub(super) fn taken(&mut self, count: usize) {
        self.at = self.at.saturating_sub(count);
        self.whole = self.whole.saturating_sub(count);
    }

    /// Whether the trailer has been seen.
    pub(super) fn ended(&self) -> bool {
        self.state == State::Ended
    }

    fn enter(&mut self, fields: u16) {
        self.state = if fields == 0 { State::Tuple } else { State::Fields(fields) };
    }

    /// True when the header is complete and gone from `buf`.
    fn header(&mut self, buf: &mut Vec<u8>) -> Result<bool, String> {
        let seen = buf.len().min(SIGNATURE.len());
        if buf.get(..seen) != SIGNATURE.get(..seen) {
            return Err("no signature of binary COPY at its beginning".to_owned());
        }
        let Some(flags) = part::<4>(buf, 11) else { return Ok(false) };
        let flags = u32::from_be_bytes(flags);
        // Bits 0 to 15 may be ignored by whoever does not know them; bits 16 to 31 may not. Bit 16
        // (object ids in front) has not been written since version 12.
        if flags >> 16 != 0 {
            return Err(format!("flags {flags:#010x} in its header"));
        }
        let Some(extension) = part::<4>(buf, 15) else { return Ok(false) };
        let extension = i32::from_be_bytes(extension);
        // No server has ever written an extension; a limit keeps a wild length from being waited
        // for until memory is full.
        let length = match usize::try_from(extension) {
            Ok(length) if length <= 1 << 16 => length,
            _ => return Err(format!("a header extension of length {extension}")),
        };
        let end = HEADER.len() + length;
        if buf.len() < end {
            return Ok(false);
        }
        buf.drain(..end);
        self.state = State::Tuple;
        Ok(true)
    }
}

fn part<const N: usize>(buf: &[u8], at: usize) -> Option<[u8; N]> {
    buf.get(at..)?.first_chunk::<N>().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(rows: &[Vec<Option<Vec<u8>>>]) -> Vec<u8> {
        let mut out = HEADER.to_vec();
        for row in rows {
            begin_tuple(&mut out, u16::try_from(row.len()).unwrap());
            for field in row {
                assert!(put_field(&mut out, field.as_deref()));
            }
        }
        out.extend_from_slice(&TRAILER.to_be_bytes());
        out
    }

    fn rows() -> Vec<Vec<Option<Vec<u8>>>> {
        vec![
            vec![Some(b"a".to_vec()), None],
            vec![Some(Vec::new()), Some(vec![7; 300])],
            vec![None, None],
            vec![None, Some(b"end".to_vec())],
        ]
    }

    /// Feeds the stream in pieces of `size` and gives the run of whole tuples.
    fn feed(stream: &[u8], size: usize, cut: bool) -> Result<(Vec<u8>, bool), String> {
        let (mut walker, mut buf, mut run) = (Walker::default(), Vec::new(), Vec::new());
        for piece in stream.chunks(size) {
            buf.extend_from_slice(piece);
            walker.walk(&mut buf)?;
            if cut {
                let whole = walker.whole();
                run.extend(buf.drain(..whole));
                walker.taken(whole);
            }
        }
        run.extend(buf.drain(..walker.whole()));
        Ok((run, walker.ended()))
    }

    fn parse(run: &[u8], columns: u16) -> Result<Vec<Vec<Option<Vec<u8>>>>, TupleError> {
        let (mut tuples, mut fields, mut out) = (Tuples::new(run, columns), Vec::new(), Vec::new());
        while tuples.next_into(&mut fields)? {
            out.push(fields.iter().map(|f| f.map(<[u8]>::to_vec)).collect());
        }
        Ok(out)
    }

    /// Guards against taking one message for one row: wherever the stream is cut, the rows are
    /// the same.
    #[test]
    fn pieces_of_any_size_give_the_same_rows() {
        let stream = stream(&rows());
        for size in 1..=stream.len() {
            for cut in [false, true] {
                let (run, ended) = feed(&stream, size, cut).unwrap();
                assert!(ended);
                assert_eq!(parse(&run, 2).unwrap(), rows(), "pieces of {size}");
            }
        }
    }

    /// Guards against a stream that ends early and passes: only the whole one is at its end.
    #[test]
    fn a_stream_cut_anywhere_has_not_ended() {
        let stream = stream(&rows());
        for length in 0..stream.len() {
            let (run, ended) = feed(&stream[..length], 7, true).unwrap();
            assert!(!ended, "cut at {length}");
            parse(&run, 2).unwrap();
        }
    }

    #[test]
    fn no_columns_are_rows_too() {
        let stream = stream(&[vec![], vec![], vec![]]);
        let (run, ended) = feed(&stream, 1, true).unwrap();
        assert!(ended);
        assert_eq!(parse(&run, 0).unwrap().len(), 3);
    }

    /// Guards against panics, endless loops and silence on hostile streams.
    #[test]
    fn hostile_streams_are_refused() {
        let whole = stream(&rows());
        let mut after = whole.clone();
        after.push(0);
        assert!(feed(&after, 5, true).unwrap_err().contains("after the trailer"));
        let mut twice = whole.clone();
        twice.extend_from_slice(&TRAILER.to_be_bytes());
        assert!(feed(&twice, 1, false).is_err());

        assert!(feed(b"PGCOPY\r\n", 3, true).is_err());
        let header = |flags: u32, extension: i32| {
            let mut out = SIGNATURE.to_vec();
            out.extend_from_slice(&flags.to_be_bytes());
            out.extend_from_slice(&extension.to_be_bytes());
            out
        };
        assert!(feed(&header(1 << 16, 0), 4, true).unwrap_err().contains("flags"));
        assert!(feed(&header(0, -1), 4, true).unwrap_err().contains("extension"));
        assert!(feed(&header(0, i32::MAX), 4, true).unwrap_err().contains("extension"));
        let mut extended = header(1, 3);
        extended.extend_from_slice(b"xyz");
        extended.extend_from_slice(&TRAILER.to_be_bytes());
        assert_eq!(feed(&extended, 2, true).unwrap(), (Vec::new(), true));

        let with = |tail: &[u8]| [HEADER.as_slice(), tail].concat();
        assert!(feed(&with(&(-2_i16).to_be_bytes()), 1, true).is_err());
        let negative = [&1_i16.to_be_bytes()[..], &(-2_i32).to_be_bytes()].concat();
        assert!(feed(&with(&negative), 1, true).is_err());
        // A huge length only waits: nothing is allocated for it, and it never becomes a tuple.
        let huge = [&1_i16.to_be_bytes()[..], &i32::MAX.to_be_bytes(), b"xyz"].concat();
        assert_eq!(feed(&with(&huge), 2, true).unwrap(), (Vec::new(), false));
        // Many columns promised, none there.
        assert_eq!(feed(&with(&i16::MAX.to_be_bytes()), 2, true).unwrap(), (Vec::new(), false));

        assert_eq!(parse(&negative, 1), Err(TupleError::Length { at: 2, length: -2 }),);
        assert_eq!(parse(&huge, 1), Err(TupleError::Short { at: 6 }));
        assert_eq!(
            parse(&3_i16.to_be_bytes(), 2),
            Err(TupleError::Columns { at: 0, found: 3, expected: 2 }),
        );
        assert_eq!(
            parse(&TRAILER.to_be_bytes(), 0),
            Err(TupleError::Columns { at: 0, found: -1, expected: 0 }),
        );
        assert_eq!(parse(&[0], 0), Err(TupleError::Short { at: 0 }));
    }
}
