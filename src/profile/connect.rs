//! From a profile to a connection.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::config::Profile;
use super::docker::{Container, DockerError};
use super::tunnel::{self, Tunnel};
use crate::pg::{Params, PgError};

/// A longer file holds no password.
const LONGEST: u64 = 64 << 10;

/// How to reach a profile's database.
#[derive(Debug)]
pub struct Connected {
    /// The connection.
    pub params: Params,
    /// The command for `pg_dump`, where it runs in a container.
    pub pg_dump: Option<String>,
    /// The words of a `psql` that leads to the same database, for people; without a password.
    pub psql: Vec<String>,
    /// What a person should know.
    pub notes: Vec<String>,
    /// What the connection goes through: it is open as long as this lives.
    tunnel: Option<Tunnel>,
}

impl Connected {
    /// Whether the connection goes through `docker exec`.
    pub fn is_tunnelled(&self) -> bool {
        self.tunnel.is_some()
    }
}

/// Why a profile leads to no database.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Its parameters make no sense.
    #[error(transparent)]
    Parameters(#[from] PgError),
    /// Its container cannot be used.
    #[error(transparent)]
    Docker(#[from] DockerError),
    /// Its password file cannot be read.
    #[error("password file {}: {source}", path.display())]
    Password {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl Profile {
    /// Puts the connection together; asks docker where the server is in a container. Nothing is
    /// connected to yet.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub fn connect(&self) -> Result<Connected, ConnectError> {
        let mut notes = self.notes.clone();
        let mut pairs = self.connection.clone();
        if let Some(path) = &self.password_file {
            pairs.push(("password".to_owned(), password(path, &mut notes)?));
        }
        let Some(place) = &self.place else {
            let conn = list(&pairs);
            let params = if self.names_place() {
                Params::resolve_apart(&conn)?
            } else {
                Params::resolve(Some(&conn))?
            };
            notes.extend(params.notes().iter().cloned());
            let psql = psql(&params);
            return Ok(Connected { params, pg_dump: None, psql, notes, tunnel: None });
        };
        let container = place.find()?;
        let says = |name: &str| self.says(name);
        let mut add = |name: &str, value: &str| pairs.push((name.to_owned(), value.to_owned()));
        if !says("user") {
            add("user", &container.user);
        }
        if !says("dbname") {
            add("dbname", &container.database);
        }
        let given = says("host") || says("hostaddr");
        let published = container.published.filter(|_| !given);
        if let Some((address, port)) = published {
            add("host", &address.to_string());
            add("port", &port.to_string());
        }
        let mut params =
            Params::resolve_apart(&list(&pairs))?.or_password(container.password.clone());
        let mut tunnel = None;
        // Over a published port the server asks for a password; from within its container it asks
        // for none, as the official images set it up.
        if !given && (published.is_none() || !(params.has_password() || container.trusts)) {
            let open = Tunnel::open(&container)?;
            params = through(&open, &container, pairs)?;
            tunnel = Some(open);
        }
        notes.extend(params.notes().iter().cloned());
        let place = match published.filter(|_| tunnel.is_none()) {
            Some((address, port)) => format!("container {} ({address}:{port})", container.name),
            None => format!("container {}", container.name),
        };
        let inside = container.psql(params.user(), params.database());
        let psql = if given { psql(&params) } else { inside };
        let params = if given { params } else { params.at(place) };
        Ok(Connected { params, pg_dump: Some(container.pg_dump()), psql, notes, tunnel })
    }
}

/// The words of a `psql` of this machine that leads there.
pub fn psql(params: &Params) -> Vec<String> {
    std::iter::once("psql".to_owned()).chain(params.psql()).collect()
}

/// The parameters with the tunnel's end for host and port.
fn through(
    tunnel: &Tunnel,
    container: &Container,
    mut pairs: Vec<(String, String)>,
) -> Result<Params, PgError> {
    pairs.retain(|(name, _)| name != "host" && name != "port");
    pairs.push(("host".to_owned(), tunnel.folder().to_string_lossy().into_owned()));
    pairs.push(("port".to_owned(), tunnel::PORT.to_string()));
    Ok(Params::resolve_apart(&list(&pairs))?.or_password(container.password.clone()))
}

/// Pairs as libpq's `key='value'` list.
fn list(pairs: &[(String, String)]) -> String {
    let quoted = |value: &str| value.replace('\\', "\\\\").replace('\'', "\\'");
    let pairs: Vec<String> =
        pairs.iter().map(|(name, value)| format!("{name}='{}'", quoted(value))).collect();
    pairs.join(" ")
}

/// The first line of a file.
fn password(path: &Path, notes: &mut Vec<String>) -> Result<String, ConnectError> {
    let failed = |source| ConnectError::Password { path: path.to_owned(), source };
    let facts = std::fs::metadata(path).map_err(failed)?;
    if facts.len() > LONGEST {
        return Err(failed(io::Error::other("it is too long for a password")));
    }
    if facts.permissions().mode() & 0o007 != 0 {
        notes.push(format!("password file {} can be read by every user", path.display()));
    }
    let text = std::fs::read_to_string(path).map_err(failed)?;
    match text.lines().next().filter(|line| !line.is_empty()) {
        Some(line) => Ok(line.to_owned()),
        None => Err(failed(io::Error::other("its first line is empty"))),
    }
}

#[cfg(test)]
mod tests {
    //! Guards against a profile that leads elsewhere than it says, and a password that is told.

    use super::super::config::Config;
    use super::*;

    fn connected(folder: &Path, text: &str) -> Result<Connected, ConnectError> {
        let config = Config::parse(text, &folder.join("pgark.toml")).unwrap();
        config.profiles[0].connect()
    }

    #[test]
    fn parameters_are_those_of_the_profile() {
        let folder = tempfile::tempdir().unwrap();
        let text =
            "[profile.a]\nhost = \"db\"\nport = 5433\nuser = \"it's\"\ndbname = \"a \\\\ b\"";
        let it = connected(folder.path(), text).unwrap();
        assert_eq!(it.params.describe(), "database a \\ b on host db, port 5433 as user it's");
        assert!(it.notes.is_empty() && it.pg_dump.is_none() && !it.is_tunnelled());
        let text = "[profile.a]\nurl = \"postgres://u@h:1/d?connect_timeout=5\"";
        let it = connected(folder.path(), text).unwrap();
        assert_eq!(it.params.describe(), "database d on host h, port 1 as user u");
    }

    #[test]
    fn a_password_file_is_read_and_never_told() {
        let folder = tempfile::tempdir().unwrap();
        let text =
            "[profile.a]\nhost = \"h\"\ndbname = \"d\"\nuser = \"u\"\npassword_file = \"pw\"";
        let path = folder.path().join("pw");
        let missing = connected(folder.path(), text).unwrap_err().to_string();
        assert!(missing.starts_with("password file /") && missing.contains("/pw: "), "{missing}");
        for (mode, noted) in [(0o600, false), (0o640, false), (0o644, true)] {
            std::fs::write(&path, "hunter 2'\\\nsecond line\n").unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            let it = connected(folder.path(), text).unwrap();
            let env = it.params.pg_dump_env();
            let password = env.iter().find(|(name, _)| name == "PGPASSWORD").unwrap();
            assert_eq!(password.1, "hunter 2'\\");
            assert!(!format!("{it:?}").contains("hunter"));
            assert_eq!(!it.notes.is_empty(), noted, "{mode:o}: {:?}", it.notes);
        }
        std::fs::write(&path, "\n").unwrap();
        assert!(connected(folder.path(), text).is_err());
    }
}
