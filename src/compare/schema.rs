//! Schemas compared object by object: the slices that `pg_dump` cut.

use std::collections::BTreeMap;

use super::{ObjectDifference, State};
use crate::format::manifest::{Schema, SchemaObject};

/// A schema: its objects and the two texts they are slices of.
#[derive(Clone, Debug)]
pub struct SchemaTexts {
    /// The objects.
    pub schema: Schema,
    /// The text before the rows.
    pub pre: Vec<u8>,
    /// The text after the rows.
    pub post: Vec<u8>,
    /// The first line of `pg_dump --version`: another version may word the same thing otherwise.
    pub pg_dump_version: String,
}

/// Kind, schema and name: `pg_dump` may give two objects the same, so each has a list of texts.
type Key<'a> = (&'a str, Option<&'a str>, &'a str);

impl SchemaTexts {
    fn objects(&self) -> BTreeMap<Key<'_>, Vec<String>> {
        let mut out: BTreeMap<Key<'_>, Vec<String>> = BTreeMap::new();
        let texts = [(&self.schema.pre_data, &self.pre), (&self.schema.post_data, &self.post)];
        for (objects, text) in texts {
            for object in objects.iter().filter(|object| compared(object)) {
                let key = (object.kind.as_str(), object.schema.as_deref(), object.name.as_str());
                out.entry(key).or_default().push(slice(object, text));
            }
        }
        for texts in out.values_mut() {
            texts.sort();
        }
        out
    }
}

/// Session settings depend on the server's version; large objects are compared with the rows.
fn compared(object: &SchemaObject) -> bool {
    let large = object.kind.starts_with("BLOB")
        || matches!(object.kind.as_str(), "ACL" | "COMMENT" | "SECURITY LABEL")
            && object.name.starts_with("LARGE OBJECT");
    object.kind != "SETTINGS" && !large
}

fn slice(object: &SchemaObject, text: &[u8]) -> String {
    let from = usize::try_from(object.offset).unwrap_or(usize::MAX);
    let length = usize::try_from(object.length).unwrap_or(usize::MAX);
    let bytes = text.get(from..from.saturating_add(length)).unwrap_or_default();
    String::from_utf8_lossy(bytes).trim().to_owned()
}

/// What is only in one of them, and what is in both with another text.
pub(super) fn differences(here: &SchemaTexts, there: &SchemaTexts) -> Vec<ObjectDifference> {
    let (ours, mut theirs) = (here.objects(), there.objects());
    let mut out = Vec::new();
    let told = |key: Key<'_>, state, here: Vec<String>, there: Vec<String>| ObjectDifference {
        kind: key.0.to_owned(),
        in_schema: key.1.map(str::to_owned),
        name: key.2.to_owned(),
        state,
        here: (!here.is_empty()).then(|| here.join("\n")),
        there: (!there.is_empty()).then(|| there.join("\n")),
    };
    for (key, texts) in ours {
        match theirs.remove(&key) {
            None => out.push(told(key, State::OnlyHere, texts, Vec::new())),
            Some(other) if other != texts => out.push(told(key, State::Changed, texts, other)),
            Some(_) => {}
        }
    }
    for (key, texts) in theirs {
        out.push(told(key, State::OnlyThere, Vec::new(), texts));
    }
    out.sort_by(|a, b| {
        (a.state, &a.kind, &a.in_schema, &a.name).cmp(&(b.state, &b.kind, &b.in_schema, &b.name))
    });
    out
}
