//! Whether a value's text is one that its type can have. Only types whose text has a simple form
//! are checked; of all others only that it is text.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use crate::format::manifest::{Column, Enum, Name, TypeKind, TypeRef};

/// What is wrong with a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fault {
    /// Not UTF-8.
    Encoding,
    /// Not a value of its type; says what the type wants.
    Value(&'static str),
    /// Not a label of its enum.
    Label,
}

/// The labels of all enums.
pub(super) type Labels = HashMap<Name, Arc<HashSet<Vec<u8>>>>;

/// Gathers the labels.
pub(super) fn labels(enums: &[Enum]) -> Labels {
    let set = |one: &Enum| one.labels.iter().map(|label| label.clone().into_bytes()).collect();
    enums.iter().map(|one| (one.name.clone(), Arc::new(set(one)))).collect()
}

/// How the values of a column are checked.
#[derive(Clone, Debug)]
pub(super) struct Check {
    form: Form,
    /// Whether text must be UTF-8 (else the database is `SQL_ASCII`).
    utf8: bool,
}

#[derive(Clone, Debug)]
enum Form {
    Bool,
    /// Between these, in decimal.
    Integer(i128, i128),
    Numeric(Option<(usize, usize)>),
    Float,
    Uuid,
    Date,
    /// Whether with a zone.
    Time(bool),
    /// Whether with a zone.
    Timestamp(bool),
    /// At most so many characters, trailing spaces (of varchar) included.
    AtMost(usize),
    /// Exactly so many characters (of char).
    Exactly(usize),
    /// A name: at most 63 bytes.
    Name,
    /// `"char"`: one byte, or nothing, or three octal digits after a backslash.
    Char,
    /// So many digits 0 and 1 exactly.
    Bits(Option<usize>),
    /// At most so many digits 0 and 1.
    BitsAtMost(Option<usize>),
    Inet,
    /// So many bytes.
    Mac(usize),
    Lsn,
    Enum(Option<Arc<HashSet<Vec<u8>>>>),
    Array(Box<Form>, u8),
    Text,
}

impl Check {
    /// How the values of `column` are checked.
    pub(super) fn of(column: &Column, labels: &Labels, utf8: bool) -> Self {
        let typmod = column.typmod.and_then(|typmod| usize::try_from(typmod).ok());
        let form = match (column.base.kind, &column.element) {
            (TypeKind::Array, Some(element)) => {
                let semicolon = element.name.schema == "pg_catalog" && element.name.name == "box";
                let separator = if semicolon { b';' } else { b',' };
                Form::Array(Box::new(form(element, typmod, labels)), separator)
            }
            (TypeKind::Base | TypeKind::Enum, _) => form(&column.base, typmod, labels),
            _ => Form::Text,
        };
        Self { form, utf8 }
    }

    /// Looks at one value (unescaped, not NULL).
    pub(super) fn value(&self, value: &[u8]) -> Result<(), Fault> {
        if self.utf8 && std::str::from_utf8(value).is_err() {
            return Err(Fault::Encoding);
        }
        self.form.value(value, self.utf8)
    }
}

fn form(of: &TypeRef, typmod: Option<usize>, labels: &Labels) -> Form {
    if of.kind == TypeKind::Enum {
        return Form::Enum(labels.get(&of.name).cloned());
    }
    if of.kind != TypeKind::Base || of.name.schema != "pg_catalog" {
        return Form::Text;
    }
    // Lengths of character types are stored with the four bytes of their own header.
    let length = typmod.and_then(|typmod| typmod.checked_sub(4));
    match of.name.name.as_str() {
        "bool" => Form::Bool,
        "int2" => Form::Integer(i16::MIN.into(), i16::MAX.into()),
        "int4" => Form::Integer(i32::MIN.into(), i32::MAX.into()),
        "int8" => Form::Integer(i64::MIN.into(), i64::MAX.into()),
        "oid" | "xid" | "cid" => Form::Integer(0, u32::MAX.into()),
        "xid8" => Form::Integer(0, u64::MAX.into()),
        "numeric" => Form::Numeric(length.and_then(precision)),
        "float4" | "float8" => Form::Float,
        "uuid" => Form::Uuid,
        "date" => Form::Date,
        "time" => Form::Time(false),
        "timetz" => Form::Time(true),
        "timestamp" => Form::Timestamp(false),
        "timestamptz" => Form::Timestamp(true),
        "varchar" => length.map_or(Form::Text, Form::AtMost),
        "bpchar" => length.map_or(Form::Text, Form::Exactly),
        "name" => Form::Name,
        "char" => Form::Char,
        "bit" => Form::Bits(typmod),
        "varbit" => Form::BitsAtMost(typmod),
        "inet" | "cidr" => Form::Inet,
        "macaddr" => Form::Mac(6),
        "macaddr8" => Form::Mac(8),
        "pg_lsn" => Form::Lsn,
        _ => Form::Text,
    }
}

/// Digits before and after the point of a numeric(p, s), where s is between 0 and p; other scales
/// (allowed since server 15) are left alone.
fn precision(length: usize) -> Option<(usize, usize)> {
    let (digits, scale) = (length >> 16, length & 0x7ff);
    (scale < 0x400 && scale <= digits).then(|| (digits - scale, scale))
}

impl Form {
    fn value(&self, value: &[u8], utf8: bool) -> Result<(), Fault> {
        let wants = |good: bool, what| if good { Ok(()) } else { Err(Fault::Value(what)) };
        match self {
            Self::Bool => wants(value == b"t" || value == b"f", "a boolean is t or f"),
            Self::Integer(least, most) => {
                let good = integer(value).is_some_and(|n| (*least..=*most).contains(&n));
                wants(good, "not an integer in the range of its type")
            }
            Self::Numeric(limit) => wants(numeric(value, *limit), "not a number of its precision"),
            Self::Float => wants(float(value), "not a floating-point number"),
            Self::Uuid => wants(uuid(value), "not a UUID"),
            Self::Date => wants(date(value), "not a date"),
            Self::Time(zone) => wants(time(value, *zone), "not a time"),
            Self::Timestamp(zone) => wants(timestamp(value, *zone), "not a timestamp"),
            Self::AtMost(most) => {
                text(value)?;
                // Bytes are at least as many as characters: nearly always enough to know.
                wants(
                    value.len() <= *most || characters(value, utf8) <= *most,
                    "longer than its type allows",
                )
            }
            Self::Exactly(length) => {
                text(value)?;
                wants(characters(value, utf8) == *length, "not as long as its type is")
            }
            Self::Name => {
                text(value)?;
                wants(value.len() <= 63, "longer than 63 bytes")
            }
            Self::Char => {
                let good = match value {
                    [] | [_] => true,
                    [b'\\', digits @ ..] => {
                        digits.len() == 3 && digits.iter().all(|b| (b'0'..=b'7').contains(b))
                    }
                    _ => false,
                };
                wants(good, "not a single byte")
            }
            Self::Bits(length) => wants(
                bits(value) && length.is_none_or(|length| value.len() == length),
                "not a bit string of its length",
            ),
            Self::BitsAtMost(most) => wants(
                bits(value) && most.is_none_or(|most| value.len() <= most),
                "not a bit string of its length",
            ),
            Self::Inet => wants(inet(value), "not a network address"),
            Self::Mac(bytes) => wants(mac(value, *bytes), "not a hardware address"),
            Self::Lsn => wants(lsn(value), "not a log position"),
            Self::Enum(labels) => match labels {
                Some(labels) if !labels.contains(value) => Err(Fault::Label),
                _ => Ok(()),
            },
            Self::Array(element, separator) => array(value, element, *separator, utf8),
            Self::Text => text(value),
        }
    }
}

fn text(value: &[u8]) -> Result<(), Fault> {
    if value.contains(&0) { Err(Fault::Value("text cannot hold a zero byte")) } else { Ok(()) }
}

fn characters(value: &[u8], utf8: bool) -> usize {
    // A character begins at every byte that does not continue one.
    if utf8 { value.iter().filter(|byte| **byte & 0xc0 != 0x80).count() } else { value.len() }
}

fn digits(value: &[u8]) -> bool {
    !value.is_empty() && value.iter().all(u8::is_ascii_digit)
}

fn decimal(value: &[u8]) -> Option<u32> {
    if digits(value) { std::str::from_utf8(value).ok()?.parse().ok() } else { None }
}

/// A decimal integer as the server writes it: no sign but minus, no leading zeros.
pub(super) fn integer(value: &[u8]) -> Option<i128> {
    let unsigned = value.strip_prefix(b"-").unwrap_or(value);
    let canonical = unsigned == b"0" && unsigned.len() == value.len()
        || digits(unsigned) && unsigned.len() <= 20 && !unsigned.starts_with(b"0");
    if canonical { std::str::from_utf8(value).ok()?.parse().ok() } else { None }
}

fn numeric(value: &[u8], limit: Option<(usize, usize)>) -> bool {
    if value == b"NaN" {
        return true;
    }
    let unsigned = value.strip_prefix(b"-").unwrap_or(value);
    if unsigned == b"Infinity" {
        return limit.is_none();
    }
    let (whole, fraction) = match unsigned.iter().position(|byte| *byte == b'.') {
        Some(point) => unsigned.split_at(point),
        None => (unsigned, &b""[..]),
    };
    let fraction = match fraction.split_first() {
        Some((_, rest)) if !digits(rest) => return false,
        Some((_, rest)) => rest,
        None => fraction,
    };
    let significant = if whole == b"0" { 0 } else { whole.len() };
    digits(whole)
        && (whole.len() == 1 || !whole.starts_with(b"0"))
        && limit.is_none_or(|(before, after)| significant <= before && fraction.len() == after)
}

fn float(value: &[u8]) -> bool {
    if matches!(value, b"NaN" | b"Infinity" | b"-Infinity") {
        return true;
    }
    let plain = value.iter().all(|b| b.is_ascii_digit() || matches!(b, b'-' | b'+' | b'.' | b'e'));
    plain && std::str::from_utf8(value).is_ok_and(|text| text.parse::<f64>().is_ok())
}

fn uuid(value: &[u8]) -> bool {
    value.len() == 36
        && value.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
        })
}

fn infinite(value: &[u8]) -> bool {
    matches!(value, b"infinity" | b"-infinity")
}

fn date(value: &[u8]) -> bool {
    infinite(value) || day(value.strip_suffix(b" BC").unwrap_or(value))
}

/// `YYYY-MM-DD`, the year of four digits or more.
fn day(value: &[u8]) -> bool {
    let mut parts = value.split(|byte| *byte == b'-');
    let (Some(year), Some(month), Some(day), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return false;
    };
    (4..=7).contains(&year.len())
        && (month.len(), day.len()) == (2, 2)
        && decimal(year).is_some_and(|year| year > 0)
        && decimal(month).is_some_and(|month| (1..=12).contains(&month))
        && decimal(day).is_some_and(|day| (1..=31).contains(&day))
}

/// `HH:MM:SS[.ffffff][zone]`.
fn time(value: &[u8], zone: bool) -> bool {
    let clock = if zone {
        match value.iter().position(|byte| matches!(byte, b'+' | b'-')) {
            Some(at) => {
                let (clock, offset) = value.split_at(at);
                let mut parts = offset.get(1..).unwrap_or_default().split(|byte| *byte == b':');
                if !parts.all(|part| part.len() == 2 && digits(part)) {
                    return false;
                }
                clock
            }
            None => return false,
        }
    } else {
        value
    };
    let (whole, fraction) = match clock.iter().position(|byte| *byte == b'.') {
        Some(at) => (clock.get(..at).unwrap_or(clock), clock.get(at + 1..)),
        None => (clock, None),
    };
    if fraction.is_some_and(|fraction| !digits(fraction) || fraction.len() > 6) {
        return false;
    }
    let mut parts = whole.split(|byte| *byte == b':');
    let mut below = |most: u32| {
        parts.next().is_some_and(|part| part.len() == 2 && decimal(part).is_some_and(|n| n <= most))
    };
    // 24:00:00 and 23:59:60 are values the server has.
    below(24) && below(59) && below(60) && parts.next().is_none()
}

fn timestamp(value: &[u8], zone: bool) -> bool {
    if infinite(value) {
        return true;
    }
    let value = value.strip_suffix(b" BC").unwrap_or(value);
    match value.iter().position(|byte| *byte == b' ') {
        Some(at) => {
            let (date, clock) = value.split_at(at);
            day(date) && time(clock.get(1..).unwrap_or_default(), zone)
        }
        None => false,
    }
}

fn bits(value: &[u8]) -> bool {
    value.iter().all(|byte| matches!(byte, b'0' | b'1'))
}

fn inet(value: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(value) else { return false };
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits)),
        None => (text, None),
    };
    let Ok(address) = address.parse::<IpAddr>() else { return false };
    let most = if address.is_ipv4() { 32 } else { 128 };
    bits.is_none_or(|bits| decimal(bits.as_bytes()).is_some_and(|bits| bits <= most))
}

fn mac(value: &[u8], bytes: usize) -> bool {
    let mut parts = 0;
    value.split(|byte| *byte == b':').all(|part| {
        parts += 1;
        part.len() == 2 && part.iter().all(u8::is_ascii_hexdigit)
    }) && parts == bytes
}

fn lsn(value: &[u8]) -> bool {
    let hex = |part: &[u8]| (1..=8).contains(&part.len()) && part.iter().all(u8::is_ascii_hexdigit);
    let mut parts = value.split(|byte| *byte == b'/');
    matches!((parts.next(), parts.next(), parts.next()), (Some(a), Some(b), None) if hex(a) && hex(b))
}

const ARRAY: Fault = Fault::Value("not an array");

/// An array as `array_out` writes it: `[1:2]={{a,"b,c"},{NULL,d}}`.
fn array(value: &[u8], element: &Form, separator: u8, utf8: bool) -> Result<(), Fault> {
    let mut rest = value;
    if rest.first() == Some(&b'[') {
        let bounds = rest.iter().position(|byte| *byte == b'=').ok_or(ARRAY)?;
        let (dimensions, after) = rest.split_at(bounds);
        if !dimensions.iter().all(|b| b.is_ascii_digit() || matches!(b, b'[' | b']' | b':' | b'-'))
        {
            return Err(ARRAY);
        }
        rest = after.get(1..).unwrap_or_default();
    }
    let mut depth = 0_u32;
    let mut unquoted = Vec::new();
    // Whether an element or an inner array may come now (after `{` or a separator), and whether
    // one must (after a separator).
    let mut open = true;
    let mut must = false;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'{' if open && depth < 6 => {
                depth += 1;
                must = false;
            }
            b'}' if depth > 0 && !must => {
                depth -= 1;
                open = false;
                if depth == 0 {
                    return if rest.is_empty() { Ok(()) } else { Err(ARRAY) };
                }
            }
            byte if *byte == separator && !open && depth > 0 => {
                open = true;
                must = true;
            }
            b'"' if open && depth > 0 => {
                unquoted.clear();
                loop {
                    let (byte, after) = rest.split_first().ok_or(ARRAY)?;
                    rest = after;
                    match byte {
                        b'"' => break,
                        b'\\' => {
                            let (escaped, after) = rest.split_first().ok_or(ARRAY)?;
                            rest = after;
                            unquoted.push(*escaped);
                        }
                        byte => unquoted.push(*byte),
                    }
                }
                element.value(&unquoted, utf8)?;
                (open, must) = (false, false);
            }
            b'{' | b'}' | b'"' | b'\\' => return Err(ARRAY),
            _ if open && depth > 0 => {
                // From this byte on to the next separator or brace.
                let length = rest
                    .iter()
                    .position(|byte| {
                        *byte == separator || matches!(byte, b'{' | b'}' | b'"' | b'\\')
                    })
                    .ok_or(ARRAY)?;
                let (more, after) = rest.split_at(length);
                rest = after;
                unquoted.clear();
                unquoted.push(*byte);
                unquoted.extend_from_slice(more);
                if unquoted != b"NULL" {
                    element.value(&unquoted, utf8)?;
                }
                (open, must) = (false, false);
            }
            _ => return Err(ARRAY),
        }
    }
    Err(ARRAY)
}

#[cfg(test)]
mod tests {
    //! A check that is too strict calls a good archive bad: so each form is shown what real
    //! servers write, at its limits, and its near misses.
    use super::super::equality::tests::column;
    use super::*;

    fn check(name: &str, typmod: Option<u64>) -> Check {
        let mut of = column(TypeKind::Base, name);
        of.typmod = typmod;
        Check::of(&of, &Labels::new(), true)
    }

    #[track_caller]
    fn all(name: &str, typmod: Option<u64>, good: &[&str], bad: &[&str]) {
        let check = check(name, typmod);
        for value in good {
            assert_eq!(check.value(value.as_bytes()), Ok(()), "{name} {value}");
        }
        for value in bad {
            assert!(check.value(value.as_bytes()).is_err(), "{name} {value}");
        }
    }

    #[test]
    fn numbers() {
        all("int2", None, &["0", "-32768", "32767"], &["32768", "", "-", "01", "+1", "-0", "1 "]);
        all("int4", None, &["-2147483648"], &["2147483648"]);
        all("int8", None, &["-9223372036854775808"], &["9223372036854775808", "1e3"]);
        all("oid", None, &["4294967295"], &["-1"]);
        all(
            "numeric",
            None,
            &["0", "-1.50", "NaN", "-Infinity", "0.000"],
            &["1.", ".5", "1e5", "00", ""],
        );
        // numeric(5,2)
        let typmod = Some((5 << 16 | 2) + 4);
        all("numeric", typmod, &["123.45", "0.00", "NaN"], &["1234.56", "1.5", "1", "Infinity"]);
        all("numeric", Some((2 << 16 | 2) + 4), &["0.12"], &["1.12"]);
        all(
            "float8",
            None,
            &["1e+300", "-0", "0.1", "Infinity", "NaN", "5e-324"],
            &["", "inf", "1e", "nan"],
        );
    }

    #[test]
    fn times() {
        all(
            "date",
            None,
            &["2024-02-29", "infinity", "0044-03-15 BC", "5874897-12-31"],
            &["2024-13-01", "2024-1-1", "0000-01-01", ""],
        );
        all(
            "time",
            None,
            &["24:00:00", "00:00:00.000001", "23:59:60"],
            &["25:00:00", "12:00", "12:00:00.", "12:00:00+00"],
        );
        all("timetz", None, &["12:00:00+05:30", "12:00:00-15:59:59"], &["12:00:00"]);
        all(
            "timestamp",
            None,
            &["294276-12-31 23:59:59.999999", "4714-11-24 00:00:00 BC", "-infinity"],
            &["2024-01-01", "2024-01-01T00:00:00"],
        );
        all(
            "timestamptz",
            None,
            &["2024-01-01 00:00:00+00", "4714-11-24 00:00:00+00 BC", "infinity"],
            &["2024-01-01 00:00:00"],
        );
    }

    #[test]
    fn the_rest() {
        all("bool", None, &["t", "f"], &["true", "", "T"]);
        all(
            "uuid",
            None,
            &["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"],
            &["A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", "a0eebc999c0b4ef8bb6d6bb9bd380a11"],
        );
        all("varchar", Some(7), &["", "abc", "កខគ"], &["abcd", "កខគឃ"]);
        all("bpchar", Some(7), &["a  ", "កខគ"], &["a", "a   "]);
        all("name", None, &["x"], &[&"x".repeat(64)]);
        all("char", None, &["", "x", "\\377"], &["xy", "\\8"]);
        all("bit", Some(3), &["101"], &["10", "102"]);
        all("varbit", Some(3), &["", "10"], &["1010"]);
        all(
            "inet",
            None,
            &["10.0.0.1", "10.0.0.0/8", "::1", "2001:db8::/32"],
            &["10.0.0", "10.0.0.1/33", ""],
        );
        all("macaddr", None, &["08:00:2b:01:02:03"], &["08:00:2b:01:02", "08002b010203"]);
        all("macaddr8", None, &["08:00:2b:01:02:03:04:05"], &["08:00:2b:01:02:03"]);
        all("pg_lsn", None, &["0/0", "FFFFFFFF/FFFFFFFF"], &["0", "0/", "g/0"]);
        all("text", None, &["", "anything\n"], &["a\0b"]);
        all("xml", None, &["<a/>"], &[]);
        assert_eq!(check("text", None).value(b"\xff"), Err(Fault::Encoding));
        let ascii = Check::of(&column(TypeKind::Base, "text"), &Labels::new(), false);
        assert_eq!(ascii.value(b"\xff"), Ok(()));
    }

    #[test]
    fn enums() {
        let mood =
            Enum { name: Name::new("public", "mood"), labels: vec!["sad".into(), "it's".into()] };
        let mut of = column(TypeKind::Enum, "mood");
        of.base.name = mood.name.clone();
        let check = Check::of(&of, &labels(&[mood]), true);
        assert_eq!(check.value(b"it's"), Ok(()));
        assert_eq!(check.value(b"Sad"), Err(Fault::Label));
    }

    #[test]
    fn arrays() {
        let of = |element: &str| {
            let mut of = column(TypeKind::Array, "_x");
            of.element =
                Some(TypeRef { name: Name::new("pg_catalog", element), kind: TypeKind::Base });
            Check::of(&of, &Labels::new(), true)
        };
        for good in [
            "{}",
            "{1,NULL,-3}",
            "{{1,2},{3,4}}",
            "[0:1]={1,2}",
            "[-1:0][2:3]={{1,2},{3,4}}",
            "{\"1\"}",
        ] {
            assert_eq!(of("int4").value(good.as_bytes()), Ok(()), "{good}");
        }
        for bad in [
            "", "{", "{1", "{1,}", "{1}x", "{x}", "{1 2}", "{{1}", "{1}}", "{\"1", "{1{2}}",
            "[x]={1}", "{,1}", "1,2",
        ] {
            assert!(of("int4").value(bad.as_bytes()).is_err(), "{bad}");
        }
        for good in [r#"{a,"b,c","d\"e","NULL","",កខ}"#, r#"{"\\x00"}"#] {
            assert_eq!(of("text").value(good.as_bytes()), Ok(()), "{good}");
        }
        assert_eq!(of("box").value(b"{(1,1),(0,0);(2,2),(1,1)}"), Ok(()));
        assert!(of("int4").value(b"{2147483648}").is_err());
    }
}
