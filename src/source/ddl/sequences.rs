//! Sequences: what they are, the columns they feed, where they stand.

use super::cursor::Cursor;
use super::declare::Declarations;
use super::{DdlError, DeclaredSequence};
use crate::format::manifest::{Name, OwnedBy};

impl Declarations {
    /// Options of a sequence to the end of what they are in: behind `CREATE SEQUENCE name`, or in
    /// the parentheses of an identity, where one of them is the name.
    pub(super) fn sequence_options(
        &mut self,
        at: &mut Cursor<'_>,
        mut name: Option<Name>,
        owned: Option<(Name, String)>,
    ) -> Result<(), DdlError> {
        let (mut increment, mut start, mut min, mut max) = (1, None, None, None);
        loop {
            let here = at.clone();
            if at.at_end() || at.is_symbol(b')') {
                break;
            }
            match at.any_word().as_str() {
                "AS" => {
                    self.scope.type_name(at)?;
                }
                "SEQUENCE" => {
                    at.expect(&["name"])?;
                    let written = at.written()?;
                    name = Some(self.scope.new_name(at, written)?);
                }
                "START" => {
                    at.word("with");
                    start = Some(at.integer()?);
                }
                "INCREMENT" => {
                    at.word("by");
                    increment = at.integer()?;
                }
                "MINVALUE" => min = Some(at.integer()?),
                "MAXVALUE" => max = Some(at.integer()?),
                "CACHE" => {
                    at.integer()?;
                }
                "NO" => {
                    at.any_word();
                }
                "CYCLE" | "LOGGED" | "UNLOGGED" => {}
                _ => return Err(here.unexpected("an option of a sequence")),
            }
        }
        let name = name.ok_or_else(|| at.error("an identity without the name of its sequence"))?;
        let start = start.or(if increment > 0 { min } else { max });
        let start = start.unwrap_or(if increment > 0 { 1 } else { -1 });
        let owned_by = owned.map(|(table, column)| OwnedBy { table, column });
        let object = format!("sequence {name}");
        let made = DeclaredSequence { name: name.clone(), increment, start, owned_by, value: None };
        match self.sequences.insert(name, made) {
            Some(_) => Err(DdlError::Twice { object }),
            None => Ok(()),
        }
    }

    /// Behind `ALTER SEQUENCE`.
    pub(super) fn alter_sequence(&mut self, at: &mut Cursor<'_>) -> Result<(), DdlError> {
        at.words(&["if", "exists"]);
        let here = at.clone();
        let written = at.written()?;
        if !at.words(&["owned", "by"]) {
            let harmless =
                at.is("owner") || at.are(&["set", "logged"]) || at.are(&["set", "unlogged"]);
            return if harmless { Ok(()) } else { Err(at.unexpected("what pg_dump writes")) };
        }
        let candidates = self.scope.candidates(&written);
        let name = candidates.into_iter().find(|name| self.sequences.contains_key(name));
        let name = name.ok_or_else(|| here.undeclared(format!("sequence {written}")))?;
        let owned_by = if at.word("none") {
            None
        } else {
            // `table.column` or `schema.table.column`.
            let mut parts = vec![at.name()?];
            while at.symbol(b'.') {
                parts.push(at.name()?);
            }
            let column = parts.pop().unwrap_or_default();
            let table = parts.pop().ok_or_else(|| at.unexpected("a column of a table"))?;
            let schema = parts.pop();
            let table = super::cursor::Written { schema, name: table, quoted: false };
            let found = self.find_table(&table);
            let table = found.ok_or_else(|| here.undeclared(format!("table {table}")))?;
            if self.relation(&here, &table)?.column(&column).is_none() {
                return Err(here.undeclared(format!("column {column} of {table}")));
            }
            Some(OwnedBy { table, column })
        };
        if let Some(sequence) = self.sequences.get_mut(&name) {
            sequence.owned_by = owned_by;
        }
        at.end()
    }

    /// Behind `SELECT pg_catalog.setval`: `('name', value, called)`.
    pub(super) fn setval(&mut self, at: &mut Cursor<'_>) -> Result<(), DdlError> {
        let here = at.clone();
        at.expect_symbol(b'(')?;
        let text = at.string()?;
        if at.symbol(b':') {
            at.expect_symbol(b':')?;
            at.written()?;
        }
        at.expect_symbol(b',')?;
        let value = at.integer()?;
        let called = if at.symbol(b',') {
            let called = at.word("true");
            if !called {
                at.expect(&["false"])?;
            }
            called
        } else {
            true
        };
        at.expect_symbol(b')')?;
        at.end()?;
        let mut name = Cursor::new(&text, true);
        let written = name.written()?;
        name.end()?;
        let candidates = self.scope.candidates(&written);
        let name = candidates.into_iter().find(|name| self.sequences.contains_key(name));
        let name = name.ok_or_else(|| here.undeclared(format!("sequence {written}")))?;
        self.set_value(&name, value, called)
    }
}
