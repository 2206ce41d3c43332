//! Shares as the volume engine knows them: subtrees whose changes are noted, and into which the
//! changes of others are put.
//!
//! The engine holds no opinion about logs, servers and conflicts. Whoever syncs a share reads the
//! [`Mark`]s of what changed, looks at what is there now ([`crate::volume::Volume::view_node`]), and
//! says how the others' changes read here ([`Change`]); and keeps what it knows in bytes that go
//! along in the same transactions.

use keyfold_crypto::{FileKey, KeyId, LeafHash, Sealed, Tag};

use crate::layout::BLOCK_SIZE;
pub use crate::layout::{BlobId, BlobKey, Mark, NodeId, ShareId, ShareNumber, Standing, Within};
use crate::vfs::{FileKind, Ino, Timestamp};

/// A share of a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareInfo {
    /// Its number in this volume.
    pub number: ShareNumber,
    /// The share.
    pub id: ShareId,
    /// Its root directory, or the one that its single file lies in.
    pub root: Ino,
    /// The name of its single file there, whether there is one of this name now or not.
    pub name: Option<Box<[u8]>>,
    /// Where it lies within another share.
    pub within: Option<Within>,
    /// Of whoever syncs it.
    pub data: Box<[u8]>,
}

/// A node of a share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeInfo {
    /// The node.
    pub node: NodeId,
    /// The inode that it is, or was; of a share point the root of the other share; zero once that left
    /// the share.
    pub ino: Ino,
    /// Whether it still is.
    pub standing: Standing,
    /// Of whoever syncs the share; empty for what it was not told of yet.
    pub data: Box<[u8]>,
}

/// Something that changed, as the outbox has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PendingMark {
    /// Its number, to confirm it by. Numbers of a share rise while the volume is open.
    pub number: u64,
    /// What changed.
    pub mark: Mark,
}

/// What whoever syncs a share wants kept, in one transaction.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Kept {
    /// Bytes of the share.
    pub share: Option<Box<[u8]>>,
    /// Bytes of nodes; without, the node is to be forgotten, which only one that is gone can be.
    pub nodes: Vec<(NodeId, Option<Box<[u8]>>)>,
    /// Marks that are done with.
    pub confirmed: Vec<u64>,
}

/// Why a subtree cannot be shared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BeginError {
    /// The volume refused: [`crate::error::FsError::Busy`] when the subtree lies in a share or has
    /// one in it, or the share is in this volume already.
    Volume(crate::error::FsError),
    /// Files in the subtree have names outside of it, too.
    LinkedOutside(Vec<LinkedOutside>),
}

impl From<crate::error::FsError> for BeginError {
    fn from(error: crate::error::FsError) -> Self {
        Self::Volume(error)
    }
}

/// A file with names within and outside of a subtree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkedOutside {
    /// The file.
    pub ino: Ino,
    /// One of its names, as a path from the subtree's root.
    pub path: Vec<u8>,
}

/// The ciphertext of one block, as it lies.
pub type Ciphertext = [u8; BLOCK_SIZE];

/// What of an inode others may come to know beside its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeView {
    /// What it is.
    pub kind: FileKind,
    /// Permission bits.
    pub perm: u16,
    /// Last change of the content.
    pub mtime: Timestamp,
    /// Names and values of all extended attributes.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    /// Target of a symlink.
    pub target: Option<Vec<u8>>,
}

/// A name in a shared directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryView {
    /// The name.
    pub name: Vec<u8>,
    /// The inode.
    pub ino: Ino,
    /// What it is.
    pub kind: FileKind,
    /// Its node.
    pub node: NodeId,
    /// The share whose root it is, where another one begins here.
    pub point: Option<ShareId>,
}

/// Where a block's ciphertext lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lies {
    /// In this vault.
    Here,
    /// In a blob only, in this slot.
    Remote(BlobId, u32),
}

/// A block of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockView {
    /// Its position within its leaf.
    pub position: u8,
    /// Where it lies.
    pub lies: Lies,
    /// Tweak and tag, and which of the file's keys seals it; unknown of some that are remote.
    pub sealed: Option<(Sealed, KeyId)>,
}

/// A leaf of a file that has any block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeafView {
    /// Its place in the file.
    pub index: u32,
    /// Its hash; unknown when the tag of one of its blocks is.
    pub hash: Option<LeafHash>,
    /// Its blocks, ascending.
    pub blocks: Vec<BlockView>,
}

/// Whom new inodes belong to that others made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Owner {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// A name in a directory of a share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct At {
    /// The directory.
    pub parent: NodeId,
    /// The name in it.
    pub name: Vec<u8>,
}

/// What is to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A directory.
    Directory,
    /// A regular file; the node's id becomes its file id.
    File,
    /// A symlink with this target. One that is made without permissions cannot be followed, nor read
    /// ([`crate::volume::BarredSymlinks`]).
    Symlink(Vec<u8>),
    /// The root of another share: an empty directory, or, where that share is in this volume and in no
    /// other, its root, which comes here from wherever it is.
    Point(ShareId),
}

/// A change that somebody else made.
#[derive(Debug, Clone)]
pub enum Change {
    /// A new node.
    Make {
        /// Where.
        at: At,
        /// Its id.
        node: NodeId,
        /// What it is.
        what: What,
        /// Permission bits.
        perm: u16,
        /// Last change of the content.
        mtime: Timestamp,
    },
    /// Another name of a file.
    Link {
        /// Where.
        at: At,
        /// The file.
        node: NodeId,
    },
    /// A name moves; what has the new one goes. The file of a share of a single file can be moved aside:
    /// to another name in its directory, which is free, and where it is in no share.
    Rename {
        /// From here.
        from: At,
        /// To there.
        to: At,
    },
    /// A name goes.
    Remove {
        /// Where.
        at: At,
    },
    /// Other permission bits, or another time of change.
    SetAttributes {
        /// Of which node.
        node: NodeId,
        /// Permission bits.
        perm: Option<u16>,
        /// Last change of the content.
        mtime: Option<Timestamp>,
    },
    /// Another value of an extended attribute, or none.
    SetXattr {
        /// Of which node.
        node: NodeId,
        /// Its name.
        name: Vec<u8>,
        /// Its value.
        value: Option<Vec<u8>>,
    },
    /// Another key of a file. New blocks are sealed with it from now on.
    AddKey {
        /// Which file.
        node: NodeId,
        /// The key.
        key: FileKey,
    },
    /// Another content of a file.
    Write(Written),
    /// The content of a file is the same, and blocks of it lie elsewhere in blobs now. What lies here
    /// stays as it is, also what was written to the file.
    Move {
        /// Which file.
        node: NodeId,
        /// Where they lie.
        leaves: Vec<LeafChange>,
    },
}

/// Another content of a file: what differs from what it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// The file.
    pub node: NodeId,
    /// All its names before these changes: somebody who reads the file keeps it as it is, and these
    /// names get another inode. Where they are not all, the file is busy as long as it is read.
    pub names: Vec<At>,
    /// Bytes.
    pub size: u64,
    /// Last change.
    pub mtime: Timestamp,
    /// Leaves that differ, each once.
    pub leaves: Vec<LeafChange>,
}

/// A leaf of which some blocks are others now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeafChange {
    /// Its place in the file.
    pub index: u32,
    /// Blocks that have another content.
    pub blocks: Vec<BlockChange>,
    /// A bit for each block that is a hole now.
    pub holes: u64,
}

/// A block that has another content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockChange {
    /// Its position within its leaf.
    pub position: u8,
    /// The blob that it lies in.
    pub blob: BlobId,
    /// Its slot there.
    pub slot: u32,
    /// Tweak, tag and key, if they are known already.
    pub sealed: Option<(Sealed, KeyId)>,
}

/// A blob that blocks lie in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blob {
    /// The blob.
    pub id: BlobId,
    /// What opens its descriptors.
    pub key: BlobKey,
    /// Bytes.
    pub size: u64,
    /// Of whoever syncs the share.
    pub state: u32,
}

/// Changes that somebody else made, to be put into a share in one transaction, in order.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    /// Whom new inodes belong to.
    pub owner: Owner,
    /// Blobs that are new, or of which something else is known now.
    pub blobs: Vec<Blob>,
    /// The changes.
    pub list: Vec<Change>,
    /// What goes along.
    pub kept: Kept,
}

/// What came of changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Applied {
    /// They are made; whoever caches anything of this is to be told.
    Done(Vec<Outdated>),
    /// Nothing is: these files are written to, have content that was not sent, or are just being
    /// changed.
    Busy(Vec<NodeId>),
}

/// Something that whoever caches it has to ask for again.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outdated {
    /// Attributes and content of an inode.
    Inode(Ino),
    /// What a name in a directory means.
    Entry(Ino, Vec<u8>),
}

/// Blocks that lie in a blob and are wanted here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// The share.
    pub share: ShareId,
    /// The file.
    pub node: NodeId,
    /// The blob.
    pub blob: Blob,
    /// Their positions in the file, in blocks, and their slots in the blob.
    pub blocks: Vec<(u64, u32)>,
}

/// A block as a blob has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// Tweak and tag.
    pub sealed: Sealed,
    /// Which of the file's keys seals it.
    pub key: KeyId,
    /// Its ciphertext.
    pub ciphertext: Box<Ciphertext>,
}

/// What programs may do in a share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Read and write.
    Full,
    /// Read: every change is refused with [`crate::error::FsError::ReadOnly`].
    ReadOnly,
}

/// Is told of marks.
pub trait Noticed: Send + Sync {
    /// A share has a mark that nobody took up yet, or a file of it was closed by its last
    /// writer. Called by the operation that changes something,
    /// holding locks: returns at once and calls nothing of the volume. The mark may be taken up a
    /// moment later.
    fn marked(&self, share: ShareNumber);
}

/// Nobody can fetch the blocks now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unfetched;

/// Brings blocks that lie in blobs.
///
/// Whoever implements it compares the tags with the leaf hashes that the share's log has for these
/// positions: the volume verifies blocks under the tags that it is told, and any member can seal a
/// block. It is called holding no lock, may wait, and comes to an end.
pub trait Fetch: Send + Sync {
    /// The blocks of each, in the order in which they are wanted, or that they cannot be had now. All
    /// that one reader waits for is wanted at once, so that one deadline is over all of it.
    fn fetch(&self, wanted: &[Wanted]) -> Vec<Result<Vec<Fetched>, Unfetched>>;
}

/// How much of a file lies in the vault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Presence {
    /// Blocks that are data.
    pub blocks: u64,
    /// Those of them that lie in blobs only.
    pub remote: u64,
}

/// Blocks of a file that lie in blobs, too, and need not lie in the vault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spare {
    /// The file.
    pub node: NodeId,
    /// The blobs.
    pub blobs: Vec<Blob>,
    /// The blocks.
    pub blocks: Vec<SpareBlock>,
}

/// A block that lies in a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpareBlock {
    /// Its position in the file, in blocks.
    pub block: u64,
    /// The blob.
    pub blob: BlobId,
    /// Its slot there.
    pub slot: u32,
    /// Its tag there: only a block that has it is given up.
    pub tag: Tag,
}
