//! What a target must be before anything is done to it.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::choices::Objects;
use super::roles::{self, identifier};
use super::schema::slice;
use super::settings::{self, Given};
use super::space::Space;
use super::{How, RestoreError, place::Place};
use crate::format::manifest::{Manifest, SchemaObject, TableData};
use crate::format::reader::Archive;
use crate::format::rows;
use crate::pg::{self, PgError, Session};

/// What stands in the way of restoring, all of it, and what is good to know.
#[derive(Default)]
pub(super) struct Checked {
    pub(super) problems: Vec<RestoreError>,
    pub(super) notes: Vec<String>,
    pub(super) space: Option<Space>,
}

/// Checks what can be known of the server before anything is done: version, roles, extensions,
/// tablespaces, privileges; and, for a target that is there, that it is empty.
pub(super) async fn check(
    lead: &Session,
    archive: &Arc<Archive>,
    manifest: &Manifest,
    files: [&Objects; 2],
    how: &How,
) -> Result<Checked, RestoreError> {
    let How { place, choices } = how;
    let mut out = Checked::default();
    let from = manifest.source.server_version_num;
    let version = u64::from(lead.server_version_num());
    if version / 10_000 < from / 10_000 {
        out.problems.push(RestoreError::OlderServer {
            from: manifest.source.server_version.clone(),
            to: shown_version(version),
        });
    }
    let space = Space::find(lead, manifest, choices).await;
    out.notes.extend(space.note());
    out.space = Some(space);
    if flag(lead, "SELECT pg_catalog.pg_is_in_recovery()").await? {
        out.problems.push(RestoreError::Standby);
    }
    if *place == Place::Existing {
        if choices.data_only {
            super::existing::check(lead, manifest, &mut out).await?;
        }
        let contents = if choices.data_only { Vec::new() } else { pg::contents(lead).await? };
        if !contents.is_empty() {
            let target = lead.params().describe();
            out.problems.push(RestoreError::NotEmpty { target, contents });
        }
        let encoding = lead.server_encoding();
        if encoding != manifest.source.encoding {
            out.notes.push(format!(
                "the target's encoding is {encoding}, the source's was {}",
                manifest.source.encoding
            ));
        }
    }
    let mut owners = BTreeSet::new();
    let mut roles = BTreeSet::new();
    let mut extensions = BTreeSet::new();
    let mut tablespaces = BTreeSet::new();
    for (object, text) in files.into_iter().flat_map(texts) {
        owners.extend(object.owner.iter().filter(|owner| !owner.is_empty()).cloned());
        roles.extend(roles::in_sql(&object.kind, text).into_iter().map(|(_, role)| role));
        tablespaces.extend(tablespace(text));
        if object.kind == "EXTENSION" {
            extensions.insert(object.name.clone());
        }
    }
    if !choices.schema_only && !choices.no_owner {
        let mut found = BTreeSet::new();
        large_object_owners(archive, manifest.large_objects, &mut found)?;
        owners.extend(found.iter().map(|owner| choices.role(owner).to_owned()));
    }
    if choices.database_settings && manifest.source.properties.is_none() {
        out.notes.push("the archive does not say what belonged to its database itself".into());
    }
    if *place == Place::Existing {
        let there = pg::read_properties(lead, lead.params().database()).await?;
        out.notes.extend(settings::not_given(manifest, how, &there));
        roles.extend(Given::of(manifest, how, Some(&there.owner)).iter().flat_map(Given::roles));
    } else {
        let own = choices.no_owner.then(|| lead.params().user());
        let given = Given::of(manifest, how, own);
        roles.extend(given.iter().flat_map(Given::roles));
        owners.extend(given.iter().filter_map(Given::owner).map(ToOwned::to_owned));
        tablespaces.extend(given.iter().filter_map(Given::tablespace).map(ToOwned::to_owned));
    }
    roles.extend(owners.iter().cloned());
    let missing = missing(lead, "roles", "pg_roles", "rolname", &roles).await?;
    let there: Vec<&String> = owners.iter().filter(|owner| !missing.contains(owner)).collect();
    if !missing.is_empty() {
        out.problems.push(RestoreError::MissingRoles(missing));
    }
    let missing_extensions =
        self::missing(lead, "extensions", "pg_available_extensions", "name", &extensions).await?;
    if !missing_extensions.is_empty() {
        out.problems.push(RestoreError::MissingExtensions(missing_extensions));
    }
    let missing =
        self::missing(lead, "tablespaces", "pg_tablespace", "spcname", &tablespaces).await?;
    if !missing.is_empty() {
        out.problems.push(RestoreError::MissingTablespaces(missing));
    }
    if !flag(lead, "SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user").await? {
        privileges(lead, files, place, &there, &mut out).await?;
        superuser_notes(lead, files, &extensions, &mut out).await?;
    }
    Ok(out)
}

fn texts(file: &Objects) -> impl Iterator<Item = (&SchemaObject, &str)> {
    file.objects.iter().map(|object| {
        let text = slice(object, &file.sql).and_then(|text| std::str::from_utf8(text).ok());
        (object, text.unwrap_or_default())
    })
}

/// The tablespace that an object is put into; the archive's writer names it in front of the SQL.
fn tablespace(sql: &str) -> Option<String> {
    let line = sql.lines().find(|line| !line.is_empty() && !line.starts_with("--"))?;
    let (name, _) = identifier(line.strip_prefix("SET default_tablespace = ")?)?;
    (!name.is_empty()).then_some(name)
}

/// What a role that is no superuser must be allowed to do.
async fn privileges(
    lead: &Session,
    files: [&Objects; 2],
    place: &Place,
    owners: &[&String],
    out: &mut Checked,
) -> Result<(), RestoreError> {
    let mut lacks = Vec::new();
    let createdb = "SELECT rolcreatedb FROM pg_catalog.pg_roles WHERE rolname = current_user";
    if *place != Place::Existing && !flag(lead, createdb).await? {
        lacks.push("it may not create databases (CREATEDB)".to_owned());
    }
    if *place == Place::Existing {
        let mut objects = files.into_iter().flat_map(|file| &file.objects);
        let create =
            "SELECT pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE')";
        if objects.clone().any(|object| object.kind == "SCHEMA") && !flag(lead, create).await? {
            lacks.push("it may not create schemas in the database (CREATE)".to_owned());
        }
        let create = "SELECT pg_catalog.has_schema_privilege('public', 'CREATE') \
                      FROM pg_catalog.pg_namespace WHERE nspname = 'public'";
        let in_public = objects.any(|object| object.schema.as_deref() == Some("public"));
        if in_public && !flag(lead, create).await? {
            lacks.push("it may not create anything in schema public (CREATE)".to_owned());
        }
    }
    let sql = "SELECT r.name FROM pg_catalog.unnest($1::pg_catalog.text[]) r(name) \
               WHERE NOT pg_catalog.pg_has_role(current_user, r.name::pg_catalog.name, 'MEMBER') \
               ORDER BY 1";
    for role in names(lead, "looking for memberships", sql, owners).await? {
        lacks.push(format!("it is not a member of {role}, who owns objects"));
    }
    if !lacks.is_empty() {
        let role = lead.params().user().to_owned();
        out.problems.push(RestoreError::Privileges { role, lacks });
    }
    Ok(())
}

/// What only superusers may do as a rule. Where the server is somebody's service, it may be
/// otherwise: so this is said, and no reason to refuse.
async fn superuser_notes(
    lead: &Session,
    files: [&Objects; 2],
    extensions: &BTreeSet<String>,
    out: &mut Checked,
) -> Result<(), RestoreError> {
    const KINDS: [&str; 5] = [
        "EVENT TRIGGER",
        "FOREIGN DATA WRAPPER",
        "ACCESS METHOD",
        "OPERATOR CLASS",
        "OPERATOR FAMILY",
    ];
    let extensions: Vec<&String> = extensions.iter().collect();
    let sql = "SELECT v.name::text FROM pg_catalog.pg_available_extension_versions v \
               JOIN pg_catalog.pg_available_extensions e \
               ON e.name = v.name AND e.default_version = v.version \
               WHERE v.superuser AND NOT v.trusted AND v.name = ANY ($1) ORDER BY 1";
    let mut needs: Vec<String> = names(lead, "looking for extensions", sql, &extensions)
        .await?
        .iter()
        .map(|name| format!("EXTENSION {name}"))
        .collect();
    let objects = files.into_iter().flat_map(|file| &file.objects);
    let kinds = objects.filter(|object| KINDS.contains(&object.kind.as_str()));
    needs.extend(kinds.map(|object| format!("{} {}", object.kind, object.name)));
    if !needs.is_empty() {
        out.notes.push(format!(
            "role {} is no superuser, and these need one as a rule: {}",
            lead.params().user(),
            needs.join(", ")
        ));
    }
    Ok(())
}

/// Those of the names that the catalog does not have.
async fn missing(
    lead: &Session,
    what: &str,
    catalog: &str,
    column: &str,
    wanted: &BTreeSet<String>,
) -> Result<Vec<String>, RestoreError> {
    let wanted: Vec<&String> = wanted.iter().collect();
    let sql = format!(
        "SELECT r.name FROM pg_catalog.unnest($1::pg_catalog.text[]) r(name) WHERE NOT EXISTS \
         (SELECT FROM pg_catalog.{catalog} p WHERE p.{column} = r.name) ORDER BY 1"
    );
    names(lead, &format!("looking for {what}"), &sql, &wanted).await
}

async fn names(
    lead: &Session,
    doing: &str,
    sql: &str,
    values: &[&String],
) -> Result<Vec<String>, RestoreError> {
    let values = values.to_vec();
    let rows = lead.rows(doing, sql, &[&values]).await?;
    let names = rows.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>();
    names.map_err(|error| RestoreError::Server(PgError::server(doing, error)))
}

/// The answer to a question.
pub(super) async fn flag(lead: &Session, sql: &str) -> Result<bool, RestoreError> {
    const DOING: &str = "asking what the role may do";
    let rows = lead.rows(DOING, sql, &[]).await?;
    let answer = rows.first().map(|row| row.try_get::<_, Option<bool>>(0)).transpose();
    let answer = answer.map_err(|error| PgError::server(DOING, error))?;
    Ok(answer.flatten().unwrap_or(false))
}

fn shown_version(number: u64) -> String {
    format!("{}.{}", number / 10_000, number % 10_000)
}

fn large_object_owners(
    archive: &Arc<Archive>,
    data: Option<TableData>,
    roles: &mut BTreeSet<String>,
) -> Result<(), RestoreError> {
    let Some(data) = data else { return Ok(()) };
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
