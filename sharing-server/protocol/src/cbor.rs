//! The encoding of everything that is signed or sealed: the part of CBOR (RFC 8949) that has one
//! spelling for each value.
//!
//! There are numbers from 0 to 2^53 - 1, integers of the same size with a sign, byte strings, text
//! in UTF-8, arrays of known length, and null. Every length is the shortest possible. What is
//! spelled otherwise is malformed, so a value that decodes is a value that encodes to the same bytes.

use std::error::Error;
use std::fmt;

use crate::limits;

/// Why bytes are not a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DecodeError {
    /// Not the bytes of any value: wrong form, out of range, or beyond a limit.
    Malformed,
    /// Of a version that this build does not know.
    UnknownVersion,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Malformed => "the value is malformed",
            Self::UnknownVersion => "the value needs a newer version of Keyfold",
        })
    }
}

impl Error for DecodeError {}

/// What is decoded, or why not.
pub type Decoded<T> = Result<T, DecodeError>;

/// Fails as malformed unless `holds`.
pub(crate) fn require(holds: bool) -> Decoded<()> {
    if holds {
        Ok(())
    } else {
        Err(DecodeError::Malformed)
    }
}

/// A value with one encoding.
pub trait Encoded: Sized {
    /// Bytes of the longest encoding that is read.
    const LIMIT: usize;

    /// Appends the value.
    fn write(&self, w: &mut Writer);

    /// Takes the value from the front.
    fn read(r: &mut Reader<'_>) -> Decoded<Self>;

    /// The value's bytes.
    fn encode(&self) -> Vec<u8> {
        let mut w = Writer::default();
        self.write(&mut w);
        w.finish()
    }

    /// The value of exactly these bytes.
    fn decode(bytes: &[u8]) -> Decoded<Self> {
        require(bytes.len() <= Self::LIMIT)?;
        let mut r = Reader::new(bytes);
        let value = Self::read(&mut r)?;
        r.end()?;
        Ok(value)
    }
}

const UINT: u8 = 0;
const NEGATIVE: u8 = 1;
const BYTES: u8 = 2;
const TEXT: u8 = 3;
const ARRAY: u8 = 4;
const NULL: u8 = 0xf6;

// What a first byte says of the bytes that its value is in.
const ONE: u8 = 0x18;
const TWO: u8 = 0x19;
const FOUR: u8 = 0x1a;
const EIGHT: u8 = 0x1b;

/// Appends values.
#[derive(Debug, Default)]
pub struct Writer(Vec<u8>);

impl Writer {
    fn head(&mut self, major: u8, value: u64) {
        let major = major << 5;
        if value < 24 {
            self.0.push(major | value as u8);
        } else if let Ok(value) = u8::try_from(value) {
            self.0.extend_from_slice(&[major | ONE, value]);
        } else if let Ok(value) = u16::try_from(value) {
            self.0.push(major | TWO);
            self.0.extend_from_slice(&value.to_be_bytes());
        } else if let Ok(value) = u32::try_from(value) {
            self.0.push(major | FOUR);
            self.0.extend_from_slice(&value.to_be_bytes());
        } else {
            self.0.push(major | EIGHT);
            self.0.extend_from_slice(&value.to_be_bytes());
        }
    }

    /// Begins an array of `length` items.
    pub fn array(&mut self, length: usize) {
        self.head(ARRAY, length as u64);
    }

    /// An array of values.
    pub fn list<T: Encoded>(&mut self, items: &[T]) {
        self.array(items.len());
        for item in items {
            item.write(self);
        }
    }

    /// A number up to 2^53 - 1.
    pub fn uint(&mut self, value: u64) {
        self.head(UINT, value);
    }

    /// A number with a sign.
    pub fn int(&mut self, value: i64) {
        if value < 0 {
            self.head(NEGATIVE, !value as u64);
        } else {
            self.head(UINT, value as u64);
        }
    }

    /// A byte string.
    pub fn bytes(&mut self, value: &[u8]) {
        self.head(BYTES, value.len() as u64);
        self.0.extend_from_slice(value);
    }

    /// Text.
    pub fn text(&mut self, value: &str) {
        self.head(TEXT, value.len() as u64);
        self.0.extend_from_slice(value.as_bytes());
    }

    /// Nothing.
    pub fn null(&mut self) {
        self.0.push(NULL);
    }

    /// A value or nothing.
    pub fn optional<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        match value {
            Some(value) => write(self, value),
            None => self.null(),
        }
    }

    /// The bytes.
    pub fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// Takes values from the front of some bytes.
#[derive(Debug)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Reads `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    fn array_of<const N: usize>(&mut self) -> Decoded<[u8; N]> {
        let (head, rest) = self
            .0
            .split_first_chunk::<N>()
            .ok_or(DecodeError::Malformed)?;
        self.0 = rest;
        Ok(*head)
    }

    fn head(&mut self) -> Decoded<(u8, u64)> {
        let [first] = self.array_of()?;
        let (value, least) = match first & 31 {
            value @ 0..=23 => (u64::from(value), 0),
            ONE => (u64::from(u8::from_be_bytes(self.array_of()?)), 24),
            TWO => (u64::from(u16::from_be_bytes(self.array_of()?)), 1 << 8),
            FOUR => (u64::from(u32::from_be_bytes(self.array_of()?)), 1 << 16),
            EIGHT => (u64::from_be_bytes(self.array_of()?), 1 << 32),
            _ => return Err(DecodeError::Malformed),
        };
        require(value >= least && value <= limits::NUMBER)?;
        Ok((first >> 5, value))
    }

    fn expect(&mut self, major: u8) -> Decoded<u64> {
        let (found, value) = self.head()?;
        require(found == major)?;
        Ok(value)
    }

    /// An array of exactly `length` items.
    pub fn array(&mut self, length: usize) -> Decoded<()> {
        require(self.expect(ARRAY)? == length as u64)
    }

    /// An array of at most `most` items, to be read next.
    pub fn length(&mut self, most: usize) -> Decoded<usize> {
        let length = self.expect(ARRAY)?;
        // Every item has at least a byte.
        require(length <= most as u64 && length <= self.0.len() as u64)?;
        Ok(length as usize)
    }

    /// An array of at most `most` values.
    pub fn list<T: Encoded>(&mut self, most: usize) -> Decoded<Vec<T>> {
        let length = self.length(most)?;
        let mut items = Vec::new();
        for _ in 0..length {
            items.push(T::read(self)?);
        }
        Ok(items)
    }

    /// A number.
    pub fn uint(&mut self) -> Decoded<u64> {
        self.expect(UINT)
    }

    /// A number up to `most`.
    pub fn uint_up_to(&mut self, most: u64) -> Decoded<u64> {
        let value = self.uint()?;
        require(value <= most)?;
        Ok(value)
    }

    /// A number with a sign.
    pub fn int(&mut self) -> Decoded<i64> {
        match self.head()? {
            (UINT, value) => Ok(value as i64),
            (NEGATIVE, value) => Ok(!(value as i64)),
            _ => Err(DecodeError::Malformed),
        }
    }

    /// A byte string of at most `most` bytes.
    pub fn bytes(&mut self, most: usize) -> Decoded<&'a [u8]> {
        let length = self.expect(BYTES)?;
        self.take(length, most)
    }

    /// A byte string of exactly `N` bytes.
    pub fn fixed<const N: usize>(&mut self) -> Decoded<[u8; N]> {
        let bytes = self.bytes(N)?;
        <[u8; N]>::try_from(bytes).map_err(|_| DecodeError::Malformed)
    }

    /// Text of at most `most` bytes.
    pub fn text(&mut self, most: usize) -> Decoded<&'a str> {
        let length = self.expect(TEXT)?;
        let bytes = self.take(length, most)?;
        std::str::from_utf8(bytes).map_err(|_| DecodeError::Malformed)
    }

    fn take(&mut self, length: u64, most: usize) -> Decoded<&'a [u8]> {
        require(length <= most as u64)?;
        let (taken, rest) = self
            .0
            .split_at_checked(length as usize)
            .ok_or(DecodeError::Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    /// A value or nothing.
    pub fn optional<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Decoded<T>,
    ) -> Decoded<Option<T>> {
        if let Some((&NULL, rest)) = self.0.split_first() {
            self.0 = rest;
            return Ok(None);
        }
        read(self).map(Some)
    }

    /// The version that a structure begins with.
    pub fn version(&mut self) -> Decoded<()> {
        match self.uint()? {
            1 => Ok(()),
            _ => Err(DecodeError::UnknownVersion),
        }
    }

    /// Fails unless everything was taken.
    pub fn end(&self) -> Decoded<()> {
        require(self.0.is_empty())
    }
}

#[cfg(test)]
mod tests;
