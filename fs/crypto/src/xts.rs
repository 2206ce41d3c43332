//! AES-256-XTS (IEEE 1619, NIST SP 800-38E) over whole 4 KiB units, driven in bulk.
//!
//! `xts-mode` gives the same bytes one cell at a time, which leaves most of the processor's AES
//! units idle. Here all masks of a unit are made first and the cells go through the cipher as
//! many at once as its backend takes.

#![allow(
    clippy::inline_always,
    reason = "code not inlined into a cipher backend is compiled without its processor features"
)]

mod masks;

use aes::Aes256;
use aes::cipher::array::{Array, ArraySize};
use aes::cipher::consts::{U16, U32};
use aes::cipher::{
    BlockCipherDecBackend, BlockCipherDecClosure, BlockCipherDecrypt, BlockCipherEncBackend,
    BlockCipherEncClosure, BlockCipherEncrypt, BlockSizeUser, KeyInit,
};
use subtle::ConstantTimeEq;
use xts_mode::Xts128;

use self::masks::{Masks, masks};
use crate::BLOCK_SIZE;

type Cell = Array<u8, U16>;
const CELLS: usize = BLOCK_SIZE / 16;

/// Expanded keys. Not authenticated: a caller must check a tag before decrypting.
#[derive(Clone)]
pub struct Xts {
    data: Aes256,
    tweak: Aes256,
}

impl Xts {
    /// K1, for the data, then K2, for the tweak. Equal halves would undo the mode's proof; a key
    /// schedule never gives them.
    pub fn new(keys: &[u8; 64]) -> Self {
        let (k1, k2) = keys.split_at(32);
        assert!(!bool::from(k1.ct_eq(k2)), "the two XTS keys are equal");
        Self {
            data: expand(k1),
            tweak: expand(k2),
        }
    }

    /// Encrypts each unit of `data` under the tweak at the same place. Both have one length.
    pub fn encrypt(&self, tweaks: &[[u8; 16]], data: &mut [[u8; BLOCK_SIZE]]) {
        debug_assert_eq!(tweaks.len(), data.len(), "a tweak for every unit");
        for (tweaks, units) in tweaks.chunks(BATCH).zip(data.chunks_mut(BATCH)) {
            let first = self.first_masks(tweaks);
            self.data.encrypt_with_backend(Encrypt {
                first: &first[..tweaks.len()],
                units,
            });
        }
    }

    /// Undoes [`Self::encrypt`].
    pub fn decrypt(&self, tweaks: &[[u8; 16]], data: &mut [[u8; BLOCK_SIZE]]) {
        debug_assert_eq!(tweaks.len(), data.len(), "a tweak for every unit");
        for (tweaks, units) in tweaks.chunks(BATCH).zip(data.chunks_mut(BATCH)) {
            let first = self.first_masks(tweaks);
            self.data.decrypt_with_backend(Decrypt {
                first: &first[..tweaks.len()],
                units,
            });
        }
    }

    /// The same cipher by another hand, for the way to the data that shares no code with this.
    pub(crate) fn reference(&self) -> Xts128<Aes256> {
        Xts128::new(self.data.clone(), self.tweak.clone())
    }

    fn first_masks(&self, tweaks: &[[u8; 16]]) -> [Cell; BATCH] {
        let mut masks = [Cell::default(); BATCH];
        for (mask, tweak) in masks.iter_mut().zip(tweaks) {
            *mask = Array(*tweak);
        }
        self.tweak.encrypt_blocks(&mut masks[..tweaks.len()]);
        masks
    }
}

/// Units per call into the cipher's backend.
const BATCH: usize = 16;

fn expand(key: &[u8]) -> Aes256 {
    let mut bytes = zeroize::Zeroizing::new([0; 32]);
    bytes.copy_from_slice(key);
    Aes256::new(<&Array<u8, U32>>::from(&*bytes))
}

struct Encrypt<'a> {
    first: &'a [Cell],
    units: &'a mut [[u8; BLOCK_SIZE]],
}

struct Decrypt<'a> {
    first: &'a [Cell],
    units: &'a mut [[u8; BLOCK_SIZE]],
}

impl BlockSizeUser for Encrypt<'_> {
    type BlockSize = U16;
}

impl BlockSizeUser for Decrypt<'_> {
    type BlockSize = U16;
}

impl BlockCipherEncClosure for Encrypt<'_> {
    #[inline(always)]
    fn call<B: BlockCipherEncBackend<BlockSize = U16>>(self, backend: &B) {
        for (first, unit) in self.first.iter().zip(self.units) {
            let masks = masks(first.0);
            xor(unit, &masks);
            let (runs, rest) = runs_of::<B::ParBlocksSize>(unit);
            for run in runs {
                backend.encrypt_par_blocks_inplace(run);
            }
            backend.encrypt_tail_blocks_inplace(rest);
            xor(unit, &masks);
        }
    }
}

impl BlockCipherDecClosure for Decrypt<'_> {
    #[inline(always)]
    fn call<B: BlockCipherDecBackend<BlockSize = U16>>(self, backend: &B) {
        for (first, unit) in self.first.iter().zip(self.units) {
            let masks = masks(first.0);
            xor(unit, &masks);
            let (runs, rest) = runs_of::<B::ParBlocksSize>(unit);
            for run in runs {
                backend.decrypt_par_blocks_inplace(run);
            }
            backend.decrypt_tail_blocks_inplace(rest);
            xor(unit, &masks);
        }
    }
}

/// A unit as runs of as many cells as the backend takes at once, and what remains.
#[inline(always)]
fn runs_of<N: ArraySize>(unit: &mut [u8; BLOCK_SIZE]) -> (&mut [Array<Cell, N>], &mut [Cell]) {
    let cells = Array::cast_slice_from_core_mut(unit.as_chunks_mut().0);
    debug_assert!(N::USIZE <= CELLS, "a backend takes no more than a unit");
    Array::slice_as_chunks_mut(cells)
}

#[inline(always)]
fn xor(unit: &mut [u8; BLOCK_SIZE], masks: &Masks) {
    for (bytes, mask) in unit.as_chunks_mut().0.iter_mut().zip(masks) {
        *bytes = (u64::from_ne_bytes(*bytes) ^ mask).to_ne_bytes();
    }
}

#[cfg(test)]
mod tests;
