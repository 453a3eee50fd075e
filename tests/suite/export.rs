//! The ways out of an archive: `export`, `extract`, single rows with `cat`.
//!
//! Guards against SQL that loads into something else than what was saved, SQL that was cut off and
//! passes for whole, and files that are not the blobs, or not where they should be.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use pgark::export::{self, ExportOptions};
use pgark::format::reader::Archive;
use pgark::progress::Silent;

use crate::PGARK;
use crate::roundtrip::load_sample;
use crate::support::{Server, dump, fed, ok, root, run};

fn create(server: &Server, database: &str, file: &Path) {
    ok(server.pgark(PGARK).args(["create", &server.url(database), "-o"]).arg(file));
}

/// What psql says of a text that is loaded as by a person who gives no options.
fn psql(server: &Server, database: &str, sql: &[u8]) -> (Option<i32>, String) {
    let mut command = server.tool("psql");
    let output = fed(command.args(["-X", "-q", "-o", "/dev/null", "-d", database]), sql);
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn through_sql(major: u32, load: impl Fn(&Server, &str)) {
    let server = Server::shared(major);
    let source = server.database("out");
    load(server, &source);
    let dir = tempfile::tempdir().unwrap();
    let (file, sql) = (dir.path().join("a.pgark"), dir.path().join("a.sql"));
    create(server, &source, &file);
    let told = ok(server.pgark(PGARK).arg("export").arg(&file).arg("-o").arg(&sql));
    assert!(told.stdout.contains("a.sql: "), "{}", told.stdout);
    let piped = fed(server.pgark(PGARK).arg("export").arg(&file), b"");
    assert!(piped.status.success());
    assert!(piped.stdout == std::fs::read(&sql).unwrap(), "file and standard output differ");

    let target = server.database("in");
    server.load(&target, &sql);
    let what = format!("server {major}");
    dump::assert_same(&server.pg_dump(&source, &[]), &server.pg_dump(&target, &[]), &what);
    let filled =
        "SELECT oid::regclass, relispopulated FROM pg_class WHERE relkind = 'm' ORDER BY 1";
    assert_eq!(server.psql(&source, filled), server.psql(&target, filled));
}

fn every_type(server: &Server, database: &str) {
    server.load(database, &root().join("fixtures/types/all-types.sql"));
}

#[test]
fn every_type_through_sql_on_14() {
    through_sql(14, every_type);
}

#[test]
fn every_type_through_sql_on_18() {
    through_sql(18, every_type);
}

#[test]
fn the_sample_through_sql() {
    through_sql(14, load_sample);
    through_sql(18, load_sample);
}

/// Through the custom format, as a stream and as a file loaded by several sessions.
fn through_custom(major: u32, load: impl Fn(&Server, &str)) {
    let server = Server::shared(major);
    let source = server.database("custom");
    load(server, &source);
    let dir = tempfile::tempdir().unwrap();
    let (file, custom) = (dir.path().join("a.pgark"), dir.path().join("a.dump"));
    create(server, &source, &file);
    ok(server
        .pgark(PGARK)
        .args(["export", "--format", "custom"])
        .arg(&file)
        .arg("-o")
        .arg(&custom));
    let piped = fed(server.pgark(PGARK).args(["export", "--format", "custom"]).arg(&file), b"");
    let bytes = std::fs::read(&custom).unwrap();
    assert!(piped.stdout == bytes, "file and standard output differ");
    let wanted = server.pg_dump(&source, &[]);

    let target = server.database("piped");
    let loaded = fed(server.tool("pg_restore").args(["-e", "-d", &target]), &bytes);
    assert!(loaded.status.success(), "{}", String::from_utf8_lossy(&loaded.stderr));
    dump::assert_same(&wanted, &server.pg_dump(&target, &[]), &format!("server {major}, stream"));

    let target = server.database("jobs");
    ok(server.tool("pg_restore").args(["-e", "-j", "3", "-d", &target]).arg(&custom));
    dump::assert_same(&wanted, &server.pg_dump(&target, &[]), &format!("server {major}, -j"));
    let list = ok(server.tool("pg_restore").arg("--list").arg(&custom)).stdout;
    assert!(list.contains(" TABLE DATA "), "{list}");

    // Owners are pg_restore's to set or not.
    let text = |more: &[&str]| {
        ok(server.tool("pg_restore").args(["-s", "-f", "-"]).args(more).arg(&custom)).stdout
    };
    assert!(text(&[]).contains("\nALTER TABLE "));
    let without = text(&["--no-owner"]);
    assert!(!without.contains(" OWNER TO "), "{without}");
}

#[test]
fn every_type_through_custom() {
    for major in [14, 15, 16, 17, 18] {
        through_custom(major, every_type);
    }
}

#[test]
fn the_sample_through_custom() {
    through_custom(15, load_sample);
    through_custom(18, load_sample);
}

#[test]
fn pg_restore_fails_on_a_custom_file_that_is_not_whole() {
    let server = Server::shared(18);
    let dir = tempfile::tempdir().unwrap();
    let (file, _) = small(server, dir.path());
    let custom = |file: &Path| {
        fed(server.pgark(PGARK).args(["export", "--format", "custom"]).arg(file), b"")
    };
    let whole = custom(&file).stdout;
    let restore = |bytes: &[u8]| {
        let target = server.database("cut");
        let out = fed(server.tool("pg_restore").args(["-d", &target]), bytes);
        (out.status.success(), target, String::from_utf8_lossy(&out.stderr).into_owned())
    };
    let (done, target, words) = restore(&whole);
    assert!(done, "{words}");
    assert_eq!(server.psql(&target, "SELECT count(*), lo_get(7) = sha256('x') FROM t"), "20|t");
    // One table alone.
    let path = dir.path().join("a.dump");
    std::fs::write(&path, &whole).unwrap();
    let alone = server.database("alone");
    ok(server.tool("pg_restore").args(["-e", "-t", "t", "-d", &alone]).arg(&path));
    assert_eq!(server.psql(&alone, "SELECT count(*) FROM t"), "20");
    assert_eq!(server.psql(&alone, "SELECT count(*) FROM pg_largeobject_metadata"), "0");
    let end = whole.windows(3).position(|run| run == b"\n\\.").unwrap();
    for cut in
        [20, end - 400, end - 10, end + 1, end + 6, end + 11, whole.len() - 12, whole.len() - 4]
    {
        assert!(!restore(&whole[..cut]).0, "cut at {cut} of {}", whole.len());
    }

    // A blob's byte is hit: the rows of its table do not arrive.
    let mut hit = std::fs::read(&file).unwrap();
    let digest = server.psql("postgres", "SELECT encode(sha256(int4send(3)), 'hex')");
    let wanted: Vec<u8> = (0..digest.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digest[at..at + 2], 16).unwrap())
        .collect();
    let place = hit.windows(32).position(|run| run == wanted).expect("the blob as it is");
    hit[place] ^= 1;
    std::fs::write(&file, &hit).unwrap();
    let out = custom(&file);
    assert_eq!(out.status.code(), Some(1));
    let (done, target, _) = restore(&out.stdout);
    assert!(!done);
    assert_eq!(server.psql(&target, "SELECT count(*) FROM t"), "0");
}

/// Rows whose line of COPY text the server could not take go in slices.
#[test]
fn long_rows_through_slices() {
    let server = Server::shared(16);
    let source = server.database("long");
    server.psql(
        &source,
        "CREATE TABLE t (id integer PRIMARY KEY, w text, a bytea, g integer GENERATED ALWAYS AS (id * 2) STORED, b bytea, n text);
         INSERT INTO t (id, w, a, b, n) SELECT i, E'it''s \\\\ $$ \\t' || i,
           (SELECT string_agg(sha256(int4send(i * 5000 + n)), '') FROM generate_series(1, 5000 * (i % 3)) n),
           CASE WHEN i % 4 > 0 THEN (SELECT string_agg(sha256(int4send(-i * 5000 - n)), '') FROM generate_series(1, 3000) n) END, NULL
         FROM generate_series(1, 8) i;
         CREATE TABLE one (b bytea);
         INSERT INTO one SELECT a FROM t WHERE id = 2;",
    );
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.pgark");
    create(server, &source, &file);
    let mut sql = Vec::new();
    let options = ExportOptions { line_limit: 200_000 };
    let report = export::run(&Archive::open(&file).unwrap(), &options, &mut sql, &Silent).unwrap();
    assert_eq!((report.tables, report.rows, report.bytes), (2, 9, sql.len() as u64));
    let text = String::from_utf8(sql.clone()).unwrap();
    assert!(text.contains("pgark_slices") && text.contains("UPDATE ONLY"));
    let target = server.database("long");
    assert_eq!(psql(server, &target, &sql), (Some(0), String::new()));
    let what = "in slices";
    dump::assert_same(&server.pg_dump(&source, &[]), &server.pg_dump(&target, &[]), what);
}

/// A small database: its archive, and the SQL it gives.
fn small(server: &Server, dir: &Path) -> (PathBuf, Vec<u8>) {
    let source = server.database("small");
    server.psql(
        &source,
        "CREATE TABLE t (id integer PRIMARY KEY, a text, b bytea);
         INSERT INTO t SELECT i, 'row ' || i, sha256(int4send(i)) || sha256(int4send(-i)) || '\\x01' FROM generate_series(1, 20) i;
         SELECT lo_from_bytea(7, sha256('x'));",
    );
    let file = dir.join("small.pgark");
    create(server, &source, &file);
    let sql = fed(server.pgark(PGARK).arg("export").arg(&file), b"").stdout;
    (file, sql)
}

#[test]
fn psql_fails_on_a_text_that_was_cut_off() {
    let server = Server::shared(18);
    let dir = tempfile::tempdir().unwrap();
    let (_, sql) = small(server, dir.path());
    assert_eq!(psql(server, &server.database("whole"), &sql), (Some(0), String::new()));
    let copy = sql.windows(5).position(|run| run == b"COPY ").unwrap();
    let rows = copy + sql[copy..].iter().position(|byte| *byte == b'\n').unwrap();
    // Within a row, between rows, before the end of the rows, within a statement, at the very end.
    let end = sql.windows(3).position(|run| run == b"\n\\.").unwrap();
    let ends = [rows + 40, rows + 1, end + 1, end + 3, copy + 3, sql.len() - 20, sql.len() - 3];
    for cut in ends {
        let (code, words) = psql(server, &server.database("cut"), &sql[..cut]);
        assert_eq!(code, Some(3), "cut at {cut}: {words}");
    }
}

#[test]
fn damage_is_never_exported() {
    let server = Server::shared(18);
    let dir = tempfile::tempdir().unwrap();
    let (file, whole) = small(server, dir.path());
    let bytes = std::fs::read(&file).unwrap();
    // The blobs do not compress, so one byte of the first is there as it is.
    let digest = server.psql("postgres", "SELECT sha256(int4send(3))");
    let wanted: Vec<u8> = (2..digest.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&digest[at..at + 2], 16).unwrap())
        .collect();
    let place = bytes.windows(32).position(|run| run == wanted).expect("the blob as it is");
    let mut hit = bytes.clone();
    hit[place] ^= 1;
    std::fs::write(&file, &hit).unwrap();

    let out = fed(server.pgark(PGARK).arg("export").arg(&file), b"");
    let words = String::from_utf8_lossy(&out.stderr);
    assert_eq!(out.status.code(), Some(1), "{words}");
    assert!(words.contains("public.t, row 3"), "{words}");
    assert!(out.stdout.len() < whole.len());
    let target = server.database("hit");
    let (code, words) = psql(server, &target, &out.stdout);
    assert_eq!(code, Some(3), "{words}");
    assert_eq!(server.psql(&target, "SELECT count(*) FROM t"), "0");

    let sql = dir.path().join("a.sql");
    let ran = run(server.pgark(PGARK).arg("export").arg(&file).arg("-o").arg(&sql));
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(!sql.exists());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "something is left over");

    // extract tells the damaged ones and goes on with the rest, which there is none of here.
    let folder = dir.path().join("files");
    let ran = run(server
        .pgark(PGARK)
        .args(["extract", "--column", "t.b", "--json", "--to"])
        .arg(&folder)
        .arg(&file));
    assert_eq!(ran.code, Some(1), "{ran:?}");
    let json: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!((json["ok"].as_bool(), json["rows"].as_u64()), (Some(false), Some(20)));
    let (files, damaged) = (json["files"].as_u64().unwrap(), json["damaged"].as_u64().unwrap());
    assert!(damaged > 0 && files + damaged == 20, "{json}");
    let list = std::fs::read_to_string(folder.join("manifest.csv")).unwrap();
    let told = list.lines().filter(|line| line.ends_with(",damaged")).count();
    assert_eq!(told as u64, damaged);
    let there = std::fs::read_dir(&folder).unwrap().count() as u64;
    assert_eq!(there, files + 1, "more or less than the files and the list");
}

#[test]
fn a_file_that_is_there_stays() {
    let server = Server::shared(18);
    let dir = tempfile::tempdir().unwrap();
    let (file, whole) = small(server, dir.path());
    let sql = dir.path().join("a.sql");
    std::fs::write(&sql, "mine").unwrap();
    let export = |more: &[&str]| {
        run(server.pgark(PGARK).arg("export").arg(&file).arg("-o").arg(&sql).args(more))
    };
    let ran = export(&[]);
    assert_eq!(ran.code, Some(3), "{ran:?}");
    assert_eq!(std::fs::read(&sql).unwrap(), b"mine");
    let ran = export(&["--force", "--json"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(std::fs::read(&sql).unwrap(), whole);
    let json: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(json["bytes"].as_u64(), Some(whole.len() as u64));
    assert_eq!(json["large_objects"].as_u64(), Some(1));
}

/// A CSV of plain cells and quoted ones without line ends.
fn csv(text: &str) -> Vec<BTreeMap<String, String>> {
    let cells = |line: &str| {
        let (mut cells, mut cell, mut quoted) = (Vec::new(), String::new(), false);
        for c in line.chars() {
            match c {
                '"' => quoted = !quoted,
                ',' if !quoted => cells.push(std::mem::take(&mut cell)),
                c => cell.push(c),
            }
        }
        cells.push(cell);
        cells
    };
    let mut lines = text.lines();
    let names = cells(lines.next().unwrap());
    lines.map(|line| names.iter().cloned().zip(cells(line)).collect()).collect()
}

#[test]
fn images_are_the_files_they_were() {
    let server = Server::shared(16);
    let source = server.database("images");
    load_sample(server, &source);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.pgark");
    create(server, &source, &file);
    let folder = dir.path().join("images");
    let ran = ok(server
        .pgark(PGARK)
        .args(["extract", "--column", "image.file", "--name-by", "fileId", "--json", "--to"])
        .arg(&folder)
        .arg(&file));
    let json: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    let facts = "SELECT \"fileId\", md5(file), octet_length(file), \"mimeType\" FROM image WHERE octet_length(file) > 0";
    let rows = server.psql(&source, facts);
    let there: Vec<Vec<&str>> = rows.lines().map(|line| line.split('|').collect()).collect();
    assert!(there.len() > 10);
    assert_eq!(json["files"].as_u64(), Some(there.len() as u64), "{json}");
    let list = csv(&std::fs::read_to_string(folder.join("manifest.csv")).unwrap());
    assert_eq!(list.len().to_string(), server.psql(&source, "SELECT count(*) FROM image"));
    for row in there {
        let [id, md5, length, kind] = row[..] else { panic!("{row:?}") };
        let line = list.iter().find(|line| {
            std::path::Path::new(&line["file"]).file_stem().is_some_and(|stem| stem == id)
        });
        let line = line.unwrap_or_else(|| panic!("no file for {id}"));
        let bytes = std::fs::read(folder.join(&line["file"])).unwrap();
        assert_eq!(bytes.len().to_string(), length);
        assert_eq!(line["bytes"], length);
        assert_eq!(line["media_type"], kind);
        let out = fed(std::process::Command::new("md5sum").arg("-"), &bytes).stdout;
        assert_eq!(&String::from_utf8(out).unwrap()[..32], md5);
        let out = fed(std::process::Command::new("sha256sum").arg("-"), &bytes).stdout;
        assert_eq!(String::from_utf8(out).unwrap()[..64], line["sha256"]);
    }
    // A folder with something in it is refused and left alone.
    let ran = run(server
        .pgark(PGARK)
        .args(["extract", "--column", "image.file", "--to"])
        .arg(&folder)
        .arg(&file));
    assert_eq!(ran.code, Some(3), "{ran:?}");
    assert!(ran.stderr.contains("not empty"), "{}", ran.stderr);
}

#[test]
fn names_from_the_database_stay_in_the_folder() {
    let server = Server::shared(16);
    let source = server.database("names");
    server.psql(
        &source,
        "CREATE TABLE p (id integer, name text, b bytea, PRIMARY KEY (id)) PARTITION BY RANGE (id);
         CREATE TABLE p1 PARTITION OF p FOR VALUES FROM (0) TO (5);
         CREATE TABLE p2 (b bytea, name text, id integer NOT NULL);
         ALTER TABLE p ATTACH PARTITION p2 FOR VALUES FROM (5) TO (100);
         INSERT INTO p VALUES (1, '../../escaped', '\\x474946383961'), (2, '/tmp/escaped', 'two'),
           (3, 'CON', 'three'), (4, 'same', 'four'), (5, 'SAME', 'five'), (6, NULL, 'six'),
           (7, repeat('long', 200), 'seven'), (8, 'null', NULL), (9, 'none', ''),
           (10, E'a\\nb\\u202Ec', 'ten'), (11, 'manifest.csv', 'eleven'), (12, '.hidden', 'twelve');
         CREATE TABLE nokey (b bytea); INSERT INTO nokey VALUES ('x');",
    );
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.pgark");
    create(server, &source, &file);
    let inner = dir.path().join("deep/er");
    let extract = |column: &str, more: &[&str], to: &Path| {
        run(server
            .pgark(PGARK)
            .args(["extract", "--column", column])
            .args(more)
            .arg("--to")
            .arg(to)
            .arg(&file))
    };
    let ran = extract("p.b", &["--name-by", "name"], &inner);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(ran.stdout.contains("1 row without a value"), "{}", ran.stdout);
    assert!(ran.stdout.contains("1 row with an empty value"), "{}", ran.stdout);
    let mut names: Vec<String> = std::fs::read_dir(&inner)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let long = names.iter().position(|name| name.starts_with("longlong")).expect("the long one");
    assert!(names.remove(long).len() < 255);
    let expected = [
        "6.bin",
        "SAME-2.bin",
        "_CON.bin",
        "___.._escaped.gif",
        "_hidden.bin",
        "_tmp_escaped.bin",
        "a_b_c.bin",
        "manifest.csv",
        "manifest.csv.bin",
        "same.bin",
    ];
    assert_eq!(names, expected);
    assert_eq!(std::fs::read(inner.join("SAME-2.bin")).unwrap(), b"five");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2, "something is outside");

    let again = dir.path().join("again");
    assert_eq!(extract("p.b", &["--name-by", "name"], &again).code, Some(0));
    let read = |folder: &Path| std::fs::read(folder.join("manifest.csv")).unwrap();
    assert_eq!(read(&inner), read(&again), "another time, other names");

    let ran = extract("nokey.b", &[], &dir.path().join("nokey"));
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert!(dir.path().join("nokey/row-1.bin").exists());
    for (column, word) in [
        ("p.c", "no column c"),
        ("q.b", "no table q"),
        ("p.name", "type text"),
        ("b", "not a table's name"),
    ] {
        let ran = extract(column, &[], &dir.path().join("never"));
        assert_eq!(ran.code, Some(2), "{ran:?}");
        assert!(ran.stderr.contains(word), "{column}: {}", ran.stderr);
    }
    assert!(!dir.path().join("never").exists());
}

#[test]
fn single_rows() {
    let server = Server::shared(16);
    let source = server.database("rows");
    server.psql(
        &source,
        "CREATE TABLE \"Mixed\" (a integer GENERATED ALWAYS AS IDENTITY, \"B\" text, n numeric, u uuid, ok boolean, f bytea, g integer GENERATED ALWAYS AS (a + 1) STORED, PRIMARY KEY (\"B\", a));
         INSERT INTO \"Mixed\" (\"B\", n, u, ok, f) VALUES
           (E'it''s\\\\', 1.00, 'A0EEBC99-9c0b-4ef8-bb6d-6bb9bd380a11', true, sha256('a') || sha256('b') || sha256('c')),
           ('x,y', 2.50, NULL, false, '\\x00'), (E'tab\\there', NULL, NULL, NULL, NULL);",
    );
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.pgark");
    create(server, &source, &file);
    let cat =
        |args: &[&str]| run(server.pgark(PGARK).arg("cat").arg(&file).arg("Mixed").args(args));
    let rows = |args: &[&str]| cat(args).stdout.lines().count();
    assert_eq!(rows(&[]), 3);
    assert!(cat(&["--key", "x\\,y,2"]).stdout.starts_with("2\tx,y\t2.50\t"));
    assert_eq!(rows(&["--where", "n=1"]), 1);
    assert_eq!(rows(&["--where", "n=2.5", "--where", "ok=false"]), 1);
    assert_eq!(rows(&["--where", "u=a0eebc999c0b4ef8bb6d6bb9bd380A11"]), 1);
    assert_eq!(rows(&["--where", "f=\\x00"]), 1);
    assert_eq!(rows(&["--where", "B=tab\there"]), 1);
    let none = cat(&["--where", "n=2.5", "--where", "ok=true"]);
    assert_eq!((none.code, none.stdout.as_str()), (Some(1), ""));
    assert!(none.stderr.contains("no such row"), "{}", none.stderr);
    let referred = cat(&["--where", "n=1", "--blobs", "reference"]).stdout;
    assert!(referred.contains("\t#") && referred.ends_with(":96\n"), "{referred}");
    for (args, word) in [
        (&["--key", "1"][..], "2 values") as (&[&str], &str),
        (&["--where", "okay=t"], "there is ok"),
        (&["--where", "n"], "COLUMN=VALUE"),
        (&["--where", "g=1"], "generated"),
        (&["--where", "f=abc"], "hex"),
        (&["--format", "insert", "--blobs", "reference"], "--blobs"),
    ] {
        let ran = cat(args);
        assert_eq!(ran.code, Some(2), "{args:?} {ran:?}");
        let word = if word == "2 values" { "(B, a), and 1 values" } else { word };
        assert!(ran.stderr.contains(word), "{args:?}: {}", ran.stderr);
    }

    // What insert writes is the rows, again.
    let target = server.database("rows");
    let schema = server.pg_dump(&source, &["--schema-only"]);
    server.psql(&target, &schema);
    for conforming in ["on", "off"] {
        let mut sql = format!(
            "SET standard_conforming_strings = {conforming}; SET escape_string_warning = off; TRUNCATE \"Mixed\";\n"
        );
        sql.push_str(&cat(&["--format", "insert"]).stdout);
        server.psql(&target, &sql);
        let all = "SELECT * FROM \"Mixed\" ORDER BY a";
        assert_eq!(server.psql(&source, all), server.psql(&target, all));
    }
}
