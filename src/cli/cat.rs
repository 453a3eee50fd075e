//! `pgark cat`: a table's rows on standard output.

use std::path::Path;

use super::Context;
use super::args::Cat;
use super::exit::Exit;
use super::hints::Failure;
use super::names::{self, NameError};
use super::rowtext::{Outlet, RowFailure, RowText};
use crate::format::reader::{Archive, PackCache, ReadError};
use crate::format::rows::{self, BlobRef};

/// Bytes that are gathered before they are written.
const GATHER: usize = 256 << 10;

/// Runs it.
pub(super) fn run(typed: &Cat, context: &Context) -> Result<Exit, Failure> {
    let path = typed.file.as_path();
    let archive = open(path)?;
    let name = |error| Failure::Name(path.to_owned(), error);
    let table = names::find(archive.manifest(), &typed.table).map_err(name)?;
    let Some(data) = table.data else {
        return Err(name(NameError::NoRows { table: table.name.clone() }));
    };
    let format = RowText::new(typed.format, table.stored_columns());
    let mut out = Stream::new(&archive, context);
    let mut done = 0_u64;
    let mut all = || -> Result<(), Stop> {
        format.header(&mut out)?;
        let segments = data.first_segment..data.first_segment.saturating_add(data.segments);
        for number in segments {
            let text = archive.segment(number)?;
            for row in rows::rows(&text) {
                done += 1;
                format.row(row, &mut out).map_err(|failure| match failure {
                    RowFailure::Outlet(stop) => stop,
                    RowFailure::Row(error) => Stop::Row(error.to_string()),
                    RowFailure::Fields { found, wanted } => Stop::Row(format!(
                        "it has {found} fields where the table has {wanted} columns"
                    )),
                    RowFailure::NotUtf8(column) => Stop::NotUtf8(column),
                })?;
            }
        }
        out.flush()
    };
    let row = |done: u64| format!("{} row {done}", table.name);
    match all() {
        Ok(()) if done == data.rows => Ok(Exit::Clean),
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

/// Opens an archive for reading.
pub(super) fn open(path: &Path) -> Result<Archive, Failure> {
    Archive::open(path).map_err(|error| Failure::Open(path.to_owned(), error))
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
}

impl<'a> Stream<'a> {
    fn new(archive: &'a Archive, context: &'a Context) -> Self {
        let cache = PackCache::default();
        Self { archive, context, cache, held: Vec::with_capacity(GATHER + (GATHER >> 2)) }
    }

    fn flush(&mut self) -> Result<(), Stop> {
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
