//! Rows of partitions that a dump loads by way of their root. Guards against rows that land in
//! another partition than they were in, or in none.

use super::{Setting, digests, refused, taken};

const PARTITIONS: &str = "
    CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
    CREATE TABLE moods (m mood, t text) PARTITION BY HASH (m);
    CREATE TABLE moods_0 PARTITION OF moods FOR VALUES WITH (MODULUS 2, REMAINDER 0);
    CREATE TABLE moods_1 (t text, m mood);
    ALTER TABLE moods ATTACH PARTITION moods_1 FOR VALUES WITH (MODULUS 2, REMAINDER 1);
    INSERT INTO moods SELECT m, m || '1' FROM unnest(enum_range(NULL::mood)) m;
    CREATE SCHEMA \"S 2\";
    CREATE TABLE years (at date, n int, b bytea) PARTITION BY RANGE (at);
    CREATE TABLE \"S 2\".\"y; 2024\" PARTITION OF years FOR VALUES FROM ('2024-01-01') TO ('2025-01-01') PARTITION BY LIST (n);
    CREATE TABLE one PARTITION OF \"S 2\".\"y; 2024\" FOR VALUES IN (1);
    CREATE TABLE none PARTITION OF \"S 2\".\"y; 2024\" FOR VALUES IN (2);
    CREATE TABLE rest PARTITION OF \"S 2\".\"y; 2024\" DEFAULT;
    CREATE TABLE later (n int, gone int, b bytea, at date);
    ALTER TABLE later DROP COLUMN gone;
    ALTER TABLE years ATTACH PARTITION later FOR VALUES FROM ('2025-01-01') TO (MAXVALUE);
    INSERT INTO years SELECT '2024-01-01'::date + i, i % 5 * 2 + i % 2, set_byte(repeat('x', 99)::bytea, 0, i % 256) FROM generate_series(1, 700) i;
    DELETE FROM none;
    CREATE TABLE beside (i int); INSERT INTO beside VALUES (1)";

fn by_way_of_the_root(major: u32) {
    let it = Setting::new(major);
    let source = it.server.database("parts");
    it.server.psql(&source, PARTITIONS);
    let live = it.create(&source, "live.pgark");
    let wanted = digests(&live);
    let root = "--load-via-partition-root";
    for (name, args) in [
        // By itself pg_dump does so where a hash may be another on another server.
        ("default.sql", &[][..]),
        ("default.dump", &["-Fc"]),
        ("a.sql", &[root]),
        ("b.sql", &[root, "--column-inserts"]),
        ("c.sql", &[root, "--inserts", "--disable-triggers", "--clean", "--create"]),
        ("d.dump", &[root, "-Fc"]),
        ("e.dump", &[root, "-Fc", "--column-inserts"]),
        ("f", &[root, "-Fd"]),
        ("g.tar", &[root, "-Ft"]),
    ] {
        let dump = it.dump(&source, name, args);
        if name == "a.sql" {
            let text = std::fs::read_to_string(&dump).unwrap();
            assert_eq!(text.matches("\nCOPY public.years ").count(), 4, "{major}");
        }
        assert_eq!(digests(&taken(&dump)), wanted, "{major} {name}");
    }
    // Without the comment nobody knows.
    let text = std::fs::read_to_string(it.path("a.sql")).unwrap();
    let other = Setting::new(major);
    let path = other.path("a.sql");
    std::fs::write(&path, text.replace("-- Data for Name: one;", "-- Data for Name: beside;"))
        .unwrap();
    refused(&path, 3, "there are rows of public.years, and no comment of pg_dump says");
}

#[test]
fn by_way_of_the_root_14() {
    by_way_of_the_root(14);
}

#[test]
fn by_way_of_the_root_18() {
    by_way_of_the_root(18);
}
