//! Rows with more `bytea` in them than should be in memory here at once.
//!
//! Their values are sent in slices into a temporary table, and put together by the server in the
//! INSERT; all other fields go as parameters in text form. So it does not matter whether the
//! other columns have a binary form, nor that a row of more than a GB cannot be inserted at all:
//! what would take it there is set afterwards by UPDATE.

use std::fmt::Write as _;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use tokio::sync::mpsc;
use tokio_postgres::types::{Format, IsNull, ToSql, Type, to_sql_checked};

use super::RestoreError;
use super::convert::{ColumnShape, RowProblem, Shape};
use crate::format::reader::{Archive, PackCache, ReadError};
use crate::format::rows::{self, BlobRef, Bytea};
use crate::pg::tuple::{begin_tuple, put_field};
use crate::pg::{CopyIn, PgError, Session, ident, literal, qualified};
use crate::progress::Progress;

const SLICE: usize = 4 << 20;
/// What an INSERT's row may come to; a row has a limit of 1 GB in the server.
const ROW: u64 = 900 << 20;

const SLICES: &str = "CREATE TEMPORARY TABLE IF NOT EXISTS pgark_slices \
    (field pg_catalog.int4, part pg_catalog.int4, data pg_catalog.bytea); \
    ALTER TABLE pg_temp.pgark_slices ALTER COLUMN data SET STORAGE EXTERNAL; \
    TRUNCATE pg_temp.pgark_slices";

/// Inserts one row, given as row text.
pub(super) async fn insert(
    session: &Session,
    archive: &Arc<Archive>,
    shape: &Shape,
    row: &[u8],
    progress: &dyn Progress,
) -> Result<(), RestoreError> {
    let table = shape.table.name.to_string();
    let problem = |source| RestoreError::Rows { table: table.clone(), source };
    let load = |source| RestoreError::Load { table: table.clone(), source };
    let fields = shape.fields(row).map_err(problem)?;
    session.run("making room for slices", SLICES).await.map_err(load)?;
    let mut insert =
        Row { session, shape, columns: Vec::new(), values: Vec::new(), params: Vec::new() };
    let mut later: Vec<(&ColumnShape, usize)> = Vec::new();
    let mut total = count(row.len());
    for (number, (column, field)) in shape.columns.iter().zip(&fields).enumerate() {
        if !column.bytea {
            let value = rows::unescape(field).map_err(|source| problem(column.problem(source)))?;
            insert.param(column, TextParam(value.map(std::borrow::Cow::into_owned)));
            continue;
        }
        match column.bytea(field).map_err(problem)? {
            None => insert.param(column, TextParam(None)),
            Some(Bytea::Inline(bytes)) => {
                let hex = bytes.iter().fold(String::from("\\x"), |mut hex, byte| {
                    let _ = write!(hex, "{byte:02x}");
                    hex
                });
                insert.param(column, TextParam(Some(hex.into_bytes())));
            }
            Some(Bytea::Blob(blob)) => {
                send(session, archive, &table, number, blob).await?;
                progress.bytes(blob.length);
                total += blob.length;
                if total > ROW && blob.length < total {
                    insert.value(column, "'\\x'".into());
                    total -= blob.length;
                    later.push((column, number));
                } else {
                    insert.value(column, whole(number));
                }
            }
        }
    }
    let mut place = insert.run().await.map_err(load)?;
    for (column, number) in later {
        let sql = format!(
            "UPDATE ONLY {} SET {} = {} WHERE ctid = {}::pg_catalog.tid RETURNING ctid::pg_catalog.text",
            qualified(&shape.table.name),
            ident(&column.name),
            whole(number),
            literal(&place),
        );
        place = returned(session, &sql, &[]).await.map_err(load)?;
    }
    progress.rows(1);
    session.run("removing slices", "TRUNCATE pg_temp.pgark_slices").await.map_err(load)
}

/// An expression that is the value put together.
fn whole(number: usize) -> String {
    format!(
        "(SELECT pg_catalog.string_agg(data, '\\x'::pg_catalog.bytea ORDER BY part) \
         FROM pg_temp.pgark_slices WHERE field = {number})"
    )
}

struct Row<'a> {
    session: &'a Session,
    shape: &'a Shape,
    columns: Vec<String>,
    values: Vec<String>,
    params: Vec<TextParam>,
}

impl Row<'_> {
    fn param(&mut self, column: &ColumnShape, value: TextParam) {
        self.params.push(value);
        let number = self.params.len();
        self.value(column, format!("${number}"));
    }

    fn value(&mut self, column: &ColumnShape, value: String) {
        self.columns.push(ident(&column.name));
        self.values.push(value);
    }

    async fn run(&self) -> Result<String, PgError> {
        let sql = format!(
            "INSERT INTO {} ({}) OVERRIDING SYSTEM VALUE VALUES ({}) RETURNING ctid::pg_catalog.text",
            qualified(&self.shape.table.name),
            self.columns.join(", "),
            self.values.join(", "),
        );
        let params: Vec<&(dyn ToSql + Sync)> =
            self.params.iter().map(|param| -> &(dyn ToSql + Sync) { param }).collect();
        returned(self.session, &sql, &params).await
    }
}

async fn returned(
    session: &Session,
    sql: &str,
    params: &[&(dyn ToSql + Sync)],
) -> Result<String, PgError> {
    let doing = "inserting a row with large values";
    let rows = session.rows(doing, sql, params).await?;
    let [row] = &rows[..] else {
        return Err(PgError::protocol(doing, format!("{} rows changed, not one", rows.len())));
    };
    row.try_get(0).map_err(|error| PgError::server(doing, error))
}

/// Sends a blob's slices.
async fn send(
    session: &Session,
    archive: &Arc<Archive>,
    table: &str,
    number: usize,
    blob: BlobRef,
) -> Result<(), RestoreError> {
    let load = |source| RestoreError::Load { table: table.to_owned(), source };
    let (sender, mut pieces) = mpsc::channel::<Vec<u8>>(2);
    let archive = Arc::clone(archive);
    let reading = tokio::task::spawn_blocking(move || read(&archive, blob, &sender));
    let sql = "COPY pg_temp.pgark_slices (field, part, data) FROM STDIN (FORMAT binary)";
    let mut copy = CopyIn::binary(session, sql).await.map_err(load)?;
    let field = i32::try_from(number).unwrap_or(i32::MAX);
    let mut part = 0_i32;
    while let Some(piece) = pieces.recv().await {
        let mut tuple = Vec::with_capacity(piece.len() + 32);
        begin_tuple(&mut tuple, 3);
        let fits = put_field(&mut tuple, Some(&field.to_be_bytes()))
            && put_field(&mut tuple, Some(&part.to_be_bytes()))
            && put_field(&mut tuple, Some(&piece));
        if !fits {
            return Err(RestoreError::Internal("a slice too long".into()));
        }
        part += 1;
        copy.send(Bytes::from(tuple)).await.map_err(load)?;
    }
    match reading.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            let source = RowProblem::Read(error);
            return Err(RestoreError::Rows { table: table.to_owned(), source });
        }
        Err(error) => return Err(RestoreError::Internal(error.to_string())),
    }
    copy.finish().await.map_err(load)?;
    Ok(())
}

/// Reads a blob in slices of a useful size.
pub(super) fn read(
    archive: &Archive,
    blob: BlobRef,
    sender: &mpsc::Sender<Vec<u8>>,
) -> Result<(), ReadError> {
    let mut cache = PackCache::default();
    let mut waiting: Vec<u8> = Vec::new();
    let gone = |_| ReadError::Sink("nobody takes the bytes any more".into());
    archive.blob(blob, &mut cache, &mut |bytes| {
        waiting.extend_from_slice(bytes);
        if waiting.len() >= SLICE {
            sender.blocking_send(std::mem::take(&mut waiting)).map_err(gone)?;
        }
        Ok(())
    })?;
    if !waiting.is_empty() {
        sender.blocking_send(waiting).map_err(gone)?;
    }
    Ok(())
}

/// A parameter in text form, for whatever type the server takes it to be.
#[derive(Debug)]
struct TextParam(Option<Vec<u8>>);

impl ToSql for TextParam {
    fn to_sql(
        &self,
        _: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        match &self.0 {
            None => Ok(IsNull::Yes),
            Some(text) => {
                out.put_slice(text);
                Ok(IsNull::No)
            }
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    fn encode_format(&self, _: &Type) -> Format {
        Format::Text
    }

    to_sql_checked!();
}

fn count(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}
