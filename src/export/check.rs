//! The schema's SQL, looked at before it is given to `psql`.
//!
//! `psql` takes a backslash outside of strings, names and comments for a command of its own, `\!`
//! among them. No SQL has one there, so a text that does is not what a server wrote.

use super::ExportError;
use crate::format::manifest::SchemaObject;

/// An object's part of its SQL file.
pub(super) fn slice<'a>(sql: &'a [u8], object: &SchemaObject) -> Option<&'a [u8]> {
    let start = usize::try_from(object.offset).ok()?;
    let end = start.checked_add(usize::try_from(object.length).ok()?)?;
    sql.get(start..end)
}

/// Checks every object of a file.
pub(super) fn objects(text: &[u8], objects: &[SchemaObject]) -> Result<(), ExportError> {
    for object in objects {
        let found = match slice(text, object) {
            Some(text) => sql(text),
            None => Err("its SQL lies outside the schema file"),
        };
        found.map_err(|problem| ExportError::Object {
            kind: object.kind.clone(),
            name: object.name.clone(),
            problem,
        })?;
    }
    Ok(())
}

const BACKSLASH: &str =
    "its SQL has a backslash outside of strings, which psql would take for a command";
const OPEN: &str = "its SQL has a string, a name or a comment without an end";

/// Checks some SQL that is to stand by itself.
pub(super) fn sql(text: &[u8]) -> Result<(), &'static str> {
    let mut rest = text;
    // Whether the byte before belongs to a word, and whether that word is E alone.
    let (mut in_word, mut escapes) = (false, false);
    while let Some((byte, after)) = rest.split_first() {
        let word = byte.is_ascii_alphanumeric() || *byte == b'_' || *byte >= 0x80;
        rest = match byte {
            b'\\' => return Err(BACKSLASH),
            b'\'' => quoted(after, b'\'', escapes).ok_or(OPEN)?,
            b'"' => quoted(after, b'"', false).ok_or(OPEN)?,
            b'$' if !in_word => dollar(after).ok_or(OPEN)?,
            b'-' if after.first() == Some(&b'-') => line_comment(after),
            b'/' if after.first() == Some(&b'*') => block_comment(after).ok_or(OPEN)?,
            _ => after,
        };
        escapes = !in_word && matches!(byte, b'e' | b'E');
        in_word = word || (in_word && *byte == b'$');
    }
    Ok(())
}

/// What follows a quoted text; a doubled quote reads as two texts side by side.
fn quoted(text: &[u8], quote: u8, escapes: bool) -> Option<&[u8]> {
    let mut rest = text;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        if *byte == quote {
            // Within E'' a doubled quote must not end it: what follows has escapes too.
            match after.split_first() {
                Some((next, more)) if *next == quote => rest = more,
                _ => return Some(rest),
            }
        } else if escapes && *byte == b'\\' {
            rest = after.split_first()?.1;
        }
    }
    None
}

/// What follows `$tag$ ... $tag$`; of a `$` that begins none, what follows the `$`.
fn dollar(text: &[u8]) -> Option<&[u8]> {
    let tag = text.iter().position(|byte| *byte == b'$').and_then(|end| text.get(..end));
    let Some(tag) = tag.filter(|tag| {
        tag.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_' || *byte >= 0x80)
            && !tag.first().is_some_and(u8::is_ascii_digit)
    }) else {
        return Some(text);
    };
    let end = [b"$", tag, b"$"].concat();
    let body = text.get(tag.len() + 1..)?;
    let mut from = 0;
    // Looks at the places of `$` only.
    while let Some(at) = body.get(from..)?.iter().position(|byte| *byte == b'$') {
        from += at;
        if body.get(from..)?.starts_with(&end) {
            return body.get(from + end.len()..);
        }
        from += 1;
    }
    None
}

fn line_comment(text: &[u8]) -> &[u8] {
    let end = text.iter().position(|byte| matches!(byte, b'\n' | b'\r'));
    end.and_then(|end| text.get(end..)).unwrap_or_default()
}

/// What follows a comment that may have others in it; `text` begins at its `*`.
fn block_comment(text: &[u8]) -> Option<&[u8]> {
    let mut rest = text.get(1..)?;
    let mut depth = 1_u32;
    loop {
        rest = match rest {
            [b'/', b'*', after @ ..] => {
                depth = depth.checked_add(1)?;
                after
            }
            [b'*', b'/', after @ ..] => {
                depth -= 1;
                if depth == 0 {
                    return Some(after);
                }
                after
            }
            [_, after @ ..] => after,
            [] => return None,
        };
    }
}

#[cfg(test)]
mod tests {
    //! Guards against an archive that makes `psql` run a program, and against refusing what
    //! servers write.
    use super::*;

    #[test]
    fn what_servers_write_passes() {
        for good in [
            "",
            "CREATE TABLE \"a\\b\" (c text DEFAULT 'x\\y'::text);",
            "SELECT E'it\\'s \\\\', E'''\\'', 'a''\\';",
            "COMMENT ON TABLE t IS 'a\\n''\\! ls';",
            "CREATE FUNCTION f() AS $_$ \\! ls $x$ $ $_$;",
            "CREATE FUNCTION f() AS $$\\$$;",
            "-- Name: a\\b\nSELECT 1;",
            "/* \\ /* \\ */ \\ */ SELECT a$b, $1, x[1:2];",
            "SELECT U&'d\\0061t', U&\"d\\0061\";",
            "SELECT '\u{1780}\\', \"\u{1780}\";",
        ] {
            assert_eq!(sql(good.as_bytes()), Ok(()), "{good}");
        }
    }

    #[test]
    fn what_psql_would_run_does_not() {
        for bad in [
            "\\! ls",
            "SELECT 1; \\! ls",
            "-- a\n\\! ls",
            "SELECT 'a\\' \\! ls",
            "SELECT E'a\\'' \\! ls",
            "SELECT typE'a\\' \\! ls",
            "SELECT $a$ $b$ $a$ \\! ls",
            "SELECT a$b$ \\! ls $b$",
            "/* a */ \\! ls",
            "-- a\r\\! ls",
        ] {
            assert_eq!(sql(bad.as_bytes()), Err(BACKSLASH), "{bad}");
        }
        for open in ["SELECT 'a", "SELECT \"a", "SELECT $$a", "/* a", "SELECT E'a\\'"] {
            assert_eq!(sql(open.as_bytes()), Err(OPEN), "{open}");
        }
    }
}
