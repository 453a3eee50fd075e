//! Segments of row text, and the blobs they refer to, as the bytes of a COPY. Pure work, done on
//! rayon a piece at a time.

use std::ops::Range;
use std::sync::Arc;

use super::binary::{self, Form};
use crate::format::manifest::Table;
use crate::format::reader::{Archive, PackCache, ReadError};
use crate::format::rows::{self, BlobRef, Bytea, RowError};
use crate::pg::{ident, qualified};

/// Bytes of a piece, unless one row is longer.
const PIECE: usize = 2 << 20;
/// Blobs of a row that together are longer than this go another way than COPY: see [`super::big`].
pub(super) const BIG: u64 = 32 << 20;

/// What is wrong with rows that are to be loaded.
#[derive(Debug, thiserror::Error)]
pub enum RowProblem {
    /// The archive cannot be read there.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A row has another number of fields than the table has columns.
    #[error("a row of {found} fields where the table has {expected} columns")]
    Fields {
        /// What it has.
        found: usize,
        /// What it should have.
        expected: usize,
    },
    /// A field cannot be parsed.
    #[error("column {column}: {source}")]
    Field {
        /// The column.
        column: String,
        /// What is wrong.
        source: RowError,
    },
    /// A field is not a value of its type.
    #[error("column {column}: {value:?} is not how a {sql_type} is written")]
    Value {
        /// The column.
        column: String,
        /// Its declared type.
        sql_type: String,
        /// The beginning of the value.
        value: String,
    },
    /// A conversion failed in a way that it must not.
    #[error("internal error while converting rows")]
    Internal,
}

/// How a table's rows are given to the server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Encoding {
    /// As they are in the archive.
    Text,
    /// As text, with blobs in hex: some column has no binary form that we know.
    Hex,
    /// In binary, with blobs as they are.
    Binary,
}

/// A table as far as loading it goes.
#[derive(Debug)]
pub(super) struct Shape {
    pub(super) table: Table,
    pub(super) encoding: Encoding,
    pub(super) columns: Vec<ColumnShape>,
    /// The COPY statement.
    pub(super) copy: String,
}

#[derive(Debug)]
pub(super) struct ColumnShape {
    pub(super) name: String,
    sql_type: String,
    form: Option<Form>,
    pub(super) bytea: bool,
}

impl Shape {
    pub(super) fn new(table: &Table) -> Self {
        let columns: Vec<ColumnShape> = table
            .stored_columns()
            .map(|column| ColumnShape {
                name: column.name.clone(),
                sql_type: column.sql_type.clone(),
                form: binary::form(column),
                bytea: column.is_bytea(),
            })
            .collect();
        let encoding = if !columns.iter().any(|column| column.bytea) {
            Encoding::Text
        } else if columns.iter().all(|column| column.form.is_some()) {
            Encoding::Binary
        } else {
            Encoding::Hex
        };
        let names: Vec<String> = columns.iter().map(|column| ident(&column.name)).collect();
        // SQL has no way to write an empty list; without a list it means all that are stored.
        let list =
            if names.is_empty() { String::new() } else { format!(" ({})", names.join(", ")) };
        let format = if encoding == Encoding::Binary { " (FORMAT binary)" } else { "" };
        let copy = format!("COPY {}{list} FROM STDIN{format}", qualified(&table.name));
        Self { table: table.clone(), encoding, columns, copy }
    }

    /// The fields of a row, as many as there are columns.
    pub(super) fn fields<'a>(&self, row: &'a [u8]) -> Result<Vec<&'a [u8]>, RowProblem> {
        let fields: Vec<&[u8]> =
            if self.columns.is_empty() { Vec::new() } else { rows::fields(row).collect() };
        if fields.len() == self.columns.len() && (!fields.is_empty() || row.is_empty()) {
            Ok(fields)
        } else {
            Err(RowProblem::Fields { found: fields.len(), expected: self.columns.len() })
        }
    }
}

impl ColumnShape {
    pub(super) fn bytea(&self, field: &[u8]) -> Result<Option<Bytea>, RowProblem> {
        rows::bytea(field).map_err(|source| self.problem(source))
    }

    pub(super) fn problem(&self, source: RowError) -> RowProblem {
        RowProblem::Field { column: self.name.clone(), source }
    }

    fn bad_value(&self, value: &[u8]) -> RowProblem {
        RowProblem::Value {
            column: self.name.clone(),
            sql_type: self.sql_type.clone(),
            value: String::from_utf8_lossy(value).chars().take(60).collect(),
        }
    }
}

/// Bytes for the server: whole rows.
#[derive(Debug, Default)]
pub(super) struct Piece {
    pub(super) bytes: Vec<u8>,
    pub(super) rows: u64,
    /// Whether there may be more.
    pub(super) more: bool,
}

/// Goes through a range of segments.
pub(super) struct Cursor {
    archive: Arc<Archive>,
    shape: Arc<Shape>,
    segments: Range<u64>,
    text: Vec<u8>,
    at: usize,
    cache: PackCache,
    /// Rows with too much in them for COPY, as row text.
    pub(super) big: Vec<Vec<u8>>,
}

impl Cursor {
    pub(super) fn new(archive: Arc<Archive>, shape: Arc<Shape>, segments: Range<u64>) -> Self {
        let (text, cache, big) = (Vec::new(), PackCache::default(), Vec::new());
        Self { archive, shape, segments, text, at: 0, cache, big }
    }

    /// The next rows; the piece may be empty though there are more.
    pub(super) fn piece(&mut self) -> Result<Piece, RowProblem> {
        let mut piece = Piece { more: true, ..Piece::default() };
        while piece.bytes.len() < PIECE {
            if self.at >= self.text.len() {
                let Some(number) = self.segments.next() else {
                    piece.more = false;
                    break;
                };
                self.text = self.archive.segment(number)?;
                self.at = 0;
                if self.shape.encoding == Encoding::Text {
                    self.at = self.text.len();
                    piece.rows += count(rows::rows(&self.text).count());
                    if piece.bytes.is_empty() {
                        piece.bytes = std::mem::take(&mut self.text);
                        self.at = 0;
                    } else {
                        piece.bytes.extend_from_slice(&self.text);
                    }
                }
                continue;
            }
            let text = std::mem::take(&mut self.text);
            let rest = text.get(self.at..).unwrap_or_default();
            let row = rows::rows(rest).next().unwrap_or_default();
            self.at += row.len() + 1;
            let taken = self.row(row, &mut piece);
            self.text = text;
            taken?;
        }
        Ok(piece)
    }

    fn row(&mut self, row: &[u8], piece: &mut Piece) -> Result<(), RowProblem> {
        let shape = Arc::clone(&self.shape);
        let fields = shape.fields(row)?;
        let mut total = 0;
        for (column, field) in shape.columns.iter().zip(&fields) {
            if column.bytea
                && field.first() == Some(&b'#')
                && let Some(Bytea::Blob(blob)) = column.bytea(field)?
            {
                total += blob.length;
            }
        }
        if total > BIG {
            self.big.push(row.to_vec());
            return Ok(());
        }
        piece.rows += 1;
        if shape.encoding == Encoding::Binary {
            self.tuple(&shape, &fields, &mut piece.bytes)
        } else {
            self.hex(&shape, &fields, &mut piece.bytes)
        }
    }

    fn tuple(
        &mut self,
        shape: &Shape,
        fields: &[&[u8]],
        out: &mut Vec<u8>,
    ) -> Result<(), RowProblem> {
        crate::pg::tuple::begin_tuple(out, u16::try_from(fields.len()).unwrap_or(u16::MAX));
        for (column, field) in shape.columns.iter().zip(fields) {
            if column.bytea {
                match column.bytea(field)? {
                    None => binary::null(out),
                    Some(Bytea::Inline(bytes)) => binary::encode(Form::Bytea, &bytes, out)
                        .map_err(|_| column.bad_value(field))?,
                    Some(Bytea::Blob(blob)) => {
                        let length =
                            i32::try_from(blob.length).map_err(|_| column.bad_value(field))?;
                        out.extend_from_slice(&length.to_be_bytes());
                        self.blob(blob, |bytes| out.extend_from_slice(bytes))?;
                    }
                }
                continue;
            }
            let value = rows::unescape(field).map_err(|source| column.problem(source))?;
            match (value, column.form) {
                (None, _) => binary::null(out),
                (Some(value), Some(form)) => {
                    binary::encode(form, &value, out).map_err(|_| column.bad_value(&value))?
                }
                (Some(_), None) => return Err(RowProblem::Internal),
            }
        }
        Ok(())
    }

    fn hex(
        &mut self,
        shape: &Shape,
        fields: &[&[u8]],
        out: &mut Vec<u8>,
    ) -> Result<(), RowProblem> {
        for (at, (column, field)) in shape.columns.iter().zip(fields).enumerate() {
            if at > 0 {
                out.push(b'\t');
            }
            if column.bytea
                && field.first() == Some(&b'#')
                && let Some(Bytea::Blob(blob)) = column.bytea(field)?
            {
                out.extend_from_slice(b"\\\\x");
                self.blob(blob, |bytes| hex_into(out, bytes))?;
            } else {
                out.extend_from_slice(field);
            }
        }
        out.push(b'\n');
        Ok(())
    }

    fn blob(&mut self, blob: BlobRef, mut out: impl FnMut(&[u8])) -> Result<(), RowProblem> {
        let mut take = |bytes: &[u8]| {
            out(bytes);
            Ok(())
        };
        Ok(self.archive.blob(blob, &mut self.cache, &mut take)?)
    }
}

fn hex_into(out: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.reserve(bytes.len() * 2);
    for byte in bytes {
        out.push(DIGITS[usize::from(byte >> 4)]);
        out.push(DIGITS[usize::from(byte & 15)]);
    }
}

fn count(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}
