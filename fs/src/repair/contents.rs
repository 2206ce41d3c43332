//! Contents: what follows from block maps, computed anew.

use std::collections::{BTreeMap, BTreeSet};

use super::mend::Mend;
use crate::check::{FindingKind as Kind, Subject};
use crate::error::FsResult;
use crate::layout::{
    BlockIndex, BlockRow, ContentRow, Leaf, MapId, Place, RunOwner, SEGMENT_SLOTS, SegmentId,
    SegmentRow, Slot, StateRow, decode_u64,
};
use crate::meta::{Key, Table};
use crate::vfs::Ino;

/// What is known of contents.
#[derive(Default)]
struct Contents {
    rows: BTreeMap<Ino, ContentRow>,
    owners: BTreeMap<MapId, Ino>,
    trims: BTreeSet<MapId>,
    /// A row could not be read: what nothing seems to name may be named there.
    incomplete: bool,
    /// Blocks of each map.
    blocks: BTreeMap<MapId, u64>,
    /// Blocks in the database that are named.
    stored: BTreeSet<u64>,
    /// Slots that are named.
    named: BTreeMap<SegmentId, SegmentRow>,
    /// Maps of nobody.
    stray: BTreeSet<MapId>,
}

impl Mend<'_> {
    /// Mends what is recorded of contents.
    pub(super) fn contents(&mut self) -> FsResult<()> {
        let mut contents = Contents {
            incomplete: !self.unreadable.is_empty(),
            ..Contents::default()
        };
        self.read_contents(&mut contents)?;
        self.read_leaves(&mut contents)?;
        self.mend_counts(&mut contents);
        self.mend_stored(&contents)?;
        self.mend_segments(&contents)?;
        self.mend_freed(&contents)?;
        let blocks = contents.blocks.values().sum();
        self.count("blocks", blocks, |s| &mut s.blocks);
        Ok(())
    }

    fn read_contents(&mut self, contents: &mut Contents) -> FsResult<()> {
        let mut stray = Vec::new();
        let mut highest = 0;
        self.scanner.each(Table::Content, &mut |row| {
            let ino = Ino(row.key.a);
            let Ok(content) = ContentRow::decode(row.value) else {
                contents.incomplete = true;
                return;
            };
            highest = highest.max(content.map.0);
            if self.files.contains(&ino.0) || self.unreadable.contains(&ino.0) {
                if content.map != MapId::NONE {
                    contents.owners.insert(content.map, ino);
                }
                contents.rows.insert(ino, content);
            } else {
                stray.push(ino);
            }
        })?;
        self.scanner.each(Table::Trim, &mut |row| {
            highest = highest.max(row.key.a);
            contents.trims.insert(MapId(row.key.a));
        })?;
        for ino in stray {
            // Its blocks could not be read without the inode, and are freed with its map.
            self.delete(Key::content(ino));
            let what = format!("content of inode {ino}, which is no file, is removed");
            self.note(Kind::StrayContent, Subject::Inode(ino), what);
        }
        let mut keys = Vec::new();
        self.scanner.each(Table::FileKey, &mut |row| {
            let known = self.files.contains(&row.key.a) || self.unreadable.contains(&row.key.a);
            if !known {
                keys.push(row.key.clone());
            }
        })?;
        for key in keys {
            let ino = Ino(key.a);
            self.delete(key);
            let what = format!("a key of inode {ino}, which is no file, is removed");
            self.note(Kind::StrayContent, Subject::Inode(ino), what);
        }
        self.raise("block map", highest + 1, |s| &mut s.next_map);
        Ok(())
    }

    fn read_leaves(&mut self, contents: &mut Contents) -> FsResult<()> {
        let mut highest = 0;
        self.scanner.each(Table::Leaf, &mut |row| {
            let map = MapId::of_key(row.key.a);
            highest = highest.max(map.0);
            let Ok(leaf) = Leaf::decode(row.value) else {
                contents.incomplete = true;
                return;
            };
            if !contents.owners.contains_key(&map) && !contents.trims.contains(&map) {
                contents.stray.insert(map);
            }
            *contents.blocks.entry(map).or_insert(0) += leaf.used().count() as u64;
            for (_, entry) in leaf.used() {
                match entry.place {
                    Place::Segment(slot) => {
                        let named = contents.named.entry(slot.segment).or_default();
                        named.set_live(slot.index);
                    }
                    Place::Database(id) => drop(contents.stored.insert(id)),
                    Place::Hole | Place::Remote(_) => {}
                }
            }
        })?;
        self.raise("block map", highest + 1, |s| &mut s.next_map);
        if contents.incomplete {
            return Ok(());
        }
        for map in &contents.stray {
            self.put(Key::trim(*map), Box::default());
            let what = format!("block map {} belongs to no file, and is to be freed", map.0);
            self.note(Kind::StrayLeaf, Subject::Volume, what);
        }
        Ok(())
    }

    fn mend_counts(&mut self, contents: &mut Contents) {
        for (ino, row) in &contents.rows {
            let found = contents.blocks.get(&row.map).copied().unwrap_or(0);
            if row.blocks != found && !contents.incomplete {
                let mended = ContentRow {
                    blocks: found,
                    ..*row
                };
                self.put(Key::content(*ino), mended.encode());
                let what = format!("it has {found} blocks");
                self.note(Kind::BlockCount, Subject::Inode(*ino), what);
            }
        }
    }

    fn mend_stored(&mut self, contents: &Contents) -> FsResult<()> {
        let mut stray = Vec::new();
        let mut highest = 0;
        self.scanner.each(Table::Block, &mut |row| {
            highest = highest.max(row.key.a);
            if !contents.stored.contains(&row.key.a) {
                let owner = BlockRow::decode(row.value).map_or(Ino(0), |b| b.ino);
                stray.push((row.key.a, owner));
            }
        })?;
        self.raise("block in the database", highest + 1, |s| &mut s.next_block);
        if contents.incomplete {
            return Ok(());
        }
        for (id, owner) in stray {
            self.delete(Key::block(id));
            let what = format!("block {id} in the database, which nothing names, is removed");
            self.note(Kind::StrayBlock, Subject::Inode(owner), what);
        }
        Ok(())
    }

    /// Makes live slots those that maps name, and owners those whose maps they are.
    fn mend_segments(&mut self, contents: &Contents) -> FsResult<()> {
        let mut rows = BTreeMap::new();
        self.scanner.each(Table::Segment, &mut |row| {
            let decoded = SegmentRow::decode(row.value).unwrap_or_default();
            rows.insert(SegmentId(row.key.a as u32), decoded);
        })?;
        let ids: BTreeSet<SegmentId> = rows.keys().chain(contents.named.keys()).copied().collect();
        let none = SegmentRow::default();
        for id in &ids {
            let named = contents.named.get(id).unwrap_or(&none);
            let row = rows.get(id).unwrap_or(&none);
            let lost = named.live_beyond(row);
            let leaked = row.live_beyond(named);
            // What an unreadable leaf may name stays live.
            let leaks = leaked > 0 && !contents.incomplete;
            if lost > 0 || leaks || named.committed > row.committed || !rows.contains_key(id) {
                let mut mended = named.clone();
                mended.committed = mended.committed.max(row.committed);
                if contents.incomplete {
                    mended.add(row);
                }
                self.put(Key::segment(*id), mended.encode());
                let what = format!("segment {} has {} live slots", id.0, mended.live());
                self.note(Kind::LiveSlots, Subject::Segment(u64::from(id.0)), what);
            }
        }
        let highest = ids.last().map_or(0, |id| u64::from(id.0) + 1);
        self.raise("segment", highest, |s| &mut s.next_segment);
        self.mend_owners(contents)
    }

    fn mend_owners(&mut self, contents: &Contents) -> FsResult<()> {
        let wrong = std::mem::take(&mut self.owners);
        if wrong.is_empty() {
            return Ok(());
        }
        let mut slots: BTreeMap<SegmentId, BTreeMap<u32, (Ino, BlockIndex)>> = BTreeMap::new();
        self.each_owned(contents, &mut |slot, owner| {
            if wrong.contains(&slot.segment) {
                let of = slots.entry(slot.segment).or_default();
                of.insert(slot.index, owner);
            }
        })?;
        let mut old = Vec::new();
        self.scanner.each(Table::RunOwner, &mut |row| {
            if wrong.contains(&SegmentId(row.key.a as u32)) {
                old.push(row.key.clone());
            }
        })?;
        for key in old {
            self.delete(key);
        }
        for (id, slots) in &slots {
            for (first, runs) in stretches(slots) {
                self.put(Key::run_owner(*id, first), RunOwner::encode_all(&runs));
            }
        }
        for id in wrong {
            let what = format!("segment {} knows whose blocks it holds again", id.0);
            self.note(Kind::RunOwner, Subject::Segment(u64::from(id.0)), what);
        }
        Ok(())
    }

    /// Calls `f` with each slot that a file's map names.
    fn each_owned(
        &self,
        contents: &Contents,
        f: &mut dyn FnMut(Slot, (Ino, BlockIndex)),
    ) -> FsResult<()> {
        self.scanner.each(Table::Leaf, &mut |row| {
            let map = MapId::of_key(row.key.a);
            let index = MapId::leaf_of_key(row.key.a);
            let (Some(ino), Ok(leaf)) = (contents.owners.get(&map), Leaf::decode(row.value)) else {
                return;
            };
            for (position, entry) in leaf.used() {
                if let Place::Segment(slot) = entry.place {
                    f(slot, (*ino, index.block(position)));
                }
            }
        })
    }

    fn mend_freed(&mut self, contents: &Contents) -> FsResult<()> {
        let mut wrong = Vec::new();
        self.scanner.each(Table::Freed, &mut |row| {
            let first = row.key.number();
            let count = decode_u64(row.value).unwrap_or(u64::MAX);
            let end = first.saturating_add(count);
            let named = contents.named.get(&SegmentId(row.key.a as u32));
            let live = |slot: u64| named.is_some_and(|n| n.is_live(slot as u32));
            if end > u64::from(SEGMENT_SLOTS) || (first..end).any(live) {
                wrong.push(row.key.clone());
            }
        })?;
        for key in wrong {
            let segment = key.a;
            self.delete(key);
            let what = format!("slots of segment {segment} that hold blocks are not punched");
            self.note(Kind::Freed, Subject::Segment(segment), what);
        }
        Ok(())
    }

    /// Makes a total exact.
    pub(super) fn count(&mut self, what: &str, found: u64, of: impl Fn(&mut StateRow) -> &mut u64) {
        let total = of(&mut self.state);
        if *total != found {
            *total = found;
            let what = format!("the volume has {found} {what}");
            self.note(Kind::Counter, Subject::Volume, what);
        }
    }

    /// Keeps a number that is in use from being given out again.
    pub(super) fn raise(&mut self, what: &str, least: u64, of: impl Fn(&mut StateRow) -> &mut u64) {
        let next = of(&mut self.state);
        if *next < least {
            *next = least;
            let what = format!("the next {what} is number {least}");
            self.note(Kind::Counter, Subject::Volume, what);
        }
    }
}

/// Neighbouring slots as rows have them: the first slot, and runs of blocks that follow.
fn stretches(slots: &BTreeMap<u32, (Ino, BlockIndex)>) -> Vec<(u32, Vec<RunOwner>)> {
    let mut out: Vec<(u32, Vec<RunOwner>)> = Vec::new();
    let mut next = None;
    for (slot, (ino, block)) in slots {
        if next != Some(*slot) {
            out.push((*slot, Vec::new()));
        }
        next = Some(slot + 1);
        let Some((_, runs)) = out.last_mut() else {
            continue;
        };
        match runs.last_mut() {
            Some(run) if run.ino == *ino && run.first.0 + u64::from(run.count) == block.0 => {
                run.count += 1;
            }
            _ => runs.push(RunOwner {
                ino: *ino,
                first: *block,
                count: 1,
            }),
        }
    }
    out
}
