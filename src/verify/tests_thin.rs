//! Thin archives: that what is taken from a base is checked as what is stored is, that a base that is
//! not there is never passed over, and that merging loses nothing.

use std::sync::Arc;

use super::tests::{Sample, exactly, full, noise, sample, words};
use super::*;
use crate::format::base::{NoBase, OnBase};
use crate::format::reader::{Archive, OpenError};
use crate::format::thin::{self, BASES, Joined};
use crate::io::Scratch;
use crate::merge;
use crate::progress::Silent;

const FIRST: u64 = 1_700_000_000;

/// Archives with the bases of each, oldest first.
struct Line(Vec<Vec<u8>>);

impl Line {
    fn begin(sample: &Sample) -> Self {
        Self(vec![sample.write()])
    }

    /// The archive of this number with all that it may be based on.
    fn joined(&self, number: usize) -> Arc<dyn ReadAt> {
        let file = |number: usize| Arc::new(self.0[number].clone()) as Arc<dyn ReadAt>;
        join(file(number), (0..number).rev().map(|number| Some(file(number))).collect())
    }

    fn base(&self) -> Arc<OnBase> {
        let archive = Archive::from_file(self.joined(self.0.len() - 1)).unwrap();
        Arc::new(OnBase::new(archive).unwrap())
    }

    /// Adds one on the last.
    fn add(&mut self, sample: &Sample) {
        self.add_with(sample, |_| ());
    }

    fn add_with(&mut self, sample: &Sample, change: impl Fn(&mut Manifest)) {
        let created = FIRST + self.0.len() as u64;
        self.0.push(sample.write_on(created, Some(self.base()), change));
    }

    fn report(&self, number: usize) -> Report {
        check(&self.joined(number), Level::Full)
    }
}

fn join(own: Arc<dyn ReadAt>, bases: Vec<Option<Arc<dyn ReadAt>>>) -> Arc<dyn ReadAt> {
    Arc::new(Joined::new(own, bases))
}

fn check(file: &Arc<dyn ReadAt>, level: Level) -> Report {
    let options = VerifyOptions { level, memory: 1 << 20, ..VerifyOptions::default() };
    run(file, &options, &Silent).unwrap()
}

/// One more row in a table, one more image, another image at the place of one.
fn changed(sample: &Sample) -> Sample {
    let mut changed = sample.clone();
    changed.rows[0].push("4\t1\tmore".into());
    changed.rows[1].insert(1, "aa".into());
    changed.images.insert(1, noise(5000));
    changed.images[3] = words(90_000);
    changed
}

fn manifest(bytes: &[u8]) -> Manifest {
    Archive::from_file(Arc::new(bytes.to_vec())).unwrap().manifest().clone()
}

#[test]
fn what_a_base_has_is_not_stored_and_all_is_there() {
    let mut line = Line::begin(&sample());
    let new = changed(&sample());
    line.add(&new);
    let report = line.report(1);
    exactly(&report.findings, &[]);
    let alone = full(new.write_on(FIRST + 1, None, |_| ()));
    assert_eq!((report.rows, report.blobs, report.images), (alone.rows, alone.blobs, alone.images));
    assert!(report.table_states.iter().all(|table| table.state == TableState::Intact));
    let manifest = manifest(&line.0[1]);
    assert_eq!((manifest.features.len(), manifest.bases.len()), (1, 1));
    let base = manifest.bases[0];
    // The pack that has the unchanged images, and the rows of `item`.
    assert_eq!((base.objects, base.created, base.length), (3, FIRST, line.0[0].len() as u64));
    // Of itself it has the new images.
    let holds =
        |number: usize, image: &[u8]| line.0[number].windows(100).any(|w| w == &image[..100]);
    assert!(holds(1, &noise(5000)));
    // An archive without a base knows nothing of all this.
    assert!(self::manifest(&line.0[0]).features.is_empty());
}

/// What is done to the rows of a table.
type Change = fn(&mut Vec<String>);

/// What makes thin archives small: where a segment ends, the rows themselves say.
#[test]
fn a_change_rewrites_the_segments_that_it_is_in() {
    let mut long = sample();
    let word = |n: u64| Digest::of(&n.to_le_bytes()).to_string();
    long.rows[2] = (0..60_000).map(|n| format!("{n}\t1\ta{}\tok", word(n))).collect();
    long.manifest.foreign_keys.clear();
    let segments = |line: &Line, number: usize| {
        let archive = Archive::from_file(line.joined(number)).unwrap();
        let entries = 0..archive.manifest().index.entries;
        let entries = entries.map(|number| archive.index().entry(number).unwrap());
        let rows: Vec<_> = entries.filter(|entry| entry.kind == EntryKind::Segment).collect();
        (rows.iter().filter(|entry| entry.base() == 0).count(), rows.len())
    };
    let mut line = Line::begin(&long);
    let all = segments(&line, 0).1;
    assert!(all > 6, "{all}");
    let changes: [(&str, Change); 4] = [
        ("inserted", |rows| rows.insert(30_000, "70000\t1\tnew\tok".into())),
        ("deleted", |rows| drop(rows.drain(100..200))),
        // An updated row goes to the end of the table.
        ("updated", |rows| {
            let row = rows.remove(45_000);
            rows.push(row.replace("ok", "sad"));
        }),
        ("appended", |rows| rows.push("70001\t1\tnew\tok".into())),
    ];
    for (what, change) in changes {
        change(&mut long.rows[2]);
        line.add(&long);
        let (own, all) = segments(&line, line.0.len() - 1);
        // That of the change, at most the one behind it, and for an update the last.
        assert!((1..=3).contains(&own), "{what}: {own} of {all} segments are new");
    }
    long.rows[2].reverse();
    line.add(&long);
    let (own, all) = segments(&line, line.0.len() - 1);
    assert!(own + 2 >= all - 2, "in another order nothing is the same: {own} of {all}");
}

#[test]
fn the_same_snapshot_on_the_same_base_gives_the_same_bytes() {
    let line = Line::begin(&sample());
    let thin = |_| changed(&sample()).write_on(FIRST + 1, Some(line.base()), |_| ());
    let all: Vec<_> = (0..8).map(thin).collect();
    assert!(all.iter().all(|bytes| *bytes == all[0]));
}

#[test]
fn merged_it_is_the_archive_that_would_have_been_written_without_a_base() {
    let mut line = Line::begin(&sample());
    let mut newest = changed(&sample());
    line.add(&newest);
    newest.rows[2].push("4\t3\tc\tok".into());
    line.add(&newest);
    for (number, sample) in [(1, changed(&sample())), (2, newest)] {
        let archive = Archive::from_file(line.joined(number)).unwrap();
        let (merged, _) =
            merge::merge(&archive, Vec::new(), 8 << 20, None, Scratch::default(), &Silent).unwrap();
        let alone = sample.write_on(FIRST + number as u64, None, |_| ());
        assert!(merged == alone, "{number}: {} and {} bytes", merged.len(), alone.len());
    }
}

#[test]
fn long_blobs_are_merged_piece_by_piece() {
    let mut long = sample();
    long.images[0] = noise(9 << 20);
    let mut line = Line::begin(&long);
    let mut new = changed(&long);
    new.images.push(noise((9 << 20) + 1));
    new.rows[1].push("f".into());
    line.add(&new);
    let archive = Archive::from_file(line.joined(1)).unwrap();
    let (merged, _) =
        merge::merge(&archive, Vec::new(), 8 << 20, None, Scratch::default(), &Silent).unwrap();
    assert!(merged == new.write_on(FIRST + 1, None, |_| ()));
}

#[test]
fn a_chain_is_followed() {
    let mut line = Line::begin(&sample());
    let mut new = sample();
    for step in 0..4 {
        new.rows[0].push(format!("{}\t1\tname {step}", step + 4));
        new.rows[1].push(format!("new {step}"));
        new.images.push(noise(400 + step));
        line.add(&new);
        exactly(&line.report(step + 1).findings, &[]);
    }
    let last = manifest(&line.0[4]);
    let taken: Vec<_> = last.bases.iter().map(|base| base.objects > 0).collect();
    // The nearest first; of each, its new image.
    assert_eq!(taken, [true, true, true, true]);
    // A link in the middle is missed by name.
    let file = |number: usize| Some(Arc::new(line.0[number].clone()) as Arc<dyn ReadAt>);
    let own = Arc::new(line.0[4].clone());
    let report = check(&join(own, vec![file(3), None, file(1), file(0)]), Level::Full);
    exactly(&report.findings, &["E210"]);
    assert!(report.findings[0].message.contains(&last.bases[1].manifest.to_string()));
}

#[test]
fn a_chain_ends_somewhere() {
    let mut line = Line::begin(&sample());
    for _ in 1..BASES {
        line.add(&sample());
    }
    exactly(&line.report(BASES - 1).findings, &[]);
    line.add(&sample());
    let archive = Archive::from_file(line.joined(BASES)).unwrap();
    assert_eq!(OnBase::new(archive).unwrap_err(), NoBase::TooMany(BASES + 1));
}

#[test]
fn without_its_base_nothing_passes() {
    let mut line = Line::begin(&sample());
    line.add(&changed(&sample()));
    let thin: Arc<dyn ReadAt> = Arc::new(line.0[1].clone());
    for alone in [Arc::clone(&thin), join(Arc::clone(&thin), vec![None])] {
        let report = check(&alone, Level::Full);
        exactly(&report.findings, &["E210"]);
        assert_eq!((report.ok, report.exit_code(), report.lacks_base()), (false, 3, true));
        let named = Archive::from_file(Arc::new(line.0[0].clone())).unwrap().seal().manifest.digest;
        assert!(report.findings[0].message.contains(&named.to_string()));
        assert!(report.table_states.iter().all(|table| table.state == TableState::Unchecked));
        // Its own bytes can be looked at all the same.
        exactly(&check(&alone, Level::Quick).findings, &[]);
        let archive = Archive::from_file(alone).unwrap();
        let missing = thin::check(&**archive.file(), archive.manifest()).map_err(OpenError::from);
        assert!(matches!(missing, Err(OpenError::Base(_))));
        assert!(
            merge::merge(&archive, Vec::new(), 8 << 20, None, Scratch::default(), &Silent).is_err()
        );
    }
    // And damage of them is found without it.
    let at = line.0[1].windows(100).position(|w| w == &noise(5000)[..100]).unwrap();
    let mut bad = line.0[1].clone();
    bad[at] ^= 1;
    exactly(&check(&(Arc::new(bad) as _), Level::Full).findings, &["E210", "E306"]);
}

#[test]
fn another_base_is_no_base() {
    let mut line = Line::begin(&sample());
    line.add(&changed(&sample()));
    let thin: Arc<dyn ReadAt> = Arc::new(line.0[1].clone());
    let mut same_length = line.0[0].clone();
    let end = same_length.len() - 1024;
    same_length[end - 1024..end].fill(0);
    let later = sample().write_on(FIRST + 9, None, |_| ());
    assert_eq!(later.len(), line.0[0].len());
    for other in [later, same_length, b"something else".to_vec(), line.0[1].clone()] {
        let report = check(&join(Arc::clone(&thin), vec![Some(Arc::new(other))]), Level::Full);
        exactly(&report.findings, &["E211"]);
        assert_eq!(report.exit_code(), 3);
    }
}

/// The promise of every archive, across two files.
#[test]
fn every_byte_that_is_taken_from_a_base_is_checked() {
    let mut small = sample();
    small.images[0] = noise(70_000);
    let mut line = Line::begin(&small);
    line.add(&changed(&small));
    let archive = Archive::from_file(line.joined(1)).unwrap();
    let taken: Vec<_> = (0..archive.manifest().index.entries)
        .map(|number| archive.index().entry(number).unwrap())
        .filter(|entry| entry.base() == 1)
        .collect();
    assert!(taken.len() >= 2);
    let mut hit = std::collections::BTreeSet::new();
    for entry in taken {
        let step = usize::try_from(entry.length / 300).unwrap().max(1);
        let start = usize::try_from(entry.offset_in_file()).unwrap();
        let chunks: Vec<_> = (0..archive.manifest().index.chunks)
            .map(|number| archive.index().chunk(number).unwrap())
            .filter(|chunk| archive.index().entry(chunk.entry.into()).unwrap() == entry)
            .collect();
        for at in (0..usize::try_from(entry.length).unwrap()).step_by(step) {
            let mut bad = line.0[0].clone();
            bad[start + at] ^= 1;
            let own: Arc<dyn ReadAt> = Arc::new(line.0[1].clone());
            let report = check(&join(own, vec![Some(Arc::new(bad))]), Level::Full);
            assert!(!report.ok, "byte {at} of {} ({} chunks)", entry.name(), chunks.len());
            assert!(!report.lacks_base());
            assert!(report.findings.iter().any(|finding| finding.message.contains("in base 1")));
            hit.extend(report.findings.iter().filter_map(|finding| finding.table.clone()));
        }
    }
    // The tables whose rows or images are hit are named.
    assert!(hit.contains("public.image") && hit.contains("public.item"), "{hit:?}");
}

#[test]
fn a_manifest_that_says_otherwise_than_the_index_is_found() {
    let mut line = Line::begin(&sample());
    line.add(&changed(&sample()));
    let report = line.report(1);
    assert_eq!(report.exit_code(), 0);
    // Written on one base and read as if there were no such feature.
    let archive = Archive::from_file(line.joined(1)).unwrap();
    let mut manifest = archive.manifest().clone();
    let told = |manifest: &Manifest| {
        let findings = Findings::default();
        bases::manifest(manifest, &findings);
        findings.finish()
    };
    exactly(&told(&manifest), &[]);
    manifest.features.clear();
    exactly(&told(&manifest), &["E203"]);
    manifest.features = vec!["thin".into()];
    manifest.bases.clear();
    exactly(&told(&manifest), &["E203"]);
    manifest.bases = vec![archive.manifest().bases[0]; BASES];
    exactly(&told(&manifest), &[]);
    manifest.bases.push(archive.manifest().bases[0]);
    exactly(&told(&manifest), &["E005"]);
}
