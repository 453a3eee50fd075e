//! What a comparison says.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use super::Kind;
use crate::format::manifest::{Manifest, Name, Sequence, Table};
use crate::format::rows;

/// Most characters of a value that are kept of an example.
const SHOWN: usize = 256;

/// What all of it comes to.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// No difference.
    #[default]
    Equal,
    /// Everything that the archive holds is there as it was; there are other differences.
    AllThere,
    /// Something that the archive holds is not there, or not as it was.
    Missing,
}

/// Where something is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// In both, the same.
    #[default]
    Equal,
    /// Only in the archive.
    OnlyHere,
    /// In both, not the same.
    Changed,
    /// Only in what it is compared with.
    OnlyThere,
}

/// An archive compared with something.
#[derive(Clone, Default, Debug, Serialize)]
pub struct Comparison {
    /// What it comes to.
    pub verdict: Verdict,
    /// Objects of the schema that differ; absent if schemas were not compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub objects: Option<Vec<ObjectDifference>>,
    /// The versions of `pg_dump` that wrote the schemas, where they differ.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pg_dump_versions: Option<[String; 2]>,
    /// How many sequences the archive has.
    pub sequences_compared: u64,
    /// Sequences that differ.
    pub sequences: Vec<SequenceDifference>,
    /// Every table that has rows of its own on either side, in order of name.
    pub tables: Vec<TableComparison>,
    /// The large objects, if there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub large_objects: Option<TableComparison>,
}

/// An object of the schema that differs.
#[derive(Clone, Debug, Serialize)]
pub struct ObjectDifference {
    /// `pg_dump`'s word for it.
    pub kind: String,
    /// The schema it is in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_schema: Option<String>,
    /// Its name.
    pub name: String,
    /// Where it is.
    pub state: State,
    /// Its SQL in the archive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub here: Option<String>,
    /// Its SQL in the other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub there: Option<String>,
}

/// Where a sequence is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct SequenceValue {
    /// `last_value`.
    pub last_value: i64,
    /// `is_called`.
    pub is_called: bool,
}

/// A sequence that differs.
#[derive(Clone, Debug, Serialize)]
pub struct SequenceDifference {
    /// Its name.
    #[serde(flatten)]
    pub name: Name,
    /// Where it is.
    pub state: State,
    /// Whether it would give numbers that it had given already when the archive was made.
    pub behind: bool,
    /// Its value in the archive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub here: Option<SequenceValue>,
    /// Its value in the other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub there: Option<SequenceValue>,
}

/// A column that differs.
#[derive(Clone, Debug, Serialize)]
pub struct ColumnDifference {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub state: State,
    /// Its type in the archive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub here: Option<String>,
    /// Its type in the other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub there: Option<String>,
}

/// In how many rows a column has another value.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ChangedColumn {
    /// The column.
    pub name: String,
    /// How many rows.
    pub rows: u64,
    /// Of these, rows where it has a value in the archive and is NULL there.
    pub now_null: u64,
}

/// A table compared.
#[derive(Clone, Debug, Serialize)]
pub struct TableComparison {
    /// The table; of large objects, two empty names.
    #[serde(flatten)]
    pub name: Name,
    /// Whether it is the same.
    pub state: State,
    /// Whether it is partitioned in one of them alone, so that rows are not compared.
    pub other_kind: bool,
    /// Rows in the archive.
    pub rows_here: u64,
    /// Rows in the other.
    pub rows_there: u64,
    /// Rows only in the archive.
    pub only_here: u64,
    /// Rows in both that differ.
    pub changed: u64,
    /// Rows only in the other.
    pub only_there: u64,
    /// The columns by which rows were matched; none: rows are matched whole, or were not looked at.
    pub key: Vec<String>,
    /// Columns that differ in themselves.
    pub columns: Vec<ColumnDifference>,
    /// Which columns of changed rows have other values.
    pub changed_columns: Vec<ChangedColumn>,
    /// The first rows of each kind.
    pub examples: Vec<RowDifference>,
}

/// A row that differs.
#[derive(Clone, Debug, Serialize)]
pub struct RowDifference {
    /// How.
    pub kind: Kind,
    /// Its key; of a table without one, all of the row.
    pub key: Vec<Cell>,
    /// Of a changed row, the values that differ.
    pub cells: Vec<Cell>,
}

/// A value of a row. Blobs are `#<sha256>:<length>`, long values are cut.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Cell {
    /// The column.
    pub column: String,
    /// In the archive; absent for NULL, or if the row is not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub here: Option<String>,
    /// In the other; absent for NULL, or if the row is not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub there: Option<String>,
}

impl TableComparison {
    pub(super) fn new(table: &Table) -> Self {
        Self::named(table.name.clone(), table.data.map_or(0, |data| data.rows))
    }

    pub(super) fn large_objects(rows: u64) -> Self {
        Self::named(Name::new("", ""), rows)
    }

    fn named(name: Name, rows_here: u64) -> Self {
        Self {
            name,
            state: State::Equal,
            other_kind: false,
            rows_here,
            rows_there: 0,
            only_here: 0,
            changed: 0,
            only_there: 0,
            key: Vec::new(),
            columns: Vec::new(),
            changed_columns: Vec::new(),
            examples: Vec::new(),
        }
    }

    pub(super) fn settle(&mut self) {
        let rows = self.only_here + self.changed + self.only_there;
        if rows > 0 || !self.columns.is_empty() {
            self.state = State::Changed;
        }
        self.changed_columns.retain(|column| column.rows > 0);
    }

    /// Whether something of the archive is not there as it was.
    pub fn is_missing(&self) -> bool {
        let column = self.columns.iter().any(|column| column.state == State::OnlyHere);
        self.state == State::OnlyHere
            || self.other_kind
            || self.only_here + self.changed > 0
            || column
    }
}

impl Comparison {
    pub(super) fn decide(&mut self) {
        let objects = self.objects.as_deref().unwrap_or_default();
        let tables = || self.tables.iter().chain(&self.large_objects);
        let missing = tables().any(TableComparison::is_missing)
            || objects.iter().any(|object| object.state == State::OnlyHere)
            || self.sequences.iter().any(|seq| seq.behind || seq.state == State::OnlyHere);
        let equal = tables().all(|table| table.state == State::Equal)
            && objects.is_empty()
            && self.sequences.is_empty();
        self.verdict = match (equal, missing) {
            (true, _) => Verdict::Equal,
            (false, false) => Verdict::AllThere,
            (false, true) => Verdict::Missing,
        };
    }
}

/// Takes in a row that differs.
pub(super) fn row(
    outcome: &mut TableComparison,
    columns: &[String],
    key: &[usize],
    kind: Kind,
    here: &[u8],
    there: &[u8],
    example: bool,
) {
    let ours: Vec<&[u8]> = rows::fields(here).collect();
    let theirs: Vec<&[u8]> = rows::fields(there).collect();
    let cell = |at: usize| Cell {
        column: columns.get(at).cloned().unwrap_or_default(),
        here: ours.get(at).filter(|_| kind != Kind::OnlyThere).and_then(|field| shown(field)),
        there: theirs.get(at).filter(|_| kind != Kind::OnlyHere).and_then(|field| shown(field)),
    };
    let mut cells = Vec::new();
    if kind == Kind::Changed {
        if outcome.changed_columns.is_empty() {
            let named = |name: &String| ChangedColumn { name: name.clone(), rows: 0, now_null: 0 };
            outcome.changed_columns = columns.iter().map(named).collect();
        }
        for (at, column) in outcome.changed_columns.iter_mut().enumerate() {
            let (ours, theirs) = (ours.get(at), theirs.get(at));
            if ours != theirs {
                column.rows += 1;
                column.now_null += u64::from(theirs.is_some_and(|field| **field == *b"\\N"));
                if example {
                    cells.push(cell(at));
                }
            }
        }
    }
    if example {
        let whole: Vec<usize> = (0..columns.len()).collect();
        let key = if key.is_empty() { &whole } else { key };
        let key = key.iter().map(|at| cell(*at)).collect();
        outcome.examples.push(RowDifference { kind, key, cells });
    }
}

/// A field for people; none for NULL.
fn shown(field: &[u8]) -> Option<String> {
    // What is no field is shown as it is: verify says what is wrong with it.
    let value = rows::unescape(field).unwrap_or(Some(field.into()))?;
    let text = String::from_utf8_lossy(value.get(..4 * SHOWN).unwrap_or(&value));
    let mut out: String = text.chars().take(SHOWN).collect();
    if out.len() < value.len() && (value.len() > 4 * SHOWN || text.chars().count() > SHOWN) {
        out.push('…');
    }
    Some(out)
}

/// The sequences that differ.
pub(super) fn sequences(here: &Manifest, there: &[Sequence]) -> Vec<SequenceDifference> {
    let value = |sequence: &Sequence| SequenceValue {
        last_value: sequence.last_value,
        is_called: sequence.is_called,
    };
    let ours: BTreeMap<&Name, &Sequence> = here.sequences.iter().map(|s| (&s.name, s)).collect();
    let theirs: HashMap<&Name, &Sequence> = there.iter().map(|s| (&s.name, s)).collect();
    let mut out = Vec::new();
    for (name, sequence) in &ours {
        let other = theirs.get(name);
        if other.is_some_and(|other| value(other) == value(sequence)) {
            continue;
        }
        out.push(SequenceDifference {
            name: (*name).clone(),
            state: if other.is_some() { State::Changed } else { State::OnlyHere },
            behind: other.is_some_and(|other| is_behind(sequence, other)),
            here: Some(value(sequence)),
            there: other.map(|other| value(other)),
        });
    }
    let mut new: Vec<&Sequence> = there.iter().filter(|s| !ours.contains_key(&s.name)).collect();
    new.sort_by(|a, b| a.name.cmp(&b.name));
    out.extend(new.into_iter().map(|sequence| SequenceDifference {
        name: sequence.name.clone(),
        state: State::OnlyThere,
        behind: false,
        here: None,
        there: Some(value(sequence)),
    }));
    out
}

fn is_behind(here: &Sequence, there: &Sequence) -> bool {
    let (ours, theirs) = (here.last_value, there.last_value);
    let less = if here.increment < 0 { theirs > ours } else { theirs < ours };
    less || theirs == ours && here.is_called && !there.is_called
}
