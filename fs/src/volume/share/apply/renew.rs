//! A file that somebody reads gets its new content as a new inode, so that who has it open keeps what
//! he opened.
//!
//! No two files name one slot, so blocks that stay are copied, as ciphertext: file id and keys are the
//! same, and tags bind no place. It is done ahead, holding no lock; whether the file is still the
//! same is asked when it is locked.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Apply;
use crate::error::{FsError, FsResult};
use crate::layout::{
    BLOCK_SIZE, BlockEntry, BlockIndex, ContentRow, DentryRow, InodeRow, KeyIndex, LEAF_BLOCKS,
    LeafIndex, NodeId, NodeRow, Place, ShareNumber, Standing,
};
use crate::meta::{Key, Table};
use crate::share::{At, Change, Changes, LeafView, Lies, Written};
use crate::vfs::Ino;
use crate::volume::share::put_node;
use crate::volume::share::view::{key_index, unknown};
use crate::volume::{ContentView, Volume};

/// Blocks copied at once.
const COPIED: usize = 256;

/// What the new inode of a file is made of.
pub(super) struct Renewal {
    pub(super) node: NodeId,
    old: Ino,
    new: Ino,
    /// What was copied, as its row says.
    base: ContentRow,
    names: Vec<At>,
    /// Blocks that stay.
    pub(super) kept: Vec<(BlockIndex, BlockEntry)>,
    /// The content that was copied, as it is viewed.
    view: ContentView,
}

impl Volume {
    /// Prepares new inodes for files that somebody reads.
    pub(super) fn renewals(
        self: &Arc<Self>,
        share: ShareNumber,
        changes: &Changes,
    ) -> FsResult<Vec<Renewal>> {
        let mut renewals = Vec::new();
        for change in &changes.list {
            let Change::Write(written) = change else {
                continue;
            };
            let key = Key::share_node(share, written.node);
            let row = self.meta.get(&key, NodeRow::decode)?;
            // What is made by these changes nobody reads yet.
            let Some(row) = row.filter(|row| row.standing == Standing::Here) else {
                continue;
            };
            if self.handles.any_of(row.ino) && !self.handles.any_writer(row.ino) {
                renewals.push(self.renewal(row.ino, written)?);
            }
        }
        Ok(renewals)
    }

    fn renewal(self: &Arc<Self>, old: Ino, written: &Written) -> FsResult<Renewal> {
        let view = self.view_content(old)?;
        let mut renewal = Renewal {
            node: written.node,
            old,
            new: self.counters.new_ino(),
            base: view.base(),
            names: written.names.clone(),
            kept: Vec::new(),
            view,
        };
        let mut copied = Vec::new();
        for leaf in renewal.view.leaves() {
            for (block, entry) in staying(&renewal.view, leaf, written)? {
                match entry.place {
                    Place::Remote(_) => renewal.kept.push((block, entry)),
                    _ => copied.push((block, entry)),
                }
            }
        }
        for part in copied.chunks(COPIED) {
            self.copy_blocks(&mut renewal, part)?;
        }
        Ok(renewal)
    }

    fn copy_blocks(
        &self,
        renewal: &mut Renewal,
        part: &[(BlockIndex, BlockEntry)],
    ) -> FsResult<()> {
        let mut data = vec![0; part.len() * BLOCK_SIZE];
        let (blocks, _) = data.as_chunks_mut::<BLOCK_SIZE>();
        for ((block, _), out) in part.iter().zip(blocks) {
            renewal
                .view
                .read(block.leaf().0, block.within_leaf(), out)?;
        }
        self.reserve(part.len() as u64)?;
        let owners: Vec<_> = part
            .iter()
            .map(|(block, _)| (renewal.new, *block))
            .collect();
        let slots = self.append(&data, &owners);
        let slots = slots.inspect_err(|_| self.segments.release(part.len() as u64))?;
        let kept = part.iter().zip(slots).map(|((block, entry), slot)| {
            let place = Place::Segment(slot);
            (*block, BlockEntry { place, ..*entry })
        });
        renewal.kept.extend(kept);
        Ok(())
    }
}

/// The blocks of a leaf that somebody else's content leaves as they are.
fn staying(
    view: &ContentView,
    leaf: &LeafView,
    written: &Written,
) -> FsResult<Vec<(BlockIndex, BlockEntry)>> {
    let change = written
        .leaves
        .iter()
        .find(|change| change.index == leaf.index);
    let changed = |position: u8| {
        change.is_some_and(|change| {
            let hole = change.holes & (1 << (u64::from(position) % LEAF_BLOCKS)) != 0;
            hole || change.blocks.iter().any(|b| b.position == position)
        })
    };
    let index = LeafIndex(leaf.index);
    let inconsistent = FsError::Inconsistent(view.ino());
    let stays = leaf.blocks.iter().filter(|block| {
        !changed(block.position) && index.block(block.position).offset() < written.size
    });
    let entry = |block: &crate::share::BlockView| {
        let at = index.block(block.position);
        let place = match block.lies {
            Lies::Here => Place::Hole,
            Lies::Remote(..) => view.remote(at).ok_or(inconsistent)?,
        };
        let (sealed, key) = match block.sealed {
            Some((sealed, id)) => {
                let key = key_index(view.keys(), id);
                (sealed, key.ok_or(inconsistent)?)
            }
            None => (unknown(), 0),
        };
        let key = KeyIndex(key);
        Ok((at, BlockEntry { place, sealed, key }))
    };
    stays.map(entry).collect()
}

impl Apply<'_> {
    /// Puts the new inode in the place of the old one, under all its names.
    pub(super) fn renew(&mut self, renewal: &Renewal) -> FsResult<()> {
        let (old, new) = (renewal.old, renewal.new);
        let mut row = self.txn.inode(old)?;
        let entries = self.entries_of(renewal, &row)?;
        let Some(entries) = entries else {
            self.effects.stale.insert(renewal.node);
            return Ok(());
        };
        for ((dir, name), dentry) in entries {
            let moved = DentryRow {
                child: new,
                ..dentry
            };
            self.txn.put_dentry(dir, &name, moved);
            let entry = crate::share::Outdated::Entry(dir, name.into_vec());
            self.effects.outdated.insert(entry);
        }
        self.txn.put_inode(new, &row);
        for table in [Table::Xattr, Table::FileKey] {
            for (key, bytes) in self.txn.range(table, old.0)? {
                self.txn.put(Key { a: new.0, ..key }, bytes);
            }
        }
        let key = Key::share_node(self.share, renewal.node);
        let node = self.txn.get(&key, NodeRow::decode)?;
        let node = node.ok_or(FsError::NotFound)?;
        self.txn.delete(Key::member(old));
        put_node(&mut self.txn, (self.share, renewal.node), new);
        self.txn.put(key, NodeRow { ino: new, ..node }.encode());
        row.nlink = 0;
        row.ctime = self.now;
        self.txn.put_inode(old, &row);
        self.effects.count += 1;
        self.effects.made.insert(new);
        self.effects.removed.insert(old, renewal.node);
        self.effects
            .renewed
            .insert(old, (renewal.node, renewal.base));
        self.effects.kept.insert(new, renewal.kept.clone());
        Ok(())
    }

    /// All names of the file, if those that were told are all that it has.
    fn entries_of(
        &self,
        renewal: &Renewal,
        row: &InodeRow,
    ) -> FsResult<Option<Vec<(DirName, DentryRow)>>> {
        let mut seen = BTreeSet::new();
        let mut found = Vec::new();
        for at in &renewal.names {
            let place = self.place(at)?;
            let (dir, name) = (place.parent, place.name.bytes());
            let dentry = self.txn.dentry(dir, name)?;
            let own = dentry.filter(|dentry| dentry.child == renewal.old);
            let (Some(dentry), true) = (own, seen.insert((dir, &at.name))) else {
                return Ok(None);
            };
            found.push(((dir, name.into()), dentry));
        }
        Ok((found.len() == row.nlink as usize).then_some(found))
    }
}

/// A name in a directory.
type DirName = (Ino, Box<[u8]>);
