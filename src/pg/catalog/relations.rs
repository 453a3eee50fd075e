//! Which relations there are, and which of them have rows that are ours.

use crate::format::manifest::{Name, TableKind};
use crate::pg::error::PgError;
use crate::pg::query::{get, rows};
use crate::pg::session::Session;

/// A table whose rows (or, if it is partitioned, whose partitions' rows) belong to the backup.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Relation {
    pub(crate) oid: u32,
    pub(crate) name: Name,
    pub(crate) kind: TableKind,
    /// `pg_class.relkind` is `p`: it has no storage of its own.
    pub(crate) partitioned: bool,
    pub(crate) unlogged: bool,
    /// Its access method is heap: rows have a place by block, and block ranges can be read alone.
    pub(crate) heap: bool,
    /// The extension's condition for the rows that belong to the backup.
    pub(crate) condition: Option<String>,
}

/// A sequence whose value belongs to the backup.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct SequenceRelation {
    pub(crate) oid: u32,
    pub(crate) name: Name,
}

/// Everything that `pg_class` holds and that is not a part of something else.
#[derive(Default, Debug)]
pub(crate) struct Relations {
    /// Sorted by name.
    pub(crate) tables: Vec<Relation>,
    /// Sorted by name.
    pub(crate) sequences: Vec<SequenceRelation>,
    /// What has rows that are not read, by name, and why.
    pub(crate) notes: Vec<String>,
}

/// Relations of the server's own schemas have oids below this (`FirstNormalObjectId`).
const FIRST_USER_OID: u32 = 16384;

const SQL: &str = "
SELECT c.oid, n.nspname::text AS schema, c.relname::text AS name, c.relkind::text AS kind,
       c.relpersistence::text AS persistence, coalesce(am.amname::text, '') AS am,
       e.extname::text AS extension,
       e.extcondition[pg_catalog.array_position(e.extconfig, c.oid)] AS condition,
       pg_catalog.array_position(e.extconfig, c.oid) IS NOT NULL AS config
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
LEFT JOIN pg_catalog.pg_am am ON am.oid = c.relam
LEFT JOIN pg_catalog.pg_depend d
       ON d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid
      AND d.objsubid = 0 AND d.deptype = 'e'
      AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass
LEFT JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid
WHERE c.relkind NOT IN ('i', 'I', 't', 'c', 'v')
  AND c.relpersistence <> 't'
  AND n.nspname !~ '^pg_(toast|temp|toast_temp)'
  AND (c.oid >= $1 OR n.nspname !~ '^pg_' AND n.nspname <> 'information_schema')";

/// Reads them. A kind of relation that is not known is an error that names it.
pub(crate) async fn read(session: &Session) -> Result<Relations, PgError> {
    let mut found = Relations::default();
    let mut unknown = Vec::new();
    for row in rows(session, "reading the list of relations", SQL, &[&FIRST_USER_OID]).await? {
        let oid: u32 = get(&row, "oid")?;
        let name = Name::new(get::<String>(&row, "schema")?, get::<String>(&row, "name")?);
        let kind: String = get(&row, "kind")?;
        let extension: Option<String> = get(&row, "extension")?;
        let config: bool = get(&row, "config")?;
        let rowful = matches!(kind.as_str(), "r" | "p" | "S");
        if name.schema.starts_with("pg_") || name.schema == "information_schema" {
            if rowful && extension.is_none() {
                found.notes.push(format!(
                    "{} {name} is in a schema of the server's own: not in the archive",
                    word(&kind)
                ));
            }
            continue;
        }
        if let (Some(extension), true, false) = (&extension, rowful, config) {
            found.notes.push(format!(
                "{} {name} belongs to extension {extension}, which does not declare it as \
                 configuration: its rows are not in the archive",
                word(&kind)
            ));
            continue;
        }
        match kind.as_str() {
            "r" | "p" => {
                let partitioned = kind == "p";
                let condition: Option<String> = get(&row, "condition")?;
                found.tables.push(Relation {
                    oid,
                    name,
                    kind: match (partitioned, config) {
                        (true, _) => TableKind::Partitioned,
                        (false, true) => TableKind::ExtensionConfig,
                        (false, false) => TableKind::Plain,
                    },
                    partitioned,
                    unlogged: get::<String>(&row, "persistence")? == "u",
                    heap: get::<String>(&row, "am")? == "heap",
                    condition: condition.filter(|text| !text.trim().is_empty()),
                });
            }
            "S" => found.sequences.push(SequenceRelation { oid, name }),
            "f" => {
                found.notes.push(format!("foreign table {name}: its rows are not in the archive"));
            }
            // Filled again from what it is a view of.
            "m" => {}
            other => unknown.push(format!("{name} (relkind {other})")),
        }
    }
    if !unknown.is_empty() {
        unknown.sort();
        return Err(PgError::objects("relations of a kind that is not known", unknown));
    }
    found.tables.sort_by(|a, b| a.name.cmp(&b.name));
    found.sequences.sort_by(|a, b| a.name.cmp(&b.name));
    found.notes.sort();
    Ok(found)
}

fn word(kind: &str) -> &'static str {
    match kind {
        "S" => "sequence",
        "p" => "partitioned table",
        _ => "table",
    }
}
