//! What the model remembers: inodes, open handles, and how long each inode lives.

use std::collections::BTreeMap;

use super::acl::Acl;
use super::content::Content;
use super::directory::Directory;
use crate::error::{FsError, FsResult};
use crate::vfs::{Attr, Entry, FileKind, Handle, Ino, OpenMode, Timestamp};

/// What an inode holds, by kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Body {
    File(Content),
    Directory(Directory),
    Symlink(Vec<u8>),
    /// FIFO, socket or device node.
    Node(FileKind),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Inode {
    pub(super) body: Body,
    pub(super) perm: u16,
    pub(super) nlink: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) rdev: u32,
    pub(super) atime: Timestamp,
    pub(super) mtime: Timestamp,
    pub(super) ctime: Timestamp,
    pub(super) btime: Timestamp,
    /// Everything but access control lists.
    pub(super) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Present only where the mode alone does not say it all.
    pub(super) acl: Option<Acl>,
    pub(super) default_acl: Option<Acl>,
    /// Entries handed out and not yet forgotten.
    pub(super) lookups: u64,
    /// Open handles.
    pub(super) opens: u64,
}

impl Inode {
    pub(super) fn kind(&self) -> FileKind {
        match &self.body {
            Body::File(_) => FileKind::Regular,
            Body::Directory(_) => FileKind::Directory,
            Body::Symlink(_) => FileKind::Symlink,
            Body::Node(kind) => *kind,
        }
    }

    pub(super) fn attr(&self, ino: Ino) -> Attr {
        let (size, blocks) = match &self.body {
            Body::File(content) => (content.size(), content.sectors()),
            Body::Symlink(target) => (target.len() as u64, 0),
            Body::Directory(_) | Body::Node(_) => (0, 0),
        };
        Attr {
            ino,
            kind: self.kind(),
            perm: self.perm,
            nlink: self.nlink,
            uid: self.uid,
            gid: self.gid,
            rdev: self.rdev,
            size,
            blocks,
            atime: self.atime,
            mtime: self.mtime,
            ctime: self.ctime,
            btime: self.btime,
        }
    }

    /// Takes the privileges an executable must not keep once it was changed: setuid, setgid where
    /// the group may execute (without, it marks mandatory locking) and file capabilities.
    pub(super) fn drop_privileges(&mut self) {
        if matches!(self.body, Body::Directory(_)) {
            return;
        }
        self.perm &= !(libc::S_ISUID as u16);
        if u32::from(self.perm) & libc::S_IXGRP != 0 {
            self.perm &= !(libc::S_ISGID as u16);
        }
        self.xattrs.remove(b"security.capability".as_slice());
    }
}

/// What a handle stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Open {
    File {
        ino: Ino,
        mode: OpenMode,
    },
    Directory {
        ino: Ino,
        /// Entries with a higher cookie came after the directory was opened or last listed from the
        /// start on.
        last: u64,
    },
}

impl Open {
    pub(super) fn ino(self) -> Ino {
        match self {
            Self::File { ino, .. } | Self::Directory { ino, .. } => ino,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct State {
    pub(super) inodes: BTreeMap<Ino, Inode>,
    pub(super) handles: BTreeMap<Handle, Open>,
    last_ino: u64,
    last_handle: u64,
    /// The time of the operation under way.
    pub(super) now: Timestamp,
}

impl State {
    pub(super) fn new(now: Timestamp) -> Self {
        let mut state = Self {
            inodes: BTreeMap::new(),
            handles: BTreeMap::new(),
            last_ino: Ino::ROOT.0,
            last_handle: 0,
            now,
        };
        let mut root = state.fresh(Body::Directory(Directory::within(Ino::ROOT)));
        root.perm = 0o755;
        root.nlink = 2;
        state.inodes.insert(Ino::ROOT, root);
        state
    }

    /// An inode that nobody owns and nothing names.
    pub(super) fn fresh(&self, body: Body) -> Inode {
        Inode {
            body,
            perm: 0,
            nlink: 0,
            uid: 0,
            gid: 0,
            rdev: 0,
            atime: self.now,
            mtime: self.now,
            ctime: self.now,
            btime: self.now,
            xattrs: BTreeMap::new(),
            acl: None,
            default_acl: None,
            lookups: 0,
            opens: 0,
        }
    }

    pub(super) fn next_ino(&mut self) -> Ino {
        self.last_ino += 1;
        Ino(self.last_ino)
    }

    pub(super) fn inode(&self, ino: Ino) -> FsResult<&Inode> {
        self.inodes.get(&ino).ok_or(FsError::Stale(ino))
    }

    pub(super) fn inode_mut(&mut self, ino: Ino) -> FsResult<&mut Inode> {
        self.inodes.get_mut(&ino).ok_or(FsError::Stale(ino))
    }

    pub(super) fn dir(&self, ino: Ino) -> FsResult<&Directory> {
        match &self.inode(ino)?.body {
            Body::Directory(dir) => Ok(dir),
            _ => Err(FsError::NotADirectory(ino)),
        }
    }

    pub(super) fn dir_mut(&mut self, ino: Ino) -> FsResult<&mut Directory> {
        match &mut self.inode_mut(ino)?.body {
            Body::Directory(dir) => Ok(dir),
            _ => Err(FsError::NotADirectory(ino)),
        }
    }

    pub(super) fn file(&self, ino: Ino) -> FsResult<&Content> {
        match &self.inode(ino)?.body {
            Body::File(content) => Ok(content),
            Body::Directory(_) => Err(FsError::IsADirectory(ino)),
            _ => Err(FsError::WrongKind(ino)),
        }
    }

    /// The content of a file that is about to change, with the marks of a change set.
    pub(super) fn file_changing(&mut self, ino: Ino) -> FsResult<&mut Content> {
        self.file(ino)?;
        let now = self.now;
        let inode = self.inode_mut(ino)?;
        inode.drop_privileges();
        (inode.mtime, inode.ctime) = (now, now);
        match &mut inode.body {
            Body::File(content) => Ok(content),
            _ => Err(FsError::WrongKind(ino)),
        }
    }

    /// Hands out an entry.
    pub(super) fn entry(&mut self, ino: Ino) -> FsResult<Entry> {
        let inode = self.inode_mut(ino)?;
        inode.lookups += 1;
        Ok(Entry {
            attr: inode.attr(ino),
        })
    }

    pub(super) fn forget(&mut self, ino: Ino, count: u64) {
        if let Some(inode) = self.inodes.get_mut(&ino) {
            inode.lookups = inode.lookups.saturating_sub(count);
        }
        self.drop_unused(ino);
    }

    pub(super) fn open(&mut self, open: Open) -> FsResult<Handle> {
        self.inode_mut(open.ino())?.opens += 1;
        self.last_handle += 1;
        let handle = Handle(self.last_handle);
        self.handles.insert(handle, open);
        Ok(handle)
    }

    pub(super) fn close(&mut self, handle: Handle) {
        let Some(open) = self.handles.remove(&handle) else {
            return;
        };
        if let Some(inode) = self.inodes.get_mut(&open.ino()) {
            inode.opens = inode.opens.saturating_sub(1);
        }
        self.drop_unused(open.ino());
    }

    /// How the handle was opened, if it belongs to that file.
    pub(super) fn opened(&self, ino: Ino, handle: Handle) -> FsResult<OpenMode> {
        match self.handles.get(&handle) {
            Some(Open::File { ino: of, mode }) if *of == ino => Ok(*mode),
            _ => Err(FsError::BadHandle),
        }
    }

    /// Drops an inode that has neither name nor user.
    pub(super) fn drop_unused(&mut self, ino: Ino) {
        let used = |inode: &Inode| inode.nlink > 0 || inode.lookups > 0 || inode.opens > 0;
        if self.inodes.get(&ino).is_some_and(|inode| !used(inode)) {
            self.inodes.remove(&ino);
        }
    }

    /// Drops every handle, lookup and nameless inode, as unmounting does.
    pub(super) fn unmount(&mut self) {
        self.handles.clear();
        for inode in self.inodes.values_mut() {
            (inode.lookups, inode.opens) = (0, 0);
        }
        self.inodes.retain(|_, inode| inode.nlink > 0);
    }
}
