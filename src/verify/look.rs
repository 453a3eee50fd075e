//! Values that are in no archive: those of a live database, looked at for the same judgement.

use md5::{Digest as _, Md5};
use sha1::Sha1;

use super::ImageCheck;
use super::codes::Code;
use super::images::{self, Fault, Kind};
use super::judge::{Asked, Facts};
use super::work::Gate;
use crate::format::rules::Algorithm;

/// Looks at values that come from elsewhere than an archive, and holds no more memory for it than it
/// is given.
#[derive(Debug)]
pub(crate) struct Looker {
    gate: Gate,
    images: ImageCheck,
}

/// What of a value is looked at.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Look {
    /// Whether it decodes, if it is an image.
    pub(crate) image: bool,
    /// Its checksum.
    pub(crate) sum: Option<Algorithm>,
}

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
#[derive(Clone, Debug)]
pub(crate) enum Summer {
    Md5(Md5),
    Sha1(Sha1),
    Sha256(sha2::Sha256),
}

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

impl Facts {
    /// The same for a value of a live database: what its row declares, as text.
    pub(crate) fn held_against(
        &self,
        image: bool,
        media: Option<&[u8]>,
        sum: Option<(Algorithm, &[u8])>,
    ) -> Vec<(Code, String)> {
        let declared = media.map_or(images::Declared::Nothing, images::declared);
        self.faults(Asked { image, declared, sum })
    }

    /// Whether it was seen to be an image that decodes.
    pub(crate) fn is_whole(&self) -> bool {
        self.is_image() && self.image.is_none()
    }

    /// Whether it begins as an image does.
    pub(crate) fn is_image(&self) -> bool {
        self.kind.is_some_and(Kind::is_image)
    }
}
