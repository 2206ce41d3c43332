use proptest::prelude::*;

use super::*;
use crate::Label;
use crate::vectors::read;

fn context() -> Context {
    Context::new(Label::GRANT).bytes(b"share").u64(3)
}

#[test]
fn key_pairs_and_encapsulations_are_those_of_the_draft() {
    let mut checked = 0;
    for vector in read(include_str!("../../tests/vectors/xwing.txt")) {
        let key = KemKey::from_seed(vector.array("seed"));
        assert_eq!(key.public().as_bytes(), vector.hex("pk"));
        let randomness = Zeroizing::new(vector.array("eseed"));
        let wrapped = wrap_with(&key.public(), &context(), b"key", randomness).unwrap();
        assert_eq!(wrapped[..ENCAPSULATION], vector.hex("ct"));
        assert_eq!(**unwrap(&key, &context(), &wrapped).unwrap(), *b"key");
        checked += 1;
    }
    assert!(checked >= 3, "only {checked} vectors");
}

#[test]
fn wrapping_is_hpke_as_an_independent_implementation_has_it() {
    for vector in read(include_str!("../../tests/vectors/wrapping.txt")) {
        let key = KemKey::from_seed(vector.array("seed"));
        let randomness = Zeroizing::new(vector.array("eseed"));
        let plaintext = vector.hex("plaintext");
        let wrapped = wrap_with(&key.public(), &context(), &plaintext, randomness).unwrap();
        assert_eq!(wrapped[ENCAPSULATION..], vector.hex("ciphertext"));
    }
}

#[test]
fn only_the_key_wrapped_for_in_the_context_wrapped_in_unwraps() {
    let (bob, eve) = (KemKey::from_seed([1; 32]), KemKey::from_seed([2; 32]));
    let wrapped = wrap(&bob.public(), &context(), b"epoch key").unwrap();
    assert_eq!(wrapped.len(), 9 + WRAPPED_OVERHEAD);
    assert_eq!(**unwrap(&bob, &context(), &wrapped).unwrap(), *b"epoch key");
    let other = Context::new(Label::GRANT).bytes(b"share").u64(4);
    for result in [
        unwrap(&eve, &context(), &wrapped),
        unwrap(&bob, &other, &wrapped),
    ] {
        assert_eq!(result, Err(CryptoError::Tampered));
    }
}

#[test]
fn every_shorter_length_fails_with_the_one_error() {
    let bob = KemKey::from_seed([1; 32]);
    let wrapped = wrap(&bob.public(), &context(), b"k").unwrap();
    for length in [
        0,
        1,
        ENCAPSULATION - 1,
        ENCAPSULATION,
        ENCAPSULATION + 15,
        wrapped.len() - 1,
    ] {
        assert_eq!(
            unwrap(&bob, &context(), &wrapped[..length]),
            Err(CryptoError::Tampered)
        );
    }
}

#[test]
fn what_is_no_public_key_is_refused() {
    let key = KemKey::from_seed([1; 32]).public();
    assert!(KemPublic::from_slice(&key.as_bytes()[1..]).is_err());
    // ML-KEM's encapsulation key is refused when a coefficient is not reduced (FIPS 203, 7.2).
    assert!(KemPublic::from_slice(&[0xff; KEM_PUBLIC_BYTES]).is_err());
    assert_eq!(KemPublic::from_slice(key.as_bytes()), Ok(key));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn any_mutated_byte_fails_with_the_one_error(
        at in any::<prop::sample::Index>(),
        flip in 1..=255_u8,
    ) {
        let bob = KemKey::from_seed([1; 32]);
        let mut wrapped = wrap(&bob.public(), &context(), b"epoch key").unwrap();
        let at = at.index(wrapped.len());
        wrapped[at] ^= flip;
        prop_assert_eq!(unwrap(&bob, &context(), &wrapped), Err(CryptoError::Tampered));
    }
}
