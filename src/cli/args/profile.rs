//! What can be typed after the verbs about profiles and their folders: `list`, `prune` and `init`.

use std::path::PathBuf;

use clap::Args;

use crate::cli::units;

/// List archives, with what is known of each
///
/// Age, size, tables, rows and images, and what the last verification found. That
/// is kept beside each archive by create (of a profile), verify and prune, and
/// counts no longer once the archive was changed. Only the end of each file is
/// read.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  pgark list
  pgark list staging
  pgark list /mnt/backups --json | jq '.folders[].archives[].verdict'

The exit code is 1 if an archive is known to be damaged or cannot be read.")]
pub(in crate::cli) struct List {
    /// Profile or folder [default: the folders of all profiles]
    #[arg(value_name = "PROFILE|DIR")]
    pub(in crate::cli) what: Option<PathBuf>,
    /// Report as one JSON object on standard output
    #[arg(long, help_heading = "Output")]
    pub(in crate::cli) json: bool,
}

/// Remove archives that are not to be kept any longer
///
/// Shows which are kept, and why, and which are not, and asks. Looks at files
/// whose names are those of a series, such as backup_staging_20261123_070509.pgark,
/// and each series by itself; archives made before a restore are a series of their
/// own. Nothing of a series is removed if its newest archive does not verify.
/// Never removed are the newest one that was verified, the one that is the latest,
/// one that others need, one that another pgark has open, and any that is damaged.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  pgark prune staging --dry-run
  pgark prune staging --yes
  pgark prune /mnt/backups --keep-last 3 --keep-daily 7 --keep-weekly 4

How many are kept stands in pgark.toml (keep = { last = 3, daily = 7 }), or is
given by options, which then count alone. Periods are those of the calendar in
UTC; those without archives do not count.")]
pub(in crate::cli) struct Prune {
    /// Profile or folder
    #[arg(value_name = "PROFILE|DIR")]
    pub(in crate::cli) what: PathBuf,
    /// Show what would be removed, and stop
    #[arg(long)]
    pub(in crate::cli) dry_run: bool,
    /// Do not ask
    #[arg(short, long)]
    pub(in crate::cli) yes: bool,
    /// Keep the newest N
    #[arg(long, value_name = "N", help_heading = "What is kept")]
    pub(in crate::cli) keep_last: Option<u32>,
    /// Keep the newest of each of N hours
    #[arg(long, value_name = "N", help_heading = "What is kept")]
    pub(in crate::cli) keep_hourly: Option<u32>,
    /// Keep the newest of each of N days
    #[arg(long, value_name = "N", help_heading = "What is kept")]
    pub(in crate::cli) keep_daily: Option<u32>,
    /// Keep the newest of each of N weeks
    #[arg(long, value_name = "N", help_heading = "What is kept")]
    pub(in crate::cli) keep_weekly: Option<u32>,
    /// Keep the newest of each of N months
    #[arg(long, value_name = "N", help_heading = "What is kept")]
    pub(in crate::cli) keep_monthly: Option<u32>,
    /// Keep the newest of each of N years
    #[arg(long, value_name = "N", help_heading = "What is kept")]
    pub(in crate::cli) keep_yearly: Option<u32>,
    /// Memory for verifying the newest, such as 256M or 1G
    #[arg(long, value_name = "SIZE", value_parser = units::parse_memory, default_value = "256M")]
    pub(in crate::cli) memory: usize,
    /// Report as one JSON object on standard output
    #[arg(long, help_heading = "Output")]
    pub(in crate::cli) json: bool,
}

/// Write a pgark.toml to begin with
///
/// Looks at docker-compose*.yml and compose*.yml, at .env and at the environment
/// (POSTGRES_USER, POSTGRES_DB, PGHOST and its kin, DATABASE_URL), says what it
/// found, and writes a commented file. No password is ever written, and no file
/// replaced.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  pgark init
  pgark init --dir deploy --stdout")]
pub(in crate::cli) struct Init {
    /// Folder to look into and to write pgark.toml in [default: the current one]
    #[arg(long, value_name = "DIR")]
    pub(in crate::cli) dir: Option<PathBuf>,
    /// Print the file instead of writing it
    #[arg(long)]
    pub(in crate::cli) stdout: bool,
}
