//! Nodes of a share's tree.

use std::collections::BTreeMap;

use keyfold_crypto::{FileId, KeyId, LeafHash, content_root};
use zeroize::Zeroizing;

use crate::ids::{BlobId, ContentRoot, Epoch, NodeId, OperationId, ShareId};
use crate::names::{EntryName, LinkTarget, XattrName};
use crate::operation::{Mode, Mtime, What};
use crate::pack::PackKey;

/// A file, directory, symlink or share point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// What it is.
    pub kind: Kind,
    /// The owner's rwx bits.
    pub mode: Mode,
    /// When its content changed.
    pub mtime: Mtime,
    /// Extended attributes.
    pub xattrs: BTreeMap<XattrName, Vec<u8>>,
    /// Names it has. Of a directory at most one.
    pub(super) names: u32,
    /// The directory that a directory is in.
    pub(super) parent: Option<NodeId>,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File(FileContent),
    /// A directory, with the node of each name.
    Directory(BTreeMap<EntryName, NodeId>),
    /// A symlink.
    Symlink(LinkTarget),
    /// Where another share is.
    SharePoint(ShareId),
}

/// A key of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileKeyRow {
    /// Its bytes.
    pub secret: Zeroizing<[u8; 32]>,
    /// The epoch that it was introduced in.
    pub epoch: Epoch,
}

/// Where blocks of a leaf are: one contiguous piece of a pack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// The pack.
    pub blob: BlobId,
    /// The slot of the first block named.
    pub slot: u32,
    /// Blocks of the leaf that lie there, in ascending order.
    pub named: u64,
    /// Those that are still the newest.
    pub live: u64,
}

impl Piece {
    /// The slot of a block of the leaf, if its newest content is here.
    pub fn slot_of(&self, block: u8) -> Option<u32> {
        let bit = 1_u64.checked_shl(u32::from(block))?;
        let before = (self.named & (bit - 1)).count_ones();
        (self.live & bit != 0).then_some(self.slot + before)
    }
}

/// A leaf with any block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeLeaf {
    /// Its hash.
    pub hash: LeafHash,
    /// Where its blocks are, oldest first.
    pub pieces: Vec<Piece>,
}

/// The content of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileContent {
    /// The operation that wrote it.
    pub version: OperationId,
    /// Bytes.
    pub size: u64,
    /// Root over it.
    pub root: ContentRoot,
    /// Its keys.
    pub keys: BTreeMap<KeyId, FileKeyRow>,
    /// Packs that have its blocks.
    pub packs: BTreeMap<BlobId, PackKey>,
    /// Leaves with any block.
    pub leaves: BTreeMap<u64, TreeLeaf>,
}

impl FileContent {
    fn empty(file: FileId) -> Self {
        Self {
            version: OperationId::NONE,
            size: 0,
            root: ContentRoot(content_root(&file, 0, &[]).unwrap_or_default()),
            keys: BTreeMap::new(),
            packs: BTreeMap::new(),
            leaves: BTreeMap::new(),
        }
    }
}

impl Node {
    pub(super) fn root() -> Self {
        let mode = Mode::new(7).expect("seven is rwx");
        let mtime = Mtime {
            seconds: 0,
            nanoseconds: 0,
        };
        Self::new(Kind::Directory(BTreeMap::new()), mode, mtime)
    }

    pub(super) fn new(kind: Kind, mode: Mode, mtime: Mtime) -> Self {
        Self {
            kind,
            mode,
            mtime,
            xattrs: BTreeMap::new(),
            names: 0,
            parent: None,
        }
    }

    pub(super) fn made(id: NodeId, what: &What, mode: Mode, mtime: Mtime) -> Self {
        let kind = match what {
            What::File => Kind::File(FileContent::empty(id.file())),
            What::Directory => Kind::Directory(BTreeMap::new()),
            What::Symlink(target) => Kind::Symlink(target.clone()),
            What::SharePoint(share) => Kind::SharePoint(*share),
        };
        Self::new(kind, mode, mtime)
    }

    /// Names in it, if it is a directory.
    pub fn entries(&self) -> Option<&BTreeMap<EntryName, NodeId>> {
        match &self.kind {
            Kind::Directory(entries) => Some(entries),
            _ => None,
        }
    }

    /// Its content, if it is a file.
    pub fn content(&self) -> Option<&FileContent> {
        match &self.kind {
            Kind::File(content) => Some(content),
            _ => None,
        }
    }

    /// Blobs that it needs.
    pub fn blobs(&self) -> impl Iterator<Item = BlobId> {
        let packs = self.content().map(|content| content.packs.keys());
        packs.into_iter().flatten().copied()
    }
}
