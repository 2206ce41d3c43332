use proptest::prelude::*;

use super::*;
use crate::MasterKey;
use crate::vectors::read;

fn key() -> StateHashKey {
    MasterKey::from_slice(&[7; 32]).unwrap().state_hash_key()
}

#[test]
fn golden_vectors_hold() {
    let mut state = StateHash::default();
    for vector in read(include_str!("../../tests/vectors/state.txt")) {
        let key = MasterKey::from_slice(&vector.hex("master"))
            .unwrap()
            .state_hash_key();
        let table = vector.number("table") as u8;
        state.add(&key.row(table, &vector.hex("key"), &vector.hex("value")));
        assert_eq!(
            state.to_bytes()[..],
            vector.hex("state"),
            "{}",
            vector.text("name")
        );
        assert_eq!(
            key.pin(vector.number("counter"), &state)[..],
            vector.hex("pin")
        );
    }
}

#[test]
fn row_parts_cannot_run_into_each_other() {
    let key = key();
    let rows = [
        key.row(1, b"ab", b"c"),
        key.row(1, b"a", b"bc"),
        key.row(1, b"abc", b""),
        key.row(1, b"", b"abc"),
        key.row(2, b"ab", b"c"),
    ];
    for (i, a) in rows.iter().enumerate() {
        for b in &rows[i + 1..] {
            assert!(a != b);
        }
    }
}

#[test]
fn a_row_twice_is_not_a_row_never() {
    let row = key().row(1, b"k", b"v");
    let mut state = StateHash::default();
    state.add(&row);
    state.add(&row);
    assert_ne!(state, StateHash::default());
}

#[test]
fn the_pin_covers_counter_and_state() {
    let key = key();
    let mut state = StateHash::default();
    let empty = key.pin(1, &state);
    assert_ne!(empty, key.pin(2, &state));
    state.add(&key.row(1, b"", b""));
    assert_ne!(empty, key.pin(1, &state));
}

proptest! {
    #[test]
    fn order_does_not_matter_and_removing_undoes_adding(
        values in prop::collection::vec(any::<[u8; 8]>(), 1..30),
        split in any::<prop::sample::Index>(),
    ) {
        let key = key();
        let rows: Vec<RowHash> = values.iter().map(|value| key.row(1, value, value)).collect();
        let (mut forward, mut backward) = (StateHash::default(), StateHash::default());
        for row in &rows { forward.add(row); }
        for row in rows.iter().rev() { backward.add(row); }
        prop_assert_eq!(forward, backward);
        let (head, tail) = rows.split_at(split.index(rows.len()));
        let (mut joined, mut rest) = (StateHash::default(), StateHash::default());
        for row in head { joined.add(row); }
        for row in tail { rest.add(row); }
        joined.merge(&rest);
        prop_assert_eq!(joined, forward);
        prop_assert_eq!(StateHash::from_bytes(forward.to_bytes()), forward);
        for row in &rows { forward.remove(row); }
        prop_assert_eq!(forward, StateHash::default());
    }

    #[test]
    fn sums_carry_over_all_limbs(a in any::<[u8; 32]>(), b in any::<[u8; 32]>()) {
        let mut expected = [0; 32];
        let mut carry = 0;
        for i in 0..32 {
            let sum = u16::from(a[i]) + u16::from(b[i]) + carry;
            expected[i] = sum as u8;
            carry = sum >> 8;
        }
        let (a, b) = (Sum::from_bytes(&a), Sum::from_bytes(&b));
        prop_assert_eq!(a.plus(&b).to_bytes(), expected);
        prop_assert!(a.plus(&a.negated()) == Sum::default());
    }
}

#[test]
fn carries_run_through_full_limbs() {
    let full = Sum([u64::MAX; 4]);
    assert!(full.plus(&Sum([1, 0, 0, 0])) == Sum::default());
    assert!(full.plus(&full) == Sum([u64::MAX - 1, u64::MAX, u64::MAX, u64::MAX]));
}
