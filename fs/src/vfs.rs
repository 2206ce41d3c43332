//! What a front end calls: files and directories by inode number, in the words of the Linux VFS.
//!
//! The trait is synchronous, takes `&self` and is safe to call from many threads. Permission
//! checks on paths, modes and sticky directories are the front end's (the kernel's, with
//! `default_permissions`); everything that *changes* because of who calls (ownership of new
//! files, setgid inheritance, clearing of setuid bits) is done here.

use std::fmt;

use crate::error::{FsError, FsResult};

/// Longest name of a directory entry, in bytes.
pub const NAME_MAX: usize = 255;
/// Longest target of a symbolic link, in bytes.
pub const TARGET_MAX: usize = 4095;
/// Largest file, in bytes (16 TiB).
pub const FILE_MAX: u64 = 16 << 40;
/// Most links an inode can have.
pub const LINK_MAX: u32 = 65_000;

/// An inode number: 64-bit, monotonic, never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ino(pub u64);

impl Ino {
    /// The root directory.
    pub const ROOT: Self = Self(1);
}

impl fmt::Display for Ino {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An open file or directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Handle(pub u64);

/// A position in a directory that stays valid while entries come and go. Listing continues
/// *after* the entry with this cookie; [`Cookie::START`] begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Cookie(pub u64);

impl Cookie {
    /// Before the first entry.
    pub const START: Self = Self(0);
}

/// A valid entry name: 1 to 255 bytes, without `/` and NUL, neither `.` nor `..`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name<'a>(&'a [u8]);

impl<'a> Name<'a> {
    /// Checks `bytes`.
    ///
    /// # Errors
    /// [`FsError::NameTooLong`] above 255 bytes, else [`FsError::InvalidArgument`].
    pub fn new(bytes: &'a [u8]) -> FsResult<Self> {
        if bytes.len() > NAME_MAX {
            return Err(FsError::NameTooLong);
        }
        if matches!(bytes, b"" | b"." | b"..") || bytes.iter().any(|b| matches!(b, b'/' | 0)) {
            return Err(FsError::InvalidArgument);
        }
        Ok(Self(bytes))
    }

    /// The bytes of the name.
    pub fn bytes(self) -> &'a [u8] {
        self.0
    }
}

/// A point in time; `nanos` counts forward from `secs` also before 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp {
    /// Seconds since 1970-01-01 UTC, negative before.
    pub secs: i64,
    /// Nanoseconds, 0 to 999 999 999.
    pub nanos: u32,
}

/// What an inode is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileKind {
    /// Regular file.
    Regular,
    /// Directory.
    Directory,
    /// Symbolic link.
    Symlink,
    /// Named pipe.
    Fifo,
    /// Unix socket.
    Socket,
    /// Character device.
    CharDevice,
    /// Block device.
    BlockDevice,
}

impl FileKind {
    /// The `S_IFMT` bits of this kind.
    pub fn mode_bits(self) -> u32 {
        match self {
            Self::Regular => libc::S_IFREG,
            Self::Directory => libc::S_IFDIR,
            Self::Symlink => libc::S_IFLNK,
            Self::Fifo => libc::S_IFIFO,
            Self::Socket => libc::S_IFSOCK,
            Self::CharDevice => libc::S_IFCHR,
            Self::BlockDevice => libc::S_IFBLK,
        }
    }

    /// The kind named by the `S_IFMT` bits of `mode`, where they name one.
    pub fn from_mode(mode: u32) -> Option<Self> {
        Some(match mode & libc::S_IFMT {
            libc::S_IFREG => Self::Regular,
            libc::S_IFDIR => Self::Directory,
            libc::S_IFLNK => Self::Symlink,
            libc::S_IFIFO => Self::Fifo,
            libc::S_IFSOCK => Self::Socket,
            libc::S_IFCHR => Self::CharDevice,
            libc::S_IFBLK => Self::BlockDevice,
            _ => return None,
        })
    }
}

/// Attributes of an inode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attr {
    /// Inode number.
    pub ino: Ino,
    /// What it is.
    pub kind: FileKind,
    /// Permission bits, setuid, setgid and sticky included (`mode & 0o7777`).
    pub perm: u16,
    /// Number of links; for a directory 2 plus its subdirectories.
    pub nlink: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Device number of a device node, in the kernel's 32-bit encoding.
    pub rdev: u32,
    /// Size in bytes; of a symlink the length of its target.
    pub size: u64,
    /// Space taken, in units of 512 bytes.
    pub blocks: u64,
    /// Last access; changes only when set.
    pub atime: Timestamp,
    /// Last change of the content.
    pub mtime: Timestamp,
    /// Last change of content or attributes.
    pub ctime: Timestamp,
    /// Creation.
    pub btime: Timestamp,
}

/// A looked-up inode. Whoever receives one owes one [`Vfs::forget`] of count 1 for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Its attributes.
    pub attr: Attr,
}

/// Who asks: decides ownership and mode of what is created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// Effective user id.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
    /// Bits taken from the mode of new objects where the directory has no default ACL.
    pub umask: u32,
}

/// A node to make with [`Vfs::mknod`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NewNode {
    /// Kind; not a directory or symlink.
    pub kind: FileKind,
    /// Permission bits before umask or default ACL.
    pub perm: u16,
    /// Device number for devices, else 0.
    pub rdev: u32,
}

/// Where a name lives: a directory and an entry name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place<'a> {
    /// The directory.
    pub parent: Ino,
    /// The name in it.
    pub name: Name<'a>,
}

/// How [`Vfs::rename`] treats an existing target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RenameMode {
    /// Replace it.
    Replace,
    /// Fail with [`FsError::Exists`] (`RENAME_NOREPLACE`).
    NoReplace,
    /// Swap the two (`RENAME_EXCHANGE`).
    Exchange,
}

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OpenMode {
    /// May be read.
    pub read: bool,
    /// May be written.
    pub write: bool,
    /// Every write goes to the end (`O_APPEND`).
    pub append: bool,
    /// Emptied on opening (`O_TRUNC`).
    pub truncate: bool,
    /// Every write is durable before it returns (`O_SYNC`, `O_DSYNC`).
    pub sync: bool,
}

/// A new value for a time stamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SetTime {
    /// The volume's clock.
    Now,
    /// This time.
    At(Timestamp),
}

/// What [`Vfs::setattr`] changes; `None` leaves a field as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SetAttr {
    /// Permission bits (`& 0o7777`).
    pub perm: Option<u16>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
    /// Size in bytes, at most [`FILE_MAX`].
    pub size: Option<u64>,
    /// Access time.
    pub atime: Option<SetTime>,
    /// Modification time.
    pub mtime: Option<SetTime>,
}

/// Whether an extended attribute may or must exist before it is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum XattrMode {
    /// Create or replace.
    Set,
    /// Fail with [`FsError::Exists`] if it exists (`XATTR_CREATE`).
    Create,
    /// Fail with [`FsError::NoAttribute`] if it does not (`XATTR_REPLACE`).
    Replace,
}

/// What [`Vfs::fallocate`] does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allocate {
    /// Make sure there is room, extending the file (mode 0).
    Extend,
    /// Make sure there is room, the size stays (`KEEP_SIZE`).
    KeepSize,
    /// Make a hole, the size stays (`PUNCH_HOLE | KEEP_SIZE`).
    PunchHole,
    /// Zero a range, extending the file (`ZERO_RANGE`).
    Zero,
    /// Zero a range, the size stays (`ZERO_RANGE | KEEP_SIZE`).
    ZeroKeepSize,
}

/// What [`Vfs::seek`] looks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seek {
    /// The next byte that is data (`SEEK_DATA`).
    Data,
    /// The next byte that is a hole; the end of the file counts as one (`SEEK_HOLE`).
    Hole,
}

/// A byte range of an open file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileRange {
    /// The inode.
    pub ino: Ino,
    /// The open handle.
    pub handle: Handle,
    /// First byte.
    pub offset: u64,
}

/// One entry as [`Vfs::readdir`] lists it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DirEntry<'a> {
    /// Its name; `.` and `..` come first.
    pub name: &'a [u8],
    /// Its inode.
    pub ino: Ino,
    /// What it is.
    pub kind: FileKind,
    /// Listing continues after this entry from here.
    pub cookie: Cookie,
}

/// Whether a listing goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listing {
    /// The entry was taken.
    Continue,
    /// The entry was *not* taken (the buffer is full); listing ends before it.
    Full,
}

/// Totals of the volume for statfs(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stats {
    /// Unit of the counts below, in bytes.
    pub block_size: u32,
    /// Blocks in all.
    pub blocks: u64,
    /// Free blocks.
    pub free: u64,
    /// Free blocks for ordinary users.
    pub available: u64,
    /// Inodes in use.
    pub files: u64,
    /// Inodes that can still be made.
    pub files_free: u64,
}

/// A mounted volume as a front end sees it.
///
/// Every inode handed out in an [`Entry`] (by `lookup`, the creating calls, `link` and
/// `readdir_plus`) is kept until it has been forgotten as often as it was handed out, also when
/// its last name is gone. Open handles keep it too.
pub trait Vfs: Send + Sync {
    /// Finds `at`.
    fn lookup(&self, at: Place<'_>) -> FsResult<Entry>;
    /// Takes back `count` of the entries handed out for `ino`.
    fn forget(&self, ino: Ino, count: u64);
    /// Reads the attributes.
    fn getattr(&self, ino: Ino) -> FsResult<Attr>;
    /// Changes attributes. `handle` is the open handle the change came through, if any.
    fn setattr(&self, ino: Ino, handle: Option<Handle>, set: &SetAttr) -> FsResult<Attr>;
    /// Reads a symlink's target.
    ///
    /// [`FsError::AccessDenied`] when it is not to be followed.
    fn readlink(&self, ino: Ino) -> FsResult<Vec<u8>>;

    /// Makes a file, FIFO, socket or device node.
    fn mknod(&self, caller: &Caller, at: Place<'_>, node: NewNode) -> FsResult<Entry>;
    /// Makes a directory with permission bits `perm`.
    fn mkdir(&self, caller: &Caller, at: Place<'_>, perm: u16) -> FsResult<Entry>;
    /// Makes a symlink to `target`.
    fn symlink(&self, caller: &Caller, at: Place<'_>, target: &[u8]) -> FsResult<Entry>;
    /// Makes another name for `ino`.
    fn link(&self, ino: Ino, at: Place<'_>) -> FsResult<Entry>;
    /// Removes the name of anything but a directory.
    fn unlink(&self, at: Place<'_>) -> FsResult<()>;
    /// Removes an empty directory.
    fn rmdir(&self, at: Place<'_>) -> FsResult<()>;
    /// Moves `from` to `to`.
    fn rename(&self, from: Place<'_>, to: Place<'_>, mode: RenameMode) -> FsResult<()>;

    /// Makes and opens a regular file. An existing name fails with [`FsError::Exists`].
    fn create(
        &self,
        caller: &Caller,
        at: Place<'_>,
        perm: u16,
        mode: OpenMode,
    ) -> FsResult<(Entry, Handle)>;
    /// Opens a regular file. Fails with [`FsError::Stale`] when others changed it since it was looked at:
    /// whoever looks again opens what is there now.
    fn open(&self, ino: Ino, mode: OpenMode) -> FsResult<Handle>;
    /// Whether others replaced the content of a file that was just opened, so that what is cached of it is
    /// of before.
    fn was_replaced(&self, ino: Ino) -> bool {
        let _ = ino;
        false
    }
    /// Reads into `buf`; returns the bytes read, short only at the end of the file.
    fn read(&self, at: FileRange, buf: &mut [u8]) -> FsResult<usize>;
    /// Writes all of `data`, or fails without having changed the file.
    fn write(&self, at: FileRange, data: &[u8]) -> FsResult<usize>;
    /// A descriptor of the handle was closed: reports a write error not yet reported.
    fn flush(&self, ino: Ino, handle: Handle) -> FsResult<()>;
    /// The last descriptor of the handle is gone.
    fn release(&self, ino: Ino, handle: Handle);
    /// Makes the file's content and attributes durable; waits for the disk.
    fn fsync(&self, ino: Ino, handle: Handle) -> FsResult<()>;
    /// Allocates, punches or zeroes `len` bytes.
    fn fallocate(&self, at: FileRange, len: u64, mode: Allocate) -> FsResult<()>;
    /// Finds data or holes at or after the offset.
    fn seek(&self, at: FileRange, what: Seek) -> FsResult<u64>;
    /// Copies up to `len` bytes between files; returns how many were copied. Ranges that overlap
    /// in one file fail with [`FsError::InvalidArgument`].
    fn copy_range(&self, from: FileRange, to: FileRange, len: u64) -> FsResult<u64>;

    /// Opens a directory for listing.
    fn opendir(&self, ino: Ino) -> FsResult<Handle>;
    /// Lists entries after `from`, in cookie order, until `sink` is full. Entries made after the last
    /// call with [`Cookie::START`] are not listed by later calls.
    fn readdir(
        &self,
        handle: Handle,
        from: Cookie,
        sink: &mut dyn FnMut(DirEntry<'_>) -> Listing,
    ) -> FsResult<()>;
    /// Like [`Vfs::readdir`], with attributes. An entry that `sink` takes counts as looked up,
    /// except `.` and `..`.
    fn readdir_plus(
        &self,
        handle: Handle,
        from: Cookie,
        sink: &mut dyn FnMut(DirEntry<'_>, &Attr) -> Listing,
    ) -> FsResult<()>;
    /// Closes a directory.
    fn releasedir(&self, handle: Handle);

    /// Totals of the volume.
    fn statfs(&self) -> FsResult<Stats>;
    /// Sets an extended attribute. ACLs (`system.posix_acl_*`) are in the kernel's wire form and
    /// change the mode with them.
    fn setxattr(&self, ino: Ino, name: &[u8], value: &[u8], mode: XattrMode) -> FsResult<()>;
    /// Reads an extended attribute.
    fn getxattr(&self, ino: Ino, name: &[u8]) -> FsResult<Vec<u8>>;
    /// Lists the names of extended attributes, each followed by NUL.
    fn listxattr(&self, ino: Ino) -> FsResult<Vec<u8>>;
    /// Removes an extended attribute.
    fn removexattr(&self, ino: Ino, name: &[u8]) -> FsResult<()>;
    /// Makes everything done so far durable; waits for the disk.
    fn sync(&self) -> FsResult<()>;
    /// Whether reading may have to wait for a network.
    fn may_fetch(&self) -> bool {
        false
    }
}
