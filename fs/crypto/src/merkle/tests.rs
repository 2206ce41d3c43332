use proptest::prelude::*;

use super::*;

const FILE: FileId = FileId([7; 16]);
const LEAF: u64 = LEAF_BYTES;

fn leaf(index: u64) -> (u64, LeafHash) {
    (index, leaf_hash(index, &[Some(Tag([index as u8 + 1; 32]))]))
}

/// The tree as its definition reads, over every leaf.
fn by_definition(leaves: &[LeafHash]) -> LeafHash {
    match leaves {
        [] => LeafHash::EMPTY,
        [one] => *one,
        _ => {
            let (left, right) = leaves.split_at(leaves.len() / 2);
            let (left, right) = (by_definition(left), by_definition(right));
            if left == LeafHash::EMPTY && right == LeafHash::EMPTY {
                LeafHash::EMPTY
            } else {
                LeafHash(sha256(&[&[1], &left.0, &right.0]))
            }
        }
    }
}

#[test]
fn a_leaf_of_holes_is_zeros_wherever_it_is() {
    assert_eq!(leaf_hash(3, &[]), LeafHash::EMPTY);
    assert_eq!(leaf_hash(4, &[None; 64]), LeafHash::EMPTY);
}

#[test]
fn the_same_tags_in_another_leaf_or_place_hash_differently() {
    let tag = Some(Tag([9; 32]));
    assert_ne!(leaf_hash(0, &[tag]), leaf_hash(1, &[tag]));
    assert_ne!(leaf_hash(0, &[tag]), leaf_hash(0, &[None, tag]));
    assert_eq!(leaf_hash(0, &[tag]), leaf_hash(0, &[tag, None]));
}

#[test]
fn file_and_size_are_part_of_the_root() {
    let root = content_root(&FILE, LEAF, &[leaf(0)]);
    assert_ne!(root, content_root(&FileId([8; 16]), LEAF, &[leaf(0)]));
    assert_ne!(root, content_root(&FILE, LEAF - 1, &[leaf(0)]));
    assert_ne!(root, content_root(&FILE, LEAF + 1, &[leaf(0)]));
}

#[test]
fn leaves_out_of_order_twice_or_beyond_the_size_have_no_root() {
    for leaves in [
        vec![leaf(1), leaf(0)],
        vec![leaf(1), leaf(1)],
        vec![leaf(2)],
    ] {
        assert_eq!(content_root(&FILE, 2 * LEAF, &leaves), None);
    }
    assert_eq!(content_root(&FILE, u64::MAX, &[]), None);
    assert_eq!(content_root(&FILE, 0, &[leaf(0)]), None);
}

#[test]
fn a_huge_file_of_holes_costs_nothing() {
    let size = MAX_LEAVES * LEAF;
    let expected = sha256(&[&[2], &FILE.0, &size.to_le_bytes(), &[0; 32]]);
    assert_eq!(content_root(&FILE, size, &[]), Some(expected));
}

proptest! {
    #[test]
    fn the_sparse_way_gives_what_the_definition_gives(
        used in prop::collection::vec(any::<bool>(), 0..70),
    ) {
        let count = used.len();
        let mut all = vec![LeafHash::EMPTY; count.max(1).next_power_of_two()];
        let mut leaves = Vec::new();
        for (i, _) in used.iter().enumerate().filter(|(_, used)| **used) {
            leaves.push(leaf(i as u64));
            all[i] = leaf(i as u64).1;
        }
        let size = count as u64 * LEAF;
        let top = by_definition(&all);
        let expected = sha256(&[&[2], &FILE.0, &size.to_le_bytes(), &top.0]);
        prop_assert_eq!(content_root(&FILE, size, &leaves), Some(expected));
    }
}
