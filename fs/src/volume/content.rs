//! The content half of a regular file in memory: what is committed, what a running commit is
//! writing, and what has changed since.
//!
//! A [`Layer`] holds changes over what lies beneath it. The *head* takes every change. A commit
//! *cuts*: the head becomes the *cut* layer, whose dirty blocks are sealed and whose deltas are
//! written, while a new head takes what comes after. When the commit is durable the cut layer
//! is dropped and the *base* stands for it; when it fails, the cut is merged back under the
//! head. So the cut is the file as at one moment, whatever happens meanwhile.

use std::sync::Arc;

use crate::error::FsResult;
use crate::layout::{
    BLOCK_SIZE, BlockEntry, BlockIndex, ContentRow, LEAF_BLOCKS, Leaf, LeafIndex, MapId,
};

mod journaled;
mod layer;
mod lying;
mod replaced;

pub(super) use journaled::Captured;
use journaled::Journaled;
use layer::Dirty;
pub(super) use layer::{Layer, LeafDelta, Page, Source, UNLIMITED};
pub(super) use replaced::Replacing;

/// Where committed leaves come from.
pub(super) trait Leaves {
    /// The leaf as the last commit left it.
    fn leaf(&self, base: &ContentRow, leaf: LeafIndex) -> FsResult<Arc<Leaf>>;
    /// The first leaf at or after `from` that has an entry, as the last commit left them.
    fn next_leaf(&self, base: &ContentRow, from: LeafIndex) -> FsResult<Option<LeafIndex>>;
}

/// The content half of a regular file.
pub(super) struct Content {
    /// As committed.
    pub(super) base: ContentRow,
    /// As a running commit writes it. The committer shares it while it writes.
    pub(super) cut: Option<Arc<Layer>>,
    /// As it is.
    pub(super) head: Layer,
    /// What the journal holds of the head; the head keeps it, too, until it is committed.
    journal: Option<Journaled>,
    /// The map that journal records name while nothing is committed; none if it is not needed.
    pub(super) journal_map: MapId,
}

impl Content {
    pub(super) fn new(base: ContentRow) -> Self {
        let head = Layer::over(base.size, base.mtime, base.ctime);
        Self {
            base,
            cut: None,
            head,
            journal: None,
            journal_map: MapId::NONE,
        }
    }

    /// Nothing differs from what is committed.
    pub(super) fn is_clean(&self) -> bool {
        !self.head.changed && self.cut.is_none()
    }

    /// Bytes of rows that the leaves of the cut take, about.
    pub(super) fn cut_leaf_bytes(&self) -> usize {
        self.cut.as_ref().map_or(0, |cut| cut.leaf_bytes())
    }

    /// Where the bytes of a block are now.
    pub(super) fn source(&self, block: BlockIndex, leaves: &impl Leaves) -> FsResult<Source> {
        if let Some(source) = self.head.source(block) {
            return Ok(source);
        }
        if let Some(source) = self.cut.as_ref().and_then(|c| c.source(block)) {
            return Ok(source);
        }
        self.base_source(block, leaves)
    }

    fn base_source(&self, block: BlockIndex, leaves: &impl Leaves) -> FsResult<Source> {
        if block.offset() >= self.base.size {
            return Ok(Source::Hole);
        }
        let leaf = leaves.leaf(&self.base, block.leaf())?;
        Ok(Source::of(leaf.get(block.within_leaf())))
    }

    /// As [`Content::kind`], of what is committed. A file without holes needs no look at its leaves.
    fn base_kind(&self, block: BlockIndex, leaves: &impl Leaves) -> FsResult<BlockKind> {
        let dense = self.base.blocks == self.base.size.div_ceil(BLOCK_SIZE as u64);
        if dense && block.offset() < self.base.size {
            return Ok(BlockKind::Data);
        }
        Ok(self.base_source(block, leaves)?.kind())
    }

    /// The entry of a block as last committed.
    pub(super) fn committed(
        &self,
        block: BlockIndex,
        leaves: &impl Leaves,
    ) -> FsResult<BlockEntry> {
        Ok(leaves
            .leaf(&self.base, block.leaf())?
            .get(block.within_leaf()))
    }

    /// Data blocks of the file as it is.
    pub(super) fn blocks(&self) -> u64 {
        let cut = self.cut.as_ref().map_or(0, |c| c.blocks);
        self.base
            .blocks
            .saturating_add_signed(cut + self.head.blocks)
    }

    /// Whether a block is a hole, or data in memory or sealed.
    pub(super) fn kind(&self, block: BlockIndex, leaves: &impl Leaves) -> FsResult<BlockKind> {
        let changed = self.head.kind(block);
        match changed.or_else(|| self.cut.as_ref().and_then(|c| c.kind(block))) {
            Some(kind) => Ok(kind),
            None => self.base_kind(block, leaves),
        }
    }

    /// Puts a page over what [`Content::kind`] said of the block. Returns by how many the
    /// dirty pages of the volume became more: none when the page took the place of one that
    /// nobody is sealing.
    pub(super) fn put_page(&mut self, block: BlockIndex, page: Page, was: BlockKind) -> u64 {
        if was == BlockKind::Hole {
            self.head.blocks += 1;
        }
        self.head.changed = true;
        self.head.touch(block);
        self.note_fresh(block);
        let old = self.head.dirty.insert(
            block,
            Dirty {
                page,
                in_flight: false,
            },
        );
        old.map_or(1, |old| u64::from(old.in_flight))
    }

    /// Makes all blocks from `limit` on holes. Returns how many dirty pages that nobody was
    /// sealing are gone.
    pub(super) fn cut_off(&mut self, limit: BlockIndex, leaves: &impl Leaves) -> FsResult<u64> {
        self.head.blocks -= self.data_blocks_from(limit, leaves)? as i64;
        self.head.limit = self.head.limit.min(limit);
        self.head.changed = true;
        Ok(self.head.drop_from(limit))
    }

    fn data_blocks_from(&self, limit: BlockIndex, leaves: &impl Leaves) -> FsResult<u64> {
        if limit.0 == 0 {
            return Ok(self.blocks());
        }
        let mut count = 0;
        let mut from = limit.leaf();
        while let Some(leaf) = self.next_leaf(from, leaves)? {
            for position in 0..LEAF_BLOCKS as u8 {
                let block = leaf.block(position);
                count += u64::from(block >= limit && !self.source(block, leaves)?.is_hole());
            }
            from = LeafIndex(leaf.0 + 1);
        }
        Ok(count)
    }

    /// Makes the blocks of `range` holes. Returns like [`Content::cut_off`]. Nothing is changed
    /// when it fails.
    pub(super) fn punch(
        &mut self,
        range: std::ops::Range<BlockIndex>,
        leaves: &impl Leaves,
    ) -> FsResult<u64> {
        let found = self.data_within(&range, leaves)?;
        let mut gone = 0;
        self.head.changed = true;
        for (leaf, data) in found {
            for position in (0..LEAF_BLOCKS as u8).filter(|p| data & (1 << p) != 0) {
                let block = leaf.block(position);
                let dirty = self.head.dirty.remove(&block);
                gone += u64::from(dirty.is_some_and(|d| !d.in_flight));
                self.head.set_entry(block, BlockEntry::HOLE);
                self.head.blocks -= 1;
            }
            if range.start <= leaf.block(0) && leaf.block(LEAF_BLOCKS as u8 - 1) < range.end {
                self.head.deltas.insert(leaf, LeafDelta::clear());
            }
        }
        Ok(gone)
    }

    /// The leaves that may have data blocks in `range`, with a bit for each of these blocks.
    fn data_within(
        &self,
        range: &std::ops::Range<BlockIndex>,
        leaves: &impl Leaves,
    ) -> FsResult<Vec<(LeafIndex, u64)>> {
        const { assert!(LEAF_BLOCKS == 64) };
        let mut found = Vec::new();
        let mut from = range.start.leaf();
        while let Some(leaf) = self
            .next_leaf(from, leaves)?
            .filter(|l| l.block(0) < range.end)
        {
            let mut data = 0;
            for position in 0..LEAF_BLOCKS as u8 {
                let block = leaf.block(position);
                if range.contains(&block) && !self.source(block, leaves)?.is_hole() {
                    data |= 1 << position;
                }
            }
            found.push((leaf, data));
            from = LeafIndex(leaf.0 + 1);
        }
        Ok(found)
    }

    /// The first leaf at or after `from` that may have a data block.
    fn next_leaf(&self, from: LeafIndex, leaves: &impl Leaves) -> FsResult<Option<LeafIndex>> {
        let beneath = self
            .cut
            .as_ref()
            .map_or(UNLIMITED, |c| c.limit)
            .min(self.head.limit);
        let base = if from.block(0) >= beneath {
            None
        } else {
            leaves
                .next_leaf(&self.base, from)?
                .filter(|l| l.block(0) < beneath)
        };
        let cut = self
            .cut
            .as_ref()
            .and_then(|c| c.next_leaf(from))
            .filter(|l| l.block(0) < self.head.limit);
        Ok([base, cut, self.head.next_leaf(from)]
            .into_iter()
            .flatten()
            .min())
    }

    /// The first block at or after `from` that is data, or that is a hole.
    pub(super) fn seek(
        &self,
        from: BlockIndex,
        data: BlockKind,
        leaves: &impl Leaves,
    ) -> FsResult<Option<BlockIndex>> {
        let end = BlockIndex(self.head.size.div_ceil(BLOCK_SIZE as u64));
        let mut block = from;
        while block < end {
            if block.within_leaf() == 0 || block == from {
                match (self.next_leaf(block.leaf(), leaves)?, data) {
                    (Some(l), _) if l == block.leaf() => {}
                    (_, BlockKind::Hole) => return Ok(Some(block)),
                    (Some(l), BlockKind::Data) => block = l.block(0),
                    (None, BlockKind::Data) => return Ok(None),
                }
            }
            if self.source(block, leaves)?.is_hole() == (data == BlockKind::Hole) && block < end {
                return Ok(Some(block));
            }
            block.0 += 1;
        }
        Ok(None)
    }

    /// A page was sealed: records where it lies now, unless something newer took its place.
    pub(super) fn sealed(&mut self, block: BlockIndex, page: &Page, entry: BlockEntry) {
        for layer in [Some(&mut self.head), self.cut.as_mut().map(Arc::make_mut)]
            .into_iter()
            .flatten()
        {
            if layer
                .dirty
                .get(&block)
                .is_some_and(|d| Arc::ptr_eq(&d.page, page))
            {
                layer.dirty.remove(&block);
                layer.set_entry(block, entry);
                return;
            }
        }
    }

    /// A page could not be sealed or stored: it is dirty as before. Returns whether it still
    /// matters.
    pub(super) fn unsealed(&mut self, block: BlockIndex, page: &Page) -> bool {
        for layer in [Some(&mut self.head), self.cut.as_mut().map(Arc::make_mut)]
            .into_iter()
            .flatten()
        {
            if let Some(d) = layer.dirty.get_mut(&block)
                && Arc::ptr_eq(&d.page, page)
            {
                d.in_flight = false;
                return true;
            }
        }
        false
    }

    /// Ciphertext was copied: records the new place, unless the block has changed.
    pub(super) fn moved(
        &mut self,
        block: BlockIndex,
        (old, new): (&BlockEntry, BlockEntry),
        leaves: &impl Leaves,
    ) -> FsResult<bool> {
        let same = matches!(self.source(block, leaves)?, Source::Sealed(e) if e == *old);
        if same {
            self.head.set_entry(block, new);
        }
        Ok(same)
    }

    /// Drops what was not committed, of a file that is gone. Returns like [`Content::cut_off`].
    pub(super) fn discard_head(&mut self) -> u64 {
        self.head.changed = false;
        self.head.drop_from(BlockIndex(0))
    }

    /// Begins a commit of this file. Returns whether there is anything to commit.
    pub(super) fn begin_cut(&mut self, new_map: impl FnOnce() -> MapId) -> bool {
        debug_assert!(self.cut.is_none());
        if !self.head.changed {
            return false;
        }
        let next = Layer::over(self.head.size, self.head.mtime, self.head.ctime);
        let mut cut = std::mem::replace(&mut self.head, next);
        let emptied = cut.limit.0 == 0;
        let adds = !cut.dirty.is_empty() || !cut.deltas.is_empty();
        cut.map = match (emptied || self.base.map == MapId::NONE, adds) {
            (false, _) => self.base.map,
            (true, true) if self.journal_map != MapId::NONE => self.journal_map,
            (true, true) => new_map(),
            (true, false) => MapId::NONE,
        };
        self.cut = Some(Arc::new(cut));
        self.journal = None;
        true
    }

    /// The cut is durable and is now `base`.
    pub(super) fn end_cut(&mut self, base: ContentRow) {
        self.base = base;
        self.cut = None;
        self.journal_map = MapId::NONE;
    }

    /// The cut could not be committed: what is in it is as if never cut. Returns how many dirty
    /// pages that nobody was sealing were superseded meanwhile.
    pub(super) fn abandon_cut(&mut self) -> u64 {
        let Some(cut) = self.cut.take() else { return 0 };
        let mut merged = Arc::try_unwrap(cut).unwrap_or_else(|shared| (*shared).clone());
        let head = std::mem::replace(&mut self.head, Layer::over(0, merged.mtime, merged.ctime));
        let mut superseded = if head.limit == UNLIMITED {
            0
        } else {
            merged.drop_from(head.limit)
        };
        merged.limit = merged.limit.min(head.limit);
        for (leaf, delta) in head.deltas {
            for position in 0..LEAF_BLOCKS as u8 {
                if delta.get(position).is_some() {
                    let old = merged.dirty.remove(&leaf.block(position));
                    superseded += u64::from(old.is_some_and(|d| !d.in_flight));
                }
            }
            let under = merged.deltas.entry(leaf).or_default();
            if delta.cleared {
                *under = delta;
            } else {
                for (position, entry) in delta.entries() {
                    under.put(position, entry);
                }
            }
        }
        for (block, dirty) in head.dirty {
            let old = merged.dirty.insert(block, dirty);
            superseded += u64::from(old.is_some_and(|d| !d.in_flight));
        }
        merged.blocks += head.blocks;
        (merged.size, merged.mtime, merged.ctime) = (head.size, head.mtime, head.ctime);
        merged.changed = true;
        for leaf in head.touched {
            merged.touch(leaf.block(0));
        }
        self.head = merged;
        superseded
    }
}

/// What a block is, or what [`Content::seek`] looks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BlockKind {
    /// A block that is data.
    Data,
    /// A block that is a hole.
    Hole,
}
