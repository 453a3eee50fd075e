//! Large objects back into the server: created under their OIDs, filled, given to their owners.

use std::fmt::Write as _;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::choices::Choices;
use super::convert::RowProblem;
use super::{RestoreError, big};
use crate::format::manifest::TableData;
use crate::format::reader::{Archive, PackCache};
use crate::format::rows::{self, Bytea, RowError};
use crate::pg::{PgError, Session, ident, literal};
use crate::progress::Progress;

const NAME: &str = "the large objects";
/// Each takes a lock until the end of its transaction.
const IN_A_TRANSACTION: u32 = 64;
/// Longer ones are sent in slices.
const WHOLE: u64 = 8 << 20;

/// Loads all of them.
pub(super) async fn load(
    lead: &Session,
    archive: &Arc<Archive>,
    data: Option<TableData>,
    choices: &Choices,
    progress: &dyn Progress,
) -> Result<(), RestoreError> {
    let Some(data) = data else { return Ok(()) };
    progress.on(NAME);
    let mut cache = PackCache::default();
    let mut open = 0;
    for number in data.first_segment..data.first_segment.saturating_add(data.segments) {
        let segment = archive.segment(number)?;
        for row in rows::rows(&segment) {
            if open == 0 {
                lead.run("beginning a transaction", "BEGIN").await?;
            }
            let object = Object::parse(row).map_err(bad)?;
            create(lead, archive, &mut cache, &object).await?;
            describe(lead, &object, choices).await?;
            progress.rows(1);
            open += 1;
            if open == IN_A_TRANSACTION {
                lead.run("committing large objects", "COMMIT").await?;
                open = 0;
            }
        }
    }
    if open > 0 {
        lead.run("committing large objects", "COMMIT").await?;
    }
    Ok(())
}

struct Object {
    oid: u32,
    owner: String,
    acl: Option<String>,
    comment: Option<String>,
    data: Bytea,
}

impl Object {
    fn parse(row: &[u8]) -> Result<Self, RowProblem> {
        let fields: Vec<&[u8]> = rows::fields(row).collect();
        let &[oid, owner, acl, comment, data] = &fields[..] else {
            return Err(RowProblem::Fields { found: fields.len(), expected: 5 });
        };
        let wrong = |column: &str, source| RowProblem::Field { column: column.into(), source };
        let text = |column: &str, field: &[u8]| -> Result<Option<String>, RowProblem> {
            let value = rows::unescape(field).map_err(|source| wrong(column, source))?;
            Ok(value.map(|value| String::from_utf8_lossy(&value).into_owned()))
        };
        let value = |column: &str, value: Option<String>| RowProblem::Value {
            column: column.into(),
            sql_type: "large object".into(),
            value: value.unwrap_or_else(|| "NULL".into()),
        };
        let number = text("oid", oid)?;
        let oid = number.as_deref().and_then(|oid| oid.parse().ok());
        Ok(Self {
            oid: oid.ok_or_else(|| value("oid", number))?,
            owner: text("owner", owner)?.ok_or_else(|| value("owner", None))?,
            acl: text("acl", acl)?,
            comment: text("comment", comment)?,
            data: rows::bytea(data)
                .map_err(|source| wrong("data", source))?
                .ok_or_else(|| wrong("data", RowError::Bytea))?,
        })
    }
}

async fn create(
    lead: &Session,
    archive: &Arc<Archive>,
    cache: &mut PackCache,
    object: &Object,
) -> Result<(), RestoreError> {
    let doing = format!("creating large object {}", object.oid);
    let oid = object.oid;
    let blob = match &object.data {
        Bytea::Blob(blob) if blob.length > WHOLE => *blob,
        Bytea::Blob(blob) => {
            let mut bytes = Vec::new();
            archive.blob(*blob, cache, &mut |piece| {
                bytes.extend_from_slice(piece);
                Ok(())
            })?;
            lead.rows(&doing, "SELECT pg_catalog.lo_from_bytea($1, $2)", &[&oid, &bytes]).await?;
            return Ok(());
        }
        Bytea::Inline(bytes) => {
            lead.rows(&doing, "SELECT pg_catalog.lo_from_bytea($1, $2)", &[&oid, bytes]).await?;
            return Ok(());
        }
    };
    lead.rows(&doing, "SELECT pg_catalog.lo_create($1)", &[&oid]).await?;
    let (sender, mut pieces) = mpsc::channel::<Vec<u8>>(2);
    let archive = Arc::clone(archive);
    let reading = tokio::task::spawn_blocking(move || big::read(&archive, blob, &sender));
    let mut offset = 0_i64;
    while let Some(piece) = pieces.recv().await {
        lead.rows(&doing, "SELECT pg_catalog.lo_put($1, $2, $3)", &[&oid, &offset, &piece]).await?;
        offset += i64::try_from(piece.len()).unwrap_or(0);
    }
    reading.await.map_err(|error| RestoreError::Internal(error.to_string()))??;
    Ok(())
}

/// Owner, privileges, comment.
async fn describe(lead: &Session, object: &Object, choices: &Choices) -> Result<(), RestoreError> {
    // Who made it owns it.
    let owner = if choices.no_owner { lead.params().user() } else { choices.role(&object.owner) };
    let (oid, quoted) = (object.oid, ident(owner));
    let doing = format!("owner and privileges of large object {oid}");
    let mut sql = String::new();
    if !choices.no_owner {
        let _ = write!(sql, "ALTER LARGE OBJECT {oid} OWNER TO {quoted};");
    }
    if let Some(acl) = object.acl.as_ref().filter(|_| !choices.no_privileges) {
        let _ = write!(
            sql,
            "REVOKE ALL ON LARGE OBJECT {oid} FROM PUBLIC; REVOKE ALL ON LARGE OBJECT {oid} FROM {quoted};"
        );
        let wrong = |error| PgError::server(doing.clone(), error);
        let items = "SELECT i FROM pg_catalog.unnest($1::pg_catalog.text::pg_catalog.text[]) i";
        let mut given = Vec::new();
        for row in lead.rows(&doing, items, &[acl]).await? {
            let item: String = row.try_get(0).map_err(wrong)?;
            given.push(with_roles(&item, |role| {
                if role == object.owner { owner.to_owned() } else { choices.role(role).to_owned() }
            }));
        }
        let items = "SELECT CASE WHEN x.grantee <> 0 THEN pg_catalog.pg_get_userbyid(x.grantee)::text END, \
                     pg_catalog.pg_get_userbyid(x.grantor)::text, x.privilege_type, x.is_grantable \
                     FROM pg_catalog.aclexplode($1::pg_catalog.text[]::pg_catalog.aclitem[]) x";
        // `aclexplode` takes no empty array: it has no dimension. It means what was revoked above.
        let granted =
            if given.is_empty() { Vec::new() } else { lead.rows(&doing, items, &[&given]).await? };
        for row in granted {
            let to: Option<String> = row.try_get(0).map_err(wrong)?;
            let by: String = row.try_get(1).map_err(wrong)?;
            let privilege: String = row.try_get(2).map_err(wrong)?;
            let option: bool = row.try_get(3).map_err(wrong)?;
            let to = to.map_or_else(|| "PUBLIC".to_owned(), |name| ident(&name));
            let option = if option { " WITH GRANT OPTION" } else { "" };
            let grant = format!("GRANT {privilege} ON LARGE OBJECT {oid} TO {to}{option};");
            if by == owner {
                sql.push_str(&grant);
            } else {
                let _ = write!(sql, "SET ROLE {}; {grant} RESET ROLE;", ident(&by));
            }
        }
    }
    if let Some(comment) = &object.comment {
        let _ = write!(sql, "COMMENT ON LARGE OBJECT {oid} IS {};", literal(comment));
    }
    lead.run(&doing, &sql).await?;
    Ok(())
}

/// An `aclitem` (`grantee=privileges/grantor`) with other roles.
fn with_roles(item: &str, role: impl Fn(&str) -> String) -> String {
    let (grantee, rest) = acl_name(item);
    let (privileges, grantor) = rest.split_once('/').unwrap_or((rest, ""));
    let name = |name: &str| if name.is_empty() { String::new() } else { ident(&role(name)) };
    format!("{}{privileges}/{}", name(&grantee), name(&acl_name(grantor).0))
}

/// The name at the beginning of an `aclitem`, and what follows.
fn acl_name(text: &str) -> (String, &str) {
    let mut name = String::new();
    let mut quoted = false;
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' if quoted && chars.next_if(|(_, c)| *c == '"').is_some() => name.push('"'),
            '"' => quoted = !quoted,
            '=' if !quoted => return (name, text.get(at..).unwrap_or_default()),
            c => name.push(c),
        }
    }
    (name, "")
}

fn bad(source: RowProblem) -> RestoreError {
    RestoreError::Rows { table: NAME.into(), source }
}

/// Guards against privileges of a large object going to somebody else.
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_of_an_aclitem_are_replaced() {
        let role = |name: &str| if name == "a b" { "x\"y".to_owned() } else { name.to_owned() };
        assert_eq!(with_roles("\"a b\"=rw*/app", role), "\"x\"\"y\"=rw*/\"app\"");
        assert_eq!(with_roles("=r/\"a b\"", role), "=r/\"x\"\"y\"");
    }
}
