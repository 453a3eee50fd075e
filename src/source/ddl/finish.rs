//! From declarations to the manifest's types.

use std::collections::{BTreeMap, BTreeSet};

use super::bounds::{bound_in_utc, expression_in_utc};
use super::columns::{Column, NotNull};
use super::declare::Declarations;
use super::keys::Index;
use super::scope::Scope;
use super::tables::{Kind, Relation};
use super::{DdlError, Declared};
use crate::format::manifest::{self, Key, Name, Table, TableKind};

impl Declarations {
    /// The catalog that a server has after these statements. What refers to something that was
    /// never declared is an error that names it.
    pub fn finish(self) -> Result<Declared, DdlError> {
        let Self { scope, mut enums, relations, indexes, foreign_keys, mut notes, .. } = self;
        let mut keys = keys(&relations, &indexes);
        enums.sort_by(|a, b| a.name.cmp(&b.name));
        let mut relations = relations;
        for (partition, bound) in bounds(&scope, &relations) {
            if let Some(relation) = relations.get_mut(&partition) {
                relation.bound = Some(bound);
            }
        }
        let mut tables = Vec::with_capacity(relations.len());
        for (name, relation) in relations {
            match relation.kind {
                Kind::View => {}
                Kind::Foreign => {
                    notes.insert(format!("foreign table {name}: its rows are not in the archive"));
                }
                Kind::Table | Kind::Partitioned => {
                    let (primary_key, unique) = keys.remove(&name).unwrap_or_default();
                    tables.push(table(&scope, name, relation, primary_key, unique)?);
                }
            }
        }
        let names: BTreeSet<&Name> = tables.iter().map(|table| &table.name).collect();
        let mut found = Vec::with_capacity(foreign_keys.len());
        for foreign in foreign_keys {
            let why = if foreign.temporal {
                "it compares periods"
            } else if !names.contains(&foreign.key.references) {
                "the rows it refers to are not in the archive"
            } else {
                found.push(foreign.key);
                continue;
            };
            let manifest::ForeignKey { name, table, .. } = foreign.key;
            notes.insert(format!(
                "foreign key {name} of {table} is not checked in the archive: {why}"
            ));
        }
        found.sort_by(|a, b| (&a.table, &a.name).cmp(&(&b.table, &b.name)));
        for name in &scope.unknown_types {
            notes.insert(format!(
                "type {name} is an extension's, which a dump does not describe: taken for a base \
                 type"
            ));
        }
        Ok(Declared {
            enums,
            tables,
            foreign_keys: found,
            sequences: self.sequences.into_values().collect(),
            database: self.database,
            client_encoding: self.client_encoding,
            notes: notes.into_iter().collect(),
        })
    }
}

/// The bounds of all partitions, times in UTC.
fn bounds(scope: &Scope, relations: &BTreeMap<Name, Relation>) -> Vec<(Name, String)> {
    let bounded = relations.iter().filter_map(|(name, relation)| {
        let parent = relations.get(relation.partition_of.as_ref()?)?;
        Some((name.clone(), bound_in_utc(scope, parent, relation.bound.as_deref()?)))
    });
    bounded.collect()
}

/// Primary key and unique keys of each table, sorted by name.
type Keys = BTreeMap<Name, (Option<Key>, Vec<Key>)>;

/// The keys that hold. The index of a partitioned table holds once every partition has its part.
fn keys(relations: &BTreeMap<Name, Relation>, indexes: &BTreeMap<Name, Index>) -> Keys {
    let mut valid: BTreeSet<&Name> = BTreeSet::new();
    // From the leaves up, a level a round: as many as there are levels.
    loop {
        let before = valid.len();
        for (name, index) in indexes {
            let Some(relation) = relations.get(&index.table) else { continue };
            let of_parts: BTreeSet<&Name> = index
                .parts
                .iter()
                .filter(|part| valid.contains(part))
                .filter_map(|part| indexes.get(part))
                .map(|part| &part.table)
                .collect();
            let partitions = relation.children.iter();
            if relation.kind != Kind::Partitioned
                || partitions.clone().all(|child| of_parts.contains(child))
            {
                valid.insert(name);
            }
        }
        if valid.len() == before {
            break;
        }
    }
    let mut keys = Keys::new();
    for name in valid {
        let Some(index) = indexes.get(name) else { continue };
        let Some(key) = index.key.clone() else { continue };
        let (primary, unique) = keys.entry(index.table.clone()).or_default();
        if index.primary {
            *primary = Some(key);
        } else {
            unique.push(key);
        }
    }
    for (_, unique) in keys.values_mut() {
        unique.sort_by(|a, b| a.name.cmp(&b.name));
    }
    keys
}

fn table(
    scope: &Scope,
    name: Name,
    relation: Relation,
    primary_key: Option<Key>,
    unique: Vec<Key>,
) -> Result<Table, DdlError> {
    let columns = relation.columns.iter().map(|it| column(scope, &name, it));
    let columns = columns.collect::<Result<Vec<_>, _>>()?;
    let mut checks: Vec<_> = relation.checks.into_iter().map(|check| check.check).collect();
    for check in &mut checks {
        check.definition = expression_in_utc(&check.definition);
    }
    checks.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(Table {
        kind: match relation.kind {
            Kind::Partitioned => TableKind::Partitioned,
            _ => TableKind::Plain,
        },
        unlogged: relation.unlogged,
        primary_key,
        unique,
        checks,
        partition_of: relation.partition_of,
        partition_bound: relation.bound,
        partition_key: relation.key,
        inherits: relation.inherits,
        ..Table::new(name, columns)
    })
}

fn column(scope: &Scope, table: &Name, column: &Column) -> Result<manifest::Column, DdlError> {
    let resolved = scope.types.resolve(column.of, column.typmod);
    let resolved = resolved.ok_or_else(|| DdlError::Undeclared {
        object: format!("the type {} of column {} of {table}", column.sql, column.name),
        statement: "the end".into(),
    })?;
    Ok(manifest::Column {
        name: column.name.clone(),
        sql_type: column.sql.clone(),
        base: resolved.base,
        element: resolved.element,
        domain: resolved.domain,
        typmod: u64::try_from(resolved.typmod).ok(),
        not_null: column.not_null != NotNull::No || resolved.not_null,
        generated: column.generated,
        identity: column.identity,
        collation: column.collation.as_ref().map(|name| scope.described(name)),
        default: column.default.as_deref().map(expression_in_utc),
        storage: column.storage.to_owned(),
        compression: column.compression.clone(),
    })
}
