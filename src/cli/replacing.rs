//! What `pgark restore` is about to do, whether it may, and what is saved before: the part of it
//! that is about people and profiles.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use super::args::Restore;
use super::create::{default_jobs, save};
use super::hints::Failure;
use super::named::{Reached, latest};
use super::{Context, saving, units};
use crate::create::{CreateError, CreateOptions};
use crate::format::parity::Protection;
use crate::profile::shelf::safety_series;
use crate::profile::{Lock, Profile};

/// How long to wait for a table that somebody has locked, before what is there is saved.
const LOCK_TIMEOUT: Duration = Duration::from_secs(30);

/// What is to be restored, and where.
pub(super) struct Job {
    /// The archive.
    pub(super) file: PathBuf,
    /// The target.
    pub(super) reached: Reached,
    /// Whether the target is replaced.
    pub(super) swap: bool,
    /// The profile whose database is saved before.
    pub(super) safety: Option<Profile>,
}

/// What a person has to say before it is done.
enum Consent {
    /// Nothing, or it was said.
    Given,
    /// This word.
    Word(String),
}

/// What was typed, with what it leaves out.
pub(super) fn job(typed: &Restore, context: &Context) -> Result<Job, Failure> {
    let Some(to) = &typed.to else { return of_profile(typed, context) };
    if typed.disconnect && !typed.swap {
        return Err(Failure::Usage("--disconnect goes with --swap".into()));
    }
    let file = context.archive(&typed.file)?;
    let reached = context.reach(Some(to))?;
    Ok(Job { file, reached, swap: typed.swap, safety: None })
}

/// An archive into the database of a profile, which it replaces.
fn of_profile(typed: &Restore, context: &Context) -> Result<Job, Failure> {
    let name = typed.file.to_str();
    let profile = name.map(|name| context.profile(name)).transpose()?.flatten();
    let Some(profile) = profile else {
        let is_file = typed.file.exists() || typed.file.extension().is_some();
        return Err(if is_file {
            Failure::NoTarget(typed.file.clone())
        } else {
            saving::no_profile(&typed.file, context)
        });
    };
    context.about(&profile);
    let swap = typed.create.is_none();
    let part = !typed.table.is_empty() || !typed.schema.is_empty();
    if swap && (part || typed.data_only || typed.schema_only || typed.no_verify_target) {
        return Err(Failure::Usage(format!(
            "the database of a profile is replaced as a whole: a part of an archive goes into \
             another one with --create NAME, or with pgark restore FILE --to {}",
            profile.name
        )));
    }
    let file = match typed.archive.as_deref() {
        None => latest(&profile)?,
        Some(path) if path == Path::new("latest") => latest(&profile)?,
        Some(path) => {
            let on_shelf = profile.dir.join(path);
            if !path.exists() && on_shelf.exists() { on_shelf } else { context.archive(path)? }
        }
    };
    let safety = (swap && !typed.no_safety).then(|| profile.clone());
    let reached = context.reach_profile(profile, None)?;
    Ok(Job { file, reached, swap, safety })
}

impl Job {
    /// Keeps others from working on the profile meanwhile: no new archive of what is about to be
    /// replaced, and none removed that is being restored.
    pub(super) fn lock(&self, context: &Context) -> Result<Option<Lock>, Failure> {
        let profile = self.reached.profile.as_ref();
        let profile = profile.filter(|it| self.safety.is_some() || it.dir.is_dir());
        profile.map(|profile| saving::lock(profile, "restore", context)).transpose()
    }

    /// The archive that what is there now is saved to.
    pub(super) fn safety_path(&self) -> Option<PathBuf> {
        let profile = self.safety.as_ref()?;
        Some(profile.dir.join(format!("{}_<time>.pgark", safety_series(&profile.name))))
    }

    /// The database is not there yet.
    pub(super) fn nothing_is_replaced(&mut self) {
        (self.swap, self.safety) = (false, None);
    }

    /// Makes sure that somebody wants this.
    pub(super) fn confirm(
        &self,
        typed: &Restore,
        database: &str,
        context: &Context,
    ) -> Result<(), Failure> {
        match self.consent(typed)? {
            Consent::Given => Ok(()),
            Consent::Word(word) => {
                let verb = if self.swap { "Replace" } else { "Fill" };
                ask(&format!("{verb} database {database}? Type {word}:"), &word, "restore", context)
            }
        }
    }

    /// That somebody is there to be asked, before anything is looked up for it.
    pub(super) fn may_be_asked(&self, typed: &Restore) -> Result<(), Failure> {
        match self.consent(typed)? {
            Consent::Word(word) if !std::io::stdin().is_terminal() => {
                Err(unconfirmed(match word.as_str() {
                    "yes" => "restore",
                    _ => "protected",
                }))
            }
            _ => Ok(()),
        }
    }

    fn consent(&self, typed: &Restore) -> Result<Consent, Failure> {
        let profile = self.reached.profile.as_ref();
        if let Some(named) = &typed.yes_really {
            return match profile {
                Some(profile) if profile.name == *named => Ok(Consent::Given),
                Some(profile) => Err(Failure::Usage(format!(
                    "--yes-really names {named}, and the profile is {}",
                    profile.name
                ))),
                None => Err(Failure::Usage("--yes-really is for profiles".into())),
            };
        }
        let touched = self.swap || typed.create.is_none();
        match profile.filter(|profile| profile.protected && touched) {
            Some(profile) if typed.yes => Err(Failure::Protected(profile.name.clone())),
            Some(profile) => Ok(Consent::Word(profile.name.clone())),
            None if self.swap && !typed.yes => Ok(Consent::Word("yes".into())),
            None => Ok(Consent::Given),
        }
    }

    /// Saves what is there now, if that is wanted.
    pub(super) fn save_what_is_there(
        &self,
        typed: &Restore,
        context: &Context,
    ) -> Result<Option<PathBuf>, Failure> {
        let Some(profile) = &self.safety else { return Ok(None) };
        let (output, created) = saving::place(profile, &safety_series(&profile.name), None);
        let options = CreateOptions {
            params: self.reached.params.clone(),
            output: output.clone(),
            jobs: typed.jobs.unwrap_or_else(default_jobs),
            memory: typed.memory,
            pg_dump: self.reached.pg_dump.clone().unwrap_or_default(),
            lock_timeout: LOCK_TIMEOUT,
            profile: Some(profile.name.clone()),
            comment: Some(format!("before {} was restored", self.file.display())),
            overwrite: false,
            created: Some(created),
            snapshot: None,
            read_back: true,
            parity: Some(Protection::default()),
            // What is there may be what the rules are no longer about.
            rules: None,
            // What is there may be all that is left: it stands alone.
            base: None,
        };
        context
            .printer
            .message(&format!("saving what is there now to\n  {}", units::near(&output)));
        match save(&options, context) {
            Ok(report) => {
                saving::keep_verdict(&report)?;
                Ok(Some(output))
            }
            Err(Failure::Create(error)) => match *error {
                CreateError::Interrupted => Err(Failure::Interrupted),
                error => Err(Failure::Safety(Box::new(error))),
            },
            Err(other) => Err(other),
        }
    }
}

/// Nobody is there to be asked.
pub(super) fn unconfirmed(what: &str) -> Failure {
    let (what, hint) = match what {
        "restore" => ("--swap", "--yes confirms it; --dry-run shows what would be done"),
        "protected" => (
            "the restore of a protected profile",
            "--yes-really PROFILE confirms it; --dry-run shows what would be done",
        ),
        "destroys" => ("a command that removes volumes", "--yes-really NAME confirms it"),
        _ => ("removing", "--yes confirms it; --dry-run shows what would be removed"),
    };
    Failure::Unconfirmed { what: what.to_owned(), hint: hint.to_owned() }
}

/// Asks on the terminal for a word. Reads on a thread of its own, so that Ctrl-C is heard meanwhile.
pub(super) fn ask(
    question: &str,
    word: &str,
    what: &str,
    context: &Context,
) -> Result<(), Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(unconfirmed(what));
    }
    context.printer.error(question);
    let (sender, answer) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut line = String::new();
        let read = std::io::stdin().read_line(&mut line);
        // Nobody waits any more if it was interrupted.
        _ = sender.send(read.map(|_| line));
    });
    loop {
        match answer.recv_timeout(Duration::from_millis(100)) {
            Ok(Ok(line)) if line.trim() == word => return Ok(()),
            Err(RecvTimeoutError::Timeout) if context.interrupt.is_set() => {
                return Err(Failure::InterruptedAsking);
            }
            Err(RecvTimeoutError::Timeout) => {}
            _ => return Err(Failure::Declined),
        }
    }
}
