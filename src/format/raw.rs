//! Bodies that are stored as they are: a zstd frame of raw blocks, so that any zstd reads them, and
//! so that where each byte stands can be computed (spec section 8.2).

use std::io;

use crate::io::ReadAt;

/// Raw bytes of a block.
pub const BLOCK: usize = 128 << 10;
/// Frame header: magic, descriptor, window of 128 KiB, content size.
const HEADER: usize = 14;
/// Header of a block.
const BLOCK_HEADER: usize = 3;

/// Length of the body of so many raw bytes.
pub fn body_length(raw: u64) -> u64 {
    let block = 128 << 10;
    raw + 3 * raw.div_ceil(block).max(1) + 14
}

/// Where byte `at` of the raw bytes is in the body.
pub fn position(at: u64) -> u64 {
    14 + at + 3 * (at / (128 << 10) + 1)
}

fn header(raw: u64) -> [u8; HEADER] {
    let mut out = [0; HEADER];
    let parts: [&[u8]; 3] = [&[0x28, 0xB5, 0x2F, 0xFD], &[0xC0, 0x38], &raw.to_le_bytes()];
    for (to, from) in out.iter_mut().zip(parts.concat()) {
        *to = from;
    }
    out
}

fn block_header(length: usize, last: bool) -> [u8; BLOCK_HEADER] {
    let word = u32::try_from(length).unwrap_or(0) << 3 | u32::from(last);
    let [a, b, c, _] = word.to_le_bytes();
    [a, b, c]
}

/// Raw bytes with the framing that goes around them.
#[derive(Debug)]
pub struct Frame<'a> {
    raw: &'a [u8],
    header: [u8; HEADER],
    block_headers: Vec<[u8; BLOCK_HEADER]>,
}

impl<'a> Frame<'a> {
    /// The body of these bytes.
    pub fn new(raw: &'a [u8]) -> Self {
        let mut block_headers = Vec::new();
        let mut left = raw.len();
        loop {
            let block = left.min(BLOCK);
            left -= block;
            block_headers.push(block_header(block, left == 0));
            if left == 0 {
                let header = header(u64::try_from(raw.len()).unwrap_or(u64::MAX));
                return Self { raw, header, block_headers };
            }
        }
    }

    /// The body's bytes, in pieces that follow each other.
    pub fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        // Of no bytes there is one block all the same.
        let blocks = self.raw.chunks(BLOCK).chain(std::iter::repeat(&[][..]));
        let framed = self.block_headers.iter().zip(blocks);
        std::iter::once(&self.header[..])
            .chain(framed.flat_map(|(header, block)| [&header[..], block]))
    }
}

/// Takes the framing out of a body, requiring it to be the one there is: `None` if it is not.
pub fn strip(body: &[u8], raw: u64) -> Option<Vec<u8>> {
    let mut rest = body.strip_prefix(&header(raw))?;
    let mut left = usize::try_from(raw).ok()?;
    let mut out = Vec::with_capacity(left.min(body.len()));
    loop {
        let block = left.min(BLOCK);
        let (header, after) = rest.split_first_chunk::<BLOCK_HEADER>()?;
        if *header != block_header(block, block == left) {
            return None;
        }
        let (data, after) = after.split_at_checked(block)?;
        out.extend_from_slice(data);
        left -= block;
        rest = after;
        if left == 0 {
            return rest.is_empty().then_some(out);
        }
    }
}

/// Reads the raw bytes of the body that begins at `at` into `out`, which is as long as they are:
/// false if the framing is not the one there is. How long the body is, is the caller's to check.
///
/// # Errors
/// Those of the file.
pub fn read(file: &dyn ReadAt, mut at: u64, out: &mut [u8]) -> io::Result<bool> {
    let wanted = header(u64::try_from(out.len()).unwrap_or(u64::MAX));
    let mut found = [0; HEADER];
    let mut take = |bytes: &mut [u8]| {
        file.read_exact_at(bytes, at)?;
        at = at.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        Ok::<_, io::Error>(())
    };
    take(&mut found)?;
    let mut rest = out;
    let mut whole = found == wanted;
    while whole {
        let length = rest.len().min(BLOCK);
        let (block, after) = rest.split_at_mut(length);
        let mut found = [0; BLOCK_HEADER];
        take(&mut found)?;
        whole = found == block_header(length, after.is_empty());
        take(block)?;
        rest = after;
        if rest.is_empty() {
            break;
        }
    }
    Ok(whole)
}

/// As much of the raw bytes as there is in a body that is damaged, whatever its framing says.
pub fn strip_what_is_there(body: &[u8], out: &mut Vec<u8>) {
    let framed = body.get(HEADER..).unwrap_or_default();
    for block in framed.chunks(BLOCK + BLOCK_HEADER) {
        out.extend_from_slice(block.get(BLOCK_HEADER..).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    //! Two readers of one framing: guards against one that is content with another.
    use super::*;

    #[test]
    fn both_readers_take_the_framing_that_is_written_and_no_other() {
        for length in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 5] {
            let raw: Vec<u8> = (0..length).map(|n| u8::try_from(n * 7919 % 251).unwrap()).collect();
            let long = u64::try_from(length).unwrap();
            let frame = Frame::new(&raw);
            let body = frame.pieces().collect::<Vec<_>>().concat();
            assert_eq!(body_length(long), body.len() as u64);
            assert_eq!(zstd::decode_all(&body[..]).unwrap(), raw);
            assert_eq!(strip(&body, long), Some(raw.clone()));
            // Not at the beginning of the file, as in an archive.
            let file = [&[9; 700][..], &body].concat();
            let mut out = vec![1; length];
            assert!(read(&file, 700, &mut out).unwrap());
            assert_eq!(out, raw);
            let framing = (0..HEADER).chain((HEADER..body.len()).step_by(BLOCK + BLOCK_HEADER));
            for at in framing.flat_map(|at| [at, at + 1, at + 2]).filter(|at| *at < body.len()) {
                let mut bad = file.clone();
                bad[700 + at] ^= 4;
                let stripped = strip(&bad[700..], long);
                let taken = read(&bad, 700, &mut out).unwrap().then(|| out.clone());
                assert_eq!(stripped, taken, "{length}: {at}");
            }
            assert!(read(&file[..file.len() - 1].to_vec(), 700, &mut out).is_err());
        }
    }
}
