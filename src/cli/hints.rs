//! The one place that turns errors into words and advice.
//!
//! Errors of the layers below are facts that name an object. Here they get a headline, the chain
//! of their causes, what to do about them (`hint:` after a blank line), and an exit code.

use std::error::Error;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use super::exit::Exit;
use super::names::NameError;
use super::printer::{Paint, Style};
use super::{drill, leaving, profiles, rescue, servers};
use crate::check::CheckError;
use crate::compare::CompareError;
use crate::create::CreateError;
use crate::drill::DrillError;
use crate::export::ExportError;
use crate::export::select::SelectError;
use crate::extract::ExtractError;
use crate::format::reader::{OpenError, ReadError};
use crate::merge::MergeError;
use crate::pg::PgError;
use crate::profile::{ConfigError, ConnectError, LockError, ShelfError};
use crate::repair::RepairError;
use crate::rescue::RescueError;
use crate::restore::RestoreError;
use crate::verify::rules::RuleFileError;
use crate::verify::suggest::SuggestError;
use crate::verify::{Report, VerifyError};

/// Why a verb could not do what was asked.
#[derive(Debug)]
pub(super) enum Failure {
    /// Results could not be written to standard output.
    Stdout(io::Error),
    /// A file could not be opened.
    File(PathBuf, io::Error),
    /// The table asked for is not there, or more than one is.
    Name(PathBuf, NameError),
    /// A file cannot be opened as an archive.
    Open(PathBuf, OpenError),
    /// Part of an archive cannot be read.
    Read(PathBuf, ReadError),
    /// An archive could not be verified.
    Verify(PathBuf, VerifyError),
    /// What was read from an archive cannot be right.
    Damage {
        /// The archive.
        path: PathBuf,
        /// The table or row.
        what: String,
        /// What is wrong.
        problem: String,
    },
    /// A value cannot be written as JSON.
    NotUtf8 {
        /// The row.
        what: String,
        /// The column.
        column: String,
    },
    /// The person was asked, and said no.
    Declined,
    /// The person was asked, and wanted it to stop.
    InterruptedAsking,
    /// Something is to be confirmed, and there is nobody to ask.
    Unconfirmed {
        /// What it is.
        what: String,
        /// How it is confirmed otherwise.
        hint: String,
    },
    /// A protected profile is to be named again.
    Protected(String),
    /// It was not said where an archive is to be restored.
    NoTarget(PathBuf),
    /// There is no profile of this name.
    NoProfile {
        /// What was typed.
        typed: String,
        /// The file that was looked into, or that there is none.
        place: String,
        /// The profiles that there are.
        known: Vec<String>,
    },
    /// The file of profiles cannot be used.
    Config(ConfigError),
    /// A profile leads to no database.
    Connect(String, ConnectError),
    /// Another process works on a profile.
    Busy(String, LockError),
    /// A profile has no latest archive.
    NoLatest(String, PathBuf),
    /// A folder of archives cannot be listed or changed.
    Shelf(ShelfError),
    /// An archive was made, and did not become the latest.
    Latest(PathBuf, ShelfError),
    /// What is there now could not be saved before it was to be replaced.
    Safety(Box<CreateError>),
    /// It was not said how many archives are kept.
    NothingKept,
    /// The newest archive of a series is not known to be good.
    NewestDamaged(PathBuf),
    /// A file that is there already is not replaced.
    NotReplaced(PathBuf),
    /// Rules could not be proposed.
    Suggest(PathBuf, SuggestError),
    /// A file of rules makes no sense.
    Rules(PathBuf, RuleFileError),
    /// The person wanted it to stop.
    Interrupted,
    /// What was typed does not lead to a server.
    Connection(PgError),
    /// No archive was made.
    Create(Box<CreateError>),
    /// A restore was refused or did not come to its end.
    Restore(Box<RestoreError>),
    /// A drill was not held to its end: of which archive.
    Drill(PathBuf, Box<DrillError>),
    /// Nothing was rescued.
    Rescue(Box<RescueError>),
    /// A database could not be held against rules.
    Check(Box<CheckError>),
    /// A thin archive could not be merged.
    Merge(Box<MergeError>),
    /// A repair could not be tried, or its result not be kept.
    Repair(Box<RepairError>),
    /// There is no comparison.
    Compare(Box<CompareError>),
    /// A file or folder that should be made cannot be.
    Target(PathBuf, io::Error),
    /// An export did not come to its end: of which archive, and to which file.
    Export(PathBuf, Option<PathBuf>, Box<ExportError>),
    /// Blobs could not be written as files.
    Extract(PathBuf, Box<ExtractError>),
    /// Options that do not go together.
    Usage(String),
    /// The archive that a command was to be guarded by is damaged.
    Unguarded(PathBuf),
    /// An archive is in a volume that is about to go.
    InVolume(PathBuf, PathBuf),
    /// A command cannot be run.
    Command(String, io::Error),
    /// The rows asked for cannot be picked.
    Select(PathBuf, SelectError),
}

/// A failure in words.
#[derive(Clone, Debug)]
pub(super) struct Trouble {
    /// What the command ends with.
    pub(super) exit: Exit,
    /// What could not be done, and why.
    pub(super) error: String,
    /// What to do about it.
    pub(super) hints: Vec<String>,
}

impl Trouble {
    pub(super) fn new(exit: Exit, error: impl Into<String>) -> Self {
        Self { exit, error: error.into(), hints: Vec::new() }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// As people see it: `error: ...`, and after a blank line `hint: ...`.
    pub(super) fn render(&self, paint: Paint) -> String {
        let mut out = format!("{} {}\n", paint.paint(Style::Bad, "error:"), self.error);
        for (at, hint) in self.hints.iter().enumerate() {
            let blank = if at == 0 { "\n" } else { "" };
            _ = writeln!(out, "{blank}{} {hint}", paint.paint(Style::Bold, "hint:"));
        }
        out
    }
}

impl Failure {
    /// What verification found, where that is the reason.
    pub(super) fn report(&self) -> Option<&Report> {
        match self {
            Self::Create(error) => match &**error {
                CreateError::ReadBack { report, .. } => Some(report),
                _ => None,
            },
            Self::Restore(error) => match &**error {
                RestoreError::Damaged { report, .. } | RestoreError::TooNew { report, .. } => {
                    Some(report)
                }
                _ => None,
            },
            _ => None,
        }
    }

    /// In words.
    pub(super) fn explain(&self) -> Trouble {
        match self {
            Self::Stdout(error) => Trouble::new(
                Exit::Failed,
                format!("results could not be written to standard output: {}", io_words(error)),
            ),
            Self::File(path, error) => file(path, error),
            Self::Name(path, error) => name(path, error),
            Self::Open(path, error) => open(path, error),
            Self::Read(path, error) => {
                let error = format!("{}: {}", path.display(), chain(error));
                damaged(path, Trouble::new(Exit::Failed, error))
            }
            Self::Connection(error) => servers::connection(error),
            Self::Create(error) => servers::create(error),
            Self::Restore(error) => servers::restore(error),
            Self::Compare(error) => servers::compare(error),
            Self::Drill(path, error) => drill::trouble(path, error),
            Self::Rescue(error) => rescue::trouble(error),
            Self::Check(error) => servers::check(error),
            Self::Verify(path, error) => verification(path, error),
            Self::Repair(error) => repair(error),
            Self::Merge(error) => super::merge::explain(error),
            Self::Damage { path, what, problem } => {
                let error = format!("{}: {what}: {problem}", path.display());
                damaged(path, Trouble::new(Exit::Failed, error))
            }
            Self::NotUtf8 { what, column } => {
                let error = format!("{what}, column {column}: its bytes are not UTF-8");
                Trouble::new(Exit::Failed, error).hint("--format copy writes them as they are")
            }
            Self::Declined => Trouble::new(Exit::Failed, "not confirmed: nothing was done"),
            Self::Unconfirmed { what, hint } => Trouble::new(
                Exit::Usage,
                format!(
                    "{what} has to be confirmed, and standard input is no terminal: nothing was done"
                ),
            )
            .hint(hint.clone()),
            Self::Protected(name) => Trouble::new(
                Exit::Usage,
                format!("profile {name} is protected, and --yes is not enough for it: nothing was done"),
            )
            .hint(format!("--yes-really {name} confirms it")),
            Self::NoTarget(path) => Trouble::new(
                Exit::Usage,
                format!("{}: it is not said where it is to be restored", path.display()),
            )
            .hint("--to TARGET names an empty database; pgark restore PROFILE FILE replaces a profile's"),
            Self::NoProfile { typed, place, known } => profiles::none(typed, place, known),
            Self::Config(error) => profiles::config(error),
            Self::Connect(name, error) => profiles::connect(name, error),
            Self::Busy(name, error) => profiles::busy(name, error),
            Self::NoLatest(name, path) => Trouble::new(
                Exit::Failed,
                format!("profile {name} has no latest archive: {} is not there", path.display()),
            )
            .hint(format!("pgark create {name} makes one; pgark list {name} shows what there is")),
            Self::Shelf(error) => profiles::shelf(error),
            Self::Latest(path, error) => profiles::latest(path, error),
            Self::Safety(error) => {
                let trouble = servers::create(error);
                let error = format!(
                    "what is there now could not be saved, and nothing was done: {}",
                    trouble.error
                );
                Trouble { error, ..trouble }.hint("--no-safety restores without it")
            }
            Self::NothingKept => {
                Trouble::new(Exit::Usage, "it is not said how many archives are kept: none was removed")
                    .hint(
                        "write keep = { last = 3, daily = 7 } into the profile, or name --keep-last 3",
                    )
            }
            Self::NewestDamaged(path) => damaged(
                path,
                Trouble::new(
                    Exit::Findings,
                    format!("{}, the newest, is not good: nothing was removed", path.display()),
                ),
            ),
            Self::NotReplaced(path) => {
                Trouble::new(Exit::Failed, format!("{} is there already, and stays", path.display()))
                    .hint("--stdout prints what would be written")
            }
            Self::Suggest(_, SuggestError::Interrupted) => Self::Interrupted.explain(),
            Self::Suggest(path, error) => {
                let error = format!("{}: {}", path.display(), chain(error));
                damaged(path, Trouble::new(Exit::Failed, error))
            }
            Self::Rules(path, error) => {
                Trouble::new(Exit::Usage, format!("{}: {error}", path.display()))
                    .hint("docs/rules.md describes what a rule may say")
            }
            Self::InterruptedAsking => {
                Trouble::new(Exit::Interrupted, "interrupted: nothing was done")
            }
            Self::Interrupted => Trouble::new(Exit::Interrupted, "interrupted"),
            Self::Usage(error) => Trouble::new(Exit::Usage, error.clone()),
            Self::Unguarded(path) => Trouble::new(
                Exit::Findings,
                format!("{}: this archive is damaged, and the command was not run", path.display()),
            )
            .hint("without --archive and --max-age a new one is made"),
            Self::InVolume(path, volume) => Trouble::new(
                Exit::Failed,
                format!(
                    "{} is in {}, which may go with the database: the command was not run",
                    path.display(),
                    volume.display()
                ),
            )
            .hint("name a place outside with -o, or dir of the profile, and run it again"),
            Self::Command(program, error) => Trouble::new(
                Exit::Failed,
                format!("{program} could not be run: {}", io_words(error)),
            )
            .hint("the archive is made, and nothing else was done"),
            Self::Target(path, error) => leaving::target(path, error),
            Self::Export(path, output, error) => leaving::export(path, output.as_deref(), error),
            Self::Extract(path, error) => leaving::extract(path, error),
            Self::Select(path, error) => leaving::select(path, error),
        }
    }
}

pub(super) fn file(path: &Path, error: &io::Error) -> Trouble {
    let shown = path.display();
    let trouble = Trouble::new(Exit::Failed, format!("{shown}: {}", io_words(error)));
    match error.kind() {
        io::ErrorKind::NotFound if path.is_relative() => {
            let here = std::env::current_dir().unwrap_or_default();
            trouble.hint(format!("relative names are looked up in {}", here.display()))
        }
        io::ErrorKind::IsADirectory => trouble.hint("name the archive file in it"),
        io::ErrorKind::PermissionDenied => {
            trouble.hint("run as a user who may read it, or ask its owner")
        }
        _ => trouble,
    }
}

pub(super) fn open(path: &Path, error: &OpenError) -> Trouble {
    let shown = path.display();
    let trouble = Trouble::new(Exit::Failed, format!("{shown}: {}", chain(error)));
    match error {
        OpenError::Io(error) => file(path, error),
        OpenError::TooNew(_) => Trouble { exit: Exit::TooNew, ..trouble }
            .hint("use the version of pgark that wrote the file, or a newer one"),
        OpenError::NotAnArchive(_) => trouble.hint(
            "check that this is the right file, and that it was copied whole; \
             a dump of pg_dump is not an archive",
        ),
        OpenError::Length { .. } => {
            trouble.hint("the file was cut off or added to: take another copy")
        }
        OpenError::Base(_) => trouble
            .hint("put the archive it is based on beside it, or say where that is with --base"),
        _ => damaged(path, trouble),
    }
}

pub(super) fn verification(path: &Path, error: &VerifyError) -> Trouble {
    let trouble = Trouble::new(Exit::Failed, format!("{}: {}", path.display(), chain(error)));
    match error {
        VerifyError::Interrupted => Failure::Interrupted.explain(),
        VerifyError::Scratch(_) => trouble.hint(format!(
            "scratch files go to {}; set TMPDIR to a folder with more room, or --memory to more",
            std::env::temp_dir().display()
        )),
        VerifyError::Thread(_) => trouble.hint("the system is at a limit: see ulimit -u"),
        VerifyError::Internal(_) => trouble.hint(BUG),
    }
}

fn repair(error: &RepairError) -> Trouble {
    match error {
        RepairError::Input { path, source } => file(path, source),
        RepairError::Exists(path) => {
            Trouble::new(Exit::Failed, format!("{} exists", path.display()))
                .hint("--force replaces it")
        }
        RepairError::Verify(VerifyError::Interrupted) | RepairError::Interrupted => {
            Failure::Interrupted.explain()
        }
        RepairError::Nothing(_) => Trouble::new(Exit::Failed, chain(error)).hint(
            "rows and images can still be taken out of a broken archive by hand: \
             pgark-1.txt at the beginning of the file says how",
        ),
        RepairError::Output(_) | RepairError::Verify(_) => Trouble::new(Exit::Failed, chain(error)),
    }
}

/// What to do where a writer has no room for what it knows.
pub(super) const SCRATCH: &str = "scratch files, without a name, go to the folder of the archive: \
    name a place with more room with --output, or set --memory to more; nothing was left behind";

/// What to do about a mistake of this program.
pub(super) const BUG: &str = "this is a mistake in pgark, not in your data; please report it";

pub(super) fn damaged(path: &Path, trouble: Trouble) -> Trouble {
    trouble.hint(format!("pgark verify {} says what is lost and what is safe", path.display()))
}

fn name(path: &Path, error: &NameError) -> Trouble {
    let shown = path.display();
    match error {
        NameError::Syntax { typed } => Trouble::new(
            Exit::Usage,
            format!("{typed:?} is not a table's name"),
        )
        .hint("write schema.table or table; quote a part that has dots or quotes: '\"a.b\".table'"),
        NameError::None { typed, near } => {
            let trouble = Trouble::new(Exit::Usage, format!("{shown} has no table {typed}"));
            if near.is_empty() {
                trouble.hint(format!("pgark inspect {shown} lists its tables"))
            } else {
                let near: Vec<String> = near.iter().map(ToString::to_string).collect();
                trouble.hint(format!("there is {}", near.join(", ")))
            }
        }
        NameError::Several { typed, names } => {
            let names: Vec<String> = names.iter().map(ToString::to_string).collect();
            Trouble::new(Exit::Usage, format!("{shown} has more than one table {typed}"))
                .hint(format!("say which: {}", names.join(", ")))
        }
        NameError::NoColumn { table, typed, near } => {
            let trouble = Trouble::new(Exit::Usage, format!("{table} has no column {typed}"));
            if near.is_empty() {
                trouble.hint(format!("pgark inspect {shown} --table '{table}' lists its columns"))
            } else {
                trouble.hint(format!("there is {}", near.join(", ")))
            }
        }
        NameError::NotBytea { table, column, sql_type } => Trouble::new(
            Exit::Usage,
            format!("{table}.{column} has type {sql_type}, and only bytea columns hold blobs"),
        )
        .hint(format!("pgark inspect {shown} --table '{table}' says which do")),
        NameError::NoRows { table } => Trouble::new(
            Exit::Usage,
            format!("{table} is a partitioned table and has no rows of its own"),
        )
        .hint("its partitions have them"),
    }
}

/// A system error without the `(os error 2)`.
pub(super) fn io_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such file".to_owned(),
        io::ErrorKind::IsADirectory => "is a folder, not a file".to_owned(),
        io::ErrorKind::AlreadyExists => "is there already".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => chain(error),
    }
}

/// An error with its causes. A cause whose words are already in what went before is left out:
/// some layers tell all of it themselves, and keep their source as well.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut out = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        // What a server says is told with its code, where it is told by us.
        let said = text.strip_prefix("db error: ").and_then(|said| said.split_once(": "));
        let said = said.map(|(_, said)| said.split('\n').next().unwrap_or(said));
        if !out.contains(said.unwrap_or(&text)) {
            _ = write!(out, ": {text}");
        }
        cause = error.source();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{0}")]
    struct Layer(&'static str, #[source] Option<Box<Layer>>);

    /// tokio-postgres hides the cause; our own layers tell it and keep it too.
    #[test]
    fn causes_are_told_once() {
        let inner = || Some(Box::new(Layer("password authentication failed", None)));
        assert_eq!(chain(&Layer("db error", inner())), "db error: password authentication failed");
        assert_eq!(
            chain(&Layer("h: password authentication failed", inner())),
            "h: password authentication failed"
        );
    }

    /// The client library's words for it lack the code, and have lines of their own.
    #[test]
    fn what_a_server_says_is_told_once() {
        let library = Some(Box::new(Layer("db error: ERROR: no such thing\nHINT: none", None)));
        let ours = Layer("reading t: ERROR 42P01: no such thing; hint: none", library);
        assert_eq!(chain(&ours), "reading t: ERROR 42P01: no such thing; hint: none");
    }

    #[test]
    fn advice_comes_after_a_blank_line() {
        let trouble = Trouble::new(Exit::Failed, "x").hint("y").hint("z");
        assert_eq!(trouble.render(Paint::NEVER), "error: x\n\nhint: y\nhint: z\n");
        assert_eq!(Trouble::new(Exit::Failed, "x").render(Paint::NEVER), "error: x\n");
    }
}
