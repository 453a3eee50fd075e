//! What a verification found, kept in a small file beside the archive.
//!
//! It is bound to the archive by its manifest's digest, its length and the second it was last
//! written: of a file that was changed, nothing is known. It says what was found then. A disk that
//! has lost a byte since is found by verifying again, and by nothing else.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::keep::Soundness;
use crate::format::digest::Digest;
use crate::format::reader::{OpenError, Tail};
use crate::io::{AtomicFile, DiskFile, ReadAt};
use crate::verify::{Level, Report, Severity};

/// What is added to the archive's name.
pub const SUFFIX: &str = ".verdict";

/// A longer file is none of ours.
const LONGEST: u64 = 64 << 10;

/// What a verification came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// Nothing is wrong.
    Good,
    /// The file is undamaged; the data in it breaks rules of its own database.
    Faults,
    /// The file is damaged.
    Damaged,
}

impl Outcome {
    /// What a full verification came to. None if it says nothing about the file: a quick look, or
    /// a file that needs a newer version.
    pub fn of(report: &Report) -> Option<Self> {
        if report.too_new || report.lacks_base() || report.level != Level::Full {
            return None;
        }
        // Codes from 4xx on that break no section of the format are about the data.
        let hit = report.findings.iter().any(|finding| {
            let of_data = finding.code.spec().is_empty() && finding.code.id() >= "E4";
            finding.severity == Severity::Error && !of_data
        });
        Some(match (report.ok, hit) {
            (true, _) => Self::Good,
            (false, false) => Self::Faults,
            (false, true) => Self::Damaged,
        })
    }

    /// One word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Faults => "faults",
            Self::Damaged => "damaged",
        }
    }

    /// What it means for retention.
    pub fn soundness(self) -> Soundness {
        match self {
            Self::Good | Self::Faults => Soundness::Sound,
            Self::Damaged => Soundness::Damaged,
        }
    }
}

/// What was found, when, and of which file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Verdict {
    /// What it came to.
    pub verdict: Outcome,
    /// When: seconds since 1970-01-01 UTC.
    pub verified: u64,
    /// Errors that were found.
    pub errors: u64,
    /// Warnings.
    pub warnings: u64,
    /// Distinct images.
    pub images: u64,
    /// By which version.
    pub tool: String,
    /// The archive's manifest digest, in hex.
    manifest: String,
    /// Its length in bytes.
    bytes: u64,
    /// When it was last written: seconds since 1970-01-01 UTC.
    modified: u64,
}

/// The file that a verdict is about: it changes when the file does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Identity {
    /// Its manifest's digest.
    pub manifest: Digest,
    /// Its length in bytes.
    pub bytes: u64,
    /// When it was last written: seconds since 1970-01-01 UTC.
    pub modified: u64,
}

impl Identity {
    /// What `path` is now. Only the end of the file is read.
    ///
    /// # Errors
    /// [`OpenError`] of a file without a whole seal.
    pub fn of(path: &Path) -> Result<Self, OpenError> {
        let file = DiskFile::open(path)?;
        let seal = Tail::read(&file)?.seal()?;
        Ok(Self { manifest: seal.manifest.digest, bytes: file.len(), modified: modified(path)? })
    }
}

/// When a file was last written, in whole seconds: copies keep no more than that as a rule.
pub(super) fn modified(path: &Path) -> io::Result<u64> {
    let since = fs::metadata(path)?.modified()?.duration_since(UNIX_EPOCH);
    Ok(since.map_or(0, |since| since.as_secs()))
}

impl Verdict {
    /// The file that holds an archive's verdict.
    pub fn path_of(archive: &Path) -> PathBuf {
        let mut name = OsString::from(archive);
        name.push(SUFFIX);
        name.into()
    }

    /// The verdict on the file as it is, if there is one. One that cannot be read is none.
    pub fn read(archive: &Path, identity: &Identity) -> Option<Self> {
        let path = Self::path_of(archive);
        if fs::metadata(&path).ok()?.len() > LONGEST {
            return None;
        }
        let verdict: Self = toml::from_str(&fs::read_to_string(path).ok()?).ok()?;
        let same = verdict.manifest == identity.manifest.to_string()
            && verdict.bytes == identity.bytes
            && verdict.modified == identity.modified;
        same.then_some(verdict)
    }

    /// Keeps what a verification found. `before` is the file as it was when it began: if it is
    /// another now, nothing is kept, and the same holds for a report that says nothing. A verdict
    /// on what the file was before is removed in any case.
    ///
    /// # Errors
    /// What the system says: then there is no verdict, or the old one could not be removed.
    pub fn keep(archive: &Path, before: Option<Identity>, report: &Report) -> io::Result<bool> {
        let Some(outcome) = Outcome::of(report) else { return Ok(false) };
        let now = Identity::of(archive).ok();
        let Some(identity) = before.filter(|before| Some(*before) == now) else {
            return match fs::remove_file(Self::path_of(archive)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(false),
            };
        };
        let verified = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |t| t.as_secs());
        let verdict = Self {
            verdict: outcome,
            verified,
            errors: report.errors,
            warnings: report.warnings,
            images: report.images,
            tool: concat!("pgark ", env!("CARGO_PKG_VERSION")).into(),
            manifest: identity.manifest.to_string(),
            bytes: identity.bytes,
            modified: identity.modified,
        };
        let text = toml::to_string(&verdict).map_err(io::Error::other)?;
        let file = AtomicFile::create_over(&Self::path_of(archive))?;
        let head = "# What verifying the archive of this name found. pgark list shows it, and no\n\
                    # longer once the archive was changed.\n";
        file.file().write_all(head.as_bytes())?;
        file.file().write_all(text.as_bytes())?;
        file.commit()?;
        Ok(true)
    }
}
