//! A reference implementation of [`Vfs`] in memory: slow, small, and meant to be obviously right.
//!
//! Everything happens under one lock, at once and completely; nothing is ever lost. Tests compare
//! a real volume with it, and front ends are tested on top of it.

mod acl;
mod content;
mod directory;
mod file;
mod namespace;
mod state;
mod xattr;

use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};

use self::content::Content;
use self::directory::{DOT, DOT_DOT};
use self::state::{Body, Open, State};
use crate::clock::{Clock, SystemClock};
use crate::error::{FsError, FsResult};
use crate::vfs::{
    Allocate, Attr, Caller, Cookie, DirEntry, Entry, FileKind, FileRange, Handle, Ino, Listing,
    NewNode, OpenMode, Place, RenameMode, Seek, SetAttr, Stats, TARGET_MAX, Vfs, XattrMode,
};

/// Blocks the volume claims to have in all: 1 TiB of 4 KiB blocks.
const TOTAL_BLOCKS: u64 = 1 << 28;

/// A filesystem in memory.
pub struct ModelFs {
    clock: Arc<dyn Clock>,
    state: Mutex<State>,
}

/// Everything a [`ModelFs`] held at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot(State);

impl Snapshot {
    /// Puts the content half of `ino` (bytes, size, modification time) back to what it was in
    /// `other`. Does nothing for inodes that are not regular files in both.
    pub fn take_content(&mut self, ino: Ino, other: &Self) {
        let Some(source) = other.0.inodes.get(&ino) else {
            return;
        };
        let Some(target) = self.0.inodes.get_mut(&ino) else {
            return;
        };
        if let (Body::File(content), Body::File(old)) = (&mut target.body, &source.body) {
            content.clone_from(old);
            target.mtime = source.mtime;
        }
    }

    /// Whether `ino` existed.
    pub fn contains(&self, ino: Ino) -> bool {
        self.0.inodes.contains_key(&ino)
    }
}

impl Default for ModelFs {
    fn default() -> Self {
        Self::new(Arc::new(SystemClock))
    }
}

impl ModelFs {
    /// An empty filesystem: a root directory of mode 0755 that user and group 0 own.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let state = Mutex::new(State::new(clock.now()));
        Self { clock, state }
    }

    /// What the filesystem holds now.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot(self.state.lock().clone())
    }

    /// Puts everything, handles included, back to what `snapshot` holds.
    pub fn restore(&self, snapshot: &Snapshot) {
        *self.state.lock() = snapshot.0.clone();
    }

    /// Closes every handle, forgets every lookup and drops nameless inodes, as unmounting does.
    pub fn remount(&self) {
        self.state.lock().unmount();
    }

    /// The state, with the time set for one operation.
    fn now(&self) -> MutexGuard<'_, State> {
        let mut state = self.state.lock();
        state.now = self.clock.now();
        state
    }
}

/// A listing in progress: `.`, `..` and the entries of one directory as it was when that began.
fn listing(state: &mut State, handle: Handle, from: Cookie) -> FsResult<Vec<(u64, Vec<u8>, Ino)>> {
    let Some(Open::Directory { ino, mut last }) = state.handles.get(&handle).copied() else {
        return Err(FsError::BadHandle);
    };
    if from == Cookie::START {
        last = state.dir(ino)?.last_cookie();
        state.handles.insert(handle, Open::Directory { ino, last });
    }
    let dir = state.dir(ino)?;
    // A removed directory may outlive its parent.
    let parent = if state.inodes.contains_key(&dir.parent) {
        dir.parent
    } else {
        ino
    };
    let mut entries = vec![(DOT, b".".to_vec(), ino), (DOT_DOT, b"..".to_vec(), parent)];
    entries.retain(|(cookie, ..)| *cookie > from.0);
    entries.extend(dir.list(from.0.max(DOT_DOT), last));
    Ok(entries)
}

impl Vfs for ModelFs {
    fn lookup(&self, at: Place<'_>) -> FsResult<Entry> {
        let mut state = self.now();
        let ino = state.find(at)?;
        state.entry(ino)
    }

    fn forget(&self, ino: Ino, count: u64) {
        self.now().forget(ino, count);
    }

    fn getattr(&self, ino: Ino) -> FsResult<Attr> {
        Ok(self.now().inode(ino)?.attr(ino))
    }

    fn setattr(&self, ino: Ino, handle: Option<Handle>, set: &SetAttr) -> FsResult<Attr> {
        self.now().setattr(ino, handle, set)
    }

    fn readlink(&self, ino: Ino) -> FsResult<Vec<u8>> {
        match &self.now().inode(ino)?.body {
            Body::Symlink(target) => Ok(target.clone()),
            _ => Err(FsError::WrongKind(ino)),
        }
    }

    fn mknod(&self, caller: &Caller, at: Place<'_>, node: NewNode) -> FsResult<Entry> {
        let body = match node.kind {
            FileKind::Regular => Body::File(Content::default()),
            FileKind::Directory | FileKind::Symlink => return Err(FsError::InvalidArgument),
            kind => Body::Node(kind),
        };
        let mut state = self.now();
        let ino = state.make(caller, at, node.perm, body)?;
        if matches!(node.kind, FileKind::CharDevice | FileKind::BlockDevice) {
            state.inode_mut(ino)?.rdev = node.rdev;
        }
        state.entry(ino)
    }

    fn mkdir(&self, caller: &Caller, at: Place<'_>, perm: u16) -> FsResult<Entry> {
        self.now().mkdir(caller, at, perm)
    }

    fn symlink(&self, caller: &Caller, at: Place<'_>, target: &[u8]) -> FsResult<Entry> {
        match target.len() {
            0 => return Err(FsError::NotFound),
            1..=TARGET_MAX => {}
            _ => return Err(FsError::TargetTooLong),
        }
        let mut state = self.now();
        let ino = state.make(caller, at, 0o777, Body::Symlink(target.to_vec()))?;
        state.entry(ino)
    }

    fn link(&self, ino: Ino, at: Place<'_>) -> FsResult<Entry> {
        self.now().link(ino, at)
    }

    fn unlink(&self, at: Place<'_>) -> FsResult<()> {
        self.now().unlink(at)
    }

    fn rmdir(&self, at: Place<'_>) -> FsResult<()> {
        self.now().rmdir(at)
    }

    fn rename(&self, from: Place<'_>, to: Place<'_>, mode: RenameMode) -> FsResult<()> {
        self.now().rename(from, to, mode)
    }

    fn create(
        &self,
        caller: &Caller,
        at: Place<'_>,
        perm: u16,
        mode: OpenMode,
    ) -> FsResult<(Entry, Handle)> {
        let mut state = self.now();
        let ino = state.make(caller, at, perm, Body::File(Content::default()))?;
        let handle = state.open(Open::File { ino, mode })?;
        Ok((state.entry(ino)?, handle))
    }

    fn open(&self, ino: Ino, mode: OpenMode) -> FsResult<Handle> {
        self.now().open_file(ino, mode)
    }

    fn read(&self, at: FileRange, buf: &mut [u8]) -> FsResult<usize> {
        self.now().read(at, buf)
    }

    fn write(&self, at: FileRange, data: &[u8]) -> FsResult<usize> {
        self.now().write(at, data)
    }

    fn flush(&self, ino: Ino, handle: Handle) -> FsResult<()> {
        self.now().opened(ino, handle).map(drop)
    }

    fn release(&self, _ino: Ino, handle: Handle) {
        self.now().close(handle);
    }

    fn fsync(&self, ino: Ino, handle: Handle) -> FsResult<()> {
        match self.now().handles.get(&handle) {
            Some(open) if open.ino() == ino => Ok(()),
            _ => Err(FsError::BadHandle),
        }
    }

    fn fallocate(&self, at: FileRange, len: u64, mode: Allocate) -> FsResult<()> {
        self.now().fallocate(at, len, mode)
    }

    fn seek(&self, at: FileRange, what: Seek) -> FsResult<u64> {
        self.now().seek(at, what)
    }

    fn copy_range(&self, from: FileRange, to: FileRange, len: u64) -> FsResult<u64> {
        self.now().copy_range(from, to, len)
    }

    fn opendir(&self, ino: Ino) -> FsResult<Handle> {
        let mut state = self.now();
        let last = state.dir(ino)?.last_cookie();
        state.open(Open::Directory { ino, last })
    }

    fn readdir(
        &self,
        handle: Handle,
        from: Cookie,
        sink: &mut dyn FnMut(DirEntry<'_>) -> Listing,
    ) -> FsResult<()> {
        let mut state = self.now();
        for (cookie, name, ino) in listing(&mut state, handle, from)? {
            let (kind, cookie) = (state.inode(ino)?.kind(), Cookie(cookie));
            if sink(DirEntry {
                name: &name,
                ino,
                kind,
                cookie,
            }) == Listing::Full
            {
                break;
            }
        }
        Ok(())
    }

    fn readdir_plus(
        &self,
        handle: Handle,
        from: Cookie,
        sink: &mut dyn FnMut(DirEntry<'_>, &Attr) -> Listing,
    ) -> FsResult<()> {
        let mut state = self.now();
        for (cookie, name, ino) in listing(&mut state, handle, from)? {
            let attr = state.inode(ino)?.attr(ino);
            let entry = DirEntry {
                name: &name,
                ino,
                kind: attr.kind,
                cookie: Cookie(cookie),
            };
            if sink(entry, &attr) == Listing::Full {
                break;
            }
            if cookie > DOT_DOT {
                state.inode_mut(ino)?.lookups += 1;
            }
        }
        Ok(())
    }

    fn releasedir(&self, handle: Handle) {
        self.now().close(handle);
    }

    fn statfs(&self) -> FsResult<Stats> {
        let state = self.now();
        let sectors: u64 = state
            .inodes
            .iter()
            .map(|(ino, inode)| inode.attr(*ino).blocks)
            .sum();
        let free = TOTAL_BLOCKS.saturating_sub(sectors / 8);
        Ok(Stats {
            block_size: 4096,
            blocks: TOTAL_BLOCKS,
            free,
            available: free,
            files: state.inodes.len() as u64,
            files_free: u64::from(u32::MAX),
        })
    }

    fn setxattr(&self, ino: Ino, name: &[u8], value: &[u8], mode: XattrMode) -> FsResult<()> {
        self.now().setxattr(ino, name, value, mode)
    }

    fn getxattr(&self, ino: Ino, name: &[u8]) -> FsResult<Vec<u8>> {
        self.now().getxattr(ino, name)
    }

    fn listxattr(&self, ino: Ino) -> FsResult<Vec<u8>> {
        self.now().listxattr(ino)
    }

    fn removexattr(&self, ino: Ino, name: &[u8]) -> FsResult<()> {
        self.now().removexattr(ino, name)
    }

    fn sync(&self) -> FsResult<()> {
        Ok(())
    }
}
