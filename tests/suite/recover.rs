//! `recover.py`, the independent reader: written from the specification alone, it must bring back
//! what pgark brings back, and find what `verify` finds. Guards against archives that only pgark
//! can read, and against a specification that leaves out what a stranger needs.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::PGARK;
use crate::roundtrip::load_sample;
use crate::support::{Ran, Server, dump, fed, ok, root, run};

fn script() -> PathBuf {
    root().join("spec/recover.py")
}

fn recover(archive: &Path, args: &[&str]) -> Ran {
    run(Command::new("python3").arg(script()).arg(archive).args(args))
}

/// The archive's own script writes the SQL, psql loads it; gives the new database's name.
fn through_sql(server: &Server, archive: &Path, dir: &Path) -> String {
    let taken = dir.join("taken");
    std::fs::create_dir_all(&taken).unwrap();
    ok(Command::new("tar").arg("xf").arg(archive).arg("recover.py").current_dir(&taken));
    let own = taken.join("recover.py");
    assert_eq!(std::fs::read(&own).unwrap(), std::fs::read(script()).unwrap());
    let output = fed(Command::new("python3").arg(&own).arg(archive), b"");
    let words = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{words}");
    let target = server.database("recovered");
    server.psql_bytes(&target, &output.stdout);
    target
}

/// Comes back as it was, which is what `pgark restore` is held to as well (see `roundtrip`).
fn comes_back(major: u32, stem: &str, fill: impl FnOnce(&Server, &str)) {
    let server = Server::shared(major);
    let source = server.database(stem);
    fill(server, &source);
    let dir = tempfile::tempdir().unwrap();
    let archive = dir.path().join("a.pgark");
    ok(server.pgark(PGARK).args(["create", &server.url(&source), "-o"]).arg(&archive));
    let recovered = through_sql(server, &archive, dir.path());
    let (want, have) = (server.pg_dump(&source, &[]), server.pg_dump(&recovered, &[]));
    dump::assert_same(&want, &have, &format!("{stem} on {major}"));
}

#[test]
fn the_sample_comes_back_as_from_restore() {
    let server = Server::shared(17);
    let source = server.database("sample");
    load_sample(server, &source);
    let dir = tempfile::tempdir().unwrap();
    let archive = dir.path().join("a.pgark");
    ok(server.pgark(PGARK).args(["create", &server.url(&source), "-o"]).arg(&archive));
    let restored = server.database("restored");
    ok(server.pgark(PGARK).arg("restore").arg(&archive).args(["--to", &server.url(&restored)]));
    let recovered = through_sql(server, &archive, dir.path());
    let want = server.pg_dump(&restored, &[]);
    dump::assert_same(&want, &server.pg_dump(&recovered, &[]), "the sample");
}

#[test]
fn every_type_comes_back() {
    for major in [14, 18] {
        comes_back(major, "types", |server, database| {
            server.load(database, &root().join("fixtures/types/all-types.sql"));
        });
    }
}

/// What `tar xf` made of an archive is as good as the archive.
#[test]
fn an_unpacked_archive_gives_the_same_sql() {
    let server = Server::shared(16);
    let source = server.database("unpacked");
    server.psql(&source, "CREATE TABLE t (a int PRIMARY KEY, b bytea); \
        INSERT INTO t SELECT n, decode(repeat(md5(n::text), 10 * n), 'hex') FROM generate_series(0, 50) n; \
        SELECT lo_from_bytea(7, decode(repeat('00ff', 100), 'hex'))");
    let dir = tempfile::tempdir().unwrap();
    let archive = dir.path().join("a.pgark");
    ok(server.pgark(PGARK).args(["create", &server.url(&source), "-o"]).arg(&archive));
    let unpacked = dir.path().join("unpacked");
    std::fs::create_dir(&unpacked).unwrap();
    ok(Command::new("tar").arg("xf").arg(&archive).current_dir(&unpacked));
    let (one, two) = (recover(&archive, &[]), recover(&unpacked, &[]));
    assert_eq!((one.code, two.code), (Some(0), Some(0)), "{} {}", one.stderr, two.stderr);
    assert!(one.stdout == two.stdout && one.stdout.contains("lo_create('7')"));

    // One table alone, and values as files named by their digests.
    let table = recover(&archive, &["--table", "public.t"]);
    assert!(table.stdout.contains("COPY \"public\".\"t\"") && !table.stdout.contains("lo_create"));
    let files = dir.path().join("files");
    let ran = recover(&archive, &["--extract", files.to_str().unwrap()]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let digest = server.psql(&source, "SELECT encode(sha256(b), 'hex') FROM t WHERE a = 50");
    let value = server.psql(&source, "SELECT octet_length(b) FROM t WHERE a = 50");
    assert_eq!(files.join(digest).metadata().unwrap().len().to_string(), value);

    // A file that is gone or changed is found there too.
    std::fs::write(unpacked.join("schema/post-data.sql"), b"").unwrap();
    assert_eq!(recover(&unpacked, &["--check"]).code, Some(1));
}
