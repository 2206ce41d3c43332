//! Keys wrapped for somebody: HPKE (RFC 9180) in base mode with X-Wing, HKDF-SHA-256 and
//! AES-256-GCM. No other suite is known, and nothing is negotiated.
//!
//! Layout: encapsulation(1120) || ciphertext || tag(16). `info` is SHA-256 of the context and the
//! additional data is the context itself, as in sealing. X-Wing is the hybrid of X25519 and
//! ML-KEM-768 (draft-connolly-cfrg-xwing-kem).

use std::convert::Infallible;
use std::fmt;

use hpke::aead::AesGcm256;
use hpke::kdf::HkdfSha256;
use hpke::kem::XWing;
use hpke::rand_core::{TryCryptoRng, TryRng};
use hpke::{Deserializable, Kem, OpModeR, OpModeS, Serializable};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::hashing::sha256;
use crate::keys::redacted_debug;
use crate::random::random_secret;
use crate::{Context, CryptoError, RandomError};

/// Bytes of a public key.
pub const KEM_PUBLIC_BYTES: usize = 1216;
/// Bytes that wrapping adds.
pub const WRAPPED_OVERHEAD: usize = ENCAPSULATION + 16;
const ENCAPSULATION: usize = 1120;
const RANDOMNESS: usize = 64;

/// Private key that an account unwraps with: the 32-byte seed of X-Wing.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct KemKey([u8; 32]);

impl KemKey {
    /// A fresh random key.
    pub fn generate() -> Result<Self, RandomError> {
        random_secret().map(|seed| Self(*seed))
    }

    /// The key of a seed as it was stored. Wipe the original.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(seed)
    }

    /// The seed, for sealing only.
    pub fn seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0)
    }

    /// The public half.
    pub fn public(&self) -> KemPublic {
        let mut bytes = Box::new([0; KEM_PUBLIC_BYTES]);
        XWing::sk_to_pk(&self.expand()).write_exact(bytes.as_mut_slice());
        KemPublic(bytes)
    }

    fn expand(&self) -> <XWing as Kem>::PrivateKey {
        Deserializable::from_bytes(&self.0).expect("32 bytes are a whole seed")
    }
}

redacted_debug!(KemKey);

/// Public key that is wrapped for.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct KemPublic(Box<[u8; KEM_PUBLIC_BYTES]>);

impl KemPublic {
    /// Fails with [`CryptoError::Malformed`] for what is no X-Wing public key.
    pub fn from_slice(bytes: &[u8]) -> Result<Self, CryptoError> {
        let bytes =
            <[u8; KEM_PUBLIC_BYTES]>::try_from(bytes).map_err(|_| CryptoError::Malformed)?;
        let key = Self(Box::new(bytes));
        key.expand().map(|_| key)
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_slice()
    }

    fn expand(&self) -> Result<<XWing as Kem>::PublicKey, CryptoError> {
        Deserializable::from_bytes(self.0.as_slice()).map_err(|_| CryptoError::Malformed)
    }
}

impl fmt::Debug for KemPublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KemPublic(..)")
    }
}

/// Wraps `plaintext` for the holder of `to`, bound to `context`. The result is
/// [`WRAPPED_OVERHEAD`] longer.
pub fn wrap(to: &KemPublic, context: &Context, plaintext: &[u8]) -> Result<Vec<u8>, RandomError> {
    wrap_with(to, context, plaintext, random_secret()?)
}

/// The randomness must be fresh.
fn wrap_with(
    to: &KemPublic,
    context: &Context,
    plaintext: &[u8],
    randomness: Zeroizing<[u8; RANDOMNESS]>,
) -> Result<Vec<u8>, RandomError> {
    let to = to.expand().map_err(|_| RandomError)?;
    let (encapsulation, ciphertext) =
        hpke::single_shot_seal_with_rng::<AesGcm256, HkdfSha256, XWing>(
            &OpModeS::Base,
            &to,
            &sha256(&[context.as_bytes()]),
            plaintext,
            context.as_bytes(),
            &mut Drawn {
                bytes: randomness,
                used: 0,
            },
        )
        .map_err(|_| RandomError)?;
    let mut out = vec![0; ENCAPSULATION];
    encapsulation.write_exact(&mut out);
    out.extend_from_slice(&ciphertext);
    Ok(out)
}

/// Unwraps what [`wrap`] made. Every failure is the same [`CryptoError::Tampered`].
pub fn unwrap(
    key: &KemKey,
    context: &Context,
    wrapped: &[u8],
) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
    let (encapsulation, ciphertext) = wrapped
        .split_at_checked(ENCAPSULATION)
        .ok_or(CryptoError::Tampered)?;
    let encapsulation =
        Deserializable::from_bytes(encapsulation).map_err(|_| CryptoError::Tampered)?;
    hpke::single_shot_open::<AesGcm256, HkdfSha256, XWing>(
        &OpModeR::Base,
        &key.expand(),
        &encapsulation,
        &sha256(&[context.as_bytes()]),
        ciphertext,
        context.as_bytes(),
    )
    .map(Zeroizing::new)
    .map_err(|_| CryptoError::Tampered)
}

/// Randomness drawn beforehand, so that a failure to draw is an error and no panic. What is asked
/// beyond it is zeros; X-Wing asks once, for all of it.
struct Drawn {
    bytes: Zeroizing<[u8; RANDOMNESS]>,
    used: usize,
}

impl TryRng for Drawn {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        debug_assert!(
            self.used + out.len() <= RANDOMNESS,
            "X-Wing asks for 64 bytes"
        );
        let rest = &self.bytes[self.used.min(RANDOMNESS)..];
        out.fill(0);
        for (out, byte) in out.iter_mut().zip(rest) {
            *out = *byte;
        }
        self.used += out.len();
        Ok(())
    }
}

impl TryCryptoRng for Drawn {}

#[cfg(test)]
mod tests;
