//! Throwaway servers: a `PostgreSQL` cluster in a temporary folder that nobody else can reach, gone
//! with the one who started it.
//!
//! A small shell process, the keeper, makes the folder, runs `initdb` and the server, and removes
//! all of it when the pipe to its input closes. The kernel closes that pipe however this process
//! ends, SIGKILL included. The server listens on a Unix socket in the folder (mode 0700) only.
//!
//! `PostgreSQL` refuses to run as root. As root, keeper and server run as `postgres`, or as `nobody`
//! where there is no such user.

mod find;
mod keeper;

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use find::{Binaries, find, find_exact};
pub use keeper::{Keeper, Kept};

use super::error::PgError;
use super::params::Params;
use crate::progress::Progress;

/// How long `initdb` and the start may take: a disk that is busy with other things is no fault.
const LIMIT: Duration = Duration::from_secs(300);
/// What every throwaway server is set to: it need not survive anything. Shared memory is in files of
/// the folder, so that nothing is left elsewhere even if the server is killed.
const SETTINGS: [&str; 11] = [
    "listen_addresses=",
    "unix_socket_permissions=0700",
    "dynamic_shared_memory_type=mmap",
    "fsync=off",
    "full_page_writes=off",
    "synchronous_commit=off",
    "max_wal_size=1GB",
    "shared_buffers=128MB",
    "maintenance_work_mem=256MB",
    "timezone=UTC",
    "log_timezone=UTC",
];

/// What kind of server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Options {
    /// The encoding of its template databases.
    pub encoding: String,
    /// Their locale.
    pub locale: String,
    /// Settings of the server, name and value.
    pub settings: Vec<(String, String)>,
}

impl Default for Options {
    fn default() -> Self {
        Self { encoding: "UTF8".into(), locale: "C".into(), settings: Vec::new() }
    }
}

/// Why there is no throwaway server, or why it is still there.
#[derive(Debug, thiserror::Error)]
pub enum ThrowawayError {
    /// No server of the version, or of a newer one, is installed.
    #[error(
        "no PostgreSQL server of version {wanted}{} was found{}",
        if *exact { "" } else { " or newer" },
        listed(given.as_deref(), found)
    )]
    NoServer {
        /// The major version.
        wanted: u32,
        /// Whether a newer one would not do.
        exact: bool,
        /// Those that are there.
        found: Vec<Binaries>,
        /// The folder that was looked in, if one was given.
        given: Option<PathBuf>,
    },
    /// We are root, and there is nobody else.
    #[error(
        "PostgreSQL does not run as root, and this system has neither user postgres nor nobody"
    )]
    NoUser,
    /// The keeper, or another small program, could not be started.
    #[error("{program}: {source}")]
    Program {
        /// Which.
        program: String,
        /// What the system says.
        source: io::Error,
    },
    /// There is no place for the folder.
    #[error("no folder could be made in {} by user {user}", base.display())]
    Folder {
        /// Where.
        base: PathBuf,
        /// By whom.
        user: String,
    },
    /// A socket in the folder would have too long a name.
    #[error("{} is too long a name: a server's socket leaves {longest} bytes for it", base.display())]
    LongName {
        /// The folder.
        base: PathBuf,
        /// How long it may be.
        longest: usize,
    },
    /// The user that the server is to run as cannot run its programs.
    #[error("user {user} cannot run {}", program.display())]
    OutOfReach {
        /// The user.
        user: String,
        /// The program.
        program: PathBuf,
    },
    /// It did not come up.
    #[error("{what} failed: {log}")]
    Failed {
        /// `initdb` or `the server`.
        what: &'static str,
        /// What it said last.
        log: String,
    },
    /// It did not come up in time.
    #[error("the server was not ready after {} s: {log}", limit.as_secs())]
    Late {
        /// How long was waited.
        limit: Duration,
        /// What it said last.
        log: String,
    },
    /// The folder, and perhaps the server, could not be removed.
    #[error("{} could not be removed", .0.display())]
    Left(PathBuf),
    /// The person wanted it to stop.
    #[error("interrupted")]
    Interrupted,
    /// How to connect to it makes no sense.
    #[error(transparent)]
    Params(#[from] PgError),
}

fn listed(given: Option<&Path>, found: &[Binaries]) -> String {
    let place = given.map_or_else(String::new, |given| format!(" in {}", given.display()));
    if found.is_empty() {
        return place;
    }
    let found: Vec<String> =
        found.iter().map(|one| format!("{} in {}", one.version, one.folder.display())).collect();
    format!("{place}; there is {}", found.join(", "))
}

/// A running server; dropped, it stops and vanishes.
#[derive(Debug)]
pub struct Server {
    binaries: Binaries,
    keeper: Keeper,
}

impl Server {
    /// Makes a cluster and starts its server; returns when it is ready. Its superuser is `postgres`
    /// and needs no password.
    ///
    /// # Errors
    /// [`ThrowawayError`]; nothing is left then, unless it is [`ThrowawayError::Left`].
    pub fn start(
        binaries: Binaries,
        options: &Options,
        progress: &dyn Progress,
    ) -> Result<Self, ThrowawayError> {
        let mut settings: Vec<String> = SETTINGS.map(str::to_owned).to_vec();
        settings.extend(options.settings.iter().map(|(name, value)| format!("{name}={value}")));
        let kept =
            Kept { encoding: &options.encoding, locale: &options.locale, settings: &settings };
        let mut keeper = Keeper::begin(None, &kept, progress)?;
        let come_up = |keeper: &mut Keeper| {
            keeper.use_programs(&binaries, progress)?;
            keeper.start(LIMIT, progress)
        };
        match come_up(&mut keeper) {
            Ok(()) => Ok(Self { binaries, keeper }),
            // What is in the way of removing it outranks why it did not come up.
            Err(error) => Err(keeper.stop().err().unwrap_or(error)),
        }
    }

    /// How to connect to one of its databases, as its superuser.
    ///
    /// # Errors
    /// [`ThrowawayError::Params`], if the folder has a name that cannot be a host.
    pub fn params(&self, database: &str) -> Result<Params, ThrowawayError> {
        self.keeper.params("postgres", database)
    }

    /// The programs it runs.
    pub fn binaries(&self) -> &Binaries {
        &self.binaries
    }

    /// Its folder, with the socket and the log in it.
    pub fn folder(&self) -> &Path {
        self.keeper.folder()
    }

    /// The user that it runs as, if it is another than ours.
    pub fn user(&self) -> Option<&'static str> {
        self.keeper.user()
    }

    /// Makes a folder beside the cluster that the server can write to, as for a tablespace.
    ///
    /// # Errors
    /// What the system says.
    pub fn make_folder(&self, name: &str) -> io::Result<PathBuf> {
        self.keeper.make_folder(name)
    }

    /// Stops the server and removes all of it.
    ///
    /// # Errors
    /// [`ThrowawayError::Left`] if it is still there after that.
    pub fn stop(self) -> Result<(), ThrowawayError> {
        self.keeper.stop()
    }

    /// Leaves the server running and its folder in place, also after this process has ended.
    pub fn keep(self) {
        self.keeper.keep();
    }
}
