//! From a database through an archive into another database: nothing is lost, nothing changed.
//!
//! Guards against every silent loss there is: what `pg_dump` says of the source and of the target
//! has to be the same text, whatever pgark itself believes about it.

use std::path::Path;

use crate::PGARK;
use crate::support::{Options, Server, dump, fed, ok, root};

/// create, verify, restore; gives the new database's name.
fn through_an_archive(server: &Server, source: &str, file: &Path) -> String {
    let target = server.database("target");
    ok(server.pgark(PGARK).args(["create", &server.url(source), "-o"]).arg(file));
    ok(server.pgark(PGARK).arg("verify").arg(file));
    ok(server.pgark(PGARK).arg("restore").arg(file).args(["--to", &server.url(&target)]));
    target
}

/// What `pg_dump` does not show: materialized views have no rows of their own in a dump.
fn assert_views_filled(server: &Server, source: &str, target: &str) {
    let populated =
        "SELECT oid::regclass, relispopulated FROM pg_class WHERE relkind = 'm' ORDER BY 1";
    assert_eq!(server.psql(source, populated), server.psql(target, populated));
    let views = server.psql(
        source,
        "SELECT oid::regclass FROM pg_class WHERE relkind = 'm' AND relispopulated ORDER BY 1",
    );
    for view in views.lines() {
        let rows = format!("SELECT md5(string_agg(v::text, ',' ORDER BY v::text)) FROM {view} v");
        assert_eq!(server.psql(source, &rows), server.psql(target, &rows), "{view}");
    }
}

fn every_type(major: u32) {
    let server = Server::shared(major);
    let source = server.database("types");
    server.load(&source, &root().join("fixtures/types/all-types.sql"));
    let before = server.pg_dump(&source, &[]);

    let dir = tempfile::tempdir().unwrap();
    let target = through_an_archive(server, &source, &dir.path().join("types.pgark"));
    dump::assert_same(&before, &server.pg_dump(&target, &[]), &format!("server {major}"));
    dump::assert_same(&before, &server.pg_dump(&source, &[]), "create changed the source");
    assert_views_filled(server, &source, &target);
}

#[test]
fn every_type_on_14() {
    every_type(14);
}

#[test]
fn every_type_on_15() {
    every_type(15);
}

#[test]
fn every_type_on_16() {
    every_type(16);
}

#[test]
fn every_type_on_17() {
    every_type(17);
}

#[test]
fn every_type_on_18() {
    every_type(18);
}

#[test]
fn the_sample() {
    for major in [14, 18] {
        let server = Server::shared(major);
        let source = server.database("sample");
        load_sample(server, &source);
        let dir = tempfile::tempdir().unwrap();
        let target = through_an_archive(server, &source, &dir.path().join("sample.pgark"));
        dump::assert_same(
            &server.pg_dump(&source, &[]),
            &server.pg_dump(&target, &[]),
            &format!("the sample on server {major}"),
        );
        assert_views_filled(server, &source, &target);
    }
}

/// Fills a database with `fixtures/sample`.
pub(crate) fn load_sample(server: &Server, database: &str) {
    let sql = std::process::Command::new("python3")
        .arg(root().join("fixtures/sample/sql.py"))
        .output()
        .expect("python3");
    assert!(sql.status.success(), "{}", String::from_utf8_lossy(&sql.stderr));
    server.psql_bytes(database, &sql.stdout);
}

/// A value that text cannot carry (its hex digits pass the server's limit of 1 GB), and a row of
/// several that binary cannot carry either (trap 4). `pg_dump` fails on both.
#[test]
fn values_that_pg_dump_cannot_read() {
    let server = Server::start(16);
    let source = server.database("huge");
    server.load(&source, &root().join("fixtures/types/huge.sql"));
    let dir = tempfile::tempdir().unwrap();
    let target = through_an_archive(&server, &source, &dir.path().join("huge.pgark"));
    let facts = "SELECT id, label, octet_length(data), sha256(data), octet_length(second), sha256(second) \
        FROM huge ORDER BY id";
    assert_eq!(server.psql(&source, facts), server.psql(&target, facts));
}

/// Bytes that are no UTF-8 pass through a database of encoding `SQL_ASCII` (trap 7).
#[test]
fn bytes_of_no_encoding() {
    let server = Server::start_with(17, &Options { sql_ascii: true, ..Options::default() });
    let source = server.database("ascii");
    server.psql_bytes(
        &source,
        b"CREATE TABLE t (a text, b bytea);\nINSERT INTO t VALUES ('caf\xe9 \xff\xfe', '\\xff'), ('ok', NULL);",
    );
    let target = server.database("ascii");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ascii.pgark");
    ok(server.pgark(PGARK).args(["create", &server.url(&source), "-o"]).arg(&file));
    // Verification may have something to say about such bytes, as long as the rows come back.
    ok(server.pgark(PGARK).arg("restore").arg(&file).args(["--to", &server.url(&target)]));
    let rows = |database: &str| {
        fed(server.tool("psql").args(["-X", "-A", "-t", "-c", "SELECT * FROM t", database]), b"")
            .stdout
    };
    assert_eq!(rows(&source), rows(&target));
    assert!(rows(&target).windows(5).any(|bytes| bytes == b"caf\xe9 "));
}
