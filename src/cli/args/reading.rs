//! What can be typed after the verbs that read what is in an archive: `inspect`, `cat`, `export`
//! and `extract`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::Bases;

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
pub(in crate::cli) struct Inspect {
    /// Archive to look into, or a profile for the latest of its archives
    #[arg(value_name = "FILE")]
    pub(in crate::cli) file: PathBuf,
    /// Show this table in detail: columns, keys, references
    ///
    /// A table is named as schema.table, or as table where only one schema has
    /// it. Quotes are needed only around a name that has a dot or a quote in it.
    #[arg(short, long, value_name = "TABLE")]
    pub(in crate::cli) table: Option<String>,
    #[command(flatten)]
    pub(in crate::cli) bases: Bases,
    /// Report as one JSON object on standard output
    #[arg(long, help_heading = "Output")]
    pub(in crate::cli) json: bool,
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
pub(in crate::cli) struct Cat {
    /// Archive to read
    #[arg(value_name = "FILE")]
    pub(in crate::cli) file: PathBuf,
    /// Table: schema.table, or table where only one schema has it
    #[arg(value_name = "TABLE")]
    pub(in crate::cli) table: String,
    /// How rows are written
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = Format::Copy)]
    pub(in crate::cli) format: Format,
    /// Only the row with this primary key
    ///
    /// A key of several columns has its values in their order, with commas
    /// between them; a comma or backslash in a value gets a backslash in front.
    #[arg(long, value_name = "VALUE[,VALUE...]")]
    pub(in crate::cli) key: Option<String>,
    /// Only rows with this value in this column; several must all hold
    ///
    /// Values are those that copy shows, unescaped. Numbers are compared as
    /// numbers (1.0 is 1.00). NULL is equal to nothing.
    #[arg(long = "where", value_name = "COLUMN=VALUE")]
    pub(in crate::cli) conditions: Vec<String>,
    /// How blobs are written
    #[arg(long, value_name = "FORM", value_enum, default_value_t = Blobs::Hex)]
    pub(in crate::cli) blobs: Blobs,
    #[command(flatten)]
    pub(in crate::cli) bases: Bases,
}

/// How blobs are written.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::cli) enum Blobs {
    /// All their bytes, as \x and hex digits
    Hex,
    /// As the archive refers to them: #<sha256>:<length>
    Reference,
}

/// How rows are written.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::cli) enum Format {
    /// COPY's own text format
    Copy,
    /// CSV with a header, as COPY ... CSV HEADER writes it
    Csv,
    /// One JSON object a line
    Jsonl,
    /// INSERT statements
    Insert,
}

/// Write an archive for psql or pg_restore
///
/// Schema, rows, sequences, large objects, indexes and constraints, as pg_dump
/// writes them, for loading into an empty database. Everything is checked
/// against its digest on the way out, and psql and pg_restore fail on a file
/// that was cut off anywhere. Words that are keywords only to newer servers
/// stand in quotes, so that these take the file, too.
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
pub(in crate::cli) struct Export {
    /// Archive to read
    #[arg(value_name = "FILE")]
    pub(in crate::cli) file: PathBuf,
    /// Kind of file
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = ExportFormat::Sql)]
    pub(in crate::cli) format: ExportFormat,
    /// File to write [default: standard output, also as -]
    ///
    /// It is written aside and gets its name when it is complete.
    #[arg(short, long, value_name = "OUT")]
    pub(in crate::cli) output: Option<PathBuf>,
    /// Replace OUT if it is there
    #[arg(short, long, requires = "output")]
    pub(in crate::cli) force: bool,
    #[command(flatten)]
    pub(in crate::cli) bases: Bases,
    /// Report as one JSON object on standard output
    #[arg(long, requires = "output", help_heading = "Output")]
    pub(in crate::cli) json: bool,
}

/// Kinds of exports.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::cli) enum ExportFormat {
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
pub(in crate::cli) struct Extract {
    /// Archive to read
    #[arg(value_name = "FILE")]
    pub(in crate::cli) file: PathBuf,
    /// Column: schema.table.column, or table.column where one schema has it
    #[arg(long, value_name = "COLUMN")]
    pub(in crate::cli) column: String,
    /// Folder for the files: a new one, or one with nothing in it
    #[arg(long, value_name = "DIR")]
    pub(in crate::cli) to: PathBuf,
    /// Name files by this column [default: the primary key]
    #[arg(long, value_name = "COLUMN")]
    pub(in crate::cli) name_by: Option<String>,
    #[command(flatten)]
    pub(in crate::cli) bases: Bases,
    /// Report as one JSON object on standard output
    #[arg(long, help_heading = "Output")]
    pub(in crate::cli) json: bool,
}
