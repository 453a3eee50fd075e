//! Deterministic CBOR (RFC 8949 section 4.2.1) for the manifest, spec section 7.1.
//!
//! ciborium accepts more than that and more than is safe: trailing bytes, long forms of small
//! integers, unsorted and repeated keys, tags, any depth. So a manifest is first walked here, item
//! by item and within limits, and afterwards encoded again and compared.

use ciborium::Value;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::limits::{MANIFEST_DEPTH, MANIFEST_ITEMS};

/// Why bytes are not the one encoding of a value.
#[derive(Debug, thiserror::Error)]
pub enum CborError {
    /// Not in canonical form.
    #[error("at byte {at}: {what}")]
    NotCanonical {
        /// Offset of the item.
        at: usize,
        /// What is wrong with it.
        what: &'static str,
    },
    /// More than the limits allow.
    #[error("at byte {at}: more than {limit} {what}")]
    Limit {
        /// Offset of the item.
        at: usize,
        /// The bound.
        limit: u64,
        /// Of what.
        what: &'static str,
    },
    /// A field is missing or of another type than the specification has.
    #[error("{0}")]
    Shape(String),
}

/// The one encoding of `value`.
///
/// # Errors
/// [`CborError::Shape`] for a value that has none (a float, a null).
pub fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, CborError> {
    let mut tree = Value::serialized(value).map_err(|e| CborError::Shape(e.to_string()))?;
    sort(&mut tree)?;
    let out = write(&tree)?;
    check(&out)?;
    Ok(out)
}

/// Reads the one encoding of a value; any other encoding of it is refused.
///
/// # Errors
/// See [`CborError`].
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CborError> {
    check(bytes)?;
    let tree: Value = ciborium::from_reader(bytes).map_err(|e| CborError::Shape(e.to_string()))?;
    if write(&tree)? != bytes {
        return Err(CborError::NotCanonical { at: 0, what: "encoded again it differs" });
    }
    tree.deserialized().map_err(|e| CborError::Shape(e.to_string()))
}

fn write(tree: &Value) -> Result<Vec<u8>, CborError> {
    let mut out = Vec::new();
    ciborium::into_writer(tree, &mut out).map_err(|e| CborError::Shape(e.to_string()))?;
    Ok(out)
}

/// Sorts map keys by their encoding: shorter first, then bytewise.
fn sort(tree: &mut Value) -> Result<(), CborError> {
    match tree {
        Value::Array(items) => items.iter_mut().try_for_each(sort),
        Value::Map(pairs) => {
            for (_, value) in pairs.iter_mut() {
                sort(value)?;
            }
            pairs.sort_by(|(a, _), (b, _)| {
                let key = |v: &Value| v.as_text().map(|t| (t.len(), t.to_owned()));
                key(a).cmp(&key(b))
            });
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Whether `bytes` are one data item in canonical form, of the kinds a manifest may hold.
///
/// # Errors
/// [`CborError::NotCanonical`] or [`CborError::Limit`] with the offset of the first offence.
pub fn check(bytes: &[u8]) -> Result<(), CborError> {
    let mut walk = Walk { bytes, at: 0, items: 0 };
    walk.item(0)?;
    if walk.at == bytes.len() { Ok(()) } else { Err(walk.wrong("bytes after the end")) }
}

struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
    items: u64,
}

impl<'a> Walk<'a> {
    fn wrong(&self, what: &'static str) -> CborError {
        CborError::NotCanonical { at: self.at, what }
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], CborError> {
        let taken = self
            .at
            .checked_add(length)
            .and_then(|end| self.bytes.get(self.at..end))
            .ok_or_else(|| self.wrong("cut off"))?;
        self.at += length;
        Ok(taken)
    }

    /// The major type and argument at the cursor.
    fn head(&mut self) -> Result<(u8, u64), CborError> {
        let first = *self.take(1)?.first().ok_or_else(|| self.wrong("cut off"))?;
        let (major, info) = (first >> 5, first & 31);
        if major == 7 {
            return Ok((major, u64::from(info)));
        }
        let argument = match info {
            0..=23 => return Ok((major, u64::from(info))),
            24..=27 => {
                let width = 1_usize << (info - 24);
                self.take(width)?.iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte))
            }
            _ => return Err(self.wrong("an indefinite length or reserved form")),
        };
        let least = match info {
            24 => 24,
            25 => 1 << 8,
            26 => 1 << 16,
            _ => 1 << 32,
        };
        if argument < least {
            return Err(self.wrong("a number in a longer form than it needs"));
        }
        Ok((major, argument))
    }

    fn text(&mut self, length: u64) -> Result<&'a [u8], CborError> {
        let length = usize::try_from(length).map_err(|_| self.wrong("cut off"))?;
        let text = self.take(length)?;
        if std::str::from_utf8(text).is_err() {
            return Err(self.wrong("text that is not UTF-8"));
        }
        Ok(text)
    }

    fn count(&mut self) -> Result<(), CborError> {
        self.items += 1;
        if self.items > MANIFEST_ITEMS {
            return Err(CborError::Limit { at: self.at, limit: MANIFEST_ITEMS, what: "items" });
        }
        Ok(())
    }

    fn item(&mut self, depth: u32) -> Result<(), CborError> {
        if depth > MANIFEST_DEPTH {
            let limit = u64::from(MANIFEST_DEPTH);
            return Err(CborError::Limit { at: self.at, limit, what: "levels" });
        }
        self.count()?;
        let (major, argument) = self.head()?;
        match major {
            0 | 1 if argument >= 1 << 63 => Err(self.wrong("an integer beyond 2^63-1")),
            0 | 1 => Ok(()),
            2 => {
                let length = usize::try_from(argument).map_err(|_| self.wrong("cut off"))?;
                self.take(length).map(|_| ())
            }
            3 => self.text(argument).map(|_| ()),
            4 => {
                for _ in 0..argument {
                    self.item(depth + 1)?;
                }
                Ok(())
            }
            5 => {
                let mut last: Option<&[u8]> = None;
                for _ in 0..argument {
                    self.count()?;
                    let (3, length) = self.head()? else {
                        return Err(self.wrong("a map key that is not text"));
                    };
                    let key = self.text(length)?;
                    if last.is_some_and(|last| (last.len(), last) >= (key.len(), key)) {
                        return Err(self.wrong("map keys out of order or twice"));
                    }
                    last = Some(key);
                    self.item(depth + 1)?;
                }
                Ok(())
            }
            7 if argument == 20 || argument == 21 => Ok(()),
            _ => Err(self.wrong("a tag, float, null or simple value")),
        }
    }
}

#[cfg(test)]
mod tests {
    //! Two encodings of one manifest would give it two digests; each way to get there is refused.
    use super::*;

    fn refused(bytes: &[u8]) -> bool {
        check(bytes).is_err() && decode::<Value>(bytes).is_err()
    }

    #[test]
    fn other_encodings_are_refused() {
        assert!(check(b"\xa2\x61a\x01\x62aa\xf5").is_ok());
        for (bytes, what) in [
            (&b"\x01\x01"[..], "trailing"),
            (b"\x18\x17", "long integer"),
            (b"\x19\x00\xff", "long integer"),
            (b"\xa2\x62aa\x01\x61a\x01", "unsorted"),
            (b"\xa2\x61a\x01\x61a\x01", "twice"),
            (b"\xa1\x01\x01", "integer key"),
            (b"\x9f\x01\xff", "indefinite"),
            (b"\xf6", "null"),
            (b"\xf9\x00\x00", "float"),
            (b"\xc0\x61a", "tag"),
            (b"\x61\xff", "utf-8"),
            (b"\x1b\x80\0\0\0\0\0\0\0", "big"),
            (b"\x9b\x7f\xff\xff\xff\xff\xff\xff\xff", "long array"),
            (b"\x5b\x7f\xff\xff\xff\xff\xff\xff\xff", "long bytes"),
            (b"\x41", "cut"),
            (b"", "empty"),
            (&[0x81; 40], "deep"),
        ] {
            assert!(refused(bytes), "{what}");
        }
    }

    #[test]
    fn keys_are_sorted_however_a_struct_declares_them() {
        #[derive(Serialize)]
        struct Two {
            zeta: u8,
            a: u8,
        }
        assert_eq!(encode(&Two { zeta: 1, a: 2 }).unwrap(), b"\xa2\x61a\x02\x64zeta\x01");
    }
}
