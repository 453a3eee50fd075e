//! Rows written as `INSERT`, as `pg_dump --inserts` writes them: literals, and nothing that a
//! server would have to compute.

use memchr::memchr2;

/// A value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Value {
    /// `NULL`.
    Null,
    /// `DEFAULT`: of a generated column.
    Default,
    /// `true` or `false`, as the type's output has it: `t` or `f`.
    Bool(bool),
    /// Anything else, as the type's output function writes it.
    Text(Vec<u8>),
}

/// Gives every row behind `VALUES` to `row`; `standard` says whether a backslash in `'...'` is one.
pub(super) fn rows(
    text: &[u8],
    standard: bool,
    mut row: impl FnMut(&[Value]) -> Result<(), String>,
) -> Result<(), String> {
    let mut at = Reader { rest: text, standard };
    let mut values = Vec::new();
    loop {
        at.expect(b'(')?;
        values.clear();
        loop {
            values.push(at.value()?);
            if at.takes(b')') {
                break;
            }
            at.expect(b',')?;
        }
        row(&values)?;
        if !at.takes(b',') {
            break;
        }
    }
    let rest = at.rest.trim_ascii();
    if rest == b";" || rest == b"ON CONFLICT DO NOTHING;" {
        return Ok(());
    }
    Err(at.problem("nothing else behind the values"))
}

struct Reader<'a> {
    rest: &'a [u8],
    standard: bool,
}

impl Reader<'_> {
    fn problem(&self, wanted: &str) -> String {
        let there = self.rest.get(..40).unwrap_or(self.rest);
        format!("{wanted} was expected at {:?}", String::from_utf8_lossy(there))
    }

    fn takes(&mut self, byte: u8) -> bool {
        self.rest = self.rest.trim_ascii_start();
        match self.rest.strip_prefix(&[byte]) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, byte: u8) -> Result<(), String> {
        if self.takes(byte) { Ok(()) } else { Err(self.problem(&char::from(byte).to_string())) }
    }

    fn value(&mut self) -> Result<Value, String> {
        self.rest = self.rest.trim_ascii_start();
        let value = match self.rest {
            [b'E' | b'e', b'\'', ..] => Value::Text(self.string(1, true)?),
            // Bits are printed without their B.
            [b'B' | b'b', b'\'', ..] => Value::Text(self.string(1, false)?),
            [b'\'', ..] => Value::Text(self.string(0, !self.standard)?),
            _ => self.word()?,
        };
        self.rest = self.rest.trim_ascii_start();
        if matches!(self.rest.first(), Some(b',' | b')')) {
            Ok(value)
        } else {
            Err(self.problem("a literal alone"))
        }
    }

    fn word(&mut self) -> Result<Value, String> {
        let end = self.rest.iter().position(|byte| b",) \t\n\r".contains(byte));
        let (word, rest) = self.rest.split_at(end.unwrap_or(self.rest.len()));
        let value = match word {
            b"NULL" => Value::Null,
            b"DEFAULT" => Value::Default,
            b"true" => Value::Bool(true),
            b"false" => Value::Bool(false),
            [b'0'..=b'9' | b'-' | b'+' | b'.', digits @ ..]
                if digits.iter().all(|b| b.is_ascii_digit() || b".eE+-".contains(b)) =>
            {
                Value::Text(word.to_vec())
            }
            _ => return Err(self.problem("a literal")),
        };
        self.rest = rest;
        Ok(value)
    }

    /// A string whose opening quote is at `quote`.
    fn string(&mut self, quote: usize, escapes: bool) -> Result<Vec<u8>, String> {
        let unclosed = || "a quoted string has no end".to_owned();
        let mut rest = self.rest.get(quote + 1..).ok_or_else(unclosed)?;
        let mut out = Vec::new();
        loop {
            let end = memchr2(b'\'', b'\\', rest).ok_or_else(unclosed)?;
            let (part, after) = rest.split_at(end);
            out.extend_from_slice(part);
            rest = match after {
                [b'\'', b'\'', after @ ..] => {
                    out.push(b'\'');
                    after
                }
                [b'\'', after @ ..] => {
                    self.rest = after;
                    return Ok(out);
                }
                [b'\\', after @ ..] if !escapes => {
                    out.push(b'\\');
                    after
                }
                [b'\\', byte @ (b'\\' | b'\''), after @ ..] => {
                    out.push(*byte);
                    after
                }
                _ => {
                    let there = after.get(..20).unwrap_or(after);
                    let there = String::from_utf8_lossy(there).into_owned();
                    return Err(format!("an escape that pg_dump does not write: {there:?}"));
                }
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str, standard: bool) -> Result<Vec<Vec<Value>>, String> {
        let mut out = Vec::new();
        rows(text.as_bytes(), standard, |row| {
            out.push(row.to_vec());
            Ok(())
        })?;
        Ok(out)
    }

    fn text(value: &str) -> Value {
        Value::Text(value.as_bytes().to_vec())
    }

    #[test]
    fn literals() {
        let found =
            all("(1, -2.5e-7, 'a''b', NULL, true,\n\tDEFAULT, B'101', 'NaN'), ('x');", true);
        let first = [
            text("1"),
            text("-2.5e-7"),
            text("a'b"),
            Value::Null,
            Value::Bool(true),
            Value::Default,
            text("101"),
            text("NaN"),
        ];
        assert_eq!(found.unwrap(), [first.to_vec(), vec![text("x")]]);
        assert_eq!(all(r"('a\b');", true).unwrap(), [[text(r"a\b")]]);
        assert_eq!(all(r"('a\\b', E'\\x00');", false).unwrap(), [[text(r"a\b"), text(r"\x00")]]);
        assert_eq!(all("('a,)(;')ON CONFLICT DO NOTHING;", true).unwrap(), [[text("a,)(;")]]);
    }

    #[test]
    fn what_a_server_would_compute_is_refused() {
        let wrong = [
            "(now());",
            "('a'::text);",
            "(1 + 1);",
            "(1",
            "('a);",
            "(1) RETURNING *;",
            "();",
            r"(E'\n');",
        ];
        for wrong in wrong {
            assert!(all(wrong, true).is_err(), "{wrong}");
        }
    }
}
