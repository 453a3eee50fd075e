//! Values of `bytea` columns: read by several sessions in the one snapshot, and looked at with what
//! looks at the blobs of an archive.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::JoinSet;

use super::database::{Database, cut, described};
use super::{CheckError, CheckOptions, RuleOutcome, RuleState, with_rest};
use crate::format::digest::Digest;
use crate::format::rules::{Algorithm, BlobRule};
use crate::pg::tuple::Tuples;
use crate::pg::{CopyOut, PgError, Session, ident, plan, qualified};
use crate::progress::{Phase, Progress};
use crate::verify::judge::{Facts, checksum};
use crate::verify::look::{Look, Looker, Summer};
use crate::verify::{Code, EXAMPLES, Finding};

/// Bytes of rows that are taken at a time.
const RUN: usize = 4 << 20;
/// Values longer than this are read in slices, one at a time.
const LONG: u64 = 32 << 20;
/// Length of a slice.
const SLICE: u64 = 8 << 20;
/// How many images that were whole are known again.
const KNOWN: usize = 1 << 19;

/// What the rules about blobs came to.
#[derive(Default)]
pub(super) struct Checked {
    pub(super) outcomes: Vec<RuleOutcome>,
    pub(super) findings: Vec<Finding>,
    pub(super) images: u64,
    pub(super) damaged: u64,
}

/// One rule about one table of rows.
struct Ask {
    rule: usize,
    place: usize,
    column: String,
    /// What tells the rows apart.
    names: Vec<String>,
    texts: Vec<String>,
    not_empty: bool,
    look: Look,
    media: Option<String>,
    sum: Option<(String, Algorithm)>,
}

/// A run of rows to read.
struct Task {
    ask: usize,
    number: u64,
    rows: Rows,
}

enum Rows {
    /// Blocks of the heap from the first to before the second; none: all.
    Pages(Option<(u32, Option<u32>)>),
    /// Those with a long value.
    Long,
}

/// What all sessions share.
struct Work {
    database: Arc<Database>,
    asks: Vec<Ask>,
    tasks: Mutex<VecDeque<Task>>,
    looker: Looker,
    /// Digests of images that are whole.
    known: Mutex<HashSet<Digest>>,
    faults: Mutex<BTreeMap<(usize, Code), Broken>>,
    looked_at: Vec<AtomicU64>,
    broken: Vec<AtomicU64>,
    images: AtomicU64,
    damaged: AtomicU64,
    progress: Arc<dyn Progress>,
}

/// Faults of one kind: how many, and the first of them in the order of the table.
#[derive(Default)]
struct Broken {
    count: u64,
    first: BTreeSet<((u64, u64), String, String)>,
}

/// A row as it is read.
struct Value<'a> {
    key: String,
    media: Option<&'a [u8]>,
    sum: Option<&'a [u8]>,
    length: u64,
}

pub(super) async fn check(
    database: &Arc<Database>,
    rules: &[BlobRule],
    options: &CheckOptions,
    progress: &Arc<dyn Progress>,
) -> Result<Checked, CheckError> {
    if rules.is_empty() {
        return Ok(Checked::default());
    }
    let mut asks = Vec::new();
    for (number, rule) in rules.iter().enumerate() {
        for place in database.leaves(&rule.table) {
            asks.push(ask(database, number, rule, place));
        }
    }
    let (tasks, bytes) = tasks(database, &asks);
    progress.begin(Phase::Rules, 0, bytes);
    let workers = options.jobs.clamp(1, tasks.len().max(1));
    let counters = || rules.iter().map(|_| AtomicU64::new(0)).collect::<Vec<_>>();
    let work = Arc::new(Work {
        database: Arc::clone(database),
        asks,
        tasks: Mutex::new(tasks),
        looker: Looker::new(options.memory, options.images),
        known: Mutex::default(),
        faults: Mutex::default(),
        looked_at: counters(),
        broken: counters(),
        images: AtomicU64::new(0),
        damaged: AtomicU64::new(0),
        progress: Arc::clone(progress),
    });
    // Dropped, it ends what is still at work.
    let mut sessions = JoinSet::new();
    for _ in 0..workers {
        sessions.spawn(worker(Arc::clone(&work)));
    }
    while let Some(ended) = sessions.join_next().await {
        ended.map_err(|error| CheckError::Internal(error.to_string()))??;
    }
    Ok(conclude(&work, rules))
}

fn ask(database: &Database, number: usize, rule: &BlobRule, place: usize) -> Ask {
    let (names, texts) = database.key(place);
    let sum = rule.checksum.as_ref();
    Ask {
        rule: number,
        place,
        column: rule.column.clone(),
        names,
        texts,
        not_empty: rule.not_empty || rule.image,
        look: Look { image: rule.image, sum: sum.map(|sum| sum.algorithm) },
        media: rule.media_type.clone(),
        sum: sum.map(|sum| (sum.column.clone(), sum.algorithm)),
    }
}

/// The tables in the pieces in which a backup would read them, and about how many bytes that is.
fn tasks(database: &Database, asks: &[Ask]) -> (VecDeque<Task>, u64) {
    let parts = plan(&database.catalog);
    let mut tasks = VecDeque::new();
    let mut bytes = 0_u64;
    let mut put = |ask, rows| {
        let number = u64::try_from(tasks.len()).unwrap_or(u64::MAX);
        tasks.push_back(Task { ask, number, rows });
    };
    for (number, ask) in asks.iter().enumerate() {
        let own = parts.iter().filter(|part| part.table == ask.place);
        for part in own.filter(|part| part.rows != crate::pg::PartRows::Big) {
            put(number, Rows::Pages(part.pages));
            if ask.whole() {
                bytes = bytes.saturating_add(part.estimate);
            }
        }
        put(number, Rows::Long);
    }
    (tasks, bytes)
}

impl Ask {
    /// Whether values are read to their end.
    fn whole(&self) -> bool {
        self.look.image || self.look.sum.is_some()
    }

    fn source(&self, database: &Database) -> Option<String> {
        Some(Database::source(database.catalog.tables.get(self.place)?))
    }

    /// What is read of each row but the value itself: key, media type, checksum, length.
    fn beside(&self, database: &Database) -> Vec<String> {
        let text = |column: Option<&String>| match column {
            Some(column) => database.text(self.place, column),
            None => "NULL::pg_catalog.text".into(),
        };
        let mut out = self.texts.clone();
        out.push(text(self.media.as_ref()));
        out.push(text(self.sum.as_ref().map(|(column, _)| column)));
        let column = ident(&self.column);
        out.push(format!("pg_catalog.octet_length({column})::pg_catalog.text"));
        out
    }

    fn condition(&self, rows: &Rows) -> String {
        let length = format!("pg_catalog.octet_length({})", ident(&self.column));
        let mut out = match rows {
            Rows::Pages(_) => format!("WHERE {length} <= {LONG}"),
            Rows::Long => format!("WHERE {length} > {LONG}"),
        };
        if let Rows::Pages(Some((start, end))) = rows {
            _ = write!(out, " AND ctid >= '({start},0)'::pg_catalog.tid");
            if let Some(end) = end {
                _ = write!(out, " AND ctid < '({end},0)'::pg_catalog.tid");
            }
        }
        out
    }
}

async fn worker(work: Arc<Work>) -> Result<(), CheckError> {
    let session = work.database.snapshot.join().await?;
    loop {
        let task = work.tasks.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let Some(task) = task else { break };
        let Some(ask) = work.asks.get(task.ask) else { continue };
        let Some(table) = work.database.catalog.tables.get(ask.place) else { continue };
        work.progress.on(&table.name.to_string());
        let read = match task.rows {
            Rows::Pages(_) => short(&work, &session, &task).await?,
            Rows::Long => long(&work, &session, &task).await?,
        };
        // The end of a COPY does not prove by itself that nothing was left out.
        let source = ask.source(&work.database).unwrap_or_default();
        let sql =
            format!("SELECT pg_catalog.count(*) FROM {source} a {}", ask.condition(&task.rows));
        let doing = format!("counting rows of {}", table.name);
        let counted = super::number(&session.rows(&doing, &sql, &[]).await?)?;
        if counted != read {
            return Err(CheckError::Count { table: table.name.to_string(), read, counted });
        }
    }
    session.close().await;
    Ok(())
}

/// Reads values that fit into memory; how many.
async fn short(work: &Arc<Work>, session: &Session, task: &Task) -> Result<u64, CheckError> {
    let Some(ask) = work.asks.get(task.ask) else { return Ok(0) };
    let mut columns = ask.beside(&work.database);
    let column = ident(&ask.column);
    columns.push(if ask.whole() {
        column
    } else if ask.media.is_some() {
        format!("pg_catalog.substring({column}, 1, {})", Looker::HEAD)
    } else {
        "''::pg_catalog.bytea".into()
    });
    let sql = format!(
        "COPY (SELECT {} FROM {} a {}) TO STDOUT (FORMAT binary)",
        columns.join(", "),
        ask.source(&work.database).unwrap_or_default(),
        ask.condition(&task.rows)
    );
    let mut copy = CopyOut::binary(session, &sql).await?;
    let mut read = 0;
    while let Some(run) = copy.next(RUN).await? {
        if work.progress.interrupted() {
            return Err(CheckError::Interrupted);
        }
        let work = Arc::clone(work);
        let (number, place) = (task.ask, task.number);
        let looked = tokio::task::spawn_blocking(move || look_at(&work, number, place, read, &run));
        let looked = looked.await.map_err(|error| CheckError::Internal(error.to_string()))?;
        read += looked?;
    }
    Ok(read)
}

/// Looks at a run of rows; how many.
fn look_at(
    work: &Work,
    number: usize,
    place: u64,
    before: u64,
    run: &[u8],
) -> Result<u64, CheckError> {
    let Some(ask) = work.asks.get(number) else { return Ok(0) };
    let keys = ask.names.len();
    let mut tuples = Tuples::new(run, u16::try_from(keys + 4).unwrap_or(u16::MAX));
    let mut fields = Vec::new();
    let mut rows = 0;
    let problem = |error: String| {
        CheckError::Server(PgError::protocol(format!("reading column {}", ask.column), error))
    };
    while tuples.next_into(&mut fields).map_err(|error| problem(error.to_string()))? {
        rows += 1;
        let (key, rest) = fields.split_at(keys);
        let &[media, sum, Some(length), Some(bytes)] = rest else {
            return Err(problem("a value is NULL that cannot be".into()));
        };
        let key: Vec<Option<String>> = key
            .iter()
            .map(|field| field.map(|field| String::from_utf8_lossy(field).into_owned()))
            .collect();
        let length = std::str::from_utf8(length).ok().and_then(|text| text.parse().ok());
        let length = length.ok_or_else(|| problem("a length is no number".into()))?;
        let value = Value { key: described(&ask.names, &key), media, sum, length };
        work.value(ask, number, (place, before + rows), &value, |look| {
            let digest = look.image.then(|| Digest::of(bytes));
            // An image that is used many times is decoded once.
            let known = digest.is_some_and(|digest| work.knows(&digest));
            let facts = work.looker.look(bytes, Look { image: look.image && !known, ..look });
            if let Some(digest) = digest.filter(|_| !known && facts.is_whole()) {
                work.learn(digest);
            }
            facts
        });
        work.progress.bytes(u64::try_from(bytes.len()).unwrap_or(0));
    }
    Ok(rows)
}

/// Reads long values slice by slice; how many.
async fn long(work: &Arc<Work>, session: &Session, task: &Task) -> Result<u64, CheckError> {
    let Some(ask) = work.asks.get(task.ask) else { return Ok(0) };
    let Some(table) = work.database.catalog.tables.get(ask.place) else { return Ok(0) };
    let source = ask.source(&work.database).unwrap_or_default();
    let mut columns = ask.beside(&work.database);
    columns.push("ctid::pg_catalog.text".into());
    if table.condition.is_some() {
        // Rows of a condition's subquery have no place; what an extension keeps is not that long.
        columns.pop();
        columns.push("''".into());
    }
    let doing = format!("reading {}.{}", table.name, ask.column);
    let sql =
        format!("SELECT {} FROM {source} a {}", columns.join(", "), ask.condition(&task.rows));
    let rows = session.rows(&doing, &sql, &[]).await?;
    let mut read = 0;
    for row in &rows {
        let mut fields = Vec::with_capacity(columns.len());
        for at in 0..columns.len() {
            let field: Option<String> =
                row.try_get(at).map_err(|error| PgError::server(doing.clone(), error))?;
            fields.push(field);
        }
        let (key, rest) = fields.split_at(ask.names.len());
        let [media, sum, Some(length), Some(ctid)] = rest else { continue };
        let length = length.parse::<u64>().map_err(|_| {
            CheckError::Server(PgError::protocol(doing.clone(), "a length is no number"))
        })?;
        read += 1;
        let value = Value {
            key: described(&ask.names, key),
            media: media.as_deref().map(str::as_bytes),
            sum: sum.as_deref().map(str::as_bytes),
            length,
        };
        let decode = ask.look.image && length <= Looker::LONGEST;
        let wanted = if ask.whole() { length } else { u64::try_from(Looker::HEAD).unwrap_or(0) };
        let mut bytes = Vec::new();
        let mut summer = ask.look.sum.filter(|_| !decode).map(Summer::new);
        let mut at = 0;
        // Of what is too long to decode and has no checksum to compute, the beginning is enough.
        let end = if decode || summer.is_some() { wanted } else { wanted.min(SLICE) };
        while at < end {
            if work.progress.interrupted() {
                return Err(CheckError::Interrupted);
            }
            let sql = format!(
                "SELECT pg_catalog.substring({}, {}, {}) FROM ONLY {} WHERE ctid = '{ctid}'::pg_catalog.tid",
                ident(&ask.column),
                at + 1,
                SLICE.min(end - at),
                qualified(&table.name)
            );
            let slice = session.rows(&doing, &sql, &[]).await?;
            let slice: Vec<u8> = slice
                .first()
                .and_then(|row| row.try_get::<_, Option<Vec<u8>>>(0).ok().flatten())
                .filter(|slice| !slice.is_empty())
                .ok_or_else(|| PgError::protocol(doing.clone(), "a value ended early"))?;
            at += u64::try_from(slice.len()).unwrap_or(u64::MAX);
            work.progress.bytes(u64::try_from(slice.len()).unwrap_or(0));
            if let Some(summer) = &mut summer {
                summer.update(&slice);
            }
            if decode || bytes.is_empty() {
                bytes.extend_from_slice(&slice);
            }
        }
        let shared = Arc::clone(work);
        let (number, order) = (task.ask, (task.number, read));
        // Whole images are decoded where waiting does no harm.
        let facts = tokio::task::spawn_blocking(move || {
            let Some(ask) = shared.asks.get(number) else { return Facts::default() };
            if decode {
                shared.looker.look(&bytes, ask.look)
            } else {
                Looker::too_long(&bytes, length, ask.look, summer)
            }
        });
        let facts = facts.await.map_err(|error| CheckError::Internal(error.to_string()))?;
        work.value(ask, number, order, &value, |_| facts);
    }
    Ok(read)
}

impl Work {
    fn knows(&self, digest: &Digest) -> bool {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).contains(digest)
    }

    fn learn(&self, digest: Digest) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() < KNOWN {
            known.insert(digest);
        }
    }

    /// Judges one value.
    fn value(
        &self,
        ask: &Ask,
        number: usize,
        order: (u64, u64),
        value: &Value<'_>,
        look: impl FnOnce(Look) -> Facts,
    ) {
        let add = |counters: &[AtomicU64], by: u64| {
            if let Some(counter) = counters.get(ask.rule) {
                counter.fetch_add(by, Ordering::Relaxed);
            }
        };
        add(&self.looked_at, 1);
        let mut faults = Vec::new();
        let mut sum = None;
        if let (Some((column, algorithm)), Some(text)) = (&ask.sum, value.sum) {
            match checksum(column, text, *algorithm) {
                Ok(bytes) => sum = Some((*algorithm, bytes)),
                Err(what) => faults.push((Code::Checksum, what)),
            }
        }
        if value.length == 0 {
            if ask.not_empty {
                faults.push((Code::BlobEmpty, "it has no byte".to_owned()));
            }
        } else {
            let facts = look(Look { image: ask.look.image, sum: sum.as_ref().map(|(a, _)| *a) });
            let sum = sum.as_ref().map(|(algorithm, bytes)| (*algorithm, bytes.as_slice()));
            let found = facts.held_against(ask.look.image, value.media, sum);
            if ask.look.image {
                self.images.fetch_add(1, Ordering::Relaxed);
                let bad = |code: Code| matches!(code, Code::ImageDamaged | Code::ImageTooLarge);
                if found.iter().any(|(code, _)| bad(*code)) {
                    self.damaged.fetch_add(1, Ordering::Relaxed);
                }
            }
            let text = |bytes: &[u8]| cut(&String::from_utf8_lossy(bytes));
            faults.extend(found.into_iter().map(|(code, what)| {
                let beside = match code {
                    Code::MediaType => ask.media.as_ref().zip(value.media),
                    Code::Checksum => ask.sum.as_ref().map(|(column, _)| column).zip(value.sum),
                    _ => None,
                };
                match beside {
                    Some((column, said)) => {
                        (code, format!("{column} = {}, but {what}", text(said)))
                    }
                    None => (code, what),
                }
            }));
        }
        if faults.iter().any(|(code, _)| code.severity() != crate::verify::Severity::Note) {
            add(&self.broken, 1);
        }
        let mut all = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        for (code, what) in faults {
            let broken = all.entry((number, code)).or_default();
            broken.count += 1;
            broken.first.insert((order, value.key.clone(), what));
            if broken.first.len() > EXAMPLES {
                broken.first.pop_last();
            }
        }
    }
}

fn conclude(work: &Work, rules: &[BlobRule]) -> Checked {
    let mut out = Checked {
        images: work.images.load(Ordering::Relaxed),
        damaged: work.damaged.load(Ordering::Relaxed),
        ..Checked::default()
    };
    for (rule, (looked_at, broken)) in rules.iter().zip(work.looked_at.iter().zip(&work.broken)) {
        let broken = broken.load(Ordering::Relaxed);
        out.outcomes.push(RuleOutcome {
            rule: rule.words(),
            state: if broken == 0 { RuleState::Holds } else { RuleState::Broken },
            looked_at: looked_at.load(Ordering::Relaxed),
            broken,
        });
    }
    let faults = std::mem::take(&mut *work.faults.lock().unwrap_or_else(PoisonError::into_inner));
    for ((number, code), broken) in faults {
        let Some(ask) = work.asks.get(number) else { continue };
        let Some(table) = work.database.catalog.tables.get(ask.place) else { continue };
        let words = rules.get(ask.rule).map(BlobRule::words).unwrap_or_default();
        let examples = broken.first.into_iter().map(|(_, key, what)| {
            Finding::new(code, what)
                .table(&table.name)
                .key(Some(key).filter(|key| !key.is_empty()))
                .column(&ask.column)
                .rule(&words)
        });
        out.findings.extend(with_rest(examples.collect(), broken.count));
    }
    out
}
