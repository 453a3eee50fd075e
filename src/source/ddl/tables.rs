//! Relations: CREATE TABLE in all its forms, and what children take over from their parents.

use super::DdlError;
use super::bounds::bound;
use super::columns::{CheckMade, Column, Elements, NotNull, elements, merge};
use super::cursor::Cursor;
use super::declare::Declarations;
use super::types::{Form, Type};
use crate::format::manifest::Name;

/// What kind of relation it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Table,
    Partitioned,
    /// Its rows are elsewhere.
    Foreign,
    /// Views and materialized views: without rows of their own.
    View,
}

/// A relation as far as it is known.
#[derive(Clone, Debug)]
pub(super) struct Relation {
    pub(super) kind: Kind,
    pub(super) unlogged: bool,
    pub(super) columns: Vec<Column>,
    pub(super) checks: Vec<CheckMade>,
    pub(super) partition_of: Option<Name>,
    pub(super) bound: Option<String>,
    pub(super) key: Option<String>,
    /// Tables it inherits from, in order.
    pub(super) inherits: Vec<Name>,
    /// Tables that inherit from it, partitions among them.
    pub(super) children: Vec<Name>,
}

impl Relation {
    pub(super) fn new(kind: Kind) -> Self {
        Self {
            kind,
            unlogged: false,
            columns: Vec::new(),
            checks: Vec::new(),
            partition_of: None,
            bound: None,
            key: None,
            inherits: Vec::new(),
            children: Vec::new(),
        }
    }

    pub(super) fn column(&mut self, name: &str) -> Option<&mut Column> {
        self.columns.iter_mut().find(|column| column.name == name)
    }

    /// A check of the same name is the same check: a parent's and a child's merge.
    pub(super) fn add_check(&mut self, check: CheckMade) {
        if !self.checks.iter().any(|old| old.check.name == check.check.name) {
            self.checks.push(check);
        }
    }

    /// What a child takes over from it when it is made.
    fn heritage(&self) -> Elements {
        let mut columns = self.columns.clone();
        for column in &mut columns {
            (column.identity, column.own_default) = (false, false);
            if column.not_null == NotNull::Here {
                column.not_null = NotNull::No;
            }
        }
        let checks = self.checks.iter().filter(|check| check.inherited).cloned().collect();
        Elements { columns, checks, ..Elements::default() }
    }

    /// Adds what stands in the statement to what is there from parents or a type.
    fn take(&mut self, at: &Cursor<'_>, found: Elements) -> Result<(), DdlError> {
        for column in found.columns {
            merge(&mut self.columns, column);
        }
        for (name, options) in found.options {
            let column = self.column(&name);
            column.ok_or_else(|| at.undeclared(format!("column {name}")))?.apply(options);
        }
        for check in found.checks {
            self.add_check(check);
        }
        for (name, not_null) in found.not_null {
            let column = self.column(&name);
            let column = column.ok_or_else(|| at.undeclared(format!("column {name}")))?;
            column.not_null = column.not_null.max(not_null);
        }
        Ok(())
    }
}

impl Declarations {
    /// Behind `CREATE [UNLOGGED] [FOREIGN] TABLE`.
    pub(super) fn create_table(
        &mut self,
        at: &mut Cursor<'_>,
        unlogged: bool,
        foreign: bool,
    ) -> Result<(), DdlError> {
        at.words(&["if", "not", "exists"]);
        let name = self.scope.new_name(at, at.clone().written()?)?;
        at.written()?;
        let kind = if foreign { Kind::Foreign } else { Kind::Table };
        let mut relation = Relation { unlogged, ..Relation::new(kind) };
        let mut parents = Vec::new();
        if at.word("of") {
            let of = at.written()?;
            let candidates = self.scope.candidates(&of);
            let fields = candidates.iter().find_map(|name| self.fields.get(name));
            let fields = fields.ok_or_else(|| at.undeclared(format!("composite type {of}")))?;
            relation.columns.clone_from(fields);
            if at.is_symbol(b'(') {
                let found = elements(at, &mut self.scope, true)?;
                relation.take(at, found)?;
            }
        } else if at.words(&["partition", "of"]) {
            let parent = self.table_name(at)?;
            let heritage = self.relation(at, &parent)?.heritage();
            relation.take(at, heritage)?;
            if at.is_symbol(b'(') {
                let found = elements(at, &mut self.scope, true)?;
                relation.take(at, found)?;
            }
            relation.bound = Some(bound(at)?);
            relation.partition_of = Some(parent.clone());
            parents.push(parent);
        } else {
            let own = elements(at, &mut self.scope, false)?;
            if at.word("inherits") {
                at.expect_symbol(b'(')?;
                loop {
                    let parent = self.table_name(at)?;
                    let heritage = self.relation(at, &parent)?.heritage();
                    relation.inherit(heritage);
                    parents.push(parent);
                    if !at.symbol(b',') {
                        break;
                    }
                }
                at.expect_symbol(b')')?;
                relation.inherits.clone_from(&parents);
            }
            relation.take(at, own)?;
        }
        if at.words(&["partition", "by"]) {
            let start = at.here();
            at.any_word();
            at.parenthesised()?;
            relation.key = Some(at.since(start).to_owned());
            relation.kind = Kind::Partitioned;
        }
        self.after_table(at, &name, foreign)?;
        for parent in parents {
            if let Some(parent) = self.relations.get_mut(&parent) {
                parent.children.push(name.clone());
            }
        }
        self.add_relation(name, relation)
    }

    /// What may follow the columns of a table and is not in the catalog.
    fn after_table(
        &mut self,
        at: &mut Cursor<'_>,
        name: &Name,
        foreign: bool,
    ) -> Result<(), DdlError> {
        let mut oids = self.default_with_oids;
        loop {
            if at.words(&["with", "oids"]) {
                oids = true;
            } else if at.words(&["without", "oids"]) {
                oids = false;
            } else if at.word("with") {
                let start = at.here();
                at.parenthesised()?;
                let options = at.since(start).to_ascii_lowercase();
                oids |= options.contains("(oids=true") || options.contains("(oids='true");
            } else if at.word("using") || at.word("tablespace") || foreign && at.word("server") {
                at.name()?;
            } else if foreign && at.word("options") {
                at.parenthesised()?;
            } else {
                break;
            }
        }
        if oids && !foreign {
            self.notes.insert(format!(
                "table {name} has OIDs (WITH OIDS): no server since version 12 knows such tables, \
                 and they are not in the archive"
            ));
        }
        at.end()
    }

    /// A new relation and the type of its rows.
    pub(super) fn add_relation(&mut self, name: Name, relation: Relation) -> Result<(), DdlError> {
        if let Some(there) = self.relations.get(&name) {
            // A view that others need is made twice: first with its columns alone.
            let again = relation.kind == Kind::View && there.kind == Kind::View;
            return if again {
                Ok(())
            } else {
                Err(DdlError::Twice { object: format!("table {name}") })
            };
        }
        let mut row = Type::new(name.clone(), Form::Composite);
        row.storage = "extended";
        self.scope.types.declare(row);
        self.relations.insert(name, relation);
        Ok(())
    }

    /// The relation that is named here.
    pub(super) fn table_name(&self, at: &mut Cursor<'_>) -> Result<Name, DdlError> {
        let here = at.clone();
        let written = at.written()?;
        let found = self.find_table(&written);
        found.ok_or_else(|| here.undeclared(format!("table {written}")))
    }

    /// The relation of this name.
    pub(super) fn find_table(&self, written: &super::cursor::Written) -> Option<Name> {
        let candidates = self.scope.candidates(written);
        candidates.into_iter().find(|name| self.relations.contains_key(name))
    }

    /// A relation that is there.
    pub(super) fn relation(
        &mut self,
        at: &Cursor<'_>,
        name: &Name,
    ) -> Result<&mut Relation, DdlError> {
        let found = self.relations.get_mut(name);
        found.ok_or_else(|| at.undeclared(format!("table {name}")))
    }
}

impl Relation {
    /// What another parent brings. Defaults of two parents that differ are none.
    fn inherit(&mut self, heritage: Elements) {
        for new in heritage.columns {
            let Some(old) = self.column(&new.name) else {
                self.columns.push(new);
                continue;
            };
            old.not_null = old.not_null.max(new.not_null);
            old.default = match (old.default.take(), new.default) {
                (Some(old), Some(new)) => (old == new).then_some(new),
                (old, new) => old.or(new),
            };
        }
        for check in heritage.checks {
            self.add_check(check);
        }
    }
}
