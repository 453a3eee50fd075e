//! What the inner loops do in a second: `cargo bench --bench kernels [NAME]`. Bytes are those that go
//! in, before compression.

#![allow(
    clippy::cast_possible_truncation,
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "as in tests: nothing here meets what it did not make"
)]

use std::hint::black_box;
use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use pgark::format::batch::{Batch, BatchBuilder, KnownBlobs};
use pgark::format::chunking::Cutter;
use pgark::format::digest::Digest;
use pgark::format::index::{ChunkRecord, Index, IndexBytes, Records};
use pgark::format::object::{self, Chunk, Contents, Head};
use pgark::format::parity::{Protection, Windows};
use pgark::format::rows;
use pgark::format::ustar::EntryKind;

const MIB: usize = 1 << 20;

/// Bytes that nothing makes shorter.
fn noise(length: usize) -> Vec<u8> {
    let words = (0..=(length as u64 / 32)).flat_map(|at| Digest::of(&at.to_le_bytes()).0);
    words.take(length).collect()
}

/// Rows as COPY writes them, of the kinds that web services have.
fn row_text(length: usize) -> Vec<u8> {
    let mut text = Vec::with_capacity(length + 200);
    for row in 0_u64.. {
        let word = ["summer", "winter", "savings", "travel"][row as usize % 4];
        let line = format!(
            "{row}\t{}\tOffer number {}: {word}, 100\\\\%\t\\N\tt\t2026-01-{:02} 08:00:00+00\n",
            row * 7919 % 20_000,
            row % 5000,
            row % 28 + 1
        );
        text.extend(line.bytes());
        if text.len() >= length {
            return text;
        }
    }
    text
}

fn group<'a>(c: &'a mut Criterion, name: &str, bytes: usize) -> BenchmarkGroup<'a, WallTime> {
    let mut group = c.benchmark_group(name);
    group.throughput(Throughput::Bytes(bytes as u64)).measurement_time(Duration::from_secs(3));
    group
}

fn hashing(c: &mut Criterion) {
    for (name, length) in [("5KiB", 5 << 10), ("1MiB", MIB)] {
        let bytes = noise(length);
        let mut group = group(c, "hashing", length);
        group.bench_function(name, |b| b.iter(|| Digest::of(black_box(&bytes))));
    }
}

fn chunking(c: &mut Criterion) {
    let any = noise(16 * MIB);
    let mut picture = b"\xff\xd8\xff\xe1\x03\xea".to_vec();
    picture.extend([&[b'x'; 1000][..], b"\xff\xda", &any].concat());
    for (name, bytes) in [("any", &any), ("picture", &picture)] {
        group(c, "chunking", bytes.len()).bench_function(name, |b| {
            b.iter(|| {
                let mut cutter = Cutter::new(bytes, bytes.len() as u64);
                let mut rest = bytes.as_slice();
                while !rest.is_empty() {
                    rest = &rest[cutter.next(black_box(rest)).length..];
                }
            });
        });
    }
}

fn contents(kind: EntryKind, raw: &[u8]) -> Contents {
    let chunk = Chunk { digest: Digest::of(raw), length: u32::try_from(raw.len()).unwrap() };
    Contents { kind, chunks: vec![chunk], rows: 0, label: Vec::new(), blobs: Vec::new() }
}

/// Objects: blobs stored as they are, and rows compressed; both ways.
fn packing(c: &mut Criterion) {
    let cases = [
        ("raw", contents(EntryKind::Pack, &noise(4 * MIB)), noise(4 * MIB), None),
        ("zstd-1", contents(EntryKind::Pack, &row_text(MIB)), row_text(MIB), Some(1)),
    ];
    for (name, contents, raw, level) in cases {
        group(c, "packing", raw.len()).bench_function(name, |b| {
            b.iter(|| object::encode(contents.clone(), black_box(raw.clone()), level));
        });
        let entry = object::encode(contents, raw.clone(), level).to_vec();
        let head = Head::length(entry.first_chunk().unwrap()).unwrap();
        let (head, body) = (Head::decode(&entry[..head]).unwrap(), &entry[head..]);
        group(c, "unpacking", raw.len()).bench_function(name, |b| {
            b.iter(|| object::decode_body(&head, black_box(body)).unwrap());
        });
    }
}

fn rows_and_blobs(c: &mut Criterion) {
    let text = row_text(2 * MIB);
    group(c, "rows", text.len()).bench_function("digests", |b| {
        b.iter(|| Batch::from_copy_text(black_box(text.clone())).unwrap());
    });
    group(c, "rows", text.len()).bench_function("fields", |b| {
        b.iter(|| {
            let fields = rows::rows(black_box(&text)).flat_map(rows::fields);
            fields.filter(|field| rows::unescape(field).unwrap().is_some()).count()
        });
    });
    let blobs: Vec<Vec<u8>> = noise(4 * MIB).chunks(20_000).map(<[u8]>::to_vec).collect();
    group(c, "rows", 4 * MIB).bench_function("blobs", |b| {
        b.iter(|| {
            let mut builder = BatchBuilder::new(KnownBlobs::default());
            for blob in &blobs {
                builder.blob(black_box(blob));
                builder.end_row();
            }
            builder.finish()
        });
    });
}

fn parity(c: &mut Criterion) {
    let bytes = noise(64 * MIB);
    let mut group = group(c, "parity", bytes.len());
    group.sample_size(10).bench_function("encode", |b| {
        b.iter(|| {
            let mut windows = Windows::new(Protection::default());
            windows.take(black_box(&bytes), 0);
            windows.close();
            windows.finished()
        });
    });
}

/// One lookup grows with the logarithm of the number of chunks, and takes no memory: the index is
/// searched where it is mapped.
fn index(c: &mut Criterion) {
    for (name, count) in [("10k", 10_000), ("1M", 1_000_000), ("10M", 10_000_000_u32)] {
        let digest = |number: u32| Digest::of(&number.to_le_bytes());
        let mut chunks: Vec<ChunkRecord> = (0..count)
            .map(|number| ChunkRecord {
                digest: digest(number),
                entry: 0,
                offset: number,
                length: 1,
            })
            .collect();
        chunks.sort_unstable_by_key(|chunk| chunk.digest.0);
        let mut bytes = Vec::new();
        Records { chunks, ..Records::default() }.write(&mut bytes).unwrap();
        let index = Index::parse(IndexBytes::Owned(bytes)).unwrap();
        let wanted: Vec<Digest> = (0..1024).map(|at| digest(at * 9973 % count)).collect();
        let mut group = c.benchmark_group("index");
        group.throughput(Throughput::Elements(wanted.len() as u64));
        group.bench_function(name, |b| {
            b.iter(|| wanted.iter().filter(|d| index.find_chunk(black_box(d)).is_some()).count());
        });
    }
}

criterion_group!(kernels, hashing, chunking, packing, rows_and_blobs, parity, index);
criterion_main!(kernels);
