//! Dumps in encodings of one byte a character. Guards against a byte that becomes another character
//! than the server makes of it: the archive is that of the live database, which the server converts.

use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

use super::{Setting, digests, manifest, refused, run, taken};
use crate::PGARK;
use crate::support::{MAJORS, dump, ok};

/// All of them, as a database may have them.
const ENCODINGS: [&str; 27] = [
    "ISO_8859_5",
    "ISO_8859_6",
    "ISO_8859_7",
    "ISO_8859_8",
    "KOI8R",
    "KOI8U",
    "LATIN1",
    "LATIN10",
    "LATIN2",
    "LATIN3",
    "LATIN4",
    "LATIN5",
    "LATIN6",
    "LATIN7",
    "LATIN8",
    "LATIN9",
    "WIN1250",
    "WIN1251",
    "WIN1252",
    "WIN1253",
    "WIN1254",
    "WIN1255",
    "WIN1256",
    "WIN1257",
    "WIN1258",
    "WIN866",
    "WIN874",
];

/// Every character of an encoding in values, and three of them in names, literals and comments. A
/// byte that is none cannot be converted, by the server either.
const CHARACTERS: &str = r"
    CREATE FUNCTION pg_temp.known(byte int) RETURNS bool LANGUAGE plpgsql AS $$
        BEGIN PERFORM convert_to(chr(byte), 'UTF8'); RETURN true;
        EXCEPTION WHEN untranslatable_character THEN RETURN false; END $$;
    CREATE TABLE known AS SELECT byte FROM generate_series(128, 255) byte WHERE pg_temp.known(byte);
    DO $$ DECLARE three text := (SELECT string_agg(chr(byte), '') FROM (SELECT byte FROM known WHERE byte > 160 LIMIT 3) k); BEGIN
        EXECUTE format('CREATE TABLE %I (id int PRIMARY KEY, %I text DEFAULT %L CHECK (%2$I <> %4$L), b bytea, at timestamptz)',
            't ' || three, 'c ' || three, three, 'no ' || three);
        EXECUTE format('INSERT INTO %I SELECT byte, chr(byte) || E''\t\\\n'''''' || chr(byte), set_byte(repeat(''x'', 70)::bytea, 0, byte),
            ''2024-01-01 00:00:00+02'' FROM known', 't ' || three);
        EXECUTE format('CREATE TYPE mood AS ENUM (%L, %L)', 'a ' || three, three);
        EXECUTE format('CREATE TABLE plain (m mood, all_of text); INSERT INTO plain SELECT %L, string_agg(chr(byte), '''') FROM known', three);
        EXECUTE format('COMMENT ON TABLE plain IS %L', three || E'\nName');
        PERFORM lo_create(9);
        EXECUTE format('COMMENT ON LARGE OBJECT 9 IS %L', three);
    END $$;
";

fn database(it: &Setting, encoding: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("in_{}_{number}", encoding.to_lowercase());
    let like = format!("TEMPLATE template0 ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C'");
    it.server.psql("postgres", &format!("CREATE DATABASE {name} {like}"));
    name
}

/// What an archive says of where it came from, but for what no dump says.
fn source(archive: &std::path::Path) -> Value {
    let mut source = manifest(archive)["source"].take();
    for field in ["snapshot_time", "lsn", "dump", "properties"] {
        source.as_object_mut().unwrap().remove(field);
    }
    source
}

fn every_character(major: u32, encodings: &[&str]) {
    let it = Setting::new(major);
    for encoding in encodings {
        let name = database(&it, encoding);
        it.server.psql(&name, CHARACTERS);
        let known: usize = it.server.psql(&name, "SELECT count(*) FROM known").parse().unwrap();
        assert!(known > 60, "{encoding}: {known}");
        let live = it.create(&name, &format!("{encoding}.pgark"));
        let wanted = digests(&live);
        for (file, args) in [
            ("a.sql", &["--create"][..]),
            ("b.sql", &["--create", "--inserts"]),
            ("c.dump", &["-Fc"]),
            ("d.dump", &["-Fc", "--column-inserts"]),
            ("e", &["-Fd"]),
            ("f.tar", &["-Ft"]),
        ] {
            let dump = it.dump(&name, &format!("{encoding}-{file}"), args);
            let archive = taken(&dump);
            assert_eq!(digests(&archive), wanted, "{major} {encoding} {file}");
            assert_eq!(source(&archive), source(&live), "{major} {encoding} {file}");
            let mut tool = Command::new(PGARK);
            let ran = run(tool.arg("compare").arg(&archive).arg("--with").arg(&live));
            assert_eq!(
                ran.code,
                Some(0),
                "{major} {encoding} {file}: {}{}",
                ran.stdout,
                ran.stderr
            );
        }
        for file in ["a.sql", "b.sql"] {
            let plain = it.path(&format!("{encoding}-{file}"));
            ok(Command::new("gzip").arg(&plain));
            let packed = it.path(&format!("{encoding}-{file}.gz"));
            assert_eq!(digests(&taken(&packed)), wanted, "{major} {encoding} {file}.gz");
        }
    }
}

#[test]
fn every_character_of_every_encoding() {
    every_character(18, &ENCODINGS);
}

#[test]
fn every_version_writes_them() {
    for major in MAJORS {
        every_character(major, &["LATIN1", "LATIN9", "WIN1252", "KOI8R"]);
    }
}

/// The SQL of the archive is UTF-8, and says so: a restore of it is the same database.
#[test]
fn restored_it_is_the_same() {
    let it = Setting::new(16);
    let source = database(&it, "WIN1251");
    it.server.psql(&source, CHARACTERS);
    for (file, args) in [("a.sql", &[][..]), ("b.dump", &["-Fc"])] {
        let archive = taken(&it.dump(&source, file, args));
        let target = database(&it, "WIN1251");
        let mut tool = it.server.pgark(PGARK);
        ok(tool.arg("restore").arg(&archive).args(["--to", &target]));
        let dumped = |database: &str| it.server.pg_dump(database, &["--encoding=UTF8"]);
        dump::assert_same(&dumped(&source), &dumped(&target), file);
    }
}

/// Bytes that are no character: the server does not convert them, and no more does this.
#[test]
fn bytes_that_are_no_character() {
    let it = Setting::new(17);
    let name = database(&it, "WIN1252");
    it.server.psql(
        &name,
        "CREATE TABLE a (t text); INSERT INTO a VALUES ('x'), (chr(201));
         CREATE TABLE b (t text); INSERT INTO b VALUES ('1'), ('2'), (chr(129)), ('4')",
    );
    let mut live = it.server.pgark(PGARK);
    let ran = run(live.args(["create", &name, "-o"]).arg(it.path("live.pgark")));
    assert_eq!(ran.code, Some(3), "{}", ran.stderr);
    let said =
        "rows of public.b: line 3 of them has the byte 0x81, which is no character of WIN1252";
    for (file, args) in
        [("a.sql", &[][..]), ("b.sql", &["--inserts"]), ("c.dump", &["-Fc"]), ("d.tar", &["-Ft"])]
    {
        refused(&it.dump(&name, file, args), 3, if file == "b.sql" { "0x81" } else { said });
    }
    it.server.psql(&name, "DELETE FROM b; COMMENT ON TABLE a IS 'x'");
    it.server
        .psql(&name, "DO $$ BEGIN EXECUTE format('COMMENT ON TABLE a IS %L', chr(129)); END $$");
    refused(&it.dump(&name, "e.sql", &[]), 3, "the byte 0x81");
    refused(&it.dump(&name, "f.dump", &["-Fc"]), 3, "the byte 0x81");
}

/// The encoding is that of the dump, whatever its database has, and one that is not known is refused
/// by its name.
#[test]
fn what_a_dump_says_it_is_in() {
    let it = Setting::new(16);
    let name = it.server.database("utf8");
    it.server.psql(&name, "CREATE TABLE größe (t text); INSERT INTO größe VALUES ('50 €')");
    let live = it.create(&name, "live.pgark");
    for (file, args) in [("a.sql", &["--create"][..]), ("b.dump", &["-Fc"])] {
        let args = [args, &["--encoding=WIN1252"]].concat();
        let archive = taken(&it.dump(&name, file, &args));
        assert_eq!(digests(&archive), digests(&live));
        assert_eq!(manifest(&archive)["source"]["encoding"], "UTF8");
    }
    let it = Setting::new(16);
    for encoding in ["EUC_JP", "SJIS"] {
        it.server.psql(&name, "DROP TABLE IF EXISTS größe; CREATE TABLE IF NOT EXISTS t (t text)");
        let encoded = format!("--encoding={encoding}");
        refused(&it.dump(&name, &format!("{encoding}.sql"), &[&encoded]), 3, encoding);
        refused(&it.dump(&name, &format!("{encoding}.dump"), &["-Fc", &encoded]), 3, encoding);
    }
    // What Windows calls a time zone is not UTF-8, and comes before all else.
    let plain = std::fs::read(it.dump(&name, "c.sql", &["--verbose"])).unwrap();
    let at = plain.windows(11).position(|bytes| bytes == b"-- Started ").unwrap();
    let zone = [&plain[..at], b"-- Zone: Mitteleurop\xe4ische Zeit\n", &plain[at..]].concat();
    std::fs::write(it.path("d.sql"), zone).unwrap();
    taken(&it.path("d.sql"));
}
