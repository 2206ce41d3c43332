//! Snapshots and packs.

use std::collections::BTreeSet;

use keyfold_crypto::{BLOCK_SIZE, CryptoError, KeyId, Sealed, Tag, Tweak};
use keyfold_protocol::cbor::Encoded;
use keyfold_protocol::exchange::Append;
use keyfold_protocol::ids::{NodeId, RecordHash};
use keyfold_protocol::log::{Outcome, Void};
use keyfold_protocol::operation::{Action, Mtime, Operation, What};
use keyfold_protocol::pack::{Descriptor, PackError, PackFront, PackKey, blob_id, pack, unpack};
use keyfold_protocol::record::{Kind, Record};
use keyfold_protocol::roster::Role;
use keyfold_protocol::snapshot::{SnapshotBody, SnapshotPlace};
use keyfold_protocol::tree::{Tree, encode_node};

use crate::people::{Person, Share, person};
use crate::tree_rules::{at, file_key, make, node, op, remove};

fn tree(directories: u8) -> Tree {
    let mut tree = Tree::default();
    let names: Vec<_> = (1..=directories)
        .map(|n| make(NodeId::ROOT, &format!("d{n}"), n, What::Directory))
        .collect();
    tree.apply(at(1, 1, &[]), &names).unwrap();
    tree
}

fn place_of(share: &Share) -> SnapshotPlace {
    let (seq, record) = share.log.head().unwrap();
    SnapshotPlace {
        share: share.id,
        epoch: share.log.roster().unwrap().epoch,
        seq,
        record,
    }
}

fn append_snapshot(share: &mut Share, author: &Person, body: &SnapshotBody) -> Outcome {
    let mut header = share.header(Kind::Snapshot, author);
    header.added.clone_from(&body.chunks);
    header.added.sort_unstable();
    let key = share.key();
    let record = Record::seal(header, &body.encode(), &key, &author.account.identity).unwrap();
    let append = Append {
        record,
        grants: vec![],
    };
    share.append(append).unwrap().outcome
}

#[test]
fn a_snapshot_opens_to_the_tree_that_was_sealed() {
    let alice = person("alice");
    let mut share = Share::begin(&alice);
    let (tree, place) = (tree(40), place_of(&share));
    let (body, blobs) = place.seal(&tree, &share.key()).unwrap();
    assert_eq!(body.tree, tree.hash());
    assert_eq!(place.open(&body, &blobs, &share.key()), Ok(tree));
    let outcome = append_snapshot(&mut share, &alice, &body);
    assert_eq!(outcome, Outcome::Snapshot(body));
}

#[test]
fn a_snapshot_of_another_place_or_with_another_piece_does_not_open() {
    let alice = person("alice");
    let share = Share::begin(&alice);
    let (tree, place) = (tree(4), place_of(&share));
    let (body, blobs) = place.seal(&tree, &share.key()).unwrap();
    let refused = |place: SnapshotPlace, body: &SnapshotBody, blobs: &[Vec<u8>]| {
        let opened = place.open(body, blobs, &share.key());
        assert_eq!(opened, Err(CryptoError::Tampered));
    };
    let mut elsewhere = place;
    elsewhere.record = RecordHash([1; 32]);
    refused(elsewhere, &body, &blobs);
    refused(place, &body, &[]);
    let mut flipped = blobs.clone();
    flipped[0][100] ^= 1;
    refused(place, &body, &flipped);
    let mut resigned = body.clone();
    resigned.chunks = vec![blob_id(&flipped[0])];
    refused(place, &resigned, &flipped);
    let mut other_hash = body.clone();
    other_hash.tree.0[0] ^= 1;
    refused(place, &other_hash, &blobs);
}

#[test]
fn a_snapshot_of_another_record_than_the_one_before_it_or_of_blobs_not_added_is_void() {
    let (alice, bob) = (person("alice"), person("bob"));
    let mut share = Share::with(&alice, &[(&bob, Role::Writer)]);
    let (body, _) = place_of(&share).seal(&tree(1), &share.key()).unwrap();
    let mut of_the_future = body.clone();
    of_the_future.seq.0 += 5;
    let mut of_another = body.clone();
    of_another.record = RecordHash([4; 32]);
    let mut of_an_earlier = body.clone();
    of_an_earlier.seq.0 -= 1;
    of_an_earlier.record = share.log.record_at(of_an_earlier.seq).unwrap();
    for wrong in [of_the_future, of_another, of_an_earlier] {
        let outcome = append_snapshot(&mut share, &bob, &wrong);
        assert_eq!(outcome, Outcome::Void(Void::WrongSnapshot));
    }
    let header = share.header(Kind::Snapshot, &bob);
    let key = share.key();
    let record = Record::seal(header, &body.encode(), &key, &bob.account.identity).unwrap();
    let append = Append {
        record,
        grants: vec![],
    };
    let outcome = share.append(append).unwrap().outcome;
    assert_eq!(outcome, Outcome::Void(Void::WrongSnapshot));
}

#[test]
fn the_pieces_of_a_snapshot_have_the_lengths_that_the_body_tells() {
    let share = Share::begin(&person("alice"));
    let (body, blobs) = place_of(&share).seal(&tree(40), &share.key()).unwrap();
    let pieces: Vec<_> = body.pieces().collect();
    let told: Vec<_> = blobs
        .iter()
        .map(|blob| (blob_id(blob), blob.len()))
        .collect();
    assert_eq!(pieces, told);
    let mut long = body;
    long.length = 10_000_000;
    long.chunks = vec![long.chunks[0]; 3];
    let lengths: Vec<usize> = long.pieces().map(|(_, length)| length).collect();
    let piece = keyfold_protocol::limits::CHUNK_BYTES;
    assert_eq!(lengths, [piece, piece, 10_000_000 - 2 * (piece - 81) + 81]);
}

#[test]
fn a_tree_is_put_together_of_its_nodes_kept_apart() {
    let tree = tree(40);
    let mut nodes: Vec<_> = tree
        .nodes()
        .map(|(id, node)| encode_node(id, node))
        .collect();
    let head = tree.encode_head();
    let put_together = |nodes: &[Vec<u8>]| Tree::assemble(&head, nodes.iter().map(Vec::as_slice));
    assert_eq!(put_together(&nodes), Ok(tree));
    nodes.swap(3, 4);
    assert!(put_together(&nodes).is_err());
    nodes.swap(3, 4);
    nodes.pop();
    assert!(put_together(&nodes).is_err());
}

#[test]
fn a_tree_with_nodes_of_another_hangs_together_or_is_none() {
    let apply = |tree: &mut Tree, seq, operations: &[Operation]| {
        tree.apply(at(seq, 1, &[]), operations).unwrap();
    };
    let mut old = tree(3);
    let file = make(node(1), "file", 9, What::File);
    apply(&mut old, 2, &[file, file_key(9, 7)]);
    let mut new = old.clone();
    let removed = [
        remove(node(1), "file", 9),
        remove(NodeId::ROOT, "d1", 1),
        make(NodeId::ROOT, "d1", 10, What::Directory),
        make(node(10), "within", 11, What::File),
    ];
    apply(&mut new, 3, &removed);
    let but_for = |ids: &[u8]| {
        let ids = ids.iter().map(|id| node(*id)).collect();
        new.but_for(&old, &ids, &BTreeSet::new())
    };
    assert_eq!(but_for(&[]), Some(new.clone()));
    // The file needs its directory, that its name, and what has it now goes with what is in it.
    for missing in [&[9][..], &[9, 1], &[9, 1, 10]] {
        assert_eq!(but_for(missing), None, "{missing:?}");
    }
    let mixed = but_for(&[9, 1, 10, 11]).unwrap();
    assert!(mixed.nodes().eq(old.nodes()));
    assert_eq!(Tree::decode(&mixed.encode()), Ok(mixed));

    let mut written = old.clone();
    let stamp = Action::SetAttr {
        node: node(9),
        mode: None,
        mtime: Some(Mtime {
            seconds: 77,
            nanoseconds: 7,
        }),
    };
    apply(&mut written, 3, &[op(stamp), file_key(9, 8)]);
    let held = BTreeSet::from([node(9)]);
    let mixed = written.but_for(&old, &BTreeSet::new(), &held).unwrap();
    assert!(mixed.nodes().eq(old.nodes()));
}

fn blocks(count: u8) -> Vec<(Descriptor, Vec<u8>)> {
    let block = |n: u8| {
        let descriptor = Descriptor {
            sealed: Sealed {
                tweak: Tweak([n; 16]),
                tag: Tag([n; 32]),
            },
            key: KeyId([n; 16]),
        };
        (descriptor, vec![n; BLOCK_SIZE])
    };
    (0..count).map(block).collect()
}

#[test]
fn a_pack_gives_back_its_blocks_whole_or_by_range() {
    let key = PackKey::from_bytes([1; 32]);
    let blocks = blocks(5);
    let given: Vec<_> = blocks.iter().map(|(d, b)| (*d, &b[..])).collect();
    let bytes = pack(&key, &given).unwrap();
    let unpacked = unpack(&key, &bytes).unwrap();
    assert!(unpacked.iter().map(|(d, b)| (*d, &b[..])).eq(given));
    let front = PackFront::decode(*bytes.first_chunk().unwrap()).unwrap();
    assert_eq!(front.blocks(), 5);
    assert_eq!(front.length(), bytes.len());
    let descriptors = front.open(&key, &bytes[front.descriptors()]).unwrap();
    assert_eq!(descriptors[3], blocks[3].0);
    assert_eq!(bytes[front.block(3).unwrap()], blocks[3].1);
    assert_eq!(front.block(5), None);
}

#[test]
fn a_full_pack_is_within_its_limit_and_a_fuller_one_is_refused() {
    let key = PackKey::from_bytes([1; 32]);
    let block = &blocks(1)[0];
    let limit = keyfold_protocol::limits::PACK_BLOCKS;
    let many = vec![(block.0, &block.1[..]); limit + 1];
    let full = pack(&key, &many[..limit]).unwrap();
    assert!(full.len() <= keyfold_protocol::limits::PACK_BYTES);
    assert_eq!(pack(&key, &many), Err(PackError::Shape));
    assert_eq!(pack(&key, &[]), Err(PackError::Shape));
    assert_eq!(pack(&key, &[(block.0, &[1, 2])]), Err(PackError::Shape));
}

#[test]
fn a_pack_of_another_key_length_or_descriptor_does_not_open() {
    let key = PackKey::from_bytes([1; 32]);
    let blocks = blocks(2);
    let given: Vec<_> = blocks.iter().map(|(d, b)| (*d, &b[..])).collect();
    let bytes = pack(&key, &given).unwrap();
    assert!(unpack(&PackKey::from_bytes([2; 32]), &bytes).is_err());
    assert!(unpack(&key, &bytes[..bytes.len() - 1]).is_err());
    assert!(unpack(&key, &[&bytes[..], &[0]].concat()).is_err());
    for at in 0..8 + 81 + 128 {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1;
        assert!(unpack(&key, &flipped).is_err(), "byte {at}");
    }
}
