//! Data directories that are damaged: told, and never more thrown away than was asked for.

use super::*;

/// `base/16384/16385` of a relation.
fn file_of(server: &Server, relation: &str) -> PathBuf {
    server.psql("shop", &format!("SELECT pg_relation_filepath('{relation}')")).into()
}

pub(super) fn flip(file: &Path, block: u64) {
    let file = std::fs::File::options().read(true).write(true).open(file).unwrap();
    let mut byte = [0];
    let at = block * 8192 + 6000;
    file.read_exact_at(&mut byte, at).unwrap();
    byte[0] ^= 0x40;
    file.write_all_at(&byte, at).unwrap();
}

#[test]
fn pages_with_a_wrong_checksum() {
    for major in [14, 17, 18] {
        let place = Place::new();
        let server = durable(major);
        server.createdb("shop");
        server.psql(
            "shop",
            "CREATE TABLE t (i integer PRIMARY KEY, x text);
             INSERT INTO t SELECT i, repeat(md5(i::text), 10) FROM generate_series(1, 1000) i;
             CREATE TABLE u AS SELECT 1 AS one",
        );
        let (table, index) = (file_of(&server, "t"), file_of(&server, "t_pkey"));
        stop(&server);
        copy(&server.socket_dir().join("data"), &place.old());
        let mut enable = Command::new(bin_dir(major).join("pg_checksums"));
        enable.arg("--enable").arg("-D").arg(place.old());
        if major < 18 {
            ok(&mut enable);
        }
        let json = place.json(&place.old(), 0, &["-o", "whole.pgark"]);
        assert_eq!(json["checksums"], "checked");

        // An index holds nothing that the rows do not hold.
        copy(&place.old(), &place.path("index"));
        flip(&place.path("index").join(&index), 1);
        let json = place.json(&place.path("index"), 1, &["-o", "index.pgark"]);
        let page = &json["bad_pages"][0];
        assert_eq!((&page["block"], &page["holds"]), (&1.into(), &"index".into()), "{json}");
        assert_eq!(page["table"], "public.t");
        place.assert_equal("whole.pgark", "index.pgark");

        flip(&place.old().join(&table), 3);
        flip(&place.old().join(&table), 5);
        let ran = place.rescue(&place.old(), &["-o", "a.pgark"]);
        assert_eq!(ran.code, Some(3), "{}\n{}", ran.stdout, ran.stderr);
        for told in [
            "page 3 of base/",
            "page 5 of base/",
            "rows of public.t of database shop",
            "invalid page",
            "--zero-damaged-pages",
            "the original was only read",
        ] {
            assert!(ran.stderr.contains(told), "{major}: {told}: {}", ran.stderr);
        }
        assert!(!place.path("a.pgark").exists());
        let json = place.json(&place.old(), 1, &["-o", "a.pgark", "--zero-damaged-pages"]);
        let zeroed: Vec<(u64, &str)> = json["zeroed_pages"]
            .as_array()
            .unwrap()
            .iter()
            .map(|page| (page["block"].as_u64().unwrap(), page["table"].as_str().unwrap()))
            .collect();
        assert_eq!(zeroed, [(3, "public.t"), (5, "public.t")], "{json}");
        let kinds: Vec<&str> = json["doubts"]
            .as_array()
            .unwrap()
            .iter()
            .map(|d| d["kind"].as_str().unwrap())
            .collect();
        assert_eq!(kinds, ["bad-pages", "zeroed-pages"]);
        let rows = place.cat("a.pgark", "t").lines().count();
        assert!(rows > 900 && rows < 1000, "{rows}");
        assert_eq!(place.cat("a.pgark", "u").lines().count(), 1);
        let words = place.rescue(&place.old(), &["-o", "b.pgark", "--zero-damaged-pages"]);
        assert!(words.stdout.contains("RESCUED, WITH DOUBTS."), "{}", words.stdout);
        assert!(words.stdout.contains("Pages read as empty"), "{}", words.stdout);
    }
}

#[test]
fn without_its_wal() {
    let place = Place::stopped(17);
    let wal = place.old().join("pg_wal");
    std::fs::remove_dir_all(&wal).unwrap();
    let ran = place.rescue(&place.old(), &["-o", "a.pgark"]);
    assert_eq!(ran.code, Some(3));
    assert!(ran.stderr.contains("has no WAL"), "{}", ran.stderr);
    assert!(ran.stderr.contains("--reset-wal"), "{}", ran.stderr);
    // Elsewhere, and gone from there.
    std::os::unix::fs::symlink("/nowhere/wal", &wal).unwrap();
    let ran = place.rescue(&place.old(), &["-o", "a.pgark"]);
    assert!(ran.stderr.contains("pg_wal to /nowhere/wal"), "{}", ran.stderr);
    let rules = root().join("fixtures/sample/pgark.toml");
    let rules = ["-o", "a.pgark", "--reset-wal", "--rules", rules.to_str().unwrap()];
    let json = place.json(&place.old(), 1, &rules);
    assert_eq!(json["doubts"][0]["kind"], "wal-reset", "{json}");
    assert_eq!(json["databases"][1]["archive"]["rows"], 1088);
    let words = place.rescue(&place.old(), &["-o", "b.pgark", "--reset-wal"]);
    assert!(words.stdout.contains("the WAL was thrown away"), "{}", words.stdout);
    // Moved, as initdb --waldir has it.
    copy(&stopped(17).join("pg_wal"), &place.path("wal"));
    let json = place.json(&place.old(), 0, &["-o", "c.pgark", "--map", "/nowhere/wal=wal"]);
    assert_eq!(json["doubts"], serde_json::json!([]));
    place.assert_equal("c.pgark", "b.pgark");
    // By a relative link, in the folder and in a tar.
    std::fs::remove_file(&wal).unwrap();
    std::os::unix::fs::symlink("../wal", &wal).unwrap();
    place.json(&place.old(), 0, &["-o", "d.pgark"]);
    place.json(&tar(&place, "v.tar", &["old", "wal"]), 0, &["-o", "e.pgark"]);
    let lost = place.rescue(&tar(&place, "w.tar", &["old"]), &["-o", "f.pgark"]);
    assert!(lost.stderr.contains("pg_wal to ../wal"), "{}", lost.stderr);
}

/// A server that does not come up: why, and what to try.
#[test]
fn what_the_server_says() {
    let place = Place::stopped(17);
    for entry in std::fs::read_dir(place.old().join("pg_wal")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            std::fs::write(&path, vec![0; 16 << 20]).unwrap();
        }
    }
    let ran = place.rescue(&place.old(), &["-o", "a.pgark"]);
    assert_eq!(ran.code, Some(3));
    for told in
        ["does not come up", "checkpoint record", "--reset-wal", "the original was only read"]
    {
        assert!(ran.stderr.contains(told), "{told}: {}", ran.stderr);
    }
    let place = Place::stopped(17);
    std::fs::write(place.old().join("backup_label"), "START WAL LOCATION: 0/99000028 (file 000000010000000000000099)\nCHECKPOINT LOCATION: 0/99000060\nBACKUP METHOD: streamed\nBACKUP FROM: primary\nSTART TIME: 2026-11-28 07:00:00 UTC\nLABEL: x\nSTART TIMELINE: 1\n").unwrap();
    let ran = place.rescue(&place.old(), &["-o", "a.pgark"]);
    assert_eq!(ran.code, Some(3));
    assert!(ran.stderr.contains("--ignore-backup-label"), "{}", ran.stderr);
    let json = place.json(&place.old(), 1, &["-o", "a.pgark", "--ignore-backup-label"]);
    assert_eq!(json["doubts"][0]["kind"], "backup-label");
}

/// Long values whose pieces are lost: only `--drop-unreadable-rows` goes on, and says which rows.
#[test]
fn rows_that_cannot_be_read() {
    for major in [14, 18] {
        let place = Place::new();
        let server = durable(major);
        server.createdb("shop");
        server.psql(
            "shop",
            "CREATE TABLE image (id integer, \"Lang\" text, place bytea, note text, PRIMARY KEY (\"Lang\", id));
             ALTER TABLE image ALTER COLUMN place SET STORAGE EXTERNAL;
             INSERT INTO image SELECT i, 'en', (SELECT string_agg(sha256(int4send(i * 100 + n)), '')
                FROM generate_series(1, 100) n), 'x' FROM generate_series(1, 200) i;
             INSERT INTO image VALUES (900, 'km', '', NULL), (901, 'km', NULL, repeat('y', 9000));
             CREATE TABLE use (id integer PRIMARY KEY, lang text, image integer,
                FOREIGN KEY (lang, image) REFERENCES image (\"Lang\", id) ON DELETE CASCADE);
             INSERT INTO use VALUES (1, 'en', 1), (2, 'en', 200);
             CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''no''; END';
             CREATE TRIGGER t BEFORE DELETE ON image FOR EACH ROW EXECUTE FUNCTION no();
             CREATE TABLE whole AS SELECT 1 AS id, repeat(md5('1'), 9000) AS long",
        );
        let pieces = server.psql(
            "shop",
            "SELECT pg_relation_filepath(reltoastrelid) FROM pg_class WHERE relname = 'image'",
        );
        let index = server.psql(
            "shop",
            "SELECT pg_relation_filepath(indexrelid) FROM pg_index
             WHERE indrelid = (SELECT reltoastrelid FROM pg_class WHERE relname = 'image')",
        );
        stop(&server);
        copy(&server.socket_dir().join("data"), &place.old());
        if major == 18 {
            ok(Command::new(bin_dir(major).join("pg_checksums"))
                .arg("--disable")
                .arg("-D")
                .arg(place.old()));
        }
        place.json(&place.old(), 0, &["-o", "whole.pgark"]);
        let zero = |dir: &Path, file: &str, block: u64| {
            let file = std::fs::File::options().write(true).open(dir.join(file)).unwrap();
            file.write_all_at(&[0; 8192], block * 8192).unwrap();
        };
        // An index of the pieces alone: it is made anew, and nothing is lost.
        copy(&place.old(), &place.path("index"));
        zero(&place.path("index"), &index, 1);
        assert_eq!(place.rescue(&place.path("index"), &["-o", "a.pgark"]).code, Some(3));
        let json =
            place.json(&place.path("index"), 1, &["-o", "a.pgark", "--drop-unreadable-rows"]);
        assert_eq!(json["dropped_rows"], serde_json::json!([]), "{json}");
        place.assert_equal("whole.pgark", "a.pgark");

        zero(&place.old(), &pieces, 0);
        let ran = place.rescue(&place.old(), &["-o", "b.pgark"]);
        assert_eq!(ran.code, Some(3), "{}", ran.stdout);
        assert!(ran.stderr.contains("missing chunk"), "{}", ran.stderr);
        assert!(ran.stderr.contains("--drop-unreadable-rows"), "{}", ran.stderr);
        let json = place.json(&place.old(), 1, &["-o", "b.pgark", "--drop-unreadable-rows"]);
        let dropped = json["dropped_rows"].as_array().unwrap();
        assert!((1..10).contains(&dropped.len()), "{json}");
        assert_eq!(dropped[0]["key"], "Lang=en, id=1");
        assert_eq!(dropped[0]["table"], "public.image");
        assert!(dropped[0]["message"].as_str().unwrap().contains("missing chunk"));
        assert_eq!(json["doubts"][0]["kind"], "dropped-rows", "{json}");
        let archive = &json["databases"][1]["archive"];
        assert_eq!(place.cat("b.pgark", "image").lines().count(), 202 - dropped.len());
        // Who refers to it is still there, and that it leads nowhere is found.
        assert_eq!(place.cat("b.pgark", "use").lines().count(), 2);
        assert_eq!(archive["findings"][0]["code"], "E603", "{archive}");
        let words = place.rescue(&place.old(), &["-o", "c.pgark", "--drop-unreadable-rows"]);
        assert!(words.stdout.contains("public.image Lang=en, id=1"), "{}", words.stdout);
    }
}
