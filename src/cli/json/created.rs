//! What `create` says.

use serde::Serialize;

use super::{SCHEMA, millis};
use crate::cli::saving::Shelved;
use crate::create::CreateReport;
use crate::format::manifest::Name;
use crate::profile::holdings::Holding;
use crate::verify::Finding;

/// An archive that was made.
#[derive(Serialize)]
pub(in crate::cli) struct Created<'a> {
    schema: u32,
    command: &'static str,
    file: String,
    ok: bool,
    verified: bool,
    tables: u64,
    rows: u64,
    blobs: u64,
    blob_bytes: u64,
    bytes: u64,
    chunks: u64,
    chunk_bytes: u64,
    entries: u64,
    taken: u64,
    taken_bytes: u64,
    manifest: String,
    writing_millis: u64,
    reading_back_millis: u64,
    errors: u64,
    warnings: u64,
    findings: &'a [Finding],
    #[serde(skip_serializing_if = "Option::is_none")]
    profile: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    latest: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    holdings: Option<Vec<Held<'a>>>,
}

/// A table of note.
#[derive(Serialize)]
struct Held<'a> {
    table: &'a Name,
    rows: u64,
    blobs: Vec<HeldBlobs<'a>>,
}

#[derive(Serialize)]
struct HeldBlobs<'a> {
    column: &'a str,
    with_bytes: u64,
    without: u64,
}

impl<'a> Created<'a> {
    /// What `create` says.
    pub(in crate::cli) fn new(report: &'a CreateReport) -> Self {
        let verified = report.verified.as_ref();
        Self {
            schema: SCHEMA,
            command: "create",
            file: report.path.display().to_string(),
            ok: verified.is_none_or(|report| report.ok),
            verified: verified.is_some(),
            tables: report.tables,
            rows: report.rows,
            blobs: report.blobs,
            blob_bytes: report.blob_bytes,
            bytes: report.bytes,
            chunks: report.stored.chunks,
            chunk_bytes: report.stored.chunk_bytes,
            entries: report.stored.entries,
            taken: report.stored.taken,
            taken_bytes: report.stored.taken_bytes,
            manifest: report.manifest.to_string(),
            writing_millis: millis(report.writing),
            reading_back_millis: millis(report.reading_back),
            errors: verified.map_or(0, |report| report.errors),
            warnings: verified.map_or(0, |report| report.warnings),
            findings: verified.map_or(&[], |report| &report.findings),
            profile: None,
            latest: None,
            holdings: None,
        }
    }

    /// The same, of a profile.
    pub(in crate::cli) fn shelved(mut self, shelved: &'a Shelved) -> Self {
        self.profile = Some(&shelved.profile);
        self.latest = shelved.latest.as_ref().map(|path| path.display().to_string());
        let held = |holding: &'a Holding| Held {
            table: &holding.table,
            rows: holding.rows,
            blobs: holding
                .blobs
                .iter()
                .map(|blob| HeldBlobs {
                    column: &blob.column,
                    with_bytes: blob.with_bytes,
                    without: blob.without,
                })
                .collect(),
        };
        self.holdings = shelved.holdings.as_ref().map(|all| all.tables.iter().map(held).collect());
        self
    }
}
