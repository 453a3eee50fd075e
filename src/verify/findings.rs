//! What a check has to say, and the place where all that is said is gathered and grouped.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use super::codes::{Code, Severity};
use crate::format::index::EntryRecord;

/// How many examples of one kind of finding are told apart; the rest is counted.
pub const EXAMPLES: usize = 20;

/// One thing that `verify` has to say.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
pub struct Finding {
    /// What kind of finding this is.
    pub code: Code,
    /// How bad it is; follows from the code.
    pub severity: Severity,
    /// The code in a few words.
    pub title: &'static str,
    /// The table (or partition) it is about, as `schema.name`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// The row's number in its table, from 1, in the order of the archive.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub row: Option<u64>,
    /// The row's primary key, as `column = value, ...`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The column.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    /// The constraint or index.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub constraint: Option<String>,
    /// The rule, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// The blob's digest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub blob: Option<String>,
    /// The archive's entry.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entry: Option<String>,
    /// The offset in the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offset: Option<u64>,
    /// The fact, in one sentence without a full stop; does not repeat the place.
    pub message: String,
    /// What to do.
    pub advice: &'static str,
    /// How many findings this stands for: more than one where examples were left out.
    pub count: u64,
}

impl Finding {
    /// A finding that says `message`, about no place in particular.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            severity: code.severity(),
            title: code.title(),
            table: None,
            row: None,
            key: None,
            column: None,
            constraint: None,
            rule: None,
            blob: None,
            entry: None,
            offset: None,
            message: message.into(),
            advice: code.advice(),
            count: 1,
        }
    }

    /// About this table.
    #[must_use]
    pub fn table(mut self, table: impl fmt::Display) -> Self {
        self.table = Some(table.to_string());
        self
    }

    /// About this entry, of the archive or of a base of it.
    #[must_use]
    pub(super) fn of_entry(mut self, entry: &EntryRecord) -> Self {
        if entry.base() != 0 {
            _ = write!(self.message, " (in base {})", entry.base());
        }
        self.entry(entry.name())
    }

    /// About this row (from 1).
    #[must_use]
    pub fn row(mut self, row: u64) -> Self {
        self.row = Some(row);
        self
    }

    /// About the row with this primary key.
    #[must_use]
    pub fn key(mut self, key: Option<String>) -> Self {
        self.key = key;
        self
    }

    /// About this column.
    #[must_use]
    pub fn column(mut self, column: impl Into<String>) -> Self {
        self.column = Some(column.into());
        self
    }

    /// About this constraint.
    #[must_use]
    pub fn constraint(mut self, constraint: impl Into<String>) -> Self {
        self.constraint = Some(constraint.into());
        self
    }

    /// About this rule.
    #[must_use]
    pub fn rule(mut self, rule: impl Into<String>) -> Self {
        self.rule = Some(rule.into());
        self
    }

    /// About this blob.
    #[must_use]
    pub fn blob(mut self, blob: impl fmt::Display) -> Self {
        self.blob = Some(blob.to_string());
        self
    }

    /// About this entry.
    #[must_use]
    pub fn entry(mut self, entry: impl Into<String>) -> Self {
        self.entry = Some(entry.into());
        self
    }

    /// About this offset in the file.
    #[must_use]
    pub fn offset(mut self, offset: u64) -> Self {
        self.offset = Some(offset);
        self
    }

    /// Where it is, for people: `public.image row 12 (id = 7) column file`; empty if nowhere.
    pub fn place(&self) -> String {
        let mut parts = Vec::new();
        if let Some(entry) = &self.entry {
            parts.push(format!("entry {entry}"));
        }
        parts.extend(self.table.clone());
        if let Some(row) = self.row {
            parts.push(format!("row {row}"));
        }
        if let Some(key) = &self.key {
            parts.push(format!("({key})"));
        }
        if let Some(column) = &self.column {
            parts.push(format!("column {column}"));
        }
        if let Some(constraint) = &self.constraint {
            parts.push(format!("constraint {constraint}"));
        }
        if let Some(rule) = &self.rule {
            parts.push(format!("[{rule}]"));
        }
        if let Some(blob) = &self.blob {
            parts.push(format!("blob {blob}"));
        }
        if let (Some(offset), None) = (self.offset, &self.row) {
            parts.push(format!("at byte {offset}"));
        }
        parts.join(" ")
    }
}

/// `E306 entry objects/...: message`.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = self.place();
        write!(f, "{} ", self.code)?;
        if !place.is_empty() {
            write!(f, "{place}: ")?;
        }
        f.write_str(&self.message)
    }
}

/// What makes two findings of one kind.
type Kind = (Code, Option<String>, Option<String>, Option<String>, Option<String>);

/// Takes findings from many threads. Of each kind (code, table, constraint, column, rule) it keeps the
/// first [`EXAMPLES`] in the order of the archive, whatever order they come in.
#[derive(Debug, Default)]
pub(super) struct Findings {
    groups: Mutex<BTreeMap<Kind, Group>>,
}

#[derive(Debug, Default)]
struct Group {
    examples: BTreeSet<Finding>,
    count: u64,
}

impl Findings {
    /// Adds one.
    pub(super) fn add(&self, finding: Finding) {
        self.put(finding, 1);
    }

    /// Adds so many of which nothing else is told but that they are of the kind of `like`.
    pub(super) fn add_more(&self, like: &Finding, count: u64) {
        self.put(like.clone(), count);
    }

    fn put(&self, finding: Finding, count: u64) {
        let kind = (
            finding.code,
            finding.table.clone(),
            finding.constraint.clone(),
            finding.column.clone(),
            finding.rule.clone(),
        );
        let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        let group = groups.entry(kind).or_default();
        group.count = group.count.saturating_add(count);
        group.examples.insert(finding);
        if group.examples.len() > EXAMPLES {
            group.examples.pop_last();
        }
    }

    /// All of them: errors first, then by code and place. Where examples were left out, one more
    /// finding stands for the rest.
    pub(super) fn finish(self) -> Vec<Finding> {
        let groups = self.groups.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut out = Vec::new();
        for ((code, table, constraint, column, rule), group) in groups {
            let told = u64::try_from(group.examples.len()).unwrap_or(u64::MAX);
            let rest = group.count.saturating_sub(told);
            out.extend(group.examples);
            if rest > 0 {
                let mut more = Finding::new(code, format!("{rest} more of the same"));
                more.table = table;
                more.constraint = constraint;
                more.column = column;
                more.rule = rule;
                more.count = rest;
                out.push(more);
            }
        }
        // Stable: within a severity the order of the groups stays.
        out.sort_by_key(|finding| finding.severity);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(n: u64) -> Finding {
        Finding::new(Code::NullInNotNull, "NULL").table("public.t").row(n).column("c")
    }

    /// Guards against examples that depend on which thread came first.
    #[test]
    fn the_first_examples_are_kept_whatever_the_order() {
        let told = |order: &mut dyn Iterator<Item = u64>| {
            let findings = Findings::default();
            order.for_each(|n| findings.add(row(n)));
            findings.finish()
        };
        let forward = told(&mut (1..=50));
        assert_eq!(forward, told(&mut (1..=50).rev()));
        assert_eq!(forward.len(), EXAMPLES + 1);
        assert_eq!(forward.iter().map(|f| f.count).sum::<u64>(), 50);
        assert_eq!(forward[19].row, Some(20));
        assert_eq!(forward[20].message, "30 more of the same");
    }

    #[test]
    fn errors_come_before_notes() {
        let findings = Findings::default();
        findings.add(Finding::new(Code::Undecided, "n").constraint("k"));
        findings.add(row(3));
        let told: Vec<_> = findings.finish().iter().map(|f| f.code).collect();
        assert_eq!(told, [Code::NullInNotNull, Code::Undecided]);
    }

    #[test]
    fn a_finding_says_where_it_is() {
        let told = row(3).key(Some("id = 7".into())).to_string();
        assert_eq!(told, "E404 public.t row 3 (id = 7) column c: NULL");
    }
}
