//! An archive without its end: what the entries that are there say, put together again.
//!
//! Headers are found by scanning, for one that is damaged would end a walk. The catalog says which
//! tables there were, the heads of objects say what they hold (spec sections 7.4 and 8.1): from them
//! an index is made. Nothing is believed without its digest.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::RepairError;
use super::scan::{READ, SECTOR, read};
use super::whole::Padded;
use crate::format::digest::Digest;
use crate::format::index::{
    BlobRecord, ChunkRecord, EntryRecord, Index, IndexBytes, Records, SegmentRecord,
};
use crate::format::limits::{BLOCK, ENTRY, MANIFEST, SCHEMA_SQL};
use crate::format::manifest::{Manifest, TableData, TableKind};
use crate::format::object::{self, BlobList};
use crate::format::reader::{self, Archive};
use crate::format::seal::Seal;
use crate::format::ustar::{self, EntryKind};
use crate::io::ReadAt;
use crate::progress::Progress;

/// What was put together.
pub(super) struct Rebuilt {
    /// It has no digests of tables, and segments only as far as they were found.
    pub(super) archive: Archive,
    /// Whether the file had parity.
    pub(super) protected: bool,
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
    let mut end = 0;
    for found in found.iter().filter(|found| found.created == created) {
        if progress.interrupted() {
            return Err(RepairError::Interrupted);
        }
        // What stands in an entry that was taken is not one, whatever it looks like.
        if found.offset >= end && parts.take(&**file, found, &catalog) {
            end = found.offset.saturating_add(found.length);
        }
    }
    let (mut manifest, records) = parts.put_together(catalog);
    let mut bytes = Vec::new();
    records.write(&mut bytes)?;
    let index = Index::parse(IndexBytes::Owned(bytes))
        .map_err(|error| RepairError::Nothing(error.to_string()))?;
    manifest.index = index.facts(Digest::default());
    let seal = Seal { total: file.len(), created, ..Seal::default() };
    let archive = Archive::assembled(Arc::clone(file), seal, manifest, index);
    Ok(Rebuilt { archive, protected })
}

/// Every block that is a header, in the order of the file.
fn headers(file: &dyn ReadAt, progress: &dyn Progress) -> Result<Vec<Found>, RepairError> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < file.len() {
        if progress.interrupted() {
            return Err(RepairError::Interrupted);
        }
        let bytes = read(file, at, (file.len() - at).min(READ), SECTOR).bytes;
        let (blocks, _) = bytes.as_chunks::<BLOCK>();
        found.extend((at..).step_by(BLOCK).zip(blocks).filter_map(|(at, block)| header(at, block)));
        progress.bytes(READ);
        at += READ;
    }
    Ok(found)
}

fn header(at: u64, block: &[u8; BLOCK]) -> Option<Found> {
    if block.get(257..263)? != b"ustar\0" {
        return None;
    }
    let text = |from: usize, to: usize| {
        let field = block.get(from..to)?;
        let end = field.iter().position(|byte| *byte == 0).unwrap_or(field.len());
        std::str::from_utf8(field.get(..end)?).ok()
    };
    let name = text(0, 100)?;
    let number = |from, to| u64::from_str_radix(text(from, to)?, 8).ok();
    let (length, created) = (number(124, 136)?, number(136, 148)?);
    if ustar::header(name, length, created) != *block || length > ENTRY {
        return None;
    }
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
        let kind = plain.into_iter().find(|kind| kind.name(&Digest::default(), 0) == name)?;
        (kind, Digest::default())
    };
    Some(Found { kind, digest, offset: at + 512, length, created })
}

fn whole(file: &dyn ReadAt, found: &Found, limit: u64) -> Option<Vec<u8>> {
    let end = found.offset.checked_add(found.length)?;
    if found.length > limit || end > file.len() {
        return None;
    }
    let mut bytes = vec![0; usize::try_from(found.length).ok()?];
    file.read_exact_at(&mut bytes, found.offset).ok()?;
    Some(bytes)
}

fn catalog(file: &dyn ReadAt, found: &Found) -> Option<Manifest> {
    let bytes = whole(file, found, MANIFEST)?;
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
                let digest = whole(file, found, SCHEMA_SQL).map(|bytes| Digest::of(&bytes));
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

    /// The catalog with the rows that were found, and their index.
    fn put_together(mut self, mut manifest: Manifest) -> (Manifest, Records) {
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
