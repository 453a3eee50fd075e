//! The tokens of one statement, one at a time (manual 4.1). Nothing here recurses, and nothing is
//! kept of what has been read: a statement of any size and any depth of parentheses is as good as
//! another.

/// What a token is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// A word without quotes: a key word or a name.
    Word,
    /// A name in double quotes.
    Quoted,
    /// A string: `'...'`, `E'...'`, a dollar quote, and `B'...'`, `X'...'`, `N'...'`.
    String,
    /// A number without sign.
    Number,
    /// Any other single character, and any that has no place in SQL.
    Symbol(u8),
    /// The text is at its end.
    End,
}

/// A token's place in the text.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) start: usize,
    pub(super) end: usize,
}

/// The token at or after `at`, white space and comments passed over. What is not closed ends with
/// the text. `standard` is `standard_conforming_strings`.
pub(super) fn token(text: &str, at: usize, standard: bool) -> Token {
    let bytes = text.as_bytes();
    let start = after_space(bytes, at);
    let byte = |place: usize| bytes.get(place).copied();
    let Some(first) = byte(start) else {
        return Token { kind: Kind::End, start: bytes.len(), end: bytes.len() };
    };
    let (kind, end) = match first {
        b'\'' => (Kind::String, after_string(bytes, start + 1, !standard)),
        b'"' => (Kind::Quoted, after_doubled(bytes, start + 1, b'"')),
        b'$' => match after_dollars(bytes, start) {
            Some(end) => (Kind::String, end),
            None => (Kind::Symbol(b'$'), start + 1),
        },
        b'0'..=b'9' => (Kind::Number, after_number(bytes, start)),
        b'.' if byte(start + 1).is_some_and(|b| b.is_ascii_digit()) => {
            (Kind::Number, after_number(bytes, start))
        }
        _ if begins_word(first) => {
            let end = after(bytes, start, |b| begins_word(b) || b.is_ascii_digit() || b == b'$');
            match (bytes.get(start..end), byte(end)) {
                (Some(b"e" | b"E"), Some(b'\'')) => {
                    (Kind::String, after_string(bytes, end + 1, true))
                }
                (Some(b"b" | b"B" | b"x" | b"X" | b"n" | b"N"), Some(b'\'')) => {
                    (Kind::String, after_string(bytes, end + 1, false))
                }
                _ => (Kind::Word, end),
            }
        }
        symbol => (Kind::Symbol(symbol), start + 1),
    };
    Token { kind, start, end }
}

fn begins_word(byte: u8) -> bool {
    byte == b'_' || byte >= 0x80 || byte.is_ascii_alphabetic()
}

/// Where the run of bytes like this ends.
fn after(bytes: &[u8], start: usize, of: impl Fn(u8) -> bool) -> usize {
    let run = bytes.iter().skip(start).take_while(|byte| of(**byte)).count();
    start + run
}

fn after_space(bytes: &[u8], mut at: usize) -> usize {
    loop {
        at = after(bytes, at, |byte| matches!(byte, b' ' | b'\t'..=b'\r'));
        match bytes.get(at..).unwrap_or_default() {
            [b'-', b'-', ..] => at = after(bytes, at, |byte| !matches!(byte, b'\n' | b'\r')),
            [b'/', b'*', ..] => at = after_comment(bytes, at + 2),
            _ => return at,
        }
    }
}

fn after_comment(bytes: &[u8], mut at: usize) -> usize {
    let mut depth = 1_usize;
    while depth > 0 {
        match bytes.get(at..).unwrap_or_default() {
            [] => break,
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            [..] => at += 1,
        }
    }
    at
}

/// Behind a quoted run in which the quote is written twice.
fn after_doubled(bytes: &[u8], mut at: usize, quote: u8) -> usize {
    loop {
        at = after(bytes, at, |byte| byte != quote);
        match bytes.get(at..).unwrap_or_default() {
            [one, two, ..] if *one == quote && *two == quote => at += 2,
            [] => return at,
            [..] => return at + 1,
        }
    }
}

fn after_string(bytes: &[u8], mut at: usize, escapes: bool) -> usize {
    if !escapes {
        return after_doubled(bytes, at, b'\'');
    }
    loop {
        at = after(bytes, at, |byte| byte != b'\'' && byte != b'\\');
        match bytes.get(at..).unwrap_or_default() {
            [b'\\', _, ..] | [b'\'', b'\'', ..] => at += 2,
            [] => return at,
            [b'\\', ..] => return at + 1,
            // Behind a line end it may go on.
            [..] => {
                let space = after(bytes, at + 1, |byte| matches!(byte, b' ' | b'\t'..=b'\r'));
                let between = bytes.get(at + 1..space).unwrap_or_default();
                let line = between.iter().any(|byte| matches!(byte, b'\n' | b'\r'));
                if !line || bytes.get(space) != Some(&b'\'') {
                    return at + 1;
                }
                at = space + 1;
            }
        }
    }
}

fn after_number(bytes: &[u8], start: usize) -> usize {
    let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let mut end = start;
    loop {
        end = after(bytes, end, |byte| byte == b'_' || byte.is_ascii_alphanumeric());
        let last = end.checked_sub(1).and_then(|last| bytes.get(last));
        // `1e-5`: the sign belongs to the exponent.
        let goes_on = match bytes.get(end) {
            Some(b'.') => true,
            Some(b'+' | b'-') => matches!(last, Some(b'e' | b'E')),
            _ => false,
        };
        if !goes_on || !digit(end + 1) {
            return end;
        }
        end += 1;
    }
}

/// The length of `$tag$` at `start`, if there is one.
fn dollar_tag(bytes: &[u8], start: usize) -> Option<usize> {
    let end = after(bytes, start + 1, |byte| begins_word(byte) || byte.is_ascii_digit());
    let digit = bytes.get(start + 1).is_some_and(u8::is_ascii_digit);
    (bytes.get(end) == Some(&b'$') && !digit).then_some(end + 1 - start)
}

fn after_dollars(bytes: &[u8], start: usize) -> Option<usize> {
    let length = dollar_tag(bytes, start)?;
    let tag = bytes.get(start..start + length)?;
    let body = bytes.get(start + length..).unwrap_or_default();
    let found = memchr::memmem::find(body, tag).map(|at| start + length + at + length);
    Some(found.unwrap_or(bytes.len()))
}

/// The name in double quotes that this is.
pub(super) fn unquoted(text: &str) -> String {
    let inner = text.strip_prefix('"').unwrap_or(text);
    inner.strip_suffix('"').unwrap_or(inner).replace("\"\"", "\"")
}

/// The value of a string token; none for a bit string and for an escape that `pg_dump` and the
/// server never write.
pub(super) fn string_value(text: &str, standard: bool) -> Option<String> {
    if text.starts_with('$') {
        let tag = dollar_tag(text.as_bytes(), 0)?;
        return text.get(tag..text.len().checked_sub(tag)?).map(str::to_owned);
    }
    let escaped = text.strip_prefix(['e', 'E']);
    let quoted = escaped.or_else(|| text.strip_prefix(['n', 'N'])).unwrap_or(text);
    let inner = quoted.strip_prefix('\'')?.strip_suffix('\'')?;
    let backslash = escaped.is_some() || (!standard && text.starts_with('\''));
    let mut value = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        value.push(match c {
            // Of two, one.
            '\'' => chars.next().filter(|c| *c == '\'')?,
            '\\' if backslash => match chars.next()? {
                'n' => '\n',
                't' => '\t',
                'r' => '\r',
                'b' => '\u{8}',
                'f' => '\u{c}',
                '0'..='9' | 'x' | 'u' | 'U' => return None,
                other => other,
            },
            other => other,
        });
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str) -> Vec<(Kind, &str)> {
        let mut at = 0;
        let mut out = Vec::new();
        loop {
            let found = token(text, at, true);
            if found.kind == Kind::End {
                return out;
            }
            out.push((found.kind, &text[found.start..found.end]));
            at = found.end;
        }
    }

    #[test]
    fn tokens_of_every_kind() {
        use Kind::{Number, Quoted, String, Symbol, Word};
        assert_eq!(
            all("a1$ -- c'\n /* x /* ' */ */ \"b \"\"c\" 'it''s' E'\\'' $f$ ; $$ $f$ 1.5e-3 $1;"),
            [
                (Word, "a1$"),
                (Quoted, "\"b \"\"c\""),
                (String, "'it''s'"),
                (String, "E'\\''"),
                (String, "$f$ ; $$ $f$"),
                (Number, "1.5e-3"),
                (Symbol(b'$'), "$"),
                (Number, "1"),
                (Symbol(b';'), ";"),
            ]
        );
        // A string with escapes may go on behind a line end, another may not.
        assert_eq!(all("E'a' \n '\\'' b"), [(String, "E'a' \n '\\''"), (Word, "b")]);
        assert_eq!(all("E'a' '\\' b").len(), 3);
        // What is not closed goes to the end, once.
        for open in ["'a", "E'a\\", "\"a", "$a$ b", "/* a"] {
            assert!(all(open).len() <= 1, "{open}");
        }
    }

    #[test]
    fn values_of_strings() {
        for (text, standard, value) in [
            ("'it''s'", true, Some("it's")),
            ("'a\\b'", true, Some("a\\b")),
            ("'a\\\\b'", false, Some("a\\b")),
            ("E'a\\\\b\\n'''", true, Some("a\\b\n'")),
            ("E'\\''''", true, Some("''")),
            ("$x$a$b$x$", true, Some("a$b")),
            ("E'\\101'", true, None),
            ("B'1'", true, None),
            ("'open", true, None),
            ("$x$", true, None),
        ] {
            assert_eq!(string_value(text, standard).as_deref(), value, "{text}");
        }
        assert_eq!(unquoted("\"a\"\"b\""), "a\"b");
    }
}
