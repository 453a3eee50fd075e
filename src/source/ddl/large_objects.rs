//! Statements about large objects, in each of the forms that `pg_dump` writes.

use super::DdlError;
use super::cursor::Cursor;
use super::lex::Kind;

/// What a statement says of large objects.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::source) enum LargeObject {
    /// There is one of this OID.
    Create(u32),
    /// `pg_dump --clean`: there may be one, and it goes.
    Unlink,
    /// Its bytes follow.
    Open(u32),
    /// Bytes of the one that is open.
    Write,
    /// They are all there.
    Close,
    /// Whom it belongs to.
    Owner(u32, String),
    /// Its comment; none removes it.
    Comment(u32, Option<String>),
    /// A security label.
    Label { oid: u32, provider: String, label: String },
    /// Privileges given or taken.
    Change(u32, Change),
}

/// `GRANT` or `REVOKE`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::source) struct Change {
    pub(in crate::source) grant: bool,
    /// [`SELECT`] and [`UPDATE`].
    pub(in crate::source) privileges: u8,
    /// `WITH GRANT OPTION`, `GRANT OPTION FOR`.
    pub(in crate::source) option: bool,
    /// Whose they are; none is PUBLIC.
    pub(in crate::source) grantees: Vec<Option<String>>,
}

/// The privilege to read, and the first letter of an `aclitem`.
pub(in crate::source) const SELECT: u8 = 1;
/// The privilege to write, and the second.
pub(in crate::source) const UPDATE: u8 = 2;

/// What a statement says of large objects; none if it is about something else.
pub(in crate::source) fn large_object(
    sql: &str,
    standard: bool,
) -> Result<Option<LargeObject>, DdlError> {
    let at = &mut Cursor::new(sql, standard);
    match at.any_word().as_str() {
        "SELECT" => function(at),
        "ALTER" if at.words(&["large", "object"]) => {
            let oid = oid(at)?;
            at.expect(&["owner", "to"])?;
            let owner = at.name()?;
            at.end()?;
            Ok(Some(LargeObject::Owner(oid, owner)))
        }
        "COMMENT" if at.words(&["on", "large", "object"]) => {
            let oid = oid(at)?;
            at.expect(&["is"])?;
            let comment = if at.word("null") { None } else { Some(at.string()?) };
            at.end()?;
            Ok(Some(LargeObject::Comment(oid, comment)))
        }
        "SECURITY" if at.words(&["label", "for"]) => {
            let provider = at.name()?;
            if !at.words(&["on", "large", "object"]) {
                return Ok(None);
            }
            let oid = oid(at)?;
            at.expect(&["is"])?;
            let label = at.string()?;
            at.end()?;
            Ok(Some(LargeObject::Label { oid, provider, label }))
        }
        "GRANT" => change(at, true),
        "REVOKE" => change(at, false),
        _ => Ok(None),
    }
}

/// Whose session it is from now on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::source) enum Session {
    /// Of whoever is logged in.
    Own,
    /// Of this role.
    Of(String),
}

/// What `SET SESSION AUTHORIZATION` says; none if the statement does something else.
pub(in crate::source) fn session_authorization(
    sql: &str,
    standard: bool,
) -> Result<Option<Session>, DdlError> {
    let at = &mut Cursor::new(sql, standard);
    let set = at.words(&["set", "session", "authorization"]);
    if !set && !at.words(&["reset", "session", "authorization"]) {
        return Ok(None);
    }
    let role = if !set || at.word("default") {
        Session::Own
    } else if at.kind() == Kind::String {
        Session::Of(at.string()?)
    } else {
        Session::Of(at.name()?)
    };
    at.end()?;
    Ok(Some(role))
}

/// Behind `SELECT`: a call of one of the functions, whatever follows its first argument.
fn function(at: &mut Cursor<'_>) -> Result<Option<LargeObject>, DdlError> {
    let here = at.clone();
    if at.kind() != Kind::Word {
        return Ok(None);
    }
    let function = at.written()?;
    if function.schema.as_deref().is_some_and(|schema| schema != "pg_catalog") {
        return Ok(None);
    }
    let name = function.name.as_str();
    if !matches!(name, "lo_create" | "lo_unlink" | "lo_open" | "lowrite" | "lo_close") {
        return Ok(None);
    }
    at.expect_symbol(b'(')?;
    // What --clean unlinks may be the column of a query.
    if name == "lo_unlink" {
        return Ok(Some(LargeObject::Unlink));
    }
    // The dump's own session opens one at a time, and so each as its number 0.
    if matches!(name, "lowrite" | "lo_close") {
        if at.integer()? != 0 {
            return Err(here.unexpected("the large object that is open"));
        }
        return Ok(Some(if name == "lowrite" { LargeObject::Write } else { LargeObject::Close }));
    }
    let oid = oid(at)?;
    Ok(Some(if name == "lo_create" { LargeObject::Create(oid) } else { LargeObject::Open(oid) }))
}

/// An OID, as a number or within quotes. 0 is none.
fn oid(at: &mut Cursor<'_>) -> Result<u32, DdlError> {
    let here = at.clone();
    let oid = if at.kind() == Kind::String {
        at.string()?.parse().unwrap_or(0)
    } else {
        u32::try_from(at.integer()?).unwrap_or(0)
    };
    if oid == 0 { Err(here.unexpected("the OID of a large object")) } else { Ok(oid) }
}

/// Behind `GRANT` or `REVOKE`, if it is about a large object.
fn change(at: &mut Cursor<'_>, grant: bool) -> Result<Option<LargeObject>, DdlError> {
    let mut option = !grant && at.words(&["grant", "option", "for"]);
    let mut privileges = 0;
    loop {
        privileges |= match at.any_word().as_str() {
            "SELECT" => SELECT,
            "UPDATE" => UPDATE,
            "ALL" => {
                at.word("privileges");
                SELECT | UPDATE
            }
            _ => return Ok(None),
        };
        if !at.symbol(b',') {
            break;
        }
    }
    if !at.words(&["on", "large", "object"]) {
        return Ok(None);
    }
    let oid = oid(at)?;
    at.expect(&[if grant { "to" } else { "from" }])?;
    let mut grantees = Vec::new();
    loop {
        at.word("group");
        // A role of this name would be in quotes.
        grantees.push(if at.word("public") { None } else { Some(at.name()?) });
        if !at.symbol(b',') {
            break;
        }
    }
    option |= grant && at.words(&["with", "grant", "option"]);
    at.end()?;
    Ok(Some(LargeObject::Change(oid, Change { grant, privileges, option, grantees })))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(sql: &str) -> Option<LargeObject> {
        large_object(sql, true).unwrap()
    }

    #[test]
    fn what_statements_say_of_large_objects() {
        assert_eq!(said("SELECT pg_catalog.lo_create('16390');"), Some(LargeObject::Create(16390)));
        let open = "SELECT pg_catalog.lo_open('4294967294', 131072);";
        assert_eq!(said(open), Some(LargeObject::Open(4_294_967_294)));
        assert_eq!(said("SELECT pg_catalog.lowrite(0, '\\x00');"), Some(LargeObject::Write));
        assert_eq!(said("SELECT pg_catalog.lo_close(0);"), Some(LargeObject::Close));
        for unlink in [
            "SELECT pg_catalog.lo_unlink('7');",
            "SELECT pg_catalog.lo_unlink(oid) FROM pg_catalog.pg_largeobject_metadata WHERE oid = '7';",
        ] {
            assert_eq!(said(unlink), Some(LargeObject::Unlink));
        }
        let owner = said("ALTER LARGE OBJECT 7 OWNER TO \"a \"\"b\"\"\";");
        assert_eq!(owner, Some(LargeObject::Owner(7, "a \"b\"".into())));
        let comment = said("COMMENT ON LARGE OBJECT 7 IS 'it''s';");
        assert_eq!(comment, Some(LargeObject::Comment(7, Some("it's".into()))));
        let label = said("SECURITY LABEL FOR p ON LARGE OBJECT 7 IS 'l';");
        let expected = LargeObject::Label { oid: 7, provider: "p".into(), label: "l".into() };
        assert_eq!(label, Some(expected));
        let change = |sql| match said(sql) {
            Some(LargeObject::Change(7, change)) => change,
            other => panic!("{sql}: {other:?}"),
        };
        let granted = change("GRANT SELECT,UPDATE ON LARGE OBJECT 7 TO a WITH GRANT OPTION;");
        let grantees = vec![Some("a".into())];
        assert_eq!(granted, Change { grant: true, privileges: 3, option: true, grantees });
        let revoked = change("REVOKE ALL ON LARGE OBJECT 7 FROM PUBLIC;");
        let grantees = vec![None];
        assert_eq!(revoked, Change { grant: false, privileges: 3, option: false, grantees });
        assert_eq!(
            change("GRANT SELECT ON LARGE OBJECT 7 TO \"public\";").grantees[0],
            Some("public".into())
        );
    }

    #[test]
    fn what_is_about_something_else() {
        for other in [
            "SELECT pg_catalog.setval('s', 1, true);",
            "SELECT * FROM s.lo_create('7');",
            "SELECT s.lo_create('7');",
            "GRANT SELECT ON TABLE t TO a;",
            "GRANT SELECT(a),UPDATE(b) ON TABLE t TO a;",
            "GRANT a TO b;",
            "ALTER LARGER OBJECT;",
            "COMMENT ON TABLE t IS 'on large object 7';",
            "SECURITY LABEL FOR p ON TABLE t IS 'l';",
            "CREATE TABLE t ();",
        ] {
            assert_eq!(said(other), None, "{other}");
        }
        for wrong in [
            "SELECT pg_catalog.lo_create('0');",
            "SELECT pg_catalog.lo_create('4294967296');",
            "SELECT pg_catalog.lowrite(1, '\\x00');",
            "ALTER LARGE OBJECT 7 OWNER TO a, b;",
            "GRANT SELECT ON LARGE OBJECT 7, 8 TO a;",
        ] {
            assert!(large_object(wrong, true).is_err(), "{wrong}");
        }
    }

    #[test]
    fn whose_session_it_is() {
        let role = |sql| session_authorization(sql, true).unwrap();
        assert_eq!(role("SET SESSION AUTHORIZATION 'a b';"), Some(Session::Of("a b".into())));
        assert_eq!(role("SET SESSION AUTHORIZATION \"a b\";"), Some(Session::Of("a b".into())));
        assert_eq!(role("SET SESSION AUTHORIZATION DEFAULT;"), Some(Session::Own));
        assert_eq!(role("RESET SESSION AUTHORIZATION;"), Some(Session::Own));
        assert_eq!(role("SET search_path = a;"), None);
    }
}
