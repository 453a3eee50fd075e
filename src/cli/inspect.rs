//! `pgark inspect`: what is in an archive, as it says itself.

use std::fmt::Write as _;
use std::path::Path;

use super::Context;
use super::args::Inspect;
use super::exit::Exit;
use super::hints::Failure;
use super::json::{self, Inspected, InspectedTable, Sizes};
use super::names;
use super::printer::{Paint, Style};
use super::render::{Align, columns};
use super::units::{count, counted, moment, percent, size};
use crate::format::index::IndexError;
use crate::format::manifest::{ForeignKey, Key, Manifest, Match, Table, TableData, TableKind};
use crate::format::properties::Properties;
use crate::format::reader::{Archive, OpenError, ReadError};
use crate::format::thin;
use crate::format::ustar::EntryKind;

/// Runs it.
pub(super) fn run(typed: &Inspect, context: &Context) -> Result<Exit, Failure> {
    let found = context.archive(&typed.file)?;
    let path = found.as_path();
    let archive = thin::open(path, &typed.bases.base)
        .map_err(OpenError::Io)
        .and_then(Archive::from_file)
        .map_err(|error| Failure::Open(path.to_owned(), error))?;
    let manifest = archive.manifest();
    let read = |error: IndexError| Failure::Read(path.to_owned(), ReadError::Index(error));
    let sizes = sizes(&archive).map_err(read)?;
    let one = match &typed.table {
        Some(typed) => Some(
            names::find(manifest, typed).map_err(|error| Failure::Name(path.to_owned(), error))?,
        ),
        None => None,
    };
    let printer = &context.printer;
    if typed.json {
        let mut tables = Vec::new();
        for table in manifest.tables.iter().filter(|table| one.is_none_or(|one| one == *table)) {
            let stored = segment_bytes(&archive, table.data.as_ref()).map_err(read)?;
            let shown = InspectedTable::new(table, stored);
            tables.push(match one {
                Some(_) => shown.with_detail(table, &manifest.foreign_keys),
                None => shown,
            });
        }
        json::print(
            printer,
            &Inspected {
                schema: json::SCHEMA,
                command: "inspect",
                file: path.display().to_string(),
                ok: true,
                format: manifest.version,
                features: &manifest.features,
                bases: manifest.bases.iter().map(Into::into).collect(),
                created: manifest.created,
                tool: &manifest.tool,
                manifest: archive.seal().manifest.digest.to_string(),
                source: &manifest.source,
                sizes,
                tables,
                sequences: manifest.sequences.len(),
                foreign_keys: manifest.foreign_keys.len(),
                large_objects: manifest.large_objects.map_or(0, |data| data.rows),
                rules: manifest.rules.as_ref(),
            },
        );
        return Ok(Exit::Clean);
    }
    let paint = printer.out_paint();
    let text = match one {
        Some(table) => detail(table, manifest, paint),
        None => overview(path, &archive, &sizes, paint),
    };
    printer.result(&text);
    Ok(Exit::Clean)
}

/// What the index adds up to.
fn sizes(archive: &Archive) -> Result<Sizes, IndexError> {
    let (manifest, index) = (archive.manifest(), archive.index());
    let mut sizes = Sizes { archive: archive.file().len(), ..Sizes::default() };
    for number in 0..manifest.index.entries {
        let entry = index.entry(number)?;
        let (objects, bytes) = match entry.kind {
            EntryKind::Pack => (&mut sizes.packs, &mut sizes.pack_bytes),
            EntryKind::Segment => (&mut sizes.segments, &mut sizes.segment_bytes),
            _ => continue,
        };
        *objects += 1;
        *bytes = bytes.saturating_add(entry.length);
    }
    sizes.chunks = manifest.index.chunks;
    for number in 0..sizes.chunks {
        sizes.chunk_bytes = sizes.chunk_bytes.saturating_add(index.chunk(number)?.length.into());
    }
    let tables = manifest.tables.iter().filter_map(|table| table.data.as_ref());
    for data in tables.chain(&manifest.large_objects) {
        sizes.row_text = sizes.row_text.saturating_add(data.bytes);
        sizes.blobs = sizes.blobs.saturating_add(data.blobs);
        sizes.blob_bytes = sizes.blob_bytes.saturating_add(data.blob_bytes);
    }
    Ok(sizes)
}

/// What a table's segments take in the file. Segments that tables share count for each.
fn segment_bytes(archive: &Archive, data: Option<&TableData>) -> Result<u64, IndexError> {
    let Some(data) = data else { return Ok(0) };
    let mut bytes = 0_u64;
    for number in data.first_segment..data.first_segment.saturating_add(data.segments) {
        let segment = archive.index().segment(number)?;
        let entry = archive.index().entry(u64::from(segment.entry))?;
        bytes = bytes.saturating_add(entry.length);
    }
    Ok(bytes)
}

/// What belongs to the database itself. Values of settings that the server does not know are not
/// shown: applications keep secrets there.
fn properties_words(properties: &Properties) -> Vec<(&'static str, String)> {
    let mut facts = vec![("Owner", properties.owner.clone())];
    if let Some(comment) = &properties.comment {
        facts.push(("About it", comment.clone()));
    }
    if let Some(limit) = properties.connection_limit {
        facts.push(("Limit", counted(limit, "connection", "connections")));
    }
    if let Some(privileges) = &properties.privileges {
        let grants = privileges.iter().map(|one| {
            format!("{} to {}", one.privilege, one.grantee.as_deref().unwrap_or("PUBLIC"))
        });
        facts.push(("Privileges", grants.collect::<Vec<_>>().join(", ")));
    }
    facts.extend(
        properties.labels.iter().map(|one| ("Label", format!("{} ({})", one.label, one.provider))),
    );
    facts.extend(properties.settings.iter().map(|one| {
        let role = one.role.as_ref().map_or_else(String::new, |role| format!("role {role}: "));
        let value = if one.name.contains('.') { "(not shown)" } else { one.value.as_str() };
        ("Setting", format!("{role}{} = {value}", one.name))
    }));
    facts
}

fn overview(path: &Path, archive: &Archive, sizes: &Sizes, paint: Paint) -> String {
    let manifest = archive.manifest();
    let source = &manifest.source;
    let mut out = String::new();
    let mut fact = |label: &str, text: String| _ = writeln!(out, "{label:<12} {text}");
    fact("Archive", format!("{} ({})", path.display(), size(sizes.archive)));
    fact("Database", format!("{} on PostgreSQL {}", source.database, source.server_version));
    fact("Created", format!("{} by {}", moment(manifest.created), manifest.tool));
    let standby = if source.standby { ", on a standby" } else { "" };
    match &source.dump {
        None => fact("Snapshot", format!("{} at {}{standby}", source.snapshot_time, source.lsn)),
        Some(dump) => fact("Made of", format!("a dump ({}), of {}", dump.form, source.when())),
    }
    let locale = source.locale.as_ref().map_or_else(String::new, |locale| format!(" {locale}"));
    fact(
        "Encoding",
        format!(
            "{}, collation {}, character type {}, provider {}{locale}",
            source.encoding, source.collate, source.ctype, source.locale_provider
        ),
    );
    if let Some(properties) = &source.properties {
        for (label, text) in properties_words(properties) {
            fact(label, text);
        }
    }
    fact("Schema by", source.pg_dump_version.clone());
    for base in manifest.bases.iter().filter(|base| base.objects > 0) {
        let taken = counted(base.objects, "object", "objects");
        let made = moment(base.created);
        fact("Thin, needs", format!("the archive of {made}, for {taken} of {}", size(base.bytes)));
        fact("", format!("manifest {}", base.manifest));
    }
    if let Some(profile) = &source.profile {
        fact("Profile", profile.clone());
    }
    if let Some(comment) = &source.comment {
        fact("Comment", comment.clone());
    }
    fact("Manifest", archive.seal().manifest.digest.to_string());

    let data = |table: &Table| table.data.unwrap_or_default();
    let rows: u64 =
        manifest.tables.iter().map(|table| data(table).rows).fold(0, u64::saturating_add);
    let title = format!(
        "{}, {}",
        counted(u64::try_from(manifest.tables.len()).unwrap_or(u64::MAX), "table", "tables"),
        counted(rows, "row", "rows")
    );
    _ = writeln!(out, "\n{}", paint.paint(Style::Bold, &title));
    let mut lines =
        vec![["", "rows", "text", "blobs", "blob bytes", "digest"].map(str::to_owned).to_vec()];
    lines.extend(manifest.tables.iter().map(|table| {
        let of = data(table);
        let partitioned = table.kind == TableKind::Partitioned;
        let shown = |text: String| if partitioned { String::new() } else { text };
        let digest = table.data.map_or_else(
            || "(partitioned)".to_owned(),
            |data| data.digest.to_string().chars().take(12).collect(),
        );
        let blobs = |text: String| if of.blobs == 0 { String::new() } else { text };
        vec![
            table.name.to_string(),
            shown(count(of.rows)),
            shown(size(of.bytes)),
            blobs(count(of.blobs)),
            blobs(size(of.blob_bytes)),
            digest,
        ]
    }));
    let (left, right) = (Align::Left, Align::Right);
    out.push_str(&columns(&lines, &[left, right, right, right, right, left]));
    let mut also = Vec::new();
    let number = |length: usize| u64::try_from(length).unwrap_or(u64::MAX);
    also.push(counted(number(manifest.sequences.len()), "sequence", "sequences"));
    also.push(counted(number(manifest.foreign_keys.len()), "foreign key", "foreign keys"));
    let large = manifest.large_objects.map_or(0, |data| data.rows);
    also.push(counted(large, "large object", "large objects"));
    let objects = manifest.schema.pre_data.len() + manifest.schema.post_data.len();
    also.push(counted(number(objects), "schema object", "schema objects"));
    _ = writeln!(out, "and {}", also.join(", "));

    if let Some(rules) = &manifest.rules {
        _ = writeln!(out, "\n{}", paint.paint(Style::Bold, "Rules"));
        for rule in rules.words() {
            _ = writeln!(out, "  {rule}");
        }
    }

    _ = writeln!(out, "\n{}", paint.paint(Style::Bold, "Sizes"));
    let line =
        |label: &str, bytes: u64, note: String| vec![format!("  {label}"), size(bytes), note];
    let lines = [
        line("blobs as referred to", sizes.blob_bytes, counted(sizes.blobs, "blob", "blobs")),
        line("blobs stored once", sizes.chunk_bytes, {
            let saved = percent(sizes.deduplicated(), sizes.blob_bytes);
            format!("{}, {saved} saved", counted(sizes.chunks, "chunk", "chunks"))
        }),
        line("blobs in the file", sizes.pack_bytes, counted(sizes.packs, "pack", "packs")),
        line("rows as text", sizes.row_text, String::new()),
        line(
            "rows in the file",
            sizes.segment_bytes,
            counted(sizes.segments, "segment", "segments"),
        ),
        line("all the rest", sizes.rest(), "schema, index, manifest, headers".to_owned()),
    ];
    out.push_str(&columns(&lines, &[Align::Left, Align::Right, Align::Left]));
    out
}

fn detail(table: &Table, manifest: &Manifest, paint: Paint) -> String {
    let mut out = String::new();
    _ = writeln!(out, "{}", paint.paint(Style::Bold, &table.name.to_string()));
    let mut fact = |label: &str, text: String| _ = writeln!(out, "{label:<13} {text}");
    match &table.data {
        Some(data) => {
            fact("Rows", format!("{} ({} of text)", count(data.rows), size(data.bytes)));
            if data.blobs > 0 {
                fact("Blobs", format!("{} ({})", count(data.blobs), size(data.blob_bytes)));
            }
            fact("Segments", count(data.segments));
            fact("Digest", data.digest.to_string());
        }
        None => fact("Partitioned", table.partition_key.clone().unwrap_or_default()),
    }
    if table.kind == TableKind::ExtensionConfig {
        let condition = table.condition.as_deref().unwrap_or("all rows");
        fact("Extension", format!("configuration rows ({condition})"));
    }
    if table.unlogged {
        fact("Unlogged", "yes".to_owned());
    }
    if let Some(parent) = &table.partition_of {
        let bound = table.partition_bound.as_deref().unwrap_or_default();
        fact("Partition of", format!("{parent} {bound}"));
    }
    for parent in &table.inherits {
        fact("Inherits", parent.to_string());
    }
    if let Some(key) = &table.primary_key {
        fact("Primary key", key_words(key));
    }
    for key in &table.unique {
        fact("Unique", key_words(key));
    }
    for key in manifest.foreign_keys.iter().filter(|key| key.table == table.name) {
        fact("Foreign key", reference_words(key));
    }
    for key in manifest.foreign_keys.iter().filter(|key| key.references == table.name) {
        fact("Referenced by", format!("{} ({})", key.table, key.columns.join(", ")));
    }
    for check in &table.checks {
        let valid = if check.validated { "" } else { ", not validated" };
        fact("Check", format!("{}: {}{valid}", check.name, check.definition));
    }
    _ = writeln!(out, "\n{}", paint.paint(Style::Bold, "Columns"));
    let lines: Vec<Vec<String>> = table
        .columns
        .iter()
        .map(|column| {
            let mut notes = Vec::new();
            if column.not_null {
                notes.push("not null");
            }
            if column.identity {
                notes.push("identity");
            }
            if column.generated {
                notes.push("generated: not stored");
            }
            if column.is_bytea() {
                notes.push("blobs");
            }
            vec![format!("  {}", column.name), column.sql_type.clone(), notes.join(", ")]
        })
        .collect();
    out.push_str(&columns(&lines, &[Align::Left, Align::Left, Align::Left]));
    out
}

fn key_words(key: &Key) -> String {
    let nulls = if key.nulls_not_distinct { ", NULLs equal" } else { "" };
    format!("{} ({}){nulls}", key.name, key.columns.join(", "))
}

fn reference_words(key: &ForeignKey) -> String {
    let mut out = format!(
        "{} ({}) to {} ({})",
        key.name,
        key.columns.join(", "),
        key.references,
        key.referenced_columns.join(", ")
    );
    if key.match_type == Match::Full {
        out.push_str(", match full");
    }
    if !key.validated {
        out.push_str(", not validated");
    }
    if !key.enforced {
        out.push_str(", not enforced");
    }
    out
}
