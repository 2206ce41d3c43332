//! Numbers and positions: of blocks, leaves, maps, segments, slots and keys.

use super::{BLOCK_SIZE, LEAF_BLOCKS};

/// Bits of a leaf's number within its map: 2^26 leaves of 256 KiB are 16 TiB.
const LEAF_BITS: u32 = 26;

/// A block's position within its file, in units of 4 KiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockIndex(pub u64);

impl BlockIndex {
    /// The block that byte `offset` lies in.
    pub fn of(offset: u64) -> Self {
        Self(offset / BLOCK_SIZE as u64)
    }

    /// The leaf that holds this block's entry.
    pub fn leaf(self) -> LeafIndex {
        LeafIndex((self.0 / LEAF_BLOCKS) as u32)
    }

    /// The entry's position within its leaf.
    pub fn within_leaf(self) -> u8 {
        (self.0 % LEAF_BLOCKS) as u8
    }

    /// The first byte of the block.
    pub fn offset(self) -> u64 {
        self.0 * BLOCK_SIZE as u64
    }
}

/// A leaf's position within its map.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeafIndex(pub u32);

impl LeafIndex {
    /// The block of the entry at `position`.
    pub fn block(self, position: u8) -> BlockIndex {
        BlockIndex(u64::from(self.0) * LEAF_BLOCKS + u64::from(position))
    }
}

/// A block map: 37 bits, monotonic, never reused. Zero means none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MapId(pub u64);

impl MapId {
    /// No map: a file without any block.
    pub const NONE: Self = Self(0);

    /// The highest number of a leaf.
    pub(crate) const LAST_LEAF: u64 = (1 << LEAF_BITS) - 1;

    /// The database key of one of its leaves.
    pub fn leaf_key(self, leaf: LeafIndex) -> u64 {
        (self.0 << LEAF_BITS) | u64::from(leaf.0)
    }

    /// The database keys all its leaves lie in.
    pub fn leaf_keys(self) -> std::ops::RangeInclusive<u64> {
        (self.0 << LEAF_BITS)..=((self.0 << LEAF_BITS) | ((1 << LEAF_BITS) - 1))
    }

    /// The map whose leaf a database key names.
    pub fn of_key(key: u64) -> Self {
        Self(key >> LEAF_BITS)
    }

    /// The leaf that a database key of this map names.
    pub fn leaf_of_key(key: u64) -> LeafIndex {
        LeafIndex((key & ((1 << LEAF_BITS) - 1)) as u32)
    }
}

/// A segment file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentId(pub u32);

/// A 4 KiB slot of a segment. Written once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot {
    /// The segment.
    pub segment: SegmentId,
    /// The slot's number within it, below [`super::SEGMENT_SLOTS`].
    pub index: u32,
}

/// One of a file's keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyIndex(pub u32);
