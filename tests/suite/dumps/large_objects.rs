//! Large objects in dumps. Guards against one that is lost, cut off, or somebody else's: what is made
//! of a dump has the rows of the live database, and what is not whole is refused by its OID.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Setting, refused, take, taken};
use crate::PGARK;
use crate::support::{Ran, dump, fed, ok, run};

/// Sizes about every limit (a page of the server, a write of `pg_dump`, what is small here, a slice),
/// with a hole, twice the same, and OIDs of every size; owners, privileges and comments of every kind.
const OBJECTS: &str = r#"
    DO $$ BEGIN CREATE ROLE lo_owner; EXCEPTION WHEN duplicate_object OR unique_violation THEN END $$;
    DO $$ BEGIN CREATE ROLE "lo ""{a,\b}"" =/"; EXCEPTION WHEN duplicate_object OR unique_violation THEN END $$;
    DO $$ BEGIN CREATE ROLE lo_middle; EXCEPTION WHEN duplicate_object OR unique_violation THEN END $$;
    CREATE FUNCTION bytes(n int, seed text) RETURNS bytea LANGUAGE sql AS
        $$ SELECT substr(decode(coalesce(string_agg(md5(seed || i), ''), ''), 'hex'), 1, n) FROM generate_series(0, n / 16) i $$;
    CREATE TABLE t (id int PRIMARY KEY, o oid); CREATE SEQUENCE s OWNED BY t.id;
    GRANT ALL ON SEQUENCE s TO lo_owner; GRANT SELECT ON t TO lo_owner;
    INSERT INTO t VALUES (1, 20);
    SELECT lo_create(20);
    SELECT lo_from_bytea(21, '\x00'), lo_from_bytea(22, bytes(64, 'a')), lo_from_bytea(23, bytes(65, 'b')),
        lo_from_bytea(24, bytes(2048, 'c')), lo_from_bytea(25, bytes(2049, 'd')), lo_from_bytea(26, bytes(16384, 'e')),
        lo_from_bytea(27, bytes(16385, 'f')), lo_from_bytea(28, bytes(65536, 'g')), lo_from_bytea(29, bytes(65537, 'h')),
        lo_from_bytea(30, bytes(65537, 'h')), lo_from_bytea(2147483648, bytes(100, 'i')), lo_from_bytea(4294967294, bytes(9, 'j'));
    SELECT lo_create(31), lo_create(32);
    SELECT lo_put(31, i * 1048576::bigint, bytes(1048576, i::text)) FROM generate_series(0, 16) i;
    SELECT lo_put(31, 17 * 1048576::bigint, '\x010203');
    SELECT lo_put(32, 300000, '\x01');
    SELECT lo_from_bytea(oid::oid, bytes(oid % 100, oid::text)) FROM generate_series(100, 1399) oid;
    DO $$ BEGIN
        FOR oid IN 100..1399 LOOP EXECUTE format('ALTER LARGE OBJECT %s OWNER TO lo_owner', oid); END LOOP;
        FOR oid IN 100..1299 LOOP EXECUTE format('GRANT SELECT ON LARGE OBJECT %s TO "lo ""{a,\b}"" =/", PUBLIC', oid); END LOOP;
    END $$;
    ALTER LARGE OBJECT 22 OWNER TO "lo ""{a,\b}"" =/";
    GRANT ALL ON LARGE OBJECT 22 TO lo_middle WITH GRANT OPTION;
    SET ROLE lo_middle; GRANT UPDATE ON LARGE OBJECT 22 TO lo_owner; RESET ROLE;
    REVOKE ALL ON LARGE OBJECT 22 FROM "lo ""{a,\b}"" =/";
    REVOKE ALL ON LARGE OBJECT 23 FROM postgres;
    REVOKE UPDATE ON LARGE OBJECT 24 FROM postgres;
    GRANT SELECT ON LARGE OBJECT 25 TO PUBLIC;
    COMMENT ON LARGE OBJECT 20 IS E'empty, ''quoted'',\nof two lines \\ and "größe"';
    COMMENT ON LARGE OBJECT 4294967294 IS '-- Name: 7; Type: TABLE; Schema: -; Owner: -';
    COMMENT ON LARGE OBJECT 150 IS 'one of many';
"#;

fn compared(one: &Path, other: &Path) -> Ran {
    run(Command::new(PGARK).args(["compare", "--full"]).arg(one).arg("--with").arg(other))
}

fn of_every_form(major: u32) {
    let it = Setting::new(major);
    let source = it.server.database("large");
    it.server.psql(&source, OBJECTS);
    let live = it.create(&source, "live.pgark");
    let mut forms = vec![
        ("plain.sql", &[][..]),
        ("create.sql", &["--clean", "--create", "--if-exists"]),
        ("clean.sql", &["--clean"]),
        ("inserts.sql", &["--inserts"]),
        ("verbose.sql", &["--verbose"]),
        ("custom.dump", &["-Fc"]),
        ("raw.dump", &["-Fc", "-Z0"]),
        ("folder", &["-Fd"]),
        ("jobs", &["-Fd", "-j2"]),
        ("tar.tar", &["-Ft"]),
    ];
    if major >= 16 {
        forms.extend([
            ("zstd.dump", &["-Fc", "-Z", "zstd:1"][..]),
            ("lz4.dump", &["-Fc", "-Z", "lz4"]),
        ]);
    }
    for (name, args) in forms {
        let archive = taken(&it.dump(&source, name, args));
        let ran = compared(&archive, &live);
        assert_eq!(ran.code, Some(0), "{major} {name}: {}{}", ran.stdout, ran.stderr);
    }
    // What can be read only once.
    let plain = std::fs::read(it.path("plain.sql")).unwrap();
    for bytes in [plain.clone(), zstd::bulk::compress(&plain, 1).unwrap()] {
        let out = it.path("piped.pgark");
        let mut tool = Command::new(PGARK);
        tool.args(["create", "-", "--force", "--parity", "0", "-o"]).arg(&out);
        let ran = fed(&mut tool, &bytes);
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        assert_eq!(compared(&out, &live).code, Some(0));
    }
    // Without memory for the long one.
    let out = it.path("narrow.pgark");
    let mut tool = Command::new(PGARK);
    tool.args(["create", "--memory", "64M", "--parity", "0", "-o"]).arg(&out);
    ok(tool.arg(it.path("custom.dump")));
    assert_eq!(compared(&out, &live).code, Some(0));

    // It is the same database again.
    for name in ["plain.sql.pgark", "custom.dump.pgark"] {
        let target = it.server.database("target");
        let mut tool = it.server.pgark(PGARK);
        ok(tool.arg("restore").arg(it.path(name)).args(["--to", &target]));
        let dumped = |database: &str| it.server.pg_dump(database, &[]);
        dump::assert_same(&dumped(&source), &dumped(&target), &format!("{major} {name}"));
    }

    // Empty ones are files of no bytes, as others are that were cut off.
    let other = Setting::new(major);
    for packed in ["zstd:1", "lz4"].into_iter().filter(|_| major >= 16) {
        refused(
            &other.dump(&source, packed, &["-Fd", "-Z", packed]),
            3,
            "large object 20: blob_20.dat is empty",
        );
    }
    let filled = "SELECT lo_put(oid, 0, '\\x01') FROM pg_largeobject_metadata m
        WHERE NOT EXISTS (SELECT FROM pg_largeobject l WHERE l.loid = m.oid)";
    it.server.psql(&source, filled);
    let live = it.create(&source, "filled.pgark");
    for packed in ["zstd:1", "lz4"].into_iter().filter(|_| major >= 16) {
        let archive = taken(&it.dump(&source, packed, &["-Fd", "-Z", packed]));
        assert_eq!(compared(&archive, &live).code, Some(0), "{major} {packed}");
    }

    // The comparison sees each of their fields.
    let mut before = live;
    let changes = [
        "COMMENT ON LARGE OBJECT 20 IS NULL",
        "GRANT SELECT ON LARGE OBJECT 21 TO lo_owner",
        "ALTER LARGE OBJECT 21 OWNER TO lo_owner",
        "SELECT lo_put(31, 17 * 1048576::bigint + 3, '\\x00')",
        "SELECT lo_unlink(150)",
    ];
    for (at, change) in changes.into_iter().enumerate() {
        it.server.psql(&source, change);
        let other = it.create(&source, &format!("{at}.pgark"));
        assert_eq!(compared(&other, &before).code, Some(1), "{change}");
        before = other;
    }
}

#[test]
fn of_every_form_14() {
    of_every_form(14);
}

#[test]
fn of_every_form_16() {
    of_every_form(16);
}

#[test]
fn of_every_form_17() {
    of_every_form(17);
}

#[test]
fn of_every_form_18() {
    of_every_form(18);
}

fn small(major: u32) -> (Setting, String) {
    let it = Setting::new(major);
    let source = it.server.database("small");
    it.server.psql(
        &source,
        "CREATE TABLE t (id int); INSERT INTO t VALUES (1);
         SELECT lo_from_bytea(7000 + i, decode(repeat(md5(i::text), 3000), 'hex')) FROM generate_series(1, 3) i;
         SELECT lo_create(7009); COMMENT ON LARGE OBJECT 7002 IS 'two'",
    );
    (it, source)
}

/// Wherever a dump ends, it is not whole.
#[test]
fn those_that_are_cut_off() {
    for major in [14, 18] {
        let (it, source) = small(major);
        let mut forms = vec![
            ("a.sql", &[][..]),
            ("b.dump", &["-Fc"]),
            ("c.dump", &["-Fc", "-Z0"]),
            ("d.tar", &["-Ft"]),
        ];
        if major >= 16 {
            forms.extend([
                ("e.dump", &["-Fc", "-Z", "zstd:1"][..]),
                ("f.dump", &["-Fc", "-Z", "lz4"]),
            ]);
        }
        for (name, args) in forms {
            let whole = it.dump(&source, name, args);
            let bytes = std::fs::read(&whole).unwrap();
            std::fs::remove_file(taken(&whole)).unwrap();
            let needed = match name {
                "a.sql" => bytes.len() - 60,
                "d.tar" => bytes.windows(11).position(|name| name == b"restore.sql").unwrap() - 512,
                _ => bytes.len() - 1,
            };
            let cut = it.path(&format!("cut-{name}"));
            for length in (1..needed).step_by(needed / 80 + 1).chain([needed]) {
                std::fs::write(&cut, &bytes[..length]).unwrap();
                refused(&cut, 3, "cut");
            }
            std::fs::remove_file(cut).unwrap();
        }
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.sort();
    found
}

/// In a folder each large object is a file; none of them may be shorter or missing.
#[test]
fn files_that_are_cut_off_or_missing() {
    for (major, args) in [
        (14, &["-Fd"][..]),
        (17, &["-Fd"]),
        (18, &["-Fd", "-Z", "zstd:1"]),
        (18, &["-Fd", "-Z", "lz4"]),
    ] {
        let (it, source) = small(major);
        it.server.psql(&source, "SELECT lo_put(7009, 0, 'x')");
        let folder = it.dump(&source, "folder", args);
        std::fs::remove_file(taken(&folder)).unwrap();
        let data = |oid: u32| {
            let name = format!("blob_{oid}.dat");
            let is =
                |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with(&name);
            files(&folder).into_iter().find(is).unwrap()
        };
        let path = data(7002);
        let bytes = std::fs::read(&path).unwrap();
        for length in [0, 1, 10, bytes.len() / 2, bytes.len() - 4, bytes.len() - 1] {
            std::fs::write(&path, &bytes[..length]).unwrap();
            refused(&folder, 3, "large object 7002");
        }
        std::fs::remove_file(&path).unwrap();
        refused(&folder, 3, "large object 7002: blob_7002.dat is missing");
        // One that is not packed may be of any length.
        std::fs::write(it.path("folder/blob_7002.dat"), b"abc").unwrap();
        refused(&folder, 3, "large object 7002: blob_7002.dat is empty or not compressed");
        std::fs::remove_file(it.path("folder/blob_7002.dat")).unwrap();
        std::fs::write(&path, &bytes).unwrap();

        let list =
            files(&folder).into_iter().find(|path| path.extension().unwrap() == "toc").unwrap();
        let lines = std::fs::read_to_string(&list).unwrap();
        std::fs::write(&list, lines.replace("7003 blob_7003.dat\n", "")).unwrap();
        refused(&folder, 3, "large object 7003: its bytes are not there");
        std::fs::write(&list, format!("{lines}7003 blob_7003.dat\n")).unwrap();
        refused(&folder, 3, "large object 7003: its bytes are there twice");
        std::fs::write(&list, format!("{lines}7004 blob_7004.dat\n")).unwrap();
        refused(&folder, 3, "large object 7004: its bytes are there, and it is not declared");
        std::fs::write(&list, &lines[..lines.len() - 3]).unwrap();
        refused(&folder, 3, "a line is not whole");
        std::fs::write(&list, lines.replace("blob_7003", "../blob_7003")).unwrap();
        refused(&folder, 3, "a line is not whole");
        std::fs::remove_file(&list).unwrap();
        refused(&folder, 3, "is missing");
        std::fs::write(&list, &lines).unwrap();
        taken(&folder);
    }
}

/// Files of large objects without compression have nothing that says where they end.
#[test]
fn files_that_are_not_compressed() {
    let (it, source) = small(17);
    let folder = it.dump(&source, "folder", &["-Fd", "-Z0"]);
    refused(&folder, 3, "large object 7001: blob_7001.dat is empty or not compressed");
}

/// What is said twice, of nothing, or not at all.
#[test]
fn statements_that_do_not_fit() {
    for major in [14, 18] {
        let (it, source) = small(major);
        let plain = std::fs::read_to_string(it.dump(&source, "a.sql", &[])).unwrap();
        let between = |from: &str, to: &str| {
            let begin = plain.find(from).unwrap();
            let end = begin + plain[begin..].find(to).unwrap() + to.len();
            plain[begin..end].to_owned()
        };
        let data = between("SELECT pg_catalog.lo_open('7002'", "lo_close(0);\n");
        let create = "SELECT pg_catalog.lo_create('7002');\n";
        let try_it = |text: String, said: &str| {
            assert_ne!(text, plain);
            let path = it.path("b.sql");
            std::fs::write(&path, text).unwrap();
            refused(&path, 3, said);
        };
        try_it(plain.replace(&data, ""), "large object 7002: its bytes are not there");
        try_it(plain.replace(&data, &data.repeat(2)), "7002: its bytes are there twice");
        try_it(plain.replace(create, &create.repeat(2)), "7002: it is declared twice");
        try_it(plain.replace(create, ""), "large object 7002");
        let owner = "ALTER LARGE OBJECT 7002 OWNER TO postgres;\n";
        try_it(plain.replace(owner, ""), "7002: it has no owner");
        let open = data.lines().next().unwrap();
        try_it(plain.replace(open, ""), "none is open");
        let close = data.lines().last().unwrap();
        try_it(
            plain.replace(&data, &data.replace(close, "")),
            "large object 7002: its bytes have no end",
        );
        let write = data.lines().nth(1).unwrap();
        try_it(plain.replacen(write, "SELECT 1;", 1), "7002: its bytes have no end");
        let odd = write.replace("');", "0');");
        try_it(plain.replacen(write, &odd, 1), "large object 7002: its bytes cannot be read");
        let session = it.dump(&source, "d.sql", &["--use-set-session-authorization"]);
        refused(&session, 3, "dump without --use-set-session-authorization");
        let without = it.dump(&source, "c.sql", &["--no-owner"]);
        refused(&without, 3, "it has no owner (a dump made with --no-owner)");
    }
}

/// What is packed within a custom dump is whole, too: its length may be right and its end not there.
#[test]
fn streams_within_that_are_cut_off() {
    let (it, source) = small(14);
    let bytes = std::fs::read(it.dump(&source, "a.dump", &["-Fc"])).unwrap();
    // The number 7002 as pg_dump writes it, and behind it the first chunk.
    let number = [&[0][..], &7002_u32.to_le_bytes()].concat();
    let at = bytes.windows(5).rposition(|bytes| bytes == number).unwrap() + 5;
    let length = u32::from_le_bytes(bytes[at + 1..at + 5].try_into().unwrap());
    let end = at + 5 + length as usize;
    assert_eq!(bytes[end..end + 5], [0; 5], "one chunk");
    for less in [1, 4, 5, length / 2, length - 1] {
        let mut other = bytes[..=at].to_vec();
        other.extend((length - less).to_le_bytes());
        other.extend(&bytes[at + 5..end - less as usize]);
        other.extend(&bytes[end..]);
        let path = it.path("b.dump");
        std::fs::write(&path, other).unwrap();
        refused(&path, 3, "large object 7002: its bytes cannot be read");
    }
    let mut other = bytes.clone();
    other[end - 1] ^= 1;
    std::fs::write(it.path("b.dump"), other).unwrap();
    refused(&it.path("b.dump"), 3, "large object 7002: its bytes cannot be read");
    let ran = take(&it.path("a.dump"), &it.path("a.pgark"));
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
}
