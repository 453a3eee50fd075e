//! Rows from a server, read by many sessions in one snapshot and delivered in order.
//!
//! Here async meets sync. Readers take numbered tasks in order. Each reserves bytes from the
//! [`Budget`], fills a run of rows from its COPY, hands it to rayon as a pure function that answers
//! on a oneshot, and passes the oneshot on without waiting for it. One thread, the sequencer, takes
//! tasks in their order and runs in theirs, waits for each answer and gives it to the [`Sink`].
//! Filling never waits for forwarding but through the budget, and the budget always serves the task
//! the sequencer is at: there is no cycle to wait in.
//!
//! The same pump feeds an archive (`create`) and takes digests (`restore`'s comparison).

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::budget::{Budget, Permit};
use super::sequencer::Sequencer;
use super::{big, large_objects};
use crate::format::batch::{Batch, BatchBuilder, KnownBlobs};
use crate::format::manifest::{Column, Table};
use crate::format::rows::{Bytea, RowError};
use crate::format::writer::WriteError;
use crate::pg::plan::{self, Part, PartRows};
use crate::pg::tuple::{TupleError, Tuples};
use crate::pg::{CopyOut, PgError, Session, Snapshot};
use crate::progress::Progress;

/// Bytes of a run of rows, unless one row is longer.
const RUN: usize = 2 << 20;
/// What even an empty run costs: the channels and tasks around it.
const OVERHEAD: usize = 4 << 10;

/// How long a reader that failed may take to say so.
const GRACE: Duration = Duration::from_secs(5);
const CUT_OFF: PumpError = PumpError::Internal("reading stopped without a reason");

/// Why rows could not be read and passed on.
#[derive(Debug, thiserror::Error)]
pub enum PumpError {
    /// The server said no, or went away.
    #[error(transparent)]
    Server(#[from] PgError),
    /// What the server sent for a table is not rows.
    #[error("rows of {table}: {source}")]
    Rows {
        /// The table.
        table: String,
        /// What is wrong with them.
        source: BadRun,
    },
    /// The archive could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// `count(*)` in the same snapshot says otherwise: rows were lost on the way.
    #[error("{table}: {read} rows came from the server, but it counts {counted}")]
    Count {
        /// The table.
        table: String,
        /// Rows that came.
        read: u64,
        /// Rows the server counts.
        counted: u64,
    },
    /// The person wanted it to stop.
    #[error("interrupted")]
    Interrupted,
    /// A mistake of this program.
    #[error("internal error while reading rows: {0}")]
    Internal(&'static str),
}

/// What can be wrong with a run of rows.
#[derive(Debug, thiserror::Error)]
pub enum BadRun {
    /// As COPY text.
    #[error(transparent)]
    Text(#[from] RowError),
    /// As binary tuples.
    #[error(transparent)]
    Tuple(#[from] TupleError),
}

/// What rows belong to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum What {
    /// The table of this number in the manifest.
    Table(usize),
    /// The large objects.
    LargeObjects,
}

/// Where rows go, in order. Runs on the sequencer's thread.
pub(crate) trait Sink: Send + 'static {
    /// Rows of something begin.
    fn begin(&mut self, what: What) -> Result<(), WriteError>;
    /// Some of its rows.
    fn batch(&mut self, batch: &Batch) -> Result<(), WriteError>;
    /// A `bytea` too large for a batch, in slices; the row that it belongs to follows.
    fn blob(&mut self, slices: &mut Slices<'_>) -> Result<Bytea, WriteError>;
    /// All its rows have come; how many.
    fn end(&mut self, what: What) -> Result<u64, WriteError>;
}

/// Gives the next slice of a value; `None` at its end.
pub(crate) type Slices<'a> = dyn FnMut() -> Result<Option<Vec<u8>>, WriteError> + 'a;

/// What becomes of rows.
#[derive(Clone, Debug)]
pub(crate) enum Mode {
    /// They are stored.
    Archive(KnownBlobs),
    /// Only their digest is wanted.
    Digest,
    /// Their text is wanted, of blobs the references.
    Text,
}

impl Mode {
    pub(super) fn builder(&self) -> BatchBuilder {
        match self {
            Self::Archive(known) => BatchBuilder::new(known.clone()),
            Self::Digest => BatchBuilder::for_digest(),
            Self::Text => BatchBuilder::for_text(),
        }
    }
}

/// What to read and how.
pub(crate) struct Reading {
    /// The snapshot to read in.
    pub(crate) snapshot: Arc<Snapshot>,
    /// The tables, in the order their rows are wanted; columns in the order they are wanted.
    pub(crate) tables: Arc<Vec<Table>>,
    /// How to read them, in order.
    pub(crate) parts: Vec<Part>,
    /// Whether to read the large objects after them.
    pub(crate) large_objects: bool,
    /// Sessions at most.
    pub(crate) jobs: usize,
    /// Bytes that may be on their way.
    pub(crate) memory: usize,
    /// Who is told.
    pub(crate) progress: Arc<dyn Progress>,
    /// What becomes of the rows.
    pub(crate) mode: Mode,
}

/// Something a reader reads from beginning to end.
enum Task {
    Rows(Part),
    LargeObjects,
}

impl Task {
    fn what(&self) -> What {
        match self {
            Self::Rows(part) => What::Table(part.table),
            Self::LargeObjects => What::LargeObjects,
        }
    }
}

/// From a reader to the sequencer.
pub(super) enum Item {
    Batch { permit: Permit, bytes: usize, batch: oneshot::Receiver<Result<Batch, BadRun>> },
    Blob { slices: mpsc::UnboundedReceiver<Slice>, answer: oneshot::Sender<Bytea> },
    End,
}

pub(super) enum Slice {
    Data(Permit, Vec<u8>),
    End,
}

struct Shared {
    snapshot: Arc<Snapshot>,
    tables: Arc<Vec<Table>>,
    mode: Mode,
    budget: Budget,
    queue: Mutex<Queue>,
    counts: Mutex<Vec<(usize, u64)>>,
}

struct Queue {
    next: usize,
    tasks: VecDeque<Task>,
    orders: Option<mpsc::UnboundedSender<mpsc::UnboundedReceiver<Item>>>,
    /// One part for each table, that covers all of it.
    to_count: VecDeque<Part>,
}

/// A reader's end of one task.
pub(super) struct Feed<'a> {
    shared: &'a Shared,
    number: usize,
    items: mpsc::UnboundedSender<Item>,
}

/// The sequencer has given up: it has its own reason, which is the one to tell.
pub(super) enum Failed {
    Stopped,
    Error(PumpError),
}

impl From<PgError> for Failed {
    fn from(error: PgError) -> Self {
        Self::Error(error.into())
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Option<(Task, Feed<'_>)> {
        let mut queue = self.queue();
        let Some(task) = queue.tasks.pop_front() else {
            queue.orders = None;
            return None;
        };
        let (sender, receiver) = mpsc::unbounded_channel();
        // Under the lock, so that the sequencer gets them in order. If it is gone, the reader
        // learns so from its own channel.
        if let Some(orders) = &queue.orders {
            let _ = orders.send(receiver);
        }
        let number = queue.next;
        queue.next += 1;
        Some((task, Feed { shared: self, number, items: sender }))
    }
}

impl Feed<'_> {
    pub(super) fn mode(&self) -> &Mode {
        &self.shared.mode
    }

    pub(super) async fn reserve(&self, bytes: usize) -> Permit {
        self.shared.budget.reserve(self.number, bytes + OVERHEAD).await
    }

    /// Converts a run on rayon and passes it on without waiting for that.
    pub(super) fn run(
        &self,
        permit: Permit,
        bytes: usize,
        convert: impl FnOnce() -> Result<Batch, BadRun> + Send + 'static,
    ) -> Result<(), Failed> {
        let batch = compute(convert);
        self.send(Item::Batch { permit, bytes, batch })
    }

    /// Begins a value that is passed on in slices.
    pub(super) fn blob(&self) -> Result<BlobFeed, Failed> {
        let (slices, receiver) = mpsc::unbounded_channel();
        let (sender, answer) = oneshot::channel();
        self.send(Item::Blob { slices: receiver, answer: sender })?;
        Ok(BlobFeed { slices, answer })
    }

    fn send(&self, item: Item) -> Result<(), Failed> {
        self.items.send(item).map_err(|_| Failed::Stopped)
    }
}

/// A value on its way in slices.
pub(super) struct BlobFeed {
    slices: mpsc::UnboundedSender<Slice>,
    answer: oneshot::Receiver<Bytea>,
}

impl BlobFeed {
    pub(super) fn slice(&self, mut permit: Permit, data: Vec<u8>) -> Result<(), Failed> {
        permit.resize(data.len() + OVERHEAD);
        self.slices.send(Slice::Data(permit, data)).map_err(|_| Failed::Stopped)
    }

    /// Ends the value. Its reference comes when the sequencer has got to it.
    pub(super) async fn end(self) -> Result<Bytea, Failed> {
        self.slices.send(Slice::End).map_err(|_| Failed::Stopped)?;
        self.answer.await.map_err(|_| Failed::Stopped)
    }
}

/// Runs `work` on rayon. A panic there would end the process; here it ends as a missing answer.
pub(crate) fn compute<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> oneshot::Receiver<T> {
    let (sender, receiver) = oneshot::channel();
    rayon::spawn(move || {
        if let Ok(result) = catch_unwind(AssertUnwindSafe(work)) {
            let _ = sender.send(result);
        }
    });
    receiver
}

/// Binary tuples into a batch: the fields of `bytea` columns raw, all others as their text.
pub(crate) fn tuples(
    run: Vec<u8>,
    bytea: &[bool],
    mut builder: BatchBuilder,
) -> Result<Batch, BadRun> {
    let columns = u16::try_from(bytea.len()).unwrap_or(u16::MAX);
    let mut tuples = Tuples::new(&run, columns);
    let mut fields = Vec::with_capacity(bytea.len());
    while tuples.next_places(&mut fields)? {
        for (field, bytea) in fields.iter().zip(bytea) {
            match field {
                None => builder.null(),
                Some(place) if *bytea => builder.blob_in(&run, place.clone()),
                Some(place) => builder.text(run.get(place.clone()).unwrap_or_default()),
            }
        }
        builder.end_row();
    }
    Ok(builder.finish_in(run))
}

/// Reads everything into `sink`, which comes back. On an error every session is dropped and the
/// sequencer has ended before this returns.
pub(crate) async fn pump<S: Sink>(reading: Reading, sink: S) -> Result<S, PumpError> {
    let Reading { snapshot, tables, parts, large_objects, jobs, memory, progress, mode } = reading;
    let to_deliver: Vec<usize> =
        (0..tables.len()).filter(|at| tables.get(*at).is_some_and(has_rows)).collect();
    let mut to_count: VecDeque<Part> = VecDeque::new();
    for part in &parts {
        if to_count.back().is_none_or(|last| last.table != part.table) {
            let rows = PartRows::Text;
            to_count.push_back(Part { pages: None, big_apart: false, rows, ..part.clone() });
        }
    }
    let mut tasks: VecDeque<Task> = parts.into_iter().map(Task::Rows).collect();
    if large_objects {
        tasks.push_back(Task::LargeObjects);
    }
    let steps = steps(&to_deliver, &tasks)?;
    let readers = jobs.min(tasks.len().max(to_count.len())).max(1);
    let (sender, orders) = mpsc::unbounded_channel();
    let budget = Budget::new(memory);
    let queue = Queue { next: 0, tasks, orders: Some(sender), to_count };
    let shared = Arc::new(Shared {
        snapshot,
        tables: Arc::clone(&tables),
        mode,
        budget: budget.clone(),
        queue: Mutex::new(queue),
        counts: Mutex::default(),
    });

    let sequencer = Sequencer { tables: Arc::clone(&tables), budget, progress: progress.clone() };
    let mut delivery = tokio::task::spawn_blocking(move || sequencer.run(steps, orders, sink));
    let mut workers = JoinSet::new();
    for _ in 0..readers {
        let shared = Arc::clone(&shared);
        workers.spawn(async move { work(&shared).await });
    }
    let counts = Arc::clone(&shared);
    drop(shared);

    let mut tick = tokio::time::interval(Duration::from_millis(100));
    let mut sequence = None;
    let mut failure = None;
    while failure.is_none() && (sequence.is_none() || !workers.is_empty()) {
        tokio::select! {
            result = &mut delivery, if sequence.is_none() => match joined(result) {
                Err(Failed::Error(error)) => failure = Some(error),
                // Cut off by a reader that failed; that one's reason is the one to tell.
                Err(Failed::Stopped) => {
                    let reason = tokio::time::timeout(GRACE, first_error(&mut workers)).await;
                    failure = Some(reason.ok().flatten().unwrap_or(CUT_OFF));
                }
                Ok(done) => sequence = Some(done),
            },
            Some(worker) = workers.join_next() => if let Err(Failed::Error(error)) = joined(worker) {
                failure = Some(error);
            },
            _ = tick.tick() => if progress.interrupted() {
                failure = Some(PumpError::Interrupted);
            },
        }
    }
    if let Some(failure) = failure {
        workers.shutdown().await;
        counts.queue().orders = None;
        // Every channel to the sequencer is closed now, so it ends; the file must not be touched
        // any more once this has returned.
        while !delivery.is_finished() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        return Err(failure);
    }
    let (sink, read) = sequence.ok_or(PumpError::Internal("the sequencer did not answer"))?;
    let counted = counts.counts.lock().unwrap_or_else(PoisonError::into_inner);
    check_counts(&tables, &read, &counted)?;
    Ok(sink)
}

/// Partitioned parents have no rows of their own.
pub(crate) fn has_rows(table: &Table) -> bool {
    table.kind != crate::format::manifest::TableKind::Partitioned
}

/// What is delivered, in order, and in how many tasks each.
fn steps(tables: &[usize], tasks: &VecDeque<Task>) -> Result<Vec<(What, usize)>, PumpError> {
    let mut steps: Vec<(What, usize)> =
        tables.iter().map(|table| (What::Table(*table), 0)).collect();
    if tasks.iter().any(|task| matches!(task, Task::LargeObjects)) {
        steps.push((What::LargeObjects, 0));
    }
    let mut at = 0;
    for task in tasks {
        while steps.get(at).is_some_and(|step| step.0 != task.what()) {
            at += 1;
        }
        match steps.get_mut(at) {
            Some(step) => step.1 += 1,
            None => return Err(PumpError::Internal("the parts are not in the tables' order")),
        }
    }
    Ok(steps)
}

fn check_counts(
    tables: &[Table],
    read: &[(What, u64)],
    counted: &[(usize, u64)],
) -> Result<(), PumpError> {
    let read_of = |table| read.iter().find(|(what, _)| *what == What::Table(table));
    for (table, counted) in counted {
        let name = tables.get(*table).map_or_else(String::new, |table| table.name.to_string());
        let read = read_of(*table).map_or(0, |(_, rows)| *rows);
        if read != *counted {
            return Err(PumpError::Count { table: name, read, counted: *counted });
        }
    }
    let expected = tables.iter().filter(|table| has_rows(table)).count();
    if counted.len() != expected {
        return Err(PumpError::Internal("not every table was counted"));
    }
    Ok(())
}

fn joined<T>(result: Result<Result<T, Failed>, tokio::task::JoinError>) -> Result<T, Failed> {
    match result {
        Ok(result) => result,
        Err(error) if error.is_cancelled() => Err(Failed::Stopped),
        Err(_) => Err(Failed::Error(PumpError::Internal("a task panicked"))),
    }
}

async fn first_error(workers: &mut JoinSet<Result<(), Failed>>) -> Option<PumpError> {
    while let Some(worker) = workers.join_next().await {
        if let Err(Failed::Error(error)) = joined(worker) {
            return Some(error);
        }
    }
    None
}

async fn work(shared: &Shared) -> Result<(), Failed> {
    let session = shared.snapshot.join().await?;
    while let Some((task, feed)) = shared.take() {
        match task {
            Task::LargeObjects => large_objects::read(&session, &feed).await?,
            Task::Rows(part) => {
                let Some(table) = shared.tables.get(part.table) else {
                    return Err(Failed::Error(PumpError::Internal("a part of no table")));
                };
                read_part(&session, &feed, table, &part).await.map_err(|error| match error {
                    Failed::Error(PumpError::Server(error)) => {
                        error.during(&format!("reading {}", table.name)).into()
                    }
                    error => error,
                })?;
            }
        }
        feed.send(Item::End)?;
    }
    // By now the last rows are being compressed: time to count, which reads no large values.
    loop {
        let Some(part) = shared.queue().to_count.pop_front() else { break };
        if let Some(table) = shared.tables.get(part.table) {
            let rows = count(&session, table, &part).await?;
            shared.counts.lock().unwrap_or_else(PoisonError::into_inner).push((part.table, rows));
        }
    }
    session.close().await;
    Ok(())
}

async fn count(session: &Session, table: &Table, part: &Part) -> Result<u64, PgError> {
    let doing = format!("counting the rows of {}", table.name);
    let rows = session.rows(&doing, &plan::count_sql(table, part), &[]).await?;
    let count = match &rows[..] {
        [row] => row.try_get(0).map_err(|error| PgError::server(doing.clone(), error))?,
        _ => -1_i64,
    };
    u64::try_from(count).map_err(|_| PgError::protocol(doing, "no count came"))
}

async fn read_part(
    session: &Session,
    feed: &Feed<'_>,
    table: &Table,
    part: &Part,
) -> Result<(), Failed> {
    let text = match part.rows {
        PartRows::Text => true,
        PartRows::Binary => false,
        PartRows::Big => return big::read(session, feed, table, part).await,
    };
    let sql = plan::copy_sql(table, part);
    let bytea: Arc<[bool]> = table.stored_columns().map(Column::is_bytea).collect();
    let mut copy = if text {
        CopyOut::text(session, &sql).await?
    } else {
        CopyOut::binary(session, &sql).await?
    };
    // Tuples are there twice for a moment: as they came, and as the batch made of them.
    let factor = if text { 1 } else { 2 };
    loop {
        let mut permit = feed.reserve(RUN * factor).await;
        let Some(run) = copy.next(RUN).await? else { break };
        let length = run.len();
        permit.resize(length * factor + OVERHEAD);
        if text {
            feed.run(permit, length, move || Ok(Batch::from_copy_text(run)?))?;
        } else {
            let (bytea, builder) = (Arc::clone(&bytea), feed.mode().builder());
            feed.run(permit, length, move || tuples(run, &bytea, builder))?;
        }
    }
    Ok(())
}
