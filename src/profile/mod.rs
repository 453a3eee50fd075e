//! Environments by name: what `pgark.toml` says of them, how to reach them (in a container too),
//! and the folders in which their archives gather.
//!
//! - [`config`] reads `pgark.toml`, [`connect`] turns a profile into a connection.
//! - [`docker`] asks for containers and [`tunnel`] reaches a server in one that publishes no port.
//! - [`shelf`] is a folder of archives, [`verdict`] what is kept beside each, [`keep`] which of
//!   them a rule of retention lets go.
//! - [`lock`] keeps two commands from working in it at once.
//! - [`destroys`] knows commands that take a database's volume away.
//! - `draft` proposes a first `pgark.toml`.
//! - [`holdings`] says what an archive holds in a few lines.

pub mod config;
pub mod connect;
pub mod destroys;
pub mod docker;
#[cfg(feature = "cli")]
pub mod draft;
pub mod holdings;
pub mod keep;
pub mod lock;
pub mod shelf;
pub mod tunnel;
pub mod verdict;

pub use config::{Config, ConfigError, Hook, Profile, Rules};
pub use connect::{ConnectError, Connected};
pub use docker::{Container, DockerError, Place};
pub use keep::Keep;
pub use lock::{Lock, LockError};
pub use shelf::{Shelf, ShelfError};
pub use tunnel::Tunnel;
pub use verdict::{Outcome, Verdict};
