//! Keys and references: ALTER TABLE ... ADD CONSTRAINT, CREATE INDEX, ALTER INDEX ... ATTACH.

use super::DdlError;
use super::columns::NotNull;
use super::cursor::Cursor;
use super::declare::Declarations;
use super::lex;
use super::tables::Kind;
use crate::format::manifest::{ForeignKey, Key, Match, Name};

/// An index, of a constraint or by itself.
#[derive(Clone, Debug)]
pub(super) struct Index {
    pub(super) table: Name,
    /// What it says of the table, if it is a unique one over whole columns of whole tables.
    pub(super) key: Option<Key>,
    pub(super) primary: bool,
    /// Indexes of partitions that are parts of it.
    pub(super) parts: Vec<Name>,
}

/// A foreign key, before what it refers to is looked for.
#[derive(Clone, Debug)]
pub(super) struct Foreign {
    pub(super) key: ForeignKey,
    /// It compares periods.
    pub(super) temporal: bool,
}

impl Declarations {
    /// Behind `ALTER TABLE ... ADD`.
    pub(super) fn add_constraint(
        &mut self,
        at: &mut Cursor<'_>,
        table: &Name,
        only: bool,
    ) -> Result<(), DdlError> {
        let here = at.clone();
        let name = if at.word("constraint") { Some(at.name()?) } else { None };
        if at.words(&["not", "null"]) {
            return self.add_not_null(at, table, only);
        }
        let name = name.ok_or_else(|| here.unexpected("CONSTRAINT with a name"))?;
        if at.is("check") {
            return self.add_check(at, table, name, only);
        }
        if at.words(&["foreign", "key"]) {
            return self.add_foreign_key(at, table, name);
        }
        if at.word("exclude") {
            self.add_index(Name::new(table.schema.as_str(), name), table, None, false)?;
            return at.pass(|_| false);
        }
        let primary = at.words(&["primary", "key"]);
        if !primary && !at.word("unique") {
            return Err(here.unexpected("a constraint that pg_dump writes"));
        }
        let mut key = Key::new(name.as_str(), Vec::new());
        key.nulls_not_distinct = at.words(&["nulls", "not", "distinct"]);
        if !key.nulls_not_distinct {
            at.words(&["nulls", "distinct"]);
        }
        let mut temporal = false;
        at.expect_symbol(b'(')?;
        loop {
            key.columns.push(at.name()?);
            temporal |= at.words(&["without", "overlaps"]);
            if !at.symbol(b',') {
                break;
            }
        }
        at.expect_symbol(b')')?;
        // INCLUDE, WITH, USING INDEX TABLESPACE, DEFERRABLE: they change nothing of what holds.
        at.pass(|_| false)?;
        let relation = self.relation(at, table)?;
        for name in &key.columns {
            let column = relation.column(name);
            let column =
                column.ok_or_else(|| at.undeclared(format!("column {name} of {table}")))?;
            if primary {
                column.not_null = column.not_null.max(NotNull::Yes);
            }
        }
        let key = (!temporal).then_some(key);
        self.add_index(Name::new(table.schema.as_str(), name), table, key, primary)
    }

    fn add_index(
        &mut self,
        name: Name,
        table: &Name,
        key: Option<Key>,
        primary: bool,
    ) -> Result<(), DdlError> {
        let object = format!("index {name}");
        let index = Index { table: table.clone(), key, primary, parts: Vec::new() };
        match self.indexes.insert(name, index) {
            Some(_) => Err(DdlError::Twice { object }),
            None => Ok(()),
        }
    }

    /// Behind `FOREIGN KEY`.
    fn add_foreign_key(
        &mut self,
        at: &mut Cursor<'_>,
        table: &Name,
        name: String,
    ) -> Result<(), DdlError> {
        let (columns, period) = referring(at)?;
        at.expect(&["references"])?;
        let written = at.written()?;
        let references = match self.find_table(&written) {
            Some(found) => found,
            // It may belong to an extension: the end will tell.
            None => self.scope.new_name(at, written)?,
        };
        let (referenced_columns, referenced_period) = referring(at)?;
        let mut key = ForeignKey {
            name,
            table: table.clone(),
            columns,
            references,
            referenced_columns,
            match_type: Match::Simple,
            validated: true,
            enforced: true,
        };
        loop {
            if at.words(&["match", "full"]) {
                key.match_type = Match::Full;
            } else if at.words(&["match", "simple"])
                || at.word("deferrable")
                || at.words(&["not", "deferrable"])
                || at.words(&["initially", "deferred"])
                || at.words(&["initially", "immediate"])
            {
            } else if at.words(&["not", "valid"]) {
                key.validated = false;
            } else if at.words(&["not", "enforced"]) {
                (key.validated, key.enforced) = (false, false);
            } else if at.word("on") {
                if !at.word("delete") {
                    at.expect(&["update"])?;
                }
                match at.any_word().as_str() {
                    "CASCADE" | "RESTRICT" => {}
                    "NO" => at.expect(&["action"])?,
                    "SET" => {
                        if !at.word("null") {
                            at.expect(&["default"])?;
                        }
                        if at.is_symbol(b'(') {
                            at.names()?;
                        }
                    }
                    _ => return Err(at.unexpected("an action")),
                }
            } else {
                break;
            }
        }
        if key.columns.len() != key.referenced_columns.len() {
            return Err(at.error("it has more columns on one side"));
        }
        let relation = self.relation(at, table)?;
        if let Some(missing) = key.columns.iter().find(|name| relation.column(name).is_none()) {
            return Err(at.undeclared(format!("column {missing} of {table}")));
        }
        self.foreign_keys.push(Foreign { key, temporal: period || referenced_period });
        Ok(())
    }

    /// Behind `CREATE [UNIQUE] INDEX`.
    pub(super) fn create_index(
        &mut self,
        at: &mut Cursor<'_>,
        unique: bool,
    ) -> Result<(), DdlError> {
        let name = at.name()?;
        at.expect(&["on"])?;
        at.word("only");
        let table = self.table_name(at)?;
        let full = Name::new(table.schema.as_str(), name.as_str());
        if at.word("using") {
            at.name()?;
        }
        let mut key = Some(Key { constraint: false, ..Key::new(name, Vec::new()) });
        at.expect_symbol(b'(')?;
        loop {
            match (index_column(at)?, &mut key) {
                (Some(column), Some(key)) => key.columns.push(column),
                _ => key = None,
            }
            if !at.symbol(b',') {
                break;
            }
        }
        at.expect_symbol(b')')?;
        loop {
            if at.word("include") || at.word("with") {
                at.parenthesised()?;
            } else if at.words(&["nulls", "not", "distinct"]) {
                if let Some(key) = &mut key {
                    key.nulls_not_distinct = true;
                }
            } else if at.words(&["nulls", "distinct"]) {
            } else if at.word("tablespace") {
                at.name()?;
            } else if at.word("where") {
                key = None;
                at.pass(|_| false)?;
            } else {
                break;
            }
        }
        at.end()?;
        let relation = self.relation(at, &table)?;
        if relation.kind == Kind::View || !unique {
            key = None;
        }
        for name in key.iter().flat_map(|key| &key.columns) {
            if relation.column(name).is_none() {
                return Err(at.undeclared(format!("column {name} of {table}")));
            }
        }
        self.add_index(full, &table, key, false)
    }

    /// Behind `ALTER INDEX`.
    pub(super) fn alter_index(&mut self, at: &mut Cursor<'_>) -> Result<(), DdlError> {
        at.words(&["if", "exists"]);
        let here = at.clone();
        let parent = at.written()?;
        if !at.words(&["attach", "partition"]) {
            return match at.any_word().as_str() {
                // Statistics, storage parameters, tablespaces, what it depends on.
                "ALTER" | "SET" | "RESET" | "OWNER" | "DEPENDS" | "NO" => at.pass(|_| false),
                _ => Err(here.unexpected("what pg_dump writes")),
            };
        }
        let child = at.written()?;
        at.end()?;
        let find = |written: &super::cursor::Written| {
            let found = self.scope.candidates(written);
            let found = found.into_iter().find(|name| self.indexes.contains_key(name));
            found.ok_or_else(|| here.undeclared(format!("index {written}")))
        };
        let (parent, child) = (find(&parent)?, find(&child)?);
        if let Some(parent) = self.indexes.get_mut(&parent) {
            parent.parts.push(child);
        }
        Ok(())
    }
}

/// `(a, b, PERIOD c)`: the columns, and whether the last is a period.
fn referring(at: &mut Cursor<'_>) -> Result<(Vec<String>, bool), DdlError> {
    let mut names = Vec::new();
    let mut period = false;
    at.expect_symbol(b'(')?;
    loop {
        let here = at.clone();
        // A column may be called that.
        if at.word("period") && !at.is_symbol(b',') && !at.is_symbol(b')') {
            period = true;
        } else {
            *at = here;
        }
        names.push(at.name()?);
        if !at.symbol(b',') {
            break;
        }
    }
    at.expect_symbol(b')')?;
    Ok((names, period))
}

/// One part of an index: its column, or none for an expression or for an operator class with an
/// equality of its own (those whose name ends in `_pattern_ops` have the ordinary one). The server
/// writes a class where it is not the default of the type.
fn index_column(at: &mut Cursor<'_>) -> Result<Option<String>, DdlError> {
    let here = at.clone();
    if at.is_symbol(b'(') {
        at.pass(|_| false)?;
        return Ok(None);
    }
    let mut column = Some(at.name()?);
    if at.is_symbol(b'(') || at.is_symbol(b'.') {
        // A function.
        *at = here;
        at.pass(|_| false)?;
        return Ok(None);
    }
    if at.word("collate") {
        at.written()?;
    }
    let ordering = |at: &Cursor<'_>| at.is("asc") || at.is("desc") || at.is("nulls");
    if matches!(at.kind(), lex::Kind::Word | lex::Kind::Quoted) && !ordering(at) {
        let class = at.written()?;
        if at.is_symbol(b'(') {
            at.parenthesised()?;
        }
        if !class.name.ends_with("_pattern_ops") {
            column = None;
        }
    }
    let _ = at.word("asc") || at.word("desc");
    if at.word("nulls") && !at.word("first") {
        at.expect(&["last"])?;
    }
    Ok(column)
}
