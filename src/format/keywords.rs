//! Words that became keywords after the version that an archive came from.
//!
//! A server and its `pg_dump` quote what is a keyword to them. What became one later stands in their
//! SQL without quotes, and a newer server takes it for something else: a column `system_user`, an
//! argument `json`. In quotes each of these words means there what it meant in the source, also
//! where it is the name of a built-in type or function, because `pg_catalog` is searched first. So
//! they are all put into quotes. (Appendix C of the server's manual, SQL Key Words.)

/// The words that are not just names in every place, and since which major version; those that are
/// only "non-reserved" can stand wherever `pg_dump` writes a name.
const WORDS: [(&str, u64); 13] = [
    ("json", 17),
    ("json_array", 16),
    ("json_arrayagg", 16),
    ("json_exists", 17),
    ("json_object", 16),
    ("json_objectagg", 16),
    ("json_query", 17),
    ("json_scalar", 17),
    ("json_serialize", 17),
    ("json_table", 17),
    ("json_value", 17),
    ("merge_action", 17),
    ("system_user", 16),
];

/// Those that are new to a server of version `to` for SQL from a server of version `from`, both as
/// `server_version_num` has them.
pub fn new(from: u64, to: u64) -> Vec<&'static str> {
    let (from, to) = (from / 10_000, to / 10_000);
    WORDS.iter().filter(|(_, since)| from < *since && *since <= to).map(|(word, _)| *word).collect()
}

/// Those that are new to any server later than version `from`: for SQL that goes who knows where.
pub fn later(from: u64) -> Vec<&'static str> {
    new(from, u64::MAX)
}

/// The same SQL with these words in quotes where they stand as words: not in names that are quoted
/// already, texts, comments, or the bodies of functions.
pub fn quoted(sql: &str, words: &[&str]) -> String {
    if !words.iter().any(|word| sql.contains(word)) {
        return sql.to_owned();
    }
    let mut out = String::with_capacity(sql.len() + 64);
    let mut rest = sql;
    // What a word could go on from: `x1json` is one word, and so is `$json`.
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '\'' => text(rest, matches!(out.as_bytes(), [.., b'E' | b'e'])),
            '"' => rest.get(1..).and_then(|more| more.find('"')).map_or(rest.len(), |at| at + 2),
            '-' if rest.starts_with("--") => rest.find('\n').unwrap_or(rest.len()),
            '$' => dollar(rest),
            c if is_word(c) => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
            c => c.len_utf8(),
        };
        let (token, after) = rest.split_at(length.min(rest.len()));
        if words.contains(&token) {
            out.extend(["\"", token, "\""]);
        } else {
            out.push_str(token);
        }
        rest = after;
    }
    out
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '$')
}

/// The length of a text in single quotes, which may have backslashes before quotes.
fn text(sql: &str, escapes: bool) -> usize {
    let mut chars = sql.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            '\\' if escapes => _ = chars.next(),
            '\'' => return at + 1,
            _ => {}
        }
    }
    sql.len()
}

/// The length of a text in dollar quotes; of the dollar alone where it begins none.
fn dollar(sql: &str) -> usize {
    let Some(end) = sql.get(1..).and_then(|more| more.find('$')).map(|at| at + 2) else { return 1 };
    let Some((tag, body)) = sql.split_at_checked(end) else { return 1 };
    let name = tag.trim_matches('$');
    if name.starts_with(|c: char| c.is_ascii_digit()) || !name.chars().all(is_word) {
        return 1;
    }
    body.find(tag).map_or(sql.len(), |at| end + at + end)
}

/// Guards against quotes where there must be none: in texts, bodies and longer words.
#[cfg(test)]
mod tests {
    use super::*;

    const SQL: &str = "-- a json here\nCREATE FUNCTION f(json text, INOUT a_json json DEFAULT '{\"json\": 1}'::json)\n AS $_$ SELECT json; $$ json $$ $_$;\nSELECT E'it\\'s json', 'it''s json', \"json\", \"a\"\"json\", json_x, $1, x.json;";

    #[test]
    fn words_are_quoted_where_they_are_words() {
        let done = quoted(SQL, &["json"]);
        assert_eq!(
            done,
            "-- a json here\nCREATE FUNCTION f(\"json\" text, INOUT a_json \"json\" DEFAULT '{\"json\": 1}'::\"json\")\n AS $_$ SELECT json; $$ json $$ $_$;\nSELECT E'it\\'s json', 'it''s json', \"json\", \"a\"\"json\", json_x, $1, x.\"json\";"
        );
        assert_eq!(quoted(&done, &["json"]), done);
        assert_eq!(quoted(SQL, &[]), SQL);
        for cut in (0..SQL.len()).filter(|at| SQL.is_char_boundary(*at)) {
            quoted(&SQL[..cut], &["json"]);
        }
    }

    #[test]
    fn only_what_is_new() {
        assert!(new(140_010, 150_001).is_empty() && new(170_000, 180_001).is_empty());
        assert!(new(150_000, 160_000).contains(&"system_user"));
        assert!(!new(160_000, 180_000).contains(&"system_user"));
        assert!(new(160_000, 180_000).contains(&"json"));
    }
}
