//! The one signing primitive: Ed25519 (RFC 8032) over a label, a zero byte and the exact bytes.

use std::fmt;

use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use zeroize::Zeroizing;

use crate::keys::redacted_debug;
use crate::random::random_secret;
use crate::{CryptoError, RandomError, SealKey, SignLabel, schedule};

/// Private key that an account signs with: the 32-byte seed of RFC 8032.
#[derive(Clone)]
pub struct IdentityKey(SigningKey);

impl IdentityKey {
    /// A fresh random key.
    pub fn generate() -> Result<Self, RandomError> {
        random_secret().map(|seed| Self(SigningKey::from_bytes(&seed)))
    }

    /// The key of a seed as it was stored. Wipe the original.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The seed, for sealing only.
    pub fn seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    pub(crate) fn expose(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// Key that seals what the account keeps about others.
    pub fn book_key(&self) -> SealKey {
        SealKey::from_bytes(*schedule::identity_book(self))
    }

    /// The public half.
    pub fn public(&self) -> IdentityPublic {
        IdentityPublic(self.0.verifying_key().to_bytes())
    }

    /// Signs `bytes` as a statement of the kind `label`.
    pub fn sign(&self, label: SignLabel, bytes: &[u8]) -> Signature {
        Signature(self.0.sign(&statement(label, bytes)).to_bytes())
    }
}

redacted_debug!(IdentityKey);

/// Public key of an identity. Any 32 bytes: those that are no usable key verify nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IdentityPublic(pub [u8; 32]);

impl IdentityPublic {
    /// Fails with [`CryptoError::Tampered`] unless this key signed exactly these bytes under
    /// `label`. Keys of small order and signatures with a second spelling are refused.
    pub fn verify(
        &self,
        label: SignLabel,
        bytes: &[u8],
        signature: &Signature,
    ) -> Result<(), CryptoError> {
        self.verify_statement(&statement(label, bytes), signature)
    }

    pub(crate) fn verify_statement(
        &self,
        statement: &[u8],
        signature: &Signature,
    ) -> Result<(), CryptoError> {
        let key = VerifyingKey::from_bytes(&self.0).map_err(|_| CryptoError::Tampered)?;
        key.verify_strict(
            statement,
            &ed25519_dalek::Signature::from_bytes(&signature.0),
        )
        .map_err(|_| CryptoError::Tampered)
    }
}

impl fmt::Debug for IdentityPublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IdentityPublic(..)")
    }
}

/// An Ed25519 signature, R then S.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Signature(pub [u8; 64]);

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Signature(..)")
    }
}

fn statement(label: SignLabel, bytes: &[u8]) -> Vec<u8> {
    [label.text().as_bytes(), &[0], bytes].concat()
}

#[cfg(test)]
mod tests;
