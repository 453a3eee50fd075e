//! What of a data directory goes into the copy, and where: nothing that a server of its own does
//! without, and nothing that leads out of the copy.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::RescueError;
use super::listing::{Listing, Node};
use crate::progress::Progress;

/// What a server needs of the top of its data directory. Everything else is of the one that ran
/// there (settings, logs, keys, signals that make it a standby), or of no server at all.
const WANTED: [&str; 11] = [
    "PG_VERSION",
    "base",
    "global",
    "pg_commit_ts",
    "pg_logical",
    "pg_multixact",
    "pg_stat",
    "pg_tblspc",
    "pg_twophase",
    "pg_wal",
    "pg_xact",
];

/// Folders that have to be there, and that tools leave out when they are empty. What was in those
/// that are not wanted above is of sessions and slots of the old server.
const FOLDERS: [&str; 21] = [
    "base",
    "global",
    "pg_commit_ts",
    "pg_dynshmem",
    "pg_logical",
    "pg_logical/mappings",
    "pg_logical/snapshots",
    "pg_multixact",
    "pg_multixact/members",
    "pg_multixact/offsets",
    "pg_notify",
    "pg_replslot",
    "pg_serial",
    "pg_snapshots",
    "pg_stat",
    "pg_stat_tmp",
    "pg_subtrans",
    "pg_tblspc",
    "pg_twophase",
    "pg_wal",
    "pg_wal/archive_status",
];

/// Deeper nested links are a circle.
const LINKS: usize = 16;

/// What is to be copied.
#[derive(Default, Debug)]
pub(super) struct Plan {
    /// Folders to be made, parents first; names as in `files`.
    pub(super) folders: BTreeSet<PathBuf>,
    /// Files: name in the copy (`data/...` or `tablespaces/...`), and where it comes from.
    pub(super) files: BTreeMap<PathBuf, Item>,
    /// Bytes of the files.
    pub(super) bytes: u64,
    /// Tablespaces.
    pub(super) tablespaces: Vec<Tablespace>,
    /// Other links that lead nowhere: their name, and where they lead.
    pub(super) broken: Vec<(PathBuf, PathBuf)>,
    /// What is left out at the top, because no server needs it.
    pub(super) left_out: Vec<String>,
    /// Whether there is WAL.
    pub(super) has_wal: bool,
    /// Whether a base backup was under way, or it is one.
    pub(super) has_backup_label: bool,
    /// Whether the server had not been stopped, or was a standby.
    pub(super) has_pid_file: bool,
    /// Whether it was a standby, or was to recover from an archive.
    pub(super) was_standby: bool,
}

/// A file to be copied.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Item {
    /// Where it is.
    pub(super) from: From,
    /// Its length.
    pub(super) len: u64,
    /// See [`Node::File`].
    pub(super) mark: (i64, i64),
}

/// Where a file is.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum From {
    /// In the input, under this name.
    Inside(PathBuf),
    /// In the file system, at this absolute path.
    Outside(PathBuf),
}

/// A tablespace beside the data directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tablespace {
    /// Its number, which names it in the data directory.
    pub oid: u32,
    /// Where it was.
    pub was: PathBuf,
    /// Where it was found; none if it is missing.
    pub found: Option<PathBuf>,
}

/// What the plan is made from.
pub(super) struct Given<'a> {
    /// All names.
    pub(super) listing: &'a Listing,
    /// The data directory in it.
    pub(super) root: &'a Path,
    /// Its major version.
    pub(super) major: u32,
    /// The folder that the names are relative to; none for a tar.
    pub(super) base: Option<&'a Path>,
    /// Paths that have moved: what links say, and where it is now.
    pub(super) maps: &'a [(PathBuf, PathBuf)],
    /// Whether a backup label is to be left out.
    pub(super) ignore_backup_label: bool,
    /// To be asked whether to stop.
    pub(super) progress: &'a dyn Progress,
}

/// A folder or file that a link leads to.
struct Found {
    listing: Option<Listing>,
    root: PathBuf,
    path: PathBuf,
}

impl Given<'_> {
    /// What goes where.
    pub(super) fn plan(&self) -> Result<Plan, RescueError> {
        let mut plan = Plan::default();
        for folder in FOLDERS {
            plan.folders.insert(Path::new("data").join(folder));
        }
        if self.major >= 17 {
            plan.folders.insert("data/pg_wal/summaries".into());
        }
        let name = |name: &str| self.listing.nodes.contains_key(&self.root.join(name));
        plan.has_pid_file = name("postmaster.pid");
        plan.has_backup_label = name("backup_label");
        plan.was_standby = name("standby.signal") || name("recovery.signal");
        let mut out = BTreeSet::new();
        for (path, node) in self.listing.below(self.root) {
            let Ok(inner) = path.strip_prefix(self.root) else { continue };
            if !self.wanted(inner) {
                let mut parts = inner.components();
                if let (Some(first), None) = (parts.next(), parts.next())
                    && *node == Node::Folder
                {
                    out.insert(first.as_os_str().to_string_lossy().into_owned());
                }
                continue;
            }
            let is_space = inner.parent() == Some(Path::new("pg_tblspc"));
            match node {
                Node::Link(target) if is_space => self.space(inner, target, &mut plan)?,
                node => self.add(
                    &mut plan,
                    Path::new("data"),
                    inner,
                    (node, self.listing, path),
                    None,
                    LINKS,
                )?,
            }
        }
        self.mapped_spaces(&mut plan)?;
        plan.left_out = out
            .into_iter()
            .filter(|name| !FOLDERS.contains(&name.as_str()) && name != "log" && name != "pg_log")
            .collect();
        plan.bytes = plan.files.values().map(|item| item.len).fold(0, u64::saturating_add);
        plan.has_wal = plan.files.keys().any(|name| {
            name.parent() == Some(Path::new("data/pg_wal"))
                && name.file_name().is_some_and(|name| is_wal(&name.to_string_lossy()))
        });
        Ok(plan)
    }

    fn wanted(&self, inner: &Path) -> bool {
        let Some(first) = inner.components().next() else { return false };
        let first = first.as_os_str();
        if first == "backup_label" {
            return !self.ignore_backup_label;
        }
        // Temporary files of sessions that have ended; caches that a server makes anew.
        let temporary = inner.iter().any(|part| {
            let part = part.to_string_lossy();
            part.starts_with("pgsql_tmp") || part.starts_with("pg_internal.init")
        });
        !temporary && WANTED.iter().any(|wanted| first == *wanted)
    }

    /// One name, and what a link leads to.
    fn add(
        &self,
        plan: &mut Plan,
        top: &Path,
        inner: &Path,
        (node, listing, path): (&Node, &Listing, &Path),
        outside: Option<&Path>,
        depth: usize,
    ) -> Result<(), RescueError> {
        let name = top.join(inner);
        match node {
            Node::Folder => {
                plan.folders.insert(name);
            }
            Node::File { len, mark } => {
                let from = match outside {
                    Some(base) => From::Outside(base.join(path)),
                    None => From::Inside(path.to_owned()),
                };
                plan.files.insert(name, Item { from, len: *len, mark: *mark });
            }
            Node::Hard(target) => match listing.nodes.get(target) {
                Some(Node::File { len, mark }) => {
                    let from = From::Inside(target.clone());
                    plan.files.insert(name, Item { from, len: *len, mark: *mark });
                }
                _ => plan.broken.push((path.to_owned(), target.clone())),
            },
            Node::Link(target) => {
                let is_wal_folder = inner == Path::new("pg_wal");
                let fits = |name: &str| if is_wal_folder { is_wal(name) } else { true };
                let here = path.parent().unwrap_or(Path::new(""));
                let found = if depth == 0 { None } else { self.resolve(target, here, &fits)? };
                let Some(found) = found else {
                    plan.broken.push((path.to_owned(), target.clone()));
                    return Ok(());
                };
                let (listing, base) = match &found.listing {
                    Some(listing) => (listing, Some(found.path.as_path())),
                    None => (self.listing, None),
                };
                for (below, node) in listing.below(&found.root) {
                    let Ok(rest) = below.strip_prefix(&found.root) else { continue };
                    let inner = if rest.as_os_str().is_empty() {
                        inner.to_owned()
                    } else {
                        inner.join(rest)
                    };
                    if top != Path::new("data") || self.wanted(&inner) {
                        self.add(plan, top, &inner, (node, listing, below), base, depth - 1)?;
                    }
                }
            }
            Node::Other => {}
        }
        Ok(())
    }

    /// A tablespace: only what belongs to this version of the server.
    fn space(&self, inner: &Path, target: &Path, plan: &mut Plan) -> Result<(), RescueError> {
        let number = inner.file_name().and_then(|name| name.to_str()?.parse::<u32>().ok());
        let Some(oid) = number.filter(|oid| *oid > 0) else {
            plan.broken.push((inner.to_owned(), target.to_owned()));
            return Ok(());
        };
        if plan.tablespaces.iter().any(|space| space.oid == oid) {
            return Ok(());
        }
        let prefix = format!("PG_{}_", self.major);
        let here = self.root.join("pg_tblspc");
        let found = self.resolve(target, &here, &|name| name.starts_with(&prefix))?;
        let top = Path::new("tablespaces").join(oid.to_string());
        plan.folders.insert("tablespaces".into());
        plan.folders.insert(top.clone());
        let mut space = Tablespace { oid, was: target.to_owned(), found: None };
        if let Some(found) = found {
            let (listing, base) = match &found.listing {
                Some(listing) => (listing, Some(found.path.as_path())),
                None => (self.listing, None),
            };
            for (below, node) in listing.below(&found.root) {
                let Ok(rest) = below.strip_prefix(&found.root) else { continue };
                let mine = rest
                    .iter()
                    .next()
                    .is_some_and(|first| first.to_string_lossy().starts_with(&prefix));
                let temporary =
                    rest.iter().any(|part| part.to_string_lossy().starts_with("pgsql_tmp"));
                if mine && !temporary {
                    self.add(plan, &top, rest, (node, listing, below), base, LINKS)?;
                }
            }
            space.found = Some(found.path);
        }
        plan.tablespaces.push(space);
        Ok(())
    }

    /// Tablespaces of a base backup, which has a list of them instead of links. A server would make
    /// links to where they were: it never sees the list.
    fn mapped_spaces(&self, plan: &mut Plan) -> Result<(), RescueError> {
        let Some(text) = self.listing.text(&self.root.join("tablespace_map")) else {
            return Ok(());
        };
        for line in String::from_utf8_lossy(text).lines() {
            if let Some((oid, path)) = line.split_once(' ') {
                let inner = Path::new("pg_tblspc").join(oid);
                self.space(&inner, Path::new(path), plan)?;
            }
        }
        Ok(())
    }

    /// Where a link leads: to where `maps` says, into the input (what the path ends with, for it was
    /// another machine's or a container's), or, for a folder, to that path of this machine.
    fn resolve(
        &self,
        target: &Path,
        here: &Path,
        fits: &dyn Fn(&str) -> bool,
    ) -> Result<Option<Found>, RescueError> {
        for (old, new) in self.maps {
            if let Ok(rest) = target.strip_prefix(old) {
                let at = if rest.as_os_str().is_empty() { new.clone() } else { new.join(rest) };
                return self.outside(&at, fits).map(Some);
            }
        }
        if target.is_relative() {
            let joined = normal(&here.join(target));
            return match (joined, self.base) {
                (Some(joined), None) if self.fits_inside(&joined, fits) => {
                    Ok(Some(Found { listing: None, path: joined.clone(), root: joined }))
                }
                (_, Some(base)) => self.if_there(&base.join(here).join(target), fits),
                _ => Ok(None),
            };
        }
        let parts: Vec<_> = target.iter().skip(1).collect();
        for skip in 0..parts.len() {
            let end: PathBuf = parts.get(skip..).unwrap_or_default().iter().collect();
            let Some(end) = normal(&end) else { continue };
            for folder in self.root.ancestors() {
                let inside = folder.join(&end);
                let found = match self.base {
                    None if self.fits_inside(&inside, fits) => {
                        Some(Found { listing: None, path: inside.clone(), root: inside })
                    }
                    None => None,
                    Some(base) => self.if_there(&base.join(&inside), fits)?,
                };
                if found.is_some() {
                    return Ok(found);
                }
            }
        }
        match self.base {
            Some(_) => self.if_there(target, fits),
            None => Ok(None),
        }
    }

    fn fits_inside(&self, path: &Path, fits: &dyn Fn(&str) -> bool) -> bool {
        match self.listing.nodes.get(path) {
            Some(Node::Folder) => self.listing.has(path, fits),
            Some(Node::File { .. }) => true,
            _ => false,
        }
    }

    fn if_there(
        &self,
        path: &Path,
        fits: &dyn Fn(&str) -> bool,
    ) -> Result<Option<Found>, RescueError> {
        let Ok(entries) = std::fs::read_dir(path) else {
            return if path.is_file() { self.outside(path, fits).map(Some) } else { Ok(None) };
        };
        let mut names = entries.flatten().map(|entry| entry.file_name());
        if names.any(|name| fits(&name.to_string_lossy())) {
            self.outside(path, fits).map(Some)
        } else {
            Ok(None)
        }
    }

    /// What is at a path of this machine.
    fn outside(&self, path: &Path, fits: &dyn Fn(&str) -> bool) -> Result<Found, RescueError> {
        let failed = |source| RescueError::Input { path: path.to_owned(), source };
        let real = path.canonicalize().map_err(failed)?;
        if real.is_dir() {
            let listing = Listing::of_folder(&real, Path::new(""), self.progress)?;
            if !listing.has(Path::new(""), fits) {
                return Err(RescueError::Unfit(path.to_owned()));
            }
            return Ok(Found { listing: Some(listing), root: PathBuf::new(), path: real });
        }
        let meta = real.metadata().map_err(failed)?;
        let mut listing = Listing::default();
        let (folder, name) = match (real.parent(), real.file_name()) {
            (Some(folder), Some(name)) => (folder.to_owned(), PathBuf::from(name)),
            _ => return Err(RescueError::Unfit(path.to_owned())),
        };
        let mark = (meta.mtime(), meta.mtime_nsec());
        listing.nodes.insert(name.clone(), Node::File { len: meta.len(), mark });
        Ok(Found { listing: Some(listing), root: name, path: folder })
    }
}

/// Names of WAL files: 24 digits of base 16.
fn is_wal(name: &str) -> bool {
    name.len() == 24 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// A path without `.` and `..`; none if it leads out of where it begins.
fn normal(path: &Path) -> Option<PathBuf> {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::Normal(part) => out.push(part),
            std::path::Component::ParentDir => {
                if !out.pop() {
                    return None;
                }
            }
            std::path::Component::CurDir => {}
            _ => return None,
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_lead_out_are_none() {
        let plain = |path: &str| normal(Path::new(path)).map(|path| path.display().to_string());
        assert_eq!(plain("a/./b/../c").as_deref(), Some("a/c"));
        assert_eq!(plain("a/../../b"), None);
        assert_eq!(plain("/a"), None);
    }

    #[test]
    fn names_of_wal() {
        assert!(is_wal("00000001000000000000000A"));
        assert!(!is_wal("00000002.history") && !is_wal("00000001000000000000000A.partial"));
    }
}
