//! The text of a dump in an encoding of one byte a character, on its way to UTF-8.

use std::fmt;

use super::encodings::ENCODINGS;
use super::error::DumpFileError;

/// How the text of a dump is encoded.
#[derive(Clone, Copy, Default)]
pub(super) enum Encoding {
    /// UTF-8, or bytes that nobody knows anything of (`SQL_ASCII`): taken as they are.
    #[default]
    AsItIs,
    /// A name, and what the bytes from 0x80 on stand for; 0 if for nothing.
    Table(&'static str, &'static [u16; 128]),
}

/// A byte that stands for nothing.
#[derive(Debug)]
pub(super) struct Unmapped {
    /// Where it is.
    pub(super) at: usize,
    byte: u8,
    encoding: &'static str,
}

impl fmt::Display for Unmapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the byte 0x{:02x}, which is no character of {}", self.byte, self.encoding)
    }
}

impl Encoding {
    /// The one that `SET client_encoding` names.
    pub(super) fn named(name: &str) -> Result<Self, DumpFileError> {
        let name = name.to_ascii_uppercase();
        if matches!(name.as_str(), "UTF8" | "SQL_ASCII") {
            return Ok(Self::AsItIs);
        }
        let table = ENCODINGS.iter().find(|(known, _)| *known == name);
        table.map(|(name, table)| Self::Table(name, table)).ok_or_else(|| {
            DumpFileError::Unsupported(format!(
                "it is encoded in {name}: dump with pg_dump --encoding=UTF8"
            ))
        })
    }

    /// The name of one that has to be converted.
    pub(super) fn name(self) -> Option<&'static str> {
        match self {
            Self::AsItIs => None,
            Self::Table(name, _) => Some(name),
        }
    }

    /// Whether text has to be converted.
    pub(super) fn converts(self) -> bool {
        matches!(self, Self::Table(..))
    }

    /// Bytes of the dump as UTF-8.
    pub(super) fn decode(self, bytes: Vec<u8>) -> Result<Vec<u8>, (Vec<u8>, Unmapped)> {
        let Self::Table(encoding, table) = self else { return Ok(bytes) };
        let Some(first) = bytes.iter().position(|byte| !byte.is_ascii()) else { return Ok(bytes) };
        let mut out = Vec::with_capacity(bytes.len() + bytes.len() / 8);
        out.extend_from_slice(bytes.get(..first).unwrap_or_default());
        for (at, byte) in bytes.iter().enumerate().skip(first) {
            if byte.is_ascii() {
                out.push(*byte);
                continue;
            }
            let code = table.get(usize::from(byte & 0x7f)).copied().unwrap_or(0);
            let character = char::from_u32(code.into()).filter(|c| *c != '\0');
            let Some(character) = character else {
                let unmapped = Unmapped { at, byte: *byte, encoding };
                return Err((bytes, unmapped));
            };
            out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        }
        Ok(out)
    }

    /// Text of the dump that is a statement or a name.
    pub(super) fn text(self, bytes: Vec<u8>) -> Result<String, String> {
        let shown = |bytes: &[u8]| -> String {
            String::from_utf8_lossy(bytes).trim_start().chars().take(80).collect()
        };
        if self.converts() && !bytes.is_ascii() {
            let decoded = self.decode(bytes);
            let decoded =
                decoded.map_err(|(bytes, wrong)| format!("{wrong} ({:?})", shown(&bytes)))?;
            return Ok(String::from_utf8_lossy(&decoded).into_owned());
        }
        String::from_utf8(bytes)
            .map_err(|error| format!("bytes that are not UTF-8 ({:?})", shown(error.as_bytes())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is ASCII stays, and nothing else becomes that: a tab or a backslash would make other
    /// rows of it.
    #[test]
    fn every_table() {
        for (name, table) in &ENCODINGS {
            assert!(table.iter().all(|code| *code == 0 || *code >= 0x80), "{name}");
            let encoding = Encoding::named(name).unwrap();
            let ascii: Vec<u8> = (0..0x80).collect();
            assert_eq!(encoding.decode(ascii.clone()).unwrap(), ascii);
            for (byte, code) in (0x80..=0xff).zip(table) {
                let text = encoding.decode(vec![b'a', byte]);
                match text {
                    Ok(text) => {
                        let text = String::from_utf8(text).unwrap();
                        let character = text.strip_prefix('a').unwrap();
                        assert_eq!(
                            character.chars().map(u32::from).collect::<Vec<_>>(),
                            [u32::from(*code)]
                        );
                    }
                    Err((_, wrong)) => assert_eq!((*code, wrong.at, wrong.byte), (0, 1, byte)),
                }
            }
        }
    }

    /// What the web calls by these names is another table.
    #[test]
    fn not_those_of_the_web() {
        let one =
            |name: &str, byte| Encoding::named(name).unwrap().text(vec![byte]).map_err(|_| ());
        assert_eq!(one("LATIN1", 0x80).as_deref(), Ok("\u{80}"));
        assert_eq!(one("LATIN9", 0xa4).as_deref(), Ok("€"));
        assert_eq!(one("WIN1252", 0x80).as_deref(), Ok("€"));
        assert_eq!(one("WIN1252", 0x81), Err(()));
        assert_eq!(one("KOI8R", 0xc1).as_deref(), Ok("а"));
        for name in ["EUC_JP", "BIG5", "MULE_INTERNAL", "SJIS", ""] {
            assert!(Encoding::named(name).is_err(), "{name}");
        }
    }
}
