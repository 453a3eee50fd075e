//! Bytes on disk: positional reads, files that appear whole or not at all, scratch files, sorting.
//! Depends on nothing of the rest.

mod atomic;
mod scratch;
pub(crate) mod spill;

use std::cell::Cell;
use std::fs::File;
use std::io;
use std::path::Path;

pub use atomic::AtomicFile;
pub use scratch::Scratch;
pub(crate) use scratch::Spool;

thread_local! {
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Longest scratch buffer that a thread keeps.
const KEPT: usize = 8 << 20;

/// Gives `work` a buffer of this length, filled with whatever its thread had in it last: for what
/// is read whole and dropped. A new one is zeroed by the system page by page, which costs more than
/// reading into it.
pub(crate) fn with_scratch<T>(length: usize, work: impl FnOnce(&mut [u8]) -> T) -> T {
    let mut buffer = SCRATCH.take();
    if buffer.len() < length {
        buffer.resize(length, 0);
    }
    let out = work(buffer.get_mut(..length).unwrap_or_default());
    if buffer.len() <= KEPT {
        SCRATCH.set(buffer);
    }
    out
}

/// Something of a fixed length that can be read at any offset, from many threads.
pub trait ReadAt: Send + Sync {
    /// Its length in bytes, as it was when it was opened.
    fn len(&self) -> u64;

    /// Whether it holds nothing.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether so many bytes are there from `offset` on.
    fn holds(&self, offset: u64, length: u64) -> bool {
        offset.checked_add(length).is_some_and(|end| end <= self.len())
    }

    /// Fills `buf` from `offset` on.
    ///
    /// # Errors
    /// `UnexpectedEof` past the end; what the device says otherwise.
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()>;

    /// The file itself, where there is one.
    fn as_file(&self) -> Option<&File> {
        None
    }
}

/// A file on disk, read with `pread`: a bad sector is an error that can be told, where a mapping
/// would end the process.
#[derive(Debug)]
pub struct DiskFile {
    file: File,
    len: u64,
}

impl DiskFile {
    /// Opens `path` for reading, and says to others with a shared lock that it is in use.
    ///
    /// # Errors
    /// What the system says; `IsADirectory` for a folder.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let meta = file.metadata()?;
        if meta.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        // A file system without locks, or one that is just being removed: it can be read all the same.
        _ = file.try_lock_shared();
        Ok(Self { file, len: meta.len() })
    }
}

impl ReadAt for DiskFile {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(&self.file, buf, offset)
    }

    fn as_file(&self) -> Option<&File> {
        Some(&self.file)
    }
}

impl<T: ReadAt + ?Sized> ReadAt for &T {
    fn len(&self) -> u64 {
        (**self).len()
    }
    fn holds(&self, offset: u64, length: u64) -> bool {
        (**self).holds(offset, length)
    }
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        (**self).read_exact_at(buf, offset)
    }
    fn as_file(&self) -> Option<&File> {
        (**self).as_file()
    }
}

impl ReadAt for Vec<u8> {
    fn len(&self) -> u64 {
        u64::try_from(self.len()).unwrap_or(u64::MAX)
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let from = usize::try_from(offset)
            .ok()
            .and_then(|start| self.get(start..))
            .and_then(|rest| rest.get(..buf.len()))
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        buf.copy_from_slice(from);
        Ok(())
    }
}
