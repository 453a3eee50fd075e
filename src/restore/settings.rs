//! What belongs to a database and not to its contents, carried from the old one to the new one:
//! owner, comment, privileges, connection limit, settings.

use std::fmt::Write as _;

use crate::pg::{PgError, Session, ident, literal};

/// These hold lists of names, quoted as in SQL; all others are one value.
const LISTS: [&str; 6] = [
    "local_preload_libraries",
    "search_path",
    "session_preload_libraries",
    "shared_preload_libraries",
    "temp_tablespaces",
    "unix_socket_directories",
];

/// Grantee (none is PUBLIC), grantor, privilege, whether it may be granted on.
type Privilege = (Option<String>, String, String, bool);

/// A database as it is.
#[derive(Clone, Debug)]
pub(super) struct Old {
    pub(super) owner: String,
    pub(super) tablespace: String,
    pub(super) bytes: Option<i64>,
    comment: Option<String>,
    limit: i32,
    template: bool,
    connections: bool,
    /// None where nobody ever changed them.
    privileges: Option<Vec<Privilege>>,
    /// Role (none is all), setting, value.
    settings: Vec<(Option<String>, String, String)>,
}

impl Old {
    /// Reads it.
    pub(super) async fn read(session: &Session, name: &str) -> Result<Self, PgError> {
        let doing = format!("reading what belongs to database {name}");
        let wrong = |error| PgError::server(doing.clone(), error);
        let sql = "SELECT pg_catalog.pg_get_userbyid(d.datdba)::text, t.spcname::text, \
                   pg_catalog.shobj_description(d.oid, 'pg_database'), d.datconnlimit, \
                   d.datistemplate, d.datallowconn, d.datacl IS NOT NULL, \
                   CASE WHEN pg_catalog.has_database_privilege(d.oid, 'CONNECT') \
                        THEN pg_catalog.pg_database_size(d.oid) END \
                   FROM pg_catalog.pg_database d JOIN pg_catalog.pg_tablespace t \
                   ON t.oid = d.dattablespace WHERE d.datname = $1";
        let rows = session.rows(&doing, sql, &[&name]).await?;
        let row = rows.first().ok_or_else(|| PgError::protocol(&*doing, "it is not there"))?;
        let mut old = Self {
            owner: row.try_get(0).map_err(wrong)?,
            tablespace: row.try_get(1).map_err(wrong)?,
            comment: row.try_get(2).map_err(wrong)?,
            limit: row.try_get(3).map_err(wrong)?,
            template: row.try_get(4).map_err(wrong)?,
            connections: row.try_get(5).map_err(wrong)?,
            privileges: None,
            bytes: row.try_get(7).map_err(wrong)?,
            settings: Vec::new(),
        };
        if row.try_get(6).map_err(wrong)? {
            let sql = "SELECT CASE WHEN x.grantee <> 0 THEN \
                       pg_catalog.pg_get_userbyid(x.grantee)::text END, \
                       pg_catalog.pg_get_userbyid(x.grantor)::text, x.privilege_type, x.is_grantable \
                       FROM pg_catalog.pg_database d, pg_catalog.aclexplode(d.datacl) x \
                       WHERE d.datname = $1";
            let mut privileges = Vec::new();
            for row in session.rows(&doing, sql, &[&name]).await? {
                privileges.push((
                    row.try_get(0).map_err(wrong)?,
                    row.try_get(1).map_err(wrong)?,
                    row.try_get(2).map_err(wrong)?,
                    row.try_get(3).map_err(wrong)?,
                ));
            }
            old.privileges = Some(privileges);
        }
        let sql = "SELECT r.rolname::text, pg_catalog.split_part(c, '=', 1), \
                   pg_catalog.substr(c, pg_catalog.strpos(c, '=') + 1) \
                   FROM pg_catalog.pg_db_role_setting s \
                   JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase \
                   LEFT JOIN pg_catalog.pg_roles r ON r.oid = s.setrole, \
                   pg_catalog.unnest(s.setconfig) WITH ORDINALITY u(c, n) WHERE d.datname = $1 \
                   ORDER BY 1 NULLS FIRST, u.n";
        for row in session.rows(&doing, sql, &[&name]).await? {
            old.settings.push((
                row.try_get(0).map_err(wrong)?,
                row.try_get(1).map_err(wrong)?,
                row.try_get(2).map_err(wrong)?,
            ));
        }
        Ok(old)
    }

    /// How many settings there are.
    pub(super) fn settings(&self) -> usize {
        self.settings.len()
    }

    /// The statements that give all of it to another database.
    pub(super) fn statements(&self, new: &str) -> String {
        let name = ident(new);
        let owner = ident(&self.owner);
        let mut sql = format!("ALTER DATABASE {name} OWNER TO {owner};");
        match &self.comment {
            Some(comment) => {
                let _ = write!(sql, "COMMENT ON DATABASE {name} IS {};", literal(comment));
            }
            None => {
                let _ = write!(sql, "COMMENT ON DATABASE {name} IS NULL;");
            }
        }
        let _ = write!(
            sql,
            "ALTER DATABASE {name} WITH CONNECTION LIMIT {} IS_TEMPLATE {} ALLOW_CONNECTIONS {};",
            self.limit, self.template, self.connections
        );
        if let Some(privileges) = &self.privileges {
            let _ = write!(
                sql,
                "REVOKE ALL ON DATABASE {name} FROM PUBLIC; REVOKE ALL ON DATABASE {name} FROM {owner};"
            );
            // Who passes a privilege on has to have it first: the owner's own come first.
            let (owners, others): (Vec<_>, Vec<_>) =
                privileges.iter().partition(|(_, grantor, ..)| *grantor == self.owner);
            for (grantee, grantor, privilege, grantable) in owners.into_iter().chain(others) {
                let grantee = grantee.as_deref().map_or_else(|| "PUBLIC".to_owned(), ident);
                let option = if *grantable { " WITH GRANT OPTION" } else { "" };
                let grant = format!("GRANT {privilege} ON DATABASE {name} TO {grantee}{option};");
                if *grantor == self.owner {
                    sql.push_str(&grant);
                } else {
                    let _ = write!(sql, "SET LOCAL ROLE {}; {grant} RESET ROLE;", ident(grantor));
                }
            }
        }
        for (role, setting, value) in &self.settings {
            let value = if LISTS.contains(&setting.to_ascii_lowercase().as_str()) {
                list(value)
            } else {
                literal(value)
            };
            let whose = match role {
                Some(role) => format!("ALTER ROLE {} IN DATABASE {name}", ident(role)),
                None => format!("ALTER DATABASE {name}"),
            };
            // A setting of an extension has a name with a dot, each part by itself.
            let setting: Vec<String> = setting.split('.').map(ident).collect();
            let _ = write!(sql, "{whose} SET {} TO {value};", setting.join("."));
        }
        sql
    }
}

/// A list of names as it is stored, as SET takes it: each as a text of its own.
fn list(value: &str) -> String {
    let mut items = Vec::new();
    let mut item = String::new();
    let mut quoted = false;
    let mut chars = value.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.next_if_eq(&'"').is_some() => item.push('"'),
            '"' => quoted = !quoted,
            ',' if !quoted => items.push(std::mem::take(&mut item)),
            c if c.is_whitespace() && !quoted => {}
            c => item.push(c),
        }
    }
    items.push(item);
    items.iter().map(|item| literal(item)).collect::<Vec<_>>().join(", ")
}

/// Guards against a `search_path` that becomes one schema with a comma in its name.
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_stay_lists() {
        assert_eq!(list("\"$user\", public"), "'$user', 'public'");
        assert_eq!(list("a, \"B, \"\"c\""), "'a', 'B, \"c'");
        assert_eq!(list("\"\""), "''");
    }
}
