//! Names in the statements that bring rows.

use super::ddl::DdlError;

/// The table and the columns of a `COPY` or `INSERT`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Target {
    /// The schema, if the statement names one.
    pub(super) schema: Option<String>,
    /// The table.
    pub(super) table: String,
    /// The columns, if the statement lists them.
    pub(super) columns: Option<Vec<String>>,
}

/// Takes the target from behind `COPY` or `INSERT INTO`; what follows it comes back too.
pub(super) fn target(text: &str) -> Result<(Target, &str), DdlError> {
    let wrong = || DdlError::NotUnderstood {
        statement: text.chars().take(60).collect(),
        problem: "it has no table's name where one must be".into(),
    };
    let (first, mut rest) = name(text).ok_or_else(wrong)?;
    let (mut schema, mut table) = (None, first);
    if let Some(after) = rest.strip_prefix('.') {
        let (second, after) = name(after).ok_or_else(wrong)?;
        (schema, table, rest) = (Some(table), second, after);
    }
    rest = rest.trim_start();
    let mut columns = None;
    if let Some(mut list) = rest.strip_prefix('(') {
        let mut found = Vec::new();
        loop {
            let (column, after) = name(list).ok_or_else(wrong)?;
            found.push(column);
            let after = after.trim_start();
            if let Some(after) = after.strip_prefix(')') {
                rest = after;
                break;
            }
            list = after.strip_prefix(',').ok_or_else(wrong)?;
        }
        columns = Some(found);
    }
    Ok((Target { schema, table, columns }, rest.trim_start()))
}

/// An identifier, quoted or not; what is not is in lower case.
fn name(text: &str) -> Option<(String, &str)> {
    let text = text.trim_start();
    let Some(mut rest) = text.strip_prefix('"') else {
        let end = text
            .find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '$'))
            .unwrap_or(text.len());
        let (word, rest) = text.split_at_checked(end)?;
        return (!word.is_empty()).then(|| (word.to_lowercase(), rest));
    };
    let mut out = String::new();
    loop {
        let (part, after) = rest.split_once('"')?;
        out.push_str(part);
        match after.strip_prefix('"') {
            Some(more) => {
                out.push('"');
                rest = more;
            }
            None => return Some((out, after)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_and_columns() {
        let (found, rest) = target(" public.\"User\" (id, \"a \"\"b\", C) FROM stdin;").unwrap();
        assert_eq!(found.schema.as_deref(), Some("public"));
        assert_eq!(found.table, "User");
        assert_eq!(found.columns.unwrap(), ["id", "a \"b", "c"]);
        assert_eq!(rest, "FROM stdin;");
        let (found, rest) = target("t VALUES (1)").unwrap();
        assert_eq!((found.schema, found.columns), (None, None));
        assert_eq!(rest, "VALUES (1)");
        for wrong in ["", "(a)", "public.", "t (a", "\"t"] {
            assert!(target(wrong).is_err(), "{wrong}");
        }
    }
}
