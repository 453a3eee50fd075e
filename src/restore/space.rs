//! Room on the server's disk: what a restore needs at least, and what is free, where that can be
//! known. A server does not say it, so it is looked up on this machine, and only where it is sure
//! that the server's data directory is the one that is seen here.

use std::time::{Duration, UNIX_EPOCH};

use super::Choices;
use crate::format::manifest::Manifest;
use crate::pg::Session;

/// What is needed and what is there, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Space {
    /// Rows and blobs as the archive has them. Indexes and the write-ahead log come to that; the
    /// server's own compression of long texts takes from it.
    pub needed: u64,
    /// Free for the server's data directory; none where that cannot be known from here: the server
    /// is elsewhere or in a container, or the role may not ask where its data is.
    pub free: Option<u64>,
}

impl Space {
    pub(super) async fn find(session: &Session, manifest: &Manifest, choices: &Choices) -> Self {
        let data = manifest.tables.iter().filter_map(|table| table.data);
        let data = data.chain(manifest.large_objects);
        let bytes = data.map(|data| data.bytes.saturating_add(data.blob_bytes));
        let needed = bytes.fold(0, u64::saturating_add);
        Self { needed: if choices.schema_only { 0 } else { needed }, free: free(session).await }
    }

    /// Whether there is less than is needed at least, as far as anybody knows.
    pub fn is_short(&self) -> bool {
        self.free.is_some_and(|free| free < self.needed)
    }

    /// What there is to say where it is short.
    pub(super) fn note(&self) -> Option<String> {
        let free = self.free.filter(|free| *free < self.needed)?;
        let mib = |bytes: u64| bytes.div_ceil(1 << 20);
        Some(format!(
            "the server's disk has {} MiB free, and rows and blobs come to {} MiB before indexes: \
             it may become full",
            mib(free),
            mib(self.needed)
        ))
    }
}

/// What is free for the data directory, if the one that the server names is this machine's: a
/// folder that was changed at the same moment.
async fn free(session: &Session) -> Option<u64> {
    // A connection over a network may end on another machine; one to a socket may end in a
    // container, where the same path is another folder.
    if !session.params().describe().contains("on socket ") {
        return None;
    }
    let sql = "SELECT pg_catalog.current_setting('data_directory'), \
               pg_catalog.date_part('epoch', s.modification)::pg_catalog.int8 \
               FROM pg_catalog.pg_stat_file(pg_catalog.current_setting('data_directory')) s";
    // A role that may not ask is told so by the server, and nothing is known.
    let rows = session.rows("looking for the data directory", sql, &[]).await.ok()?;
    let row = rows.first()?;
    let path: String = row.try_get(0).ok()?;
    let changed = u64::try_from(row.try_get::<_, i64>(1).ok()?).ok()?;
    let here = std::fs::metadata(&path).and_then(|folder| folder.modified()).ok()?;
    let here = here.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    if here.as_secs() != changed {
        return None;
    }
    let volume = rustix::fs::statvfs(&path).ok()?;
    // What is kept for the administrator is not for the server.
    Some(volume.f_bavail.saturating_mul(volume.f_frsize))
}

/// Guards against a warning where there is room, and against none where there is not.
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_only_where_it_is_known() {
        let space = |needed, free| Space { needed, free };
        assert_eq!(space(1 << 30, None).note(), None);
        assert_eq!(space(1 << 30, Some(1 << 30)).note(), None);
        let note = space(3 << 30, Some(1 << 30)).note().unwrap();
        assert!(note.contains("1024 MiB free") && note.contains("3072 MiB"), "{note}");
    }
}
