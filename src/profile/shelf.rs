//! A folder in which archives gather: their names, what is known of them, and which is the latest.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::keep::{Candidate, Soundness};
use super::verdict::{Identity, Verdict};
use crate::format::digest::Digest;
use crate::format::manifest::Manifest;
use crate::format::reader::{Archive, OpenError, Tail, read_manifest};
use crate::format::time::civil;
pub use crate::format::time::stamp;
use crate::io::{AtomicFile, DiskFile, ReadAt};

/// How every archive's name ends.
const EXTENSION: &str = ".pgark";
/// How the name of the latest one ends.
const LATEST: &str = "_latest.pgark";

/// The archives of a folder, oldest first.
#[derive(Debug)]
pub struct Shelf {
    /// The folder.
    pub folder: PathBuf,
    /// Files whose names end in `.pgark`, links left out.
    pub archives: Vec<Shelved>,
}

/// One archive of a folder.
#[derive(Debug)]
pub struct Shelved {
    /// Where it is.
    pub path: PathBuf,
    /// What its name has in front of the time, such as `backup_staging`. None for another name.
    pub series: Option<String>,
    /// Its length in bytes.
    pub bytes: u64,
    /// What it says of itself, or why that cannot be read.
    pub facts: Result<Facts, OpenError>,
    /// What verifying it found, if it was not changed since.
    pub verdict: Option<Verdict>,
    /// Whether it is what a `..._latest.pgark` leads to.
    pub latest: bool,
}

/// An archive that nobody else has open, and that is to go.
#[derive(Debug)]
pub struct Claim<'a> {
    archive: &'a Shelved,
    /// Holds the lock.
    _file: File,
}

/// What an archive says of itself.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The file as it is.
    pub identity: Identity,
    /// When it was made: seconds since 1970-01-01 UTC.
    pub created: u64,
    /// The database.
    pub database: String,
    /// The profile it was made under.
    pub profile: Option<String>,
    /// Tables with rows of their own.
    pub tables: u64,
    /// Rows in them, and large objects.
    pub rows: u64,
    /// Blob references.
    pub blobs: u64,
    /// The manifest digest of the archive that it cannot be read without.
    pub base: Option<Digest>,
}

/// Why a folder cannot be listed or changed.
#[derive(Debug, thiserror::Error)]
pub enum ShelfError {
    /// The folder is not there.
    #[error("{}: no such folder", .0.display())]
    None(PathBuf),
    /// The system says no.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file is not what it was when it was looked at.
    #[error("{}: it was changed meanwhile, and stays", .0.display())]
    Changed(PathBuf),
    /// A copy is not what was copied.
    #[error("{}: the copy is not what was copied", .0.display())]
    Copy(PathBuf),
}

impl ShelfError {
    fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}

/// How `..._latest.pgark` came about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Latest {
    /// A link.
    Link,
    /// A copy: the file system has no links.
    Copy,
    /// Not at all: a newer archive is the latest.
    Older,
}

/// The series of a profile's archives: what their names have in front of the time.
pub fn series(profile: &str) -> String {
    format!("backup_{profile}")
}

/// The profile whose archives have this series, those from before its restores included.
pub fn profile_of(series: &str) -> Option<&str> {
    let name = series.strip_prefix("backup_")?;
    Some(name.strip_suffix("_safety").unwrap_or(name)).filter(|name| !name.is_empty())
}

/// The series of what was there before a restore.
pub fn safety_series(profile: &str) -> String {
    format!("{}_safety", series(profile))
}

/// The name of an archive of a series.
pub fn archive_name(series: &str, created: u64) -> String {
    format!("{series}_{}{EXTENSION}", stamp(created))
}

/// What leads to the latest archive of a series.
pub fn latest_name(series: &str) -> String {
    format!("{series}{LATEST}")
}

/// The series of an archive by its name.
pub fn series_of(name: &str) -> Option<&str> {
    let stem = name.strip_suffix(EXTENSION)?;
    let (series, stamp) =
        stem.split_at_checked(stem.len().checked_sub("_YYYYMMDD_HHMMSS".len())?)?;
    let fits = stamp.bytes().enumerate().all(|(at, byte)| match at {
        0 | 9 => byte == b'_',
        _ => byte.is_ascii_digit(),
    });
    (fits && !series.is_empty()).then_some(series)
}

/// The time in an archive's name.
fn time_of(name: &str) -> Option<u64> {
    let series = series_of(name)?;
    let number = |from: usize, to: usize| {
        let from = series.len() + 1 + from;
        name.get(from..from + to)?.parse::<u64>().ok()
    };
    let (year, month, day) = (number(0, 4)?, number(4, 2)?, number(6, 2)?);
    // Few enough to look: the day whose date this is.
    let about = year.checked_sub(1970)? * 365;
    let days = (about..about + 1200).find(|days| civil(*days) == (year, month, day))?;
    Some(days * 86_400 + number(9, 2)? * 3600 + number(11, 2)? * 60 + number(13, 2)?)
}

/// The archive that this one was made on, by its manifest's digest. What that is made on itself it
/// says itself. It counts even if nothing is taken from it but what it takes from others.
fn base(manifest: &Manifest) -> Option<Digest> {
    manifest.bases.first().map(|base| base.manifest)
}

impl Facts {
    /// Reads what the end of a file says: milliseconds, however long it is.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn read(path: &Path) -> Result<Self, OpenError> {
        let identity = Identity::of(path)?;
        let file = DiskFile::open(path)?;
        let seal = Tail::read(&file)?.seal()?;
        if seal.total != file.len() {
            return Err(OpenError::Length { actual: file.len(), sealed: seal.total });
        }
        let manifest = read_manifest(&file, &seal.manifest)?;
        let data = manifest.tables.iter().filter_map(|table| table.data);
        let all = data.clone().chain(manifest.large_objects);
        let (rows, blobs) = all.fold((0_u64, 0_u64), |(rows, blobs), data| {
            (rows.saturating_add(data.rows), blobs.saturating_add(data.blobs))
        });
        Ok(Self {
            identity,
            created: manifest.created,
            tables: u64::try_from(data.count()).unwrap_or(u64::MAX),
            rows,
            blobs,
            base: base(&manifest),
            database: manifest.source.database,
            profile: manifest.source.profile,
        })
    }
}

impl Shelved {
    /// When it was made, in seconds since 1970-01-01 UTC: as it says itself, or else its name; 0
    /// if neither does.
    pub fn created(&self) -> u64 {
        let named = || self.path.file_name().and_then(|name| time_of(&name.to_string_lossy()));
        match &self.facts {
            Ok(facts) => facts.created,
            Err(_) => named().unwrap_or(0),
        }
    }

    /// As retention sees it.
    pub fn candidate(&self) -> Candidate {
        let facts = self.facts.as_ref().ok();
        Candidate {
            created: self.created(),
            manifest: facts.map(|facts| facts.identity.manifest),
            base: facts.and_then(|facts| facts.base),
            soundness: match (&self.facts, &self.verdict) {
                (Err(_), _) => Soundness::Damaged,
                (Ok(_), None) => Soundness::Unknown,
                (Ok(_), Some(verdict)) => verdict.verdict.soundness(),
            },
            pinned: self.latest,
        }
    }

    /// Takes the file for its removal: whoever else has it open keeps it. None if somebody does.
    ///
    /// # Errors
    /// What the system says.
    pub fn claim(&self) -> Result<Option<Claim<'_>>, ShelfError> {
        let file = File::open(&self.path).map_err(ShelfError::io(&self.path))?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => Ok(None),
            // A file system without such locks says nothing of others.
            Ok(()) | Err(TryLockError::Error(_)) => Ok(Some(Claim { archive: self, _file: file })),
        }
    }
}

impl Claim<'_> {
    /// Removes the archive and its verdict, if it still is what it was when it was listed.
    ///
    /// # Errors
    /// [`ShelfError::Changed`]; what the system says otherwise.
    pub fn remove(self) -> Result<(), ShelfError> {
        let path = &self.archive.path;
        let known = self.archive.facts.as_ref().ok().map(|facts| facts.identity);
        if known.is_none() || known != Identity::of(path).ok() {
            return Err(ShelfError::Changed(path.clone()));
        }
        fs::remove_file(path).map_err(ShelfError::io(path))?;
        let verdict = Verdict::path_of(path);
        match fs::remove_file(&verdict) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(ShelfError::io(&verdict)(error))
            }
            _ => Ok(()),
        }
    }
}

impl Shelf {
    /// Looks through a folder.
    ///
    /// # Errors
    /// [`ShelfError`] if the folder cannot be read; an archive that cannot says so itself.
    pub fn open(folder: &Path) -> Result<Self, ShelfError> {
        let entries = match fs::read_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(ShelfError::None(folder.to_owned()));
            }
            other => other.map_err(ShelfError::io(folder))?,
        };
        let mut archives = Vec::new();
        let (mut links, mut copies) = (Vec::new(), Vec::new());
        for entry in entries {
            let entry = entry.map_err(ShelfError::io(folder))?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            // Unfinished files of a run begin with a dot.
            if !name.ends_with(EXTENSION) || name.starts_with('.') {
                continue;
            }
            let path = entry.path();
            let kind = entry.file_type().map_err(ShelfError::io(&path))?;
            if kind.is_symlink() {
                links.extend(fs::canonicalize(&path).ok());
                continue;
            }
            if !kind.is_file() {
                continue;
            }
            if name.ends_with(LATEST) {
                copies.extend(Identity::of(&path).ok());
                continue;
            }
            let bytes = entry.metadata().map_err(ShelfError::io(&path))?.len();
            let facts = Facts::read(&path);
            let verdict = facts.as_ref().ok().and_then(|f| Verdict::read(&path, &f.identity));
            let series = series_of(&name).map(ToOwned::to_owned);
            archives.push(Shelved { path, series, bytes, facts, verdict, latest: false });
        }
        for archive in &mut archives {
            let linked = fs::canonicalize(&archive.path).is_ok_and(|path| links.contains(&path));
            let has_copy = archive.facts.as_ref().is_ok_and(|facts| {
                copies.iter().any(|copy| copy.manifest == facts.identity.manifest)
            });
            archive.latest = linked || has_copy;
        }
        archives.sort_by(|a, b| (a.created(), &a.path).cmp(&(b.created(), &b.path)));
        Ok(Self { folder: folder.to_owned(), archives })
    }
}

/// Lets the latest of a series be the archive `name` of `folder`, unless that is older than what
/// is the latest already. Whoever looks meanwhile finds the one or the other.
///
/// # Errors
/// [`ShelfError`]. Then the latest is what it was before.
pub fn point_latest(folder: &Path, series: &str, name: &str) -> Result<Latest, ShelfError> {
    point(folder, series, name, |target, link| std::os::unix::fs::symlink(target, link))
}

fn point(
    folder: &Path,
    series: &str,
    name: &str,
    symlink: impl Fn(&Path, &Path) -> io::Result<()>,
) -> Result<Latest, ShelfError> {
    let (target, latest) = (folder.join(name), folder.join(latest_name(series)));
    let created = |path: &Path| Archive::open(path).map(|archive| archive.manifest().created);
    // One that cannot be read is no reason to keep it.
    if let (Ok(now), Ok(new)) = (created(&latest), created(&target))
        && now > new
    {
        return Ok(Latest::Older);
    }
    let aside = folder.join(format!(".{}.{}", latest_name(series), std::process::id()));
    // One that a killed process of this number left.
    _ = fs::remove_file(&aside);
    if symlink(Path::new(name), &aside).is_ok() {
        let renamed = fs::rename(&aside, &latest).map_err(ShelfError::io(&latest));
        if renamed.is_err() {
            _ = fs::remove_file(&aside);
        }
        renamed?;
        fs::File::open(folder).and_then(|it| it.sync_all()).map_err(ShelfError::io(folder))?;
        return Ok(Latest::Link);
    }
    copy(&target, &latest)?;
    Ok(Latest::Copy)
}

/// Copies a file and compares the copy before it gets its name.
fn copy(from: &Path, to: &Path) -> Result<(), ShelfError> {
    let mut source = fs::File::open(from).map_err(ShelfError::io(from))?;
    let made = AtomicFile::create_over(to).map_err(ShelfError::io(to))?;
    io::copy(&mut source, &mut made.file()).map_err(ShelfError::io(to))?;
    made.sync().map_err(ShelfError::io(to))?;
    let again = fs::File::open(made.partial_path()).map_err(ShelfError::io(to))?;
    let source = fs::File::open(from).map_err(ShelfError::io(from))?;
    if !same(source, again).map_err(ShelfError::io(to))? {
        return Err(ShelfError::Copy(to.to_owned()));
    }
    made.commit().map_err(ShelfError::io(to))
}

fn same(mut a: fs::File, mut b: fs::File) -> io::Result<bool> {
    let (mut left, mut right) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    loop {
        let (read, other) = (fill(&mut a, &mut left)?, fill(&mut b, &mut right)?);
        if left.get(..read) != right.get(..other) {
            return Ok(false);
        }
        if read == 0 {
            return Ok(true);
        }
    }
}

fn fill(file: &mut fs::File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut done = 0;
    while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match file.read(rest)? {
            0 => break,
            read => done += read,
        }
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    //! Guards against a file of somebody else being taken for an archive of a series, and against
    //! a latest that leads nowhere or back in time.

    use super::*;
    use crate::format::writer::{ArchiveWriter, WriterOptions};

    fn archive(path: &Path, created: u64) {
        let options = WriterOptions { created, memory: 64 << 20 };
        let mut writer = ArchiveWriter::create(Vec::new(), &options).unwrap();
        let manifest = Manifest { tool: "test".into(), ..Manifest::default() };
        writer.schema(b"", b"", &manifest).unwrap();
        fs::write(path, writer.finish(manifest).unwrap().0).unwrap();
    }

    #[test]
    fn names() {
        assert_eq!(stamp(1_795_417_509), "20261123_070509");
        assert_eq!(series_of("backup_staging_20261123_070509.pgark"), Some("backup_staging"));
        let safety = archive_name(&safety_series("a.b-c"), 0);
        assert_eq!(safety, "backup_a.b-c_safety_19700101_000000.pgark");
        assert_eq!(series_of(&safety), Some("backup_a.b-c_safety"));
        for seconds in [0, 86_399, 951_782_400, 1_795_417_509, 4_107_542_399, 30_000_000_000] {
            assert_eq!(time_of(&archive_name("a_b", seconds)), Some(seconds));
        }
        assert_eq!(time_of("a_20261332_000000.pgark"), None);
        for other in [
            "backup_staging_latest.pgark",
            "_20261123_070509.pgark",
            "backup_20261123-070509.pgark",
            "backup_2026112x_070509.pgark",
            "backup_staging_20261123_070509.pgark.verdict",
            "ហាង.pgark",
        ] {
            assert_eq!(series_of(other), None, "{other}");
        }
    }

    #[test]
    fn the_latest_is_a_link_or_a_copy_and_never_goes_back() {
        let none = |_: &Path, _: &Path| Err(io::ErrorKind::Unsupported.into());
        let link = |a: &Path, b: &Path| std::os::unix::fs::symlink(a, b);
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let (old, new) = (archive_name("backup_x", 1000), archive_name("backup_x", 2000));
        archive(&at(&old), 1000);
        archive(&at(&new), 2000);
        let latest = at("backup_x_latest.pgark");
        let point = |name: &str, links: bool| {
            if links {
                point(folder.path(), "backup_x", name, link).unwrap()
            } else {
                point(folder.path(), "backup_x", name, none).unwrap()
            }
        };
        assert_eq!(point(&old, true), Latest::Link);
        assert_eq!(fs::read_link(&latest).unwrap(), Path::new(&old));
        let marked = || {
            let shelf = Shelf::open(folder.path()).unwrap();
            assert_eq!(shelf.archives.len(), 2);
            shelf.archives.iter().map(|archive| archive.latest).collect::<Vec<_>>()
        };
        assert_eq!(marked(), [true, false]);
        assert_eq!(point(&new, false), Latest::Copy);
        assert_eq!(fs::read(&latest).unwrap(), fs::read(at(&new)).unwrap());
        assert!(!latest.is_symlink());
        assert_eq!(marked(), [false, true]);
        assert_eq!(point(&old, true), Latest::Older);
        assert_eq!(point(&new, true), Latest::Link);
        // A link that leads nowhere any more is replaced.
        fs::remove_file(at(&new)).unwrap();
        assert_eq!(point(&old, true), Latest::Link);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn what_was_changed_is_not_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(archive_name("backup_x", 1000));
        archive(&path, 1000);
        let shelf = Shelf::open(folder.path()).unwrap();
        archive(&path, 2000);
        assert!(matches!(
            shelf.archives[0].claim().unwrap().unwrap().remove(),
            Err(ShelfError::Changed(_))
        ));
        assert!(path.exists());
        let shelf = Shelf::open(folder.path()).unwrap();
        fs::write(Verdict::path_of(&path), "x").unwrap();
        let open = DiskFile::open(&path).unwrap();
        assert!(shelf.archives[0].claim().unwrap().is_none());
        drop(open);
        shelf.archives[0].claim().unwrap().unwrap().remove().unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    /// Guards against a verdict that outlives the bytes it is about.
    #[test]
    fn a_changed_file_has_no_verdict() {
        use std::sync::Arc;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(archive_name("backup_x", 1000));
        archive(&path, 1000);
        let verify = || {
            let before = Identity::of(&path).ok();
            let file: Arc<dyn ReadAt> = Arc::new(DiskFile::open(&path).unwrap());
            let options = crate::verify::VerifyOptions::default();
            let report = crate::verify::run(&file, &options, &crate::progress::Silent).unwrap();
            Verdict::keep(&path, before, &report).unwrap()
        };
        let verdict = || {
            let shelf = Shelf::open(folder.path()).unwrap();
            shelf.archives[0].verdict.as_ref().map(|verdict| verdict.verdict)
        };
        assert_eq!(verdict(), None);
        assert!(verify());
        assert_eq!(verdict(), Some(super::super::Outcome::Good));
        // Another archive of the same length, and the same one written again later.
        let whole = fs::read(&path).unwrap();
        archive(&path, 1001);
        assert_eq!(fs::metadata(&path).unwrap().len(), u64::try_from(whole.len()).unwrap());
        assert_eq!(verdict(), None);
        fs::write(&path, &whole).unwrap();
        let later = std::time::SystemTime::now() + std::time::Duration::from_secs(5);
        fs::File::options().write(true).open(&path).unwrap().set_modified(later).unwrap();
        assert_eq!(verdict(), None);
        // Damage in the middle is found, and the verdict says it.
        let mut bad = whole.clone();
        bad[3000] ^= 1;
        fs::write(&path, bad).unwrap();
        assert!(verify());
        assert_eq!(verdict(), Some(super::super::Outcome::Damaged));
        // No seal any more: no verdict can be bound to it, and the old one goes.
        fs::write(&path, &whole[..whole.len() - 600]).unwrap();
        assert!(!verify());
        assert!(!Verdict::path_of(&path).exists());
        let shelf = Shelf::open(folder.path()).unwrap();
        assert_eq!(shelf.archives[0].candidate().soundness, Soundness::Damaged);
    }
}
