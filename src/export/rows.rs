//! Rows as COPY blocks: the archive's own row text, with blobs put back in as hex digits.

use super::{ExportError, RowProblem, Writer};
use crate::format::digest::RowSum;
use crate::format::manifest::{Column, Table, TableData};
use crate::format::reader::ReadError;
use crate::format::rows::{self, BlobRef, Bytea};
use crate::format::sql::{ident, literal, qualified};

/// Bytes of a blob that one row of slices has.
const SLICE: usize = 1 << 20;
/// What a row may come to where it is inserted; the rest is set afterwards. A row has a limit of
/// 1 GiB in the server.
const ROW: u64 = 900 << 20;

const SLICES: &str = "CREATE TEMPORARY TABLE IF NOT EXISTS pgark_slices \
    (field pg_catalog.int4, part pg_catalog.int4, data pg_catalog.bytea);\n\
    ALTER TABLE pg_temp.pgark_slices ALTER COLUMN data SET STORAGE EXTERNAL;\n\
    TRUNCATE pg_temp.pgark_slices;\n\n";

impl Writer<'_> {
    pub(super) fn table(&mut self, table: &Table) -> Result<(), ExportError> {
        let Some(data) = table.data else { return Ok(()) };
        let columns: Vec<&Column> = table.stored_columns().collect();
        let shown = table.name.to_string();
        self.progress.on(&shown);
        let copy = copy_statement(table);
        self.out.begin_copy(&copy, columns.len())?;
        let mut sum = RowSum::default();
        self.each_row(&shown, data, &mut sum, |writer, row| {
            let long = check(&columns, row)?;
            if long > writer.options.line_limit {
                writer.out.end_copy()?;
                writer.in_slices(table, &columns, row)?;
                return writer.out.begin_copy(&copy, columns.len()).map_err(Stop::Other);
            }
            writer.row(&columns, row)
        })?;
        // Before the end of the COPY: it must not be taken for whole if these are other rows.
        if sum.rows != data.rows || sum.digest() != data.digest {
            return Err(ExportError::Rows(shown));
        }
        self.out.end_copy()?;
        self.report.tables += 1;
        self.report.rows += data.rows;
        Ok(())
    }

    /// Gives every row to `each`, with what goes wrong placed.
    pub(super) fn each_row(
        &mut self,
        shown: &str,
        data: TableData,
        sum: &mut RowSum,
        mut each: impl FnMut(&mut Self, &[u8]) -> Result<(), Stop>,
    ) -> Result<(), ExportError> {
        for number in data.first_segment..data.first_segment.saturating_add(data.segments) {
            let segment = self.archive.segment(number).map_err(|source| ExportError::Read {
                what: format!("{shown}, rows after row {}", sum.rows),
                source,
            })?;
            let mut bytes = 0;
            for row in rows::rows(&segment) {
                sum.add_row(row);
                bytes += row.len() + 1;
                each(self, row).map_err(|stop| stop.at(shown, sum.rows))?;
                if bytes >= 1 << 16 {
                    self.progress.bytes(u64::try_from(bytes).unwrap_or(0));
                    bytes = 0;
                    self.interrupted()?;
                }
                self.progress.rows(1);
            }
            self.progress.bytes(u64::try_from(bytes).unwrap_or(0));
            self.interrupted()?;
        }
        Ok(())
    }

    pub(super) fn row(&mut self, columns: &[&Column], row: &[u8]) -> Result<(), Stop> {
        for (at, (column, field)) in columns.iter().zip(rows::fields(row)).enumerate() {
            if at > 0 {
                self.out.put(b"\t")?;
            }
            match blob(column, field)? {
                None => self.out.put(field)?,
                Some(blob) => {
                    self.out.put(b"\\\\x")?;
                    self.blob(blob, hex)?;
                }
            }
        }
        Ok(self.out.put(b"\n")?)
    }

    /// A blob's bytes, each piece checked before `each` has it.
    pub(super) fn blob(
        &mut self,
        blob: BlobRef,
        mut each: impl FnMut(&mut super::Out<'_>, &[u8]) -> Result<(), ExportError>,
    ) -> Result<(), Stop> {
        let (out, progress) = (&mut self.out, self.progress);
        let mut stopped = None;
        let done = self.archive.blob(blob, &mut self.cache, &mut |bytes| {
            progress.bytes(u64::try_from(bytes.len()).unwrap_or(0));
            let done = if progress.interrupted() {
                Err(ExportError::Interrupted)
            } else {
                each(out, bytes)
            };
            done.map_err(|error| {
                stopped = Some(error);
                ReadError::Sink("stopped".into())
            })
        });
        match stopped {
            Some(error) => Err(Stop::Other(error)),
            None => done.map_err(Stop::Blob),
        }
    }

    /// A row that is too long for a line: blobs go into a table of slices, and the server puts
    /// them together. What would take the row itself over the server's limit is set afterwards.
    fn in_slices(&mut self, table: &Table, columns: &[&Column], row: &[u8]) -> Result<(), Stop> {
        self.out.text(SLICES)?;
        self.out.begin_copy("COPY pg_temp.pgark_slices (field, part, data) FROM stdin;\n", 3)?;
        let (mut values, mut later) = (Vec::new(), Vec::new());
        let mut total = u64::try_from(row.len()).unwrap_or(u64::MAX);
        for (number, (column, field)) in columns.iter().zip(rows::fields(row)).enumerate() {
            let Some(blob) = blob(column, field)? else {
                values.push(match rows::unescape(field).map_err(RowProblem::Text)? {
                    None => b"NULL".to_vec(),
                    Some(value) => literal_bytes(&value),
                });
                continue;
            };
            let mut part = 0_u32;
            self.blob(blob, |out, bytes| {
                for slice in bytes.chunks(SLICE) {
                    out.text(&format!("{number}\t{part}\t\\\\x"))?;
                    out.hex(slice)?;
                    out.put(b"\n")?;
                    part += 1;
                }
                Ok(())
            })?;
            let whole = format!(
                "(SELECT pg_catalog.string_agg(data, '\\x'::pg_catalog.bytea ORDER BY part) \
                 FROM pg_temp.pgark_slices WHERE field = {number})"
            );
            total = total.saturating_add(blob.length);
            if total > ROW.min(self.options.line_limit) && !later_is_all(&values, total, blob) {
                total = total.saturating_sub(blob.length);
                values.push(b"'\\x'".to_vec());
                later.push(format!("{} = {whole}", ident(&column.name)));
            } else {
                values.push(whole.into_bytes());
            }
        }
        self.out.end_copy()?;
        let names: Vec<String> = columns.iter().map(|column| ident(&column.name)).collect();
        let name = qualified(&table.name);
        let mut body = format!(
            "DECLARE place pg_catalog.tid; BEGIN\nINSERT INTO {name} ({}) OVERRIDING SYSTEM VALUE VALUES (",
            names.join(", ")
        )
        .into_bytes();
        body.extend(values.join(&b", "[..]));
        body.extend_from_slice(b") RETURNING ctid INTO STRICT place;\n");
        for set in later {
            let update = format!(
                "UPDATE ONLY {name} SET {set} WHERE ctid = place RETURNING ctid INTO STRICT place;\n"
            );
            body.extend_from_slice(update.as_bytes());
        }
        body.extend_from_slice(b"END");
        self.out.text("DO LANGUAGE plpgsql")?;
        self.out.put(&literal_bytes(&body))?;
        Ok(self.out.text(";\nTRUNCATE pg_temp.pgark_slices;\n\n")?)
    }
}

/// The statement that takes a table's rows.
pub(super) fn copy_statement(table: &Table) -> String {
    let names: Vec<String> = table.stored_columns().map(|column| ident(&column.name)).collect();
    let list = if names.is_empty() { String::new() } else { format!(" ({})", names.join(", ")) };
    format!("COPY {}{list} FROM stdin;\n", qualified(&table.name))
}

fn hex(out: &mut super::Out<'_>, bytes: &[u8]) -> Result<(), ExportError> {
    out.hex(bytes)
}

/// Whether a blob is by itself all that a row has so far: then it cannot be made shorter by
/// setting the blob later.
fn later_is_all(values: &[Vec<u8>], total: u64, blob: BlobRef) -> bool {
    values.is_empty() && total == blob.length
}

/// Checks a row's form, and gives the length of its line.
pub(super) fn check(columns: &[&Column], row: &[u8]) -> Result<u64, Stop> {
    let wanted = columns.len();
    let found = if wanted == 0 { usize::from(!row.is_empty()) } else { rows::fields(row).count() };
    if found != wanted {
        return Err(RowProblem::Fields { found, wanted }.into());
    }
    let mut long = u64::try_from(row.len()).unwrap_or(u64::MAX);
    for (column, field) in columns.iter().zip(rows::fields(row)) {
        match blob(column, field)? {
            Some(blob) => long = long.saturating_add(blob.length.saturating_mul(2)),
            // Nothing but what COPY writes: `\.` would end the data.
            None => _ = rows::unescape(field).map_err(RowProblem::Text)?,
        }
    }
    Ok(long)
}

fn blob(column: &Column, field: &[u8]) -> Result<Option<BlobRef>, RowProblem> {
    if !column.is_bytea() {
        return Ok(None);
    }
    Ok(match rows::bytea(field)? {
        Some(Bytea::Blob(blob)) => Some(blob),
        Some(Bytea::Inline(_)) | None => None,
    })
}

/// Bytes as a literal, whatever `standard_conforming_strings` is.
fn literal_bytes(value: &[u8]) -> Vec<u8> {
    if let Ok(text) = std::str::from_utf8(value) {
        return literal(text).into_bytes();
    }
    let mut out = b" E'".to_vec();
    for byte in value {
        if matches!(byte, b'\'' | b'\\') {
            out.push(*byte);
        }
        out.push(*byte);
    }
    out.push(b'\'');
    out
}

/// Why a row could not be written.
pub(super) enum Stop {
    Row(RowProblem),
    Blob(ReadError),
    Other(ExportError),
}

impl Stop {
    fn at(self, table: &str, row: u64) -> ExportError {
        match self {
            Self::Row(problem) => ExportError::Row { table: table.to_owned(), row, problem },
            Self::Blob(source) => ExportError::Read { what: format!("{table}, row {row}"), source },
            Self::Other(error) => error,
        }
    }
}

impl From<RowProblem> for Stop {
    fn from(problem: RowProblem) -> Self {
        Self::Row(problem)
    }
}

impl From<ExportError> for Stop {
    fn from(error: ExportError) -> Self {
        Self::Other(error)
    }
}
