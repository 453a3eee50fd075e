//! What must be refused. Guards against the classic loss: a restore into a database that already
//! has rows doubles them, and says it went well (trap 19).

use crate::PGARK;
use crate::support::{Server, ok, run};

fn archive(server: &Server) -> (tempfile::TempDir, std::path::PathBuf) {
    let source = server.database("source");
    server.psql(&source, "CREATE TABLE t (a integer, b bytea); INSERT INTO t SELECT i, sha256(int4send(i)) || sha256('x') || '\\x00' FROM generate_series(1, 100) i");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.pgark");
    ok(server.pgark(PGARK).args(["create", &server.url(&source), "-o"]).arg(&file));
    (dir, file)
}

#[test]
fn a_database_with_anything_in_it() {
    let server = Server::shared(16);
    let (_dir, file) = archive(server);
    let things = [
        ("CREATE TABLE \"My table\" ()", "My table"),
        ("CREATE VIEW my_view AS SELECT 1", "my_view"),
        ("CREATE SEQUENCE my_seq", "my_seq"),
        ("CREATE FUNCTION my_func() RETURNS int LANGUAGE sql AS 'SELECT 1'", "my_func"),
        ("CREATE TYPE my_type AS ENUM ('a')", "my_type"),
        ("CREATE SCHEMA my_schema", "my_schema"),
        ("CREATE EXTENSION citext", "citext"),
        ("SELECT lo_create(4711)", "large object"),
        ("CREATE PUBLICATION my_pub", "my_pub"),
    ];
    for (make, named) in things {
        let target = server.database("taken");
        server.psql(&target, make);
        let before = server.pg_dump(&target, &[]);
        let ran =
            run(server.pgark(PGARK).arg("restore").arg(&file).args(["--to", &server.url(&target)]));
        assert_eq!(ran.code, Some(3), "{make}: {}", ran.stderr);
        let named = named.to_lowercase();
        assert!(ran.stderr.to_lowercase().contains(&named), "{make} is not named: {}", ran.stderr);
        crate::support::dump::assert_same(&before, &server.pg_dump(&target, &[]), make);
    }
}

#[test]
fn a_damaged_archive_before_anything_is_done() {
    let server = Server::shared(16);
    let (_dir, file) = archive(server);
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, bytes).unwrap();
    let target = server.database("empty");
    let ran =
        run(server.pgark(PGARK).arg("restore").arg(&file).args(["--to", &server.url(&target)]));
    assert!(matches!(ran.code, Some(1 | 3)), "{ran:?}");
    assert_eq!(server.psql(&target, "SELECT count(*) FROM pg_class WHERE oid >= 16384"), "0");
}

#[test]
fn a_file_that_is_there() {
    let server = Server::shared(16);
    let (_dir, file) = archive(server);
    let before = std::fs::read(&file).unwrap();
    let ran = run(server.pgark(PGARK).args(["create", &server.url("postgres"), "-o"]).arg(&file));
    assert!(matches!(ran.code, Some(2 | 3)), "{ran:?}");
    assert_eq!(before, std::fs::read(&file).unwrap());
    ok(server.pgark(PGARK).args(["create", "--force", &server.url("postgres"), "-o"]).arg(&file));
    assert_ne!(before, std::fs::read(&file).unwrap());
}

#[test]
fn a_server_that_is_not_there() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.pgark");
    let mut command = std::process::Command::new(PGARK);
    command.args(["create", "host=/nowhere dbname=x user=y", "-o"]).arg(&file);
    let ran = run(&mut command);
    assert_eq!(ran.code, Some(3), "{ran:?}");
    assert!(!file.exists());
}
