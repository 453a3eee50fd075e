//! `pgark prune`: archives that are not to be kept any longer go.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::args::Prune;
use super::exit::Exit;
use super::hints::Failure;
use super::json::{Pruned, Removed};
use super::list::{Looked, look};
use super::printer::{Paint, Style};
use super::render::wrapped;
use super::replacing::ask;
use super::units::{counted, near, size};
use super::{Context, saving, verify};
use crate::profile::keep::{self, Reason, Soundness};
use crate::profile::shelf::{Claim, Shelved, profile_of};
use crate::profile::{Keep, Lock, Outcome};

/// An archive with the reasons for keeping it; without any, it may go.
struct Judged<'a> {
    series: &'a str,
    archive: &'a Shelved,
    reasons: Vec<Why>,
}

/// Why an archive stays.
enum Why {
    /// By the rules of retention.
    Kept(Reason),
    /// A command has it open, such as a `guard` whose command runs.
    InUse,
    /// It is one too many only since the plan was shown.
    Unasked,
}

impl Why {
    fn words(&self) -> String {
        match self {
            Self::Kept(reason) => reason_words(reason),
            Self::InUse => "another pgark has it open".to_owned(),
            Self::Unasked => "not in the plan that was shown".to_owned(),
        }
    }
}

/// Runs it.
pub(super) fn run(typed: &Prune, context: &Context) -> Result<Exit, Failure> {
    let mut looked = look(&typed.what, context)?;
    let keep = limits(typed, &looked, context)?;
    if newest_are_verified(typed, &looked, context)? {
        // What was found is beside the archives now.
        looked = look(&typed.what, context)?;
    }
    let mut judged = judge(&looked, &keep, &BTreeSet::new());
    refuse_damaged(&judged)?;
    let mut going = going_of(&judged);
    let ask_first = !typed.dry_run && !typed.yes && !going.is_empty();
    // The plan is the answer, or what is asked about.
    let plan = words(&looked, &judged, context.printer.out_paint());
    if typed.json || ask_first {
        context.printer.message(&plan);
    } else if !context.printer.is_quiet() {
        context.printer.result(&plan);
    }
    if ask_first {
        let question = format!("Remove {}? Type yes:", amount(&judged));
        ask(&question, "yes", "prune", context)?;
    }
    let again;
    if !typed.dry_run && !going.is_empty() {
        let _locks = locks(&judged, &looked.shelf.folder, context)?;
        // Others may have been at work since the plan was made; now they are held off.
        again = look(&typed.what, context)?;
        judged = remove(&again, &keep, &going, context)?;
        going = going_of(&judged);
    }
    let amount = amount(&judged);
    {
        let archives = judged.iter().map(|one| Removed {
            file: one.archive.path.display().to_string(),
            series: one.series,
            bytes: one.archive.bytes,
            kept: one.reasons.iter().map(Why::words).collect(),
        });
        context.report(typed.json, &Pruned::new(typed.dry_run, archives.collect()));
    }
    if !typed.json && !context.printer.is_quiet() {
        let done = match (going.is_empty(), typed.dry_run) {
            (true, _) => "Nothing is to be removed.".to_owned(),
            (false, true) => format!("{amount} would be removed."),
            (false, false) => format!("{amount} removed."),
        };
        context.printer.result(&format!("{done}\n"));
    }
    Ok(Exit::Clean)
}

/// The archives that nothing keeps.
fn going_of(judged: &[Judged<'_>]) -> BTreeSet<PathBuf> {
    let going = judged.iter().filter(|one| one.reasons.is_empty());
    going.map(|one| one.archive.path.clone()).collect()
}

/// How many they are, and how much, in words.
fn amount(judged: &[Judged<'_>]) -> String {
    let going = || judged.iter().filter(|one| one.reasons.is_empty());
    let bytes = going().map(|one| one.archive.bytes).fold(0, u64::saturating_add);
    let number = u64::try_from(going().count()).unwrap_or(u64::MAX);
    format!("{} of {}", counted(number, "archive", "archives"), size(bytes))
}

/// Holds off whoever works for a profile some of whose archives are to go.
fn locks(judged: &[Judged<'_>], folder: &Path, context: &Context) -> Result<Vec<Lock>, Failure> {
    let going = judged.iter().filter(|one| one.reasons.is_empty());
    let profiles: BTreeSet<&str> = going.filter_map(|one| profile_of(one.series)).collect();
    profiles.into_iter().map(|name| saving::lock_in(folder, name, "prune", context)).collect()
}

/// Removes those of `going` that still are to go. Returns what became of all.
fn remove<'a>(
    looked: &'a Looked,
    keep: &Keep,
    going: &BTreeSet<PathBuf>,
    context: &Context,
) -> Result<Vec<Judged<'a>>, Failure> {
    let (mut held, mut claims) = (BTreeSet::new(), BTreeMap::new());
    for archive in looked.shelf.archives.iter().filter(|it| going.contains(&it.path)) {
        match archive.claim().map_err(Failure::Shelf)? {
            Some(claim) => _ = claims.insert(&archive.path, claim),
            None => _ = held.insert(archive.path.clone()),
        }
    }
    let mut judged = judge(looked, keep, &held);
    refuse_damaged(&judged)?;
    for one in &mut judged {
        if one.reasons.is_empty() && !going.contains(&one.archive.path) {
            one.reasons.push(Why::Unasked);
        }
    }
    needed(&mut judged, looked);
    // What stands on another goes first: an interruption leaves nothing without its base.
    let mut newest_first: Vec<&Judged<'_>> = judged.iter().collect();
    newest_first.sort_by_key(|one| std::cmp::Reverse(one.archive.created()));
    for one in newest_first {
        let claim = claims.remove(&one.archive.path);
        if !one.reasons.is_empty() {
            if going.contains(&one.archive.path) {
                let (name, why) = (near(&one.archive.path), why_words(one));
                context.printer.message(&format!("{name} stays: {why}"));
            }
        } else if context.interrupt.is_set() {
            return Err(Failure::Interrupted);
        } else if let Some(claim) = claim {
            Claim::remove(claim).map_err(Failure::Shelf)?;
        }
    }
    Ok(judged)
}

/// How many are kept: by the options, or as the profile says.
fn limits(typed: &Prune, looked: &Looked, context: &Context) -> Result<Keep, Failure> {
    let options = [
        typed.keep_last,
        typed.keep_hourly,
        typed.keep_daily,
        typed.keep_weekly,
        typed.keep_monthly,
        typed.keep_yearly,
    ];
    let keep = if options.iter().any(Option::is_some) {
        let [last, hourly, daily, weekly, monthly, yearly] = options.map(|it| it.unwrap_or(0));
        Keep { last, hourly, daily, weekly, monthly, yearly }
    } else {
        match &looked.profile {
            Some(profile) => profile.keep,
            None => saving::of_folder(&looked.shelf.folder, context)?
                .map_or_else(Keep::default, |profile| profile.keep),
        }
    };
    if keep.is_empty() {
        return Err(Failure::NothingKept);
    }
    Ok(keep)
}

/// The archives that have a series, each series for itself.
fn by_series(looked: &Looked) -> BTreeMap<&str, Vec<&Shelved>> {
    let mut all: BTreeMap<&str, Vec<&Shelved>> = BTreeMap::new();
    for archive in &looked.shelf.archives {
        if let Some(series) = &archive.series {
            all.entry(series).or_default().push(archive);
        }
    }
    all
}

/// Verifies the newest archive of each series that has no verdict; says whether there was any.
fn newest_are_verified(typed: &Prune, looked: &Looked, context: &Context) -> Result<bool, Failure> {
    let mut any = false;
    for archives in by_series(looked).values() {
        let Some(newest) = archives.last().filter(|_| archives.len() > 1) else { continue };
        if newest.candidate().soundness == Soundness::Unknown {
            let path = newest.path.display();
            context.printer.message(&format!("verifying {path}, the newest"));
            let report = verify::verify_and_keep(&newest.path, typed.memory, context)?;
            if report.too_new
                || report.lacks_base()
                || Outcome::of(&report) == Some(Outcome::Damaged)
            {
                return Err(Failure::NewestDamaged(newest.path.clone()));
            }
            any = true;
        }
    }
    Ok(any)
}

/// Why each archive of a series stays; those of `held` are in use.
fn judge<'a>(looked: &'a Looked, keep: &Keep, held: &BTreeSet<PathBuf>) -> Vec<Judged<'a>> {
    let mut judged = Vec::new();
    for (series, archives) in by_series(looked) {
        let candidates: Vec<_> = archives.iter().map(|archive| archive.candidate()).collect();
        let plan = keep::plan(&candidates, keep);
        for (archive, reasons) in archives.into_iter().zip(plan) {
            let mut reasons: Vec<Why> = reasons.into_iter().map(Why::Kept).collect();
            reasons.extend(held.contains(&archive.path).then_some(Why::InUse));
            judged.push(Judged { series, archive, reasons });
        }
    }
    needed(&mut judged, looked);
    judged
}

/// Keeps what those that stay cannot be read without: a base may be of another series, and has a
/// base itself, perhaps.
fn needed(judged: &mut [Judged<'_>], looked: &Looked) {
    let mut needed = looked.bases.clone();
    loop {
        let kept = judged.iter().filter(|one| !one.reasons.is_empty());
        needed.extend(kept.filter_map(|one| one.archive.candidate().base));
        let mut added = false;
        for one in judged.iter_mut().filter(|one| one.reasons.is_empty()) {
            let manifest = one.archive.candidate().manifest;
            if manifest.is_some_and(|it| needed.contains(&it)) {
                one.reasons.push(Why::Kept(Reason::Base));
                added = true;
            }
        }
        if !added {
            return;
        }
    }
}

/// Nothing of a series goes whose newest archive is not known to be good.
fn refuse_damaged(judged: &[Judged<'_>]) -> Result<(), Failure> {
    let mut newest: BTreeMap<&str, &Judged<'_>> = BTreeMap::new();
    for one in judged {
        newest.insert(one.series, one);
    }
    for one in judged.iter().filter(|one| one.reasons.is_empty()) {
        let last = newest
            .get(one.series)
            .filter(|last| last.archive.candidate().soundness != Soundness::Sound);
        if let Some(last) = last {
            return Err(Failure::NewestDamaged(last.archive.path.clone()));
        }
    }
    Ok(())
}

fn why_words(one: &Judged<'_>) -> String {
    let why: Vec<String> = one.reasons.iter().map(Why::words).collect();
    why.join(", ")
}

fn reason_words(reason: &Reason) -> String {
    match reason {
        Reason::Last(1) => "newest".to_owned(),
        Reason::Last(number) => format!("newest but {}", number - 1),
        Reason::Period(kind, period, number) => format!("{kind} {period} ({number})"),
        Reason::NewestSound => "newest that was verified".to_owned(),
        Reason::Base => "others need it".to_owned(),
        Reason::Pinned => "latest".to_owned(),
        Reason::Damaged => "damaged or not readable: look at it, and remove it yourself".to_owned(),
    }
}

fn words(looked: &Looked, judged: &[Judged<'_>], paint: Paint) -> String {
    let mut out = format!("{}\n", near(&looked.shelf.folder));
    let width =
        judged.iter().map(|one| one.archive.path.file_name().map_or(0, std::ffi::OsStr::len));
    let width = width.max().unwrap_or(0);
    for one in judged.iter().rev() {
        let name = one.archive.path.file_name().unwrap_or_default().to_string_lossy();
        let size = size(one.archive.bytes);
        if one.reasons.is_empty() {
            let word = paint.paint(Style::Warn, "remove");
            _ = writeln!(out, "  {word}  {name:<width$}  {size:>9}");
            continue;
        }
        let word = paint.paint(Style::Good, "keep");
        _ = writeln!(out, "  {word}    {name:<width$}  {size:>9}");
        out.push_str(&wrapped(&why_words(one), "            ", "            "));
    }
    let other = looked.shelf.archives.iter().filter(|archive| archive.series.is_none()).count();
    if other > 0 {
        let other = counted(u64::try_from(other).unwrap_or(u64::MAX), "archive", "archives");
        _ = writeln!(out, "  {other} with names of another kind: left alone");
    }
    out
}
