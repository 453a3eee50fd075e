//! File names made of values from a database, which may be anything.
//!
//! A name never leaves its folder, never hides, means the same on every common file system, and
//! is never that of another file, letter case aside. The same values in the same order always get
//! the same names.

use std::collections::HashMap;

use super::media::{self, Media};
use crate::format::digest::Digest;

/// The longest stem, in bytes: with number and extension it stays below the 255 of file systems.
const LONGEST: usize = 180;

/// The file that lists the others.
pub const MANIFEST: &str = "manifest.csv";

/// Names given so far.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// By the digest of the name in lower case: what number the next file of that name tries.
    taken: HashMap<u64, u32>,
}

impl Names {
    pub(super) fn new() -> Self {
        let mut names = Self::default();
        names.take(MANIFEST);
        names
    }

    /// A name for a file of this kind, after `value`; `row` names it where the value does not.
    pub(super) fn name(&mut self, value: &str, row: u64, media: Media) -> String {
        let stem = stem(value, row, media);
        let first = format!("{stem}.{}", media.extension);
        if self.take(&first) {
            return first;
        }
        let mut number = self.taken.get(&key(&first)).copied().unwrap_or(2);
        loop {
            let name = format!("{stem}-{number}.{}", media.extension);
            number = number.saturating_add(1);
            if self.take(&name) {
                self.taken.insert(key(&first), number);
                return name;
            }
        }
    }

    fn take(&mut self, name: &str) -> bool {
        let free = !self.taken.contains_key(&key(name));
        if free {
            self.taken.insert(key(name), 2);
        }
        free
    }
}

/// Two names with one key cost the later one a number in its name, whether they are equal or not.
fn key(name: &str) -> u64 {
    let folded: String =
        name.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect();
    let digest = Digest::of(folded.as_bytes()).0;
    digest.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

fn stem(value: &str, row: u64, media: Media) -> String {
    let value = without_extension(value, media);
    let mut stem: String = value.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
    // Hidden files, `..`, options of commands; names that end in a blank or a dot.
    let begin = stem.len() - stem.trim_start_matches(['.', '-', ' ', '~']).len();
    if begin > 0 {
        stem.replace_range(..begin, &"_".repeat(begin.min(2)));
    }
    let end = stem.trim_end_matches(['.', ' ']).len();
    stem.truncate(end);
    if stem.is_empty() {
        return format!("row-{row}");
    }
    if is_reserved(&stem) {
        stem.insert(0, '_');
    }
    if stem.len() > LONGEST {
        let digest = Digest::of(value.as_bytes()).to_string();
        let mut end = LONGEST;
        while !stem.is_char_boundary(end) {
            end -= 1;
        }
        stem.truncate(end);
        stem.push('~');
        stem.push_str(digest.get(..8).unwrap_or_default());
    }
    stem
}

/// Without an extension that says what the content says, or wrongly that it is another image.
fn without_extension(value: &str, media: Media) -> &str {
    const IMAGES: &[&str] = &[
        "png", "jpg", "jpeg", "jpe", "jfif", "gif", "webp", "svg", "bmp", "tif", "tiff", "avif",
        "heic", "heif", "ico", "pdf",
    ];
    let Some((stem, extension)) = value.rsplit_once('.') else { return value };
    let extension = extension.to_ascii_lowercase();
    let known = media != media::UNKNOWN && IMAGES.contains(&extension.as_str());
    if !stem.is_empty() && (known || media::fits(media, &extension)) { stem } else { value }
}

fn is_plain(c: char) -> bool {
    let special = matches!(c, '/' | '\\' | '<' | '>' | ':' | '"' | '|' | '?' | '*' | '\u{fffd}');
    // Invisible ones, and those that turn the direction of text around.
    let unseen = matches!(
        c,
        '\u{ad}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{180e}' | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffc}'
            | '\u{e0000}'..='\u{e007f}'
    );
    !(special || unseen || c.is_control())
}

/// Names that Windows keeps for devices, whatever their extension.
fn is_reserved(stem: &str) -> bool {
    let first = stem.split('.').next().unwrap_or_default().trim_end().to_ascii_uppercase();
    let numbered = |device: &str| {
        first.strip_prefix(device).is_some_and(|rest| {
            matches!(rest, "\u{b9}" | "\u{b2}" | "\u{b3}")
                || (rest.len() == 1 && rest.bytes().all(|byte| byte.is_ascii_digit()))
        })
    };
    matches!(first.as_str(), "CON" | "PRN" | "AUX" | "NUL" | "CONIN$" | "CONOUT$")
        || numbered("COM")
        || numbered("LPT")
}

#[cfg(test)]
mod tests {
    //! Guards against files outside of the folder, and against one blob under another's name.
    use super::*;

    const PNG: Media = Media { media_type: "image/png", extension: "png" };

    fn all(values: &[&str]) -> Vec<String> {
        let mut names = Names::new();
        values.iter().zip(1..).map(|(value, row)| names.name(value, row, PNG)).collect()
    }

    #[test]
    fn hostile_values() {
        for (value, name) in [
            ("../../etc/passwd", "___.._etc_passwd.png"),
            ("/etc/passwd", "_etc_passwd.png"),
            ("..", "__.png"),
            (".", "_.png"),
            (".hidden", "_hidden.png"),
            ("-rf", "_rf.png"),
            ("a\\b:c", "a_b_c.png"),
            ("a\0b\nc\u{1b}[2J", "a_b_c_[2J.png"),
            ("gnp.\u{202e}exe", "gnp._exe.png"),
            ("CON", "_CON.png"),
            ("nul.txt", "_nul.txt.png"),
            ("com1", "_com1.png"),
            ("com10", "com10.png"),
            ("a. . ", "a.png"),
            ("", "row-7.png"),
            ("   ", "__.png"),
            ("កខ", "កខ.png"),
            ("photo.PNG", "photo.png"),
            ("photo.jpeg", "photo.png"),
            ("v1.2", "v1.2.png"),
            (".png", "_png.png"),
        ] {
            assert_eq!(Names::new().name(value, 7, PNG), name, "{value:?}");
        }
        let long = Names::new().name(&"ក".repeat(300), 1, PNG);
        assert!(long.len() < 220 && long.contains('~'), "{long}");
        let other = Names::new().name(&format!("{}x", "ក".repeat(299)), 1, PNG);
        assert_ne!(long, other);
    }

    #[test]
    fn collisions() {
        assert_eq!(
            all(&["a", "A", "a", "a-2", "a/b", "a_b", "manifest"]),
            ["a.png", "A-2.png", "a-3.png", "a-2-2.png", "a_b.png", "a_b-2.png", "manifest.png"]
        );
        let csv = Media { media_type: "text/csv", extension: "csv" };
        assert_eq!(Names::new().name("Manifest", 1, csv), "Manifest-2.csv");
        // Their files would be one where letter case does not count.
        assert_eq!(all(&["STRASSE", "straße"]), ["STRASSE.png", "straße-2.png"]);
    }
}
