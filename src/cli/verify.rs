//! `pgark verify`: whether archives are good.

use std::path::Path;
use std::time::{Duration, Instant};

use super::Context;
use super::args::{Bases, Verify};
use super::exit::Exit;
use super::hints::Failure;
use super::json::{self, Failed, Verified};
use super::render;
use crate::format::thin;
use crate::profile::Verdict;
use crate::profile::shelf::series_of;
use crate::profile::verdict::Identity;
use crate::progress::Progress as _;
use crate::verify::rules::RuleFile;
use crate::verify::{self, ImageCheck, Level, Report, VerifyOptions};

/// Runs it: each file in turn, whatever came of the one before.
pub(super) fn run(typed: &Verify, context: &Context) -> Result<Exit, Failure> {
    let rules = typed.rules.as_deref().map(rule_file).transpose()?;
    let mut worst = Exit::Clean;
    for (at, named) in typed.files.iter().enumerate() {
        let mut file = named.clone();
        let checked = context.archive(named).and_then(|found| {
            file = found;
            check(&file, typed, rules.as_ref(), context)
        });
        let file = file.as_path();
        let exit = match checked {
            Ok((report, took)) => {
                if at > 0 && !typed.json && !context.printer.is_quiet() {
                    context.printer.result("\n");
                }
                tell(file, typed, &report, took, context)
            }
            Err(Failure::Interrupted) => return Err(Failure::Interrupted),
            Err(failure) => {
                let trouble = failure.explain();
                if typed.json {
                    json::print(
                        &context.printer,
                        &Failed::new("verify", Some(file), &trouble, &[], &context.printer),
                    );
                }
                context.tell(&trouble)
            }
        };
        worst = worst.worst(exit);
        if context.interrupt.is_set() {
            return Err(Failure::Interrupted);
        }
    }
    Ok(worst)
}

fn check(
    file: &Path,
    typed: &Verify,
    rules: Option<&RuleFile>,
    context: &Context,
) -> Result<(Report, Duration), Failure> {
    let disk = thin::open(file, &typed.bases.base)
        .map_err(|error| Failure::File(file.to_owned(), error))?;
    let level = if typed.quick { Level::Quick } else { Level::Full };
    let options = VerifyOptions { level, memory: typed.memory, images: ImageCheck::Pixels };
    let before = Identity::of(file).ok();
    let bars = context.bars();
    let began = Instant::now();
    let report = verify::run_with_rules(&disk, &options, rules, &*bars);
    bars.finish();
    // A check that was broken off has no verdict, whatever it returned.
    if bars.interrupted() {
        return Err(Failure::Interrupted);
    }
    let report = report.map_err(|error| Failure::Verify(file.to_owned(), error))?;
    let took = began.elapsed();
    // Other rules are another question than the one that is kept.
    if rules.is_none() {
        keep(file, before, &report, context);
    }
    Ok((report, took))
}

/// Keeps the verdict beside an archive that was made for a profile, or that has one already. The
/// answer is the same where it cannot be kept, and a disk that cannot be written to is no reason
/// to have none.
fn keep(file: &Path, before: Option<Identity>, report: &Report, context: &Context) {
    let Ok(file) = file.canonicalize() else { return };
    let name = file.file_name().map(|name| name.to_string_lossy().into_owned());
    let ours = name.as_deref().and_then(series_of).is_some_and(|it| it.starts_with("backup_"));
    if !ours && !Verdict::path_of(&file).exists() {
        return;
    }
    if let Err(error) = Verdict::keep(&file, before, report) {
        let path = Verdict::path_of(&file);
        context
            .printer
            .error(&format!("note: {}: {error}: the verdict is not kept", path.display()));
    }
}

/// Verifies an archive to the last pixel and keeps what was found.
pub(super) fn verify_and_keep(
    file: &Path,
    memory: usize,
    context: &Context,
) -> Result<Report, Failure> {
    let typed = Verify {
        files: Vec::new(),
        quick: false,
        rules: None,
        strict: false,
        memory,
        bases: Bases { base: Vec::new() },
        json: false,
    };
    Ok(check(file, &typed, None, context)?.0)
}

/// Reads a file of rules.
pub(super) fn rule_file(path: &Path) -> Result<RuleFile, Failure> {
    let text =
        std::fs::read_to_string(path).map_err(|error| Failure::File(path.to_owned(), error))?;
    RuleFile::parse(&text).map_err(|error| Failure::Rules(path.to_owned(), error))
}

fn tell(file: &Path, typed: &Verify, report: &Report, took: Duration, context: &Context) -> Exit {
    let exit = verdict(report, typed.strict);
    let printer = &context.printer;
    if typed.json {
        let millis = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        json::print(printer, &Verified::new(file, report, typed.strict, millis));
    } else if exit != Exit::Clean || !printer.is_quiet() {
        let text = render::verification(file, report, typed.strict, took, printer.out_paint());
        printer.result(&text);
        if let Some(hint) = render::repair_hint(file, report) {
            printer.result(&hint);
        }
    }
    exit
}

/// What a report means for the exit code.
fn verdict(report: &Report, strict: bool) -> Exit {
    if report.too_new {
        Exit::TooNew
    } else if report.lacks_base() {
        Exit::Failed
    } else if !report.ok || (strict && report.warnings > 0) {
        Exit::Findings
    } else {
        Exit::Clean
    }
}
