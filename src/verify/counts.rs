//! Rules about how many rows there must be.

use std::sync::atomic::{AtomicU64, Ordering};

use super::Context;
use super::codes::Code;
use super::equality::Equality;
use super::findings::Finding;
use super::plan::{Cell, Tree, Values};
use super::stretch::Rows;
use crate::format::manifest::Manifest;
use crate::format::rules::{CountRule, Rules, Test};

/// The rules, and what was counted for each.
#[derive(Debug, Default)]
pub(super) struct Counts {
    rules: Vec<Counted>,
    /// For each stretch: the rule, and what a row must meet.
    of: Vec<Vec<(usize, Asked)>>,
}

#[derive(Debug)]
struct Counted {
    rule: CountRule,
    leaves: Vec<usize>,
    count: AtomicU64,
}

#[derive(Debug)]
enum Asked {
    Every,
    Null(usize),
    NotNull(usize),
    /// The field, how it compares (by its text if only the server knows more), and with what.
    Equals(usize, Option<Equality>, Vec<u8>),
}

impl Counts {
    /// The work that rules make; they were held against the tables already.
    pub(super) fn new(manifest: &Manifest, rules: &Rules, rows: &Rows<'_>) -> Self {
        let tree = Tree::new(manifest, &rows.stretches);
        let mut counts =
            Self { rules: Vec::new(), of: rows.stretches.iter().map(|_| Vec::new()).collect() };
        for rule in &rules.counts {
            let leaves = tree.leaves(&rule.table);
            for leaf in &leaves {
                let Some(stretch) = rows.stretches.get(*leaf) else { continue };
                let asked = match &rule.condition {
                    None => Some(Asked::Every),
                    Some(condition) => stretch.field(&condition.column).map(|field| {
                        let column = stretch.table.stored_columns().nth(field);
                        let value = condition.value.as_deref().unwrap_or("").as_bytes();
                        match condition.test {
                            Test::Null => Asked::Null(field),
                            Test::NotNull => Asked::NotNull(field),
                            Test::Equals => {
                                let equality = column.and_then(Equality::of);
                                let value = canonical(equality.as_ref(), value);
                                Asked::Equals(field, equality, value)
                            }
                        }
                    }),
                };
                if let (Some(asked), Some(of)) = (asked, counts.of.get_mut(*leaf)) {
                    of.push((counts.rules.len(), asked));
                }
            }
            let count = AtomicU64::new(0);
            counts.rules.push(Counted { rule: rule.clone(), leaves, count });
        }
        counts
    }

    /// Counts a row.
    pub(super) fn row(&self, stretch: usize, values: &Values<'_>) {
        for (rule, asked) in self.of.get(stretch).into_iter().flatten() {
            let met = match asked {
                Asked::Every => true,
                Asked::Null(field) => values.get(*field).is_none(),
                Asked::NotNull(field) => values.get(*field).is_some(),
                Asked::Equals(field, equality, wanted) => match values.get(*field) {
                    Some(Cell::Value(value)) => canonical(equality.as_ref(), value) == *wanted,
                    _ => false,
                },
            };
            if let Some(rule) = self.rules.get(*rule).filter(|_| met) {
                rule.count.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Says which rules do not hold, once all rows were read.
    pub(super) fn check(&self, context: &Context<'_>, rows: &Rows<'_>) {
        for Counted { rule, leaves, count } in &self.rules {
            let count = count.load(Ordering::Relaxed);
            let mut parts = leaves.iter().filter_map(|leaf| rows.stretches.get(*leaf));
            let lost = parts.any(|stretch| rows.lost(stretch));
            let few = rule.at_least.is_some_and(|least| count < least);
            let many = rule.at_most.is_some_and(|most| count > most);
            // Rows that are lost can only add to those that were counted.
            let (code, what) = if many || (few && !lost) {
                (Code::CountRule, format!("there are {count}"))
            } else if lost {
                let what = format!("there are {count} among the rows that could be read");
                (Code::UndecidedDamage, what)
            } else {
                continue;
            };
            context.findings.add(Finding::new(code, what).table(&rule.table).rule(rule.words()));
        }
    }
}

fn canonical(equality: Option<&Equality>, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(value.len());
    match equality {
        Some(equality) => equality.write(value, &mut out),
        None => out.extend_from_slice(value),
    }
    out
}
