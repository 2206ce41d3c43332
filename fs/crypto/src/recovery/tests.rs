use proptest::prelude::*;

use super::*;
use crate::vectors::read;

const CHARACTERS: usize = CHECKED_BYTES / 5 * 8;

#[test]
fn golden_vectors_hold() {
    for vector in read(include_str!("../../tests/vectors/recovery.txt")) {
        let key = RecoveryKey(vector.array("key"));
        assert_eq!(
            *key.to_words(),
            vector.text("words"),
            "{}",
            vector.text("name")
        );
        assert_eq!(RecoveryKey::parse(vector.text("words")).unwrap().0, key.0);
    }
}

#[test]
fn every_single_character_change_is_caught() {
    let key = RecoveryKey::generate().unwrap();
    let words = key.to_words();
    let mut tried = 0;
    for (at, right) in words.char_indices().filter(|(_, c)| *c != '-') {
        for wrong in ALPHABET
            .iter()
            .map(|c| char::from(*c))
            .filter(|c| *c != right)
        {
            let mut changed = words.to_string();
            changed.replace_range(at..=at, &wrong.to_string());
            assert_eq!(
                RecoveryKey::parse(&changed).err(),
                Some(CryptoError::Malformed),
                "{at}"
            );
            tried += 1;
        }
    }
    assert_eq!(tried, CHARACTERS * 31);
}

#[test]
fn every_swap_of_unequal_neighbours_is_caught() {
    let letters: Vec<char> = RecoveryKey::generate()
        .unwrap()
        .to_words()
        .chars()
        .filter(|c| *c != '-')
        .collect();
    for at in 1..letters.len() {
        let mut swapped = letters.clone();
        swapped.swap(at - 1, at);
        let text: String = swapped.iter().collect();
        assert_eq!(
            RecoveryKey::parse(&text).is_err(),
            swapped != letters,
            "{at}"
        );
    }
}

#[test]
fn a_character_missing_or_too_many_is_caught() {
    let words = RecoveryKey::generate().unwrap().to_words();
    for at in 0..words.len() {
        let mut shorter = words.to_string();
        let gone = shorter.remove(at);
        assert_eq!(RecoveryKey::parse(&shorter).is_err(), gone != '-', "{at}");
        let mut longer = words.to_string();
        longer.insert(at, 'A');
        assert!(RecoveryKey::parse(&longer).is_err(), "{at}");
    }
}

#[test]
fn how_the_key_is_typed_does_not_matter() {
    let key = RecoveryKey([0; 32]);
    let words = key.to_words();
    let typed = [
        words.to_lowercase(),
        words.replace('-', ""),
        words.replace('-', " "),
        words.replace('0', "o"),
        words.replace('1', "l"),
        words.replace('1', "I"),
        format!("  {}\r\n", *words),
    ];
    for text in typed {
        assert_eq!(RecoveryKey::parse(&text).unwrap().0, key.0, "{text}");
    }
}

#[test]
fn anything_else_is_malformed() {
    for text in [
        "",
        "-",
        "U",
        "K7QD",
        "\u{130}",
        "\u{fb01}",
        &"A".repeat(56),
        &"-".repeat(100_000),
    ] {
        assert_eq!(RecoveryKey::parse(text).err(), Some(CryptoError::Malformed));
    }
}

proptest! {
    #[test]
    fn what_is_written_reads_back(bytes in any::<[u8; 32]>()) {
        prop_assert_eq!(RecoveryKey::parse(&RecoveryKey(bytes).to_words()).unwrap().0, bytes);
    }

    #[test]
    fn no_input_panics(text in ".{0,120}") {
        let _ = RecoveryKey::parse(&text);
    }
}
