//! Records in the order of their digests, in a file without a name.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::filter::Filter;
use crate::format::digest::Digest;
use crate::format::fences::{Fences, key};
use crate::io::Scratch;

/// Bytes that are written at a time.
const BUFFER: usize = 256 << 10;

#[derive(Debug)]
pub(super) struct Run<const N: usize> {
    pub(super) file: Arc<File>,
    fences: Fences,
    pub(super) filter: Filter,
    /// How often what is in it was merged.
    pub(super) level: u32,
}

impl<const N: usize> Run<N> {
    /// How many records it has.
    pub(super) fn count(&self) -> u64 {
        self.fences.count()
    }

    /// Bytes of memory that it takes.
    pub(super) fn held(&self) -> usize {
        self.fences.held() + self.filter.bytes()
    }

    /// What is lost for each byte that is gained if the filter is halved: how many more digests it
    /// takes for ones that are there.
    pub(super) fn loss(&self) -> f64 {
        let bytes = self.filter.bytes();
        let lost = wrong(bytes / 2, self.count()) - wrong(bytes, self.count());
        lost / f64::from(u32::try_from(bytes).unwrap_or(u32::MAX).max(1))
    }

    /// The record of this digest.
    pub(super) fn find(&self, digest: &Digest) -> io::Result<Option<[u8; N]>> {
        if !self.filter.may_have(digest) {
            return Ok(None);
        }
        let width = u64::try_from(N).unwrap_or(u64::MAX);
        let found = self.fences.find(digest, |from, window| {
            self.file.read_exact_at(window.as_flattened_mut(), from.saturating_mul(width))
        })?;
        Ok(found.map(|(_, record)| record))
    }
}

/// The share of digests that a filter of so many bytes takes for some of these.
fn wrong(bytes: usize, records: u64) -> f64 {
    let sixteenths = u64::try_from(bytes).unwrap_or(u64::MAX).saturating_mul(128) / records.max(1);
    let bits = f64::from(u32::try_from(sixteenths).unwrap_or(u32::MAX).max(1)) / 16.0;
    (1.0 - (-4.0 / bits).exp()).powi(4)
}

/// Writes a run.
#[derive(Debug)]
pub(super) struct RunWriter<const N: usize> {
    file: File,
    buffer: Vec<u8>,
    fences: Fences,
    filter: Filter,
    level: u32,
}

impl<const N: usize> RunWriter<N> {
    /// One of so many records, with a filter of at most so many bytes.
    pub(super) fn begin(
        scratch: &Scratch,
        records: u64,
        most: usize,
        level: u32,
    ) -> io::Result<Self> {
        Ok(Self {
            file: scratch.file()?,
            buffer: Vec::with_capacity(BUFFER),
            fences: Fences::default(),
            filter: Filter::new(records, most),
            level,
        })
    }

    /// Takes the next record in order.
    pub(super) fn push(&mut self, record: &[u8; N]) -> io::Result<()> {
        let digest = key(record);
        self.fences.push(&digest);
        self.filter.put(&digest);
        self.buffer.extend_from_slice(record);
        if self.buffer.len().saturating_add(N) > BUFFER {
            self.file.write_all(&self.buffer)?;
            self.buffer.clear();
        }
        Ok(())
    }

    pub(super) fn end(mut self) -> io::Result<Run<N>> {
        self.file.write_all(&self.buffer)?;
        let Self { file, fences, filter, level, .. } = self;
        Ok(Run { file: Arc::new(file), fences, filter, level })
    }
}
