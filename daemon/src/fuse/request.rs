//! A request of the kernel, decoded from the bytes of one message.

mod decode;
#[cfg(test)]
mod tests;
mod word;

use keyfold_fs::vfs::{Cookie, FileRange, Handle, Ino, OpenMode, SetAttr};
use nix::errno::Errno;

use super::front::{Asker, Creation};
use super::own_attributes;
use super::wire::{Fields, Malformed};

/// Most bytes of data in a request or its reply.
pub(crate) const DATA_MAX: u32 = 1 << 20;
/// A read from this size on waits for the disk long enough to be worth a thread of its own.
const LARGE_READ: u32 = (256 << 10) + 1;

/// What the kernel knows a request by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unique(pub(crate) u64);

/// What every request begins with (`fuse_in_header`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) opcode: u32,
    pub(crate) unique: Unique,
    pub(crate) ino: Ino,
    pub(crate) asker: Asker,
}

/// Why a request is answered without being looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    Malformed,
    /// Not one of the operations that are known here.
    Unknown,
}

impl Refusal {
    pub(crate) fn errno(self) -> Errno {
        match self {
            Self::Malformed => Errno::EIO,
            Self::Unknown => Errno::ENOSYS,
        }
    }
}

impl From<Malformed> for Refusal {
    fn from(Malformed: Malformed) -> Self {
        Self::Malformed
    }
}

/// A part of a directory's listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) handle: Handle,
    /// Entries after this one.
    pub(crate) from: Cookie,
    /// Most bytes of it.
    pub(crate) size: u32,
}

/// Inodes to forget, and how often.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Forgets<'a> {
    records: &'a [u8],
}

/// What is asked for, of the inode that the header names. Names and values are the caller's, not yet
/// checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation<'a> {
    Name(NameOp<'a>),
    Inode(InodeOp<'a>),
    File(FileOp<'a>),
    Directory(DirectoryOp),
    Mount(MountOp<'a>),
}

/// What is asked of names in the directory that the header names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NameOp<'a> {
    Lookup(&'a [u8]),
    Mknod(&'a [u8], Mknod),
    Mkdir(&'a [u8], Mkdir),
    Symlink(&'a [u8], Target<'a>),
    Link(&'a [u8], Ino),
    Create(&'a [u8], Creation),
    Unlink(&'a [u8]),
    Rmdir(&'a [u8]),
    Rename(&'a [u8], Rename<'a>),
}

/// The target of a symbolic link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Target<'a>(pub(crate) &'a [u8]);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mknod {
    pub(crate) mode: u32,
    pub(crate) rdev: u32,
    pub(crate) umask: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mkdir {
    pub(crate) perm: u16,
    pub(crate) umask: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rename<'a> {
    pub(crate) directory: Ino,
    pub(crate) name: &'a [u8],
    pub(crate) flags: u32,
}

/// What is asked of an inode of any kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InodeOp<'a> {
    Getattr,
    Statx,
    Setattr(Option<Handle>, SetAttr),
    Readlink,
    Setxattr(&'a [u8], Setxattr<'a>),
    /// The name, and the room for the value.
    Getxattr(&'a [u8], u32),
    /// The room for the names.
    Listxattr(u32),
    Removexattr(&'a [u8]),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Setxattr<'a> {
    pub(crate) value: &'a [u8],
    pub(crate) flags: i32,
}

/// What is asked of a regular file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileOp<'a> {
    Open(OpenMode),
    Read(FileRange, u32),
    Write(FileRange, &'a [u8]),
    Flush(Handle),
    Release(Handle),
    Fsync(Handle),
    Fallocate(FileRange, Fallocate),
    Lseek(Lseek),
    CopyFileRange(Copying),
    Ioctl,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fallocate {
    pub(crate) len: u64,
    pub(crate) mode: i32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lseek {
    pub(crate) handle: Handle,
    pub(crate) offset: i64,
    pub(crate) whence: i32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Copying {
    pub(crate) from: FileRange,
    pub(crate) to: FileRange,
    pub(crate) len: u64,
    pub(crate) flags: u64,
}

/// What is asked of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DirectoryOp {
    Opendir,
    Readdir(Page),
    Readdirplus(Page),
    Releasedir(Handle),
    Fsyncdir(Handle),
}

/// What is asked of the mount as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MountOp<'a> {
    Statfs,
    Syncfs,
    Forget(u64),
    ForgetMany(Forgets<'a>),
    Interrupt,
    Destroy,
}

/// How a request is to be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Here and now, and no sign of the mount being used: the kernel asks it of itself, or desktops
    /// ask every few seconds.
    Unnoticed,
    /// Here and now.
    Promptly,
    /// Where it may wait for the disk.
    Waiting,
    /// The same, and it is likely to.
    Long,
}

impl Operation<'_> {
    pub(crate) fn manner(&self) -> Manner {
        match self {
            // It may be one that acts, and waits for a server.
            Self::Inode(InodeOp::Setxattr(name, _)) if name.starts_with(own_attributes::PREFIX) => {
                Manner::Long
            }
            Self::Inode(InodeOp::Setattr(..))
            | Self::File(FileOp::Write(..) | FileOp::Flush(_)) => Manner::Waiting,
            Self::Mount(MountOp::Syncfs)
            | Self::Directory(DirectoryOp::Fsyncdir(_))
            | Self::File(
                FileOp::Fsync(_)
                | FileOp::Fallocate(..)
                | FileOp::CopyFileRange(_)
                | FileOp::Read(_, LARGE_READ..),
            ) => Manner::Long,
            Self::Mount(_) => Manner::Unnoticed,
            _ => Manner::Promptly,
        }
    }

    /// Whether it reads a file.
    pub(crate) fn is_read(&self) -> bool {
        matches!(self, Self::File(FileOp::Read(..)))
    }

    /// Whether the kernel waits for a reply.
    pub(crate) fn is_answered(&self) -> bool {
        !matches!(
            self,
            Self::Mount(MountOp::Forget(_) | MountOp::ForgetMany(_))
        )
    }

    /// What the log calls it.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Name(op) => op.word(),
            Self::Inode(op) => op.word(),
            Self::File(op) => op.word(),
            Self::Directory(op) => op.word(),
            Self::Mount(op) => op.word(),
        }
    }
}

/// A request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Request<'a> {
    pub(crate) header: Header,
    pub(crate) operation: Operation<'a>,
}

impl Header {
    /// Splits a message into its header and what follows.
    pub(crate) fn of(message: &[u8]) -> Result<(Self, Fields<'_>), Malformed> {
        let mut fields = Fields::new(message);
        let len = fields.u32()? as usize;
        let opcode = fields.u32()?;
        let unique = Unique(fields.u64()?);
        let ino = Ino(fields.u64()?);
        let asker = Asker {
            uid: fields.u32()?,
            gid: fields.u32()?,
            pid: fields.u32()?,
        };
        // Extensions, of which none was asked for.
        fields.skip(4)?;
        let header = Self {
            opcode,
            unique,
            ino,
            asker,
        };
        if len == message.len() {
            Ok((header, fields))
        } else {
            Err(Malformed)
        }
    }
}
