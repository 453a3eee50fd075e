//! What of an archive is restored and for whom. Guards against finding out after hours what could
//! have been known before anything was done.

use std::path::PathBuf;

use crate::PGARK;
use crate::support::{Ran, Server, dump, ok, run};

struct Archive {
    server: &'static Server,
    source: String,
    file: PathBuf,
    _dir: tempfile::TempDir,
}

fn archive(major: u32, sql: &str) -> Archive {
    let server = Server::shared(major);
    let source = server.database("choice_source");
    server.psql(&source, sql);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.pgark");
    // 1: references are broken, which is a finding.
    let ran = run(server.pgark(PGARK).args(["create", &server.url(&source), "-o"]).arg(&file));
    assert!(matches!(ran.code, Some(0 | 1)), "{ran:?}");
    Archive { server, source, file, _dir: dir }
}

impl Archive {
    fn restore(&self, target: &str, options: &[&str]) -> Ran {
        let mut command = self.server.pgark(PGARK);
        command.arg("restore").arg(&self.file).args(["--to", &self.server.url(target)]);
        run(command.args(options))
    }

    fn is_empty(&self, target: &str) -> bool {
        self.server.psql(target, "SELECT count(*) FROM pg_class WHERE oid >= 16384") == "0"
    }
}

#[test]
fn created_under_its_name_when_complete() {
    let it = archive(17, "CREATE TABLE t AS SELECT generate_series(1, 10) AS i");
    let name = "choice \"created\"";
    let ran = it.restore("postgres", &["--create", name, "--json"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    dump::assert_same(&it.server.pg_dump(&it.source, &[]), &it.server.pg_dump(name, &[]), name);
    let again = it.restore("postgres", &["--create", name]);
    assert_eq!(again.code, Some(3), "{}", again.stderr);
    assert!(again.stderr.contains("exists already"), "{}", again.stderr);
    let facts = "SELECT pg_encoding_to_char(encoding), datcollate, datctype, shobj_description(oid, 'pg_database') FROM pg_database WHERE datname IN ";
    let of = |name: &str| it.server.psql("postgres", &format!("{facts} ('{name}')"));
    assert_eq!(of(&it.source), of(name));
}

#[test]
fn a_locale_of_its_own_comes_along() {
    let server = Server::shared(18);
    server.psql(
        "postgres",
        "CREATE DATABASE choice_builtin TEMPLATE template0 LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8' LC_COLLATE 'C' LC_CTYPE 'C' ENCODING 'UTF8';
         CREATE DATABASE choice_latin TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C' ENCODING 'LATIN1'",
    );
    for source in ["choice_builtin", "choice_latin"] {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a.pgark");
        server.psql(source, "CREATE TABLE t AS SELECT chr(228) AS a");
        ok(server.pgark(PGARK).args(["create", &server.url(source), "-o"]).arg(&file));
        let name = format!("{source}_back");
        let mut command = server.pgark(PGARK);
        command.arg("restore").arg(&file).args(["--to", &server.url("postgres")]);
        ok(command.args(["--create", &name]));
        let facts = |name: &str| {
            let sql = format!(
                "SELECT encoding, datcollate, datctype, datlocprovider, datlocale FROM pg_database WHERE datname = '{name}'"
            );
            server.psql("postgres", &sql)
        };
        assert_eq!(facts(source), facts(&name));
    }
}

/// Roles are the server's, so each test has its own.
#[test]
fn roles_that_are_missing_are_named_first() {
    let it = archive(
        16,
        "CREATE ROLE choice_app; CREATE ROLE \"choice Reader\"; CREATE ROLE choice_policy;
         CREATE TABLE t (i integer); ALTER TABLE t OWNER TO choice_app; INSERT INTO t VALUES (1);
         CREATE FUNCTION f(i integer DEFAULT 1) RETURNS integer LANGUAGE sql AS 'SELECT i';
         ALTER FUNCTION f OWNER TO choice_app;
         GRANT SELECT ON t TO \"choice Reader\"; GRANT UPDATE (i) ON t TO \"choice Reader\";
         ALTER TABLE t ENABLE ROW LEVEL SECURITY;
         CREATE POLICY p ON t TO choice_policy USING (true);
         SELECT lo_from_bytea(4711, 'x'); ALTER LARGE OBJECT 4711 OWNER TO choice_app;
         GRANT SELECT ON LARGE OBJECT 4711 TO \"choice Reader\"",
    );
    let server = it.server;
    server.psql(
        &it.source,
        "DROP OWNED BY choice_app, \"choice Reader\", choice_policy CASCADE;
         DROP ROLE choice_app, \"choice Reader\", choice_policy; CREATE ROLE choice_new",
    );
    let target = server.database("choice");
    for options in [&[][..], &["--dry-run"][..]] {
        let ran = it.restore(&target, options);
        assert_eq!(ran.code, Some(3), "{}", ran.stderr);
        for role in ["choice_app", "choice Reader", "choice_policy"] {
            assert!(ran.stderr.contains(role), "{role}: {}", ran.stderr);
        }
        assert!(ran.stderr.contains("--role"), "{}", ran.stderr);
        assert!(it.is_empty(&target));
    }
    // A policy's roles are neither owners nor privileges.
    let ran = it
        .restore(&target, &["--no-owner", "--no-privileges", "--role", "choice_policy=choice_new"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let owner =
        "SELECT pg_get_userbyid(relowner), relacl IS NULL FROM pg_class WHERE relname = 't'";
    assert_eq!(server.psql(&target, owner), "postgres|t");
    let policy = "SELECT polroles::regrole[] FROM pg_policy";
    assert_eq!(server.psql(&target, policy), "{choice_new}");

    let target = server.database("choice");
    let ran = it.restore(
        &target,
        &[
            "--role=choice_app=choice_new",
            "--role=choice Reader=pg_monitor",
            "--role=choice_policy=choice_new",
        ],
    );
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let facts = "SELECT pg_get_userbyid(relowner), relacl, (SELECT attacl FROM pg_attribute WHERE attrelid = c.oid AND attname = 'i'), (SELECT pg_get_userbyid(proowner) FROM pg_proc WHERE proname = 'f' AND pronamespace = 'public'::regnamespace), (SELECT pg_get_userbyid(lomowner) FROM pg_largeobject_metadata), (SELECT lomacl FROM pg_largeobject_metadata) FROM pg_class c WHERE relname = 't'";
    assert_eq!(
        server.psql(&target, facts),
        "choice_new|{choice_new=arwdDxt/choice_new,pg_monitor=r/choice_new}|{pg_monitor=w/choice_new}|choice_new|choice_new|{choice_new=rw/choice_new,pg_monitor=r/choice_new}"
    );
}

#[test]
fn a_role_without_privileges_is_told_before_anything_is_done() {
    let it = archive(16, "CREATE ROLE choice_small LOGIN; CREATE TABLE t (i integer)");
    let url = it.server.url("postgres").replacen("postgres@", "choice_small@", 1);
    let mut command = it.server.pgark(PGARK);
    command.arg("restore").arg(&it.file).args(["--to", &url, "--create", "choice_refused"]);
    let ran = run(&mut command);
    assert_eq!(ran.code, Some(3), "{}", ran.stderr);
    for word in ["choice_small", "CREATEDB", "member of postgres"] {
        assert!(ran.stderr.contains(word), "{word}: {}", ran.stderr);
    }
    let there = "SELECT count(*) FROM pg_database WHERE datname LIKE 'choice_refused%'";
    assert_eq!(it.server.psql("postgres", there), "0");
    // With the right to create databases and nothing else it is enough, without owners.
    it.server.psql("postgres", "ALTER ROLE choice_small CREATEDB");
    ok(command.args(["--no-owner", "--no-privileges"]));
    assert_eq!(
        it.server.psql("choice_refused", "SELECT tableowner FROM pg_tables WHERE tablename = 't'"),
        "choice_small"
    );
}

#[test]
fn broken_references_are_left_unchecked_when_asked() {
    let it = archive(
        16,
        "CREATE TABLE a (id integer PRIMARY KEY); CREATE TABLE b (id integer CONSTRAINT b_a REFERENCES a);
         INSERT INTO a VALUES (1);
         SET session_replication_role = replica; INSERT INTO b VALUES (1), (2)",
    );
    let target = it.server.database("choice");
    let ran = it.restore(&target, &[]);
    assert!(matches!(ran.code, Some(1 | 3)), "{ran:?}");
    assert!(it.is_empty(&target));
    let ran = it.restore(&target, &["--constraints", "not-valid"]);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert!(ran.stdout.contains("VALIDATE CONSTRAINT b_a"), "{}", ran.stdout);
    let valid = "SELECT convalidated FROM pg_constraint WHERE conname = 'b_a'";
    assert_eq!(it.server.psql(&target, valid), "f");
    assert_eq!(it.server.psql(&target, "SELECT count(*) FROM b"), "2");
}

#[test]
fn the_schema_alone() {
    let it = archive(
        16,
        "CREATE TABLE t (i integer PRIMARY KEY); INSERT INTO t VALUES (1);
         CREATE MATERIALIZED VIEW v AS SELECT i FROM t; SELECT lo_create(12)",
    );
    let target = it.server.database("choice");
    let ran = it.restore(&target, &["--schema-only", "--json"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(ran.stdout.contains("\"compared\":false"), "{}", ran.stdout);
    dump::assert_same(
        &it.server.pg_dump(&it.source, &["--schema-only", "--no-large-objects"]),
        &it.server.pg_dump(&target, &["--schema-only"]),
        "schema",
    );
    assert_eq!(it.server.psql(&target, "SELECT count(*) FROM t"), "0");
}

#[test]
fn a_plan_changes_nothing() {
    let it = archive(18, "CREATE EXTENSION citext; CREATE TABLE t (i integer)");
    let target = it.server.database("choice");
    for options in
        [&["--dry-run", "--json"][..], &["--dry-run", "--create", "choice_planned", "--json"]]
    {
        let ran = it.restore(&target, options);
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        assert!(ran.stdout.contains("\"dry_run\":true"), "{}", ran.stdout);
    }
    assert!(it.is_empty(&target));
    let made = "SELECT count(*) FROM pg_database WHERE datname LIKE 'choice_planned%'";
    assert_eq!(it.server.psql("postgres", made), "0");
}
