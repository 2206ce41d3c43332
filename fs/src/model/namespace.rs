//! Names: finding, making, linking, removing and moving them.

use super::directory::Directory;
use super::state::{Body, Inode, State};
use crate::error::{FsError, FsResult};
use crate::vfs::{Caller, Entry, Ino, LINK_MAX, Place, RenameMode};

impl State {
    pub(super) fn find(&self, at: Place<'_>) -> FsResult<Ino> {
        self.dir(at.parent)?
            .get(at.name.bytes())
            .ok_or(FsError::NotFound)
    }

    /// Checks that `at` is free, in a directory that still exists.
    fn vacant(&self, at: Place<'_>) -> FsResult<()> {
        match self.find(at) {
            Ok(_) => Err(FsError::Exists),
            Err(FsError::NotFound) => self.living(at.parent),
            Err(e) => Err(e),
        }
    }

    /// A removed directory takes no new entries.
    fn living(&self, dir: Ino) -> FsResult<()> {
        if self.inode(dir)?.nlink == 0 {
            Err(FsError::NotFound)
        } else {
            Ok(())
        }
    }

    /// Makes an inode named `at`, with the ownership and mode that caller and directory give it.
    pub(super) fn make(
        &mut self,
        caller: &Caller,
        at: Place<'_>,
        perm: u16,
        body: Body,
    ) -> FsResult<Ino> {
        self.vacant(at)?;
        let mut inode = self.fresh(body);
        let parent = self.inode(at.parent)?;
        inode.uid = caller.uid;
        inode.gid = caller.gid;
        inode.perm = perm & 0o7777;
        if u32::from(parent.perm) & libc::S_ISGID != 0 {
            inode.gid = parent.gid;
            if matches!(inode.body, Body::Directory(_)) {
                inode.perm |= libc::S_ISGID as u16;
            }
        }
        inherit_acl(&mut inode, parent, caller.umask);
        inode.nlink = if matches!(inode.body, Body::Directory(_)) {
            2
        } else {
            1
        };
        let ino = self.next_ino();
        self.inodes.insert(ino, inode);
        self.put(at, ino)?;
        Ok(ino)
    }

    pub(super) fn mkdir(&mut self, caller: &Caller, at: Place<'_>, perm: u16) -> FsResult<Entry> {
        let ino = self.make(
            caller,
            at,
            perm,
            Body::Directory(Directory::within(at.parent)),
        )?;
        self.inode_mut(at.parent)?.nlink += 1;
        self.entry(ino)
    }

    pub(super) fn link(&mut self, ino: Ino, at: Place<'_>) -> FsResult<Entry> {
        let directory = matches!(self.inode(ino)?.body, Body::Directory(_));
        self.vacant(at)?;
        if directory {
            return Err(FsError::NotPermitted);
        }
        match self.inode(ino)?.nlink {
            0 => return Err(FsError::NotFound),
            LINK_MAX.. => return Err(FsError::TooManyLinks(ino)),
            _ => {}
        }
        let now = self.now;
        let inode = self.inode_mut(ino)?;
        inode.nlink += 1;
        inode.ctime = now;
        self.put(at, ino)?;
        self.entry(ino)
    }

    pub(super) fn unlink(&mut self, at: Place<'_>) -> FsResult<()> {
        let ino = self.find(at)?;
        if matches!(self.inode(ino)?.body, Body::Directory(_)) {
            return Err(FsError::IsADirectory(ino));
        }
        self.take(at)?;
        self.lose_name(ino)
    }

    pub(super) fn rmdir(&mut self, at: Place<'_>) -> FsResult<()> {
        let ino = self.find(at)?;
        if !self.dir(ino)?.is_empty() {
            return Err(FsError::NotEmpty(ino));
        }
        self.take(at)?;
        self.inode_mut(at.parent)?.nlink -= 1;
        self.lose_name(ino)
    }

    /// One name of `ino` is gone; for a directory that was all it had.
    fn lose_name(&mut self, ino: Ino) -> FsResult<()> {
        let now = self.now;
        let inode = self.inode_mut(ino)?;
        inode.nlink = if matches!(inode.body, Body::Directory(_)) {
            0
        } else {
            inode.nlink - 1
        };
        inode.ctime = now;
        self.drop_unused(ino);
        Ok(())
    }

    fn put(&mut self, at: Place<'_>, ino: Ino) -> FsResult<()> {
        self.dir_mut(at.parent)?.put(at.name.bytes(), ino);
        self.touch_dir(at.parent)
    }

    fn take(&mut self, at: Place<'_>) -> FsResult<()> {
        self.dir_mut(at.parent)?.remove(at.name.bytes());
        self.touch_dir(at.parent)
    }

    fn touch_dir(&mut self, ino: Ino) -> FsResult<()> {
        let now = self.now;
        let inode = self.inode_mut(ino)?;
        (inode.mtime, inode.ctime) = (now, now);
        Ok(())
    }

    pub(super) fn rename(
        &mut self,
        from: Place<'_>,
        to: Place<'_>,
        mode: RenameMode,
    ) -> FsResult<()> {
        self.dir(to.parent)?;
        let moved = self.find(from)?;
        let target = self.dir(to.parent)?.get(to.name.bytes());
        match (mode, target) {
            (RenameMode::NoReplace, Some(_)) => return Err(FsError::Exists),
            (RenameMode::Exchange, None) => return Err(FsError::NotFound),
            _ => self.living(to.parent)?,
        }
        if self.is_within(to.parent, moved) {
            return Err(FsError::InvalidArgument);
        }
        if let Some(target) = target {
            if self.is_within(from.parent, target) {
                return Err(match mode {
                    RenameMode::Exchange => FsError::InvalidArgument,
                    RenameMode::Replace | RenameMode::NoReplace => FsError::NotEmpty(target),
                });
            }
            if target == moved {
                return Ok(());
            }
        }
        match (mode, target) {
            (RenameMode::Exchange, Some(target)) => self.exchange((from, moved), (to, target)),
            (_, Some(target)) => self.replace((from, moved), (to, target)),
            (_, None) => self.relocate((from, moved), to),
        }
    }

    /// Whether `ino` is `ancestor` or lies beneath it.
    fn is_within(&self, ino: Ino, ancestor: Ino) -> bool {
        let mut at = ino;
        loop {
            if at == ancestor {
                return true;
            }
            match self.dir(at) {
                Ok(dir) if dir.parent != at => at = dir.parent,
                _ => return false,
            }
        }
    }

    fn exchange(&mut self, a: (Place<'_>, Ino), b: (Place<'_>, Ino)) -> FsResult<()> {
        self.put(a.0, b.1)?;
        self.put(b.0, a.1)?;
        self.moved(a.1, a.0.parent, b.0.parent)?;
        self.moved(b.1, b.0.parent, a.0.parent)
    }

    fn replace(&mut self, from: (Place<'_>, Ino), to: (Place<'_>, Ino)) -> FsResult<()> {
        let target = to.1;
        match (&self.inode(from.1)?.body, &self.inode(target)?.body) {
            (Body::Directory(_), Body::Directory(replaced)) if !replaced.is_empty() => {
                return Err(FsError::NotEmpty(target));
            }
            (Body::Directory(_), Body::Directory(_)) => {
                self.inode_mut(to.0.parent)?.nlink -= 1;
            }
            (Body::Directory(_), _) => return Err(FsError::NotADirectory(target)),
            (_, Body::Directory(_)) => return Err(FsError::IsADirectory(target)),
            _ => {}
        }
        self.relocate(from, to.0)?;
        self.lose_name(target)
    }

    fn relocate(&mut self, from: (Place<'_>, Ino), to: Place<'_>) -> FsResult<()> {
        self.take(from.0)?;
        self.put(to, from.1)?;
        self.moved(from.1, from.0.parent, to.parent)
    }

    /// Sets right what depends on where `ino` lives.
    fn moved(&mut self, ino: Ino, old: Ino, new: Ino) -> FsResult<()> {
        let now = self.now;
        let inode = self.inode_mut(ino)?;
        inode.ctime = now;
        if let Body::Directory(dir) = &mut inode.body {
            dir.parent = new;
            self.inode_mut(old)?.nlink -= 1;
            self.inode_mut(new)?.nlink += 1;
        }
        Ok(())
    }
}

/// Gives a new inode the lists its directory hands down, or else applies the umask.
fn inherit_acl(inode: &mut Inode, parent: &Inode, umask: u32) {
    if matches!(inode.body, Body::Symlink(_)) {
        return;
    }
    match &parent.default_acl {
        Some(default) => {
            (inode.acl, inode.perm) = default.inherited(inode.perm);
            if matches!(inode.body, Body::Directory(_)) {
                inode.default_acl = Some(default.clone());
            }
        }
        None => inode.perm &= !(umask as u16 & 0o777),
    }
}
