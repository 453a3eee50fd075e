//! Makes a damaged archive whole again from its own parity.
//!
//! Nothing that could be damaged is relied on: parity blocks are found by scanning, each window is
//! mended from its block, and what can be computed (tar headers of parity, parity itself, the seal)
//! is made again. The result is verified like any archive before it gets its name.

mod mend;
mod realign;
mod rebuild;
mod salvage;
mod scan;
mod whole;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_campaign;
#[cfg(test)]
mod tests_salvage;
#[cfg(test)]
mod tests_thin;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use crate::format::manifest::Base;
use crate::format::thin;
use crate::io::{AtomicFile, DiskFile, ReadAt, Scratch};
use crate::progress::{Phase, Progress};
use crate::verify::{self, ImageCheck, Level, Report, Severity, VerifyError, VerifyOptions};

pub use mend::mend;
pub use salvage::{Find, LostRows, Salvage, salvage};

/// Version of the report's fields, for those who read it as JSON.
pub const REPORT_VERSION: u32 = 1;

/// A stretch of the file.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Stretch {
    /// Where it begins.
    pub offset: u64,
    /// How long it is.
    pub length: u64,
    /// What it is about: what was done, or why nothing can be.
    pub what: String,
}

/// What a repair came to.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct RepairReport {
    /// [`REPORT_VERSION`].
    pub report_version: u32,
    /// Whether the result is whole: every byte is as it was written.
    pub whole: bool,
    /// Length of the damaged file.
    pub bytes_before: u64,
    /// Length of the repaired one.
    pub bytes: u64,
    /// Windows that the file has, those of the tail among them.
    pub windows: u64,
    /// How many of these were damaged.
    pub windows_damaged: u64,
    /// What was mended, in the order of the file.
    pub repaired: Vec<Stretch>,
    /// What is beyond repair, in the order of the file.
    pub beyond: Vec<Stretch>,
}

/// Why a repair could not be tried, or its result not be kept. Damage beyond repair is in the
/// [`RepairReport`].
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    /// The damaged file cannot be opened.
    #[error("{}: {source}", path.display())]
    Input {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The result is there already, and may not be replaced.
    #[error("{} exists", .0.display())]
    Exists(PathBuf),
    /// The result cannot be written.
    #[error("the repaired file cannot be written: {0}")]
    Output(#[from] io::Error),
    /// The result could not be verified.
    #[error("the repaired file could not be verified: {0}")]
    Verify(#[from] VerifyError),
    /// Not even a part of it can be salvaged.
    #[error("nothing can be salvaged: {0}")]
    Nothing(String),
    /// The person wanted it to stop.
    #[error("interrupted")]
    Interrupted,
}

/// Where the repaired bytes go: written at any offset, and read back.
pub trait Target: Send + Sync {
    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    /// What the system says.
    fn write_all_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Fills `bytes` from `offset` on.
    ///
    /// # Errors
    /// What the system says; `UnexpectedEof` past the end.
    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()>;
    /// Ends it at `length`: what was written behind that on the way is no part of the result.
    ///
    /// # Errors
    /// What the system says.
    fn set_len(&mut self, length: u64) -> io::Result<()>;
    /// The file itself, where there is one.
    fn as_file(&self) -> Option<&File> {
        None
    }
}

impl Target for File {
    fn write_all_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::write_all_at(self, bytes, offset)
    }
    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        std::os::unix::fs::FileExt::read_exact_at(self, bytes, offset)
    }
    fn set_len(&mut self, length: u64) -> io::Result<()> {
        File::set_len(self, length)
    }
    fn as_file(&self) -> Option<&File> {
        Some(self)
    }
}

impl Target for Vec<u8> {
    fn write_all_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let start = usize::try_from(offset).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let end = start.checked_add(bytes.len()).ok_or(io::ErrorKind::FileTooLarge)?;
        if self.len() < end {
            self.resize(end, 0);
        }
        if let Some(place) = self.get_mut(start..end) {
            place.copy_from_slice(bytes);
        }
        Ok(())
    }
    fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        ReadAt::read_exact_at(self, bytes, offset)
    }
    fn set_len(&mut self, length: u64) -> io::Result<()> {
        self.resize(usize::try_from(length).map_err(|_| io::ErrorKind::FileTooLarge)?, 0);
        Ok(())
    }
}

/// How to repair.
#[derive(Clone, Debug)]
pub struct RepairOptions {
    /// The damaged file.
    pub file: PathBuf,
    /// The repaired one.
    pub output: PathBuf,
    /// Whether a file of that name may be replaced.
    pub overwrite: bool,
    /// Memory for verifying the result.
    pub memory: usize,
    /// Whether to write a new archive of what is whole if the file is beyond repair.
    pub salvage: bool,
    /// Files, or folders with files, that it may be based on if it is thin. Its own folder is looked
    /// through too. Repairing needs none; salvaging does.
    pub bases: Vec<PathBuf>,
}

/// What was done, and what verifying the result said: `None` where nothing was kept.
#[derive(Clone, Debug)]
pub struct Repaired {
    /// What was done.
    pub report: RepairReport,
    /// The verification of the result.
    pub verified: Option<Report>,
    /// What is in the result if it was salvaged, and what is not.
    pub salvaged: Option<Salvage>,
}

/// Repairs an archive. The result gets its name only if it is whole and verifies; the damaged file
/// is never changed.
///
/// # Errors
/// [`RepairError`]; then there is no new file under the name.
pub fn run(options: &RepairOptions, progress: &dyn Progress) -> Result<Repaired, RepairError> {
    let input = |source| RepairError::Input { path: options.file.clone(), source };
    let file = DiskFile::open(&options.file).map_err(input)?;
    let output = create(&options.output, options.overwrite)?;
    let mut target = output.file().try_clone()?;
    progress.begin(Phase::Repair, 0, file.len().saturating_mul(2));
    let mut report = mend(&file, &mut target, progress)?;
    if !report.whole {
        if options.salvage {
            // Where the seal could be made again, the mended file is the better source.
            let mended = report.bytes > 0;
            let source = if mended { DiskFile::open(output.partial_path())? } else { file };
            let source: Arc<dyn ReadAt> = Arc::new(source);
            return salvaged(options, report, &source, progress);
        }
        return Ok(Repaired { report, verified: None, salvaged: None });
    }
    let verified = verified(options, &output, progress)?;
    if let Some(finding) = verified.findings.iter().find(|finding| is_damage(finding)) {
        // Every byte is what its checksum says, so it was written like this.
        let what = format!("the result does not verify: {finding}");
        let offset = finding.offset.unwrap_or(0);
        report.beyond.push(Stretch { offset, length: 0, what });
        report.whole = false;
        return Ok(Repaired { report, verified: Some(verified), salvaged: None });
    }
    output.commit()?;
    Ok(Repaired { report, verified: Some(verified), salvaged: None })
}

/// Where the base of a thin archive may be.
fn near(options: &RepairOptions) -> Option<PathBuf> {
    std::fs::canonicalize(&options.file).ok()?.parent().map(Path::to_owned)
}

fn verified(
    options: &RepairOptions,
    output: &AtomicFile,
    progress: &dyn Progress,
) -> Result<Report, RepairError> {
    output.sync()?;
    let disk: Arc<dyn ReadAt> = Arc::new(DiskFile::open(output.partial_path())?);
    let disk = thin::join(disk, near(options).as_deref(), &options.bases);
    let how =
        VerifyOptions { level: Level::Full, memory: options.memory, images: ImageCheck::Parts };
    let verified = verify::run(&disk, &how, progress)?;
    if progress.interrupted() {
        return Err(RepairError::Interrupted);
    }
    Ok(verified)
}

/// A new archive of what is whole. It is kept if its own bytes are right: that rows are missing
/// which others refer to is to be expected.
fn salvaged(
    options: &RepairOptions,
    report: RepairReport,
    source: &Arc<dyn ReadAt>,
    progress: &dyn Progress,
) -> Result<Repaired, RepairError> {
    let output = create(&options.output, options.overwrite)?;
    let file = output.file().try_clone()?;
    let near = near(options);
    let bases = |wanted: &[Base]| thin::find(wanted, near.as_deref(), &options.bases);
    let scratch = Scratch::beside(&options.output);
    let salvage = salvage(source, &bases, file, options.memory, scratch, progress)?;
    let verified = verified(options, &output, progress)?;
    if let Some(finding) = verified.findings.iter().find(|finding| is_damage(finding)) {
        return Err(RepairError::Nothing(format!("the result does not verify: {finding}")));
    }
    output.commit()?;
    Ok(Repaired { report, verified: Some(verified), salvaged: Some(salvage) })
}

fn create(path: &Path, overwrite: bool) -> Result<AtomicFile, RepairError> {
    let made = if overwrite { AtomicFile::create_over(path) } else { AtomicFile::create(path) };
    made.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => RepairError::Exists(path.to_owned()),
        _ => RepairError::Output(error),
    })
}

/// Faults of the data itself (references that resolve to nothing, say) were in it before.
/// A base that is not there is no damage of this file.
pub(crate) fn is_damage(finding: &verify::Finding) -> bool {
    if finding.code.is_of_base() {
        return false;
    }
    let class = finding.code.id().as_bytes().get(1);
    finding.severity == Severity::Error && !matches!(class, Some(b'4'..=b'7'))
}
