//! A statement and the signature over exactly its bytes: `[bytes, signature(64)]`.

use keyfold_crypto::{CryptoError, IdentityKey, IdentityPublic, SignLabel, Signature};

use crate::cbor::{Decoded, Encoded, Reader, Writer};
use crate::limits;

/// A kind of statement that is signed as a whole.
pub trait Statement: Encoded {
    /// What it is signed as.
    const LABEL: SignLabel;
}

/// A statement with its signature, which may not be verified yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed<T> {
    value: T,
    signature: Signature,
}

impl<T: Statement> Signed<T> {
    /// Signs a statement.
    pub fn sign(value: T, key: &IdentityKey) -> Self {
        let signature = key.sign(T::LABEL, &value.encode());
        Self { value, signature }
    }

    /// The statement, if `key` signed it. Fails with [`CryptoError::Tampered`].
    pub fn verify(&self, key: &IdentityPublic) -> Result<&T, CryptoError> {
        key.verify(T::LABEL, &self.value.encode(), &self.signature)?;
        Ok(&self.value)
    }

    /// The statement, whoever signed it: to find out whose key to verify with.
    pub fn unverified(&self) -> &T {
        &self.value
    }
}

impl<T: Statement> Encoded for Signed<T> {
    const LIMIT: usize = limits::STATEMENT_BYTES;

    fn write(&self, w: &mut Writer) {
        w.array(2);
        w.bytes(&self.value.encode());
        w.bytes(&self.signature.0);
    }

    fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        r.array(2)?;
        Ok(Self {
            // One value has one encoding, so these are the exact bytes that were signed.
            value: T::decode(r.bytes(T::LIMIT)?)?,
            signature: Signature(r.fixed()?),
        })
    }
}
