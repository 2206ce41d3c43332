//! fuser's callbacks: each turns a request into an operation of [`Front`](super::front::Front).

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::SystemTime;

use fuser::{
    BsdFileFlags, CopyFileRangeFlags, Errno as FuserErrno, FileHandle, Filesystem, INodeNo,
    IoctlFlags, KernelConfig, LockOwner, OpenFlags, PollEvents, PollFlags, PollNotifier,
    RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty,
    ReplyEntry, ReplyIoctl, ReplyLseek, ReplyOpen, ReplyPoll, ReplyStatfs, ReplyWrite, ReplyXattr,
    Request, TimeOrNow, WriteFlags,
};
use keyfold_fs::vfs::{Cookie, FileRange, Handle, Listing, NewNode, SetAttr};
use nix::errno::Errno;

use super::adapter::{Adapter, Call, negotiate};
use super::convert::{self, ino};
use super::front::{Asker, Creation, Exclusive};
use super::reply::{Answer, GENERATION, TTL};

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

/// fuser says `true` when an entry did not fit and was not taken.
fn listing(full: bool) -> Listing {
    if full {
        Listing::Full
    } else {
        Listing::Continue
    }
}

impl Filesystem for Adapter {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        negotiate(config).ok_or_else(|| io::Error::from_raw_os_error(libc::EPROTO))
    }

    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        self.reply(Call::new("lookup", parent), reply, |front| {
            front.lookup(ino(parent), name)
        });
    }

    fn forget(&self, _: &Request, file: INodeNo, nlookup: u64) {
        let call = Call::new("forget", file);
        self.serve_unnoticed(call, |front| front.forget(ino(file), nlookup));
    }

    fn getattr(&self, _: &Request, file: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        self.reply(Call::new("getattr", file), reply, |front| {
            front.getattr(ino(file))
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
        self.reply_waiting(Call::new("setattr", file), reply, move |front| {
            front.setattr(ino(file), fh.map(handle), &set)
        });
    }

    fn readlink(&self, _: &Request, file: INodeNo, reply: ReplyData) {
        self.reply(Call::new("readlink", file), reply, |front| {
            front.readlink(ino(file))
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
        self.reply(Call::new("mknod", parent), reply, |front| {
            let kind = convert::node_kind(mode)?;
            let node = NewNode {
                kind,
                perm: convert::perm(mode),
                rdev,
            };
            front.mknod(asker(request), umask, (ino(parent), name), node)
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
        self.reply(Call::new("mkdir", parent), reply, |front| {
            front.mkdir(
                asker(request),
                umask,
                (ino(parent), name),
                convert::perm(mode),
            )
        });
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.reply(Call::new("unlink", parent), reply, |front| {
            front.unlink((ino(parent), name))
        });
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.reply(Call::new("rmdir", parent), reply, |front| {
            front.rmdir((ino(parent), name))
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
        self.reply(Call::new("symlink", parent), reply, |front| {
            let target = target.as_os_str().as_bytes();
            front.symlink(asker(request), (ino(parent), link_name), target)
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
        self.reply(Call::new("rename", parent), reply, |front| {
            let mode = convert::rename_mode(flags)?;
            front.rename((ino(parent), name), (ino(newparent), newname), mode)
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
        self.reply(Call::new("link", file), reply, |front| {
            front.link(ino(file), (ino(newparent), newname))
        });
    }

    fn open(&self, request: &Request, file: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        self.reply(Call::new("open", file), reply, |front| {
            front.open(asker(request), ino(file), convert::open_mode(flags.0))
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
        Adapter::read(
            self,
            Call::new("read", file),
            range(file, fh, offset),
            size,
            reply,
        );
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
        let what = (range(file, fh, offset), data);
        Adapter::write(self, Call::new("write", file), asker(request), what, reply);
    }

    fn flush(&self, _: &Request, file: INodeNo, fh: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        self.reply_waiting(Call::new("flush", file), reply, move |front| {
            front.flush(ino(file), handle(fh))
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
        self.reply(Call::new("release", file), reply, |front| {
            front.release(ino(file), handle(fh));
            Ok(())
        });
    }

    fn fsync(&self, _: &Request, file: INodeNo, fh: FileHandle, _: bool, reply: ReplyEmpty) {
        self.reply_waiting(Call::new("fsync", file), reply, move |front| {
            front.fsync(ino(file), handle(fh))
        });
    }

    fn opendir(&self, _: &Request, file: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        self.reply(Call::new("opendir", file), reply, |front| {
            front.opendir(ino(file))
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
        let call = Call::new("readdir", file);
        self.serve(call, |front| {
            let directory = (ino(file), handle(fh));
            let listed = front.readdir(directory, Cookie(offset), &mut |entry| {
                let kind = convert::file_type(entry.kind);
                let name = OsStr::from_bytes(entry.name);
                listing(reply.add(INodeNo(entry.ino.0), entry.cookie.0, kind, name))
            });
            reply.answer(call, listed);
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
        let call = Call::new("readdirplus", file);
        self.serve(call, |front| {
            let directory = (ino(file), handle(fh));
            let listed = front.readdir_plus(directory, Cookie(offset), &mut |entry, attr| {
                let (name, attr) = (OsStr::from_bytes(entry.name), convert::file_attr(attr));
                listing(reply.add(attr.ino, entry.cookie.0, name, &TTL, &attr, GENERATION))
            });
            reply.answer(call, listed);
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
        self.reply(Call::new("releasedir", file), reply, |front| {
            front.releasedir(ino(file), handle(fh));
            Ok(())
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
        // Desktops ask every few seconds.
        let call = Call::new("statfs", file);
        self.serve_unnoticed(call, |front| reply.answer(call, front.statfs()));
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
        self.reply(Call::new("setxattr", file), reply, |front| {
            let mode = convert::xattr_mode(flags)?;
            front.setxattr(asker(request), ino(file), (name.as_bytes(), value), mode)
        });
    }

    fn getxattr(&self, _: &Request, file: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        self.reply(Call::new("getxattr", file), reply, |front| {
            front
                .getxattr(ino(file), name.as_bytes())
                .map(|value| (value, size))
        });
    }

    fn listxattr(&self, _: &Request, file: INodeNo, size: u32, reply: ReplyXattr) {
        self.reply(Call::new("listxattr", file), reply, |front| {
            front.listxattr(ino(file)).map(|names| (names, size))
        });
    }

    fn removexattr(&self, _: &Request, file: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.reply(Call::new("removexattr", file), reply, |front| {
            front.removexattr(ino(file), name.as_bytes())
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
        self.reply(Call::new("create", parent), reply, |front| {
            front.create(asker(request), (ino(parent), name), &new)
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
        self.reply_waiting(Call::new("fallocate", file), reply, move |front| {
            front.fallocate(at, length, convert::allocate(mode)?)
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
        self.reply(Call::new("lseek", file), reply, |front| {
            let (offset, what) = convert::seek(offset, whence)?;
            front.seek(range(file, fh, offset), what)
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
        self.reply_waiting(Call::new("copy_file_range", ino_out), reply, move |front| {
            if flags.bits() != 0 {
                return Err(Errno::EINVAL.into());
            }
            front.copy_range(from, to, len)
        });
    }
}
