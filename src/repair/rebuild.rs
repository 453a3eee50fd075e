//! An archive without its end: what the entries that are there say, put together again.
//!
//! Headers are found by scanning, for one that is damaged would end a walk. The catalog says which
//! tables there were, the heads of objects say what they hold (spec sections 7.4 and 8.1): from them
//! an index is made. Nothing is believed without its digest. What a thin archive took from its bases
//! only its index said; values that rows in the file refer to are found in the bases by their digests.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::realign::{self, Header};
use super::salvage::Find;
use super::whole::Padded;
use super::{RepairError, whole};
use crate::format::digest::Digest;
use crate::format::index::{
    BlobRecord, ChunkRecord, EntryRecord, Index, IndexBytes, Records, SegmentRecord,
};
use crate::format::limits::{MANIFEST, SCHEMA_SQL};
use crate::format::manifest::{Base, Manifest, TableData, TableKind};
use crate::format::object::{self, BlobList};
use crate::format::reader::{self, Archive};
use crate::format::seal::Seal;
use crate::format::thin::{BaseFault, Joined};
use crate::format::ustar::EntryKind;
use crate::io::ReadAt;
use crate::progress::Progress;

/// What was put together.
pub(super) struct Rebuilt {
    /// It has no digests of tables, and segments only as far as they were found.
    pub(super) archive: Archive,
    /// Whether the file had parity.
    pub(super) protected: bool,
    /// Its bases, as far as they are there.
    pub(super) lenders: Vec<Archive>,
    /// What is wrong with its bases.
    pub(super) lacking: Vec<String>,
}

/// A header that is as it must be.
struct Found {
    kind: EntryKind,
    digest: Digest,
    /// Of the body.
    offset: u64,
    length: u64,
    created: u64,
}

/// Puts together what is there of an archive whose seal, manifest or index is lost.
pub(super) fn rebuild(
    file: &Arc<dyn ReadAt>,
    bases: Find<'_>,
    progress: &dyn Progress,
) -> Result<Rebuilt, RepairError> {
    let nothing = |what: &str| RepairError::Nothing(what.into());
    let found = headers(&**file, progress)?;
    let (catalog, created) = found
        .iter()
        .filter(|found| found.kind == EntryKind::Catalog)
        .find_map(|found| Some((catalog(&**file, found)?, found.created)))
        .ok_or_else(|| nothing("its end is lost, and so is the catalog at its beginning"))?;
    // The last one may reach past the end: what there is of it may hold whole values.
    let ends = found.iter().map(|found| found.offset.saturating_add(found.length));
    let file = &Padded::over(file, ends.max().unwrap_or(0));
    let protected = found.iter().any(|found| found.kind == EntryKind::Parity);
    let mut parts = Parts::default();
    let mut last: Option<(&Found, Option<bool>)> = None;
    for found in found.iter().filter(|found| found.created == created) {
        if progress.interrupted() {
            return Err(RepairError::Interrupted);
        }
        // What stands in an entry that is whole is not one, whatever it looks like. In one that is not,
        // bytes may be missing, and what followed it stand where it should still be.
        let within = last.as_mut().is_some_and(|(last, whole)| {
            found.offset < last.end() && *whole.get_or_insert_with(|| is_whole(&**file, last))
        });
        if !within && parts.take(&**file, found, &catalog) {
            last = Some((found, None));
        }
    }
    let (lenders, lacking) = lenders(&catalog.bases, bases, progress)?;
    let file = &join(file, &lenders);
    let (mut manifest, records) = parts.put_together(catalog, &lenders);
    let mut bytes = Vec::new();
    records.write(&mut bytes)?;
    let index = Index::parse(IndexBytes::Owned(bytes))
        .map_err(|error| RepairError::Nothing(error.to_string()))?;
    manifest.index = index.facts(Digest::default());
    let seal = Seal { total: file.len(), created, ..Seal::default() };
    let archive = Archive::assembled(Arc::clone(file), seal, manifest, index);
    let lenders = lenders.into_iter().flatten().collect();
    Ok(Rebuilt { archive, protected, lenders, lacking })
}

/// The bases of an archive as far as they are there, damaged ones too: whatever is taken from them
/// proves itself by its digest. And what is wrong with them.
type Lenders = (Vec<Option<Archive>>, Vec<String>);

fn lenders(
    wanted: &[Base],
    bases: Find<'_>,
    progress: &dyn Progress,
) -> Result<Lenders, RepairError> {
    let (mut lenders, mut lacking) = (Vec::new(), Vec::new());
    let mut found = bases(wanted).into_iter();
    for base in wanted {
        let mut fault = None;
        let lender = match found.next().flatten() {
            None => {
                fault = Some(BaseFault::Missing(*base));
                None
            }
            Some(file) => match Archive::from_file(Arc::clone(&file)) {
                Ok(archive) => {
                    let digest = archive.seal().manifest.digest;
                    if digest != base.manifest {
                        let what = format!("manifest {digest}");
                        fault = Some(BaseFault::Other { base: *base, what });
                    }
                    Some(archive)
                }
                Err(error) => {
                    fault = Some(BaseFault::Other { base: *base, what: error.to_string() });
                    match rebuild(&file, &|_| Vec::new(), progress) {
                        Err(RepairError::Interrupted) => return Err(RepairError::Interrupted),
                        rebuilt => rebuilt.ok().map(|rebuilt| rebuilt.archive),
                    }
                }
            },
        };
        lenders.push(lender);
        lacking.extend(fault.map(|fault| fault.to_string()));
    }
    Ok((lenders, lacking))
}

fn join(file: &Arc<dyn ReadAt>, lenders: &[Option<Archive>]) -> Arc<dyn ReadAt> {
    if lenders.is_empty() {
        return Arc::clone(file);
    }
    let of = |lender: &Option<Archive>| lender.as_ref().map(|archive| Arc::clone(archive.file()));
    Arc::new(Joined::new(Arc::clone(file), lenders.iter().map(of).collect()))
}

/// The chunk of this digest in one of the bases, and the pack that has it, in the joined file.
fn lent(lenders: &[Option<Archive>], digest: &Digest) -> Option<(EntryRecord, ChunkRecord)> {
    (1..).zip(lenders).find_map(|(number, lender)| {
        let index = lender.as_ref()?.index();
        let (_, chunk) = index.find_chunk(digest)?;
        // What a base has from its own bases, these have: they are all named here.
        let pack = index.entry(chunk.entry.into()).ok()?.in_base(number)?;
        (pack.kind == EntryKind::Pack).then_some((pack, chunk))
    })
}

impl Found {
    fn end(&self) -> u64 {
        self.offset.saturating_add(self.length)
    }
}

/// Whether an entry that was taken is there to its last byte. Of the SQL files that was seen already.
fn is_whole(file: &dyn ReadAt, found: &Found) -> bool {
    let kinds = [EntryKind::Pack, EntryKind::Segment];
    !kinds.contains(&found.kind)
        || kinds.into_iter().any(|kind| {
            let Found { digest, offset, length, .. } = *found;
            let entry = EntryRecord { kind, number: 0, offset, length, digest };
            let head = reader::read_head(file, &entry);
            let raw = whole::raw(file, &entry);
            head.ok()
                .zip(raw.ok())
                .is_some_and(|(head, raw)| object::check_chunks(&head, &raw).is_ok())
        })
}

/// Everything that is a header, in the order of the file, wherever it stands: bytes that were put in
/// or taken out move what is behind them.
fn headers(file: &dyn ReadAt, progress: &dyn Progress) -> Result<Vec<Found>, RepairError> {
    let mut found = Vec::new();
    let mut take = |header| found.extend(found_by(&header));
    realign::headers(file, 0, file.len(), &mut take, progress)?;
    Ok(found)
}

fn found_by(header: &Header) -> Option<Found> {
    let Header { at, name, length, created } = header;
    let named = |before: &str, after: &str| {
        Digest::from_hex(name.strip_prefix(before)?.strip_suffix(after)?.as_bytes())
    };
    let plain = [EntryKind::PreData, EntryKind::PostData];
    let (kind, digest) = if let Some(digest) = named("objects/", ".zst") {
        // Which of the two, its head says.
        (EntryKind::Pack, digest)
    } else if let Some(digest) = named("catalog/", ".cbor") {
        (EntryKind::Catalog, digest)
    } else if name.starts_with("parity/") {
        (EntryKind::Parity, Digest::default())
    } else {
        let kind = plain.into_iter().find(|kind| kind.name(&Digest::default(), 0) == *name)?;
        (kind, Digest::default())
    };
    Some(Found { kind, digest, offset: at + 512, length: *length, created: *created })
}

fn all_of(file: &dyn ReadAt, found: &Found, limit: u64) -> Option<Vec<u8>> {
    let end = found.offset.checked_add(found.length)?;
    if found.length > limit || end > file.len() {
        return None;
    }
    let mut bytes = vec![0; usize::try_from(found.length).ok()?];
    file.read_exact_at(&mut bytes, found.offset).ok()?;
    Some(bytes)
}

fn catalog(file: &dyn ReadAt, found: &Found) -> Option<Manifest> {
    let bytes = all_of(file, found, MANIFEST)?;
    if Digest::of(&bytes) != found.digest {
        return None;
    }
    reader::parse_manifest(&bytes).ok()
}

#[derive(Default)]
struct Parts {
    entries: Vec<EntryRecord>,
    chunks: Vec<ChunkRecord>,
    blobs: BTreeMap<Digest, BlobList>,
    /// Of each label.
    segments: HashMap<Vec<u8>, Vec<SegmentRecord>>,
}

impl Parts {
    /// Takes an entry if it is as it was written, as far as that can be told.
    fn take(&mut self, file: &dyn ReadAt, found: &Found, catalog: &Manifest) -> bool {
        let schema = &catalog.schema;
        let mut entry = EntryRecord {
            kind: found.kind,
            number: 0,
            offset: found.offset,
            length: found.length,
            digest: found.digest,
        };
        match found.kind {
            EntryKind::PreData | EntryKind::PostData => {
                entry.digest = match found.kind {
                    EntryKind::PreData => schema.pre_data_digest,
                    _ => schema.post_data_digest,
                };
                let digest = all_of(file, found, SCHEMA_SQL).map(|bytes| Digest::of(&bytes));
                if digest != Some(entry.digest) {
                    return false;
                }
                self.entries.push(entry);
            }
            EntryKind::Pack => return self.object(file, entry).is_some(),
            _ => return false,
        }
        true
    }

    fn object(&mut self, file: &dyn ReadAt, mut entry: EntryRecord) -> Option<()> {
        let mut read = reader::read_head(file, &entry);
        if read.is_err() {
            entry.kind = EntryKind::Segment;
            read = reader::read_head(file, &entry);
        }
        let head = read.ok()?;
        let number = u32::try_from(self.entries.len()).ok()?;
        entry.kind = head.kind;
        self.entries.push(entry);
        if head.kind == EntryKind::Segment {
            for blob in head.blobs {
                self.blobs.entry(blob.digest).or_insert(blob);
            }
            let rows = u32::try_from(head.rows).ok()?;
            let record = SegmentRecord { entry: number, rows };
            self.segments.entry(head.label).or_default().push(record);
            return Some(());
        }
        let mut offset = 0;
        for chunk in head.chunks {
            let length = chunk.length;
            self.chunks.push(ChunkRecord { digest: chunk.digest, entry: number, offset, length });
            offset = offset.checked_add(length)?;
        }
        Some(())
    }

    /// Takes the chunks that the lists of blobs name and the file has not from its bases.
    fn borrow(&mut self, lenders: &[Option<Archive>]) {
        let own: HashSet<Digest> = self.chunks.iter().map(|chunk| chunk.digest).collect();
        let named = self.blobs.values().flat_map(|blob| &blob.chunks);
        let wanted: BTreeSet<Digest> =
            named.filter(|digest| !own.contains(*digest)).copied().collect();
        let mut packs: HashMap<u64, u32> = HashMap::new();
        for (pack, mut chunk) in wanted.iter().filter_map(|digest| lent(lenders, digest)) {
            let Ok(next) = u32::try_from(self.entries.len()) else { return };
            chunk.entry = *packs.entry(pack.offset).or_insert_with(|| {
                self.entries.push(pack);
                next
            });
            self.chunks.push(chunk);
        }
    }

    /// The catalog with the rows that were found, and their index.
    fn put_together(
        mut self,
        mut manifest: Manifest,
        lenders: &[Option<Archive>],
    ) -> (Manifest, Records) {
        if !lenders.is_empty() {
            self.borrow(lenders);
        }
        self.chunks.sort_unstable_by_key(|chunk| (chunk.digest, chunk.entry));
        self.chunks.dedup_by_key(|chunk| chunk.digest);
        let mut records =
            Records { entries: self.entries, chunks: self.chunks, ..Records::default() };
        for blob in self.blobs.into_values() {
            let place = |digest: &Digest| {
                let at = records.chunks.binary_search_by_key(digest, |chunk| chunk.digest).ok()?;
                u32::try_from(at).ok()
            };
            // One of whose chunks is lost is lost: rows that refer to it will say so.
            let places: Option<Vec<u32>> = blob.chunks.iter().map(place).collect();
            let Some(places) = places else { continue };
            records.blobs.push(BlobRecord {
                digest: blob.digest,
                length: blob.length,
                first: u64::try_from(records.blob_chunks.len()).unwrap_or(u64::MAX),
                count: u32::try_from(places.len()).unwrap_or(u32::MAX),
            });
            records.blob_chunks.extend(places);
        }
        let mut data = |label: Vec<u8>| {
            let segments = self.segments.remove(&label).unwrap_or_default();
            let wide = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
            let data = TableData {
                rows: segments.iter().map(|segment| u64::from(segment.rows)).sum(),
                first_segment: wide(records.segments.len()),
                segments: wide(segments.len()),
                ..TableData::default()
            };
            records.segments.extend(segments);
            data
        };
        for table in &mut manifest.tables {
            if table.kind != TableKind::Partitioned {
                table.data = Some(data(object::label(Some(&table.name))));
            }
        }
        let large = data(object::label(None));
        manifest.large_objects = (large.segments > 0).then_some(large);
        (manifest, records)
    }
}
