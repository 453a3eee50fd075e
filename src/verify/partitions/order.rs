//! The order of values, for types whose text decides it.

use std::cmp::Ordering;

use crate::format::manifest::{Column, TypeKind};

/// How the values of a column are ordered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Order {
    /// int2, int4, int8, oid, numeric.
    Number,
    /// date, timestamp and (all written in UTC) timestamptz.
    Time,
    /// Types whose text sorts as they do: uuid, time, bool.
    Bytes,
}

/// Where a value is in the order of its column.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Place {
    /// `-infinity` and `-Infinity`.
    First,
    Number(Number),
    /// The year (one before Christ is 0), and the rest.
    Time(i64, Vec<u8>),
    Bytes(Vec<u8>),
    /// `infinity` and `Infinity`.
    Last,
    /// Of numbers, after all others.
    NotANumber,
}

/// A decimal number: digits without zeros in front of the whole part or behind the fraction.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Number {
    negative: bool,
    whole: Vec<u8>,
    fraction: Vec<u8>,
}

/// The text is not one of a value of the type.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct NotAValue;

impl Order {
    /// None if the text of values does not decide it: collations, types of extensions.
    pub(super) fn of(column: &Column) -> Option<Self> {
        if column.base.kind != TypeKind::Base || column.base.name.schema != "pg_catalog" {
            return None;
        }
        match column.base.name.name.as_str() {
            "int2" | "int4" | "int8" | "oid" | "numeric" => Some(Self::Number),
            "date" | "timestamp" | "timestamptz" => Some(Self::Time),
            "uuid" | "time" | "bool" => Some(Self::Bytes),
            _ => None,
        }
    }

    /// Where a value is, by its unescaped text.
    pub(super) fn place(self, text: &[u8]) -> Result<Place, NotAValue> {
        match (self, text) {
            (Self::Bytes, _) => Ok(Place::Bytes(text.to_vec())),
            (Self::Number, b"NaN") => Ok(Place::NotANumber),
            (Self::Number, b"Infinity") | (Self::Time, b"infinity") => Ok(Place::Last),
            (Self::Number, b"-Infinity") | (Self::Time, b"-infinity") => Ok(Place::First),
            (Self::Number, _) => number(text).map(Place::Number).ok_or(NotAValue),
            (Self::Time, _) => time(text).ok_or(NotAValue),
        }
    }
}

fn number(text: &[u8]) -> Option<Number> {
    let (negative, digits) = match text.strip_prefix(b"-") {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let mut parts = digits.splitn(2, |byte| *byte == b'.');
    let (whole, fraction) = (parts.next()?, parts.next().unwrap_or_default());
    if whole.is_empty() || !whole.iter().chain(fraction).all(u8::is_ascii_digit) {
        return None;
    }
    let start = whole.iter().position(|byte| *byte != b'0').unwrap_or(whole.len());
    let end = fraction.iter().rposition(|byte| *byte != b'0').map_or(0, |last| last + 1);
    let (whole, fraction) = (whole.get(start..)?.to_vec(), fraction.get(..end)?.to_vec());
    let zero = whole.is_empty() && fraction.is_empty();
    Some(Number { negative: negative && !zero, whole, fraction })
}

/// `2024-02-29`, `0044-03-15 12:00:00 BC`: the parts behind the year sort as their text does, a
/// fraction of a second (without zeros at its end) and a zone, which is the same in all, included.
fn time(text: &[u8]) -> Option<Place> {
    let (before, text) = match text.strip_suffix(b" BC") {
        Some(text) => (true, text),
        None => (false, text),
    };
    let end = text.iter().position(|byte| *byte == b'-')?;
    let (year, rest) = text.split_at_checked(end)?;
    let year: i64 = std::str::from_utf8(year).ok()?.parse().ok()?;
    Some(Place::Time(if before { 1 - year } else { year }, rest.to_vec()))
}

impl Ord for Number {
    fn cmp(&self, other: &Self) -> Ordering {
        let size =
            |number: &Self| (number.whole.len(), number.whole.clone(), number.fraction.clone());
        match (self.negative, other.negative) {
            (false, true) => Ordering::Greater,
            (true, false) => Ordering::Less,
            (false, false) => size(self).cmp(&size(other)),
            (true, true) => size(other).cmp(&size(self)),
        }
    }
}

impl PartialOrd for Number {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn ascending(order: Order, values: &[&str]) {
        let places: Vec<_> =
            values.iter().map(|value| order.place(value.as_bytes()).unwrap()).collect();
        for (pair, texts) in places.windows(2).zip(values.windows(2)) {
            assert!(pair[0] < pair[1], "{texts:?}");
        }
    }

    #[test]
    fn values_in_the_order_of_the_server() {
        let numbers =
            ["-Infinity", "-10", "-9.5", "-0.001", "0", "0.001", "9", "9.01", "9.1", "10"];
        ascending(Order::Number, &numbers);
        ascending(Order::Number, &["10", "100.5", "Infinity", "NaN"]);
        let times = [
            "-infinity",
            "0044-03-15 BC",
            "0001-12-31 BC",
            "0001-01-01",
            "2024-02-29",
            "2024-02-29 00:00:00",
            "2024-02-29 00:00:00.5",
            "2024-02-29 00:00:00.51",
            "12024-01-01",
            "infinity",
        ];
        ascending(Order::Time, &times);
        ascending(Order::Time, &["2024-01-01 00:00:00+00", "2024-01-01 00:00:00.5+00"]);
        ascending(Order::Bytes, &["00:00:00", "00:00:00.1", "23:59:59", "24:00:00"]);
        let equal = |a: &str, b: &str| {
            Order::Number.place(a.as_bytes()) == Order::Number.place(b.as_bytes())
        };
        assert!(equal("1.50", "1.5") && equal("-0", "0") && equal("007", "7"));
        assert_eq!(Order::Number.place(b"x"), Err(NotAValue));
        assert_eq!(Order::Time.place(b"x"), Err(NotAValue));
    }
}
