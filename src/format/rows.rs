//! Row text: `PostgreSQL`'s COPY text, with blobs by reference (spec section 9).

use std::borrow::Cow;

use super::digest::Digest;

/// The longest `bytea` that stays in the row as `\x` and hex digits; a longer one is a blob.
pub const INLINE_BYTEA: usize = 64;

/// A blob as a row names it: `#<64 hex digits>:<length>`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct BlobRef {
    /// SHA-256 of its bytes.
    pub digest: Digest,
    /// How many bytes it has; more than [`INLINE_BYTEA`].
    pub length: u64,
}

impl BlobRef {
    /// Appends the reference as a row has it.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.push(b'#');
        out.extend_from_slice(&self.digest.to_hex());
        out.push(b':');
        out.extend_from_slice(self.length.to_string().as_bytes());
    }

    fn parse(field: &[u8]) -> Option<Self> {
        let (hex, rest) = field.strip_prefix(b"#")?.split_at_checked(64)?;
        let digits = rest.strip_prefix(b":")?;
        // The one way to write a number: no sign, no leading zero.
        let plain = digits.iter().all(u8::is_ascii_digit) && digits.first() != Some(&b'0');
        let length = std::str::from_utf8(digits).ok().filter(|_| plain)?.parse().ok()?;
        let long = usize::try_from(length).map_or(true, |length: usize| length > INLINE_BYTEA);
        Some(Self { digest: Digest::from_hex(hex)?, length }).filter(|_| long)
    }
}

/// What is wrong with a row's text.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RowError {
    /// A backslash followed by what COPY never writes there.
    #[error("a backslash is followed by what the server never writes")]
    Escape,
    /// A `bytea` field that is neither hex nor a blob reference.
    #[error("a bytea field is neither \\x and at most 64 bytes in hex nor a blob reference")]
    Bytea,
    /// The text does not end with a newline.
    #[error("the last row has no end")]
    Unterminated,
}

/// The rows of `text`, each without the newline that ends it. Text after the last newline is a row
/// too: whoever cares asks [`is_whole`] first.
pub fn rows(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split_inclusive(|byte| *byte == b'\n').map(|row| row.strip_suffix(b"\n").unwrap_or(row))
}

/// Whether every row of `text` has its end.
pub fn is_whole(text: &[u8]) -> bool {
    text.last().is_none_or(|last| *last == b'\n')
}

/// The fields of a row as they are written. A row of a table without columns is empty; so is a row
/// of one column with an empty string: the table's columns tell which.
pub fn fields(row: &[u8]) -> impl Iterator<Item = &[u8]> {
    row.split(|byte| *byte == b'\t')
}

/// A field's value: `None` for NULL.
///
/// # Errors
/// [`RowError::Escape`].
pub fn unescape(field: &[u8]) -> Result<Option<Cow<'_, [u8]>>, RowError> {
    if field == b"\\N" {
        return Ok(None);
    }
    if !field.contains(&b'\\') {
        return Ok(Some(Cow::Borrowed(field)));
    }
    let mut out = Vec::with_capacity(field.len());
    let mut bytes = field.iter();
    while let Some(byte) = bytes.next() {
        if *byte != b'\\' {
            out.push(*byte);
            continue;
        }
        out.push(match bytes.next() {
            Some(b'\\') => b'\\',
            Some(b'b') => 8,
            Some(b't') => b'\t',
            Some(b'n') => b'\n',
            Some(b'v') => 11,
            Some(b'f') => 12,
            Some(b'r') => b'\r',
            _ => return Err(RowError::Escape),
        });
    }
    Ok(Some(Cow::Owned(out)))
}

/// Appends `value` as COPY writes a field.
pub fn escape_into(out: &mut Vec<u8>, value: &[u8]) {
    let mut from = 0;
    for (at, byte) in value.iter().enumerate() {
        let letter = match byte {
            b'\\' => b'\\',
            8 => b'b',
            b'\t' => b't',
            b'\n' => b'n',
            11 => b'v',
            12 => b'f',
            b'\r' => b'r',
            _ => continue,
        };
        out.extend_from_slice(value.get(from..at).unwrap_or_default());
        out.extend_from_slice(&[b'\\', letter]);
        from = at + 1;
    }
    out.extend_from_slice(value.get(from..).unwrap_or_default());
}

/// The value of a `bytea` field.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Bytea {
    /// At most [`INLINE_BYTEA`] bytes.
    Inline(Vec<u8>),
    /// A blob.
    Blob(BlobRef),
}

/// A `bytea` field's value: `None` for NULL.
///
/// # Errors
/// [`RowError::Bytea`].
pub fn bytea(field: &[u8]) -> Result<Option<Bytea>, RowError> {
    if field == b"\\N" {
        return Ok(None);
    }
    if field.first() == Some(&b'#') {
        return BlobRef::parse(field).map(|blob| Some(Bytea::Blob(blob))).ok_or(RowError::Bytea);
    }
    let hex = field.strip_prefix(b"\\\\x").ok_or(RowError::Bytea)?;
    let (pairs, odd) = hex.as_chunks::<2>();
    if !odd.is_empty() || pairs.len() > INLINE_BYTEA {
        return Err(RowError::Bytea);
    }
    let nibble = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let bytes: Option<Vec<u8>> =
        pairs.iter().map(|[high, low]| Some(nibble(*high)? << 4 | nibble(*low)?)).collect();
    bytes.map(|bytes| Some(Bytea::Inline(bytes))).ok_or(RowError::Bytea)
}

/// Appends a `bytea` value that stays in the row, as COPY writes it: `\\x` and hex digits.
pub fn inline_bytea(out: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.extend_from_slice(b"\\\\x");
    for byte in bytes {
        for nibble in [byte >> 4, byte & 15] {
            out.push(*DIGITS.get(usize::from(nibble)).unwrap_or(&b'0'));
        }
    }
}

#[cfg(test)]
mod tests {
    //! A value that does not survive the text is a value lost.
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_value_survives(value in prop::collection::vec(any::<u8>(), 0..40)) {
            let mut field = Vec::new();
            escape_into(&mut field, &value);
            prop_assert!(!field.contains(&b'\n') && !field.contains(&b'\t'));
            prop_assert_eq!(unescape(&field).unwrap().unwrap().into_owned(), value.clone());
            let mut field = Vec::new();
            inline_bytea(&mut field, &value);
            prop_assert_eq!(bytea(&field), Ok(Some(Bytea::Inline(value))));
        }
    }

    #[test]
    fn references_have_one_form() {
        let blob = BlobRef { digest: Digest::of(b"x"), length: 65 };
        let mut field = Vec::new();
        blob.write(&mut field);
        assert_eq!(bytea(&field), Ok(Some(Bytea::Blob(blob))));
        for bad in ["064", "64", "+65", "", "6 5", "99999999999999999999"] {
            let text = format!("#{}:{bad}", blob.digest);
            assert_eq!(bytea(text.as_bytes()), Err(RowError::Bytea), "{bad}");
        }
        assert_eq!(bytea(b"\\\\x0"), Err(RowError::Bytea));
        assert_eq!(bytea(b"\\\\xAB"), Err(RowError::Bytea));
        assert_eq!(bytea(b"\\N"), Ok(None));
    }

    #[test]
    fn rows_of_nothing_are_rows() {
        assert_eq!(rows(b"").count(), 0);
        assert_eq!(rows(b"\n\n").count(), 2);
        assert!(!is_whole(b"a\nb"));
    }
}
