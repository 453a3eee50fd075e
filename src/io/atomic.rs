//! Files that appear whole under their name, or not at all.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

/// A file being written beside its final name. It gets that name by [`AtomicFile::commit`] alone;
/// dropped before, it is removed. One that a killed process left behind is recognised by its name,
/// and by nobody holding its lock, and is removed by the next one for the same name.
#[derive(Debug)]
pub struct AtomicFile {
    file: File,
    partial: PathBuf,
    target: PathBuf,
    replace: bool,
    done: bool,
}

/// Between the final name and a number, in the name of an unfinished file.
const MARK: &str = ".pgark-partial-";

impl AtomicFile {
    /// Begins a file that is to be called `target`, which must not exist yet.
    ///
    /// # Errors
    /// `AlreadyExists` if it does; what the system says otherwise.
    pub fn create(target: &Path) -> io::Result<Self> {
        if target.symlink_metadata().is_ok() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        Self::begin(target, false)
    }

    /// Begins a file that takes the place of `target` once it is whole.
    ///
    /// # Errors
    /// `IsADirectory` for a folder; what the system says otherwise.
    pub fn create_over(target: &Path) -> io::Result<Self> {
        if target.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        Self::begin(target, true)
    }

    fn begin(target: &Path, replace: bool) -> io::Result<Self> {
        let name = target.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let folder = folder_of(target);
        let mut prefix = OsString::from(".");
        prefix.push(name);
        prefix.push(MARK);
        remove_leftovers(folder, &prefix)?;
        for number in 0..10_000_u32 {
            let mut partial_name = prefix.clone();
            partial_name.push(format!("{}-{number}", std::process::id()));
            let partial = folder.join(partial_name);
            match OpenOptions::new().read(true).write(true).create_new(true).open(&partial) {
                Ok(file) => {
                    // A file system without locks: then a leftover of a killed run stays.
                    let _ = file.try_lock();
                    return Ok(Self {
                        file,
                        partial,
                        target: target.to_owned(),
                        replace,
                        done: false,
                    });
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// The open file, for writing and for reading back.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Where the bytes are until the commit.
    pub fn partial_path(&self) -> &Path {
        &self.partial
    }

    /// Makes the bytes durable, without giving them their name yet.
    ///
    /// # Errors
    /// What the system says: then nothing may rely on the bytes.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    /// Syncs the file, gives it its final name, and syncs the folder.
    ///
    /// # Errors
    /// `AlreadyExists` if something took the name meanwhile and may not be replaced; what the
    /// system says otherwise. The unfinished file is then removed.
    pub fn commit(mut self) -> io::Result<()> {
        self.file.sync_all()?;
        if self.replace {
            fs::rename(&self.partial, &self.target)?;
        } else {
            self.rename_new()?;
        }
        self.done = true;
        File::open(folder_of(&self.target))?.sync_all()
    }

    /// A link fails where the name is taken; a rename would silently replace it.
    fn rename_new(&self) -> io::Result<()> {
        match fs::hard_link(&self.partial, &self.target) {
            Ok(()) => fs::remove_file(&self.partial),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(error),
            // File systems without hard links: look, then rename.
            Err(_) if self.target.symlink_metadata().is_ok() => {
                Err(io::ErrorKind::AlreadyExists.into())
            }
            Err(_) => fs::rename(&self.partial, &self.target),
        }
    }
}

impl Drop for AtomicFile {
    fn drop(&mut self) {
        if !self.done {
            let _ = fs::remove_file(&self.partial);
        }
    }
}

fn folder_of(target: &Path) -> &Path {
    target.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn remove_leftovers(folder: &Path, prefix: &OsStr) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if !entry.file_name().as_encoded_bytes().starts_with(prefix.as_encoded_bytes()) {
            continue;
        }
        let Ok(file) = OpenOptions::new().read(true).write(true).open(entry.path()) else {
            continue;
        };
        match file.try_lock() {
            Ok(()) => fs::remove_file(entry.path())?,
            Err(TryLockError::WouldBlock | TryLockError::Error(_)) => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    //! Guards against files that look finished and are not, and against losing a finished one.
    use std::io::Write;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_dropped_file_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = AtomicFile::create(&folder.path().join("a")).unwrap();
        assert_eq!(names(folder.path()).len(), 1);
        drop(file);
        assert!(names(folder.path()).is_empty());
    }

    #[test]
    fn the_name_appears_at_the_commit_and_is_not_taken_from_another() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("a");
        let file = AtomicFile::create(&target).unwrap();
        file.file().write_all(b"new").unwrap();
        fs::write(&target, "somebody's").unwrap();
        assert_eq!(file.commit().unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&target).unwrap(), b"somebody's");
        let over = AtomicFile::create_over(&target).unwrap();
        over.file().write_all(b"new").unwrap();
        over.commit().unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"new");
        assert_eq!(names(folder.path()), ["a"]);
    }

    #[test]
    fn a_leftover_goes_but_one_in_use_stays() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("a");
        fs::write(folder.path().join(format!(".a{MARK}1-0")), "left").unwrap();
        let held = AtomicFile::create(&target).unwrap();
        assert_eq!(names(folder.path()).len(), 1);
        let second = AtomicFile::create(&target).unwrap();
        assert_eq!(names(folder.path()).len(), 2);
        drop((held, second));
    }
}
