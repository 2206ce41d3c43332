//! What happens when a name, a handle or a lookup was the last one.

use std::sync::atomic::Ordering;

use crate::error::{FsError, FsResult};
use crate::layout::{ContentRow, InodeRow, MapId};
use crate::meta::{Key, Table, Txn};
use crate::vfs::{FileKind, Ino};
use crate::volume::Volume;
use crate::volume::content::Layer;

/// What to do once the rows that dropped a link are applied.
#[must_use]
pub(in crate::volume) enum Gone {
    /// The inode has other names.
    Not,
    /// Somebody still has it: it goes when they let go.
    Orphan(Ino),
    /// Its rows are deleted.
    Purged,
}

impl Gone {
    /// Nothing is left to do.
    pub(in crate::volume) fn is_nothing(&self) -> bool {
        matches!(self, Self::Not)
    }

    pub(super) fn settle(self, volume: &Volume) {
        match self {
            Self::Not => {}
            Self::Orphan(ino) => drop(volume.orphans.lock().insert(ino)),
            Self::Purged => drop(volume.counters.inodes.fetch_sub(1, Ordering::Relaxed)),
        }
    }
}

impl Volume {
    /// Takes a name from `ino`; a directory loses all its links.
    pub(super) fn drop_link(&self, txn: &mut Txn<'_>, ino: Ino) -> FsResult<Gone> {
        let mut row = txn.inode(ino)?;
        row.nlink = if row.kind == FileKind::Directory {
            0
        } else {
            row.nlink.saturating_sub(1)
        };
        row.ctime = self.now();
        if row.nlink > 0 {
            txn.put_inode(ino, &row);
            return Ok(Gone::Not);
        }
        self.retire(txn, ino)?;
        if self.references.any(ino) {
            txn.put_inode(ino, &row);
            txn.put(Key::orphan(ino), Box::default());
            return Ok(Gone::Orphan(ino));
        }
        self.purge(txn, ino, &row)?;
        Ok(Gone::Purged)
    }

    /// Deletes all rows of an inode; the blocks of its map are freed by the next commits.
    fn purge(&self, txn: &mut Txn<'_>, ino: Ino, row: &InodeRow) -> FsResult<()> {
        if row.xattr_bytes > 0 {
            for (key, _) in txn.range(Table::Xattr, ino.0)? {
                txn.delete(key);
            }
        }
        if row.kind == FileKind::Regular {
            for index in 0..row.file().map_or(0, |f| f.keys) {
                txn.delete(Key::file_key(ino, index));
            }
            for map in self.discard_content(ino)? {
                txn.put(Key::trim(map), Box::default());
            }
            txn.delete(Key::content(ino));
        }
        txn.delete(Key::orphan(ino));
        txn.delete(Key::inode(ino));
        Ok(())
    }

    /// Forgets what a file holds in memory. Returns the maps that committed leaves belong to.
    fn discard_content(&self, ino: Ino) -> FsResult<Vec<MapId>> {
        let Some(node) = self.nodes.get(ino) else {
            let row = self.meta.get(&Key::content(ino), ContentRow::decode)?;
            return Ok(row
                .map(|r| r.map)
                .filter(|m| *m != MapId::NONE)
                .into_iter()
                .collect());
        };
        let mut content = node.content.write();
        node.dead.store(true, Ordering::Release);
        let gone = content.discard_head();
        let cut = content.cut.as_deref().map(|c: &Layer| c.map);
        let maps = [Some(content.base.map), cut, Some(content.journal_map)];
        drop(content);
        self.nodes.remove(ino);
        self.segments.release(gone);
        self.write_behind.sub_dirty(gone);
        Ok(maps
            .into_iter()
            .flatten()
            .filter(|m| *m != MapId::NONE)
            .collect())
    }

    pub(in crate::volume) fn do_forget(&self, ino: Ino, count: u64) {
        if !self.references.remove(ino, count) {
            return;
        }
        self.shares.replaced.forget(ino);
        if self.orphans.lock().contains(&ino) {
            // A failure leaves the orphan row, and the next opening purges it.
            let _ = self.purge_orphan(ino);
        }
    }

    /// Deletes an inode that has no name, unless somebody has it.
    pub(in crate::volume) fn purge_orphan(&self, ino: Ino) -> FsResult<()> {
        self.check_writable()?;
        let _gate = self.gate.read();
        let _namespace = self.namespace.lock();
        if self.references.any(ino) {
            return Ok(());
        }
        let mut txn = self.meta.txn();
        match txn.inode(ino) {
            Ok(row) if row.nlink == 0 => {
                self.purge(&mut txn, ino, &row)?;
                self.counters.inodes.fetch_sub(1, Ordering::Relaxed);
            }
            Ok(_) | Err(FsError::Stale(_)) => txn.delete(Key::orphan(ino)),
            Err(e) => return Err(e),
        }
        txn.apply();
        self.orphans.lock().remove(&ino);
        self.forget_left(ino);
        Ok(())
    }
}
