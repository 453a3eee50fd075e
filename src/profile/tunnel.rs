//! A way to a server in a container that publishes no port: a socket in a private folder here,
//! each of whose connections goes through a `docker exec` of its own to the server's port inside.
//!
//! The far end is `bash`, which both official images have (Debian's has neither `socat` nor `nc`,
//! Alpine's no `perl`), with its `/dev/tcp`.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::docker::{Container, DOCKER, DockerError, words};

/// The number in the socket's name.
pub(super) const PORT: u16 = 5432;

/// What bash runs in the container, with the port as its argument. It ends as soon as either side
/// does: a session that nobody listens to would hold its locks for ever.
const RELAY: &str = r#"exec 3<>"/dev/tcp/127.0.0.1/$1" || exit 1
exec 4<&0
cat <&4 >&3 & to=$!
cat <&3 4<&- & from=$!
exec 3>&- 3<&- 4<&-
wait -n
kill "$to" "$from" 2>/dev/null
exit 0"#;

/// The same without passing anything on.
const PROBE: &str = r#"exec 3<>"/dev/tcp/127.0.0.1/$1""#;

/// How long a `docker exec` may take to end when its connection has.
const PATIENCE: Duration = Duration::from_secs(5);

/// A socket that leads into a container, as long as this lives.
#[derive(Debug)]
pub struct Tunnel {
    folder: PathBuf,
    stop: Arc<AtomicBool>,
    acceptor: Option<JoinHandle<()>>,
}

impl Tunnel {
    /// Makes a tunnel to the server of a container, and sees whether there is one.
    ///
    /// # Errors
    /// [`DockerError::Relay`] if the server is not reached, [`DockerError::Tunnel`] if there can
    /// be no socket here.
    pub fn open(container: &Container) -> Result<Self, DockerError> {
        let name = || container.name.clone();
        let probe = exec(container, PROBE).stdin(Stdio::null()).output();
        let probe = probe.map_err(DockerError::Run)?;
        if !probe.status.success() {
            let said = words(&String::from_utf8_lossy(&probe.stderr), probe.status);
            return Err(DockerError::Relay { name: name(), said });
        }
        let tunnel = |source| DockerError::Tunnel { name: name(), source };
        let folder = private_folder().map_err(tunnel)?;
        let stop = Arc::new(AtomicBool::new(false));
        // From here on the folder goes when this does.
        let mut made = Self { folder, stop: Arc::clone(&stop), acceptor: None };
        let listener = UnixListener::bind(made.socket()).map_err(tunnel)?;
        let container = container.clone();
        let acceptor = thread::Builder::new().name("tunnel".to_owned()).spawn(move || {
            for stream in listener.incoming() {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                if let Ok(stream) = stream {
                    // Whoever connected is told by the connection's end.
                    _ = carry(stream, &container);
                }
            }
        });
        made.acceptor = Some(acceptor.map_err(tunnel)?);
        Ok(made)
    }

    /// The folder of the socket: the host to connect to.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn socket(&self) -> PathBuf {
        self.folder.join(format!(".s.PGSQL.{PORT}"))
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // It waits for a connection: this is one.
        if UnixStream::connect(self.socket()).is_ok()
            && let Some(acceptor) = self.acceptor.take()
        {
            _ = acceptor.join();
        }
        _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A folder that only this user can look into, with a name short enough for a socket in it.
fn private_folder() -> io::Result<PathBuf> {
    let name = |number: u32| format!("pgark-{}-{number}", std::process::id());
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for parent in [std::env::temp_dir(), PathBuf::from("/tmp")] {
        // A socket's path has 108 bytes at most, 104 on some systems.
        if parent.as_os_str().len() > 60 {
            continue;
        }
        for number in 0..1000 {
            let folder = parent.join(name(number));
            match std::fs::DirBuilder::new().mode(0o700).create(&folder) {
                Ok(()) => return Ok(folder),
                Err(error) => last = error,
            }
            if last.kind() != io::ErrorKind::AlreadyExists {
                break;
            }
        }
    }
    Err(last)
}

fn exec(container: &Container, script: &str) -> Command {
    let mut command = Command::new(DOCKER);
    command.args(["exec", "-i", &container.id, "bash", "-c", script, "pgark"]);
    command.arg(container.port.to_string());
    command
}

/// Carries one connection until either side ends it.
fn carry(stream: UnixStream, container: &Container) -> io::Result<()> {
    let mut command = exec(container, RELAY);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    // Ctrl-C is for this program, which lets the connections end in their order.
    command.process_group(0);
    let mut child = command.spawn()?;
    let (Some(to), Some(from)) = (child.stdin.take(), child.stdout.take()) else {
        return Err(io::ErrorKind::BrokenPipe.into());
    };
    let child = Arc::new(Mutex::new(child));
    let (mut near, mut back) = (stream.try_clone()?, stream);
    let up = Arc::clone(&child);
    let named = |name: &str| thread::Builder::new().name(name.to_owned());
    named("tunnel up").spawn(move || {
        let mut to = to;
        _ = pass(&mut near, &mut to);
        drop(to);
        end(&up);
    })?;
    named("tunnel down").spawn(move || {
        let mut from = from;
        _ = pass(&mut from, &mut back);
        _ = back.shutdown(Shutdown::Both);
        end(&child);
    })?;
    Ok(())
}

/// Passes bytes on as they come.
fn pass(from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        to.write_all(buffer.get(..read).unwrap_or_default())?;
        to.flush()?;
    }
}

/// Waits for the child a little, and no longer.
fn end(child: &Mutex<Child>) {
    let until = Instant::now() + PATIENCE;
    loop {
        let mut child = child.lock().unwrap_or_else(PoisonError::into_inner);
        match child.try_wait() {
            Ok(None) if Instant::now() < until => {}
            Ok(None) => {
                _ = child.kill();
                _ = child.wait();
                return;
            }
            _ => return,
        }
        drop(child);
        thread::sleep(Duration::from_millis(20));
    }
}
