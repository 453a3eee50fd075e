//! Proposes rules from the rows of an archive, each with its evidence.
//!
//! For references, every value of every column gives a record; sorted by value, the columns that
//! hold one value stand together, and what a column may refer to shrinks with each value of it
//! that another column lacks. Memory is bounded by the sorter's budget and by the number of
//! columns.

use std::collections::BTreeMap;
use std::io;

use md5::{Digest as _, Md5};
use sha1::Sha1;

use super::equality::Equality;
use super::images::{self, Declared};
use super::plan::value;
use crate::format::digest::Digest;
use crate::format::manifest::{Name, Table};
use crate::format::reader::{Archive, PackCache, ReadError};
use crate::format::rows::{self, Bytea};
use crate::format::rules::{Algorithm, BlobRule, Checksum, ReferenceRule, Rules};
use crate::io::spill::{Merge, Sorter};
use crate::progress::Progress;

/// Bytes of a record: value, column, and whether it is an empty string.
const RECORD: usize = 20;
/// Longest blob that is read for its type and its checksum.
const LONGEST: u64 = 64 << 20;
/// Rows of a table whose blobs are looked at.
const LOOKED_AT: u64 = 2000;

/// Why nothing could be proposed.
#[derive(Debug, thiserror::Error)]
pub enum SuggestError {
    /// The archive cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// A row is not one.
    #[error("{table}: {source}")]
    Row {
        /// The table.
        table: Name,
        /// What is wrong.
        source: rows::RowError,
    },
    /// Values did not fit into memory, and not onto disk either.
    #[error("a scratch file could not be written or read")]
    Scratch(#[source] io::Error),
    /// Whoever asked wants it to stop.
    #[error("interrupted")]
    Interrupted,
}

/// Rules, each with what speaks for it; references first, then blobs.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Suggestions {
    /// The rules.
    pub rules: Rules,
    /// For each of the rules' references, then for each of their blobs.
    pub evidence: Vec<String>,
}

/// A column whose values are compared with others.
struct Candidate<'a> {
    table: &'a Table,
    name: &'a str,
    field: usize,
    equality: Equality,
    /// Whether no two rows have the same value.
    unique: bool,
    /// Rows with a value.
    values: u64,
    empty: u64,
    /// Distinct values, empty ones aside.
    distinct: u64,
    /// The columns that hold every value so far, as numbers; none before the first value.
    holders: Option<Vec<u32>>,
}

/// Looks through an archive.
///
/// # Errors
/// [`SuggestError`]; what is damaged is not passed over.
pub fn suggest(
    archive: &Archive,
    memory: usize,
    progress: &dyn Progress,
) -> Result<Suggestions, SuggestError> {
    let tables = &archive.manifest().tables;
    let mut candidates = Vec::new();
    let mut sorter = Sorter::<RECORD>::new(memory / 2);
    let mut out = Suggestions::default();
    let mut blobs = Vec::new();
    for table in tables {
        let first = candidates.len();
        candidates.extend(columns(table));
        let mut beside = BlobColumns::of(table);
        read(archive, table, progress, |row| {
            let fields: Vec<&[u8]> = rows::fields(row).collect();
            let mut scratch = Vec::new();
            for (number, candidate) in candidates.iter_mut().enumerate().skip(first) {
                let Some(text) = fields.get(candidate.field) else { continue };
                let unescaped = rows::unescape(text);
                let unescaped = unescaped
                    .map_err(|source| SuggestError::Row { table: table.name.clone(), source })?;
                let Some(plain) = unescaped else { continue };
                if plain.is_empty() {
                    candidate.empty += 1;
                    continue;
                }
                candidate.values += 1;
                scratch.clear();
                candidate.equality.write(&plain, &mut scratch);
                let mut record = [0; RECORD];
                let (to, column) = record.split_at_mut(16);
                to.copy_from_slice(&value(&scratch));
                column.copy_from_slice(&u32::try_from(number).unwrap_or(u32::MAX).to_be_bytes());
                sorter.push(record).map_err(SuggestError::Scratch)?;
            }
            beside.row(archive, table, &fields)
        })?;
        blobs.extend(beside.rules(table));
    }
    narrow(sorter, memory / 4, &mut candidates, progress)?;
    for candidate in &candidates {
        let declared = archive.manifest().foreign_keys.iter().any(|key| {
            key.table == candidate.table.name && key.columns.iter().any(|c| c == candidate.name)
        });
        if declared || candidate.distinct == 0 {
            continue;
        }
        let all = candidate.holders.as_deref().unwrap_or_default().iter();
        let all = all.filter_map(|holder| candidates.get(usize::try_from(*holder).ok()?));
        let fits = all.filter(|holder| refers(candidate, holder));
        // The smallest column that holds all is the closest.
        let Some(best) = fits.min_by_key(|holder| (!likely(candidate, holder), holder.distinct))
        else {
            continue;
        };
        out.evidence.push(format!(
            "all {} values ({} distinct, {} empty) of {}.{} occur in the unique column {} of {}",
            candidate.values,
            candidate.distinct,
            candidate.empty,
            candidate.table.name,
            candidate.name,
            best.name,
            best.table.name
        ));
        out.rules.references.push(ReferenceRule {
            table: candidate.table.name.clone(),
            columns: vec![candidate.name.to_owned()],
            references: best.table.name.clone(),
            referenced_columns: vec![best.name.to_owned()],
            empty_is_none: candidate.empty > 0,
        });
    }
    for (rule, evidence) in blobs {
        out.rules.blobs.push(rule);
        out.evidence.push(evidence);
    }
    Ok(out)
}

/// The columns of a table that have values to compare.
fn columns(table: &Table) -> Vec<Candidate<'_>> {
    let stored = table.data.is_some_and(|data| data.rows > 0);
    let keys = || table.primary_key.iter().chain(&table.unique);
    let one = |column: &'_ crate::format::manifest::Column| {
        keys().any(|key| key.columns.len() == 1 && key.columns.contains(&column.name))
    };
    table
        .stored_columns()
        .enumerate()
        .filter(|(_, column)| stored && !column.is_bytea())
        .filter_map(|(field, column)| {
            Some(Candidate {
                table,
                name: &column.name,
                field,
                equality: Equality::of(column)?,
                unique: one(column),
                values: 0,
                empty: 0,
                distinct: 0,
                holders: None,
            })
        })
        .collect()
}

/// Whether a column may be said to refer to another that holds all its values.
fn refers(from: &Candidate<'_>, to: &Candidate<'_>) -> bool {
    let own_key = from.unique && from.table.name == to.table.name;
    if !to.unique || own_key || std::ptr::eq(from, to) || !from.equality.agrees(&to.equality) {
        return false;
    }
    // Small numbers occur in every column of numbers: there the name must speak for it too. Two
    // keys with the same values may as well refer to each other: nothing can be said.
    likely(from, to) || (!from.equality.is_number() && !from.unique && from.distinct >= 2)
}

/// Whether the name speaks for a reference: `imageId` to `image`, or the same name.
fn likely(from: &Candidate<'_>, to: &Candidate<'_>) -> bool {
    let plain = |name: &str| -> String {
        name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
    };
    let (name, table, column) = (plain(from.name), plain(&to.table.name.name), plain(to.name));
    let stem = ["id", "fk", "ref"].iter().find_map(|ending| name.strip_suffix(ending));
    let stem = stem.filter(|stem| !stem.is_empty());
    stem.is_some_and(|stem| table.starts_with(stem) || table.ends_with(stem) || stem == column)
        || (name == column && name != "id" && !from.unique)
}

/// Strikes out, value by value, what cannot be referred to.
fn narrow(
    sorter: Sorter<RECORD>,
    memory: usize,
    candidates: &mut [Candidate<'_>],
    progress: &dyn Progress,
) -> Result<(), SuggestError> {
    let mut merge = Merge::new(vec![sorter], memory).map_err(SuggestError::Scratch)?;
    let mut group: Vec<u32> = Vec::new();
    let mut current: Option<[u8; 16]> = None;
    let mut count = 0_u64;
    loop {
        let record = merge.next().map_err(SuggestError::Scratch)?;
        let taken = record.as_ref().and_then(|record| {
            let (value, column) = record.split_first_chunk::<16>()?;
            Some((*value, u32::from_be_bytes(*column.first_chunk()?)))
        });
        count += 1;
        if count.is_multiple_of(1 << 16) && progress.interrupted() {
            return Err(SuggestError::Interrupted);
        }
        if let Some((value, column)) = taken
            && current == Some(value)
        {
            // Sorted by column too: one that has the value twice stands beside itself.
            if group.last() != Some(&column) {
                group.push(column);
            }
            continue;
        }
        strike(&group, candidates);
        group.clear();
        let Some((value, column)) = taken else { return Ok(()) };
        current = Some(value);
        group.push(column);
    }
}

fn strike(group: &[u32], candidates: &mut [Candidate<'_>]) {
    let at = |number: &u32| usize::try_from(*number).unwrap_or(usize::MAX);
    let unique: Vec<u32> = group
        .iter()
        .filter(|number| candidates.get(at(number)).is_some_and(|candidate| candidate.unique))
        .copied()
        .collect();
    for number in group {
        let Some(candidate) = candidates.get_mut(at(number)) else { continue };
        candidate.distinct += 1;
        match &mut candidate.holders {
            Some(holders) => holders.retain(|holder| unique.contains(holder)),
            none => *none = Some(unique.clone()),
        }
    }
}

fn read(
    archive: &Archive,
    table: &Table,
    progress: &dyn Progress,
    mut take: impl FnMut(&[u8]) -> Result<(), SuggestError>,
) -> Result<(), SuggestError> {
    let Some(data) = table.data else { return Ok(()) };
    progress.on(&table.name.to_string());
    for number in data.first_segment..data.first_segment.saturating_add(data.segments) {
        if progress.interrupted() {
            return Err(SuggestError::Interrupted);
        }
        let text = archive.segment(number)?;
        let mut count = 0;
        for row in rows::rows(&text) {
            take(row)?;
            count += 1;
        }
        progress.rows(count);
    }
    Ok(())
}

/// What the columns beside a table's only `bytea` column may say of it.
struct BlobColumns {
    field: Option<usize>,
    cache: PackCache,
    looked_at: u64,
    empty: u64,
    images: u64,
    decoded: u64,
    /// For each field: rows whose value is the type, and those whose value is another.
    media: BTreeMap<usize, (u64, u64)>,
    /// The same of checksums.
    sums: BTreeMap<(usize, Algorithm), (u64, u64)>,
}

impl BlobColumns {
    fn of(table: &Table) -> Self {
        let mut bytea = table.stored_columns().enumerate().filter(|(_, column)| column.is_bytea());
        let field = match (bytea.next(), bytea.next()) {
            (Some((field, _)), None) => Some(field),
            // Of several it cannot be told which of them the columns are about.
            _ => None,
        };
        Self {
            field,
            cache: PackCache::default(),
            looked_at: 0,
            empty: 0,
            images: 0,
            decoded: 0,
            media: BTreeMap::new(),
            sums: BTreeMap::new(),
        }
    }

    fn row(
        &mut self,
        archive: &Archive,
        table: &Table,
        fields: &[&[u8]],
    ) -> Result<(), SuggestError> {
        let row = |source| SuggestError::Row { table: table.name.clone(), source };
        let Some(field) = self.field.filter(|_| self.looked_at < LOOKED_AT) else { return Ok(()) };
        let Some(text) = fields.get(field) else { return Ok(()) };
        let mut bytes = Vec::new();
        match rows::bytea(text).map_err(row)? {
            None => return Ok(()),
            Some(Bytea::Inline(inline)) => bytes = inline,
            Some(Bytea::Blob(blob)) if blob.length > LONGEST => return Ok(()),
            Some(Bytea::Blob(blob)) => archive.blob(blob, &mut self.cache, &mut |part| {
                bytes.extend_from_slice(part);
                Ok(())
            })?,
        }
        self.looked_at += 1;
        self.empty += u64::from(bytes.is_empty());
        let kind = images::sniff(&bytes);
        if let Some(kind) = kind.filter(|kind| kind.is_image()) {
            self.images += 1;
            self.decoded += u64::from(images::decode(kind, &bytes).is_ok());
        }
        let md5: [u8; 16] = Md5::digest(&bytes).into();
        let sha1: [u8; 20] = Sha1::digest(&bytes).into();
        let sha256 = Digest::of(&bytes).0;
        for (other, text) in fields.iter().enumerate().filter(|(other, _)| *other != field) {
            let Some(value) = rows::unescape(text).map_err(row)? else { continue };
            let media = self.media.entry(other).or_default();
            match images::declared(&value) {
                Declared::Known(declared) if Some(declared) == kind => media.0 += 1,
                _ => media.1 += 1,
            }
            let value = String::from_utf8_lossy(&value).to_ascii_lowercase();
            for (algorithm, sum) in
                [(Algorithm::Md5, &md5[..]), (Algorithm::Sha1, &sha1), (Algorithm::Sha256, &sha256)]
            {
                let (right, wrong) = self.sums.entry((other, algorithm)).or_default();
                let same = value == super::judge::hex(sum);
                *if same { right } else { wrong } += 1;
            }
        }
        Ok(())
    }

    fn rules(self, table: &Table) -> Option<(BlobRule, String)> {
        let field = self.field.filter(|_| self.looked_at > 0)?;
        let name = |field: usize| Some(table.stored_columns().nth(field)?.name.clone());
        let clean = |(right, wrong): &(u64, u64)| *right > 0 && *wrong == 0;
        let media = self.media.iter().find(|(_, counts)| clean(counts));
        let media = media.and_then(|(field, counts)| Some((name(*field)?, counts.0)));
        let sum = self.sums.iter().find(|(_, counts)| clean(counts));
        let sum = sum
            .and_then(|((field, algorithm), counts)| Some((name(*field)?, *algorithm, counts.0)));
        let not_empty = self.empty == 0;
        let image = self.images == self.looked_at && self.decoded == self.images;
        if media.is_none() && sum.is_none() && !image {
            return None;
        }
        let looked = self.looked_at;
        let mut evidence =
            vec![format!("{looked} values of {}.{} were looked at", table.name, name(field)?)];
        if not_empty {
            evidence.push("none is empty".into());
        }
        if image {
            evidence.push("all are images that decode".into());
        }
        evidence
            .extend(media.as_ref().map(|(name, count)| format!("{name} is the type of {count}")));
        evidence.extend(sum.as_ref().map(|(name, algorithm, count)| {
            format!("{name} is the {} of {count}", algorithm.name())
        }));
        let rule = BlobRule {
            table: table.name.clone(),
            column: name(field)?,
            not_empty,
            image,
            media_type: media.map(|(name, _)| name),
            checksum: sum.map(|(column, algorithm, _)| Checksum { column, algorithm }),
        };
        Some((rule, evidence.join(", ")))
    }
}

impl Suggestions {
    /// As a `pgark.toml` that can be used as it is, the evidence as comments.
    pub fn to_toml(&self) -> String {
        let mut out = String::from(
            "# Proposed from the rows of one archive: look at each before you keep it.\n",
        );
        let mut evidence = self.evidence.iter();
        let mut put = |lines: Vec<String>| {
            out.push('\n');
            if let Some(evidence) = evidence.next() {
                out.push_str("# ");
                out.push_str(&evidence.replace(char::is_control, " "));
                out.push('\n');
            }
            out.push_str(&lines.join("\n"));
            out.push('\n');
        };
        for rule in &self.rules.references {
            let mut lines = vec!["[[reference]]".to_owned()];
            lines.push(format!("table = {}", quoted(&dotted(&rule.table))));
            let list = |names: Vec<String>| match names.as_slice() {
                [one] => one.clone(),
                many => format!("[{}]", many.join(", ")),
            };
            let word = if rule.columns.len() == 1 { "column" } else { "columns" };
            let columns = rule.columns.iter().map(|name| quoted(name)).collect();
            lines.push(format!("{word} = {}", list(columns)));
            let theirs = rule.referenced_columns.iter();
            let theirs =
                theirs.map(|name| quoted(&format!("{}.{}", dotted(&rule.references), part(name))));
            lines.push(format!("references = {}", list(theirs.collect())));
            if rule.empty_is_none {
                lines.push("empty = \"none\"".into());
            }
            put(lines);
        }
        for rule in &self.rules.blobs {
            let mut lines = vec!["[[blob]]".to_owned()];
            lines.push(format!("table = {}", quoted(&dotted(&rule.table))));
            lines.push(format!("column = {}", quoted(&rule.column)));
            if rule.not_empty {
                lines.push("not_empty = true".into());
            }
            if rule.image {
                lines.push("image = true".into());
            }
            lines.extend(
                rule.media_type.iter().map(|name| format!("media_type = {}", quoted(name))),
            );
            lines.extend(rule.checksum.iter().map(|sum| {
                let name = sum.algorithm.name();
                format!("checksum = {{ column = {}, algorithm = \"{name}\" }}", quoted(&sum.column))
            }));
            put(lines);
        }
        out
    }
}

/// `schema.table`, each part quoted where it has a dot or a quote.
fn dotted(name: &Name) -> String {
    format!("{}.{}", part(&name.schema), part(&name.name))
}

fn part(name: &str) -> String {
    if name.contains(['.', '"']) {
        format!("\"{}\"", name.replace('"', "\"\""))
    } else {
        name.into()
    }
}

/// A TOML string.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}
