//! Drills: an archive restored into a server that vanishes. Guards against a drill that passes on
//! what does not come back, and against one that leaves a server or files behind, however it ends.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use pgark::format::manifest::{Manifest, Source};
use pgark::format::writer::{ArchiveWriter, WriterOptions};
use serde_json::Value;

use crate::PGARK;
use crate::roundtrip::load_sample;
use crate::support::scratch::Scratch;
use crate::support::{Ran, Server, bin_dir, ok, root, run, without_server};

/// A folder for the throwaway servers of one test: what is left in it was left behind.
struct Place {
    dir: Scratch,
    file: PathBuf,
    kept: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let dir = Scratch::new();
        let kept = tempfile::tempdir().unwrap();
        let file = kept.path().join("a.pgark");
        Self { dir, file, kept }
    }

    fn archive(major: u32, sql: &str) -> Self {
        let server = Server::shared(major);
        let source = server.database("drill");
        server.psql(&source, sql);
        Self::of(server, &source, &[])
    }

    fn of(server: &Server, source: &str, args: &[&str]) -> Self {
        let place = Self::new();
        let mut create = server.pgark(PGARK);
        create.args(["create", &server.url(source), "-o"]).arg(&place.file).args(args);
        ok(&mut create);
        place
    }

    fn sample(major: u32) -> Self {
        let server = Server::shared(major);
        let source = server.database("drill");
        load_sample(server, &source);
        let rules = root().join("fixtures/sample/pgark.toml");
        Self::of(server, &source, &["--rules", rules.to_str().unwrap()])
    }

    /// With nothing of a server in the environment; programs of this version.
    fn command(&self, major: u32, args: &[&str]) -> Command {
        let mut command = Command::new(PGARK);
        without_server(&mut command);
        command.env("TMPDIR", self.dir.path());
        command.arg("drill").arg(&self.file).args(args).arg("--bin").arg(bin_dir(major));
        command.stdin(Stdio::null());
        command
    }

    fn drill(&self, major: u32, args: &[&str]) -> Ran {
        run(&mut self.command(major, args))
    }

    fn json(&self, major: u32, code: i32, args: &[&str]) -> Value {
        let ran = self.drill(major, &[args, &["--json"]].concat());
        assert_eq!(ran.code, Some(code), "{}\n{}", ran.stdout, ran.stderr);
        self.dir.assert_clean();
        serde_json::from_str(&ran.stdout).unwrap()
    }
}

#[test]
fn an_archive_comes_back_and_nothing_stays() {
    for major in [14, 18] {
        let place = Place::sample(major);
        let json = place.json(major, 0, &[]);
        assert_eq!(json["ok"], true);
        assert_eq!(json["restored"]["equal"], true);
        assert_eq!(json["restored"]["rows"], 1088);
        assert_eq!(json["checked"]["rules"].as_array().unwrap().len(), 5);
        assert!(json["checked"]["images"].as_u64().unwrap() > 60);
        assert_eq!(json["server"]["wanted"], major);
        let words = place.drill(major, &[]);
        assert!(words.stdout.contains("RESTORED AND EQUAL."), "{}", words.stdout);
        assert!(words.stdout.replace('\n', " ").contains("all 5 rules hold"), "{}", words.stdout);
        assert!(words.stdout.lines().count() < 25, "{}", words.stdout);
        place.dir.assert_clean();
    }
}

/// Roles and tablespaces that only the source's cluster has.
#[test]
fn what_the_cluster_had_is_made() {
    let server = Server::start(16);
    server.psql(
        "postgres",
        "CREATE ROLE \"My app\" LOGIN PASSWORD 'x'; CREATE ROLE reader;
         SET allow_in_place_tablespaces = on; CREATE TABLESPACE fast LOCATION ''",
    );
    server.createdb("shop");
    server.psql(
        "shop",
        "CREATE TABLE t (id serial PRIMARY KEY) TABLESPACE fast; INSERT INTO t DEFAULT VALUES;
         ALTER TABLE t OWNER TO \"My app\"; GRANT SELECT ON t TO reader;
         SELECT lo_from_bytea(4711, 'abc'); ALTER LARGE OBJECT 4711 OWNER TO reader",
    );
    let place = Place::of(&server, "shop", &[]);
    let json = place.json(16, 0, &[]);
    assert_eq!(json["roles"], serde_json::json!(["My app", "reader"]));
    assert_eq!(json["tablespaces"], serde_json::json!(["fast"]));
    assert_eq!(json["restored"]["database"], "shop");
    assert_eq!(json["restored"]["large_objects"]["equal"], true);
}

#[test]
fn rules_that_do_not_hold() {
    let place = Place::archive(16, "CREATE TABLE t (id integer PRIMARY KEY)");
    let rules = place.kept.path().join("rules.toml");
    std::fs::write(&rules, "[[count]]\ntable = 't'\nat_least = 1\n").unwrap();
    let json = place.json(16, 1, &["--rules", rules.to_str().unwrap()]);
    assert_eq!(json["restored"]["ok"], true);
    assert_eq!(json["checked"]["findings"][0]["code"], "E611");
    let words = place.drill(16, &["--rules", rules.to_str().unwrap()]);
    assert!(words.stdout.contains("BUT RULES DO NOT HOLD"), "{}", words.stdout);
    place.dir.assert_clean();
}

/// What is made at the end of a restore changes what was loaded: only the comparison sees it.
#[test]
fn what_is_not_equal_is_said() {
    let place = Place::archive(
        16,
        "CREATE TABLE t (id integer PRIMARY KEY);
         CREATE FUNCTION meddle() RETURNS bigint LANGUAGE sql AS
         'INSERT INTO public.t SELECT count(*) FROM public.t RETURNING id';
         CREATE MATERIALIZED VIEW m AS SELECT public.meddle()",
    );
    let json = place.json(16, 1, &[]);
    assert_eq!(json["ok"], false);
    assert_eq!(json["restored"]["equal"], false, "{json}");
    assert!(json.get("checked").is_none());
    let words = place.drill(16, &[]);
    assert!(words.stdout.contains("NOT EQUAL."), "{}", words.stdout);
    assert!(words.stdout.contains("public.t"), "{}", words.stdout);
}

#[test]
fn a_damaged_archive_is_told_and_not_restored() {
    let place = Place::sample(16);
    let mut bytes = std::fs::read(&place.file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&place.file, bytes).unwrap();
    let json = place.json(16, 1, &[]);
    assert!(json["damaged"]["errors"].as_u64().unwrap() > 0);
    assert!(json.get("restored").is_none());
    let words = place.drill(16, &["--keep"]);
    assert!(words.stdout.contains("DAMAGED."), "{}", words.stdout);
    place.dir.assert_clean();
    std::fs::write(&place.file, "no archive").unwrap();
    assert_eq!(place.drill(16, &[]).code, Some(3));
    place.dir.assert_clean();
}

#[test]
fn the_server_is_of_the_version_or_newer() {
    let place = Place::archive(16, "CREATE TABLE t (id integer PRIMARY KEY)");
    let older = place.drill(14, &[]);
    assert_eq!(older.code, Some(3));
    assert!(older.stderr.contains("of version 16 or newer"), "{}", older.stderr);
    assert!(older.stderr.contains("there is 14."), "{}", older.stderr);
    assert!(older.stderr.contains("apt install postgresql-16"), "{}", older.stderr);
    place.dir.assert_clean();
    let newer = place.drill(18, &[]);
    assert_eq!(newer.code, Some(0), "{}", newer.stderr);
    assert!(newer.stderr.contains("no server of version 16 is here"), "{}", newer.stderr);
    assert!(newer.stdout.contains("for none of version 16 is here"), "{}", newer.stdout);
    // A folder of folders, and one of several versions: the archive's own is taken.
    let mut command = place.command(16, &["--json"]);
    let mut args: Vec<_> = command.get_args().map(std::ffi::OsStr::to_owned).collect();
    *args.last_mut().unwrap() = bin_dir(16).parent().unwrap().parent().unwrap().into();
    command = {
        let mut again = Command::new(PGARK);
        again.args(args).env("TMPDIR", place.dir.path());
        again
    };
    let json: Value = serde_json::from_str(&ok(&mut command).stdout).unwrap();
    assert!(json["server"]["version"].as_str().unwrap().starts_with("16."), "{json}");
}

/// An archive of a machine whose locale nobody here has.
#[test]
fn a_locale_that_is_not_here() {
    let place = Place::new();
    let options = WriterOptions { created: 1_795_417_509, memory: 64 << 20 };
    let mut writer = ArchiveWriter::create(Vec::new(), &options).unwrap();
    let manifest = Manifest {
        tool: "test".into(),
        source: Source {
            server_version: "16.1".into(),
            server_version_num: 160_001,
            database: "postgres".into(),
            encoding: "UTF8".into(),
            collate: "tlh_KX.UTF-8".into(),
            ctype: "tlh_KX.UTF-8".into(),
            locale_provider: "libc".into(),
            ..Source::default()
        },
        ..Manifest::default()
    };
    writer.schema(b"", b"", &manifest).unwrap();
    std::fs::write(&place.file, writer.finish(manifest).unwrap().0).unwrap();
    let json = place.json(16, 0, &[]);
    assert!(json["other_locale"].as_str().unwrap().starts_with('C'), "{json}");
    assert_eq!(json["restored"]["database"], "drill");
    let words = place.drill(16, &[]);
    assert!(words.stderr.contains("no locale tlh_KX.UTF-8"), "{}", words.stderr);
}

#[test]
fn a_server_that_is_kept() {
    let place = Place::archive(17, "CREATE TABLE t AS SELECT generate_series(1, 7) AS i");
    let ran = place.drill(17, &["--keep"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let told = |begins: &str| {
        let line = ran.stdout.lines().find(|line| line.trim_start().starts_with(begins));
        line.unwrap_or_else(|| panic!("no {begins} in {}", ran.stdout)).to_owned()
    };
    let shell = |command: &str| ok(Command::new("sh").arg("-c").arg(command)).stdout;
    let psql = told(bin_dir(17).to_str().unwrap());
    assert_eq!(shell(&format!("{psql} -Atc 'SELECT count(*) FROM t'")).trim(), "7");
    // Another drill is not in its way, and does not take it for something left behind.
    assert_eq!(place.drill(17, &[]).code, Some(0));
    assert_eq!(shell(&format!("{psql} -Atc 'SELECT 1'")).trim(), "1");
    shell(&told("kill"));
    place.dir.assert_clean_soon("kept");
}

fn signal(child: &Child, name: &str) {
    let pid = child.id().to_string();
    assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
}

/// How long a whole drill takes, and one that is ended by a signal after a part of it.
fn ended_early(name: &str, moments: u32) -> (u32, Vec<Option<i32>>) {
    let place = Place::archive(
        16,
        "CREATE TABLE t (id integer PRIMARY KEY, b bytea);
         INSERT INTO t SELECT i, (SELECT string_agg(sha256(int4send(i * 500 + n)), '')
         FROM generate_series(1, 500) n) FROM generate_series(1, 1000) i",
    );
    let begun = Instant::now();
    assert_eq!(place.drill(16, &[]).code, Some(0));
    let whole = begun.elapsed();
    place.dir.assert_clean();
    let (mut early, mut codes) = (0, Vec::new());
    for moment in 0..moments {
        let mut command = place.command(16, &[]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(whole * moment / moments + Duration::from_millis(20));
        early += u32::from(!place.dir.left().is_empty());
        signal(&child, name);
        codes.push(child.wait().unwrap().code());
        place.dir.assert_clean_soon(&format!("{name} after {moment}/{moments}"));
    }
    (early, codes)
}

#[test]
fn killed_at_any_moment() {
    let (there, codes) = ended_early("-KILL", 10);
    // How many of the moments fall into which phase is the machine's to say.
    assert!(there > 0, "its server was there only {there} times when it was killed");
    assert!(codes.iter().filter(|code| code.is_none()).count() > 0, "{codes:?}");
}

#[test]
fn interrupted_at_any_moment() {
    let (there, codes) = ended_early("-INT", 6);
    assert!(there > 0, "its server was there only {there} times when it was interrupted");
    let interrupted = codes.iter().filter(|code| **code == Some(130)).count();
    // Before it listens, a signal ends it as it ends any program.
    let sane = codes.iter().all(|code| matches!(code, None | Some(0 | 130)));
    assert!(interrupted > 0 && sane, "{codes:?}");
}

/// The whole process group is hit, as by a terminal, and the interrupt repeated by the impatient.
#[test]
fn interrupted_twice() {
    use std::os::unix::process::CommandExt as _;
    let place = Place::sample(15);
    let mut command = place.command(15, &[]);
    let mut child =
        command.process_group(0).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let end = Instant::now() + Duration::from_secs(30);
    while place.dir.processes().is_empty() {
        assert!(Instant::now() < end, "no server");
        std::thread::sleep(Duration::from_millis(10));
    }
    let group = format!("-{}", child.id());
    for _ in 0..2 {
        _ = Command::new("kill").args(["-INT", "--", &group]).status().unwrap();
        std::thread::sleep(Duration::from_millis(30));
    }
    assert_eq!(child.wait().unwrap().code(), Some(130));
    place.dir.assert_clean_soon("interrupted twice");
}

/// Every field that `--json` prints is in `docs/json.md`.
#[test]
fn the_document_names_every_field() {
    let document = std::fs::read_to_string(root().join("docs/json.md")).unwrap();
    let place = Place::sample(16);
    let mut all = Vec::new();
    crate::support::fields(&place.json(16, 0, &[]), &mut all);
    let ran = place.drill(16, &["--keep", "--json"]);
    let kept: Value = serde_json::from_str(&ran.stdout).unwrap();
    crate::support::fields(&kept, &mut all);
    let folder = Path::new(kept["kept"]["folder"].as_str().unwrap());
    let pid = std::fs::read_to_string(folder.join("data/postmaster.pid")).unwrap();
    ok(Command::new("kill").args(["-QUIT", pid.lines().next().unwrap()]));
    let ran = place.drill(14, &["--json"]);
    crate::support::fields(&serde_json::from_str(&ran.stdout).unwrap(), &mut all);
    for field in all {
        assert!(document.contains(&format!("`{field}`")), "{field}");
    }
}
