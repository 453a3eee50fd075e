//! Rows as people and programs want them: COPY text, CSV, JSON lines, INSERT statements.
//!
//! A blob is written as it comes, piece by piece: a row is never whole in memory beyond its own
//! text.

use crate::format::manifest::{Column, Table, TypeKind};
use crate::format::rows::{self, BlobRef, Bytea, RowError};
use crate::format::sql::{ident, qualified};

use super::args::Format;

/// Where blobs come from and bytes go to.
pub(super) trait Outlet {
    /// Why it cannot go on.
    type Error;

    /// Takes some bytes of output.
    fn write(&mut self, bytes: &[u8]) -> Result<(), Self::Error>;

    /// Writes the bytes of a blob as hex digits.
    fn hex(&mut self, blob: BlobRef) -> Result<(), Self::Error>;
}

/// Why a row cannot be written.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum RowFailure<E> {
    /// The row's text is damaged.
    Row(RowError),
    /// It has another number of fields than the table has columns.
    Fields {
        /// What it has.
        found: usize,
        /// What it should have.
        wanted: usize,
    },
    /// This column's value is not UTF-8, which JSON has to be.
    NotUtf8(String),
    /// What the outlet says.
    Outlet(E),
}

/// Writes the rows of one table in one format.
#[derive(Debug)]
pub(super) struct RowText {
    format: Format,
    columns: Vec<Form>,
    /// Whether blobs are written as the archive refers to them.
    references: bool,
    /// What an INSERT begins with.
    insert: String,
}

/// How a column is written.
#[derive(Debug)]
struct Form {
    name: String,
    bytea: bool,
    json: Json,
    /// The name as a JSON string and a colon.
    key: Vec<u8>,
}

/// What a value is in JSON.
#[derive(Clone, Copy, Debug)]
enum Json {
    Number,
    Boolean,
    Text,
}

impl RowText {
    /// For the stored columns of a table.
    pub(super) fn new<'a>(format: Format, columns: impl Iterator<Item = &'a Column>) -> Self {
        let columns = columns
            .map(|column| {
                let mut key = Vec::new();
                json_string(&mut key, &column.name);
                key.push(b':');
                let (bytea, json) = (column.is_bytea(), json_form(column));
                Form { name: column.name.clone(), bytea, json, key }
            })
            .collect();
        Self { format, columns, references: false, insert: String::new() }
    }

    /// For a table as a whole; `references` leaves blobs as the archive refers to them.
    pub(super) fn of_table(format: Format, table: &Table, references: bool) -> Self {
        let names: Vec<String> = table.stored_columns().map(|column| ident(&column.name)).collect();
        let identity = table.stored_columns().any(|column| column.identity);
        let overriding = if identity { " OVERRIDING SYSTEM VALUE" } else { "" };
        let insert = if names.is_empty() {
            format!("INSERT INTO {} DEFAULT VALUES", qualified(&table.name))
        } else {
            let (name, names) = (qualified(&table.name), names.join(", "));
            format!("INSERT INTO {name} ({names}){overriding} VALUES (")
        };
        Self { references, insert, ..Self::new(format, table.stored_columns()) }
    }

    /// What comes before the rows: CSV's line of names.
    pub(super) fn header<O: Outlet>(&self, out: &mut O) -> Result<(), O::Error> {
        if self.format != Format::Csv {
            return Ok(());
        }
        let mut line = Vec::new();
        for (at, column) in self.columns.iter().enumerate() {
            if at > 0 {
                line.push(b',');
            }
            csv_field(&mut line, column.name.as_bytes(), self.columns.len() == 1);
        }
        line.push(b'\n');
        out.write(&line)
    }

    /// Writes one row, given without its newline.
    pub(super) fn row<O: Outlet>(
        &self,
        row: &[u8],
        out: &mut O,
    ) -> Result<(), RowFailure<O::Error>> {
        let found = match self.columns.len() {
            0 => usize::from(!row.is_empty()),
            _ => rows::fields(row).count(),
        };
        if found != self.columns.len() {
            return Err(RowFailure::Fields { found, wanted: self.columns.len() });
        }
        match self.format {
            Format::Jsonl => self.write(out, b"{")?,
            Format::Insert => self.write(out, self.insert.as_bytes())?,
            Format::Copy | Format::Csv => {}
        }
        for (at, (column, field)) in self.columns.iter().zip(rows::fields(row)).enumerate() {
            let between: &[u8] = match (at, self.format) {
                (0, _) => b"",
                (_, Format::Copy) => b"\t",
                (_, Format::Csv | Format::Jsonl) => b",",
                (_, Format::Insert) => b", ",
            };
            self.write(out, between)?;
            if self.format == Format::Jsonl {
                self.write(out, &column.key)?;
            }
            self.field(column, field, out)?;
        }
        let end: &[u8] = match self.format {
            Format::Jsonl => b"}\n",
            Format::Insert if self.columns.is_empty() => b";\n",
            Format::Insert => b");\n",
            Format::Copy | Format::Csv => b"\n",
        };
        self.write(out, end)
    }

    #[expect(clippy::unused_self, reason = "reads as the others do")]
    fn write<O: Outlet>(&self, out: &mut O, bytes: &[u8]) -> Result<(), RowFailure<O::Error>> {
        out.write(bytes).map_err(RowFailure::Outlet)
    }

    fn field<O: Outlet>(
        &self,
        column: &Form,
        field: &[u8],
        out: &mut O,
    ) -> Result<(), RowFailure<O::Error>> {
        if column.bytea
            && let Some(Bytea::Blob(blob)) = rows::bytea(field).map_err(RowFailure::Row)?
        {
            if self.references {
                let (before, after): (&[u8], &[u8]) =
                    if self.format == Format::Jsonl { (b"\"", b"\"") } else { (b"", b"") };
                self.write(out, before)?;
                self.write(out, field)?;
                return self.write(out, after);
            }
            let (before, after): (&[u8], &[u8]) = match self.format {
                // The same whatever standard_conforming_strings is.
                Format::Insert => (b"E'\\\\x", b"'"),
                Format::Copy => (b"\\\\x", b""),
                Format::Csv => (b"\\x", b""),
                Format::Jsonl => (b"\"\\\\x", b"\""),
            };
            self.write(out, before)?;
            out.hex(blob).map_err(RowFailure::Outlet)?;
            return self.write(out, after);
        }
        if self.format == Format::Copy {
            return self.write(out, field);
        }
        let value = rows::unescape(field).map_err(RowFailure::Row)?;
        let mut text = Vec::with_capacity(field.len() + 2);
        match (self.format, value) {
            (Format::Csv, None) => {}
            (Format::Csv, Some(value)) => csv_field(&mut text, &value, self.columns.len() == 1),
            (Format::Insert, None) => text.extend_from_slice(b"NULL"),
            (Format::Insert, Some(value)) => sql_value(&mut text, &value, column.json),
            (_, None) => text.extend_from_slice(b"null"),
            (_, Some(value)) => {
                let value = std::str::from_utf8(&value)
                    .map_err(|_| RowFailure::NotUtf8(column.name.clone()))?;
                json_value(&mut text, value, column.json);
            }
        }
        self.write(out, &text)
    }
}

/// As COPY writes CSV: quoted only where it must be. NULL is nothing, an empty string is `""`.
fn csv_field(out: &mut Vec<u8>, value: &[u8], alone: bool) {
    let special = |byte: &u8| matches!(byte, b',' | b'"' | b'\n' | b'\r');
    // `\.` alone on a line would end the data.
    if !value.is_empty() && !value.iter().any(special) && (!alone || value != b"\\.") {
        out.extend_from_slice(value);
        return;
    }
    out.push(b'"');
    for byte in value {
        if *byte == b'"' {
            out.push(b'"');
        }
        out.push(*byte);
    }
    out.push(b'"');
}

/// A literal that means the same whatever `standard_conforming_strings` is. The server gives it
/// the column's type.
fn sql_value(out: &mut Vec<u8>, value: &[u8], form: Json) {
    match (form, value) {
        (Json::Boolean, b"t") => return out.extend_from_slice(b"true"),
        (Json::Boolean, b"f") => return out.extend_from_slice(b"false"),
        (Json::Number, number) if std::str::from_utf8(number).is_ok_and(is_integer) => {
            return out.extend_from_slice(number);
        }
        _ => {}
    }
    if value.contains(&b'\\') {
        out.push(b'E');
    }
    out.push(b'\'');
    for byte in value {
        if matches!(byte, b'\'' | b'\\') {
            out.push(*byte);
        }
        out.push(*byte);
    }
    out.push(b'\'');
}

fn json_form(column: &Column) -> Json {
    if column.base.kind != TypeKind::Base || column.base.name.schema != "pg_catalog" {
        return Json::Text;
    }
    match column.base.name.name.as_str() {
        "int2" | "int4" | "int8" | "oid" => Json::Number,
        "bool" => Json::Boolean,
        _ => Json::Text,
    }
}

fn json_value(out: &mut Vec<u8>, value: &str, form: Json) {
    match (form, value) {
        (Json::Boolean, "t") => out.extend_from_slice(b"true"),
        (Json::Boolean, "f") => out.extend_from_slice(b"false"),
        (Json::Number, number) if is_integer(number) => out.extend_from_slice(number.as_bytes()),
        _ => json_string(out, value),
    }
}

/// Whether JSON reads it as a number too: nothing an archive says is believed.
fn is_integer(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain && (digits == "0" || !digits.starts_with('0'))
}

fn json_string(out: &mut Vec<u8>, text: &str) {
    // Writing to a vector cannot fail, and a string is always JSON.
    _ = serde_json::to_writer(out, text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::digest::Digest;

    fn column(name: &str, base: &str) -> Column {
        Column::new(name, base)
    }

    /// Collects; every blob is `00ff`.
    #[derive(Default)]
    struct Collected(Vec<u8>);

    impl Outlet for Collected {
        type Error = ();

        fn write(&mut self, bytes: &[u8]) -> Result<(), ()> {
            self.0.extend_from_slice(bytes);
            Ok(())
        }

        fn hex(&mut self, _: BlobRef) -> Result<(), ()> {
            self.write(b"00ff")
        }
    }

    fn all(format: Format, columns: &[Column], text: &[u8]) -> Result<String, RowFailure<()>> {
        let mut out = Collected::default();
        let rows_of = RowText::new(format, columns.iter());
        rows_of.header(&mut out).unwrap();
        for row in rows::rows(text) {
            rows_of.row(row, &mut out)?;
        }
        Ok(String::from_utf8(out.0).unwrap())
    }

    fn sample() -> (Vec<Column>, String) {
        let columns = [("id", "int4"), ("na,me", "text"), ("ok", "bool"), ("file", "bytea")];
        let columns = columns.map(|(name, base)| column(name, base)).to_vec();
        let blob = format!("#{}:65", Digest::of(b""));
        let text = format!("1\ta\\tb\tt\t{blob}\n-2\t\\N\tf\t\\\\x0aff\n\\N\t\t\\N\t\\N\n");
        (columns, text)
    }

    #[test]
    fn copy_puts_blobs_back() {
        let (columns, text) = sample();
        let out = all(Format::Copy, &columns, text.as_bytes()).unwrap();
        assert_eq!(out, "1\ta\\tb\tt\t\\\\x00ff\n-2\t\\N\tf\t\\\\x0aff\n\\N\t\t\\N\t\\N\n");
    }

    #[test]
    fn csv_tells_null_from_empty() {
        let (columns, text) = sample();
        let out = all(Format::Csv, &columns, text.as_bytes()).unwrap();
        assert_eq!(out, "id,\"na,me\",ok,file\n1,a\tb,t,\\x00ff\n-2,,f,\\x0aff\n,\"\",,\n");
        let one = [column("a", "text")];
        let out = all(Format::Csv, &one, b"\\\\.\na\"b\nc\\nd\n").unwrap();
        assert_eq!(out, "a\n\"\\.\"\n\"a\"\"b\"\n\"c\nd\"\n");
    }

    #[test]
    fn jsonl_is_json() {
        let (columns, text) = sample();
        let out = all(Format::Jsonl, &columns, text.as_bytes()).unwrap();
        assert_eq!(
            out,
            concat!(
                r#"{"id":1,"na,me":"a\tb","ok":true,"file":"\\x00ff"}"#,
                "\n",
                r#"{"id":-2,"na,me":null,"ok":false,"file":"\\x0aff"}"#,
                "\n",
                r#"{"id":null,"na,me":"","ok":null,"file":null}"#,
                "\n"
            )
        );
        for line in out.lines() {
            serde_json::from_str::<serde_json::Value>(line).unwrap();
        }
        // A damaged or hostile number must not break the line.
        let number = [column("n", "int4")];
        for bad in ["1,\"x\":2", "01", "-", "1e5", "", "+1"] {
            let out = all(Format::Jsonl, &number, format!("{bad}\n").as_bytes()).unwrap();
            let value: serde_json::Value = serde_json::from_str(out.trim_end()).unwrap();
            assert_eq!(value["n"], bad);
        }
        let text = [column("t", "text")];
        let failure = all(Format::Jsonl, &text, b"\xff\n");
        assert_eq!(failure, Err(RowFailure::NotUtf8("t".to_owned())));
    }

    #[test]
    fn rows_without_columns_are_rows() {
        assert_eq!(all(Format::Copy, &[], b"\n\n").as_deref(), Ok("\n\n"));
        assert_eq!(all(Format::Jsonl, &[], b"\n").as_deref(), Ok("{}\n"));
    }

    /// Guards against values that end their own quotes, and against a blob cut short.
    #[test]
    fn inserts_are_whole_statements() {
        let (columns, text) = sample();
        let mut table = crate::cli::names::tests::manifest(&[("public", "t")]).tables.remove(0);
        table.columns = columns;
        table.columns[0].identity = true;
        let written = |table: &Table, text: &[u8], references: bool| {
            let mut out = Collected::default();
            let rows_of = RowText::of_table(Format::Insert, table, references);
            for row in rows::rows(text) {
                rows_of.row(row, &mut out).unwrap();
            }
            String::from_utf8(out.0).unwrap()
        };
        let begin = r#"INSERT INTO "public"."t" ("id", "na,me", "ok", "file") OVERRIDING SYSTEM VALUE VALUES"#;
        assert_eq!(
            written(&table, text.as_bytes(), false),
            format!(
                "{begin} (1, 'a\tb', true, E'\\\\x00ff');\n\
                 {begin} (-2, NULL, false, E'\\\\x0aff');\n\
                 {begin} (NULL, '', NULL, NULL);\n"
            )
        );
        table.columns = vec![column("a", "text")];
        let begin = r#"INSERT INTO "public"."t" ("a") VALUES"#;
        assert_eq!(written(&table, b"it's\\\\\n", false), format!("{begin} (E'it''s\\\\');\n"));
        table.columns.clear();
        assert_eq!(written(&table, b"\n", false), "INSERT INTO \"public\".\"t\" DEFAULT VALUES;\n");
    }

    #[test]
    fn rows_of_another_width_are_refused() {
        let one = [column("a", "text")];
        assert_eq!(
            all(Format::Copy, &one, b"a\tb\n"),
            Err(RowFailure::Fields { found: 2, wanted: 1 })
        );
        assert_eq!(all(Format::Copy, &[], b"x\n"), Err(RowFailure::Fields { found: 1, wanted: 0 }));
        // Text that begins like a reference is text where the column is no bytea.
        assert_eq!(all(Format::Copy, &one, b"#1\n").as_deref(), Ok("#1\n"));
    }
}
