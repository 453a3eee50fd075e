//! The manifest against itself, against the index, and against the two SQL files.

use std::collections::HashSet;

use super::Context;
use super::codes::Code;
use super::findings::Finding;
use super::structure::read_finding;
use crate::format::digest::Digest;
use crate::format::limits;
use crate::format::manifest::{Manifest, Name, SchemaObject, Table, TableKind};
use crate::format::reader;
use crate::format::ustar::{self, EntryKind};

/// Checks all of the manifest that needs no row.
pub(super) fn check(context: &Context<'_>, manifest: &Manifest) {
    let tell = |code, message: String| {
        context.findings.add(Finding::new(code, message).entry(ustar::MANIFEST));
    };
    super::bases::manifest(manifest, context.findings);
    let mut last: Option<&Name> = None;
    for table in &manifest.tables {
        if last.is_some_and(|last| *last >= table.name) {
            tell(
                Code::ManifestInconsistent,
                format!("{} is not in the order of names", table.name),
            );
        }
        last = Some(&table.name);
        for what in table_faults(manifest, table) {
            context.findings.add(Finding::new(Code::ManifestInconsistent, what).table(&table.name));
        }
    }
    for foreign in &manifest.foreign_keys {
        let sides = [
            (&foreign.table, &foreign.columns),
            (&foreign.references, &foreign.referenced_columns),
        ];
        if foreign.columns.len() != foreign.referenced_columns.len() || foreign.columns.is_empty() {
            let what = format!("{} has sides of different lengths", foreign.name);
            tell(Code::ManifestInconsistent, what);
        }
        for (side, (table, columns)) in ["refers", "is referred to"].iter().zip(sides) {
            match (manifest.table(table), *side) {
                (Some(table), _) => {
                    for column in unknown(table, columns) {
                        let what =
                            format!("{} names the column {column} of {}", foreign.name, table.name);
                        tell(Code::ManifestInconsistent, what);
                    }
                }
                // What is referred to may belong to an extension, and is not described then.
                (None, "refers") => {
                    let what = format!("{} is of {table}, which is not described", foreign.name);
                    tell(Code::ManifestInconsistent, what);
                }
                _ => {}
            }
        }
    }
    ranges(context, manifest);
    if manifest.source.encoding == "SQL_ASCII" {
        let what = format!("the encoding of {} is SQL_ASCII", manifest.source.database);
        context.findings.add(Finding::new(Code::EncodingNotChecked, what));
    }
    if let Some(missing) = &manifest.source.salvaged {
        context.findings.add(Finding::new(Code::Salvaged, missing.clone()));
    }
    if manifest.source.standby {
        for table in manifest.tables.iter().filter(|table| table.unlogged && table.data.is_some()) {
            let what = "it is unlogged, and the archive was made from a standby";
            context.findings.add(Finding::new(Code::UnloggedNotRead, what).table(&table.name));
        }
    }
}

fn unknown<'a>(table: &'a Table, columns: &'a [String]) -> impl Iterator<Item = &'a String> {
    columns.iter().filter(|name| !table.columns.iter().any(|column| column.name == **name))
}

fn table_faults(manifest: &Manifest, table: &Table) -> Vec<String> {
    let mut faults = Vec::new();
    let mut names = HashSet::new();
    for column in table.columns.iter().filter(|column| !names.insert(&column.name)) {
        faults.push(format!("column {} is described twice", column.name));
    }
    for key in table.primary_key.iter().chain(&table.unique) {
        faults.extend(
            unknown(table, &key.columns)
                .map(|column| format!("{} is over {column}, which is no column", key.name)),
        );
        if key.columns.is_empty() {
            faults.push(format!("{} is over no column", key.name));
        }
    }
    if table.data.is_some() == (table.kind == TableKind::Partitioned) {
        faults.push(
            "a partitioned table has no rows of its own, every other table has a place for them"
                .into(),
        );
    }
    if let Some(parent) =
        table.partition_of.as_ref().filter(|parent| manifest.table(parent).is_none())
    {
        faults.push(format!("it is a partition of {parent}, which is not described"));
    }
    faults
}

/// Tables take up the index's segments one after the other.
fn ranges(context: &Context<'_>, manifest: &Manifest) {
    let mut next = 0_u64;
    let stored =
        manifest.tables.iter().filter_map(|table| Some((table.name.to_string(), table.data?)));
    let large = manifest.large_objects.map(|data| ("large objects".to_owned(), data));
    for (name, data) in stored.chain(large) {
        if data.first_segment != next {
            let what = format!("its segments begin at {}, not at {next}", data.first_segment);
            context.findings.add(Finding::new(Code::ManifestInconsistent, what).table(name));
        }
        next = data.first_segment.saturating_add(data.segments);
    }
    let facts = context.index.facts(Digest::default());
    if next != facts.segments {
        let what = format!("the tables have {next} segments, the index {}", facts.segments);
        context.findings.add(Finding::new(Code::ManifestIndexDisagree, what));
    }
}

/// Checks the entries that are neither objects nor the index: the SQL files and what is for people.
pub(super) fn texts(context: &Context<'_>, manifest: Option<&Manifest>) {
    // They come first; objects may be many.
    for number in 0..context.index.facts(Digest::default()).entries.min(64) {
        let Ok(entry) = context.index.entry(number) else { continue };
        let limit = match entry.kind {
            EntryKind::Pack | EntryKind::Segment | EntryKind::Parity => continue,
            EntryKind::Catalog => limits::MANIFEST,
            _ => limits::SCHEMA_SQL,
        };
        if entry.length > limit {
            let what = format!("{} bytes", entry.length);
            context.findings.add(Finding::new(Code::LimitExceeded, what).entry(entry.name()));
            continue;
        }
        let _held = context.gate.enter(entry.length);
        // Its header was looked at with all others.
        let end = entry.offset.checked_add(entry.length).filter(|end| *end <= context.file.len());
        let (Some(_), Ok(length)) = (end, usize::try_from(entry.length)) else { continue };
        let mut bytes = vec![0; length];
        if let Err(source) = context.file.read_exact_at(&mut bytes, entry.offset) {
            let error = reader::ReadError::Io { entry: entry.name(), source };
            context.findings.add(read_finding(context.file, &entry, &error));
            continue;
        }
        if Digest::of(&bytes) != entry.digest {
            let error = reader::ReadError::Digest(entry.name());
            context.findings.add(read_finding(context.file, &entry, &error));
            continue;
        }
        let Some(manifest) = manifest else { continue };
        let schema = &manifest.schema;
        let (slices, digest) = match entry.kind {
            EntryKind::PreData => (&schema.pre_data, schema.pre_data_digest),
            EntryKind::PostData => (&schema.post_data, schema.post_data_digest),
            EntryKind::Catalog => {
                grown(context, &entry.name(), &bytes, manifest);
                continue;
            }
            _ => continue,
        };
        if digest != entry.digest {
            let what = format!("the manifest says that its digest is {digest}");
            context
                .findings
                .add(Finding::new(Code::ManifestIndexDisagree, what).entry(entry.name()));
        }
        sql(context, &entry.name(), &bytes, slices, manifest.source.encoding != "SQL_ASCII");
    }
}

/// Whether the catalog says what the manifest says, as far as it could.
fn grown(context: &Context<'_>, name: &str, bytes: &[u8], manifest: &Manifest) {
    let what = match reader::parse_manifest(bytes) {
        Ok(catalog) if manifest.grew_from(&catalog) => return,
        Ok(_) => "it says something else than the manifest".to_owned(),
        Err(error) => error.to_string(),
    };
    context.findings.add(Finding::new(Code::CatalogDiffers, what).entry(name));
}

fn sql(context: &Context<'_>, name: &str, bytes: &[u8], slices: &[SchemaObject], utf8: bool) {
    let mut next = 0;
    for slice in slices {
        let what = format!("{} {}", slice.kind, slice.name);
        if slice.offset != next {
            let what = format!("{what} begins at {}, not at {next}", slice.offset);
            context.findings.add(Finding::new(Code::SchemaSlices, what).entry(name));
        }
        next = slice.offset.saturating_add(slice.length);
        let range = usize::try_from(slice.offset).ok().zip(usize::try_from(next).ok());
        let Some(part) = range.and_then(|(from, to)| bytes.get(from..to)) else { continue };
        if utf8 && std::str::from_utf8(part).is_err() {
            let what = format!("{what} is not valid UTF-8");
            context.findings.add(Finding::new(Code::SchemaEncoding, what).entry(name));
        }
    }
    if usize::try_from(next) != Ok(bytes.len()) {
        let what = format!("its objects end at {next}, the file at {}", bytes.len());
        context.findings.add(Finding::new(Code::SchemaSlices, what).entry(name));
    }
}
