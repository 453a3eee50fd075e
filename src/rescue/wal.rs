//! What the WAL of the copy holds that is to be known before it is replayed, in the words of
//! `pg_waldump`. Where that is not there, or cannot read it, so be it: the server says what is wrong.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::Stdio;

use super::RescueError;
use super::control::Control;
use super::log::between;
use crate::pg::throwaway::Keeper;
use crate::progress::Progress;

/// Refuses WAL that makes a tablespace: replaying that would make it where it was, and write there.
pub(super) fn refuse_tablespaces(
    keeper: &Keeper,
    control: &Control,
    progress: &dyn Progress,
) -> Result<(), RescueError> {
    let mut found = None;
    each(keeper, control, "Tablespace", progress, |what| {
        let Some((oid, path)) = what.strip_prefix("CREATE ").and_then(|made| made.split_once(' '))
        else {
            return;
        };
        let path = PathBuf::from(path.trim_matches('"'));
        // An empty folder was made there on purpose.
        let is_new = std::fs::read_dir(&path).is_ok_and(|mut names| names.next().is_none());
        if path.is_absolute() && !is_new {
            found = Some(RescueError::MakesTablespace { oid: oid.parse().unwrap_or(0), path });
        }
    });
    found.map_or(Ok(()), Err)
}

/// When the last transaction was committed that will be replayed.
pub(super) fn last_commit(
    keeper: &Keeper,
    control: &Control,
    progress: &dyn Progress,
) -> Option<String> {
    let mut last = None;
    each(keeper, control, "Transaction", progress, |what| {
        if let Some(rest) = what.strip_prefix("COMMIT ") {
            last = Some(rest.split(';').next().unwrap_or(rest).trim().to_owned());
        }
    });
    last
}

/// Calls `tell` with what each record of a kind says, from where recovery begins to the end.
fn each(
    keeper: &Keeper,
    control: &Control,
    kind: &str,
    progress: &dyn Progress,
    mut tell: impl FnMut(&str),
) {
    let label = std::fs::read_to_string(keeper.folder().join("data/backup_label")).ok();
    let start = label.as_deref().and_then(start_of_backup);
    // Of a base backup recovery begins where the label says.
    let (redo, timeline) = start.unwrap_or_else(|| control.redo());
    let mut command = keeper.program("pg_waldump");
    command.arg("-r").arg(kind).arg("-t").arg(timeline).arg("-s").arg(redo);
    command.arg("-p").arg(keeper.folder().join("data/pg_wal")).env("TZ", "UTC");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let Ok(mut child) = command.spawn() else { return };
    if let Some(output) = child.stdout.take() {
        let lines = BufReader::new(output).lines().map_while(Result::ok);
        for line in lines.take_while(|_| !progress.interrupted()) {
            if let Some(what) =
                between(&line, ", desc: ", "\n").filter(|_| line.starts_with("rmgr:"))
            {
                tell(what);
            }
        }
    }
    // Where it is not at its end, nobody listens any more.
    _ = child.kill();
    _ = child.wait();
}

/// `START WAL LOCATION: 0/2000028 (file ...)` and `START TIMELINE: 1`.
fn start_of_backup(label: &str) -> Option<(&str, &str)> {
    let from = between(label, "START WAL LOCATION: ", " ")?;
    let timeline = label.lines().find_map(|line| line.strip_prefix("START TIMELINE: "))?;
    Some((from, timeline.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_base_backup_begins() {
        let label = "START WAL LOCATION: 0/2000028 (file 000000010000000000000002)\n\
                     CHECKPOINT LOCATION: 0/2000060\nSTART TIMELINE: 3\n";
        assert_eq!(start_of_backup(label), Some(("0/2000028", "3")));
        assert_eq!(start_of_backup("nonsense"), None);
    }
}
