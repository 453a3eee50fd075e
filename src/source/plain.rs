//! Plain SQL as `pg_dump` writes it, read once from front to back: the statements of the schema are
//! kept, rows are passed over. Where the file cannot be read again, rows are copied aside.

use std::fs::File;
use std::io::{self, BufRead, Read, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use libpgdump::{Entry, ObjectType, Section};

use super::ddl::{End, Splitter, standard_strings};
use super::error::DumpFileError;
use super::heads::{Head, behind_comments, blank, is_post, owned, sql};
use super::names::{Target, target};
use super::reader::{Form, ROW, until_newline};

/// The longest statement that is no row.
const LONGEST: usize = 64 << 20;

/// Rows of one table.
pub(super) struct Stretch {
    pub(super) target: Target,
    pub(super) form: Form,
    /// Where they are: in the dump itself, or, packed, aside.
    at: u64,
    length: u64,
}

/// What a plain dump holds.
pub(super) struct Plain {
    /// Its objects, in order; the settings that all rely on come first.
    pub(super) entries: Vec<Entry>,
    settings: Vec<Entry>,
    /// Every statement of the schema, in order.
    pub(super) statements: Vec<String>,
    pub(super) rows: Vec<Stretch>,
    /// Tables of which the dump says that it has the rows, even if there are none.
    pub(super) announced: Vec<(String, String)>,
    /// `\connect`, if it makes a database.
    pub(super) connect: Option<String>,
    /// Versions of server and `pg_dump`, as the dump says them.
    pub(super) versions: (String, String),
    /// When it was begun, if it says so.
    pub(super) started: Option<String>,
    source: Source,
}

enum Source {
    File(File),
    /// Rows are frames of zstd in it.
    Spool(File),
}

impl Plain {
    /// The rows of a stretch.
    pub(super) fn rows(&self, stretch: &Stretch) -> io::Result<Box<dyn Read + '_>> {
        let open = |file: &File| {
            let mut file = file.try_clone()?;
            file.seek(io::SeekFrom::Start(stretch.at))?;
            io::Result::Ok(file.take(stretch.length))
        };
        Ok(match &self.source {
            Source::File(file) => Box::new(open(file)?),
            Source::Spool(file) => Box::new(zstd::stream::read::Decoder::new(open(file)?)?),
        })
    }
}

/// Reads a dump to its end.
pub(super) fn scan(
    path: &Path,
    input: Box<dyn BufRead>,
    again: Option<File>,
    spool: &Path,
    read: &mut dyn FnMut(u64) -> bool,
) -> Result<Plain, DumpFileError> {
    let io = |source| DumpFileError::Io { path: path.to_owned(), source };
    let source = match again {
        Some(file) => Source::File(file),
        None => Source::Spool(tempfile::tempfile_in(spool).map_err(io)?),
    };
    let plain = Plain {
        entries: Vec::new(),
        settings: Vec::new(),
        statements: Vec::new(),
        rows: Vec::new(),
        announced: Vec::new(),
        connect: None,
        versions: (String::new(), String::new()),
        started: None,
        source,
    };
    let mut scan = Scan {
        path: path.to_owned(),
        input,
        at: 0,
        splitter: Splitter::new(),
        plain,
        settings: Settings::default(),
        has_head: false,
        complete: false,
        after_rows: false,
        inserts: None,
        read,
        told: 0,
    };
    scan.all()?;
    let mut plain = scan.plain;
    for entry in &mut plain.entries {
        entry.defn.get_or_insert_default().push('\n');
    }
    plain.entries.splice(0..0, std::mem::take(&mut plain.settings));
    Ok(plain)
}

/// Settings that stand before the objects they are for.
#[derive(Default)]
struct Settings {
    tablespace: String,
    method: String,
}

/// Rows that follow each other as INSERT.
struct Inserts {
    target: Target,
    out: Option<zstd::stream::write::Encoder<'static, File>>,
    begin: u64,
    end: u64,
}

struct Scan<'a> {
    path: PathBuf,
    input: Box<dyn BufRead>,
    /// Bytes read so far.
    at: u64,
    splitter: Splitter,
    plain: Plain,
    settings: Settings,
    has_head: bool,
    complete: bool,
    after_rows: bool,
    inserts: Option<Inserts>,
    read: &'a mut dyn FnMut(u64) -> bool,
    told: u64,
}

impl Scan<'_> {
    fn io(&self, source: io::Error) -> DumpFileError {
        DumpFileError::Io { path: self.path.clone(), source }
    }

    fn incomplete(&self, what: impl Into<String>) -> DumpFileError {
        DumpFileError::Incomplete { path: self.path.clone(), what: what.into() }
    }

    fn took(&mut self, length: usize) -> Result<(), DumpFileError> {
        self.at += u64::try_from(length).unwrap_or(0);
        if self.at - self.told < 1 << 20 {
            return Ok(());
        }
        let more = self.at - std::mem::replace(&mut self.told, self.at);
        if (self.read)(more) { Ok(()) } else { Err(DumpFileError::Stopped) }
    }

    fn all(&mut self) -> Result<(), DumpFileError> {
        let mut piece = Vec::new();
        while let Some(end) = self.piece(&mut piece)? {
            let text = String::from_utf8(std::mem::take(&mut piece)).map_err(|error| {
                let what = "a statement is not UTF-8: dump with pg_dump --encoding=UTF8";
                let lossy = String::from_utf8_lossy(error.as_bytes()).chars().take(80).collect();
                let lossy: String = lossy;
                DumpFileError::Unsupported(format!("{what} ({lossy:?})"))
            })?;
            match end {
                End::Command => self.command(&text)?,
                End::Statement => self.statement(&text)?,
            }
        }
        self.end_inserts()?;
        // What is left is comments.
        let tail = String::from_utf8_lossy(&piece).into_owned();
        if !self.has_head && !has_title(&piece) {
            return Err(not_a_dump(&self.path));
        }
        if !self.complete && !tail.contains("-- PostgreSQL database dump complete") {
            return Err(self.incomplete(
                "it does not end with \"-- PostgreSQL database dump complete\": it was cut off, or \
                 pg_dump failed",
            ));
        }
        Ok(())
    }

    /// The next statement or command, with the comments before it; at the end what is left.
    fn piece(&mut self, out: &mut Vec<u8>) -> Result<Option<End>, DumpFileError> {
        loop {
            let io = |source| DumpFileError::Io { path: self.path.clone(), source };
            let bytes = self.input.fill_buf().map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => DumpFileError::Incomplete {
                    path: self.path.clone(),
                    what: "its compressed data is cut off".into(),
                },
                _ => io(error),
            })?;
            if bytes.is_empty() {
                return match self.splitter.finish() {
                    Ok(None) => Ok(None),
                    Ok(Some(end)) => Ok(Some(end)),
                    Err(_) if !self.has_head && !has_title(out) => Err(not_a_dump(&self.path)),
                    Err(error) => Err(self.incomplete(format!("it is cut off: {error}"))),
                };
            }
            let (length, end) = self.splitter.push(bytes)?;
            let bytes = bytes.get(..length).unwrap_or(bytes);
            out.extend_from_slice(bytes);
            self.input.consume(length);
            self.took(length)?;
            if end.is_some() {
                return Ok(end);
            }
            if out.len() > LONGEST {
                let row = behind_comments(out).starts_with(b"INSERT INTO ");
                let most = if row { ROW } else { LONGEST };
                if out.len() > most {
                    let what = format!("a statement has more than {most} bytes");
                    return Err(DumpFileError::Unsupported(what));
                }
            }
        }
    }

    fn command(&mut self, text: &str) -> Result<(), DumpFileError> {
        self.head(text)?;
        if !text.ends_with('\n') {
            return Err(self.incomplete("it is cut off within a command to psql"));
        }
        let command = sql(text).trim();
        if let Some(rest) = command.strip_prefix("\\connect ") {
            let rest = rest.trim();
            let name = rest.strip_prefix("-reuse-previous=on ").unwrap_or(rest);
            let name = name.trim_matches(['"', '\'']).trim_start_matches("dbname=");
            let name = name.trim_matches(['"', '\'']).to_owned();
            // `--clean --create` goes to another database while it makes this one again.
            if self.plain.connect.replace(name).is_some() && !self.plain.rows.is_empty() {
                return Err(several());
            }
            return Ok(());
        }
        if command.starts_with("\\restrict ") || command.starts_with("\\unrestrict ") {
            return Ok(());
        }
        Err(DumpFileError::Unsupported(format!("a command to psql is not understood: {command}")))
    }

    /// What the comments at the beginning say.
    fn head(&mut self, piece: &str) -> Result<(), DumpFileError> {
        let comments = piece.get(..piece.len() - sql(piece).len()).unwrap_or_default();
        for line in comments.lines() {
            let Some(said) = line.strip_prefix("-- ") else { continue };
            match said {
                "PostgreSQL database cluster dump" => {
                    return Err(DumpFileError::Unsupported(
                        "it is a dump of a whole cluster (pg_dumpall): an archive holds one \
                         database. Dump each with pg_dump"
                            .into(),
                    ));
                }
                "PostgreSQL database dump complete" => self.complete = true,
                TITLE if std::mem::replace(&mut self.has_head, true) => {
                    return Err(several());
                }
                _ => {}
            }
            if let Some(head) = line.strip_prefix("-- Data for Name: ").and_then(Head::parse) {
                self.plain.announced.push((head.schema.to_owned(), head.name.to_owned()));
            }
            let version = |text: &str| text.trim().to_owned();
            if let Some(text) = said.strip_prefix("Dumped from database version ") {
                self.plain.versions.0 = version(text);
            } else if let Some(text) = said.strip_prefix("Dumped by pg_dump version ") {
                self.plain.versions.1 = version(text);
            } else if let Some(text) = said.strip_prefix("Started on ") {
                self.plain.started = Some(version(text));
            }
        }
        Ok(())
    }

    fn statement(&mut self, piece: &str) -> Result<(), DumpFileError> {
        self.head(piece)?;
        if self.complete {
            return Err(DumpFileError::Unsupported(
                "there are statements behind the end of the dump: of something else".into(),
            ));
        }
        if !self.has_head {
            return Err(not_a_dump(&self.path));
        }
        let text = sql(piece);
        if let Some(on) = standard_strings(text) {
            self.splitter.set_standard_strings(on);
        }
        let head = Head::of(piece);
        if let Some(rest) = text.strip_prefix("INSERT INTO ") {
            return self.insert(rest, text);
        }
        self.end_inserts()?;
        if let Some(rest) = text.strip_prefix("COPY ") {
            return self.copy(rest);
        }
        let setting =
            text.strip_prefix("SET ").and_then(|text| text.trim_end_matches(';').split_once(" = "));
        match setting {
            Some(("default_tablespace", value)) => {
                self.settings.tablespace = unquoted(value);
                return Ok(());
            }
            Some(("default_table_access_method", value)) => {
                self.settings.method = unquoted(value);
                return Ok(());
            }
            Some(("client_encoding", _)) => self.setting(&ObjectType::Encoding, text),
            Some(("standard_conforming_strings", _)) => self.setting(&ObjectType::StdStrings, text),
            _ => {}
        }
        if text.starts_with("SELECT pg_catalog.lo") || text.starts_with("SELECT lo_") {
            return Err(DumpFileError::large_objects());
        }
        self.plain.statements.push(text.to_owned());
        match (head, self.plain.entries.last_mut()) {
            (Some(head), _) => {
                let entry = self.entry(&head, text);
                self.plain.entries.push(entry);
            }
            // What belongs to the object before: its owner, a default, ...
            (None, Some(entry)) => {
                if let Some(object) = owned(entry, text) {
                    // As in a dump with a table of contents: who owns it is told apart, and what has
                    // an owner can be dropped.
                    entry.drop_stmt = Some(format!("DROP {object};\n"));
                } else {
                    entry.defn.get_or_insert_default().push_str(piece);
                }
            }
            // Settings, and what --clean drops.
            (None, None) => {}
        }
        Ok(())
    }

    fn setting(&mut self, kind: &ObjectType, text: &str) {
        let mut entry = blank(kind.as_str(), Section::PreData);
        entry.defn = Some(format!("{text}\n"));
        self.plain.settings.push(entry);
    }

    fn entry(&mut self, head: &Head<'_>, text: &str) -> Entry {
        if matches!(head.kind, "TABLE DATA" | "SEQUENCE SET" | "BLOB" | "BLOBS") {
            self.after_rows = true;
        }
        let section = match head.kind {
            // At the end of a plain dump; privileges of what is there before the rows.
            "ACL" => Section::PreData,
            "COMMENT" | "SECURITY LABEL" => Section::None,
            kind if self.after_rows || is_post(kind) => {
                self.after_rows = true;
                Section::PostData
            }
            _ => Section::PreData,
        };
        let mut entry = blank(head.kind, section);
        let named = |text: &str| (text != "-").then(|| text.to_owned());
        entry.tag = Some(head.name.to_owned());
        entry.namespace = named(head.schema);
        entry.owner = named(head.owner);
        entry.defn = Some(text.to_owned());
        if matches!(head.kind, "TABLE" | "INDEX" | "CONSTRAINT" | "MATERIALIZED VIEW") {
            entry.tablespace = Some(self.settings.tablespace.clone());
        }
        if matches!(head.kind, "TABLE" | "MATERIALIZED VIEW") {
            entry.tableam = Some(self.settings.method.clone());
        }
        entry
    }

    /// Rows behind `COPY ... FROM stdin;`, to the line that ends them.
    fn copy(&mut self, rest: &str) -> Result<(), DumpFileError> {
        self.after_rows = true;
        let (target, rest) = target(rest)?;
        if !rest.eq_ignore_ascii_case("from stdin;") {
            return Err(DumpFileError::Unsupported(format!("COPY ... {rest} is not understood")));
        }
        let table = target.table.clone();
        let mut line = Vec::new();
        self.line(&mut line)?;
        if !line.trim_ascii().is_empty() {
            return Err(self.incomplete(format!("there are no rows behind COPY {table}")));
        }
        let begin = self.at;
        let mut out = self.aside()?;
        loop {
            let before = self.at;
            line.clear();
            self.line(&mut line)?;
            match line.as_slice() {
                b"\\.\n" | b"\\.\r\n" => {
                    let (at, length) = self.put(out, begin, before - begin)?;
                    self.plain.rows.push(Stretch { target, form: Form::Copy, at, length });
                    return Ok(());
                }
                [.., b'\n'] => {}
                _ => {
                    return Err(self.incomplete(format!(
                        "it ends within the rows of {table}: there is no line \\."
                    )));
                }
            }
            if let Some(out) = &mut out {
                out.write_all(&line).map_err(|error| self.io(error))?;
            }
        }
    }

    /// A row, or several. Those of one table follow each other.
    fn insert(&mut self, rest: &str, text: &str) -> Result<(), DumpFileError> {
        self.after_rows = true;
        let (target, _) = target(rest)?;
        if self.inserts.as_ref().is_none_or(|inserts| inserts.target != target) {
            self.end_inserts()?;
            let begin = self.at - u64::try_from(text.len()).unwrap_or(0);
            let out = self.aside()?;
            self.inserts = Some(Inserts { target, out, begin, end: begin });
        }
        let Some(inserts) = &mut self.inserts else { return Ok(()) };
        inserts.end = self.at;
        if let Some(out) = &mut inserts.out {
            let wrote = out.write_all(text.as_bytes()).and_then(|()| out.write_all(b"\n"));
            wrote.map_err(|source| DumpFileError::Io { path: self.path.clone(), source })?;
        }
        Ok(())
    }

    fn end_inserts(&mut self) -> Result<(), DumpFileError> {
        let Some(Inserts { target, out, begin, end }) = self.inserts.take() else { return Ok(()) };
        let (at, length) = self.put(out, begin, end - begin)?;
        self.plain.rows.push(Stretch { target, form: Form::Insert, at, length });
        Ok(())
    }

    /// What rows are copied into, if they have to be.
    fn aside(&self) -> Result<Option<zstd::stream::write::Encoder<'static, File>>, DumpFileError> {
        let Source::Spool(file) = &self.plain.source else { return Ok(None) };
        let file = file.try_clone().map_err(|error| self.io(error))?;
        let encoder = zstd::stream::write::Encoder::new(file, 1);
        encoder.map(Some).map_err(|error| self.io(error))
    }

    /// Where the rows are now.
    fn put(
        &mut self,
        out: Option<zstd::stream::write::Encoder<'static, File>>,
        at: u64,
        length: u64,
    ) -> Result<(u64, u64), DumpFileError> {
        let Some(out) = out else { return Ok((at, length)) };
        let mut file = out.finish().map_err(|error| self.io(error))?;
        let end = file.stream_position().map_err(|error| self.io(error))?;
        let begin = self.plain.rows.last().map_or(0, |last| last.at + last.length);
        Ok((begin, end - begin))
    }

    fn line(&mut self, out: &mut Vec<u8>) -> Result<(), DumpFileError> {
        let read = until_newline(&mut self.input, out).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => self.incomplete("its compressed data is cut off"),
            io::ErrorKind::FileTooLarge => DumpFileError::Unsupported(error.to_string()),
            _ => self.io(error),
        })?;
        self.took(read)
    }
}

const TITLE: &str = "PostgreSQL database dump";

fn has_title(comments: &[u8]) -> bool {
    memchr::memmem::find(comments, TITLE.as_bytes()).is_some()
}

fn not_a_dump(path: &Path) -> DumpFileError {
    let what = "is not a dump: it does not begin with \"-- PostgreSQL database dump\"".into();
    DumpFileError::Kind { path: path.to_owned(), what }
}

fn several() -> DumpFileError {
    DumpFileError::Unsupported(
        "it holds several databases: an archive holds one. Dump each with pg_dump".into(),
    )
}

fn unquoted(value: &str) -> String {
    value.trim_matches(['"', '\'']).to_owned()
}
