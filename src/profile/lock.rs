//! One command at a time in a profile's folder.
//!
//! The lock is that of the system on a small file in the folder, so it ends with the process that
//! holds it, however that ends: a lock file that somebody left holds nobody up. What is written in
//! it is for people.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// What is read of a lock file: it holds a line.
const LONGEST: u64 = 500;

/// The work of this process on a profile; others wait for its end.
#[derive(Debug)]
pub struct Lock {
    /// None where the file system has no locks.
    file: Option<File>,
    path: PathBuf,
    /// What a process that did not come to its end left written.
    pub left: Option<String>,
}

/// Why a profile cannot be worked on now.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process does.
    #[error("{by} is at work on it")]
    Held {
        /// The command and its process, as far as it says.
        by: String,
    },
    /// The lock file cannot be made.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl Lock {
    /// Takes the lock of a profile in its folder, which has to be there. `what` is the work, such
    /// as `pgark create`; `since` the time in words.
    ///
    /// # Errors
    /// [`LockError::Held`] at once if another process has it.
    pub fn take(folder: &Path, profile: &str, what: &str, since: &str) -> Result<Self, LockError> {
        let path = folder.join(format!(".pgark_{profile}.lock"));
        let failed = |source| LockError::Io { path: path.clone(), source };
        loop {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false).mode(0o600);
            let mut file = options.open(&path).map_err(failed)?;
            match file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => {
                    let by = told(&mut file).unwrap_or_else(|| "another pgark".to_owned());
                    return Err(LockError::Held { by });
                }
                Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {
                    return Ok(Self { file: None, path, left: None });
                }
                Err(TryLockError::Error(error)) => return Err(failed(error)),
            }
            // Who had it may have removed the file between our opening and our locking it.
            let there = std::fs::metadata(&path).ok();
            let ours = file.metadata().map_err(failed)?;
            if there.is_none_or(|there| (there.dev(), there.ino()) != (ours.dev(), ours.ino())) {
                continue;
            }
            let left = told(&mut file);
            let line = format!("{what} (process {}, since {since})\n", std::process::id());
            file.set_len(0).map_err(failed)?;
            std::io::Seek::rewind(&mut file).map_err(failed)?;
            file.write_all(line.as_bytes()).map_err(failed)?;
            return Ok(Self { file: Some(file), path, left });
        }
    }

    /// Whether it holds anybody off.
    pub fn is_held(&self) -> bool {
        self.file.is_some()
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if self.file.is_some() {
            // While it is held. One that stays is of no weight.
            _ = std::fs::remove_file(&self.path);
        }
    }
}

/// The line that stands in a lock file.
fn told(file: &mut File) -> Option<String> {
    let mut text = String::new();
    file.take(LONGEST).read_to_string(&mut text).ok()?;
    let line = text.lines().next()?.trim();
    // Folders may be everybody's: what is printed of it is plain.
    (!line.is_empty() && !line.contains(char::is_control)).then(|| line.to_owned())
}

#[cfg(test)]
mod tests {
    //! Guards against two that both believe to be alone, and a leftover that stops all.

    use super::*;

    #[test]
    fn one_at_a_time_and_a_leftover_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let take = |what| Lock::take(folder.path(), "staging", what, "now");
        let held = take("pgark create").unwrap();
        assert!(held.is_held() && held.left.is_none());
        let error = take("pgark prune").unwrap_err().to_string();
        let process = std::process::id();
        assert_eq!(error, format!("pgark create (process {process}, since now) is at work on it"));
        // Another profile of the folder is none of its business.
        drop(Lock::take(folder.path(), "production", "pgark create", "now").unwrap());
        drop(held);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        let path = folder.path().join(".pgark_staging.lock");
        std::fs::write(path, "pgark create (process 1, since long ago, and a longer line)\n")
            .unwrap();
        let again = take("pgark prune").unwrap();
        assert!(again.left.as_deref().unwrap().contains("long ago"));
        let text = std::fs::read_to_string(&again.path).unwrap();
        assert_eq!(text, format!("pgark prune (process {process}, since now)\n"));
    }

    /// Whoever has it, has it alone: also in the moment in which another lets go.
    #[test]
    fn never_two_at_once() {
        use std::sync::atomic::{AtomicU32, Ordering};
        let (folder, inside) = (tempfile::tempdir().unwrap(), AtomicU32::new(0));
        let taken: u32 = std::thread::scope(|scope| {
            let work = || {
                let mut taken = 0;
                for _ in 0..2000 {
                    if let Ok(lock) = Lock::take(folder.path(), "a", "x", "now") {
                        assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                        // Long enough for another to come in.
                        std::thread::sleep(std::time::Duration::from_micros(50));
                        inside.fetch_sub(1, Ordering::SeqCst);
                        drop(lock);
                        taken += 1;
                    }
                }
                taken
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert!(taken > 4);
    }
}
