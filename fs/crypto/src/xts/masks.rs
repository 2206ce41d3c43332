//! The masks of a unit (IEEE 1619, 5.3): one a cell, each the one before times x in GF(2^128).
//!
//! Making one after the other takes longer than the cipher itself. So only the first few are made
//! so; the others are those that lie a power of two before them times that power of x, and many
//! at once.

#![cfg_attr(
    target_arch = "x86_64",
    allow(
        unsafe_code,
        reason = "vector loads and stores, and calls behind a processor check"
    )
)]

use super::CELLS;

/// All masks of a unit as they lie in memory.
pub(super) type Masks = [u64; 2 * CELLS];

/// The masks of a unit whose first one this is.
pub(super) fn masks(first: [u8; 16]) -> Masks {
    let mut out = [0; 2 * CELLS];
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx512f") {
        // SAFETY: the processor has the feature that the function is compiled for.
        unsafe { wide::fill(first, &mut out) };
        return out;
    }
    narrow(first, &mut out);
    out
}

/// Fills with as many masks as there is room for, one after the other.
fn begin(first: [u8; 16], out: &mut [u64]) {
    let mut mask = u128::from_le_bytes(first);
    for cell in out.as_chunks_mut().0 {
        *cell = [(mask as u64).to_le(), ((mask >> 64) as u64).to_le()];
        mask = (mask << 1) ^ (0x87 * (mask >> 127));
    }
}

/// Fills by words of 64 bits, for processors without wider ones.
fn narrow(first: [u8; 16], out: &mut Masks) {
    const APART: usize = 8;
    begin(first, &mut out[..2 * APART]);
    for at in 2 * APART..out.len() {
        let own = u64::from_le(out[at - 2 * APART]);
        out[at] = if at.is_multiple_of(2) {
            let over = u64::from_le(out[at + 1 - 2 * APART]) >> 56;
            // x^128 = x^7 + x^2 + x + 1.
            (own << 8) ^ over ^ (over << 1) ^ (over << 2) ^ (over << 7)
        } else {
            (own << 8) | (u64::from_le(out[at - 1 - 2 * APART]) >> 56)
        }
        .to_le();
    }
}

#[cfg(target_arch = "x86_64")]
mod wide {
    use std::arch::x86_64::{
        __m512i, _mm512_loadu_si512, _mm512_maskz_slli_epi64, _mm512_shuffle_epi32,
        _mm512_slli_epi64, _mm512_srli_epi64, _mm512_storeu_si512, _mm512_ternarylogic_epi64,
    };

    use super::{Masks, begin};

    /// Words in a vector: of four masks, the lower and the upper half in turns.
    const WORDS: usize = 8;
    /// Vectors that do not wait for each other: 32 masks.
    const APART: usize = 8;

    #[target_feature(enable = "avx512f")]
    pub(super) fn fill(first: [u8; 16], out: &mut Masks) {
        let mut words = [0; WORDS];
        begin(first, &mut words);
        let mut vectors = [load(&words); APART];
        vectors[1] = times::<4, 60>(vectors[0]);
        for at in 0..2 {
            vectors[2 + at] = times::<8, 56>(vectors[at]);
        }
        for at in 0..4 {
            vectors[4 + at] = times::<16, 48>(vectors[at]);
        }
        for run in out.as_chunks_mut::<{ APART * WORDS }>().0 {
            for (vector, words) in vectors.iter_mut().zip(run.as_chunks_mut().0) {
                store(*vector, words);
                *vector = times::<32, 32>(*vector);
            }
        }
    }

    /// Masks times x to the power `UP`, at most 57; `DOWN` is 64 less that.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn times<const UP: u32, const DOWN: u32>(masks: __m512i) -> __m512i {
        const XOR: i32 = 0x96;
        const LOWER: u8 = 0b0101_0101;
        const { assert!(UP <= 57 && UP + DOWN == 64, "bits move on by one word") };
        // What leaves the lower half comes into the upper; what leaves that comes into the lower
        // times x^128, which is x^7 + x^2 + x + 1.
        let over = _mm512_shuffle_epi32::<0b01_00_11_10>(_mm512_srli_epi64::<DOWN>(masks));
        let one = _mm512_maskz_slli_epi64::<1>(LOWER, over);
        let two = _mm512_maskz_slli_epi64::<2>(LOWER, over);
        let seven = _mm512_maskz_slli_epi64::<7>(LOWER, over);
        let moved = _mm512_slli_epi64::<UP>(masks);
        let sum = _mm512_ternarylogic_epi64::<XOR>(one, two, seven);
        _mm512_ternarylogic_epi64::<XOR>(moved, over, sum)
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn load(words: &[u64; WORDS]) -> __m512i {
        // SAFETY: the reference is to 64 readable bytes, and the load needs no alignment.
        unsafe { _mm512_loadu_si512(words.as_ptr().cast()) }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn store(vector: __m512i, words: &mut [u64; WORDS]) {
        // SAFETY: the reference is to 64 writable bytes, and the store needs no alignment.
        unsafe { _mm512_storeu_si512(words.as_mut_ptr().cast(), vector) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_mask_is_the_one_before_times_x(first in any::<[u8; 16]>()) {
            let mut narrowly = [0; 2 * CELLS];
            narrow(first, &mut narrowly);
            for masks in [masks(first), narrowly] {
                let mut mask = u128::from_le_bytes(first);
                for pair in masks.as_chunks::<2>().0 {
                    let bytes = [pair[0].to_ne_bytes(), pair[1].to_ne_bytes()].concat();
                    prop_assert_eq!(&bytes[..], &mask.to_le_bytes()[..]);
                    mask = (mask << 1) ^ if mask >> 127 == 1 { 0x87 } else { 0 };
                }
            }
        }
    }
}
