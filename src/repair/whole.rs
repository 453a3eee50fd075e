//! What is whole of an object that is damaged, cut off, or on a medium that does not give all of it
//! back. Whether bytes are right their own digests say; nothing else about the object has to be.

use std::io;
use std::sync::Arc;

use super::scan::{SECTOR, read};
use crate::format::index::EntryRecord;
use crate::format::object;
use crate::format::reader::{self, Archive, ReadError};
use crate::format::ustar::EntryKind;
use crate::io::ReadAt;

/// A file that goes on with zeros where it was cut off, so that an entry that reaches past its end can
/// be read as far as it is there.
pub(super) struct Padded {
    file: Arc<dyn ReadAt>,
    length: u64,
}

impl Padded {
    /// The file, `length` bytes long if it is shorter.
    pub(super) fn over(file: &Arc<dyn ReadAt>, length: u64) -> Arc<dyn ReadAt> {
        Arc::new(Self { file: Arc::clone(file), length: length.max(file.len()) })
    }
}

impl ReadAt for Padded {
    fn len(&self) -> u64 {
        self.length
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let length = u64::try_from(buf.len()).unwrap_or(u64::MAX);
        if offset.checked_add(length).is_none_or(|end| end > self.length) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let there = usize::try_from(self.file.len().saturating_sub(offset)).unwrap_or(usize::MAX);
        let (bytes, beyond) = buf.split_at_mut(there.min(buf.len()));
        beyond.fill(0);
        self.file.read_exact_at(bytes, offset)
    }
}

/// The raw bytes of an object as far as they are there. Chunks are the caller's to check.
pub(super) fn raw(file: &dyn ReadAt, entry: &EntryRecord) -> Result<Vec<u8>, ReadError> {
    let head = reader::read_head(file, entry)?;
    let start = entry.offset + entry.length - head.body_length;
    let body = read(file, start, head.body_length, SECTOR).bytes;
    Ok(object::decode_what_is_there(&head, &body))
}

/// The rows of a segment of which only what is around them is damaged.
pub(super) fn segment(archive: &Archive, number: u64) -> Option<Vec<u8>> {
    let record = archive.index().segment(number).ok()?;
    let entry = archive.index().entry(u64::from(record.entry)).ok()?;
    if entry.kind != EntryKind::Segment {
        return None;
    }
    let head = reader::read_head(&**archive.file(), &entry).ok()?;
    let raw = raw(&**archive.file(), &entry).ok()?;
    object::check_chunks(&head, &raw).is_ok().then_some(raw)
}
