//! fuser's callbacks: each hands a request to the [`Recording`] and sends what comes of it.

use std::ffi::OsStr;
use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};
use parking_lot::MutexGuard;
use rustix::fs::{AtFlags, Stat, fstatvfs};

use crate::log::Node;
use crate::passthrough::{Recording, Shared};

/// The kernel asks again each time: the directory beneath is what counts.
const TTL: Duration = Duration::ZERO;

pub(crate) struct Server(pub(crate) Shared);

impl Server {
    fn recording(&self) -> MutexGuard<'_, Recording> {
        let mut recording = self.0.lock();
        if recording.server.is_none() {
            recording.server = Some(rustix::thread::gettid().as_raw_nonzero().get());
        }
        recording
    }
}

fn attr(node: Node, stat: &Stat) -> FileAttr {
    let time = |secs: i64, nanos: u64| {
        let nanos = Duration::from_nanos(nanos);
        UNIX_EPOCH + Duration::from_secs(secs.max(0) as u64) + nanos
    };
    let directory = stat.st_mode & libc::S_IFMT == libc::S_IFDIR;
    FileAttr {
        ino: INodeNo(node.0),
        size: stat.st_size as u64,
        blocks: stat.st_blocks as u64,
        atime: time(stat.st_atime, stat.st_atime_nsec),
        mtime: time(stat.st_mtime, stat.st_mtime_nsec),
        ctime: time(stat.st_ctime, stat.st_ctime_nsec),
        crtime: UNIX_EPOCH,
        kind: if directory {
            FileType::Directory
        } else {
            FileType::RegularFile
        },
        perm: (stat.st_mode & 0o7777) as u16,
        nlink: stat.st_nlink as u32,
        uid: stat.st_uid,
        gid: stat.st_gid,
        rdev: 0,
        blksize: 4096,
        flags: 0,
    }
}

fn of(ino: INodeNo) -> Node {
    Node(ino.0)
}

fn empty(reply: ReplyEmpty, done: io::Result<()>) {
    match done {
        Ok(()) => reply.ok(),
        Err(e) => reply.error(e.into()),
    }
}

fn entry(reply: ReplyEntry, found: io::Result<(Node, Stat)>) {
    match found {
        Ok((node, stat)) => reply.entry(&TTL, &attr(node, &stat), Generation(0)),
        Err(e) => reply.error(e.into()),
    }
}

impl Filesystem for Server {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        entry(reply, self.recording().nodes.find(of(parent), name));
    }

    fn getattr(&self, _: &Request, ino: INodeNo, fh: Option<FileHandle>, reply: ReplyAttr) {
        let recording = self.recording();
        let stat = match fh {
            Some(fh) => recording
                .nodes
                .handle(fh.0)
                .and_then(|opened| Ok(rustix::fs::fstat(&opened.file)?)),
            None => recording.nodes.stat(of(ino)),
        };
        match stat {
            Ok(stat) => reply.attr(&TTL, &attr(of(ino), &stat)),
            Err(e) => reply.error(e.into()),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        fh: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let mut recording = self.recording();
        let node = of(ino);
        let fh = fh.map(|fh| fh.0);
        let sized = size.map_or(Ok(()), |len| recording.set_len(node, fh, len));
        let moded = mode.map_or(Ok(()), |mode| recording.set_mode(node, mode));
        let stat = sized.and(moded).and_then(|()| match fh {
            Some(fh) => Ok(rustix::fs::fstat(&recording.nodes.handle(fh)?.file)?),
            None => recording.nodes.stat(node),
        });
        match stat {
            Ok(stat) => reply.attr(&TTL, &attr(node, &stat)),
            Err(e) => reply.error(e.into()),
        }
    }

    fn mkdir(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        reply: ReplyEntry,
    ) {
        let made = self.recording().mkdir((of(parent), name), mode & !umask);
        entry(reply, made);
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let place = (of(parent), name);
        empty(reply, self.recording().remove(place, AtFlags::empty()));
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let place = (of(parent), name);
        empty(reply, self.recording().remove(place, AtFlags::REMOVEDIR));
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
        if parent != newparent || !flags.is_empty() {
            // The vault does neither, and the model of the disk knows neither.
            reply.error(Errno::EXDEV);
            return;
        }
        let renamed = self.recording().rename(of(parent), name, newname);
        empty(reply, renamed);
    }

    fn open(&self, _: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        match self.recording().open(of(ino), flags.0) {
            Ok(fh) => reply.opened(FileHandle(fh), FopenFlags::FOPEN_DIRECT_IO),
            Err(e) => reply.error(e.into()),
        }
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let place = (of(parent), name);
        match self.recording().create(place, mode & !umask, flags) {
            Ok((node, stat, fh)) => reply.created(
                &TTL,
                &attr(node, &stat),
                Generation(0),
                FileHandle(fh),
                FopenFlags::FOPEN_DIRECT_IO,
            ),
            Err(e) => reply.error(e.into()),
        }
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.recording().read(of(ino), fh.0, (offset, size)) {
            Ok(data) => reply.data(&data),
            Err(e) => reply.error(e.into()),
        }
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.recording().write(of(ino), fh.0, (offset, data)) {
            Ok(written) => reply.written(written),
            Err(e) => reply.error(e.into()),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn release(
        &self,
        _: &Request,
        _: INodeNo,
        fh: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        self.recording().nodes.opened.remove(&fh.0);
        reply.ok();
    }

    fn fsync(&self, _: &Request, ino: INodeNo, fh: FileHandle, _: bool, reply: ReplyEmpty) {
        empty(reply, self.recording().sync(of(ino), Some(fh.0)));
    }

    fn fsyncdir(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        empty(reply, self.recording().sync(of(ino), None));
    }

    fn readdir(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let listed = match self.recording().list(of(ino)) {
            Ok(listed) => listed,
            Err(e) => return reply.error(e.into()),
        };
        for (at, (name, directory)) in listed.iter().enumerate().skip(offset as usize) {
            let kind = if *directory {
                FileType::Directory
            } else {
                FileType::RegularFile
            };
            if reply.add(ino, at as u64 + 1, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _: &Request, ino: INodeNo, reply: ReplyStatfs) {
        let recording = self.recording();
        let found = recording
            .nodes
            .place(of(ino))
            .and_then(|place| Ok(fstatvfs(place)?));
        match found {
            Ok(s) => reply.statfs(
                s.f_blocks,
                s.f_bfree,
                s.f_bavail,
                s.f_files,
                s.f_ffree,
                s.f_bsize as u32,
                s.f_namemax as u32,
                s.f_frsize as u32,
            ),
            Err(e) => reply.error(e.into()),
        }
    }

    fn fallocate(
        &self,
        _: &Request,
        ino: INodeNo,
        fh: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let what = (offset, length, mode);
        empty(reply, self.recording().allocate(of(ino), fh.0, what));
    }
}
