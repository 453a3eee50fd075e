//! Types, domains, collations, extensions and databases as CREATE makes them.

use super::columns::{NotNull, fields, options};
use super::cursor::Cursor;
use super::declare::Declarations;
use super::types::{Form, Type, storage};
use super::{DatabaseFacts, DdlError};
use crate::format::manifest::{Enum, Name};

impl Declarations {
    /// Behind `CREATE TYPE`.
    pub(super) fn create_type(&mut self, at: &mut Cursor<'_>) -> Result<(), DdlError> {
        let written = at.written()?;
        let name = self.scope.new_name(at, written)?;
        if at.at_end() {
            // A shell: it says no more than its name, and something else will.
            let found = Type::new(name.clone(), Form::Base);
            if self.scope.types.find(&name).is_some() {
                return Err(DdlError::Twice { object: format!("type {name}") });
            }
            self.shells.insert(name);
            self.scope.types.declare(found);
            return at.end();
        }
        if at.is_symbol(b'(') {
            return self.create_base(at, name);
        }
        at.expect(&["as"])?;
        if at.word("enum") {
            at.expect_symbol(b'(')?;
            let mut labels = Vec::new();
            while !at.symbol(b')') {
                labels.push(at.string()?);
                if !at.symbol(b',') && !at.is_symbol(b')') {
                    return Err(at.unexpected("a comma"));
                }
            }
            self.new_type(Type::new(name.clone(), Form::Enum))?;
            self.enums.push(Enum { name, labels });
        } else if at.word("range") {
            let mut found = Type::new(name.clone(), Form::Range);
            found.storage = "extended";
            let mut multirange = None;
            for_each_option(at, |option, at| {
                if option == "MULTIRANGE_TYPE_NAME" {
                    multirange = Some(at.written()?);
                    return Ok(());
                }
                at.pass(|_| false)
            })?;
            self.new_type(found)?;
            let multirange = match multirange {
                Some(written) => self.scope.new_name(at, written)?,
                // Dumps of version 13 and older; newer servers name it so.
                None => Name::new(name.schema, multirange_name(&name.name)),
            };
            let mut found = Type::new(multirange, Form::Multirange);
            found.storage = "extended";
            self.new_type(found)?;
        } else {
            let fields = fields(at, &mut self.scope)?;
            let mut found = Type::new(name.clone(), Form::Composite);
            found.storage = "extended";
            self.new_type(found)?;
            self.fields.insert(name, fields);
        }
        at.end()
    }

    /// A type that is not there yet, unless as a shell.
    fn new_type(&mut self, found: Type) -> Result<(), DdlError> {
        let name = found.name.clone();
        let automatic = self.scope.types.is_automatic(&name);
        let there = self.scope.types.find(&name).is_some() && !automatic;
        if there && !self.shells.remove(&name) {
            return Err(DdlError::Twice { object: format!("type {name}") });
        }
        self.scope.types.declare(found);
        Ok(())
    }

    /// `CREATE TYPE name ( INPUT = ..., ... )`.
    fn create_base(&mut self, at: &mut Cursor<'_>, name: Name) -> Result<(), DdlError> {
        let mut found = Type::new(name, Form::Base);
        for_each_option(at, |option, at| {
            match option {
                "STORAGE" => found.storage = storage(&at.name()?),
                "COLLATABLE" if at.word("true") => {
                    found.collation = Some(Name::new("pg_catalog", "default"));
                }
                _ => at.pass(|_| false)?,
            }
            Ok(())
        })?;
        self.new_type(found)?;
        at.end()
    }

    /// Behind `CREATE DOMAIN`.
    pub(super) fn create_domain(&mut self, at: &mut Cursor<'_>) -> Result<(), DdlError> {
        let written = at.written()?;
        let name = self.scope.new_name(at, written)?;
        at.expect(&["as"])?;
        let over = self.scope.type_name(at)?;
        let mut not_null = false;
        let mut collation = None;
        loop {
            let found = options(at, &self.scope)?;
            not_null |= matches!(found.not_null, Some(NotNull::Yes | NotNull::Here));
            collation = collation.or(found.collation);
            if at.word("check") {
                at.parenthesised()?;
                at.words(&["not", "valid"]);
            } else {
                break;
            }
        }
        at.end()?;
        let base = self.scope.types.get(over.id);
        let form = Form::Domain { over: over.id, typmod: over.typmod, not_null };
        let mut found = Type::new(name, form);
        found.storage = base.map_or("plain", |base| base.storage);
        found.collation = collation.or_else(|| base.and_then(|base| base.collation.clone()));
        self.new_type(found)
    }

    /// Behind `ALTER DOMAIN`.
    pub(super) fn alter_domain(&mut self, at: &mut Cursor<'_>) -> Result<(), DdlError> {
        let here = at.clone();
        let written = at.written()?;
        let mut not_null = at.words(&["set", "not", "null"]);
        if at.word("add") {
            if at.word("constraint") {
                at.name()?;
            }
            not_null = at.words(&["not", "null"]);
            if !not_null {
                at.expect(&["check"])?;
            }
        }
        if not_null {
            let candidates = self.scope.candidates(&written);
            if !candidates.iter().any(|name| self.scope.types.domain_not_null(name)) {
                return Err(here.undeclared(format!("domain {written}")));
            }
        }
        Ok(())
    }

    /// Behind `CREATE COLLATION`.
    pub(super) fn create_collation(&mut self, at: &mut Cursor<'_>) -> Result<(), DdlError> {
        at.words(&["if", "not", "exists"]);
        let written = at.written()?;
        let name = self.scope.new_name(at, written)?;
        let mut deterministic = true;
        for_each_option(at, |option, at| {
            if option == "DETERMINISTIC" {
                let value = at.clone().string().or_else(|_| at.clone().name())?;
                deterministic =
                    !matches!(value.to_ascii_lowercase().as_str(), "false" | "off" | "0");
            }
            at.pass(|_| false)
        })?;
        at.end()?;
        self.scope.collations.insert(name, deterministic);
        Ok(())
    }

    /// Behind `CREATE EXTENSION`.
    pub(super) fn create_extension(&mut self, at: &mut Cursor<'_>) -> Result<(), DdlError> {
        at.words(&["if", "not", "exists"]);
        let extension = at.name()?;
        at.word("with");
        let schema = if at.word("schema") { at.name()? } else { "pg_catalog".to_owned() };
        at.pass(|_| false)?;
        if !self.scope.types.extension(&extension, &schema) && extension != "plpgsql" {
            self.scope.unknown_extension = true;
        }
        at.end()
    }

    /// Behind `CREATE DATABASE`.
    pub(super) fn create_database(&mut self, at: &mut Cursor<'_>) -> Result<(), DdlError> {
        let mut found =
            DatabaseFacts { name: at.name()?, provider: "libc".to_owned(), ..Default::default() };
        at.word("with");
        while !at.at_end() {
            let option = at.any_word();
            at.symbol(b'=');
            let value = match at.clone().string() {
                Ok(value) => {
                    at.advance();
                    value
                }
                // `TEMPLATE = template0`, `CONNECTION LIMIT = -1`.
                Err(_) if option == "CONNECTION" => {
                    at.expect(&["limit"])?;
                    at.symbol(b'=');
                    at.integer()?.to_string()
                }
                Err(_) if at.clone().integer().is_ok() => at.integer()?.to_string(),
                Err(_) => at.name()?,
            };
            match option.as_str() {
                "ENCODING" => found.encoding = Some(value),
                "LC_COLLATE" => found.collate = Some(value),
                "LC_CTYPE" => found.ctype = Some(value),
                "LOCALE" => {
                    found.collate.get_or_insert_with(|| value.clone());
                    found.ctype.get_or_insert(value);
                }
                "LOCALE_PROVIDER" => found.provider = value,
                "ICU_LOCALE" | "BUILTIN_LOCALE" => found.locale = Some(value),
                "OWNER" | "TEMPLATE" | "TABLESPACE" | "CONNECTION" | "ALLOW_CONNECTIONS"
                | "IS_TEMPLATE" | "OID" | "STRATEGY" | "COLLATION_VERSION" | "ICU_RULES" => {}
                other => return Err(at.error(format!("the option {other:?}"))),
            }
        }
        self.database = Some(found);
        at.end()
    }
}

/// `( name = value, ... )`: calls `each` with every name, in capitals, and at its value.
pub(super) fn for_each_option(
    at: &mut Cursor<'_>,
    mut each: impl FnMut(&str, &mut Cursor<'_>) -> Result<(), DdlError>,
) -> Result<(), DdlError> {
    at.expect_symbol(b'(')?;
    loop {
        let option = at.name()?.to_ascii_uppercase();
        if at.symbol(b'=') {
            each(&option, at)?;
        }
        if !at.symbol(b',') {
            return at.expect_symbol(b')');
        }
    }
}

/// What a server calls the multirange of a range that does not say it.
fn multirange_name(range: &str) -> String {
    if range.contains("range") {
        range.replacen("range", "multirange", 1)
    } else {
        format!("{range}_multirange")
    }
}
