//! Ways in which a restore gives back less than there was, or something else, without an error.
//! Each has lost somebody's data; the numbers are those of the project's list of traps.
//!
//! | trap | tests |
//! |---|---|
//! | 19 doubled rows | `rows_are_never_doubled`, `refuse::a_database_with_anything_in_it` |
//! | 20 errors that are gone over | `the_first_error_ends_it` |
//! | 21 materialized views | `views_that_cannot_be_filled_are_told`, `views_are_filled_as_their_owner_sees_them` |
//! | 22 broken references | `broken_references_are_known_before`, `restore_options::broken_references_are_left_unchecked_when_asked` |
//! | 23 expressions that need more | `checks_that_look_at_other_tables`, `an_index_that_cannot_be_made_is_named` |
//! | 24 newer SQL, older server | `an_older_server_is_refused`, `a_newer_pg_dump_makes_no_newer_sql` |
//! | 25 triggers, rules, policies | `nothing_acts_during_the_load` |
//! | 26 how images are stored | `storage_is_as_it_was` |
//! | 27 what belongs to the database | `swap::a_swap_carries_over_what_belongs_to_the_database`, `swap::connections_are_named_and_ended_only_when_asked`, `restore_options::a_locale_of_its_own_comes_along` |
//! | 28 roles and tablespaces | `tablespaces_are_named_first_and_used`, `restore_options::roles_that_are_missing_are_named_first` |
//! | 29 circular foreign keys | `circular_references` |
//! | 30 SQL that differs each time | `the_schema_is_the_same_text_each_time`, `stable` |
//! | 31 ranges of ctid | `a_table_read_in_parts_comes_back_once`, `catalog::parts_give_every_row_once_and_in_order` |
//! | 32 subscriptions and their kin | `a_subscription_does_not_start_by_itself`, `fidelity` |

use std::path::PathBuf;
use std::process::Command;

use crate::PGARK;
use crate::support::{MAJORS, Ran, Server, bin_dir, dump, ok, run};

struct Archive {
    server: &'static Server,
    source: String,
    file: PathBuf,
    _dir: tempfile::TempDir,
}

/// An archive of a database that this SQL makes.
fn archive(major: u32, sql: &str) -> Archive {
    let server = Server::shared(major);
    let source = server.database("trap");
    server.psql(&source, sql);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.pgark");
    let ran = run(server.pgark(PGARK).args(["create", &server.url(&source), "-o"]).arg(&file));
    // 1: something is to be said of the data, which is the data's own.
    assert!(matches!(ran.code, Some(0 | 1)), "{ran:?}");
    Archive { server, source, file, _dir: dir }
}

impl Archive {
    fn command(&self, target: &str) -> Command {
        let mut command = self.server.pgark(PGARK);
        command.arg("restore").arg(&self.file).args(["--to", &self.server.url(target)]);
        command
    }

    fn restore(&self) -> (String, Ran) {
        let target = self.server.database("target");
        let ran = run(&mut self.command(&target));
        (target, ran)
    }

    fn assert_same(&self, target: &str) {
        let title = format!("server {}", self.server.major());
        let (source, target) =
            (self.server.pg_dump(&self.source, &[]), self.server.pg_dump(target, &[]));
        dump::assert_same(&source, &target, &title);
    }

    fn comes_back(&self) -> String {
        let (target, ran) = self.restore();
        assert_eq!(ran.code, Some(0), "{}{}", ran.stdout, ran.stderr);
        self.assert_same(&target);
        target
    }
}

/// Trap 19.
#[test]
fn rows_are_never_doubled() {
    let it = archive(18, "CREATE TABLE no_key AS SELECT generate_series(1, 100) AS i");
    let target = it.comes_back();
    let again = run(&mut it.command(&target));
    assert_eq!(again.code, Some(3), "{}", again.stderr);
    assert!(again.stderr.contains("no_key"), "{}", again.stderr);
    assert_eq!(it.server.psql(&target, "SELECT count(*) FROM no_key"), "100");
}

/// Trap 20: an error in the middle is not gone over, not even by `psql` with what `export` writes.
#[test]
fn the_first_error_ends_it() {
    let it = archive(
        16,
        "CREATE FUNCTION f(i integer) RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT i';
         CREATE TABLE a (i integer); INSERT INTO a VALUES (1);
         CREATE INDEX a_broken ON a (f(i)); CREATE INDEX z_later ON a (i);
         CREATE OR REPLACE FUNCTION f(i integer) RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT 1 / (i - 1)'",
    );
    let (target, ran) = it.restore();
    assert_eq!(ran.code, Some(3), "{}", ran.stderr);
    assert!(ran.stderr.contains("INDEX public.a_broken"), "{}", ran.stderr);
    let later = "SELECT to_regclass('z_later') IS NULL";
    assert_eq!(it.server.psql(&target, later), "t");

    let sql = it.file.with_extension("sql");
    ok(it.server.pgark(PGARK).arg("export").arg(&it.file).arg("-o").arg(&sql));
    let target = it.server.database("target");
    let mut psql = it.server.tool("psql");
    let ran = run(psql.args(["-X", "-q", "-d", &target, "-f"]).arg(&sql));
    assert_eq!(ran.code, Some(3), "{}", ran.stderr);
    assert_eq!(it.server.psql(&target, later), "t");
}

/// Trap 21: a function that relies on a search path cannot be run without one. The other views
/// are filled, in the order they need, and the statement to run is told.
#[test]
fn views_that_cannot_be_filled_are_told() {
    for major in MAJORS {
        let it = archive(
            major,
            "CREATE TABLE t AS SELECT generate_series(1, 5) AS i;
             CREATE FUNCTION f() RETURNS bigint LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT count(*) FROM public.t); END';
             CREATE MATERIALIZED VIEW z_first AS SELECT i FROM t;
             CREATE MATERIALIZED VIEW a_second AS SELECT count(*) AS n FROM z_first;
             CREATE MATERIALIZED VIEW needs_path AS SELECT f() AS n;
             CREATE UNIQUE INDEX needs_path_n ON needs_path (n);
             CREATE OR REPLACE FUNCTION f() RETURNS bigint LANGUAGE plpgsql AS 'BEGIN RETURN (SELECT count(*) FROM t); END'",
        );
        let (target, ran) = it.restore();
        assert_eq!(ran.code, Some(1), "server {major}: {}", ran.stderr);
        assert!(ran.stdout.contains("public.needs_path"), "{}", ran.stdout);
        let refresh = "REFRESH MATERIALIZED VIEW public.needs_path;";
        assert!(ran.stdout.contains(refresh), "{}", ran.stdout);
        assert_eq!(it.server.psql(&target, "SELECT n FROM a_second"), "5");
        let filled = "SELECT string_agg(relname, ',' ORDER BY relname) FROM pg_class WHERE relkind = 'm' AND relispopulated";
        assert_eq!(it.server.psql(&target, filled), "a_second,z_first");
        // Since version 17 it cannot be refreshed in the source, either.
        if major < 17 {
            it.server.psql(&target, refresh);
            assert_eq!(it.server.psql(&target, "SELECT n FROM needs_path"), "5");
        }
        // It was not good enough to take another database's place.
        let old = it.server.database("old");
        it.server.psql(&old, "CREATE TABLE old ()");
        let ran = run(it.command(&old).args(["--swap", "--yes"]));
        assert_eq!(ran.code, Some(1), "{}", ran.stderr);
        assert_eq!(it.server.psql(&old, "SELECT to_regclass('old') IS NULL"), "f");
    }
}

/// Trap 21: whoever owns a view does not own the table, and policies hide rows of it.
#[test]
fn views_are_filled_as_their_owner_sees_them() {
    let it = archive(
        16,
        "CREATE ROLE trap_viewer; GRANT CREATE ON SCHEMA public TO trap_viewer;
         CREATE TABLE t AS SELECT generate_series(1, 50) AS i; GRANT SELECT ON t TO trap_viewer;
         ALTER TABLE t ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON t USING (i <= 10);
         CREATE MATERIALIZED VIEW m AS SELECT i FROM t WITH NO DATA; ALTER TABLE m OWNER TO trap_viewer;
         REFRESH MATERIALIZED VIEW m",
    );
    let target = it.comes_back();
    let counted = "SELECT count(*) FROM m";
    assert_eq!(it.server.psql(&it.source, counted), "10");
    assert_eq!(it.server.psql(&target, counted), "10");
}

/// Trap 22: rows that break a foreign key which the server believes to be valid.
#[test]
fn broken_references_are_known_before() {
    let it = archive(
        15,
        "CREATE TABLE a (id integer PRIMARY KEY); CREATE TABLE b (id integer, a_id integer CONSTRAINT b_a REFERENCES a);
         SET session_replication_role = replica; INSERT INTO b VALUES (7, 4711); RESET session_replication_role;
         CREATE TABLE c (a_id integer); INSERT INTO c VALUES (12); ALTER TABLE c ADD CONSTRAINT c_a FOREIGN KEY (a_id) REFERENCES a NOT VALID",
    );
    let ran = run(it.server.pgark(PGARK).arg("verify").arg(&it.file));
    assert_eq!(ran.code, Some(1), "{}", ran.stdout);
    for word in ["E603", "b_a", "4711"] {
        assert!(ran.stdout.contains(word), "{word}: {}", ran.stdout);
    }
    let (target, ran) = it.restore();
    assert!(matches!(ran.code, Some(1 | 3)), "{}", ran.stderr);
    assert_eq!(it.server.psql(&target, "SELECT count(*) FROM pg_class WHERE oid >= 16384"), "0");
    let target = it.server.database("target");
    let ran = run(it.command(&target).args(["--constraints", "not-valid"]));
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    let states = "SELECT conname, convalidated FROM pg_constraint WHERE contype = 'f' ORDER BY 1";
    assert_eq!(it.server.psql(&target, states), "b_a|f\nc_a|f");
    assert_eq!(it.server.psql(&target, "SELECT * FROM b"), "7|4711");
}

/// Trap 23: a CHECK constraint is there before the rows, and looks at those of another table.
#[test]
fn checks_that_look_at_other_tables() {
    for major in [14, 18] {
        let it = archive(
            major,
            "CREATE TABLE z_known (id integer PRIMARY KEY);
             CREATE FUNCTION z_is_known(i integer) RETURNS boolean LANGUAGE sql STABLE AS 'SELECT EXISTS (SELECT FROM public.z_known WHERE id = i)';
             CREATE TABLE a_checked (i integer, b bytea, CONSTRAINT known CHECK (z_is_known(i)));
             CREATE TABLE a_before (i integer CHECK (public.z_is_known(i)));
             CREATE FUNCTION is_checked(n integer) RETURNS boolean LANGUAGE sql STABLE AS 'SELECT EXISTS (SELECT FROM public.a_checked WHERE i = n)';
             CREATE TABLE a_a_first (i integer CHECK (is_checked(i)));
             INSERT INTO z_known SELECT generate_series(1, 100);
             INSERT INTO a_checked SELECT i, sha256(int4send(i)) FROM generate_series(1, 100) i;
             INSERT INTO a_before SELECT generate_series(1, 100);
             INSERT INTO a_a_first SELECT generate_series(1, 100)",
        );
        it.comes_back();
    }
    // What is not so even when all the rows are there is an error that names table and constraint.
    let it = archive(
        16,
        "CREATE TABLE z_known (id integer PRIMARY KEY); INSERT INTO z_known VALUES (1), (2);
         CREATE FUNCTION z_is_known(i integer) RETURNS boolean LANGUAGE sql STABLE AS 'SELECT EXISTS (SELECT FROM public.z_known WHERE id = i)';
         CREATE TABLE a_checked (i integer, CONSTRAINT known CHECK (z_is_known(i)));
         INSERT INTO a_checked VALUES (1), (2); DELETE FROM z_known WHERE id = 2",
    );
    let (_, ran) = it.restore();
    assert_eq!(ran.code, Some(3), "{}", ran.stderr);
    for word in ["public.a_checked", "\"known\"", "left partly filled"] {
        assert!(ran.stderr.contains(word), "{word}: {}", ran.stderr);
    }
}

/// Trap 23: an index over a function that finds its table by the search path only.
#[test]
fn an_index_that_cannot_be_made_is_named() {
    let it = archive(
        15,
        "CREATE TABLE known (id integer); INSERT INTO known VALUES (1);
         CREATE FUNCTION first_known(i integer) RETURNS integer LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN (SELECT min(id) FROM known); END';
         CREATE TABLE t (i integer); INSERT INTO t VALUES (1); CREATE INDEX by_known ON t (first_known(i))",
    );
    let (_, ran) = it.restore();
    assert_eq!(ran.code, Some(3), "{}", ran.stderr);
    for word in ["INDEX public.by_known", "\"known\" does not exist", "left partly filled"] {
        assert!(ran.stderr.contains(word), "{word}: {}", ran.stderr);
    }
}

/// Trap 24: not begun where it cannot end well.
#[test]
fn an_older_server_is_refused() {
    let it = archive(17, "CREATE TABLE t (i integer)");
    let older = Server::shared(16);
    let target = older.database("target");
    let mut command = older.pgark(PGARK);
    let ran = run(command.arg("restore").arg(&it.file).args(["--to", &older.url(&target)]));
    assert_eq!(ran.code, Some(3), "{}", ran.stderr);
    assert!(ran.stderr.contains("17.") && ran.stderr.contains("16."), "{}", ran.stderr);
    assert_eq!(older.psql(&target, "SELECT count(*) FROM pg_class WHERE oid >= 16384"), "0");
}

/// Trap 24: `pg_dump` 17 and later sets what older servers do not know, and writes `\restrict`.
#[test]
fn a_newer_pg_dump_makes_no_newer_sql() {
    let server = Server::shared(14);
    let source = server.database("trap");
    server.psql(
        &source,
        "CREATE TABLE t AS SELECT generate_series(1, 10) AS i; CREATE INDEX ON t (i)",
    );
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.pgark");
    let newer = bin_dir(18).join("pg_dump");
    let mut create = server.pgark(PGARK);
    create.args(["create", &server.url(&source), "-o"]).arg(&file).arg("--pg-dump").arg(newer);
    ok(&mut create);
    let target = server.database("target");
    ok(server.pgark(PGARK).arg("restore").arg(&file).args(["--to", &server.url(&target)]));
    dump::assert_same(&server.pg_dump(&source, &[]), &server.pg_dump(&target, &[]), "14");
}

/// Trap 25: whatever acts on rows or on DDL is there in the end and has not acted.
#[test]
fn nothing_acts_during_the_load() {
    for major in MAJORS {
        let it = archive(
            major,
            "CREATE TABLE t (i integer); CREATE TABLE log (what text);
             CREATE FUNCTION act() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.log VALUES (TG_NAME); NEW.i = 0; RETURN NEW; END $$;
             CREATE FUNCTION act_ddl() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.log VALUES (tg_tag); END $$;
             INSERT INTO t SELECT generate_series(1, 10);
             CREATE TRIGGER normal BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION act();
             CREATE TRIGGER always AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION act(); ALTER TABLE t ENABLE ALWAYS TRIGGER always;
             CREATE TABLE ruled (i integer); INSERT INTO ruled VALUES (1);
             CREATE RULE r AS ON INSERT TO ruled DO INSTEAD INSERT INTO log VALUES ('rule');
             CREATE TABLE hidden (i integer); INSERT INTO hidden VALUES (1), (2);
             ALTER TABLE hidden ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY; CREATE POLICY p ON hidden USING (false) WITH CHECK (false);
             CREATE EVENT TRIGGER e ON ddl_command_end EXECUTE FUNCTION act_ddl()",
        );
        let target = it.comes_back();
        it.server.psql(&target, "ALTER EVENT TRIGGER e DISABLE");
        assert_eq!(it.server.psql(&target, "SELECT count(*) FROM log"), "0", "server {major}");
        assert_eq!(it.server.psql(&target, "SELECT sum(i) FROM t"), "55", "server {major}");
        it.server.psql(&target, "INSERT INTO t VALUES (1)");
        assert_eq!(it.server.psql(&target, "SELECT count(*) FROM log"), "2", "server {major}");
    }
}

/// Trap 26: however values are stored to load them fast, the columns are as they were.
#[test]
fn storage_is_as_it_was() {
    for major in [14, 16, 18] {
        let it = archive(
            major,
            "CREATE TABLE t (p bytea, e bytea, m bytea, x bytea);
             ALTER TABLE t ALTER p SET STORAGE PLAIN, ALTER e SET STORAGE EXTERNAL, ALTER m SET STORAGE MAIN, ALTER x SET COMPRESSION pglz;
             INSERT INTO t SELECT '\\x01', decode(repeat('ab', 9000), 'hex'), decode(repeat('cd', 9000), 'hex'), decode(repeat('ef', 9000), 'hex')",
        );
        let target = it.comes_back();
        let columns = "SELECT string_agg(concat(attname, attstorage, attcompression), ',' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 't'::regclass AND attnum > 0";
        assert_eq!(it.server.psql(&target, columns), it.server.psql(&it.source, columns));
    }
}

/// Trap 28.
#[test]
fn tablespaces_are_named_first_and_used() {
    // A server of its own: tablespaces are the server's.
    let server = Server::start(17);
    let other = Server::shared(17);
    let make =
        "SET allow_in_place_tablespaces = on; CREATE TABLESPACE \"Trap \"\"space\" LOCATION ''";
    server.psql("postgres", make);
    let source = server.database("trap");
    server.psql(
        &source,
        "CREATE TABLE t (i integer PRIMARY KEY USING INDEX TABLESPACE \"Trap \"\"space\") TABLESPACE \"Trap \"\"space\";
         INSERT INTO t SELECT generate_series(1, 10); CREATE INDEX i ON t (i) TABLESPACE \"Trap \"\"space\"; CREATE TABLE usual (i integer);
         CREATE TABLE p (i integer) PARTITION BY LIST (i) TABLESPACE \"Trap \"\"space\"; CREATE TABLE p1 PARTITION OF p FOR VALUES IN (1);
         CREATE MATERIALIZED VIEW m TABLESPACE \"Trap \"\"space\" AS SELECT 1 AS one",
    );
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.pgark");
    ok(server.pgark(PGARK).args(["create", &server.url(&source), "-o"]).arg(&file));
    let target = server.database("target");
    ok(server.pgark(PGARK).arg("restore").arg(&file).args(["--to", &server.url(&target)]));
    dump::assert_same(&server.pg_dump(&source, &[]), &server.pg_dump(&target, &[]), "tablespaces");
    let placed = "SELECT count(*) FROM pg_class c JOIN pg_tablespace s ON s.oid = reltablespace WHERE spcname LIKE 'Trap%'";
    assert_eq!(server.psql(&target, placed), server.psql(&source, placed));

    let target = other.database("target");
    let ran = run(other.pgark(PGARK).arg("restore").arg(&file).args(["--to", &other.url(&target)]));
    assert_eq!(ran.code, Some(3), "{}", ran.stderr);
    for word in ["tablespaces", "Trap \"space", "nothing was done"] {
        assert!(ran.stderr.contains(word), "{word}: {}", ran.stderr);
    }
    assert_eq!(other.psql(&target, "SELECT count(*) FROM pg_class WHERE oid >= 16384"), "0");
}

/// Trap 29.
#[test]
fn circular_references() {
    let it = archive(
        14,
        "CREATE TABLE a (id integer PRIMARY KEY, b integer NOT NULL); CREATE TABLE b (id integer PRIMARY KEY, a integer NOT NULL REFERENCES a);
         ALTER TABLE a ADD FOREIGN KEY (b) REFERENCES b DEFERRABLE INITIALLY DEFERRED;
         CREATE TABLE s (id integer PRIMARY KEY, above integer REFERENCES s);
         BEGIN; INSERT INTO a SELECT i, i FROM generate_series(1, 100) i; INSERT INTO b SELECT i, i FROM generate_series(1, 100) i; COMMIT;
         INSERT INTO s VALUES (1, NULL), (2, 3), (3, 2), (4, 4)",
    );
    let target = it.comes_back();
    let counts = "SELECT (SELECT count(*) FROM a), (SELECT count(*) FROM b), (SELECT count(*) FROM s), \
        (SELECT bool_and(convalidated) FROM pg_constraint WHERE contype = 'f')";
    assert_eq!(it.server.psql(&target, counts), "100|100|4|t");
}

/// Trap 30: nothing random is in the schema, such as the key of `\restrict`.
#[test]
fn the_schema_is_the_same_text_each_time() {
    for major in MAJORS {
        let it = archive(
            major,
            "CREATE TABLE t (i integer PRIMARY KEY); CREATE VIEW v AS SELECT i FROM t",
        );
        let again = it.file.with_extension("again");
        ok(it.server.pgark(PGARK).args(["create", &it.server.url(&it.source), "-o"]).arg(&again));
        let sql = |file: &PathBuf| {
            let shown = ok(it.server.pgark(PGARK).arg("export").arg(file));
            // When and at which place in the log it was taken is said in comments.
            let lines = shown.stdout.lines().filter(|line| !line.starts_with("--"));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        let first = sql(&it.file);
        assert!(first.iter().any(|line| line.starts_with("CREATE TABLE")));
        assert!(!first.iter().any(|line| line.contains("\\restrict")), "server {major}");
        assert_eq!(first, sql(&again), "server {major}");
    }
}

/// Trap 31: a table that is read in several ranges of blocks has each of its rows once.
#[test]
fn a_table_read_in_parts_comes_back_once() {
    let it = archive(
        17,
        "CREATE TABLE t (i integer, filler text); ALTER TABLE t ALTER filler SET STORAGE PLAIN;
         INSERT INTO t SELECT i, repeat(md5(i::text), 120) FROM generate_series(1, 30000) i;
         DELETE FROM t WHERE i % 7 = 0 OR i BETWEEN 9000 AND 12000",
    );
    let (target, ran) = it.restore();
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let facts = "SELECT count(*), count(DISTINCT i), sum(i), md5(string_agg(md5(filler), '' ORDER BY i)) FROM t";
    assert_eq!(it.server.psql(&target, facts), it.server.psql(&it.source, facts));
}

/// Trap 32: it ran in the source; restored it waits until somebody wants it to.
#[test]
fn a_subscription_does_not_start_by_itself() {
    for major in MAJORS {
        let it = archive(
            major,
            "CREATE TABLE t (i integer); CREATE PUBLICATION p FOR TABLE t; SET client_min_messages = error;
             CREATE SUBSCRIPTION s CONNECTION 'host=/nowhere dbname=x' PUBLICATION p WITH (connect = false, slot_name = 'trap_slot', enabled = false);
             ALTER SUBSCRIPTION s ENABLE",
        );
        it.server.psql(&it.source, "ALTER SUBSCRIPTION s DISABLE");
        let target = it.comes_back();
        let state = "SELECT subenabled, subslotname FROM pg_subscription s JOIN pg_database d ON d.oid = subdbid WHERE datname = current_database()";
        assert_eq!(it.server.psql(&target, state), "f|trap_slot", "server {major}");
        let workers = format!("SELECT count(*) FROM pg_stat_activity WHERE datname = '{target}'");
        assert_eq!(it.server.psql("postgres", &workers), "0", "server {major}");
        assert_eq!(it.server.psql(&target, "SELECT count(*) FROM pg_publication_tables"), "1");
    }
}
