//! From the entries of a dump to two SQL texts, as `pg_restore` would print them with
//! `--section=pre-data` and `--section=post-data`, but for settings: every object carries its own,
//! so that it can be run by itself, in any session that began with the [`SETTINGS`] object.

use std::fmt::Write as _;

use libpgdump::{Entry, ObjectType, Section};

use super::DumpError;
use crate::format::manifest::SchemaObject;
use crate::pg::ident::{ident, literal};

/// The kind of the first object of each text: the settings that all others rely on.
pub const SETTINGS: &str = "SETTINGS";

/// The kind of a large object's security label, which comes after the rows, as its object does.
pub const LARGE_OBJECT_LABEL: &str = "LARGE OBJECT LABEL";

/// Not among them: timeouts unknown to older servers, and a search path other than none.
const SESSION: &str = "\
SET statement_timeout = 0;
SET lock_timeout = 0;
SET idle_in_transaction_session_timeout = 0;
";

const SESSION_END: &str = "\
SELECT pg_catalog.set_config('search_path', '', false);
SET check_function_bodies = false;
SET xmloption = content;
SET client_min_messages = warning;
SET row_security = off;
SET default_tablespace = '';
SET default_table_access_method = heap;

";

/// One text and what is in it.
#[derive(Default)]
pub(super) struct Text {
    pub(super) text: Vec<u8>,
    pub(super) objects: Vec<SchemaObject>,
}

/// In what order entries of a section are run: privileges when all objects are there, and what is
/// run with them after that.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Pass {
    Main,
    Acl,
    PostAcl,
}

/// Whether objects of this kind grant or revoke privileges. `pg_restore` runs these after all
/// else, so that an owner who has taken a privilege from itself can still load its rows.
pub fn is_acl(kind: &str) -> bool {
    matches!(kind, "ACL" | "DEFAULT ACL")
}

/// Both texts.
pub(super) fn sections(entries: &[Entry]) -> Result<(Text, Text), DumpError> {
    let (mut pre, mut post) = (Text::new(entries), Text::new(entries));
    let mut sorted: Vec<(Pass, Section, &Entry)> = Vec::with_capacity(entries.len());
    // What is in no section by itself (comments, privileges) is in that of what comes before it.
    let mut section = Section::PreData;
    for entry in entries {
        if entry.section != Section::None {
            section = entry.section;
        }
        if ours(entry) {
            sorted.push((pass(entry), section, entry));
        }
    }
    sorted.sort_by_key(|(pass, _, _)| *pass);
    for (_, section, entry) in sorted {
        match section {
            Section::PostData => post.add(entry)?,
            // Rows were not asked for, so nothing is in the data section but what follows an
            // entry that has been left out.
            Section::PreData | Section::Data | Section::None => pre.add(entry)?,
        }
    }
    Ok((pre, post))
}

/// Whether an entry is a part of the schema: not rows, not large objects (they are stored as
/// rows), not the database itself, and not the settings that the texts begin with anyway.
fn ours(entry: &Entry) -> bool {
    let tag = entry.tag.as_deref().unwrap_or_default();
    match entry.desc.as_str() {
        "ENCODING"
        | "STDSTRINGS"
        | "SEARCHPATH"
        | "DATABASE"
        | "DATABASE PROPERTIES"
        | "TABLE DATA"
        | "SEQUENCE SET"
        | "STATISTICS DATA"
        | "BLOB"
        | "BLOBS"
        | "BLOB METADATA"
        | "BLOB COMMENTS" => false,
        "ACL" | "COMMENT" | "SECURITY LABEL" => {
            !tag.starts_with("LARGE OBJECT ")
                && !tag.starts_with("LARGE OBJECTS ")
                && !tag.starts_with("DATABASE ")
        }
        _ => true,
    }
}

fn pass(entry: &Entry) -> Pass {
    let on_event_trigger =
        || entry.tag.as_deref().is_some_and(|tag| tag.starts_with("EVENT TRIGGER "));
    match entry.desc.as_str() {
        kind if is_acl(kind) => Pass::Acl,
        "EVENT TRIGGER" | "MATERIALIZED VIEW DATA" => Pass::PostAcl,
        "COMMENT" | "SECURITY LABEL" if on_event_trigger() => Pass::PostAcl,
        _ => Pass::Main,
    }
}

impl Text {
    /// A text that begins with the settings of the dump.
    fn new(entries: &[Entry]) -> Self {
        let mut sql = SESSION.to_owned();
        for kind in [ObjectType::Encoding, ObjectType::StdStrings] {
            if let Some(entry) = entries.iter().find(|entry| entry.desc == kind) {
                sql.push_str(entry.defn.as_deref().unwrap_or_default());
            }
        }
        sql.push_str(SESSION_END);
        let settings = SchemaObject {
            kind: SETTINGS.to_owned(),
            schema: None,
            name: "session".to_owned(),
            owner: None,
            offset: 0,
            length: sql.len() as u64,
            drop: None,
        };
        Self { text: sql.into_bytes(), objects: vec![settings] }
    }

    /// A label of a large object.
    pub(super) fn add_label(&mut self, oid: u32, provider: &str, label: &str) {
        let (provider, label) = (ident(provider), literal(label));
        let sql = format!(
            "--\n-- Name: LARGE OBJECT {oid}; Type: SECURITY LABEL; Schema: -; Owner: -\n--\n\n\
             SECURITY LABEL FOR {provider} ON LARGE OBJECT {oid} IS {label};\n\n"
        );
        self.objects.push(SchemaObject {
            kind: LARGE_OBJECT_LABEL.to_owned(),
            schema: None,
            name: format!("LARGE OBJECT {oid}"),
            owner: None,
            offset: self.text.len() as u64,
            length: sql.len() as u64,
            drop: None,
        });
        self.text.extend_from_slice(sql.as_bytes());
    }

    fn add(&mut self, entry: &Entry) -> Result<(), DumpError> {
        let present = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let sql = object_sql(entry)?;
        self.objects.push(SchemaObject {
            kind: entry.desc.as_str().to_owned(),
            schema: present(&entry.namespace),
            name: entry.tag.clone().unwrap_or_default(),
            owner: present(&entry.owner),
            offset: self.text.len() as u64,
            length: sql.len() as u64,
            drop: drop_statement(entry),
        });
        self.text.extend_from_slice(sql.as_bytes());
        Ok(())
    }
}

/// The statement that removes an object; `pg_dump` writes a comment for what it would not remove.
fn drop_statement(entry: &Entry) -> Option<String> {
    let text = entry.drop_stmt.as_deref()?.trim();
    (!text.is_empty() && !text.starts_with("--")).then(|| text.to_owned())
}

fn object_sql(entry: &Entry) -> Result<String, DumpError> {
    let kind = entry.desc.as_str();
    let owner = entry.owner.as_deref().unwrap_or_default();
    let tablespace = entry.tablespace.as_deref().unwrap_or_default();
    let method = entry.tableam.as_deref().filter(|method| !method.is_empty());
    let partitioned = entry.relkind == Some('p');

    let mut sql = format!(
        "--\n-- Name: {}; Type: {kind}; Schema: {}; Owner: {}",
        line(entry.tag.as_deref()),
        line(entry.namespace.as_deref()),
        line(Some(owner)),
    );
    if !tablespace.is_empty() {
        sql.push_str("; Tablespace: ");
        sql.push_str(&line(Some(tablespace)));
    }
    sql.push_str("\n--\n\n");

    let mut after = String::new();
    if !tablespace.is_empty() {
        let _ = write!(sql, "SET default_tablespace = {};\n\n", ident(tablespace));
        after.push_str("SET default_tablespace = '';\n\n");
    }
    match method {
        Some(method) if partitioned => {
            // Its partitions take it from there; it has no storage itself, so that a default
            // access method would not be recorded.
            let name = qualified_tag(entry);
            let _ = write!(after, "ALTER TABLE {name} SET ACCESS METHOD {};\n\n", ident(method));
        }
        Some(method) if method != "heap" => {
            let _ = write!(sql, "SET default_table_access_method = {};\n\n", ident(method));
            after.push_str("SET default_table_access_method = heap;\n\n");
        }
        _ => {}
    }
    if let Some(definition) = entry.defn.as_deref().filter(|text| !text.is_empty()) {
        sql.push_str(definition);
        sql.push_str("\n\n");
    }
    // What has no DROP has no owner of its own.
    let drop = entry.drop_stmt.as_deref().unwrap_or_default();
    if !owner.is_empty()
        && !drop.is_empty()
        && let Some(object) = owned(entry, drop)?
    {
        let _ = write!(sql, "ALTER {object} OWNER TO {};\n\n", ident(owner));
    }
    sql.push_str(&after);
    Ok(sql)
}

/// How ALTER ... OWNER TO names an object; none for what has no owner of its own.
fn owned(entry: &Entry, drop: &str) -> Result<Option<String>, DumpError> {
    let kind = entry.desc.as_str();
    Ok(match kind {
        "COLLATION"
        | "CONVERSION"
        | "DOMAIN"
        | "FOREIGN TABLE"
        | "MATERIALIZED VIEW"
        | "SEQUENCE"
        | "STATISTICS"
        | "TABLE"
        | "TEXT SEARCH DICTIONARY"
        | "TEXT SEARCH CONFIGURATION"
        | "TYPE"
        | "VIEW"
        | "PROCEDURAL LANGUAGE"
        | "SCHEMA"
        | "EVENT TRIGGER"
        | "FOREIGN DATA WRAPPER"
        | "SERVER"
        | "PUBLICATION"
        | "SUBSCRIPTION" => Some(format!("{kind} {}", qualified_tag(entry))),
        // These need more than a name, and DROP has just that.
        "AGGREGATE" | "FUNCTION" | "OPERATOR" | "OPERATOR CLASS" | "OPERATOR FAMILY"
        | "PROCEDURE" => {
            drop.strip_prefix("DROP ").map(|object| object.trim_end_matches([';', '\n']).to_owned())
        }
        "CAST" | "CHECK CONSTRAINT" | "CONSTRAINT" | "DEFAULT" | "FK CONSTRAINT" | "INDEX"
        | "RULE" | "TRIGGER" | "ROW SECURITY" | "POLICY" | "USER MAPPING" => None,
        _ => {
            return Err(DumpError::Kind {
                kind: kind.to_owned(),
                name: entry.tag.clone().unwrap_or_default(),
                owner: entry.owner.clone().unwrap_or_default(),
            });
        }
    })
}

fn qualified_tag(entry: &Entry) -> String {
    let tag = ident(entry.tag.as_deref().unwrap_or_default());
    match entry.namespace.as_deref().filter(|schema| !schema.is_empty()) {
        Some(schema) => format!("{}.{tag}", ident(schema)),
        None => tag,
    }
}

/// A name within a comment: one that holds a line end must not end the comment.
fn line(name: Option<&str>) -> String {
    match name.filter(|name| !name.is_empty()) {
        Some(name) => name.replace(['\n', '\r'], " "),
        None => "-".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use libpgdump::OffsetState;

    fn entry(kind: &str, section: Section, tag: &str) -> Entry {
        Entry {
            dump_id: 1,
            had_dumper: false,
            table_oid: "0".to_owned(),
            oid: "0".to_owned(),
            tag: Some(tag.to_owned()),
            desc: kind.into(),
            section,
            defn: Some(format!("CREATE {kind} {tag};\n")),
            drop_stmt: Some(format!("DROP {kind} {tag};\n")),
            copy_stmt: None,
            namespace: Some("public".to_owned()),
            tablespace: None,
            tableam: None,
            relkind: None,
            owner: Some("me".to_owned()),
            with_oids: false,
            dependencies: Vec::new(),
            data_state: OffsetState::NoData,
            offset: 0,
            filename: None,
        }
    }

    fn kinds(text: &Text) -> Vec<String> {
        let mut end = 0;
        for object in &text.objects {
            assert_eq!(object.offset, end, "a gap before {}", object.name);
            end += object.length;
        }
        assert_eq!(end, text.text.len() as u64);
        text.objects.iter().map(|object| format!("{} {}", object.kind, object.name)).collect()
    }

    /// Guards against privileges or refreshes coming before what they need, and against comments
    /// on indexes landing before the index.
    #[test]
    fn entries_follow_their_section_and_pass() {
        let entries = [
            entry("ACL", Section::None, "SCHEMA public"),
            entry("TABLE", Section::PreData, "t"),
            entry("COMMENT", Section::None, "TABLE t"),
            entry("COMMENT", Section::None, "LARGE OBJECT 12"),
            entry("TABLE DATA", Section::Data, "t"),
            entry("EVENT TRIGGER", Section::PostData, "e"),
            entry("COMMENT", Section::None, "EVENT TRIGGER e"),
            entry("INDEX", Section::PostData, "i"),
            entry("COMMENT", Section::None, "INDEX i"),
        ];
        let mut entries = entries.to_vec();
        for entry in &mut entries {
            if matches!(entry.desc.as_str(), "ACL" | "COMMENT") {
                entry.drop_stmt = None;
            }
        }
        let (pre, post) = sections(&entries).unwrap();
        let expected = ["SETTINGS session", "TABLE t", "COMMENT TABLE t", "ACL SCHEMA public"];
        assert_eq!(kinds(&pre), expected);
        let expected = [
            "SETTINGS session",
            "INDEX i",
            "COMMENT INDEX i",
            "EVENT TRIGGER e",
            "COMMENT EVENT TRIGGER e",
        ];
        assert_eq!(kinds(&post), expected);
    }

    /// Guards against the owner of an overloaded function being set by its name alone, and against
    /// a setting staying on for the next object.
    #[test]
    fn owners_and_settings_belong_to_the_object() {
        let mut function = entry("FUNCTION", Section::PreData, "f(integer)");
        function.drop_stmt = Some("DROP FUNCTION public.f(a integer);\n".to_owned());
        let sql = object_sql(&function).unwrap();
        assert!(sql.contains("ALTER FUNCTION public.f(a integer) OWNER TO \"me\";\n"), "{sql}");

        let mut table = entry("TABLE", Section::PreData, "t\n; DROP");
        table.tablespace = Some("fast".to_owned());
        table.tableam = Some("heap".to_owned());
        let sql = object_sql(&table).unwrap();
        assert!(sql.starts_with("--\n-- Name: t ; DROP; Type: TABLE; Schema: public; Owner: me; Tablespace: fast\n--\n\nSET default_tablespace = \"fast\";\n\nCREATE"), "{sql}");
        assert!(sql.ends_with("SET default_tablespace = '';\n\n"), "{sql}");

        let mut parent = entry("TABLE", Section::PreData, "p");
        (parent.relkind, parent.tableam) = (Some('p'), Some("columnar".to_owned()));
        let sql = object_sql(&parent).unwrap();
        assert!(!sql.contains("default_table_access_method"), "{sql}");
        assert!(sql.contains("ALTER TABLE \"public\".\"p\" SET ACCESS METHOD \"columnar\";"));

        assert!(object_sql(&entry("HOLOGRAM", Section::PreData, "h")).is_err());
    }
}
