//! What comes at the end of a command: the report that programs get, and the commands that its
//! profile wants to be run then, `on_success` and `on_failure`.

use std::cell::{Cell, RefCell};
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use serde::Serialize;

use super::args::Verb;
use super::exit::Exit;
use super::hints::{Failure, Trouble};
use super::units::span;
use super::{Context, json};
use crate::profile::{Hook, Profile};

/// Set for a hook: a pgark that is run by one runs none itself, or it would never end.
const WITHIN: &str = "PGARK_HOOK";
/// How often it is looked whether a hook has ended.
const STEP: Duration = Duration::from_millis(20);
/// How long a hook has to end after it was asked to.
const GRACE: Duration = Duration::from_secs(5);

/// What is known of a run when it ends.
#[derive(Default)]
pub(super) struct Ending {
    profile: RefCell<Option<Profile>>,
    archive: RefCell<Option<PathBuf>>,
    report: RefCell<Option<String>>,
    printed: Cell<bool>,
}

impl Context {
    /// This run is the work of a profile.
    pub(super) fn about(&self, profile: &Profile) {
        self.ending.profile.replace(Some(profile.clone()));
    }

    /// The archive that this run is about.
    pub(super) fn archive_is(&self, path: &Path) {
        self.ending.archive.replace(Some(path.to_owned()));
    }

    /// What this run has to report; `printed` if a program wants it on standard output.
    pub(super) fn report(&self, printed: bool, object: &impl Serialize) {
        self.ending.report.replace(Some(json::line(object)));
        self.ending.printed.set(printed);
    }

    /// Runs what the profile wants to be run, and prints the report. Gives what the command ends
    /// with.
    pub(super) fn end(&self, verb: &Verb, exit: Exit, failure: Option<&Failure>) -> Exit {
        let error = self.hook(verb, exit, failure);
        let report = self.ending.report.take().filter(|_| self.ending.printed.get());
        if let Some(line) = report {
            let line = match &error {
                Some(error) => with_error(&line, &self.printer.redact(&error.error)),
                None => line,
            };
            self.printer.result(&line);
        }
        // What was found or failed outranks a message that could not be sent.
        let exit = match (&error, exit) {
            (Some(_), Exit::Clean) => Exit::Failed,
            _ => exit,
        };
        if let Some(error) = &error {
            self.tell(error);
        }
        match self.printer.finish() {
            Err(error) if exit < Exit::Failed => self.tell(&Failure::Stdout(error).explain()),
            // If even that cannot be written, there is still the message.
            _ => exit,
        }
    }

    /// Runs the profile's command for this end; what went wrong with it.
    fn hook(&self, verb: &Verb, exit: Exit, failure: Option<&Failure>) -> Option<Trouble> {
        let command = command(verb)?;
        // A person who says no needs nobody to be told.
        if matches!(failure, Some(Failure::Declined)) || std::env::var_os(WITHIN).is_some() {
            return None;
        }
        let profile = self.ending.profile.borrow();
        let profile = profile.as_ref()?;
        let (name, hook) = match exit {
            Exit::Clean => ("on_success", profile.on_success.as_ref()?),
            _ => ("on_failure", profile.on_failure.as_ref()?),
        };
        let report = self.ending.report.borrow().clone().unwrap_or_default();
        let archive = self.ending.archive.borrow().clone();
        let told = Told {
            name,
            command,
            exit,
            archive: archive.as_deref(),
            report: self.printer.redact(&report),
        };
        let error = run(hook, profile, &told, self).err()?;
        let trouble =
            Trouble::new(Exit::Failed, format!("{name} of profile {}: {error}", profile.name));
        Some(match exit {
            Exit::Clean => trouble.hint(format!("pgark {command} itself ended well")),
            _ => trouble
                .hint(format!("nobody was told that pgark {command} ended with {}", exit.code())),
        })
    }
}

/// The word for commands that run hooks. A look at what would be done is no work.
fn command(verb: &Verb) -> Option<&'static str> {
    match verb {
        Verb::Create(_) => Some("create"),
        Verb::Check(_) => Some("check"),
        Verb::Drill(_) => Some("drill"),
        Verb::Guard(_) => Some("guard"),
        Verb::Restore(typed) => (!typed.dry_run).then_some("restore"),
        Verb::Prune(typed) => (!typed.dry_run).then_some("prune"),
        _ => None,
    }
}

/// The report of a run that ended well but for its hook.
fn with_error(line: &str, error: &str) -> String {
    let Ok(serde_json::Value::Object(mut report)) = serde_json::from_str(line) else {
        return line.to_owned();
    };
    report.insert("ok".to_owned(), false.into());
    report.insert("hook_failed".to_owned(), error.into());
    json::line(&report)
}

/// What a hook is told.
struct Told<'a> {
    /// Which of the hooks it is.
    name: &'a str,
    /// The verb.
    command: &'a str,
    /// What the command ends with.
    exit: Exit,
    /// The archive, if there is one.
    archive: Option<&'a Path>,
    /// The JSON report, a line.
    report: String,
}

/// Runs a hook to its end. What it prints goes to standard error: standard output is for our own
/// results. It is in a process group of its own, so that it can be ended with all that it started.
fn run(hook: &Hook, profile: &Profile, told: &Told<'_>, context: &Context) -> Result<(), String> {
    let mut command = match hook {
        Hook::Shell(line) => {
            let mut command = Command::new("sh");
            command.args(["-c", line]);
            command
        }
        Hook::Words(words) => {
            let mut words = words.iter();
            let mut command = Command::new(words.next().map_or("", String::as_str));
            command.args(words);
            command
        }
    };
    let stderr = std::io::stderr().as_fd().try_clone_to_owned().map_err(|e| e.to_string())?;
    command
        .current_dir(profile.file.parent().unwrap_or(Path::new(".")))
        .env(WITHIN, told.name)
        .env("PGARK_CONFIG", &profile.file)
        .env("PGARK_PROFILE", &profile.name)
        .env("PGARK_COMMAND", told.command)
        .env("PGARK_EXIT", told.exit.code().to_string())
        .env_remove("PGARK_ARCHIVE")
        .env_remove("PGPASSWORD")
        .stdin(Stdio::piped())
        .stdout(Stdio::from(stderr))
        .process_group(0);
    if let Some(path) = told.archive {
        command.env("PGARK_ARCHIVE", std::path::absolute(path).unwrap_or_else(|_| path.to_owned()));
    }
    let mut child = command.spawn().map_err(|error| format!("it could not be run: {error}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        let report = told.report.clone();
        // A thread, for a hook need not read it: the write ends when the hook does.
        std::thread::spawn(move || _ = stdin.write_all(report.as_bytes()));
    }
    let (since, interrupted) = (Instant::now(), context.interrupt.is_set());
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(()),
            Ok(Some(status)) => return Err(format!("it ended with {status}")),
            Ok(None) => {}
            Err(error) => return Err(error.to_string()),
        }
        if since.elapsed() >= profile.hook_timeout {
            stop(&mut child);
            let limit = span(profile.hook_timeout);
            return Err(format!("it had not ended after {limit} (hook_timeout), and was stopped"));
        }
        if context.interrupt.is_set() && !interrupted {
            stop(&mut child);
            return Err("it was interrupted".to_owned());
        }
        std::thread::sleep(STEP);
    }
}

/// Ends a hook and what it started.
fn stop(child: &mut Child) {
    let Ok(pid) = i32::try_from(child.id()) else { return };
    let Some(group) = Pid::from_raw(pid) else { return };
    // An error says that there is none of it left.
    _ = kill_process_group(group, Signal::TERM);
    let since = Instant::now();
    while since.elapsed() < GRACE && matches!(child.try_wait(), Ok(None)) {
        std::thread::sleep(STEP);
    }
    _ = kill_process_group(group, Signal::KILL);
    _ = child.wait();
}
