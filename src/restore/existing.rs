//! Rows into tables that are there: what these must be, and what is checked when the rows are in,
//! because triggers and foreign keys did not act on them.
//!
//! They are loaded in one transaction, which first locks every table against writers and then looks
//! again whether it is empty: whoever was quicker is not mixed with the archive's rows, and what
//! fails leaves every table as it was.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::load;
use super::target::{Checked, flag};
use super::{RestoreError, RestoreFinding};
use crate::create::pump::has_rows;
use crate::format::manifest::{Manifest, Table};
use crate::format::reader::Archive;
use crate::pg::{self, PgError, Session, Snapshot, qualified};
use crate::progress::Progress;

/// How long somebody else may hold a table locked.
const LOCK_TIMEOUT: Duration = Duration::from_secs(60);

/// Neither triggers nor foreign keys act in such a session.
const QUIET: &str = "SET session_replication_role = replica; SET row_security = off";

/// Checks that every table is there with the same columns and no rows, and every sequence.
pub(super) async fn check(
    lead: &Session,
    manifest: &Manifest,
    out: &mut Checked,
) -> Result<(), RestoreError> {
    let mut problems = Vec::new();
    let snapshot = Snapshot::take(lead.params(), LOCK_TIMEOUT).await?;
    let catalog = pg::read_catalog(snapshot.lead()).await?;
    let theirs: HashMap<_, _> = catalog.tables.iter().map(|table| (&table.name, table)).collect();
    for table in manifest.tables.iter().filter(|table| has_rows(table)) {
        let name = &table.name;
        match theirs.get(name) {
            None => problems.push(format!("table {name} is not there")),
            Some(there) if !has_rows(there) => {
                problems.push(format!("table {name} is partitioned there"));
            }
            Some(there) => {
                let [missing, more] = [(table, *there), (*there, table)]
                    .map(|(one, other)| columns(one).difference(&columns(other)).cloned().collect())
                    .map(|columns: Vec<String>| columns.join(", "));
                if !missing.is_empty() || !more.is_empty() {
                    problems.push(format!(
                        "table {name} has other columns (only in the archive: {}; only there: {})",
                        or_none(&missing),
                        or_none(&more)
                    ));
                    continue;
                }
                problems.extend(filled(snapshot.lead(), table).await?);
            }
        }
    }
    let sequences: BTreeSet<_> = catalog.sequences.iter().map(|sequence| &sequence.name).collect();
    let missing = manifest.sequences.iter().filter(|s| !sequences.contains(&s.name));
    problems.extend(missing.map(|sequence| format!("sequence {} is not there", sequence.name)));
    if manifest.large_objects.is_some() && catalog.large_objects > 0 {
        problems.push("there are large objects already".into());
    }
    drop(snapshot);
    if !problems.is_empty() {
        out.problems.push(RestoreError::Unfit(problems));
    }
    if let Err(error) = lead.run("keeping triggers from acting", QUIET).await {
        let lacks = vec![format!("it may not keep triggers and foreign keys from acting: {error}")];
        let role = lead.params().user().to_owned();
        out.problems.push(RestoreError::Privileges { role, lacks });
    }
    out.notes.push("materialized views of the target are not refreshed".into());
    Ok(())
}

/// Says so where a table has rows that would be mixed with those of the archive.
async fn filled(session: &Session, table: &Table) -> Result<Option<String>, RestoreError> {
    let condition = table.condition.as_deref().unwrap_or_default();
    let sql = format!("SELECT EXISTS (SELECT FROM ONLY {} {condition})", qualified(&table.name));
    let filled = flag(session, &sql).await?;
    Ok(filled.then(|| format!("table {} has rows already", table.name)))
}

/// Loads rows and sequences in one transaction, and looks for rows that break a foreign key.
/// `begun` is set when the transaction is about to be committed: before that, nothing of it is
/// there.
///
/// # Errors
/// [`RestoreError::Unfit`] where a table has been filled since it was looked at; any other that
/// loading has.
pub(super) async fn fill(
    lead: &Session,
    archive: &Arc<Archive>,
    manifest: &Manifest,
    begun: &AtomicBool,
    progress: &dyn Progress,
) -> Result<Vec<RestoreFinding>, RestoreError> {
    lead.run("keeping triggers from acting", QUIET).await?;
    lead.run("beginning a transaction", "BEGIN").await?;
    let mut problems = Vec::new();
    for table in manifest.tables.iter().filter(|table| has_rows(table)) {
        // Readers may go on; who writes waits until all is in.
        let sql = format!("LOCK TABLE ONLY {} IN SHARE ROW EXCLUSIVE MODE", qualified(&table.name));
        lead.run(&format!("locking table {}", table.name), &sql).await?;
        problems.extend(filled(lead, table).await?);
    }
    if !problems.is_empty() {
        return Err(RestoreError::Unfit(problems));
    }
    load::within(lead, archive, manifest, progress).await?;
    progress.on("foreign keys");
    let findings = references(lead, manifest).await?;
    // A sequence does not go back with its transaction.
    begun.store(true, Ordering::Relaxed);
    super::set_sequences(lead, manifest).await?;
    lead.run("committing the rows", "COMMIT").await?;
    Ok(findings)
}

fn columns(table: &Table) -> BTreeSet<String> {
    table.stored_columns().map(|column| format!("{} {}", column.name, column.sql_type)).collect()
}

fn or_none(words: &str) -> &str {
    if words.is_empty() { "none" } else { words }
}

/// Every foreign key of the tables that were filled: its name, its table, and a query for whether
/// a row breaks it.
const KEYS: &str = "
SELECT c.conname::text, c.conrelid::pg_catalog.regclass::text, pg_catalog.format(
  'SELECT EXISTS (SELECT FROM %s f WHERE %s AND NOT EXISTS (SELECT FROM %s p WHERE %s))',
  c.conrelid::pg_catalog.regclass,
  pg_catalog.string_agg(pg_catalog.format('f.%I IS NOT NULL', f.attname), ' AND '),
  c.confrelid::pg_catalog.regclass,
  pg_catalog.string_agg(pg_catalog.format('p.%I OPERATOR(%I.%s) f.%I',
    p.attname, n.nspname, o.oprname, f.attname), ' AND '))
FROM pg_catalog.pg_constraint c
CROSS JOIN LATERAL ROWS FROM (pg_catalog.unnest(c.conkey), pg_catalog.unnest(c.confkey),
  pg_catalog.unnest(c.conpfeqop)) k(f, p, o)
JOIN pg_catalog.pg_attribute f ON f.attrelid = c.conrelid AND f.attnum = k.f
JOIN pg_catalog.pg_attribute p ON p.attrelid = c.confrelid AND p.attnum = k.p
JOIN pg_catalog.pg_operator o ON o.oid = k.o
JOIN pg_catalog.pg_namespace n ON n.oid = o.oprnamespace
WHERE c.contype = 'f' AND c.convalidated AND c.conparentid = 0 AND (
  c.conrelid = ANY ($1::pg_catalog.text[]::pg_catalog.regclass[]) OR c.conrelid IN (
    SELECT a.relid FROM pg_catalog.unnest($1::pg_catalog.text[]::pg_catalog.regclass[]) t(r),
    pg_catalog.pg_partition_ancestors(t.r) a(relid)))
GROUP BY c.oid, c.conname, c.conrelid, c.confrelid ORDER BY 2, 1";

/// Looks for rows that break a foreign key of the target, which did not act when they came.
async fn references(
    lead: &Session,
    manifest: &Manifest,
) -> Result<Vec<RestoreFinding>, RestoreError> {
    const DOING: &str = "reading foreign keys";
    let filled = manifest.tables.iter().filter(|table| has_rows(table));
    let filled: Vec<String> = filled.map(|table| qualified(&table.name)).collect();
    let mut findings = Vec::new();
    for row in lead.rows(DOING, KEYS, &[&filled]).await? {
        let get = |at: usize| row.try_get::<_, String>(at);
        let (name, table, query) = match (get(0), get(1), get(2)) {
            (Ok(name), Ok(table), Ok(query)) => (name, table, query),
            (Err(error), _, _) | (_, Err(error), _) | (_, _, Err(error)) => {
                return Err(PgError::server(DOING, error).into());
            }
        };
        if flag(lead, &query).await? {
            findings.push(RestoreFinding {
                kind: "FK CONSTRAINT".into(),
                object: format!("{table} {name}"),
                message: "rows refer to rows that are not there".into(),
                statement: Some(format!("{query};")),
            });
        }
    }
    Ok(findings)
}
