//! What long work says about itself. Nothing below `cli` draws: workers report to this trait, the
//! terminal polls, tests count.

/// A stretch of work with an end that can be estimated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// Reading the catalog and the SQL schema.
    Schema,
    /// Rows on their way from the server into the archive.
    Rows,
    /// Closing the archive: index, manifest, seal, sync.
    Finish,
    /// Checking an archive.
    Verify,
    /// Decoding images.
    Images,
    /// Keys and references.
    Keys,
    /// Creating tables, types and functions.
    PreData,
    /// Rows on their way from the archive into the server.
    Load,
    /// Indexes, constraints, triggers.
    PostData,
    /// Rows on their way from the archive into SQL or files.
    Export,
    /// Reading the target back and comparing it with the archive.
    Compare,
    /// Mending a damaged archive.
    Repair,
    /// Rows on their way from a thin archive and its bases into one that stands alone.
    Merge,
    /// Finding the rows that differ.
    Differences,
    /// Looking through a folder or file for what is in it.
    Look,
    /// Copying a data directory.
    Copy,
    /// Checking the pages of a cluster.
    Pages,
    /// Making and starting a server.
    Server,
    /// Holding a database against rules.
    Rules,
}

/// Takes reports of progress. Called from many threads, often: must be cheap and never block.
pub trait Progress: Send + Sync {
    /// A phase begins; `rows` and `bytes` are estimates of what it will come to, 0 if unknown.
    fn begin(&self, phase: Phase, rows: u64, bytes: u64);
    /// So many more rows are done; of the schema's phases, objects.
    fn rows(&self, rows: u64);
    /// So many more bytes are done.
    fn bytes(&self, bytes: u64);
    /// What is being worked on now, such as a table's name.
    fn on(&self, what: &str);
    /// Something a person should know that is no error, once.
    fn note(&self, text: &str);
    /// Whether the person wants it to stop: long loops ask now and then.
    fn interrupted(&self) -> bool {
        false
    }
}

/// Says nothing, and passes on the wish to stop: for work within other work, whose rows and bytes
/// are counted there.
#[allow(missing_debug_implementations)]
pub(crate) struct Quiet<'a>(pub(crate) &'a dyn Progress);

impl Progress for Quiet<'_> {
    fn begin(&self, _: Phase, _: u64, _: u64) {}
    fn rows(&self, _: u64) {}
    fn bytes(&self, _: u64) {}
    fn on(&self, _: &str) {}
    fn note(&self, _: &str) {}
    fn interrupted(&self) -> bool {
        self.0.interrupted()
    }
}

/// Says nothing.
#[derive(Clone, Copy, Default, Debug)]
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _: Phase, _: u64, _: u64) {}
    fn rows(&self, _: u64) {}
    fn bytes(&self, _: u64) {}
    fn on(&self, _: &str) {}
    fn note(&self, _: &str) {}
}
