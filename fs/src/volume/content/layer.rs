//! Changes to a file over what lies beneath: dirty blocks, changed leaf entries, truncation.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustc_hash::FxHashSet;

use super::BlockKind;
use crate::layout::{
    BLOCK_SIZE, BlockEntry, BlockIndex, ENTRY_BYTES, LEAF_BLOCKS, Leaf, LeafIndex, MapId, Place,
};
use crate::vfs::Timestamp;

/// Plaintext of a block, 4096 bytes. Shared with whoever is sealing it.
pub(in crate::volume) type Page = Arc<[u8]>;

/// A block written and not yet sealed.
#[derive(Clone)]
pub(in crate::volume) struct Dirty {
    pub(in crate::volume) page: Page,
    /// Somebody is sealing this very page.
    pub(in crate::volume) in_flight: bool,
}

/// Changes to the entries of one leaf. Which positions it has, and which of them are holes, is
/// known without a look at the entries: that is all a write asks.
#[derive(Default, Clone)]
pub(in crate::volume) struct LeafDelta {
    /// What lies beneath is all holes.
    pub(in crate::volume) cleared: bool,
    /// A bit for each position that has an entry.
    present: u64,
    /// A bit for each of them that is a hole.
    holes: u64,
    /// The entries by position, in order.
    entries: Vec<BlockEntry>,
}

impl LeafDelta {
    /// All holes, whatever lies beneath.
    pub(super) fn clear() -> Self {
        Self {
            cleared: true,
            ..Self::default()
        }
    }

    fn has(&self, position: u8) -> bool {
        self.present & bit(position) != 0
    }

    /// How many entries come before a position.
    fn rank(&self, position: u8) -> usize {
        (self.present & (bit(position) - 1)).count_ones() as usize
    }

    pub(super) fn get(&self, position: u8) -> Option<BlockEntry> {
        if self.has(position) {
            Some(self.entries[self.rank(position)])
        } else {
            self.cleared.then_some(BlockEntry::HOLE)
        }
    }

    fn kind(&self, position: u8) -> Option<BlockKind> {
        if !self.has(position) {
            return self.cleared.then_some(BlockKind::Hole);
        }
        Some(if self.holes & bit(position) != 0 {
            BlockKind::Hole
        } else {
            BlockKind::Data
        })
    }

    pub(in crate::volume) fn put(&mut self, position: u8, entry: BlockEntry) {
        let at = self.rank(position);
        if self.has(position) {
            self.entries[at] = entry;
        } else {
            self.entries.insert(at, entry);
            self.present |= bit(position);
        }
        if entry.place == Place::Hole {
            self.holes |= bit(position);
        } else {
            self.holes &= !bit(position);
        }
    }

    /// The entries it has, by position.
    pub(super) fn entries(&self) -> impl Iterator<Item = (u8, BlockEntry)> {
        (0..LEAF_BLOCKS as u8)
            .filter(|position| self.has(*position))
            .zip(self.entries.iter().copied())
    }

    pub(super) fn truncate(&mut self, position: u8) {
        self.entries.truncate(self.rank(position));
        self.present &= bit(position) - 1;
        self.holes &= self.present;
    }

    /// Entries of its own that name a place.
    pub(in crate::volume) fn places(&self) -> impl Iterator<Item = Place> {
        self.entries
            .iter()
            .map(|e| e.place)
            .filter(|p| *p != Place::Hole)
    }

    /// The leaf that results from this delta over `beneath`.
    pub(in crate::volume) fn over(&self, beneath: &Leaf) -> Leaf {
        let mut leaf = if self.cleared {
            Leaf::default()
        } else {
            beneath.clone()
        };
        for (position, entry) in self.entries() {
            leaf.set(position, entry);
        }
        leaf
    }
}

/// The bit of a position, which is below [`LEAF_BLOCKS`].
fn bit(position: u8) -> u64 {
    1 << position
}

/// Changes to a file over what lies beneath.
#[derive(Clone)]
pub(in crate::volume) struct Layer {
    pub(in crate::volume) size: u64,
    pub(in crate::volume) mtime: Timestamp,
    pub(in crate::volume) ctime: Timestamp,
    /// Anything in this layer differs from what lies beneath.
    pub(in crate::volume) changed: bool,
    /// Blocks from here on are holes beneath this layer; [`UNLIMITED`] when it was not truncated.
    pub(in crate::volume) limit: BlockIndex,
    pub(in crate::volume) dirty: BTreeMap<BlockIndex, Dirty>,
    pub(in crate::volume) deltas: BTreeMap<LeafIndex, LeafDelta>,
    /// The map that a commit of this layer writes; decided when it is cut.
    pub(in crate::volume) map: MapId,
    /// Change of the number of data blocks against what lies beneath.
    pub(super) blocks: i64,
    /// Leaves that a commit of this layer writes.
    pub(super) touched: FxHashSet<LeafIndex>,
    /// Bytes of rows that these leaves take, at most.
    leaf_bytes: usize,
}

/// What the row of a leaf takes beside its entries while it waits for a commit.
const LEAF_OVERHEAD: usize = 112;

/// The limit of a layer that was not truncated.
pub(in crate::volume) const UNLIMITED: BlockIndex = BlockIndex(u64::MAX);

impl Layer {
    pub(super) fn over(size: u64, mtime: Timestamp, ctime: Timestamp) -> Self {
        Self {
            size,
            mtime,
            ctime,
            changed: false,
            limit: UNLIMITED,
            dirty: BTreeMap::new(),
            deltas: BTreeMap::new(),
            map: MapId::NONE,
            blocks: 0,
            touched: FxHashSet::default(),
            leaf_bytes: 0,
        }
    }

    /// Bytes of rows that a commit of this layer writes for its leaves, about.
    pub(in crate::volume) fn leaf_bytes(&self) -> usize {
        self.leaf_bytes
    }

    /// Counts the leaf of a block that changes, once. Its row is as long as the file reaches into
    /// it: that of a small file is short.
    pub(super) fn touch(&mut self, block: BlockIndex) {
        if self.touched.insert(block.leaf()) {
            let blocks = self.size.div_ceil(BLOCK_SIZE as u64).max(block.0 + 1);
            let entries = (blocks - block.leaf().block(0).0).min(LEAF_BLOCKS);
            self.leaf_bytes += LEAF_OVERHEAD + entries as usize * ENTRY_BYTES;
        }
    }

    /// What the layer itself says a block is; `None` when it says nothing.
    pub(super) fn kind(&self, block: BlockIndex) -> Option<BlockKind> {
        if self.dirty.contains_key(&block) {
            return Some(BlockKind::Data);
        }
        let delta = self.deltas.get(&block.leaf());
        delta
            .and_then(|d| d.kind(block.within_leaf()))
            .or_else(|| (block >= self.limit).then_some(BlockKind::Hole))
    }

    /// What the layer itself says of a block; `None` when it says nothing.
    pub(super) fn source(&self, block: BlockIndex) -> Option<Source> {
        if let Some(d) = self.dirty.get(&block) {
            return Some(Source::Page(Arc::clone(&d.page)));
        }
        if let Some(entry) = self
            .deltas
            .get(&block.leaf())
            .and_then(|d| d.get(block.within_leaf()))
        {
            return Some(Source::of(entry));
        }
        (block >= self.limit).then_some(Source::Hole)
    }

    /// Records where a block lies now.
    pub(in crate::volume) fn set_entry(&mut self, block: BlockIndex, entry: BlockEntry) {
        self.deltas
            .entry(block.leaf())
            .or_default()
            .put(block.within_leaf(), entry);
        self.touch(block);
        self.changed = true;
    }

    /// Drops what the layer says of blocks from `limit` on. Returns how many of its dirty pages
    /// nobody was sealing.
    pub(super) fn drop_from(&mut self, limit: BlockIndex) -> u64 {
        let dropped = self.dirty.split_off(&limit);
        let boundary = limit.leaf();
        if limit.within_leaf() == 0 {
            self.deltas.split_off(&boundary);
        } else {
            self.deltas.split_off(&LeafIndex(boundary.0 + 1));
            if let Some(delta) = self.deltas.get_mut(&boundary) {
                delta.truncate(limit.within_leaf());
            }
        }
        dropped.values().filter(|d| !d.in_flight).count() as u64
    }

    pub(super) fn next_leaf(&self, from: LeafIndex) -> Option<LeafIndex> {
        let dirty = self
            .dirty
            .range(from.block(0)..)
            .next()
            .map(|(b, _)| b.leaf());
        let delta = self.deltas.range(from..).next().map(|(l, _)| *l);
        dirty.into_iter().chain(delta).min()
    }
}

/// Where the bytes of a block are.
#[derive(Clone)]
pub(in crate::volume) enum Source {
    /// Nowhere; it reads as zeros.
    Hole,
    /// In memory.
    Page(Page),
    /// Sealed.
    Sealed(BlockEntry),
}

impl Source {
    pub(super) fn of(entry: BlockEntry) -> Self {
        if entry.place == Place::Hole {
            Self::Hole
        } else {
            Self::Sealed(entry)
        }
    }

    pub(super) fn kind(&self) -> BlockKind {
        if self.is_hole() {
            BlockKind::Hole
        } else {
            BlockKind::Data
        }
    }

    pub(in crate::volume) fn is_hole(&self) -> bool {
        matches!(self, Self::Hole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vfs::Timestamp;

    fn layer(size: u64) -> Layer {
        let time = Timestamp { secs: 0, nanos: 0 };
        Layer::over(size, time, time)
    }

    #[test]
    fn a_leaf_counts_once_and_as_far_as_the_file_reaches_into_it() {
        let mut small = layer(2 * BLOCK_SIZE as u64);
        small.touch(BlockIndex(0));
        small.touch(BlockIndex(1));
        assert_eq!(small.leaf_bytes(), LEAF_OVERHEAD + 2 * ENTRY_BYTES);
        let mut large = layer(1 << 30);
        for block in 0..2 * LEAF_BLOCKS {
            large.touch(BlockIndex(block));
        }
        let whole = LEAF_OVERHEAD + LEAF_BLOCKS as usize * ENTRY_BYTES;
        assert_eq!(large.leaf_bytes(), 2 * whole);
    }

    #[test]
    fn a_block_beyond_the_end_counts_the_leaf_up_to_itself() {
        let mut growing = layer(0);
        growing.touch(BlockIndex(LEAF_BLOCKS + 9));
        assert_eq!(growing.leaf_bytes(), LEAF_OVERHEAD + 10 * ENTRY_BYTES);
    }
}
