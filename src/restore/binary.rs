//! From a value's text to its binary form, for the types where that is simple and exact.
//!
//! A table with blobs is loaded by binary COPY, so that no blob is written as hex; then every
//! other column has to be given in binary too. The text is what the type's output function wrote
//! under the settings every archive is written with (ISO dates, UTC, shortest floats), so each
//! parser here takes exactly that and refuses anything else: a value that is not understood must
//! stop a restore, never be guessed at. A type that is not listed makes its table a text one.

use std::str::FromStr;

use crate::format::manifest::{Column, TypeKind};

/// How a column's text becomes binary.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Form {
    /// Bytes are sent raw; the caller reads them, they are not text here.
    Bytea,
    /// The binary form is the text: `text`, `varchar`, `json`, enum labels, ...
    Same,
    /// A version byte and the text.
    Jsonb,
    Bool,
    Int2,
    Int4,
    Int8,
    Oid,
    Float4,
    Float8,
    Numeric,
    Uuid,
    Date,
    Time,
    Timestamp,
    TimestampTz,
}

/// A value that is not what its type prints.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct BadValue;

/// The form of this column's values, if there is an exact one. Domains count as their base type.
pub(crate) fn form(column: &Column) -> Option<Form> {
    match column.base.kind {
        TypeKind::Enum => return Some(Form::Same),
        TypeKind::Base => {}
        _ => return None,
    }
    let name = &column.base.name;
    if name.schema != "pg_catalog" {
        // An extension's type, in whatever schema it was put into.
        return (name.name == "citext").then_some(Form::Same);
    }
    Some(match name.name.as_str() {
        "bytea" => Form::Bytea,
        "text" | "varchar" | "bpchar" | "name" | "json" => Form::Same,
        "jsonb" => Form::Jsonb,
        "bool" => Form::Bool,
        "int2" => Form::Int2,
        "int4" => Form::Int4,
        "int8" => Form::Int8,
        "oid" => Form::Oid,
        "float4" => Form::Float4,
        "float8" => Form::Float8,
        "numeric" => Form::Numeric,
        "uuid" => Form::Uuid,
        "date" => Form::Date,
        "time" => Form::Time,
        "timestamp" => Form::Timestamp,
        "timestamptz" => Form::TimestampTz,
        _ => return None,
    })
}

/// Appends a field of a binary tuple: the length and the value's binary form.
pub(crate) fn encode(form: Form, text: &[u8], out: &mut Vec<u8>) -> Result<(), BadValue> {
    match form {
        Form::Bytea | Form::Same => field(out, text),
        Form::Jsonb => {
            let length = i32::try_from(text.len() + 1).map_err(|_| BadValue)?;
            out.extend_from_slice(&length.to_be_bytes());
            out.push(1);
            out.extend_from_slice(text);
            Ok(())
        }
        Form::Bool => match text {
            b"t" => field(out, &[1]),
            b"f" => field(out, &[0]),
            _ => Err(BadValue),
        },
        Form::Int2 => field(out, &number::<i16>(text)?.to_be_bytes()),
        Form::Int4 => field(out, &number::<i32>(text)?.to_be_bytes()),
        Form::Int8 => field(out, &number::<i64>(text)?.to_be_bytes()),
        Form::Oid => field(out, &number::<u32>(text)?.to_be_bytes()),
        Form::Float4 => field(out, &number::<f32>(text)?.to_be_bytes()),
        Form::Float8 => field(out, &number::<f64>(text)?.to_be_bytes()),
        Form::Numeric => numeric(text, out),
        Form::Uuid => field(out, &uuid(text)?),
        Form::Date => field(out, &date(text)?.to_be_bytes()),
        Form::Time => field(out, &time(text)?.to_be_bytes()),
        Form::Timestamp => field(out, &timestamp(text, false)?.to_be_bytes()),
        Form::TimestampTz => field(out, &timestamp(text, true)?.to_be_bytes()),
    }
}

/// Appends a NULL field.
pub(crate) fn null(out: &mut Vec<u8>) {
    out.extend_from_slice(&(-1_i32).to_be_bytes());
}

fn field(out: &mut Vec<u8>, value: &[u8]) -> Result<(), BadValue> {
    let length = i32::try_from(value.len()).map_err(|_| BadValue)?;
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(value);
    Ok(())
}

/// Rust's parsers round to nearest, as the server's do, so the shortest text that the server
/// printed gives back the same bits.
fn number<T: FromStr>(text: &[u8]) -> Result<T, BadValue> {
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or(BadValue)
}

fn uuid(text: &[u8]) -> Result<[u8; 16], BadValue> {
    let mut out = [0; 16];
    if text.len() != 36 {
        return Err(BadValue);
    }
    let mut digits = Vec::with_capacity(32);
    for (at, byte) in text.iter().enumerate() {
        if matches!(at, 8 | 13 | 18 | 23) {
            if *byte != b'-' {
                return Err(BadValue);
            }
        } else {
            digits.push(match byte {
                b'0'..=b'9' => byte - b'0',
                b'a'..=b'f' => byte - b'a' + 10,
                _ => return Err(BadValue),
            });
        }
    }
    for (byte, pair) in out.iter_mut().zip(digits.as_chunks::<2>().0) {
        *byte = pair[0] << 4 | pair[1];
    }
    Ok(out)
}

/// The server's layout: groups of four decimal digits, the first group's power of 10,000, the
/// sign, and how many digits are shown after the point.
fn numeric(text: &[u8], out: &mut Vec<u8>) -> Result<(), BadValue> {
    const NEGATIVE: u16 = 0x4000;
    let special = match text {
        b"NaN" => Some(0xc000_u16),
        b"Infinity" => Some(0xd000),
        b"-Infinity" => Some(0xf000),
        _ => None,
    };
    if let Some(sign) = special {
        return finish_numeric(out, &[], 0, sign, 0);
    }
    let (sign, digits) = match text {
        [b'-', rest @ ..] => (NEGATIVE, rest),
        _ => (0, text),
    };
    let point = digits.iter().position(|byte| *byte == b'.');
    let (whole, fraction) = match point {
        Some(at) => (&digits[..at], &digits[at + 1..]),
        None => (digits, &[][..]),
    };
    let plain = |part: &[u8]| part.iter().all(u8::is_ascii_digit);
    if whole.is_empty()
        || (point.is_some() && fraction.is_empty())
        || !plain(whole)
        || !plain(fraction)
    {
        return Err(BadValue);
    }
    let mut groups = Vec::with_capacity(digits.len() / 4 + 2);
    let lead = whole.len() % 4;
    if lead > 0 {
        groups.push(group(&whole[..lead]));
    }
    groups.extend(whole[lead..].chunks(4).map(group));
    let mut weight = i64::try_from(groups.len()).map_err(|_| BadValue)? - 1;
    for part in fraction.chunks(4) {
        let scale = [1000, 100, 10, 1][part.len() - 1];
        groups.push(group(part) * scale);
    }
    let zeros = groups.iter().take_while(|group| **group == 0).count();
    groups.drain(..zeros);
    weight -= i64::try_from(zeros).map_err(|_| BadValue)?;
    while groups.last() == Some(&0) {
        groups.pop();
    }
    if groups.is_empty() {
        weight = 0;
    }
    let scale = u16::try_from(fraction.len()).map_err(|_| BadValue)?;
    let sign = if groups.is_empty() { 0 } else { sign };
    finish_numeric(out, &groups, i16::try_from(weight).map_err(|_| BadValue)?, sign, scale)
}

fn group(digits: &[u8]) -> u16 {
    digits.iter().fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'))
}

fn finish_numeric(
    out: &mut Vec<u8>,
    groups: &[u16],
    weight: i16,
    sign: u16,
    scale: u16,
) -> Result<(), BadValue> {
    let count = u16::try_from(groups.len()).map_err(|_| BadValue)?;
    out.extend_from_slice(&(8 + 2 * i32::from(count)).to_be_bytes());
    out.extend_from_slice(&count.to_be_bytes());
    out.extend_from_slice(&weight.to_be_bytes());
    out.extend_from_slice(&sign.to_be_bytes());
    out.extend_from_slice(&scale.to_be_bytes());
    for group in groups {
        out.extend_from_slice(&group.to_be_bytes());
    }
    Ok(())
}

/// Days since 2000-01-01.
fn date(text: &[u8]) -> Result<i32, BadValue> {
    match text {
        b"infinity" => return Ok(i32::MAX),
        b"-infinity" => return Ok(i32::MIN),
        _ => {}
    }
    let (text, era) = split_era(text);
    let mut parser = Parser(text);
    let days = parser.days(era)?;
    parser.end()?;
    i32::try_from(days).map_err(|_| BadValue)
}

/// Microseconds since midnight; `24:00:00` is a time.
fn time(text: &[u8]) -> Result<i64, BadValue> {
    let mut parser = Parser(text);
    let micros = parser.micros(24)?;
    parser.end()?;
    if micros > DAY { Err(BadValue) } else { Ok(micros) }
}

const DAY: i64 = 86_400_000_000;

/// Microseconds since 2000-01-01 00:00:00.
fn timestamp(text: &[u8], zone: bool) -> Result<i64, BadValue> {
    match text {
        b"infinity" => return Ok(i64::MAX),
        b"-infinity" => return Ok(i64::MIN),
        _ => {}
    }
    let (text, era) = split_era(text);
    let mut parser = Parser(text);
    let days = parser.days(era)?;
    parser.expect(b' ')?;
    let micros = parser.micros(23)?;
    if zone {
        parser.expect(b'+')?;
        parser.expect(b'0')?;
        parser.expect(b'0')?;
    }
    parser.end()?;
    days.checked_mul(DAY).and_then(|start| start.checked_add(micros)).ok_or(BadValue)
}

#[derive(Clone, Copy, PartialEq)]
enum Era {
    After,
    Before,
}

fn split_era(text: &[u8]) -> (&[u8], Era) {
    match text.strip_suffix(b" BC") {
        Some(text) => (text, Era::Before),
        None => (text, Era::After),
    }
}

struct Parser<'a>(&'a [u8]);

impl Parser<'_> {
    fn digits(&mut self, least: usize, most: usize) -> Result<i64, BadValue> {
        let count = self.0.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if count < least || count > most {
            return Err(BadValue);
        }
        let (digits, rest) = self.0.split_at(count);
        self.0 = rest;
        Ok(digits.iter().fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0')))
    }

    fn expect(&mut self, byte: u8) -> Result<(), BadValue> {
        match self.0 {
            [first, rest @ ..] if *first == byte => {
                self.0 = rest;
                Ok(())
            }
            _ => Err(BadValue),
        }
    }

    fn end(&self) -> Result<(), BadValue> {
        if self.0.is_empty() { Ok(()) } else { Err(BadValue) }
    }

    /// `YYYY-MM-DD` as days since 2000-01-01, in the Gregorian calendar for all time.
    fn days(&mut self, era: Era) -> Result<i64, BadValue> {
        let year = self.digits(4, 7)?;
        self.expect(b'-')?;
        let month = self.digits(2, 2)?;
        self.expect(b'-')?;
        let day = self.digits(2, 2)?;
        if year == 0 || !(1..=12).contains(&month) {
            return Err(BadValue);
        }
        // The year before 1 AD is 1 BC, which is year 0 here.
        let year = if era == Era::Before { 1 - year } else { year };
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let longest = match month {
            2 if leap => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        };
        if !(1..=longest).contains(&day) {
            return Err(BadValue);
        }
        // Years begin in March here, so that the leap day is the last of its year.
        let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
        let cycle = year.div_euclid(400);
        let of_cycle = year.rem_euclid(400);
        let of_year = (153 * month + 2) / 5 + day - 1;
        let days = cycle * 146_097 + of_cycle * 365 + of_cycle / 4 - of_cycle / 100 + of_year;
        Ok(days - 730_425)
    }

    /// `HH:MM:SS[.ffffff]` as microseconds.
    fn micros(&mut self, last_hour: i64) -> Result<i64, BadValue> {
        let hour = self.digits(2, 2)?;
        self.expect(b':')?;
        let minute = self.digits(2, 2)?;
        self.expect(b':')?;
        let second = self.digits(2, 2)?;
        if hour > last_hour || minute > 59 || second > 59 {
            return Err(BadValue);
        }
        let mut micros = 0;
        if self.expect(b'.').is_ok() {
            let before = self.0.len();
            micros = self.digits(1, 6)?;
            for _ in before - self.0.len()..6 {
                micros *= 10;
            }
        }
        Ok(((hour * 60 + minute) * 60 + second) * 1_000_000 + micros)
    }
}

/// Guard against a value that changes on its way in. The expected bytes are what servers 15 and 18
/// wrote by `COPY (SELECT '...'::type) TO STDOUT (FORMAT binary)`.
#[cfg(test)]
mod tests {
    use super::*;

    fn hex(form: Form, text: &str) -> Option<String> {
        let mut out = Vec::new();
        encode(form, text.as_bytes(), &mut out).ok()?;
        let length = i32::from_be_bytes(out[..4].try_into().unwrap());
        assert_eq!(usize::try_from(length).unwrap(), out.len() - 4);
        Some(out[4..].iter().fold(String::new(), |all, byte| format!("{all}{byte:02x}")))
    }

    fn check(form: Form, pairs: &[(&str, &str)]) {
        for (text, expected) in pairs {
            assert_eq!(hex(form, text).as_deref(), Some(*expected), "{form:?} {text}");
        }
    }

    fn refuse(form: Form, texts: &[&str]) {
        for text in texts {
            assert_eq!(hex(form, text), None, "{form:?} {text}");
        }
    }

    #[test]
    fn integers_and_booleans() {
        check(Form::Bool, &[("t", "01"), ("f", "00")]);
        check(Form::Int2, &[("-32768", "8000"), ("7", "0007")]);
        check(Form::Int4, &[("-1", "ffffffff"), ("2147483647", "7fffffff")]);
        check(Form::Int8, &[("-9223372036854775808", "8000000000000000")]);
        check(Form::Oid, &[("4294967295", "ffffffff")]);
        refuse(Form::Bool, &["true", "", "T"]);
        refuse(Form::Int2, &["32768", "", "1.0", " 1"]);
        refuse(Form::Oid, &["-1"]);
    }

    #[test]
    fn floats() {
        check(
            Form::Float8,
            &[
                ("0.1", "3fb999999999999a"),
                ("-0", "8000000000000000"),
                ("5e-324", "0000000000000001"),
                ("1.7976931348623157e+308", "7fefffffffffffff"),
                ("NaN", "7ff8000000000000"),
                ("Infinity", "7ff0000000000000"),
                ("-Infinity", "fff0000000000000"),
            ],
        );
        check(
            Form::Float4,
            &[
                ("0.1", "3dcccccd"),
                ("1e-45", "00000001"),
                ("3.4028235e+38", "7f7fffff"),
                ("NaN", "7fc00000"),
            ],
        );
        refuse(Form::Float8, &["", "1,0"]);
    }

    #[test]
    fn numerics() {
        check(
            Form::Numeric,
            &[
                ("0", "0000000000000000"),
                ("0.00", "0000000000000002"),
                ("1", "00010000000000000001"),
                ("-1.5", "000200004000000100011388"),
                ("10000", "00010001000000000001"),
                ("0.0001", "0001ffff000000040001"),
                ("0.00001", "0001fffe0000000503e8"),
                ("12345.6700", "0003000100000004000109291a2c"),
                ("NaN", "00000000c0000000"),
                ("Infinity", "00000000d0000000"),
                ("-Infinity", "00000000f0000000"),
            ],
        );
        refuse(Form::Numeric, &["", "-", ".5", "1.", "1e5", "+1", "nan", "--1", "1.2.3"]);
    }

    #[test]
    fn texts() {
        check(Form::Same, &[("", ""), ("abc", "616263")]);
        check(Form::Jsonb, &[("{}", "017b7d")]);
        check(
            Form::Uuid,
            &[("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "a0eebc999c0b4ef8bb6d6bb9bd380a11")],
        );
        refuse(
            Form::Uuid,
            &["", "a0eebc999c0b4ef8bb6d6bb9bd380a11", "A0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"],
        );
    }

    #[test]
    fn dates() {
        check(
            Form::Date,
            &[
                ("2000-01-01", "00000000"),
                ("1999-12-31", "ffffffff"),
                ("2024-02-29", "00002279"),
                ("0001-01-01", "fff4dbf9"),
                ("0001-12-31 BC", "fff4dbf8"),
                ("4714-11-24 BC", "ffda97a7"),
                ("5874897-12-31", "7fda970c"),
                ("infinity", "7fffffff"),
                ("-infinity", "80000000"),
            ],
        );
        refuse(
            Form::Date,
            &[
                "2023-02-29",
                "1900-02-29",
                "2000-13-01",
                "0000-01-01",
                "2000-1-1",
                "99-01-01",
                "2000-01-01 AD",
            ],
        );
    }

    #[test]
    fn times() {
        check(
            Form::Time,
            &[
                ("00:00:00", "0000000000000000"),
                ("23:59:59.999999", "000000141dd75fff"),
                ("24:00:00", "000000141dd76000"),
                ("00:00:00.5", "000000000007a120"),
            ],
        );
        refuse(Form::Time, &["24:00:01", "23:60:00", "1:00:00", "00:00:00.", "00:00:00.1234567"]);
        check(
            Form::Timestamp,
            &[
                ("2000-01-01 00:00:00", "0000000000000000"),
                ("1999-12-31 23:59:59.999999", "ffffffffffffffff"),
                ("294276-12-31 23:59:59.999999", "7fffff5bb3b29fff"),
                ("4714-11-24 00:00:00 BC", "fd0f7cc1411fa000"),
                ("infinity", "7fffffffffffffff"),
                ("-infinity", "8000000000000000"),
            ],
        );
        check(
            Form::TimestampTz,
            &[
                ("2000-01-01 00:00:00+00", "0000000000000000"),
                ("0044-03-15 12:00:00+00 BC", "ff1af9e8fb46d000"),
            ],
        );
        refuse(
            Form::TimestampTz,
            &["2000-01-01 00:00:00", "2000-01-01 00:00:00+01", "2000-01-01 00:00:00+0000"],
        );
        refuse(
            Form::Timestamp,
            &["2000-01-01", "2000-01-01 00:00:00+00", "2000-01-01T00:00:00", "2000-01-01 24:00:00"],
        );
    }
}
