//! The filesystem of this machine behind the [`Vfs`] trait: comparing the model with it proves
//! that the model tells the truth about POSIX and Linux.

mod copy;
mod objects;
mod privilege;
mod xattr;

use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard};

use keyfold_fs::error::{FsError, FsResult};
use keyfold_fs::vfs::{
    Allocate, Attr, Caller, Cookie, DirEntry, Entry, FileKind, FileRange, Handle, Ino, Listing,
    NewNode, OpenMode, Place, RenameMode, Seek, SetAttr, SetTime, Stats, Vfs, XattrMode,
};
use nix::errno::Errno;
use nix::fcntl::{AtFlags, FallocateFlags, OFlag, RenameFlags};
use nix::sys::stat::{Mode, SFlag};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, UnlinkatFlags, Whence};
use tempfile::TempDir;

use self::copy::Spot;
use self::objects::{Objects, Opened, path};
use crate::errno;
use crate::subject::{Promises, Subject};

/// A directory of this machine.
pub(crate) struct HostFs {
    objects: Mutex<Objects>,
    _dir: TempDir,
}

impl HostFs {
    /// A new empty directory. Only for the thread that calls this.
    pub(crate) fn new() -> std::io::Result<Self> {
        privilege::own_umask();
        let dir = TempDir::new()?;
        let root = nix::fcntl::open(dir.path(), OFlag::O_PATH, Mode::empty())?;
        nix::sys::stat::fchmodat(&root, &*path(&root), 0o755_i32.mode(), FOLLOW)?;
        let objects = Mutex::new(Objects::starting_at(root));
        Ok(Self { objects, _dir: dir })
    }

    fn objects(&self) -> MutexGuard<'_, Objects> {
        self.objects.lock().expect("no panic under the lock")
    }

    fn object(&self, ino: Ino) -> FsResult<Arc<OwnedFd>> {
        self.objects().get(ino)
    }

    fn file(&self, handle: Handle) -> FsResult<(Arc<OwnedFd>, OpenMode)> {
        self.objects().file(handle)
    }

    fn found(&self, at: Place<'_>) -> FsResult<Entry> {
        let dir = self.object(at.parent)?;
        self.objects().entry_at(&dir, at.name.bytes())
    }

    fn make(
        &self,
        caller: &Caller,
        at: Place<'_>,
        f: impl FnOnce(&OwnedFd, &[u8]) -> nix::Result<()>,
    ) -> FsResult<Entry> {
        let dir = self.object(at.parent)?;
        privilege::acting_as(caller, || f(&dir, at.name.bytes())).map_err(failed)?;
        self.found(at)
    }

    fn truncate(&self, ino: Ino, handle: Option<Handle>, size: u64) -> FsResult<()> {
        let (fd, mode) = if let Some(handle) = handle {
            self.file(handle)?
        } else {
            // Only ftruncate(2) marks a change where the size stays.
            let mode = OpenMode {
                write: true,
                ..OpenMode::default()
            };
            (Arc::new(self.open_fd(ino, mode)?), mode)
        };
        if !mode.write {
            return Err(FsError::BadHandle);
        }
        privilege::plainly(&fd, || nix::unistd::ftruncate(&*fd, size as i64)).map_err(failed)
    }

    /// Opens what a front end may open: regular files.
    fn open_fd(&self, ino: Ino, mode: OpenMode) -> FsResult<OwnedFd> {
        let object = self.object(ino)?;
        match objects::attr(ino, &*object)?.kind {
            FileKind::Regular => {}
            FileKind::Directory => return Err(FsError::IsADirectory(ino)),
            _ => return Err(FsError::WrongKind(ino)),
        }
        let open = || nix::fcntl::open(&*path(&object), flags(mode), Mode::empty());
        privilege::plainly(&object, open).map_err(failed)
    }
}

const FOLLOW: nix::sys::stat::FchmodatFlags = nix::sys::stat::FchmodatFlags::FollowSymlink;

trait Perm {
    fn mode(self) -> Mode;
}

impl Perm for i32 {
    fn mode(self) -> Mode {
        Mode::from_bits_truncate(self as u32)
    }
}

fn failed(e: Errno) -> FsError {
    errno::error(e as i32)
}

fn cstring(bytes: &[u8]) -> FsResult<CString> {
    CString::new(bytes).map_err(|_| FsError::InvalidArgument)
}

fn flags(mode: OpenMode) -> OFlag {
    let mut flags = match (mode.read, mode.write) {
        (true, true) => OFlag::O_RDWR,
        (false, true) => OFlag::O_WRONLY,
        _ => OFlag::O_RDONLY,
    };
    flags.set(OFlag::O_APPEND, mode.append);
    flags.set(OFlag::O_TRUNC, mode.truncate);
    flags.set(OFlag::O_DSYNC, mode.sync);
    flags | OFlag::O_NOATIME
}

fn time(set: Option<SetTime>) -> TimeSpec {
    match set {
        None => TimeSpec::UTIME_OMIT,
        Some(SetTime::Now) => TimeSpec::UTIME_NOW,
        Some(SetTime::At(time)) => TimeSpec::new(time.secs, i64::from(time.nanos)),
    }
}

impl Vfs for HostFs {
    fn lookup(&self, at: Place<'_>) -> FsResult<Entry> {
        self.found(at)
    }

    /// Objects are kept to the end, so that the machine cannot give their numbers to others.
    fn forget(&self, _ino: Ino, _count: u64) {}

    fn getattr(&self, ino: Ino) -> FsResult<Attr> {
        objects::attr(ino, &*self.object(ino)?)
    }

    fn setattr(&self, ino: Ino, handle: Option<Handle>, set: &SetAttr) -> FsResult<Attr> {
        let object = self.object(ino)?;
        if let Some(size) = set.size {
            self.truncate(ino, handle, size)?;
        }
        if set.uid.is_some() || set.gid.is_some() {
            let (uid, gid) = (set.uid.map(Uid::from_raw), set.gid.map(Gid::from_raw));
            nix::unistd::fchownat(&object, c"", uid, gid, AtFlags::AT_EMPTY_PATH)
                .map_err(failed)?;
        }
        let path = path(&object);
        if let Some(perm) = set.perm {
            let mode = i32::from(perm).mode();
            nix::sys::stat::fchmodat(&object, &*path, mode, FOLLOW).map_err(failed)?;
        }
        if set.atime.is_some() || set.mtime.is_some() {
            let follow = nix::sys::stat::UtimensatFlags::FollowSymlink;
            let (atime, mtime) = (time(set.atime), time(set.mtime));
            nix::sys::stat::utimensat(&object, &*path, &atime, &mtime, follow).map_err(failed)?;
        }
        objects::attr(ino, &*object)
    }

    fn readlink(&self, ino: Ino) -> FsResult<Vec<u8>> {
        let target = nix::fcntl::readlinkat(&*self.object(ino)?, c"").map_err(failed)?;
        Ok(target.into_encoded_bytes())
    }

    fn mknod(&self, caller: &Caller, at: Place<'_>, node: NewNode) -> FsResult<Entry> {
        let kind = SFlag::from_bits_truncate(node.kind.mode_bits());
        let perm = i32::from(node.perm).mode();
        let dev = libc::makedev(node.rdev >> 8, node.rdev & 0xff);
        self.make(caller, at, |dir, name| {
            nix::sys::stat::mknodat(dir, name, kind, perm, dev)
        })
    }

    fn mkdir(&self, caller: &Caller, at: Place<'_>, perm: u16) -> FsResult<Entry> {
        let perm = i32::from(perm).mode();
        self.make(caller, at, |dir, name| {
            nix::sys::stat::mkdirat(dir, name, perm)
        })
    }

    fn symlink(&self, caller: &Caller, at: Place<'_>, target: &[u8]) -> FsResult<Entry> {
        self.make(caller, at, |dir, name| {
            nix::unistd::symlinkat(target, dir, name)
        })
    }

    fn link(&self, ino: Ino, at: Place<'_>) -> FsResult<Entry> {
        let (object, dir) = (self.object(ino)?, self.object(at.parent)?);
        let name = at.name.bytes();
        nix::unistd::linkat(&object, c"", &dir, name, AtFlags::AT_EMPTY_PATH).map_err(failed)?;
        self.found(at)
    }

    fn unlink(&self, at: Place<'_>) -> FsResult<()> {
        let dir = self.object(at.parent)?;
        let how = UnlinkatFlags::NoRemoveDir;
        nix::unistd::unlinkat(&dir, at.name.bytes(), how).map_err(failed)
    }

    fn rmdir(&self, at: Place<'_>) -> FsResult<()> {
        let dir = self.object(at.parent)?;
        let how = UnlinkatFlags::RemoveDir;
        nix::unistd::unlinkat(&dir, at.name.bytes(), how).map_err(failed)
    }

    fn rename(&self, from: Place<'_>, to: Place<'_>, mode: RenameMode) -> FsResult<()> {
        let (old, new) = (self.object(from.parent)?, self.object(to.parent)?);
        let flags = match mode {
            RenameMode::Replace => RenameFlags::empty(),
            RenameMode::NoReplace => RenameFlags::RENAME_NOREPLACE,
            RenameMode::Exchange => RenameFlags::RENAME_EXCHANGE,
        };
        nix::fcntl::renameat2(&old, from.name.bytes(), &new, to.name.bytes(), flags).map_err(failed)
    }

    fn create(
        &self,
        caller: &Caller,
        at: Place<'_>,
        perm: u16,
        mode: OpenMode,
    ) -> FsResult<(Entry, Handle)> {
        let dir = self.object(at.parent)?;
        let flags = flags(mode) | OFlag::O_CREAT | OFlag::O_EXCL;
        let perm = i32::from(perm).mode();
        let create = || nix::fcntl::openat(&dir, at.name.bytes(), flags, perm);
        let fd = privilege::acting_as(caller, create).map_err(failed)?;
        let entry = self.found(at)?;
        let handle = self.objects().open(Opened::File(Arc::new(fd), mode));
        Ok((entry, handle))
    }

    fn open(&self, ino: Ino, mode: OpenMode) -> FsResult<Handle> {
        let fd = Arc::new(self.open_fd(ino, mode)?);
        Ok(self.objects().open(Opened::File(fd, mode)))
    }

    fn read(&self, at: FileRange, buf: &mut [u8]) -> FsResult<usize> {
        let (fd, _) = self.file(at.handle)?;
        nix::sys::uio::pread(&*fd, buf, at.offset as i64).map_err(failed)
    }

    fn write(&self, at: FileRange, data: &[u8]) -> FsResult<usize> {
        let (fd, _) = self.file(at.handle)?;
        privilege::plainly(&fd, || nix::sys::uio::pwrite(&*fd, data, at.offset as i64))
            .map_err(failed)
    }

    fn flush(&self, _ino: Ino, handle: Handle) -> FsResult<()> {
        self.file(handle).map(drop)
    }

    fn release(&self, _ino: Ino, handle: Handle) {
        self.objects().close(handle);
    }

    fn fsync(&self, _ino: Ino, handle: Handle) -> FsResult<()> {
        nix::unistd::fsync(&*self.file(handle)?.0).map_err(failed)
    }

    fn fallocate(&self, at: FileRange, len: u64, mode: Allocate) -> FsResult<()> {
        let (fd, _) = self.file(at.handle)?;
        let keep = FallocateFlags::FALLOC_FL_KEEP_SIZE;
        let flags = match mode {
            Allocate::Extend => FallocateFlags::empty(),
            Allocate::KeepSize => keep,
            Allocate::PunchHole => keep | FallocateFlags::FALLOC_FL_PUNCH_HOLE,
            Allocate::Zero => FallocateFlags::FALLOC_FL_ZERO_RANGE,
            Allocate::ZeroKeepSize => keep | FallocateFlags::FALLOC_FL_ZERO_RANGE,
        };
        let (offset, len) = (at.offset as i64, len as i64);
        privilege::plainly(&fd, || nix::fcntl::fallocate(&*fd, flags, offset, len)).map_err(failed)
    }

    fn seek(&self, at: FileRange, what: Seek) -> FsResult<u64> {
        let (fd, _) = self.file(at.handle)?;
        let whence = match what {
            Seek::Data => Whence::SeekData,
            Seek::Hole => Whence::SeekHole,
        };
        let found = nix::unistd::lseek(fd.as_fd(), at.offset as i64, whence).map_err(failed)?;
        Ok(found as u64)
    }

    fn copy_range(&self, from: FileRange, to: FileRange, len: u64) -> FsResult<u64> {
        let ((source, _), (target, _)) = (self.file(from.handle)?, self.file(to.handle)?);
        let fd = Arc::clone(&target);
        let source = Spot {
            file: &*source,
            offset: from.offset,
        };
        let target = Spot {
            file: &*target,
            offset: to.offset,
        };
        privilege::plainly(&fd, || copy::range(&source, &target, len)).map_err(failed)
    }

    fn opendir(&self, ino: Ino) -> FsResult<Handle> {
        let dir = self.object(ino)?;
        let listed = self.objects().list(ino, &dir)?;
        Ok(self.objects().open(Opened::Directory(listed)))
    }

    fn readdir(
        &self,
        handle: Handle,
        from: Cookie,
        sink: &mut dyn FnMut(DirEntry<'_>) -> Listing,
    ) -> FsResult<()> {
        let listed = self.objects().listed(handle)?;
        for (at, entry) in listed.iter().enumerate().skip(from.0 as usize) {
            let (name, cookie) = (entry.name.as_slice(), Cookie(at as u64 + 1));
            let entry = DirEntry {
                name,
                ino: entry.ino,
                kind: entry.kind,
                cookie,
            };
            if sink(entry) == Listing::Full {
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
        let mut result = Ok(());
        self.readdir(handle, from, &mut |entry| match self.getattr(entry.ino) {
            Ok(attr) => sink(entry, &attr),
            Err(e) => {
                result = Err(e);
                Listing::Full
            }
        })?;
        result
    }

    fn releasedir(&self, handle: Handle) {
        self.objects().close(handle);
    }

    fn statfs(&self) -> FsResult<Stats> {
        Ok(Stats {
            block_size: 4096,
            blocks: 1,
            free: 1,
            available: 1,
            files: 1,
            files_free: 1,
        })
    }

    fn setxattr(&self, ino: Ino, name: &[u8], value: &[u8], mode: XattrMode) -> FsResult<()> {
        let flags = match mode {
            XattrMode::Set => 0,
            XattrMode::Create => libc::XATTR_CREATE,
            XattrMode::Replace => libc::XATTR_REPLACE,
        };
        let path = path(&*self.object(ino)?);
        xattr::set(&path, &cstring(name)?, value, flags).map_err(failed)
    }

    fn getxattr(&self, ino: Ino, name: &[u8]) -> FsResult<Vec<u8>> {
        xattr::get(&path(&*self.object(ino)?), &cstring(name)?).map_err(failed)
    }

    fn listxattr(&self, ino: Ino) -> FsResult<Vec<u8>> {
        xattr::list(&path(&*self.object(ino)?)).map_err(failed)
    }

    fn removexattr(&self, ino: Ino, name: &[u8]) -> FsResult<()> {
        xattr::remove(&path(&*self.object(ino)?), &cstring(name)?).map_err(failed)
    }

    fn sync(&self) -> FsResult<()> {
        Ok(())
    }
}

impl Subject for HostFs {
    fn vfs(&self) -> &dyn Vfs {
        self
    }

    fn remount(&mut self) {
        self.objects().close_all();
    }

    fn crash(&mut self) {
        self.objects().close_all();
    }

    fn promises(&self) -> Promises {
        Promises {
            layout: false,
            listing_order: false,
            limits: false,
            fixed_atime: false,
            forgets: false,
            crashes: false,
        }
    }
}
