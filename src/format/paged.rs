//! The bytes of an index that is too long for memory, read where they are, page by page.
//!
//! Not mapped: pages of a map count as memory of the process, as many as were touched, and a disk that
//! fails under a map ends the process.

use std::cell::RefCell;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes that are read at a time.
const PAGE: u64 = 4096;
/// Pages that each thread keeps.
const KEPT: usize = 16;

/// A stretch of a file.
#[derive(Debug)]
pub struct Paged {
    file: File,
    offset: u64,
    length: u64,
    /// Tells its pages from those of others.
    id: u64,
    /// The first thing that went wrong.
    fault: OnceLock<io::Error>,
}

#[derive(Default)]
struct Page {
    /// Whose it is, and which; 0 of none.
    of: (u64, u64),
    bytes: Vec<u8>,
}

thread_local! {
    static PAGES: RefCell<[Page; KEPT]> = RefCell::default();
}

static NEXT: AtomicU64 = AtomicU64::new(1);

impl Paged {
    /// So many bytes of a file, which is open on its own from now on.
    ///
    /// # Errors
    /// What the system says.
    pub fn of(file: &File, offset: u64, length: u64) -> io::Result<Self> {
        let (file, id) = (file.try_clone()?, NEXT.fetch_add(1, Ordering::Relaxed));
        Ok(Self { file, offset, length, id, fault: OnceLock::new() })
    }

    /// How many bytes.
    pub(super) fn len(&self) -> u64 {
        self.length
    }

    /// Why bytes could not be read that were there before.
    pub(super) fn fault(&self) -> Option<&io::Error> {
        self.fault.get()
    }

    fn kept<T>(&self, result: io::Result<T>) -> Option<T> {
        result.map_err(|error| self.fault.get_or_init(|| error)).ok()
    }

    /// The bytes from a place on. None past the end, or if they cannot be read.
    pub(super) fn read<const N: usize>(&self, at: u64) -> Option<[u8; N]> {
        let end = at.checked_add(u64::try_from(N).ok()?)?;
        if end > self.length {
            return None;
        }
        PAGES.with_borrow_mut(|pages| {
            let mut out = [0; N];
            let mut left = out.as_mut_slice();
            let mut at = at;
            while !left.is_empty() {
                let page = self.kept(self.page(pages, at / PAGE))?;
                let bytes = page.get(usize::try_from(at % PAGE).ok()?..)?;
                let now = bytes.len().min(left.len());
                let (to, rest) = std::mem::take(&mut left).split_at_mut_checked(now)?;
                to.copy_from_slice(bytes.get(..now)?);
                left = rest;
                at += u64::try_from(now).ok().filter(|now| *now > 0)?;
            }
            Some(out)
        })
    }

    fn page<'a>(&self, pages: &'a mut [Page; KEPT], number: u64) -> io::Result<&'a [u8]> {
        let slot = usize::try_from(number).unwrap_or(0) % KEPT;
        let page = pages.get_mut(slot).ok_or(io::ErrorKind::UnexpectedEof)?;
        if page.of != (self.id, number) {
            page.of = (0, 0);
            let start = number.saturating_mul(PAGE);
            let length = self.length.saturating_sub(start).min(PAGE);
            page.bytes.resize(usize::try_from(length).unwrap_or(0), 0);
            self.file.read_exact_at(&mut page.bytes, self.offset.saturating_add(start))?;
            page.of = (self.id, number);
        }
        Ok(&page.bytes)
    }

    /// Fills `out` from a place on.
    pub(super) fn fill(&self, out: &mut [u8], at: u64) -> io::Result<()> {
        let end = at.checked_add(u64::try_from(out.len()).unwrap_or(u64::MAX));
        if end.is_none_or(|end| end > self.length) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.file.read_exact_at(out, self.offset.saturating_add(at))
    }

    /// What looking for something came to; a fault is kept.
    pub(super) fn found<T>(&self, result: io::Result<Option<T>>) -> Option<T> {
        self.kept(result).flatten()
    }
}

#[cfg(test)]
mod tests {
    //! Bytes of another page would be another record.
    use std::io::Write;

    use super::*;

    fn file(length: u32) -> (File, Vec<u8>) {
        let bytes: Vec<u8> =
            (0..length).flat_map(|n| n.wrapping_mul(0x9E37_79B1).to_le_bytes()).collect();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        (file, bytes)
    }

    #[test]
    fn every_place_is_read_as_it_is() {
        let (one, one_bytes) = file(60_000);
        let (other, other_bytes) = file(50_000);
        let length = 200_000;
        let (one, other) =
            (Paged::of(&one, 1001, length).unwrap(), Paged::of(&other, 0, length).unwrap());
        for at in (0..=length + 60).step_by(37).chain((0..20_000).rev()) {
            let want = |bytes: &[u8], start: u64| -> Option<[u8; 44]> {
                let from = usize::try_from(start + at).unwrap();
                (at + 44 <= length).then(|| bytes[from..from + 44].try_into().unwrap())
            };
            assert_eq!(one.read::<44>(at), want(&one_bytes, 1001), "{at}");
            assert_eq!(other.read::<44>(at), want(&other_bytes, 0), "{at}");
        }
        assert!(one.fault().is_none());
    }

    #[test]
    fn what_cannot_be_read_is_not_passed_over() {
        let (file, bytes) = file(10_000);
        let paged = Paged::of(&file, 0, 40_000).unwrap();
        assert_eq!(paged.read::<8>(8192), bytes[8192..8200].try_into().ok());
        file.set_len(8192).unwrap();
        assert!(paged.fault().is_none());
        assert_eq!(paged.read::<8>(12_288), None);
        assert!(paged.fault().is_some());
    }
}
