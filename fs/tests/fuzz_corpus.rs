//! The corpus of fuzzing, replayed: what was once found stays mended.
//!
//! `scripts/fuzz` finds more; `tests/fuzz/corpus` keeps what reaches something new, and every input
//! that ever failed.
#![allow(
    clippy::unwrap_used,
    missing_docs,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::panic;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use keyfold_crypto::{FileKey, KeyId, Sealed, Tag, Tweak};
use keyfold_fs::fuzzing::TARGETS;
use keyfold_fs::layout::{
    BlobId, BlobKey, BlobNameRow, BlobRow, BlockEntry, BlockIndex, BlockRow, ContentRow, DentryRow,
    DirBody, FileKeyRow, InodeBody, InodeRow, KeyIndex, Leaf, MapId, Mark, MemberRow, NodeId,
    NodeRow, PinRow, Place, RunOwner, SegmentId, SegmentRow, ShareId, ShareNumber, ShareRow, Slot,
    Standing, StateRow, Within,
};
use keyfold_fs::vfs::{FileKind, Ino, Timestamp};

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/corpus")
}

fn inputs(target: &str) -> Vec<PathBuf> {
    let mut inputs: Vec<_> = fs::read_dir(corpus().join(target))
        .unwrap_or_else(|e| panic!("{target} has no corpus: {e}"))
        .map(|entry| entry.unwrap().path())
        .collect();
    inputs.sort();
    inputs
}

/// Panics of threads that a target started fail no call.
fn watch_panics() -> &'static AtomicBool {
    static PANICKED: AtomicBool = AtomicBool::new(false);
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        PANICKED.store(true, Ordering::SeqCst);
        usual(info);
    }));
    &PANICKED
}

#[test]
fn no_input_of_the_corpus_fails() {
    let panicked = watch_panics();
    for (name, target) in TARGETS {
        let inputs = inputs(name);
        assert!(!inputs.is_empty(), "{name} has no corpus");
        for input in inputs {
            let bytes = fs::read(&input).unwrap();
            let done = panic::catch_unwind(|| target(&bytes));
            let fine = done.is_ok() && !panicked.load(Ordering::SeqCst);
            assert!(fine, "{}", input.display());
        }
    }
}

fn time() -> Timestamp {
    Timestamp {
        secs: -5,
        nanos: 999_999_999,
    }
}

fn entry(place: Place) -> BlockEntry {
    BlockEntry {
        place,
        sealed: Sealed {
            tweak: Tweak([1; 16]),
            tag: Tag([2; 32]),
        },
        key: KeyIndex(1),
    }
}

/// Rows of shares, each after the number of its layout.
fn share_rows() -> Vec<Vec<u8>> {
    let data: Box<[u8]> = [9; 5].into();
    let share = ShareRow {
        id: ShareId([1; 32]),
        root: Some(Ino(3)),
        name: None,
        within: None,
        data: data.clone(),
    };
    let single = ShareRow {
        name: Some(b"name".as_slice().into()),
        ..share.clone()
    };
    let within = ShareRow {
        within: Some(Within {
            share: ShareNumber(2),
            point: NodeId([6; 16]),
        }),
        ..share.clone()
    };
    let node = NodeRow {
        ino: Ino(4),
        standing: Standing::Gone,
        data,
    };
    let member = MemberRow {
        share: ShareNumber(1),
        node: NodeId([2; 16]),
    };
    let blob = BlobRow {
        number: 7,
        state: 1,
        size: 9,
        key: BlobKey::from_bytes([3; 32]),
    };
    let name = BlobNameRow {
        share: ShareNumber(1),
        blob: BlobId([4; 32]),
    };
    let mark = Mark::Entry(Ino(3), b"name".as_slice().into());
    let rows = [
        share.encode(),
        node.encode(),
        member.encode(),
        mark.encode(),
        blob.encode(),
        name.encode(),
        single.encode(),
    ];
    // Layouts are told apart by the remainder of six.
    let numbered = (0_u8..).zip(rows).chain([(12, within.encode())]);
    numbered.map(|(n, row)| [&[n], &*row].concat()).collect()
}

fn rows() -> Vec<Box<[u8]>> {
    let inode = |kind, body| InodeRow {
        kind,
        perm: 0o4755,
        uid: 1000,
        gid: 100,
        nlink: 2,
        rdev: 0,
        atime: time(),
        mtime: time(),
        ctime: time(),
        btime: time(),
        xattr_bytes: 9,
        body,
    };
    let dir = DirBody {
        parent: Ino::ROOT,
        next_cookie: 9,
        entries: 5,
    };
    let content = ContentRow {
        size: 12345,
        mtime: time(),
        ctime: time(),
        map: MapId(5),
        blocks: 4,
    };
    let dentry = DentryRow {
        child: Ino(3),
        cookie: 7,
        kind: FileKind::Fifo,
    };
    let key = FileKey::from_parts(KeyId([3; 16]), [4; 32]);
    let mut segment = SegmentRow::default();
    segment.set_live(70);
    let owner = RunOwner {
        ino: Ino(7),
        first: BlockIndex(3),
        count: 9,
    };
    let state = StateRow {
        commit: 1,
        next_ino: 2,
        next_map: 3,
        next_block: 4,
        next_segment: 5,
        inodes: 6,
        blocks: 7,
        hash: [8; 32],
    };
    let pin = PinRow {
        commit: 1,
        state: [2; 32],
        revision: 3,
        superblock: [4; 32],
    };
    vec![
        inode(FileKind::Directory, InodeBody::Directory(dir)).encode(),
        inode(FileKind::Symlink, InodeBody::Symlink((*b"target").into())).encode(),
        content.encode(),
        dentry.encode(),
        FileKeyRow::encode(&key),
        BlockRow::encode(Ino(7), BlockIndex(2), &[6; 4096]),
        segment.encode(),
        RunOwner::encode_all(&[owner, owner]),
        state.encode(),
        pin.encode(),
        7u64.to_le_bytes().into(),
    ]
}

/// Inputs to begin with: one of each kind that is accepted.
fn seeds() -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/vault-1");
    let superblock = fs::read(golden.join("vault/superblock.json")).unwrap();
    let words = fs::read(golden.join("recovery-key.txt")).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&superblock).unwrap();
    let slot = |n: usize| serde_json::to_vec(&json["slots"][n]).unwrap();
    let mut copies = (superblock.len() as u32).to_le_bytes().to_vec();
    copies.extend([&superblock[..], &superblock[..]].concat());
    let kinds = [0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9];
    let numbered = kinds.into_iter().zip(rows());
    let rows = numbered.map(|(kind, row)| [&[kind], &*row].concat());
    let mut leaf = Leaf::default();
    let slot_of = |index| Slot {
        segment: SegmentId(1),
        index,
    };
    leaf.set(0, entry(Place::Segment(slot_of(3))));
    leaf.set(3, entry(Place::Database(9)));
    let mut record = [7u64, 8, 9].map(u64::to_le_bytes).concat();
    record.extend(
        [
            &[1][..],
            &3u64.to_le_bytes(),
            &[0, 1],
            &2u32.to_le_bytes(),
            b"ab",
        ]
        .concat(),
    );
    record.extend(
        [
            &[3][..],
            &1u64.to_le_bytes(),
            &[2],
            &1u32.to_le_bytes(),
            b"n",
            &[0],
        ]
        .concat(),
    );
    record.extend(
        [
            &[5][..],
            &1u64.to_le_bytes(),
            &[1],
            &4u64.to_le_bytes(),
            &[0],
        ]
        .concat(),
    );
    let mut journal = 100u32.to_le_bytes().to_vec();
    journal.extend([&[0; 4][..], &5u64.to_le_bytes(), &[1; 100]].concat());
    journal.resize(1024, 0);
    let acl = |entries: &[(u16, u16, u32)]| {
        let mut bytes = 2u32.to_le_bytes().to_vec();
        for (tag, perm, id) in entries {
            bytes.extend(tag.to_le_bytes());
            bytes.extend(perm.to_le_bytes());
            bytes.extend(id.to_le_bytes());
        }
        bytes
    };
    let nobody = u32::MAX;
    let minimal = [(1, 6, nobody), (4, 4, nobody), (0x20, 0, nobody)];
    let full = [
        (1, 7, nobody),
        (2, 6, 1000),
        (4, 5, nobody),
        (8, 4, 100),
        (0x10, 7, nobody),
        (0x20, 0, nobody),
    ];
    vec![
        ("superblock", vec![superblock.clone()]),
        ("superblock-copies", vec![copies]),
        ("slot", vec![slot(0), slot(1)]),
        ("pin", vec![vec![7; 200], vec![1; 80]]),
        ("row", rows.collect()),
        ("share-row", share_rows()),
        ("leaf", vec![leaf.encode().into()]),
        ("journal", vec![journal]),
        ("journal-record", vec![record]),
        ("sealed", vec![b"something".to_vec(), vec![1; 120]]),
        (
            "block",
            vec![vec![0; 8], vec![3, 0, 0, 0, 0, 0, 0, 0, 1, 2, 0, 4]],
        ),
        (
            "recovery-key",
            vec![words.trim_ascii().to_vec(), words.to_ascii_lowercase()],
        ),
        ("acl", vec![acl(&minimal), acl(&full)]),
        (
            "database",
            vec![
                vec![1],
                vec![1, 0, 2, 1, 3, 1, 8, 0xff, 6, 5, 0],
                vec![0, 2, 4, 20, 1, 1, 1, 1, 1, 1, 4, 1, 2, 5, 6, 7, 9],
                vec![
                    1, 3, 5, 2, 3, b'.', b'.', b'/', 20, 1, 0, 0, 0, 0, 0, 0, 0, 9,
                ],
            ],
        ),
    ]
}

#[test]
fn there_is_a_seed_for_every_target() {
    let seeded: Vec<_> = seeds().into_iter().map(|(name, _)| name).collect();
    assert_eq!(seeded, TARGETS.map(|(name, _)| name));
}

#[test]
#[ignore = "writes the seeds of the corpus anew"]
fn write_seeds() {
    for (name, inputs) in seeds() {
        fs::create_dir_all(corpus().join(name)).unwrap();
        for (n, bytes) in inputs.iter().enumerate() {
            fs::write(corpus().join(name).join(format!("seed-{n}")), bytes).unwrap();
        }
    }
}
