//! Rows into tables that somebody else works with. Guards against rows of two origins in one
//! table, and against a target that is filled by half.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::PGARK;
use crate::support::{Ran, Server, ok, run};

const TABLES: &str = "CREATE TABLE a (id integer PRIMARY KEY, v text);
    CREATE TABLE m (id integer); CREATE TABLE z (id integer PRIMARY KEY, b bytea);
    CREATE SEQUENCE s";

struct Setting {
    server: &'static Server,
    file: PathBuf,
    target: String,
    _dir: tempfile::TempDir,
}

fn setting(major: u32, more: &str) -> Setting {
    let server = Server::shared(major);
    let source = server.database("alone_source");
    server.psql(
        &source,
        &format!(
            "{TABLES}; INSERT INTO a SELECT i, md5(i::text) FROM generate_series(1, 1000) i;
             INSERT INTO m VALUES (1), (2); SELECT setval('s', 40);
             INSERT INTO z SELECT i, sha256(int4send(i)) || sha256(int4send(-i)) || '\\x00' FROM generate_series(1, 1000) i"
        ),
    );
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.pgark");
    ok(server.pgark(PGARK).args(["create", &server.url(&source), "-o"]).arg(&file));
    let target = server.database("alone");
    server.psql(&target, &format!("{TABLES}; {more}"));
    Setting { server, file, target, _dir: dir }
}

impl Setting {
    fn command(&self) -> Command {
        let mut command = self.server.pgark(PGARK);
        command.arg("restore").arg(&self.file).args(["--to", &self.server.url(&self.target)]);
        command.arg("--data-only");
        command
    }

    fn sql(&self, sql: &str) -> String {
        self.server.psql(&self.target, sql)
    }

    fn counts(&self) -> String {
        self.sql(
            "SELECT (SELECT count(*) FROM a), (SELECT count(*) FROM m), (SELECT count(*) FROM z), (SELECT last_value FROM s)",
        )
    }

    /// Waits until a session of ours waits for a lock.
    fn wait_for_waiting(&self) {
        let sql = "SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() \
                   AND wait_event_type = 'Lock' AND query LIKE 'LOCK TABLE%'";
        let end = Instant::now() + Duration::from_secs(60);
        while self.sql(sql) != "t" {
            assert!(Instant::now() < end, "nobody waits for a lock");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// Another session, in a transaction until it is ended.
struct Other(Child);

impl Other {
    fn new(it: &Setting, sql: &str) -> Self {
        let mut command = it.server.tool("psql");
        command.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", &it.target]);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        writeln!(child.stdin.as_mut().unwrap(), "BEGIN; {sql}; SELECT 'in it';").unwrap();
        let there = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle in transaction' AND query LIKE '%in it%' AND pid <> pg_backend_pid()";
        let end = Instant::now() + Duration::from_secs(60);
        while it.sql(there) != "1" {
            assert!(Instant::now() < end, "the other session does not come");
            std::thread::sleep(Duration::from_millis(10));
        }
        Self(child)
    }

    fn end(mut self, how: &str) {
        writeln!(self.0.stdin.as_mut().unwrap(), "{how};").unwrap();
        drop(self.0.stdin.take());
        assert!(self.0.wait().unwrap().success());
    }
}

fn ended(child: Child) -> Ran {
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ran { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

#[test]
fn somebody_else_was_quicker() {
    for major in [14, 18] {
        let it = setting(major, "");
        // Not to be seen yet, when the tables are looked at first.
        let other = Other::new(&it, "INSERT INTO z VALUES (-1, NULL)");
        let mut command = it.command();
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        it.wait_for_waiting();
        // Tables that are locked already take no rows; they can be read.
        let mut writing = it.server.tool("psql");
        writing.args(["-X", "-q", "-d", &it.target, "-c"]);
        let late = run(writing.arg("SET lock_timeout = 300; INSERT INTO a VALUES (-1, 'x')"));
        assert!(late.stderr.contains("lock timeout"), "{late:?}");
        assert_eq!(it.sql("SELECT count(*) FROM a"), "0");
        other.end("COMMIT");
        let ran = ended(child);
        assert_eq!(ran.code, Some(3), "{}{}", ran.stdout, ran.stderr);
        for word in ["table public.z has rows already", "as it was", "--create"] {
            assert!(ran.stderr.contains(word), "{word}: {}", ran.stderr);
        }
        assert!(!ran.stderr.contains("partly filled"), "{}", ran.stderr);
        assert_eq!(it.counts(), "0|0|1|1");
    }
}

#[test]
fn somebody_else_thought_better_of_it() {
    let it = setting(17, "");
    let other = Other::new(&it, "INSERT INTO z VALUES (-1, NULL)");
    let mut command = it.command();
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    it.wait_for_waiting();
    other.end("ROLLBACK");
    let ran = ended(child);
    assert_eq!(ran.code, Some(0), "{}{}", ran.stdout, ran.stderr);
    assert_eq!(it.counts(), "1000|2|1000|40");
}

#[test]
fn a_lock_that_is_not_given_is_named() {
    let it = setting(16, "");
    it.server.psql("postgres", &format!("ALTER DATABASE {} SET lock_timeout = '300ms'", it.target));
    let other = Other::new(&it, "INSERT INTO m VALUES (-1)");
    let ran = run(&mut it.command());
    assert_eq!(ran.code, Some(3), "{}{}", ran.stdout, ran.stderr);
    for word in ["locking table public.m", "lock timeout", "as it was", "hint: somebody holds"] {
        assert!(ran.stderr.contains(word), "{word}: {}", ran.stderr);
    }
    other.end("ROLLBACK");
    assert_eq!(it.counts(), "0|0|0|1");
}

/// What fails in the last table takes back the rows of all.
#[test]
fn all_or_nothing() {
    for (what, named) in [
        ("ALTER TABLE z ADD CONSTRAINT small CHECK (id < 1000)", "small"),
        (
            "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM 1 / (1000 - NEW.id); RETURN NEW; END';
             CREATE TRIGGER no BEFORE INSERT ON z FOR EACH ROW EXECUTE FUNCTION no(); ALTER TABLE z ENABLE ALWAYS TRIGGER no",
            "division by zero",
        ),
        (
            "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW; END';
             CREATE TRIGGER no BEFORE INSERT ON z FOR EACH ROW EXECUTE FUNCTION no(); ALTER TABLE z ENABLE ALWAYS TRIGGER no",
            "loading public.z",
        ),
    ] {
        let it = setting(15, what);
        let ran = run(&mut it.command());
        assert_eq!(ran.code, Some(3), "{}{}", ran.stdout, ran.stderr);
        for word in ["public.z", named, "the target is as it was"] {
            assert!(ran.stderr.contains(word), "{word}: {}", ran.stderr);
        }
        assert_eq!(it.counts(), "0|0|0|1");
    }
}

/// A CHECK that looks at a table whose rows come later is tried again, in the same transaction.
#[test]
fn checks_that_look_at_other_tables() {
    let it = setting(
        18,
        "CREATE FUNCTION known(i integer) RETURNS boolean LANGUAGE sql STABLE AS 'SELECT EXISTS (SELECT FROM public.z WHERE id = i)';
         ALTER TABLE a ADD CONSTRAINT known CHECK (known(id))",
    );
    ok(&mut it.command());
    assert_eq!(it.counts(), "1000|2|1000|40");
}

/// Interrupted while the tables are locked, or while somebody is waited for: all is as it was.
#[test]
fn interrupted() {
    let it = setting(17, "");
    let other = Other::new(&it, "INSERT INTO z VALUES (-1, NULL)");
    let mut command = it.command();
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    it.wait_for_waiting();
    ok(Command::new("kill").args(["-INT", &child.id().to_string()]));
    let ran = ended(child);
    assert_eq!(ran.code, Some(130), "{}{}", ran.stdout, ran.stderr);
    assert!(ran.stderr.contains("the target is as it was"), "{}", ran.stderr);
    assert!(!ran.stderr.contains("partly filled"), "{}", ran.stderr);
    other.end("ROLLBACK");
    assert_eq!(it.counts(), "0|0|0|1");
    ok(&mut it.command());
}
