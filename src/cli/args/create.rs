//! What can be typed after `pgark create`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::cli::units::{self, Parity};

/// Save a database to an archive
///
/// Takes one consistent snapshot of the database, without stopping anybody who
/// works with it, and writes it to one file: schema, rows, blobs, sequences and
/// large objects. The file is written aside, read back, verified, and only then
/// given its name: a file under the final name is complete and was checked.
/// Images are checked to be whole; `pgark verify` decodes them too.
///
/// SOURCE may also be a file or folder that pg_dump wrote: plain SQL (also packed
/// by gzip or zstd), custom, directory or tar, with large objects, in UTF-8 or any
/// encoding of one byte a character. Then no database is needed. A dump that is
/// not proven to be whole is refused.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  pgark create postgres://app@db.example.org/shop
  pgark create 'host=/run/postgresql dbname=shop' -o shop.pgark
  PGSERVICE=shop pgark create --comment 'before the migration'
  pgark create shop --pg-dump 'docker exec -i db pg_dump'
  pgark create staging
  pgark create backup_staging_20240301.sql.gz
  ssh db pg_dump shop | pgark create - -o shop.pgark
  pgark create staging --base latest

A password is best kept in ~/.pgpass or PGPASSWORD: other users of this machine
can see the arguments of a command.

Of a profile, the archive goes to the profile's folder, and once it was read back
and verified backup_<profile>_latest.pgark leads to it.")]
pub(in crate::cli) struct Create {
    /// Database or dump to save: a profile, a URL, key=value pairs, a file, a name
    ///
    /// In this order: a profile's name; - for a dump on standard input; a file that
    /// is there and has an ending or a slash in its name; a name that ends as dumps
    /// do (.sql, .dump, .backup, .tar, behind it .gz or .zst); else a database.
    ///
    /// Profiles stand in pgark.toml. A database that has the name of a profile is
    /// written dbname=NAME.
    ///
    /// What it leaves out comes from libpq's environment (PGHOST, PGPORT,
    /// PGUSER, PGDATABASE, PGPASSWORD, PGSERVICE, ...), service files and
    /// ~/.pgpass.
    #[arg(value_name = "SOURCE")]
    pub(in crate::cli) source: Option<String>,
    /// Archive to write [default: <database>_<YYYYMMDD_HHMMSS>.pgark]
    ///
    /// The default is in the current directory; its time is in UTC. Of a profile it
    /// is backup_<profile>_<YYYYMMDD_HHMMSS>.pgark in the profile's folder.
    #[arg(short, long, value_name = "FILE")]
    pub(in crate::cli) output: Option<PathBuf>,
    /// Replace FILE if it is there
    #[arg(short, long)]
    pub(in crate::cli) force: bool,
    /// Connections that read at the same time [default: number of cores]
    #[arg(short, long, value_name = "N", value_parser = units::parse_jobs)]
    pub(in crate::cli) jobs: Option<usize>,
    /// Memory for data in flight, such as 256M or 1G
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
    /// Percent of the file to add as parity for pgark repair, up to 25; 0 is none
    ///
    /// Damage up to about this share of every 64 MiB can then be repaired.
    #[arg(
        long, value_name = "PERCENT", value_parser = units::parse_parity, default_value = "3.1"
    )]
    pub(in crate::cli) parity: Parity,
    /// Make a thin archive: do not store what this archive has
    ///
    /// A file, or of a profile also latest, the latest of its archives. The new
    /// archive is small, and nothing without that one: keep both. pgark merge
    /// makes one that stands alone of it. If the base is thin itself, its own
    /// bases have to be in its folder, or be given after it.
    #[arg(long, value_name = "FILE|latest")]
    pub(in crate::cli) base: Vec<PathBuf>,
    /// Words about this backup, kept in the archive
    #[arg(long, value_name = "TEXT")]
    pub(in crate::cli) comment: Option<String>,
    /// Rules to keep in the archive and check, such as a pgark.toml
    ///
    /// What the database does not declare: references by an id alone, blobs
    /// that must be images, counts of rows.
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) rules: Option<PathBuf>,
    /// Do not read the archive back and verify it
    ///
    /// Then nobody has seen yet that what was written can be read.
    #[arg(long)]
    pub(in crate::cli) no_read_back: bool,
    /// Report as one JSON object on standard output
    #[arg(long, help_heading = "Output")]
    pub(in crate::cli) json: bool,
    /// Join a snapshot that another session has exported (for tests)
    #[arg(long, value_name = "ID", hide = true)]
    pub(in crate::cli) snapshot: Option<String>,
    /// Seconds since 1970 to record as the time of creation (for tests)
    #[arg(long, value_name = "SECONDS", hide = true)]
    pub(in crate::cli) created: Option<u64>,
}
