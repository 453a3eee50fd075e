//! A dump, taken apart: its schema, its catalog, and where the rows of each table are.

use std::collections::BTreeMap;
use std::path::Path;

use libpgdump::{Entry, ObjectType};

use super::ddl::{Declarations, Declared, Piece, statements};
use super::error::DumpFileError;
use super::input::{self, Input};
use super::names;
use super::plain::{self, Plain, Stretch};
use super::reader::{Form, Runs, Shape};
use super::toc::Toc;
use crate::format::batch::{Batch, BatchBuilder};
use crate::format::manifest::{Name, Source, TableKind};

/// A dump that holds all of a database, as far as its schema tells.
pub struct Dump {
    /// In which form it is: `plain`, `custom`, `directory` or `tar`.
    pub form: &'static str,
    /// When it was made, as it says it: in the time zone of whoever made it.
    pub made: Option<String>,
    /// What is known of where it came from.
    pub source: Source,
    /// What its statements declare.
    pub declared: Declared,
    /// Its objects as `pg_dump` has them.
    pub(crate) entries: Vec<Entry>,
    /// Of each table in `declared`, where its rows are.
    rows: Vec<Option<Rows>>,
    standard: bool,
    file: File,
}

enum File {
    Plain(Plain),
    Toc(Toc),
}

struct Rows {
    /// Their number in the file.
    at: usize,
    form: Form,
    shape: Shape,
}

/// A run of rows, to be made a batch of.
pub(crate) struct Run {
    bytes: Vec<u8>,
    form: Form,
    shape: Shape,
}

impl Run {
    /// Bytes of it in the dump.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// A batch of it.
    pub(crate) fn batch(self, builder: BatchBuilder) -> Result<Batch, String> {
        self.shape.batch(self.form, self.bytes, builder)
    }
}

impl std::fmt::Debug for Dump {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dump")
            .field("form", &self.form)
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

impl Dump {
    /// Opens a dump; `-` is standard input. What cannot be read twice is copied to files without a
    /// name in the folder `spool`. `read` is told how many bytes were read on, and says whether to go on.
    ///
    /// # Errors
    /// [`DumpFileError`]: it cannot be read, is not whole, or not all of a database.
    pub fn open(
        path: &Path,
        spool: &Path,
        read: &mut dyn FnMut(u64) -> bool,
    ) -> Result<Self, DumpFileError> {
        match input::open(path, spool)? {
            Input::Plain(input, file) => of_plain(plain::scan(path, input, file, spool, read)?),
            Input::Custom(file) => of_toc("custom", Toc::custom(path, file)?),
            Input::Tar(file) => of_toc("tar", Toc::tar(path, file, spool)?),
            Input::Directory => of_toc("directory", Toc::directory(path)?),
        }
    }

    /// Gives the rows of a table, run by run. None are given if the dump has none for it.
    pub(crate) fn rows(
        &self,
        table: usize,
        each: &mut dyn FnMut(Run) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        let Some(rows) = self.rows.get(table).and_then(Option::as_ref) else { return Ok(()) };
        let name = || {
            self.declared.tables.get(table).map_or_else(String::new, |table| table.name.to_string())
        };
        let wrong = |what: String| Stop::Dump(DumpFileError::Rows { table: name(), what });
        let (input, marked) = match &self.file {
            File::Plain(plain) => {
                let stretch = plain.rows.get(rows.at);
                let input = stretch.map(|stretch| plain.rows(stretch)).transpose();
                (input.map_err(|error| wrong(error.to_string()))?, false)
            }
            File::Toc(toc) => {
                let entry = self.entries.get(rows.at);
                (
                    entry.map(|entry| toc.data(entry)).transpose().map_err(Stop::Dump)?.flatten(),
                    true,
                )
            }
        };
        let input = input.ok_or_else(|| wrong("there is no data for them in the dump".into()))?;
        let mut runs = Runs::new(input, rows.form, self.standard, marked);
        while let Some(bytes) = runs.next().map_err(&wrong)? {
            each(Run { bytes, form: rows.form, shape: rows.shape.clone() })?;
        }
        Ok(())
    }
}

/// Why giving rows stopped.
pub(crate) enum Stop {
    /// The dump is at fault.
    Dump(DumpFileError),
    /// Whoever took them wanted it.
    Taker,
}

/// `server_version_num` of a `server_version`, such as `15.4 (Debian 15.4-1)` or `9.6.24`.
fn version_number(text: &str) -> u64 {
    let number = text.split([' ', '(']).next().unwrap_or_default();
    let mut parts = number.split('.').map(|part| {
        let digits: String = part.chars().take_while(char::is_ascii_digit).collect();
        digits.parse::<u64>().unwrap_or(0)
    });
    let mut next = || parts.next().unwrap_or(0);
    let (major, second, third) = (next(), next(), next());
    if major >= 10 { major * 10_000 + second } else { major * 10_000 + second * 100 + third }
}

fn of_plain(plain: Plain) -> Result<Dump, DumpFileError> {
    let mut declarations = Declarations::new();
    declarations.set_server_version(version_number(&plain.versions.0));
    let mut standard = true;
    for statement in &plain.statements {
        if let Some(on) = super::ddl::standard_strings(statement) {
            standard = on;
        }
        declarations.statement(statement)?;
    }
    let mut found = Vec::with_capacity(plain.rows.len());
    for (at, Stretch { target, form, .. }) in plain.rows.iter().enumerate() {
        let name = resolve(&declarations, target.schema.as_deref(), &target.table)?;
        found.push((at, name, *form, target.columns.clone()));
    }
    let mut announced = Vec::new();
    for (schema, table) in &plain.announced {
        let schema = Some(schema.as_str()).filter(|schema| *schema != "-");
        announced.extend(declarations.resolve_table(schema, table));
    }
    let declared = declarations.finish()?;
    let (server, pg_dump) = plain.versions.clone();
    let database = declared.database.as_ref().map(|database| database.name.clone());
    let database = database.or_else(|| plain.connect.clone());
    let source = source(&declared, &server, &pg_dump, database.unwrap_or_default());
    let made = plain.started.clone();
    let entries = plain.entries.clone();
    let found = Found { rows: found, announced };
    assemble(
        Head { form: "plain", made, source, standard },
        declared,
        entries,
        found,
        File::Plain(plain),
    )
}

fn of_toc(form: &'static str, toc: Toc) -> Result<Dump, DumpFileError> {
    let meta = &toc.meta;
    let mut declarations = Declarations::new();
    declarations.set_server_version(version_number(&meta.server_version));
    let mut standard = true;
    let mut found = Vec::new();
    for (at, entry) in meta.entries.iter().enumerate() {
        let sql = entry.defn.as_deref().unwrap_or_default();
        match &entry.desc {
            ObjectType::TableData => {
                let copy = entry.copy_stmt.as_deref().unwrap_or_default();
                let (form, columns) = match copy.strip_prefix("COPY ") {
                    Some(rest) => (Form::Copy, names::target(rest)?.0.columns),
                    None => (Form::Insert, listed(&toc, entry)?),
                };
                let table = entry.tag.as_deref().unwrap_or_default();
                let name = resolve(&declarations, entry.namespace.as_deref(), table)?;
                // A table has an entry for its rows even if the dump was made without them.
                if !entry.had_dumper {
                    return Err(DumpFileError::Partial(format!("rows of {name} were left out")));
                }
                found.push((at, name, form, columns));
            }
            ObjectType::Blob | ObjectType::BlobMetadata | ObjectType::Blobs => {
                return Err(DumpFileError::large_objects());
            }
            _ => {
                for piece in statements(sql) {
                    let Piece::Statement(statement) = piece? else { continue };
                    if let Some(on) = super::ddl::standard_strings(statement) {
                        standard = on;
                    }
                    declarations.statement(statement)?;
                }
            }
        }
    }
    let declared = declarations.finish()?;
    let source = source(&declared, &meta.server_version, &meta.dump_version, meta.dbname.clone());
    let time = &meta.timestamp;
    let made = format!(
        "{:04}-{:02}-{:02} {:02}:{:02}:{:02}",
        time.year + 1900,
        time.month + 1,
        time.day,
        time.hour,
        time.minute,
        time.second
    );
    let entries = meta.entries.clone();
    let found = Found { rows: found, announced: Vec::new() };
    let head = Head { form, made: Some(made), source, standard };
    assemble(head, declared, entries, found, File::Toc(toc))
}

/// The columns that the first row of an entry lists, if it does.
fn listed(toc: &Toc, entry: &Entry) -> Result<Option<Vec<String>>, DumpFileError> {
    /// What names of a table and its columns take at most.
    const NAMES: u64 = 1 << 20;
    let Some(input) = toc.data(entry)? else { return Ok(None) };
    let mut head = Vec::new();
    // What is damaged is told when the rows are read.
    _ = std::io::Read::read_to_end(&mut std::io::Read::take(input, NAMES), &mut head);
    let end = memchr::memmem::find(&head, b" VALUES").unwrap_or(0);
    let head = String::from_utf8_lossy(head.get(..end).unwrap_or_default()).into_owned();
    let found = head.trim_start().strip_prefix("INSERT INTO ").map(names::target).transpose()?;
    Ok(found.and_then(|(target, _)| target.columns))
}

fn resolve(
    declarations: &Declarations,
    schema: Option<&str>,
    table: &str,
) -> Result<Name, DumpFileError> {
    let schema = schema.filter(|schema| !schema.is_empty());
    declarations.resolve_table(schema, table).ok_or_else(|| {
        let name = Name::new(schema.unwrap_or_default(), table);
        DumpFileError::Partial(format!(
            "there are rows of {name}, and the table is not declared (a dump made with --data-only, \
             or a table of an extension)"
        ))
    })
}

fn source(declared: &Declared, server: &str, pg_dump: &str, database: String) -> Source {
    let facts = declared.database.clone().unwrap_or_default();
    let encoding = declared.client_encoding.clone().unwrap_or_default();
    Source {
        server_version: server.to_owned(),
        server_version_num: version_number(server),
        database,
        encoding: facts.encoding.unwrap_or(encoding),
        collate: facts.collate.unwrap_or_default(),
        ctype: facts.ctype.unwrap_or_default(),
        locale_provider: facts.provider,
        locale: facts.locale,
        pg_dump_version: format!("pg_dump (PostgreSQL) {pg_dump}"),
        ..Source::default()
    }
}

/// What a dump says of itself.
struct Head {
    form: &'static str,
    made: Option<String>,
    source: Source,
    standard: bool,
}

/// Rows that were found: their number in the file, table, form, and columns.
struct Found {
    rows: Vec<(usize, Name, Form, Option<Vec<String>>)>,
    /// Tables of which there may be none.
    announced: Vec<Name>,
}

fn assemble(
    head: Head,
    mut declared: Declared,
    entries: Vec<Entry>,
    found: Found,
    file: File,
) -> Result<Dump, DumpFileError> {
    let Head { form, made, source, standard } = head;
    let encoding = declared.client_encoding.as_deref().unwrap_or("UTF8");
    if !matches!(encoding.to_ascii_uppercase().as_str(), "UTF8" | "SQL_ASCII") {
        return Err(DumpFileError::Unsupported(format!(
            "it is encoded in {encoding}: dump with pg_dump --encoding=UTF8"
        )));
    }
    let mut rows: BTreeMap<Name, Rows> = BTreeMap::new();
    for (at, name, form, columns) in found.rows {
        if let Some(columns) = columns.or_else(|| (form == Form::Copy).then(Vec::new)) {
            declared.set_order(&name, &columns)?;
        }
        let table = declared.tables.iter().find(|table| table.name == name);
        let table = table.ok_or_else(|| {
            DumpFileError::Partial(format!("there are rows of {name}, which is no table"))
        })?;
        if table.kind == TableKind::Partitioned {
            return Err(DumpFileError::Unsupported(format!(
                "rows of the partitions of {name} are written as rows of {name}: dump without \
                 --load-via-partition-root"
            )));
        }
        let shape = Shape::of(table, standard);
        if rows.insert(name.clone(), Rows { at, form, shape }).is_some() {
            return Err(DumpFileError::Rows {
                table: name.to_string(),
                what: "they are there twice".into(),
            });
        }
    }
    let there = |name: &Name| rows.contains_key(name) || found.announced.contains(name);
    let missing: Vec<String> = declared
        .tables
        .iter()
        .filter(|table| table.kind != TableKind::Partitioned && !there(&table.name))
        .map(|table| table.name.to_string())
        .collect();
    if !missing.is_empty() {
        let names = missing.get(..missing.len().min(5)).unwrap_or_default().join(", ");
        let more = missing.len().saturating_sub(5);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        return Err(DumpFileError::Partial(format!(
            "there are no rows of {names}{more}, not even none (a dump made with --schema-only or \
             --exclude-table-data)"
        )));
    }
    let rows = declared.tables.iter().map(|table| rows.remove(&table.name)).collect();
    Ok(Dump { form, made, source, declared, entries, rows, standard, file })
}
