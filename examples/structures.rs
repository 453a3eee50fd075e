//! What is kept of very many chunks: how long writing an archive of them takes, and how much memory,
//! looking them up in it, and verifying it.
//!
//!     structures write CHUNKS MEMORY [FILE]    MEMORY in MiB; without FILE the archive is dropped
//!     structures find FILE TIMES
//!     structures verify FILE MEMORY
//!
//! Values have 65 bytes, the fewest that are stored apart, and one in twenty has four chunks of that
//! length; one row in ten has a value from anywhere before. All of it goes the way of any row.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use pgark::format::batch::BatchBuilder;
use pgark::format::digest::Digest;
use pgark::format::manifest::{Column, Key, Manifest, Name, Source, Table, TypeKind, TypeRef};
use pgark::format::reader::Archive;
use pgark::format::writer::{ArchiveWriter, WriterOptions};
use pgark::io::{DiskFile, ReadAt, Scratch};
use pgark::progress::Silent;
use pgark::verify::VerifyOptions;

const PIECE: usize = 65;

/// The value with this number.
fn value(number: u64) -> Vec<u8> {
    let length = if number % 20 == 7 { 4 * PIECE } else { PIECE };
    let words = (0..9).flat_map(|word| Digest::of(&(number * 9 + word).to_le_bytes()).0);
    words.take(length).collect()
}

fn table() -> Table {
    let column = |name: &str, sql: &str, base: &str| Column {
        base: TypeRef { name: Name::new("pg_catalog", base), kind: TypeKind::Base },
        not_null: true,
        ..Column::new(name, sql)
    };
    Table {
        primary_key: Some(Key::new("value_pkey", vec!["id".into()])),
        ..Table::new(
            Name::new("public", "value"),
            vec![column("id", "bigint", "int8"), column("value", "bytea", "bytea")],
        )
    }
}

/// Takes bytes and forgets them.
struct Nowhere;

impl Write for Nowhere {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// MiB of memory that the process had at most.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok());
    kib.unwrap_or(0) / 1024
}

fn write(chunks: u64, memory: usize, file: Option<&str>) -> Result<(), Box<dyn std::error::Error>> {
    let mut manifest = Manifest {
        tool: "structures".into(),
        source: Source { encoding: "UTF8".into(), ..Source::default() },
        tables: vec![table()],
        ..Manifest::default()
    };
    let options = WriterOptions { created: 1_700_000_000, memory: memory << 20 };
    let out: Box<dyn Write + Send> = match file {
        Some(file) => Box::new(BufWriter::with_capacity(1 << 20, File::create(file)?)),
        None => Box::new(Nowhere),
    };
    let scratch = file.map_or(Scratch::default(), |file| Scratch::beside(Path::new(file)));
    let began = Instant::now();
    let mut writer = ArchiveWriter::create_on(out, &options, None, None, scratch)?;
    writer.schema(b"", b"", &manifest)?;
    writer.begin_table(Some(&Name::new("public", "value")))?;
    let (mut row, mut new, mut made) = (0_u64, 0, 0);
    while made < chunks {
        let mut builder = BatchBuilder::new(writer.known()).in_pieces(PIECE);
        for _ in 0..8192 {
            let again = row % 10 == 9;
            let number = if again { row.wrapping_mul(0x9E37_79B9_7F4A_7C15) % new } else { new };
            let value = value(number);
            if !again {
                new += 1;
                made += u64::try_from(value.len() / PIECE)?;
            }
            builder.text(row.to_string().as_bytes());
            builder.blob(&value);
            builder.end_row();
            row += 1;
        }
        writer.batch(&builder.finish())?;
    }
    let rows = began.elapsed();
    if let Some(table) = manifest.tables.first_mut() {
        table.data = Some(writer.end_table()?);
    }
    let (_, written) = writer.finish(manifest)?;
    let told = format!(
        "{} chunks, {row} rows, {} bytes: {:.1} s, of which the end {:.1} s, peak {} MiB",
        written.chunks,
        written.bytes,
        began.elapsed().as_secs_f64(),
        began.elapsed().as_secs_f64() - rows.as_secs_f64(),
        peak()
    );
    writeln!(io::stdout(), "{told}")?;
    Ok(())
}

fn find(file: &str, times: u64) -> Result<(), Box<dyn std::error::Error>> {
    let began = Instant::now();
    let archive = Archive::open(Path::new(file))?;
    let opening = began.elapsed();
    let rows = archive.manifest().tables.first().and_then(|table| table.data);
    let rows = rows.map_or(1, |data| data.rows);
    let began = Instant::now();
    for time in 0..times {
        let number = time.wrapping_mul(0x9E37_79B9_7F4A_7C15) % (rows / 10 * 9);
        let value = value(number);
        let digest = Digest::of(&value);
        let found = match value.len() {
            PIECE => archive.index().find_chunk(&digest).map(|(_, chunk)| u64::from(chunk.length)),
            _ => archive.index().find_blob(&digest).map(|(_, blob)| blob.length),
        };
        if found != u64::try_from(value.len()).ok() {
            return Err(format!("value {number} is not found").into());
        }
    }
    let each = began.elapsed().as_secs_f64() * 1e6 / f64::from(u32::try_from(times)?);
    let opening = opening.as_secs_f64();
    let told = format!("opened in {opening:.1} s, {each:.2} us a look, peak {} MiB", peak());
    writeln!(io::stdout(), "{told}")?;
    Ok(())
}

fn verify(file: &str, memory: usize) -> Result<(), Box<dyn std::error::Error>> {
    let disk: Arc<dyn ReadAt> = Arc::new(DiskFile::open(Path::new(file))?);
    let options = VerifyOptions { memory: memory << 20, ..VerifyOptions::default() };
    let began = Instant::now();
    let report = pgark::verify::run(&disk, &options, &Silent)?;
    if let Some(finding) = report.findings.first() {
        return Err(finding.to_string().into());
    }
    let seconds = began.elapsed().as_secs_f64();
    let told = format!("{} chunks: {seconds:.1} s, peak {} MiB", report.chunks, peak());
    writeln!(io::stdout(), "{told}")?;
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["write", chunks, memory] => write(chunks.parse()?, memory.parse()?, None),
        ["write", chunks, memory, file] => write(chunks.parse()?, memory.parse()?, Some(file)),
        ["find", file, times] => find(file, times.parse()?),
        ["verify", file, memory] => verify(file, memory.parse()?),
        _ => {
            Err("structures write CHUNKS MEMORY [FILE] | find FILE TIMES | verify FILE MEMORY"
                .into())
        }
    }
}
