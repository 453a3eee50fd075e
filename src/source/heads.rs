//! The comments that `pg_dump` writes before each object of a plain dump, and what they make of the
//! statements behind them: entries as the other forms have them.

use libpgdump::{Entry, OffsetState, Section};

use super::names::target;

/// Kinds of objects that come after the rows.
pub(super) fn is_post(kind: &str) -> bool {
    matches!(
        kind,
        "INDEX"
            | "INDEX ATTACH"
            | "CONSTRAINT"
            | "CHECK CONSTRAINT"
            | "FK CONSTRAINT"
            | "TRIGGER"
            | "EVENT TRIGGER"
            | "RULE"
            | "POLICY"
            | "ROW SECURITY"
            | "PUBLICATION"
            | "PUBLICATION TABLE"
            | "PUBLICATION TABLES IN SCHEMA"
            | "SUBSCRIPTION"
            | "SUBSCRIPTION TABLE"
            | "MATERIALIZED VIEW DATA"
            | "STATISTICS"
            | "DEFAULT ACL"
    )
}

/// A piece of SQL behind its comments.
pub(super) fn behind_comments(text: &[u8]) -> &[u8] {
    let mut rest = text;
    loop {
        rest = rest.trim_ascii_start();
        if !rest.starts_with(b"--") {
            return rest;
        }
        let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
        rest = rest.get(end..).unwrap_or_default();
    }
}

/// A piece without the comments before it.
pub(super) fn sql(piece: &str) -> &str {
    let length = behind_comments(piece.as_bytes()).len();
    piece.get(piece.len() - length..).unwrap_or(piece)
}

/// The object that is given to its owner by `ALTER ... OWNER TO`, as `DROP` names it.
pub(super) fn owned(entry: &Entry, statement: &str) -> Option<String> {
    let (object, role) = statement.strip_prefix("ALTER ")?.rsplit_once(" OWNER TO ")?;
    let kind = entry.desc.as_str();
    // Versions before 15 say TABLE for whatever is like one.
    let like = matches!(kind, "SEQUENCE" | "VIEW" | "MATERIALIZED VIEW" | "FOREIGN TABLE");
    let name = object.strip_prefix(kind).or_else(|| object.strip_prefix("TABLE").filter(|_| like));
    let name = name?.strip_prefix(' ')?;
    // A comment is one line, and a name may hold several: then the statement stays as it is.
    let (role, _) = target(role.strip_suffix(';')?).ok()?;
    let same = role.schema.is_none() && Some(&role.table) == entry.owner.as_ref();
    let named = match target(name) {
        Ok((target, "")) => Some(&target.table) == entry.tag.as_ref(),
        // Functions have their arguments behind the name, and are not named by the comment.
        _ => true,
    };
    (same && named).then(|| format!("{kind} {name}"))
}

pub(super) fn blank(kind: &str, section: Section) -> Entry {
    Entry {
        dump_id: 0,
        had_dumper: false,
        table_oid: "0".to_owned(),
        oid: "0".to_owned(),
        tag: None,
        desc: kind.into(),
        section,
        defn: None,
        drop_stmt: None,
        copy_stmt: None,
        namespace: None,
        tablespace: None,
        tableam: None,
        relkind: None,
        owner: None,
        with_oids: false,
        dependencies: Vec::new(),
        data_state: OffsetState::NoData,
        offset: 0,
        filename: None,
    }
}

/// What the comment before an object says of it.
pub(super) struct Head<'a> {
    pub(super) name: &'a str,
    pub(super) kind: &'a str,
    pub(super) schema: &'a str,
    pub(super) owner: &'a str,
}

impl<'a> Head<'a> {
    /// The last such comment before a statement: one that has no statement of its own says nothing.
    pub(super) fn of(piece: &'a str) -> Option<Self> {
        let comments = piece.get(..piece.len() - sql(piece).len())?;
        let line = comments.lines().rev().find_map(|line| line.strip_prefix("-- Name: "))?;
        Self::parse(line)
    }

    /// The last comment of an object or of its rows, if there is one.
    pub(super) fn last(piece: &'a str) -> Option<Self> {
        let comments = piece.get(..piece.len() - sql(piece).len())?;
        let named = |line: &'a str| {
            line.strip_prefix("-- Name: ").or_else(|| line.strip_prefix("-- Data for Name: "))
        };
        Self::parse(comments.lines().rev().find_map(named)?)
    }

    /// A name, and what follows it.
    pub(super) fn parse(line: &'a str) -> Option<Self> {
        // A name may hold anything but a line end: what follows it is looked for from behind.
        let line = line.rsplit_once("; Tablespace: ").map_or(line, |(line, _)| line);
        let (line, owner) = line.rsplit_once("; Owner: ")?;
        let (line, schema) = line.rsplit_once("; Schema: ")?;
        let (name, kind) = line.rsplit_once("; Type: ")?;
        Some(Self { name, kind, schema, owner })
    }
}
