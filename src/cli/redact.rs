//! Takes passwords out of text that people or logs will see.
//!
//! The layers below do not put any in; this is the second line, for what repeats an argument: a
//! usage error quotes what was typed, a server may quote what it was sent.

/// What stands where a password was.
const MASK: &str = "****";

/// Knows the arguments that hold a password, and the shapes passwords come in.
#[derive(Clone, Default, Debug)]
pub(super) struct Redactor {
    /// Arguments with a password in them, and what to show for them.
    known: Vec<(String, String)>,
}

impl Redactor {
    /// Learns from the arguments the command was given: one of them may hold blanks and quotes
    /// that the shapes alone would stumble over.
    pub(super) fn new<'a>(arguments: impl Iterator<Item = &'a str>) -> Self {
        let known = arguments
            .flat_map(|argument| {
                // `--to=postgres://...`, `--to` and the rest told apart, and as a whole.
                let value = argument.split_once('=').filter(|_| argument.starts_with('-'));
                [Some(argument.trim_start_matches('-')), value.map(|(_, value)| value)]
            })
            .flatten()
            .filter_map(|argument| {
                let shown = url(argument).unwrap_or_else(|| pairs(argument, true));
                (shown != argument).then(|| (argument.to_owned(), shown))
            })
            .collect();
        Self { known }
    }

    /// `text` without passwords.
    pub(super) fn redact(&self, text: &str) -> String {
        let mut out = text.to_owned();
        for (argument, shown) in &self.known {
            out = out.replace(argument, shown);
        }
        pairs(&urls(&out), false)
    }
}

/// `argument` as one URL, if it is one with a password: everything between the colon after the
/// user's name and the last `@` is masked, however odd the password.
fn url(argument: &str) -> Option<String> {
    let (scheme, rest) = argument.split_once("://")?;
    if !matches!(scheme, "postgres" | "postgresql") {
        return None;
    }
    Some(format!("{scheme}://{}", pairs(&userinfo(rest), false)))
}

/// Masks in `user:password@host/...`.
fn userinfo(rest: &str) -> String {
    let masked = rest.rfind('@').and_then(|at| {
        let (user, host) = rest.split_at_checked(at)?;
        let (user, password) = user.split_once(':')?;
        (!password.is_empty()).then(|| format!("{user}:{MASK}{host}"))
    });
    masked.unwrap_or_else(|| rest.to_owned())
}

/// Masks in every URL of a longer text, each taken to end at a blank or a quote.
fn urls(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        let end = after
            .find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '`' | '<' | '>'))
            .unwrap_or(after.len());
        let (url, tail) = after.split_at(end);
        out.push_str(before);
        out.push_str(&userinfo(url));
        rest = tail;
    }
    out.push_str(rest);
    out
}

/// Masks the values of `password=...`, `password = '...'`, `sslpassword=...` and `PGPASSWORD=...`.
/// In an argument (`whole`), words behind a value that name no parameter are taken for more of it.
fn pairs(text: &str, whole: bool) -> String {
    const KEY: &str = "password";
    // ASCII lower case keeps every offset where it was.
    let lower = text.to_ascii_lowercase();
    let mut out = String::with_capacity(text.len());
    let mut done = 0;
    while let Some(found) = lower.get(done..).and_then(|rest| rest.find(KEY)) {
        let after = done + found + KEY.len();
        let tail = text.get(after..).unwrap_or_default();
        out.push_str(text.get(done..after).unwrap_or_default());
        done = after;
        let Some(value) = tail.trim_start_matches(' ').strip_prefix('=') else { continue };
        let value = value.trim_start_matches(' ');
        let begin = text.len() - value.len();
        let mut length = value_length(value);
        while whole && let Some(more) = stray_word(value.get(length..).unwrap_or_default()) {
            length += more;
        }
        if length > 0 {
            out.push_str(text.get(after..begin).unwrap_or_default());
            out.push_str(MASK);
            done = begin + length;
        }
    }
    out.push_str(text.get(done..).unwrap_or_default());
    out
}

/// How long a value is: to the closing quote if it is quoted (a backslash guards the next
/// character), else to a blank, a quote or the next parameter of a URL.
fn value_length(value: &str) -> usize {
    let quoted = value.starts_with('\'');
    let mut escaped = false;
    for (at, c) in value.char_indices().skip(usize::from(quoted)) {
        let ends =
            if quoted { c == '\'' } else { c.is_whitespace() || matches!(c, '\'' | '"' | '&') };
        if ends && !escaped {
            return at + usize::from(quoted);
        }
        escaped = c == '\\' && !escaped;
    }
    value.len()
}

/// How long the next word with the blanks before it is, if it is not `name=value`.
fn stray_word(rest: &str) -> Option<usize> {
    let word = rest.trim_start();
    let end = word.find(char::is_whitespace).unwrap_or(word.len());
    let stray = end > 0 && !word.get(..end).unwrap_or_default().contains('=');
    stray.then_some(rest.len() - word.len() + end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redact(text: &str) -> String {
        Redactor::default().redact(text)
    }

    #[test]
    fn urls_lose_their_passwords() {
        assert_eq!(redact("at postgres://u:s3cret@h/db now"), "at postgres://u:****@h/db now");
        assert_eq!(redact("'postgresql://u:s3@cret@h'"), "'postgresql://u:****@h'");
        assert_eq!(
            redact("postgres://h/db?user=u&password=s3cret&x=1"),
            "postgres://h/db?user=u&password=****&x=1"
        );
        assert_eq!(redact("postgres://u@h:5432/db"), "postgres://u@h:5432/db");
        assert_eq!(redact("postgres://h:5432/db"), "postgres://h:5432/db");
        assert_eq!(redact("https://example.org/a:b"), "https://example.org/a:b");
    }

    #[test]
    fn pairs_lose_their_passwords() {
        assert_eq!(redact("host=h password=s3cret user=u"), "host=h password=**** user=u");
        assert_eq!(redact("password = 's3 \\'cret' user=u"), "password = **** user=u");
        assert_eq!(redact("PGPASSWORD=s3cret pg_dump"), "PGPASSWORD=**** pg_dump");
        assert_eq!(redact("sslpassword=s3cret"), "sslpassword=****");
        assert_eq!(redact("password=s3cret"), "password=****");
        assert_eq!(redact("password= host=h"), "password= ****");
    }

    /// A masker that eats facts is no use either.
    #[test]
    fn other_text_stays() {
        for text in [
            "password authentication failed for user \"u\"",
            "table public.password has 3 rows",
            "the password is wrong",
            "",
            "ភាសាខ្មែរ password ខ្មែរ",
            "a=b c://d",
        ] {
            assert_eq!(redact(text), text);
        }
    }

    /// An argument with blanks or quotes in its password is known as a whole.
    #[test]
    fn arguments_are_known() {
        let odd = "postgres://u:my s3cret 'x'@h/db";
        let redactor = Redactor::new([odd, "--to=postgres://u:other s3cret@h"].into_iter());
        assert_eq!(
            redactor.redact(&format!("invalid value '{odd}' for '--jobs'")),
            "invalid value 'postgres://u:****@h/db' for '--jobs'"
        );
        assert_eq!(
            redactor.redact("invalid value 'postgres://u:other s3cret@h' for '--to'"),
            "invalid value 'postgres://u:****@h' for '--to'"
        );
        // Quotes forgotten: the rest of the password looks like a word of its own.
        let redactor = Redactor::new(["password=my s3cret word host=h"].into_iter());
        assert_eq!(redactor.redact("'password=my s3cret word host=h'"), "'password=**** host=h'");
    }
}
