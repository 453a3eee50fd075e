//! Every kind of object, from each version to the same and newer ones. Guards against an object
//! that is not restored, or restored as something else, and nobody says so: `pg_dump` of the
//! target has to be the same text as of the source, and on a newer server the same text as of what
//! `pg_dump` and `pg_restore` bring back there.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use super::roundtrip::load_sample;
use crate::PGARK;
use crate::support::{MAJORS, Options, Server, bin_dir, dump, ok, root, run};

const ROLES: &str = r#"
    DO $$ BEGIN CREATE ROLE eo_owner; EXCEPTION WHEN duplicate_object OR unique_violation THEN END $$;
    DO $$ BEGIN CREATE ROLE "EO ""Reader"""; EXCEPTION WHEN duplicate_object OR unique_violation THEN END $$;
    DO $$ BEGIN CREATE ROLE eo_middle; EXCEPTION WHEN duplicate_object OR unique_violation THEN END $$;
    DO $$ BEGIN CREATE ROLE pgark_owner; EXCEPTION WHEN duplicate_object OR unique_violation THEN END $$;
    DO $$ BEGIN CREATE ROLE "pgark Reader"; EXCEPTION WHEN duplicate_object OR unique_violation THEN END $$;"#;

/// A server of this version that knows the provider `test_label` of security labels, shared by
/// the tests of this file.
pub(crate) fn server(major: u32) -> &'static Server {
    static SHARED: [OnceLock<Server>; MAJORS.len()] = [const { OnceLock::new() }; MAJORS.len()];
    let place = MAJORS.iter().position(|known| *known == major).unwrap();
    SHARED[place].get_or_init(|| {
        let options = Options {
            settings: vec![("eo.label_providers".into(), "test_label".into())],
            ..Options::default()
        };
        let server = Server::start_with(major, &options);
        // Where it goes with the server.
        let library = server.socket_dir().join("test_label.so");
        let mut cc = Command::new("cc");
        cc.args(["-shared", "-fPIC", "-w", "-I"]).arg(bin_dir(major).join("../include/server"));
        ok(cc.arg("-o").arg(&library).arg(root().join("tests/support/test_label.c")));
        let load = format!("ALTER SYSTEM SET session_preload_libraries = '{}'", library.display());
        server.psql("postgres", &load);
        server.psql("postgres", "SELECT pg_reload_conf()");
        while server.psql("postgres", "SHOW session_preload_libraries").is_empty() {
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        server.psql("postgres", ROLES);
        server
    })
}

/// What a source is made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum What {
    Objects,
    Types,
    Sample,
}

impl What {
    pub(crate) fn load(self, server: &Server) -> String {
        let source = server.database("source");
        match self {
            Self::Objects => server.load(&source, &root().join("tests/support/every_object.sql")),
            Self::Types => server.load(&source, &root().join("fixtures/types/all-types.sql")),
            Self::Sample => load_sample(server, &source),
        }
        source
    }

    /// What a restore cannot do: a foreign child that nobody can read has no statistics.
    fn left_to_do(self) -> &'static [&'static str] {
        match self {
            Self::Objects => &["statistics eo.parent_b"],
            Self::Types | Self::Sample => &[],
        }
    }
}

/// From `from` through an archive to `to`; gives the new database and the report.
pub(crate) fn round_trip(
    from: &Server,
    source: &str,
    to: &Server,
    file: &Path,
    dumper: u32,
) -> (String, serde_json::Value) {
    let mut create = from.pgark(PGARK);
    create.args(["create", &from.url(source), "-o"]).arg(file);
    ok(create.arg("--pg-dump").arg(bin_dir(dumper).join("pg_dump")));
    let target = to.database("target");
    let mut restore = to.pgark(PGARK);
    restore.arg("restore").arg(file).args(["--to", &to.url(&target)]);
    let ran = run(restore.arg("--json"));
    assert!(matches!(ran.code, Some(0 | 1)), "{}\n{}", ran.stdout, ran.stderr);
    let report: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(report["equal"], true, "{report}");
    (target, report)
}

fn left_to_do(report: &serde_json::Value) -> Vec<String> {
    let word = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let findings = report["findings"].as_array().unwrap().iter();
    findings.map(|it| format!("{} {}", word(&it["kind"]), word(&it["object"]))).collect()
}

/// What `pg_dump` and `pg_restore` bring back on another server: the measure for a newer version,
/// which writes some of the same objects differently.
pub(crate) fn reference(
    from: &Server,
    source: &str,
    to: &Server,
    dir: &Path,
    dumper: u32,
) -> String {
    let file = dir.join("reference.dump");
    let mut pg_dump = Command::new(bin_dir(dumper).join("pg_dump"));
    ok(from.environment(&mut pg_dump).args(["-Fc", "-Z0", "-f"]).arg(&file).arg(source));
    let target = to.database("reference");
    // It goes on after an error (trap 19), so each would be seen in what is compared.
    let ran = run(to.tool("pg_restore").args(["-d", &target]).arg(&file));
    assert_eq!(ran.code, Some(0), "pg_restore: {}", ran.stderr);
    target
}

/// What was compared, and found equal.
struct Compared {
    tables: usize,
    rows: u64,
    /// Entries of a dump.
    entries: usize,
    /// Whether the source's dump is the same text.
    same: bool,
}

fn cell(what: What, from: u32, to: u32) -> Compared {
    let from = server(from);
    let source = what.load(from);
    let title = format!("{what:?} from {} to {to}", from.major());
    compared(from, &source, server(to), &title, Some(what.left_to_do()))
}

/// The round trip of a database, and all comparisons. `left` is what may be left to do, if that
/// is known.
fn compared(
    from: &Server,
    source: &str,
    to: &Server,
    title: &str,
    left: Option<&[&str]>,
) -> Compared {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.pgark");
    let before = from.pg_dump(source, &[]);
    // Ours is restored from what the older pg_dump writes. As others have names that are keywords
    // later, theirs needs the newer one, which is what PostgreSQL's manual says to take.
    let dumper = if left.is_some() { from.major() } else { to.major() };
    let (target, report) = round_trip(from, source, to, &file, dumper);
    if let Some(left) = left {
        assert_eq!(left_to_do(&report), left, "{title}");
    }
    ok(to.pgark(PGARK).arg("compare").arg(&file).args(["--no-schema", "--with", &to.url(&target)]));
    let after = to.pg_dump(&target, &[]);
    dump::assert_same(&before, &from.pg_dump(source, &[]), "create changed the source");
    let same = dump::normalised(&before) == dump::normalised(&after);
    if from.major() == to.major() && (left.is_some() || same) {
        dump::assert_same(&before, &after, title);
    } else {
        // The server does not always write an expression as it was when it reads what it wrote.
        let reference = reference(from, source, to, dir.path(), dumper);
        dump::assert_same(&to.pg_dump(&reference, &[]), &after, title);
    }
    assert_same_states(from, source, to, &target, title);
    let tables = report["tables"].as_array().unwrap();
    Compared {
        tables: tables.len(),
        rows: tables.iter().map(|table| table["rows"].as_u64().unwrap()).sum(),
        entries: dump::normalised(&after).len(),
        same,
    }
}

/// What a dump does not show: the state of views and the enabled state of subscriptions.
fn assert_same_states(from: &Server, source: &str, to: &Server, target: &str, title: &str) {
    for sql in [
        "SELECT oid::regclass, relispopulated FROM pg_class WHERE relkind = 'm' ORDER BY relname COLLATE \"C\"",
        "SELECT s.subname, s.subenabled, s.subslotname FROM pg_subscription s JOIN pg_database d \
         ON d.oid = subdbid WHERE datname = current_database() ORDER BY subname",
        "SELECT sequencename, last_value FROM pg_sequences ORDER BY schemaname COLLATE \"C\", sequencename COLLATE \"C\"",
    ] {
        assert_eq!(from.psql(source, sql), to.psql(target, sql), "{title}");
    }
}

#[test]
fn every_object_on_each_version() {
    for major in MAJORS {
        cell(What::Objects, major, major);
    }
}

#[test]
fn every_object_on_a_newer_version() {
    for (from, to) in [(14, 18), (14, 15), (15, 16), (16, 17), (17, 18)] {
        cell(What::Objects, from, to);
    }
}

#[test]
fn every_type_on_a_newer_version() {
    for (from, to) in [(14, 18), (15, 17)] {
        cell(What::Types, from, to);
    }
}

/// All of it, for `scripts/matrix.sh`: as Markdown into the file that `PGARK_MATRIX` names.
#[test]
#[ignore = "45 round trips; scripts/matrix.sh runs it"]
fn the_whole_matrix() {
    let mut text = String::new();
    let mut failed = Vec::new();
    for (what, title) in [
        (What::Objects, "Every kind of object (`tests/support/every_object.sql`)"),
        (What::Types, "Every type (`fixtures/types/all-types.sql`)"),
        (What::Sample, "The sample (`fixtures/sample`)"),
    ] {
        writeln!(text, "## {title}\n\n| from | to 14 | to 15 | to 16 | to 17 | to 18 |").unwrap();
        writeln!(text, "|---|---|---|---|---|---|").unwrap();
        for from in MAJORS {
            write!(text, "| {from} |").unwrap();
            for to in MAJORS {
                let shown = if to < from {
                    "\u{2013}".to_owned()
                } else {
                    eprintln!("{what:?} from {from} to {to}");
                    if let Ok(Compared { tables, rows, entries, .. }) =
                        std::panic::catch_unwind(|| cell(what, from, to))
                    {
                        format!("equal: {tables} tables, {rows} rows, {entries} entries")
                    } else {
                        failed.push(format!("{what:?} from {from} to {to}"));
                        "**different**".to_owned()
                    }
                };
                write!(text, " {shown} |").unwrap();
            }
            text.push('\n');
        }
        text.push('\n');
    }
    let out = std::env::var_os("PGARK_MATRIX").expect("PGARK_MATRIX names a file");
    std::fs::write(out, text).unwrap();
    assert!(failed.is_empty(), "{failed:?}");
}

/// Databases of others, for `scripts/public-schemas.sh`: a folder each in `PGARK_SCHEMAS`, with a
/// `load.sql` for psql.
#[test]
#[ignore = "needs SQL from elsewhere; scripts/public-schemas.sh fetches it and runs this"]
fn given_schemas() {
    let given = std::env::var_os("PGARK_SCHEMAS").expect("PGARK_SCHEMAS names a folder");
    let mut folders: Vec<PathBuf> =
        std::fs::read_dir(given).unwrap().map(|entry| entry.unwrap().path()).collect();
    folders.sort();
    assert!(!folders.is_empty());
    let mut text = String::from(
        "| schema | tables, rows, entries | 14 | 15 | 16 | 17 | 18 | oldest to 18 |\n",
    );
    text.push_str("|---|---|---|---|---|---|---|---|\n");
    let mut failed = Vec::new();
    for folder in folders {
        let name = folder.file_name().unwrap().to_string_lossy().into_owned();
        let mut oldest = None;
        let mut cells = Vec::new();
        let mut size = String::new();
        let mut try_one = |from: &Server, source: &str, to: &Server| {
            let title = format!("{name} from {} to {}", from.major(), to.major());
            eprintln!("{title}");
            let run = || compared(from, source, to, &title, None);
            let Ok(Compared { tables, rows, entries, same }) =
                std::panic::catch_unwind(std::panic::AssertUnwindSafe(run))
            else {
                failed.push(title);
                return "**different**".to_owned();
            };
            size = format!("{tables}, {rows}, {entries}");
            let same = same || from.major() != to.major();
            if same { "equal" } else { "as pg_restore" }.to_owned()
        };
        for major in MAJORS {
            let server = server(major);
            let source = server.database(&name);
            let mut psql = server.tool("psql");
            psql.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", &source, "-f", "load.sql"]);
            let loaded = run(psql.current_dir(&folder));
            if loaded.code == Some(0) {
                cells.push(try_one(server, &source, server));
                oldest.get_or_insert((server, source));
            } else {
                eprintln!("{name} does not load on {major}: {}", loaded.stderr);
                cells.push("does not load".to_owned());
            }
        }
        match oldest {
            Some((from, _)) if from.major() == 18 => cells.push("\u{2013}".to_owned()),
            Some((from, source)) => cells.push(try_one(from, &source, server(18))),
            None => failed.push(format!("{name} loads nowhere")),
        }
        writeln!(text, "| {name} | {size} | {} |", cells.join(" | ")).unwrap();
    }
    std::fs::write(std::env::var_os("PGARK_MATRIX").expect("PGARK_MATRIX"), text).unwrap();
    assert!(failed.is_empty(), "{failed:?}");
}
