//! The head of a parity block: all that mending a window needs to know.

use super::{CODE_MAX, Checksum, DATA_MAX, Layout, Protection};
use crate::format::digest::Digest;

/// What a head begins with.
pub const MAGIC: &[u8; 16] = b"PGARK PARITY\r\n\x1a\n";
/// Its bytes before the checksums.
pub const FIXED: usize = 128;
const VERSION: u32 = 1;

/// What a block protects.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// A window before the index; the block is an entry of its own.
    Window,
    /// A part of the tail; the block is one of so many in `parity/tail.rs`.
    Tail {
        /// How many blocks the entry has.
        of: u32,
    },
}

/// The head, twice in each block.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Head {
    /// What is protected.
    pub kind: Kind,
    /// The entry's number; of a part of the tail, which part, from 0.
    pub number: u32,
    /// The creation second, as in every header.
    pub created: u64,
    /// Offset of the block in the file.
    pub position: u64,
    /// Where the window begins in the file.
    pub start: u64,
    /// Its length.
    pub length: u64,
    /// How the writer was told to protect: another block can be made again from it.
    pub protection: Protection,
    /// One for each shard of data, then one for each parity shard.
    pub checksums: Vec<Checksum>,
}

/// Why bytes are not a head.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HeadError {
    /// No magic.
    #[error("it does not begin as a parity block does")]
    Magic,
    /// A later version.
    #[error("it has version {0}; this pgark reads version 1")]
    Version(u32),
    /// Its digest is wrong, or it is cut off.
    #[error("its digest does not match")]
    Digest,
    /// A number is out of bounds, or does not fit the others.
    #[error("its fields do not go together")]
    Fields,
}

impl Head {
    /// How the window is cut.
    pub fn layout(&self) -> Layout {
        self.protection.layout(self.length)
    }

    /// The length of one copy.
    pub fn bytes(&self) -> u64 {
        encoded_length(&self.layout())
    }

    /// The length of the whole block: the head twice, and the parity shards.
    pub fn block_bytes(&self) -> u64 {
        let layout = self.layout();
        2 * self.bytes() + u64::from(layout.parity) * u64::from(layout.shard)
    }

    /// Where the window ends in the file.
    pub fn end(&self) -> u64 {
        self.start.saturating_add(self.length)
    }

    /// One copy as bytes, a multiple of 512.
    pub fn encode(&self) -> Vec<u8> {
        let length = usize::try_from(self.bytes()).unwrap_or(0);
        let mut out = Vec::with_capacity(length);
        out.extend_from_slice(MAGIC);
        let (kind, of) = match self.kind {
            Kind::Window => (0, 0),
            Kind::Tail { of } => (1, of),
        };
        for word in [VERSION, kind, self.number, of] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        for word in [self.created, self.position, self.start, self.length] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        let (layout, protection) = (self.layout(), self.protection);
        let words = [layout.shard, layout.data, layout.parity, protection.code()];
        for word in words.into_iter().chain([protection.share, protection.shard, protection.window])
        {
            out.extend_from_slice(&word.to_le_bytes());
        }
        out.resize(FIXED, 0);
        out.extend(self.checksums.iter().flatten());
        out.resize(length.saturating_sub(32), 0);
        let digest = Digest::of(&out);
        out.extend_from_slice(&digest.0);
        out
    }

    /// The length of the head that begins with these bytes, once it is known to be in bounds.
    ///
    /// # Errors
    /// [`HeadError`].
    pub fn length(fixed: &[u8; FIXED]) -> Result<usize, HeadError> {
        let (_, layout) = parse(fixed)?;
        usize::try_from(encoded_length(&layout)).map_err(|_| HeadError::Fields)
    }

    /// Reads a head of the length that [`Head::length`] gave.
    ///
    /// # Errors
    /// [`HeadError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, HeadError> {
        let fixed = bytes.first_chunk::<FIXED>().ok_or(HeadError::Digest)?;
        let (mut head, layout) = parse(fixed)?;
        if u64::try_from(bytes.len()) != Ok(encoded_length(&layout)) {
            return Err(HeadError::Fields);
        }
        let (body, digest) = bytes.split_last_chunk::<32>().ok_or(HeadError::Digest)?;
        if Digest::of(body).0 != *digest {
            return Err(HeadError::Digest);
        }
        let count = usize::try_from(layout.data + layout.parity).map_err(|_| HeadError::Fields)?;
        let (checksums, _) = body.get(FIXED..).unwrap_or_default().as_chunks::<8>();
        head.checksums = checksums.get(..count).ok_or(HeadError::Fields)?.to_vec();
        // There is one way to write a head: reserved bytes, padding and the layout are part of it.
        if head.encode() == bytes { Ok(head) } else { Err(HeadError::Fields) }
    }
}

fn encoded_length(layout: &Layout) -> u64 {
    let checksums = 8 * (u64::from(layout.data) + u64::from(layout.parity));
    (128 + checksums + 32).next_multiple_of(512)
}

fn parse(fixed: &[u8; FIXED]) -> Result<(Head, Layout), HeadError> {
    let rest = fixed.strip_prefix(MAGIC).ok_or(HeadError::Magic)?;
    let (words, rest) = rest.split_at_checked(16).ok_or(HeadError::Magic)?;
    let [version, kind, number, of] = narrow::<4>(words);
    if version != VERSION {
        return Err(HeadError::Version(version));
    }
    let (longs, rest) = rest.split_at_checked(32).ok_or(HeadError::Fields)?;
    let (longs, _) = longs.as_chunks::<8>();
    let mut wide = [0; 4];
    for (to, from) in wide.iter_mut().zip(longs) {
        *to = u64::from_le_bytes(*from);
    }
    let [created, position, start, length] = wide;
    let [shard, data, parity, code_size, of_1024, largest, window] = narrow::<7>(rest);
    let kind = match kind {
        0 => Kind::Window,
        1 => Kind::Tail { of },
        _ => return Err(HeadError::Fields),
    };
    let protection = Protection { share: of_1024, shard: largest, window };
    if !protection.is_valid() || length == 0 || length > protection.window_bytes() {
        return Err(HeadError::Fields);
    }
    let layout = protection.layout(length);
    let wanted = Layout { shard, data, parity };
    // Between them is at least the header of the block's entry.
    let ends = start
        .checked_add(length)
        .and_then(|end| end.checked_add(512))
        .filter(|end| *end <= position);
    if layout != wanted || data > DATA_MAX || code_size > CODE_MAX || ends.is_none() {
        return Err(HeadError::Fields);
    }
    // Far beyond any disk: so that sums of places cannot overflow.
    if position > 1 << 60 {
        return Err(HeadError::Fields);
    }
    let checksums = Vec::new();
    let head = Head { kind, number, created, position, start, length, protection, checksums };
    Ok((head, layout))
}

fn narrow<const N: usize>(bytes: &[u8]) -> [u32; N] {
    let mut out = [0; N];
    let (words, _) = bytes.as_chunks::<4>();
    for (to, from) in out.iter_mut().zip(words) {
        *to = u32::from_le_bytes(*from);
    }
    out
}
