//! Blobs out of an archive, as files.
//!
//! Each is written under a name that nobody takes for a finished file, and gets its own when its
//! digest was found right. Damage ends nothing: what is damaged is told, the rest is written. The
//! list of all files, `manifest.csv`, comes last: where it is, the extraction came to its end.
//!
//! Memory is bounded but for a few bytes for each file, which keep names apart.

pub mod media;
pub mod names;

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use self::media::{LOOKED_AT, Media, sniff};
use self::names::{MANIFEST, Names};
use crate::format::digest::{Digest, RowSum};
use crate::format::manifest::{Manifest, Name, Table, TableData};
use crate::format::reader::{Archive, PackCache, ReadError};
use crate::format::rows::{self, Bytea, RowError};
use crate::progress::{Phase, Progress};

/// How many problems are told one by one.
pub const EXAMPLES: usize = 100;

/// What to extract.
#[derive(Clone, Debug)]
pub struct ExtractOptions {
    /// The table; of a partitioned one, the rows of its partitions.
    pub table: Name,
    /// A `bytea` column of it.
    pub column: String,
    /// The folder: it must not be there, or be empty.
    pub folder: PathBuf,
    /// The column files are named by; else it is the primary key.
    pub name_by: Option<String>,
}

/// What was extracted.
#[derive(Clone, Default, Debug)]
pub struct ExtractReport {
    /// Rows looked at.
    pub rows: u64,
    /// Files written.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Rows whose value is NULL: no file.
    pub nulls: u64,
    /// Rows whose value has no bytes: no file.
    pub empties: u64,
    /// Values that could not be read: no file.
    pub damaged: u64,
    /// Files and bytes of each kind.
    pub media: BTreeMap<Media, (u64, u64)>,
    /// The first problems, in words.
    pub problems: Vec<String>,
    /// How many problems there are.
    pub problem_count: u64,
}

/// Why an extraction did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum ExtractError {
    /// The table or one of the columns is not in the archive, or not in its rows.
    #[error("{0} is not in the rows of the archive")]
    NotThere(String),
    /// The folder has something in it.
    #[error("{}: the folder is not empty", .0.display())]
    NotEmpty(PathBuf),
    /// A file or the folder cannot be written.
    #[error("{}", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The archive's file cannot be read: a matter of the system, not of what is in it.
    #[error("reading the archive")]
    Read(#[source] ReadError),
    /// The person wanted it to stop.
    #[error("interrupted: the folder has no {MANIFEST}, and not every file")]
    Interrupted,
}

/// Writes the blobs of a column as files.
///
/// # Errors
/// See [`ExtractError`]. Damage in the archive is in the report.
pub fn run(
    archive: &Archive,
    options: &ExtractOptions,
    progress: &dyn Progress,
) -> Result<ExtractReport, ExtractError> {
    let tables = with_rows(archive.manifest(), &options.table);
    if tables.is_empty() {
        return Err(ExtractError::NotThere(options.table.to_string()));
    }
    let shapes: Vec<Shape> =
        tables.iter().map(|table| Shape::of(table, options)).collect::<Result<_, _>>()?;
    make_folder(&options.folder)?;
    let list = options.folder.join(format!(".{MANIFEST}.partial"));
    let file = create_new(&list)?;
    let mut work = Work {
        archive,
        progress,
        folder: &options.folder,
        cache: PackCache::default(),
        names: Names::new(),
        list: BufWriter::new(file),
        list_path: &list,
        report: ExtractReport::default(),
    };
    let data = tables.iter().filter_map(|table| table.data);
    let (rows, bytes) = data.fold((0_u64, 0_u64), |(rows, bytes), data| {
        (rows.saturating_add(data.rows), bytes.saturating_add(data.blob_bytes))
    });
    progress.begin(Phase::Export, rows, bytes);
    let done = work.all(&shapes);
    if let Err(error) = done {
        // A name that nobody takes for the finished list, and no use to anybody.
        _ = fs::remove_file(&list);
        return Err(error);
    }
    let Work { list: written, report, .. } = work;
    let at = |source| ExtractError::Write { path: list.clone(), source };
    let file = written.into_inner().map_err(|error| at(error.into_error()))?;
    file.sync_all().map_err(at)?;
    rename_new(&list, &options.folder.join(MANIFEST)).map_err(at)?;
    let folder = File::open(&options.folder).and_then(|folder| folder.sync_all());
    folder.map_err(|source| ExtractError::Write { path: options.folder.clone(), source })?;
    Ok(report)
}

/// The table itself where it has rows, else those of its partitions, at any depth.
fn with_rows<'a>(manifest: &'a Manifest, name: &Name) -> Vec<&'a Table> {
    let within = |table: &Table| {
        let mut at = Some(table);
        // No chain is longer than there are tables: a ring ends too.
        for _ in 0..=manifest.tables.len() {
            match at {
                Some(table) if table.name == *name => return true,
                Some(table) => {
                    at = table.partition_of.as_ref().and_then(|parent| manifest.table(parent));
                }
                None => return false,
            }
        }
        false
    };
    manifest.tables.iter().filter(|table| table.data.is_some() && within(table)).collect()
}

/// Where in the rows of a table what matters is.
struct Shape<'a> {
    table: &'a Table,
    data: TableData,
    columns: usize,
    blob: usize,
    key: Vec<usize>,
    name_by: Option<usize>,
}

impl<'a> Shape<'a> {
    fn of(table: &'a Table, options: &ExtractOptions) -> Result<Self, ExtractError> {
        let place = |name: &str| {
            let place = table.stored_columns().position(|column| column.name == name);
            place.ok_or_else(|| ExtractError::NotThere(format!("{}.{name}", table.name)))
        };
        let blob = place(&options.column)?;
        if !table.stored_columns().nth(blob).is_some_and(crate::format::manifest::Column::is_bytea)
        {
            return Err(ExtractError::NotThere(format!("bytea {}.{}", table.name, options.column)));
        }
        let key = table.primary_key.iter().flat_map(|key| &key.columns);
        let key: Vec<usize> = key.map(|name| place(name)).collect::<Result<_, _>>()?;
        let name_by = options.name_by.as_deref().map(place).transpose()?;
        let columns = table.stored_columns().count();
        let data = table.data.unwrap_or_default();
        Ok(Self { table, data, columns, blob, key, name_by })
    }
}

fn make_folder(folder: &Path) -> Result<(), ExtractError> {
    let at = |source| ExtractError::Write { path: folder.to_owned(), source };
    match fs::read_dir(folder) {
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => Err(ExtractError::NotEmpty(folder.to_owned())),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(folder).map_err(at)
        }
        Err(error) => Err(at(error)),
    }
}

fn create_new(path: &Path) -> Result<File, ExtractError> {
    let file = OpenOptions::new().write(true).create_new(true).open(path);
    file.map_err(|source| ExtractError::Write { path: path.to_owned(), source })
}

/// Renames, but never over something that is there.
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    if to.symlink_metadata().is_ok() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    fs::rename(from, to)
}

struct Work<'a> {
    archive: &'a Archive,
    progress: &'a dyn Progress,
    folder: &'a Path,
    cache: PackCache,
    names: Names,
    list: BufWriter<File>,
    list_path: &'a Path,
    report: ExtractReport,
}

/// A line of the list.
#[derive(Default)]
struct Line<'a> {
    key: &'a str,
    file: &'a str,
    bytes: Option<u64>,
    digest: Option<Digest>,
    media: &'a str,
    note: &'a str,
}

impl Work<'_> {
    fn all(&mut self, shapes: &[Shape<'_>]) -> Result<(), ExtractError> {
        self.line(b"table,row,key,file,bytes,sha256,media_type,note\n")?;
        for shape in shapes {
            self.table(shape)?;
        }
        Ok(())
    }

    fn line(&mut self, line: &[u8]) -> Result<(), ExtractError> {
        let written = self.list.write_all(line);
        written.map_err(|source| ExtractError::Write { path: self.list_path.to_owned(), source })
    }

    fn problem(&mut self, text: String) {
        self.report.problem_count += 1;
        if self.report.problems.len() < EXAMPLES {
            self.report.problems.push(text);
        }
    }

    fn table(&mut self, shape: &Shape<'_>) -> Result<(), ExtractError> {
        let (name, data) = (shape.table.name.to_string(), shape.data);
        self.progress.on(&name);
        let mut sum = RowSum::default();
        let mut whole = true;
        let mut row = 0_u64;
        for number in data.first_segment..data.first_segment.saturating_add(data.segments) {
            self.interrupted()?;
            let segment = match self.archive.segment(number) {
                Ok(segment) => segment,
                Err(error @ ReadError::Io { .. }) => return Err(ExtractError::Read(error)),
                Err(error) => {
                    let lost = self.archive.index().segment(number).map_or(0, |it| it.rows);
                    self.problem(format!("{name}: {lost} rows after row {row} are lost: {error}"));
                    row = row.saturating_add(u64::from(lost));
                    whole = false;
                    continue;
                }
            };
            for text in rows::rows(&segment) {
                row += 1;
                sum.add_row(text);
                self.report.rows += 1;
                self.row(shape, &name, row, text)?;
                self.progress.rows(1);
            }
        }
        if whole && (sum.rows != data.rows || sum.digest() != data.digest) {
            self.problem(format!("{name}: its rows are not those the manifest describes"));
        }
        Ok(())
    }

    fn row(
        &mut self,
        shape: &Shape<'_>,
        table: &str,
        number: u64,
        row: &[u8],
    ) -> Result<(), ExtractError> {
        let fields: Vec<&[u8]> = rows::fields(row).collect();
        let parsed = Parsed::of(shape, &fields);
        let (key, value, base) = match parsed {
            Ok(Parsed { key, value, base }) => (key, value, base),
            Err(problem) => {
                self.report.damaged += 1;
                self.problem(format!("{table}, row {number}: {problem}"));
                return self.tell(table, number, &Line { note: "damaged", ..Line::default() });
            }
        };
        let line = Line { key: &key, ..Line::default() };
        let Some(value) = value else {
            self.report.nulls += 1;
            return self.tell(table, number, &Line { note: "null", ..line });
        };
        if matches!(&value, Bytea::Inline(bytes) if bytes.is_empty()) {
            self.report.empties += 1;
            let (bytes, digest) = (Some(0), Some(Digest::of(b"")));
            return self.tell(table, number, &Line { bytes, digest, note: "empty", ..line });
        }
        let (length, digest) = match &value {
            Bytea::Inline(bytes) => (u64::try_from(bytes.len()).unwrap_or(0), Digest::of(bytes)),
            Bytea::Blob(blob) => (blob.length, blob.digest),
        };
        let line = Line { bytes: Some(length), digest: Some(digest), ..line };
        match self.write(&value)? {
            Ok((partial, media)) => {
                let file = self.names.name(&base, number, media);
                let path = self.folder.join(&file);
                if let Err(source) = rename_new(&partial, &path) {
                    _ = fs::remove_file(&partial);
                    return Err(ExtractError::Write { path, source });
                }
                self.report.files += 1;
                self.report.bytes = self.report.bytes.saturating_add(length);
                let (files, bytes) = self.report.media.entry(media).or_default();
                *files += 1;
                *bytes = bytes.saturating_add(length);
                let media = media.media_type;
                self.tell(table, number, &Line { file: &file, media, ..line })
            }
            Err(problem) => {
                self.report.damaged += 1;
                self.problem(format!("{table}, row {number} (key {key}): {problem}"));
                self.tell(table, number, &Line { note: "damaged", ..line })
            }
        }
    }

    /// Writes a value to a file without a name of its own yet; what is damaged leaves none.
    fn write(
        &mut self,
        value: &Bytea,
    ) -> Result<Result<(PathBuf, Media), ReadError>, ExtractError> {
        let partial = self.folder.join(".pgark.partial");
        let mut file = create_new(&partial)?;
        let mut head: Vec<u8> = Vec::new();
        let progress = self.progress;
        let mut failed = None;
        let mut put = |bytes: &[u8]| -> Result<(), ReadError> {
            let missing = LOOKED_AT.saturating_sub(head.len()).min(bytes.len());
            head.extend_from_slice(bytes.get(..missing).unwrap_or_default());
            progress.bytes(u64::try_from(bytes.len()).unwrap_or(0));
            let source = match file.write_all(bytes) {
                Ok(()) if progress.interrupted() => None,
                Ok(()) => return Ok(()),
                Err(source) => Some(source),
            };
            failed = Some(match source {
                None => ExtractError::Interrupted,
                Some(source) => ExtractError::Write { path: partial.clone(), source },
            });
            Err(ReadError::Sink("stopped".into()))
        };
        let done = match value {
            Bytea::Inline(bytes) => put(bytes),
            Bytea::Blob(blob) => self.archive.blob(*blob, &mut self.cache, &mut put),
        };
        match (failed, done) {
            (None, Ok(())) => Ok(Ok((partial, sniff(&head)))),
            (stopped, done) => {
                _ = fs::remove_file(&partial);
                match (stopped, done) {
                    (Some(error), _) => Err(error),
                    (None, Err(error @ ReadError::Io { .. })) => Err(ExtractError::Read(error)),
                    (None, Err(error)) => Ok(Err(error)),
                    (None, Ok(())) => Err(ExtractError::Interrupted),
                }
            }
        }
    }

    fn tell(&mut self, table: &str, row: u64, line: &Line<'_>) -> Result<(), ExtractError> {
        let number = |bytes: u64| bytes.to_string();
        let cells = [
            table.to_owned(),
            row.to_string(),
            line.key.to_owned(),
            line.file.to_owned(),
            line.bytes.map_or_else(String::new, number),
            line.digest.map_or_else(String::new, |digest| digest.to_string()),
            line.media.to_owned(),
            line.note.to_owned(),
        ];
        let cells: Vec<String> = cells.iter().map(|cell| csv(cell)).collect();
        self.line(format!("{}\n", cells.join(",")).as_bytes())
    }

    fn interrupted(&self) -> Result<(), ExtractError> {
        if self.progress.interrupted() { Err(ExtractError::Interrupted) } else { Ok(()) }
    }
}

/// What of a row matters.
struct Parsed {
    /// The primary key's values, with commas between them.
    key: String,
    value: Option<Bytea>,
    /// What the file is named after.
    base: String,
}

impl Parsed {
    fn of(shape: &Shape<'_>, fields: &[&[u8]]) -> Result<Self, String> {
        if fields.len() != shape.columns {
            let (found, wanted) = (fields.len(), shape.columns);
            return Err(format!("it has {found} fields where the table has {wanted} columns"));
        }
        let field = |place: usize| fields.get(place).copied().unwrap_or_default();
        let words = |error: RowError| error.to_string();
        let text = |place: usize| -> Result<Option<String>, String> {
            let value = rows::unescape(field(place)).map_err(words)?;
            Ok(value.map(|value| String::from_utf8_lossy(&value).into_owned()))
        };
        let value = rows::bytea(field(shape.blob)).map_err(words)?;
        let mut key = Vec::with_capacity(shape.key.len());
        for place in &shape.key {
            key.push(text(*place)?.unwrap_or_default());
        }
        let named = shape.name_by.map(text).transpose()?.flatten();
        let base = named.filter(|name| !name.is_empty()).unwrap_or_else(|| key.join("_"));
        Ok(Self { key: key.join(","), value, base })
    }
}

fn csv(cell: &str) -> String {
    if cell.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", cell.replace('"', "\"\""))
    } else {
        cell.to_owned()
    }
}
