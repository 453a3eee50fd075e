//! `COPY ... TO STDOUT`, in runs of whole rows, with its end proven.
//!
//! The client library's stream ends at `CopyDone` and never looks at what follows: a statement
//! that fails after that point, or a connection that is cut there, would look like a whole table.
//! So this reads on: after `CopyDone` there must come the command's tag, then `ReadyForQuery`, and
//! then the end of the request. The library has no names for the first two here (they come out as
//! "unexpected message", an error without a cause), but it tells them apart from an error of the
//! server (which has a cause) and from a lost connection (which is "closed"). Exactly two such and
//! then "closed" is the one sequence a finished command gives. The tag alone would not do: outside
//! a transaction the statement commits, and may fail to, between the two. Anything else is an error, also if
//! the library should one day change its mind.
//!
//! The tag's row count stays hidden. **Comparing the number of rows with `count(*)` in the same
//! snapshot is the caller's duty.**

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::Stream;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_postgres::CopyOutStream;

use super::error::{PgError, shortened};
use super::session::{Session, Watch};
use super::tuple::Walker;

/// How long the server may say nothing in the middle of a COPY before it is given up, unless
/// [`CopyOut::silence`] says otherwise. COPY does not honour `statement_timeout`, and a stalled
/// proxy answers keepalives; but a filter that finds nothing for a long time is no fault.
pub const SILENCE: Duration = Duration::from_secs(1800);

/// Buffers begin no larger than this, so that small tables cost little.
const FIRST_BUFFER: usize = 64 << 10;

/// A running `COPY ... TO STDOUT`.
///
/// To drop it before its end leaves the session with the rest of the rows to swallow: cancel or
/// drop the session as well.
pub struct CopyOut {
    stream: Pin<Box<CopyOutStream>>,
    watch: Watch,
    doing: String,
    /// `None` for text.
    walker: Option<Walker>,
    buf: Vec<u8>,
    /// Bytes received before `buf`.
    before: u64,
    started: bool,
    end: End,
    silence: Duration,
    timer: Pin<Box<Sleep>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// Rows are still coming.
    Rows,
    /// `CopyDone` has come, and so many messages after it.
    Done(u8),
    /// The request is over, as it should be.
    Proven,
    /// An error has been reported; there is no way on.
    Failed,
}

impl CopyOut {
    /// Starts a COPY in text format. `sql` is the whole statement.
    pub async fn text(session: &Session, sql: &str) -> Result<Self, PgError> {
        Self::start(session, sql, None).await
    }

    /// Starts a COPY in binary format. `sql` is the whole statement, with `(FORMAT binary)`.
    pub async fn binary(session: &Session, sql: &str) -> Result<Self, PgError> {
        Self::start(session, sql, Some(Walker::default())).await
    }

    async fn start(session: &Session, sql: &str, walker: Option<Walker>) -> Result<Self, PgError> {
        let doing = shortened(sql);
        let stream = match session.client().copy_out(sql).await {
            Ok(stream) => Box::pin(stream),
            Err(error) => return Err(session.watch().explain(doing, error).await),
        };
        Ok(Self {
            stream,
            watch: session.watch(),
            doing,
            walker,
            buf: Vec::new(),
            before: 0,
            started: false,
            end: End::Rows,
            silence: SILENCE,
            timer: Box::pin(sleep_until(Instant::now() + SILENCE)),
        })
    }

    /// Sets how long the server may say nothing before [`CopyOut::next`] gives up. It may take up
    /// to twice as long to notice.
    pub fn silence(&mut self, limit: Duration) {
        self.silence = limit;
    }

    /// The next run of whole rows: at least `target` bytes, less only at the end; one row of any
    /// size is never cut. Text rows each end in a newline; binary tuples come without header and
    /// trailer, as [`super::tuple::Tuples`] takes them.
    ///
    /// `None` comes only after the server has said that the command is complete. After an error
    /// the COPY is over, and every further call fails.
    pub async fn next(&mut self, target: usize) -> Result<Option<Vec<u8>>, PgError> {
        let target = target.max(1);
        let first = if self.started { target + target / 2 } else { target.min(FIRST_BUFFER) };
        self.buf.reserve(first.saturating_sub(self.buf.len()));
        self.timer.as_mut().reset(Instant::now() + self.silence);
        let mut heard = false;
        let outcome = poll_fn(|cx| self.poll_fill(cx, target, &mut heard)).await;
        if let Err(error) = outcome {
            self.end = End::Failed;
            self.buf = Vec::new();
            return Err(match error {
                Broken::Client(error) => {
                    let doing = std::mem::take(&mut self.doing);
                    self.watch.explain(doing, error).await
                }
                Broken::Problem(problem) => PgError::protocol(self.doing.clone(), problem),
                Broken::Silent => {
                    PgError::Silent { doing: self.doing.clone(), limit: self.silence }
                }
            });
        }
        self.started = true;
        let whole = self.whole();
        if whole == 0 {
            // At a proven end only: poll_fill gives up on anything that is not a whole row.
            self.buf = Vec::new();
            return Ok(None);
        }
        let rest = self.buf.split_off(whole);
        let run = std::mem::replace(&mut self.buf, rest);
        if let Some(walker) = &mut self.walker {
            walker.taken(whole);
        }
        self.before += u64::try_from(whole).unwrap_or(u64::MAX);
        Ok(Some(run))
    }

    /// Bytes of whole rows at the beginning of the buffer.
    fn whole(&self) -> usize {
        match &self.walker {
            Some(walker) => walker.whole(),
            // COPY text escapes every newline inside a value, so each one ends a row.
            None => memchr::memrchr(b'\n', &self.buf).map_or(0, |at| at + 1),
        }
    }

    fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        target: usize,
        heard: &mut bool,
    ) -> Poll<Result<(), Broken>> {
        loop {
            match self.end {
                End::Proven => return Poll::Ready(Ok(())),
                End::Failed => {
                    return Poll::Ready(Err(Broken::Problem("read on after an error".to_owned())));
                }
                End::Rows if self.buf.len() >= target && self.whole() >= target => {
                    return Poll::Ready(Ok(()));
                }
                End::Rows | End::Done(_) => {}
            }
            let Poll::Ready(item) = self.stream.as_mut().poll_next(cx) else {
                if self.timer.as_mut().poll_elapsed(cx).is_pending() {
                    return Poll::Pending;
                }
                if !std::mem::take(heard) {
                    return Poll::Ready(Err(Broken::Silent));
                }
                self.timer.as_mut().reset(Instant::now() + self.silence);
                continue;
            };
            *heard = true;
            if let Err(error) = self.take(item) {
                return Poll::Ready(Err(error));
            }
        }
    }

    /// Takes one message in.
    fn take(
        &mut self,
        item: Option<Result<bytes::Bytes, tokio_postgres::Error>>,
    ) -> Result<(), Broken> {
        match (self.end, item) {
            (End::Rows, Some(Ok(data))) => {
                self.buf.extend_from_slice(&data);
                if let Some(walker) = &mut self.walker {
                    walker.walk(&mut self.buf).map_err(|problem| {
                        Broken::Problem(format!("{problem} (after {} bytes)", self.before))
                    })?;
                }
                Ok(())
            }
            (End::Rows, None) => {
                self.check_whole()?;
                self.end = End::Done(0);
                Ok(())
            }
            (End::Done(seen), Some(Err(error))) if std::error::Error::source(&error).is_none() => {
                self.end = match (seen, error.is_closed()) {
                    (0, false) => End::Done(1),
                    (1, false) => End::Done(2),
                    (2, true) => End::Proven,
                    _ => return Err(Broken::Client(error)),
                };
                Ok(())
            }
            (_, Some(Err(error))) => Err(Broken::Client(error)),
            (_, Some(Ok(_)) | None) => {
                Err(Broken::Problem("the server sent data after the end of the COPY".to_owned()))
            }
        }
    }

    /// At `CopyDone`: nothing but whole rows, and in binary the trailer.
    fn check_whole(&self) -> Result<(), Broken> {
        let received = self.before + u64::try_from(self.buf.len()).unwrap_or(u64::MAX);
        match &self.walker {
            Some(walker) if !walker.ended() => Err(Broken::Problem(format!(
                "the COPY ended after {received} bytes without the trailer of binary COPY"
            ))),
            None if self.buf.len() != self.whole() => {
                Err(Broken::Problem(format!("the COPY ended after {received} bytes, inside a row")))
            }
            _ => Ok(()),
        }
    }
}

enum Broken {
    Client(tokio_postgres::Error),
    Problem(String),
    Silent,
}

/// `Sleep` as a poll; a trait only so that it reads well where it is used.
trait PollElapsed {
    fn poll_elapsed(self, cx: &mut Context<'_>) -> Poll<()>;
}

impl PollElapsed for Pin<&mut Sleep> {
    fn poll_elapsed(self, cx: &mut Context<'_>) -> Poll<()> {
        Future::poll(self, cx)
    }
}
