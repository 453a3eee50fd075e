//! Rows whose digest alone is wanted: where restore and compare read a database.

use sha2::{Digest as _, Sha256};

use super::pump::{Sink, Slices, What};
use crate::format::batch::Batch;
use crate::format::digest::{Digest, RowSum};
use crate::format::rows::{BlobRef, Bytea, INLINE_BYTEA};
use crate::format::writer::WriteError;

/// Adds up the rows of each table.
#[derive(Debug, Default)]
pub(crate) struct DigestSink {
    current: RowSum,
    /// Count and digest of everything that has come, in that order.
    pub(crate) sums: Vec<(What, RowSum)>,
}

impl Sink for DigestSink {
    fn begin(&mut self, _: What) -> Result<(), WriteError> {
        self.current = RowSum::default();
        Ok(())
    }

    fn batch(&mut self, batch: &Batch) -> Result<(), WriteError> {
        self.current.add(batch.sum());
        Ok(())
    }

    fn blob(&mut self, slices: &mut Slices<'_>) -> Result<Bytea, WriteError> {
        reference(slices)
    }

    fn end(&mut self, what: What) -> Result<u64, WriteError> {
        self.sums.push((what, self.current));
        Ok(self.current.rows)
    }
}

/// A value that came in slices, as a row refers to it; its bytes are dropped.
pub(crate) fn reference(slices: &mut Slices<'_>) -> Result<Bytea, WriteError> {
    let mut hash = Sha256::new();
    let mut length = 0_u64;
    let mut head = Vec::new();
    while let Some(slice) = slices()? {
        hash.update(&slice);
        length += u64::try_from(slice.len()).unwrap_or(0);
        if head.len() <= INLINE_BYTEA {
            head.extend(slice.iter().take(INLINE_BYTEA + 1));
        }
    }
    if head.len() <= INLINE_BYTEA {
        return Ok(Bytea::Inline(head));
    }
    Ok(Bytea::Blob(BlobRef { digest: Digest(hash.finalize().into()), length }))
}
