//! HMAC-SHA-256 (RFC 2104) from saved midstates.
//!
//! Each message costs its own blocks and one more, where a fresh HMAC costs three more; with
//! block tags and row hashes that is noticeable.

use sha2::block_api::compress256;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

use crate::CryptoError;

/// Initial state of SHA-256 (FIPS 180-4, 5.3.3).
pub(crate) const INITIAL: [u32; 8] = [
    0x6a09_e667,
    0xbb67_ae85,
    0x3c6e_f372,
    0xa54f_f53a,
    0x510e_527f,
    0x9b05_688c,
    0x1f83_d9ab,
    0x5be0_cd19,
];

/// An HMAC key: the hash states after the inner and the outer padded key.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct HmacKey {
    pub(crate) inner: [u32; 8],
    pub(crate) outer: [u32; 8],
}

impl HmacKey {
    /// A key of any length.
    pub fn new(key: &[u8]) -> Self {
        let mut padded = Zeroizing::new([0; 64]);
        if key.len() > padded.len() {
            padded[..32].copy_from_slice(&Sha256::digest(key));
        } else {
            padded[..key.len()].copy_from_slice(key);
        }
        Self {
            inner: keyed_state(&padded, 0x36),
            outer: keyed_state(&padded, 0x5c),
        }
    }

    /// Authentication code of the parts joined.
    pub fn mac(&self, parts: &[&[u8]]) -> [u8; 32] {
        let mut state = self.inner;
        let mut pending = [0; 64];
        let mut held = 0;
        let mut length = 64;
        for part in parts {
            length += part.len() as u64;
            let mut rest = *part;
            if held > 0 {
                let taken = rest.len().min(64 - held);
                pending[held..held + taken].copy_from_slice(&rest[..taken]);
                held += taken;
                rest = &rest[taken..];
                if held < 64 {
                    continue;
                }
                compress256(&mut state, &[pending]);
            }
            let (blocks, tail) = rest.as_chunks();
            compress256(&mut state, blocks);
            pending[..tail.len()].copy_from_slice(tail);
            held = tail.len();
        }
        finish(&mut state, &mut pending, held, length);
        self.close(&state)
    }

    /// Compares in constant time. Fails with [`CryptoError::WrongKey`]: the key or the bytes are not
    /// those that the code was made of.
    pub(crate) fn verify(&self, bytes: &[u8], mac: &[u8; 32]) -> Result<(), CryptoError> {
        if self.mac(&[bytes]).ct_eq(mac).into() {
            Ok(())
        } else {
            Err(CryptoError::WrongKey)
        }
    }

    /// Outer hash over the finished inner state.
    pub(crate) fn close(&self, inner: &[u32; 8]) -> [u8; 32] {
        let mut block = [0; 64];
        block[..32].copy_from_slice(&digest_bytes(inner));
        let mut state = self.outer;
        finish(&mut state, &mut block, 32, 64 + 32);
        digest_bytes(&state)
    }
}

fn keyed_state(padded: &[u8; 64], pad: u8) -> [u32; 8] {
    let block = Zeroizing::new(padded.map(|byte| byte ^ pad));
    let mut state = INITIAL;
    compress256(&mut state, std::slice::from_ref(&*block));
    state
}

/// Pads the last `held` bytes of a message of `length` bytes (FIPS 180-4, 5.1.1).
fn finish(state: &mut [u32; 8], block: &mut [u8; 64], held: usize, length: u64) {
    block[held] = 0x80;
    block[held + 1..].fill(0);
    if held >= 56 {
        compress256(state, std::slice::from_ref(block));
        block.fill(0);
    }
    block[56..].copy_from_slice(&(length * 8).to_be_bytes());
    compress256(state, std::slice::from_ref(block));
}

pub(crate) fn digest_bytes(state: &[u32; 8]) -> [u8; 32] {
    let mut out = [0; 32];
    for (bytes, word) in out.as_chunks_mut().0.iter_mut().zip(state) {
        *bytes = word.to_be_bytes();
    }
    out
}

#[cfg(test)]
mod tests;
