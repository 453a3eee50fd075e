//! The table of contents and the blocks of a custom dump, as bytes: numbers, texts, and data in
//! chunks, as `pg_dump` of version 1.14 of the format writes them.

use std::io;

use super::{ExportError, Out};

/// Bytes of data that one chunk of a block has.
const CHUNK: usize = 128 << 10;

/// One entry of the table of contents.
#[derive(Default)]
pub(super) struct Entry<'a> {
    pub(super) kind: &'a str,
    pub(super) tag: &'a str,
    pub(super) section: i32,
    pub(super) definition: &'a [u8],
    pub(super) drop: &'a str,
    pub(super) copy: &'a str,
    pub(super) schema: &'a str,
    pub(super) owner: &'a str,
    pub(super) needs: &'a [i32],
    /// Whether a block of data belongs to it.
    pub(super) data: bool,
}

impl Out<'_> {
    pub(super) fn int(&mut self, value: i32) -> Result<(), ExportError> {
        self.put(&[u8::from(value < 0)])?;
        self.put(&value.unsigned_abs().to_le_bytes())
    }

    pub(super) fn string(&mut self, value: &[u8]) -> Result<(), ExportError> {
        self.int(i32::try_from(value.len()).map_err(|_| too_much())?)?;
        self.put(value)
    }

    /// What is put from here on goes into chunks.
    pub(super) fn begin_block(&mut self) {
        self.block = Some(Vec::with_capacity(CHUNK));
    }

    pub(super) fn chunked(&mut self, mut bytes: &[u8]) -> Result<(), ExportError> {
        while let Some(block) = &mut self.block {
            let room = CHUNK.saturating_sub(block.len()).min(bytes.len());
            let (now, later) = bytes.split_at_checked(room).unwrap_or((bytes, &[]));
            block.extend_from_slice(now);
            bytes = later;
            if block.len() < CHUNK {
                break;
            }
            self.chunk()?;
        }
        Ok(())
    }

    fn chunk(&mut self) -> Result<(), ExportError> {
        let Some(block) = self.block.take() else { return Ok(()) };
        if !block.is_empty() {
            self.string(&block)?;
        }
        self.block = Some(Vec::with_capacity(CHUNK));
        Ok(())
    }

    pub(super) fn end_block(&mut self) -> Result<(), ExportError> {
        self.chunk()?;
        self.block = None;
        self.int(0)
    }

    pub(super) fn entry(&mut self, next: &mut i32, entry: &Entry<'_>) -> Result<i32, ExportError> {
        let id = *next;
        *next = next.checked_add(1).ok_or_else(too_much)?;
        self.int(id)?;
        self.int(i32::from(entry.data))?;
        self.string(b"0")?;
        self.string(b"0")?;
        self.string(entry.tag.as_bytes())?;
        self.string(entry.kind.as_bytes())?;
        self.int(entry.section)?;
        self.string(entry.definition)?;
        self.string(entry.drop.as_bytes())?;
        self.string(entry.copy.as_bytes())?;
        self.string(entry.schema.as_bytes())?;
        // Tablespace and access method: those that the definitions begin with, and go back to.
        self.string(b"")?;
        if matches!(entry.kind, "TABLE" | "MATERIALIZED VIEW") {
            self.string(b"heap")?;
        } else {
            self.int(-1)?;
        }
        self.string(entry.owner.as_bytes())?;
        self.string(b"false")?;
        for need in entry.needs {
            self.string(need.to_string().as_bytes())?;
        }
        self.int(-1)?;
        // The place of its data: not known, or none.
        self.put(&[if entry.data { 1 } else { 3 }])?;
        self.put(&[0; 8])?;
        Ok(id)
    }
}

pub(super) fn too_much() -> ExportError {
    ExportError::Write(io::Error::other("more than the custom format can number"))
}
