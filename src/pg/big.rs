//! Rows that are too big to be sent whole: one by one, each `bytea` value in slices.

use std::collections::VecDeque;
use std::error::Error;

use tokio_postgres::types::{FromSql, Type};

use super::error::PgError;
use super::ident::{ident, literal, qualified};
use super::plan::{Part, condition, expression};
use super::query::{get, one, rows};
use super::session::Session;
use crate::format::manifest::{Column, Table};

/// How many bytes of a value are read at once.
pub const SLICE: u32 = 8 << 20;

/// The rows of a [`super::plan::PartRows::Big`] part, in the order of the heap. Only for a session
/// in a snapshot: a row is found again by its place.
pub struct BigRows<'a> {
    session: &'a Session,
    table: &'a Table,
    row_sql: String,
    places: VecDeque<String>,
}

/// One such row, its `bytea` values still on the server.
#[derive(Clone, PartialEq, Debug)]
pub struct BigRow {
    place: String,
    /// Its stored columns in the table's order.
    pub fields: Vec<BigField>,
}

/// One field of a big row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BigField {
    /// NULL.
    Null,
    /// What COPY would print, not escaped.
    Text(Vec<u8>),
    /// So many bytes, to be read by [`BigRows::slice`].
    Bytea(u64),
}

/// The bytes of a value as they came, whatever type the server calls it.
struct Raw<'a>(&'a [u8]);

impl<'a> FromSql<'a> for Raw<'a> {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self(raw))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

impl<'a> BigRows<'a> {
    /// Finds the rows; `table` may have another order of columns than the server's.
    pub async fn open(
        session: &'a Session,
        table: &'a Table,
        part: &Part,
    ) -> Result<Self, PgError> {
        let name = qualified(&table.name);
        let doing = format!("finding the big rows of {}", table.name);
        let sql = format!(
            "SELECT ctid::pg_catalog.text AS place FROM ONLY {name}{}",
            condition(table, part)
        );
        let mut places = VecDeque::new();
        for row in rows(session, &doing, &sql, &[]).await? {
            places.push_back(get(&row, "place")?);
        }
        let columns: Vec<String> = table
            .stored_columns()
            .map(|column| {
                if column.is_bytea() {
                    format!("pg_catalog.octet_length({})", ident(&column.name))
                } else {
                    expression(column, part, true)
                }
            })
            .collect();
        let row_sql = format!("SELECT {} FROM ONLY {name} WHERE ctid = ", columns.join(", "));
        Ok(Self { session, table, row_sql, places })
    }

    /// How many rows are still to come.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether no rows are still to come.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// The next row, without its `bytea` values.
    pub async fn next(&mut self) -> Result<Option<BigRow>, PgError> {
        let Some(place) = self.places.pop_front() else {
            return Ok(None);
        };
        let doing = format!("reading the row at {place} of {}", self.table.name);
        let sql = format!("{}{}::pg_catalog.tid", self.row_sql, literal(&place));
        let row = one(self.session, &doing, &sql, &[]).await?;
        let mut fields = Vec::with_capacity(row.len());
        for (at, column) in self.table.stored_columns().enumerate() {
            let wrong = |e| PgError::server(&doing, e);
            fields.push(if column.is_bytea() {
                let length: Option<i32> = row.try_get(at).map_err(wrong)?;
                length.map_or(BigField::Null, |n| BigField::Bytea(u64::try_from(n).unwrap_or(0)))
            } else {
                let text: Option<Raw<'_>> = row.try_get(at).map_err(wrong)?;
                text.map_or(BigField::Null, |raw| BigField::Text(raw.0.to_vec()))
            });
        }
        Ok(Some(BigRow { place, fields }))
    }

    /// At most [`SLICE`] bytes of a row's `bytea` column (the `field`-th stored one) from `offset`
    /// on. It is an error if the value does not have as many bytes as its length says.
    pub async fn slice(&self, row: &BigRow, field: usize, offset: u64) -> Result<Vec<u8>, PgError> {
        let (Some(column), Some(BigField::Bytea(length))) =
            (self.table.stored_columns().nth(field), row.fields.get(field))
        else {
            let doing = format!("reading a slice of a row of {}", self.table.name);
            return Err(PgError::protocol(doing, format!("field {field} is no bytea value")));
        };
        self.read(row, column, *length, offset).await
    }

    async fn read(
        &self,
        row: &BigRow,
        column: &Column,
        length: u64,
        offset: u64,
    ) -> Result<Vec<u8>, PgError> {
        let table = &self.table.name;
        let doing = format!(
            "reading {} of the row at {} of {table} at offset {offset}",
            column.name, row.place
        );
        let expected = length.saturating_sub(offset).min(u64::from(SLICE));
        if expected == 0 {
            return Ok(Vec::new());
        }
        let sql = format!(
            "SELECT pg_catalog.substring({}::pg_catalog.bytea, {}, {SLICE}) AS bytes \
             FROM ONLY {} WHERE ctid = {}::pg_catalog.tid",
            ident(&column.name),
            offset.saturating_add(1),
            qualified(table),
            literal(&row.place),
        );
        let bytes: Vec<u8> = get(&one(self.session, &doing, &sql, &[]).await?, "bytes")?;
        if bytes.len() as u64 != expected {
            let problem = format!("{} bytes in place of {expected}", bytes.len());
            return Err(PgError::protocol(doing, problem));
        }
        Ok(bytes)
    }
}
