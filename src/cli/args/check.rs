//! What can be typed after `pgark check`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::Bases;
use crate::cli::units;

/// Say whether a live database is in order, and still has what an archive has
///
/// Checks rules (counts, references that no foreign key declares, images that
/// must be whole), sequences, and foreign keys that are not valid. With
/// --against it also says what the database has lost since the archive was
/// made. All of it is looked at in one consistent snapshot; nothing is changed.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  pgark check postgres://app@db.example.org/shop --rules pgark.toml
  pgark check shop --against shop_20261123_070509.pgark
  pgark check shop --against shop.pgark --json

Rows that came since the archive was made are no fault: with them the exit code
is 0. It is 1 if anything was lost, if a value is another now (--allow-changes
if that is fine), or if a rule does not hold.")]
pub(in crate::cli) struct Check {
    /// Database to check: a profile, a URL, key=value pairs, or a database's name
    ///
    /// What it leaves out comes from libpq's environment, as for create.
    #[arg(value_name = "SOURCE")]
    pub(in crate::cli) source: Option<String>,
    /// Rules to check [default: the profile's, or those that the archive carries]
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) rules: Option<PathBuf>,
    /// Archive to compare the database with, or a profile for its latest: what is
    /// missing since then
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) against: Option<PathBuf>,
    /// With --against: do not compare the schema, for which pg_dump is needed
    #[arg(long, requires = "against")]
    pub(in crate::cli) no_schema: bool,
    /// With --against: values that were changed to other values are no fault
    ///
    /// Where people are at work that is to be expected. Values that are NULL now
    /// count as lost all the same.
    #[arg(long, requires = "against")]
    pub(in crate::cli) allow_changes: bool,
    /// Let warnings count as findings
    #[arg(long)]
    pub(in crate::cli) strict: bool,
    /// Connections that read at the same time [default: number of cores]
    #[arg(short, long, value_name = "N", value_parser = units::parse_jobs)]
    pub(in crate::cli) jobs: Option<usize>,
    /// Memory for data in flight, such as 256M or 1G
    #[arg(long, value_name = "SIZE", value_parser = units::parse_memory, default_value = "256M")]
    pub(in crate::cli) memory: usize,
    /// Command that runs pg_dump [default: the one that fits the server]
    #[arg(long, value_name = "CMD", requires = "against")]
    pub(in crate::cli) pg_dump: Option<String>,
    /// How long to wait for a table that somebody else has locked
    #[arg(
        long, value_name = "DURATION", value_parser = units::parse_duration, default_value = "30s"
    )]
    pub(in crate::cli) lock_timeout: Duration,
    #[command(flatten)]
    pub(in crate::cli) bases: Bases,
    /// Report as one JSON object on standard output
    #[arg(long, help_heading = "Output")]
    pub(in crate::cli) json: bool,
}
