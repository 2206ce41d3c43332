//! Listing directories.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{FsError, FsResult};
use crate::layout::{DentryRow, DirBody};
use crate::vfs::{Attr, Cookie, DirEntry, FileKind, Handle, Ino, Listing};
use crate::volume::Volume;
use crate::volume::node::OpenDir;

const DOT: u64 = 1;
const DOT_DOT: u64 = 2;

fn last_cookie(dir: &DirBody) -> u64 {
    dir.next_cookie.saturating_sub(1)
}

impl Volume {
    pub(in crate::volume) fn do_opendir(&self, ino: Ino) -> FsResult<Handle> {
        self.check_unlocked(ino)?;
        let row = self.inode(ino)?;
        let dir = row.dir().ok_or(FsError::NotADirectory(ino))?;
        let last = AtomicU64::new(last_cookie(dir));
        Ok(self.handles.open_dir(OpenDir { ino, last }))
    }

    pub(in crate::volume) fn do_readdir(
        &self,
        handle: Handle,
        from: Cookie,
        sink: &mut dyn FnMut(DirEntry<'_>) -> Listing,
    ) -> FsResult<()> {
        self.each_entry(handle, from, &mut |entry| Ok(sink(entry)))
    }

    pub(in crate::volume) fn do_readdir_plus(
        &self,
        handle: Handle,
        from: Cookie,
        sink: &mut dyn FnMut(DirEntry<'_>, &Attr) -> Listing,
    ) -> FsResult<()> {
        self.each_entry(handle, from, &mut |entry| {
            let attr = match self.do_getattr(entry.ino) {
                Ok(attr) => attr,
                // Removed since the listing was read.
                Err(FsError::Stale(_)) => return Ok(Listing::Continue),
                Err(e) => return Err(e),
            };
            let taken = sink(entry, &attr);
            if taken == Listing::Continue && !matches!(entry.name, b"." | b"..") {
                self.references.add(entry.ino);
            }
            Ok(taken)
        })
    }

    fn each_entry(
        &self,
        handle: Handle,
        from: Cookie,
        sink: &mut dyn FnMut(DirEntry<'_>) -> FsResult<Listing>,
    ) -> FsResult<()> {
        let open = self.handles.dir(handle)?;
        let mut from = from.0;
        if from < DOT_DOT {
            let row = self.inode(open.ino)?;
            let dir = row.dir().ok_or(FsError::NotADirectory(open.ino))?;
            if from == Cookie::START.0 {
                // The kernel keeps what is listed from here on until it knows of a later change.
                open.last.store(last_cookie(dir), Ordering::Relaxed);
            }
            let parent = dir.parent;
            let dots: [(&[u8], Ino, u64); 2] = [(b".", open.ino, DOT), (b"..", parent, DOT_DOT)];
            for (name, ino, cookie) in dots.into_iter().filter(|d| d.2 > from) {
                let kind = FileKind::Directory;
                if sink(DirEntry {
                    name,
                    ino,
                    kind,
                    cookie: Cookie(cookie),
                })? == Listing::Full
                {
                    return Ok(());
                }
            }
            from = DOT_DOT;
        }
        let bound = open.last.load(Ordering::Relaxed);
        while from < bound {
            let rows = self.meta.list(open.ino, from, bound)?;
            let Some(last) = rows.last() else {
                return Ok(());
            };
            from = last.cookie;
            for row in &rows {
                let dentry =
                    DentryRow::decode(&row.value).map_err(|_| FsError::Inconsistent(open.ino))?;
                let entry = DirEntry {
                    name: &row.name,
                    ino: dentry.child,
                    kind: dentry.kind,
                    cookie: Cookie(row.cookie),
                };
                if sink(entry)? == Listing::Full {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}
