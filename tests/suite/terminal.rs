//! What a person sees on a terminal while a command works. Guards against a flash of something that
//! means nothing, and against lines that wrap.

use std::process::{Command, Stdio};

use crate::PGARK;
use crate::support::{Server, bin_dir, ok};

/// The words that a line of progress may begin with.
const PHASES: [&str; 7] = [
    "starting",
    "reading schema",
    "saving rows",
    "closing archive",
    "verifying",
    "checking images",
    "checking keys",
];

/// Runs a line of the shell on a pseudo-terminal of 80 columns; what was written to it.
fn on_terminal(server: &Server, line: &str) -> String {
    let mut command = Command::new("script");
    command.args(["-q", "-e", "-c", &format!("stty cols 80 rows 24; {line}"), "/dev/null"]);
    server.environment(&mut command);
    let path = std::env::var("PATH").unwrap_or_default();
    let tools = bin_dir(server.major());
    command.env("PATH", format!("{}:{path}", tools.display())).env("TERM", "xterm");
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Open until the end: `script` ends when there is nothing more to read.
    let stdin = child.stdin.take();
    let output = child.wait_with_output().unwrap();
    drop(stdin);
    let screen = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{screen}");
    screen
}

#[test]
fn progress_is_drawn_whole_and_in_one_line() {
    let server = Server::shared(17);
    let source = server.database("terminal");
    server.psql(
        &source,
        "CREATE TABLE t AS SELECT i, decode(repeat(md5(i::text), 2000), 'hex') AS b \
         FROM generate_series(1, 2000) AS i",
    );
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a.pgark").display().to_string();
    let screen =
        on_terminal(server, &format!("{PGARK} create '{}' -o {file}", server.url(&source)));
    // Every line is drawn over the one before, after it was erased.
    let (drawn, _) = screen.rsplit_once("\r\u{1b}[2K").expect("progress was drawn");
    let mut seen = std::collections::BTreeSet::new();
    for line in drawn.split("\r\u{1b}[2K").filter(|line| !line.is_empty()) {
        let text = line.trim_end();
        let phase = PHASES.iter().find(|phase| text.starts_with(**phase));
        seen.insert(*phase.unwrap_or_else(|| panic!("{text:?} in {screen:?}")));
        assert!(line.chars().count() <= 80 && !line.contains('\n'), "{line:?}");
    }
    assert!(seen.contains("saving rows"), "{screen:?}");
    // Nothing of it is left under the result.
    let end = screen.rsplit("\r\u{1b}[2K").next().unwrap_or_default();
    assert!(end.contains("saved and verified"), "{end:?}");
    // Where it is not wanted, there is none.
    let quiet = on_terminal(server, &format!("{PGARK} verify {file} --no-progress"));
    assert!(!quiet.contains('\u{1b}') || !quiet.contains("[2K"), "{quiet:?}");
    ok(server.pgark(PGARK).args(["verify", &file]));
}
