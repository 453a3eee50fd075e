//! What tells where in the archive a place of the file belongs, however far it was moved: the heads
//! of parity blocks and the seal say it, tar headers follow each other.

use std::collections::BTreeMap;

use memchr::memmem;

use super::map::Shift;
use crate::format::digest::Digest;
use crate::format::limits::{BLOCK, ENTRY};
use crate::format::parity::{self, FIXED, Head, checksum};
use crate::format::seal::{self, Seal};
use crate::format::ustar::{self, EntryKind};
use crate::io::ReadAt;
use crate::progress::Progress;
use crate::repair::RepairError;
use crate::repair::scan::{READ, SECTOR, read};

/// Where `ustar` and what is behind it stand in a header.
const USTAR_AT: usize = 257;
const USTAR: &[u8] = b"ustar\x0000";
/// How many creation seconds are told apart, and places of one head.
const KINDS: usize = 1024;
const PLACES: usize = 8;

/// A tar header as this format has them, wherever it stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::repair) struct Header {
    /// Where it stands in the file.
    pub(in crate::repair) at: u64,
    /// The entry's name.
    pub(in crate::repair) name: String,
    /// The length of its body.
    pub(in crate::repair) length: u64,
    /// The creation second.
    pub(in crate::repair) created: u64,
}

impl Header {
    /// Reads a block if it is a header.
    pub(in crate::repair) fn read(at: u64, block: &[u8]) -> Option<Self> {
        let text = |from: usize, to: usize| {
            let field = block.get(from..to)?;
            let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
            std::str::from_utf8(field.get(..end)?).ok()
        };
        let number = |from, to| u64::from_str_radix(text(from, to)?, 8).ok();
        let (name, length, created) = (text(0, 100)?, number(124, 136)?, number(136, 148)?);
        if length > ENTRY || ustar::header(name, length, created) != *block {
            return None;
        }
        Some(Self { at, name: name.to_owned(), length, created })
    }

    /// Bytes from this header to the next.
    pub(super) fn span(&self) -> u64 {
        512 + self.length.next_multiple_of(512)
    }
}

/// Every tar header between two places of the file, in their order.
pub(in crate::repair) fn headers(
    file: &dyn ReadAt,
    from: u64,
    to: u64,
    take: &mut dyn FnMut(Header),
    progress: &dyn Progress,
) -> Result<(), RepairError> {
    let finder = memmem::Finder::new(USTAR);
    let mut sought = |at: u64, bytes: &[u8]| {
        for place in finder.find_iter(bytes) {
            let block =
                place.checked_sub(USTAR_AT).and_then(|start| bytes.get(start..start + BLOCK));
            let found = block.and_then(|block| {
                Header::read(at + u64::try_from(place - USTAR_AT).unwrap_or(0), block)
            });
            if let Some(header) = found {
                take(header);
            }
        }
    };
    pieces(file, from, to, BLOCK, &mut sought, progress)
}

/// Gives the bytes between two places in pieces of which each holds whole what is up to `whole` bytes
/// long and begins in it; none begins in two.
fn pieces(
    file: &dyn ReadAt,
    from: u64,
    to: u64,
    whole: usize,
    give: &mut dyn FnMut(u64, &[u8]),
    progress: &dyn Progress,
) -> Result<(), RepairError> {
    let more = u64::try_from(whole).unwrap_or(0).saturating_sub(1);
    let to = to.min(file.len());
    let mut at = from;
    while at < to {
        if progress.interrupted() {
            return Err(RepairError::Interrupted);
        }
        let length = READ.min(to - at);
        let bytes = read(file, at, (length + more).min(file.len() - at), SECTOR).bytes;
        give(at, &bytes);
        progress.bytes(length);
        at += length;
    }
    Ok(())
}

/// A parity block, and how far each copy of its head was moved where it was found.
#[derive(Clone, Debug)]
pub(super) struct Block {
    pub(super) head: Head,
    pub(super) first: Option<Shift>,
    pub(super) second: Option<Shift>,
    /// Of one copy of which it is not known which it is: how far as either.
    pub(super) either: Vec<Shift>,
}

impl Block {
    /// How far something near it may have been moved.
    pub(super) fn shifts(&self) -> impl Iterator<Item = Shift> + '_ {
        self.first.into_iter().chain(self.second).chain(self.either.iter().copied())
    }

    /// Where it ends in the archive.
    pub(super) fn end(&self) -> u64 {
        self.head.position + self.head.block_bytes()
    }
}

/// All of that in a file.
#[derive(Debug, Default)]
pub(super) struct Marks {
    /// In the order of the file.
    pub(super) blocks: Vec<Block>,
    /// The last seal, and how far it was moved.
    pub(super) seal: Option<(Seal, Shift)>,
    /// Of each creation second: the first and the last place in the file that has it.
    pub(super) seconds: BTreeMap<u64, (u64, u64)>,
    /// Where an archive begins, and its creation second.
    pub(super) beginnings: Vec<(u64, u64)>,
}

/// How far `at` is from where it was.
pub(super) fn shift(at: u64, was: u64) -> Option<Shift> {
    i64::try_from(at).ok()?.checked_sub(i64::try_from(was).ok()?)
}

impl Marks {
    fn saw(&mut self, created: u64, at: u64) {
        if let Some((first, last)) = self.seconds.get_mut(&created) {
            (*first, *last) = ((*first).min(at), (*last).max(at));
        } else if self.seconds.len() < KINDS {
            self.seconds.insert(created, (at, at));
        }
    }
}

/// Looks at every byte of the file.
pub(super) fn marks(file: &dyn ReadAt, progress: &dyn Progress) -> Result<Marks, RepairError> {
    let mut marks = Marks::default();
    // Heads by where they say that they stand; the places where they do.
    let mut heads: BTreeMap<(u64, u64), (Head, Vec<u64>)> = BTreeMap::new();
    let (magics, ustars) = (memmem::Finder::new(b"PGARK "), memmem::Finder::new(USTAR));
    let beginning = EntryKind::Readme.name(&Digest::default(), 0);
    let mut sought = |from: u64, bytes: &[u8]| {
        let place_of = |within: usize| from + u64::try_from(within).unwrap_or(0);
        for within in magics.find_iter(bytes) {
            // A shorter rest is looked at with the next piece.
            let rest = bytes.get(within..).unwrap_or_default();
            let (Some(block), at) = (rest.first_chunk::<BLOCK>(), place_of(within)) else {
                continue;
            };
            if block.starts_with(parity::MAGIC) {
                let Some(head) = head_at(file, at) else { continue };
                marks.saw(head.created, at);
                let key = (head.position, head.created);
                let known = heads.entry(key).or_insert_with(|| (head.clone(), Vec::new()));
                if known.0 == head && known.1.len() < PLACES {
                    known.1.push(at);
                }
            } else if let Ok(seal) = Seal::decode(block) {
                marks.saw(seal.created, at);
                let was = seal.total.checked_sub(if is_first(file, at) { 2048 } else { 1536 });
                let moved = was.and_then(|was| shift(at, was)).map(|moved| (seal, moved));
                marks.seal = moved.or(marks.seal);
            }
        }
        for within in ustars.find_iter(bytes) {
            let start = within.checked_sub(USTAR_AT);
            let Some((start, block)) =
                start.and_then(|start| Some((start, bytes.get(start..start + BLOCK)?)))
            else {
                continue;
            };
            let Some(header) = Header::read(place_of(start), block) else { continue };
            marks.saw(header.created, header.at);
            if header.name == beginning && marks.beginnings.len() < KINDS {
                marks.beginnings.push((header.at, header.created));
            }
        }
    };
    pieces(file, 0, file.len(), BLOCK, &mut sought, progress)?;
    let mut blocks: Vec<(u64, Block)> = heads
        .into_values()
        .map(|(head, places)| (places.first().copied().unwrap_or(0), placed(file, head, &places)))
        .collect();
    blocks.sort_by_key(|(at, _)| *at);
    marks.blocks = blocks.into_iter().map(|(_, block)| block).collect();
    Ok(marks)
}

/// Whether a copy of the seal is the first of the two.
fn is_first(file: &dyn ReadAt, at: u64) -> bool {
    let around = |at: Option<u64>| {
        let mut block = [0; BLOCK];
        at.and_then(|at| file.read_exact_at(&mut block, at).ok()).map(|()| block)
    };
    let follows = around(at.checked_add(512)).is_some_and(|block| block.starts_with(seal::MAGIC));
    let before = at.checked_sub(512);
    let header = before.zip(around(before)).and_then(|(at, block)| Header::read(at, &block));
    follows || header.is_some_and(|header| header.name == ustar::SEAL)
}

/// The head at this place, whatever place it speaks of.
fn head_at(file: &dyn ReadAt, at: u64) -> Option<Head> {
    let mut fixed = [0; FIXED];
    file.read_exact_at(&mut fixed, at).ok()?;
    let mut bytes = vec![0; Head::length(&fixed).ok()?];
    file.read_exact_at(&mut bytes, at).ok()?;
    Head::decode(&bytes).ok()
}

/// Which copies of a head were found, and how far each was moved.
fn placed(file: &dyn ReadAt, head: Head, places: &[u64]) -> Block {
    let second = head.position + head.block_bytes() - head.bytes();
    let apart = second - head.position;
    let mut block = Block { head, first: None, second: None, either: Vec::new() };
    match *places {
        [one] => {
            let (as_first, as_second) = (shift(one, block.head.position), shift(one, second));
            if is_beside(file, &block.head, one, true) {
                block.first = as_first;
            } else if is_beside(file, &block.head, one, false) {
                block.second = as_second;
            } else {
                block.either = as_first.into_iter().chain(as_second).collect();
            }
        }
        [one, other, ..] => {
            // As far apart as they were, if any two are.
            let pair = places.iter().find(|at| places.contains(&(**at + apart)));
            let (one, other) = pair.map_or((one, other), |at| (*at, at + apart));
            block.first = shift(one, block.head.position);
            block.second = shift(other, second);
        }
        [] => {}
    }
    block
}

/// Whether the parity shard behind a head, or before it, is there.
fn is_beside(file: &dyn ReadAt, head: &Head, at: u64, behind: bool) -> bool {
    let layout = head.layout();
    let wide = |n: u32| usize::try_from(n).unwrap_or(0);
    let shard = u64::from(layout.shard);
    let sums = head.checksums.get(wide(layout.data)..).unwrap_or_default();
    let (from, sum) = if behind {
        (at.checked_add(head.bytes()), sums.first())
    } else {
        (at.checked_sub(shard), sums.last())
    };
    let mut bytes = vec![0; wide(layout.shard)];
    from.is_some_and(|from| file.read_exact_at(&mut bytes, from).is_ok())
        && sum == Some(&checksum(&bytes))
}
