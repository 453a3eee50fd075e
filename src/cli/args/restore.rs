//! What can be typed after `pgark restore`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::Bases;
use crate::cli::units;

/// Load an archive into an empty, a new, or in place of an old database
///
/// The archive is verified first. Then come tables, rows, sequences, large
/// objects, indexes and constraints, materialized views and statistics; at the
/// end every table is read back and compared with the archive. A database that
/// has anything in it is refused, unless it is to be replaced: with --swap the
/// old one stays untouched until the new one is complete and compared, and is
/// kept under another name after that.
///
/// Of a profile, an archive (the latest unless it is named) replaces the profile's
/// database. What is there now is first saved to backup_<profile>_safety_<time>.pgark
/// in the profile's folder.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  createdb --template=template0 shop_new
  pgark restore shop.pgark --to postgres://app@localhost/shop_new
  pgark restore shop.pgark --to postgres://app@localhost/ --create shop_new
  pgark restore shop.pgark --to postgres://app@localhost/shop --swap --dry-run
  pgark restore shop.pgark --to postgres://app@localhost/shop --swap
  pgark restore shop.pgark --to test --role app=tester --no-privileges
  pgark restore staging
  pgark restore staging backups/backup_staging_20261123_070509.pgark

Where a database is to be replaced, the plan is shown and has to be confirmed, or
--yes given; of a protected profile by typing its name, or with --yes-really NAME.")]
pub(in crate::cli) struct Restore {
    /// Archive to load, or the profile whose database is to be replaced
    #[arg(value_name = "FILE|PROFILE")]
    pub(in crate::cli) file: PathBuf,
    /// Of a profile: archive to load, or latest [default: latest]
    #[arg(value_name = "ARCHIVE", conflicts_with = "to")]
    pub(in crate::cli) archive: Option<PathBuf>,
    /// Empty database to load it into: a profile, a URL, key=value pairs, or its name
    ///
    /// With --swap the database to replace, with --create its server. Without it a
    /// profile is named, and its database replaced.
    #[arg(long, value_name = "TARGET")]
    pub(in crate::cli) to: Option<String>,
    /// Create database NAME on the target's server, with the source's encoding
    ///
    /// It has another name until all is in it and compared. If anything fails
    /// it is dropped again.
    #[arg(long, value_name = "NAME", conflicts_with = "swap")]
    pub(in crate::cli) create: Option<String>,
    /// Replace the target: a new database takes its name in the end
    ///
    /// Settings, owner, comment, privileges and connection limit are carried
    /// over. The old database is kept as <name>_before_<YYYYMMDD_HHMMSS>.
    #[arg(long)]
    pub(in crate::cli) swap: bool,
    /// End the connections to the database that is replaced, when it is renamed
    #[arg(long)]
    pub(in crate::cli) disconnect: bool,
    /// Do not ask whether the database may be replaced
    #[arg(short, long)]
    pub(in crate::cli) yes: bool,
    /// The same for a protected profile, which has to be named again
    #[arg(long, value_name = "PROFILE")]
    pub(in crate::cli) yes_really: Option<String>,
    /// Of a profile: do not save what is there now before it is replaced
    #[arg(long, conflicts_with = "to")]
    pub(in crate::cli) no_safety: bool,
    /// Show what would be done and what stands in the way, and stop
    #[arg(long)]
    pub(in crate::cli) dry_run: bool,
    /// Restore this table and what it needs, not the rest (may be repeated)
    ///
    /// Its types, sequences, functions, extensions and schemas come along, the
    /// partitions of a partitioned table, and the parents of a partition. What
    /// needs a table that was not chosen (a foreign key, a view) is left out,
    /// and named.
    #[arg(long, value_name = "TABLE", conflicts_with = "swap", help_heading = "Choices")]
    pub(in crate::cli) table: Vec<String>,
    /// Restore what is in this schema and what it needs (may be repeated)
    #[arg(long, value_name = "SCHEMA", conflicts_with = "swap", help_heading = "Choices")]
    pub(in crate::cli) schema: Vec<String>,
    /// Let everything belong to the role that restores
    #[arg(long, help_heading = "Choices")]
    pub(in crate::cli) no_owner: bool,
    /// Grant and revoke nothing
    #[arg(long, help_heading = "Choices")]
    pub(in crate::cli) no_privileges: bool,
    /// Put role NEW in the place of the archive's role OLD (may be repeated)
    #[arg(
        long, value_name = "OLD=NEW", value_parser = units::parse_role, help_heading = "Choices"
    )]
    pub(in crate::cli) role: Vec<(String, String)>,
    /// Give the database the archive's settings, comment and privileges
    ///
    /// Those of the database itself (ALTER DATABASE ... SET, ALTER ROLE ... IN
    /// DATABASE ... SET, COMMENT, GRANT, connection limit, security labels),
    /// which it otherwise keeps, or, with --swap, takes over from the one that
    /// is replaced. With --create they come anyway.
    #[arg(long, help_heading = "Choices", conflicts_with = "data_only")]
    pub(in crate::cli) database_settings: bool,
    /// Load rows into tables that are there, with the same columns and no rows
    ///
    /// Triggers and foreign keys do not act on them; that every foreign key of
    /// the target holds is checked afterwards. Any table that has rows already
    /// or other columns is named, and nothing is done. The tables are locked
    /// against writers meanwhile, and all rows come in one transaction.
    #[arg(long, help_heading = "Choices", conflicts_with_all = ["swap", "create", "schema_only"])]
    pub(in crate::cli) data_only: bool,
    /// Restore the schema without rows; nothing is compared then
    #[arg(long, help_heading = "Choices", conflicts_with = "swap")]
    pub(in crate::cli) schema_only: bool,
    /// What to do about foreign keys that the archive's own rows break
    #[arg(long, value_name = "HOW", value_enum, default_value_t = Constraints::Valid, help_heading = "Choices")]
    pub(in crate::cli) constraints: Constraints,
    /// Do not read the target back and compare it
    ///
    /// Then nobody has seen whether it holds what the archive holds.
    #[arg(long, help_heading = "Choices", conflicts_with = "swap")]
    pub(in crate::cli) no_verify_target: bool,
    /// Connections that load at the same time [default: number of cores]
    #[arg(short, long, value_name = "N", value_parser = units::parse_jobs)]
    pub(in crate::cli) jobs: Option<usize>,
    /// Memory for data in flight, such as 256M or 1G
    #[arg(long, value_name = "SIZE", value_parser = units::parse_memory, default_value = "256M")]
    pub(in crate::cli) memory: usize,
    #[command(flatten)]
    pub(in crate::cli) bases: Bases,
    /// Report as one JSON object on standard output
    #[arg(long, help_heading = "Output")]
    pub(in crate::cli) json: bool,
}

/// What to do about foreign keys that rows break.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::cli) enum Constraints {
    /// Refuse the archive
    Valid,
    /// Add them NOT VALID
    NotValid,
}
