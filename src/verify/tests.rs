//! Damage and semantic faults: archives are made by the writer, without a database, then changed
//! or written wrongly. A verifier that lets one of these pass is worth nothing.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::*;
use crate::format::base::OnBase;
use crate::format::batch::{Batch, BatchBuilder};
use crate::format::manifest::{
    Column, Enum, ForeignKey, Key, Manifest, Match, Name, OwnedBy, Schema, SchemaObject, Sequence,
    Source, Table, TableKind, TypeKind, TypeRef,
};
use crate::format::parity::Protection;
use crate::format::seal;
use crate::format::ustar;
use crate::format::writer::{ArchiveWriter, WriterOptions};
use crate::io::Scratch;
use crate::progress::Silent;

pub(super) fn type_ref(name: &str) -> TypeRef {
    match name {
        "mood" => TypeRef { name: Name::new("public", name), kind: TypeKind::Enum },
        _ => TypeRef { name: Name::new("pg_catalog", name), kind: TypeKind::Base },
    }
}

pub(crate) fn column(name: &str, of: &str, not_null: bool) -> Column {
    Column { base: type_ref(of), not_null, ..Column::new(name, of) }
}

pub(super) fn key(name: &str, columns: &[&str]) -> Key {
    Key::new(name, columns.iter().map(ToString::to_string).collect())
}

pub(crate) fn table(name: &str, columns: Vec<Column>, primary_key: Option<Key>) -> Table {
    Table { primary_key, ..Table::new(Name::new("public", name), columns) }
}

pub(super) fn foreign(name: &str, from: (&str, &[&str]), to: (&str, &[&str])) -> ForeignKey {
    let names = |columns: &[&str]| columns.iter().map(ToString::to_string).collect();
    ForeignKey {
        name: name.into(),
        table: Name::new("public", from.0),
        columns: names(from.1),
        references: Name::new("public", to.0),
        referenced_columns: names(to.1),
        match_type: Match::Simple,
        validated: true,
        enforced: true,
    }
}

/// What an archive is made from: tables with their rows as COPY text, but that the last column of
/// `image` is given apart.
#[derive(Clone)]
pub(crate) struct Sample {
    pub(super) manifest: Manifest,
    /// For each table with data: its rows.
    pub(crate) rows: Vec<Vec<String>>,
    pub(crate) images: Vec<Vec<u8>>,
    pub(super) pre: Vec<u8>,
}

pub(super) const CATEGORY: usize = 0;
pub(super) const IMAGE: usize = 1;
pub(super) const ITEM: usize = 2;

/// Compresses very well, and its lines differ: long enough, it is cut into unlike chunks.
pub(crate) fn words(length: usize) -> Vec<u8> {
    let line = |n| format!("{n:>1000} ").into_bytes();
    let mut out: Vec<u8> = (0..=length / 1000).flat_map(line).collect();
    out.truncate(length);
    out
}

pub(crate) fn noise(length: usize) -> Vec<u8> {
    crate::format::tests::noise(length, 1)
}

/// A category and its sub-categories, images, and items with a composite reference.
pub(crate) fn sample() -> Sample {
    let mut category = table(
        "category",
        vec![
            column("id", "int4", true),
            column("parent", "int4", false),
            column("name", "text", true),
        ],
        Some(key("category_pkey", &["id"])),
    );
    category.unique.push(key("category_name_key", &["name"]));
    let mut image =
        table("image", vec![column("fileId", "text", true), column("file", "bytea", true)], None);
    image.primary_key = Some(key("image_pkey", &["fileId"]));
    let item = table(
        "item",
        vec![
            column("id", "int8", true),
            column("category", "numeric", false),
            column("imageId", "text", false),
            column("mood", "mood", true),
        ],
        Some(key("item_pkey", &["id"])),
    );
    let pre = b"CREATE TABLE category;\nCREATE TABLE image;\n".to_vec();
    let object = |name: &str, offset, length| SchemaObject {
        kind: "TABLE".into(),
        schema: None,
        name: name.into(),
        owner: None,
        offset,
        length,
        drop: None,
    };
    let manifest = Manifest {
        tool: "test".into(),
        source: Source { encoding: "UTF8".into(), ..Source::default() },
        schema: Schema {
            pre_data: vec![object("category", 0, 23), object("image", 23, 20)],
            ..Schema::default()
        },
        enums: vec![Enum {
            name: Name::new("public", "mood"),
            labels: vec!["sad".into(), "ok".into()],
        }],
        tables: vec![category, image, item],
        foreign_keys: vec![
            foreign("item_category_fkey", ("item", &["category"]), ("category", &["id"])),
            foreign("item_image_fkey", ("item", &["imageId"]), ("image", &["fileId"])),
            foreign("category_parent_fkey", ("category", &["parent"]), ("category", &["id"])),
        ],
        sequences: vec![Sequence {
            name: Name::new("public", "item_id_seq"),
            last_value: 3,
            is_called: true,
            increment: 1,
            owned_by: Some(OwnedBy { table: Name::new("public", "item"), column: "id".into() }),
        }],
        ..Manifest::default()
    };
    let own = |rows: &[&str]| rows.iter().map(ToString::to_string).collect::<Vec<_>>();
    let rows = vec![
        own(&["1\t\\N\tfood", "2\t1\tfru\\tit", "3\t1\tស្រា"]),
        own(&["a", "b", "c", "d", "e"]),
        own(&["1\t1.00\ta\tok", "2\t\\N\tb\tsad", "3\t3\t\\N\tok"]),
    ];
    let images = vec![words(600_000), noise(300), b"tiny".to_vec(), noise(300), words(999)];
    Sample { manifest, rows, images, pre }
}

impl Sample {
    /// The archive, whose manifest `change` may falsify, and the catalog with it.
    pub(super) fn write_with(&self, change: impl Fn(&mut Manifest)) -> Vec<u8> {
        self.write_on(1_700_000_000, None, change)
    }

    /// The same, of another second, and thin where there is a base.
    pub(super) fn write_on(
        &self,
        created: u64,
        base: Option<Arc<OnBase>>,
        change: impl Fn(&mut Manifest),
    ) -> Vec<u8> {
        self.write_protected(created, base, None, change)
    }

    /// The same, with parity.
    pub(crate) fn write_protected(
        &self,
        created: u64,
        base: Option<Arc<OnBase>>,
        protection: Option<Protection>,
        change: impl Fn(&mut Manifest),
    ) -> Vec<u8> {
        let options = WriterOptions { created, memory: 1 << 20 };
        let scratch = Scratch::default();
        let mut writer =
            ArchiveWriter::create_on(Vec::new(), &options, protection, base, scratch).unwrap();
        let mut manifest = self.manifest.clone();
        let mut early = manifest.clone();
        for table in early.tables.iter_mut().filter(|table| table.kind != TableKind::Partitioned) {
            table.data = Some(crate::format::manifest::TableData::default());
        }
        change(&mut early);
        writer.schema(&self.pre, b"", &early).unwrap();
        let stored =
            manifest.tables.iter_mut().filter(|table| table.kind != TableKind::Partitioned);
        for (table, rows) in stored.zip(&self.rows) {
            writer.begin_table(Some(&table.name)).unwrap();
            if table.name.name == "image" {
                let mut builder = BatchBuilder::new(writer.known());
                for (name, image) in rows.iter().zip(&self.images) {
                    for field in name.split('\t') {
                        match field {
                            "\\N" => builder.null(),
                            _ => builder.text(field.as_bytes()),
                        }
                    }
                    builder.blob(image);
                    builder.end_row();
                }
                writer.batch(&builder.finish()).unwrap();
            } else {
                let text = rows.join("\n") + if rows.is_empty() { "" } else { "\n" };
                writer.batch(&Batch::from_copy_text(text.into_bytes()).unwrap()).unwrap();
            }
            table.data = Some(writer.end_table().unwrap());
        }
        change(&mut manifest);
        writer.finish(manifest).unwrap().0
    }

    pub(crate) fn write(&self) -> Vec<u8> {
        self.write_with(|_| ())
    }

    pub(super) fn told(&self) -> Vec<Finding> {
        full(self.write()).findings
    }
}

fn check(bytes: Vec<u8>, level: Level) -> Report {
    let file: Arc<dyn ReadAt> = Arc::new(bytes);
    run(&file, &VerifyOptions { level, memory: 1 << 20, ..VerifyOptions::default() }, &Silent)
        .unwrap()
}

pub(super) fn full(bytes: Vec<u8>) -> Report {
    check(bytes, Level::Full)
}

#[track_caller]
pub(super) fn exactly(findings: &[Finding], want: &[&str]) {
    let have: BTreeSet<_> = findings.iter().map(|finding| finding.code.id()).collect();
    assert_eq!(have, want.iter().copied().collect(), "{findings:#?}");
}

#[test]
fn a_good_archive_has_no_finding() {
    let bytes = sample().write();
    for level in [Level::Quick, Level::Full] {
        let report = check(bytes.clone(), level);
        exactly(&report.findings, &[]);
        assert!(report.ok && report.exit_code() == 0);
        assert_eq!((report.tables, report.rows, report.blobs), (3, 11, 4));
        assert_eq!(report.blob_bytes, 600_000 + 300 + 300 + 999);
        let want = if level == Level::Full { TableState::Intact } else { TableState::Unchecked };
        assert!(report.table_states.iter().all(|table| table.state == want));
    }
    let json = serde_json::to_value(full(bytes)).unwrap();
    assert_eq!(json["ok"], true);
}

/// The heart of the promise: nothing can change unseen.
#[test]
fn every_flipped_byte_is_found() {
    let bytes = sample().write();
    for at in 0..bytes.len() {
        let mut bad = bytes.clone();
        bad[at] ^= 1 << (at % 8);
        let report = full(bad);
        assert!(!report.ok, "byte {at} of {}", bytes.len());
    }
}

#[test]
fn every_truncation_is_found() {
    let bytes = sample().write();
    for length in 0..bytes.len() {
        for level in [Level::Quick, Level::Full] {
            let report = check(bytes[..length].to_vec(), level);
            assert!(!report.ok, "{length} of {} bytes", bytes.len());
        }
    }
    let mut longer = bytes;
    longer.extend([0; 512]);
    assert!(!check(longer, Level::Quick).ok);
}

/// Where the entries of a file begin and end, headers and padding included.
fn entries(bytes: &[u8]) -> Vec<std::ops::Range<usize>> {
    let mut out = Vec::new();
    let mut at = 0;
    while bytes[at] != 0 {
        let size = std::str::from_utf8(&bytes[at + 124..at + 135]).unwrap();
        let end = at + 512 + usize::from_str_radix(size, 8).unwrap().next_multiple_of(512);
        out.push(at..end);
        at = end;
    }
    out
}

#[test]
fn entries_swapped_removed_or_doubled_are_found() {
    let bytes = sample().write();
    let places = entries(&bytes);
    assert!(places.len() > 8);
    let rest = places.last().unwrap().end;
    let with = |order: &[usize]| {
        let mut out = Vec::new();
        for place in order {
            out.extend_from_slice(&bytes[places[*place].clone()]);
        }
        out.extend_from_slice(&bytes[rest..]);
        out
    };
    let order: Vec<usize> = (0..places.len()).collect();
    assert!(with(&order) == bytes);
    for one in 0..places.len() {
        let mut removed = order.clone();
        removed.remove(one);
        assert!(!full(with(&removed)).ok, "without entry {one}");
        for other in 0..places.len() {
            let mut doubled = order.clone();
            doubled.insert(other, one);
            assert!(!full(with(&doubled)).ok, "entry {one} again at {other}");
            if one < other {
                let mut swapped = order.clone();
                swapped.swap(one, other);
                let bad = with(&swapped);
                assert!(bad == bytes || !full(bad).ok, "entries {one} and {other} swapped");
            }
        }
    }
}

/// Changes the first byte of an entry's body after the one that has `needle`.
pub(super) fn damage(bytes: &mut [u8], needle: &[u8], change: impl FnOnce(&mut [u8])) {
    let at = bytes.windows(needle.len()).position(|window| window == needle).unwrap();
    change(&mut bytes[at..at + needle.len()]);
}

#[test]
fn damage_is_traced_to_tables_rows_and_blobs() {
    let mut bytes = sample().write();
    damage(&mut bytes, &noise(300)[100..200], |part| part[50] ^= 1);
    let report = full(bytes);
    exactly(&report.findings, &["E306", "E311"]);
    let hit: Vec<_> = report.findings.iter().filter(|f| f.code == Code::BlobDamaged).collect();
    assert_eq!(hit.iter().map(|f| f.row.unwrap()).collect::<Vec<_>>(), [2, 4]);
    assert_eq!(hit[0].table.as_deref(), Some("public.image"));
    assert_eq!(hit[0].column.as_deref(), Some("file"));
    assert_eq!(hit[0].key.as_deref(), Some("fileId = b"));
    assert_eq!(hit[0].blob, Some(Digest::of(&noise(300)).to_string()));
    let states: Vec<_> = report.table_states.iter().map(|table| table.state).collect();
    assert_eq!(states, [TableState::Intact, TableState::Damaged, TableState::Intact]);
    let used = Use {
        table: "public.image".into(),
        by: "public.item".into(),
        columns: vec!["imageId".into()],
        constraint: Some("item_image_fkey".into()),
        rule: None,
        rows: 1,
        at_least: false,
        examples: vec!["id = 2".into()],
    };
    assert_eq!(report.uses, [used]);
}

#[test]
fn lost_rows_are_named_and_references_to_them_are_not_called_broken() {
    let mut bytes = sample().write();
    damage(&mut bytes, b"fru\\tit", |part| part[0] ^= 1);
    let report = full(bytes);
    exactly(&report.findings, &["E303", "E409", "N608"]);
    let lost = report.findings.iter().find(|f| f.code == Code::RowsLost).unwrap();
    assert_eq!(lost.table.as_deref(), Some("public.category"));
    assert!(lost.message.starts_with("rows 1 to 3 are lost"), "{lost}");
}

#[test]
fn one_copy_of_the_seal_is_enough_to_go_on() {
    let bytes = sample().write();
    let seal = bytes.len() - seal::TAIL + 512;
    for copy in [0, 512] {
        let mut bad = bytes.clone();
        bad[seal + copy + 30] ^= 1;
        exactly(&full(bad).findings, &["E103"]);
    }
    let mut bad = bytes.clone();
    bad[seal + 30] ^= 1;
    bad[seal + 512 + 30] ^= 1;
    exactly(&full(bad).findings, &["E104"]);
    exactly(&full(b"something else".repeat(1000)).findings, &["E002"]);
    exactly(&full(Vec::new()).findings, &["E002"]);
}

#[test]
fn container_damage_has_its_codes() {
    let bytes = sample().write();
    let places = entries(&bytes);
    let flip = |at: usize| {
        let mut bad = bytes.clone();
        bad[at] ^= 1;
        full(bad).findings
    };
    exactly(&flip(places[0].start + 1), &["E105"]);
    exactly(&flip(places[5].start + 130), &["E105"]);
    exactly(&flip(places[0].end - 1), &["E106"]);
    exactly(&flip(bytes.len() - 1), &["E102"]);
    exactly(&flip(places[0].start + 600), &["E113"]);
    let from_end = |n: usize| places[places.len() - n].start;
    exactly(&flip(from_end(1)), &["E105"]);
    exactly(&flip(from_end(2) + 700), &["E201"]);
    exactly(&flip(from_end(3) + 700), &["E204"]);
}

/// Puts another body in place of an entry's after the objects, and seals again.
fn reseal(bytes: &[u8], change: impl FnOnce(&mut Vec<u8>, &mut Vec<u8>)) -> Vec<u8> {
    let places = entries(bytes);
    let start = bytes.len() - seal::TAIL;
    let mut sealed =
        seal::Seal::decode(bytes[start + 512..start + 1024].try_into().unwrap()).unwrap();
    let body = |place: &seal::Place| {
        let from = usize::try_from(place.offset).unwrap();
        bytes[from..from + usize::try_from(place.length).unwrap()].to_vec()
    };
    let (mut index, mut manifest) = (body(&sealed.index), body(&sealed.manifest));
    change(&mut index, &mut manifest);
    let mut out = bytes[..places[places.len() - 3].start].to_vec();
    for (name, body, place) in [
        (ustar::INDEX, &index, &mut sealed.index),
        (ustar::MANIFEST, &manifest, &mut sealed.manifest),
    ] {
        let length = body.len() as u64;
        out.extend(ustar::header(name, length, sealed.created));
        *place = seal::Place { offset: out.len() as u64, length, digest: Digest::of(body) };
        out.extend(body);
        out.resize(out.len() + ustar::padding(length), 0);
    }
    out.extend(ustar::header(ustar::SEAL, 1024, sealed.created));
    sealed.total = (out.len() + 2048) as u64;
    out.extend([sealed.encode(), sealed.encode()].concat());
    out.extend([0; 1024]);
    out
}

/// The same with a manifest that still describes the index.
fn reindex(bytes: &[u8], change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    reseal(bytes, |index, manifest| {
        change(index);
        let mut decoded: Manifest = crate::format::cbor::decode(manifest).unwrap();
        decoded.index.digest = Digest::of(index);
        *manifest = crate::format::cbor::encode(&decoded).unwrap();
    })
}

#[test]
fn resealed_manifests_and_indexes_are_seen_through() {
    let bytes = sample().write();
    assert!(reseal(&bytes, |_, _| ()) == bytes);
    exactly(&full(reseal(&bytes, |_, manifest| manifest.push(0))).findings, &["E202"]);
    let version = reseal(&bytes, |_, manifest| {
        let at = manifest.windows(8).position(|window| window == b"gversion").unwrap();
        manifest[at + 8] = 2;
    });
    let report = full(version);
    exactly(&report.findings, &["E003"]);
    assert_eq!(report.exit_code(), 4);
    let report = full(sample().write_with(|manifest| manifest.features.push("parity".into())));
    exactly(&report.findings, &["E004"]);
    assert_eq!(report.exit_code(), 4);
    exactly(&full(reseal(&bytes, |_, manifest| *manifest = b"\xa0".to_vec())).findings, &["E203"]);
    exactly(&full(reseal(&bytes, |index, _| index[100] ^= 0)).findings, &[]);
    exactly(&full(reindex(&bytes, |index| index[12] = 1)).findings, &["E205"]);
    // The index's own digest in the manifest.
    exactly(&full(reseal(&bytes, |index, _| index[64 + 24] ^= 1)).findings, &["E113", "E206"]);
}

#[test]
fn an_index_that_lies_is_seen_through() {
    let bytes = sample().write();
    let opened = crate::format::reader::Archive::from_file(Arc::new(bytes.clone())).unwrap();
    let facts = opened.manifest().index;
    let (entries, chunks) = (facts.entries, facts.chunks);
    assert!(facts.blobs == 1 && facts.blob_chunks >= 2 && facts.segments == 3);
    let at = |n: u64| usize::try_from(n).unwrap();
    let chunk = |n: u64| at(64 + 56 * entries + 44 * n);
    let blob = at(64 + 56 * entries + 44 * chunks);
    let lists = blob + 52;
    let segments = lists + 4 * at(facts.blob_chunks);
    // A chunk's length.
    let told = full(reindex(&bytes, |index| index[chunk(0) + 40] ^= 1)).findings;
    assert!(told.iter().any(|f| f.code == Code::IndexObjectDisagree), "{told:#?}");
    // The blob's length: the index and the row disagree.
    exactly(&full(reindex(&bytes, |index| index[blob + 32] ^= 1)).findings, &["E309", "E315"]);
    // The order of the blob's chunks.
    let swapped = reindex(&bytes, |index| {
        let (one, two) = index[lists..lists + 8].split_at_mut(4);
        one.swap_with_slice(two);
    });
    exactly(&full(swapped).findings, &["E310", "E311", "E315"]);
    // Rows of a segment.
    exactly(&full(reindex(&bytes, |index| index[segments + 4] += 1)).findings, &["E307"]);
    // Two segments swapped: the rows are those of another table.
    let swapped = reindex(&bytes, |index| {
        let (one, two) = index[segments..segments + 24].split_at_mut(16);
        one[..8].swap_with_slice(two);
    });
    let told = full(swapped).findings;
    assert!(told.iter().any(|f| f.code == Code::IndexObjectDisagree), "{told:#?}");
    // Entries of a kind that there is not, or out of order.
    let told = full(reindex(&bytes, |index| index[64] = 99)).findings;
    assert!(told.iter().any(|f| f.code == Code::UnexpectedEntry), "{told:#?}");
    let told = full(reindex(&bytes, |index| index[64 + 56] = 1)).findings;
    assert!(told.iter().any(|f| f.code == Code::DuplicateEntry), "{told:#?}");
    assert!(told.iter().any(|f| f.code == Code::MissingEntry), "{told:#?}");
    // The place of an entry.
    let told = full(reindex(&bytes, |index| index[64 + 56 + 9] ^= 8)).findings;
    assert!(told.iter().any(|f| matches!(f.code, Code::Gap | Code::Overlap)), "{told:#?}");
}

/// What is there for a file without its end has to be right in one that has it.
#[test]
fn catalog_and_lists_say_what_manifest_and_index_say() {
    let bytes = sample().write();
    let edited = |edit: &dyn Fn(&mut Manifest)| {
        full(reseal(&bytes, |_, manifest| {
            let mut decoded: Manifest = crate::format::cbor::decode(manifest).unwrap();
            edit(&mut decoded);
            *manifest = crate::format::cbor::encode(&decoded).unwrap();
        }))
    };
    exactly(&edited(&|manifest| manifest.source.database = "other".into()).findings, &["E208"]);
    exactly(&edited(&|manifest| manifest.sequences[0].last_value = 9).findings, &[]);
    let other = |manifest: &mut Manifest| manifest.schema.pre_data_digest = Digest([7; 32]);
    exactly(&edited(&other).findings, &["E206", "E208"]);
    let salvaged = |manifest: &mut Manifest| manifest.source.salvaged = Some("2 rows".into());
    let told = sample().write_with(salvaged);
    exactly(&full(told).findings, &["W209"]);
}

/// Every byte of index and manifest, changed and sealed again: digests do not stop these at the
/// door. Nothing may panic; what it comes to depends on the byte.
#[test]
fn resealed_noise_never_panics() {
    let bytes = sample().write();
    let opened = crate::format::reader::Archive::from_file(Arc::new(bytes.clone())).unwrap();
    for at in 0..usize::try_from(opened.seal().index.length).unwrap() {
        for value in [1, 0x80, 0xff] {
            let report = full(reindex(&bytes, |index| index[at] ^= value));
            assert!(!report.ok || report.warnings > 0, "index byte {at}");
        }
    }
    for at in 0..usize::try_from(opened.seal().manifest.length).unwrap() {
        full(reseal(&bytes, |_, manifest| manifest[at] ^= 1 << (at % 8)));
    }
}

#[test]
fn an_unreadable_sector_is_a_finding() {
    struct Bad(Vec<u8>, std::ops::Range<u64>);
    impl ReadAt for Bad {
        fn len(&self) -> u64 {
            ReadAt::len(&self.0)
        }
        fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
            let end = offset + buf.len() as u64;
            if offset < self.1.end && end > self.1.start {
                return Err(io::Error::from_raw_os_error(5));
            }
            self.0.read_exact_at(buf, offset)
        }
    }
    let bytes = sample().write();
    for at in (0..bytes.len() as u64).step_by(512) {
        let file: Arc<dyn ReadAt> = Arc::new(Bad(bytes.clone(), at..at + 512));
        let report = run(&file, &VerifyOptions::default(), &Silent).unwrap();
        assert!(report.findings.iter().any(|f| f.code == Code::Unreadable), "block at {at}");
    }
}
