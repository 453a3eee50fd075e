//! What is between the parentheses of CREATE TABLE: columns, checks, NOT NULL constraints.

use super::DdlError;
use super::cursor::Cursor;
use super::scope::{Declared, Scope};
use super::types::TypeId;
use crate::format::manifest::{Check, Name};

/// A column as far as it is known.
#[derive(Clone, Debug)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) of: TypeId,
    pub(super) typmod: i64,
    pub(super) sql: String,
    pub(super) collation: Option<Name>,
    pub(super) default: Option<String>,
    /// It says so itself: not a parent's, even if it is none (`DEFAULT NULL`).
    pub(super) own_default: bool,
    pub(super) not_null: NotNull,
    pub(super) generated: bool,
    pub(super) identity: bool,
    pub(super) storage: &'static str,
    pub(super) compression: Option<String>,
}

/// Whether a column may be NULL, and whether its children's may.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum NotNull {
    No,
    /// NO INHERIT, since version 18.
    Here,
    /// Children inherit it.
    Yes,
}

/// A CHECK constraint.
#[derive(Clone, Debug)]
pub(super) struct CheckMade {
    pub(super) check: Check,
    pub(super) inherited: bool,
}

/// What stands behind DEFAULT or GENERATED.
#[derive(Clone, Default, Debug)]
pub(super) enum Default {
    /// Nothing does.
    #[default]
    Unsaid,
    /// `DEFAULT NULL`.
    Null,
    Value(String),
    Generated(String),
}

/// What stands behind the name of a column and its type.
#[derive(Clone, Default, Debug)]
pub(super) struct Options {
    pub(super) default: Default,
    pub(super) not_null: Option<NotNull>,
    pub(super) collation: Option<Name>,
}

/// All of it.
#[derive(Clone, Default, Debug)]
pub(super) struct Elements {
    pub(super) columns: Vec<Column>,
    /// Of columns that are there already, by name.
    pub(super) options: Vec<(String, Options)>,
    pub(super) checks: Vec<CheckMade>,
    /// Columns that a constraint of the table makes NOT NULL.
    pub(super) not_null: Vec<(String, NotNull)>,
}

impl Column {
    /// A column of this type, with the type's collation and storage.
    pub(super) fn new(scope: &Scope, name: String, declared: Declared) -> Self {
        let found = scope.types.get(declared.id);
        Self {
            name,
            of: declared.id,
            typmod: declared.typmod,
            sql: declared.sql,
            collation: found.and_then(|found| found.collation.clone()),
            default: None,
            own_default: false,
            not_null: NotNull::No,
            generated: false,
            identity: false,
            storage: found.map_or("plain", |found| found.storage),
            compression: None,
        }
    }

    /// What stands behind its type.
    pub(super) fn apply(&mut self, options: Options) {
        let said = !matches!(options.default, Default::Unsaid);
        let (default, generated) = match options.default {
            Default::Unsaid => (self.default.take(), self.generated),
            Default::Null => (None, false),
            Default::Value(value) => (Some(value), false),
            Default::Generated(value) => (Some(value), true),
        };
        self.own_default |= said;
        (self.default, self.generated) = (default, generated);
        if let Some(not_null) = options.not_null {
            self.not_null = self.not_null.max(not_null);
        }
        if options.collation.is_some() {
            self.collation = options.collation;
        }
    }
}

/// `( ... )`: the elements of a table whose columns are all here (`typed` is false) or there already.
pub(super) fn elements(
    at: &mut Cursor<'_>,
    scope: &mut Scope,
    typed: bool,
) -> Result<Elements, DdlError> {
    let mut found = Elements::default();
    at.expect_symbol(b'(')?;
    if at.symbol(b')') {
        return Ok(found);
    }
    loop {
        element(at, scope, typed, &mut found)?;
        if !at.symbol(b',') {
            at.expect_symbol(b')')?;
            return Ok(found);
        }
    }
}

fn element(
    at: &mut Cursor<'_>,
    scope: &mut Scope,
    typed: bool,
    found: &mut Elements,
) -> Result<(), DdlError> {
    let name = if at.word("constraint") { Some(at.name()?) } else { None };
    if at.is("check") {
        let name = name.ok_or_else(|| at.error("a CHECK constraint without a name"))?;
        found.checks.push(check(at, name)?);
        return Ok(());
    }
    if at.words(&["not", "null"]) {
        let column = at.name()?;
        found.not_null.push((column, after_not_null(at)?));
        return Ok(());
    }
    // Reserved words: a column of such a name is in quotes.
    let reserved = ["like", "primary", "unique", "foreign"];
    if name.is_some() || reserved.iter().any(|word| at.is(word)) {
        return Err(at.unexpected("a column, CHECK or NOT NULL"));
    }
    let name = at.name()?;
    if typed {
        at.words(&["with", "options"]);
        let options = options(at, scope)?;
        found.options.push((name, options));
        return Ok(());
    }
    let declared = scope.type_name(at)?;
    let mut column = Column::new(scope, name, declared);
    column.apply(options(at, scope)?);
    found.columns.push(column);
    Ok(())
}

/// `CHECK (...) [NO INHERIT] [NOT VALID] [NOT ENFORCED]`, to the end of the element.
pub(super) fn check(at: &mut Cursor<'_>, name: String) -> Result<CheckMade, DdlError> {
    let start = at.here();
    at.expect(&["check"])?;
    at.parenthesised()?;
    let (mut inherited, mut validated) = (true, true);
    loop {
        if at.words(&["no", "inherit"]) {
            inherited = false;
        } else if at.words(&["not", "valid"]) || at.words(&["not", "enforced"]) {
            validated = false;
        } else {
            break;
        }
    }
    let definition = at.since(start).to_owned();
    Ok(CheckMade { check: Check { name, definition, validated }, inherited })
}

/// What may follow NOT NULL.
pub(super) fn after_not_null(at: &mut Cursor<'_>) -> Result<NotNull, DdlError> {
    let mut found = NotNull::Yes;
    loop {
        if at.words(&["no", "inherit"]) {
            found = NotNull::Here;
        } else if at.words(&["not", "valid"]) {
            // A row may be NULL all the same.
            found = NotNull::No;
        } else {
            return Ok(found);
        }
    }
}

/// An expression up to what may follow it. The server puts parentheses around all that has such
/// words in it.
fn expression(at: &mut Cursor<'_>) -> Result<String, DdlError> {
    let start = at.behind_space();
    at.pass(|at| at.are(&["not", "null"]) || at.is("constraint") || at.is("collate"))?;
    let text = at.since(start);
    if text.trim().is_empty() { Err(at.unexpected("an expression")) } else { Ok(text.to_owned()) }
}

/// What a default says: `NULL` is none.
pub(super) fn default(text: &str) -> Option<String> {
    (!text.eq_ignore_ascii_case("null")).then(|| text.to_owned())
}

/// What stands behind a column's type, in any order.
pub(super) fn options(at: &mut Cursor<'_>, scope: &Scope) -> Result<Options, DdlError> {
    let mut found = Options::default();
    loop {
        if at.word("collate") {
            found.collation = Some(scope.collation(at)?);
        } else if at.word("default") {
            let text = expression(at)?;
            found.default = default(&text).map_or(Default::Null, Default::Value);
        } else if at.words(&["generated", "always", "as"]) {
            let start = at.here();
            at.parenthesised()?;
            found.default = Default::Generated(within(at.since(start)).to_owned());
            let _ = at.word("stored") || at.word("virtual");
        } else if at.words(&["not", "null"]) {
            found.not_null = Some(after_not_null(at)?);
        } else if at.word("constraint") {
            at.name()?;
            // CHECK is the caller's: a domain may have one here.
            if !at.are(&["not", "null"]) && !at.is("check") {
                return Err(at.unexpected("NOT NULL or CHECK"));
            }
        } else if at.word("null") {
        } else if at.word("options") {
            // Of a foreign table's column.
            at.parenthesised()?;
        } else if at.word("storage") {
            at.name()?;
        } else {
            return Ok(found);
        }
    }
}

/// What is within the outermost parentheses.
fn within(text: &str) -> &str {
    let inner = text.strip_prefix('(').and_then(|text| text.strip_suffix(')'));
    inner.unwrap_or(text)
}

/// The fields of a composite type: `( name type [COLLATE ...], ... )`.
pub(super) fn fields(at: &mut Cursor<'_>, scope: &mut Scope) -> Result<Vec<Column>, DdlError> {
    Ok(elements(at, scope, false)?.columns)
}

/// A column merges with one of the same name that was there before it.
pub(super) fn merge(columns: &mut Vec<Column>, new: Column) {
    let Some(old) = columns.iter_mut().find(|old| old.name == new.name) else {
        columns.push(new);
        return;
    };
    old.not_null = old.not_null.max(new.not_null);
    if new.own_default {
        (old.default, old.own_default, old.generated) = (new.default, true, new.generated);
    }
}
