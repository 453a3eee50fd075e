//! What a plan says of the room on the server's disk. Guards against a figure of another machine's
//! disk, and against raw bytes in front of people.

use std::process::Command;

use crate::PGARK;
use crate::support::{Options, Server, ok};

#[test]
fn what_is_free_is_said_where_it_is_known() {
    let server = Server::start_with(17, &Options { tcp: true, ..Options::default() });
    let source = server.database("room_source");
    server.psql(
        &source,
        "CREATE ROLE room_plain LOGIN CREATEDB; CREATE TABLE t AS SELECT repeat(md5(i::text), 100) AS a FROM generate_series(1, 1500) i",
    );
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.pgark");
    ok(server.pgark(PGARK).args(["create", &server.url(&source), "-o"]).arg(&file));
    let socket = |user: &str| {
        format!(
            "host={} port={} user={user} dbname=postgres",
            server.socket_dir().display(),
            server.port()
        )
    };
    let plan = |to: &str, more: &[&str]| {
        let mut command = server.pgark(PGARK);
        command.arg("restore").arg(&file).args(["--to", to, "--create", "room", "--dry-run"]);
        ok(command.args(more).args(["--no-owner", "--no-privileges"])).stdout
    };
    let json =
        |to: &str| -> serde_json::Value { serde_json::from_str(&plan(to, &["--json"])).unwrap() };

    let told = plan(&socket("postgres"), &[]);
    for word in [
        "load 1,500 rows (4.6 MiB of rows",
        "room: 4.6 MiB and what indexes take",
        "are free there",
    ] {
        assert!(told.contains(word), "{word}: {told}");
    }
    let found = json(&socket("postgres"));
    assert!(found["bytes_needed"].as_u64().is_some_and(|bytes| bytes > 4_800_000), "{found}");
    let df = Command::new("df")
        .args(["-B1", "--output=avail"])
        .arg(server.socket_dir())
        .output()
        .unwrap();
    let df = String::from_utf8(df.stdout).unwrap();
    let df: u64 = df.lines().last().unwrap().trim().parse().unwrap();
    // Others are writing meanwhile.
    let free = found["bytes_free"].as_u64().unwrap();
    assert!(free.abs_diff(df) < 4 << 30, "{free} {df}");

    // Over a network nobody knows whose disk that is, and not everybody may ask.
    for to in [server.url("postgres"), socket("room_plain")] {
        assert!(plan(&to, &[]).contains("how much is free there is not known"), "{to}");
        assert_eq!(json(&to).get("bytes_free"), None, "{to}");
    }
}
