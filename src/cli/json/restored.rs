//! What `restore` says.

use std::path::Path;

use serde::Serialize;

use super::{SCHEMA, millis};
use crate::restore::RestoreReport;

/// A restore that came to its end.
#[derive(Serialize)]
pub(in crate::cli) struct Restored<'a> {
    schema: u32,
    command: &'static str,
    file: String,
    target: &'a str,
    ok: bool,
    equal: bool,
    compared: bool,
    /// Notes on a part that was chosen; absent where it was all.
    #[serde(skip_serializing_if = "Option::is_none")]
    chosen: Option<&'a [String]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    database: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kept: Option<&'a str>,
    rows: u64,
    sequences: u64,
    tables: Vec<RestoredTable<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    large_objects: Option<RestoredRows>,
    findings: Vec<RestoredFinding<'a>>,
    /// The archive of what was there before.
    #[serde(skip_serializing_if = "Option::is_none")]
    safety: Option<String>,
    verifying_millis: u64,
    restoring_millis: u64,
    comparing_millis: u64,
}

#[derive(Serialize)]
struct RestoredTable<'a> {
    schema: &'a str,
    name: &'a str,
    rows: u64,
    expected: u64,
    equal: bool,
}

#[derive(Serialize)]
struct RestoredRows {
    rows: u64,
    expected: u64,
    equal: bool,
}

#[derive(Serialize)]
struct RestoredFinding<'a> {
    kind: &'a str,
    object: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    statement: Option<&'a str>,
}

impl<'a> Restored<'a> {
    /// What `restore` says.
    pub(in crate::cli) fn new(file: &Path, target: &'a str, report: &'a RestoreReport) -> Self {
        let tables = report.tables.iter();
        Self {
            schema: SCHEMA,
            command: "restore",
            file: file.display().to_string(),
            target,
            ok: report.equal && report.findings.is_empty() && report.database.is_some(),
            equal: report.equal,
            compared: report.compared,
            chosen: report.chosen.as_deref(),
            database: report.database.as_deref(),
            kept: report.kept.as_deref(),
            rows: tables.clone().map(|table| table.outcome.rows).fold(0, u64::saturating_add),
            sequences: report.sequences,
            tables: tables
                .map(|table| RestoredTable {
                    schema: &table.name.schema,
                    name: &table.name.name,
                    rows: table.outcome.rows,
                    expected: table.outcome.expected,
                    equal: table.outcome.equal,
                })
                .collect(),
            large_objects: report.large_objects.map(|outcome| RestoredRows {
                rows: outcome.rows,
                expected: outcome.expected,
                equal: outcome.equal,
            }),
            findings: report
                .findings
                .iter()
                .map(|finding| RestoredFinding {
                    kind: &finding.kind,
                    object: &finding.object,
                    message: &finding.message,
                    statement: finding.statement.as_deref(),
                })
                .collect(),
            safety: None,
            verifying_millis: millis(report.verifying),
            restoring_millis: millis(report.restoring),
            comparing_millis: millis(report.comparing),
        }
    }

    /// The same, after what was there before was saved.
    pub(in crate::cli) fn after(mut self, safety: Option<&Path>) -> Self {
        self.safety = safety.map(|path| path.display().to_string());
        self
    }
}
