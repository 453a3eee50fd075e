//! The answer of a verification, as data.

use serde::Serialize;

use super::codes::Severity;
use super::findings::Finding;
use super::uses::Use;

/// Version of the report's fields, for those who read it as JSON. Fields may be added without a
/// new version, never renamed or taken away.
pub const REPORT_VERSION: u32 = 1;

/// How much is checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Seal, manifest, index and lengths: milliseconds. Finds a file that was cut off or whose
    /// upload stopped, not a damaged row.
    Quick,
    /// Every byte, and all that the bytes mean.
    Full,
}

/// What state a table's rows are in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum TableState {
    /// Every row was read and is what was backed up, blobs included.
    Intact,
    /// Something of it is lost or wrong; findings say what.
    Damaged,
    /// Nobody looked: a quick verification, or one that could not come that far.
    Unchecked,
}

/// One table.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct TableReport {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Rows, as the manifest says.
    pub rows: u64,
    /// Rows that were read; 0 in a quick verification.
    pub rows_read: u64,
    /// Blob references, as the manifest says.
    pub blobs: u64,
    /// What state its rows are in.
    pub state: TableState,
}

/// The answer of a verification.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Report {
    /// [`REPORT_VERSION`].
    pub report_version: u32,
    /// How much was checked.
    pub level: Level,
    /// Whether there is no error among the findings.
    pub ok: bool,
    /// Whether the file needs a newer pgark. Then nothing was checked, and the file is no worse
    /// for it.
    pub too_new: bool,
    /// Length of the file in bytes.
    pub bytes: u64,
    /// Tables that hold rows.
    pub tables: u64,
    /// Rows, as the manifest says.
    pub rows: u64,
    /// Blob references, as the manifest says.
    pub blobs: u64,
    /// Bytes of the blobs referred to, repeats counted, as the manifest says.
    pub blob_bytes: u64,
    /// Objects (packs and segments).
    pub objects: u64,
    /// Distinct chunks of blobs.
    pub chunks: u64,
    /// Distinct blobs that are images, or must be by a rule; large objects are not looked at.
    pub images: u64,
    /// How many of these do not decode.
    pub images_damaged: u64,
    /// Who refers to rows of which a blob is lost or an image damaged.
    pub uses: Vec<Use>,
    /// Findings with severity error, repeats counted.
    pub errors: u64,
    /// Findings with severity warning, repeats counted.
    pub warnings: u64,
    /// Findings with severity note, repeats counted.
    pub notes: u64,
    /// Everything there is to say: errors first.
    pub findings: Vec<Finding>,
    /// Every table that holds rows, in the order of the archive.
    pub table_states: Vec<TableReport>,
}

impl Report {
    /// An empty report.
    pub(super) fn new(level: Level, bytes: u64) -> Self {
        Self {
            report_version: REPORT_VERSION,
            level,
            ok: true,
            too_new: false,
            bytes,
            tables: 0,
            rows: 0,
            blobs: 0,
            blob_bytes: 0,
            objects: 0,
            chunks: 0,
            images: 0,
            images_damaged: 0,
            uses: Vec::new(),
            errors: 0,
            warnings: 0,
            notes: 0,
            findings: Vec::new(),
            table_states: Vec::new(),
        }
    }

    /// Takes the findings and what follows from them.
    pub(super) fn conclude(mut self, findings: Vec<Finding>) -> Self {
        for finding in &findings {
            let count = match finding.severity {
                Severity::Error => &mut self.errors,
                Severity::Warning => &mut self.warnings,
                Severity::Note => &mut self.notes,
            };
            *count = count.saturating_add(finding.count);
        }
        self.ok = self.errors == 0;
        self.too_new = findings.iter().any(|finding| finding.code.is_too_new());
        self.findings = findings;
        self
    }

    /// Whether the rows of a thin archive could not be checked, for want of its base.
    pub fn lacks_base(&self) -> bool {
        self.findings.iter().any(|finding| finding.code.is_of_base())
    }

    /// What the process should end with: 0 no error, 1 errors, 3 not all could be checked, 4 too new.
    pub fn exit_code(&self) -> u8 {
        match (self.too_new, self.lacks_base(), self.ok) {
            (true, ..) => 4,
            (false, true, _) => 3,
            (false, false, true) => 0,
            (false, false, false) => 1,
        }
    }
}
