//! Finding a digest among sorted records that are not in memory, mostly by one read.

use std::io;

use super::digest::Digest;

/// Records between two of which the first eight bytes are in memory.
const STEP: u64 = 1024;
/// Records that are read at a time. Digests are spread evenly: among [`STEP`] of them one is where it
/// would be expected, give or take 16.
const WINDOW: u64 = 96;
/// Guesses before halving takes over, should digests not be spread evenly.
const GUESSES: u32 = 3;

/// The first eight bytes of a digest: where it is among others.
fn head(digest: &Digest) -> u64 {
    digest.0.first_chunk().map_or(0, |head| u64::from_be_bytes(*head))
}

/// The digest that a record begins with.
pub(super) fn key<const N: usize>(record: &[u8; N]) -> Digest {
    record.first_chunk::<32>().map_or_else(Digest::default, |digest| Digest(*digest))
}

/// Where among records that begin with their digest, in the order of these, one is to be looked for:
/// 8 bytes for 1024 of them.
#[derive(Debug, Default)]
pub(super) struct Fences {
    heads: Vec<u64>,
    count: u64,
}

impl Fences {
    /// Takes the digest of the next record.
    pub(super) fn push(&mut self, digest: &Digest) {
        if self.count.is_multiple_of(STEP) {
            self.heads.push(head(digest));
        }
        self.count += 1;
    }

    /// Of so many records that are all there; `read` gives the digest of one.
    pub(super) fn of<E>(count: u64, read: impl Fn(u64) -> Result<Digest, E>) -> Result<Self, E> {
        let numbers = (0..count.div_ceil(STEP)).map(|at| at * STEP);
        let heads = numbers.map(|number| Ok(head(&read(number)?))).collect::<Result<_, E>>()?;
        Ok(Self { heads, count })
    }

    /// How many records there are.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Bytes of memory.
    pub(super) fn held(&self) -> usize {
        self.heads.capacity() * size_of::<u64>()
    }

    /// The number and the record of this digest; `read` fills a list with the records from a number on.
    pub(super) fn find<const N: usize>(
        &self,
        digest: &Digest,
        read: impl Fn(u64, &mut [[u8; N]]) -> io::Result<()>,
    ) -> io::Result<Option<(u64, [u8; N])>> {
        let wanted = head(digest);
        // All that are before the first fence are smaller, all from the other on greater.
        let first = self.heads.partition_point(|head| *head < wanted).saturating_sub(1);
        let after = self.heads.partition_point(|head| *head <= wanted);
        let number = |fence: usize| u64::try_from(fence).unwrap_or(u64::MAX).saturating_mul(STEP);
        let (mut low, mut high) = (number(first), number(after).min(self.count));
        let mut least = self.heads.get(first).copied().unwrap_or(0);
        let mut most = self.heads.get(after).copied().unwrap_or(u64::MAX);
        let mut window = Vec::new();
        let mut guesses = 0;
        while low < high {
            guesses += 1;
            let middle = if guesses > GUESSES {
                low + (high - low) / 2
            } else {
                let (of, all) = (wanted.saturating_sub(least), most.saturating_sub(least).max(1));
                let part = u128::from(high - low) * u128::from(of) / u128::from(all);
                low + u64::try_from(part).unwrap_or(0).min(high - low - 1)
            };
            let start = middle.saturating_sub(WINDOW / 2).max(low);
            let end = start.saturating_add(WINDOW).min(high);
            window.resize(usize::try_from(end - start).unwrap_or(0), [0; N]);
            read(start, &mut window)?;
            let at = window.partition_point(|record| key(record) < *digest);
            match window.get(at) {
                Some(record) if key(record) == *digest => {
                    return Ok(Some((start + u64::try_from(at).unwrap_or(0), *record)));
                }
                Some(record) if at == 0 => (high, most) = (start, head(&key(record))),
                Some(_) => return Ok(None),
                None => {
                    low = end;
                    least = window.last().map_or(least, |record| head(&key(record)));
                }
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    //! A record that is not found where digests are not spread evenly: they come from an index that
    //! somebody else wrote.
    use std::cell::Cell;

    use super::*;
    use proptest::prelude::*;

    fn find(digests: &[[u8; 32]], wanted: &[u8; 32]) -> (Option<u64>, u32) {
        let mut fences = Fences::default();
        for digest in digests {
            fences.push(&Digest(*digest));
        }
        let reads = Cell::new(0);
        let found = fences.find::<32>(&Digest(*wanted), |from, out| {
            reads.set(reads.get() + 1);
            let from = usize::try_from(from).unwrap();
            out.copy_from_slice(&digests[from..from + out.len()]);
            Ok(())
        });
        (found.unwrap().map(|(number, _)| number), reads.get())
    }

    proptest! {
        #[test]
        fn every_record_is_found_and_no_other(
            // From spread to all in one place.
            heads in prop::collection::vec(prop_oneof![0_u64..3, any::<u64>(), 1_u64 << 60..1 << 61], 0..5000),
            some in prop::collection::vec(any::<prop::sample::Index>(), 50),
        ) {
            let digest = |(number, head): (u64, &u64)| {
                let mut digest = [0; 32];
                digest[..8].copy_from_slice(&head.to_be_bytes());
                digest[8..16].copy_from_slice(&(2 * number).to_be_bytes());
                digest
            };
            let mut digests: Vec<_> = (0..).zip(&heads).map(digest).collect();
            digests.sort_unstable();
            for at in some.iter().filter(|_| !digests.is_empty()).map(|at| at.index(digests.len())) {
                prop_assert_eq!(find(&digests, &digests[at]).0, Some(at as u64));
                let mut other = digests[at];
                other[15] |= 1;
                prop_assert_eq!(find(&digests, &other).0, None);
            }
            for digest in [[0; 32], [255; 32]] {
                let at = digests.iter().position(|other| *other == digest);
                prop_assert_eq!(find(&digests, &digest).0, at.map(|at| at as u64));
            }
        }
    }

    #[test]
    fn one_read_is_enough_for_nearly_all() {
        let mut digests: Vec<[u8; 32]> =
            (0..50_000_u32).map(|number| Digest::of(&number.to_le_bytes()).0).collect();
        digests.sort_unstable();
        let reads: u32 = (0..50_000).step_by(50).map(|at| find(&digests, &digests[at]).1).sum();
        assert!((1000..1050).contains(&reads), "{reads}");
    }
}
