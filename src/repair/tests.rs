//! Damage of every kind to small archives: what is repaired must be the identical file, what cannot
//! be must be said. A repair that guesses is worse than none.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use rayon::prelude::*;

use super::*;
use crate::format::batch::BatchBuilder;
use crate::format::manifest::{Manifest, Name, Source};
use crate::format::parity::Protection;
pub(super) use crate::format::tests::noise;
use crate::format::writer::{ArchiveWriter, WriterOptions};
use crate::progress::Silent;

/// Windows of at most 16 KiB.
pub(super) const SMALL: Protection = Protection { share: 64, shard: 512, window: 32 };

pub(super) fn manifest() -> Manifest {
    Manifest {
        tool: "test".into(),
        source: Source { encoding: "UTF8".into(), ..Source::default() },
        ..Manifest::default()
    }
}

/// Large objects of these sizes.
pub(super) fn archive(sizes: &[usize], protection: Option<Protection>) -> Vec<u8> {
    archive_of(1_700_000_000, sizes, protection)
}

/// The same, made at another time.
pub(super) fn archive_of(created: u64, sizes: &[usize], protection: Option<Protection>) -> Vec<u8> {
    let values = (1..).zip(sizes).map(|(number, size)| noise(*size, number));
    archive_with(created, values, protection)
}

/// With these large objects.
pub(super) fn archive_with(
    created: u64,
    values: impl Iterator<Item = Vec<u8>>,
    protection: Option<Protection>,
) -> Vec<u8> {
    let options = WriterOptions { created, memory: 1 << 20 };
    let mut writer = ArchiveWriter::create_protected(Vec::new(), &options, protection).unwrap();
    writer.schema(b"", b"", &manifest()).unwrap();
    writer.begin_table(None::<&Name>).unwrap();
    for (number, value) in (1_u64..).zip(values) {
        let mut builder = BatchBuilder::new(writer.known());
        for text in [number.to_string().as_bytes(), b"postgres", b"\\N", b"\\N"] {
            builder.text(text);
        }
        builder.blob(&value);
        builder.end_row();
        writer.batch(&builder.finish()).unwrap();
    }
    let mut manifest = manifest();
    manifest.large_objects = Some(writer.end_table().unwrap());
    writer.finish(manifest).unwrap().0
}

#[expect(clippy::needless_pass_by_value, reason = "most callers have made it for this")]
pub(super) fn mended(bytes: Vec<u8>) -> (RepairReport, Vec<u8>) {
    mended_from(&bytes)
}

fn mended_from(file: &dyn ReadAt) -> (RepairReport, Vec<u8>) {
    let mut target = Vec::new();
    let report = mend(file, &mut target, &Silent).unwrap();
    (report, target)
}

pub(super) fn verdict(bytes: Vec<u8>) -> Report {
    let file: Arc<dyn ReadAt> = Arc::new(bytes);
    verify::run(
        &file,
        &VerifyOptions { level: Level::Full, memory: 1 << 20, ..VerifyOptions::default() },
        &Silent,
    )
    .unwrap()
}

#[track_caller]
pub(super) fn repaired(bad: Vec<u8>, good: &[u8], what: &str) {
    let damaged = bad != good;
    let (report, result) = mended(bad);
    assert!(report.whole, "{what}: {report:#?}");
    assert!(result == good, "{what}: not the same bytes");
    assert_eq!(!report.repaired.is_empty(), damaged, "{what}: {report:#?}");
}

#[test]
fn protected_archives_are_good_and_the_same_every_time() {
    for protection in [SMALL, Protection::default()] {
        for sizes in [&[][..], &[100, 5000], &[40_000, 300_000, 70]] {
            let bytes = archive(sizes, Some(protection));
            assert!(bytes == archive(sizes, Some(protection)));
            let report = verdict(bytes.clone());
            assert!(report.ok && report.warnings == 0, "{:#?}", report.findings);
            repaired(bytes.clone(), &bytes, "no damage");
        }
    }
}

/// The heart of the promise.
#[test]
fn every_flipped_byte_is_repaired() {
    let good = archive(&[300, 2000], Some(SMALL));
    (0..good.len()).into_par_iter().for_each(|at| {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        repaired(bad, &good, &format!("byte {at} of {}", good.len()));
    });
}

#[test]
fn bursts_of_sectors_are_repaired() {
    for good in
        [archive(&[300, 90_000], Some(SMALL)), archive(&[9000], Some(Protection::default()))]
    {
        for start in (0..good.len()).step_by(512) {
            let mut bad = good.clone();
            let end = (start + 4096).min(bad.len());
            bad[start..end].fill(0);
            let (report, result) = mended(bad);
            // A sector can hold a whole head of parity and what it protects: then it is said.
            if report.whole {
                assert!(result == good, "sector at {start}");
            } else {
                panic!("sector at {start}: {report:#?}");
            }
        }
    }
}

#[test]
fn every_window_may_be_damaged_at_once() {
    let good = archive(&[50_000, 300_000, 5000], Some(SMALL));
    let mut bad = good.clone();
    for at in (100..bad.len()).step_by(8 << 10) {
        bad[at] ^= 0xff;
    }
    let (report, _) = mended(bad.clone());
    assert!(report.windows_damaged > 10, "{report:#?}");
    repaired(bad, &good, "every 8 KiB");
}

/// Windows of 1024 shards, which are many runs of the code.
#[test]
fn long_windows_are_repaired() {
    let long = Protection { share: 32, shard: 512, window: 1024 };
    let good = archive(&[1_500_000, 700_000], Some(long));
    let mut bad = good.clone();
    for at in (5000..bad.len()).step_by(100 << 10) {
        let end = (at + 1000).min(bad.len());
        bad[at..end].fill(0xee);
    }
    repaired(bad, &good, "bursts of 1000 bytes");
    let mut bad = good.clone();
    for at in (0..bad.len()).step_by(60 << 10) {
        bad[at] ^= 0x80;
    }
    repaired(bad, &good, "single bytes");
}

#[test]
fn a_file_without_its_end_is_repaired_from_the_tail_on() {
    let good = archive(&[300, 20_000], Some(SMALL));
    let (mut fixed, mut told) = (0, 0);
    for length in (0..good.len()).step_by(97).chain([good.len() - 1, good.len() - 2560]) {
        let (report, result) = mended(good[..length].to_vec());
        if report.whole {
            assert!(result == good, "cut to {length}");
            fixed += 1;
        } else {
            assert!(!report.beyond.is_empty());
            told += 1;
        }
    }
    assert!(fixed > 50 && told > 50, "{fixed} repaired, {told} told");
    let mut longer = good.clone();
    longer.extend(b"more");
    repaired(longer, &good, "something appended");
    let twice = [good.as_slice(), &good].concat();
    repaired(twice, &good, "two archives");
}

#[test]
fn too_much_damage_is_said_and_not_guessed() {
    let good = archive(&[60_000], Some(SMALL));
    let mut bad = good.clone();
    // Over the first windows and their parity, and into the long entry of the script: less would hit
    // the first window's parity alone, which is made again.
    bad[1024..30_000].fill(0x55);
    let (report, _) = mended(bad);
    assert!(!report.whole);
    let hit = |at: u64| report.beyond.iter().any(|s| s.offset <= at && at < s.offset + s.length);
    assert!(hit(1024) && hit(20_000) && hit(29_999) && !hit(31_000), "{report:#?}");
    let none = archive(&[60_000], None);
    let (report, _) = mended(none.clone());
    assert!(!report.whole && report.beyond[0].what.contains("without parity"), "{report:#?}");
    let (report, _) = mended(b"something else".to_vec());
    assert!(!report.whole);
}

struct Unreadable(Vec<u8>, Range<u64>);

impl ReadAt for Unreadable {
    fn len(&self) -> u64 {
        ReadAt::len(&self.0)
    }
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let end = offset + buf.len() as u64;
        if offset < self.1.end && end > self.1.start {
            return Err(io::Error::from_raw_os_error(5));
        }
        ReadAt::read_exact_at(&self.0, buf, offset)
    }
}

#[test]
fn sectors_that_cannot_be_read_are_erasures() {
    let good = archive(&[300, 20_000], Some(SMALL));
    for at in (0..good.len() as u64).step_by(4096) {
        let (report, result) = mended_from(&Unreadable(good.clone(), at..at + 4096));
        assert!(report.whole && result == good, "sector at {at}: {report:#?}");
    }
}

#[test]
fn the_repaired_file_appears_only_if_it_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let good = archive(&[20_000], Some(SMALL));
    let mut bad = good.clone();
    bad[3000] ^= 1;
    std::fs::write(path("bad"), &bad).unwrap();
    let options = RepairOptions {
        bases: Vec::new(),
        file: path("bad"),
        output: path("fixed"),
        overwrite: false,
        memory: 64 << 20,
        salvage: false,
    };
    let done = run(&options, &Silent).unwrap();
    assert!(done.report.whole && done.verified.is_some_and(|report| report.ok));
    assert!(std::fs::read(path("fixed")).unwrap() == good);
    assert!(std::fs::read(path("bad")).unwrap() == bad);
    assert!(matches!(run(&options, &Silent), Err(RepairError::Exists(_))));
    bad[1000..16_000].fill(0);
    std::fs::write(path("bad"), &bad).unwrap();
    let done = run(&RepairOptions { output: path("other"), ..options }, &Silent).unwrap();
    assert!(!done.report.whole && !path("other").exists());
}

/// Verification must see every byte of parity too.
#[test]
fn every_flipped_byte_of_a_protected_archive_is_found() {
    let good = archive(&[300, 2000], Some(SMALL));
    (0..good.len()).into_par_iter().for_each(|at| {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        assert!(!verdict(bad).ok, "byte {at} of {}", good.len());
    });
}

#[test]
fn parity_that_is_damaged_or_protects_nothing_is_found() {
    use crate::format::seal::{Place, Seal};
    let good = archive(&[300, 2000], Some(SMALL));
    let codes = |bytes: Vec<u8>| -> Vec<&str> {
        verdict(bytes).findings.iter().map(|finding| finding.code.id()).collect()
    };
    let magic = crate::format::parity::MAGIC;
    let places: Vec<usize> =
        (0..good.len()).step_by(512).filter(|at| good[*at..].starts_with(magic)).collect();
    for at in places {
        let mut bad = good.clone();
        bad[at + 130] ^= 1;
        assert_eq!(codes(bad), ["E901"], "block at {at}");
    }
    // A seal that knows nothing of the tail's parity.
    let at = good.len() - 2048;
    let mut seal = Seal::decode(good[at..at + 512].try_into().unwrap()).unwrap();
    seal.tail = Place::default();
    let mut bad = good.clone();
    bad[at..at + 1024].copy_from_slice(&[seal.encode(), seal.encode()].concat());
    let told = codes(bad);
    assert!(told.contains(&"E902") && told.contains(&"E107"), "{told:?}");
}
