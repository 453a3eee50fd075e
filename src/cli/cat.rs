//! `pgark cat`: a table's rows, or some of them, on standard output.

use std::path::Path;
use std::sync::Arc;

use super::Context;
use super::args::{Bases, Blobs, Cat, Format};
use super::bars::Bars;
use super::exit::Exit;
use super::hints::Failure;
use super::names::{self, NameError};
use super::rowtext::{Outlet, RowFailure, RowText};
use crate::export::select::{Selection, split_condition, split_key};
use crate::format::manifest::Table;
use crate::format::reader::{Archive, PackCache, ReadError};
use crate::format::rows::{self, BlobRef};
use crate::progress::{Phase, Progress as _};

/// Bytes that are gathered before they are written.
const GATHER: usize = 256 << 10;

/// Runs it.
pub(super) fn run(typed: &Cat, context: &Context) -> Result<Exit, Failure> {
    let path = typed.file.as_path();
    let archive = open(path, &typed.bases)?;
    let name = |error| Failure::Name(path.to_owned(), error);
    let table = names::find(archive.manifest(), &typed.table).map_err(name)?;
    let Some(data) = table.data else {
        return Err(name(NameError::NoRows { table: table.name.clone() }));
    };
    let selection = selection(typed, table)?;
    let references = typed.blobs == Blobs::Reference;
    if references && typed.format == Format::Insert {
        return Err(Failure::Usage(
            "an INSERT statement needs its blobs: leave out --blobs".into(),
        ));
    }
    let format = RowText::of_table(typed.format, table, references);
    let mut done = 0_u64;
    let mut written = 0_u64;
    // Single rows out of many take a while in which nothing is written.
    let bars = (!selection.is_all()).then(|| context.bars());
    if let Some(bars) = &bars {
        bars.begin(Phase::Export, data.rows, data.bytes);
        bars.on(&table.name.to_string());
    }
    let mut out = Stream::new(&archive, context, bars.clone());
    let mut all = || -> Result<(), Stop> {
        format.header(&mut out)?;
        let segments = data.first_segment..data.first_segment.saturating_add(data.segments);
        for number in segments {
            let text = archive.segment(number)?;
            if context.interrupt.is_set() {
                return Err(Stop::Interrupted);
            }
            let before = done;
            for row in rows::rows(&text) {
                done += 1;
                if !selection.picks(row).map_err(|error| Stop::Row(error.to_string()))? {
                    continue;
                }
                written += 1;
                format.row(row, &mut out).map_err(|failure| match failure {
                    RowFailure::Outlet(stop) => stop,
                    RowFailure::Row(error) => Stop::Row(error.to_string()),
                    RowFailure::Fields { found, wanted } => Stop::Row(format!(
                        "it has {found} fields where the table has {wanted} columns"
                    )),
                    RowFailure::NotUtf8(column) => Stop::NotUtf8(column),
                })?;
            }
            if let Some(bars) = &bars {
                bars.rows(done - before);
                bars.bytes(u64::try_from(text.len()).unwrap_or(0));
            }
        }
        out.flush()
    };
    let row = |done: u64| format!("{} row {done}", table.name);
    let ended = all();
    if let Some(bars) = &bars {
        bars.finish();
    }
    match ended {
        Ok(()) if done == data.rows && (selection.is_all() || written > 0) => Ok(Exit::Clean),
        Ok(()) if done == data.rows => {
            context.printer.message(&format!("{} has no such row", table.name));
            Ok(Exit::Findings)
        }
        Ok(()) => Err(Failure::Damage {
            path: path.to_owned(),
            what: table.name.to_string(),
            problem: format!("{done} rows are there where the manifest says {}", data.rows),
        }),
        // Nobody reads any more; whether for a reason is for the printer to say.
        Err(Stop::Gone) => Ok(Exit::Clean),
        Err(Stop::Interrupted) => Err(Failure::Interrupted),
        Err(Stop::Read(error)) => Err(Failure::Read(path.to_owned(), error)),
        Err(Stop::Row(problem)) => {
            Err(Failure::Damage { path: path.to_owned(), what: row(done), problem })
        }
        Err(Stop::NotUtf8(column)) => Err(Failure::NotUtf8 { what: row(done), column }),
    }
}

/// Which rows are wanted.
fn selection(typed: &Cat, table: &Table) -> Result<Selection, Failure> {
    let wrong = |error| Failure::Select(typed.file.clone(), error);
    let key = typed.key.as_deref().map(|key| match &table.primary_key {
        // One value may have commas in it; nothing can be mistaken.
        Some(primary) if primary.columns.len() == 1 && !key.contains('\\') => vec![key.to_owned()],
        _ => split_key(key),
    });
    let conditions = typed.conditions.iter().map(|condition| split_condition(condition));
    let conditions: Vec<_> = conditions.collect::<Result<_, _>>().map_err(wrong)?;
    Selection::new(table, key.as_deref(), &conditions).map_err(wrong)
}

/// Opens an archive for reading.
pub(super) fn open(path: &Path, bases: &Bases) -> Result<Archive, Failure> {
    Archive::open_on(path, &bases.base).map_err(|error| Failure::Open(path.to_owned(), error))
}

/// Why the rows end early.
enum Stop {
    Gone,
    Interrupted,
    Read(ReadError),
    Row(String),
    NotUtf8(String),
}

impl From<ReadError> for Stop {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

/// Standard output, and the archive that blobs come from.
struct Stream<'a> {
    archive: &'a Archive,
    context: &'a Context,
    cache: PackCache,
    held: Vec<u8>,
    /// Progress, until rows come: a bar and rows on one terminal do not mix.
    bars: Option<Arc<Bars>>,
}

impl<'a> Stream<'a> {
    fn new(archive: &'a Archive, context: &'a Context, bars: Option<Arc<Bars>>) -> Self {
        let held = Vec::with_capacity(GATHER + (GATHER >> 2));
        Self { archive, context, cache: PackCache::default(), held, bars }
    }

    fn no_bars(&mut self) {
        if let Some(bars) = self.bars.take() {
            bars.finish();
        }
    }

    fn flush(&mut self) -> Result<(), Stop> {
        self.no_bars();
        put(self.context, &mut self.held)
    }
}

/// Writes what is held, unless there is a reason to stop.
fn put(context: &Context, held: &mut Vec<u8>) -> Result<(), Stop> {
    context.printer.data(held);
    held.clear();
    match (context.printer.is_gone(), context.interrupt.is_set()) {
        (true, _) => Err(Stop::Gone),
        (_, true) => Err(Stop::Interrupted),
        _ => Ok(()),
    }
}

impl Outlet for Stream<'_> {
    type Error = Stop;

    fn write(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        self.held.extend_from_slice(bytes);
        if self.held.len() < GATHER { Ok(()) } else { self.flush() }
    }

    fn hex(&mut self, blob: BlobRef) -> Result<(), Stop> {
        self.no_bars();
        let (context, held) = (self.context, &mut self.held);
        let mut stopped = None;
        let done = self.archive.blob(blob, &mut self.cache, &mut |bytes| {
            for run in bytes.chunks(GATHER / 2) {
                hex_into(held, run);
                if held.len() >= GATHER
                    && let Err(stop) = put(context, held)
                {
                    stopped = Some(stop);
                    return Err(ReadError::Sink("stopped".into()));
                }
            }
            Ok(())
        });
        match stopped {
            Some(stop) => Err(stop),
            None => done.map_err(Stop::Read),
        }
    }
}

fn hex_into(out: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().unwrap_or(b'0');
    out.extend(bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]));
}
