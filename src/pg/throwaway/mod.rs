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

use std::fmt;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

pub use find::{Binaries, find};

use super::error::PgError;
use super::params::Params;
use crate::progress::Progress;

/// How long `initdb` and the start may take: a disk that is busy with other things is no fault.
const LIMIT: Duration = Duration::from_secs(300);
/// How often is looked whether the server is ready.
const PAUSE: Duration = Duration::from_millis(20);
/// Longest folder that leaves room for the socket's name within the 104 bytes that macOS gives.
const LONGEST: usize = 64;
/// The number in the socket's name. Nothing listens on the port of this number.
const PORT: u16 = 5432;

const KEEPER: &str = include_str!("keeper.sh");

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
    /// No server of the version or a newer one is installed.
    #[error("no PostgreSQL server of version {wanted} or newer was found{}", listed(given.as_deref(), found))]
    NoServer {
        /// The major version.
        wanted: u32,
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
    #[error("the server was not ready after {} s: {log}", LIMIT.as_secs())]
    Late {
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

/// The user that the server runs as where it is not ours.
#[derive(Clone, PartialEq, Eq, Debug)]
struct User {
    name: &'static str,
    uid: u32,
    gid: u32,
}

/// A running server; dropped, it stops and vanishes.
pub struct Server {
    binaries: Binaries,
    folder: PathBuf,
    user: Option<User>,
    keeper: Child,
    /// The end of the pipe whose closing ends it.
    input: Option<ChildStdin>,
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("folder", &self.folder).finish_non_exhaustive()
    }
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
        let user = if is_root()? { Some(unprivileged()?) } else { None };
        if let Some(user) = &user {
            progress.note(&format!(
                "PostgreSQL does not run as root: the server runs as user {}",
                user.name
            ));
        }
        let base = base(user.is_some());
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(KEEPER).arg("pgark-keeper");
        command.arg(&base).arg(&binaries.folder).arg(&options.encoding).arg(&options.locale);
        let mut settings: Vec<String> = SETTINGS.map(str::to_owned).to_vec();
        settings.push(format!("port={PORT}"));
        settings.extend(options.settings.iter().map(|(name, value)| format!("{name}={value}")));
        for setting in settings {
            command.arg("-c").arg(setting);
        }
        sheltered(&mut command, user.as_ref());
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let failed = |source| ThrowawayError::Program { program: "/bin/sh".into(), source };
        let mut keeper = command.spawn().map_err(failed)?;
        let mut line = String::new();
        if let Some(output) = keeper.stdout.take() {
            // A keeper that ends without a word has made nothing.
            _ = BufReader::new(output).read_line(&mut line);
        }
        let input = keeper.stdin.take();
        let Some(folder) = line.trim_end_matches('\n').strip_prefix("folder ") else {
            _ = keeper.wait();
            let name = user.map_or("this user", |user| user.name);
            return Err(ThrowawayError::Folder { base, user: name.to_owned() });
        };
        let mut server = Self { binaries, folder: folder.into(), user, keeper, input };
        match server.come_up(progress) {
            Ok(()) => Ok(server),
            // What is in the way of removing it outranks why it did not come up.
            Err(error) => Err(server.stop().err().unwrap_or(error)),
        }
    }

    fn come_up(&mut self, progress: &dyn Progress) -> Result<(), ThrowawayError> {
        let program = self.binaries.folder.join("postgres");
        let reachable = self.user.is_none() || runs(&program, self.user.as_ref());
        let word = if reachable {
            "start"
        } else {
            self.copy(progress)?;
            "copied"
        };
        if let Some(input) = &mut self.input {
            let failed = |source| ThrowawayError::Program { program: "/bin/sh".into(), source };
            writeln!(input, "{word}").and_then(|()| input.flush()).map_err(failed)?;
        }
        let began = Instant::now();
        loop {
            if progress.interrupted() {
                return Err(ThrowawayError::Interrupted);
            }
            if let Ok(what) = std::fs::read_to_string(self.folder.join("failed")) {
                let what = if what.trim() == "initdb" { "initdb" } else { "the server" };
                return Err(ThrowawayError::Failed { what, log: self.last_words() });
            }
            if matches!(self.keeper.try_wait(), Ok(Some(_))) {
                return Err(ThrowawayError::Failed { what: "the server", log: self.last_words() });
            }
            if self.is_ready() {
                return Ok(());
            }
            if began.elapsed() > LIMIT {
                return Err(ThrowawayError::Late { log: self.last_words() });
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// The server writes its state into the last line of its file.
    fn is_ready(&self) -> bool {
        let file = std::fs::read_to_string(self.folder.join("data/postmaster.pid"));
        file.is_ok_and(|text| text.lines().nth(7).is_some_and(|state| state.trim() == "ready"))
    }

    /// Programs out of reach for the other user (below root's home) are copied for it.
    fn copy(&self, progress: &dyn Progress) -> Result<(), ThrowawayError> {
        let from = &self.binaries.folder;
        let program = from.join("postgres");
        let user = self.user.as_ref().map_or("", |user| user.name).to_owned();
        let out_of_reach = || ThrowawayError::OutOfReach { user: user.clone(), program };
        let root =
            from.parent().filter(|_| from.ends_with("bin")).ok_or_else(out_of_reach.clone())?;
        progress.note(&format!("user {user} cannot reach {}: it gets a copy", from.display()));
        let to = self.folder.join("postgresql");
        for (program, arguments) in [
            ("cp", vec!["-RL".as_ref(), root.as_os_str(), to.as_os_str()]),
            ("chmod", vec!["-R".as_ref(), "a+rX".as_ref(), to.as_os_str()]),
        ] {
            let ran = Command::new(program)
                .args(arguments)
                .process_group(0)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
            let failed = |source| ThrowawayError::Program { program: program.into(), source };
            if !ran.map_err(failed)?.success() {
                return Err(out_of_reach());
            }
        }
        // The keeper has to remove it.
        if let Some(user) = &self.user {
            chown_all(&to, user).map_err(|source| ThrowawayError::Program {
                program: to.display().to_string(),
                source,
            })?;
        }
        if runs(&to.join("bin/postgres"), self.user.as_ref()) {
            Ok(())
        } else {
            Err(out_of_reach())
        }
    }

    fn last_words(&self) -> String {
        let log = std::fs::read(self.folder.join("log")).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let last = lines.get(lines.len().saturating_sub(6)..).unwrap_or_default();
        if last.is_empty() { "it said nothing".into() } else { last.join(" / ") }
    }

    /// How to connect to one of its databases, as its superuser.
    ///
    /// # Errors
    /// [`ThrowawayError::Params`], if the folder has a name that cannot be a host.
    pub fn params(&self, database: &str) -> Result<Params, ThrowawayError> {
        let folder = self.folder.to_string_lossy();
        Ok(Params::socket(&folder, PORT, "postgres", database)?)
    }

    /// The programs it runs.
    pub fn binaries(&self) -> &Binaries {
        &self.binaries
    }

    /// Its folder, with the socket and the log in it.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The user that it runs as, if it is another than ours.
    pub fn user(&self) -> Option<&'static str> {
        self.user.as_ref().map(|user| user.name)
    }

    /// Makes a folder beside the cluster that the server can write to, as for a tablespace.
    ///
    /// # Errors
    /// What the system says.
    pub fn make_folder(&self, name: &str) -> io::Result<PathBuf> {
        let path = self.folder.join(name);
        std::fs::create_dir(&path)?;
        if let Some(user) = &self.user {
            std::os::unix::fs::chown(&path, Some(user.uid), Some(user.gid))?;
        }
        Ok(path)
    }

    /// Stops the server and removes all of it.
    ///
    /// # Errors
    /// [`ThrowawayError::Left`] if it is still there after that.
    pub fn stop(mut self) -> Result<(), ThrowawayError> {
        self.end();
        if self.folder.exists() { Err(ThrowawayError::Left(self.folder.clone())) } else { Ok(()) }
    }

    /// Leaves the server running and its folder in place, also after this process has ended.
    pub fn keep(mut self) {
        if let Some(input) = &mut self.input {
            // A keeper that is gone removes nothing either.
            _ = writeln!(input, "keep");
        }
        self.end();
    }

    /// Closes the pipe and waits until the keeper has done the rest; it gives up by itself.
    fn end(&mut self) {
        drop(self.input.take());
        _ = self.keeper.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.input.is_some() {
            self.end();
        }
    }
}

/// Whether we are root: what we start would be.
fn is_root() -> Result<bool, ThrowawayError> {
    Ok(id(&["-u"])? == Some(0))
}

fn unprivileged() -> Result<User, ThrowawayError> {
    for name in ["postgres", "nobody"] {
        if let (Some(uid), Some(gid)) = (id(&["-u", name])?, id(&["-g", name])?)
            && uid != 0
        {
            return Ok(User { name, uid, gid });
        }
    }
    Err(ThrowawayError::NoUser)
}

/// What `id` says; none where there is no such user.
fn id(arguments: &[&str]) -> Result<Option<u32>, ThrowawayError> {
    let failed = |source| ThrowawayError::Program { program: "id".into(), source };
    let answer =
        Command::new("id").args(arguments).stdin(Stdio::null()).output().map_err(failed)?;
    let text = String::from_utf8_lossy(&answer.stdout);
    // Some systems give nobody's number as -2.
    let number = text.trim().parse::<i64>().ok().filter(|_| answer.status.success());
    Ok(number.and_then(|number| {
        u32::try_from(number).ok().or_else(|| u32::try_from(number + (1 << 32)).ok())
    }))
}

/// Where the folder goes. A socket's path may have about a hundred bytes, and as root it is another
/// user that has to get there.
fn base(root: bool) -> PathBuf {
    let temporary = std::env::temp_dir();
    let open = |path: &Path| {
        // Everybody may write there, and nobody remove what is another's.
        std::fs::metadata(path).is_ok_and(|meta| meta.mode() & 0o1007 == 0o1007)
    };
    let fits = temporary.is_absolute() && temporary.as_os_str().len() <= LONGEST;
    if fits && (!root || open(&temporary)) { temporary } else { "/tmp".into() }
}

/// A child with an environment that nothing of ours comes through, as the other user if there is
/// one.
fn sheltered(command: &mut Command, user: Option<&User>) {
    command.env_clear().env("LC_ALL", "C").current_dir("/");
    for name in ["PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "ASAN_OPTIONS"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    if let Some(user) = user {
        // Groups beyond this one are given up with it.
        command.uid(user.uid).gid(user.gid).env("HOME", "/nonexistent");
    }
}

fn runs(program: &Path, user: Option<&User>) -> bool {
    let mut command = Command::new(program);
    command.arg("--version");
    sheltered(&mut command, user);
    let ran = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    ran.is_ok_and(|status| status.success())
}

fn chown_all(path: &Path, user: &User) -> io::Result<()> {
    std::os::unix::fs::lchown(path, Some(user.uid), Some(user.gid))?;
    if std::fs::symlink_metadata(path)?.is_dir() {
        for entry in std::fs::read_dir(path)? {
            chown_all(&entry?.path(), user)?;
        }
    }
    Ok(())
}
