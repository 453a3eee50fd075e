//! The catalog of a database: everything the manifest says of it but the rows.

use std::collections::HashMap;

use super::error::PgError;
use super::query::{count, get, one, rows};
use super::session::Session;
use crate::format::manifest::{Enum, ForeignKey, Name, Source, Table};

mod columns;
mod database;
mod keys;
mod large_objects;
pub(super) mod relations;
mod sequences;

pub use database::read_properties;
pub use large_objects::{
    LARGE_OBJECT_BATCH, LARGE_OBJECT_HEAD, LargeObject, count_large_objects, large_objects,
    read_large_object,
};
pub use sequences::{SequenceFacts, read_sequences};

/// What a database holds, as one session sees it.
#[derive(Clone, PartialEq, Debug)]
pub struct Catalog {
    /// Where it came from. `snapshot_time` and `lsn` are those of the session's transaction;
    /// `pg_dump_version`, `profile` and `comment` are not known here.
    pub source: Source,
    /// Every enum type, sorted by name.
    pub enums: Vec<Enum>,
    /// Every table, sorted by name, without its rows (`data` is absent).
    pub tables: Vec<Table>,
    /// Of each table in `tables`, what only this server knows.
    pub facts: Vec<TableFacts>,
    /// Every foreign key that can be checked within the archive.
    pub foreign_keys: Vec<ForeignKey>,
    /// Every sequence, sorted by name; [`read_sequences`] reads their values.
    pub sequences: Vec<SequenceFacts>,
    /// How many large objects there are.
    pub large_objects: u64,
    /// What is in the database and not in the archive, a sentence each.
    pub notes: Vec<String>,
}

/// What only the server at hand knows of a table: good for planning, not for the manifest.
#[derive(Clone, PartialEq, Debug)]
pub struct TableFacts {
    /// Its oid.
    pub oid: u32,
    /// Its access method is heap.
    pub heap: bool,
    /// Blocks of its heap.
    pub pages: u32,
    /// Bytes of its heap and its TOAST table.
    pub bytes: u64,
    /// Rows as the server last counted them; 0 where it never did.
    pub rows: u64,
    /// Whether it has anything in TOAST.
    pub toasted: bool,
    /// Of each stored column that is not `bytea`: its name and the SQL expression that gives as
    /// text what COPY would print.
    pub outputs: Vec<(String, String)>,
}

/// Reads the catalog as `session` sees it.
pub async fn read_catalog(session: &Session) -> Result<Catalog, PgError> {
    let relations = relations::read(session).await?;
    let oids: Vec<u32> = relations.tables.iter().map(|table| table.oid).collect();
    let source = read_source(session).await?;
    let enums = read_enums(session).await?;
    let mut columns = columns::read(session, &oids).await?;
    let mut keys = keys::read(session, &oids).await?;
    let (foreign_keys, foreign_notes) = keys::read_foreign(session, &oids).await?;
    let sequences = sequences::read(session, &relations.sequences).await?;
    let large_objects = count_large_objects(session).await?;
    let mut places = read_places(session, &oids).await?;
    let mut notes = relations.notes;
    notes.extend(foreign_notes);
    notes.extend(other_notes(session).await?);

    let mut tables = Vec::with_capacity(oids.len());
    let mut facts = Vec::with_capacity(oids.len());
    for relation in relations.tables {
        let columns = columns.remove(&relation.oid).unwrap_or_default();
        let keys = keys.remove(&relation.oid).unwrap_or_default();
        let place = places.remove(&relation.oid).unwrap_or_default();
        facts.push(TableFacts {
            oid: relation.oid,
            heap: relation.heap,
            pages: place.pages,
            bytes: place.bytes,
            rows: place.rows,
            toasted: place.toasted,
            outputs: columns.outputs,
        });
        tables.push(Table {
            name: relation.name,
            kind: relation.kind,
            unlogged: relation.unlogged,
            columns: columns.columns,
            primary_key: keys.primary,
            unique: keys.unique,
            checks: keys.checks,
            partition_of: place.partition_of,
            partition_bound: place.partition_bound,
            partition_key: place.partition_key,
            inherits: place.inherits,
            condition: relation.condition,
            data: None,
        });
    }
    Ok(Catalog { source, enums, tables, facts, foreign_keys, sequences, large_objects, notes })
}

async fn read_source(session: &Session) -> Result<Source, PgError> {
    let version = session.server_version_num();
    // The ICU or builtin locale changed its name twice.
    let (provider, locale) = match version {
        ..150_000 => ("'c'", "NULL::text"),
        150_000..170_000 => ("d.datlocprovider::text", "d.daticulocale"),
        _ => ("d.datlocprovider::text", "d.datlocale"),
    };
    let sql = format!(
        "SELECT pg_catalog.current_setting('server_version') AS version,
                d.datname::text AS database,
                pg_catalog.pg_encoding_to_char(d.encoding)::text AS encoding,
                d.datcollate::text AS collate, d.datctype::text AS ctype,
                {provider} AS provider, {locale} AS locale,
                pg_catalog.to_char(pg_catalog.transaction_timestamp() AT TIME ZONE 'UTC',
                                   'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') AS time,
                CASE WHEN pg_catalog.pg_is_in_recovery() THEN pg_catalog.pg_last_wal_replay_lsn()
                     ELSE pg_catalog.pg_current_wal_lsn() END::text AS lsn,
                pg_catalog.pg_is_in_recovery() AS standby
         FROM pg_catalog.pg_database d WHERE d.datname = pg_catalog.current_database()"
    );
    let row = one(session, "reading the facts of the database", &sql, &[]).await?;
    let database: String = get(&row, "database")?;
    let properties = read_properties(session, &database).await?;
    Ok(Source {
        properties: Some(properties),
        server_version: get(&row, "version")?,
        server_version_num: u64::from(version),
        database,
        encoding: get(&row, "encoding")?,
        collate: get(&row, "collate")?,
        ctype: get(&row, "ctype")?,
        locale_provider: match get::<String>(&row, "provider")?.as_str() {
            "c" => "libc".to_owned(),
            "i" => "icu".to_owned(),
            "b" => "builtin".to_owned(),
            other => other.to_owned(),
        },
        locale: get(&row, "locale")?,
        snapshot_time: get(&row, "time")?,
        lsn: get::<Option<String>>(&row, "lsn")?.unwrap_or_default(),
        standby: get(&row, "standby")?,
        ..Source::default()
    })
}

async fn read_enums(session: &Session) -> Result<Vec<Enum>, PgError> {
    let sql = "
        SELECT n.nspname::text AS schema, t.typname::text AS name,
               ARRAY(SELECT e.enumlabel::text FROM pg_catalog.pg_enum e
                     WHERE e.enumtypid = t.oid ORDER BY e.enumsortorder) AS labels
        FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
        WHERE t.typtype = 'e'";
    let mut found = Vec::new();
    for row in rows(session, "reading enum types", sql, &[]).await? {
        found.push(Enum {
            name: Name::new(get::<String>(&row, "schema")?, get::<String>(&row, "name")?),
            labels: get(&row, "labels")?,
        });
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

/// Where a table stands: its size and its relatives.
#[derive(Default)]
struct Place {
    pages: u32,
    bytes: u64,
    rows: u64,
    toasted: bool,
    partition_of: Option<Name>,
    partition_bound: Option<String>,
    partition_key: Option<String>,
    inherits: Vec<Name>,
}

async fn read_places(session: &Session, tables: &[u32]) -> Result<HashMap<u32, Place>, PgError> {
    let sql = "
        SELECT c.oid, c.relispartition AS partition,
               CASE WHEN c.relkind = 'p' THEN 0
                    ELSE coalesce(pg_catalog.pg_relation_size(c.oid), 0)
                         / pg_catalog.current_setting('block_size')::pg_catalog.int8
               END AS pages,
               CASE WHEN c.relkind = 'p' THEN 0
                    ELSE coalesce(pg_catalog.pg_table_size(c.oid), 0) END AS bytes,
               c.reltoastrelid <> 0
               AND coalesce(pg_catalog.pg_relation_size(c.reltoastrelid), 0) > 0 AS toasted,
               greatest(c.reltuples, 0)::pg_catalog.int8 AS rows,
               CASE WHEN c.relispartition THEN pg_catalog.pg_get_expr(c.relpartbound, c.oid)
               END AS bound,
               CASE WHEN c.relkind = 'p' THEN pg_catalog.pg_get_partkeydef(c.oid) END AS key,
               ARRAY(SELECT n.nspname::text FROM pg_catalog.pg_inherits i
                     JOIN pg_catalog.pg_class p ON p.oid = i.inhparent
                     JOIN pg_catalog.pg_namespace n ON n.oid = p.relnamespace
                     WHERE i.inhrelid = c.oid ORDER BY i.inhseqno) AS parent_schemas,
               ARRAY(SELECT p.relname::text FROM pg_catalog.pg_inherits i
                     JOIN pg_catalog.pg_class p ON p.oid = i.inhparent
                     WHERE i.inhrelid = c.oid ORDER BY i.inhseqno) AS parents
        FROM pg_catalog.pg_class c WHERE c.oid = ANY ($1)";
    let mut found = HashMap::new();
    for row in rows(session, "reading sizes and partitions", sql, &[&tables]).await? {
        let schemas: Vec<String> = get(&row, "parent_schemas")?;
        let names: Vec<String> = get(&row, "parents")?;
        let mut parents: Vec<Name> =
            schemas.into_iter().zip(names).map(|(schema, name)| Name { schema, name }).collect();
        let partition: bool = get(&row, "partition")?;
        let place = Place {
            pages: u32::try_from(count(&row, "pages")?).unwrap_or(u32::MAX),
            bytes: count(&row, "bytes")?,
            rows: count(&row, "rows")?,
            toasted: get(&row, "toasted")?,
            partition_of: if partition { parents.pop() } else { None },
            partition_bound: get(&row, "bound")?,
            partition_key: get(&row, "key")?,
            inherits: parents,
        };
        found.insert(get(&row, "oid")?, place);
    }
    Ok(found)
}

/// What else a database has that neither the schema nor the rows hold.
async fn other_notes(session: &Session) -> Result<Vec<String>, PgError> {
    let sql = "
        SELECT 'the database has no schema public, and a new one has: it will be there after a \
                restore' AS note
        WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = 'public')";
    let found = rows(session, "reading what is not in the archive", sql, &[]).await?;
    found.iter().map(|row| get(row, "note")).collect()
}
