//! What blobs hold: images decoded, media types and checksums held against the rows that declare
//! them.
//!
//! While rows are read, each reference to a blob is put down as a record; sorted, all that refer to
//! one blob stand together and blobs stand in the order of the file. So each distinct blob is read
//! and decoded once, however often it is referred to, and a pack is unpacked about once.

mod record;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use md5::{Digest as _, Md5};
use sha1::Sha1;

pub(super) use self::record::RECORD;
use self::record::{Record, SUM};
use super::codes::Code;
use super::findings::{EXAMPLES, Finding};
use super::images::{self, Declared, Fault, Kind};
use super::judge::{self, Asked, Facts};
use super::keys::about;
use super::objects::{Packs, Stored};
use super::plan::{Cell, Tree, Values};
use super::stretch::{Rows, describe};
use super::uses::Hurt;
use super::work::workers;
use super::{Context, ImageCheck, VerifyError};
use crate::format::digest::Digest;
use crate::format::index::IndexError;
use crate::format::manifest::Manifest;
use crate::format::rules::{Algorithm, Rules};
use crate::io::spill::{Merge, Sorter};

/// Most records of one blob that are taken at a time.
const RUN: usize = 1 << 16;
/// Marks a blob of many chunks among the numbers of chunks.
const MANY: u64 = 1 << 63;

/// What is asked of the values of one column of one table.
#[derive(Debug)]
struct Spec {
    stretch: usize,
    field: usize,
    column: String,
    /// In words; none where no rule asks, and what looks like an image is decoded all the same.
    rule: Option<String>,
    not_empty: bool,
    image: bool,
    media: Option<(usize, String)>,
    sum: Option<(usize, String, Algorithm)>,
}

/// All that is asked of blobs.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    specs: Vec<Spec>,
    /// For each stretch, its specs.
    of: Vec<Vec<usize>>,
    faults: Mutex<BTreeMap<(usize, Code), Broken>>,
    images: AtomicU64,
    bad_images: AtomicU64,
    /// Rows of which a blob is lost, or no image.
    pub(super) hurt: Hurt,
}

/// Faults of one kind: how many, and the first of them.
#[derive(Debug, Default)]
struct Broken {
    count: u64,
    first: BTreeSet<(u64, String, Option<Digest>)>,
}

/// How many distinct images there are, and how many of them do not decode.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Images {
    pub(super) all: u64,
    pub(super) damaged: u64,
}

impl Wanted {
    /// What rules ask, and of every other `bytea` column that images in it decode.
    pub(super) fn new(manifest: &Manifest, rules: &Rules, rows: &Rows<'_>) -> Self {
        let tree = Tree::new(manifest, &rows.stretches);
        let mut wanted = Self { of: vec![Vec::new(); rows.stretches.len()], ..Self::default() };
        let mut covered = BTreeSet::new();
        for rule in &rules.blobs {
            for leaf in tree.leaves(&rule.table) {
                let Some(stretch) = rows.stretches.get(leaf) else { continue };
                let Some(field) = stretch.field(&rule.column) else { continue };
                let beside = |column: &String| Some((stretch.field(column)?, column.clone()));
                covered.insert((leaf, field));
                wanted.put(Spec {
                    stretch: leaf,
                    field,
                    column: rule.column.clone(),
                    rule: Some(rule.words()),
                    not_empty: rule.not_empty,
                    image: rule.image,
                    media: rule.media_type.as_ref().and_then(beside),
                    sum: rule.checksum.as_ref().and_then(|sum| {
                        let (field, column) = beside(&sum.column)?;
                        Some((field, column, sum.algorithm))
                    }),
                });
            }
        }
        for (number, stretch) in rows.stretches.iter().enumerate() {
            if stretch.large_objects {
                continue;
            }
            for (field, column) in stretch.table.stored_columns().enumerate() {
                let asked = covered.contains(&(number, field));
                if column.is_bytea() && !asked {
                    wanted.put(Spec {
                        stretch: number,
                        field,
                        column: column.name.clone(),
                        rule: None,
                        not_empty: false,
                        image: false,
                        media: None,
                        sum: None,
                    });
                }
            }
        }
        wanted
    }

    fn put(&mut self, spec: Spec) {
        if let Some(of) = self.of.get_mut(spec.stretch) {
            of.push(self.specs.len());
        }
        self.specs.push(spec);
    }

    /// Whether there is nothing to be asked.
    pub(super) fn is_empty(&self) -> bool {
        self.specs.is_empty()
    }

    fn fault(&self, spec: usize, code: Code, row: u64, what: String, blob: Option<Digest>) {
        let hurts = matches!(
            code,
            Code::BlobEmpty
                | Code::ImageDamaged
                | Code::ImageDamagedNoRule
                | Code::ImageTooLarge
                | Code::ImageTooLargeNoRule
        );
        if let Some(spec) = self.specs.get(spec).filter(|_| hurts) {
            self.hurt.add(spec.stretch, row);
        }
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        let broken = faults.entry((spec, code)).or_default();
        broken.count += 1;
        broken.first.insert((row, what, blob));
        if broken.first.len() > EXAMPLES {
            broken.first.pop_last();
        }
    }

    /// Looks at the blobs of a row: at once at what is in the row, later at what is stored apart.
    pub(super) fn row(
        &self,
        context: &Context<'_>,
        stored: &Stored,
        stretch: usize,
        row: u64,
        values: &Values<'_>,
        sorter: &mut Sorter<RECORD>,
    ) -> Result<(), VerifyError> {
        for number in self.of.get(stretch).into_iter().flatten() {
            let Some(spec) = self.specs.get(*number) else { continue };
            let Some(cell) = values.get(spec.field) else { continue };
            let text = |field: usize| match values.get(field) {
                Some(Cell::Value(value)) => Some(value.as_ref()),
                _ => None,
            };
            let media = spec.media.as_ref().and_then(|(field, _)| text(*field));
            let declared = media.map_or(Declared::Nothing, images::declared);
            let sum = spec.sum.as_ref().and_then(|(field, column, algorithm)| {
                let hex = text(*field)?;
                let sum = match judge::checksum(column, hex, *algorithm) {
                    Ok(sum) => Some(sum),
                    Err(what) => {
                        self.fault(*number, Code::Checksum, row, what, None);
                        None
                    }
                };
                Some((*algorithm, sum?))
            });
            match cell {
                Cell::Value(bytes) => self.inline(*number, spec, row, bytes, declared, sum),
                Cell::Blob(digest) => {
                    let Some((place, id)) = placed(context, stored, digest) else { continue };
                    let mut record = Record {
                        place,
                        id,
                        spec: u32::try_from(*number).unwrap_or(u32::MAX),
                        row,
                        declared: declared.code(),
                        sum: 0,
                        sums: [0; SUM],
                    };
                    match sum {
                        Some((Algorithm::Sha256, sum)) if sum != digest.0 => {
                            let what = format!("its sha256 is {digest}");
                            self.fault(*number, Code::Checksum, row, what, Some(*digest));
                        }
                        None | Some((Algorithm::Sha256, _)) => {}
                        Some((_, sum)) => {
                            record.sum = u8::try_from(sum.len()).unwrap_or(0);
                            for (to, from) in record.sums.iter_mut().zip(sum) {
                                *to = from;
                            }
                        }
                    }
                    sorter.push(record.bytes()).map_err(VerifyError::Scratch)?;
                }
            }
        }
        Ok(())
    }

    fn inline(
        &self,
        number: usize,
        spec: &Spec,
        row: u64,
        bytes: &[u8],
        declared: Declared,
        sum: Option<(Algorithm, Vec<u8>)>,
    ) {
        if bytes.is_empty() {
            if spec.not_empty || spec.image {
                self.fault(number, Code::BlobEmpty, row, "it has no byte".into(), None);
            }
            return;
        }
        let mut facts = Facts { kind: images::sniff(bytes), ..Facts::default() };
        if let Some(kind) = facts.kind.filter(|kind| kind.is_image()) {
            facts.image = images::decode(kind, bytes).err();
        }
        match &sum {
            Some((Algorithm::Md5, _)) => facts.md5 = Md5::digest(bytes).to_vec(),
            Some((Algorithm::Sha1, _)) => facts.sha1 = Sha1::digest(bytes).to_vec(),
            Some((Algorithm::Sha256, sum)) if *sum != Digest::of(bytes).0 => {
                let what = format!("its sha256 is {}", Digest::of(bytes));
                self.fault(number, Code::Checksum, row, what, None);
            }
            _ => {}
        }
        self.tally(&facts, spec.image);
        let sum = sum.filter(|(algorithm, _)| *algorithm != Algorithm::Sha256);
        let sum = sum.map(|(_, sum)| sum);
        self.judge(number, spec, row, declared, sum.as_deref(), &facts, None);
    }

    fn tally(&self, facts: &Facts, image: bool) {
        let looks = facts.kind.is_some_and(Kind::is_image);
        if looks || image {
            self.images.fetch_add(1, Ordering::Relaxed);
        }
        if matches!(facts.image, Some(Fault::Damaged(_) | Fault::TooLarge(_))) || (image && !looks)
        {
            self.bad_images.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Says what is wrong with one reference to a blob of which the facts are known.
    #[expect(clippy::too_many_arguments, reason = "a row's side and a blob's side, once each")]
    fn judge(
        &self,
        number: usize,
        spec: &Spec,
        row: u64,
        declared: Declared,
        sum: Option<&[u8]>,
        facts: &Facts,
        blob: Option<Digest>,
    ) {
        let sum = spec.sum.as_ref().and_then(|(_, _, algorithm)| Some((*algorithm, sum?)));
        for (code, what) in facts.faults(Asked { image: spec.image, declared, sum }) {
            self.fault(number, code, row, what, blob);
        }
    }
}

/// Where an undamaged blob begins, and its number.
fn placed(context: &Context<'_>, stored: &Stored, digest: &Digest) -> Option<(u64, u64)> {
    let index = context.index;
    let place = |entry: u32, offset: u32| u64::from(entry) << 32 | u64::from(offset);
    if let Some((number, blob)) = index.find_blob(digest) {
        let first = index.blob_chunk(blob.first).and_then(|number| index.chunk(number)).ok()?;
        return stored
            .blob_ok
            .get(number)
            .then_some((place(first.entry, first.offset), number | MANY));
    }
    let (number, chunk) = index.find_chunk(digest)?;
    stored.chunk_ok.get(number).then_some((place(chunk.entry, chunk.offset), number))
}

/// Looks at every blob that the records are about.
pub(super) fn check(
    context: &Context<'_>,
    wanted: &Wanted,
    rows: &Rows<'_>,
    sorters: Vec<Sorter<RECORD>>,
) -> Result<Images, VerifyError> {
    struct Queue {
        merge: Merge<RECORD>,
        /// The first record of the next blob.
        next: Option<Record>,
    }
    let mut merge = Merge::new(sorters, context.memory / 8).map_err(VerifyError::Scratch)?;
    let draw = |merge: &mut Merge<RECORD>| -> Result<Option<Record>, VerifyError> {
        let bytes = merge.next().map_err(VerifyError::Scratch)?;
        Ok(bytes.as_ref().and_then(Record::of))
    };
    let next = draw(&mut merge)?;
    let queue = Mutex::new(Queue { merge, next });
    workers(context.threads, || {
        let mut cache = Packs::default();
        loop {
            context.go_on()?;
            // A run of neighbours, so that each worker has packs of its own.
            let mut runs: Vec<Vec<Record>> = Vec::new();
            {
                let mut queue = queue.lock().unwrap_or_else(PoisonError::into_inner);
                let mut total = 0;
                while runs.len() < 16
                    && total < RUN
                    && let Some(first) = queue.next.take()
                {
                    let mut run = vec![first];
                    while let Some(bytes) = queue.merge.next().map_err(VerifyError::Scratch)? {
                        let record = Record::of(&bytes);
                        if record.is_some_and(|next| next.id == first.id) && run.len() < RUN {
                            run.extend(record);
                        } else {
                            queue.next = record;
                            break;
                        }
                    }
                    total += run.len();
                    runs.push(run);
                }
            }
            if runs.is_empty() {
                break;
            }
            for run in runs {
                one(context, wanted, &mut cache, &run);
            }
        }
        Ok(())
    })?;
    let faults = std::mem::take(&mut *wanted.faults.lock().unwrap_or_else(PoisonError::into_inner));
    for ((number, code), broken) in faults {
        if let Some(spec) = wanted.specs.get(number) {
            tell(context, spec, code, &broken, rows);
        }
    }
    Ok(Images {
        all: wanted.images.load(Ordering::Relaxed),
        damaged: wanted.bad_images.load(Ordering::Relaxed),
    })
}

/// Looks at one blob for all that refer to it.
fn one(context: &Context<'_>, wanted: &Wanted, cache: &mut Packs, run: &[Record]) {
    let spec_of = |record: &Record| {
        let number = usize::try_from(record.spec).ok()?;
        Some((number, wanted.specs.get(number)?))
    };
    let asks = |what: &dyn Fn(&Record, &Spec) -> bool| {
        run.iter().any(|record| spec_of(record).is_some_and(|(_, spec)| what(record, spec)))
    };
    let of = |spec: &Spec, wanted: Algorithm| {
        spec.sum.as_ref().is_some_and(|(_, _, algorithm)| *algorithm == wanted)
    };
    let md5 = asks(&|record, spec| record.sum > 0 && of(spec, Algorithm::Md5));
    let sha1 = asks(&|record, spec| record.sum > 0 && of(spec, Algorithm::Sha1));
    // A rule that asks for other things than an image does not turn off what is looked at anyway.
    let Some(first) = run.first() else { return };
    let Ok((digest, facts)) = facts(context, cache, first.id, md5, sha1) else { return };
    wanted.tally(&facts, asks(&|_, spec| spec.image));
    for record in run {
        if let Some((number, spec)) = spec_of(record) {
            let sum = record.sums.get(..usize::from(record.sum)).filter(|sum| !sum.is_empty());
            let declared = Declared::of_code(record.declared);
            wanted.judge(number, spec, record.row, declared, sum, &facts, Some(digest));
        }
    }
}

/// Reads a blob, whose chunks are known to be right.
fn facts(
    context: &Context<'_>,
    cache: &mut Packs,
    id: u64,
    md5: bool,
    sha1: bool,
) -> Result<(Digest, Facts), IndexError> {
    let index = context.index;
    let (digest, length, first, count) = if id & MANY == 0 {
        let chunk = index.chunk(id)?;
        (chunk.digest, u64::from(chunk.length), id, 1)
    } else {
        let blob = index.blob(id & !MANY)?;
        (blob.digest, blob.length, blob.first, u64::from(blob.count))
    };
    let chunk = |place: u64| {
        let number = if id & MANY == 0 { first } else { index.blob_chunk(first + place)? };
        index.chunk(number)
    };
    let mut facts = Facts::default();
    let (mut md5, mut sha1) = (md5.then(Md5::new), sha1.then(Sha1::new));
    let mut image = None;
    let held = context.gate.enter(length.min(images::ENCODED));
    for place in 0..count {
        let chunk = chunk(place)?;
        let Some(raw) = cache.get(context, chunk.entry) else { continue };
        let range = usize::try_from(chunk.offset).ok().zip(usize::try_from(chunk.length).ok());
        let bytes = range.and_then(|(from, length)| raw.get(from..from.checked_add(length)?));
        let bytes = bytes.unwrap_or_default();
        if place == 0 {
            facts.kind = images::sniff(bytes.get(..images::HEAD).unwrap_or(bytes));
            if let Some(kind) = facts.kind.filter(|kind| kind.is_image()) {
                if !kind.decodes() {
                    let what = "its pixels are not decoded here";
                    facts.image = Some(Fault::Unsupported(what.into()));
                } else if length > images::ENCODED {
                    facts.image = Some(Fault::TooLarge(format!("{length} bytes")));
                } else {
                    image = Some((kind, Vec::new()));
                }
            }
            if image.is_none() && md5.is_none() && sha1.is_none() {
                return Ok((digest, facts));
            }
        }
        if let Some(md5) = &mut md5 {
            md5.update(bytes);
        }
        if let Some(sha1) = &mut sha1 {
            sha1.update(bytes);
        }
        if let Some((_, image)) = &mut image {
            image.extend_from_slice(bytes);
        }
    }
    drop(held);
    facts.md5 = md5.map_or_else(Vec::new, |md5| md5.finalize().to_vec());
    facts.sha1 = sha1.map_or_else(Vec::new, |sha1| sha1.finalize().to_vec());
    if let Some((kind, bytes)) = image {
        facts.image = match context.images {
            ImageCheck::Pixels => {
                let need = length.saturating_add(images::need(kind, &bytes));
                let _held = context.gate.enter(need);
                images::decode(kind, &bytes).err()
            }
            ImageCheck::Parts => images::follow(kind, &bytes).err(),
        };
    }
    Ok((digest, facts))
}

fn tell(context: &Context<'_>, spec: &Spec, code: Code, broken: &Broken, rows: &Rows<'_>) {
    let Some(stretch) = rows.stretches.get(spec.stretch) else { return };
    let mut last = None;
    for (row, what, blob) in &broken.first {
        let beside = match code {
            Code::MediaType => spec.media.as_ref().map(|(_, column)| column.clone()),
            // Where it is no checksum at all, that is said already.
            Code::Checksum if what.starts_with("its ") => {
                spec.sum.as_ref().map(|(_, column, _)| column.clone())
            }
            _ => None,
        };
        let beside = beside.and_then(|column| describe(context, stretch, *row, &[column]));
        let what = beside.map_or_else(|| what.clone(), |beside| format!("{beside}, but {what}"));
        let finding = about(Finding::new(code, what), context, stretch, *row).column(&spec.column);
        let finding = match &spec.rule {
            Some(rule) => finding.rule(rule),
            None => finding,
        };
        let finding = match blob {
            Some(blob) => finding.blob(blob),
            None => finding,
        };
        last = Some(finding.clone());
        context.findings.add(finding);
    }
    let told = u64::try_from(broken.first.len()).unwrap_or(u64::MAX);
    let more = broken.count.saturating_sub(told);
    if let Some(last) = last.filter(|_| more > 0) {
        context.findings.add_more(&last, more);
    }
}
