//! Data directories that nobody serves any more. Guards against rows that are only in the WAL being
//! lost, against damage that is passed over in silence, against an original that is written to, and
//! against a server or a copy that stays behind.

mod damaged;
mod ended;
mod linked;
mod strange;

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
use crate::support::scratch::Scratch;
use crate::support::{Options, Ran, Server, bin_dir, ok, root, run, without_server};

/// Folders of one test: the original and the archives, and that of the throwaway servers, where
/// nothing may be left.
struct Place {
    work: Scratch,
    here: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let work = Scratch::new();
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
        without_server(&mut command);
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
        self.work.assert_clean();
        ran
    }

    fn json(&self, input: &Path, code: i32, args: &[&str]) -> Value {
        let ran = self.rescue(input, &[args, &["--json"]].concat());
        assert_eq!(ran.code, Some(code), "{}\n{}", ran.stdout, ran.stderr);
        serde_json::from_str(&ran.stdout).unwrap()
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
        place.work.assert_clean();
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
            place.work.left().first().is_some_and(|copy| {
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

/// Every field that `--json` prints is in `docs/json.md`.
#[test]
fn the_document_names_every_field() {
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
    damaged::flip(file.last_key_value().unwrap().1, 1);
    let json = place.json(&place.path("volume"), 1, &["-o", "a.pgark"]);
    let mut all = Vec::new();
    crate::support::fields(&json, &mut all);
    // The archive's own fields are those of `create`.
    let archive = &json["databases"][1]["archive"];
    let mut own = Vec::new();
    crate::support::fields(archive, &mut own);
    assert!(own.len() > 10 && all.len() > 40);
    for field in all
        .into_iter()
        .filter(|field| !["schema", "command", "file", "ok"].contains(&field.as_str()))
    {
        let where_it_is = if own.contains(&field) { document.as_str() } else { section };
        assert!(where_it_is.contains(&format!("`{field}`")), "{field}");
    }
}
