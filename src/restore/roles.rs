//! The roles that the SQL of privileges, policies and user mappings names, as `pg_dump` writes it.

use std::ops::Range;

/// Where roles are named, and which, in order; `PUBLIC` is none. Owners are not among them.
pub(super) fn in_sql(kind: &str, sql: &str) -> Vec<(Range<usize>, String)> {
    let words: &[&str] = match kind {
        "ACL" | "COLUMN ACL" => &[" TO ", " FROM ", "SET SESSION AUTHORIZATION "],
        "DEFAULT ACL" => &[" FOR ROLE ", " TO ", " FROM "],
        "USER MAPPING" => &[" FOR "],
        "POLICY" => return in_policy(sql),
        _ => return Vec::new(),
    };
    let begin = after_comments(sql);
    let bare = without_quoted(sql);
    let mut roles = Vec::new();
    for (at, _) in bare.char_indices().skip_while(|(at, _)| *at < begin) {
        let rest = bare.get(at..).unwrap_or_default();
        if let Some(word) = words.iter().find(|word| rest.starts_with(**word)) {
            roles.extend(named(sql, at + word.len()).map(|(range, name, _)| (range, name)));
        }
    }
    roles.retain(|(_, role)| !matches!(role.as_str(), "" | "public"));
    roles
}

/// `CREATE POLICY name ON table [FOR cmd] TO a, "B" USING (...)`.
fn in_policy(sql: &str) -> Vec<(Range<usize>, String)> {
    let begin = after_comments(sql);
    let bare = without_quoted(sql);
    let mut end = sql.len();
    for word in [" USING (", " WITH CHECK ("] {
        let head = bare.get(begin..end).unwrap_or_default();
        end = head.find(word).map_or(end, |at| begin + at);
    }
    let head = bare.get(begin..end).unwrap_or_default();
    let Some(mut at) = head.rfind(" TO ").map(|at| begin + at + 4) else { return Vec::new() };
    let mut roles = Vec::new();
    while let Some((range, name, after)) = named(sql, at) {
        roles.push((range, name));
        let rest = sql.get(after..).unwrap_or_default();
        match rest.trim_start().strip_prefix(',') {
            Some(next) => at = sql.len() - next.len(),
            None => break,
        }
    }
    roles.retain(|(_, role)| role != "public");
    roles
}

/// The same, of the same length, with all that is in quotes made unreadable: names and texts may
/// hold the words that are looked for. A doubled quote ends and begins a quoted part.
fn without_quoted(sql: &str) -> String {
    let mut open = None;
    let mut out = String::with_capacity(sql.len());
    for c in sql.chars() {
        let hidden = match open {
            Some(quote) if c == quote => {
                open = None;
                false
            }
            Some(_) => true,
            None => {
                open = matches!(c, '"' | '\'').then_some(c);
                false
            }
        };
        if hidden {
            out.extend(std::iter::repeat_n('\u{1}', c.len_utf8()));
        } else {
            out.push(c);
        }
    }
    out
}

/// Where the SQL begins, after the lines of comment that are put in front of it.
fn after_comments(sql: &str) -> usize {
    let mut at = 0;
    for line in sql.split_inclusive('\n') {
        if !line.starts_with("--") && !line.trim().is_empty() {
            break;
        }
        at += line.len();
    }
    at
}

/// The identifier at or after blanks at this place: its range, its name, where it ends.
fn named(sql: &str, at: usize) -> Option<(Range<usize>, String, usize)> {
    let text = sql.get(at..)?;
    let start = sql.len() - text.trim_start().len();
    let (name, rest) = identifier(text)?;
    let end = sql.len() - rest.len();
    Some((start..end, name, end))
}

/// The identifier at the beginning, unquoted and folded as SQL does it, and what follows.
pub(super) fn identifier(text: &str) -> Option<(String, &str)> {
    let text = text.trim_start();
    if let Some(quoted) = text.strip_prefix('"') {
        let mut name = String::new();
        let mut chars = quoted.char_indices().peekable();
        while let Some((at, c)) = chars.next() {
            if c != '"' {
                name.push(c);
            } else if chars.next_if(|(_, c)| *c == '"').is_some() {
                name.push('"');
            } else {
                return Some((name, quoted.get(at + 1..).unwrap_or_default()));
            }
        }
        return None;
    }
    let end =
        text.find(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '$'))).unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    (!name.is_empty()).then(|| (name.to_lowercase(), rest))
}

/// Guards against a restore that fails after hours for a role that could have been named first.
#[cfg(test)]
mod tests {
    use super::*;

    fn roles(kind: &str, sql: &str) -> Vec<String> {
        in_sql(kind, sql).into_iter().map(|(_, name)| name).collect()
    }

    #[test]
    fn roles_are_found_in_privileges() {
        let sql = "REVOKE ALL ON TABLE public.\"a TO b\" FROM PUBLIC;\n\
                   GRANT SELECT ON TABLE public.\"a TO b\" TO reader;\n\
                   GRANT ALL ON TABLE public.t TO \"My \"\"Role\" WITH GRANT OPTION;\n";
        assert_eq!(roles("ACL", sql), ["reader", "My \"Role"]);
        let sql = "ALTER DEFAULT PRIVILEGES FOR ROLE app IN SCHEMA public GRANT SELECT ON TABLES TO web;\n";
        assert_eq!(roles("DEFAULT ACL", sql), ["app", "web"]);
        let sql = "CREATE POLICY p ON public.t FOR SELECT TO a, \"B c\" USING ((x = 1));\n";
        assert_eq!(roles("POLICY", sql), ["a", "B c"]);
        assert_eq!(roles("POLICY", "CREATE POLICY p ON t USING ((a TO b));"), [""; 0]);
        let sql = "CREATE POLICY \"to TO me\" ON public.t USING ((x = 1));\n";
        assert_eq!(roles("POLICY", sql), [""; 0]);
        assert_eq!(roles("TABLE", "GRANT x TO y;"), [""; 0]);
    }
}
