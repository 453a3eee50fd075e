//! `COPY ... FROM STDIN`.
//!
//! The client library shows an error of the server only at the end of the COPY: a row that is
//! refused at the beginning of a terabyte would be told about after the terabyte. So a COPY is
//! ended and begun anew every [`STRETCH`] bytes, between rows; only the number of rows is added
//! up. Rows of finished stretches stay unless the caller has a transaction open.

use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::SinkExt;
use tokio_postgres::{Client, CopyInSink};

use super::error::{PgError, shortened};
use super::session::{Session, Watch};
use super::tuple::{HEADER, TRAILER};

/// Bytes after which a COPY is ended and begun anew.
pub const STRETCH: u64 = 256 << 20;

/// The most that goes into one message, whose length is an i32. Rows may be cut anywhere.
const MESSAGE: usize = 1 << 30;

/// A running `COPY ... FROM STDIN`. Dropped before [`CopyIn::finish`], it is aborted.
pub struct CopyIn {
    client: Arc<Client>,
    watch: Watch,
    sql: String,
    doing: String,
    binary: bool,
    sink: Pin<Box<CopyInSink<Bytes>>>,
    /// Bytes sent in the stretch that is open.
    sent: u64,
    rows: u64,
}

impl CopyIn {
    /// Starts a COPY in text format. `sql` is the whole statement.
    pub async fn text(session: &Session, sql: &str) -> Result<Self, PgError> {
        Self::start(session, sql, false).await
    }

    /// Starts a COPY in binary format. `sql` is the whole statement, with `(FORMAT binary)`.
    /// Header and trailer are written here; [`CopyIn::send`] takes tuples only.
    pub async fn binary(session: &Session, sql: &str) -> Result<Self, PgError> {
        Self::start(session, sql, true).await
    }

    async fn start(session: &Session, sql: &str, binary: bool) -> Result<Self, PgError> {
        let doing = shortened(sql);
        let client = Arc::clone(session.shared());
        let watch = session.watch();
        let sink = match open(&client, sql, binary).await {
            Ok(sink) => sink,
            Err(error) => return Err(watch.explain(doing, error).await),
        };
        Ok(Self { client, watch, sql: sql.to_owned(), doing, binary, sink, sent: 0, rows: 0 })
    }

    /// Sends whole rows (text: each ending in a newline; binary: whole tuples), waiting while the
    /// server is busy. Any size; pieces of some hundred KiB to some MiB are best.
    ///
    /// An error of the server may only come to light in a later call or in [`CopyIn::finish`].
    pub async fn send(&mut self, rows: Bytes) -> Result<(), PgError> {
        if self.sent >= STRETCH {
            self.end_stretch().await?;
            self.sink = match open(&self.client, &self.sql, self.binary).await {
                Ok(sink) => sink,
                Err(error) => return Err(self.watch.explain(self.doing.clone(), error).await),
            };
            self.sent = 0;
        }
        self.sent += u64::try_from(rows.len()).unwrap_or(u64::MAX);
        let mut rest = rows;
        while !rest.is_empty() {
            let piece = rest.split_to(rest.len().min(MESSAGE));
            if let Err(error) = self.sink.feed(piece).await {
                return Err(self.failed(error).await);
            }
        }
        Ok(())
    }

    /// Ends the COPY and waits for the server to say that it is complete. The number of rows it
    /// has taken, by its own count.
    pub async fn finish(mut self) -> Result<u64, PgError> {
        self.end_stretch().await?;
        Ok(self.rows)
    }

    async fn end_stretch(&mut self) -> Result<(), PgError> {
        if self.binary
            && let Err(error) = self.sink.feed(Bytes::from_static(&TRAILER_BYTES)).await
        {
            return Err(self.failed(error).await);
        }
        match self.sink.as_mut().finish().await {
            Ok(rows) => {
                self.rows += rows;
                Ok(())
            }
            Err(error) => Err(self.watch.explain(self.doing.clone(), error).await),
        }
    }

    /// The sink has only "closed" to say; the reason is among the server's answers.
    async fn failed(&mut self, error: tokio_postgres::Error) -> PgError {
        let error = match self.sink.as_mut().finish().await {
            Err(reason) if !reason.is_closed() => reason,
            _ => error,
        };
        self.watch.explain(self.doing.clone(), error).await
    }
}

const TRAILER_BYTES: [u8; 2] = TRAILER.to_be_bytes();

async fn open(
    client: &Client,
    sql: &str,
    binary: bool,
) -> Result<Pin<Box<CopyInSink<Bytes>>>, tokio_postgres::Error> {
    let mut sink = Box::pin(client.copy_in(sql).await?);
    if binary {
        sink.feed(Bytes::from_static(HEADER)).await?;
    }
    Ok(sink)
}
