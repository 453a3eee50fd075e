//! The qualified names that an object's SQL mentions. `pg_dump` writes with no search path, so all
//! that is not the server's own is named with its schema: what an object needs is to be seen.

use std::collections::BTreeSet;

use super::roles::identifier;

/// A name with its schema, as SQL mentions it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Mention {
    /// The schema; or a table, where it is a column that is named.
    pub(super) schema: String,
    /// The name.
    pub(super) name: String,
    /// Whether it is within a string: a function's body, `'public.seq'::regclass`.
    pub(super) quoted: bool,
}

/// All of them, in order.
pub(super) fn mentions(sql: &str) -> Vec<Mention> {
    let mut out = Vec::new();
    scan(sql, false, &mut out);
    out
}

/// The same, each once.
pub(super) fn distinct(mentions: &[Mention]) -> BTreeSet<Mention> {
    mentions.iter().cloned().collect()
}

fn scan(sql: &str, quoted: bool, out: &mut Vec<Mention>) {
    let mut rest = sql;
    while let Some(first) = rest.chars().next() {
        if let Some(text) = rest.strip_prefix("--") {
            rest = text.find('\n').and_then(|end| text.get(end..)).unwrap_or_default();
        } else if first == '\'' {
            let (text, after) = string(rest, false);
            scan_string(text, quoted, out);
            rest = after;
        } else if let Some(text) = rest.strip_prefix("E'") {
            let (text, after) = string(rest.get(1..).unwrap_or(text), true);
            scan_string(text, quoted, out);
            rest = after;
        } else if let Some((text, after)) = dollar(rest).filter(|_| first == '$') {
            scan_string(text, quoted, out);
            rest = after;
        } else if first == '"' || first == '_' || first.is_alphabetic() {
            let Some((schema, after)) = identifier(rest) else { return };
            rest = after;
            let Some(after) = rest.strip_prefix('.') else { continue };
            if let Some((name, after)) = identifier(after).filter(|_| !after.starts_with(' ')) {
                out.push(Mention { schema, name, quoted });
                rest = after;
            } else {
                let end = after.find(|c| !"+-*/<>=~!@#%^&|`?".contains(c)).unwrap_or(after.len());
                let (name, after) = after.split_at(end);
                out.push(Mention { schema, name: name.to_owned(), quoted });
                rest = after;
            }
        } else if first.is_numeric() {
            // `1.5`, `x1`: no name begins here.
            rest = rest.trim_start_matches(|c: char| c.is_alphanumeric() || matches!(c, '_' | '.'));
        } else {
            rest = rest.get(first.len_utf8()..).unwrap_or_default();
        }
    }
}

/// Strings within strings are not looked into: what they hold is looked at as it stands.
fn scan_string(text: &str, quoted: bool, out: &mut Vec<Mention>) {
    if quoted {
        return;
    }
    scan(&text.replace(['\'', '$'], " "), true, out);
}

/// A string from its quote on: what it holds, and what follows.
fn string(sql: &str, escapes: bool) -> (&str, &str) {
    let text = sql.get(1..).unwrap_or_default();
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if c == '\\' && escapes {
            chars.next();
        } else if c == '\'' && chars.next_if(|(_, c)| *c == '\'').is_none() {
            return (text.get(..at).unwrap_or_default(), text.get(at + 1..).unwrap_or_default());
        }
    }
    (text, "")
}

/// A dollar-quoted string: what it holds, and what follows.
fn dollar(sql: &str) -> Option<(&str, &str)> {
    let end = sql.get(1..)?.find(|c: char| !(c.is_alphanumeric() || c == '_'))? + 1;
    let tag = sql.get(..=end).filter(|tag| tag.ends_with('$'))?;
    let text = sql.get(tag.len()..)?;
    let at = text.find(tag)?;
    Some((text.get(..at)?, text.get(at + tag.len()..)?))
}

/// Guards against a dependency that is not seen, which would be missing in the target.
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_seen_wherever_they_are() {
        let sql = "-- Name: x.y\nCREATE TABLE public.\"a.B\" (m ext.mood DEFAULT 'ext.low'::ext.mood, \
                   n numeric(1,2) DEFAULT 1.5, CHECK ((m OPERATOR(ext.+) E'it\\'s' = $f$s.\"T\"$f$)));";
        let found: Vec<String> = mentions(sql)
            .iter()
            .map(|m| format!("{}/{}{}", m.schema, m.name, if m.quoted { "'" } else { "" }))
            .collect();
        assert_eq!(found, ["public/a.B", "ext/mood", "ext/low'", "ext/mood", "ext/+", "s/T'"]);
    }
}
