//! Sorting more fixed-size records than fit in memory: full buffers are sorted and written to a
//! scratch file as runs, and the runs are merged once at the end.
//!
//! A scratch file has no name, so nothing of it is left when the process ends, however it ends.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::scratch::{Scratch, push_within};

/// Fewest bytes a run is read in at a time: below this, seeks would cost more than reads.
const LEAST_READ: usize = 16 << 10;
/// Most bytes a run is read in at a time: above this, more does not make it faster.
const MOST_READ: usize = 1 << 20;

/// Takes records of `N` bytes, which are ordered as byte strings.
#[derive(Debug)]
pub(crate) struct Sorter<const N: usize> {
    buffer: Vec<[u8; N]>,
    /// Records the buffer may hold.
    most: usize,
    scratch: Scratch,
    file: Option<File>,
    /// Length of each run in records, in the order they are in the file.
    runs: Vec<u64>,
    written: u64,
}

impl<const N: usize> Sorter<N> {
    /// Keeps at most `budget` bytes in memory (and never less than one record). The rest goes where
    /// the system has temporary files.
    pub(crate) fn new(budget: usize) -> Self {
        Self::within(budget, Scratch::default())
    }

    /// The same, with another place for what does not fit.
    pub(crate) fn within(budget: usize, scratch: Scratch) -> Self {
        Self {
            buffer: Vec::new(),
            most: (budget / N.max(1)).max(1),
            scratch,
            file: None,
            runs: Vec::new(),
            written: 0,
        }
    }

    /// Adds a record.
    ///
    /// # Errors
    /// The scratch file cannot be made or written.
    pub(crate) fn push(&mut self, record: [u8; N]) -> io::Result<()> {
        if self.buffer.len() >= self.most {
            self.spill()?;
        }
        push_within(&mut self.buffer, self.most, record);
        Ok(())
    }

    fn spill(&mut self) -> io::Result<()> {
        self.buffer.sort_unstable();
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(self.scratch.file()?),
        };
        for records in self.buffer.chunks(4096) {
            file.write_all(records.as_flattened())?;
        }
        let count = u64::try_from(self.buffer.len()).unwrap_or(u64::MAX);
        self.runs.push(count);
        self.written += count;
        self.buffer.clear();
        Ok(())
    }
}

/// Gives the records of one or more sorters back in order.
#[derive(Debug)]
pub(crate) struct Merge<const N: usize> {
    sources: Vec<Source<N>>,
    heads: BinaryHeap<Reverse<([u8; N], usize)>>,
}

impl<const N: usize> Merge<N> {
    /// Ends the sorters. Reading back takes at most about `budget` bytes more than what the
    /// sorters hold (and at least 16 KiB for each run that was written).
    ///
    /// # Errors
    /// A scratch file cannot be read.
    pub(crate) fn new(sorters: Vec<Sorter<N>>, budget: usize) -> io::Result<Self> {
        let runs: usize = sorters.iter().map(|sorter| sorter.runs.len()).sum();
        let each = each::<N>(runs, budget);
        let mut sources = Vec::with_capacity(runs + sorters.len());
        for mut sorter in sorters {
            if let Some(file) = sorter.file {
                let file = Arc::new(file);
                let mut at = 0;
                for run in sorter.runs {
                    sources.push(Source::in_file(&file, at, run, each));
                    at += run.saturating_mul(width::<N>());
                }
            }
            sorter.buffer.sort_unstable();
            let (file, at, left, next) = (None, 0, 0, 0);
            sources.push(Source { file, at, left, records: sorter.buffer, next, each: 1 });
        }
        Self::begin(sources)
    }

    /// Merges files of sorted records, each with how many it has, in about `budget` bytes.
    ///
    /// # Errors
    /// A file cannot be read.
    pub(crate) fn of_files(files: &[(Arc<File>, u64)], budget: usize) -> io::Result<Self> {
        let each = each::<N>(files.len(), budget);
        Self::begin(
            files.iter().map(|(file, count)| Source::in_file(file, 0, *count, each)).collect(),
        )
    }

    fn begin(sources: Vec<Source<N>>) -> io::Result<Self> {
        let mut merge = Self { heads: BinaryHeap::with_capacity(sources.len()), sources };
        for (number, source) in merge.sources.iter_mut().enumerate() {
            merge.heads.extend(source.next()?.map(|record| Reverse((record, number))));
        }
        Ok(merge)
    }

    /// The next record, none at the end.
    ///
    /// # Errors
    /// A scratch file cannot be read.
    pub(crate) fn next(&mut self) -> io::Result<Option<[u8; N]>> {
        let Some(mut head) = self.heads.peek_mut() else { return Ok(None) };
        let Reverse((record, number)) = *head;
        let next = match self.sources.get_mut(number) {
            Some(source) => source.next()?,
            None => None,
        };
        match next {
            Some(next) => *head = Reverse((next, number)),
            None => drop(PeekMut::pop(head)),
        }
        Ok(Some(record))
    }
}

/// Records of each of so many runs that are read at a time.
fn each<const N: usize>(runs: usize, budget: usize) -> usize {
    ((budget / runs.max(1)).clamp(LEAST_READ, MOST_READ) / N.max(1)).max(1)
}

fn width<const N: usize>() -> u64 {
    u64::try_from(N).unwrap_or(u64::MAX)
}

/// A run, or what was left in a buffer.
#[derive(Debug)]
struct Source<const N: usize> {
    file: Option<Arc<File>>,
    at: u64,
    left: u64,
    records: Vec<[u8; N]>,
    next: usize,
    each: usize,
}

impl<const N: usize> Source<N> {
    /// So many records from a place in a file on.
    fn in_file(file: &Arc<File>, at: u64, left: u64, each: usize) -> Self {
        Self { file: Some(Arc::clone(file)), at, left, records: Vec::new(), next: 0, each }
    }

    fn next(&mut self) -> io::Result<Option<[u8; N]>> {
        if self.next >= self.records.len() {
            self.records.clear();
            self.next = 0;
            let Some(file) = &self.file else {
                self.records = Vec::new();
                return Ok(None);
            };
            let count = usize::try_from(self.left).unwrap_or(usize::MAX).min(self.each);
            if count == 0 {
                return Ok(None);
            }
            self.records.resize(count, [0; N]);
            file.read_exact_at(self.records.as_flattened_mut(), self.at)?;
            let read = u64::try_from(count).unwrap_or(u64::MAX);
            self.left = self.left.saturating_sub(read);
            self.at += read.saturating_mul(width::<N>());
        }
        let record = self.records.get(self.next).copied();
        self.next += 1;
        Ok(record)
    }
}

#[cfg(test)]
mod tests {
    //! A record that is lost or doubled where runs meet would hide or invent a broken key.
    use super::*;
    use proptest::prelude::*;

    fn sorted(budgets: &[usize], records: &[[u8; 4]], read: usize) -> Vec<[u8; 4]> {
        let mut sorters: Vec<_> = budgets.iter().map(|budget| Sorter::new(*budget)).collect();
        for (n, record) in records.iter().enumerate() {
            let at = n % sorters.len();
            sorters[at].push(*record).unwrap();
        }
        let mut merge = Merge::new(sorters, read).unwrap();
        let mut out = Vec::new();
        while let Some(record) = merge.next().unwrap() {
            out.push(record);
        }
        out
    }

    proptest! {
        #[test]
        fn sorts_as_a_vector_does(records in prop::collection::vec(any::<[u8; 4]>(), 0..400), a in 0_usize..200, b in 1_usize..4000) {
            let mut want = records.clone();
            want.sort_unstable();
            prop_assert_eq!(sorted(&[a, b], &records, 1), want);
        }
    }

    #[test]
    fn runs_longer_than_one_read_come_back_whole() {
        let records: Vec<[u8; 4]> =
            (0..60_000_u32).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()).collect();
        let mut want = records.clone();
        want.sort_unstable();
        assert_eq!(sorted(&[100_000], &records, 0), want);
    }

    #[test]
    fn the_buffer_stays_within_its_budget() {
        let mut sorter = Sorter::<36>::new(10_000);
        for n in 0..5_000_u32 {
            let mut record = [0; 36];
            record[..4].copy_from_slice(&n.to_be_bytes());
            sorter.push(record).unwrap();
            assert!(sorter.buffer.capacity() * 36 <= 10_000);
        }
        assert_eq!(sorter.runs.len(), 5_000 / (10_000 / 36));
    }
}
