//! The copy: byte for byte, never by sharing blocks or names with the original.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::RescueError;
use super::listing::{Input, entry_name};
use super::plan::{From, Item, Plan};
use super::stream;
use crate::pg::throwaway::Keeper;
use crate::progress::{Phase, Progress, Quiet};

/// What a server needs beside the copy itself, in the beginning: WAL, temporary files.
const MARGIN: u64 = 192 << 20;
const BUFFER: usize = 1 << 20;

/// Whether there is room for it.
pub(super) fn check_room(folder: &Path, bytes: u64) -> Result<(), RescueError> {
    let needed = bytes.saturating_add(MARGIN);
    let failed = |error: rustix::io::Errno| RescueError::Copy {
        path: folder.to_owned(),
        source: error.into(),
    };
    let free = rustix::fs::statvfs(folder).map_err(failed)?;
    let free = free.f_bavail.saturating_mul(free.f_frsize);
    if free < needed {
        return Err(RescueError::NoRoom { folder: folder.to_owned(), needed, free });
    }
    Ok(())
}

/// Keeps what comes in through standard input: it has to be read twice.
pub(super) fn spool(keeper: &Keeper, progress: &dyn Progress) -> Result<PathBuf, RescueError> {
    let path = keeper.folder().join("input");
    let failed = |source| RescueError::Copy { path: path.clone(), source };
    let mut file = create(&path, keeper).map_err(failed)?;
    progress.begin(Phase::Copy, 0, 0);
    progress.on("standard input");
    let mut input = io::stdin().lock();
    let mut buffer = vec![0; BUFFER];
    loop {
        if progress.interrupted() {
            return Err(RescueError::Interrupted);
        }
        let got = match input.read(&mut buffer) {
            Ok(0) => break,
            Ok(got) => got,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(source) => {
                return Err(RescueError::Input { path: "standard input".into(), source });
            }
        };
        file.write_all(buffer.get(..got).unwrap_or_default()).map_err(failed)?;
        progress.bytes(u64::try_from(got).unwrap_or(0));
    }
    Ok(path)
}

/// Makes the copy in the keeper's folder.
pub(super) fn make(
    input: &Input,
    plan: &Plan,
    keeper: &Keeper,
    progress: &dyn Progress,
) -> Result<(), RescueError> {
    progress.begin(Phase::Copy, 0, plan.bytes);
    let top = keeper.folder();
    for folder in plan.folders.iter().flat_map(|folder| parents(folder)) {
        make_folder(&top.join(folder), keeper)?;
    }
    for parent in plan.files.keys().filter_map(|name| name.parent()).flat_map(parents) {
        make_folder(&top.join(parent), keeper)?;
    }
    match input {
        Input::Folder(base) => {
            for (name, item) in &plan.files {
                let from = match &item.from {
                    From::Inside(path) => base.join(path),
                    From::Outside(path) => path.clone(),
                };
                one(&from, &top.join(name), item, keeper, progress)?;
            }
        }
        Input::Tar(path) => {
            unpack(path, plan, keeper, progress)?;
            for (name, item) in &plan.files {
                if let From::Outside(path) = &item.from {
                    one(path, &top.join(name), item, keeper, progress)?;
                }
            }
        }
    }
    for space in &plan.tablespaces {
        let link = top.join("data/pg_tblspc").join(space.oid.to_string());
        let to = top.join("tablespaces").join(space.oid.to_string());
        let failed = |source| RescueError::Copy { path: link.clone(), source };
        std::os::unix::fs::symlink(to, &link).map_err(failed)?;
        keeper.give(&link).map_err(failed)?;
    }
    Ok(())
}

/// A folder and those that it is in, outermost first.
fn parents(folder: &Path) -> Vec<&Path> {
    let mut all: Vec<&Path> =
        folder.ancestors().filter(|folder| !folder.as_os_str().is_empty()).collect();
    all.reverse();
    all
}

fn make_folder(path: &Path, keeper: &Keeper) -> Result<(), RescueError> {
    let failed = |source| RescueError::Copy { path: path.to_owned(), source };
    match fs::DirBuilder::new().mode(0o700).create(path) {
        Ok(()) => keeper.give(path).map_err(failed),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(failed(error)),
    }
}

/// A new file that the server can use; never one that is there.
fn create(path: &Path, keeper: &Keeper) -> io::Result<File> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    keeper.give(path)?;
    Ok(file)
}

fn one(
    from: &Path,
    to: &Path,
    item: &Item,
    keeper: &Keeper,
    progress: &dyn Progress,
) -> Result<(), RescueError> {
    let read = |source| RescueError::Input { path: from.to_owned(), source };
    let mut input = open_quietly(from).map_err(read)?;
    let meta = input.metadata().map_err(read)?;
    if (meta.mtime(), meta.mtime_nsec()) != item.mark || meta.len() != item.len {
        return Err(RescueError::Changed(from.to_owned()));
    }
    if let Some(name) = to.file_name() {
        progress.on(&name.to_string_lossy());
    }
    pour(&mut input, from, to, item.len, keeper, progress)
}

/// Without a trace: where the system allows it, not even the time of the last reading changes.
fn open_quietly(path: &Path) -> io::Result<File> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if let Ok(flags) = i32::try_from(rustix::fs::OFlags::NOATIME.bits())
        && let Ok(file) = OpenOptions::new().read(true).custom_flags(flags).open(path)
    {
        return Ok(file);
    }
    File::open(path)
}

fn pour(
    input: &mut dyn Read,
    from: &Path,
    to: &Path,
    len: u64,
    keeper: &Keeper,
    progress: &dyn Progress,
) -> Result<(), RescueError> {
    let write = |source| RescueError::Copy { path: to.to_owned(), source };
    let mut output = create(to, keeper).map_err(write)?;
    // Not `io::copy`, which may let both files share blocks.
    let mut buffer = vec![0; BUFFER.min(usize::try_from(len).unwrap_or(BUFFER).max(1))];
    let mut done = 0_u64;
    loop {
        if progress.interrupted() {
            return Err(RescueError::Interrupted);
        }
        let got = match input.read(&mut buffer) {
            Ok(0) => break,
            Ok(got) => got,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(source) => {
                return Err(RescueError::Unread { path: from.to_owned(), offset: done, source });
            }
        };
        output.write_all(buffer.get(..got).unwrap_or_default()).map_err(write)?;
        let got = u64::try_from(got).unwrap_or(0);
        done = done.saturating_add(got);
        progress.bytes(got);
    }
    if done == len { Ok(()) } else { Err(RescueError::Changed(from.to_owned())) }
}

/// The files of the plan, from a tar that has been read to its end once.
fn unpack(
    path: &Path,
    plan: &Plan,
    keeper: &Keeper,
    progress: &dyn Progress,
) -> Result<(), RescueError> {
    // A file can have several names.
    let mut wanted: HashMap<&Path, Vec<(&Path, &Item)>> = HashMap::new();
    for (name, item) in &plan.files {
        if let From::Inside(inside) = &item.from {
            wanted.entry(inside).or_default().push((name, item));
        }
    }
    let mut failed = None;
    // Its own bytes count, not those of the tar.
    let quiet = Quiet(progress);
    let read = stream::read(path, &quiet, |number, entry| {
        let name = entry_name(entry)?;
        let Some(places) = wanted.get(name.as_path()) else { return Ok(()) };
        // Of two of a name the later one counts.
        let Some((first, item)) = places.first().filter(|(_, item)| item.mark.0 == number) else {
            return Ok(());
        };
        let to = keeper.folder().join(first);
        let mut pouring = pour(entry, &name, &to, item.len, keeper, progress);
        for (other, _) in places.iter().skip(1) {
            pouring = pouring.and_then(|()| {
                let again = |source| RescueError::Copy { path: to.clone(), source };
                let mut copy = File::open(&to).map_err(again)?;
                pour(&mut copy, &to, &keeper.folder().join(other), item.len, keeper, progress)
            });
        }
        wanted.remove(name.as_path());
        pouring.map_err(|error| {
            failed = Some(error);
            stream::odd("the copy could not be made".into())
        })
    });
    match failed {
        Some(error) => return Err(error),
        None => read?,
    }
    match wanted.keys().next() {
        None => Ok(()),
        // It was there when it was read the first time.
        Some(name) => Err(RescueError::Changed(path.join(name))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_looked_at_first() {
        let dir = tempfile::tempdir().unwrap();
        check_room(dir.path(), 1).unwrap();
        match check_room(dir.path(), 1 << 60) {
            Err(RescueError::NoRoom { needed, free, .. }) => {
                assert!(needed > 1 << 60 && free > 0 && free < needed);
            }
            other => panic!("{other:?}"),
        }
    }
}
