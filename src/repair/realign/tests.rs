//! Bytes put in and taken out, of every length and at every kind of place: what is repaired is the
//! identical file, and what cannot be is said. Guards against a repair that takes other bytes for
//! those that were moved.

use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use crate::format::parity::{MAGIC, Protection};
use crate::format::reader::Archive;
use crate::format::ustar::EntryKind;
use crate::io::Scratch;
use crate::repair::salvage::salvage;
use crate::repair::tests::{
    SMALL, archive, archive_of, archive_with, mended, noise, repaired, verdict,
};
use crate::repair::tests_salvage::all_rows;

const LENGTHS: [usize; 7] = [1, 7, 511, 512, 513, 4096, 100_000];

fn put_in(good: &[u8], at: usize, length: usize) -> Vec<u8> {
    [&good[..at], &noise(length, 77 + at as u64), &good[at..]].concat()
}

fn taken_out(good: &[u8], at: usize, length: usize) -> Vec<u8> {
    let end = (at + length).min(good.len());
    [&good[..at], &good[end..]].concat()
}

/// Where the body of the longest pack is.
fn pack(good: &[u8]) -> Range<usize> {
    let archive = Archive::from_file(Arc::new(good.to_vec())).unwrap();
    let entries = (0..archive.manifest().index.entries).map(|n| archive.index().entry(n).unwrap());
    let packs = entries.filter(|entry| entry.kind == EntryKind::Pack);
    let longest = packs.max_by_key(|entry| entry.length).unwrap();
    let at = usize::try_from(longest.offset).unwrap();
    at..at + usize::try_from(longest.length).unwrap()
}

/// A place of every kind: the first byte, a header, the middle of a pack, parity (its head, a shard,
/// its header), index, manifest, parity of the tail, seal, end.
fn places(good: &[u8]) -> Vec<(&'static str, usize)> {
    let opened = Archive::from_file(Arc::new(good.to_vec())).unwrap();
    let seal = *opened.seal();
    let at = |n: u64| usize::try_from(n).unwrap();
    let pack = pack(good);
    let blocks: Vec<usize> =
        (0..good.len()).step_by(512).filter(|at| good[*at..].starts_with(MAGIC)).collect();
    vec![
        ("the start", 0),
        ("the first header", 130),
        ("a header", pack.start - 300),
        ("the boundary before a header", pack.start - 512),
        ("the middle of a pack", pack.start + pack.len() / 2 + 13),
        ("the end of a pack", pack.end - 1),
        ("the header of parity", blocks[0] - 200),
        ("the head of parity", blocks[0] + 140),
        ("the boundary before parity", blocks[0]),
        ("a parity shard", blocks[0] + (blocks[1] - blocks[0]) / 2),
        ("the second head of parity", blocks[1] + 200),
        ("the index", at(seal.index.offset) + 100),
        ("the manifest", at(seal.manifest.offset + seal.manifest.length / 2)),
        ("the parity of the tail", at(seal.tail.offset + seal.tail.length / 2)),
        ("the seal", good.len() - 1700),
        ("the end", good.len() - 1),
    ]
}

/// What parity has room for is mended wherever the cut is.
#[test]
fn bytes_put_in_are_taken_out_again() {
    for good in [
        archive(&[300, 50_000, 40_000], Some(SMALL)),
        archive(&[300, 50_000, 40_000], Some(Protection::default())),
    ] {
        for (what, at) in places(&good) {
            for length in LENGTHS {
                let bad = put_in(&good, at, length);
                repaired(bad, &good, &format!("{length} put in at {what} ({at})"));
            }
        }
    }
}

#[test]
fn bytes_taken_out_are_mended_where_there_is_parity_enough() {
    let small = archive(&[300, 50_000, 40_000], Some(SMALL));
    let large = archive(&[9_000_000, 700], Some(Protection { share: 64, ..Protection::default() }));
    for (good, least) in [(small, 4096), (large, 100_000)] {
        let last = good.len() - 2048;
        for (what, at) in places(&good) {
            for length in LENGTHS {
                let bad = taken_out(&good, at, length);
                let what = format!("{length} taken out at {what} ({at})");
                if length <= least && at + length < last || at > last {
                    repaired(bad, &good, &what);
                    continue;
                }
                let (report, result) = mended(bad);
                assert!(report.whole == (result == good) || !report.whole, "{what}");
                assert!(report.whole || !report.beyond.is_empty(), "{what}: {report:#?}");
            }
        }
    }
}

/// At any place, not only at those that were thought of.
#[test]
fn anything_is_either_mended_or_said() {
    let good = archive(&[300, 20_000, 90_000, 64], Some(SMALL));
    let mut whole = 0;
    let mut tries = 0;
    for (number, at) in (0..good.len()).step_by(good.len() / 150).enumerate() {
        let length = LENGTHS[number % 5];
        for bad in [put_in(&good, at, length), taken_out(&good, at, length)] {
            let (report, result) = mended(bad);
            assert!(!report.whole || result == good, "{length} at {at}: another file");
            assert!(report.whole || !report.beyond.is_empty());
            whole += usize::from(report.whole);
            tries += 1;
        }
    }
    assert_eq!(whole, tries, "not all of them were within parity's reach");
}

/// What was done is told with its length.
#[test]
fn it_is_told_what_was_moved() {
    let good = archive(&[300, 50_000], Some(SMALL));
    let at = pack(&good).start + 9000;
    for (bad, what) in [
        (put_in(&good, at, 513), "513 bytes that were put in"),
        (taken_out(&good, at, 513), "513 bytes are missing"),
    ] {
        let before = bad.len() as u64;
        let (report, _) = mended(bad);
        let told = report.repaired.iter().find(|stretch| stretch.what.contains(what));
        let told = told.unwrap_or_else(|| panic!("{report:#?}"));
        let at = at as u64;
        assert!(told.offset <= at && at <= told.offset + told.length + 513, "{told:?} {at}");
        assert!(told.length < 2048, "{told:?}");
        assert_eq!((report.bytes_before, report.bytes), (before, good.len() as u64));
    }
    // More than parity can give back is beyond repair, and is only what is around the cut.
    let (report, _) = mended(taken_out(&good, at, 20_000));
    let beyond: u64 = report.beyond.iter().map(|stretch| stretch.length).sum();
    assert!(!report.whole && beyond < 60_000, "{report:#?}");
    assert!(report.repaired.iter().any(|stretch| stretch.what.contains("20000 bytes are missing")));
}

/// In several windows, and several times in one.
#[test]
fn several_cuts() {
    let good = archive(&[300, 200_000, 40_000, 100_000], Some(SMALL));
    let mut bad = good.clone();
    for (number, at) in
        (5000..good.len()).step_by(40_000).enumerate().collect::<Vec<_>>().into_iter().rev()
    {
        let length = LENGTHS[number % 6];
        bad = if number % 2 == 0 { put_in(&bad, at, length) } else { taken_out(&bad, at, length) };
    }
    repaired(bad, &good, "a cut every 40,000 bytes");
}

/// One window of the default kind: what lies between two cuts has no parity head that says where it
/// belongs.
#[test]
fn several_cuts_in_one_window() {
    let good = archive(&[4_000_000, 4_100_000, 3_000_000, 600_000], Some(Protection::default()));
    let pack = pack(&good);
    // In different entries: tar headers say it.
    let mut bad = good.clone();
    for (at, length) in [(9_000_000, 100_000), (5_000_000, 513), (700_000, 77_777)] {
        bad = put_in(&bad, at, length);
    }
    repaired(bad, &good, "cuts in several packs");
    // In one pack: framing says it, also where it was moved far.
    let (one, two) = (pack.start + 400_000, pack.start + 2_900_000);
    let bad = put_in(&put_in(&good, two, 7), one, 100_000);
    repaired(bad, &good, "two cuts in one pack");
    let bad = put_in(&taken_out(&good, two, 50_000), one, 33_333);
    repaired(bad, &good, "put in, then taken out");
    // Little was moved: distances near those that are known.
    let mut bad = good.clone();
    for at in [two + 150_000, two + 20_000, two - 120_000] {
        bad = put_in(&bad, at, 3);
    }
    repaired(bad, &good, "three cuts close to each other");
}

/// Where nothing is stored as it is there is no framing: tar headers alone say it.
#[test]
fn several_cuts_in_compressed_packs() {
    let letters = |seed| noise(4_100_000, seed).iter().map(|byte| b'a' + byte % 16).collect();
    let good = archive_with(1_700_000_000, (1..5).map(letters), Some(Protection::default()));
    let headers: Vec<usize> =
        (0..good.len()).step_by(512).filter(|at| good[*at..].starts_with(b"objects/")).collect();
    let [.., one, two, _] = headers[..] else { panic!("{headers:?}") };
    assert!(two - one > 1_500_000);
    let cuts = [(two + 900_000, 100_000), (one + 700_000, 50_013)];
    let more = cuts.iter().fold(good.clone(), |bad, (at, length)| put_in(&bad, *at, *length));
    repaired(more, &good, "put in");
    let other = put_in(&taken_out(&good, two + 900_000, 60_000), one + 700_000, 50_013);
    repaired(other, &good, "taken out, and put in before");
}

/// A file that was sent as text.
#[test]
fn line_ends() {
    for good in
        [archive(&[300, 90_000], Some(SMALL)), archive(&[70_000], Some(Protection::default()))]
    {
        let each = |byte: &u8| match byte {
            b'\n' => vec![b'\r', b'\n'],
            other => vec![*other],
        };
        let bad: Vec<u8> = good.iter().flat_map(each).collect();
        assert!(bad.len() > good.len() + 300);
        repaired(bad.clone(), &good, "a carriage return before each line feed");
        let (report, _) = mended(bad);
        assert!(report.repaired[0].what.contains("text mode"), "{report:#?}");
        // The other way nobody knows where they were.
        let mut without = good.clone();
        for at in (1..good.len()).rev() {
            if &good[at - 1..=at] == b"\r\n" {
                without.remove(at - 1);
            }
        }
        let (report, result) = mended(without);
        assert!(!report.whole || result == good);
        let told = report.beyond.iter().chain(&report.repaired);
        let told: Vec<_> = told.filter(|stretch| stretch.what.contains("text mode")).collect();
        assert_eq!(told.len(), 1, "{report:#?}");
    }
}

/// An archive may hold another: it is never taken for the one that it is in.
#[test]
fn an_archive_within_an_archive() {
    let inner = archive_of(1_600_000_000, &[300, 9000], Some(SMALL));
    let outer = around(&inner);
    let start = outer.windows(200).position(|window| window == &inner[..200]).unwrap();
    let within = start..start + inner.len();
    assert!(outer[within.clone()] == inner);
    let at = start + inner.len() / 2;
    for (what, place) in [("before", 600), ("within", at), ("behind", outer.len() - 6000)] {
        for length in [1, 512, 4096] {
            repaired(put_in(&outer, place, length), &outer, what);
            repaired(taken_out(&outer, place, length), &outer, what);
        }
    }
    // All parity of the outer one is gone, and the inner one is whole: nothing is made of it.
    let mut bad = outer.clone();
    for at in 0..bad.len() - 16 {
        if bad[at..].starts_with(MAGIC) && !within.contains(&at) {
            bad[at..at + 16].fill(b'?');
        }
    }
    for bad in [bad.clone(), put_in(&bad, 3000, 7), bad[..bad.len() - 9000].to_vec()] {
        let (report, _) = mended(bad);
        assert!(!report.whole, "{report:#?}");
    }
}

/// In the only place where bytes are stored as they are, however they look.
fn around(inner: &[u8]) -> Vec<u8> {
    use crate::format::writer::{ArchiveWriter, WriterOptions};
    let options = WriterOptions { created: 1_700_000_000, memory: 1 << 20 };
    let mut writer = ArchiveWriter::create_protected(Vec::new(), &options, Some(SMALL)).unwrap();
    let manifest = crate::repair::tests::manifest();
    writer.schema(inner, b"", &manifest).unwrap();
    writer.finish(manifest).unwrap().0
}

/// Without parity, and where bytes are missing beyond it, rows that are whole are salvaged wherever
/// they stand now.
#[test]
fn what_was_moved_is_salvaged() {
    for protection in [None, Some(SMALL)] {
        let good = archive(&[300, 70_000, 60_000, 5000, 900], protection);
        let opened = Archive::from_file(Arc::new(good.clone())).unwrap();
        let pack = pack(&good);
        for at in [100, 4000, pack.start + 100_000] {
            for bad in
                [put_in(&good, at, 1001), taken_out(&good, at, 1001), taken_out(&good, at, 30_000)]
            {
                let file: Arc<dyn crate::io::ReadAt> = Arc::new(bad);
                let mut out = tempfile::tempfile().unwrap();
                let none = |_: &[crate::format::manifest::Base]| Vec::new();
                let copy = out.try_clone().unwrap();
                match salvage(
                    &file,
                    &none,
                    copy,
                    64 << 20,
                    Scratch::default(),
                    &crate::progress::Silent,
                ) {
                    Err(crate::repair::RepairError::Nothing(_)) => assert!(at < 5000),
                    Err(error) => panic!("{error}"),
                    Ok(result) => {
                        let mut bytes = Vec::new();
                        std::io::Seek::rewind(&mut out).unwrap();
                        std::io::Read::read_to_end(&mut out, &mut bytes).unwrap();
                        assert!(verdict(bytes).ok);
                        // What is behind the cut in the same pack is lost with it.
                        assert!(result.rows_kept >= 2, "{at}: {result:#?}");
                    }
                }
            }
        }
        assert!(all_rows(&opened).is_empty());
    }
}

/// Whatever a file says, the work is bounded: heads, headers and framing wherever one looks.
#[test]
fn a_file_of_nothing_but_marks() {
    let good = archive(&[300, 200_000], Some(SMALL));
    let block = (0..good.len()).step_by(512).find(|at| good[*at..].starts_with(MAGIC)).unwrap();
    let mut bad = good.clone();
    // All data gone, all heads there and moved.
    for at in (0..bad.len()).step_by(512) {
        if !bad[at..].starts_with(MAGIC) {
            bad[at..(at + 512).min(good.len())].copy_from_slice(&good[..512.min(good.len() - at)]);
        }
    }
    let framing = [0, 0, 0x10].repeat(100_000);
    let many = good[block..block + 1024].repeat(400);
    let began = Instant::now();
    for bad in [put_in(&bad, 100, 1), put_in(&good, 9000, 1)[..40_000].repeat(8), many, framing] {
        let (report, _) = mended(bad);
        assert!(!report.whole);
    }
    assert!(began.elapsed().as_secs() < 60, "{:?}", began.elapsed());
}
