//! What belongs to a database itself and not to what is in it.

use super::super::error::PgError;
use super::super::query::{get, one, rows};
use super::super::session::Session;
use crate::format::properties::{Label, Privilege, Properties, Setting};

/// Reads it of the database of this name, whether or not the session is connected to it.
pub async fn read_properties(session: &Session, name: &str) -> Result<Properties, PgError> {
    let doing = format!("reading what belongs to database {name}");
    let sql = "
        SELECT pg_catalog.pg_get_userbyid(d.datdba)::text AS owner,
               nullif(t.spcname::text, 'pg_default') AS tablespace,
               pg_catalog.shobj_description(d.oid, 'pg_database') AS comment,
               d.datconnlimit AS connection_limit, d.datistemplate AS template,
               d.datacl IS NOT NULL AS changed
        FROM pg_catalog.pg_database d JOIN pg_catalog.pg_tablespace t ON t.oid = d.dattablespace
        WHERE d.datname = $1";
    let row = one(session, &doing, sql, &[&name]).await?;
    let limit: i32 = get(&row, "connection_limit")?;
    let mut found = Properties {
        owner: get(&row, "owner")?,
        tablespace: get(&row, "tablespace")?,
        comment: get(&row, "comment")?,
        // -1: no limit; -2: a database that was half dropped.
        connection_limit: u64::try_from(limit).ok(),
        template: get(&row, "template")?,
        ..Properties::default()
    };
    if get(&row, "changed")? {
        let sql = "
            SELECT CASE WHEN x.grantee <> 0
                        THEN pg_catalog.pg_get_userbyid(x.grantee)::text END AS grantee,
                   pg_catalog.pg_get_userbyid(x.grantor)::text AS grantor,
                   x.privilege_type AS privilege, x.is_grantable AS grantable
            FROM pg_catalog.pg_database d, pg_catalog.aclexplode(d.datacl) x WHERE d.datname = $1";
        let mut privileges = Vec::new();
        for row in rows(session, &doing, sql, &[&name]).await? {
            privileges.push(Privilege {
                grantee: get(&row, "grantee")?,
                grantor: get(&row, "grantor")?,
                privilege: get(&row, "privilege")?,
                grantable: get(&row, "grantable")?,
            });
        }
        found.privileges = Some(privileges);
    }
    let sql = "
        SELECT l.provider, l.label FROM pg_catalog.pg_shseclabel l
        JOIN pg_catalog.pg_database d ON d.oid = l.objoid
        WHERE l.classoid = 'pg_catalog.pg_database'::pg_catalog.regclass AND d.datname = $1
        ORDER BY 1";
    for row in rows(session, &doing, sql, &[&name]).await? {
        found.labels.push(Label { provider: get(&row, "provider")?, label: get(&row, "label")? });
    }
    let sql = "
        SELECT r.rolname::text AS role, pg_catalog.split_part(c, '=', 1) AS name,
               pg_catalog.substr(c, pg_catalog.strpos(c, '=') + 1) AS value
        FROM pg_catalog.pg_db_role_setting s
        JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase
        LEFT JOIN pg_catalog.pg_roles r ON r.oid = s.setrole,
        pg_catalog.unnest(s.setconfig) WITH ORDINALITY u(c, n) WHERE d.datname = $1
        ORDER BY 1 NULLS FIRST, u.n";
    for row in rows(session, &doing, sql, &[&name]).await? {
        found.settings.push(Setting {
            role: get(&row, "role")?,
            name: get(&row, "name")?,
            value: get(&row, "value")?,
        });
    }
    Ok(found)
}
