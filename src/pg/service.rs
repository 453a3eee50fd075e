//! `pg_service.conf`: named sets of connection parameters.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::conninfo::Pair;
use super::error::PgError;

/// A file to look a service up in.
pub(super) struct Place {
    pub(super) path: PathBuf,
    /// Whether it is an error that it does not exist.
    pub(super) required: bool,
}

/// The parameters of service `name`: those of the first file that has it.
pub(super) fn find(name: &str, places: &[Place]) -> Result<Vec<Pair>, PgError> {
    for place in places {
        let text = match fs::read(&place.path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == ErrorKind::NotFound && !place.required => continue,
            Err(error) => {
                return Err(PgError::File {
                    kind: "service file",
                    path: place.path.clone(),
                    problem: error.to_string(),
                    source: Some(error),
                });
            }
        };
        if let Some(pairs) = section(name, &text, &place.path)? {
            return Ok(pairs);
        }
    }
    Err(PgError::parameter("service", format!("there is no service named {name:?}")))
}

fn section(name: &str, text: &str, path: &Path) -> Result<Option<Vec<Pair>>, PgError> {
    let bad = |number: usize, problem: &str| PgError::File {
        kind: "service file",
        path: path.to_owned(),
        problem: format!("line {}: {problem}", number + 1),
        source: None,
    };
    let mut found: Option<Vec<Pair>> = None;
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(heading) = line.strip_prefix('[') {
            // A second section, of whatever name, ends the first.
            if found.is_some() {
                break;
            }
            if heading.split(']').next() == Some(name) {
                found = Some(Vec::new());
            }
            continue;
        }
        let Some(pairs) = &mut found else { continue };
        if line.starts_with("ldap") && line.contains("://") {
            return Err(bad(number, "looking parameters up by LDAP is not supported"));
        }
        let Some((key, value)) = line.split_once('=') else {
            return Err(bad(number, "it has no ="));
        };
        if matches!(key, "service" | "servicefile") {
            return Err(bad(number, "a service cannot name another service"));
        }
        // The first of two lines for one parameter counts.
        if !pairs.iter().any(|(seen, _)| seen == key) {
            pairs.push((key.to_owned(), value.to_owned()));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, text: &str) -> Result<Option<Vec<Pair>>, PgError> {
        section(name, text, Path::new("services"))
    }

    #[test]
    fn a_section_ends_at_the_next() {
        let text = "# all\nhost=nowhere\n[one]\nhost=a\n  port=1  \nhost=b\n\n[two]\nhost=c\n[one]\nuser=x\n";
        let pair = |k: &str, v: &str| (k.to_owned(), v.to_owned());
        assert_eq!(read("one", text).unwrap(), Some(vec![pair("host", "a"), pair("port", "1")]));
        assert_eq!(read("two", text).unwrap(), Some(vec![pair("host", "c")]));
        assert_eq!(read("on", text).unwrap(), None);
    }

    #[test]
    fn what_cannot_be_used_is_an_error() {
        for bad in ["[s]\nnonsense", "[s]\nservice=t", "[s]\nldap://x/y?z"] {
            let error = read("s", bad).unwrap_err().to_string();
            assert!(error.contains("line 2"), "{error}");
        }
        // Other sections are not looked at.
        assert!(read("s", "[t]\nnonsense\n[s]\nhost=x").unwrap().is_some());
    }

    #[test]
    fn files_are_asked_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let place = |name: &str, required| Place { path: dir.path().join(name), required };
        fs::write(dir.path().join("a"), "[x]\nhost=1\n").unwrap();
        fs::write(dir.path().join("b"), "[x]\nhost=2\n[y]\nhost=3\n").unwrap();
        let places = [place("none", false), place("a", true), place("b", false)];
        assert_eq!(find("x", &places).unwrap()[0].1, "1");
        assert_eq!(find("y", &places).unwrap()[0].1, "3");
        assert!(find("z", &places).unwrap_err().to_string().contains("\"z\""));
        assert!(find("x", &[place("none", true)]).is_err());
    }
}
