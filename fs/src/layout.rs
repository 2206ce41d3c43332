//! The byte layouts of format version 1: ids, block entries, map leaves and metadata rows.
//!
//! All integers are little-endian and of fixed width. Every layout has this one home;
//! `docs/format.md` embeds what `tests/format_golden.rs` prints from it.

mod bytes;
mod file;
mod ids;
mod image;
mod inode;
mod leaf;
mod pin;
mod segment;
mod share;
mod state;

pub use file::{BlockRow, ContentRow, FileKeyRow};
pub use ids::{BlockIndex, KeyIndex, LeafIndex, MapId, SegmentId, Slot};
pub use image::{ImageId, ImageKind, ImageRow};
pub use inode::{DentryRow, DirBody, FileBody, InodeBody, InodeRow};
pub use keyfold_crypto::BLOCK_SIZE;
pub use leaf::{BlockEntry, Leaf, Place};
pub use pin::PinRow;
pub use segment::{RunOwner, SegmentRow};
pub use share::{
    BlobId, BlobKey, BlobNameRow, BlobRow, Mark, MemberRow, NodeId, NodeRow, RemoteBlock, ShareId,
    ShareNumber, ShareRow, Standing, Within,
};
pub use state::StateRow;
pub(crate) use state::{decode_u64, encode_u64};

/// Blocks of one map leaf.
pub const LEAF_BLOCKS: u64 = 64;
/// Slots of one segment (64 MiB).
pub const SEGMENT_SLOTS: u32 = 16_384;
/// Bytes of an encoded [`BlockEntry`].
pub const ENTRY_BYTES: usize = 60;

/// What decoding found wrong with stored bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadLayout;
