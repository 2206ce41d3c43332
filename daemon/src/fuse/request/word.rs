//! What the log calls each operation.

use super::{DirectoryOp, FileOp, InodeOp, MountOp, NameOp};

impl NameOp<'_> {
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Lookup(_) => "lookup",
            Self::Mknod(..) => "mknod",
            Self::Mkdir(..) => "mkdir",
            Self::Symlink(..) => "symlink",
            Self::Link(..) => "link",
            Self::Create(..) => "create",
            Self::Unlink(_) => "unlink",
            Self::Rmdir(_) => "rmdir",
            Self::Rename(..) => "rename",
        }
    }
}

impl InodeOp<'_> {
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Getattr => "getattr",
            Self::Statx => "statx",
            Self::Setattr(..) => "setattr",
            Self::Readlink => "readlink",
            Self::Setxattr(..) => "setxattr",
            Self::Getxattr(..) => "getxattr",
            Self::Listxattr(_) => "listxattr",
            Self::Removexattr(_) => "removexattr",
        }
    }
}

impl FileOp<'_> {
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Open(_) => "open",
            Self::Read(..) => "read",
            Self::Write(..) => "write",
            Self::Flush(_) => "flush",
            Self::Release(_) => "release",
            Self::Fsync(_) => "fsync",
            Self::Fallocate(..) => "fallocate",
            Self::Lseek(_) => "lseek",
            Self::CopyFileRange(_) => "copy_file_range",
            Self::Ioctl => "ioctl",
        }
    }
}

impl DirectoryOp {
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Opendir => "opendir",
            Self::Readdir(_) => "readdir",
            Self::Readdirplus(_) => "readdirplus",
            Self::Releasedir(_) => "releasedir",
            Self::Fsyncdir(_) => "fsyncdir",
        }
    }
}

impl MountOp<'_> {
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Statfs => "statfs",
            Self::Syncfs => "syncfs",
            Self::Forget(_) | Self::ForgetMany(_) => "forget",
            Self::Interrupt => "interrupt",
            Self::Destroy => "destroy",
        }
    }
}
