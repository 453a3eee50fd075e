//! A live database held against rules, in one consistent snapshot and without changing anything.
//!
//! The rules are those that an archive carries or a file gives: how many rows there are, references
//! that no foreign key declares, what the values of `bytea` columns are. Beside them stands what a
//! server lets pass: sequences behind the column they feed, and foreign keys that are not valid.
//! Findings have the codes that [`verify`](crate::verify) has for the same in an archive.
//!
//! Counts and references are the server's own work. Blobs are read by several sessions at a time,
//! and only those that a rule is about.

mod blobs;
mod database;
mod keys;

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::create::{interruptible, runtime};
use crate::format::rules::Rules;
use crate::pg::{Params, PgError, Snapshot};
use crate::progress::{Phase, Progress};
use crate::verify::rules::{self, RuleFile};
use crate::verify::{Code, EXAMPLES, Finding, ImageCheck, Severity};
use database::Database;

/// How to check.
#[derive(Clone, Debug)]
pub struct CheckOptions {
    /// Sessions that read blobs at the same time; at least 1.
    pub jobs: usize,
    /// Bytes of memory for images while they are decoded. Beside them each session holds some 80 MiB
    /// at most, and up to 128 MiB more while it reads an image that is that long.
    pub memory: usize,
    /// How long to wait for a table that somebody else has locked.
    pub lock_timeout: Duration,
    /// How far images are looked into.
    pub images: ImageCheck,
    /// A snapshot that another session exported and keeps open, to look at instead of a new one.
    pub snapshot: Option<String>,
}

/// Where the rules come from.
#[derive(Clone, Copy, Debug)]
pub enum Given<'a> {
    /// A file: names are looked up in the database.
    File(&'a RuleFile),
    /// An archive.
    Carried(&'a Rules),
    /// There are none.
    None,
}

/// Why a database could not be checked.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The server said no, or went away.
    #[error(transparent)]
    Server(#[from] PgError),
    /// A table gave another number of rows than it has.
    #[error("{table}: {read} rows were read and {counted} are there")]
    Count {
        /// The table.
        table: String,
        /// Rows that were read.
        read: u64,
        /// Rows that the server counted in the same snapshot.
        counted: u64,
    },
    /// The person wanted it to stop.
    #[error("interrupted")]
    Interrupted,
    /// A mistake of this program, or a system that gives no threads.
    #[error("internal error: {0}")]
    Internal(String),
}

/// What came of a rule.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RuleState {
    /// It holds.
    Holds,
    /// It does not.
    Broken,
    /// The server cannot compare what it is about.
    Undecided,
}

/// A rule that was checked.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct RuleOutcome {
    /// The rule in words.
    pub rule: String,
    /// What came of it.
    pub state: RuleState,
    /// Rows that were counted, references that were followed, or values that were looked at.
    pub looked_at: u64,
    /// References that lead nowhere, or values with something wrong; 1 of a count that is not as it
    /// must be.
    pub broken: u64,
}

/// What a database is.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Report {
    /// Whether there is no error among the findings.
    pub ok: bool,
    /// Findings with severity error, repeats counted.
    pub errors: u64,
    /// Findings with severity warning, repeats counted.
    pub warnings: u64,
    /// Findings with severity note, repeats counted.
    pub notes: u64,
    /// When the snapshot was taken, RFC 3339 in UTC.
    pub snapshot_time: String,
    /// The server's version.
    pub server_version: String,
    /// Every rule that could be checked.
    pub rules: Vec<RuleOutcome>,
    /// Images that rules asked for and that were looked at, repeats counted.
    pub images: u64,
    /// How many of these do not decode.
    pub images_damaged: u64,
    /// Sequences that feed a column.
    pub sequences: u64,
    /// Foreign keys that the server does not vouch for: NOT VALID or NOT ENFORCED.
    pub unchecked_foreign_keys: u64,
    /// Everything there is to say: errors first.
    pub findings: Vec<Finding>,
}

/// Checks a database. Blocks until it is done; builds its own runtime, so it must not be called from
/// within one.
///
/// # Errors
/// [`CheckError`] where it could not be checked; a database that breaks rules is a [`Report`].
pub fn run(
    params: &Params,
    rules: Given<'_>,
    options: &CheckOptions,
    progress: &Arc<dyn Progress>,
) -> Result<Report, CheckError> {
    let runtime = runtime().map_err(|error| CheckError::Internal(error.to_string()))?;
    let work = check(params, rules, options, progress);
    let done = runtime.block_on(interruptible(progress.as_ref(), work));
    // A session that hangs must not hold this up.
    runtime.shutdown_background();
    done.unwrap_or(Err(CheckError::Interrupted))
}

async fn check(
    params: &Params,
    given: Given<'_>,
    options: &CheckOptions,
    progress: &Arc<dyn Progress>,
) -> Result<Report, CheckError> {
    progress.begin(Phase::Schema, 0, 0);
    let id = options.snapshot.as_deref();
    let snapshot = Snapshot::take_from(params, id, options.lock_timeout).await?;
    let catalog = snapshot.read_catalog().await?;
    let (known, faults) = match given {
        Given::File(file) => {
            let (known, unknown) = rules::resolve(file, &catalog.tables);
            (known, unknown.iter().map(|unknown| format!("the rule on {unknown}")).collect())
        }
        Given::Carried(carried) => rules::check(carried, &catalog.tables),
        Given::None => (Rules::default(), Vec::new()),
    };
    let mut findings: Vec<Finding> =
        faults.into_iter().map(|fault| Finding::new(Code::RuleNamesNothing, fault)).collect();
    let database = Arc::new(Database { snapshot, catalog });
    let mut outcomes = Vec::new();
    progress.begin(Phase::Rules, 0, 0);
    for rule in &known.references {
        progress.on(&rule.table.to_string());
        let (outcome, told) = keys::reference(&database, rule).await?;
        outcomes.push(outcome);
        findings.extend(told);
    }
    for rule in &known.counts {
        progress.on(&rule.table.to_string());
        let (outcome, told) = keys::count(&database, rule).await?;
        outcomes.push(outcome);
        findings.extend(told);
    }
    let mut unchecked_foreign_keys = 0;
    for key in &database.catalog.foreign_keys {
        if key.validated && key.enforced {
            continue;
        }
        progress.on(&key.table.to_string());
        unchecked_foreign_keys += 1;
        findings.extend(keys::unchecked(&database, key).await?);
    }
    progress.on("sequences");
    let (sequences, told) = keys::sequences(&database).await?;
    findings.extend(told);
    let blobs = blobs::check(&database, &known.blobs, options, progress).await?;
    outcomes.extend(blobs.outcomes);
    findings.extend(blobs.findings);
    database.snapshot.check_rewrites().await?;
    if progress.interrupted() {
        return Err(CheckError::Interrupted);
    }

    for finding in &mut findings {
        finding.advice = advice(finding.code).unwrap_or(finding.advice);
    }
    // Stable: within a severity the order of the rules stays.
    findings.sort_by_key(|finding| finding.severity);
    let count = |severity: Severity| {
        let of = findings.iter().filter(|finding| finding.severity == severity);
        of.map(|finding| finding.count).fold(0, u64::saturating_add)
    };
    let errors = count(Severity::Error);
    Ok(Report {
        ok: errors == 0,
        errors,
        warnings: count(Severity::Warning),
        notes: count(Severity::Note),
        snapshot_time: database.catalog.source.snapshot_time.clone(),
        server_version: database.catalog.source.server_version.clone(),
        rules: outcomes,
        images: blobs.images,
        images_damaged: blobs.damaged,
        sequences,
        unchecked_foreign_keys,
        findings,
    })
}

/// What to do about it where it is the database that was looked at: a code's own advice is about an
/// archive.
fn advice(code: Code) -> Option<&'static str> {
    Some(match code {
        Code::RuleNamesNothing => "Correct the rule, or find out where the table or column went.",
        Code::DanglingSoftReference | Code::UncheckedConstraintViolated => {
            "Bring back the rows that are referred to (an archive may have them: see pgark compare), \
             or repair the references."
        }
        Code::CountRule => {
            "Find out where the rows went, or came from; pgark compare with an archive names them."
        }
        Code::SequenceBehind => "Set the sequence with setval() to the column's largest value.",
        Code::BlobEmpty | Code::ImageDamaged | Code::Checksum => {
            "Store the file again; an archive may have it whole (pgark extract)."
        }
        Code::MediaType => "Correct the media type, or store the right file again.",
        Code::Undecided => "Nothing is known to be wrong.",
        _ => return None,
    })
}

/// The examples, and one more finding that stands for the rest.
fn with_rest(mut examples: Vec<Finding>, count: u64) -> Vec<Finding> {
    let told = u64::try_from(examples.len()).unwrap_or(u64::MAX);
    let rest = count.saturating_sub(told);
    if let Some(last) = examples.last().filter(|_| rest > 0) {
        let mut more = Finding::new(last.code, format!("{rest} more of the same"));
        more.table.clone_from(&last.table);
        more.column.clone_from(&last.column);
        more.constraint.clone_from(&last.constraint);
        more.rule.clone_from(&last.rule);
        more.count = rest;
        examples.push(more);
    }
    examples
}

/// How many examples are asked for.
fn limit() -> String {
    format!("LIMIT {EXAMPLES}")
}

/// The number that a query gives.
fn number(rows: &[tokio_postgres::Row]) -> Result<u64, CheckError> {
    let value = rows.first().and_then(|row| row.try_get::<_, i64>(0).ok());
    let value = value.and_then(|value| u64::try_from(value).ok());
    value.ok_or_else(|| CheckError::Internal("a count gave no number".into()))
}
