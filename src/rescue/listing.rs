//! What is in a folder or a tar file, by name.
//!
//! Names are relative to the folder or the tar and made of plain parts alone: none leads out of it.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::{self, Read as _};
use std::ops::Bound;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

use super::RescueError;
use super::stream;
use crate::progress::Progress;

/// Small files whose contents decide what is to be done.
const TEXTS: [&str; 5] =
    ["PG_VERSION", "tablespace_map", "postmaster.pid", "postgresql.conf", "postgresql.auto.conf"];
/// No such file is longer.
const LONGEST_TEXT: u64 = 256 << 10;

/// One name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Node {
    /// A file.
    File {
        /// Its length.
        len: u64,
        /// In a tar, its number among the entries; in a folder, when it was changed.
        mark: (i64, i64),
    },
    /// A folder.
    Folder,
    /// A symbolic link, and where it leads.
    Link(PathBuf),
    /// In a tar, another name of a file that came before.
    Hard(PathBuf),
    /// A socket, pipe or device.
    Other,
}

/// All names.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Listing {
    pub(super) nodes: BTreeMap<PathBuf, Node>,
    texts: HashMap<PathBuf, Vec<u8>>,
}

impl Listing {
    /// Everything in and below `within`, which is relative to `base`; so are the names. Links are
    /// not followed.
    pub(super) fn of_folder(
        base: &Path,
        within: &Path,
        progress: &dyn Progress,
    ) -> Result<Self, RescueError> {
        let mut out = Self::default();
        let mut open = vec![within.to_owned()];
        out.nodes.insert(within.to_owned(), Node::Folder);
        while let Some(folder) = open.pop() {
            if progress.interrupted() {
                return Err(RescueError::Interrupted);
            }
            let at = base.join(&folder);
            let failed = |source| RescueError::Input { path: at.clone(), source };
            for entry in fs::read_dir(&at).map_err(failed)? {
                let entry = entry.map_err(failed)?;
                let name = folder.join(entry.file_name());
                let path = base.join(&name);
                let gone = |source| RescueError::Input { path: path.clone(), source };
                let meta = fs::symlink_metadata(&path).map_err(gone)?;
                let kind = meta.file_type();
                let node = if kind.is_dir() {
                    open.push(name.clone());
                    Node::Folder
                } else if kind.is_symlink() {
                    Node::Link(fs::read_link(&path).map_err(gone)?)
                } else if kind.is_file() {
                    if is_text(&name) && meta.len() <= LONGEST_TEXT {
                        out.texts.insert(name.clone(), fs::read(&path).map_err(gone)?);
                    }
                    Node::File { len: meta.len(), mark: (meta.mtime(), meta.mtime_nsec()) }
                } else {
                    Node::Other
                };
                out.nodes.insert(name, node);
            }
        }
        Ok(out)
    }

    /// Everything in a tar file, which is read to its end: it is proven to be whole.
    pub(super) fn of_tar(path: &Path, progress: &dyn Progress) -> Result<Self, RescueError> {
        let mut out = Self::default();
        stream::read(path, progress, |number, entry| {
            let name = clean(Path::new(&name_of(entry)))?;
            if let Some(extensions) = entry.pax_extensions()? {
                for extension in extensions {
                    if extension?.key_bytes().starts_with(b"GNU.sparse.") {
                        return Err(stream::odd(format!(
                            "{} is stored as a sparse file, in a way that is not known here",
                            name.display()
                        )));
                    }
                }
            }
            let kind = entry.header().entry_type();
            let target = |entry: &mut stream::Entry<'_, '_>| {
                let name = entry.link_name_bytes().map(|bytes| os(&bytes)).unwrap_or_default();
                PathBuf::from(name)
            };
            let node = if kind.is_dir() {
                Node::Folder
            } else if kind.is_symlink() {
                Node::Link(target(entry))
            } else if kind.is_hard_link() {
                Node::Hard(clean(&target(entry))?)
            } else if kind.is_file() || kind.is_contiguous() || kind.is_gnu_sparse() {
                if is_text(&name) && entry.size() <= LONGEST_TEXT {
                    let mut text = Vec::new();
                    entry.read_to_end(&mut text)?;
                    out.texts.insert(name.clone(), text);
                } else {
                    out.texts.remove(&name);
                }
                Node::File { len: entry.size(), mark: (number, 0) }
            } else if kind.is_pax_global_extensions() {
                return Ok(());
            } else {
                Node::Other
            };
            // Some write no entries for folders.
            for folder in name.ancestors().skip(1) {
                out.nodes.entry(folder.to_owned()).or_insert(Node::Folder);
            }
            // Of two of a name the later one counts, as when it is unpacked.
            out.nodes.insert(name, node);
            Ok(())
        })?;
        Ok(out)
    }

    /// What a small file says.
    pub(super) fn text(&self, name: &Path) -> Option<&[u8]> {
        self.texts.get(name).map(Vec::as_slice)
    }

    /// The names in and below a folder, itself first.
    pub(super) fn below<'a>(
        &'a self,
        folder: &'a Path,
    ) -> impl Iterator<Item = (&'a Path, &'a Node)> + 'a {
        // Paths are ordered by their parts: what is below stands together.
        let from = self.nodes.range::<Path, _>((Bound::Included(folder), Bound::Unbounded));
        from.take_while(move |(name, _)| name.starts_with(folder))
            .map(|(name, node)| (name.as_path(), node))
    }

    /// Whether this is a folder that has an entry whose name fits.
    pub(super) fn has(&self, folder: &Path, fits: &dyn Fn(&str) -> bool) -> bool {
        self.nodes.get(folder) == Some(&Node::Folder)
            && self.below(folder).any(|(name, _)| {
                name.parent() == Some(folder)
                    && name.file_name().is_some_and(|name| fits(&name.to_string_lossy()))
            })
    }

    /// The data directories: they have a version and a control file.
    pub(super) fn clusters(&self) -> Vec<PathBuf> {
        let is_file =
            |path: &Path| matches!(self.nodes.get(path), Some(Node::File { .. } | Node::Hard(_)));
        let marks = self.nodes.keys().filter(|name| name.ends_with("global/pg_control"));
        let roots = marks.filter_map(|name| name.parent().and_then(Path::parent));
        roots
            .filter(|root| is_file(&root.join("global/pg_control")))
            .filter(|root| is_file(&root.join("PG_VERSION")))
            .map(Path::to_owned)
            .collect()
    }
}

/// How deep a data directory is looked for: `volumes/x/_data/18/docker` is deep.
const DEPTH: usize = 8;

/// The data directories in and below a folder; links are not followed.
pub(super) fn clusters_below(
    base: &Path,
    progress: &dyn Progress,
) -> Result<Vec<PathBuf>, RescueError> {
    let mut found = Vec::new();
    let mut open = vec![(PathBuf::new(), 0)];
    while let Some((folder, depth)) = open.pop() {
        if progress.interrupted() {
            return Err(RescueError::Interrupted);
        }
        let at = base.join(&folder);
        let control = at.join("global/pg_control");
        if at.join("PG_VERSION").is_file() && control.is_file() {
            found.push(folder);
            continue;
        }
        let entries = match fs::read_dir(&at) {
            Ok(entries) => entries,
            // What cannot be looked into is no matter if another place has it.
            Err(_) if depth > 0 => continue,
            Err(source) => return Err(RescueError::Input { path: at, source }),
        };
        for entry in entries.flatten() {
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if is_folder && depth < DEPTH {
                open.push((folder.join(entry.file_name()), depth + 1));
            }
        }
    }
    found.sort();
    Ok(found)
}

fn is_text(name: &Path) -> bool {
    name.file_name().is_some_and(|name| TEXTS.iter().any(|text| name == *text))
}

/// A name of a tar without what it begins with on the machine that it comes from. One that leads
/// out of where it stands is refused.
fn clean(name: &Path) -> io::Result<PathBuf> {
    let mut out = PathBuf::new();
    for part in name.components() {
        match part {
            Component::Normal(part) => out.push(part),
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => {
                return Err(stream::odd(format!(
                    "it has an entry {}, whose name leads out of it: no data directory has such",
                    name.display()
                )));
            }
        }
    }
    Ok(out)
}

/// The name of an entry in a tar, without what leads out of it.
pub(super) fn entry_name(entry: &stream::Entry<'_, '_>) -> io::Result<PathBuf> {
    clean(Path::new(&name_of(entry)))
}

fn name_of(entry: &stream::Entry<'_, '_>) -> std::ffi::OsString {
    os(&entry.path_bytes())
}

fn os(bytes: &[u8]) -> std::ffi::OsString {
    use std::os::unix::ffi::OsStringExt as _;
    std::ffi::OsString::from_vec(bytes.to_vec())
}

/// Where the bytes of a data directory come from.
#[derive(Clone, Debug)]
pub(super) enum Input {
    /// A folder.
    Folder(PathBuf),
    /// A tar file.
    Tar(PathBuf),
}
