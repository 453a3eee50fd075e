//! Whether an image is whole: its parts are followed to its end, its pixels are not decoded. A file
//! that was cut off has no end, and a PNG has a checksum of each part.

use super::{Fault, Kind};

/// Follows an image of a raster type to its end.
pub(super) fn follow(kind: Kind, bytes: &[u8]) -> Result<(), Fault> {
    match kind {
        Kind::Png => png(bytes),
        Kind::Jpeg => jpeg(bytes),
        Kind::Gif => gif(bytes),
        Kind::WebP => webp(bytes),
        _ => Ok(()),
    }
}

fn damaged(what: &str) -> Fault {
    Fault::Damaged(what.into())
}

/// PNG (third edition), 5.3: length, type, data, and a CRC of type and data.
fn png(bytes: &[u8]) -> Result<(), Fault> {
    let mut rest = bytes.get(8..).unwrap_or_default();
    loop {
        let Part { name, body, crc, after } =
            png_part(rest).ok_or_else(|| damaged("it is cut off"))?;
        if crc32fast::hash(body) != crc {
            let name = String::from_utf8_lossy(&name).into_owned();
            return Err(Fault::Damaged(format!("the checksum of its part {name:?} is wrong")));
        }
        if &name == b"IEND" {
            return Ok(());
        }
        rest = after;
    }
}

struct Part<'a> {
    name: [u8; 4],
    /// What the checksum is of: name and data.
    body: &'a [u8],
    crc: u32,
    after: &'a [u8],
}

fn png_part(rest: &[u8]) -> Option<Part<'_>> {
    let (length, after) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let (body, after) = after.split_at_checked(length.checked_add(4)?)?;
    let (crc, after) = after.split_first_chunk::<4>()?;
    Some(Part { name: *body.first_chunk()?, body, crc: u32::from_be_bytes(*crc), after })
}

/// The RIFF container says how long it is.
fn webp(bytes: &[u8]) -> Result<(), Fault> {
    let declared = bytes.get(4..8).and_then(|length| length.first_chunk::<4>());
    let declared = declared.map_or(0, |length| u64::from(u32::from_le_bytes(*length)));
    let have = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    if declared.saturating_add(8) > have { Err(damaged("it is cut off")) } else { Ok(()) }
}

/// A GIF ends with a trailer after its last block; a decoder does without it.
fn gif(bytes: &[u8]) -> Result<(), Fault> {
    let cut = || damaged("it is cut off after a picture");
    let table = |flags: u8| if flags & 0x80 == 0 { 0 } else { 3 << ((flags & 7) + 1) };
    let flags = *bytes.get(10).ok_or_else(cut)?;
    let mut at = 13 + table(flags);
    loop {
        at = match bytes.get(at).ok_or_else(cut)? {
            0x3b => return Ok(()),
            0x21 => at + 2,
            // The descriptor, its colours, and the length of the first codes.
            0x2c => at + 11 + table(*bytes.get(at + 9).ok_or_else(cut)?),
            _ => return Err(damaged("there is no block where one must be")),
        };
        loop {
            let length = *bytes.get(at).ok_or_else(cut)?;
            at += 1 + usize::from(length);
            if length == 0 {
                break;
            }
        }
    }
}

/// Follows the segments of a JPEG to its end marker; that of a thumbnail within a segment is not one.
fn jpeg(bytes: &[u8]) -> Result<(), Fault> {
    let cut = || damaged("it is cut off");
    let mut at = 2;
    loop {
        let (code, after) = jpeg_marker(bytes, at).ok_or_else(cut)?;
        at = after;
        if code == 0xd9 {
            return Ok(());
        }
        // Markers without a segment.
        if !matches!(code, 0x01 | 0xd8) {
            let length =
                bytes.get(at..).and_then(|rest| rest.first_chunk::<2>()).ok_or_else(cut)?;
            at += usize::from(u16::from_be_bytes(*length));
        }
    }
}

/// The next marker and where it ends. What is not a marker here is the data of a scan: in it FF is
/// followed by 0 or a restart.
fn jpeg_marker(bytes: &[u8], mut at: usize) -> Option<(u8, usize)> {
    loop {
        at += memchr::memchr(0xff, bytes.get(at..)?)? + 1;
        match *bytes.get(at)? {
            0 | 0xd0..=0xd7 => at += 1,
            // Filling.
            0xff => {}
            code => return Some((code, at + 1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A PNG's chunk.
    fn part(name: [u8; 4], data: &[u8]) -> Vec<u8> {
        let mut out = u32::try_from(data.len()).unwrap().to_be_bytes().to_vec();
        let body = [name.as_slice(), data].concat();
        out.extend_from_slice(&body);
        out.extend_from_slice(&crc32fast::hash(&body).to_be_bytes());
        out
    }

    fn assert_whole(kind: Kind, whole: &[u8], least: usize) {
        assert_eq!(follow(kind, whole), Ok(()));
        for length in least..whole.len() {
            assert!(follow(kind, &whole[..length]).is_err(), "{kind:?} of {length} bytes");
        }
        assert_eq!(follow(kind, &[whole, b"more"].concat()), Ok(()));
    }

    #[test]
    fn cut_off_anywhere() {
        let png = [b"\x89PNG\r\n\x1a\n".to_vec(), part(*b"IHDR", &[1; 13]), part(*b"IEND", &[])];
        assert_whole(Kind::Png, &png.concat(), 0);
        // A thumbnail's end within a segment, a stuffed FF, a restart, filling.
        let jpeg = b"\xff\xd8\xff\xe1\x00\x06\xff\xd8\xff\xd9\xff\xda\x00\x02ab\xff\x00c\xff\xd1d\xff\xff\xd9";
        assert_whole(Kind::Jpeg, jpeg, 0);
        let gif = b"GIF89a\x01\x00\x01\x00\x00\x00\x00\x21\xf9\x01a\x00\x2c\0\0\0\0\x01\0\x01\0\0\x02\x02L\x01\x00\x3b";
        assert_whole(Kind::Gif, gif, 0);
        assert_whole(Kind::WebP, b"RIFF\x06\x00\x00\x00WEBPVP", 12);
    }

    #[test]
    fn any_byte_of_a_png_part() {
        let whole =
            [b"\x89PNG\r\n\x1a\n".to_vec(), part(*b"IHDR", &[1; 13]), part(*b"IEND", &[])].concat();
        for at in 8..whole.len() {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            assert!(follow(Kind::Png, &changed).is_err(), "byte {at}");
        }
    }
}
