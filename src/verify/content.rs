//! Rows: each segment decoded, each row taken apart, each value looked at.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::codes::Code;
use super::findings::Finding;
use super::keys::{Cell, Given, Plan, RECORD, Values};
use super::objects::{Stored, with_object};
use super::spill::Sorter;
use super::values::{self, Check, Fault};
use super::work::{Bits, Counter, workers};
use super::{Context, VerifyError};
use crate::format::digest::RowSum;
use crate::format::index::SegmentRecord;
use crate::format::manifest::{
    Column, Key, Manifest, Name, Table, TableData, TableKind, TypeKind, TypeRef,
};
use crate::format::object;
use crate::format::rows::{self, BlobRef, Bytea};
use crate::format::ustar::EntryKind;

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
struct Tally {
    sum: RowSum,
    bytes: u64,
    blobs: u64,
    blob_bytes: u64,
    /// Some of its rows are not known: damaged, or malformed.
    lost: bool,
    /// Whole segments could not be read, so that no total can be right.
    missing: bool,
}

/// All rows, and what is known of them once they were read.
#[derive(Debug)]
pub(super) struct Rows<'a> {
    pub(super) stretches: Vec<Stretch<'a>>,
    tallies: Mutex<Vec<Tally>>,
    /// Least and most of the column that each sequence feeds.
    extremes: Vec<(AtomicI64, AtomicI64)>,
    utf8: bool,
}

/// The table that large objects are stored as.
fn large_objects() -> Table {
    let column = |name: &str, of: &str, not_null| Column {
        name: name.into(),
        sql_type: of.into(),
        base: TypeRef { name: Name::new("pg_catalog", of), kind: TypeKind::Base },
        element: None,
        domain: None,
        typmod: None,
        not_null,
        generated: false,
        identity: false,
        collation: None,
        default: None,
        storage: "plain".into(),
        compression: None,
    };
    Table {
        name: Name::new("", ""),
        kind: TableKind::Plain,
        unlogged: false,
        columns: vec![
            column("oid", "oid", true),
            column("owner", "text", true),
            column("acl", "text", false),
            column("comment", "text", false),
            column("data", "bytea", true),
        ],
        primary_key: Some(Key {
            name: "oid".into(),
            columns: vec!["oid".into()],
            nulls_not_distinct: false,
            constraint: true,
        }),
        unique: Vec::new(),
        checks: Vec::new(),
        partition_of: None,
        partition_bound: None,
        partition_key: None,
        inherits: Vec::new(),
        condition: None,
        data: None,
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
        let segments = context.index.facts(Default::default()).segments;
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

    /// Rows of its stretch in front of a segment.
    fn rows_before(&self, context: &Context<'_>, stretch: &Stretch<'_>, segment: u64) -> u64 {
        let place = segment.saturating_sub(stretch.data.first_segment);
        let kept = usize::try_from(place / EVERY).ok().and_then(|at| stretch.before.get(at));
        let from = segment - place % EVERY;
        let records = (from..segment).filter_map(|number| context.index.segment(number).ok());
        kept.copied().unwrap_or(0) + records.map(|record| u64::from(record.rows)).sum::<u64>()
    }

    /// The named columns of a row as text: `id = 7, name = x`. Reads the row again.
    pub(super) fn describe(
        &self,
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
}

/// `id = 7, name = x`, long values cut.
fn described(stretch: &Stretch<'_>, row: &[u8], columns: &[String]) -> String {
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

/// How one stored column is looked at.
struct Field<'a> {
    column: &'a Column,
    check: Check,
    bytea: bool,
}

/// Reads every segment. Gives the records of keys and references, to be sorted.
pub(super) fn check(
    context: &Context<'_>,
    manifest: &Manifest,
    rows: &Rows<'_>,
    plan: &Plan,
    stored: &Stored,
) -> Result<Vec<Sorter<RECORD>>, VerifyError> {
    let labels = values::labels(&manifest.enums);
    let fields: Vec<Vec<Field<'_>>> = rows
        .stretches
        .iter()
        .map(|stretch| {
            let field = |column| Field {
                column,
                check: Check::of(column, &labels, rows.utf8),
                bytea: column.is_bytea(),
            };
            stretch.table.stored_columns().map(field).collect()
        })
        .collect();
    let facts = context.index.facts(Default::default());
    let used = Bits::new(facts.entries);
    let segments = Counter::new(facts.segments);
    let owners = owners(rows);
    let budget = context.memory / 4 / context.threads.max(1);
    let sorters = workers(context.threads, || {
        let mut worker = Worker {
            context,
            manifest,
            rows,
            plan,
            stored,
            sorter: Sorter::new(budget),
            scratch: Vec::new(),
        };
        while let Some(number) = segments.take() {
            context.go_on()?;
            let Ok(record) = context.index.segment(number) else { continue };
            let at = owner(&owners, number);
            if let Some(at) = at
                && let (Some(stretch), Some(fields)) = (rows.stretches.get(at), fields.get(at))
            {
                used.set(u64::from(record.entry));
                worker.segment(at, stretch, fields, number, &record)?;
            }
        }
        Ok(worker.sorter)
    })?;
    for number in 0..facts.entries {
        if let Ok(entry) = context.index.entry(number)
            && entry.kind == EntryKind::Segment
            && !used.get(number)
        {
            let what = "it holds rows, and no table has it";
            context.findings.add(Finding::new(Code::UnreferencedObject, what).entry(entry.name()));
        }
    }
    totals(context, rows);
    Ok(sorters)
}

/// First segment, end, and number of every stretch that has segments, in order.
fn owners(rows: &Rows<'_>) -> Vec<(u64, u64, usize)> {
    let range = |(at, stretch): (usize, &Stretch<'_>)| {
        let TableData { first_segment, segments, .. } = stretch.data;
        (first_segment, first_segment.saturating_add(segments), at)
    };
    let mut owners: Vec<_> = rows.stretches.iter().enumerate().map(range).collect();
    owners.retain(|(first, end, _)| first < end);
    owners.sort_unstable();
    owners
}

/// The stretch that a segment belongs to.
fn owner(owners: &[(u64, u64, usize)], segment: u64) -> Option<usize> {
    let last = owners.partition_point(|(first, ..)| *first <= segment).checked_sub(1)?;
    owners.get(last).filter(|(_, end, _)| segment < *end).map(|(.., at)| *at)
}

struct Worker<'a> {
    context: &'a Context<'a>,
    manifest: &'a Manifest,
    rows: &'a Rows<'a>,
    plan: &'a Plan,
    stored: &'a Stored,
    sorter: Sorter<RECORD>,
    scratch: Vec<u8>,
}

impl Worker<'_> {
    fn segment(
        &mut self,
        at: usize,
        stretch: &Stretch<'_>,
        fields: &[Field<'_>],
        number: u64,
        record: &SegmentRecord,
    ) -> Result<(), VerifyError> {
        let context = self.context;
        let before = self.rows.rows_before(context, stretch, number);
        let entry = match context.index.entry(u64::from(record.entry)) {
            Ok(entry) if entry.kind == EntryKind::Segment => entry,
            _ => {
                let what =
                    format!("segment {number} is in entry {}, which holds no rows", record.entry);
                context
                    .findings
                    .add(Finding::new(Code::IndexMalformed, what).table(&stretch.shown));
                self.count(at, Tally { lost: true, missing: true, ..Tally::default() });
                return Ok(());
            }
        };
        context.progress.on(&stretch.shown);
        let tally = with_object(context, &entry, |head, raw| {
            if let Some(head) = head {
                let label = object::label((!stretch.large_objects).then_some(&stretch.table.name));
                let what = if head.rows != u64::from(record.rows) {
                    format!("it holds {} rows, the index says {}", head.rows, record.rows)
                } else if head.label != label {
                    format!(
                        "it holds rows of {}",
                        String::from_utf8_lossy(&head.label).replace('\0', ".")
                    )
                } else {
                    String::new()
                };
                if !what.is_empty() {
                    let finding = Finding::new(Code::IndexObjectDisagree, what);
                    context.findings.add(finding.entry(entry.name()).table(&stretch.shown));
                }
            }
            let raw = raw.and_then(|raw| {
                let chunks = head.map(|head| object::check_chunks(head, raw));
                match chunks {
                    Some(Ok(())) => Ok(raw),
                    _ => {
                        let what = "its rows do not have the digest in its head";
                        Err(Finding::new(Code::ChunkDigest, what)
                            .entry(entry.name())
                            .offset(entry.offset))
                    }
                }
            });
            match raw {
                Ok(raw) => {
                    let tally = self.text(at, stretch, fields, before, raw)?;
                    if let Some(head) = head.filter(|head| head.rows != tally.sum.rows) {
                        let what = format!(
                            "its head says {} rows, it holds {}",
                            head.rows, tally.sum.rows
                        );
                        let finding = Finding::new(Code::HeadMalformed, what);
                        context.findings.add(finding.entry(entry.name()).table(&stretch.shown));
                    }
                    Ok(tally)
                }
                Err(finding) => {
                    context.findings.add(finding);
                    let what = format!(
                        "rows {} to {} are lost with entry {}",
                        before + 1,
                        before + u64::from(record.rows),
                        entry.name()
                    );
                    let finding = Finding::new(Code::RowsLost, what).row(before + 1);
                    context.findings.add(finding.table(&stretch.shown).entry(entry.name()));
                    Ok(Tally { lost: true, missing: true, ..Tally::default() })
                }
            }
        })?;
        context.progress.rows(tally.sum.rows);
        context.progress.bytes(entry.length);
        self.count(at, tally);
        Ok(())
    }

    fn count(&self, at: usize, more: Tally) {
        let mut tallies = self.rows.tallies.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tally) = tallies.get_mut(at) {
            tally.sum.add(more.sum);
            tally.bytes = tally.bytes.saturating_add(more.bytes);
            tally.blobs = tally.blobs.saturating_add(more.blobs);
            tally.blob_bytes = tally.blob_bytes.saturating_add(more.blob_bytes);
            tally.lost |= more.lost;
            tally.missing |= more.missing;
        }
    }

    fn text(
        &mut self,
        at: usize,
        stretch: &Stretch<'_>,
        fields: &[Field<'_>],
        before: u64,
        text: &[u8],
    ) -> Result<Tally, VerifyError> {
        let mut tally = Tally::default();
        tally.bytes = u64::try_from(text.len()).unwrap_or(u64::MAX);
        if !rows::is_whole(text) {
            let what = "the last row of a segment has no end";
            self.context.findings.add(Finding::new(Code::MalformedRow, what).table(&stretch.shown));
        }
        for row in rows::rows(text) {
            tally.sum.add_row(row);
            let number = before + tally.sum.rows;
            if number.is_multiple_of(1 << 14) {
                self.context.go_on()?;
            }
            if let Some(values) = self.row(stretch, fields, number, row, &mut tally) {
                self.keys(at, stretch, &values, number, row)?;
            } else {
                // Whether its key is the one that others look for is not known.
                tally.lost = true;
            }
        }
        Ok(tally)
    }

    /// Takes a row apart. None if it cannot be: then nothing more is known of it.
    fn row<'r>(
        &self,
        stretch: &Stretch<'_>,
        fields: &[Field<'_>],
        number: u64,
        row: &'r [u8],
        tally: &mut Tally,
    ) -> Option<Values<'r>> {
        let tell = |code, message: String, column: Option<&Field<'_>>, blob: Option<&BlobRef>| {
            let key = (!stretch.key().is_empty()).then(|| described(stretch, row, stretch.key()));
            let mut finding =
                Finding::new(code, message).table(&stretch.shown).row(number).key(key);
            finding.column = column.map(|field| field.column.name.clone());
            finding.blob = blob.map(|blob| blob.digest.to_string());
            self.context.findings.add(finding);
        };
        let count = if fields.is_empty() && row.is_empty() { 0 } else { rows::fields(row).count() };
        if count != fields.len() {
            tell(
                Code::ColumnCount,
                format!("{count} fields for {} columns", fields.len()),
                None,
                None,
            );
            return None;
        }
        let mut values = Values(Vec::with_capacity(fields.len()));
        let mut whole = true;
        for (text, field) in rows::fields(row).zip(fields) {
            let value = if field.bytea {
                match rows::bytea(text) {
                    Ok(Some(Bytea::Inline(bytes))) => Some(Cell::Value(Cow::Owned(bytes))),
                    Ok(Some(Bytea::Blob(blob))) => {
                        tally.blobs += 1;
                        tally.blob_bytes = tally.blob_bytes.saturating_add(blob.length);
                        if let Err((code, message)) = self.blob(&blob) {
                            tell(code, message, Some(field), Some(&blob));
                        }
                        Some(Cell::Blob(blob.digest))
                    }
                    Ok(None) => None,
                    Err(error) => {
                        tell(Code::MalformedRow, error.to_string(), Some(field), None);
                        whole = false;
                        None
                    }
                }
            } else {
                match rows::unescape(text) {
                    Ok(value) => {
                        if let Some(value) = &value
                            && let Err(fault) = field.check.value(value)
                        {
                            let (code, what) = match fault {
                                Fault::Encoding => (Code::Encoding, "not valid UTF-8"),
                                Fault::Value(what) => (Code::InvalidValue, what),
                                Fault::Label => (Code::EnumLabel, "not a label of its type"),
                            };
                            tell(
                                code,
                                format!("{what} ({})", field.column.sql_type),
                                Some(field),
                                None,
                            );
                        }
                        value.map(Cell::Value)
                    }
                    Err(error) => {
                        tell(Code::MalformedRow, error.to_string(), Some(field), None);
                        whole = false;
                        None
                    }
                }
            };
            if value.is_none() && field.column.not_null && whole {
                tell(Code::NullInNotNull, "the column is NOT NULL".into(), Some(field), None);
            }
            values.0.push(value);
        }
        whole.then_some(values)
    }

    /// Whether the archive has a blob, of this length, undamaged.
    fn blob(&self, blob: &BlobRef) -> Result<(), (Code, String)> {
        let index = self.context.index;
        let (length, good) = if let Some((number, record)) = index.find_blob(&blob.digest) {
            self.stored.blob_used.set(number);
            (record.length, self.stored.blob_ok.get(number))
        } else if let Some((number, record)) = index.find_chunk(&blob.digest) {
            self.stored.chunk_used.set(number);
            (u64::from(record.length), self.stored.chunk_ok.get(number))
        } else {
            let what = format!("its {} bytes are not in the archive", blob.length);
            return Err((Code::BlobMissing, what));
        };
        if length != blob.length {
            let what = format!("the row says {} bytes, it has {length}", blob.length);
            return Err((Code::BlobLength, what));
        }
        if good {
            Ok(())
        } else {
            Err((Code::BlobDamaged, format!("its {length} bytes are damaged")))
        }
    }

    fn keys(
        &mut self,
        at: usize,
        stretch: &Stretch<'_>,
        values: &Values<'_>,
        number: u64,
        row: &[u8],
    ) -> Result<(), VerifyError> {
        for emit in self.plan.emits.get(at).into_iter().flatten() {
            match emit.record(values, at, number, &mut self.scratch) {
                Given::Record(record) => self.sorter.push(record).map_err(VerifyError::Scratch)?,
                Given::Nothing => {}
                Given::Partial(foreign) => {
                    let Some(foreign) = self.manifest.foreign_keys.get(foreign) else { continue };
                    let code = if foreign.validated && foreign.enforced {
                        Code::MatchFull
                    } else {
                        Code::UncheckedConstraintViolated
                    };
                    let key =
                        (!stretch.key().is_empty()).then(|| described(stretch, row, stretch.key()));
                    let what =
                        format!("{} is NULL in part", described(stretch, row, &foreign.columns));
                    let finding =
                        Finding::new(code, what).table(&stretch.shown).row(number).key(key);
                    self.context.findings.add(finding.constraint(&foreign.name));
                }
            }
        }
        for (field, sequence) in self.plan.fed.get(at).into_iter().flatten() {
            if let Some(Cell::Value(value)) = values.get(*field)
                && let Some(value) =
                    values::integer(value).and_then(|value| i64::try_from(value).ok())
                && let Some((least, most)) = self.rows.extremes.get(*sequence)
            {
                least.fetch_min(value, Ordering::Relaxed);
                most.fetch_max(value, Ordering::Relaxed);
            }
        }
        Ok(())
    }
}

/// Holds what was read of each table against what the manifest says of it.
fn totals(context: &Context<'_>, rows: &Rows<'_>) {
    let tallies = rows.tallies.lock().unwrap_or_else(PoisonError::into_inner);
    let all = rows.stretches.iter().zip(tallies.iter());
    for (stretch, tally) in all.filter(|(_, tally)| !tally.missing) {
        let tell = |code, message: String| {
            context.findings.add(Finding::new(code, message).table(&stretch.shown));
        };
        let data = &stretch.data;
        if tally.sum.rows != data.rows {
            tell(
                Code::RowCount,
                format!("{} rows were read, the manifest says {}", tally.sum.rows, data.rows),
            );
        } else if tally.sum.digest() != data.digest {
            let what = format!(
                "the rows come to {}, the manifest says {}",
                tally.sum.digest(),
                data.digest
            );
            tell(Code::TableDigest, what);
        } else if (tally.bytes, tally.blobs, tally.blob_bytes)
            != (data.bytes, data.blobs, data.blob_bytes)
        {
            let what = format!(
                "{} bytes, {} blobs of {} bytes; the manifest says {}, {} of {}",
                tally.bytes, tally.blobs, tally.blob_bytes, data.bytes, data.blobs, data.blob_bytes
            );
            tell(Code::Statistics, what);
        }
    }
}

/// Segments that are lost when the manifest is: the label of each says whose rows it has.
pub(super) fn without_manifest(context: &Context<'_>) -> Result<(), VerifyError> {
    let facts = context.index.facts(Default::default());
    let entries = Counter::new(facts.entries);
    let damaged = Mutex::new(BTreeSet::new());
    workers(context.threads, || {
        while let Some(number) = entries.take() {
            context.go_on()?;
            let Ok(entry) = context.index.entry(number) else { continue };
            if entry.kind != EntryKind::Segment {
                continue;
            }
            with_object(context, &entry, |head, raw| {
                let label =
                    head.map(|head| String::from_utf8_lossy(&head.label).replace('\0', "."));
                let bad = match (head, raw) {
                    (Some(head), Ok(raw)) => object::check_chunks(head, raw).err().map(|error| {
                        Finding::new(Code::ChunkDigest, error.to_string()).entry(entry.name())
                    }),
                    (_, Err(finding)) => Some(finding),
                    (None, Ok(_)) => None,
                };
                if let Some(mut finding) = bad {
                    finding.table.clone_from(&label);
                    context.findings.add(finding);
                    damaged.lock().unwrap_or_else(PoisonError::into_inner).insert(label);
                }
            });
            context.progress.bytes(entry.length);
        }
        Ok(())
    })?;
    Ok(())
}
