//! Where the pixels of a picture begin and end. What was edited in a copy is mostly what describes
//! the picture (EXIF, XMP, a title), and that stands in front of the pixels or behind them.

/// In how many of the first bytes the pixels must begin.
const SEARCHED: usize = 1 << 20;
/// Less than this of description is not worth a chunk of its own.
const WORTH: usize = 256;
/// What a PNG begins with (third edition, 5.2).
const PNG: &[u8; 8] = b"\x89PNG\r\n\x1a\n";

/// A picture whose pixels are told from the rest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Picture {
    /// It is a PNG (third edition): parts, of which those named IDAT are the pixels. Else it is a
    /// JPEG (ITU T.81): segments, and all from the first scan on is pixels.
    pub(super) png: bool,
    /// Where the pixels begin.
    pub(super) pixels: usize,
    /// Whether enough stands before them that is no part of them.
    pub(super) described: bool,
}

impl Picture {
    /// What the first bytes of a blob tell: all of it, or at least [`SEARCHED`] bytes.
    pub(super) fn of(start: &[u8]) -> Option<Self> {
        let start = start.get(..SEARCHED).unwrap_or(start);
        let png = start.starts_with(PNG);
        let (pixels, described) = if png { parts(start) } else { segments(start) }?;
        Some(Self { png, pixels, described: described >= WORTH })
    }
}

fn wide(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// Where the first IDAT begins, and how many bytes of what is before it describe the picture.
fn parts(start: &[u8]) -> Option<(usize, usize)> {
    let (mut at, mut described) = (PNG.len(), 0_usize);
    loop {
        let (name, length) = png_part(start, at)?;
        match &name {
            b"IDAT" => return Some((at, described)),
            b"IHDR" | b"PLTE" | b"tRNS" => {}
            _ => described = described.saturating_add(length),
        }
        at = at.checked_add(length)?.checked_add(12)?;
    }
}

/// The name and the length of the data of the part that begins at `at`.
fn png_part(bytes: &[u8], at: usize) -> Option<([u8; 4], usize)> {
    let head = bytes.get(at..)?.first_chunk::<8>()?;
    let (length, name) = head.split_first_chunk::<4>()?;
    Some((*name.first_chunk()?, wide(u32::from_be_bytes(*length))))
}

/// Where the first scan begins, and how many bytes of what is before it describe the picture.
fn segments(start: &[u8]) -> Option<(usize, usize)> {
    let mut rest = start.strip_prefix(b"\xff\xd8")?;
    let mut described = 0_usize;
    loop {
        let marker = start.len() - rest.len();
        let (&[fill, code], after) = rest.split_first_chunk::<2>()?;
        if fill != 0xff {
            return None;
        }
        if code == 0xda {
            return Some((marker, described));
        }
        let length = u16::from_be_bytes(*after.first_chunk()?);
        // APP1 to APP15, and comments. APP0 is JFIF's own.
        if matches!(code, 0xe1..=0xef | 0xfe) {
            described = described.saturating_add(usize::from(length));
        }
        rest = after.get(usize::from(length)..)?;
    }
}

/// Walks along the parts of a PNG's pixels, to find where they end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Walk {
    /// Where the next part begins, from the first byte that is not cut off yet.
    next: usize,
}

impl Walk {
    /// Bytes of a part's length and name.
    pub(super) const HEAD: usize = 8;

    pub(super) fn new(pixels: usize) -> Self {
        Self { next: pixels }
    }

    /// Where within `rest` the pixels end, if they do.
    pub(super) fn end(&mut self, rest: &[u8]) -> Option<usize> {
        while let Some((name, length)) = png_part(rest, self.next) {
            if &name != b"IDAT" {
                return Some(self.next);
            }
            self.next = self.next.saturating_add(length).saturating_add(12);
        }
        None
    }

    /// So many bytes are cut off. Not true if a part begins in them, and so is not followed.
    pub(super) fn cut(&mut self, length: usize) -> bool {
        let left = self.next.checked_sub(length);
        self.next = left.unwrap_or(0);
        left.is_some()
    }
}
