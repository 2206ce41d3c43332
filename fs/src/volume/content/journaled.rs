//! What of a file the journal holds, and what it is still to be given.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Content, Page, UNLIMITED};
use crate::layout::{BlockEntry, BlockIndex, ContentRow, LEAF_BLOCKS, LeafIndex, MapId};

/// What the journal holds of a file since its last commit.
pub(super) struct Journaled {
    row: ContentRow,
    entries: BTreeMap<BlockIndex, BlockEntry>,
    /// Dirty blocks that changed since.
    fresh: BTreeSet<BlockIndex>,
}

/// A file's changes on their way into the journal.
pub(in crate::volume) struct Captured {
    pub(in crate::volume) row: ContentRow,
    pub(in crate::volume) pages: Vec<(BlockIndex, Page)>,
}

impl Content {
    pub(super) fn note_fresh(&mut self, block: BlockIndex) {
        if let Some(journal) = &mut self.journal {
            journal.fresh.insert(block);
        }
    }

    /// What has changed since the journal last had the file, if that is little and nothing but
    /// written blocks.
    pub(in crate::volume) fn capture(
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
    pub(in crate::volume) fn is_journaled(&self, captured: &Captured) -> bool {
        captured.pages.is_empty() && self.journal.as_ref().is_some_and(|j| j.row == captured.row)
    }

    /// Entries of a leaf that the journal holds.
    pub(in crate::volume) fn journaled(&self, leaf: LeafIndex) -> Vec<(BlockIndex, BlockEntry)> {
        let range = leaf.block(0)..=leaf.block(LEAF_BLOCKS as u8 - 1);
        let entries = self.journal.as_ref().map(|j| j.entries.range(range));
        entries
            .into_iter()
            .flatten()
            .map(|(b, e)| (*b, *e))
            .collect()
    }

    /// The journal has the captured pages, under these entries.
    pub(in crate::volume) fn note_journaled(
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
}
