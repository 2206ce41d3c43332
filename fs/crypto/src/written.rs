//! Short values as people write them down and read them out: base32 groups with a checksum.
//!
//! A value of 17 bytes and three bytes of CRC-24 make 32 characters in eight groups of four. The
//! checksum also covers what kind of value it is, so that one cannot be typed in place of another.

use zeroize::Zeroizing;

use crate::CryptoError;
use crate::recovery::{checksum, from_groups, to_groups};

/// Bytes of a value.
const VALUE: usize = 17;

/// What kind of value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// The first 17 bytes of a chain root.
    Fingerprint,
    /// A zero byte and an account secret.
    AccountSecret,
}

impl Written {
    fn number(self) -> u8 {
        match self {
            Self::Fingerprint => 1,
            Self::AccountSecret => 2,
        }
    }
}

/// Eight groups of four characters, joined by dashes.
pub fn write_down(kind: Written, value: &[u8; VALUE]) -> Zeroizing<String> {
    let mut bytes = Zeroizing::new([0; VALUE + 3]);
    bytes[..VALUE].copy_from_slice(value);
    bytes[VALUE..].copy_from_slice(&check(kind, value));
    to_groups(bytes.as_slice())
}

/// Reads what [`write_down`] wrote. Case, spaces and dashes do not matter; O is taken for 0, I and L for
/// 1. Anything else wrong is [`CryptoError::Malformed`].
pub fn read_written(kind: Written, text: &str) -> Result<Zeroizing<[u8; VALUE]>, CryptoError> {
    let bytes = from_groups::<{ VALUE + 3 }>(text)?;
    let mut value = Zeroizing::new([0; VALUE]);
    value.copy_from_slice(&bytes[..VALUE]);
    if check(kind, &value) == bytes[VALUE..] {
        Ok(value)
    } else {
        Err(CryptoError::Malformed)
    }
}

fn check(kind: Written, value: &[u8; VALUE]) -> [u8; 3] {
    let mut bytes = Zeroizing::new([0; VALUE + 1]);
    bytes[0] = kind.number();
    bytes[1..].copy_from_slice(value);
    checksum(bytes.as_slice())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recovery::ALPHABET;

    const VALUE_OF_TEST: [u8; VALUE] = *b"seventeen bytes !";

    #[test]
    fn what_is_written_is_read_however_it_is_typed() {
        let text = write_down(Written::Fingerprint, &VALUE_OF_TEST);
        assert_eq!(text.len(), 39);
        for typed in [
            text.to_string(),
            text.to_lowercase(),
            text.replace('-', " "),
            text.replace('-', "").replace('0', "o").replace('1', "l"),
        ] {
            let read = read_written(Written::Fingerprint, &typed);
            assert_eq!(*read.unwrap(), VALUE_OF_TEST);
        }
    }

    #[test]
    fn one_kind_cannot_be_typed_in_place_of_another() {
        let text = write_down(Written::Fingerprint, &VALUE_OF_TEST);
        assert_eq!(
            read_written(Written::AccountSecret, &text),
            Err(CryptoError::Malformed)
        );
    }

    #[test]
    fn every_wrong_character_is_noticed() {
        let text = write_down(Written::AccountSecret, &VALUE_OF_TEST).replace('-', "");
        for at in 0..text.len() {
            for letter in ALPHABET {
                let mut other = text.clone().into_bytes();
                if other[at] == *letter {
                    continue;
                }
                other[at] = *letter;
                let other = String::from_utf8(other).unwrap();
                assert!(read_written(Written::AccountSecret, &other).is_err());
            }
        }
        for wrong in ["", "K7QD", &text[1..], &format!("{text}0"), &"U".repeat(32)] {
            assert!(read_written(Written::AccountSecret, wrong).is_err());
        }
    }
}
