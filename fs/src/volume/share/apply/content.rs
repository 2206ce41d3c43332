//! Contents: planned while nothing can be undone, made when nothing can fail.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::RwLockWriteGuard;

use super::{Apply, Moved, Planned};
use crate::error::{FsError, FsResult};
use crate::layout::{
    BlobRow, BlockEntry, BlockIndex, FileKeyRow, KeyIndex, LEAF_BLOCKS, LeafIndex, MapId, NodeId,
    Place, RemoteBlock,
};
use crate::meta::Key;
use crate::share::{BlockChange, LeafChange, Outdated, Written};
use crate::vfs::{FILE_MAX, Ino};
use crate::volume::content::{Content, Source};
use crate::volume::node::Node;
use crate::volume::ops::clear_privileges;
use crate::volume::share::view::{key_index, unknown};

type Locked<'a, 'n> = [(&'n Arc<Node>, RwLockWriteGuard<'a, Content>)];

impl Apply<'_> {
    pub(super) fn write(&mut self, written: &Written) -> FsResult<()> {
        let ino = self.ino(written.node)?;
        if written.size > FILE_MAX || written.mtime.nanos > 999_999_999 {
            return Err(FsError::InvalidArgument);
        }
        if self
            .effects
            .contents
            .get(&ino)
            .is_some_and(|c| c.data.is_some())
        {
            // Twice in one transaction: the second is not planned over the first.
            return Err(FsError::InvalidArgument);
        }
        let keys = self.keys(ino)?;
        let mut entries = self.effects.kept.remove(&ino).unwrap_or_default();
        for leaf in &written.leaves {
            self.leaf(leaf, &keys, &mut entries)?;
        }
        entries.sort_unstable_by_key(|(block, _)| *block);
        let twice = entries.windows(2).any(|pair| pair[0].0 == pair[1].0);
        let beyond = |(block, entry): &(BlockIndex, BlockEntry)| {
            entry.place != Place::Hole && block.offset() >= written.size
        };
        if twice || entries.iter().any(beyond) {
            return Err(FsError::InvalidArgument);
        }
        entries.retain(|(block, _)| block.offset() < written.size);
        let mut row = self.txn.inode(ino)?;
        clear_privileges(&mut self.txn, (ino, &mut row))?;
        self.txn.put_inode(ino, &row);
        let content = self.effects.contents.entry(ino).or_default();
        content.node = Some(written.node);
        content.mtime = Some(written.mtime);
        content.data = Some((written.size, entries));
        self.effects.outdated.insert(Outdated::Inode(ino));
        Ok(())
    }

    pub(super) fn move_blocks(&mut self, node: NodeId, leaves: &[LeafChange]) -> FsResult<()> {
        let ino = self.ino(node)?;
        if self.txn.inode(ino)?.file().is_none() {
            return Err(FsError::WrongKind(ino));
        }
        let mut entries = Vec::new();
        for leaf in leaves {
            self.leaf(leaf, &[], &mut entries)?;
        }
        self.effects.moved.entry(ino).or_default().extend(entries);
        Ok(())
    }

    fn leaf(
        &self,
        leaf: &LeafChange,
        keys: &[keyfold_crypto::FileKey],
        entries: &mut Vec<(BlockIndex, BlockEntry)>,
    ) -> FsResult<()> {
        if u64::from(leaf.index) > MapId::LAST_LEAF {
            return Err(FsError::InvalidArgument);
        }
        let index = LeafIndex(leaf.index);
        for position in (0..LEAF_BLOCKS as u8).filter(|p| leaf.holes & (1 << p) != 0) {
            entries.push((index.block(position), BlockEntry::HOLE));
        }
        for block in &leaf.blocks {
            if u64::from(block.position) >= LEAF_BLOCKS {
                return Err(FsError::InvalidArgument);
            }
            entries.push((index.block(block.position), self.remote(block, keys)?));
        }
        Ok(())
    }

    fn remote(
        &self,
        block: &BlockChange,
        keys: &[keyfold_crypto::FileKey],
    ) -> FsResult<BlockEntry> {
        let row = self
            .txn
            .get(&Key::blob(self.share, block.blob), BlobRow::decode)?;
        let blob = row.ok_or(FsError::NotFound)?.number;
        if block.slot >= RemoteBlock::SLOTS {
            return Err(FsError::InvalidArgument);
        }
        let place = Place::Remote(RemoteBlock {
            blob,
            slot: block.slot,
        });
        let (sealed, key) = match block.sealed {
            Some((sealed, id)) => (sealed, key_index(keys, id).ok_or(FsError::InvalidArgument)?),
            None => (unknown(), 0),
        };
        Ok(BlockEntry {
            place,
            sealed,
            key: KeyIndex(key),
        })
    }

    /// The nodes of all files that change beside their rows: nobody changes them once they are
    /// locked.
    pub(super) fn nodes(&self) -> FsResult<Vec<Arc<Node>>> {
        let effects = &self.effects;
        let contents = effects.contents.keys().chain(effects.moved.keys());
        let mut inos: Vec<Ino> = contents.copied().collect();
        for ino in effects.keys.keys().chain(effects.removed.keys()) {
            if self.txn.inode(*ino)?.file().is_some() {
                inos.push(*ino);
            }
        }
        inos.sort_unstable();
        inos.dedup();
        let mut nodes = Vec::with_capacity(inos.len());
        for ino in inos {
            let node = if effects.made.contains(&ino) {
                self.made_node(ino)
            } else {
                self.volume.node(ino)
            };
            match node {
                Ok(node) => nodes.push(node),
                Err(e) => {
                    super::put_back(self.volume, nodes);
                    return Err(e);
                }
            }
        }
        Ok(nodes)
    }

    /// A file that nobody can find before the rows are applied.
    fn made_node(&self, ino: Ino) -> FsResult<Arc<Node>> {
        let row = self.txn.inode(ino)?;
        let file = row.file().ok_or(FsError::WrongKind(ino))?;
        let last = Key::file_key(ino, file.keys - 1);
        let key = self.txn.get(&last, FileKeyRow::decode)?;
        let key = key.ok_or(FsError::Inconsistent(ino))?;
        let base = crate::volume::empty_content(&row);
        let node = Node::new(ino, (file, key), base);
        node.privileged
            .store(row.is_privileged(), Ordering::Relaxed);
        self.volume.nodes.get_or_load(ino, || Ok(node))
    }

    /// Files that are not replaced or removed now. Asked under their content locks.
    pub(super) fn busy(&self, locked: &Locked<'_, '_>) -> Vec<NodeId> {
        let renewed = locked.iter().filter_map(|(node, content)| {
            let (id, base) = self.effects.renewed.get(&node.ino)?;
            let same = content.is_clean() && content.base == *base;
            (!same).then_some(*id)
        });
        let replaced = self.effects.contents.iter();
        let replaced = replaced.filter_map(|(ino, content)| Some((*ino, content.node?)));
        let removed = self.effects.removed.iter().map(|(ino, node)| (*ino, *node));
        let marks = self.volume.shares.marks.lock();
        let unsent = |ino: Ino| marks.content.contains_key(&ino);
        let busy = replaced
            .filter(|(ino, _)| unsent(*ino) || self.volume.handles.any_of(*ino))
            .chain(removed.filter(|(ino, _)| unsent(*ino) || self.volume.handles.any_writer(*ino)));
        let mut busy: Vec<NodeId> = busy.map(|(_, node)| node).chain(renewed).collect();
        busy.extend(&self.effects.stale);
        busy.sort_unstable();
        busy.dedup();
        busy
    }

    /// All that can fail, over contents that nobody changes meanwhile.
    pub(super) fn plan(&self, locked: &Locked<'_, '_>) -> FsResult<(Vec<Planned>, Vec<Moved>)> {
        let (mut planned, mut moved) = (Vec::new(), Vec::new());
        for (at, (node, content)) in locked.iter().enumerate() {
            if let Some(entries) = self.effects.moved.get(&node.ino) {
                moved.push((at, self.plan_moved((node, content), entries)?));
            }
            let Some(new) = self.effects.contents.get(&node.ino) else {
                continue;
            };
            let replacing = match &new.data {
                Some((size, entries)) => {
                    let leaves = self.volume.leaves(node.ino);
                    Some(content.plan_replacing(*size, entries, &leaves)?)
                }
                None => None,
            };
            planned.push((at, replacing));
        }
        Ok((planned, moved))
    }

    /// Those blocks that lie in blobs, where they are to lie.
    fn plan_moved(
        &self,
        (node, content): (&Node, &Content),
        entries: &[(BlockIndex, BlockEntry)],
    ) -> FsResult<Vec<(BlockIndex, BlockEntry)>> {
        let leaves = self.volume.leaves(node.ino);
        let mut moved = Vec::new();
        for (block, new) in entries {
            let Source::Sealed(old) = content.source(*block, &leaves)? else {
                continue;
            };
            if let (Place::Remote(_), place @ Place::Remote(_)) = (old.place, new.place) {
                moved.push((*block, BlockEntry { place, ..old }));
            }
        }
        Ok(moved)
    }

    /// Makes what was planned of blocks that lie elsewhere.
    pub(super) fn install_moved(&self, locked: &mut Locked<'_, '_>, moved: Vec<Moved>) {
        let volume = self.volume;
        for (at, entries) in moved.into_iter().filter(|(_, moved)| !moved.is_empty()) {
            let (node, content) = &mut locked[at];
            volume.write_behind.counting_leaves(content, |content| {
                for (block, entry) in &entries {
                    content.head.set_entry(*block, *entry);
                }
            });
            volume.write_behind.note_changed(node);
            volume.renamed.lock().insert(node.ino);
        }
    }

    /// Makes what was planned. Returns how many dirty pages that nobody was sealing are gone.
    pub(super) fn install(&mut self, locked: &mut Locked<'_, '_>, planned: Vec<Planned>) -> u64 {
        let volume = self.volume;
        let mut gone = 0;
        for (at, replacing) in planned {
            let (node, content) = &mut locked[at];
            let Some(new) = self.effects.contents.remove(&node.ino) else {
                continue;
            };
            if let Some(replacing) = replacing {
                volume.note_replaced(node.ino);
                gone += volume
                    .write_behind
                    .counting_leaves(content, |content| content.replace(replacing));
            }
            let head = &mut content.head;
            head.changed = true;
            head.ctime = self.now;
            head.mtime = new.mtime.unwrap_or(head.mtime);
            head.size = new.data.map_or(head.size, |(size, _)| size);
            volume.write_behind.note_changed(node);
            volume.renamed.lock().insert(node.ino);
        }
        for (node, _) in locked.iter() {
            if let Some((index, key)) = self.effects.keys.remove(&node.ino) {
                node.set_current_key(index, key);
            }
        }
        gone
    }
}
