//! Guards against a test file that is never compiled, and so never fails.

use std::path::Path;

#[test]
fn every_test_file_is_declared() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite");
    let main = std::fs::read_to_string(dir.join("main.rs")).unwrap();
    for entry in std::fs::read_dir(&dir).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap().to_str().unwrap();
        assert!(
            stem == "main" || main.lines().any(|line| line.trim() == format!("mod {stem};")),
            "tests/suite/{stem} is not declared in tests/suite/main.rs"
        );
    }
    let others: Vec<_> = std::fs::read_dir(dir.parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .filter(|name| name != "suite" && name != "support")
        .collect();
    assert!(others.is_empty(), "one test binary is enough (tests/suite): {others:?}");
}
