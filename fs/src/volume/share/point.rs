//! Share points: names in a share, the *parent*, that mean the root of another.
//!
//! The root is a node of its own share, and the way back from its inode says so. In the parent the point is
//! a node whose row names the root, and to which no way leads back; the row of the share names parent and
//! point. So an operation on a name finds the parent by the directory that the name is in, and whatever lies
//! behind the point is in its own share.

use super::begin::{Beginning, Walk};
use super::{leave_share, live_share, put_left, put_node};
use crate::error::{FsError, FsResult};
use crate::layout::{
    DentryRow, InodeRow, Mark, MemberRow, NodeId, NodeRow, ShareId, ShareNumber, ShareRow,
    Standing, Within,
};
use crate::meta::{Key, Table, Txn};
use crate::share::{BeginError, Outdated};
use crate::vfs::{Ino, Name, Place};
use crate::volume::Volume;
use crate::volume::ops::{check_not_within, live_dir};

/// The point that a directory becomes in its share, and the directory that a point becomes. So what was
/// kept of a directory is found again when its share ends, and everybody gives it the same id.
fn counterpart(node: NodeId) -> NodeId {
    NodeId(node.0.map(|byte| !byte))
}

/// Makes a node of a share, without a way back to it, that stands for the root of another.
pub(super) fn put_point(txn: &mut Txn<'_>, within: Within, root: Ino) {
    let row = NodeRow {
        ino: root,
        standing: Standing::Here,
        data: Box::default(),
    };
    txn.put(Key::share_node(within.share, within.point), row.encode());
}

/// Makes a node of an inode again, with what was kept of it. Returns its row.
fn come_back(txn: &mut Txn<'_>, share: ShareNumber, (node, ino): (NodeId, Ino)) -> FsResult<()> {
    let key = Key::share_node(share, node);
    let known = txn.get(&key, NodeRow::decode)?;
    if known.as_ref().is_some_and(|known| known.ino != Ino(0)) {
        return Err(FsError::Exists);
    }
    let row = NodeRow {
        ino,
        standing: Standing::Here,
        data: known.map(|known| known.data).unwrap_or_default(),
    };
    txn.put(key, row.encode());
    Ok(())
}

impl Volume {
    /// Makes a share of a directory within another share, and of its name there a point. What is in the
    /// directory leaves the parent and begins in the share, as it is. In the parent the name is marked.
    ///
    /// # Errors
    /// [`FsError::Busy`] when the directory is in no share, is the root of one or has one in it, or the
    /// share is in this volume already; [`FsError::Unreachable`] when some data in it is not here;
    /// [`BeginError::LinkedOutside`] when files in it have names outside; and those of a change.
    pub fn begin_share_within(
        &self,
        id: ShareId,
        root: Ino,
        data: &[u8],
    ) -> Result<ShareNumber, BeginError> {
        let Beginning {
            mut txn,
            share,
            _alone,
        } = self.beginning(id)?;
        let member = self.member(&txn, root)?;
        let inner = member.filter(|member| member.node != NodeId::ROOT);
        let member = inner.ok_or(FsError::Busy)?;
        let parent = self.check_access(Some(member.share))?;
        live_dir(&txn, root)?;
        let (dir, name) = self.place_of_directory(root)?;
        let within = Within {
            share: member.share,
            point: counterpart(member.node),
        };
        leave_share(&mut txn, root)?;
        put_node(&mut txn, (share, NodeId::ROOT), root);
        put_point(&mut txn, within, root);
        let mut txn = Walk::new((self, txn), share, parent).all(root)?;
        let row = ShareRow {
            id,
            root: Some(root),
            name: None,
            within: Some(within),
            data: data.into(),
        };
        txn.put(Key::share(share), row.encode());
        let left = self.drop_marks(&mut txn, (within.share, share))?;
        self.note_marks(&mut txn, parent, [Mark::Entry(dir, name.into())]);
        txn.apply();
        let mut marks = self.shares.marks.lock();
        for mark in left {
            marks.discount(&mark);
            marks.waiting.remove(&(within.share, mark));
        }
        Ok(share)
    }

    /// Moves the root of a share out of its parent, to a free name in no share. Whoever caches anything of
    /// what is returned is to be told.
    ///
    /// # Errors
    /// [`FsError::NotFound`] when there is no such share or it is within no other, [`FsError::Exists`]
    /// when the name is taken, [`FsError::Busy`] when that is in a share, and those of a change.
    pub fn part_share(&self, share: ShareNumber, to: Place<'_>) -> FsResult<Vec<Outdated>> {
        self.check_may_grow()?;
        self.wait_for_rows()?;
        // Exclusively: nobody is between finding the place in no share and making something there.
        let _gate = self.gate.write();
        let _namespace = self.namespace.lock();
        let mut txn = self.meta.txn();
        let (row, root) = live_share(&txn, share)?;
        let within = row.within.ok_or(FsError::NotFound)?;
        if self.member(&txn, to.parent)?.is_some() || self.single_at(to).is_some() {
            return Err(FsError::Busy);
        }
        let (dir, name) = self.move_root(&mut txn, root, to)?;
        put_left(&mut txn, (within.share, within.point))?;
        let row = ShareRow {
            within: None,
            ..row
        };
        txn.put(Key::share(share), row.encode());
        txn.apply();
        Ok(vec![
            Outdated::Entry(dir, name),
            Outdated::Entry(to.parent, to.name.bytes().into()),
            Outdated::Inode(dir),
            Outdated::Inode(to.parent),
            Outdated::Inode(root),
        ])
    }

    /// Gives the root of a share another name, which is free. Returns where it was.
    pub(super) fn move_root(
        &self,
        txn: &mut Txn<'_>,
        root: Ino,
        to: Place<'_>,
    ) -> FsResult<(Ino, Vec<u8>)> {
        live_dir(txn, to.parent)?;
        if txn.dentry(to.parent, to.name.bytes())?.is_some() {
            return Err(FsError::Exists);
        }
        check_not_within(txn, to.parent, root)?;
        let (dir, name) = self.place_of_directory(root)?;
        let from = Place {
            parent: dir,
            name: Name::new(&name)?,
        };
        let source: Option<DentryRow> = txn.dentry(dir, &name)?;
        let source = source.ok_or(FsError::Stale(root))?;
        let gone = self.replace(txn, (from, source), (to, None))?;
        debug_assert!(gone.is_nothing());
        Ok((dir, name))
    }

    /// The point that the root of a share is, and of which share.
    pub(super) fn point_of(&self, member: MemberRow) -> FsResult<Option<(NodeId, ShareId)>> {
        if member.node != NodeId::ROOT {
            return Ok(None);
        }
        let row = self.meta.get(&Key::share(member.share), ShareRow::decode)?;
        let row = row.ok_or(FsError::Database)?;
        Ok(row.within.map(|within| (within.point, row.id)))
    }

    /// # Errors
    /// [`FsError::Unreachable`] when some data of a file lies in blobs only, which are another share's
    /// and not to be had from where the file goes. Called within the gate.
    pub(super) fn check_present(&self, ino: Ino, row: &InodeRow) -> FsResult<()> {
        if row.file().is_some() && self.presence_in_gate(ino)?.remote > 0 {
            return Err(FsError::Unreachable);
        }
        Ok(())
    }

    /// Drops the marks of one share that are of what is in the other now. Returns them.
    fn drop_marks(
        &self,
        txn: &mut Txn<'_>,
        (of, now): (ShareNumber, ShareNumber),
    ) -> FsResult<Vec<Mark>> {
        let mut dropped = Vec::new();
        for (key, row) in self.meta.range(Table::Outbox, of.0)? {
            let mark = Mark::decode(&row).map_err(|_| FsError::Database)?;
            let (Mark::Attributes(ino) | Mark::Content(ino) | Mark::Entry(ino, _)) = &mark;
            let member = txn.get(&Key::member(*ino), MemberRow::decode)?;
            if member.is_some_and(|member| member.share == now) {
                txn.delete(key);
                dropped.push(mark);
            }
        }
        Ok(dropped)
    }

    /// Gives the parent what a share had that ends, without its rows. All of it is marked.
    pub(super) fn return_to_parent(
        &self,
        txn: &mut Txn<'_>,
        within: Within,
        nodes: &[(NodeId, NodeRow)],
    ) -> FsResult<()> {
        let share = within.share;
        put_left(txn, (share, within.point))?;
        let mut marks = Vec::new();
        for (node, row) in nodes
            .iter()
            .filter(|(_, row)| row.standing == Standing::Here)
        {
            let ino = row.ino;
            if txn.get(&Key::member(ino), MemberRow::decode)?.is_some() {
                // The root of a share within, which stays one.
                come_back(txn, share, (*node, ino))?;
                continue;
            }
            let inode = txn.inode(ino)?;
            self.check_present(ino, &inode)?;
            let node = if *node == NodeId::ROOT {
                let (dir, name) = self.place_of_directory(ino)?;
                marks.push(Mark::Entry(dir, name.into()));
                counterpart(within.point)
            } else {
                *node
            };
            come_back(txn, share, (node, ino))?;
            txn.put(Key::member(ino), MemberRow { share, node }.encode());
            marks.extend(inode.file().map(|_| Mark::Content(ino)));
        }
        self.note_marks(txn, Some(share), marks);
        Ok(())
    }

    /// Makes the points of a share that ends those of another, or of none.
    pub(super) fn pass_points(
        &self,
        txn: &mut Txn<'_>,
        from: ShareNumber,
        to: Option<Within>,
    ) -> FsResult<()> {
        for (number, row) in self.each_share()? {
            let Some(within) = row.within.filter(|within| within.share == from) else {
                continue;
            };
            let within = to.map(|to| Within {
                share: to.share,
                ..within
            });
            txn.put(Key::share(number), ShareRow { within, ..row }.encode());
        }
        Ok(())
    }
}
