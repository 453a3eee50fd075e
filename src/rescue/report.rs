//! What is asked for, and what came of it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::{Collation, DroppedRow, Page, RescueError, Tablespace};
use crate::create::CreateReport;
use crate::format::parity::Protection;
use crate::verify::rules::RuleFile;

/// Which databases are meant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Wanted {
    /// The only one there is, but for templates and an empty `postgres`.
    Only,
    /// This one.
    Named(String),
    /// All but templates.
    All,
}

/// How to rescue.
pub struct RescueOptions {
    /// A folder, a tar file, or `-` for a tar on standard input.
    pub input: PathBuf,
    /// The data directory within the input, if there are several.
    pub within: Option<PathBuf>,
    /// Paths that links of the data directory lead to, and where that is now.
    pub maps: Vec<(PathBuf, PathBuf)>,
    /// Where to look for servers; none: where packages put them, and on the `PATH`.
    pub binaries: Option<PathBuf>,
    /// Where to make the copy; none: in the system's folder for temporary files.
    pub work: Option<PathBuf>,
    /// Which databases.
    pub databases: Wanted,
    /// Where the archive of a database goes.
    pub output: Arc<dyn Fn(&str) -> PathBuf + Send + Sync>,
    /// A file or folder that all archives are, or are in: must not be in the original.
    pub place: PathBuf,
    /// Make a new WAL on the copy, whatever was in it.
    pub reset_wal: bool,
    /// Read damaged pages as empty ones, and no index of the catalog.
    pub zero_damaged_pages: bool,
    /// Leave out rows with a value that cannot be read.
    pub drop_unreadable_rows: bool,
    /// Leave out `backup_label`.
    pub ignore_backup_label: bool,
    /// More settings of the copy's server.
    pub settings: Vec<(String, String)>,
    /// Leave the server running on the copy.
    pub keep: bool,
    /// Sessions that work at the same time; at least 1.
    pub jobs: usize,
    /// Bytes of memory, as for making an archive.
    pub memory: usize,
    /// Whether archives of the same names may be replaced.
    pub overwrite: bool,
    /// What the manifests' `comment` is to say.
    pub comment: Option<String>,
    /// The parity to add, if any.
    pub parity: Option<Protection>,
    /// Rules to keep in the archives, and to hold them against.
    pub rules: Option<RuleFile>,
}

/// What is known about damage.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Evidence {
    /// Whether pages have checksums, and these were checked.
    pub checksums: Checksums,
    /// Pages whose checksum is wrong.
    pub bad_pages: Vec<Page>,
    /// Pages that were read as empty ones.
    pub zeroed_pages: Vec<Page>,
    /// Rows that were left out, because they cannot be read.
    pub dropped: Vec<DroppedRow>,
    /// What the server's log says about damage, each message once.
    pub log: Vec<String>,
}

/// Whether the pages of a cluster were checked.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub enum Checksums {
    /// They have none.
    #[default]
    Off,
    /// All were checked.
    Checked,
    /// They have some, but `pg_checksums` is not there.
    Unchecked,
    /// They have some, but `pg_checksums` did not come to its end: what it said.
    Stopped(String),
}

/// Why an archive may not hold what was once committed, though nothing failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Doubt {
    /// A stable word for it.
    pub kind: &'static str,
    /// In a sentence.
    pub words: String,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct RescueReport {
    /// The data directory in the input; empty if it is that itself.
    pub within: PathBuf,
    /// The version of the server, such as `16.15`.
    pub server_version: String,
    /// The user that it ran as, if another than ours.
    pub server_user: Option<&'static str>,
    /// The role that read everything.
    pub role: String,
    /// Files and bytes of the copy.
    pub files: u64,
    /// See `files`.
    pub bytes: u64,
    /// The state that the old server left, in the words of `pg_controldata`.
    pub state: String,
    /// Whether the copy's server replayed WAL.
    pub replayed: bool,
    /// When the last transaction was committed that was replayed, if that is known.
    pub last_transaction: Option<String>,
    /// Tablespaces beside the data directory.
    pub tablespaces: Vec<Tablespace>,
    /// Names of `shared_preload_libraries` that the old server had and the copy's does not load.
    pub libraries: Option<String>,
    /// Folders of the data directory that no server needs, and that were left out.
    pub left_out: Vec<String>,
    /// Locales that this machine lacks.
    pub missing_locales: Vec<String>,
    /// Collations that order text in another way here.
    pub collations: Vec<Collation>,
    /// Prepared transactions, which are neither committed nor rolled back: `database: name`.
    pub prepared: Vec<String>,
    /// What is known about damage.
    pub evidence: Evidence,
    /// Why there is doubt.
    pub doubts: Vec<Doubt>,
    /// The databases that there are, but for templates.
    pub databases: Vec<Outcome>,
    /// How long copying took.
    pub copying: Duration,
    /// How long it took until databases could be read: recovery, checks of pages.
    pub recovering: Duration,
    /// Where the copy is, if it was kept.
    pub kept: Option<PathBuf>,
}

/// What came of a database.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The database.
    pub name: String,
    /// Its archive, if there is one.
    pub archive: Option<CreateReport>,
    /// Why there is none.
    pub why: Option<Why>,
}

/// Why a database has no archive.
#[derive(Clone, Debug)]
pub enum Why {
    /// It was not asked for.
    NotWanted,
    /// Nothing is in it.
    Empty,
    /// Dropping it had begun: it is no database any more.
    Invalid,
    /// It could not be saved.
    Failed(Arc<RescueError>),
}

impl RescueReport {
    /// Whether all is well: archives that verify, and nothing known that makes doubt.
    pub fn ok(&self) -> bool {
        let good = |outcome: &Outcome| match (&outcome.archive, &outcome.why) {
            (Some(archive), _) => archive.verified.as_ref().is_none_or(|report| report.ok),
            (None, Some(Why::Failed(_))) => false,
            (None, _) => true,
        };
        self.doubts.is_empty() && self.databases.iter().all(good)
    }

    /// Why a database that was wanted could not be saved, if any.
    pub fn failed(&self) -> impl Iterator<Item = (&str, &RescueError)> {
        self.databases.iter().filter_map(|outcome| match &outcome.why {
            Some(Why::Failed(error)) => Some((outcome.name.as_str(), &**error)),
            _ => None,
        })
    }
}
