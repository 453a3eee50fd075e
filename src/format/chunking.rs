//! How a writer cuts blobs into chunks and rows into segments. Policy, not format: a reader takes
//! any cut (spec section 8.4). It depends on the bytes alone, so that the same data is cut the
//! same way tomorrow.

use fastcdc::v2020::FastCDC;

use super::digest::Digest;

/// Blobs up to this length are one chunk.
pub const WHOLE: usize = 64 << 10;
const MIN: usize = 32 << 10;
const AVERAGE: usize = 128 << 10;
/// The longest chunk of a larger one.
pub const MAX: usize = 512 << 10;

/// The length of the first chunk of `blob`, the bytes not yet cut. Unless they end the blob, there
/// must be at least [`MAX`] of them.
pub fn first_chunk(rest: &[u8], whole: bool) -> usize {
    if whole && rest.len() <= WHOLE {
        return rest.len();
    }
    let cut = FastCDC::new(rest, MIN, AVERAGE, MAX).next();
    cut.map_or(rest.len(), |chunk| chunk.length.clamp(1, rest.len().max(1)))
}

/// Whether a chunk is of a kind that compression does not make smaller: by its first bytes where
/// they name an image or archive format, else by trying a sample.
pub fn incompressible(blob_start: &[u8], chunk: &[u8]) -> bool {
    const MAGICS: [&[u8]; 9] = [
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff",
        b"GIF8",
        b"PK\x03\x04",
        b"\x1f\x8b",
        b"\x28\xb5\x2f\xfd",
        b"7z\xbc\xaf",
        b"OggS",
        b"\0\0\0\x20ftyp",
    ];
    let webp = blob_start.starts_with(b"RIFF") && blob_start.get(8..12) == Some(b"WEBP");
    if webp || MAGICS.iter().any(|magic| blob_start.starts_with(magic)) {
        return true;
    }
    let sample = chunk.get(..chunk.len().min(8 << 10)).unwrap_or(chunk);
    zstd::bulk::compress(sample, 1).is_ok_and(|small| small.len() * 20 > sample.len() * 19)
}

/// A segment is not cut before it has this weight, but for the end of its table.
pub const SEGMENT_MIN: usize = 256 << 10;
/// It is cut before a row that would take it past this.
pub const SEGMENT_MAX: usize = 4 << 20;
const SEGMENT_AVERAGE: u64 = 768 << 10;

/// What a blob adds to the weight of its row: at least what a segment's head says of it, which is a
/// digest for each chunk. So heads stay within their limits.
pub fn list_weight(blob: u64) -> usize {
    let whole = u64::try_from(WHOLE).unwrap_or(u64::MAX);
    if blob > whole { usize::try_from(blob / 1024).unwrap_or(usize::MAX) } else { 0 }
}

/// Whether a row (its digest, and its weight in bytes) is one a segment may end with. The chance
/// grows with the weight, so that segments come to about 1 MiB whatever the rows are like.
pub fn ends_segment(row: &Digest, weight: usize) -> bool {
    let (words, _) = row.0.as_chunks::<8>();
    let draw = words.first().map_or(0, |word| u64::from_le_bytes(*word));
    let weight = u64::try_from(weight).unwrap_or(u64::MAX);
    draw < weight.saturating_mul(u64::MAX / SEGMENT_AVERAGE)
}
