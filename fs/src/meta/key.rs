//! Tables of the database and the keys of their rows.

use crate::layout::{BlobId, ImageId, LeafIndex, MapId, NodeId, SegmentId, ShareNumber};
use crate::vfs::Ino;

/// A table. The number is part of the format: the state hash covers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub(crate) enum Table {
    /// Namespace half of an inode.
    Inode = 1,
    /// Content half of a regular file.
    Content = 2,
    /// Directory entry, by directory and name.
    Dentry = 3,
    /// Extended attribute, by inode and name.
    Xattr = 4,
    /// File key, by inode and index.
    FileKey = 5,
    /// Map leaf, by map and leaf number in one integer.
    Leaf = 6,
    /// Block kept in the database.
    Block = 7,
    /// Segment and its live slots.
    Segment = 8,
    /// Owners of a run of slots, by segment and first slot.
    RunOwner = 9,
    /// Dead run to be punched, by segment and first slot.
    Freed = 10,
    /// Inode without a name.
    Orphan = 11,
    /// Map whose leaves are to be freed.
    Trim = 12,
    /// Kept metadata image.
    Image = 13,
    /// Slots that a kept image holds back, by image and segment.
    Held = 14,
    /// Share.
    Share = 15,
    /// Node of a share, by share and node id.
    ShareNode = 16,
    /// Mark of something that changed in a share, by share and number.
    Outbox = 17,
    /// Local number and state of a blob, by share and blob id.
    Blob = 18,
    /// Merkle leaf hash of a shared file, by map and leaf number in one integer.
    LeafHash = 19,
    /// Account and what it pins.
    Account = 20,
}

/// What the second key column of a table is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Second {
    /// There is none.
    None,
    /// An integer.
    Int(&'static str),
    /// Bytes.
    Bytes(&'static str),
}

impl Table {
    /// Every table.
    pub(crate) const ALL: [Self; 20] = [
        Self::Inode,
        Self::Content,
        Self::Dentry,
        Self::Xattr,
        Self::FileKey,
        Self::Leaf,
        Self::Block,
        Self::Segment,
        Self::RunOwner,
        Self::Freed,
        Self::Orphan,
        Self::Trim,
        Self::Image,
        Self::Held,
        Self::Share,
        Self::ShareNode,
        Self::Outbox,
        Self::Blob,
        Self::LeafHash,
        Self::Account,
    ];

    /// Its name, first key column and second key column.
    pub(crate) fn columns(self) -> (&'static str, &'static str, Second) {
        match self {
            Self::Inode => ("inode", "ino", Second::None),
            Self::Content => ("content", "ino", Second::None),
            Self::Dentry => ("dentry", "parent", Second::Bytes("name")),
            Self::Xattr => ("xattr", "ino", Second::Bytes("name")),
            Self::FileKey => ("file_key", "ino", Second::Int("idx")),
            Self::Leaf => ("leaf", "id", Second::None),
            Self::Block => ("block", "id", Second::None),
            Self::Segment => ("segment", "id", Second::None),
            Self::RunOwner => ("run_owner", "segment", Second::Int("slot")),
            Self::Freed => ("freed", "segment", Second::Int("slot")),
            Self::Orphan => ("orphan", "ino", Second::None),
            Self::Trim => ("trim", "map", Second::None),
            Self::Image => ("image", "id", Second::None),
            Self::Held => ("held", "image", Second::Int("segment")),
            Self::Share => ("share", "id", Second::None),
            Self::ShareNode => ("share_node", "share", Second::Bytes("node")),
            Self::Outbox => ("outbox", "share", Second::Int("seq")),
            Self::Blob => ("blob", "share", Second::Bytes("blob")),
            Self::LeafHash => ("leaf_hash", "id", Second::None),
            Self::Account => ("account", "id", Second::None),
        }
    }
}

/// Second part of a key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Tail {
    /// There is none.
    None,
    /// An integer.
    Int(u64),
    /// Bytes.
    Bytes(Box<[u8]>),
}

/// The key of a row.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    /// The table.
    pub(crate) table: Table,
    /// First key column.
    pub(crate) a: u64,
    /// Second key column.
    pub(crate) b: Tail,
}

impl Key {
    const fn int(table: Table, a: u64) -> Self {
        let b = Tail::None;
        Self { table, a, b }
    }

    const fn pair(table: Table, a: u64, b: u64) -> Self {
        let b = Tail::Int(b);
        Self { table, a, b }
    }

    fn named(table: Table, a: u64, b: &[u8]) -> Self {
        let b = Tail::Bytes(b.into());
        Self { table, a, b }
    }

    pub(crate) fn inode(ino: Ino) -> Self {
        Self::int(Table::Inode, ino.0)
    }
    pub(crate) fn content(ino: Ino) -> Self {
        Self::int(Table::Content, ino.0)
    }
    pub(crate) fn dentry(parent: Ino, name: &[u8]) -> Self {
        Self::named(Table::Dentry, parent.0, name)
    }
    pub(crate) fn xattr(ino: Ino, name: &[u8]) -> Self {
        Self::named(Table::Xattr, ino.0, name)
    }
    pub(crate) fn file_key(ino: Ino, index: u32) -> Self {
        Self::pair(Table::FileKey, ino.0, u64::from(index))
    }
    pub(crate) fn leaf(map: MapId, leaf: LeafIndex) -> Self {
        Self::int(Table::Leaf, map.leaf_key(leaf))
    }
    pub(crate) fn block(id: u64) -> Self {
        Self::int(Table::Block, id)
    }
    pub(crate) fn segment(id: SegmentId) -> Self {
        Self::int(Table::Segment, u64::from(id.0))
    }
    pub(crate) fn run_owner(segment: SegmentId, slot: u32) -> Self {
        Self::pair(Table::RunOwner, u64::from(segment.0), u64::from(slot))
    }
    pub(crate) fn freed(segment: SegmentId, slot: u32) -> Self {
        Self::pair(Table::Freed, u64::from(segment.0), u64::from(slot))
    }
    pub(crate) fn orphan(ino: Ino) -> Self {
        Self::int(Table::Orphan, ino.0)
    }
    pub(crate) fn trim(map: MapId) -> Self {
        Self::int(Table::Trim, map.0)
    }
    pub(crate) fn image(id: ImageId) -> Self {
        Self::int(Table::Image, u64::from(id.0))
    }
    pub(crate) fn held(image: ImageId, segment: SegmentId) -> Self {
        Self::pair(Table::Held, u64::from(image.0), u64::from(segment.0))
    }

    pub(crate) fn account(slot: u64) -> Self {
        Self::int(Table::Account, slot)
    }

    pub(crate) fn share(share: ShareNumber) -> Self {
        Self::int(Table::Share, share.0)
    }
    pub(crate) fn share_node(share: ShareNumber, node: NodeId) -> Self {
        Self::named(Table::ShareNode, share.0, &node.0)
    }
    /// Of the row that says which node an inode is.
    pub(crate) fn member(ino: Ino) -> Self {
        Self::named(Table::ShareNode, ShareNumber::BACK.0, &ino.0.to_be_bytes())
    }
    pub(crate) fn mark(share: ShareNumber, number: u64) -> Self {
        Self::pair(Table::Outbox, share.0, number)
    }
    pub(crate) fn blob(share: ShareNumber, blob: BlobId) -> Self {
        Self::named(Table::Blob, share.0, &blob.0)
    }
    /// Of the row that says which blob has a local number.
    pub(crate) fn blob_name(number: u64) -> Self {
        Self::named(Table::Blob, ShareNumber::BACK.0, &number.to_be_bytes())
    }

    /// Whether the second key column is what its table has there.
    pub(crate) fn has_shape(&self) -> bool {
        match (self.table.columns().2, &self.b) {
            (Second::None, Tail::None) | (Second::Bytes(_), Tail::Bytes(_)) => true,
            (Second::Int(_), Tail::Int(n)) => i64::try_from(*n).is_ok(),
            _ => false,
        }
    }

    /// The bytes of the second key column, for tables where it is bytes.
    pub(crate) fn name(&self) -> &[u8] {
        match &self.b {
            Tail::Bytes(b) => b,
            _ => &[],
        }
    }

    /// The second key column, for tables where it is an integer.
    pub(crate) fn number(&self) -> u64 {
        match self.b {
            Tail::Int(n) => n,
            _ => 0,
        }
    }

    /// Injective bytes of the key columns, for the state hash: `a(8)`, then an integer's 8 bytes
    /// or the bytes themselves.
    pub(crate) fn hash_bytes(&self) -> Vec<u8> {
        let mut out = self.a.to_le_bytes().to_vec();
        match &self.b {
            Tail::None => {}
            Tail::Int(n) => out.extend_from_slice(&n.to_le_bytes()),
            Tail::Bytes(b) => out.extend_from_slice(b),
        }
        out
    }
}
