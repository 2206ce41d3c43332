//! Blocks of files that are put into other packs as they are.

use keyfold_crypto::{KeyId, Tag, content_root, leaf_hash};
use keyfold_protocol::cbor::Encoded;
use keyfold_protocol::ids::{BlobId, ContentRoot, NodeId, OperationId};
use keyfold_protocol::limits;
use keyfold_protocol::log::Void;
use keyfold_protocol::operation::{
    Action, ChangedLeaf, MoveBlocks, MovedLeaf, Operation, What, WriteFile,
};
use keyfold_protocol::pack::PackKey;
use keyfold_protocol::tree::{FileContent, Tree};

use crate::tree_rules::{STAMP, at, file_key, make, node, op, pack, write};

fn blob(number: u8) -> BlobId {
    BlobId([number; 32])
}

/// The file `f` (2), whose blocks 0 to 2 lie in pack 1 from slot 4 on, but for block 1 in pack 2.
fn file() -> Tree {
    let mut tree = Tree::default();
    let hash = |n| leaf_hash(0, &[Some(Tag([n; 32]))]);
    let root = |n| ContentRoot(content_root(&node(2).file(), 12_288, &[(0, hash(n))]).unwrap());
    let change = |base, n: u8, written, slot| {
        let mut operation = op(Action::WriteFile(WriteFile {
            node: node(2),
            base,
            size: 12_288,
            root: root(n),
            mtime: STAMP,
            keys: vec![KeyId([7; 16])],
            packs: vec![pack(n)],
            leaves: vec![ChangedLeaf {
                index: 0,
                hash: hash(n),
                written,
                holes: 0,
                pack: 0,
                slot,
            }],
        }));
        operation.id = OperationId([n; 16]);
        operation
    };
    let operations = [
        make(NodeId::ROOT, "f", 2, What::File),
        make(NodeId::ROOT, "d", 1, What::Directory),
        file_key(2, 7),
        change(OperationId::NONE, 1, 0b111, 4),
        change(OperationId([1; 16]), 2, 0b010, 0),
    ];
    tree.apply(at(1, 1, &[blob(1), blob(2)]), &operations)
        .unwrap();
    tree
}

fn content(tree: &Tree) -> &FileContent {
    tree.node(node(2)).unwrap().content().unwrap()
}

/// These blocks of the first leaf, in pack 3 from slot 9 on.
fn moved(bits: u64) -> MoveBlocks {
    MoveBlocks {
        node: node(2),
        packs: vec![pack(3)],
        leaves: vec![MovedLeaf {
            index: 0,
            moved: bits,
            pack: 0,
            slot: 9,
        }],
    }
}

/// Pack and slot of each of the first blocks.
fn places(tree: &Tree) -> Vec<Option<(u8, u32)>> {
    let pieces = &content(tree).leaves[&0].pieces;
    let place = |block| {
        let mut all = pieces.iter();
        all.find_map(|piece| Some((piece.blob.0[0], piece.slot_of(block)?)))
    };
    (0..4).map(place).collect()
}

#[test]
fn moved_blocks_lie_elsewhere_and_nothing_else_changes() {
    let mut tree = file();
    let before = tree.clone();
    // No key is of the epoch in force.
    let moved = op(Action::Move(moved(0b101)));
    let change = tree.apply(at(2, 2, &[blob(3)]), &[moved]).unwrap();
    assert_eq!(
        places(&tree),
        [Some((3, 9)), Some((2, 0)), Some((3, 10)), None]
    );
    assert_eq!(change.nodes.into_iter().collect::<Vec<_>>(), [node(2)]);
    assert!(!tree.needs(&blob(1)) && tree.needs(&blob(2)) && tree.needs(&blob(3)));
    let (was, is) = (content(&before), content(&tree));
    assert_eq!(
        (was.version, was.size, was.root),
        (is.version, is.size, is.root)
    );
    assert_eq!(was.leaves[&0].hash, is.leaves[&0].hash);
    assert_eq!(was.keys, is.keys);
    assert_eq!(tree.node(node(2)).unwrap().mtime, STAMP);
}

#[test]
fn a_tree_after_a_move_is_the_same_from_a_snapshot() {
    let mut tree = file();
    let moving = op(Action::Move(moved(0b001)));
    tree.apply(at(2, 1, &[blob(3)]), &[moving]).unwrap();
    let mut begun = Tree::decode(&tree.encode()).unwrap();
    assert_eq!(begun, tree);
    let later = [op(Action::Move(MoveBlocks {
        packs: vec![pack(4)],
        ..moved(0b111)
    }))];
    for tree in [&mut tree, &mut begun] {
        tree.apply(at(3, 1, &[blob(4)]), &later).unwrap();
        assert_eq!(tree.needed_blobs().collect::<Vec<_>>(), [blob(4)]);
    }
    assert_eq!(begun.hash(), tree.hash());
}

#[test]
fn who_writes_over_the_version_that_was_moved_is_in_no_conflict() {
    let mut tree = file();
    let moving = op(Action::Move(moved(0b101)));
    tree.apply(at(2, 1, &[blob(3)]), &[moving]).unwrap();
    let writing = write(2, OperationId([2; 16]), 7, 5);
    tree.apply(at(3, 1, &[blob(5)]), &[writing]).unwrap();
    assert_eq!(places(&tree)[0], Some((5, 0)));
}

#[test]
fn each_move_that_is_not_applicable_is_void_for_its_reason() {
    let tree = file();
    let altered = |alter: &dyn Fn(&mut MoveBlocks)| {
        let mut moved = moved(0b101);
        alter(&mut moved);
        moved
    };
    let cases = [
        (altered(&|m| m.node = node(9)), Void::NoSuchNode),
        (altered(&|m| m.node = node(1)), Void::NotAFile),
        (altered(&|m| m.leaves[0].moved = 0b1001), Void::NoSuchBlock),
        (altered(&|m| m.leaves[0].index = 1), Void::NoSuchBlock),
        (altered(&|m| m.packs = vec![pack(8)]), Void::UnknownBlob),
        (altered(&|m| m.leaves[0].pack = 1), Void::UnknownBlob),
        (
            altered(&|m| {
                m.packs[0].blob = blob(2);
                m.packs[0].key = PackKey::from_bytes([9; 32]);
            }),
            Void::UnknownBlob,
        ),
    ];
    for (moved, void) in cases {
        let mut after = tree.clone();
        let what = format!("{moved:?}");
        let operation = op(Action::Move(moved));
        let done = after.apply(at(2, 1, &[blob(3)]), &[operation]);
        assert_eq!(done, Err(void), "{what}");
        assert_eq!(after, tree, "{what}");
    }
}

#[test]
fn a_move_that_says_nothing_or_hangs_together_badly_is_malformed() {
    let decodes = |moved: MoveBlocks| Operation::decode(&op(Action::Move(moved)).encode()).is_ok();
    assert!(decodes(moved(0b101)));
    let leaf = moved(0b101).leaves[0];
    let with = |leaves: Vec<MovedLeaf>| MoveBlocks { leaves, ..moved(1) };
    assert!(!decodes(with(vec![])));
    assert!(!decodes(with(vec![MovedLeaf { moved: 0, ..leaf }])));
    assert!(!decodes(with(vec![MovedLeaf { pack: 1, ..leaf }])));
    assert!(!decodes(with(vec![leaf, leaf])));
    let last = limits::PACK_BLOCKS as u32 - 2;
    assert!(decodes(with(vec![MovedLeaf { slot: last, ..leaf }])));
    let beyond = MovedLeaf {
        slot: last + 1,
        ..leaf
    };
    assert!(!decodes(with(vec![beyond])));
}
