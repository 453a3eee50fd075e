//! Large objects: created under their OIDs, filled, given to their owners.

use super::acl::grants;
use super::rows::Stop;
use super::{ExportError, RowProblem, Writer};
use crate::format::digest::RowSum;
use crate::format::rows::{self, Bytea};
use crate::format::sql::{ident, literal};

const NAME: &str = "the large objects";
/// Each takes a lock until the end of its transaction.
const IN_A_TRANSACTION: u64 = 64;
/// Bytes of one statement.
const PIECE: usize = 4 << 20;

impl Writer<'_> {
    pub(super) fn large_objects(&mut self) -> Result<(), ExportError> {
        let Some(data) = self.archive.manifest().large_objects else { return Ok(()) };
        self.progress.on(NAME);
        let mut sum = RowSum::default();
        let mut open = 0_u64;
        self.each_row(NAME, data, &mut sum, |writer, row| {
            if open == 0 {
                writer.out.text("BEGIN;\n\n")?;
            }
            writer.large_object(row)?;
            open += 1;
            if open == IN_A_TRANSACTION {
                open = 0;
                writer.out.text("COMMIT;\n\n")?;
            }
            Ok(())
        })?;
        if sum.rows != data.rows || sum.digest() != data.digest {
            return Err(ExportError::Rows(NAME.to_owned()));
        }
        if open > 0 {
            self.out.text("COMMIT;\n\n")?;
        }
        self.report.large_objects = data.rows;
        Ok(())
    }

    fn large_object(&mut self, row: &[u8]) -> Result<(), Stop> {
        let fields: Vec<&[u8]> = rows::fields(row).collect();
        let &[oid, owner, acl, comment, data] = fields.as_slice() else {
            return Err(RowProblem::Fields { found: fields.len(), wanted: 5 }.into());
        };
        let bad = RowProblem::LargeObject;
        let text = |field| -> Result<Option<String>, RowProblem> {
            Ok(rows::unescape(field)?.map(|text| String::from_utf8_lossy(&text).into_owned()))
        };
        let oid: u32 = text(oid)?.and_then(|oid| oid.parse().ok()).ok_or(bad("OID"))?;
        let owner = text(owner)?.ok_or(bad("owner"))?;
        let data = rows::bytea(data).map_err(RowProblem::Text)?.ok_or(bad("data"))?;
        match data {
            Bytea::Inline(bytes) => self.create_whole(oid, &bytes)?,
            Bytea::Blob(blob) => {
                // Pieces are whole before their statement is begun: it is never left open.
                let mut held: Vec<u8> = Vec::new();
                let mut offset = 0_u64;
                self.blob(blob, |out, bytes| {
                    for run in bytes.chunks(PIECE) {
                        if held.len() + run.len() > PIECE {
                            put_piece(out, oid, &mut offset, &mut held)?;
                        }
                        held.extend_from_slice(run);
                    }
                    Ok(())
                })?;
                if offset == 0 {
                    self.create_whole(oid, &held)?;
                } else {
                    put_piece(&mut self.out, oid, &mut offset, &mut held)?;
                }
            }
        }
        let role = ident(&owner);
        self.out.text(&format!("ALTER LARGE OBJECT {oid} OWNER TO {role};\n"))?;
        // NULL stands for the privileges that every new large object has.
        if let Some(acl) = text(acl)? {
            self.out.text(&format!(
                "REVOKE ALL ON LARGE OBJECT {oid} FROM PUBLIC;\n\
                 REVOKE ALL ON LARGE OBJECT {oid} FROM {role};\n"
            ))?;
            for grant in grants(&acl).ok_or(bad("list of privileges"))? {
                let sql = grant.sql(&format!("LARGE OBJECT {oid}"), &owner);
                self.out.text(&sql.ok_or(bad("list of privileges"))?)?;
            }
        }
        if let Some(comment) = text(comment)? {
            let comment = literal(&comment);
            self.out.text(&format!("COMMENT ON LARGE OBJECT {oid} IS {comment};\n"))?;
        }
        Ok(self.out.text("\n")?)
    }

    fn create_whole(&mut self, oid: u32, bytes: &[u8]) -> Result<(), ExportError> {
        self.out.text(&format!("SELECT pg_catalog.lo_from_bytea({oid}, '\\x"))?;
        self.out.hex(bytes)?;
        self.out.text("');\n")
    }
}

fn put_piece(
    out: &mut super::Out<'_>,
    oid: u32,
    offset: &mut u64,
    held: &mut Vec<u8>,
) -> Result<(), ExportError> {
    if *offset == 0 {
        out.text(&format!("SELECT pg_catalog.lo_create({oid});\n"))?;
    }
    out.text(&format!("SELECT pg_catalog.lo_put({oid}, {offset}, '\\x"))?;
    out.hex(held)?;
    out.text("');\n")?;
    *offset = offset.saturating_add(u64::try_from(held.len()).unwrap_or(0));
    held.clear();
    Ok(())
}
