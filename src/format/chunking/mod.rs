//! How a writer cuts blobs into chunks and rows into segments. Policy, not format: a reader takes
//! any cut (spec section 8.4). It depends on the bytes alone, so that the same data is cut the
//! same way tomorrow.

mod pictures;

use fastcdc::v2020::FastCDC;

use super::digest::Digest;
use pictures::{Picture, Walk};

/// Blobs up to this length are one chunk.
pub const WHOLE: usize = 64 << 10;
const MIN: usize = 32 << 10;
const AVERAGE: usize = 128 << 10;
const LONGEST: usize = 512 << 10;
/// The longest chunk of a larger one.
pub const MAX: usize = 4 << 20;

/// A chunk to be cut off.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cut {
    /// Its length.
    pub length: usize,
    /// Whether compression does not make it smaller.
    pub incompressible: bool,
}

/// Cuts one blob into chunks.
#[derive(Clone, Copy, Debug)]
pub struct Cutter {
    stretch: Stretch,
    /// By its first bytes, the whole blob is of a kind that compression does not make smaller.
    packed: bool,
}

/// What comes next.
#[derive(Clone, Copy, Debug)]
enum Stretch {
    /// All of it, as one.
    Whole,
    /// Bytes of no known structure.
    Any,
    /// What describes the picture that follows.
    Description(Picture),
    /// Pixels, to the end.
    Pixels,
    /// The parts of a PNG that hold pixels.
    Parts(Walk),
}

impl Stretch {
    /// The pixels of a picture, or of a PNG its parts, of which the first begins at `first`.
    fn pixels(png: bool, first: usize) -> Self {
        if png { Self::Parts(Walk::new(first)) } else { Self::Pixels }
    }
}

impl Cutter {
    /// For a blob that begins with `start`: all of it, or at least [`MAX`] bytes.
    pub fn new(start: &[u8], length: u64) -> Self {
        let packed = is_packed(start);
        let stretch = if usize::try_from(length).is_ok_and(|length| length <= WHOLE) {
            Stretch::Whole
        } else {
            match Picture::of(start) {
                Some(picture) if picture.described => Stretch::Description(picture),
                Some(picture) => Stretch::pixels(picture.png, picture.pixels),
                None => Stretch::Any,
            }
        };
        Self { stretch, packed }
    }

    /// For a blob of which nothing but its bytes is looked at, to see what looking at pictures is worth.
    pub fn by_content(length: u64) -> Self {
        let whole = usize::try_from(length).is_ok_and(|length| length <= WHOLE);
        Self { stretch: if whole { Stretch::Whole } else { Stretch::Any }, packed: true }
    }

    /// The chunk that `rest`, the bytes that are not cut yet, begins with. Unless they end the blob,
    /// there must be at least [`MAX`] of them.
    pub fn next(&mut self, rest: &[u8]) -> Cut {
        let all = rest.len();
        match &mut self.stretch {
            Stretch::Whole => self.cut(rest, all, None),
            Stretch::Any => {
                let cut = FastCDC::new(rest, MIN, AVERAGE, LONGEST).next();
                self.cut(rest, cut.map_or(all, |chunk| chunk.length), None)
            }
            Stretch::Description(picture) => {
                let picture = *picture;
                self.stretch = Stretch::pixels(picture.png, 0);
                self.cut(rest, picture.pixels, Some(false))
            }
            Stretch::Pixels => self.cut(rest, all.min(MAX), Some(true)),
            Stretch::Parts(walk) => {
                // A part's head has to be within what is there in any case.
                let end = walk.end(rest).filter(|end| *end + Walk::HEAD <= MAX);
                let length = end.unwrap_or(all.min(MAX));
                if length == 0 || !walk.cut(length) || end.is_some() {
                    self.stretch = Stretch::Any;
                }
                if length == 0 { self.next(rest) } else { self.cut(rest, length, Some(true)) }
            }
        }
    }

    /// `packed` is what is known of the chunk; `None` if it is as the rest of the blob.
    fn cut(&self, rest: &[u8], length: usize, packed: Option<bool>) -> Cut {
        let length = length.clamp(1, rest.len().max(1));
        let chunk = rest.get(..length).unwrap_or(rest);
        let incompressible = packed.unwrap_or(self.packed) || !shrinks(chunk);
        Cut { length, incompressible }
    }
}

/// Whether a blob is of a kind that compression does not make smaller, by its first bytes.
fn is_packed(start: &[u8]) -> bool {
    const MAGICS: [&[u8]; 9] = [
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff",
        b"GIF8",
        b"PK\x03\x04",
        b"\x1f\x8b",
        b"\x28\xb5\x2f\xfd",
        b"7z\xbc\xaf",
        b"OggS",
        b"\0\0\0\x20ftyp",
    ];
    let webp = start.starts_with(b"RIFF") && start.get(8..12) == Some(b"WEBP");
    webp || MAGICS.iter().any(|magic| start.starts_with(magic))
}

/// Whether compression makes a sample smaller.
fn shrinks(chunk: &[u8]) -> bool {
    let sample = chunk.get(..chunk.len().min(8 << 10)).unwrap_or(chunk);
    zstd::bulk::compress(sample, 1).is_ok_and(|small| small.len() * 20 <= sample.len() * 19)
}

/// A segment is not cut before it has this weight, but for the end of its table.
pub const SEGMENT_MIN: usize = 256 << 10;
/// It is cut before a row that would take it past this.
pub const SEGMENT_MAX: usize = 4 << 20;
const SEGMENT_AVERAGE: u64 = 768 << 10;

/// What a blob adds to the weight of its row: at least what a segment's head says of it, which is a
/// digest for each chunk. So heads stay within their limits.
pub fn list_weight(blob: u64) -> usize {
    let whole = u64::try_from(WHOLE).unwrap_or(u64::MAX);
    if blob > whole { usize::try_from(blob / 1024).unwrap_or(usize::MAX) } else { 0 }
}

/// Whether a row (its digest, and its weight in bytes) is one a segment may end with. The chance
/// grows with the weight, so that segments come to about 1 MiB whatever the rows are like.
pub fn ends_segment(row: &Digest, weight: usize) -> bool {
    let (words, _) = row.0.as_chunks::<8>();
    let draw = words.first().map_or(0, |word| u64::from_le_bytes(*word));
    let weight = u64::try_from(weight).unwrap_or(u64::MAX);
    draw < weight.saturating_mul(u64::MAX / SEGMENT_AVERAGE)
}

#[cfg(test)]
mod tests {
    //! An edited copy of a picture must cost what was edited, and no more.
    use super::*;

    fn noise(length: usize) -> Vec<u8> {
        let mut state = 7_u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56).to_le_bytes().first().copied().unwrap_or_default()
        };
        (0..length).map(|_| next()).collect()
    }

    fn cuts(blob: &[u8]) -> Vec<Cut> {
        let mut cutter = Cutter::new(blob, blob.len() as u64);
        let (mut rest, mut out) = (blob, Vec::new());
        while !rest.is_empty() {
            out.push(cutter.next(rest));
            rest = &rest[out.last().unwrap().length..];
        }
        out
    }

    fn lengths(blob: &[u8]) -> Vec<usize> {
        cuts(blob).iter().map(|cut| cut.length).collect()
    }

    fn jpeg(exif: usize, pixels: usize) -> Vec<u8> {
        let mut out = b"\xff\xd8\xff\xe0\0\x06JFIF".to_vec();
        if exif > 0 {
            let length = u16::try_from(exif + 2).unwrap();
            out.extend([&b"\xff\xe1"[..], &length.to_be_bytes(), &vec![b'x'; exif]].concat());
        }
        out.extend([&b"\xff\xc0\0\x04..\xff\xda\0\x04.."[..], &noise(pixels)].concat());
        out
    }

    /// Parts of 8 KiB, as encoders write them.
    fn png(title: usize, pixels: usize, end: usize) -> Vec<u8> {
        let mut out = b"\x89PNG\r\n\x1a\n".to_vec();
        let mut part = |name: &[u8; 4], data: &[u8]| {
            out.extend(u32::try_from(data.len()).unwrap().to_be_bytes());
            out.extend([name, data, b"crc!"].concat());
        };
        part(b"IHDR", b"0123456789012");
        if title > 0 {
            part(b"tEXt", &vec![b'x'; title]);
        }
        noise(pixels).chunks(8192).for_each(|data| part(b"IDAT", data));
        if end > 0 {
            part(b"eXIf", &vec![b'y'; end]);
        }
        part(b"IEND", b"");
        out
    }

    #[test]
    fn what_describes_a_picture_is_a_chunk() {
        let described = 10 + 4 + 1000 + 6;
        assert_eq!(lengths(&jpeg(1000, 100_000)), [described, 100_006]);
        assert!(!cuts(&jpeg(1000, 100_000))[0].incompressible);
        assert!(cuts(&jpeg(1000, 100_000))[1].incompressible);
        assert_eq!(lengths(&jpeg(0, 100_000)), [100_022], "nothing is described");
        assert_eq!(lengths(&jpeg(1000, 1000)), [described + 1006], "small");
        assert_eq!(lengths(&jpeg(30_000, 5 << 20)), [30_020, MAX, (1 << 20) + 6]);

        let parts = 13 * 12 + 100_000;
        assert_eq!(lengths(&png(1000, 100_000, 1000)), [8 + 25 + 1012, parts, 1012 + 12]);
        assert_eq!(lengths(&png(0, 100_000, 0)), [8 + 25 + parts, 12]);
    }

    #[test]
    fn pictures_that_are_none() {
        for length in [70_000, 300_000] {
            let mut torn = jpeg(1000, length);
            torn[12] = 0;
            assert!(lengths(&torn).iter().all(|length| *length <= LONGEST));
            let mut torn = png(1000, length, 1000);
            torn[33..37].fill(0xff);
            assert!(lengths(&torn).iter().all(|length| *length <= LONGEST));
        }
    }

    /// Every blob is cut to its end, wherever its parts end, and as if it came in pieces.
    #[test]
    fn ends_of_pixels_around_the_longest_chunk() {
        let pixels = MAX - 512 * 12;
        for shift in (0..60).chain(8160..8220) {
            let blob = png(0, pixels - shift, 20_000);
            let all = cuts(&blob);
            assert_eq!(all.iter().map(|cut| cut.length).sum::<usize>(), blob.len(), "{shift}");
            let mut cutter = Cutter::new(&blob[..MAX], blob.len() as u64);
            let mut rest = blob.as_slice();
            for cut in all {
                assert_eq!(cutter.next(&rest[..rest.len().min(MAX)]), cut, "{shift}");
                rest = &rest[cut.length..];
            }
        }
    }
}
