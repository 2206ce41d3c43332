//! The key of an epoch of a share: it feeds the key schedule and nothing else.

use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::keys::redacted_debug;
use crate::random::random_secret;
use crate::{CryptoError, RandomError, SealKey, schedule};

/// 256 random bits that all members hold while an epoch is in force.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct EpochKey([u8; 32]);

/// What a roster says of its epoch's key, so that all members provably hold the same. Not secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EpochCommitment(pub [u8; 32]);

impl EpochKey {
    /// A fresh random key.
    pub fn generate() -> Result<Self, RandomError> {
        random_secret().map(|bytes| Self(*bytes))
    }

    /// The key as it was stored. Fails with [`CryptoError::Malformed`] unless there are 32 bytes.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, CryptoError> {
        let bytes = <[u8; 32]>::try_from(bytes).map_err(|_| CryptoError::Malformed)?;
        Ok(Self(bytes))
    }

    /// The bytes, for sealing and wrapping only.
    pub fn secret(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0)
    }

    pub(crate) fn expose(&self) -> &[u8; 32] {
        &self.0
    }

    /// Key that seals bodies of records.
    pub fn record_key(&self) -> SealKey {
        SealKey::from_bytes(*schedule::epoch_record(self))
    }

    /// Key that seals the key of the epoch before.
    pub fn previous_key(&self) -> SealKey {
        SealKey::from_bytes(*schedule::epoch_prev(self))
    }

    /// Key that seals pieces of snapshots.
    pub fn snapshot_key(&self) -> SealKey {
        SealKey::from_bytes(*schedule::epoch_snapshot(self))
    }

    /// What the roster says of this key.
    pub fn commitment(&self) -> EpochCommitment {
        EpochCommitment(*schedule::epoch_commit(self))
    }

    /// Compares in constant time; fails with [`CryptoError::WrongKey`].
    pub fn verify(&self, commitment: &EpochCommitment) -> Result<(), CryptoError> {
        if self.commitment().0.ct_eq(&commitment.0).into() {
            Ok(())
        } else {
            Err(CryptoError::WrongKey)
        }
    }
}

redacted_debug!(EpochKey);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_key_itself_fits_its_commitment() {
        let (one, two) = (EpochKey([1; 32]), EpochKey([2; 32]));
        assert_eq!(one.verify(&one.commitment()), Ok(()));
        assert_eq!(one.verify(&two.commitment()), Err(CryptoError::WrongKey));
    }

    #[test]
    fn children_of_an_epoch_key_differ() {
        let key = EpochKey([1; 32]);
        let all = [
            *key.record_key().expose(),
            *key.previous_key().expose(),
            *key.snapshot_key().expose(),
            key.commitment().0,
        ];
        for (i, one) in all.iter().enumerate() {
            assert!(!all[i + 1..].contains(one));
        }
    }
}
