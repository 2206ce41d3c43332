//! Rows of shares from fixed inputs, field by field.

use keyfold_fs::layout::{
    BlobId, BlobKey, BlobNameRow, BlobRow, Mark, MemberRow, NodeId, NodeRow, ShareId, ShareNumber,
    ShareRow, Standing, Within,
};
use keyfold_fs::vfs::Ino;

use crate::document::Section;
use crate::layouts::{counting, show};

pub(crate) fn sections() -> Vec<Section> {
    let all = [
        ("share", share()),
        ("share-single", single()),
        ("share-within", within()),
        ("share-node", node()),
        ("share-member", member()),
        ("mark", mark()),
        ("blob", blob()),
        ("blob-name", blob_name()),
    ];
    all.map(|(name, text)| (name.to_owned(), text)).into()
}

fn share() -> String {
    let row = ShareRow {
        id: ShareId(counting(0x10)),
        root: Some(Ino(7)),
        name: None,
        within: None,
        data: counting::<4>(0xe0).into(),
    };
    let bytes = row.encode();
    assert_eq!(ShareRow::decode(&bytes), Ok(row));
    let fields = [
        ("share id", 32),
        ("inode of the root directory; 0 when it has ended", 8),
        ("of whoever syncs it", 4),
    ];
    show(&fields, &bytes)
}

fn single() -> String {
    let row = ShareRow {
        id: ShareId(counting(0x10)),
        root: Some(Ino(7)),
        name: Some((*b"Plan").into()),
        within: None,
        data: counting::<4>(0xe0).into(),
    };
    let bytes = row.encode();
    assert_eq!(ShareRow::decode(&bytes), Ok(row));
    let fields = [
        ("share id", 32),
        ("inode of the directory, and the highest bit", 8),
        ("length of the name", 4),
        ("name", 4),
        ("of whoever syncs it", 4),
    ];
    show(&fields, &bytes)
}

fn within() -> String {
    let row = ShareRow {
        id: ShareId(counting(0x10)),
        root: Some(Ino(7)),
        name: None,
        within: Some(Within {
            share: ShareNumber(3),
            point: NodeId(counting(0xa0)),
        }),
        data: counting::<4>(0xe0).into(),
    };
    let bytes = row.encode();
    assert_eq!(ShareRow::decode(&bytes), Ok(row));
    let fields = [
        ("share id", 32),
        (
            "inode of the root directory, and the bit below the highest",
            8,
        ),
        ("share that it is within", 8),
        ("node there", 16),
        ("of whoever syncs it", 4),
    ];
    show(&fields, &bytes)
}

fn node() -> String {
    let row = NodeRow {
        ino: Ino(8),
        standing: Standing::Gone,
        data: counting::<4>(0xe0).into(),
    };
    let bytes = row.encode();
    assert_eq!(NodeRow::decode(&bytes), Ok(row));
    let fields = [
        ("inode", 8),
        ("standing: 0 here, 1 gone", 4),
        ("of whoever syncs the share", 4),
    ];
    show(&fields, &bytes)
}

fn member() -> String {
    let row = MemberRow {
        share: ShareNumber(1),
        node: NodeId(counting(0xf0)),
    };
    let bytes = row.encode();
    assert_eq!(MemberRow::decode(&bytes), Ok(row));
    show(&[("share", 8), ("node id", 16)], &bytes)
}

fn mark() -> String {
    for row in [Mark::Attributes(Ino(8)), Mark::Content(Ino(9))] {
        assert_eq!(Mark::decode(&row.encode()), Ok(row));
    }
    let row = Mark::Entry(Ino(7), b"name".as_slice().into());
    let bytes = row.encode();
    assert_eq!(Mark::decode(&bytes), Ok(row));
    let fields = [
        ("kind: 1 attributes, 2 content, 3 entry", 4),
        ("inode; of an entry, that of its directory", 8),
        ("name; nothing where it is no entry", 4),
    ];
    show(&fields, &bytes)
}

fn blob() -> String {
    let row = BlobRow {
        number: 3,
        state: 1,
        size: 4_194_304,
        key: BlobKey::from_bytes(counting(0x20)),
    };
    let bytes = row.encode();
    assert_eq!(BlobRow::decode(&bytes), Ok(row));
    let fields = [
        ("local number", 8),
        ("state, of whoever syncs the share", 4),
        ("bytes of the blob", 8),
        ("key of its descriptors", 32),
    ];
    show(&fields, &bytes)
}

fn blob_name() -> String {
    let row = BlobNameRow {
        share: ShareNumber(1),
        blob: BlobId(counting(0x30)),
    };
    let bytes = row.encode();
    assert_eq!(BlobNameRow::decode(&bytes), Ok(row));
    show(&[("share", 8), ("blob id", 32)], &bytes)
}
