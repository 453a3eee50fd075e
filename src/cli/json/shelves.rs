//! What `list` and `prune` say.

use serde::Serialize;

use super::SCHEMA;
use crate::profile::shelf::Shelved;

/// Archives in folders.
#[derive(Serialize)]
pub(in crate::cli) struct Listed<'a> {
    schema: u32,
    command: &'static str,
    ok: bool,
    folders: Vec<Folder<'a>>,
}

impl<'a> Listed<'a> {
    /// What `list` says; `ok` if none is damaged.
    pub(in crate::cli) fn new(ok: bool, folders: Vec<Folder<'a>>) -> Self {
        Self { schema: SCHEMA, command: "list", ok, folders }
    }
}

/// The archives of a folder.
#[derive(Serialize)]
#[expect(clippy::struct_field_names, reason = "these are the names in the JSON")]
pub(in crate::cli) struct Folder<'a> {
    /// The profile whose it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) profile: Option<&'a str>,
    /// The folder.
    pub(in crate::cli) folder: String,
    /// Its archives.
    pub(in crate::cli) archives: Vec<ListedArchive<'a>>,
}

/// One archive.
#[derive(Serialize)]
pub(in crate::cli) struct ListedArchive<'a> {
    file: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    series: Option<&'a str>,
    bytes: u64,
    latest: bool,
    created: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    manifest: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    database: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    base: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tables: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rows: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    blobs: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    images: Option<u64>,
    verdict: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    verified: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
}

impl<'a> ListedArchive<'a> {
    /// What is known of it.
    pub(in crate::cli) fn new(archive: &'a Shelved) -> Self {
        let facts = archive.facts.as_ref().ok();
        let verdict = archive.verdict.as_ref();
        Self {
            file: archive.path.display().to_string(),
            series: archive.series.as_deref(),
            bytes: archive.bytes,
            latest: archive.latest,
            created: archive.created(),
            manifest: facts.map(|facts| facts.identity.manifest.to_string()),
            database: facts.map(|facts| facts.database.as_str()),
            base: facts.and_then(|facts| facts.base).map(|base| base.to_string()),
            tables: facts.map(|facts| facts.tables),
            rows: facts.map(|facts| facts.rows),
            blobs: facts.map(|facts| facts.blobs),
            images: verdict.map(|verdict| verdict.images),
            verdict: match (&archive.facts, verdict) {
                (Err(_), _) => "unreadable",
                (Ok(_), None) => "none",
                (Ok(_), Some(verdict)) => verdict.verdict.word(),
            },
            verified: verdict.map(|verdict| verdict.verified),
            problem: archive.facts.as_ref().err().map(ToString::to_string),
        }
    }
}

/// What was pruned, or would be.
#[derive(Serialize)]
pub(in crate::cli) struct Pruned<'a> {
    schema: u32,
    command: &'static str,
    ok: bool,
    dry_run: bool,
    archives: Vec<Removed<'a>>,
    removed: u64,
    removed_bytes: u64,
}

/// One archive that was looked at.
#[derive(Serialize)]
pub(in crate::cli) struct Removed<'a> {
    /// The file.
    pub(in crate::cli) file: String,
    /// Its series.
    pub(in crate::cli) series: &'a str,
    /// Its length.
    pub(in crate::cli) bytes: u64,
    /// Why it is kept; empty if it is not.
    pub(in crate::cli) kept: Vec<String>,
}

impl<'a> Pruned<'a> {
    /// What `prune` says.
    pub(in crate::cli) fn new(dry_run: bool, archives: Vec<Removed<'a>>) -> Self {
        let gone = archives.iter().filter(|archive| archive.kept.is_empty());
        let (removed, removed_bytes) =
            gone.fold((0, 0), |(count, bytes), one| (count + 1, bytes + one.bytes));
        Self {
            schema: SCHEMA,
            command: "prune",
            ok: true,
            dry_run,
            archives,
            removed,
            removed_bytes,
        }
    }
}
