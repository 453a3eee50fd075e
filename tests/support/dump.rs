//! Compares what `pg_dump` writes for two databases: equal but for order and comments.
//!
//! A dump is cut into its entries (they begin with `-- Name: ...`), and these are sorted. Rows are
//! sorted, with their fields put in the order of the columns' names: a child of an inheritance tree
//! gets its parent's columns first when it is restored, by `pg_restore` too. For the same reason the
//! lines of a CREATE TABLE are sorted. Nothing else is forgiven.

use std::fmt::Write;

/// A dump in which order does not count any more.
pub(crate) fn normalised(dump: &str) -> Vec<String> {
    let mut entries = vec![String::new()];
    let mut lines = dump.lines().peekable();
    while let Some(line) = lines.next() {
        let next = lines.peek().copied().unwrap_or_default();
        if line == "--" && (next.starts_with("-- Name: ") || next.starts_with("-- Data for Name: "))
        {
            entries.push(String::new());
            continue;
        }
        // A random key per run, and no part of the database.
        if line.starts_with("\\restrict ") || line.starts_with("\\unrestrict ") {
            continue;
        }
        let entry = entries.last_mut().expect("one at least");
        if let Some(copy) = copy_statement(line) {
            let mut rows: Vec<String> = lines
                .by_ref()
                .take_while(|row| *row != "\\.")
                .map(|row| reordered(row, &copy.order))
                .collect();
            rows.sort();
            writeln!(entry, "{}\n{}\n\\.", copy.text, rows.join("\n")).expect("a string");
        } else if line.starts_with("CREATE ") && line.contains(" TABLE ") && line.ends_with('(') {
            let mut body = Vec::new();
            let mut end = ");";
            for line in lines.by_ref() {
                if line.starts_with(')') {
                    end = line;
                    break;
                }
                body.push(line.trim_end_matches(','));
            }
            body.sort_unstable();
            writeln!(entry, "{line}\n{}\n{end}", body.join("\n")).expect("a string");
        } else {
            // The comment of one entry is followed by the "--" that begins the next.
            entry.push_str(line);
            entry.push('\n');
        }
    }
    for entry in &mut entries {
        entry.truncate(entry.trim_end().len());
    }
    entries.sort();
    entries
}

/// Fails with the entries that only one of two dumps has.
pub(crate) fn assert_same(source: &str, target: &str, what: &str) {
    let (source, target) = (normalised(source), normalised(target));
    assert!(source.len() > 1, "{what}: an empty dump");
    let mut differences = String::new();
    for (here, there, whose) in [(&source, &target, "source"), (&target, &source, "target")] {
        for entry in here.iter().filter(|entry| there.binary_search(entry).is_err()) {
            let shown: String = entry.chars().take(2000).collect();
            writeln!(differences, "--- only in the {whose}:\n{shown}").expect("a string");
        }
    }
    assert!(differences.is_empty(), "{what}: the dumps differ\n{differences}");
    assert_eq!(source, target, "{what}: an entry is there more than once");
}

struct Copy {
    text: String,
    order: Vec<usize>,
}

/// `COPY table (columns) FROM stdin;`, the columns sorted by name.
fn copy_statement(line: &str) -> Option<Copy> {
    let statement = line.strip_prefix("COPY ")?.strip_suffix(" FROM stdin;")?;
    let (table, columns) = statement.rsplit_once(" (").unwrap_or((statement, ")"));
    // A name may have " (" in it, and then this is the wrong place to cut: rows stay as they are.
    let names = split_names(columns.strip_suffix(')')?);
    let mut order: Vec<usize> = (0..names.len()).collect();
    order.sort_by_key(|place| &names[*place]);
    let sorted: Vec<&str> = order.iter().map(|place| names[*place].as_str()).collect();
    Some(Copy { text: format!("COPY {table} ({}) FROM stdin;", sorted.join(", ")), order })
}

/// Cuts a list of identifiers at the commas outside quotes.
fn split_names(list: &str) -> Vec<String> {
    let mut names = vec![String::new()];
    let mut quoted = false;
    for c in list.chars() {
        if c == '"' {
            quoted = !quoted;
        }
        if c == ',' && !quoted {
            names.push(String::new());
        } else if c != ' ' || quoted {
            names.last_mut().expect("one at least").push(c);
        }
    }
    names
}

fn reordered(row: &str, order: &[usize]) -> String {
    let fields: Vec<&str> = row.split('\t').collect();
    if fields.len() != order.len() {
        return row.to_owned();
    }
    order.iter().map(|place| fields[*place]).collect::<Vec<_>>().join("\t")
}
