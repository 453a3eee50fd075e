//! Making lost shards again.

use reed_solomon_simd::engine::DefaultEngine;
use reed_solomon_simd::rate::{HighRateDecoder, RateDecoder};

use super::{Head, checksum};

/// Bytes of every shard that are worked on at a time, so that memory stays small.
const COLUMN: usize = 4096;

/// Why a window cannot be mended.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Bad {
    /// More shards are lost than there are parity shards.
    #[error("{lost} of its shards are damaged, and {whole} parity shards are whole")]
    TooMuch {
        /// Shards of data that are damaged.
        lost: usize,
        /// Parity shards that are not.
        whole: usize,
    },
    /// What came out is not what was there.
    #[error("what its parity gives does not match the checksums")]
    Mismatch,
    /// A mistake of ours.
    #[error("internal error in the decoder")]
    Internal,
}

/// Mends `data` (all shards, the last filled up with zeros) from `parity`; `lost` and `whole` say
/// which shards of each are damaged and which are not. Each shard that was mended is held against
/// its checksum.
///
/// # Errors
/// [`Bad`]; then `data` is not to be used.
pub fn reconstruct(
    head: &Head,
    data: &mut [u8],
    lost: &[bool],
    parity: &[u8],
    whole: &[bool],
) -> Result<(), Bad> {
    let layout = head.layout();
    let wide = |n: u32| usize::try_from(n).map_err(|_| Bad::Internal);
    let (shard, count, code) =
        (wide(layout.shard)?, wide(layout.data)?, wide(head.protection.code())?);
    let missing = lost.iter().filter(|lost| **lost).count();
    let have = whole.iter().filter(|whole| **whole).count();
    if missing == 0 {
        return Ok(());
    }
    if missing > have {
        return Err(Bad::TooMuch { lost: missing, whole: have });
    }
    let column = COLUMN.min(shard);
    let mut decoder = HighRateDecoder::new(count, code, column, DefaultEngine::new(), None)
        .map_err(|_| Bad::Internal)?;
    for from in (0..shard).step_by(column) {
        let part = |shards: &[u8], number: usize| {
            let at = number * shard + from;
            shards.get(at..at + column).map(<[u8]>::to_vec).ok_or(Bad::Internal)
        };
        for (number, _) in lost.iter().enumerate().filter(|(_, lost)| !**lost) {
            decoder.add_original_shard(number, part(data, number)?).map_err(|_| Bad::Internal)?;
        }
        // No more than are needed: the decoder has to transform each.
        for (number, _) in whole.iter().enumerate().filter(|(_, whole)| **whole).take(missing) {
            decoder.add_recovery_shard(number, part(parity, number)?).map_err(|_| Bad::Internal)?;
        }
        let result = decoder.decode().map_err(|_| Bad::Internal)?;
        for (number, bytes) in result.restored_original_iter() {
            let at = number * shard + from;
            let place = data.get_mut(at..at + column).ok_or(Bad::Internal)?;
            place.copy_from_slice(bytes);
        }
    }
    for (number, _) in lost.iter().enumerate().filter(|(_, lost)| **lost) {
        let bytes = data.get(number * shard..(number + 1) * shard).ok_or(Bad::Internal)?;
        if head.checksums.get(number) != Some(&checksum(bytes)) {
            return Err(Bad::Mismatch);
        }
    }
    Ok(())
}
