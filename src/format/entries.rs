//! Single entries of an archive: their headers, bodies, and the objects that they are (spec sections 4
//! and 8).

use std::borrow::Cow;
use std::io;

use super::digest::Digest;
use super::index::EntryRecord;
use super::limits::BLOCK;
use super::object::{self, Body, HEAD_FIXED, Head, ObjectError};
use super::raw;
use super::reader::ReadError;
use super::ustar;
use crate::io::{ReadAt, with_scratch};

/// The body of an entry, its header compared with the one there is. The digest is the caller's.
///
/// # Errors
/// [`ReadError::Header`], [`ReadError::Io`]; [`ReadError::Digest`] for one longer than `limit`.
pub fn read_entry(
    file: &dyn ReadAt,
    entry: &EntryRecord,
    created: u64,
    limit: u64,
) -> Result<Vec<u8>, ReadError> {
    check_header(file, entry, created)?;
    let end = entry.offset.checked_add(entry.length);
    if entry.length > limit || end.is_none_or(|end| end > file.len()) {
        return Err(ReadError::Digest(entry.name()));
    }
    let length = usize::try_from(entry.length).map_err(|_| ReadError::Digest(entry.name()))?;
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, entry.offset).map_err(|source| io_at(entry, source))?;
    Ok(bytes)
}

/// Compares an entry's header with the one it must have.
///
/// # Errors
/// [`ReadError::Header`] or [`ReadError::Io`].
pub fn check_header(file: &dyn ReadAt, entry: &EntryRecord, created: u64) -> Result<(), ReadError> {
    let mut header = [0; BLOCK];
    let start = entry.offset.checked_sub(512).ok_or_else(|| ReadError::Header(entry.name()))?;
    file.read_exact_at(&mut header, start).map_err(|source| io_at(entry, source))?;
    if header == ustar::header(&entry.name(), entry.length, created) {
        Ok(())
    } else {
        Err(ReadError::Header(entry.name()))
    }
}

fn io_at(entry: &EntryRecord, source: io::Error) -> ReadError {
    ReadError::Io { entry: entry.name(), source }
}

/// An object's head and raw bytes: header, name, head and the body's own digest or framing are
/// proven; the chunks are the caller's to check ([`object::check_chunks`]).
///
/// # Errors
/// See [`ReadError`].
pub fn read_object(
    file: &dyn ReadAt,
    entry: &EntryRecord,
    created: u64,
) -> Result<(Head, Vec<u8>), ReadError> {
    // The header of a base's entry has the base's second: its name, the head's digest, is enough.
    if entry.base() == 0 {
        check_header(file, entry, created)?;
    }
    let head = read_head(file, entry)?;
    let raw = with_raw(file, entry, &head, |raw| raw.map(Cow::into_owned))?;
    Ok((head, raw))
}

/// Gives `take` the raw bytes of an object whose head is known, or why there are none: the body's own
/// digest or framing is proven. What is stored as it is comes in a buffer that is there already.
pub fn with_raw<T>(
    file: &dyn ReadAt,
    entry: &EntryRecord,
    head: &Head,
    take: impl FnOnce(Result<Cow<'_, [u8]>, ReadError>) -> T,
) -> T {
    let wrong = |problem| ReadError::Object { entry: entry.name(), problem };
    let lengths = usize::try_from(head.body_length).ok().zip(usize::try_from(head.raw_length).ok());
    let start = entry.length.checked_sub(head.body_length);
    let (Some((length, raw_length)), Some(start)) = (lengths, start) else {
        return take(Err(wrong(ObjectError::Head("longer than memory"))));
    };
    let at = entry.offset.saturating_add(start);
    if head.body == Body::Raw {
        return with_scratch(raw_length, |raw| match raw::read(file, at, raw) {
            Ok(true) => take(Ok(Cow::Borrowed(raw))),
            Ok(false) => take(Err(wrong(ObjectError::Framing))),
            Err(source) => take(Err(io_at(entry, source))),
        });
    }
    let raw = with_scratch(length, |body| {
        file.read_exact_at(body, at).map_err(|source| io_at(entry, source))?;
        object::decode_body(head, body).map_err(wrong)
    });
    take(raw.map(Cow::Owned))
}

/// An object's head, of the digest that is its name and of the kind and length the index says.
///
/// # Errors
/// See [`ReadError`].
pub fn read_head(file: &dyn ReadAt, entry: &EntryRecord) -> Result<Head, ReadError> {
    let wrong = |what| ReadError::Object { entry: entry.name(), problem: what };
    let mut fixed = [0; HEAD_FIXED];
    let short = || wrong(ObjectError::Head("cut off"));
    if entry.base() != 0 {
        // Why it is not there, if its base is not.
        file.read_exact_at(&mut fixed, entry.offset).map_err(|source| io_at(entry, source))?;
    }
    if !file.holds(entry.offset, entry.length)
        || entry.length < u64::try_from(HEAD_FIXED).unwrap_or(u64::MAX)
    {
        return Err(short());
    }
    file.read_exact_at(&mut fixed, entry.offset).map_err(|source| io_at(entry, source))?;
    let length = Head::length(&fixed).map_err(wrong)?;
    let long = u64::try_from(length).unwrap_or(u64::MAX);
    if long > entry.length {
        return Err(short());
    }
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, entry.offset).map_err(|source| io_at(entry, source))?;
    if Digest::of(&bytes) != entry.digest {
        return Err(wrong(ObjectError::Name));
    }
    let head = Head::decode(&bytes).map_err(wrong)?;
    if long.checked_add(head.body_length) != Some(entry.length) {
        return Err(wrong(ObjectError::Head("its body has another length than the entry")));
    }
    if head.kind != entry.kind {
        return Err(wrong(ObjectError::Head("of another kind than the index says")));
    }
    Ok(head)
}
