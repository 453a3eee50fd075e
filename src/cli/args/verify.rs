//! What can be typed after `pgark verify`, `pgark repair` and `pgark rules`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Bases;
use crate::cli::units;

/// Say whether archives are good, without a database
///
/// Reads every byte and checks all that the bytes mean: digests, rows, types,
/// NULLs, primary keys, unique constraints, foreign keys, blobs. It goes on past
/// damage and names every table, row and blob that is hit.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  pgark verify shop.pgark
  pgark verify --quick backups/*.pgark
  pgark verify --json shop.pgark | jq '.findings[].message'

With several files the verdict on each is given in turn; the exit code is the
worst. With --json there is one object a line, one for each file, in order.

What it finds of an archive that was made for a profile is kept beside it, for
pgark list and pgark prune.")]
pub(in crate::cli) struct Verify {
    /// Archives to check, or profiles for the latest archive of each
    #[arg(value_name = "FILE", required = true)]
    pub(in crate::cli) files: Vec<PathBuf>,
    /// Look only at seal, manifest, index and lengths: milliseconds
    ///
    /// Finds a file that was cut off, not a damaged row.
    #[arg(long)]
    pub(in crate::cli) quick: bool,
    /// Rules to check instead of those that the archive carries
    #[arg(long, value_name = "FILE", conflicts_with = "quick")]
    pub(in crate::cli) rules: Option<PathBuf>,
    /// Let warnings count as findings
    #[arg(long)]
    pub(in crate::cli) strict: bool,
    /// Memory for the checks, such as 256M or 1G
    #[arg(long, value_name = "SIZE", value_parser = units::parse_memory, default_value = "256M")]
    pub(in crate::cli) memory: usize,
    #[command(flatten)]
    pub(in crate::cli) bases: Bases,
    /// Report as one JSON object a file on standard output
    #[arg(long, help_heading = "Output")]
    pub(in crate::cli) json: bool,
}

/// Make a damaged archive whole again from its parity
///
/// Finds what is damaged, mends it, and verifies the result, which is the file
/// as it was written, byte for byte. Where more is lost than parity can give
/// back, that is said and nothing is written. The damaged file is never changed.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  pgark repair shop.pgark -o shop_repaired.pgark
  pgark repair /mnt/failing/shop.pgark -o /srv/shop.pgark --json

Parts of the file that the disk cannot read count as damage, and so does a
missing end. Where bytes were put in or taken out, what is behind them is moved
back; what a transfer in text mode did to line feeds is undone where it can be.
A file that is not damaged is copied.")]
pub(in crate::cli) struct Repair {
    /// Damaged archive
    #[arg(value_name = "FILE")]
    pub(in crate::cli) file: PathBuf,
    /// Repaired archive to write
    #[arg(short, long, value_name = "FIXED")]
    pub(in crate::cli) output: PathBuf,
    /// Replace FIXED if it is there
    #[arg(short, long)]
    pub(in crate::cli) force: bool,
    /// If FILE is beyond repair, write a new archive of what is whole
    ///
    /// Rows that are damaged, or whose blobs are, are left out and listed. It
    /// works for a file that is cut off, too. The new archive says of itself that
    /// it is not complete. Of a thin archive it takes what is whole in its bases,
    /// damaged ones too, and needs none itself; without one, rows that need it are
    /// left out and listed.
    #[arg(long)]
    pub(in crate::cli) salvage: bool,
    /// Memory for verifying the result, such as 256M or 1G
    ///
    /// Repairing itself takes about 150 MiB.
    #[arg(long, value_name = "SIZE", value_parser = units::parse_memory, default_value = "256M")]
    pub(in crate::cli) memory: usize,
    #[command(flatten)]
    pub(in crate::cli) bases: Bases,
    /// Report as one JSON object on standard output
    #[arg(long, help_heading = "Output")]
    pub(in crate::cli) json: bool,
}

/// Propose checks that the database does not declare
#[derive(Args, Debug)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(in crate::cli) struct Rules {
    /// What to do.
    #[command(subcommand)]
    pub(in crate::cli) verb: RulesVerb,
}

/// What to do about rules.
#[derive(Subcommand, Debug)]
pub(in crate::cli) enum RulesVerb {
    Suggest(Suggest),
}

/// Propose rules from the rows of an archive
///
/// Finds columns whose every value occurs in a unique column elsewhere, and
/// columns that name the media type or the checksum of a blob beside them. What
/// it prints is a file of rules, with the evidence for each as a comment.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  pgark rules suggest shop.pgark > pgark.toml
  pgark verify shop.pgark --rules pgark.toml")]
pub(in crate::cli) struct Suggest {
    /// Archive to look through
    #[arg(value_name = "FILE")]
    pub(in crate::cli) file: PathBuf,
    /// Memory for comparing values, such as 256M or 1G
    #[arg(long, value_name = "SIZE", value_parser = units::parse_memory, default_value = "256M")]
    pub(in crate::cli) memory: usize,
    #[command(flatten)]
    pub(in crate::cli) bases: Bases,
}
