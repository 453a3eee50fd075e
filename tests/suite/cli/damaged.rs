//! Damaged archives: nothing of them passes for whole.

use super::*;

/// A damaged pack is met while rows are already on their way out.
#[test]
fn cat_of_a_damaged_archive_fails() {
    let here = TempDir::new().unwrap();
    let path = archive(here.path());
    damage(&path);
    let ran = pgark(here.path(), &["cat", "shop.pgark", "image"]);
    assert_eq!(ran.code, Some(3));
    assert!(ran.stderr.contains("hint: pgark verify shop.pgark"), "{}", ran.stderr);
    assert_eq!(pgark(here.path(), &["cat", "shop.pgark", "user"]).code, Some(0));
}

/// An archive with parity, and the same with a burst of damage in it.
fn protected(here: &Path) -> Vec<u8> {
    let options = WriterOptions { created: 1_795_417_509, memory: 64 << 20 };
    let protection = Some(pgark::format::parity::Protection::default());
    let mut writer = ArchiveWriter::create_protected(Vec::new(), &options, protection).unwrap();
    let mut manifest = Manifest {
        tool: "test".into(),
        source: Source { encoding: "UTF8".into(), ..Source::default() },
        ..Manifest::default()
    };
    writer.schema(b"", b"", &manifest).unwrap();
    writer.begin_table(None).unwrap();
    let mut rows = BatchBuilder::new(writer.known());
    for text in ["7", "postgres", "\\N", "\\N"] {
        rows.text(text.as_bytes());
    }
    rows.blob(&picture());
    rows.end_row();
    writer.batch(&rows.finish()).unwrap();
    manifest.large_objects = Some(writer.end_table().unwrap());
    let good = writer.finish(manifest).unwrap().0;
    let mut bad = good.clone();
    bad[200_000..204_096].fill(0);
    std::fs::write(here.join("bad.pgark"), &bad).unwrap();
    good
}

/// A damaged file becomes the one that was written, or nothing at all.
#[test]
fn repair_gives_the_same_file_back_or_none() {
    let here = TempDir::new().unwrap();
    let good = protected(here.path());
    let damaged = pgark(here.path(), &["verify", "bad.pgark"]);
    assert_eq!(damaged.code, Some(1));
    assert!(damaged.stdout.contains("pgark repair bad.pgark -o FIXED"), "{}", damaged.stdout);
    let ran = pgark(here.path(), &["repair", "bad.pgark", "-o", "fixed.pgark"]);
    assert_eq!(ran.code, Some(0), "{}{}", ran.stdout, ran.stderr);
    assert!(ran.stdout.starts_with("fixed.pgark: REPAIRED."), "{}", ran.stdout);
    assert!(std::fs::read(here.path().join("fixed.pgark")).unwrap() == good);
    // Not over a file that is there, unless asked to.
    let ran = pgark(here.path(), &["repair", "bad.pgark", "-o", "fixed.pgark"]);
    assert_eq!(ran.code, Some(3), "{}{}", ran.stdout, ran.stderr);
    let ran = pgark(here.path(), &["repair", "fixed.pgark", "-o", "copy.pgark", "--json"]);
    assert_eq!(ran.code, Some(0), "{}{}", ran.stdout, ran.stderr);
    let object: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert!(object["ok"] == true && object["repaired"].as_array().unwrap().is_empty());

    let mut worse = good;
    worse[1000..350_000].fill(7);
    std::fs::write(here.path().join("worse.pgark"), worse).unwrap();
    let ran = pgark(here.path(), &["repair", "worse.pgark", "-o", "none.pgark"]);
    assert_eq!(ran.code, Some(1), "{}{}", ran.stdout, ran.stderr);
    assert!(ran.stdout.starts_with("worse.pgark: BEYOND REPAIR."), "{}", ran.stdout);
    assert!(!here.path().join("none.pgark").exists());
    let ran = pgark(here.path(), &["repair", "absent.pgark", "-o", "none.pgark"]);
    assert_eq!(ran.code, Some(3), "{}{}", ran.stdout, ran.stderr);
}

/// Bytes put in, and a transfer in text mode: mended where it can be, and said what it was.
#[test]
fn what_a_transfer_did_is_undone_or_named() {
    let here = TempDir::new().unwrap();
    let good = protected(here.path());
    let write = |name: &str, bytes: &[u8]| std::fs::write(here.path().join(name), bytes).unwrap();
    let repair = |name: &str| pgark(here.path(), &["repair", name, "-o", "fixed.pgark", "--force"]);
    write("longer.pgark", &[&good[..200_000], b"more", &good[200_000..]].concat());
    let ran = repair("longer.pgark");
    assert_eq!(ran.code, Some(0), "{}{}", ran.stdout, ran.stderr);
    assert!(ran.stdout.contains("4 bytes that were put in"), "{}", ran.stdout);
    assert!(std::fs::read(here.path().join("fixed.pgark")).unwrap() == good);

    let text: Vec<u8> = good
        .iter()
        .flat_map(|byte| if *byte == b'\n' { vec![b'\r', b'\n'] } else { vec![*byte] })
        .collect();
    write("text.pgark", &text);
    let ran = pgark(here.path(), &["verify", "text.pgark"]);
    assert_eq!(ran.code, Some(1), "{}", ran.stdout);
    assert!(ran.stdout.contains("a transfer in text mode"), "{}", ran.stdout);
    let ran = repair("text.pgark");
    assert_eq!(ran.code, Some(0), "{}{}", ran.stdout, ran.stderr);
    assert!(ran.stdout.contains("a transfer in text mode"), "{}", ran.stdout);
    assert!(std::fs::read(here.path().join("fixed.pgark")).unwrap() == good);

    let without: Vec<u8> = good.iter().copied().filter(|byte| *byte != b'\r').collect();
    write("without.pgark", &without);
    for verb in ["verify", "repair"] {
        let ran = match verb {
            "verify" => pgark(here.path(), &["verify", "without.pgark"]),
            _ => pgark(here.path(), &["repair", "without.pgark", "-o", "none.pgark"]),
        };
        assert_eq!(ran.code, Some(1), "{}{}", ran.stdout, ran.stderr);
        assert!(ran.stdout.contains("in binary mode"), "{verb}: {}", ran.stdout);
    }
    assert!(!here.path().join("none.pgark").exists());
}
