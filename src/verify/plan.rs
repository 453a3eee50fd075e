//! What the manifest declares about keys and references, as work: each row gives records of fixed
//! size, each of a group (the columns of one table that are compared), a canonical value, and
//! where it is from.

use std::collections::{BTreeSet, HashMap};

use super::Context;
use super::codes::Code;
use super::equality::Equality;
use super::findings::Finding;
use super::stretch::Stretch;
use crate::format::digest::Digest;
use crate::format::manifest::{ForeignKey, Key, Manifest, Match, Name, Table};
use crate::format::rules::Rules;

/// Length of a record.
pub(super) const RECORD: usize = 36;
/// A value: itself where it is short, a digest where it is not.
pub(super) type Value = [u8; 16];

/// What a NULL in the columns does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Nulls {
    /// The row has no key.
    Skip,
    /// NULL is a value like others.
    Value,
    /// No reference if all are NULL, a violation if some are.
    Full,
}

/// One record that each row of a table gives.
#[derive(Clone, Debug)]
pub(super) struct Emit {
    group: u32,
    /// 0 for a holder, the number of the foreign key and one more for a reference.
    tag: u32,
    /// The field of each column, and how its values compare.
    columns: Vec<(usize, Equality)>,
    nulls: Nulls,
    /// An empty value is none, as NULL is.
    empty_is_none: bool,
}

/// A set of columns of one table whose values are compared.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) table: Name,
    pub(super) columns: Vec<String>,
    nulls_not_distinct: bool,
    pub(super) unique: Option<(String, Code)>,
    /// The tables that hold the rows, as numbers of stretches.
    pub(super) holders: Vec<usize>,
}

/// All that is checked about keys, made from the manifest.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) groups: Vec<Group>,
    /// For each stretch of rows.
    pub(super) emits: Vec<Vec<Emit>>,
    /// For each stretch: the field, and the sequence that feeds it.
    pub(super) fed: Vec<Vec<(usize, usize)>>,
    /// The references that rules declare; their tags follow those of the foreign keys.
    pub(super) soft: Vec<Soft>,
}

/// A reference that a rule declares.
#[derive(Debug)]
pub(super) struct Soft {
    /// The same as a foreign key.
    pub(super) foreign: ForeignKey,
    /// The rule in words.
    pub(super) words: String,
}

impl Plan {
    /// Works out what can be checked; what cannot is told.
    pub(super) fn new(
        context: &Context<'_>,
        manifest: &Manifest,
        rules: &Rules,
        rows: &[Stretch<'_>],
    ) -> Self {
        let empty = || vec![Vec::new(); rows.len()];
        let mut plan = Self {
            groups: Vec::new(),
            emits: empty(),
            fed: vec![Vec::new(); rows.len()],
            soft: Vec::new(),
        };
        let tree = Tree::new(manifest, rows);
        for table in &manifest.tables {
            let keys = table.primary_key.iter().map(|key| (key, Code::DuplicatePrimaryKey));
            for (key, code) in
                keys.chain(table.unique.iter().map(|key| (key, Code::DuplicateUnique)))
            {
                if !tree.implied(table, key)
                    && let Err(why) = plan.unique(&tree, rows, table, key, code)
                {
                    context.findings.add(undecided(table, &key.name, &why));
                }
            }
        }
        let large = rows.iter().enumerate().find(|(_, stretch)| stretch.large_objects);
        if let Some((number, stretch)) = large
            && let Some(key) = &stretch.table.primary_key
        {
            // Cannot fail: an oid is always comparable.
            let _ =
                plan.unique_over(&[number], rows, &stretch.table, key, Code::DuplicatePrimaryKey);
        }
        for (number, foreign) in manifest.foreign_keys.iter().enumerate() {
            let Some(table) = tree.table(&foreign.table) else { continue };
            if let Err(why) = plan.foreign(context, &tree, rows, number, foreign, false) {
                context.findings.add(undecided(table, &foreign.name, &why));
            }
        }
        for rule in &rules.references {
            let foreign = ForeignKey {
                name: String::new(),
                table: rule.table.clone(),
                columns: rule.columns.clone(),
                references: rule.references.clone(),
                referenced_columns: rule.referenced_columns.clone(),
                match_type: Match::Simple,
                validated: true,
                enforced: true,
            };
            let number = manifest.foreign_keys.len() + plan.soft.len();
            if let Err(why) =
                plan.foreign(context, &tree, rows, number, &foreign, rule.empty_is_none)
            {
                let finding = Finding::new(Code::Undecided, why).table(&rule.table);
                context.findings.add(finding.rule(rule.words()));
            }
            plan.soft.push(Soft { foreign, words: rule.words() });
        }
        for (number, sequence) in manifest.sequences.iter().enumerate() {
            let Some(owned) = &sequence.owned_by else { continue };
            for leaf in tree.leaves(&owned.table) {
                let field = rows.get(leaf).and_then(|stretch| stretch.field(&owned.column));
                if let (Some(field), Some(fed)) = (field, plan.fed.get_mut(leaf)) {
                    fed.push((field, number));
                }
            }
        }
        plan
    }

    fn group(
        &mut self,
        table: &Name,
        columns: &[String],
        nulls: Option<bool>,
        holders: Vec<usize>,
    ) -> usize {
        let found = self.groups.iter().position(|group| {
            group.table == *table
                && group.columns == columns
                && nulls.is_none_or(|nulls| nulls == group.nulls_not_distinct)
        });
        found.unwrap_or_else(|| {
            self.groups.push(Group {
                table: table.clone(),
                columns: columns.to_vec(),
                nulls_not_distinct: nulls.unwrap_or(false),
                unique: None,
                holders,
            });
            self.groups.len() - 1
        })
    }

    fn unique(
        &mut self,
        tree: &Tree<'_>,
        rows: &[Stretch<'_>],
        table: &Table,
        key: &Key,
        code: Code,
    ) -> Result<(), String> {
        self.unique_over(&tree.leaves(&table.name), rows, table, key, code)
    }

    fn unique_over(
        &mut self,
        leaves: &[usize],
        rows: &[Stretch<'_>],
        table: &Table,
        key: &Key,
        code: Code,
    ) -> Result<(), String> {
        let mut columns = key.columns.clone();
        columns.sort_unstable();
        let compared = comparisons(leaves, rows, &columns)?;
        let before = self.groups.len();
        let group =
            self.group(&table.name, &columns, Some(key.nulls_not_distinct), leaves.to_vec());
        if let Some(known) = self.groups.get_mut(group) {
            known.unique.get_or_insert((key.name.clone(), code));
        }
        if group == before {
            let nulls = if key.nulls_not_distinct { Nulls::Value } else { Nulls::Skip };
            self.emit(leaves, compared, group, 0, nulls, false);
        }
        Ok(())
    }

    fn emit(
        &mut self,
        leaves: &[usize],
        compared: Vec<Vec<(usize, Equality)>>,
        group: usize,
        tag: u32,
        nulls: Nulls,
        empty_is_none: bool,
    ) {
        let group = u32::try_from(group).unwrap_or(u32::MAX);
        for (leaf, columns) in leaves.iter().zip(compared) {
            if let Some(emits) = self.emits.get_mut(*leaf) {
                emits.push(Emit { group, tag, columns, nulls, empty_is_none });
            }
        }
    }

    fn foreign(
        &mut self,
        context: &Context<'_>,
        tree: &Tree<'_>,
        rows: &[Stretch<'_>],
        number: usize,
        foreign: &ForeignKey,
        empty_is_none: bool,
    ) -> Result<(), String> {
        let Some(referenced) = tree.table(&foreign.references) else {
            return Err(format!("the archive does not hold {}", foreign.references));
        };
        let mut pairs: Vec<_> = foreign.referenced_columns.iter().zip(&foreign.columns).collect();
        pairs.sort_unstable();
        let theirs: Vec<_> = pairs.iter().map(|(theirs, _)| (*theirs).clone()).collect();
        let ours: Vec<_> = pairs.iter().map(|(_, ours)| (*ours).clone()).collect();
        let (holders, leaves) = (tree.leaves(&referenced.name), tree.leaves(&foreign.table));
        for holder in holders.iter().filter_map(|holder| rows.get(*holder)) {
            if holder.table.condition.is_some() {
                return Err(format!("only some rows of {} belong to the archive", holder.shown));
            }
            if holder.table.unlogged && context.standby {
                return Err(format!("{} could not be read on a standby", holder.shown));
            }
        }
        let their_columns = comparisons(&holders, rows, &theirs)?;
        let our_columns = comparisons(&leaves, rows, &ours)?;
        if let Some(wanted) = their_columns.first() {
            let agrees = |other: &Vec<(usize, Equality)>| {
                other.iter().zip(wanted).all(|((_, a), (_, b))| a.agrees(b))
            };
            if !their_columns.iter().chain(&our_columns).all(agrees) {
                return Err("its two sides have types that only the server can compare".into());
            }
        }
        let before = self.groups.len();
        let group = self.group(&referenced.name, &theirs, None, holders.clone());
        if group == before {
            self.emit(&holders, their_columns, group, 0, Nulls::Skip, false);
        }
        let nulls = if foreign.match_type == Match::Full { Nulls::Full } else { Nulls::Skip };
        let tag = u32::try_from(number).unwrap_or(u32::MAX - 1).saturating_add(1);
        self.emit(&leaves, our_columns, group, tag, nulls, empty_is_none);
        Ok(())
    }
}

fn undecided(table: &Table, constraint: &str, why: &str) -> Finding {
    Finding::new(Code::Undecided, why).table(&table.name).constraint(constraint)
}

/// For each stretch, the fields of the columns and how they compare.
fn comparisons(
    leaves: &[usize],
    rows: &[Stretch<'_>],
    columns: &[String],
) -> Result<Vec<Vec<(usize, Equality)>>, String> {
    let mut out = Vec::with_capacity(leaves.len());
    for stretch in leaves.iter().filter_map(|leaf| rows.get(*leaf)) {
        let mut compared = Vec::with_capacity(columns.len());
        for name in columns {
            let column = stretch.table.columns.iter().find(|column| column.name == *name);
            let column = column.ok_or_else(|| format!("{} has no column {name}", stretch.shown))?;
            let field = stretch
                .field(name)
                .ok_or_else(|| format!("column {name} is generated and not stored"))?;
            let equality = Equality::of(column).ok_or_else(|| {
                format!(
                    "only the server knows when values of column {name} ({}) are equal",
                    column.sql_type
                )
            })?;
            compared.push((field, equality));
        }
        out.push(compared);
    }
    Ok(out)
}

/// Which stretches of rows make up a table: its own, or those of its partitions.
pub(super) struct Tree<'a> {
    tables: HashMap<&'a Name, &'a Table>,
    children: HashMap<&'a Name, Vec<&'a Name>>,
    stretches: HashMap<&'a Name, usize>,
}

impl<'a> Tree<'a> {
    pub(super) fn new(manifest: &'a Manifest, rows: &'a [Stretch<'_>]) -> Self {
        let mut children: HashMap<&Name, Vec<&Name>> = HashMap::new();
        for table in &manifest.tables {
            if let Some(parent) = &table.partition_of {
                children.entry(parent).or_default().push(&table.name);
            }
        }
        let stored = rows.iter().enumerate().filter(|(_, stretch)| !stretch.large_objects);
        Self {
            tables: manifest.tables.iter().map(|table| (&table.name, table)).collect(),
            children,
            stretches: stored.map(|(number, stretch)| (&stretch.table.name, number)).collect(),
        }
    }

    fn table(&self, name: &Name) -> Option<&'a Table> {
        self.tables.get(name).copied()
    }

    pub(super) fn leaves(&self, name: &Name) -> Vec<usize> {
        let (mut out, mut seen, mut open) = (Vec::new(), BTreeSet::new(), vec![name]);
        while let Some(name) = open.pop() {
            // A manifest may claim that a table is its own grandchild.
            if seen.insert(name) {
                out.extend(self.stretches.get(name));
                open.extend(self.children.get(name).into_iter().flatten());
            }
        }
        out.sort_unstable();
        out
    }

    /// Whether a partition's key is part of one that its parent has, and is checked there.
    fn implied(&self, table: &Table, key: &Key) -> bool {
        let mut seen = BTreeSet::new();
        let mut parent = table.partition_of.as_ref();
        let sorted = |columns: &[String]| columns.iter().cloned().collect::<BTreeSet<_>>();
        let wanted = sorted(&key.columns);
        while let Some(above) =
            parent.filter(|above| seen.insert(*above)).and_then(|above| self.table(above))
        {
            let mut keys = above.primary_key.iter().chain(&above.unique);
            if keys.any(|other| {
                sorted(&other.columns) == wanted
                    && other.nulls_not_distinct == key.nulls_not_distinct
            }) {
                return true;
            }
            parent = above.partition_of.as_ref();
        }
        false
    }
}

/// What a row gives for one [`Emit`].
pub(super) enum Given {
    /// A record.
    Record([u8; RECORD]),
    /// Nothing: it has no key, or refers to nothing.
    Nothing,
    /// A violation of MATCH FULL, of the foreign key of this number.
    Partial(usize),
}

impl Emit {
    /// The record of a row whose unescaped values are given.
    pub(super) fn record(
        &self,
        row: &Values<'_>,
        stretch: usize,
        number: u64,
        scratch: &mut Vec<u8>,
    ) -> Given {
        scratch.clear();
        let mut nulls = 0;
        for (field, equality) in &self.columns {
            let start = scratch.len();
            scratch.extend_from_slice(&[0; 4]);
            let length = match row.get(*field) {
                None => {
                    nulls += 1;
                    u32::MAX
                }
                Some(Cell::Value(value)) if self.empty_is_none && value.is_empty() => {
                    nulls += 1;
                    u32::MAX
                }
                Some(Cell::Blob(digest)) => {
                    scratch.extend_from_slice(&digest.0);
                    32
                }
                Some(Cell::Value(value)) => {
                    equality.write(value, scratch);
                    u32::try_from(scratch.len() - start - 4).unwrap_or(u32::MAX - 1)
                }
            };
            if let Some(place) = scratch.get_mut(start..start + 4) {
                place.copy_from_slice(&length.to_be_bytes());
            }
        }
        match self.nulls {
            Nulls::Skip if nulls > 0 => return Given::Nothing,
            Nulls::Full if nulls == self.columns.len() => return Given::Nothing,
            Nulls::Full if nulls > 0 => {
                return Given::Partial(
                    usize::try_from(self.tag.saturating_sub(1)).unwrap_or(usize::MAX),
                );
            }
            _ => {}
        }
        let mut out = Vec::with_capacity(RECORD);
        out.extend_from_slice(&self.group.to_be_bytes());
        out.extend_from_slice(&value(scratch));
        out.extend_from_slice(&self.tag.to_be_bytes());
        out.extend_from_slice(&u32::try_from(stretch).unwrap_or(u32::MAX).to_be_bytes());
        out.extend_from_slice(&number.to_be_bytes());
        <[u8; RECORD]>::try_from(out).map_or(Given::Nothing, Given::Record)
    }
}

/// One field's value, for comparing.
#[derive(Clone, Debug)]
pub(super) enum Cell<'a> {
    /// Unescaped text; of a `bytea` that is in the row, its bytes.
    Value(std::borrow::Cow<'a, [u8]>),
    /// A blob, by its digest.
    Blob(Digest),
}

/// A row's values; none for NULL.
#[derive(Debug, Default)]
pub(super) struct Values<'a>(pub(super) Vec<Option<Cell<'a>>>);

impl Values<'_> {
    pub(super) fn get(&self, field: usize) -> Option<&Cell<'_>> {
        self.0.get(field).and_then(Option::as_ref)
    }
}

/// Short values as they are, with their length; long ones by 120 bits of their SHA-256.
pub(super) fn value(bytes: &[u8]) -> Value {
    let mut out = [0; 16];
    let (head, rest) = out.split_at_mut(1);
    let digest = Digest::of(bytes).0;
    let (length, from) = match u8::try_from(bytes.len()) {
        Ok(length @ ..16) => (length, bytes),
        _ => (u8::MAX, digest.get(..15).unwrap_or(&digest)),
    };
    head.fill(length);
    for (to, from) in rest.iter_mut().zip(from) {
        *to = *from;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_told_apart() {
        let all =
            [&b""[..], b"\0", b"\0\0", b"a", &[b'a'; 15], &[b'a'; 16], &[b'a'; 17], &[255; 15]];
        let values: BTreeSet<Value> = all.iter().map(|bytes| value(bytes)).collect();
        assert_eq!(values.len(), all.len());
    }
}
