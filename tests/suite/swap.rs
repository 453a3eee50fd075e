//! A database replaced by a restore. Guards against the name leading to nothing, to half a
//! database or to one without its settings, at whatever moment the restore ends.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::PGARK;
use crate::support::{Ran, Server, dump, ok, run};

struct Setting {
    server: &'static Server,
    source: String,
    /// The database that is to be replaced.
    name: String,
    file: PathBuf,
    dir: tempfile::TempDir,
}

/// An archive, and a database with other things in it that it is to replace.
fn setting(major: u32, rows: u32) -> Setting {
    let server = Server::shared(major);
    let source = server.database("swap_source");
    server.psql(
        &source,
        &format!(
            "CREATE TABLE t (id integer PRIMARY KEY, b bytea);
             INSERT INTO t SELECT i, sha256(int4send(i)) || sha256(int4send(-i)) || '\\x00' FROM generate_series(1, {rows}) i;
             CREATE TABLE u (id integer REFERENCES t, v text);
             INSERT INTO u SELECT i, md5(i::text) FROM generate_series(1, {rows}) i;
             CREATE INDEX ON u (v)"
        ),
    );
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.pgark");
    ok(server.pgark(PGARK).args(["create", &server.url(&source), "-o"]).arg(&file));
    let name = server.database("swapped");
    server.psql(&name, "CREATE TABLE old (x integer); INSERT INTO old VALUES (1), (2)");
    Setting { server, source, name, file, dir }
}

impl Setting {
    fn command(&self, options: &[&str]) -> Command {
        let mut command = self.server.pgark(PGARK);
        command.arg("restore").arg(&self.file).args(["--to", &self.server.url(&self.name)]);
        command.args(options);
        command
    }

    fn swap(&self, options: &[&str]) -> Ran {
        run(self.command(&["--swap", "--yes"]).args(options))
    }

    /// Names of databases that begin as ours does.
    fn databases(&self) -> Vec<String> {
        let sql = format!(
            "SELECT datname FROM pg_database WHERE datname ~ '^{}(_|$)' ORDER BY 1",
            self.name
        );
        self.server.psql("postgres", &sql).lines().map(ToOwned::to_owned).collect()
    }

    fn is_old(&self, database: &str) -> bool {
        self.server.psql(database, "SELECT to_regclass('old') IS NOT NULL") == "t"
            && self.server.psql(database, "SELECT count(*) FROM old") == "2"
    }

    fn is_new(&self, database: &str) -> bool {
        self.server.psql(database, "SELECT to_regclass('t') IS NOT NULL") == "t" && {
            dump::assert_same(
                &self.server.pg_dump(&self.source, &[]),
                &self.server.pg_dump(database, &[]),
                database,
            );
            true
        }
    }
}

/// A session that is connected to a database until it is dropped.
struct Held(Child);

impl Held {
    fn new(server: &Server, database: &str, application: &str) -> Self {
        let mut command = server.tool("psql");
        command.env("PGAPPNAME", application).args(["-X", "-d", database]);
        command.args(["-c", "SELECT pg_sleep(300)"]);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let sql = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = '{database}' AND application_name = '{application}'"
        );
        wait(|| server.psql("postgres", &sql) == "1");
        Self(child)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

fn wait(mut until: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !until() {
        assert!(Instant::now() < end, "it does not come about");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// What belongs to a database and not to its contents.
fn properties(server: &Server, database: &str) -> String {
    server.psql(
        "postgres",
        &format!(
            "SELECT pg_get_userbyid(datdba), datconnlimit, datacl, shobj_description(oid, 'pg_database'),
               (SELECT string_agg(setrole::regrole || ':' || setconfig::text, ';' ORDER BY setrole)
                FROM pg_db_role_setting s WHERE s.setdatabase = d.oid)
             FROM pg_database d WHERE datname = '{database}'"
        ),
    )
}

#[test]
fn a_swap_carries_over_what_belongs_to_the_database() {
    for major in [14, 18] {
        let it = setting(major, 100);
        let (server, name) = (it.server, &it.name);
        server.psql(
            "postgres",
            &format!(
                "CREATE ROLE swap_owner; CREATE ROLE \"swap \"\"reader\";
                 ALTER DATABASE {name} OWNER TO swap_owner;
                 ALTER DATABASE {name} CONNECTION LIMIT 77;
                 COMMENT ON DATABASE {name} IS 'it''s \\ the old one';
                 REVOKE CONNECT, TEMPORARY ON DATABASE {name} FROM PUBLIC;
                 GRANT CONNECT ON DATABASE {name} TO \"swap \"\"reader\" WITH GRANT OPTION;
                 ALTER DATABASE {name} SET search_path = \"$user\", public, \"My, schema\";
                 ALTER DATABASE {name} SET work_mem = '7MB';
                 ALTER DATABASE {name} SET my.setting = 'a b';
                 ALTER DATABASE {name} SET default_transaction_read_only = on;
                 ALTER ROLE \"swap \"\"reader\" IN DATABASE {name} SET DateStyle = 'German'"
            ),
        );
        let before = properties(server, name);
        assert!(before.contains("swap_owner") && before.contains("77"), "{before}");
        let ran = it.swap(&["--json"]);
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        assert!(it.is_new(name));
        assert_eq!(before, properties(server, name));
        let databases = it.databases();
        assert_eq!(databases.len(), 2, "{databases:?}");
        assert!(databases[1].starts_with(&format!("{name}_before_2")), "{databases:?}");
        assert!(ran.stdout.contains(&format!("\"kept\":\"{}\"", databases[1])), "{}", ran.stdout);
        assert!(it.is_old(&databases[1]));
        // And back again, by the same way: nothing was lost.
        assert_eq!(before, properties(server, &databases[1]));
    }
}

#[test]
fn connections_are_named_and_ended_only_when_asked() {
    let it = setting(16, 100);
    let held = Held::new(it.server, &it.name, "the shop");
    let ran = it.swap(&[]);
    assert_eq!(ran.code, Some(3), "{}", ran.stderr);
    for word in ["the shop", "user postgres", "--disconnect", "pid "] {
        assert!(ran.stderr.contains(word), "{word}: {}", ran.stderr);
    }
    assert!(it.is_old(&it.name));
    assert_eq!(it.databases(), std::slice::from_ref(&it.name));
    let ran = it.swap(&["--disconnect"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(it.is_new(&it.name));
    drop(held);
}

#[test]
fn nothing_is_replaced_unasked() {
    let it = setting(16, 10);
    let ran = run(&mut it.command(&["--swap"]));
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    assert!(ran.stderr.contains("--yes"), "{}", ran.stderr);
    let ran = run(&mut it.command(&["--swap", "--dry-run"]));
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(ran.stdout.contains(&format!("{}_before_", it.name)), "{}", ran.stdout);
    assert!(it.is_old(&it.name));
    assert_eq!(it.databases(), std::slice::from_ref(&it.name));
}

#[test]
fn killed_at_any_moment() {
    let it = setting(16, 60_000);
    let created = format!("{}_whole", it.name);
    // The shorter of two: what else goes on may hold one up.
    let whole = (0..2).map(|_| {
        let begun = Instant::now();
        ok(&mut it.command(&["--create", &created]));
        let took = begun.elapsed();
        it.server.psql("postgres", &format!("DROP DATABASE {created}"));
        took
    });
    let whole = whole.min().unwrap();
    let moments = 10;
    let (mut killed, mut left) = (0, 0);
    for moment in 1..=moments {
        let mut child = it
            .command(&["--swap", "--yes", "--disconnect"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(whole * moment / moments);
        child.kill().unwrap();
        killed += u32::from(child.wait().unwrap().code().is_none());
        left += it.databases().iter().filter(|name| name.contains("_pgark_new_")).count();
        assert!(it.is_old(&it.name) || it.is_new(&it.name), "after {moment}/{moments}");
    }
    assert!(killed > moments / 2 && left > 0, "{killed} killed, {left} left");
    // What they left is in nobody's way, and goes.
    wait(|| it.swap(&["--disconnect"]).code == Some(0));
    assert!(it.is_new(&it.name));
    let databases = it.databases();
    assert!(!databases.iter().any(|name| name.contains("_pgark_new_")), "{databases:?}");
}

#[test]
fn killed_while_renaming() {
    let it = setting(17, 100);
    let mut command = it.command(&["--swap", "--yes"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let working = || {
        let found = it.databases();
        found.into_iter().find(|name| name.contains("_pgark_new_"))
    };
    wait(|| working().is_some());
    // Somebody comes in: the renaming waits for them.
    let held = Held::new(it.server, &it.name, "late");
    let renaming = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%RENAME TO%' AND state = 'active' AND pid <> pg_backend_pid()";
    wait(|| it.server.psql("postgres", renaming) == "1");
    child.kill().unwrap();
    child.wait().unwrap();
    drop(held);
    it.server.psql(
        "postgres",
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'late'",
    );
    let there = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'late'";
    wait(|| it.server.psql("postgres", there) == "0");
    wait(|| it.server.psql("postgres", renaming) == "0");
    let databases = it.databases();
    assert!(it.is_old(&it.name) || it.is_new(&it.name), "{databases:?}");
    let ran = it.swap(&[]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    assert!(it.is_new(&it.name));
    assert_eq!(working(), None);
}

/// Guards against a leftover being taken for one that is somebody else's, and the other way round.
#[test]
fn only_our_own_leftovers_go() {
    let it = setting(15, 10);
    let stranger = format!("{}_pgark_new_20260102_030405", it.name);
    let unmarked = format!("{}_pgark_new_20260102_030406", it.name);
    for name in [&stranger, &unmarked] {
        it.server.createdb(name);
    }
    it.server.psql("postgres", &format!("COMMENT ON DATABASE {stranger} IS 'mine'"));
    let ran = it.swap(&[]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let databases = it.databases();
    assert!(databases.contains(&stranger) && !databases.contains(&unmarked), "{databases:?}");
}

#[test]
fn a_failure_at_the_end_leaves_the_old_one() {
    let it = setting(16, 100);
    let broken = broken_archive(&it, it.dir.path());
    let before = properties(it.server, &it.name);
    for options in [&["--swap", "--yes"][..], &["--create", "swap_never"][..]] {
        let mut command = it.server.pgark(PGARK);
        command.arg("restore").arg(&broken).args(["--to", &it.server.url(&it.name)]);
        let ran = run(command.args(options));
        assert_eq!(ran.code, Some(3), "{}", ran.stderr);
        assert!(ran.stderr.contains("CHECK") || ran.stderr.contains("never_i"), "{}", ran.stderr);
        assert!(ran.stderr.contains("dropped again"), "{}", ran.stderr);
        assert!(it.is_old(&it.name));
        assert_eq!(it.databases(), std::slice::from_ref(&it.name));
        assert_eq!(before, properties(it.server, &it.name));
    }
    let there = "SELECT count(*) FROM pg_database WHERE datname LIKE 'swap_never%'";
    assert_eq!(it.server.psql("postgres", there), "0");
}

/// An archive that verifies and cannot be restored: an index over a function that changed since.
fn broken_archive(it: &Setting, dir: &Path) -> PathBuf {
    let source = it.server.database("swap_broken");
    it.server.psql(
        &source,
        "CREATE FUNCTION f(i integer) RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT i';
         CREATE TABLE never (i integer);
         INSERT INTO never VALUES (1), (2);
         CREATE INDEX never_i ON never (f(i));
         CREATE OR REPLACE FUNCTION f(i integer) RETURNS integer LANGUAGE sql IMMUTABLE AS 'SELECT 1 / (i - 1)'",
    );
    let file = dir.join("broken.pgark");
    ok(it.server.pgark(PGARK).args(["create", &it.server.url(&source), "-o"]).arg(&file));
    file
}
