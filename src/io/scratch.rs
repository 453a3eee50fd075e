//! Files without a name, for what does not fit in memory: nothing of one is left when the process
//! ends, however it ends.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

/// Where scratch files go: into a folder, or where the system has temporary files.
#[derive(Clone, Debug, Default)]
pub struct Scratch {
    folder: Option<Arc<Path>>,
    /// A device that takes nothing, in the place of every file.
    #[cfg(test)]
    full: bool,
}

impl Scratch {
    /// Into this folder.
    pub fn within(folder: &Path) -> Self {
        Self {
            folder: Some(folder.into()),
            #[cfg(test)]
            full: false,
        }
    }

    /// Into the folder of the file at `path`.
    pub fn beside(path: &Path) -> Self {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        Self::within(folder.unwrap_or(Path::new(".")))
    }

    /// Where every write says that the disk is full.
    #[cfg(test)]
    pub(crate) fn full() -> Self {
        Self { full: true, ..Self::default() }
    }

    /// A new file.
    ///
    /// # Errors
    /// What the system says.
    pub fn file(&self) -> io::Result<File> {
        #[cfg(test)]
        if self.full {
            return File::options().read(true).write(true).open("/dev/full");
        }
        match &self.folder {
            Some(folder) => tempfile::tempfile_in(folder),
            None => tempfile::tempfile(),
        }
    }
}

/// Appends to `list`, which may hold so many records: doubling alone would go past that.
pub(super) fn push_within<const N: usize>(list: &mut Vec<[u8; N]>, most: usize, record: [u8; N]) {
    if list.len() == list.capacity() {
        let more = list.len().max(64).min(most.saturating_sub(list.len())).max(1);
        list.reserve_exact(more);
    }
    list.push(record);
}

fn wide(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

/// A list of records of `N` bytes that is only added to: its end in memory, the rest in a file.
#[derive(Debug)]
pub(crate) struct Spool<const N: usize> {
    scratch: Scratch,
    file: Option<File>,
    /// Records in the file.
    written: u64,
    tail: Vec<[u8; N]>,
    /// Records that the tail may hold.
    most: usize,
}

impl<const N: usize> Spool<N> {
    /// Keeps at most `budget` bytes in memory (and never less than one record).
    pub(crate) fn new(budget: usize, scratch: Scratch) -> Self {
        let most = (budget / N.max(1)).max(1);
        Self { scratch, file: None, written: 0, tail: Vec::new(), most }
    }

    /// How many there are.
    pub(crate) fn len(&self) -> u64 {
        self.written.saturating_add(wide(self.tail.len()))
    }

    /// Bytes of memory that it takes.
    pub(crate) fn held(&self) -> usize {
        self.tail.capacity() * N
    }

    /// Adds one.
    ///
    /// # Errors
    /// The file cannot be made or written.
    pub(crate) fn push(&mut self, record: [u8; N]) -> io::Result<()> {
        if self.tail.len() >= self.most {
            let file = match &mut self.file {
                Some(file) => file,
                none => none.insert(self.scratch.file()?),
            };
            file.write_all(self.tail.as_flattened())?;
            self.written += wide(self.tail.len());
            self.tail.clear();
        }
        push_within(&mut self.tail, self.most, record);
        Ok(())
    }

    /// Adds to `out` so many from the one with the number `from` on, counted from 0.
    ///
    /// # Errors
    /// `UnexpectedEof` if there are not as many; the file cannot be read.
    pub(crate) fn read(&self, from: u64, count: usize, out: &mut Vec<[u8; N]>) -> io::Result<()> {
        let end = from.checked_add(wide(count)).filter(|end| *end <= self.len());
        let end = end.ok_or(io::ErrorKind::UnexpectedEof)?;
        let in_file = end.min(self.written).saturating_sub(from);
        if let Some(file) = self.file.as_ref().filter(|_| in_file > 0) {
            let start = out.len();
            out.resize(start.saturating_add(usize::try_from(in_file).unwrap_or(0)), [0; N]);
            let new = out.get_mut(start..).unwrap_or_default();
            file.read_exact_at(new.as_flattened_mut(), from.saturating_mul(wide(N)))?;
        }
        let place = |number: u64| usize::try_from(number.saturating_sub(self.written)).unwrap_or(0);
        let kept = self.tail.get(place(from)..place(end)).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.extend_from_slice(kept);
        Ok(())
    }

    /// Gives all of them, in the order they came.
    ///
    /// # Errors
    /// What `take` says; the file cannot be read, as `wrong` makes an error of it.
    pub(crate) fn each<E>(
        &self,
        wrong: impl Fn(io::Error) -> E,
        mut take: impl FnMut(&[u8; N]) -> Result<(), E>,
    ) -> Result<(), E> {
        let at_once = (64 << 10) / N.max(1) + 1;
        let (mut from, mut some) = (0, Vec::new());
        while from < self.len() {
            let left = usize::try_from(self.len() - from).unwrap_or(usize::MAX);
            some.clear();
            self.read(from, left.min(at_once), &mut some).map_err(&wrong)?;
            some.iter().try_for_each(&mut take)?;
            from += wide(some.len());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    //! A record that comes back from another place would be another chunk of a value.
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_spool_is_a_list(budget in 0_usize..300, count in 0_u32..200, from in 0_u64..220, some in 0_usize..220) {
            let mut spool = Spool::<4>::new(budget, Scratch::default());
            let want: Vec<[u8; 4]> = (0..count).map(u32::to_be_bytes).collect();
            for record in &want {
                spool.push(*record).unwrap();
                prop_assert!(spool.held() <= budget.max(4));
            }
            prop_assert_eq!(spool.len(), u64::from(count));
            let mut all = Vec::new();
            spool.each(|error| error, |record| { all.push(*record); Ok(()) }).unwrap();
            prop_assert_eq!(&all, &want);
            let mut out = vec![[9; 4]];
            let read = spool.read(from, some, &mut out);
            let from = usize::try_from(from).unwrap();
            match want.get(from..from + some) {
                Some(want) => prop_assert_eq!(out.get(1..), Some(want)),
                None => prop_assert!(read.is_err()),
            }
        }
    }

    #[test]
    fn a_full_disk_is_told() {
        let mut spool = Spool::<4>::new(8, Scratch::full());
        spool.push([0; 4]).unwrap();
        spool.push([0; 4]).unwrap();
        assert_eq!(spool.push([0; 4]).unwrap_err().kind(), io::ErrorKind::StorageFull);
    }

    #[test]
    fn nothing_has_a_name() {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = Spool::<4>::new(0, Scratch::beside(&folder.path().join("archive")));
        (0..100).for_each(|_| spool.push([7; 4]).unwrap());
        assert!(spool.file.is_some());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
