//! Memory maps, the only unsafe code of the crate.

use std::fs::File;
use std::io;
use std::ops::Deref;

/// A read-only map of a stretch of a file.
///
/// Used where random access to more than fits in memory is needed (a large index) after the bytes
/// were read once and their digest was found right. Should the file be cut short or its disk fail
/// under the map, the process ends with SIGBUS: so first reads never go through a map.
#[derive(Debug)]
pub struct Mapped(memmap2::Mmap);

impl Mapped {
    /// Maps `len` bytes from `offset`.
    ///
    /// # Errors
    /// What the system says.
    #[expect(unsafe_code, reason = "a map is as sound as nobody changing the file under it")]
    pub fn of(file: &File, offset: u64, len: usize) -> io::Result<Self> {
        // SAFETY: the map is read only, and nothing of ours writes to an archive once it has its
        // name or to a scratch file once it is mapped. Another process that changes the file can
        // change the bytes seen; every use bounds-checks what it reads, so that is wrong data in
        // the worst case, which digests tell, and never a broken invariant.
        unsafe { memmap2::MmapOptions::new().offset(offset).len(len).map(file).map(Self) }
    }
}

impl Deref for Mapped {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}
