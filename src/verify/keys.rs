//! Primary keys, unique constraints, foreign keys and sequences: all records that `plan` made of
//! the rows, held against each other.
//!
//! Sorted, all that has the same value stands together: two holders are a duplicate, a reference
//! without a holder dangles.

use std::collections::{BTreeMap, BTreeSet};

use super::codes::Code;
use super::findings::{EXAMPLES, Finding};
use super::plan::{Group, Plan, RECORD, Value};
use super::stretch::{Rows, Stretch, describe};
use super::uses::{Place, Use, Users};
use super::{Context, VerifyError};
use crate::format::manifest::{ForeignKey, Manifest};
use crate::io::spill::{Merge, Sorter};

/// A record taken apart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Record {
    group: u32,
    value: Value,
    tag: u32,
    stretch: u32,
    row: u64,
}

impl Record {
    fn place(&self) -> Place {
        (self.stretch, self.row)
    }

    fn of(bytes: &[u8; RECORD]) -> Option<Self> {
        let (group, rest) = bytes.split_first_chunk::<4>()?;
        let (value, rest) = rest.split_first_chunk::<16>()?;
        let (tag, rest) = rest.split_first_chunk::<4>()?;
        let (stretch, rest) = rest.split_first_chunk::<4>()?;
        Some(Self {
            group: u32::from_be_bytes(*group),
            value: *value,
            tag: u32::from_be_bytes(*tag),
            stretch: u32::from_be_bytes(*stretch),
            row: u64::from_be_bytes(*rest.first_chunk()?),
        })
    }
}

/// Violations of one constraint: how many, and the first of them.
#[derive(Debug, Default)]
struct Broken {
    count: u64,
    /// Stretch and row, and of a duplicate the row that has the value first.
    first: BTreeSet<(Place, Option<Place>)>,
}

impl Broken {
    fn add(&mut self, record: &Record, other: Option<&Record>) {
        self.count += 1;
        self.first.insert((record.place(), other.map(Record::place)));
        if self.first.len() > EXAMPLES {
            self.first.pop_last();
        }
    }
}

/// Holds all records against each other; who refers to rows that are hit.
pub(super) fn check(
    context: &Context<'_>,
    manifest: &Manifest,
    plan: &Plan,
    rows: &Rows<'_>,
    sorters: Vec<Sorter<RECORD>>,
    mut users: Users,
) -> Result<Vec<Use>, VerifyError> {
    let mut merge = Merge::new(sorters, context.memory / 4).map_err(VerifyError::Scratch)?;
    // By group for duplicates (tag 0), by foreign key for references.
    let mut broken: BTreeMap<(u32, u32), Broken> = BTreeMap::new();
    let mut holder: Option<Record> = None;
    let mut count = 0_u64;
    while let Some(bytes) = merge.next().map_err(VerifyError::Scratch)? {
        count += 1;
        if count.is_multiple_of(1 << 16) {
            context.go_on()?;
        }
        let Some(record) = Record::of(&bytes) else { continue };
        let held = holder.filter(|held| (held.group, held.value) == (record.group, record.value));
        match (record.tag, held) {
            (0, None) => holder = Some(record),
            (0, Some(first)) => {
                broken.entry((record.group, 0)).or_default().add(&record, Some(&first));
            }
            (tag, Some(held)) => users.reference(tag, record.place(), held.place()),
            (tag, None) => broken.entry((record.group, tag)).or_default().add(&record, None),
        }
    }
    let named = |tag: u32| {
        let number = usize::try_from(tag.checked_sub(1)?).ok()?;
        let foreign = manifest.foreign_keys.get(number).map(|foreign| (foreign, None));
        foreign.or_else(|| {
            let soft = plan.soft.get(number.checked_sub(manifest.foreign_keys.len())?)?;
            Some((&soft.foreign, Some(soft.words.as_str())))
        })
    };
    for ((group, tag), broken) in broken {
        let Some(group) = usize::try_from(group).ok().and_then(|group| plan.groups.get(group))
        else {
            continue;
        };
        match tag {
            0 => duplicates(context, group, &broken, rows),
            tag => {
                if let Some((foreign, rule)) = named(tag) {
                    dangling(context, group, foreign, rule, &broken, rows);
                }
            }
        }
    }
    sequences(context, manifest, rows);
    Ok(users.finish(context, rows, named))
}

fn duplicates(context: &Context<'_>, group: &Group, broken: &Broken, rows: &Rows<'_>) {
    // Without a constraint it is only what a foreign key refers to.
    let Some((name, code)) = &group.unique else { return };
    let mut told = Vec::new();
    for ((stretch, row), first) in &broken.first {
        let Some(stretch) = rows.stretch(*stretch) else { continue };
        let text = describe(context, stretch, *row, &group.columns);
        let text = text.as_deref().unwrap_or("the value");
        let place = match first {
            Some((other, at)) => match rows.stretch(*other) {
                Some(other) if other.shown != stretch.shown => {
                    format!("row {at} of {}", other.shown)
                }
                _ => format!("row {at}"),
            },
            None => "another row".into(),
        };
        let finding = Finding::new(*code, format!("{text} is also in {place}"));
        told.push(about(finding, context, stretch, *row).constraint(name));
    }
    tell(context, told, broken.count);
}

fn dangling(
    context: &Context<'_>,
    group: &Group,
    foreign: &ForeignKey,
    rule: Option<&str>,
    broken: &Broken,
    rows: &Rows<'_>,
) {
    let columns = foreign.referenced_columns.join(", ");
    let holders = group.holders.iter().filter_map(|holder| rows.stretches.get(*holder));
    let lost: Vec<_> =
        holders.filter(|holder| rows.lost(holder)).map(|holder| holder.shown.clone()).collect();
    if !lost.is_empty() {
        let what = format!(
            "{} references find no row of {}, of which rows are lost",
            broken.count,
            lost.join(", ")
        );
        let finding = Finding::new(Code::UndecidedDamage, what);
        context.findings.add(named(finding.table(&foreign.table), foreign, rule));
        return;
    }
    let code = if rule.is_some() {
        Code::DanglingSoftReference
    } else if foreign.validated && foreign.enforced {
        Code::DanglingForeignKey
    } else {
        Code::UncheckedConstraintViolated
    };
    let mut told = Vec::new();
    for ((stretch, row), _) in &broken.first {
        let Some(stretch) = rows.stretch(*stretch) else { continue };
        let text = describe(context, stretch, *row, &foreign.columns);
        let text = text.as_deref().unwrap_or("the value");
        let finding =
            Finding::new(code, format!("{text} is not in {} ({columns})", foreign.references));
        let finding = named(about(finding, context, stretch, *row), foreign, rule);
        told.push(match foreign.columns.as_slice() {
            [column] => finding.column(column),
            _ => finding,
        });
    }
    tell(context, told, broken.count);
}

/// With the foreign key's name, or the rule's words.
fn named(finding: Finding, foreign: &ForeignKey, rule: Option<&str>) -> Finding {
    match rule {
        Some(rule) => finding.rule(rule),
        None => finding.constraint(&foreign.name),
    }
}

pub(super) fn about(
    finding: Finding,
    context: &Context<'_>,
    stretch: &Stretch<'_>,
    row: u64,
) -> Finding {
    let key = describe(context, stretch, row, stretch.key());
    finding.table(&stretch.shown).row(row).key(key.filter(|_| !stretch.key().is_empty()))
}

/// Tells the examples, and how many more there are.
fn tell(context: &Context<'_>, examples: Vec<Finding>, count: u64) {
    let more = count.saturating_sub(u64::try_from(examples.len()).unwrap_or(0));
    let last = examples.last().cloned();
    for finding in examples {
        context.findings.add(finding);
    }
    if let Some(last) = last.filter(|_| more > 0) {
        context.findings.add_more(&last, more);
    }
}

fn sequences(context: &Context<'_>, manifest: &Manifest, rows: &Rows<'_>) {
    for (number, sequence) in manifest.sequences.iter().enumerate() {
        let Some(owned) = &sequence.owned_by else { continue };
        let Some((least, most)) = rows.extremes(number) else { continue };
        let step = if sequence.is_called { i128::from(sequence.increment) } else { 0 };
        let next = i128::from(sequence.last_value) + step;
        let passed = if sequence.increment < 0 { least } else { most };
        let behind = if sequence.increment < 0 {
            next >= i128::from(passed)
        } else {
            next <= i128::from(passed)
        };
        if behind {
            let what =
                format!("the next value of {} is {next}, the column holds {passed}", sequence.name);
            let finding = Finding::new(Code::SequenceBehind, what);
            context.findings.add(finding.table(&owned.table).column(&owned.column));
        }
    }
}
