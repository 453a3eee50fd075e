//! What one value of a `bytea` column is, held against what its row and a rule say of it: the same
//! judgement for a blob of an archive and for a value of a live database.

use super::codes::Code;
use super::images::{Declared, Fault, Kind};
use crate::format::rules::Algorithm;

/// What is known of one blob.
#[derive(Debug, Default)]
pub(crate) struct Facts {
    pub(super) kind: Option<Kind>,
    /// Why it did not decode, where that was tried.
    pub(super) image: Option<Fault>,
    pub(super) md5: Vec<u8>,
    pub(super) sha1: Vec<u8>,
    pub(super) sha256: Vec<u8>,
}

/// What is asked of one value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    /// It has to be an image that decodes.
    pub(super) image: bool,
    /// The type its row declares.
    pub(super) declared: Declared,
    /// The checksum its row declares.
    pub(super) sum: Option<(Algorithm, &'a [u8])>,
}

impl Facts {
    /// Everything that is wrong, in the order of the codes' families.
    pub(super) fn faults(&self, asked: Asked<'_>) -> Vec<(Code, String)> {
        let mut out = Vec::new();
        let found = self.kind.map_or("of no known type", Kind::media_type);
        if !asked.declared.fits(self.kind) {
            out.push((Code::MediaType, format!("its content is {found}")));
        }
        if let Some((algorithm, sum)) = asked.sum {
            let have = match algorithm {
                Algorithm::Md5 => &self.md5,
                Algorithm::Sha1 => &self.sha1,
                Algorithm::Sha256 => &self.sha256,
            };
            if have != sum {
                let what = format!("its {} is {}", algorithm.name(), hex(have));
                out.push((Code::Checksum, what));
            }
        }
        if asked.image && !self.kind.is_some_and(Kind::is_image) {
            out.push((Code::ImageDamaged, format!("its content is {found}, not an image")));
            return out;
        }
        let (code, what) = match (&self.image, asked.image) {
            (None, _) => return out,
            (Some(Fault::Damaged(what)), true) => (Code::ImageDamaged, what),
            (Some(Fault::Damaged(what)), false) => (Code::ImageDamagedNoRule, what),
            (Some(Fault::TooLarge(what)), true) => (Code::ImageTooLarge, what),
            (Some(Fault::TooLarge(what)), false) => (Code::ImageTooLargeNoRule, what),
            (Some(Fault::Unsupported(what)), _) => (Code::ImageNotDecoded, what),
        };
        out.push((code, format!("{found}: {what}")));
        out
    }
}

/// The bytes of the checksum that a row declares; if it is none, what it is instead.
pub(crate) fn checksum(column: &str, text: &[u8], algorithm: Algorithm) -> Result<Vec<u8>, String> {
    unhex(text).filter(|sum| sum.len() == algorithm.length()).ok_or_else(|| {
        let shown = String::from_utf8_lossy(text.get(..80).unwrap_or(text));
        format!("{column} = {shown} is no {}", algorithm.name())
    })
}

/// Hex digits in lower case.
pub(super) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits
        .filter_map(|digit| DIGITS.get(usize::from(digit)))
        .map(|digit| char::from(*digit))
        .collect()
}

/// The bytes of hex digits of either case, a leading `\x` aside.
fn unhex(text: &[u8]) -> Option<Vec<u8>> {
    let text = text.trim_ascii();
    let (pairs, odd) = text.strip_prefix(b"\\x").unwrap_or(text).as_chunks::<2>();
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let bytes = pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?));
    if odd.is_empty() { bytes.collect() } else { None }
}
