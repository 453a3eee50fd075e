//! The SQL schema: `pg_dump` writes it within our snapshot, we cut it into objects.

use std::io;
use std::process::ExitStatus;

use thiserror::Error;

use super::error::PgError;
use super::query::get;
use super::snapshot::Snapshot;
use crate::format::manifest::Schema;

mod command;
mod text;

pub use command::split_command;
pub use text::{LARGE_OBJECT_LABEL, SETTINGS, is_acl};

/// The schema of a database as SQL, in two texts.
#[derive(Clone, PartialEq, Debug)]
pub struct SchemaText {
    /// What comes before the rows, ending in the privileges.
    pub pre: Vec<u8>,
    /// What comes after them: indexes, constraints, triggers, refreshes of materialized views.
    pub post: Vec<u8>,
    /// The objects of both. Their slices cover each text without gap; run in order, one by one,
    /// they make the schema. The first of each text has kind [`SETTINGS`] and is to be run first
    /// in every session that runs any of the others.
    pub schema: Schema,
    /// The first line of `pg_dump --version`.
    pub pg_dump_version: String,
    /// What `pg_dump` warned of, a line each.
    pub warnings: Vec<String>,
}

/// Why there is no schema.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DumpError {
    /// None was found where they usually are.
    #[error("no pg_dump was found, and the server is of version {server}")]
    NotFound {
        /// The server's major version.
        server: u32,
    },
    /// `pg_dump` must be at least as new as the server.
    #[error("{command} is of version {version}, older than the server's version {server}")]
    TooOld {
        /// The command, or the newest one found.
        command: String,
        /// Its version.
        version: String,
        /// The server's major version.
        server: u32,
    },
    /// It does not answer `--version` as `pg_dump` does.
    #[error("{command} --version answers {answer:?}")]
    NoVersion {
        /// The command.
        command: String,
        /// The first line of its answer.
        answer: String,
    },
    /// The command line ends within quotes, or is none.
    #[error("the command {command:?} cannot be split into words")]
    Words {
        /// The command line.
        command: String,
    },
    /// It could not be started or waited for.
    #[error("running {command}")]
    Start {
        /// The command.
        command: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It failed.
    #[error("{command} failed ({status}): {said}")]
    Failed {
        /// The command.
        command: String,
        /// How it ended.
        status: ExitStatus,
        /// What it wrote to standard error.
        said: String,
    },
    /// What it wrote could not be read.
    #[error("reading what {command} wrote")]
    Read {
        /// The command.
        command: String,
        /// Why.
        #[source]
        source: libpgdump::Error,
    },
    /// The server did not tell what `pg_dump` was not asked for.
    #[error(transparent)]
    Server(#[from] PgError),
    /// It wrote an object of a kind whose ownership cannot be set by any statement known here.
    #[error("pg_dump wrote {name} of kind {kind}, whose owner {owner} cannot be set")]
    Kind {
        /// `pg_dump`'s word for it.
        kind: String,
        /// The object's tag.
        name: String,
        /// The role that owns it.
        owner: String,
    },
}

/// The schema in the entries of a dump that was made before, with labels of large objects: OID,
/// provider and label. The version is left out.
pub(crate) fn of_entries(
    entries: &[libpgdump::Entry],
    labels: &[(u32, String, String)],
) -> Result<SchemaText, DumpError> {
    let (pre, mut post) = text::sections(entries)?;
    for (oid, provider, label) in labels {
        post.add_label(*oid, provider, label);
    }
    Ok(SchemaText {
        pre: pre.text,
        post: post.text,
        schema: Schema { pre_data: pre.objects, post_data: post.objects, ..Schema::default() },
        pg_dump_version: String::new(),
        warnings: Vec::new(),
    })
}

/// Dumps the schema within `snapshot`.
///
/// `command` is a command line, such as `pg_dump` or `docker exec -i db pg_dump`; empty, it is
/// looked for: one of the server's own major version if there is one (what it writes, that server
/// surely understands), else the newest.
pub async fn dump_schema(snapshot: &Snapshot, command: &str) -> Result<SchemaText, DumpError> {
    let dumped = command::run(snapshot, command).await?;
    let (pre, mut post) = text::sections(&dumped.entries)?;
    for (oid, provider, label) in large_object_labels(snapshot).await? {
        post.add_label(oid, &provider, &label);
    }
    Ok(SchemaText {
        pre: pre.text,
        post: post.text,
        schema: Schema { pre_data: pre.objects, post_data: post.objects, ..Schema::default() },
        pg_dump_version: dumped.version,
        warnings: dumped.warnings,
    })
}

/// Security labels of large objects. `pg_dump` has them where it has the rows, by versions in
/// different ways, and so they are no part of what it writes for us.
async fn large_object_labels(snapshot: &Snapshot) -> Result<Vec<(u32, String, String)>, PgError> {
    let sql = "SELECT l.objoid, l.provider, l.label FROM pg_catalog.pg_seclabel l \
               WHERE l.classoid = 'pg_catalog.pg_largeobject'::pg_catalog.regclass ORDER BY 1, 2";
    let rows = snapshot.lead().rows("reading labels of large objects", sql, &[]).await?;
    rows.iter()
        .map(|row| Ok((get(row, "objoid")?, get(row, "provider")?, get(row, "label")?)))
        .collect()
}
