//! Data directories that nobody serves any more. Guards against rows that are only in the WAL being
//! lost, against damage that is passed over in silence, against an original that is written to, and
//! against a server or a copy that stays behind.

use std::collections::BTreeMap;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use pgark::format::digest::Digest;
use serde_json::Value;

use crate::PGARK;
use crate::roundtrip::load_sample;
use crate::support::{Options, Ran, Server, bin_dir, ok, root, run};

/// Folders of one test: the original and the archives, and that of the throwaway servers, where
/// nothing may be left.
struct Place {
    work: tempfile::TempDir,
    here: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let work = tempfile::tempdir().unwrap();
        // As /tmp is: the server runs as another user where the tests run as root.
        std::fs::set_permissions(work.path(), std::fs::Permissions::from_mode(0o1777)).unwrap();
        Self { work, here: tempfile::tempdir().unwrap() }
    }

    /// With a stopped cluster of the sample in `old`.
    fn stopped(major: u32) -> Self {
        let place = Self::new();
        copy(stopped(major), &place.old());
        place
    }

    fn old(&self) -> PathBuf {
        self.here.path().join("old")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.here.path().join(name)
    }

    fn command(&self, input: &Path, args: &[&str]) -> Command {
        let mut command = Command::new(PGARK);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("PG") {
                command.env_remove(name);
            }
        }
        command.env("TMPDIR", self.work.path()).current_dir(self.here.path());
        command.arg("rescue").arg(input).args(args);
        if !args.contains(&"--bin") {
            command.arg("--bin").arg(servers());
        }
        command.stdin(Stdio::null());
        command
    }

    fn rescue(&self, input: &Path, args: &[&str]) -> Ran {
        let ran = run(&mut self.command(input, args));
        self.assert_clean();
        ran
    }

    fn json(&self, input: &Path, code: i32, args: &[&str]) -> Value {
        let ran = self.rescue(input, &[args, &["--json"]].concat());
        assert_eq!(ran.code, Some(code), "{}\n{}", ran.stdout, ran.stderr);
        serde_json::from_str(&ran.stdout).unwrap()
    }

    fn left(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.work.path()).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    fn processes(&self) -> Vec<String> {
        let ps = Command::new("ps").args(["-eo", "pid,args"]).output().unwrap();
        let text = String::from_utf8_lossy(&ps.stdout).into_owned();
        let ours = format!("{}/pgark-throwaway.", self.work.path().display());
        text.lines().filter(|line| line.contains(&ours)).map(str::to_owned).collect()
    }

    fn assert_clean(&self) {
        assert_eq!(self.left(), Vec::<PathBuf>::new());
        assert_eq!(self.processes(), Vec::<String>::new());
    }

    fn assert_clean_soon(&self, when: &str) {
        let end = Instant::now() + Duration::from_secs(30);
        while !(self.left().is_empty() && self.processes().is_empty()) {
            let (left, processes) = (self.left(), self.processes());
            assert!(Instant::now() < end, "{when}: {left:?} {processes:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn cat(&self, archive: &str, table: &str) -> String {
        ok(Command::new(PGARK).args(["cat"]).arg(self.path(archive)).arg(table)).stdout
    }

    fn assert_equal(&self, archive: &str, other: &str) {
        let mut compare = Command::new(PGARK);
        compare.arg("compare").arg(self.path(archive)).arg("--with").arg(self.path(other));
        ok(&mut compare);
    }
}

fn servers() -> PathBuf {
    bin_dir(17).parent().unwrap().parent().unwrap().to_owned()
}

fn copy(from: &Path, to: &Path) {
    ok(Command::new("cp").arg("-a").arg(from).arg(to));
}

fn tar(place: &Place, name: &str, args: &[&str]) -> PathBuf {
    let path = place.path(name);
    ok(Command::new("tar").arg("-C").arg(place.here.path()).arg("-cf").arg(&path).args(args));
    path
}

/// A server that loses nothing it has promised.
fn durable(major: u32) -> Server {
    let settings = [("synchronous_commit", "on"), ("full_page_writes", "on")];
    let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    Server::start_with(major, &Options { settings, ..Options::default() })
}

fn stop(server: &Server) {
    let data = server.socket_dir().join("data");
    let pid = std::fs::read_to_string(data.join("postmaster.pid")).unwrap();
    ok(Command::new("kill").args(["-INT", pid.lines().next().unwrap()]));
    let end = Instant::now() + Duration::from_secs(60);
    while data.join("postmaster.pid").exists() {
        assert!(Instant::now() < end, "it does not stop");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The numbers of the processes that work in a folder.
fn working_in(folder: &Path) -> Vec<String> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let there = |entry: &std::fs::DirEntry| {
        std::fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd == folder)
    };
    let ours = processes.filter(there);
    ours.map(|entry| entry.file_name().into_string().unwrap()).collect()
}

/// Kills all processes of a server: those that are not its first go on for a while else.
fn kill(server: &Server) {
    let data = server.socket_dir().join("data");
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        let all = working_in(&data);
        if all.is_empty() {
            return;
        }
        assert!(Instant::now() < end, "{all:?}");
        run(Command::new("kill").arg("-KILL").args(all));
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A data directory of a stopped server with the sample in `shop`, made once for each version.
fn stopped(major: u32) -> &'static Path {
    static MADE: [OnceLock<tempfile::TempDir>; 3] = [const { OnceLock::new() }; 3];
    let place = [14, 17, 18].iter().position(|known| *known == major).unwrap();
    let dir = MADE[place].get_or_init(|| {
        let server = durable(major);
        server.createdb("shop");
        load_sample(&server, "shop");
        stop(&server);
        let dir = tempfile::tempdir().unwrap();
        copy(&server.socket_dir().join("data"), &dir.path().join("data"));
        dir
    });
    // Leaked with the process, as statics are: a name for each process is enough.
    Box::leak(dir.path().join("data").into_boxed_path())
}

/// Every name in a folder with what can be seen of it without leaving a trace.
fn traces(folder: &Path) -> BTreeMap<PathBuf, String> {
    let mut all = BTreeMap::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let meta = path.symlink_metadata().unwrap();
            let mut told = format!(
                "{:o} {}:{} {} {}.{} {}.{}",
                meta.mode(),
                meta.uid(),
                meta.gid(),
                meta.len(),
                meta.mtime(),
                meta.mtime_nsec(),
                meta.ctime(),
                meta.ctime_nsec(),
            );
            if meta.is_dir() {
                open.push(path.clone());
            } else if meta.is_file() {
                told += &Digest::of(&std::fs::read(&path).unwrap()).to_string();
            }
            all.insert(path, told);
        }
    }
    all
}

/// What was committed is there, also what is only in the WAL, from a folder and from tars.
#[test]
fn killed_in_the_middle_of_writing() {
    for major in [14, 17, 18] {
        let place = Place::new();
        let server = durable(major);
        server.createdb("shop");
        load_sample(&server, "shop");
        server.psql("shop", "CREATE TABLE told (i integer PRIMARY KEY, b bytea); CHECKPOINT");
        let mut writer = server.tool("psql");
        writer.args(["-Xqat", "-d", "shop", "-c"]);
        writer.arg(
            "DO $$ BEGIN FOR i IN 1..100000 LOOP
                INSERT INTO told VALUES (i, (SELECT string_agg(sha256(int4send(n)), '')
                    FROM generate_series(i, i + 20) n));
                COMMIT; RAISE NOTICE '%', i;
             END LOOP; END $$",
        );
        let mut writer = writer.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let output = writer.stderr.take().unwrap();
        let reader = std::thread::spawn(move || std::io::read_to_string(output).unwrap());
        std::thread::sleep(Duration::from_millis(400));
        kill(&server);
        writer.wait().unwrap();
        let said = reader.join().unwrap();
        let last = said.lines().filter_map(|line| line.strip_prefix("NOTICE:  ")).next_back();
        let promised: usize = last.expect("it wrote").trim().parse().unwrap();
        copy(&server.socket_dir().join("data"), &place.old());
        let before = traces(&place.old());

        let json = place.json(&place.old(), 0, &["-o", "a.pgark"]);
        assert_eq!(json["ok"], true, "{json}");
        assert_eq!((&json["state"], &json["replayed"]), (&"in production".into(), &true.into()));
        let last = json["last_transaction"].as_str().expect("the time of a commit");
        assert!(last.starts_with("20") && last.ends_with("UTC"), "{last}");
        let rows = place.cat("a.pgark", "told").lines().count();
        assert!(rows == promised || rows == promised + 1, "{rows} of {promised} rows");
        assert_eq!(place.cat("a.pgark", "image").lines().count(), 123);
        assert_eq!(traces(&place.old()), before, "the original was touched");

        // As `docker run ... tar czf - /var/lib/postgresql/data` names them.
        std::fs::create_dir_all(place.path("var/lib/postgresql")).unwrap();
        std::fs::rename(place.old(), place.path("var/lib/postgresql/data")).unwrap();
        for (name, args) in [
            ("v.tar.gz", ["-z", "var"]),
            ("v.tar.zst", ["--zstd", "var"]),
            ("v.tar", ["--", "var"]),
        ] {
            let tar = tar(&place, name, &args);
            let archive = format!("{name}.pgark");
            // It cannot be told whether the server still ran then.
            let json = place.json(&tar, 1, &["-o", &archive]);
            assert_eq!(json["doubts"][0]["kind"], "made-while-running", "{json}");
            assert_eq!(json["doubts"].as_array().unwrap().len(), 1);
            assert_eq!(json["within"], "var/lib/postgresql/data");
            place.assert_equal("a.pgark", &archive);
        }
    }
}

#[test]
fn stopped_in_an_orderly_way() {
    for major in [14, 17, 18] {
        let place = Place::stopped(major);
        let before = traces(&place.old());
        // Nobody may write to it.
        ok(Command::new("chmod").args(["-R", "a-w"]).arg(place.old()));
        let words = place.rescue(&place.old(), &["-o", "a.pgark"]);
        assert_eq!(words.code, Some(0), "{}\n{}", words.stdout, words.stderr);
        for told in [
            "RESCUED. All that was committed",
            "the server had been stopped in an orderly way",
            "7 tables, 1,088 rows, 123 blobs",
            "empty, left out",
            "the original was only read",
        ] {
            assert!(words.stdout.contains(told), "{told}: {}", words.stdout);
        }
        assert!(words.stdout.lines().count() < 15, "{}", words.stdout);
        ok(Command::new("chmod").args(["-R", "u+w"]).arg(place.old()));
        let after = traces(&place.old());
        assert_eq!(before.len(), after.len());
        let tar = tar(&place, "v.tar.gz", &["-z", "old"]);
        let rules = root().join("fixtures/sample/pgark.toml");
        let rules = rules.to_str().unwrap();
        let json = place.json(&tar, 0, &["-o", "b.pgark", "--rules", rules, "--comment", "found"]);
        assert_eq!(json["databases"].as_array().unwrap().len(), 2);
        assert_eq!(json["databases"][1]["archive"]["rows"], 1088);
        place.assert_equal("a.pgark", "b.pgark");
        // On standard input.
        let mut command = place.command(Path::new("-"), &["-o", "c.pgark"]);
        command.stdin(std::fs::File::open(&tar).unwrap());
        let ran = command.output().unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        place.assert_clean();
        place.assert_equal("a.pgark", "c.pgark");
    }
}

/// Where PG 18's image keeps it; and a folder with two.
#[test]
fn where_it_is() {
    let place = Place::new();
    std::fs::create_dir_all(place.path("volume/18")).unwrap();
    copy(stopped(18), &place.path("volume/18/docker"));
    let json = place.json(&place.path("volume"), 0, &["-o", "a.pgark"]);
    assert_eq!(json["within"], "18/docker");
    copy(stopped(17), &place.path("volume/data"));
    for input in [place.path("volume"), tar(&place, "v.tar", &["volume"])] {
        let both = place.rescue(&input, &[]);
        assert_eq!(both.code, Some(2), "{}", both.stderr);
        for told in ["18/docker (PostgreSQL 18)", "data (PostgreSQL 17)", "--within"] {
            assert!(both.stderr.contains(told), "{told}: {}", both.stderr);
        }
    }
    let json = place.json(&place.path("volume"), 0, &["--within", "./data/", "-o", "b.pgark"]);
    assert!(json["server"]["version"].as_str().unwrap().starts_with("17."));
    let none = place.rescue(&place.path("volume"), &["--within", "x", "-o", "c.pgark"]);
    assert!(none.stderr.contains("x in it is no data directory"), "{}", none.stderr);
    let part = place.rescue(&place.path("volume/data/base"), &[]);
    assert_eq!(part.code, Some(3));
    assert!(part.stderr.contains("it is a part of one"), "{}", part.stderr);
    std::fs::remove_file(place.path("volume/data/global/pg_control")).unwrap();
    let lame = place.rescue(&place.path("volume/data"), &[]);
    assert!(lame.stderr.contains("global/pg_control is missing"), "{}", lame.stderr);
}

#[test]
fn a_server_that_runs_is_left_alone() {
    let place = Place::new();
    let server = durable(17);
    let data = server.socket_dir().join("data");
    let ran = place.rescue(&data, &["-o", "a.pgark"]);
    assert_eq!(ran.code, Some(3));
    assert!(ran.stderr.contains("a server runs on it (process "), "{}", ran.stderr);
    assert!(ran.stderr.contains("pgark create"), "{}", ran.stderr);
    // Through another path, as a container has it.
    std::os::unix::fs::symlink(&data, place.path("link")).unwrap();
    assert_eq!(place.rescue(&place.path("link"), &["-o", "a.pgark"]).code, Some(3));
    assert_eq!(server.psql("postgres", "SELECT 1"), "1");
    assert!(!place.path("a.pgark").exists());
}

/// A server that cannot be seen, of another machine say, changes files: those that are still to be
/// copied, and those that have been.
#[test]
fn what_changes_while_it_is_copied_is_refused() {
    for late in [false, true] {
        let place = Place::stopped(17);
        let path = place.old().join("base/1/1259");
        let over = std::sync::atomic::AtomicBool::new(false);
        let is_over = || over.load(std::sync::atomic::Ordering::Relaxed);
        let far = || {
            // WAL is copied after it.
            place.left().first().is_some_and(|copy| {
                std::fs::read_dir(copy.join("data/pg_wal")).is_ok_and(|names| names.count() > 2)
            })
        };
        let ran = std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut byte = [0];
                let file = std::fs::File::options().read(true).write(true).open(&path).unwrap();
                file.read_exact_at(&mut byte, 0).unwrap();
                while late && !far() && !is_over() {
                    std::thread::sleep(Duration::from_micros(200));
                }
                while !is_over() {
                    file.write_all_at(&byte, 0).unwrap();
                    std::thread::sleep(Duration::from_millis(3));
                }
            });
            let ran = place.rescue(&place.old(), &["-o", "a.pgark"]);
            over.store(true, std::sync::atomic::Ordering::Relaxed);
            ran
        });
        assert_eq!(ran.code, Some(3));
        assert!(ran.stderr.contains("changed while it was copied"), "{}", ran.stderr);
        assert!(ran.stderr.contains("base/1/1259"), "{}", ran.stderr);
        assert!(!place.path("a.pgark").exists());
    }
}

#[test]
fn only_the_own_version_will_do() {
    let place = Place::stopped(17);
    let bin = bin_dir(18);
    let ran = place.rescue(&place.old(), &["--bin", bin.to_str().unwrap()]);
    assert_eq!(ran.code, Some(3));
    for told in [
        "no PostgreSQL server of version 17 was found",
        "there is 18.",
        "postgresql-17",
        "postgres:17",
    ] {
        assert!(ran.stderr.contains(told), "{told}: {}", ran.stderr);
    }
    std::fs::write(place.old().join("PG_VERSION"), "9.6\n").unwrap();
    let ran = place.rescue(&place.old(), &[]);
    assert!(ran.stderr.contains("of PostgreSQL 9.6"), "{}", ran.stderr);
}

/// Docker's `POSTGRES_USER`: there is no role `postgres`. And settings that no other machine can have.
#[test]
fn another_superuser_and_strange_settings() {
    for major in [14, 18] {
        let place = Place::new();
        let server = durable(major);
        server.createdb("shop");
        let marker = place.path("ran");
        server.psql(
            "shop",
            &format!(
                "CREATE TABLE t AS SELECT generate_series(1, 7) AS i;
                 CREATE ROLE helper SUPERUSER LOGIN; CREATE ROLE app;
                 ALTER DATABASE shop SET session_preload_libraries = 'nowhere';
                 ALTER SYSTEM SET archive_mode = 'on';
                 ALTER SYSTEM SET archive_command = 'touch {marker}';
                 ALTER SYSTEM SET shared_preload_libraries = 'pg_cron', 'nowhere'",
                marker = marker.display()
            ),
        );
        let mut rename = server.tool("psql");
        rename.args(["-Xq", "-U", "helper", "-d", "postgres", "-c"]);
        rename.arg("ALTER ROLE postgres RENAME TO \"Shop 'Owner'\"");
        ok(&mut rename);
        let mut drop = server.tool("psql");
        drop.args(["-Xq", "-U", "Shop 'Owner'", "-d", "postgres", "-c", "DROP ROLE helper"]);
        ok(&mut drop);
        let mut lock = server.tool("psql");
        lock.args(["-Xq", "-U", "Shop 'Owner'", "-d", "postgres", "-c"]);
        ok(lock.arg("ALTER ROLE \"Shop 'Owner'\" NOLOGIN"));
        stop(&server);
        copy(&server.socket_dir().join("data"), &place.old());
        for (name, text) in [
            ("pg_hba.conf", "local all all reject\n".to_owned()),
            (
                "postgresql.conf",
                format!(
                    "include 'gone.conf'\nssl = on\nlisten_addresses = '*'\nport = 1\n\
                     recovery_target_time = '2001-01-01'\nrestore_command = 'touch {0}'\n\
                     max_connections = 1000000\nnot_a_setting = 7\nlogging_collector = on\n",
                    marker.display()
                ),
            ),
            ("standby.signal", String::new()),
            ("recovery.signal", String::new()),
        ] {
            std::fs::write(place.old().join(name), text).unwrap();
        }
        std::fs::create_dir(place.old().join("dumps")).unwrap();
        let json = place.json(&place.old(), 0, &["-o", "a.pgark"]);
        assert_eq!(json["server"]["role"], "Shop 'Owner'");
        assert_eq!(json["libraries"], "pg_cron, nowhere");
        assert_eq!(json["left_out"], serde_json::json!(["dumps"]));
        assert_eq!(place.cat("a.pgark", "t").lines().count(), 7);
        assert!(!marker.exists(), "a command of the old server ran");
        let words = place.rescue(&place.old(), &["-o", "b.pgark"]);
        assert!(words.stdout.contains("read as role Shop 'Owner'"), "{}", words.stdout);
    }
}

#[test]
fn several_databases() {
    let place = Place::new();
    let server = durable(17);
    for name in ["shop", "../blog", "closed"] {
        server.createdb(name);
        server.psql(name, "CREATE TABLE t (i integer); INSERT INTO t VALUES (1)");
    }
    server.psql("postgres", "ALTER DATABASE closed ALLOW_CONNECTIONS false");
    stop(&server);
    copy(&server.socket_dir().join("data"), &place.old());
    let ran = place.rescue(&place.old(), &[]);
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    assert!(ran.stderr.contains("../blog, closed, postgres, shop"), "{}", ran.stderr);
    assert!(ran.stderr.contains("--all"), "{}", ran.stderr);
    let none = place.rescue(&place.old(), &["--database", "shoo"]);
    assert_eq!(none.code, Some(2));
    assert!(none.stderr.contains("there is no database shoo"), "{}", none.stderr);
    let json = place.json(&place.old(), 0, &["--database", "closed", "-o", "a.pgark"]);
    let states: Vec<&str> = json["databases"]
        .as_array()
        .unwrap()
        .iter()
        .map(|d| d["state"].as_str().unwrap())
        .collect();
    assert_eq!(states, ["not-wanted", "saved", "not-wanted", "not-wanted"]);
    let json = place.json(&place.old(), 0, &["--all", "-o", "all"]);
    assert_eq!(json["databases"][2]["state"], "empty");
    let mut files: Vec<String> = std::fs::read_dir(place.path("all"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    assert_eq!(files.len(), 3);
    for (file, begins) in files.iter().zip(["_.._blog_20", "closed_20", "shop_20"]) {
        assert!(file.starts_with(begins), "{files:?}");
    }
    // A name that is taken is told before anything is copied.
    let taken = place.rescue(&place.old(), &["--database", "shop", "-o", "a.pgark"]);
    assert_eq!(taken.code, Some(3));
    assert!(taken.stderr.contains("is there already"), "{}", taken.stderr);
}

/// `base/16384/16385` of a relation.
fn file_of(server: &Server, relation: &str) -> PathBuf {
    server.psql("shop", &format!("SELECT pg_relation_filepath('{relation}')")).into()
}

fn flip(file: &Path, block: u64) {
    let file = std::fs::File::options().read(true).write(true).open(file).unwrap();
    let mut byte = [0];
    let at = block * 8192 + 6000;
    file.read_exact_at(&mut byte, at).unwrap();
    byte[0] ^= 0x40;
    file.write_all_at(&byte, at).unwrap();
}

#[test]
fn pages_with_a_wrong_checksum() {
    for major in [14, 17, 18] {
        let place = Place::new();
        let server = durable(major);
        server.createdb("shop");
        server.psql(
            "shop",
            "CREATE TABLE t (i integer PRIMARY KEY, x text);
             INSERT INTO t SELECT i, repeat(md5(i::text), 10) FROM generate_series(1, 1000) i;
             CREATE TABLE u AS SELECT 1 AS one",
        );
        let (table, index) = (file_of(&server, "t"), file_of(&server, "t_pkey"));
        stop(&server);
        copy(&server.socket_dir().join("data"), &place.old());
        let mut enable = Command::new(bin_dir(major).join("pg_checksums"));
        enable.arg("--enable").arg("-D").arg(place.old());
        if major < 18 {
            ok(&mut enable);
        }
        let json = place.json(&place.old(), 0, &["-o", "whole.pgark"]);
        assert_eq!(json["checksums"], "checked");

        // An index holds nothing that the rows do not hold.
        copy(&place.old(), &place.path("index"));
        flip(&place.path("index").join(&index), 1);
        let json = place.json(&place.path("index"), 1, &["-o", "index.pgark"]);
        let page = &json["bad_pages"][0];
        assert_eq!((&page["block"], &page["holds"]), (&1.into(), &"index".into()), "{json}");
        assert_eq!(page["table"], "public.t");
        place.assert_equal("whole.pgark", "index.pgark");

        flip(&place.old().join(&table), 3);
        flip(&place.old().join(&table), 5);
        let ran = place.rescue(&place.old(), &["-o", "a.pgark"]);
        assert_eq!(ran.code, Some(3), "{}\n{}", ran.stdout, ran.stderr);
        for told in [
            "page 3 of base/",
            "page 5 of base/",
            "rows of public.t of database shop",
            "invalid page",
            "--zero-damaged-pages",
            "the original was only read",
        ] {
            assert!(ran.stderr.contains(told), "{major}: {told}: {}", ran.stderr);
        }
        assert!(!place.path("a.pgark").exists());
        let json = place.json(&place.old(), 1, &["-o", "a.pgark", "--zero-damaged-pages"]);
        let zeroed: Vec<(u64, &str)> = json["zeroed_pages"]
            .as_array()
            .unwrap()
            .iter()
            .map(|page| (page["block"].as_u64().unwrap(), page["table"].as_str().unwrap()))
            .collect();
        assert_eq!(zeroed, [(3, "public.t"), (5, "public.t")], "{json}");
        let kinds: Vec<&str> = json["doubts"]
            .as_array()
            .unwrap()
            .iter()
            .map(|d| d["kind"].as_str().unwrap())
            .collect();
        assert_eq!(kinds, ["bad-pages", "zeroed-pages"]);
        let rows = place.cat("a.pgark", "t").lines().count();
        assert!(rows > 900 && rows < 1000, "{rows}");
        assert_eq!(place.cat("a.pgark", "u").lines().count(), 1);
        let words = place.rescue(&place.old(), &["-o", "b.pgark", "--zero-damaged-pages"]);
        assert!(words.stdout.contains("RESCUED, WITH DOUBTS."), "{}", words.stdout);
        assert!(words.stdout.contains("Pages read as empty"), "{}", words.stdout);
    }
}

/// Beside the data directory, in a tar, elsewhere, nowhere.
#[test]
fn tablespaces() {
    for major in [14, 18] {
        let place = Place::new();
        let spaces = Place::new();
        let space = spaces.work.path().join("fast");
        let server = durable(major);
        std::fs::create_dir(&space).unwrap();
        std::fs::set_permissions(&space, std::fs::Permissions::from_mode(0o777)).unwrap();
        if std::fs::metadata(server.socket_dir()).unwrap().uid() == 65534 {
            ok(Command::new("chown").arg("65534").arg(&space));
        }
        server.createdb("shop");
        server.psql("postgres", &format!("CREATE TABLESPACE fast LOCATION '{}'", space.display()));
        server.psql(
            "shop",
            "CREATE TABLE t (i integer, b bytea) TABLESPACE fast;
             INSERT INTO t SELECT i, sha256(int4send(i)) FROM generate_series(1, 50) i;
             CREATE TABLE plain AS SELECT 1 AS one;
             CREATE INDEX ON plain (one) TABLESPACE fast; CHECKPOINT",
        );
        kill(&server);
        copy(&server.socket_dir().join("data"), &place.old());
        let before = traces(&space);
        let json = place.json(&place.old(), 0, &["-o", "a.pgark"]);
        assert_eq!(json["tablespaces"][0]["found"], space.to_str().unwrap());
        assert_eq!(place.cat("a.pgark", "t").lines().count(), 50);
        assert_eq!(traces(&space), before, "the tablespace was touched");

        // Both in one tar, under the names that the machine had.
        let inner = place.path("all").join(space.strip_prefix("/").unwrap().parent().unwrap());
        std::fs::create_dir_all(&inner).unwrap();
        std::fs::rename(&space, inner.join("fast")).unwrap();
        copy(&place.old(), &place.path("all/data"));
        let all = tar(&place, "all.tar", &["all"]);
        place.json(&all, 1, &["-o", "b.pgark"]);
        place.assert_equal("a.pgark", "b.pgark");

        // Nowhere: what is in it is named.
        let lost = place.rescue(&place.old(), &["-o", "c.pgark"]);
        assert_eq!(lost.code, Some(3), "{}", lost.stderr);
        for told in ["tablespace fast is missing", "public.t", space.to_str().unwrap(), "--map"] {
            assert!(lost.stderr.contains(told), "{told}: {}", lost.stderr);
        }
        assert!(!lost.stderr.contains("plain"), "{}", lost.stderr);
        let map = format!("{}={}", spaces.work.path().display(), inner.display());
        let json = place.json(&place.old(), 0, &["-o", "c.pgark", "--map", &map]);
        assert!(json["tablespaces"][0]["found"].as_str().unwrap().contains("/all/"), "{json}");
        place.assert_equal("a.pgark", "c.pgark");
        assert!(!space.exists(), "the server made the tablespace anew, outside of the copy");
    }
}

/// Replaying `CREATE TABLESPACE` writes to the original's place.
#[test]
fn a_tablespace_that_the_wal_makes() {
    let place = Place::new();
    let spaces = Place::new();
    let space = spaces.work.path().join("fast");
    let server = durable(17);
    std::fs::create_dir(&space).unwrap();
    if std::fs::metadata(server.socket_dir()).unwrap().uid() == 65534 {
        ok(Command::new("chown").arg("65534").arg(&space));
    }
    server.createdb("shop");
    server.psql("postgres", "CHECKPOINT");
    server.psql("postgres", &format!("CREATE TABLESPACE fast LOCATION '{}'", space.display()));
    server.psql("shop", "CREATE TABLE t TABLESPACE fast AS SELECT 1 AS one");
    kill(&server);
    copy(&server.socket_dir().join("data"), &place.old());
    let before = traces(&space);
    let ran = place.rescue(&place.old(), &["-o", "a.pgark"]);
    assert_eq!(ran.code, Some(3), "{}", ran.stderr);
    assert!(ran.stderr.contains("replaying it writes there"), "{}", ran.stderr);
    assert_eq!(traces(&space), before);
}

/// `pg_basebackup` while rows are written: `backup_label` says where recovery begins, and a list of
/// tablespaces takes the place of links.
#[test]
fn base_backups() {
    for major in [14, 18] {
        let place = Place::new();
        let spaces = Place::new();
        let space = spaces.work.path().join("fast");
        let server = durable(major);
        std::fs::create_dir(&space).unwrap();
        if std::fs::metadata(server.socket_dir()).unwrap().uid() == 65534 {
            ok(Command::new("chown").arg("65534").arg(&space));
        }
        server.createdb("shop");
        server.psql("postgres", &format!("CREATE TABLESPACE fast LOCATION '{}'", space.display()));
        server
            .psql("shop", "CREATE TABLE t TABLESPACE fast AS SELECT generate_series(1, 1000) AS i");
        let mut backup = server.tool("pg_basebackup");
        ok(backup.args(["-Ft", "-X", "fetch", "-c", "fast", "-D"]).arg(place.path("backup")));
        server.psql("shop", "TRUNCATE t");
        let before = traces(&space);
        let base = place.path("backup/base.tar");
        let lost = place.rescue(&base, &["-o", "a.pgark"]);
        assert!(lost.stderr.contains("tablespace fast is missing"), "{}", lost.stderr);
        let oid = server.psql("postgres", "SELECT oid FROM pg_tablespace WHERE spcname = 'fast'");
        std::fs::create_dir(place.path("space")).unwrap();
        let mut unpack = Command::new("tar");
        unpack.arg("-xf").arg(place.path(&format!("backup/{oid}.tar")));
        ok(unpack.arg("-C").arg(place.path("space")));
        let map = format!("{}={}", space.display(), place.path("space").display());
        let json = place.json(&base, 0, &["-o", "a.pgark", "--map", &map]);
        assert_eq!(json["replayed"], true, "{json}");
        assert_eq!(place.cat("a.pgark", "t").lines().count(), 1000);
        assert_eq!(traces(&space), before, "the tablespace of the server was touched");
    }
}

#[test]
fn without_its_wal() {
    let place = Place::stopped(17);
    let wal = place.old().join("pg_wal");
    std::fs::remove_dir_all(&wal).unwrap();
    let ran = place.rescue(&place.old(), &["-o", "a.pgark"]);
    assert_eq!(ran.code, Some(3));
    assert!(ran.stderr.contains("has no WAL"), "{}", ran.stderr);
    assert!(ran.stderr.contains("--reset-wal"), "{}", ran.stderr);
    // Elsewhere, and gone from there.
    std::os::unix::fs::symlink("/nowhere/wal", &wal).unwrap();
    let ran = place.rescue(&place.old(), &["-o", "a.pgark"]);
    assert!(ran.stderr.contains("pg_wal to /nowhere/wal"), "{}", ran.stderr);
    let rules = root().join("fixtures/sample/pgark.toml");
    let rules = ["-o", "a.pgark", "--reset-wal", "--rules", rules.to_str().unwrap()];
    let json = place.json(&place.old(), 1, &rules);
    assert_eq!(json["doubts"][0]["kind"], "wal-reset", "{json}");
    assert_eq!(json["databases"][1]["archive"]["rows"], 1088);
    let words = place.rescue(&place.old(), &["-o", "b.pgark", "--reset-wal"]);
    assert!(words.stdout.contains("the WAL was thrown away"), "{}", words.stdout);
    // Moved, as initdb --waldir has it.
    copy(&stopped(17).join("pg_wal"), &place.path("wal"));
    let json = place.json(&place.old(), 0, &["-o", "c.pgark", "--map", "/nowhere/wal=wal"]);
    assert_eq!(json["doubts"], serde_json::json!([]));
    place.assert_equal("c.pgark", "b.pgark");
    // By a relative link, in the folder and in a tar.
    std::fs::remove_file(&wal).unwrap();
    std::os::unix::fs::symlink("../wal", &wal).unwrap();
    place.json(&place.old(), 0, &["-o", "d.pgark"]);
    place.json(&tar(&place, "v.tar", &["old", "wal"]), 0, &["-o", "e.pgark"]);
    let lost = place.rescue(&tar(&place, "w.tar", &["old"]), &["-o", "f.pgark"]);
    assert!(lost.stderr.contains("pg_wal to ../wal"), "{}", lost.stderr);
}

/// A server that does not come up: why, and what to try.
#[test]
fn what_the_server_says() {
    let place = Place::stopped(17);
    for entry in std::fs::read_dir(place.old().join("pg_wal")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            std::fs::write(&path, vec![0; 16 << 20]).unwrap();
        }
    }
    let ran = place.rescue(&place.old(), &["-o", "a.pgark"]);
    assert_eq!(ran.code, Some(3));
    for told in
        ["does not come up", "checkpoint record", "--reset-wal", "the original was only read"]
    {
        assert!(ran.stderr.contains(told), "{told}: {}", ran.stderr);
    }
    let place = Place::stopped(17);
    std::fs::write(place.old().join("backup_label"), "START WAL LOCATION: 0/99000028 (file 000000010000000000000099)\nCHECKPOINT LOCATION: 0/99000060\nBACKUP METHOD: streamed\nBACKUP FROM: primary\nSTART TIME: 2026-11-28 07:00:00 UTC\nLABEL: x\nSTART TIMELINE: 1\n").unwrap();
    let ran = place.rescue(&place.old(), &["-o", "a.pgark"]);
    assert_eq!(ran.code, Some(3));
    assert!(ran.stderr.contains("--ignore-backup-label"), "{}", ran.stderr);
    let json = place.json(&place.old(), 1, &["-o", "a.pgark", "--ignore-backup-label"]);
    assert_eq!(json["doubts"][0]["kind"], "backup-label");
}

/// A locale that only the old machine had.
#[test]
fn a_locale_that_is_not_here() {
    let from = ["/usr/lib/locale/C.utf8", "/usr/lib/locale/C.UTF-8"].map(Path::new);
    let from = from.into_iter().find(|path| path.exists()).expect("the files of C.UTF-8");
    for major in [14, 18] {
        let place = Place::new();
        let locales = place.path("locales");
        std::fs::create_dir(&locales).unwrap();
        copy(from, &locales.join("tlh_KX.utf8"));
        let server = durable(major);
        let run_as = std::fs::metadata(server.socket_dir()).unwrap().uid();
        let base = tempfile::tempdir().unwrap();
        std::fs::set_permissions(base.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        copy(&locales, &base.path().join("locales"));
        ok(Command::new("chmod").args(["-R", "a+rX"]).arg(base.path().join("locales")));
        // The programs that the server's user can reach.
        let own = server.socket_dir().join("postgresql/bin");
        let bin = if own.exists() { own } else { bin_dir(major) };
        let mut initdb = Command::new(bin.join("initdb"));
        if run_as != 0 && is_root() {
            use std::os::unix::process::CommandExt as _;
            initdb.uid(run_as).gid(run_as).env("HOME", "/nonexistent").current_dir("/");
        }
        initdb.env("LOCPATH", base.path().join("locales")).env_remove("LC_ALL");
        initdb.args([
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=tlh_KX.utf8",
            "-U",
            "shop",
            "-N",
            "-D",
        ]);
        ok(initdb.arg(base.path().join("data")));
        copy(&base.path().join("data"), &place.old());
        let json = place.json(&place.old(), 0, &["--database", "postgres", "-o", "a.pgark"]);
        assert_eq!(json["missing_locales"], serde_json::json!(["tlh_KX.utf8"]));
        assert_eq!(json["server"]["role"], "shop");
    }
}

fn is_root() -> bool {
    ok(Command::new("id").arg("-u")).stdout.trim() == "0"
}

/// Tars that mean harm, or are not whole.
#[test]
fn hostile_and_broken_tars() {
    let place = Place::stopped(17);
    let whole = tar(&place, "v.tar", &["old"]);
    let outside = place.path("outside");
    std::fs::write(&outside, "mine").unwrap();
    let pack = |name: &str, add: &dyn Fn(&mut tar::Builder<std::fs::File>)| {
        // In front: what is there is found later in the file.
        let path = place.path(name);
        let mut builder = tar::Builder::new(std::fs::File::create(&path).unwrap());
        add(&mut builder);
        let mut original = tar::Archive::new(std::fs::File::open(&whole).unwrap());
        for entry in original.entries().unwrap() {
            let entry = entry.unwrap();
            builder.append(&entry.header().clone(), entry).unwrap();
        }
        builder.finish().unwrap();
        path
    };
    let header = |kind: tar::EntryType, size: u64| {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_size(size);
        header.set_mode(0o600);
        header
    };
    let up = pack("up.tar", &|builder| {
        let mut header = header(tar::EntryType::Regular, 4);
        header.as_mut_bytes()[..14].copy_from_slice(b"old/../outside");
        header.set_cksum();
        builder.append(&header, &b"evil"[..]).unwrap();
    });
    let ran = place.rescue(&up, &["-o", "a.pgark"]);
    assert_eq!(ran.code, Some(3));
    assert!(ran.stderr.contains("leads out of it"), "{}", ran.stderr);
    // A link out, and a file behind it.
    let link = pack("link.tar", &|builder| {
        let mut link = header(tar::EntryType::Symlink, 0);
        builder.append_link(&mut link, "old/base/evil", place.here.path()).unwrap();
        let mut file = header(tar::EntryType::Regular, 4);
        builder.append_data(&mut file, "old/base/evil/outside", &b"evil"[..]).unwrap();
    });
    let ran = place.rescue(&link, &["-o", "a.pgark"]);
    assert_eq!(ran.code, Some(3), "{}", ran.stdout);
    assert_eq!(std::fs::read_to_string(&outside).unwrap(), "mine");
    // Absolute names are names like others; the later of two counts.
    let twice = pack("twice.tar", &|builder| {
        let mut file = header(tar::EntryType::Regular, 4);
        builder.append_data(&mut file, "old/PG_VERSION", &b"evil"[..]).unwrap();
    });
    let json = place.json(&twice, 0, &["-o", "a.pgark"]);
    assert_eq!(json["databases"][1]["archive"]["rows"], 1088);
    ok(Command::new("tar").args(["-Pcf"]).arg(place.path("abs.tar")).arg(place.old()));
    place.json(&place.path("abs.tar"), 0, &["-o", "b.pgark"]);
    place.assert_equal("a.pgark", "b.pgark");
    // A second name of a file, as pg_upgrade --link makes them; here of one outside of the directory.
    let control = place.old().join("global/pg_control");
    std::fs::rename(&control, place.path("a-control")).unwrap();
    std::fs::hard_link(place.path("a-control"), &control).unwrap();
    let hard = tar(&place, "hard.tar", &["a-control", "old"]);
    place.json(&hard, 0, &["-o", "c.pgark"]);
    place.assert_equal("a.pgark", "c.pgark");
    // Cut off, and damaged.
    let bytes = std::fs::read(&whole).unwrap();
    std::fs::write(place.path("cut.tar"), &bytes[..bytes.len() / 1024 * 512]).unwrap();
    let ran = place.rescue(&place.path("cut.tar"), &["-o", "d.pgark"]);
    assert_eq!(ran.code, Some(3), "{}", ran.stdout);
    assert!(!place.path("d.pgark").exists());
    assert_eq!(std::fs::read_to_string(&outside).unwrap(), "mine");
}

#[test]
fn nothing_is_written_into_the_original() {
    let place = Place::stopped(17);
    let before = traces(&place.old());
    let inside = place.old().join("a.pgark");
    let ran = place.rescue(&place.old(), &["-o", inside.to_str().unwrap()]);
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    assert!(ran.stderr.contains("never written to"), "{}", ran.stderr);
    let folder = place.old().join("all");
    let ran = place.rescue(&place.old(), &["--all", "-o", folder.to_str().unwrap()]);
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    let work = place.old();
    let ran = place.rescue(&place.old(), &["-o", "a.pgark", "--work", work.to_str().unwrap()]);
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    let mut here = place.command(&place.old(), &[]);
    assert_eq!(run(here.current_dir(place.old())).code, Some(2));
    assert_eq!(traces(&place.old()), before);
}

/// Neither committed nor rolled back.
#[test]
fn prepared_transactions_are_told() {
    let place = Place::new();
    let settings = vec![("max_prepared_transactions".to_owned(), "3".to_owned())];
    let server = Server::start_with(17, &Options { settings, ..Options::default() });
    server.createdb("shop");
    server.psql(
        "shop",
        "CREATE TABLE t (i integer); BEGIN; INSERT INTO t VALUES (1); PREPARE TRANSACTION 'half';
         CREATE TABLE u (i integer); BEGIN; INSERT INTO u VALUES (1); PREPARE TRANSACTION 'done'",
    );
    stop(&server);
    copy(&server.socket_dir().join("data"), &place.old());
    let json = place.json(&place.old(), 0, &["-o", "a.pgark"]);
    assert_eq!(json["prepared"], serde_json::json!(["shop: done", "shop: half"]));
    assert_eq!(place.cat("a.pgark", "t"), "");
}

#[test]
fn a_copy_that_is_kept() {
    let place = Place::stopped(17);
    let ran = run(&mut place.command(&place.old(), &["-o", "a.pgark", "--keep"]));
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let told = |begins: &str| {
        let line = ran.stdout.lines().find(|line| line.trim_start().starts_with(begins));
        line.unwrap_or_else(|| panic!("no {begins} in {}", ran.stdout)).trim().to_owned()
    };
    let shell = |command: &str| ok(Command::new("sh").arg("-c").arg(command)).stdout;
    let psql = format!("{}/{}", bin_dir(17).display(), told("psql").replace("-l", "-d shop"));
    assert_eq!(shell(&format!("{psql} -Atc 'SELECT count(*) FROM image'")).trim(), "123");
    shell(&told("kill"));
    place.assert_clean_soon("kept");
}

/// What ends it by a signal, after a part of the time that the whole takes.
fn ended_early(name: &str, moments: u32) -> (u32, Vec<Option<i32>>) {
    let place = Place::stopped(17);
    let begun = Instant::now();
    assert_eq!(place.rescue(&place.old(), &["-o", "whole.pgark"]).code, Some(0));
    let whole = begun.elapsed();
    let before = traces(&place.old());
    let (mut early, mut codes) = (0, Vec::new());
    for moment in 0..moments {
        let mut command = place.command(&place.old(), &["-o", "a.pgark"]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(whole * moment / moments + Duration::from_millis(20));
        early += u32::from(!place.left().is_empty());
        ok(Command::new("kill").args([name, &child.id().to_string()]));
        codes.push(child.wait().unwrap().code());
        place.assert_clean_soon(&format!("{name} after {moment}/{moments}"));
        // Killed behind the last step, it had given the file its name: then that is whole.
        let made = place.path("a.pgark");
        match codes.last() {
            Some(Some(0)) => {}
            Some(None) if made.exists() => {
                ok(Command::new(PGARK).arg("verify").arg(&made));
            }
            _ => assert!(!made.exists(), "{name} after {moment}/{moments}"),
        }
        _ = std::fs::remove_file(place.path("a.pgark"));
    }
    assert_eq!(traces(&place.old()), before);
    (early, codes)
}

#[test]
fn killed_at_any_moment() {
    let (there, codes) = ended_early("-KILL", 10);
    assert!(there > 0, "its copy was there only {there} times when it was killed");
    assert!(codes.iter().filter(|code| code.is_none()).count() > 0, "{codes:?}");
}

#[test]
fn interrupted_at_any_moment() {
    let (there, codes) = ended_early("-INT", 10);
    assert!(there > 0, "its copy was there only {there} times when it was interrupted");
    let interrupted = codes.iter().filter(|code| **code == Some(130)).count();
    // Before it listens, a signal ends it as it ends any program.
    let sane = codes.iter().all(|code| matches!(code, None | Some(0 | 130)));
    assert!(interrupted > 0 && sane, "{codes:?}");
}

/// Every field that `--json` prints is in `docs/json.md`.
#[test]
fn the_document_names_every_field() {
    fn fields(value: &Value, all: &mut Vec<String>) {
        match value {
            Value::Object(map) => {
                for (name, value) in map {
                    all.push(name.clone());
                    fields(value, all);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| fields(item, all)),
            _ => {}
        }
    }
    let document = std::fs::read_to_string(root().join("docs/json.md")).unwrap();
    let section = document.split("\n## ").find(|part| part.starts_with("rescue\n")).unwrap();
    let place = Place::stopped(18);
    std::fs::create_dir(place.path("volume")).unwrap();
    std::fs::rename(place.old(), place.path("volume/data")).unwrap();
    let auto = place.path("volume/data/postgresql.auto.conf");
    std::fs::write(auto, "shared_preload_libraries = 'x'\n").unwrap();
    let mut file = BTreeMap::new();
    for entry in std::fs::read_dir(place.path("volume/data/base/1")).unwrap() {
        let entry = entry.unwrap();
        file.insert(entry.metadata().unwrap().len(), entry.path());
    }
    flip(file.last_key_value().unwrap().1, 1);
    let json = place.json(&place.path("volume"), 1, &["-o", "a.pgark"]);
    let mut all = Vec::new();
    fields(&json, &mut all);
    // The archive's own fields are those of `create`.
    let archive = &json["databases"][1]["archive"];
    let mut own = Vec::new();
    fields(archive, &mut own);
    assert!(own.len() > 10 && all.len() > 40);
    for field in all
        .into_iter()
        .filter(|field| !["schema", "command", "file", "ok"].contains(&field.as_str()))
    {
        let where_it_is = if own.contains(&field) { document.as_str() } else { section };
        assert!(where_it_is.contains(&format!("`{field}`")), "{field}");
    }
}

/// Long values whose pieces are lost: only `--drop-unreadable-rows` goes on, and says which rows.
#[test]
fn rows_that_cannot_be_read() {
    for major in [14, 18] {
        let place = Place::new();
        let server = durable(major);
        server.createdb("shop");
        server.psql(
            "shop",
            "CREATE TABLE image (id integer, \"Lang\" text, place bytea, note text, PRIMARY KEY (\"Lang\", id));
             ALTER TABLE image ALTER COLUMN place SET STORAGE EXTERNAL;
             INSERT INTO image SELECT i, 'en', (SELECT string_agg(sha256(int4send(i * 100 + n)), '')
                FROM generate_series(1, 100) n), 'x' FROM generate_series(1, 200) i;
             INSERT INTO image VALUES (900, 'km', '', NULL), (901, 'km', NULL, repeat('y', 9000));
             CREATE TABLE use (id integer PRIMARY KEY, lang text, image integer,
                FOREIGN KEY (lang, image) REFERENCES image (\"Lang\", id) ON DELETE CASCADE);
             INSERT INTO use VALUES (1, 'en', 1), (2, 'en', 200);
             CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''no''; END';
             CREATE TRIGGER t BEFORE DELETE ON image FOR EACH ROW EXECUTE FUNCTION no();
             CREATE TABLE whole AS SELECT 1 AS id, repeat(md5('1'), 9000) AS long",
        );
        let pieces = server.psql(
            "shop",
            "SELECT pg_relation_filepath(reltoastrelid) FROM pg_class WHERE relname = 'image'",
        );
        let index = server.psql(
            "shop",
            "SELECT pg_relation_filepath(indexrelid) FROM pg_index
             WHERE indrelid = (SELECT reltoastrelid FROM pg_class WHERE relname = 'image')",
        );
        stop(&server);
        copy(&server.socket_dir().join("data"), &place.old());
        if major == 18 {
            ok(Command::new(bin_dir(major).join("pg_checksums"))
                .arg("--disable")
                .arg("-D")
                .arg(place.old()));
        }
        place.json(&place.old(), 0, &["-o", "whole.pgark"]);
        let zero = |dir: &Path, file: &str, block: u64| {
            let file = std::fs::File::options().write(true).open(dir.join(file)).unwrap();
            file.write_all_at(&[0; 8192], block * 8192).unwrap();
        };
        // An index of the pieces alone: it is made anew, and nothing is lost.
        copy(&place.old(), &place.path("index"));
        zero(&place.path("index"), &index, 1);
        assert_eq!(place.rescue(&place.path("index"), &["-o", "a.pgark"]).code, Some(3));
        let json =
            place.json(&place.path("index"), 1, &["-o", "a.pgark", "--drop-unreadable-rows"]);
        assert_eq!(json["dropped_rows"], serde_json::json!([]), "{json}");
        place.assert_equal("whole.pgark", "a.pgark");

        zero(&place.old(), &pieces, 0);
        let ran = place.rescue(&place.old(), &["-o", "b.pgark"]);
        assert_eq!(ran.code, Some(3), "{}", ran.stdout);
        assert!(ran.stderr.contains("missing chunk"), "{}", ran.stderr);
        assert!(ran.stderr.contains("--drop-unreadable-rows"), "{}", ran.stderr);
        let json = place.json(&place.old(), 1, &["-o", "b.pgark", "--drop-unreadable-rows"]);
        let dropped = json["dropped_rows"].as_array().unwrap();
        assert!((1..10).contains(&dropped.len()), "{json}");
        assert_eq!(dropped[0]["key"], "Lang=en, id=1");
        assert_eq!(dropped[0]["table"], "public.image");
        assert!(dropped[0]["message"].as_str().unwrap().contains("missing chunk"));
        assert_eq!(json["doubts"][0]["kind"], "dropped-rows", "{json}");
        let archive = &json["databases"][1]["archive"];
        assert_eq!(place.cat("b.pgark", "image").lines().count(), 202 - dropped.len());
        // Who refers to it is still there, and that it leads nowhere is found.
        assert_eq!(place.cat("b.pgark", "use").lines().count(), 2);
        assert_eq!(archive["findings"][0]["code"], "E603", "{archive}");
        let words = place.rescue(&place.old(), &["-o", "c.pgark", "--drop-unreadable-rows"]);
        assert!(words.stdout.contains("public.image Lang=en, id=1"), "{}", words.stdout);
    }
}
