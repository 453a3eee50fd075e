//! Making parity while the bytes go by: no window is ever held in memory.
//!
//! The code is the high-rate one of Leopard, which is a sum over runs of as many shards as the code
//! has parity shards: each run is transformed and added to what the runs before it came to, and one
//! transformation at the end gives the parity shards.

use std::fmt;

use reed_solomon_simd::engine::{DefaultEngine, Engine, ShardsRefMut};

use super::{Checksum, Head, Kind, Layout, Protection, checksum};

/// Runs of shards coming to parity shards.
struct Code {
    engine: DefaultEngine,
    shard: usize,
    width: usize,
    /// What the runs so far came to; empty before the first.
    sum: Vec<u8>,
    runs: usize,
}

impl Code {
    fn new(shard: u32, code: u32) -> Self {
        let wide = |n: u32| usize::try_from(n).unwrap_or(0);
        let engine = DefaultEngine::new();
        Self { engine, shard: wide(shard), width: wide(code), sum: Vec::new(), runs: 0 }
    }

    /// Bytes of a run.
    fn run(&self) -> usize {
        self.shard * self.width
    }

    /// Adds a run of whole shards; a shorter one only at the end. The bytes are used up.
    fn add(&mut self, run: &mut Vec<u8>) {
        let shards = run.len() / self.shard;
        run.resize(self.run(), 0);
        self.runs += 1;
        let (blocks, _) = run.as_chunks_mut::<64>();
        let mut work = ShardsRefMut::new(self.width, self.shard / 64, blocks);
        self.engine.ifft(&mut work, 0, self.width, shards, self.runs * self.width);
        if self.sum.is_empty() {
            self.sum.clone_from(run);
        } else {
            for (sum, byte) in self.sum.iter_mut().zip(run.iter()) {
                *sum ^= byte;
            }
        }
        run.clear();
    }

    /// The first `count` parity shards.
    fn finish(mut self, count: u32) -> Vec<u8> {
        let count = usize::try_from(count).unwrap_or(0);
        self.sum.resize(self.run(), 0);
        let (blocks, _) = self.sum.as_chunks_mut::<64>();
        let mut work = ShardsRefMut::new(self.width, self.shard / 64, blocks);
        self.engine.fft(&mut work, 0, self.width, count, 0);
        self.sum.truncate(count * self.shard);
        self.sum
    }
}

/// One window on its way.
struct Open {
    start: u64,
    length: u64,
    run: Vec<u8>,
    code: Code,
    checksums: Vec<Checksum>,
}

/// A window whose parity is known.
#[derive(Clone, Debug)]
pub struct Finished {
    /// Where it begins in the file.
    pub start: u64,
    /// Its length.
    pub length: u64,
    protection: Protection,
    checksums: Vec<Checksum>,
    parity: Vec<u8>,
}

impl Finished {
    /// The head of its block.
    pub fn head(&self, kind: Kind, number: u32, created: u64, position: u64) -> Head {
        Head {
            kind,
            number,
            created,
            position,
            start: self.start,
            length: self.length,
            protection: self.protection,
            checksums: self.checksums.clone(),
        }
    }

    /// The block with this head.
    pub fn block(&self, head: &Head) -> Vec<u8> {
        let head = head.encode();
        [head.as_slice(), &self.parity, &head].concat()
    }

    /// The parity shards.
    pub fn parity(&self) -> &[u8] {
        &self.parity
    }
}

/// Cuts what goes by into windows, and makes the parity of each.
pub struct Windows {
    protection: Protection,
    open: Option<Open>,
    finished: Vec<Finished>,
}

impl fmt::Debug for Windows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Windows").field("protection", &self.protection).finish_non_exhaustive()
    }
}

impl Windows {
    /// Protects as told.
    pub fn new(protection: Protection) -> Self {
        Self { protection, open: None, finished: Vec::new() }
    }

    /// Takes bytes that stand at `offset` in the file, right after those before unless a window was
    /// closed in between.
    pub fn take(&mut self, mut bytes: &[u8], mut offset: u64) {
        while !bytes.is_empty() {
            let protection = self.protection;
            let mut open = self.open.take().unwrap_or_else(|| Open {
                start: offset,
                length: 0,
                run: Vec::new(),
                code: Code::new(protection.shard, protection.code()),
                checksums: Vec::new(),
            });
            if open.run.len() == open.code.run() {
                open.run(protection.shard);
            }
            let left = self.protection.window_bytes() - open.length;
            let room = usize::try_from(left).unwrap_or(usize::MAX);
            let room = room.min(open.code.run() - open.run.len()).min(bytes.len());
            let (now, rest) = bytes.split_at(room);
            open.run.extend_from_slice(now);
            let taken = u64::try_from(room).unwrap_or(0);
            open.length += taken;
            offset += taken;
            bytes = rest;
            let full = open.length == protection.window_bytes();
            self.open = Some(open);
            if full {
                self.close();
            }
        }
    }

    /// Whether so many bytes more go into the window that is open.
    pub fn fits(&self, bytes: u64) -> bool {
        let length = self.open.as_ref().map_or(0, |open| open.length);
        length.checked_add(bytes).is_some_and(|sum| sum <= self.protection.window_bytes())
    }

    /// Whether windows were finished that nobody took yet.
    pub fn has_finished(&self) -> bool {
        !self.finished.is_empty()
    }

    /// Ends the window that is open, if any.
    pub fn close(&mut self) {
        let Some(mut open) = self.open.take() else { return };
        let layout = self.protection.layout(open.length);
        let parity = if layout.shard == self.protection.shard {
            pad(&mut open.run, layout.shard);
            if !open.run.is_empty() {
                open.run(layout.shard);
            }
            open.code.finish(layout.parity)
        } else {
            open.short(layout, self.protection.code())
        };
        let parity_shards = parity.chunks(usize::try_from(layout.shard).unwrap_or(1).max(1));
        open.checksums.extend(parity_shards.map(checksum));
        self.finished.push(Finished {
            start: open.start,
            length: open.length,
            protection: self.protection,
            checksums: open.checksums,
            parity,
        });
    }

    /// The windows finished since the last call.
    pub fn finished(&mut self) -> Vec<Finished> {
        std::mem::take(&mut self.finished)
    }
}

impl Open {
    /// Has the run that is waiting added to the code.
    fn run(&mut self, shard: u32) {
        let shard = usize::try_from(shard).unwrap_or(1).max(1);
        self.checksums.extend(self.run.chunks(shard).map(checksum));
        self.code.add(&mut self.run);
    }

    /// A short window, all of which is still waiting: smaller shards.
    fn short(&mut self, layout: Layout, code: u32) -> Vec<u8> {
        let mut whole = std::mem::take(&mut self.run);
        pad(&mut whole, layout.shard);
        self.code = Code::new(layout.shard, code);
        for run in whole.chunks(self.code.run()) {
            self.run = run.to_vec();
            self.run(layout.shard);
        }
        std::mem::replace(&mut self.code, Code::new(layout.shard, code)).finish(layout.parity)
    }
}

/// Fills the last shard up with zero bytes.
fn pad(bytes: &mut Vec<u8>, shard: u32) {
    let shard = usize::try_from(shard).unwrap_or(1).max(1);
    bytes.resize(bytes.len().next_multiple_of(shard), 0);
}
