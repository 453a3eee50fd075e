//! What `guard` says.

use std::path::Path;

use serde::Serialize;

use super::{CheckReport, SCHEMA};

/// A command that was run between an archive and a check.
#[derive(Serialize)]
pub(in crate::cli) struct Guarded<'a> {
    schema: u32,
    command: &'static str,
    file: String,
    ok: bool,
    ran: &'a [String],
    /// None if a signal ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    ended: Option<i32>,
    answers: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    check: Option<CheckReport<'a>>,
}

impl<'a> Guarded<'a> {
    /// What came of `ran`; `check` where the database answered.
    pub(in crate::cli) fn new(
        file: &Path,
        ok: bool,
        ran: &'a [String],
        ended: Option<i32>,
        check: Option<CheckReport<'a>>,
    ) -> Self {
        let (file, answers) = (file.display().to_string(), check.is_some());
        Self { schema: SCHEMA, command: "guard", file, ok, ran, ended, answers, check }
    }
}
