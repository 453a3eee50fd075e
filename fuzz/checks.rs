//! What every input must hold, whatever its bytes: no panic, no endless loop, no memory beyond the
//! limits (the fuzzer's own flags), and what two readings say agrees. `fuzz/targets` hands these to
//! libFuzzer; `tests/suite/fuzzed.rs` runs them over the corpus that is kept.

use std::fs::File;
use std::io::{Read, Seek};
use std::path::Path;
use std::sync::{Arc, LazyLock};

use pgark::format::batch::BatchBuilder;
use pgark::format::digest::{Digest, RowSum};
use pgark::format::index::{Index, IndexBytes};
use pgark::format::manifest::{
    Column, ForeignKey, Key, Manifest, Match, Name, Source, Table, TableData,
};
use pgark::format::object::{self, HEAD_FIXED, Head};
use pgark::format::parity::Protection;
use pgark::format::reader::{self, Archive, Tail};
use pgark::format::seal::{self, Place, Seal};
use pgark::format::writer::{ArchiveWriter, WriterOptions};
use pgark::format::{cbor, rows, ustar};
use pgark::io::{ReadAt, Scratch};
use pgark::progress::Silent;
use pgark::repair::{self, RepairError};
use pgark::source::ddl::{self, Declarations, Piece, Splitter};
use pgark::source::{Dump, Run, Stop};
use pgark::verify::{self, Report, VerifyOptions};

const CREATED: u64 = 1_700_000_000;

fn column(name: &str, of: &str) -> Column {
    Column { not_null: name == "id", ..Column::new(name, of) }
}

fn table(name: &str, columns: Vec<Column>) -> Table {
    let columns_of_key = vec!["id".into()];
    Table {
        primary_key: Some(Key::new("key", columns_of_key)),
        ..Table::new(Name::new("public", name), columns)
    }
}

/// A small archive with everything in it: two tables, a reference, a blob of many chunks.
fn archive(protection: Option<Protection>) -> Vec<u8> {
    let reference = ForeignKey {
        name: "item_image".into(),
        table: Name::new("public", "item"),
        columns: vec!["image".into()],
        references: Name::new("public", "image"),
        referenced_columns: vec!["id".into()],
        match_type: Match::Simple,
        validated: true,
        enforced: true,
    };
    let mut manifest = Manifest {
        tool: "fuzz".into(),
        source: Source { encoding: "UTF8".into(), ..Source::default() },
        tables: vec![
            table("image", vec![column("id", "int4"), column("file", "bytea")]),
            table("item", vec![column("id", "int4"), column("image", "int4"), column("t", "text")]),
        ],
        foreign_keys: vec![reference],
        ..Manifest::default()
    };
    let options = WriterOptions { created: CREATED, memory: 1 << 20 };
    let made = ArchiveWriter::create_protected(Vec::new(), &options, protection);
    let mut writer = made.expect("memory can be written");
    let long: Vec<u8> = (0..110_u32).flat_map(|n| format!("{n:>1000} ").into_bytes()).collect();
    let fields: [&[&[Option<&[u8]>]]; 2] = [
        &[&[Some(b"1"), Some(&long)], &[Some(b"2"), Some(&[7; 70])], &[Some(b"3"), Some(b"tiny")]],
        &[&[Some(b"1"), Some(b"2"), Some(b"a\tb\\c")], &[Some(b"2"), None, None]],
    ];
    writer.schema(b"", b"", &manifest).expect("memory can be written");
    for (table, all) in manifest.tables.iter_mut().zip(fields) {
        writer.begin_table(Some(&table.name)).expect("no other is open");
        let mut rows = BatchBuilder::new(writer.known());
        for row in all {
            for (value, column) in row.iter().zip(&table.columns) {
                match value {
                    None => rows.null(),
                    Some(value) if column.is_bytea() => rows.blob(value),
                    Some(value) => rows.text(value),
                }
            }
            rows.end_row();
        }
        writer.batch(&rows.finish()).expect("memory can be written");
        table.data = Some(writer.end_table().expect("one is open"));
    }
    writer.finish(manifest).expect("memory can be written").0
}

static PLAIN: LazyLock<Vec<u8>> = LazyLock::new(|| archive(None));
static PROTECTED: LazyLock<Vec<u8>> =
    LazyLock::new(|| archive(Some(Protection { share: 64, shard: 512, window: 32 })));

/// What a corpus begins with: inputs that reach far into each check. Name of the check, and bytes.
pub(crate) fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let opened = Archive::from_file(Arc::new(PLAIN.clone())).expect("it was just made");
    let part = |offset: u64, length: u64| {
        let from = usize::try_from(offset).expect("it is in memory");
        PLAIN[from..from + usize::try_from(length).expect("it is in memory")].to_vec()
    };
    let seal = opened.seal();
    let mut seeds = vec![
        ("container", PLAIN[PLAIN.len() - 2560..].to_vec()),
        ("manifest", part(seal.manifest.offset, seal.manifest.length)),
        ("index", part(seal.index.offset, seal.index.length)),
        ("rows", b"1\ta\\tb\\\\\\n\t\\N\t\\\\x00ff\n2\t#".to_vec()),
        ("rules", b"[[blob]]\ntable = \"image\"\ncolumn = \"file\"\nimage = true\n".to_vec()),
        ("rules", include_bytes!("../fixtures/sample/pgark.toml").to_vec()),
        ("resealed", vec![0, 3, 0, 1, 1, 9, 0, 0xff]),
        ("verify", PLAIN.clone()),
        ("verify", PROTECTED.clone()),
        ("repair", vec![0, 1, 0, 4]),
        ("salvage", vec![9, 1, 0, 4]),
        ("ddl", include_bytes!("../src/source/ddl/old_dump.sql").to_vec()),
        (
            "ddl",
            b"CREATE TABLE s.t (a numeric(3,1)[] DEFAULT '{}' NOT NULL) INHERITS (s.u);".to_vec(),
        ),
        ("dump", include_bytes!("seeds/copy.sql").to_vec()),
        ("dump", include_bytes!("seeds/insert.sql").to_vec()),
        ("canary", b"pgar".to_vec()),
    ];
    for number in 0..opened.manifest().index.entries {
        let entry = opened.index().entry(number).expect("it is in the index");
        seeds.push(("container", part(entry.offset - 512, 512)));
        if entry.name().starts_with("objects/") {
            seeds.push(("object", part(entry.offset, entry.length)));
        }
    }
    seeds
}

/// Writes the seeds of a check into the folder that `PGARK_SEEDS` names.
pub(crate) fn plant(check: &str) {
    let Some(folder) = std::env::var_os("PGARK_SEEDS") else { return };
    for (_, bytes) in seeds().into_iter().filter(|(of, _)| *of == check) {
        let path = Path::new(&folder).join(Digest::of(&bytes).to_string());
        std::fs::write(path, bytes).expect("the seeds can be written");
    }
}

fn verified(bytes: Vec<u8>) -> Report {
    let file: Arc<dyn ReadAt> = Arc::new(bytes);
    let options = VerifyOptions { memory: 1 << 20, ..VerifyOptions::default() };
    verify::run(&file, &options, &Silent).expect("damage is a finding, not an error")
}

/// The end of a file, and headers.
pub(crate) fn container(data: &[u8]) {
    if let Ok(tail) = Tail::read(&data.to_vec())
        && let Ok(seal) = tail.seal()
    {
        assert_eq!(Seal::decode(&seal.encode()), Ok(seal));
        let _ = reader::read_manifest(&data.to_vec(), &seal.manifest);
        let _ = reader::read_index(&data.to_vec(), &seal.index);
    }
    let _ = Archive::from_file(Arc::new(data.to_vec()));
    // A file of such headers: what scanning makes of it.
    let _ = salvaged([&PLAIN[..PLAIN.len() / 2 / 512 * 512], data].concat());
}

/// A manifest: what is accepted has one encoding.
pub(crate) fn manifest(data: &[u8]) {
    if let Ok(manifest) = reader::parse_manifest(data) {
        let again = cbor::encode(&manifest).expect("it was decoded");
        assert!(reader::parse_manifest(&again).is_ok_and(|same| same == manifest));
        assert!(manifest.grew_from(&manifest.catalog()));
    }
}

/// An index: every record of it.
pub(crate) fn index(data: &[u8]) {
    let Ok(index) = Index::parse(IndexBytes::Owned(data.to_vec())) else { return };
    let facts = index.facts(Digest::default());
    for number in 0..facts.entries.min(1000) {
        let _ = index.entry(number).map(|entry| entry.name());
    }
    for number in 0..facts.chunks.min(1000) {
        if let Ok(chunk) = index.chunk(number) {
            let _ = index.find_chunk(&chunk.digest);
        }
    }
    for number in 0..facts.blobs.min(1000) {
        if let Ok(blob) = index.blob(number) {
            let _ = index.find_blob(&blob.digest);
            let _ = index.blob_chunk(blob.first);
        }
    }
    for number in 0..facts.segments.min(1000) {
        let _ = index.segment(number);
    }
}

/// A pack or a segment.
pub(crate) fn object(data: &[u8]) {
    let Some(fixed) = data.first_chunk::<HEAD_FIXED>() else { return };
    let Ok(length) = Head::length(fixed) else { return };
    let Some((head, body)) = data.split_at_checked(length) else { return };
    let Ok(decoded) = Head::decode(head) else { return };
    assert_eq!(decoded.encode(), head, "a head has one form");
    if let Ok(raw) = object::decode_body(&decoded, body) {
        assert_eq!(raw.len() as u64, decoded.raw_length);
        let _ = object::check_chunks(&decoded, &raw);
    }
}

/// Row text: what can be read, written again, is the same.
pub(crate) fn rows(data: &[u8]) {
    for row in rows::rows(data) {
        for field in rows::fields(row) {
            if let Ok(Some(value)) = rows::unescape(field) {
                let mut again = Vec::new();
                rows::escape_into(&mut again, &value);
                let read = rows::unescape(&again).expect("it was just written");
                assert_eq!(read.as_deref(), Some(&*value));
            }
            let _ = rows::bytea(field);
        }
    }
}

/// Rules as people write them.
pub(crate) fn rules(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(file) = verify::rules::RuleFile::parse(text) {
        let opened = Archive::from_file(Arc::new(PLAIN.clone())).expect("it was just made");
        let _ = verify::rules::resolve(&file, &opened.manifest().tables);
    }
}

/// A whole file.
pub(crate) fn verify(data: &[u8]) {
    let report = verified(data.to_vec());
    let opened = Archive::from_file(Arc::new(data.to_vec()));
    assert!(!report.ok || opened.is_ok(), "what verifies can be opened");
}

/// Bytes of index and manifest changed as the input says (two for the place, one for the value),
/// and sealed again: digests stop no such change at the door.
pub(crate) fn resealed(data: &[u8]) {
    let bytes = &*PLAIN;
    let opened = Archive::from_file(Arc::new(bytes.clone())).expect("it was just made");
    let sealed = *opened.seal();
    let body = |place: &Place| {
        let from = usize::try_from(place.offset).expect("it is in memory");
        bytes[from..from + usize::try_from(place.length).expect("it is in memory")].to_vec()
    };
    let (mut index, mut manifest) = (body(&sealed.index), body(&sealed.manifest));
    for change in data.chunks_exact(4) {
        let place = usize::from(u16::from_le_bytes([change[1], change[2]]));
        let which = if change[0] & 1 == 0 { &mut index } else { &mut manifest };
        let place = place % which.len();
        match change[0] >> 1 & 3 {
            0 => which[place] ^= change[3],
            1 => which[place] = change[3],
            2 => which.insert(place, change[3]),
            _ => drop(which.remove(place)),
        }
        if which.is_empty() {
            return;
        }
    }
    // Most changes are to see what a reader makes of an index that the manifest vouches for.
    if let Ok(mut decoded) = reader::parse_manifest(&manifest) {
        decoded.index.digest = Digest::of(&index);
        manifest = cbor::encode(&decoded).expect("it was decoded");
    }
    let start = usize::try_from(sealed.index.offset).expect("it is in memory") - 512;
    let mut out = bytes[..start].to_vec();
    let mut entry = |name: &str, body: &[u8]| {
        let length = body.len() as u64;
        out.extend(ustar::header(name, length, CREATED));
        let offset = out.len() as u64;
        out.extend(body);
        out.resize(out.len() + ustar::padding(length), 0);
        Place { offset, length, digest: Digest::of(body) }
    };
    let index = entry(ustar::INDEX, &index);
    let manifest = entry(ustar::MANIFEST, &manifest);
    let total = (out.len() + seal::TAIL) as u64;
    let copy = Seal { total, created: CREATED, index, manifest, tail: Place::default() }.encode();
    out.extend(ustar::header(ustar::SEAL, 1024, CREATED));
    out.extend([copy, copy].concat());
    out.resize(out.len() + 1024, 0);
    let report = verified(out.clone());
    if report.ok
        && let Ok(opened) = Archive::from_file(Arc::new(out))
    {
        read_all(&opened);
    }
}

/// What verifies can be read to its last row.
fn read_all(archive: &Archive) {
    let data = archive.manifest().tables.iter().filter_map(|table| table.data);
    for TableData { first_segment, segments, .. } in data {
        for number in first_segment..first_segment + segments {
            archive.segment(number).expect("it verifies");
        }
    }
}

/// A file with stretches of it changed, as the input says: two bytes for the place (in steps of 16),
/// one for the length, one for the value.
fn damaged(good: &[u8], data: &[u8]) -> Vec<u8> {
    let mut bad = good.to_vec();
    for change in data.chunks_exact(4) {
        let from = 16 * usize::from(u16::from_le_bytes([change[0], change[1]])) % bad.len();
        let length = 1 << (change[2] % 14);
        let to = bad.len().min(from + length);
        match change[2] >> 6 {
            0 => bad[from..to].fill(change[3]),
            1 => bad[from..to].iter_mut().for_each(|byte| *byte ^= change[3]),
            2 => bad.truncate(from + 1),
            _ => drop(bad.splice(from..from, good[..length.min(good.len())].iter().copied())),
        }
    }
    bad
}

/// Repair gives back the file as it was written, or says that it cannot.
pub(crate) fn repair(data: &[u8]) {
    let good = &*PROTECTED;
    let bad = damaged(good, data);
    let mut target = Vec::new();
    let report = repair::mend(&bad, &mut target, &Silent).expect("memory can be written");
    assert!(!report.whole || target == *good || verified(target.clone()).ok, "repair guessed");
    // Foreign bytes: no file of this kind.
    let _ = repair::mend(&data.to_vec(), &mut Vec::new(), &Silent);
}

fn salvaged(bad: Vec<u8>) -> Option<Report> {
    let mut out: File = tempfile::tempfile().expect("a scratch file");
    let source: Arc<dyn ReadAt> = Arc::new(bad);
    let copy = out.try_clone().expect("a scratch file");
    match repair::salvage(&source, &|_| Vec::new(), copy, 1 << 20, Scratch::default(), &Silent) {
        Ok(_) => {
            let mut bytes = Vec::new();
            out.rewind().and_then(|()| out.read_to_end(&mut bytes)).expect("a scratch file");
            Some(verified(bytes))
        }
        Err(RepairError::Nothing(_)) => None,
        Err(error) => panic!("{error}"),
    }
}

/// What is salvaged verifies, but for what its rows refer to.
pub(crate) fn salvage(data: &[u8]) {
    let Some(report) = salvaged(damaged(&PLAIN, data)) else { return };
    let known = ["E603", "W209"];
    for finding in &report.findings {
        assert!(known.contains(&finding.code.id()), "salvaged: {finding}");
    }
}

/// The SQL of a dump: what it is cut into is the same byte by byte.
pub(crate) fn ddl(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut declarations = Declarations::new();
    let mut whole = Vec::new();
    let mut at = 0;
    for piece in ddl::statements(text) {
        let Ok(Piece::Statement(sql) | Piece::Command(sql)) = piece else { break };
        at += sql.len();
        whole.push(at);
        let _ = declarations.statement(sql);
    }
    if let Ok(declared) = declarations.finish() {
        assert!(declared.tables.iter().all(|table| table.data.is_none()));
    }
    let (mut splitter, mut single, mut from) = (Splitter::new(), Vec::new(), 0);
    for at in 1..=data.len() {
        let Ok((_, end)) = splitter.push(&data[at - 1..at]) else { break };
        if end.is_some() {
            single.push(at);
            if let Some(on) = ddl::standard_strings(&text[from..at]) {
                splitter.set_standard_strings(on);
            }
            from = at;
        }
    }
    // A command to psql may end with the text.
    if splitter.finish() == Ok(Some(ddl::End::Command)) {
        single.push(data.len());
    }
    assert_eq!(whole, single);
}

/// Rows and digest of each table, and of the large objects' bytes.
pub(crate) fn sums(path: &Path, spool: &Path) -> Option<Vec<(RowSum, Option<Digest>)>> {
    let dump = Dump::open(path, spool, &mut |_| true).ok()?;
    let mut sums = Vec::new();
    for table in 0..dump.declared.tables.len() {
        let mut sum = RowSum::default();
        let mut each = |run: Run| {
            sum.add(run.batch(BatchBuilder::for_digest()).map_err(|_| Stop::Taker)?.sum());
            Ok(())
        };
        dump.rows(table, &mut each).ok()?;
        sums.push((sum, None));
    }
    for facts in dump.large_objects().into_iter().flatten() {
        let mut bytes = Vec::new();
        dump.large_object(&facts).ok()?.read_to_end(&mut bytes).ok()?;
        bytes.extend(format!("{facts:?}").split("place").next().unwrap_or_default().as_bytes());
        sums.push((RowSum::default(), Some(Digest::of(&bytes))));
    }
    Some(sums)
}

/// A plain dump: one that can be read twice, and one that is copied aside as it comes, hold the same.
pub(crate) fn dump(data: &[u8]) {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let plain = folder.path().join("dump.sql");
    std::fs::write(&plain, data).expect("a scratch file");
    // What is packed by something would be unpacked to any size.
    if data.starts_with(b"\x1f\x8b") || data.starts_with(b"\x28\xb5\x2f\xfd") {
        return;
    }
    let twice = sums(&plain, folder.path());
    let packed = folder.path().join("dump.zst");
    let bytes = zstd::bulk::compress(data, 1).expect("memory can be written");
    std::fs::write(&packed, bytes).expect("a scratch file");
    assert_eq!(twice, sums(&packed, folder.path()));
}

/// Must fail: shows that the harness finds what there is to find. A branch for each byte, as a parser
/// has them: a comparison of all at once is one branch, which only luck gets through.
pub(crate) fn canary(data: &[u8]) {
    let is = |at: usize, byte: u8| data.get(at) == Some(&byte);
    let sung =
        is(0, b'p') && is(1, b'g') && is(2, b'a') && is(3, b'r') && is(4, b'k') && is(5, b'!');
    assert!(!sung, "the canary sings");
}
