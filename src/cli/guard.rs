//! `pgark guard`: an archive before, a command, a check afterwards.

use std::io::IsTerminal as _;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::args::{Bases, Check, Guard};
use super::check::looked;
use super::create::{self, default_jobs, now, save};
use super::exit::Exit;
use super::hints::Failure;
use super::json::Guarded;
use super::named::{Reached, latest};
use super::printer::Style;
use super::render::headed;
use super::replacing::{ask, unconfirmed};
use super::units::{near, quoted, span};
use super::{Context, saving};
use crate::create::CreateOptions;
use crate::format::parity::Protection;
use crate::format::reader::Archive;
use crate::format::thin;
use crate::pg;
use crate::profile::destroys::{Effect, effect};
use crate::profile::shelf::series;
use crate::progress::Progress as _;
use crate::verify::rules::RuleFile;
use crate::verify::{self, VerifyOptions};

/// How long is waited for a database that is to come back.
const WAIT: Duration = Duration::from_secs(120);
/// How long between two looks whether it answers.
const STEP: Duration = Duration::from_millis(500);
/// How long to wait for a table that somebody has locked.
const LOCK_TIMEOUT: Duration = Duration::from_secs(30);

/// Runs it.
pub(super) fn run(typed: &Guard, context: &Context) -> Result<Exit, Failure> {
    let printer = &context.printer;
    let effect = effect(&typed.command);
    let reached = context.reach(Some(&typed.source))?;
    let name = match &reached.profile {
        Some(profile) => profile.name.clone(),
        None => reached.params.database().to_owned(),
    };
    if let Some(named) = typed.yes_really.as_ref().filter(|named| **named != name) {
        return Err(Failure::Usage(format!("--yes-really names {named}, and this is {name}")));
    }
    if let Effect::Destroys(what) = effect
        && typed.yes_really.is_none()
        && !std::io::stdin().is_terminal()
    {
        printer.message(&format!("this command takes the database with it: {what}"));
        return Err(unconfirmed("destroys"));
    }
    let rules = reached.profile.as_ref().map(saving::rules).transpose()?.flatten();
    let file = archive(typed, &reached, rules.as_ref(), context)?;
    context.archive_is(&file);
    // Open until the end, with its bases: `prune` leaves it alone, whatever the command is.
    let _open = thin::open(&file, &[]).map_err(|error| Failure::File(file.clone(), error))?;
    if let Effect::Destroys(what) = effect {
        outside(&file, &reached)?;
        printer.message(&format!(
            "this command takes the database with it: {what}. {} holds all of it.",
            file.display()
        ));
        if typed.yes_really.is_none() {
            ask(&format!("Run it? Type {name}:"), &name, "destroys", context)?;
        }
    }
    // What the connection went through may not live through the command.
    drop(reached);
    let ended = execute(typed)?;
    if context.interrupt.is_set() {
        printer.message(&format!(
            "interrupted before the check: pgark check {} --against {}",
            typed.source,
            file.display()
        ));
        return Err(Failure::Interrupted);
    }
    match ended.code() {
        Some(0) => {}
        Some(code) => printer.message(&format!("the command ended with exit code {code}")),
        None => printer.message(&format!("the command was ended: {ended}")),
    }
    let wait = typed.wait.unwrap_or(match effect {
        Effect::None => WAIT,
        Effect::Stops | Effect::Destroys(_) => Duration::ZERO,
    });
    let Some(reached) = answered(typed, wait, context)? else {
        return Ok(silent(typed, &file, ended, effect, wait, context));
    };
    let check = Check {
        bases: Bases { base: Vec::new() },
        source: Some(typed.source.clone()),
        rules: None,
        against: Some(file.clone()),
        no_schema: typed.no_schema,
        allow_changes: typed.allow_changes,
        strict: false,
        jobs: typed.jobs,
        memory: typed.memory,
        pg_dump: None,
        lock_timeout: LOCK_TIMEOUT,
        json: typed.json,
    };
    let looked = looked(&check, &reached, rules.as_ref(), Some(&file), context)?;
    let ok = looked.ok && ended.success();
    let check = Some(looked.json());
    context.report(typed.json, &Guarded::new(&file, ok, &typed.command, ended.code(), check));
    if !typed.json && (!ok || !printer.is_quiet()) {
        printer.result(&looked.words(printer));
    }
    Ok(match (looked.ok, ended.success()) {
        (false, _) => Exit::Findings,
        (true, false) => Exit::Failed,
        (true, true) => Exit::Clean,
    })
}

/// The archive that the database is compared with afterwards: known to be good.
fn archive(
    typed: &Guard,
    reached: &Reached,
    rules: Option<&RuleFile>,
    context: &Context,
) -> Result<PathBuf, Failure> {
    if let Some(path) = &typed.archive {
        let path = context.archive(path)?;
        verified(&path, typed, context)?;
        return Ok(path);
    }
    if let Some(most) = typed.max_age {
        let Some(profile) = &reached.profile else {
            let why =
                "--max-age is for profiles, whose archives are known: --archive FILE names one";
            return Err(Failure::Usage(why.into()));
        };
        let known = latest(profile).ok().and_then(|path| {
            let created = Archive::open(&path).ok()?.manifest().created;
            let age = Duration::from_secs(now().saturating_sub(created));
            (age <= most).then_some((path, age))
        });
        if let Some((path, age)) = known {
            // The link may lead elsewhere soon; this archive is meant.
            let path = std::fs::canonicalize(&path).unwrap_or(path);
            verified(&path, typed, context)?;
            let said = format!("{}: made {} ago, and good", near(&path), span(age));
            context.printer.message(&said);
            return Ok(path);
        }
    }
    // Held while the archive is made, not while the command runs: that may be a pgark itself.
    let ours = reached.profile.as_ref().filter(|_| typed.output.is_none());
    let _lock = ours.map(|profile| saving::lock(profile, "guard", context)).transpose()?;
    let (output, created) = match (&typed.output, &reached.profile) {
        (Some(path), _) => (path.clone(), None),
        (None, Some(profile)) => {
            let (path, created) = saving::place(profile, &series(&profile.name), None);
            (path, Some(created))
        }
        (None, None) => (create::default_name(reached.params.database(), now()), None),
    };
    let words = typed.command.join(" ");
    let options = CreateOptions {
        params: reached.params.clone(),
        output: output.clone(),
        jobs: typed.jobs.unwrap_or_else(default_jobs),
        memory: typed.memory,
        pg_dump: reached.pg_dump.clone().unwrap_or_default(),
        lock_timeout: LOCK_TIMEOUT,
        profile: reached.profile.as_ref().map(|profile| profile.name.clone()),
        comment: Some(format!("before {}", words.chars().take(200).collect::<String>())),
        overwrite: false,
        created,
        snapshot: None,
        read_back: true,
        parity: Some(Protection::default()),
        rules: rules.cloned(),
        base: None,
    };
    let report = save(&options, context)?;
    if let Some(profile) = &reached.profile {
        saving::shelve(profile, &report, context)?;
    }
    let faults = report.verified.as_ref().is_some_and(|report| !report.ok);
    let said =
        if faults { "saved, with the faults that the data has" } else { "saved and verified" };
    context.printer.message(&format!("{}: {said}", near(&output)));
    Ok(output)
}

/// That an archive is whole. Faults that its data had when it was saved are no reason against it.
fn verified(path: &Path, typed: &Guard, context: &Context) -> Result<(), Failure> {
    let file = thin::open(path, &[]).map_err(|error| Failure::File(path.to_owned(), error))?;
    let bars = context.bars();
    let options = VerifyOptions { memory: typed.memory, ..VerifyOptions::default() };
    let report = verify::run(&file, &options, &*bars);
    bars.finish();
    if bars.interrupted() {
        return Err(Failure::Interrupted);
    }
    let report = report.map_err(|error| Failure::Verify(path.to_owned(), error))?;
    if crate::profile::Outcome::of(&report) == Some(crate::profile::Outcome::Damaged)
        || report.too_new
        || report.lacks_base()
    {
        return Err(Failure::Unguarded(path.to_owned()));
    }
    Ok(())
}

/// That the archive does not go with the volumes.
fn outside(file: &Path, reached: &Reached) -> Result<(), Failure> {
    let file =
        std::fs::canonicalize(file).map_err(|error| Failure::File(file.to_owned(), error))?;
    let place = reached.profile.as_ref().and_then(|profile| profile.place.as_ref());
    let mounts = match place {
        Some(place) => {
            let found = place.find().map_err(|error| {
                let name = reached.profile.as_ref().map(|profile| profile.name.clone());
                Failure::Connect(name.unwrap_or_default(), error.into())
            })?;
            found.mounts
        }
        None => Vec::new(),
    };
    let usual =
        ["/var/lib/docker/volumes", "/var/lib/containers/storage/volumes"].map(PathBuf::from);
    match mounts.iter().chain(&usual).find(|mount| file.starts_with(mount)) {
        Some(mount) => Err(Failure::InVolume(file, mount.clone())),
        None => Ok(()),
    }
}

/// Runs the command to its end, with our own channels.
fn execute(typed: &Guard) -> Result<ExitStatus, Failure> {
    let (program, arguments) = typed
        .command
        .split_first()
        .ok_or_else(|| Failure::Usage("there is no command behind --".into()))?;
    let failed = |error| Failure::Command(program.clone(), error);
    let mut command = Command::new(program);
    command.args(arguments);
    if typed.json {
        let ours = std::io::stderr().as_fd().try_clone_to_owned().map_err(failed)?;
        command.stdout(Stdio::from(ours));
    }
    command.status().map_err(failed)
}

/// The database, as soon as it answers.
fn answered(typed: &Guard, wait: Duration, context: &Context) -> Result<Option<Reached>, Failure> {
    let since = Instant::now();
    let mut told = false;
    loop {
        // Not through Context::reach, which would say at each try where it looks.
        let reached = context.reach_quietly(&typed.source);
        if let Ok(reached) = reached
            && pg::ping(&reached.params).is_ok()
        {
            return Ok(Some(reached));
        }
        if since.elapsed() >= wait {
            return Ok(None);
        }
        if !told && since.elapsed() > STEP * 2 {
            context.printer.message("waiting for the database to answer");
            told = true;
        }
        let step = Instant::now();
        while step.elapsed() < STEP {
            if context.interrupt.is_set() {
                return Err(Failure::Interrupted);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// The database does not answer: whether that was to be expected.
fn silent(
    typed: &Guard,
    file: &Path,
    ended: ExitStatus,
    effect: Effect,
    wait: Duration,
    context: &Context,
) -> Exit {
    let expected = effect != Effect::None && typed.wait.is_none() && ended.success();
    let printer = &context.printer;
    let guarded = Guarded::new(file, expected, &typed.command, ended.code(), None);
    context.report(typed.json, &guarded);
    if !typed.json && (!expected || !printer.is_quiet()) {
        let paint = printer.out_paint();
        let shown = quoted(&near(file));
        let source = quoted(&printer.redact(&typed.source));
        let check =
            format!("When it runs again:\n    pgark check {source} --against \\\n      {shown}");
        let (verdict, back) = match (expected, effect) {
            (true, Effect::Destroys(_)) => {
                let words = "NOT CHECKED. The database is gone, as the command wanted.";
                let back = format!(
                    "To bring it back into an empty server:\n    pgark restore {shown} \\\n      --to {source} --create NAME"
                );
                (paint.paint(Style::Warn, words), back)
            }
            (true, _) => {
                let words = "NOT CHECKED. The database is stopped, as the command wanted.";
                (paint.paint(Style::Warn, words), check)
            }
            (false, _) => {
                let words = format!("NOT CHECKED. The database did not answer for {}.", span(wait));
                (paint.paint(Style::Bad, &words), check)
            }
        };
        printer.result(&format!(
            "{}  All of it is in {shown},\n  which was verified.\n  {back}\n",
            headed(&typed.source, &verdict)
        ));
    }
    if expected { Exit::Clean } else { Exit::Failed }
}
