//! Regular files: content and holes, written under a temporary name.

use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::{Event, ExportError, Omission, Run, Task};
use crate::error::FsError;
use crate::vfs::{Attr, FileRange, Handle, Ino, OpenMode, Seek, Vfs};

/// Bytes read at a time.
pub(super) const CHUNK: usize = 1 << 20;

/// Why a file was not written.
pub(super) enum FileFault {
    /// It is left out.
    Skip(Omission),
    /// The export ends.
    Stop(ExportError),
}

/// An open file of the volume, closed when dropped.
struct OpenFile<'a> {
    vfs: &'a dyn Vfs,
    ino: Ino,
    handle: Handle,
}

impl<'a> OpenFile<'a> {
    fn open(vfs: &'a dyn Vfs, ino: Ino) -> Result<Self, FsError> {
        let handle = vfs.open(
            ino,
            OpenMode {
                read: true,
                ..OpenMode::default()
            },
        )?;
        Ok(Self { vfs, ino, handle })
    }

    fn at(&self, offset: u64) -> FileRange {
        FileRange {
            ino: self.ino,
            handle: self.handle,
            offset,
        }
    }
}

impl Drop for OpenFile<'_> {
    fn drop(&mut self) {
        self.vfs.release(self.ino, self.handle);
    }
}

impl From<FsError> for FileFault {
    fn from(e: FsError) -> Self {
        Self::Skip(Omission::Unreadable(e))
    }
}

/// The name under which a file is written. The same in every run, so that what a run that was
/// cut short left behind is found again and not kept.
pub(super) fn partial_name(ino: Ino) -> String {
    format!(".keyfold-partial-{ino}")
}

impl Run<'_, '_> {
    /// Writes the file `attr` under its temporary name in `dir`.
    pub(super) fn write_partial(
        &mut self,
        dir: &OwnedFd,
        relative: &Path,
        attr: &Attr,
    ) -> Result<OwnedFd, FileFault> {
        let name = partial_name(attr.ino);
        match rustix::fs::unlinkat(dir, &name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(e) => return Err(FileFault::Stop(self.failed(Task::Make, relative, e))),
        }
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = rustix::fs::openat(dir, &name, flags, Mode::RUSR | Mode::WUSR)
            .map_err(|e| FileFault::Stop(self.failed(Task::Make, relative, e)))?;
        let file = std::fs::File::from(file);
        if let Err(fault) = self.copy(&file, relative, attr) {
            drop(file);
            // What cannot be removed is removed by the next run.
            let _ = rustix::fs::unlinkat(dir, &name, AtFlags::empty());
            return Err(fault);
        }
        Ok(file.into())
    }

    fn copy(
        &mut self,
        file: &std::fs::File,
        relative: &Path,
        attr: &Attr,
    ) -> Result<(), FileFault> {
        let stop = |run: &Self, source| {
            let path = run.shown(relative);
            FileFault::Stop(ExportError::Destination {
                task: Task::Write,
                path,
                source,
            })
        };
        file.set_len(attr.size).map_err(|e| stop(self, e))?;
        let open = OpenFile::open(self.source.vfs, attr.ino)?;
        let mut at = 0;
        while at < attr.size {
            let data = match open.vfs.seek(open.at(at), Seek::Data) {
                Ok(data) => data.min(attr.size),
                Err(FsError::BeyondEnd) => attr.size,
                Err(e) => return Err(e.into()),
            };
            if data > at {
                (self.observer)(Event::Present(data - at));
                at = data;
                continue;
            }
            let end = open
                .vfs
                .seek(open.at(at), Seek::Hole)?
                .clamp(at + 1, attr.size);
            while at < end {
                let want = usize::try_from(end - at).unwrap_or(CHUNK).min(CHUNK);
                let got = (self.source.read)(open.at(at), &mut self.chunk[..want])?;
                if got == 0 {
                    return Err(FsError::Inconsistent(attr.ino).into());
                }
                let chunk = &self.chunk[..got];
                file.write_all_at(chunk, at).map_err(|e| stop(self, e))?;
                at += got as u64;
                self.report.bytes += got as u64;
                (self.observer)(Event::Written(got as u64));
            }
        }
        Ok(())
    }
}
