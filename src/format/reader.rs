//! Reading an archive: from the seal to the manifest to the entries, never by walking the tar
//! (spec section 4).
//!
//! [`Archive::open`] proves the seal, the manifest and the index by their digests. Everything else
//! is proven when it is read: each object against its header, name and digests.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

pub use super::entries::{check_header, read_entry, read_head, read_object, with_raw};

use super::cbor::{self, CborError};
use super::digest::Digest;
use super::index::{ChunkRecord, EntryRecord, Index, IndexBytes, IndexError};
use super::limits::{BLOCK, MANIFEST, SCHEMA_SQL};
use super::manifest::Manifest;
use super::object::{self, ObjectError};
use super::paged::Paged;
use super::rows::BlobRef;
use super::seal::{self, Place, Seal, SealError};
use super::ustar::EntryKind;
use crate::io::ReadAt;

/// Features of the manifest's list that this version understands.
pub const FEATURES: &[&str] = &[super::thin::FEATURE];
/// An index up to this length is held in memory, a longer one is read where it is.
const INDEX_IN_MEMORY: u64 = if cfg!(test) { 1 << 10 } else { 32 << 20 };
/// Bytes of unpacked packs that [`PackCache`] keeps.
const CACHE: usize = 32 << 20;

/// Why a file cannot be opened as an archive.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It cannot be read.
    #[error("cannot be read")]
    Io(#[from] io::Error),
    /// Nothing says that it ever was one, or its end is gone.
    #[error("not a pgark archive, or its end is missing: {0}")]
    NotAnArchive(&'static str),
    /// Written by a later version.
    #[error("needs a newer pgark: {0}")]
    TooNew(String),
    /// Its length is not the one the seal says.
    #[error("{actual} bytes long where the seal says {sealed}")]
    Length {
        /// What it is.
        actual: u64,
        /// What it should be.
        sealed: u64,
    },
    /// Both copies of the seal are damaged.
    #[error("both copies of the seal are damaged: {0}")]
    Seal(SealError),
    /// The place the seal names is not within the file or limits.
    #[error("the seal places the {0} where it cannot be")]
    Place(&'static str),
    /// Index or manifest do not have their digest.
    #[error("the {0} does not match its digest in the seal")]
    Digest(&'static str),
    /// The manifest's bytes are not one.
    #[error("the manifest is not valid: {0}")]
    Manifest(#[from] CborError),
    /// The index is not one.
    #[error("the index is not valid: {0}")]
    Index(#[from] IndexError),
    /// Manifest, index and seal contradict each other.
    #[error("{0}")]
    Disagree(&'static str),
    /// It is thin, and what it is based on is not there.
    #[error("{0}")]
    Base(#[from] super::thin::BaseFault),
}

/// Why something in an open archive cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The file cannot be read there.
    #[error("entry {entry} cannot be read")]
    Io {
        /// The entry's name.
        entry: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// An entry's header is not the one there is.
    #[error("the tar header of entry {0} is damaged")]
    Header(String),
    /// A plain entry does not have its digest.
    #[error("entry {0} does not match its digest")]
    Digest(String),
    /// An object is damaged.
    #[error("object {entry}: {problem}")]
    Object {
        /// The entry's name.
        entry: String,
        /// What is wrong.
        problem: ObjectError,
    },
    /// The index names what cannot be.
    #[error("the index is wrong: {0}")]
    Index(#[from] IndexError),
    /// A blob that no record of the index has.
    #[error("blob {0} is not in the archive")]
    NoBlob(Digest),
    /// A blob's bytes are not those its name promises.
    #[error("blob {0} does not have the length or digest it should")]
    Blob(Digest),
    /// Told by whoever takes the bytes.
    #[error("the bytes could not be passed on")]
    Sink(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The two SQL files.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Section {
    /// What comes before the rows.
    PreData,
    /// What comes after them.
    PostData,
}

/// What the end of a file says, before anything is believed but the seal's own digest.
#[derive(Clone, Copy, Debug)]
pub struct Tail {
    /// Each copy of the seal.
    pub copies: [Result<Seal, SealError>; 2],
    /// Whether the file ends with two zero blocks.
    pub end_is_zero: bool,
    /// The header in front of the seal.
    pub header: [u8; BLOCK],
}

impl Tail {
    /// Reads the end of `file`.
    ///
    /// # Errors
    /// [`OpenError::NotAnArchive`] for a file too short; [`OpenError::Io`].
    pub fn read(file: &dyn ReadAt) -> Result<Self, OpenError> {
        let tail = u64::try_from(seal::TAIL).unwrap_or(u64::MAX);
        let start = file
            .len()
            .checked_sub(tail)
            .ok_or(OpenError::NotAnArchive("it is shorter than the shortest archive"))?;
        let mut header = [0; BLOCK];
        file.read_exact_at(&mut header, start)?;
        let mut copy = [[0; seal::COPY]; 2];
        let mut at = start + 512;
        for copy in &mut copy {
            file.read_exact_at(copy, at)?;
            at += 512;
        }
        let mut end = [0; 2 * BLOCK];
        file.read_exact_at(&mut end, at)?;
        let end_is_zero = end.iter().all(|byte| *byte == 0);
        Ok(Self { copies: copy.map(|copy| Seal::decode(&copy)), end_is_zero, header })
    }

    /// The seal, from whichever copy is whole.
    ///
    /// # Errors
    /// [`OpenError`] that says which of absent, too new and damaged it is.
    pub fn seal(&self) -> Result<Seal, OpenError> {
        match self.copies {
            [Ok(seal), _] | [_, Ok(seal)] => Ok(seal),
            [Err(SealError::Version(version)), _] | [_, Err(SealError::Version(version))] => {
                Err(OpenError::TooNew(format!("the seal has version {version}")))
            }
            [Err(SealError::Magic), Err(SealError::Magic)] => {
                Err(OpenError::NotAnArchive("no seal at its end"))
            }
            [Err(SealError::Magic), Err(error)] | [Err(error), _] => Err(OpenError::Seal(error)),
        }
    }
}

/// Reads and proves the manifest that the seal names.
///
/// # Errors
/// [`OpenError`] of the kinds about the manifest.
pub fn read_manifest(file: &dyn ReadAt, place: &Place) -> Result<Manifest, OpenError> {
    if place.length > MANIFEST {
        return Err(OpenError::Place("manifest"));
    }
    let bytes = read_place(file, place, "manifest")?;
    if Digest::of(&bytes) != place.digest {
        return Err(OpenError::Digest("manifest"));
    }
    parse_manifest(&bytes)
}

/// Reads a manifest, or a catalog, whose digest is right.
///
/// # Errors
/// [`OpenError::TooNew`], [`OpenError::Disagree`], or how it is malformed.
pub fn parse_manifest(bytes: &[u8]) -> Result<Manifest, OpenError> {
    // What it needs is read before the rest, which may have changed its shape.
    let needs: Needs = cbor::decode(bytes)?;
    if needs.format != Manifest::FORMAT {
        return Err(OpenError::Disagree("the manifest is not that of a pgark archive"));
    }
    if needs.version != 1 {
        return Err(OpenError::TooNew(format!("it has format {}", needs.version)));
    }
    if let Some(feature) = needs.features.iter().find(|f| !FEATURES.contains(&f.as_str())) {
        return Err(OpenError::TooNew(format!("it has the feature {feature:?}")));
    }
    Ok(cbor::decode(bytes)?)
}

#[derive(serde::Deserialize)]
struct Needs {
    format: String,
    version: u64,
    features: Vec<String>,
}

/// Reads and proves the index that the seal names. A long one is read once for its digest, and then
/// where something is looked up.
///
/// # Errors
/// [`OpenError`] of the kinds about the index.
pub fn read_index(file: &dyn ReadAt, place: &Place) -> Result<Index, OpenError> {
    let end = place.offset.checked_add(place.length);
    if end.is_none_or(|end| end > file.len()) {
        return Err(OpenError::Place("index"));
    }
    let bytes = match file.as_file() {
        Some(disk) if place.length > INDEX_IN_MEMORY => {
            check_digest(file, place)?;
            IndexBytes::Paged(Paged::of(disk, place.offset, place.length)?)
        }
        _ => {
            let bytes = read_place(file, place, "index")?;
            if Digest::of(&bytes) != place.digest {
                return Err(OpenError::Digest("index"));
            }
            IndexBytes::Owned(bytes)
        }
    };
    match Index::parse(bytes) {
        Err(IndexError::Version(version)) => {
            Err(OpenError::TooNew(format!("its index has version {version}")))
        }
        other => Ok(other?),
    }
}

fn check_digest(file: &dyn ReadAt, place: &Place) -> Result<(), OpenError> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    let mut left = place.length;
    while left > 0 {
        let now = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        let part = buffer.get_mut(..now).unwrap_or_default();
        file.read_exact_at(part, place.offset + (place.length - left))?;
        hash.update(&*part);
        left -= u64::try_from(now).unwrap_or(left);
    }
    if Digest(hash.finalize().into()) == place.digest {
        Ok(())
    } else {
        Err(OpenError::Digest("index"))
    }
}

fn read_place(file: &dyn ReadAt, place: &Place, what: &'static str) -> Result<Vec<u8>, OpenError> {
    let end = place.offset.checked_add(place.length);
    if end.is_none_or(|end| end > file.len()) {
        return Err(OpenError::Place(what));
    }
    let length = usize::try_from(place.length).map_err(|_| OpenError::Place(what))?;
    let mut bytes = vec![0; length];
    file.read_exact_at(&mut bytes, place.offset)?;
    Ok(bytes)
}

/// An archive whose seal, manifest and index are proven to be those that were written.
pub struct Archive {
    file: Arc<dyn ReadAt>,
    seal: Seal,
    manifest: Manifest,
    index: Index,
}

impl std::fmt::Debug for Archive {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Archive").field("seal", &self.seal).finish_non_exhaustive()
    }
}

impl Archive {
    /// Opens the archive at `path`.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        Self::open_on(path, &[])
    }

    /// The same, with files, or folders with files, that a thin archive may need. The folder of the
    /// archive is looked through in any case.
    ///
    /// # Errors
    /// [`OpenError::Base`] if a base is missing; see [`OpenError`].
    pub fn open_on(path: &Path, bases: &[PathBuf]) -> Result<Self, OpenError> {
        let archive = Self::from_file(super::thin::open(path, bases)?)?;
        super::thin::check(&*archive.file, &archive.manifest)?;
        Ok(archive)
    }

    /// Opens an archive from anything that can be read at an offset.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn from_file(file: Arc<dyn ReadAt>) -> Result<Self, OpenError> {
        let seal = Tail::read(&*file)?.seal()?;
        if seal.total != file.len() {
            return Err(OpenError::Length { actual: file.len(), sealed: seal.total });
        }
        let manifest = read_manifest(&*file, &seal.manifest)?;
        let index = read_index(&*file, &seal.index)?;
        if manifest.index != index.facts(seal.index.digest) {
            return Err(OpenError::Disagree("the index is not the one the manifest describes"));
        }
        if manifest.created != seal.created {
            return Err(OpenError::Disagree("manifest and seal have different creation times"));
        }
        Ok(Self { file, seal, manifest, index })
    }

    /// An archive from parts that were proven in another way, or made again.
    pub(crate) fn assembled(
        file: Arc<dyn ReadAt>,
        seal: Seal,
        manifest: Manifest,
        index: Index,
    ) -> Self {
        Self { file, seal, manifest, index }
    }

    /// The manifest.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The index.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// The seal.
    pub fn seal(&self) -> &Seal {
        &self.seal
    }

    /// The bytes.
    pub fn file(&self) -> &Arc<dyn ReadAt> {
        &self.file
    }

    /// One of the SQL files.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn schema_sql(&self, section: Section) -> Result<Vec<u8>, ReadError> {
        let wanted = match section {
            Section::PreData => EntryKind::PreData,
            Section::PostData => EntryKind::PostData,
        };
        for number in 0..self.manifest.index.entries {
            let entry = self.index.entry(number)?;
            if entry.kind == wanted {
                let bytes = read_entry(&*self.file, &entry, self.seal.created, SCHEMA_SQL)?;
                let matches = Digest::of(&bytes) == entry.digest;
                return if matches { Ok(bytes) } else { Err(ReadError::Digest(entry.name())) };
            }
        }
        Err(IndexError::Record { section: "entries", number: 0 }.into())
    }

    /// The rows of the segment with this number, counted over all tables.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn segment(&self, number: u64) -> Result<Vec<u8>, ReadError> {
        let record = self.index.segment(number)?;
        let entry = self.index.entry(u64::from(record.entry))?;
        if entry.kind != EntryKind::Segment {
            return Err(IndexError::Record { section: "segments", number }.into());
        }
        let (head, raw) = read_object(&*self.file, &entry, self.seal.created)?;
        let problem = |problem| ReadError::Object { entry: entry.name(), problem };
        object::check_chunks(&head, &raw).map_err(problem)?;
        Ok(raw)
    }

    /// Gives a blob's bytes to `out`, piece by piece, each checked before it is given. The digest
    /// of the whole is checked too: only when this returns are the pieces together the blob.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn blob(
        &self,
        blob: BlobRef,
        cache: &mut PackCache,
        out: &mut dyn FnMut(&[u8]) -> Result<(), ReadError>,
    ) -> Result<(), ReadError> {
        let Some((_, record)) = self.index.find_blob(&blob.digest) else {
            let (_, chunk) =
                self.index.find_chunk(&blob.digest).ok_or(ReadError::NoBlob(blob.digest))?;
            if u64::from(chunk.length) != blob.length {
                return Err(ReadError::Blob(blob.digest));
            }
            return self.chunk(&chunk, cache, out);
        };
        if record.length != blob.length {
            return Err(ReadError::Blob(blob.digest));
        }
        let mut whole = Sha256::new();
        let mut length = 0_u64;
        for place in 0..u64::from(record.count) {
            let number = self.index.blob_chunk(record.first.saturating_add(place))?;
            let chunk = self.index.chunk(number)?;
            length += u64::from(chunk.length);
            if length > blob.length {
                return Err(ReadError::Blob(blob.digest));
            }
            self.chunk(&chunk, cache, &mut |bytes| {
                whole.update(bytes);
                out(bytes)
            })?;
        }
        if length == blob.length && Digest(whole.finalize().into()) == blob.digest {
            Ok(())
        } else {
            Err(ReadError::Blob(blob.digest))
        }
    }

    /// A piece of a blob, counted from 0; None past the last. That the pieces together are the blob
    /// is the caller's to check.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn blob_piece(
        &self,
        blob: &BlobRef,
        place: u64,
        cache: &mut PackCache,
    ) -> Result<Option<Vec<u8>>, ReadError> {
        let number = match self.index.find_blob(&blob.digest) {
            Some((_, record)) if place < u64::from(record.count) => {
                self.index.blob_chunk(record.first.saturating_add(place))?
            }
            None if place == 0 => {
                let found = self.index.find_chunk(&blob.digest);
                found.ok_or(ReadError::NoBlob(blob.digest))?.0
            }
            _ => return Ok(None),
        };
        let mut piece = Vec::new();
        self.chunk(&self.index.chunk(number)?, cache, &mut |bytes| {
            piece.extend_from_slice(bytes);
            Ok(())
        })?;
        Ok(Some(piece))
    }

    fn chunk(
        &self,
        chunk: &ChunkRecord,
        cache: &mut PackCache,
        out: &mut dyn FnMut(&[u8]) -> Result<(), ReadError>,
    ) -> Result<(), ReadError> {
        let raw = cache.pack(self, chunk.entry)?;
        let bytes = usize::try_from(chunk.offset)
            .ok()
            .and_then(|from| raw.get(from..))
            .zip(usize::try_from(chunk.length).ok())
            .and_then(|(rest, length)| rest.get(..length))
            .filter(|bytes| Digest::of(bytes) == chunk.digest)
            .ok_or_else(|| ReadError::Object {
                entry: chunk.entry.to_string(),
                problem: ObjectError::Chunk { number: 0, digest: chunk.digest },
            })?;
        out(bytes)
    }
}

/// Packs that were unpacked lately: rows come in the order their blobs were stored in.
#[derive(Debug, Default)]
pub struct PackCache {
    packs: VecDeque<(u32, Arc<Vec<u8>>)>,
    reads: Option<ReadPack>,
}

/// Gives the raw bytes of a pack.
pub type ReadPack = fn(&dyn ReadAt, &EntryRecord) -> Result<Vec<u8>, ReadError>;

impl PackCache {
    /// One that gets its packs from `reads`, which may give wrong bytes: chunks are checked anyway.
    pub fn reading_with(reads: ReadPack) -> Self {
        Self { packs: VecDeque::new(), reads: Some(reads) }
    }

    fn pack(&mut self, archive: &Archive, entry: u32) -> Result<Arc<Vec<u8>>, ReadError> {
        if let Some(at) = self.packs.iter().position(|(number, _)| *number == entry) {
            if let Some(hit) = self.packs.remove(at) {
                self.packs.push_front(hit);
            }
        } else {
            let record = archive.index.entry(u64::from(entry))?;
            if record.kind != EntryKind::Pack {
                let number = u64::from(entry);
                return Err(IndexError::Record { section: "chunks", number }.into());
            }
            let raw = match self.reads {
                Some(reads) => reads(&*archive.file, &record)?,
                None => read_object(&*archive.file, &record, archive.seal.created)?.1,
            };
            self.packs.push_front((entry, Arc::new(raw)));
            let held = |packs: &VecDeque<(u32, Arc<Vec<u8>>)>| {
                packs.iter().map(|(_, raw)| raw.len()).sum::<usize>()
            };
            while self.packs.len() > 1 && held(&self.packs) > CACHE {
                self.packs.pop_back();
            }
        }
        let front = self.packs.front().map(|(_, raw)| Arc::clone(raw));
        front.ok_or_else(|| IndexError::Record { section: "chunks", number: 0 }.into())
    }
}
