//! Each request as an operation of [`Front`], its result as a reply.

use keyfold_fs::vfs::{FileRange, Ino, Listing, NewNode};
use nix::errno::Errno;

use super::convert;
use super::front::{Asker, Front, Outcome};
use super::reply::Reply;
use super::request::{
    Copying, DirectoryOp, FileOp, InodeOp, Lseek, Mknod, MountOp, NameOp, Operation, Page, Request,
    Target,
};

/// Does what is asked for and puts the result into `reply`.
pub(crate) fn perform(front: &Front, request: &Request<'_>, reply: &mut Reply<'_>) -> Outcome<()> {
    let serving = Serving {
        front,
        asker: request.header.asker,
        ino: request.header.ino,
    };
    match &request.operation {
        Operation::Name(op) => serving.name(op, reply),
        Operation::Inode(op) => serving.inode(op, reply),
        Operation::File(op) => serving.file(op, reply),
        Operation::Directory(op) => serving.directory(op, reply),
        Operation::Mount(op) => serving.mount(op, reply),
    }
}

struct Serving<'a> {
    front: &'a Front,
    asker: Asker,
    ino: Ino,
}

impl Serving<'_> {
    fn name(&self, op: &NameOp<'_>, reply: &mut Reply<'_>) -> Outcome<()> {
        let (front, asker) = (self.front, self.asker);
        let at = |name| (self.ino, name);
        match *op {
            NameOp::Lookup(name) => reply.found(&front.lookup(self.ino, name)?),
            NameOp::Mknod(name, Mknod { mode, rdev, umask }) => {
                let node = NewNode {
                    kind: convert::node_kind(mode)?,
                    perm: convert::perm(mode),
                    rdev,
                };
                reply.entry(&front.mknod(asker, umask, at(name), node)?);
            }
            NameOp::Mkdir(name, new) => {
                reply.entry(&front.mkdir(asker, new.umask, at(name), new.perm)?);
            }
            NameOp::Symlink(name, Target(target)) => {
                reply.entry(&front.symlink(asker, at(name), target)?);
            }
            NameOp::Link(name, file) => reply.entry(&front.link(file, at(name))?),
            NameOp::Create(name, ref new) => reply.created(&front.create(asker, at(name), new)?),
            NameOp::Unlink(name) => front.unlink(at(name))?,
            NameOp::Rmdir(name) => front.rmdir(at(name))?,
            NameOp::Rename(name, to) => {
                let mode = convert::rename_mode(to.flags)?;
                front.rename(at(name), (to.directory, to.name), mode)?;
            }
        }
        Ok(())
    }

    fn inode(&self, op: &InodeOp<'_>, reply: &mut Reply<'_>) -> Outcome<()> {
        let (front, ino) = (self.front, self.ino);
        match *op {
            InodeOp::Getattr => reply.attr(&front.getattr(ino)?),
            InodeOp::Statx => reply.statx(&front.getattr(ino)?),
            InodeOp::Setattr(handle, ref set) => reply.attr(&front.setattr(ino, handle, set)?),
            InodeOp::Readlink => reply.data(&front.readlink(ino)?),
            InodeOp::Setxattr(name, set) => {
                let mode = convert::xattr_mode(set.flags)?;
                front.setxattr(self.asker, ino, (name, set.value), mode)?;
            }
            InodeOp::Getxattr(name, room) => reply.value(&front.getxattr(ino, name)?, room)?,
            InodeOp::Listxattr(room) => reply.value(&front.listxattr(ino)?, room)?,
            InodeOp::Removexattr(name) => front.removexattr(ino, name)?,
        }
        Ok(())
    }

    fn file(&self, op: &FileOp<'_>, reply: &mut Reply<'_>) -> Outcome<()> {
        let (front, asker, ino) = (self.front, self.asker, self.ino);
        match *op {
            FileOp::Open(mode) => reply.opened(&front.open(asker, ino, mode)?),
            FileOp::Read(at, size) => reply.fill(size, |buffer| front.read(at, buffer))?,
            FileOp::Write(at, data) => reply.written(front.write(asker, at, data)? as u64),
            FileOp::Flush(handle) => front.flush(ino, handle)?,
            FileOp::Release(handle) => front.release(ino, handle),
            FileOp::Fsync(handle) => front.fsync(ino, handle)?,
            FileOp::Fallocate(at, allocate) => {
                front.fallocate(at, allocate.len, convert::allocate(allocate.mode)?)?;
            }
            FileOp::Lseek(seek) => reply.offset(self.seek(seek)?),
            FileOp::CopyFileRange(Copying { flags: 1.., .. }) => return Err(Errno::EINVAL.into()),
            FileOp::CopyFileRange(Copying { from, to, len, .. }) => {
                reply.written(front.copy_range(from, to, len)?);
            }
            FileOp::Ioctl => return Err(Errno::ENOTTY.into()),
        }
        Ok(())
    }

    fn seek(&self, seek: Lseek) -> Outcome<u64> {
        let (offset, what) = convert::seek(seek.offset, seek.whence)?;
        let at = FileRange {
            ino: self.ino,
            handle: seek.handle,
            offset,
        };
        self.front.seek(at, what)
    }

    fn directory(&self, op: &DirectoryOp, reply: &mut Reply<'_>) -> Outcome<()> {
        let (front, ino) = (self.front, self.ino);
        match op {
            DirectoryOp::Opendir => reply.opened(&front.opendir(ino)?),
            DirectoryOp::Readdir(page) => {
                let Page { handle, from, .. } = *page;
                front.readdir((ino, handle), from, &mut |entry| reply.listed(page, &entry))?;
            }
            DirectoryOp::Readdirplus(page) => {
                let Page { handle, from, .. } = *page;
                front.readdir_plus((ino, handle), from, &mut |entry, attr| -> Listing {
                    reply.listed_plus(page, &entry, attr)
                })?;
            }
            DirectoryOp::Releasedir(handle) => front.releasedir(ino, *handle),
            DirectoryOp::Fsyncdir(handle) => front.fsync(ino, *handle)?,
        }
        Ok(())
    }

    fn mount(&self, op: &MountOp<'_>, reply: &mut Reply<'_>) -> Outcome<()> {
        let (front, ino) = (self.front, self.ino);
        match op {
            MountOp::Statfs => reply.statfs(&front.statfs()?),
            MountOp::Syncfs => front.sync()?,
            MountOp::Forget(count) => front.forget(ino, *count),
            MountOp::ForgetMany(all) => {
                for (ino, count) in all.iter() {
                    front.forget(ino, count);
                }
            }
            // Says that requests cannot be taken back, upon which the kernel does not ask again.
            MountOp::Interrupt => return Err(Errno::ENOSYS.into()),
            MountOp::Destroy => {}
        }
        Ok(())
    }
}
