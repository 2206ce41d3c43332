//! Rows and values of the format from fixed inputs, field by field.

use std::fmt::Write;

use data_encoding::HEXLOWER;
use keyfold_crypto::{FileId, FileKey, KeyId, Sealed, Tag, Tweak};
use keyfold_fs::layout::{
    BLOCK_SIZE, BlockEntry, BlockIndex, BlockRow, ContentRow, DentryRow, DirBody, ENTRY_BYTES,
    FileBody, FileKeyRow, ImageKind, ImageRow, InodeBody, InodeRow, KeyIndex, LEAF_BLOCKS, Leaf,
    LeafIndex, MapId, PinRow, Place, RemoteBlock, RunOwner, SEGMENT_SLOTS, SegmentId, SegmentRow,
    Slot, StateRow,
};
use keyfold_fs::vfs::{FILE_MAX, FileKind, Ino, LINK_MAX, NAME_MAX, TARGET_MAX, Timestamp};

use crate::document::Section;

/// A field: what it is, and how many bytes of the row are its own.
pub(crate) type Field = (&'static str, usize);

const HEAD: [Field; 10] = [
    ("mode (kind and permissions)", 4),
    ("owner", 4),
    ("group", 4),
    ("links", 4),
    ("device number", 4),
    ("bytes of extended attributes", 4),
    ("last access: seconds(8) nanoseconds(4)", 12),
    ("last change of the content", 12),
    ("last change of attributes", 12),
    ("creation", 12),
];

/// Prints offset, width, bytes and meaning of each field. Long fields are cut.
pub(crate) fn show(fields: &[Field], bytes: &[u8]) -> String {
    const SHOWN: usize = 16;
    let mut out = String::new();
    let mut at = 0;
    for (what, width) in fields {
        let field = &bytes[at..at + width];
        let cut = if *width > SHOWN { ".." } else { "" };
        let hex = HEXLOWER.encode(&field[..SHOWN.min(*width)]) + cut;
        writeln!(out, "{at:>5} {width:>5}  {hex:<34}  {what}").unwrap();
        at += width;
    }
    assert_eq!(at, bytes.len(), "the fields are the whole row");
    writeln!(out, "{at:>5} bytes").unwrap();
    out
}

pub(crate) fn counting<const N: usize>(from: u8) -> [u8; N] {
    std::array::from_fn(|i| from.wrapping_add(i as u8))
}

fn time(secs: i64, nanos: u32) -> Timestamp {
    Timestamp { secs, nanos }
}

fn inode(kind: FileKind, body: InodeBody) -> InodeRow {
    InodeRow {
        kind,
        perm: 0o4755,
        uid: 1000,
        gid: 100,
        nlink: 3,
        rdev: if kind == FileKind::CharDevice {
            0x0103
        } else {
            0
        },
        atime: time(-1, 999_999_999),
        mtime: time(1_700_000_000, 1),
        ctime: time(1 << 33, 2),
        btime: time(0, 0),
        xattr_bytes: 77,
        body,
    }
}

fn with_head(rest: &[Field]) -> Vec<Field> {
    HEAD.iter().chain(rest).copied().collect()
}

fn entry(place: Place, from: u8) -> BlockEntry {
    BlockEntry {
        place,
        sealed: Sealed {
            tweak: Tweak(counting(from)),
            tag: Tag(counting(from + 16)),
        },
        key: KeyIndex(0),
    }
}

fn slot(segment: u32, index: u32) -> Place {
    Place::Segment(Slot {
        segment: SegmentId(segment),
        index,
    })
}

pub(crate) fn sections() -> Vec<Section> {
    let named = |name: &str, text| (name.to_owned(), text);
    let mut all = vec![named("constants", constants())];
    all.extend(inodes().map(|(name, text)| named(name, text)));
    all.extend([
        named("content", content()),
        named("dentry", dentry()),
        named("file-key", file_key()),
        named("leaf-key", leaf_keys()),
        named("place", places()),
        named("leaf", leaf()),
        named("segment", segment()),
        named("run-owner", run_owner()),
        named("image", image()),
        named("block", block()),
        named("state", state()),
        named("pin", pin()),
    ]);
    all
}

fn constants() -> String {
    let lines = [
        ("bytes of a block", BLOCK_SIZE as u64),
        ("bytes of a block entry", ENTRY_BYTES as u64),
        ("entries of a leaf", LEAF_BLOCKS),
        ("slots of a segment", u64::from(SEGMENT_SLOTS)),
        ("bytes of a segment", keyfold_fs::vault::SEGMENT_SIZE),
        ("bytes of a file, at most", FILE_MAX),
        ("bytes of a name, at most", NAME_MAX as u64),
        ("bytes of a symlink's target, at most", TARGET_MAX as u64),
        ("links of an inode, at most", u64::from(LINK_MAX)),
        ("the root directory's inode", Ino::ROOT.0),
        ("format version", keyfold_fs::vault::FORMAT_VERSION),
    ];
    assert_eq!(
        u64::from(SEGMENT_SLOTS) * BLOCK_SIZE as u64,
        keyfold_fs::vault::SEGMENT_SIZE
    );
    let mut out = String::new();
    for (what, value) in lines {
        writeln!(out, "{value:>14}  {what}").unwrap();
    }
    out
}

fn inodes() -> [(&'static str, String); 4] {
    let file = inode(
        FileKind::Regular,
        InodeBody::File(FileBody {
            id: FileId(counting(0xf0)),
            keys: 2,
        }),
    );
    let directory = inode(
        FileKind::Directory,
        InodeBody::Directory(DirBody {
            parent: Ino(1),
            next_cookie: 9,
            entries: 5,
        }),
    );
    let link = inode(
        FileKind::Symlink,
        InodeBody::Symlink((*b"../target").into()),
    );
    let device = inode(FileKind::CharDevice, InodeBody::Special);
    for row in [&file, &directory, &link, &device] {
        assert_eq!(InodeRow::decode(&row.encode()).as_ref(), Ok(row));
    }
    let in_file = [("file id", 16), ("keys", 4)];
    let in_dir = [
        ("the directory it is in", 8),
        ("cookie of the next new entry", 8),
        ("entries", 8),
    ];
    [
        ("inode-file", show(&with_head(&in_file), &file.encode())),
        (
            "inode-directory",
            show(&with_head(&in_dir), &directory.encode()),
        ),
        (
            "inode-symlink",
            show(&with_head(&[("target", 9)]), &link.encode()),
        ),
        ("inode-device", show(&HEAD, &device.encode())),
    ]
}

fn content() -> String {
    let row = ContentRow {
        size: 0x1234_5678,
        mtime: time(1_700_000_000, 1),
        ctime: time(1_700_000_001, 2),
        map: MapId(5),
        blocks: 74_566,
    };
    assert_eq!(ContentRow::decode(&row.encode()), Ok(row));
    let fields = [
        ("size in bytes", 8),
        ("last change of the content", 12),
        ("last change of this half", 12),
        ("block map; 0 for none", 8),
        ("blocks that are not holes", 8),
    ];
    show(&fields, &row.encode())
}

fn dentry() -> String {
    let row = DentryRow {
        child: Ino(0x0102_0304),
        cookie: 7,
        kind: FileKind::Directory,
    };
    assert_eq!(DentryRow::decode(&row.encode()), Ok(row));
    let fields = [("inode", 8), ("cookie", 8), ("kind, as of its mode", 4)];
    show(&fields, &row.encode())
}

fn file_key() -> String {
    let key = FileKey::from_parts(KeyId(counting(0x10)), counting(0x20));
    let row = FileKeyRow::encode(&key);
    assert_eq!(FileKeyRow::decode(&row).unwrap().id(), key.id());
    show(&[("key id", 16), ("secret", 32)], &row)
}

fn leaf_keys() -> String {
    let mut out = String::new();
    let last = BlockIndex(FILE_MAX / BLOCK_SIZE as u64 - 1);
    for (map, block) in [(1, BlockIndex(0)), (5, BlockIndex(64 * 7 + 63)), (5, last)] {
        let key = MapId(map).leaf_key(block.leaf());
        let (leaf, position) = (block.leaf().0, block.within_leaf());
        writeln!(
            out,
            "map {map}, block {:>10}: row {key:>9}, leaf {leaf:>8}, position {position:>2}",
            block.0
        )
        .unwrap();
        assert_eq!(MapId::of_key(key), MapId(map));
        assert_eq!(MapId::leaf_of_key(key), LeafIndex(leaf));
    }
    out
}

fn places() -> String {
    let mut out = String::new();
    for (what, place) in [
        ("segment 1, slot 0", slot(1, 0)),
        ("segment 2, slot 16383", slot(2, 16_383)),
        ("segment 2^32 - 1, slot 5", slot(u32::MAX, 5)),
        ("database, block 258", Place::Database(258)),
        (
            "remote, blob 3, slot 5",
            Place::Remote(RemoteBlock { blob: 3, slot: 5 }),
        ),
    ] {
        let mut leaf = Leaf::default();
        leaf.set(0, entry(place, 0));
        let bytes = leaf.encode();
        assert_eq!(Leaf::decode(&bytes), Ok(leaf));
        let value = u64::from_le_bytes(bytes[..8].try_into().unwrap());
        let hex = HEXLOWER.encode(&bytes[..8]);
        writeln!(out, "{hex}  {value:#018x}  {what}").unwrap();
    }
    out
}

fn leaf() -> String {
    let mut leaf = Leaf::default();
    leaf.set(0, entry(slot(1, 3), 0x40));
    leaf.set(2, entry(Place::Database(9), 0x80));
    leaf.set(5, entry(Place::Database(9), 0x80));
    leaf.set(5, BlockEntry::HOLE);
    let bytes = leaf.encode();
    assert_eq!(Leaf::decode(&bytes), Ok(leaf));
    let one = [("place", 8), ("tweak", 16), ("tag", 32), ("key index", 4)];
    let fields: Vec<_> = (0..3).flat_map(|_| one).collect();
    show(&fields, &bytes)
}

fn segment() -> String {
    let mut row = SegmentRow::default();
    for live in [0, 1, 63, 64, 100] {
        row.set_live(live);
    }
    row.set_dead(1);
    row.set_dead(100);
    assert_eq!(row.committed, 101);
    assert_eq!(SegmentRow::decode(&row.encode()).as_ref(), Ok(&row));
    let fields = [
        ("committed slots", 4),
        ("live slots 0 to 63, lowest bit first", 8),
        ("live slots 64 to 127", 8),
    ];
    show(&fields, &row.encode())
}

fn run_owner() -> String {
    let runs = [(7, 0, 3), (8, 100, 1)].map(|(ino, first, count)| RunOwner {
        ino: Ino(ino),
        first: BlockIndex(first),
        count,
    });
    let bytes = RunOwner::encode_all(&runs);
    assert_eq!(RunOwner::decode_all(&bytes), Ok(runs.to_vec()));
    let one = [("inode", 8), ("first block", 8), ("slots", 4)];
    let fields: Vec<_> = (0..2).flat_map(|_| one).collect();
    show(&fields, &bytes)
}

fn image() -> String {
    let row = ImageRow {
        kind: ImageKind::Snapshot,
        commit: 9,
        hash: counting(0xa0),
        created: time(1_700_000_000, 1),
        name: "before".to_owned(),
    };
    let bytes = row.encode();
    assert_eq!(ImageRow::decode(&bytes), Ok(row));
    let fields = [
        ("kind: 1 automatic, 2 asked for, 3 hold", 4),
        ("commit", 8),
        ("state hash", 32),
        ("creation", 12),
        ("name", 6),
    ];
    show(&fields, &bytes)
}

fn block() -> String {
    let bytes = BlockRow::encode(Ino(7), BlockIndex(2), &[0xc7; BLOCK_SIZE]);
    assert_eq!(BlockRow::decode(&bytes).unwrap().ino, Ino(7));
    let fields = [("inode", 8), ("block", 8), ("ciphertext", BLOCK_SIZE)];
    show(&fields, &bytes)
}

fn state() -> String {
    let row = StateRow {
        commit: 1,
        next_ino: 2,
        next_map: 3,
        next_block: 4,
        next_segment: 5,
        inodes: 6,
        blocks: 7,
        hash: counting(0xa0),
    };
    assert_eq!(StateRow::decode(&row.encode()), Ok(row));
    let fields = [
        ("number of this commit", 8),
        ("next inode", 8),
        ("next block map", 8),
        ("next block in the database, or blob", 8),
        ("next segment", 8),
        ("inodes", 8),
        ("blocks that are not holes, of all maps", 8),
        ("state hash", 32),
    ];
    show(&fields, &row.encode())
}

fn pin() -> String {
    let row = PinRow {
        commit: 9,
        state: counting(0xb0),
        revision: 3,
        superblock: counting(0xd0),
    };
    assert_eq!(PinRow::decode(&row.encode()), Ok(row));
    let fields = [
        ("number of the commit", 8),
        ("the commit and its state hash, under the pin key", 32),
        ("revision of the superblock", 8),
        ("code of the superblock", 32),
    ];
    show(&fields, &row.encode())
}
