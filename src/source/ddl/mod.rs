//! From the SQL that `pg_dump` writes to the catalog, without any database.
//!
//! [`statements`] (or [`Splitter`], for what is read in pieces) cuts a text into statements,
//! [`Declarations`] takes them one by one, and [`Declarations::finish`] gives what a server has in
//! its catalog after running them: the manifest's own types, spelled as
//! `pg::catalog::read_catalog` spells them. It is for what `pg_dump` 9.6 to 18 writes, not for SQL
//! in general: what it does not know it refuses, by name, and what declares nothing (functions,
//! views, privileges, ...) it passes over by a list.
//!
//! ```
//! use pgark::source::ddl::{Declarations, Piece, statements};
//!
//! # fn main() -> Result<(), pgark::source::ddl::DdlError> {
//! let dump = "CREATE TABLE public.image (id integer NOT NULL, data bytea);
//!     ALTER TABLE ONLY public.image ADD CONSTRAINT image_pkey PRIMARY KEY (id);";
//! let mut declarations = Declarations::new();
//! for piece in statements(dump) {
//!     if let Piece::Statement(statement) = piece? {
//!         declarations.statement(statement)?;
//!     }
//! }
//! let declared = declarations.finish()?;
//! assert_eq!(declared.tables[0].columns[1].base.name.to_string(), "pg_catalog.bytea");
//! # Ok(())
//! # }
//! ```
//!
//! # What a dump does not say
//!
//! `tests/suite/ddl.rs` compares every field with the catalog of the database that a dump is of,
//! and with that of a database in which it was run; the latter is what counts where they differ.
//! These differ:
//!
//! - **The order of columns of a child** (INHERITS): those of its parents come first when it is
//!   made again, wherever they were. The rows of a dump have the order of the source:
//!   [`Declared::set_order`].
//! - **Storage and compression of columns that a child has from its parent**: `pg_dump` says them
//!   where they are not the type's own, so a child that kept the type's has its parent's after a
//!   restore.
//! - **The names of arrays** where another type has or had the name: the order of making decides.
//! - **Times with a zone** are written in the time zone of the dump's session. In partition bounds,
//!   defaults and checks they are brought to UTC as `read_catalog` has them (see
//!   [`in_utc`](super::in_utc)), but not within constants of arrays, ranges and composites.
//! - **What extensions bring**: `CREATE EXTENSION` is all there is of it. The types of contrib are
//!   known (a table in the source); of another extension a type that is used is taken for a base
//!   type of storage `extended` without a collation and without a type modifier, and a note says
//!   so. Its tables and sequences are not there at all, configuration tables and the notes on
//!   others included: rows of such a table are rows of a table that [`Declarations::has_table`]
//!   does not know.
//! - **That there is no schema `public`** in the database.
//! - **The version and name of the server** but for what a comment says; sizes and large objects.
//! - In dumps of before 2018, whose search path is not empty, **expressions** have names without
//!   schemas, and stay so. Types are given theirs.
//!
//! # Why not a parser of SQL
//!
//! `sqlparser` 0.64.0 was measured with dumps of `tests/support/every_object.sql` and `hard_ddl.sql`
//! by version 18. Of statements that matter here it refuses every `ALTER SEQUENCE ... OWNED BY`,
//! `ALTER INDEX ... ATTACH PARTITION`, `CREATE TABLE ... OF`, `CREATE UNIQUE INDEX ... ON ONLY`,
//! `CREATE DATABASE ... WITH`, `CREATE UNLOGGED SEQUENCE`, each NOT NULL constraint with a name that
//! does not stand behind its column's type, keys with both INCLUDE and WITH, and qualified collations
//! of domains; and it gives expressions and types back in another spelling (82 of 99 tables, domains
//! and unique indexes), where the catalog has the server's own. What `pg_dump` writes is regular
//! enough that a tokenizer and a recogniser of these forms are smaller than what would have to be
//! mended; neither recurses, so that depth costs nothing.

use thiserror::Error;

use crate::format::manifest::{Column, Enum, ForeignKey, Name, OwnedBy, Sequence, Table};

mod alter;
mod bounds;
mod columns;
mod cursor;
mod declare;
mod finish;
mod keys;
#[cfg(feature = "dumps")]
mod large_objects;
mod lex;
mod made;
mod scope;
mod sequences;
mod splitter;
mod tables;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_splitter;
mod types;

pub use declare::Declarations;
#[cfg(feature = "dumps")]
pub(super) use large_objects::{
    Change, LargeObject, SELECT, Session, UPDATE, large_object, session_authorization,
};
pub use splitter::{End, Piece, Splitter, Statements, statements};

/// What the statements of a dump declare.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct Declared {
    /// Every enum type, sorted by name.
    pub enums: Vec<Enum>,
    /// Every table, sorted by name, without its rows (`data` is absent).
    pub tables: Vec<Table>,
    /// Every foreign key that can be checked within the tables, sorted by table and name.
    pub foreign_keys: Vec<ForeignKey>,
    /// Every sequence, sorted by name.
    pub sequences: Vec<DeclaredSequence>,
    /// The database, if the dump makes it (`pg_dump --create`).
    pub database: Option<DatabaseFacts>,
    /// The last `SET client_encoding`: the encoding of the dump, and of the database unless
    /// `pg_dump` was told another.
    pub client_encoding: Option<String>,
    /// What is declared and not in the catalog, or known only by its name: a sentence each, sorted.
    pub notes: Vec<String>,
}

impl Declared {
    /// Puts the columns of a table into the order in which the dump lists them with its rows:
    /// that of the database it is of. A child's own order is not in the DDL where it has parents,
    /// whose columns come first when it is made again. Generated columns, which have no rows, stay
    /// in place where nothing moves, and come last else.
    ///
    /// An error if these are not the stored columns of the table.
    pub fn set_order(&mut self, table: &Name, stored: &[String]) -> Result<(), DdlError> {
        let rows = || format!("the rows of {table}");
        let undeclared = |object| DdlError::Undeclared { object, statement: rows() };
        let found = self.tables.iter_mut().find(|it| it.name == *table);
        let found = found.ok_or_else(|| undeclared(format!("table {table}")))?;
        if found.stored_columns().map(|column| &column.name).eq(stored) {
            return Ok(());
        }
        let mut left: Vec<Option<Column>> =
            std::mem::take(&mut found.columns).into_iter().map(Some).collect();
        for name in stored {
            let column = left.iter_mut().find(|column| {
                column.as_ref().is_some_and(|column| column.name == *name && !column.generated)
            });
            let column = column.and_then(Option::take);
            let column = column.ok_or_else(|| undeclared(format!("column {name} of {table}")))?;
            found.columns.push(column);
        }
        for column in left.into_iter().flatten() {
            if !column.generated {
                return Err(undeclared(format!("no value of column {} of {table}", column.name)));
            }
            found.columns.push(column);
        }
        Ok(())
    }
}

/// A sequence.
#[derive(Clone, PartialEq, Debug)]
pub struct DeclaredSequence {
    /// Its name.
    pub name: Name,
    /// The step.
    pub increment: i64,
    /// Where it begins.
    pub start: i64,
    /// The column it feeds, if it belongs to one.
    pub owned_by: Option<OwnedBy>,
    /// What the last `setval` of the dump gave it: `last_value` and `is_called`. A dump with rows
    /// has one for every sequence.
    pub value: Option<(i64, bool)>,
}

impl DeclaredSequence {
    /// With its value; one that was never set stands where it begins.
    #[must_use]
    pub fn into_sequence(self) -> Sequence {
        let (last_value, is_called) = self.value.unwrap_or((self.start, false));
        let Self { name, increment, owned_by, .. } = self;
        Sequence { name, last_value, is_called, increment, owned_by }
    }
}

/// A database as `CREATE DATABASE` says it.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct DatabaseFacts {
    /// Its name.
    pub name: String,
    /// Its encoding, as `UTF8`.
    pub encoding: Option<String>,
    /// `datcollate`.
    pub collate: Option<String>,
    /// `datctype`.
    pub ctype: Option<String>,
    /// `libc`, `icu` or `builtin`. Dumps of versions before 15 do not say it: `libc`.
    pub provider: String,
    /// The ICU or builtin locale.
    pub locale: Option<String>,
}

/// Why statements do not make a catalog.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[non_exhaustive]
pub enum DdlError {
    /// The text ends in the middle of something.
    #[error("the SQL ends within {within}")]
    Cut {
        /// Within what: `a statement`, `a quoted string`, ...
        within: &'static str,
    },
    /// A statement that is none of those that `pg_dump` writes, or not in its shape.
    #[error("the statement {statement:?} is not understood: {problem}")]
    NotUnderstood {
        /// How the statement begins.
        statement: String,
        /// What of it is not understood.
        problem: String,
    },
    /// A statement about something that no statement before it has declared.
    #[error("{object} is not declared before {statement:?}")]
    Undeclared {
        /// What is missing, as `table public.t`.
        object: String,
        /// How the statement begins.
        statement: String,
    },
    /// Something is declared twice.
    #[error("{object} is declared twice")]
    Twice {
        /// What.
        object: String,
    },
}

/// What a statement sets `standard_conforming_strings` to, if it is one that does.
pub fn standard_strings(statement: &str) -> Option<bool> {
    // Statements are long, this one is not.
    let tail = statement.get(statement.len().saturating_sub(60)..)?;
    let (_, value) = tail.split_once("SET standard_conforming_strings = ")?;
    match value.strip_suffix(';')? {
        "on" | "'on'" => Some(true),
        "off" | "'off'" => Some(false),
        _ => None,
    }
}
