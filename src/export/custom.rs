//! Out of an archive in `pg_dump`'s custom format, for `pg_restore`.
//!
//! Version 1.14 of that format, which every `pg_restore` since version 12 reads; data is not
//! compressed and its places are left open, as `pg_dump` does where it cannot seek. Every block of
//! data that there must be is in the table of contents, and a block gets its end only when its rows
//! are proven: so `pg_restore` fails on a file that was cut off or ended by an error.
//!
//! Memory is bounded as for SQL. The table of contents is written piece by piece; large objects,
//! each of which has an entry there, are gone through three times.

use std::collections::HashMap;
use std::io::{self, Write};

use super::acl::grants;
use super::rows::{Stop, copy_statement};
use super::toc::{Entry, too_much};
use super::{
    ExportError, ExportOptions, ExportReport, Out, RowProblem, Writer, check, is_large_object,
};
use crate::format::digest::RowSum;
use crate::format::manifest::{Manifest, SchemaObject, Source, Table, TableKind};
use crate::format::reader::{Archive, Section};
use crate::format::rows::{self, Bytea};
use crate::format::sql::{ident, literal, qualified};
use crate::progress::{Phase, Progress, Quiet};

/// The sections of the format.
const NONE: i32 = 1;
const PRE_DATA: i32 = 2;
const DATA: i32 = 3;
const POST_DATA: i32 = 4;

/// Kinds of blocks.
const BLOCK_DATA: u8 = 1;
const BLOCK_BLOBS: u8 = 3;

const LARGE_OBJECTS: &str = "the large objects";

/// Writes the whole database for `pg_restore`. After an error `out` has got no end that
/// `pg_restore` would accept.
///
/// # Errors
/// See [`ExportError`]. [`ExportError::TooLong`] where a row is longer than the options' limit: the
/// format has no other way for it.
pub fn run(
    archive: &Archive,
    options: &ExportOptions,
    out: &mut dyn Write,
    progress: &dyn Progress,
) -> Result<ExportReport, ExportError> {
    let mut writer = Writer::new(archive, options, out, progress);
    writer.dump()?;
    let mut report = writer.report;
    report.bytes = writer.out.bytes;
    Ok(report)
}

/// What a large object's row says.
struct LargeObject {
    oid: u32,
    owner: String,
    /// The statements that grant what its list of privileges says.
    privileges: Option<String>,
    comment: Option<String>,
    data: Bytea,
}

fn raw(out: &mut Out<'_>, bytes: &[u8]) -> Result<(), ExportError> {
    out.put(bytes)
}

impl Writer<'_> {
    fn dump(&mut self) -> Result<(), ExportError> {
        let archive = self.archive;
        let manifest = archive.manifest();
        let sql = |section, what: &str| {
            let read = |source| ExportError::Read { what: what.to_owned(), source };
            archive.schema_sql(section).map_err(read)
        };
        let pre = sql(Section::PreData, "the schema before the rows")?;
        let post = sql(Section::PostData, "the schema after the rows")?;
        check::objects(&pre, &manifest.schema.pre_data)?;
        check::objects(&post, &manifest.schema.post_data)?;

        let data =
            manifest.tables.iter().filter_map(|table| table.data).chain(manifest.large_objects);
        let (rows, bytes) = data.fold((0_u64, 0_u64), |(rows, bytes), data| {
            let more = data.bytes.saturating_add(data.blob_bytes);
            (rows.saturating_add(data.rows), bytes.saturating_add(more))
        });
        self.progress.begin(Phase::Export, rows, bytes);
        self.out.put(b"PGDMP\x01\x0e\x00\x04\x08\x01")?;
        self.out.int(0)?;
        for field in broken_down(manifest.created) {
            self.out.int(field)?;
        }
        self.out.string(manifest.source.database.as_bytes())?;
        self.out.string(manifest.source.server_version.as_bytes())?;
        self.out.string(manifest.tool.as_bytes())?;
        let blocks = self.contents(manifest, &pre, &post)?;

        for (table, id) in with_rows(manifest).zip(blocks.tables) {
            self.table_block(table, id)?;
        }
        if let Some(id) = blocks.large_objects {
            self.large_object_blocks(id)?;
        }
        self.out.inner.flush().map_err(ExportError::Write)
    }

    /// The table of contents.
    fn contents(
        &mut self,
        manifest: &Manifest,
        pre: &[u8],
        post: &[u8],
    ) -> Result<Blocks, ExportError> {
        let objects = || manifest.schema.pre_data.iter().filter(|object| is_ours(object));
        let after: Vec<&SchemaObject> =
            manifest.schema.post_data.iter().filter(|object| is_ours(object)).collect();
        // Four that are always there, and one for the data of all large objects.
        let mut count = 4 + objects().count() + after.len() + manifest.sequences.len();
        count += with_rows(manifest).count() + extension_rows(manifest).count();
        count += usize::from(manifest.large_objects.is_some());
        let mut count = i32::try_from(count).map_err(|_| too_much())?;
        self.each_large_object(true, |_, object| {
            let more = 1 + i32::from(object.privileges.is_some());
            count = count
                .checked_add(more + i32::from(object.comment.is_some()))
                .ok_or_else(too_much)?;
            Ok(())
        })?;
        self.out.int(count)?;

        let mut next = 1;
        let settings = settings(&manifest.source);
        for (kind, sql) in &settings {
            let name = manifest.source.database.as_str();
            let database = *kind == "DATABASE";
            let drop =
                if database { format!("DROP DATABASE {};\n", ident(name)) } else { String::new() };
            let tag = if database { name } else { kind };
            let definition = sql.as_bytes();
            let section = PRE_DATA;
            let entry = Entry { kind, tag, section, definition, drop: &drop, ..Entry::default() };
            self.out.entry(&mut next, &entry)?;
        }
        let mut tables = HashMap::new();
        for object in objects() {
            let id = self.object_entry(&mut next, pre, object, PRE_DATA, &[])?;
            if object.kind == "TABLE" {
                tables.insert((object.schema.as_deref(), object.name.as_str()), id);
            }
        }
        for table in extension_rows(manifest) {
            let condition = table.condition.as_deref().unwrap_or_default();
            check::sql(condition.as_bytes()).map_err(|problem| ExportError::Object {
                kind: "EXTENSION CONFIGURATION".into(),
                name: table.name.to_string(),
                problem,
            })?;
            let sql = format!("DELETE FROM ONLY {} {condition};\n", qualified(&table.name));
            let entry = Entry {
                kind: "EXTENSION CONFIGURATION",
                tag: &table.name.name,
                schema: &table.name.schema,
                section: DATA,
                definition: sql.as_bytes(),
                ..Entry::default()
            };
            let id = self.out.entry(&mut next, &entry)?;
            tables.insert((Some(table.name.schema.as_str()), table.name.name.as_str()), id);
        }
        self.large_object_entries(&mut next)?;
        let mut blocks = Blocks::default();
        let mut all_data = Vec::new();
        for table in with_rows(manifest) {
            let name = (Some(table.name.schema.as_str()), table.name.name.as_str());
            let needs: Vec<i32> = tables.get(&name).copied().into_iter().collect();
            let entry = Entry {
                kind: "TABLE DATA",
                tag: &table.name.name,
                schema: &table.name.schema,
                section: DATA,
                copy: &copy_statement(table),
                needs: &needs,
                data: true,
                ..Entry::default()
            };
            blocks.tables.push(self.out.entry(&mut next, &entry)?);
        }
        all_data.extend_from_slice(&blocks.tables);
        if manifest.large_objects.is_some() {
            let (kind, tag) = ("BLOBS", "BLOBS");
            let entry = Entry { kind, tag, section: DATA, data: true, ..Entry::default() };
            let id = self.out.entry(&mut next, &entry)?;
            blocks.large_objects = Some(id);
            all_data.push(id);
        }
        for sequence in &manifest.sequences {
            let name = literal(&qualified(&sequence.name));
            let (value, called) = (sequence.last_value, sequence.is_called);
            let sql = format!("SELECT pg_catalog.setval({name}, {value}, {called});\n");
            let entry = Entry {
                kind: "SEQUENCE SET",
                tag: &sequence.name.name,
                schema: &sequence.name.schema,
                section: DATA,
                definition: sql.as_bytes(),
                ..Entry::default()
            };
            all_data.push(self.out.entry(&mut next, &entry)?);
            self.report.sequences += 1;
        }
        self.after(&mut next, post, &after, all_data)?;
        // A count that is not that of the entries makes a file that nobody can read.
        if next.checked_sub(1) == Some(count) { Ok(blocks) } else { Err(too_much()) }
    }

    /// What comes after the rows, with what several sessions of `pg_restore` must wait for: the
    /// first for all data, indexes and keys that follow each other for what is in front of them,
    /// all else for all before it. The archive does not know more of what depends on what.
    fn after(
        &mut self,
        next: &mut i32,
        sql: &[u8],
        objects: &[&SchemaObject],
        all_data: Vec<i32>,
    ) -> Result<(), ExportError> {
        let (mut since, mut barrier) = (all_data, None);
        for object in objects {
            let together = matches!(object.kind.as_str(), "INDEX" | "CONSTRAINT");
            if let (true, Some(barrier)) = (together, barrier) {
                since.push(self.object_entry(next, sql, object, POST_DATA, &[barrier])?);
                continue;
            }
            since.extend(barrier);
            let id = self.object_entry(next, sql, object, POST_DATA, &since)?;
            since.clear();
            barrier = Some(id);
        }
        Ok(())
    }

    fn object_entry(
        &mut self,
        next: &mut i32,
        sql: &[u8],
        object: &SchemaObject,
        section: i32,
        needs: &[i32],
    ) -> Result<i32, ExportError> {
        self.interrupted()?;
        let whole = without_heading(check::slice(sql, object).unwrap_or_default());
        let drop = object.drop.as_ref().map(|drop| format!("{drop}\n")).unwrap_or_default();
        // pg_restore sets the owner itself, or does not where somebody asked for that.
        let stripped = object
            .owner
            .as_deref()
            .filter(|_| !drop.is_empty())
            .and_then(|owner| Some((without_owner(whole, owner)?, owner)));
        let (definition, owner) = stripped.unwrap_or((whole, ""));
        let (definition, drop) =
            (self.for_any_server(definition), self.for_any_server(drop.as_bytes()));
        let entry = Entry {
            kind: &object.kind,
            tag: &object.name,
            schema: object.schema.as_deref().unwrap_or_default(),
            section,
            definition: &definition,
            drop: &String::from_utf8_lossy(&drop),
            owner,
            needs,
            ..Entry::default()
        };
        self.out.entry(next, &entry)
    }

    fn table_block(&mut self, table: &Table, id: i32) -> Result<(), ExportError> {
        let Some(data) = table.data else { return Ok(()) };
        let columns: Vec<_> = table.stored_columns().collect();
        let shown = table.name.to_string();
        self.progress.on(&shown);
        self.out.put(&[BLOCK_DATA])?;
        self.out.int(id)?;
        self.out.begin_block();
        let mut sum = RowSum::default();
        let mut number = 0_u64;
        self.each_row(&shown, data, &mut sum, |writer, row| {
            number += 1;
            if super::rows::check(&columns, row)? > writer.options.line_limit {
                return Err(Stop::Other(ExportError::TooLong {
                    table: shown.clone(),
                    row: number,
                }));
            }
            writer.row(&columns, row)
        })?;
        if sum.rows != data.rows || sum.digest() != data.digest {
            return Err(ExportError::Rows(shown));
        }
        self.out.put(b"\\.\n\n\n")?;
        self.out.end_block()?;
        self.report.tables += 1;
        self.report.rows += data.rows;
        Ok(())
    }

    fn large_object_entries(&mut self, next: &mut i32) -> Result<(), ExportError> {
        self.each_large_object(true, |writer, object| {
            let oid = object.oid.to_string();
            let create = format!("SELECT pg_catalog.lo_create('{oid}');\n");
            let drop = format!("SELECT pg_catalog.lo_unlink('{oid}');\n");
            let id = writer.out.entry(
                next,
                &Entry {
                    kind: "BLOB",
                    tag: &oid,
                    section: PRE_DATA,
                    definition: create.as_bytes(),
                    drop: &drop,
                    owner: &object.owner,
                    ..Entry::default()
                },
            )?;
            let comment = object.comment.as_deref().map(literal);
            let comment = comment.map(|text| format!("COMMENT ON LARGE OBJECT {oid} IS {text};\n"));
            for (kind, sql) in [("COMMENT", comment), ("ACL", object.privileges)] {
                let Some(sql) = sql else { continue };
                let entry = Entry {
                    kind,
                    tag: &format!("LARGE OBJECT {oid}"),
                    section: NONE,
                    definition: sql.as_bytes(),
                    owner: &object.owner,
                    needs: &[id],
                    ..Entry::default()
                };
                writer.out.entry(next, &entry)?;
            }
            Ok(())
        })
    }

    fn large_object_blocks(&mut self, id: i32) -> Result<(), ExportError> {
        self.progress.on(LARGE_OBJECTS);
        self.out.put(&[BLOCK_BLOBS])?;
        self.out.int(id)?;
        let mut count = 0;
        self.each_large_object(false, |writer, object| {
            // As an int of C: the upper half is negative.
            writer.out.int(object.oid.cast_signed())?;
            writer.out.begin_block();
            match object.data {
                Bytea::Inline(bytes) => writer.out.put(&bytes)?,
                Bytea::Blob(blob) => writer.blob(blob, raw)?,
            }
            writer.out.end_block()?;
            count += 1;
            Ok(())
        })?;
        self.report.large_objects = count;
        self.out.int(0)
    }

    fn each_large_object(
        &mut self,
        quiet: bool,
        mut each: impl FnMut(&mut Self, LargeObject) -> Result<(), Stop>,
    ) -> Result<(), ExportError> {
        let Some(data) = self.archive.manifest().large_objects else { return Ok(()) };
        let progress = self.progress;
        let silent = Quiet(progress);
        let mut nothing = io::sink();
        let mut sum = RowSum::default();
        let progress: &dyn Progress = if quiet { &silent } else { progress };
        let mut inner = Writer::new(self.archive, self.options, &mut nothing, progress);
        inner.each_row(LARGE_OBJECTS, data, &mut sum, |_, row| each(self, large_object(row)?))?;
        let whole = sum.rows == data.rows && sum.digest() == data.digest;
        if whole { Ok(()) } else { Err(ExportError::Rows(LARGE_OBJECTS.to_owned())) }
    }
}

/// The numbers of the entries that have blocks of data, in the order of these.
#[derive(Default)]
struct Blocks {
    tables: Vec<i32>,
    large_objects: Option<i32>,
}

fn with_rows(manifest: &Manifest) -> impl Iterator<Item = &Table> {
    manifest.tables.iter().filter(|table| table.data.is_some())
}

/// Tables that an extension may have filled when it was created.
fn extension_rows(manifest: &Manifest) -> impl Iterator<Item = &Table> {
    with_rows(manifest).filter(|table| table.kind == TableKind::ExtensionConfig)
}

/// Settings are `pg_restore`'s own; large objects have their entries from their rows.
fn is_ours(object: &SchemaObject) -> bool {
    object.kind != "SETTINGS" && !is_large_object(object)
}

fn large_object(row: &[u8]) -> Result<LargeObject, RowProblem> {
    let fields: Vec<&[u8]> = rows::fields(row).collect();
    let &[oid, owner, acl, comment, data] = fields.as_slice() else {
        return Err(RowProblem::Fields { found: fields.len(), wanted: 5 });
    };
    let bad = RowProblem::LargeObject;
    let text = |field| -> Result<Option<String>, RowProblem> {
        Ok(rows::unescape(field)?.map(|text| String::from_utf8_lossy(&text).into_owned()))
    };
    let oid: u32 = text(oid)?.and_then(|oid| oid.parse().ok()).ok_or(bad("OID"))?;
    let owner = text(owner)?.ok_or(bad("owner"))?;
    let data = rows::bytea(data)?.ok_or(bad("data"))?;
    // NULL stands for the privileges that every new large object has.
    let privileges = match text(acl)? {
        None => None,
        Some(acl) => {
            let object = format!("LARGE OBJECT {oid}");
            let role = ident(&owner);
            let mut sql = format!(
                "REVOKE ALL ON {object} FROM PUBLIC;\nREVOKE ALL ON {object} FROM {role};\n"
            );
            for grant in grants(&acl).ok_or(bad("list of privileges"))? {
                sql.push_str(&grant.sql(&object, &owner).ok_or(bad("list of privileges"))?);
            }
            Some(sql)
        }
    };
    Ok(LargeObject { oid, owner, privileges, comment: text(comment)?, data })
}

/// What `pg_restore` begins with, and the database that it makes with `--create`.
fn settings(source: &Source) -> [(&'static str, String); 4] {
    let encoding = if source.encoding == "SQL_ASCII" { "SQL_ASCII" } else { "UTF8" };
    let mut create = format!(
        "CREATE DATABASE {} WITH TEMPLATE = template0 ENCODING = {}",
        ident(&source.database),
        literal(&source.encoding)
    );
    let mut option = |name: &str, value: &str| {
        create.extend([" ", name, " = ", literal(value).as_str()]);
    };
    // Older servers know no providers.
    if source.server_version_num >= 150_000 && !source.locale_provider.is_empty() {
        option("LOCALE_PROVIDER", &source.locale_provider);
    }
    option("LC_COLLATE", &source.collate);
    option("LC_CTYPE", &source.ctype);
    match (source.locale_provider.as_str(), &source.locale) {
        ("icu", Some(locale)) => option("ICU_LOCALE", locale),
        ("builtin", Some(locale)) => option("BUILTIN_LOCALE", locale),
        _ => {}
    }
    create.push_str(";\n");
    [
        ("ENCODING", format!("SET client_encoding = '{encoding}';\n")),
        ("STDSTRINGS", "SET standard_conforming_strings = 'on';\n".to_owned()),
        ("SEARCHPATH", "SELECT pg_catalog.set_config('search_path', '', false);\n".to_owned()),
        ("DATABASE", create),
    ]
}

/// Seconds since 1970 as the fields of C's `struct tm` that the head has, in UTC.
fn broken_down(seconds: u64) -> [i32; 7] {
    let small = |value: u64| i32::try_from(value).unwrap_or(0);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Years that begin in March, in cycles of 400 of them, from the first of March of year 0.
    let days = days.saturating_add(719_468);
    let (cycle, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 2 } else { month - 10 };
    let year = (cycle * 400 + year + u64::from(month < 2)).saturating_sub(1900);
    let (hour, minute) = (second / 3600, second / 60 % 60);
    [small(second % 60), small(minute), small(hour), small(day), small(month), small(year), 0]
}

/// Without the comment in front, which `pg_restore` writes itself.
fn without_heading(sql: &[u8]) -> &[u8] {
    const END: &[u8] = b"\n--\n\n";
    if !sql.starts_with(b"--\n-- Name: ") {
        return sql;
    }
    let end = sql.windows(END.len()).position(|run| run == END);
    end.and_then(|end| sql.get(end + END.len()..)).unwrap_or(sql)
}

/// Without the statement at the end that gives an object to its owner; none if it has no such.
fn without_owner<'a>(sql: &'a [u8], owner: &str) -> Option<&'a [u8]> {
    let end = format!(" OWNER TO {};\n\n", ident(owner));
    let rest = sql.strip_suffix(end.as_bytes())?;
    let start = rest.windows(8).rposition(|run| run == b"\n\nALTER ")?;
    // Right there, or it is another statement.
    let statement = rest.get(start + 2..)?;
    (!statement.contains(&b';') && !statement.contains(&b'\n')).then(|| rest.get(..start + 1))?
}

#[cfg(test)]
mod tests {
    //! Guards against definitions that lose more than their owner, and against wrong dates.
    use super::*;

    #[test]
    fn owners_are_taken_off_and_nothing_else() {
        let sql = b"--\n-- Name: t; Type: TABLE\n--\n\nCREATE TABLE t ();\n\n\nALTER TABLE t OWNER TO \"me\";\n\n";
        let rest = without_heading(sql);
        assert_eq!(without_owner(rest, "me").unwrap(), b"CREATE TABLE t ();\n\n");
        assert_eq!(without_owner(rest, "you"), None);
        assert_eq!(without_owner(b"CREATE TABLE t ();\n\n", "me"), None);
        let other = b"\n\nALTER TABLE t ADD x int; SELECT 1 OWNER TO \"me\";\n\n";
        assert_eq!(without_owner(other, "me"), None);
        assert_eq!(without_heading(b"SELECT 1;\n--\n\n"), b"SELECT 1;\n--\n\n");
    }

    #[test]
    fn dates() {
        assert_eq!(broken_down(0), [0, 0, 0, 1, 0, 70, 0]);
        assert_eq!(broken_down(951_782_399), [59, 59, 23, 28, 1, 100, 0]);
        assert_eq!(broken_down(951_868_799), [59, 59, 23, 29, 1, 100, 0]);
        assert_eq!(broken_down(1_798_761_599), [59, 59, 23, 31, 11, 126, 0]);
    }
}
