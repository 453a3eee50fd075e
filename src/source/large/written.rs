//! The bytes of a large object in a plain dump: `SELECT pg_catalog.lowrite(0, '\x...');`, as many as
//! it takes.

use std::io::{self, Read};

use crate::source::ddl::Splitter;
use crate::source::heads::behind_comments;
use crate::source::insert::{self, Value};
use crate::source::reader::{Form, Runs, bytea};

/// Reads them.
pub(in crate::source) struct Written<'a> {
    runs: Runs<'a>,
    standard: bool,
    /// Statements, and where the next one is.
    run: Vec<u8>,
    next: usize,
    /// Bytes of the last one, and how many of them were given.
    bytes: Vec<u8>,
    given: usize,
}

impl<'a> Written<'a> {
    /// `standard` is `standard_conforming_strings`.
    pub(in crate::source) fn new(statements: Box<dyn Read + 'a>, standard: bool) -> Self {
        let runs = Runs::new(statements, Form::Insert, standard, false);
        Self { runs, standard, run: Vec::new(), next: 0, bytes: Vec::new(), given: 0 }
    }

    /// The bytes of the next statement; false if there is none.
    fn statement(&mut self) -> Result<bool, String> {
        while self.run.get(self.next..).unwrap_or_default().trim_ascii().is_empty() {
            match self.runs.next()? {
                Some(run) => (self.run, self.next) = (run, 0),
                None => return Ok(false),
            }
        }
        let rest = self.run.get(self.next..).unwrap_or_default();
        let mut splitter = Splitter::new();
        splitter.set_standard_strings(self.standard);
        let (length, _) = splitter.push(rest).map_err(|error| error.to_string())?;
        let statement = behind_comments(rest.get(..length).unwrap_or(rest)).trim_ascii();
        let call = statement.strip_prefix(b"SELECT pg_catalog.lowrite").ok_or_else(|| {
            let shown = String::from_utf8_lossy(statement).chars().take(80).collect::<String>();
            format!("a statement that writes nothing: {shown:?}")
        })?;
        self.next += length;
        self.bytes.clear();
        self.given = 0;
        insert::rows(call, self.standard, |values| match values {
            [Value::Text(number), Value::Text(text)] if number == b"0" && self.bytes.is_empty() => {
                self.bytes = bytea(text)?;
                Ok(())
            }
            _ => Err("lowrite is called in another way than pg_dump does".into()),
        })?;
        Ok(true)
    }
}

impl Read for Written<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.given == self.bytes.len() {
            if !self.statement().map_err(io::Error::other)? {
                return Ok(0);
            }
        }
        let left = self.bytes.get(self.given..).unwrap_or_default();
        let count = left.len().min(buf.len());
        let (Some(to), Some(from)) = (buf.get_mut(..count), left.get(..count)) else {
            return Ok(0);
        };
        to.copy_from_slice(from);
        self.given += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(sql: &str, standard: bool) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        Written::new(Box::new(sql.as_bytes()), standard).read_to_end(&mut out).map(|_| out)
    }

    #[test]
    fn bytes_of_statements() {
        let two =
            "SELECT pg_catalog.lowrite(0, '\\x0001');\nSELECT pg_catalog.lowrite(0, '\\xff');\n";
        assert_eq!(read(two, true).unwrap(), [0, 1, 255]);
        assert_eq!(read(&two.replace('\\', "\\\\"), false).unwrap(), [0, 1, 255]);
        assert_eq!(read("", true).unwrap(), b"");
        assert_eq!(read("SELECT pg_catalog.lowrite(0, '\\x');\n", true).unwrap(), b"");
        for wrong in [
            "SELECT pg_catalog.lowrite(0, '\\x0');",
            "SELECT pg_catalog.lowrite(0, '\\x00')",
            "SELECT pg_catalog.lowrite(1, '\\x00');",
            "SELECT pg_catalog.lowrite(0, '\\x00'), (0, '\\x00');",
            "SELECT pg_catalog.lowrite(0, NULL);",
            "SELECT 1;",
        ] {
            assert!(read(wrong, true).is_err(), "{wrong}");
        }
    }
}
