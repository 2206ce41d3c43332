use ciborium::Value;
use proptest::prelude::*;

use super::*;

fn written(write: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut w = Writer::default();
    write(&mut w);
    w.finish()
}

/// The same bytes by an independent implementation.
fn by_ciborium(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    ciborium::into_writer(value, &mut out).unwrap();
    out
}

#[test]
fn a_length_longer_than_needed_is_malformed() {
    for bytes in [
        &[0x18, 23][..],
        &[0x19, 0, 255],
        &[0x1a, 0, 0, 255, 255],
        &[0x1b, 0, 0, 0, 0, 255, 255, 255, 255],
    ] {
        assert_eq!(Reader::new(bytes).uint(), Err(DecodeError::Malformed));
    }
}

#[test]
fn what_is_outside_the_subset_is_malformed() {
    // Indefinite arrays, strings in pieces, maps, tags, floats, booleans, undefined, break.
    for first in [
        0x9f, 0x5f, 0x7f, 0xa0, 0xc0, 0xf9, 0xfa, 0xfb, 0xf4, 0xf5, 0xf7, 0xff, 0x1c,
    ] {
        let bytes = [first, 0, 0, 0, 0, 0, 0, 0, 0];
        assert!(Reader::new(&bytes).uint().is_err());
        assert!(Reader::new(&bytes).int().is_err());
        assert!(Reader::new(&bytes).bytes(9).is_err());
        assert!(Reader::new(&bytes).text(9).is_err());
        assert!(Reader::new(&bytes).length(9).is_err());
        assert!(Reader::new(&bytes).optional(Reader::uint).is_err());
    }
}

#[test]
fn a_number_that_javascript_has_not_exactly_is_malformed() {
    let bytes = written(|w| w.uint(limits::NUMBER));
    assert_eq!(Reader::new(&bytes).uint(), Ok(limits::NUMBER));
    let bytes = written(|w| w.uint(limits::NUMBER + 1));
    assert_eq!(Reader::new(&bytes).uint(), Err(DecodeError::Malformed));
}

#[test]
fn an_array_longer_than_its_bytes_takes_no_memory() {
    let bytes = written(|w| w.array(1 << 30));
    assert!(Reader::new(&bytes).length(1 << 31).is_err());
}

#[test]
fn text_that_is_not_utf_8_is_malformed() {
    assert!(Reader::new(&[0x62, 0xc3, 0x28]).text(9).is_err());
}

proptest! {
    #[test]
    fn an_independent_implementation_writes_the_same_bytes(
        number in 0..=limits::NUMBER,
        signed in -(limits::NUMBER as i64)..=limits::NUMBER as i64,
        bytes in prop::collection::vec(any::<u8>(), 0..400),
        text in ".{0,100}",
    ) {
        let ours = written(|w| {
            w.array(5);
            w.uint(number);
            w.int(signed);
            w.bytes(&bytes);
            w.text(&text);
            w.null();
        });
        let theirs = by_ciborium(&Value::Array(vec![
            number.into(),
            signed.into(),
            Value::Bytes(bytes.clone()),
            Value::Text(text.clone()),
            Value::Null,
        ]));
        prop_assert_eq!(&ours, &theirs);
        let mut r = Reader::new(&ours);
        r.array(5).unwrap();
        prop_assert_eq!(r.uint(), Ok(number));
        prop_assert_eq!(r.int(), Ok(signed));
        prop_assert_eq!(r.bytes(400), Ok(&bytes[..]));
        prop_assert_eq!(r.text(400), Ok(&text[..]));
        prop_assert_eq!(r.optional(Reader::uint), Ok(None));
        r.end().unwrap();
    }
}
