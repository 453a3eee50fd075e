//! The writing end: entries one after the other, objects in the order they were asked for however
//! their compression finishes.

use std::io::{self, IoSlice, Write};
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

use sha2::{Digest as _, Sha256};

use super::base::{OnBase, Taken};
use super::bounds::Bounds;
use super::digest::Digest;
use super::digests::Digests;
use super::index::{ENTRY, EntryRecord, together};
use super::limits::BLOCK;
use super::object::Encoded;
use super::parity::{self, Kind, Protection, Windows};
use super::seal::Place;
use super::ustar::{self, EntryKind};
use super::writer::WriteError;
use crate::io::{Scratch, Spool};

/// Where what was to be stored is: in the object with this number, or in the one that has this number
/// in the index of the base.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Home {
    Object(u32),
    Taken(u32),
}

/// Bytes of a [`Home`].
const HOME: usize = 5;

impl Home {
    pub(super) fn encode(self) -> [u8; HOME] {
        let (number, kind) = match self {
            Self::Object(number) => (number, 0),
            Self::Taken(number) => (number, 1),
        };
        together(&[&number.to_le_bytes(), &[kind]])
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (number, kind) = bytes.split_first_chunk()?;
        let number = u32::from_le_bytes(*number);
        match kind {
            [0] => Some(Self::Object(number)),
            [1] => Some(Self::Taken(number)),
            _ => None,
        }
    }
}

/// Whose segments need not be written again, and where it is noted that they are taken.
pub(super) type Lender = Option<(Arc<OnBase>, Taken)>;

/// The file so far.
pub(super) struct Output<W: Write> {
    out: W,
    offset: u64,
    created: u64,
    /// As the index has them.
    entries: Spool<ENTRY>,
    /// Makes parity of what goes by, if any is wanted: of windows, then of the tail.
    windows: Option<Windows>,
    protection: Option<Protection>,
    parity_entries: u32,
}

struct Hashing<'a, W: Write>(&'a mut Output<W>, Sha256, u64);

impl<W: Write> Write for Hashing<'_, W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0.put(buf)?;
        self.1.update(buf);
        self.2 += u64::try_from(buf.len()).unwrap_or(0);
        Ok(buf.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<W: Write> Output<W> {
    pub(super) fn new(
        out: W,
        created: u64,
        protection: Option<Protection>,
        bounds: &Bounds,
        scratch: Scratch,
    ) -> Self {
        let windows = protection.map(Windows::new);
        Self {
            out,
            offset: 0,
            created,
            entries: Spool::new(bounds.list, scratch),
            windows,
            protection,
            parity_entries: 0,
        }
    }

    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    pub(super) fn created(&self) -> u64 {
        self.created
    }

    /// All bytes of the file pass here.
    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        if let Some(windows) = &mut self.windows {
            windows.take(bytes, self.offset);
        }
        self.offset += u64::try_from(bytes.len()).unwrap_or(0);
        Ok(())
    }

    /// The same for bytes in pieces, whose places are not to be copied together first.
    fn put_pieces(&mut self, mut pieces: &mut [IoSlice<'_>]) -> io::Result<()> {
        if let Some(windows) = &mut self.windows {
            let mut offset = self.offset;
            for piece in pieces.iter() {
                windows.take(piece, offset);
                offset += u64::try_from(piece.len()).unwrap_or(0);
            }
        }
        let length: usize = pieces.iter().map(|piece| piece.len()).sum();
        IoSlice::advance_slices(&mut pieces, 0);
        while !pieces.is_empty() {
            match self.out.write_vectored(pieces) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => IoSlice::advance_slices(&mut pieces, written),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.offset += u64::try_from(length).unwrap_or(0);
        Ok(())
    }

    fn begin(&mut self, name: &str, length: u64) -> io::Result<()> {
        self.put(&ustar::header(name, length, self.created))
    }

    fn pad(&mut self, length: u64) -> io::Result<()> {
        let padding = ustar::padding(length);
        self.put([0; BLOCK].get(..padding).unwrap_or_default())
    }

    /// Ends the window if an entry with a body of so many bytes does not go into it.
    fn make_room(&mut self, length: u64) -> Result<(), WriteError> {
        let whole = length.next_multiple_of(512).saturating_add(512);
        match &self.windows {
            Some(windows) if !windows.fits(whole) => self.close_windows(),
            _ => Ok(()),
        }
    }

    /// Ends the window and writes the parity entries of it and of those that an entry longer than
    /// a window has filled.
    pub(super) fn close_windows(&mut self) -> Result<(), WriteError> {
        let Some(mut windows) = self.windows.take() else { return Ok(()) };
        windows.close();
        let finished = windows.finished();
        for window in finished {
            let number = self.parity_entries;
            self.parity_entries =
                number.checked_add(1).ok_or(WriteError::TooMany("parity entries"))?;
            let head = window.head(Kind::Window, number, self.created, self.offset + 512);
            let block = window.block(&head);
            // Parity is not protected by other parity: it can be made again.
            let body = &mut [IoSlice::new(&block)];
            self.write_entry(EntryKind::Parity, number, Digest::of(&block), body)?;
        }
        self.windows = Some(windows);
        Ok(())
    }

    /// From here on, what is written is the tail, which is protected more strongly.
    pub(super) fn begin_tail(&mut self) -> Result<(), WriteError> {
        self.close_windows()?;
        self.windows = self.protection.map(|protection| Windows::new(protection.of_tail()));
        Ok(())
    }

    /// Writes the tail's own parity; nothing that comes after is protected by it.
    pub(super) fn end_tail(&mut self) -> Result<Place, WriteError> {
        let Some(mut windows) = self.windows.take() else { return Ok(Place::default()) };
        windows.close();
        let finished = windows.finished();
        let of = u32::try_from(finished.len()).map_err(|_| WriteError::TooMany("windows"))?;
        let mut position = self.offset + 512;
        let mut heads = Vec::new();
        for (number, window) in (0..).zip(&finished) {
            let head = window.head(Kind::Tail { of }, number, self.created, position);
            position += head.block_bytes();
            heads.push(head);
        }
        let length = position - self.offset - 512;
        self.streamed(parity::TAIL, length, |out| {
            let mut windows = finished.iter().zip(&heads);
            Ok(windows.try_for_each(|(one, head)| out.write_all(&one.block(head)))?)
        })
    }

    /// An entry whose digest the caller knows.
    fn digested(
        &mut self,
        kind: EntryKind,
        digest: Digest,
        body: &mut [IoSlice<'_>],
    ) -> Result<u32, WriteError> {
        self.make_room(length_of(body))?;
        let number = self.write_entry(kind, 0, digest, body)?;
        if self.windows.as_ref().is_some_and(Windows::has_finished) {
            self.close_windows()?;
        }
        Ok(number)
    }

    fn object(&mut self, kind: EntryKind, object: &Encoded) -> Result<u32, WriteError> {
        object.write_to(|body| self.digested(kind, object.name, body))
    }

    fn write_entry(
        &mut self,
        kind: EntryKind,
        parity_number: u32,
        digest: Digest,
        body: &mut [IoSlice<'_>],
    ) -> Result<u32, WriteError> {
        let number =
            u32::try_from(self.entries.len()).map_err(|_| WriteError::TooMany("entries"))?;
        let length = length_of(body);
        self.begin(&kind.name(&digest, parity_number), length)?;
        let offset = self.offset;
        let entry = EntryRecord { kind, number: parity_number, offset, length, digest };
        self.entries.push(entry.encode()).map_err(WriteError::Scratch)?;
        self.put_pieces(body)?;
        self.pad(length)?;
        Ok(number)
    }

    /// An entry with a fixed name, before the index.
    pub(super) fn entry(&mut self, kind: EntryKind, body: &[u8]) -> Result<u32, WriteError> {
        self.digested(kind, Digest::of(body), &mut [IoSlice::new(body)])
    }

    /// An entry after the objects, of known length, written by `write`.
    pub(super) fn streamed(
        &mut self,
        name: &str,
        length: u64,
        write: impl FnOnce(&mut dyn Write) -> Result<(), WriteError>,
    ) -> Result<Place, WriteError> {
        self.begin(name, length)?;
        let offset = self.offset;
        let mut hashing = Hashing(self, Sha256::new(), 0);
        let mut buffered = io::BufWriter::with_capacity(1 << 20, &mut hashing);
        write(&mut buffered)?;
        buffered.flush()?;
        drop(buffered);
        let Hashing(_, hash, written) = hashing;
        if written != length {
            return Err(WriteError::Internal("an entry came out longer or shorter than said"));
        }
        let digest = Digest(hash.finalize().into());
        self.pad(length)?;
        Ok(Place { offset, length, digest })
    }

    /// An entry after the objects.
    pub(super) fn named(&mut self, name: &str, body: &[u8]) -> Result<Place, WriteError> {
        let length = u64::try_from(body.len()).unwrap_or(u64::MAX);
        self.streamed(name, length, |out| Ok(out.write_all(body)?))
    }

    /// Ends the tar.
    pub(super) fn end(mut self) -> io::Result<W> {
        self.out.write_all(&[0; 2 * BLOCK])?;
        self.out.flush()?;
        Ok(self.out)
    }
}

fn length_of(pieces: &[IoSlice<'_>]) -> u64 {
    pieces.iter().map(|piece| u64::try_from(piece.len()).unwrap_or(u64::MAX)).sum()
}

/// Why nothing is written any more.
#[derive(Clone)]
enum Stopped {
    Output(Arc<io::Error>),
    Scratch(Arc<io::Error>),
}

impl From<Stopped> for WriteError {
    fn from(stopped: Stopped) -> Self {
        let again = |error: Arc<io::Error>| io::Error::new(error.kind(), error);
        match stopped {
            Stopped::Output(error) => Self::Io(again(error)),
            Stopped::Scratch(error) => Self::Scratch(again(error)),
        }
    }
}

/// Bytes on their way, and whether the writing end failed.
#[derive(Default)]
struct Gate {
    state: Mutex<(usize, Option<Stopped>)>,
    changed: Condvar,
}

impl Gate {
    fn with<T>(&self, f: impl FnOnce(&mut (usize, Option<Stopped>)) -> T) -> T {
        let out = f(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
        out
    }

    /// Waits for room; something larger than all the room goes alone.
    fn enter(&self, bytes: usize, limit: usize) -> Result<(), WriteError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(error) = &state.1 {
                return Err(error.clone().into());
            }
            if state.0 == 0 || state.0 + bytes <= limit {
                state.0 += bytes;
                return Ok(());
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

enum Job {
    Entry(EntryKind, Vec<u8>),
    Object(EntryKind, usize, Receiver<Encoded>),
}

type Done<W> = Result<(Output<W>, Vec<Home>), WriteError>;

/// Hands work to rayon and its results, in order, to the one thread that writes.
pub(super) struct Queue<W: Write + Send + 'static> {
    jobs: Sender<Job>,
    gate: Arc<Gate>,
    limit: usize,
    objects: u32,
    writer: JoinHandle<Done<W>>,
}

impl<W: Write + Send + 'static> Queue<W> {
    /// `names` is to know the segments.
    pub(super) fn start(
        output: Output<W>,
        limit: usize,
        lender: Lender,
        names: Digests<NAME>,
    ) -> Self {
        // Bounded by bytes, through the gate.
        let (jobs, work) = channel();
        let gate = Arc::new(Gate::default());
        let thread_gate = Arc::clone(&gate);
        let writer = std::thread::spawn(move || {
            let result = write_all(output, &work, &thread_gate, lender.as_ref(), names);
            let stopped = match result {
                Ok(done) => return Ok(done),
                Err(WriteError::Io(error)) => Stopped::Output(Arc::new(error)),
                Err(WriteError::Scratch(error)) => Stopped::Scratch(Arc::new(error)),
                Err(error) => {
                    let what = io::Error::other("the writing thread stopped");
                    thread_gate.with(|state| state.1 = Some(Stopped::Output(Arc::new(what))));
                    return Err(error);
                }
            };
            thread_gate.with(|state| state.1 = Some(stopped.clone()));
            Err(stopped.into())
        });
        Self { jobs, gate, limit, objects: 0, writer }
    }

    /// Bytes of objects that may be on their way from now on.
    pub(super) fn set_limit(&mut self, bytes: usize) {
        self.limit = bytes;
    }

    fn send(&self, job: Job) -> Result<(), WriteError> {
        self.jobs.send(job).map_err(|_| {
            let error = self.gate.with(|state| state.1.clone());
            error.map_or(WriteError::Internal("the writing thread is gone"), Into::into)
        })
    }

    pub(super) fn entry(&self, kind: EntryKind, body: Vec<u8>) -> Result<(), WriteError> {
        self.gate.enter(body.len(), self.limit)?;
        self.send(Job::Entry(kind, body))
    }

    /// Has `encode` run on rayon and its result written as the next object; the object's number.
    pub(super) fn object(
        &mut self,
        kind: EntryKind,
        raw: usize,
        encode: impl FnOnce() -> Encoded + Send + 'static,
    ) -> Result<u32, WriteError> {
        // While it is encoded, raw and encoded bytes are both there.
        let bytes = 2 * raw;
        self.gate.enter(bytes, self.limit)?;
        let (result, receive) = sync_channel(1);
        rayon::spawn(move || {
            // The receiver is gone only if writing failed, which is told elsewhere.
            let _ = result.send(encode());
        });
        self.send(Job::Object(kind, bytes, receive))?;
        let number = self.objects;
        self.objects = number.checked_add(1).ok_or(WriteError::TooMany("objects"))?;
        Ok(number)
    }

    /// Waits for everything: the file, its entries, and which entry each object became, or which
    /// of those that were taken.
    pub(super) fn finish(self) -> Result<(Output<W>, Spool<ENTRY>, Vec<Home>), WriteError> {
        drop(self.jobs);
        let done = self.writer.join();
        let (mut output, objects) =
            done.map_err(|_| WriteError::Internal("the writing thread panicked"))??;
        output.begin_tail()?;
        let none = Spool::new(0, Scratch::default());
        let entries = std::mem::replace(&mut output.entries, none);
        Ok((output, entries, objects))
    }
}

/// Bytes of what is known of a segment: its name, and where it is.
pub(super) const NAME: usize = 32 + HOME;

fn write_all<W: Write>(
    mut output: Output<W>,
    work: &Receiver<Job>,
    gate: &Gate,
    lender: Option<&(Arc<OnBase>, Taken)>,
    mut names: Digests<NAME>,
) -> Done<W> {
    let mut objects = Vec::new();
    while let Ok(job) = work.recv() {
        let bytes = match job {
            Job::Entry(kind, body) => {
                output.entry(kind, &body)?;
                body.len()
            }
            Job::Object(kind, bytes, receive) => {
                let object = receive
                    .recv()
                    .map_err(|_| WriteError::Internal("an object could not be encoded"))?;
                objects.push(match kind {
                    EntryKind::Segment => segment(&mut output, &mut names, lender, &object)?,
                    // No two packs are equal: each chunk is stored once.
                    _ => Home::Object(output.object(kind, &object)?),
                });
                bytes
            }
        };
        gate.with(|state| state.0 -= bytes);
    }
    Ok((output, objects))
}

/// Writes a segment, unless it is there: equal stretches of a table are one object.
fn segment<W: Write>(
    output: &mut Output<W>,
    names: &mut Digests<NAME>,
    lender: Option<&(Arc<OnBase>, Taken)>,
    object: &Encoded,
) -> Result<Home, WriteError> {
    let digest = object.name;
    if let Some(known) = names.find(&digest)? {
        let home = known.get(32..).and_then(Home::decode);
        return home.ok_or(WriteError::Internal("a segment is nowhere"));
    }
    let lent = lender.and_then(|(base, taken)| Some((base.segment(&digest)?, taken)));
    let home = match lent {
        Some((number, taken)) => {
            taken.take(number);
            Home::Taken(number)
        }
        None => Home::Object(output.object(EntryKind::Segment, object)?),
    };
    if names.is_full() {
        names.make_room(|_| false)?;
    }
    names.add(together(&[&digest.0, &home.encode()]))?;
    Ok(home)
}
