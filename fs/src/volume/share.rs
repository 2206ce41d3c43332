//! Shares of an open volume: which inodes belong to one, and the marks of what changed in it.
//!
//! A volume without shares pays one relaxed load an operation. It is enough because it is made
//! within the gate, and a share begins and ends while nobody else is in there.
//!
//! # Marks
//! A mark is a row like any other. Those of names and attributes are rows of the operation that
//! makes the change. That of content is put before the operation leaves the gate, under the content
//! lock, and *after* the content changed: a cut, which takes the gate exclusively, has both or
//! neither. A commit of another file may make the mark durable before the content: a mark too many
//! costs a look, a mark too few would lose a change.
//!
//! A mark that waits is not written twice, so a change must never rely on one that was handed out
//! before the change could be seen. Hence marks are handed out holding `namespace`, which an
//! operation on names holds from its look at the marks to its end; and content is marked after the
//! change, so that whoever finds the mark waiting is seen by who takes it later. Marks that a volume
//! is opened with may have been handed out before it was closed: none of them is taken for one that
//! waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::{Mutex, MutexGuard, RwLock};
use rustc_hash::{FxHashMap, FxHashSet};

use super::Volume;
use crate::error::{FsError, FsResult};
use crate::layout::{Mark, MemberRow, NodeId, NodeRow, ShareNumber, ShareRow, Standing};
use crate::meta::{Key, Table, Txn};
use crate::share::{Fetch, Kept, NodeInfo, Noticed, PendingMark, ShareInfo};
use crate::vfs::{Ino, OpenMode};

mod access;
mod apply;
mod begin;
mod fetch;
mod locked;
mod node;
mod point;
mod replaced;
mod single;
mod spare;
mod view;

use locked::Locked;
pub(super) use node::admit;
use node::{
    forget_node, keep, leave_share, live_share, new_node_id, node_info, node_of, put_left, put_node,
};
use replaced::Replaced;
pub(super) use single::Whole;
pub use view::ContentView;

/// What a volume keeps in memory of its shares.
#[derive(Default)]
pub(super) struct Shares {
    /// There may be a share.
    any: AtomicBool,
    marks: Mutex<Marks>,
    /// Inodes in whose place others came while they were read, and those whose names others removed.
    /// Nobody writes to them any more: whoever does found them before.
    left: Mutex<FxHashSet<Ino>>,
    pub(super) replaced: Replaced,
    fetch: RwLock<Option<Arc<dyn Fetch>>>,
    /// Shares that programs may not change.
    refused: RwLock<FxHashSet<ShareNumber>>,
    locked: Locked,
    noticed: RwLock<Option<Arc<dyn Noticed>>>,
    places: RwLock<single::Places>,
    /// How often blocks may have come to lie in blobs only, since the volume was opened.
    put_elsewhere: AtomicU64,
    used: Mutex<Used>,
    /// Blocks that were read for whoever views a file.
    viewed: AtomicU64,
}

/// When files were opened last, since the volume was: by a count that only rises.
#[derive(Default)]
struct Used {
    count: u64,
    last: FxHashMap<Ino, u64>,
}

/// Files whose last opening is remembered. Beyond it all are forgotten.
const REMEMBERED: usize = 1 << 20;

impl Used {
    fn note(&mut self, ino: Ino) {
        if self.last.len() >= REMEMBERED {
            self.last.clear();
        }
        self.count += 1;
        self.last.insert(ino, self.count);
    }
}

/// The outbox in memory.
#[derive(Default)]
struct Marks {
    /// The highest number given out in each share.
    last: FxHashMap<ShareNumber, u64>,
    /// Marks that nobody took up yet: they need not be written again.
    waiting: FxHashSet<(ShareNumber, Mark)>,
    /// How many marks of its content each file has in the outbox, taken up or not.
    content: FxHashMap<Ino, u32>,
}

impl Marks {
    /// Counts a mark that the outbox has.
    fn count(&mut self, mark: &Mark) {
        if let Mark::Content(ino) = mark {
            *self.content.entry(*ino).or_insert(0) += 1;
        }
    }

    fn discount(&mut self, mark: &Mark) {
        let Mark::Content(ino) = mark else { return };
        if let Some(count) = self.content.get_mut(ino) {
            *count -= 1;
            if *count == 0 {
                self.content.remove(ino);
            }
        }
    }

    /// The key of a new row for the mark, unless it waits already.
    fn add(&mut self, share: ShareNumber, mark: &Mark) -> Option<Key> {
        if !self.waiting.insert((share, mark.clone())) {
            return None;
        }
        self.count(mark);
        let last = self.last.entry(share).or_insert(0);
        *last += 1;
        Some(Key::mark(share, *last))
    }
}

impl Volume {
    /// Which node of which share an inode is. Called within the gate.
    pub(super) fn member(&self, txn: &Txn<'_>, ino: Ino) -> FsResult<Option<MemberRow>> {
        if self.shares.any.load(Ordering::Relaxed) {
            txn.get(&Key::member(ino), MemberRow::decode)
        } else {
            Ok(None)
        }
    }

    /// Keeps a file from being replaced or removed while it is opened for writing.
    ///
    /// # Errors
    /// [`FsError::Stale`] when it was: whoever found it by its name has to look again;
    /// [`FsError::ReadOnly`] when its share may not be changed here.
    pub(super) fn before_writing(
        &self,
        ino: Ino,
        mode: OpenMode,
    ) -> FsResult<Option<MutexGuard<'_, ()>>> {
        let writes = mode.write || mode.truncate;
        if !self.shares.any.load(Ordering::Relaxed) {
            return Ok(None);
        }
        self.shares.used.lock().note(ino);
        if !writes {
            return Ok(None);
        }
        let namespace = self.namespace.lock();
        if self.shares.left.lock().contains(&ino) {
            return Err(FsError::Stale(ino));
        }
        self.check_file_access(ino)?;
        Ok(Some(namespace))
    }

    /// Others put something else in the place of a file, or nothing.
    fn note_replaced(&self, ino: Ino) {
        if self.references.any(ino) {
            self.shares.replaced.note(ino);
        }
    }

    /// # Errors
    /// [`FsError::Busy`] when the inode is the root of a share, which is ended before it is removed, or
    /// the directory of a single file that is shared; [`FsError::NotPermitted`] when it is locked.
    pub(super) fn check_no_share_root(&self, txn: &Txn<'_>, ino: Ino) -> FsResult<()> {
        if self.has_place(ino) {
            return Err(FsError::Busy);
        }
        match self.member(txn, ino)? {
            Some(member) if member.share.is_locked() => Err(FsError::NotPermitted),
            Some(member) if member.node == NodeId::ROOT => Err(FsError::Busy),
            _ => Ok(()),
        }
    }

    /// An inode lost its last name: its node stays until the others know.
    pub(super) fn retire(&self, txn: &mut Txn<'_>, ino: Ino) -> FsResult<()> {
        let Some(member) = self.member(txn, ino)? else {
            return Ok(());
        };
        let key = Key::share_node(member.share, member.node);
        let row = txn.get(&key, NodeRow::decode)?;
        let row = row.ok_or(FsError::Inconsistent(ino))?;
        let gone = NodeRow {
            standing: Standing::Gone,
            ..row
        };
        txn.put(key, gone.encode());
        Ok(())
    }

    /// An inode is deleted: nobody can ask for it any more.
    pub(super) fn forget_left(&self, ino: Ino) {
        if self.shares.any.load(Ordering::Relaxed) {
            self.shares.left.lock().remove(&ino);
        }
    }

    /// Adds marks to an operation's rows. Nothing that can fail comes between this and their
    /// application, or a mark would be taken for one that waits.
    pub(super) fn note_marks(
        &self,
        txn: &mut Txn<'_>,
        share: Option<ShareNumber>,
        noted: impl IntoIterator<Item = Mark>,
    ) {
        let Some(share) = share else { return };
        let mut marks = self.shares.marks.lock();
        let mut new = false;
        for mark in noted {
            if let Some(key) = marks.add(share, &mark) {
                txn.put(key, mark.encode());
                new = true;
            }
        }
        drop(marks);
        if new {
            self.notice(share);
        }
    }

    /// Adds a mark for attributes of an inode, as [`Volume::note_marks`] does.
    pub(super) fn note_attributes(&self, txn: &mut Txn<'_>, ino: Ino) -> FsResult<()> {
        let share = self.share_to_change(txn, ino)?;
        self.note_marks(txn, share, [Mark::Attributes(ino)]);
        Ok(())
    }

    /// The share that a file's content is to be marked in. Called within the gate.
    pub(super) fn share_of_content(&self, ino: Ino) -> FsResult<Option<ShareNumber>> {
        if !self.shares.any.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let member = self.meta.get(&Key::member(ino), MemberRow::decode)?;
        self.check_access(member.map(|member| member.share))
    }

    /// Marks a file whose content has changed. Called within the gate that the share was asked for
    /// in, after the change, and under its content lock. Cannot fail: the change is made.
    pub(super) fn note_content(&self, share: Option<ShareNumber>, ino: Ino) {
        let Some(share) = share else { return };
        let mark = Mark::Content(ino);
        let mut marks = self.shares.marks.lock();
        if let Some(key) = marks.add(share, &mark) {
            self.meta.put(key, Some(mark.encode()));
            drop(marks);
            self.notice(share);
        }
    }

    /// Reads what is kept in memory of shares.
    pub(super) fn load_shares(&self) -> FsResult<()> {
        let all = |table| {
            self.meta
                .stored(table, 0..=i64::MAX as u64, usize::MAX >> 1)
        };
        let shares = self.each_share()?;
        let any = shares.iter().any(|(_, row)| row.root.is_some());
        self.shares.any.store(any, Ordering::Relaxed);
        *self.shares.places.write() = single::places(&shares);
        self.load_locked(&shares);
        let mut marks = self.shares.marks.lock();
        for (key, row) in all(Table::Outbox)? {
            let mark = Mark::decode(&row).map_err(|_| FsError::Database)?;
            let share = ShareNumber(key.a);
            let last = marks.last.entry(share).or_insert(0);
            *last = key.number().max(*last);
            marks.count(&mark);
        }
        Ok(())
    }

    fn each_share(&self) -> FsResult<Vec<(ShareNumber, ShareRow)>> {
        let rows = self.meta.whole(Table::Share)?;
        let decoded = rows.into_iter().map(|(key, row)| {
            let row = ShareRow::decode(&row).map_err(|_| FsError::Database)?;
            Ok((ShareNumber(key.a), row))
        });
        decoded.collect()
    }
}

/// What whoever syncs a share asks and keeps.
impl Volume {
    /// Whether there may be a share, so that reading may have to wait for somebody who fetches.
    pub fn may_have_shares(&self) -> bool {
        self.shares.any.load(Ordering::Relaxed)
    }

    /// The shares of this volume that are not locked.
    ///
    /// # Errors
    /// Those of the metadata.
    pub fn shares(&self) -> FsResult<Vec<ShareInfo>> {
        self.infos(|number| !number.is_locked())
    }

    fn infos(&self, wanted: impl Fn(ShareNumber) -> bool) -> FsResult<Vec<ShareInfo>> {
        let each = self.each_share()?.into_iter();
        let live = each.filter(|(number, _)| wanted(*number));
        let live = live.filter_map(|(number, row)| {
            Some(ShareInfo {
                number,
                id: row.id,
                root: row.root?,
                name: row.name,
                within: row.within,
                data: row.data,
            })
        });
        Ok(live.collect())
    }

    /// Which node of which share an inode is, or was until the others know that it is gone.
    ///
    /// # Errors
    /// Those of the metadata.
    pub fn share_member(&self, ino: Ino) -> FsResult<Option<(ShareNumber, NodeId)>> {
        let row = self.meta.get(&Key::member(ino), MemberRow::decode)?;
        Ok(row.map(|row| (row.share, row.node)))
    }

    /// A node of a share.
    ///
    /// # Errors
    /// Those of the metadata.
    pub fn share_node(&self, share: ShareNumber, node: NodeId) -> FsResult<Option<NodeInfo>> {
        let row = self
            .meta
            .get(&Key::share_node(share, node), NodeRow::decode)?;
        Ok(row.map(|row| node_info(node, row)))
    }

    /// Whether somebody has a file open for writing.
    pub fn is_written(&self, ino: Ino) -> bool {
        self.handles.any_writer(ino)
    }

    /// All nodes of a share, by ascending id.
    ///
    /// # Errors
    /// Those of the metadata.
    pub fn share_nodes(&self, share: ShareNumber) -> FsResult<Vec<NodeInfo>> {
        let rows = self.meta.range(Table::ShareNode, share.0)?;
        let decoded = rows.into_iter().map(|(key, row)| {
            let row = NodeRow::decode(&row).map_err(|_| FsError::Database)?;
            Ok(node_info(node_of(&key)?, row))
        });
        decoded.collect()
    }

    /// The marks of a share, in the order in which they were made. Whatever changes from now on is
    /// marked anew, so what is looked at after this call is no older than the marks.
    ///
    /// # Errors
    /// Those of the metadata.
    pub fn take_marks(&self, share: ShareNumber) -> FsResult<Vec<PendingMark>> {
        let _gate = self.gate.read();
        let _namespace = self.namespace.lock();
        let mut marks = self.shares.marks.lock();
        let rows = self.meta.range(Table::Outbox, share.0)?;
        let decoded = rows.into_iter().map(|(key, row)| {
            let mark = Mark::decode(&row).map_err(|_| FsError::Database)?;
            Ok(PendingMark {
                number: key.number(),
                mark,
            })
        });
        let taken: Vec<_> = decoded.collect::<FsResult<_>>()?;
        marks.waiting.retain(|(of, _)| *of != share);
        Ok(taken)
    }

    /// Keeps what whoever syncs a share tells, in one transaction.
    ///
    /// # Errors
    /// [`FsError::NotFound`] when there is no such share or node, [`FsError::InvalidArgument`] when
    /// a node is to be forgotten that is still there, and those of a change.
    pub fn keep_of_share(&self, share: ShareNumber, kept: &Kept) -> FsResult<()> {
        self.check_may_grow()?;
        self.wait_for_rows()?;
        let _gate = self.gate.read();
        let _namespace = self.namespace.lock();
        let mut txn = self.meta.txn();
        let done = keep(&mut txn, share, kept)?;
        txn.apply();
        self.forget_marks(&done);
        Ok(())
    }

    fn forget_marks(&self, done: &[Mark]) {
        let mut marks = self.shares.marks.lock();
        for mark in done {
            marks.discount(mark);
        }
    }
}
