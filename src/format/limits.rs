//! Bounds that a reader applies before it believes a length (spec section 11). A writer never
//! reaches them.

/// Tar blocks and header size.
pub const BLOCK: usize = 512;
/// The manifest, in bytes.
pub const MANIFEST: u64 = 64 << 20;
/// Data items in the manifest.
pub const MANIFEST_ITEMS: u64 = 4 << 20;
/// Depth of arrays and maps in the manifest.
pub const MANIFEST_DEPTH: u32 = 16;
/// A file of SQL, in bytes.
pub const SCHEMA_SQL: u64 = 1 << 30;
/// A chunk, in bytes.
pub const CHUNK: u32 = 16 << 20;
/// Chunks of a pack.
pub const PACK_CHUNKS: u32 = 1 << 16;
/// Blobs of many chunks that a segment's rows refer to, and the chunks of all of them.
pub const SEGMENT_BLOBS: u32 = 1 << 19;
/// See [`SEGMENT_BLOBS`].
pub const SEGMENT_BLOB_CHUNKS: u32 = 1 << 20;
/// Bytes of all chunks of a pack.
pub const PACK_RAW: u64 = 64 << 20;
/// Bytes of a segment's rows: the server's own limit for one row (1 GiB) and a little.
pub const SEGMENT_RAW: u64 = (1 << 30) + (4 << 20);
/// A tar entry, in bytes: what eleven octal digits hold.
pub const ENTRY: u64 = 0o77_777_777_777;
