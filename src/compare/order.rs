//! In which order rows can be put back so that foreign keys hold: referenced tables first.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::format::manifest::{ForeignKey, Manifest, Name};

/// The tables in order, and what has to wait.
#[derive(Debug)]
pub(super) struct Order {
    /// Numbers of all tables.
    pub(super) tables: Vec<usize>,
    /// By table: columns of foreign keys that close a circle. They are set when all rows are there.
    late: HashMap<Name, Vec<String>>,
}

impl Order {
    /// The columns of `table` that are set when all rows are there.
    pub(super) fn late(&self, table: &Name) -> &[String] {
        self.late.get(table).map_or(&[], Vec::as_slice)
    }
}

/// By table: the other tables it refers to, and by which keys.
type Needs<'a> = Vec<BTreeMap<usize, Vec<&'a ForeignKey>>>;

/// The order of the manifest's tables. Where tables refer to each other in a circle, one that can
/// be without its references for a while goes first, and they come late.
pub(super) fn of(manifest: &Manifest) -> Order {
    let by_name: HashMap<&Name, usize> =
        manifest.tables.iter().enumerate().map(|(number, table)| (&table.name, number)).collect();
    let mut partitions: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (number, table) in manifest.tables.iter().enumerate() {
        if let Some(parent) = table.partition_of.as_ref().and_then(|name| by_name.get(name)) {
            partitions.entry(*parent).or_default().push(number);
        }
    }
    // A partitioned table stands for itself and all its partitions.
    let family = |name: &Name| -> BTreeSet<usize> {
        let mut all = BTreeSet::new();
        let mut next: Vec<usize> = by_name.get(name).copied().into_iter().collect();
        while let Some(number) = next.pop() {
            if all.insert(number) {
                next.extend(partitions.get(&number).into_iter().flatten());
            }
        }
        all
    };
    let mut late: HashMap<Name, Vec<String>> = HashMap::new();
    let mut wait = |number: usize, key: &ForeignKey| {
        if let Some(table) = manifest.tables.get(number) {
            let columns = late.entry(table.name.clone()).or_default();
            for column in &key.columns {
                if !columns.contains(column) {
                    columns.push(column.clone());
                }
            }
        }
    };
    let mut needs: Needs<'_> = vec![BTreeMap::new(); manifest.tables.len()];
    for key in &manifest.foreign_keys {
        let referenced = family(&key.references);
        for number in family(&key.table) {
            if referenced.contains(&number) {
                wait(number, key);
            }
            if let Some(needs) = needs.get_mut(number) {
                for other in referenced.iter().filter(|other| **other != number) {
                    needs.entry(*other).or_default().push(key);
                }
            }
        }
    }
    let mut left: BTreeSet<usize> = (0..manifest.tables.len()).collect();
    let mut tables = Vec::with_capacity(left.len());
    while let Some(first) = left.first().copied() {
        let open = |number: &usize| {
            needs.get(*number).is_none_or(|needs| needs.keys().all(|other| !left.contains(other)))
        };
        let next = left.iter().copied().find(|number| open(number)).unwrap_or_else(|| {
            let number = breaks(manifest, &circle(first, &needs, &left), &needs, &left);
            for (_, key) in into(number, &needs, &left) {
                wait(number, key);
            }
            number
        });
        left.remove(&next);
        tables.push(next);
    }
    Order { tables, late }
}

/// What a table refers to among those that are left.
fn into<'a>(
    number: usize,
    needs: &'a Needs<'a>,
    left: &'a BTreeSet<usize>,
) -> impl Iterator<Item = (usize, &'a ForeignKey)> {
    let needs = needs.get(number).into_iter().flatten();
    let needs = needs.filter(|(other, _)| left.contains(other));
    needs.flat_map(|(other, keys)| keys.iter().map(|key| (*other, *key)))
}

/// Tables that refer to each other in a circle. Each table that is left refers to another that is:
/// so whoever goes on from `first` comes to a table for the second time.
fn circle(first: usize, needs: &Needs<'_>, left: &BTreeSet<usize>) -> Vec<usize> {
    let mut path = vec![first];
    let mut at = first;
    while let Some((next, _)) = into(at, needs, left).next() {
        if let Some(start) = path.iter().position(|seen| *seen == next) {
            return path.split_off(start);
        }
        path.push(next);
        at = next;
    }
    path
}

/// The table of a circle that goes first: one whose references may be NULL for a while, if any.
fn breaks(
    manifest: &Manifest,
    circle: &[usize],
    needs: &Needs<'_>,
    left: &BTreeSet<usize>,
) -> usize {
    let loose = |number: &usize| {
        let table = manifest.tables.get(*number);
        let null = |column: &String| {
            let columns = table.iter().flat_map(|table| &table.columns);
            columns.into_iter().any(|own| own.name == *column && !own.not_null)
        };
        into(*number, needs, left).all(|(_, key)| key.columns.iter().any(null))
    };
    let chosen = circle.iter().copied().filter(|number| loose(number)).min();
    chosen.or_else(|| circle.first().copied()).unwrap_or_default()
}
