//! Moving names.

use super::names::{dir, enter, leave, live_dir};
use super::purge::Gone;
use crate::error::{FsError, FsResult};
use crate::layout::{DentryRow, InodeRow};
use crate::meta::{Key, Txn};
use crate::vfs::{FileKind, Ino, Place, RenameMode};
use crate::volume::Volume;
use crate::volume::share::Whole;

/// Directories above one another that are walked before the metadata is called inconsistent.
pub(in crate::volume) const MAX_DEPTH: usize = 1 << 20;

impl Volume {
    pub(in crate::volume) fn do_rename(
        &self,
        from: Place<'_>,
        to: Place<'_>,
        mode: RenameMode,
    ) -> FsResult<()> {
        let mut whole = None;
        while let Some(leaving) = self.move_name(from, to, (mode, whole))? {
            whole = Some(self.look_whole(leaving)?);
        }
        Ok(())
    }

    /// Moves a name, or returns a file that would leave its share by that and was not found to be all
    /// here.
    fn move_name(
        &self,
        from: Place<'_>,
        to: Place<'_>,
        (mode, whole): (RenameMode, Option<Whole>),
    ) -> FsResult<Option<Ino>> {
        self.check_writable()?;
        let _gate = self.gate_to_move([from, to]);
        let _namespace = self.namespace.lock();
        let mut txn = self.meta.txn();
        live_dir(&txn, from.parent)?;
        live_dir(&txn, to.parent)?;
        let source = txn
            .dentry(from.parent, from.name.bytes())?
            .ok_or(FsError::NotFound)?;
        let target = txn.dentry(to.parent, to.name.bytes())?;
        let target = match (mode, target) {
            (RenameMode::NoReplace, Some(_)) => return Err(FsError::Exists),
            (RenameMode::Exchange, None) => return Err(FsError::NotFound),
            (_, target) => target,
        };
        let crossing = self.crossing(&txn, from, to)?;
        if source.kind == FileKind::Directory {
            check_not_within(&txn, to.parent, source.child)?;
        }
        if target.is_some_and(|t| t.child == source.child) {
            return Ok(None);
        }
        let back = target.filter(|_| mode == RenameMode::Exchange);
        let passage = crossing.passage(&txn, (source, back))?;
        if let Some(leaving) = self.unseen(&passage, whole) {
            return Ok(Some(leaving));
        }
        passage.put(&mut txn)?;
        let gone = match (mode, target) {
            (RenameMode::Exchange, Some(target)) => {
                if target.kind == FileKind::Directory {
                    check_not_within(&txn, from.parent, target.child)?;
                }
                self.exchange(&mut txn, (from, source), (to, target))?;
                Gone::Not
            }
            (_, Some(target))
                if target.kind == FileKind::Directory
                    && check_not_within(&txn, from.parent, target.child).is_err() =>
            {
                return Err(FsError::NotEmpty(target.child));
            }
            _ => self.replace(&mut txn, (from, source), (to, target))?,
        };
        self.note_crossing(&mut txn, crossing, (from, to, &passage));
        txn.apply();
        gone.settle(self);
        if target.is_some() && source.kind == FileKind::Regular {
            self.note_renamed(source.child);
        }
        Ok(None)
    }

    /// A file took another's name: its content must be durable when the name is.
    fn note_renamed(&self, ino: Ino) {
        if let Some(node) = self.nodes.get(ino)
            && !node.content.read().is_clean()
        {
            self.renamed.lock().insert(ino);
            self.write_behind.enqueue([node]);
        }
    }

    pub(in crate::volume) fn replace(
        &self,
        txn: &mut Txn<'_>,
        (from, source): (Place<'_>, DentryRow),
        (to, target): (Place<'_>, Option<DentryRow>),
    ) -> FsResult<Gone> {
        let now = self.now();
        let source_is_dir = source.kind == FileKind::Directory;
        if let Some(target) = target {
            check_replaceable(txn, &source, &target)?;
            self.check_no_share_root(txn, target.child)?;
        }
        change_dir(txn, from.parent, |p| {
            leave(p, now);
            p.nlink -= u32::from(source_is_dir);
        })?;
        let mut cookie = target.map(|t| t.cookie);
        change_dir(txn, to.parent, |p| {
            match cookie {
                Some(_) => (p.mtime, p.ctime) = (now, now),
                None => cookie = Some(enter(p, now)),
            }
            p.nlink += u32::from(source_is_dir);
            p.nlink -= u32::from(target.is_some_and(|t| t.kind == FileKind::Directory));
        })?;
        txn.delete(Key::dentry(from.parent, from.name.bytes()));
        let moved = DentryRow {
            cookie: cookie.unwrap_or(0),
            ..source
        };
        txn.put_dentry(to.parent, to.name.bytes(), moved);
        self.note_moved_to(txn, source.child, to.parent)?;
        target.map_or(Ok(Gone::Not), |t| self.drop_link(txn, t.child))
    }

    fn exchange(
        &self,
        txn: &mut Txn<'_>,
        (from, source): (Place<'_>, DentryRow),
        (to, target): (Place<'_>, DentryRow),
    ) -> FsResult<()> {
        let now = self.now();
        let is_dir = |d: DentryRow| u32::from(d.kind == FileKind::Directory);
        let swap = |p: &mut InodeRow, comes: u32, goes: u32| {
            (p.mtime, p.ctime) = (now, now);
            p.nlink = p.nlink + comes - goes;
        };
        change_dir(txn, from.parent, |p| {
            swap(p, is_dir(target), is_dir(source));
        })?;
        change_dir(txn, to.parent, |p| swap(p, is_dir(source), is_dir(target)))?;
        let here = DentryRow {
            cookie: source.cookie,
            ..target
        };
        let there = DentryRow {
            cookie: target.cookie,
            ..source
        };
        txn.put_dentry(from.parent, from.name.bytes(), here);
        txn.put_dentry(to.parent, to.name.bytes(), there);
        self.note_moved_to(txn, source.child, to.parent)?;
        self.note_moved_to(txn, target.child, from.parent)
    }

    fn note_moved_to(&self, txn: &mut Txn<'_>, ino: Ino, parent: Ino) -> FsResult<()> {
        let mut row = txn.inode(ino)?;
        row.ctime = self.now();
        if let Some(d) = row.dir_mut() {
            d.parent = parent;
        }
        txn.put_inode(ino, &row);
        Ok(())
    }
}

fn change_dir(txn: &mut Txn<'_>, ino: Ino, change: impl FnOnce(&mut InodeRow)) -> FsResult<()> {
    let mut row = dir(txn, ino)?;
    change(&mut row);
    txn.put_inode(ino, &row);
    Ok(())
}

fn check_replaceable(txn: &Txn<'_>, source: &DentryRow, target: &DentryRow) -> FsResult<()> {
    let is_dir = |entry: &DentryRow| entry.kind == FileKind::Directory;
    match (is_dir(source), is_dir(target)) {
        (true, false) => Err(FsError::NotADirectory(target.child)),
        (false, true) => Err(FsError::IsADirectory(target.child)),
        (false, false) => Ok(()),
        (true, true) => {
            let row = dir(txn, target.child)?;
            if row.dir().is_some_and(|d| d.entries > 0) {
                return Err(FsError::NotEmpty(target.child));
            }
            Ok(())
        }
    }
}

/// # Errors
/// [`FsError::InvalidArgument`] when `ino` is `tree` or lies below it.
pub(in crate::volume) fn check_not_within(txn: &Txn<'_>, ino: Ino, tree: Ino) -> FsResult<()> {
    let mut at = ino;
    for _ in 0..MAX_DEPTH {
        if at == tree {
            return Err(FsError::InvalidArgument);
        }
        if at == Ino::ROOT {
            return Ok(());
        }
        at = dir(txn, at)?.dir().ok_or(FsError::Inconsistent(at))?.parent;
    }
    Err(FsError::Inconsistent(ino))
}
