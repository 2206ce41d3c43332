//! Shares as the volume engine knows them: subtrees whose changes are noted, and into which the
//! changes of others are put.
//!
//! The engine holds no opinion about logs, servers and conflicts. Whoever syncs a share reads the
//! [`Mark`]s of what changed, looks at what is there now ([`crate::volume::Volume::view`]), and
//! says how the others' changes read here ([`Change`]); and keeps what it knows in bytes that go
//! along in the same transactions.

use crate::layout::BLOCK_SIZE;
pub use crate::layout::{BlobId, BlobKey, Mark, NodeId, ShareId, ShareNumber, Standing};
use crate::vfs::Ino;

/// A share of a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareInfo {
    /// Its number in this volume.
    pub number: ShareNumber,
    /// The share.
    pub id: ShareId,
    /// Its root directory.
    pub root: Ino,
    /// Of whoever syncs it.
    pub data: Box<[u8]>,
}

/// A node of a share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeInfo {
    /// The node.
    pub node: NodeId,
    /// The inode that it is, or was.
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

/// Plain ciphertext of one block.
pub type Ciphertext = [u8; BLOCK_SIZE];
