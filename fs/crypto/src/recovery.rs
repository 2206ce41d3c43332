//! The recovery key, and how it is written down.
//!
//! 32 key bytes and a CRC-24 make 35 bytes, exactly 56 characters in 14 groups of four. The
//! alphabet is Crockford's base32: it has no I, L, O and U, so what is read wrong can still be
//! typed right. A CRC, unlike a truncated hash, is certain to catch every wrong character and
//! every two neighbours swapped.

use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::keys::redacted_debug;
use crate::random::random_secret;
use crate::{CryptoError, RandomError};

pub(crate) const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const KEY_BYTES: usize = 32;
const CHECKED_BYTES: usize = KEY_BYTES + 3;
const GROUP: usize = 4;

/// 256 random bits that open a vault when every password is lost. Shown once.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct RecoveryKey([u8; KEY_BYTES]);

impl RecoveryKey {
    /// A fresh random key.
    pub fn generate() -> Result<Self, RandomError> {
        random_secret().map(|bytes| Self(*bytes))
    }

    pub(crate) fn expose(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }

    /// The key as it is written down: 14 groups of four characters, joined by dashes.
    pub fn to_words(&self) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new([0; CHECKED_BYTES]);
        bytes[..KEY_BYTES].copy_from_slice(&self.0);
        bytes[KEY_BYTES..].copy_from_slice(&checksum(&self.0));
        to_groups(bytes.as_slice())
    }

    /// Reads a key as it was written down. Case, spaces and dashes do not matter; O is taken for
    /// 0, I and L for 1. Anything else wrong is [`CryptoError::Malformed`].
    pub fn parse(text: &str) -> Result<Self, CryptoError> {
        let bytes = from_groups::<CHECKED_BYTES>(text)?;
        let mut key = Self([0; KEY_BYTES]);
        key.0.copy_from_slice(&bytes[..KEY_BYTES]);
        if checksum(&key.0).ct_eq(&bytes[KEY_BYTES..]).into() {
            Ok(key)
        } else {
            Err(CryptoError::Malformed)
        }
    }
}

redacted_debug!(RecoveryKey);

/// Bytes, a multiple of five, in groups of four characters joined by dashes.
pub(crate) fn to_groups(bytes: &[u8]) -> Zeroizing<String> {
    debug_assert!(bytes.len().is_multiple_of(5), "whole groups");
    let characters = bytes.len() / 5 * 8;
    let mut out = Zeroizing::new(String::with_capacity(characters + characters / GROUP));
    let values = bytes.as_chunks().0.iter().flat_map(|five| spread(*five));
    for (i, value) in values.enumerate() {
        if i > 0 && i % GROUP == 0 {
            out.push('-');
        }
        out.push(char::from(ALPHABET[usize::from(value)]));
    }
    out
}

/// Reads what [`to_groups`] wrote. Case, spaces and dashes do not matter; O is taken for 0, I and L
/// for 1. Anything else wrong, as another number of bytes, is [`CryptoError::Malformed`].
pub(crate) fn from_groups<const BYTES: usize>(
    text: &str,
) -> Result<Zeroizing<[u8; BYTES]>, CryptoError> {
    let mut bytes = Zeroizing::new([0; BYTES]);
    let mut characters = text.chars().filter(|c| !c.is_whitespace() && *c != '-');
    for five in bytes.as_chunks_mut().0 {
        let mut eight = Zeroizing::new([0; 8]);
        for place in &mut *eight {
            let value = characters.next().and_then(value_of);
            *place = value.ok_or(CryptoError::Malformed)?;
        }
        *five = gather(*eight);
    }
    match characters.next() {
        None => Ok(bytes),
        Some(_) => Err(CryptoError::Malformed),
    }
}

/// Five bytes as eight 5-bit values, most significant first.
fn spread(five: [u8; 5]) -> [u8; 8] {
    let bits = five
        .iter()
        .fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
    std::array::from_fn(|i| (bits >> (35 - 5 * i)) as u8 & 31)
}

fn gather(eight: [u8; 8]) -> [u8; 5] {
    let bits = eight
        .iter()
        .fold(0_u64, |bits, value| bits << 5 | u64::from(*value));
    std::array::from_fn(|i| (bits >> (32 - 8 * i)) as u8)
}

fn value_of(c: char) -> Option<u8> {
    let c = match c.to_ascii_uppercase() {
        'O' => '0',
        'I' | 'L' => '1',
        c => c,
    };
    ALPHABET
        .iter()
        .position(|letter| char::from(*letter) == c)
        .map(|at| at as u8)
}

/// CRC-24 of RFC 9580, 6.1.1.
pub(crate) fn checksum(bytes: &[u8]) -> [u8; 3] {
    const POLYNOMIAL: u32 = 0x0186_4cfb;
    let mut crc = 0x00b7_04ce_u32;
    for byte in bytes {
        crc ^= u32::from(*byte) << 16;
        for _ in 0..8 {
            crc <<= 1;
            // Without a branch, as the bits are secret.
            crc ^= POLYNOMIAL & 0_u32.wrapping_sub(crc >> 24);
        }
    }
    let [_, high, middle, low] = crc.to_be_bytes();
    [high, middle, low]
}

#[cfg(test)]
mod tests;
