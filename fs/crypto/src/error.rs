//! What can go wrong, kept coarse: a finer error would tell an attacker which check failed.

use std::error::Error;
use std::fmt;

/// Why something sealed, authenticated or encoded was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CryptoError {
    /// The key or password does not belong to what it was tried on. Altered key derivation
    /// parameters cannot be told from a wrong password.
    WrongKey,
    /// The bytes are not what the holder of the key wrote at this place.
    Tampered,
    /// Written by a format or suite this build does not know.
    UnknownVersion,
    /// Not a well-formed value: wrong length, alphabet, checksum or range.
    Malformed,
}

impl fmt::Display for CryptoError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::WrongKey => "the key or password does not fit",
            Self::Tampered => "the data is damaged or was tampered with",
            Self::UnknownVersion => "the data needs a newer version of Keyfold",
            Self::Malformed => "the value is malformed",
        })
    }
}

impl Error for CryptoError {}

/// The system gave no random bytes, or the arguments could not be sealed at all (lengths that do
/// not belong together, more than 64 GiB at once). What was to be sealed must not be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RandomError;

impl fmt::Display for RandomError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no random bytes could be had to seal with")
    }
}

impl Error for RandomError {}
