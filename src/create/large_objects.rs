//! Large objects as rows of `oid, owner, acl, comment, data`: first those of at most a MiB, then
//! the others, each in the order of their OIDs. What a size is, only reading tells; so the first
//! pass asks for a byte more than a MiB of each, and whoever has it is left for the second.

use super::pump::{Feed, Failed, tuples};
use crate::format::rows::Bytea;
use crate::pg::tuple::Tuples;
use crate::pg::{CopyOut, PgError, Session};

const SMALL: usize = 1 << 20;
const SLICE: usize = 8 << 20;
const RUN: usize = 2 << 20;
/// `oid, owner, acl, comment, data`; which of them are `bytea`.
const BYTEA: [bool; 5] = [false, false, false, false, true];

/// A large object that is too large for the first pass: its first four fields.
type Large = [Option<Vec<u8>>; 4];

pub(super) async fn read(session: &Session, feed: &Feed<'_>) -> Result<(), Failed> {
    // The inner query sorts before the outer reads any data.
    let sql = format!(
        "COPY (SELECT pg_catalog.textin(pg_catalog.oidout(m.oid)), \
         pg_catalog.textin(pg_catalog.nameout(pg_catalog.pg_get_userbyid(m.lomowner))), \
         pg_catalog.textin(pg_catalog.array_out(m.lomacl)), \
         pg_catalog.obj_description(m.oid, 'pg_largeobject'), \
         pg_catalog.lo_get(m.oid, 0, {}) \
         FROM (SELECT oid, lomowner, lomacl FROM pg_catalog.pg_largeobject_metadata \
         ORDER BY oid OFFSET 0) m) TO STDOUT (FORMAT binary)",
        SMALL + 1
    );
    let mut copy = CopyOut::binary(session, &sql).await.map_err(during)?;
    let mut large = Vec::new();
    loop {
        let mut permit = feed.reserve(2 * RUN).await;
        let Some(run) = copy.next(RUN).await.map_err(during)? else { break };
        let bytes = run.len();
        permit.resize(2 * bytes);
        let (small, found) = without_large(&run)?;
        large.extend(found);
        let run = small.unwrap_or(run);
        let builder = feed.mode().builder();
        feed.run(permit, bytes, move || tuples(&run, &BYTEA, builder))?;
    }
    for object in large {
        read_large(session, feed, object).await?;
    }
    Ok(())
}

/// The run without the large ones (`None`: it has none), and these.
fn without_large(run: &[u8]) -> Result<(Option<Vec<u8>>, Vec<Large>), Failed> {
    let bad = |error: crate::pg::tuple::TupleError| {
        Failed::from(PgError::protocol("reading the large objects", error.to_string()))
    };
    let mut tuples = Tuples::new(run, 5);
    let mut fields = Vec::new();
    let (mut kept, mut large) = (Vec::new(), Vec::new());
    while tuples.next_into(&mut fields).map_err(bad)? {
        let [oid, owner, acl, comment, data] = fields[..] else { continue };
        if data.is_some_and(|data| data.len() > SMALL) {
            large.push([oid, owner, acl, comment].map(|field| field.map(<[u8]>::to_vec)));
        } else {
            crate::pg::tuple::begin_tuple(&mut kept, 5);
            for field in &fields {
                if !crate::pg::tuple::put_field(&mut kept, *field) {
                    return Err(PgError::protocol("reading the large objects", "a field too long").into());
                }
            }
        }
    }
    Ok(if large.is_empty() { (None, large) } else { (Some(kept), large) })
}

async fn read_large(session: &Session, feed: &Feed<'_>, object: Large) -> Result<(), Failed> {
    let oid = object[0].as_deref().and_then(|oid| std::str::from_utf8(oid).ok()).unwrap_or("");
    let doing = format!("reading large object {oid}");
    let number: u32 =
        oid.parse().map_err(|_| PgError::protocol(doing.clone(), "its OID is not a number"))?;
    let blob = feed.blob()?;
    let mut offset = 0_i64;
    let statement = session
        .client()
        .prepare("SELECT pg_catalog.lo_get($1, $2, $3)")
        .await
        .map_err(|error| PgError::server(doing.clone(), error))?;
    let wanted = i32::try_from(SLICE).unwrap_or(i32::MAX);
    loop {
        let permit = feed.reserve(SLICE).await;
        let row = session
            .client()
            .query_one(&statement, &[&number, &offset, &wanted])
            .await
            .map_err(|error| PgError::server(doing.clone(), error))?;
        let slice: Vec<u8> =
            row.try_get(0).map_err(|error| PgError::server(doing.clone(), error))?;
        let length = slice.len();
        offset += i64::try_from(length).unwrap_or(0);
        if length > 0 {
            blob.slice(permit, slice)?;
        }
        if length < SLICE {
            break;
        }
    }
    let value = blob.end().await?;
    let permit = feed.reserve(0).await;
    let mut builder = feed.mode().builder();
    feed.run(permit, 0, move || {
        for field in &object {
            match field {
                None => builder.null(),
                Some(text) => builder.text(text),
            }
        }
        match value {
            Bytea::Inline(bytes) => builder.blob(&bytes),
            Bytea::Blob(blob) => builder.blob_ref(blob),
        }
        builder.end_row();
        Ok(builder.finish())
    })
}

fn during(error: PgError) -> PgError {
    error.during("reading the large objects")
}
