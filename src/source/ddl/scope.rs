//! What names mean: the search path, types, collations, extensions.

use std::collections::{BTreeMap, BTreeSet};

use super::DdlError;
use super::cursor::{Cursor, Written};
use super::lex::Kind;
use super::types::{Form, NO_TYPMOD, Type, TypeId, Types};
use crate::format::manifest::{Collation, Name};

/// Names and what they stand for.
#[derive(Clone, Debug)]
pub(super) struct Scope {
    pub(super) types: Types,
    /// Schemas in which names without one are looked for; the first is where things are made.
    pub(super) path: Vec<String>,
    /// Collations of the dump: whether they are deterministic.
    pub(super) collations: BTreeMap<Name, bool>,
    /// There is an extension whose types are not known here.
    pub(super) unknown_extension: bool,
    /// Types that an unknown extension must have brought.
    pub(super) unknown_types: BTreeSet<Name>,
}

/// A type as a column has it.
#[derive(Clone, Debug)]
pub(super) struct Declared {
    pub(super) id: TypeId,
    pub(super) typmod: i64,
    /// As `format_type` writes it where the search path is empty.
    pub(super) sql: String,
}

impl Scope {
    pub(super) fn new() -> Self {
        Self {
            types: Types::builtin(),
            // What a session begins with, but for a schema of the user's own name.
            path: vec!["public".to_owned()],
            collations: BTreeMap::new(),
            unknown_extension: false,
            unknown_types: BTreeSet::new(),
        }
    }

    /// Where something new of this name is made.
    pub(super) fn new_name(&self, at: &Cursor<'_>, written: Written) -> Result<Name, DdlError> {
        match (written.schema, self.path.first()) {
            (Some(schema), _) => Ok(Name::new(schema, written.name)),
            (None, Some(schema)) => Ok(Name::new(schema.as_str(), written.name)),
            (None, None) => {
                Err(at.error(format!("{} has no schema, and search_path is empty", written.name)))
            }
        }
    }

    /// The names that this may mean, in the order of the search path.
    pub(super) fn candidates(&self, written: &Written) -> Vec<Name> {
        if let Some(schema) = &written.schema {
            return vec![Name::new(schema.as_str(), written.name.as_str())];
        }
        let implied = !self.path.iter().any(|schema| schema == "pg_catalog");
        let first = implied.then_some("pg_catalog").into_iter();
        first
            .chain(self.path.iter().map(String::as_str))
            .map(|schema| Name::new(schema, written.name.as_str()))
            .collect()
    }

    /// The collation of this name.
    pub(super) fn collation(&self, at: &mut Cursor<'_>) -> Result<Name, DdlError> {
        let written = at.written()?;
        let candidates = self.candidates(&written);
        let declared = |name: &&Name| self.collations.contains_key(*name);
        match candidates.iter().find(declared) {
            Some(found) => Ok(found.clone()),
            // Those of the server: each has its own.
            None if written.schema.is_none() => Ok(Name::new("pg_catalog", written.name)),
            None if written.schema.as_deref() == Some("pg_catalog") => {
                Ok(Name::new("pg_catalog", written.name))
            }
            None => Err(at.undeclared(format!("collation {written}"))),
        }
    }

    /// A collation as a column has it. The server's own are all deterministic.
    pub(super) fn described(&self, name: &Name) -> Collation {
        let deterministic = self.collations.get(name).copied().unwrap_or(true);
        Collation { name: name.clone(), deterministic }
    }

    fn builtin(&self, at: &Cursor<'_>, name: &str) -> Result<TypeId, DdlError> {
        let found = self.types.find(&Name::new("pg_catalog", name));
        found.ok_or_else(|| at.undeclared(format!("type pg_catalog.{name}")))
    }

    /// The type of this name. One that nobody declared is an extension's, if there is any whose
    /// types are not known.
    fn named(&mut self, at: &Cursor<'_>, written: &Written) -> Result<(TypeId, Name), DdlError> {
        let candidates = self.candidates(written);
        for name in candidates {
            if let Some(found) = self.types.find(&name) {
                return Ok((found, name));
            }
        }
        if !self.unknown_extension || written.schema.as_deref() == Some("pg_catalog") {
            return Err(at.undeclared(format!("type {written}")));
        }
        let name = self.new_name(at, written.clone())?;
        let mut found = Type::new(name.clone(), Form::Base);
        found.storage = "extended";
        self.unknown_types.insert(name.clone());
        Ok((self.types.declare(found), name))
    }

    /// A type as SQL writes it: `character varying(40)`, `public.mood[]`, `interval day to
    /// second(3)`.
    pub(super) fn type_name(&mut self, at: &mut Cursor<'_>) -> Result<Declared, DdlError> {
        let start = at.here();
        let written = at.written()?;
        let spelled =
            if written.schema.is_none() && !written.quoted { written.name.as_str() } else { "" };
        let mut schema = None;
        let (id, mut typmod) = match spelled {
            "character" | "char" => {
                let varying = at.word("varying");
                let default = if varying { NO_TYPMOD } else { 5 };
                let name = if varying { "varchar" } else { "bpchar" };
                (self.builtin(at, name)?, modifier(at, name)?.unwrap_or(default))
            }
            "bit" => {
                let varying = at.word("varying");
                let default = if varying { NO_TYPMOD } else { 1 };
                let name = if varying { "varbit" } else { "bit" };
                (self.builtin(at, name)?, modifier(at, name)?.unwrap_or(default))
            }
            "timestamp" | "time" => {
                let precision = modifier(at, spelled)?.unwrap_or(NO_TYPMOD);
                let zone = at.words(&["with", "time", "zone"]);
                if !zone {
                    at.words(&["without", "time", "zone"]);
                }
                let name = if zone { format!("{spelled}tz") } else { spelled.to_owned() };
                (self.builtin(at, &name)?, precision)
            }
            "interval" => (self.builtin(at, "interval")?, interval(at)?),
            "double" => {
                at.expect(&["precision"])?;
                (self.builtin(at, "float8")?, NO_TYPMOD)
            }
            _ => {
                let alias = match spelled {
                    "integer" | "int" => "int4",
                    "smallint" => "int2",
                    "bigint" => "int8",
                    "real" => "float4",
                    "boolean" => "bool",
                    "decimal" | "dec" => "numeric",
                    _ => "",
                };
                let (id, name) = if alias.is_empty() {
                    self.named(at, &written)?
                } else {
                    (self.builtin(at, alias)?, Name::new("pg_catalog", alias))
                };
                let known = if name.schema == "pg_catalog" { name.name.as_str() } else { "" };
                let typmod = modifier(at, known)?.unwrap_or(NO_TYPMOD);
                if written.schema.is_none() && name.schema != "pg_catalog" {
                    schema = Some(name.schema);
                }
                (id, typmod)
            }
        };
        let mut id = id;
        let mut array = at.word("array");
        while at.symbol(b'[') {
            array = true;
            if at.kind() == Kind::Number {
                at.advance();
            }
            at.expect_symbol(b']')?;
        }
        if array {
            let found = self.types.array_of(id);
            id = found.ok_or_else(|| at.error(format!("{written} has no array type")))?;
        }
        if typmod < 0 {
            typmod = NO_TYPMOD;
        }
        let sql = match schema {
            Some(schema) => format!("{}.{}", quoted(&schema), at.since(start)),
            None => at.since(start).to_owned(),
        };
        Ok(Declared { id, typmod, sql })
    }
}

/// As the server quotes names, but for key words.
fn quoted(name: &str) -> String {
    let shown = Name::new("x", name).to_string();
    shown.strip_prefix("x.").unwrap_or(&shown).to_owned()
}

/// The type modifier that `(...)` makes of a type, if it is there: what `pg_attribute.atttypmod`
/// is then. That of a type not known here is passed over.
fn modifier(at: &mut Cursor<'_>, of: &str) -> Result<Option<i64>, DdlError> {
    if !at.is_symbol(b'(') {
        return Ok(None);
    }
    let here = at.clone();
    let counted = match of {
        "varchar" | "bpchar" | "numeric" | "bit" | "varbit" | "timestamp" | "timestamptz"
        | "time" | "timetz" | "interval" => true,
        _ => {
            at.parenthesised()?;
            return Ok(None);
        }
    };
    debug_assert!(counted);
    at.advance();
    let first = at.integer()?;
    let second = if at.symbol(b',') { at.integer()? } else { 0 };
    at.expect_symbol(b')')?;
    let bad = || here.error(format!("({first}) of {of}"));
    if !(0..=10_485_760).contains(&first) || !(-1000..=1000).contains(&second) {
        return Err(bad());
    }
    Ok(Some(match of {
        // 4 bytes of header are counted.
        "varchar" | "bpchar" => first + 4,
        "numeric" => ((first << 16) | (second & 0x7ff)) + 4,
        _ => first,
    }))
}

/// The modifier of an interval: which fields it has, in the upper half, and its precision.
fn interval(at: &mut Cursor<'_>) -> Result<i64, DdlError> {
    const FIELDS: [(&str, u32); 6] =
        [("year", 2), ("month", 1), ("day", 3), ("hour", 10), ("minute", 11), ("second", 12)];
    const ALL: i64 = 0x7fff;
    const FULL: i64 = 0xffff;
    let place = |at: &mut Cursor<'_>| FIELDS.iter().position(|(word, _)| at.word(word));
    let mut range = ALL;
    if let Some(first) = place(at) {
        let mut last = first;
        if at.word("to") {
            last = place(at).ok_or_else(|| at.unexpected("a field of an interval"))?;
        }
        let between = FIELDS.get(first..=last).ok_or_else(|| at.error("such an interval"))?;
        range = between.iter().fold(0, |range, (_, bit)| range | 1 << bit);
    }
    let precision = modifier(at, "interval")?;
    if range == ALL && precision.is_none() {
        return Ok(NO_TYPMOD);
    }
    Ok((range << 16) | precision.unwrap_or(FULL))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (String, i64, String) {
        let mut scope = Scope::new();
        scope.path = vec!["public".into()];
        scope.types.declare(Type::new(Name::new("public", "mood"), Form::Enum));
        let mut at = Cursor::new(text, true);
        let found = scope.type_name(&mut at).unwrap();
        at.end().unwrap();
        (scope.types.get(found.id).unwrap().name.to_string(), found.typmod, found.sql)
    }

    /// What `atttypmod` was on a server for each (tests/suite/ddl.rs compares more of them).
    #[test]
    fn spellings() {
        for (text, name, typmod) in [
            ("character varying(40)", "pg_catalog.varchar", 44),
            ("character varying", "pg_catalog.varchar", -1),
            ("character(4)[]", "pg_catalog._bpchar", 8),
            ("character", "pg_catalog.bpchar", 5),
            ("bit", "pg_catalog.bit", 1),
            ("bpchar", "pg_catalog.bpchar", -1),
            ("\"char\"", "pg_catalog.char", -1),
            ("\"bit\"", "pg_catalog.bit", -1),
            ("bit(3)", "pg_catalog.bit", 3),
            ("bit varying(5)", "pg_catalog.varbit", 5),
            ("numeric(10,2)", "pg_catalog.numeric", 655_366),
            ("numeric(3,-2)", "pg_catalog.numeric", (3 << 16 | 0x7fe) + 4),
            ("numeric", "pg_catalog.numeric", -1),
            ("timestamp(3) without time zone", "pg_catalog.timestamp", 3),
            ("timestamp with time zone[]", "pg_catalog._timestamptz", -1),
            ("time(0) with time zone", "pg_catalog.timetz", 0),
            ("interval", "pg_catalog.interval", -1),
            ("interval(3)", "pg_catalog.interval", 2_147_418_115),
            ("interval day to second(3)", "pg_catalog.interval", 470_286_339),
            ("interval year to month", "pg_catalog.interval", 458_751),
            ("double precision", "pg_catalog.float8", -1),
            ("pg_catalog.int4", "pg_catalog.int4", -1),
            ("public.mood[]", "public._mood", -1),
            ("mood", "public.mood", -1),
        ] {
            let (found, modifier, _) = read(text);
            assert_eq!((found.as_str(), modifier), (name, typmod), "{text}");
        }
        assert_eq!(read("mood[]").2, "public.mood[]");
    }

    /// Guards against a type that nobody declared being taken for something.
    #[test]
    fn what_is_not_declared_is_an_error() {
        let mut scope = Scope::new();
        let error =
            scope.type_name(&mut Cursor::new("public.geometry(Point,4326)", true)).unwrap_err();
        assert!(error.to_string().starts_with("type public.geometry is not declared"), "{error}");
        scope.unknown_extension = true;
        let found = scope.type_name(&mut Cursor::new("public.geometry(Point,4326)", true)).unwrap();
        assert_eq!(found.sql, "public.geometry(Point,4326)");
        assert!(scope.unknown_types.contains(&Name::new("public", "geometry")));
    }
}
