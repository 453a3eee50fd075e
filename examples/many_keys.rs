//! Writes an archive of one table with many keys, two of them equal, and as many references to
//! them, one of which points at nothing: to see what checking them takes.
//!
//!     many_keys ROWS FILE

use std::fs::File;
use std::io::{BufWriter, Write as _};

use pgark::format::batch::Batch;
use pgark::format::manifest::{
    Column, ForeignKey, Key, Manifest, Match, Name, Source, Table, TypeKind, TypeRef,
};
use pgark::format::writer::{ArchiveWriter, WriterOptions};

fn column(name: &str, not_null: bool) -> Column {
    Column {
        base: TypeRef { name: Name::new("pg_catalog", "int8"), kind: TypeKind::Base },
        not_null,
        ..Column::new(name, "bigint")
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(rows), Some(file)) = (arguments.next(), arguments.next()) else {
        return Err("many_keys ROWS FILE".into());
    };
    let rows: u64 = rows.parse()?;
    let name = Name::new("public", "node");
    let table = Table {
        primary_key: Some(Key::new("node_pkey", vec!["id".into()])),
        ..Table::new(name.clone(), vec![column("id", true), column("next", false)])
    };
    let reference = ForeignKey {
        name: "node_next_fkey".into(),
        table: name.clone(),
        columns: vec!["next".into()],
        references: name.clone(),
        referenced_columns: vec!["id".into()],
        match_type: Match::Simple,
        validated: true,
        enforced: true,
    };
    let mut manifest = Manifest {
        tool: "many_keys".into(),
        source: Source { encoding: "UTF8".into(), ..Source::default() },
        tables: vec![table],
        foreign_keys: vec![reference],
        ..Manifest::default()
    };
    let options = WriterOptions { created: 1_700_000_000, memory: 64 << 20 };
    let out = BufWriter::new(File::create(file)?);
    let mut writer = ArchiveWriter::create(out, &options)?;
    writer.schema(b"", b"", &manifest)?;
    writer.begin_table(Some(&name))?;
    // Neither in order nor at random: every number once, far from its neighbours.
    let key = |row: u64| (row * 0x9E37_79B1 + 7) % rows;
    let mut text = Vec::new();
    for row in 0..rows {
        // The last row has the key of the first; the one before it refers to nothing.
        let id = if row + 1 == rows { key(0) } else { key(row) };
        let next = if row + 2 == rows { rows } else { key((row + rows / 2) % (rows - 1)) };
        writeln!(text, "{id}\t{next}")?;
        if text.len() > 1 << 20 || row + 1 == rows {
            writer.batch(&Batch::from_copy_text(std::mem::take(&mut text))?)?;
        }
    }
    if let Some(table) = manifest.tables.first_mut() {
        table.data = Some(writer.end_table()?);
    }
    writer.finish(manifest)?;
    Ok(())
}
