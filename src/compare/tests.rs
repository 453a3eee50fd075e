//! Two archives without any server, one fault at a time.

use std::sync::Arc;

use super::*;
use crate::format::batch::BatchBuilder;
use crate::format::manifest::{ForeignKey, Key, Match};
use crate::format::writer::{ArchiveWriter, WriterOptions};
use crate::progress::Silent;

fn column(name: &str, base: &str) -> Column {
    Column::new(name, base)
}

fn table(name: &str, columns: Vec<Column>, keyed: bool) -> Table {
    let key = || Key::new("pk", vec!["id".into()]);
    Table { primary_key: keyed.then(key), ..Table::new(Name::new("public", name), columns) }
}

/// An archive of these tables and rows: a value is NULL, text, or (in a `bytea` column) bytes.
fn archive(tables: Vec<(Table, Vec<Vec<Option<&str>>>)>, keys: Vec<ForeignKey>) -> Archive {
    let options = WriterOptions { created: 1_700_000_000, memory: 1 << 20 };
    let mut writer = ArchiveWriter::create(Vec::new(), &options).unwrap();
    let mut manifest = crate::format::tests::manifest();
    manifest.tables.extend(tables.iter().map(|(table, _)| table.clone()));
    manifest.foreign_keys = keys;
    writer.schema(b"", b"", &manifest).unwrap();
    for (table, (_, rows)) in manifest.tables.iter_mut().zip(tables) {
        writer.begin_table(Some(&table.name)).unwrap();
        let mut builder = BatchBuilder::new(writer.known());
        for row in rows {
            for (column, value) in table.columns.iter().zip(row) {
                match value {
                    None => builder.null(),
                    Some(value) if column.is_bytea() => builder.blob(value.as_bytes()),
                    Some(value) => builder.text(value.as_bytes()),
                }
            }
            builder.end_row();
        }
        writer.batch(&builder.finish()).unwrap();
        table.data = Some(writer.end_table().unwrap());
    }
    let (bytes, _) = writer.finish(manifest).unwrap();
    Archive::from_file(Arc::new(bytes)).unwrap()
}

fn compared(here: &Archive, there: Archive) -> (Comparison, String) {
    let options = CompareOptions { examples: 5, memory: 1 << 16, schema: true };
    let mut out = Vec::new();
    let mut statements = Statements::new(here, Scope::All, &mut out);
    let mut there = there;
    let progress: Arc<dyn Progress> = Arc::new(Silent);
    let comparison = run(here, &mut there, &options, Some(&mut statements), &progress).unwrap();
    (comparison, String::from_utf8(out).unwrap())
}

fn image(rows: &[(&str, Option<&str>)]) -> (Table, Vec<Vec<Option<&'static str>>>) {
    let own = |text: &str| -> &'static str { String::leak(text.to_owned()) };
    let rows = rows.iter().map(|(id, file)| vec![Some(own(id)), file.map(own)]).collect();
    (table("image", vec![column("id", "int4"), column("file", "bytea")], true), rows)
}

#[test]
fn equal_archives_are_equal() {
    let rows = [("1", Some("a")), ("2", None)];
    let (comparison, sql) =
        compared(&archive(vec![image(&rows)], vec![]), archive(vec![image(&rows)], vec![]));
    assert_eq!(comparison.verdict, Verdict::Equal);
    assert!(!sql.contains("BEGIN"));
}

#[test]
fn blobs_are_compared_by_their_bytes() {
    let (long, other) = ("x".repeat(100_000), "x".repeat(99_999) + "y");
    let here = archive(vec![image(&[("1", Some(&long)), ("2", Some("s"))])], vec![]);
    let there = archive(vec![image(&[("1", Some(&other)), ("3", Some("t"))])], vec![]);
    let (comparison, sql) = compared(&here, there);
    assert_eq!(comparison.verdict, Verdict::Missing);
    let image = &comparison.tables[0];
    assert_eq!((image.only_here, image.changed, image.only_there), (1, 1, 1));
    assert_eq!(image.changed_columns[0].name, "file");
    let digest = Digest::of(long.as_bytes());
    let cell = image.examples[1].cells[0].here.clone().unwrap();
    assert_eq!(cell, format!("#{digest}:100000"));
    assert!(
        sql.contains(
            "INSERT INTO \"public\".\"image\" (\"id\", \"file\") VALUES ('2', E'\\\\x73');"
        ),
        "{sql}"
    );
    let update = format!("SET \"file\" = E'\\\\x{}' WHERE \"id\" = '1';", "78".repeat(100_000));
    assert!(sql.contains(&update));
    assert!(sql.ends_with("COMMIT;\n"));
}

#[test]
fn columns_are_matched_by_name() {
    let rows = |order: [&str; 2], rows: Vec<Vec<Option<&'static str>>>| {
        (table("t", order.map(|name| column(name, "text")).to_vec(), false), rows)
    };
    let here = archive(vec![rows(["a", "b"], vec![vec![Some("1"), Some("2")]; 2])], vec![]);
    let there = archive(vec![rows(["b", "a"], vec![vec![Some("2"), Some("1")]; 2])], vec![]);
    assert_eq!(compared(&here, there).0.verdict, Verdict::Equal);
    let there = archive(vec![rows(["b", "a"], vec![vec![Some("1"), Some("2")]; 2])], vec![]);
    let (comparison, _) = compared(&here, there);
    assert_eq!((comparison.tables[0].only_here, comparison.tables[0].only_there), (2, 2));
    let there = archive(vec![rows(["b", "c"], vec![vec![Some("2"), Some("x")]; 3])], vec![]);
    let (comparison, _) = compared(&here, there);
    let columns = &comparison.tables[0].columns;
    assert_eq!((columns[0].state, columns[1].state), (State::OnlyHere, State::OnlyThere));
    assert_eq!((comparison.tables[0].only_here, comparison.tables[0].only_there), (0, 1));
}

#[test]
fn a_table_on_one_side_alone_is_said() {
    let one = || archive(vec![image(&[("1", None)])], vec![]);
    let none = || archive(vec![], vec![]);
    let (lost, sql) = compared(&one(), none());
    assert_eq!((lost.verdict, lost.tables[0].state), (Verdict::Missing, State::OnlyHere));
    assert!(sql.contains("-- Table public.image is not there"));
    let (new, _) = compared(&none(), one());
    assert_eq!((new.verdict, new.tables[0].state), (Verdict::AllThere, State::OnlyThere));
    assert_eq!(new.tables[0].only_there, 1);
}

/// `a` refers to `z`, `z` to itself and to `y`, `y` to `z`: a circle that starts late in the
/// alphabet.
#[test]
fn referenced_rows_come_first() {
    let reference = |from: &str, column: &str, to: &str| ForeignKey {
        name: format!("{from}_{column}"),
        table: Name::new("public", from),
        columns: vec![column.into()],
        references: Name::new("public", to),
        referenced_columns: vec!["id".into()],
        match_type: Match::Simple,
        validated: true,
        enforced: true,
    };
    let keys = || {
        vec![
            reference("a", "r", "z"),
            reference("y", "r", "z"),
            reference("z", "r", "y"),
            reference("z", "s", "z"),
        ]
    };
    let tables = |filled: bool, not_null: bool| {
        ["a", "y", "z"]
            .map(|name| {
                let mut columns = ["id", "r", "s"].map(|name| column(name, "int4")).to_vec();
                columns[1].not_null = name == "a" || name == "y" && not_null;
                let row = vec![Some("1"), Some("1"), Some("1")];
                (table(name, columns, true), if filled { vec![row] } else { vec![] })
            })
            .to_vec()
    };
    let changes = |not_null: bool| -> Vec<String> {
        let (here, there) =
            (archive(tables(true, not_null), keys()), archive(tables(false, not_null), keys()));
        let (_, sql) = compared(&here, there);
        let change = |line: &&str| line.starts_with("INSERT") || line.starts_with("UPDATE");
        sql.lines().filter(change).map(str::to_owned).collect()
    };
    let insert = |table: &str, r: &str, s: &str| {
        format!("INSERT INTO \"public\".\"{table}\" (\"id\", \"r\", \"s\") VALUES ('1', {r}, {s});")
    };
    // y goes first of the circle, so its reference waits; z's to itself does too.
    assert_eq!(
        changes(false),
        [
            insert("y", "NULL", "'1'"),
            insert("z", "'1'", "NULL"),
            insert("a", "'1'", "'1'"),
            "UPDATE ONLY \"public\".\"y\" SET \"r\" = '1' WHERE \"id\" = '1';".to_owned(),
            "UPDATE ONLY \"public\".\"z\" SET \"s\" = '1' WHERE \"id\" = '1';".to_owned(),
        ]
    ); // If that cannot wait, the other one's has to.
    assert_eq!(
        changes(true),
        [
            insert("z", "NULL", "NULL"),
            insert("a", "'1'", "'1'"),
            insert("y", "'1'", "'1'"),
            "UPDATE ONLY \"public\".\"z\" SET \"r\" = '1', \"s\" = '1' WHERE \"id\" = '1';"
                .to_owned(),
        ]
    );
}
