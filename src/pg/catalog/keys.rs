//! Primary keys, unique constraints and indexes, checks, foreign keys.

use std::collections::HashMap;

use crate::format::manifest::{Check, ForeignKey, Key, Match, Name};
use crate::pg::error::PgError;
use crate::pg::query::{get, rows};
use crate::pg::session::Session;

/// What holds within one table.
#[derive(Default, Debug)]
pub(crate) struct Keys {
    pub(crate) primary: Option<Key>,
    pub(crate) unique: Vec<Key>,
    pub(crate) checks: Vec<Check>,
}

/// Unique indexes over whole columns of whole tables, equality as the type has it: not partial, no
/// expressions, no exclusion and no temporal key, and no operator class with an equality of its
/// own (the `_pattern_ops` classes have the ordinary one).
const KEYS: &str = "
SELECT x.indrelid AS oid, coalesce(k.conname, c.relname)::text AS name,
       k.oid IS NOT NULL AS is_constraint, coalesce(k.contype = 'p', x.indisprimary) AS is_primary,
       {distinct} AS nulls_not_distinct,
       ARRAY(SELECT a.attname::text
             FROM pg_catalog.unnest(x.indkey::pg_catalog.int2[]) WITH ORDINALITY AS u(attnum, place)
             JOIN pg_catalog.pg_attribute a ON a.attrelid = x.indrelid AND a.attnum = u.attnum
             WHERE u.place <= x.indnkeyatts ORDER BY u.place) AS columns
FROM pg_catalog.pg_index x
JOIN pg_catalog.pg_class c ON c.oid = x.indexrelid
LEFT JOIN pg_catalog.pg_constraint k ON k.conindid = x.indexrelid AND k.conrelid = x.indrelid
      AND k.contype IN ('p', 'u', 'x')
WHERE x.indrelid = ANY ($1) AND x.indisunique AND x.indisvalid AND NOT x.indisexclusion
  AND x.indpred IS NULL AND x.indexprs IS NULL {temporal}
  AND NOT EXISTS (
      SELECT FROM pg_catalog.unnest(x.indclass::pg_catalog.oid[]) AS u(opclass)
      JOIN pg_catalog.pg_opclass o ON o.oid = u.opclass
      WHERE NOT o.opcdefault AND o.opcname !~ '_pattern_ops$')
ORDER BY x.indrelid, coalesce(k.conname, c.relname) COLLATE \"C\"";

const CHECKS: &str = "
SELECT k.conrelid AS oid, k.conname::text AS name, k.convalidated AS validated,
       pg_catalog.pg_get_constraintdef(k.oid) AS definition
FROM pg_catalog.pg_constraint k
WHERE k.conrelid = ANY ($1) AND k.contype = 'c'
ORDER BY k.conrelid, k.conname COLLATE \"C\"";

/// `conparentid` is 0 for what somebody declared; the copies on partitions follow from it.
const FOREIGN_KEYS: &str = "
SELECT k.conrelid AS oid, k.confrelid AS foreign_oid, k.conname::text AS name,
       tn.nspname::text AS schema, t.relname::text AS table,
       fn.nspname::text AS foreign_schema, f.relname::text AS foreign_table,
       k.confmatchtype::text AS match, k.convalidated AS validated, {enforced} AS enforced,
       {temporal} AS temporal,
       ARRAY(SELECT a.attname::text
             FROM pg_catalog.unnest(k.conkey) WITH ORDINALITY AS u(attnum, place)
             JOIN pg_catalog.pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.attnum
             ORDER BY u.place) AS columns,
       ARRAY(SELECT a.attname::text
             FROM pg_catalog.unnest(k.confkey) WITH ORDINALITY AS u(attnum, place)
             JOIN pg_catalog.pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = u.attnum
             ORDER BY u.place) AS foreign_columns
FROM pg_catalog.pg_constraint k
JOIN pg_catalog.pg_class t ON t.oid = k.conrelid
JOIN pg_catalog.pg_namespace tn ON tn.oid = t.relnamespace
JOIN pg_catalog.pg_class f ON f.oid = k.confrelid
JOIN pg_catalog.pg_namespace fn ON fn.oid = f.relnamespace
WHERE k.conrelid = ANY ($1) AND k.contype = 'f' AND k.conparentid = 0";

/// Keys and checks of these tables, by table.
pub(crate) async fn read(session: &Session, tables: &[u32]) -> Result<HashMap<u32, Keys>, PgError> {
    let version = session.server_version_num();
    let sql = KEYS
        .replace("{distinct}", if version >= 150_000 { "x.indnullsnotdistinct" } else { "false" })
        .replace("{temporal}", if version >= 180_000 { "AND k.conperiod IS NOT TRUE" } else { "" });
    let mut found: HashMap<u32, Keys> = HashMap::new();
    for row in rows(session, "reading keys", &sql, &[&tables]).await? {
        let key = Key {
            name: get(&row, "name")?,
            columns: get(&row, "columns")?,
            nulls_not_distinct: get(&row, "nulls_not_distinct")?,
            constraint: get(&row, "is_constraint")?,
        };
        // A key over a system column finds fewer names than it has parts.
        if key.columns.is_empty() {
            continue;
        }
        let table = found.entry(get(&row, "oid")?).or_default();
        if get(&row, "is_primary")? {
            table.primary = Some(key);
        } else {
            table.unique.push(key);
        }
    }
    for row in rows(session, "reading checks", CHECKS, &[&tables]).await? {
        let table = found.entry(get(&row, "oid")?).or_default();
        table.checks.push(Check {
            name: get(&row, "name")?,
            definition: get(&row, "definition")?,
            validated: get(&row, "validated")?,
        });
    }
    Ok(found)
}

/// Foreign keys of these tables, sorted by table and name, and notes on those that are left out.
pub(crate) async fn read_foreign(
    session: &Session,
    tables: &[u32],
) -> Result<(Vec<ForeignKey>, Vec<String>), PgError> {
    let recent = session.server_version_num() >= 180_000;
    let sql = FOREIGN_KEYS
        .replace("{enforced}", if recent { "k.conenforced" } else { "true" })
        .replace("{temporal}", if recent { "k.conperiod" } else { "false" });
    let (mut found, mut notes) = (Vec::new(), Vec::new());
    for row in rows(session, "reading foreign keys", &sql, &[&tables]).await? {
        let key = ForeignKey {
            name: get(&row, "name")?,
            table: Name::new(get::<String>(&row, "schema")?, get::<String>(&row, "table")?),
            columns: get(&row, "columns")?,
            references: Name::new(
                get::<String>(&row, "foreign_schema")?,
                get::<String>(&row, "foreign_table")?,
            ),
            referenced_columns: get(&row, "foreign_columns")?,
            match_type: match get::<String>(&row, "match")?.as_str() {
                "f" => Match::Full,
                _ => Match::Simple,
            },
            validated: get(&row, "validated")?,
            enforced: get(&row, "enforced")?,
        };
        let why = if get(&row, "temporal")? {
            "it compares periods"
        } else if !tables.contains(&get(&row, "foreign_oid")?) {
            "the rows it refers to are not in the archive"
        } else {
            found.push(key);
            continue;
        };
        let ForeignKey { name, table, .. } = key;
        notes.push(format!("foreign key {name} of {table} is not checked in the archive: {why}"));
    }
    found.sort_by(|a, b| (&a.table, &a.name).cmp(&(&b.table, &b.name)));
    notes.sort();
    Ok((found, notes))
}
