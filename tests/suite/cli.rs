//! The command as people meet it: help, messages, exit codes, and what it prints for small
//! archives made by the library. Guards against a message that says nothing, an exit code that
//! scripts cannot rely on, and documents that no longer say what the command does.

mod damaged;
mod documents;

use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use pgark::format::batch::BatchBuilder;
use pgark::format::manifest::{Column, Key, Manifest, Name, Source, Table};
use pgark::format::writer::{ArchiveWriter, WriterOptions};
use tempfile::TempDir;

use crate::support;

/// What came of a command.
struct Ran {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Ran {
    /// All of it, with the folder it ran in as `[here]`.
    fn shown(&self, here: &Path) -> String {
        let mut out = format!("exit code {}\n", self.code.map_or("none".into(), |c| c.to_string()));
        for (name, text) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            if !text.is_empty() {
                out.extend(["--- ", name, "\n", text]);
            }
        }
        out.replace(here.to_str().unwrap(), "[here]")
    }
}

/// The command in `here`, with nothing of the machine's own settings.
fn command(here: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pgark"));
    command.args(args).current_dir(here).stdin(Stdio::null());
    support::without_server(&mut command);
    command.env_remove("COLUMNS").env_remove("NO_COLOR").env("HOME", here);
    command
}

fn pgark(here: &Path, args: &[&str]) -> Ran {
    let output = command(here, args).output().unwrap();
    Ran {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

fn column(name: &str, base: &str) -> Column {
    Column { not_null: name == "id", ..Column::new(name, base) }
}

fn table(name: &str, columns: Vec<Column>) -> Table {
    let key = Key::new(format!("{name}_pkey"), vec!["id".into()]);
    Table { primary_key: Some(key), ..Table::new(Name::new("public", name), columns) }
}

/// The blob that two rows of `public.image` share.
fn picture() -> Vec<u8> {
    (0..100_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()).collect()
}

/// An archive of two tables: `public.image` with a blob twice, and `public."user"`.
fn archive(here: &Path) -> PathBuf {
    let options = WriterOptions { created: 1_795_417_509, memory: 64 << 20 };
    let mut writer = ArchiveWriter::create(Vec::new(), &options).unwrap();
    let mut tables = vec![
        table("image", vec![column("id", "int4"), column("file", "bytea")]),
        table("user", vec![column("id", "int4"), column("name", "text"), column("ok", "bool")]),
    ];
    let mut manifest = Manifest {
        tool: "pgark 0.1.0".into(),
        source: Source {
            server_version: "16.15".into(),
            server_version_num: 160_015,
            database: "shop".into(),
            encoding: "UTF8".into(),
            collate: "C".into(),
            ctype: "C".into(),
            locale_provider: "libc".into(),
            snapshot_time: "2026-11-23T07:05:09.000000Z".into(),
            lsn: "0/16B3748".into(),
            pg_dump_version: "pg_dump (PostgreSQL) 16.15".into(),
            ..Source::default()
        },
        tables: tables.clone(),
        ..Manifest::default()
    };
    writer.schema(b"", b"", &manifest).unwrap();
    writer.begin_table(Some(&tables[0].name)).unwrap();
    let mut rows = BatchBuilder::new(writer.known());
    for (id, blob) in [("1", Some(picture())), ("2", None), ("3", Some(picture()))] {
        rows.text(id.as_bytes());
        match blob {
            Some(blob) => rows.blob(&blob),
            None => rows.null(),
        }
        rows.end_row();
    }
    writer.batch(&rows.finish()).unwrap();
    tables[0].data = Some(writer.end_table().unwrap());
    writer.begin_table(Some(&tables[1].name)).unwrap();
    let mut rows = BatchBuilder::new(writer.known());
    for (id, name, ok) in [("1", "Sok, \"Dara\"", "t"), ("2", "សុខា", "f")] {
        for field in [id, name, ok] {
            rows.text(field.as_bytes());
        }
        rows.end_row();
    }
    writer.batch(&rows.finish()).unwrap();
    tables[1].data = Some(writer.end_table().unwrap());
    manifest.tables = tables;
    let (bytes, _) = writer.finish(manifest).unwrap();
    let path = here.join("shop.pgark");
    std::fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn usage_errors() {
    let here = TempDir::new().unwrap();
    let shown = |args: &[&str]| pgark(here.path(), args).shown(here.path());
    insta::assert_snapshot!(shown(&["frobnicate"]), @r#"
    exit code 2
    --- stderr
    error: unrecognized subcommand 'frobnicate'

    Usage: pgark [OPTIONS] <COMMAND>

    For more information, try '--help'.
    "#);
    insta::assert_snapshot!(shown(&["verify"]), @r#"
    exit code 2
    --- stderr
    error: the following required arguments were not provided:
      <FILE>...

    Usage: pgark verify <FILE>...

    For more information, try '--help'.
    "#);
    insta::assert_snapshot!(shown(&["restore", "x.pgark"]), @r#"
    exit code 2
    --- stderr
    error: x.pgark: it is not said where it is to be restored

    hint: --to TARGET names an empty database; pgark restore PROFILE FILE replaces a profile's
    "#);
    insta::assert_snapshot!(shown(&["create", "--memory", "256"]), @r#"
    exit code 2
    --- stderr
    error: invalid value '256' for '--memory <SIZE>': at least 64M are needed

    For more information, try '--help'.
    "#);
    insta::assert_snapshot!(shown(&["create", "--lock-timeout", "30"]), @r#"
    exit code 2
    --- stderr
    error: invalid value '30' for '--lock-timeout <DURATION>': a duration is a whole number and a unit, such as 500ms, 30s or 5min

    For more information, try '--help'.
    "#);
    insta::assert_snapshot!(shown(&["create", "--jobs", "0"]), @r#"
    exit code 2
    --- stderr
    error: invalid value '0' for '--jobs <N>': a number from 1 to 256 is needed

    For more information, try '--help'.
    "#);
    insta::assert_snapshot!(shown(&["cat", "x.pgark", "t", "--format", "xml"]), @r#"
    exit code 2
    --- stderr
    error: invalid value 'xml' for '--format <FORMAT>'
      [possible values: copy, csv, jsonl, insert]

    For more information, try '--help'.
    "#);
    insta::assert_snapshot!(shown(&["--version"]), @r#"
    exit code 0
    --- stdout
    pgark 0.1.0
    "#);
    assert_eq!(pgark(here.path(), &[]).code, Some(2));
}

#[test]
fn files_that_are_no_archives() {
    let here = TempDir::new().unwrap();
    let shown = |args: &[&str]| pgark(here.path(), args).shown(here.path());
    insta::assert_snapshot!(shown(&["inspect", "missing.pgark"]), @r#"
    exit code 3
    --- stderr
    error: missing.pgark: no such file

    hint: relative names are looked up in [here]
    "#);
    insta::assert_snapshot!(shown(&["cat", "missing.pgark", "t"]), @r#"
    exit code 3
    --- stderr
    error: missing.pgark: no such file

    hint: relative names are looked up in [here]
    "#);
    insta::assert_snapshot!(shown(&["inspect", "."]), @r#"
    exit code 3
    --- stderr
    error: .: is a folder, not a file

    hint: name the archive file in it
    "#);
    std::fs::write(here.path().join("dump.sql"), "CREATE TABLE t ();\n".repeat(1000)).unwrap();
    insta::assert_snapshot!(shown(&["inspect", "dump.sql"]), @r#"
    exit code 3
    --- stderr
    error: dump.sql: not a pgark archive, or its end is missing: no seal at its end

    hint: check that this is the right file, and that it was copied whole; a dump of pg_dump is not an archive
    "#);
    std::fs::write(here.path().join("empty"), "").unwrap();
    insta::assert_snapshot!(shown(&["inspect", "empty"]), @r#"
    exit code 3
    --- stderr
    error: empty: not a pgark archive, or its end is missing: it is shorter than the shortest archive

    hint: check that this is the right file, and that it was copied whole; a dump of pg_dump is not an archive
    "#);
    let whole = std::fs::read(archive(here.path())).unwrap();
    std::fs::write(here.path().join("cut.pgark"), &whole[..whole.len() - 5000]).unwrap();
    insta::assert_snapshot!(shown(&["inspect", "cut.pgark"]), @r#"
    exit code 3
    --- stderr
    error: cut.pgark: not a pgark archive, or its end is missing: no seal at its end

    hint: check that this is the right file, and that it was copied whole; a dump of pg_dump is not an archive
    "#);
    insta::assert_snapshot!(shown(&["inspect", "--json", "cut.pgark"]), @r#"
    exit code 3
    --- stdout
    {"schema":1,"command":"inspect","file":"cut.pgark","ok":false,"error":{"message":"cut.pgark: not a pgark archive, or its end is missing: no seal at its end","hints":["check that this is the right file, and that it was copied whole; a dump of pg_dump is not an archive"],"exit":3},"findings":[]}
    --- stderr
    error: cut.pgark: not a pgark archive, or its end is missing: no seal at its end

    hint: check that this is the right file, and that it was copied whole; a dump of pg_dump is not an archive
    "#);
}

/// Flips one bit in the middle of the picture.
fn damage(path: &Path) {
    let mut bytes = std::fs::read(path).unwrap();
    let picture = picture();
    let place = bytes.windows(8).position(|run| run == &picture[1000..1008]).unwrap();
    bytes[place] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

/// Without what changes with every word of the embedded specification: the file's length, where its
/// objects begin, and the manifest's digest; and without times.
fn timeless(text: &str) -> String {
    let masked = |line: &str| {
        let line = line.split("; took").next().unwrap_or_default();
        for (before, after) in [
            (" KiB) in ", ""),
            ("Archive      shop.pgark (", ")"),
            ("Manifest     ", ""),
            ("all the rest   ", "schema"),
            (".zst at byte ", ":"),
        ] {
            let Some((head, rest)) = line.split_once(before) else { continue };
            let tail = rest.find(after).filter(|_| !after.is_empty());
            return format!("{head}{before}[...]{}", tail.map_or("", |at| &rest[at..]));
        }
        line.to_owned()
    };
    text.lines().map(masked).collect::<Vec<_>>().join("\n")
}

#[test]
fn verify_says_first_what_matters_most() {
    let here = TempDir::new().unwrap();
    let path = archive(here.path());
    let shown = |args: &[&str]| timeless(&pgark(here.path(), args).shown(here.path()));
    insta::assert_snapshot!(shown(&["verify", "shop.pgark"]), @r#"
    exit code 0
    --- stdout
    shop.pgark: GOOD. A restore gives back exactly what was saved.
      2 tables, 5 rows, 2 blobs (781.3 KiB) in [...]
    "#);
    insta::assert_snapshot!(shown(&["verify", "--quick", "shop.pgark"]), @r#"
    exit code 0
    --- stdout
    shop.pgark: NO DAMAGE SEEN at a quick look. Rows and blobs were not read.
      2 tables, 5 rows, 2 blobs (781.3 KiB) in [...]
    "#);
    insta::assert_snapshot!(shown(&["verify", "--quiet", "shop.pgark"]), @"exit code 0");
    std::fs::copy(&path, here.path().join("bad.pgark")).unwrap();
    damage(&here.path().join("bad.pgark"));
    insta::assert_snapshot!(shown(&["verify", "bad.pgark"]), @r#"
    exit code 1
    --- stdout
    bad.pgark: DAMAGED. 1 of 2 tables is hit, 1 intact.

    Lost or wrong
      public.image  all 3 rows there, 2 blobs lost

    Safe
      public.user  2 rows

    Details
      E306 error: stored bytes are damaged
        - entry objects/ca712436000692593c93b9c6ec47ec033b69a64f2267fb0c69dd6ce5817efd1f.zst at byte [...]: chunk 0, 167462 bytes at 0 of its raw bytes, is not cdf38248cd35222e76f49672074c4a574f912df23d6182aa8aa0607dbbb0e473
        What to do: Take another copy of the archive. The findings about tables say which values are lost with it.
      E311 error: a value is lost with damaged bytes
        - public.image row 1 (id = 1) column file blob 7b1954e9da05723d922ca7a626d00c81f62c1410f36cde2d48d5049567ce05eb: its 400000 bytes are damaged
        - public.image row 3 (id = 3) column file blob 7b1954e9da05723d922ca7a626d00c81f62c1410f36cde2d48d5049567ce05eb: its 400000 bytes are damaged
        What to do: Take another copy of the archive: this value cannot be restored from this one.

    pgark repair bad.pgark -o FIXED mends it if its parity is enough, and says if not.
    "#);
    let whole = std::fs::read(&path).unwrap();
    std::fs::write(here.path().join("cut.pgark"), &whole[..whole.len() - 5000]).unwrap();
    insta::assert_snapshot!(shown(&["verify", "cut.pgark"]), @r#"
    exit code 1
    --- stdout
    cut.pgark: DAMAGED. Which tables are hit cannot be told from this file.

    Details
      E104 error: no copy of the seal can be read
        - entry seal: the file begins as an archive, but no seal at its end
        What to do: Take another copy of the archive; this one was cut off or damaged at its end.

    pgark repair cut.pgark -o FIXED mends it if its parity is enough, and says if not.
    "#);
    std::fs::write(here.path().join("empty"), "").unwrap();
    insta::assert_snapshot!(shown(&["verify", "empty"]), @r#"
    exit code 1
    --- stdout
    empty: NOT A PGARK ARCHIVE. Nothing in it can be read.

    Details
      E002 error: not a pgark archive
        - not a pgark archive, or its end is missing: it is shorter than the shortest archive
        What to do: Check that this is the right file and that it was not compressed, encrypted or converted on its way.
    "#);
    insta::assert_snapshot!(shown(&["verify", "missing.pgark"]), @r#"
    exit code 3
    --- stderr
    error: missing.pgark: no such file

    hint: relative names are looked up in [here]
    "#);
}

/// What could not be checked must not be hidden by what was found, nor keep the rest unchecked.
#[test]
fn verify_of_several_files_checks_each() {
    let here = TempDir::new().unwrap();
    let path = archive(here.path());
    std::fs::copy(&path, here.path().join("bad.pgark")).unwrap();
    damage(&here.path().join("bad.pgark"));
    let ran = pgark(here.path(), &["verify", "--json", "bad.pgark", "missing", "shop.pgark"]);
    assert_eq!(ran.code, Some(3));
    let objects: Vec<serde_json::Value> =
        ran.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let files: Vec<_> = objects.iter().map(|object| object["file"].as_str().unwrap()).collect();
    assert_eq!(files, ["bad.pgark", "missing", "shop.pgark"]);
    let ok: Vec<_> = objects.iter().map(|object| object["ok"].as_bool().unwrap()).collect();
    assert_eq!(ok, [false, false, true]);
    let codes = |object: &serde_json::Value| -> Vec<String> {
        let findings = object["findings"].as_array().unwrap();
        findings.iter().map(|finding| finding["code"].as_str().unwrap().to_owned()).collect()
    };
    assert!(!codes(&objects[0]).is_empty());
    assert!(codes(&objects[2]).is_empty());
    for field in ["tables", "rows", "blobs", "bytes"] {
        assert!(objects[2][field].is_u64(), "{field}");
    }
    assert_eq!(pgark(here.path(), &["verify", "bad.pgark", "shop.pgark"]).code, Some(1));
}

#[test]
fn inspect_shows_what_is_inside() {
    let here = TempDir::new().unwrap();
    archive(here.path());
    let shown = |args: &[&str]| timeless(&pgark(here.path(), args).shown(here.path()));
    insta::assert_snapshot!(shown(&["inspect", "shop.pgark"]), @r#"
    exit code 0
    --- stdout
    Archive      shop.pgark ([...])
    Database     shop on PostgreSQL 16.15
    Created      2026-11-23 07:05:09 UTC by pgark 0.1.0
    Snapshot     2026-11-23T07:05:09.000000Z at 0/16B3748
    Encoding     UTF8, collation C, character type C, provider libc
    Schema by    pg_dump (PostgreSQL) 16.15
    Manifest     [...]

    2 tables, 5 rows
                  rows       text  blobs  blob bytes  digest
    public.image     3  155 bytes      2   781.3 KiB  6f2e0c2da4f9
    public.user      2   33 bytes                     6c40b1209445
    and 0 sequences, 0 foreign keys, 0 large objects, 0 schema objects

    Sizes
      blobs as referred to  781.3 KiB  2 blobs
      blobs stored once     390.6 KiB  3 chunks, 50.0 % saved
      blobs in the file     390.8 KiB  1 pack
      rows as text          188 bytes
      rows in the file      535 bytes  2 segments
      all the rest   [...]schema, index, manifest, headers
    "#);
    insta::assert_snapshot!(shown(&["inspect", "shop.pgark", "--table", "image"]), @r#"
    exit code 0
    --- stdout
    public.image
    Rows          3 (155 bytes of text)
    Blobs         2 (781.3 KiB)
    Segments      1
    Digest        6f2e0c2da4f98f828e9695bb025fd728ecd93d66889d869e64388d97d2976789
    Primary key   image_pkey (id)

    Columns
      id    int4   not null
      file  bytea  blobs
    "#);
    insta::assert_snapshot!(shown(&["inspect", "shop.pgark", "--table", "imgae"]), @r#"
    exit code 2
    --- stderr
    error: shop.pgark has no table imgae

    hint: there is public.image
    "#);
    let json = pgark(here.path(), &["inspect", "shop.pgark", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!(json["schema"], 1);
    assert_eq!(json["tables"][0]["name"], "image");
    assert_eq!(json["tables"][0]["rows"], 3);
    assert_eq!(json["tables"][0]["digest"].as_str().unwrap().len(), 64);
    let sizes = &json["sizes"];
    assert_eq!(sizes["blob_bytes"], 800_000);
    assert_eq!(sizes["chunk_bytes"], 400_000, "the second blob is the first again");
    let length = std::fs::metadata(here.path().join("shop.pgark")).unwrap().len();
    assert_eq!(sizes["archive"], length);
}

#[test]
fn cat_puts_blobs_back() {
    let here = TempDir::new().unwrap();
    archive(here.path());
    let hex = picture().iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
    let rows = pgark(here.path(), &["cat", "shop.pgark", "image"]);
    assert_eq!(rows.stdout, format!("1\t\\\\x{hex}\n2\t\\N\n3\t\\\\x{hex}\n"));
    let rows = pgark(here.path(), &["cat", "shop.pgark", "public.image", "--format", "jsonl"]);
    for (line, id) in rows.stdout.lines().zip(1..) {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(row["id"], id);
        assert_eq!(row["file"].is_null(), id == 2);
    }
    let shown = |args: &[&str]| pgark(here.path(), args).shown(here.path());
    insta::assert_snapshot!(shown(&["cat", "shop.pgark", "user"]), @r#"
    exit code 0
    --- stdout
    1	Sok, "Dara"	t
    2	សុខា	f
    "#);
    insta::assert_snapshot!(shown(&["cat", "shop.pgark", "user", "--format", "csv"]), @r#"
    exit code 0
    --- stdout
    id,name,ok
    1,"Sok, ""Dara""",t
    2,សុខា,f
    "#);
    insta::assert_snapshot!(shown(&["cat", "shop.pgark", "user", "--format", "jsonl"]), @r#"
    exit code 0
    --- stdout
    {"id":1,"name":"Sok, \"Dara\"","ok":true}
    {"id":2,"name":"សុខា","ok":false}
    "#);
    insta::assert_snapshot!(shown(&["cat", "shop.pgark", "usr"]), @r#"
    exit code 2
    --- stderr
    error: shop.pgark has no table usr

    hint: there is public.user
    "#);
}

/// `cat ... | head` must neither panic nor complain.
#[test]
fn a_reader_that_leaves_is_no_error() {
    let here = TempDir::new().unwrap();
    archive(here.path());
    let mut child = command(here.path(), &["cat", "shop.pgark", "image"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut few = [0; 10];
    child.stdout.take().unwrap().read_exact(&mut few).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
}

/// Rows that could not be written are no success.
#[test]
fn a_full_disk_is_an_error() {
    let here = TempDir::new().unwrap();
    archive(here.path());
    for args in [&["cat", "shop.pgark", "image"][..], &["inspect", "shop.pgark"]] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = command(here.path(), args).stdout(full).output().unwrap();
        assert_eq!(output.status.code(), Some(3), "{args:?}");
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(stderr.contains("No space left"), "{stderr}");
    }
}

/// Wherever a person puts a password, it is not repeated.
#[test]
fn passwords_are_never_repeated() {
    let here = TempDir::new().unwrap();
    archive(here.path());
    let odd = [
        "postgres://u:s3cret@127.0.0.1:1/db",
        "postgres://u:my s3cret@127.0.0.1:1/db",
        "postgres://u:s3cret@127.0.0.1:none/db",
        "postgres://u:s3cret@127.0.0.1:1/db?sslmode=never",
        "postgres://u@127.0.0.1:1/db?password=s3cret",
        "postgres://u:s3cret@[::1/db",
        "host=127.0.0.1 port=1 user=u password=s3cret",
        "host=127.0.0.1 port=1 user=u password='my s3cret'",
        "host=127.0.0.1 port=1 password=s3cret hots=x",
        "host=127.0.0.1 port=none password=s3cret",
        "host=127.0.0.1 password='s3cret",
        "host=127.0.0.1 password=my s3cret",
    ];
    for source in odd {
        let to = format!("--to={source}");
        for args in [
            &["create", source][..],
            &["create", "--json", source],
            &["create", "--jobs", source],
            &["create", "a", source],
            &["restore", "shop.pgark", "--to", source],
            &["restore", "shop.pgark", &to, "--jobs=none"],
            &["restore", "shop.pgark", &to, "--json"],
            &[source],
            &["verify", "--frobnicate", source],
            &[&format!("--{source}")],
            &["inspect", source],
        ] {
            let ran = pgark(here.path(), args);
            assert_ne!(ran.code, Some(0), "{args:?}");
            let all = format!("{}{}", ran.stdout, ran.stderr);
            assert!(!all.contains("s3cret"), "{args:?}: {all}");
            assert!(!all.contains("panicked"), "{args:?}: {all}");
        }
    }
}
