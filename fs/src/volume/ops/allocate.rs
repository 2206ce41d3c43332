//! Allocating, punching, seeking and copying ranges.

use std::sync::Arc;

use super::edit::{Changed, Edit, Outcome, end_of};
use crate::error::{FsError, FsResult};
use crate::layout::{BLOCK_SIZE, BlockIndex};
use crate::vfs::{Allocate, FileRange, Seek};
use crate::volume::Volume;
use crate::volume::content::BlockKind;
use crate::volume::node::Node;

/// Bytes copied at once by [`Volume::do_copy_range`].
const COPY_STEP: u64 = 1 << 20;

impl Volume {
    pub(in crate::volume) fn do_fallocate(
        &self,
        at: FileRange,
        len: u64,
        mode: Allocate,
    ) -> FsResult<()> {
        let file = self.writable_file(at)?;
        if len == 0 {
            return Err(FsError::InvalidArgument);
        }
        let end = end_of(at.offset, len)?;
        let node = &file.node;
        let size = node.content.read().head.size;
        match mode {
            Allocate::Extend | Allocate::KeepSize => {
                self.check_may_grow()?;
                self.check_room(len)?;
                if mode == Allocate::Extend && end > size {
                    self.zero(node, size..size, end)?;
                } else {
                    self.touch(node)?;
                }
            }
            Allocate::PunchHole | Allocate::ZeroKeepSize => {
                self.punch_within(node, at.offset, end, size)?;
            }
            Allocate::Zero => {
                self.check_may_grow()?;
                self.zero(node, at.offset..end.min(size).max(at.offset), end)?;
            }
        }
        if node.privileged.load(std::sync::atomic::Ordering::Relaxed) {
            self.drop_privileges(node.ino)?;
        }
        Ok(())
    }

    fn punch_within(&self, node: &Arc<Node>, start: u64, end: u64, size: u64) -> FsResult<()> {
        // The last block is padded with zeros: punching all that is used of it makes it a hole.
        let end = if end >= size {
            size.next_multiple_of(BLOCK_SIZE as u64)
        } else {
            end
        };
        if start < end {
            self.zero(node, start..end, 0)
        } else {
            self.touch(node)
        }
    }

    /// Marks a file as changed that was found as it was to be.
    fn touch(&self, node: &Arc<Node>) -> FsResult<()> {
        let edit = Edit {
            node,
            edges: &[],
            pages: 0,
        };
        self.edit(&edit, |content, _, _| {
            let now = self.now();
            let head = &mut content.head;
            (head.mtime, head.ctime, head.changed) = (now, now, true);
            Ok(Outcome::Done(Changed::default(), ()))
        })
        .map(drop)
    }

    /// # Errors
    /// [`FsError::NoSpace`] when the disk has not `len` bytes free.
    fn check_room(&self, len: u64) -> FsResult<()> {
        let stats = self.do_statfs()?;
        if len / u64::from(stats.block_size) > stats.free {
            Err(FsError::NoSpace)
        } else {
            Ok(())
        }
    }

    pub(in crate::volume) fn do_seek(&self, at: FileRange, what: Seek) -> FsResult<u64> {
        let file = self.handles.file(at.handle)?;
        let content = file.node.content.read();
        let size = content.head.size;
        if at.offset >= size {
            return Err(FsError::BeyondEnd);
        }
        let kind = match what {
            Seek::Data => BlockKind::Data,
            Seek::Hole => BlockKind::Hole,
        };
        let leaves = self.leaves(file.node.ino);
        let found = content.seek(BlockIndex::of(at.offset), kind, &leaves)?;
        match (found, what) {
            (Some(block), _) => Ok(block.offset().max(at.offset)),
            (None, Seek::Hole) => Ok(size),
            (None, Seek::Data) => Err(FsError::BeyondEnd),
        }
    }

    pub(in crate::volume) fn do_copy_range(
        &self,
        from: FileRange,
        to: FileRange,
        len: u64,
    ) -> FsResult<u64> {
        let source = self.handles.file(from.handle)?;
        let target = self.writable_file(to)?;
        if !source.mode.read {
            return Err(FsError::BadHandle);
        }
        let size = source.node.content.read().head.size;
        let len = len.min(size.saturating_sub(from.offset));
        let overlap = from.offset < to.offset + len && to.offset < from.offset + len;
        if len > 0 && source.node.ino == target.node.ino && overlap {
            return Err(FsError::InvalidArgument);
        }
        end_of(to.offset, len)?;
        let mut buf = Vec::new();
        let mut done = 0;
        while done < len {
            match self.copy_step((from, to), (done, len), &mut buf) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(_) if done > 0 => break,
                Err(e) => return Err(e),
            }
        }
        Ok(done)
    }

    /// Copies some of the range, or skips a hole; returns how much.
    fn copy_step(
        &self,
        (from, to): (FileRange, FileRange),
        (done, len): (u64, u64),
        buf: &mut Vec<u8>,
    ) -> FsResult<u64> {
        let here = FileRange {
            offset: from.offset + done,
            ..from
        };
        let there = FileRange {
            offset: to.offset + done,
            ..to
        };
        let data = match self.do_seek(here, Seek::Data) {
            Ok(at) => at - here.offset,
            Err(FsError::BeyondEnd) => len - done,
            Err(e) => return Err(e),
        };
        if data > 0 {
            let hole = data.min(len - done);
            let target = self.writable_file(there)?;
            self.check_may_grow()?;
            let size = target.node.content.read().head.size;
            let end = there.offset + hole;
            self.zero(
                &target.node,
                there.offset..end.min(size).max(there.offset),
                end,
            )?;
            if target
                .node
                .privileged
                .load(std::sync::atomic::Ordering::Relaxed)
            {
                self.drop_privileges(target.node.ino)?;
            }
            return Ok(hole);
        }
        buf.resize(COPY_STEP.min(len - done) as usize, 0);
        let n = self.do_read(here, buf)?;
        let offset_write = FileRange { ..there };
        self.write_plain(offset_write, &buf[..n])?;
        Ok(n as u64)
    }

    /// Writes where it says, also through a handle that appends.
    fn write_plain(&self, at: FileRange, data: &[u8]) -> FsResult<()> {
        if self.handles.file(at.handle)?.mode.append {
            return Err(FsError::BadHandle);
        }
        self.do_write(at, data).map(drop)
    }
}
