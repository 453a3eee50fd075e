//! The database in its snapshot, and pieces of SQL about it.

use std::collections::BTreeSet;

use tokio_postgres::Row;

use crate::format::manifest::{Column, Name, Table, TableKind, TypeKind};
use crate::pg::{Catalog, PgError, Session, Snapshot, ident, qualified};
use crate::verify::Equality;

/// A database in one snapshot.
pub(super) struct Database {
    pub(super) snapshot: Snapshot,
    pub(super) catalog: Catalog,
}

impl Database {
    pub(super) fn lead(&self) -> &Session {
        self.snapshot.lead()
    }

    /// The place of a table in the catalog.
    pub(super) fn place(&self, name: &Name) -> Option<usize> {
        self.catalog.tables.iter().position(|table| table.name == *name)
    }

    pub(super) fn table(&self, name: &Name) -> Option<&Table> {
        self.catalog.tables.get(self.place(name)?)
    }

    /// The tables that hold the rows of a table: itself, or its partitions.
    pub(super) fn leaves(&self, name: &Name) -> Vec<usize> {
        let (mut out, mut seen, mut open) = (Vec::new(), BTreeSet::new(), vec![name.clone()]);
        while let Some(name) = open.pop() {
            if !seen.insert(name.clone()) {
                continue;
            }
            for (place, table) in self.catalog.tables.iter().enumerate() {
                if table.name == name && table.kind != TableKind::Partitioned {
                    out.push(place);
                }
                if table.partition_of.as_ref() == Some(&name) {
                    open.push(table.name.clone());
                }
            }
        }
        out.sort_unstable();
        out
    }

    /// What stands after FROM: the rows that belong to a table, and no child's but a partition's.
    pub(super) fn source(table: &Table) -> String {
        let name = qualified(&table.name);
        match (&table.condition, table.kind) {
            (_, TableKind::Partitioned) => name,
            (Some(condition), _) => format!("(SELECT * FROM ONLY {name} {condition})"),
            (None, _) => format!("ONLY {name}"),
        }
    }

    /// The expression that gives a column's value as text, as COPY prints it. The column's name in
    /// it is not qualified.
    pub(super) fn text(&self, place: usize, column: &str) -> String {
        let table = self.catalog.tables.get(place);
        let bytea = table.is_some_and(|table| {
            table.columns.iter().any(|known| known.name == column && known.is_bytea())
        });
        if bytea {
            return format!("'\\x' || pg_catalog.encode({}, 'hex')", ident(column));
        }
        let outputs = self.catalog.facts.get(place).map_or(&[][..], |facts| &facts.outputs);
        match outputs.iter().find(|(name, _)| name == column) {
            Some((_, expression)) => expression.clone(),
            None => format!("({})::pg_catalog.text", ident(column)),
        }
    }

    /// The names and the texts of what tells one row of a table from another: its primary key, or
    /// where it lies.
    pub(super) fn key(&self, place: usize) -> (Vec<String>, Vec<String>) {
        let table = self.catalog.tables.get(place);
        match table.and_then(|table| table.primary_key.as_ref()) {
            // Of rows that a condition picks there is no place.
            None if table.is_some_and(|table| table.condition.is_some()) => Default::default(),
            Some(key) => {
                let texts = key.columns.iter().map(|column| self.text(place, column));
                (key.columns.clone(), texts.collect())
            }
            None => (vec!["ctid".into()], vec!["ctid::pg_catalog.text".into()]),
        }
    }

    /// The order of rows that goes with [`Self::key`].
    pub(super) fn order(&self, place: usize) -> String {
        let table = self.catalog.tables.get(place);
        match table.and_then(|table| table.primary_key.as_ref()) {
            None if table.is_some_and(|table| table.condition.is_some()) => "1".into(),
            Some(key) => {
                key.columns.iter().map(|column| ident(column)).collect::<Vec<_>>().join(", ")
            }
            None => "tableoid, ctid".into(),
        }
    }

    /// Runs a query that the server may find to make no sense (types that cannot be compared, a
    /// value that a type does not have): then the words it has for that.
    pub(super) async fn ask(&self, doing: &str, sql: &str) -> Result<Asked, PgError> {
        self.lead().run(doing, "SAVEPOINT pgark_check").await?;
        match self.lead().rows(doing, sql, &[]).await {
            Ok(rows) => {
                self.lead().run(doing, "RELEASE SAVEPOINT pgark_check").await?;
                Ok(Asked::Rows(rows))
            }
            Err(error) => {
                let code = error.code().map_or("", |code| code.code()).to_owned();
                // Undefined function, indeterminate collation, mismatching types.
                let senseless = ["42883", "42P22", "42P21", "42804", "42725"].contains(&&*code);
                let no_value = code.starts_with("22");
                if !senseless && !no_value {
                    return Err(error);
                }
                self.lead().run(doing, "ROLLBACK TO SAVEPOINT pgark_check").await?;
                Ok(if senseless { Asked::Senseless } else { Asked::NoValue })
            }
        }
    }

    /// SQL that says whether two values are equal as their types have it; none where the server has
    /// no one answer.
    pub(super) async fn equal(
        &self,
        ours: &Column,
        left: &str,
        theirs: &Column,
        right: &str,
    ) -> Result<Option<String>, PgError> {
        let builtin = |column: &Column| column.base.name.schema == "pg_catalog";
        let same = ours.base == theirs.base;
        if builtin(ours) && builtin(theirs) || same && ours.base.kind != TypeKind::Base {
            // Under deterministic collations equal is equal, whichever they are; without one that
            // both sides have, the server would refuse.
            let others = match (&ours.collation, &theirs.collation) {
                (Some(a), Some(b)) => a.name != b.name && a.deterministic && b.deterministic,
                _ => false,
            };
            let collate = if others { " COLLATE pg_catalog.\"C\"" } else { "" };
            return Ok(Some(format!("{left}{collate} OPERATOR(pg_catalog.=) {right}{collate}")));
        }
        if !same {
            return Ok(None);
        }
        // With an empty search_path the type's own operator is not found by its name, and another
        // type's may be, to which this one can be cast.
        let sql = "SELECT n.nspname::text, o.oprname::text
            FROM pg_catalog.pg_type t
            JOIN pg_catalog.pg_namespace tn ON tn.oid = t.typnamespace
            JOIN pg_catalog.pg_opclass c ON c.opcintype = t.oid AND c.opcdefault
            JOIN pg_catalog.pg_am am ON am.oid = c.opcmethod
            JOIN pg_catalog.pg_amop p ON p.amopfamily = c.opcfamily
                 AND p.amoplefttype = t.oid AND p.amoprighttype = t.oid
                 AND (am.amname, p.amopstrategy) IN (('btree', 3), ('hash', 1))
            JOIN pg_catalog.pg_operator o ON o.oid = p.amopopr
            JOIN pg_catalog.pg_namespace n ON n.oid = o.oprnamespace
            WHERE tn.nspname = $1 AND t.typname = $2
            ORDER BY am.amname LIMIT 1";
        let name = &ours.base.name;
        let doing = format!("looking for the equality of type {name}");
        let found = self.lead().rows(&doing, sql, &[&name.schema, &name.name]).await?;
        Ok(found.first().and_then(|row| {
            let schema: String = row.try_get(0).ok()?;
            let operator: String = row.try_get(1).ok()?;
            Some(format!("{left} OPERATOR({}.{operator}) {right}", ident(&schema)))
        }))
    }

    /// SQL that says whether a column has a value that is given as text.
    pub(super) fn is_value(&self, place: usize, column: &Column, value: &str) -> String {
        let value = crate::pg::literal(value);
        if Equality::of(column).is_some() {
            return format!("{} OPERATOR(pg_catalog.=) {value}", ident(&column.name));
        }
        let text = self.text(place, &column.name);
        format!("({text}) COLLATE pg_catalog.\"C\" OPERATOR(pg_catalog.=) {value}")
    }
}

/// What the server made of a query.
pub(super) enum Asked {
    /// An answer.
    Rows(Vec<Row>),
    /// What is compared cannot be.
    Senseless,
    /// A value that is asked for is none of its type: no row has it.
    NoValue,
}

/// `id = 7, name = x`, long values cut.
pub(super) fn described(names: &[String], values: &[Option<String>]) -> String {
    let one = |(name, value): (&String, &Option<String>)| match value {
        Some(value) => format!("{name} = {}", cut(value)),
        None => format!("{name} = NULL"),
    };
    names.iter().zip(values).map(one).collect::<Vec<_>>().join(", ")
}

/// A value, not too long for a message.
pub(super) fn cut(value: &str) -> String {
    match value.char_indices().nth(80) {
        Some((at, _)) => format!("{}...", value.get(..at).unwrap_or_default()),
        None => value.to_owned(),
    }
}
