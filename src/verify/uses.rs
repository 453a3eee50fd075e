//! Who refers to rows that have lost a blob, or whose image is damaged: that a picture is gone
//! matters where it is shown.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::{Mutex, PoisonError};

use serde::Serialize;

use super::Context;
use super::findings::EXAMPLES;
use super::stretch::{Rows, describe};
use crate::format::manifest::ForeignKey;

/// Most rows whose references are looked for; of more it is said that there are at least so many.
const MOST: usize = 1 << 17;

/// The number of a stretch, and of a row in it.
pub(super) type Place = (u32, u64);

/// References to rows of which a blob is lost or an image is damaged.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Use {
    /// The table whose rows are referred to, as `schema.name`.
    pub table: String,
    /// The table whose rows refer to them.
    pub by: String,
    /// The columns by which they do.
    pub columns: Vec<String>,
    /// The foreign key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub constraint: Option<String>,
    /// The rule that declares the reference, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// How many rows refer to them.
    pub rows: u64,
    /// Whether there may be more: not every damaged row was looked for.
    pub at_least: bool,
    /// The first of the rows that refer, each by its primary key.
    pub examples: Vec<String>,
}

/// The rows that are damaged.
#[derive(Debug, Default)]
pub(super) struct Hurt {
    rows: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    places: HashSet<Place>,
    more: bool,
}

impl Hurt {
    /// A value of this row is lost or damaged.
    pub(super) fn add(&self, stretch: usize, row: u64) {
        let mut known = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        if known.places.len() < MOST {
            known.places.insert((u32::try_from(stretch).unwrap_or(u32::MAX), row));
        } else {
            known.more = true;
        }
    }

    /// All of them; nothing is added any more.
    pub(super) fn finish(&self) -> Users {
        let mut known = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
        let Known { places, more } = std::mem::take(&mut *known);
        Users { hurt: places, more, by: BTreeMap::new() }
    }
}

/// Who refers to them.
#[derive(Debug)]
pub(super) struct Users {
    hurt: HashSet<Place>,
    more: bool,
    /// By the tag of the reference.
    by: BTreeMap<u32, (u64, BTreeSet<Place>)>,
}

impl Users {
    /// Takes one reference from a row to the row that holds what it refers to.
    pub(super) fn reference(&mut self, tag: u32, from: Place, to: Place) {
        if self.hurt.contains(&to) {
            let (count, first) = self.by.entry(tag).or_default();
            *count += 1;
            first.insert(from);
            if first.len() > EXAMPLES {
                first.pop_last();
            }
        }
    }

    /// In words; `named` gives the foreign key of a tag, and the rule if one declares it.
    pub(super) fn finish<'a>(
        self,
        context: &Context<'_>,
        rows: &Rows<'_>,
        named: impl Fn(u32) -> Option<(&'a ForeignKey, Option<&'a str>)>,
    ) -> Vec<Use> {
        let example = |place: &Place| {
            let stretch = rows.stretch(place.0)?;
            let key = describe(context, stretch, place.1, stretch.key());
            Some(key.filter(|key| !key.is_empty()).unwrap_or_else(|| format!("row {}", place.1)))
        };
        let one = |(tag, (count, first)): (u32, (u64, BTreeSet<Place>))| {
            let (foreign, rule) = named(tag)?;
            Some(Use {
                table: foreign.references.to_string(),
                by: foreign.table.to_string(),
                columns: foreign.columns.clone(),
                constraint: rule.is_none().then(|| foreign.name.clone()),
                rule: rule.map(str::to_owned),
                rows: count,
                at_least: self.more,
                examples: first.iter().filter_map(example).collect(),
            })
        };
        self.by.into_iter().filter_map(one).collect()
    }
}
