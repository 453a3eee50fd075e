//! Programs of the server that are run on the copy: they end when the person wants that.

use std::io::{self, Read, Write as _};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::RescueError;
use crate::progress::Progress;

/// How often is looked whether to stop.
const PAUSE: Duration = Duration::from_millis(20);

/// What a program came to.
pub(super) struct Ran {
    /// Whether it says that all is well.
    pub(super) success: bool,
    pub(super) stdout: String,
    pub(super) stderr: String,
}

/// Runs a program to its end; none if it is not there.
pub(super) fn run(
    name: &str,
    mut command: Command,
    input: &str,
    progress: &dyn Progress,
) -> Result<Option<Ran>, RescueError> {
    let failed = |source| RescueError::Program { program: name.to_owned(), source };
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    if let Some(mut pipe) = child.stdin.take() {
        // Short enough for a pipe. What the program says tells why, if it went away.
        _ = pipe.write_all(input.as_bytes());
    }
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    std::thread::scope(|scope| {
        let stdout = scope.spawn(|| all(stdout));
        let stderr = scope.spawn(|| all(stderr));
        let status = loop {
            if progress.interrupted() {
                _ = child.kill();
                _ = child.wait();
                return Err(RescueError::Interrupted);
            }
            match child.try_wait() {
                Ok(Some(status)) => break status,
                Ok(None) => std::thread::sleep(PAUSE),
                Err(error) => return Err(failed(error)),
            }
        };
        let text = |said: std::thread::ScopedJoinHandle<'_, io::Result<Vec<u8>>>| {
            let said = said.join().map_err(|_| RescueError::Internal(format!("reading {name}")))?;
            Ok::<_, RescueError>(String::from_utf8_lossy(&said.map_err(failed)?).into_owned())
        };
        Ok(Some(Ran { success: status.success(), stdout: text(stdout)?, stderr: text(stderr)? }))
    })
}

/// The same for a program that has to be there.
pub(super) fn run_own(
    name: &str,
    command: Command,
    input: &str,
    progress: &dyn Progress,
) -> Result<Ran, RescueError> {
    run(name, command, input, progress)?.ok_or_else(|| RescueError::Program {
        program: name.to_owned(),
        source: io::ErrorKind::NotFound.into(),
    })
}

impl Ran {
    /// What it said where it failed, as an error.
    pub(super) fn failed(self, name: &str) -> RescueError {
        RescueError::Said { program: name.to_owned(), said: self.stderr.trim().to_owned() }
    }
}

fn all(pipe: Option<impl Read>) -> io::Result<Vec<u8>> {
    let mut out = Vec::new();
    if let Some(mut pipe) = pipe {
        pipe.read_to_end(&mut out)?;
    }
    Ok(out)
}
