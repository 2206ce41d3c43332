//! The directory `.keyfold/snapshots`: a volume with its kept images beside it, as one tree.
//!
//! Inodes of images keep their numbers and get the number of the image above them: the highest bit
//! tells them from the volume's own, which never reach it.

use std::sync::Arc;

use keyfold_fs::error::{FsError, FsResult};
use keyfold_fs::layout::{ImageId, ImageKind};
use keyfold_fs::vfs::{
    Allocate, Attr, Caller, Cookie, DirEntry, Entry, FileKind, FileRange, Handle, Ino, Listing,
    NewNode, OpenMode, Place, RenameMode, Seek, SetAttr, Stats, Vfs, XattrMode,
};
use keyfold_fs::volume::{ImageInfo, Volume};

use crate::control_dir::Owner;

/// The directory itself.
pub(crate) const DIRECTORY: Ino = Ino(SNAPSHOT);
/// Its name in the control directory.
pub(crate) const NAME: &[u8] = b"snapshots";

/// Set in numbers of inodes and of open directories of images.
const SNAPSHOT: u64 = 1 << 63;
/// Bits of an inode number within its image.
const OWN_BITS: u32 = 44;
/// Entries of the directory begin after `.` and `..`.
const FIRST_COOKIE: u64 = 2;

/// Whether an inode is shown by a snapshot, or is the directory of them.
pub(crate) fn shows(ino: Ino) -> bool {
    ino.0 & SNAPSHOT != 0
}

/// Where a number leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whose {
    Live,
    Directory,
    Image(ImageId, u64),
}

fn whose(number: u64) -> Whose {
    let image = (number & !SNAPSHOT) >> OWN_BITS;
    match number & SNAPSHOT {
        0 => Whose::Live,
        _ if number == SNAPSHOT => Whose::Directory,
        _ => Whose::Image(ImageId(image as u32), number & ((1 << OWN_BITS) - 1)),
    }
}

/// The number by which the mount knows what an image calls `own`.
fn number(id: ImageId, own: u64) -> FsResult<u64> {
    // No volume lives to give out 2^44 inodes; one that did would show no more of them.
    if own >> OWN_BITS != 0 {
        return Err(FsError::NotSupported);
    }
    Ok(SNAPSHOT | u64::from(id.0) << OWN_BITS | own)
}

fn shown(id: ImageId, mut attr: Attr) -> FsResult<Attr> {
    attr.ino = Ino(number(id, attr.ino.0)?);
    Ok(attr)
}

/// A volume and its images.
pub(crate) struct WithSnapshots {
    live: Arc<Volume>,
    owner: Owner,
}

impl WithSnapshots {
    /// Shows the images of `live` to `owner`.
    pub(crate) fn new(live: Arc<Volume>, owner: Owner) -> Self {
        Self { live, owner }
    }

    fn images(&self) -> impl Iterator<Item = ImageInfo> {
        let shown = |image: &ImageInfo| image.kind != ImageKind::Hold;
        self.live.images().into_iter().filter(shown)
    }

    fn directory(&self) -> FsResult<Attr> {
        Ok(Attr {
            ino: DIRECTORY,
            perm: 0o500,
            nlink: 2,
            uid: self.owner.uid,
            gid: self.owner.gid,
            ..self.live.getattr(Ino::ROOT)?
        })
    }

    fn root_of(&self, id: ImageId) -> FsResult<Attr> {
        let root = self.live.with_image(id, |v| v.getattr(Ino::ROOT))??;
        shown(id, root)
    }

    /// Reads in whichever volume an inode is of.
    fn on<R>(&self, ino: Ino, f: impl FnOnce(&Volume, Ino) -> FsResult<R>) -> FsResult<R> {
        match whose(ino.0) {
            Whose::Live => f(&self.live, ino),
            Whose::Directory => Err(FsError::IsADirectory(ino)),
            Whose::Image(id, own) => self.live.with_image(id, |v| f(v, Ino(own)))?,
        }
    }

    /// The volume, for what changes it.
    fn change(&self, ino: Ino) -> FsResult<&Volume> {
        match whose(ino.0) {
            Whose::Live => Ok(&self.live),
            Whose::Directory | Whose::Image(..) => Err(FsError::ReadOnly),
        }
    }

    fn list(&self, from: Cookie, sink: &mut dyn FnMut(DirEntry<'_>) -> Listing) -> FsResult<()> {
        let mut put = |name: &[u8], ino, cookie| {
            let entry = DirEntry {
                name,
                ino: Ino(ino),
                kind: FileKind::Directory,
                cookie: Cookie(cookie),
            };
            cookie <= from.0 || sink(entry) != Listing::Full
        };
        let parent = crate::control_dir::Node::Directory.ino();
        if !put(b".", DIRECTORY.0, 1) || !put(b"..", parent.0, FIRST_COOKIE) {
            return Ok(());
        }
        for image in self.images() {
            let ino = number(image.id, Ino::ROOT.0)?;
            let cookie = FIRST_COOKIE + u64::from(image.id.0);
            if !put(image.name.as_bytes(), ino, cookie) {
                break;
            }
        }
        Ok(())
    }
}

impl Vfs for WithSnapshots {
    fn lookup(&self, at: Place<'_>) -> FsResult<Entry> {
        match whose(at.parent.0) {
            Whose::Live => self.live.lookup(at),
            Whose::Directory => {
                let named = |image: &ImageInfo| image.name.as_bytes() == at.name.bytes();
                let image = self.images().find(named).ok_or(FsError::NotFound)?;
                self.root_of(image.id).map(|attr| Entry { attr })
            }
            Whose::Image(id, own) => {
                let at = Place {
                    parent: Ino(own),
                    name: at.name,
                };
                let entry = self.live.with_image(id, |v| v.lookup(at))??;
                shown(id, entry.attr).map(|attr| Entry { attr })
            }
        }
    }
    fn forget(&self, ino: Ino, count: u64) {
        match whose(ino.0) {
            Whose::Live => self.live.forget(ino, count),
            Whose::Directory => {}
            Whose::Image(id, own) => {
                // Of an image that is dropped nothing is left to be forgotten.
                let _ = self.live.with_image(id, |v| v.forget(Ino(own), count));
            }
        }
    }
    fn was_replaced(&self, ino: Ino) -> bool {
        // Nothing in an image is.
        whose(ino.0) == Whose::Live && self.live.was_replaced(ino)
    }
    fn getattr(&self, ino: Ino) -> FsResult<Attr> {
        match whose(ino.0) {
            Whose::Live => self.live.getattr(ino),
            Whose::Directory => self.directory(),
            Whose::Image(id, own) => shown(id, self.live.with_image(id, |v| v.getattr(Ino(own)))??),
        }
    }
    fn setattr(&self, ino: Ino, handle: Option<Handle>, set: &SetAttr) -> FsResult<Attr> {
        self.change(ino)?.setattr(ino, handle, set)
    }
    fn readlink(&self, ino: Ino) -> FsResult<Vec<u8>> {
        self.on(ino, Volume::readlink)
    }
    fn mknod(&self, caller: &Caller, at: Place<'_>, node: NewNode) -> FsResult<Entry> {
        self.change(at.parent)?.mknod(caller, at, node)
    }
    fn mkdir(&self, caller: &Caller, at: Place<'_>, perm: u16) -> FsResult<Entry> {
        self.change(at.parent)?.mkdir(caller, at, perm)
    }
    fn symlink(&self, caller: &Caller, at: Place<'_>, target: &[u8]) -> FsResult<Entry> {
        self.change(at.parent)?.symlink(caller, at, target)
    }
    fn link(&self, ino: Ino, at: Place<'_>) -> FsResult<Entry> {
        let live = self.change(at.parent)?;
        if shows(ino) {
            return Err(FsError::CrossTree);
        }
        live.link(ino, at)
    }
    fn unlink(&self, at: Place<'_>) -> FsResult<()> {
        self.change(at.parent)?.unlink(at)
    }
    fn rmdir(&self, at: Place<'_>) -> FsResult<()> {
        self.change(at.parent)?.rmdir(at)
    }
    fn rename(&self, from: Place<'_>, to: Place<'_>, mode: RenameMode) -> FsResult<()> {
        let live = self.change(to.parent)?;
        if shows(from.parent) {
            return Err(FsError::CrossTree);
        }
        live.rename(from, to, mode)
    }
    fn create(
        &self,
        caller: &Caller,
        at: Place<'_>,
        perm: u16,
        mode: OpenMode,
    ) -> FsResult<(Entry, Handle)> {
        self.change(at.parent)?.create(caller, at, perm, mode)
    }
    fn open(&self, ino: Ino, mode: OpenMode) -> FsResult<Handle> {
        self.on(ino, |v, ino| v.open(ino, mode))
    }
    fn read(&self, at: FileRange, buf: &mut [u8]) -> FsResult<usize> {
        self.on(at.ino, |v, ino| v.read(FileRange { ino, ..at }, buf))
    }
    fn write(&self, at: FileRange, data: &[u8]) -> FsResult<usize> {
        self.change(at.ino)?.write(at, data)
    }
    fn flush(&self, ino: Ino, handle: Handle) -> FsResult<()> {
        self.on(ino, |v, ino| v.flush(ino, handle))
    }
    fn release(&self, ino: Ino, handle: Handle) {
        // Of an image that is dropped nothing is open.
        let _ = self.on(ino, |v, ino| {
            v.release(ino, handle);
            Ok(())
        });
    }
    fn fsync(&self, ino: Ino, handle: Handle) -> FsResult<()> {
        if shows(ino) {
            return Ok(());
        }
        self.live.fsync(ino, handle)
    }
    fn fallocate(&self, at: FileRange, len: u64, mode: Allocate) -> FsResult<()> {
        self.change(at.ino)?.fallocate(at, len, mode)
    }
    fn seek(&self, at: FileRange, what: Seek) -> FsResult<u64> {
        self.on(at.ino, |v, ino| v.seek(FileRange { ino, ..at }, what))
    }
    fn copy_range(&self, from: FileRange, to: FileRange, len: u64) -> FsResult<u64> {
        let live = self.change(to.ino)?;
        if shows(from.ino) {
            return Err(FsError::CrossTree);
        }
        live.copy_range(from, to, len)
    }
    fn opendir(&self, ino: Ino) -> FsResult<Handle> {
        match whose(ino.0) {
            Whose::Live => self.live.opendir(ino),
            Whose::Directory => Ok(Handle(DIRECTORY.0)),
            Whose::Image(id, own) => {
                let handle = self.live.with_image(id, |v| v.opendir(Ino(own)))??;
                number(id, handle.0).map(Handle)
            }
        }
    }
    fn readdir(
        &self,
        handle: Handle,
        from: Cookie,
        sink: &mut dyn FnMut(DirEntry<'_>) -> Listing,
    ) -> FsResult<()> {
        match whose(handle.0) {
            Whose::Live => self.live.readdir(handle, from, sink),
            Whose::Directory => self.list(from, sink),
            Whose::Image(id, own) => self.live.with_image(id, |v| {
                v.readdir(
                    Handle(own),
                    from,
                    &mut |entry| match number(id, entry.ino.0) {
                        Ok(ino) => sink(DirEntry {
                            ino: Ino(ino),
                            ..entry
                        }),
                        Err(_) => Listing::Full,
                    },
                )
            })?,
        }
    }
    fn readdir_plus(
        &self,
        handle: Handle,
        from: Cookie,
        sink: &mut dyn FnMut(DirEntry<'_>, &Attr) -> Listing,
    ) -> FsResult<()> {
        match whose(handle.0) {
            Whose::Live => self.live.readdir_plus(handle, from, sink),
            Whose::Directory => self.list(from, &mut |entry| {
                // An image that cannot be read is listed all the same.
                let attr = match whose(entry.ino.0) {
                    Whose::Image(id, _) => self.root_of(id),
                    Whose::Live | Whose::Directory => self.directory(),
                };
                let attr = attr.or_else(|_| self.directory());
                attr.map_or(Listing::Full, |attr| {
                    let attr = Attr {
                        ino: entry.ino,
                        ..attr
                    };
                    sink(entry, &attr)
                })
            }),
            Whose::Image(id, own) => self.live.with_image(id, |v| {
                v.readdir_plus(Handle(own), from, &mut |entry, attr| match (
                    number(id, entry.ino.0),
                    shown(id, *attr),
                ) {
                    (Ok(ino), Ok(attr)) => sink(
                        DirEntry {
                            ino: Ino(ino),
                            ..entry
                        },
                        &attr,
                    ),
                    _ => Listing::Full,
                })
            })?,
        }
    }
    fn releasedir(&self, handle: Handle) {
        match whose(handle.0) {
            Whose::Live => self.live.releasedir(handle),
            Whose::Directory => {}
            Whose::Image(id, own) => {
                // Of an image that is dropped nothing is open.
                let _ = self.live.with_image(id, |v| v.releasedir(Handle(own)));
            }
        }
    }
    fn statfs(&self) -> FsResult<Stats> {
        self.live.statfs()
    }
    fn setxattr(&self, ino: Ino, name: &[u8], value: &[u8], mode: XattrMode) -> FsResult<()> {
        self.change(ino)?.setxattr(ino, name, value, mode)
    }
    fn getxattr(&self, ino: Ino, name: &[u8]) -> FsResult<Vec<u8>> {
        if ino == DIRECTORY {
            return Err(FsError::NoAttribute);
        }
        self.on(ino, |v, ino| v.getxattr(ino, name))
    }
    fn listxattr(&self, ino: Ino) -> FsResult<Vec<u8>> {
        if ino == DIRECTORY {
            return Ok(Vec::new());
        }
        self.on(ino, Volume::listxattr)
    }
    fn removexattr(&self, ino: Ino, name: &[u8]) -> FsResult<()> {
        self.change(ino)?.removexattr(ino, name)
    }
    fn sync(&self) -> FsResult<()> {
        self.live.sync()
    }
    fn may_fetch(&self) -> bool {
        self.live.may_fetch()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_images_lead_back_and_meet_no_others() {
        let control = crate::control_dir::Node::Control.ino();
        for id in [1, 77, ImageId::LAST] {
            for own in [1, 2, (1 << OWN_BITS) - 1] {
                let number = number(ImageId(id), own).unwrap();
                assert_eq!(whose(number), Whose::Image(ImageId(id), own));
                assert!(number < control.0 - 2, "the control directory's own");
                assert!(shows(Ino(number)));
            }
        }
        assert_eq!(whose(DIRECTORY.0), Whose::Directory);
        assert_eq!(whose(SNAPSHOT - 1), Whose::Live);
        assert_eq!(
            number(ImageId(1), 1 << OWN_BITS),
            Err(FsError::NotSupported)
        );
    }
}
