//! The type of some bytes by their content, and the type that a row declares.

/// How many of the first bytes tell the type.
pub(in crate::verify) const HEAD: usize = 1024;

/// A type of content that is known by how it begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(in crate::verify) enum Kind {
    Png = 1,
    Jpeg,
    Gif,
    WebP,
    Svg,
    Bmp,
    Tiff,
    Avif,
    Heic,
    Ico,
    Pdf,
    Zip,
}

/// What a row says of a blob's type.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::verify) enum Declared {
    /// Nothing.
    Nothing,
    /// A type that is known by content.
    Known(Kind),
    /// Another type, of which the content is not known.
    Other,
}

impl Kind {
    const ALL: [Self; 12] = [
        Self::Png,
        Self::Jpeg,
        Self::Gif,
        Self::WebP,
        Self::Svg,
        Self::Bmp,
        Self::Tiff,
        Self::Avif,
        Self::Heic,
        Self::Ico,
        Self::Pdf,
        Self::Zip,
    ];

    /// Its media type.
    pub(in crate::verify) fn media_type(self) -> &'static str {
        match self {
            Self::Png => "image/png",
            Self::Jpeg => "image/jpeg",
            Self::Gif => "image/gif",
            Self::WebP => "image/webp",
            Self::Svg => "image/svg+xml",
            Self::Bmp => "image/bmp",
            Self::Tiff => "image/tiff",
            Self::Avif => "image/avif",
            Self::Heic => "image/heic",
            Self::Ico => "image/x-icon",
            Self::Pdf => "application/pdf",
            Self::Zip => "application/zip",
        }
    }

    pub(in crate::verify) fn is_image(self) -> bool {
        !matches!(self, Self::Pdf | Self::Zip)
    }

    /// Whether there is a decoder for it.
    pub(in crate::verify) fn decodes(self) -> bool {
        matches!(self, Self::Png | Self::Jpeg | Self::Gif | Self::WebP | Self::Svg)
    }
}

impl Declared {
    /// As a byte of a record.
    pub(in crate::verify) fn code(self) -> u8 {
        match self {
            Self::Nothing => 0,
            Self::Known(kind) => kind as u8,
            Self::Other => u8::MAX,
        }
    }

    pub(in crate::verify) fn of_code(code: u8) -> Self {
        if code == u8::MAX {
            return Self::Other;
        }
        Kind::ALL.into_iter().find(|kind| *kind as u8 == code).map_or(Self::Nothing, Self::Known)
    }

    /// Whether content of the type `found` may be declared as this.
    pub(in crate::verify) fn fits(self, found: Option<Kind>) -> bool {
        match (self, found) {
            (Self::Nothing, _) | (Self::Other, None) => true,
            (Self::Known(declared), Some(found)) => declared == found,
            // Many formats of documents are ZIP files.
            (Self::Other, Some(found)) => found == Kind::Zip,
            (Self::Known(_), None) => false,
        }
    }
}

/// The type that the first bytes tell, if they do.
pub(in crate::verify) fn sniff(bytes: &[u8]) -> Option<Kind> {
    let head = bytes.get(..HEAD).unwrap_or(bytes);
    let at = |from: usize, to: usize| head.get(from..to);
    let starts = |magic: &[u8]| head.starts_with(magic);
    if starts(b"\x89PNG\r\n\x1a\n") {
        Some(Kind::Png)
    } else if starts(b"\xff\xd8\xff") {
        Some(Kind::Jpeg)
    } else if starts(b"GIF87a") || starts(b"GIF89a") {
        Some(Kind::Gif)
    } else if starts(b"RIFF") && at(8, 12) == Some(b"WEBP") {
        Some(Kind::WebP)
    } else if starts(b"BM") && at(6, 10) == Some(&[0; 4]) {
        Some(Kind::Bmp)
    } else if starts(b"II*\0") || starts(b"MM\0*") {
        Some(Kind::Tiff)
    } else if at(4, 8) == Some(b"ftyp") {
        match at(8, 12) {
            Some(b"avif" | b"avis") => Some(Kind::Avif),
            Some(b"heic" | b"heix" | b"hevc" | b"mif1" | b"msf1") => Some(Kind::Heic),
            _ => None,
        }
    } else if starts(b"\0\0\x01\0") && head.len() >= 22 {
        Some(Kind::Ico)
    } else if starts(b"%PDF-") {
        Some(Kind::Pdf)
    } else if starts(b"PK\x03\x04") {
        Some(Kind::Zip)
    } else {
        svg(head).then_some(Kind::Svg)
    }
}

/// Whether an XML text begins whose first element is `svg`.
fn svg(head: &[u8]) -> bool {
    let text = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start();
    let lower = text.to_ascii_lowercase();
    let begins = |word: &[u8]| lower.starts_with(word);
    let element = || lower.windows(4).any(|window| window == b"<svg");
    begins(b"<svg")
        || ((begins(b"<?xml") || begins(b"<!--") || begins(b"<!doctype svg")) && element())
}

/// What a media type in a row comes to: parameters and case do not matter.
pub(in crate::verify) fn declared(text: &[u8]) -> Declared {
    let essence = text.split(|byte| *byte == b';').next().unwrap_or_default();
    let essence = String::from_utf8_lossy(essence.trim_ascii()).to_ascii_lowercase();
    Declared::Known(match essence.as_str() {
        "" => return Declared::Nothing,
        "image/png" | "image/x-png" | "image/apng" => Kind::Png,
        "image/jpeg" | "image/jpg" | "image/pjpeg" => Kind::Jpeg,
        "image/gif" => Kind::Gif,
        "image/webp" => Kind::WebP,
        "image/svg+xml" | "image/svg" => Kind::Svg,
        "image/bmp" | "image/x-ms-bmp" => Kind::Bmp,
        "image/tiff" => Kind::Tiff,
        "image/avif" => Kind::Avif,
        "image/heic" | "image/heif" => Kind::Heic,
        "image/x-icon" | "image/vnd.microsoft.icon" => Kind::Ico,
        "application/pdf" => Kind::Pdf,
        "application/zip" | "application/x-zip-compressed" => Kind::Zip,
        _ => return Declared::Other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declared_types_are_told_from_each_other() {
        for kind in Kind::ALL {
            let known = Declared::Known(kind);
            assert_eq!(declared(kind.media_type().as_bytes()), known);
            assert_eq!(Declared::of_code(known.code()), known);
            assert!(known.fits(Some(kind)) && !known.fits(None));
        }
        assert_eq!(declared(b" Image/JPG; q=1"), Declared::Known(Kind::Jpeg));
        assert_eq!(declared(b"text/plain"), Declared::Other);
        assert!(!Declared::Other.fits(Some(Kind::Png)) && Declared::Other.fits(None));
        assert!(!Declared::Known(Kind::Png).fits(Some(Kind::Jpeg)));
        assert!(Declared::Nothing.fits(None) && Declared::Nothing.fits(Some(Kind::Gif)));
    }

    #[test]
    fn svg_is_told_from_other_xml() {
        assert_eq!(sniff(b"\xef\xbb\xbf <?xml version='1.0'?>\n<!-- x --><svg/>"), Some(Kind::Svg));
        assert_eq!(sniff(b"<?xml version='1.0'?><rss/>"), None);
        assert_eq!(sniff(b"<html><svg/></html>"), None);
        assert_eq!(sniff(b""), None);
    }
}
