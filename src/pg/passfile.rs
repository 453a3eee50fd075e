//! `~/.pgpass`: passwords by host, port, database and user, as libpq reads them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::params::Secret;

/// The lines of a password file.
#[derive(Clone, Debug, Default)]
pub(super) struct Passfile {
    lines: Vec<Line>,
}

#[derive(Clone, Debug)]
struct Line {
    /// Host, port, database, user; `None` matches everything.
    fields: [Option<String>; 4],
    password: Secret,
}

impl Passfile {
    /// Reads a file. Like libpq it ignores one that is not there; one that others may read is
    /// ignored too, and `notes` says so.
    pub(super) fn read(path: &Path, notes: &mut Vec<String>) -> Self {
        let Ok(facts) = fs::metadata(path) else { return Self::default() };
        let shown = path.display();
        if !facts.is_file() {
            notes.push(format!("password file {shown} is not a plain file: ignored"));
            return Self::default();
        }
        if facts.permissions().mode() & 0o077 != 0 {
            notes.push(format!(
                "password file {shown} can be read by group or world: ignored, as libpq does"
            ));
            return Self::default();
        }
        match fs::read(path) {
            Ok(bytes) => Self::parse(&String::from_utf8_lossy(&bytes)),
            Err(error) => {
                notes.push(format!("password file {shown} could not be read: {error}"));
                Self::default()
            }
        }
    }

    fn parse(text: &str) -> Self {
        Self { lines: text.lines().filter_map(Line::parse).collect() }
    }

    /// The password of the first line that matches. `host` is the host name or `localhost` for a
    /// socket in a standard directory.
    pub(super) fn find(
        &self,
        host: &str,
        port: u16,
        database: &str,
        user: &str,
    ) -> Option<&Secret> {
        let port = port.to_string();
        let wanted = [host, &port, database, user];
        let line = self.lines.iter().find(|line| {
            line.fields
                .iter()
                .zip(wanted)
                .all(|(field, wanted)| field.as_deref().is_none_or(|field| field == wanted))
        })?;
        Some(&line.password)
    }
}

impl Line {
    /// `host:port:database:user:password`; a backslash takes the next character as it is. A line
    /// with fewer fields, or with an empty password, is no line.
    fn parse(line: &str) -> Option<Self> {
        let line = line.strip_suffix('\r').unwrap_or(line);
        if line.starts_with('#') {
            return None;
        }
        let mut rest = line;
        let mut fields = [const { None }; 4];
        for field in &mut fields {
            let (raw, after) = split(rest)?;
            *field = (raw != "*").then(|| unescape(raw));
            rest = after;
        }
        // The password ends at the next unescaped colon, if there is one.
        let password = split(rest).map_or(rest, |(password, _)| password);
        let password = unescape(password);
        (!password.is_empty()).then(|| Self { fields, password: Secret::new(password) })
    }
}

/// At the first colon that has no backslash in front.
fn split(text: &str) -> Option<(&str, &str)> {
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            ':' => return Some((text.get(..at)?, text.get(at + 1..)?)),
            _ => {}
        }
    }
    None
}

fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => out.extend(chars.next()),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(text: &str, host: &str, port: u16, database: &str, user: &str) -> Option<String> {
        Passfile::parse(text).find(host, port, database, user).map(|s| s.reveal().to_owned())
    }

    #[test]
    fn the_first_matching_line_wins() {
        let file = "# comment\n\
                    db:5432:app:alice:one\n\
                    db:*:*:alice:two\n\
                    *:*:*:*:three\n";
        assert_eq!(find(file, "db", 5432, "app", "alice").as_deref(), Some("one"));
        assert_eq!(find(file, "db", 5433, "app", "alice").as_deref(), Some("two"));
        assert_eq!(find(file, "elsewhere", 5433, "app", "bob").as_deref(), Some("three"));
        assert_eq!(find("db:5432:app:alice:one", "db", 5432, "app", "bob"), None);
    }

    /// Guards against addresses and passwords with colons being cut.
    #[test]
    fn backslashes_escape() {
        let file = r"\:\:1:5432:a\\b:\*:p\:w\\d:rest";
        assert_eq!(find(file, "::1", 5432, r"a\b", "*").as_deref(), Some(r"p:w\d"));
        // An escaped star is a star.
        assert_eq!(find(file, "::1", 5432, r"a\b", "someone"), None);
    }

    #[test]
    fn broken_lines_are_no_lines() {
        for bad in ["", "db", "db:5432:app:alice", "*:*:*:*:", "#*:*:*:*:x", ":::"] {
            assert_eq!(find(bad, "db", 5432, "app", "alice"), None, "{bad}");
        }
        assert_eq!(find("*:*:*:*:win\r\n", "h", 1, "d", "u").as_deref(), Some("win"));
    }

    /// Guards against using a file that everybody can read, and against not saying so.
    #[test]
    fn a_file_others_can_read_is_ignored_with_a_note() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pgpass");
        fs::write(&path, "*:*:*:*:x\n").unwrap();
        for (mode, used) in [(0o600, true), (0o640, false), (0o604, false), (0o400, true)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let mut notes = Vec::new();
            let file = Passfile::read(&path, &mut notes);
            assert_eq!(file.find("h", 1, "d", "u").is_some(), used, "{mode:o}");
            assert_eq!(notes.is_empty(), used);
        }
        let mut notes = Vec::new();
        Passfile::read(&dir.path().join("none"), &mut notes);
        assert!(notes.is_empty());
    }

    #[test]
    fn debug_output_has_no_password() {
        let file = Passfile::parse("*:*:*:*:hunter2");
        assert!(!format!("{file:?}").contains("hunter2"));
    }
}
