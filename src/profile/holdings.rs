//! What an archive holds, in the words of those whose data it is: a line for each table of note,
//! named after the table.
//!
//! What is of note follows from the archive alone: tables that rules are about or that have
//! `bytea` columns first, then those that others refer to, then by rows.

use std::collections::BTreeSet;

use crate::format::manifest::{Column, Manifest, Name, Table, TableKind, TypeKind};
use crate::format::reader::{Archive, ReadError};
use crate::format::rows;

/// What an archive holds.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Holdings {
    /// Tables of note.
    pub tables: Vec<Holding>,
    /// Tables with rows that are not among them.
    pub more_tables: u64,
    /// Their rows.
    pub more_rows: u64,
    /// Tables without rows.
    pub empty_tables: u64,
    /// Large objects.
    pub large_objects: u64,
    /// Foreign keys that the database declares.
    pub foreign_keys: u64,
    /// References that rules declare.
    pub rule_references: u64,
}

/// One table; a partitioned one with the rows of its partitions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Holding {
    /// The table.
    pub table: Name,
    /// One of its rows in words, such as `blog category`.
    pub one: String,
    /// Several of them.
    pub many: String,
    /// Its rows.
    pub rows: u64,
    /// Its `bytea` columns.
    pub blobs: Vec<BlobHolding>,
}

/// A `bytea` column.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BlobHolding {
    /// Its name.
    pub column: String,
    /// Rows with at least one byte in it.
    pub with_bytes: u64,
    /// Rows with none, or with NULL.
    pub without: u64,
}

/// Tables of note at most.
const LINES: usize = 16;

impl Holdings {
    /// Looks through an archive. Rows are read only of tables with `bytea` columns, and no blobs.
    ///
    /// # Errors
    /// [`ReadError`] where such a row cannot be read.
    pub fn of(archive: &Archive) -> Result<Self, ReadError> {
        let manifest = archive.manifest();
        let mut out = Self {
            large_objects: manifest.large_objects.map_or(0, |data| data.rows),
            foreign_keys: number(manifest.foreign_keys.len()),
            rule_references: manifest.rules.as_ref().map_or(0, |r| number(r.references.len())),
            ..Self::default()
        };
        let ruled = ruled(manifest);
        let mut all: Vec<(u8, Vec<&Table>, &Table, u64)> = Vec::new();
        for table in &manifest.tables {
            // A partition is told with the table it is part of.
            if table.partition_of.is_some() || table.kind == TableKind::ExtensionConfig {
                continue;
            }
            let parts = parts(manifest, table);
            let data = parts.iter().filter_map(|part| part.data);
            let rows = data.map(|data| data.rows).fold(0, u64::saturating_add);
            let has_blobs = table.stored_columns().any(is_bytea);
            let referred = manifest.foreign_keys.iter().any(|key| key.references == table.name);
            let rank = match (ruled.contains(&table.name) || has_blobs, referred) {
                (true, _) => 0,
                (false, true) => 1,
                (false, false) => 2,
            };
            match rows {
                // That a table a rule is about is empty is worth a line.
                0 if rank > 0 => out.empty_tables += 1,
                _ => all.push((rank, parts, table, rows)),
            }
        }
        all.sort_by(|a, b| (a.0, u64::MAX - a.3, &a.2.name).cmp(&(b.0, u64::MAX - b.3, &b.2.name)));
        for (_, _, _, rows) in all.iter().skip(LINES) {
            out.more_tables += 1;
            out.more_rows = out.more_rows.saturating_add(*rows);
        }
        all.truncate(LINES);
        for (_, parts, table, rows) in &all {
            let twice = all.iter().filter(|other| other.2.name.name == table.name.name).count() > 1;
            let (one, many) = words(&table.name, twice);
            let blobs = blobs(archive, table, parts)?;
            out.tables.push(Holding { table: table.name.clone(), one, many, rows: *rows, blobs });
        }
        Ok(out)
    }
}

fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

/// Tables that rules are about.
fn ruled(manifest: &Manifest) -> BTreeSet<Name> {
    let Some(rules) = &manifest.rules else { return BTreeSet::new() };
    let references = rules.references.iter().flat_map(|rule| [&rule.table, &rule.references]);
    let blobs = rules.blobs.iter().map(|rule| &rule.table);
    let counts = rules.counts.iter().map(|rule| &rule.table);
    references.chain(blobs).chain(counts).cloned().collect()
}

/// The tables that hold the rows of one: itself, or its partitions to the last.
fn parts<'a>(manifest: &'a Manifest, table: &'a Table) -> Vec<&'a Table> {
    let mut found = vec![table];
    let mut at = 0;
    while let Some(parent) = found.get(at).copied() {
        if parent.kind == TableKind::Partitioned {
            let of = |part: &&Table| part.partition_of.as_ref() == Some(&parent.name);
            for part in manifest.tables.iter().filter(of) {
                // A hostile manifest may have a ring of them.
                if !found.iter().any(|known| known.name == part.name) {
                    found.push(part);
                }
            }
        }
        at += 1;
    }
    found
}

fn is_bytea(column: &Column) -> bool {
    let base = &column.base;
    base.kind == TypeKind::Base && base.name.schema == "pg_catalog" && base.name.name == "bytea"
}

/// Counts the rows with and without bytes in each `bytea` column.
fn blobs(
    archive: &Archive,
    table: &Table,
    parts: &[&Table],
) -> Result<Vec<BlobHolding>, ReadError> {
    let mut out: Vec<BlobHolding> = table
        .stored_columns()
        .filter(|column| is_bytea(column))
        .map(|column| BlobHolding { column: column.name.clone(), with_bytes: 0, without: 0 })
        .collect();
    for part in parts {
        let Some(data) = part.data.filter(|_| !out.is_empty()) else { continue };
        // The columns of a partition may stand in another order.
        let places: Vec<Option<usize>> = part
            .stored_columns()
            .map(|column| out.iter().position(|blob| blob.column == column.name))
            .collect();
        for number in data.first_segment..data.first_segment.saturating_add(data.segments) {
            for row in rows::rows(&archive.segment(number)?) {
                for (field, place) in rows::fields(row).zip(&places) {
                    let Some(blob) = place.and_then(|place| out.get_mut(place)) else { continue };
                    if matches!(field, b"\\N" | b"\\\\x" | b"") {
                        blob.without += 1;
                    } else {
                        blob.with_bytes += 1;
                    }
                }
            }
        }
    }
    Ok(out)
}

/// One row and several in words: `bakong_user` and `bakongUser` are `bakong user`, `bakong users`.
fn words(name: &Name, qualified: bool) -> (String, String) {
    let mut one = String::new();
    let mut lower = false;
    for c in name.name.chars() {
        match c {
            '_' | ' ' | '-' => one.push(' '),
            c if c.is_uppercase() && lower => {
                one.push(' ');
                one.extend(c.to_lowercase());
            }
            c => one.extend(c.to_lowercase()),
        }
        lower = c.is_lowercase() || c.is_numeric();
    }
    let mut one: Vec<&str> = one.split_whitespace().collect();
    // `user_old` are not user olds.
    if one.len() > 1 && one.last().is_some_and(|last| ["old", "new"].contains(last)) {
        one.rotate_right(1);
    }
    let one = one.join(" ");
    let many = plural(&one);
    if qualified {
        return (format!("{}.{one}", name.schema), format!("{}.{many}", name.schema));
    }
    (one, many)
}

/// As English has it as a rule. A name in another script is left alone.
fn plural(word: &str) -> String {
    let ends = |endings: &[&str]| endings.iter().any(|ending| word.ends_with(ending));
    if !word.ends_with(|c: char| c.is_ascii_lowercase()) || ends(&["data", "media"]) {
        return word.to_owned();
    }
    if let Some(stem) = word.strip_suffix('y').filter(|stem| !stem.ends_with(['a', 'e', 'o', 'u']))
    {
        return format!("{stem}ies");
    }
    // `users` and `news` are many already; `status` and `address` are not.
    if ends(&["ss", "us", "x", "ch", "sh"]) {
        return format!("{word}es");
    }
    if word.ends_with('s') { word.to_owned() } else { format!("{word}s") }
}

#[cfg(test)]
mod tests {
    //! Guards against a count that is not the table's.

    use super::*;
    use crate::format::batch::BatchBuilder;
    use crate::format::rules::{CountRule, Rules};
    use crate::format::writer::{ArchiveWriter, WriterOptions};
    use std::sync::Arc;

    #[test]
    fn tables_in_words() {
        for (table, one, many) in [
            ("user", "user", "users"),
            ("bakong_user", "bakong user", "bakong users"),
            ("blogCategory", "blog category", "blog categories"),
            ("UserKey", "user key", "user keys"),
            ("images", "images", "images"),
            ("user_key_old", "old user key", "old user keys"),
            ("old", "old", "olds"),
            ("address", "address", "addresses"),
            ("metadata", "metadata", "metadata"),
            ("ហាង", "ហាង", "ហាង"),
            ("t2", "t2", "t2"),
        ] {
            let name = Name::new("public", table);
            assert_eq!(words(&name, false), (one.to_owned(), many.to_owned()), "{table}");
        }
        assert_eq!(words(&Name::new("a", "user"), true).1, "a.users");
    }

    fn table(name: &str, columns: &[(&str, &str)]) -> Table {
        let columns = columns.iter().map(|(name, base)| Column::new(*name, *base)).collect();
        Table::new(Name::new("public", name), columns)
    }

    #[test]
    fn rows_bytes_and_partitions_are_counted() {
        let options = WriterOptions { created: 1, memory: 64 << 20 };
        let mut writer = ArchiveWriter::create(Vec::new(), &options).unwrap();
        let mut tables = vec![
            table("big", &[("id", "int4")]),
            table("image", &[("id", "int4"), ("file", "bytea")]),
            table("image_1", &[("file", "bytea"), ("id", "int4")]),
            table("must", &[("id", "int4")]),
            table("none", &[("id", "int4")]),
        ];
        tables[1].kind = TableKind::Partitioned;
        tables[2].partition_of = Some(tables[1].name.clone());
        let count = CountRule {
            table: tables[3].name.clone(),
            condition: None,
            at_least: Some(1),
            at_most: None,
        };
        let mut manifest = Manifest {
            tables: tables.clone(),
            rules: Some(Rules { counts: vec![count], ..Rules::default() }),
            ..Manifest::default()
        };
        writer.schema(b"", b"", &manifest).unwrap();
        for (at, table) in tables.iter_mut().enumerate().filter(|(at, _)| *at != 1) {
            writer.begin_table(Some(&table.name)).unwrap();
            let mut batch = BatchBuilder::new(writer.known());
            for row in 0..[7, 0, 4, 0, 0][at] {
                if at == 2 {
                    match row {
                        0 => batch.null(),
                        1 => batch.blob(b""),
                        2 => batch.blob(b"x"),
                        _ => batch.blob(&[7; 1000]),
                    }
                }
                batch.text(b"1");
                batch.end_row();
            }
            writer.batch(&batch.finish()).unwrap();
            table.data = Some(writer.end_table().unwrap());
        }
        manifest.tables = tables;
        let bytes = writer.finish(manifest).unwrap().0;
        let archive = Archive::from_file(Arc::new(bytes)).unwrap();
        let found = Holdings::of(&archive).unwrap();
        let shown: Vec<String> = found
            .tables
            .iter()
            .map(|table| {
                let blobs = table.blobs.iter();
                let blobs: Vec<String> = blobs
                    .map(|b| format!(" {}: {} with, {} without", b.column, b.with_bytes, b.without))
                    .collect();
                format!("{} {}{}", table.rows, table.many, blobs.concat())
            })
            .collect();
        assert_eq!(shown, ["4 images file: 2 with, 2 without", "0 musts", "7 bigs"]);
        assert_eq!((found.empty_tables, found.more_tables), (1, 0));
    }
}
