//! Which rows of a table somebody wants: by primary key, by the value of a column.

use crate::format::manifest::{Column, Table};
use crate::format::rows::{self, Bytea, RowError};
use crate::verify::Equality;

/// Why rows cannot be picked.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SelectError {
    /// The table has no primary key.
    #[error("{0} has no primary key")]
    NoKey(String),
    /// The key has another number of columns.
    #[error("the primary key of {table} is ({}), and {found} values were given", columns.join(", "))]
    Values {
        /// The table.
        table: String,
        /// The key's columns.
        columns: Vec<String>,
        /// How many values were given.
        found: usize,
    },
    /// A column is not there.
    #[error("{table} has no column {column}")]
    NoColumn {
        /// The table.
        table: String,
        /// What was asked for.
        column: String,
        /// All that are there.
        columns: Vec<String>,
    },
    /// A column whose values are not in the archive.
    #[error("{table}.{column} is generated: its values are not in the archive")]
    Generated {
        /// The table.
        table: String,
        /// The column.
        column: String,
    },
    /// A condition without `=`.
    #[error("{0:?} is not of the form COLUMN=VALUE")]
    Syntax(String),
    /// A `bytea` is asked for by something else than hex.
    #[error("{column}: a bytea value is given as \\x and hex digits")]
    Bytea {
        /// The column.
        column: String,
    },
}

/// Picks rows of one table.
#[derive(Clone, Debug, Default)]
pub struct Selection {
    conditions: Vec<Condition>,
}

#[derive(Clone, Debug)]
struct Condition {
    /// The field's place in a row.
    place: usize,
    bytea: bool,
    equality: Option<Equality>,
    /// The value as it is compared.
    wanted: Vec<u8>,
}

impl Selection {
    /// Picks all rows of `table` for which `key` (values of its primary key) and every condition
    /// hold. Without any of these it picks every row.
    ///
    /// # Errors
    /// See [`SelectError`].
    pub fn new(
        table: &Table,
        key: Option<&[String]>,
        conditions: &[(String, String)],
    ) -> Result<Self, SelectError> {
        let mut found = Self::default();
        if let Some(values) = key {
            let primary = table.primary_key.as_ref();
            let columns =
                &primary.ok_or_else(|| SelectError::NoKey(table.name.to_string()))?.columns;
            if columns.len() != values.len() {
                return Err(SelectError::Values {
                    table: table.name.to_string(),
                    columns: columns.clone(),
                    found: values.len(),
                });
            }
            for (column, value) in columns.iter().zip(values) {
                found.add(table, column, value)?;
            }
        }
        for (column, value) in conditions {
            found.add(table, column, value)?;
        }
        Ok(found)
    }

    /// Whether every row is picked.
    pub fn is_all(&self) -> bool {
        self.conditions.is_empty()
    }

    fn add(&mut self, table: &Table, name: &str, value: &str) -> Result<(), SelectError> {
        let named = |column: &&Column| column.name == name;
        let folded = |column: &&Column| column.name == name.to_lowercase();
        let column = table.columns.iter().find(named).or(table.columns.iter().find(folded));
        let Some(column) = column else {
            return Err(SelectError::NoColumn {
                table: table.name.to_string(),
                column: name.to_owned(),
                columns: table.columns.iter().map(|column| column.name.clone()).collect(),
            });
        };
        let Some(place) = table.stored_columns().position(|other| other.name == column.name) else {
            let (table, column) = (table.name.to_string(), column.name.clone());
            return Err(SelectError::Generated { table, column });
        };
        let equality = Equality::of(column);
        let mut bytes = value.as_bytes().to_vec();
        if column.is_bytea() {
            bytes = unhex(value).ok_or_else(|| SelectError::Bytea { column: name.to_owned() })?;
        } else {
            tidy(column, &mut bytes);
        }
        let wanted = canonical(equality.as_ref(), &bytes);
        self.conditions.push(Condition { place, bytea: column.is_bytea(), equality, wanted });
        Ok(())
    }

    /// Whether it picks a row, given without its newline.
    ///
    /// # Errors
    /// [`RowError`] where a field that it looks at is damaged.
    pub fn picks(&self, row: &[u8]) -> Result<bool, RowError> {
        for condition in &self.conditions {
            let Some(field) = rows::fields(row).nth(condition.place) else { return Ok(false) };
            if !condition.holds(field)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

impl Condition {
    fn holds(&self, field: &[u8]) -> Result<bool, RowError> {
        if self.bytea {
            return Ok(match rows::bytea(field)? {
                None => false,
                Some(Bytea::Inline(bytes)) => {
                    canonical(self.equality.as_ref(), &bytes) == self.wanted
                }
                // Equal values of bytea are told by their digest.
                Some(Bytea::Blob(blob)) => self.wanted == blob.digest.0,
            });
        }
        let Some(value) = rows::unescape(field)? else { return Ok(false) };
        Ok(canonical(self.equality.as_ref(), &value) == self.wanted)
    }
}

/// The bytes by which equal values are told; where the type does not have such, the text.
fn canonical(equality: Option<&Equality>, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len());
    match equality {
        Some(equality) => equality.write(value, &mut out),
        None => out.extend_from_slice(value),
    }
    out
}

/// What people type as the server prints it, where that is plain.
fn tidy(column: &Column, value: &mut Vec<u8>) {
    if column.base.name.schema != "pg_catalog" {
        return;
    }
    match column.base.name.name.as_str() {
        "uuid" => {
            value.retain(u8::is_ascii_hexdigit);
            value.make_ascii_lowercase();
            if value.len() == 32 {
                for place in [8, 13, 18, 23] {
                    value.insert(place, b'-');
                }
            }
        }
        "bool" => {
            let short: &[u8] = match value.to_ascii_lowercase().as_slice() {
                b"t" | b"true" | b"yes" | b"on" | b"1" => b"t",
                b"f" | b"false" | b"no" | b"off" | b"0" => b"f",
                _ => return,
            };
            *value = short.to_vec();
        }
        "macaddr" | "macaddr8" => value.make_ascii_lowercase(),
        _ => {}
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix("\\x")?.as_bytes();
    let (pairs, []) = digits.as_chunks::<2>() else { return None };
    pairs
        .iter()
        .map(|pair| {
            let pair = std::str::from_utf8(pair).ok()?;
            pair.bytes().all(|byte| byte.is_ascii_hexdigit()).then_some(())?;
            u8::from_str_radix(pair, 16).ok()
        })
        .collect()
}

/// Values of a key as they are typed: commas between them, `\,` is a comma, `\\` a backslash.
pub fn split_key(typed: &str) -> Vec<String> {
    let mut values = vec![String::new()];
    let mut letters = typed.chars().peekable();
    while let Some(c) = letters.next() {
        let escaped = c == '\\' && letters.peek().is_some_and(|next| matches!(next, ',' | '\\'));
        match (c, values.last_mut()) {
            (',', _) => values.push(String::new()),
            (_, Some(value)) => value.push(if escaped { letters.next().unwrap_or(c) } else { c }),
            (_, None) => {}
        }
    }
    values
}

/// A condition as it is typed: `COLUMN=VALUE`, the column in double quotes if there is a `=` in it.
///
/// # Errors
/// [`SelectError::Syntax`].
pub fn split_condition(typed: &str) -> Result<(String, String), SelectError> {
    let wrong = || SelectError::Syntax(typed.to_owned());
    let (column, value) = if let Some(quoted) = typed.strip_prefix('"') {
        let (column, value) = quoted.split_once("\"=").ok_or_else(wrong)?;
        (column.replace("\"\"", "\""), value)
    } else {
        let (column, value) = typed.split_once('=').ok_or_else(wrong)?;
        (column.to_owned(), value)
    };
    if column.is_empty() { Err(wrong()) } else { Ok((column, value.to_owned())) }
}

#[cfg(test)]
mod tests {
    //! Guards against a row that is there and is not found, and against another one being found.
    use super::*;
    use crate::format::digest::Digest;
    use crate::format::manifest::{Key, Name};

    fn table(columns: &[(&str, &str)], key: &[&str]) -> Table {
        let column = |(name, base): &(&str, &str)| Column {
            generated: *name == "gen",
            ..Column::new(*name, *base)
        };
        Table {
            primary_key: (!key.is_empty())
                .then(|| Key::new("t_pkey", key.iter().map(|name| (*name).to_owned()).collect())),
            ..Table::new(Name::new("public", "t"), columns.iter().map(column).collect())
        }
    }

    fn picks(base: &str, field: &str, value: &str) -> bool {
        let table = table(&[("gen", "int4"), ("a", "int4"), ("B", base)], &[]);
        let conditions = [("B".to_owned(), value.to_owned())];
        let selection = Selection::new(&table, None, &conditions).unwrap();
        selection.picks(format!("1\t{field}").as_bytes()).unwrap()
    }

    #[test]
    fn values_are_equal_as_their_type_has_it() {
        assert!(picks("numeric", "1.00", "1.0"));
        assert!(!picks("numeric", "1.01", "1.0"));
        assert!(!picks("text", "1.00", "1.0"));
        assert!(picks("text", "a\\tb", "a\tb"));
        assert!(!picks("text", "\\N", "\\N"));
        assert!(picks("text", "", ""));
        let id = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";
        assert!(picks("uuid", id, &id.to_uppercase()));
        assert!(picks("uuid", id, &id.replace('-', "")));
        assert!(!picks("uuid", id, "a0eebc99"));
        assert!(picks("bool", "t", "true"));
        assert!(picks("bpchar", "ab  ", "ab"));
        assert!(picks("jsonb", "{}", "{}"));
        assert!(picks("bytea", "\\\\x00ff", "\\x00FF"));
        let blob = format!("#{}:70", Digest::of(&[7; 70]));
        assert!(picks("bytea", &blob, &format!("\\x{}", "07".repeat(70))));
        assert!(!picks("bytea", &blob, "\\x07"));
    }

    #[test]
    fn keys_and_what_is_wrong_with_them() {
        let two = table(&[("a", "int4"), ("b", "text"), ("gen", "int4")], &["b", "a"]);
        let key = split_key("x\\,y\\\\z\\q,7");
        assert_eq!(key, ["x,y\\z\\q", "7"]);
        let selection = Selection::new(&two, Some(&key), &[]).unwrap();
        assert!(selection.picks(b"7\tx,y\\\\z\\\\q").unwrap());
        assert!(!selection.picks(b"8\tx,y\\\\z\\\\q").unwrap());
        assert!(matches!(
            Selection::new(&two, Some(&key[..1]), &[]),
            Err(SelectError::Values { found: 1, .. })
        ));
        assert!(matches!(
            Selection::new(&table(&[("a", "int4")], &[]), Some(&key), &[]),
            Err(SelectError::NoKey(_))
        ));
        let by = |column: &str| Selection::new(&two, None, &[(column.into(), "1".into())]);
        assert!(matches!(by("c"), Err(SelectError::NoColumn { .. })));
        assert!(matches!(by("gen"), Err(SelectError::Generated { .. })));
        assert!(by("A").is_ok());
        assert_eq!(split_condition("a=b=c").unwrap(), ("a".into(), "b=c".into()));
        assert_eq!(split_condition("\"a=\"\"\"=").unwrap(), ("a=\"".into(), String::new()));
        assert!(split_condition("a").is_err());
        assert!(split_condition("=a").is_err());
    }
}
