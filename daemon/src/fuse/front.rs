//! What every request means: the volume's operations, the control directory laid over them, and
//! the rules that are the front end's. Knows requests and results, not how replies are sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use keyfold_fs::error::FsError;
use keyfold_fs::vfs::{
    Allocate, Attr, Caller, Cookie, DirEntry, Entry, FileKind, FileRange, Handle, Ino, Listing,
    Name, NewNode, OpenMode, Place, RenameMode, Seek, SetAttr, Stats, Vfs, XattrMode,
};
use nix::errno::Errno;

use super::acl;
use super::errno::Failure;
use super::own_attributes;
use crate::control_dir::{self, ControlCaller, ControlDir, Node};
use crate::snapshot_dir;

/// Most bytes one request copies between files: a longer copy would keep its thread too long, and
/// programs go on after a short one.
const COPY_STEP: u64 = 16 << 20;
pub(crate) type Outcome<T> = Result<T, Failure>;

/// Who sent a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Asker {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) pid: u32,
}

impl Asker {
    fn caller(self, umask: u32) -> Caller {
        Caller {
            uid: self.uid,
            gid: self.gid,
            umask,
        }
    }

    fn control(self) -> ControlCaller {
        ControlCaller {
            uid: self.uid,
            gid: self.gid,
            pid: self.pid,
        }
    }
}

/// What a lookup found.
#[derive(Debug)]
pub(crate) enum Found {
    /// The entry with these attributes.
    Entry(Attr),
    /// Nothing, which the kernel may remember.
    Nothing,
}

/// How the kernel is to treat an open file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Treatment {
    /// Keep its cached pages; tell of each close.
    Cached,
    /// Keep its cached pages; closing it can report nothing.
    CachedReadOnly,
    /// Drop its cached pages; tell of each close.
    Replaced,
    /// A directory whose listing may be kept.
    Listing,
    /// Every read and write is a request.
    Direct,
}

/// An opened file or directory.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) handle: Handle,
    pub(crate) treatment: Treatment,
}

impl Opened {
    fn file(handle: Handle, mode: OpenMode) -> Self {
        let treatment = if mode.write {
            Treatment::Cached
        } else {
            Treatment::CachedReadOnly
        };
        Self { handle, treatment }
    }
}

/// What is asked of `create`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Creation {
    pub(crate) perm: u16,
    pub(crate) umask: u32,
    pub(crate) mode: OpenMode,
    /// An existing file is an error (`O_EXCL`).
    pub(crate) exclusive: Exclusive,
}

/// Whether a file must be new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exclusive {
    Yes,
    No,
}

/// The front end of one mount.
pub(crate) struct Front {
    vfs: Arc<dyn Vfs>,
    control: ControlDir,
    start: Instant,
    /// Milliseconds from `start` to the last request that shows use.
    active: AtomicU64,
}

impl Front {
    pub(crate) fn new(vfs: Arc<dyn Vfs>, control: ControlDir) -> Self {
        Self {
            vfs,
            control,
            start: Instant::now(),
            active: AtomicU64::new(0),
        }
    }

    /// Whether reading may have to wait for a network.
    pub(crate) fn may_fetch(&self) -> bool {
        self.vfs.may_fetch()
    }

    /// When the mount was last used.
    pub(crate) fn last_active(&self) -> Instant {
        self.start + Duration::from_millis(self.active.load(Ordering::Relaxed))
    }

    /// Notes that the mount is in use.
    pub(crate) fn touch(&self) {
        let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
        if self.active.load(Ordering::Relaxed) != now {
            self.active.store(now, Ordering::Relaxed);
        }
    }

    pub(crate) fn lookup(&self, parent: Ino, name: &[u8]) -> Outcome<Found> {
        if let Some(node) = Node::from_ino(parent) {
            return match (node, Node::named(name)) {
                (Node::Directory, Some(file)) => Ok(Found::Entry(self.control.attr(file))),
                (Node::Directory, None) if name == snapshot_dir::NAME => {
                    Ok(Found::Entry(self.vfs.getattr(snapshot_dir::DIRECTORY)?))
                }
                (Node::Directory, None) => Ok(Found::Nothing),
                (_, _) => Err(Errno::ENOTDIR.into()),
            };
        }
        if is_reserved(parent, name) {
            return Ok(Found::Entry(self.control.attr(Node::Directory)));
        }
        match self.vfs.lookup(Place {
            parent,
            name: Name::new(name)?,
        }) {
            Ok(entry) => Ok(Found::Entry(entry.attr)),
            // A snapshot of this name may be made at any moment.
            Err(FsError::NotFound) if parent == snapshot_dir::DIRECTORY => {
                Err(Errno::ENOENT.into())
            }
            Err(FsError::NotFound) => Ok(Found::Nothing),
            Err(e) => Err(e.into()),
        }
    }

    pub(crate) fn sync(&self) -> Outcome<()> {
        Ok(self.vfs.sync()?)
    }

    pub(crate) fn forget(&self, ino: Ino, count: u64) {
        if Node::from_ino(ino).is_none() {
            self.vfs.forget(ino, count);
        }
    }

    pub(crate) fn getattr(&self, ino: Ino) -> Outcome<Attr> {
        match Node::from_ino(ino) {
            Some(node) => Ok(self.control.attr(node)),
            None => Ok(self.vfs.getattr(ino)?),
        }
    }

    pub(crate) fn setattr(&self, ino: Ino, handle: Option<Handle>, set: &SetAttr) -> Outcome<Attr> {
        if let Some(node) = Node::from_ino(ino) {
            // A shell's `>` empties the file it opens; there is nothing to empty.
            let only_size = SetAttr {
                size: set.size,
                mtime: set.mtime,
                ..SetAttr::default()
            };
            return match node {
                Node::Control if *set == only_size => Ok(self.control.attr(node)),
                _ => Err(Errno::EPERM.into()),
            };
        }
        Ok(self.vfs.setattr(ino, handle, set)?)
    }

    pub(crate) fn readlink(&self, ino: Ino) -> Outcome<Vec<u8>> {
        Ok(self.vfs.readlink(real(ino, Errno::EINVAL)?)?)
    }

    pub(crate) fn mknod(
        &self,
        asker: Asker,
        umask: u32,
        at: (Ino, &[u8]),
        node: NewNode,
    ) -> Outcome<Attr> {
        Ok(self.vfs.mknod(&asker.caller(umask), place(at)?, node)?.attr)
    }

    pub(crate) fn mkdir(
        &self,
        asker: Asker,
        umask: u32,
        at: (Ino, &[u8]),
        perm: u16,
    ) -> Outcome<Attr> {
        Ok(self.vfs.mkdir(&asker.caller(umask), place(at)?, perm)?.attr)
    }

    pub(crate) fn symlink(&self, asker: Asker, at: (Ino, &[u8]), target: &[u8]) -> Outcome<Attr> {
        Ok(self.vfs.symlink(&asker.caller(0), place(at)?, target)?.attr)
    }

    pub(crate) fn link(&self, ino: Ino, at: (Ino, &[u8])) -> Outcome<Attr> {
        Ok(self.vfs.link(real(ino, Errno::EPERM)?, place(at)?)?.attr)
    }

    pub(crate) fn unlink(&self, at: (Ino, &[u8])) -> Outcome<()> {
        Ok(self.vfs.unlink(place(at)?)?)
    }

    pub(crate) fn rmdir(&self, at: (Ino, &[u8])) -> Outcome<()> {
        Ok(self.vfs.rmdir(place(at)?)?)
    }

    pub(crate) fn rename(
        &self,
        from: (Ino, &[u8]),
        to: (Ino, &[u8]),
        mode: RenameMode,
    ) -> Outcome<()> {
        Ok(self.vfs.rename(place(from)?, place(to)?, mode)?)
    }

    pub(crate) fn create(
        &self,
        asker: Asker,
        at: (Ino, &[u8]),
        new: &Creation,
    ) -> Outcome<(Attr, Opened)> {
        let at = place(at)?;
        match self
            .vfs
            .create(&asker.caller(new.umask), at, new.perm, new.mode)
        {
            // The kernel believed the name to be free.
            Err(FsError::Exists) if new.exclusive == Exclusive::No => self.open_named(at, new.mode),
            created => {
                let (entry, handle) = created?;
                Ok((entry.attr, Opened::file(handle, new.mode)))
            }
        }
    }

    fn open_named(&self, at: Place<'_>, mode: OpenMode) -> Outcome<(Attr, Opened)> {
        let Entry { attr } = self.vfs.lookup(at)?;
        let opened = if attr.kind == FileKind::Regular {
            self.vfs.open(attr.ino, mode).and_then(|handle| {
                self.vfs
                    .getattr(attr.ino)
                    .map(|attr| (attr, self.opened(attr.ino, handle, mode)))
            })
        } else {
            Err(FsError::Exists)
        };
        opened.map_err(|e| {
            // The kernel never learns of this lookup.
            self.vfs.forget(attr.ino, 1);
            e.into()
        })
    }

    pub(crate) fn open(&self, asker: Asker, ino: Ino, mode: OpenMode) -> Outcome<Opened> {
        if let Some(node) = Node::from_ino(ino) {
            let handle = self.control.open(node, asker.control())?;
            return Ok(Opened {
                handle,
                treatment: Treatment::Direct,
            });
        }
        let handle = self.vfs.open(ino, mode)?;
        Ok(self.opened(ino, handle, mode))
    }

    fn opened(&self, ino: Ino, handle: Handle, mode: OpenMode) -> Opened {
        if self.vfs.was_replaced(ino) {
            let treatment = Treatment::Replaced;
            return Opened { handle, treatment };
        }
        Opened::file(handle, mode)
    }

    /// Reads into `buffer`; returns how much.
    pub(crate) fn read(&self, at: FileRange, buffer: &mut [u8]) -> Outcome<usize> {
        if Node::from_ino(at.ino).is_some() {
            return Ok(self.control.read(at.handle, at.offset, buffer)?);
        }
        Ok(self.vfs.read(at, buffer)?)
    }

    pub(crate) fn write(&self, asker: Asker, at: FileRange, data: &[u8]) -> Outcome<usize> {
        if Node::from_ino(at.ino).is_some() {
            return Ok(self.control.write(at.handle, data, asker.control())?);
        }
        Ok(self.vfs.write(at, data)?)
    }

    pub(crate) fn flush(&self, ino: Ino, handle: Handle) -> Outcome<()> {
        match Node::from_ino(ino) {
            Some(_) => Ok(()),
            None => Ok(self.vfs.flush(ino, handle)?),
        }
    }

    pub(crate) fn release(&self, ino: Ino, handle: Handle) {
        match Node::from_ino(ino) {
            Some(_) => self.control.release(handle),
            None => self.vfs.release(ino, handle),
        }
    }

    pub(crate) fn fsync(&self, ino: Ino, handle: Handle) -> Outcome<()> {
        match Node::from_ino(ino) {
            Some(_) => Ok(()),
            None => Ok(self.vfs.fsync(ino, handle)?),
        }
    }

    pub(crate) fn fallocate(&self, at: FileRange, len: u64, mode: Allocate) -> Outcome<()> {
        real(at.ino, Errno::EOPNOTSUPP)?;
        Ok(self.vfs.fallocate(at, len, mode)?)
    }

    pub(crate) fn seek(&self, at: FileRange, what: Seek) -> Outcome<u64> {
        real(at.ino, Errno::EINVAL)?;
        Ok(self.vfs.seek(at, what)?)
    }

    pub(crate) fn copy_range(&self, from: FileRange, to: FileRange, len: u64) -> Outcome<u64> {
        real(from.ino, Errno::EOPNOTSUPP)?;
        real(to.ino, Errno::EOPNOTSUPP)?;
        Ok(self.vfs.copy_range(from, to, len.min(COPY_STEP))?)
    }

    pub(crate) fn opendir(&self, ino: Ino) -> Outcome<Opened> {
        let handle = match Node::from_ino(ino) {
            Some(Node::Directory) => Handle(0),
            Some(_) => return Err(Errno::ENOTDIR.into()),
            None => self.vfs.opendir(ino)?,
        };
        let treatment = if ino == snapshot_dir::DIRECTORY {
            Treatment::Direct
        } else {
            Treatment::Listing
        };
        Ok(Opened { handle, treatment })
    }

    pub(crate) fn readdir(
        &self,
        (ino, handle): (Ino, Handle),
        from: Cookie,
        sink: &mut dyn FnMut(DirEntry<'_>) -> Listing,
    ) -> Outcome<()> {
        if Node::from_ino(ino).is_some() {
            return self.list_control(from, &mut |entry, _| sink(entry));
        }
        Ok(self.vfs.readdir(handle, from, sink)?)
    }

    pub(crate) fn readdir_plus(
        &self,
        (ino, handle): (Ino, Handle),
        from: Cookie,
        sink: &mut dyn FnMut(DirEntry<'_>, &Attr) -> Listing,
    ) -> Outcome<()> {
        if Node::from_ino(ino).is_some() {
            return self.list_control(from, sink);
        }
        Ok(self.vfs.readdir_plus(handle, from, sink)?)
    }

    fn list_control(
        &self,
        from: Cookie,
        sink: &mut dyn FnMut(DirEntry<'_>, &Attr) -> Listing,
    ) -> Outcome<()> {
        let mut result = Ok(());
        control_dir::list(from, &mut |entry| match self.getattr(entry.ino) {
            Ok(attr) => sink(entry, &attr),
            // What is served need not have snapshots.
            Err(_) if entry.ino == snapshot_dir::DIRECTORY => Listing::Continue,
            Err(e) => {
                result = Err(e);
                Listing::Full
            }
        });
        result
    }

    pub(crate) fn releasedir(&self, ino: Ino, handle: Handle) {
        if Node::from_ino(ino).is_none() {
            self.vfs.releasedir(handle);
        }
    }

    pub(crate) fn statfs(&self) -> Outcome<Stats> {
        Ok(self.vfs.statfs()?)
    }

    pub(crate) fn setxattr(
        &self,
        asker: Asker,
        ino: Ino,
        (name, value): (&[u8], &[u8]),
        mode: XattrMode,
    ) -> Outcome<()> {
        real(ino, Errno::EPERM)?;
        if let Some(name) = name.strip_prefix(own_attributes::PREFIX) {
            return own_attributes::set(&self.control, asker.control(), (ino, name, value));
        }
        self.vfs.setxattr(ino, name, value, mode)?;
        if name == acl::ACCESS {
            acl::drop_setgid(&*self.vfs, asker, ino)?;
        }
        Ok(())
    }

    pub(crate) fn getxattr(&self, ino: Ino, name: &[u8]) -> Outcome<Vec<u8>> {
        real(ino, Errno::ENODATA)?;
        if let Some(name) = name.strip_prefix(own_attributes::PREFIX) {
            return own_attributes::value(&self.control, ino, name);
        }
        Ok(self.vfs.getxattr(ino, name)?)
    }

    pub(crate) fn listxattr(&self, ino: Ino) -> Outcome<Vec<u8>> {
        match Node::from_ino(ino) {
            Some(_) => Ok(Vec::new()),
            None => Ok(self.vfs.listxattr(ino)?),
        }
    }

    pub(crate) fn removexattr(&self, ino: Ino, name: &[u8]) -> Outcome<()> {
        real(ino, Errno::EPERM)?;
        if name.starts_with(own_attributes::PREFIX) {
            return Err(Errno::EPERM.into());
        }
        Ok(self.vfs.removexattr(ino, name)?)
    }
}

/// Whether a name is the control directory's.
fn is_reserved(parent: Ino, name: &[u8]) -> bool {
    parent == Ino::ROOT && name == control_dir::NAME
}

/// A place where something can be made, moved or removed: nowhere in the control directory, and
/// not its own name.
fn place((parent, name): (Ino, &[u8])) -> Outcome<Place<'_>> {
    if Node::from_ino(parent).is_some() || is_reserved(parent, name) {
        return Err(Errno::EPERM.into());
    }
    Ok(Place {
        parent,
        name: Name::new(name)?,
    })
}

/// `ino`, unless it is of the control directory.
fn real(ino: Ino, otherwise: Errno) -> Outcome<Ino> {
    match Node::from_ino(ino) {
        Some(_) => Err(otherwise.into()),
        None => Ok(ino),
    }
}
