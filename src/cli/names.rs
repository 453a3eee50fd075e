//! Which table a person means.

use crate::format::manifest::{Column, Manifest, Name, Table};

/// Why a name does not lead to one table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum NameError {
    /// It is not a name.
    Syntax {
        /// What was typed.
        typed: String,
    },
    /// There is none.
    None {
        /// What was typed.
        typed: String,
        /// Names that are close to it, the closest first.
        near: Vec<Name>,
    },
    /// There is one in more than one schema.
    Several {
        /// What was typed.
        typed: String,
        /// All of them.
        names: Vec<Name>,
    },
    /// The table has no such column.
    NoColumn {
        /// The table.
        table: String,
        /// What was typed.
        typed: String,
        /// Columns that are close to it, the closest first.
        near: Vec<String>,
    },
    /// The column is there and holds no blobs.
    NotBytea {
        /// The table.
        table: String,
        /// The column.
        column: String,
        /// Its type.
        sql_type: String,
    },
    /// It is a partitioned table: its partitions have the rows.
    NoRows {
        /// The table.
        table: Name,
    },
}

/// How many near names are offered.
const NEAR: usize = 3;

/// Finds the table that `typed` means: `schema.table`, or `table` where only one schema has it.
/// Unquoted parts are taken as they are typed if there is such a table, else in lower case, as
/// SQL would; quoted parts are taken as they are.
pub(super) fn find<'a>(manifest: &'a Manifest, typed: &str) -> Result<&'a Table, NameError> {
    // Names with dots or quotes in them, typed as they are.
    let verbatim: Vec<&Table> =
        manifest.tables.iter().filter(|table| table.name.name == typed).collect();
    if let [table] = verbatim.as_slice() {
        return Ok(table);
    }
    let parts = split(typed, 2).ok_or_else(|| NameError::Syntax { typed: typed.to_owned() })?;
    find_parts(manifest, typed, &parts)
}

/// Finds the `bytea` column that `typed` means: a table as [`find`] takes it, a dot, and a column.
pub(super) fn find_bytea<'a>(
    manifest: &'a Manifest,
    typed: &str,
) -> Result<(&'a Table, &'a Column), NameError> {
    let wrong = || NameError::Syntax { typed: typed.to_owned() };
    let mut parts = split(typed, 3).ok_or_else(wrong)?;
    let last = parts.pop().ok_or_else(wrong)?;
    if parts.is_empty() {
        return Err(wrong());
    }
    let shown: Vec<&str> = parts.iter().map(|(text, _)| text.as_str()).collect();
    let table = find_parts(manifest, &shown.join("."), &parts)?;
    let column = column_part(table, &last)?;
    if column.is_bytea() && !column.generated {
        return Ok((table, column));
    }
    Err(NameError::NotBytea {
        table: table.name.to_string(),
        column: column.name.clone(),
        sql_type: column.sql_type.clone(),
    })
}

/// Finds the column of `table` that `typed` means, quoted or not.
pub(super) fn column<'a>(table: &'a Table, typed: &str) -> Result<&'a Column, NameError> {
    if let Some(column) = table.columns.iter().find(|column| column.name == typed) {
        return Ok(column);
    }
    let parts = split(typed, 1).unwrap_or_default();
    let part = parts.into_iter().next().unwrap_or_else(|| (typed.to_owned(), true));
    column_part(table, &part)
}

fn column_part<'a>(table: &'a Table, part: &Part) -> Result<&'a Column, NameError> {
    let (text, quoted) = part;
    let same = |name: &str| table.columns.iter().find(|column| column.name == name);
    let found = same(text).or_else(|| if *quoted { None } else { same(&text.to_lowercase()) });
    found.ok_or_else(|| {
        let columns: Vec<String> = table.columns.iter().map(|column| column.name.clone()).collect();
        NameError::NoColumn {
            table: table.name.to_string(),
            typed: text.clone(),
            near: near_words(text, &columns),
        }
    })
}

fn find_parts<'a>(
    manifest: &'a Manifest,
    typed: &str,
    parts: &[Part],
) -> Result<&'a Table, NameError> {
    for fold in [false, true] {
        let matching: Vec<&Table> =
            manifest.tables.iter().filter(|table| matches(&table.name, parts, fold)).collect();
        match matching.as_slice() {
            [] => {}
            [table] => return Ok(table),
            several => {
                let typed = typed.to_owned();
                let names = several.iter().map(|table| table.name.clone()).collect();
                return Err(NameError::Several { typed, names });
            }
        }
    }
    Err(NameError::None { typed: typed.to_owned(), near: near(manifest, parts) })
}

/// A part of a name: its text, and whether it was quoted.
type Part = (String, bool);

fn matches(name: &Name, parts: &[Part], fold: bool) -> bool {
    let same = |(text, quoted): &Part, name: &str| {
        if fold && !quoted { text.to_lowercase() == name } else { text == name }
    };
    match parts {
        [table] => same(table, &name.name),
        [schema, table] => same(schema, &name.schema) && same(table, &name.name),
        _ => false,
    }
}

/// Takes a name apart at its dots; a quoted part ends at its closing quote, `""` is a quote.
fn split(typed: &str, most: usize) -> Option<Vec<Part>> {
    let mut parts = Vec::new();
    let mut rest = typed;
    loop {
        if let Some(quoted) = rest.strip_prefix('"') {
            let mut text = String::new();
            let mut after = quoted;
            loop {
                let (run, tail) = after.split_once('"')?;
                text.push_str(run);
                after = tail;
                match tail.strip_prefix('"') {
                    Some(tail) => {
                        text.push('"');
                        after = tail;
                    }
                    None => break,
                }
            }
            parts.push((text, true));
            rest = after;
        } else {
            let end = rest.find('.').unwrap_or(rest.len());
            let (text, tail) = rest.split_at(end);
            if text.contains('"') {
                return None;
            }
            parts.push((text.to_owned(), false));
            rest = tail;
        }
        if parts.last().is_none_or(|(text, _)| text.is_empty()) || parts.len() > most {
            return None;
        }
        match rest.strip_prefix('.') {
            Some(tail) => rest = tail,
            None if rest.is_empty() => return Some(parts),
            None => return None,
        }
    }
}

/// The names closest to what was typed: few letters differ, or one contains the other.
fn near(manifest: &Manifest, parts: &[Part]) -> Vec<Name> {
    let Some((wanted, _)) = parts.last() else { return Vec::new() };
    let tables: Vec<(String, &Name)> =
        manifest.tables.iter().map(|table| (table.name.name.clone(), &table.name)).collect();
    closest(wanted, &tables).into_iter().cloned().collect()
}

/// The same for words of any kind.
pub(super) fn near_words(wanted: &str, words: &[String]) -> Vec<String> {
    let words: Vec<(String, &String)> = words.iter().map(|word| (word.clone(), word)).collect();
    closest(wanted, &words).into_iter().cloned().collect()
}

fn closest<'a, T: Ord>(wanted: &str, all: &[(String, &'a T)]) -> Vec<&'a T> {
    let wanted = wanted.to_lowercase();
    let mut close: Vec<(usize, &T)> = all
        .iter()
        .filter_map(|(name, of)| {
            let name = name.to_lowercase();
            let distance = distance(&wanted, &name);
            let longest = wanted.chars().count().max(name.chars().count());
            let contained = name.contains(&wanted) || wanted.contains(&name);
            (distance * 5 <= longest * 2 || contained).then_some((distance, *of))
        })
        .collect();
    close.sort();
    close.into_iter().take(NEAR).map(|(_, of)| of).collect()
}

/// How many letters have to be changed, put in or taken out to get from one to the other.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (at, c) in one.chars().enumerate() {
        let mut left = at + 1;
        let mut next = vec![left];
        for (pair, d) in row.windows(2).zip(&other) {
            let [above_left, above] = pair else { continue };
            left = (above_left + usize::from(c != *d)).min(above + 1).min(left + 1);
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::format::manifest::TableData;

    /// A manifest with nothing but tables of these names.
    pub(in crate::cli) fn manifest(names: &[(&str, &str)]) -> Manifest {
        let table = |(schema, name): &(&str, &str)| Table {
            data: Some(TableData::default()),
            ..Table::new(Name::new(*schema, *name), Vec::new())
        };
        Manifest {
            tool: "pgark".to_owned(),
            tables: names.iter().map(table).collect(),
            ..Manifest::default()
        }
    }

    fn found(typed: &str) -> Result<String, NameError> {
        let manifest = manifest(&[
            ("Odd Schema", "table"),
            ("a", "image"),
            ("b", "image"),
            ("b", "a.b"),
            ("public", "User"),
            ("public", "notification"),
            ("public", "sa\"y"),
            ("public", "template"),
            ("public", "user"),
        ]);
        find(&manifest, typed).map(|table| table.name.to_string())
    }

    #[test]
    fn names_lead_to_one_table() {
        for (typed, name) in [
            ("template", "public.template"),
            ("TEMPLATE", "public.template"),
            ("public.template", "public.template"),
            ("Public.Template", "public.template"),
            ("\"public\".\"template\"", "public.template"),
            ("a.image", "a.image"),
            ("User", "public.\"User\""),
            ("user", "public.user"),
            ("USER", "public.user"),
            ("\"User\"", "public.\"User\""),
            ("Odd Schema.table", "\"Odd Schema\".table"),
            ("\"Odd Schema\".table", "\"Odd Schema\".table"),
            ("a.b", "b.\"a.b\""),
            ("b.\"a.b\"", "b.\"a.b\""),
            ("sa\"y", "public.\"sa\"\"y\""),
            ("\"sa\"\"y\"", "public.\"sa\"\"y\""),
        ] {
            assert_eq!(found(typed).as_deref(), Ok(name), "{typed}");
        }
    }

    #[test]
    fn names_that_do_not_are_explained() {
        let names = |names: &[(&str, &str)]| -> Vec<Name> {
            names.iter().map(|(schema, name)| Name::new(*schema, *name)).collect()
        };
        let typed = "image".to_owned();
        let several = NameError::Several { typed, names: names(&[("a", "image"), ("b", "image")]) };
        assert_eq!(found("image"), Err(several));
        let none = |typed: &str, near: &[(&str, &str)]| {
            Err(NameError::None { typed: typed.to_owned(), near: names(near) })
        };
        assert_eq!(found("templat"), none("templat", &[("public", "template")]));
        assert_eq!(found("notifcation"), none("notifcation", &[("public", "notification")]));
        assert_eq!(found("public.image"), none("public.image", &[("a", "image"), ("b", "image")]));
        assert_eq!(found("zebra"), none("zebra", &[]));
        // Quoted means exactly so.
        assert!(found("\"TEMPLATE\"").is_err());
        for typed in ["", ".", "a.", ".a", "a.b.c", "\"a", "\"\"", "\"a\"b", "a\"b"] {
            let typed = typed.to_owned();
            assert_eq!(found(&typed), Err(NameError::Syntax { typed }));
        }
    }

    #[test]
    fn distances() {
        assert_eq!(distance("", ""), 0);
        assert_eq!(distance("image", "image"), 0);
        assert_eq!(distance("image", "imgae"), 2);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
    }
}
