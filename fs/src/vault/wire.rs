//! The values a superblock writes as text: byte strings in hexadecimal and moments in RFC 3339.
//!
//! Each value has exactly one spelling that is accepted, so that text cannot be altered without
//! altering what the superblock's authentication code covers.

use std::fmt;
use std::time::SystemTime;

use data_encoding::HEXLOWER;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// `N` bytes, written as `2 * N` lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Hex<const N: usize>(pub(super) [u8; N]);

impl<const N: usize> fmt::Debug for Hex<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl<const N: usize> Serialize for Hex<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&HEXLOWER.encode(&self.0))
    }
}

impl<'de, const N: usize> Deserialize<'de> for Hex<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = HexBytes::deserialize(deserializer)?.0;
        let bytes = bytes
            .try_into()
            .map_err(|_| D::Error::custom("wrong length"))?;
        Ok(Self(bytes))
    }
}

/// Any number of bytes in lower-case hexadecimal.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct HexBytes(pub(super) Vec<u8>);

impl fmt::Debug for HexBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl Serialize for HexBytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&HEXLOWER.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for HexBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = HEXLOWER.decode(text.as_bytes()).map_err(D::Error::custom)?;
        Ok(Self(bytes))
    }
}

/// A moment in UTC to the second, such as `2026-03-01T12:30:00Z` (RFC 3339).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timestamp(String);

impl Timestamp {
    /// The present moment, as the system clock has it.
    pub(super) fn now() -> Self {
        Self(humantime::format_rfc3339_seconds(SystemTime::now()).to_string())
    }

    /// The moment in RFC 3339.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let moment = humantime::parse_rfc3339(&text).map_err(D::Error::custom)?;
        if humantime::format_rfc3339_seconds(moment).to_string() == text {
            Ok(Self(text))
        } else {
            Err(D::Error::custom("not a moment in UTC to the second"))
        }
    }
}

/// An optional field that is either absent or has a value; `null` is refused.
pub(super) fn present<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(deserializer).map(Some)
}

/// The bytes an authentication code is computed over: every field with its length before it, so
/// that no two different sequences of fields have the same bytes.
#[derive(Default)]
pub(super) struct Canonical(Vec<u8>);

impl Canonical {
    /// Appends one field: length (u32, little endian), then the bytes.
    pub(super) fn bytes(mut self, field: &[u8]) -> Self {
        self.0
            .extend_from_slice(&(field.len() as u32).to_le_bytes());
        self.0.extend_from_slice(field);
        self
    }

    /// Appends a number as a field of eight bytes, little endian.
    pub(super) fn number(self, field: u64) -> Self {
        self.bytes(&field.to_le_bytes())
    }

    /// The bytes of all fields.
    pub(super) fn finish(self) -> Vec<u8> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_cannot_slide_into_one_another() {
        let encode = |a: &[u8], b: &[u8]| Canonical::default().bytes(a).bytes(b).finish();
        assert_ne!(encode(b"ab", b"c"), encode(b"a", b"bc"));
        assert_ne!(encode(b"", b"abc"), encode(b"abc", b""));
    }

    #[test]
    fn every_value_has_one_spelling() {
        assert!(serde_json::from_str::<Hex<2>>("\"0aff\"").is_ok());
        for other in [
            "\"0AFF\"",
            "\"0aff00\"",
            "\"0af\"",
            "\"0a\"",
            "\" 0aff\"",
            "1",
        ] {
            assert!(serde_json::from_str::<Hex<2>>(other).is_err(), "{other}");
        }
        assert!(serde_json::from_str::<Timestamp>("\"2026-03-01T12:30:00Z\"").is_ok());
        for other in [
            "\"2026-03-01T12:30:00.0Z\"",
            "\"2026-03-01 12:30:00Z\"",
            "\"2026-03-01T12:30:00\"",
            "\"2026-13-01T12:30:00Z\"",
            "\"\"",
        ] {
            assert!(serde_json::from_str::<Timestamp>(other).is_err(), "{other}");
        }
    }
}
