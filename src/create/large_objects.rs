//! Large objects as rows of `oid, owner, acl, comment, data`, in the order of their OIDs.

use super::pump::{Failed, Feed};
use crate::format::batch::BatchBuilder;
use crate::format::rows::Bytea;
use crate::pg::Session;
use crate::pg::catalog::{LargeObject, large_objects, read_large_object};

const SLICE: u32 = 8 << 20;
/// What a list of them may come to in memory: as it came, and as the batch made of it.
const LIST: usize = 16 << 20;

pub(super) async fn read(session: &Session, feed: &Feed<'_>) -> Result<(), Failed> {
    let mut after = 0;
    loop {
        let mut permit = Some(feed.reserve(LIST).await);
        let found = large_objects(session, after).await?;
        let Some(last) = found.last() else { return Ok(()) };
        after = last.oid;
        // The large ones wait for the sequencer, which must then find the small ones before them
        // on their way, and nothing reserved that it does not know of.
        let mut small = Vec::new();
        for object in found {
            if object.complete {
                small.push(object);
                continue;
            }
            rows(feed, permit.take(), std::mem::take(&mut small)).await?;
            let value = stream(session, feed, &object).await?;
            let reserved = feed.reserve(0).await;
            let builder = feed.mode().builder();
            feed.run(reserved, 0, move || {
                let mut builder = builder;
                put(&mut builder, &object, value);
                Ok(builder.finish())
            })?;
        }
        rows(feed, permit.take(), small).await?;
    }
}

async fn rows(
    feed: &Feed<'_>,
    permit: Option<super::budget::Permit>,
    objects: Vec<LargeObject>,
) -> Result<(), Failed> {
    if objects.is_empty() {
        return Ok(());
    }
    let bytes = objects.iter().map(|object| object.head.len()).sum::<usize>();
    let mut permit = match permit {
        Some(permit) => permit,
        None => feed.reserve(2 * bytes).await,
    };
    permit.resize(2 * bytes);
    let mut builder = feed.mode().builder();
    feed.run(permit, bytes, move || {
        for mut object in objects {
            let data = Bytea::Inline(std::mem::take(&mut object.head));
            put(&mut builder, &object, data);
        }
        Ok(builder.finish())
    })
}

fn put(builder: &mut BatchBuilder, object: &LargeObject, data: Bytea) {
    let LargeObject { oid, owner, acl, comment, .. } = object;
    row(builder, *oid, owner, acl.as_deref(), comment.as_deref(), data);
}

/// The row of a large object.
pub(super) fn row(
    builder: &mut BatchBuilder,
    oid: u32,
    owner: &str,
    acl: Option<&str>,
    comment: Option<&str>,
    data: Bytea,
) {
    builder.text(oid.to_string().as_bytes());
    builder.text(owner.as_bytes());
    for text in [acl, comment] {
        match text {
            None => builder.null(),
            Some(text) => builder.text(text.as_bytes()),
        }
    }
    match data {
        Bytea::Inline(bytes) => builder.blob(&bytes),
        Bytea::Blob(blob) => builder.blob_ref(blob),
    }
    builder.end_row();
}

async fn stream(session: &Session, feed: &Feed<'_>, object: &LargeObject) -> Result<Bytea, Failed> {
    let blob = feed.blob()?;
    let mut offset = 0_u64;
    loop {
        let wanted = usize::try_from(SLICE).unwrap_or(usize::MAX);
        let permit = feed.reserve(wanted).await;
        let slice = read_large_object(session, object.oid, offset, SLICE).await?;
        let length = slice.len();
        offset += u64::try_from(length).unwrap_or(0);
        if length > 0 {
            blob.slice(permit, slice)?;
        }
        if length < wanted {
            return blob.end().await;
        }
    }
}
