//! Bytes that were put in or taken out move all that is behind them. Here it is found out how far what
//! was moved, so that it can be read as if it stood where it belongs; around each cut little is lost,
//! for parity to mend.
//!
//! Nothing is guessed: a run of bytes is taken for a part of the archive only if the checksum of its
//! shard, or of the head or the seal that it is, says so. What follows from a wrong choice could only be
//! a file that does not verify.

mod map;
mod marks;
mod search;
mod text;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use super::RepairError;
use crate::format::parity::{Checksum, Head, Kind, checksum};
use crate::format::seal;
use crate::io::ReadAt;
use crate::progress::Progress;

pub(super) use map::{Map, Realigned};
use map::{Piece, Shift};
use marks::{Block, Marks, marks};
pub(super) use marks::{Header, headers};
pub(super) use text::{Text, Undone, text};

/// Runs that are told apart. A file that is cut into more is not one that can be mended.
const PIECES: usize = 1 << 16;
/// Blocks whose order is looked for where it is not that of the file.
const BLOCKS: usize = 8192;

/// What was found.
#[derive(Debug)]
pub(super) enum Moved {
    /// Nothing was moved, as far as can be told.
    No,
    /// It cannot be told which bytes are the archive.
    Unclear,
    /// This is where things stand.
    As(Map),
}

/// Finds out what was moved. Memory: the heads of all parity blocks, and a little; time: a few
/// readings of the file, and what [`search`] may take.
pub(super) fn find(file: &dyn ReadAt, progress: &dyn Progress) -> Result<Moved, RepairError> {
    let Marks { blocks, seal, seconds, beginnings } = marks(file, progress)?;
    let Some((created, chain)) = outermost(blocks) else { return Ok(Moved::No) };
    let seal = seal.filter(|(seal, _)| seal.created == created);
    let mut pieces = Pieces::default();
    let hints: Vec<Shift> = beginnings.iter().filter_map(|(at, _)| marks::shift(*at, 0)).collect();
    let mut beyond = Vec::new();
    let mut sweep = Sweep { file, pieces: &mut pieces, last: 0, progress };
    for (number, block) in chain.iter().enumerate() {
        let before = number.checked_sub(1).and_then(|number| chain.get(number));
        let near = before.into_iter().chain(chain.get(number + 1));
        let near = hints.iter().copied().take(1).chain(near.flat_map(Block::shifts));
        if let Some(lost) = sweep.block(block, near.collect())? {
            beyond.push((number, lost));
        }
    }
    let mut search = search::Search::new(file, created, progress);
    for (number, lost) in beyond {
        if let Some(block) = chain.get(number) {
            search.window(&block.head, lost, &mut pieces)?;
        }
    }

    // Where it ends: the tail says it, or the seal.
    let ends = chain.last().filter(|block| matches!(block.head.kind, Kind::Tail { .. }));
    let ends = ends.map(|block| block.end() + u64::try_from(seal::TAIL).unwrap_or(0));
    let seal = seal.filter(|(seal, _)| ends.is_none_or(|ends| ends == seal.total));
    if let Some((seal, shift)) = seal {
        pieces.add(seal.total.saturating_sub(2048), seal.total, shift);
    }
    let mut same = beginnings.iter().filter(|(_, second)| *second == created);
    let (first, more) = (same.next(), same.next());
    if let (Some((at, _)), None) = (first, more)
        && let Some(shift) = marks::shift(*at, 0)
    {
        pieces.add(0, 512, shift);
    }
    let (Some(begin), Some(end)) = (pieces.first(), pieces.last()) else { return Ok(Moved::No) };
    let length = ends.or(seal.map(|(seal, _)| seal.total));
    let length = length.or(file.len().checked_add_signed(-end.shift)).unwrap_or(file.len());
    let Some(map) = Map::new(pieces.all(), length, file.len()) else { return Ok(Moved::No) };

    // An archive may hold another; none of what is found may lie outside of the one that is taken.
    let begins = u64::try_from(begin.shift).unwrap_or(0);
    let ends = length.saturating_add_signed(end.shift);
    let strange = seconds
        .iter()
        .any(|(second, (first, last))| *second != created && (*first < begins || *last >= ends));
    let twice = more.is_some() && first.is_some_and(|(at, _)| *at < begins);
    Ok(if strange || twice { Moved::Unclear } else { Moved::As(map) })
}

/// The blocks of the archive that has most of the file, in order, with its creation second.
fn outermost(blocks: Vec<Block>) -> Option<(u64, Vec<Block>)> {
    let mut seconds: BTreeMap<u64, Vec<Block>> = BTreeMap::new();
    for block in blocks {
        seconds.entry(block.head.created).or_default().push(block);
    }
    let chains = seconds.into_iter().map(|(second, blocks)| (second, chain(blocks)));
    let covered = |chain: &[Block]| chain.iter().map(|block| block.head.length).sum::<u64>();
    chains.max_by_key(|(_, chain)| covered(chain)).filter(|(_, chain)| !chain.is_empty())
}

/// Of blocks in the order of the file those that follow each other in the archive too, and protect
/// most of it.
fn chain(blocks: Vec<Block>) -> Vec<Block> {
    let follows = |one: &Block, other: &Block| {
        one.head.end() <= other.head.start && one.end() <= other.head.position
    };
    if blocks.is_sorted_by(follows) {
        return blocks;
    }
    let blocks = blocks.get(..BLOCKS).unwrap_or(&blocks);
    // Of each: the most that a chain which ends with it protects, and the one before it there.
    let mut best: Vec<(u64, Option<usize>)> = Vec::with_capacity(blocks.len());
    for block in blocks {
        let before = blocks.iter().zip(&best).enumerate();
        let before = before.filter(|(_, (other, _))| follows(other, block));
        let before = before.map(|(number, (_, (sum, _)))| (*sum, number)).max();
        let sum = before.map_or(0, |(sum, _)| sum).saturating_add(block.head.length);
        best.push((sum, before.map(|(_, number)| number)));
    }
    let mut at = (0..best.len()).max_by_key(|number| best.get(*number).map(|(sum, _)| *sum));
    let mut out = Vec::new();
    while let Some(number) = at {
        out.extend(blocks.get(number).cloned());
        at = best.get(number).and_then(|(_, before)| *before);
    }
    out.reverse();
    out
}

/// Runs that are known, by where they begin in the archive.
#[derive(Debug, Default)]
struct Pieces(BTreeMap<u64, Piece>);

impl Pieces {
    /// Adds what is not known yet.
    fn add(&mut self, start: u64, end: u64, shift: Shift) {
        if let Some((_, before)) = self.0.range_mut(..=start).next_back() {
            if before.end == start && before.shift == shift {
                before.end = end;
                return;
            }
            if before.end > start {
                return;
            }
        }
        if self.0.len() < PIECES {
            self.0.insert(start, Piece { start, end, shift });
        }
    }

    /// The last that ends at or before a place, and the first that begins there or behind it.
    fn around(&self, from: u64, to: u64) -> (Option<Piece>, Option<Piece>) {
        let before = self.0.range(..from).next_back().map(|(_, piece)| *piece);
        let behind = self.0.range(to..).next().map(|(_, piece)| *piece);
        (before.filter(|piece| piece.end <= from), behind)
    }

    fn first(&self) -> Option<Piece> {
        self.0.values().next().copied()
    }

    fn last(&self) -> Option<Piece> {
        self.0.values().next_back().copied()
    }

    fn all(&self) -> Vec<Piece> {
        self.0.values().copied().collect()
    }
}

/// Shards of a window that were not found, and how many of these its parity does not mend.
#[derive(Debug)]
struct Lost {
    shards: Vec<bool>,
    over: usize,
}

/// Goes through the archive from its beginning to its end.
struct Sweep<'a> {
    file: &'a dyn ReadAt,
    pieces: &'a mut Pieces,
    /// How far what was found last was moved.
    last: Shift,
    progress: &'a dyn Progress,
}

impl Sweep<'_> {
    /// Looks for the shards that a block protects, and its own; `near` are distances by which what is
    /// around it was moved. What is lost, if parity does not mend it.
    fn block(&mut self, block: &Block, near: Vec<Shift>) -> Result<Option<Lost>, RepairError> {
        if self.progress.interrupted() {
            return Err(RepairError::Interrupted);
        }
        let head = &block.head;
        let mut shifts: Vec<Shift> = block.shifts().collect();
        shifts.extend(near);
        shifts.push(0);
        let layout = head.layout();
        let data = usize::try_from(layout.data).unwrap_or(0);
        let (of_data, of_parity) = head.checksums.split_at_checked(data).unwrap_or_default();
        let found = self.shards(head, head.start, head.end(), of_data, &shifts);
        let copy = head.bytes();
        let parity = head.position + copy;
        let behind = block.end() - copy;
        if let Some(shift) = block.first {
            self.pieces.add(head.position, parity, shift);
            self.last = shift;
        }
        let whole = self.shards(head, parity, behind, of_parity, &shifts);
        if let Some(shift) = block.second {
            self.pieces.add(behind, block.end(), shift);
            self.last = shift;
        }
        let count = |found: &[bool], wanted| found.iter().filter(|found| **found == wanted).count();
        let over = count(&found, false).saturating_sub(count(&whole, true));
        let shards = found.iter().map(|found| !found).collect();
        Ok((over > 0).then_some(Lost { shards, over }))
    }

    /// Which of the shards between two places of the archive were found.
    fn shards(
        &mut self,
        head: &Head,
        start: u64,
        end: u64,
        sums: &[Checksum],
        shifts: &[Shift],
    ) -> Vec<bool> {
        let shard = u64::from(head.layout().shard);
        let mut found = Vec::with_capacity(sums.len());
        let mut buffer = Vec::new();
        for (number, sum) in (0..).zip(sums) {
            let from = start + number * shard;
            let to = (from + shard).min(end);
            let last = self.last;
            let mut shifts = std::iter::once(&last).chain(shifts.iter().filter(|s| **s != last));
            let shift = shifts
                .find(|shift| is_there(self.file, from, to, shard, **shift, *sum, &mut buffer));
            if let Some(shift) = shift {
                self.pieces.add(from, to, *shift);
                self.last = *shift;
            }
            found.push(shift.is_some());
        }
        self.progress.bytes(end - start);
        found
    }
}

/// Whether the shard from `from` to `to` stands in the file, moved by `shift`.
fn is_there(
    file: &dyn ReadAt,
    from: u64,
    to: u64,
    shard: u64,
    shift: Shift,
    sum: Checksum,
    buffer: &mut Vec<u8>,
) -> bool {
    let wide = |n: u64| usize::try_from(n).unwrap_or(0);
    buffer.clear();
    buffer.resize(wide(shard), 0);
    let part = buffer.get_mut(..wide(to - from)).unwrap_or_default();
    let read = from.checked_add_signed(shift).map(|at| file.read_exact_at(part, at));
    matches!(read, Some(Ok(()))) && checksum(buffer) == sum
}
