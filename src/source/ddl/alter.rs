//! ALTER TABLE: what of it changes the catalog.

use super::DdlError;
use super::bounds::bound;
use super::columns::{CheckMade, NotNull, after_not_null, check, default};
use super::cursor::{Cursor, Written};
use super::declare::Declarations;
use super::tables::Kind;
use crate::format::manifest::Name;

impl Declarations {
    /// Behind `ALTER [FOREIGN] TABLE`. What it is of may be a view or a sequence too.
    pub(super) fn alter_table(&mut self, at: &mut Cursor<'_>) -> Result<(), DdlError> {
        at.words(&["if", "exists"]);
        let only = at.word("only");
        let written = at.written()?;
        at.symbol(b'*');
        loop {
            self.alter_action(at, &written, only)?;
            if !at.symbol(b',') {
                return at.end();
            }
        }
    }

    fn alter_action(
        &mut self,
        at: &mut Cursor<'_>,
        written: &Written,
        only: bool,
    ) -> Result<(), DdlError> {
        let here = at.clone();
        let table = self.find_table(written);
        let known = || {
            let table = table.clone();
            table.ok_or_else(|| here.undeclared(format!("table {written}")))
        };
        let action = at.any_word();
        match action.as_str() {
            "ADD" => {
                let table = known()?;
                self.add_constraint(at, &table, only)
            }
            "ALTER" => {
                at.word("column");
                self.alter_column(at, table, written)
            }
            "ATTACH" => {
                at.expect(&["partition"])?;
                self.attach(at, &known()?)
            }
            "INHERIT" => {
                let child = known()?;
                let parent = self.table_name(at)?;
                self.relation(at, &parent)?.children.push(child.clone());
                self.relation(at, &child)?.inherits.push(parent);
                Ok(())
            }
            "SET" if at.word("unlogged") => {
                if let Some(table) = table {
                    self.relation(at, &table)?.unlogged = true;
                }
                Ok(())
            }
            "OWNER" | "ENABLE" | "DISABLE" | "FORCE" | "REPLICA" | "CLUSTER" | "OPTIONS"
            | "RESET" => at.pass(|_| false),
            "NO" if at.is("force") => at.pass(|_| false),
            "SET"
                if ["without", "tablespace", "access", "logged", "schema"]
                    .iter()
                    .any(|word| at.is(word))
                    || at.is_symbol(b'(') =>
            {
                if at.is("schema") {
                    return Err(here.unexpected("what pg_dump writes"));
                }
                at.pass(|_| false)
            }
            // `pg_dump --clean`: before anything is declared.
            "DROP" | "DETACH" if table.is_none() && self.is_empty() => at.pass(|_| false),
            _ => Err(here.unexpected("what pg_dump writes")),
        }
    }

    fn alter_column(
        &mut self,
        at: &mut Cursor<'_>,
        table: Option<Name>,
        written: &Written,
    ) -> Result<(), DdlError> {
        let name = at.name()?;
        let here = at.clone();
        if at.words(&["set", "statistics"])
            || (at.words(&["set"]) && at.is_symbol(b'('))
            || at.word("reset")
            || at.word("options")
        {
            return at.pass(|_| false);
        }
        *at = here.clone();
        if at.words(&["drop", "default"]) && self.is_empty() {
            return Ok(());
        }
        *at = here.clone();
        let table = table.ok_or_else(|| here.undeclared(format!("table {written}")))?;
        if at.words(&["add", "generated"]) {
            return self.add_identity(at, &table, &name);
        }
        let relation = self.relation(at, &table)?;
        if relation.kind == Kind::View {
            // A default of a view's column: nothing of it is in the catalog.
            return at.pass(|_| false);
        }
        let column = relation.column(&name);
        let column = column.ok_or_else(|| here.undeclared(format!("column {name} of {table}")))?;
        if at.words(&["set", "default"]) {
            let start = at.behind_space();
            at.pass(|_| false)?;
            column.default = default(at.since(start));
        } else if at.words(&["drop", "default"]) {
            column.default = None;
        } else if at.words(&["set", "not", "null"]) {
            column.not_null = NotNull::Yes;
        } else if at.words(&["set", "storage"]) {
            column.storage = super::types::storage(&at.name()?);
        } else if at.words(&["set", "compression"]) {
            let method = at.name()?;
            column.compression = (method != "default").then_some(method);
        } else {
            return Err(here.unexpected("what pg_dump writes"));
        }
        Ok(())
    }

    /// Behind `ADD GENERATED`: `{ALWAYS | BY DEFAULT} AS IDENTITY ( ... )`.
    fn add_identity(
        &mut self,
        at: &mut Cursor<'_>,
        table: &Name,
        name: &str,
    ) -> Result<(), DdlError> {
        if !at.words(&["always", "as", "identity"]) {
            at.expect(&["by", "default", "as", "identity"])?;
        }
        let owned = (table.clone(), name.to_owned());
        let partitions = self.version >= 170_000;
        let relation = self.relation(at, table)?;
        let recurse = partitions && relation.kind == Kind::Partitioned;
        let column = relation.column(name);
        let column = column.ok_or_else(|| at.undeclared(format!("column {name} of {table}")))?;
        column.identity = true;
        column.not_null = column.not_null.max(NotNull::Yes);
        if recurse {
            for partition in self.descendants(table) {
                if let Some(column) = self.relation(at, &partition)?.column(name) {
                    column.identity = true;
                }
            }
        }
        at.expect_symbol(b'(')?;
        self.sequence_options(at, None, Some(owned))?;
        at.expect_symbol(b')')
    }

    /// Behind `ATTACH PARTITION`.
    fn attach(&mut self, at: &mut Cursor<'_>, parent: &Name) -> Result<(), DdlError> {
        let child = self.table_name(at)?;
        let bound = bound(at)?;
        let identities: Vec<String> = if self.version >= 170_000 {
            let columns = self.relation(at, parent)?.columns.iter();
            columns.filter(|column| column.identity).map(|column| column.name.clone()).collect()
        } else {
            Vec::new()
        };
        self.relation(at, parent)?.children.push(child.clone());
        let mut below = self.descendants(&child);
        below.push(child.clone());
        for partition in below {
            for column in &mut self.relation(at, &partition)?.columns {
                column.identity |= identities.contains(&column.name);
            }
        }
        let relation = self.relation(at, &child)?;
        if relation.partition_of.is_some() {
            return Err(DdlError::Twice { object: format!("the parent of partition {child}") });
        }
        relation.partition_of = Some(parent.clone());
        relation.bound = Some(bound);
        Ok(())
    }

    /// Everything below a table. A ring, which no server has, ends where it began.
    pub(super) fn descendants(&self, table: &Name) -> Vec<Name> {
        let mut found = Vec::new();
        let mut seen = std::collections::BTreeSet::from([table]);
        let mut open = vec![table];
        while let Some(relation) = open.pop().and_then(|name| self.relations.get(name)) {
            for child in &relation.children {
                if seen.insert(child) {
                    found.push(child.clone());
                    open.push(child);
                }
            }
        }
        found
    }

    /// A check for a table and, unless it says otherwise, its children.
    pub(super) fn add_check(
        &mut self,
        at: &mut Cursor<'_>,
        table: &Name,
        name: String,
        only: bool,
    ) -> Result<(), DdlError> {
        let made = check(at, name)?;
        if made.inherited && !only {
            for child in self.descendants(table) {
                self.relation(at, &child)?.add_check(CheckMade { ..made.clone() });
            }
        }
        self.relation(at, table)?.add_check(made);
        Ok(())
    }

    /// Behind `NOT NULL` as a constraint of a table.
    pub(super) fn add_not_null(
        &mut self,
        at: &mut Cursor<'_>,
        table: &Name,
        only: bool,
    ) -> Result<(), DdlError> {
        let name = at.name()?;
        let made = after_not_null(at)?;
        let mut tables = vec![table.clone()];
        if made == NotNull::Yes && !only {
            tables.extend(self.descendants(table));
        }
        for table in tables {
            let relation = self.relation(at, &table)?;
            let column = relation.column(&name);
            let column =
                column.ok_or_else(|| at.undeclared(format!("column {name} of {table}")))?;
            column.not_null = column.not_null.max(made);
        }
        Ok(())
    }
}
