//! What the copy's server is asked.

use tokio_postgres::Row;

use super::RescueError;
use super::plan::Tablespace;
use crate::pg::{PgError, Session, ident};

/// A database of the cluster.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Database {
    pub(super) oid: u32,
    pub(super) name: String,
    /// Whether sessions are let in.
    pub(super) may_connect: bool,
    /// Whether dropping it had begun.
    pub(super) invalid: bool,
}

/// A collation whose order is another here than where its indexes were made.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Collation {
    /// The database.
    pub database: String,
    /// The collation; none for that of the database itself.
    pub name: Option<String>,
    /// The version of its order there.
    pub was: String,
    /// The version here.
    pub here: String,
}

/// What the cluster holds.
pub(super) struct Cluster {
    pub(super) databases: Vec<Database>,
    pub(super) collations: Vec<Collation>,
    pub(super) prepared: Vec<String>,
}

fn get<'a, T: tokio_postgres::types::FromSql<'a>>(
    row: &'a Row,
    column: &str,
) -> Result<T, RescueError> {
    let bad = |error| RescueError::Ask(PgError::server(format!("column {column}"), error));
    row.try_get(column).map_err(bad)
}

/// Asks for what there is.
pub(super) async fn cluster(session: &Session) -> Result<Cluster, RescueError> {
    let sql = "SELECT oid, datname::text, datallowconn, datconnlimit = -2 AS invalid \
               FROM pg_catalog.pg_database WHERE NOT datistemplate ORDER BY datname";
    let mut databases = Vec::new();
    for row in session.rows("listing databases", sql, &[]).await.map_err(RescueError::Ask)? {
        databases.push(Database {
            oid: get(&row, "oid")?,
            name: get(&row, "datname")?,
            may_connect: get(&row, "datallowconn")?,
            invalid: get(&row, "invalid")?,
        });
    }
    let sql = "SELECT database::text, gid FROM pg_catalog.pg_prepared_xacts ORDER BY 1, 2";
    let mut prepared = Vec::new();
    let doing = "listing prepared transactions";
    for row in session.rows(doing, sql, &[]).await.map_err(RescueError::Ask)? {
        let (database, name): (String, String) = (get(&row, "database")?, get(&row, "gid")?);
        prepared.push(format!("{database}: {name}"));
    }
    let mut collations = Vec::new();
    if session.server_version_num() >= 150_000 {
        let sql = "SELECT datname::text, datcollversion AS was, \
                   pg_catalog.pg_database_collation_actual_version(oid) AS here \
                   FROM pg_catalog.pg_database WHERE NOT datistemplate \
                   AND datcollversion <> pg_catalog.pg_database_collation_actual_version(oid)";
        // A server that knows no ICU cannot say, and says so when such a database is read.
        for row in session.rows("comparing collations", sql, &[]).await.unwrap_or_default() {
            collations.push(Collation {
                database: get(&row, "datname")?,
                name: None,
                was: get(&row, "was")?,
                here: get(&row, "here")?,
            });
        }
    }
    Ok(Cluster { databases, collations, prepared })
}

/// Collations that something in the session's database uses, and that are of another version here.
pub(super) async fn collations(session: &Session, database: &str) -> Vec<Collation> {
    let sql = "SELECT n.nspname || '.' || c.collname AS name, c.collversion AS was, \
               pg_catalog.pg_collation_actual_version(c.oid) AS here \
               FROM pg_catalog.pg_collation c \
               JOIN pg_catalog.pg_namespace n ON n.oid = c.collnamespace \
               WHERE c.collversion <> pg_catalog.pg_collation_actual_version(c.oid) \
               AND EXISTS (SELECT FROM pg_catalog.pg_depend d WHERE d.refobjid = c.oid \
               AND d.refclassid = 'pg_catalog.pg_collation'::pg_catalog.regclass)";
    let mut out = Vec::new();
    for row in session.rows("comparing collations", sql, &[]).await.unwrap_or_default() {
        let text = |column: &str| row.try_get::<_, String>(column).ok();
        if let (Some(name), Some(was), Some(here)) = (text("name"), text("was"), text("here")) {
            let database = database.to_owned();
            out.push(Collation { database, name: Some(name), was, here });
        }
    }
    out
}

/// What of the session's database is in tablespaces that are missing, as an error. Indexes hold
/// nothing of their own.
pub(super) async fn lost(
    session: &Session,
    database: &str,
    missing: &[Tablespace],
) -> Result<Option<RescueError>, RescueError> {
    for space in missing {
        let sql = format!(
            "SELECT s.spcname::text AS space, n.nspname || '.' || coalesce(u.relname, c.relname) AS name \
             FROM pg_catalog.pg_class c \
             JOIN pg_catalog.pg_tablespace s ON s.oid = c.reltablespace \
             LEFT JOIN pg_catalog.pg_class u ON u.reltoastrelid = c.oid \
             JOIN pg_catalog.pg_namespace n ON n.oid = coalesce(u.relnamespace, c.relnamespace) \
             WHERE c.relkind IN ('r', 'm', 't', 'S') AND c.reltablespace = {} ORDER BY 2",
            space.oid
        );
        let rows = session.rows("looking for what is in a missing tablespace", &sql, &[]).await;
        let mut tables: Vec<String> = Vec::new();
        let mut tablespace = space.oid.to_string();
        for row in rows.map_err(RescueError::Ask)? {
            tablespace = get(&row, "space")?;
            let name: String = get(&row, "name")?;
            if !tables.contains(&name) {
                tables.push(name);
            }
        }
        if !tables.is_empty() {
            return Ok(Some(RescueError::Missing {
                database: database.to_owned(),
                tablespace,
                was: space.was.clone(),
                tables,
            }));
        }
    }
    Ok(None)
}

/// Lets sessions into a database of the copy that is closed to them.
pub(super) async fn open_up(session: &Session, name: &str) -> Result<(), RescueError> {
    let sql = format!("ALTER DATABASE {} WITH ALLOW_CONNECTIONS true", ident(name));
    session.run(&format!("opening database {name}"), &sql).await.map_err(RescueError::Ask)
}
