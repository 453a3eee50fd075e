//! Several cuts in one window: what is between two of them was moved by a distance that nothing near
//! it has. It is looked for where tar headers and the framing of stored bytes say, and near the
//! distances that are known, within a bound of work.

use std::collections::HashMap;
use std::ops::Range;

use memchr::memmem;
use rayon::prelude::*;

use super::map::{Piece, Shift};
use super::marks::{self, Header, headers};
use super::{Lost, Pieces, is_there};
use crate::format::object::{self, Body, HEAD_FIXED};
use crate::format::parity::Head;
use crate::format::raw;
use crate::io::ReadAt;
use crate::progress::{Progress, Silent};
use crate::repair::RepairError;
use crate::repair::scan::{SECTOR, read};

/// Bytes that may be held against checksums: so many, and so many times the length of the file, but
/// never more than the last.
const LEAST: u64 = 32 << 20;
const TIMES: u64 = 64;
const MOST: u64 = 16 << 30;
/// How far before a gap tar headers are looked for.
const BEFORE: u64 = 16 << 20;
/// The longest gap in which the framing of stored bytes is looked for.
const GAP: u64 = 80 << 20;
/// Places in a gap that look like framing; where there are more, they say nothing.
const FRAMES: usize = 512;
/// Distances tried around one that is known: each of so many bytes, then in blocks.
const NEAR: i64 = 4096;
const BLOCKS: i64 = 2048;

/// Looks in windows that have more cuts than are seen from outside.
pub(super) struct Search<'a> {
    file: &'a dyn ReadAt,
    created: u64,
    progress: &'a dyn Progress,
    /// Bytes that may still be held against checksums.
    left: u64,
}

/// What lies between two runs that are known.
struct Gap {
    /// Shards.
    shards: Range<usize>,
    before: Piece,
    behind: Option<Piece>,
    /// In the archive.
    start: u64,
    end: u64,
    /// In the file.
    from: u64,
    to: u64,
}

impl<'a> Search<'a> {
    pub(super) fn new(file: &'a dyn ReadAt, created: u64, progress: &'a dyn Progress) -> Self {
        let left = file.len().saturating_mul(TIMES).saturating_add(LEAST).min(MOST);
        Self { file, created, progress, left }
    }

    /// Looks for lost shards of a window until parity mends the rest.
    pub(super) fn window(
        &mut self,
        head: &Head,
        mut lost: Lost,
        pieces: &mut Pieces,
    ) -> Result<(), RepairError> {
        let mut waiting = runs(&lost.shards);
        while let Some(run) = waiting.pop() {
            if self.progress.interrupted() {
                return Err(RepairError::Interrupted);
            }
            if lost.over == 0 || self.left == 0 {
                break;
            }
            let Some(gap) = self.gap(head, &run, pieces) else { continue };
            let Some((shard, shift)) = self.probe(head, &gap)? else { continue };
            // From there on both ways.
            let is = |number: usize| {
                let (from, to, size) = place(head, number);
                let sum = head.checksums.get(number);
                sum.is_some_and(|sum| {
                    is_there(self.file, from, to, size, shift, *sum, &mut Vec::new())
                })
            };
            let from = (run.start..shard).rev().take_while(|number| is(*number)).last();
            let to = (shard + 1..run.end).take_while(|number| is(*number)).last();
            let found = from.unwrap_or(shard)..to.unwrap_or(shard) + 1;
            pieces.add(place(head, found.start).0, place(head, found.end - 1).1, shift);
            for number in found.clone() {
                if let Some(lost) = lost.shards.get_mut(number) {
                    *lost = false;
                }
            }
            lost.over = lost.over.saturating_sub(found.len());
            waiting.extend([run.start..found.start, found.end..run.end]);
            waiting.retain(|run| run.len() > 1);
        }
        Ok(())
    }

    fn gap(&self, head: &Head, run: &Range<usize>, pieces: &Pieces) -> Option<Gap> {
        let start = place(head, run.start).0;
        let end = place(head, run.end.checked_sub(1)?).1;
        let (before, behind) = pieces.around(start, end);
        let before = before.unwrap_or(Piece { start: 0, end: 0, shift: 0 });
        let from = before.end.checked_add_signed(before.shift)?;
        let to = match &behind {
            Some(piece) => piece.start.checked_add_signed(piece.shift)?,
            None => self.file.len(),
        };
        (from < to).then(|| Gap { shards: run.clone(), before, behind, start, end, from, to })
    }

    /// A shard of the gap, and how far it was moved.
    fn probe(&mut self, head: &Head, gap: &Gap) -> Result<Option<(usize, Shift)>, RepairError> {
        let shifts = self.shifts(gap)?;
        let looked_at = (gap.to - gap.from).saturating_mul(2).saturating_add(2 * BEFORE);
        self.left = self.left.saturating_sub(looked_at.min(self.file.len()));
        let (first, count) = (gap.shards.start, gap.shards.len());
        let mut probes: Vec<_> =
            [2, 1, 3].iter().map(|quarter| first + count * quarter / 4).collect();
        probes.dedup();
        for number in probes {
            let (from, to, size) = place(head, number);
            let Some(sum) = head.checksums.get(number) else { continue };
            let possible = |shift: &&Shift| {
                let at = from.checked_add_signed(**shift);
                at.is_some_and(|at| at >= gap.from && at + (to - from) <= gap.to)
            };
            let room = usize::try_from(self.left / size.max(1)).unwrap_or(usize::MAX);
            let shifts: Vec<Shift> = shifts.iter().filter(possible).take(room).copied().collect();
            let file = self.file;
            let found = shifts.par_iter().enumerate().find_first(|(_, shift)| {
                is_there(file, from, to, size, **shift, *sum, &mut Vec::new())
            });
            let tried = found.map_or(shifts.len(), |(number, _)| number + 1);
            self.left = self.left.saturating_sub(size * u64::try_from(tried).unwrap_or(u64::MAX));
            if let Some((_, shift)) = found {
                return Ok(Some((number, *shift)));
            }
        }
        Ok(None)
    }

    /// By how much what is in the gap may have been moved; the likeliest first.
    fn shifts(&self, gap: &Gap) -> Result<Vec<Shift>, RepairError> {
        let behind = gap.behind.map_or(gap.before.shift, |piece| piece.shift);
        let mut out = vec![gap.before.shift, behind];
        let headers = self.headers(gap)?;
        by_headers(gap, &headers, &mut out);
        self.by_framing(gap, &headers, &mut out);
        let known = [gap.before.shift, behind];
        let mut around = |step: i64, times: i64| {
            for by in 1..=times {
                for shift in &known {
                    out.extend([shift + by * step, shift - by * step]);
                }
            }
        };
        around(1, NEAR);
        around(512, BLOCKS);
        let mut seen = std::collections::HashSet::new();
        out.retain(|shift| seen.insert(*shift));
        Ok(out)
    }

    /// The tar headers in the gap and a little around it.
    fn headers(&self, gap: &Gap) -> Result<Vec<Header>, RepairError> {
        let start = gap.before.start.saturating_add_signed(gap.before.shift);
        let from = gap.from.saturating_sub(BEFORE).max(start).min(gap.from);
        let mut out = Vec::new();
        let mut take = |header: Header| {
            if header.created == self.created {
                out.push(header);
            }
        };
        headers(self.file, from, gap.to.saturating_add(BEFORE), &mut take, &Silent)?;
        Ok(out)
    }

    /// Bytes that are stored as they are have three of framing in front of each 128 KiB.
    fn by_framing(&self, gap: &Gap, headers: &[Header], out: &mut Vec<Shift>) {
        if gap.to - gap.from > GAP {
            return;
        }
        let Some(body) = self.body(gap, headers) else { return };
        let block = u64::try_from(raw::BLOCK + 3).unwrap_or(u64::MAX);
        let first = gap.start.saturating_sub(body).div_ceil(block);
        let frames: Vec<u64> = (first..)
            .map(|number| body + number * block)
            .take_while(|at| *at < gap.end)
            .take(FRAMES)
            .collect();
        let bytes = read(self.file, gap.from, gap.to - gap.from, SECTOR).bytes;
        let word = u32::try_from(raw::BLOCK).unwrap_or(0) << 3;
        let [a, b, c, _] = word.to_le_bytes();
        let places: Vec<u64> = memmem::find_iter(&bytes, &[a, b, c])
            .take(FRAMES + 1)
            .map(|at| gap.from + u64::try_from(at).unwrap_or(0))
            .collect();
        if places.len() > FRAMES {
            return;
        }
        // What several agree on comes first.
        let mut votes: HashMap<Shift, usize> = HashMap::new();
        for shift in
            places.iter().flat_map(|at| frames.iter().filter_map(|was| marks::shift(*at, *was)))
        {
            *votes.entry(shift).or_default() += 1;
        }
        let mut votes: Vec<_> = votes.into_iter().collect();
        votes.sort_unstable_by_key(|(shift, votes)| (std::cmp::Reverse(*votes), *shift));
        out.extend(votes.into_iter().take(FRAMES).map(|(shift, _)| shift));
    }

    /// Where in the archive the first block is of the stored body that reaches into the gap.
    fn body(&self, gap: &Gap, headers: &[Header]) -> Option<u64> {
        let header = headers.iter().rev().find(|header| header.at < gap.from)?;
        let at = header.at + 512;
        let mut fixed = [0; HEAD_FIXED];
        self.file.read_exact_at(&mut fixed, at).ok()?;
        let length = object::Head::length(&fixed).ok()?;
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, at).ok()?;
        let head = object::Head::decode(&bytes).ok()?;
        if head.body != Body::Raw {
            return None;
        }
        let was = at.checked_add_signed(-gap.before.shift)?;
        // The header of the first block; raw byte 0 stands behind it.
        was.checked_add(u64::try_from(length).ok()? + raw::position(0) - 3)
    }
}

/// Each header says where the next one was.
fn by_headers(gap: &Gap, headers: &[Header], out: &mut Vec<Shift>) {
    let within = |header: &&Header| header.at >= gap.from && header.at < gap.to;
    let last = headers.iter().rev().find(|header| header.at < gap.from);
    let mut next = last.and_then(|header| {
        header.at.checked_add_signed(-gap.before.shift)?.checked_add(header.span())
    });
    for header in headers.iter().filter(within) {
        out.extend(next.and_then(|next| marks::shift(header.at, next)));
        next = next.and_then(|next| next.checked_add(header.span()));
    }
    let Some(behind) = gap.behind else { return };
    let first = headers.iter().find(|header| header.at >= gap.to);
    let mut was = first.and_then(|header| header.at.checked_add_signed(-behind.shift));
    for header in headers.iter().rev().filter(within) {
        was = was.and_then(|was| was.checked_sub(header.span()));
        out.extend(was.and_then(|was| marks::shift(header.at, was)));
    }
}

/// Where a shard of a window is in the archive, and how long shards are.
fn place(head: &Head, number: usize) -> (u64, u64, u64) {
    let size = u64::from(head.layout().shard);
    let from = head.start.saturating_add(u64::try_from(number).unwrap_or(0).saturating_mul(size));
    (from, (from + size).min(head.end()), size)
}

/// Runs of lost shards that may have more than a cut in them.
fn runs(lost: &[bool]) -> Vec<Range<usize>> {
    let mut out: Vec<Range<usize>> = Vec::new();
    for number in (0..lost.len()).filter(|number| lost.get(*number) == Some(&true)) {
        match out.last_mut() {
            Some(run) if run.end == number => run.end += 1,
            _ => out.push(number..number + 1),
        }
    }
    out.retain(|run| run.len() > 1);
    // The longest is taken first: from the end of the list.
    out.sort_by_key(Range::len);
    out
}
