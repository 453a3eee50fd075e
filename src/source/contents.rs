//! The table of contents of a dump: what `pg_dump` writes at the head of `-Fc`, and into `toc.dat`
//! (`pg_backup_archiver.c`). Read here and not by `libpgdump`, whose entries these become: it takes
//! all text for UTF-8, and lengths for what they say they are.

use std::io::Read;

use libpgdump::{CompressionAlgorithm, Entry, OffsetState, Section};

use super::encoding::Encoding;
use super::error::DumpFileError;

/// Numbers are as wide wherever `pg_dump` runs.
const WIDTH: u8 = 4;
/// What an entry takes at least: its numbers, and the lengths of its texts.
const ENTRY: u64 = 40;
/// Versions of the table: of `pg_dump` 9.0 to 18.
const VERSIONS: std::ops::RangeInclusive<(u8, u8)> = (1, 12)..=(1, 16);

/// A table of contents.
pub(super) struct Contents {
    /// What data is packed by.
    pub(super) compression: CompressionAlgorithm,
    /// When the dump was begun, by the clock of whoever made it.
    pub(super) made: String,
    pub(super) database: String,
    /// Versions of server and `pg_dump`.
    pub(super) versions: (String, String),
    pub(super) entries: Vec<Entry>,
    /// Of rows too.
    pub(super) encoding: Encoding,
}

/// In which form the dump is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// An entry ends with a place in the file.
    Custom,
    /// An entry ends with the name of a file; directories say that they are tar files.
    Files,
}

/// Why there is none.
enum Wrong {
    Table(String),
    Dump(DumpFileError),
}

impl From<String> for Wrong {
    fn from(what: String) -> Self {
        Self::Table(what)
    }
}

/// Reads it from the beginning of a file of so many bytes; an error is what is wrong with it.
pub(super) fn read(
    from: &mut dyn Read,
    length: u64,
    kind: Kind,
    broken: impl Fn(String) -> DumpFileError,
) -> Result<Contents, DumpFileError> {
    let mut reader = Reader { from, left: length, encoding: Encoding::default() };
    reader.contents(kind).map_err(|wrong| match wrong {
        Wrong::Table(what) => broken(format!("its table of contents cannot be read: {what}")),
        Wrong::Dump(error) => error,
    })
}

struct Reader<'a> {
    from: &'a mut dyn Read,
    /// Bytes that there can be.
    left: u64,
    encoding: Encoding,
}

impl Reader<'_> {
    fn contents(&mut self, kind: Kind) -> Result<Contents, Wrong> {
        let length = self.left;
        let [magic @ .., major, minor, _revision] = self.bytes::<8>()?;
        if magic != *b"PGDMP" {
            return Err(Wrong::Table("it does not begin with PGDMP".into()));
        }
        if !VERSIONS.contains(&(major, minor)) {
            return Err(Wrong::Table(format!("its version {major}.{minor} is not known")));
        }
        let new = |since: u8| minor >= since;
        let [width, offset, format] = self.bytes()?;
        if width != WIDTH {
            return Err(Wrong::Table("its numbers are not of four bytes".into()));
        }
        if !matches!((kind, format), (Kind::Custom, 1) | (Kind::Files, 3 | 5)) {
            return Err(Wrong::Table(format!("its form {format} is not that of the dump")));
        }
        if !(1..=8).contains(&offset) {
            return Err(Wrong::Table(format!("its places are of {offset} bytes")));
        }
        let compression = if new(15) {
            let [packed] = self.bytes()?;
            CompressionAlgorithm::from_byte(packed)
                .ok_or_else(|| format!("its compression {packed} is not known"))?
        } else if self.number()? == 0 {
            CompressionAlgorithm::None
        } else {
            CompressionAlgorithm::Gzip
        };
        let mut time = [0; 7];
        for part in &mut time {
            *part = self.number()?;
        }
        let [second, minute, hour, day, month, year, _] = time.map(i64::from);
        let made = format!(
            "{:04}-{:02}-{day:02} {hour:02}:{minute:02}:{second:02}",
            year + 1900,
            month + 1,
        );
        // The encoding is known from the first entry on.
        let database = self.string()?.unwrap_or_default();
        let versions = (self.text()?.unwrap_or_default(), self.text()?.unwrap_or_default());
        let number = self.number()?;
        let number = u64::try_from(number).ok().filter(|number| *number <= length / ENTRY);
        let number = number.ok_or("it claims more entries than it can have".to_owned())?;
        let mut entries = Vec::new();
        for _ in 0..number {
            let entry = self.entry(kind, minor, offset)?;
            if entry.desc.as_str() == "ENCODING" {
                let sql = entry.defn.as_deref().unwrap_or_default();
                self.encoding = named(sql).map_err(Wrong::Dump)?;
            }
            entries.push(entry);
        }
        let database = self.encoding.text(database)?;
        let encoding = self.encoding;
        Ok(Contents { compression, made, database, versions, entries, encoding })
    }

    fn entry(&mut self, kind: Kind, minor: u8, offset: u8) -> Result<Entry, Wrong> {
        let new = |since: u8| minor >= since;
        let dump_id = self.number()?;
        let had_dumper = self.number()? != 0;
        let table_oid = self.text()?.unwrap_or_else(|| "0".to_owned());
        let oid = self.text()?.unwrap_or_else(|| "0".to_owned());
        let tag = self.text()?;
        let desc = self.text()?.ok_or("an entry does not say what it is".to_owned())?;
        let section = match self.number()? {
            2 => Section::PreData,
            3 => Section::Data,
            4 => Section::PostData,
            _ => Section::None,
        };
        let defn = self.text()?;
        let drop_stmt = self.text()?;
        let copy_stmt = self.text()?;
        let namespace = self.text()?;
        let tablespace = self.text()?;
        let tableam = if new(14) { self.text()? } else { None };
        let relkind = if new(16) { self.number()? } else { 0 };
        let relkind = u32::try_from(relkind).ok().and_then(char::from_u32).filter(|c| *c != '\0');
        let owner = self.text()?;
        let with_oids = self.text()?.as_deref() == Some("true");
        let mut dependencies = Vec::new();
        while let Some(text) = self.text()?.filter(|text| !text.is_empty()) {
            let known = text.parse().map_err(|_| format!("{text:?} is the number of no entry"))?;
            dependencies.push(known);
        }
        // Blocks say themselves which entry they are of; where they are, pg_dump may not have known.
        let filename = match kind {
            Kind::Custom => {
                for _ in 0..=offset {
                    self.bytes::<1>()?;
                }
                None
            }
            Kind::Files => self.text()?.filter(|name| !name.is_empty()),
        };
        Ok(Entry {
            dump_id,
            had_dumper,
            table_oid,
            oid,
            tag,
            desc: desc.into(),
            section,
            defn,
            drop_stmt,
            copy_stmt,
            namespace,
            tablespace,
            tableam,
            relkind,
            owner,
            with_oids,
            dependencies,
            data_state: OffsetState::NotSet,
            offset: 0,
            filename,
        })
    }

    fn bytes<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let mut bytes = [0; N];
        let count = u64::try_from(N).unwrap_or(u64::MAX);
        self.left = self.left.checked_sub(count).ok_or("it is cut off")?;
        self.from.read_exact(&mut bytes).map_err(|error| error.to_string())?;
        Ok(bytes)
    }

    /// A number: a sign, and its magnitude, the lowest byte first.
    fn number(&mut self) -> Result<i32, String> {
        let [sign, magnitude @ ..] = self.bytes::<5>()?;
        let magnitude = i64::from(u32::from_le_bytes(magnitude));
        let number = if sign == 0 { magnitude } else { -magnitude };
        i32::try_from(number).map_err(|_| "it has a number that is none".to_owned())
    }

    fn string(&mut self) -> Result<Option<Vec<u8>>, String> {
        let Ok(length) = u64::try_from(self.number()?) else { return Ok(None) };
        self.left = self.left.checked_sub(length).ok_or("it is cut off within a text")?;
        let mut bytes = Vec::new();
        self.from.take(length).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
        if u64::try_from(bytes.len()).ok() != Some(length) {
            return Err("it is cut off within a text".into());
        }
        Ok(Some(bytes))
    }

    fn text(&mut self) -> Result<Option<String>, String> {
        self.string()?.map(|bytes| self.encoding.text(bytes)).transpose()
    }
}

/// The encoding that `SET client_encoding = '...'` names.
pub(super) fn named(sql: &str) -> Result<Encoding, DumpFileError> {
    Encoding::named(sql.split('\'').nth(1).unwrap_or_default())
}
