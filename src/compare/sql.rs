//! SQL that brings back into the other database what only the archive holds.
//!
//! Rows come in the order of [`super::order`]; what can only be set when all rows are there is kept
//! in a scratch file until the end. Nothing is ever deleted.

use std::fs::File;
use std::io::{self, BufWriter, Seek, Write};

use super::{CompareError, Comparison, Kind, State, TableComparison};
use crate::format::manifest::{Column, Name, Table};
use crate::format::reader::{Archive, PackCache, ReadError};
use crate::format::rows::{self, BlobRef, Bytea};

/// Longest value that a statement carries: its hex digits have to stay below the server's limit of
/// 1 GB for a query.
const LONGEST: u64 = 500_000_000;

/// What is to be brought back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope {
    /// Lost rows, and every value that has changed.
    All,
    /// Lost rows, and values that are NULL now. What somebody has changed to another value stays.
    Lost,
}

/// Where a row goes.
pub(super) struct Target<'a> {
    /// The table; absent: the large objects.
    pub(super) table: Option<&'a Table>,
    /// The columns of the row's text.
    pub(super) columns: &'a [&'a Column],
    /// Places of the key among them.
    pub(super) key: &'a [usize],
    /// Columns that are set when all rows are there.
    pub(super) late: &'a [String],
}

/// Writes statements.
pub struct Statements<'a> {
    archive: &'a Archive,
    scope: Scope,
    out: &'a mut dyn Write,
    cache: PackCache,
    tail: Option<BufWriter<File>>,
    /// Whether what is put goes to the tail.
    late: bool,
    begun: bool,
    count: u64,
}

impl std::fmt::Debug for Statements<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Statements").field("count", &self.count).finish_non_exhaustive()
    }
}

/// The settings that row text is written under.
const BEGIN: &str = "\
BEGIN;
SET LOCAL standard_conforming_strings = on;
SET LOCAL datestyle = 'ISO';
SET LOCAL intervalstyle = 'postgres';
SET LOCAL timezone = 'UTC';
SET LOCAL lock_timeout = '30s';
";

impl<'a> Statements<'a> {
    /// For what `archive` holds, into `out`.
    pub fn new(archive: &'a Archive, scope: Scope, out: &'a mut dyn Write) -> Self {
        let cache = PackCache::default();
        Self { archive, scope, out, cache, tail: None, late: false, begun: false, count: 0 }
    }

    /// How many statements were written that change something.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// A row that differs.
    pub(super) fn row(
        &mut self,
        target: &Target<'_>,
        kind: Kind,
        here: &[u8],
        there: &[u8],
    ) -> Result<(), CompareError> {
        match (target.table, kind) {
            (_, Kind::OnlyThere) => Ok(()),
            (None, _) => self.large_object(kind, here),
            (Some(table), Kind::OnlyHere) => self.insert(table, target, here),
            (Some(table), Kind::Changed) => self.update(table, target, here, there),
        }
    }

    fn begin(&mut self) -> Result<(), CompareError> {
        if !self.begun {
            self.begun = true;
            let source = &self.archive.manifest().source;
            let encoding = if source.encoding == "SQL_ASCII" { "SQL_ASCII" } else { "UTF8" };
            let head = format!(
                "-- Brings back what the archive of {} has and the database has lost.\n\
                 -- Read it, then run it with: psql -X -v ON_ERROR_STOP=1 -f FILE DATABASE\n\
                 -- It is one transaction and deletes nothing. Triggers act on it as on any change.\n\
                 SET client_encoding = '{encoding}';\n{BEGIN}",
                source.when()
            );
            self.put(head.as_bytes())?;
        }
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), CompareError> {
        match &mut self.tail {
            Some(tail) if self.late => tail.write_all(bytes).map_err(CompareError::Scratch),
            _ => self.out.write_all(bytes).map_err(CompareError::Output),
        }
    }

    /// An `UPDATE` that is run when all rows are there.
    fn set_late(
        &mut self,
        table: &Table,
        target: &Target<'_>,
        fields: &[&[u8]],
        columns: &[usize],
    ) -> Result<(), CompareError> {
        if self.tail.is_none() {
            let file = tempfile::tempfile().map_err(CompareError::Scratch)?;
            self.tail = Some(BufWriter::new(file));
        }
        self.late = true;
        let done = self.set(table, target, fields, columns);
        self.late = false;
        done
    }

    fn insert(
        &mut self,
        table: &Table,
        target: &Target<'_>,
        row: &[u8],
    ) -> Result<(), CompareError> {
        self.begin()?;
        let fields = fields(table, target, row)?;
        let is_late = |at: usize| {
            let column = target.columns.get(at);
            !target.key.is_empty()
                && !target.key.contains(&at)
                && fields.get(at).is_some_and(|field| *field != b"\\N")
                && column
                    .is_some_and(|column| !column.not_null && target.late.contains(&column.name))
        };
        let late: Vec<usize> = (0..fields.len()).filter(|at| is_late(*at)).collect();
        self.put(b"INSERT INTO ")?;
        self.put(&qualified(&table.name))?;
        if target.columns.is_empty() {
            self.put(b" DEFAULT VALUES;\n")?;
            self.count += 1;
            return Ok(());
        }
        let names: Vec<Vec<u8>> = target.columns.iter().map(|column| ident(&column.name)).collect();
        self.put(b" (")?;
        self.put(&names.join(&b", "[..]))?;
        self.put(b")")?;
        if target.columns.iter().any(|column| column.identity) {
            self.put(b" OVERRIDING SYSTEM VALUE")?;
        }
        self.put(b" VALUES (")?;
        for (at, (column, field)) in target.columns.iter().zip(&fields).enumerate() {
            if at > 0 {
                self.put(b", ")?;
            }
            let field = if late.contains(&at) { &b"\\N"[..] } else { field };
            self.value(table, column, field)?;
        }
        self.put(b");\n")?;
        self.count += 1;
        if late.is_empty() {
            return Ok(());
        }
        self.set_late(table, target, &fields, &late)
    }

    fn update(
        &mut self,
        table: &Table,
        target: &Target<'_>,
        here: &[u8],
        there: &[u8],
    ) -> Result<(), CompareError> {
        let (ours, theirs) = (fields(table, target, here)?, fields(table, target, there)?);
        let wanted = |at: &usize| {
            let (ours, theirs) = (ours.get(*at), theirs.get(*at));
            let lost = theirs.is_some_and(|field| *field == b"\\N");
            ours != theirs && (lost || self.scope == Scope::All)
        };
        let columns: Vec<usize> = (0..ours.len()).filter(wanted).collect();
        if columns.is_empty() {
            return Ok(());
        }
        self.begin()?;
        let is_late = |at: &usize| {
            target.columns.get(*at).is_some_and(|column| target.late.contains(&column.name))
        };
        let (late, now): (Vec<usize>, Vec<usize>) = columns.into_iter().partition(is_late);
        if !now.is_empty() {
            self.set(table, target, &ours, &now)?;
        }
        if late.is_empty() {
            return Ok(());
        }
        self.set_late(table, target, &ours, &late)
    }

    /// `UPDATE ... SET` these columns `WHERE` the key is that of the row.
    fn set(
        &mut self,
        table: &Table,
        target: &Target<'_>,
        fields: &[&[u8]],
        columns: &[usize],
    ) -> Result<(), CompareError> {
        self.put(b"UPDATE ONLY ")?;
        self.put(&qualified(&table.name))?;
        self.put(b" SET ")?;
        self.equations(table, target, fields, columns, b", ")?;
        self.put(b" WHERE ")?;
        self.equations(table, target, fields, target.key, b" AND ")?;
        self.put(b";\n")?;
        self.count += 1;
        Ok(())
    }

    fn equations(
        &mut self,
        table: &Table,
        target: &Target<'_>,
        fields: &[&[u8]],
        columns: &[usize],
        between: &[u8],
    ) -> Result<(), CompareError> {
        for (place, at) in columns.iter().enumerate() {
            let Some((column, field)) = target.columns.get(*at).zip(fields.get(*at)) else {
                continue;
            };
            if place > 0 {
                self.put(between)?;
            }
            self.put(&ident(&column.name))?;
            self.put(b" = ")?;
            self.value(table, column, field)?;
        }
        Ok(())
    }

    fn value(&mut self, table: &Table, column: &Column, field: &[u8]) -> Result<(), CompareError> {
        let wrong = |problem: String| CompareError::Row { table: table.name.to_string(), problem };
        if !column.is_bytea() {
            let value = rows::unescape(field).map_err(|error| wrong(error.to_string()))?;
            return match value {
                None => self.put(b"NULL"),
                Some(value) => self.put(&literal(&value)),
            };
        }
        match rows::bytea(field).map_err(|error| wrong(error.to_string()))? {
            None => self.put(b"NULL"),
            Some(value) => self.bytes(&value, &table.name.to_string(), &column.name),
        }
    }

    /// A `bytea` literal. A blob goes through piece by piece.
    fn bytes(&mut self, value: &Bytea, table: &str, column: &str) -> Result<(), CompareError> {
        self.put(b"E'\\\\x")?;
        match value {
            Bytea::Inline(bytes) => self.put(&hex(bytes))?,
            Bytea::Blob(blob) if blob.length > LONGEST => {
                let (table, column) = (table.to_owned(), column.to_owned());
                return Err(CompareError::TooLong { table, column, bytes: blob.length });
            }
            Bytea::Blob(blob) => self.blob(*blob)?,
        }
        self.put(b"'")
    }

    fn blob(&mut self, blob: BlobRef) -> Result<(), CompareError> {
        let out: &mut dyn Write = match &mut self.tail {
            Some(tail) if self.late => tail,
            _ => self.out,
        };
        let mut failed = None;
        let read = self.archive.blob(blob, &mut self.cache, &mut |bytes| {
            for run in bytes.chunks(64 << 10) {
                if let Err(error) = out.write_all(&hex(run)) {
                    failed = Some(error);
                    return Err(ReadError::Sink("stopped".into()));
                }
            }
            Ok(())
        });
        match failed {
            Some(error) => Err(CompareError::Output(error)),
            None => Ok(read?),
        }
    }

    fn large_object(&mut self, kind: Kind, row: &[u8]) -> Result<(), CompareError> {
        self.begin()?;
        let wrong = || CompareError::Row {
            table: "large objects".into(),
            problem: "it does not have five fields".into(),
        };
        let fields: Vec<&[u8]> = rows::fields(row).collect();
        let [oid, owner, acl, comment, data] = fields.as_slice() else { return Err(wrong()) };
        let oid = std::str::from_utf8(oid).ok().and_then(|oid| oid.parse::<u32>().ok());
        let oid = oid.ok_or_else(wrong)?;
        if kind == Kind::Changed {
            let note = format!(
                "-- Large object {oid} is another than in the archive; it is left as it is.\n"
            );
            return self.put(note.as_bytes());
        }
        let text =
            |field: &[u8]| rows::unescape(field).ok().flatten().map(std::borrow::Cow::into_owned);
        self.put(format!("SELECT pg_catalog.lo_from_bytea({oid}, ").as_bytes())?;
        match rows::bytea(data).map_err(|_| wrong())? {
            None => self.put(b"''")?,
            Some(value) => self.bytes(&value, "large objects", "data")?,
        }
        self.put(b");\n")?;
        self.count += 1;
        if let Some(owner) = text(owner) {
            let owner = ident(&String::from_utf8_lossy(&owner));
            self.put(format!("ALTER LARGE OBJECT {oid} OWNER TO ").as_bytes())?;
            self.put(&owner)?;
            self.put(b";\n")?;
        }
        if let Some(comment) = text(comment) {
            self.put(format!("COMMENT ON LARGE OBJECT {oid} IS ").as_bytes())?;
            self.put(&literal(&comment))?;
            self.put(b";\n")?;
        }
        if let Some(acl) = text(acl) {
            let acl = one_line(&String::from_utf8_lossy(&acl));
            self.put(format!("-- Its privileges were {acl}\n").as_bytes())?;
        }
        Ok(())
    }

    /// Sequences that are behind, what cannot be brought back here, and the end.
    pub(super) fn finish(&mut self, comparison: &Comparison) -> Result<(), CompareError> {
        if let Some(tail) = self.tail.take() {
            let scratch = CompareError::Scratch;
            let mut tail = tail.into_inner().map_err(|error| scratch(error.into_error()))?;
            tail.rewind().map_err(scratch)?;
            io::copy(&mut tail, self.out).map_err(CompareError::Output)?;
        }
        for sequence in comparison.sequences.iter().filter(|sequence| sequence.behind) {
            let Some(value) = sequence.here else { continue };
            self.begin()?;
            self.put(b"SELECT pg_catalog.setval(")?;
            self.put(&literal(&qualified(&sequence.name)))?;
            let (last, called) = (value.last_value, value.is_called);
            self.put(format!(", {last}, {called});\n").as_bytes())?;
            self.count += 1;
        }
        if self.begun {
            self.put(b"COMMIT;\n")?;
        }
        for table in comparison.tables.iter().filter(|table| out_of_reach(table)) {
            let name = one_line(&table.name.to_string());
            let why = if table.other_kind { "is of another kind there" } else { "is not there" };
            self.put(format!("-- Table {name} {why}: its rows are not among these.\n").as_bytes())?;
        }
        for table in &comparison.tables {
            for column in table.columns.iter().filter(|column| column.state == State::OnlyHere) {
                let name = one_line(&format!("{}.{}", table.name, column.name));
                self.put(
                    format!("-- Column {name} is not there: its values are not among these.\n")
                        .as_bytes(),
                )?;
            }
        }
        if self.count == 0 {
            self.put(b"-- Nothing that statements could bring back.\n")?;
        }
        self.out.flush().map_err(CompareError::Output)
    }
}

fn out_of_reach(table: &TableComparison) -> bool {
    table.other_kind || table.state == State::OnlyHere
}

fn fields<'r>(
    table: &Table,
    target: &Target<'_>,
    row: &'r [u8],
) -> Result<Vec<&'r [u8]>, CompareError> {
    if target.columns.is_empty() {
        return Ok(Vec::new());
    }
    let fields: Vec<&[u8]> = rows::fields(row).collect();
    if fields.len() == target.columns.len() {
        return Ok(fields);
    }
    Err(CompareError::Row {
        table: table.name.to_string(),
        problem: format!("a row has {} fields of {}", fields.len(), target.columns.len()),
    })
}

/// No line of a comment is ended by a name, so that what follows is no statement.
fn one_line(text: &str) -> String {
    text.replace(char::is_control, " ")
}

fn qualified(name: &Name) -> Vec<u8> {
    [ident(&name.schema), ident(&name.name)].join(&b'.')
}

fn ident(name: &str) -> Vec<u8> {
    format!("\"{}\"", name.replace('"', "\"\"")).into_bytes()
}

/// A string literal that means the same whatever `standard_conforming_strings` is. Bytes are not
/// looked at: those of a database without encoding pass through.
fn literal(value: &[u8]) -> Vec<u8> {
    let escaped = value.contains(&b'\\');
    let mut out = Vec::with_capacity(value.len() + 4);
    out.extend_from_slice(if escaped { b"E'" } else { b"'" });
    for byte in value {
        if matches!(byte, b'\'' | b'\\') {
            out.push(*byte);
        }
        out.push(*byte);
    }
    out.push(b'\'');
    out
}

fn hex(bytes: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().unwrap_or(b'0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}
