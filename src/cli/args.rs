//! What can be typed. What it means is for the verbs to say.
//!
//! The texts here are the help; `docs/commands.md` repeats them, and a test keeps the two equal.

#![expect(clippy::doc_markdown, reason = "these are texts of the terminal, not of rustdoc")]
#![allow(rustdoc::invalid_html_tags, reason = "these are texts of the terminal, not of rustdoc")]

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::units::{self, Parity};

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
    Compare(Compare),
    Inspect(Inspect),
    Cat(Cat),
    Repair(Repair),
    Export(Export),
    Extract(Extract),
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
/// Images are checked to be whole; `pgark verify` decodes them too.
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
    /// Percent of the file to add as parity for pgark repair, up to 25; 0 is none
    ///
    /// Damage up to about this share of every 64 MiB can then be repaired.
    #[arg(
        long, value_name = "PERCENT", value_parser = units::parse_parity, default_value = "3.1"
    )]
    pub(super) parity: Parity,
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

/// Load an archive into an empty, a new, or in place of an old database
///
/// The archive is verified first. Then come tables, rows, sequences, large
/// objects, indexes and constraints, materialized views and statistics; at the
/// end every table is read back and compared with the archive. A database that
/// has anything in it is refused, unless it is to be replaced: with --swap the
/// old one stays untouched until the new one is complete and compared, and is
/// kept under another name after that.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  createdb --template=template0 shop_new
  pgark restore shop.pgark --to postgres://app@localhost/shop_new
  pgark restore shop.pgark --to postgres://app@localhost/ --create shop_new
  pgark restore shop.pgark --to postgres://app@localhost/shop --swap --dry-run
  pgark restore shop.pgark --to postgres://app@localhost/shop --swap
  pgark restore shop.pgark --to test --role app=tester --no-privileges

With --swap the plan is shown and has to be confirmed, or --yes given.")]
pub(super) struct Restore {
    /// Archive to load
    #[arg(value_name = "FILE")]
    pub(super) file: PathBuf,
    /// Empty database to load it into: a URL, key=value pairs, or its name
    ///
    /// With --swap the database to replace, with --create its server.
    #[arg(long, value_name = "TARGET")]
    pub(super) to: String,
    /// Create database NAME on the target's server, with the source's encoding
    ///
    /// It has another name until all is in it and compared. If anything fails
    /// it is dropped again.
    #[arg(long, value_name = "NAME", conflicts_with = "swap")]
    pub(super) create: Option<String>,
    /// Replace the target: a new database takes its name in the end
    ///
    /// Settings, owner, comment, privileges and connection limit are carried
    /// over. The old database is kept as <name>_before_<YYYYMMDD_HHMMSS>.
    #[arg(long)]
    pub(super) swap: bool,
    /// With --swap: end the connections to the old database when it is renamed
    #[arg(long, requires = "swap")]
    pub(super) disconnect: bool,
    /// With --swap: do not ask
    #[arg(short, long)]
    pub(super) yes: bool,
    /// Show what would be done and what stands in the way, and stop
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Restore this table and what it needs, not the rest (may be repeated)
    ///
    /// Its types, sequences, functions, extensions and schemas come along, the
    /// partitions of a partitioned table, and the parents of a partition. What
    /// needs a table that was not chosen (a foreign key, a view) is left out,
    /// and named.
    #[arg(long, value_name = "TABLE", conflicts_with = "swap", help_heading = "Choices")]
    pub(super) table: Vec<String>,
    /// Restore what is in this schema and what it needs (may be repeated)
    #[arg(long, value_name = "SCHEMA", conflicts_with = "swap", help_heading = "Choices")]
    pub(super) schema: Vec<String>,
    /// Let everything belong to the role that restores
    #[arg(long, help_heading = "Choices")]
    pub(super) no_owner: bool,
    /// Grant and revoke nothing
    #[arg(long, help_heading = "Choices")]
    pub(super) no_privileges: bool,
    /// Put role NEW in the place of the archive's role OLD (may be repeated)
    #[arg(
        long, value_name = "OLD=NEW", value_parser = units::parse_role, help_heading = "Choices"
    )]
    pub(super) role: Vec<(String, String)>,
    /// Load rows into tables that are there, with the same columns and no rows
    ///
    /// Triggers and foreign keys do not act on them; that every foreign key of
    /// the target holds is checked afterwards. Any table that has rows already
    /// or other columns is named, and nothing is done.
    #[arg(long, help_heading = "Choices", conflicts_with_all = ["swap", "create", "schema_only"])]
    pub(super) data_only: bool,
    /// Restore the schema without rows; nothing is compared then
    #[arg(long, help_heading = "Choices", conflicts_with = "swap")]
    pub(super) schema_only: bool,
    /// What to do about foreign keys that the archive's own rows break
    #[arg(long, value_name = "HOW", value_enum, default_value_t = Constraints::Valid, help_heading = "Choices")]
    pub(super) constraints: Constraints,
    /// Do not read the target back and compare it
    ///
    /// Then nobody has seen whether it holds what the archive holds.
    #[arg(long, help_heading = "Choices", conflicts_with = "swap")]
    pub(super) no_verify_target: bool,
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
pub(super) struct Compare {
    /// Archive to compare
    #[arg(value_name = "FILE")]
    pub(super) file: PathBuf,
    /// What to compare it with: a database (URL, key=value pairs, name) or an archive
    ///
    /// The name of a file that is there, or one that ends in .pgark, is an
    /// archive; all else is a database.
    #[arg(long, value_name = "TARGET|FILE")]
    pub(super) with: String,
    /// Show every difference, not only the first five of a kind
    ///
    /// They are held in memory until they are printed.
    #[arg(long)]
    pub(super) full: bool,
    /// Print SQL that brings back into TARGET what it has lost
    ///
    /// One transaction: INSERT for lost rows, UPDATE of the columns that differ
    /// for changed rows, referenced tables first, never DELETE. With =lost, only
    /// values that are NULL now are set back.
    #[arg(
        long, value_name = "WHAT", value_enum, num_args = 0..=1, require_equals = true,
        default_missing_value = "all", conflicts_with_all = ["json", "full"]
    )]
    pub(super) sql: Option<SqlScope>,
    /// Compare rows, sequences and large objects only
    #[arg(long)]
    pub(super) no_schema: bool,
    /// Connections that read at the same time [default: number of cores]
    #[arg(short, long, value_name = "N", value_parser = units::parse_jobs)]
    pub(super) jobs: Option<usize>,
    /// Memory for data in flight and for sorting, such as 256M or 1G
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
    /// Report as one JSON object on standard output
    #[arg(long, help_heading = "Output")]
    pub(super) json: bool,
}

/// What SQL is to bring back.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum SqlScope {
    /// Lost rows and all values that have changed
    All,
    /// Lost rows, and values that are NULL now
    Lost,
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
  pgark cat shop.pgark user --key 42 --format insert | psql other
  pgark cat shop.pgark template --where language=KM --where 'imageId=a7'

Generated columns are computed by the server and are not in the archive, so
not in the output either: copy names the columns in the order of inspect.

The exit code is 1 where --key or --where was given and no row is there.")]
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
    /// Only the row with this primary key
    ///
    /// A key of several columns has its values in their order, with commas
    /// between them; a comma or backslash in a value gets a backslash in front.
    #[arg(long, value_name = "VALUE[,VALUE...]")]
    pub(super) key: Option<String>,
    /// Only rows with this value in this column; several must all hold
    ///
    /// Values are those that copy shows, unescaped. Numbers are compared as
    /// numbers (1.0 is 1.00). NULL is equal to nothing.
    #[arg(long = "where", value_name = "COLUMN=VALUE")]
    pub(super) conditions: Vec<String>,
    /// How blobs are written
    #[arg(long, value_name = "FORM", value_enum, default_value_t = Blobs::Hex)]
    pub(super) blobs: Blobs,
}

/// How blobs are written.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Blobs {
    /// All their bytes, as \x and hex digits
    Hex,
    /// As the archive refers to them: #<sha256>:<length>
    Reference,
}

/// Write an archive for psql or pg_restore
///
/// Schema, rows, sequences, large objects, indexes and constraints, as pg_dump
/// writes them, for loading into an empty database. Everything is checked
/// against its digest on the way out, and psql and pg_restore fail on a file
/// that was cut off anywhere.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  pgark export shop.pgark | psql other
  pgark export shop.pgark -o shop.sql
  pgark export shop.pgark | gzip > shop.sql.gz
  pgark export shop.pgark --format custom | pg_restore -d other
  pgark export shop.pgark --format custom -o shop.dump

The roles that own things must exist where it is loaded. What the SQL of an
archive does there, it does with your rights: export only archives you trust.")]
pub(super) struct Export {
    /// Archive to read
    #[arg(value_name = "FILE")]
    pub(super) file: PathBuf,
    /// Kind of file
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = ExportFormat::Sql)]
    pub(super) format: ExportFormat,
    /// File to write [default: standard output, also as -]
    ///
    /// It is written aside and gets its name when it is complete.
    #[arg(short, long, value_name = "OUT")]
    pub(super) output: Option<PathBuf>,
    /// Replace OUT if it is there
    #[arg(short, long, requires = "output")]
    pub(super) force: bool,
    /// Report as one JSON object on standard output
    #[arg(long, requires = "output", help_heading = "Output")]
    pub(super) json: bool,
}

/// Kinds of exports.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ExportFormat {
    /// SQL statements and COPY data, for psql
    Sql,
    /// pg_dump's custom format, for pg_restore (version 12 and later)
    Custom,
}

/// Write the blobs of a column as files
///
/// Each gets the extension that fits its content, and a line in manifest.csv.
/// Names come from the primary key or from another column, and are changed where
/// they could leave the folder, hide, or be taken for another file's. Every blob
/// is checked against its digest before its file gets its name; damaged ones are
/// told, and the others are still written.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  pgark extract shop.pgark --column image.file --to images
  pgark extract shop.pgark --column public.image.file --to images \\
      --name-by originalFileName

The exit code is 1 where blobs or rows are damaged.")]
pub(super) struct Extract {
    /// Archive to read
    #[arg(value_name = "FILE")]
    pub(super) file: PathBuf,
    /// Column: schema.table.column, or table.column where one schema has it
    #[arg(long, value_name = "COLUMN")]
    pub(super) column: String,
    /// Folder for the files: a new one, or one with nothing in it
    #[arg(long, value_name = "DIR")]
    pub(super) to: PathBuf,
    /// Name files by this column [default: the primary key]
    #[arg(long, value_name = "COLUMN")]
    pub(super) name_by: Option<String>,
    /// Report as one JSON object on standard output
    #[arg(long, help_heading = "Output")]
    pub(super) json: bool,
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
missing end. A file that is not damaged is copied.")]
pub(super) struct Repair {
    /// Damaged archive
    #[arg(value_name = "FILE")]
    pub(super) file: PathBuf,
    /// Repaired archive to write
    #[arg(short, long, value_name = "FIXED")]
    pub(super) output: PathBuf,
    /// Replace FIXED if it is there
    #[arg(short, long)]
    pub(super) force: bool,
    /// If FILE is beyond repair, write a new archive of what is whole
    ///
    /// Rows that are damaged, or whose blobs are, are left out and listed. It
    /// works for a file that is cut off, too. The new archive says of itself that
    /// it is not complete.
    #[arg(long)]
    pub(super) salvage: bool,
    /// Memory for verifying the result, such as 256M or 1G
    ///
    /// Repairing itself takes about 100 MiB.
    #[arg(long, value_name = "SIZE", value_parser = units::parse_memory, default_value = "256M")]
    pub(super) memory: usize,
    /// Report as one JSON object on standard output
    #[arg(long, help_heading = "Output")]
    pub(super) json: bool,
}

/// What to do about foreign keys that rows break.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Constraints {
    /// Refuse the archive
    Valid,
    /// Add them NOT VALID
    NotValid,
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
    /// INSERT statements
    Insert,
}
