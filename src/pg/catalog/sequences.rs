//! Sequences: what they are, and later, after the rows, where they stand.

use std::collections::HashMap;
use std::fmt::Write as _;

use super::relations::SequenceRelation;
use crate::format::manifest::{Name, OwnedBy, Sequence};
use crate::pg::error::PgError;
use crate::pg::ident::qualified;
use crate::pg::query::{get, rows};
use crate::pg::session::Session;

/// A sequence without its value.
#[derive(Clone, PartialEq, Debug)]
pub struct SequenceFacts {
    /// Its name.
    pub name: Name,
    /// Its oid on the server it was read from.
    pub oid: u32,
    /// The step.
    pub increment: i64,
    /// The column it feeds, if it belongs to one (`serial`, identity, OWNED BY).
    pub owned_by: Option<OwnedBy>,
}

const SQL: &str = "
SELECT s.seqrelid AS oid, s.seqincrement AS increment,
       n.nspname::text AS schema, t.relname::text AS table, a.attname::text AS column
FROM pg_catalog.pg_sequence s
LEFT JOIN pg_catalog.pg_depend d
       ON d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = s.seqrelid
      AND d.objsubid = 0 AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass
      AND d.refobjsubid > 0 AND d.deptype IN ('a', 'i')
LEFT JOIN pg_catalog.pg_class t ON t.oid = d.refobjid
LEFT JOIN pg_catalog.pg_namespace n ON n.oid = t.relnamespace
LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
WHERE s.seqrelid = ANY ($1)";

pub(crate) async fn read(
    session: &Session,
    relations: &[SequenceRelation],
) -> Result<Vec<SequenceFacts>, PgError> {
    let oids: Vec<u32> = relations.iter().map(|relation| relation.oid).collect();
    let mut facts = HashMap::new();
    for row in rows(session, "reading sequences", SQL, &[&oids]).await? {
        let owned_by = match get::<Option<String>>(&row, "column")? {
            Some(column) => Some(OwnedBy {
                table: Name::new(get::<String>(&row, "schema")?, get::<String>(&row, "table")?),
                column,
            }),
            None => None,
        };
        let increment: i64 = get(&row, "increment")?;
        facts.insert(get::<u32>(&row, "oid")?, (increment, owned_by));
    }
    let mut found = Vec::with_capacity(relations.len());
    for SequenceRelation { oid, name } in relations {
        let Some((increment, owned_by)) = facts.remove(oid) else {
            return Err(PgError::protocol(
                "reading sequences",
                format!("{name} is in pg_class only"),
            ));
        };
        found.push(SequenceFacts { name: name.clone(), oid: *oid, increment, owned_by });
    }
    Ok(found)
}

/// How many sequences are read with one statement.
const BATCH: usize = 200;

/// Where the sequences stand now. Sequences know no transactions: to be called after the rows have
/// been read, so that no value is behind the data. Sequences that may not be read are an error
/// that names all of them.
pub async fn read_sequences(
    session: &Session,
    facts: &[SequenceFacts],
) -> Result<Vec<Sequence>, PgError> {
    let oids: Vec<u32> = facts.iter().map(|sequence| sequence.oid).collect();
    let sql = "SELECT pg_catalog.has_sequence_privilege(o.oid, 'SELECT') \
               AND pg_catalog.has_schema_privilege(c.relnamespace, 'USAGE') AS allowed \
               FROM pg_catalog.unnest($1::pg_catalog.oid[]) WITH ORDINALITY AS o(oid, place) \
               LEFT JOIN pg_catalog.pg_class c ON c.oid = o.oid ORDER BY o.place";
    let mut denied = Vec::new();
    let allowed = rows(session, "checking privileges on sequences", sql, &[&oids]).await?;
    for (row, sequence) in allowed.iter().zip(facts) {
        // NULL: gone since; reading it below says so.
        if get::<Option<bool>>(row, "allowed")? == Some(false) {
            denied.push(sequence.name.to_string());
        }
    }
    if !denied.is_empty() {
        return Err(PgError::objects("no privilege to read (SELECT) sequences", denied));
    }
    let mut found = Vec::with_capacity(facts.len());
    for batch in facts.chunks(BATCH) {
        let mut sql = String::new();
        for (place, sequence) in batch.iter().enumerate() {
            let _ = write!(
                sql,
                "{}SELECT {place}::pg_catalog.int4 AS place, last_value AS value, is_called AS called FROM {}",
                if place == 0 { "" } else { " UNION ALL " },
                qualified(&sequence.name)
            );
        }
        sql.push_str(" ORDER BY 1");
        let doing = match batch {
            [one] => format!("reading sequence {}", one.name),
            _ => "reading the values of sequences".to_owned(),
        };
        let values = rows(session, &doing, &sql, &[]).await?;
        if values.len() != batch.len() {
            let problem = format!("{} values of {} sequences", values.len(), batch.len());
            return Err(PgError::protocol(doing, problem));
        }
        for (row, sequence) in values.iter().zip(batch) {
            found.push(Sequence {
                name: sequence.name.clone(),
                last_value: get(row, "value")?,
                is_called: get(row, "called")?,
                increment: sequence.increment,
                owned_by: sequence.owned_by.clone(),
            });
        }
    }
    Ok(found)
}
