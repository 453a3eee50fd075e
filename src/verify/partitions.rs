//! Whether rows are in the partition that their values belong to, where its bound is simple: a
//! list of values, or a range of types whose order their text decides. Nothing is guessed: a hash,
//! an expression, or an order that only the server knows is told as undecided.

mod bound;
mod order;

use std::collections::{BTreeSet, HashMap, HashSet};

use self::bound::{Bound, Edge, Strategy};
use self::order::{Order, Place};
use super::Context;
use super::codes::Code;
use super::equality::Equality;
use super::findings::Finding;
use super::plan::{Cell, Values};
use super::stretch::{Rows, Stretch};
use crate::format::manifest::{Manifest, Name, Table};

/// What the rows of each stretch must meet to be where they are.
#[derive(Debug, Default)]
pub(super) struct Partitions {
    /// For each stretch: its own bound, and those of the partitions that it is in.
    of: Vec<Vec<Condition>>,
}

#[derive(Debug)]
struct Condition {
    /// The partition, and its bound in SQL.
    shown: String,
    fields: Vec<usize>,
    test: Test,
}

#[derive(Debug)]
enum Test {
    List(List),
    Range(Range),
    /// The default partition: what belongs to none of the others.
    Lists(Vec<List>),
    Ranges(Vec<Range>),
}

#[derive(Debug)]
struct List {
    equality: Equality,
    /// Values as equality writes them.
    values: HashSet<Vec<u8>>,
    null: bool,
}

#[derive(Debug)]
struct Range {
    orders: Vec<Order>,
    from: Vec<Limit>,
    to: Vec<Limit>,
}

#[derive(Debug)]
enum Limit {
    Least,
    Most,
    At(Place),
}

impl Partitions {
    /// Works out what can be checked; what cannot is told, once a partitioned table.
    pub(super) fn new(context: &Context<'_>, manifest: &Manifest, rows: &Rows<'_>) -> Self {
        let tables: HashMap<&Name, &Table> =
            manifest.tables.iter().map(|table| (&table.name, table)).collect();
        let mut siblings: HashMap<&Name, Vec<&Table>> = HashMap::new();
        for table in &manifest.tables {
            if let Some(parent) = &table.partition_of {
                siblings.entry(parent).or_default().push(table);
            }
        }
        let mut told = BTreeSet::new();
        let of = rows.stretches.iter().map(|stretch| {
            let mut conditions = Vec::new();
            let (mut part, mut seen) = (&*stretch.table, BTreeSet::new());
            // A manifest may claim that a table is its own grandparent.
            while let Some(parent) = &part.partition_of
                && seen.insert(parent)
                && let Some(parent) = tables.get(parent)
            {
                let others = siblings.get(&parent.name).map_or(&[][..], Vec::as_slice);
                match condition(stretch, part, parent, others) {
                    Ok(condition) => conditions.push(condition),
                    Err(why) if told.insert(&parent.name) => {
                        let what = format!("which rows belong to which of its partitions: {why}");
                        context
                            .findings
                            .add(Finding::new(Code::Undecided, what).table(&parent.name));
                    }
                    Err(_) => {}
                }
                part = parent;
            }
            conditions
        });
        Self { of: of.collect() }
    }

    /// The partition of which the row of a stretch does not meet the bound.
    pub(super) fn misplaced(&self, stretch: usize, values: &Values<'_>) -> Option<&str> {
        let mut conditions = self.of.get(stretch).into_iter().flatten();
        conditions
            .find(|condition| !condition.test.holds(&condition.fields, values))
            .map(|condition| &*condition.shown)
    }
}

/// What a partition wants of the rows of a stretch within it; or why only the server knows.
fn condition(
    stretch: &Stretch<'_>,
    part: &Table,
    parent: &Table,
    siblings: &[&Table],
) -> Result<Condition, String> {
    let key = parent.partition_key.as_deref().unwrap_or_default();
    let (strategy, names) = bound::key(key).ok_or_else(|| format!("by {key}"))?;
    let mut fields = Vec::with_capacity(names.len());
    for name in &names {
        fields.push(stretch.field(name).ok_or_else(|| format!("column {name} is not stored"))?);
    }
    let text = part.partition_bound.as_deref().unwrap_or_default();
    let open = |table: &Table| {
        let text = table.partition_bound.as_deref().unwrap_or_default();
        bound::parse(text).ok_or_else(|| format!("the bound of {} is {text}", table.name))
    };
    let list = |bound: &Bound| list(stretch, &fields, bound);
    let range = |bound: &Bound| range(stretch, &fields, bound);
    let belongs = match (open(part)?, strategy) {
        (Bound::Default, _) => {
            let mut others = Vec::new();
            for sibling in siblings {
                match open(sibling)? {
                    Bound::Default => {}
                    other => others.push(other),
                }
            }
            match strategy {
                Strategy::List => Test::Lists(others.iter().map(list).collect::<Result<_, _>>()?),
                Strategy::Range => {
                    Test::Ranges(others.iter().map(range).collect::<Result<_, _>>()?)
                }
            }
        }
        (bound, Strategy::List) => Test::List(list(&bound)?),
        (bound, Strategy::Range) => Test::Range(range(&bound)?),
    };
    Ok(Condition { shown: format!("{} ({text})", part.name), fields, test: belongs })
}

fn list(stretch: &Stretch<'_>, fields: &[usize], bound: &Bound) -> Result<List, String> {
    let (Bound::In(literals), [field]) = (bound, fields) else {
        return Err("a bound is not a list of values of one column".into());
    };
    let column = stretch.table.stored_columns().nth(*field);
    let equality = column.and_then(Equality::of).ok_or("only the server compares its values")?;
    let mut values = HashSet::new();
    for literal in literals.iter().flatten() {
        let mut value = Vec::new();
        equality.write(literal, &mut value);
        values.insert(value);
    }
    Ok(List { equality, values, null: literals.contains(&None) })
}

fn range(stretch: &Stretch<'_>, fields: &[usize], bound: &Bound) -> Result<Range, String> {
    let Bound::Range(from, to) = bound else { return Err("a bound is not a range".into()) };
    if (from.len(), to.len()) != (fields.len(), fields.len()) {
        return Err("a bound does not have a value for each column".into());
    }
    let mut orders = Vec::with_capacity(fields.len());
    for field in fields {
        let column = stretch.table.stored_columns().nth(*field);
        orders.push(column.and_then(Order::of).ok_or("only the server orders its values")?);
    }
    let limits = |edges: &[Edge]| {
        let limit = |(edge, order): (&Edge, &Order)| match edge {
            Edge::Least => Ok(Limit::Least),
            Edge::Most => Ok(Limit::Most),
            Edge::At(literal) => order.place(literal).map(Limit::At),
        };
        edges.iter().zip(&orders).map(limit).collect::<Result<Vec<_>, _>>()
    };
    let (from, to) = (limits(from), limits(to));
    let bad = |_| "a bound is not a value of its column".to_owned();
    let (from, to) = (from.map_err(bad)?, to.map_err(bad)?);
    Ok(Range { orders, from, to })
}

impl Test {
    fn holds(&self, fields: &[usize], values: &Values<'_>) -> bool {
        match self {
            Self::List(list) => list.holds(fields, values),
            Self::Range(range) => range.holds(fields, values).unwrap_or(true),
            Self::Lists(others) => !others.iter().any(|list| list.holds(fields, values)),
            Self::Ranges(others) => {
                !others.iter().any(|range| range.holds(fields, values).unwrap_or(false))
            }
        }
    }
}

impl List {
    fn holds(&self, fields: &[usize], values: &Values<'_>) -> bool {
        let mut written = Vec::new();
        match fields.first().and_then(|field| values.get(*field)) {
            None => return self.null,
            Some(Cell::Value(value)) => self.equality.write(value, &mut written),
            Some(Cell::Blob(digest)) => written.extend_from_slice(&digest.0),
        }
        self.values.contains(&written)
    }
}

impl Range {
    /// None where a value is not one of its type: that is told elsewhere.
    fn holds(&self, fields: &[usize], values: &Values<'_>) -> Option<bool> {
        let mut places = Vec::with_capacity(fields.len());
        for (field, order) in fields.iter().zip(&self.orders) {
            match values.get(*field) {
                // A range holds no NULL; the default partition does.
                None => return Some(false),
                Some(Cell::Blob(_)) => return None,
                Some(Cell::Value(value)) => places.push(order.place(value).ok()?),
            }
        }
        // What follows MINVALUE or MAXVALUE does not matter: nothing is equal to these.
        let before = |limits: &[Limit]| {
            for (limit, place) in limits.iter().zip(&places) {
                match limit {
                    Limit::Least => return false,
                    Limit::Most => return true,
                    Limit::At(limit) if place != limit => return place < limit,
                    Limit::At(_) => {}
                }
            }
            false
        };
        Some(!before(&self.from) && before(&self.to))
    }
}
