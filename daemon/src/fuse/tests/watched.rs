//! A filesystem that announces each of its operations before it does it, so that a test can count
//! them, hold them up or make them fail.

use keyfold_fs::error::FsResult;
use keyfold_fs::vfs::{
    Allocate, Attr, Caller, Cookie, DirEntry, Entry, FileRange, Handle, Ino, Listing, NewNode,
    OpenMode, Place, RenameMode, Seek, SetAttr, Stats, Vfs, XattrMode,
};

pub(super) struct Watched<V, W> {
    pub(super) inner: V,
    /// Called with the name of the operation.
    pub(super) watch: W,
}

macro_rules! announced {
    ($(fn $name:ident($($arg:ident: $kind:ty),*) $(-> $result:ty)?;)*) => {
        $(fn $name(&self, $($arg: $kind),*) $(-> $result)? {
            (self.watch)(stringify!($name));
            self.inner.$name($($arg),*)
        })*
    };
}

impl<V: Vfs, W: Fn(&'static str) + Send + Sync> Vfs for Watched<V, W> {
    announced! {
        fn lookup(at: Place<'_>) -> FsResult<Entry>;
        fn forget(ino: Ino, count: u64);
        fn getattr(ino: Ino) -> FsResult<Attr>;
        fn setattr(ino: Ino, handle: Option<Handle>, set: &SetAttr) -> FsResult<Attr>;
        fn readlink(ino: Ino) -> FsResult<Vec<u8>>;
        fn mknod(caller: &Caller, at: Place<'_>, node: NewNode) -> FsResult<Entry>;
        fn mkdir(caller: &Caller, at: Place<'_>, perm: u16) -> FsResult<Entry>;
        fn symlink(caller: &Caller, at: Place<'_>, target: &[u8]) -> FsResult<Entry>;
        fn link(ino: Ino, at: Place<'_>) -> FsResult<Entry>;
        fn unlink(at: Place<'_>) -> FsResult<()>;
        fn rmdir(at: Place<'_>) -> FsResult<()>;
        fn rename(from: Place<'_>, to: Place<'_>, mode: RenameMode) -> FsResult<()>;
        fn create(
            caller: &Caller, at: Place<'_>, perm: u16, mode: OpenMode
        ) -> FsResult<(Entry, Handle)>;
        fn open(ino: Ino, mode: OpenMode) -> FsResult<Handle>;
        fn read(at: FileRange, buf: &mut [u8]) -> FsResult<usize>;
        fn write(at: FileRange, data: &[u8]) -> FsResult<usize>;
        fn flush(ino: Ino, handle: Handle) -> FsResult<()>;
        fn release(ino: Ino, handle: Handle);
        fn fsync(ino: Ino, handle: Handle) -> FsResult<()>;
        fn fallocate(at: FileRange, len: u64, mode: Allocate) -> FsResult<()>;
        fn seek(at: FileRange, what: Seek) -> FsResult<u64>;
        fn copy_range(from: FileRange, to: FileRange, len: u64) -> FsResult<u64>;
        fn opendir(ino: Ino) -> FsResult<Handle>;
        fn readdir(
            handle: Handle, from: Cookie, sink: &mut dyn FnMut(DirEntry<'_>) -> Listing
        ) -> FsResult<()>;
        fn readdir_plus(
            handle: Handle, from: Cookie, sink: &mut dyn FnMut(DirEntry<'_>, &Attr) -> Listing
        ) -> FsResult<()>;
        fn releasedir(handle: Handle);
        fn statfs() -> FsResult<Stats>;
        fn setxattr(ino: Ino, name: &[u8], value: &[u8], mode: XattrMode) -> FsResult<()>;
        fn getxattr(ino: Ino, name: &[u8]) -> FsResult<Vec<u8>>;
        fn listxattr(ino: Ino) -> FsResult<Vec<u8>>;
        fn removexattr(ino: Ino, name: &[u8]) -> FsResult<()>;
        fn sync() -> FsResult<()>;
    }
}
