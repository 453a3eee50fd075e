//! Tar headers as this format has them (spec section 3): one way to write each, so that a reader
//! can make them again and compare.

use super::digest::Digest;
use super::limits::{BLOCK, ENTRY};

/// What an entry is. The number is the one in the index (spec section 6.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EntryKind {
    /// `pgark-1.txt`: what this file is.
    Readme,
    /// `recover.py`.
    Recover,
    /// `format-1.md.zst`: the specification.
    Spec,
    /// `schema/pre-data.sql`.
    PreData,
    /// `schema/post-data.sql`.
    PostData,
    /// `catalog/<digest>.cbor`: the manifest as it was known before the rows.
    Catalog,
    /// An object that holds chunks.
    Pack,
    /// An object that holds rows.
    Segment,
    /// `parity/<number>.rs`.
    Parity,
}

impl EntryKind {
    /// The number in the index.
    pub fn code(self) -> u16 {
        match self {
            Self::Readme => 1,
            Self::Recover => 2,
            Self::Spec => 3,
            Self::PreData => 4,
            Self::PostData => 5,
            Self::Catalog => 6,
            Self::Pack => 16,
            Self::Segment => 17,
            Self::Parity => 32,
        }
    }

    /// The kind with this number.
    pub fn from_code(code: u16) -> Option<Self> {
        Some(match code {
            1 => Self::Readme,
            2 => Self::Recover,
            3 => Self::Spec,
            4 => Self::PreData,
            5 => Self::PostData,
            6 => Self::Catalog,
            16 => Self::Pack,
            17 => Self::Segment,
            32 => Self::Parity,
            _ => return None,
        })
    }

    /// The entry's name, from its digest (objects) or number (parity).
    pub fn name(self, digest: &Digest, number: u32) -> String {
        match self {
            Self::Readme => "pgark-1.txt".into(),
            Self::Recover => "recover.py".into(),
            Self::Spec => "format-1.md.zst".into(),
            Self::PreData => "schema/pre-data.sql".into(),
            Self::PostData => "schema/post-data.sql".into(),
            Self::Catalog => format!("catalog/{digest}.cbor"),
            Self::Pack | Self::Segment => format!("objects/{digest}.zst"),
            Self::Parity => format!("parity/{number:08}.rs"),
        }
    }
}

/// Name of the index's entry.
pub const INDEX: &str = "index";
/// Name of the manifest's entry.
pub const MANIFEST: &str = "manifest.cbor";
/// Name of the seal's entry.
pub const SEAL: &str = "seal";

/// The one header an entry of this name, length (at most 8 GiB) and time can have.
pub fn header(name: &str, length: u64, created: u64) -> [u8; BLOCK] {
    let mut header = tar::Header::new_ustar();
    // Names are ours and at most 100 bytes; a longer one would be a header that never compares.
    let _ = header.set_path(name);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_size(length.min(ENTRY));
    header.set_mtime(created);
    header.set_entry_type(tar::EntryType::Regular);
    header.set_cksum();
    *header.as_bytes()
}

/// Zero bytes between an entry's last byte and the next header.
pub fn padding(length: u64) -> usize {
    let block = 512_u64;
    usize::try_from((block - length % block) % block).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    //! The header must not change with the tar crate: its bytes are part of the format.
    use super::*;

    #[test]
    fn header_bytes_are_fixed() {
        let header = header("seal", 1024, 1_700_000_000);
        let mut expected = [0_u8; 512];
        expected[..4].copy_from_slice(b"seal");
        expected[100..108].copy_from_slice(b"0000644\0");
        expected[108..116].copy_from_slice(b"0000000\0");
        expected[116..124].copy_from_slice(b"0000000\0");
        expected[124..136].copy_from_slice(b"00000002000\0");
        expected[136..148].copy_from_slice(b"14524770400\0");
        expected[156] = b'0';
        expected[257..265].copy_from_slice(b"ustar\x0000");
        let sum: u32 = expected.iter().map(|b| u32::from(*b)).sum::<u32>() + 8 * 32;
        expected[148..156].copy_from_slice(format!("{sum:07o}\0").as_bytes());
        for (at, (have, want)) in header.iter().zip(expected).enumerate() {
            assert_eq!(*have, want, "at {at}");
        }
    }

    #[test]
    fn padding_fills_blocks() {
        assert_eq!([0, 511, 0, 1], [0, 1, 512, 1023].map(padding));
    }
}
