//! Salvage: a new archive of what is whole, and no word of it that is not true.

use std::io::Read;
use std::sync::Arc;

use super::salvage::salvage;
use super::tests::{archive, archive_of, archive_with, manifest, noise, verdict};
use super::*;
use crate::format::batch::BatchBuilder;
use crate::format::digest::Digest;
use crate::format::manifest::{Base, Name, TableKind};
use crate::format::parity::Protection;
use crate::format::reader::{Archive, PackCache};
use crate::format::rows::{self, Bytea};
use crate::format::writer::{ArchiveWriter, WriterOptions};
use crate::progress::Silent;
use crate::verify::Code;

/// What is beyond repair is left out, and said; all else is in a new archive that verifies.
#[test]
fn rows_that_are_whole_are_salvaged() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let sizes = [500, 4_300_000, 70_000, 500, 10];
    for protection in [None, Some(Protection { share: 4, ..Protection::default() })] {
        let good = archive(&sizes, protection);
        let mut bad = good.clone();
        // Within the one large value.
        bad[1_000_000..2_500_000].fill(0);
        std::fs::write(path("bad"), &bad).unwrap();
        let options = RepairOptions {
            bases: Vec::new(),
            file: path("bad"),
            output: path("salvaged"),
            overwrite: true,
            memory: 64 << 20,
            salvage: true,
        };
        let done = run(&options, &Silent).unwrap();
        assert!(!done.report.whole);
        let salvage = done.salvaged.unwrap();
        let hit = |row: u64| {
            salvage.lost.iter().any(|lost| lost.row <= row && row < lost.row + lost.rows)
        };
        // What shares a pack with it may be lost too.
        assert!(hit(2) && !hit(3) && !hit(5), "{salvage:#?}");
        assert_eq!(salvage.rows_kept + salvage.rows_lost, 5);
        let bytes = std::fs::read(path("salvaged")).unwrap();
        let report = verdict(bytes.clone());
        assert!(report.ok && report.rows == salvage.rows_kept, "{:#?}", report.findings);
        let opened = crate::format::reader::Archive::from_file(Arc::new(bytes)).unwrap();
        let said = opened.manifest().source.salvaged.clone().unwrap();
        assert!(said.contains("rows of large objects could not be read"), "{said}");
        assert!(report.findings.iter().any(|finding| finding.code == Code::Salvaged));
        // Not damaged at all: repaired, never salvaged.
        std::fs::write(path("bad"), &good).unwrap();
        let done = run(&options, &Silent).unwrap();
        assert!(protection.is_none() || done.report.whole && done.salvaged.is_none());
    }
}

const SCHEMA: &[u8] = b"CREATE TABLE image ();";

/// Two tables of numbered rows; the first has blobs of one chunk and of many, some of them twice.
fn tables() -> Vec<u8> {
    let options = WriterOptions { created: 1_700_000_000, memory: 1 << 20 };
    let mut writer = ArchiveWriter::create(Vec::new(), &options).unwrap();
    let bytea = crate::verify::tests::column("file", "bytea", false);
    let int = || crate::verify::tests::column("id", "int8", true);
    let text = crate::verify::tests::column("note", "text", false);
    let table = crate::verify::tests::table;
    let mut manifest = manifest();
    manifest.tables =
        vec![table("image", vec![int(), bytea], None), table("note", vec![int(), text], None)];
    manifest.schema.pre_data = vec![crate::format::manifest::SchemaObject {
        kind: "TABLE".into(),
        schema: None,
        name: "image".into(),
        owner: None,
        offset: 0,
        length: SCHEMA.len() as u64,
        drop: None,
    }];
    writer.schema(SCHEMA, b"", &manifest).unwrap();
    writer.begin_table(Some(&manifest.tables[0].name)).unwrap();
    let sizes = [100_usize, 700_000, 70_000, 2_000_000, 700_000, 300, 2_500_000, 90_000];
    for (id, size) in (1_u64..).zip(sizes) {
        let mut builder = BatchBuilder::new(writer.known());
        builder.text(id.to_string().as_bytes());
        builder.blob(&noise(size, size as u64));
        builder.end_row();
        writer.batch(&builder.finish()).unwrap();
    }
    manifest.tables[0].data = Some(writer.end_table().unwrap());
    writer.begin_table(Some(&manifest.tables[1].name)).unwrap();
    let mut builder = BatchBuilder::new(writer.known());
    for id in 0..20_000_u64 {
        builder.text(id.to_string().as_bytes());
        builder.text(Digest::of(&id.to_le_bytes()).to_string().as_bytes());
        builder.end_row();
    }
    writer.batch(&builder.finish()).unwrap();
    manifest.tables[1].data = Some(writer.end_table().unwrap());
    writer.finish(manifest).unwrap().0
}

/// The rows of an archive, blobs held against their digests.
pub(super) fn all_rows(archive: &Archive) -> Vec<Vec<u8>> {
    let mut cache = PackCache::default();
    let mut all = Vec::new();
    for table in archive.manifest().tables.iter().filter(|table| table.kind == TableKind::Plain) {
        let data = table.data.unwrap();
        for number in data.first_segment..data.first_segment + data.segments {
            for row in rows::rows(&archive.segment(number).unwrap()) {
                let field = rows::fields(row).nth(1).unwrap();
                if table.name == Name::new("public", "image")
                    && let Some(Bytea::Blob(blob)) = rows::bytea(field).unwrap()
                {
                    let mut take = |_: &[u8]| Ok(());
                    archive.blob(blob, &mut cache, &mut take).unwrap();
                }
                all.push([table.name.to_string().as_bytes(), b" ", row].concat());
            }
        }
    }
    all
}

/// What a salvage of these bytes gives: the report, the new archive, verified.
fn salvaged(bytes: Vec<u8>) -> Result<(Salvage, Archive), RepairError> {
    let mut out = tempfile::tempfile().unwrap();
    let source: Arc<dyn ReadAt> = Arc::new(bytes);
    let none = |_: &[Base]| Vec::new();
    let file = out.try_clone().unwrap();
    let result = salvage(&source, &none, file, 64 << 20, Scratch::default(), &Silent)?;
    let mut bytes = Vec::new();
    std::io::Seek::rewind(&mut out).unwrap();
    out.read_to_end(&mut bytes).unwrap();
    let report = verdict(bytes.clone());
    assert!(report.ok, "{:#?}", report.findings);
    assert!(report.findings.iter().any(|finding| finding.code == Code::Salvaged));
    Ok((result, Archive::from_file(Arc::new(bytes)).unwrap()))
}

/// Where entries begin.
fn boundaries(archive: &Archive) -> Vec<usize> {
    let index = archive.index();
    let offset = |number| usize::try_from(index.entry(number).unwrap().offset).unwrap() - 512;
    (0..archive.manifest().index.entries).map(offset).collect()
}

#[test]
fn a_file_that_is_cut_off_anywhere() {
    let good = tables();
    let opened = Archive::from_file(Arc::new(good.clone())).unwrap();
    let all = all_rows(&opened);
    let starts = boundaries(&opened);
    let mut cuts: Vec<usize> = starts.iter().flat_map(|at| [*at, at + 700]).collect();
    cuts.extend((0..good.len()).step_by(good.len() / 12));
    // The catalog is the sixth.
    let known = starts[6];
    // Not in rayon, whose workers must not wait: the writer has its work done there.
    for cut in cuts {
        let cut = cut.min(good.len() - 1);
        match salvaged(good[..cut].to_vec()) {
            Err(RepairError::Nothing(_)) => assert!(cut < known, "nothing of {cut} bytes"),
            Err(error) => panic!("{cut}: {error}"),
            Ok((result, archive)) => {
                assert!(!result.counted && result.rows_kept <= all.len() as u64);
                let kept = all_rows(&archive);
                assert_eq!(kept.len() as u64, result.rows_kept);
                let mut rest = all.iter();
                assert!(kept.iter().all(|row| rest.any(|other| other == row)), "{cut}: other rows");
                // Every segment that is whole, and whose blobs are, is there.
                if cut > starts[starts.len() - 1] {
                    let least = all.len() - 15_000;
                    assert!(kept.len() > least, "{} rows of {} bytes", kept.len(), cut);
                }
            }
        }
    }
}

#[test]
fn nothing_but_the_end_is_lost() {
    let good = tables();
    let opened = Archive::from_file(Arc::new(good.clone())).unwrap();
    let index = usize::try_from(opened.seal().index.offset).unwrap();
    for end in [index, index + 64] {
        let (result, archive) = salvaged(good[..end].to_vec()).unwrap();
        assert_eq!(all_rows(&archive), all_rows(&opened));
        assert_eq!((result.rows_lost, result.counted), (0, false));
        let said = archive.manifest().source.salvaged.clone().unwrap();
        assert_eq!(said, "0 rows could not be read, and how many were never found is not known");
    }
}

/// An entry lost in the middle, and the end with it: what refers to it is named.
#[test]
fn damage_and_no_end() {
    let good = tables();
    let opened = Archive::from_file(Arc::new(good.clone())).unwrap();
    let end = usize::try_from(opened.seal().index.offset).unwrap();
    for at in boundaries(&opened).into_iter().skip(6) {
        for (from, to) in [(at, at + 512), (at + 512, at + 600), (at + 2048, at + 2049)] {
            let mut bad = good[..end].to_vec();
            bad[from..to].iter_mut().for_each(|byte| *byte ^= 0x55);
            let (result, archive) = salvaged(bad).unwrap();
            let kept = all_rows(&archive).len();
            assert!(kept < all_rows(&opened).len(), "entry at {at} is not needed");
            assert_eq!(kept as u64, result.rows_kept);
        }
    }
}

/// Another archive in the middle of this one, as a value may hold one: none of its rows are taken.
#[test]
fn an_archive_within_an_archive() {
    let good = tables();
    let opened = Archive::from_file(Arc::new(good.clone())).unwrap();
    let end = usize::try_from(opened.seal().index.offset).unwrap();
    let other = archive_of(1_600_000_000, &[500, 700], None);
    let both = [&good[..end], &other[..other.len() / 2 / 512 * 512]].concat();
    let (_, archive) = salvaged(both).unwrap();
    assert_eq!(all_rows(&archive), all_rows(&opened));
    assert_eq!(archive.manifest().large_objects, None);
}

/// A value that holds an entry of rows, made in the same second: they are the value's, not the table's.
#[test]
fn an_entry_within_a_value() {
    let inner = archive(&[40], None);
    let entries = boundaries(&Archive::from_file(Arc::new(inner.clone())).unwrap());
    let rows = entries.iter().find(|at| inner[**at..].starts_with(b"objects/")).unwrap();
    let entry = &inner[*rows..*rows + 1024];
    let value = [&noise(20_001, 5), entry, &noise(20_000, 6)].concat();
    let good = archive_with(1_700_000_000, std::iter::once(value), None);
    assert!(good.windows(1024).any(|window| window == entry), "it is not stored as it is");
    let opened = Archive::from_file(Arc::new(good.clone())).unwrap();
    let end = usize::try_from(opened.seal().index.offset).unwrap() - 512;
    let (result, archive) = salvaged(good[..end].to_vec()).unwrap();
    assert_eq!((result.rows_kept, result.rows_lost), (1, 0), "{result:#?}");
    assert_eq!(archive.manifest().large_objects.unwrap().rows, 1);
}

/// Bytes are missing within an entry, so that those behind it stand where it should still be.
#[test]
fn entries_that_stand_within_one_that_is_damaged() {
    let good = archive(&[4_100_000, 3_000_000, 700, 500], None);
    let begins = noise(64, 1);
    let at = good.windows(64).position(|window| window == begins).unwrap() + 1_000_000;
    let bad = [&good[..at], &good[at + 30_000..]].concat();
    let (result, archive) = salvaged(bad).unwrap();
    // The second value begins in the damaged pack, if it has room.
    assert!(result.rows_kept >= 2 && result.rows_lost >= 1, "{result:#?}");
    assert_eq!(result.rows_kept + result.rows_lost, 4);
    assert_eq!(archive.manifest().large_objects.unwrap().rows, result.rows_kept);
}

/// Where in `bytes` the value of `size` bytes stands, as it is where it does not compress.
fn place_of(bytes: &[u8], size: usize) -> usize {
    let value = &noise(size, size as u64)[..64];
    bytes.windows(64).position(|window| window == value).unwrap()
}

/// The ids of the images that are in a salvaged archive.
fn images(archive: &Archive) -> Vec<String> {
    let rows = all_rows(archive).into_iter().map(|row| String::from_utf8(row).unwrap());
    rows.filter_map(|row| Some(row.strip_prefix("public.image ")?.split('\t').next()?.into()))
        .collect()
}

/// The end of the file, and of the pack that it was cut off in, is lost: values before the cut are
/// not.
#[test]
fn values_of_a_pack_that_is_cut_off() {
    let good = tables();
    // The last pack begins with the value of 2,500,000 bytes or shortly before, and has the 90,000.
    let cut = place_of(&good, 90_000);
    let (result, archive) = salvaged(good[..cut].to_vec()).unwrap();
    let kept = images(&archive);
    assert!(!kept.contains(&"8".into()) && kept.contains(&"6".into()), "{kept:?} {result:#?}");
    let (_, archive) = salvaged(good[..cut + 90_000 + 3].to_vec()).unwrap();
    assert!(images(&archive).contains(&"8".into()));
}

/// What is damaged around values (a header, the framing of a block) costs none of them.
#[test]
fn damage_around_values() {
    let good = tables();
    let opened = Archive::from_file(Arc::new(good.clone())).unwrap();
    let all = all_rows(&opened);
    for at in boundaries(&opened).into_iter().skip(6) {
        let mut bad = good.clone();
        // The name in the header: what the entry is, the index says too.
        bad[at] ^= 1;
        let (result, archive) = salvaged(bad).unwrap();
        assert_eq!((all_rows(&archive), result.rows_lost), (all.clone(), 0), "entry at {at}");
    }
    let framing = place_of(&good, 2_000_000) - 1;
    let mut bad = good.clone();
    bad[framing] ^= 1;
    let lost = salvaged(bad).unwrap().0.rows_lost;
    assert!(lost <= 1, "{lost} rows for a byte in front of a value");
}
