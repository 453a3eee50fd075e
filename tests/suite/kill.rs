//! Ends that nobody planned. Guards against a file that looks like a backup and is none.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::PGARK;
use crate::support::{Server, dump, ok};

/// About 60 MB that do not compress, in blobs and in text.
fn fill(server: &Server) -> String {
    let database = server.database("kill");
    server.psql(
        &database,
        "CREATE TABLE blobs (id integer PRIMARY KEY, b bytea);
         ALTER TABLE blobs ALTER COLUMN b SET STORAGE EXTERNAL;
         INSERT INTO blobs SELECT i, (SELECT string_agg(sha256(int4send(i * 5000 + n)), '') FROM generate_series(1, 1000) n)
         FROM generate_series(1, 1500) i;
         CREATE TABLE words AS SELECT i, md5(i::text) AS t FROM generate_series(1, 200000) i;",
    );
    database
}

fn create(server: &Server, database: &str, file: &Path) -> Command {
    let mut command = server.pgark(PGARK);
    command.args(["create", &server.url(database), "-o"]).arg(file);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

fn files(dir: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect()
}

/// Waits until something in this folder has so many bytes.
fn wait_for_bytes(dir: &Path, bytes: u64) {
    let end = Instant::now() + Duration::from_secs(60);
    while !files(dir).iter().any(|file| file.metadata().is_ok_and(|meta| meta.len() >= bytes)) {
        assert!(Instant::now() < end, "nothing is being written");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn signal(pid: u32, name: &str) {
    assert!(Command::new("kill").args([name, &pid.to_string()]).status().unwrap().success());
}

#[test]
fn create_killed_at_any_moment() {
    let server = Server::shared(15);
    let database = fill(server);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("whole.pgark");
    let begun = Instant::now();
    ok(&mut create(server, &database, &file));
    let whole = begun.elapsed();

    let moments = 24;
    let mut killed = 0;
    for moment in 0..moments {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("killed.pgark");
        let mut child = create(server, &database, &file).spawn().unwrap();
        std::thread::sleep(whole * moment / moments);
        child.kill().unwrap();
        if child.wait().unwrap().code().is_some() {
            continue;
        }
        killed += 1;
        if file.exists() {
            // Between the renaming and the last words there is a moment, too: then it is whole.
            ok(server.pgark(PGARK).arg("verify").arg(&file));
            assert!(moment > moments / 2, "a finished file after {moment}/{moments} of the time");
        }
    }
    assert!(
        killed > moments / 2,
        "create was mostly faster than its killer: {killed} of {moments}"
    );
}

#[test]
fn create_interrupted() {
    let server = Server::shared(15);
    let database = fill(server);
    let dir = tempfile::tempdir().unwrap();
    let child = create(server, &database, &dir.path().join("a.pgark")).spawn().unwrap();
    wait_for_bytes(dir.path(), 1 << 20);
    signal(child.id(), "-INT");
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(files(dir.path()), Vec::<PathBuf>::new());
}

#[test]
fn server_killed_during_create() {
    for major in [14, 18] {
        let server = Server::start(major);
        let database = fill(&server);
        let dir = tempfile::tempdir().unwrap();
        let child = create(&server, &database, &dir.path().join("a.pgark")).spawn().unwrap();
        wait_for_bytes(dir.path(), 4 << 20);
        server.kill();
        let output = child.wait_with_output().unwrap();
        let words = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "server {major}: {words}");
        assert_eq!(files(dir.path()), Vec::<PathBuf>::new(), "server {major}: {words}");
    }
}

/// One session is taken away, the server lives on: by an administrator, a failover, a proxy.
#[test]
fn one_session_ended_during_create() {
    let server = Server::shared(15);
    let database = fill(server);
    let dir = tempfile::tempdir().unwrap();
    let child = create(server, &database, &dir.path().join("a.pgark")).spawn().unwrap();
    wait_for_bytes(dir.path(), 1 << 20);
    let ended = server.psql(
        "postgres",
        &format!(
            "SELECT count(pg_terminate_backend(pid)) FROM (SELECT pid FROM pg_stat_activity \
             WHERE datname = '{database}' AND state = 'active' ORDER BY pid LIMIT 1) one"
        ),
    );
    let output = child.wait_with_output().unwrap();
    let words = String::from_utf8_lossy(&output.stderr);
    assert_eq!(ended, "1", "no session was reading: {words}");
    assert_eq!(output.status.code(), Some(3), "{words}");
    assert_eq!(files(dir.path()), Vec::<PathBuf>::new());
}

#[test]
fn server_killed_during_restore() {
    let server = Server::start(16);
    let database = fill(&server);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.pgark");
    ok(&mut create(&server, &database, &file));
    let target = server.database("target");
    let mut command = server.pgark(PGARK);
    command.arg("restore").arg(&file).args(["--to", &server.url(&target)]);
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let end = Instant::now() + Duration::from_secs(60);
    while server.psql(
        &target,
        "SELECT coalesce(pg_total_relation_size(to_regclass('public.blobs')), 0) > 4000000",
    ) != "t"
    {
        assert!(Instant::now() < end, "no rows arrive");
        std::thread::sleep(Duration::from_millis(10));
    }
    server.kill();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn restore_killed_and_begun_again() {
    let server = Server::shared(16);
    let database = fill(server);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.pgark");
    ok(&mut create(server, &database, &file));
    let target = server.database("target");
    let mut command = server.pgark(PGARK);
    command.arg("restore").arg(&file).args(["--to", &server.url(&target)]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let end = Instant::now() + Duration::from_secs(60);
    while server.psql(&target, "SELECT to_regclass('public.blobs') IS NOT NULL") != "t" {
        assert!(Instant::now() < end, "no table arrives");
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    // What is there is not taken for an empty database; a new one is.
    let again = crate::support::run(
        server.pgark(PGARK).arg("restore").arg(&file).args(["--to", &server.url(&target)]),
    );
    assert_eq!(again.code, Some(3), "{}", again.stderr);
    let fresh = server.database("target");
    ok(server.pgark(PGARK).arg("restore").arg(&file).args(["--to", &server.url(&fresh)]));
    dump::assert_same(&server.pg_dump(&database, &[]), &server.pg_dump(&fresh, &[]), "fresh");
}
