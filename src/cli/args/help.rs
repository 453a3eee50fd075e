//! What can be typed after `pgark help`, `pgark completions` and `pgark man`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use clap_complete::Shell;

/// Explain a command or a topic
///
/// Without a name, what there is to read.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  pgark help
  pgark help restore
  pgark help lost")]
pub(in crate::cli) struct Help {
    /// A command, or one of the topics that are listed without it
    #[arg(value_name = "TOPIC")]
    pub(in crate::cli) topic: Option<String>,
}

/// What there is to read beside the help of each command.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::cli) enum Topic {
    /// The first backup, and how to know that it is good
    Start,
    /// The database is lost: what to do, and in which order
    Lost,
    /// An archive is damaged: what can be done
    Damage,
    /// How a database is named, and where passwords come from
    Connecting,
    /// Environments by name: pgark.toml
    Profiles,
    /// Checks that the database does not declare
    Checks,
    /// What exit codes mean, for scripts
    Scripts,
    /// Reading an archive without pgark
    ByHand,
}

/// Print a script that completes commands and options in a shell
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  pgark completions bash > ~/.local/share/bash-completion/completions/pgark
  pgark completions zsh > ~/.zfunc/_pgark
  pgark completions fish > ~/.config/fish/completions/pgark.fish")]
pub(in crate::cli) struct Completions {
    /// The shell
    #[arg(value_name = "SHELL", value_enum)]
    pub(in crate::cli) shell: Shell,
}

/// Write manual pages
///
/// One for pgark and one for each command, such as pgark-restore.1.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  pgark man --to ~/.local/share/man/man1
  man pgark-restore")]
pub(in crate::cli) struct Man {
    /// Folder for the pages; those of an older version in it are replaced
    #[arg(long, value_name = "DIR")]
    pub(in crate::cli) to: PathBuf,
}
