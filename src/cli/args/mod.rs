//! What can be typed. What it means is for the verbs to say.
//!
//! The texts here are the help; `docs/commands.md` repeats them, and a test keeps the two equal.

#![expect(clippy::doc_markdown, reason = "these are texts of the terminal, not of rustdoc")]
#![allow(rustdoc::invalid_html_tags, reason = "these are texts of the terminal, not of rustdoc")]

mod check;
mod compare;
mod create;
mod drill;
mod guard;
mod help;
mod profile;
mod reading;
mod rescue;
mod restore;
mod thin;
mod verify;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub(super) use self::check::Check;
pub(super) use self::compare::{Compare, SqlScope};
pub(super) use self::create::Create;
pub(super) use self::drill::Drill;
pub(super) use self::guard::Guard;
pub(super) use self::help::{Completions, Help, Man, Topic};
pub(super) use self::profile::{Init, List, Prune};
pub(super) use self::reading::{Blobs, Cat, Export, ExportFormat, Extract, Format, Inspect};
pub(super) use self::rescue::Rescue;
pub(super) use self::restore::{Constraints, Restore};
pub(super) use self::thin::{Bases, Merge};
pub(super) use self::verify::{Repair, Rules, RulesVerb, Suggest, Verify};

/// Everything that can be typed.
#[derive(Parser, Debug)]
#[command(
    name = "pgark",
    version,
    max_term_width = 80,
    about = "Backups of PostgreSQL databases that can be trusted",
    long_about = "Backups of PostgreSQL databases that can be trusted.\n\n\
        One consistent snapshot of a database becomes one file. Whether that file is good can be \
        said at any time, without a database; a restore loads it into an empty database and \
        compares what arrived with what was saved.",
    after_help = "\
Examples:
  pgark create postgres://app@db.example.org/shop
  pgark verify shop_20261123_070509.pgark
  pgark restore shop_20261123_070509.pgark --to postgres://app@localhost/new
  pgark init
  pgark create staging
  pgark restore staging

Exit codes:
  0    clean
  1    findings: damage, broken references, differences
  2    usage
  3    could not be completed: I/O, connection, refused
  4    the archive needs a newer pgark
  130  interrupted",
    disable_help_subcommand = true,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub(super) struct Typed {
    /// Options that every verb has.
    #[command(flatten)]
    pub(super) global: Global,
    /// What to do.
    #[command(subcommand)]
    pub(super) verb: Verb,
}

/// Options that every verb has.
#[derive(Args, Clone, Debug)]
pub(super) struct Global {
    /// Say nothing but errors and findings
    #[arg(short, long, global = true, help_heading = "Output")]
    pub(super) quiet: bool,
    /// Show no progress
    #[arg(long, global = true, help_heading = "Output")]
    pub(super) no_progress: bool,
    /// Profiles and rules [default: pgark.toml here or in a folder above]
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "PGARK_CONFIG",
        hide_env_values = true,
        help_heading = "Profiles"
    )]
    pub(super) config: Option<PathBuf>,
}

/// What to do. The help is that of the structures.
#[derive(Subcommand, Debug)]
pub(super) enum Verb {
    Create(Create),
    Verify(Verify),
    Restore(Restore),
    Compare(Compare),
    Check(Check),
    Drill(Drill),
    Rescue(Rescue),
    Inspect(Inspect),
    Cat(Cat),
    Repair(Repair),
    Merge(Merge),
    Export(Export),
    Extract(Extract),
    Rules(Rules),
    Guard(Guard),
    List(List),
    Prune(Prune),
    Init(Init),
    Help(Help),
    Completions(Completions),
    Man(Man),
}
