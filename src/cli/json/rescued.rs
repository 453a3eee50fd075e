//! What `rescue` says.

use std::path::Path;

use serde::Serialize;

use super::{Created, SCHEMA, millis};
use crate::cli::hints::chain;
use crate::rescue::{Checksums, Outcome, Page, RescueReport, Why};

/// A data directory that was rescued.
#[derive(Serialize)]
pub(in crate::cli) struct Rescued<'a> {
    schema: u32,
    command: &'static str,
    /// The input.
    file: String,
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    within: Option<String>,
    server: Server<'a>,
    files: u64,
    bytes: u64,
    state: &'a str,
    replayed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_transaction: Option<&'a str>,
    checksums: &'static str,
    bad_pages: Vec<PageOf<'a>>,
    zeroed_pages: Vec<PageOf<'a>>,
    dropped_rows: Vec<RowOf<'a>>,
    log: &'a [String],
    doubts: Vec<DoubtOf<'a>>,
    tablespaces: Vec<Space>,
    #[serde(skip_serializing_if = "Option::is_none")]
    libraries: Option<&'a str>,
    left_out: &'a [String],
    missing_locales: &'a [String],
    collations: Vec<CollationOf<'a>>,
    prepared: &'a [String],
    databases: Vec<DatabaseOf<'a>>,
    copying_millis: u64,
    recovering_millis: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    kept: Option<String>,
}

#[derive(Serialize)]
struct Server<'a> {
    version: &'a str,
    role: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'static str>,
}

#[derive(Serialize)]
struct PageOf<'a> {
    relation: &'a str,
    fork: &'a str,
    block: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    database: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    table: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    holds: Option<&'static str>,
}

#[derive(Serialize)]
struct RowOf<'a> {
    database: &'a str,
    table: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    place: &'a str,
    message: &'a str,
}

#[derive(Serialize)]
struct DoubtOf<'a> {
    kind: &'static str,
    message: &'a str,
}

#[derive(Serialize)]
struct Space {
    oid: u32,
    was: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    found: Option<String>,
}

#[derive(Serialize)]
struct CollationOf<'a> {
    database: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    was: &'a str,
    here: &'a str,
}

#[derive(Serialize)]
struct DatabaseOf<'a> {
    name: &'a str,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    archive: Option<Created<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
}

impl<'a> Rescued<'a> {
    /// What `rescue` says.
    pub(in crate::cli) fn new(input: &Path, report: &'a RescueReport) -> Self {
        let shown = |path: &Path| path.display().to_string();
        Self {
            schema: SCHEMA,
            command: "rescue",
            file: shown(input),
            ok: report.ok(),
            within: Some(shown(&report.within)).filter(|within| !within.is_empty()),
            server: Server {
                version: &report.server_version,
                role: &report.role,
                user: report.server_user,
            },
            files: report.files,
            bytes: report.bytes,
            state: &report.state,
            replayed: report.replayed,
            last_transaction: report.last_transaction.as_deref(),
            checksums: match &report.evidence.checksums {
                Checksums::Off => "off",
                Checksums::Checked => "checked",
                Checksums::Unchecked => "unchecked",
                Checksums::Stopped(_) => "stopped",
            },
            bad_pages: report.evidence.bad_pages.iter().map(page).collect(),
            zeroed_pages: report.evidence.zeroed_pages.iter().map(page).collect(),
            dropped_rows: report
                .evidence
                .dropped
                .iter()
                .map(|row| RowOf {
                    database: &row.database,
                    table: &row.table,
                    key: row.key.as_deref(),
                    place: &row.place,
                    message: &row.why,
                })
                .collect(),
            log: &report.evidence.log,
            doubts: report
                .doubts
                .iter()
                .map(|doubt| DoubtOf { kind: doubt.kind, message: &doubt.words })
                .collect(),
            tablespaces: report
                .tablespaces
                .iter()
                .map(|space| Space {
                    oid: space.oid,
                    was: shown(&space.was),
                    found: space.found.as_deref().map(shown),
                })
                .collect(),
            libraries: report.libraries.as_deref(),
            left_out: &report.left_out,
            missing_locales: &report.missing_locales,
            collations: report
                .collations
                .iter()
                .map(|collation| CollationOf {
                    database: &collation.database,
                    name: collation.name.as_deref(),
                    was: &collation.was,
                    here: &collation.here,
                })
                .collect(),
            prepared: &report.prepared,
            databases: report.databases.iter().map(database).collect(),
            copying_millis: millis(report.copying),
            recovering_millis: millis(report.recovering),
            kept: report.kept.as_deref().map(shown),
        }
    }
}

fn page(page: &Page) -> PageOf<'_> {
    let owner = page.owner.as_ref();
    PageOf {
        relation: &page.relation,
        fork: &page.fork,
        block: page.block,
        database: owner.map(|owner| owner.database.as_str()),
        table: owner.map(|owner| owner.table.as_str()),
        holds: owner.map(|owner| owner.part.word()),
    }
}

fn database(outcome: &Outcome) -> DatabaseOf<'_> {
    DatabaseOf {
        name: &outcome.name,
        state: match (&outcome.archive, &outcome.why) {
            (Some(_), _) => "saved",
            (None, Some(Why::NotWanted)) => "not-wanted",
            (None, Some(Why::Empty)) => "empty",
            (None, Some(Why::Invalid)) => "invalid",
            (None, _) => "failed",
        },
        archive: outcome.archive.as_ref().map(Created::new),
        message: match &outcome.why {
            Some(Why::Failed(error)) => Some(chain(&**error)),
            _ => None,
        },
    }
}
