//! Catalog queries: running them, and taking values out of rows without a panic.

use tokio_postgres::Row;
use tokio_postgres::types::{FromSql, ToSql};

use super::error::PgError;
use super::session::Session;

/// All rows of a query; `doing` says in an error what was being read.
pub(super) async fn rows(
    session: &Session,
    doing: &str,
    sql: &str,
    params: &[&(dyn ToSql + Sync)],
) -> Result<Vec<Row>, PgError> {
    session.rows(doing, sql, params).await
}

/// The one row of a query that always has one.
pub(super) async fn one(
    session: &Session,
    doing: &str,
    sql: &str,
    params: &[&(dyn ToSql + Sync)],
) -> Result<Row, PgError> {
    let mut found = session.rows(doing, sql, params).await?;
    match (found.pop(), found.len()) {
        (Some(row), 0) => Ok(row),
        (None, _) => Err(PgError::protocol(doing, "no row in place of one")),
        (Some(_), more) => Err(PgError::protocol(doing, format!("{more} rows beside the one"))),
    }
}

/// A column of a row by name.
pub(super) fn get<'a, T: FromSql<'a>>(row: &'a Row, column: &str) -> Result<T, PgError> {
    row.try_get(column).map_err(|e| PgError::server(format!("column {column} of a catalog row"), e))
}

/// A count: `int8` that is never negative.
pub(super) fn count(row: &Row, column: &str) -> Result<u64, PgError> {
    let value: i64 = get(row, column)?;
    Ok(u64::try_from(value).unwrap_or(0))
}
