//! Data of dumps with a table of contents as it lies in a file: in chunks, packed, or both. What is
//! cut off is an error, where anything tells.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read};
use std::os::unix::fs::FileExt as _;

use flate2::{Decompress, FlushDecompress, Status};
use libpgdump::CompressionAlgorithm;
use libpgdump::io::primitives::read_int;

/// Bytes of the numbers in front of chunks.
pub(super) const WIDTH: u8 = 4;

/// A stretch of a file, read without moving anybody's place in it.
pub(super) struct Part<'a> {
    file: &'a File,
    at: u64,
    left: u64,
}

impl<'a> Part<'a> {
    pub(super) fn new(file: &'a File, at: u64, left: u64) -> Self {
        Self { file, at, left }
    }
}

impl Read for Part<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buf.len());
        let Some(buf) = buf.get_mut(..most).filter(|buf| !buf.is_empty()) else { return Ok(0) };
        let read = self.file.read_at(buf, self.at)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let count = u64::try_from(read).unwrap_or(u64::MAX);
        self.at += count;
        self.left -= count;
        Ok(read)
    }
}

/// The bytes of the chunks of a block of a custom dump, from a place in the file to the chunk of
/// length 0 that ends them.
pub(super) struct Chunks<'a> {
    file: BufReader<Part<'a>>,
    left: usize,
    ended: bool,
}

impl<'a> Chunks<'a> {
    pub(super) fn new(file: &'a File, at: u64) -> Self {
        let file = BufReader::with_capacity(64 << 10, Part::new(file, at, u64::MAX - at));
        Self { file, left: 0, ended: false }
    }
}

impl Read for Chunks<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 && !self.ended {
            let length = read_int(&mut self.file, WIDTH).map_err(io::Error::other)?;
            self.left = usize::try_from(length).map_err(io::Error::other)?;
            self.ended = self.left == 0;
        }
        let most = self.left.min(buf.len());
        let Some(buf) = buf.get_mut(..most).filter(|buf| !buf.is_empty()) else { return Ok(0) };
        let read = self.file.read(buf)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= read;
        Ok(read)
    }
}

/// A stream of zlib that has to come to its end, where its checksum stands: `flate2`'s own reader
/// takes one that is cut off for one that ends there.
struct Inflated<R> {
    input: BufReader<R>,
    state: Decompress,
    ended: bool,
}

impl<R: Read> Inflated<R> {
    fn new(input: R) -> Self {
        let input = BufReader::with_capacity(64 << 10, input);
        Self { input, state: Decompress::new(true), ended: false }
    }
}

impl<R: Read> Read for Inflated<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() {
            return Ok(0);
        }
        while !self.ended {
            let input = self.input.fill_buf()?;
            let none = input.is_empty();
            // What has no bytes has no stream either.
            if none && self.state.total_in() == 0 {
                self.ended = true;
                break;
            }
            let (read, written) = (self.state.total_in(), self.state.total_out());
            let status = self.state.decompress(input, buf, FlushDecompress::None)?;
            let count = |now: u64, before: u64| usize::try_from(now - before).unwrap_or(0);
            let (read, written) =
                (count(self.state.total_in(), read), count(self.state.total_out(), written));
            self.input.consume(read);
            self.ended = status == Status::StreamEnd;
            if self.ended && !self.input.fill_buf()?.is_empty() {
                return Err(io::Error::other("there is more behind the end of what is compressed"));
            }
            if written > 0 {
                return Ok(written);
            }
            if none && !self.ended {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(0)
    }
}

/// Frames of lz4 on their way to who unpacks them, each of which has to come to its end: `lz4_flex`
/// takes what is cut off between two blocks for what ends there.
struct Frames<R> {
    input: R,
    state: Frame,
    /// What is being read of a head, or of the length of a block.
    head: Vec<u8>,
    /// Bytes that are still to be passed over.
    skip: u64,
    /// What the frame's head says: of checksums behind each block, and behind the frame.
    checks: (bool, bool),
    /// Whether the input has come to its end.
    ended: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Frame {
    Head,
    Block,
    End,
}

impl<R: Read> Frames<R> {
    fn new(input: R) -> Self {
        let (head, checks) = (Vec::new(), (false, false));
        Self { input, state: Frame::Head, head, skip: 0, checks, ended: false }
    }

    /// Goes on by a byte that is part of a head or length.
    fn byte(&mut self, byte: u8) {
        self.head.push(byte);
        match (self.state, self.head.as_slice()) {
            (Frame::Head, [_, _, _, _, flags, _]) => {
                let has = |bit: u8| flags >> bit & 1 != 0;
                self.checks = (has(4), has(2));
                // Length, dictionary, and a checksum of the head.
                self.skip = 8 * u64::from(has(3)) + 4 * u64::from(has(0)) + 1;
                self.state = Frame::Block;
            }
            (Frame::Block, &[a, b, c, d]) => match u32::from_le_bytes([a, b, c, d]) {
                0 => {
                    self.skip = 4 * u64::from(self.checks.1);
                    self.state = Frame::End;
                }
                length => {
                    let length = length & !(1 << 31);
                    self.skip = u64::from(length) + 4 * u64::from(self.checks.0);
                }
            },
            _ => return,
        }
        self.head.clear();
    }

    /// Whether nothing may be missing.
    fn between(&self) -> bool {
        self.skip == 0 && self.head.is_empty() && self.state != Frame::Block
    }
}

impl<R: Read> Read for Frames<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buf)?;
        self.ended = read == 0 && !buf.is_empty();
        if read == 0 && !buf.is_empty() && !self.between() {
            // Of another kind: whoever unpacks takes the usual one for an end.
            return Err(io::Error::other("its compressed data is cut off"));
        }
        let mut rest = buf.get(..read).unwrap_or_default();
        while let Some((first, after)) = rest.split_first() {
            if self.skip == 0 {
                if self.state == Frame::End {
                    self.state = Frame::Head;
                }
                self.byte(*first);
                rest = after;
                continue;
            }
            let length = u64::try_from(rest.len()).unwrap_or(u64::MAX).min(self.skip);
            self.skip -= length;
            rest = rest.get(usize::try_from(length).unwrap_or(rest.len())..).unwrap_or_default();
        }
        Ok(read)
    }
}

/// All frames, one behind the other.
struct Unframed<R: Read>(lz4_flex::frame::FrameDecoder<Frames<R>>);

impl<R: Read> Unframed<R> {
    fn new(input: R) -> Self {
        Self(lz4_flex::frame::FrameDecoder::new(Frames::new(input)))
    }
}

impl<R: Read> Read for Unframed<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            // At the end of each frame it says that there is nothing more.
            let read = self.0.read(buf)?;
            if read > 0 || buf.is_empty() || self.0.get_ref().ended {
                return Ok(read);
            }
        }
    }
}

/// What a custom dump's chunks hold: streams of zlib, not of gzip.
pub(super) fn unpacked<'a>(
    chunks: Chunks<'a>,
    packed: CompressionAlgorithm,
) -> io::Result<Box<dyn Read + 'a>> {
    Ok(match packed {
        CompressionAlgorithm::None => Box::new(chunks),
        CompressionAlgorithm::Gzip => Box::new(Inflated::new(chunks)),
        CompressionAlgorithm::Lz4 => Box::new(Unframed::new(chunks)),
        CompressionAlgorithm::Zstd => Box::new(zstd::stream::read::Decoder::new(chunks)?),
    })
}

/// What a file holds.
pub(super) fn packed_file(
    file: File,
    packed: CompressionAlgorithm,
) -> io::Result<Box<dyn Read + 'static>> {
    Ok(match packed {
        CompressionAlgorithm::None => Box::new(file),
        CompressionAlgorithm::Gzip => Box::new(flate2::read::MultiGzDecoder::new(file)),
        CompressionAlgorithm::Lz4 => Box::new(Unframed::new(file)),
        CompressionAlgorithm::Zstd => Box::new(zstd::stream::read::Decoder::new(file)?),
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    /// Wherever a stream is cut off, it is not whole; and more than a stream is not one.
    #[test]
    fn streams_that_are_cut_off() {
        let data: Vec<u8> =
            (0..100_000_u32).flat_map(|n| n.wrapping_mul(n).to_le_bytes()).collect();
        let mut out = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        out.write_all(&data).unwrap();
        let packed = out.finish().unwrap();
        let read = |bytes: &[u8]| {
            let mut out = Vec::new();
            Inflated::new(bytes).read_to_end(&mut out).map(|_| out)
        };
        assert_eq!(read(&packed).unwrap(), data);
        for length in (1..packed.len()).step_by(997).chain([packed.len() - 1, packed.len() - 4]) {
            assert!(read(&packed[..length]).is_err(), "{length}");
        }
        assert!(read(&[&packed[..], b"x"].concat()).is_err());
        assert_eq!(read(b"").unwrap(), b"");
    }

    /// The same of lz4, with every part that a frame may have.
    #[test]
    fn frames_that_are_cut_off() {
        use lz4_flex::frame::{BlockSize, FrameEncoder, FrameInfo};
        let data: Vec<u8> = (0..30_000_u32).flat_map(|n| (n / 7).to_le_bytes()).collect();
        let read = |bytes: &[u8]| {
            let mut out = Vec::new();
            Unframed::new(bytes).read_to_end(&mut out).map(|_| out)
        };
        for checks in [false, true] {
            let info = FrameInfo::new()
                .block_size(BlockSize::Max64KB)
                .block_checksums(checks)
                .content_checksum(checks)
                .content_size(checks.then_some(data.len() as u64));
            let mut out = FrameEncoder::with_frame_info(info, Vec::new());
            out.write_all(&data).unwrap();
            let packed = out.finish().unwrap();
            assert_eq!(read(&packed).unwrap(), data);
            assert_eq!(read(&[&packed[..], &packed].concat()).unwrap().len(), 2 * data.len());
            let last = packed.len() - 24..packed.len();
            for length in (1..24).chain((24..last.start).step_by(97)).chain(last) {
                assert!(read(&packed[..length]).is_err(), "{length}");
            }
        }
        assert_eq!(read(b"").unwrap(), b"");
    }
}
