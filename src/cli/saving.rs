//! What `pgark create` does for a profile besides the archive: its name and folder, the verdict
//! beside it, `..._latest.pgark`, and what it holds in words.

use std::fmt::Write as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::create::now;
use super::hints::Failure;
use super::render::{Align, columns};
use super::units::{count, counted, moment};
use super::{Context, named};
use crate::create::CreateReport;
use crate::format::reader::Archive;
use crate::profile::holdings::{Holding, Holdings};
use crate::profile::shelf::{self, Latest};
use crate::profile::verdict::Identity;
use crate::profile::{Lock, Profile, Rules, Verdict};
use crate::verify::Report;
use crate::verify::rules::RuleFile;

/// What an archive of a profile came to.
#[derive(Default)]
pub(super) struct Shelved {
    /// The profile.
    pub(super) profile: String,
    /// What leads to it, if it is the latest.
    pub(super) latest: Option<PathBuf>,
    /// What it holds, if it could be looked through.
    pub(super) holdings: Option<Holdings>,
}

/// Makes sure that nobody else works in the profile's folder, which is made if it is not there.
pub(super) fn lock(profile: &Profile, work: &str, context: &Context) -> Result<Lock, Failure> {
    // Archives hold what the database holds: not for everybody to look at.
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&profile.dir);
    made.map_err(|error| Failure::Target(profile.dir.clone(), error))?;
    lock_in(&profile.dir, &profile.name, work, context)
}

/// The same for a folder that is there, and a profile that is known by its name alone.
pub(super) fn lock_in(
    folder: &Path,
    profile: &str,
    work: &str,
    context: &Context,
) -> Result<Lock, Failure> {
    let since = format!("{} UTC", moment(now()));
    let lock = Lock::take(folder, profile, &format!("pgark {work}"), &since)
        .map_err(|error| Failure::Busy(profile.to_owned(), error))?;
    if !lock.is_held() {
        let folder = folder.display();
        context.printer.message(&format!(
            "note: {folder} is on a file system without locks: let only one pgark work there at a time"
        ));
    }
    if let Some(left) = &lock.left {
        context.printer.message(&format!("note: {left} did not come to its end"));
    }
    Ok(lock)
}

/// The archive that a profile's next one is to be, and its time: now, or `created`. Its folder is
/// there: see [`lock`].
pub(super) fn place(profile: &Profile, series: &str, created: Option<u64>) -> (PathBuf, u64) {
    loop {
        let second = created.unwrap_or_else(now);
        let path = profile.dir.join(shelf::archive_name(series, second));
        if created.is_some() || path.symlink_metadata().is_err() {
            return (path, second);
        }
        // Another was made in this second: the next one is not far.
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The rules that go into a profile's archives.
pub(super) fn rules(profile: &Profile) -> Result<Option<RuleFile>, Failure> {
    match &profile.rules {
        Rules::None => Ok(None),
        Rules::Here => super::verify::rule_file(&profile.file).map(Some),
        Rules::File(path) => super::verify::rule_file(path).map(Some),
    }
}

/// Keeps what reading the new archive back has found.
pub(super) fn keep_verdict(report: &CreateReport) -> Result<(), Failure> {
    let Some(verified) = &report.verified else { return Ok(()) };
    let is_it = |it: &Identity| it.manifest == report.manifest && it.bytes == report.bytes;
    let identity = Identity::of(&report.path).ok().filter(is_it);
    let kept = Verdict::keep(&report.path, identity, verified);
    kept.map(|_| ()).map_err(|error| Failure::Target(Verdict::path_of(&report.path), error))
}

/// Lets the latest lead to the new archive, if it was verified, and looks through it.
pub(super) fn shelve(
    profile: &Profile,
    report: &CreateReport,
    context: &Context,
) -> Result<Shelved, Failure> {
    let mut out = Shelved { profile: profile.name.clone(), ..Shelved::default() };
    let ours = report.path.parent() == Some(profile.dir.as_path());
    if ours && report.verified.is_some() {
        keep_verdict(report)?;
        let name = report.path.file_name().map(|name| name.to_string_lossy().into_owned());
        let series = shelf::series(&profile.name);
        match shelf::point_latest(&profile.dir, &series, &name.unwrap_or_default()) {
            Ok(Latest::Link | Latest::Copy) => {
                out.latest = Some(profile.dir.join(shelf::latest_name(&series)));
            }
            Ok(Latest::Older) => context.printer.message(
                "note: a newer archive is the latest already, and stays it: this one was begun before it",
            ),
            Err(error) => return Err(Failure::Latest(report.path.clone(), error)),
        }
    } else if ours {
        context.printer.message("note: not read back, so it does not become the latest");
    }
    match Archive::open(&report.path).map(|archive| Holdings::of(&archive)) {
        Ok(Ok(holdings)) => out.holdings = Some(holdings),
        Ok(Err(error)) => context.printer.message(&format!("note: {error}")),
        Err(error) => context.printer.message(&format!("note: {error}")),
    }
    Ok(out)
}

/// What an archive holds, a line for each table of note.
pub(super) fn holding_words(holdings: &Holdings, verified: Option<&Report>) -> String {
    let mut lines: Vec<Vec<String>> = holdings.tables.iter().map(holding_line).collect();
    if holdings.more_tables > 0 {
        let more =
            format!("rows in {}", counted(holdings.more_tables, "more table", "more tables"));
        lines.push(vec![String::new(), count(holdings.more_rows), more]);
    }
    if holdings.large_objects > 0 {
        let what = if holdings.large_objects == 1 { "large object" } else { "large objects" };
        lines.push(vec![String::new(), count(holdings.large_objects), what.to_owned()]);
    }
    let references = holdings.foreign_keys + holdings.rule_references;
    if references > 0 {
        let mut what = (if references == 1 { "reference" } else { "references" }).to_owned();
        if holdings.rule_references > 0 {
            _ = write!(
                what,
                " ({} declared, {} by rules)",
                count(holdings.foreign_keys),
                count(holdings.rule_references)
            );
        }
        _ = write!(what, ": {}", references_words(verified));
        lines.push(vec![String::new(), count(references), what]);
    }
    let mut out = columns(&lines, &[Align::Left, Align::Right, Align::Left]);
    if holdings.empty_tables > 0 {
        _ = writeln!(out, "  {} empty", counted(holdings.empty_tables, "table is", "tables are"));
    }
    out
}

fn holding_line(holding: &Holding) -> Vec<String> {
    let mut what = if holding.rows == 1 { &holding.one } else { &holding.many }.clone();
    let several = holding.blobs.len() > 1;
    for (at, blob) in holding.blobs.iter().enumerate().filter(|_| holding.rows > 0) {
        let between = if at == 0 { ": " } else { "; " };
        let column = if several { format!("{} ", blob.column) } else { String::new() };
        let without = match blob.without {
            0 => "none".to_owned(),
            some => count(some),
        };
        _ = write!(
            what,
            "{between}{column}{} with bytes, {without} without",
            count(blob.with_bytes)
        );
    }
    vec![String::new(), count(holding.rows), what]
}

fn references_words(verified: Option<&Report>) -> String {
    let Some(report) = verified else { return "not checked".to_owned() };
    let found = |ids: &[&str]| {
        let hit = report.findings.iter().filter(|finding| ids.contains(&finding.code.id()));
        hit.map(|finding| finding.count).fold(0, u64::saturating_add)
    };
    match (found(&["E603", "E604", "E610"]), found(&["N606"])) {
        (0, 0) => "all resolve".to_owned(),
        (0, open) => format!("all resolve but {} that only the server can decide", count(open)),
        (broken, _) => format!("{} lead nowhere", counted(broken, "row", "rows")),
    }
}

/// The profile that a folder belongs to, or a profile by name: for `list` and `prune`.
pub(super) fn of_folder(folder: &Path, context: &Context) -> Result<Option<Profile>, Failure> {
    let same = |a: &Path, b: &Path| match (a.canonicalize(), b.canonicalize()) {
        (Ok(a), Ok(b)) => a == b,
        _ => false,
    };
    let found = context.config()?.and_then(|config| {
        let mut owners = config.profiles.into_iter().filter(|it| same(&it.dir, folder));
        // A folder that several share is nobody's alone.
        owners.next().filter(|_| owners.next().is_none())
    });
    Ok(found)
}

/// Says where profiles were looked for.
pub(super) fn no_profile(typed: &Path, context: &Context) -> Failure {
    match context.config() {
        Ok(config) => {
            let known = config.as_ref().map_or_else(Vec::new, |config| {
                config.profiles.iter().map(|profile| profile.name.clone()).collect()
            });
            Failure::NoProfile {
                typed: typed.display().to_string(),
                place: named::whereabouts(config.as_ref()),
                known,
            }
        }
        Err(failure) => failure,
    }
}
