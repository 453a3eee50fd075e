//! A restore and a swap that go wrong, at chosen moments and in every way that a server, a network
//! or a person has. Guards against the old data being lost, against something half done that looks
//! finished, and against an error that does not say what it is about.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::PGARK;
use crate::support::proxy::{Harm, Proxy};
use crate::support::{Ran, Server, dump, ok, run};

const POINTS: u64 = 10;

/// Something of many kinds, and little of each, so that every step of a restore has its share of
/// what is sent. A subscription is what a leftover cannot simply be dropped with.
const SOURCE: &str = "
    CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
    CREATE TABLE pictures (id integer PRIMARY KEY, b bytea);
    INSERT INTO pictures SELECT i, sha256(int4send(i)) || sha256(int4send(-i)) || '\\x00' FROM generate_series(1, 200) i;
    CREATE TABLE users (id serial PRIMARY KEY, name text UNIQUE, picture integer REFERENCES pictures);
    INSERT INTO users (name, picture) SELECT md5(i::text), i FROM generate_series(1, 200) i;
    CREATE INDEX users_picture ON users (picture);
    CREATE TABLE notes (id bigint PRIMARY KEY, author integer REFERENCES users, words text);
    INSERT INTO notes SELECT i, i, md5(i::text) FROM generate_series(1, 200) i;
    CREATE TRIGGER t BEFORE INSERT ON notes FOR EACH ROW EXECUTE FUNCTION f();
    CREATE VIEW v AS SELECT name, words FROM users JOIN notes ON author = users.id;
    CREATE MATERIALIZED VIEW m AS SELECT count(*) FROM v;
    SELECT lo_from_bytea(4711, convert_to(repeat('large', 2000), 'UTF8'));
    SET client_min_messages = error;
    CREATE SUBSCRIPTION s CONNECTION 'host=/nowhere' PUBLICATION p WITH (connect = false, slot_name = 'slot', enabled = false)";

/// An archive, and a database with other things in it.
struct Setting {
    server: &'static Server,
    source: String,
    /// The database that is there already.
    name: String,
    before: String,
    file: PathBuf,
    _dir: tempfile::TempDir,
}

fn setting(major: u32) -> Setting {
    setting_with(major, "")
}

fn setting_with(major: u32, more: &str) -> Setting {
    let server = Server::shared(major);
    let source = server.database("fault_source");
    server.psql(&source, SOURCE);
    server.psql(&source, more);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.pgark");
    ok(server.pgark(PGARK).args(["create", &server.url(&source), "-o"]).arg(&file));
    let name = server.database("fault");
    server.psql(&name, "CREATE TABLE old (x integer PRIMARY KEY); INSERT INTO old VALUES (1), (2)");
    let before = server.pg_dump(&name, &[]);
    Setting { server, source, name, before, file, _dir: dir }
}

impl Setting {
    fn restore(&self, url: &str, more: &[&str]) -> Command {
        let mut command = self.server.pgark(PGARK);
        command.arg("restore").arg(&self.file).args(["--to", url, "--jobs", "2"]).args(more);
        command
    }

    fn swap(&self, more: &[&str]) -> Ran {
        let mut command = self.restore(&self.server.url(&self.name), &["--swap", "--yes"]);
        run(command.args(more))
    }

    fn assert_old(&self, title: &str) {
        dump::assert_same(&self.before, &self.server.pg_dump(&self.name, &[]), title);
    }

    fn assert_new(&self, database: &str, title: &str) {
        let source = self.server.pg_dump(&self.source, &[]);
        dump::assert_same(&source, &self.server.pg_dump(database, &[]), title);
    }

    fn is_old(&self) -> bool {
        self.server.psql(&self.name, "SELECT to_regclass('old') IS NOT NULL") == "t"
    }

    /// Either the old or the new one, and that wholly.
    fn assert_one_of_both(&self, title: &str) {
        if self.is_old() { self.assert_old(title) } else { self.assert_new(&self.name, title) }
    }

    fn working(&self) -> String {
        let sql = format!(
            "SELECT coalesce(string_agg(datname, ','), '') FROM pg_database WHERE datname LIKE '{}\\_pgark\\_new\\_%'",
            self.name
        );
        self.server.psql("postgres", &sql)
    }

    /// What the plan of a swap sends to the server, in bytes.
    fn planned(&self) -> u64 {
        let proxy = Proxy::new(self.server, Harm::None, 0);
        ok(&mut self.restore(&proxy.url(&self.name), &["--swap", "--dry-run"]));
        proxy.sent()
    }

    /// What a whole restore sends to the server, in bytes.
    fn whole(&self, swap: bool) -> u64 {
        let proxy = Proxy::new(self.server, Harm::None, 0);
        if swap {
            // A database to be: made, and dropped with the server.
            let name = self.server.database("whole");
            let name = format!("{name}_new");
            ok(&mut self.restore(&proxy.url("postgres"), &["--create", &name]));
        } else {
            ok(&mut self.restore(&proxy.url(&self.server.database("whole")), &[]));
        }
        proxy.sent()
    }
}

fn wait(what: &str, mut until: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !until() {
        assert!(Instant::now() < end, "it does not come about: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn spawn(command: &mut Command) -> Child {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

fn signal(child: &Child, name: &str) {
    let pid = child.id().to_string();
    assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
}

/// Starts it, waits for the moment, sends a signal and waits for the end. Whoever is to end in an
/// orderly way gets through to the server again after a while.
fn signalled(command: &mut Command, proxy: &Proxy, name: &str) -> (Option<i32>, String) {
    let mut child = spawn(command);
    wait("the moment", || proxy.reached() || child.try_wait().unwrap().is_some());
    if child.try_wait().unwrap().is_none() {
        signal(&child, name);
        if name == "-INT" {
            // Longer than an interrupted restore goes on.
            std::thread::sleep(Duration::from_millis(2500));
        }
    }
    proxy.release();
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn restore_at_ten_points(major: u32, name: &str, code: Option<i32>) {
    let it = setting(major);
    let whole = it.whole(false);
    let mut ended = 0;
    for point in 1..=POINTS {
        let title = format!("{name} at {point}/{POINTS}");
        let target = it.server.database("victim");
        let proxy = Proxy::new(it.server, Harm::Wait, whole * point / (POINTS + 1));
        let (found, said) = signalled(&mut it.restore(&proxy.url(&target), &[]), &proxy, name);
        drop(proxy);
        assert_eq!(found, code, "{title}: {said}");
        ended += 1;
        if name == "-INT" {
            assert!(said.contains("interrupted"), "{title}: {said}");
        }
        // What is there is told, and nobody takes it for empty; what is empty can be used.
        let filled = "SELECT EXISTS (SELECT FROM pg_class WHERE relname IN ('pictures', 'pictures_id_seq')) \
                      OR EXISTS (SELECT FROM pg_proc WHERE proname = 'f')";
        let again = run(&mut it.restore(&it.server.url(&target), &[]));
        if it.server.psql(&target, filled) == "t" && again.code != Some(0) {
            assert_eq!(again.code, Some(3), "{title}: {}", again.stderr);
            assert!(again.stderr.contains("is not empty"), "{title}: {}", again.stderr);
            if name == "-INT" {
                assert!(said.contains("left partly filled"), "{title}: {said}");
            }
        } else {
            assert_eq!(again.code, Some(0), "{title}: {}", again.stderr);
            it.assert_new(&target, &title);
        }
    }
    assert_eq!(ended, POINTS);
    // Nothing of it has touched anything else.
    it.assert_old(name);
    let fresh = it.server.database("fresh");
    ok(&mut it.restore(&it.server.url(&fresh), &[]));
    it.assert_new(&fresh, name);
}

#[test]
fn a_restore_killed_at_ten_points() {
    restore_at_ten_points(15, "-KILL", None);
}

#[test]
fn a_restore_interrupted_at_ten_points() {
    restore_at_ten_points(17, "-INT", Some(130));
}

#[test]
fn a_swap_killed_at_ten_points() {
    let it = setting(18);
    let whole = it.whole(true);
    let mut left = 0;
    for point in 1..=POINTS {
        let title = format!("killed at {point}/{POINTS}");
        let proxy = Proxy::new(it.server, Harm::Wait, whole * point / (POINTS + 1));
        let mut command = it.restore(&proxy.url(&it.name), &["--swap", "--yes", "--disconnect"]);
        let (code, said) = signalled(&mut command, &proxy, "-KILL");
        drop(proxy);
        assert_eq!(code, None, "{title}: {said}");
        it.assert_one_of_both(&title);
        assert!(it.is_old(), "{title}");
        left += usize::from(!it.working().is_empty());
    }
    assert!(left >= 5, "only {left} left anything behind");
    // The last one left something, subscription and all; the next run says so and drops it.
    let leftover = it.working();
    assert!(!leftover.is_empty());
    let mut said = String::new();
    wait("the next run", || {
        let ran = it.swap(&["--disconnect"]);
        said = ran.stderr;
        ran.code == Some(0)
    });
    assert!(said.contains(&format!("dropped {leftover}")), "{said}");
    assert_eq!(it.working(), "");
    it.assert_new(&it.name, "after all");
}

#[test]
fn a_swap_interrupted_at_ten_points() {
    let it = setting(14);
    let whole = it.whole(true);
    for point in 1..=POINTS {
        let title = format!("interrupted at {point}/{POINTS}");
        let proxy = Proxy::new(it.server, Harm::Wait, whole * point / (POINTS + 1));
        let mut command = it.restore(&proxy.url(&it.name), &["--swap", "--yes"]);
        let (code, said) = signalled(&mut command, &proxy, "-INT");
        drop(proxy);
        assert_eq!(code, Some(130), "{title}: {said}");
        assert!(said.contains("interrupted"), "{title}: {said}");
        it.assert_old(&title);
        assert_eq!(it.working(), "", "{title}: {said}");
    }
}

/// A connection that is cut: by a proxy, a firewall, a failover.
#[test]
fn a_connection_cut_at_ten_points() {
    let it = setting(16);
    // What the plan asks comes first, over a connection of its own that is over then.
    let (planned, whole) = (it.planned(), it.whole(true));
    let mut told = 0;
    for point in 1..=POINTS {
        let title = format!("cut at {point}/{POINTS}");
        let after = planned + whole * point / (POINTS + 1);
        // For a moment: what was begun is undone over a new connection.
        let proxy = Proxy::new(it.server, Harm::Cut, after);
        let ran = run(&mut it.restore(&proxy.url(&it.name), &["--swap", "--yes"]));
        assert_eq!(ran.code, Some(3), "{title}: {}", ran.stderr);
        it.assert_old(&title);
        assert_eq!(it.working(), "", "{title}: {}", ran.stderr);
        // For good: what is left is named, and goes next time.
        let proxy = Proxy::new(it.server, Harm::CutForGood, after);
        let ran = run(&mut it.restore(&proxy.url(&it.name), &["--swap", "--yes"]));
        drop(proxy);
        assert_eq!(ran.code, Some(3), "{title}: {}", ran.stderr);
        it.assert_old(&title);
        let left = it.working();
        if !left.is_empty() {
            told += 1;
            for name in left.split(',') {
                assert!(ran.stderr.contains(name), "{title}: {left}: {}", ran.stderr);
            }
            assert!(ran.stderr.contains("the next restore"), "{title}: {}", ran.stderr);
        }
    }
    assert!(told > 5, "{told}");
    wait("the next run", || it.swap(&["--disconnect"]).code == Some(0));
    assert_eq!(it.working(), "");
    it.assert_new(&it.name, "after all");
}

/// One session is ended, or what it does is cancelled, while a table is being loaded.
#[test]
fn a_session_ended_or_cancelled() {
    let it = setting(17);
    for (function, code) in [("pg_terminate_backend", "57P01"), ("pg_cancel_backend", "57014")] {
        for swap in [false, true] {
            let title = format!("{function}, swap {swap}");
            let target = if swap { it.name.clone() } else { it.server.database("victim") };
            let more: &[&str] = if swap { &["--swap", "--yes", "--disconnect"] } else { &[] };
            let proxy = Proxy::new(it.server, Harm::Wait, it.whole(swap) / 2);
            let child = spawn(&mut it.restore(&proxy.url(&target), more));
            wait("the moment", || proxy.reached());
            // The one that is in the middle of something.
            let sql = format!(
                "SELECT count({function}(pid)) FROM (SELECT pid FROM pg_stat_activity \
                 WHERE datname LIKE '{target}%' AND query LIKE 'COPY%' AND state = 'active' LIMIT 1) one"
            );
            let mut ended = String::new();
            wait("a session that loads", || {
                ended = it.server.psql("postgres", &sql);
                ended == "1"
            });
            proxy.release();
            let output = child.wait_with_output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(3), "{title}: {said}");
            assert!(said.contains("loading public."), "{title}: {said}");
            assert!(said.contains(code) || said.contains("connection"), "{title}: {said}");
            it.assert_old(&title);
            assert_eq!(it.working(), "", "{title}: {said}");
        }
    }
}

/// Limits that somebody has set for the role or the database, for the work of a web service.
#[test]
fn timeouts_of_role_and_database_are_not_ours() {
    // Longer than any of the limits, while the other sessions are idle.
    let slow = "CREATE MATERIALIZED VIEW slow AS SELECT 1 AS one, pg_sleep(0.7)::text AS nothing";
    let it = setting_with(18, slow);
    let role = format!("hasty_{}", it.name);
    let target = it.server.database("victim");
    it.server.psql("postgres", &format!("CREATE ROLE {role} SUPERUSER LOGIN"));
    for setting in [
        "statement_timeout = '400ms'",
        "idle_in_transaction_session_timeout = '400ms'",
        "idle_session_timeout = '400ms'",
        "transaction_timeout = '400ms'",
        "default_transaction_read_only = on",
        "default_transaction_isolation = 'serializable'",
        "search_path = 'nowhere'",
        "row_security = off",
        "session_replication_role = replica",
    ] {
        for whose in [format!("ROLE {role}"), format!("DATABASE {target}")] {
            it.server.psql("postgres", &format!("ALTER {whose} SET {setting}"));
        }
    }
    let url = it.server.url(&target).replace("postgres@", &format!("{role}@"));
    let ran = run(&mut it.restore(&url, &[]));
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    it.assert_new(&target, "hasty");
}

/// A session that holds something until it is dropped.
struct Holder(Child);

impl Holder {
    fn new(server: &Server, database: &str, sql: &str) -> Self {
        use std::io::Write;
        let mut command = server.tool("psql");
        command.env("PGAPPNAME", "the holder").args([
            "-X",
            "-q",
            "-v",
            "ON_ERROR_STOP=1",
            "-d",
            database,
        ]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        writeln!(child.stdin.as_mut().unwrap(), "BEGIN; {sql};").unwrap();
        let sql = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'the holder' \
             AND state = 'idle in transaction' AND datname = '{database}'"
        );
        wait("the holder", || server.psql("postgres", &sql) == "1");
        Self(child)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

/// Somebody looks into the new database and locks what is in it; the role's limit is short.
#[test]
fn a_lock_in_the_target() {
    let it = setting(16);
    let role = format!("waits_{}", it.name);
    it.server.psql(
        "postgres",
        &format!(
            "CREATE ROLE {role} SUPERUSER LOGIN; ALTER ROLE {role} SET lock_timeout = '300ms'"
        ),
    );
    let target = it.server.database("victim");
    let proxy = Proxy::new(it.server, Harm::Wait, it.whole(false) * 4 / (POINTS + 1));
    let url = proxy.url(&target).replace("postgres@", &format!("{role}@"));
    let child = spawn(&mut it.restore(&url, &[]));
    wait("the moment", || proxy.reached());
    let table = "SELECT to_regclass('notes') IS NOT NULL";
    wait("a table", || it.server.psql(&target, table) == "t");
    // Loading is not hindered by it, the foreign key is.
    let holder = Holder::new(it.server, &target, "LOCK TABLE pictures IN ROW EXCLUSIVE MODE");
    proxy.release();
    let begun = Instant::now();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(3), "{said}");
    assert!(said.contains("55P03") && said.contains("pictures"), "{said}");
    assert!(said.contains("left partly filled"), "{said}");
    assert!(begun.elapsed() < Duration::from_secs(30));
    drop(holder);
    it.assert_old("locked");
}

/// Somebody holds a lock on the database that is to be replaced, from another one: nobody is
/// connected to it, and still it cannot be renamed.
#[test]
fn a_lock_on_the_database() {
    let it = setting(16);
    let holder = Holder::new(
        it.server,
        "postgres",
        &format!("ALTER DATABASE {} CONNECTION LIMIT 5", it.name),
    );
    let begun = Instant::now();
    let ran = it.swap(&[]);
    assert!(begun.elapsed() < Duration::from_secs(60));
    assert_eq!(ran.code, Some(3), "{}", ran.stderr);
    for word in ["the holder", it.name.as_str()] {
        assert!(ran.stderr.contains(word), "{word}: {}", ran.stderr);
    }
    it.assert_old("locked");
    assert_eq!(it.working(), "", "{}", ran.stderr);
    drop(holder);
    assert_eq!(it.swap(&[]).code, Some(0));
    it.assert_new(&it.name, "free again");
}

/// Known before anything is done where that is possible, and named in any case.
#[test]
fn a_role_without_privileges() {
    let it = setting(15);
    let role = format!("small_{}", it.name);
    it.server.psql("postgres", &format!("CREATE ROLE {role} LOGIN"));
    let target = it.server.database("victim");
    let url = it.server.url(&target).replace("postgres@", &format!("{role}@"));
    let ran = run(&mut it.restore(&url, &["--no-owner", "--no-privileges"]));
    assert_eq!(ran.code, Some(3), "{}", ran.stderr);
    for word in [role.as_str(), "schema public", "nothing was done"] {
        assert!(ran.stderr.contains(word), "{word}: {}", ran.stderr);
    }
    // With that it may begin; a subscription is more than it may make.
    it.server.psql(&target, &format!("GRANT CREATE ON SCHEMA public TO {role}"));
    let ran = run(&mut it.restore(&url, &["--no-owner", "--no-privileges"]));
    assert_eq!(ran.code, Some(3), "{}", ran.stderr);
    for word in ["SUBSCRIPTION s", "42501", "left partly filled"] {
        assert!(ran.stderr.contains(word), "{word}: {}", ran.stderr);
    }
    // Into the place of a database that is somebody else's: not at all.
    it.server.psql("postgres", &format!("ALTER ROLE {role} CREATEDB"));
    let url = it.server.url(&it.name).replace("postgres@", &format!("{role}@"));
    let more = ["--swap", "--yes", "--no-owner", "--no-privileges"];
    let ran = run(&mut it.restore(&url, &more));
    assert_eq!(ran.code, Some(3), "{}", ran.stderr);
    assert!(
        ran.stderr.contains(&it.name) && ran.stderr.contains("member of postgres"),
        "{}",
        ran.stderr
    );
    it.assert_old("no privileges");
    assert_eq!(it.working(), "");
}

/// A file system of its own, so small that it is soon full.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn new(megabytes: u32) -> Result<Self, String> {
        let dir = tempfile::Builder::new().prefix("pgark-disk").tempdir().unwrap();
        let options = format!("size={megabytes}m,mode=0777");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(dir.path());
        let ran = run(&mut mount);
        if ran.code != Some(0) {
            return Err(ran.stderr.trim().to_owned());
        }
        Ok(Self(dir))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

/// The disk of the target is full in the middle of it. Needs root, for a file system of its own.
#[test]
fn the_disk_is_full() {
    let disk = match SmallDisk::new(40) {
        Ok(disk) => disk,
        Err(why) => {
            eprintln!(
                "skipped: a full disk needs a small file system, and root to mount it: {why}"
            );
            return;
        }
    };
    let server = Server::start(16);
    let source = server.database("source");
    server.psql(
        &source,
        "CREATE TABLE small (id integer PRIMARY KEY); INSERT INTO small VALUES (1);
         CREATE TABLE large_one (id integer, b bytea); ALTER TABLE large_one ALTER COLUMN b SET STORAGE EXTERNAL;
         INSERT INTO large_one SELECT i, (SELECT string_agg(sha256(int4send(i * 5000 + n)), '') FROM generate_series(1, 1000) n) FROM generate_series(1, 1500) i",
    );
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.pgark");
    ok(server.pgark(PGARK).args(["create", &server.url(&source), "-o"]).arg(&file));
    let place = disk.0.path().join("ts");
    std::fs::create_dir(&place).unwrap();
    // The server runs as somebody else, who has to own it.
    ok(Command::new("chown")
        .arg(format!("--reference={}", server.socket_dir().join("data").display()))
        .arg(&place));
    server
        .psql("postgres", &format!("CREATE TABLESPACE small_disk LOCATION '{}'", place.display()));
    for name in ["victim", "old"] {
        server.psql(
            "postgres",
            &format!("CREATE DATABASE {name} TEMPLATE template0 TABLESPACE small_disk"),
        );
    }
    server.psql("old", "CREATE TABLE old AS SELECT 1 AS x");
    let before = server.pg_dump("old", &[]);
    // What is there already has its place on the disk.
    server.psql("postgres", "CHECKPOINT");
    let mut command = server.pgark(PGARK);
    let ran = run(command.arg("restore").arg(&file).args(["--to", &server.url("victim")]));
    assert_eq!(ran.code, Some(3), "{}", ran.stderr);
    for word in ["public.large_one", "53100", "full", "left partly filled"] {
        assert!(ran.stderr.contains(word), "{word}: {}", ran.stderr);
    }
    server.psql("postgres", "DROP DATABASE victim");
    let mut command = server.pgark(PGARK);
    let ran = run(command.arg("restore").arg(&file).args([
        "--to",
        &server.url("old"),
        "--swap",
        "--yes",
    ]));
    assert_eq!(ran.code, Some(3), "{}", ran.stderr);
    for word in ["public.large_one", "53100", "full", "dropped again"] {
        assert!(ran.stderr.contains(word), "{word}: {}", ran.stderr);
    }
    dump::assert_same(&before, &server.pg_dump("old", &[]), "old");
    let there = "SELECT string_agg(datname, ',' ORDER BY datname) FROM pg_database WHERE datname LIKE 'old%'";
    assert_eq!(server.psql("postgres", there), "old");
}
