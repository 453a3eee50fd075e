//! `fixtures/`: archives that are good, damaged, wrongly made or too new, one fault each, with what
//! a reader must say of them. Guards against a verifier, or `recover.py`, that stops seeing a fault
//! when the format or its readers change: the archives are files, not made anew for the test.
//!
//! `PGARK_FIXTURES=write cargo test --test suite fixtures::every` makes all of them again, and
//! `spec/example.md`: after a change of the format, never to make a test pass.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use pgark::format::batch::BatchBuilder;
use pgark::format::manifest::{
    Column, ForeignKey, IndexFacts, Key, Manifest, Match, Name, OwnedBy, Schema, SchemaObject,
    Sequence, Source, Table, TableData, TableKind, TypeKind, TypeRef,
};
use pgark::format::reader::Archive;
use pgark::format::ustar::EntryKind;
use pgark::format::writer::{ArchiveWriter, WriterOptions};
use pgark::io::ReadAt;
use pgark::progress::Silent;
use pgark::verify::{self, Level, VerifyOptions};

use crate::support::{Ran, root, run};

const PRE: &str = "CREATE TABLE public.image (\n    id integer NOT NULL,\n    file bytea\n);\n\
    CREATE TABLE public.item (\n    id integer NOT NULL,\n    image integer,\n    name text\n);\n\
    CREATE SEQUENCE public.item_id_seq START WITH 1;\n\
    ALTER SEQUENCE public.item_id_seq OWNED BY public.item.id;\n";
const POST: &str = "ALTER TABLE ONLY public.image ADD CONSTRAINT image_pkey PRIMARY KEY (id);\n\
    ALTER TABLE ONLY public.item ADD CONSTRAINT item_pkey PRIMARY KEY (id);\n";

fn column(name: &str, of: &str, not_null: bool) -> Column {
    Column {
        name: name.into(),
        sql_type: of.into(),
        base: TypeRef { name: Name::new("pg_catalog", of), kind: TypeKind::Base },
        element: None,
        domain: None,
        typmod: None,
        not_null,
        generated: false,
        identity: false,
        collation: None,
        default: None,
        storage: "plain".into(),
        compression: None,
    }
}

fn table(name: &str, columns: Vec<Column>) -> Table {
    let key = Key {
        name: format!("{name}_pkey"),
        columns: vec!["id".into()],
        nulls_not_distinct: false,
        constraint: true,
    };
    Table {
        name: Name::new("public", name),
        kind: TableKind::Plain,
        unlogged: false,
        columns,
        primary_key: Some(key),
        unique: Vec::new(),
        checks: Vec::new(),
        partition_of: None,
        partition_bound: None,
        partition_key: None,
        inherits: Vec::new(),
        condition: None,
        data: None,
    }
}

fn slices(sql: &str) -> Vec<SchemaObject> {
    let mut at = 0;
    sql.split_inclusive(";\n")
        .map(|statement| {
            let (offset, length) = (at, statement.len() as u64);
            at += length;
            let (kind, schema, owner) = ("SQL".into(), Some("public".into()), None);
            SchemaObject { kind, schema, name: "-".into(), owner, offset, length, drop: None }
        })
        .collect()
}

/// Compresses very well, and is long enough to be cut into unlike chunks.
fn long() -> Vec<u8> {
    (0..300).flat_map(|n| format!("{n:>1000} ").into_bytes()).collect()
}

/// Two tables: images of every way to be stored, and items that refer to them.
fn archive(items: &[&str], change: impl Fn(&mut Manifest)) -> Vec<u8> {
    let options = WriterOptions { created: 1_795_417_509, memory: 1 << 20 };
    let mut writer = ArchiveWriter::create(Vec::new(), &options).unwrap();
    let int = |name, not_null| column(name, "int4", not_null);
    let image = table("image", vec![int("id", true), column("file", "bytea", false)]);
    let text = column("name", "text", false);
    let item = table("item", vec![int("id", true), int("image", false), text]);

    let reference = ForeignKey {
        name: "item_image_fkey".into(),
        table: item.name.clone(),
        columns: vec!["image".into()],
        references: image.name.clone(),
        referenced_columns: vec!["id".into()],
        match_type: Match::Simple,
        validated: true,
        enforced: true,
    };
    let sequence = Sequence {
        name: Name::new("public", "item_id_seq"),
        last_value: 9,
        is_called: true,
        increment: 1,
        owned_by: Some(OwnedBy { table: item.name.clone(), column: "id".into() }),
    };
    let mut manifest = Manifest {
        format: Manifest::FORMAT.into(),
        version: 1,
        features: Vec::new(),
        created: 0,
        tool: "fixtures".into(),
        index: IndexFacts::default(),
        source: Source {
            server_version: "18.6".into(),
            server_version_num: 180_006,
            database: "shop".into(),
            encoding: "UTF8".into(),
            collate: "C".into(),
            ctype: "C".into(),
            locale_provider: "libc".into(),
            snapshot_time: "2026-11-23T07:05:09.000000Z".into(),
            lsn: "0/16B3748".into(),
            pg_dump_version: "pg_dump (PostgreSQL) 18.6".into(),
            ..Source::default()
        },
        schema: Schema { pre_data: slices(PRE), post_data: slices(POST), ..Schema::default() },
        enums: Vec::new(),
        tables: vec![image, item],
        foreign_keys: vec![reference],
        sequences: vec![sequence],
        large_objects: None,
        rules: None,
    };
    let mut early = manifest.clone();
    for table in &mut early.tables {
        table.data = Some(TableData::default());
    }
    change(&mut early);
    writer.schema(PRE.as_bytes(), POST.as_bytes(), &early).unwrap();

    writer.begin_table(Some(&manifest.tables[0].name)).unwrap();
    let mut rows = BatchBuilder::new(writer.known());
    let noise: Vec<u8> =
        (0..25_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()).collect();
    for (id, file) in [("1", noise), ("2", b"tiny".to_vec()), ("3", long())] {
        rows.text(id.as_bytes());
        rows.blob(&file);
        rows.end_row();
    }
    writer.batch(&rows.finish()).unwrap();
    manifest.tables[0].data = Some(writer.end_table().unwrap());

    writer.begin_table(Some(&manifest.tables[1].name)).unwrap();
    let mut rows = BatchBuilder::new(writer.known());
    for row in items {
        for field in row.split('|') {
            if field.is_empty() { rows.null() } else { rows.text(field.as_bytes()) }
        }
        rows.end_row();
    }
    writer.batch(&rows.finish()).unwrap();
    manifest.tables[1].data = Some(writer.end_table().unwrap());

    change(&mut manifest);
    writer.finish(manifest).unwrap().0
}

const ITEMS: [&str; 3] = ["1|1|first", "2|3|a\tb\\c", "3||"];

fn falsified(change: impl Fn(&mut Manifest)) -> Vec<u8> {
    archive(&ITEMS, change)
}

/// Where the entry of this kind stands: the first of it.
fn body(bytes: &[u8], kind: EntryKind) -> usize {
    let opened = Archive::from_file(Arc::new(bytes.to_vec())).unwrap();
    let entries = (0..opened.manifest().index.entries).map(|n| opened.index().entry(n).unwrap());
    let entry = entries.into_iter().find(|entry| entry.kind == kind).unwrap();
    usize::try_from(entry.offset).unwrap()
}

/// Where manifest and index stand.
fn places(bytes: &[u8]) -> (usize, usize) {
    let opened = Archive::from_file(Arc::new(bytes.to_vec())).unwrap();
    let seal = opened.seal();
    (usize::try_from(seal.manifest.offset).unwrap(), usize::try_from(seal.index.offset).unwrap())
}

struct Fixture {
    folder: &'static str,
    bytes: Vec<u8>,
    /// What a full verification finds: all of these.
    codes: &'static [&'static str],
    /// Its exit code.
    exit: u8,
    /// That of `recover.py --check`, which knows nothing of keys.
    recover: u8,
}

fn all() -> Vec<Fixture> {
    let good = archive(&ITEMS, |_| ());
    let (manifest, index) = places(&good);
    let at = |kind| body(&good, kind);
    let flip = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 0x10;
        bytes
    };
    let twice = |at: usize| {
        let mut bytes = flip(at);
        bytes[at + 512] ^= 0x10;
        bytes
    };
    let end = good.len();
    let mut out = Vec::new();
    let mut add = |folder, bytes, codes, exit, recover| {
        out.push(Fixture { folder, bytes, codes, exit, recover });
    };
    add("good/small", good.clone(), &[], 0, 0);
    add("good/no_rows", archive(&[], |_| ()), &[], 0, 0);

    let damaged: [(&str, Vec<u8>, &[&str]); 19] = [
        ("bad/E002_half_a_file_of_another_kind", vec![b'x'; 4096], &["E002"]),
        ("bad/E101_sealed_length", [&good[..512], &good[..]].concat(), &["E101", "E201", "E204"]),
        ("bad/E102_end_blocks", flip(end - 1), &["E102"]),
        ("bad/E103_one_seal", flip(end - 2048 + 33), &["E103"]),
        ("bad/E104_both_seals", twice(end - 2048 + 33), &["E104"]),
        ("bad/E104_cut_off", good[..end - 3000].to_vec(), &["E104"]),
        ("bad/E105_header", flip(101), &["E105"]),
        ("bad/E106_padding", flip(at(EntryKind::Recover) - 513), &["E106"]),
        ("bad/E113_script", flip(at(EntryKind::Recover) + 9), &["E113"]),
        ("bad/E113_post_data", flip(at(EntryKind::PostData) + 9), &["E113"]),
        ("bad/E201_manifest", flip(manifest + 20), &["E201"]),
        ("bad/E204_index", flip(index + 70), &["E204"]),
        ("bad/E301_segment_head", flip(at(EntryKind::Segment) + 40), &["E301", "E409", "N608"]),
        ("bad/E408_table_digest", with(|data| data.digest.0[0] ^= 1), &["E408"]),
        ("bad/E407_rows", with(|data| data.rows += 1), &["E407"]),
        ("bad/E410_statistics", with(|data| data.bytes += 1), &["E410"]),
        ("bad/E501_slices", falsified(|m| m.schema.pre_data[0].length -= 1), &["E501"]),
        ("bad/E207_tables_not_sorted", falsified(|m| m.tables.swap(0, 1)), &["E206", "E207"]),
        ("bad/E402_column_too_many", falsified(|m| drop(m.tables[1].columns.pop())), &["E402"]),
    ];
    for (folder, bytes, codes) in damaged {
        add(folder, bytes, codes, 1, 1);
    }
    let key = ["1|1|first", "1|3|again"];
    add("bad/E601_key_twice", archive(&key, |_| ()), &["E601"], 1, 0);
    add("bad/E603_dangling", archive(&["1|7|x"], |_| ()), &["E603"], 1, 0);
    let feature = falsified(|m| m.features.push("from-the-future".into()));
    add("unsupported/E004_feature", feature, &["E004"], 4, 4);
    add("unsupported/E003_version", falsified(|m| m.version = 2), &["E003"], 4, 4);
    out
}

/// The second table's facts falsified.
fn with(change: impl Fn(&mut pgark::format::manifest::TableData)) -> Vec<u8> {
    falsified(|manifest| change(manifest.tables[1].data.as_mut().unwrap()))
}

fn expected(fixture: &Fixture) -> String {
    let value = serde_json::json!({
        "codes": fixture.codes, "exit": fixture.exit, "recover_exit": fixture.recover,
    });
    serde_json::to_string_pretty(&value).unwrap() + "\n"
}

fn home() -> PathBuf {
    root().join("fixtures")
}

/// The archive in this folder: packed, because the texts for people are most of a small one.
fn stored(folder: &str) -> Vec<u8> {
    let packed = std::fs::read(home().join(folder).join("archive.pgark.zst")).unwrap();
    zstd::stream::decode_all(&packed[..]).unwrap()
}

fn recover(archive: &Path, args: &[&str]) -> Ran {
    run(Command::new("python3").arg(root().join("spec/recover.py")).arg(archive).args(args))
}

#[test]
fn every_fixture_is_told_for_what_it_is() {
    if std::env::var("PGARK_FIXTURES").is_ok_and(|word| word == "write") {
        write();
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("archive.pgark");
    let (mut seen, mut wrong) = (BTreeSet::new(), Vec::new());
    for class in ["good", "bad", "unsupported"] {
        for folder in std::fs::read_dir(home().join(class)).unwrap() {
            let folder = folder.unwrap().path();
            let name = format!("{class}/{}", folder.file_name().unwrap().to_string_lossy());
            let bytes = stored(&name);
            std::fs::write(&file, &bytes).unwrap();
            let text = std::fs::read(folder.join("expect.json")).unwrap();
            let expect: serde_json::Value = serde_json::from_slice(&text).unwrap();
            let words = expect["codes"].as_array().unwrap().iter();
            let codes: BTreeSet<_> = words.map(|code| code.as_str().unwrap().to_owned()).collect();

            let bytes: Arc<dyn ReadAt> = Arc::new(bytes);
            let options =
                VerifyOptions { level: Level::Full, memory: 1 << 20, ..VerifyOptions::default() };
            let report = verify::run(&bytes, &options, &Silent).unwrap();
            let found: BTreeSet<_> =
                report.findings.iter().map(|finding| finding.code.id().to_owned()).collect();
            let ran = recover(&file, &["--check"]);
            let right = found == codes
                && u64::from(report.exit_code()) == expect["exit"]
                && ran.code.map(i64::from) == expect["recover_exit"].as_i64()
                && !ran.stderr.contains("Traceback");
            if !right {
                let code = report.exit_code();
                wrong.push(format!("{name}: {code} {found:?}, recover.py {ran:?}"));
            }
            seen.insert(name);
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let listed: BTreeSet<_> = all().iter().map(|fixture| fixture.folder.to_owned()).collect();
    assert_eq!(seen, listed, "the folder and the list differ");
}

fn write() {
    for class in ["good", "bad", "unsupported"] {
        let _ = std::fs::remove_dir_all(home().join(class));
    }
    for fixture in all() {
        let folder = home().join(fixture.folder);
        std::fs::create_dir_all(&folder).unwrap();
        let packed = zstd::bulk::compress(&fixture.bytes, 19).unwrap();
        std::fs::write(folder.join("archive.pgark.zst"), packed).unwrap();
        std::fs::write(folder.join("expect.json"), expected(&fixture)).unwrap();
    }
    std::fs::write(root().join("spec/example.md"), example()).unwrap();
}

#[test]
fn fixtures_are_made_the_same_every_time() {
    assert!(all().iter().zip(&all()).all(|(one, two)| one.bytes == two.bytes));
}

/// Flipped bytes and cut-off files: found, told, and never a traceback.
#[test]
fn recover_finds_flipped_bytes_and_truncations() {
    let bytes = stored("good/small");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("bad.pgark");
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    let mut random = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % below as u64).unwrap()
    };
    // Half of them where the structure is: the texts for people are most of a small archive.
    let start = body(&bytes, EntryKind::PreData) - 512;
    for number in 0..360 {
        let from = if number % 2 == 0 { 0 } else { start };
        let at = from + random(bytes.len() - from);
        let bad = if number < 300 {
            let mut bad = bytes.clone();
            bad[at] ^= 1 << random(8);
            bad
        } else {
            bytes[..at].to_vec()
        };
        std::fs::write(&file, bad).unwrap();
        let ran = recover(&file, &["--check"]);
        let told = ran.code == Some(1) && !ran.stderr.contains("Traceback");
        assert!(told, "number {number}, at {at}: {:?} {}", ran.code, ran.stderr);
    }
}

/// Of an archive with a lost segment, nothing is written unless asked for; then all else is.
#[test]
fn recover_writes_what_is_whole_when_asked() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("lost.pgark");
    std::fs::write(&file, stored("bad/E301_segment_head")).unwrap();
    let ran = recover(&file, &[]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(1), ""));
    let ran = recover(&file, &["--damaged"]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.contains("public.image: rows lost"), "{}", ran.stderr);
    assert!(ran.stdout.contains("2\t3\ta\\tb\\\\c\n"), "{}", ran.stdout);
}

fn hex(out: &mut String, bytes: &[u8], from: usize, length: usize) {
    out.push_str("```\n");
    for (number, line) in bytes[from..from + length].chunks(16).enumerate() {
        write!(out, "{:08x} ", from + 16 * number).unwrap();
        for byte in line {
            write!(out, " {byte:02x}").unwrap();
        }
        let text = line.iter().map(|byte| match byte {
            b' '..=b'~' => char::from(*byte),
            _ => '.',
        });
        let gap = 3 * (16 - line.len());
        writeln!(out, "{:gap$}  {}", "", text.collect::<String>()).unwrap();
    }
    out.push_str("```\n\n");
}

/// The worked example of the specification, from the archive that is checked in.
fn example() -> String {
    let bytes = stored("good/small");
    let opened = Archive::from_file(Arc::new(bytes.clone())).unwrap();
    let (manifest, index) = places(&bytes);
    let number = |n: u64| usize::try_from(n).unwrap();
    let seal = opened.seal();
    let mut out = format!(
        "# A worked example\n\nThe bytes of the archive in `fixtures/good/small`, {} of them: two \
         tables, three images. A test\nmakes this page from the file and compares.\n\n| offset of \
         the body | length | entry |\n|---|---|---|\n",
        bytes.len()
    );
    for place in 0..opened.manifest().index.entries {
        let entry = opened.index().entry(place).unwrap();
        writeln!(out, "| {:#x} | {} | `{}` |", entry.offset, entry.length, entry.name()).unwrap();
    }
    writeln!(out, "| {index:#x} | {} | `index` |", seal.index.length).unwrap();
    writeln!(out, "| {manifest:#x} | {} | `manifest.cbor` |", seal.manifest.length).unwrap();
    writeln!(out, "| {:#x} | 1024 | `seal` |\n", bytes.len() - 2048).unwrap();
    let mut part = |title: &str, from: usize, length: usize| {
        writeln!(out, "## {title}\n").unwrap();
        hex(&mut out, &bytes, from, length);
    };
    part("Section 3.1: the first header", 0, 512);
    for (kind, title) in [
        (EntryKind::Pack, "Section 8: a pack, head and body"),
        (EntryKind::Segment, "Section 8: a segment, head and body (rows of `public.image`)"),
    ] {
        let entries = (0..opened.manifest().index.entries)
            .map(|n| opened.index().entry(n).unwrap())
            .filter(|entry| entry.kind == kind);
        let entry = entries.min_by_key(|entry| entry.length).unwrap();
        part(title, number(entry.offset), number(entry.length));
    }
    part("Section 6: the index", index, number(seal.index.length));
    part("Section 7: the manifest's first bytes", manifest, 256);
    part("Section 5: the seal's first copy", bytes.len() - 2048, 512);
    out.truncate(out.trim_end().len());
    out + "\n"
}

#[test]
fn the_worked_example_is_true() {
    let written = std::fs::read_to_string(root().join("spec/example.md")).unwrap();
    assert!(written == example(), "spec/example.md is not what the fixture holds");
}
