//! What follows the header, for each operation.

use keyfold_fs::vfs::{Cookie, FileRange, Handle, Ino, SetAttr, SetTime, Timestamp};

use super::{
    Copying, DATA_MAX, DirectoryOp, Fallocate, FileOp, Forgets, Header, InodeOp, Lseek, Mkdir,
    Mknod, MountOp, NameOp, Operation, Page, Refusal, Rename, Request, Setxattr, Target,
};
use crate::fuse::convert::{open_mode, perm};
use crate::fuse::front::{Creation, Exclusive};
use crate::fuse::wire::flag::setattr as valid;
use crate::fuse::wire::{Fields, Malformed, opcode};

const NANOS_PER_SEC: u32 = 1_000_000_000;

type Decoded<T> = Result<T, Malformed>;

impl<'a> Request<'a> {
    /// Decodes what follows `header`.
    pub(crate) fn of(header: Header, mut fields: Fields<'a>) -> Result<Self, Refusal> {
        let operation = operation(&header, &mut fields)?;
        Ok(Self { header, operation })
    }
}

fn operation<'a>(header: &Header, f: &mut Fields<'a>) -> Result<Operation<'a>, Refusal> {
    use Operation::{Directory, File, Inode, Mount, Name};
    use {DirectoryOp as D, FileOp as F, InodeOp as I, MountOp as M, NameOp as N};
    let ino = header.ino;
    Ok(match header.opcode {
        opcode::LOOKUP => Name(N::Lookup(f.string()?)),
        opcode::MKNOD => Name(mknod(f)?),
        opcode::MKDIR => Name(mkdir(f)?),
        opcode::SYMLINK => Name(N::Symlink(f.string()?, Target(f.string()?))),
        opcode::LINK => Name(link(f)?),
        opcode::CREATE => Name(create(f)?),
        opcode::UNLINK => Name(N::Unlink(f.string()?)),
        opcode::RMDIR => Name(N::Rmdir(f.string()?)),
        opcode::RENAME => Name(rename(f)?),
        opcode::RENAME2 => Name(rename2(f)?),
        opcode::GETATTR => Inode(bare(f, 16, I::Getattr)?),
        opcode::STATX => Inode(bare(f, 24, I::Statx)?),
        opcode::SETATTR => Inode(setattr(f)?),
        opcode::READLINK => Inode(I::Readlink),
        opcode::SETXATTR => Inode(setxattr(f)?),
        opcode::GETXATTR => Inode(getxattr(f)?),
        opcode::LISTXATTR => Inode(listxattr(f)?),
        opcode::REMOVEXATTR => Inode(I::Removexattr(f.string()?)),
        opcode::OPEN => File(open(f)?),
        opcode::READ => File(read(f, ino)?),
        opcode::WRITE => File(write(f, ino)?),
        opcode::FLUSH => File(F::Flush(handle_and(f, 16)?)),
        opcode::RELEASE => File(F::Release(handle_and(f, 16)?)),
        opcode::FSYNC => File(F::Fsync(handle_and(f, 8)?)),
        opcode::FALLOCATE => File(fallocate(f, ino)?),
        opcode::LSEEK => File(lseek(f)?),
        opcode::COPY_FILE_RANGE => File(copy_file_range(f, ino)?),
        opcode::IOCTL => File(bare(f, 32, F::Ioctl)?),
        opcode::OPENDIR => Directory(bare(f, 8, D::Opendir)?),
        opcode::READDIR => Directory(D::Readdir(page(f)?)),
        opcode::READDIRPLUS => Directory(D::Readdirplus(page(f)?)),
        opcode::RELEASEDIR => Directory(D::Releasedir(handle_and(f, 16)?)),
        opcode::FSYNCDIR => Directory(D::Fsyncdir(handle_and(f, 8)?)),
        opcode::STATFS => Mount(M::Statfs),
        opcode::SYNCFS => Mount(bare(f, 8, M::Syncfs)?),
        opcode::FORGET => Mount(M::Forget(f.u64()?)),
        opcode::BATCH_FORGET => Mount(forget_many(f)?),
        opcode::INTERRUPT => Mount(bare(f, 8, M::Interrupt)?),
        opcode::DESTROY => Mount(M::Destroy),
        _ => return Err(Refusal::Unknown),
    })
}

fn handle(f: &mut Fields<'_>) -> Decoded<Handle> {
    f.u64().map(Handle)
}

/// A handle, followed by fields of no interest.
fn handle_and(f: &mut Fields<'_>, rest: usize) -> Decoded<Handle> {
    let handle = handle(f)?;
    f.skip(rest)?;
    Ok(handle)
}

/// `operation`, of which no field is of interest.
fn bare<T>(f: &mut Fields<'_>, size: usize, operation: T) -> Decoded<T> {
    f.skip(size).map(|()| operation)
}

/// A position in a file. The kernel's are signed, and none is negative.
fn position(f: &mut Fields<'_>) -> Decoded<u64> {
    let offset = f.u64()?;
    i64::try_from(offset).map_err(|_| Malformed)?;
    Ok(offset)
}

fn range(f: &mut Fields<'_>, ino: Ino) -> Decoded<FileRange> {
    Ok(FileRange {
        ino,
        handle: handle(f)?,
        offset: position(f)?,
    })
}

fn size(f: &mut Fields<'_>) -> Decoded<u32> {
    f.u32().and_then(|size| match size {
        0..=DATA_MAX => Ok(size),
        _ => Err(Malformed),
    })
}

/// `fuse_batch_forget_in` and its `fuse_forget_one`s.
fn forget_many<'a>(f: &mut Fields<'a>) -> Decoded<MountOp<'a>> {
    let count = f.u32()? as usize;
    f.skip(4)?;
    let bytes = count.checked_mul(Forgets::RECORD).ok_or(Malformed)?;
    let records = f.bytes(bytes)?;
    Ok(MountOp::ForgetMany(Forgets { records }))
}

impl Forgets<'_> {
    const RECORD: usize = 16;

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Ino, u64)> {
        self.records
            .chunks_exact(Self::RECORD)
            .filter_map(|record| {
                let mut fields = Fields::new(record);
                Some((Ino(fields.u64().ok()?), fields.u64().ok()?))
            })
    }
}

/// `fuse_setattr_in`.
fn setattr<'a>(f: &mut Fields<'a>) -> Decoded<InodeOp<'a>> {
    let set = f.u32()?;
    f.skip(4)?;
    let (handle, size) = (handle(f)?, f.u64()?);
    f.skip(8)?;
    let (atime, mtime) = (f.u64()?, f.u64()?);
    f.skip(8)?;
    let (atime_nanos, mtime_nanos) = (f.u32()?, f.u32()?);
    f.skip(4)?;
    let mode = f.u32()?;
    f.skip(4)?;
    let (uid, gid) = (f.u32()?, f.u32()?);
    f.skip(4)?;
    let has = |bit| set & bit != 0;
    let change = SetAttr {
        perm: has(valid::MODE).then(|| perm(mode)),
        uid: has(valid::UID).then_some(uid),
        gid: has(valid::GID).then_some(gid),
        size: has(valid::SIZE).then_some(size),
        atime: match (has(valid::ATIME), has(valid::ATIME_NOW)) {
            (false, _) => None,
            (true, true) => Some(SetTime::Now),
            (true, false) => Some(set_time(atime, atime_nanos)?),
        },
        mtime: match (has(valid::MTIME), has(valid::MTIME_NOW)) {
            (false, _) => None,
            (true, true) => Some(SetTime::Now),
            (true, false) => Some(set_time(mtime, mtime_nanos)?),
        },
    };
    let handle = has(valid::HANDLE).then_some(handle);
    Ok(InodeOp::Setattr(handle, change))
}

/// Seconds are signed, though `linux/fuse.h` says otherwise; nanoseconds count forward also before
/// 1970.
fn set_time(secs: u64, nanos: u32) -> Decoded<SetTime> {
    match nanos {
        0..NANOS_PER_SEC => Ok(SetTime::At(Timestamp {
            secs: secs.cast_signed(),
            nanos,
        })),
        _ => Err(Malformed),
    }
}

/// `fuse_mknod_in`.
fn mknod<'a>(f: &mut Fields<'a>) -> Decoded<NameOp<'a>> {
    let (mode, rdev, umask) = (f.u32()?, f.u32()?, f.u32()?);
    f.skip(4)?;
    let name = f.string()?;
    Ok(NameOp::Mknod(name, Mknod { mode, rdev, umask }))
}

/// `fuse_mkdir_in`.
fn mkdir<'a>(f: &mut Fields<'a>) -> Decoded<NameOp<'a>> {
    let (mode, umask) = (f.u32()?, f.u32()?);
    let (name, perm) = (f.string()?, perm(mode));
    Ok(NameOp::Mkdir(name, Mkdir { perm, umask }))
}

/// `fuse_rename_in`.
fn rename<'a>(f: &mut Fields<'a>) -> Decoded<NameOp<'a>> {
    let directory = Ino(f.u64()?);
    renaming(f, directory, 0)
}

/// `fuse_rename2_in`.
fn rename2<'a>(f: &mut Fields<'a>) -> Decoded<NameOp<'a>> {
    let (directory, flags) = (Ino(f.u64()?), f.u32()?);
    f.skip(4)?;
    renaming(f, directory, flags)
}

fn renaming<'a>(f: &mut Fields<'a>, directory: Ino, flags: u32) -> Decoded<NameOp<'a>> {
    let (old, name) = (f.string()?, f.string()?);
    let to = Rename {
        directory,
        name,
        flags,
    };
    Ok(NameOp::Rename(old, to))
}

/// `fuse_link_in`.
fn link<'a>(f: &mut Fields<'a>) -> Decoded<NameOp<'a>> {
    let (file, name) = (Ino(f.u64()?), f.string()?);
    Ok(NameOp::Link(name, file))
}

/// `fuse_create_in`.
fn create<'a>(f: &mut Fields<'a>) -> Decoded<NameOp<'a>> {
    let (flags, mode, umask) = (f.u32()?.cast_signed(), f.u32()?, f.u32()?);
    f.skip(4)?;
    let name = f.string()?;
    let exclusive = if flags & libc::O_EXCL == 0 {
        Exclusive::No
    } else {
        Exclusive::Yes
    };
    let (perm, mode) = (perm(mode), open_mode(flags));
    let new = Creation {
        perm,
        umask,
        mode,
        exclusive,
    };
    Ok(NameOp::Create(name, new))
}

/// `fuse_open_in`.
fn open<'a>(f: &mut Fields<'a>) -> Decoded<FileOp<'a>> {
    let flags = f.u32()?.cast_signed();
    f.skip(4)?;
    Ok(FileOp::Open(open_mode(flags)))
}

/// `fuse_read_in`.
fn read<'a>(f: &mut Fields<'a>, ino: Ino) -> Decoded<FileOp<'a>> {
    let (at, size) = (range(f, ino)?, size(f)?);
    f.skip(20)?;
    Ok(FileOp::Read(at, size))
}

/// `fuse_write_in` and the data.
fn write<'a>(f: &mut Fields<'a>, ino: Ino) -> Decoded<FileOp<'a>> {
    let (at, size) = (range(f, ino)?, size(f)?);
    f.skip(20)?;
    let data = f.bytes(size as usize)?;
    Ok(FileOp::Write(at, data))
}

/// `fuse_read_in`.
fn page(f: &mut Fields<'_>) -> Decoded<Page> {
    let (handle, from, size) = (handle(f)?, Cookie(f.u64()?), size(f)?);
    f.skip(20)?;
    Ok(Page { handle, from, size })
}

/// `fuse_fallocate_in`.
fn fallocate<'a>(f: &mut Fields<'a>, ino: Ino) -> Decoded<FileOp<'a>> {
    let (at, len) = (range(f, ino)?, f.u64()?);
    let mode = f.u32()?.cast_signed();
    f.skip(4)?;
    Ok(FileOp::Fallocate(at, Fallocate { len, mode }))
}

/// `fuse_lseek_in`.
fn lseek<'a>(f: &mut Fields<'a>) -> Decoded<FileOp<'a>> {
    let (handle, offset) = (handle(f)?, f.u64()?.cast_signed());
    let whence = f.u32()?.cast_signed();
    f.skip(4)?;
    Ok(FileOp::Lseek(Lseek {
        handle,
        offset,
        whence,
    }))
}

/// `fuse_copy_file_range_in`.
fn copy_file_range<'a>(f: &mut Fields<'a>, ino: Ino) -> Decoded<FileOp<'a>> {
    let from = range(f, ino)?;
    let target = Ino(f.u64()?);
    let to = range(f, target)?;
    let (len, flags) = (f.u64()?, f.u64()?);
    Ok(FileOp::CopyFileRange(Copying {
        from,
        to,
        len,
        flags,
    }))
}

/// The short form of `fuse_setxattr_in`, the name and the value.
fn setxattr<'a>(f: &mut Fields<'a>) -> Decoded<InodeOp<'a>> {
    let (size, flags) = (size(f)?, f.u32()?.cast_signed());
    let (name, value) = (f.string()?, f.bytes(size as usize)?);
    Ok(InodeOp::Setxattr(name, Setxattr { value, flags }))
}

/// `fuse_getxattr_in`.
fn getxattr<'a>(f: &mut Fields<'a>) -> Decoded<InodeOp<'a>> {
    let size = f.u32()?;
    f.skip(4)?;
    let name = f.string()?;
    Ok(InodeOp::Getxattr(name, size))
}

/// `fuse_getxattr_in`.
fn listxattr<'a>(f: &mut Fields<'a>) -> Decoded<InodeOp<'a>> {
    let size = f.u32()?;
    f.skip(4)?;
    Ok(InodeOp::Listxattr(size))
}
