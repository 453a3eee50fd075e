//! Rows of a dump, from text to batches.

use std::io::{self, BufRead, BufReader, Read};

use super::ddl::{End, Splitter};
use super::heads::behind_comments;
use super::insert::{self, Value};
use super::names;
use super::utc::in_utc;
use crate::format::batch::{Batch, BatchBuilder};
use crate::format::manifest::Table;
use crate::format::rows;

/// How rows are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Form {
    /// As lines behind `COPY`.
    Copy,
    /// As `INSERT`.
    Insert,
}

/// Bytes of the longest row as text: a value of 1 GiB has two digits a byte, and names and other
/// values stand beside it.
pub(super) const ROW: usize = (2 << 30) + (64 << 20);

/// Reads on behind the next line end, or to the end; no more than a row can have.
pub(super) fn until_newline(input: &mut dyn BufRead, out: &mut Vec<u8>) -> io::Result<usize> {
    let most = u64::try_from(ROW).unwrap_or(u64::MAX);
    let read = input.take(most).read_until(b'\n', out)?;
    if read == ROW && !out.ends_with(b"\n") {
        let what = format!("a row has more than {ROW} bytes");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, what));
    }
    Ok(read)
}

/// Bytes of a run of rows, unless one row is longer.
const RUN: usize = 2 << 20;

/// Cuts rows into runs: a row is never cut.
pub(super) struct Runs<'a> {
    input: BufReader<Box<dyn Read + 'a>>,
    form: Form,
    splitter: Splitter,
    /// Whether the end of the rows was seen, and has to be.
    ended: bool,
    marked: bool,
}

impl<'a> Runs<'a> {
    /// `marked`: lines of COPY end with a line `\.`, statements with an empty line, and without that
    /// they are cut off.
    pub(super) fn new(input: Box<dyn Read + 'a>, form: Form, standard: bool, marked: bool) -> Self {
        let mut splitter = Splitter::new();
        splitter.set_standard_strings(standard);
        let input = BufReader::with_capacity(256 << 10, input);
        Self { input, form, splitter, ended: false, marked }
    }

    /// The next run. After the last, everything behind it was read too, and is nothing.
    pub(super) fn next(&mut self) -> Result<Option<Vec<u8>>, String> {
        if self.ended {
            return Ok(None);
        }
        let mut run = Vec::with_capacity(RUN + RUN / 4);
        match self.form {
            Form::Copy => self.lines(&mut run)?,
            Form::Insert => self.statements(&mut run)?,
        }
        Ok(if run.is_empty() { None } else { Some(run) })
    }

    fn lines(&mut self, run: &mut Vec<u8>) -> Result<(), String> {
        while run.len() < RUN {
            let begin = run.len();
            let read = until_newline(&mut self.input, run).map_err(|error| cut(&error))?;
            let line = run.get(begin..).unwrap_or_default();
            match line {
                b"\\.\n" | b"\\.\r\n" => {
                    run.truncate(begin);
                    return self.rest();
                }
                [.., b'\n'] => {}
                _ if read == 0 && !self.marked => {
                    self.ended = true;
                    return Ok(());
                }
                _ => return Err("they are cut off: there is no line \\. behind them".into()),
            }
        }
        Ok(())
    }

    fn statements(&mut self, run: &mut Vec<u8>) -> Result<(), String> {
        while run.len() < RUN {
            let begin = run.len();
            loop {
                let bytes = self.input.fill_buf().map_err(|error| cut(&error))?;
                if bytes.is_empty() {
                    self.ended = true;
                    let left = run.split_off(begin);
                    if !left.trim_ascii().is_empty() {
                        return Err("they are cut off: a statement has no end".into());
                    }
                    // A run's last statement came with the call before.
                    let closed = left.ends_with(b"\n\n") || left.is_empty() && begin == 0;
                    return if self.marked && !closed {
                        Err("they are cut off: there is no empty line behind them".into())
                    } else {
                        Ok(())
                    };
                }
                let (length, end) = self.splitter.push(bytes).map_err(|error| error.to_string())?;
                run.extend_from_slice(bytes.get(..length).unwrap_or(bytes));
                self.input.consume(length);
                if run.len() - begin > ROW {
                    return Err(format!("a statement has more than {ROW} bytes"));
                }
                match end {
                    None => {}
                    Some(End::Statement) => break,
                    Some(End::Command) => return Err("there is a command to psql in them".into()),
                }
            }
        }
        Ok(())
    }

    /// Nothing but empty lines may follow; reading them proves what is packed.
    fn rest(&mut self) -> Result<(), String> {
        self.ended = true;
        let mut rest = Vec::new();
        self.input.by_ref().take(64).read_to_end(&mut rest).map_err(|error| cut(&error))?;
        if rest.trim_ascii().is_empty() { Ok(()) } else { Err("there is more behind them".into()) }
    }
}

fn cut(error: &io::Error) -> String {
    format!("they cannot be read: {error}")
}

/// How a column's text becomes a field.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    /// As it is.
    Text,
    /// `bytea`, in hex or escaped.
    Bytea,
    /// A time with a zone, which may be any.
    Time,
    /// Money, which is written as a place has it.
    Money,
}

/// How rows of one table are taken.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    kinds: Vec<Kind>,
    /// Of all columns, generated ones too: the place of each among the stored ones.
    places: Vec<Option<usize>>,
    /// Stored columns in the order of the dump.
    names: Vec<String>,
    /// Whether a row that does not list them has them in that order.
    ordered: bool,
    standard: bool,
}

impl Shape {
    /// Of a table whose stored columns are in the order of the dump.
    pub(super) fn of(table: &Table, standard: bool) -> Self {
        let kind = |name: &str| match name {
            "bytea" => Kind::Bytea,
            "timestamptz" => Kind::Time,
            "money" => Kind::Money,
            _ => Kind::Text,
        };
        let kinds = table
            .stored_columns()
            .map(|column| match column.base.name.schema.as_str() {
                "pg_catalog" => kind(&column.base.name.name),
                _ => Kind::Text,
            })
            .collect();
        let mut stored = 0;
        let places = table.columns.iter().map(|column| {
            (!column.generated).then(|| {
                stored += 1;
                stored - 1
            })
        });
        let names = table.stored_columns().map(|column| column.name.clone()).collect();
        // Parents' columns come first when it is made again, wherever they were.
        let ordered = table.inherits.is_empty();
        Self { kinds, places: places.collect(), names, ordered, standard }
    }

    /// Whether lines of COPY are rows of an archive as they stand.
    fn passes(&self) -> bool {
        self.kinds.iter().all(|kind| *kind == Kind::Text)
    }

    /// A run as a batch.
    pub(super) fn batch(
        &self,
        form: Form,
        run: Vec<u8>,
        mut builder: BatchBuilder,
    ) -> Result<Batch, String> {
        match form {
            Form::Copy if self.passes() => {
                let batch = Batch::from_copy_text(run).map_err(|error| error.to_string())?;
                return Ok(batch);
            }
            Form::Copy => {
                builder.expect(run.len() / 2);
                for line in rows::rows(&run) {
                    self.line(line, &mut builder)?;
                }
            }
            Form::Insert => self.inserts(&run, &mut builder)?,
        }
        Ok(builder.finish())
    }

    fn line(&self, line: &[u8], builder: &mut BatchBuilder) -> Result<(), String> {
        let mut kinds = self.kinds.iter();
        let wrong = |what: &str| {
            let line = line.get(..80).unwrap_or(line);
            format!("{what}: {:?}", String::from_utf8_lossy(line))
        };
        for field in rows::fields(line) {
            let kind = kinds.next().ok_or_else(|| wrong("a row has too many fields"))?;
            let value = rows::unescape(field).map_err(|error| wrong(&error.to_string()))?;
            put(builder, *kind, value.as_deref()).map_err(|what| wrong(&what))?;
        }
        if kinds.next().is_some() {
            return Err(wrong("a row has too few fields"));
        }
        builder.end_row();
        Ok(())
    }

    fn inserts(&self, run: &[u8], builder: &mut BatchBuilder) -> Result<(), String> {
        let mut splitter = Splitter::new();
        splitter.set_standard_strings(self.standard);
        let mut rest = run;
        while !rest.trim_ascii().is_empty() {
            let (length, _) = splitter.push(rest).map_err(|error| error.to_string())?;
            let (statement, after) = rest.split_at_checked(length).unwrap_or((rest, &[]));
            rest = after;
            let statement = behind_comments(statement).trim_ascii();
            self.insert(statement, builder).map_err(|what| {
                let shown = statement;
                let shown = shown.get(..80).unwrap_or(shown);
                format!("{what}: {:?}", String::from_utf8_lossy(shown))
            })?;
        }
        Ok(())
    }

    fn insert(&self, statement: &[u8], builder: &mut BatchBuilder) -> Result<(), String> {
        const INTO: &[u8] = b"INSERT INTO ";
        let wrong = || "a statement that is no row".to_owned();
        let rest = statement.strip_prefix(INTO).ok_or_else(wrong)?;
        // Names come first, and are short; values may be of any length and encoding.
        let end = memchr::memmem::find(rest, b" VALUES").ok_or_else(wrong)?;
        let head = rest.get(..end).and_then(|head| std::str::from_utf8(head).ok());
        let (target, between) = names::target(head.ok_or_else(wrong)?).map_err(|_| wrong())?;
        if between.trim() == "DEFAULT" && self.kinds.is_empty() {
            builder.end_row();
            return Ok(());
        }
        if !matches!(between.trim(), "" | "OVERRIDING SYSTEM VALUE") {
            return Err(wrong());
        }
        // Without a list, generated columns have a value too: DEFAULT.
        let listed = target.columns.is_some();
        if target.columns.is_some_and(|columns| columns != self.names) {
            return Err("a row lists other columns than the first".into());
        }
        if !listed && !self.ordered {
            return Err(
                "the table inherits from others, and rows without names of columns may have them \
                 in another order: dump with --column-inserts, or without --inserts"
                    .into(),
            );
        }
        let values = rest.get(end + b" VALUES".len()..).unwrap_or_default();
        insert::rows(values, self.standard, |row| {
            let mut values = row.iter();
            if listed {
                for kind in &self.kinds {
                    let value = values.next().ok_or("it has too few values")?;
                    field(builder, *kind, value)?;
                }
            } else {
                for place in &self.places {
                    let value = values.next().ok_or("it has too few values")?;
                    match place.and_then(|place| self.kinds.get(place)) {
                        Some(kind) => field(builder, *kind, value)?,
                        None if *value == Value::Default => {}
                        None => return Err("a generated column has a value".into()),
                    }
                }
            }
            if values.any(|value| *value != Value::Default) {
                return Err("it has too many values".into());
            }
            builder.end_row();
            Ok(())
        })
    }
}

fn field(builder: &mut BatchBuilder, kind: Kind, value: &Value) -> Result<(), String> {
    match value {
        Value::Null => put(builder, kind, None),
        Value::Bool(value) => put(builder, kind, Some(if *value { b"t" } else { b"f" })),
        Value::Text(text) => put(builder, kind, Some(text)),
        Value::Default => Err("DEFAULT for a column that is stored".into()),
    }
}

fn put(builder: &mut BatchBuilder, kind: Kind, value: Option<&[u8]>) -> Result<(), String> {
    let Some(value) = value else {
        builder.null();
        return Ok(());
    };
    match kind {
        Kind::Text => builder.text(value),
        Kind::Bytea => builder.blob(&bytea(value)?),
        Kind::Time => {
            let text = std::str::from_utf8(value).ok().and_then(in_utc);
            builder.text(text.ok_or("a time that is none")?.as_bytes());
        }
        Kind::Money => {
            if !value.iter().all(|byte| byte.is_ascii_digit() || b"-.,$".contains(byte)) {
                return Err("money that is not written as in the C locale".into());
            }
            builder.text(value);
        }
    }
    Ok(())
}

/// The bytes that a text of `bytea` stands for (manual 8.4): hex, or escaped.
pub(super) fn bytea(text: &[u8]) -> Result<Vec<u8>, String> {
    let wrong = || "a value of bytea that is none".to_owned();
    if let Some(hex) = text.strip_prefix(b"\\x") {
        let (pairs, odd) = hex.as_chunks::<2>();
        if !odd.is_empty() {
            return Err(wrong());
        }
        let mut out = Vec::with_capacity(pairs.len());
        let mut bad = 0;
        for [high, low] in pairs {
            let (high, low) = (nibble(*high), nibble(*low));
            bad |= high | low;
            out.push(high << 4 | low & 15);
        }
        return if bad > 15 { Err(wrong()) } else { Ok(out) };
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    loop {
        rest = match rest {
            [] => return Ok(out),
            [b'\\', b'\\', rest @ ..] => {
                out.push(b'\\');
                rest
            }
            [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', rest @ ..] => {
                out.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
                rest
            }
            [b'\\', ..] => return Err(wrong()),
            [byte, rest @ ..] => {
                out.push(*byte);
                rest
            }
        };
    }
}

/// The value of a hex digit; more than 15 if it is none.
fn nibble(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        b'A'..=b'F' => digit - b'A' + 10,
        _ => 0x80,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytea_in_both_forms() {
        assert_eq!(bytea(b"\\x00fFa1").unwrap(), [0, 255, 0xa1]);
        assert_eq!(bytea(b"a\\\\b\\000\\377").unwrap(), b"a\\b\0\xff");
        assert_eq!(bytea(b"").unwrap(), b"");
        for wrong in [&b"\\x0"[..], b"\\xzz", b"\\9", b"\\400", b"\\"] {
            assert!(bytea(wrong).is_err(), "{wrong:?}");
        }
    }

    fn runs(text: &[u8], form: Form, marked: bool) -> Result<Vec<u8>, String> {
        let mut runs = Runs::new(Box::new(text), form, true, marked);
        let mut out = Vec::new();
        while let Some(run) = runs.next()? {
            out.extend(run);
        }
        Ok(out)
    }

    /// What is cut off must be seen, wherever that is.
    #[test]
    fn rows_that_are_cut_off() {
        let copy = b"1\ta\n2\tb\\.\n\\.\n\n\n";
        assert_eq!(runs(copy, Form::Copy, true).unwrap(), b"1\ta\n2\tb\\.\n");
        for length in 0..copy.len() - 2 {
            assert!(runs(&copy[..length], Form::Copy, true).is_err(), "{length}");
        }
        assert!(runs(b"1\n\\.\n2\n", Form::Copy, true).is_err());
        let insert = b"INSERT INTO t VALUES (1, 'a;\n');\nINSERT INTO t VALUES (2, 'b');\n\n\n";
        assert!(runs(insert, Form::Insert, true).is_ok());
        for length in 1..insert.len() - 1 {
            assert!(runs(&insert[..length], Form::Insert, true).is_err(), "{length}");
        }
    }
}
