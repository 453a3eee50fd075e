//! One snapshot of a database, seen by several sessions, with every table locked against being
//! rewritten or dropped while it is read.
//!
//! A table that another session truncates or rewrites between the moment of the snapshot and its
//! first being touched reads as empty, without an error. So all tables are locked at once, right
//! after the snapshot, and each is compared with what the snapshot says it should be.

use std::fmt::Write as _;
use std::time::Duration;

use tokio_postgres::error::SqlState;

use super::catalog::relations::{self, Relation};
use super::catalog::{Catalog, read_catalog};
use super::error::PgError;
use super::ident::{literal, qualified};
use super::params::Params;
use super::query::{get, one, rows};
use super::session::Session;

/// How often a snapshot is taken again because a table changed between it and the locks.
const TRIES: u32 = 5;

/// A snapshot held open by a leading session. Dropped, the snapshot is gone.
pub struct Snapshot {
    lead: Session,
    params: Params,
    id: String,
    lock_timeout: Duration,
    relations: Vec<Relation>,
    began: Began,
}

/// When and where in the write-ahead log a snapshot was taken.
struct Began {
    time: String,
    lsn: String,
}

/// Why one try came to nothing.
enum Failure {
    /// A table changed under it: another snapshot may do better.
    Changed(PgError),
    Other(PgError),
}

impl From<PgError> for Failure {
    fn from(error: PgError) -> Self {
        Self::Other(error)
    }
}

impl Snapshot {
    /// Takes a snapshot, exports it, and locks every table whose rows belong to the backup.
    ///
    /// Before any table is locked, an error names all tables that the role may not read, all that
    /// row security would hide rows of, and on a standby all unlogged ones (they cannot be read
    /// there). A table that is locked by others for longer than `lock_timeout` is an error that
    /// names it and who holds it; so is one that was changed under the snapshot again and again.
    pub async fn take(params: &Params, lock_timeout: Duration) -> Result<Self, PgError> {
        Self::take_from(params, None, lock_timeout).await
    }

    /// The same, in a snapshot that another session has exported, if `id` is given.
    pub async fn take_from(
        params: &Params,
        id: Option<&str>,
        lock_timeout: Duration,
    ) -> Result<Self, PgError> {
        let mut tries = if id.is_some() { 1 } else { TRIES };
        loop {
            tries -= 1;
            match Self::attempt(params, id, lock_timeout).await {
                Ok(snapshot) => return Ok(snapshot),
                Err(Failure::Changed(_)) if tries > 0 => {}
                Err(Failure::Changed(error) | Failure::Other(error)) => return Err(error),
            }
        }
    }

    async fn attempt(
        params: &Params,
        id: Option<&str>,
        lock_timeout: Duration,
    ) -> Result<Self, Failure> {
        let lead = Session::open(params).await?;
        begin(&lead, id).await?;
        let began = began(&lead, id).await?;
        let relations = relations::read(&lead).await?.tables;
        check_readable(&lead, &relations).await?;
        lock(&lead, &relations, lock_timeout).await?;
        let changed = changed(&lead, &relations).await?;
        if !changed.is_empty() {
            return Err(Failure::Changed(PgError::objects(
                "tables were rewritten, renamed or altered between the snapshot and the locks",
                changed,
            )));
        }
        let sql = "SELECT pg_catalog.pg_export_snapshot() AS id";
        let row = one(&lead, "exporting the snapshot", sql, &[]).await?;
        // The host that answered, so that all sessions are on one server.
        let params = lead.params().clone();
        Ok(Self { params, id: get(&row, "id")?, lock_timeout, relations, began, lead })
    }

    /// The exported snapshot's identifier, as `SET TRANSACTION SNAPSHOT` and `pg_dump --snapshot`
    /// take it. Valid as long as this value lives.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The leading session, in the snapshot's transaction. An error of a statement in it ends the
    /// snapshot and the locks.
    pub fn lead(&self) -> &Session {
        &self.lead
    }

    /// Parameters that lead to the same server, whatever other hosts were given.
    pub fn params(&self) -> &Params {
        &self.params
    }

    /// How long any lock is waited for.
    pub fn lock_timeout(&self) -> Duration {
        self.lock_timeout
    }

    /// The catalog as of the snapshot, its source with the time of the snapshot and its place in
    /// the write-ahead log. Of a snapshot that another session exported, that place is not known
    /// (empty), and the time is that session's where the role may see it.
    pub async fn read_catalog(&self) -> Result<Catalog, PgError> {
        let mut catalog = read_catalog(&self.lead).await?;
        catalog.source.snapshot_time.clone_from(&self.began.time);
        catalog.source.lsn.clone_from(&self.began.lsn);
        Ok(catalog)
    }

    /// Another session in the same snapshot, ready to read tables in the order of their heaps.
    /// Waits for no lock longer than the snapshot's `lock_timeout`: while the lead holds its
    /// locks, somebody who waits for a stronger one would block a reader that comes later, and be
    /// blocked by us, for ever.
    pub async fn join(&self) -> Result<Session, PgError> {
        let session = Session::open(&self.params).await?;
        session.read_in_heap_order().await?;
        begin(&session, Some(&self.id)).await?;
        session.run("setting a lock timeout", &timeout_sql(self.lock_timeout)).await?;
        Ok(session)
    }

    /// Whether the snapshot still stands: the lead's transaction, its locks, the tables. To be
    /// called once more when all rows have been read.
    pub async fn check_rewrites(&self) -> Result<(), PgError> {
        let changed = changed(&self.lead, &self.relations).await?;
        if changed.is_empty() {
            return Ok(());
        }
        Err(PgError::objects("tables were rewritten, renamed or altered while being read", changed))
    }
}

async fn begin(session: &Session, id: Option<&str>) -> Result<(), PgError> {
    let doing = match id {
        Some(id) => format!("joining snapshot {id}"),
        None => "taking a snapshot".to_owned(),
    };
    let join = id.map(|id| format!("; SET TRANSACTION SNAPSHOT {}", literal(id)));
    let sql = format!(
        "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY{}; SELECT 1",
        join.unwrap_or_default()
    );
    session.run(&doing, &sql).await
}

fn timeout_sql(limit: Duration) -> String {
    // 0 would mean to wait for ever.
    let milliseconds = limit.as_millis().clamp(1, 2_147_483_647);
    format!("SET lock_timeout = {milliseconds}")
}

/// All that keeps tables from being read whole, known before touching any.
async fn check_readable(session: &Session, relations: &[Relation]) -> Result<(), PgError> {
    let oids: Vec<u32> = relations.iter().map(|relation| relation.oid).collect();
    // NULL: dropped since the snapshot, which the locks will find.
    let sql = "
        SELECT pg_catalog.has_schema_privilege(c.relnamespace, 'USAGE')
               AND pg_catalog.has_table_privilege(c.oid, 'SELECT') AS allowed,
               pg_catalog.has_schema_privilege(c.relnamespace, 'USAGE') AS schema_allowed,
               pg_catalog.row_security_active(c.oid) AS secured,
               c.relpersistence = 'u' AND c.relkind = 'r' AND pg_catalog.pg_is_in_recovery()
               AS absent
        FROM pg_catalog.unnest($1::pg_catalog.oid[]) WITH ORDINALITY AS o(oid, place)
        JOIN pg_catalog.pg_class c ON c.oid = o.oid
        ORDER BY o.place";
    let found = rows(session, "checking privileges on tables", sql, &[&oids]).await?;
    let (mut denied, mut secured, mut absent) = (Vec::new(), Vec::new(), Vec::new());
    for (row, relation) in found.iter().zip(relations) {
        let name = relation.name.to_string();
        if get::<Option<bool>>(row, "allowed")? == Some(false) {
            denied.push(match get::<Option<bool>>(row, "schema_allowed")? {
                Some(false) => format!("{name} (USAGE on its schema)"),
                _ => format!("{name} (SELECT)"),
            });
        } else if get::<Option<bool>>(row, "secured")? == Some(true) && !relation.partitioned {
            secured.push(name);
        } else if get::<Option<bool>>(row, "absent")? == Some(true) {
            absent.push(name);
        }
    }
    if !denied.is_empty() {
        return Err(PgError::objects("no privilege to read tables", denied));
    }
    if !secured.is_empty() {
        return Err(PgError::objects("row security would hide rows of tables", secured));
    }
    if !absent.is_empty() {
        return Err(PgError::objects(
            "the server is a standby, where unlogged tables cannot be read",
            absent,
        ));
    }
    Ok(())
}

async fn lock(session: &Session, relations: &[Relation], limit: Duration) -> Result<(), Failure> {
    if relations.is_empty() {
        return Ok(());
    }
    session.run("setting a lock timeout", &timeout_sql(limit)).await?;
    let mut sql = String::from("LOCK TABLE ");
    for (place, relation) in relations.iter().enumerate() {
        let comma = if place == 0 { "" } else { ", " };
        let _ = write!(sql, "{comma}ONLY {}", qualified(&relation.name));
    }
    sql.push_str(" IN ACCESS SHARE MODE");
    let Err(error) = session.run("locking tables", &sql).await else {
        return Ok(());
    };
    match error.code() {
        Some(code) if *code == SqlState::LOCK_NOT_AVAILABLE => {
            Err(Failure::Other(blocked(session, relations, limit).await.unwrap_or(error)))
        }
        Some(code) if [SqlState::UNDEFINED_TABLE, SqlState::INVALID_SCHEMA_NAME].contains(code) => {
            Err(Failure::Changed(error))
        }
        _ => Err(Failure::Other(error)),
    }
}

/// Which tables somebody holds, or waits for, in a mode that keeps us out, and who.
async fn blocked(session: &Session, relations: &[Relation], limit: Duration) -> Option<PgError> {
    // The locks are looked at from outside: our own transaction has failed.
    let watcher = Session::open(session.params()).await.ok()?;
    let oids: Vec<u32> = relations.iter().map(|relation| relation.oid).collect();
    let sql = "
        SELECT l.relation AS oid, l.pid, l.granted, a.usename::text AS role,
               nullif(a.application_name, '') AS application
        FROM pg_catalog.pg_locks l LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
        WHERE l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock'
          AND l.relation = ANY ($1)
          AND l.database = (SELECT oid FROM pg_catalog.pg_database
                            WHERE datname = pg_catalog.current_database())
        ORDER BY l.granted DESC, l.relation, l.pid";
    let found = rows(&watcher, "asking who holds locks", sql, &[&oids]).await.ok()?;
    let mut held = Vec::new();
    for row in &found {
        let oid: u32 = get(row, "oid").ok()?;
        let name = &relations.iter().find(|relation| relation.oid == oid)?.name;
        let pid: Option<i32> = get(row, "pid").ok()?;
        let mut who = match pid {
            Some(pid) => format!("process {pid}"),
            None => "a prepared transaction".to_owned(),
        };
        for column in ["role", "application"] {
            if let Ok(Some(text)) = get::<Option<String>>(row, column) {
                let _ = write!(who, ", {column} {text}");
            }
        }
        let how = if get(row, "granted").ok()? { "locked" } else { "waited for" };
        held.push(format!("{name} ({how} by {who})"));
    }
    let problem = format!("tables could not be locked within {} ms", limit.as_millis());
    (!held.is_empty()).then(|| PgError::objects(problem, held))
}

/// Which tables are not, or no longer, what the snapshot says: rewritten (their rows would read
/// as none), renamed, dropped, or with a column gone.
///
/// The catalog tables are read as of the snapshot; `pg_relation_filenode`, `regclass` output and
/// `has_column_privilege` look at what is there now.
async fn changed(session: &Session, relations: &[Relation]) -> Result<Vec<String>, PgError> {
    let oids: Vec<u32> = relations.iter().map(|relation| relation.oid).collect();
    let sql = "
        SELECT c.relkind <> 'p'
               AND pg_catalog.pg_relation_filenode(c.oid) IS DISTINCT FROM c.relfilenode AS rewritten,
               c.oid::pg_catalog.regclass::pg_catalog.text
               <> pg_catalog.format('%I.%I', n.nspname, c.relname) AS renamed,
               ARRAY(SELECT a.attname::text FROM pg_catalog.pg_attribute a
                     WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
                       AND pg_catalog.has_column_privilege(c.oid, a.attnum, 'SELECT') IS NULL
                     ORDER BY a.attnum) AS gone
        FROM pg_catalog.unnest($1::pg_catalog.oid[]) WITH ORDINALITY AS o(oid, place)
        JOIN pg_catalog.pg_class c ON c.oid = o.oid
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
        ORDER BY o.place";
    let found = rows(session, "checking tables for changes", sql, &[&oids]).await?;
    if found.len() != relations.len() {
        let problem = format!("{} of {} tables are in the catalog", found.len(), relations.len());
        return Err(PgError::protocol("checking tables for changes", problem));
    }
    let mut changed = Vec::new();
    for (row, relation) in found.iter().zip(relations) {
        let name = &relation.name;
        let gone: Vec<String> = get(row, "gone")?;
        if get(row, "rewritten")? {
            changed.push(format!("{name} (rewritten or dropped)"));
        } else if get(row, "renamed")? {
            changed.push(format!("{name} (renamed)"));
        } else if !gone.is_empty() {
            changed.push(format!("{name} (without its columns {})", gone.join(", ")));
        }
    }
    Ok(changed)
}

/// When a snapshot was taken. The identifier of one that was exported elsewhere begins with the
/// exporter's virtual transaction id; who that is, the lock on that id tells.
async fn began(session: &Session, id: Option<&str>) -> Result<Began, PgError> {
    let sql = "
        SELECT pg_catalog.to_char(
                   coalesce((SELECT min(a.xact_start)
                             FROM pg_catalog.pg_locks l
                             JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
                             WHERE l.locktype = 'virtualxid' AND l.virtualxid = $1 AND l.granted
                               AND l.virtualtransaction = l.virtualxid),
                            pg_catalog.transaction_timestamp()) AT TIME ZONE 'UTC',
                   'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') AS time,
               CASE WHEN $1 IS NOT NULL THEN ''
                    WHEN pg_catalog.pg_is_in_recovery()
                    THEN pg_catalog.pg_last_wal_replay_lsn()::pg_catalog.text
                    ELSE pg_catalog.pg_current_wal_lsn()::pg_catalog.text END AS lsn";
    let exporter = id.map(|id| exporter(id).unwrap_or_default());
    let row = one(session, "asking when the snapshot was taken", sql, &[&exporter]).await?;
    Ok(Began {
        time: get(&row, "time")?,
        lsn: get::<Option<String>>(&row, "lsn")?.unwrap_or_default(),
    })
}

/// `00000003-0000001B-1` names virtual transaction `3/27`.
fn exporter(id: &str) -> Option<String> {
    let mut parts = id.split('-').map(|part| u64::from_str_radix(part, 16));
    let (Ok(process), Ok(transaction)) = (parts.next()?, parts.next()?) else {
        return None;
    };
    Some(format!("{process}/{transaction}"))
}

#[cfg(test)]
mod tests {
    use super::exporter;

    /// Guards against the hexadecimal of snapshot identifiers being read as decimal.
    #[test]
    fn an_identifier_names_its_exporter() {
        assert_eq!(exporter("00000003-0000001B-1").as_deref(), Some("3/27"));
        assert_eq!(exporter("nonsense"), None);
    }
}
