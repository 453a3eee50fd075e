//! What is known of digests, in bounded memory: the newest in a table, and beyond a bound sorted in
//! runs, in files without a name.
//!
//! Four runs of a size are merged to one, so that there are few, and each record is written again
//! about once for every time that all has become four times as much. In memory there is of a run a
//! filter (10 bits a record, less where that would be too much), so that a digest that is new is
//! mostly known for new without a look at a file; one that is there is found by one read.

mod filter;
mod run;

use std::io;
use std::sync::Arc;

use hashbrown::HashTable;

use self::run::{Run, RunWriter};
use super::digest::Digest;
use super::fences::key;
use super::writer::WriteError;
use crate::io::Scratch;
use crate::io::spill::Merge;

/// Runs of one level that become one of the next.
const RUNS: usize = 4;
/// What the table takes of memory for a record, besides the record.
const PLACE: usize = 12;

fn hash(digest: &Digest) -> u64 {
    digest.0.first_chunk().map_or(0, |head| u64::from_le_bytes(*head))
}

fn wide(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

fn scratch(error: io::Error) -> WriteError {
    WriteError::Scratch(error)
}

/// How much memory records and filters may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    /// Bytes of records that are not in a run.
    pub(super) records: usize,
    /// Bytes of filters.
    pub(super) filters: usize,
}

/// Records of `N` bytes, each of another digest, which it begins with.
#[derive(Debug)]
pub(super) struct Digests<const N: usize> {
    /// What is in no run, in the order it came.
    young: Vec<[u8; N]>,
    /// Positions in `young`, by digest.
    places: HashTable<u32>,
    runs: Vec<Run<N>>,
    in_runs: u64,
    /// Records that `young` may hold besides those that have to stay.
    most: usize,
    /// How many of `young` had to stay when the others went.
    stayed: usize,
    filters: usize,
    scratch: Scratch,
}

impl<const N: usize> Digests<N> {
    pub(super) fn new(room: Room, scratch: Scratch) -> Self {
        Self {
            young: Vec::new(),
            places: HashTable::new(),
            runs: Vec::new(),
            in_runs: 0,
            most: (room.records / (N + PLACE)).max(1),
            stayed: 0,
            filters: room.filters,
            scratch,
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> u64 {
        self.in_runs.saturating_add(wide(self.young.len()))
    }

    /// Bytes of memory that they take.
    pub(super) fn held(&self) -> usize {
        let runs: usize = self.runs.iter().map(Run::held).sum();
        self.young.capacity() * N + self.places.capacity() * 6 + runs
    }

    fn place(&self, digest: &Digest) -> Option<usize> {
        let record = |at: u32| usize::try_from(at).ok().and_then(|at| self.young.get(at));
        let same = |at: &u32| record(*at).is_some_and(|record| key(record) == *digest);
        let at = self.places.find(hash(digest), same).copied();
        at.and_then(|at| usize::try_from(at).ok())
    }

    /// The record of this digest.
    pub(super) fn find(&self, digest: &Digest) -> Result<Option<[u8; N]>, WriteError> {
        if let Some(place) = self.place(digest) {
            return Ok(self.young.get(place).copied());
        }
        for run in self.runs.iter().rev() {
            if let Some(record) = run.find(digest).map_err(scratch)? {
                return Ok(Some(record));
            }
        }
        Ok(None)
    }

    /// Whether the next record is to come only after [`Self::make_room`].
    pub(super) fn is_full(&self) -> bool {
        self.young.len().saturating_sub(self.stayed) >= self.most
    }

    /// Adds a record, whose digest must not be there; its position until room is made.
    pub(super) fn add(&mut self, record: [u8; N]) -> Result<u32, WriteError> {
        let at = u32::try_from(self.young.len()).map_err(|_| WriteError::TooMany("chunks"))?;
        let more = self.young.len().max(64).min(self.most.saturating_sub(self.young.len())).max(64);
        if self.young.len() == self.young.capacity() {
            // Doubling alone would go past the bound.
            self.young.reserve_exact(more);
        }
        self.young.push(record);
        self.enter(at, &key(&record));
        Ok(at)
    }

    fn enter(&mut self, at: u32, digest: &Digest) {
        let young = &self.young;
        let rehash = |at: &u32| {
            let record = usize::try_from(*at).ok().and_then(|at| young.get(at));
            record.map_or(0, |record| hash(&key(record)))
        };
        self.places.insert_unique(hash(digest), at, rehash);
    }

    /// The record at a position, to be changed in all but its digest.
    pub(super) fn at_mut(&mut self, position: u32) -> Option<&mut [u8; N]> {
        usize::try_from(position).ok().and_then(|at| self.young.get_mut(at))
    }

    /// Puts into a run all that `stays` does not say has to stay; the positions of those that stay,
    /// increasing: the first of them is now at 0, and so on.
    pub(super) fn make_room(
        &mut self,
        stays: impl Fn(&[u8; N]) -> bool,
    ) -> Result<Vec<u32>, WriteError> {
        let mut positions = Vec::new();
        let mut kept = Vec::new();
        for (at, record) in (0..).zip(&self.young).filter(|(_, record)| stays(record)) {
            positions.push(at);
            kept.push(*record);
        }
        self.young.retain(|record| !stays(record));
        self.young.sort_unstable();
        if !self.young.is_empty() {
            let count = wide(self.young.len());
            let room = self.free();
            let mut run = RunWriter::begin(&self.scratch, count, room, 0).map_err(scratch)?;
            self.young.iter().try_for_each(|record| run.push(record)).map_err(scratch)?;
            self.runs.push(run.end().map_err(scratch)?);
            self.in_runs += count;
        }
        self.young.clear();
        self.places.clear();
        self.stayed = kept.len();
        for (at, record) in (0..).zip(kept) {
            self.young.push(record);
            self.enter(at, &key(&record));
        }
        self.merge()?;
        Ok(positions)
    }

    /// Bytes that filters do not take yet. Where they take all, filters lose half of theirs until
    /// there is a little: first those that are hardly worse for it.
    fn free(&mut self) -> usize {
        let taken = |runs: &[Run<N>]| runs.iter().map(|run| run.filter.bytes()).sum::<usize>();
        let least = self.most.saturating_mul(10).div_ceil(8).next_multiple_of(4096);
        let limit = self.filters.saturating_sub(least.min(self.filters / 8));
        while taken(&self.runs) > limit {
            let can = self.runs.iter_mut().filter(|run| run.filter.can_halve());
            let Some(cheapest) = can.min_by(|a, b| a.loss().total_cmp(&b.loss())) else { break };
            cheapest.filter.halve();
        }
        self.filters.saturating_sub(taken(&self.runs))
    }

    /// Merges runs until there are fewer than [`RUNS`] of each level.
    fn merge(&mut self) -> Result<(), WriteError> {
        while let Some(level) = self.runs.last().map(|run| run.level)
            && self.runs.iter().filter(|run| run.level == level).count() >= RUNS
        {
            let (old, kept) = self.runs.drain(..).partition(|run| run.level == level);
            self.runs = kept;
            let files = files(&old);
            let count = old.iter().map(Run::count).sum();
            // With their filters.
            drop(old);
            // Not all of it: smaller runs will come, and a few bits do more for these.
            let room = self.free().min(self.filters / 2);
            let mut run =
                RunWriter::begin(&self.scratch, count, room, level + 1).map_err(scratch)?;
            let mut merge = Merge::<N>::of_files(&files, MERGE).map_err(scratch)?;
            while let Some(record) = merge.next().map_err(scratch)? {
                run.push(&record).map_err(scratch)?;
            }
            self.runs.push(run.end().map_err(scratch)?);
        }
        Ok(())
    }

    /// Nothing is added any more. What is in memory goes to the runs, if there are any; filters are
    /// given up.
    pub(super) fn finish(mut self) -> Result<Sorted<N>, WriteError> {
        if !self.runs.is_empty() && !self.young.is_empty() {
            self.make_room(|_| false)?;
        }
        let count = self.len();
        let files = files(&self.runs);
        let mut records = if files.is_empty() { self.young } else { Vec::new() };
        records.sort_unstable();
        Ok(Sorted { records, files, count })
    }
}

/// Bytes that merging runs takes.
const MERGE: usize = 1 << 20;

fn files<const N: usize>(runs: &[Run<N>]) -> Vec<(Arc<std::fs::File>, u64)> {
    runs.iter().map(|run| (Arc::clone(&run.file), run.count())).collect()
}

/// Records in the order of their digests.
#[derive(Debug)]
pub(super) struct Sorted<const N: usize> {
    records: Vec<[u8; N]>,
    files: Vec<(Arc<std::fs::File>, u64)>,
    count: u64,
}

impl<const N: usize> Sorted<N> {
    /// How many there are.
    pub(super) fn len(&self) -> u64 {
        self.count
    }

    /// Gives each to `take`, in order. It can be done more than once.
    pub(super) fn each(
        &self,
        mut take: impl FnMut(&[u8; N]) -> Result<(), WriteError>,
    ) -> Result<(), WriteError> {
        self.records.iter().try_for_each(&mut take)?;
        let mut merge = Merge::of_files(&self.files, MERGE).map_err(scratch)?;
        while let Some(record) = merge.next().map_err(scratch)? {
            take(&record)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    //! A digest that is forgotten has its chunk stored twice, one that is taken for another loses it.
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    type Record = [u8; 36];

    fn record(number: u32) -> Record {
        let mut record = [0; 36];
        record[..32].copy_from_slice(&Digest::of(&number.to_le_bytes()).0);
        record[32..].copy_from_slice(&number.to_le_bytes());
        record
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]
        /// Against a map in memory: what is found, what is changed, what comes out in order.
        #[test]
        fn as_a_map_in_memory(
            numbers in prop::collection::vec(0_u32..3000, 0..3000),
            records in 0_usize..5000,
            filters in prop_oneof![Just(0_usize), 4000_usize..20_000, Just(1 << 20)],
            stays in 1_u32..50,
        ) {
            let mut digests = Digests::<36>::new(Room { records, filters }, Scratch::default());
            let mut want: BTreeMap<Digest, Record> = BTreeMap::new();
            // Every so many-eth record stays in memory until a later one comes.
            let stay = |record: &Record| record[35] == 0 && u32::from(record[32]) % stays == 0;
            for number in numbers {
                let record = record(number);
                let digest = key(&record);
                prop_assert_eq!(digests.find(&digest).unwrap(), want.get(&digest).copied());
                if want.contains_key(&digest) {
                    continue;
                }
                if digests.is_full() {
                    let positions = digests.make_room(stay).unwrap();
                    prop_assert!(positions.is_sorted());
                    prop_assert_eq!(positions.len(), digests.young.len());
                }
                let at = digests.add(record).unwrap();
                want.insert(digest, record);
                if number % 3 == 0 {
                    let changed = digests.at_mut(at).unwrap();
                    changed[35] = 7;
                    want.insert(digest, *changed);
                }
                let taken: usize = digests.runs.iter().map(|run| run.filter.bytes()).sum();
                prop_assert!(taken <= filters, "{} of {}", taken, filters);
                let levels = digests.runs.last().map_or(0, |run| run.level as usize) + 10;
                prop_assert!(digests.runs.len() < RUNS * levels);
            }
            prop_assert_eq!(digests.len(), want.len() as u64);
            let sorted = digests.finish().unwrap();
            prop_assert_eq!(sorted.len(), want.len() as u64);
            for _ in 0..2 {
                let mut all = Vec::new();
                sorted.each(|record| { all.push(*record); Ok(()) }).unwrap();
                prop_assert_eq!(&all, &want.values().copied().collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn below_the_bound_there_is_no_file() {
        let room = Room { records: 100 * (36 + PLACE), filters: 1 << 20 };
        let mut digests = Digests::<36>::new(room, Scratch::full());
        for number in 0..100 {
            assert!(!digests.is_full());
            digests.add(record(number)).unwrap();
        }
        assert!(digests.is_full());
        assert_eq!(digests.finish().unwrap().files.len(), 0);
    }

    #[test]
    fn runs_are_few_and_memory_is_bounded() {
        let room = Room { records: 50 * (36 + PLACE), filters: 32 << 10 };
        let mut digests = Digests::<36>::new(room, Scratch::default());
        for number in 0..50_000 {
            if digests.is_full() {
                digests.make_room(|_| false).unwrap();
            }
            digests.add(record(number)).unwrap();
            assert!(digests.runs.len() <= 15, "{}", digests.runs.len());
            assert!(digests.held() < 64 << 10, "{}", digests.held());
        }
        assert!((0..50_000).all(|n| digests.find(&key(&record(n))).unwrap() == Some(record(n))));
    }

    #[test]
    fn a_full_disk_is_told() {
        let room = Room { records: 36 + PLACE, filters: 0 };
        let mut digests = Digests::<36>::new(room, Scratch::full());
        digests.add(record(1)).unwrap();
        assert!(matches!(digests.make_room(|_| false), Err(WriteError::Scratch(_))));
    }
}
