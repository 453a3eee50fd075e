//! The command line: what people type and what they are told. Knows people, and nothing else
//! knows them: no other part of the crate writes to a terminal.

mod args;
mod bars;
mod cat;
mod check;
mod compare;
mod create;
mod drill;
mod dumps;
mod exit;
mod export;
mod extract;
mod guard;
mod help;
mod hints;
mod hooks;
mod init;
mod inspect;
mod interrupt;
mod json;
mod leaving;
mod list;
mod merge;
mod named;
mod names;
mod plan;
mod printer;
mod profiles;
mod prune;
mod redact;
mod render;
mod repair;
mod replacing;
mod rescue;
mod restore;
mod rowtext;
mod rules;
mod saving;
mod servers;
mod units;
mod verify;

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser as _;
use clap::error::ErrorKind;

use self::args::{Typed, Verb};
use self::bars::Bars;
use self::exit::Exit;
use self::hints::{Failure, Trouble};
use self::hooks::Ending;
use self::interrupt::Interrupt;
use self::printer::Printer;
use self::redact::Redactor;

/// What every verb has at hand.
struct Context {
    printer: Arc<Printer>,
    interrupt: Interrupt,
    /// The file of profiles, if it was named.
    config: Option<PathBuf>,
    /// What is to be told and run at the end.
    ending: Ending,
}

impl Context {
    /// Progress of one stretch of work.
    fn bars(&self) -> Arc<Bars> {
        Bars::start(&self.printer, &self.interrupt)
    }
}

/// Runs the command with the arguments and the environment of the process.
pub fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args_os()
        .skip(1)
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    let redactor = Redactor::new(arguments.iter().map(String::as_str));
    let typed = match Typed::try_parse() {
        Ok(typed) => typed,
        Err(error) => return usage(&error, redactor).into(),
    };
    let printer = Printer::new(typed.global.quiet, !typed.global.no_progress, redactor);
    let printer = Arc::new(printer);
    let interrupt = Interrupt::listen(&printer);
    let config = typed.global.config.clone().filter(|path| !path.as_os_str().is_empty());
    let context = Context { printer, interrupt, config, ending: Ending::default() };
    let done = match &typed.verb {
        Verb::Create(typed) => create::run(typed, &context),
        Verb::Verify(typed) => verify::run(typed, &context),
        Verb::Restore(typed) => restore::run(typed, &context),
        Verb::Compare(typed) => compare::run(typed, &context),
        Verb::Check(typed) => check::run(typed, &context),
        Verb::Drill(typed) => drill::run(typed, &context),
        Verb::Rescue(typed) => rescue::run(typed, &context),
        Verb::Inspect(typed) => inspect::run(typed, &context),
        Verb::Cat(typed) => cat::run(typed, &context),
        Verb::Repair(typed) => repair::run(typed, &context),
        Verb::Merge(typed) => merge::run(typed, &context),
        Verb::Export(typed) => export::run(typed, &context),
        Verb::Extract(typed) => extract::run(typed, &context),
        Verb::Rules(typed) => rules::run(typed, &context),
        Verb::Guard(typed) => guard::run(typed, &context),
        Verb::List(typed) => list::run(typed, &context),
        Verb::Prune(typed) => prune::run(typed, &context),
        Verb::Init(typed) => init::run(typed, &context),
        Verb::Help(typed) => help::run(typed, &context),
        Verb::Completions(typed) => Ok(help::completions(typed, &context)),
        Verb::Man(typed) => help::man(typed, &context),
    };
    // A result that nobody could be given outranks what it would have said.
    let done = context.printer.finish().map_err(Failure::Stdout).and(done);
    let (exit, failure) = match done {
        Ok(exit) => (exit, None),
        Err(failure) => (context.fail(&failure, &typed.verb), Some(failure)),
    };
    context.end(&typed.verb, exit, failure.as_ref()).into()
}

impl Context {
    /// Says why a verb could not be done, and keeps it as the report.
    fn fail(&self, failure: &Failure, verb: &Verb) -> Exit {
        let trouble = failure.explain();
        let (json, command, file) = match verb {
            Verb::Create(typed) => (typed.json, "create", typed.output.as_deref()),
            Verb::Guard(typed) => (typed.json, "guard", None),
            Verb::List(typed) => (typed.json, "list", None),
            Verb::Prune(typed) => (typed.json, "prune", None),
            Verb::Restore(typed) => (typed.json, "restore", Some(typed.file.as_path())),
            Verb::Compare(typed) => (typed.json, "compare", Some(typed.file.as_path())),
            Verb::Check(typed) => (typed.json, "check", typed.against.as_deref()),
            Verb::Rescue(typed) => (typed.json, "rescue", Some(typed.input.as_path())),
            Verb::Drill(typed) => (typed.json, "drill", Some(typed.file.as_path())),
            Verb::Inspect(typed) => (typed.json, "inspect", Some(typed.file.as_path())),
            Verb::Merge(typed) => (typed.json, "merge", Some(typed.file.as_path())),
            Verb::Repair(typed) => (typed.json, "repair", Some(typed.file.as_path())),
            Verb::Export(typed) => (typed.json, "export", Some(typed.file.as_path())),
            Verb::Extract(typed) => (typed.json, "extract", Some(typed.file.as_path())),
            // Each file that is verified has an object of its own; the others have none.
            Verb::Verify(_)
            | Verb::Cat(_)
            | Verb::Rules(_)
            | Verb::Init(_)
            | Verb::Help(_)
            | Verb::Completions(_)
            | Verb::Man(_) => (false, "", None),
        };
        let findings = failure.report().map_or(&[][..], |report| &report.findings);
        self.report(json, &json::Failed::new(command, file, &trouble, findings, &self.printer));
        if !json && let Some(report) = failure.report() {
            self.printer.error(&render::findings(report, self.printer.err_paint()));
        }
        self.tell(&trouble)
    }

    /// Says it in words on standard error.
    fn tell(&self, trouble: &Trouble) -> Exit {
        self.printer.error(&trouble.render(self.printer.err_paint()));
        trouble.exit
    }
}

/// Help and version go to standard output and are no error; all else is one of usage.
fn usage(error: &clap::Error, redactor: Redactor) -> Exit {
    let printer = Printer::new(false, false, redactor);
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            printer.result(&error.render().to_string());
            match printer.finish() {
                Ok(()) => Exit::Clean,
                Err(_) => Exit::Failed,
            }
        }
        _ => {
            printer.error(&error.render().to_string());
            Exit::Usage
        }
    }
}
