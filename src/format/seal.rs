//! The seal: the last entry, at a known distance from the end of the file (spec section 5). From
//! it a reader finds the manifest and the index.

use super::digest::Digest;
use super::limits::BLOCK;

/// One copy, in bytes. There are two, one after the other.
pub const COPY: usize = 512;
/// The entry's body, in bytes.
pub const LENGTH: usize = 2 * COPY;
/// From the seal's header to the end of the file: header, body, two zero blocks.
pub const TAIL: usize = BLOCK + LENGTH + 2 * BLOCK;

/// What a copy begins with.
pub const MAGIC: &[u8; 16] = b"PGARK SEAL\r\n\x1a\n\0\0";
/// The seal's own version.
pub const VERSION: u32 = 1;
const DIGEST_AT: usize = COPY - 32;

/// Where an entry's body is, and its digest.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Place {
    /// Offset of the body in the file.
    pub offset: u64,
    /// Its length.
    pub length: u64,
    /// Its SHA-256.
    pub digest: Digest,
}

/// What a seal says. Parsed and its own digest right, no more: what it points at is unproven.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Seal {
    /// Length of the whole file.
    pub total: u64,
    /// The creation second, mtime of every header.
    pub created: u64,
    /// The index.
    pub index: Place,
    /// The manifest.
    pub manifest: Place,
    /// `parity/tail.rs`; all zero where the archive has no parity.
    pub tail: Place,
}

/// Why a copy of the seal is no seal.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SealError {
    /// The magic is not there.
    #[error("no seal where the file's last entry should be")]
    Magic,
    /// Its digest is wrong.
    #[error("the seal's own digest does not match")]
    Digest,
    /// A later format.
    #[error("the seal has version {0}; this pgark reads version 1")]
    Version(u32),
    /// A byte that must be zero is not.
    #[error("a reserved byte of the seal is not zero")]
    Reserved,
}

impl Seal {
    /// One copy as bytes.
    pub fn encode(&self) -> [u8; COPY] {
        let mut out = Vec::with_capacity(COPY);
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.total.to_le_bytes());
        out.extend_from_slice(&self.created.to_le_bytes());
        for place in [&self.index, &self.manifest, &self.tail] {
            out.extend_from_slice(&place.offset.to_le_bytes());
            out.extend_from_slice(&place.length.to_le_bytes());
            out.extend_from_slice(&place.digest.0);
        }
        out.resize(DIGEST_AT, 0);
        let digest = Digest::of(&out);
        out.extend_from_slice(&digest.0);
        out.try_into().unwrap_or([0; COPY])
    }

    /// Reads one copy. The order is: is it a seal at all, is it whole, do we know it.
    ///
    /// # Errors
    /// See [`SealError`].
    pub fn decode(copy: &[u8; COPY]) -> Result<Self, SealError> {
        let mut at = Cursor(copy);
        if at.take::<16>() != *MAGIC {
            return Err(SealError::Magic);
        }
        let (body, digest) = copy.split_at(DIGEST_AT);
        if Digest::of(body).0 != digest {
            return Err(SealError::Digest);
        }
        let version = u32::from_le_bytes(at.take());
        if version != VERSION {
            return Err(SealError::Version(version));
        }
        if at.take::<4>() != [0; 4] {
            return Err(SealError::Reserved);
        }
        let total = at.u64();
        let created = at.u64();
        let index = at.place();
        let manifest = at.place();
        let tail = at.place();
        let rest = at.0.len().saturating_sub(32);
        if at.0.get(..rest).is_none_or(|zero| zero.iter().any(|byte| *byte != 0)) {
            return Err(SealError::Reserved);
        }
        Ok(Self { total, created, index, manifest, tail })
    }
}

struct Cursor<'a>(&'a [u8]);

impl Cursor<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        match self.0.split_first_chunk::<N>() {
            Some((head, rest)) => {
                self.0 = rest;
                *head
            }
            None => [0; N],
        }
    }
    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }
    fn place(&mut self) -> Place {
        Place { offset: self.u64(), length: self.u64(), digest: Digest(self.take()) }
    }
}

#[cfg(test)]
mod tests {
    //! A seal that is damaged anywhere must not be believed.
    use super::*;

    #[test]
    fn every_flipped_bit_is_seen() {
        let place = |n| Place { offset: n, length: n * 2, digest: Digest::of(&[1]) };
        let seal =
            Seal { total: 9, created: 8, index: place(3), manifest: place(4), tail: place(5) };
        let bytes = seal.encode();
        assert_eq!(Seal::decode(&bytes), Ok(seal));
        for bit in 0..COPY * 8 {
            let mut bad = bytes;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Seal::decode(&bad).is_err(), "bit {bit}");
        }
    }
}
