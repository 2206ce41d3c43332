//! How each result is sent: one form a kind of reply, errors always through the errno table.

use std::cell::RefCell;
use std::time::Duration;

use fuser::{
    Errno as FuserErrno, FileAttr, FileHandle, FileType, FopenFlags, Generation, INodeNo,
    ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty, ReplyEntry,
    ReplyLseek, ReplyOpen, ReplyStatfs, ReplyWrite, ReplyXattr,
};
use keyfold_fs::vfs::{Attr, NAME_MAX, Stats};
use nix::errno::Errno;

use super::adapter::Call;
use super::convert::file_attr;
use super::errno::Failure;
use super::front::{Found, Opened, Outcome, Treatment};

/// How long the kernel may believe names and attributes. Everything that changes them passes
/// through this mount, and the kernel notices what it changes itself.
pub(crate) const TTL: Duration = Duration::from_mins(10);
/// Inode numbers are never reused.
pub(crate) const GENERATION: Generation = Generation(0);

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Lends the thread's buffer for the data of a reply, so that a read allocates nothing.
pub(crate) fn with_buffer(job: impl FnOnce(&mut Vec<u8>)) {
    // Taken out meanwhile: a panic leaves an empty buffer behind, not a borrowed one.
    let mut buffer = BUFFER.take();
    job(&mut buffer);
    BUFFER.set(buffer);
}

/// Sends an outcome as the reply to a request.
pub(crate) trait Answer<T>: Sized {
    fn answer(self, call: Call, outcome: Outcome<T>) {
        match outcome {
            Ok(value) => self.succeed(value),
            Err(failure) => self.fail(log(call, failure)),
        }
    }

    fn succeed(self, value: T);
    fn fail(self, errno: FuserErrno);
}

/// The errno of a failure; damage is also logged, by ids.
fn log(Call { what, ino }: Call, failure: Failure) -> FuserErrno {
    if let Some(error) = failure.damage() {
        tracing::error!(what, ino = ino.0, %error, "request failed");
    }
    FuserErrno::from_i32(failure.errno() as i32)
}

impl Answer<Attr> for ReplyEntry {
    fn succeed(self, attr: Attr) {
        self.entry(&TTL, &file_attr(&attr), GENERATION);
    }

    fn fail(self, errno: FuserErrno) {
        self.error(errno);
    }
}

impl Answer<Found> for ReplyEntry {
    fn succeed(self, found: Found) {
        match found {
            Found::Entry(attr) => self.succeed(attr),
            Found::Nothing => self.entry(&TTL, &NOTHING, GENERATION),
        }
    }

    fn fail(self, errno: FuserErrno) {
        self.error(errno);
    }
}

/// Inode 0: the kernel remembers that there is no such name.
const NOTHING: FileAttr = FileAttr {
    ino: INodeNo(0),
    size: 0,
    blocks: 0,
    atime: std::time::UNIX_EPOCH,
    mtime: std::time::UNIX_EPOCH,
    ctime: std::time::UNIX_EPOCH,
    crtime: std::time::UNIX_EPOCH,
    kind: FileType::RegularFile,
    perm: 0,
    nlink: 0,
    uid: 0,
    gid: 0,
    rdev: 0,
    blksize: 0,
    flags: 0,
};

impl Answer<Attr> for ReplyAttr {
    fn succeed(self, attr: Attr) {
        self.attr(&TTL, &file_attr(&attr));
    }

    fn fail(self, errno: FuserErrno) {
        self.error(errno);
    }
}

impl Answer<()> for ReplyEmpty {
    fn succeed(self, (): ()) {
        self.ok();
    }

    fn fail(self, errno: FuserErrno) {
        self.error(errno);
    }
}

impl Answer<Vec<u8>> for ReplyData {
    fn succeed(self, data: Vec<u8>) {
        self.data(&data);
    }

    fn fail(self, errno: FuserErrno) {
        self.error(errno);
    }
}

impl Answer<Opened> for ReplyOpen {
    fn succeed(self, opened: Opened) {
        self.opened(FileHandle(opened.handle.0), flags(opened.treatment));
    }

    fn fail(self, errno: FuserErrno) {
        self.error(errno);
    }
}

impl Answer<(Attr, Opened)> for ReplyCreate {
    fn succeed(self, (attr, opened): (Attr, Opened)) {
        let (handle, flags) = (FileHandle(opened.handle.0), flags(opened.treatment));
        self.created(&TTL, &file_attr(&attr), GENERATION, handle, flags);
    }

    fn fail(self, errno: FuserErrno) {
        self.error(errno);
    }
}

/// How the kernel is told to treat an open file.
fn flags(treatment: Treatment) -> FopenFlags {
    match treatment {
        Treatment::Cached => FopenFlags::FOPEN_KEEP_CACHE,
        Treatment::CachedReadOnly => FopenFlags::FOPEN_KEEP_CACHE | FopenFlags::FOPEN_NOFLUSH,
        Treatment::Listing => FopenFlags::FOPEN_KEEP_CACHE | FopenFlags::FOPEN_CACHE_DIR,
        Treatment::Direct => FopenFlags::FOPEN_DIRECT_IO,
    }
}

impl Answer<u64> for ReplyWrite {
    fn succeed(self, bytes: u64) {
        // No request is for more than its 32-bit length.
        self.written(u32::try_from(bytes).unwrap_or(u32::MAX));
    }

    fn fail(self, errno: FuserErrno) {
        self.error(errno);
    }
}

impl Answer<u64> for ReplyLseek {
    fn succeed(self, offset: u64) {
        self.offset(offset.cast_signed());
    }

    fn fail(self, errno: FuserErrno) {
        self.error(errno);
    }
}

impl Answer<()> for ReplyDirectory {
    fn succeed(self, (): ()) {
        self.ok();
    }

    fn fail(self, errno: FuserErrno) {
        self.error(errno);
    }
}

impl Answer<()> for ReplyDirectoryPlus {
    fn succeed(self, (): ()) {
        self.ok();
    }

    fn fail(self, errno: FuserErrno) {
        self.error(errno);
    }
}

impl Answer<Stats> for ReplyStatfs {
    fn succeed(self, stats: Stats) {
        self.statfs(
            stats.blocks,
            stats.free,
            stats.available,
            stats.files.saturating_add(stats.files_free),
            stats.files_free,
            stats.block_size,
            NAME_MAX as u32,
            stats.block_size,
        );
    }

    fn fail(self, errno: FuserErrno) {
        self.error(errno);
    }
}

/// A value and the room the caller has for it; no room asks for the size.
impl Answer<(Vec<u8>, u32)> for ReplyXattr {
    fn succeed(self, (value, room): (Vec<u8>, u32)) {
        match u32::try_from(value.len()) {
            Ok(size) if room == 0 => self.size(size),
            Ok(size) if size <= room => self.data(&value),
            _ => self.fail(FuserErrno::from_i32(Errno::ERANGE as i32)),
        }
    }

    fn fail(self, errno: FuserErrno) {
        self.error(errno);
    }
}
