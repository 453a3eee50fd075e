//! What differs between an archive and another archive, or a live database.
//!
//! First the cheap question: are count and digest of each table's rows the same? Only where they
//! are not are rows looked at, matched by primary key (or by a unique key that holds no NULL; or,
//! without either, as a multiset of rows). Columns are matched by name.
//!
//! The archive is called *here*, what it is compared with *there*.
//!
//! Memory: what [`CompareOptions::memory`] says, one row of each side, the schemas, and the
//! examples that are kept. Of tables that differ, the row text of both sides (blobs by reference)
//! is in scratch files for as long as the table is looked at.

mod archive;
#[cfg(feature = "postgres")]
mod live;
mod order;
mod report;
mod rows;
mod schema;
mod sql;

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

#[cfg(feature = "postgres")]
pub use self::live::{Live, LiveOptions};
pub use self::report::{
    Cell, ChangedColumn, ColumnDifference, Comparison, ObjectDifference, RowDifference,
    SequenceDifference, SequenceValue, State, TableComparison, Verdict,
};
pub use self::rows::{Collector, Kind};
use self::rows::{Difference, Side};
pub use self::schema::SchemaTexts;
pub use self::sql::{Scope, Statements};
use crate::format::digest::{Digest, RowSum};
use crate::format::manifest::{Column, Name, Sequence, Table, TableData, TableKind};
use crate::format::reader::{Archive, ReadError};
use crate::progress::{Phase, Progress};

/// How to compare.
#[derive(Clone, Copy, Debug)]
pub struct CompareOptions {
    /// How many examples of each kind of difference are kept for each table.
    pub examples: usize,
    /// Bytes of memory for sorting.
    pub memory: usize,
    /// Whether schemas are compared too.
    pub schema: bool,
}

/// Why there is no comparison.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// An archive cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// An archive's table has another number of rows than its manifest says.
    #[error("{read} rows are there where the manifest says {sealed}")]
    Rows {
        /// Rows that were read.
        read: u64,
        /// Rows of the manifest.
        sealed: u64,
    },
    /// A row of an archive is not one.
    #[error("{table}: {problem}")]
    Row {
        /// The table.
        table: String,
        /// What is wrong.
        problem: String,
    },
    /// Something about one table.
    #[error("{table}: {source}")]
    Table {
        /// The table.
        table: String,
        /// What happened.
        source: Box<CompareError>,
    },
    /// Scratch files cannot be made, written or read, or what is written to them is no row.
    #[error("scratch files: {0}")]
    Scratch(#[source] io::Error),
    /// Statements cannot be written.
    #[error("the statements could not be written: {0}")]
    Output(#[source] io::Error),
    /// A value that no statement can carry.
    #[error("{table}.{column} has a value of {bytes} bytes, too long for an SQL statement")]
    TooLong {
        /// The table.
        table: String,
        /// The column.
        column: String,
        /// The value's length.
        bytes: u64,
    },
    /// The server said no, or went away.
    #[cfg(feature = "postgres")]
    #[error(transparent)]
    Server(#[from] crate::pg::PgError),
    /// The schema could not be had from `pg_dump`.
    #[cfg(feature = "postgres")]
    #[error(transparent)]
    Schema(#[from] crate::pg::DumpError),
    /// The rows could not be had, or do not add up.
    #[cfg(feature = "postgres")]
    #[error(transparent)]
    Pump(crate::create::pump::PumpError),
    /// The person wanted it to stop.
    #[error("interrupted")]
    Interrupted,
    /// A mistake of this program, or a system that gives no threads.
    #[error("internal error: {0}")]
    Internal(String),
}

impl CompareError {
    fn of(self, table: &str) -> Self {
        match self {
            Self::Interrupted => Self::Interrupted,
            error @ (Self::Output(_) | Self::TooLong { .. } | Self::Row { .. }) => error,
            error => Self::Table { table: table.to_owned(), source: Box::new(error) },
        }
    }

    /// Whether it ended because the person wanted it to.
    pub fn is_interrupted(&self) -> bool {
        matches!(self, Self::Interrupted)
    }
}

/// Rows that are compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum What {
    /// Those of the table of this number in [`There::tables`].
    Table(usize),
    /// The large objects.
    LargeObjects,
}

/// Rows that are compared, and which columns of them, in which order.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The rows.
    pub what: What,
    /// The columns.
    pub columns: Vec<String>,
}

/// What an archive is compared with.
pub trait There {
    /// Its tables.
    fn tables(&self) -> &[Table];
    /// Whether it has large objects.
    fn has_large_objects(&self) -> bool;
    /// Its schema.
    fn schema(&mut self, progress: &dyn Progress) -> Result<SchemaTexts, CompareError>;
    /// Count and digest of rows, with the columns in the order asked for; none where they are not
    /// to be had without reading the rows one by one. Large objects are asked for last.
    fn sums(
        &mut self,
        wanted: &[Wanted],
        progress: &Arc<dyn Progress>,
    ) -> Result<Vec<Option<(u64, Digest)>>, CompareError>;
    /// Gives rows to the collector that `make` makes; it is told which fields of the text are
    /// wanted, if these are not all in order.
    fn rows(
        &mut self,
        wanted: &Wanted,
        make: &dyn Fn(Option<Vec<usize>>) -> Result<Collector, CompareError>,
        progress: &Arc<dyn Progress>,
    ) -> Result<Collector, CompareError>;
    /// How many rows a table has.
    fn count(&mut self, table: usize, progress: &dyn Progress) -> Result<u64, CompareError>;
    /// Its sequences and their values; asked for after the rows.
    fn sequences(&mut self, progress: &dyn Progress) -> Result<Vec<Sequence>, CompareError>;
    /// Says whether what was read can be believed.
    fn finish(&mut self, progress: &dyn Progress) -> Result<(), CompareError>;
}

/// Rows of both sides that are held against each other.
struct Pair<'a> {
    /// Absent: the large objects.
    here: Option<&'a Table>,
    data: Option<TableData>,
    wanted: Wanted,
    shown: String,
    /// Places of the key in `wanted.columns`; none: rows are matched whole.
    key: Vec<usize>,
    /// The columns compared, as the archive has them; none of large objects.
    columns: Vec<&'a Column>,
}

/// The fields of a large object's row.
const LARGE_OBJECT: [&str; 5] = ["oid", "owner", "acl", "comment", "data"];

/// Compares `here` with `there`; with `statements`, writes what would bring back what is lost.
///
/// # Errors
/// [`CompareError`]. What was written of the statements then has no end and no `COMMIT`.
pub fn run(
    here: &Archive,
    there: &mut dyn There,
    options: &CompareOptions,
    mut statements: Option<&mut Statements<'_>>,
    progress: &Arc<dyn Progress>,
) -> Result<Comparison, CompareError> {
    let manifest = here.manifest();
    let mut comparison = Comparison::default();
    progress.begin(Phase::Schema, 0, 0);
    if options.schema {
        let theirs = there.schema(progress.as_ref())?;
        let ours = archive::texts(here)?;
        if ours.pg_dump_version != theirs.pg_dump_version {
            comparison.pg_dump_versions =
                Some([ours.pg_dump_version.clone(), theirs.pg_dump_version.clone()]);
        }
        comparison.objects = Some(schema::differences(&ours, &theirs));
    }

    let theirs: Vec<Table> = there.tables().to_vec();
    let by_name: HashMap<&Name, usize> =
        theirs.iter().enumerate().map(|(number, table)| (&table.name, number)).collect();
    let order = order::of(manifest);
    let mut pairs = Vec::new();
    for number in &order.tables {
        let Some(ours) = manifest.tables.get(*number) else { continue };
        let mut outcome = TableComparison::new(ours);
        match by_name.get(&ours.name).and_then(|at| theirs.get(*at).map(|table| (*at, table))) {
            None if ours.kind == TableKind::Partitioned => {}
            None => {
                outcome.state = State::OnlyHere;
                outcome.only_here = outcome.rows_here;
            }
            Some((_, table)) if partitioned(ours) != partitioned(table) => {
                outcome.state = State::Changed;
                outcome.other_kind = true;
            }
            Some((_, table)) if partitioned(table) => continue,
            Some((at, table)) => {
                outcome.columns = columns(ours, table);
                pairs.push((comparison.tables.len(), pair(ours, table, at)));
            }
        }
        if ours.kind != TableKind::Partitioned || outcome.other_kind {
            comparison.tables.push(outcome);
        }
    }
    let large_objects = manifest.large_objects.is_some() || there.has_large_objects();
    if large_objects {
        let rows = manifest.large_objects.map_or(0, |data| data.rows);
        comparison.large_objects = Some(TableComparison::large_objects(rows));
    }
    let whole = large_objects.then(|| Pair {
        here: None,
        data: manifest.large_objects,
        wanted: Wanted {
            what: What::LargeObjects,
            columns: LARGE_OBJECT.map(str::to_owned).to_vec(),
        },
        shown: "large objects".into(),
        key: vec![0],
        columns: Vec::new(),
    });

    progress.begin(Phase::Compare, 0, 0);
    let wanted: Vec<Wanted> =
        pairs.iter().map(|(_, pair)| pair).chain(&whole).map(|pair| pair.wanted.clone()).collect();
    let sums = there.sums(&wanted, progress)?;
    progress.begin(Phase::Differences, 0, 0);
    let mut sums = sums.into_iter();
    let all = pairs.iter().map(|(at, pair)| (Some(*at), pair));
    for (at, pair) in all.chain(whole.iter().map(|pair| (None, pair))) {
        let sum = sums.next().flatten();
        let outcome = match at {
            Some(at) => comparison.tables.get_mut(at),
            None => comparison.large_objects.as_mut(),
        };
        let Some(outcome) = outcome else { continue };
        let ours = pair
            .data
            .map_or_else(|| (0, RowSum::default().digest()), |data| (data.rows, data.digest));
        let ordered =
            pair.here.is_none_or(|table| archive::fields(table, &pair.wanted.columns).is_none());
        let equal = ordered && sum == Some(ours);
        if let Some((rows, _)) = sum {
            outcome.rows_there = rows;
        }
        if !equal {
            progress.on(&pair.shown);
            let sql = statements.as_deref_mut().map(|statements| (statements, &order));
            table(here, there, pair, options, sql, outcome, progress)
                .map_err(|error| error.of(&pair.shown))?;
        } else if ordered {
            outcome.rows_there = ours.0;
        }
        outcome.settle();
    }
    drop(sums);
    for (number, table) in theirs.iter().enumerate() {
        let unknown = manifest.table(&table.name).is_none();
        if unknown && !partitioned(table) {
            let mut outcome = TableComparison::new(table);
            outcome.state = State::OnlyThere;
            outcome.rows_here = 0;
            outcome.rows_there = there.count(number, progress.as_ref())?;
            outcome.only_there = outcome.rows_there;
            comparison.tables.push(outcome);
        }
    }
    comparison.tables.sort_by(|a, b| a.name.cmp(&b.name));
    comparison.sequences = report::sequences(manifest, &there.sequences(progress.as_ref())?);
    comparison.sequences_compared = u64::try_from(manifest.sequences.len()).unwrap_or(u64::MAX);
    there.finish(progress.as_ref())?;
    if let Some(statements) = statements {
        statements.finish(&comparison)?;
    }
    comparison.decide();
    Ok(comparison)
}

fn partitioned(table: &Table) -> bool {
    table.kind == TableKind::Partitioned
}

/// How the columns of a table differ.
fn columns(here: &Table, there: &Table) -> Vec<ColumnDifference> {
    let mut out = Vec::new();
    let find = |table: &'_ Table, name: &str| -> Option<Column> {
        table.columns.iter().find(|column| column.name == name).cloned()
    };
    for ours in &here.columns {
        let theirs = find(there, &ours.name);
        let described = |column: &Column| {
            if column.generated {
                format!("{} (generated)", column.sql_type)
            } else {
                column.sql_type.clone()
            }
        };
        let state = match &theirs {
            None => State::OnlyHere,
            Some(theirs) if described(theirs) != described(ours) => State::Changed,
            Some(_) => continue,
        };
        out.push(ColumnDifference {
            name: ours.name.clone(),
            state,
            here: Some(described(ours)),
            there: theirs.as_ref().map(described),
        });
    }
    for theirs in &there.columns {
        if find(here, &theirs.name).is_none() {
            out.push(ColumnDifference {
                name: theirs.name.clone(),
                state: State::OnlyThere,
                here: None,
                there: Some(theirs.sql_type.clone()),
            });
        }
    }
    out
}

/// What of two tables can be held against each other: the columns that both store.
fn pair<'a>(here: &'a Table, there: &Table, number: usize) -> Pair<'a> {
    let stored = |name: &str| there.stored_columns().any(|column| column.name == name);
    let columns: Vec<&Column> =
        here.stored_columns().filter(|column| stored(&column.name)).collect();
    Pair {
        here: Some(here),
        data: here.data,
        wanted: Wanted {
            what: What::Table(number),
            columns: columns.iter().map(|column| column.name.clone()).collect(),
        },
        shown: here.name.to_string(),
        key: key(here, &columns),
        columns,
    }
}

/// The places among `columns` by which rows are matched.
fn key(table: &Table, columns: &[&Column]) -> Vec<usize> {
    let places = |names: &[String], null: bool| -> Option<Vec<usize>> {
        names
            .iter()
            .map(|name| {
                let is = |column: &&Column| column.name == *name && (null || column.not_null);
                columns.iter().position(is)
            })
            .collect()
    };
    let primary = table.primary_key.iter().filter_map(|key| places(&key.columns, true));
    let unique = table.unique.iter().filter_map(|key| places(&key.columns, false));
    primary.chain(unique).find(|places| !places.is_empty()).unwrap_or_default()
}

/// Finds the rows of one table that differ.
fn table(
    here: &Archive,
    there: &mut dyn There,
    pair: &Pair<'_>,
    options: &CompareOptions,
    mut sql: Option<(&mut Statements<'_>, &order::Order)>,
    outcome: &mut TableComparison,
    progress: &Arc<dyn Progress>,
) -> Result<(), CompareError> {
    let quarter = options.memory / 4;
    let make = |side, fields| {
        Collector::new(side, pair.key.clone(), fields, quarter).map_err(CompareError::Scratch)
    };
    let fields = pair.here.and_then(|table| archive::fields(table, &pair.wanted.columns));
    let mut ours = make(Side::Here, fields)?;
    archive::collect(here, pair.data, &mut ours, progress.as_ref())?;
    let theirs = there.rows(&pair.wanted, &|fields| make(Side::There, fields), progress)?;
    outcome.rows_there = theirs.rows();
    outcome.key = pair.key.iter().filter_map(|at| pair.wanted.columns.get(*at).cloned()).collect();
    let memory = options.memory / 2;
    rows::differences(ours, theirs, memory, progress.as_ref(), &mut |difference| {
        let limit = u64::try_from(options.examples).unwrap_or(u64::MAX);
        let (count, wants) = match difference.kind {
            Kind::OnlyHere => (&mut outcome.only_here, sql.is_some()),
            Kind::Changed => (&mut outcome.changed, true),
            Kind::OnlyThere => (&mut outcome.only_there, false),
        };
        *count += 1;
        let example = *count <= limit;
        if example || wants {
            let (ours, theirs) = texts(difference)?;
            report::row(
                outcome,
                &pair.wanted.columns,
                &pair.key,
                difference.kind,
                &ours,
                &theirs,
                example,
            );
            if let Some((statements, order)) = &mut sql {
                let late = pair.here.map_or(&[][..], |table| order.late(&table.name));
                let target =
                    sql::Target { table: pair.here, columns: &pair.columns, key: &pair.key, late };
                statements.row(&target, difference.kind, &ours, &theirs)?;
            }
        }
        Ok(())
    })
}

fn texts(difference: &Difference<'_>) -> Result<(Vec<u8>, Vec<u8>), CompareError> {
    Ok(match difference.kind {
        Kind::OnlyHere => (difference.here()?, Vec::new()),
        Kind::OnlyThere => (Vec::new(), difference.there()?),
        Kind::Changed => (difference.here()?, difference.there()?),
    })
}

#[cfg(test)]
mod tests;
