//! What `merge` says.

use std::time::Duration;

use serde::Serialize;

use super::{SCHEMA, millis};
use crate::merge::{MergeOptions, Merged};
use crate::verify::Finding;

/// An archive that stands alone, made of a thin one.
#[derive(Serialize)]
pub(in crate::cli) struct Merging<'a> {
    schema: u32,
    command: &'static str,
    file: String,
    output: String,
    ok: bool,
    tables: u64,
    rows: u64,
    bytes: u64,
    entries: u64,
    chunks: u64,
    chunk_bytes: u64,
    manifest: String,
    errors: u64,
    warnings: u64,
    findings: &'a [Finding],
    millis: u64,
}

impl<'a> Merging<'a> {
    /// What came of it.
    pub(in crate::cli) fn new(options: &MergeOptions, done: &'a Merged, took: Duration) -> Self {
        let verified = &done.verified;
        Self {
            schema: SCHEMA,
            command: "merge",
            file: options.file.display().to_string(),
            output: options.output.display().to_string(),
            ok: verified.ok,
            tables: verified.tables,
            rows: verified.rows,
            bytes: done.written.bytes,
            entries: done.written.entries,
            chunks: done.written.chunks,
            chunk_bytes: done.written.chunk_bytes,
            manifest: done.written.manifest.to_string(),
            errors: verified.errors,
            warnings: verified.warnings,
            findings: &verified.findings,
            millis: millis(took),
        }
    }
}
