//! Says of a digest that it is not in a set, or that it may be: a Bloom filter. Digests are as good as
//! random, so their own bytes are what a hash would be.

use crate::format::digest::Digest;

/// Bits for each digest, where there is room: one of 70 that are not there may then be.
const BITS: u64 = 10;
/// Bits that are set for a digest: the best number for 6 bits each, and good from 2 to 10.
const PROBES: u32 = 4;
/// All bits of a digest are in one block, so that looking costs one line of a cache.
type Block = [u64; 8];
const BLOCK: usize = size_of::<Block>();
/// Blocks come by so many, so that halves, of halves, are whole.
const STEP: u64 = 64;

#[derive(Debug, Default)]
pub(super) struct Filter {
    blocks: Vec<Block>,
}

impl Filter {
    /// For so many digests, in at most so many bytes (or in none: then any digest may be there).
    pub(super) fn new(digests: u64, most: usize) -> Self {
        let wanted = digests.saturating_mul(BITS).div_ceil(512).next_multiple_of(STEP);
        let room = u64::try_from(most / BLOCK).unwrap_or(u64::MAX) / STEP * STEP;
        let blocks = usize::try_from(wanted.min(room)).unwrap_or(0);
        Self { blocks: vec![[0; 8]; blocks] }
    }

    pub(super) fn bytes(&self) -> usize {
        self.blocks.len() * BLOCK
    }

    /// Blocks are in the order of digests, so that a sorted list is put in from front to back, and
    /// two neighbours together are the block of a filter of half the size.
    fn block(&self, digest: &Digest) -> usize {
        let head = digest.0.first_chunk().map_or(0, |head| u64::from_be_bytes(*head));
        let place = (u128::from(head) * self.blocks.len() as u128) >> 64;
        usize::try_from(place).unwrap_or(0)
    }

    pub(super) fn put(&mut self, digest: &Digest) {
        let at = self.block(digest);
        if let Some(block) = self.blocks.get_mut(at) {
            for (word, bit) in probes(digest) {
                if let Some(word) = block.get_mut(word) {
                    *word |= bit;
                }
            }
        }
    }

    /// Whether it may be there.
    pub(super) fn may_have(&self, digest: &Digest) -> bool {
        let Some(block) = self.blocks.get(self.block(digest)) else { return true };
        probes(digest).all(|(word, bit)| block.get(word).is_some_and(|word| word & bit != 0))
    }

    /// Whether half of the bytes can be given up.
    pub(super) fn can_halve(&self) -> bool {
        !self.blocks.is_empty() && self.blocks.len().is_multiple_of(2)
    }

    /// Gives up half of the bytes, if that can be done.
    pub(super) fn halve(&mut self) {
        if !self.can_halve() {
            return;
        }
        let half = self.blocks.len() / 2;
        for at in 0..half {
            let pair = self.blocks.get(2 * at..).and_then(<[Block]>::first_chunk::<2>).copied();
            if let (Some([mut both, more]), Some(block)) = (pair, self.blocks.get_mut(at)) {
                both.iter_mut().zip(more).for_each(|(word, more)| *word |= more);
                *block = both;
            }
        }
        self.blocks.truncate(half);
        self.blocks.shrink_to_fit();
    }
}

/// The words and bits of a digest in its block: from bytes that do not say which block.
fn probes(digest: &Digest) -> impl Iterator<Item = (usize, u64)> {
    let bytes = digest.0.get(8..).and_then(<[u8]>::first_chunk);
    let bits = bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes));
    (0..PROBES).map(move |probe| {
        let bit = bits >> (9 * probe) & 511;
        (usize::try_from(bit / 64).unwrap_or(0), 1 << (bit % 64))
    })
}

#[cfg(test)]
mod tests {
    //! A filter that forgets a digest would have its chunk stored twice.
    use super::*;

    fn digest(number: u32) -> Digest {
        Digest::of(&number.to_le_bytes())
    }

    #[test]
    fn nothing_is_forgotten_and_few_are_taken_for_others() {
        for most in [usize::MAX, 20_000, 4096, 100, 0] {
            let mut filter = Filter::new(20_000, most);
            assert!(filter.bytes() <= most);
            (0..20_000).for_each(|number| filter.put(&digest(number)));
            let mut wrong = Vec::new();
            loop {
                assert!((0..20_000).all(|number| filter.may_have(&digest(number))));
                let taken = (20_000..40_000).filter(|number| filter.may_have(&digest(*number)));
                wrong.push((filter.bytes(), taken.count()));
                if !filter.can_halve() {
                    break;
                }
                filter.halve();
            }
            if most == usize::MAX {
                // 10, 5 and 2.5 bits each.
                assert!(wrong[0].0 >= 25_000 && wrong[0].1 < 20_000 / 50, "{wrong:?}");
                assert!(wrong[1].1 < 20_000 / 7 && wrong[2].1 < 20_000 / 2, "{wrong:?}");
                assert!(wrong.len() > 6, "{wrong:?}");
            }
        }
    }
}
