//! Servers of the library that vanish. Guards against a server or a database's worth of files that
//! stays behind, and against one that others can reach.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use pgark::pg::Session;
use pgark::pg::throwaway::{self, Binaries, Options, Server, ThrowawayError};
use pgark::progress::{Phase, Progress, Silent};

use crate::support::{MAJORS, bin_dir};

fn binaries(major: u32) -> Binaries {
    throwaway::find(major, Some(&bin_dir(major))).unwrap()
}

/// Processes that name this folder in their arguments: the server does, and the keeper's children.
fn processes(folder: &Path) -> Vec<String> {
    let ps = std::process::Command::new("ps").args(["-eo", "pid,args"]).output().unwrap();
    let folder = folder.to_str().unwrap();
    let text = String::from_utf8_lossy(&ps.stdout).into_owned();
    text.lines().filter(|line| line.contains(folder)).map(str::to_owned).collect()
}

fn ask(server: &Server, sql: &str) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let session = Session::open(&server.params("postgres").unwrap()).await.unwrap();
        let rows = session.rows("asking", sql, &[]).await.unwrap();
        rows.first().unwrap().get::<_, String>(0)
    })
}

#[test]
fn every_version_starts_and_vanishes() {
    for major in MAJORS {
        let options = Options { encoding: "LATIN1".into(), ..Options::default() };
        let server = Server::start(binaries(major), &options, &Silent).unwrap();
        let folder = server.folder().to_owned();
        assert_eq!(folder.metadata().unwrap().mode() & 0o777, 0o700, "others can reach it");
        assert_eq!(ask(&server, "SHOW server_encoding"), "LATIN1");
        assert_eq!(ask(&server, "SHOW listen_addresses"), "");
        assert_eq!(ask(&server, "SHOW server_version_num").get(..2).unwrap(), major.to_string());
        assert!(!processes(&folder).is_empty());
        server.stop().unwrap();
        assert!(!folder.exists());
        assert_eq!(processes(&folder), Vec::<String>::new());
    }
}

#[test]
fn a_panic_leaves_nothing() {
    let server = Server::start(binaries(16), &Options::default(), &Silent).unwrap();
    let folder = server.folder().to_owned();
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
        let _server = server;
        panic!("on purpose");
    }));
    assert!(panicked.is_err());
    assert!(!folder.exists());
    assert_eq!(processes(&folder), Vec::<String>::new());
}

/// Notes what the folder is that is being made, so that the test can look for it afterwards.
#[derive(Default)]
struct Impatient(AtomicBool);

impl Progress for Impatient {
    fn begin(&self, _: Phase, _: u64, _: u64) {}
    fn rows(&self, _: u64) {}
    fn bytes(&self, _: u64) {}
    fn on(&self, _: &str) {}
    fn note(&self, _: &str) {}
    fn interrupted(&self) -> bool {
        // Not at the first look: initdb is at work by the second.
        self.0.swap(true, Ordering::Relaxed)
    }
}

fn folders() -> Vec<std::path::PathBuf> {
    let all = std::fs::read_dir(std::env::temp_dir()).unwrap().map(|entry| entry.unwrap().path());
    all.filter(|path| path.to_string_lossy().contains("pgark-throwaway.")).collect()
}

/// Servers of other tests come and go meanwhile: each failure has a mark of its own in its folder.
#[test]
fn what_does_not_start_leaves_nothing() {
    let mark = format!("pgark_{}", std::process::id());
    let marked = |name: &str, value: &str| Options {
        settings: vec![("cluster_name".into(), mark.clone()), (name.into(), value.into())],
        ..Options::default()
    };
    let left = || {
        let ps = std::process::Command::new("ps").args(["-eo", "pid,args"]).output().unwrap();
        let text = String::from_utf8_lossy(&ps.stdout).into_owned();
        text.lines().filter(|line| line.contains(&mark)).map(str::to_owned).collect::<Vec<_>>()
    };
    let bad = Options { encoding: "NONSENSE".into(), ..marked("work_mem", "4MB") };
    match Server::start(binaries(15), &bad, &Silent) {
        Err(ThrowawayError::Failed { what: "initdb", log }) => {
            assert!(log.contains("NONSENSE"), "{log}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(left(), Vec::<String>::new());
    match Server::start(binaries(15), &marked("shared_preload_libraries", "nothing"), &Silent) {
        Err(ThrowawayError::Failed { what: "the server", log }) => {
            assert!(log.contains("nothing"), "{log}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(left(), Vec::<String>::new());
    let begun = Impatient::default();
    match Server::start(binaries(15), &marked("work_mem", "4MB"), &begun) {
        Err(ThrowawayError::Interrupted) => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(left(), Vec::<String>::new());
    // What is there now is of tests that still run: it has a keeper.
    for folder in folders() {
        let keeper = std::fs::read_to_string(folder.join("keeper"));
        let alive = keeper.is_ok_and(|pid| {
            std::process::Command::new("kill").args(["-0", pid.trim()]).status().unwrap().success()
        });
        assert!(alive || !folder.exists(), "{} was left", folder.display());
    }
}

/// A keeper that is killed itself can do nothing; the next one does it.
#[test]
fn what_a_killed_keeper_left_is_removed() {
    let server = Server::start(binaries(17), &Options::default(), &Silent).unwrap();
    let folder = server.folder().to_owned();
    let keeper = std::fs::read_to_string(folder.join("keeper")).unwrap();
    let killed = std::process::Command::new("kill").args(["-KILL", keeper.trim()]).status();
    assert!(killed.unwrap().success());
    match server.stop() {
        Err(ThrowawayError::Left(left)) => assert_eq!(left, folder),
        other => panic!("{other:?}"),
    }
    assert!(!processes(&folder).is_empty());
    let next = Server::start(binaries(14), &Options::default(), &Silent).unwrap();
    assert!(!folder.exists());
    assert_eq!(processes(&folder), Vec::<String>::new());
    next.stop().unwrap();
}
