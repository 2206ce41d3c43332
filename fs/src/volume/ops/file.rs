//! Opening, writing and syncing regular files.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::edit::{Changed, Edit, Outcome, end_of, put_pages};
use crate::error::{FsError, FsResult, LostWrite};
use crate::layout::{BLOCK_SIZE, BlockIndex};
use crate::vfs::{FileKind, FileRange, Handle, Ino, OpenMode};
use crate::volume::commit::Scope;
use crate::volume::node::{Node, OpenFile};
use crate::volume::{Failure, Volume};

const BLOCK: u64 = BLOCK_SIZE as u64;
/// A sequential writer's dirty pages are sealed from this many on (1 MiB).
const STREAM_PAGES: usize = 256;

impl Volume {
    pub(in crate::volume) fn do_open(&self, ino: Ino, mode: OpenMode) -> FsResult<Handle> {
        if mode.write || mode.truncate {
            self.check_writable()?;
        }
        let handle = self.open_made(ino, mode)?;
        if !mode.truncate {
            // While it is open nobody replaces it.
            let looked = self.shares.replaced.opened(ino);
            looked.inspect_err(|_| self.do_release(ino, handle))?;
        }
        Ok(handle)
    }

    /// Opens a file that may have been made by this very operation: that the volume has turned
    /// read-only since would be told too late.
    pub(super) fn open_made(&self, ino: Ino, mode: OpenMode) -> FsResult<Handle> {
        // Whoever replaces a file under its names asks first whether somebody writes to it.
        let opening = self.before_writing(ino, mode)?;
        let node = self.node(ino)?;
        self.references.add(ino);
        let handle = self.handles.open_file(Arc::clone(&node), mode);
        drop(opening);
        let emptied = if mode.truncate {
            self.empty(&node)
        } else {
            Ok(())
        };
        drop(node);
        emptied
            .map(|()| handle)
            .inspect_err(|_| self.do_release(ino, handle))
    }

    fn empty(&self, node: &Node) -> FsResult<()> {
        self.resize(node.ino, 0)?;
        if node.privileged.load(Ordering::Relaxed) {
            self.drop_privileges(node.ino)?;
        }
        Ok(())
    }

    pub(in crate::volume) fn do_release(&self, ino: Ino, handle: Handle) {
        if let Some(file) = self.handles.close_file(handle) {
            let written = file.mode.write;
            if let Ok(OpenFile { node, .. }) = Arc::try_unwrap(file) {
                self.nodes.put_back(node);
            }
            self.do_forget(ino, 1);
            if written {
                self.note_closed(ino);
            }
        }
    }

    pub(in crate::volume) fn do_write(&self, at: FileRange, data: &[u8]) -> FsResult<usize> {
        self.check_may_grow()?;
        let file = self.handles.file(at.handle)?;
        if !file.mode.write {
            return Err(FsError::BadHandle);
        }
        if data.is_empty() {
            return Ok(0);
        }
        self.wait_for_leaves()?;
        let node = &file.node;
        let offset = loop {
            let offset = if file.mode.append {
                node.content.read().head.size
            } else {
                at.offset
            };
            if self.write_at(&file, (offset, data))? {
                break offset;
            }
        };
        if node.privileged.load(Ordering::Relaxed) {
            self.drop_privileges(node.ino)?;
        }
        self.stream(node, offset, data.len());
        if file.mode.sync {
            self.commit(&Scope::File(node.ino))?;
        }
        Ok(data.len())
    }

    /// Returns whether the write was made; not when the file has changed since it was planned.
    fn write_at(&self, file: &OpenFile, (offset, data): (u64, &[u8])) -> FsResult<bool> {
        let end = end_of(offset, data.len() as u64)?;
        let (first, last) = (BlockIndex::of(offset), BlockIndex::of(end - 1));
        let mut edges = Vec::with_capacity(2);
        if !offset.is_multiple_of(BLOCK) || end - first.offset() < BLOCK {
            edges.push(first);
        }
        if !end.is_multiple_of(BLOCK) && last != first {
            edges.push(last);
        }
        let edit = Edit {
            node: &file.node,
            edges: &edges,
            pages: last.0 - first.0 + 1,
        };
        let done = self.edit(&edit, |content, edges, leaves| {
            if file.mode.append && content.head.size != offset {
                return Ok(Outcome::Replan);
            }
            let added = put_pages(
                content,
                edges,
                (offset, data),
                (leaves, &self.write_behind.pages),
            )?;
            let now = self.now();
            let head = &mut content.head;
            head.size = head.size.max(end);
            (head.mtime, head.ctime) = (now, now);
            Ok(Outcome::Done(Changed { added, gone: 0 }, ()))
        })?;
        Ok(done.is_some())
    }

    /// Lets flushers begin with a file that is written from end to end.
    fn stream(&self, node: &Arc<Node>, offset: u64, len: usize) {
        let expected = node.next_write.swap(offset + len as u64, Ordering::Relaxed);
        if (expected == offset || len >= STREAM_PAGES * BLOCK_SIZE)
            && node.content.read().head.dirty.len() >= STREAM_PAGES
        {
            self.write_behind.enqueue([Arc::clone(node)]);
        }
    }

    pub(in crate::volume) fn do_flush(&self, handle: Handle) -> FsResult<()> {
        let file = self.handles.file(handle)?;
        self.report_loss(&file)
    }

    /// After a failure: tells once per handle that writes to the file were lost.
    fn report_loss(&self, file: &OpenFile) -> FsResult<()> {
        let Some(failure) = self.failure() else {
            return Ok(());
        };
        if file.node.content.read().is_clean() || file.reported.swap(true, Ordering::Relaxed) {
            return Ok(());
        }
        Err(FsError::WriteLost(match failure {
            Failure::Commit(FsError::NoSpace) | Failure::Write(FsError::NoSpace) => {
                LostWrite::NoSpace
            }
            _ => LostWrite::Disk,
        }))
    }

    pub(in crate::volume) fn do_fsync(&self, ino: Ino, handle: Handle) -> FsResult<()> {
        if let Ok(file) = self.handles.file(handle) {
            self.report_loss(&file)?;
            if self.is_read_only() {
                return Ok(());
            }
            return self.commit(&Scope::File(ino));
        }
        self.handles.dir(handle)?;
        if self.is_read_only() {
            Ok(())
        } else {
            self.commit(&Scope::Namespace)
        }
    }

    /// The open file of a handle for an operation of its own kind.
    pub(super) fn writable_file(&self, at: FileRange) -> FsResult<Arc<OpenFile>> {
        self.check_writable()?;
        let file = self.handles.file(at.handle)?;
        if file.mode.write {
            Ok(file)
        } else {
            Err(FsError::BadHandle)
        }
    }

    /// # Errors
    /// [`FsError::IsADirectory`] or [`FsError::WrongKind`] for anything but a regular file.
    pub(in crate::volume) fn check_regular(&self, ino: Ino) -> FsResult<()> {
        match self.inode(ino)?.kind {
            FileKind::Regular => Ok(()),
            FileKind::Directory => Err(FsError::IsADirectory(ino)),
            _ => Err(FsError::WrongKind(ino)),
        }
    }
}
