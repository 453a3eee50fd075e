//! What the fuzz targets check, over their seeds and over every input that failed once: a fault that
//! was found must not come back. The seeds must reach what they are for, or a fuzzer starts from
//! nothing.

use std::fs;
use std::path::Path;

use crate::support::root;

#[path = "../../fuzz/checks.rs"]
#[expect(dead_code, reason = "only a target plants its seeds")]
mod checks;

type Check = fn(&[u8]);

const CHECKS: [(&str, Check); 12] = [
    ("container", checks::container),
    ("manifest", checks::manifest),
    ("index", checks::index),
    ("object", checks::object),
    ("rows", checks::rows),
    ("rules", checks::rules),
    ("verify", checks::verify),
    ("resealed", checks::resealed),
    ("repair", checks::repair),
    ("salvage", checks::salvage),
    ("ddl", checks::ddl),
    ("dump", checks::dump),
];

#[test]
fn the_seeds() {
    let seeds = checks::seeds();
    for (name, check) in CHECKS {
        let mut inputs = seeds.iter().filter(|(of, _)| *of == name).peekable();
        assert!(inputs.peek().is_some(), "{name} has no seed");
        for (_, bytes) in inputs {
            check(bytes);
        }
        check(b"");
    }
}

/// The seeds of dumps are dumps.
#[test]
fn dumps_among_the_seeds() {
    let folder = tempfile::tempdir().unwrap();
    for (_, bytes) in checks::seeds().iter().filter(|(of, _)| *of == "dump") {
        let path = folder.path().join("dump.sql");
        fs::write(&path, bytes).unwrap();
        let sums = checks::sums(&path, folder.path()).expect("it is a dump");
        assert!(!sums.is_empty());
    }
}

#[test]
fn what_failed_once() {
    for (name, check) in CHECKS {
        let Ok(folder) = fs::read_dir(root().join("fuzz/kept").join(name)) else { continue };
        for file in folder {
            check(&fs::read(file.unwrap().path()).unwrap());
        }
    }
}

#[test]
#[should_panic(expected = "the canary sings")]
fn the_canary() {
    checks::canary(b"pgark!");
}

/// A target that nobody lists is one that nobody runs.
#[test]
fn every_target_is_listed() {
    let script = fs::read_to_string(root().join("scripts/fuzz.sh")).unwrap();
    let listed = script.lines().find_map(|line| line.strip_prefix("all=(")).unwrap();
    let listed: Vec<&str> = listed.trim_end_matches(')').split(' ').collect();
    assert_eq!(listed, CHECKS.map(|(name, _)| name));
    let targets: Vec<String> = fs::read_dir(root().join("fuzz/targets"))
        .unwrap()
        .map(|file| {
            Path::new(&file.unwrap().file_name()).file_stem().unwrap().to_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(targets.len(), listed.len() + 1);
    assert!(listed.iter().all(|name| targets.iter().any(|target| target == name)));
}
