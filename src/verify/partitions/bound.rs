//! The texts of partition keys and bounds, as the server writes them (`pg_get_partkeydef`, and
//! `pg_get_expr` of `relpartbound`). What is not as simple as that is none.

/// How a table is partitioned. Hashes are the server's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Strategy {
    List,
    Range,
}

/// Which rows a partition holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Bound {
    Default,
    /// These values; none is NULL.
    In(Vec<Option<Vec<u8>>>),
    /// From the first, which is part of it, to the second, which is not.
    Range(Vec<Edge>, Vec<Edge>),
}

/// One column's part of an end of a range.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Edge {
    /// `MINVALUE`.
    Least,
    /// `MAXVALUE`.
    Most,
    At(Vec<u8>),
}

/// Strategy and columns; none if an expression, collation or operator class is among them.
pub(super) fn key(text: &str) -> Option<(Strategy, Vec<String>)> {
    let (strategy, mut rest) = match text.split_once(" (")? {
        ("LIST", rest) => (Strategy::List, rest),
        ("RANGE", rest) => (Strategy::Range, rest),
        _ => return None,
    };
    let mut columns = Vec::new();
    loop {
        let (column, after) = identifier(rest)?;
        columns.push(column);
        match after {
            ")" => return Some((strategy, columns)),
            _ => rest = after.strip_prefix(", ")?,
        }
    }
}

/// The first identifier, unquoted, and what follows it.
fn identifier(text: &str) -> Option<(String, &str)> {
    if let Some(mut rest) = text.strip_prefix('"') {
        let mut name = String::new();
        loop {
            let (part, after) = rest.split_once('"')?;
            name.push_str(part);
            match after.strip_prefix('"') {
                Some(more) => {
                    name.push('"');
                    rest = more;
                }
                None => return Some((name, after)),
            }
        }
    }
    let word = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
    let end = text.find(|c| !word(c))?;
    let (name, after) = text.split_at_checked(end)?;
    (!name.is_empty()).then(|| (name.to_owned(), after))
}

/// What a bound says.
pub(super) fn parse(text: &str) -> Option<Bound> {
    if text == "DEFAULT" {
        return Some(Bound::Default);
    }
    let text = text.strip_prefix("FOR VALUES ")?;
    if let Some(rest) = text.strip_prefix("IN (") {
        let (values, rest) = values(rest)?;
        let one = |value| match value {
            Item::Word("NULL") => Some(None),
            value => literal(value).map(Some),
        };
        let values = values.into_iter().map(one).collect::<Option<_>>()?;
        return rest.is_empty().then_some(Bound::In(values));
    }
    let (from, rest) = values(text.strip_prefix("FROM (")?)?;
    let (to, rest) = values(rest.strip_prefix(" TO (")?)?;
    let edges = |values: Vec<Item<'_>>| {
        let edge = |value| match value {
            Item::Word("MINVALUE") => Some(Edge::Least),
            Item::Word("MAXVALUE") => Some(Edge::Most),
            Item::Word("NULL") => None,
            value => literal(value).map(Edge::At),
        };
        values.into_iter().map(edge).collect::<Option<Vec<_>>>()
    };
    rest.is_empty().then_some(Bound::Range(edges(from)?, edges(to)?))
}

enum Item<'a> {
    Word(&'a str),
    Quoted(Vec<u8>),
}

/// A constant's text as its type's output function writes it.
fn literal(item: Item<'_>) -> Option<Vec<u8>> {
    match item {
        Item::Quoted(value) => Some(value),
        // The server writes these two without quotes.
        Item::Word("true") => Some(b"t".to_vec()),
        Item::Word("false") => Some(b"f".to_vec()),
        Item::Word(word) => {
            let number = word.bytes().all(|b| b.is_ascii_digit() || b == b'.');
            number.then(|| word.as_bytes().to_vec())
        }
    }
}

/// The values up to the closing parenthesis, and what follows it.
fn values(mut text: &str) -> Option<(Vec<Item<'_>>, &str)> {
    let mut out = Vec::new();
    loop {
        let (item, after) = item(text)?;
        out.push(item);
        match after.strip_prefix(", ") {
            Some(more) => text = more,
            None => return Some((out, after.strip_prefix(')')?)),
        }
    }
}

/// A word or number, or a string: `'it''s'`, `E'back\\slash'`.
fn item(text: &str) -> Option<(Item<'_>, &str)> {
    let escaped = text.strip_prefix("E'");
    let Some(mut rest) = escaped.or_else(|| text.strip_prefix('\'')) else {
        let (word, _) = text.split_at_checked(text.find([',', ')'])?)?;
        return Some((Item::Word(word), text.strip_prefix(word)?));
    };
    let mut value = String::new();
    loop {
        let (part, after) = rest.split_once('\'')?;
        value.push_str(part);
        let Some(more) = after.strip_prefix('\'') else {
            let value = if escaped.is_some() { value.replace("\\\\", "\\") } else { value };
            return Some((Item::Quoted(value.into_bytes()), after));
        };
        value.push('\'');
        rest = more;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_columns_alone() {
        let columns = |text| key(text).map(|(_, columns)| columns);
        assert_eq!(key("RANGE (a)"), Some((Strategy::Range, vec!["a".into()])));
        assert_eq!(key("LIST (kind)"), Some((Strategy::List, vec!["kind".into()])));
        assert_eq!(columns("RANGE (a, \"B \"\"c\")"), Some(vec!["a".into(), "B \"c".into()]));
        assert_eq!(columns("LIST (ឈ្មោះ)"), None, "marks are no letters: left to the server");
        for other in [
            "HASH (a)",
            "RANGE (lower(a))",
            "RANGE (((a + 1)))",
            "RANGE (a COLLATE \"C\")",
            "LIST (a text_pattern_ops)",
            "RANGE (a",
            "RANGE ()",
            "",
        ] {
            assert_eq!(key(other), None, "{other}");
        }
    }

    #[test]
    fn bounds_as_the_server_writes_them() {
        let at = |text: &str| Edge::At(text.as_bytes().to_vec());
        assert_eq!(parse("DEFAULT"), Some(Bound::Default));
        assert_eq!(
            parse("FOR VALUES FROM ('-5', MINVALUE) TO (10, 1.5)"),
            Some(Bound::Range(vec![at("-5"), Edge::Least], vec![at("10"), at("1.5")]))
        );
        assert_eq!(
            parse("FOR VALUES IN ('it''s', E'a\\\\b''', NULL, 3, true)"),
            Some(Bound::In(vec![
                Some(b"it's".to_vec()),
                Some(b"a\\b'".to_vec()),
                None,
                Some(b"3".to_vec()),
                Some(b"t".to_vec())
            ]))
        );
        for other in [
            "FOR VALUES WITH (modulus 4, remainder 0)",
            "FOR VALUES IN ('a'::text)",
            "FOR VALUES IN ('a) ",
            "FOR VALUES IN (1) ",
            "FOR VALUES FROM (NULL) TO (1)",
            "FOR VALUES FROM (1)",
            "",
        ] {
            assert_eq!(parse(other), None, "{other}");
        }
    }
}
