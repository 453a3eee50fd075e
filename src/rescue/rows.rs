//! Rows with a value that cannot be read: found, told, and taken out of the copy, so that the rest can
//! be saved.
//!
//! Long values are kept in pieces in a table of their own. Where that has lost pages, whoever reads
//! the row fails, and nobody says which row it was.

use super::RescueError;
use crate::format::manifest::Name;
use crate::pg::{PgError, Session, ident, literal, qualified};
use crate::progress::Progress;

/// A row that is not in the archive, because a value of it cannot be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DroppedRow {
    /// The database.
    pub database: String,
    /// The table, as `schema.name`.
    pub table: String,
    /// The row's primary key, as `column=value`; none if the table has none, or that cannot be read
    /// either.
    pub key: Option<String>,
    /// Where the row was in the table: page and number.
    pub place: String,
    /// What the server says.
    pub why: String,
}

/// What is said of data that cannot be read: damage, files that are not there, disks that fail.
/// Whatever else goes wrong is no reason to leave out a row.
const UNREADABLE: &str = "SQLSTATE 'XX000' OR SQLSTATE 'XX001' OR SQLSTATE 'XX002' OR SQLSTATE '58030' \
                          OR SQLSTATE '58P01'";

/// A table with long values.
struct Table {
    name: Name,
    /// The table of the pieces.
    pieces: String,
    /// For each column of variable length an expression that reads all of it.
    reading: Vec<String>,
    /// An expression that gives the primary key.
    key: Option<String>,
}

impl Table {
    fn qualified(&self) -> String {
        qualified(&self.name)
    }

    fn shown(&self) -> String {
        format!("{}.{}", self.name.schema, self.name.name)
    }
}

/// Deletes what cannot be read from the tables of the session's database, in the copy.
pub(super) async fn drop_unreadable(
    session: &Session,
    database: &str,
    progress: &dyn Progress,
) -> Result<Vec<DroppedRow>, RescueError> {
    let doing = "getting ready to delete rows that cannot be read";
    // Neither triggers nor foreign keys nor rules act.
    session.run(doing, "SET session_replication_role = replica").await.map_err(RescueError::Ask)?;
    let mut dropped = Vec::new();
    for table in tables(session).await? {
        if progress.interrupted() {
            return Err(RescueError::Interrupted);
        }
        progress.on(&table.shown());
        if reads(session, &table).await? {
            continue;
        }
        // An index of the pieces that is damaged loses none of them.
        let anew = format!("REINDEX TABLE pg_toast.{}", ident(&table.pieces));
        let doing = format!("making the index of the long values of {} anew", table.shown());
        if session.run(&doing, &anew).await.is_ok() && reads(session, &table).await? {
            continue;
        }
        dropped.extend(rows_of(session, database, &table).await.map_err(RescueError::Ask)?);
    }
    Ok(dropped)
}

async fn tables(session: &Session) -> Result<Vec<Table>, RescueError> {
    // Those of the system itself have numbers below.
    let bytes = "(SELECT y.oid FROM pg_catalog.pg_type y WHERE 'bytea'::pg_catalog.regtype \
                 IN (y.oid, y.typbasetype))";
    let sql = format!(
        "SELECT n.nspname::text AS schema, c.relname::text AS name, t.relname::text AS pieces, \
        (SELECT pg_catalog.array_agg(a.attname::text ORDER BY a.attnum) \
         FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 \
         AND NOT a.attisdropped AND a.attlen = -1 AND a.attgenerated <> 'v' \
         AND a.atttypid IN {bytes}) AS bytes, \
        (SELECT pg_catalog.array_agg(a.attname::text ORDER BY a.attnum) \
         FROM pg_catalog.pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 \
         AND NOT a.attisdropped AND a.attlen = -1 AND a.attgenerated <> 'v' \
         AND a.atttypid NOT IN {bytes}) AS others, \
        (SELECT pg_catalog.array_agg(a.attname::text ORDER BY k.place) FROM pg_catalog.pg_index i, \
         LATERAL pg_catalog.unnest(i.indkey::pg_catalog.int2[]) WITH ORDINALITY AS k (number, place), \
         pg_catalog.pg_attribute a WHERE i.indrelid = c.oid AND i.indisprimary \
         AND a.attrelid = c.oid AND a.attnum = k.number) AS key \
        FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
        JOIN pg_catalog.pg_class t ON t.oid = c.reltoastrelid \
        WHERE c.relkind = 'r' AND c.oid >= 16384 AND c.relpersistence <> 't' ORDER BY 1, 2"
    );
    let rows = session.rows("listing tables with long values", &sql, &[]).await;
    let mut out = Vec::new();
    for row in rows.map_err(RescueError::Ask)? {
        let bad = |error| RescueError::Ask(PgError::server("a row of the catalog", error));
        let names = |column: &str| row.try_get::<_, Option<Vec<String>>>(column).map_err(bad);
        let mut reading = Vec::new();
        for name in names("bytes")?.unwrap_or_default() {
            let name = ident(&name);
            reading.push(format!(
                "CASE WHEN pg_catalog.octet_length(x.{name}) > 0 \
                 THEN pg_catalog.get_byte(x.{name}, 0) END"
            ));
        }
        for name in names("others")?.unwrap_or_default() {
            reading.push(format!("pg_catalog.hashtext(x.{}::pg_catalog.text)", ident(&name)));
        }
        let key = names("key")?.map(|names| {
            let pairs = names.iter().map(|name| {
                format!("{} || x.{}::pg_catalog.text", literal(&format!("{name}=")), ident(name))
            });
            format!("pg_catalog.concat_ws(', ', {})", pairs.collect::<Vec<_>>().join(", "))
        });
        out.push(Table {
            name: Name {
                schema: row.try_get("schema").map_err(bad)?,
                name: row.try_get("name").map_err(bad)?,
            },
            pieces: row.try_get("pieces").map_err(bad)?,
            reading,
            key,
        });
    }
    Ok(out)
}

/// Whether every row of a table can be read.
async fn reads(session: &Session, table: &Table) -> Result<bool, RescueError> {
    let counts: Vec<String> =
        table.reading.iter().map(|reading| format!("pg_catalog.count({reading})")).collect();
    if counts.is_empty() {
        return Ok(true);
    }
    let sql = format!("SELECT {} FROM ONLY {} x", counts.join(", "), table.qualified());
    match session.rows(&format!("reading all of {}", table.shown()), &sql, &[]).await {
        Ok(_) => Ok(true),
        Err(error) if error.code().is_some_and(|code| UNREADABLE.contains(code.code())) => {
            Ok(false)
        }
        Err(error) => Err(RescueError::Ask(error)),
    }
}

/// Finds, row by row, what cannot be read, and deletes it.
async fn rows_of(
    session: &Session,
    database: &str,
    table: &Table,
) -> Result<Vec<DroppedRow>, PgError> {
    let (name, shown) = (table.qualified(), table.shown());
    let key = table.key.as_deref().unwrap_or("NULL");
    // Columns may have any name: the block has one for its variables.
    let body = format!(
        "<<pgark>> DECLARE place pg_catalog.tid; why text; key text; BEGIN \
         FOR pgark.place IN SELECT x.ctid FROM ONLY {name} x LOOP \
         BEGIN PERFORM {} FROM ONLY {name} x WHERE x.ctid = pgark.place; \
         EXCEPTION WHEN {UNREADABLE} THEN pgark.why := SQLERRM; pgark.key := NULL; \
         BEGIN SELECT {key} INTO pgark.key FROM ONLY {name} x WHERE x.ctid = pgark.place; \
         EXCEPTION WHEN {UNREADABLE} THEN pgark.key := NULL; END; \
         INSERT INTO pg_temp.pgark_unreadable VALUES (pgark.place, pgark.key, pgark.why); END; \
         END LOOP; END",
        table.reading.join(", ")
    );
    let sql = format!(
        "CREATE TEMPORARY TABLE pgark_unreadable (place pg_catalog.tid, key text, why text); DO {}",
        literal(&body)
    );
    let doing = format!("looking for rows of {shown} that cannot be read");
    session.run(&doing, &sql).await?;
    let sql = "SELECT place::text AS place, key, why FROM pg_temp.pgark_unreadable ORDER BY place";
    let mut dropped = Vec::new();
    for row in session.rows(&doing, sql, &[]).await? {
        let bad = |error| PgError::server(doing.clone(), error);
        dropped.push(DroppedRow {
            database: database.to_owned(),
            table: shown.clone(),
            key: row.try_get("key").map_err(bad)?,
            place: row.try_get("place").map_err(bad)?,
            why: row.try_get("why").map_err(bad)?,
        });
    }
    let sql = format!(
        "DELETE FROM ONLY {name} WHERE ctid = ANY (ARRAY(SELECT place FROM pg_temp.pgark_unreadable)); \
         DROP TABLE pg_temp.pgark_unreadable"
    );
    session.run(&format!("deleting rows of {shown} that cannot be read"), &sql).await?;
    Ok(dropped)
}
