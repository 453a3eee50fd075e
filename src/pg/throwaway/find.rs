//! Where the programs of a `PostgreSQL` server are.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::ThrowawayError;

/// The programs of one server: `postgres` and `initdb` in one folder.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Binaries {
    /// The folder.
    pub folder: PathBuf,
    /// The major version, such as 16.
    pub major: u32,
    /// The version as the server says it, such as `16.15`.
    pub version: String,
}

/// Finds a server of this major version, or of the nearest newer one.
///
/// With `given`, only there: a folder with the programs, one with a `bin` in it, or one with a
/// `<major>/bin` for each version. Else on the `PATH` and where the packages of Debian, Red Hat,
/// Alpine, Homebrew, Postgres.app and `PostgreSQL`'s own source put them.
///
/// # Errors
/// [`ThrowawayError::NoServer`], with what there is instead.
pub fn find(wanted: u32, given: Option<&Path>) -> Result<Binaries, ThrowawayError> {
    pick(wanted, given, false)
}

/// Finds a server of exactly this major version, as a data directory needs it; looks as [`find`]
/// does.
///
/// # Errors
/// [`ThrowawayError::NoServer`], with what there is instead.
pub fn find_exact(wanted: u32, given: Option<&Path>) -> Result<Binaries, ThrowawayError> {
    pick(wanted, given, true)
}

fn pick(wanted: u32, given: Option<&Path>, exact: bool) -> Result<Binaries, ThrowawayError> {
    let folders = match given {
        Some(given) => within(given),
        None => usual(),
    };
    let mut found: Vec<Binaries> = folders.iter().filter_map(|folder| ask(folder)).collect();
    // Stable: of equals the one that comes first, as on the PATH.
    found.sort_by_key(|binaries| binaries.major);
    let fits = |major: u32| if exact { major == wanted } else { major >= wanted };
    let place = found.iter().position(|binaries| fits(binaries.major));
    match place {
        Some(place) => Ok(found.swap_remove(place)),
        None => {
            Err(ThrowawayError::NoServer { wanted, exact, found, given: given.map(Path::to_owned) })
        }
    }
}

fn within(given: &Path) -> Vec<PathBuf> {
    let mut folders = vec![given.to_owned(), given.join("bin")];
    folders.extend(below(given, |name| name.bytes().all(|byte| byte.is_ascii_digit())));
    folders
}

fn usual() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    for (base, prefix) in [
        ("/usr/lib/postgresql", ""),
        ("/usr", "pgsql-"),
        ("/usr/local", "pgsql"),
        ("/opt/homebrew/opt", "postgresql"),
        ("/usr/local/opt", "postgresql"),
        ("/home/linuxbrew/.linuxbrew/opt", "postgresql"),
        ("/Applications/Postgres.app/Contents/Versions", ""),
        ("/usr/lib64", "postgresql-"),
        ("/usr/libexec", "postgresql"),
    ] {
        folders.extend(below(Path::new(base), |name| name.starts_with(prefix)));
    }
    folders
}

/// The folders in `base` whose names fit, and `bin` in them.
fn below(base: &Path, fits: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let entries = fs::read_dir(base).into_iter().flatten().flatten();
    let mut names: Vec<PathBuf> = entries
        .filter(|entry| fits(&entry.file_name().to_string_lossy()))
        .map(|entry| entry.path())
        .collect();
    names.sort();
    names.into_iter().flat_map(|folder| [folder.join("bin"), folder]).collect()
}

/// What is in a folder; none if no server is.
fn ask(folder: &Path) -> Option<Binaries> {
    let server = folder.join("postgres");
    // A relative folder would lead elsewhere for who starts it.
    if !folder.is_absolute() || !server.is_file() || !folder.join("initdb").is_file() {
        return None;
    }
    let answer =
        Command::new(server).arg("--version").stdin(Stdio::null()).stderr(Stdio::null()).output();
    let answer = String::from_utf8_lossy(&answer.ok()?.stdout).into_owned();
    let (major, version) = parse(&answer)?;
    Some(Binaries { folder: folder.to_owned(), major, version })
}

/// `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`, `... 19devel`.
fn parse(line: &str) -> Option<(u32, String)> {
    let rest = line.strip_prefix("postgres (PostgreSQL) ")?;
    let version = rest.split_whitespace().next()?;
    let digits = version.split(|c: char| !c.is_ascii_digit()).next()?;
    Some((digits.parse().ok()?, version.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn fake(folder: &Path, version: &str) {
        fs::create_dir_all(folder).unwrap();
        for program in ["postgres", "initdb"] {
            let path = folder.join(program);
            fs::write(&path, format!("#!/bin/sh\necho 'postgres (PostgreSQL) {version}'\n"))
                .unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
    }

    /// Guards against an older server being taken, and against a newer one than is needed.
    #[test]
    fn the_version_or_the_nearest_newer_one() {
        let dir = tempfile::tempdir().unwrap();
        for (folder, version) in [("14", "14.3"), ("16", "16.1 (Debian)"), ("18", "18beta1")] {
            fake(&dir.path().join(folder).join("bin"), version);
        }
        let major = |wanted| find(wanted, Some(dir.path())).map(|found| found.major);
        assert_eq!(major(14).unwrap(), 14);
        assert_eq!(major(15).unwrap(), 16);
        assert_eq!(major(17).unwrap(), 18);
        assert_eq!(find_exact(16, Some(dir.path())).unwrap().major, 16);
        match find_exact(17, Some(dir.path())) {
            Err(error) => assert!(error.to_string().contains("of version 17 was found"), "{error}"),
            other => panic!("{other:?}"),
        }
        match find(19, Some(dir.path())) {
            Err(ThrowawayError::NoServer { wanted: 19, found, .. }) => assert_eq!(found.len(), 3),
            other => panic!("{other:?}"),
        }
        // Half a server is none, in each of the ways a folder can be given.
        let one = dir.path().join("16/bin");
        assert_eq!(find(16, Some(&one)).unwrap().version, "16.1");
        assert_eq!(find(16, Some(&dir.path().join("16"))).unwrap().folder, one);
        fs::remove_file(one.join("initdb")).unwrap();
        assert_eq!(major(15).unwrap(), 18);
    }

    #[test]
    fn other_programs_are_no_servers() {
        assert_eq!(parse("postgres (PostgreSQL) 19devel"), Some((19, "19devel".into())));
        assert_eq!(parse("pg_ctl (PostgreSQL) 16.1"), None);
        assert_eq!(parse(""), None);
    }
}
