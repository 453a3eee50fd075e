//! What can be typed after `pgark compare`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::Bases;
use crate::cli::units;

/// Say what differs between an archive and a database
///
/// Compares schema, sequences, large objects and every table, with a live
/// database in one consistent snapshot, or with another archive and no database
/// at all. Rows are matched by primary key; a table without one is compared as
/// a multiset of rows. Nothing is changed.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  pgark compare shop.pgark --with postgres://app@db.example.org/shop
  pgark compare monday.pgark --with tuesday.pgark
  pgark compare shop.pgark --with shop --sql=lost > back.sql
  psql -X -v ON_ERROR_STOP=1 -f back.sql shop

It ends with exit code 0 if there is no difference at all, and with 1 if there
is any, even if everything the archive holds is still there.")]
pub(in crate::cli) struct Compare {
    /// Archive to compare, or a profile for the latest of its archives
    #[arg(value_name = "FILE")]
    pub(in crate::cli) file: PathBuf,
    /// What to compare it with: a database (profile, URL, key=value pairs, name) or
    /// an archive
    ///
    /// The name of a file that is there, or one that ends in .pgark, is an
    /// archive; all else is a database.
    #[arg(long, value_name = "TARGET|FILE")]
    pub(in crate::cli) with: String,
    /// Show every difference, not only the first five of a kind
    ///
    /// They are held in memory until they are printed.
    #[arg(long)]
    pub(in crate::cli) full: bool,
    /// Print SQL that brings back into TARGET what it has lost
    ///
    /// One transaction: INSERT for lost rows, UPDATE of the columns that differ
    /// for changed rows, referenced tables first, never DELETE. With =lost, only
    /// values that are NULL now are set back.
    #[arg(
        long, value_name = "WHAT", value_enum, num_args = 0..=1, require_equals = true,
        default_missing_value = "all", conflicts_with_all = ["json", "full"]
    )]
    pub(in crate::cli) sql: Option<SqlScope>,
    /// Compare rows, sequences and large objects only
    #[arg(long)]
    pub(in crate::cli) no_schema: bool,
    /// Connections that read at the same time [default: number of cores]
    #[arg(short, long, value_name = "N", value_parser = units::parse_jobs)]
    pub(in crate::cli) jobs: Option<usize>,
    /// Memory for data in flight and for sorting, such as 256M or 1G
    #[arg(long, value_name = "SIZE", value_parser = units::parse_memory, default_value = "256M")]
    pub(in crate::cli) memory: usize,
    /// Command that runs pg_dump [default: the one that fits the server]
    ///
    /// It may have arguments of its own. It has to be at least as new as the
    /// server.
    #[arg(long, value_name = "CMD")]
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

/// What SQL is to bring back.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::cli) enum SqlScope {
    /// Lost rows and all values that have changed
    All,
    /// Lost rows, and values that are NULL now
    Lost,
}
