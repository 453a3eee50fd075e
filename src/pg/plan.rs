//! How the rows of each table are read: cut into parts of a bounded size, as text or, where there
//! is `bytea`, as binary with every other column through its own output function.
//!
//! The limits depend on the data alone, never on how many sessions will read.

use std::fmt::Write as _;
use std::sync::Arc;

use super::catalog::Catalog;
use super::ident::{ident, qualified};
use crate::format::manifest::{Column, Table, TableKind};

/// About how many bytes of heap and TOAST a part covers.
const PART: u64 = 32 << 20;

/// Rows whose `bytea` values come to more bytes than this are read by slices: a row of a gigabyte
/// in total cannot be sent at all, and nothing else here needs so much memory at once.
pub const BIG_ROW: u64 = 32 << 20;

/// A run of rows of one table.
#[derive(Clone, PartialEq, Debug)]
pub struct Part {
    /// The table, by its place in the catalog's `tables`.
    pub table: usize,
    /// The heap's blocks from the first to before the second; no second: to the end. Absent: all.
    pub pages: Option<(u32, Option<u32>)>,
    /// How they are read.
    pub rows: PartRows,
    /// Bytes of heap and TOAST they may come to.
    pub estimate: u64,
    /// Whether the table may have big rows, which a part of their own reads.
    pub big_apart: bool,
    /// By column: the expression that gives as text what COPY would print.
    pub outputs: Arc<[(String, String)]>,
}

/// How the rows of a part are read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PartRows {
    /// `COPY ... TO STDOUT`: the table has no `bytea`.
    Text,
    /// `COPY ... TO STDOUT (FORMAT binary)`: `bytea` as it is, all else as text.
    Binary,
    /// One by one, `bytea` in slices: see [`super::big::BigRows`].
    Big,
}

/// Cuts all tables into parts: in the order of the catalog's tables, and within a table in the
/// order of its rows, big ones last. Partitioned parents have no parts.
///
/// Only heaps are cut, and not on a standby.
pub fn plan(catalog: &Catalog) -> Vec<Part> {
    let mut parts = Vec::new();
    for (place, (table, facts)) in catalog.tables.iter().zip(&catalog.facts).enumerate() {
        if table.kind == TableKind::Partitioned {
            continue;
        }
        let bytea = table.stored_columns().any(Column::is_bytea);
        // A condition of an extension is text that may say anything: it stands alone.
        let simple = facts.heap && table.condition.is_none();
        let part = Part {
            table: place,
            pages: None,
            rows: if bytea { PartRows::Binary } else { PartRows::Text },
            estimate: facts.bytes,
            // What fits into a block, compressed or not, is far from big.
            big_apart: simple && bytea && facts.toasted,
            outputs: facts.outputs.clone().into(),
        };
        let step = step(facts.pages, facts.bytes);
        if simple && !catalog.source.standby && step < facts.pages {
            let estimate = facts.bytes / u64::from(facts.pages) * u64::from(step);
            let mut start = 0_u32;
            while let Some(end) = start.checked_add(step).filter(|end| *end < facts.pages) {
                parts.push(Part { pages: Some((start, Some(end))), estimate, ..part.clone() });
                start = end;
            }
            parts.push(Part { pages: Some((start, None)), estimate, ..part.clone() });
        } else {
            parts.push(part.clone());
        }
        if part.big_apart {
            parts.push(Part { rows: PartRows::Big, estimate: 0, ..part });
        }
    }
    parts
}

/// How many blocks make a part: a table of `bytea` may have few, and nearly all of it in TOAST.
fn step(pages: u32, bytes: u64) -> u32 {
    if bytes <= PART + PART / 2 {
        return pages.max(1);
    }
    let step = u128::from(pages) * u128::from(PART) / u128::from(bytes);
    u32::try_from(step).unwrap_or(u32::MAX).max(1)
}

/// The COPY statement that reads a part: stored columns in the order of `table`, which may be the
/// archive's rather than the server's. Not for [`PartRows::Big`].
pub fn copy_sql(table: &Table, part: &Part) -> String {
    let name = qualified(&table.name);
    let binary = part.rows != PartRows::Text;
    let columns: Vec<String> =
        table.stored_columns().map(|column| expression(column, part, binary)).collect();
    let columns = columns.join(", ");
    let condition = condition(table, part);
    if condition.is_empty() && !binary && !columns.is_empty() {
        return format!("COPY {name} ({columns}) TO STDOUT");
    }
    let format = if binary { " (FORMAT binary)" } else { "" };
    format!("COPY (SELECT {columns} FROM ONLY {name}{condition}) TO STDOUT{format}")
}

/// The query (one `int8`) that counts the rows of a part.
pub fn count_sql(table: &Table, part: &Part) -> String {
    let name = qualified(&table.name);
    format!("SELECT pg_catalog.count(*) FROM ONLY {name}{}", condition(table, part))
}

/// A column as it is read: `bytea` raw, all else as text where the format is not.
pub(super) fn expression(column: &Column, part: &Part, binary: bool) -> String {
    if !binary || column.is_bytea() {
        return ident(&column.name);
    }
    match part.outputs.iter().find(|(name, _)| *name == column.name) {
        Some((_, expression)) => expression.clone(),
        // Not a column here: the server will say so.
        None => ident(&column.name),
    }
}

/// ` WHERE ...`, or nothing.
pub(super) fn condition(table: &Table, part: &Part) -> String {
    if let Some(condition) = &table.condition {
        return format!(" {condition}");
    }
    let mut terms = Vec::new();
    if let Some((start, end)) = part.pages {
        terms.push(format!("ctid >= '({start},0)'::pg_catalog.tid"));
        if let Some(end) = end {
            terms.push(format!("ctid < '({end},0)'::pg_catalog.tid"));
        }
    }
    if part.big_apart {
        let mut sum = String::new();
        for column in table.stored_columns().filter(|column| column.is_bytea()) {
            let plus = if sum.is_empty() { "" } else { " + " };
            let name = ident(&column.name);
            // The length is read off the TOAST pointer: the value itself is not fetched.
            let _ =
                write!(sum, "{plus}coalesce(pg_catalog.octet_length({name}), 0)::pg_catalog.int8");
        }
        let which = if part.rows == PartRows::Big { ">" } else { "<=" };
        if !sum.is_empty() {
            terms.push(format!("{sum} {which} {BIG_ROW}"));
        }
    }
    if terms.is_empty() { String::new() } else { format!(" WHERE {}", terms.join(" AND ")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::manifest::{Name, Source};
    use crate::pg::catalog::TableFacts;

    fn column(name: &str, base: &str) -> Column {
        Column::new(name, base)
    }

    fn catalog(columns: Vec<Column>, pages: u32, bytes: u64) -> Catalog {
        let outputs = columns
            .iter()
            .filter(|column| !column.is_bytea())
            .map(|column| (column.name.clone(), format!("out({})", ident(&column.name))))
            .collect();
        let table = Table::new(Name::new("public", "t"), columns);
        Catalog {
            source: Source::default(),
            enums: Vec::new(),
            tables: vec![table],
            facts: vec![TableFacts {
                oid: 1,
                heap: true,
                pages,
                bytes,
                rows: 0,
                toasted: true,
                outputs,
            }],
            foreign_keys: Vec::new(),
            sequences: Vec::new(),
            large_objects: 0,
            notes: Vec::new(),
        }
    }

    /// Guards against ranges that leave a block out or read one twice, at the end above all.
    #[test]
    fn parts_cover_every_block_once() {
        for (pages, bytes) in [(37, 1_070_000_000), (100_000, 819_200_000), (u32::MAX, 1 << 45)] {
            let parts = plan(&catalog(vec![column("id", "int4")], pages, bytes));
            let mut next = 0;
            for (place, part) in parts.iter().enumerate() {
                let (start, end) = part.pages.unwrap();
                assert_eq!(start, next);
                assert_eq!(end.is_none(), place + 1 == parts.len());
                next = end.unwrap_or(pages);
                assert!(next > start);
            }
            assert!(parts.len() > 20);
        }
    }

    /// Guards against small and empty tables being cut, and against big rows being read twice.
    #[test]
    fn small_tables_are_one_part_and_big_rows_are_read_once() {
        assert_eq!(plan(&catalog(vec![column("id", "int4")], 0, 0)).len(), 1);
        let catalog = catalog(vec![column("id", "int4"), column("file", "bytea")], 4, 40_000);
        let parts = plan(&catalog);
        let table = &catalog.tables[0];
        assert_eq!(parts.len(), 2);
        assert_eq!(
            copy_sql(table, &parts[0]),
            "COPY (SELECT out(\"id\"), \"file\" FROM ONLY \"public\".\"t\" WHERE \
             coalesce(pg_catalog.octet_length(\"file\"), 0)::pg_catalog.int8 <= 33554432) \
             TO STDOUT (FORMAT binary)"
        );
        assert!(count_sql(table, &parts[1]).ends_with("> 33554432"));
    }
}
