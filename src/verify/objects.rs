//! What is stored: the chunks of every pack, the blobs put together from them, and that the index
//! says the same as the packs.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use sha2::{Digest as _, Sha256};

use super::codes::Code;
use super::findings::Finding;
use super::structure::read_finding;
use super::work::{Bits, Counter, workers};
use super::{Context, VerifyError};
use crate::format::digest::Digest;
use crate::format::index::{BlobRecord, EntryRecord, IndexError};
use crate::format::object::Head;
use crate::format::reader::{self, ReadError};
use crate::format::ustar::{self, EntryKind};
use crate::io::spill::{Merge, Sorter};

/// What is known about everything stored.
#[derive(Debug)]
pub(super) struct Stored {
    /// Chunks whose bytes are right.
    pub(super) chunk_ok: Bits,
    /// Chunks that a row or a blob refers to.
    pub(super) chunk_used: Bits,
    /// Blobs (of many chunks) whose bytes are right.
    pub(super) blob_ok: Bits,
    /// Blobs (of many chunks) that a row refers to.
    pub(super) blob_used: Bits,
    /// Chunks of the index that a pack's head has, or whose pack's head is unreadable.
    chunk_placed: Bits,
    /// Packs whose head is as it was written.
    head_ok: Bits,
}

/// Checks every pack and every blob that the index lists.
pub(super) fn check(context: &Context<'_>) -> Result<Stored, VerifyError> {
    let facts = context.index.facts(Digest::default());
    let stored = Stored {
        chunk_ok: Bits::new(facts.chunks),
        chunk_used: Bits::new(facts.chunks),
        blob_ok: Bits::new(facts.blobs),
        blob_used: Bits::new(facts.blobs),
        chunk_placed: Bits::new(facts.chunks),
        head_ok: Bits::new(facts.entries),
    };
    let entries = Counter::new(facts.entries);
    workers(context.threads, || {
        while let Some(number) = entries.take() {
            context.go_on()?;
            if let Ok(entry) = context.index.entry(number)
                && entry.kind == EntryKind::Pack
                && context.can_read(&entry)
            {
                pack(context, &stored, number, &entry);
                context.progress.bytes(entry.length);
            }
        }
        Ok(())
    })?;
    chunk_records(context, &stored)?;
    blob_records(context, &stored)?;
    Ok(stored)
}

/// Reads an object with room in the gate: the head, then the raw bytes, chunks not yet checked.
/// `take` gets them, or why there are none; with them the head where at least that is right.
pub(super) fn with_object<T>(
    context: &Context<'_>,
    entry: &EntryRecord,
    take: impl FnOnce(Option<&Head>, Result<&[u8], Box<Finding>>) -> T,
) -> T {
    let told = |error: &ReadError| Box::new(read_finding(context.file, entry, error));
    let head = match reader::read_head(context.file, entry) {
        Ok(head) => head,
        Err(error) => return take(None, Err(told(&error))),
    };
    let _held = context.gate.enter(head.body_length.saturating_add(head.raw_length));
    reader::with_raw(context.file, entry, &head, |raw| match &raw {
        Ok(raw) => take(Some(&head), Ok(raw)),
        Err(error) => take(Some(&head), Err(told(error))),
    })
}

fn pack(context: &Context<'_>, stored: &Stored, number: u64, entry: &EntryRecord) {
    with_object(context, entry, |head, raw| {
        let raw = match raw {
            Ok(raw) => Some(raw),
            Err(finding) => {
                context.findings.add(*finding);
                None
            }
        };
        let Some(head) = head else { return };
        stored.head_ok.set(number);
        let mut at = 0_u64;
        for (place, chunk) in head.chunks.iter().enumerate() {
            let length = u64::from(chunk.length);
            let range = usize::try_from(at).ok().zip(usize::try_from(at + length).ok());
            let record = context.index.find_chunk(&chunk.digest).filter(|(id, record)| {
                let fits = u64::from(record.entry) == number
                    && u64::from(record.offset) == at
                    && record.length == chunk.length;
                fits && !stored.chunk_placed.set(*id)
            });
            // Of what a base has, the index has what is used.
            let unused = entry.base() != 0 && record.is_none();
            if unused
                && !matches!(context.index.find_chunk(&chunk.digest),
                Some((_, other)) if u64::from(other.entry) == number)
            {
                at += length;
                continue;
            }
            if record.is_none() {
                let what = format!(
                    "its chunk {place} ({}, {length} bytes at {at}) is not in the index as that",
                    chunk.digest
                );
                let finding = Finding::new(Code::IndexObjectDisagree, what);
                context.findings.add(finding.of_entry(entry));
            }
            if let (Some(raw), Some((from, to))) = (raw, range) {
                if raw.get(from..to).is_some_and(|bytes| Digest::of(bytes) == chunk.digest) {
                    if let Some((id, _)) = record {
                        stored.chunk_ok.set(id);
                    }
                } else {
                    let what = format!(
                        "chunk {place}, {length} bytes at {at} of its raw bytes, is not {}",
                        chunk.digest
                    );
                    let finding = Finding::new(Code::ChunkDigest, what);
                    context.findings.add(finding.of_entry(entry).offset(entry.offset_in_file()));
                }
            }
            at += length;
        }
    });
}

/// The index's own order, and that each chunk is where it says.
fn chunk_records(context: &Context<'_>, stored: &Stored) -> Result<(), VerifyError> {
    let facts = context.index.facts(Digest::default());
    let mut last = None;
    let used = Bits::new(facts.entries);
    for number in 0..facts.chunks {
        if number % 65_536 == 0 {
            context.go_on()?;
        }
        let Ok(chunk) = context.index.chunk(number) else { continue };
        if last.is_some_and(|last| last >= chunk.digest) {
            malformed(context, format!("chunk {number} is not in the order of digests"));
        }
        last = Some(chunk.digest);
        let entry = context.index.entry(u64::from(chunk.entry));
        used.set(u64::from(chunk.entry));
        match entry {
            Ok(entry) if entry.kind == EntryKind::Pack => {
                if stored.head_ok.get(u64::from(chunk.entry)) && !stored.chunk_placed.get(number) {
                    let what =
                        format!("the index has chunk {} in it, which it has not", chunk.digest);
                    let finding = Finding::new(Code::IndexObjectDisagree, what);
                    context.findings.add(finding.of_entry(&entry));
                }
            }
            _ => malformed(context, format!("chunk {number} is in an entry that is no pack")),
        }
    }
    for number in 0..facts.entries {
        if let Ok(entry) = context.index.entry(number)
            && entry.kind == EntryKind::Pack
            && entry.base() != 0
            && !used.get(number)
        {
            let what = "it is taken from a base, and no chunk of it is used";
            context.findings.add(Finding::new(Code::UnreferencedObject, what).of_entry(&entry));
        }
    }
    Ok(())
}

fn malformed(context: &Context<'_>, what: String) {
    context.findings.add(Finding::new(Code::IndexMalformed, what).entry(ustar::INDEX));
}

/// The lists of blobs, and the bytes that the chunks of each come to.
fn blob_records(context: &Context<'_>, stored: &Stored) -> Result<(), VerifyError> {
    let facts = context.index.facts(Digest::default());
    let mut last = None;
    let mut next = 0_u64;
    // In the order of the file, so that a pack is unpacked about once.
    let mut order = Sorter::<16>::new(context.memory / 8);
    for number in 0..facts.blobs {
        if number % 1024 == 0 {
            context.go_on()?;
        }
        let Ok(blob) = context.index.blob(number) else { continue };
        if last.is_some_and(|last| last >= blob.digest) {
            malformed(context, format!("blob {number} is not in the order of digests"));
        }
        last = Some(blob.digest);
        if blob.first != next || blob.count < 2 {
            malformed(context, format!("the chunks of blob {number} are not where they must be"));
        }
        next = blob.first.saturating_add(u64::from(blob.count));
        match listed(context, stored, &blob) {
            Ok((length, whole, first)) => {
                if length != blob.length {
                    let what =
                        format!("its chunks have {length} bytes, the index says {}", blob.length);
                    let finding = Finding::new(Code::BlobLength, what);
                    context.findings.add(finding.blob(blob.digest));
                } else if whole {
                    let mut record = [0; 16];
                    let (place, id) = record.split_at_mut(8);
                    place.copy_from_slice(&first.to_be_bytes());
                    id.copy_from_slice(&number.to_be_bytes());
                    order.push(record).map_err(VerifyError::Scratch)?;
                }
            }
            Err(error) => malformed(context, format!("blob {number}: {error}")),
        }
    }
    if next != facts.blob_chunks {
        let what = format!("{} chunks of blobs, and lists of {next}", facts.blob_chunks);
        malformed(context, what);
    }
    let merge = Merge::new(vec![order], context.memory / 8).map_err(VerifyError::Scratch)?;
    let merge = Mutex::new(merge);
    workers(context.threads, || {
        let mut cache = Packs::default();
        loop {
            context.go_on()?;
            // A run of neighbours, so that each worker has packs of its own.
            let mut run = Vec::new();
            {
                let mut merge = merge.lock().unwrap_or_else(PoisonError::into_inner);
                while run.len() < 32
                    && let Some(record) = merge.next().map_err(VerifyError::Scratch)?
                {
                    run.push(record.last_chunk::<8>().map_or(0, |id| u64::from_be_bytes(*id)));
                }
            }
            if run.is_empty() {
                return Ok(());
            }
            for number in run {
                let Ok(blob) = context.index.blob(number) else { continue };
                if whole(context, &mut cache, &blob) {
                    stored.blob_ok.set(number);
                } else {
                    let what = "its chunks are intact but do not make it up";
                    let finding = Finding::new(Code::BlobDigest, what);
                    context.findings.add(finding.blob(blob.digest));
                }
            }
        }
    })?;
    Ok(())
}

/// The length of a blob's chunks, whether all are right, and where the first is in the file.
fn listed(
    context: &Context<'_>,
    stored: &Stored,
    blob: &BlobRecord,
) -> Result<(u64, bool, u64), IndexError> {
    let (mut length, mut whole, mut first) = (0_u64, true, None);
    for place in 0..u64::from(blob.count) {
        let number = context.index.blob_chunk(blob.first.saturating_add(place))?;
        let chunk = context.index.chunk(number)?;
        stored.chunk_used.set(number);
        whole &= stored.chunk_ok.get(number);
        length = length.saturating_add(u64::from(chunk.length));
        first.get_or_insert(u64::from(chunk.entry) << 32 | u64::from(chunk.offset));
    }
    Ok((length, whole, first.unwrap_or(0)))
}

/// Whether a blob's chunks, each known to be right, together have its digest.
fn whole(context: &Context<'_>, cache: &mut Packs, blob: &BlobRecord) -> bool {
    let mut hash = Sha256::new();
    for place in 0..u64::from(blob.count) {
        let number = context.index.blob_chunk(blob.first.saturating_add(place));
        let Ok(chunk) = number.and_then(|number| context.index.chunk(number)) else { return false };
        let Some(raw) = cache.get(context, chunk.entry) else { return false };
        let range = usize::try_from(chunk.offset).ok().zip(usize::try_from(chunk.length).ok());
        let bytes = range.and_then(|(from, length)| raw.get(from..from.checked_add(length)?));
        let Some(bytes) = bytes else { return false };
        hash.update(bytes);
    }
    Digest(hash.finalize().into()) == blob.digest
}

/// The packs a worker unpacked last. Two: what compresses and what does not is in different ones.
#[derive(Debug, Default)]
pub(super) struct Packs(VecDeque<(u32, Arc<Vec<u8>>)>);

impl Packs {
    pub(super) fn get(&mut self, context: &Context<'_>, entry: u32) -> Option<Arc<Vec<u8>>> {
        if let Some((_, raw)) = self.0.iter().find(|(number, _)| *number == entry) {
            return Some(Arc::clone(raw));
        }
        let record = context.index.entry(u64::from(entry)).ok()?;
        let head = reader::read_head(context.file, &record).ok()?;
        let raw = reader::with_raw(context.file, &record, &head, |raw| raw.map(Cow::into_owned));
        let raw = Arc::new(raw.ok()?);
        self.0.push_front((entry, Arc::clone(&raw)));
        self.0.truncate(2);
        Some(raw)
    }
}

/// Whatever is stored and nothing refers to. Only worth saying when all rows could be read.
pub(super) fn unused(context: &Context<'_>, stored: &Stored) -> Result<(), VerifyError> {
    let facts = context.index.facts(Digest::default());
    for number in 0..facts.blobs {
        if !stored.blob_used.get(number)
            && let Ok(blob) = context.index.blob(number)
        {
            let what = format!("no row refers to it ({} bytes)", blob.length);
            context.findings.add(Finding::new(Code::UnreferencedBlob, what).blob(blob.digest));
        }
    }
    for number in 0..facts.chunks {
        if number % 65_536 == 0 {
            context.go_on()?;
        }
        if !stored.chunk_used.get(number)
            && let Ok(chunk) = context.index.chunk(number)
        {
            let what = format!("no blob and no row refers to it ({} bytes)", chunk.length);
            context.findings.add(Finding::new(Code::UnreferencedChunk, what).blob(chunk.digest));
        }
    }
    Ok(())
}
