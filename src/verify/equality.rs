//! When two values are equal, as `PostgreSQL` has it, told from their text alone.
//!
//! A key or reference is compared by canonical bytes: equal values of one family have equal
//! bytes, and no others. Where the text does not decide that (a nondeterministic collation, an
//! interval, a type of an extension), there is no [`Equality`], and nothing is guessed.

use crate::format::digest::Digest;
use crate::format::manifest::{Column, Name, TypeKind, TypeRef};

/// Values that can be compared with each other.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Family {
    /// int2, int4, int8, numeric: by value.
    Number,
    /// float4, float8: by value; a float4 is widened, so 0.1 of the one is not 0.1 of the other.
    Float,
    /// text, varchar, name with a deterministic collation: by bytes.
    Text,
    /// char(n): by bytes but for trailing spaces.
    Padded,
    /// bytea: by the SHA-256 of the bytes, which a blob reference has at hand.
    Bytea,
    /// One type whose equal values have equal text.
    Exact(Name),
}

/// How the values of a column are compared.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Equality {
    family: Family,
    /// A float4, which is widened first.
    narrow: bool,
}

/// Types of `pg_catalog` whose equal values have equal text under the settings rows are read with
/// (UTC, ISO dates), and the element types for which this holds of arrays too.
const EXACT: &[&str] = &[
    "bool",
    "char",
    "oid",
    "xid",
    "xid8",
    "cid",
    "tid",
    "pg_lsn",
    "uuid",
    "date",
    "time",
    "timetz",
    "timestamp",
    "timestamptz",
    "inet",
    "cidr",
    "macaddr",
    "macaddr8",
    "bit",
    "varbit",
    "money",
];
/// Ranges over types with exact text. The discrete ones are canonical by their own rule; of the
/// others, bounds and their inclusion are what equality compares.
const EXACT_RANGES: &[&str] = &[
    "int4range",
    "int8range",
    "daterange",
    "tsrange",
    "tstzrange",
    "int4multirange",
    "int8multirange",
    "datemultirange",
    "tsmultirange",
    "tstzmultirange",
];

impl Equality {
    /// How the values of `column` are compared; none if their text does not decide it.
    pub(crate) fn of(column: &Column) -> Option<Self> {
        let deterministic =
            column.collation.as_ref().is_none_or(|collation| collation.deterministic);
        let family = match column.base.kind {
            TypeKind::Enum => Family::Exact(column.base.name.clone()),
            TypeKind::Base => base(&column.base, deterministic)?,
            TypeKind::Range | TypeKind::Multirange => {
                let builtin = column.base.name.schema == "pg_catalog"
                    && EXACT_RANGES.contains(&column.base.name.name.as_str());
                builtin.then(|| Family::Exact(column.base.name.clone()))?
            }
            TypeKind::Array => {
                let element = column.element.as_ref()?;
                let exact = match element.kind {
                    TypeKind::Enum => true,
                    TypeKind::Base => match base(element, deterministic)? {
                        // An array's bytea elements are text, never references.
                        Family::Exact(_) | Family::Text | Family::Bytea => true,
                        Family::Number => element.name.name != "numeric",
                        Family::Float | Family::Padded => false,
                    },
                    _ => false,
                };
                exact.then(|| Family::Exact(column.base.name.clone()))?
            }
            TypeKind::Composite => return None,
        };
        let narrow = family == Family::Float && column.base.name.name == "float4";
        Some(Self { family, narrow })
    }

    /// Whether values compared by this can be compared with values compared by `other`.
    pub(super) fn agrees(&self, other: &Self) -> bool {
        self.family == other.family
    }

    /// Whether values are whole numbers or decimals.
    pub(super) fn is_number(&self) -> bool {
        self.family == Family::Number
    }

    /// Appends the canonical bytes of a value (its text, unescaped). Text that is none of the
    /// type's is taken as it is: that it is wrong is found elsewhere.
    pub(crate) fn write(&self, value: &[u8], out: &mut Vec<u8>) {
        match &self.family {
            Family::Number => number(value, out),
            Family::Float => match float(value, self.narrow) {
                Some(bits) => out.extend_from_slice(&bits.to_be_bytes()),
                None => out.extend_from_slice(value),
            },
            Family::Padded => out.extend_from_slice(trim_end(value, b' ')),
            Family::Bytea => out.extend_from_slice(&Digest::of(value).0),
            Family::Text | Family::Exact(_) => out.extend_from_slice(value),
        }
    }
}

fn base(of: &TypeRef, deterministic: bool) -> Option<Family> {
    if of.name.schema != "pg_catalog" {
        return None;
    }
    match of.name.name.as_str() {
        "int2" | "int4" | "int8" | "numeric" => Some(Family::Number),
        "float4" | "float8" => Some(Family::Float),
        "text" | "varchar" | "name" => deterministic.then_some(Family::Text),
        "bpchar" => deterministic.then_some(Family::Padded),
        "bytea" => Some(Family::Bytea),
        name => EXACT.contains(&name).then(|| Family::Exact(of.name.clone())),
    }
}

fn trim_end(value: &[u8], byte: u8) -> &[u8] {
    let end = value.iter().rposition(|b| *b != byte).map_or(0, |last| last + 1);
    value.get(..end).unwrap_or(value)
}

fn trim_start(value: &[u8], byte: u8) -> &[u8] {
    let start = value.iter().position(|b| *b != byte).unwrap_or(value.len());
    value.get(start..).unwrap_or(value)
}

/// `-01.50` as `-1.5`; `-0.0` as `0`; `NaN` and `Infinity` as they are.
fn number(value: &[u8], out: &mut Vec<u8>) {
    let (negative, digits) = match value.split_first() {
        Some((b'-', rest)) => (true, rest),
        Some((b'+', rest)) => (false, rest),
        _ => (false, value),
    };
    let point = digits.iter().position(|b| *b == b'.');
    let (whole, fraction) = match point {
        Some(at) => (digits.get(..at).unwrap_or(digits), digits.get(at + 1..).unwrap_or(&[])),
        None => (digits, &[][..]),
    };
    if digits.is_empty() || !whole.iter().chain(fraction).all(u8::is_ascii_digit) {
        out.extend_from_slice(value);
        return;
    }
    let (whole, fraction) = (trim_start(whole, b'0'), trim_end(fraction, b'0'));
    if negative && !(whole.is_empty() && fraction.is_empty()) {
        out.push(b'-');
    }
    out.extend_from_slice(if whole.is_empty() { b"0" } else { whole });
    if !fraction.is_empty() {
        out.push(b'.');
        out.extend_from_slice(fraction);
    }
}

/// The bits of a float, one pattern for each value: -0 is 0, every NaN is one.
fn float(value: &[u8], narrow: bool) -> Option<u64> {
    let text = std::str::from_utf8(value).ok()?;
    let value =
        if narrow { f64::from(text.parse::<f32>().ok()?) } else { text.parse::<f64>().ok()? };
    Some(if value.is_nan() {
        f64::NAN.to_bits()
    } else if value == 0.0 {
        0
    } else {
        value.to_bits()
    })
}

#[cfg(test)]
pub(super) mod tests {
    //! A wrong notion of equality invents broken references or hides them.
    use super::*;
    use crate::format::manifest::Collation;

    pub(in crate::verify) fn column(kind: TypeKind, name: &str) -> Column {
        Column {
            base: TypeRef { name: Name::new("pg_catalog", name), kind },
            ..Column::new("c", name)
        }
    }

    fn equal(a: &str, x: &str, b: &str, y: &str) -> Option<bool> {
        let (a, b) = (column(TypeKind::Base, a), column(TypeKind::Base, b));
        let (a, b) = (Equality::of(&a)?, Equality::of(&b)?);
        if !a.agrees(&b) {
            return None;
        }
        let (mut one, mut two) = (Vec::new(), Vec::new());
        a.write(x.as_bytes(), &mut one);
        b.write(y.as_bytes(), &mut two);
        Some(one == two)
    }

    #[test]
    fn numbers_compare_by_value() {
        for (x, y) in [
            ("1.0", "1.00"),
            ("1", "1.000"),
            ("-0.00", "0"),
            ("0.50", "00.5"),
            ("NaN", "NaN"),
            ("-Infinity", "-Infinity"),
            ("100", "100.0"),
        ] {
            assert_eq!(equal("numeric", x, "numeric", y), Some(true), "{x} {y}");
        }
        for (x, y) in [("1", "10"), ("1", "-1"), ("0.1", "0.01"), ("NaN", "0"), ("10", "100")] {
            assert_eq!(equal("numeric", x, "numeric", y), Some(false), "{x} {y}");
        }
        assert_eq!(equal("int4", "7", "int8", "7"), Some(true));
        assert_eq!(equal("int2", "7", "numeric", "7.00"), Some(true));
        assert_eq!(equal("int4", "7", "float8", "7"), None);
    }

    #[test]
    fn floats_compare_by_value() {
        assert_eq!(equal("float8", "-0", "float8", "0"), Some(true));
        assert_eq!(equal("float8", "NaN", "float4", "NaN"), Some(true));
        assert_eq!(equal("float8", "1e+20", "float8", "100000000000000000000"), Some(true));
        assert_eq!(equal("float4", "0.5", "float8", "0.5"), Some(true));
        // As on the server: select 0.1::float4 = 0.1::float8 is false.
        assert_eq!(equal("float4", "0.1", "float8", "0.1"), Some(false));
        assert_eq!(equal("float8", "Infinity", "float8", "-Infinity"), Some(false));
    }

    #[test]
    fn text_compares_by_bytes_and_char_without_padding() {
        assert_eq!(equal("text", "a", "varchar", "a"), Some(true));
        assert_eq!(equal("text", "a", "text", "a "), Some(false));
        assert_eq!(equal("bpchar", "a  ", "bpchar", "a"), Some(true));
        assert_eq!(equal("bpchar", "  ", "bpchar", ""), Some(true));
        assert_eq!(equal("bpchar", " a", "bpchar", "a"), Some(false));
        assert_eq!(equal("bpchar", "a", "text", "a"), None);
        assert_eq!(equal("timestamp", "x", "timestamptz", "x"), None);
        assert_eq!(equal("uuid", "x", "uuid", "x"), Some(true));
    }

    #[test]
    fn what_text_does_not_decide_is_left_open() {
        for name in ["interval", "jsonb", "json", "xml", "tsvector", "regclass", "point", "citext"]
        {
            assert_eq!(Equality::of(&column(TypeKind::Base, name)), None, "{name}");
        }
        let mut loose = column(TypeKind::Base, "text");
        loose.collation = Some(Collation { name: Name::new("public", "ci"), deterministic: false });
        assert_eq!(Equality::of(&loose), None);
        assert_eq!(Equality::of(&column(TypeKind::Range, "numrange")), None);
        assert!(Equality::of(&column(TypeKind::Range, "int4range")).is_some());
        assert_eq!(Equality::of(&column(TypeKind::Composite, "pair")), None);
        let mut array = column(TypeKind::Array, "_numeric");
        array.element =
            Some(TypeRef { name: Name::new("pg_catalog", "numeric"), kind: TypeKind::Base });
        assert_eq!(Equality::of(&array), None);
        array.element =
            Some(TypeRef { name: Name::new("pg_catalog", "int4"), kind: TypeKind::Base });
        assert!(Equality::of(&array).is_some());
    }
}
