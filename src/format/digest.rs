//! SHA-256 digests: of objects, chunks, blobs, entries, and (summed) of whole tables.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest as _, Sha256};

/// A SHA-256 digest (spec section 2). Written as 64 lower-case hex digits.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The SHA-256 of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Reads 64 lower-case hex digits; anything else is `None`.
    pub fn from_hex(hex: &[u8]) -> Option<Self> {
        let mut out = [0; 32];
        let (pairs, rest) = hex.as_chunks::<2>();
        if pairs.len() != out.len() || !rest.is_empty() {
            return None;
        }
        for (byte, [high, low]) in out.iter_mut().zip(pairs) {
            *byte = nibble(*high)? << 4 | nibble(*low)?;
        }
        Some(Self(out))
    }

    /// The 64 hex digits, without an allocation.
    pub fn to_hex(self) -> [u8; 64] {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut out = [0; 64];
        let (pairs, _) = out.as_chunks_mut::<2>();
        for ([high, low], byte) in pairs.iter_mut().zip(self.0) {
            *high = *DIGITS.get(usize::from(byte >> 4)).unwrap_or(&0);
            *low = *DIGITS.get(usize::from(byte & 15)).unwrap_or(&0);
        }
        out
    }
}

fn nibble(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.to_hex()).unwrap_or_default())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl de::Visitor<'_> for Bytes {
            type Value = Digest;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a byte string of 32 bytes")
            }
            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Digest, E> {
                <[u8; 32]>::try_from(bytes)
                    .map(Digest)
                    .map_err(|_| E::invalid_length(bytes.len(), &self))
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}

/// The digest of a table's rows, whatever their order: the sum modulo 2^256 of the SHA-256 of
/// each row's canonical text (spec section 9.3). Tells accidental difference; it is no defence
/// against malice, which the object digests are.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct RowSum {
    /// How many rows were added.
    pub rows: u64,
    sum: [u64; 4],
}

impl RowSum {
    /// Adds one row: its canonical text without the newline that ends it.
    pub fn add_row(&mut self, row: &[u8]) {
        self.add(Self::of_digest(Digest::of(row)));
    }

    /// Adds the rows of `other`.
    pub fn add(&mut self, other: Self) {
        self.rows += other.rows;
        let mut carry = false;
        for (mine, theirs) in self.sum.iter_mut().zip(other.sum) {
            let (sum, over) = mine.overflowing_add(theirs);
            let (sum, over_again) = sum.overflowing_add(u64::from(carry));
            *mine = sum;
            carry = over || over_again;
        }
    }

    /// One row with this digest.
    pub fn of_digest(row: Digest) -> Self {
        let (words, _) = row.0.as_chunks::<8>();
        let mut sum = [0; 4];
        for (word, bytes) in sum.iter_mut().zip(words) {
            *word = u64::from_le_bytes(*bytes);
        }
        Self { rows: 1, sum }
    }

    /// The sum as 32 bytes, least significant first.
    pub fn digest(&self) -> Digest {
        let mut out = [0; 32];
        let (words, _) = out.as_chunks_mut::<8>();
        for (bytes, word) in words.iter_mut().zip(self.sum) {
            *bytes = word.to_le_bytes();
        }
        Digest(out)
    }
}
