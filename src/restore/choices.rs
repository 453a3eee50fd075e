//! What of an archive is restored, and for whom: the schema's objects without owners, without
//! privileges or with other roles, before any of them is run.

use std::collections::BTreeMap;

use super::roles;
use super::schema::slice;
use crate::format::keywords;
use crate::format::manifest::{Name, SchemaObject};
use crate::pg::dump::{LARGE_OBJECT_LABEL, is_acl};
use crate::pg::ident;

/// What of an archive is wanted.
#[derive(Clone, Default, Debug)]
pub struct Choices {
    /// Everything belongs to the role that restores.
    pub no_owner: bool,
    /// Nothing is granted or revoked.
    pub no_privileges: bool,
    /// Roles of the archive and those that stand in for them on the target.
    pub roles: BTreeMap<String, String>,
    /// These tables, and with them what they need; with [`Self::schemas`] none: all.
    pub tables: Vec<Name>,
    /// All that is in these schemas, and what its tables need.
    pub schemas: Vec<String>,
    /// Rows into tables that are there and empty; no object of the schema is made.
    pub data_only: bool,
    /// Tables, but no rows.
    pub schema_only: bool,
    /// Foreign keys that the archive's own rows break are added NOT VALID.
    pub not_valid: bool,
    /// What belonged to the archive's database itself (settings, comment, privileges, limit) is
    /// given to a database that is there, or in place of what the replaced one had. A new one gets
    /// it anyway.
    pub database_settings: bool,
    /// The target is not read back.
    pub no_compare: bool,
}

impl Choices {
    /// Whether it is a part of the archive that is wanted.
    pub(super) fn is_part(&self) -> bool {
        !(self.tables.is_empty() && self.schemas.is_empty())
    }

    /// The role that stands in for this one.
    pub(super) fn role<'a>(&'a self, name: &'a str) -> &'a str {
        self.roles.get(name).map_or(name, String::as_str)
    }
}

/// The objects of one SQL file that are to be run, and their text.
#[derive(Default)]
pub(super) struct Objects {
    pub(super) objects: Vec<SchemaObject>,
    pub(super) sql: Vec<u8>,
}

impl Objects {
    /// Those of the archive, as the choices have it, with these words in quotes.
    pub(super) fn new(
        objects: &[SchemaObject],
        sql: &[u8],
        choices: &Choices,
        words: &[&str],
    ) -> Self {
        let mut out = Self::default();
        for object in objects {
            let wanted = !(choices.no_privileges && is_acl(&object.kind)
                || choices.schema_only
                    && matches!(
                        object.kind.as_str(),
                        "MATERIALIZED VIEW DATA" | LARGE_OBJECT_LABEL
                    ));
            if !wanted {
                continue;
            }
            // A slice outside the file becomes an empty one with a length: running it says so.
            let Some(text) = slice(object, sql) else {
                out.objects.push(SchemaObject { offset: u64::MAX, ..object.clone() });
                continue;
            };
            let mut object = object.clone();
            let text = match std::str::from_utf8(text) {
                Ok(text) => {
                    keywords::quoted(&rewritten(&mut object, text, choices), words).into_bytes()
                }
                Err(_) => text.to_vec(),
            };
            object.offset = u64::try_from(out.sql.len()).unwrap_or(u64::MAX);
            object.length = u64::try_from(text.len()).unwrap_or(u64::MAX);
            out.sql.extend_from_slice(&text);
            out.objects.push(object);
        }
        out
    }
}

fn rewritten(object: &mut SchemaObject, text: &str, choices: &Choices) -> String {
    let mut text = text.to_owned();
    if let Some(owner) = object.owner.clone().filter(|owner| !owner.is_empty()) {
        let new = choices.role(&owner).to_owned();
        if choices.no_owner {
            object.owner = None;
            if let Some((start, end)) = owner_statement(&text, &owner) {
                text.replace_range(start..end, "");
            }
        } else if new != owner {
            if let Some((start, end)) = owner_statement(&text, &owner) {
                let statement = text.get(start..end).unwrap_or_default();
                let head = statement.strip_suffix(&owner_clause(&owner)).unwrap_or(statement);
                let statement = format!("{head}{}", owner_clause(&new));
                text.replace_range(start..end, &statement);
            }
            object.owner = Some(new);
        }
    }
    if !choices.roles.is_empty() {
        // From the end, so that places before stay right.
        for (range, name) in roles::in_sql(&object.kind, &text).into_iter().rev() {
            if let Some(new) = choices.roles.get(&name) {
                text.replace_range(range, &ident(new));
            }
        }
    }
    text
}

fn owner_clause(owner: &str) -> String {
    format!(" OWNER TO {};\n", ident(owner))
}

/// The statement that gives an object to its owner. It was put after `pg_dump`'s own SQL when the
/// archive was made, always in the same form, and nothing that names anybody's role comes after it.
fn owner_statement(text: &str, owner: &str) -> Option<(usize, usize)> {
    let clause = owner_clause(owner);
    let end = text.rfind(&clause)? + clause.len();
    let start = text.get(..end)?.rfind("\n\nALTER ")? + 2;
    Some((start, end))
}

/// The same constraint, unchecked for the rows that are there; none where that is not possible.
pub(super) fn not_valid(sql: &str) -> Option<String> {
    let body = sql.trim_end().strip_suffix(';')?;
    (!body.ends_with(" NOT VALID")).then(|| format!("{body} NOT VALID;\n"))
}

/// Guards against objects of roles that are not there, and against rewriting what is no role.
#[cfg(test)]
mod tests {
    use super::*;

    fn object(kind: &str, owner: &str, sql: &str) -> SchemaObject {
        SchemaObject {
            kind: kind.into(),
            schema: None,
            name: "x".into(),
            owner: Some(owner.into()),
            offset: 0,
            length: u64::try_from(sql.len()).unwrap(),
            drop: None,
        }
    }

    fn with(kind: &str, sql: &str, choices: &Choices) -> String {
        let objects = Objects::new(&[object(kind, "old", sql)], sql.as_bytes(), choices, &[]);
        String::from_utf8(objects.sql).unwrap()
    }

    #[test]
    fn owners_are_left_out_or_replaced() {
        let sql = "--\n-- Name: x\n--\n\nCREATE TABLE x (a text DEFAULT ' OWNER TO \"old\";\n');\n\n\n\
                   ALTER TABLE \"public\".\"x\" OWNER TO \"old\";\n\nSET default_tablespace = '';\n\n";
        let none = Choices { no_owner: true, ..Choices::default() };
        let left = with("TABLE", sql, &none);
        assert!(!left.contains("ALTER TABLE") && left.contains("DEFAULT ' OWNER TO"), "{left}");
        assert!(left.ends_with("SET default_tablespace = '';\n\n"), "{left}");
        let roles = BTreeMap::from([("old".to_owned(), "ne\"w".to_owned())]);
        let other = Choices { roles, ..Choices::default() };
        let changed = with("TABLE", sql, &other);
        assert!(
            changed.contains("ALTER TABLE \"public\".\"x\" OWNER TO \"ne\"\"w\";\n\nSET"),
            "{changed}"
        );
        assert!(changed.contains("DEFAULT ' OWNER TO \"old\";"), "{changed}");
        assert_eq!(with("TABLE", sql, &Choices::default()), sql);
    }

    #[test]
    fn privileges_are_left_out_or_given_to_others() {
        let sql =
            "GRANT SELECT ON TABLE public.old TO old;\nGRANT ALL ON TABLE public.old TO me;\n";
        let none = Choices { no_privileges: true, ..Choices::default() };
        assert_eq!(with("ACL", sql, &none), "");
        let roles = BTreeMap::from([("old".to_owned(), "new".to_owned())]);
        let other = Choices { roles, ..Choices::default() };
        assert_eq!(
            with("ACL", sql, &other),
            "GRANT SELECT ON TABLE public.old TO \"new\";\nGRANT ALL ON TABLE public.old TO me;\n"
        );
    }

    #[test]
    fn constraints_are_left_unchecked_once() {
        let sql = "ALTER TABLE a\n    ADD CONSTRAINT f FOREIGN KEY (x) REFERENCES b(x);\n\n";
        let changed = not_valid(sql).unwrap();
        assert!(changed.ends_with("REFERENCES b(x) NOT VALID;\n"), "{changed}");
        assert_eq!(not_valid(&changed), None);
    }
}
