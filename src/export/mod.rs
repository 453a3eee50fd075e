//! Out of an archive as plain SQL, for `psql` and for people: nobody is locked in. ([`custom`] is
//! the way out for `pg_restore`.)
//!
//! The text is what `pg_dump` writes in its plain format, with two differences. It is framed by
//! `\if` and `\endif`, so that `psql` fails on a text that was cut off anywhere instead of taking
//! what there is for the whole; and it turns `ON_ERROR_STOP` on, so that `psql < file` does not go
//! on after an error. Every byte is checked against its digest before it is written. Where that
//! fails, what was written ends in statements that make `psql` fail.
//!
//! Knows neither servers nor terminals. Memory is bounded by the largest segment and a few packs.

mod acl;
mod check;
pub mod custom;
mod large_objects;
mod rows;
pub mod select;
mod toc;

use std::borrow::Cow;
use std::io::{self, Write};

use crate::format::keywords;
use crate::format::manifest::{Manifest, SchemaObject, TableKind};
use crate::format::reader::{Archive, PackCache, ReadError, Section};
use crate::format::rows::RowError;
use crate::format::sql::{literal, qualified};
use crate::progress::{Phase, Progress};

/// What a row may come to in a COPY: the server reads a line into at most 1 GiB. A longer one is
/// sent in slices.
pub const LINE_LIMIT: u64 = 960 << 20;

/// How to export.
#[derive(Clone, Copy, Debug)]
pub struct ExportOptions {
    /// Rows whose COPY text would be longer have their blobs sent in slices. [`LINE_LIMIT`] but
    /// in tests.
    pub line_limit: u64,
}

impl Default for ExportOptions {
    fn default() -> Self {
        Self { line_limit: LINE_LIMIT }
    }
}

/// What was written.
#[derive(Clone, Copy, Default, Debug)]
pub struct ExportReport {
    /// Tables that have rows of their own, even if none.
    pub tables: u64,
    /// Their rows.
    pub rows: u64,
    /// Sequences set.
    pub sequences: u64,
    /// Large objects.
    pub large_objects: u64,
    /// Bytes written.
    pub bytes: u64,
}

/// Why an export did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// What is to be written next cannot be read, or is not what was saved.
    #[error("{what}")]
    Read {
        /// The table, or what else it was.
        what: String,
        /// Why.
        #[source]
        source: ReadError,
    },
    /// A row is not as rows are.
    #[error("{table}, row {row}: {problem}")]
    Row {
        /// The table.
        table: String,
        /// The row's number, from 1.
        row: u64,
        /// What is wrong.
        problem: RowProblem,
    },
    /// A row is longer than a COPY can take, and the custom format has no other way for it.
    #[error("{table}, row {row}: it is too long for the custom format")]
    TooLong {
        /// The table.
        table: String,
        /// The row's number, from 1.
        row: u64,
    },
    /// A table's rows are not those the manifest says.
    #[error("{0}: its rows are not those the manifest describes")]
    Rows(String),
    /// The SQL of an object could do something to `psql` itself, or lies outside its file.
    #[error("{kind} {name}: {problem}")]
    Object {
        /// `pg_dump`'s word for it.
        kind: String,
        /// Its name.
        name: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// The SQL could not be written.
    #[error("writing the export")]
    Write(#[source] io::Error),
    /// The person wanted it to stop.
    #[error("interrupted")]
    Interrupted,
}

impl ExportError {
    /// Whether the archive is the reason, not the place the SQL goes to.
    pub fn is_damage(&self) -> bool {
        match self {
            Self::Read { source, .. } => !matches!(source, ReadError::Io { .. }),
            Self::Row { .. } | Self::Rows(_) | Self::Object { .. } => true,
            Self::TooLong { .. } | Self::Write(_) | Self::Interrupted => false,
        }
    }
}

/// What is wrong with a row.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RowProblem {
    /// It has another number of fields than the table has columns.
    #[error("it has {found} fields where the table has {wanted} columns")]
    Fields {
        /// What it has.
        found: usize,
        /// What it should have.
        wanted: usize,
    },
    /// A field's text is damaged.
    #[error(transparent)]
    Text(#[from] RowError),
    /// A large object's field is not what it must be.
    #[error("the large object's {0} is not one")]
    LargeObject(&'static str),
}

/// Writes the whole database as SQL. After an error `out` has got an end that makes `psql` fail,
/// unless it was `out` that failed.
///
/// # Errors
/// See [`ExportError`].
pub fn run(
    archive: &Archive,
    options: &ExportOptions,
    out: &mut dyn Write,
    progress: &dyn Progress,
) -> Result<ExportReport, ExportError> {
    let mut writer = Writer::new(archive, options, out, progress);
    let done = writer.database();
    if let Err(error) = &done {
        // Where even this cannot be written, the missing `\endif` still makes psql fail.
        _ = writer.out.spoil(&error.to_string());
    }
    done?;
    let mut report = writer.report;
    report.bytes = writer.out.bytes;
    Ok(report)
}

/// The text on its way out, which knows whether it is within COPY data.
struct Out<'a> {
    inner: io::BufWriter<&'a mut dyn Write>,
    bytes: u64,
    /// Within the data of a COPY: how many columns it has.
    copy: Option<usize>,
    /// Within a block of the custom format: what is not yet a whole chunk.
    block: Option<Vec<u8>>,
}

impl Out<'_> {
    fn put(&mut self, bytes: &[u8]) -> Result<(), ExportError> {
        if self.block.is_some() {
            return self.chunked(bytes);
        }
        self.bytes = self.bytes.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        self.inner.write_all(bytes).map_err(ExportError::Write)
    }

    fn text(&mut self, text: &str) -> Result<(), ExportError> {
        self.put(text.as_bytes())
    }

    fn hex(&mut self, bytes: &[u8]) -> Result<(), ExportError> {
        let mut digits = [0; 8192];
        for run in bytes.chunks(digits.len() / 2) {
            let text = digits.get_mut(..2 * run.len()).unwrap_or_default();
            for (pair, byte) in text.as_chunks_mut::<2>().0.iter_mut().zip(run) {
                *pair = hex_pair(*byte);
            }
            let text = digits.get(..2 * run.len()).unwrap_or_default();
            self.put(text)?;
        }
        Ok(())
    }

    fn begin_copy(&mut self, statement: &str, columns: usize) -> Result<(), ExportError> {
        self.text(statement)?;
        self.copy = Some(columns);
        Ok(())
    }

    fn end_copy(&mut self) -> Result<(), ExportError> {
        self.put(b"\\.\n\n\n")?;
        self.copy = None;
        Ok(())
    }

    /// Ends the text so that nobody takes it for whole: a COPY gets a line with too many fields,
    /// and after it comes a statement that fails and no `\endif`.
    fn spoil(&mut self, why: &str) -> io::Result<()> {
        if let Some(columns) = self.copy.take() {
            let line = "pgark: the export ended here\t".repeat(columns.saturating_add(1));
            writeln!(self.inner, "\n{line}\n\\.")?;
        } else {
            // Out of whatever statement, name or string it may be in; harmless where it is not.
            writeln!(self.inner, "\n;")?;
        }
        let why: String = why.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        let message = literal(&format!("this export is not complete: {why}"));
        writeln!(
            self.inner,
            "DO LANGUAGE plpgsql {};",
            literal(&format!("BEGIN RAISE EXCEPTION USING MESSAGE = {message}; END"))
        )?;
        self.inner.flush()
    }
}

fn hex_pair(byte: u8) -> [u8; 2] {
    let digit = |nibble: u8| if nibble < 10 { b'0' + nibble } else { b'a' + (nibble - 10) };
    [digit(byte >> 4), digit(byte & 15)]
}

struct Writer<'a> {
    archive: &'a Archive,
    options: &'a ExportOptions,
    progress: &'a dyn Progress,
    out: Out<'a>,
    cache: PackCache,
    report: ExportReport,
    /// See [`keywords::later`].
    words: Vec<&'static str>,
}

impl<'a> Writer<'a> {
    fn new(
        archive: &'a Archive,
        options: &'a ExportOptions,
        out: &'a mut dyn Write,
        progress: &'a dyn Progress,
    ) -> Self {
        let inner = io::BufWriter::with_capacity(256 << 10, out);
        Self {
            archive,
            options,
            progress,
            out: Out { inner, bytes: 0, copy: None, block: None },
            cache: PackCache::default(),
            report: ExportReport::default(),
            words: keywords::later(archive.manifest().source.server_version_num),
        }
    }

    fn database(&mut self) -> Result<(), ExportError> {
        let archive = self.archive;
        let manifest = archive.manifest();
        let read = |what: &str| {
            let what = what.to_owned();
            move |source| ExportError::Read { what, source }
        };
        let pre =
            archive.schema_sql(Section::PreData).map_err(read("the schema before the rows"))?;
        let post =
            archive.schema_sql(Section::PostData).map_err(read("the schema after the rows"))?;
        // All of it is looked at before any of it is written.
        check::objects(&pre, &manifest.schema.pre_data)?;
        check::objects(&post, &manifest.schema.post_data)?;

        let data =
            manifest.tables.iter().filter_map(|table| table.data).chain(manifest.large_objects);
        let (rows, bytes) = data.fold((0_u64, 0_u64), |(rows, bytes), data| {
            let more = data.bytes.saturating_add(data.blob_bytes);
            (rows.saturating_add(data.rows), bytes.saturating_add(more))
        });
        self.progress.begin(Phase::Export, rows, bytes);
        self.out.text(&header(manifest))?;
        let (privileges, things): (Vec<_>, Vec<_>) =
            manifest.schema.pre_data.iter().partition(|object| is_acl(object));
        for object in things {
            self.object(&pre, object)?;
        }
        self.room_for_extension_rows(manifest)?;
        for table in &manifest.tables {
            self.table(table)?;
        }
        self.sequences(manifest)?;
        self.large_objects()?;
        // As pg_restore does it: privileges come when nothing but event triggers and refreshes of
        // materialized views are left, so that an owner who has revoked something from itself can
        // still have its rows and constraints.
        let objects = &manifest.schema.post_data;
        let first = objects.iter().position(is_late).unwrap_or(objects.len());
        let (soon, late) = objects.split_at_checked(first).unwrap_or((objects, &[]));
        // Its settings are those that the text began with.
        for object in soon.iter().filter(|object| object.kind != "SETTINGS") {
            self.object(&post, object)?;
        }
        for object in privileges {
            self.object(&pre, object)?;
        }
        for object in late {
            self.object(&post, object)?;
        }
        self.out.text("--\n-- pgark export complete\n--\n\n\\endif\n")?;
        self.out.inner.flush().map_err(ExportError::Write)
    }

    fn object(&mut self, sql: &[u8], object: &SchemaObject) -> Result<(), ExportError> {
        if !is_large_object(object) {
            let text = self.for_any_server(check::slice(sql, object).unwrap_or_default());
            self.out.put(&text)?;
        }
        self.interrupted()
    }

    /// An object's SQL with quotes around what is a keyword only to servers newer than the source.
    fn for_any_server<'s>(&self, sql: &'s [u8]) -> Cow<'s, [u8]> {
        match std::str::from_utf8(sql) {
            Ok(text) if self.words.iter().any(|word| text.contains(word)) => {
                Cow::Owned(keywords::quoted(text, &self.words).into_bytes())
            }
            _ => Cow::Borrowed(sql),
        }
    }

    /// An extension may fill its configuration tables when it is created. What of that belongs to
    /// a backup is in the archive.
    fn room_for_extension_rows(&mut self, manifest: &Manifest) -> Result<(), ExportError> {
        for table in &manifest.tables {
            if table.kind == TableKind::ExtensionConfig && table.data.is_some() {
                let condition = table.condition.as_deref().unwrap_or_default();
                check::sql(condition.as_bytes()).map_err(|problem| ExportError::Object {
                    kind: "EXTENSION CONFIGURATION".into(),
                    name: table.name.to_string(),
                    problem,
                })?;
                let name = qualified(&table.name);
                self.out.text(&format!("DELETE FROM ONLY {name} {condition};\n\n"))?;
            }
        }
        Ok(())
    }

    fn sequences(&mut self, manifest: &Manifest) -> Result<(), ExportError> {
        for sequence in &manifest.sequences {
            let name = literal(&qualified(&sequence.name));
            let (value, called) = (sequence.last_value, sequence.is_called);
            self.out.text(&format!(
                "SELECT pg_catalog.setval({name}::pg_catalog.regclass, {value}, {called});\n"
            ))?;
            self.report.sequences += 1;
        }
        self.out.text("\n\n")
    }

    fn interrupted(&self) -> Result<(), ExportError> {
        if self.progress.interrupted() { Err(ExportError::Interrupted) } else { Ok(()) }
    }
}

/// What comes first. The archive's own settings follow as the first object of its schema.
fn header(manifest: &Manifest) -> String {
    let source = &manifest.source;
    let encoding = if source.encoding == "SQL_ASCII" { "SQL_ASCII" } else { "UTF8" };
    let line = |text: &str| -> String {
        text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
    };
    format!(
        "\\set ON_ERROR_STOP on\n\
         \\if true\n\
         --\n\
         -- PostgreSQL database dump, exported from a pgark archive\n\
         -- Database {}, server version {}, snapshot of {}\n\
         -- To be loaded by psql into an empty database\n\
         --\n\n\
         SET client_encoding = '{encoding}';\n\
         SET standard_conforming_strings = on;\n\n",
        line(&source.database),
        line(&source.server_version),
        line(&source.when()),
    )
}

fn is_acl(object: &SchemaObject) -> bool {
    matches!(object.kind.as_str(), "ACL" | "DEFAULT ACL")
}

/// What `pg_restore` leaves for the end.
fn is_late(object: &SchemaObject) -> bool {
    is_acl(object) || matches!(object.kind.as_str(), "EVENT TRIGGER" | "MATERIALIZED VIEW DATA")
}

/// All that is to be known of large objects is in their rows.
fn is_large_object(object: &SchemaObject) -> bool {
    let about = matches!(object.kind.as_str(), "ACL" | "COMMENT" | "SECURITY LABEL")
        && (object.name.starts_with("LARGE OBJECT ") || object.name.starts_with("LARGE OBJECTS "));
    about || object.kind.starts_with("BLOB")
}
