//! Whether a server is at work on a data directory.
//!
//! The number in `postmaster.pid` says little: it is of another machine, or of a container where it
//! means another process. But every process of a server works in its data directory, and the kernel
//! says of each process where that is, whichever way it came there.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

/// The number of a process that works in this folder.
pub(super) fn server_on(folder: &Path) -> Option<u32> {
    let here = fs::metadata(folder).ok()?;
    let Ok(processes) = fs::read_dir("/proc") else { return by_number(folder) };
    let mut looked = false;
    for process in processes.flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        looked = true;
        // Followed by the kernel, into containers too.
        let Ok(there) = fs::metadata(process.path().join("cwd")) else { continue };
        if (there.dev(), there.ino()) == (here.dev(), here.ino()) && is_server(pid) {
            return Some(pid);
        }
    }
    if looked { None } else { by_number(folder) }
}

/// A shell that somebody has left in that folder is no server.
fn is_server(pid: u32) -> bool {
    let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    let name = name.trim();
    name.starts_with("postgres") || name.starts_with("postmaster")
}

/// Where there is no `/proc`: whether the process of the number is a server.
fn by_number(folder: &Path) -> Option<u32> {
    let text = fs::read_to_string(folder.join("postmaster.pid")).ok()?;
    let pid: u32 = text.lines().next()?.trim().parse().ok()?;
    let mut ps = Command::new("ps");
    ps.args(["-o", "comm=", "-p", &pid.to_string()]).stdin(Stdio::null()).stderr(Stdio::null());
    let said = ps.output().ok()?;
    let name = String::from_utf8_lossy(&said.stdout).into_owned();
    (name.contains("postgres") || name.contains("postmaster")).then_some(pid)
}
