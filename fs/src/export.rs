//! Decrypts part of a volume into an ordinary directory: content, holes, links, attributes.
//!
//! What is hard is to be trusted twice: the destination may have been prepared by somebody else, so
//! no symbolic link in it is ever followed; and a run that was cut short must be completed by the
//! next without believing half a file, so a file gets its name only when all of it is written.

mod attributes;
mod content;
mod error;
mod tree;

pub use error::{ExportError, Omission, Task};

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};

use crate::error::FsResult;
use crate::vfs::{Attr, FileKind, FileRange, Ino, Vfs};

/// Reads part of an open file; the signature of [`Vfs::read`].
pub type ReadAt<'a> = dyn FnMut(FileRange, &mut [u8]) -> FsResult<usize> + 'a;

/// What is exported: a volume, and the way its blocks are read, which need not be the volume's
/// own.
pub struct Source<'a> {
    /// Names, attributes and holes.
    pub vfs: &'a dyn Vfs,
    /// Content.
    pub read: &'a mut ReadAt<'a>,
}

/// What an export tells while it runs. Paths are relative to what is exported.
#[derive(Debug)]
pub enum Event<'a> {
    /// A file, directory, link or node is next.
    Begin(&'a Path),
    /// So many bytes of content were written.
    Written(u64),
    /// So many bytes of content need not be written: they are there from an earlier run, or holes.
    Present(u64),
    /// Something could not be taken along, and the export goes on without it.
    LeftOut(&'a Path, Omission),
}

/// What an export did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct Report {
    /// Regular files written.
    pub files: u64,
    /// Directories, links and nodes made.
    pub others: u64,
    /// Regular files found complete from an earlier run.
    pub unchanged: u64,
    /// Bytes of content written.
    pub bytes: u64,
    /// Things that could not be taken along.
    pub left_out: u64,
}

/// Exports the object `from` as `to`.
///
/// A directory is merged into one that exists at `to`; anything else replaces what is there,
/// unless that is a directory. Files whose size and time of modification match are taken to be
/// complete. Damaged files are left out and reported; the rest is exported.
///
/// # Errors
/// When the destination fails, or something in it is in the way.
pub fn export(
    source: Source<'_>,
    from: Ino,
    to: &Path,
    observer: &mut dyn FnMut(Event<'_>),
) -> Result<Report, ExportError> {
    let name = to
        .file_name()
        .ok_or_else(|| ExportError::InTheWay(to.to_path_buf()))?;
    let parent = match to.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let home = rustix::fs::openat(CWD, parent, flags, Mode::empty())
        .map_err(|e| ExportError::destination(Task::Open, parent, e))?;
    let attr = source
        .vfs
        .getattr(from)
        .map_err(|error| ExportError::Source {
            path: PathBuf::new(),
            error,
        })?;
    let mut run = Run {
        source,
        observer,
        report: Report::default(),
        base: to.to_path_buf(),
        links: HashMap::new(),
        chunk: vec![0; content::CHUNK],
        home: home
            .as_fd()
            .try_clone_to_owned()
            .map_err(|e| ExportError::Destination {
                task: Task::Open,
                path: parent.to_path_buf(),
                source: e,
            })?,
    };
    run.tree(&home, name.as_bytes(), &attr)?;
    Ok(run.report)
}

/// Counts what an export of `from` would write: objects and bytes of content.
///
/// # Errors
/// When a directory cannot be read.
pub fn measure(vfs: &dyn Vfs, from: Ino) -> FsResult<Measure> {
    tree::measure(vfs, from)
}

/// The size of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Measure {
    /// Files, directories, links and nodes.
    pub objects: u64,
    /// Sum of the sizes of regular files, in bytes; a file with several names counts once for each.
    pub bytes: u64,
}

/// An export under way.
struct Run<'a, 'o> {
    source: Source<'a>,
    observer: &'o mut dyn FnMut(Event<'_>),
    report: Report,
    /// Where the export goes, for messages.
    base: PathBuf,
    /// The first name under which an inode with several links was made, from `home`.
    links: HashMap<Ino, PathBuf>,
    chunk: Vec<u8>,
    /// The directory that everything is made beneath.
    home: OwnedFd,
}

impl Run<'_, '_> {
    /// `relative` as the user would name it.
    fn shown(&self, relative: &Path) -> PathBuf {
        if relative.as_os_str().is_empty() {
            self.base.clone()
        } else {
            self.base.join(relative)
        }
    }

    fn leave_out(&mut self, relative: &Path, omission: Omission) {
        self.report.left_out += 1;
        (self.observer)(Event::LeftOut(relative, omission));
    }

    fn failed(&self, task: Task, relative: &Path, e: rustix::io::Errno) -> ExportError {
        ExportError::destination(task, &self.shown(relative), e)
    }
}

/// Whether other names of an inode have to be looked out for.
fn is_linked(attr: &Attr) -> bool {
    attr.kind != FileKind::Directory && attr.nlink > 1
}
