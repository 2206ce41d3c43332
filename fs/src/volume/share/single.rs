//! Shares of a single file: what lies at one *place*, a name in a directory that is in no share.
//!
//! The share is bound to the place and not to an inode, because programs save by making a file anew and
//! renaming it there. So a file becomes the share's by coming to the place, and one of its own by leaving
//! it. Either happens while nobody else is within the gate: nobody is between finding a file in no share
//! and changing it, and what it was changed to before is marked when it comes.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use parking_lot::{RwLockReadGuard, RwLockWriteGuard};
use rustc_hash::FxHashMap;

use super::{leave_share, live_share, new_node_id, put_node};
use crate::error::{FsError, FsResult};
use crate::layout::{
    DentryRow, Leaf, MapId, Mark, NodeRow, Place as Lying, ShareNumber, ShareRow, Standing,
};
use crate::meta::{Key, Table, Txn};
use crate::vfs::{FileKind, Ino, Place};
use crate::volume::Volume;
use crate::volume::ops::entry_mark;

/// The share of each place, by directory and name. Changed by whoever is alone within the gate.
pub(super) type Places = FxHashMap<Ino, BTreeMap<Box<[u8]>, ShareNumber>>;

/// The gate, entered to move a name.
#[expect(dead_code, reason = "held, not looked at")]
pub(in crate::volume) enum Gate<'v> {
    Shared(RwLockReadGuard<'v, ()>),
    Alone(RwLockWriteGuard<'v, ()>),
}

/// The shares of two names of which one becomes the other.
#[derive(Clone, Copy)]
pub(in crate::volume) struct Crossing {
    from: Option<ShareNumber>,
    to: Option<ShareNumber>,
}

/// A file of which every block was here, and how often blocks had come to lie elsewhere by then.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::volume) struct Whole {
    ino: Ino,
    put_elsewhere: u64,
}

/// A file that comes to a place, and one that leaves it.
#[derive(Default)]
pub(in crate::volume) struct Passage {
    coming: Option<(Ino, ShareNumber)>,
    leaving: Option<Ino>,
}

impl Crossing {
    /// What comes to the place of a share and what leaves it, when a name moves; `back` is what gets
    /// its old name in exchange.
    ///
    /// # Errors
    /// [`FsError::Busy`] when what comes is no file, [`FsError::CrossTree`] when it has other names.
    pub(in crate::volume) fn passage(
        self,
        txn: &Txn<'_>,
        (source, back): (DentryRow, Option<DentryRow>),
    ) -> FsResult<Passage> {
        let (comes, leaves, share) = match self {
            Crossing { from, to } if from == to => return Ok(Passage::default()),
            Crossing {
                to: Some(share), ..
            } => (Some(source), back, share),
            Crossing {
                from: Some(share), ..
            } => (back, Some(source), share),
            Crossing { .. } => return Ok(Passage::default()),
        };
        if let Some(comes) = comes {
            if comes.kind != FileKind::Regular {
                return Err(FsError::Busy);
            }
            if txn.inode(comes.child)?.nlink != 1 {
                return Err(FsError::CrossTree);
            }
        }
        Ok(Passage {
            coming: comes.map(|comes| (comes.child, share)),
            leaving: leaves.map(|leaves| leaves.child),
        })
    }
}

impl Passage {
    /// Adds the rows of what comes and leaves.
    pub(in crate::volume) fn put(&self, txn: &mut Txn<'_>) -> FsResult<()> {
        if let Some(ino) = self.leaving {
            leave_share(txn, ino)?;
        }
        match self.coming {
            Some((ino, share)) => come_to_share(txn, share, ino),
            None => Ok(()),
        }
    }
}

/// Where each share of a single file is.
pub(super) fn places(shares: &[(ShareNumber, ShareRow)]) -> Places {
    let mut places = Places::default();
    for (share, row) in shares {
        if let (Some(dir), Some(name)) = (row.root, &row.name) {
            places.entry(dir).or_default().insert(name.clone(), *share);
        }
    }
    places
}

/// Names and what they are the places of.
impl Volume {
    /// The share whose place this is. Stays so while the gate is held.
    pub(super) fn single_at(&self, at: Place<'_>) -> Option<ShareNumber> {
        if !self.may_have_shares() {
            return None;
        }
        let places = self.shares.places.read();
        places.get(&at.parent)?.get(at.name.bytes()).copied()
    }

    /// Whether a directory has the place of a share.
    pub(super) fn has_place(&self, dir: Ino) -> bool {
        self.may_have_shares() && self.shares.places.read().contains_key(&dir)
    }

    /// The share that a name is in.
    fn share_of_name(&self, txn: &Txn<'_>, at: Place<'_>) -> FsResult<Option<ShareNumber>> {
        match self.single_at(at) {
            Some(share) => Ok(Some(share)),
            None => Ok(self.member(txn, at.parent)?.map(|member| member.share)),
        }
    }

    /// The share of a name that is to be removed.
    ///
    /// # Errors
    /// [`FsError::ReadOnly`] when that share may not be changed here.
    pub(in crate::volume) fn share_to_remove(
        &self,
        txn: &Txn<'_>,
        at: Place<'_>,
    ) -> FsResult<Option<ShareNumber>> {
        self.check_access(self.share_of_name(txn, at)?)
    }

    /// The share that something is to be made in.
    ///
    /// # Errors
    /// Those of [`Volume::share_to_remove`], and [`FsError::Busy`] where only a file can be.
    pub(in crate::volume) fn share_to_make(
        &self,
        txn: &Txn<'_>,
        (at, kind): (Place<'_>, FileKind),
    ) -> FsResult<Option<ShareNumber>> {
        let share = self.share_to_remove(txn, at)?;
        if kind != FileKind::Regular && self.single_at(at).is_some() {
            return Err(FsError::Busy);
        }
        Ok(share)
    }

    /// The share that a file and its new name are both in.
    ///
    /// # Errors
    /// [`FsError::CrossTree`] when the edge of a share is between them, and those of
    /// [`Volume::share_to_remove`].
    pub(in crate::volume) fn share_to_link(
        &self,
        txn: &Txn<'_>,
        (ino, at): (Ino, Place<'_>),
    ) -> FsResult<Option<ShareNumber>> {
        let share = self.share_of_name(txn, at)?;
        if self.member(txn, ino)?.map(|member| member.share) != share {
            return Err(FsError::CrossTree);
        }
        self.check_access(share)
    }

    /// Enters the gate to move a name: alone where that is to or from the place of a share.
    pub(in crate::volume) fn gate_to_move(&self, names: [Place<'_>; 2]) -> Gate<'_> {
        let crosses = || names.iter().any(|at| self.single_at(*at).is_some());
        loop {
            let alone = crosses();
            let gate = if alone {
                Gate::Alone(self.gate.write())
            } else {
                Gate::Shared(self.gate.read())
            };
            if crosses() == alone {
                return gate;
            }
        }
    }

    /// The shares of two names of which one is to become the other.
    ///
    /// # Errors
    /// [`FsError::CrossTree`] when the edge of a share is between them that is not the place of a
    /// single file, [`FsError::ReadOnly`] when a share of them may not be changed here.
    pub(in crate::volume) fn crossing(
        &self,
        txn: &Txn<'_>,
        from: Place<'_>,
        to: Place<'_>,
    ) -> FsResult<Crossing> {
        let crossing = Crossing {
            from: self.share_of_name(txn, from)?,
            to: self.share_of_name(txn, to)?,
        };
        let edge = match crossing {
            Crossing {
                from: one,
                to: other,
            } if one == other => false,
            Crossing {
                from: Some(_),
                to: None,
            } => self.single_at(from).is_none(),
            Crossing {
                from: None,
                to: Some(_),
            } => self.single_at(to).is_none(),
            _ => true,
        };
        if edge {
            return Err(FsError::CrossTree);
        }
        self.check_access(crossing.from)?;
        self.check_access(crossing.to)?;
        Ok(crossing)
    }

    /// A file that leaves its share and was not yet found to be all here.
    pub(in crate::volume) fn unseen(&self, passage: &Passage, whole: Option<Whole>) -> Option<Ino> {
        passage.leaving.filter(|ino| !self.is_whole(*ino, whole))
    }

    /// Whether all of a file is here, as was found before. Stays so while the gate is held exclusively.
    pub(super) fn is_whole(&self, ino: Ino, whole: Option<Whole>) -> bool {
        let put_elsewhere = self.shares.put_elsewhere.load(Ordering::Relaxed);
        whole == Some(Whole { ino, put_elsewhere })
    }

    /// Looks whether all of a file is here: what lies in blobs is not to be had once it left its share.
    ///
    /// # Errors
    /// [`FsError::CrossTree`] when some of it is not, and those of a commit.
    pub(in crate::volume) fn look_whole(&self, ino: Ino) -> FsResult<Whole> {
        let put_elsewhere = self.shares.put_elsewhere.load(Ordering::Relaxed);
        let mut c = self.committer.lock();
        self.commit_content(&mut c, ino)?;
        let map = self.committed_content(ino, &self.inode(ino)?)?.map;
        if map == MapId::NONE {
            return Ok(Whole { ino, put_elsewhere });
        }
        let leaves = map.leaf_keys();
        let rows = self.meta.stored(Table::Leaf, leaves, usize::MAX >> 1)?;
        for row in rows.values() {
            let leaf = Leaf::decode(row).map_err(|_| FsError::Inconsistent(ino))?;
            if leaf
                .used()
                .any(|(_, e)| matches!(e.place, Lying::Remote(_)))
            {
                return Err(FsError::CrossTree);
            }
        }
        Ok(Whole { ino, put_elsewhere })
    }

    /// Marks both names of a move, and the content of a file that comes: what it was changed to in no
    /// share, nothing marked.
    pub(in crate::volume) fn note_crossing(
        &self,
        txn: &mut Txn<'_>,
        crossing: Crossing,
        (from, to, passage): (Place<'_>, Place<'_>, &Passage),
    ) {
        if crossing.from == crossing.to {
            return self.note_marks(txn, crossing.to, [entry_mark(from), entry_mark(to)]);
        }
        self.note_marks(txn, crossing.from, [entry_mark(from)]);
        let came = passage.coming.map(|(ino, _)| Mark::Content(ino));
        self.note_marks(txn, crossing.to.or(crossing.from), came);
        self.note_marks(txn, crossing.to, [entry_mark(to)]);
    }
}

/// A file that has come to the place of a share is its node. If it was that before, what is kept of it
/// stays.
fn come_to_share(txn: &mut Txn<'_>, share: ShareNumber, ino: Ino) -> FsResult<()> {
    let node = new_node_id(&txn.inode(ino)?)?;
    let key = Key::share_node(share, node);
    let known = txn.get(&key, NodeRow::decode)?;
    put_node(txn, (share, node), ino);
    if let Some(known) = known {
        // The other has the same file id, and is about to be replaced.
        if ![Ino(0), ino].contains(&known.ino) {
            txn.delete(Key::member(known.ino));
        }
        let here = NodeRow {
            ino,
            standing: Standing::Here,
            ..known
        };
        txn.put(key, here.encode());
    }
    Ok(())
}

/// Where the single file of a share lies.
pub(super) fn place_of(txn: &Txn<'_>, share: ShareNumber) -> FsResult<Option<(Ino, Box<[u8]>)>> {
    let (row, dir) = live_share(txn, share)?;
    Ok(row.name.map(|name| (dir, name)))
}
