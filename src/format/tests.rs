//! The writer and the reader together: what goes in comes out, whatever the batches were like,
//! and the same rows give the same bytes.

use proptest::prelude::*;

use super::batch::{Batch, BatchBuilder, KnownBlobs};
use super::digest::Digest;
use super::manifest::{Manifest, Name, TableData};
use super::reader::{Archive, PackCache, Section};
use super::rows::{self, Bytea};
use super::writer::{ArchiveWriter, WriterOptions};

/// A manifest that says nothing yet.
pub(crate) fn manifest() -> Manifest {
    Manifest { tool: "test".into(), ..Manifest::default() }
}

/// Bytes that nothing makes shorter; equal for equal seeds above 0.
pub(crate) fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let step = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    std::iter::repeat_with(step).flatten().take(length).collect()
}

/// Writes one table of `(id, blob)` rows in batches of the given size.
fn write(blobs: &[Vec<u8>], batch_rows: usize) -> (Vec<u8>, TableData) {
    let options = WriterOptions { created: 1_700_000_000, memory: 1 << 20 };
    let mut writer = ArchiveWriter::create(Vec::new(), &options).unwrap();
    writer.schema(b"CREATE TABLE t;", b"", &manifest()).unwrap();
    writer.begin_table(Some(&Name::new("public", "t"))).unwrap();
    let rows: Vec<_> = blobs.iter().enumerate().collect();
    for part in rows.chunks(batch_rows.max(1)) {
        let mut builder = BatchBuilder::new(writer.known());
        for (id, blob) in part {
            let long = usize::from(id % 500 == 7) * 3_000_000;
            builder.text(format!("row {id} {}", " ".repeat(long)).as_bytes());
            builder.blob(blob);
            builder.end_row();
        }
        writer.batch(&builder.finish()).unwrap();
    }
    let data = writer.end_table().unwrap();
    let mut manifest = manifest();
    manifest.large_objects = Some(data);
    let (bytes, written) = writer.finish(manifest).unwrap();
    assert_eq!(written.bytes, bytes.len() as u64);
    (bytes, data)
}

fn read(bytes: Vec<u8>, data: &TableData) -> Vec<Vec<u8>> {
    let archive = Archive::from_file(std::sync::Arc::new(bytes)).unwrap();
    assert_eq!(archive.schema_sql(Section::PreData).unwrap(), b"CREATE TABLE t;");
    let mut cache = PackCache::default();
    let mut blobs = Vec::new();
    for number in data.first_segment..data.first_segment + data.segments {
        let text = archive.segment(number).unwrap();
        for row in rows::rows(&text) {
            let field = rows::fields(row).nth(1).unwrap();
            blobs.push(match rows::bytea(field).unwrap().unwrap() {
                Bytea::Inline(bytes) => bytes,
                Bytea::Blob(blob) => {
                    let mut out = Vec::new();
                    let mut take = |piece: &[u8]| {
                        out.extend_from_slice(piece);
                        Ok(())
                    };
                    archive.blob(blob, &mut cache, &mut take).unwrap();
                    out
                }
            });
        }
    }
    blobs
}

#[test]
fn blobs_of_every_size_come_back_and_repeats_are_stored_once() {
    let sizes = [0, 1, 64, 65, 4096, 65_536, 65_537, 700_000, 5_000_000];
    let mut blobs: Vec<_> = (1..).zip(sizes).map(|(seed, size)| noise(size, seed)).collect();
    blobs.push(vec![b'a'; 300_000]);
    let (once, data) = write(&blobs, 3);
    assert_eq!(read(once.clone(), &data), blobs);
    let twice: Vec<_> = blobs.iter().chain(&blobs).cloned().collect();
    let (bytes, data) = write(&twice, 4);
    assert!(bytes.len() < once.len() + 10_000, "{} against {}", bytes.len(), once.len());
    assert_eq!(read(bytes, &data), twice);
}

/// Stretches of rows that come again are one object, too.
#[test]
fn rows_that_come_again_are_stored_once() {
    let line =
        |bytes: &[u8]| bytes.iter().fold(String::new(), |line, byte| format!("{line}{byte:02x}"));
    let rows: Vec<String> = noise(4_000_000, 9).chunks(60).map(line).collect();
    let written = |times: usize| {
        let options = WriterOptions { created: 1, memory: 1 << 20 };
        let mut writer = ArchiveWriter::create(Vec::new(), &options).unwrap();
        writer.schema(b"", b"", &manifest()).unwrap();
        writer.begin_table(None).unwrap();
        for _ in 0..times {
            for part in rows.chunks(10_000) {
                let text = part.join("\n") + "\n";
                writer.batch(&Batch::from_copy_text(text.into_bytes()).unwrap()).unwrap();
            }
        }
        let data = writer.end_table().unwrap();
        (writer.finish(manifest()).unwrap().0, data)
    };
    let ((once, first), (thrice, three)) = (written(1), written(3));
    assert!(first.segments > 4 && three.segments > 2 * first.segments);
    // What differs is where one stretch meets the next.
    assert!(thrice.len() < once.len() * 3 / 2, "{} against {}", thrice.len(), once.len());
    let archive = Archive::from_file(std::sync::Arc::new(thrice)).unwrap();
    let text: Vec<u8> =
        (0..three.segments).flat_map(|number| archive.segment(number).unwrap()).collect();
    assert!(rows::rows(&text).eq(rows.iter().cycle().take(3 * rows.len()).map(String::as_bytes)));
}

#[test]
fn the_cut_into_batches_leaves_no_trace() {
    let blobs: Vec<_> =
        (0..3000).map(|n| noise(usize::try_from(n * 37 % 9000).unwrap(), n % 700)).collect();
    let (one, _) = write(&blobs, 3000);
    for batch_rows in [1, 7, 1000] {
        assert!(write(&blobs, batch_rows).0 == one, "batches of {batch_rows}");
    }
}

#[test]
fn tar_lists_every_entry() {
    let (bytes, _) = write(&[noise(100_000, 1)], 1);
    let mut archive = tar::Archive::new(&bytes[..]);
    let names: Vec<_> = archive
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap().path().unwrap().to_string_lossy().into_owned())
        .collect();
    assert_eq!(names.first().map(String::as_str), Some("pgark-1.txt"));
    assert_eq!(names[names.len() - 3..], ["index", "manifest.cbor", "seal"]);
}

#[test]
fn a_streamed_blob_is_the_same_blob() {
    for size in [10, 70, 65_536, 65_537, 3_000_000] {
        let blob = noise(size, 5);
        let options = WriterOptions { created: 1, memory: 1 << 20 };
        let mut writer = ArchiveWriter::create(Vec::new(), &options).unwrap();
        writer.schema(b"", b"", &manifest()).unwrap();
        let mut pieces = blob.chunks(100_000).map(<[u8]>::to_vec);
        let stored = writer.blob(&mut || Ok(pieces.next())).unwrap();
        if size <= rows::INLINE_BYTEA {
            assert_eq!(stored, Bytea::Inline(blob));
            continue;
        }
        let Bytea::Blob(stored) = stored else { panic!("{size} bytes stayed inline") };
        assert_eq!((stored.digest, stored.length), (Digest::of(&blob), size as u64));
        // Cut in one piece it must come to the same chunks, or nothing is found twice.
        let mut builder = BatchBuilder::new(KnownBlobs::default());
        builder.blob(&blob);
        builder.end_row();
        writer.begin_table(None).unwrap();
        writer.batch(&builder.finish()).unwrap();
        writer.end_table().unwrap();
        let (_, written) = writer.finish(manifest()).unwrap();
        assert_eq!(written.chunk_bytes, size as u64);
    }
}

proptest! {
    // What failed is printed; a file of it would have megabytes.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(24) })]
    #[test]
    fn text_comes_back_as_it_was(
        lines in prop::collection::vec("[a-z]{0,2000}", 0..3000),
        batches in 1_usize..5,
    ) {
        let options = WriterOptions { created: 1, memory: 1 << 20 };
        let mut writer = ArchiveWriter::create(Vec::new(), &options).unwrap();
        writer.schema(b"", b"", &manifest()).unwrap();
        writer.begin_table(None).unwrap();
        for part in lines.chunks((lines.len() / batches).max(1)) {
            let text = part.join("\n") + "\n";
            writer.batch(&Batch::from_copy_text(text.into_bytes()).unwrap()).unwrap();
        }
        let data = writer.end_table().unwrap();
        let (bytes, _) = writer.finish(manifest()).unwrap();
        let archive = Archive::from_file(std::sync::Arc::new(bytes)).unwrap();
        let mut text = Vec::new();
        for number in 0..data.segments {
            text.extend(archive.segment(number).unwrap());
        }
        prop_assert_eq!(data.rows, lines.len() as u64);
        prop_assert!(rows::rows(&text).eq(lines.iter().map(String::as_bytes)));
    }
}
