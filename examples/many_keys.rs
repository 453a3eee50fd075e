//! Writes an archive of one table with many keys, two of them equal, and as many references to
//! them, one of which points at nothing: to see what checking them takes.
//!
//!     many_keys ROWS FILE

use std::fs::File;
use std::io::{BufWriter, Write as _};

use pgark::format::batch::Batch;
use pgark::format::manifest::{
    Column, ForeignKey, IndexFacts, Key, Manifest, Match, Name, Schema, Source, Table, TableKind,
    TypeKind, TypeRef,
};
use pgark::format::writer::{ArchiveWriter, WriterOptions};

fn column(name: &str, not_null: bool) -> Column {
    Column {
        name: name.into(),
        sql_type: "bigint".into(),
        base: TypeRef { name: Name::new("pg_catalog", "int8"), kind: TypeKind::Base },
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

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(rows), Some(file)) = (arguments.next(), arguments.next()) else {
        return Err("many_keys ROWS FILE".into());
    };
    let rows: u64 = rows.parse()?;
    let name = Name::new("public", "node");
    let table = Table {
        name: name.clone(),
        kind: TableKind::Plain,
        unlogged: false,
        columns: vec![column("id", true), column("next", false)],
        primary_key: Some(Key {
            name: "node_pkey".into(),
            columns: vec!["id".into()],
            nulls_not_distinct: false,
            constraint: true,
        }),
        unique: Vec::new(),
        checks: Vec::new(),
        partition_of: None,
        partition_bound: None,
        partition_key: None,
        inherits: Vec::new(),
        condition: None,
        data: None,
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
        format: Manifest::FORMAT.into(),
        version: 1,
        features: Vec::new(),
        created: 0,
        tool: "many_keys".into(),
        index: IndexFacts::default(),
        source: Source { encoding: "UTF8".into(), ..Source::default() },
        schema: Schema::default(),
        enums: Vec::new(),
        tables: vec![table],
        foreign_keys: vec![reference],
        sequences: Vec::new(),
        large_objects: None,
        rules: None,
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
