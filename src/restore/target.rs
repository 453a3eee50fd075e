//! What a target must be before anything is done to it.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::RestoreError;
use crate::format::manifest::SchemaObject;
use crate::format::reader::Archive;
use crate::format::rows;
use crate::pg::{self, Session};
use crate::progress::Progress;

/// Checks the version, that the target is empty, and that all roles are there.
pub(super) async fn check(
    lead: &Session,
    archive: &Arc<Archive>,
    sql: [&[u8]; 2],
    progress: &dyn Progress,
) -> Result<(), RestoreError> {
    let manifest = archive.manifest();
    let from = manifest.source.server_version_num;
    let version = u64::from(lead.server_version_num());
    if version / 10_000 < from / 10_000 {
        return Err(RestoreError::OlderServer {
            from: manifest.source.server_version.clone(),
            to: shown_version(version),
        });
    }
    let contents = pg::contents(lead).await?;
    if !contents.is_empty() {
        return Err(RestoreError::NotEmpty { target: lead.params().describe(), contents });
    }
    let encoding = lead.server_encoding();
    if encoding != manifest.source.encoding {
        progress.note(&format!(
            "the target's encoding is {encoding}, the source's was {}",
            manifest.source.encoding
        ));
    }
    let mut roles = BTreeSet::new();
    for (objects, sql) in
        [&manifest.schema.pre_data, &manifest.schema.post_data].into_iter().zip(sql)
    {
        for object in objects {
            roles.extend(object.owner.iter().filter(|owner| !owner.is_empty()).cloned());
            roles.extend(roles_in(object, super::schema::slice(object, sql).unwrap_or_default()));
        }
    }
    large_object_owners(archive, &mut roles)?;
    let names: Vec<&String> = roles.iter().collect();
    let missing = lead
        .rows(
            "looking for roles",
            "SELECT r.name FROM pg_catalog.unnest($1::pg_catalog.text[]) r(name) WHERE NOT EXISTS \
             (SELECT FROM pg_catalog.pg_roles p WHERE p.rolname = r.name) ORDER BY 1",
            &[&names],
        )
        .await?;
    let missing: Vec<String> =
        missing.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>().map_err(|error| {
            RestoreError::Server(pg::PgError::server("looking for roles", error))
        })?;
    if missing.is_empty() { Ok(()) } else { Err(RestoreError::MissingRoles(missing)) }
}

fn shown_version(number: u64) -> String {
    format!("{}.{}", number / 10_000, number % 10_000)
}

fn large_object_owners(
    archive: &Arc<Archive>,
    roles: &mut BTreeSet<String>,
) -> Result<(), RestoreError> {
    let Some(data) = archive.manifest().large_objects else { return Ok(()) };
    for number in data.first_segment..data.first_segment.saturating_add(data.segments) {
        for row in rows::rows(&archive.segment(number)?) {
            let owner = rows::fields(row).nth(1).and_then(|field| rows::unescape(field).ok());
            if let Some(Some(owner)) = owner {
                roles.insert(String::from_utf8_lossy(&owner).into_owned());
            }
        }
    }
    Ok(())
}

/// The roles that an object's SQL names besides the owner, as `pg_dump` writes it: one statement a
/// line where privileges are concerned.
fn roles_in(object: &SchemaObject, sql: &[u8]) -> Vec<String> {
    let Ok(sql) = std::str::from_utf8(sql) else { return Vec::new() };
    let words: &[&str] = match object.kind.as_str() {
        "ACL" | "COLUMN ACL" => &[" TO ", " FROM "],
        "DEFAULT ACL" => &[" FOR ROLE ", " TO ", " FROM "],
        "USER MAPPING" => &[" FOR "],
        "POLICY" => return policy_roles(sql),
        _ => return Vec::new(),
    };
    let mut roles = Vec::new();
    for line in sql.lines() {
        let line = line.trim();
        if line.starts_with("--") {
            continue;
        }
        // The last is the role; an object's own name may hold the word in quotes.
        for word in words {
            if let Some((_, rest)) = line.rsplit_once(word) {
                roles.extend(identifier(rest).map(|(name, _)| name));
            }
        }
    }
    roles.retain(|role| !matches!(role.as_str(), "" | "public"));
    roles
}

/// `CREATE POLICY name ON table [FOR cmd] TO a, "B" USING (...)`.
fn policy_roles(sql: &str) -> Vec<String> {
    let head = sql.split(" USING (").next().unwrap_or_default();
    let head = head.split(" WITH CHECK (").next().unwrap_or_default();
    let Some((_, mut rest)) = head.rsplit_once(" TO ") else { return Vec::new() };
    let mut roles = Vec::new();
    while let Some((name, after)) = identifier(rest) {
        roles.push(name);
        match after.trim_start().strip_prefix(',') {
            Some(next) => rest = next,
            None => break,
        }
    }
    roles.retain(|role| role != "public");
    roles
}

/// The identifier at the beginning, unquoted and folded as SQL does it, and what follows.
fn identifier(text: &str) -> Option<(String, &str)> {
    let text = text.trim_start();
    if let Some(quoted) = text.strip_prefix('"') {
        let mut name = String::new();
        let mut chars = quoted.char_indices().peekable();
        while let Some((at, c)) = chars.next() {
            if c != '"' {
                name.push(c);
            } else if chars.next_if(|(_, c)| *c == '"').is_some() {
                name.push('"');
            } else {
                return Some((name, quoted.get(at + 1..).unwrap_or_default()));
            }
        }
        return None;
    }
    let end =
        text.find(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '$'))).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    (!name.is_empty()).then(|| (name.to_lowercase(), rest))
}

/// Guards against a restore that fails after hours for a role that could have been named first.
#[cfg(test)]
mod tests {
    use super::*;

    fn roles(kind: &str, sql: &str) -> Vec<String> {
        let object = SchemaObject {
            kind: kind.into(),
            schema: None,
            name: "x".into(),
            owner: None,
            offset: 0,
            length: 0,
            drop: None,
        };
        roles_in(&object, sql.as_bytes())
    }

    #[test]
    fn roles_are_found_in_privileges() {
        let sql = "REVOKE ALL ON TABLE public.\"a TO b\" FROM PUBLIC;\n\
                   GRANT SELECT ON TABLE public.\"a TO b\" TO reader;\n\
                   GRANT ALL ON TABLE public.t TO \"My \"\"Role\" WITH GRANT OPTION;\n";
        assert_eq!(roles("ACL", sql), ["reader", "My \"Role"]);
        let sql = "ALTER DEFAULT PRIVILEGES FOR ROLE app IN SCHEMA public GRANT SELECT ON TABLES TO web;\n";
        assert_eq!(roles("DEFAULT ACL", sql), ["app", "web"]);
        let sql = "CREATE POLICY p ON public.t FOR SELECT TO a, \"B c\" USING ((x = 1));\n";
        assert_eq!(roles("POLICY", sql), ["a", "B c"]);
        assert_eq!(roles("POLICY", "CREATE POLICY p ON t USING ((a TO b));"), [""; 0]);
        assert_eq!(roles("TABLE", "GRANT x TO y;"), [""; 0]);
    }
}
