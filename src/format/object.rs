//! Objects: packs and segments (spec section 8). A head that names everything in it, in a zstd
//! skippable frame, then the body as one zstd frame, so that `zstd -d` gives the raw bytes.

use std::io::IoSlice;

use super::digest::Digest;
use super::limits::{
    CHUNK, PACK_CHUNKS, PACK_RAW, SEGMENT_BLOB_CHUNKS, SEGMENT_BLOBS, SEGMENT_RAW,
};
use super::manifest::Name;
use super::raw;
use super::ustar::EntryKind;

const SKIPPABLE: [u8; 4] = 0x184D_2A5B_u32.to_le_bytes();
const MAGIC: &[u8; 8] = b"PGARKOB1";
/// The head's bytes before the chunk table.
pub const HEAD_FIXED: usize = 88;
/// A chunk's record in the table.
pub const CHUNK_RECORD: usize = 36;
/// Bytes of a digest.
const DIGEST: usize = 32;
/// What is before the chunks of a blob in a segment's head.
pub const BLOB_RECORD: usize = 44;
/// The longest head: the limits of its parts are those of packs and of segments.
pub const HEAD_MAX: u64 = 64 << 20;
/// The longest label: two names of at most 255 bytes and the zero between them.
pub const LABEL: usize = 511;

/// How a body is written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Body {
    /// A zstd frame of raw blocks: [`super::raw`].
    Raw,
    /// Any single zstd frame; its digest is in the head.
    Zstd(Digest),
}

/// A chunk of a pack, or the whole of a segment's rows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Chunk {
    /// SHA-256 of its bytes.
    pub digest: Digest,
    /// Its length.
    pub length: u32,
}

/// A blob of many chunks that a segment's rows refer to. The index has the same; here it is found
/// when the index is lost.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BlobList {
    /// SHA-256 of the whole blob.
    pub digest: Digest,
    /// Its length.
    pub length: u64,
    /// Its chunks in order: two or more.
    pub chunks: Vec<Digest>,
}

/// The head: all that is known of an object without decoding it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Head {
    /// [`EntryKind::Pack`] or [`EntryKind::Segment`].
    pub kind: EntryKind,
    /// How the body is written.
    pub body: Body,
    /// Length of the body as stored.
    pub body_length: u64,
    /// Length of what it decodes to: the sum of the chunks.
    pub raw_length: u64,
    /// Rows of a segment; 0 for a pack.
    pub rows: u64,
    /// The chunks in order. A segment has one: its row text.
    pub chunks: Vec<Chunk>,
    /// A segment's table, as schema, zero byte, name; empty names for large objects. Packs: empty.
    pub label: Vec<u8>,
    /// The blobs of many chunks that a segment's rows refer to, strictly increasing by digest.
    /// Packs: none.
    pub blobs: Vec<BlobList>,
}

/// Why bytes are not an object.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ObjectError {
    /// The head does not parse.
    #[error("its head is damaged: {0}")]
    Head(&'static str),
    /// The head is not the one the name promises.
    #[error("its head does not have the digest that is its name")]
    Name,
    /// The stored bytes are not those written.
    #[error("its compressed bytes do not match their digest")]
    Body,
    /// The framing of raw blocks is not the one there is.
    #[error("its raw framing differs from the one form there is")]
    Framing,
    /// zstd cannot read it, or it has another length than the head says.
    #[error("it does not decompress to the {0} bytes its head promises")]
    Decode(u64),
    /// A chunk's bytes are not those its digest names.
    #[error("chunk {number} ({digest}) does not match its digest")]
    Chunk {
        /// Its position in the object, from 0.
        number: usize,
        /// The digest it should have.
        digest: Digest,
    },
}

/// A segment's label.
pub fn label(table: Option<&Name>) -> Vec<u8> {
    let (schema, name) = table.map_or(("", ""), |table| (&table.schema, &table.name));
    [schema.as_bytes(), &[0], name.as_bytes()].concat()
}

impl Head {
    /// The head as bytes, the skippable frame's header included.
    pub fn encode(&self) -> Vec<u8> {
        let (code, digest) = match self.body {
            Body::Raw => (0_u8, Digest::default()),
            Body::Zstd(digest) => (1, digest),
        };
        let chunks_of_blobs: usize = self.blobs.iter().map(|blob| blob.chunks.len()).sum();
        let length = HEAD_FIXED
            + CHUNK_RECORD * self.chunks.len()
            + self.label.len()
            + BLOB_RECORD * self.blobs.len()
            + DIGEST * chunks_of_blobs;
        let mut out = Vec::with_capacity(length);
        out.extend_from_slice(&SKIPPABLE);
        out.extend_from_slice(&u32::try_from(length - 8).unwrap_or(u32::MAX).to_le_bytes());
        out.extend_from_slice(MAGIC);
        out.push(u8::try_from(self.kind.code()).unwrap_or(u8::MAX));
        out.push(code);
        let label = u16::try_from(self.label.len()).unwrap_or(u16::MAX);
        out.extend_from_slice(&label.to_le_bytes());
        let count = u32::try_from(self.chunks.len()).unwrap_or(u32::MAX);
        out.extend_from_slice(&count.to_le_bytes());
        out.extend_from_slice(&self.raw_length.to_le_bytes());
        out.extend_from_slice(&self.body_length.to_le_bytes());
        out.extend_from_slice(&self.rows.to_le_bytes());
        out.extend_from_slice(&digest.0);
        for number in [self.blobs.len(), chunks_of_blobs] {
            out.extend_from_slice(&u32::try_from(number).unwrap_or(u32::MAX).to_le_bytes());
        }
        for chunk in &self.chunks {
            out.extend_from_slice(&chunk.digest.0);
            out.extend_from_slice(&chunk.length.to_le_bytes());
        }
        out.extend_from_slice(&self.label);
        for blob in &self.blobs {
            out.extend_from_slice(&blob.digest.0);
            out.extend_from_slice(&blob.length.to_le_bytes());
            let count = u32::try_from(blob.chunks.len()).unwrap_or(u32::MAX);
            out.extend_from_slice(&count.to_le_bytes());
        }
        for digest in self.blobs.iter().flat_map(|blob| &blob.chunks) {
            out.extend_from_slice(&digest.0);
        }
        out
    }

    /// How long the head is that begins with these [`HEAD_FIXED`] bytes, once it is known to be
    /// within bounds: so nothing larger is ever read.
    ///
    /// # Errors
    /// [`ObjectError::Head`].
    pub fn length(fixed: &[u8; HEAD_FIXED]) -> Result<usize, ObjectError> {
        let wrong = ObjectError::Head;
        let mut at = Fields(fixed);
        if at.take::<4>() != SKIPPABLE {
            return Err(wrong("no skippable frame"));
        }
        let payload = u32::from_le_bytes(at.take());
        if at.take::<8>() != *MAGIC {
            return Err(wrong("no magic"));
        }
        let [_, _, label_low, label_high] = at.take();
        let label = usize::from(u16::from_le_bytes([label_low, label_high]));
        let count = u32::from_le_bytes(at.take());
        if count > PACK_CHUNKS || label > LABEL {
            return Err(wrong("more chunks or a longer label than the limits allow"));
        }
        let _: [u8; 24 + DIGEST] = at.take();
        let (blobs, of_blobs) = (u32::from_le_bytes(at.take()), u32::from_le_bytes(at.take()));
        if blobs > SEGMENT_BLOBS || of_blobs > SEGMENT_BLOB_CHUNKS {
            return Err(wrong("more blobs of many chunks than the limits allow"));
        }
        let number = |n: u32| usize::try_from(n).map_err(|_| wrong("longer than memory"));
        let length = HEAD_FIXED
            + CHUNK_RECORD * number(count)?
            + label
            + BLOB_RECORD * number(blobs)?
            + DIGEST * number(of_blobs)?;
        if u32::try_from(length - 8) != Ok(payload) {
            return Err(wrong("its length does not fit its chunks"));
        }
        Ok(length)
    }

    /// Reads a whole head, of the length that [`Head::length`] gave.
    ///
    /// # Errors
    /// [`ObjectError::Head`].
    pub fn decode(bytes: &[u8]) -> Result<Self, ObjectError> {
        let wrong = ObjectError::Head;
        let fixed = bytes.first_chunk::<HEAD_FIXED>().ok_or(wrong("cut off"))?;
        if Self::length(fixed)? != bytes.len() {
            return Err(wrong("another length than it says"));
        }
        let mut at = Fields(bytes);
        let _: [u8; 16] = at.take();
        let [kind, body, label_low, label_high] = at.take();
        let Some(kind @ (EntryKind::Pack | EntryKind::Segment)) =
            EntryKind::from_code(u16::from(kind))
        else {
            return Err(wrong("neither a pack nor a segment"));
        };
        let count = u32::from_le_bytes(at.take());
        let raw_length = u64::from_le_bytes(at.take());
        let body_length = u64::from_le_bytes(at.take());
        let rows = u64::from_le_bytes(at.take());
        let digest = Digest(at.take());
        let body = match body {
            0 if digest == Digest::default() => Body::Raw,
            1 => Body::Zstd(digest),
            _ => return Err(wrong("an unknown way to store the body")),
        };
        let (blob_count, of_blobs) = (u32::from_le_bytes(at.take()), u32::from_le_bytes(at.take()));
        let chunk = |_| Chunk { digest: Digest(at.take()), length: u32::from_le_bytes(at.take()) };
        let chunks: Vec<Chunk> = (0..count).map(chunk).collect();
        let label_length = usize::from(u16::from_le_bytes([label_low, label_high]));
        let (label, rest) = at.0.split_at_checked(label_length).unwrap_or_default();
        let blobs = blob_lists(rest, blob_count, of_blobs)?;
        let label = label.to_vec();
        let head = Self { kind, body, body_length, raw_length, rows, chunks, label, blobs };
        head.check()?;
        Ok(head)
    }

    fn check(&self) -> Result<(), ObjectError> {
        let wrong = ObjectError::Head;
        let sum: u64 = self.chunks.iter().map(|chunk| u64::from(chunk.length)).sum();
        if sum != self.raw_length {
            return Err(wrong("its chunks do not add up to its length"));
        }
        let limit = match self.kind {
            EntryKind::Pack => PACK_RAW,
            _ => SEGMENT_RAW,
        };
        if sum > limit {
            return Err(wrong("longer than the limits allow"));
        }
        if self.chunks.iter().any(|chunk| chunk.length == 0) {
            return Err(wrong("an empty chunk"));
        }
        let pack = self.kind == EntryKind::Pack;
        if pack && self.chunks.iter().any(|chunk| chunk.length > CHUNK) {
            return Err(wrong("a chunk longer than the limits allow"));
        }
        let label_zeros = self.label.split(|byte| *byte == 0).count() - 1;
        let fits = match self.kind {
            EntryKind::Pack => {
                let lists = self.label.is_empty() && self.blobs.is_empty();
                self.rows == 0 && lists && !self.chunks.is_empty()
            }
            _ => self.rows != 0 && label_zeros == 1 && self.chunks.len() == 1,
        };
        if !fits {
            return Err(wrong("fields that do not go together"));
        }
        match self.body {
            Body::Raw if self.body_length != raw::body_length(self.raw_length) => {
                Err(wrong("a raw body of another length than its chunks make"))
            }
            // A body is compressed only where that makes it shorter.
            Body::Zstd(_) if self.body_length >= raw::body_length(self.raw_length) => {
                Err(wrong("a compressed body longer than a raw one"))
            }
            _ => Ok(()),
        }
    }
}

/// The records of all blobs, then their chunks.
fn blob_lists(bytes: &[u8], count: u32, of_all: u32) -> Result<Vec<BlobList>, ObjectError> {
    let wrong = ObjectError::Head;
    let mut at = Fields(bytes);
    let record = |_| {
        let (digest, length) = (Digest(at.take()), u64::from_le_bytes(at.take()));
        (digest, length, u32::from_le_bytes(at.take()))
    };
    let records: Vec<(Digest, u64, u32)> = (0..count).map(record).collect();
    let sum: u64 = records.iter().map(|(.., count)| u64::from(*count)).sum();
    if sum != u64::from(of_all) || records.iter().any(|(.., count)| *count < 2) {
        return Err(wrong("its blobs do not have the chunks that it counts"));
    }
    if !records.is_sorted_by(|(one, ..), (other, ..)| one < other) {
        return Err(wrong("its blobs are not in order"));
    }
    let list = |(digest, length, count)| {
        let chunks = (0..count).map(|_| Digest(at.take())).collect();
        BlobList { digest, length, chunks }
    };
    Ok(records.into_iter().map(list).collect())
}

struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    /// The next bytes; zeros past the end, which the checks above make impossible.
    fn take<const N: usize>(&mut self) -> [u8; N] {
        match self.0.split_first_chunk::<N>() {
            Some((head, rest)) => {
                self.0 = rest;
                *head
            }
            None => [0; N],
        }
    }
}

/// The raw bytes of a body whose head is trusted. Compressed bytes are held against their digest
/// first; chunks are the caller's to check.
///
/// # Errors
/// [`ObjectError::Body`], [`ObjectError::Framing`] or [`ObjectError::Decode`].
pub fn decode_body(head: &Head, body: &[u8]) -> Result<Vec<u8>, ObjectError> {
    match head.body {
        Body::Raw => raw::strip(body, head.raw_length).ok_or(ObjectError::Framing),
        Body::Zstd(digest) if Digest::of(body) != digest => Err(ObjectError::Body),
        Body::Zstd(_) => decompress(body, head.raw_length),
    }
}

/// As much of the raw bytes as comes out of a damaged body, from their beginning on. Which chunks of
/// them are right is the caller's to check.
pub fn decode_what_is_there(head: &Head, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    match head.body {
        Body::Raw => raw::strip_what_is_there(body, &mut out),
        Body::Zstd(_) => {
            // What comes out before the decoder stops at damage.
            if let Ok(mut decoder) = zstd::stream::read::Decoder::with_buffer(body)
                && decoder.window_log_max(27).is_ok()
            {
                let mut within = std::io::Read::take(decoder, head.raw_length);
                _ = std::io::Read::read_to_end(&mut within, &mut out);
            }
        }
    }
    out
}

/// Decompresses within the length the head promises, however much the frame would give. Memory
/// grows with what comes out, not with what was promised.
fn decompress(body: &[u8], raw: u64) -> Result<Vec<u8>, ObjectError> {
    use std::io::Read;
    let failed = || ObjectError::Decode(raw);
    let frame = zstd::zstd_safe::find_frame_compressed_size(body).map_err(|_| failed())?;
    if frame != body.len() {
        return Err(failed());
    }
    let length = usize::try_from(raw).map_err(|_| failed())?;
    let mut out = Vec::with_capacity(length.min(8 << 20));
    let mut decoder = zstd::stream::read::Decoder::with_buffer(body).map_err(|_| failed())?;
    decoder.window_log_max(27).map_err(|_| failed())?;
    decoder.by_ref().take(raw.saturating_add(1)).read_to_end(&mut out).map_err(|_| failed())?;
    if out.len() == length { Ok(out) } else { Err(failed()) }
}

/// Holds every chunk of `raw` against its digest.
///
/// # Errors
/// [`ObjectError::Chunk`] for the first that differs.
pub fn check_chunks(head: &Head, raw: &[u8]) -> Result<(), ObjectError> {
    let mut rest = raw;
    for (number, chunk) in head.chunks.iter().enumerate() {
        let wrong = ObjectError::Chunk { number, digest: chunk.digest };
        let length = usize::try_from(chunk.length).map_err(|_| wrong.clone())?;
        let (bytes, after) = rest.split_at_checked(length).ok_or(wrong.clone())?;
        if Digest::of(bytes) != chunk.digest {
            return Err(wrong);
        }
        rest = after;
    }
    Ok(())
}

/// What goes into an object's head beside its bytes.
#[derive(Clone, Debug)]
pub struct Contents {
    /// [`EntryKind::Pack`] or [`EntryKind::Segment`].
    pub kind: EntryKind,
    /// The chunks that `raw` is made of, in order.
    pub chunks: Vec<Chunk>,
    /// Rows of a segment, 0 for a pack.
    pub rows: u64,
    /// A segment's [`label`], empty for a pack.
    pub label: Vec<u8>,
    /// A segment's blobs of many chunks, by digest; empty for a pack.
    pub blobs: Vec<BlobList>,
}

/// An object on its way into a file.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// The digest of the head: its name.
    pub name: Digest,
    /// The head, and a compressed body.
    bytes: Vec<u8>,
    /// What is stored as it is.
    raw: Option<Vec<u8>>,
}

impl Encoded {
    /// Bytes of the entry.
    pub fn length(&self) -> u64 {
        let body = self.raw.as_ref().map_or(0, |raw| raw::body_length(long(raw)));
        long(&self.bytes).saturating_add(body)
    }

    /// Gives the entry's bytes to `write`, in pieces that follow each other.
    pub fn write_to<T>(&self, write: impl FnOnce(&mut [IoSlice<'_>]) -> T) -> T {
        let frame = self.raw.as_ref().map(|raw| raw::Frame::new(raw));
        let mut pieces = vec![IoSlice::new(&self.bytes)];
        pieces.extend(frame.iter().flat_map(raw::Frame::pieces).map(IoSlice::new));
        write(&mut pieces)
    }

    /// The entry's bytes.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write_to(|pieces| pieces.iter().for_each(|piece| out.extend_from_slice(piece)));
        out
    }
}

fn long(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// Encodes an object. With a `level` it is compressed, and stored so where that is shorter; without
/// one it is stored as it is.
pub fn encode(contents: Contents, raw: Vec<u8>, level: Option<i32>) -> Encoded {
    let raw_length = long(&raw);
    let stored = raw::body_length(raw_length);
    let packed = level
        .and_then(|level| zstd::bulk::compress(&raw, level).ok())
        .filter(|packed| long(packed) < stored);
    let (body, body_length) = match &packed {
        Some(packed) => (Body::Zstd(Digest::of(packed)), long(packed)),
        None => (Body::Raw, stored),
    };
    let Contents { kind, chunks, rows, label, blobs } = contents;
    let head = Head { kind, body, body_length, raw_length, rows, chunks, label, blobs };
    let mut bytes = head.encode();
    let name = Digest::of(&bytes);
    let raw = match packed {
        Some(packed) => {
            bytes.extend_from_slice(&packed);
            None
        }
        None => Some(raw),
    };
    Encoded { name, bytes, raw }
}

#[cfg(test)]
mod tests {
    //! An object that zstd cannot read by hand, or that two different bodies can wear the name of,
    //! breaks the promise of the format.
    use super::*;

    fn pack(raw: &[u8], level: Option<i32>) -> (Digest, Vec<u8>) {
        let chunk = Chunk { digest: Digest::of(raw), length: u32::try_from(raw.len()).unwrap() };
        let contents = Contents {
            kind: EntryKind::Pack,
            chunks: vec![chunk],
            rows: 0,
            label: Vec::new(),
            blobs: Vec::new(),
        };
        let encoded = encode(contents, raw.to_vec(), level);
        let bytes = encoded.to_vec();
        assert_eq!(encoded.length(), bytes.len() as u64);
        (encoded.name, bytes)
    }

    #[test]
    fn zstd_reads_both_kinds() {
        for length in [1, raw::BLOCK - 1, raw::BLOCK, raw::BLOCK + 1, 3 * raw::BLOCK] {
            let raw: Vec<u8> = (0..length).map(|n| u8::try_from(n * 7919 % 251).unwrap()).collect();
            for level in [None, Some(3)] {
                let (name, bytes) = pack(&raw, level);
                assert_eq!(zstd::decode_all(&bytes[..]).unwrap(), raw);
                let head_length = Head::length(bytes.first_chunk().unwrap()).unwrap();
                let (head, body) = bytes.split_at(head_length);
                assert_eq!(Digest::of(head), name);
                let head = Head::decode(head).unwrap();
                assert_eq!(head.body_length, body.len() as u64);
                assert_eq!(decode_body(&head, body).unwrap(), raw);
                check_chunks(&head, &raw).unwrap();
                if level.is_none() {
                    let at = usize::try_from(raw::position(length as u64 - 1)).unwrap();
                    assert_eq!(body[at], raw[length - 1]);
                }
            }
        }
    }

    #[test]
    fn no_byte_of_an_object_is_free() {
        for level in [None, Some(3)] {
            let (name, bytes) = pack(&[b'a'; 300], level);
            let length = Head::length(bytes.first_chunk().unwrap()).unwrap();
            for at in 0..bytes.len() {
                let mut bad = bytes.clone();
                bad[at] ^= 1;
                let (head, body) = bad.split_at(length);
                let seen = Digest::of(head) != name
                    || Head::decode(head).is_ok_and(|head| {
                        decode_body(&head, body).and_then(|raw| check_chunks(&head, &raw)).is_err()
                    });
                assert!(seen, "byte {at}");
            }
        }
    }

    #[test]
    fn blobs_of_a_segment() {
        let list = |byte: u8, chunks: &[u8]| BlobList {
            digest: Digest([byte; 32]),
            length: 70_000,
            chunks: chunks.iter().map(|byte| Digest([*byte; 32])).collect(),
        };
        let contents = |blobs| {
            let chunks = vec![Chunk { digest: Digest::of(b"row\n"), length: 4 }];
            Contents { kind: EntryKind::Segment, chunks, rows: 1, label: vec![0], blobs }
        };
        let decoded = |blobs| {
            let bytes = encode(contents(blobs), b"row\n".to_vec(), None).to_vec();
            let length = Head::length(bytes.first_chunk().unwrap())?;
            Head::decode(&bytes[..length])
        };
        let two = vec![list(1, &[7, 8]), list(2, &[8, 8, 9])];
        assert_eq!(decoded(two.clone()).unwrap().blobs, two);
        for wrong in [vec![list(1, &[7])], vec![list(2, &[7, 8]), list(1, &[7, 8])]] {
            assert!(matches!(decoded(wrong), Err(ObjectError::Head(_))));
        }
        let mut pack = contents(two);
        pack.kind = EntryKind::Pack;
        (pack.rows, pack.label) = (0, Vec::new());
        let bytes = encode(pack, b"row\n".to_vec(), None).to_vec();
        let length = Head::length(bytes.first_chunk().unwrap()).unwrap();
        assert!(matches!(Head::decode(&bytes[..length]), Err(ObjectError::Head(_))));
    }

    #[test]
    fn a_bomb_stops_at_what_the_head_says() {
        let body = zstd::bulk::compress(&vec![0; 64 << 20], 1).unwrap();
        assert_eq!(decompress(&body, 1000), Err(ObjectError::Decode(1000)));
    }
}
