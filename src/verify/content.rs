//! Rows: each segment decoded, each row taken apart, each value looked at.

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use super::blobs::{self, Wanted};
use super::codes::Code;
use super::counts::Counts;
use super::findings::Finding;
use super::objects::{Stored, with_object};
use super::partitions::Partitions;
use super::plan::{Cell, Given, Plan, RECORD, Values};
use super::stretch::{Rows, Stretch, Tally, described, rows_before};
use super::values::{self, Check, Fault};
use super::work::{Bits, Counter, workers};
use super::{Context, VerifyError};
use crate::format::digest::Digest;
use crate::format::index::{EntryRecord, SegmentRecord};
use crate::format::manifest::{Column, Manifest, TableData};
use crate::format::object::{self, BlobList, Head};
use crate::format::rows::{self, BlobRef, Bytea};
use crate::format::ustar::EntryKind;
use crate::io::spill::Sorter;

/// How one stored column is looked at.
struct Field<'a> {
    column: &'a Column,
    check: Check,
    bytea: bool,
}

/// What is done with every row.
#[derive(Clone, Copy)]
pub(super) struct Work<'a> {
    /// Keys and references.
    pub(super) plan: &'a Plan,
    /// What blobs must be.
    pub(super) wanted: &'a Wanted,
    /// What is counted.
    pub(super) counts: &'a Counts,
    /// Where rows belong.
    pub(super) partitions: &'a Partitions,
}

/// The records of keys and references, and those of blobs.
pub(super) type Sorted = (Vec<Sorter<RECORD>>, Vec<Sorter<{ blobs::RECORD }>>);

/// Reads every segment. Gives the records of keys and references, and of blobs, to be sorted.
pub(super) fn check(
    context: &Context<'_>,
    manifest: &Manifest,
    rows: &Rows<'_>,
    work: &Work<'_>,
    stored: &Stored,
) -> Result<Sorted, VerifyError> {
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
    let facts = context.index.facts(Digest::default());
    let used = Bits::new(facts.entries);
    let segments = Counter::new(facts.segments);
    let owners = owners(rows);
    let share = if work.wanted.is_empty() { 4 } else { 8 };
    let budget = context.memory / share / context.threads.max(1);
    let sorters = workers(context.threads, || {
        let mut worker = Worker {
            context,
            manifest,
            rows,
            work,
            stored,
            sorter: Sorter::new(budget),
            blobs: Sorter::new(budget),
            scratch: Vec::new(),
            referred: HashSet::new(),
        };
        while let Some(number) = segments.take() {
            context.go_on()?;
            let Ok(record) = context.index.segment(number) else { continue };
            let at = owner(&owners, number);
            if let Some(at) = at
                && let (Some(stretch), Some(fields)) = (rows.stretches.get(at), fields.get(at))
            {
                used.set(u64::from(record.entry));
                worker.segment(at, stretch, fields, number, record)?;
            }
        }
        Ok((worker.sorter, worker.blobs))
    })?;
    for number in 0..facts.entries {
        if let Ok(entry) = context.index.entry(number)
            && entry.kind == EntryKind::Segment
            && !used.get(number)
        {
            let what = "it holds rows, and no table has it";
            context.findings.add(Finding::new(Code::UnreferencedObject, what).of_entry(&entry));
        }
    }
    totals(context, rows);
    Ok(sorters.into_iter().unzip())
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
    work: &'a Work<'a>,
    stored: &'a Stored,
    sorter: Sorter<RECORD>,
    blobs: Sorter<{ blobs::RECORD }>,
    scratch: Vec<u8>,
    /// Blobs of many chunks that the segment's rows refer to.
    referred: HashSet<Digest>,
}

impl Worker<'_> {
    fn segment(
        &mut self,
        at: usize,
        stretch: &Stretch<'_>,
        fields: &[Field<'_>],
        number: u64,
        record: SegmentRecord,
    ) -> Result<(), VerifyError> {
        let context = self.context;
        let before = rows_before(context, stretch, number);
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
                    context.findings.add(finding.of_entry(&entry).table(&stretch.shown));
                }
                for what in head.blobs.iter().filter_map(|blob| self.listed(blob)) {
                    let finding = Finding::new(Code::SegmentBlobs, what);
                    context.findings.add(finding.of_entry(&entry).table(&stretch.shown));
                }
            }
            let raw = raw.and_then(|raw| {
                if head.is_some_and(|head| object::check_chunks(head, raw).is_ok()) {
                    return Ok(raw);
                }
                let what = "its rows do not have the digest in its head";
                let finding = Finding::new(Code::ChunkDigest, what).of_entry(&entry);
                Err(Box::new(finding.offset(entry.offset_in_file())))
            });
            match raw {
                Ok(raw) => {
                    self.referred.clear();
                    let tally = self.text(at, stretch, fields, before, raw)?;
                    if let Some(head) = head {
                        self.lists_all(head, &entry, &stretch.shown);
                    }
                    if let Some(head) = head.filter(|head| head.rows != tally.sum.rows) {
                        let what = format!(
                            "its head says {} rows, it holds {}",
                            head.rows, tally.sum.rows
                        );
                        let finding = Finding::new(Code::HeadMalformed, what);
                        context.findings.add(finding.of_entry(&entry).table(&stretch.shown));
                    }
                    Ok(tally)
                }
                Err(finding) => {
                    context.findings.add(*finding);
                    let what = format!(
                        "rows {} to {} are lost with entry {}",
                        before + 1,
                        before + u64::from(record.rows),
                        entry.name()
                    );
                    let finding = Finding::new(Code::RowsLost, what).row(before + 1);
                    context.findings.add(finding.table(&stretch.shown).of_entry(&entry));
                    Ok(Tally { lost: true, missing: true, ..Tally::default() })
                }
            }
        })?;
        context.progress.rows(tally.sum.rows);
        context.progress.bytes(entry.length);
        self.count(at, tally);
        Ok(())
    }

    /// Why the index does not have this blob as a segment's head lists it.
    fn listed(&self, blob: &BlobList) -> Option<String> {
        let index = self.context.index;
        let same = index.find_blob(&blob.digest).is_some_and(|(_, record)| {
            let chunk = |at: u64| {
                let number = index.blob_chunk(record.first.checked_add(at)?).ok()?;
                Some(index.chunk(number).ok()?.digest)
            };
            record.length == blob.length
                && usize::try_from(record.count) == Ok(blob.chunks.len())
                && (0..).zip(&blob.chunks).all(|(at, digest)| chunk(at) == Some(*digest))
        });
        (!same)
            .then(|| format!("the index does not have blob {} as its head lists it", blob.digest))
    }

    /// A head lists exactly the blobs of many chunks that its rows refer to.
    fn lists_all(&self, head: &Head, entry: &EntryRecord, table: &str) {
        let listed: HashSet<Digest> = head.blobs.iter().map(|blob| blob.digest).collect();
        let missing = self.referred.iter().find(|digest| !listed.contains(digest));
        let extra = listed.iter().find(|digest| !self.referred.contains(digest));
        for (digest, what) in [
            (missing, "its rows refer to a blob of many chunks that its head does not list"),
            (extra, "its head lists a blob that none of its rows refers to"),
        ] {
            if let Some(digest) = digest {
                let finding = Finding::new(Code::SegmentBlobs, what).of_entry(entry);
                self.context.findings.add(finding.table(table).blob(digest));
            }
        }
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
        let bytes = u64::try_from(text.len()).unwrap_or(u64::MAX);
        let mut tally = Tally { bytes, ..Tally::default() };
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
            if let Some(values) = self.row(at, stretch, fields, number, row, &mut tally) {
                self.keys(at, stretch, &values, number, row)?;
                for cell in &values.0 {
                    if let Some(Cell::Blob(digest)) = cell
                        && self.context.index.find_blob(digest).is_some()
                    {
                        self.referred.insert(*digest);
                    }
                }
                self.work.counts.row(at, &values);
                if let Some(bound) = self.work.partitions.misplaced(at, &values) {
                    self.misplaced(stretch, number, row, bound);
                }
                let (wanted, blobs) = (self.work.wanted, &mut self.blobs);
                wanted.row(self.context, self.stored, at, number, &values, blobs)?;
            } else {
                // Whether its key is the one that others look for is not known.
                tally.lost = true;
            }
        }
        Ok(tally)
    }

    fn misplaced(&self, stretch: &Stretch<'_>, number: u64, row: &[u8], bound: &str) {
        let key = (!stretch.key().is_empty()).then(|| described(stretch, row, stretch.key()));
        let finding = Finding::new(Code::WrongPartition, format!("it does not belong in {bound}"));
        self.context.findings.add(finding.table(&stretch.shown).row(number).key(key));
    }

    /// Takes a row apart. None if it cannot be: then nothing more is known of it.
    fn row<'r>(
        &self,
        at: usize,
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
                            self.work.wanted.hurt.add(at, number);
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
        for emit in self.work.plan.emits.get(at).into_iter().flatten() {
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
        for (field, sequence) in self.work.plan.fed.get(at).into_iter().flatten() {
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
    let facts = context.index.facts(Digest::default());
    let entries = Counter::new(facts.entries);
    workers(context.threads, || {
        while let Some(number) = entries.take() {
            context.go_on()?;
            let Ok(entry) = context.index.entry(number) else { continue };
            if entry.kind != EntryKind::Segment || !context.can_read(&entry) {
                continue;
            }
            with_object(context, &entry, |head, raw| {
                let label =
                    head.map(|head| String::from_utf8_lossy(&head.label).replace('\0', "."));
                let bad = match (head, raw) {
                    (Some(head), Ok(raw)) => object::check_chunks(head, raw).err().map(|error| {
                        let finding = Finding::new(Code::ChunkDigest, error.to_string());
                        Box::new(finding.of_entry(&entry))
                    }),
                    (_, Err(finding)) => Some(finding),
                    (None, Ok(_)) => None,
                };
                if let Some(mut finding) = bad {
                    finding.table = label;
                    context.findings.add(*finding);
                }
            });
            context.progress.bytes(entry.length);
        }
        Ok(())
    })?;
    Ok(())
}
