//! The SQL schema, object by object, so that an error says which one it was.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::JoinSet;

use super::choices::not_valid;
use super::load::all;
use super::{RestoreError, RestoreFinding, limit_waiting, session};
use crate::format::manifest::SchemaObject;
use crate::pg::dump::SETTINGS;
use crate::pg::{Params, PgError, Session};
use crate::progress::Progress;

/// An object's part of its SQL file.
pub(super) fn slice<'a>(object: &SchemaObject, sql: &'a [u8]) -> Option<&'a [u8]> {
    let start = usize::try_from(object.offset).ok()?;
    let end = start.checked_add(usize::try_from(object.length).ok()?)?;
    sql.get(start..end)
}

pub(super) async fn pre_data(
    lead: &Session,
    sql: &[u8],
    objects: &[SchemaObject],
    progress: &dyn Progress,
) -> Result<(), RestoreError> {
    for object in objects {
        progress.on(&shown(object));
        run(lead, sql, object).await?;
        progress.rows(1);
    }
    Ok(())
}

/// Runs what comes after the rows. Indexes and keys that follow each other in the file are made
/// by several sessions, those of one table in their order by one. What could not be refreshed is
/// told, and goes on.
pub(super) async fn post_data(
    lead: &Session,
    target: &Params,
    sql: &[u8],
    objects: &[SchemaObject],
    jobs: usize,
    leave_unchecked: bool,
    progress: &Arc<dyn Progress>,
) -> Result<Vec<RestoreFinding>, RestoreError> {
    let mut findings = Vec::new();
    let mut rest = objects;
    while let Some((first, after)) = rest.split_first() {
        let run_length = rest.iter().take_while(|object| is_parallel(object)).count();
        if run_length > 1 && jobs > 1 {
            let (now, after) = rest.split_at(run_length);
            parallel(target, sql, now, jobs, progress).await?;
            rest = after;
            continue;
        }
        progress.on(&shown(first));
        match run(lead, sql, first).await {
            Ok(()) => {}
            Err(RestoreError::Object { source, .. })
                if is_refresh(first)
                    && is_row_security(&source)
                    && refresh_as_owner(lead, slice(first, sql).unwrap_or_default()).await => {}
            Err(RestoreError::Object { kind, object, source })
                if is_refresh(first) && !matches!(source, PgError::Lost { .. }) =>
            {
                let message = format!("it could not be filled: {source}");
                let statement = slice(first, sql).map(statement);
                findings.push(RestoreFinding { kind, object, message, statement });
            }
            Err(RestoreError::Object { kind, object, source })
                if leave_unchecked && is_broken_reference(first, &source) =>
            {
                let unchecked = slice(first, sql).map(statement).and_then(|sql| not_valid(&sql));
                let Some(unchecked) = unchecked else {
                    return Err(RestoreError::Object { kind, object, source });
                };
                let error = |source| RestoreError::Object {
                    kind: kind.clone(),
                    object: object.clone(),
                    source,
                };
                lead.run("adding it NOT VALID", &unchecked).await.map_err(error)?;
                let message = format!("rows break it, so it was added NOT VALID: {source}");
                let statement = validate(&unchecked);
                findings.push(RestoreFinding { kind, object, message, statement });
            }
            Err(error) => return Err(error),
        }
        progress.rows(1);
        rest = after;
    }
    Ok(findings)
}

fn is_parallel(object: &SchemaObject) -> bool {
    matches!(object.kind.as_str(), "INDEX" | "CONSTRAINT")
}

/// Before version 17 `pg_dump` has large objects among the schema, later not: all that is to be
/// known of them is in their rows.
fn is_large_object(object: &SchemaObject) -> bool {
    let about = matches!(object.kind.as_str(), "ACL" | "COMMENT" | "SECURITY LABEL")
        && (object.name.starts_with("LARGE OBJECT ") || object.name.starts_with("LARGE OBJECTS "));
    about || object.kind.starts_with("BLOB")
}

/// A foreign key that the rows break (`foreign_key_violation`).
fn is_broken_reference(object: &SchemaObject, error: &PgError) -> bool {
    object.kind == "FK CONSTRAINT" && error.code().is_some_and(|code| code.code() == "23503")
}

/// The statement that checks a constraint once its rows are mended.
fn validate(add: &str) -> Option<String> {
    let (table, rest) = add.split_once(" ADD CONSTRAINT ")?;
    let (name, _) = rest.split_once(" FOREIGN KEY ")?;
    Some(format!("{} VALIDATE CONSTRAINT {name};", table.trim_end()))
}

fn is_refresh(object: &SchemaObject) -> bool {
    object.kind == "MATERIALIZED VIEW DATA"
}

/// Policies would hide rows from the owner (`insufficient_privilege`).
fn is_row_security(error: &PgError) -> bool {
    error.code().is_some_and(|code| code.code() == "42501")
}

/// Fills a view with the rows that policies let its owner see: these were in it in the source, too.
/// No rows of tables are read here that have to be all.
async fn refresh_as_owner(session: &Session, sql: &[u8]) -> bool {
    let sql = format!("BEGIN; SET LOCAL row_security = on; {} COMMIT", statement(sql));
    if session.run("filling it as its owner", &sql).await.is_ok() {
        return true;
    }
    _ = session.run("rolling back", "ROLLBACK").await;
    false
}

/// Without the comments that `pg_dump` puts in front.
fn statement(sql: &[u8]) -> String {
    let text = String::from_utf8_lossy(sql);
    let lines = text.lines().filter(|line| !line.starts_with("--") && !line.trim().is_empty());
    lines.collect::<Vec<_>>().join("\n")
}

async fn parallel(
    target: &Params,
    sql: &[u8],
    objects: &[SchemaObject],
    jobs: usize,
    progress: &Arc<dyn Progress>,
) -> Result<(), RestoreError> {
    let mut groups: BTreeMap<String, Vec<(SchemaObject, Vec<u8>)>> = BTreeMap::new();
    for object in objects {
        let text = slice(object, sql).unwrap_or_default();
        // Its slice alone goes along; its place is then the beginning.
        let mut own = object.clone();
        own.offset = 0;
        groups.entry(table_of(object, text)).or_default().push((own, text.to_vec()));
    }
    // Tables with the most to do first.
    let mut groups: Vec<_> = groups.into_values().collect();
    groups.sort_by_key(Vec::len);
    let workers = jobs.min(groups.len());
    let queue = Arc::new(Mutex::new(groups));
    let mut running = JoinSet::new();
    for _ in 0..workers {
        let (queue, target, progress) = (Arc::clone(&queue), target.clone(), Arc::clone(progress));
        running.spawn(async move {
            let session = session(&target).await?;
            loop {
                let group = queue.lock().unwrap_or_else(PoisonError::into_inner).pop();
                let Some(group) = group else { break };
                for (object, sql) in group {
                    progress.on(&shown(&object));
                    while let Err(error) = run(&session, &sql, &object).await {
                        if !(is_lock(&error) && others_work(&session).await?) {
                            return Err(error);
                        }
                    }
                    progress.rows(1);
                }
            }
            session.close().await;
            Ok(())
        });
    }
    all(running).await
}

/// A lock was not had in time (`lock_not_available`).
fn is_lock(error: &RestoreError) -> bool {
    matches!(error, RestoreError::Object { source, .. }
        if source.code().is_some_and(|code| code.code() == "55P03"))
}

/// Whether another of our own sessions is at work, and not itself waiting: an index over a
/// function that reads another table waits for that one's key, for as long as that takes.
async fn others_work(session: &Session) -> Result<bool, PgError> {
    let sql = "SELECT FROM pg_catalog.pg_stat_activity \
               WHERE datname = pg_catalog.current_database() AND usename = current_user \
                 AND application_name = pg_catalog.current_setting('application_name') \
                 AND pid <> pg_catalog.pg_backend_pid() AND state = 'active' \
                 AND wait_event_type IS DISTINCT FROM 'Lock'";
    Ok(!session.rows("looking for our other sessions", sql, &[]).await?.is_empty())
}

/// The table an index or key is on, as its SQL names it. If that is not to be seen, the object's
/// own name: it is then made beside others of its table, which only costs waiting for locks.
fn table_of(object: &SchemaObject, sql: &[u8]) -> String {
    let text = String::from_utf8_lossy(sql);
    let after = if object.kind == "INDEX" {
        text.split_once(" ON ").and_then(|(_, rest)| rest.split_once(" USING "))
    } else {
        text.split_once("ALTER TABLE ").and_then(|(_, rest)| rest.split_once(" ADD "))
    };
    match after {
        Some((table, _)) => table.trim().trim_start_matches("ONLY ").trim().to_owned(),
        None => name(object),
    }
}

async fn run(session: &Session, sql: &[u8], object: &SchemaObject) -> Result<(), RestoreError> {
    let failed =
        |source| RestoreError::Object { kind: object.kind.clone(), object: name(object), source };
    let text = slice(object, sql)
        .ok_or_else(|| failed(PgError::protocol("its SQL", "lies outside the schema file")))?;
    let text = std::str::from_utf8(text)
        .map_err(|_| failed(PgError::protocol("its SQL", "is not UTF-8")))?;
    if text.trim().is_empty() || is_large_object(object) {
        return Ok(());
    }
    session.run("running its SQL", text).await.map_err(failed)?;
    if object.kind == SETTINGS {
        // Among them is one that would have us wait for ever.
        limit_waiting(session).await.map_err(failed)?;
    }
    Ok(())
}

fn name(object: &SchemaObject) -> String {
    match &object.schema {
        Some(schema) => format!("{schema}.{}", object.name),
        None => object.name.clone(),
    }
}

fn shown(object: &SchemaObject) -> String {
    format!("{} {}", object.kind, name(object))
}

/// Guards against indexes of one table being made in another order, or at the same time.
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_found_in_the_sql() {
        let object = |kind: &str| SchemaObject {
            kind: kind.into(),
            schema: Some("s".into()),
            name: "x".into(),
            owner: None,
            offset: 0,
            length: 0,
            drop: None,
        };
        let index = "CREATE UNIQUE INDEX i ON ONLY s.\"a b\" USING btree (x);";
        assert_eq!(table_of(&object("INDEX"), index.as_bytes()), "s.\"a b\"");
        let key = "ALTER TABLE ONLY s.\"a b\"\n    ADD CONSTRAINT k PRIMARY KEY (x);";
        assert_eq!(table_of(&object("CONSTRAINT"), key.as_bytes()), "s.\"a b\"");
        assert_eq!(table_of(&object("CONSTRAINT"), b"?"), "s.x");
    }
}
