//! What can be typed after `pgark guard`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::cli::units;

/// Make an archive, run a command, and say whether all data is still there
///
/// First an archive of the database is made and verified. Then COMMAND runs. When
/// the database answers again, it is compared with the archive, and its rules are
/// checked. If something is missing, it is named, and how to bring it back.
///
/// A command whose words say that it removes volumes (docker compose down -v,
/// docker volume rm, ...) takes the database along: it needs the name of the
/// profile or database to be typed, and an archive that is in none of the
/// container's volumes.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  pgark guard staging -- docker compose restart db
  pgark guard staging --max-age 1h -- ./migrate.sh
  pgark guard staging -- docker compose down
  pgark guard shop -o before.pgark -- psql -d shop -f migration.sql

The exit code is 0 if the command ended with 0 and all is there; 1 if anything is
missing or broken; 3 if the command failed or the database does not answer.")]
pub(in crate::cli) struct Guard {
    /// Profile, or database as for create
    #[arg(value_name = "PROFILE|SOURCE")]
    pub(in crate::cli) source: String,
    /// Command to run, with its arguments, behind --
    #[arg(value_name = "COMMAND", last = true, required = true)]
    pub(in crate::cli) command: Vec<String>,
    /// Archive to write [default: as create]
    #[arg(short, long, value_name = "FILE", conflicts_with = "archive")]
    pub(in crate::cli) output: Option<PathBuf>,
    /// Take this archive instead of a new one, after verifying it
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) archive: Option<PathBuf>,
    /// Take the profile's latest archive if it is not older than this
    #[arg(long, value_name = "DURATION", value_parser = units::parse_duration, conflicts_with_all = ["archive", "output"])]
    pub(in crate::cli) max_age: Option<Duration>,
    /// How long to wait for the database to answer afterwards [default: 2min]
    ///
    /// If the command's words say that it stops the database, nothing is waited
    /// for unless this is given.
    #[arg(long, value_name = "DURATION", value_parser = units::parse_duration)]
    pub(in crate::cli) wait: Option<Duration>,
    /// Values that were changed to other values are no fault
    ///
    /// Values that are NULL now count as lost all the same.
    #[arg(long)]
    pub(in crate::cli) allow_changes: bool,
    /// Do not compare the schema: for a command that changes it
    #[arg(long)]
    pub(in crate::cli) no_schema: bool,
    /// Run a command that removes volumes; NAME is that of the profile or database
    #[arg(long, value_name = "NAME")]
    pub(in crate::cli) yes_really: Option<String>,
    /// Connections that read at the same time [default: number of cores]
    #[arg(short, long, value_name = "N", value_parser = units::parse_jobs)]
    pub(in crate::cli) jobs: Option<usize>,
    /// Memory for data in flight, such as 256M or 1G
    #[arg(long, value_name = "SIZE", value_parser = units::parse_memory, default_value = "256M")]
    pub(in crate::cli) memory: usize,
    /// Report as one JSON object on standard output
    ///
    /// What the command prints on standard output goes to standard error then.
    #[arg(long, help_heading = "Output")]
    pub(in crate::cli) json: bool,
}
