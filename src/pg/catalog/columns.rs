//! Columns and their types, domains resolved.

use std::collections::HashMap;

use crate::format::manifest::{Collation, Column, Name, TypeKind, TypeRef};
use crate::pg::error::PgError;
use crate::pg::ident::ident;
use crate::pg::query::{get, rows};
use crate::pg::session::Session;

/// The columns of one table, and how each stored one is written as text.
#[derive(Default, Debug)]
pub(crate) struct Columns {
    pub(crate) columns: Vec<Column>,
    /// Of each stored column that is not `bytea`: the expression that gives what COPY would print.
    pub(crate) outputs: Vec<(String, String)>,
}

struct Type {
    name: Name,
    /// `pg_type.typtype`.
    kind: String,
    base: u32,
    typmod: i32,
    not_null: bool,
    element: u32,
    /// Printed by `array_out`; unlike `point` or `oidvector`, which have elements but are none.
    array: bool,
    output: Name,
    /// The output function is declared for this type, or for a pseudo-type that it is one of; else
    /// it cannot be called by its name (`refcursor` has `textout`).
    callable: bool,
}

/// A type with its domains followed down.
struct Resolved<'a> {
    base: &'a Type,
    typmod: i32,
    not_null: bool,
}

/// Every type that a column of these tables comes down to, and what their domains and arrays are
/// made of.
const TYPES: &str = "
WITH RECURSIVE used(oid) AS (
    SELECT DISTINCT atttypid FROM pg_catalog.pg_attribute
    WHERE attrelid = ANY ($1) AND attnum > 0 AND NOT attisdropped
  UNION
    SELECT v.oid FROM used u JOIN pg_catalog.pg_type t ON t.oid = u.oid
    CROSS JOIN LATERAL (VALUES (t.typbasetype), (t.typelem)) AS v(oid) WHERE v.oid <> 0
)
SELECT t.oid, n.nspname::text AS schema, t.typname::text AS name, t.typtype::text AS kind,
       t.typbasetype AS base, t.typtypmod AS typmod, t.typnotnull AS not_null,
       t.typelem AS element, p.oid = 'pg_catalog.array_out'::pg_catalog.regproc AS is_array,
       pn.nspname::text AS out_schema, p.proname::text AS out_name,
       p.proargtypes[0] = t.oid OR a.typtype = 'p' AS callable
FROM used u
JOIN pg_catalog.pg_type t ON t.oid = u.oid
JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
JOIN pg_catalog.pg_proc p ON p.oid = t.typoutput
JOIN pg_catalog.pg_type a ON a.oid = p.proargtypes[0]
JOIN pg_catalog.pg_namespace pn ON pn.oid = p.pronamespace";

/// `{validated}`: since version 18 a NOT NULL constraint can be NOT VALID, and `attnotnull` is set
/// all the same.
const COLUMNS: &str = "
SELECT a.attrelid AS oid, a.attname::text AS name, a.atttypid AS type, a.atttypmod AS typmod,
       pg_catalog.format_type(a.atttypid, a.atttypmod) AS sql_type,
       a.attnotnull {validated} AS not_null,
       a.attgenerated <> '' AS generated, a.attidentity <> '' AS identity,
       a.attstorage::text AS storage, a.attcompression::text AS compression,
       cn.nspname::text AS coll_schema, co.collname::text AS coll_name,
       co.collisdeterministic AS deterministic,
       pg_catalog.pg_get_expr(d.adbin, d.adrelid) AS def
FROM pg_catalog.pg_attribute a
LEFT JOIN pg_catalog.pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
LEFT JOIN pg_catalog.pg_collation co ON co.oid = a.attcollation
LEFT JOIN pg_catalog.pg_namespace cn ON cn.oid = co.collnamespace
WHERE a.attrelid = ANY ($1) AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attrelid, a.attnum";

/// The columns of these tables, in the order of the tables' definition.
pub(crate) async fn read(
    session: &Session,
    tables: &[u32],
) -> Result<HashMap<u32, Columns>, PgError> {
    let types = read_types(session, tables).await?;
    let validated = if session.server_version_num() >= 180_000 {
        "AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint k WHERE k.conrelid = a.attrelid \
         AND k.contype = 'n' AND NOT k.convalidated AND a.attnum = ANY (k.conkey))"
    } else {
        ""
    };
    let sql = COLUMNS.replace("{validated}", validated);
    let mut found: HashMap<u32, Columns> = HashMap::new();
    for row in rows(session, "reading columns", &sql, &[&tables]).await? {
        let name: String = get(&row, "name")?;
        let sql_type: String = get(&row, "sql_type")?;
        let unknown = |what: &str| {
            PgError::protocol(
                format!("reading the type of column {name}"),
                format!("{what} {sql_type}"),
            )
        };
        let type_oid: u32 = get(&row, "type")?;
        let declared = types.get(&type_oid).ok_or_else(|| unknown("no type"))?;
        let resolved = resolve(&types, type_oid).ok_or_else(|| unknown("no base type of"))?;
        let kind = resolved.base.type_kind().ok_or_else(|| unknown("a kind of type not known:"))?;
        let element = if kind == TypeKind::Array {
            let element = resolve(&types, resolved.base.element)
                .and_then(|element| Some((element.base.type_kind()?, element.base)))
                .ok_or_else(|| unknown("no element type of"))?;
            Some(TypeRef { name: element.1.name.clone(), kind: element.0 })
        } else {
            None
        };
        let own: i32 = get(&row, "typmod")?;
        let typmod = if own == -1 { resolved.typmod } else { own };
        let collation = match get::<Option<String>>(&row, "coll_name")? {
            Some(name) => Some(Collation {
                name: Name::new(get::<String>(&row, "coll_schema")?, name),
                deterministic: get(&row, "deterministic")?,
            }),
            None => None,
        };
        let column = Column {
            sql_type,
            base: TypeRef { name: resolved.base.name.clone(), kind },
            element,
            domain: (declared.kind == "d").then(|| declared.name.clone()),
            typmod: u64::try_from(typmod).ok(),
            not_null: get::<bool>(&row, "not_null")? || resolved.not_null,
            generated: get(&row, "generated")?,
            identity: get(&row, "identity")?,
            collation,
            default: get(&row, "def")?,
            storage: storage(&get::<String>(&row, "storage")?).to_owned(),
            compression: compression(&get::<String>(&row, "compression")?).map(str::to_owned),
            name,
        };
        let table = found.entry(get(&row, "oid")?).or_default();
        if !column.generated && !column.is_bytea() {
            let output = resolved.base.output(&column);
            table.outputs.push((column.name.clone(), output));
        }
        table.columns.push(column);
    }
    Ok(found)
}

async fn read_types(session: &Session, tables: &[u32]) -> Result<HashMap<u32, Type>, PgError> {
    let mut types = HashMap::new();
    for row in rows(session, "reading types", TYPES, &[&tables]).await? {
        let found = Type {
            name: Name::new(get::<String>(&row, "schema")?, get::<String>(&row, "name")?),
            kind: get(&row, "kind")?,
            base: get(&row, "base")?,
            typmod: get(&row, "typmod")?,
            not_null: get(&row, "not_null")?,
            element: get(&row, "element")?,
            array: get(&row, "is_array")?,
            output: Name::new(get::<String>(&row, "out_schema")?, get::<String>(&row, "out_name")?),
            callable: get(&row, "callable")?,
        };
        types.insert(get(&row, "oid")?, found);
    }
    Ok(types)
}

/// Follows domains down to what they are over. The first type modifier on the way counts, and a
/// NOT NULL anywhere.
fn resolve(types: &HashMap<u32, Type>, oid: u32) -> Option<Resolved<'_>> {
    let mut base = types.get(&oid)?;
    let (mut typmod, mut not_null) = (-1, false);
    // The catalog cannot hold a ring of domains; the bound is for one that does all the same.
    for _ in 0..64 {
        if base.kind != "d" {
            return Some(Resolved { base, typmod, not_null });
        }
        not_null |= base.not_null;
        if typmod == -1 {
            typmod = base.typmod;
        }
        base = types.get(&base.base)?;
    }
    None
}

impl Type {
    fn type_kind(&self) -> Option<TypeKind> {
        Some(match self.kind.as_str() {
            "b" if self.array => TypeKind::Array,
            "b" => TypeKind::Base,
            "e" => TypeKind::Enum,
            "c" => TypeKind::Composite,
            "r" => TypeKind::Range,
            "m" => TypeKind::Multirange,
            _ => return None,
        })
    }

    /// What COPY prints of this column, as an expression of type text. A cast to text need not be
    /// the type's output function, so that function is called. A domain is cast to what it is over
    /// (by the type's own name, which unlike `bit` or `character` implies no length): a polymorphic
    /// output function may not take the domain.
    fn output(&self, column: &Column) -> String {
        let value = if column.domain.is_some() {
            let Name { schema, name } = &self.name;
            format!("{}::{}.{}", ident(&column.name), ident(schema), ident(name))
        } else {
            ident(&column.name)
        };
        if !self.callable {
            // `format` calls the output function whatever it is declared for, but has no NULL. A
            // composite of NULLs only is not NULL, though `IS NULL` says so.
            return format!(
                "CASE WHEN pg_catalog.num_nulls({value}) = 0 \
                 THEN pg_catalog.format('%s', {value}) END"
            );
        }
        let Name { schema, name } = &self.output;
        format!("pg_catalog.textin({}.{}({value}))", ident(schema), ident(name))
    }
}

fn storage(code: &str) -> &'static str {
    match code {
        "p" => "plain",
        "e" => "external",
        "m" => "main",
        _ => "extended",
    }
}

fn compression(code: &str) -> Option<&'static str> {
    match code {
        "p" => Some("pglz"),
        "l" => Some("lz4"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domain(base: u32, typmod: i32, not_null: bool) -> Type {
        Type {
            name: Name::new("public", "d"),
            kind: "d".to_owned(),
            base,
            typmod,
            not_null,
            element: 0,
            array: false,
            output: Name::new("pg_catalog", "varcharout"),
            callable: true,
        }
    }

    /// Guards against a NOT NULL or a length being lost in a domain over a domain.
    #[test]
    fn nested_domains_keep_length_and_not_null() {
        let mut types = HashMap::new();
        types.insert(1, domain(2, -1, false));
        types.insert(2, domain(3, 44, true));
        types.insert(3, Type { kind: "b".to_owned(), ..domain(0, -1, false) });
        let resolved = resolve(&types, 1).unwrap();
        assert_eq!((resolved.typmod, resolved.not_null), (44, true));
        types.insert(3, domain(1, -1, false));
        assert!(resolve(&types, 1).is_none());
    }
}
