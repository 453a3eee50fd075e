//! Partition bounds and expressions: as they stand, but for times, which a dump has in the time zone
//! of its session.

use super::DdlError;
use super::cursor::Cursor;
use super::lex::{Kind, string_value, token};
use super::scope::Scope;
use super::tables::Relation;
use super::types::NO_TYPMOD;
use crate::source::in_utc;

/// `FOR VALUES ...` or `DEFAULT`, as it stands.
pub(super) fn bound(at: &mut Cursor<'_>) -> Result<String, DdlError> {
    let start = at.here();
    if !at.word("default") {
        at.expect(&["for", "values"])?;
        match at.any_word().as_str() {
            "IN" | "WITH" => at.parenthesised()?,
            "FROM" => {
                at.parenthesised()?;
                at.expect(&["to"])?;
                at.parenthesised()?;
            }
            _ => return Err(at.unexpected("IN, FROM or WITH")),
        }
    }
    Ok(at.since(start).to_owned())
}

/// The bound of a partition of `parent` as a session in UTC writes it.
pub(super) fn bound_in_utc(scope: &Scope, parent: &Relation, bound: &str) -> String {
    let zoned = parent.key.as_deref().and_then(|key| zoned(scope, parent, key).ok());
    let zoned = zoned.unwrap_or_default();
    if !zoned.contains(&true) {
        return bound.to_owned();
    }
    // The values of a list are all of its one column.
    let list = bound.starts_with("FOR VALUES IN");
    let (mut out, mut at, mut column) = (String::new(), 0, 0);
    loop {
        let found = token(bound, at, true);
        let text = bound.get(found.start..found.end).unwrap_or_default();
        out.push_str(bound.get(at..found.start).unwrap_or_default());
        match found.kind {
            Kind::End => return out,
            Kind::Symbol(b'(') => column = 0,
            Kind::Symbol(b',') if !list => column += 1,
            _ => {}
        }
        let value = match found.kind {
            Kind::String if zoned.get(column) == Some(&true) => string_value(text, true),
            _ => None,
        };
        match value.as_deref().and_then(in_utc) {
            Some(time) => {
                out.push('\'');
                out.push_str(&time);
                out.push('\'');
            }
            None => out.push_str(text),
        }
        at = found.end;
    }
}

/// An expression as a session in UTC writes it: its constants of type `timestamptz`. Those within
/// arrays stay as they are.
pub(super) fn expression_in_utc(text: &str) -> String {
    let (mut out, mut at) = (String::new(), 0);
    loop {
        let found = token(text, at, true);
        out.push_str(text.get(at..found.end).unwrap_or_default());
        at = found.end;
        match found.kind {
            Kind::End => return out,
            Kind::String => {}
            _ => continue,
        }
        let after = text.get(at..).unwrap_or_default();
        let Some(cast) = after.strip_prefix("::timestamp") else { continue };
        // `timestamp(3) with time zone`
        let cast = cast.strip_prefix('(').and_then(|it| it.split_once(')')).map_or(cast, |it| it.1);
        let zoned = cast.strip_prefix(" with time zone").is_some_and(|it| !it.starts_with('['));
        let value = text.get(found.start..found.end).and_then(|text| string_value(text, true));
        if let (true, Some(time)) = (zoned, value.as_deref().and_then(in_utc)) {
            out.truncate(out.len() - (found.end - found.start));
            out.push('\'');
            out.push_str(&time);
            out.push('\'');
        }
    }
}

/// Of each part of a partition key: whether it is a column of times with a zone.
fn zoned(scope: &Scope, table: &Relation, key: &str) -> Result<Vec<bool>, DdlError> {
    let at = &mut Cursor::new(key, true);
    at.any_word();
    at.expect_symbol(b'(')?;
    let mut found = Vec::new();
    loop {
        let name = at.clone().name().ok();
        let column = table.columns.iter().find(|column| Some(&column.name) == name.as_ref());
        let resolved = column.and_then(|it| scope.types.resolve(it.of, NO_TYPMOD));
        if name.is_some() {
            at.advance();
        }
        let name = resolved.map(|resolved| resolved.base.name);
        // What is called is a function.
        let plain = !at.is_symbol(b'(') && !at.is_symbol(b'.');
        found.push(
            plain && name.is_some_and(|it| it.schema == "pg_catalog" && it.name == "timestamptz"),
        );
        at.pass(|_| false)?;
        if !at.symbol(b',') {
            return Ok(found);
        }
    }
}
