//! A database into an archive and back through the library, on real servers. Guards against values
//! that change on their way, archives that depend on how many read them, files that look finished
//! and are not, and restores into what is not empty.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use pgark::create::{self, CreateError, CreateOptions, CreateReport};
use pgark::format::parity::Protection;
use pgark::pg::{Params, Session};
use pgark::progress::{Phase, Progress, Silent};
use pgark::restore::{self, RestoreError, RestoreOptions, RestoreReport};

use crate::support::{MAJORS, Server, bin_dir};

const EVERY_TYPE: &str = include_str!("../support/every_type.sql");

fn params(server: &Server, database: &str) -> Params {
    Params::resolve(Some(&server.url(database))).unwrap()
}

fn options(server: &Server, database: &str, output: PathBuf) -> CreateOptions {
    CreateOptions {
        params: params(server, database),
        output,
        jobs: 3,
        memory: 64 << 20,
        pg_dump: bin_dir(server.major()).join("pg_dump").display().to_string(),
        lock_timeout: Duration::from_secs(20),
        profile: None,
        comment: None,
        overwrite: false,
        created: None,
        snapshot: None,
        read_back: true,
        parity: Some(Protection::default()),
        rules: None,
        base: None,
    }
}

fn silent() -> Arc<dyn Progress> {
    Arc::new(Silent)
}

fn make(server: &Server, database: &str, output: PathBuf) -> CreateReport {
    create::run(&options(server, database, output), &silent()).unwrap()
}

fn restore_to(server: &Server, database: &str, file: &Path) -> Result<RestoreReport, RestoreError> {
    let target = params(server, database);
    let (file, bases) = (file.to_owned(), Vec::new());
    let options = RestoreOptions { file, bases, target, jobs: 3, memory: 64 << 20 };
    restore::run(&options, &silent())
}

/// What `pg_dump` says of a database, in an order that does not depend on its oids.
fn dumped(server: &Server, database: &str) -> Vec<String> {
    let text = server.pg_dump(database, &["--inserts", "--rows-per-insert=1"]);
    let mut lines: Vec<String> = text
        .lines()
        .filter(|line| !line.starts_with("--") && !line.starts_with('\\'))
        .map(ToOwned::to_owned)
        .collect();
    lines.sort();
    lines
}

fn files(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn every_type_comes_back_as_it_was() {
    for major in MAJORS {
        let server = Server::shared(major);
        let (from, to) = (server.database("every_type"), server.database("every_type_back"));
        server.psql(&from, EVERY_TYPE);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.pgark");
        let made = make(server, &from, file.clone());
        assert_eq!(files(folder.path()), ["a.pgark"]);
        assert_eq!(made.bytes, fs::metadata(&file).unwrap().len());
        let report = restore_to(server, &to, &file).unwrap();
        assert!(report.equal && report.findings.is_empty(), "{major}: {:?}", report.findings);
        let rows: u64 = report.tables.iter().map(|table| table.outcome.rows).sum();
        assert_eq!(rows + report.large_objects.unwrap().rows, made.rows, "{major}");
        let (before, after) = (dumped(server, &from), dumped(server, &to));
        let lost: Vec<_> = before.iter().filter(|line| !after.contains(line)).take(5).collect();
        assert!(before == after, "{major}: of {} lines lost: {lost:?}", before.len());
    }
}

/// Guards against trap 21: a view that cannot be filled must not undo a restore, nor be kept
/// quiet about.
#[test]
fn a_view_that_cannot_be_filled_is_told() {
    // Later versions do not make such a view in the first place.
    let server = Server::shared(15);
    let (from, to) = (server.database("matview"), server.database("matview_back"));
    server.psql(
        &from,
        "CREATE TABLE t (a int); CREATE FUNCTION f() RETURNS bigint LANGUAGE plpgsql AS \
         $$ BEGIN RETURN (SELECT count(*) FROM t); END $$; \
         CREATE MATERIALIZED VIEW v AS SELECT public.f() c; CREATE TABLE u (a int)",
    );
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.pgark");
    make(server, &from, file.clone());
    let report = restore_to(server, &to, &file).unwrap();
    assert!(report.equal);
    let [finding] = &report.findings[..] else { panic!("{:?}", report.findings) };
    assert_eq!(finding.object, "public.v");
    assert_eq!(finding.statement.as_deref(), Some("REFRESH MATERIALIZED VIEW public.v;"));
}

/// The promise that the same snapshot gives the same bytes: whoever reads, however many, however
/// little they may hold.
#[test]
fn the_same_snapshot_gives_the_same_bytes() {
    let server = Server::shared(16);
    let from = server.database("same_bytes");
    server.psql(
        &from,
        "CREATE TABLE image (id serial PRIMARY KEY, file bytea, note text); \
         ALTER TABLE image ALTER file SET STORAGE EXTERNAL; \
         INSERT INTO image (file, note) SELECT decode(repeat(md5((i % 700)::text) || \
         md5((i % 700 + 7)::text), i % 900 * 3), 'hex'), i FROM generate_series(1, 3000) i; \
         INSERT INTO image (file) SELECT string_agg(decode(md5(i::text), 'hex'), '') \
         FROM generate_series(1, 2200000) i; \
         CREATE TABLE plain AS SELECT i, md5(i::text) FROM generate_series(1, 200000) i",
    );
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let lead = runtime.block_on(Session::open(&params(server, &from))).unwrap();
    runtime.block_on(lead.run("begin", "BEGIN ISOLATION LEVEL REPEATABLE READ")).unwrap();
    let row = runtime.block_on(lead.client().query_one("SELECT pg_export_snapshot()", &[]));
    let snapshot: String = row.unwrap().get(0);
    let folder = tempfile::tempdir().unwrap();
    let mut first = None;
    for (jobs, memory) in [(1, 1 << 20), (2, 128 << 20), (7, 10 << 20), (3, 0)] {
        let file = folder.path().join(format!("{jobs}.pgark"));
        let mut options = options(server, &from, file.clone());
        (options.jobs, options.memory, options.created) = (jobs, memory, Some(1_700_000_000));
        options.snapshot = Some(snapshot.clone());
        options.read_back = jobs == 2;
        create::run(&options, &silent()).unwrap();
        let bytes = fs::read(&file).unwrap();
        fs::remove_file(&file).unwrap();
        match &first {
            None => first = Some(bytes),
            Some(first) => assert!(*first == bytes, "{jobs} jobs, {memory} bytes"),
        }
    }
}

#[test]
fn a_target_with_anything_in_it_is_refused() {
    let server = Server::shared(17);
    let (from, to) = (server.database("refused"), server.database("refused_to"));
    server.psql(&from, "CREATE TABLE t AS SELECT 1 AS a");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.pgark");
    make(server, &from, file.clone());
    assert!(matches!(
        create::run(&options(server, &from, file.clone()), &silent()),
        Err(CreateError::Exists(_))
    ));
    restore_to(server, &to, &file).unwrap();
    let again = restore_to(server, &to, &file).unwrap_err();
    assert!(matches!(&again, RestoreError::NotEmpty { contents, .. } if !contents.is_empty()));
    assert_eq!(server.psql(&to, "SELECT count(*) FROM t"), "1");

    let older = Server::shared(14);
    let old = older.database("refused_old");
    let error = restore_to(older, &old, &file).unwrap_err();
    assert!(error.to_string().contains("version 17"), "{error}");

    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&file, bytes).unwrap();
    let empty = server.database("refused_damaged");
    let error = restore_to(server, &empty, &file).unwrap_err();
    assert!(matches!(error, RestoreError::Damaged { .. }), "{error}");
    assert_eq!(server.psql(&empty, "SELECT count(*) FROM pg_class WHERE relname = 't'"), "0");
}

#[test]
fn missing_roles_are_named_before_anything_is_done() {
    let server = Server::shared(14);
    let (from, to) = (server.database("roles"), server.database("roles_to"));
    server.psql(
        &from,
        "CREATE ROLE gone_owner; CREATE ROLE \"Gone Reader\"; CREATE TABLE t (a int); \
         ALTER TABLE t OWNER TO gone_owner; GRANT SELECT ON t TO \"Gone Reader\"",
    );
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.pgark");
    make(server, &from, file.clone());
    server.psql(&from, "DROP TABLE t; DROP ROLE gone_owner; DROP ROLE \"Gone Reader\"");
    match restore_to(server, &to, &file).unwrap_err() {
        RestoreError::MissingRoles(roles) => assert_eq!(roles, ["Gone Reader", "gone_owner"]),
        error => panic!("{error}"),
    }
}

/// Stops or kills when so many bytes of rows have come.
struct Trigger {
    after: u64,
    seen: AtomicU64,
    act: Box<dyn Fn() + Send + Sync>,
    stop: AtomicBool,
}

impl Progress for Trigger {
    fn begin(&self, _: Phase, _: u64, _: u64) {}
    fn rows(&self, _: u64) {}
    fn bytes(&self, bytes: u64) {
        let before = self.seen.fetch_add(bytes, Ordering::Relaxed);
        if before < self.after && before + bytes >= self.after {
            (self.act)();
            self.stop.store(true, Ordering::Relaxed);
        }
    }
    fn on(&self, _: &str) {}
    fn note(&self, _: &str) {}
    fn interrupted(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

const SOME_DATA: &str = "CREATE TABLE image (id serial PRIMARY KEY, file bytea); \
    ALTER TABLE image ALTER file SET STORAGE EXTERNAL; \
    INSERT INTO image (file) SELECT string_agg(decode(md5((i * j)::text), 'hex'), '') \
    FROM generate_series(1, 60) i, generate_series(1, 40000) j GROUP BY i";

#[test]
fn an_interrupt_leaves_no_file() {
    let server = Server::shared(18);
    let from = server.database("interrupt");
    server.psql(&from, SOME_DATA);
    let folder = tempfile::tempdir().unwrap();
    for after in [1, 10 << 20] {
        let progress: Arc<dyn Progress> = Arc::new(Trigger {
            after,
            seen: AtomicU64::new(0),
            act: Box::new(|| {}),
            stop: AtomicBool::new(false),
        });
        let mut options = options(server, &from, folder.path().join("a.pgark"));
        options.memory = 8 << 20;
        let error = create::run(&options, &progress).unwrap_err();
        assert!(matches!(error, CreateError::Interrupted), "{error}");
        assert!(files(folder.path()).is_empty());
    }
}

/// Acts once so many bytes have come, and never asks to stop.
struct Dies(Trigger);

impl Progress for Dies {
    fn begin(&self, _: Phase, _: u64, _: u64) {}
    fn rows(&self, _: u64) {}
    fn bytes(&self, bytes: u64) {
        self.0.bytes(bytes);
    }
    fn on(&self, _: &str) {}
    fn note(&self, _: &str) {}
}

/// A backend that dies takes the server down with it for a moment: what is left of a backup then
/// must not look like one. The trap is a COPY that ends early and passes for a whole table.
#[test]
fn a_server_that_dies_leaves_no_file() {
    let server = Server::start(18);
    server.createdb("dies");
    server.psql("dies", SOME_DATA);
    let folder = tempfile::tempdir().unwrap();
    for after in [1, 5 << 20, 20 << 20] {
        let pid = server.psql("dies", "SELECT pg_backend_pid()");
        assert!(!pid.is_empty());
        let (url, psql) = (server.url("dies"), bin_dir(18).join("psql"));
        let act = move || {
            let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                       WHERE application_name = 'pgark'";
            let status = std::process::Command::new(&psql).args([&url, "-qAtc", sql]).output();
            assert!(status.unwrap().status.success());
        };
        let progress: Arc<dyn Progress> = Arc::new(Dies(Trigger {
            after,
            seen: AtomicU64::new(0),
            act: Box::new(act),
            stop: AtomicBool::new(false),
        }));
        let mut options = options(&server, "dies", folder.path().join("a.pgark"));
        options.memory = 8 << 20;
        let error = create::run(&options, &progress).unwrap_err();
        assert!(matches!(error, CreateError::Server(_)), "{error:?}");
        assert!(files(folder.path()).is_empty());
    }
}
