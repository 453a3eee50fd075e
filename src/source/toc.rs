//! Dumps with a table of contents: custom, directory and tar. Their data is read piece by piece, as it
//! would not fit into memory.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read, Seek as _};
use std::path::{Path, PathBuf};

use libpgdump::io::primitives::read_int;
use libpgdump::{CompressionAlgorithm, Entry, ObjectType};

use super::contents::{self, Contents, Kind};
use super::error::DumpFileError;
use super::large::Place;
use super::packed::{Chunks, Part, WIDTH, packed_file, unpacked};

/// A table of contents, and where the data is.
pub(super) struct Toc {
    path: PathBuf,
    /// What is in it.
    pub(super) contents: Contents,
    place: Where,
}

enum Where {
    Custom(File, Blocks),
    Directory(PathBuf),
    /// Offset and length of each member.
    Tar(File, HashMap<String, (u64, u64)>),
}

/// Offsets of data in a custom dump, behind its heads.
#[derive(Default)]
struct Blocks {
    /// By the entry they belong to.
    rows: HashMap<i32, u64>,
    /// By their OIDs, as they follow each other.
    large_objects: Vec<(u32, u64)>,
}

/// Bytes of a file, and whether anything but its length says where they end.
type Found<'a> = (Box<dyn Read + 'a>, bool);

/// Endings of files in a directory, and what packed them.
const ENDINGS: [(&str, CompressionAlgorithm); 4] = [
    ("", CompressionAlgorithm::None),
    (".gz", CompressionAlgorithm::Gzip),
    (".zst", CompressionAlgorithm::Zstd),
    (".lz4", CompressionAlgorithm::Lz4),
];

impl Toc {
    /// Reads the table of a custom dump, and walks along its blocks to the end: a dump that was
    /// written to a pipe does not say where they are.
    pub(super) fn custom(path: &Path, file: File) -> Result<Self, DumpFileError> {
        let cut = |what| DumpFileError::Incomplete { path: path.to_owned(), what };
        let length = file.metadata().map_err(|error| cut(error.to_string()))?.len();
        let mut reader = BufReader::with_capacity(64 << 10, file);
        let contents = contents::read(&mut reader, length, Kind::Custom, cut)?;
        let blocks = blocks(&mut reader, &contents.entries).map_err(cut)?;
        let place = Where::Custom(reader.into_inner(), blocks);
        Ok(Self { path: path.to_owned(), contents, place })
    }

    /// Reads the table of a directory.
    pub(super) fn directory(path: &Path) -> Result<Self, DumpFileError> {
        let io = |source| DumpFileError::Io { path: path.to_owned(), source };
        let cut = |what| DumpFileError::Incomplete { path: path.to_owned(), what };
        let toc = File::open(path.join("toc.dat")).map_err(io)?;
        let length = toc.metadata().map_err(io)?.len();
        let contents = contents::read(&mut BufReader::new(toc), length, Kind::Files, cut)?;
        Ok(Self { path: path.to_owned(), contents, place: Where::Directory(path.to_owned()) })
    }

    /// Reads the table of a tar file.
    pub(super) fn tar(path: &Path, file: File) -> Result<Self, DumpFileError> {
        let io = |source| DumpFileError::Io { path: path.to_owned(), source };
        let cut = |what| DumpFileError::Incomplete { path: path.to_owned(), what };
        let length = file.metadata().map_err(io)?.len();
        let mut members = HashMap::new();
        let mut archive = tar::Archive::new(BufReader::new(&file));
        for entry in archive.entries().map_err(io)? {
            let entry = entry
                .map_err(|_| cut("a header of the tar file is cut off or damaged".to_owned()))?;
            let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
            let (at, size) = (entry.raw_file_position(), entry.size());
            if at.checked_add(size).is_none_or(|end| end > length) {
                return Err(cut(format!("it ends within {name}")));
            }
            if members.insert(name.clone(), (at, size)).is_some() {
                return Err(cut(format!("{name} is in it twice")));
            }
        }
        let Some((at, size)) = members.get("toc.dat").copied() else {
            return Err(DumpFileError::Kind {
                path: path.to_owned(),
                what: "is a tar file without toc.dat: not one that pg_dump -Ft wrote".into(),
            });
        };
        let mut toc = BufReader::new(Part::new(&file, at, size));
        let contents = contents::read(&mut toc, size, Kind::Files, cut)?;
        Ok(Self { path: path.to_owned(), contents, place: Where::Tar(file, members) })
    }

    fn io(&self, source: io::Error) -> DumpFileError {
        DumpFileError::Io { path: self.path.clone(), source }
    }

    fn incomplete(&self, what: String) -> DumpFileError {
        DumpFileError::Incomplete { path: self.path.clone(), what }
    }

    /// The data of an entry, unpacked; it has to be read to its end, where it is proven whole.
    /// None if the dump has none for it.
    pub(super) fn data(&self, entry: &Entry) -> Result<Option<Box<dyn Read + '_>>, DumpFileError> {
        if let Where::Custom(file, blocks) = &self.place {
            let Some(at) = blocks.rows.get(&entry.dump_id) else { return Ok(None) };
            let data = unpacked(Chunks::new(file, *at), self.contents.compression);
            return data.map(Some).map_err(|error| self.io(error));
        }
        let name = entry.filename.as_deref().filter(|name| is_plain(name));
        let Some(name) = name else { return Ok(None) };
        match self.file(name)? {
            Some((data, _)) => Ok(Some(data)),
            None => {
                Err(self.incomplete(format!("{name} is missing: the rows of {}", shown(entry))))
            }
        }
    }

    /// A file of a directory or tar file, and whether anything but its length says where it ends:
    /// what packs it, unless it is one that `pg_dump` leaves empty where there is nothing to pack.
    fn file(&self, name: &str) -> Result<Option<Found<'_>>, DumpFileError> {
        match &self.place {
            Where::Custom(..) => Ok(None),
            Where::Tar(file, members) => Ok(members.get(name).map(|(at, size)| {
                let data: Box<dyn Read + '_> = Box::new(Part::new(file, *at, *size));
                (data, true)
            })),
            Where::Directory(folder) => {
                for (ending, packed) in ENDINGS {
                    let path = folder.join(format!("{name}{ending}"));
                    let opened = match File::open(&path) {
                        Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                        opened => opened,
                    };
                    let file = opened.map_err(|source| DumpFileError::Io { path, source })?;
                    let length = file.metadata().map_err(|error| self.io(error))?.len();
                    let ends = packed != CompressionAlgorithm::None && length > 0;
                    let data = packed_file(file, packed).map_err(|error| self.io(error))?;
                    return Ok(Some((data, ends)));
                }
                Ok(None)
            }
        }
    }

    /// The list of large objects of an entry, whose file is `name`.
    fn list(&self, entry: &Entry, name: &str) -> String {
        let Where::Tar(_, members) = &self.place else { return name.to_owned() };
        // Since version 17 each group has one; the name in the entry is of no file.
        let list = format!("blobs_{}.toc", entry.dump_id);
        if members.contains_key(&list) { list } else { "blobs.toc".to_owned() }
    }

    /// Gives the OID of each large object that the dump says it has the bytes of.
    pub(super) fn large_objects(
        &self,
        mut each: impl FnMut(u32, Place) -> Result<(), DumpFileError>,
    ) -> Result<(), DumpFileError> {
        if let Where::Custom(_, blocks) = &self.place {
            for (oid, at) in &blocks.large_objects {
                each(*oid, Place { at: *at, length: 0 })?;
            }
            return Ok(());
        }
        for entry in &self.contents.entries {
            let name = entry.filename.as_deref().filter(|name| is_plain(name));
            let (ObjectType::Blobs, Some(name)) = (&entry.desc, name) else { continue };
            let name = &self.list(entry, name);
            let Some((list, _)) = self.file(name)? else {
                return Err(self.incomplete(format!("{name} is missing: {}", shown(entry))));
            };
            let mut list = BufReader::new(list);
            let mut line = Vec::new();
            loop {
                line.clear();
                let read = list.by_ref().take(LINE).read_until(b'\n', &mut line);
                if read.map_err(|error| self.incomplete(format!("{name}: {error}")))? == 0 {
                    break;
                }
                let text = String::from_utf8_lossy(&line);
                let oid = text.split_once(' ').and_then(|(oid, _)| oid.parse().ok()).unwrap_or(0);
                // Nothing else is written, and no other file would be looked for.
                if oid == 0 || *text != format!("{oid} {}\n", data_of(oid)) {
                    return Err(self.incomplete(format!("{name}: a line is not whole: {text:?}")));
                }
                each(oid, Place::default())?;
            }
        }
        Ok(())
    }

    /// The bytes of a large object, to be read to their end.
    pub(super) fn large_object(
        &self,
        oid: u32,
        place: Place,
    ) -> Result<Box<dyn Read + '_>, DumpFileError> {
        if let Where::Custom(file, _) = &self.place {
            let data = unpacked(Chunks::new(file, place.at), self.contents.compression);
            return data.map_err(|error| self.io(error));
        }
        let name = data_of(oid);
        let wrong = |what: String| DumpFileError::large_object(oid, what);
        let found = self.file(&name)?.ok_or_else(|| wrong(format!("{name} is missing")))?;
        let (data, ends) = found;
        if !ends {
            return Err(wrong(format!(
                "{name} is empty or not compressed, and so nothing says whether it is whole"
            )));
        }
        Ok(data)
    }
}

/// What a line of a list of large objects takes at most.
const LINE: u64 = 64;

/// The file with the bytes of a large object.
fn data_of(oid: u32) -> String {
    format!("blob_{oid}.dat")
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
    !name.is_empty() && !name.contains('/') && name != ".." && name != "."
}

/// Where the block of each entry is.
fn blocks(reader: &mut BufReader<File>, entries: &[Entry]) -> Result<Blocks, String> {
    const DATA: u8 = 1;
    const LARGE_OBJECTS: u8 = 3;
    let mut found = Blocks::default();
    let mut last = String::from("its table of contents");
    let ends = |last: &str| format!("it ends within or behind {last}");
    let begin = reader.stream_position().map_err(|error| error.to_string())?;
    let length = reader.get_ref().metadata().map_err(|error| error.to_string())?.len();
    let mut kind = [0];
    while reader.read(&mut kind).map_err(|error| error.to_string())? > 0 {
        // pg_dump writes the table of contents again when it has the offsets: over the first one, or,
        // to some outputs, behind all else. It begins with the number of its entries.
        if kind[0] == 0 {
            let mut number = [0; WIDTH as usize];
            reader.read_exact(&mut number).map_err(|_| ends(&last))?;
            let number = usize::try_from(u32::from_le_bytes(number)).unwrap_or(usize::MAX);
            let at = reader.stream_position().map_err(|error| error.to_string())?;
            let again = number == entries.len() && length.saturating_sub(at) <= begin;
            return if again { Ok(found) } else { Err(ends(&last)) };
        }
        let entry = read_int(reader, WIDTH).map_err(|_| ends(&last))?;
        let known = entries.iter().find(|known| known.dump_id == entry);
        let known = known.ok_or_else(|| format!("there is no data block behind {last}"))?;
        last = format!("the data of {}", shown(known));
        let at = reader.stream_position().map_err(|error| error.to_string())?;
        match kind[0] {
            DATA => {
                if found.rows.insert(entry, at).is_some() {
                    return Err(format!("{last} is there twice"));
                }
                skip(reader).map_err(|_| ends(&last))?;
            }
            LARGE_OBJECTS => loop {
                // A negative number is an OID beyond 2^31.
                let oid = read_int(reader, WIDTH).map_err(|_| ends(&last))?.cast_unsigned();
                if oid == 0 {
                    break;
                }
                last = format!("large object {oid}");
                let at = reader.stream_position().map_err(|error| error.to_string())?;
                found.large_objects.push((oid, at));
                skip(reader).map_err(|_| ends(&last))?;
            },
            _ => return Err(format!("{last} is in a block of unknown kind {}", kind[0])),
        }
    }
    Ok(found)
}

/// Goes behind the chunks of a block; one that is cut off is an error.
fn skip(reader: &mut BufReader<File>) -> io::Result<()> {
    let end = reader.get_ref().metadata()?.len();
    loop {
        let length = read_int(reader, WIDTH).map_err(|_| io::ErrorKind::UnexpectedEof)?;
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
