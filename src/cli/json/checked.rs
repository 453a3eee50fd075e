//! What `check` and `drill` say.

use std::path::Path;

use serde::Serialize;

use super::{Restored, SCHEMA, Verified, millis};
use crate::check;
use crate::compare::Comparison;
use crate::drill::DrillReport;

/// A database held against rules and an archive.
#[derive(Serialize)]
pub(in crate::cli) struct CheckReport<'a> {
    schema: u32,
    command: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    database: &'a str,
    ok: bool,
    strict: bool,
    lost: &'a [String],
    changed: &'a [String],
    checked: &'a check::Report,
    #[serde(skip_serializing_if = "Option::is_none")]
    comparison: Option<&'a Comparison>,
}

impl<'a> CheckReport<'a> {
    /// What `check` says.
    pub(in crate::cli) fn new(
        file: Option<&Path>,
        database: &'a str,
        ok: bool,
        strict: bool,
        checked: &'a check::Report,
        [lost, changed]: [&'a [String]; 2],
        comparison: Option<&'a Comparison>,
    ) -> Self {
        Self {
            schema: SCHEMA,
            command: "check",
            file: file.map(|file| file.display().to_string()),
            database,
            ok,
            strict,
            lost,
            changed,
            checked,
            comparison,
        }
    }
}

/// A drill that was held.
#[derive(Serialize)]
pub(in crate::cli) struct Drilled<'a> {
    schema: u32,
    command: &'static str,
    file: String,
    ok: bool,
    server: DrillServer<'a>,
    roles: &'a [String],
    tablespaces: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    other_locale: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    damaged: Option<Verified<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    restored: Option<Restored<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    checked: Option<&'a check::Report>,
    starting_millis: u64,
    checking_millis: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    kept: Option<KeptServer<'a>>,
}

#[derive(Serialize)]
struct DrillServer<'a> {
    wanted: u32,
    version: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'static str>,
}

#[derive(Serialize)]
struct KeptServer<'a> {
    folder: String,
    database: &'a str,
}

impl<'a> Drilled<'a> {
    /// What `drill` says.
    pub(in crate::cli) fn new(file: &Path, report: &'a DrillReport) -> Self {
        Self {
            schema: SCHEMA,
            command: "drill",
            file: file.display().to_string(),
            ok: report.ok(),
            server: DrillServer {
                wanted: report.wanted,
                version: &report.server_version,
                user: report.server_user,
            },
            roles: &report.roles,
            tablespaces: &report.tablespaces,
            other_locale: report.other_locale.as_deref(),
            damaged: report
                .damaged
                .as_ref()
                .map(|verified| Verified::new(file, verified, false, 0)),
            restored: report
                .restored
                .as_ref()
                .map(|restored| Restored::new(file, "a throwaway server", restored)),
            checked: report.checked.as_ref(),
            starting_millis: millis(report.starting),
            checking_millis: millis(report.checking),
            kept: report.kept.as_ref().map(|kept| KeptServer {
                folder: kept.folder.display().to_string(),
                database: &kept.database,
            }),
        }
    }
}
