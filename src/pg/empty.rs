//! What is in a database that ought to be empty.

use super::error::PgError;
use super::query::{count, get, rows};
use super::session::Session;

/// How many things of one kind are named.
const NAMED: i64 = 8;

/// One branch of the query: what is there of one kind. `{made}` is true of what was not there when
/// the database was made, and belongs to no extension.
const KINDS: &[(&str, &str, &str, &str)] = &[
    // word, catalog with alias x, name, condition
    (
        "schema",
        "pg_namespace x",
        "x.nspname::text",
        "x.nspname <> 'public' AND x.nspname !~ '^pg_(toast_)?temp_'",
    ),
    ("extension", "pg_extension x", "x.extname::text", "x.extname <> 'plpgsql'"),
    (
        "relation",
        "pg_class x JOIN pg_catalog.pg_namespace n ON n.oid = x.relnamespace",
        "pg_catalog.format('%I.%I', n.nspname, x.relname)",
        "x.relkind NOT IN ('i', 'I', 't', 'c') AND x.relpersistence <> 't' AND n.nspname !~ '^pg_toast'",
    ),
    ("function", "pg_proc x", "x.oid::pg_catalog.regprocedure::text", "true"),
    (
        "type",
        "pg_type x",
        "pg_catalog.format_type(x.oid, NULL)",
        "x.typtype IN ('b', 'd', 'e', 'r', 'c', 'p') AND NOT EXISTS (SELECT FROM pg_catalog.pg_type a \
         WHERE a.typarray = x.oid) AND (x.typrelid = 0 OR EXISTS (SELECT FROM pg_catalog.pg_class c \
         WHERE c.oid = x.typrelid AND c.relkind = 'c'))",
    ),
    ("operator", "pg_operator x", "x.oid::pg_catalog.regoperator::text", "true"),
    ("operator class", "pg_opclass x", "x.opcname::text", "true"),
    ("operator family", "pg_opfamily x", "x.opfname::text", "true"),
    ("collation", "pg_collation x", "x.collname::text", "true"),
    ("conversion", "pg_conversion x", "x.conname::text", "true"),
    (
        "cast",
        "pg_cast x",
        "pg_catalog.format('(%s AS %s)', pg_catalog.format_type(x.castsource, NULL), \
        pg_catalog.format_type(x.casttarget, NULL))",
        "true",
    ),
    ("transform", "pg_transform x", "pg_catalog.format_type(x.trftype, NULL)", "true"),
    ("language", "pg_language x", "x.lanname::text", "true"),
    ("access method", "pg_am x", "x.amname::text", "true"),
    ("text search configuration", "pg_ts_config x", "x.cfgname::text", "true"),
    ("text search dictionary", "pg_ts_dict x", "x.dictname::text", "true"),
    ("text search parser", "pg_ts_parser x", "x.prsname::text", "true"),
    ("text search template", "pg_ts_template x", "x.tmplname::text", "true"),
    ("foreign-data wrapper", "pg_foreign_data_wrapper x", "x.fdwname::text", "true"),
    ("foreign server", "pg_foreign_server x", "x.srvname::text", "true"),
    ("event trigger", "pg_event_trigger x", "x.evtname::text", "true"),
    ("publication", "pg_publication x", "x.pubname::text", "true"),
    ("default privileges", "pg_default_acl x", "x.defaclrole::pg_catalog.regrole::text", "true"),
    ("large object", "pg_largeobject_metadata x", "x.oid::text", "true"),
];

/// What is in the database besides what a new one has (an empty schema `public`, the extension
/// `plpgsql`), a line each: kind and name. Of many things of a kind the first are named, and how
/// many more there are. Empty means empty.
pub async fn contents(session: &Session) -> Result<Vec<String>, PgError> {
    // Oids below this are made with the cluster; template databases may hold more, and count.
    let mut branches = Vec::new();
    for (place, (word, from, name, condition)) in KINDS.iter().enumerate() {
        let catalog = from.split(' ').next().unwrap_or_default();
        // Whoever makes a large object may choose its OID.
        let made = if *word == "large object" { "true" } else { "x.oid >= 16384" };
        branches.push(format!(
            "(SELECT {place} AS place, '{word}' AS word, {name} AS name, \
                     pg_catalog.count(*) OVER () AS total \
              FROM pg_catalog.{from} \
              WHERE {made} AND ({condition}) AND NOT EXISTS ( \
                  SELECT FROM pg_catalog.pg_depend d \
                  WHERE d.classid = 'pg_catalog.{catalog}'::pg_catalog.regclass \
                    AND d.objid = x.oid AND d.deptype IN ('e', 'i')) \
              ORDER BY x.oid LIMIT {NAMED})"
        ));
    }
    // Subscriptions are the cluster's, and may be looked at by superusers only, but for these.
    branches.push(format!(
        "(SELECT {}, 'subscription', x.subname::text, pg_catalog.count(*) OVER () \
          FROM pg_catalog.pg_subscription x JOIN pg_catalog.pg_database d ON d.oid = x.subdbid \
          WHERE d.datname = pg_catalog.current_database() ORDER BY x.oid LIMIT {NAMED})",
        KINDS.len()
    ));
    let sql = branches.join(" UNION ALL ");
    let found = rows(session, "looking at what is in the database", &sql, &[]).await?;
    let mut out: Vec<String> = Vec::new();
    let mut of_kind = 0;
    for (at, row) in found.iter().enumerate() {
        let place: i32 = get(row, "place")?;
        let (word, name): (String, String) = (get(row, "word")?, get(row, "name")?);
        out.push(format!("{word} {name}"));
        of_kind += 1;
        let last = match found.get(at + 1) {
            Some(next) => get::<i32>(next, "place")? != place,
            None => true,
        };
        if last {
            if let Some(more) = count(row, "total")?.checked_sub(of_kind).filter(|n| *n > 0) {
                out.push(format!("and {more} more of kind {word}"));
            }
            of_kind = 0;
        }
    }
    Ok(out)
}
