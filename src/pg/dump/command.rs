//! Finding `pg_dump` and running it.

use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::{env, fs, io};

use libpgdump::{CustomReader, Entry};
use tokio::process::Command;

use super::DumpError;
use crate::pg::params::Params;
use crate::pg::snapshot::Snapshot;

/// What a run of `pg_dump` gave.
pub(super) struct Dumped {
    pub(super) entries: Vec<Entry>,
    pub(super) version: String,
    pub(super) warnings: Vec<String>,
}

/// A command that answered as `pg_dump`.
struct Found {
    words: Vec<String>,
    /// The first line of its answer to `--version`.
    line: String,
    version: Version,
}

#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Version {
    major: u32,
    minor: u32,
    text: String,
}

impl Found {
    fn name(&self) -> String {
        self.words.join(" ")
    }
}

pub(super) async fn run(snapshot: &Snapshot, command: &str) -> Result<Dumped, DumpError> {
    let params = snapshot.params();
    let server = snapshot.lead().server_version_num() / 10_000;
    let found = if command.trim().is_empty() {
        search(params, server).await?
    } else {
        let words = split_command(command)
            .ok_or_else(|| DumpError::Words { command: command.to_owned() })?;
        ask(params, words).await?
    };
    if found.version.major < server {
        let (command, version) = (found.name(), found.version.text);
        return Err(DumpError::TooOld { command, version, server });
    }
    dump(snapshot, found).await
}

async fn dump(snapshot: &Snapshot, found: Found) -> Result<Dumped, DumpError> {
    let name = found.name();
    let start = |source: io::Error| DumpError::Start { command: name.clone(), source };
    let output = tempfile::tempfile().map_err(start)?;
    let mut child = command(snapshot.params(), &found.words);
    child
        .args(["--format=custom", "--compress=0", "--section=pre-data", "--section=post-data"])
        .args(["--no-blobs", "--no-password", "--encoding"])
        .arg(match snapshot.lead().server_encoding() {
            // Names go through as the bytes they are; what is not UTF-8 then fails to be read.
            "SQL_ASCII" => "SQL_ASCII",
            _ => "UTF8",
        })
        .arg(format!("--snapshot={}", snapshot.id()))
        // Somebody may be waiting for a lock that ours keeps from them, and keep pg_dump waiting.
        .arg(format!("--lock-wait-timeout={}", snapshot.lock_timeout().as_millis().max(1)))
        // Said again for a command that does not pass its environment on, as in a container.
        .arg(format!("--dbname={}", connection(snapshot.params().database())))
        .stdout(Stdio::from(output.try_clone().map_err(start)?));
    // Not `output()`, which would take standard output back from the file.
    let ended = child.spawn().map_err(start)?.wait_with_output().await.map_err(start)?;
    let said = String::from_utf8_lossy(&ended.stderr).trim().to_owned();
    if !ended.status.success() {
        return Err(DumpError::Failed { command: name, status: ended.status, said });
    }
    let read = |source| DumpError::Read { command: found.name(), source };
    let reader =
        CustomReader::open(BufReader::new(rewound(output).map_err(start)?)).map_err(read)?;
    Ok(Dumped {
        entries: reader.entries().to_vec(),
        version: found.line,
        warnings: said.lines().map(str::to_owned).filter(|line| !line.is_empty()).collect(),
    })
}

fn rewound(mut file: fs::File) -> io::Result<fs::File> {
    io::Seek::rewind(&mut file)?;
    Ok(file)
}

/// A child with the connection in its environment, and nothing else that libpq would look at.
fn command(params: &Params, words: &[String]) -> Command {
    let mut words = words.iter();
    let mut command = Command::new(words.next().map_or("pg_dump", String::as_str));
    command.args(words);
    for name in Params::libpq_variables() {
        command.env_remove(name);
    }
    command.envs(params.pg_dump_env()).env("LC_ALL", "C");
    command.stdin(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    command
}

/// A database name as `--dbname` takes it: one that could be read as a connection string has to be
/// written as one.
fn connection(database: &str) -> String {
    if !database.contains('=') && !database.contains("://") {
        return database.to_owned();
    }
    format!("dbname='{}'", database.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// Asks a command for its version.
async fn ask(params: &Params, words: Vec<String>) -> Result<Found, DumpError> {
    let mut child = command(params, &words);
    child.arg("--version").stdout(Stdio::piped());
    let name = words.join(" ");
    let ended = child
        .output()
        .await
        .map_err(|source| DumpError::Start { command: name.clone(), source })?;
    if !ended.status.success() {
        let said = String::from_utf8_lossy(&ended.stderr).trim().to_owned();
        return Err(DumpError::Failed { command: name, status: ended.status, said });
    }
    let line = String::from_utf8_lossy(&ended.stdout).lines().next().unwrap_or("").to_owned();
    match parse_version(&line) {
        Some(version) => Ok(Found { words, line, version }),
        None => Err(DumpError::NoVersion { command: name, answer: line }),
    }
}

/// `pg_dump (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`, `... 19devel`.
fn parse_version(line: &str) -> Option<Version> {
    let text = line.starts_with("pg_dump ").then(|| {
        line.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()))
    })??;
    let mut numbers = text.split(|c: char| !c.is_ascii_digit());
    let major = numbers.next()?.parse().ok()?;
    let minor = numbers.next().and_then(|n| n.parse().ok()).unwrap_or(0);
    Some(Version { major, minor, text: text.to_owned() })
}

async fn search(params: &Params, server: u32) -> Result<Found, DumpError> {
    let mut all = Vec::new();
    for path in candidates() {
        // What does not answer is not one.
        if let Ok(found) = ask(params, vec![path.to_string_lossy().into_owned()]).await {
            all.push(found);
        }
    }
    // `min_by_key` and `max_by_key` differ in which of equals they take: the first found is meant.
    all.sort_by(|a, b| b.version.cmp(&a.version));
    let own = all.iter().position(|found| found.version.major == server).unwrap_or(0);
    if all.is_empty() {
        return Err(DumpError::NotFound { server });
    }
    Ok(all.swap_remove(own))
}

/// Every `pg_dump` on the `PATH`, beside this program, and where packages put them.
fn candidates() -> Vec<PathBuf> {
    let mut folders: Vec<PathBuf> =
        env::var_os("PATH").map(|path| env::split_paths(&path).collect()).unwrap_or_default();
    if let Some(own) = env::current_exe().ok().as_deref().and_then(Path::parent) {
        folders.push(own.to_owned());
    }
    for (base, prefix) in [
        ("/usr/lib/postgresql", ""),
        ("/usr", "pgsql-"),
        ("/usr/local", "pgsql"),
        ("/opt/homebrew/opt", "postgresql"),
        ("/usr/local/opt", "postgresql"),
        ("/opt/homebrew/opt", "libpq"),
    ] {
        let mut versions: Vec<PathBuf> = fs::read_dir(base)
            .into_iter()
            .flatten()
            .flatten()
            .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
            .map(|entry| entry.path().join("bin"))
            .collect();
        versions.sort();
        folders.append(&mut versions);
    }
    let mut found: Vec<PathBuf> = Vec::new();
    for folder in folders {
        let path = folder.join("pg_dump");
        if path.is_file() && !found.contains(&path) {
            found.push(path);
        }
    }
    found
}

/// Splits a command line into words as a shell would: at blanks, with single and double quotes and
/// backslashes, and nothing else that means anything. None if it ends within quotes or is empty.
pub fn split_command(command: &str) -> Option<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = command.chars();
    while let Some(c) = chars.next() {
        match (quote, c) {
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (Some(open), c) if c == open => quote = None,
            (None | Some('"'), '\\') => word.get_or_insert_default().push(chars.next()?),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    (quote.is_none() && !words.is_empty()).then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guards against a path with a blank being torn apart, and against half a command being run.
    #[test]
    fn commands_are_split_as_a_shell_does() {
        let words = |text| split_command(text).unwrap_or_default().join("|");
        assert_eq!(words("docker exec -i db pg_dump"), "docker|exec|-i|db|pg_dump");
        assert_eq!(words(r#"'/a b/pg_dump' "" c\ d "e\"f""#), r#"/a b/pg_dump||c d|e"f"#);
        assert_eq!(split_command("'open"), None);
        assert_eq!(split_command("  "), None);
        assert_eq!(split_command("a\\"), None);
    }

    /// Guards against distributions' additions to the version being taken for a part of it.
    #[test]
    fn versions_are_read_as_distributions_write_them() {
        let version = |line| parse_version(line).map(|v| (v.major, v.minor));
        let debian = "pg_dump (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)";
        assert_eq!(version(debian), Some((15, 18)));
        assert_eq!(version("pg_dump (PostgreSQL) 19devel"), Some((19, 0)));
        assert_eq!(version("pg_restore (PostgreSQL) 15.1"), None);
    }

    /// Guards against a database whose name looks like a connection string.
    #[test]
    fn a_database_name_is_never_a_connection_string() {
        assert_eq!(connection("my db"), "my db");
        assert_eq!(connection("host=evil"), "dbname='host=evil'");
        assert_eq!(connection("a='b"), "dbname='a=\\'b'");
    }
}
