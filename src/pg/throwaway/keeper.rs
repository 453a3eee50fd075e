//! The one who keeps a throwaway server and its folder, and removes both.

use std::fmt;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use super::{Binaries, ThrowawayError};
use crate::pg::params::Params;
use crate::progress::Progress;

/// How often is looked whether the server is ready.
const PAUSE: Duration = Duration::from_millis(20);
/// How long a server may take to write down what it has in memory.
const HALT: Duration = Duration::from_secs(600);
/// Longest folder that leaves room for the socket's name within the 104 bytes that macOS gives.
const LONGEST: usize = 64;
/// The number in the socket's name. Nothing listens on the port of this number.
const PORT: u16 = 5432;

const SCRIPT: &str = include_str!("keeper.sh");

/// The user that the server runs as where it is not ours.
#[derive(Clone, PartialEq, Eq, Debug)]
struct User {
    name: &'static str,
    uid: u32,
    gid: u32,
}

/// What a keeper is told in the beginning.
#[derive(Clone, Copy, Debug)]
pub struct Kept<'a> {
    /// The encoding of a cluster that it makes.
    pub encoding: &'a str,
    /// Its locale.
    pub locale: &'a str,
    /// `NAME=VALUE`: what every server of it is started with.
    pub settings: &'a [String],
}

/// A folder that vanishes with us, and the server of a cluster in it; see the module above.
/// Dropped, it stops and removes all of it.
pub struct Keeper {
    folder: PathBuf,
    user: Option<User>,
    process: Child,
    /// The end of the pipe whose closing ends it.
    input: Option<ChildStdin>,
    programs: PathBuf,
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keeper").field("folder", &self.folder).finish_non_exhaustive()
    }
}

impl Keeper {
    /// Makes the folder: in `base`, or in the system's folder for temporary files.
    ///
    /// # Errors
    /// [`ThrowawayError`]; there is nothing then.
    pub fn begin(
        base: Option<&Path>,
        kept: &Kept<'_>,
        progress: &dyn Progress,
    ) -> Result<Self, ThrowawayError> {
        let user = if is_root()? { Some(unprivileged()?) } else { None };
        if let Some(user) = &user {
            progress.note(&format!(
                "PostgreSQL does not run as root: the server runs as user {}",
                user.name
            ));
        }
        let base = base.map_or_else(|| usual_base(user.is_some()), Path::to_owned);
        if base.as_os_str().len() > LONGEST {
            return Err(ThrowawayError::LongName { base, longest: LONGEST });
        }
        let mut command = Command::new("/bin/sh");
        command.arg("-c").arg(SCRIPT).arg("pgark-keeper");
        command.arg(&base).arg(kept.encoding).arg(kept.locale);
        for setting in kept.settings.iter().chain([&format!("port={PORT}")]) {
            command.arg("-c").arg(setting);
        }
        sheltered(&mut command, user.as_ref());
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.spawn().map_err(no_shell)?;
        let mut line = String::new();
        if let Some(output) = process.stdout.take() {
            // A keeper that ends without a word has made nothing.
            _ = BufReader::new(output).read_line(&mut line);
        }
        let input = process.stdin.take();
        let Some(folder) = line.trim_end_matches('\n').strip_prefix("folder ") else {
            _ = process.wait();
            let name = user.map_or("this user", |user| user.name);
            return Err(ThrowawayError::Folder { base, user: name.to_owned() });
        };
        Ok(Self { folder: folder.into(), user, process, input, programs: PathBuf::new() })
    }

    /// Which programs are meant from now on; a copy of them where the server's user cannot reach
    /// them.
    ///
    /// # Errors
    /// [`ThrowawayError::OutOfReach`], if they cannot be copied either.
    pub fn use_programs(
        &mut self,
        binaries: &Binaries,
        progress: &dyn Progress,
    ) -> Result<(), ThrowawayError> {
        self.programs.clone_from(&binaries.folder);
        let program = binaries.folder.join("postgres");
        if self.user.is_some() && !runs(&program, self.user.as_ref()) {
            self.copy(&binaries.folder, progress)?;
            self.programs = self.folder.join("postgresql/bin");
        }
        let programs = self.programs.display().to_string();
        self.say(&["programs", &programs])
    }

    /// Where the programs are that the server's user runs.
    pub fn programs(&self) -> &Path {
        &self.programs
    }

    /// Makes a cluster and starts its server; returns when that is ready.
    ///
    /// # Errors
    /// [`ThrowawayError`]; the folder is still there then.
    pub fn start(
        &mut self,
        limit: Duration,
        progress: &dyn Progress,
    ) -> Result<(), ThrowawayError> {
        self.say(&["start"])?;
        self.wait_ready(limit, progress)
    }

    /// Starts the server of the cluster that is in `data` of the folder; returns when it is ready.
    ///
    /// # Errors
    /// [`ThrowawayError`]; the folder is still there then.
    pub fn serve(
        &mut self,
        limit: Duration,
        progress: &dyn Progress,
    ) -> Result<(), ThrowawayError> {
        self.say(&["serve"])?;
        self.wait_ready(limit, progress)
    }

    /// Stops the server in an orderly way; the folder stays.
    ///
    /// # Errors
    /// [`ThrowawayError::Late`] if it does not stop.
    pub fn halt(&mut self, progress: &dyn Progress) -> Result<(), ThrowawayError> {
        let halted = self.folder.join("halted");
        self.say(&["halt"])?;
        let began = Instant::now();
        while !halted.exists() {
            if progress.interrupted() {
                return Err(ThrowawayError::Interrupted);
            }
            if began.elapsed() > HALT || matches!(self.process.try_wait(), Ok(Some(_))) {
                return Err(ThrowawayError::Late { limit: HALT, log: self.last_words() });
            }
            std::thread::sleep(PAUSE);
        }
        let failed = |source| ThrowawayError::Program { program: "halted".into(), source };
        std::fs::remove_file(&halted).map_err(failed)
    }

    /// A program of the server, to be run by its user, in the keeper's process group: it ends with
    /// it.
    pub fn program(&self, name: &str) -> Command {
        let mut command = Command::new(self.programs.join(name));
        sheltered(&mut command, self.user.as_ref());
        if let Ok(group) = i32::try_from(self.process.id()) {
            command.process_group(group);
        }
        command
    }

    fn say(&mut self, lines: &[&str]) -> Result<(), ThrowawayError> {
        let Some(input) = &mut self.input else { return Ok(()) };
        let text = lines.join("\n") + "\n";
        input.write_all(text.as_bytes()).and_then(|()| input.flush()).map_err(no_shell)
    }

    fn wait_ready(
        &mut self,
        limit: Duration,
        progress: &dyn Progress,
    ) -> Result<(), ThrowawayError> {
        let began = Instant::now();
        loop {
            if progress.interrupted() {
                return Err(ThrowawayError::Interrupted);
            }
            if let Ok(what) = std::fs::read_to_string(self.folder.join("failed")) {
                let what = if what.trim() == "initdb" { "initdb" } else { "the server" };
                return Err(ThrowawayError::Failed { what, log: self.last_words() });
            }
            if matches!(self.process.try_wait(), Ok(Some(_))) {
                return Err(ThrowawayError::Failed { what: "the server", log: self.last_words() });
            }
            if self.is_ready() {
                return Ok(());
            }
            if began.elapsed() > limit {
                return Err(ThrowawayError::Late { limit, log: self.last_words() });
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
    fn copy(&self, from: &Path, progress: &dyn Progress) -> Result<(), ThrowawayError> {
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

    /// How to connect to a database.
    ///
    /// # Errors
    /// [`ThrowawayError::Params`], if the folder has a name that cannot be a host.
    pub fn params(&self, user: &str, database: &str) -> Result<Params, ThrowawayError> {
        let folder = self.folder.to_string_lossy();
        Ok(Params::socket(&folder, PORT, user, database)?)
    }

    /// The folder, with the socket and the log in it.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The user that the server runs as, if it is another than ours.
    pub fn user(&self) -> Option<&'static str> {
        self.user.as_ref().map(|user| user.name)
    }

    /// Makes a folder in the folder that the server can write to, mode 0700.
    ///
    /// # Errors
    /// What the system says.
    pub fn make_folder(&self, name: &str) -> io::Result<PathBuf> {
        let path = self.folder.join(name);
        std::os::unix::fs::DirBuilderExt::mode(&mut std::fs::DirBuilder::new(), 0o700)
            .create(&path)?;
        self.give(&path)?;
        Ok(path)
    }

    /// Lets a file or folder belong to the server's user.
    ///
    /// # Errors
    /// What the system says.
    pub fn give(&self, path: &Path) -> io::Result<()> {
        match &self.user {
            Some(user) => std::os::unix::fs::lchown(path, Some(user.uid), Some(user.gid)),
            None => Ok(()),
        }
    }

    /// Stops the server and removes all of it.
    ///
    /// # Errors
    /// [`ThrowawayError::Left`] if it is still there after that.
    pub fn stop(mut self) -> Result<(), ThrowawayError> {
        self.end();
        if self.folder.exists() { Err(ThrowawayError::Left(self.folder.clone())) } else { Ok(()) }
    }

    /// Leaves the server running and the folder in place, also after this process has ended.
    pub fn keep(mut self) {
        // A keeper that is gone removes nothing either.
        _ = self.say(&["keep"]);
        self.end();
    }

    /// Closes the pipe and waits until the keeper has done the rest; it gives up by itself.
    fn end(&mut self) {
        drop(self.input.take());
        _ = self.process.wait();
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        if self.input.is_some() {
            self.end();
        }
    }
}

fn no_shell(source: io::Error) -> ThrowawayError {
    ThrowawayError::Program { program: "/bin/sh".into(), source }
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
fn usual_base(root: bool) -> PathBuf {
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
