//! Taking statements in.

use super::{DdlError, Declared};
use crate::format::manifest::Name;

/// What the statements so far declare.
#[derive(Default, Debug)]
pub struct Declarations {
    declared: Declared,
}

impl Declarations {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes one complete statement as `pg_dump` writes it, comments before it included. What
    /// declares nothing for the catalog (functions, views, privileges, ...) is passed over by an
    /// explicit list; rows (COPY, INSERT) and large objects are none of its business: an error.
    pub fn statement(&mut self, sql: &str) -> Result<(), DdlError> {
        Err(DdlError::NotUnderstood { statement: sql.to_owned(), problem: "not built yet".into() })
    }

    /// Says where a sequence stands: what `setval` does. [`Self::statement`] knows it from
    /// `SELECT pg_catalog.setval('s.q', 7, true)` too.
    pub fn set_value(&mut self, sequence: &Name, last: i64, called: bool) -> Result<(), DdlError> {
        let _ = (last, called);
        let object = format!("sequence {sequence}");
        Err(DdlError::Undeclared { object, statement: "setval".into() })
    }

    /// What was declared by statements so far of the table of this name, as rows need it.
    pub fn has_table(&self, name: &Name) -> bool {
        self.declared.tables.iter().any(|table| table.name == *name)
    }

    /// The catalog that a server has after these statements. What refers to something that was
    /// never declared is an error that names it.
    pub fn finish(self) -> Result<Declared, DdlError> {
        Ok(self.declared)
    }
}
