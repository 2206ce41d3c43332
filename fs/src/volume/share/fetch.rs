//! Bringing blocks here that lie in blobs only.
//!
//! What was fetched is stored as it lay in the blob, and takes the place of the remote block in the
//! map as a block that is moved does: nothing is marked, and whatever was written meanwhile stays.

use std::collections::BTreeMap;
use std::sync::Arc;

use keyfold_crypto::FileKey;
use zeroize::Zeroize;

use super::view::{key_index, known};
use crate::error::{FsError, FsResult};
use crate::events::EventKind;
use crate::layout::{
    BLOCK_SIZE, BlobNameRow, BlobRow, BlockEntry, KeyIndex, NodeId, Place, RemoteBlock, ShareId,
    ShareRow,
};
use crate::meta::Key;
use crate::share::{Blob, Fetch, Fetched, Unfetched, Wanted};
use crate::volume::Volume;
use crate::volume::content::Source;
use crate::volume::node::Node;
use crate::volume::ops::Located;

/// Blocks fetched at once.
const FETCHED: usize = 256;

impl Volume {
    /// Says who brings blocks that lie in blobs; without, reading them fails.
    pub fn set_fetch(&self, fetch: Option<Arc<dyn Fetch>>) {
        *self.shares.fetch.write() = fetch;
    }

    /// Brings blocks of a file. Waits for the network, and is called holding no lock.
    ///
    /// # Errors
    /// [`FsError::Unreachable`] when nobody brings them, [`FsError::Tampered`] when what is brought
    /// does not verify, and those of a write.
    pub(in crate::volume) fn fetch(&self, node: &Arc<Node>, blocks: &[Located]) -> FsResult<()> {
        let mut left = blocks.to_vec();
        while !left.is_empty() {
            let failed = self.fetch_once(node, &left)?;
            left = self.put_elsewhere(node, &failed)?;
        }
        Ok(())
    }

    /// Where blocks lie by now that could not be brought: others may just have put them into another
    /// blob. Fails where one is still where it was.
    fn put_elsewhere(&self, node: &Node, failed: &[Located]) -> FsResult<Vec<Located>> {
        let content = node.content.read();
        let leaves = self.leaves(node.ino);
        let mut elsewhere = Vec::new();
        for (block, was) in failed {
            match content.source(*block, &leaves)? {
                Source::Sealed(now) if now == *was => return Err(FsError::Unreachable),
                Source::Sealed(now) if matches!(now.place, Place::Remote(_)) => {
                    elsewhere.push((*block, now));
                }
                _ => {}
            }
        }
        Ok(elsewhere)
    }

    /// Returns what could not be brought.
    fn fetch_once(&self, node: &Arc<Node>, blocks: &[Located]) -> FsResult<Vec<Located>> {
        let fetch = self.shares.fetch.read().clone();
        let fetch = fetch.ok_or(FsError::Unreachable)?;
        if self.check_writable().is_err() {
            // There is nowhere to keep them.
            return Err(FsError::Unreachable);
        }
        self.wait_for_leaves()?;
        let mut blobs: BTreeMap<u64, Vec<(Located, RemoteBlock)>> = BTreeMap::new();
        for located in blocks {
            if let Place::Remote(remote) = located.1.place {
                let of_blob = blobs.entry(remote.blob).or_default();
                of_blob.push((*located, remote));
            }
        }
        let (mut parts, mut wanted) = (Vec::new(), Vec::new());
        for (number, blocks) in &blobs {
            let (share, blob) = self.blob_of(*number)?;
            for part in blocks.chunks(FETCHED) {
                wanted.push(Wanted {
                    share,
                    node: NodeId(node.file_id.0),
                    blob: blob.clone(),
                    blocks: part.iter().map(|(l, r)| (l.0.0, r.slot)).collect(),
                });
                parts.push(part);
            }
        }
        let fetched = fetch.fetch(&wanted);
        if fetched.len() != parts.len() {
            return Err(FsError::Unreachable);
        }
        // What came stays, also when something else did not.
        let mut failed = Vec::new();
        for (part, fetched) in parts.into_iter().zip(fetched) {
            match fetched {
                Ok(fetched) => self.keep_fetched(node, part, &fetched)?,
                Err(Unfetched) => failed.extend(part.iter().map(|(located, _)| *located)),
            }
        }
        Ok(failed)
    }

    fn blob_of(&self, number: u64) -> FsResult<(ShareId, Blob)> {
        let name = self
            .meta
            .get(&Key::blob_name(number), BlobNameRow::decode)?;
        let name = name.ok_or(FsError::Database)?;
        let share = self.meta.get(&Key::share(name.share), ShareRow::decode)?;
        let key = Key::blob(name.share, name.blob);
        let row = self.meta.get(&key, BlobRow::decode)?;
        let row = row.ok_or(FsError::Database)?;
        let blob = Blob {
            id: name.blob,
            key: row.key,
            size: row.size,
            state: row.state,
        };
        Ok((share.ok_or(FsError::Database)?.id, blob))
    }

    fn keep_fetched(
        &self,
        node: &Arc<Node>,
        wanted: &[(Located, RemoteBlock)],
        fetched: &[Fetched],
    ) -> FsResult<()> {
        if fetched.len() != wanted.len() {
            return Err(FsError::Unreachable);
        }
        let file = self.inode(node.ino)?.file();
        let file = file.ok_or(FsError::Inconsistent(node.ino))?;
        let keys = self.file_keys(node.ino, file.keys)?;
        let mut entries = Vec::with_capacity(wanted.len());
        for ((located, _), block) in wanted.iter().zip(fetched) {
            let entry = verified(node, &keys, (located, block)).inspect_err(|_| {
                self.events.note(EventKind::block(node.ino));
            })?;
            entries.push(entry);
        }
        self.reserve(fetched.len() as u64)?;
        let mut data = Vec::with_capacity(fetched.len() * BLOCK_SIZE);
        let blocks = fetched.iter().map(|block| block.ciphertext.as_slice());
        blocks.for_each(|block| data.extend_from_slice(block));
        let owners: Vec<_> = wanted.iter().map(|((b, _), _)| (node.ino, *b)).collect();
        let slots = self.append(&data, &owners);
        let slots = slots.inspect_err(|_| self.segments.release(fetched.len() as u64))?;
        let leaves = self.leaves(node.ino);
        let mut content = node.content.write();
        let changed =
            self.write_behind
                .counting_leaves(&mut content, |content| -> FsResult<bool> {
                    let mut changed = false;
                    for ((((block, old), _), entry), slot) in wanted.iter().zip(entries).zip(slots)
                    {
                        let place = Place::Segment(slot);
                        let new = BlockEntry { place, ..entry };
                        changed |= content.moved(*block, (old, new), &leaves)?;
                    }
                    Ok(changed)
                });
        drop(content);
        self.write_behind.note_changed(node);
        changed.map(drop)
    }
}

/// The entry of a block that was brought, if it is the one that was wanted and verifies.
fn verified(
    node: &Node,
    keys: &[FileKey],
    (located, block): (&Located, &Fetched),
) -> FsResult<BlockEntry> {
    let tampered = FsError::Tampered(node.ino);
    let index = key_index(keys, block.key).ok_or(tampered)?;
    let entry = BlockEntry {
        place: located.1.place,
        sealed: block.sealed,
        key: KeyIndex(index),
    };
    if known(&located.1) && located.1 != entry {
        return Err(tampered);
    }
    let mut opened = *block.ciphertext;
    let items = [(located.0.0, block.sealed)];
    let cipher = keys[index as usize].cipher();
    let result = cipher.open_run(&node.file_id, &items, &mut opened);
    opened.zeroize();
    result.map(|()| entry).map_err(|_| tampered)
}
