//! The target read back, in a snapshot of its own and by the same reader as a backup, and compared
//! with the archive: rows by count and digest, sequences by value.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::{Choices, Outcome, RestoreError, RestoreFinding, RestoreOptions, TableOutcome};
use crate::create::digesting::DigestSink;
use crate::create::pump::{self, Mode, Reading, What, has_rows};
use crate::format::digest::RowSum;
use crate::format::manifest::{Manifest, Sequence, Table, TableData};
use crate::pg::{self, Params, Snapshot};
use crate::progress::Progress;

/// Nobody else should be at work in a database that was empty a moment ago.
const LOCK_TIMEOUT: Duration = Duration::from_secs(60);

pub(super) struct Compared {
    pub(super) tables: Vec<TableOutcome>,
    pub(super) large_objects: Option<Outcome>,
    pub(super) findings: Vec<RestoreFinding>,
    pub(super) equal: bool,
}

pub(super) async fn compare(
    manifest: &Manifest,
    target: &Params,
    options: &RestoreOptions,
    choices: &Choices,
    progress: &Arc<dyn Progress>,
) -> Result<Compared, RestoreError> {
    let snapshot = Arc::new(Snapshot::take(target, LOCK_TIMEOUT).await?);
    let mut catalog = pg::read_catalog(snapshot.lead()).await?;
    if choices.data_only {
        // What else is in the target is none of ours.
        let ours: HashSet<_> = manifest.tables.iter().map(|table| &table.name).collect();
        let mut tables = std::mem::take(&mut catalog.tables).into_iter();
        catalog.facts.retain(|_| {
            let table = tables.next().filter(|table| ours.contains(&table.name));
            let is_ours = table.is_some();
            catalog.tables.extend(table);
            is_ours
        });
        if manifest.large_objects.is_none() {
            catalog.large_objects = 0;
        }
    }
    let parts = pg::plan(&catalog);
    // Columns in the archive's order: the target's may be another, where tables inherit.
    let ours: HashMap<_, _> = manifest.tables.iter().map(|table| (&table.name, table)).collect();
    let tables: Vec<Table> = catalog
        .tables
        .iter()
        .map(|theirs| match ours.get(&theirs.name) {
            Some(table) if has_rows(table) == has_rows(theirs) => (*table).clone(),
            _ => theirs.clone(),
        })
        .collect();
    let tables = Arc::new(tables);
    let reading = Reading {
        snapshot: Arc::clone(&snapshot),
        tables: Arc::clone(&tables),
        parts,
        large_objects: catalog.large_objects > 0,
        jobs: options.jobs,
        memory: options.memory,
        progress: Arc::clone(progress),
        mode: Mode::Digest,
    };
    let sums = match pump::pump(reading, DigestSink::default()).await {
        Ok(sink) => sink.sums,
        Err(error) => return Err(RestoreError::Compare(error)),
    };
    let sequences = pg::read_sequences(snapshot.lead(), &catalog.sequences).await?;

    let of = |wanted: What| sums.iter().find(|(what, _)| *what == wanted).map(|(_, sum)| *sum);
    let by_name: HashMap<_, _> =
        tables.iter().enumerate().map(|(at, table)| (&table.name, at)).collect();
    let mut outcomes = Vec::new();
    let mut findings = Vec::new();
    for table in &manifest.tables {
        let Some(data) = table.data else { continue };
        let sum = by_name.get(&table.name).and_then(|at| of(What::Table(*at)));
        let outcome = outcome(Some(data), sum);
        if sum.is_none() {
            findings.push(difference("TABLE", table.name.to_string(), "it is not there"));
        } else if !outcome.equal {
            findings.push(difference("TABLE", table.name.to_string(), &different(outcome)));
        }
        outcomes.push(TableOutcome { name: table.name.clone(), outcome });
    }
    for theirs in tables.iter().filter(|theirs| !ours.contains_key(&theirs.name)) {
        let message = "it is not in the archive";
        findings.push(difference("TABLE", theirs.name.to_string(), message));
    }
    let found = of(What::LargeObjects);
    let large_objects = (manifest.large_objects.is_some() || found.is_some())
        .then(|| outcome(manifest.large_objects, found.or(Some(RowSum::default()))));
    // Owner and privileges are part of a large object's row. If those are others by choice, the
    // digests cannot be the same, and the number is all there is to compare.
    let others = choices.no_owner || choices.no_privileges || !choices.roles.is_empty();
    let large_objects = large_objects.map(|outcome| {
        if others && !outcome.equal && outcome.rows == outcome.expected {
            progress.note(
                "large objects were compared by their number alone: their owners or privileges \
                 were to be others",
            );
            return Outcome { equal: true, ..outcome };
        }
        outcome
    });
    if let Some(outcome) = large_objects.filter(|outcome| !outcome.equal) {
        findings.push(difference("BLOBS", "large objects".into(), &different(outcome)));
    }
    compare_sequences(manifest, &sequences, &mut findings);
    let equal = findings.is_empty();
    Ok(Compared { tables: outcomes, large_objects, findings, equal })
}

fn outcome(data: Option<TableData>, sum: Option<RowSum>) -> Outcome {
    let expected = data.map_or(0, |data| data.rows);
    let digest = data.map_or_else(|| RowSum::default().digest(), |data| data.digest);
    Outcome {
        expected,
        rows: sum.map_or(0, |sum| sum.rows),
        equal: sum.is_some_and(|sum| sum.rows == expected && sum.digest() == digest),
    }
}

fn different(outcome: Outcome) -> String {
    if outcome.rows == outcome.expected {
        format!("its {} rows are not those of the archive", outcome.rows)
    } else {
        format!("it has {} rows, the archive {}", outcome.rows, outcome.expected)
    }
}

fn difference(kind: &str, object: String, message: &str) -> RestoreFinding {
    RestoreFinding { kind: kind.into(), object, message: message.into(), statement: None }
}

fn compare_sequences(manifest: &Manifest, found: &[Sequence], findings: &mut Vec<RestoreFinding>) {
    let found: HashMap<_, _> = found.iter().map(|sequence| (&sequence.name, sequence)).collect();
    for sequence in &manifest.sequences {
        let message = match found.get(&sequence.name) {
            None => "it is not there".to_owned(),
            Some(theirs)
                if (theirs.last_value, theirs.is_called)
                    != (sequence.last_value, sequence.is_called) =>
            {
                format!("it is at {}, the archive's at {}", theirs.last_value, sequence.last_value)
            }
            Some(_) => continue,
        };
        findings.push(difference("SEQUENCE", sequence.name.to_string(), &message));
    }
}
