//! Plain SQL as `pg_dump` writes it, read once from front to back: the statements of the schema are
//! kept, rows are passed over. Where the file cannot be read again, rows are copied aside.

use std::fs::File;
use std::io::{self, BufRead, Seek as _, Write as _};
use std::path::{Path, PathBuf};

use libpgdump::{Entry, ObjectType, Section};

use super::contents;
use super::ddl::{End, Splitter, large_object, session_authorization, standard_strings};
use super::encoding::Encoding;
use super::error::DumpFileError;
use super::heads::{Head, behind_comments, blank, is_post, owned, sql};
use super::large::{Among, LargeObjects, Place, Then};
use super::names::{Target, target};
use super::plain::{Plain, Source, Stretch};
use super::reader::{Form, ROW, until_newline};

/// The longest statement that is no row.
const LONGEST: usize = 64 << 20;

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
        statements: Vec::new(),
        rows: Vec::new(),
        large_objects: LargeObjects::default(),
        encoding: Encoding::default(),
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
        first: Vec::new(),
        settings: Settings::default(),
        has_head: false,
        complete: false,
        after_rows: false,
        inserts: None,
        of: None,
        encoding: None,
        standard: true,
        among: Among::default(),
        bytes: Bytes::default(),
        spooled: 0,
        read,
        told: 0,
    };
    scan.all()?;
    let mut plain = scan.plain;
    plain.encoding = scan.encoding.unwrap_or_default();
    for entry in &mut plain.entries {
        entry.defn.get_or_insert_default().push('\n');
    }
    plain.entries.splice(0..0, scan.first);
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
    of: Option<(String, String)>,
    out: Option<Aside>,
    begin: u64,
    end: u64,
}

/// What writes the bytes of the large object that is open.
#[derive(Default)]
struct Bytes {
    out: Option<Aside>,
    begin: u64,
    end: u64,
}

type Aside = zstd::stream::write::Encoder<'static, File>;

struct Scan<'a> {
    path: PathBuf,
    input: Box<dyn BufRead>,
    /// Bytes read so far.
    at: u64,
    splitter: Splitter,
    plain: Plain,
    /// Settings that all objects rely on.
    first: Vec<Entry>,
    settings: Settings,
    has_head: bool,
    complete: bool,
    after_rows: bool,
    inserts: Option<Inserts>,
    /// Of which table rows come now, by the last comment that says so.
    of: Option<(String, String)>,
    /// What the dump says it is encoded in, once it does.
    encoding: Option<Encoding>,
    standard: bool,
    among: Among,
    bytes: Bytes,
    /// Bytes in the file aside.
    spooled: u64,
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
            let length = behind_comments(&piece).len();
            let text = self.text(std::mem::take(&mut piece), length)?;
            match end {
                End::Command => self.command(&text)?,
                End::Statement => self.statement(&text, length)?,
            }
        }
        self.end_inserts()?;
        self.among.between()?;
        if !self.has_head && !has_title(&piece) {
            return Err(not_a_dump(&self.path));
        }
        // What is left is comments: of tables too that have no rows to insert.
        let tail = self.text(piece, 0)?;
        self.head(&tail)?;
        if !self.complete {
            return Err(self.incomplete(
                "it does not end with \"-- PostgreSQL database dump complete\": it was cut off, or \
                 pg_dump failed",
            ));
        }
        Ok(())
    }

    /// A piece as text; the last `length` bytes of it are behind its comments.
    fn text(&self, mut piece: Vec<u8>, length: usize) -> Result<String, DumpFileError> {
        // Only comments come before the dump says how it is encoded, and some name a time zone as
        // the system of whoever made it does.
        let comments = piece.len().saturating_sub(length);
        if self.encoding.is_none() && std::str::from_utf8(&piece).is_err() {
            let said = String::from_utf8_lossy(piece.get(..comments).unwrap_or_default());
            piece = [said.as_bytes(), piece.get(comments..).unwrap_or_default()].concat();
        }
        self.encoding.unwrap_or_default().text(piece).map_err(|what| {
            let what = format!("a statement has {what}");
            DumpFileError::Unsupported(format!("{what}: dump with pg_dump --encoding=UTF8"))
        })
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
        self.end_inserts()?;
        self.among.between()?;
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

    /// `length`: bytes of it in the dump, without the comments before it.
    fn statement(&mut self, piece: &str, length: usize) -> Result<(), DumpFileError> {
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
            self.standard = on;
        }
        let (head, last) = (Head::of(piece), Head::last(piece));
        if let Some(last) = &last {
            let rows = last.kind == "TABLE DATA";
            self.of = rows.then(|| (last.schema.to_owned(), last.name.to_owned()));
        }
        if let Some(rest) = text.strip_prefix("INSERT INTO ") {
            self.among.between()?;
            return self.insert(rest, text, length);
        }
        self.end_inserts()?;
        self.among.comments(last.as_ref());
        if self.large_object(text, length)? {
            return Ok(());
        }
        self.among.between()?;
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
            Some(("client_encoding", _)) => self.client_encoding(text)?,
            Some(("standard_conforming_strings", _)) => self.setting(&ObjectType::StdStrings, text),
            _ => {}
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

    fn client_encoding(&mut self, text: &str) -> Result<(), DumpFileError> {
        let encoding = contents::named(text)?;
        if self.encoding.replace(encoding).is_some_and(|before| before.name() != encoding.name()) {
            let what = "it changes its encoding in between".to_owned();
            return Err(DumpFileError::Unsupported(what));
        }
        // Which is what it becomes.
        let text = if encoding.converts() { "SET client_encoding = 'UTF8';" } else { text };
        self.setting(&ObjectType::Encoding, text);
        Ok(())
    }

    /// Takes in a statement, if it is about large objects.
    fn large_object(&mut self, text: &str, length: usize) -> Result<bool, DumpFileError> {
        if let Some(role) = session_authorization(text, self.standard)? {
            self.plain.large_objects.session(role);
            return self.among.role();
        }
        let Some(said) = large_object(text, self.standard)? else {
            return Ok(self.among.around(text));
        };
        match self.among.statement(&said)? {
            Then::Said => {}
            Then::Begin => {
                self.after_rows = true;
                self.bytes = Bytes { out: None, begin: self.at, end: self.at };
            }
            Then::Bytes => {
                if self.bytes.begin == self.bytes.end {
                    let begin = self.at - u64::try_from(length).unwrap_or(0);
                    self.bytes = Bytes { out: self.aside()?, begin, end: begin };
                }
                self.bytes.end = self.at;
                if let Some(out) = &mut self.bytes.out {
                    let wrote = out.write_all(text.as_bytes()).and_then(|()| out.write_all(b"\n"));
                    wrote
                        .map_err(|source| DumpFileError::Io { path: self.path.clone(), source })?;
                }
            }
            Then::End(oid) => {
                let Bytes { out, begin, end } = std::mem::take(&mut self.bytes);
                let place = self.put(out, begin, end - begin)?;
                self.plain.large_objects.data(oid, place)?;
            }
        }
        self.plain.large_objects.said(said)?;
        Ok(true)
    }

    fn setting(&mut self, kind: &ObjectType, text: &str) {
        let mut entry = blank(kind.as_str(), Section::PreData);
        entry.defn = Some(format!("{text}\n"));
        self.first.push(entry);
    }

    fn entry(&mut self, head: &Head<'_>, text: &str) -> Entry {
        if matches!(head.kind, "TABLE DATA" | "SEQUENCE SET") {
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
                    let place = self.put(out, begin, before - begin)?;
                    let encoding = self.encoding.unwrap_or_default();
                    let (of, form) = (self.of.clone(), Form::Copy);
                    self.plain.rows.push(Stretch { target, of, form, place, encoding });
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
    fn insert(&mut self, rest: &str, text: &str, length: usize) -> Result<(), DumpFileError> {
        self.after_rows = true;
        let (target, _) = target(rest)?;
        let same = |inserts: &Inserts| inserts.target == target && inserts.of == self.of;
        if !self.inserts.as_ref().is_some_and(same) {
            self.end_inserts()?;
            let begin = self.at - u64::try_from(length).unwrap_or(0);
            let out = self.aside()?;
            let of = self.of.clone();
            self.inserts = Some(Inserts { target, of, out, begin, end: begin });
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
        let Some(Inserts { target, of, out, begin, end }) = self.inserts.take() else {
            return Ok(());
        };
        // What was put aside is text already.
        let encoding = match out {
            Some(_) => Encoding::default(),
            None => self.encoding.unwrap_or_default(),
        };
        let place = self.put(out, begin, end - begin)?;
        self.plain.rows.push(Stretch { target, of, form: Form::Insert, place, encoding });
        Ok(())
    }

    /// What rows are copied into, if they have to be.
    fn aside(&self) -> Result<Option<Aside>, DumpFileError> {
        let Source::Spool(file) = &self.plain.source else { return Ok(None) };
        let file = file.try_clone().map_err(|error| self.io(error))?;
        let encoder = zstd::stream::write::Encoder::new(file, 1);
        encoder.map(Some).map_err(|error| self.io(error))
    }

    /// Where it is now.
    fn put(&mut self, out: Option<Aside>, at: u64, length: u64) -> Result<Place, DumpFileError> {
        let Some(out) = out else { return Ok(Place { at, length }) };
        let mut file = out.finish().map_err(|error| self.io(error))?;
        let end = file.stream_position().map_err(|error| self.io(error))?;
        let at = std::mem::replace(&mut self.spooled, end);
        Ok(Place { at, length: end - at })
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
