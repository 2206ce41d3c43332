//! What content records do to a share's tree, and what makes one void.

use keyfold_crypto::{KeyId, LeafHash, Tag, content_root, leaf_hash};
use keyfold_protocol::cbor::Encoded;
use keyfold_protocol::ids::{BlobId, ContentRoot, Epoch, NodeId, OperationId, Seq};
use keyfold_protocol::limits;
use keyfold_protocol::log::Void;
use keyfold_protocol::operation::{
    Action, ChangedLeaf, Mode, Mtime, Operation, PackRef, Place, Shape, What, WriteFile,
};
use keyfold_protocol::pack::PackKey;
use keyfold_protocol::tree::{At, Kind, Tree, TreeChange};
use zeroize::Zeroizing;

pub(crate) const STAMP: Mtime = Mtime {
    seconds: -7,
    nanoseconds: 999_999_999,
};

pub(crate) fn node(number: u8) -> NodeId {
    NodeId([number; 16])
}

pub(crate) fn place(parent: NodeId, name: &str) -> Place {
    Place {
        parent,
        name: name.parse().unwrap(),
    }
}

pub(crate) fn op(action: Action) -> Operation {
    Operation {
        id: OperationId::generate().unwrap(),
        action,
    }
}

pub(crate) fn make(parent: NodeId, name: &str, id: u8, what: What) -> Operation {
    op(Action::Make {
        at: place(parent, name),
        node: node(id),
        what,
        mode: Mode::new(6).unwrap(),
        mtime: STAMP,
    })
}

pub(crate) fn rename(from: Place, to: Place, id: u8, replaced: Option<NodeId>) -> Operation {
    op(Action::Rename {
        from,
        to,
        node: node(id),
        replaced,
    })
}

pub(crate) fn remove(parent: NodeId, name: &str, id: u8) -> Operation {
    op(Action::Remove {
        at: place(parent, name),
        node: node(id),
    })
}

pub(crate) fn file_key(id: u8, key: u8) -> Operation {
    op(Action::FileKey {
        node: node(id),
        key: KeyId([key; 16]),
        secret: Zeroizing::new([key; 32]),
    })
}

pub(crate) fn pack(number: u8) -> PackRef {
    PackRef {
        blob: BlobId([number; 32]),
        key: PackKey::from_bytes([number; 32]),
    }
}

/// A write of one block, the first, under a key and in a pack.
pub(crate) fn write(id: u8, base: OperationId, key: u8, packed: u8) -> Operation {
    let hash = leaf_hash(0, &[Some(Tag([packed; 32]))]);
    let root = content_root(&node(id).file(), 100, &[(0, hash)]).unwrap();
    op(Action::WriteFile(WriteFile {
        node: node(id),
        base,
        size: 100,
        root: ContentRoot(root),
        mtime: STAMP,
        keys: vec![KeyId([key; 16])],
        packs: vec![pack(packed)],
        leaves: vec![ChangedLeaf {
            index: 0,
            hash,
            written: 1,
            holes: 0,
            pack: 0,
            slot: 0,
        }],
    }))
}

pub(crate) fn at(seq: u64, epoch: u64, added: &[BlobId]) -> At<'_> {
    At {
        seq: Seq(seq),
        epoch: Epoch(epoch),
        added,
        dropped: &[],
    }
}

fn apply(tree: &mut Tree, seq: u64, operations: &[Operation]) -> Result<TreeChange, Void> {
    tree.apply(at(seq, 1, &[]), operations)
}

/// `/d` (1) and in it the file `f` (2).
fn small() -> Tree {
    let mut tree = Tree::default();
    let operations = [
        make(NodeId::ROOT, "d", 1, What::Directory),
        make(node(1), "f", 2, What::File),
    ];
    apply(&mut tree, 1, &operations).unwrap();
    tree
}

#[test]
fn a_record_is_applied_all_or_none() {
    let mut tree = small();
    let before = tree.clone();
    let operations = [
        make(node(1), "g", 3, What::File),
        make(node(1), "f", 4, What::File),
    ];
    assert_eq!(apply(&mut tree, 2, &operations), Err(Void::EntryTaken));
    assert_eq!(tree, before);
}

#[test]
fn each_operation_that_is_not_applicable_is_void_for_its_reason() {
    let mut tree = small();
    let root = NodeId::ROOT;
    apply(&mut tree, 1, &[make(root, "e", 5, What::Directory)]).unwrap();
    let cases = [
        (make(node(9), "x", 3, What::File), Void::NoSuchNode),
        (make(node(2), "x", 3, What::File), Void::NotADirectory),
        (make(node(1), "f", 3, What::File), Void::EntryTaken),
        (make(node(1), "x", 2, What::File), Void::NodeExists),
        (make(node(1), "x", 0, What::Directory), Void::NodeExists),
        (remove(node(1), "x", 2), Void::WrongEntry),
        (remove(node(1), "f", 1), Void::NotEmpty),
        (remove(root, "d", 1), Void::NotEmpty),
        (remove(root, "d", 2), Void::WrongEntry),
        (
            rename(place(root, "d"), place(node(1), "d"), 1, None),
            Void::Cycle,
        ),
        (
            rename(place(node(1), "x"), place(root, "x"), 2, None),
            Void::WrongEntry,
        ),
        (
            rename(place(node(1), "f"), place(root, "d"), 2, None),
            Void::EntryTaken,
        ),
        (
            rename(place(node(1), "f"), place(root, "d"), 2, Some(node(1))),
            Void::NotEmpty,
        ),
        (
            rename(place(node(1), "f"), place(root, "e"), 2, Some(node(5))),
            Void::OtherKind,
        ),
        (
            rename(place(root, "e"), place(node(1), "f"), 5, Some(node(2))),
            Void::OtherKind,
        ),
        (
            op(Action::Link {
                at: place(root, "l"),
                node: node(1),
            }),
            Void::NotAFile,
        ),
        (
            op(Action::SetAttr {
                node: node(9),
                mode: None,
                mtime: None,
            }),
            Void::NoSuchNode,
        ),
        (file_key(1, 1), Void::NotAFile),
        (write(2, OperationId::NONE, 7, 1), Void::UnknownKey),
    ];
    for (operation, void) in cases {
        let what = format!("{:?}", operation.action);
        let done = apply(&mut tree, 2, &[operation]);
        assert_eq!(done, Err(void), "{what}");
    }
}

#[test]
fn names_links_and_renames_do_what_they_say() {
    let mut tree = small();
    let root = NodeId::ROOT;
    let link = op(Action::Link {
        at: place(root, "l"),
        node: node(2),
    });
    apply(&mut tree, 2, &[link, remove(node(1), "f", 2)]).unwrap();
    assert!(
        tree.node(node(2)).is_some(),
        "a file lives while it has a name"
    );
    let moved = rename(place(root, "l"), place(node(1), "m"), 2, None);
    apply(&mut tree, 3, &[moved, make(root, "n", 3, What::File)]).unwrap();
    let over = rename(place(root, "n"), place(node(1), "m"), 3, Some(node(2)));
    apply(&mut tree, 4, &[over]).unwrap();
    assert!(tree.node(node(2)).is_none());
    apply(
        &mut tree,
        5,
        &[remove(node(1), "m", 3), remove(root, "d", 1)],
    )
    .unwrap();
    assert_eq!(tree.nodes().count(), 1);
}

#[test]
fn a_directory_does_not_move_into_what_is_within_it() {
    let mut tree = small();
    let inner = make(node(1), "in", 3, What::Directory);
    apply(
        &mut tree,
        2,
        &[inner, make(node(3), "er", 4, What::Directory)],
    )
    .unwrap();
    let cycle = rename(place(NodeId::ROOT, "d"), place(node(4), "d"), 1, None);
    assert_eq!(apply(&mut tree, 3, &[cycle]), Err(Void::Cycle));
}

#[test]
fn an_operation_seen_before_is_ignored_within_the_window() {
    let mut tree = small();
    let operation = make(node(1), "g", 3, What::File);
    apply(&mut tree, 2, std::slice::from_ref(&operation)).unwrap();
    let before = tree.clone();
    let again = apply(&mut tree, 3, &[operation.clone(), operation.clone()]);
    assert_eq!(again, Ok(TreeChange::default()));
    assert_eq!(tree, before);
    let late = Seq(2 + limits::REPLAY_WINDOW + 1);
    apply(&mut tree, late.0 - 1, &[make(node(1), "h", 5, What::File)]).unwrap();
    assert_eq!(
        apply(&mut tree, late.0, std::slice::from_ref(&operation)),
        Ok(TreeChange::default())
    );
    assert_eq!(
        apply(&mut tree, late.0 + 1, &[operation]),
        Err(Void::NodeExists)
    );
}

#[test]
fn blocks_under_a_key_of_an_earlier_epoch_are_void() {
    let mut tree = small();
    let added = [BlobId([1; 32]), BlobId([2; 32])];
    let first = write(2, OperationId::NONE, 7, 1);
    let version = first.id;
    let operations = [file_key(2, 7), first];
    tree.apply(at(2, 1, &added), &operations).unwrap();
    let stale = write(2, version, 7, 2);
    let done = tree.apply(at(3, 2, &added), &[stale]);
    assert_eq!(done, Err(Void::KeyOfEarlierEpoch));
    let fresh = [file_key(2, 8), write(2, version, 8, 2)];
    tree.apply(at(3, 2, &added), &fresh).unwrap();
    assert_eq!(
        tree.apply(at(4, 2, &[]), &[file_key(2, 8)]),
        Err(Void::KeyKnown)
    );
}

#[test]
fn a_blob_that_the_share_does_not_have_is_void() {
    let mut tree = small();
    let operations = [file_key(2, 7), write(2, OperationId::NONE, 7, 1)];
    let done = tree.apply(at(2, 1, &[BlobId([2; 32])]), &operations);
    assert_eq!(done, Err(Void::UnknownBlob));
}

#[test]
fn a_write_over_another_version_or_with_another_root_is_void() {
    let mut tree = small();
    let added = [BlobId([1; 32])];
    let stale = [file_key(2, 7), write(2, OperationId([9; 16]), 7, 1)];
    assert_eq!(tree.apply(at(2, 1, &added), &stale), Err(Void::WrongBase));
    for alter in [
        |w: &mut WriteFile| w.root.0[0] ^= 1,
        |w: &mut WriteFile| w.size += 1,
        |w: &mut WriteFile| w.leaves[0].hash = LeafHash([1; 32]),
        |w: &mut WriteFile| w.leaves[0].hash = LeafHash::EMPTY,
        |w: &mut WriteFile| w.leaves[0].index = 5,
        |w: &mut WriteFile| w.leaves.clear(),
    ] {
        let mut write = write(2, OperationId::NONE, 7, 1);
        if let Action::WriteFile(write) = &mut write.action {
            alter(write);
        }
        let done = tree.apply(at(2, 1, &added), &[file_key(2, 7), write]);
        assert_eq!(done, Err(Void::WrongContentRoot));
    }
}

#[test]
fn a_blob_dropped_while_a_file_needs_it_is_told() {
    let mut tree = small();
    let added = [BlobId([1; 32])];
    let operations = [file_key(2, 7), write(2, OperationId::NONE, 7, 1)];
    tree.apply(at(2, 1, &added), &operations).unwrap();
    let mut drops = at(3, 1, &[]);
    drops.dropped = &added;
    let change = tree.apply(drops, &[]).unwrap();
    assert_eq!(change.dropped_in_use, added);
    drops.seq = Seq(4);
    let change = tree.apply(drops, &[remove(node(1), "f", 2)]).unwrap();
    assert_eq!(change.dropped_in_use, []);
    assert_eq!(tree.needed_blobs().count(), 0);
}

#[test]
fn where_a_block_lies_follows_from_the_newest_write() {
    let mut tree = small();
    let added = [BlobId([1; 32]), BlobId([2; 32])];
    let hash = |n| leaf_hash(0, &[Some(Tag([n; 32]))]);
    let version = OperationId([5; 16]);
    let root = |n| ContentRoot(content_root(&node(2).file(), 12_288, &[(0, hash(n))]).unwrap());
    let change = |base, n: u8, written, slot| {
        Action::WriteFile(WriteFile {
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
        })
    };
    let first = Operation {
        id: version,
        action: change(OperationId::NONE, 1, 0b111, 4),
    };
    let operations = [file_key(2, 7), first, op(change(version, 2, 0b010, 0))];
    tree.apply(at(2, 1, &added), &operations).unwrap();
    let Kind::File(content) = &tree.node(node(2)).unwrap().kind else {
        panic!("a file");
    };
    let found = |block| {
        let mut pieces = content.leaves[&0].pieces.iter();
        pieces.find_map(|p| p.slot_of(block).map(|slot| (p.blob.0[0], slot)))
    };
    assert_eq!(found(0), Some((1, 4)));
    assert_eq!(found(1), Some((2, 0)));
    assert_eq!(found(2), Some((1, 6)));
    assert_eq!(found(3), None);
}

#[test]
fn a_tree_decodes_to_itself_and_hangs_together() {
    let mut tree = small();
    let operations = [
        op(Action::Describe {
            title: "Reports".parse().unwrap(),
            shape: Shape::Folder,
        }),
        make(NodeId::ROOT, "s", 3, What::Symlink("f".parse().unwrap())),
        op(Action::SetXattr {
            node: node(2),
            name: "user.mime".parse().unwrap(),
            value: Some(b"text/plain".to_vec()),
        }),
        file_key(2, 7),
        write(2, OperationId::NONE, 7, 1),
    ];
    tree.apply(at(2, 1, &[BlobId([1; 32])]), &operations)
        .unwrap();
    let bytes = tree.encode();
    assert_eq!(Tree::decode(&bytes), Ok(tree));
    for length in 0..bytes.len() {
        assert!(Tree::decode(&bytes[..length]).is_err());
    }
}
