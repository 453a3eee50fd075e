//! What `--json` prints. `docs/json.md` describes every field; a test keeps the two together.
//!
//! Each object is one line. Fields may be added without a new version, never renamed or taken
//! away. Numbers are whole; sizes are in bytes, times in milliseconds.

mod checked;
mod created;
mod guarded;
mod merging;
mod rescued;
mod restored;
mod shelves;

use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use super::hints::Trouble;
use super::plan::step_words;
use super::printer::Printer;
use crate::compare::{Comparison, Verdict};
use crate::export::ExportReport;
use crate::extract::{ExtractOptions, ExtractReport};
use crate::format::manifest::{Key, Name, Source, Table};
use crate::repair::{self, Stretch};
use crate::restore::{Plan, RestoreError};
use crate::verify::{Finding, Level, Report, TableReport, Use};
pub(super) use checked::{CheckReport, Drilled};
pub(super) use created::Created;
pub(super) use guarded::Guarded;
pub(super) use merging::Merging;
pub(super) use rescued::Rescued;
pub(super) use restored::Restored;
pub(super) use shelves::{Folder, Listed, ListedArchive, Pruned, Removed};

/// The version of these objects.
pub(super) const SCHEMA: u32 = 1;

/// Prints an object on a line of its own.
pub(super) fn print(printer: &Printer, object: &impl Serialize) {
    printer.result(&line(object));
}

/// An object as the line that is printed of it.
pub(super) fn line(object: &impl Serialize) -> String {
    // These types have text keys and no floats: they can always be written.
    serde_json::to_string(object).map_or_else(|_| String::new(), |line| line + "\n")
}

/// Instead of a report, where there is none.
#[derive(Serialize)]
pub(super) struct Failed<'a> {
    schema: u32,
    command: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    ok: bool,
    error: ErrorWords,
    findings: &'a [Finding],
}

#[derive(Serialize)]
struct ErrorWords {
    message: String,
    hints: Vec<String>,
    exit: u8,
}

impl<'a> Failed<'a> {
    /// That `command` could not be done; `findings` if it was for these. Passwords are taken out.
    pub(super) fn new(
        command: &'a str,
        file: Option<&Path>,
        trouble: &Trouble,
        findings: &'a [Finding],
        printer: &Printer,
    ) -> Self {
        let error = ErrorWords {
            message: printer.redact(&trouble.error),
            hints: trouble.hints.iter().map(|hint| printer.redact(hint)).collect(),
            exit: trouble.exit.code(),
        };
        let file = file.map(|file| file.display().to_string());
        Self { schema: SCHEMA, command, file, ok: false, error, findings }
    }
}

/// A verification. Also part of what `create` reports.
#[derive(Serialize)]
pub(super) struct Verified<'a> {
    schema: u32,
    command: &'static str,
    file: String,
    ok: bool,
    too_new: bool,
    level: Level,
    strict: bool,
    tables: u64,
    rows: u64,
    blobs: u64,
    bytes: u64,
    blob_bytes: u64,
    objects: u64,
    chunks: u64,
    images: u64,
    images_damaged: u64,
    uses: &'a [Use],
    errors: u64,
    warnings: u64,
    notes: u64,
    millis: u64,
    findings: &'a [Finding],
    table_states: &'a [TableReport],
}

impl<'a> Verified<'a> {
    /// The answer for `file`.
    pub(super) fn new(file: &Path, report: &'a Report, strict: bool, millis: u64) -> Self {
        Self {
            schema: SCHEMA,
            command: "verify",
            file: file.display().to_string(),
            ok: report.ok && !(strict && report.warnings > 0),
            too_new: report.too_new,
            level: report.level,
            strict,
            tables: report.tables,
            rows: report.rows,
            blobs: report.blobs,
            bytes: report.bytes,
            blob_bytes: report.blob_bytes,
            objects: report.objects,
            chunks: report.chunks,
            images: report.images,
            images_damaged: report.images_damaged,
            uses: &report.uses,
            errors: report.errors,
            warnings: report.warnings,
            notes: report.notes,
            millis,
            findings: &report.findings,
            table_states: &report.table_states,
        }
    }
}

/// An archive compared with something.
#[derive(Serialize)]
pub(super) struct Compared<'a> {
    schema: u32,
    command: &'static str,
    file: String,
    with: &'a str,
    ok: bool,
    #[serde(flatten)]
    comparison: &'a Comparison,
}

impl<'a> Compared<'a> {
    /// What `compare` says.
    pub(super) fn new(file: &Path, with: &'a str, comparison: &'a Comparison) -> Self {
        Self {
            schema: SCHEMA,
            command: "compare",
            file: file.display().to_string(),
            with,
            ok: comparison.verdict == Verdict::Equal,
            comparison,
        }
    }
}

/// What is in an archive.
#[derive(Serialize)]
pub(super) struct Inspected<'a> {
    pub(super) schema: u32,
    pub(super) command: &'static str,
    pub(super) file: String,
    pub(super) ok: bool,
    pub(super) format: u64,
    pub(super) features: &'a [String],
    pub(super) bases: Vec<InspectedBase>,
    pub(super) created: u64,
    pub(super) tool: &'a str,
    pub(super) manifest: String,
    pub(super) source: &'a Source,
    pub(super) sizes: Sizes,
    pub(super) tables: Vec<InspectedTable<'a>>,
    pub(super) sequences: usize,
    pub(super) foreign_keys: usize,
    pub(super) large_objects: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) rules: Option<&'a crate::format::rules::Rules>,
}

/// What a thin archive is based on.
#[derive(Serialize)]
pub(super) struct InspectedBase {
    manifest: String,
    created: u64,
    length: u64,
    objects: u64,
    bytes: u64,
}

impl From<&crate::format::manifest::Base> for InspectedBase {
    fn from(base: &crate::format::manifest::Base) -> Self {
        let crate::format::manifest::Base { manifest, created, length, objects, bytes } = *base;
        Self { manifest: manifest.to_string(), created, length, objects, bytes }
    }
}

/// Sizes in bytes, and how many there are.
#[derive(Serialize, Clone, Copy, Default, Debug)]
pub(super) struct Sizes {
    /// The file.
    pub(super) archive: u64,
    /// Rows as text, blobs by reference.
    pub(super) row_text: u64,
    /// Blobs referred to, repeats counted.
    pub(super) blobs: u64,
    /// Bytes of these.
    pub(super) blob_bytes: u64,
    /// Distinct chunks.
    pub(super) chunks: u64,
    /// Bytes of these.
    pub(super) chunk_bytes: u64,
    /// Packs.
    pub(super) packs: u64,
    /// Bytes of these as they are stored, compressed where that helps.
    pub(super) pack_bytes: u64,
    /// Segments.
    pub(super) segments: u64,
    /// Bytes of these as they are stored.
    pub(super) segment_bytes: u64,
}

impl Sizes {
    /// What repeats would have cost, before compression.
    pub(super) fn deduplicated(&self) -> u64 {
        self.blob_bytes.saturating_sub(self.chunk_bytes)
    }

    /// Everything in the file that is neither blobs nor rows.
    pub(super) fn rest(&self) -> u64 {
        self.archive.saturating_sub(self.pack_bytes).saturating_sub(self.segment_bytes)
    }
}

/// One table.
#[derive(Serialize)]
pub(super) struct InspectedTable<'a> {
    schema: &'a str,
    name: &'a str,
    kind: crate::format::manifest::TableKind,
    rows: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    row_text: u64,
    blobs: u64,
    blob_bytes: u64,
    segments: u64,
    segment_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<Detail<'a>>,
}

#[derive(Serialize)]
struct Detail<'a> {
    columns: Vec<DetailColumn<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    primary_key: Option<&'a Key>,
    unique: &'a [Key],
    foreign_keys: Vec<&'a crate::format::manifest::ForeignKey>,
    referenced_by: Vec<&'a crate::format::manifest::ForeignKey>,
    #[serde(skip_serializing_if = "Option::is_none")]
    partition_of: Option<&'a Name>,
    inherits: &'a [Name],
}

#[derive(Serialize)]
struct DetailColumn<'a> {
    name: &'a str,
    #[serde(rename = "type")]
    sql_type: &'a str,
    not_null: bool,
    generated: bool,
    identity: bool,
}

impl<'a> InspectedTable<'a> {
    /// A table; `segment_bytes` as stored.
    pub(super) fn new(table: &'a Table, segment_bytes: u64) -> Self {
        let data = table.data.unwrap_or_default();
        Self {
            schema: &table.name.schema,
            name: &table.name.name,
            kind: table.kind,
            rows: data.rows,
            digest: table.data.map(|data| data.digest.to_string()),
            row_text: data.bytes,
            blobs: data.blobs,
            blob_bytes: data.blob_bytes,
            segments: data.segments,
            segment_bytes,
            detail: None,
        }
    }

    /// The same with columns, keys and references.
    pub(super) fn with_detail(
        mut self,
        table: &'a Table,
        foreign_keys: &'a [crate::format::manifest::ForeignKey],
    ) -> Self {
        let columns = table.columns.iter().map(|column| DetailColumn {
            name: &column.name,
            sql_type: &column.sql_type,
            not_null: column.not_null,
            generated: column.generated,
            identity: column.identity,
        });
        self.detail = Some(Detail {
            columns: columns.collect(),
            primary_key: table.primary_key.as_ref(),
            unique: &table.unique,
            foreign_keys: foreign_keys.iter().filter(|key| key.table == table.name).collect(),
            referenced_by: foreign_keys.iter().filter(|key| key.references == table.name).collect(),
            partition_of: table.partition_of.as_ref(),
            inherits: &table.inherits,
        });
        self
    }
}

/// What `repair` says.
#[derive(Serialize)]
#[expect(clippy::struct_field_names, reason = "these are the names in the JSON")]
pub(super) struct Repaired<'a> {
    schema: u32,
    command: &'static str,
    file: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    output: Option<String>,
    ok: bool,
    bytes_before: u64,
    bytes: u64,
    windows: u64,
    windows_damaged: u64,
    repaired: &'a [Stretch],
    beyond: &'a [Stretch],
    #[serde(skip_serializing_if = "Option::is_none")]
    verified: Option<Verified<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    salvaged: Option<&'a repair::Salvage>,
    millis: u64,
}

impl<'a> Repaired<'a> {
    /// What came of repairing `file`.
    pub(super) fn new(
        file: &Path,
        output: &Path,
        done: &'a repair::Repaired,
        took: Duration,
    ) -> Self {
        let report = &done.report;
        Self {
            schema: SCHEMA,
            command: "repair",
            file: file.display().to_string(),
            output: (report.whole || done.salvaged.is_some()).then(|| output.display().to_string()),
            ok: report.whole,
            bytes_before: report.bytes_before,
            bytes: report.bytes,
            windows: report.windows,
            windows_damaged: report.windows_damaged,
            repaired: &report.repaired,
            beyond: &report.beyond,
            verified: done.verified.as_ref().map(|report| Verified::new(output, report, false, 0)),
            salvaged: done.salvaged.as_ref(),
            millis: millis(took),
        }
    }
}

/// What a restore would do.
#[derive(Serialize)]
pub(super) struct Planned<'a> {
    schema: u32,
    command: &'static str,
    file: String,
    dry_run: bool,
    target: &'a str,
    database: &'a str,
    ok: bool,
    steps: Vec<String>,
    bytes_needed: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_free: Option<u64>,
    notes: &'a [String],
    connections: Vec<PlannedConnection<'a>>,
    leftovers: &'a [String],
    problems: Vec<String>,
}

#[derive(Serialize)]
struct PlannedConnection<'a> {
    pid: i32,
    user: &'a str,
    application: &'a str,
    client: &'a str,
}

impl<'a> Planned<'a> {
    /// What `restore --dry-run` says.
    pub(super) fn new(file: &Path, plan: &'a Plan, problems: &[RestoreError]) -> Self {
        Self {
            schema: SCHEMA,
            command: "restore",
            file: file.display().to_string(),
            dry_run: true,
            target: &plan.server,
            database: &plan.database,
            ok: problems.is_empty(),
            bytes_needed: plan.space.needed,
            bytes_free: plan.space.free,
            steps: plan.steps.iter().map(step_words).collect(),
            notes: &plan.notes,
            connections: plan
                .connections
                .iter()
                .map(|connection| PlannedConnection {
                    pid: connection.pid,
                    user: &connection.user,
                    application: &connection.application,
                    client: &connection.client,
                })
                .collect(),
            leftovers: &plan.leftovers,
            problems: problems.iter().map(ToString::to_string).collect(),
        }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// An export to a file.
#[derive(Serialize)]
pub(super) struct Exported {
    schema: u32,
    command: &'static str,
    file: String,
    ok: bool,
    output: String,
    tables: u64,
    rows: u64,
    sequences: u64,
    large_objects: u64,
    bytes: u64,
}

impl Exported {
    /// What was written of `file` to `output`.
    pub(super) fn new(file: &Path, output: &Path, report: &ExportReport) -> Self {
        Self {
            schema: SCHEMA,
            command: "export",
            file: file.display().to_string(),
            ok: true,
            output: output.display().to_string(),
            tables: report.tables,
            rows: report.rows,
            sequences: report.sequences,
            large_objects: report.large_objects,
            bytes: report.bytes,
        }
    }
}

/// Blobs written as files.
#[derive(Serialize)]
pub(super) struct Extracted<'a> {
    schema: u32,
    command: &'static str,
    file: String,
    ok: bool,
    table: &'a Name,
    column: &'a str,
    folder: String,
    rows: u64,
    files: u64,
    bytes: u64,
    nulls: u64,
    empties: u64,
    damaged: u64,
    media: Vec<MediaFiles>,
    problem_count: u64,
    problems: &'a [String],
}

#[derive(Serialize)]
struct MediaFiles {
    media_type: &'static str,
    extension: &'static str,
    files: u64,
    bytes: u64,
}

impl<'a> Extracted<'a> {
    /// What was extracted of `file`.
    pub(super) fn new(file: &Path, options: &'a ExtractOptions, report: &'a ExtractReport) -> Self {
        let media = report.media.iter().map(|(media, (files, bytes))| MediaFiles {
            media_type: media.media_type,
            extension: media.extension,
            files: *files,
            bytes: *bytes,
        });
        Self {
            schema: SCHEMA,
            command: "extract",
            file: file.display().to_string(),
            ok: report.problem_count == 0,
            table: &options.table,
            column: &options.column,
            folder: options.folder.display().to_string(),
            rows: report.rows,
            files: report.files,
            bytes: report.bytes,
            nulls: report.nulls,
            empties: report.empties,
            damaged: report.damaged,
            media: media.collect(),
            problem_count: report.problem_count,
            problems: &report.problems,
        }
    }
}
