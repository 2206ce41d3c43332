//! What opens a key slot: keys from a password or from the recovery key.

use crate::keys::redacted_debug;
use crate::mac::HmacKey;
use crate::schedule::{self, SlotSecret, SlotSecrets};
use crate::{
    Context, CryptoError, KdfParams, MasterKey, Password, RandomError, RecoveryKey, SealKey, open,
    seal,
};

/// The two keys of a slot: one authenticates its parameters, the other opens it.
pub struct SlotKeys {
    params: HmacKey,
    kek: SealKey,
}

impl SlotKeys {
    /// Stretches a password: PBKDF2, then HKDF. Takes as long as the rounds say.
    pub fn derive_password(password: &Password, params: &KdfParams) -> Self {
        let stretched = password.stretch(params);
        Self::from_secrets(&schedule::slot(
            SlotSecret::Password(&stretched),
            &params.salt,
        ))
    }

    /// Derives from the recovery key: HKDF only, the key has 256 random bits.
    pub fn derive_recovery(key: &RecoveryKey, salt: &[u8; 32]) -> Self {
        Self::from_secrets(&schedule::slot(SlotSecret::Recovery(key.expose()), salt))
    }

    fn from_secrets(secrets: &SlotSecrets) -> Self {
        Self {
            params: HmacKey::new(secrets.params.as_slice()),
            kek: SealKey::from_bytes(*secrets.kek),
        }
    }

    /// Authentication code of the slot's parameters in their canonical bytes.
    pub fn params_mac(&self, params: &[u8]) -> [u8; 32] {
        self.params.mac(&[params])
    }

    /// Fails with [`CryptoError::WrongKey`]: the password is wrong or the parameters were edited,
    /// and nobody can tell which.
    pub fn verify_params(&self, params: &[u8], mac: &[u8; 32]) -> Result<(), CryptoError> {
        self.params.verify(params, mac)
    }

    /// Wraps the master key for this slot.
    pub fn wrap(&self, context: &Context, master: &MasterKey) -> Result<Vec<u8>, RandomError> {
        seal(&self.kek, context, master.expose())
    }

    /// Unwraps the master key. Call [`Self::verify_params`] before. Fails with
    /// [`CryptoError::Tampered`].
    pub fn unwrap(&self, context: &Context, sealed: &[u8]) -> Result<MasterKey, CryptoError> {
        let bytes = open(&self.kek, context, sealed)?;
        MasterKey::from_slice(&bytes).map_err(|_| CryptoError::Tampered)
    }
}

redacted_debug!(SlotKeys);

#[cfg(test)]
mod tests;
