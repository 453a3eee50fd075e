//! Parity entries: that each is as it was written, and that their windows cover the file.
//!
//! That the parity shards are those of the data is not computed again here: both are held against
//! their digests, and `pgark repair` holds every shard against its checksum before it uses it.

use std::collections::BTreeMap;

use super::codes::Code;
use super::findings::Finding;
use super::{Context, VerifyError};
use crate::format::digest::Digest;
use crate::format::index::EntryRecord;
use crate::format::parity::{CODE_MAX, DATA_MAX, FIXED, Head, Kind, SHARD_MAX, TAIL};
use crate::format::ustar::EntryKind;

/// The longest block there can be, generously.
const BLOCK_MAX: u64 = CODE_MAX as u64 * SHARD_MAX as u64 + 64 * (CODE_MAX + DATA_MAX) as u64;

/// Checks all parity of the archive.
pub(super) fn check(context: &Context<'_>) -> Result<(), VerifyError> {
    let mut places = BTreeMap::new();
    // Without the checksums, which are much of a large archive's.
    let mut windows = Vec::new();
    let mut wanted = 0_u32;
    let mut unknown = false;
    for number in 0..context.index.facts(Digest::default()).entries {
        if number % 1024 == 0 {
            context.go_on()?;
        }
        let Ok(entry) = context.index.entry(number) else { continue };
        if entry.kind != EntryKind::Parity {
            continue;
        }
        let start = entry.offset.saturating_sub(512);
        places.insert(start, entry.offset.saturating_add(entry.length));
        if entry.number != wanted {
            layout(context, &entry.name(), format!("it should have number {wanted}"));
        }
        wanted = entry.number.saturating_add(1);
        match block(context, &entry) {
            Some(head) if head.kind == Kind::Window => {
                if head.number != entry.number {
                    let what = format!("it says of itself that it has number {}", head.number);
                    layout(context, &entry.name(), what);
                }
                windows.push((entry.name(), head.start, head.end()));
            }
            Some(_) => layout(context, &entry.name(), "it says that it protects the tail".into()),
            None => unknown = true,
        }
    }
    let tail = context.seal.tail;
    if tail == crate::format::seal::Place::default() {
        if !places.is_empty() {
            layout(context, TAIL, "there are parity entries, and none for the tail".into());
        }
        return Ok(());
    }
    if !unknown {
        coverage(context, &places, &windows);
    }
    check_tail(context)
}

fn layout(context: &Context<'_>, entry: &str, what: String) {
    context.findings.add(Finding::new(Code::ParityLayout, what).entry(entry));
}

fn damaged(context: &Context<'_>, entry: &str, offset: u64, what: String) {
    context.findings.add(Finding::new(Code::ParityDamaged, what).entry(entry).offset(offset));
}

/// Reads a block that is an entry; its head, where it is as it was written.
fn block(context: &Context<'_>, entry: &EntryRecord) -> Option<Head> {
    let name = entry.name();
    if entry.length > BLOCK_MAX {
        let what = format!("{} bytes", entry.length);
        context.findings.add(Finding::new(Code::LimitExceeded, what).entry(name));
        return None;
    }
    let _held = context.gate.enter(entry.length);
    // One that lies beyond the end of the file has a finding already.
    let bytes = read(context, &name, entry.offset, entry.length)?;
    if Digest::of(&bytes) != entry.digest {
        damaged(context, &name, entry.offset, "it does not match its digest".into());
        return None;
    }
    match parse(context, &bytes, entry.offset) {
        Ok(head) => Some(head),
        Err(what) => {
            layout(context, &name, what);
            None
        }
    }
}

fn read(context: &Context<'_>, name: &str, offset: u64, length: u64) -> Option<Vec<u8>> {
    offset.checked_add(length).filter(|end| *end <= context.file.len())?;
    let mut bytes = vec![0; usize::try_from(length).ok()?];
    match context.file.read_exact_at(&mut bytes, offset) {
        Ok(()) => Some(bytes),
        Err(error) => {
            let finding = Finding::new(Code::Unreadable, error.to_string());
            context.findings.add(finding.entry(name).offset(offset));
            None
        }
    }
}

/// Takes bytes for a block at this place: both heads equal, and every parity shard as its checksum
/// says.
fn parse(context: &Context<'_>, bytes: &[u8], offset: u64) -> Result<Head, String> {
    let wrong = |what: &str| Err(what.to_owned());
    let head = match bytes.first_chunk::<FIXED>().map(Head::length) {
        Some(Ok(length)) => bytes.get(..length).map(Head::decode),
        Some(Err(error)) => Some(Err(error)),
        None => None,
    };
    let head = match head {
        Some(Ok(head)) => head,
        Some(Err(error)) => return Err(error.to_string()),
        None => return wrong("it is too short"),
    };
    if u64::try_from(bytes.len()) != Ok(head.block_bytes()) {
        return wrong("it has another length than its head says");
    }
    let encoded = head.encode();
    if !bytes.ends_with(&encoded) {
        return wrong("its two heads differ");
    }
    if head.position != offset || head.created != context.seal.created {
        return wrong("its head speaks of another place or another archive");
    }
    let layout = head.layout();
    let shard = usize::try_from(layout.shard).unwrap_or(usize::MAX);
    let shards = bytes.get(encoded.len()..bytes.len() - encoded.len()).unwrap_or_default();
    let checksums = head.checksums.iter().skip(usize::try_from(layout.data).unwrap_or(0));
    let matches = shards
        .chunks(shard.max(1))
        .zip(checksums)
        .all(|(shard, wanted)| crate::format::parity::checksum(shard) == *wanted);
    if matches { Ok(head) } else { wrong("a parity shard does not match its checksum") }
}

/// The windows follow each other, parity entries between them left out, up to the index.
fn coverage(context: &Context<'_>, places: &BTreeMap<u64, u64>, windows: &[(String, u64, u64)]) {
    let skip = |mut at: u64| {
        while let Some(end) = places.get(&at).filter(|end| **end > at) {
            at = *end;
        }
        at
    };
    let mut next = 0;
    for (name, start, end) in windows {
        if *start != next {
            let what = format!("its window begins at byte {start}, not at {next}");
            layout(context, name, what);
        }
        next = skip(*end);
    }
    let index = context.seal.index.offset.saturating_sub(512);
    if next != index {
        let what = format!("windows cover the file up to byte {next}, not to the index at {index}");
        layout(context, &EntryKind::Parity.name(&Digest::default(), 0), what);
    }
}

/// The tail's own entry: its blocks one after the other, each with a window of the tail.
fn check_tail(context: &Context<'_>) -> Result<(), VerifyError> {
    use sha2::Digest as _;
    let tail = context.seal.tail;
    let mut hash = sha2::Sha256::new();
    let mut sound = true;
    let (mut at, end) = (tail.offset, tail.offset.saturating_add(tail.length));
    let mut next = context.seal.index.offset.saturating_sub(512);
    let mut number = 0;
    while at < end {
        context.go_on()?;
        let left = (end - at).min(BLOCK_MAX);
        let _held = context.gate.enter(left);
        let Some(bytes) = read(context, TAIL, at, left) else { return Ok(()) };
        let fixed = bytes.first_chunk::<FIXED>();
        let length = fixed
            .and_then(|fixed| Head::length(fixed).ok())
            .and_then(|length| Head::decode(bytes.get(..length)?).ok())
            .map_or(left, |head| head.block_bytes().min(left));
        let block = bytes.get(..usize::try_from(length).unwrap_or(0)).unwrap_or_default();
        hash.update(block);
        // Damage is told by the digest of the whole; what its blocks say matters if that is right.
        match parse(context, block, at) {
            Ok(head) if sound => {
                sound = matches!(head.kind, Kind::Tail { .. })
                    && head.number == number
                    && head.start == next;
                next = head.end();
            }
            _ => sound = false,
        }
        number += 1;
        at = at.saturating_add(length.max(1));
    }
    if Digest(hash.finalize().into()) != tail.digest {
        damaged(context, TAIL, tail.offset, "it does not match its digest".into());
    } else if !sound || next != tail.offset.saturating_sub(512) {
        layout(context, TAIL, "its blocks do not protect the tail as they must".into());
    }
    Ok(())
}
