//! What there is, before anything is copied: which data directory is meant, of which version, whether
//! a server runs on it, and what of it goes into the copy.

use std::path::{Component, Path, PathBuf};

use super::listing::{Input, Listing, clusters_below};
use super::plan::{Given, Plan};
use super::{RescueError, RescueOptions, alive, copy};
use crate::pg::throwaway::{self, Binaries, Keeper, Kept};
use crate::progress::{Phase, Progress};

/// The oldest version whose databases can be read.
const OLDEST: u32 = 14;

/// What was found before anything was copied.
pub(super) struct Looked {
    pub(super) input: Input,
    pub(super) root: PathBuf,
    pub(super) listing: Listing,
    pub(super) plan: Plan,
    pub(super) binaries: Binaries,
    pub(super) keeper: Keeper,
}

pub(super) fn look(
    options: &RescueOptions,
    progress: &dyn Progress,
) -> Result<Looked, RescueError> {
    let begin = || -> Result<Keeper, RescueError> {
        let kept = Kept { encoding: "UTF8", locale: "C", settings: &[] };
        Ok(Keeper::begin(options.work.as_deref(), &kept, progress)?)
    };
    let mut keeper = None;
    let path = options.input.clone();
    let input = if path == Path::new("-") {
        let own = begin()?;
        let path = copy::spool(&own, progress)?;
        keeper = Some(own);
        Input::Tar(path)
    } else {
        let failed = |source| RescueError::Input { path: path.clone(), source };
        let meta = std::fs::metadata(&path).map_err(failed)?;
        stay_out(options)?;
        if meta.is_dir() { Input::Folder(path.clone()) } else { Input::Tar(path.clone()) }
    };
    let (root, listing) = match &input {
        Input::Folder(base) => {
            progress.begin(Phase::Look, 0, 0);
            let clusters = clusters_below(base, progress)?;
            let root = choose(options, clusters, |root| {
                std::fs::read(base.join(root).join("PG_VERSION")).unwrap_or_default()
            })?;
            refuse_alive(&inside(base, &root))?;
            let listing = Listing::of_folder(base, &root, progress)?;
            (root, listing)
        }
        Input::Tar(path) => {
            let bytes = std::fs::metadata(path).map_or(0, |meta| meta.len());
            progress.begin(Phase::Look, 0, bytes);
            let listing = Listing::of_tar(path, progress).map_err(|error| match error {
                RescueError::Input { source, .. } => {
                    RescueError::Input { path: shown(&options.input), source }
                }
                error => error,
            })?;
            let root = choose(options, listing.clusters(), |root| {
                listing.text(&root.join("PG_VERSION")).unwrap_or_default().to_vec()
            })?;
            (root, listing)
        }
    };
    let version = listing.text(&root.join("PG_VERSION")).unwrap_or_default();
    let version = String::from_utf8_lossy(version).trim().to_owned();
    let major = version.parse::<u32>().ok().filter(|major| *major >= OLDEST);
    let major = major.ok_or(RescueError::Version(version))?;
    let binaries = throwaway::find_exact(major, options.binaries.as_deref())?;
    let base = match &input {
        Input::Folder(base) => Some(base.as_path()),
        Input::Tar(_) => None,
    };
    let plan = plan_of(options, &listing, &root, base, major, progress)?;
    let keeper = match keeper {
        Some(keeper) => keeper,
        None => begin()?,
    };
    Ok(Looked { input, root, listing, plan, binaries, keeper })
}

pub(super) fn plan_of(
    options: &RescueOptions,
    listing: &Listing,
    root: &Path,
    base: Option<&Path>,
    major: u32,
    progress: &dyn Progress,
) -> Result<Plan, RescueError> {
    let (maps, ignore) = (options.maps.as_slice(), options.ignore_backup_label);
    let given = Given { listing, root, major, base, maps, ignore_backup_label: ignore, progress };
    let mut plan = given.plan()?;
    if options.reset_wal {
        plan.broken.retain(|(name, _)| name.strip_prefix(root) != Ok(Path::new("pg_wal")));
    }
    if !plan.broken.is_empty() {
        return Err(RescueError::Broken(plan.broken));
    }
    if !plan.has_wal && !options.reset_wal {
        return Err(RescueError::NoWal);
    }
    Ok(plan)
}

/// Neither archive nor copy is written into the original.
fn stay_out(options: &RescueOptions) -> Result<(), RescueError> {
    let Ok(input) = options.input.canonicalize() else { return Ok(()) };
    if !input.is_dir() {
        return Ok(());
    }
    let work = options.work.clone().unwrap_or_else(std::env::temp_dir);
    for what in [&options.place, &work] {
        let Ok(whole) = std::path::absolute(what) else { continue };
        // As far up as there is something.
        let real = whole.ancestors().find_map(|folder| folder.canonicalize().ok());
        if real.is_some_and(|real| real.starts_with(&input)) {
            return Err(RescueError::IntoOriginal { what: what.clone(), input });
        }
    }
    Ok(())
}

/// What an input is called.
fn shown(input: &Path) -> PathBuf {
    if input == Path::new("-") { "standard input".into() } else { input.to_owned() }
}

/// The data directory itself.
pub(super) fn inside(base: &Path, root: &Path) -> PathBuf {
    if root.as_os_str().is_empty() { base.to_owned() } else { base.join(root) }
}

pub(super) fn refuse_alive(cluster: &Path) -> Result<(), RescueError> {
    match alive::server_on(cluster) {
        Some(pid) => Err(RescueError::Alive { path: cluster.to_owned(), pid }),
        None => Ok(()),
    }
}

/// The data directory that is meant.
fn choose(
    options: &RescueOptions,
    clusters: Vec<PathBuf>,
    version: impl Fn(&Path) -> Vec<u8>,
) -> Result<PathBuf, RescueError> {
    let path = options.input.clone();
    let named = |root: &PathBuf| {
        let shown = if root.as_os_str().is_empty() { Path::new(".") } else { root };
        let version = version(root);
        format!("{} (PostgreSQL {})", shown.display(), String::from_utf8_lossy(&version).trim())
    };
    if let Some(within) = &options.within {
        let plain: PathBuf =
            within.components().filter(|part| matches!(part, Component::Normal(_))).collect();
        let found = clusters.iter().map(named).collect();
        return match clusters.into_iter().find(|root| *root == plain) {
            Some(root) => Ok(root),
            None => Err(RescueError::NotThere { path, within: within.clone(), found }),
        };
    }
    match clusters.as_slice() {
        [] => Err(RescueError::NoCluster { clue: clue(&path), path }),
        [one] => Ok(one.clone()),
        several => Err(RescueError::Several { path, found: several.iter().map(named).collect() }),
    }
}

/// What a folder is that has no data directory in it.
fn clue(path: &Path) -> Option<String> {
    let upward = path.canonicalize().ok()?;
    let above = upward.ancestors().skip(1).find(|folder| {
        folder.join("PG_VERSION").is_file() && folder.join("global/pg_control").is_file()
    });
    if let Some(above) = above {
        return Some(format!("it is a part of one: {}", above.display()));
    }
    if path.join("PG_VERSION").is_file() {
        return Some("PG_VERSION is there, but global/pg_control is missing".into());
    }
    None
}
