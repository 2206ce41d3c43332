//! The content half of a regular file in memory: what is committed, what a running commit is
//! writing, and what has changed since.
//!
//! A [`Layer`] holds changes over what lies beneath it. The *head* takes every change. A commit
//! *cuts*: the head becomes the *cut* layer, whose dirty blocks are sealed and whose deltas are
//! written, while a new head takes what comes after. When the commit is durable the cut layer
//! is dropped and the *base* stands for it; when it fails, the cut is merged back under the
//! head. So the cut is the file as at one moment, whatever happens meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::error::FsResult;
use crate::layout::{
    BLOCK_SIZE, BlockEntry, BlockIndex, ContentRow, LEAF_BLOCKS, Leaf, LeafIndex, MapId, Place,
};
use crate::vfs::Timestamp;

/// Plaintext of a block, 4096 bytes. Shared with whoever is sealing it.
pub(super) type Page = Arc<[u8]>;

/// A block written and not yet sealed.
#[derive(Clone)]
pub(super) struct Dirty {
    pub(super) page: Page,
    /// Somebody is sealing this very page.
    pub(super) in_flight: bool,
}

/// Changes to the entries of one leaf.
#[derive(Default, Clone)]
pub(super) struct LeafDelta {
    /// What lies beneath is all holes.
    pub(super) cleared: bool,
    /// Entries by position, in order.
    set: Vec<(u8, BlockEntry)>,
}

impl LeafDelta {
    fn get(&self, position: u8) -> Option<BlockEntry> {
        match self.set.binary_search_by_key(&position, |(p, _)| *p) {
            Ok(at) => Some(self.set[at].1),
            Err(_) => self.cleared.then_some(BlockEntry::HOLE),
        }
    }

    pub(super) fn put(&mut self, position: u8, entry: BlockEntry) {
        match self.set.binary_search_by_key(&position, |(p, _)| *p) {
            Ok(at) => self.set[at].1 = entry,
            Err(at) => self.set.insert(at, (position, entry)),
        }
    }

    fn truncate(&mut self, position: u8) {
        self.set.retain(|(p, _)| *p < position);
    }

    /// Entries of its own that name a place.
    pub(super) fn places(&self) -> impl Iterator<Item = Place> {
        self.set
            .iter()
            .map(|(_, e)| e.place)
            .filter(|p| *p != Place::Hole)
    }

    /// The leaf that results from this delta over `beneath`.
    pub(super) fn over(&self, beneath: &Leaf) -> Leaf {
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
pub(super) struct Layer {
    pub(super) size: u64,
    pub(super) mtime: Timestamp,
    pub(super) ctime: Timestamp,
    /// Anything in this layer differs from what lies beneath.
    pub(super) changed: bool,
    /// Blocks from here on are holes beneath this layer; [`UNLIMITED`] when it was not truncated.
    pub(super) limit: BlockIndex,
    pub(super) dirty: BTreeMap<BlockIndex, Dirty>,
    pub(super) deltas: BTreeMap<LeafIndex, LeafDelta>,
    /// The map that a commit of this layer writes; decided when it is cut.
    pub(super) map: MapId,
    /// Change of the number of data blocks against what lies beneath.
    blocks: i64,
}

/// The limit of a layer that was not truncated.
pub(super) const UNLIMITED: BlockIndex = BlockIndex(u64::MAX);

impl Layer {
    fn over(size: u64, mtime: Timestamp, ctime: Timestamp) -> Self {
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
    fn source(&self, block: BlockIndex) -> Option<Source> {
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
    pub(super) fn set_entry(&mut self, block: BlockIndex, entry: BlockEntry) {
        self.deltas
            .entry(block.leaf())
            .or_default()
            .put(block.within_leaf(), entry);
        self.changed = true;
    }

    /// Drops what the layer says of blocks from `limit` on. Returns how many of its dirty pages
    /// nobody was sealing.
    fn drop_from(&mut self, limit: BlockIndex) -> u64 {
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

    fn next_leaf(&self, from: LeafIndex) -> Option<LeafIndex> {
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
pub(super) enum Source {
    /// Nowhere; it reads as zeros.
    Hole,
    /// In memory.
    Page(Page),
    /// Sealed.
    Sealed(BlockEntry),
}

impl Source {
    fn of(entry: BlockEntry) -> Self {
        if entry.place == Place::Hole {
            Self::Hole
        } else {
            Self::Sealed(entry)
        }
    }

    pub(super) fn is_hole(&self) -> bool {
        matches!(self, Self::Hole)
    }
}

/// Where committed leaves come from.
pub(super) trait Leaves {
    /// The leaf as the last commit left it.
    fn leaf(&self, base: &ContentRow, leaf: LeafIndex) -> FsResult<Arc<Leaf>>;
    /// The first leaf at or after `from` that has an entry, as the last commit left them.
    fn next_leaf(&self, base: &ContentRow, from: LeafIndex) -> FsResult<Option<LeafIndex>>;
}

/// What the journal holds of a file since its last commit.
struct Journaled {
    row: ContentRow,
    entries: BTreeMap<BlockIndex, BlockEntry>,
    /// Dirty blocks that changed since.
    fresh: BTreeSet<BlockIndex>,
}

/// A file's changes on their way into the journal.
pub(super) struct Captured {
    pub(super) row: ContentRow,
    pub(super) pages: Vec<(BlockIndex, Page)>,
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

    /// Where the bytes of a block are now.
    pub(super) fn source(&self, block: BlockIndex, leaves: &impl Leaves) -> FsResult<Source> {
        if let Some(source) = self.head.source(block) {
            return Ok(source);
        }
        if let Some(source) = self.cut.as_ref().and_then(|c| c.source(block)) {
            return Ok(source);
        }
        if block.offset() >= self.base.size {
            return Ok(Source::Hole);
        }
        let leaf = leaves.leaf(&self.base, block.leaf())?;
        Ok(Source::of(leaf.get(block.within_leaf())))
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

    /// Whether a block is data, in memory or sealed.
    pub(super) fn is_data(&self, block: BlockIndex, leaves: &impl Leaves) -> FsResult<bool> {
        Ok(self.head.dirty.contains_key(&block) || !self.source(block, leaves)?.is_hole())
    }

    /// Puts a page over what [`Content::is_data`] said of the block. Returns by how many the
    /// dirty pages of the volume became more: none when the page took the place of one that
    /// nobody is sealing.
    pub(super) fn put_page(&mut self, block: BlockIndex, page: Page, was: BlockKind) -> u64 {
        if was == BlockKind::Hole {
            self.head.blocks += 1;
        }
        self.head.changed = true;
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

    fn note_fresh(&mut self, block: BlockIndex) {
        if let Some(journal) = &mut self.journal {
            journal.fresh.insert(block);
        }
    }

    /// What has changed since the journal last had the file, if that is little and nothing but
    /// written blocks.
    pub(super) fn capture(
        &mut self,
        most: usize,
        new_map: impl FnOnce() -> MapId,
    ) -> Option<Captured> {
        let head = &self.head;
        if self.cut.is_some() || head.limit != UNLIMITED || !head.deltas.is_empty() {
            return None;
        }
        let blocks: Vec<BlockIndex> = match &self.journal {
            Some(j) => j.fresh.iter().copied().collect(),
            None if head.dirty.len() > most => return None,
            None => head.dirty.keys().copied().collect(),
        };
        if blocks.len() > most {
            return None;
        }
        if self.base.map == MapId::NONE && self.journal_map == MapId::NONE && !blocks.is_empty() {
            self.journal_map = new_map();
        }
        let pages = blocks
            .iter()
            .filter_map(|b| head.dirty.get(b).map(|d| (*b, Arc::clone(&d.page))))
            .collect();
        let map = if self.base.map == MapId::NONE {
            self.journal_map
        } else {
            self.base.map
        };
        let row = ContentRow {
            size: head.size,
            mtime: head.mtime,
            ctime: head.ctime,
            map,
            blocks: self.blocks(),
        };
        Some(Captured { row, pages })
    }

    /// Whether the journal has all of it.
    pub(super) fn is_journaled(&self, captured: &Captured) -> bool {
        captured.pages.is_empty() && self.journal.as_ref().is_some_and(|j| j.row == captured.row)
    }

    /// Entries of a leaf that the journal holds.
    pub(super) fn journaled(&self, leaf: LeafIndex) -> Vec<(BlockIndex, BlockEntry)> {
        let range = leaf.block(0)..=leaf.block(LEAF_BLOCKS as u8 - 1);
        let entries = self.journal.as_ref().map(|j| j.entries.range(range));
        entries
            .into_iter()
            .flatten()
            .map(|(b, e)| (*b, *e))
            .collect()
    }

    /// The journal has the captured pages, under these entries.
    pub(super) fn note_journaled(
        &mut self,
        captured: &Captured,
        entries: impl IntoIterator<Item = (BlockIndex, BlockEntry)>,
    ) {
        let dirty = &self.head.dirty;
        let journal = self.journal.get_or_insert_with(|| Journaled {
            row: captured.row,
            entries: BTreeMap::new(),
            fresh: dirty.keys().copied().collect(),
        });
        journal.row = captured.row;
        journal.entries.extend(entries);
        for (block, page) in &captured.pages {
            if dirty.get(block).is_some_and(|d| Arc::ptr_eq(&d.page, page)) {
                journal.fresh.remove(block);
            }
        }
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
                self.head.deltas.insert(
                    leaf,
                    LeafDelta {
                        cleared: true,
                        set: Vec::new(),
                    },
                );
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
                for (position, entry) in delta.set {
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
