//! [`Vfs`] for a volume: each operation where its family implements it.

use std::sync::atomic::Ordering;

use super::Volume;
use super::commit::Scope;
use crate::error::{FsError, FsResult};
use crate::events::EventKind;
use crate::vfs::{
    Allocate, Attr, Caller, Cookie, DirEntry, Entry, FileRange, Handle, Ino, Listing, NewNode,
    OpenMode, Place, RenameMode, Seek, SetAttr, Stats, Vfs, XattrMode,
};

impl Volume {
    /// Keeps the running transaction bounded; waits holding no lock, for the cut of a commit that
    /// the timer makes: one thread with the memory that a large commit takes is enough.
    ///
    /// # Errors
    /// [`FsError::NoSpace`] when commits find no room, and those of `check_writable`.
    pub(super) fn wait_for_rows(&self) -> FsResult<()> {
        let bytes = || self.meta.active_bytes() + self.write_behind.leaf_bytes();
        if bytes() < self.options.rows_limit / 2 {
            return Ok(());
        }
        loop {
            let before = self.write_behind.progress();
            self.hurry();
            if bytes() < self.options.rows_limit {
                return Ok(());
            }
            self.check_writable()?;
            self.space.check()?;
            self.write_behind.wait_beyond(before);
        }
    }

    /// A cut takes rows along, and leaves of so many bytes: what waits is to be looked at anew.
    pub(super) fn note_cut_of_leaves(&self, bytes: usize) {
        self.write_behind.sub_leaf_bytes(bytes);
        self.hurried.store(false, Ordering::Release);
    }

    /// Like [`Volume::wait_for_rows`], for what changes content: nearly always it is one load.
    pub(super) fn wait_for_leaves(&self) -> FsResult<()> {
        if self.write_behind.leaf_bytes() < self.options.rows_limit / 2 {
            return Ok(());
        }
        self.wait_for_rows()
    }
}

impl Volume {
    /// Keeps a security event of what an operation met in the metadata. Blocks that do not verify
    /// are noted where they are read.
    pub(super) fn noted<T>(&self, result: FsResult<T>) -> FsResult<T> {
        if let Err(error) = &result {
            self.note_of(*error);
        }
        result
    }

    /// Keeps a security event, if the error is of the metadata.
    pub(super) fn note_of(&self, error: FsError) {
        match error {
            FsError::Inconsistent(ino) => self.events.note(EventKind::Metadata(ino.0)),
            FsError::MetadataTampered => self.note_metadata(EventKind::DatabasePage),
            _ => {}
        }
    }

    /// Keeps an event of the metadata as a whole, which for an image is that of the image.
    pub(super) fn note_metadata(&self, kind: EventKind) {
        self.events
            .note(self.image.map_or(kind, |id| EventKind::Image(id.0)));
    }
}

impl Vfs for Volume {
    fn lookup(&self, at: Place<'_>) -> FsResult<Entry> {
        self.noted(self.do_lookup(at))
    }
    fn was_replaced(&self, ino: Ino) -> bool {
        self.shares.replaced.drops(ino)
    }
    fn forget(&self, ino: Ino, count: u64) {
        self.do_forget(ino, count);
    }
    fn getattr(&self, ino: Ino) -> FsResult<Attr> {
        self.noted(self.do_getattr(ino))
    }
    fn setattr(&self, ino: Ino, handle: Option<Handle>, set: &SetAttr) -> FsResult<Attr> {
        self.noted(self.do_setattr(ino, handle, set))
    }
    fn readlink(&self, ino: Ino) -> FsResult<Vec<u8>> {
        self.noted(self.do_readlink(ino))
    }
    fn mknod(&self, caller: &Caller, at: Place<'_>, node: NewNode) -> FsResult<Entry> {
        self.noted(self.do_mknod(caller, at, node))
    }
    fn mkdir(&self, caller: &Caller, at: Place<'_>, perm: u16) -> FsResult<Entry> {
        self.noted(self.do_mkdir(caller, at, perm))
    }
    fn symlink(&self, caller: &Caller, at: Place<'_>, target: &[u8]) -> FsResult<Entry> {
        self.noted(self.do_symlink(caller, at, target))
    }
    fn link(&self, ino: Ino, at: Place<'_>) -> FsResult<Entry> {
        self.noted(self.do_link(ino, at))
    }
    fn unlink(&self, at: Place<'_>) -> FsResult<()> {
        self.noted(self.do_unlink(at))
    }
    fn rmdir(&self, at: Place<'_>) -> FsResult<()> {
        self.noted(self.do_rmdir(at))
    }
    fn rename(&self, from: Place<'_>, to: Place<'_>, mode: RenameMode) -> FsResult<()> {
        self.noted(self.do_rename(from, to, mode))
    }
    fn create(
        &self,
        caller: &Caller,
        at: Place<'_>,
        perm: u16,
        mode: OpenMode,
    ) -> FsResult<(Entry, Handle)> {
        self.noted(self.do_create(caller, at, (perm, mode)))
    }
    fn open(&self, ino: Ino, mode: OpenMode) -> FsResult<Handle> {
        self.check_regular(ino)?;
        self.noted(self.do_open(ino, mode))
    }
    fn read(&self, at: FileRange, buf: &mut [u8]) -> FsResult<usize> {
        self.noted(self.do_read(at, buf))
    }
    fn write(&self, at: FileRange, data: &[u8]) -> FsResult<usize> {
        self.noted(self.do_write(at, data))
    }
    fn flush(&self, _ino: Ino, handle: Handle) -> FsResult<()> {
        self.noted(self.do_flush(handle))
    }
    fn release(&self, ino: Ino, handle: Handle) {
        self.do_release(ino, handle);
    }
    fn fsync(&self, ino: Ino, handle: Handle) -> FsResult<()> {
        self.noted(self.do_fsync(ino, handle))
    }
    fn fallocate(&self, at: FileRange, len: u64, mode: Allocate) -> FsResult<()> {
        self.noted(self.do_fallocate(at, len, mode))
    }
    fn seek(&self, at: FileRange, what: Seek) -> FsResult<u64> {
        self.noted(self.do_seek(at, what))
    }
    fn copy_range(&self, from: FileRange, to: FileRange, len: u64) -> FsResult<u64> {
        self.noted(self.do_copy_range(from, to, len))
    }
    fn opendir(&self, ino: Ino) -> FsResult<Handle> {
        self.noted(self.do_opendir(ino))
    }
    fn readdir(
        &self,
        handle: Handle,
        from: Cookie,
        sink: &mut dyn FnMut(DirEntry<'_>) -> Listing,
    ) -> FsResult<()> {
        self.noted(self.do_readdir(handle, from, sink))
    }
    fn readdir_plus(
        &self,
        handle: Handle,
        from: Cookie,
        sink: &mut dyn FnMut(DirEntry<'_>, &Attr) -> Listing,
    ) -> FsResult<()> {
        self.noted(self.do_readdir_plus(handle, from, sink))
    }
    fn releasedir(&self, handle: Handle) {
        self.handles.close_dir(handle);
    }
    fn statfs(&self) -> FsResult<Stats> {
        self.noted(self.do_statfs())
    }
    fn setxattr(&self, ino: Ino, name: &[u8], value: &[u8], mode: XattrMode) -> FsResult<()> {
        self.noted(self.do_setxattr(ino, (name, value), mode))
    }
    fn getxattr(&self, ino: Ino, name: &[u8]) -> FsResult<Vec<u8>> {
        self.noted(self.do_getxattr(ino, name))
    }
    fn listxattr(&self, ino: Ino) -> FsResult<Vec<u8>> {
        self.noted(self.do_listxattr(ino))
    }
    fn removexattr(&self, ino: Ino, name: &[u8]) -> FsResult<()> {
        self.noted(self.do_removexattr(ino, name))
    }
    fn may_fetch(&self) -> bool {
        self.may_have_shares()
    }
    fn sync(&self) -> FsResult<()> {
        if self.is_read_only() {
            Ok(())
        } else {
            self.commit(&Scope::Everything)
        }
    }
}
