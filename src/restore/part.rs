//! A part of an archive: some tables or schemas, and what these need to be there.
//!
//! What a table needs (types, sequences, functions, extensions, schemas, the parents of a
//! partition) comes along. What needs something that was not chosen (a foreign key to another
//! table, a view over it) is left out, and said.

use std::collections::{BTreeMap, BTreeSet};

use super::names::{Mention, distinct, mentions};
use super::schema::slice;
use super::{Choices, RestoreError};
use crate::format::manifest::{Manifest, Name, SchemaObject, TableKind};
use crate::format::reader::{Archive, Section};
use crate::pg::dump::SETTINGS;

const LARGE: &str = "large objects, which belong to no table";

/// What of an archive is restored.
pub(super) struct Part {
    /// The manifest, with these objects, tables and sequences alone.
    pub(super) manifest: Manifest,
    /// What is in it though it was not named, and what is not because it needs something else.
    pub(super) notes: Vec<String>,
}

impl Part {
    /// The whole archive, or what the choices name of it.
    pub(super) fn of(archive: &Archive, choices: &Choices) -> Result<Self, RestoreError> {
        let manifest = archive.manifest().clone();
        if !choices.is_part() {
            return Ok(Self { manifest, notes: Vec::new() });
        }
        let pre = archive.schema_sql(Section::PreData)?;
        let post = archive.schema_sql(Section::PostData)?;
        let mut part = Selection::new(&manifest, &pre, &post).part(choices);
        if choices.data_only {
            // No object of the schema is made, so none is missing.
            part.notes.retain(|note| !note.starts_with("left out: ") || note.contains(LARGE));
        }
        Ok(part)
    }
}

struct Item<'a> {
    object: &'a SchemaObject,
    /// Its SQL; nothing if that lies outside its file, which running the object would say.
    sql: &'a str,
    in_order: Vec<Mention>,
    mentions: BTreeSet<Mention>,
}

/// What is known of each object, and which are in.
struct Selection<'a> {
    manifest: &'a Manifest,
    objects: Vec<Item<'a>>,
    /// What is defined under a name.
    defined: BTreeMap<(&'a str, String), Vec<usize>>,
    /// What belongs to a relation or domain: without it, it has no sense.
    attached: BTreeMap<usize, Vec<usize>>,
    /// The table of an index.
    indexes: BTreeMap<(&'a str, &'a str), usize>,
    chosen: BTreeSet<usize>,
}

fn is_relation(kind: &str) -> bool {
    is_table(kind) || matches!(kind, "VIEW" | "MATERIALIZED VIEW")
}

fn is_table(kind: &str) -> bool {
    matches!(kind, "TABLE" | "FOREIGN TABLE")
}

fn is_function(kind: &str) -> bool {
    matches!(kind, "FUNCTION" | "PROCEDURE" | "AGGREGATE")
}

fn is_type(kind: &str) -> bool {
    matches!(kind, "TYPE" | "SHELL TYPE" | "DOMAIN")
}

fn is_defined(kind: &str) -> bool {
    is_relation(kind)
        || is_function(kind)
        || is_type(kind)
        || matches!(
            kind,
            "SEQUENCE" | "COLLATION" | "OPERATOR" | "OPERATOR CLASS" | "OPERATOR FAMILY"
        )
        || matches!(kind, "CONVERSION" | "TEXT SEARCH CONFIGURATION" | "TEXT SEARCH DICTIONARY")
        || matches!(kind, "TEXT SEARCH PARSER" | "TEXT SEARCH TEMPLATE")
}

/// Parts of a table that are always there with it. Others are only if all they need is.
fn is_inseparable(kind: &str) -> bool {
    matches!(
        kind,
        "DEFAULT" | "CONSTRAINT" | "CHECK CONSTRAINT" | "INDEX" | "SEQUENCE" | "SEQUENCE OWNED BY"
    ) || matches!(kind, "TABLE ATTACH" | "ROW SECURITY")
}

impl<'a> Selection<'a> {
    fn new(manifest: &'a Manifest, pre: &'a [u8], post: &'a [u8]) -> Self {
        let schema = &manifest.schema;
        let all = schema.pre_data.iter().map(|object| (object, pre));
        let all = all.chain(schema.post_data.iter().map(|object| (object, post)));
        let objects: Vec<Item<'a>> = all
            .map(|(object, sql)| {
                let sql = slice(object, sql).and_then(|sql| std::str::from_utf8(sql).ok());
                let sql = sql.unwrap_or_default();
                let in_order = mentions(sql);
                Item { object, sql, mentions: distinct(&in_order), in_order }
            })
            .collect();
        let mut defined: BTreeMap<_, Vec<usize>> = BTreeMap::new();
        for (at, object) in objects.iter().enumerate() {
            let SchemaObject { kind, schema, name, .. } = object.object;
            if let Some(schema) = schema.as_deref().filter(|_| is_defined(kind)) {
                // `f(integer)`: any function of the name will be.
                let name = match name.split_once('(') {
                    Some((name, _)) if is_function(kind) => name,
                    _ => name,
                };
                defined.entry((schema, name.to_owned())).or_default().push(at);
            }
        }
        let mut out = Self {
            manifest,
            objects,
            defined,
            attached: BTreeMap::new(),
            indexes: BTreeMap::new(),
            chosen: BTreeSet::new(),
        };
        for at in 0..out.objects.len() {
            if let Some(to) = out.belongs_to(at) {
                out.attached.entry(to).or_default().push(at);
                let Some(Item { object, .. }) = out.objects.get(at) else { continue };
                let schema = object.schema.as_deref().unwrap_or_default();
                let table = out.objects.get(to).map_or("", |table| &table.object.name);
                let index = match object.kind.as_str() {
                    "INDEX" => Some(object.name.as_str()),
                    "CONSTRAINT" => {
                        object.name.strip_prefix(table).and_then(|n| n.strip_prefix(' '))
                    }
                    _ => None,
                };
                out.indexes.extend(index.map(|index| ((schema, index), to)));
            }
        }
        out
    }

    fn find(&self, schema: &str, name: &str, wanted: fn(&str) -> bool) -> Option<usize> {
        let all = self.defined.get(&(schema, name.to_owned()))?;
        all.iter().copied().find(|at| wanted(self.kind(*at)))
    }

    fn kind(&self, at: usize) -> &'a str {
        self.objects.get(at).map_or("", |object| &object.object.kind)
    }

    /// The relation or domain that an object belongs to.
    fn belongs_to(&self, at: usize) -> Option<usize> {
        let Item { object, sql, in_order, mentions } = self.objects.get(at)?;
        let schema = object.schema.as_deref()?;
        let any = |kind: &str| is_relation(kind) || is_type(kind);
        let mut plain = in_order.iter().filter(|mention| !mention.quoted);
        match object.kind.as_str() {
            "DEFAULT" | "CONSTRAINT" | "CHECK CONSTRAINT" | "FK CONSTRAINT" | "TRIGGER"
            | "RULE" | "POLICY" | "ROW SECURITY" => {
                // Its name is the table's and its own: the longest table that its SQL mentions.
                let own = mentions.iter().filter(|m| !m.quoted && m.schema == schema);
                own.filter(|m| {
                    let rest = object.name.strip_prefix(&m.name);
                    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
                })
                .filter_map(|m| Some((m.name.len(), self.find(schema, &m.name, any)?)))
                .max()
                .map(|(_, at)| at)
            }
            "INDEX" | "STATISTICS" => {
                plain.find_map(|m| self.find(&m.schema, &m.name, is_relation))
            }
            "TABLE ATTACH" | "SEQUENCE OWNED BY" => {
                plain.nth(1).and_then(|m| self.find(&m.schema, &m.name, is_relation))
            }
            "SEQUENCE" if sql.contains("ADD GENERATED") && !sql.contains("CREATE SEQUENCE") => {
                plain.find_map(|m| self.find(&m.schema, &m.name, is_table))
            }
            "MATERIALIZED VIEW DATA" => self.find(schema, &object.name, is_relation),
            _ => None,
        }
    }

    /// Everything an object needs, itself among it. `Err` names a table it would need that is
    /// neither chosen nor to come along.
    fn needs(&self, first: usize, tables: bool) -> Result<BTreeSet<usize>, String> {
        let mut found = BTreeSet::new();
        let mut open = vec![first];
        while let Some(at) = open.pop() {
            if self.chosen.contains(&at) || !found.insert(at) {
                continue;
            }
            let Some(object) = self.objects.get(at) else { continue };
            if is_table(self.kind(at)) && !tables {
                return Err(shown(object.object));
            }
            for mention in &object.mentions {
                let key = (mention.schema.as_str(), mention.name.clone());
                // What a string names may be a sequence or a function; a table's name there may
                // be any text.
                let targets = self.defined.get(&key).into_iter().flatten();
                open.extend(targets.filter(|to| !mention.quoted || !is_relation(self.kind(**to))));
            }
            // A domain's or table's own parts.
            let own = self.attached.get(&at).into_iter().flatten();
            open.extend(own.filter(|own| is_inseparable(self.kind(**own))));
        }
        Ok(found)
    }

    fn part(mut self, choices: &Choices) -> Part {
        let mut wanted: BTreeSet<Name> = choices.tables.iter().cloned().collect();
        let in_schema = |schema: &str| choices.schemas.iter().any(|chosen| chosen == schema);
        let tables = &self.manifest.tables;
        wanted.extend(tables.iter().map(|t| &t.name).filter(|n| in_schema(&n.schema)).cloned());
        // A partitioned table is its partitions.
        loop {
            let before = wanted.len();
            let parts = tables.iter().filter(|table| {
                table.partition_of.as_ref().is_some_and(|parent| wanted.contains(parent))
            });
            let parts: Vec<Name> = parts.map(|table| table.name.clone()).collect();
            wanted.extend(parts);
            if wanted.len() == before {
                break;
            }
        }
        let mut extension_tables = false;
        for name in &wanted {
            match self.find(&name.schema, &name.name, is_table) {
                Some(at) => {
                    let needed = self.needs(at, true).unwrap_or_default();
                    self.chosen.extend(needed);
                }
                None => extension_tables = true,
            }
        }
        let mut left_out = BTreeMap::new();
        loop {
            let before = self.chosen.len();
            for at in 0..self.objects.len() {
                if !self.chosen.contains(&at) && self.is_considered(at, &in_schema) {
                    match self.needs(at, false) {
                        Ok(needed) => self.chosen.extend(needed),
                        Err(table) => _ = left_out.insert(at, table),
                    }
                }
            }
            if self.chosen.len() == before {
                break;
            }
        }
        let extensions = self.extensions(extension_tables);
        self.chosen.extend(extensions.iter().copied());
        self.around();
        self.finish(&wanted, &left_out, &extensions)
    }

    /// Whether an object would be in if all it needs is: it is in a chosen schema, or belongs to
    /// what is in.
    fn is_considered(&self, at: usize, in_schema: &dyn Fn(&str) -> bool) -> bool {
        let Some(Item { object, mentions, .. }) = self.objects.get(at) else { return false };
        let kind = object.kind.as_str();
        let belongs = self
            .attached
            .iter()
            .any(|(to, own)| self.chosen.contains(to) && own.binary_search(&at).is_ok());
        let schema = object.schema.as_deref();
        let own = !is_table(kind) && is_defined(kind) && schema.is_some_and(in_schema);
        // These are not named where they are used.
        let of_type = matches!(
            kind,
            "CAST" | "OPERATOR" | "OPERATOR CLASS" | "OPERATOR FAMILY" | "TRANSFORM"
        ) && mentions.iter().any(|m| {
            self.find(&m.schema, &m.name, is_type).is_some_and(|at| self.chosen.contains(&at))
        });
        belongs || own || of_type
    }

    /// The extensions that what is in needs: those whose schema it names things of that are no
    /// object of the archive. Where that cannot be seen, all.
    fn extensions(&self, all: bool) -> BTreeSet<usize> {
        let is = |at: &usize| self.kind(*at) == "EXTENSION";
        let every: BTreeSet<usize> = (0..self.objects.len()).filter(is).collect();
        let of = |schema: &str| {
            let of = format!(" WITH SCHEMA {schema};");
            let quoted = format!(" WITH SCHEMA {};", crate::pg::ident(schema));
            let named = |at: &&usize| {
                let sql = self.objects.get(**at).map_or("", |object| object.sql);
                sql.contains(&of) || sql.contains(&quoted)
            };
            every.iter().filter(named).copied().collect::<BTreeSet<usize>>()
        };
        let schemas: BTreeSet<&str> = self
            .manifest
            .schema
            .pre_data
            .iter()
            .filter(|object| object.kind == "SCHEMA")
            .map(|object| object.name.as_str())
            .chain(["public"])
            .collect();
        let mut found = BTreeSet::new();
        let mut unseen = all;
        for object in self.chosen.iter().filter_map(|at| self.objects.get(*at)) {
            let kind = object.object.kind.as_str();
            let (sql, known) = (object.sql, ["sql", "plpgsql", "c", "internal"]);
            unseen |= kind == "FOREIGN TABLE"
                || matches!(kind, "INDEX" | "CONSTRAINT")
                    && (sql.contains(" USING ") || sql.contains("EXCLUDE"))
                    && ![" USING btree ", " USING hash ", " USING brin "]
                        .iter()
                        .any(|method| sql.contains(method))
                || kind == "TABLE" && sql.contains("SET default_table_access_method = ")
                || matches!(kind, "FUNCTION" | "PROCEDURE")
                    && !known.iter().any(|language| {
                        sql.contains(&format!(" LANGUAGE {language}\n"))
                            || sql.contains(&format!(" LANGUAGE {language} "))
                    });
            if kind == "STATISTICS" {
                continue;
            }
            for mention in object.mentions.iter().filter(|mention| !mention.quoted) {
                let key = (mention.schema.as_str(), mention.name.clone());
                let is_index = self
                    .indexes
                    .keys()
                    .any(|(schema, index)| *schema == mention.schema && *index == mention.name);
                if schemas.contains(mention.schema.as_str())
                    && !self.defined.contains_key(&key)
                    && !is_index
                {
                    let these = of(&mention.schema);
                    unseen |= these.is_empty();
                    found.extend(these);
                }
            }
        }
        if unseen { every } else { found }
    }

    /// What is about others: schemas, servers and languages, comments, privileges, attached indexes.
    fn around(&mut self) {
        let foreign = self.chosen.iter().any(|at| self.kind(*at) == "FOREIGN TABLE");
        let chosen = self.chosen.iter().filter_map(|at| self.objects.get(*at));
        let mut schemas: BTreeSet<String> =
            chosen.clone().filter_map(|object| object.object.schema.clone()).collect();
        for object in chosen.filter(|object| object.object.kind == "EXTENSION") {
            let after = object.sql.split_once(" WITH SCHEMA ").map(|(_, after)| after);
            schemas.extend(after.and_then(super::roles::identifier).map(|(name, _)| name));
        }
        let mut more = BTreeSet::new();
        for (at, Item { object, .. }) in self.objects.iter().enumerate() {
            let wanted = match object.kind.as_str() {
                SETTINGS => true,
                "SCHEMA" => schemas.contains(&object.name),
                "SERVER" | "FOREIGN DATA WRAPPER" | "USER MAPPING" => foreign,
                "PROCEDURAL LANGUAGE" => self.chosen.iter().any(|at| is_function(self.kind(*at))),
                _ => false,
            };
            if wanted {
                more.insert(at);
            }
        }
        self.chosen.extend(more);
        let about: Vec<usize> =
            (0..self.objects.len()).filter(|at| self.is_about_chosen(*at)).collect();
        self.chosen.extend(about);
    }

    fn is_about_chosen(&self, at: usize) -> bool {
        let Some(Item { object, in_order, .. }) = self.objects.get(at) else { return false };
        let schema = object.schema.as_deref().unwrap_or_default();
        let is_in = |at: Option<usize>| at.is_some_and(|at| self.chosen.contains(&at));
        match object.kind.as_str() {
            "INDEX ATTACH" => in_order.iter().all(|mention| {
                is_in(self.indexes.get(&(mention.schema.as_str(), mention.name.as_str())).copied())
            }),
            "COMMENT" | "ACL" | "COLUMN ACL" | "SECURITY LABEL" => {
                let (kind, name) = object.name.split_once(' ').unwrap_or_default();
                let relation =
                    || in_order.iter().any(|m| is_in(self.find(&m.schema, &m.name, is_relation)));
                match kind {
                    "COLUMN" => relation(),
                    "CONSTRAINT" | "TRIGGER" | "POLICY" | "RULE" => self.chosen.iter().any(|at| {
                        let of = self.objects.get(*at).map_or("", |object| &object.object.name);
                        name.split_once(" ON ").is_some_and(|(own, table)| {
                            of == format!("{} {}", table.replace('"', ""), own.replace('"', ""))
                        })
                    }),
                    "INDEX" => is_in(self.indexes.get(&(schema, name)).copied()),
                    _ => self.chosen.iter().filter_map(|at| self.objects.get(*at)).any(|other| {
                        // `MATERIALIZED VIEW x`: the kind may be of several words.
                        let other = other.object;
                        let tag = object.name.strip_suffix(&other.name);
                        other.schema.as_deref().unwrap_or_default() == schema
                            && (is_defined(&other.kind) || other.schema.is_none())
                            && tag.is_some_and(|kind| {
                                kind.trim_end() == other.kind
                                    || kind == "TABLE " && is_relation(&other.kind)
                            })
                    }),
                }
            }
            _ => false,
        }
    }

    fn finish(
        self,
        wanted: &BTreeSet<Name>,
        left_out: &BTreeMap<usize, String>,
        extensions: &BTreeSet<usize>,
    ) -> Part {
        let mut manifest = self.manifest.clone();
        let mut at = 0..;
        let mut keep = |_: &SchemaObject| at.next().is_some_and(|at| self.chosen.contains(&at));
        manifest.schema.pre_data.retain(&mut keep);
        manifest.schema.post_data.retain(&mut keep);
        let is_in = |name: &Name, kind: fn(&str) -> bool| {
            self.find(&name.schema, &name.name, kind).map(|at| self.chosen.contains(&at))
        };
        manifest.tables.retain(|table| {
            is_in(&table.name, is_table)
                .unwrap_or(table.kind == TableKind::ExtensionConfig && !extensions.is_empty())
        });
        manifest.sequences.retain(|sequence| {
            is_in(&sequence.name, |kind| kind == "SEQUENCE").unwrap_or(!extensions.is_empty())
        });
        let mut notes = Vec::new();
        let more: Vec<String> = manifest
            .tables
            .iter()
            .filter(|table| !wanted.contains(&table.name))
            .map(|table| table.name.to_string())
            .collect();
        if !more.is_empty() {
            notes.push(format!("needed, so restored as well: {}", more.join(", ")));
        }
        for (at, table) in left_out {
            if let Some(object) = self.objects.get(*at).filter(|_| !self.chosen.contains(at)) {
                notes.push(format!(
                    "left out: {} {}, which needs {table}",
                    object.object.kind,
                    shown(object.object)
                ));
            }
        }
        if manifest.large_objects.take().is_some() {
            notes.push(format!("left out: {LARGE}"));
        }
        Part { manifest, notes }
    }
}

fn shown(object: &SchemaObject) -> String {
    match &object.schema {
        Some(schema) => format!("{schema}.{}", object.name),
        None => object.name.clone(),
    }
}
