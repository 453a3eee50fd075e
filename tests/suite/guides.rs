//! The guides in `docs/guides`: every command in them is run, in order, and has to say what the page
//! says it does. Guards against a procedure that no longer works on the day it is needed.
//!
//! A block that begins with `console` holds commands (`$ ...`, going on after a `\\`) and what they
//! print on both channels. Sizes, times, dates and digests may differ; a line `...` stands for any lines.
//! `PGARK_BLESS=1` writes what was printed into the page where it differs.
//!
//! A block of `toml` that begins with `# pgark.toml` is written to that file; `/run/postgresql` in it
//! stands for the server's socket. `docker compose restart db` restarts the server.
//!
//! Each page has a server of its own with the sample in database `shop`, an empty folder to work in, and
//! libpq's environment set to that server.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use regex_lite::Regex;

use crate::PGARK;
use crate::guard::server_script as restart_script;
use crate::roundtrip::load_sample;
use crate::support::{Server, bin_dir, root, run};

/// A command of a page, and the lines of the page that say what it prints.
struct Step {
    command: String,
    from: usize,
    to: usize,
}

fn steps(page: &[&str]) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut inside = false;
    let mut at = 0;
    while at < page.len() {
        let line = page[at];
        at += 1;
        if let Some(kind) = line.strip_prefix("```") {
            inside = !inside && kind == "console";
            continue;
        }
        if !inside {
            continue;
        }
        let Some(first) = line.strip_prefix("$ ") else {
            steps.last_mut().expect("a command before its output").to = at;
            continue;
        };
        let mut command = first.to_owned();
        while let Some(open) = command.strip_suffix('\\') {
            command = format!("{open}{}", page[at].trim_start_matches("> ").trim_start());
            at += 1;
        }
        steps.push(Step { command, from: at, to: at });
    }
    steps
}

/// What may differ from run to run is put in place of itself.
struct Same(Vec<(Regex, &'static str)>);

impl Same {
    fn new() -> Self {
        let rules = [
            (r"\d{8}_\d{6}", "STAMP"),
            (r"\d{4}-\d\d-\d\dT[0-9:.]+Z", "DATE"),
            (r"\d{4}-\d\d-\d\d \d\d:\d\d(:\d\d(\.\d+)?)?( UTC)?", "DATE"),
            (r"\b[0-9a-f]{64}\b", "DIGEST"),
            (r"\b[0-9a-f]{12}\b", "DIGEST"),
            (r"\b[0-9A-F]+/[0-9A-F]+\b", "LSN"),
            (r"PostgreSQL \d+\.\d+( \([^)]*\))?", "SERVER"),
            (r"\d+(\.\d+)? (s|ms|min)\b", "TIME"),
            (r"\d[\d,]*(\.\d+)? (B|KiB|MiB|GiB|TiB|bytes)\b", "SIZE"),
            (r"\d+\.\d %", "SHARE"),
            (r"pgark \d+\.\d+\.\d+", "pgark VERSION"),
            (r"server \d+\.\d+(, as user \w+)?$", "server VERSION"),
            (r"\b[\d,]+ files", "FILES"),
            // Columns are as wide as what stands in them.
            (r" {2,}", "  "),
        ];
        Self(rules.map(|(rule, word)| (Regex::new(rule).unwrap(), word)).into())
    }

    fn line(&self, line: &str) -> String {
        let trimmed = line.trim_end().to_owned();
        self.0
            .iter()
            .fold(trimmed, |line, (rule, word)| rule.replace_all(&line, *word).into_owned())
    }

    fn told(&self, page: &[&str], printed: &[String]) -> bool {
        match page.split_first() {
            None => printed.is_empty(),
            Some((&"...", rest)) => {
                (0..=printed.len()).any(|skip| self.told(rest, &printed[skip..]))
            }
            Some((line, rest)) => {
                let first = printed.first();
                first.is_some_and(|first| self.line(line) == self.line(first))
                    && self.told(rest, &printed[1..])
            }
        }
    }
}

/// What is only told to root, whose servers run as somebody else, and on a machine that is slow today.
fn of_this_machine(line: &str) -> bool {
    let begins = [
        "note: PostgreSQL does not run as root",
        "note: user ",
        // Progress, a line every five seconds.
        "looking through:",
        "copying:",
        "server:",
        "checking pages:",
        "reading schema:",
        "saving rows:",
        "closing archive:",
        "verifying:",
        "checking images:",
        "checking keys:",
    ];
    begins.iter().any(|begin| line.starts_with(begin))
}

fn follow(name: &str) {
    let path = root().join("docs/guides").join(name);
    let text = std::fs::read_to_string(&path).unwrap();
    let page: Vec<&str> = text.lines().collect();
    let server = Server::start(17);
    server.createdb("shop");
    load_sample(&server, "shop");
    let here = tempfile::tempdir().unwrap();
    std::fs::copy(root().join("fixtures/sample/pgark.toml"), here.path().join("rules.toml"))
        .unwrap();
    let same = Same::new();
    let mut written: Vec<String> = Vec::new();
    let (mut at, mut code, mut differ) = (0, 0, Vec::new());
    if let Some((_, block)) = text.split_once("```toml\n# pgark.toml\n") {
        let (block, _) = block.split_once("```").expect("an end of the block");
        let socket = server.socket_dir().display().to_string();
        let block = block.replace("/run/postgresql", &socket);
        std::fs::write(here.path().join("pgark.toml"), block).unwrap();
    }
    let docker = stand_in(&server);
    for step in steps(&page) {
        written.extend(page[at..step.from].iter().map(ToString::to_string));
        at = step.to;
        let ran = run(&mut shell(
            &server,
            docker.path(),
            here.path(),
            &format!("(exit {code}); {}", step.command),
        ));
        code = ran.code.unwrap_or(255);
        let anywhere = ran.stdout.replace(&here.path().display().to_string(), "/srv/shop");
        let socket = server.socket_dir().display().to_string();
        let anywhere = anywhere.replace(&socket, "/run/postgresql");
        let lines = anywhere.lines().filter(|line| !of_this_machine(line));
        let printed: Vec<String> = lines.map(|line| line.trim_end().to_owned()).collect();
        let said = &page[step.from..step.to];
        if same.told(said, &printed) {
            written.extend(said.iter().map(ToString::to_string));
        } else {
            differ.push(format!("$ {}\n{}", step.command, printed.join("\n")));
            written.extend(printed);
        }
    }
    written.extend(page[at..].iter().map(ToString::to_string));
    if std::env::var_os("PGARK_BLESS").is_some() {
        std::fs::write(&path, written.join("\n") + "\n").unwrap();
    } else {
        assert!(
            differ.is_empty(),
            "docs/guides/{name} is not what is printed:\n{}",
            differ.join("\n")
        );
    }
}

/// A folder with a `docker` that restarts this server, whatever is asked of it.
fn stand_in(server: &Server) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("docker");
    std::fs::write(&path, restart_script(server, "-w restart")).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
    folder
}

/// A shell in which `pgark` and the server's programs are found.
fn shell(server: &Server, docker: &Path, here: &Path, line: &str) -> Command {
    let mut command = Command::new("bash");
    // One channel for both, as on a terminal.
    command.arg("-c").arg(format!("exec 2>&1; {line}")).current_dir(here);
    server.environment(&mut command);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let own = Path::new(PGARK).parent().unwrap().to_owned();
    let dirs: Vec<PathBuf> = [own, docker.to_owned(), bin_dir(server.major())]
        .into_iter()
        .chain(std::env::split_paths(&path))
        .collect();
    command.env("PATH", std::env::join_paths(dirs).unwrap()).env("HOME", here);
    command.env("COLUMNS", "80").env_remove("PGARK_CONFIG");
    command
}

macro_rules! guides {
    ($($test:ident $file:literal)*) => {
        $(
            #[test]
            fn $test() {
                follow($file);
            }
        )*

        #[test]
        fn every_guide_is_followed() {
            let mut files: Vec<String> = std::fs::read_dir(root().join("docs/guides"))
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            files.retain(|name| name != "README.md");
            files.sort();
            let index = std::fs::read_to_string(root().join("docs/guides/README.md")).unwrap();
            for name in &files {
                assert!(index.contains(&format!("({name})")), "README.md does not lead to {name}");
            }
            let mut listed = [$($file),*];
            listed.sort_unstable();
            assert_eq!(files, listed);
        }
    };
}

guides! {
    after_a_restart "after-a-restart.md"
    by_hand "by-hand.md"
    damaged_archive "damaged-archive.md"
    first_backup "first-backup.md"
    lost_images "lost-images.md"
    old_dumps "old-dumps.md"
    restoring "restoring.md"
    risky_step "risky-step.md"
    staging_to_production "staging-to-production.md"
    surviving_volume "surviving-volume.md"
}

#[test]
fn a_page_that_says_something_else_is_told() {
    let same = Same::new();
    let printed = ["a 1.5 s".to_owned(), "b".to_owned(), "c".to_owned()];
    assert!(same.told(&["a 2.0 s", "b", "c"], &printed));
    assert!(same.told(&["a 2.0 s", "..."], &printed));
    assert!(same.told(&["...", "c"], &printed));
    assert!(!same.told(&["a 2.0 s", "b"], &printed));
    assert!(!same.told(&["...", "d"], &printed));
    assert!(!same.told(&["a", "b", "c"], &printed));
}
