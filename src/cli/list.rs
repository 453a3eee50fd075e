//! `pgark list`: the archives of a folder, and what is known of each.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use super::args::List;
use super::create::now;
use super::exit::Exit;
use super::hints::Failure;
use super::json::{self, Folder, Listed};
use super::printer::{Paint, Style};
use super::render::wrapped;
use super::units::{counted, near, size, span};
use super::{Context, saving};
use crate::format::digest::Digest;
use crate::profile::keep::Soundness;
use crate::profile::shelf::{Shelved, safety_series, series};
use crate::profile::{Profile, Shelf};

/// Archives that are looked at together.
pub(super) struct Looked {
    /// The profile they belong to, if they were asked for by it.
    pub(super) profile: Option<Profile>,
    /// They and their folder.
    pub(super) shelf: Shelf,
    /// Archives that others of the folder cannot be read without.
    pub(super) bases: Vec<Digest>,
}

/// Runs it.
pub(super) fn run(typed: &List, context: &Context) -> Result<Exit, Failure> {
    let looked = match &typed.what {
        Some(what) => vec![look(what, context)?],
        None => all(context)?,
    };
    let archives = || looked.iter().flat_map(|it| &it.shelf.archives);
    let bad = archives().any(|archive| archive.candidate().soundness == Soundness::Damaged);
    let printer = &context.printer;
    if typed.json {
        let folders = looked.iter().map(|it| Folder {
            profile: it.profile.as_ref().map(|profile| profile.name.as_str()),
            folder: it.shelf.folder.display().to_string(),
            archives: it.shelf.archives.iter().map(json::ListedArchive::new).collect(),
        });
        json::print(printer, &Listed::new(!bad, folders.collect()));
    } else {
        for (at, it) in looked.iter().enumerate() {
            let between = if at > 0 { "\n" } else { "" };
            printer.result(&format!("{between}{}", words(it, now(), printer.out_paint())));
        }
    }
    Ok(if bad { Exit::Findings } else { Exit::Clean })
}

/// What was named: a profile, or else a folder.
pub(super) fn look(what: &Path, context: &Context) -> Result<Looked, Failure> {
    if let Some(profile) = what.to_str().map(|name| context.profile(name)).transpose()?.flatten() {
        if what.is_dir() {
            context.printer.message(&format!(
                "profile {} of {} (the folder of this name is ./{})",
                profile.name,
                profile.file.display(),
                what.display()
            ));
        }
        context.about(&profile);
        return of(profile);
    }
    if !what.is_dir() && what.components().count() == 1 {
        return Err(saving::no_profile(what, context));
    }
    let shelf = Shelf::open(what).map_err(Failure::Shelf)?;
    Ok(Looked { profile: None, shelf, bases: Vec::new() })
}

/// The archives of a profile: those that were made for it, and before its restores.
fn of(profile: Profile) -> Result<Looked, Failure> {
    let mut shelf = Shelf::open(&profile.dir).map_err(Failure::Shelf)?;
    let own = [series(&profile.name), safety_series(&profile.name)];
    let is_own = |it: &Shelved| it.series.as_ref().is_some_and(|series| own.contains(series));
    let others = shelf.archives.iter().filter(|it| !is_own(it));
    let bases = others.filter_map(|it| it.candidate().base).collect();
    shelf.archives.retain(is_own);
    Ok(Looked { profile: Some(profile), shelf, bases })
}

/// Those of every profile that has any.
fn all(context: &Context) -> Result<Vec<Looked>, Failure> {
    let Some(config) = context.config()? else {
        return Err(Failure::Usage(
            "there is no pgark.toml here or in a folder above: name a folder".into(),
        ));
    };
    let mut looked = Vec::new();
    for profile in config.profiles {
        if !profile.dir.is_dir() {
            let (name, dir) = (&profile.name, profile.dir.display());
            context.printer.message(&format!("profile {name} has no archives yet ({dir})"));
            continue;
        }
        looked.push(of(profile)?);
    }
    Ok(looked)
}

/// How long ago, roughly.
fn age(created: u64, now: u64) -> String {
    let Some(seconds) = now.checked_sub(created) else { return "in the future".to_owned() };
    match seconds / 86_400 {
        0 => span(Duration::from_secs(seconds)),
        days => counted(days, "day", "days"),
    }
}

/// What is known of an archive's soundness, in words.
fn verdict(archive: &Shelved, now: u64) -> (Style, String) {
    match (&archive.facts, &archive.verdict) {
        (Err(error), _) => (Style::Bad, format!("cannot be read: {error}")),
        (Ok(_), None) => (Style::Warn, "not verified".to_owned()),
        (Ok(_), Some(verdict)) => {
            let (style, word) = match verdict.verdict.soundness() {
                Soundness::Damaged => (Style::Bad, "DAMAGED"),
                _ if verdict.errors > 0 => (Style::Warn, "whole, data has faults"),
                _ => (Style::Good, "good"),
            };
            (style, format!("{word}, verified {} ago", age(verdict.verified, now)))
        }
    }
}

/// What an archive is based on: the file's name, where it is in the same folder.
fn thin(archive: &Shelved, shelf: &Shelf) -> String {
    let Some(base) = archive.facts.as_ref().ok().and_then(|facts| facts.base) else {
        return String::new();
    };
    let is =
        |other: &&Shelved| other.facts.as_ref().is_ok_and(|facts| facts.identity.manifest == base);
    match shelf.archives.iter().find(is) {
        Some(other) => {
            let name = other.path.file_name().unwrap_or_default().to_string_lossy();
            format!(" (thin, on {name})")
        }
        None => " (thin, on an archive that is not here)".to_owned(),
    }
}

fn words(looked: &Looked, now: u64, paint: Paint) -> String {
    let archives = &looked.shelf.archives;
    let name = looked.profile.as_ref().map_or_else(String::new, |it| format!("{}: ", it.name));
    let number = u64::try_from(archives.len()).unwrap_or(u64::MAX);
    let bytes = archives.iter().map(|archive| archive.bytes).fold(0, u64::saturating_add);
    let mut out = format!(
        "{name}{} of {} in {}\n",
        counted(number, "archive", "archives"),
        size(bytes),
        near(&looked.shelf.folder)
    );
    // Two lines each: a name alone takes half the width of a terminal.
    for archive in archives.iter().rev() {
        let name = archive.path.file_name().unwrap_or_default().to_string_lossy();
        let latest = if archive.latest { "  (latest)" } else { "" };
        _ = writeln!(out, "  {name}{latest}{}", thin(archive, &looked.shelf));
        let mut parts = Vec::new();
        if let Ok(facts) = &archive.facts {
            parts.push(format!("{} old", age(facts.created, now)));
            parts.push(size(archive.bytes));
            parts.push(counted(facts.tables, "table", "tables"));
            parts.push(counted(facts.rows, "row", "rows"));
        } else {
            parts.push(size(archive.bytes));
        }
        if let Some(verdict) = &archive.verdict {
            parts.push(counted(verdict.images, "image", "images"));
        }
        let (style, told) = verdict(archive, now);
        let line = format!("{}; {}", parts.join(", "), paint.paint(style, &told));
        out.push_str(&wrapped(&line, "    ", "    "));
    }
    if archives.is_empty() {
        _ = writeln!(out, "  none");
    }
    out
}
