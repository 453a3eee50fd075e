//! The container: seal, manifest, index, and that the entries fill the file as they must.

use std::cmp::Ordering;
use std::io;

use super::bases;
use super::codes::Code;
use super::findings::{Finding, Findings};
use super::{Context, VerifyError};
use crate::format::cbor::CborError;
use crate::format::digest::Digest;
use crate::format::index::{EntryRecord, Index, IndexError};
use crate::format::limits::{self, BLOCK};
use crate::format::line_ends::Change;
use crate::format::manifest::Manifest;
use crate::format::object::{HEAD_FIXED, HEAD_MAX, ObjectError};
use crate::format::parity;
use crate::format::reader::{self, OpenError, ReadError, Tail};
use crate::format::seal::{self, Place, Seal};
use crate::format::ustar::{self, EntryKind};
use crate::io::ReadAt;
use crate::io::spill::{Merge, Sorter};

/// What could be opened; what is missing has a finding.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) seal: Seal,
    pub(super) manifest: Option<Manifest>,
    pub(super) index: Option<Index>,
}

/// Reads seal, manifest and index. None where there is no seal to start from, or a newer version.
pub(super) fn open(file: &dyn ReadAt, findings: &Findings) -> Option<Opened> {
    let seal = match Tail::read(file) {
        Ok(tail) => seal_of(file, &tail, findings)?,
        Err(error) => {
            findings.add(no_seal(file, &error));
            return None;
        }
    };
    if seal.total != file.len() {
        let message = format!("{} bytes long; the seal says {}", file.len(), seal.total);
        findings.add(Finding::new(Code::LengthMismatch, message));
    }
    let manifest = if seal.manifest.length > limits::MANIFEST {
        let message = format!("the manifest has {} bytes", seal.manifest.length);
        findings.add(Finding::new(Code::LimitExceeded, message).entry(ustar::MANIFEST));
        None
    } else {
        match reader::read_manifest(file, &seal.manifest) {
            Ok(manifest) => Some(manifest),
            Err(error) => {
                let finding = manifest_finding(&error).entry(ustar::MANIFEST);
                let stop = finding.code.is_too_new();
                findings.add(finding.offset(seal.manifest.offset));
                if stop {
                    return None;
                }
                None
            }
        }
    };
    let index = match reader::read_index(file, &seal.index) {
        Ok(index) => Some(index),
        Err(error) => {
            let finding = index_finding(&error).entry(ustar::INDEX);
            let stop = finding.code.is_too_new();
            findings.add(finding.offset(seal.index.offset));
            if stop {
                return None;
            }
            None
        }
    };
    if let (Some(manifest), Some(index)) = (&manifest, &index) {
        let facts = index.facts(seal.index.digest);
        if manifest.index != facts {
            let message = format!(
                "the manifest describes an index of {:?}, the file holds {facts:?}",
                manifest.index
            );
            findings.add(Finding::new(Code::ManifestIndexDisagree, message));
        }
    }
    if let Some(manifest) = &manifest
        && manifest.created != seal.created
    {
        let message =
            format!("created {} in the manifest, {} in the seal", manifest.created, seal.created);
        findings.add(Finding::new(Code::ManifestIndexDisagree, message));
    }
    Some(Opened { seal, manifest, index })
}

fn seal_of(file: &dyn ReadAt, tail: &Tail, findings: &Findings) -> Option<Seal> {
    let seal = match tail.seal() {
        Ok(seal) => seal,
        Err(error) => {
            findings.add(no_seal(file, &error));
            return None;
        }
    };
    let start = file.len().saturating_sub(u64::try_from(seal::TAIL).unwrap_or(0));
    for (number, copy) in [1, 2].into_iter().zip(tail.copies) {
        let what = match copy {
            Err(error) => format!("copy {number}: {error}"),
            Ok(other) if other != seal => format!("copy {number} differs from the other"),
            Ok(_) => continue,
        };
        findings.add(
            Finding::new(Code::SealCopyDamaged, what)
                .entry(ustar::SEAL)
                .offset(start + 512 * number),
        );
    }
    if tail.header != ustar::header(ustar::SEAL, 1024, seal.created) {
        let what = "its tar header is damaged";
        findings.add(Finding::new(Code::HeaderMismatch, what).entry(ustar::SEAL).offset(start));
    }
    if !tail.end_is_zero {
        let what = "the last 1024 bytes of the file are not all zero";
        findings.add(Finding::new(Code::EndBlocks, what).offset(file.len().saturating_sub(1024)));
    }
    Some(seal)
}

/// Without a seal: told apart are another kind of file, and an archive without its end.
fn no_seal(file: &dyn ReadAt, error: &OpenError) -> Finding {
    if let (OpenError::Seal(_) | OpenError::NotAnArchive(_), Some(change)) =
        (error, Change::at_end_of(file))
    {
        let what = change.what();
        let what =
            format!("{what}, as a transfer in text mode does: copy it again, in binary mode");
        return Finding::new(Code::SealDamaged, what).entry(ustar::SEAL);
    }
    match error {
        OpenError::Io(error) => unreadable(error),
        OpenError::TooNew(what) => Finding::new(Code::VersionTooNew, what.clone()),
        OpenError::Seal(error) => {
            Finding::new(Code::SealDamaged, error.to_string()).entry(ustar::SEAL)
        }
        OpenError::NotAnArchive(what) if begins_as_archive(file) => {
            Finding::new(Code::SealDamaged, format!("the file begins as an archive, but {what}"))
                .entry(ustar::SEAL)
        }
        other => Finding::new(Code::NotAnArchive, other.to_string()),
    }
}

fn begins_as_archive(file: &dyn ReadAt) -> bool {
    let name = EntryKind::Readme.name(&Digest::default(), 0);
    let mut start = vec![0; name.len()];
    file.read_exact_at(&mut start, 0).is_ok() && start == name.as_bytes()
}

fn unreadable(error: &io::Error) -> Finding {
    Finding::new(Code::Unreadable, error.to_string())
}

fn manifest_finding(error: &OpenError) -> Finding {
    let code = match error {
        OpenError::Io(error) => return unreadable(error),
        OpenError::Place(_) => Code::MissingEntry,
        OpenError::Digest(_) => Code::ManifestDigest,
        OpenError::TooNew(what) if what.contains("feature") => Code::UnknownFeature,
        OpenError::TooNew(_) => Code::VersionTooNew,
        OpenError::Manifest(CborError::NotCanonical { .. }) => Code::ManifestNotCanonical,
        OpenError::Manifest(CborError::Limit { .. }) => Code::LimitExceeded,
        _ => Code::ManifestMalformed,
    };
    Finding::new(code, error.to_string())
}

fn index_finding(error: &OpenError) -> Finding {
    let code = match error {
        OpenError::Io(error) => return unreadable(error),
        OpenError::Place(_) => Code::MissingEntry,
        OpenError::Digest(_) => Code::IndexDigest,
        OpenError::Index(IndexError::Unreadable) => Code::Unreadable,
        OpenError::TooNew(_) => Code::VersionTooNew,
        _ => Code::IndexMalformed,
    };
    Finding::new(code, error.to_string())
}

/// What a failed read of an entry means.
pub(super) fn read_finding(file: &dyn ReadAt, entry: &EntryRecord, error: &ReadError) -> Finding {
    let (code, message) = match error {
        ReadError::Io { source, .. } if source.kind() == io::ErrorKind::UnexpectedEof => {
            (Code::MissingEntry, "lies beyond the end of the file".to_owned())
        }
        // Of a base that the manifest does not name: the medium is not to blame.
        ReadError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => {
            (Code::MissingEntry, source.to_string())
        }
        ReadError::Io { source, .. } => (Code::Unreadable, source.to_string()),
        ReadError::Header(_) => (Code::HeaderMismatch, "its tar header is damaged".to_owned()),
        ReadError::Digest(_) => (Code::EntryDigest, "it does not match its digest".to_owned()),
        ReadError::Object { problem, .. } => {
            (object_code(file, entry, problem), problem.to_string())
        }
        ReadError::Index(_) => (Code::IndexMalformed, error.to_string()),
        ReadError::NoBlob(_) => (Code::BlobMissing, error.to_string()),
        ReadError::Blob(_) => (Code::BlobDigest, error.to_string()),
        ReadError::Sink(_) => (Code::Unreadable, error.to_string()),
    };
    Finding::new(code, message).of_entry(entry).offset(entry.offset_in_file())
}

fn object_code(file: &dyn ReadAt, entry: &EntryRecord, problem: &ObjectError) -> Code {
    match problem {
        ObjectError::Head(_) if past_end(file, entry) => Code::MissingEntry,
        // Damage can make a head malformed before its digest is looked at.
        ObjectError::Head(_) if head_is_as_written(file, entry) => Code::HeadMalformed,
        ObjectError::Head(_) | ObjectError::Name => Code::HeadDigest,
        ObjectError::Body => Code::BodyDigest,
        ObjectError::Framing => Code::RawFraming,
        ObjectError::Decode(_) => Code::BodyDoesNotDecode,
        ObjectError::Chunk { .. } => Code::ChunkDigest,
    }
}

fn past_end(file: &dyn ReadAt, entry: &EntryRecord) -> bool {
    !file.holds(entry.offset, entry.length)
}

/// Whether the frame that the head claims to be has the digest that is the object's name.
fn head_is_as_written(file: &dyn ReadAt, entry: &EntryRecord) -> bool {
    let mut fixed = [0; HEAD_FIXED];
    if file.read_exact_at(&mut fixed, entry.offset).is_err() {
        return false;
    }
    let length = match fixed.get(4..8).and_then(<[u8]>::first_chunk::<4>) {
        Some(payload) => u64::from(u32::from_le_bytes(*payload)) + 8,
        None => return false,
    };
    if length > HEAD_MAX || length > entry.length {
        return false;
    }
    let mut head = vec![0; usize::try_from(length).unwrap_or(0)];
    file.read_exact_at(&mut head, entry.offset).is_ok() && Digest::of(&head) == entry.digest
}

/// The entries that every archive begins with, in their order.
const FIXED: [EntryKind; 6] = [
    EntryKind::Readme,
    EntryKind::Recover,
    EntryKind::Spec,
    EntryKind::PreData,
    EntryKind::PostData,
    EntryKind::Catalog,
];

/// Holds the index's entries against the file: kinds and their order, no gap, no overlap, no
/// repeat; with `deep` also every header and all padding.
pub(super) fn layout(context: &Context<'_>, deep: bool) -> Result<(), VerifyError> {
    let findings = context.findings;
    let facts = context.index.facts(Digest::default());
    let mut cursor = 0;
    let mut fixed = FIXED.iter().peekable();
    let mut seen = Vec::new();
    let mut names = Sorter::<36>::new(context.memory / 4);
    let mut taken = bases::Order::default();
    for number in 0..facts.entries {
        if number % 1024 == 0 {
            context.go_on()?;
        }
        let entry = match context.index.entry(number) {
            Ok(entry) => entry,
            Err(error) => {
                let code = Code::UnexpectedEntry;
                findings.add(Finding::new(code, error.to_string()).entry(ustar::INDEX));
                continue;
            }
        };
        taken.next(findings, number, &entry);
        if entry.base() == 0 {
            kinds(findings, number, &entry, &mut fixed, &mut seen);
        }
        if matches!(entry.kind, EntryKind::Pack | EntryKind::Segment) {
            let mut record = [0; 36];
            let (name, place) = record.split_at_mut(32);
            name.copy_from_slice(&entry.digest.0);
            place.copy_from_slice(&u32::try_from(number).unwrap_or(u32::MAX).to_be_bytes());
            names.push(record).map_err(VerifyError::Scratch)?;
        }
        if entry.base() == 0 {
            cursor = place(context, &entry.name(), &as_place(&entry), cursor, deep);
        }
    }
    taken.end(context);
    for kind in fixed.filter(|kind| !seen.contains(kind)) {
        let name = kind.name(&Digest::default(), 0);
        findings.add(Finding::new(Code::MissingEntry, "it is not in the index").entry(name));
    }
    for (name, at) in [(ustar::INDEX, context.seal.index), (ustar::MANIFEST, context.seal.manifest)]
    {
        // Headers of these are looked at even by a quick verification: they are but two.
        cursor = place(context, name, &at, cursor, true);
    }
    if context.seal.tail != Place::default() {
        cursor = place(context, parity::TAIL, &context.seal.tail, cursor, true);
    }
    let tail = u64::try_from(seal::TAIL).unwrap_or(0);
    let start = context.file.len().saturating_sub(tail);
    between(findings, ustar::SEAL, cursor, start);
    repeats(findings, names, context.memory / 4)
}

fn as_place(entry: &EntryRecord) -> Place {
    Place { offset: entry.offset, length: entry.length, digest: entry.digest }
}

fn kinds(
    findings: &Findings,
    number: u64,
    entry: &EntryRecord,
    fixed: &mut std::iter::Peekable<std::slice::Iter<'_, EntryKind>>,
    seen: &mut Vec<EntryKind>,
) {
    let tell = |code, what: &str| {
        findings.add(Finding::new(code, format!("entry number {number} {what}")).of_entry(entry));
    };
    match entry.kind {
        EntryKind::Pack | EntryKind::Segment => {
            if fixed.peek().is_some() {
                tell(Code::EntryOrder, "comes before entries that must precede it");
            }
        }
        // Wherever a window ends.
        EntryKind::Parity => {
            if number == 0 {
                tell(Code::EntryOrder, "is the first");
            }
        }
        kind if seen.contains(&kind) => tell(Code::DuplicateEntry, "is there for the second time"),
        kind => {
            seen.push(kind);
            if fixed.next_if(|expected| **expected == kind).is_none() {
                tell(Code::EntryOrder, "is not where it must be");
            }
            while fixed.next_if(|expected| seen.contains(expected)).is_some() {}
        }
    }
    if entry.number != 0 && entry.kind != EntryKind::Parity {
        tell(Code::IndexMalformed, "has a number, which only parity entries have");
    }
    if entry.length > limits::ENTRY {
        tell(Code::LimitExceeded, "is longer than a tar header can say");
    }
}

/// Checks one entry's place, header and padding; where the next one's header must be.
fn place(context: &Context<'_>, name: &str, at: &Place, cursor: u64, deep: bool) -> u64 {
    let findings = context.findings;
    let padding = ustar::padding(at.length);
    let end = at.offset.checked_add(at.length);
    let next = end.and_then(|end| end.checked_add(u64::try_from(padding).unwrap_or(0)));
    let (Some(start), Some(end), Some(next)) = (at.offset.checked_sub(512), end, next) else {
        let what = "its place in the index is not one a file can have";
        findings.add(Finding::new(Code::IndexMalformed, what).entry(name));
        return cursor;
    };
    between(findings, name, cursor, start);
    if next > context.file.len() {
        let what = format!("it ends at byte {next}, the file at {}", context.file.len());
        findings.add(Finding::new(Code::MissingEntry, what).entry(name).offset(at.offset));
        return next;
    }
    if deep {
        let mut header = [0; BLOCK];
        match context.file.read_exact_at(&mut header, start) {
            Ok(()) if header == ustar::header(name, at.length, context.seal.created) => {}
            Ok(()) => {
                let what = "its tar header is damaged";
                findings.add(Finding::new(Code::HeaderMismatch, what).entry(name).offset(start));
            }
            Err(error) => findings.add(unreadable(&error).entry(name).offset(start)),
        }
        let mut zeros = [0; BLOCK];
        let zeros = zeros.get_mut(..padding).unwrap_or_default();
        match context.file.read_exact_at(zeros, end) {
            Ok(()) if zeros.iter().all(|byte| *byte == 0) => {}
            Ok(()) => {
                let what = "the padding after it is not all zero";
                findings.add(Finding::new(Code::Padding, what).entry(name).offset(end));
            }
            Err(error) => findings.add(unreadable(&error).entry(name).offset(end)),
        }
    }
    next
}

/// Whether something begins where what is in front of it ends.
fn between(findings: &Findings, name: &str, cursor: u64, start: u64) {
    let (code, what) = match start.cmp(&cursor) {
        Ordering::Greater => {
            (Code::Gap, format!("{} bytes before it belong to no entry", start - cursor))
        }
        Ordering::Less => {
            let what = format!("it begins {} bytes before the one in front ends", cursor - start);
            (Code::Overlap, what)
        }
        Ordering::Equal => return,
    };
    findings.add(Finding::new(code, what).entry(name).offset(cursor.min(start)));
}

fn repeats(findings: &Findings, names: Sorter<36>, memory: usize) -> Result<(), VerifyError> {
    let mut merge = Merge::new(vec![names], memory).map_err(VerifyError::Scratch)?;
    let mut last: Option<[u8; 36]> = None;
    while let Some(record) = merge.next().map_err(VerifyError::Scratch)? {
        let digest = record.first_chunk::<32>().copied().unwrap_or_default();
        if last.is_some_and(|last| last.first_chunk::<32>() == Some(&digest)) {
            let name = EntryKind::Pack.name(&Digest(digest), 0);
            findings
                .add(Finding::new(Code::DuplicateEntry, "two entries have this name").entry(name));
        }
        last = Some(record);
    }
    Ok(())
}
