use hmac::{Hmac, KeyInit, Mac};
use proptest::prelude::*;

use super::*;

proptest! {
    #[test]
    fn saved_midstates_give_the_same_code_as_the_hmac_crate(
        key in prop::collection::vec(any::<u8>(), 0..150),
        parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..6),
    ) {
        let mut expected = Hmac::<Sha256>::new_from_slice(&key).unwrap();
        for part in &parts {
            expected.update(part);
        }
        let slices: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        prop_assert_eq!(&HmacKey::new(&key).mac(&slices)[..], &expected.finalize().into_bytes()[..]);
    }
}

#[test]
fn every_message_length_around_a_block_is_padded_right() {
    for length in 0..200 {
        let message = vec![length as u8; length];
        let expected = Hmac::<Sha256>::new_from_slice(b"k")
            .unwrap()
            .chain_update(&message);
        assert_eq!(
            HmacKey::new(b"k").mac(&[&message])[..],
            expected.finalize().into_bytes()[..]
        );
    }
}
