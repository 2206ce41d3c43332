//! Block tags of up to sixteen blocks at once, one 32-bit lane of AVX-512 to a block.
//!
//! SHA-256 of one block is a single chain of dependent steps, so a processor is mostly waiting;
//! sixteen chains side by side hash more than twice as fast as its own SHA instructions. Below
//! eight blocks the empty lanes cost more than they bring.

#![cfg_attr(
    target_arch = "x86_64",
    allow(
        unsafe_code,
        reason = "vector loads and stores, an addition, and calls behind a processor check"
    )
)]

use crate::BLOCK_SIZE;
use crate::block::TAIL;
use crate::mac::HmacKey;

/// Blocks hashed side by side.
pub(crate) const LANES: usize = 16;
/// Fewest blocks for which it pays.
const WORTHWHILE: usize = 8;

/// HMAC-SHA-256 of each block followed by its tail, or nothing when this processor or this number
/// of blocks is better served by one after the other. At most [`LANES`] blocks; further entries of
/// the result mean nothing.
pub(crate) fn block_tags(
    key: &HmacKey,
    blocks: &[[u8; BLOCK_SIZE]],
    tails: &[[u8; TAIL]],
) -> Option<[[u8; 32]; LANES]> {
    if !(WORTHWHILE..=LANES).contains(&blocks.len()) || tails.len() != blocks.len() {
        return None;
    }
    dispatch(key, blocks, tails)
}

#[cfg(not(target_arch = "x86_64"))]
fn dispatch(
    _key: &HmacKey,
    _blocks: &[[u8; BLOCK_SIZE]],
    _tails: &[[u8; TAIL]],
) -> Option<[[u8; 32]; LANES]> {
    None
}

#[cfg(target_arch = "x86_64")]
fn dispatch(
    key: &HmacKey,
    blocks: &[[u8; BLOCK_SIZE]],
    tails: &[[u8; TAIL]],
) -> Option<[[u8; 32]; LANES]> {
    if !(is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw")) {
        return None;
    }
    // Empty lanes repeat the first block; their results are dropped.
    let lane = |i: usize| if i < blocks.len() { i } else { 0 };
    let blocks: [&[u8; BLOCK_SIZE]; LANES] = std::array::from_fn(|i| &blocks[lane(i)]);
    let tails: [[u8; 128]; LANES] = std::array::from_fn(|i| padded(&tails[lane(i)]));
    // SAFETY: the processor has the two features that the function is compiled for.
    Some(unsafe { wide::tags(key, &blocks, &tails) })
}

/// The end of the inner message with its padding (FIPS 180-4, 5.1.1): two blocks of the hash.
#[cfg(target_arch = "x86_64")]
fn padded(tail: &[u8; TAIL]) -> [u8; 128] {
    const {
        assert!(
            TAIL > 64 - 9 && TAIL < 128 - 8,
            "two blocks, no more and no less"
        );
    };
    let bits = 8 * (64 + BLOCK_SIZE + TAIL) as u64;
    let mut out = [0; 128];
    out[..TAIL].copy_from_slice(tail);
    out[TAIL] = 0x80;
    out[120..].copy_from_slice(&bits.to_be_bytes());
    out
}

#[cfg(target_arch = "x86_64")]
mod wide {
    use std::arch::x86_64::{
        __m512i, _MM_HINT_T0, _mm_prefetch, _mm512_add_epi32, _mm512_loadu_si512, _mm512_ror_epi32,
        _mm512_set_epi64, _mm512_set1_epi32, _mm512_shuffle_epi8, _mm512_shuffle_i32x4,
        _mm512_srli_epi32, _mm512_storeu_si512, _mm512_ternarylogic_epi32, _mm512_unpackhi_epi32,
        _mm512_unpackhi_epi64, _mm512_unpacklo_epi32, _mm512_unpacklo_epi64,
    };

    use super::{BLOCK_SIZE, HmacKey, LANES};

    /// One 32-bit word of each lane.
    type Words = __m512i;

    // Truth tables of `vpternlogd`, first operand the highest bit.
    const XOR: i32 = 0x96;
    const CHOOSE: i32 = 0xca;
    const MAJORITY: i32 = 0xe8;

    /// Round constants (FIPS 180-4, 4.2.2).
    const K: [[u32; 16]; 4] = [
        [
            0x428a_2f98,
            0x7137_4491,
            0xb5c0_fbcf,
            0xe9b5_dba5,
            0x3956_c25b,
            0x59f1_11f1,
            0x923f_82a4,
            0xab1c_5ed5,
            0xd807_aa98,
            0x1283_5b01,
            0x2431_85be,
            0x550c_7dc3,
            0x72be_5d74,
            0x80de_b1fe,
            0x9bdc_06a7,
            0xc19b_f174,
        ],
        [
            0xe49b_69c1,
            0xefbe_4786,
            0x0fc1_9dc6,
            0x240c_a1cc,
            0x2de9_2c6f,
            0x4a74_84aa,
            0x5cb0_a9dc,
            0x76f9_88da,
            0x983e_5152,
            0xa831_c66d,
            0xb003_27c8,
            0xbf59_7fc7,
            0xc6e0_0bf3,
            0xd5a7_9147,
            0x06ca_6351,
            0x1429_2967,
        ],
        [
            0x27b7_0a85,
            0x2e1b_2138,
            0x4d2c_6dfc,
            0x5338_0d13,
            0x650a_7354,
            0x766a_0abb,
            0x81c2_c92e,
            0x9272_2c85,
            0xa2bf_e8a1,
            0xa81a_664b,
            0xc24b_8b70,
            0xc76c_51a3,
            0xd192_e819,
            0xd699_0624,
            0xf40e_3585,
            0x106a_a070,
        ],
        [
            0x19a4_c116,
            0x1e37_6c08,
            0x2748_774c,
            0x34b0_bcb5,
            0x391c_0cb3,
            0x4ed8_aa4a,
            0x5b9c_ca4f,
            0x682e_6ff3,
            0x748f_82ee,
            0x78a5_636f,
            0x84c8_7814,
            0x8cc7_0208,
            0x90be_fffa,
            0xa450_6ceb,
            0xbef9_a3f7,
            0xc671_78f2,
        ],
    ];

    /// HMAC of every lane's block and padded tail.
    #[target_feature(enable = "avx512f,avx512bw")]
    pub(super) fn tags(
        key: &HmacKey,
        blocks: &[&[u8; BLOCK_SIZE]; LANES],
        tails: &[[u8; 128]; LANES],
    ) -> [[u8; 32]; LANES] {
        let mut state = key.inner.map(|word| splat(word));
        for at in 0..BLOCK_SIZE / 64 {
            compress(
                &mut state,
                words(|lane| {
                    let lines = blocks[lane].as_chunks().0;
                    prefetch(&lines[(at + 4) % lines.len()]);
                    &lines[at]
                }),
            );
        }
        for at in 0..2 {
            compress(&mut state, words(|lane| &tails[lane].as_chunks().0[at]));
        }
        // The outer message is the inner digest, padded: its words need no turning around.
        let mut message = [splat(0); 16];
        message[..8].copy_from_slice(&state);
        message[8] = splat(0x8000_0000);
        message[15] = splat(8 * (64 + 32));
        let mut state = key.outer.map(|word| splat(word));
        compress(&mut state, message);
        let words = state.map(|words| store(words));
        let mut out = [[0; 32]; LANES];
        for (lane, tag) in out.iter_mut().enumerate() {
            for (bytes, word) in tag.as_chunks_mut().0.iter_mut().zip(&words) {
                *bytes = word[lane].to_be_bytes();
            }
        }
        out
    }

    /// One step of SHA-256 in every lane (FIPS 180-4, 6.2.2).
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn compress(state: &mut [Words; 8], mut w: [Words; 16]) {
        let mut s = *state;
        // Written out sixteen times: in a loop the message would not stay in registers.
        macro_rules! rounds {
            ($k:expr, $next:ident) => {
                rounds!(@ $k, $next, 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15)
            };
            (@ $k:expr, $next:ident, $($i:literal)*) => {$(
                s = round(s, add(w[$i], splat($k[$i])));
                $next!($i);
            )*};
        }
        macro_rules! schedule {
            ($i:literal) => {
                w[$i] = add(
                    add(w[$i], small0(w[($i + 1) % 16])),
                    add(w[($i + 9) % 16], small1(w[($i + 14) % 16])),
                )
            };
        }
        macro_rules! nothing {
            ($i:literal) => {};
        }
        for k in &K[..3] {
            rounds!(k, schedule);
        }
        rounds!(K[3], nothing);
        for (before, after) in state.iter_mut().zip(s) {
            *before = add(*before, after);
        }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    #[allow(clippy::many_single_char_names, reason = "the names of the standard")]
    fn round([a, b, c, d, e, f, g, h]: [Words; 8], kw: Words) -> [Words; 8] {
        let big1 = xor(
            _mm512_ror_epi32::<6>(e),
            _mm512_ror_epi32::<11>(e),
            _mm512_ror_epi32::<25>(e),
        );
        let chosen = _mm512_ternarylogic_epi32::<CHOOSE>(e, f, g);
        // A round waits for `e` of the one before: what needs it is added last, so that from `e` to the
        // next are one rotation, one XOR and one addition.
        let hkw = add(h, kw);
        let t1 = add_in_order(add_in_order(hkw, chosen), big1);
        let next = add_in_order(add_in_order(add_in_order(d, hkw), chosen), big1);
        let big0 = xor(
            _mm512_ror_epi32::<2>(a),
            _mm512_ror_epi32::<13>(a),
            _mm512_ror_epi32::<22>(a),
        );
        let most = _mm512_ternarylogic_epi32::<MAJORITY>(a, b, c);
        [add_in_order(t1, add(big0, most)), a, b, c, next, e, f, g]
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn small0(x: Words) -> Words {
        xor(
            _mm512_ror_epi32::<7>(x),
            _mm512_ror_epi32::<18>(x),
            _mm512_srli_epi32::<3>(x),
        )
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn small1(x: Words) -> Words {
        xor(
            _mm512_ror_epi32::<17>(x),
            _mm512_ror_epi32::<19>(x),
            _mm512_srli_epi32::<10>(x),
        )
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn xor(a: Words, b: Words, c: Words) -> Words {
        _mm512_ternarylogic_epi32::<XOR>(a, b, c)
    }

    /// The sum, which the compiler does not put into another order with other sums.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn add_in_order(a: Words, b: Words) -> Words {
        let sum;
        // SAFETY: an addition of two registers into a third, which AVX-512 has.
        unsafe {
            std::arch::asm!(
                "vpaddd {}, {}, {}", out(zmm_reg) sum, in(zmm_reg) a, in(zmm_reg) b,
                options(pure, nomem, nostack, preserves_flags)
            );
        }
        sum
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn add(a: Words, b: Words) -> Words {
        _mm512_add_epi32(a, b)
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn splat(word: u32) -> Words {
        _mm512_set1_epi32(word.cast_signed())
    }

    /// Takes 64 bytes of each lane and turns them so that each result holds one word of all.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw")]
    fn words<'a>(line: impl Fn(usize) -> &'a [u8; 64]) -> [Words; 16] {
        let swap = _mm512_set_epi64(
            0x0c0d_0e0f_0809_0a0b,
            0x0405_0607_0001_0203,
            0x0c0d_0e0f_0809_0a0b,
            0x0405_0607_0001_0203,
            0x0c0d_0e0f_0809_0a0b,
            0x0405_0607_0001_0203,
            0x0c0d_0e0f_0809_0a0b,
            0x0405_0607_0001_0203,
        );
        let mut rows = [splat(0); 16];
        for (lane, row) in rows.iter_mut().enumerate() {
            *row = _mm512_shuffle_epi8(load(line(lane)), swap);
        }
        // Within each group of four lanes: columns[4g + j] holds word j of every quarter.
        let mut columns = [splat(0); 16];
        for (four, out) in rows
            .as_chunks::<4>()
            .0
            .iter()
            .zip(columns.as_chunks_mut::<4>().0)
        {
            let low01 = _mm512_unpacklo_epi32(four[0], four[1]);
            let high01 = _mm512_unpackhi_epi32(four[0], four[1]);
            let low23 = _mm512_unpacklo_epi32(four[2], four[3]);
            let high23 = _mm512_unpackhi_epi32(four[2], four[3]);
            out[0] = _mm512_unpacklo_epi64(low01, low23);
            out[1] = _mm512_unpackhi_epi64(low01, low23);
            out[2] = _mm512_unpacklo_epi64(high01, high23);
            out[3] = _mm512_unpackhi_epi64(high01, high23);
        }
        // Then the four groups' quarters side by side.
        for j in 0..4 {
            let even0 = _mm512_shuffle_i32x4::<0x88>(columns[j], columns[4 + j]);
            let odd0 = _mm512_shuffle_i32x4::<0xdd>(columns[j], columns[4 + j]);
            let even1 = _mm512_shuffle_i32x4::<0x88>(columns[8 + j], columns[12 + j]);
            let odd1 = _mm512_shuffle_i32x4::<0xdd>(columns[8 + j], columns[12 + j]);
            rows[j] = _mm512_shuffle_i32x4::<0x88>(even0, even1);
            rows[4 + j] = _mm512_shuffle_i32x4::<0x88>(odd0, odd1);
            rows[8 + j] = _mm512_shuffle_i32x4::<0xdd>(even0, even1);
            rows[12 + j] = _mm512_shuffle_i32x4::<0xdd>(odd0, odd1);
        }
        rows
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn load(bytes: &[u8; 64]) -> Words {
        // SAFETY: the reference is to 64 readable bytes, and the load needs no alignment.
        unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn store(words: Words) -> [u32; LANES] {
        let mut out = [0; LANES];
        // SAFETY: the reference is to 64 writable bytes, and the store needs no alignment.
        unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), words) };
        out
    }

    #[inline]
    #[target_feature(enable = "avx512f")]
    fn prefetch(bytes: &[u8; 64]) {
        _mm_prefetch::<_MM_HINT_T0>(bytes.as_ptr().cast());
    }
}

#[cfg(test)]
mod tests;
