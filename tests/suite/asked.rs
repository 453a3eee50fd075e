//! The question before a database is replaced or archives are removed, on a terminal. Guards against
//! anything being done that nobody confirmed, and against a prompt that cannot be left.

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use crate::PGARK;
use crate::support::{Server, ok};

struct Setting {
    server: &'static Server,
    name: String,
    dir: tempfile::TempDir,
}

/// An archive of something else and a database; profiles that lead to it, one of them protected.
fn setting() -> Setting {
    let server = Server::shared(17);
    let source = server.database("asked_source");
    server.psql(&source, "CREATE TABLE t AS SELECT generate_series(1, 10) AS i");
    let dir = tempfile::tempdir().unwrap();
    let create = ["create", &server.url(&source), "-o"];
    ok(server.pgark(PGARK).args(create).arg(dir.path().join("a.pgark")));
    let name = server.database("asked");
    server.psql(&name, "CREATE TABLE old (x integer)");
    let url = server.url(&name);
    fs::write(
        dir.path().join("pgark.toml"),
        format!(
            "[profile.live]\nurl = \"{url}\"\nprotected = true\n[profile.test]\nurl = \"{url}\"\n"
        ),
    )
    .unwrap();
    Setting { server, name, dir }
}

/// What came of a command on a terminal.
struct Told {
    code: Option<i32>,
    /// What stood on the terminal, the typed echoed.
    screen: String,
}

impl Setting {
    /// Runs `pgark` on a pseudo-terminal, and types this when it has asked.
    fn asked(&self, options: &[&str], question: &str, typed: &[u8]) -> Told {
        self.asked_while(options, question, typed, || {})
    }

    /// The same, with something else done before it is typed.
    fn asked_while(
        &self,
        options: &[&str],
        question: &str,
        typed: &[u8],
        meanwhile: impl FnOnce(),
    ) -> Told {
        let mut meanwhile = Some(meanwhile);
        let mut line = format!("exec {PGARK}");
        for option in options {
            line.extend([" '", option, "'"]);
        }
        let mut command = Command::new("script");
        command.args(["-q", "-e", "-c", &line, "/dev/null"]).current_dir(self.dir.path());
        self.server.environment(&mut command);
        let path = std::env::var("PATH").unwrap_or_default();
        let tools = crate::support::bin_dir(17);
        command.env("PATH", format!("{}:{path}", tools.display())).env("NO_COLOR", "1");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut output = child.stdout.take().unwrap();
        let (sender, pieces) = mpsc::channel();
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(length @ 1..) = output.read(&mut piece) {
                if sender.send(piece[..length].to_vec()).is_err() {
                    return;
                }
            }
        });
        let (mut screen, mut stdin, mut answered) = (Vec::new(), child.stdin.take(), false);
        let end = Instant::now() + Duration::from_secs(120);
        loop {
            match pieces.recv_timeout(Duration::from_millis(100)) {
                Ok(piece) => screen.extend(piece),
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {}
            }
            let told = String::from_utf8_lossy(&screen);
            // Open until the end: `script` ends when there is nothing more to read.
            if told.contains(question)
                && let Some(stdin) = &mut stdin
                && !answered
            {
                meanwhile.take().unwrap()();
                stdin.write_all(typed).unwrap();
                answered = true;
            }
            assert!(Instant::now() < end, "{told}");
        }
        drop(stdin);
        let code = child.wait().unwrap().code();
        Told { code, screen: String::from_utf8_lossy(&screen).into_owned() }
    }

    fn file(&self) -> String {
        self.dir.path().join("a.pgark").display().to_string()
    }

    fn databases(&self) -> Vec<String> {
        let sql = format!(
            "SELECT datname FROM pg_database WHERE datname ~ '^{}(_|$)' ORDER BY 1",
            self.name
        );
        self.server.psql("postgres", &sql).lines().map(ToOwned::to_owned).collect()
    }

    /// Nothing was made, renamed, saved or lost.
    fn assert_untouched(&self) {
        assert_eq!(self.databases(), std::slice::from_ref(&self.name));
        assert_eq!(self.server.psql(&self.name, "SELECT count(*) FROM old"), "0");
        let files: Vec<PathBuf> =
            fs::read_dir(self.dir.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(files.len(), 2, "{files:?}");
    }
}

const ENTER: &str = "\r";
const CTRL_C: &[u8] = b"\x03";
const CTRL_D: &[u8] = b"\x04";

#[test]
fn anything_but_the_word_changes_nothing() {
    let it = setting();
    let (file, url) = (it.file(), it.server.url(&it.name));
    let swap = ["restore", &file, "--to", &url, "--swap"];
    let protected = ["restore", "live", &file];
    for (options, question) in [
        (&swap[..], format!("Replace database {}? Type yes:", it.name)),
        (&protected[..], format!("Replace database {}? Type live:", it.name)),
    ] {
        for (typed, code, word) in [
            (format!("no{ENTER}").into_bytes(), 3, "not confirmed: nothing was done"),
            (ENTER.into(), 3, "not confirmed: nothing was done"),
            (format!("yes live{ENTER}").into_bytes(), 3, "not confirmed: nothing was done"),
            (CTRL_D.to_vec(), 3, "not confirmed: nothing was done"),
            (CTRL_C.to_vec(), 130, "interrupted"),
        ] {
            let told = it.asked(options, &question, &typed);
            assert_eq!(told.code, Some(code), "{typed:?}: {}", told.screen);
            for word in [word, "nothing was done", "_before_<time>"] {
                assert!(told.screen.contains(word), "{word}: {}", told.screen);
            }
            it.assert_untouched();
        }
    }
    // The word of the one is not that of the other.
    let told = it.asked(&protected, "Type live:", format!("yes{ENTER}").as_bytes());
    assert_eq!(told.code, Some(3), "{}", told.screen);
    it.assert_untouched();
}

#[test]
fn the_word_replaces_it() {
    for (protected, word) in [(false, "yes"), (true, "live")] {
        let it = setting();
        let (file, url) = (it.file(), it.server.url(&it.name));
        let options = if protected {
            vec!["restore", "live", &file, "--no-safety"]
        } else {
            vec!["restore", &file, "--to", &url, "--swap"]
        };
        let told = it.asked(&options, "Type ", format!("{word}{ENTER}").as_bytes());
        assert_eq!(told.code, Some(0), "{}", told.screen);
        assert!(told.screen.contains("RESTORED AND EQUAL."), "{}", told.screen);
        assert_eq!(it.server.psql(&it.name, "SELECT count(*) FROM t"), "10");
        assert_eq!(it.databases().len(), 2);
    }
}

/// What is removed is what was shown, whatever has come since.
#[test]
fn only_what_was_asked_about_is_removed() {
    let it = setting();
    let create = |second: u64| {
        let mut command = it.server.pgark(PGARK);
        command.args(["create", "test", "--created", &second.to_string()]);
        ok(command.current_dir(it.dir.path()));
    };
    let there = || -> Vec<String> {
        let names = fs::read_dir(it.dir.path().join("backups")).unwrap();
        let mut names: Vec<String> =
            names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.retain(|name| name.ends_with("0.pgark"));
        names.sort();
        names
    };
    create(1_764_000_000);
    create(1_764_000_010);
    let old = there();
    let prune = ["prune", "test", "--keep-last", "1"];
    let told = it.asked(&prune, "Type yes:", format!("no{ENTER}").as_bytes());
    assert_eq!((told.code, there()), (Some(3), old.clone()), "{}", told.screen);
    let yes = format!("yes{ENTER}");
    let told = it.asked_while(&prune, "Type yes:", yes.as_bytes(), || create(1_764_000_020));
    assert_eq!(told.code, Some(0), "{}", told.screen);
    // Nor is more said to be removed.
    let end = told.screen.rsplit("Type yes:").next().unwrap();
    assert!(end.contains("1 archive of ") && end.contains(" removed."), "{}", told.screen);
    let left = there();
    assert_eq!((left.len(), &left[0]), (2, &old[1]), "{}", told.screen);
}
