//! Giving up blocks of which a blob has the same ciphertext, and bringing all of a file here.
//!
//! The reverse of fetching: the blob takes the slot's place in the map, as the place of a block that is
//! moved does. Nothing is marked, and a block that is not what the blob has stays.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::apply::put_blob;
use super::live_share;
use crate::error::FsResult;
use crate::layout::{
    BlobId, BlockEntry, BlockIndex, LeafIndex, NodeRow, Place, RemoteBlock, ShareNumber, Standing,
};
use crate::meta::{Key, Txn};
use crate::share::{Presence, Spare};
use crate::vfs::Ino;
use crate::volume::Volume;
use crate::volume::content::Source;
use crate::volume::node::Node;
use crate::volume::ops::Located;

/// Blocks that are asked for at once (4 MiB).
const AT_ONCE: usize = 1024;

impl Volume {
    /// Gives up blocks that lie in blobs, too. Returns how many; none of a file that is open for
    /// writing, or has content that was not sent. Their room comes back with the next commits.
    ///
    /// # Errors
    /// [`FsError::NotFound`](crate::error::FsError::NotFound) when there is no such share, and those of a
    /// change.
    pub fn free_blocks(&self, share: ShareNumber, spare: &Spare) -> FsResult<u64> {
        self.check_may_grow()?;
        self.wait_for_rows()?;
        let _gate = self.gate.read();
        let _namespace = self.namespace.lock();
        let mut txn = self.meta.txn();
        live_share(&txn, share)?;
        let row = txn.get(&Key::share_node(share, spare.node), NodeRow::decode)?;
        let Some(row) = row.filter(|row| row.standing == Standing::Here) else {
            return Ok(0);
        };
        let mut numbers: BTreeMap<BlobId, u64> = BTreeMap::new();
        for blob in &spare.blobs {
            let number = put_blob(&mut txn, share, blob, &self.counters)?;
            numbers.insert(blob.id, number);
        }
        let node = self.node(row.ino)?;
        let given_up = self.free_of_node(&node, (spare, &numbers), txn);
        self.nodes.put_back(node);
        given_up
    }

    fn free_of_node(
        &self,
        node: &Arc<Node>,
        (spare, numbers): (&Spare, &BTreeMap<BlobId, u64>),
        txn: Txn<'_>,
    ) -> FsResult<u64> {
        let leaves = self.leaves(node.ino);
        let mut content = node.content.write();
        let unsent = self.shares.marks.lock().content.contains_key(&node.ino);
        if unsent || self.handles.any_writer(node.ino) {
            return Ok(0);
        }
        let mut given_up = Vec::new();
        for one in &spare.blocks {
            let Some(blob) = numbers.get(&one.blob).copied() else {
                continue;
            };
            let (block, slot) = (BlockIndex(one.block), one.slot);
            let Source::Sealed(old) = content.source(block, &leaves)? else {
                continue;
            };
            if is_here(&old) && old.sealed.tag == one.tag && slot < RemoteBlock::SLOTS {
                let place = Place::Remote(RemoteBlock { blob, slot });
                given_up.push((block, BlockEntry { place, ..old }));
            }
        }
        if given_up.is_empty() {
            return Ok(0);
        }
        // Whoever reads finds the blob by its number from the moment that the place says it.
        txn.apply();
        self.write_behind.counting_leaves(&mut content, |content| {
            for (block, entry) in &given_up {
                content.head.set_entry(*block, *entry);
            }
        });
        self.shares.put_elsewhere.fetch_add(1, Ordering::Relaxed);
        drop(content);
        self.write_behind.note_changed(node);
        Ok(given_up.len() as u64)
    }

    /// How much of a regular file lies in the vault.
    ///
    /// # Errors
    /// Those of the metadata.
    pub fn presence(&self, ino: Ino) -> FsResult<Presence> {
        self.check_regular(ino)?;
        let _gate = self.gate.read();
        self.presence_in_gate(ino)
    }

    /// The same of a regular file, called within the gate.
    pub(super) fn presence_in_gate(&self, ino: Ino) -> FsResult<Presence> {
        let node = self.node(ino)?;
        let content = node.content.read();
        let leaves = self.leaves(ino);
        let mut presence = Presence {
            blocks: content.blocks(),
            remote: 0,
        };
        let mut from = LeafIndex(0);
        let counted = loop {
            match content.sealed_from(from, &leaves) {
                Ok(Some((leaf, sealed))) => {
                    let remote = sealed.iter().filter(|(_, entry)| !is_here(entry));
                    presence.remote += remote.count() as u64;
                    from = LeafIndex(leaf.0 + 1);
                }
                Ok(None) => break Ok(presence),
                Err(error) => break Err(error),
            }
        };
        drop(content);
        self.nodes.put_back(node);
        counted
    }

    /// When files were opened last, since the volume was: those with a higher number later. Where there
    /// are shares.
    pub fn last_used(&self) -> BTreeMap<Ino, u64> {
        let used = self.shares.used.lock();
        used.last.iter().map(|(ino, last)| (*ino, *last)).collect()
    }

    /// Whether somebody has a file open.
    pub fn is_open(&self, ino: Ino) -> bool {
        self.handles.any_of(ino)
    }

    /// Brings all blocks of a regular file that lie in blobs only, a few at a time. `go_on` is asked
    /// before each few, and told how many have come.
    ///
    /// # Errors
    /// Those of a read.
    pub fn fetch_file(&self, ino: Ino, go_on: &mut dyn FnMut(u64) -> bool) -> FsResult<()> {
        self.check_regular(ino)?;
        let node = self.node(ino)?;
        let mut from = LeafIndex(0);
        let done = loop {
            let (blocks, next) = match self.remote_from(&node, from) {
                Ok(found) => found,
                Err(error) => break Err(error),
            };
            if blocks.is_empty() || !go_on(blocks.len() as u64) {
                break Ok(());
            }
            if let Err(error) = self.fetch(&node, &blocks) {
                break Err(error);
            }
            from = next;
        };
        self.nodes.put_back(node);
        done
    }

    /// The next blocks that lie in blobs only, and the leaf to go on at.
    fn remote_from(&self, node: &Node, mut from: LeafIndex) -> FsResult<(Vec<Located>, LeafIndex)> {
        let content = node.content.read();
        let leaves = self.leaves(node.ino);
        let mut found = Vec::new();
        while found.len() < AT_ONCE {
            let Some((leaf, sealed)) = content.sealed_from(from, &leaves)? else {
                break;
            };
            found.extend(sealed.into_iter().filter(|(_, entry)| !is_here(entry)));
            from = LeafIndex(leaf.0 + 1);
        }
        Ok((found, from))
    }
}

fn is_here(entry: &BlockEntry) -> bool {
    !matches!(entry.place, Place::Remote(_) | Place::Hole)
}
