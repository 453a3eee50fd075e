//! `pgark restore`: an archive becomes a database again, and is compared with it.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use super::Context;
use super::args::{Constraints, Restore};
use super::create::default_jobs;
use super::exit::Exit;
use super::hints::Failure;
use super::json::{Planned, Restored};
use super::names;
use super::plan;
use super::printer::{Paint, Style};
use super::render::{Align, columns, headed, wrapped};
use super::replacing::{self, Job};
use super::units::{count, counted, near, span};
use crate::format::manifest::Name;
use crate::progress::Progress;
use crate::restore::{
    self, Choices, How, Place, Plan, RestoreError, RestoreOptions, RestoreReport, Step,
};

/// Runs it.
pub(super) fn run(typed: &Restore, context: &Context) -> Result<Exit, Failure> {
    let mut job = replacing::job(typed, context)?;
    let target = job.reached.params.clone();
    let described = match &typed.create {
        Some(name) => target.with_database(name).describe(),
        None => target.describe(),
    };
    let printer = &context.printer;
    let options = RestoreOptions {
        file: job.file.clone(),
        bases: typed.bases.base.clone(),
        target,
        jobs: typed.jobs.unwrap_or_else(default_jobs),
        memory: typed.memory,
    };
    let mut how = how(typed, &job)?;
    if !typed.dry_run {
        job.may_be_asked(typed)?;
    }
    let file = options.file.as_path();
    context.archive_is(file);
    if typed.dry_run || job.swap {
        let mut plan = planned(&options, &how, context)?;
        let absent = |problem: &RestoreError| matches!(problem, RestoreError::NoDatabase(_));
        if typed.to.is_none() && plan.problems.iter().any(absent) {
            printer
                .message("note: there is no such database yet: it is made, and nothing replaced");
            job.nothing_is_replaced();
            how.place = Place::Create(options.target.database().to_owned());
            plan = planned(&options, &how, context)?;
        }
        let problems = std::mem::take(&mut plan.problems);
        if let Some(path) = job.safety_path() {
            plan.steps.insert(0, Step::Save(path));
        }
        if typed.dry_run && typed.json {
            context.report(true, &Planned::new(file, &plan, &problems));
        } else if typed.dry_run {
            printer.result(&plan::words(&plan));
        } else if problems.is_empty() {
            printer.message(&plan::words(&plan));
        }
        if !problems.is_empty() {
            if typed.dry_run && typed.json {
                return Ok(Exit::Failed);
            }
            return Err(Failure::Restore(Box::new(one(problems))));
        }
        if typed.dry_run {
            return Ok(Exit::Clean);
        }
    }
    job.confirm(typed, options.target.database(), context)?;
    let _lock = job.lock(context)?;
    let safety = job.save_what_is_there(typed, context)?;
    let bars = context.bars();
    let progress: Arc<dyn Progress> = bars.clone();
    let report = restore::run_as(&options, &how, &progress);
    bars.finish();
    let report = report.map_err(|error| Failure::Restore(Box::new(error)))?;
    let clean = report.equal && report.findings.is_empty() && report.database.is_some();
    let restored = Restored::new(file, &described, &report).after(safety.as_deref());
    context.report(typed.json, &restored);
    if !typed.json && (!clean || !printer.is_quiet()) {
        let name = if typed.create.is_some() { described } else { job.reached.name() };
        printer.result(&words(file, &name, &report, printer.out_paint()));
        if let Some(path) = &safety {
            printer.result(&format!("  the old data is in {}\n", near(path)));
        }
    }
    Ok(if clean { Exit::Clean } else { Exit::Findings })
}

/// Finds out what would be done, with progress.
fn planned(options: &RestoreOptions, how: &How, context: &Context) -> Result<Plan, Failure> {
    let bars = context.bars();
    let progress: Arc<dyn Progress> = bars.clone();
    let plan = restore::plan(options, how, &progress);
    bars.finish();
    plan.map_err(|error| Failure::Restore(Box::new(error)))
}

/// The tables and schemas that are named, as the archive has them.
fn chosen(typed: &Restore, file: &Path) -> Result<(Vec<Name>, Vec<String>), Failure> {
    if typed.table.is_empty() && typed.schema.is_empty() {
        return Ok((Vec::new(), Vec::new()));
    }
    let archive = super::cat::open(file, &typed.bases)?;
    let manifest = archive.manifest();
    let wrong = |error| Failure::Name(file.to_owned(), error);
    let find = |name: &String| names::find(manifest, name).map(|table| table.name.clone());
    let tables = typed.table.iter().map(find).collect::<Result<_, _>>().map_err(wrong)?;
    let mut all: Vec<String> = manifest
        .schema
        .pre_data
        .iter()
        .filter_map(|object| object.schema.clone())
        .chain(manifest.tables.iter().map(|table| table.name.schema.clone()))
        .collect();
    all.sort();
    all.dedup();
    for schema in &typed.schema {
        if !all.contains(schema) {
            let near = names::near_words(schema, &all);
            let hint = if near.is_empty() { &all } else { &near };
            return Err(Failure::Usage(format!(
                "there is no schema {schema} with anything in it in {}; there is: {}",
                file.display(),
                hint.join(", ")
            )));
        }
    }
    Ok((tables, typed.schema.clone()))
}

fn how(typed: &Restore, job: &Job) -> Result<How, Failure> {
    let place = match &typed.create {
        Some(name) => Place::Create(name.clone()),
        None if job.swap => Place::Swap { disconnect: typed.disconnect },
        None => Place::Existing,
    };
    let (tables, schemas) = chosen(typed, &job.file)?;
    let choices = Choices {
        tables,
        schemas,
        no_owner: typed.no_owner,
        no_privileges: typed.no_privileges,
        roles: typed.role.iter().cloned().collect(),
        data_only: typed.data_only,
        schema_only: typed.schema_only,
        database_settings: typed.database_settings,
        not_valid: typed.constraints == Constraints::NotValid,
        no_compare: typed.no_verify_target,
    };
    Ok(How { place, choices })
}

fn one(mut problems: Vec<RestoreError>) -> RestoreError {
    match (problems.pop(), problems.is_empty()) {
        (Some(only), true) => only,
        (last, _) => {
            problems.extend(last);
            RestoreError::Several(problems)
        }
    }
}

fn words(file: &Path, target: &str, report: &RestoreReport, paint: Paint) -> String {
    let mut out = String::new();
    let verdict = match (report.equal, report.findings.is_empty()) {
        _ if report.database.is_none() => {
            let word = paint.paint(Style::Bad, "NOT RESTORED.");
            let left = report.findings.iter().find(|finding| finding.kind == "DATABASE");
            let fate = left.map_or_else(
                || "was dropped again".to_owned(),
                |finding| format!("is left as {}, for it could not be dropped", finding.object),
            );
            format!("{word} The new database was not as it should be, and {fate}.")
        }
        (_, clean) if !report.compared => {
            let word = paint.paint(if clean { Style::Good } else { Style::Warn }, "RESTORED.");
            format!("{word} Nothing was read back and compared.")
        }
        (true, true) => {
            let word = paint.paint(Style::Good, "RESTORED AND EQUAL.");
            let which = if report.chosen.is_some() { "that was chosen " } else { "" };
            format!("{word} Every table {which}was read back and is what the archive holds.")
        }
        (true, false) => {
            let word = paint.paint(Style::Warn, "RESTORED, WITH SOMETHING LEFT TO DO.");
            format!("{word} All rows are what the archive holds; see below for the rest.")
        }
        (false, _) => {
            let word = paint.paint(Style::Bad, "NOT EQUAL.");
            format!("{word} The target is not what the archive holds; see below.")
        }
    };
    out.push_str(&headed(target, &verdict));
    if let Some(kept) = &report.kept {
        let line = format!("the old database is kept as {kept}: drop it when it is not needed");
        out.push_str(&wrapped(&line, "  ", "    "));
    }
    if let Some(notes) = &report.chosen {
        _ = writeln!(out, "  a part of the archive was chosen; the rest was not restored");
        for note in notes {
            _ = writeln!(out, "  {note}");
        }
    }
    if report.verified.errors + report.verified.warnings > 0 {
        let file = file.display();
        _ = writeln!(
            out,
            "  some of it was wrong before it was saved, and is restored as it was: see pgark verify {file}"
        );
    }
    let rows = report.tables.iter().map(|table| table.outcome.rows).fold(0, u64::saturating_add);
    if report.compared {
        let tables = u64::try_from(report.tables.len()).unwrap_or(u64::MAX);
        let large = report.large_objects.map_or_else(String::new, |outcome| {
            format!(", {}", counted(outcome.rows, "large object", "large objects"))
        });
        _ = writeln!(
            out,
            "  {}, {}, {}{large}",
            counted(tables, "table", "tables"),
            counted(rows, "row", "rows"),
            counted(report.sequences, "sequence", "sequences")
        );
    }
    _ = writeln!(
        out,
        "  {} to verify, {} to restore, {} to compare",
        span(report.verifying),
        span(report.restoring),
        span(report.comparing)
    );
    differences(&mut out, report, paint);
    out
}

/// What is not as the archive has it, and what is left to do.
pub(super) fn differences(out: &mut String, report: &RestoreReport, paint: Paint) {
    let outcomes = report
        .tables
        .iter()
        .map(|table| (table.name.to_string(), table.outcome))
        .chain(report.large_objects.map(|outcome| ("large objects".to_owned(), outcome)));
    let different: Vec<Vec<String>> = outcomes
        .filter(|(_, outcome)| !outcome.equal)
        .map(|(name, outcome)| {
            let told = if outcome.rows == outcome.expected {
                format!("{} in both, but not the same", counted(outcome.rows, "row", "rows"))
            } else {
                format!(
                    "{} where the archive has {}",
                    counted(outcome.rows, "row", "rows"),
                    count(outcome.expected)
                )
            };
            vec![format!("  {name}"), told]
        })
        .collect();
    if !different.is_empty() {
        _ = writeln!(out, "\n{}", paint.paint(Style::Bad, "Different"));
        out.push_str(&columns(&different, &[Align::Left, Align::Left]));
    }
    if !report.findings.is_empty() {
        _ = writeln!(out, "\n{}", paint.paint(Style::Warn, "Left to do"));
    }
    for finding in &report.findings {
        _ = writeln!(out, "  {} {}: {}", finding.kind, finding.object, finding.message);
        if let Some(statement) = &finding.statement {
            _ = writeln!(out, "    What to run: {}", statement.trim_end());
        }
    }
}
