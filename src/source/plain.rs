//! What a plain dump holds, and where.

use std::fs::File;
use std::io::{self, Read};

use libpgdump::Entry;

use super::encoding::Encoding;
use super::large::{LargeObjects, Place};
use super::names::Target;
use super::packed::Part;
use super::reader::Form;

/// Rows of one table.
pub(super) struct Stretch {
    pub(super) target: Target,
    /// Schema and name of the table that the comment before them names: a partition, where they are
    /// loaded by way of its root.
    pub(super) of: Option<(String, String)>,
    pub(super) form: Form,
    /// Where they are: in the dump itself, or, packed, aside.
    pub(super) place: Place,
    pub(super) encoding: Encoding,
}

/// What a plain dump holds.
pub(super) struct Plain {
    /// Its objects, in order; the settings that all rely on come first.
    pub(super) entries: Vec<Entry>,
    /// Every statement of the schema, in order.
    pub(super) statements: Vec<String>,
    pub(super) rows: Vec<Stretch>,
    pub(super) large_objects: LargeObjects,
    pub(super) encoding: Encoding,
    /// Tables of which the dump says that it has the rows, even if there are none.
    pub(super) announced: Vec<(String, String)>,
    /// `\connect`, if it makes a database.
    pub(super) connect: Option<String>,
    /// Versions of server and `pg_dump`, as the dump says them.
    pub(super) versions: (String, String),
    /// When it was begun, if it says so.
    pub(super) started: Option<String>,
    pub(super) source: Source,
}

/// What rows are in.
pub(super) enum Source {
    File(File),
    /// As frames of zstd.
    Spool(File),
}

impl Plain {
    /// The statements or lines at a place.
    pub(super) fn read(&self, place: Place) -> io::Result<Box<dyn Read + '_>> {
        // What is empty was not put anywhere.
        if place.length == 0 {
            return Ok(Box::new(io::empty()));
        }
        Ok(match &self.source {
            Source::File(file) => Box::new(Part::new(file, place.at, place.length)),
            Source::Spool(file) => {
                let part = Part::new(file, place.at, place.length);
                Box::new(zstd::stream::read::Decoder::new(part)?)
            }
        })
    }
}
