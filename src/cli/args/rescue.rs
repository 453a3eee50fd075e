//! What can be typed after `pgark rescue`.

use std::path::PathBuf;

use clap::Args;

use crate::cli::units::{self, Parity};

/// Make an archive from a data directory or a tar of the volume
///
/// For a database that survives only as the files of its server: a data
/// directory, a Docker volume, or a tar of one, also compressed with gzip or
/// zstd. These files are only read. A copy of them gets a throwaway server of
/// the same major version, with settings of its own and out of reach for
/// everybody else; it recovers all that was committed, also after a crash, and
/// an ordinary archive is made, read back and verified. Then copy and server are
/// removed, however the command ends. What the server and the checksums of its
/// pages say about damage is told.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  pgark rescue /var/lib/postgresql/17/main -o shop.pgark
  pgark rescue volume.tar.gz -o shop.pgark
  docker run --rm -v shop_data:/old:ro alpine tar czf - /old | pgark rescue -
  pgark rescue /mnt/old --all -o rescued/
  pgark rescue volume.tar --map /mnt/fast=/mnt/old-fast

It needs the server programs of exactly the same major version, and room for a
copy of the data directory in TMPDIR or --work. As root, the server runs as user
postgres or nobody. A data directory can hold programs (functions, triggers):
rescue only what you would start a server on.

The last five options work on the copy, and only for a server that does not come
up, or a database that cannot be read, without them.")]
pub(in crate::cli) struct Rescue {
    /// Data directory, a folder with one in it, a tar file, or - for a tar on
    /// standard input
    #[arg(value_name = "DIR|TAR")]
    pub(in crate::cli) input: PathBuf,
    /// Archive to write; with --all the folder for them
    ///
    /// The default is <database>_<YYYYMMDD_HHMMSS>.pgark in the current directory;
    /// its time is in UTC.
    #[arg(short, long, value_name = "FILE")]
    pub(in crate::cli) output: Option<PathBuf>,
    /// Replace FILE if it is there
    #[arg(short, long)]
    pub(in crate::cli) force: bool,
    /// Database to save, if there are several
    #[arg(short, long, value_name = "NAME", conflicts_with = "all")]
    pub(in crate::cli) database: Option<String>,
    /// Save every database, each to an archive of its own
    #[arg(long)]
    pub(in crate::cli) all: bool,
    /// Data directory within DIR or TAR, if there are several
    #[arg(long, value_name = "PATH")]
    pub(in crate::cli) within: Option<PathBuf>,
    /// Where a folder is now that links of the data directory lead to
    ///
    /// For tablespaces and pg_wal that were elsewhere, such as
    /// --map /mnt/fast=/mnt/old-fast. Can be given more than once.
    #[arg(long, value_name = "OLD=NEW", value_parser = units::parse_map)]
    pub(in crate::cli) map: Vec<(PathBuf, PathBuf)>,
    /// Where the server's programs are [default: PATH and the usual places]
    ///
    /// A folder with postgres in it, or one that has a folder bin or a folder
    /// <major>/bin for each version.
    #[arg(long, value_name = "DIR")]
    pub(in crate::cli) bin: Option<PathBuf>,
    /// Where to make the copy [default: TMPDIR or /tmp]
    ///
    /// The user that the server runs as must be able to write there.
    #[arg(long, value_name = "DIR")]
    pub(in crate::cli) work: Option<PathBuf>,
    /// Leave the server running on the copy, also after a failure
    ///
    /// How to connect to it, and how to remove it, is said.
    #[arg(long)]
    pub(in crate::cli) keep: bool,
    /// Rules to keep in the archive and check, such as a pgark.toml
    #[arg(long, value_name = "FILE")]
    pub(in crate::cli) rules: Option<PathBuf>,
    /// Words about this archive, kept in it
    #[arg(long, value_name = "TEXT")]
    pub(in crate::cli) comment: Option<String>,
    /// Percent of the file to add as parity for pgark repair, up to 25; 0 is none
    #[arg(
        long, value_name = "PERCENT", value_parser = units::parse_parity, default_value = "3.1"
    )]
    pub(in crate::cli) parity: Parity,
    /// Connections that read at the same time [default: number of cores]
    #[arg(short, long, value_name = "N", value_parser = units::parse_jobs)]
    pub(in crate::cli) jobs: Option<usize>,
    /// Memory for data in flight, such as 256M or 1G
    #[arg(long, value_name = "SIZE", value_parser = units::parse_memory, default_value = "256M")]
    pub(in crate::cli) memory: usize,
    /// Another setting of the copy's server
    ///
    /// Such as shared_preload_libraries=timescaledb, where tables cannot be read
    /// without a library. Can be given more than once.
    #[arg(long, value_name = "NAME=VALUE", value_parser = units::parse_setting)]
    #[arg(help_heading = "Last resorts")]
    pub(in crate::cli) set: Vec<(String, String)>,
    /// Leave out backup_label
    ///
    /// For a server that was killed while a backup was made of it. Of a real base
    /// backup this makes rows of different moments.
    #[arg(long, help_heading = "Last resorts")]
    pub(in crate::cli) ignore_backup_label: bool,
    /// Read damaged pages as empty ones, and no index of the catalog
    ///
    /// The rows in them are lost. Each such page is told.
    #[arg(long, help_heading = "Last resorts")]
    pub(in crate::cli) zero_damaged_pages: bool,
    /// Leave out rows with a value that cannot be read
    ///
    /// For long values of which pieces are lost. Each such row is told with its
    /// key.
    #[arg(long, help_heading = "Last resorts")]
    pub(in crate::cli) drop_unreadable_rows: bool,
    /// Throw the WAL away (pg_resetwal) and start from what is in the files
    ///
    /// Rows may then be lost, half of a transaction be there, and keys and
    /// references be broken: verify and rules tell what they can see.
    #[arg(long, help_heading = "Last resorts")]
    pub(in crate::cli) reset_wal: bool,
    /// Report as one JSON object on standard output
    #[arg(long, help_heading = "Output")]
    pub(in crate::cli) json: bool,
}
