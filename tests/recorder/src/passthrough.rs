//! The filesystem that stands between the vault and the directory it lies in.
//!
//! Requests are served one at a time, each in three steps: may it fail, do it beneath, log it. So
//! the log has every change in the order in which the directory saw it.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::fs::{
    AtFlags, FallocateFlags, Mode, OFlags, RawDir, Stat, fallocate, fchmod, mkdirat, openat,
    renameat, unlinkat,
};

use crate::faults::{Call, Faults, How};
use crate::log::{Log, Node, Step};
use crate::nodes::Nodes;

/// What the recorder knows, shared between the thread that serves and whoever asks.
pub(crate) struct Recording {
    pub(crate) nodes: Nodes,
    pub(crate) log: Log,
    pub(crate) faults: Faults,
    /// At this length of the log the process above is dead: nothing it asks for is done.
    pub(crate) kill_at: usize,
    /// Counts the processes that were killed.
    pub(crate) life: u64,
    /// The thread that serves.
    pub(crate) server: Option<i32>,
}

pub(crate) type Shared = Arc<Mutex<Recording>>;

fn errno(code: i32) -> io::Error {
    io::Error::from_raw_os_error(code)
}

impl Recording {
    pub(crate) fn new(nodes: Nodes) -> Self {
        Self {
            nodes,
            log: Log::default(),
            faults: Faults::default(),
            kill_at: usize::MAX,
            life: 0,
            server: None,
        }
    }

    /// # Errors
    /// EIO when whoever asks is dead.
    fn check_alive(&self, handle: Option<u64>) -> io::Result<()> {
        let of_the_dead = match handle {
            Some(handle) => self.nodes.handle(handle)?.life != self.life,
            None => false,
        };
        if of_the_dead || self.log.steps.len() >= self.kill_at {
            return Err(errno(libc::EIO));
        }
        Ok(())
    }

    /// Whether a call does only half of what it is asked.
    fn fail(&mut self, call: Call, name: &OsString) -> io::Result<bool> {
        match self.faults.meet(call, name) {
            Some(How::Errno(code)) => Err(errno(code)),
            Some(How::Short) => Ok(true),
            None => Ok(false),
        }
    }

    fn begin(&mut self, call: Call, node: Node, handle: Option<u64>) -> io::Result<bool> {
        self.check_alive(handle)?;
        let name = self.nodes.name(node);
        self.fail(call, &name)
    }

    fn note(&mut self, step: Step) {
        self.log.steps.push(step);
    }

    pub(crate) fn read(&mut self, node: Node, handle: u64, at: (u64, u32)) -> io::Result<Vec<u8>> {
        let name = self.nodes.name(node);
        let short = self.fail(Call::Read, &name)?;
        let (offset, size) = at;
        let mut data = vec![0; size as usize];
        let file = &self.nodes.handle(handle)?.file;
        let mut done = 0;
        while done < data.len() {
            match file.read_at(&mut data[done..], offset + done as u64)? {
                0 => break,
                n => done += n,
            }
        }
        data.truncate(if short { done.div_ceil(2) } else { done });
        Ok(data)
    }

    pub(crate) fn write(
        &mut self,
        node: Node,
        handle: u64,
        (offset, data): (u64, &[u8]),
    ) -> io::Result<u32> {
        let begun = self.begin(Call::Write, node, Some(handle));
        if begun.is_err() {
            self.faults.note_place((node, offset));
        }
        let short = begun?;
        let wanted = if short {
            data.len().div_ceil(2)
        } else {
            data.len()
        };
        let file = &self.nodes.handle(handle)?.file;
        let mut done = 0;
        while done < wanted {
            match file.write_at(&data[done..wanted], offset + done as u64) {
                Ok(n) => done += n,
                Err(e) if done == 0 => return Err(e),
                Err(_) => break,
            }
        }
        self.note(Step::Write {
            file: node,
            offset,
            data: data[..done].into(),
        });
        Ok(done as u32)
    }

    pub(crate) fn allocate(
        &mut self,
        node: Node,
        handle: u64,
        (offset, len, mode): (u64, u64, i32),
    ) -> io::Result<()> {
        let flags = FallocateFlags::from_bits_retain(mode as u32);
        let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        let call = if flags == punch {
            Call::Punch
        } else {
            Call::Allocate
        };
        self.begin(call, node, Some(handle))?;
        if flags != punch && !flags.is_empty() {
            return Err(errno(libc::EOPNOTSUPP));
        }
        fallocate(&self.nodes.handle(handle)?.file, flags, offset, len)?;
        self.note(if flags == punch {
            Step::Punch {
                file: node,
                offset,
                len,
            }
        } else {
            Step::Allocate {
                file: node,
                len: offset + len,
            }
        });
        Ok(())
    }

    /// Nothing beneath is synced: what is durable is for the log to say.
    pub(crate) fn sync(&mut self, node: Node, handle: Option<u64>) -> io::Result<()> {
        match self.begin(Call::Sync, node, handle) {
            Ok(_) => self.note(Step::Sync { node }),
            Err(e) => {
                if self.check_alive(handle).is_ok() {
                    self.note(Step::SyncFailed { node });
                }
                return Err(e);
            }
        }
        Ok(())
    }

    pub(crate) fn set_len(&mut self, node: Node, handle: Option<u64>, len: u64) -> io::Result<()> {
        self.begin(Call::SetLen, node, handle)?;
        match handle {
            Some(handle) => self.nodes.handle(handle)?.file.set_len(len)?,
            None => self.nodes.reopen(node, OFlags::WRONLY)?.set_len(len)?,
        }
        self.note(Step::SetLen { file: node, len });
        Ok(())
    }

    pub(crate) fn set_mode(&mut self, node: Node, mode: u32) -> io::Result<()> {
        self.check_alive(None)?;
        let file = self.nodes.reopen(node, OFlags::RDONLY)?;
        Ok(fchmod(&file, Mode::from_bits_truncate(mode))?)
    }

    pub(crate) fn create(
        &mut self,
        (dir, name): (Node, &OsStr),
        mode: u32,
        flags: i32,
    ) -> io::Result<(Node, Stat, u64)> {
        self.check_alive(None)?;
        self.fail(Call::Name, &name.to_owned())?;
        let access = OFlags::from_bits_retain(flags as u32) & OFlags::ACCMODE;
        let made = openat(
            self.nodes.place(dir)?,
            name,
            access | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC,
            Mode::from_bits_truncate(mode),
        )?;
        let (file, stat) = self.nodes.find(dir, name)?;
        self.note(Step::Create {
            dir,
            name: name.to_owned(),
            file,
        });
        let handle = self.nodes.add_handle(File::from(made), self.life);
        Ok((file, stat, handle))
    }

    pub(crate) fn open(&mut self, node: Node, flags: i32) -> io::Result<u64> {
        let access = OFlags::from_bits_retain(flags as u32) & OFlags::ACCMODE;
        if access != OFlags::RDONLY {
            self.check_alive(None)?;
        }
        let file = self.nodes.reopen(node, access)?;
        Ok(self.nodes.add_handle(file, self.life))
    }

    pub(crate) fn mkdir(
        &mut self,
        (dir, name): (Node, &OsStr),
        mode: u32,
    ) -> io::Result<(Node, Stat)> {
        self.check_alive(None)?;
        self.fail(Call::Name, &name.to_owned())?;
        mkdirat(self.nodes.place(dir)?, name, Mode::from_bits_truncate(mode))?;
        let (made, stat) = self.nodes.find(dir, name)?;
        self.note(Step::Mkdir {
            dir,
            name: name.to_owned(),
            made,
        });
        Ok((made, stat))
    }

    pub(crate) fn remove(&mut self, (dir, name): (Node, &OsStr), flags: AtFlags) -> io::Result<()> {
        self.check_alive(None)?;
        self.fail(Call::Name, &name.to_owned())?;
        let (node, _) = self.nodes.find(dir, name)?;
        unlinkat(self.nodes.place(dir)?, name, flags)?;
        self.nodes.removed(node)?;
        self.note(Step::Remove {
            dir,
            name: name.to_owned(),
        });
        Ok(())
    }

    pub(crate) fn rename(&mut self, dir: Node, from: &OsStr, to: &OsStr) -> io::Result<()> {
        self.check_alive(None)?;
        self.fail(Call::Name, &from.to_owned())?;
        let replaced = self.nodes.find(dir, to).ok();
        let place = self.nodes.place(dir)?;
        renameat(place, from, place, to)?;
        if let Some((node, _)) = replaced {
            self.nodes.removed(node)?;
        }
        self.nodes.renamed(dir, to)?;
        self.note(Step::Rename {
            dir,
            from: from.to_owned(),
            to: to.to_owned(),
        });
        Ok(())
    }

    pub(crate) fn list(&self, dir: Node) -> io::Result<Vec<(OsString, bool)>> {
        use std::os::unix::ffi::OsStrExt;
        let file = self.nodes.reopen(dir, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let mut buffer = Vec::with_capacity(16 << 10);
        let mut entries = RawDir::new(&file, buffer.spare_capacity_mut());
        let mut listed = Vec::new();
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes()).to_owned();
            listed.push((name, entry.file_type().is_dir()));
        }
        Ok(listed)
    }
}
