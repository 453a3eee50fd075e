//! Taking statements in: which there are, and which declare nothing for the catalog.

use std::collections::{BTreeMap, BTreeSet};

use super::cursor::Cursor;
use super::keys::{Foreign, Index};
use super::lex::Kind as Token;
use super::scope::Scope;
use super::tables::{Kind, Relation};
use super::types::Fields;
use super::{DatabaseFacts, DdlError, DeclaredSequence, standard_strings};
use crate::format::manifest::{Enum, Name};

/// The version taken for granted where a dump does not say which it is of: the newest known.
const NEWEST: u64 = 180_000;

/// What the statements so far declare.
#[derive(Clone, Debug)]
pub struct Declarations {
    /// `server_version_num` of the server that the dump is of.
    pub(super) version: u64,
    standard: bool,
    pub(super) scope: Scope,
    /// Types that are declared by their name alone, so far.
    pub(super) shells: BTreeSet<Name>,
    pub(super) fields: Fields,
    pub(super) enums: Vec<Enum>,
    pub(super) relations: BTreeMap<Name, Relation>,
    pub(super) indexes: BTreeMap<Name, Index>,
    pub(super) foreign_keys: Vec<Foreign>,
    pub(super) sequences: BTreeMap<Name, DeclaredSequence>,
    pub(super) database: Option<DatabaseFacts>,
    pub(super) client_encoding: Option<String>,
    pub(super) default_with_oids: bool,
    pub(super) notes: BTreeSet<String>,
}

impl Default for Declarations {
    fn default() -> Self {
        Self::new()
    }
}

impl Declarations {
    /// Nothing yet.
    pub fn new() -> Self {
        Self {
            version: NEWEST,
            standard: true,
            scope: Scope::new(),
            shells: BTreeSet::new(),
            fields: Fields::new(),
            enums: Vec::new(),
            relations: BTreeMap::new(),
            indexes: BTreeMap::new(),
            foreign_keys: Vec::new(),
            sequences: BTreeMap::new(),
            database: None,
            client_encoding: None,
            default_with_oids: false,
            notes: BTreeSet::new(),
        }
    }

    /// Says which server the dump is of, such as 150018: the same statements do not mean the same
    /// to all of them (since version 17 partitions share their parent's identity columns). A plain
    /// dump says it in the comments before its first statement; without either, the newest known
    /// version is taken for granted.
    pub fn set_server_version(&mut self, server_version_num: u64) {
        self.version = server_version_num;
        self.scope.types.numbered = server_version_num >= 160_000;
    }

    /// Whether nothing has been declared that could be altered or dropped.
    pub(super) fn is_empty(&self) -> bool {
        self.enums.is_empty()
            && self.sequences.is_empty()
            && self.relations.values().all(|relation| relation.kind == Kind::View)
    }

    /// Whether there is a table of this name so far.
    pub fn has_table(&self, name: &Name) -> bool {
        self.relations.get(name).is_some_and(|relation| relation.kind != Kind::View)
    }

    /// The table that a statement of a dump means by this name: where it has no schema (dumps of
    /// servers before 2018), the search path of the dump says which.
    pub fn resolve_table(&self, schema: Option<&str>, name: &str) -> Option<Name> {
        let schema = schema.map(str::to_owned);
        let written = super::cursor::Written { schema, name: name.to_owned(), quoted: true };
        self.find_table(&written).filter(|name| self.has_table(name))
    }

    /// Whether a table is a partition of another, at whatever depth.
    #[cfg(feature = "dumps")]
    pub(in crate::source) fn is_partition_within(&self, table: &Name, root: &Name) -> bool {
        let mut at = table;
        // No deeper than there are tables, whatever they say of each other.
        for _ in 0..self.relations.len() {
            match self.relations.get(at).and_then(|relation| relation.partition_of.as_ref()) {
                Some(parent) if parent == root => return true,
                Some(parent) => at = parent,
                None => return false,
            }
        }
        false
    }

    /// Says where a sequence stands: what `setval` does. [`Self::statement`] knows it from
    /// `SELECT pg_catalog.setval('s.q', 7, true)` too.
    pub fn set_value(&mut self, sequence: &Name, last: i64, called: bool) -> Result<(), DdlError> {
        let Some(found) = self.sequences.get_mut(sequence) else {
            let object = format!("sequence {sequence}");
            return Err(DdlError::Undeclared { object, statement: "setval".into() });
        };
        found.value = Some((last, called));
        Ok(())
    }

    /// Takes one complete statement as `pg_dump` writes it, comments before it included. What
    /// declares nothing for the catalog (functions, views, privileges, ...) is passed over by an
    /// explicit list; rows (COPY, INSERT) and large objects are none of its business: an error.
    pub fn statement(&mut self, sql: &str) -> Result<(), DdlError> {
        let at = &mut Cursor::new(sql, self.standard);
        if let Some(version) = sql.get(..at.here()).and_then(dumped_from) {
            self.set_server_version(version);
        }
        if at.at_end() {
            return at.end();
        }
        let here = at.clone();
        let unknown = || here.unexpected("a statement of pg_dump that declares something");
        match at.any_word().as_str() {
            "CREATE" => self.create(at),
            "ALTER" => self.alter(at),
            "SELECT" => self.select(at),
            "SET" => self.set(at, sql),
            // `pg_dump --clean`: before anything is declared.
            "DROP" if self.is_empty() => Ok(()),
            "COMMENT" | "GRANT" | "REVOKE" | "SECURITY" | "REFRESH" | "RESET" | "ANALYZE"
            | "BEGIN" | "COMMIT" | "START" | "END" => Ok(()),
            _ => Err(unknown()),
        }
    }

    fn create(&mut self, at: &mut Cursor<'_>) -> Result<(), DdlError> {
        at.words(&["or", "replace"]);
        let here = at.clone();
        match at.any_word().as_str() {
            "TABLE" => self.create_table(at, false, false),
            "UNLOGGED" if at.word("table") => self.create_table(at, true, false),
            "UNLOGGED" if at.word("sequence") => self.create_sequence(at),
            "SEQUENCE" => self.create_sequence(at),
            "FOREIGN" if at.word("table") => self.create_table(at, false, true),
            "FOREIGN" if at.are(&["data", "wrapper"]) => Ok(()),
            "UNIQUE" if at.word("index") => self.create_index(at, true),
            "INDEX" => self.create_index(at, false),
            "TYPE" => self.create_type(at),
            "DOMAIN" => self.create_domain(at),
            "COLLATION" => self.create_collation(at),
            "EXTENSION" => self.create_extension(at),
            "DATABASE" => self.create_database(at),
            "VIEW" => self.create_view(at),
            "MATERIALIZED" | "RECURSIVE" if at.word("view") => self.create_view(at),
            "RULE" => self.create_rule(at),
            "AGGREGATE" | "ACCESS" | "CAST" | "CONSTRAINT" | "CONVERSION" | "DEFAULT" | "EVENT"
            | "FUNCTION" | "GROUP" | "LANGUAGE" | "OPERATOR" | "POLICY" | "PROCEDURAL"
            | "PROCEDURE" | "PUBLICATION" | "ROLE" | "SCHEMA" | "SERVER" | "STATISTICS"
            | "SUBSCRIPTION" | "TABLESPACE" | "TEXT" | "TRANSFORM" | "TRIGGER" | "TRUSTED"
            | "USER" => Ok(()),
            _ => Err(here.unexpected("what pg_dump creates")),
        }
    }

    fn create_sequence(&mut self, at: &mut Cursor<'_>) -> Result<(), DdlError> {
        at.words(&["if", "not", "exists"]);
        let written = at.written()?;
        let name = self.scope.new_name(at, written)?;
        self.sequence_options(at, Some(name), None)?;
        at.end()
    }

    /// Its columns are not known; its rows' type has a name all the same.
    fn create_view(&mut self, at: &mut Cursor<'_>) -> Result<(), DdlError> {
        at.words(&["if", "not", "exists"]);
        let written = at.written()?;
        let name = self.scope.new_name(at, written)?;
        self.add_relation(name, Relation::new(Kind::View))
    }

    /// Up to version 9.6, a view that others need is a table first, and becomes a view by its rule.
    fn create_rule(&mut self, at: &mut Cursor<'_>) -> Result<(), DdlError> {
        if at.name()? == "_RETURN" && at.words(&["as", "on", "select", "to"]) {
            let name = self.table_name(at)?;
            let relation = self.relation(at, &name)?;
            relation.kind = Kind::View;
            relation.columns.clear();
        }
        Ok(())
    }

    fn alter(&mut self, at: &mut Cursor<'_>) -> Result<(), DdlError> {
        let here = at.clone();
        match at.any_word().as_str() {
            "TABLE" => self.alter_table(at),
            "FOREIGN" if at.word("table") => self.alter_table(at),
            "FOREIGN" if at.are(&["data", "wrapper"]) => Ok(()),
            "INDEX" => self.alter_index(at),
            "SEQUENCE" => self.alter_sequence(at),
            "DOMAIN" => self.alter_domain(at),
            "DATABASE" => self.alter_database(at),
            "ROLE" | "USER" => {
                at.name()?;
                if at.are(&["in", "database"]) {
                    self.settings();
                }
                Ok(())
            }
            "TYPE" => {
                at.written()?;
                if at.is("owner") { Ok(()) } else { Err(here.unexpected("OWNER TO")) }
            }
            "AGGREGATE" | "COLLATION" | "CONVERSION" | "DEFAULT" | "EVENT" | "EXTENSION"
            | "FUNCTION" | "GROUP" | "LANGUAGE" | "LARGE" | "MATERIALIZED" | "OPERATOR"
            | "POLICY" | "PROCEDURAL" | "PROCEDURE" | "PUBLICATION" | "ROUTINE" | "RULE"
            | "SCHEMA" | "SERVER" | "STATISTICS" | "SUBSCRIPTION" | "TABLESPACE" | "TEXT"
            | "TRIGGER" | "VIEW" => Ok(()),
            _ => Err(here.unexpected("what pg_dump alters")),
        }
    }

    fn alter_database(&mut self, at: &mut Cursor<'_>) -> Result<(), DdlError> {
        at.name()?;
        if at.is("set") && !at.are(&["set", "tablespace"]) {
            self.settings();
        }
        Ok(())
    }

    fn settings(&mut self) {
        self.notes.insert(
            "settings made for the database or for roles in it (ALTER DATABASE ... SET) are not in \
             the archive"
                .to_owned(),
        );
    }

    /// Calls of functions that a dump has.
    fn select(&mut self, at: &mut Cursor<'_>) -> Result<(), DdlError> {
        let here = at.clone();
        at.symbol(b'*');
        at.word("from");
        let function = at.written()?;
        match function.name.as_str() {
            "setval" => self.setval(at),
            "set_config" => {
                at.expect_symbol(b'(')?;
                let setting = at.string()?;
                at.expect_symbol(b',')?;
                let value = at.string()?;
                if setting == "search_path" {
                    self.scope.path = path(&value)?;
                }
                Ok(())
            }
            "pg_restore_relation_stats"
            | "pg_restore_attribute_stats"
            | "pg_restore_extended_stats"
            | "pg_extension_config_dump" => Ok(()),
            _ => Err(here.unexpected("setval or set_config")),
        }
    }

    fn set(&mut self, at: &mut Cursor<'_>, sql: &str) -> Result<(), DdlError> {
        if let Some(on) = standard_strings(sql) {
            self.standard = on;
        }
        let _ = at.word("session") || at.word("local");
        let setting = at.any_word();
        if !at.symbol(b'=') {
            at.word("to");
        }
        match setting.as_str() {
            "CLIENT_ENCODING" => {
                let value = at.clone().string().or_else(|_| at.name())?;
                self.client_encoding = Some(value);
            }
            "DEFAULT_WITH_OIDS" => self.default_with_oids = at.is("true") || at.is("on"),
            "SEARCH_PATH" => {
                let mut schemas = Vec::new();
                loop {
                    let value = if at.kind() == Token::String { at.string()? } else { at.name()? };
                    schemas.push(value);
                    if !at.symbol(b',') {
                        break;
                    }
                }
                schemas.retain(|schema| !schema.is_empty());
                self.scope.path = schemas;
            }
            _ => {}
        }
        Ok(())
    }
}

/// The server's version, if the comments of the dump's head are among these.
fn dumped_from(comments: &str) -> Option<u64> {
    let (_, version) = comments.split_once("-- Dumped from database version ")?;
    let version = version.split(|c: char| !c.is_ascii_digit() && c != '.').next()?;
    let mut parts = version.split('.').map(str::parse::<u64>);
    let major = parts.next()?.ok()?;
    let mut part = || parts.next().and_then(Result::ok).unwrap_or(0);
    // 9.6.24 is 90624, 15.18 is 150018.
    let number =
        if major < 10 { major * 10_000 + part() * 100 + part() } else { major * 10_000 + part() };
    (number < 10_000_000).then_some(number)
}

/// The schemas of a `search_path` as a string.
fn path(value: &str) -> Result<Vec<String>, DdlError> {
    let mut at = Cursor::new(value, true);
    let mut schemas = Vec::new();
    while !at.at_end() {
        schemas.push(at.name()?);
        at.symbol(b',');
    }
    schemas.retain(|schema| !schema.is_empty());
    Ok(schemas)
}
