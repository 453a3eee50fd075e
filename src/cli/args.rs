//! What can be typed. What it means is for the verbs to say.
//!
//! The texts here are the help; `docs/commands.md` repeats them, and a test keeps the two equal.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::units;

/// Everything that can be typed.
#[derive(Parser, Debug)]
#[command(
    name = "pgark",
    version,
    max_term_width = 80,
    about = "Backups of PostgreSQL databases that can be trusted",
    long_about = "Backups of PostgreSQL databases that can be trusted.\n\n\
        One consistent snapshot of a database becomes one file. Whether that file is good can be \
        said at any time, without a database; a restore loads it into an empty database and \
        compares what arrived with what was saved.",
    after_help = "\
Examples:
  pgark create postgres://app@db.example.org/shop
  pgark verify shop_20261123_070509.pgark
  pgark restore shop_20261123_070509.pgark --to postgres://app@localhost/new

Exit codes:
  0    clean
  1    findings: damage, broken references, differences
  2    usage
  3    could not be completed: I/O, connection, refused
  4    the archive needs a newer pgark
  130  interrupted",
    disable_help_subcommand = true,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub(super) struct Typed {
    /// Options that every verb has.
    #[command(flatten)]
    pub(super) global: Global,
    /// What to do.
    #[command(subcommand)]
    pub(super) verb: Verb,
}

/// Options that every verb has.
#[derive(Args, Clone, Debug)]
pub(super) struct Global {
    /// Say nothing but errors and findings
    #[arg(short, long, global = true, help_heading = "Output")]
    pub(super) quiet: bool,
    /// Show no progress
    #[arg(long, global = true, help_heading = "Output")]
    pub(super) no_progress: bool,
}

/// What to do. The help is that of the structures.
#[derive(Subcommand, Debug)]
pub(super) enum Verb {
    Create(Create),
    Verify(Verify),
    Restore(Restore),
    Inspect(Inspect),
    Cat(Cat),
    Rules(Rules),
}

/// Propose checks that the database does not declare
#[derive(Args, Debug)]
#[command(subcommand_required = true, arg_required_else_help = true)]
pub(super) struct Rules {
    /// What to do.
    #[command(subcommand)]
    pub(super) verb: RulesVerb,
}

/// What to do about rules.
#[derive(Subcommand, Debug)]
pub(super) enum RulesVerb {
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
pub(super) struct Suggest {
    /// Archive to look through
    #[arg(value_name = "FILE")]
    pub(super) file: PathBuf,
    /// Memory for comparing values, such as 256M or 1G
    #[arg(long, value_name = "SIZE", value_parser = units::parse_memory, default_value = "256M")]
    pub(super) memory: usize,
}

/// Save a database to an archive
///
/// Takes one consistent snapshot of the database, without stopping anybody who
/// works with it, and writes it to one file: schema, rows, blobs, sequences and
/// large objects. The file is written aside, read back, verified, and only then
/// given its name: a file under the final name is complete and was checked.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  pgark create postgres://app@db.example.org/shop
  pgark create 'host=/run/postgresql dbname=shop' -o shop.pgark
  PGSERVICE=shop pgark create --comment 'before the migration'
  pgark create shop --pg-dump 'docker exec -i db pg_dump'

A password is best kept in ~/.pgpass or PGPASSWORD: other users of this machine
can see the arguments of a command.")]
pub(super) struct Create {
    /// Database to save: a URL, key=value pairs, or a database's name
    ///
    /// What it leaves out comes from libpq's environment (PGHOST, PGPORT,
    /// PGUSER, PGDATABASE, PGPASSWORD, PGSERVICE, ...), service files and
    /// ~/.pgpass.
    #[arg(value_name = "SOURCE")]
    pub(super) source: Option<String>,
    /// Archive to write [default: <database>_<YYYYMMDD_HHMMSS>.pgark]
    ///
    /// The default is in the current directory; its time is in UTC.
    #[arg(short, long, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,
    /// Replace FILE if it is there
    #[arg(short, long)]
    pub(super) force: bool,
    /// Connections that read at the same time [default: number of cores]
    #[arg(short, long, value_name = "N", value_parser = units::parse_jobs)]
    pub(super) jobs: Option<usize>,
    /// Memory for data in flight, such as 256M or 1G
    #[arg(long, value_name = "SIZE", value_parser = units::parse_memory, default_value = "256M")]
    pub(super) memory: usize,
    /// Command that runs pg_dump [default: the one that fits the server]
    ///
    /// It may have arguments of its own. It has to be at least as new as the
    /// server.
    #[arg(long, value_name = "CMD")]
    pub(super) pg_dump: Option<String>,
    /// How long to wait for a table that somebody else has locked
    #[arg(
        long, value_name = "DURATION", value_parser = units::parse_duration, default_value = "30s"
    )]
    pub(super) lock_timeout: Duration,
    /// Words about this backup, kept in the archive
    #[arg(long, value_name = "TEXT")]
    pub(super) comment: Option<String>,
    /// Rules to keep in the archive and check, such as a pgark.toml
    ///
    /// What the database does not declare: references by an id alone, blobs
    /// that must be images, counts of rows.
    #[arg(long, value_name = "FILE")]
    pub(super) rules: Option<PathBuf>,
    /// Do not read the archive back and verify it
    ///
    /// Then nobody has seen yet that what was written can be read.
    #[arg(long)]
    pub(super) no_read_back: bool,
    /// Report as one JSON object on standard output
    #[arg(long, help_heading = "Output")]
    pub(super) json: bool,
    /// Join a snapshot that another session has exported (for tests)
    #[arg(long, value_name = "ID", hide = true)]
    pub(super) snapshot: Option<String>,
    /// Seconds since 1970 to record as the time of creation (for tests)
    #[arg(long, value_name = "SECONDS", hide = true)]
    pub(super) created: Option<u64>,
}

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
worst. With --json there is one object a line, one for each file, in order.")]
pub(super) struct Verify {
    /// Archives to check
    #[arg(value_name = "FILE", required = true)]
    pub(super) files: Vec<PathBuf>,
    /// Look only at seal, manifest, index and lengths: milliseconds
    ///
    /// Finds a file that was cut off, not a damaged row.
    #[arg(long)]
    pub(super) quick: bool,
    /// Rules to check instead of those that the archive carries
    #[arg(long, value_name = "FILE", conflicts_with = "quick")]
    pub(super) rules: Option<PathBuf>,
    /// Let warnings count as findings
    #[arg(long)]
    pub(super) strict: bool,
    /// Memory for the checks, such as 256M or 1G
    #[arg(long, value_name = "SIZE", value_parser = units::parse_memory, default_value = "256M")]
    pub(super) memory: usize,
    /// Report as one JSON object a file on standard output
    #[arg(long, help_heading = "Output")]
    pub(super) json: bool,
}

/// Load an archive into an empty database, and compare
///
/// The archive is verified first. Then come tables, rows, sequences, large
/// objects, indexes and constraints, materialized views and statistics; at the
/// end every table is read back and compared with the archive. A database that
/// has anything in it is refused.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  createdb --template=template0 shop_new
  pgark restore shop.pgark --to postgres://app@localhost/shop_new
  PGHOST=/run/postgresql pgark restore shop.pgark --to shop_new --jobs 4")]
pub(super) struct Restore {
    /// Archive to load
    #[arg(value_name = "FILE")]
    pub(super) file: PathBuf,
    /// Empty database to load it into: a URL, key=value pairs, or its name
    #[arg(long, value_name = "TARGET")]
    pub(super) to: String,
    /// Connections that load at the same time [default: number of cores]
    #[arg(short, long, value_name = "N", value_parser = units::parse_jobs)]
    pub(super) jobs: Option<usize>,
    /// Memory for data in flight, such as 256M or 1G
    #[arg(long, value_name = "SIZE", value_parser = units::parse_memory, default_value = "256M")]
    pub(super) memory: usize,
    /// Report as one JSON object on standard output
    #[arg(long, help_heading = "Output")]
    pub(super) json: bool,
}

/// Show what is in an archive
///
/// Where and when it was made, its tables with rows and digests, and what
/// storing repeated blobs once has saved. Believes what the archive says of
/// itself: verify checks it.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  pgark inspect shop.pgark
  pgark inspect shop.pgark --table image
  pgark inspect shop.pgark --json | jq '.tables[] | [.name, .rows]'")]
pub(super) struct Inspect {
    /// Archive to look into
    #[arg(value_name = "FILE")]
    pub(super) file: PathBuf,
    /// Show this table in detail: columns, keys, references
    ///
    /// A table is named as schema.table, or as table where only one schema has
    /// it. Quotes are needed only around a name that has a dot or a quote in it.
    #[arg(short, long, value_name = "TABLE")]
    pub(super) table: Option<String>,
    /// Report as one JSON object on standard output
    #[arg(long, help_heading = "Output")]
    pub(super) json: bool,
}

/// Write a table's rows to standard output
///
/// As PostgreSQL's COPY would: blobs are put back in as \x and hex digits.
/// Everything is checked against its digest on the way out.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  pgark cat shop.pgark user | head
  pgark cat shop.pgark public.image --format csv > image.csv
  pgark cat shop.pgark '\"odd.schema\".\"Table\"' --format jsonl
  pgark cat shop.pgark user | psql -c 'copy \"user\" from stdin' other

Generated columns are computed by the server and are not in the archive, so
not in the output either: copy names the columns in the order of inspect.")]
pub(super) struct Cat {
    /// Archive to read
    #[arg(value_name = "FILE")]
    pub(super) file: PathBuf,
    /// Table: schema.table, or table where only one schema has it
    #[arg(value_name = "TABLE")]
    pub(super) table: String,
    /// How rows are written
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = Format::Copy)]
    pub(super) format: Format,
}

/// How rows are written.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Format {
    /// COPY's own text format
    Copy,
    /// CSV with a header, as COPY ... CSV HEADER writes it
    Csv,
    /// One JSON object a line
    Jsonl,
}
