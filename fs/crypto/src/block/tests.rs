use data_encoding::HEXLOWER;
use proptest::prelude::*;
use sha2::Digest;

use super::*;
use crate::vectors::read;

const FILE: FileId = FileId([3; 16]);

fn key() -> FileKey {
    FileKey::from_parts(KeyId([1; 16]), [2; 32])
}

fn plain(count: usize) -> Vec<u8> {
    (0..count * BLOCK_SIZE)
        .map(|i| (i ^ i >> 7 ^ i >> 15) as u8)
        .collect()
}

/// Blocks numbered from 100 on, sealed.
fn sealed(cipher: &BlockCipher, count: usize) -> (Vec<u8>, Vec<(u64, Sealed)>) {
    let indexes: Vec<u64> = (100..100 + count as u64).collect();
    let (mut data, mut out) = (plain(count), vec![Sealed::default(); count]);
    cipher
        .seal_run(&FILE, &indexes, &mut data, &mut out)
        .unwrap();
    (data, indexes.into_iter().zip(out).collect())
}

fn assert_refused(cipher: &BlockCipher, file: &FileId, items: &[(u64, Sealed)], data: &[u8]) {
    let mut opened = data.to_vec();
    assert_eq!(
        cipher.open_run(file, items, &mut opened),
        Err(CryptoError::Tampered)
    );
    assert!(
        opened.iter().all(|byte| *byte == 0),
        "nothing may be handed out"
    );
    for ((index, sealed), block) in items.iter().zip(data.as_chunks().0) {
        let mut one = *block;
        let by_reference = cipher.open_block_reference(file, *index, sealed, &mut one);
        let mut two = *block;
        assert_eq!(
            by_reference,
            cipher.open_run(file, &[(*index, *sealed)], &mut two)
        );
        assert_eq!(one, two);
    }
}

#[test]
fn golden_vectors_hold() {
    for vector in read(include_str!("../../tests/vectors/block.txt")) {
        let key = FileKey::from_parts(KeyId(vector.array("key-id")), vector.array("secret"));
        let (file, index) = (FileId(vector.array("file")), vector.number("index"));
        let plain = vector.hex("plaintext-repeats").repeat(64);
        let mut data = plain.clone();
        let mut out = [Sealed {
            tweak: Tweak(vector.array("tweak")),
            ..Sealed::default()
        }];
        key.cipher()
            .seal_with_tweaks(&file, &[index], data.as_chunks_mut().0, &mut out);
        assert_eq!(data[..64], vector.hex("ciphertext-head"));
        assert_eq!(
            HEXLOWER.encode(&Sha256::digest(&data)),
            vector.text("ciphertext-sha256")
        );
        assert_eq!(
            out[0].tag.0[..],
            vector.hex("tag"),
            "{}",
            vector.text("name")
        );
        key.cipher()
            .open_run(&file, &[(index, out[0])], &mut data)
            .unwrap();
        assert_eq!(data, plain);
    }
}

#[test]
fn runs_of_every_length_open_again_both_ways() {
    let cipher = key().cipher();
    for count in 0..=40 {
        let (data, items) = sealed(&cipher, count);
        let mut opened = data.clone();
        cipher.open_run(&FILE, &items, &mut opened).unwrap();
        assert!(opened == plain(count), "{count} blocks");
        for (n, (index, sealed)) in items.iter().enumerate() {
            let mut block: [u8; BLOCK_SIZE] = data.as_chunks().0[n];
            cipher
                .open_block_reference(&FILE, *index, sealed, &mut block)
                .unwrap();
            assert!(
                block == plain(count)[n * BLOCK_SIZE..][..BLOCK_SIZE],
                "block {n} of {count}"
            );
        }
    }
}

#[test]
fn sealing_twice_repeats_no_tweak_and_no_cell() {
    let cipher = key().cipher();
    let (first, first_items) = sealed(&cipher, 70);
    let (second, second_items) = sealed(&cipher, 70);
    let mut tweaks: Vec<[u8; 16]> = first_items
        .iter()
        .chain(&second_items)
        .map(|(_, sealed)| sealed.tweak.0)
        .collect();
    tweaks.sort_unstable();
    tweaks.dedup();
    assert_eq!(tweaks.len(), 140);
    let cells = first
        .as_chunks::<16>()
        .0
        .iter()
        .zip(second.as_chunks::<16>().0);
    assert_eq!(cells.filter(|(a, b)| a == b).count(), 0);
}

#[test]
fn what_a_block_is_bound_to_cannot_be_changed() {
    let cipher = key().cipher();
    for count in [1, 9, 20] {
        let (data, items) = sealed(&cipher, count);
        let changed = |change: fn(&mut (u64, Sealed))| {
            let mut items = items.clone();
            change(&mut items[count / 2]);
            items
        };
        assert_refused(&cipher, &FILE, &changed(|item| item.0 ^= 1), &data);
        assert_refused(&cipher, &FILE, &changed(|item| item.0 ^= 1 << 63), &data);
        assert_refused(
            &cipher,
            &FILE,
            &changed(|item| item.1.tweak.0[15] ^= 0x80),
            &data,
        );
        assert_refused(
            &cipher,
            &FILE,
            &changed(|item| item.1.tag.0[31] ^= 1),
            &data,
        );
        assert_refused(&cipher, &FileId([4; 16]), &items, &data);
        let other_secret = FileKey::from_parts(key().id(), [9; 32]).cipher();
        assert_refused(&other_secret, &FILE, &items, &data);
        let other_id = FileKey::from_parts(KeyId([9; 16]), *key().secret()).cipher();
        assert_refused(&other_id, &FILE, &items, &data);
    }
}

#[test]
fn swapped_duplicated_and_zeroed_blocks_are_refused() {
    let cipher = key().cipher();
    let (data, items) = sealed(&cipher, 12);
    let blocks = data.as_chunks::<BLOCK_SIZE>().0;
    let mut swapped = blocks.to_vec();
    swapped.swap(3, 9);
    assert_refused(&cipher, &FILE, &items, swapped.as_flattened());
    let mut duplicated = blocks.to_vec();
    duplicated[4] = duplicated[5];
    assert_refused(&cipher, &FILE, &items, duplicated.as_flattened());
    let mut zeroed = blocks.to_vec();
    zeroed[11] = [0; BLOCK_SIZE];
    assert_refused(&cipher, &FILE, &items, zeroed.as_flattened());
    let mut items_swapped = items.clone();
    items_swapped.swap(0, 1);
    assert_refused(&cipher, &FILE, &items_swapped, &data);
}

#[test]
fn an_older_version_under_a_newer_tag_is_refused() {
    let cipher = key().cipher();
    let (old, _) = sealed(&cipher, 10);
    let (_, items) = sealed(&cipher, 10);
    assert_refused(&cipher, &FILE, &items, &old);
}

#[cfg(debug_assertions)]
#[test]
#[should_panic(expected = "the same number of blocks")]
fn lengths_that_do_not_fit_are_a_defect() {
    let mut data = vec![0; BLOCK_SIZE + 1];
    let _ = key()
        .cipher()
        .seal_run(&FILE, &[0], &mut data, &mut [Sealed::default()]);
}

#[cfg(not(debug_assertions))]
#[test]
fn lengths_that_do_not_fit_are_refused() {
    let cipher = key().cipher();
    let one = [Sealed::default()];
    for length in [0, 1, BLOCK_SIZE - 1, BLOCK_SIZE + 1, 2 * BLOCK_SIZE] {
        let mut data = vec![7; length];
        assert_eq!(
            cipher.seal_run(&FILE, &[0], &mut data, &mut one.clone()),
            Err(RandomError)
        );
        assert!(data.iter().all(|byte| *byte == 7));
        assert_eq!(
            cipher.open_run(&FILE, &[(0, one[0])], &mut data),
            Err(CryptoError::Malformed)
        );
        assert!(data.iter().all(|byte| *byte == 0));
    }
}

#[test]
fn an_unknown_suite_asks_for_a_newer_build() {
    assert_eq!(Suite::from_name(Suite::XtsHmac.name()), Ok(Suite::XtsHmac));
    for name in ["", "AES-256-XTS", "aes-256-xts+hmac-sha-256"] {
        assert_eq!(Suite::from_name(name), Err(CryptoError::UnknownVersion));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_flipped_bit_is_refused(
        count in 1..24_usize,
        at in any::<prop::sample::Index>(),
        bit in 0..8,
    ) {
        let cipher = key().cipher();
        let (mut data, items) = sealed(&cipher, count);
        let at = at.index(data.len());
        data[at] ^= 1_u8 << bit;
        assert_refused(&cipher, &FILE, &items, &data);
    }

    #[test]
    fn random_content_comes_back(
        secret in any::<[u8; 32]>(),
        file in any::<[u8; 16]>(),
        indexes in prop::collection::vec(any::<u64>(), 1..20),
        seed in any::<[u8; 32]>(),
    ) {
        let cipher = FileKey::from_parts(KeyId([5; 16]), secret).cipher();
        let before = seed.repeat(BLOCK_SIZE / 32 * indexes.len());
        let (mut data, mut out) = (before.clone(), vec![Sealed::default(); indexes.len()]);
        cipher.seal_run(&FileId(file), &indexes, &mut data, &mut out).unwrap();
        let items: Vec<_> = indexes.into_iter().zip(out).collect();
        cipher.open_run(&FileId(file), &items, &mut data).unwrap();
        prop_assert!(data == before);
    }
}
