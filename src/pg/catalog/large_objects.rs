//! Large objects: listed and read in batches, never all at once.

use crate::pg::error::PgError;
use crate::pg::query::{count, get, one, rows};
use crate::pg::session::Session;

/// A large object and the beginning of its bytes.
#[derive(Clone, PartialEq, Debug)]
pub struct LargeObject {
    /// Its oid, by which the data refers to it.
    pub oid: u32,
    /// The role that owns it.
    pub owner: String,
    /// Its privileges as `aclitem[]` prints; absent where they are the default ones.
    pub acl: Option<String>,
    /// Its comment, if it has one.
    pub comment: Option<String>,
    /// Its first bytes, at most [`LARGE_OBJECT_HEAD`].
    pub head: Vec<u8>,
    /// Whether `head` is all of it. Else [`read_large_object`] gives the rest.
    pub complete: bool,
}

/// How many bytes of each large object come with the list.
pub const LARGE_OBJECT_HEAD: u32 = 64 << 10;

/// How many large objects [`large_objects`] gives at once, at most: 8 MiB with their heads.
pub const LARGE_OBJECT_BATCH: i64 = 128;

/// How many at most are named in an error.
const NAMED: i64 = 20;

/// How many large objects there are in the snapshot. An error names those that the role may not
/// read.
pub async fn count_large_objects(session: &Session) -> Result<u64, PgError> {
    let doing = "checking privileges on large objects";
    // has_largeobject_privilege is there since version 18 only.
    let sql = "
        SELECT m.oid::text AS oid, count(*) OVER () AS total
        FROM pg_catalog.pg_largeobject_metadata m
        WHERE NOT pg_catalog.current_setting('is_superuser')::pg_catalog.bool
          AND NOT pg_catalog.current_setting('lo_compat_privileges')::pg_catalog.bool
          AND NOT EXISTS (
              SELECT FROM pg_catalog.aclexplode(
                  coalesce(m.lomacl, pg_catalog.acldefault('L', m.lomowner))) x
              WHERE x.privilege_type = 'SELECT'
                AND (x.grantee = 0 OR pg_catalog.pg_has_role(x.grantee, 'USAGE')))
        ORDER BY m.oid LIMIT $1";
    let denied = rows(session, doing, sql, &[&NAMED]).await?;
    if let Some(first) = denied.first() {
        let total = count(first, "total")?;
        let mut names: Vec<String> =
            denied.iter().map(|row| get(row, "oid")).collect::<Result<_, _>>()?;
        if let Some(more) = total.checked_sub(names.len() as u64).filter(|more| *more > 0) {
            names.push(format!("and {more} more"));
        }
        return Err(PgError::objects("no privilege to read (SELECT) large objects", names));
    }
    let sql = "SELECT count(*) AS total FROM pg_catalog.pg_largeobject_metadata";
    count(&one(session, "counting large objects", sql, &[]).await?, "total")
}

/// The next large objects in the order of their oids, after `after` (0 for the first), each with
/// its first bytes; none when there are no more. Reads what the snapshot of the session sees.
pub async fn large_objects(session: &Session, after: u32) -> Result<Vec<LargeObject>, PgError> {
    let sql = "
        SELECT m.oid, pg_catalog.pg_get_userbyid(m.lomowner)::text AS owner, m.lomacl::text AS acl,
               pg_catalog.obj_description(m.oid, 'pg_largeobject') AS comment,
               pg_catalog.lo_get(m.oid, 0, $2) AS head
        FROM (SELECT oid, lomowner, lomacl FROM pg_catalog.pg_largeobject_metadata
              WHERE oid > $1 ORDER BY oid LIMIT $3) m
        ORDER BY m.oid";
    let doing = format!("reading large objects after {after}");
    // One byte more than the head shows whether there is more.
    let ask = i32::try_from(LARGE_OBJECT_HEAD).unwrap_or(0) + 1;
    let head_len = usize::try_from(LARGE_OBJECT_HEAD).unwrap_or(0);
    let mut found = Vec::new();
    for row in rows(session, &doing, sql, &[&after, &ask, &LARGE_OBJECT_BATCH]).await? {
        let mut head: Vec<u8> = get(&row, "head")?;
        let complete = head.len() <= head_len;
        head.truncate(head_len);
        found.push(LargeObject {
            oid: get(&row, "oid")?,
            owner: get(&row, "owner")?,
            acl: get(&row, "acl")?,
            comment: get(&row, "comment")?,
            head,
            complete,
        });
    }
    Ok(found)
}

/// At most `length` bytes of a large object from `offset` on; fewer only at its end.
pub async fn read_large_object(
    session: &Session,
    oid: u32,
    offset: u64,
    length: u32,
) -> Result<Vec<u8>, PgError> {
    let doing = format!("reading large object {oid} at offset {offset}");
    let (Ok(at), Ok(length)) = (i64::try_from(offset), i32::try_from(length)) else {
        return Err(PgError::protocol(doing, "the offset is out of range"));
    };
    let sql = "SELECT pg_catalog.lo_get($1, $2, $3) AS bytes";
    get(&one(session, &doing, sql, &[&oid, &at, &length]).await?, "bytes")
}
