//! Locked shares: directories that stand for what this account was not given.
//!
//! Such a share has a number of its own range, so that being locked is kept with it and cannot be lost.
//! Of it there is the root alone: whatever its row says, it is shown as one that nobody enters, and nobody
//! gets into it, root included. Who is given the share finds it at the same place.

use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::RwLock;
use rustc_hash::FxHashSet;

use super::begin::{check_no_share_above, check_not_there, next_open};
use super::{live_share, put_node};
use crate::error::{FsError, FsResult};
use crate::layout::{NodeId, ShareId, ShareNumber, ShareRow};
use crate::meta::Key;
use crate::share::ShareInfo;
use crate::vfs::{Caller, Ino, Place};
use crate::volume::Volume;

/// Roots of locked shares.
#[derive(Default)]
pub(super) struct Locked {
    /// There may be one: without, an operation pays one relaxed load.
    any: AtomicBool,
    roots: RwLock<FxHashSet<Ino>>,
}

impl Locked {
    fn insert(&self, root: Ino) {
        self.roots.write().insert(root);
        self.any.store(true, Ordering::Relaxed);
    }

    pub(super) fn remove(&self, root: Ino) {
        let mut roots = self.roots.write();
        roots.remove(&root);
        self.any.store(!roots.is_empty(), Ordering::Relaxed);
    }

    fn has(&self, ino: Ino) -> bool {
        self.any.load(Ordering::Relaxed) && self.roots.read().contains(&ino)
    }
}

impl Volume {
    /// Permission bits that a locked directory is shown with. By them the kernel lets its owner ask for its
    /// extended attributes and set those that act, and does not let him enter it. That he cannot list it
    /// either is up to the volume, which goes by no bits.
    pub(in crate::volume) const LOCKED_PERM: u16 = 0o600;

    /// Whether nobody may open a directory.
    pub(in crate::volume) fn is_locked(&self, ino: Ino) -> bool {
        self.shares.locked.has(ino)
    }

    /// # Errors
    /// [`FsError::AccessDenied`] when nobody may open the directory.
    pub(in crate::volume) fn check_unlocked(&self, ino: Ino) -> FsResult<()> {
        if self.is_locked(ino) {
            return Err(FsError::AccessDenied);
        }
        Ok(())
    }

    /// An image shows the directory of a locked share as the empty one that it is.
    pub(super) fn load_locked(&self, shares: &[(ShareNumber, ShareRow)]) {
        if self.image.is_some() {
            return;
        }
        for (_, row) in shares.iter().filter(|(number, _)| number.is_locked()) {
            if let Some(root) = row.root {
                self.shares.locked.insert(root);
            }
        }
    }

    /// The locked shares of this volume.
    ///
    /// # Errors
    /// Those of the metadata.
    pub fn locked_shares(&self) -> FsResult<Vec<ShareInfo>> {
        self.infos(ShareNumber::is_locked)
    }

    /// The locked share that a directory stands for.
    ///
    /// # Errors
    /// Those of the metadata.
    pub fn locked_share_at(&self, ino: Ino) -> FsResult<Option<ShareInfo>> {
        if !self.is_locked(ino) {
            return Ok(None);
        }
        let locked = self.locked_shares()?;
        Ok(locked.into_iter().find(|info| info.root == ino))
    }

    /// Makes a directory that stands for a share which this account was not given. Nobody meets it
    /// unlocked. Returns its inode.
    ///
    /// # Errors
    /// [`FsError::Exists`] when the name is taken, [`FsError::Busy`] when the share is in this volume
    /// already or the place lies in a share, and those of making a directory.
    pub fn begin_locked(
        &self,
        id: ShareId,
        at: Place<'_>,
        caller: &Caller,
        data: &[u8],
    ) -> FsResult<Ino> {
        self.check_may_grow()?;
        self.wait_for_rows()?;
        // Exclusively: nobody is between finding the place in no share and making something there.
        let _gate = self.gate.write();
        let _namespace = self.namespace.lock();
        let shares = self.each_share()?;
        check_not_there(&shares, id)?;
        let last = shares.last().map(|(last, _)| *last);
        let last = last.filter(|last| last.is_locked());
        let share = last.map_or(ShareNumber::FIRST_LOCKED, |last| ShareNumber(last.0 + 1));
        let mut txn = self.meta.txn();
        check_no_share_above(&txn, at.parent)?;
        let root = self.put_directory(&mut txn, caller, at)?;
        put_node(&mut txn, (share, NodeId::ROOT), root);
        let row = ShareRow {
            id,
            root: Some(root),
            name: None,
            within: None,
            data: data.into(),
        };
        txn.put(Key::share(share), row.encode());
        txn.apply();
        self.note_made();
        self.shares.any.store(true, Ordering::Relaxed);
        self.shares.locked.insert(root);
        Ok(root)
    }

    /// Makes a locked share one that is given: an empty one at the same place, of which nothing is kept.
    ///
    /// # Errors
    /// [`FsError::NotFound`] when there is no such locked share, and those of a change.
    pub fn unlock_share(&self, share: ShareNumber) -> FsResult<ShareNumber> {
        self.check_may_grow()?;
        self.wait_for_rows()?;
        let _gate = self.gate.write();
        let _namespace = self.namespace.lock();
        let mut txn = self.meta.txn();
        if !share.is_locked() {
            return Err(FsError::NotFound);
        }
        let (row, root) = live_share(&txn, share)?;
        let number = next_open(&self.each_share()?);
        txn.delete(Key::share(share));
        txn.delete(Key::share_node(share, NodeId::ROOT));
        put_node(&mut txn, (number, NodeId::ROOT), root);
        let data = Box::default();
        txn.put(Key::share(number), ShareRow { data, ..row }.encode());
        txn.apply();
        self.shares.locked.remove(root);
        Ok(number)
    }
}
