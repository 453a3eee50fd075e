//! `pgark help`, `pgark completions`, `pgark man`: what there is to read, from the definitions of
//! the arguments and from `topics`.

use std::fmt::Write as _;
use std::path::Path;

use clap::{Command, CommandFactory as _, ValueEnum as _};

use super::Context;
use super::args::{Completions, Help, Man, Topic, Typed};
use super::exit::Exit;
use super::hints::Failure;

/// The text of a topic.
fn text(topic: Topic) -> &'static str {
    match topic {
        Topic::Start => include_str!("topics/start.txt"),
        Topic::Lost => include_str!("topics/lost.txt"),
        Topic::Damage => include_str!("topics/damage.txt"),
        Topic::Connecting => include_str!("topics/connecting.txt"),
        Topic::Profiles => include_str!("topics/profiles.txt"),
        Topic::Checks => include_str!("topics/checks.txt"),
        Topic::Scripts => include_str!("topics/scripts.txt"),
        Topic::ByHand => include_str!("topics/by-hand.txt"),
    }
}

/// Explains a command or a topic.
pub(super) fn run(typed: &Help, context: &Context) -> Result<Exit, Failure> {
    let mut command = Typed::command();
    // So that what all commands have is in the help of each.
    command.build();
    let Some(name) = &typed.topic else {
        context.printer.result(&contents(&command));
        return Ok(Exit::Clean);
    };
    if let Ok(topic) = Topic::from_str(name, true) {
        context.printer.result(text(topic));
    } else if let Some(verb) = command.find_subcommand_mut(name) {
        context.printer.result(&verb.render_long_help().to_string());
    } else {
        let why = format!("there is no command or topic {name:?}: pgark help lists them");
        return Err(Failure::Usage(why));
    }
    Ok(Exit::Clean)
}

/// What there is to read.
fn contents(command: &Command) -> String {
    let mut out = String::from("Topics (pgark help TOPIC):\n");
    for topic in Topic::value_variants() {
        let value = topic.to_possible_value();
        let Some(value) = &value else { continue };
        let about = value.get_help().map(ToString::to_string).unwrap_or_default();
        _ = writeln!(out, "  {:<12} {about}", value.get_name());
    }
    out.push_str("\nCommands (pgark help COMMAND):\n");
    for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
        let about = verb.get_about().map(ToString::to_string).unwrap_or_default();
        _ = writeln!(out, "  {:<12} {about}", verb.get_name());
    }
    out
}

/// Prints the script for a shell.
pub(super) fn completions(typed: &Completions, context: &Context) -> Exit {
    let mut script = Vec::new();
    clap_complete::generate(typed.shell, &mut Typed::command(), "pgark", &mut script);
    context.printer.result(&String::from_utf8_lossy(&script));
    Exit::Clean
}

/// Writes the manual pages.
pub(super) fn man(typed: &Man, context: &Context) -> Result<Exit, Failure> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error| Failure::File(path, error)
    };
    std::fs::create_dir_all(&typed.to).map_err(failed(&typed.to))?;
    let mut command = Typed::command();
    command.build();
    let mut pages = vec![command.clone()];
    pages.extend(command.get_subcommands().filter(|verb| !verb.is_hide_set()).cloned());
    for page in pages {
        let name = page.get_display_name().unwrap_or_else(|| page.get_name()).to_owned();
        let mut text = Vec::new();
        let path = typed.to.join(format!("{name}.1"));
        clap_mangen::Man::new(page).render(&mut text).map_err(failed(&path))?;
        std::fs::write(&path, text).map_err(failed(&path))?;
        context.printer.message(&format!("{}", path.display()));
    }
    Ok(Exit::Clean)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_fit_a_terminal_and_name_commands_that_are_there() {
        let command = Typed::command();
        for topic in Topic::value_variants() {
            for line in text(*topic).lines() {
                assert!(line.chars().count() <= 80, "{topic:?}: too wide: {line}");
                let Some(typed) = line.trim_start().strip_prefix("pgark ") else { continue };
                let verb = typed.split(' ').next().unwrap_or_default();
                assert!(command.find_subcommand(verb).is_some(), "{topic:?}: {line}");
            }
        }
    }
}
