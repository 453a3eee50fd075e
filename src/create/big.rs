//! Rows too big to be sent whole: each `bytea` on its own, large ones in slices.

use super::pump::{Failed, Feed};
use crate::format::manifest::Table;
use crate::format::rows::{Bytea, INLINE_BYTEA};
use crate::pg::plan::Part;
use crate::pg::{BigField, BigRow, BigRows, Session};

const SLICE: usize = 8 << 20;

enum Value {
    Null,
    Text(Vec<u8>),
    Bytea(Bytea),
}

pub(super) async fn read(
    session: &Session,
    feed: &Feed<'_>,
    table: &Table,
    part: &Part,
) -> Result<(), Failed> {
    let mut rows = BigRows::open(session, table, part).await?;
    while let Some(mut row) = rows.next().await? {
        // Every value that is a blob goes ahead of its row; nothing of the budget is held while
        // the sequencer is waited for.
        let mut values = Vec::with_capacity(row.fields.len());
        let mut bytes = 0;
        for number in 0..row.fields.len() {
            let field = match row.fields.get_mut(number) {
                Some(BigField::Text(text)) => Value::Text(std::mem::take(text)),
                Some(BigField::Bytea(_)) => Value::Bytea(bytea(&rows, feed, &row, number).await?),
                Some(BigField::Null) | None => Value::Null,
            };
            if let Value::Text(text) = &field {
                bytes += text.len();
            }
            values.push(field);
        }
        let permit = feed.reserve(2 * bytes).await;
        let mut builder = feed.mode().builder();
        feed.run(permit, bytes, move || {
            for value in values {
                match value {
                    Value::Null => builder.null(),
                    Value::Text(text) => builder.text(&text),
                    Value::Bytea(Bytea::Inline(bytes)) => builder.blob(&bytes),
                    Value::Bytea(Bytea::Blob(blob)) => builder.blob_ref(blob),
                }
            }
            builder.end_row();
            Ok(builder.finish())
        })?;
    }
    Ok(())
}

async fn bytea(
    rows: &BigRows<'_>,
    feed: &Feed<'_>,
    row: &BigRow,
    number: usize,
) -> Result<Bytea, Failed> {
    let length = match row.fields.get(number) {
        Some(BigField::Bytea(length)) => *length,
        _ => 0,
    };
    if usize::try_from(length).is_ok_and(|length| length <= INLINE_BYTEA) {
        return Ok(Bytea::Inline(rows.slice(row, number, 0).await?));
    }
    let blob = feed.blob()?;
    let mut offset = 0;
    while offset < length {
        let permit = feed.reserve(SLICE).await;
        let slice = rows.slice(row, number, offset).await?;
        offset += u64::try_from(slice.len()).unwrap_or(0);
        blob.slice(permit, slice)?;
    }
    blob.end().await
}
