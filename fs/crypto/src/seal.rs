//! The one sealing primitive, for every wrapped key and every sealed record.
//!
//! Layout: version(1) || salt(32) || commitment(32) || ciphertext || tag(16). Each sealing derives
//! its own AES-256-GCM key from a fresh salt, so the nonce can be constant, and a commitment, so
//! that no value opens under two keys. It runs on `WebCrypto` as it is.

use aes_gcm::aead::AeadInOut;
use aes_gcm::{Aes256Gcm, Key, KeyInit, Nonce, Tag};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::random::random_id;
use crate::{Context, CryptoError, RandomError, SealKey, schedule};

const VERSION: u8 = 1;
const SALT: usize = 32;
const COMMITMENT: usize = 32;
const TAG: usize = 16;
const HEADER: usize = 1 + SALT + COMMITMENT;
const NONCE: [u8; 12] = [0; 12];

/// Seals `plaintext` under `key`, bound to `context`. The result is 81 bytes longer.
pub fn seal(key: &SealKey, context: &Context, plaintext: &[u8]) -> Result<Vec<u8>, RandomError> {
    seal_with_salt(key, context, plaintext, &random_id()?)
}

/// The salt must be fresh: a repeated one repeats the GCM nonce.
fn seal_with_salt(
    key: &SealKey,
    context: &Context,
    plaintext: &[u8],
    salt: &[u8; SALT],
) -> Result<Vec<u8>, RandomError> {
    let (cipher, commitment) = derive(key, salt, context);
    let mut out = Vec::with_capacity(HEADER + plaintext.len() + TAG);
    out.push(VERSION);
    out.extend_from_slice(salt);
    out.extend_from_slice(commitment.as_slice());
    out.extend_from_slice(plaintext);
    let tag = cipher
        .encrypt_inout_detached(
            &Nonce::from(NONCE),
            context.as_bytes(),
            (&mut out[HEADER..]).into(),
        )
        .map_err(|_| RandomError)?;
    out.extend_from_slice(&tag);
    Ok(out)
}

/// Opens what [`seal`] made. Every failure is the same [`CryptoError::Tampered`].
pub fn open(
    key: &SealKey,
    context: &Context,
    sealed: &[u8],
) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
    open_checked(key, context, sealed).ok_or(CryptoError::Tampered)
}

fn open_checked(key: &SealKey, context: &Context, sealed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (version, rest) = sealed.split_first()?;
    let (salt, rest) = rest.split_first_chunk::<SALT>()?;
    let (commitment, rest) = rest.split_first_chunk::<COMMITMENT>()?;
    let (ciphertext, tag) = rest.split_last_chunk::<TAG>()?;
    if *version != VERSION {
        return None;
    }
    let (cipher, expected) = derive(key, salt, context);
    if !bool::from(expected.ct_eq(commitment)) {
        return None;
    }
    let mut plaintext = Zeroizing::new(ciphertext.to_vec());
    cipher
        .decrypt_inout_detached(
            &Nonce::from(NONCE),
            context.as_bytes(),
            plaintext.as_mut_slice().into(),
            &Tag::from(*tag),
        )
        .ok()?;
    Some(plaintext)
}

fn derive(
    key: &SealKey,
    salt: &[u8; SALT],
    context: &Context,
) -> (Aes256Gcm, Zeroizing<[u8; COMMITMENT]>) {
    let keys = schedule::sealing(key, salt, context);
    let mut encryption = Zeroizing::new([0; 32]);
    let mut commitment = Zeroizing::new([0; COMMITMENT]);
    encryption.copy_from_slice(&keys[..32]);
    commitment.copy_from_slice(&keys[32..]);
    (
        Aes256Gcm::new(<&Key<Aes256Gcm>>::from(&*encryption)),
        commitment,
    )
}

#[cfg(test)]
mod tests;
