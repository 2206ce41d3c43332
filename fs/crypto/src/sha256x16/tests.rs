use hmac::{Hmac, KeyInit, Mac};
use proptest::prelude::*;
use sha2::Sha256;

use super::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn every_lane_hashes_what_hmac_hashes(
        secret in any::<[u8; 32]>(),
        seeds in prop::collection::vec(any::<[u8; 16]>(), 1..=40),
    ) {
        let blocks: Vec<[u8; BLOCK_SIZE]> = seeds.iter().map(scrambled).collect();
        let tails: Vec<[u8; TAIL]> = seeds.iter().map(|seed| {
            let stream: [u8; BLOCK_SIZE] = scrambled(&seed.map(|byte| !byte));
            std::array::from_fn(|i| stream[i])
        }).collect();
        let key = HmacKey::new(&secret);
        for (blocks, tails) in blocks.chunks(LANES).zip(tails.chunks(LANES)) {
            let Some(tags) = block_tags(&key, blocks, tails) else {
                prop_assert!(blocks.len() < WORTHWHILE || !available());
                continue;
            };
            for ((block, tail), tag) in blocks.iter().zip(tails).zip(tags) {
                let expected = Hmac::<Sha256>::new_from_slice(&secret).unwrap();
                let expected = expected.chain_update(block).chain_update(tail).finalize();
                prop_assert_eq!(&expected.into_bytes()[..], &tag[..]);
            }
        }
    }
}

/// A block with no two bytes related in a way that a lane mix-up would keep.
fn scrambled(seed: &[u8; 16]) -> [u8; BLOCK_SIZE] {
    let mut state = u128::from_le_bytes(*seed) | 1;
    std::array::from_fn(|_| {
        state = state
            .wrapping_mul(0x2360_ed05_1fc6_5da4_4385_df64_9fcc_f645)
            .wrapping_add(1);
        (state >> 120) as u8
    })
}

#[test]
fn numbers_of_blocks_it_is_not_for_are_left_alone() {
    let key = HmacKey::new(b"key");
    let blocks = vec![[1; BLOCK_SIZE]; LANES + 1];
    let tails = vec![[2; TAIL]; LANES + 1];
    for count in (0..WORTHWHILE).chain([LANES + 1]) {
        assert!(
            block_tags(&key, &blocks[..count], &tails[..count]).is_none(),
            "{count}"
        );
    }
    assert!(block_tags(&key, &blocks[..10], &tails[..9]).is_none());
    for count in WORTHWHILE..=LANES {
        assert_eq!(
            block_tags(&key, &blocks[..count], &tails[..count]).is_some(),
            available()
        );
    }
}

fn available() -> bool {
    #[cfg(target_arch = "x86_64")]
    return is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw");
    #[cfg(not(target_arch = "x86_64"))]
    return false;
}
