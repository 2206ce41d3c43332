//! Open files: reading, writing, allocating and seeking; and attributes.

use super::state::{Body, Open, State};
use crate::error::{FsError, FsResult};
use crate::vfs::{
    Allocate, Attr, FILE_MAX, FileRange, Handle, Ino, OpenMode, Seek, SetAttr, SetTime,
};

/// Where `len` bytes from `offset` end, if a file can be that long.
fn end_of(offset: u64, len: u64) -> FsResult<u64> {
    offset
        .checked_add(len)
        .filter(|end| *end <= FILE_MAX)
        .ok_or(FsError::FileTooLarge)
}

impl State {
    pub(super) fn open_file(&mut self, ino: Ino, mode: OpenMode) -> FsResult<Handle> {
        self.file(ino)?;
        if mode.truncate {
            self.file_changing(ino)?.truncate(0);
        }
        self.open(Open::File { ino, mode })
    }

    fn readable(&self, at: FileRange) -> FsResult<()> {
        if self.opened(at.ino, at.handle)?.read {
            Ok(())
        } else {
            Err(FsError::BadHandle)
        }
    }

    fn writable(&self, at: FileRange) -> FsResult<OpenMode> {
        Some(self.opened(at.ino, at.handle)?)
            .filter(|mode| mode.write)
            .ok_or(FsError::BadHandle)
    }

    pub(super) fn read(&self, at: FileRange, buf: &mut [u8]) -> FsResult<usize> {
        self.readable(at)?;
        Ok(self.file(at.ino)?.read(at.offset, buf))
    }

    pub(super) fn write(&mut self, at: FileRange, data: &[u8]) -> FsResult<usize> {
        let mode = self.writable(at)?;
        if data.is_empty() {
            return Ok(0);
        }
        let offset = if mode.append {
            self.file(at.ino)?.size()
        } else {
            at.offset
        };
        end_of(offset, data.len() as u64)?;
        self.file_changing(at.ino)?.write(offset, data);
        Ok(data.len())
    }

    pub(super) fn fallocate(&mut self, at: FileRange, len: u64, mode: Allocate) -> FsResult<()> {
        if len == 0 {
            return Err(FsError::InvalidArgument);
        }
        self.writable(at)?;
        let end = end_of(at.offset, len)?;
        let content = self.file_changing(at.ino)?;
        if matches!(
            mode,
            Allocate::PunchHole | Allocate::Zero | Allocate::ZeroKeepSize
        ) {
            content.zero(at.offset, len);
        }
        if matches!(mode, Allocate::Extend | Allocate::Zero) {
            content.extend(end);
        }
        Ok(())
    }

    pub(super) fn seek(&self, at: FileRange, what: Seek) -> FsResult<u64> {
        self.opened(at.ino, at.handle)?;
        let content = self.file(at.ino)?;
        if at.offset >= content.size() {
            return Err(FsError::BeyondEnd);
        }
        match what {
            Seek::Data => content.next_data(at.offset).ok_or(FsError::BeyondEnd),
            Seek::Hole => Ok(content.next_hole(at.offset)),
        }
    }

    pub(super) fn copy_range(&mut self, from: FileRange, to: FileRange, len: u64) -> FsResult<u64> {
        self.readable(from)?;
        if self.writable(to)?.append {
            return Err(FsError::BadHandle);
        }
        let left = self.file(from.ino)?.size().saturating_sub(from.offset);
        let len = len.min(left);
        let overlap = to.offset < from.offset + len && from.offset < to.offset.saturating_add(len);
        if from.ino == to.ino && overlap {
            return Err(FsError::InvalidArgument);
        }
        end_of(to.offset, len)?;
        let mut data = vec![0; len as usize];
        self.file(from.ino)?.read(from.offset, &mut data);
        if !data.is_empty() {
            self.file_changing(to.ino)?.write(to.offset, &data);
        }
        Ok(len)
    }

    pub(super) fn setattr(
        &mut self,
        ino: Ino,
        handle: Option<Handle>,
        set: &SetAttr,
    ) -> FsResult<Attr> {
        self.check_setattr(ino, handle, set)?;
        let now = self.now;
        if let Some(size) = set.size {
            self.file_changing(ino)?.truncate(size);
        }
        let inode = self.inode_mut(ino)?;
        if set.uid.is_some() || set.gid.is_some() {
            inode.drop_privileges();
        }
        inode.uid = set.uid.unwrap_or(inode.uid);
        inode.gid = set.gid.unwrap_or(inode.gid);
        if let Some(perm) = set.perm {
            inode.perm = perm & 0o7777;
            inode.acl = inode.acl.take().map(|acl| acl.after_chmod(perm));
        }
        let time = |set| match set {
            SetTime::Now => now,
            SetTime::At(time) => time,
        };
        inode.atime = set.atime.map_or(inode.atime, time);
        inode.mtime = set.mtime.map_or(inode.mtime, time);
        if *set != SetAttr::default() {
            inode.ctime = now;
        }
        Ok(inode.attr(ino))
    }

    fn check_setattr(&self, ino: Ino, handle: Option<Handle>, set: &SetAttr) -> FsResult<()> {
        let inode = self.inode(ino)?;
        let mode = handle.map(|handle| self.opened(ino, handle)).transpose()?;
        if let Some(size) = set.size {
            self.file(ino)?;
            if mode.is_some_and(|mode| !mode.write) {
                return Err(FsError::BadHandle);
            }
            end_of(size, 0)?;
        }
        if set.perm.is_some() && matches!(inode.body, Body::Symlink(_)) {
            return Err(FsError::NotSupported);
        }
        Ok(())
    }
}
