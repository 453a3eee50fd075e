//! Thin archives: objects that other archives, their bases, hold (spec section 15).
//!
//! A reader sees one joined file: the thin archive's own bytes, and far behind them those of each
//! base. The index leads to either, and what is read proves itself by its digest as ever.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::digest::Digest;
use super::index::base_start;
use super::manifest::{Base, Manifest};
use super::reader::{Tail, read_manifest};
use crate::io::{DiskFile, ReadAt};

/// The feature that a thin archive names in its manifest.
pub const FEATURE: &str = "thin";
/// How many bases an archive can have: those of its base are its own too.
pub const BASES: usize = 32;
/// How the names of files end that may be a base.
const EXTENSION: &str = ".pgark";

/// Why what an archive is based on cannot be used.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BaseFault {
    /// It is not there.
    #[error("it is thin, and needs an archive that is not there: {}", Named(.0))]
    Missing(Base),
    /// There is another archive in its place.
    #[error("it is thin, and needs another archive than the one given: {} (given: {what})", Named(.base))]
    Other {
        /// The one that is needed.
        base: Base,
        /// What there is.
        what: String,
    },
}

impl BaseFault {
    /// What is needed.
    pub fn base(&self) -> &Base {
        match self {
            Self::Missing(base) | Self::Other { base, .. } => base,
        }
    }
}

/// A base in words: when it was made, how long it is, and its name.
#[derive(Clone, Copy, Debug)]
pub struct Named<'a>(pub &'a Base);

impl std::fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Base { manifest, created, length, .. } = self.0;
        let made = super::time::stamp(*created);
        write!(f, "the one of {made} UTC, {length} bytes, manifest {manifest}")
    }
}

/// An archive's bytes and those of its bases as one. Offsets below 2^56 are the archive's own; those
/// of base *n* begin at *n* times 2^56. Its length is that of the archive alone.
pub struct Joined {
    own: Arc<dyn ReadAt>,
    bases: Vec<Option<Arc<dyn ReadAt>>>,
}

impl Joined {
    /// Joins an archive with its bases, in the order of its manifest; None for one that is missing.
    pub fn new(own: Arc<dyn ReadAt>, bases: Vec<Option<Arc<dyn ReadAt>>>) -> Self {
        Self { own, bases }
    }

    /// The file that has this offset, and where in it that is.
    fn part(&self, offset: u64) -> Option<(&dyn ReadAt, u64)> {
        let base = offset / base_start(1);
        let within = offset % base_start(1);
        let Some(number) = base.checked_sub(1) else { return Some((&*self.own, within)) };
        let file = usize::try_from(number).ok().and_then(|number| self.bases.get(number));
        file.and_then(Option::as_deref).map(|file| (file, within))
    }
}

impl ReadAt for Joined {
    fn len(&self) -> u64 {
        self.own.len()
    }

    fn holds(&self, offset: u64, length: u64) -> bool {
        self.part(offset).is_some_and(|(file, within)| file.holds(within, length))
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let missing = || io::Error::new(io::ErrorKind::NotFound, "the base that has it is missing");
        let (file, within) = self.part(offset).ok_or_else(missing)?;
        file.read_exact_at(buf, within)
    }

    fn as_file(&self) -> Option<&fs::File> {
        self.own.as_file()
    }
}

/// A base within a joined file.
struct View<'a> {
    file: &'a dyn ReadAt,
    start: u64,
    length: u64,
}

impl ReadAt for View<'_> {
    fn len(&self) -> u64 {
        self.length
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buf, self.start.saturating_add(offset))
    }
}

/// Whether `file` has the base with this number, from 1: looks at its length and its seal.
///
/// # Errors
/// [`BaseFault`].
pub fn has(file: &dyn ReadAt, number: u64, base: &Base) -> Result<(), BaseFault> {
    let start = base_start(number);
    let other = |what: String| BaseFault::Other { base: *base, what };
    if !file.holds(start, 1) {
        return Err(BaseFault::Missing(*base));
    }
    if !file.holds(start, base.length) || file.holds(start, base.length.saturating_add(1)) {
        return Err(other("a file of another length".into()));
    }
    let view = View { file, start, length: base.length };
    match Tail::read(&view).and_then(|tail| tail.seal()) {
        Ok(seal) if seal.manifest.digest == base.manifest => Ok(()),
        Ok(seal) => Err(other(format!("manifest {}", seal.manifest.digest))),
        Err(error) => Err(other(error.to_string())),
    }
}

/// The bases that something is taken from, with their numbers.
pub fn needed(manifest: &Manifest) -> impl Iterator<Item = (u64, &Base)> {
    (1..).zip(&manifest.bases).filter(|(_, base)| base.objects > 0)
}

/// Whether `file` has every base that is needed.
///
/// # Errors
/// [`BaseFault`] of the first that it has not.
pub fn check(file: &dyn ReadAt, manifest: &Manifest) -> Result<(), BaseFault> {
    needed(manifest).try_for_each(|(number, base)| has(file, number, base))
}

/// Opens a file; a thin archive together with its bases, as far as they are found: among `given`
/// (files, or folders with archives), and in its own folder.
///
/// # Errors
/// What the system says of the file itself. That a base is missing is told by [`check`].
pub fn open(path: &Path, given: &[PathBuf]) -> io::Result<Arc<dyn ReadAt>> {
    let own: Arc<dyn ReadAt> = Arc::new(DiskFile::open(path)?);
    let near = fs::canonicalize(path).ok();
    Ok(join(own, near.as_deref().and_then(Path::parent), given))
}

/// Joins an archive that is open already with its bases. See [`open`].
pub fn join(own: Arc<dyn ReadAt>, near: Option<&Path>, given: &[PathBuf]) -> Arc<dyn ReadAt> {
    let Ok(seal) = Tail::read(&*own).and_then(|tail| tail.seal()) else { return own };
    let Ok(manifest) = read_manifest(&*own, &seal.manifest) else { return own };
    if manifest.bases.is_empty() {
        return own;
    }
    Arc::new(Joined::new(own, find(&manifest.bases, near, given)))
}

/// Looks for bases: among `given`, and in the folder `near`. In their order; None for one that is not
/// found. A file that was given and is none of those that are wanted stands in the place of one that
/// is not found: [`has`] tells it from that, and what it holds proves itself by its digests.
pub fn find(
    wanted: &[Base],
    near: Option<&Path>,
    given: &[PathBuf],
) -> Vec<Option<Arc<dyn ReadAt>>> {
    let wanted = wanted.get(..BASES).unwrap_or(wanted);
    let mut found: Vec<Option<Arc<dyn ReadAt>>> = wanted.iter().map(|_| None).collect();
    let mut strangers = Vec::new();
    for path in given {
        let files = if path.is_dir() { archives(path) } else { vec![path.clone()] };
        for file in files {
            if !attach(&file, wanted, &mut found) && file == *path {
                strangers.push(file);
            }
        }
    }
    if found.iter().any(Option::is_none) {
        for file in near.map(archives).unwrap_or_default() {
            attach(&file, wanted, &mut found);
        }
    }
    // Of which nothing is taken, or as far as a catalog knows, come last.
    let mut lacking: Vec<_> =
        found.iter_mut().zip(wanted).filter(|(place, _)| place.is_none()).collect();
    lacking.sort_by_key(|(_, base)| base.objects == 0);
    for ((place, _), file) in lacking.into_iter().zip(strangers) {
        *place = DiskFile::open(&file).ok().map(|file| Arc::new(file) as Arc<dyn ReadAt>);
    }
    found
}

/// Takes a file for the base that it is, if it is one that is wanted.
fn attach(path: &Path, wanted: &[Base], found: &mut [Option<Arc<dyn ReadAt>>]) -> bool {
    let Ok(file) = DiskFile::open(path) else { return false };
    let Ok(digest) = names(&file) else { return false };
    let place = wanted.iter().position(|base| base.manifest == digest);
    let Some(place) = place.and_then(|place| found.get_mut(place)) else { return false };
    if place.is_none() {
        *place = Some(Arc::new(file));
    }
    true
}

/// The manifest digest that names an archive, as its seal has it.
fn names(file: &dyn ReadAt) -> Result<Digest, super::reader::OpenError> {
    Ok(Tail::read(file)?.seal()?.manifest.digest)
}

/// The files of a folder that may be archives, by name.
fn archives(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let wanted = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.ends_with(EXTENSION) && !name.starts_with('.')
    };
    let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).filter(wanted).collect();
    files.sort();
    files
}
