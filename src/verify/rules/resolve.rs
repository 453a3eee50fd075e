//! Rules and the tables they are about: names are looked up when an archive is made or rules are
//! given, and held against the manifest again when it is verified.

use super::file::{Is, RuleFile, Value, Written};
use crate::format::manifest::{Column, Name, Table, TypeKind};
use crate::format::rules::{BlobRule, Checksum, Condition, CountRule, ReferenceRule, Rules, Test};

/// What a rule asks and the tables do not have.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct Unknown {
    /// The line of the file on which the rule names its table.
    pub line: usize,
    /// What is not there.
    pub message: String,
}

/// Rules with the names that the tables have, and what could not be found of them.
pub fn resolve(file: &RuleFile, tables: &[Table]) -> (Rules, Vec<Unknown>) {
    let mut rules = Rules::default();
    let mut unknown = Vec::new();
    let Written { reference, blob, count, .. } = &file.rules;
    let mut lost = |span: std::ops::Range<usize>, message: String| {
        unknown.push(Unknown { line: file.line(&span), message });
    };
    for rule in reference {
        let made = find(tables, rule.table.get_ref()).and_then(|table| {
            let columns = rule.columns.clone().or_else(|| Some(vec![rule.column.clone()?]));
            let mut target: Option<&Table> = None;
            let mut theirs = Vec::new();
            for name in rule.references.names() {
                let (of, column) = table_and_column(tables, name)?;
                if target.is_some_and(|other| other.name != of.name) {
                    return Err("references names columns of two tables".into());
                }
                target = Some(of);
                theirs.push(column);
            }
            let target = target.ok_or("references names no column")?;
            Ok(ReferenceRule {
                table: table.name.clone(),
                columns: columns.unwrap_or_default(),
                references: target.name.clone(),
                referenced_columns: theirs,
                empty_is_none: rule.empty == super::file::Empty::None,
            })
        });
        match made.and_then(|rule| checked(reference_fault(&rule, tables), rule)) {
            Ok(rule) => rules.references.push(rule),
            Err(message) => lost(rule.table.span(), message),
        }
    }
    for rule in blob {
        let made = find(tables, rule.table.get_ref()).map(|table| BlobRule {
            table: table.name.clone(),
            column: rule.column.clone(),
            not_empty: rule.not_empty,
            image: rule.image,
            media_type: rule.media_type.clone(),
            checksum: rule
                .checksum
                .as_ref()
                .map(|sum| Checksum { column: sum.column.clone(), algorithm: sum.algorithm }),
        });
        match made.and_then(|rule| checked(blob_fault(&rule, tables), rule)) {
            Ok(rule) => rules.blobs.push(rule),
            Err(message) => lost(rule.table.span(), message),
        }
    }
    for rule in count {
        let made = find(tables, rule.table.get_ref()).map(|table| CountRule {
            table: table.name.clone(),
            condition: rule.condition.as_ref().map(|condition| {
                let value = condition.equals.as_ref().map(|value| match value {
                    Value::Bool(true) => "t".to_owned(),
                    Value::Bool(false) => "f".to_owned(),
                    Value::Integer(number) => number.to_string(),
                    Value::Text(text) => text.clone(),
                });
                let test = match condition.is {
                    Some(Is::Null) => Test::Null,
                    Some(Is::NotNull) => Test::NotNull,
                    None => Test::Equals,
                };
                Condition { column: condition.column.clone(), test, value }
            }),
            at_least: rule.at_least,
            at_most: rule.at_most,
        });
        match made.and_then(|rule| checked(count_fault(&rule, tables), rule)) {
            Ok(rule) => rules.counts.push(rule),
            Err(message) => lost(rule.table.span(), message),
        }
    }
    (rules, unknown)
}

/// Holds rules that came with a manifest against its tables: those that can be checked, and what
/// is wrong with the others.
pub fn check(rules: &Rules, tables: &[Table]) -> (Rules, Vec<String>) {
    let mut faults = Vec::new();
    let mut good = rules.clone();
    let mut keep = |fault: Option<String>, words: String| match fault {
        None => true,
        Some(fault) => {
            faults.push(format!("{words}: {fault}"));
            false
        }
    };
    good.references.retain(|rule| keep(reference_fault(rule, tables), rule.words()));
    good.blobs.retain(|rule| keep(blob_fault(rule, tables), rule.words()));
    good.counts.retain(|rule| keep(count_fault(rule, tables), rule.words()));
    (good, faults)
}

fn checked<T>(fault: Option<String>, rule: T) -> Result<T, String> {
    fault.map_or(Ok(rule), Err)
}

fn reference_fault(rule: &ReferenceRule, tables: &[Table]) -> Option<String> {
    if rule.columns.is_empty() || rule.columns.len() != rule.referenced_columns.len() {
        return Some("its sides have different numbers of columns".into());
    }
    let sides = [(&rule.table, &rule.columns), (&rule.references, &rule.referenced_columns)];
    sides.into_iter().find_map(|(table, columns)| {
        columns.iter().find_map(|name| column(tables, table, name).err())
    })
}

fn blob_fault(rule: &BlobRule, tables: &[Table]) -> Option<String> {
    match column(tables, &rule.table, &rule.column) {
        Err(fault) => return Some(fault),
        Ok(column) if !column.is_bytea() => {
            return Some(format!(
                "column {} of {} is {}, not bytea",
                column.name, rule.table, column.sql_type
            ));
        }
        Ok(_) => {}
    }
    let beside = rule.media_type.iter().chain(rule.checksum.iter().map(|sum| &sum.column));
    for name in beside {
        match column(tables, &rule.table, name) {
            Err(fault) => return Some(fault),
            Ok(column) if column.is_bytea() => {
                return Some(format!("column {name} of {} is bytea, not text", rule.table));
            }
            Ok(_) => {}
        }
    }
    None
}

fn count_fault(rule: &CountRule, tables: &[Table]) -> Option<String> {
    if !tables.iter().any(|table| table.name == rule.table) {
        return Some(format!("there is no table {}", rule.table));
    }
    let condition = rule.condition.as_ref()?;
    if (condition.test == Test::Equals) != condition.value.is_some() {
        return Some("its condition has a value it must not have, or lacks one".into());
    }
    match column(tables, &rule.table, &condition.column) {
        Err(fault) => Some(fault),
        Ok(column) if condition.test != Test::Equals || comparable(column) => None,
        Ok(column) => {
            Some(format!("a column of type {} cannot be asked for a value", column.sql_type))
        }
    }
}

fn comparable(column: &Column) -> bool {
    !column.is_bytea() && !matches!(column.base.kind, TypeKind::Composite)
}

/// A column that has a place in the rows.
fn column<'a>(tables: &'a [Table], table: &Name, name: &str) -> Result<&'a Column, String> {
    let table = tables
        .iter()
        .find(|known| known.name == *table)
        .ok_or_else(|| format!("there is no table {table}"))?;
    let column = table
        .columns
        .iter()
        .find(|column| column.name == name)
        .ok_or_else(|| format!("{} has no column {name}", table.name))?;
    if column.generated {
        return Err(format!("column {name} of {} is generated and not stored", table.name));
    }
    Ok(column)
}

/// The table that a text names: `schema.table`, or `table` where only one schema has it.
fn find<'a>(tables: &'a [Table], text: &str) -> Result<&'a Table, String> {
    match parts(text).as_deref() {
        Some([name]) => named(tables, None, name, text),
        Some([schema, name]) => named(tables, Some(schema), name, text),
        _ => Err(format!("{text:?} is no name of a table")),
    }
}

/// `table.column` or `schema.table.column`.
fn table_and_column<'a>(tables: &'a [Table], text: &str) -> Result<(&'a Table, String), String> {
    match parts(text).as_deref() {
        Some([table, column]) => Ok((named(tables, None, table, text)?, column.clone())),
        Some([schema, table, column]) => {
            Ok((named(tables, Some(schema), table, text)?, column.clone()))
        }
        _ => Err(format!("{text:?} is not a table and a column, as in image.fileId")),
    }
}

fn named<'a>(
    tables: &'a [Table],
    schema: Option<&str>,
    name: &str,
    text: &str,
) -> Result<&'a Table, String> {
    let fits = |table: &&Table| {
        table.name.name == name && schema.is_none_or(|schema| table.name.schema == schema)
    };
    let mut found = tables.iter().filter(fits);
    match (found.next(), found.next()) {
        (Some(table), None) => Ok(table),
        (Some(one), Some(two)) => {
            Err(format!("{text:?} may be {} or {}: name the schema", one.name, two.name))
        }
        _ => Err(format!("there is no table for {text:?}")),
    }
}

/// The parts of a dotted name; one in double quotes may have dots in it.
fn parts(text: &str) -> Option<Vec<String>> {
    let mut out = Vec::new();
    let mut letters = text.chars().peekable();
    loop {
        let mut part = String::new();
        if letters.next_if_eq(&'"').is_some() {
            loop {
                match letters.next()? {
                    '"' if letters.next_if_eq(&'"').is_some() => part.push('"'),
                    '"' => break,
                    letter => part.push(letter),
                }
            }
        } else {
            while let Some(letter) = letters.next_if(|letter| *letter != '.') {
                part.push(letter);
            }
        }
        if part.is_empty() {
            return None;
        }
        out.push(part);
        match letters.next() {
            None => return Some(out),
            Some('.') => {}
            Some(_) => return None,
        }
    }
}
