//! Servers in containers: finding the container, its settings and its port, by asking the `docker`
//! command. Every call that is made is listed in `docs/docker.md`.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};

use serde::Deserialize;

use crate::pg::Secret;

/// The command that is run.
pub(super) const DOCKER: &str = "docker";

/// The server's port where the container's environment names no other.
const PORT: u16 = 5432;

/// How to find a container.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Place {
    /// By its name or id.
    Docker(String),
    /// As the one container of a service of Docker Compose.
    Compose {
        /// The files that describe it, as with `docker compose -f`.
        files: Vec<PathBuf>,
        /// The service.
        service: String,
        /// The project, if it is not the one that the files imply.
        project: Option<String>,
    },
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Docker(name) => write!(f, "container {name}"),
            Self::Compose { files, service, .. } => {
                let files: Vec<String> = files.iter().map(|p| p.display().to_string()).collect();
                write!(f, "service {service} of {}", files.join(" and "))
            }
        }
    }
}

/// A running container that a server is in.
#[derive(Clone, Debug)]
pub struct Container {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The server's port inside.
    pub port: u16,
    /// Where that port is published on this machine, if it is.
    pub published: Option<(IpAddr, u16)>,
    /// The user that the image was told to make.
    pub user: String,
    /// The database that the image was told to make.
    pub database: String,
    /// The password that the image was given.
    pub password: Option<Secret>,
    /// Whether the image was told to ask nobody for a password.
    pub trusts: bool,
    /// Folders outside that are mounted in it, its volumes' among them.
    pub mounts: Vec<PathBuf>,
}

/// Why a container cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DockerError {
    /// There is no `docker` command.
    #[error("{place}: the docker command is not installed, or not on the PATH")]
    NotFound {
        /// What it was needed for.
        place: Place,
    },
    /// It could not be run.
    #[error("docker could not be run: {0}")]
    Run(#[source] io::Error),
    /// It said no.
    #[error("{doing}: docker says: {said}")]
    Refused {
        /// What it was asked.
        doing: String,
        /// What it answered.
        said: String,
    },
    /// The container is there, and does not run.
    #[error("container {name} is {state}, not running")]
    Stopped {
        /// Its name.
        name: String,
        /// Docker's word for what it is.
        state: String,
    },
    /// The service has no running container.
    #[error("{0} has no running container")]
    NoContainer(Place),
    /// The service has more than one.
    #[error("{place} has {count} running containers, and one is needed")]
    Several {
        /// The service.
        place: Place,
        /// How many.
        count: usize,
    },
    /// Docker answered what is not understood.
    #[error("docker's answer about {what} is not understood: {problem}")]
    Answer {
        /// What was asked about.
        what: String,
        /// What is wrong with the answer.
        problem: String,
    },
    /// The server cannot be reached from within its container.
    #[error("container {name}: its server cannot be reached through docker exec: {said}")]
    Relay {
        /// The container.
        name: String,
        /// What was said.
        said: String,
    },
    /// The tunnel's end on this machine cannot be made.
    #[error("the tunnel to container {name} cannot be made: {source}")]
    Tunnel {
        /// The container.
        name: String,
        /// What the system says.
        source: io::Error,
    },
}

/// What a call of `docker` gave.
struct Answer {
    status: ExitStatus,
    out: String,
    said: String,
}

fn ask(place: &Place, arguments: &[String]) -> Result<Answer, DockerError> {
    let mut command = Command::new(DOCKER);
    command.args(arguments).stdin(Stdio::null());
    let output = command.output().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => DockerError::NotFound { place: place.clone() },
        _ => DockerError::Run(error),
    })?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    Ok(Answer { status: output.status, out: text(&output.stdout), said: text(&output.stderr) })
}

/// One line of what a command said, with its exit status if it said nothing.
pub(super) fn words(said: &str, status: ExitStatus) -> String {
    match said.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>() {
        lines if lines.is_empty() => format!("nothing ({status})"),
        lines => lines.join("; "),
    }
}

impl Place {
    /// Finds the container and asks for what is known of it.
    ///
    /// # Errors
    /// [`DockerError`].
    pub fn find(&self) -> Result<Container, DockerError> {
        let id = match self {
            Self::Docker(name) => name.clone(),
            Self::Compose { files, service, project } => {
                self.of_service(files, service, project.as_deref())?
            }
        };
        let arguments = ["inspect", "--type", "container", "--", &id].map(ToOwned::to_owned);
        let answer = ask(self, &arguments)?;
        if !answer.status.success() {
            let said = words(&answer.said, answer.status);
            return Err(DockerError::Refused { doing: self.to_string(), said });
        }
        let problem = |problem: String| DockerError::Answer { what: id.clone(), problem };
        let found: Vec<Inspected> =
            serde_json::from_str(&answer.out).map_err(|error| problem(error.to_string()))?;
        let [found] = found.as_slice() else {
            return Err(problem(format!("{} containers", found.len())));
        };
        found.check()?;
        let mut container = found.container().map_err(problem)?;
        // On another machine, what is published is published there.
        if container.published.is_some() && !self.is_local()? {
            container.published = None;
        }
        Ok(container)
    }

    fn of_service(
        &self,
        files: &[PathBuf],
        service: &str,
        project: Option<&str>,
    ) -> Result<String, DockerError> {
        let mut arguments = vec!["compose".to_owned()];
        for file in files {
            arguments.extend(["-f".to_owned(), file.to_string_lossy().into_owned()]);
        }
        if let Some(project) = project {
            arguments.extend(["-p".to_owned(), project.to_owned()]);
        }
        arguments.extend(["ps", "-q", service].map(ToOwned::to_owned));
        let answer = ask(self, &arguments)?;
        if !answer.status.success() {
            let said = words(&answer.said, answer.status);
            return Err(DockerError::Refused { doing: self.to_string(), said });
        }
        let ids: Vec<&str> =
            answer.out.lines().map(str::trim).filter(|id| !id.is_empty()).collect();
        match ids.as_slice() {
            [] => Err(DockerError::NoContainer(self.clone())),
            [id] => Ok((*id).to_owned()),
            ids => Err(DockerError::Several { place: self.clone(), count: ids.len() }),
        }
    }

    /// Whether the containers are on this machine. If docker does not say, they are not.
    fn is_local(&self) -> Result<bool, DockerError> {
        let format = "{{.Endpoints.docker.Host}}";
        let arguments = ["context", "inspect", "--format", format].map(ToOwned::to_owned);
        let answer = ask(self, &arguments)?;
        Ok(answer.status.success() && answer.out.starts_with("unix://"))
    }
}

/// What `docker inspect` says, as far as it is needed.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Inspected {
    id: String,
    name: String,
    state: State,
    config: Settings,
    network_settings: Network,
    #[serde(default)]
    mounts: Vec<Mount>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Mount {
    #[serde(default)]
    source: PathBuf,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct State {
    running: bool,
    #[serde(default)]
    status: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Settings {
    #[serde(default)]
    env: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Network {
    #[serde(default)]
    ports: Option<BTreeMap<String, Option<Vec<Binding>>>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Binding {
    host_ip: String,
    host_port: String,
}

impl Inspected {
    /// That it runs.
    fn check(&self) -> Result<(), DockerError> {
        if self.state.running {
            return Ok(());
        }
        let name = self.name.trim_start_matches('/').to_owned();
        Err(DockerError::Stopped { name, state: self.state.status.clone() })
    }

    fn container(&self) -> Result<Container, String> {
        let name = self.name.trim_start_matches('/').to_owned();
        let variable = |name: &str| {
            let all = self.config.env.iter().flatten();
            let mut found = all.filter_map(|line| line.split_once('=')).filter(|(k, _)| *k == name);
            found.next().map(|(_, value)| value.to_owned()).filter(|value| !value.is_empty())
        };
        let port = match variable("PGPORT") {
            Some(text) => text.parse().map_err(|_| format!("PGPORT is {text:?}"))?,
            None => PORT,
        };
        let user = variable("POSTGRES_USER").unwrap_or_else(|| "postgres".to_owned());
        Ok(Container {
            id: self.id.clone(),
            port,
            published: self.published(port),
            database: variable("POSTGRES_DB").unwrap_or_else(|| user.clone()),
            user,
            password: variable("POSTGRES_PASSWORD").map(Secret::new),
            trusts: variable("POSTGRES_HOST_AUTH_METHOD").as_deref() == Some("trust"),
            mounts: self.mounts.iter().map(|mount| mount.source.clone()).collect(),
            name,
        })
    }

    /// The first place where the port is published; `0.0.0.0` and `::` mean this machine.
    fn published(&self, port: u16) -> Option<(IpAddr, u16)> {
        let ports = self.network_settings.ports.as_ref()?;
        let bindings = ports.get(&format!("{port}/tcp"))?.as_ref()?;
        let mut places: Vec<(IpAddr, u16)> = bindings
            .iter()
            .filter_map(|binding| {
                let address = match binding.host_ip.as_str() {
                    "" | "0.0.0.0" => IpAddr::from([127, 0, 0, 1]),
                    "::" => "::1".parse().ok()?,
                    address => address.parse().ok()?,
                };
                Some((address, binding.host_port.parse().ok().filter(|port| *port != 0)?))
            })
            .collect();
        places.sort();
        places.first().copied()
    }
}

impl Container {
    /// The command that runs `pg_dump` in the container, for [`crate::pg::dump_schema`]. The user
    /// and the password go through the environment: nobody sees them among the arguments.
    pub fn pg_dump(&self) -> String {
        let port = format!("PGPORT={}", self.port);
        let words = [
            DOCKER,
            "exec",
            "-i",
            "-e",
            "PGUSER",
            "-e",
            "PGPASSWORD",
            "-e",
            "PGOPTIONS",
            "-e",
            "PGAPPNAME",
            "-e",
            "LC_ALL=C",
            "-e",
            "PGHOST=",
            "-e",
            &port,
            &self.id,
            "pg_dump",
        ];
        words.map(quoted).join(" ")
    }
}

impl Container {
    /// The words of a `psql` that somebody can run in the container, on its own socket.
    pub fn psql(&self, user: &str, database: &str) -> Vec<String> {
        let mut words = [DOCKER, "exec", "-i", &self.name, "psql"].map(ToOwned::to_owned).to_vec();
        if self.port != PORT {
            words.extend(["-p".to_owned(), self.port.to_string()]);
        }
        words.extend(["-U", user, "-d", database].map(ToOwned::to_owned));
        words
    }
}

/// A word as [`crate::pg::dump::split_command`] takes it.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\"'\"'"))
}

#[cfg(test)]
mod tests {
    //! Guards against a connection to another server than the one in the container.

    use super::*;

    fn inspected(ports: &str, env: &str) -> Container {
        let text = format!(
            r#"{{"Id":"abc","Name":"/shop-db-1","State":{{"Running":true,"Status":"running"}},
               "Config":{{"Env":{env}}},"NetworkSettings":{{"Ports":{ports}}}}}"#
        );
        let inspected: Inspected = serde_json::from_str(&text).unwrap();
        inspected.check().unwrap();
        inspected.container().unwrap()
    }

    #[test]
    fn settings_and_ports_are_those_of_the_container() {
        let it = inspected(
            r#"{"5432/tcp":[{"HostIp":"::","HostPort":"15432"},{"HostIp":"0.0.0.0","HostPort":"15432"}]}"#,
            r#"["POSTGRES_USER=app","POSTGRES_PASSWORD=a=b","PATH=/bin"]"#,
        );
        assert_eq!(
            (it.name.as_str(), it.user.as_str(), it.database.as_str()),
            ("shop-db-1", "app", "app")
        );
        assert_eq!(it.password.map(|p| p.reveal().to_owned()).as_deref(), Some("a=b"));
        assert_eq!(it.published, Some(("127.0.0.1".parse().unwrap(), 15432)));
        // Only the server's own port counts.
        let ports = r#"{"5432/tcp":null,"8080/tcp":[{"HostIp":"0.0.0.0","HostPort":"80"}]}"#;
        let it = inspected(ports, r#"["POSTGRES_DB=shop"]"#);
        assert_eq!(it.published, None);
        assert_eq!((it.user.as_str(), it.database.as_str()), ("postgres", "shop"));
        let ports = r#"{"5433/tcp":[{"HostIp":"192.168.7.1","HostPort":"5432"}]}"#;
        let it = inspected(ports, r#"["PGPORT=5433"]"#);
        assert_eq!(it.published, Some(("192.168.7.1".parse().unwrap(), 5432)));
        assert!(it.pg_dump().contains("-e PGPORT=5433 abc pg_dump"), "{}", it.pg_dump());
        assert_eq!(inspected("{}", "null").published, None);
    }

    #[test]
    fn the_command_has_no_password_in_it() {
        let it = inspected("{}", r#"["POSTGRES_PASSWORD=hunter2"]"#);
        let words = crate::pg::dump::split_command(&it.pg_dump()).unwrap();
        assert_eq!(words.first().map(String::as_str), Some("docker"));
        assert_eq!(words.last().map(String::as_str), Some("pg_dump"));
        assert!(!it.pg_dump().contains("hunter2") && !format!("{it:?}").contains("hunter2"));
        for word in ["a b", "it's", "", "\\", "-e"] {
            assert_eq!(crate::pg::dump::split_command(&quoted(word)).unwrap(), [word]);
        }
    }
}
