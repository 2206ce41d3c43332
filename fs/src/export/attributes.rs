//! Owner, mode, extended attributes and times of what was exported.
//!
//! The order matters: giving a file away clears its setuid bits and capabilities, and setting
//! anything changes its times.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::{ExportError, Omission, Run, Task};
use crate::vfs::{Attr, FileKind, Timestamp};

/// Bits that are only right together with the right owner.
const OWNER_BITS: u16 = 0o6000;

/// An object of the destination.
pub(super) enum Object<'a> {
    /// One that is open.
    Open(&'a OwnedFd),
    /// A link or node, by name.
    Named(&'a OwnedFd, &'a [u8]),
}

impl Run<'_, '_> {
    /// Gives `object` the attributes `attr` and the extended attributes of that inode.
    pub(super) fn dress(
        &mut self,
        object: &Object<'_>,
        relative: &Path,
        attr: &Attr,
    ) -> Result<(), ExportError> {
        let mut perm = attr.perm;
        if !self.give_away(object, relative, attr)? {
            perm &= !OWNER_BITS;
        }
        if attr.kind != FileKind::Symlink {
            let mode = Mode::from_raw_mode(u32::from(perm));
            let set = match object {
                Object::Open(fd) => rustix::fs::fchmod(fd, mode),
                Object::Named(dir, name) => rustix::fs::chmodat(dir, *name, mode, AtFlags::empty()),
            };
            set.map_err(|e| self.failed(Task::Attributes, relative, e))?;
        }
        self.copy_extended(object, relative, attr);
        let times = Timestamps {
            last_access: timespec(attr.atime),
            last_modification: timespec(attr.mtime),
        };
        let set = match object {
            Object::Open(fd) => rustix::fs::futimens(fd, &times),
            Object::Named(dir, name) => {
                rustix::fs::utimensat(dir, *name, &times, AtFlags::SYMLINK_NOFOLLOW)
            }
        };
        set.map_err(|e| self.failed(Task::Attributes, relative, e))
    }

    /// Sets owner and group; whether they are right now.
    fn give_away(
        &mut self,
        object: &Object<'_>,
        relative: &Path,
        attr: &Attr,
    ) -> Result<bool, ExportError> {
        let (user, group) = (Some(Uid::from_raw(attr.uid)), Some(Gid::from_raw(attr.gid)));
        let given = match object {
            Object::Open(fd) => rustix::fs::fchown(fd, user, group),
            Object::Named(dir, name) => {
                rustix::fs::chownat(dir, *name, user, group, AtFlags::SYMLINK_NOFOLLOW)
            }
        };
        match given {
            Ok(()) => Ok(true),
            // An ordinary user owns what he exports, as with `cp -a`.
            Err(Errno::PERM | Errno::INVAL | Errno::OPNOTSUPP)
                if !rustix::process::geteuid().is_root() =>
            {
                Ok(false)
            }
            Err(Errno::PERM | Errno::INVAL | Errno::OPNOTSUPP) => {
                self.leave_out(relative, Omission::Owner);
                Ok(false)
            }
            Err(e) => Err(self.failed(Task::Attributes, relative, e)),
        }
    }

    fn copy_extended(&mut self, object: &Object<'_>, relative: &Path, attr: &Attr) {
        let vfs = self.source.vfs;
        let Ok(names) = vfs.listxattr(attr.ino) else {
            self.leave_out(relative, Omission::Attribute);
            return;
        };
        for name in names.split(|&b| b == 0).filter(|name| !name.is_empty()) {
            let set = vfs
                .getxattr(attr.ino, name)
                .is_ok_and(|value| match object {
                    Object::Open(fd) => {
                        rustix::fs::fsetxattr(fd, name, &value, XattrFlags::empty()).is_ok()
                    }
                    Object::Named(dir, file) => {
                        let path = through_descriptor(dir, file);
                        rustix::fs::lsetxattr(path, name, &value, XattrFlags::empty()).is_ok()
                    }
                });
            if !set {
                self.leave_out(relative, Omission::Attribute);
            }
        }
    }
}

/// A path to `name` in `dir` for calls that know no directory descriptors.
fn through_descriptor(dir: &OwnedFd, name: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    let dir = dir.as_fd().as_raw_fd();
    PathBuf::from(format!("/proc/self/fd/{dir}")).join(std::ffi::OsStr::from_bytes(name))
}

fn timespec(at: Timestamp) -> Timespec {
    Timespec {
        tv_sec: at.secs,
        tv_nsec: i64::from(at.nanos),
    }
}
