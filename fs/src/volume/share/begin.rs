//! Beginning a share over a subtree, and ending one.
//!
//! Either is one transaction: a crash leaves the whole share or nothing of it.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use parking_lot::{MutexGuard, RwLockWriteGuard};

use super::{forget_node, leave_share, live_share, new_node_id, node_of, put_node, single};
use crate::error::{FsError, FsResult};
use crate::layout::{
    DentryRow, InodeRow, MemberRow, NodeId, NodeRow, ShareId, ShareNumber, ShareRow, Standing,
};
use crate::meta::{Key, Table, Txn};
use crate::share::{Access, BeginError, LinkedOutside};
use crate::vfs::{FileKind, Ino, Place};
use crate::volume::Volume;

/// A subtree as it is gone over.
pub(super) struct Walk<'a> {
    volume: &'a Volume,
    txn: Txn<'a>,
    share: ShareNumber,
    /// The share that it lies in, and leaves.
    from: Option<ShareNumber>,
    /// Directories that are still to be gone over.
    left: Vec<Ino>,
    /// Where each directory is.
    parents: BTreeMap<Ino, (Ino, Box<[u8]>)>,
    /// Files with several names.
    linked: BTreeMap<Ino, Linked>,
}

/// A share that begins. While it is held nobody is between finding a file in no share and changing it.
pub(super) struct Beginning<'a> {
    pub(super) txn: Txn<'a>,
    pub(super) share: ShareNumber,
    pub(super) _alone: (MutexGuard<'a, ()>, RwLockWriteGuard<'a, ()>),
}

/// A file with several names.
struct Linked {
    links: u32,
    /// Names found within.
    found: u32,
    /// The first of them.
    at: (Ino, Box<[u8]>),
}

impl Volume {
    /// Makes a share of the subtree at `root`, a directory: whatever changes in it from now on is
    /// marked.
    ///
    /// # Errors
    /// [`BeginError::LinkedOutside`] when files in it have names outside, [`FsError::Busy`] when it
    /// lies in a share, has one in it or is shared already, [`FsError::NotADirectory`].
    pub fn begin_share(
        &self,
        id: ShareId,
        root: Ino,
        data: &[u8],
    ) -> Result<ShareNumber, BeginError> {
        let Beginning { txn, share, _alone } = self.beginning(id)?;
        check_no_share_above(&txn, root)?;
        let mut walk = Walk::new((self, txn), share, None);
        put_node(&mut walk.txn, (share, NodeId::ROOT), root);
        let mut txn = walk.all(root)?;
        let row = ShareRow {
            id,
            root: Some(root),
            name: None,
            within: None,
            data: data.into(),
        };
        txn.put(Key::share(share), row.encode());
        txn.apply();
        self.shares.any.store(true, Ordering::Relaxed);
        Ok(share)
    }

    /// Makes a share of the single file at a place, which may be vacant: whatever is there from now on is
    /// the content of the share.
    ///
    /// # Errors
    /// [`BeginError::LinkedOutside`] when the file has other names, [`FsError::Busy`] when the directory
    /// is in a share, the place or the share is taken, [`FsError::WrongKind`] for what is no file, and
    /// those of a change.
    pub fn begin_single_share(
        &self,
        id: ShareId,
        at: Place<'_>,
        data: &[u8],
    ) -> Result<ShareNumber, BeginError> {
        let Beginning {
            mut txn,
            share,
            _alone,
        } = self.beginning(id)?;
        check_no_share_above(&txn, at.parent)?;
        if self.single_at(at).is_some() {
            return Err(FsError::Busy.into());
        }
        if let Some(dentry) = txn.dentry(at.parent, at.name.bytes())? {
            let ino = dentry.child;
            if dentry.kind != FileKind::Regular {
                return Err(FsError::WrongKind(ino).into());
            }
            let row = txn.inode(ino)?;
            if row.nlink > 1 {
                let path = at.name.bytes().into();
                return Err(BeginError::LinkedOutside(vec![LinkedOutside { ino, path }]));
            }
            put_node(&mut txn, (share, new_node_id(&row)?), ino);
        }
        let name: Box<[u8]> = at.name.bytes().into();
        let row = ShareRow {
            id,
            root: Some(at.parent),
            name: Some(name.clone()),
            within: None,
            data: data.into(),
        };
        txn.put(Key::share(share), row.encode());
        txn.apply();
        let mut places = self.shares.places.write();
        places.entry(at.parent).or_default().insert(name, share);
        drop(places);
        self.shares.any.store(true, Ordering::Relaxed);
        Ok(share)
    }

    /// Begins a share that is not in this volume.
    pub(super) fn beginning(&self, id: ShareId) -> FsResult<Beginning<'_>> {
        self.check_may_grow()?;
        self.wait_for_rows()?;
        let gate = self.gate.write();
        let namespace = self.namespace.lock();
        let shares = self.each_share()?;
        check_not_there(&shares, id)?;
        Ok(Beginning {
            txn: self.meta.txn(),
            share: next_open(&shares),
            _alone: (namespace, gate),
        })
    }

    /// Ends a share: its files stay as they are. What of them lies in blobs only stays named, and
    /// cannot be read unless it was fetched before. Within another share they are that one's again.
    ///
    /// # Errors
    /// [`FsError::NotFound`] when there is no such share; within another [`FsError::Unreachable`] when
    /// some data is not here, [`FsError::Exists`] when that has one of the files already; and those of a
    /// change.
    pub fn end_share(&self, share: ShareNumber) -> FsResult<()> {
        self.end(share, |_, _| Ok(()))
    }

    /// Ends a share as [`Volume::end_share`] does, of which all data is here.
    ///
    /// # Errors
    /// [`FsError::Unreachable`] when some is not, and nothing is changed; and those of that.
    pub fn end_share_that_is_here(&self, share: ShareNumber) -> FsResult<()> {
        self.end(share, |txn, row| {
            let is_here = row.standing == Standing::Here && row.ino != Ino(0);
            match is_here.then(|| txn.inode(row.ino)) {
                Some(inode) => self.check_present(row.ino, &inode?),
                None => Ok(()),
            }
        })
    }

    fn end(
        &self,
        share: ShareNumber,
        may_end: impl Fn(&Txn<'_>, &NodeRow) -> FsResult<()>,
    ) -> FsResult<()> {
        self.check_writable()?;
        // Exclusively: nobody is between finding a file in the share and marking it.
        let _gate = self.gate.write();
        let _namespace = self.namespace.lock();
        let mut txn = self.meta.txn();
        let (row, root) = live_share(&txn, share)?;
        let mut nodes = Vec::new();
        for (key, bytes) in self.meta.range(Table::ShareNode, share.0)? {
            let row = NodeRow::decode(&bytes).map_err(|_| FsError::Database)?;
            may_end(&txn, &row)?;
            forget_node(&mut txn, (share, node_of(&key)?), &row)?;
            nodes.push((node_of(&key)?, row));
        }
        for key in self.meta.range(Table::Outbox, share.0)?.into_keys() {
            txn.delete(key);
        }
        self.pass_points(&mut txn, share, row.within)?;
        if let Some(within) = row.within {
            self.return_to_parent(&mut txn, within, &nodes)?;
        }
        if self.meta.range(Table::Blob, share.0)?.is_empty() {
            txn.delete(Key::share(share));
        } else {
            let ended = ShareRow {
                root: None,
                name: None,
                within: None,
                data: Box::default(),
                ..row
            };
            txn.put(Key::share(share), ended.encode());
        }
        txn.apply();
        // Its number may be given again.
        self.set_share_access(share, Access::Full);
        self.shares.locked.remove(root);
        self.reload_marks()?;
        Ok(())
    }

    /// Makes what memory has of marks and shares what the rows have.
    pub(super) fn reload_marks(&self) -> FsResult<()> {
        let shares = self.each_share()?;
        let any = shares.iter().any(|(_, row)| row.root.is_some());
        *self.shares.places.write() = single::places(&shares);
        let mut marks = self.shares.marks.lock();
        marks.content.clear();
        for (share, _) in &shares {
            for row in self.meta.range(Table::Outbox, share.0)?.values() {
                let mark = crate::layout::Mark::decode(row).map_err(|_| FsError::Database)?;
                marks.count(&mark);
            }
        }
        let live = |share: &ShareNumber| {
            let row = shares.iter().find(|(number, _)| number == share);
            row.is_some_and(|(_, row)| row.root.is_some())
        };
        marks.waiting.retain(|(share, _)| live(share));
        marks.last.retain(|share, _| live(share));
        self.shares.any.store(any, Ordering::Relaxed);
        Ok(())
    }
}

/// # Errors
/// [`FsError::Busy`] when the share is in this volume.
pub(super) fn check_not_there(shares: &[(ShareNumber, ShareRow)], id: ShareId) -> FsResult<()> {
    let live = |row: &ShareRow| row.root.is_some() && row.id == id;
    if shares.iter().any(|(_, row)| live(row)) {
        return Err(FsError::Busy);
    }
    Ok(())
}

/// The number of the next share, which is not locked.
pub(super) fn next_open(shares: &[(ShareNumber, ShareRow)]) -> ShareNumber {
    let open = shares.iter().rfind(|(number, _)| !number.is_locked());
    ShareNumber(open.map_or(1, |(last, _)| last.0 + 1))
}

/// # Errors
/// [`FsError::Busy`] when the directory is in a share; [`FsError::NotFound`] when it is removed.
pub(super) fn check_no_share_above(txn: &Txn<'_>, root: Ino) -> FsResult<()> {
    let row = txn.inode(root)?;
    if row.kind != FileKind::Directory {
        return Err(FsError::NotADirectory(root));
    }
    if row.nlink == 0 {
        return Err(FsError::NotFound);
    }
    // Whatever lies in a share is a node of it.
    match txn.get(&Key::member(root), MemberRow::decode)? {
        Some(_) => Err(FsError::Busy),
        None => Ok(()),
    }
}

impl<'a> Walk<'a> {
    /// Into a share, out of another or none.
    pub(super) fn new(
        (volume, txn): (&'a Volume, Txn<'a>),
        share: ShareNumber,
        from: Option<ShareNumber>,
    ) -> Self {
        Self {
            volume,
            txn,
            share,
            from,
            left: Vec::new(),
            parents: BTreeMap::new(),
            linked: BTreeMap::new(),
        }
    }

    /// Makes nodes of all that is below a directory.
    pub(super) fn all(mut self, root: Ino) -> Result<Txn<'a>, BeginError> {
        self.left.push(root);
        while let Some(dir) = self.left.pop() {
            self.directory(dir)?;
        }
        let outside = self.linked_outside(root);
        if !outside.is_empty() {
            return Err(BeginError::LinkedOutside(outside));
        }
        Ok(self.txn)
    }

    /// Makes nodes of all that a directory has.
    fn directory(&mut self, dir: Ino) -> FsResult<()> {
        if self.volume.has_place(dir) {
            return Err(FsError::Busy);
        }
        let row = self.txn.inode(dir)?;
        let last = row.dir().ok_or(FsError::Inconsistent(dir))?.next_cookie;
        let mut from = 0;
        loop {
            let listed = self.volume.meta.list(dir, from, last)?;
            let Some(end) = listed.last().map(|row| row.cookie) else {
                return Ok(());
            };
            for entry in listed {
                let dentry = DentryRow::decode(&entry.value);
                let dentry = dentry.map_err(|_| FsError::Inconsistent(dir))?;
                self.entry((dir, &entry.name), &dentry)?;
            }
            from = end;
        }
    }

    fn entry(&mut self, at: (Ino, &[u8]), dentry: &DentryRow) -> FsResult<()> {
        let ino = dentry.child;
        let row = self.txn.inode(ino)?;
        if row.kind == FileKind::Directory {
            self.parents.insert(ino, (at.0, at.1.into()));
            self.left.push(ino);
        } else if row.nlink > 1 && self.is_counted(ino, at, &row) {
            return Ok(());
        }
        let member = self.txn.get(&Key::member(ino), MemberRow::decode)?;
        if member.map(|member| member.share) != self.from {
            // A share within, or metadata that has a directory twice.
            return Err(FsError::Busy);
        }
        let node = match member {
            // What comes back finds what was kept of it by its id.
            Some(member) => {
                self.volume.check_present(ino, &row)?;
                leave_share(&mut self.txn, ino)?;
                member.node
            }
            None => new_node_id(&row)?,
        };
        put_node(&mut self.txn, (self.share, node), ino);
        Ok(())
    }

    /// Counts a name of a file that has several. Returns whether it is not the first.
    fn is_counted(&mut self, ino: Ino, at: (Ino, &[u8]), row: &InodeRow) -> bool {
        let linked = self.linked.entry(ino).or_insert_with(|| Linked {
            links: row.nlink,
            found: 0,
            at: (at.0, at.1.into()),
        });
        linked.found += 1;
        linked.found > 1
    }

    fn linked_outside(&self, root: Ino) -> Vec<LinkedOutside> {
        let outside = self.linked.iter().filter(|(_, l)| l.found < l.links);
        let told = outside.map(|(ino, linked)| LinkedOutside {
            ino: *ino,
            path: self.path(root, &linked.at),
        });
        told.collect()
    }

    fn path(&self, root: Ino, (dir, name): &(Ino, Box<[u8]>)) -> Vec<u8> {
        let mut names: Vec<&[u8]> = vec![name];
        let mut at = *dir;
        while at != root
            && let Some((parent, name)) = self.parents.get(&at)
        {
            names.push(name);
            at = *parent;
        }
        names.reverse();
        names.join(&b'/')
    }
}
