//! Parity: Reed-Solomon shards over the raw bytes of the file (spec section 14).
//!
//! The file is cut into windows; a *block* holds what mends one of them: a head, the parity shards,
//! and the head again. A head is found by scanning for its magic and says everything that is
//! needed, so that mending needs neither tar nor index.

mod decode;
mod encoder;
mod head;

pub use decode::{Bad, reconstruct};
pub use encoder::{Finished, Windows};
pub use head::{FIXED, Head, HeadError, Kind, MAGIC};

/// Name of the entry that protects index, manifest and what else follows the last window.
pub const TAIL: &str = "parity/tail.rs";
/// The largest shard there can be.
pub const SHARD_MAX: u32 = 64 << 10;
/// The smallest: shards are whole tar blocks.
pub const SHARD_MIN: u32 = 512;
/// Shards of data that a window can have.
pub const DATA_MAX: u32 = 1024;
/// Parity shards that a window can have.
pub const CODE_MAX: u32 = 256;
/// The smallest code, in parity shards. A block may hold fewer: the first of them.
const CODE_MIN: u32 = 32;
/// Whatever the share, this many bytes of a window can always be mended: two sectors of 4 KiB.
const LEAST: u32 = 8 << 10;

/// How much is protected, and how.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Protection {
    /// Parity shards for 1024 shards of data, 1 to 256.
    pub share: u32,
    /// Bytes of a shard, but in short windows: a power of two, 512 to 65536.
    pub shard: u32,
    /// Shards of data in a window, 32 to 1024.
    pub window: u32,
}

impl Default for Protection {
    fn default() -> Self {
        Self { share: 32, shard: SHARD_MAX, window: DATA_MAX }
    }
}

impl Protection {
    /// Whether all of it is within bounds.
    pub fn is_valid(&self) -> bool {
        (1..=CODE_MAX).contains(&self.share)
            && self.shard.is_power_of_two()
            && (SHARD_MIN..=SHARD_MAX).contains(&self.shard)
            && (CODE_MIN..=DATA_MAX).contains(&self.window)
    }

    /// The protection of the tail: at least a quarter.
    #[must_use]
    pub fn of_tail(self) -> Self {
        Self { share: CODE_MAX, ..self }
    }

    /// Bytes of memory that writing takes: a run of shards, what they came to so far, and a block.
    pub fn memory(&self) -> usize {
        let shards = usize::try_from(3 * self.code()).unwrap_or(0);
        shards * usize::try_from(self.shard).unwrap_or(0)
    }

    /// Bytes of a whole window.
    pub fn window_bytes(&self) -> u64 {
        u64::from(self.shard) * u64::from(self.window)
    }

    /// Parity shards that the code has, a power of two.
    pub fn code(&self) -> u32 {
        self.share.next_power_of_two().max(CODE_MIN)
    }

    /// How a window of so many bytes is cut.
    pub fn layout(&self, length: u64) -> Layout {
        let mut shard = self.shard;
        if length <= u64::from(CODE_MIN) * u64::from(self.shard) {
            shard = SHARD_MIN;
            while shard < self.shard && length.div_ceil(u64::from(shard)) > 128 {
                shard *= 2;
            }
        }
        let data = u32::try_from(length.div_ceil(u64::from(shard))).unwrap_or(u32::MAX);
        let wanted = (u64::from(data) * u64::from(self.share)).div_ceil(1024);
        let parity = u32::try_from(wanted).unwrap_or(u32::MAX);
        Layout { shard, data, parity: parity.max(4).max(LEAST / shard).min(self.code()) }
    }
}

/// How a window is cut into shards.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Layout {
    /// Bytes of a shard.
    pub shard: u32,
    /// Shards of data; the last is filled up with zero bytes.
    pub data: u32,
    /// Parity shards.
    pub parity: u32,
}

/// What tells a damaged shard: its CRC-64. Whether a mended file is the one that was written, digests
/// say.
pub type Checksum = [u8; 8];

/// The checksum of a shard.
pub fn checksum(shard: &[u8]) -> Checksum {
    let mut crc = crc64fast::Digest::new();
    crc.write(shard);
    crc.sum64().to_le_bytes()
}

#[cfg(test)]
mod tests {
    //! The parity that is made while bytes go by must be that of the whole window, or nothing can be
    //! mended from it.
    use reed_solomon_simd::engine::DefaultEngine;
    use reed_solomon_simd::rate::{HighRateEncoder, RateEncoder};

    use super::*;
    use crate::format::digest::Digest;

    /// The check value that CRC-64/XZ has everywhere.
    #[test]
    fn the_checksum_is_the_specified_one() {
        assert_eq!(checksum(b"123456789"), 0x995d_c9bb_df19_39fa_u64.to_le_bytes());
    }

    fn noise(length: usize) -> Vec<u8> {
        let step = |n: usize| Digest::of(&(n as u64).to_le_bytes()).0;
        (0..length.div_ceil(32)).flat_map(step).take(length).collect()
    }

    /// The same, made by the crate in one go.
    fn at_once(data: &[u8], protection: Protection) -> Vec<u8> {
        let layout = protection.layout(data.len() as u64);
        let shard = layout.shard as usize;
        let (count, code) = (layout.data as usize, protection.code() as usize);
        let mut encoder =
            HighRateEncoder::new(count, code, shard, DefaultEngine::new(), None).unwrap();
        for part in data.chunks(shard) {
            let mut part = part.to_vec();
            part.resize(shard, 0);
            encoder.add_original_shard(part).unwrap();
        }
        let result = encoder.encode().unwrap();
        result.recovery_iter().take(layout.parity as usize).flatten().copied().collect()
    }

    #[test]
    fn streaming_gives_what_encoding_at_once_gives() {
        let whole = Protection::default();
        let small = Protection { share: 100, shard: 512, window: 1024 };
        for protection in [whole, small, small.of_tail(), whole.of_tail()] {
            for length in [1, 512, 20_000, 200_000, 500_000, 2_097_152, 2_097_153, 9_000_000] {
                if length as u64 > protection.window_bytes() {
                    continue;
                }
                let data = noise(length);
                let mut windows = Windows::new(protection);
                for (number, part) in data.chunks(70_001).enumerate() {
                    windows.take(part, number as u64 * 70_001);
                }
                windows.close();
                let [window] = &windows.finished()[..] else { panic!("not one window") };
                assert!(window.parity() == at_once(&data, protection), "{length} {protection:?}");
            }
        }
    }

    #[test]
    fn small_windows_do_not_blow_up_and_large_ones_keep_their_share() {
        let parity = |length| {
            let layout = Protection::default().layout(length);
            u64::from(layout.shard) * u64::from(layout.parity)
        };
        assert_eq!(parity(64 << 20), 2 << 20);
        assert_eq!(parity(8 << 20), 256 << 10);
        assert_eq!(parity(100 << 10), 8 << 10);
        assert_eq!(parity(1000), 8 << 10);
    }

    #[test]
    fn a_head_with_a_flipped_bit_is_not_believed() {
        let mut windows = Windows::new(Protection::default());
        windows.take(&noise(3000), 0);
        windows.close();
        let head = windows.finished()[0].head(Kind::Tail { of: 3 }, 1, 7, 5000);
        let bytes = head.encode();
        assert_eq!(Head::decode(&bytes), Ok(head));
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Head::decode(&bad).is_err(), "bit {bit}");
            // With its digest made again: whatever it says, it is in bounds.
            let (body, digest) = bad.split_at_mut(bytes.len() - 32);
            digest.copy_from_slice(&Digest::of(body).0);
            if let Ok(head) = Head::decode(&bad) {
                assert!(head.block_bytes() < 32 << 20 && head.position < 1 << 61);
            }
        }
    }
}
