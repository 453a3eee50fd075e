//! Thin archives: whether what they are based on is there, and whether the index takes from it as it
//! must (spec section 15).

use super::Context;
use super::codes::Code;
use super::findings::{Finding, Findings};
use crate::format::index::EntryRecord;
use crate::format::manifest::{Base, Manifest};
use crate::format::thin::{self, BASES, BaseFault, FEATURE};
use crate::format::ustar::{self, EntryKind};
use crate::io::ReadAt;

/// Whether every base that something is taken from is there and the one that is named.
pub(super) fn there(file: &dyn ReadAt, bases: &[Base], findings: &Findings) -> bool {
    let mut all = true;
    for (number, base) in (1..).zip(bases).filter(|(_, base)| base.objects > 0) {
        let Err(fault) = thin::has(file, number, base) else { continue };
        let code = match &fault {
            BaseFault::Missing(_) => Code::BaseMissing,
            BaseFault::Other { .. } => Code::BaseDiffers,
        };
        let what = format!("{fault}; {} objects of it are needed", base.objects);
        findings.add(Finding::new(code, what));
        all = false;
    }
    all
}

/// What a manifest says of bases, held against its features.
pub(super) fn manifest(manifest: &Manifest, findings: &Findings) {
    let thin = manifest.features.iter().any(|feature| feature == FEATURE);
    if thin == manifest.bases.is_empty() {
        let what =
            format!("the feature `{FEATURE}` is there exactly if bases are named, and is not");
        findings.add(Finding::new(Code::ManifestMalformed, what).entry(ustar::MANIFEST));
    }
    if manifest.bases.len() > BASES {
        let what = format!("{} bases; at most {BASES} can be", manifest.bases.len());
        findings.add(Finding::new(Code::LimitExceeded, what).entry(ustar::MANIFEST));
    }
}

/// The objects of bases among the index's entries: behind all others, in their order.
#[derive(Debug, Default)]
pub(super) struct Order {
    /// Where the last one is.
    last: u64,
    /// Objects and bytes of each base.
    sums: Vec<(u64, u64)>,
}

impl Order {
    /// Takes the next entry of the index.
    pub(super) fn next(&mut self, findings: &Findings, number: u64, entry: &EntryRecord) {
        let tell = |what: &str| {
            let what = format!("entry number {number} {what}");
            findings.add(Finding::new(Code::IndexMalformed, what).of_entry(entry));
        };
        let base = entry.base();
        if base == 0 && self.last != 0 {
            tell("is the archive's own and comes after what is taken from a base");
        }
        let Some(place) = base.checked_sub(1).and_then(|place| usize::try_from(place).ok()) else {
            return;
        };
        if entry.offset <= self.last {
            tell("is not in the order of bases and places in them");
        }
        self.last = entry.offset;
        if !matches!(entry.kind, EntryKind::Pack | EntryKind::Segment) || entry.number != 0 {
            tell("is taken from a base and is no object");
        }
        if self.sums.len() <= place {
            self.sums.resize(place + 1, (0, 0));
        }
        if let Some((objects, bytes)) = self.sums.get_mut(place) {
            *objects += 1;
            *bytes = bytes.saturating_add(entry.length);
        }
    }

    /// Holds what was taken against what the manifest says.
    pub(super) fn end(mut self, context: &Context<'_>) {
        let Some(bases) = context.bases else { return };
        if self.sums.len() < bases.len() {
            self.sums.resize(bases.len(), (0, 0));
        }
        for (at, (objects, bytes)) in self.sums.iter().enumerate() {
            let said = bases.get(at).map_or((0, 0), |base| (base.objects, base.bytes));
            if said != (*objects, *bytes) {
                let what = format!(
                    "the index takes {objects} objects of {bytes} bytes from base {}, the manifest \
                     says {} of {}",
                    at + 1,
                    said.0,
                    said.1
                );
                context.findings.add(Finding::new(Code::ManifestIndexDisagree, what));
            }
        }
    }
}
