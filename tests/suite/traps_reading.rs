//! Ways in which a server gives fewer rows, or other ones, than there are, without an error.
//! Each has lost somebody's data; the numbers are those of the project's list of traps.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::PGARK;
use crate::support::{MAJORS, Options, Ran, Server, dump, ok, root, run};

/// A session that stays open.
struct Session(Child);

impl Session {
    fn open(server: &Server, database: &str) -> Self {
        let mut command = server.tool("psql");
        command.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", database]);
        Self(command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap())
    }

    /// Runs SQL; gives the first line of what it says once it is done.
    fn say(&mut self, sql: &str) -> String {
        let stdin = self.0.stdin.as_mut().unwrap();
        writeln!(stdin, "{sql}\n\\echo done").unwrap();
        let mut first = None;
        // One byte at a time would do as well: nothing is read ahead past "done".
        let mut lines = BufReader::with_capacity(1, self.0.stdout.as_mut().unwrap()).lines();
        loop {
            let line = lines.next().expect("the session goes on").unwrap();
            if line == "done" {
                return first.unwrap_or_default();
            }
            first.get_or_insert(line);
        }
    }

    /// Begins a transaction and exports its snapshot.
    fn export(server: &Server, database: &str) -> (Self, String) {
        let mut session = Self::open(server, database);
        let id = session
            .say("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SELECT pg_export_snapshot();");
        (session, id)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

fn create(server: &Server, source: &str, file: &Path, more: &[&str]) -> Ran {
    run(server.pgark(PGARK).args(["create", source, "-o"]).arg(file).args(more))
}

fn restore(server: &Server, file: &Path) -> String {
    let target = server.database("target");
    ok(server.pgark(PGARK).arg("restore").arg(file).args(["--to", &server.url(&target)]));
    target
}

fn inspect(server: &Server, file: &Path) -> serde_json::Value {
    serde_json::from_str(&ok(server.pgark(PGARK).args(["inspect", "--json"]).arg(file)).stdout)
        .unwrap()
}

fn table(inspected: &serde_json::Value, name: &str) -> serde_json::Value {
    let tables = inspected["tables"].as_array().expect("tables");
    tables.iter().find(|table| table["name"] == name).unwrap_or_else(|| panic!("no {name}")).clone()
}

/// Trap 1: a table that is truncated or rewritten after the snapshot reads as empty.
#[test]
fn a_rewritten_table_is_not_taken_for_an_empty_one() {
    for (major, change) in [
        (14, "TRUNCATE victim"),
        (18, "ALTER TABLE victim ALTER COLUMN a TYPE bigint"),
        (16, "TRUNCATE victim; INSERT INTO victim VALUES (1)"),
    ] {
        let server = Server::shared(major);
        let source = server.database("trap1");
        server
            .psql(&source, "CREATE TABLE victim AS SELECT i AS a FROM generate_series(1, 2000) i");
        let (session, id) = Session::export(server, &source);
        server.psql(&source, change);
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.pgark");
        let ran = create(server, &server.url(&source), &file, &["--snapshot", &id]);
        drop(session);
        assert_eq!(ran.code, Some(3), "{change}: {}", ran.stderr);
        assert!(ran.stderr.contains("victim"), "{change}: {}", ran.stderr);
        assert!(!file.exists());
    }
}

/// Trap 1: whoever holds a table keeps us waiting no longer than we said.
#[test]
fn a_locked_table_is_an_error_in_time() {
    let server = Server::shared(17);
    let source = server.database("trap1");
    server.psql(&source, "CREATE TABLE held (a integer); CREATE TABLE free (a integer)");
    let mut session = Session::open(server, &source);
    session.say("BEGIN; LOCK TABLE held IN ACCESS EXCLUSIVE MODE;");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.pgark");
    let begun = Instant::now();
    let ran = create(server, &server.url(&source), &file, &["--lock-timeout", "1s"]);
    assert_eq!(ran.code, Some(3), "{}", ran.stderr);
    assert!(begun.elapsed() < Duration::from_secs(20));
    assert!(!file.exists());
    session.say("ROLLBACK;");
    assert_eq!(create(server, &server.url(&source), &file, &[]).code, Some(0));
}

/// Trap 2: row security hides rows from a role.
#[test]
fn rows_that_policies_hide_are_an_error() {
    for major in MAJORS {
        let server = Server::shared(major);
        let source = server.database("trap2");
        let role = format!("reader_of_{source}");
        server.psql(
            &source,
            &format!(
                "CREATE TABLE secret AS SELECT i AS a FROM generate_series(1, 2000) i;
                 CREATE ROLE {role} LOGIN; GRANT SELECT ON secret TO {role};
                 ALTER TABLE secret ENABLE ROW LEVEL SECURITY; CREATE POLICY p ON secret USING (a <= 10);"
            ),
        );
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.pgark");
        let url = server.url(&source).replace("//postgres@", &format!("//{role}@"));
        let ran = create(server, &url, &file, &[]);
        assert_eq!(ran.code, Some(3), "server {major}: {}", ran.stderr);
        assert!(!file.exists());
    }
}

/// Traps 3, 8, 9, 10, 11: each table's own rows and nothing else; `COPY (SELECT * FROM parent)`
/// would take the children's, too.
#[test]
fn each_table_has_its_own_rows() {
    for major in [14, 18] {
        let server = Server::shared(major);
        let source = server.database("trap3");
        server.load(&source, &root().join("fixtures/types/all-types.sql"));
        // A temporary table is not ours, and another session's cannot be read.
        let mut session = Session::open(server, &source);
        session.say(
            "ALTER EVENT TRIGGER guard DISABLE; CREATE TEMPORARY TABLE hidden AS SELECT 1 AS a; \
             ALTER EVENT TRIGGER guard ENABLE;",
        );
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.pgark");
        let ran = create(server, &server.url(&source), &file, &[]);
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        let inspected = inspect(server, &file);
        for (name, rows) in [
            ("parent", 3),
            ("child", 3),
            ("grandchild", 4),
            ("nothing", 3),
            ("once_something", 5),
            ("only_generated", 4),
            ("no_rows", 0),
            ("generated", 5),
            ("unlogged", 1),
            ("user", 8),
        ] {
            assert_eq!(table(&inspected, name)["rows"], rows, "server {major}: {name}");
        }
        let names: Vec<_> = inspected["tables"]
            .as_array()
            .unwrap()
            .iter()
            .map(|t| t["name"].as_str().unwrap())
            .collect();
        assert!(!names.contains(&"hidden"));
        assert!(!names.contains(&"m1"), "a materialized view is no table");
        // Row counts of all tables, counted by the server.
        for table in inspected["tables"].as_array().unwrap() {
            let (schema, name) =
                (table["schema"].as_str().unwrap(), table["name"].as_str().unwrap());
            if table["rows"].is_null() {
                continue;
            }
            let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
            let sql = format!("SELECT count(*) FROM ONLY {}.{}", quoted(schema), quoted(name));
            let counted = server.psql(&source, &sql);
            let partitioned = table["kind"] == "partitioned";
            assert!(
                partitioned || counted.parse().ok() == table["rows"].as_u64(),
                "{schema}.{name}: {counted}, {table}"
            );
        }
    }
}

/// Trap 6: settings of the role or the database change what values look like as text.
#[test]
fn settings_do_not_change_the_text() {
    for major in [14, 17, 18] {
        let server = Server::shared(major);
        let source = server.database("trap6");
        server.psql(
            &source,
            "CREATE TABLE plain AS SELECT timestamptz '2024-05-06 07:08:09.5+00' AS t, date '2024-05-06' AS d, interval '1 year -2 days 3:04' AS i,
                 0.1::float8 + 0.2 AS f, 0.1::float4 AS f4, 'é'::text AS e, '\"C\"'::regcollation AS c, 'plain'::text AS x, '12.50'::money AS m, '<a>x</a>'::xml AS xm;
             CREATE TABLE with_blob AS SELECT *, '\\x00ff'::bytea AS b FROM plain;
             ALTER TABLE with_blob ADD COLUMN own regclass DEFAULT 'plain'::regclass;
             CREATE TABLE long AS SELECT i FROM generate_series(1, 100000) i",
        );
        let dir = tempfile::tempdir().unwrap();
        let (before, after) = (dir.path().join("before"), dir.path().join("after"));
        assert_eq!(create(server, &server.url(&source), &before, &[]).code, Some(0));
        for setting in [
            "DateStyle = 'German, DMY'",
            "IntervalStyle = 'sql_standard'",
            "TimeZone = 'Asia/Phnom_Penh'",
            "extra_float_digits = -5",
            "bytea_output = 'escape'",
            "search_path = 'public'",
            "client_encoding = 'LATIN1'",
            "standard_conforming_strings = off",
            "quote_all_identifiers = on",
            "statement_timeout = '200ms'",
            "lock_timeout = '100ms'",
            "idle_in_transaction_session_timeout = '50ms'",
            "default_transaction_isolation = 'read committed'",
            "default_transaction_read_only = on",
            "synchronize_seqscans = on",
            "xmlbinary = 'hex'",
            "check_function_bodies = on",
            "row_security = on",
        ] {
            server.psql("postgres", &format!("ALTER DATABASE {source} SET {setting}"));
        }
        let ran = create(server, &server.url(&source), &after, &[]);
        assert_eq!(ran.code, Some(0), "server {major}: {}", ran.stderr);
        let (before, after) = (inspect(server, &before), inspect(server, &after));
        for name in ["plain", "with_blob", "long"] {
            assert_eq!(
                table(&before, name)["digest"],
                table(&after, name)["digest"],
                "server {major}: {name}"
            );
        }
    }
}

/// Traps 12 and the snapshot itself: writers at work all the while. What is kept holds together
/// (the sums of a money transfer agree), and no sequence is behind its column.
#[test]
fn writers_at_work() {
    let server = Server::shared(16);
    let source = server.database("trap12");
    ok(server.tool("pgbench").args(["-i", "-q", "-s", "2", &source]));
    server.psql(&source, "ALTER TABLE pgbench_history ADD COLUMN id serial PRIMARY KEY");
    let mut writers = server.tool("pgbench");
    writers
        .args(["-n", "-c", "3", "-T", "60", &source])
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut writers = writers.spawn().unwrap();
    std::thread::sleep(Duration::from_millis(500));
    let dir = tempfile::tempdir().unwrap();
    let files: Vec<_> = (0..3).map(|n| dir.path().join(n.to_string())).collect();
    let ran: Vec<_> =
        files.iter().map(|file| create(server, &server.url(&source), file, &[])).collect();
    writers.kill().unwrap();
    writers.wait().unwrap();
    for (file, ran) in files.iter().zip(ran) {
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        ok(server.pgark(PGARK).arg("verify").arg(file));
        let target = restore(server, file);
        let sums = "SELECT (SELECT sum(abalance) FROM pgbench_accounts) = (SELECT sum(delta) FROM pgbench_history), \
            (SELECT sum(tbalance) FROM pgbench_tellers) = (SELECT sum(bbalance) FROM pgbench_branches), \
            (SELECT sum(tbalance) FROM pgbench_tellers) = (SELECT sum(delta) FROM pgbench_history), \
            (SELECT last_value FROM pgbench_history_id_seq) >= (SELECT max(id) FROM pgbench_history), \
            (SELECT count(*) > 10 FROM pgbench_history)";
        assert_eq!(server.psql(&target, sums), "t|t|t|t|t");
        server.psql(&target, "INSERT INTO pgbench_history (delta) VALUES (1)");
    }
}

/// Trap 13: large objects of the snapshot, no others.
#[test]
fn large_objects_of_the_snapshot() {
    for major in [14, 16, 17] {
        let server = Server::shared(major);
        let source = server.database("trap13");
        server.psql(&source, "SELECT lo_from_bytea(1000, '\\x01'), lo_from_bytea(1001, '\\x0102')");
        let (session, id) = Session::export(server, &source);
        server.psql(&source, "SELECT lo_from_bytea(1002, '\\x03'), lo_put(1000, 0, '\\xff')");
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.pgark");
        let ran = create(server, &server.url(&source), &file, &["--snapshot", &id]);
        drop(session);
        assert_eq!(ran.code, Some(0), "server {major}: {}", ran.stderr);
        let target = restore(server, &file);
        let all = "SELECT string_agg(oid || ':' || lo_get(oid)::text, ',' ORDER BY oid) FROM pg_largeobject_metadata";
        assert_eq!(server.psql(&target, all), "1000:\\x01,1001:\\x0102", "server {major}");
    }
}

/// Trap 14: rows of an extension's configuration tables belong to the backup, the table does not.
/// (Only since version 18 can a server be told of extensions outside its own folder.)
#[test]
fn rows_of_extension_configuration() {
    let options = Options {
        files: vec![
            (
                "extension/conf.control".to_owned(),
                b"default_version = '1.0'\nrelocatable = false\nschema = public\n".to_vec(),
            ),
            (
                "extension/conf--1.0.sql".to_owned(),
                b"CREATE TABLE conf_all (k text PRIMARY KEY, v bytea);\n\
                  CREATE TABLE conf_some (k text, standard boolean);\n\
                  CREATE TABLE conf_none (k text);\n\
                  CREATE SEQUENCE conf_seq;\n\
                  INSERT INTO conf_some VALUES ('shipped', true);\n\
                  INSERT INTO conf_none VALUES ('shipped');\n\
                  SELECT pg_extension_config_dump('conf_all', '');\n\
                  SELECT pg_extension_config_dump('conf_some', 'WHERE NOT standard');\n\
                  SELECT pg_extension_config_dump('conf_seq', '');\n"
                    .to_vec(),
            ),
        ],
        ..Options::default()
    };
    let server = Server::start_with(18, &options);
    let path = server.socket_dir().join("data");
    server.psql(
        "postgres",
        &format!("ALTER SYSTEM SET extension_control_path = '$system:{}'", path.display()),
    );
    server.psql("postgres", "SELECT pg_reload_conf()");
    std::thread::sleep(Duration::from_millis(300));
    let source = server.database("trap14");
    server.psql(
        &source,
        "CREATE EXTENSION conf;
         INSERT INTO conf_all VALUES ('a', '\\x00'), ('b', sha256('x') || sha256('y') || '\\x01');
         INSERT INTO conf_some VALUES ('mine', false);
         INSERT INTO conf_none VALUES ('of no account');
         SELECT setval('conf_seq', 42);",
    );
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.pgark");
    let ran = create(&server, &server.url(&source), &file, &[]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let target = restore(&server, &file);
    for (table, rows) in [("conf_all", "2"), ("conf_some", "2"), ("conf_none", "1")] {
        assert_eq!(server.psql(&target, &format!("SELECT count(*) FROM {table}")), rows, "{table}");
    }
    assert_eq!(server.psql(&target, "SELECT last_value FROM conf_seq"), "42");
    dump::assert_same(&server.pg_dump(&source, &[]), &server.pg_dump(&target, &[]), "extension");
}

/// Traps 15 and 16: values whose binary form or cast to text means something else. The other
/// database has other OIDs for everything.
#[test]
fn values_by_their_output_functions() {
    for major in MAJORS {
        let server = Server::shared(major);
        let source = server.database("trap15");
        server.psql(
            &source,
            "CREATE TYPE mood AS ENUM ('sad', 'happy'); CREATE TYPE pair AS (a mood, b regclass);
             CREATE FUNCTION lost(mood) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT 'lost'::text $$;
             CREATE CAST (mood AS text) WITH FUNCTION lost(mood);
             CREATE TABLE other (); CREATE TABLE t (id integer, m mood, ms mood[], p pair, ps pair[], r regclass, y regtype, a aclitem, b bytea);
             INSERT INTO t VALUES (1, 'happy', '{happy,sad}', '(sad,other)', ARRAY['(happy,t)'::pair], 'other', 'mood[]', 'postgres=r/postgres', '\\x00');
             DROP TABLE other; CREATE TABLE other ();
             INSERT INTO t VALUES (2, 'sad', '{}', '(happy,other)', ARRAY['(sad,other)'::pair], 'other', 'pair', 'postgres=arw/postgres', NULL);
             UPDATE t SET p = '(sad,t)', r = 't' WHERE id = 1;
             CREATE TABLE without AS SELECT id, m, ms, p, ps, r, y, a FROM t",
        );
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.pgark");
        let ran = create(server, &server.url(&source), &file, &[]);
        assert_eq!(ran.code, Some(0), "server {major}: {}", ran.stderr);
        let target = server.database("target");
        // So that the same object has another OID there.
        server.psql(&target, "SELECT lo_unlink(lo_create(0)) FROM generate_series(1, 10)");
        ok(server.pgark(PGARK).arg("restore").arg(&file).args(["--to", &server.url(&target)]));
        dump::assert_same(
            &server.pg_dump(&source, &[]),
            &server.pg_dump(&target, &[]),
            &format!("server {major}"),
        );
        assert_ne!(
            server.psql(&source, "SELECT 't'::regclass::oid"),
            server.psql(&target, "SELECT 't'::regclass::oid")
        );
    }
}
