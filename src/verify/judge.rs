//! What one value of a `bytea` column is, held against what its row and a rule say of it: the same
//! judgement for a blob of an archive and for a value of a live database.

use md5::{Digest as _, Md5};
use sha1::Sha1;

use super::ImageCheck;
use super::codes::Code;
use super::images::{self, Declared, Fault, Kind};
use super::work::Gate;
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

    /// The same for a value of a live database: what its row declares, as text.
    #[cfg(feature = "postgres")]
    pub(crate) fn held_against(
        &self,
        image: bool,
        media: Option<&[u8]>,
        sum: Option<(Algorithm, &[u8])>,
    ) -> Vec<(Code, String)> {
        let declared = media.map_or(Declared::Nothing, images::declared);
        self.faults(Asked { image, declared, sum })
    }

    /// Whether it was seen to be an image that decodes.
    #[cfg(feature = "postgres")]
    pub(crate) fn is_whole(&self) -> bool {
        self.is_image() && self.image.is_none()
    }

    /// Whether it begins as an image does.
    #[cfg(feature = "postgres")]
    pub(crate) fn is_image(&self) -> bool {
        self.kind.is_some_and(Kind::is_image)
    }
}

/// Looks at values that come from elsewhere than an archive, and holds no more memory for it than it
/// is given.
#[cfg(feature = "postgres")]
#[derive(Debug)]
pub(crate) struct Looker {
    gate: Gate,
    images: ImageCheck,
}

/// What of a value is looked at.
#[cfg(feature = "postgres")]
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Look {
    /// Whether it decodes, if it is an image.
    pub(crate) image: bool,
    /// Its checksum.
    pub(crate) sum: Option<Algorithm>,
}

#[cfg(feature = "postgres")]
impl Looker {
    pub(crate) fn new(memory: usize, images: ImageCheck) -> Self {
        Self { gate: Gate::new(u64::try_from(memory).unwrap_or(u64::MAX)), images }
    }

    /// How many of the first bytes tell the type.
    pub(crate) const HEAD: usize = images::HEAD;
    /// Longest value that is looked at as an image, in bytes.
    pub(crate) const LONGEST: u64 = images::ENCODED;

    /// Looks at a value that is at hand whole; of one that is not, the first bytes tell its type.
    pub(crate) fn look(&self, bytes: &[u8], look: Look) -> Facts {
        let mut facts = Facts { kind: images::sniff(bytes), ..Facts::default() };
        if let Some(sum) = look.sum {
            let mut summer = Summer::new(sum);
            summer.update(bytes);
            summer.finish(&mut facts);
        }
        if let Some(kind) = facts.kind.filter(|kind| look.image && kind.is_image()) {
            facts.image = if kind.decodes() {
                match self.images {
                    ImageCheck::Pixels => {
                        let _held = self.gate.enter(images::need(kind, bytes));
                        images::decode(kind, bytes).err()
                    }
                    ImageCheck::Parts => images::follow(kind, bytes).err(),
                }
            } else {
                Some(Fault::Unsupported("its pixels are not decoded here".into()))
            };
        }
        facts
    }

    /// A value that is longer than is decoded, by its first bytes and its checksum.
    pub(crate) fn too_long(head: &[u8], length: u64, look: Look, summer: Option<Summer>) -> Facts {
        let mut facts = Facts { kind: images::sniff(head), ..Facts::default() };
        if look.image && facts.is_image() {
            facts.image = Some(Fault::TooLarge(format!("{length} bytes")));
        }
        if let Some(summer) = summer {
            summer.finish(&mut facts);
        }
        facts
    }
}

/// A checksum of bytes that come in pieces.
#[cfg(feature = "postgres")]
#[derive(Clone, Debug)]
pub(crate) enum Summer {
    Md5(Md5),
    Sha1(Sha1),
    Sha256(sha2::Sha256),
}

#[cfg(feature = "postgres")]
impl Summer {
    pub(crate) fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Md5 => Self::Md5(Md5::new()),
            Algorithm::Sha1 => Self::Sha1(Sha1::new()),
            Algorithm::Sha256 => Self::Sha256(sha2::Sha256::new()),
        }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Md5(sum) => sum.update(bytes),
            Self::Sha1(sum) => sum.update(bytes),
            Self::Sha256(sum) => sum.update(bytes),
        }
    }

    fn finish(self, facts: &mut Facts) {
        match self {
            Self::Md5(sum) => facts.md5 = sum.finalize().to_vec(),
            Self::Sha1(sum) => facts.sha1 = sum.finalize().to_vec(),
            Self::Sha256(sum) => facts.sha256 = sum.finalize().to_vec(),
        }
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
