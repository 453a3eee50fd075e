//! The rows of each table as a stretch of segments: where a row is, and what is known of all.

use std::borrow::Cow;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::Context;
use super::objects::with_object;
use crate::format::digest::{Digest, RowSum};
use crate::format::manifest::{Column, Key, Manifest, Name, Table, TableData};
use crate::format::rows;

/// Segments between two places whose row number is kept.
const EVERY: u64 = 256;

/// The rows of one table, or of the large objects.
#[derive(Debug)]
pub(super) struct Stretch<'a> {
    pub(super) table: Cow<'a, Table>,
    pub(super) data: TableData,
    /// The name for people.
    pub(super) shown: String,
    pub(super) large_objects: bool,
    /// Rows before every [`EVERY`]th segment.
    before: Vec<u64>,
}

impl Stretch<'_> {
    /// Which field of a row a column is.
    pub(super) fn field(&self, column: &str) -> Option<usize> {
        self.table.stored_columns().position(|stored| stored.name == column)
    }

    /// The columns of the primary key.
    pub(super) fn key(&self) -> &[String] {
        self.table.primary_key.as_ref().map_or(&[], |key| &key.columns)
    }
}

/// What the rows of one stretch came to.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub(super) sum: RowSum,
    pub(super) bytes: u64,
    pub(super) blobs: u64,
    pub(super) blob_bytes: u64,
    /// Some of its rows are not known: damaged, or malformed.
    pub(super) lost: bool,
    /// Whole segments could not be read, so that no total can be right.
    pub(super) missing: bool,
}

/// All rows, and what is known of them once they were read.
#[derive(Debug)]
pub(super) struct Rows<'a> {
    pub(super) stretches: Vec<Stretch<'a>>,
    pub(super) tallies: Mutex<Vec<Tally>>,
    /// Least and most of the column that each sequence feeds.
    pub(super) extremes: Vec<(AtomicI64, AtomicI64)>,
    pub(super) utf8: bool,
}

/// The table that large objects are stored as.
fn large_objects() -> Table {
    let column = |name: &str, of: &str, not_null| Column { not_null, ..Column::new(name, of) };
    Table {
        primary_key: Some(Key::new("oid", vec!["oid".into()])),
        ..Table::new(
            Name::new("", ""),
            vec![
                column("oid", "oid", true),
                column("owner", "text", true),
                column("acl", "text", false),
                column("comment", "text", false),
                column("data", "bytea", true),
            ],
        )
    }
}

impl<'a> Rows<'a> {
    /// The stretches of rows that the manifest has, in its order.
    pub(super) fn new(context: &Context<'_>, manifest: &'a Manifest) -> Self {
        let stored = manifest.tables.iter().filter_map(|table| {
            Some((Cow::Borrowed(table), table.data?, table.name.to_string(), false))
        });
        let large = manifest
            .large_objects
            .map(|data| (Cow::Owned(large_objects()), data, "large objects".to_owned(), true));
        let segments = context.index.facts(Digest::default()).segments;
        let stretches = stored
            .chain(large)
            .map(|(table, data, shown, large_objects)| {
                let mut stretch = Stretch { table, data, shown, large_objects, before: Vec::new() };
                let mut rows = 0_u64;
                let end = data.first_segment.saturating_add(data.segments).min(segments);
                for number in data.first_segment..end {
                    if (number - data.first_segment).is_multiple_of(EVERY) {
                        stretch.before.push(rows);
                    }
                    let record = context.index.segment(number);
                    rows = rows.saturating_add(record.map_or(0, |record| u64::from(record.rows)));
                }
                stretch
            })
            .collect::<Vec<_>>();
        let tallies = Mutex::new(vec![Tally::default(); stretches.len()]);
        let none = || (AtomicI64::new(i64::MAX), AtomicI64::new(i64::MIN));
        let extremes = manifest.sequences.iter().map(|_| none()).collect();
        Self { stretches, tallies, extremes, utf8: manifest.source.encoding != "SQL_ASCII" }
    }

    pub(super) fn stretch(&self, number: u32) -> Option<&Stretch<'a>> {
        usize::try_from(number).ok().and_then(|number| self.stretches.get(number))
    }

    fn number_of(&self, stretch: &Stretch<'_>) -> Option<usize> {
        self.stretches.iter().position(|other| std::ptr::eq(other, stretch))
    }

    /// Whether rows of it could not be read.
    pub(super) fn lost(&self, stretch: &Stretch<'_>) -> bool {
        let tallies = self.tallies.lock().unwrap_or_else(PoisonError::into_inner);
        self.number_of(stretch)
            .and_then(|number| tallies.get(number))
            .is_none_or(|tally| tally.lost)
    }

    /// Whether every row of every table could be read.
    pub(super) fn all_read(&self) -> bool {
        let tallies = self.tallies.lock().unwrap_or_else(PoisonError::into_inner);
        tallies.iter().all(|tally| !tally.lost)
    }

    /// Rows read of each stretch.
    pub(super) fn read(&self) -> Vec<u64> {
        let tallies = self.tallies.lock().unwrap_or_else(PoisonError::into_inner);
        tallies.iter().map(|tally| tally.sum.rows).collect()
    }

    /// Least and most value of the column that a sequence feeds.
    pub(super) fn extremes(&self, sequence: usize) -> Option<(i64, i64)> {
        let (least, most) = self.extremes.get(sequence)?;
        let (least, most) = (least.load(Ordering::Relaxed), most.load(Ordering::Relaxed));
        (least <= most).then_some((least, most))
    }
}

/// Rows of its stretch in front of a segment.
pub(super) fn rows_before(context: &Context<'_>, stretch: &Stretch<'_>, segment: u64) -> u64 {
    let place = segment.saturating_sub(stretch.data.first_segment);
    let kept = usize::try_from(place / EVERY).ok().and_then(|at| stretch.before.get(at));
    let from = segment - place % EVERY;
    let records = (from..segment).filter_map(|number| context.index.segment(number).ok());
    kept.copied().unwrap_or(0) + records.map(|record| u64::from(record.rows)).sum::<u64>()
}

/// The named columns of a row as text: `id = 7, name = x`. Reads the row again.
pub(super) fn describe(
    context: &Context<'_>,
    stretch: &Stretch<'_>,
    row: u64,
    columns: &[String],
) -> Option<String> {
    let first = stretch.data.first_segment;
    // The last place known to be in front of the row, then segment by segment.
    let kept = stretch.before.partition_point(|before| *before < row).checked_sub(1)?;
    let mut segment = first.saturating_add(u64::try_from(kept).ok()? * EVERY);
    let mut before = *stretch.before.get(kept)?;
    while segment < first.saturating_add(stretch.data.segments) {
        let record = context.index.segment(segment).ok()?;
        if before + u64::from(record.rows) >= row {
            let entry = context.index.entry(u64::from(record.entry)).ok()?;
            let skip = usize::try_from(row.checked_sub(before + 1)?).ok()?;
            return with_object(context, &entry, |_, raw| {
                let text = rows::rows(raw.ok()?).nth(skip)?;
                Some(described(stretch, text, columns))
            });
        }
        before += u64::from(record.rows);
        segment += 1;
    }
    None
}

/// `id = 7, name = x`, long values cut.
pub(super) fn described(stretch: &Stretch<'_>, row: &[u8], columns: &[String]) -> String {
    let one = |column: &String| {
        let field = stretch.field(column).and_then(|field| rows::fields(row).nth(field));
        let value = field.map(rows::unescape);
        let shown = match value {
            Some(Ok(Some(value))) => {
                let text = String::from_utf8_lossy(&value);
                let mut letters = text.chars();
                let start: String = letters.by_ref().take(80).collect();
                if letters.next().is_some() { format!("{start}...") } else { start }
            }
            Some(Ok(None)) => "NULL".into(),
            _ => "?".into(),
        };
        format!("{column} = {shown}")
    };
    columns.iter().map(one).collect::<Vec<_>>().join(", ")
}
