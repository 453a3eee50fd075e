//! Names and strings on their way into SQL.

use super::manifest::Name;

/// `name` as an SQL identifier. Always in double quotes, so that no list of reserved words and no
/// rule of case folding has to be known.
pub fn ident(name: &str) -> String {
    let mut out = String::with_capacity(name.len() + 2);
    out.push('"');
    for c in name.chars() {
        if c == '"' {
            out.push('"');
        }
        out.push(c);
    }
    out.push('"');
    out
}

/// `text` as an SQL string literal that means the same whatever `standard_conforming_strings` is:
/// with a backslash in it, it is written as ` E'...'` (the leading space keeps the E apart from a
/// word before it).
pub fn literal(text: &str) -> String {
    let escaped = text.contains('\\');
    let mut out = String::with_capacity(text.len() + 4);
    out.push_str(if escaped { " E'" } else { "'" });
    for c in text.chars() {
        if c == '\'' || c == '\\' {
            out.push(c);
        }
        out.push(c);
    }
    out.push('\'');
    out
}

/// `schema.name`, both always quoted.
pub fn qualified(name: &Name) -> String {
    format!("{}.{}", ident(&name.schema), ident(&name.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guards against names that end their own quotes.
    #[test]
    fn quotes_are_doubled() {
        assert_eq!(ident("user"), "\"user\"");
        assert_eq!(ident("a\"b"), "\"a\"\"b\"");
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal("a\\'"), " E'a\\\\'''");
        assert_eq!(
            qualified(&Name::new("public", "Weird \"T\"")),
            "\"public\".\"Weird \"\"T\"\"\""
        );
    }
}
