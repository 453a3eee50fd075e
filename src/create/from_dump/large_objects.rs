//! Large objects of a dump as rows of `oid, owner, acl, comment, data`, in the order of their OIDs.

use std::io::Read;

use super::super::large_objects::row;
use super::{RowError, Rows};
use crate::format::rows::Bytea;
use crate::format::writer::WriteError;
use crate::source::{Dump, DumpFileError, Facts, Stop};

/// What they are called, for people.
pub(super) const NAME: &str = "large objects";

/// Longer ones are stored as they are read.
const SMALL: usize = 64 << 10;
/// Bytes that are read of a long one at once.
const SLICE: usize = 8 << 20;
/// What a list of small ones may come to, with [`EACH`] for each.
const LIST: usize = 4 << 20;
const EACH: usize = 256;

/// Gives all of them.
pub(super) fn read(
    dump: &Dump,
    objects: impl Iterator<Item = Facts>,
    rows: &mut Rows<'_>,
) -> Result<(), Stop> {
    let mut small = Vec::new();
    let mut bytes = 0;
    for facts in objects {
        let mut data = dump.large_object(&facts).map_err(Stop::Dump)?;
        let head = slice(&mut *data, SMALL + 1).map_err(|what| of(&facts, &what))?;
        if head.len() <= SMALL {
            bytes += head.len() + EACH + facts.comment.as_ref().map_or(0, |comment| comment.len());
            small.push((facts, Bytea::Inline(head)));
            if bytes < LIST {
                continue;
            }
        } else {
            // Rows go on in the order of the OIDs, and a value before its row.
            list(rows, &mut small, &mut bytes)?;
            rows.end()?;
            let value = stream(rows, &facts, head, &mut *data)?;
            small.push((facts, value));
        }
        list(rows, &mut small, &mut bytes)?;
    }
    list(rows, &mut small, &mut bytes)
}

/// Sends those that were read.
fn list(
    rows: &mut Rows<'_>,
    small: &mut Vec<(Facts, Bytea)>,
    bytes: &mut usize,
) -> Result<(), Stop> {
    if small.is_empty() {
        return Ok(());
    }
    let objects = std::mem::take(small);
    rows.send(std::mem::take(bytes), move |mut builder| {
        for (facts, data) in objects {
            let Facts { oid, owner, acl, comment, .. } = &facts;
            row(&mut builder, *oid, owner, acl.as_deref(), comment.as_deref(), data);
        }
        Ok(builder.finish())
    })
}

/// Stores a long one, whose first bytes were read.
fn stream(
    rows: &mut Rows<'_>,
    facts: &Facts,
    head: Vec<u8>,
    data: &mut dyn Read,
) -> Result<Bytea, Stop> {
    let mut head = Some(head);
    let mut stopped = None;
    let progress = rows.progress;
    let value = rows.writer.blob(&mut || {
        if progress.interrupted() {
            stopped = Some(Stop::Taker);
            return Err(WriteError::Internal("a value ended early"));
        }
        let next = match head.take() {
            Some(head) => Ok(head),
            None => slice(data, SLICE),
        };
        match next {
            Ok(next) => {
                progress.bytes(u64::try_from(next.len()).unwrap_or(0));
                Ok(Some(next).filter(|next| !next.is_empty()))
            }
            Err(what) => {
                stopped = Some(of(facts, &what));
                Err(WriteError::Internal("a value ended early"))
            }
        }
    });
    if let Some(stopped) = stopped {
        return Err(stopped);
    }
    value.map_err(|error| {
        rows.failed = Some(RowError::Write(error));
        Stop::Taker
    })
}

/// The next bytes, so many unless there are no more.
fn slice(data: &mut dyn Read, length: usize) -> Result<Vec<u8>, String> {
    let mut out = Vec::with_capacity(length.min(SMALL));
    let most = u64::try_from(length).unwrap_or(u64::MAX);
    data.take(most).read_to_end(&mut out).map_err(|error| error.to_string())?;
    Ok(out)
}

fn of(facts: &Facts, what: &str) -> Stop {
    let what = format!("its bytes cannot be read: {what}");
    Stop::Dump(DumpFileError::LargeObject { oid: facts.oid, what })
}
