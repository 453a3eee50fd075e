//! A folder for throwaway servers: what is left in it was left behind.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// `TMPDIR` of the commands of one test.
pub(crate) struct Scratch(tempfile::TempDir);

impl Scratch {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // As /tmp is: the server runs as another user where the tests run as root.
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o1777)).unwrap();
        Self(folder)
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn left(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.path()).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    /// Processes of its servers: their folder is in their arguments.
    pub(crate) fn processes(&self) -> Vec<String> {
        let ps = Command::new("ps").args(["-eo", "pid,args"]).output().unwrap();
        let text = String::from_utf8_lossy(&ps.stdout).into_owned();
        let servers = format!("{}/pgark-throwaway.", self.path().display());
        text.lines().filter(|line| line.contains(&servers)).map(str::to_owned).collect()
    }

    pub(crate) fn assert_clean(&self) {
        assert_eq!(self.left(), Vec::<PathBuf>::new());
        assert_eq!(self.processes(), Vec::<String>::new());
    }

    /// The keeper goes on after the one who started it.
    pub(crate) fn assert_clean_soon(&self, when: &str) {
        let end = Instant::now() + Duration::from_secs(30);
        while !(self.left().is_empty() && self.processes().is_empty()) {
            let (left, processes) = (self.left(), self.processes());
            assert!(Instant::now() < end, "{when}: {left:?} {processes:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}
