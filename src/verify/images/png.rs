//! Whether a PNG holds all of its rows. They are inflated and walked through, and not unfiltered: a
//! filter turns any bytes into pixels, so that undoing it proves nothing, and costs as much again.

use png::{DecodeOptions, Decoded, Info, StreamingDecoder, UnfilterRegion, chunk};

use super::Fault;

/// Most pixels, and bytes of them, of an image: that bounds the time.
const PIXELS: u64 = 1 << 30;
const BYTES: u64 = 4 << 30;
/// Longest row.
const ROW: u64 = 16 << 20;
/// What inflated rows are put into; the last 32 KiB are what is referred back to.
const BUFFER: usize = 256 << 10;
/// Room there is for what is inflated next.
const ROOM: usize = 32 << 10;
/// Bytes of memory that checking takes beside the image as stored.
pub(super) const NEED: u64 = 320 << 10;
/// First column, first line, and steps of each, of the seven passes (PNG third edition, 8.1).
const ADAM7: [(u32, u32, u32, u32); 7] = [
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
];

/// Inflates an image to its last row, checksums included, and goes on to its very end. Further
/// frames of an animation are not inflated.
pub(super) fn rows(bytes: &[u8]) -> Result<(), Fault> {
    let mut options = DecodeOptions::default();
    options.set_ignore_text_chunk(true);
    options.set_ignore_iccp_chunk(true);
    let mut stream = StreamingDecoder::new_with_options(options);
    let mut window = Window::default();
    let mut rows: Option<Rows> = None;
    let mut rest = bytes;
    while !rest.is_empty() {
        let (length, event) = match &rows {
            Some(rows) if rows.left > 0 => {
                window.make_room(rows.left);
                stream.update(rest, Some(&mut window.region.as_buf(&mut window.buffer)))
            }
            _ => stream.update(rest, None),
        }
        .map_err(fault)?;
        rest = rest.get(length..).unwrap_or_default();
        let inflated = window.inflated();
        let stands_still = length == 0 && inflated.is_empty();
        if let Some(rows) = &mut rows {
            rows.take(inflated)?;
        }
        match event {
            Decoded::ChunkBegin(_, chunk::IDAT) if rows.is_none() => {
                let info = stream.info().ok_or_else(|| damaged("it has no header"))?;
                rows = Some(Rows::new(info)?);
            }
            Decoded::ImageData if stands_still => {
                return Err(damaged("its rows cannot be inflated"));
            }
            Decoded::ImageDataFlushed if rows.as_ref().is_some_and(|rows| rows.left > 0) => {
                return Err(damaged("rows are missing"));
            }
            Decoded::ChunkComplete(chunk::IEND) => {
                return if rows.is_some() { Ok(()) } else { Err(damaged("it has no picture")) };
            }
            _ => {}
        }
    }
    Err(damaged("it is cut off"))
}

fn damaged(what: &str) -> Fault {
    Fault::Damaged(what.into())
}

fn fault(error: png::DecodingError) -> Fault {
    match error {
        png::DecodingError::LimitsExceeded => {
            Fault::TooLarge("it claims more memory than is given to it".into())
        }
        error => Fault::Damaged(error.to_string()),
    }
}

/// A stretch of the inflated bytes.
#[derive(Default)]
struct Window {
    buffer: Vec<u8>,
    region: UnfilterRegion,
    /// Up to where they were looked at.
    seen: usize,
}

impl Window {
    /// Makes room for more, but for no more than `left` bytes.
    fn make_room(&mut self, left: u64) {
        if BUFFER - self.region.filled < ROOM {
            self.buffer.copy_within(self.region.available..self.region.filled, 0);
            self.region.filled -= self.region.available;
            self.seen -= self.region.available;
            self.region.available = 0;
        }
        let room = BUFFER - self.region.filled;
        let room = usize::try_from(left).map_or(room, |left| left.min(room));
        self.buffer.resize(self.region.filled + room, 0);
    }

    /// What was not looked at.
    fn inflated(&mut self) -> &[u8] {
        let from = std::mem::replace(&mut self.seen, self.region.filled);
        self.buffer.get(from..self.region.filled).unwrap_or_default()
    }
}

/// Walks through the rows of all passes.
struct Rows {
    /// Bytes of a row, that of its filter included, and how many rows there are; the last is first.
    passes: Vec<(u64, u64)>,
    /// Bytes of the current row that were not seen.
    row: u64,
    /// Bytes that are to come.
    left: u64,
}

impl Rows {
    fn new(info: &Info<'_>) -> Result<Self, Fault> {
        let (width, height) = (info.width, info.height);
        let number = |value: usize| u64::try_from(value).unwrap_or(u64::MAX);
        let bits = number(info.bits_per_pixel());
        let row = |width: u32| u64::from(width).saturating_mul(bits).div_ceil(8) + 1;
        let passes: Vec<(u64, u64)> = if info.interlaced {
            let steps =
                |size: u32, first: u32, step: u32| size.saturating_sub(first).div_ceil(step);
            let passes = ADAM7.iter().rev().map(|(left, top, across, down)| {
                (steps(width, *left, *across), steps(height, *top, *down))
            });
            let there = passes.filter(|(width, height)| *width > 0 && *height > 0);
            there.map(|(width, height)| (row(width), u64::from(height))).collect()
        } else {
            vec![(row(width), u64::from(height))]
        };
        let left =
            passes.iter().map(|(row, rows)| row.saturating_mul(*rows)).fold(0, u64::saturating_add);
        if u64::from(width) * u64::from(height) > PIXELS || left > BYTES || row(width) > ROW {
            let what = format!("it claims {width} x {height} pixels, {left} bytes");
            return Err(Fault::TooLarge(what));
        }
        Ok(Self { passes, row: 0, left })
    }

    fn take(&mut self, mut inflated: &[u8]) -> Result<(), Fault> {
        while let Some(filter) = inflated.first() {
            if self.row == 0 {
                let Some((row, rows)) = self.passes.last_mut() else { return Ok(()) };
                self.row = *row;
                *rows -= 1;
                if *rows == 0 {
                    self.passes.pop();
                }
                if *filter > 4 {
                    return Err(damaged("a row has a filter that is not defined"));
                }
            }
            let have = u64::try_from(inflated.len()).unwrap_or(u64::MAX);
            let taken = self.row.min(have);
            self.row -= taken;
            self.left = self.left.saturating_sub(taken);
            inflated = usize::try_from(taken)
                .ok()
                .and_then(|taken| inflated.get(taken..))
                .unwrap_or_default();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    //! Against the decoder that makes pixels of all of it: what that one refuses, ours has to.
    use super::*;

    fn pixels(bytes: &[u8]) -> Result<(), png::DecodingError> {
        let mut reader = png::Decoder::new(std::io::Cursor::new(bytes)).read_info()?;
        while reader.next_interlaced_row()?.is_some() {}
        reader.finish()
    }

    /// Width, height, bits a sample, colour type, interlaced (PNG third edition, 11.2.1).
    type Header = (u32, u32, u8, u8, bool);

    fn part(out: &mut Vec<u8>, name: [u8; 4], data: &[u8]) {
        out.extend(u32::try_from(data.len()).unwrap().to_be_bytes());
        let body = [name.as_slice(), data].concat();
        out.extend(&body);
        out.extend(crc32fast::hash(&body).to_be_bytes());
    }

    /// An image whose inflated rows are `rows`, in parts of `cut` bytes.
    fn image(header: Header, rows: &[u8], cut: usize) -> Vec<u8> {
        let (width, height, bits, colours, interlaced) = header;
        let mut out = vec![0x89, b'P', b'N', b'G', 13, 10, 26, 10];
        let rest = [bits, colours, 0, 0, u8::from(interlaced)];
        part(
            &mut out,
            *b"IHDR",
            &[&width.to_be_bytes()[..], &height.to_be_bytes(), &rest].concat(),
        );
        if colours == 3 {
            part(&mut out, *b"PLTE", &[0; 768][..3 << bits]);
        }
        // Not compressed (RFC 1950, RFC 1951 3.2.4).
        let mut zlib = vec![0x78, 1];
        let mut blocks = rows.chunks(u16::MAX.into()).peekable();
        while let Some(block) = blocks.next() {
            let length = u16::try_from(block.len()).unwrap();
            zlib.push(u8::from(blocks.peek().is_none()));
            zlib.extend([length.to_le_bytes(), (!length).to_le_bytes()].concat());
            zlib.extend(block);
        }
        let sum = rows.iter().fold((1_u32, 0_u32), |(a, b), byte| {
            let a = (a + u32::from(*byte)) % 65521;
            (a, (a + b) % 65521)
        });
        zlib.extend((sum.1 << 16 | sum.0).to_be_bytes());
        zlib.chunks(cut).for_each(|piece| part(&mut out, *b"IDAT", piece));
        part(&mut out, *b"IEND", &[]);
        out
    }

    fn headers() -> Vec<Header> {
        let mut all = Vec::new();
        let kinds = [(1, 0), (4, 0), (16, 0), (8, 2), (2, 3), (8, 3), (8, 4), (16, 6)];
        for (width, height) in [(1, 1), (3, 2), (5, 5), (8, 9), (33, 17)] {
            for (bits, colours) in kinds {
                all.extend([false, true].map(|woven| (width, height, bits, colours, woven)));
            }
        }
        all
    }

    #[test]
    fn rows_are_counted_as_the_decoder_counts_them() {
        for header in headers() {
            let most = 17 * 33 * 8 + 17 * 8;
            let enough = |rows: usize| rows_of(header, rows).is_ok();
            let first = (1..=most).find(|rows| enough(*rows)).unwrap();
            for rows in [first - 1, first, first + 1, first + 9] {
                let bytes = image(header, &vec![0; rows], 50);
                assert_eq!(pixels(&bytes).is_ok(), rows >= first, "{header:?} {rows} of {first}");
            }
        }
    }

    fn rows_of(header: Header, count: usize) -> Result<(), Fault> {
        rows(&image(header, &vec![0; count], 50))
    }

    /// More than the window holds, in parts of every length.
    #[test]
    fn long_images() {
        let header = (1000, 400, 8, 2, false);
        let mut plain: Vec<u8> =
            (0..400 * 3001_u32).map(|at| (at.wrapping_mul(7919) >> 5).to_le_bytes()[0]).collect();
        plain
            .chunks_mut(3001)
            .enumerate()
            .for_each(|(row, bytes)| bytes[0] = u8::try_from(row % 5).unwrap());
        for cut in [1, 100, 8192, 100_000, usize::MAX] {
            let bytes = image(header, &plain, cut);
            assert_eq!(rows(&bytes), Ok(()), "{cut}");
            assert!(pixels(&bytes).is_ok());
        }
        plain[3001 * 399] = 5;
        let bytes = image(header, &plain, 5000);
        assert!(matches!(rows(&bytes), Err(Fault::Damaged(_))));
        assert!(pixels(&bytes).is_err());
        plain.truncate(3001 * 399);
        assert!(matches!(rows(&image(header, &plain, 5000)), Err(Fault::Damaged(_))));
    }

    /// Whatever is wrong: ours refuses what the decoder refuses.
    #[test]
    fn flipped_bytes_under_right_checksums() {
        let header = (33, 17, 8, 2, true);
        let plain = vec![1; 2000];
        let whole = image(header, &plain, 90);
        let mut refused = 0;
        for at in 0..whole.len() {
            for bit in [0, 3, 7] {
                let mut bytes = whole.clone();
                bytes[at] ^= 1 << bit;
                seal(&mut bytes);
                if pixels(&bytes).is_err() {
                    refused += 1;
                    assert!(rows(&bytes).is_err(), "byte {at}, bit {bit}");
                }
            }
        }
        assert!(refused > 200, "{refused}");
    }

    /// Makes the checksums of all parts right again, as far as they are parts.
    fn seal(bytes: &mut [u8]) {
        let mut at = 8;
        while let Some(length) = bytes.get(at..).and_then(|rest| rest.first_chunk::<4>()) {
            let Ok(length) = usize::try_from(u32::from_be_bytes(*length)) else { return };
            let Some(body) = bytes.get(at + 4..at + 8 + length) else { return };
            let crc = crc32fast::hash(body).to_be_bytes();
            let Some(place) = bytes.get_mut(at + 8 + length..at + 12 + length) else { return };
            place.copy_from_slice(&crc);
            at += 12 + length;
        }
    }
}
