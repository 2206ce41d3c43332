//! Putting the changes of others into a share: all of them in one transaction, or none.
//!
//! Rows and contents take effect together: files whose content is replaced are listed as files
//! renamed over others are, so that whichever commit has the rows has their content, too.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use keyfold_crypto::FileKey;
use parking_lot::RwLockWriteGuard;

use super::{keep, single};
use crate::error::{FsError, FsResult};
use crate::layout::{
    BlobNameRow, BlobRow, BlockEntry, BlockIndex, ContentRow, KeyIndex, Mark, NodeId, RemoteBlock,
    ShareId, ShareNumber,
};
use crate::meta::{Key, Txn};
use crate::share::{Applied, Blob, Change, Changes, Outdated, Owner};
use crate::vfs::{Ino, Timestamp};
use crate::volume::content::{Content, Replacing};
use crate::volume::node::Node;
use crate::volume::{Counters, Volume};

mod content;
mod names;
mod points;
mod renew;

use renew::Renewal;

/// What becomes of files beside their rows.
#[derive(Default)]
struct Effects {
    /// Content that is replaced, by file.
    contents: BTreeMap<Ino, NewContent>,
    /// Blocks that lie elsewhere in blobs, by file.
    moved: BTreeMap<Ino, Vec<(BlockIndex, BlockEntry)>>,
    /// Keys that new blocks are sealed with from now on.
    keys: BTreeMap<Ino, (KeyIndex, FileKey)>,
    /// Files that were made.
    made: BTreeSet<Ino>,
    /// Shares of which a point was made.
    points: BTreeSet<ShareId>,
    /// Inodes that lost their last name.
    removed: BTreeMap<Ino, NodeId>,
    /// Inodes that came into being.
    count: u64,
    /// Inodes in whose place others came, with what of them was copied.
    renewed: BTreeMap<Ino, (NodeId, ContentRow)>,
    /// Blocks that such others have from the beginning.
    kept: BTreeMap<Ino, Vec<(BlockIndex, BlockEntry)>>,
    /// Files that have other names than whoever changes them knows.
    stale: BTreeSet<NodeId>,
    outdated: BTreeSet<Outdated>,
}

/// What a file's content half becomes.
#[derive(Default)]
struct NewContent {
    node: Option<NodeId>,
    mtime: Option<Timestamp>,
    /// Size and blocks, where they are others.
    data: Option<(u64, Vec<(BlockIndex, BlockEntry)>)>,
}

/// Changes on their way into rows.
struct Apply<'a> {
    volume: &'a Volume,
    txn: Txn<'a>,
    share: ShareNumber,
    /// Of a share of a single file, where that lies.
    single: Option<(Ino, Box<[u8]>)>,
    owner: Owner,
    now: Timestamp,
    effects: Effects,
}

impl Volume {
    /// Puts changes that others made into a share. Marks nothing.
    ///
    /// # Errors
    /// Whatever makes a change impossible here, and then nothing is changed:
    /// [`FsError::NotFound`] for a node, name or blob that is not there, [`FsError::Exists`] for one
    /// that is, [`FsError::NotEmpty`], [`FsError::NotADirectory`], [`FsError::IsADirectory`],
    /// [`FsError::InvalidArgument`] for what makes no sense, and those of a change.
    pub fn apply_to_share(
        self: &Arc<Self>,
        share: ShareNumber,
        changes: &Changes,
    ) -> FsResult<Applied> {
        self.check_may_grow()?;
        self.wait_for_rows()?;
        let renewals = self.renewals(share, changes)?;
        let (applied, removed) = self.apply_within_gate(share, (changes, &renewals))?;
        for ino in removed {
            // What cannot be deleted now is an orphan, which the next opening deletes.
            let _ = self.purge_orphan(ino);
        }
        Ok(applied)
    }

    fn apply_within_gate(
        &self,
        share: ShareNumber,
        (changes, renewals): (&Changes, &[Renewal]),
    ) -> FsResult<(Applied, Vec<Ino>)> {
        let _gate = self.gate.read();
        let _namespace = self.namespace.lock();
        let txn = self.meta.txn();
        let single = single::place_of(&txn, share)?;
        let mut apply = Apply {
            volume: self,
            txn,
            share,
            single,
            owner: changes.owner,
            now: self.now(),
            effects: Effects::default(),
        };
        for blob in &changes.blobs {
            put_blob(&mut apply.txn, share, blob, &self.counters)?;
        }
        for renewal in renewals {
            apply.renew(renewal)?;
        }
        for change in &changes.list {
            apply.change(change)?;
        }
        let done = keep(&mut apply.txn, share, &changes.kept)?;
        apply.finish(&done)
    }
}

impl Apply<'_> {
    fn change(&mut self, change: &Change) -> FsResult<()> {
        match change {
            Change::Make {
                at,
                node,
                what,
                perm,
                mtime,
            } => self.make(at, (*node, what), (*perm, *mtime)),
            Change::Link { at, node } => self.link(at, *node),
            Change::Rename { from, to } => self.rename(from, to),
            Change::Remove { at } => self.remove(at),
            Change::SetAttributes { node, perm, mtime } => {
                self.set_attributes(*node, *perm, *mtime)
            }
            Change::SetXattr { node, name, value } => self.set_xattr(*node, name, value.as_deref()),
            Change::AddKey { node, key } => self.add_key(*node, key),
            Change::Write(written) => self.write(written),
            Change::Move { node, leaves } => self.move_blocks(*node, leaves),
        }
    }

    /// Makes everything visible, unless a file is busy. Returns the inodes to be deleted, too.
    fn finish(mut self, done: &[Mark]) -> FsResult<(Applied, Vec<Ino>)> {
        let volume = self.volume;
        let nodes = self.nodes()?;
        let mut locked: Vec<(&Arc<Node>, RwLockWriteGuard<'_, Content>)> =
            nodes.iter().map(|n| (n, n.content.write())).collect();
        let busy = self.busy(&locked);
        let planned = if busy.is_empty() {
            self.plan(&locked)
        } else {
            Ok((Vec::new(), Vec::new()))
        };
        let (planned, moved) = match planned {
            Ok(planned) if busy.is_empty() => planned,
            other => {
                drop(locked);
                put_back(volume, nodes);
                return other.map(|_| (Applied::Busy(busy), Vec::new()));
            }
        };
        let gone = self.install(&mut locked, planned);
        self.install_moved(&mut locked, moved);
        for ino in self.effects.removed.keys() {
            self.txn.put(Key::orphan(*ino), Box::default());
        }
        // Before their names lead elsewhere, or nowhere.
        for ino in self
            .effects
            .removed
            .keys()
            .chain(self.effects.renewed.keys())
        {
            volume.note_replaced(*ino);
        }
        self.txn.apply();
        drop(locked);
        if gone > 0 {
            volume.segments.release(gone);
            volume.write_behind.sub_dirty(gone);
        }
        let mut left = volume.shares.left.lock();
        left.extend(self.effects.renewed.into_keys());
        left.extend(self.effects.removed.keys());
        drop(left);
        volume.shares.put_elsewhere.fetch_add(1, Ordering::Relaxed);
        volume.forget_marks(done);
        let counter = &volume.counters.inodes;
        counter.fetch_add(self.effects.count, Ordering::Relaxed);
        let removed: Vec<Ino> = self.effects.removed.into_keys().collect();
        volume.orphans.lock().extend(&removed);
        put_back(volume, nodes);
        let outdated = self.effects.outdated.into_iter().collect();
        Ok((Applied::Done(outdated), removed))
    }
}

/// Adds the rows of a blob. Returns its local number.
pub(super) fn put_blob(
    txn: &mut Txn<'_>,
    share: ShareNumber,
    blob: &Blob,
    counters: &Counters,
) -> FsResult<u64> {
    let key = Key::blob(share, blob.id);
    let number = match txn.get(&key, BlobRow::decode)? {
        Some(row) => row.number,
        None => counters.new_block(),
    };
    if number > RemoteBlock::LAST_BLOB {
        return Err(FsError::NoSpace);
    }
    let row = BlobRow {
        number,
        state: blob.state,
        size: blob.size,
        key: blob.key.clone(),
    };
    let name = BlobNameRow {
        share,
        blob: blob.id,
    };
    txn.put(key, row.encode());
    txn.put(Key::blob_name(number), name.encode());
    Ok(number)
}

fn put_back(volume: &Volume, nodes: Vec<Arc<Node>>) {
    for node in nodes {
        volume.nodes.put_back(node);
    }
}

/// What replaces the content of the node at an index, and how.
type Planned = (usize, Option<Replacing>);
/// Blocks of the node at an index that lie elsewhere.
type Moved = (usize, Vec<(BlockIndex, BlockEntry)>);
