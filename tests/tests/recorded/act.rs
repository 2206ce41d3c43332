//! What a workload does: operations by path, done alike on a volume and on the model beside it.

use std::collections::BTreeMap;

use keyfold_fs::error::{FsError, FsResult};
use keyfold_fs::vfs::{
    Allocate, Caller, FileKind, FileRange, Handle, Ino, Name, OpenMode, Place, RenameMode, SetAttr,
    SetTime, Timestamp, Vfs, XattrMode,
};

/// One operation. Paths are relative to the root, without a leading slash; `""` is the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    /// Makes an empty file.
    Create(String),
    /// Makes a directory.
    Mkdir(String),
    /// Makes a symbolic link with this target.
    Symlink(String, String),
    /// Writes `len` bytes at `offset`, which look different for every `seed`.
    Write {
        path: String,
        offset: u64,
        len: usize,
        seed: u8,
    },
    /// Writes at the end.
    Append { path: String, len: usize, seed: u8 },
    /// Sets the size.
    Truncate(String, u64),
    /// Makes a hole: offset and length.
    Punch(String, u64, u64),
    /// Extends with holes up to a size.
    Extend(String, u64),
    /// Moves, replacing.
    Rename(String, String),
    /// Exchanges two names.
    Exchange(String, String),
    /// Gives the first a second name.
    Link(String, String),
    /// Takes a name away.
    Unlink(String),
    /// Removes an empty directory.
    Rmdir(String),
    /// Sets permission bits.
    Chmod(String, u16),
    /// Sets the time of the last change of the content.
    SetMtime(String, i64),
    /// Sets an extended attribute.
    SetXattr(String, String, Vec<u8>),
    /// Removes an extended attribute.
    RemoveXattr(String, String),
    /// Copies the whole of the first file over the second. A copy is one change only up to 1 MiB,
    /// and what it does with holes is open.
    Copy(String, String),
    /// Opens a file and keeps it open, also when its name goes.
    Hold(String),
    /// Writes to a file held open: offset, length and look.
    WriteHeld(String, u64, usize, u8),
    /// Makes a file held open durable, whatever its name is now.
    FsyncHeld(String),
    /// Closes what was held.
    LetGo(String),
    /// Makes a file durable, or of a directory the names.
    Fsync(String),
    /// Makes everything durable.
    Sync,
}

/// What an operation did that matters to a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Done {
    /// The inode it made.
    pub made: Option<Ino>,
    /// The file it put in the place of another.
    pub replaced_by: Option<Ino>,
    /// What it made durable.
    pub confirmed: Option<Confirmed>,
}

/// What became durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Confirmed {
    /// All there is.
    Everything,
    /// The names, and the content of this file.
    File(Ino),
    /// The names.
    Names,
}

const READ_WRITE: OpenMode = OpenMode {
    read: true,
    write: true,
    append: false,
    truncate: false,
    sync: false,
};

const CALLER: Caller = Caller {
    uid: 0,
    gid: 0,
    umask: 0,
};

/// Bytes that look different for every seed, and in every block.
pub fn pattern(seed: u8, offset: u64, len: usize) -> Vec<u8> {
    (offset..offset + len as u64)
        .map(|at| (at as u8) ^ ((at >> 8) as u8).wrapping_mul(31) ^ seed.wrapping_mul(167) | 1)
        .collect()
}

/// A filesystem with the files that are held open on it.
pub struct Hands<'a> {
    vfs: &'a dyn Vfs,
    held: &'a mut Held,
}

/// Files held open, by the path they had.
pub type Held = BTreeMap<String, (Ino, Handle)>;

/// Does `act` on a filesystem.
pub fn act(vfs: &dyn Vfs, held: &mut Held, act: &Act) -> FsResult<Done> {
    Hands { vfs, held }.act(act)
}

impl Hands<'_> {
    fn act(&mut self, act: &Act) -> FsResult<Done> {
        match act {
            Act::Create(path) => self.create(path),
            Act::Mkdir(path) => self.make(path, |vfs, at| {
                vfs.mkdir(&CALLER, at, 0o755).map(|e| e.attr.ino)
            }),
            Act::Symlink(path, target) => self.make(path, |vfs, at| {
                vfs.symlink(&CALLER, at, target.as_bytes())
                    .map(|e| e.attr.ino)
            }),
            Act::Link(from, to) => {
                let ino = self.find(from)?;
                let linked = self.make(to, |vfs, at| vfs.link(ino, at).map(|e| e.attr.ino));
                linked.map(|_| Done::default())
            }
            Act::Rename(from, to) => self.rename(from, to, RenameMode::Replace),
            Act::Exchange(from, to) => self.rename(from, to, RenameMode::Exchange),
            Act::Unlink(path) => self.within(path, |vfs, at| vfs.unlink(at)),
            Act::Rmdir(path) => self.within(path, |vfs, at| vfs.rmdir(at)),
            Act::Fsync(path) => self.fsync(path),
            Act::Sync => {
                self.vfs.sync()?;
                Ok(Done {
                    confirmed: Some(Confirmed::Everything),
                    ..Done::default()
                })
            }
            Act::Hold(path) => {
                let ino = self.find(path)?;
                let handle = self.vfs.open(ino, READ_WRITE)?;
                self.held.insert(path.clone(), (ino, handle));
                Ok(Done::default())
            }
            Act::WriteHeld(path, offset, len, seed) => {
                self.write_held(path, (*offset, &pattern(*seed, *offset, *len)))
            }
            Act::FsyncHeld(path) => {
                let (ino, handle) = self.held_open(path)?;
                self.vfs.fsync(ino, handle)?;
                Ok(Done {
                    confirmed: Some(Confirmed::File(ino)),
                    ..Done::default()
                })
            }
            Act::LetGo(path) => {
                if let Some((ino, handle)) = self.held.remove(path) {
                    let flushed = self.vfs.flush(ino, handle);
                    self.vfs.release(ino, handle);
                    flushed?;
                }
                Ok(Done::default())
            }
            attributes_or_content => self.change(attributes_or_content),
        }
    }

    fn change(&self, act: &Act) -> FsResult<Done> {
        match act {
            Act::Write {
                path,
                offset,
                len,
                seed,
            } => self.write(path, Some(*offset), &|at| pattern(*seed, at, *len))?,
            Act::Append { path, len, seed } => {
                self.write(path, None, &|at| pattern(*seed, at, *len))?;
            }
            Act::Truncate(path, size) => self.set(path, |s| s.size = Some(*size))?,
            Act::Chmod(path, perm) => self.set(path, |s| s.perm = Some(*perm))?,
            Act::SetMtime(path, secs) => {
                let time = SetTime::At(Timestamp {
                    secs: *secs,
                    nanos: 1,
                });
                self.set(path, |s| s.mtime = Some(time))?;
            }
            Act::Punch(path, offset, len) => {
                self.allocate(path, (*offset, *len), Allocate::PunchHole)?;
            }
            Act::Extend(path, size) => self.allocate(path, (0, *size), Allocate::Extend)?,
            Act::SetXattr(path, name, value) => {
                let ino = self.find(path)?;
                let name = name.as_bytes();
                self.vfs.setxattr(ino, name, value, XattrMode::Set)?;
            }
            Act::RemoveXattr(path, name) => {
                self.vfs.removexattr(self.find(path)?, name.as_bytes())?;
            }
            Act::Copy(from, to) => self.copy(from, to)?,
            other => unreachable!("{other:?} is done elsewhere"),
        }
        Ok(Done::default())
    }

    fn held_open(&self, path: &str) -> FsResult<(Ino, Handle)> {
        self.held.get(path).copied().ok_or(FsError::BadHandle)
    }

    fn write_held(&self, path: &str, (offset, data): (u64, &[u8])) -> FsResult<Done> {
        let (ino, handle) = self.held_open(path)?;
        let at = FileRange {
            ino,
            handle,
            offset,
        };
        self.vfs.write(at, data)?;
        Ok(Done::default())
    }

    /// The inode of a path. Nothing is kept of looking it up.
    fn find(&self, path: &str) -> FsResult<Ino> {
        let mut at = Ino::ROOT;
        for name in path.split('/').filter(|name| !name.is_empty()) {
            let name = Name::new(name.as_bytes())?;
            let found = self.vfs.lookup(Place { parent: at, name })?;
            self.vfs.forget(found.attr.ino, 1);
            at = found.attr.ino;
        }
        Ok(at)
    }

    fn place<'p>(&self, path: &'p str) -> FsResult<Place<'p>> {
        let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
        Ok(Place {
            parent: self.find(dir)?,
            name: Name::new(name.as_bytes())?,
        })
    }

    fn within(
        &self,
        path: &str,
        job: impl FnOnce(&dyn Vfs, Place<'_>) -> FsResult<()>,
    ) -> FsResult<Done> {
        job(self.vfs, self.place(path)?)?;
        Ok(Done::default())
    }

    fn make(
        &self,
        path: &str,
        job: impl FnOnce(&dyn Vfs, Place<'_>) -> FsResult<Ino>,
    ) -> FsResult<Done> {
        let ino = job(self.vfs, self.place(path)?)?;
        self.vfs.forget(ino, 1);
        Ok(Done {
            made: Some(ino),
            ..Done::default()
        })
    }

    fn create(&self, path: &str) -> FsResult<Done> {
        let at = self.place(path)?;
        let (entry, handle) = self.vfs.create(&CALLER, at, 0o644, READ_WRITE)?;
        let ino = entry.attr.ino;
        self.vfs.release(ino, handle);
        self.vfs.forget(ino, 1);
        Ok(Done {
            made: Some(ino),
            ..Done::default()
        })
    }

    fn rename(&self, from: &str, to: &str, mode: RenameMode) -> FsResult<Done> {
        let source = self.find(from)?;
        let target = self.find(to).ok();
        self.vfs.rename(self.place(from)?, self.place(to)?, mode)?;
        let regular = self.vfs.getattr(source)?.kind == FileKind::Regular;
        let replaces =
            mode == RenameMode::Replace && regular && target.is_some_and(|target| target != source);
        Ok(Done {
            replaced_by: replaces.then_some(source),
            ..Done::default()
        })
    }

    /// Does something to an open file; an error that closing tells counts too.
    fn opened<R>(&self, path: &str, job: impl FnOnce(FileRange) -> FsResult<R>) -> FsResult<R> {
        let ino = self.find(path)?;
        let handle = self.vfs.open(ino, READ_WRITE)?;
        let done = job(FileRange {
            ino,
            handle,
            offset: 0,
        });
        let flushed = self.vfs.flush(ino, handle);
        self.vfs.release(ino, handle);
        let done = done?;
        flushed?;
        Ok(done)
    }

    fn write(
        &self,
        path: &str,
        offset: Option<u64>,
        data: &dyn Fn(u64) -> Vec<u8>,
    ) -> FsResult<()> {
        self.opened(path, |at| {
            let offset = match offset {
                Some(offset) => offset,
                None => self.vfs.getattr(at.ino)?.size,
            };
            self.vfs.write(FileRange { offset, ..at }, &data(offset))
        })?;
        Ok(())
    }

    fn allocate(&self, path: &str, (offset, len): (u64, u64), mode: Allocate) -> FsResult<()> {
        self.opened(path, |at| {
            self.vfs.fallocate(FileRange { offset, ..at }, len, mode)
        })
    }

    fn copy(&self, from: &str, to: &str) -> FsResult<()> {
        let size = self.vfs.getattr(self.find(from)?)?.size;
        self.opened(from, |source| {
            self.opened(to, |target| {
                let copied = self.vfs.copy_range(source, target, size)?;
                if copied == size {
                    Ok(())
                } else {
                    Err(FsError::InvalidArgument)
                }
            })
        })
    }

    fn set(&self, path: &str, choose: impl FnOnce(&mut SetAttr)) -> FsResult<()> {
        let mut set = SetAttr::default();
        choose(&mut set);
        self.vfs.setattr(self.find(path)?, None, &set)?;
        Ok(())
    }

    fn fsync(&self, path: &str) -> FsResult<Done> {
        let ino = self.find(path)?;
        let confirmed = if self.vfs.getattr(ino)?.kind == FileKind::Directory {
            let handle = self.vfs.opendir(ino)?;
            let done = self.vfs.fsync(ino, handle);
            self.vfs.releasedir(handle);
            done?;
            Confirmed::Names
        } else {
            self.opened(path, |at| self.vfs.fsync(at.ino, at.handle))?;
            Confirmed::File(ino)
        };
        Ok(Done {
            confirmed: Some(confirmed),
            ..Done::default()
        })
    }
}

impl Act {
    /// The same within a directory.
    pub fn beneath(mut self, dir: &str) -> Self {
        let within = |path: &mut String| {
            *path = if path.is_empty() {
                dir.to_owned()
            } else {
                format!("{dir}/{path}")
            };
        };
        match &mut self {
            Self::Create(path)
            | Self::Mkdir(path)
            | Self::Symlink(path, _)
            | Self::Write { path, .. }
            | Self::Append { path, .. }
            | Self::Truncate(path, _)
            | Self::Punch(path, ..)
            | Self::Extend(path, _)
            | Self::Unlink(path)
            | Self::Rmdir(path)
            | Self::Chmod(path, _)
            | Self::SetMtime(path, _)
            | Self::SetXattr(path, ..)
            | Self::RemoveXattr(path, _)
            | Self::Hold(path)
            | Self::WriteHeld(path, ..)
            | Self::FsyncHeld(path)
            | Self::LetGo(path)
            | Self::Fsync(path) => within(path),
            Self::Rename(from, to)
            | Self::Exchange(from, to)
            | Self::Link(from, to)
            | Self::Copy(from, to) => {
                within(from);
                within(to);
            }
            Self::Sync => {}
        }
        self
    }
}
