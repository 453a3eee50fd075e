//! Says, with no database at hand, whether an archive is whole and means what it should: every
//! byte, every digest, every row, every reference.
//!
//! The answer for a damaged archive is a [`Report`]; an error is only when nothing could be said.
//!
//! Order of work: the container (`structure`), the manifest and the SQL files (`catalog`), packs
//! and blobs (`objects`), rows (`content`), then keys and references (`keys`). Every stored byte is
//! read once, but for blobs of many chunks, whose bytes are put together again to be digested.

mod bases;
mod blobs;
mod catalog;
mod codes;
mod content;
mod counts;
mod equality;
mod findings;
mod images;
pub(crate) mod judge;
mod keys;
#[cfg(feature = "postgres")]
pub(crate) mod look;
mod objects;
mod parity;
mod partitions;
mod plan;
mod report;
pub mod rules;
mod stretch;
mod structure;
pub mod suggest;
mod uses;
mod values;
mod work;

#[cfg(test)]
pub(crate) mod tests;
#[cfg(test)]
mod tests_content;
#[cfg(test)]
mod tests_index;
#[cfg(test)]
mod tests_rules;
#[cfg(test)]
mod tests_thin;

use std::collections::HashSet;
use std::io;
use std::sync::Arc;

pub use codes::{Code, Severity};
pub(crate) use equality::Equality;
pub use findings::{EXAMPLES, Finding};
pub use report::{Level, REPORT_VERSION, Report, TableReport, TableState};
pub use uses::Use;

use crate::format::digest::Digest;
use crate::format::index::{EntryRecord, Index};
use crate::format::manifest::{Base, Manifest};
use crate::format::rules::Rules;
use crate::format::seal::Seal;
use crate::format::ustar::{self, EntryKind};
use crate::io::ReadAt;
use crate::progress::{Phase, Progress};
use blobs::{Images, Wanted};
use content::Work;
use counts::Counts;
use findings::Findings;
use partitions::Partitions;
use rules::RuleFile;
use work::Gate;

/// How to verify.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VerifyOptions {
    /// How much is checked.
    pub level: Level,
    /// Bytes of memory for what grows with the data: objects in flight and keys being sorted (what
    /// does not fit goes to scratch files). A single object larger than this is still read, alone.
    pub memory: usize,
    /// How far images are looked into.
    pub images: ImageCheck,
}

/// How far a check looks into what begins as an image. The bytes are checked in any case, and so are
/// the media types and checksums that columns state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ImageCheck {
    /// Every image is decoded to its last pixel.
    Pixels,
    /// Every image is followed through its parts to its end, checksums of the parts included: that
    /// finds one that is cut off, and any changed byte of a PNG, for a tenth of the time.
    Parts,
}

impl Default for VerifyOptions {
    fn default() -> Self {
        Self { level: Level::Full, memory: 256 << 20, images: ImageCheck::Pixels }
    }
}

/// Why nothing can be said about an archive. Damage is never a reason.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// Whoever asked wants it to stop.
    #[error("interrupted")]
    Interrupted,
    /// Keys did not fit into memory, and not onto disk either.
    #[error("a scratch file for checking keys could not be written or read")]
    Scratch(#[source] io::Error),
    /// No thread to work on.
    #[error("a thread could not be started")]
    Thread(#[source] io::Error),
    /// A mistake of ours.
    #[error("internal error in the verifier: {0}")]
    Internal(&'static str),
}

/// What all checks share.
struct Context<'a> {
    file: &'a dyn ReadAt,
    seal: Seal,
    index: &'a Index,
    findings: &'a Findings,
    progress: &'a dyn Progress,
    gate: Gate,
    threads: usize,
    memory: usize,
    images: ImageCheck,
    standby: bool,
    /// What is taken from other archives, if the manifest is there to say.
    bases: Option<&'a [Base]>,
    /// Whether these other archives are there.
    can_read_bases: bool,
}

impl Context<'_> {
    /// Whether the file that has it is there.
    fn can_read(&self, entry: &EntryRecord) -> bool {
        entry.base() == 0 || self.can_read_bases
    }

    fn go_on(&self) -> Result<(), VerifyError> {
        if self.progress.interrupted() { Err(VerifyError::Interrupted) } else { Ok(()) }
    }
}

/// Verifies an archive.
///
/// # Errors
/// [`VerifyError`] where it could not be checked for a reason that is not the archive's; a damaged
/// archive, and one that cannot be read, is a [`Report`] with findings.
pub fn run(
    file: &Arc<dyn ReadAt>,
    options: &VerifyOptions,
    progress: &dyn Progress,
) -> Result<Report, VerifyError> {
    run_with_rules(file, options, None, progress)
}

/// The same, with other rules than those that the archive carries.
///
/// # Errors
/// As [`run`].
pub fn run_with_rules(
    file: &Arc<dyn ReadAt>,
    options: &VerifyOptions,
    rules: Option<&RuleFile>,
    progress: &dyn Progress,
) -> Result<Report, VerifyError> {
    let findings = Findings::default();
    let mut report = Report::new(options.level, file.len());
    let file: &dyn ReadAt = &**file;
    if let Some(opened) = structure::open(file, &findings) {
        if let Some(manifest) = &opened.manifest {
            tables(&mut report, manifest);
        }
        if let Some(index) = &opened.index {
            let facts = index.facts(Digest::default());
            report.chunks = facts.chunks;
            report.objects = objects(index);
            let bases = opened.manifest.as_ref().map(|manifest| &*manifest.bases);
            let taken: u64 = bases.into_iter().flatten().map(|base| base.bytes).sum();
            progress.begin(Phase::Verify, report.rows, file.len().saturating_add(taken));
            let readable = options.level == Level::Quick
                || bases.is_some_and(|bases| bases::there(file, bases, &findings));
            let context = Context {
                file,
                seal: opened.seal,
                index,
                findings: &findings,
                progress,
                gate: Gate::new(u64::try_from(options.memory / 2).unwrap_or(u64::MAX)),
                threads: rayon::current_num_threads(),
                memory: options.memory,
                images: options.images,
                bases,
                can_read_bases: readable,
                standby: opened.manifest.as_ref().is_some_and(|manifest| manifest.source.standby),
            };
            let manifest = opened.manifest.as_ref();
            let (read, images, uses) = examine(&context, manifest, rules, options.level)?;
            if let Some(error) = index.fault() {
                // What was not found may be there all the same: nothing that was said is certain.
                let finding = Finding::new(Code::Unreadable, error.to_string());
                findings.add(finding.entry(ustar::INDEX));
            }
            report.images = images.all;
            report.uses = uses;
            report.images_damaged = images.damaged;
            for (table, read) in report.table_states.iter_mut().zip(read) {
                table.rows_read = read;
                table.state = TableState::Intact;
            }
        }
    }
    let findings = findings.finish();
    let hit: HashSet<_> = findings
        .iter()
        .filter(|finding| finding.severity == Severity::Error)
        .filter_map(|finding| finding.table.clone())
        .collect();
    let names = report_names(&report);
    for (table, name) in report.table_states.iter_mut().zip(names) {
        if hit.contains(&name) {
            table.state = TableState::Damaged;
        }
    }
    Ok(report.conclude(findings))
}

/// Runs the checks of the level; rows read of each table, what images came to, and who refers to rows
/// that are hit.
fn examine(
    context: &Context<'_>,
    manifest: Option<&Manifest>,
    rules: Option<&RuleFile>,
    level: Level,
) -> Result<(Vec<u64>, Images, Vec<Use>), VerifyError> {
    structure::layout(context, level == Level::Full)?;
    if let Some(manifest) = manifest {
        catalog::check(context, manifest);
    }
    let rules = manifest.map(|manifest| known_rules(context, manifest, rules)).unwrap_or_default();
    if level == Level::Quick {
        return Ok(Default::default());
    }
    catalog::texts(context, manifest);
    parity::check(context)?;
    let stored = objects::check(context)?;
    let Some(manifest) = manifest.filter(|_| context.can_read_bases) else {
        content::without_manifest(context)?;
        return Ok(Default::default());
    };
    let rows = stretch::Rows::new(context, manifest);
    let plan = plan::Plan::new(context, manifest, &rules, &rows.stretches);
    let wanted = Wanted::new(manifest, &rules, &rows);
    let counts = Counts::new(manifest, &rules, &rows);
    let partitions = Partitions::new(context, manifest, &rows);
    let work = Work { plan: &plan, wanted: &wanted, counts: &counts, partitions: &partitions };
    let (sorters, blobs) = content::check(context, manifest, &rows, &work, &stored)?;
    context.progress.begin(Phase::Images, 0, 0);
    let images = blobs::check(context, &wanted, &rows, blobs)?;
    context.progress.begin(Phase::Keys, 0, 0);
    let hurt = wanted.hurt.finish();
    let uses = keys::check(context, manifest, &plan, &rows, sorters, hurt)?;
    counts.check(context, &rows);
    if rows.all_read() {
        objects::unused(context, &stored)?;
    }
    Ok((rows.read(), images, uses))
}

/// The rules that can be checked; what is wrong with the others is told.
fn known_rules(context: &Context<'_>, manifest: &Manifest, given: Option<&RuleFile>) -> Rules {
    let (known, faults) = match (given, &manifest.rules) {
        (Some(given), _) => {
            let (known, unknown) = rules::resolve(given, &manifest.tables);
            (known, unknown.iter().map(|unknown| format!("the rule on {unknown}")).collect())
        }
        (None, Some(carried)) => rules::check(carried, &manifest.tables),
        (None, None) => (Rules::default(), Vec::new()),
    };
    for fault in faults {
        context.findings.add(Finding::new(Code::RuleNamesNothing, fault));
    }
    known
}

/// Packs and segments among the entries.
fn objects(index: &Index) -> u64 {
    let entries = index.facts(Digest::default()).entries;
    let object = |entry: &EntryRecord| matches!(entry.kind, EntryKind::Pack | EntryKind::Segment);
    let count = (0..entries).filter_map(|number| index.entry(number).ok()).filter(object).count();
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// Enters the tables of the manifest into the report.
fn tables(report: &mut Report, manifest: &Manifest) {
    let stored = manifest.tables.iter().filter_map(|table| {
        Some((table.name.schema.clone(), table.name.name.clone(), table.data?))
    });
    let large =
        manifest.large_objects.map(|data| (String::new(), "large objects".to_owned(), data));
    for (schema, name, data) in stored.chain(large) {
        report.tables += u64::from(!schema.is_empty());
        report.rows = report.rows.saturating_add(data.rows);
        report.blobs = report.blobs.saturating_add(data.blobs);
        report.blob_bytes = report.blob_bytes.saturating_add(data.blob_bytes);
        report.table_states.push(TableReport {
            schema,
            name,
            rows: data.rows,
            rows_read: 0,
            blobs: data.blobs,
            state: TableState::Unchecked,
        });
    }
}

/// The names that findings call the tables by.
fn report_names(report: &Report) -> Vec<String> {
    let shown = |table: &TableReport| {
        if table.schema.is_empty() {
            return table.name.clone();
        }
        crate::format::manifest::Name::new(&*table.schema, &*table.name).to_string()
    };
    report.table_states.iter().map(shown).collect()
}
