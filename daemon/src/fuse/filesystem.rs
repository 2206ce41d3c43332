//! The adapter: fuser's callbacks in, [`Front`]'s operations, fuser's replies out.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use fuser::{
    BsdFileFlags, CopyFileRangeFlags, Errno as FuserErrno, FileHandle, Filesystem, INodeNo,
    InitFlags, IoctlFlags, KernelConfig, LockOwner, OpenFlags, PollEvents, PollFlags, PollNotifier,
    RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty,
    ReplyEntry, ReplyIoctl, ReplyLseek, ReplyOpen, ReplyPoll, ReplyStatfs, ReplyWrite, ReplyXattr,
    Request, TimeOrNow, WriteFlags,
};
use keyfold_fs::vfs::{Cookie, FileKind, FileRange, Handle, Listing, NewNode, SetAttr};
use nix::errno::Errno;

use super::convert::{self, ino};
use super::front::{Asker, Creation, Exclusive, Front, Outcome};
use super::receivers::{Pool, Receivers, Turn, Wait};
use super::reply::{Answer, GENERATION, TTL, with_buffer};

/// Largest write request, in bytes.
const MAX_WRITE: u32 = 1 << 20;
/// Most background requests (read-ahead, direct I/O) at a time.
const MAX_BACKGROUND: u16 = 64;
/// A read of more than this waits for the disk long enough to be worth a thread of its own.
const LARGE_READ: u32 = 256 << 10;

/// What is asked of the kernel; what it does not offer is done without.
///
/// Deliberately absent: `WRITEBACK_CACHE` (the kernel would own sizes and times, and hide a full
/// disk), `SETXATTR_EXT` (fuser misreads it), `POSIX_LOCKS` and `FLOCK_LOCKS` (fuser cannot tell
/// them apart; the kernel handles both by itself).
const WANTED: [InitFlags; 12] = [
    InitFlags::FUSE_PARALLEL_DIROPS,
    InitFlags::FUSE_DO_READDIRPLUS,
    InitFlags::FUSE_READDIRPLUS_AUTO,
    InitFlags::FUSE_CACHE_SYMLINKS,
    InitFlags::FUSE_EXPLICIT_INVAL_DATA,
    InitFlags::FUSE_ASYNC_DIO,
    InitFlags::FUSE_DIRECT_IO_ALLOW_MMAP,
    InitFlags::FUSE_ATOMIC_O_TRUNC,
    InitFlags::FUSE_MAX_PAGES,
    InitFlags::FUSE_DONT_MASK,
    InitFlags::FUSE_HANDLE_KILLPRIV_V2,
    InitFlags::FUSE_POSIX_ACL,
];

/// What the volume's semantics rest on.
const NEEDED: InitFlags = InitFlags::FUSE_DONT_MASK.union(InitFlags::FUSE_POSIX_ACL);

/// The filesystem fuser serves.
pub(crate) struct Adapter {
    front: Arc<Front>,
    receivers: Receivers,
    pool: Arc<Pool>,
}

impl Adapter {
    pub(crate) fn new(front: Arc<Front>, receivers: Receivers, pool: Arc<Pool>) -> Self {
        Self {
            front,
            receivers,
            pool,
        }
    }

    /// Serves a request here and now. A panic answers `EIO` (a dropped reply does) and the mount
    /// lives on.
    fn serve(&self, what: &'static str, ino: INodeNo, job: impl FnOnce(&Front)) {
        self.front.touch();
        guarded(&self.front, what, ino, job);
    }

    /// Serves a request that may wait, here or in the pool.
    fn serve_waiting(
        &self,
        wait: Wait,
        what: &'static str,
        ino: INodeNo,
        job: impl FnOnce(&Front) + Send + 'static,
    ) {
        self.front.touch();
        match self.receivers.turn(wait) {
            Turn::Here(_stay) => guarded(&self.front, what, ino, job),
            Turn::HandOver => {
                let front = Arc::clone(&self.front);
                self.pool
                    .hand_over(Box::new(move || guarded(&front, what, ino, job)));
            }
        }
    }
}

fn guarded(front: &Front, what: &'static str, ino: INodeNo, job: impl FnOnce(&Front)) {
    if catch_unwind(AssertUnwindSafe(|| job(front))).is_err() {
        tracing::error!(
            what,
            ino = ino.0,
            "a request panicked; it was answered with EIO"
        );
    }
}

fn asker(request: &Request) -> Asker {
    Asker {
        uid: request.uid(),
        gid: request.gid(),
        pid: request.pid(),
    }
}

fn handle(fh: FileHandle) -> Handle {
    Handle(fh.0)
}

fn range(file: INodeNo, fh: FileHandle, offset: u64) -> FileRange {
    FileRange {
        ino: ino(file),
        handle: handle(fh),
        offset,
    }
}

fn read(front: &Front, at: FileRange, size: u32, reply: ReplyData) {
    with_buffer(|buffer| match front.read(at, buffer, size) {
        Ok(()) => reply.data(buffer),
        Err(failure) => reply.answer("read", at.ino, Err(failure)),
    });
}

impl Filesystem for Adapter {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        if !config.capabilities().contains(NEEDED) {
            return Err(io::Error::from_raw_os_error(libc::EPROTO));
        }
        for flag in WANTED {
            if config.add_capabilities(flag).is_err() {
                tracing::debug!(flag = ?flag, "the kernel does not offer this");
            }
        }
        // None of these values is out of fuser's bounds, whose error is the nearest one.
        let _ = config.set_max_write(MAX_WRITE);
        let _ = config.set_max_background(MAX_BACKGROUND);
        let _ = config.set_congestion_threshold(MAX_BACKGROUND / 4 * 3);
        let _ = config.set_time_granularity(std::time::Duration::from_nanos(1));
        Ok(())
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        self.serve("lookup", parent, |front| {
            reply.answer("lookup", ino(parent), front.lookup(ino(parent), name));
        });
    }

    fn forget(&self, _: &Request, file: INodeNo, nlookup: u64) {
        guarded(&self.front, "forget", file, |front| {
            front.forget(ino(file), nlookup);
        });
    }

    fn getattr(&self, _: &Request, file: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        self.serve("getattr", file, |front| {
            reply.answer("getattr", ino(file), front.getattr(ino(file)));
        });
    }

    fn setattr(
        &self,
        _: &Request,
        file: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _: Option<SystemTime>,
        fh: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let set = SetAttr {
            perm: mode.map(convert::perm),
            uid,
            gid,
            size,
            atime: atime.map(convert::set_time),
            mtime: mtime.map(convert::set_time),
        };
        let wait = Wait::Rarely;
        self.serve_waiting(wait, "setattr", file, move |front| {
            reply.answer(
                "setattr",
                ino(file),
                front.setattr(ino(file), fh.map(handle), &set),
            );
        });
    }

    fn readlink(&self, _: &Request, file: INodeNo, reply: ReplyData) {
        self.serve("readlink", file, |front| {
            reply.answer("readlink", ino(file), front.readlink(ino(file)));
        });
    }

    fn mknod(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        rdev: u32,
        reply: ReplyEntry,
    ) {
        self.serve("mknod", parent, |front| {
            // No kind means a regular file, as in mknod(2).
            let kind = match mode & libc::S_IFMT {
                0 => Ok(FileKind::Regular),
                _ => FileKind::from_mode(mode).ok_or(Errno::EINVAL),
            };
            let made = kind.map_err(Into::into).and_then(|kind| {
                let node = NewNode {
                    kind,
                    perm: convert::perm(mode),
                    rdev,
                };
                front.mknod(asker(request), umask, (ino(parent), name), node)
            });
            reply.answer("mknod", ino(parent), made);
        });
    }

    fn mkdir(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        reply: ReplyEntry,
    ) {
        self.serve("mkdir", parent, |front| {
            let at = (ino(parent), name);
            let made = front.mkdir(asker(request), umask, at, convert::perm(mode));
            reply.answer("mkdir", ino(parent), made);
        });
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.serve("unlink", parent, |front| {
            reply.answer("unlink", ino(parent), front.unlink((ino(parent), name)));
        });
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.serve("rmdir", parent, |front| {
            reply.answer("rmdir", ino(parent), front.rmdir((ino(parent), name)));
        });
    }

    fn symlink(
        &self,
        request: &Request,
        parent: INodeNo,
        link_name: &OsStr,
        target: &Path,
        reply: ReplyEntry,
    ) {
        self.serve("symlink", parent, |front| {
            let target = target.as_os_str().as_bytes();
            let made = front.symlink(asker(request), (ino(parent), link_name), target);
            reply.answer("symlink", ino(parent), made);
        });
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        self.serve("rename", parent, |front| {
            let moved = convert::rename_mode(flags)
                .map_err(Into::into)
                .and_then(|mode| {
                    front.rename((ino(parent), name), (ino(newparent), newname), mode)
                });
            reply.answer("rename", ino(parent), moved);
        });
    }

    fn link(
        &self,
        _: &Request,
        file: INodeNo,
        newparent: INodeNo,
        newname: &OsStr,
        reply: ReplyEntry,
    ) {
        self.serve("link", file, |front| {
            reply.answer(
                "link",
                ino(file),
                front.link(ino(file), (ino(newparent), newname)),
            );
        });
    }

    fn open(&self, request: &Request, file: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        self.serve("open", file, |front| {
            let opened = front.open(asker(request), ino(file), convert::open_mode(flags.0));
            reply.answer("open", ino(file), opened);
        });
    }

    fn read(
        &self,
        _: &Request,
        file: INodeNo,
        fh: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let at = range(file, fh, offset);
        if size > LARGE_READ {
            self.serve_waiting(Wait::Likely, "read", file, move |front| {
                read(front, at, size, reply);
            });
        } else {
            self.serve("read", file, |front| read(front, at, size, reply));
        }
    }

    fn write(
        &self,
        request: &Request,
        file: INodeNo,
        fh: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        self.front.touch();
        let (asker, at) = (asker(request), range(file, fh, offset));
        let job = move |front: &Front, data: &[u8], reply: ReplyWrite| {
            let written = front.write(asker, at, data).map(|bytes| bytes as u64);
            reply.answer("write", at.ino, written);
        };
        match self.receivers.turn(Wait::Rarely) {
            Turn::Here(_stay) => {
                guarded(&self.front, "write", file, |front| job(front, data, reply));
            }
            // The copy is what a free receiving thread costs.
            Turn::HandOver => {
                let (front, data) = (Arc::clone(&self.front), data.to_vec());
                self.pool.hand_over(Box::new(move || {
                    guarded(&front, "write", file, |front| job(front, &data, reply));
                }));
            }
        }
    }

    fn flush(&self, _: &Request, file: INodeNo, fh: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        self.serve_waiting(Wait::Rarely, "flush", file, move |front| {
            reply.answer("flush", ino(file), front.flush(ino(file), handle(fh)));
        });
    }

    fn release(
        &self,
        _: &Request,
        file: INodeNo,
        fh: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.serve("release", file, |front| {
            front.release(ino(file), handle(fh));
            reply.ok();
        });
    }

    fn fsync(&self, _: &Request, file: INodeNo, fh: FileHandle, _: bool, reply: ReplyEmpty) {
        self.serve_waiting(Wait::Likely, "fsync", file, move |front| {
            reply.answer("fsync", ino(file), front.fsync(ino(file), handle(fh)));
        });
    }

    fn opendir(&self, _: &Request, file: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        self.serve("opendir", file, |front| {
            reply.answer("opendir", ino(file), front.opendir(ino(file)));
        });
    }

    fn readdir(
        &self,
        _: &Request,
        file: INodeNo,
        fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        self.serve("readdir", file, |front| {
            let directory = (ino(file), handle(fh));
            let listed = front.readdir(directory, Cookie(offset), &mut |entry| {
                let kind = convert::file_type(entry.kind);
                let name = OsStr::from_bytes(entry.name);
                listing(reply.add(INodeNo(entry.ino.0), entry.cookie.0, kind, name))
            });
            reply.answer("readdir", ino(file), listed);
        });
    }

    fn readdirplus(
        &self,
        _: &Request,
        file: INodeNo,
        fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        self.serve("readdirplus", file, |front| {
            let directory = (ino(file), handle(fh));
            let listed = front.readdir_plus(directory, Cookie(offset), &mut |entry, attr| {
                let (name, attr) = (OsStr::from_bytes(entry.name), convert::file_attr(attr));
                listing(reply.add(attr.ino, entry.cookie.0, name, &TTL, &attr, GENERATION))
            });
            reply.answer("readdirplus", ino(file), listed);
        });
    }

    fn releasedir(
        &self,
        _: &Request,
        file: INodeNo,
        fh: FileHandle,
        _: OpenFlags,
        reply: ReplyEmpty,
    ) {
        self.serve("releasedir", file, |front| {
            front.releasedir(ino(file), handle(fh));
            reply.ok();
        });
    }

    fn fsyncdir(
        &self,
        request: &Request,
        file: INodeNo,
        fh: FileHandle,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.fsync(request, file, fh, false, reply);
    }

    fn statfs(&self, _: &Request, file: INodeNo, reply: ReplyStatfs) {
        // Desktops ask every few seconds: this is no use of the mount.
        guarded(&self.front, "statfs", file, |front| {
            reply.answer("statfs", ino(file), front.statfs());
        });
    }

    fn setxattr(
        &self,
        request: &Request,
        file: INodeNo,
        name: &OsStr,
        value: &[u8],
        flags: i32,
        _: u32,
        reply: ReplyEmpty,
    ) {
        self.serve("setxattr", file, |front| {
            let set = convert::xattr_mode(flags)
                .map_err(Into::into)
                .and_then(|mode| {
                    front.setxattr(asker(request), ino(file), (name.as_bytes(), value), mode)
                });
            reply.answer("setxattr", ino(file), set);
        });
    }

    fn getxattr(&self, _: &Request, file: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        self.serve("getxattr", file, |front| {
            let value = front.getxattr(ino(file), name.as_bytes());
            reply.answer("getxattr", ino(file), value.map(|value| (value, size)));
        });
    }

    fn listxattr(&self, _: &Request, file: INodeNo, size: u32, reply: ReplyXattr) {
        self.serve("listxattr", file, |front| {
            let names = front.listxattr(ino(file));
            reply.answer("listxattr", ino(file), names.map(|names| (names, size)));
        });
    }

    fn removexattr(&self, _: &Request, file: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.serve("removexattr", file, |front| {
            let removed = front.removexattr(ino(file), name.as_bytes());
            reply.answer("removexattr", ino(file), removed);
        });
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        self.serve("create", parent, |front| {
            let exclusive = if flags & libc::O_EXCL == 0 {
                Exclusive::No
            } else {
                Exclusive::Yes
            };
            let (perm, mode) = (convert::perm(mode), convert::open_mode(flags));
            let new = Creation {
                perm,
                umask,
                mode,
                exclusive,
            };
            let created = front.create(asker(request), (ino(parent), name), &new);
            reply.answer("create", ino(parent), created);
        });
    }

    fn ioctl(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: IoctlFlags,
        _: u32,
        _: &[u8],
        _: u32,
        reply: ReplyIoctl,
    ) {
        reply.error(FuserErrno::ENOTTY);
    }

    fn poll(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: PollNotifier,
        _: PollEvents,
        _: PollFlags,
        reply: ReplyPoll,
    ) {
        // The kernel then answers poll(2) by itself, as for any file: always ready.
        reply.error(FuserErrno::ENOSYS);
    }

    fn fallocate(
        &self,
        _: &Request,
        file: INodeNo,
        fh: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let at = range(file, fh, offset);
        self.serve_waiting(Wait::Rarely, "fallocate", file, move |front| {
            let done = convert::allocate(mode)
                .map_err(Into::into)
                .and_then(|mode| front.fallocate(at, length, mode));
            reply.answer("fallocate", at.ino, done);
        });
    }

    fn lseek(
        &self,
        _: &Request,
        file: INodeNo,
        fh: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        self.serve("lseek", file, |front| {
            let found: Outcome<u64> = convert::seek(offset, whence)
                .map_err(Into::into)
                .and_then(|(offset, what)| front.seek(range(file, fh, offset), what));
            reply.answer("lseek", ino(file), found);
        });
    }

    fn copy_file_range(
        &self,
        _: &Request,
        ino_in: INodeNo,
        fh_in: FileHandle,
        offset_in: u64,
        ino_out: INodeNo,
        fh_out: FileHandle,
        offset_out: u64,
        len: u64,
        flags: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        let (from, to) = (
            range(ino_in, fh_in, offset_in),
            range(ino_out, fh_out, offset_out),
        );
        self.serve_waiting(Wait::Likely, "copy_file_range", ino_out, move |front| {
            let copied = if flags.bits() == 0 {
                front.copy_range(from, to, len)
            } else {
                Err(Errno::EINVAL.into())
            };
            reply.answer("copy_file_range", to.ino, copied);
        });
    }
}

/// fuser says `true` when an entry did not fit and was not taken.
fn listing(full: bool) -> Listing {
    if full {
        Listing::Full
    } else {
        Listing::Continue
    }
}
