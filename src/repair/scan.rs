//! Finding parity without tar, index or seal, and reading past what the medium does not give back.

use std::collections::BTreeMap;

use super::RepairError;
use crate::format::parity::{FIXED, Head, Kind, MAGIC};
use crate::io::ReadAt;
use crate::progress::Progress;

/// Bytes read at a time.
pub(super) const READ: u64 = 1 << 20;
/// What is read at a time where that fails: a sector of most disks.
pub(super) const SECTOR: u64 = 4096;

/// The heads of all parity blocks of a file of which one of the two copies is whole.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// Of windows, in the order of the file.
    pub(super) windows: Vec<Head>,
    /// Of the tail, in the order of the file.
    pub(super) tail: Vec<Head>,
}

impl Scan {
    pub(super) fn is_empty(&self) -> bool {
        self.windows.is_empty() && self.tail.is_empty()
    }

    /// Whether the tail's blocks are all there, one after the other.
    pub(super) fn has_whole_tail(&self) -> bool {
        let count = u32::try_from(self.tail.len()).unwrap_or(u32::MAX);
        let numbered = (0..).zip(&self.tail).all(|(number, head)| {
            head.number == number && matches!(head.kind, Kind::Tail { of } if of == count)
        });
        let chained = self.tail.windows(2).all(|pair| match pair {
            [one, other] => {
                one.end() == other.start && one.position + one.block_bytes() == other.position
            }
            _ => false,
        });
        numbered && chained && count > 0
    }
}

/// Scans the whole file.
pub(super) fn scan(file: &dyn ReadAt, progress: &dyn Progress) -> Result<Scan, RepairError> {
    let mut found = BTreeMap::new();
    let mut at = 0;
    while at < file.len() {
        if progress.interrupted() {
            return Err(RepairError::Interrupted);
        }
        let bytes = read(file, at, (file.len() - at).min(READ), SECTOR).bytes;
        for (number, block) in (0_u64..).zip(bytes.chunks(512)) {
            if block.starts_with(MAGIC)
                && let Some(head) = head_at(file, at + 512 * number)
            {
                found.insert(head.position, head);
            }
        }
        progress.bytes(READ);
        at += READ;
    }
    Ok(sort(found))
}

/// The head at this offset, if it is whole and speaks of this place.
fn head_at(file: &dyn ReadAt, at: u64) -> Option<Head> {
    let mut fixed = [0; FIXED];
    file.read_exact_at(&mut fixed, at).ok()?;
    let mut bytes = vec![0; Head::length(&fixed).ok()?];
    file.read_exact_at(&mut bytes, at).ok()?;
    let head = Head::decode(&bytes).ok()?;
    let second = head.position + head.block_bytes() - head.bytes();
    // A value in the archive may hold an archive of its own: its heads speak of other places.
    (head.position == at || second == at).then_some(head)
}

/// Takes blocks from the end of the file on, as long as their windows are disjoint. A block that
/// stands within the window of one behind it is data. So the work is bounded by the file's length,
/// whatever the heads in it say.
fn sort(found: BTreeMap<u64, Head>) -> Scan {
    let mut scan = Scan::default();
    let mut lowest = u64::MAX..u64::MAX;
    for (position, head) in found.into_iter().rev() {
        if lowest.contains(&position) || head.end() > lowest.start {
            continue;
        }
        lowest = head.start..head.end();
        match head.kind {
            Kind::Window => scan.windows.push(head),
            Kind::Tail { .. } => scan.tail.push(head),
        }
    }
    scan.windows.reverse();
    scan.tail.reverse();
    scan
}

/// What could be read: what could not, or lies beyond the end, is zero bytes.
#[derive(Debug)]
pub(super) struct Reading {
    /// The bytes asked for.
    pub(super) bytes: Vec<u8>,
    /// Where reading failed: offsets within them.
    pub(super) failed: Vec<std::ops::Range<u64>>,
}

/// Reads what can be read, in pieces of `step` where it cannot be read in one.
pub(super) fn read(file: &dyn ReadAt, offset: u64, length: u64, step: u64) -> Reading {
    let wide = |n: u64| usize::try_from(n).unwrap_or(0);
    let mut bytes = vec![0; wide(length)];
    let mut failed = Vec::new();
    if file.read_exact_at(&mut bytes, offset).is_err() {
        bytes.fill(0);
        let mut at = 0;
        while at < length {
            let end = (at + step).min(length);
            if let Some(part) = bytes.get_mut(wide(at)..wide(end))
                && file.read_exact_at(part, offset + at).is_err()
            {
                part.fill(0);
                failed.push(at..end);
            }
            at = end;
        }
    }
    Reading { bytes, failed }
}
