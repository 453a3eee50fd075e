//! The same snapshot gives the same bytes, whatever the number of workers. Guards against an order
//! that depends on who finishes first.

use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use crate::PGARK;
use crate::support::{Server, ok, root};

/// Holds a snapshot open for as long as it lives.
struct Exported {
    session: std::process::Child,
    id: String,
}

impl Exported {
    fn new(server: &Server, database: &str) -> Self {
        use std::io::{BufRead, BufReader};
        let mut session = server
            .tool("psql")
            .args(["-X", "-q", "-A", "-t", "-d", database])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = session.stdin.as_mut().unwrap();
        writeln!(
            stdin,
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SELECT pg_export_snapshot();"
        )
        .unwrap();
        let mut id = String::new();
        BufReader::new(session.stdout.as_mut().unwrap()).read_line(&mut id).unwrap();
        Self { session, id: id.trim().to_owned() }
    }
}

impl Drop for Exported {
    fn drop(&mut self) {
        drop(self.session.stdin.take());
        let _ = self.session.wait();
    }
}

fn create(server: &Server, database: &str, snapshot: &str, created: &str, jobs: &str, file: &Path) {
    ok(server
        .pgark(PGARK)
        .args(["create", &server.url(database), "--snapshot", snapshot, "--created", created])
        .args(["--jobs", jobs, "-o"])
        .arg(file));
}

#[test]
fn two_archives_of_one_snapshot() {
    let server = Server::shared(17);
    let source = server.database("stable");
    server.load(&source, &root().join("fixtures/types/all-types.sql"));
    // Enough rows that several workers have several parts each, with repeats among the blobs.
    server.psql(
        &source,
        "SET client_min_messages = error; DROP EVENT TRIGGER guard;
         CREATE TABLE many AS SELECT i, md5(i::text) AS t FROM generate_series(1, 700000) i;
         CREATE TABLE blobs AS SELECT i, (SELECT string_agg(sha256(int4send(i % 900 * 1000 + n)), '') FROM generate_series(1, 30 + i % 3000) n) AS b FROM generate_series(1, 1500) i;",
    );
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let snapshot = Exported::new(server, &source);
    create(server, &source, &snapshot.id, "1700000000", "1", &path("one"));
    create(server, &source, &snapshot.id, "1700000000", "4", &path("four"));
    // Another time: what changes is the headers' times and what follows from them.
    create(server, &source, &snapshot.id, "1700000001", "3", &path("later"));
    drop(snapshot);

    let one = std::fs::read(path("one")).unwrap();
    let four = std::fs::read(path("four")).unwrap();
    assert!(one == four, "one worker and four make different archives");
    assert_eq!(one.len(), std::fs::read(path("later")).unwrap().len());

    let tables = |name: &str| {
        let ran = ok(server.pgark(PGARK).args(["inspect", "--json"]).arg(path(name)));
        let inspected: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
        let tables = inspected["tables"].as_array().expect("tables").clone();
        assert!(tables.len() > 20);
        tables
            .iter()
            .map(|table| {
                (
                    table["schema"].clone(),
                    table["name"].clone(),
                    table["rows"].clone(),
                    table["digest"].clone(),
                )
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(tables("one"), tables("later"));
}
