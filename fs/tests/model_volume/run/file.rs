//! Open files.

use keyfold_fs::error::FsError;
use keyfold_fs::vfs::{Handle, Ino, OpenMode, Seek, SetAttr};

use super::{Checked, pattern};
use crate::ops::{Op, Opening, Pick};
use crate::pair::{Both, OpenPair, Opened, Pair, agree};
use crate::tree::bytes;

const BLOCK: u64 = 4096;
/// Largest offset for subjects without exact limits.
const NEAR: u64 = 1 << 40;

pub(super) fn mode(opening: Opening) -> OpenMode {
    let both = OpenMode {
        read: true,
        write: true,
        ..OpenMode::default()
    };
    match opening {
        Opening::Read => OpenMode {
            write: false,
            ..both
        },
        Opening::Write => OpenMode {
            read: false,
            ..both
        },
        Opening::ReadWrite => both,
        Opening::Append => OpenMode {
            append: true,
            ..both
        },
        Opening::Truncate => OpenMode {
            truncate: true,
            ..both
        },
        Opening::Sync => OpenMode { sync: true, ..both },
    }
}

impl Pair<'_> {
    fn reach(&self, offset: u64) -> u64 {
        if self.promises.limits {
            offset
        } else {
            offset % NEAR
        }
    }

    pub(super) fn files(&mut self, op: &Op) -> Checked {
        match op {
            Op::Open { node, opening } => self.open(*node, *opening),
            Op::Truncate { node, size } => {
                let Some(ino) = self.file(*node) else {
                    return Ok(());
                };
                let size = Some(self.reach(*size));
                self.setattr(
                    ino,
                    None,
                    &SetAttr {
                        size,
                        ..SetAttr::default()
                    },
                )
            }
            _ => match self.handle_of(op) {
                Some(open) => self.with_handle(op, open),
                None => Ok(()),
            },
        }
    }

    pub(super) fn opened(&mut self, ino: Both<Ino>, handle: Both<Handle>, mode: OpenMode) {
        self.handles.push(OpenPair {
            ino,
            handle,
            opened: Opened::File { mode },
        });
    }

    fn handle_of(&self, op: &Op) -> Option<OpenPair> {
        match op {
            // Linux itself refuses what a file is not open for.
            Op::Read(span) | Op::Copy { from: span, .. } => {
                self.open_file(span.handle).filter(OpenPair::is_readable)
            }
            Op::Write { span, .. } | Op::Fallocate { span, .. } => {
                self.open_file(span.handle).filter(OpenPair::is_writable)
            }
            Op::Flush(handle)
            | Op::Release(handle)
            | Op::Fsync(handle)
            | Op::Seek { handle, .. } => self.open_file(*handle),
            Op::TruncateOpen { handle, .. } => {
                self.open_file(*handle).filter(OpenPair::is_writable)
            }
            _ => None,
        }
    }

    fn open(&mut self, pick: Pick, opening: Opening) -> Checked {
        let Some(ino) = self.file(pick) else {
            return Ok(());
        };
        let (mode, vfs) = (mode(opening), self.vfs());
        let results = (
            vfs.model.open(ino.model, mode),
            vfs.subject.open(ino.subject, mode),
        );
        if let Some(handle) = agree(results.0, results.1)? {
            self.opened(ino, handle, mode);
        }
        Ok(())
    }

    fn with_handle(&mut self, op: &Op, open: OpenPair) -> Checked {
        let (vfs, ino, handle) = (self.vfs(), open.ino, open.handle);
        match op {
            Op::Read(span) => {
                let at = open.at(self.reach(span.offset));
                let mut buffers = [vec![0xAA; span.len as usize], vec![0xAA; span.len as usize]];
                let [m, s] = &mut buffers;
                let results = (vfs.model.read(at.model, m), vfs.subject.read(at.subject, s));
                let done = agree(results.0, results.1)?;
                same_read(done, &buffers)
            }
            Op::Write { span, fill } => {
                let offset = self.reach(span.offset);
                let (at, data) = (open.at(offset), pattern(*fill, offset, span.len));
                let model = vfs.model.write(at.model, &data);
                count(model, vfs.subject.write(at.subject, &data))?;
                if open.is_synchronous() && model.is_ok_and(|len| len > 0) {
                    self.confirmed = Some(ino.model);
                }
                Ok(())
            }
            Op::Flush(_) => {
                let model = vfs.model.flush(ino.model, handle.model);
                agree(model, vfs.subject.flush(ino.subject, handle.subject)).map(drop)
            }
            Op::Fsync(_) => {
                let model = vfs.model.fsync(ino.model, handle.model);
                agree(model, vfs.subject.fsync(ino.subject, handle.subject))?;
                self.confirmed = Some(ino.model);
                Ok(())
            }
            Op::Release(_) => {
                vfs.model.release(ino.model, handle.model);
                vfs.subject.release(ino.subject, handle.subject);
                self.handles.retain(|other| other.handle != handle);
                Ok(())
            }
            Op::Fallocate { span, mode } => {
                let at = open.at(self.reach(span.offset));
                let before = bytes(vfs.model, ino.model)?;
                let model = vfs.model.fallocate(at.model, span.len, *mode);
                agree(model, vfs.subject.fallocate(at.subject, span.len, *mode))?;
                let unchanged = before == bytes(vfs.model, ino.model)?;
                let end = at.model.offset + span.len;
                if end >= before.size && !before.size.is_multiple_of(BLOCK) {
                    self.loose.insert(ino.model);
                }
                // Where nothing changes it may count as a change or not.
                if unchanged {
                    self.forget_seen(ino);
                }
                Ok(())
            }
            Op::Seek { offset, what, .. } => self.seek(open, self.reach(*offset), *what),
            Op::Copy {
                from,
                to,
                to_offset,
            } => {
                let Some(to) = self.open_file(*to).filter(OpenPair::takes_copies) else {
                    return Ok(());
                };
                let (to_at, from_at) = (to.at(self.reach(*to_offset)), open.at(from.offset));
                let model = vfs.model.copy_range(from_at.model, to_at.model, from.len);
                let subject = vfs
                    .subject
                    .copy_range(from_at.subject, to_at.subject, from.len);
                self.loose.insert(to.ino.model);
                count(model, subject)
            }
            Op::TruncateOpen { size, .. } => {
                let size = Some(self.reach(*size));
                self.setattr(
                    ino,
                    Some(handle),
                    &SetAttr {
                        size,
                        ..SetAttr::default()
                    },
                )
            }
            _ => Ok(()),
        }
    }

    fn seek(&self, open: OpenPair, offset: u64, what: Seek) -> Checked {
        if !self.promises.layout || self.loose.contains(&open.ino.model) {
            return Ok(());
        }
        let (vfs, at) = (self.vfs(), open.at(offset));
        count(
            vfs.model.seek(at.model, what),
            vfs.subject.seek(at.subject, what),
        )
    }

    pub(super) fn setattr(
        &mut self,
        ino: Both<Ino>,
        handle: Option<Both<Handle>>,
        set: &SetAttr,
    ) -> Checked {
        let vfs = self.vfs();
        let model = vfs.model.setattr(ino.model, handle.map(|h| h.model), set);
        let subject = vfs
            .subject
            .setattr(ino.subject, handle.map(|h| h.subject), set);
        match agree(model, subject)? {
            Some(Both { model, subject }) => self.compare_attr(Both {
                model: &model,
                subject: &subject,
            }),
            None => Ok(()),
        }
    }
}

fn same_read(done: Option<Both<usize>>, buffers: &[Vec<u8>; 2]) -> Checked {
    match done {
        Some(Both { model, subject }) if model != subject => {
            Err(format!("expected {model} bytes, got {subject}"))
        }
        Some(Both { model: len, .. }) if buffers[0][..len] != buffers[1][..len] => {
            let at = (0..len)
                .find(|at| buffers[0][*at] != buffers[1][*at])
                .unwrap_or_default();
            let [m, s] = [0, 1].map(|side: usize| buffers[side][at]);
            Err(format!("byte {at} of {len} read is {s} instead of {m}"))
        }
        _ => Ok(()),
    }
}

/// Both results are the same.
pub(super) fn count<T>(model: Result<T, FsError>, subject: Result<T, FsError>) -> Checked
where
    T: PartialEq + std::fmt::Debug,
{
    match agree(model, subject)? {
        Some(Both { model, subject }) if model != subject => {
            Err(format!("expected {model:?}, got {subject:?}"))
        }
        _ => Ok(()),
    }
}
