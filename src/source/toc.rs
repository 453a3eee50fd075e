//! Dumps with a table of contents: custom, directory and tar. `libpgdump` reads the table; the data
//! is read here, piece by piece, as it would not fit into memory.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use libpgdump::format::{ArchiveMetadata, custom, directory};
use libpgdump::io::primitives::{read_byte, read_int};
use libpgdump::{CompressionAlgorithm, Entry};

use super::error::DumpFileError;

/// A table of contents, and where the data is.
pub(super) struct Toc {
    path: PathBuf,
    /// What is in it.
    pub(super) meta: ArchiveMetadata,
    place: Place,
}

enum Place {
    /// Offsets of the data blocks, behind their heads, by the entry they belong to.
    Custom(File, HashMap<i32, u64>),
    Directory(PathBuf),
    /// Offset and length of each member.
    Tar(File, HashMap<String, (u64, u64)>),
}

impl Toc {
    /// Reads the table of a custom dump, and walks along its blocks to the end: a dump that was
    /// written to a pipe does not say where they are.
    pub(super) fn custom(path: &Path, file: File) -> Result<Self, DumpFileError> {
        sane(&file).map_err(|what| DumpFileError::Incomplete { path: path.to_owned(), what })?;
        let mut reader = BufReader::with_capacity(64 << 10, file);
        let meta = custom::read_metadata(&mut reader).map_err(|error| broken(path, &error))?;
        let blocks = blocks(&mut reader, &meta)
            .map_err(|what| DumpFileError::Incomplete { path: path.to_owned(), what })?;
        let place = Place::Custom(reader.into_inner(), blocks);
        Ok(Self { path: path.to_owned(), meta, place })
    }

    /// Reads the table of a directory.
    pub(super) fn directory(path: &Path) -> Result<Self, DumpFileError> {
        let meta = in_folder(path, path)?;
        Ok(Self { path: path.to_owned(), meta, place: Place::Directory(path.to_owned()) })
    }

    /// Reads the table of a tar file; `spool` is a folder for it.
    pub(super) fn tar(path: &Path, file: File, spool: &Path) -> Result<Self, DumpFileError> {
        let io = |source| DumpFileError::Io { path: path.to_owned(), source };
        let cut =
            |what: &str| DumpFileError::Incomplete { path: path.to_owned(), what: what.to_owned() };
        let length = file.metadata().map_err(io)?.len();
        let mut members = HashMap::new();
        let mut archive = tar::Archive::new(BufReader::new(&file));
        for entry in archive.entries().map_err(io)? {
            let entry = entry.map_err(|_| cut("a header of the tar file is cut off or damaged"))?;
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let (at, size) = (entry.raw_file_position(), entry.size());
            if at.checked_add(size).is_none_or(|end| end > length) {
                return Err(cut(&format!("it ends within {name}")));
            }
            members.insert(name, (at, size));
        }
        let Some((at, size)) = members.get("toc.dat") else {
            return Err(DumpFileError::Kind {
                path: path.to_owned(),
                what: "is a tar file without toc.dat: not one that pg_dump -Ft wrote".into(),
            });
        };
        let folder = tempfile::tempdir_in(spool).map_err(io)?;
        let mut toc = File::create(folder.path().join("toc.dat")).map_err(io)?;
        io::copy(&mut Part::new(&file, *at, *size), &mut toc).map_err(io)?;
        let meta = in_folder(folder.path(), path)?;
        Ok(Self { path: path.to_owned(), meta, place: Place::Tar(file, members) })
    }

    /// The data of an entry, unpacked; it has to be read to its end, where it is proven whole.
    /// None if the dump has none for it.
    pub(super) fn data(&self, entry: &Entry) -> Result<Option<Box<dyn Read + '_>>, DumpFileError> {
        let io = |source| DumpFileError::Io { path: self.path.clone(), source };
        let name = entry.filename.as_deref().filter(|name| !name.is_empty());
        match &self.place {
            Place::Custom(file, blocks) => {
                let Some(at) = blocks.get(&entry.dump_id) else { return Ok(None) };
                let chunks = Chunks::new(file, *at, self.meta.header.int_size);
                unpacked(chunks, self.meta.header.compression).map(Some).map_err(io)
            }
            Place::Directory(folder) => {
                let Some(name) = name.filter(|name| is_plain(name)) else { return Ok(None) };
                for (ending, packed) in [
                    ("", None),
                    (".gz", Some(CompressionAlgorithm::Gzip)),
                    (".zst", Some(CompressionAlgorithm::Zstd)),
                    (".lz4", Some(CompressionAlgorithm::Lz4)),
                ] {
                    let path = folder.join(format!("{name}{ending}"));
                    let opened = match File::open(&path) {
                        Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                        opened => opened,
                    };
                    let file = opened.map_err(|source| DumpFileError::Io { path, source })?;
                    return packed_file(file, packed).map(Some).map_err(io);
                }
                let what = format!("{name} is missing: the rows of {}", shown(entry));
                Err(DumpFileError::Incomplete { path: self.path.clone(), what })
            }
            Place::Tar(file, members) => {
                let Some(name) = name else { return Ok(None) };
                let Some((at, size)) = members.get(name) else {
                    let what = format!("{name} is missing: the rows of {}", shown(entry));
                    return Err(DumpFileError::Incomplete { path: self.path.clone(), what });
                };
                Ok(Some(Box::new(Part::new(file, *at, *size))))
            }
        }
    }
}

/// The table of contents in a folder, of the dump at `path`.
fn in_folder(folder: &Path, path: &Path) -> Result<ArchiveMetadata, DumpFileError> {
    let toc = File::open(folder.join("toc.dat"));
    let toc = toc.map_err(|source| DumpFileError::Io { path: path.to_owned(), source })?;
    sane(&toc).map_err(|what| DumpFileError::Incomplete { path: path.to_owned(), what })?;
    directory::read_metadata(folder).map_err(|error| broken(path, &error))
}

/// Whether the table of contents claims no more than its file can hold: memory for all of its entries
/// is taken at once, and numbers are taken to be as wide as they say.
fn sane(file: &File) -> Result<(), String> {
    /// What an entry takes at least: its numbers, and the lengths of its texts.
    const ENTRY: u64 = 40;
    let length = file.metadata().map_err(|error| error.to_string())?.len();
    let mut reader = BufReader::new(Part::new(file, 0, length));
    let wrong = |what: &str| format!("its table of contents cannot be read: {what}");
    let entries = (|| {
        let mut head = [0; 11];
        reader.read_exact(&mut head)?;
        let [_, _, _, _, _, major, minor, _, int, _, _] = head;
        if int != 4 {
            return Ok(None);
        }
        // Compression: a byte since version 1.15 of the format, a number before.
        if (major, minor) >= (1, 15) {
            read_byte(&mut reader)?;
        } else {
            read_int(&mut reader, int)?;
        }
        for _ in 0..7 {
            read_int(&mut reader, int)?;
        }
        for _ in 0..3 {
            let text = u64::try_from(read_int(&mut reader, int)?).unwrap_or(0);
            io::copy(&mut reader.by_ref().take(text), &mut io::sink())?;
        }
        libpgdump::Result::Ok(Some(read_int(&mut reader, int)?))
    })();
    match entries {
        Ok(Some(entries)) if u64::try_from(entries).is_ok_and(|n| n <= length / ENTRY) => Ok(()),
        Ok(Some(entries)) => Err(wrong(&format!("it claims {entries} entries"))),
        Ok(None) => Err(wrong("its numbers are not of four bytes")),
        Err(error) => Err(wrong(&error.to_string())),
    }
}

/// The object of an entry, for people.
fn shown(entry: &Entry) -> String {
    let name = entry.tag.as_deref().unwrap_or_default();
    match entry.namespace.as_deref().filter(|schema| !schema.is_empty()) {
        Some(schema) => format!("{schema}.{name}"),
        None => name.to_owned(),
    }
}

/// Whether a name stays within the folder of the dump.
fn is_plain(name: &str) -> bool {
    !name.contains('/') && name != ".." && name != "."
}

fn broken(path: &Path, error: &libpgdump::Error) -> DumpFileError {
    let what = format!("its table of contents cannot be read: {error}");
    DumpFileError::Incomplete { path: path.to_owned(), what }
}

/// Where the block of each entry is.
fn blocks(
    reader: &mut BufReader<File>,
    meta: &ArchiveMetadata,
) -> Result<HashMap<i32, u64>, String> {
    const DATA: u8 = 1;
    const LARGE_OBJECTS: u8 = 3;
    let width = meta.header.int_size;
    let mut found = HashMap::new();
    let mut last = String::from("its table of contents");
    let ends = |last: &str| format!("it ends within or behind {last}");
    let begin = reader.stream_position().map_err(|error| error.to_string())?;
    let length = reader.get_ref().metadata().map_err(|error| error.to_string())?.len();
    let mut kind = [0];
    while reader.read(&mut kind).map_err(|error| error.to_string())? > 0 {
        // pg_dump writes the table of contents again when it has the offsets: over the first one, or,
        // to some outputs, behind all else. It begins with the number of its entries.
        if kind[0] == 0 {
            let mut number = vec![0; usize::from(width)];
            reader.read_exact(&mut number).map_err(|_| ends(&last))?;
            let number =
                number.iter().rev().fold(0_usize, |sum, byte| sum << 8 | usize::from(*byte));
            let at = reader.stream_position().map_err(|error| error.to_string())?;
            let again = number == meta.entries.len() && length.saturating_sub(at) <= begin;
            return if again { Ok(found) } else { Err(ends(&last)) };
        }
        let entry = read_int(reader, width).map_err(|_| ends(&last))?;
        let known = meta.entries.iter().find(|known| known.dump_id == entry);
        let known = known.ok_or_else(|| format!("there is no data block behind {last}"))?;
        last = format!("the data of {}", shown(known));
        let at = reader.stream_position().map_err(|error| error.to_string())?;
        if found.insert(entry, at).is_some() {
            return Err(format!("{last} is there twice"));
        }
        match kind[0] {
            DATA => skip(reader, width).map_err(|_| ends(&last))?,
            LARGE_OBJECTS => {
                while read_int(reader, width).map_err(|_| ends(&last))? != 0 {
                    skip(reader, width).map_err(|_| ends(&last))?;
                }
            }
            _ => return Err(format!("{last} is in a block of unknown kind {}", kind[0])),
        }
    }
    Ok(found)
}

/// Goes behind the chunks of a block; one that is cut off is an error.
fn skip(reader: &mut BufReader<File>, width: u8) -> io::Result<()> {
    let end = reader.get_ref().metadata()?.len();
    loop {
        let length = read_int(reader, width).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        if length == 0 {
            return Ok(());
        }
        let at = reader.stream_position()?;
        let after = u64::try_from(length).ok().and_then(|length| at.checked_add(length));
        let after = after.filter(|after| *after <= end).ok_or(io::ErrorKind::UnexpectedEof)?;
        let step = i64::try_from(after - at).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        reader.seek_relative(step)?;
    }
}

/// A stretch of a file, read without moving anybody's place in it.
struct Part<'a> {
    file: &'a File,
    at: u64,
    left: u64,
}

impl<'a> Part<'a> {
    fn new(file: &'a File, at: u64, left: u64) -> Self {
        Self { file, at, left }
    }
}

impl Read for Part<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buf.len());
        let Some(buf) = buf.get_mut(..most).filter(|buf| !buf.is_empty()) else { return Ok(0) };
        let read = self.file.read_at(buf, self.at)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let count = u64::try_from(read).unwrap_or(u64::MAX);
        self.at += count;
        self.left -= count;
        Ok(read)
    }
}

/// The bytes of the chunks of a block of a custom dump.
struct Chunks<'a> {
    file: BufReader<Part<'a>>,
    width: u8,
    left: usize,
    ended: bool,
}

impl<'a> Chunks<'a> {
    fn new(file: &'a File, at: u64, width: u8) -> Self {
        let file = BufReader::with_capacity(64 << 10, Part::new(file, at, u64::MAX - at));
        Self { file, width, left: 0, ended: false }
    }
}

impl Read for Chunks<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 && !self.ended {
            let length = read_int(&mut self.file, self.width).map_err(io::Error::other)?;
            self.left = usize::try_from(length).map_err(io::Error::other)?;
            self.ended = self.left == 0;
        }
        let most = self.left.min(buf.len());
        let Some(buf) = buf.get_mut(..most).filter(|buf| !buf.is_empty()) else { return Ok(0) };
        let read = self.file.read(buf)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= read;
        Ok(read)
    }
}

/// What a custom dump's chunks hold: streams of zlib, not of gzip.
fn unpacked<'a>(
    chunks: Chunks<'a>,
    packed: CompressionAlgorithm,
) -> io::Result<Box<dyn Read + 'a>> {
    Ok(match packed {
        CompressionAlgorithm::None => Box::new(chunks),
        CompressionAlgorithm::Gzip => Box::new(flate2::read::ZlibDecoder::new(chunks)),
        CompressionAlgorithm::Lz4 => Box::new(lz4_flex::frame::FrameDecoder::new(chunks)),
        CompressionAlgorithm::Zstd => Box::new(zstd::stream::read::Decoder::new(chunks)?),
    })
}

fn packed_file(
    file: File,
    packed: Option<CompressionAlgorithm>,
) -> io::Result<Box<dyn Read + 'static>> {
    Ok(match packed {
        None | Some(CompressionAlgorithm::None) => Box::new(file),
        Some(CompressionAlgorithm::Gzip) => Box::new(flate2::read::MultiGzDecoder::new(file)),
        Some(CompressionAlgorithm::Lz4) => Box::new(lz4_flex::frame::FrameDecoder::new(file)),
        Some(CompressionAlgorithm::Zstd) => Box::new(zstd::stream::read::Decoder::new(file)?),
    })
}
