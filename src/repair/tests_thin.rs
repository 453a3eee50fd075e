//! Salvage of thin archives: what needs a base that is not there, or not whole, is missed by name,
//! and what can be had from one is not lost.

use std::collections::BTreeSet;
use std::io::Read;
use std::sync::Arc;

use super::salvage::salvage;
use super::tests::verdict;
use super::tests_salvage::all_rows;
use super::*;
use crate::format::base::OnBase;
use crate::format::manifest::Base;
use crate::format::parity::Protection;
use crate::format::reader::Archive;
use crate::format::thin::Joined;
use crate::format::ustar::EntryKind;
use crate::progress::Silent;
use crate::verify::tests::{Sample, noise, sample, words};

/// Bytes of the new image: more than a window's parity mends.
const NEW: usize = 20_000;
const SMALL: Protection = Protection { share: 32, shard: 512, window: 32 };

/// A base, and a thin archive on it: rows of two tables are new, those of the third are not; of the
/// images one is new, one is the old one with another middle, and the others are the old ones.
struct Pair {
    base: Vec<u8>,
    thin: Vec<u8>,
    /// All rows of the thin one.
    rows: Vec<Vec<u8>>,
}

fn later(first: &Sample) -> Sample {
    let mut later = first.clone();
    later.rows[0].push("4\t1\tmore".into());
    later.rows[1].insert(1, "aa".into());
    later.images.insert(1, noise(NEW));
    later.images[0][300_000..300_100].fill(b'#');
    later
}

fn pair(protection: Option<Protection>) -> Pair {
    let base = sample().write();
    let on = OnBase::new(Archive::from_file(Arc::new(base.clone())).unwrap()).unwrap();
    let thin =
        later(&sample()).write_protected(1_700_000_001, Some(Arc::new(on)), protection, |_| ());
    let joined = Joined::new(Arc::new(thin.clone()), vec![Some(Arc::new(base.clone()))]);
    let rows = all_rows(&Archive::from_file(Arc::new(joined)).unwrap());
    Pair { base, thin, rows }
}

/// The report, the new archive, which needs nothing, and its rows.
fn salvaged(
    bytes: Vec<u8>,
    base: Option<&[u8]>,
) -> Result<(Salvage, Archive, Vec<Vec<u8>>), RepairError> {
    let mut out = tempfile::tempfile().unwrap();
    let source: Arc<dyn ReadAt> = Arc::new(bytes);
    let bases = |wanted: &[Base]| {
        assert_eq!(wanted.len(), 1);
        vec![base.map(|bytes| Arc::new(bytes.to_vec()) as Arc<dyn ReadAt>)]
    };
    let result =
        salvage(&source, &bases, out.try_clone().unwrap(), 64 << 20, Scratch::default(), &Silent)?;
    let mut bytes = Vec::new();
    std::io::Seek::rewind(&mut out).unwrap();
    out.read_to_end(&mut bytes).unwrap();
    let report = verdict(bytes.clone());
    // Rows that are gone are missed by those that refer to them; nothing else is wrong.
    assert!(!report.findings.iter().any(is_damage), "{:#?}", report.findings);
    let archive = Archive::from_file(Arc::new(bytes)).unwrap();
    assert!(archive.manifest().bases.is_empty() && archive.manifest().features.is_empty());
    let rows = all_rows(&archive);
    assert_eq!(rows.len() as u64, result.rows_kept);
    Ok((result, archive, rows))
}

fn said(archive: &Archive) -> String {
    archive.manifest().source.salvaged.clone().unwrap()
}

fn within(part: &[Vec<u8>], all: &[Vec<u8>]) -> bool {
    let mut all = all.iter();
    part.iter().all(|row| all.any(|other| other == row))
}

/// Where the index begins.
fn end(bytes: &[u8]) -> usize {
    let archive = Archive::from_file(Arc::new(bytes.to_vec())).unwrap();
    usize::try_from(archive.seal().index.offset).unwrap() - 512
}

fn flipped(bytes: &[u8], value: &[u8]) -> Vec<u8> {
    let at = bytes.windows(64).position(|window| window == &value[..64]).unwrap();
    let mut bad = bytes.to_vec();
    bad[at] ^= 1;
    bad
}

#[test]
fn with_its_base_only_what_is_damaged_is_lost() {
    let Pair { base, thin, rows } = pair(None);
    let bad = flipped(&thin, &noise(NEW));
    let (result, archive, kept) = salvaged(bad, Some(&base)).unwrap();
    assert_eq!((result.rows_lost, result.counted, result.bases.len()), (1, true, 0), "{result:#?}");
    assert!(within(&kept, &rows) && kept.len() + 1 == rows.len());
    assert_eq!(result.lost[0].keys, ["fileId = aa"]);
    assert_eq!(said(&archive), "1 rows of public.image could not be read");
}

#[test]
fn without_its_base_what_needs_it_is_missed() {
    let Pair { base, thin, rows } = pair(None);
    let name = Archive::from_file(Arc::new(base.clone())).unwrap().seal().manifest.digest;
    let (result, archive, kept) = salvaged(thin.clone(), None).unwrap();
    assert!(result.counted && result.rows_lost > 0 && within(&kept, &rows));
    assert_eq!(result.rows_kept + result.rows_lost, rows.len() as u64);
    // The table that is all in the base, and of the images those that are.
    let lost: BTreeSet<_> = result.lost.iter().map(|lost| lost.table.as_str()).collect();
    assert_eq!(lost, BTreeSet::from(["public.image", "public.item"]));
    let why: BTreeSet<_> = result.lost.iter().map(|lost| lost.what.as_str()).collect();
    assert!(why.iter().all(|why| why.contains("base")), "{why:?}");
    assert!(kept.iter().any(|row| row.starts_with(b"public.image aa")));
    assert!(result.bases.len() == 1 && result.bases[0].contains(&name.to_string()));
    assert!(said(&archive).contains(&name.to_string()), "{}", said(&archive));
    // Another archive is not taken for it, and what it happens to have too is.
    let other = {
        let mut other = sample();
        other.rows[2].pop();
        other.write()
    };
    let (result, _, kept) = salvaged(thin, Some(&other)).unwrap();
    assert!(result.bases[0].contains("another archive"), "{:?}", result.bases);
    assert_eq!(result.rows_kept + result.rows_lost, rows.len() as u64);
    assert!(within(&kept, &rows) && result.rows_lost > 0);
}

#[test]
fn a_base_that_is_damaged_gives_what_is_whole_in_it() {
    let Pair { base, thin, rows } = pair(None);
    // Its seal: not one row is hit by that.
    let mut sealless = base.clone();
    let end_of_base = sealless.len();
    sealless[end_of_base - 2048..].fill(0);
    let (result, _, kept) = salvaged(thin.clone(), Some(&sealless)).unwrap();
    assert_eq!((result.rows_lost, kept.len(), result.bases.len()), (0, rows.len(), 1));
    // Cut off before its index.
    let (result, _, kept) = salvaged(thin.clone(), Some(&base[..end(&base)])).unwrap();
    assert_eq!((result.rows_lost, kept.len(), result.bases.len()), (0, rows.len(), 1));
    // An image, which two rows have.
    let bad = flipped(&base, &noise(300));
    let (result, _, kept) = salvaged(thin.clone(), Some(&bad)).unwrap();
    assert_eq!((result.rows_lost, result.lost[0].what.as_str()), (2, "a value is damaged"));
    assert!(within(&kept, &rows) && result.bases.is_empty());
    // Every object that is taken, in turn.
    let joined = Joined::new(Arc::new(thin.clone()), vec![Some(Arc::new(base.clone()))]);
    let archive = Archive::from_file(Arc::new(joined)).unwrap();
    let entries = (0..archive.manifest().index.entries).map(|n| archive.index().entry(n).unwrap());
    let mut hit = 0;
    for entry in entries.filter(|entry| entry.base() == 1) {
        let at = usize::try_from(entry.offset_in_file()).unwrap();
        let mut bad = base.clone();
        bad[at..at + 8].fill(0);
        let (result, _, kept) = salvaged(thin.clone(), Some(&bad)).unwrap();
        assert!(result.rows_lost > 0 && within(&kept, &rows), "{}", entry.name());
        assert_eq!(result.rows_kept + result.rows_lost, rows.len() as u64);
        hit += 1;
    }
    assert!(hit >= 2);
}

#[test]
fn cut_off_it_gives_its_own_rows_with_the_values_that_its_base_has() {
    let Pair { base, thin, rows } = pair(None);
    let own: Vec<_> = rows.iter().filter(|row| !row.starts_with(b"public.item")).cloned().collect();
    // A base that is whole, and one without its end.
    for base in [&base[..], &base[..end(&base)]] {
        let (result, archive, kept) = salvaged(thin[..end(&thin)].to_vec(), Some(base)).unwrap();
        assert_eq!(kept, own, "{result:#?}");
        assert!(!result.counted && result.rows_lost == 0);
        // That there were rows in the base, and how many cannot be known.
        let said = said(&archive);
        assert!(said.contains("is not known") && said.contains("it took from"), "{said}");
        assert!(result.bases[0].contains("that is lost"));
    }
    // Without it: the rows whose values are in the file.
    let (result, archive, kept) = salvaged(thin[..end(&thin)].to_vec(), None).unwrap();
    assert!(within(&kept, &own) && result.rows_lost == (own.len() - kept.len()) as u64);
    assert!(result.bases.len() == 2 && said(&archive).contains("an archive that is not there"));
    assert!(kept.iter().any(|row| row.starts_with(b"public.image aa")));
    assert!(!kept.iter().any(|row| row.starts_with(b"public.image a\t")));
    // Cut off anywhere: never a row that is not one, and never one without its values.
    for length in (0..thin.len()).step_by(thin.len() / 40) {
        match salvaged(thin[..length].to_vec(), Some(&base)) {
            Err(RepairError::Nothing(_)) => {}
            Err(error) => panic!("{length}: {error}"),
            Ok((result, _, kept)) => {
                assert!(within(&kept, &own) && !result.bases.is_empty(), "{length}");
            }
        }
    }
}

#[test]
fn where_nothing_is_left_without_the_base_there_is_no_archive() {
    let base = sample().write();
    let on = OnBase::new(Archive::from_file(Arc::new(base.clone())).unwrap()).unwrap();
    let same = sample().write_protected(1_700_000_001, Some(Arc::new(on)), None, |_| ());
    let name = Archive::from_file(Arc::new(base.clone())).unwrap().seal().manifest.digest;
    let told = salvaged(same.clone(), None).map(|_| ()).unwrap_err().to_string();
    assert!(told.contains(&name.to_string()), "{told}");
    let told = salvaged(same[..end(&same)].to_vec(), Some(&base)).map(|_| ()).unwrap_err();
    assert!(told.to_string().contains("that is lost"), "{told}");
}

/// Beside its base in a folder, or with it given, as from the command line; with parity.
#[test]
fn a_thin_archive_that_is_beyond_repair() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let Pair { base, thin, rows } = pair(Some(SMALL));
    let at = thin.windows(64).position(|window| window == &noise(NEW)[..64]).unwrap();
    let mut bad = thin.clone();
    bad[at..at + 18_000].fill(0);
    std::fs::write(path("thin.pgark"), &bad).unwrap();
    std::fs::create_dir(path("away")).unwrap();
    std::fs::write(path("away/base.pgark"), &base).unwrap();
    let mut options = RepairOptions {
        bases: vec![path("away")],
        file: path("thin.pgark"),
        output: path("rest.pgark"),
        overwrite: true,
        memory: 64 << 20,
        salvage: true,
    };
    for bases in [vec![path("away")], vec![path("away/base.pgark")], Vec::new()] {
        let lacks = bases.is_empty();
        options.bases = bases;
        let done = run(&options, &Silent).unwrap();
        let salvage = done.salvaged.unwrap();
        assert_eq!(salvage.bases.len(), usize::from(lacks), "{salvage:#?}");
        assert!(salvage.counted && salvage.rows_lost > 0);
        assert_eq!(salvage.rows_kept + salvage.rows_lost, rows.len() as u64);
        let result = std::fs::read(path("rest.pgark")).unwrap();
        let archive = Archive::from_file(Arc::new(result)).unwrap();
        assert!(within(&all_rows(&archive), &rows));
    }
    // Damage that parity mends needs no base.
    let mut bad = thin.clone();
    bad[at] ^= 1;
    std::fs::write(path("thin.pgark"), &bad).unwrap();
    let done = run(&options, &Silent).unwrap();
    assert!(done.report.whole && std::fs::read(path("rest.pgark")).unwrap() == thin);
}

/// That the tests above are about what they say.
#[test]
fn the_pair_is_what_it_should_be() {
    let Pair { thin, .. } = pair(None);
    let archive = Archive::from_file(Arc::new(thin)).unwrap();
    let index = archive.index();
    let entries = (0..archive.manifest().index.entries).map(|n| index.entry(n).unwrap());
    let taken: Vec<_> = entries.filter(|entry| entry.base() == 1).collect();
    assert!(taken.iter().any(|entry| entry.kind == EntryKind::Segment));
    // A value of many chunks, some of which are its own and some the base's.
    let mixed = (0..archive.manifest().index.blobs).any(|number| {
        let blob = index.blob(number).unwrap();
        let chunks =
            (0..u64::from(blob.count)).map(|at| index.blob_chunk(blob.first + at).unwrap());
        let homes: BTreeSet<_> = chunks
            .map(|chunk| index.entry(index.chunk(chunk).unwrap().entry.into()).unwrap().base())
            .collect();
        homes.len() == 2
    });
    assert!(mixed && words(10).len() == 10);
}
