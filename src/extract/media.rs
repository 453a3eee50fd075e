//! What kind of file some bytes are, told from their beginning.

/// How many bytes at the beginning are looked at.
pub const LOOKED_AT: usize = 1024;

/// A kind of file.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Media {
    /// Its media type.
    pub media_type: &'static str,
    /// The extension of its files.
    pub extension: &'static str,
}

const fn media(media_type: &'static str, extension: &'static str) -> Media {
    Media { media_type, extension }
}

/// Anything that is not known.
pub const UNKNOWN: Media = media("application/octet-stream", "bin");

/// Beginnings that tell by themselves.
const MAGIC: &[(&[u8], Media)] = &[
    (b"\x89PNG\r\n\x1a\n", media("image/png", "png")),
    (b"\xff\xd8\xff", media("image/jpeg", "jpg")),
    (b"GIF87a", media("image/gif", "gif")),
    (b"GIF89a", media("image/gif", "gif")),
    (b"%PDF-", media("application/pdf", "pdf")),
    (b"II*\0", media("image/tiff", "tif")),
    (b"MM\0*", media("image/tiff", "tif")),
    (b"\0\0\x01\0", media("image/vnd.microsoft.icon", "ico")),
    (b"8BPS", media("image/vnd.adobe.photoshop", "psd")),
    (b"\xff\x0a", media("image/jxl", "jxl")),
    (b"\0\0\0\x0cJXL \r\n\x87\n", media("image/jxl", "jxl")),
    (b"\0\0\0\x0cjP  \r\n\x87\n", media("image/jp2", "jp2")),
    (b"PK\x03\x04", media("application/zip", "zip")),
    (b"\x1f\x8b", media("application/gzip", "gz")),
    (b"\x28\xb5\x2f\xfd", media("application/zstd", "zst")),
    (b"7z\xbc\xaf\x27\x1c", media("application/x-7z-compressed", "7z")),
    (b"OggS", media("application/ogg", "ogg")),
    (b"fLaC", media("audio/flac", "flac")),
    (b"ID3", media("audio/mpeg", "mp3")),
    (b"\x1a\x45\xdf\xa3", media("video/webm", "webm")),
    (b"wOFF", media("font/woff", "woff")),
    (b"wOF2", media("font/woff2", "woff2")),
];

/// What the file is that begins with `head` (its first [`LOOKED_AT`] bytes, or all).
pub fn sniff(head: &[u8]) -> Media {
    if let Some((_, media)) = MAGIC.iter().find(|(magic, _)| head.starts_with(magic)) {
        return *media;
    }
    let at =
        |from: usize, wanted: &[u8]| head.get(from..).is_some_and(|rest| rest.starts_with(wanted));
    if at(0, b"RIFF") && at(8, b"WEBP") {
        return media("image/webp", "webp");
    }
    if at(0, b"RIFF") && at(8, b"WAVE") {
        return media("audio/wav", "wav");
    }
    if at(4, b"ftyp") {
        return match head.get(8..12) {
            Some(b"avif" | b"avis") => media("image/avif", "avif"),
            Some(b"heic" | b"heix" | b"mif1" | b"msf1") => media("image/heic", "heic"),
            Some(b"qt  ") => media("video/quicktime", "mov"),
            _ => media("video/mp4", "mp4"),
        };
    }
    // `BM`, the file's length, four zero bytes.
    if at(0, b"BM") && at(6, &[0; 4]) && head.len() >= 26 {
        return media("image/bmp", "bmp");
    }
    if is_svg(head) {
        return media("image/svg+xml", "svg");
    }
    UNKNOWN
}

/// Whether the first element of what may be XML is `svg`.
fn is_svg(head: &[u8]) -> bool {
    let mut rest = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start();
    loop {
        let end: &[u8] = match rest {
            [b'<', b'?', ..] => b"?>",
            [b'<', b'!', b'-', b'-', ..] => b"-->",
            [b'<', b'!', ..] => b">",
            _ => break,
        };
        let Some(at) = rest.windows(end.len()).position(|run| run == end) else { return false };
        rest = rest.get(at + end.len()..).unwrap_or_default().trim_ascii_start();
    }
    rest.strip_prefix(b"<svg:").is_some_and(|rest| rest.starts_with(b"svg"))
        || rest.strip_prefix(b"<svg").is_some_and(|rest| {
            rest.first().is_some_and(|byte| byte.is_ascii_whitespace() || *byte == b'>')
        })
}

/// Whether files of this kind may as well have this extension (in lower case).
pub(super) fn fits(media: Media, extension: &str) -> bool {
    media.extension == extension
        || matches!(
            (media.extension, extension),
            ("jpg", "jpeg" | "jpe" | "jfif")
                | ("tif", "tiff")
                | ("heic", "heif")
                | ("mp4", "m4v" | "m4a")
                | ("ogg", "oga" | "ogv" | "opus")
                | ("webm", "mkv")
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beginnings() {
        let kind = |head: &[u8]| sniff(head).extension;
        assert_eq!(kind(b"\x89PNG\r\n\x1a\n..."), "png");
        assert_eq!(kind(b"\xff\xd8\xff\xe0"), "jpg");
        assert_eq!(kind(b"GIF89a"), "gif");
        assert_eq!(kind(b"RIFF\x01\x02\x03\x04WEBPVP8 "), "webp");
        assert_eq!(kind(b"RIFF\x01\x02\x03\x04AVI "), "bin");
        assert_eq!(kind(b"%PDF-1.7"), "pdf");
        assert_eq!(kind(b"\0\0\0\x1cftypavif"), "avif");
        assert_eq!(kind(b"<svg xmlns='x'/>"), "svg");
        assert_eq!(
            kind(b"\xef\xbb\xbf<?xml version='1.0'?>\n<!-- <svg> -->\n<!DOCTYPE svg>\n<svg>"),
            "svg"
        );
        assert_eq!(kind(b"<html><svg></svg></html>"), "bin");
        assert_eq!(kind(b"<?xml"), "bin");
        assert_eq!(kind(b""), "bin");
        assert_eq!(kind(b"plain text"), "bin");
    }
}
