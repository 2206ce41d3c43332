//! Objects and handles of the machine's filesystem, each held open.

use std::collections::{BTreeMap, HashMap};
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;

use keyfold_fs::error::{FsError, FsResult};
use keyfold_fs::vfs::{Attr, Entry, FileKind, Handle, Ino, OpenMode, Timestamp};
use nix::dir::Dir;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

use super::failed;
use crate::tree::Listed;

/// What a handle stands for.
pub(super) enum Opened {
    File(Arc<OwnedFd>, OpenMode),
    Directory(Arc<[Listed]>),
}

pub(super) struct Objects {
    held: BTreeMap<Ino, Arc<OwnedFd>>,
    /// By the machine's inode numbers, which stay taken while the object is held.
    numbers: HashMap<u64, Ino>,
    handles: BTreeMap<Handle, Opened>,
    last_handle: u64,
}

/// A path to whatever `fd` holds, also to a symlink itself.
pub(super) fn path(fd: &impl AsFd) -> Box<std::ffi::CStr> {
    let path = format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd());
    CString::new(path).expect("digits").into_boxed_c_str()
}

pub(super) fn attr(ino: Ino, fd: &impl AsFd) -> FsResult<Attr> {
    let stat = nix::sys::stat::fstat(fd).map_err(failed)?;
    let time = |secs, nanos: i64| Timestamp {
        secs,
        nanos: nanos as u32,
    };
    Ok(Attr {
        ino,
        kind: FileKind::from_mode(stat.st_mode).ok_or(FsError::WrongKind(ino))?,
        perm: (stat.st_mode & 0o7777) as u16,
        nlink: stat.st_nlink as u32,
        uid: stat.st_uid,
        gid: stat.st_gid,
        rdev: libc::major(stat.st_rdev) << 8 | libc::minor(stat.st_rdev),
        size: stat.st_size as u64,
        blocks: stat.st_blocks as u64,
        atime: time(stat.st_atime, stat.st_atime_nsec),
        mtime: time(stat.st_mtime, stat.st_mtime_nsec),
        ctime: time(stat.st_ctime, stat.st_ctime_nsec),
        btime: Timestamp::default(),
    })
}

impl Objects {
    pub(super) fn starting_at(root: OwnedFd) -> Self {
        let mut objects = Self {
            held: BTreeMap::new(),
            numbers: HashMap::new(),
            handles: BTreeMap::new(),
            last_handle: 0,
        };
        objects.hold(root).expect("the root can be read");
        objects
    }

    fn hold(&mut self, fd: OwnedFd) -> FsResult<Ino> {
        let number = nix::sys::stat::fstat(&fd).map_err(failed)?.st_ino;
        let next = Ino(Ino::ROOT.0 + self.held.len() as u64);
        let ino = *self.numbers.entry(number).or_insert(next);
        self.held.entry(ino).or_insert(Arc::new(fd));
        Ok(ino)
    }

    pub(super) fn get(&self, ino: Ino) -> FsResult<Arc<OwnedFd>> {
        self.held.get(&ino).cloned().ok_or(FsError::Stale(ino))
    }

    pub(super) fn entry_at(&mut self, dir: &OwnedFd, name: &[u8]) -> FsResult<Entry> {
        let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW;
        let fd = nix::fcntl::openat(dir, name, flags, Mode::empty()).map_err(failed)?;
        let ino = self.hold(fd)?;
        Ok(Entry {
            attr: attr(ino, &*self.get(ino)?)?,
        })
    }

    pub(super) fn open(&mut self, opened: Opened) -> Handle {
        self.last_handle += 1;
        self.handles.insert(Handle(self.last_handle), opened);
        Handle(self.last_handle)
    }

    pub(super) fn close(&mut self, handle: Handle) {
        self.handles.remove(&handle);
    }

    pub(super) fn close_all(&mut self) {
        self.handles.clear();
    }

    pub(super) fn file(&self, handle: Handle) -> FsResult<(Arc<OwnedFd>, OpenMode)> {
        match self.handles.get(&handle) {
            Some(Opened::File(fd, mode)) => Ok((Arc::clone(fd), *mode)),
            _ => Err(FsError::BadHandle),
        }
    }

    pub(super) fn listed(&self, handle: Handle) -> FsResult<Arc<[Listed]>> {
        match self.handles.get(&handle) {
            Some(Opened::Directory(listed)) => Ok(Arc::clone(listed)),
            _ => Err(FsError::BadHandle),
        }
    }

    /// The entries of a directory, `.` and `..` first.
    pub(super) fn list(&mut self, ino: Ino, dir: &OwnedFd) -> FsResult<Arc<[Listed]>> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOATIME;
        let mut open = Dir::open(&*path(dir), flags, Mode::empty()).map_err(failed)?;
        let mut listed = Vec::new();
        for entry in open.iter() {
            let name = entry.map_err(failed)?.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                let Attr { ino, kind, .. } = self.entry_at(dir, &name)?.attr;
                listed.push(Listed { name, ino, kind });
            }
        }
        let parent = if ino == Ino::ROOT {
            ino
        } else {
            self.entry_at(dir, b"..")?.attr.ino
        };
        let dot = |name: &[u8], ino| Listed {
            name: name.to_vec(),
            ino,
            kind: FileKind::Directory,
        };
        listed.splice(0..0, [dot(b".", ino), dot(b"..", parent)]);
        Ok(listed.into())
    }
}
