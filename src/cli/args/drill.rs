//! What can be typed after `pgark drill`.

use std::path::PathBuf;

use clap::Args;

use super::Bases;
use crate::cli::units;

/// Restore an archive into a throwaway server, compare it, remove it all
///
/// Verifies the archive, starts a PostgreSQL server of this machine that nobody
/// else can reach, in a temporary folder, restores into it, reads all of it back
/// and compares it with the archive, and checks the archive's rules as SQL.
/// Then server and folder are removed, also after an error, Ctrl-C, or the end
/// of pgark itself in whatever way.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  pgark drill shop.pgark
  pgark drill shop.pgark --bin /usr/lib/postgresql/16/bin
  pgark drill shop.pgark --rules pgark.toml --json

It needs the server programs of the archive's major version, or of a newer one,
and room for the database in TMPDIR (as root, or if its name is long: in /tmp).
As root, the server runs as user postgres or nobody.")]
pub(in crate::cli) struct Drill {
    /// Archive to restore, or a profile for the latest of its archives
    #[arg(value_name = "FILE")]
    pub(in crate::cli) file: PathBuf,
    /// Where the server's programs are [default: PATH and the usual places]
    ///
    /// A folder with postgres and initdb in it, or one that has a folder bin or
    /// a folder <major>/bin for each version.
    #[arg(long, value_name = "DIR")]
    pub(in crate::cli) bin: Option<PathBuf>,
    /// Rules to check instead of those that the archive carries
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) rules: Option<PathBuf>,
    /// Leave the server running with the database in it, also after a failure
    ///
    /// How to connect to it, and how to remove it, is said.
    #[arg(long)]
    pub(in crate::cli) keep: bool,
    /// Connections that work at the same time [default: number of cores]
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
