//! The writing end: entries one after the other, objects in the order they were asked for however
//! their compression finishes.

use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

use sha2::{Digest as _, Sha256};

use super::digest::Digest;
use super::index::EntryRecord;
use super::limits::BLOCK;
use super::seal::Place;
use super::ustar::{self, EntryKind};
use super::writer::WriteError;

/// The file so far.
pub(super) struct Output<W: Write> {
    out: W,
    offset: u64,
    created: u64,
    entries: Vec<EntryRecord>,
}

struct Hashing<'a, W: Write>(&'a mut W, Sha256, u64);

impl<W: Write> Write for Hashing<'_, W> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let written = self.0.write(buf)?;
        self.1.update(buf.get(..written).unwrap_or_default());
        self.2 += u64::try_from(written).unwrap_or(0);
        Ok(written)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl<W: Write> Output<W> {
    pub(super) fn new(out: W, created: u64) -> Self {
        Self { out, offset: 0, created, entries: Vec::new() }
    }

    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    pub(super) fn created(&self) -> u64 {
        self.created
    }

    fn begin(&mut self, name: &str, length: u64) -> io::Result<()> {
        self.out.write_all(&ustar::header(name, length, self.created))?;
        self.offset += 512;
        Ok(())
    }

    fn pad(&mut self, length: u64) -> io::Result<()> {
        let padding = ustar::padding(length);
        self.out.write_all([0; BLOCK].get(..padding).unwrap_or_default())?;
        self.offset += length + u64::try_from(padding).unwrap_or(0);
        Ok(())
    }

    /// An entry whose digest the caller knows.
    fn digested(
        &mut self,
        kind: EntryKind,
        digest: Digest,
        body: &[u8],
    ) -> Result<u32, WriteError> {
        let number =
            u32::try_from(self.entries.len()).map_err(|_| WriteError::TooMany("entries"))?;
        let length = u64::try_from(body.len()).unwrap_or(u64::MAX);
        self.begin(&kind.name(&digest, 0), length)?;
        self.entries.push(EntryRecord { kind, number: 0, offset: self.offset, length, digest });
        self.out.write_all(body)?;
        self.pad(length)?;
        Ok(number)
    }

    /// An entry with a fixed name, before the index.
    pub(super) fn entry(&mut self, kind: EntryKind, body: &[u8]) -> Result<u32, WriteError> {
        self.digested(kind, Digest::of(body), body)
    }

    /// An entry after the objects, of known length, written by `write`.
    pub(super) fn streamed(
        &mut self,
        name: &str,
        length: u64,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<Place, WriteError> {
        self.begin(name, length)?;
        let offset = self.offset;
        let mut hashing = Hashing(&mut self.out, Sha256::new(), 0);
        let mut buffered = io::BufWriter::with_capacity(1 << 20, &mut hashing);
        write(&mut buffered)?;
        buffered.flush()?;
        drop(buffered);
        if hashing.2 != length {
            return Err(WriteError::Internal("an entry came out longer or shorter than said"));
        }
        let digest = Digest(hashing.1.finalize().into());
        self.pad(length)?;
        Ok(Place { offset, length, digest })
    }

    /// An entry after the objects.
    pub(super) fn named(&mut self, name: &str, body: &[u8]) -> Result<Place, WriteError> {
        let length = u64::try_from(body.len()).unwrap_or(u64::MAX);
        self.streamed(name, length, |out| out.write_all(body))
    }

    /// Ends the tar.
    pub(super) fn end(mut self) -> io::Result<W> {
        self.out.write_all(&[0; 2 * BLOCK])?;
        self.out.flush()?;
        Ok(self.out)
    }
}

/// Bytes on their way, and whether the writing end failed.
#[derive(Default)]
struct Gate {
    state: Mutex<(usize, Option<Arc<io::Error>>)>,
    changed: Condvar,
}

impl Gate {
    fn with<T>(&self, f: impl FnOnce(&mut (usize, Option<Arc<io::Error>>)) -> T) -> T {
        let out = f(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
        out
    }

    /// Waits for room; something larger than all the room goes alone.
    fn enter(&self, bytes: usize, limit: usize) -> Result<(), WriteError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(error) = &state.1 {
                return Err(Arc::clone(error).into());
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
    Object(EntryKind, usize, Receiver<(Digest, Vec<u8>)>),
}

type Done<W> = Result<(Output<W>, Vec<u32>), WriteError>;

/// Hands work to rayon and its results, in order, to the one thread that writes.
pub(super) struct Queue<W: Write + Send + 'static> {
    jobs: Sender<Job>,
    gate: Arc<Gate>,
    limit: usize,
    objects: u32,
    writer: JoinHandle<Done<W>>,
}

impl<W: Write + Send + 'static> Queue<W> {
    pub(super) fn start(output: Output<W>, limit: usize) -> Self {
        // Bounded by bytes, through the gate.
        let (jobs, work) = channel();
        let gate = Arc::new(Gate::default());
        let thread_gate = Arc::clone(&gate);
        let writer = std::thread::spawn(move || {
            let result = write_all(output, &work, &thread_gate);
            if let Err(WriteError::Io(error)) = result {
                let error = Arc::new(error);
                thread_gate.with(|state| state.1 = Some(Arc::clone(&error)));
                return Err(error.into());
            }
            if result.is_err() {
                let stopped = Arc::new(io::Error::other("the writing thread stopped"));
                thread_gate.with(|state| state.1 = Some(stopped));
            }
            result
        });
        Self { jobs, gate, limit, objects: 0, writer }
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
        encode: impl FnOnce() -> (Digest, Vec<u8>) + Send + 'static,
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

    /// Waits for everything: the file, its entries, and which entry each object became.
    #[expect(clippy::type_complexity, reason = "taken apart at once by the only caller")]
    pub(super) fn finish(self) -> Result<(Output<W>, Vec<EntryRecord>, Vec<u32>), WriteError> {
        drop(self.jobs);
        let done = self.writer.join();
        let (mut output, objects) =
            done.map_err(|_| WriteError::Internal("the writing thread panicked"))??;
        let entries = std::mem::take(&mut output.entries);
        Ok((output, entries, objects))
    }
}

fn write_all<W: Write>(mut output: Output<W>, work: &Receiver<Job>, gate: &Gate) -> Done<W> {
    let mut objects = Vec::new();
    let mut by_name: HashMap<Digest, u32> = HashMap::new();
    while let Ok(job) = work.recv() {
        let bytes = match job {
            Job::Entry(kind, body) => {
                output.entry(kind, &body)?;
                body.len()
            }
            Job::Object(kind, bytes, receive) => {
                let (digest, body) = receive
                    .recv()
                    .map_err(|_| WriteError::Internal("an object could not be encoded"))?;
                // Equal stretches of a table are one object.
                let number = match by_name.get(&digest) {
                    Some(number) => *number,
                    None => output.digested(kind, digest, &body)?,
                };
                by_name.insert(digest, number);
                objects.push(number);
                bytes
            }
        };
        gate.with(|state| state.0 -= bytes);
    }
    Ok((output, objects))
}
