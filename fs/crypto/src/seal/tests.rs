use proptest::prelude::*;

use super::*;
use crate::vectors::{read, unhex};

fn key(byte: u8) -> SealKey {
    SealKey::from_bytes([byte; 32])
}

#[test]
fn golden_vectors_hold() {
    for vector in read(include_str!("../../tests/vectors/seal.txt")) {
        let key = SealKey::from_bytes(vector.array("key"));
        let fields = vector.text("fields").split_whitespace();
        let context = fields
            .map(|field| {
                if field == "-" {
                    Vec::new()
                } else {
                    unhex(field)
                }
            })
            .fold(Context::of(vector.text("label")), |context, field| {
                context.bytes(&field)
            })
            .u64(vector.number("number"));
        let plaintext = vector.hex("plaintext");
        let sealed = seal_with_salt(&key, &context, &plaintext, &vector.array("salt")).unwrap();
        assert_eq!(sealed, vector.hex("sealed"), "{}", vector.text("name"));
        assert_eq!(*open(&key, &context, &sealed).unwrap(), plaintext);
    }
}

#[test]
fn the_same_value_is_never_sealed_the_same_way_twice() {
    let context = Context::of("t");
    assert_ne!(
        seal(&key(1), &context, b"v").unwrap(),
        seal(&key(1), &context, b"v").unwrap()
    );
}

#[test]
fn every_shorter_length_fails_with_the_one_error() {
    let context = Context::of("t");
    let sealed = seal(&key(1), &context, b"value").unwrap();
    for length in 0..sealed.len() {
        assert_eq!(
            open(&key(1), &context, &sealed[..length]),
            Err(CryptoError::Tampered)
        );
    }
    let longer = [sealed, vec![0]].concat();
    assert_eq!(open(&key(1), &context, &longer), Err(CryptoError::Tampered));
}

#[test]
fn another_key_or_context_fails_with_the_one_error() {
    let context = Context::of("t").bytes(b"a").u64(1);
    let sealed = seal(&key(1), &context, b"value").unwrap();
    assert_eq!(open(&key(2), &context, &sealed), Err(CryptoError::Tampered));
    for other in [
        Context::of("u").bytes(b"a").u64(1),
        Context::of("t").bytes(b"b").u64(1),
        Context::of("t").bytes(b"a").u64(2),
        Context::of("t").bytes(b"a"),
    ] {
        assert_eq!(open(&key(1), &other, &sealed), Err(CryptoError::Tampered));
    }
}

proptest! {
    #[test]
    fn what_was_sealed_opens(
        key in any::<[u8; 32]>(),
        field in prop::collection::vec(any::<u8>(), 0..100),
        plaintext in prop::collection::vec(any::<u8>(), 0..1000),
    ) {
        let key = SealKey::from_bytes(key);
        let context = Context::of("t").bytes(&field);
        let sealed = seal(&key, &context, &plaintext).unwrap();
        prop_assert_eq!(sealed.len(), plaintext.len() + 81);
        prop_assert_eq!(&*open(&key, &context, &sealed).unwrap(), &plaintext);
    }

    #[test]
    fn any_mutated_byte_fails_with_the_one_error(
        plaintext in prop::collection::vec(any::<u8>(), 0..100),
        at in any::<prop::sample::Index>(),
        flip in 1..=255_u8,
    ) {
        let context = Context::of("t");
        let mut sealed = seal(&key(1), &context, &plaintext).unwrap();
        let at = at.index(sealed.len());
        sealed[at] ^= flip;
        prop_assert_eq!(open(&key(1), &context, &sealed), Err(CryptoError::Tampered));
    }
}
