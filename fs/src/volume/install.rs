//! Turning the cut of a commit into rows: map leaves, content, live slots.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Volume;
use super::commit::Committer;
use super::content::{Layer, UNLIMITED};
use super::node::Node;
use super::reclaim::Reclaimed;
use crate::error::{FsError, FsResult};
use crate::layout::{
    BlockIndex, ContentRow, LEAF_BLOCKS, Leaf, LeafIndex, MapId, Place, SegmentId, SegmentRow,
};
use crate::meta::{Key, RowMap, Table};
use crate::vfs::Ino;

/// Leaves of deleted maps that one commit frees; the rest waits for the next.
const TRIM_LEAVES: usize = 16_384;
/// Decoded leaves of a commit that are kept for the cache until it is durable (9 MiB).
const KEPT_LEAVES: usize = 2048;

/// Rows of a commit beside those of operations, and what follows when they are durable.
#[derive(Default)]
pub(super) struct Installed {
    pub(super) rows: BTreeMap<Key, Option<Box<[u8]>>>,
    pub(super) files: Vec<InstalledFile>,
    pub(super) segments: BTreeMap<SegmentId, SegmentRow>,
    pub(super) trims: BTreeSet<MapId>,
    /// Change of the number of data blocks of the volume.
    pub(super) blocks: i64,
    pub(super) reclaimed: Reclaimed,
}

impl Installed {
    /// Bytes of the rows.
    pub(super) fn bytes(&self) -> usize {
        self.rows.values().flatten().map(|row| row.len()).sum()
    }
}

pub(super) struct InstalledFile {
    pub(super) node: Arc<Node>,
    pub(super) row: ContentRow,
    /// The leaves that changed, the first of them as they are now.
    pub(super) leaves: Vec<(LeafIndex, Option<Arc<Leaf>>)>,
}

pub(super) struct Install<'a> {
    pub(super) volume: &'a Volume,
    pub(super) committer: &'a Committer,
    pub(super) out: Installed,
    /// Segments with slots that died in this commit.
    pub(super) freed: BTreeSet<SegmentId>,
    kept_leaves: usize,
}

impl<'a> Install<'a> {
    pub(super) fn new(volume: &'a Volume, committer: &'a Committer) -> Self {
        let out = Installed {
            trims: committer.trims.clone(),
            ..Installed::default()
        };
        Self {
            volume,
            committer,
            out,
            freed: BTreeSet::new(),
            kept_leaves: 0,
        }
    }

    /// Writes the rows of touched segments and hands everything over.
    pub(super) fn done(mut self) -> Installed {
        self.out.reclaimed.freed.extend(&self.freed);
        for (id, row) in &self.out.segments {
            let value = (!self.out.reclaimed.deleted.contains(id)).then(|| row.encode());
            self.out.rows.insert(Key::segment(*id), value);
        }
        for id in &self.out.reclaimed.deleted {
            self.out.rows.insert(Key::segment(*id), None);
        }
        self.out
    }

    pub(super) fn segment(&mut self, id: SegmentId) -> &mut SegmentRow {
        let committed = &self.committer.segments;
        self.out
            .segments
            .entry(id)
            .or_insert_with(|| committed.get(&id).cloned().unwrap_or_default())
    }

    fn free(&mut self, place: Place) {
        match place {
            Place::Segment(slot) => {
                self.segment(slot.segment).set_dead(slot.index);
                self.freed.insert(slot.segment);
            }
            Place::Database(id) => {
                self.out.rows.insert(Key::block(id), None);
            }
            Place::Hole | Place::Remote(_) => {}
        }
    }

    fn occupy(&mut self, place: Place) {
        if let Place::Segment(slot) = place {
            self.segment(slot.segment).set_live(slot.index);
        }
    }

    /// Accounts for the change of a leaf. Returns by how many data blocks the file grew.
    fn account(&mut self, old: &Leaf, new: &Leaf) -> i64 {
        let mut grown = 0;
        for position in 0..LEAF_BLOCKS as u8 {
            let (was, is) = (old.get(position).place, new.get(position).place);
            if was != is {
                self.free(was);
                self.occupy(is);
                grown += i64::from(is != Place::Hole) - i64::from(was != Place::Hole);
            }
        }
        grown
    }

    /// Writes the content half of a file.
    pub(super) fn file(&mut self, node: &Arc<Node>) -> FsResult<()> {
        let (base, cut) = {
            let content = node.content.read();
            let Some(cut) = content.cut.clone() else {
                return Ok(());
            };
            (content.base, cut)
        };
        let mut grown = 0;
        let swapped = cut.limit.0 == 0 || base.map == MapId::NONE;
        if swapped && base.map != MapId::NONE {
            self.out.trims.insert(base.map);
            self.out
                .rows
                .insert(Key::trim(base.map), Some(Box::default()));
            // Trimming takes them from the volume's count, leaf by leaf.
            grown -= base.blocks as i64;
        }
        let beneath = if swapped { MapId::NONE } else { base.map };
        let mut leaves = Vec::new();
        for (leaf, delta) in &cut.deltas {
            let leaf = *leaf;
            let old = self
                .volume
                .leaf_cache
                .get(&self.volume.meta, (node.ino, beneath), leaf)?;
            let kept = truncated(&old, leaf, cut.limit);
            let new = delta.over(&kept);
            grown += self.replace_leaf(cut.map, leaf, (&old, &new));
            leaves.push((leaf, self.kept(new)));
        }
        if !swapped && cut.limit != UNLIMITED {
            grown += self.cut_off((node.ino, &base), &cut, &mut leaves)?;
        }
        let row = ContentRow {
            size: cut.size,
            mtime: cut.mtime,
            ctime: cut.ctime,
            map: cut.map,
            blocks: base.blocks.saturating_add_signed(grown),
        };
        self.out
            .rows
            .insert(Key::content(node.ino), Some(row.encode()));
        self.out.files.push(InstalledFile {
            node: Arc::clone(node),
            row,
            leaves,
        });
        Ok(())
    }

    /// Writes a leaf of a file. Returns like [`Install::account`].
    fn replace_leaf(&mut self, map: MapId, leaf: LeafIndex, (old, new): (&Leaf, &Leaf)) -> i64 {
        let grown = self.account(old, new);
        self.out.blocks += grown;
        let row = (!new.is_empty()).then(|| new.encode());
        self.out.rows.insert(Key::leaf(map, leaf), row);
        grown
    }

    /// The leaf for the cache, if not too many are kept already.
    fn kept(&mut self, leaf: Leaf) -> Option<Arc<Leaf>> {
        self.kept_leaves += 1;
        (self.kept_leaves <= KEPT_LEAVES).then(|| Arc::new(leaf))
    }

    /// Writes the leaves that the cut truncates and its own deltas do not touch. Returns like
    /// [`Install::account`].
    fn cut_off(
        &mut self,
        (ino, base): (Ino, &ContentRow),
        cut: &Layer,
        leaves: &mut Vec<(LeafIndex, Option<Arc<Leaf>>)>,
    ) -> FsResult<i64> {
        let mut grown = 0;
        let mut from = base.map.leaf_key(cut.limit.leaf());
        loop {
            let keys = from..=*base.map.leaf_keys().end();
            let found = self.volume.meta.stored(Table::Leaf, keys, 256)?;
            let Some(last) = found.keys().next_back().map(|k| k.a) else {
                return Ok(grown);
            };
            for (key, bytes) in &found {
                let leaf = MapId::leaf_of_key(key.a);
                if !cut.deltas.contains_key(&leaf) {
                    let old = Leaf::decode(bytes).map_err(|_| FsError::Inconsistent(ino))?;
                    let new = truncated(&old, leaf, cut.limit);
                    grown += self.replace_leaf(cut.map, leaf, (&old, &new));
                    leaves.push((leaf, self.kept(new)));
                }
            }
            from = last + 1;
        }
    }

    /// Notes maps that nobody has any more, and frees leaves of them unless somebody waits for the
    /// commit of a file.
    pub(super) fn trim(&mut self, frozen: &RowMap, hurry: Hurry) -> FsResult<()> {
        let asked = frozen.table(Table::Trim).filter(|(_, row)| row.is_some());
        self.out.trims.extend(asked.map(|(key, _)| MapId(key.a)));
        if hurry == Hurry::Yes {
            return Ok(());
        }
        let mut budget = TRIM_LEAVES;
        for map in self.out.trims.clone() {
            if self.trim_map(map, &mut budget)? {
                self.out.trims.remove(&map);
                self.out.rows.insert(Key::trim(map), None);
            }
        }
        Ok(())
    }

    /// Returns whether the map is gone.
    fn trim_map(&mut self, map: MapId, budget: &mut usize) -> FsResult<bool> {
        let mut keys = map.leaf_keys();
        while *budget > 0 {
            let found = self
                .volume
                .meta
                .stored(Table::Leaf, keys.clone(), (*budget).min(256))?;
            let Some(last) = found.keys().next_back().map(|k| k.a) else {
                return Ok(true);
            };
            *budget -= found.len();
            for (key, bytes) in found {
                let old = Leaf::decode(&bytes).map_err(|_| FsError::Inconsistent(Ino(0)))?;
                self.out.blocks += self.account(&old, &Leaf::default());
                self.out.rows.insert(key, None);
            }
            keys = last + 1..=*keys.end();
        }
        Ok(false)
    }
}

/// Whether a program waits for a commit that it did not make large.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hurry {
    Yes,
    No,
}

/// The leaf without its entries from `limit` on.
fn truncated(leaf: &Leaf, index: LeafIndex, limit: BlockIndex) -> Leaf {
    if index.block(LEAF_BLOCKS as u8 - 1) < limit {
        return leaf.clone();
    }
    let mut kept = Leaf::default();
    for (position, entry) in leaf.used().filter(|(p, _)| index.block(*p) < limit) {
        kept.set(position, *entry);
    }
    kept
}
