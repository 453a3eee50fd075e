//! A dump, taken apart: its schema, its catalog, and where the rows of each table are.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use libpgdump::{Entry, ObjectType};

use super::contents::Contents;
use super::ddl::{
    Declarations, Declared, LargeObject, Piece, Session, large_object, session_authorization,
    statements,
};
use super::encoding::Encoding;
use super::error::DumpFileError;
use super::input::{self, Input};
use super::large::{Facts, LargeObjects, Written};
use super::names;
use super::plain::{Plain, Stretch};
use super::reader::{Form, Runs, Shape};
use super::scan::scan;
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
    /// OID, provider and label of large objects that have one.
    pub labels: Vec<(u32, String, String)>,
    /// Of each table in `declared`, where its rows are.
    rows: Vec<Option<Rows>>,
    large_objects: LargeObjects,
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
    encoding: Encoding,
}

/// A run of rows, to be made a batch of: by any thread.
pub struct Run {
    bytes: Vec<u8>,
    form: Form,
    shape: Shape,
    encoding: Encoding,
    /// Lines of the table's rows before it.
    lines: usize,
}

impl Run {
    /// Bytes of it in the dump.
    pub fn length(&self) -> usize {
        self.bytes.len()
    }

    /// A batch of it. An error says which row is none of the table, or has a byte that is no
    /// character.
    pub fn batch(self, builder: BatchBuilder) -> Result<Batch, String> {
        let bytes = match self.encoding.decode(self.bytes) {
            Ok(bytes) => bytes,
            Err((bytes, wrong)) => {
                let before = bytes.get(..wrong.at).unwrap_or_default();
                let line = self.lines + line_ends(before) + 1;
                return Err(format!("line {line} of them has {wrong}"));
            }
        };
        self.shape.batch(self.form, bytes, builder)
    }
}

impl std::fmt::Debug for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Run").field("length", &self.length()).finish_non_exhaustive()
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
            Input::Plain(input, file) => of_plain(scan(path, input, file, spool, read)?),
            Input::Custom(file) => of_toc("custom", Toc::custom(path, file)?),
            Input::Tar(file) => of_toc("tar", Toc::tar(path, file)?),
            Input::Directory => of_toc("directory", Toc::directory(path)?),
        }
    }

    /// Gives the rows of a table, run by run. None are given if the dump has none for it.
    ///
    /// # Errors
    /// [`Stop`]: the dump is not whole, or `each` wanted it.
    pub fn rows(
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
                let input = stretch.map(|stretch| plain.read(stretch.place)).transpose();
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
        let Rows { form, encoding, .. } = *rows;
        let mut lines = 0;
        while let Some(bytes) = runs.next().map_err(&wrong)? {
            let more = if encoding.converts() { line_ends(&bytes) } else { 0 };
            each(Run { bytes, form, shape: rows.shape.clone(), encoding, lines })?;
            lines += more;
        }
        Ok(())
    }

    /// Its large objects in the order of their OIDs, without their bytes; none if it has none.
    pub fn large_objects(&self) -> Option<impl Iterator<Item = Facts>> {
        (!self.large_objects.is_empty()).then(|| self.large_objects.iter())
    }

    /// The bytes of a large object. They have to be read to their end, where they are proven whole.
    ///
    /// # Errors
    /// [`DumpFileError::LargeObject`]: they are missing.
    pub fn large_object(&self, facts: &Facts) -> Result<Box<dyn Read + '_>, DumpFileError> {
        match &self.file {
            File::Toc(toc) => toc.large_object(facts.oid, facts.place),
            File::Plain(plain) => {
                let statements = plain.read(facts.place);
                let wrong = |error: std::io::Error| {
                    DumpFileError::large_object(facts.oid, error.to_string())
                };
                Ok(Box::new(Written::new(statements.map_err(wrong)?, self.standard)))
            }
        }
    }
}

fn line_ends(bytes: &[u8]) -> usize {
    memchr::memchr_iter(b'\n', bytes).count()
}

/// Why giving rows stopped.
#[derive(Debug)]
pub enum Stop {
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

fn of_plain(mut plain: Plain) -> Result<Dump, DumpFileError> {
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
    for (at, Stretch { target, of, form, encoding, .. }) in plain.rows.iter().enumerate() {
        let mut table = resolve(&declarations, target.schema.as_deref(), &target.table)?;
        // Rows of a partition that are loaded by way of its root.
        if let Some((schema, name)) = of
            && let Some(named) = declarations.resolve_table(Some(schema), name)
            && declarations.is_partition_within(&named, &table)
        {
            table = named;
        }
        let (form, columns, encoding) = (*form, target.columns.clone(), *encoding);
        found.push(Found { at, table, form, columns, encoding });
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
    let parts = Parts {
        declared,
        entries: std::mem::take(&mut plain.entries),
        rows: found,
        announced,
        large_objects: std::mem::take(&mut plain.large_objects),
        encoding: plain.encoding,
    };
    assemble(Head { form: "plain", made, source, standard }, parts, File::Plain(plain))
}

fn of_toc(form: &'static str, mut toc: Toc) -> Result<Dump, DumpFileError> {
    let Contents { encoding, ref versions, .. } = toc.contents;
    let mut declarations = Declarations::new();
    declarations.set_server_version(version_number(&versions.0));
    let mut standard = true;
    let mut found = Vec::new();
    let mut large_objects = LargeObjects::default();
    let mut kept = 0;
    for entry in &toc.contents.entries {
        if of_large_objects(entry) {
            about_large_objects(&toc, entry, standard, &mut large_objects)?;
            continue;
        }
        let at = kept;
        kept += 1;
        let sql = entry.defn.as_deref().unwrap_or_default();
        if entry.desc == ObjectType::TableData {
            let copy = entry.copy_stmt.as_deref().unwrap_or_default();
            let (form, columns) = match copy.strip_prefix("COPY ") {
                Some(rest) => (Form::Copy, names::target(rest)?.0.columns),
                None => (Form::Insert, listed(&toc, entry)?),
            };
            let table = entry.tag.as_deref().unwrap_or_default();
            let table = resolve(&declarations, entry.namespace.as_deref(), table)?;
            // A table has an entry for its rows even if the dump was made without them.
            if !entry.had_dumper {
                return Err(DumpFileError::Partial(format!("rows of {table} were left out")));
            }
            found.push(Found { at, table, form, columns, encoding });
        } else {
            for piece in statements(sql) {
                let Piece::Statement(statement) = piece? else { continue };
                if let Some(on) = super::ddl::standard_strings(statement) {
                    standard = on;
                }
                declarations.statement(statement)?;
            }
        }
    }
    toc.large_objects(|oid, place| large_objects.data(oid, place))?;
    let declared = declarations.finish()?;
    let Contents { database, versions: (server, pg_dump), .. } = &toc.contents;
    let source = source(&declared, server, pg_dump, database.clone());
    let made = Some(toc.contents.made.clone());
    let mut entries = std::mem::take(&mut toc.contents.entries);
    entries.retain(|entry| !of_large_objects(entry));
    let known = |entry: &&mut Entry| entry.desc == ObjectType::Encoding;
    if let Some(entry) = entries.iter_mut().find(known).filter(|_| encoding.converts()) {
        // Which is what the text becomes.
        entry.defn = Some("SET client_encoding = 'UTF8';\n".into());
    }
    let parts =
        Parts { declared, entries, rows: found, announced: Vec::new(), large_objects, encoding };
    assemble(Head { form, made, source, standard }, parts, File::Toc(toc))
}

/// Whether an entry is of large objects: they are rows in an archive, not a part of the schema.
fn of_large_objects(entry: &Entry) -> bool {
    let tag = entry.tag.as_deref().unwrap_or_default();
    match &entry.desc {
        ObjectType::Blob | ObjectType::BlobMetadata | ObjectType::Blobs => true,
        ObjectType::Acl | ObjectType::Comment | ObjectType::SecurityLabel => {
            tag.starts_with("LARGE OBJECT ") || tag.starts_with("LARGE OBJECTS ")
        }
        _ => false,
    }
}

/// Takes in what such an entry says.
fn about_large_objects(
    toc: &Toc,
    entry: &Entry,
    standard: bool,
    objects: &mut LargeObjects,
) -> Result<(), DumpFileError> {
    let text = entry.defn.as_deref().unwrap_or_default();
    match &entry.desc {
        ObjectType::Blobs => return Ok(()),
        ObjectType::Blob | ObjectType::BlobMetadata => {
            for oid in oids(entry)? {
                objects.create(oid, entry.owner.as_deref())?;
            }
            return Ok(());
        }
        _ => {}
    }
    // Since version 17 privileges that several have are there once, for the first of them.
    let tag = entry.tag.as_deref().unwrap_or_default();
    let group = if tag.starts_with("LARGE OBJECTS ") { group(toc, entry)? } else { Vec::new() };
    for piece in statements(text) {
        let Piece::Statement(statement) = piece? else { continue };
        if let Some(role) = session_authorization(statement, standard)? {
            objects.session(role);
            continue;
        }
        let said = large_object(statement, standard)?;
        let said = said.ok_or_else(|| {
            let shown: String = statement.trim().chars().take(80).collect();
            DumpFileError::Unsupported(format!("{tag}: {shown:?} is not understood"))
        })?;
        match (said, group.first()) {
            (LargeObject::Change(oid, change), Some(first)) if *first == oid => {
                for oid in &group {
                    objects.change(*oid, &change)?;
                }
            }
            (said, _) => objects.said(said)?,
        }
    }
    objects.session(Session::Own);
    Ok(())
}

/// The OIDs of the group that privileges are of: declared by the entry that theirs depends on.
fn group(toc: &Toc, entry: &Entry) -> Result<Vec<u32>, DumpFileError> {
    let metadata =
        toc.contents.entries.iter().find(|it| {
            it.desc == ObjectType::BlobMetadata && entry.dependencies.contains(&it.dump_id)
        });
    let group = metadata.map_or(Ok(Vec::new()), oids)?;
    if group.is_empty() {
        let tag = entry.tag.as_deref().unwrap_or_default();
        let what = format!("privileges of {tag}: of which is not said");
        return Err(DumpFileError::Unsupported(what));
    }
    Ok(group)
}

/// The OIDs that an entry declares: its name, or since version 17 the lines of its definition.
fn oids(entry: &Entry) -> Result<Vec<u32>, DumpFileError> {
    let text = match &entry.desc {
        ObjectType::Blob => entry.tag.as_deref(),
        _ => entry.defn.as_deref(),
    };
    let text = text.unwrap_or_default();
    let oid = |line: &str| line.parse().ok().filter(|oid| *oid > 0);
    text.lines().map(oid).collect::<Option<_>>().ok_or_else(|| {
        let shown: String = text.chars().take(40).collect();
        DumpFileError::Unsupported(format!("{shown:?} is the OID of no large object"))
    })
}

/// The columns that the first row of an entry lists, if it does.
fn listed(toc: &Toc, entry: &Entry) -> Result<Option<Vec<String>>, DumpFileError> {
    /// What names of a table and its columns take at most.
    const NAMES: u64 = 1 << 20;
    let Some(input) = toc.data(entry)? else { return Ok(None) };
    let mut head = Vec::new();
    // What is damaged is told when the rows are read.
    _ = input.take(NAMES).read_to_end(&mut head);
    let end = memchr::memmem::find(&head, b" VALUES").unwrap_or(0);
    head.truncate(end);
    let head = toc.contents.encoding.text(head).unwrap_or_default();
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

/// Rows that were found.
struct Found {
    /// Their number in the file.
    at: usize,
    table: Name,
    form: Form,
    columns: Option<Vec<String>>,
    encoding: Encoding,
}

/// What a dump is put together of.
struct Parts {
    declared: Declared,
    entries: Vec<Entry>,
    rows: Vec<Found>,
    /// Tables of which there may be none.
    announced: Vec<Name>,
    large_objects: LargeObjects,
    encoding: Encoding,
}

fn assemble(head: Head, parts: Parts, file: File) -> Result<Dump, DumpFileError> {
    let Head { form, made, source, standard } = head;
    let Parts { mut declared, entries, rows: found, announced, mut large_objects, encoding } =
        parts;
    // A server gives the bytes of such a database as they are, whatever it is asked for.
    if let (Some(name), "SQL_ASCII") = (encoding.name(), source.encoding.as_str()) {
        return Err(DumpFileError::Unsupported(format!(
            "its database knows no encoding (SQL_ASCII), and it says {name}: dump with pg_dump \
             --encoding=SQL_ASCII"
        )));
    }
    large_objects.check()?;
    let mut rows: BTreeMap<Name, Rows> = BTreeMap::new();
    for Found { at, table: name, form, columns, encoding } in found {
        if let Some(columns) = columns.or_else(|| (form == Form::Copy).then(Vec::new)) {
            declared.set_order(&name, &columns)?;
        }
        let table = declared.tables.iter().find(|table| table.name == name);
        let table = table.ok_or_else(|| {
            DumpFileError::Partial(format!("there are rows of {name}, which is no table"))
        })?;
        if table.kind == TableKind::Partitioned {
            return Err(DumpFileError::Unsupported(format!(
                "there are rows of {name}, and no comment of pg_dump says of which of its partitions \
                 they are: dump without --load-via-partition-root"
            )));
        }
        let shape = Shape::of(table, standard);
        if rows.insert(name.clone(), Rows { at, form, shape, encoding }).is_some() {
            return Err(DumpFileError::Rows {
                table: name.to_string(),
                what: "they are there twice".into(),
            });
        }
    }
    let there = |name: &Name| rows.contains_key(name) || announced.contains(name);
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
    let labels = large_objects.take_labels();
    Ok(Dump { form, made, source, declared, entries, labels, rows, large_objects, standard, file })
}
