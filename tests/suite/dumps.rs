//! Archives made of dumps. Guards against one that holds less than the database did, or something
//! else: whatever form the dump has, its tables have the digests of the live database's.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::PGARK;
use crate::fidelity::What;
use crate::roundtrip::load_sample;
use crate::support::{Ran, Server, bin_dir, dump, fed, ok, run};

mod encodings;
mod large_objects;
mod partitions;

struct Setting {
    server: &'static Server,
    folder: tempfile::TempDir,
}

impl Setting {
    fn new(major: u32) -> Self {
        let server = Server::shared(major);
        Self { server, folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn dump(&self, database: &str, name: &str, args: &[&str]) -> PathBuf {
        let path = self.path(name);
        let mut tool = self.server.tool("pg_dump");
        tool.args(["-d", database, "-f"]).arg(&path).args(args);
        ok(&mut tool);
        path
    }

    fn create(&self, source: &str, name: &str) -> PathBuf {
        let out = self.path(name);
        let mut tool = self.server.pgark(PGARK);
        tool.args(["create", source, "--parity", "0", "-o"]).arg(&out);
        tool.env("PATH", path_with(self.server.major()));
        ok(&mut tool);
        out
    }
}

fn path_with(major: u32) -> std::ffi::OsString {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(bin_dir(major)).chain(std::env::split_paths(&path));
    std::env::join_paths(folders).unwrap()
}

/// `pgark create` of a dump, away from every server.
fn take(dump: &Path, out: &Path) -> Ran {
    let mut tool = Command::new(PGARK);
    tool.arg("create").arg(dump).args(["--parity", "0", "-o"]).arg(out);
    run(tool.env("PGHOST", "/nonexistent"))
}

fn taken(dump: &Path) -> PathBuf {
    let out = PathBuf::from(format!("{}.pgark", dump.display()));
    let ran = take(dump, &out);
    assert_eq!(ran.code, Some(0), "{}: {}{}", dump.display(), ran.stdout, ran.stderr);
    out
}

fn manifest(archive: &Path) -> Value {
    let ran = ok(Command::new(PGARK).args(["inspect", "--json"]).arg(archive));
    serde_json::from_str(&ran.stdout).unwrap()
}

/// Rows and digest of each table.
fn digests(archive: &Path) -> BTreeMap<String, String> {
    let said = manifest(archive);
    let tables = said["tables"].as_array().unwrap();
    assert!(!tables.is_empty());
    tables
        .iter()
        .map(|table| {
            let name = format!("{}.{}", table["schema"], table["name"]);
            (name, format!("{} {}", table["rows"], table["digest"]))
        })
        .collect()
}

/// Every form in which `pg_dump` writes a database, with the name of the file.
const FORMS: [(&str, &[&str]); 11] = [
    ("plain.sql", &[]),
    ("create.sql", &["--clean", "--create", "--if-exists"]),
    ("insert.sql", &["--inserts"]),
    ("columns.sql", &["--column-inserts", "--clean"]),
    ("many.sql", &["--rows-per-insert=7"]),
    ("verbose.sql", &["--verbose", "--disable-triggers", "--quote-all-identifiers"]),
    ("custom.dump", &["-Fc"]),
    ("raw.dump", &["-Fc", "-Z0"]),
    ("custom-insert.dump", &["-Fc", "--inserts"]),
    ("folder", &["-Fd"]),
    ("tar.tar", &["-Ft"]),
];

fn every_form(major: u32) {
    let it = Setting::new(major);
    let source = it.server.database("dumped");
    load_sample(it.server, &source);
    let live = it.create(&source, "live.pgark");
    let wanted = digests(&live);
    for (name, args) in FORMS {
        let dump = it.dump(&source, name, args);
        let archive = taken(&dump);
        assert_eq!(digests(&archive), wanted, "{name}");
        let said = manifest(&archive);
        assert_eq!(said["foreign_keys"], manifest(&live)["foreign_keys"], "{name}");
    }

    // A pipe does not let pg_dump say where the data is.
    let mut piped = it.server.tool("pg_dump");
    piped.args(["-Fc", "-d", &source]);
    let bytes = piped.output().unwrap().stdout;
    std::fs::write(it.path("piped.dump"), &bytes).unwrap();
    assert_eq!(digests(&taken(&it.path("piped.dump"))), wanted);

    // One that is appended to a file has its table of contents twice.
    let mut appended = it.server.tool("pg_dump");
    let file = std::fs::File::options().create(true).append(true).open(it.path("appended.dump"));
    appended.args(["-Fc", "-d", &source]).stdout(file.unwrap());
    assert!(appended.status().unwrap().success());
    assert_eq!(digests(&taken(&it.path("appended.dump"))), wanted);

    // Packed, and on standard input.
    let plain = std::fs::read(it.path("plain.sql")).unwrap();
    ok(Command::new("gzip").arg("-k").arg(it.path("plain.sql")));
    assert_eq!(digests(&taken(&it.path("plain.sql.gz"))), wanted);
    let tight = zstd::bulk::compress(&plain, 3).unwrap();
    std::fs::write(it.path("plain.sql.zst"), &tight).unwrap();
    assert_eq!(digests(&taken(&it.path("plain.sql.zst"))), wanted);
    for bytes in [&plain, &tight, &bytes] {
        let out = it.path("piped.pgark");
        let mut tool = Command::new(PGARK);
        tool.args(["create", "-", "--force", "--parity", "0", "-o"]).arg(&out);
        let ran = fed(&mut tool, bytes);
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        assert_eq!(digests(&out), wanted);
    }
}

#[test]
fn every_form_14() {
    every_form(14);
}

#[test]
fn every_form_18() {
    every_form(18);
}

/// Compressions that came with later versions.
#[test]
fn compressions_of_custom_and_directory() {
    let it = Setting::new(17);
    let source = it.server.database("dumped");
    load_sample(it.server, &source);
    let wanted = digests(&it.create(&source, "live.pgark"));
    for (name, args) in [
        ("z.dump", &["-Fc", "-Z", "zstd:1"][..]),
        ("l.dump", &["-Fc", "-Z", "lz4"]),
        ("zstd", &["-Fd", "-Z", "zstd:1"]),
        ("lz4", &["-Fd", "-Z", "lz4"]),
        ("none", &["-Fd", "-Z", "none"]),
    ] {
        assert_eq!(digests(&taken(&it.dump(&source, name, args))), wanted, "{name}");
    }
}

/// What is restored of the archive of a dump is what the dump was made of.
#[test]
fn restored_it_is_the_same_database() {
    for (major, what) in
        [(15, What::Sample), (16, What::Objects), (17, What::Types), (18, What::Objects)]
    {
        let it = Setting {
            server: crate::fidelity::server(major),
            folder: tempfile::tempdir().unwrap(),
        };
        let source = what.load(it.server);
        if what == What::Types {
            // A child has columns in another order than its parents.
            for (name, args) in [("e.sql", &["--inserts"][..]), ("f.dump", &["-Fc", "--inserts"])] {
                refused(&it.dump(&source, name, args), 3, "may have them in another order");
            }
        }
        for (name, args) in [
            ("a.sql", &[][..]),
            ("b.dump", &["-Fc"]),
            ("c.sql", &["--column-inserts"]),
            ("d.dump", &["-Fc", "--column-inserts"]),
        ] {
            let file = it.dump(&source, name, args);
            let archive = taken(&file);
            let target = it.server.database("target");
            let mut tool = it.server.pgark(PGARK);
            let ran = run(tool.arg("restore").arg(&archive).args(["--to", &target]));
            let whole = ran.stdout.contains("All rows are what the archive holds");
            assert!(ran.code == Some(0) || whole, "{}{}", ran.stdout, ran.stderr);
            let dumped = |database: &str| it.server.pg_dump(database, &[]);
            dump::assert_same(&dumped(&source), &dumped(&target), &format!("{major} {name}"));
        }
    }
}

/// Times in another zone and bytes in the other form are the same values.
#[test]
fn zones_and_forms_of_values() {
    let it = Setting::new(17);
    let source = it.server.database("zones");
    it.server.psql(
        &source,
        "CREATE TABLE t (id int PRIMARY KEY, at timestamptz, b bytea,
             twice int GENERATED ALWAYS AS (id * 2) STORED, last text);
         INSERT INTO t VALUES
             (1, '2026-03-29 01:30:00+00', decode(repeat('00ff5c27', 40), 'hex'), DEFAULT, E'a\\\\b''c'),
             (2, 'infinity', '\\x5c', DEFAULT, E'\\t\\n'), (3, NULL, NULL, DEFAULT, NULL)",
    );
    let wanted = digests(&it.create(&source, "live.pgark"));
    let zone = format!("ALTER DATABASE \"{source}\" SET timezone = 'Asia/Kathmandu'");
    it.server.psql("postgres", &zone);
    let form = format!("ALTER DATABASE \"{source}\" SET bytea_output = 'escape'");
    it.server.psql("postgres", &form);
    for (name, args) in [("a.sql", &[][..]), ("b.sql", &["--inserts"]), ("c.dump", &["-Fc"])] {
        let dump = it.dump(&source, name, args);
        assert_eq!(digests(&taken(&dump)), wanted, "{name}");
    }
}

fn refused(dump: &Path, code: i32, said: &str) {
    let out = dump.with_extension("refused.pgark");
    let ran = take(dump, &out);
    assert_eq!(ran.code, Some(code), "{}: {}", dump.display(), ran.stderr);
    assert!(ran.stderr.contains(said), "{said:?} is not in {}", ran.stderr);
    assert!(!out.exists());
    let folder = std::fs::read_dir(dump.parent().unwrap()).unwrap();
    let left: Vec<_> = folder
        .map(|entry| entry.unwrap().file_name())
        .filter(|name| name.to_string_lossy().contains(".pgark"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

/// What is not whole is told from what is, wherever it ends.
#[test]
fn dumps_that_are_not_whole() {
    let it = Setting::new(16);
    let source = it.server.database("cut");
    it.server.psql(
        &source,
        "CREATE TABLE a (id int PRIMARY KEY, t text, b bytea);
         INSERT INTO a SELECT i, repeat('x', i), decode(repeat('ab', 100 + i), 'hex') FROM generate_series(1, 50) i;
         CREATE TABLE z (id int REFERENCES a); INSERT INTO z SELECT generate_series(1, 50)",
    );
    for (name, args) in [
        ("a.sql", &[][..]),
        ("b.sql", &["--inserts"]),
        ("c.dump", &["-Fc"]),
        ("d.dump", &["-Fc", "-Z0"]),
        ("e.tar", &["-Ft"]),
    ] {
        let whole = it.dump(&source, name, args);
        let bytes = std::fs::read(&whole).unwrap();
        std::fs::remove_file(taken(&whole)).unwrap();
        // Of a plain dump the last line may be missing, of a tar file a script for psql.
        let needed = match name {
            "a.sql" | "b.sql" => bytes.len() - 60,
            "e.tar" => bytes.windows(11).position(|name| name == b"restore.sql").unwrap() - 512,
            _ => bytes.len() - 1,
        };
        let cut = it.path(&format!("cut-{name}"));
        for length in (1..needed).step_by(needed / 60 + 1).chain([needed]) {
            std::fs::write(&cut, &bytes[..length]).unwrap();
            refused(&cut, 3, "cut");
        }
        std::fs::remove_file(cut).unwrap();
    }
    let folder = it.dump(&source, "folder", &["-Fd"]);
    let data = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let data = data.filter(|path| path.extension().is_some_and(|end| end == "gz")).min().unwrap();
    let bytes = std::fs::read(&data).unwrap();
    for length in [0, 1, bytes.len() / 2, bytes.len() - 1] {
        std::fs::write(&data, &bytes[..length]).unwrap();
        refused(&folder, 3, "rows of public.a");
    }
    std::fs::remove_file(&data).unwrap();
    refused(&folder, 3, "is missing: the rows of public.a");
}

/// Whatever a table of contents claims: an error, and no memory for it.
#[test]
fn tables_of_contents_that_claim_too_much() {
    let it = Setting::new(17);
    let source = it.server.database("claims");
    it.server.psql(&source, "CREATE TABLE t (i int); INSERT INTO t VALUES (1)");
    let bytes = std::fs::read(it.dump(&source, "a.dump", &["-Fc"])).unwrap();
    let folder = it.dump(&source, "folder", &["-Fd"]);
    let toc = std::fs::read(folder.join("toc.dat")).unwrap();
    for at in 0..200 {
        for value in [0, 1, 8, 0x7f, 0xff] {
            let mut other = bytes.clone();
            other[at] = value;
            std::fs::write(it.path("b.dump"), &other).unwrap();
            let ran = take(&it.path("b.dump"), &it.path("b.pgark"));
            assert!(matches!(ran.code, Some(0 | 3)), "{at} {value}: {:?} {}", ran.code, ran.stderr);
            _ = std::fs::remove_file(it.path("b.pgark"));
        }
        let mut other = toc.clone();
        other[at] = 0xff;
        std::fs::write(folder.join("toc.dat"), &other).unwrap();
        let ran = take(&folder, &it.path("b.pgark"));
        assert!(matches!(ran.code, Some(0 | 3)), "{at}: {:?} {}", ran.code, ran.stderr);
        _ = std::fs::remove_file(it.path("b.pgark"));
    }
}

/// Dumps that were made with less than all of a database, or more.
#[test]
fn dumps_that_hold_something_else() {
    let it = Setting::new(17);
    let source = it.server.database("part");
    load_sample(it.server, &source);
    let dump = |name: &str, args: &[&str]| it.dump(&source, name, args);
    refused(&dump("schema.sql", &["--schema-only"]), 3, "there are no rows of");
    refused(&dump("schema.dump", &["-Fc", "--schema-only"]), 3, "there are no rows of");
    refused(&dump("data.sql", &["--data-only"]), 3, "is not declared");
    let some = dump("some.sql", &["--exclude-table-data=image"]);
    refused(&some, 3, "there are no rows of public.image, not even none");
    let other = std::fs::read_to_string(dump("other.sql", &[])).unwrap();
    let other = other.replacen("client_encoding = 'UTF8'", "client_encoding = 'EUC_TW'", 1);
    std::fs::write(it.path("other.sql"), other).unwrap();
    refused(&it.path("other.sql"), 3, "EUC_TW");
    let mut all = it.server.tool("pg_dumpall");
    let text = ok(&mut all).stdout;
    std::fs::write(it.path("all.sql"), text).unwrap();
    refused(&it.path("all.sql"), 3, "a whole cluster");
    let two =
        [it.path("schema.sql"), it.path("schema.sql")].map(|path| std::fs::read(path).unwrap());
    std::fs::write(it.path("two.sql"), two.concat()).unwrap();
    refused(&it.path("two.sql"), 3, "several databases");

    let write = |name: &str, bytes: &[u8]| {
        std::fs::write(it.path(name), bytes).unwrap();
        it.path(name)
    };
    refused(&write("empty.sql", b""), 3, "is empty");
    refused(&write("other.sql", b"SELECT 1;\n"), 3, "is not a dump");
    refused(&write("text.sql", b"hello"), 3, "is not a dump");
    let wide: Vec<u8> = "SELECT 1;".encode_utf16().flat_map(u16::to_le_bytes).collect();
    refused(&write("shell.sql", &[&[0xff, 0xfe], &wide[..]].concat()), 3, "PowerShell");
    refused(&it.path("missing.sql"), 3, "no such file");
    let tampered = std::fs::read_to_string(dump("plain.sql", &[])).unwrap();
    let rows = tampered.find("COPY public.image ").unwrap();
    let rows = rows + tampered[rows..].find('\n').unwrap() + 1;
    let tampered = format!("{}x{}", &tampered[..rows], &tampered[rows..]);
    let ran = take(&write("tampered.sql", tampered.as_bytes()), &it.path("tampered.pgark"));
    assert_eq!(ran.code, Some(3), "{}", ran.stderr);
}

/// What is for servers is no option of a dump, and an archive of one says what it is.
#[test]
fn what_is_said_of_them() {
    let it = Setting::new(17);
    let source = it.server.database("said");
    load_sample(it.server, &source);
    let file = it.dump(&source, "shop.dump", &["-Fc"]);
    for option in [["--jobs", "2"], ["--base", "a.pgark"], ["--snapshot", "1"]] {
        let mut tool = Command::new(PGARK);
        let ran = run(tool.arg("create").arg(&file).args(option));
        assert_eq!(ran.code, Some(2), "{}", ran.stderr);
        let words = format!("{} is for databases", option[0]);
        assert!(ran.stderr.contains(&words), "{}", ran.stderr);
    }
    let mut tool = Command::new(PGARK);
    let ran = ok(tool.arg("create").arg(&file).current_dir(it.folder.path()));
    assert!(ran.stdout.starts_with("shop_20"), "{}", ran.stdout);
    let archive = it.path(ran.stdout.split(':').next().unwrap());
    let said = ok(Command::new(PGARK).arg("inspect").arg(&archive)).stdout;
    assert!(said.contains("Made of      a dump (custom), of 20"), "{said}");
    let said = manifest(&archive);
    assert_eq!(said["source"]["dump"]["form"], "custom");
    // It compares with the live database, and knows when it is from.
    let mut tool = it.server.pgark(PGARK);
    ok(tool.arg("compare").arg(&archive).args(["--with", &source]));
    it.server.psql(&source, "DELETE FROM notification WHERE id < 20");
    let mut tool = it.server.pgark(PGARK);
    let ran = run(tool.args(["check", &source, "--against"]).arg(&archive));
    assert_eq!(ran.code, Some(1), "{}", ran.stdout);
    assert!(ran.stdout.contains("(as the dump says)"), "{}", ran.stdout);
}
