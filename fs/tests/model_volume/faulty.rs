//! The model with a fault in it, and with the losses a crash may bring: proves that the
//! comparison notices the one and accepts the other.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard};

use keyfold_fs::clock::{Clock, TestClock};
use keyfold_fs::error::{FsError, FsResult};
use keyfold_fs::model::ModelFs;
use keyfold_fs::vfs::{
    Allocate, Attr, Caller, Cookie, DirEntry, Entry, FileKind, FileRange, Handle, Ino, Listing,
    NewNode, OpenMode, Place, RenameMode, Seek, SetAttr, Stats, Timestamp, Vfs, XattrMode,
};

use crate::history::History;
use crate::subject::{Promises, Subject};
use crate::tree::Tree;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing; crashes lose what they may lose.
    None,
    /// Writing leaves setuid bits alone.
    KeptSetuid,
    /// Growing a file shows what was cut off before.
    StaleTail,
    /// A write across two blocks loses its last byte.
    LostByte,
    /// Replacing a name gives it a new place in the listing.
    MovedName,
    /// A directory that is not empty is called busy.
    OtherErrno,
    /// Making another link does not mark the inode as changed.
    ForgottenCtime,
    /// An unlinked file that is open is emptied.
    EmptiedOrphan,
    /// A crash loses what fsync confirmed.
    LostFsync,
    /// A crash shows a namespace that never was.
    LostName,
    /// A crash shows a file of two moments.
    TornFile,
    /// A crash shows a renamed file with the content it had before.
    EarlyRename,
}

pub(crate) struct FaultyFs {
    fs: ModelFs,
    clock: Arc<TestClock>,
    fault: Fault,
    past: Mutex<Past>,
}

/// What crashes choose from.
struct Past {
    history: History,
    /// Handles whose writes are durable at once.
    synchronous: HashSet<Handle>,
    dice: u64,
}

impl Past {
    /// A number below `sides`, from a generator of Lehmer's kind.
    fn roll(&mut self, sides: usize) -> usize {
        self.dice = self
            .dice
            .wrapping_mul(0x5851_F42D_4C95_7F2D)
            .wrapping_add(1);
        (self.dice >> 33) as usize % sides.max(1)
    }
}

impl FaultyFs {
    pub(crate) fn new(fault: Fault) -> Self {
        let clock = Arc::new(TestClock::new(Timestamp {
            secs: 3_000_000_000,
            nanos: 5,
        }));
        let fs = ModelFs::new(Arc::<TestClock>::clone(&clock));
        let history = History::starting_at(fs.snapshot());
        let past = Past {
            history,
            synchronous: HashSet::new(),
            dice: 1,
        };
        Self {
            past: Mutex::new(past),
            fs,
            clock,
            fault,
        }
    }

    fn past(&self) -> MutexGuard<'_, Past> {
        self.past.lock().expect("no panic under the lock")
    }

    fn has(&self, fault: Fault) -> bool {
        self.fault == fault
    }

    /// Remembers the state after an operation.
    fn done<T>(&self, result: T) -> T {
        self.clock.advance(1);
        self.past().history.push(self.fs.snapshot());
        result
    }

    fn opened(&self, handle: Handle, mode: OpenMode) {
        if mode.sync {
            self.past().synchronous.insert(handle);
        }
    }

    fn kind(&self, at: Place<'_>) -> Option<Attr> {
        let attr = self.fs.lookup(at).ok()?.attr;
        self.fs.forget(attr.ino, 1);
        Some(attr)
    }

    fn all_durable(&self) {
        self.past().history = History::starting_at(self.fs.snapshot());
    }

    /// Moves to a moment that a crash may show, every file to one of its own.
    fn lose(&self) {
        let mut past = self.past();
        let mut moments: Vec<_> = past.history.namespaces().collect();
        if self.has(Fault::LostFsync) {
            moments = vec![0];
        }
        let moment = moments[past.roll(moments.len())];
        let mut state = past.history.at(moment).clone();
        self.fs.restore(&state);
        let tree = Tree::walk(&self.fs).expect("the model agrees with itself");
        let files = tree
            .nodes
            .iter()
            .filter(|(_, node)| node.attr.kind == FileKind::Regular);
        for (ino, _) in files {
            let mut moments: Vec<_> = past.history.contents(*ino, moment).collect();
            if self.has(Fault::EarlyRename) {
                let floor = past.history.synced_at(*ino);
                let early = (floor..=moment).find(|at| past.history.at(*at).contains(*ino));
                moments.truncate(1);
                moments.extend(early);
                moments.reverse();
                moments.truncate(1);
            }
            let chosen = moments[past.roll(moments.len())];
            state.take_content(*ino, past.history.at(chosen));
        }
        self.fs.restore(&state);
        drop(past);
        self.spoil(&tree);
        self.fs.remount();
        self.all_durable();
    }

    /// Adds what no crash may do.
    fn spoil(&self, tree: &Tree) {
        if let (true, Some((path, ino))) = (self.has(Fault::LostName), tree.names.iter().nth(1)) {
            let name = keyfold_fs::vfs::Name::new(&path[1..]).expect("a listed name");
            let at = Place {
                parent: Ino::ROOT,
                name,
            };
            let directory = tree.nodes[ino].attr.kind == FileKind::Directory;
            let _ = if directory {
                self.fs.rmdir(at)
            } else {
                self.fs.unlink(at)
            };
        }
        if self.has(Fault::TornFile) {
            let long = |ino: &&Ino| tree.nodes[*ino].attr.size > 4096;
            let Some(ino) = tree.nodes.keys().find(long) else {
                return;
            };
            let mode = OpenMode {
                read: true,
                write: true,
                ..OpenMode::default()
            };
            let Ok(handle) = self.fs.open(*ino, mode) else {
                return;
            };
            let _ = self.fs.write(
                FileRange {
                    ino: *ino,
                    handle,
                    offset: 0,
                },
                &[0x5A; 64],
            );
        }
    }
}

/// Passes calls on, remembering the state after those that change it.
macro_rules! pass {
    ($(fn $name:ident($($arg:ident: $kind:ty),*) $(-> $result:ty)?;)*) => {
        $(fn $name(&self, $($arg: $kind),*) $(-> $result)? {
            let result = self.fs.$name($($arg),*);
            self.done(result)
        })*
    };
}

impl Vfs for FaultyFs {
    pass! {
        fn lookup(at: Place<'_>) -> FsResult<Entry>;
        fn forget(ino: Ino, count: u64);
        fn getattr(ino: Ino) -> FsResult<Attr>;
        fn readlink(ino: Ino) -> FsResult<Vec<u8>>;
        fn mknod(caller: &Caller, at: Place<'_>, node: NewNode) -> FsResult<Entry>;
        fn mkdir(caller: &Caller, at: Place<'_>, perm: u16) -> FsResult<Entry>;
        fn symlink(caller: &Caller, at: Place<'_>, target: &[u8]) -> FsResult<Entry>;
        fn read(at: FileRange, buf: &mut [u8]) -> FsResult<usize>;
        fn flush(ino: Ino, handle: Handle) -> FsResult<()>;
        fn release(ino: Ino, handle: Handle);
        fn fallocate(at: FileRange, len: u64, mode: Allocate) -> FsResult<()>;
        fn seek(at: FileRange, what: Seek) -> FsResult<u64>;
        fn copy_range(from: FileRange, to: FileRange, len: u64) -> FsResult<u64>;
        fn opendir(ino: Ino) -> FsResult<Handle>;
        fn readdir(handle: Handle, from: Cookie, sink: &mut dyn FnMut(DirEntry<'_>) -> Listing)
            -> FsResult<()>;
        fn readdir_plus(
            handle: Handle,
            from: Cookie,
            sink: &mut dyn FnMut(DirEntry<'_>, &Attr) -> Listing
        ) -> FsResult<()>;
        fn releasedir(handle: Handle);
        fn statfs() -> FsResult<Stats>;
        fn setxattr(ino: Ino, name: &[u8], value: &[u8], mode: XattrMode) -> FsResult<()>;
        fn getxattr(ino: Ino, name: &[u8]) -> FsResult<Vec<u8>>;
        fn listxattr(ino: Ino) -> FsResult<Vec<u8>>;
        fn removexattr(ino: Ino, name: &[u8]) -> FsResult<()>;
    }

    fn create(
        &self,
        caller: &Caller,
        at: Place<'_>,
        perm: u16,
        mode: OpenMode,
    ) -> FsResult<(Entry, Handle)> {
        let (entry, handle) = self.fs.create(caller, at, perm, mode)?;
        self.opened(handle, mode);
        self.done(Ok((entry, handle)))
    }

    fn open(&self, ino: Ino, mode: OpenMode) -> FsResult<Handle> {
        let handle = self.fs.open(ino, mode)?;
        self.opened(handle, mode);
        self.done(Ok(handle))
    }

    fn link(&self, ino: Ino, at: Place<'_>) -> FsResult<Entry> {
        let old = self.fs.getattr(ino)?;
        let time = self.clock.now();
        if self.has(Fault::ForgottenCtime) {
            self.clock.set(old.ctime);
        }
        let entry = self.fs.link(ino, at);
        self.clock.set(time);
        self.done(entry)
    }

    fn setattr(&self, ino: Ino, handle: Option<Handle>, set: &SetAttr) -> FsResult<Attr> {
        let old = self.fs.getattr(ino)?;
        let attr = self.fs.setattr(ino, handle, set)?;
        if self.has(Fault::StaleTail) && old.size < attr.size && old.size % 4096 > 1 {
            let mode = OpenMode {
                write: true,
                ..OpenMode::default()
            };
            let handle = self.fs.open(ino, mode)?;
            self.fs.write(
                FileRange {
                    ino,
                    handle,
                    offset: old.size,
                },
                b"?",
            )?;
            self.fs.release(ino, handle);
        }
        self.done(self.fs.getattr(ino))
    }

    fn unlink(&self, at: Place<'_>) -> FsResult<()> {
        let old = self.kind(at);
        self.fs.unlink(at)?;
        if let (true, Some(attr)) = (self.has(Fault::EmptiedOrphan), old) {
            let set = SetAttr {
                size: Some(0),
                ..SetAttr::default()
            };
            if attr.kind == FileKind::Regular && attr.nlink == 1 {
                let _ = self.fs.setattr(attr.ino, None, &set);
            }
        }
        self.done(Ok(()))
    }

    fn rmdir(&self, at: Place<'_>) -> FsResult<()> {
        match self.fs.rmdir(at) {
            Err(FsError::NotEmpty(_)) if self.has(Fault::OtherErrno) => Err(FsError::Busy),
            result => self.done(result),
        }
    }

    fn rename(&self, from: Place<'_>, to: Place<'_>, mode: RenameMode) -> FsResult<()> {
        let (moved, target) = (self.kind(from), self.kind(to));
        let regular = |attr: Option<Attr>| attr.filter(|attr| attr.kind == FileKind::Regular);
        let files = regular(moved).zip(regular(target));
        let replaced =
            files.filter(|(moved, over)| moved.ino != over.ino && mode == RenameMode::Replace);
        if self.has(Fault::MovedName) && replaced.is_some() {
            self.fs.unlink(to)?;
        }
        self.fs.rename(from, to, mode)?;
        self.done(());
        if let Some((moved, _)) = replaced {
            self.past().history.replaced(moved.ino);
        }
        Ok(())
    }

    fn write(&self, at: FileRange, data: &[u8]) -> FsResult<usize> {
        let old = self.fs.getattr(at.ino)?;
        let crosses = at.offset % 4096 + data.len() as u64 > 4096;
        if self.has(Fault::LostByte) && crosses && at.offset + (data.len() as u64) < old.size {
            self.fs.write(at, &data[..data.len() - 1])?;
            return self.done(Ok(data.len()));
        }
        let written = self.fs.write(at, data)?;
        if self.has(Fault::KeptSetuid) {
            let set = SetAttr {
                perm: Some(old.perm),
                ..SetAttr::default()
            };
            self.fs.setattr(at.ino, None, &set)?;
        }
        self.done(());
        let mut past = self.past();
        if past.synchronous.contains(&at.handle) {
            past.history.synced(at.ino);
        }
        Ok(written)
    }

    fn fsync(&self, ino: Ino, handle: Handle) -> FsResult<()> {
        self.fs.fsync(ino, handle)?;
        self.done(());
        self.past().history.synced(ino);
        Ok(())
    }

    fn sync(&self) -> FsResult<()> {
        self.all_durable();
        Ok(())
    }
}

impl Subject for FaultyFs {
    fn vfs(&self) -> &dyn Vfs {
        self
    }

    fn remount(&mut self) {
        self.fs.remount();
        self.all_durable();
    }

    fn crash(&mut self) {
        self.lose();
    }

    fn promises(&self) -> Promises {
        Promises::VOLUME
    }
}
