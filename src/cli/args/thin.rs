//! What can be typed about thin archives: where the base is, and `pgark merge`.

use std::path::PathBuf;

use clap::Args;

use crate::cli::units::{self, Parity};

/// Where the archives are that a thin one needs.
#[derive(Args, Clone, Debug)]
pub(in crate::cli) struct Bases {
    /// Archive that a thin archive is based on, or a folder that has it
    ///
    /// The folder of the archive itself is always looked through. May be given
    /// several times.
    #[arg(long, value_name = "PATH")]
    pub(in crate::cli) base: Vec<PathBuf>,
}

/// Make an archive that stands alone of a thin one
///
/// Reads the rows and blobs of a thin archive, each checked by its digest, from
/// it and from what it is based on, and writes them as create does: what comes
/// out is the archive that create would have written without --base. It is
/// verified before it gets its name.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  pgark merge tuesday.pgark -o tuesday_full.pgark
  pgark merge tuesday.pgark --base /mnt/old -o tuesday_full.pgark")]
pub(in crate::cli) struct Merge {
    /// Thin archive, or a profile for the latest of its archives
    #[arg(value_name = "FILE")]
    pub(in crate::cli) file: PathBuf,
    /// Archive to write
    #[arg(short, long, value_name = "FULL")]
    pub(in crate::cli) output: PathBuf,
    /// Replace FULL if it is there
    #[arg(short, long)]
    pub(in crate::cli) force: bool,
    /// Percent of the file to add as parity for pgark repair, up to 25; 0 is none
    #[arg(
        long, value_name = "PERCENT", value_parser = units::parse_parity, default_value = "3.1"
    )]
    pub(in crate::cli) parity: Parity,
    /// Memory for data in flight, and for verifying the result
    #[arg(long, value_name = "SIZE", value_parser = units::parse_memory, default_value = "256M")]
    pub(in crate::cli) memory: usize,
    #[command(flatten)]
    pub(in crate::cli) bases: Bases,
    /// Report as one JSON object on standard output
    #[arg(long, help_heading = "Output")]
    pub(in crate::cli) json: bool,
}
