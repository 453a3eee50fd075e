//! Advice on what `pgark.toml`, containers and folders of archives say. Part of [`super::hints`].

use std::path::Path;

use super::exit::Exit;
use super::hints::{Trouble, chain};
use super::names::near_words;
use super::servers;
use crate::profile::{ConfigError, ConnectError, DockerError, LockError, ShelfError};

/// `pgark.toml` cannot be used.
pub(super) fn config(error: &ConfigError) -> Trouble {
    let trouble = Trouble::new(Exit::Usage, chain(error));
    match error {
        ConfigError::Read { .. } => {
            trouble.hint("it is named by --config or PGARK_CONFIG, or stands here or above")
        }
        ConfigError::Syntax { .. } => trouble
            .hint("docs/profiles.md describes what a profile may say, docs/rules.md the rest"),
    }
}

/// A profile leads to no database.
pub(super) fn connect(profile: &str, error: &ConnectError) -> Trouble {
    match error {
        ConnectError::Parameters(error) => {
            let trouble = servers::connection(error);
            Trouble { error: format!("profile {profile}: {}", trouble.error), ..trouble }
        }
        ConnectError::Docker(error) => docker(profile, error),
        ConnectError::Password { .. } => {
            Trouble::new(Exit::Failed, format!("profile {profile}: {}", chain(error)))
                .hint("its first line is the password, and nothing else")
        }
    }
}

fn docker(profile: &str, error: &DockerError) -> Trouble {
    let trouble = Trouble::new(Exit::Failed, format!("profile {profile}: {}", chain(error)));
    match error {
        DockerError::NotFound { .. } => trouble.hint(
            "install it, or leave docker and compose out of the profile and name host and port: \
             nothing else needs docker",
        ),
        DockerError::Refused { said, .. }
            if said.contains("Cannot connect to the Docker daemon") =>
        {
            trouble.hint("start docker, or name the machine it runs on in DOCKER_HOST")
        }
        DockerError::Refused { said, .. } if said.contains("permission denied") => {
            trouble.hint("this user may not use docker: see the group docker, or rootless mode")
        }
        DockerError::Refused { said, .. }
            if said.contains("unknown command") || said.contains("not a docker command") =>
        {
            trouble.hint(
                "install the compose plugin of docker, or name the container itself with docker = \
                 \"NAME\"",
            )
        }
        DockerError::Refused { .. } => trouble.hint("docker ps shows the containers that run"),
        DockerError::Stopped { name, .. } => trouble.hint(format!("docker start {name} starts it")),
        DockerError::NoContainer(_) => trouble.hint("docker compose up -d starts it"),
        DockerError::Several { .. } => {
            trouble.hint("name the one that is meant with docker = \"NAME\"")
        }
        DockerError::Relay { .. } => trouble.hint(
            "the container needs bash, and its server has to listen on 127.0.0.1; or publish the \
             port, or name host and port in the profile",
        ),
        DockerError::Tunnel { .. } => {
            trouble.hint("name another folder for the socket in TMPDIR, with a short name")
        }
        DockerError::Run(_) | DockerError::Answer { .. } => trouble,
    }
}

/// Another process works on a profile, or it cannot be said.
pub(super) fn busy(profile: &str, error: &LockError) -> Trouble {
    let trouble = Trouble::new(Exit::Failed, format!("profile {profile}: {}", chain(error)));
    match error {
        LockError::Held { .. } => {
            trouble.hint("nothing was done; try again when it has ended, or let it end with kill")
        }
        LockError::Io { .. } => trouble.hint("nothing was done; is the folder writable?"),
    }
}

/// A folder of archives cannot be listed or changed.
pub(super) fn shelf(error: &ShelfError) -> Trouble {
    let trouble = Trouble::new(Exit::Failed, chain(error));
    match error {
        ShelfError::None(_) => {
            trouble.hint("pgark create PROFILE makes the folder with the first archive")
        }
        ShelfError::Changed(_) => trouble.hint("look again: something else works in this folder"),
        ShelfError::Io { .. } | ShelfError::Copy(_) => trouble,
    }
}

/// The new archive is there, but is not the latest.
pub(super) fn latest(archive: &Path, error: &ShelfError) -> Trouble {
    let error =
        format!("{}: saved and verified, but not the latest: {}", archive.display(), chain(error));
    Trouble::new(Exit::Failed, error)
        .hint("the archive is whole, and the latest is what it was before")
}

/// There is no profile of this name.
pub(super) fn none(typed: &str, place: &str, known: &[String]) -> Trouble {
    let trouble = Trouble::new(Exit::Usage, format!("there is no profile {typed} ({place})"));
    let near = near_words(typed, known);
    match (known.is_empty(), near.is_empty()) {
        (true, _) => trouble.hint("pgark init writes a pgark.toml to begin with"),
        (false, true) => trouble.hint(format!("there is {}", known.join(", "))),
        (false, false) => trouble.hint(format!("there is {}", near.join(", "))),
    }
}
