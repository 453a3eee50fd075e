//! The syntax of connection strings, as libpq has it: URLs, `key=value` lists, and a bare
//! database name. What the keys mean is told in [`super::params`].

use super::error::PgError;

/// A name and a value, as they were written (decoded, not interpreted).
pub(super) type Pair = (String, String);

const WHOLE: &str = "connection string";

/// Takes a connection string apart. No message quotes any part of it: a password may be anywhere.
pub(super) fn parse(text: &str) -> Result<Vec<Pair>, PgError> {
    let url = ["postgresql://", "postgres://"].iter().find_map(|p| text.strip_prefix(p));
    match url {
        Some(rest) => parse_url(rest),
        None if text.contains('=') => parse_list(text),
        None if text.is_empty() => Ok(Vec::new()),
        None => Ok(vec![("dbname".to_owned(), text.to_owned())]),
    }
}

/// `key = 'value' ...`: blanks around `=` are allowed, a backslash takes the next character as it
/// is, in quotes and outside.
fn parse_list(text: &str) -> Result<Vec<Pair>, PgError> {
    let mut pairs = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let end = rest.find(|c: char| c == '=' || c.is_whitespace()).unwrap_or(rest.len());
        let (key, after) = rest.split_at(end);
        let Some(after) = after.trim_start().strip_prefix('=') else {
            return Err(PgError::parameter(WHOLE, "a word in it is not followed by ="));
        };
        if key.is_empty() {
            return Err(PgError::parameter(WHOLE, "there is no name in front of ="));
        }
        let after = after.trim_start();
        let mut value = String::new();
        let quoted = after.strip_prefix('\'');
        let mut chars = quoted.unwrap_or(after).char_indices();
        let body = quoted.unwrap_or(after);
        let mut end = None;
        while let Some((at, c)) = chars.next() {
            match c {
                '\\' => value.extend(chars.next().map(|(_, c)| c)),
                '\'' if quoted.is_some() => {
                    end = Some(at + 1);
                    break;
                }
                c if quoted.is_none() && c.is_whitespace() => {
                    end = Some(at);
                    break;
                }
                c => value.push(c),
            }
        }
        let end = match end {
            Some(end) => end,
            None if quoted.is_some() => {
                return Err(PgError::parameter(key, "its quoted value does not end"));
            }
            None => body.len(),
        };
        pairs.push((key.to_owned(), value));
        rest = body.get(end..).unwrap_or_default().trim_start();
    }
    Ok(pairs)
}

/// `[user[:password]@][host[:port],...][/dbname][?name=value&...]`.
fn parse_url(rest: &str) -> Result<Vec<Pair>, PgError> {
    let mut pairs = Vec::new();
    let mut add = |key: &str, raw: &str| -> Result<(), PgError> {
        if !raw.is_empty() {
            pairs.push((key.to_owned(), decode(key, raw)?));
        }
        Ok(())
    };

    // libpq looks for the @ only up to the first slash.
    let authority = rest.find('/').map_or(rest, |at| rest.get(..at).unwrap_or_default());
    let rest = match authority.find('@') {
        Some(at) => {
            let (credentials, after) = (rest.get(..at), rest.get(at + 1..));
            let credentials = credentials.unwrap_or_default();
            match credentials.split_once(':') {
                Some((user, password)) => {
                    add("user", user)?;
                    add("password", password)?;
                }
                None => add("user", credentials)?,
            }
            after.unwrap_or_default()
        }
        None => rest,
    };

    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(end);
    let (mut hosts, mut ports) = (Vec::new(), Vec::new());
    for part in authority.split(',') {
        let (host, port) = host_and_port(part)?;
        hosts.push(host);
        ports.push(port);
    }
    if hosts.iter().any(|host| !host.is_empty()) {
        add("host", &hosts.join(","))?;
    }
    if ports.iter().any(|port| !port.is_empty()) {
        add("port", &ports.join(","))?;
    }

    let (path, query) = match rest.split_once('?') {
        Some((path, query)) => (path, query),
        None => (rest, ""),
    };
    add("dbname", path.strip_prefix('/').unwrap_or(path))?;

    for part in query.split('&').filter(|part| !part.is_empty()) {
        let Some((key, value)) = part.split_once('=') else {
            return Err(PgError::parameter(WHOLE, "a parameter behind ? has no ="));
        };
        if value.contains('=') {
            return Err(PgError::parameter(WHOLE, "a parameter behind ? has more than one ="));
        }
        let key = decode(WHOLE, key)?;
        let value = decode(&key, value)?;
        // What JDBC writes.
        if key == "ssl" && value == "true" {
            pairs.push(("sslmode".to_owned(), "require".to_owned()));
        } else {
            pairs.push((key, value));
        }
    }
    Ok(pairs)
}

fn host_and_port(place: &str) -> Result<(&str, &str), PgError> {
    if let Some(rest) = place.strip_prefix('[') {
        let Some((host, after)) = rest.split_once(']') else {
            return Err(PgError::parameter("host", "an IPv6 address has no closing ]"));
        };
        if host.is_empty() {
            return Err(PgError::parameter("host", "an IPv6 address is empty"));
        }
        return match after.strip_prefix(':') {
            Some(port) => Ok((host, port)),
            None if after.is_empty() => Ok((host, "")),
            None => Err(PgError::parameter("host", "something follows the ] of an IPv6 address")),
        };
    }
    Ok(place.split_once(':').unwrap_or((place, "")))
}

/// Percent-decoding. A plus sign is a plus sign.
fn decode(key: &str, raw: &str) -> Result<String, PgError> {
    let mut out = Vec::with_capacity(raw.len());
    let mut bytes = raw.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| {
            byte.and_then(|b| char::from(b).to_digit(16)).and_then(|d| u8::try_from(d).ok())
        };
        match (digit(bytes.next()), digit(bytes.next())) {
            (Some(0), Some(0)) => {
                return Err(PgError::parameter(key, "%00 cannot be part of a value"));
            }
            (Some(high), Some(low)) => out.push(high << 4 | low),
            _ => return Err(PgError::parameter(key, "a % is not followed by two hex digits")),
        }
    }
    String::from_utf8(out).map_err(|_| PgError::parameter(key, "its value is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> String {
        match parse(text) {
            Ok(pairs) => {
                pairs.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join("|")
            }
            Err(error) => format!("error: {error}"),
        }
    }

    /// The examples of libpq's documentation and its own regression tests.
    #[test]
    fn urls_are_read_as_libpq_reads_them() {
        for (url, expected) in [
            ("postgresql://", ""),
            ("postgresql://localhost", "host=localhost"),
            ("postgres://localhost:5433", "host=localhost|port=5433"),
            ("postgresql://localhost/mydb", "host=localhost|dbname=mydb"),
            ("postgresql://user@localhost", "user=user|host=localhost"),
            ("postgresql://user:secret@localhost", "user=user|password=secret|host=localhost"),
            (
                "postgresql://other@localhost/otherdb?connect_timeout=10&application_name=myapp",
                "user=other|host=localhost|dbname=otherdb|connect_timeout=10|application_name=myapp",
            ),
            (
                "postgresql://h1:123,h2:456/db?target_session_attrs=any",
                "host=h1,h2|port=123,456|dbname=db|target_session_attrs=any",
            ),
            ("postgresql://h1,h2:456,h3", "host=h1,h2,h3|port=,456,"),
            ("postgresql:///mydb?host=localhost&port=5433", "dbname=mydb|host=localhost|port=5433"),
            ("postgresql://[2001:db8::1234]/database", "host=2001:db8::1234|dbname=database"),
            ("postgresql://[::1]:5433,[::2]", "host=::1,::2|port=5433,"),
            (
                "postgresql://%2Fvar%2Flib%2Fpostgresql/dbname",
                "host=/var/lib/postgresql|dbname=dbname",
            ),
            (
                "postgresql://user@localhost:5433/mydb?options=-c%20synchronous_commit%3Doff",
                "user=user|host=localhost|port=5433|dbname=mydb|options=-c synchronous_commit=off",
            ),
            (
                "postgres://u%40x:p%2Fw%3A%40%25@h/d%20b",
                "user=u@x|password=p/w:@%|host=h|dbname=d b",
            ),
            ("postgresql://host?ssl=true", "host=host|sslmode=require"),
            ("postgresql://:5433", "port=5433"),
            ("postgresql://user:@host", "user=user|host=host"),
        ] {
            assert_eq!(pairs(url), expected, "{url}");
        }
    }

    #[test]
    fn lists_are_read_as_libpq_reads_them() {
        for (list, expected) in [
            ("host=localhost port=5432", "host=localhost|port=5432"),
            ("  host = localhost   dbname= 'my db' ", "host=localhost|dbname=my db"),
            (r"password='it\'s \\ me' user=a\ b", r"password=it's \ me|user=a b"),
            ("host='' user=x", "host=|user=x"),
            ("user= dbname=d", "user=dbname=d"),
            ("dbname=a=b", "dbname=a=b"),
        ] {
            assert_eq!(pairs(list), expected, "{list}");
        }
        assert_eq!(pairs("mydb"), "dbname=mydb");
        assert_eq!(pairs("My Db"), "dbname=My Db");
        assert_eq!(pairs(""), "");
    }

    /// Guards against messages that quote a password.
    #[test]
    fn errors_quote_nothing() {
        for bad in [
            "host=x hunter2",
            "password='hunter2",
            "=hunter2",
            "postgres://u:hunter2%zz@h",
            "postgres://u:hunter2%0@h",
            "postgres://u:hunter2%00@h",
            "postgres://u:hunter2%ff@h",
            "postgres://u:hunter2@[::1",
            "postgres://u:hunter2@[::1]x",
            "postgres://u:hunter2@[]",
            "postgres://u@h?hunter2",
            "postgres://u@h?password=hunter2=x",
        ] {
            let said = pairs(bad);
            assert!(said.starts_with("error: "), "{bad} gave {said}");
            assert!(!said.contains("hunter2"), "{said}");
        }
    }
}
