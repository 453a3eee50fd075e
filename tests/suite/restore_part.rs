//! Some tables or schemas of an archive. Guards against a part that lacks what it needs, and
//! against leaving out something without a word.

use std::path::PathBuf;

use crate::PGARK;
use crate::support::{Ran, Server, ok, run};

const SHOP: &str = "
CREATE SCHEMA kinds; CREATE SCHEMA \"Log.s\"; CREATE SCHEMA ext; CREATE SCHEMA other;
CREATE EXTENSION hstore SCHEMA ext;
CREATE TYPE kinds.mood AS ENUM ('low', 'high');
CREATE FUNCTION kinds.positive(i integer) RETURNS boolean LANGUAGE sql IMMUTABLE AS 'SELECT i > 0';
CREATE FUNCTION kinds.inner_touch() RETURNS timestamptz LANGUAGE sql AS 'SELECT now()';
CREATE FUNCTION kinds.touch() RETURNS trigger LANGUAGE plpgsql AS
  'BEGIN NEW.at := kinds.inner_touch(); RETURN NEW; END';
CREATE DOMAIN kinds.count AS integer CHECK (kinds.positive(VALUE));
CREATE TABLE public.image (id serial PRIMARY KEY, data bytea NOT NULL);
CREATE TABLE public.item (id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  mood kinds.mood, number kinds.count, image_id integer REFERENCES public.image, at timestamptz,
  parent integer REFERENCES public.item, note text COLLATE \"C\" DEFAULT 'kinds.nothing');
CREATE INDEX item_mood ON public.item (mood) WHERE kinds.positive(id);
COMMENT ON COLUMN public.item.mood IS 'how it is';
COMMENT ON CONSTRAINT item_pkey ON public.item IS 'the key';
GRANT SELECT ON public.item TO PUBLIC;
CREATE TRIGGER touch BEFORE INSERT ON public.item FOR EACH ROW EXECUTE FUNCTION kinds.touch();
CREATE VIEW public.both AS SELECT item.id FROM public.item JOIN public.image ON image.id = image_id;
CREATE TABLE \"Log.s\".\"all T\" (day integer NOT NULL, what text, PRIMARY KEY (day)) PARTITION BY RANGE (day);
CREATE TABLE \"Log.s\".one PARTITION OF \"Log.s\".\"all T\" FOR VALUES FROM (1) TO (10);
CREATE TABLE other.two PARTITION OF \"Log.s\".\"all T\" FOR VALUES FROM (10) TO (20);
CREATE VIEW \"Log.s\".days AS SELECT day FROM \"Log.s\".\"all T\";
CREATE VIEW \"Log.s\".images AS SELECT id FROM public.image;
CREATE TABLE other.keyed (i integer, h ext.hstore);
INSERT INTO public.image (data) SELECT decode(repeat('00ff', 100), 'hex') FROM generate_series(1, 5);
INSERT INTO public.item (mood, number, image_id) SELECT 'low', i, i FROM generate_series(1, 5) i;
INSERT INTO \"Log.s\".\"all T\" SELECT i, 'x' FROM generate_series(1, 19) i;
INSERT INTO other.keyed VALUES (1, 'a=>1');
";

struct Shop {
    server: &'static Server,
    file: PathBuf,
    _dir: tempfile::TempDir,
}

fn shop(major: u32) -> Shop {
    let server = Server::shared(major);
    let source = server.database("part_source");
    server.psql(&source, SHOP);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.pgark");
    ok(server.pgark(PGARK).args(["create", &server.url(&source), "-o"]).arg(&file));
    Shop { server, file, _dir: dir }
}

impl Shop {
    fn restore(&self, options: &[&str]) -> (String, Ran) {
        let target = self.server.database("part");
        let mut command = self.server.pgark(PGARK);
        command.arg("restore").arg(&self.file).args(["--to", &self.server.url(&target)]);
        let ran = run(command.args(options));
        (target, ran)
    }

    /// Relations, functions and extensions that are there.
    fn things(&self, target: &str) -> String {
        self.server.psql(
            target,
            "SELECT string_agg(t, ' ' ORDER BY t COLLATE \"C\") FROM (
             SELECT n.nspname || '.' || relname AS t FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
             WHERE c.oid >= 16384 AND relkind IN ('r', 'p', 'v', 'S') AND nspname !~ '^pg_'
             UNION ALL SELECT n.nspname || '.' || proname || '()' FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace
             WHERE p.oid >= 16384 AND nspname <> 'ext' UNION ALL SELECT 'ext:' || extname FROM pg_extension WHERE extname <> 'plpgsql') x",
        )
    }
}

#[test]
fn a_table_brings_what_it_needs_and_no_more() {
    for major in [14, 18] {
        let it = shop(major);
        let (target, ran) = it.restore(&["--table", "item"]);
        assert_eq!(ran.code, Some(0), "{}{}", ran.stdout, ran.stderr);
        assert_eq!(
            it.things(&target),
            "kinds.inner_touch() kinds.positive() kinds.touch() public.item public.item_id_seq"
        );
        assert!(
            ran.stdout.contains("item_image_id_fkey, which needs public.image"),
            "{}",
            ran.stdout
        );
        assert!(ran.stdout.contains("table that was chosen"), "{}", ran.stdout);
        let facts = "SELECT (SELECT count(*) FROM item), (SELECT last_value FROM item_id_seq),
            (SELECT string_agg(conname, ',' ORDER BY conname) FROM pg_constraint WHERE conrelid = 'item'::regclass AND contype <> 'n'),
            col_description('item'::regclass, 2), (SELECT obj_description(oid) FROM pg_constraint WHERE conname = 'item_pkey'),
            (SELECT relacl IS NOT NULL FROM pg_class WHERE oid = 'item'::regclass),
            (SELECT string_agg(indexrelid::regclass::text, ',' ORDER BY 1) FROM (SELECT indexrelid FROM pg_index WHERE indrelid = 'item'::regclass ORDER BY 1) i),
            (SELECT count(*) FROM pg_trigger WHERE tgname = 'touch')";
        assert_eq!(
            it.server.psql(&target, facts).replace("item_mood,item_pkey", "item_pkey,item_mood"),
            "5|5|item_parent_fkey,item_pkey|how it is|the key|t|item_pkey,item_mood|1"
        );
        // Both tables: then the key and its sequence are there.
        let (target, ran) = it.restore(&["--table=item", "--table=public.image", "--json"]);
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        assert!(it.things(&target).contains("public.image public.image_id_seq public.item"));
        let keys = "SELECT count(*) FROM pg_constraint WHERE conname = 'item_image_id_fkey'";
        assert_eq!(it.server.psql(&target, keys), "1");
    }
}

#[test]
fn partitions_and_their_parents() {
    let it = shop(17);
    let (target, ran) = it.restore(&["--table", "one"]);
    assert_eq!(ran.code, Some(0), "{}{}", ran.stdout, ran.stderr);
    assert_eq!(it.things(&target), "Log.s.all T Log.s.one");
    assert!(ran.stdout.contains("\"Log.s\".\"all T\""), "{}", ran.stdout);
    let rows = "SELECT count(*) FROM \"Log.s\".\"all T\"";
    assert_eq!(it.server.psql(&target, rows), "9");
    let (target, ran) = it.restore(&["--table", "all T"]);
    assert_eq!(ran.code, Some(0), "{}{}", ran.stdout, ran.stderr);
    assert_eq!(it.things(&target), "Log.s.all T Log.s.one other.two");
    assert_eq!(it.server.psql(&target, rows), "19");
    let attached =
        "SELECT count(*) FROM pg_inherits WHERE inhparent = '\"Log.s\".\"all T_pkey\"'::regclass";
    assert_eq!(it.server.psql(&target, attached), "2");
}

#[test]
fn a_schema_and_what_needs_others() {
    let it = shop(16);
    let (target, ran) = it.restore(&["--schema", "Log.s"]);
    assert_eq!(ran.code, Some(0), "{}{}", ran.stdout, ran.stderr);
    assert_eq!(it.things(&target), "Log.s.all T Log.s.days Log.s.one other.two");
    assert!(ran.stdout.contains("VIEW Log.s.images, which needs public.image"), "{}", ran.stdout);
    let (target, ran) = it.restore(&["--table", "keyed"]);
    assert_eq!(ran.code, Some(0), "{}{}", ran.stdout, ran.stderr);
    assert_eq!(it.things(&target), "ext:hstore other.keyed");
}

#[test]
fn names_that_are_not_there() {
    let it = shop(15);
    for (option, similar) in [("--table=imagge", "public.image"), ("--schema=Log.t", "Log.s")] {
        let (target, ran) = it.restore(&[option]);
        assert_eq!(ran.code, Some(2), "{}", ran.stderr);
        assert!(ran.stderr.contains(similar), "{}", ran.stderr);
        assert_eq!(it.things(&target), "");
    }
    let (_, ran) = it.restore(&["--table=item", "--swap"]);
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
}

#[test]
fn rows_alone_into_empty_tables_and_no_others() {
    let it = shop(18);
    let (target, ran) = it.restore(&["--schema-only"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let server = it.server;
    let again = |options: &[&str]| {
        let mut command = server.pgark(PGARK);
        command.arg("restore").arg(&it.file).args(["--to", &server.url(&target), "--data-only"]);
        run(command.args(options))
    };
    // Triggers would write this column; the archive has what the source had.
    server.psql(
        &target,
        "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE ''no''; END';
         CREATE TRIGGER no BEFORE INSERT ON public.item FOR EACH ROW EXECUTE FUNCTION no();
         CREATE TABLE mine (i integer); INSERT INTO mine VALUES (1);
         INSERT INTO other.keyed VALUES (2, NULL); ALTER TABLE public.image ADD more integer",
    );
    let count = "SELECT (SELECT count(*) FROM item), (SELECT count(*) FROM other.keyed), (SELECT count(*) FROM mine)";
    for options in [&[][..], &["--dry-run"][..]] {
        let ran = again(options);
        assert_eq!(ran.code, Some(3), "{}", ran.stderr);
        assert!(ran.stderr.contains("other.keyed has rows already"), "{}", ran.stderr);
        assert!(ran.stderr.contains("only there: more integer"), "{}", ran.stderr);
        assert_eq!(server.psql(&target, count), "0|1|1");
    }
    // One table alone, and nothing for its foreign key to refer to.
    let ran = again(&["--table", "item"]);
    assert_eq!(ran.code, Some(1), "{}{}", ran.stdout, ran.stderr);
    assert!(ran.stdout.contains("item item_image_id_fkey: rows refer"), "{}", ran.stdout);
    server.psql(&target, "TRUNCATE public.item, other.keyed; ALTER TABLE public.image DROP more");
    let ran = again(&[]);
    assert_eq!(ran.code, Some(0), "{}{}", ran.stdout, ran.stderr);
    assert_eq!(server.psql(&target, count), "5|1|1");
    let value = "SELECT last_value, is_called FROM item_id_seq";
    assert_eq!(server.psql(&target, value), "5|t");
    let twice = again(&[]);
    assert_eq!(twice.code, Some(3), "{}", twice.stderr);
    // A trigger that acts always changes a row: only the comparison can see that.
    server.psql(
        &target,
        "TRUNCATE public.item; CREATE OR REPLACE FUNCTION no() RETURNS trigger LANGUAGE plpgsql
         AS 'BEGIN NEW.note := ''changed''; RETURN NEW; END';
         ALTER TABLE public.item ENABLE ALWAYS TRIGGER no",
    );
    let ran = again(&["--table", "item"]);
    assert_eq!(ran.code, Some(1), "{}{}", ran.stdout, ran.stderr);
    assert!(ran.stdout.contains("NOT EQUAL"), "{}", ran.stdout);
}
