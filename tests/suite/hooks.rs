//! Commands that a profile wants to be run, and one pgark at a time. Guards against a failure that
//! nobody is told of, a success that is told though something failed, a hook that never ends, a
//! password that is handed on, and two runs that undo each other's work.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::PGARK;
use crate::profiles::{Project, json};
use crate::support::{bin_dir, run};

const LOG: &str = "on_success = 'cat >> reports; echo \"$PGARK_HOOK $PGARK_COMMAND $PGARK_EXIT \
                   $PGARK_PROFILE ${PGARK_ARCHIVE:+archive} ${PGPASSWORD-no password}\" >> log'\n\
                   on_failure = ['sh', '-c', 'cat >> reports; echo \"$PGARK_HOOK $PGARK_COMMAND $PGARK_EXIT \
                   $PGARK_PROFILE ${PGARK_ARCHIVE:+archive} ${PGPASSWORD-no password}\" >> log']";

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

fn waits(what: &str, mut seen: impl FnMut() -> bool) {
    let since = Instant::now();
    while !seen() {
        assert!(since.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn every_work_of_a_profile_is_told_of() {
    let it = Project::new(17);
    it.config(LOG);
    let told = |args: &[&str]| {
        _ = std::fs::remove_file(it.path("log"));
        _ = std::fs::remove_file(it.path("reports"));
        let ran = run(it.pgark(args).env("PGPASSWORD", "hunter2"));
        let report = text(&it.path("reports"));
        let value = serde_json::from_str(&report).unwrap_or(serde_json::Value::Null);
        assert!(!report.contains("hunter2"));
        (ran, text(&it.path("log")), value)
    };
    for (args, has_archive) in [
        (&["create", "staging"][..], true),
        (&["create", "staging", "--json"], true),
        (&["check", "staging"], false),
        (&["check", "staging", "--against", "latest"], true),
        (&["drill", "staging"], true),
        (&["guard", "staging", "--", "true"], true),
        (&["restore", "staging", "--yes"], true),
        (&["restore", "staging", "--create", "hooked_beside"], true),
        (&["prune", "staging", "--yes", "--keep-last", "1"], false),
    ] {
        let (ran, log, report) = told(args);
        assert_eq!(ran.code, Some(0), "{args:?}: {}", ran.stderr);
        let archive = if has_archive { "archive" } else { "" };
        let line = format!("on_success {} 0 staging {archive} no password\n", args[0]);
        assert_eq!(log, line, "{args:?}");
        assert_eq!((&report["command"], &report["ok"]), (&args[0].into(), &true.into()));
        if args.contains(&"--json") {
            assert_eq!(json(&ran), report, "{args:?}");
        }
    }
    it.server.psql("postgres", "DROP DATABASE hooked_beside");

    // A look is no work, and neither is what is no profile's.
    let url = it.server.url(&it.database);
    for args in [
        &["restore", "staging", "--dry-run"][..],
        &["prune", "staging", "--dry-run", "--keep-last", "1"],
        &["verify", "staging"],
        &["list", "staging"],
        &["check", &url, "--against", "staging"],
    ] {
        let (ran, log, _) = told(args);
        assert_eq!((ran.code, log.as_str()), (Some(0), ""), "{args:?}: {}", ran.stderr);
    }

    // What was found is a failure, and so is what is refused.
    it.psql("INSERT INTO story VALUES (3, 4711)");
    for (args, exit) in [
        (&["create", "staging"][..], 1),
        (&["check", "staging"], 1),
        (&["guard", "staging", "--", "true"], 1),
        (&["guard", "staging", "--", "no-such-program"], 3),
        (&["restore", "staging"], 2),
        (&["prune", "staging", "--yes"], 2),
    ] {
        let (ran, log, report) = told(args);
        assert_eq!(ran.code, Some(exit), "{args:?}: {}", ran.stderr);
        assert!(
            log.starts_with(&format!("on_failure {} {exit} staging", args[0])),
            "{args:?}: {log}"
        );
        assert_eq!(report["ok"], false, "{args:?}");
    }

    // A server that is not there is an error with its words.
    let port = format!("port = {}\n", it.server.port());
    let broken = text(&it.path("pgark.toml")).replacen(&port, "port = 1\n", 1);
    std::fs::write(it.path("pgark.toml"), broken).unwrap();
    for args in [
        &["create", "staging"][..],
        &["check", "staging"],
        &["guard", "staging", "--", "true"],
        &["restore", "staging", "--yes"],
    ] {
        let (ran, log, report) = told(args);
        assert_eq!(ran.code, Some(3), "{args:?}: {}", ran.stderr);
        assert!(log.starts_with(&format!("on_failure {} 3 staging", args[0])), "{log}");
        let message = report["error"]["message"].as_str().unwrap();
        assert!(message.contains(".s.PGSQL.1"), "{message}");
        assert_eq!(report["error"]["exit"], 3);
    }
}

#[test]
fn a_hook_that_fails_is_heard_of() {
    let it = Project::new(16);
    let exits = |hook: &str, args: &[&str]| {
        it.config(hook);
        let ran = it.run(args);
        (ran.code, ran.stderr)
    };
    for (hook, said) in [
        ("on_success = 'exit 7'", "on_success of profile staging: it ended with exit status: 7"),
        ("on_success = ['/no/such/program']", "on_success of profile staging: it could not be run"),
    ] {
        let (code, stderr) = exits(hook, &["check", "staging"]);
        assert_eq!(code, Some(3), "{stderr}");
        assert!(
            stderr.contains(said) && stderr.contains("pgark check itself ended well"),
            "{stderr}"
        );
    }
    // What was found is not hidden by what came after.
    it.psql("INSERT INTO story VALUES (3, 4711)");
    let (code, stderr) = exits("on_failure = 'exit 7'", &["check", "staging"]);
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("nobody was told that pgark check ended with 1"), "{stderr}");
    it.psql("DELETE FROM story WHERE id = 3");

    // One that hangs is ended, with what it started.
    let hangs =
        "hook_timeout = 1\non_success = 'sleep 300 & echo $! > pid; echo $$ >> pid; sleep 300'";
    let since = Instant::now();
    let (code, stderr) = exits(hangs, &["check", "staging"]);
    assert!(since.elapsed() < Duration::from_secs(60));
    assert_eq!(code, Some(3), "{stderr}");
    assert!(
        stderr.contains("it had not ended after 1.0 s (hook_timeout), and was stopped"),
        "{stderr}"
    );
    for pid in text(&it.path("pid")).lines() {
        let state = text(&Path::new("/proc").join(pid).join("stat"));
        assert!(state.is_empty() || state.contains(") Z "), "{pid} is still there: {state}");
    }

    // One that reads nothing is none the worse for it, however long the report.
    let long = "x".repeat(100_000);
    let (code, stderr) =
        exits("on_success = 'sleep 0.1'", &["guard", "staging", "--", "true", &long]);
    assert_eq!(code, Some(0), "{stderr}");
}

/// What a hook runs may be pgark: it neither waits for the one that runs it, nor runs hooks.
#[test]
fn a_hook_may_run_pgark() {
    let it = Project::new(15);
    it.config(&format!(
        "on_success = '{PGARK} prune staging --yes --keep-last 2 >> out; echo \"$PGARK_COMMAND $?\" >> log'"
    ));
    for _ in 0..3 {
        it.ok(&["create", "staging"]);
    }
    assert_eq!(
        text(&it.path("log")),
        "create 0\ncreate 0\ncreate 0\n",
        "{}",
        text(&it.path("out"))
    );
    let archives = it.names("backups");
    assert_eq!(
        archives.iter().filter(|name| name.trim_end_matches(".pgark") != name.as_str()).count(),
        3
    );

    // And so may what is guarded.
    let ran = it.run(&["guard", "staging", "--", PGARK, "create", "staging"]);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
}

#[test]
fn one_at_a_time() {
    let it = Project::new(18);
    it.config("");
    it.ok(&["create", "staging"]);
    // A create that takes as long as it is let.
    let bin = it.path("bin");
    std::fs::create_dir(&bin).unwrap();
    let real = bin_dir(18).join("pg_dump");
    let slow = format!(
        "#!/bin/sh\nif [ \"$1\" != --version ]; then while [ -d {0} -a ! -e {0}/go ]; do sleep 0.05; done; fi\nexec {1} \"$@\"\n",
        it.path("").display(),
        real.display()
    );
    std::fs::write(bin.join("pg_dump"), slow).unwrap();
    let made = Command::new("chmod").arg("+x").arg(bin.join("pg_dump")).status().unwrap();
    assert!(made.success());
    let lock = it.path("backups/.pgark_staging.lock");
    let slowly = || {
        let mut command =
            it.pgark(&["create", "staging", "--pg-dump", bin.join("pg_dump").to_str().unwrap()]);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        waits("the lock", || text(&lock).contains(&format!("process {}", child.id())));
        child
    };
    let mut first = slowly();
    let process = format!("pgark create (process {}, since 20", first.id());
    for args in [&["create", "staging"][..], &["guard", "staging", "--", "touch", "ran"]] {
        let ran = it.run(args);
        assert_eq!(ran.code, Some(3), "{args:?}: {}", ran.stderr);
        assert!(
            ran.stderr.contains(&format!("profile staging: {process}"))
                && ran.stderr.contains("is at work on it"),
            "{}",
            ran.stderr
        );
    }
    // A restore into another database would find it in its way nowhere else.
    let ran = it.run(&["restore", "staging", "--create", "hooked_elsewhere"]);
    assert!(ran.code == Some(3) && ran.stderr.contains(&process), "{}", ran.stderr);
    assert!(!it.path("ran").exists());
    // Looking is free.
    it.ok(&["list", "staging"]);
    it.ok(&["check", "staging", "--against", "latest"]);

    // One that is killed leaves its lock file, which holds nobody up.
    first.kill().unwrap();
    first.wait().unwrap();
    assert!(lock.exists());
    let ran = it.ok(&["create", "staging"]);
    assert!(
        ran.stderr.contains(&process) && ran.stderr.contains("did not come to its end"),
        "{}",
        ran.stderr
    );
    assert!(!lock.exists());

    // With something to remove, prune waits its turn, too; then both come to their end.
    let mut second = slowly();
    for what in ["staging", "backups"] {
        let ran = it.run(&["prune", what, "--yes", "--keep-last", "1"]);
        assert_eq!(ran.code, Some(3), "{}", ran.stderr);
        assert!(ran.stderr.contains("is at work on it"), "{}", ran.stderr);
    }
    assert_eq!(it.names("backups").iter().filter(|name| name.ends_with("verdict")).count(), 2);
    std::fs::write(it.path("go"), "").unwrap();
    assert!(second.wait().unwrap().success());
    it.ok(&["prune", "staging", "--yes", "--keep-last", "1"]);
    assert_eq!(it.names("backups").iter().filter(|name| name.ends_with("verdict")).count(), 1);
}
