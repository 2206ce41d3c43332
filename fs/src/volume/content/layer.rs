//! Changes to a file over what lies beneath: dirty blocks, changed leaf entries, truncation.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::layout::{BlockEntry, BlockIndex, Leaf, LeafIndex, MapId, Place};
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

/// Changes to the entries of one leaf.
#[derive(Default, Clone)]
pub(in crate::volume) struct LeafDelta {
    /// What lies beneath is all holes.
    pub(in crate::volume) cleared: bool,
    /// Entries by position, in order.
    pub(super) set: Vec<(u8, BlockEntry)>,
}

impl LeafDelta {
    pub(super) fn get(&self, position: u8) -> Option<BlockEntry> {
        match self.set.binary_search_by_key(&position, |(p, _)| *p) {
            Ok(at) => Some(self.set[at].1),
            Err(_) => self.cleared.then_some(BlockEntry::HOLE),
        }
    }

    pub(in crate::volume) fn put(&mut self, position: u8, entry: BlockEntry) {
        match self.set.binary_search_by_key(&position, |(p, _)| *p) {
            Ok(at) => self.set[at].1 = entry,
            Err(at) => self.set.insert(at, (position, entry)),
        }
    }

    pub(super) fn truncate(&mut self, position: u8) {
        self.set.retain(|(p, _)| *p < position);
    }

    /// Entries of its own that name a place.
    pub(in crate::volume) fn places(&self) -> impl Iterator<Item = Place> {
        self.set
            .iter()
            .map(|(_, e)| e.place)
            .filter(|p| *p != Place::Hole)
    }

    /// The leaf that results from this delta over `beneath`.
    pub(in crate::volume) fn over(&self, beneath: &Leaf) -> Leaf {
        let mut leaf = if self.cleared {
            Leaf::default()
        } else {
            beneath.clone()
        };
        for (position, entry) in &self.set {
            leaf.set(*position, *entry);
        }
        leaf
    }
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
}

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
        }
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

    pub(in crate::volume) fn is_hole(&self) -> bool {
        matches!(self, Self::Hole)
    }
}
