//! What it is worth that pictures are cut between what describes them and their pixels: of copies that
//! differ in their description alone, how many bytes are stored, cut that way and by content alone.
//!
//!     edited_pictures FOLDER...
//!
//! Takes the JPEG and PNG files of more than 64 KiB in the folders. Smaller ones are never cut.

use std::collections::HashSet;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use pgark::format::chunking::{Cutter, WHOLE};
use pgark::format::digest::Digest;

type Bytes = Vec<u8>;

/// What is said in a picture of it, of about so many bytes, each time something else.
fn text(length: usize, seed: u64) -> Bytes {
    let words = (0..).flat_map(|word: u64| {
        let digest = Digest::of(&[seed.to_le_bytes(), word.to_le_bytes()].concat()).to_string();
        let start: String = digest.chars().take(7).collect();
        (start + " ").into_bytes()
    });
    words.take(length).collect()
}

fn segment(code: u8, body: &[u8]) -> Bytes {
    let length = u16::try_from(body.len() + 2).unwrap_or(u16::MAX).to_be_bytes();
    [&[0xff, code], &length[..], body].concat()
}

/// EXIF: a TIFF header and one directory, of one text.
fn exif(text: &[u8]) -> Bytes {
    let count = u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes();
    let directory: &[u8] = &[0, 1, 0x01, 0x0e, 0, 2];
    let tiff = [b"MM\0\x2a\0\0\0\x08", directory, &count, &26_u32.to_be_bytes(), &[0; 4], text];
    segment(0xe1, &[&b"Exif\0\0"[..], &tiff.concat()].concat())
}

fn xmp(text: &[u8]) -> Bytes {
    segment(0xe1, &[&b"http://ns.adobe.com/xap/1.0/\0"[..], text].concat())
}

fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        let shift = |crc: u32, _| if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 };
        (0..8).fold(crc ^ u32::from(*byte), shift)
    })
}

fn part(name: [u8; 4], body: &[u8]) -> Bytes {
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes();
    let named = [&name[..], body].concat();
    [&length[..], &named, &crc(&named).to_be_bytes()].concat()
}

/// The picture with something more said in it: in front of the pixels, where programs put it.
fn described(picture: &[u8], more: &[u8]) -> Option<Bytes> {
    // Behind the signature and IHDR of a PNG; behind the first marker of a JPEG, or JFIF's own segment.
    let at = if picture.starts_with(b"\x89PNG") {
        33
    } else if picture.get(3) == Some(&0xe0) {
        4 + usize::from(u16::from_be_bytes(*picture.get(4..)?.first_chunk()?))
    } else {
        2
    };
    let (front, back) = picture.split_at_checked(at)?;
    Some([front, more, back].concat())
}

/// Bytes of chunks that are not among those of another picture.
fn added(first: &[u8], copy: &[u8], cutter: fn(&[u8]) -> Cutter) -> usize {
    let cut = |bytes: &[u8]| {
        let (mut cutter, mut rest) = (cutter(bytes), bytes);
        let mut chunks = Vec::new();
        while !rest.is_empty() {
            let (chunk, after) = rest.split_at(cutter.next(rest).length);
            chunks.push((Digest::of(chunk), chunk.len()));
            rest = after;
        }
        chunks
    };
    let known: HashSet<_> = cut(first).into_iter().collect();
    cut(copy).iter().filter(|chunk| !known.contains(chunk)).map(|(_, length)| length).sum()
}

fn wide(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

fn find(folder: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let kind = std::fs::symlink_metadata(&path)?;
        if kind.is_dir() {
            find(&path, found)?;
        } else if kind.is_file() && kind.len() > wide(WHOLE) {
            found.push(path);
        }
    }
    Ok(())
}

#[derive(Default)]
struct Sum {
    pictures: u64,
    bytes: u64,
    split: u64,
    content: u64,
}

/// The kinds of edits: what the picture had before, if anything, and what the copy has.
type Edit = (&'static str, fn(u64) -> Bytes, fn(u64) -> Bytes);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut files = Vec::new();
    for folder in std::env::args().skip(1) {
        find(Path::new(&folder), &mut files)?;
    }
    let jpeg: [Edit; 4] = [
        ("JPEG, other EXIF", |n| exif(&text(900, 2 * n)), |n| exif(&text(900, 2 * n + 1))),
        ("JPEG, EXIF 3 KB longer", |n| exif(&text(900, n)), |n| exif(&text(4000, n))),
        ("JPEG, other XMP", |n| xmp(&text(3000, 2 * n)), |n| xmp(&text(3100, 2 * n + 1))),
        ("JPEG, EXIF where there was none", |_| Vec::new(), |n| exif(&text(900, n))),
    ];
    let png: [Edit; 3] = [
        ("PNG, other tEXt", |n| tell(&text(900, 2 * n)), |n| tell(&text(900, 2 * n + 1))),
        ("PNG, tEXt 3 KB longer", |n| tell(&text(900, n)), |n| tell(&text(4000, n))),
        ("PNG, tEXt where there was none", |_| Vec::new(), |n| tell(&text(900, n))),
    ];
    let mut sums: Vec<(&str, Sum)> =
        jpeg.iter().chain(&png).map(|(name, ..)| (*name, Sum::default())).collect();
    let mut seen = HashSet::new();
    for (number, file) in (0..).zip(&files) {
        let picture = std::fs::read(file)?;
        let edits: &[Edit] = match &picture {
            it if it.starts_with(b"\xff\xd8\xff") => &jpeg,
            it if it.starts_with(b"\x89PNG\r\n\x1a\n") => &png,
            _ => continue,
        };
        if !seen.insert(Digest::of(&picture)) {
            continue;
        }
        for (name, before, after) in edits {
            let (before, after) = (before(number), after(number));
            let pictures = described(&picture, &before).zip(described(&picture, &after));
            let Some((first, copy)) = pictures else { continue };
            let Some((_, sum)) = sums.iter_mut().find(|(of, _)| of == name) else { continue };
            sum.pictures += 1;
            sum.bytes += wide(copy.len());
            sum.split += wide(added(&first, &copy, |bytes| Cutter::new(bytes, wide(bytes.len()))));
            sum.content +=
                wide(added(&first, &copy, |bytes| Cutter::by_content(wide(bytes.len()))));
        }
    }
    let mut out = io::stdout();
    writeln!(out, "| copies with | pictures | bytes | stored | stored, cut by content alone |")?;
    writeln!(out, "|---|---|---|---|---|")?;
    for (name, sum) in sums.iter().filter(|(_, sum)| sum.pictures > 0) {
        let share = |stored: u64| {
            let tenths = stored * 1000 / sum.bytes.max(1);
            format!("{}.{} %", tenths / 10, tenths % 10)
        };
        let bytes = sum.bytes / 1_000_000;
        let (split, content) = (share(sum.split), share(sum.content));
        writeln!(out, "| {name} | {} | {bytes} MB | {split} | {content} |", sum.pictures)?;
    }
    Ok(())
}

/// A text in a PNG.
fn tell(text: &[u8]) -> Bytes {
    part(*b"tEXt", &[&b"Description\0"[..], text].concat())
}
