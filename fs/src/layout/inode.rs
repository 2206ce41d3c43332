//! Rows of the namespace: inodes and the names that lead to them.

use keyfold_crypto::FileId;

use super::BadLayout;
use super::bytes::{Reader, Writer};
use crate::vfs::{FileKind, Ino, Timestamp};

/// The namespace half of an inode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InodeRow {
    /// What it is.
    pub kind: FileKind,
    /// Permission bits (`0o7777`).
    pub perm: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Links.
    pub nlink: u32,
    /// Device number.
    pub rdev: u32,
    /// Last access.
    pub atime: Timestamp,
    /// Last change of the content, where there is no content row.
    pub mtime: Timestamp,
    /// Last change of attributes.
    pub ctime: Timestamp,
    /// Creation.
    pub btime: Timestamp,
    /// Bytes of all extended attributes, names included.
    pub xattr_bytes: u32,
    /// What else there is to it.
    pub body: InodeBody,
}

/// What an inode holds by its kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InodeBody {
    /// Regular file.
    File(FileBody),
    /// Directory.
    Directory(DirBody),
    /// Symlink with its target.
    Symlink(Box<[u8]>),
    /// FIFO, socket or device.
    Special,
}

/// What a regular file knows of itself beside its content: `file id(16) keys(4)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileBody {
    /// Its identity, the same on every machine.
    pub id: FileId,
    /// How many keys it has; new blocks are sealed with the last.
    pub keys: u32,
}

/// What a directory knows of itself: `parent(8) next cookie(8) entries(8)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DirBody {
    /// The directory it is in; the root is in itself.
    pub parent: Ino,
    /// The cookie of the next new entry.
    pub next_cookie: u64,
    /// Number of entries.
    pub entries: u64,
}

impl InodeRow {
    /// A write may have something to take away: setuid, setgid, or an attribute that may be a
    /// capability.
    pub(crate) fn is_privileged(&self) -> bool {
        self.perm & 0o6000 != 0 || self.xattr_bytes != 0
    }

    /// The file part of a regular file.
    pub fn file(&self) -> Option<FileBody> {
        match self.body {
            InodeBody::File(file) => Some(file),
            _ => None,
        }
    }

    /// The directory part of a directory.
    pub fn dir(&self) -> Option<&DirBody> {
        match &self.body {
            InodeBody::Directory(d) => Some(d),
            _ => None,
        }
    }

    /// The directory part of a directory, to change it.
    pub fn dir_mut(&mut self) -> Option<&mut DirBody> {
        match &mut self.body {
            InodeBody::Directory(d) => Some(d),
            _ => None,
        }
    }

    /// Its bytes: `mode uid gid nlink rdev xattr_bytes` (4 each), four times (12 each), body.
    pub fn encode(&self) -> Box<[u8]> {
        let mut w = Writer::default();
        w.u32(self.kind.mode_bits() | u32::from(self.perm));
        for v in [self.uid, self.gid, self.nlink, self.rdev, self.xattr_bytes] {
            w.u32(v);
        }
        for t in [self.atime, self.mtime, self.ctime, self.btime] {
            w.time(t);
        }
        match &self.body {
            InodeBody::File(file) => {
                w.bytes(&file.id.0);
                w.u32(file.keys);
            }
            InodeBody::Directory(d) => {
                w.u64(d.parent.0);
                w.u64(d.next_cookie);
                w.u64(d.entries);
            }
            InodeBody::Symlink(target) => w.bytes(target),
            InodeBody::Special => {}
        }
        w.done()
    }

    /// Reads its bytes.
    ///
    /// # Errors
    /// [`BadLayout`] for anything `encode` does not produce.
    pub fn decode(bytes: &[u8]) -> Result<Self, BadLayout> {
        let mut r = Reader(bytes);
        let mode = r.u32()?;
        let kind = FileKind::from_mode(mode).ok_or(BadLayout)?;
        let perm = mode & !libc::S_IFMT;
        if perm > 0o7777 {
            return Err(BadLayout);
        }
        let (uid, gid, nlink, rdev) = (r.u32()?, r.u32()?, r.u32()?, r.u32()?);
        let xattr_bytes = r.u32()?;
        let (atime, mtime, ctime, btime) = (r.time()?, r.time()?, r.time()?, r.time()?);
        let body = match kind {
            FileKind::Regular => InodeBody::File(FileBody {
                id: FileId(r.array()?),
                keys: r.u32()?,
            }),
            FileKind::Directory => InodeBody::Directory(DirBody {
                parent: Ino(r.u64()?),
                next_cookie: r.u64()?,
                entries: r.u64()?,
            }),
            FileKind::Symlink => InodeBody::Symlink(r.rest().into()),
            _ => InodeBody::Special,
        };
        r.end()?;
        let perm = perm as u16;
        Ok(Self {
            kind,
            perm,
            uid,
            gid,
            nlink,
            rdev,
            atime,
            mtime,
            ctime,
            btime,
            xattr_bytes,
            body,
        })
    }
}

/// A directory entry: `child(8) cookie(8) kind(4)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DentryRow {
    /// The inode it names.
    pub child: Ino,
    /// Its place in listings.
    pub cookie: u64,
    /// What the inode is.
    pub kind: FileKind,
}

impl DentryRow {
    /// Its bytes.
    pub fn encode(&self) -> Box<[u8]> {
        let mut w = Writer::default();
        w.u64(self.child.0);
        w.u64(self.cookie);
        w.u32(self.kind.mode_bits());
        w.done()
    }

    /// Reads its bytes.
    ///
    /// # Errors
    /// [`BadLayout`] for anything `encode` does not produce.
    pub fn decode(bytes: &[u8]) -> Result<Self, BadLayout> {
        let mut r = Reader(bytes);
        let (child, cookie, mode) = (Ino(r.u64()?), r.u64()?, r.u32()?);
        r.end()?;
        let kind = FileKind::from_mode(mode)
            .filter(|k| k.mode_bits() == mode)
            .ok_or(BadLayout)?;
        Ok(Self {
            child,
            cookie,
            kind,
        })
    }
}
