//! Rows into their tables, by several sessions. A task is a range of one table's segments; in each
//! session the next piece is converted while the one before is being sent.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::task::JoinSet;

use super::convert::{Cursor, Piece, RowProblem, Shape};
use super::{RestoreError, big};
use crate::create::pump::{compute, has_rows};
use crate::format::manifest::Manifest;
use crate::format::reader::Archive;
use crate::pg::{CopyIn, Params, Session};
use crate::progress::Progress;

/// Bytes of rows and their blobs that a task should come to.
const TASK: u64 = 32 << 20;

/// The server's own compression of a value is tried on every image, in vain: with pglz that takes
/// most of a load's time, with LZ4 next to none. Only for tables with blobs, and only where the
/// server has it and the column names no other; what the catalog says is not changed.
/// (Manual of the server, `default_toast_compression`.)
const LZ4: &str = "SELECT pg_catalog.set_config(name, 'lz4', false) FROM pg_catalog.pg_settings \
    WHERE name = 'default_toast_compression' AND 'lz4' = ANY (enumvals)";
/// Back to what the server, the database and the role say.
const AS_IT_WAS: &str = "RESET default_toast_compression";

struct Task {
    shape: Arc<Shape>,
    segments: Range<u64>,
}

/// A task that the rows of other tables may yet make possible, and why it failed.
type Later = Arc<Mutex<Vec<(Task, RestoreError)>>>;

/// Loads every table's rows. A CHECK constraint may look at other tables, in whatever order they
/// come: what such a one refused is tried again when all others are there, as long as that helps.
pub(super) async fn load(
    archive: &Arc<Archive>,
    manifest: &Manifest,
    target: &Params,
    jobs: usize,
    progress: &Arc<dyn Progress>,
) -> Result<(), RestoreError> {
    let mut tasks = tasks(manifest);
    loop {
        let before = tasks.len();
        let later = Later::default();
        round(archive, target, jobs, tasks, &later, progress).await?;
        let mut later = std::mem::take(&mut *later.lock().unwrap_or_else(PoisonError::into_inner));
        if later.len() == before
            && let Some((_, error)) = later.pop()
        {
            return Err(error);
        }
        if later.is_empty() {
            return Ok(());
        }
        tasks = later.into_iter().map(|(task, _)| task).collect();
    }
}

/// Tries each task once.
async fn round(
    archive: &Arc<Archive>,
    target: &Params,
    jobs: usize,
    tasks: VecDeque<Task>,
    later: &Later,
    progress: &Arc<dyn Progress>,
) -> Result<(), RestoreError> {
    let readers = jobs.min(tasks.len());
    let queue = Arc::new(Mutex::new(tasks));
    let mut workers = JoinSet::new();
    for _ in 0..readers {
        let (archive, target, later) = (Arc::clone(archive), target.clone(), Arc::clone(later));
        let (queue, progress) = (Arc::clone(&queue), Arc::clone(progress));
        workers.spawn(async move {
            let mut session = super::session(&target).await?;
            loop {
                let task = queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                let Some(task) = task else { break };
                progress.on(&task.shape.table.name.to_string());
                match run(&session, &archive, &task, progress.as_ref()).await {
                    // In a statement of their own: a table of which rows are there already cannot
                    // be tried again.
                    Ok(big) => {
                        for row in big {
                            big::insert(&session, &archive, &task.shape, &row, progress.as_ref())
                                .await?;
                        }
                    }
                    Err(error) if is_check(&error) => {
                        later.lock().unwrap_or_else(PoisonError::into_inner).push((task, error));
                        session = super::session(&target).await?;
                    }
                    Err(error) => return Err(error),
                }
            }
            session.close().await;
            Ok(())
        });
    }
    all(workers).await
}

/// The same by one session, in its transaction: all of it or nothing.
pub(super) async fn within(
    session: &Session,
    archive: &Arc<Archive>,
    manifest: &Manifest,
    progress: &dyn Progress,
) -> Result<(), RestoreError> {
    const DOING: &str = "marking how far the rows are";
    let mut tasks = tasks(manifest);
    loop {
        let before = tasks.len();
        let (mut later, mut last) = (VecDeque::new(), None);
        for task in tasks {
            progress.on(&task.shape.table.name.to_string());
            session.run(DOING, "SAVEPOINT pgark").await?;
            match run(session, archive, &task, progress).await {
                Ok(big) => {
                    for row in big {
                        big::insert(session, archive, &task.shape, &row, progress).await?;
                    }
                }
                Err(error) if is_check(&error) => {
                    session.run(DOING, "ROLLBACK TO SAVEPOINT pgark").await?;
                    later.push_back(task);
                    last = Some(error);
                }
                Err(error) => return Err(error),
            }
            session.run(DOING, "RELEASE SAVEPOINT pgark").await?;
        }
        match last {
            None => return Ok(()),
            Some(error) if later.len() == before => return Err(error),
            Some(_) => tasks = later,
        }
    }
}

/// A constraint said no, or raised an error to say so (`check_violation`, `raise_exception`).
fn is_check(error: &RestoreError) -> bool {
    matches!(error, RestoreError::Load { source, .. }
        if source.code().is_some_and(|code| matches!(code.code(), "23514" | "P0001")))
}

/// Waits for all; the first error ends the others.
pub(super) async fn all(
    mut workers: JoinSet<Result<(), RestoreError>>,
) -> Result<(), RestoreError> {
    while let Some(result) = workers.join_next().await {
        let result = result.unwrap_or_else(|error| Err(RestoreError::Internal(error.to_string())));
        if let Err(error) = result {
            workers.shutdown().await;
            return Err(error);
        }
    }
    Ok(())
}

fn tasks(manifest: &Manifest) -> VecDeque<Task> {
    let mut tasks = VecDeque::new();
    for table in &manifest.tables {
        let Some(data) = table.data.filter(|data| data.segments > 0 && has_rows(table)) else {
            continue;
        };
        let shape = Arc::new(Shape::new(table));
        let average = (data.bytes.saturating_add(data.blob_bytes) / data.segments).max(1);
        let step = (TASK / average).max(1);
        let end = data.first_segment.saturating_add(data.segments);
        let mut first = data.first_segment;
        while first < end {
            let next = end.min(first.saturating_add(step));
            tasks.push_back(Task { shape: Arc::clone(&shape), segments: first..next });
            first = next;
        }
    }
    tasks
}

/// Loads a task's rows in one statement; gives those that are too long for it.
async fn run(
    session: &Session,
    archive: &Arc<Archive>,
    task: &Task,
    progress: &dyn Progress,
) -> Result<Vec<Vec<u8>>, RestoreError> {
    let shape = Arc::clone(&task.shape);
    let rows_error = |source| RestoreError::Rows { table: shape.table.name.to_string(), source };
    let cursor = Cursor::new(Arc::clone(archive), Arc::clone(&shape), task.segments.clone());
    let table = shape.table.name.to_string();
    let load_error = |source| RestoreError::Load { table: table.clone(), source };
    let blobs = shape.table.data.is_some_and(|data| data.blobs > 0);
    let compression = if blobs { LZ4 } else { AS_IT_WAS };
    session.run("choosing how values are compressed", compression).await.map_err(load_error)?;
    let mut copy = if shape.encoding == super::convert::Encoding::Binary {
        CopyIn::binary(session, &shape.copy).await
    } else {
        CopyIn::text(session, &shape.copy).await
    }
    .map_err(load_error)?;
    let mut sent = 0;
    let mut running = start(cursor);
    let big = loop {
        let (piece, mut cursor) = running.await.map_err(|_| rows_error(RowProblem::Internal))?;
        let Piece { bytes, rows, more } = piece.map_err(rows_error)?;
        let mut last = None;
        if more {
            running = start(cursor);
        } else {
            last = Some(std::mem::take(&mut cursor.big));
            running = tokio::sync::oneshot::channel().1;
        }
        let length = u64::try_from(bytes.len()).unwrap_or(0);
        if length > 0 {
            copy.send(Bytes::from(bytes)).await.map_err(load_error)?;
        }
        sent += rows;
        progress.rows(rows);
        progress.bytes(length);
        if let Some(big) = last {
            break big;
        }
    };
    let loaded = copy.finish().await.map_err(load_error)?;
    if loaded != sent {
        return Err(RestoreError::Count { table, sent, loaded });
    }
    Ok(big)
}

type Running = tokio::sync::oneshot::Receiver<(Result<Piece, RowProblem>, Cursor)>;

fn start(mut cursor: Cursor) -> Running {
    compute(move || {
        let piece = cursor.piece();
        (piece, cursor)
    })
}
