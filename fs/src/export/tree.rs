//! The walk through a tree, and what is made for each kind of object.
//!
//! The walk keeps a stack of its own: a tree may be deeper than any stack of calls.

use std::ffi::OsStr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use super::attributes::Object;
use super::content::{FileFault, partial_name};
use super::{Event, ExportError, Measure, Omission, Run, Task, is_linked};
use crate::error::{FsError, FsResult};
use crate::vfs::{Attr, Cookie, FileKind, Handle, Ino, Listing, Name, Place, Vfs};

/// Entries taken from a directory at a time.
const BATCH: usize = 512;

/// An entry waiting to be visited.
struct Child {
    name: Vec<u8>,
    cookie: Cookie,
}

/// A directory of the volume that is being listed.
struct Reader<'a> {
    vfs: &'a dyn Vfs,
    ino: Ino,
    handle: Handle,
    from: Cookie,
    batch: std::vec::IntoIter<Child>,
}

impl<'a> Reader<'a> {
    fn open(vfs: &'a dyn Vfs, ino: Ino) -> FsResult<Self> {
        let handle = vfs.opendir(ino)?;
        Ok(Self {
            vfs,
            ino,
            handle,
            from: Cookie::START,
            batch: Vec::new().into_iter(),
        })
    }

    fn next(&mut self) -> FsResult<Option<Child>> {
        if self.batch.len() == 0 {
            let mut batch = Vec::new();
            self.vfs.readdir(self.handle, self.from, &mut |entry| {
                if batch.len() == BATCH {
                    return Listing::Full;
                }
                batch.push(Child {
                    name: entry.name.to_vec(),
                    cookie: entry.cookie,
                });
                Listing::Continue
            })?;
            if let Some(last) = batch.last() {
                self.from = last.cookie;
            }
            batch.retain(|child| !matches!(child.name.as_slice(), b"." | b".."));
            self.batch = batch.into_iter();
        }
        Ok(self.batch.next())
    }
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        self.vfs.releasedir(self.handle);
    }
}

/// An inode that was looked up and is forgotten when dropped.
struct Held<'a> {
    vfs: &'a dyn Vfs,
    attr: Attr,
}

impl<'a> Held<'a> {
    fn look_up(vfs: &'a dyn Vfs, parent: Ino, name: &[u8]) -> FsResult<Self> {
        let at = Place {
            parent,
            name: Name::new(name)?,
        };
        Ok(Self {
            vfs,
            attr: vfs.lookup(at)?.attr,
        })
    }
}

impl Held<'_> {
    /// Fails when it is a directory that lies within itself: visiting it would never end.
    fn not_within(self, level: &Level<'_>, above: &[Level<'_>]) -> FsResult<Self> {
        let same = |directory: &Level<'_>| directory.attr.ino == self.attr.ino;
        if same(level) || above.iter().any(same) {
            return Err(FsError::Inconsistent(self.attr.ino));
        }
        Ok(self)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.vfs.forget(self.attr.ino, 1);
    }
}

/// A directory that is being exported.
struct Level<'a> {
    reader: Reader<'a>,
    attr: Attr,
    dir: OwnedFd,
    /// Keeps the inode while its entries are visited; `None` for the one that was asked for.
    _held: Option<Held<'a>>,
}

/// An object that is being made.
#[derive(Clone, Copy)]
struct Target<'t> {
    /// The directory it is made in.
    dir: &'t OwnedFd,
    /// Its name there.
    name: &'t [u8],
    /// Where it is beneath what is exported.
    path: &'t Path,
    attr: &'t Attr,
}

pub(super) fn measure(vfs: &dyn Vfs, from: Ino) -> FsResult<Measure> {
    let attr = vfs.getattr(from)?;
    let mut sum = Measure {
        objects: 1,
        bytes: 0,
    };
    if attr.kind != FileKind::Directory {
        sum.bytes = content_size(&attr);
        return Ok(sum);
    }
    let mut levels = vec![(Reader::open(vfs, from)?, None)];
    while let Some((reader, _)) = levels.last_mut() {
        let Some(child) = reader.next()? else {
            levels.pop();
            continue;
        };
        let held = Held::look_up(vfs, reader.ino, &child.name)?;
        sum.objects += 1;
        sum.bytes += content_size(&held.attr);
        let again = |(reader, _): &(Reader<'_>, _)| reader.ino == held.attr.ino;
        if held.attr.kind == FileKind::Directory && !levels.iter().any(again) {
            levels.push((Reader::open(vfs, held.attr.ino)?, Some(held)));
        }
    }
    Ok(sum)
}

fn content_size(attr: &Attr) -> u64 {
    if attr.kind == FileKind::Regular {
        attr.size
    } else {
        0
    }
}

impl<'a> Run<'a, '_> {
    /// Exports the object `attr` as `name` in `home`, with all that is beneath it.
    pub(super) fn tree(
        &mut self,
        home: &OwnedFd,
        name: &[u8],
        attr: &Attr,
    ) -> Result<(), ExportError> {
        let mut path = PathBuf::new();
        let vfs = self.source.vfs;
        let mut levels: Vec<Level<'a>> = Vec::new();
        let top = Target {
            dir: home,
            name,
            path: &path,
            attr,
        };
        levels.extend(self.visit(top, None)?);
        while let Some((level, above)) = levels.split_last_mut() {
            let child = match level.reader.next() {
                Ok(Some(child)) => child,
                ended => {
                    if let Err(e) = ended {
                        self.leave_out(&path, Omission::Unreadable(e));
                    }
                    if let Some(level) = levels.pop() {
                        self.dress(&Object::Open(&level.dir), &path, &level.attr)?;
                        path.pop();
                    }
                    continue;
                }
            };
            path.push(OsStr::from_bytes(&child.name));
            let held = Held::look_up(vfs, level.attr.ino, &child.name);
            let held = match held.and_then(|held| held.not_within(level, above)) {
                Ok(held) => held,
                Err(e) => {
                    self.leave_out(&path, Omission::Unreadable(e));
                    path.pop();
                    continue;
                }
            };
            let attr = held.attr;
            let again = |directory: &Level<'_>| directory.attr.ino == attr.ino;
            if again(level) || above.iter().any(again) {
                // No directory lies within itself, and this would never end.
                let circular = FsError::Inconsistent(attr.ino);
                self.leave_out(&path, Omission::Unreadable(circular));
                path.pop();
                continue;
            }
            let target = Target {
                dir: &level.dir,
                name: &child.name,
                path: &path,
                attr: &attr,
            };
            match self.visit(target, Some(held))? {
                Some(deeper) => levels.push(deeper),
                None => {
                    path.pop();
                }
            }
        }
        Ok(())
    }

    /// Makes one object; a directory is returned to be filled.
    fn visit(
        &mut self,
        target: Target<'_>,
        held: Option<Held<'a>>,
    ) -> Result<Option<Level<'a>>, ExportError> {
        let Target { path, attr, .. } = target;
        (self.observer)(Event::Begin(path));
        if self.link_to_first(target)? {
            return Ok(None);
        }
        let made = match attr.kind {
            FileKind::Directory => return self.enter(target, held),
            FileKind::Regular => self.file(target)?,
            FileKind::Symlink => self.symlink(target)?,
            FileKind::Fifo | FileKind::Socket | FileKind::CharDevice | FileKind::BlockDevice => {
                self.node(target)?
            }
        };
        if made && is_linked(attr) {
            let first = Path::new(self.base.file_name().unwrap_or_default()).join(path);
            self.links.insert(attr.ino, first);
        }
        Ok(None)
    }

    fn enter(
        &mut self,
        target: Target<'_>,
        held: Option<Held<'a>>,
    ) -> Result<Option<Level<'a>>, ExportError> {
        let Target {
            dir, name, path, ..
        } = target;
        match rustix::fs::mkdirat(dir, name, Mode::RWXU) {
            Ok(()) => self.report.others += 1,
            Err(Errno::EXIST) => {}
            Err(e) => return Err(self.failed(Task::Make, path, e)),
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = match rustix::fs::openat(dir, name, flags, Mode::empty()) {
            Ok(made) => made,
            Err(Errno::NOTDIR | Errno::LOOP) => {
                return Err(ExportError::InTheWay(self.shown(path)));
            }
            Err(e) => return Err(self.failed(Task::Open, path, e)),
        };
        match Reader::open(self.source.vfs, target.attr.ino) {
            Ok(reader) => Ok(Some(Level {
                reader,
                attr: *target.attr,
                dir: made,
                _held: held,
            })),
            Err(e) => {
                self.leave_out(path, Omission::Unreadable(e));
                Ok(None)
            }
        }
    }

    fn file(&mut self, target: Target<'_>) -> Result<bool, ExportError> {
        let Target { path, attr, .. } = target;
        if self
            .present(target)?
            .is_some_and(|there| is_complete(&there, attr))
        {
            self.report.unchanged += 1;
            (self.observer)(Event::Present(attr.size));
            return Ok(true);
        }
        match self.write_partial(target.dir, path, attr) {
            Ok(file) => self.dress(&Object::Open(&file), path, attr)?,
            Err(FileFault::Stop(e)) => return Err(e),
            Err(FileFault::Skip(omission)) => {
                self.leave_out(path, omission);
                return Ok(false);
            }
        }
        self.put_in_place(target)?;
        self.report.files += 1;
        Ok(true)
    }

    fn symlink(&mut self, target: Target<'_>) -> Result<bool, ExportError> {
        let leads_to = match self.source.vfs.readlink(target.attr.ino) {
            Ok(leads_to) => leads_to,
            Err(e) => {
                self.leave_out(target.path, Omission::Unreadable(e));
                return Ok(false);
            }
        };
        self.special(target, |dir, partial| {
            rustix::fs::symlinkat(leads_to.as_slice(), dir, partial)
        })?;
        Ok(true)
    }

    fn node(&mut self, target: Target<'_>) -> Result<bool, ExportError> {
        let kind = FileType::from_raw_mode(target.attr.kind.mode_bits());
        let device = device_number(target.attr.rdev);
        let made = self.special(target, |dir, partial| {
            rustix::fs::mknodat(dir, partial, kind, Mode::RUSR | Mode::WUSR, device)
        });
        match made {
            Ok(()) => Ok(true),
            Err(ExportError::Destination {
                task: Task::Make,
                source,
                ..
            }) if matches!(source.raw_os_error(), Some(libc::EPERM | libc::EOPNOTSUPP)) => {
                self.leave_out(target.path, Omission::Node);
                Ok(false)
            }
            Err(e) => Err(e),
        }
    }

    /// Makes something without content, with its attributes.
    fn special(
        &mut self,
        target: Target<'_>,
        make: impl Fn(&OwnedFd, &str) -> Result<(), Errno>,
    ) -> Result<(), ExportError> {
        let Target { path, attr, .. } = target;
        let partial = self.make_afresh(target, make)?;
        self.dress(&Object::Named(target.dir, partial.as_bytes()), path, attr)?;
        self.put_in_place(target)?;
        self.report.others += 1;
        Ok(())
    }

    /// Makes a further name of an inode that has been exported already.
    fn link_to_first(&mut self, target: Target<'_>) -> Result<bool, ExportError> {
        let Target { path, attr, .. } = target;
        let Some(first) = self.links.get(&attr.ino).cloned() else {
            return Ok(false);
        };
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::BENEATH;
        let first = rustix::fs::openat2(&self.home, &first, flags, Mode::empty(), resolve)
            .map_err(|e| self.failed(Task::Make, path, e))?;
        let first_path = format!("/proc/self/fd/{}", first.as_raw_fd());
        let partial = self.make_afresh(target, |dir, partial| {
            rustix::fs::linkat(CWD, &first_path, dir, partial, AtFlags::SYMLINK_FOLLOW)
        })?;
        self.put_in_place(target)?;
        // Renaming one name of a file over another name of it does nothing.
        let _ = rustix::fs::unlinkat(target.dir, &partial, AtFlags::empty());
        if attr.kind == FileKind::Regular {
            (self.observer)(Event::Present(attr.size));
        }
        self.report.others += 1;
        Ok(true)
    }

    /// What is at the place of something that is not a directory.
    fn present(&self, target: Target<'_>) -> Result<Option<Stat>, ExportError> {
        match rustix::fs::statat(target.dir, target.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(there) if FileType::from_raw_mode(there.st_mode) == FileType::Directory => {
                Err(ExportError::InTheWay(self.shown(target.path)))
            }
            Ok(there) => Ok(Some(there)),
            Err(Errno::NOENT) => Ok(None),
            Err(e) => Err(self.failed(Task::Open, target.path, e)),
        }
    }

    /// Makes something under the temporary name, in place of what an earlier run left there, if
    /// its own name can be had. Returns the temporary one.
    fn make_afresh(
        &self,
        target: Target<'_>,
        make: impl Fn(&OwnedFd, &str) -> Result<(), Errno>,
    ) -> Result<String, ExportError> {
        self.present(target)?;
        let partial = partial_name(target.attr.ino);
        let made = match make(target.dir, &partial) {
            Err(Errno::EXIST) => {
                let _ = rustix::fs::unlinkat(target.dir, &partial, AtFlags::empty());
                make(target.dir, &partial)
            }
            made => made,
        };
        made.map_err(|e| self.failed(Task::Make, target.path, e))?;
        Ok(partial)
    }

    fn put_in_place(&self, target: Target<'_>) -> Result<(), ExportError> {
        let Target { dir, name, .. } = target;
        rustix::fs::renameat(dir, partial_name(target.attr.ino), dir, name)
            .map_err(|e| self.failed(Task::Rename, target.path, e))
    }
}

/// Whether what is there is the file `attr`, as far as can be told without reading it.
fn is_complete(there: &Stat, attr: &Attr) -> bool {
    FileType::from_raw_mode(there.st_mode) == FileType::RegularFile
        && u64::try_from(there.st_size) == Ok(attr.size)
        && there.st_mtime == attr.mtime.secs
        && u64::from(attr.mtime.nanos) == there.st_mtime_nsec
}

/// The device number `rdev` of the kernel's 32-bit encoding as the C library has it.
fn device_number(rdev: u32) -> u64 {
    let major = (rdev >> 8) & 0xfff;
    let minor = (rdev & 0xff) | ((rdev >> 12) & 0xf_ff00);
    rustix::fs::makedev(major, minor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_numbers_keep_large_minors() {
        assert_eq!(device_number(0x0103), rustix::fs::makedev(1, 3));
        // Major 0x123, minor 0x45678 in the kernel's encoding.
        assert_eq!(
            device_number(0x4561_2378),
            rustix::fs::makedev(0x123, 0x45678)
        );
    }
}
