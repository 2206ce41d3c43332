//! Looking up, making and removing names.

use keyfold_crypto::{FileId, FileKey};

use crate::error::{FsError, FsResult};
use crate::layout::{
    ContentRow, DentryRow, DirBody, FileBody, FileKeyRow, InodeBody, InodeRow, MapId, Mark,
};
use crate::meta::{Key, Txn};
use crate::vfs::{
    Caller, Entry, FileKind, Handle, Ino, LINK_MAX, NewNode, OpenMode, Place, TARGET_MAX, Timestamp,
};
use crate::volume::acl::{self, Acl};
use crate::volume::node::Node;
use crate::volume::share::admit;
use crate::volume::{Volume, ops::FIRST_COOKIE};

/// What is to be made.
pub(super) struct NewInode<'a> {
    pub(super) kind: FileKind,
    pub(super) perm: u16,
    pub(super) rdev: u32,
    pub(super) target: &'a [u8],
}

/// What was made.
struct Made {
    ino: Ino,
    row: InodeRow,
}

impl Volume {
    pub(in crate::volume) fn do_lookup(&self, at: Place<'_>) -> FsResult<Entry> {
        self.check_unlocked(at.parent)?;
        let dentry = self
            .meta
            .get(&Key::dentry(at.parent, at.name.bytes()), DentryRow::decode)?
            .ok_or(FsError::NotFound)?;
        self.shares.replaced.looked(dentry.child);
        let row = self.inode(dentry.child)?;
        let attr = self.attr(dentry.child, &row)?;
        self.references.add(dentry.child);
        Ok(Entry { attr })
    }

    pub(in crate::volume) fn do_mknod(
        &self,
        caller: &Caller,
        at: Place<'_>,
        node: NewNode,
    ) -> FsResult<Entry> {
        if matches!(node.kind, FileKind::Directory | FileKind::Symlink) {
            return Err(FsError::InvalidArgument);
        }
        let device = matches!(node.kind, FileKind::CharDevice | FileKind::BlockDevice);
        let rdev = if device { node.rdev } else { 0 };
        let new = NewInode {
            kind: node.kind,
            perm: node.perm,
            rdev,
            target: &[],
        };
        self.make_entry(caller, at, &new)
    }

    pub(in crate::volume) fn do_mkdir(
        &self,
        caller: &Caller,
        at: Place<'_>,
        perm: u16,
    ) -> FsResult<Entry> {
        let new = NewInode {
            kind: FileKind::Directory,
            perm,
            rdev: 0,
            target: &[],
        };
        self.make_entry(caller, at, &new)
    }

    pub(in crate::volume) fn do_symlink(
        &self,
        caller: &Caller,
        at: Place<'_>,
        target: &[u8],
    ) -> FsResult<Entry> {
        if target.len() > TARGET_MAX {
            return Err(FsError::TargetTooLong);
        }
        if target.is_empty() || target.contains(&0) {
            return Err(FsError::InvalidArgument);
        }
        let new = NewInode {
            kind: FileKind::Symlink,
            perm: 0o777,
            rdev: 0,
            target,
        };
        self.make_entry(caller, at, &new)
    }

    fn make_entry(&self, caller: &Caller, at: Place<'_>, new: &NewInode<'_>) -> FsResult<Entry> {
        let made = self.make(caller, at, new)?;
        let attr = self.attr(made.ino, &made.row)?;
        Ok(Entry { attr })
    }

    pub(in crate::volume) fn do_create(
        &self,
        caller: &Caller,
        at: Place<'_>,
        (perm, mode): (u16, OpenMode),
    ) -> FsResult<(Entry, Handle)> {
        let new = NewInode {
            kind: FileKind::Regular,
            perm,
            rdev: 0,
            target: &[],
        };
        let made = self.make(caller, at, &new)?;
        let attr = self.attr(made.ino, &made.row)?;
        match self.open_made(
            made.ino,
            OpenMode {
                truncate: false,
                ..mode
            },
        ) {
            Ok(handle) => Ok((Entry { attr }, handle)),
            Err(e) => {
                self.do_forget(made.ino, 1);
                Err(e)
            }
        }
    }

    /// Makes an inode under a free name, looked up once.
    fn make(&self, caller: &Caller, at: Place<'_>, new: &NewInode<'_>) -> FsResult<Made> {
        self.check_may_grow()?;
        self.wait_for_rows()?;
        let _gate = self.gate.read();
        let _namespace = self.namespace.lock();
        let mut txn = self.meta.txn();
        let Made { ino, row } = self.put_entry(&mut txn, caller, at, new)?;
        let share = self.share_to_make(&txn, (at, new.kind))?;
        if let Some(share) = share {
            admit(&mut txn, (ino, &row), share)?;
        }
        self.references.add(ino);
        if let Some(file) = row.file()
            && let Some(key) = txn.get(&Key::file_key(ino, 0), FileKeyRow::decode)?
        {
            self.nodes
                .insert(std::sync::Arc::new(new_node(ino, (file, key), &row)));
        }
        self.note_marks(&mut txn, share, [entry_mark(at)]);
        txn.apply();
        self.note_made();
        Ok(Made { ino, row })
    }

    /// The rows of a new inode and its name, of which nothing is kept in memory yet. Called holding the
    /// gate and `namespace`.
    fn put_entry(
        &self,
        txn: &mut Txn<'_>,
        caller: &Caller,
        at: Place<'_>,
        new: &NewInode<'_>,
    ) -> FsResult<Made> {
        let now = self.now();
        let mut parent = live_dir(txn, at.parent)?;
        if txn.dentry(at.parent, at.name.bytes())?.is_some() {
            return Err(FsError::Exists);
        }
        let ino = self.counters.new_ino();
        let row = self.new_row(txn, (ino, caller), (at.parent, &parent), new)?;
        let cookie = enter(&mut parent, now);
        if new.kind == FileKind::Directory {
            parent.nlink += 1;
        }
        txn.put_inode(at.parent, &parent);
        let dentry = DentryRow {
            child: ino,
            cookie,
            kind: new.kind,
        };
        txn.put_dentry(at.parent, at.name.bytes(), dentry);
        txn.put_inode(ino, &row);
        Ok(Made { ino, row })
    }

    /// The rows of a new directory, which nobody has looked up. Called holding the gate and `namespace`,
    /// and followed by [`Volume::note_made`].
    pub(in crate::volume) fn put_directory(
        &self,
        txn: &mut Txn<'_>,
        caller: &Caller,
        at: Place<'_>,
    ) -> FsResult<Ino> {
        let new = NewInode {
            kind: FileKind::Directory,
            perm: 0o755,
            rdev: 0,
            target: &[],
        };
        Ok(self.put_entry(txn, caller, at, &new)?.ino)
    }

    /// An inode was made.
    pub(in crate::volume) fn note_made(&self) {
        self.counters
            .inodes
            .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }

    /// The rows of a new inode: its own, its key, the ACLs it inherits.
    fn new_row(
        &self,
        txn: &mut Txn<'_>,
        (ino, caller): (Ino, &Caller),
        (parent_ino, parent): (Ino, &InodeRow),
        new: &NewInode<'_>,
    ) -> FsResult<InodeRow> {
        let now = self.now();
        let directory = new.kind == FileKind::Directory;
        let setgid = parent.perm & 0o2000 != 0;
        let body = match new.kind {
            FileKind::Regular => {
                let mut id = [0; 16];
                keyfold_crypto::fill_random(&mut id).map_err(|_| FsError::Disk(libc::EIO))?;
                let key = FileKey::generate().map_err(|_| FsError::Disk(libc::EIO))?;
                txn.put(Key::file_key(ino, 0), FileKeyRow::encode(&key));
                InodeBody::File(FileBody {
                    id: FileId(id),
                    keys: 1,
                })
            }
            FileKind::Directory => InodeBody::Directory(DirBody {
                parent: parent_ino,
                next_cookie: FIRST_COOKIE,
                entries: 0,
            }),
            FileKind::Symlink => InodeBody::Symlink(new.target.into()),
            _ => InodeBody::Special,
        };
        let inherited = if setgid && directory { 0o2000 } else { 0 };
        let mut row = InodeRow {
            kind: new.kind,
            perm: (new.perm & 0o7777) | inherited,
            uid: caller.uid,
            gid: if setgid { parent.gid } else { caller.gid },
            nlink: if directory { 2 } else { 1 },
            rdev: new.rdev,
            atime: now,
            mtime: now,
            ctime: now,
            btime: now,
            xattr_bytes: 0,
            body,
        };
        if new.kind != FileKind::Symlink {
            inherit_acl(txn, (ino, &mut row), (parent_ino, parent), caller)?;
        }
        Ok(row)
    }

    pub(in crate::volume) fn do_link(&self, ino: Ino, at: Place<'_>) -> FsResult<Entry> {
        self.check_may_grow()?;
        self.wait_for_rows()?;
        let row = {
            let _gate = self.gate.read();
            let _namespace = self.namespace.lock();
            let mut txn = self.meta.txn();
            let now = self.now();
            let mut parent = live_dir(&txn, at.parent)?;
            let mut row = txn.inode(ino)?;
            if txn.dentry(at.parent, at.name.bytes())?.is_some() {
                return Err(FsError::Exists);
            }
            if row.kind == FileKind::Directory {
                return Err(FsError::NotPermitted);
            }
            if row.nlink == 0 {
                return Err(FsError::NotFound);
            }
            if row.nlink >= LINK_MAX {
                return Err(FsError::TooManyLinks(ino));
            }
            let share = self.share_to_link(&txn, (ino, at))?;
            row.nlink += 1;
            row.ctime = now;
            let cookie = enter(&mut parent, now);
            txn.put_inode(at.parent, &parent);
            txn.put_inode(ino, &row);
            txn.put_dentry(
                at.parent,
                at.name.bytes(),
                DentryRow {
                    child: ino,
                    cookie,
                    kind: row.kind,
                },
            );
            self.note_marks(&mut txn, share, [entry_mark(at)]);
            txn.apply();
            self.references.add(ino);
            row
        };
        Ok(Entry {
            attr: self.attr(ino, &row)?,
        })
    }

    pub(in crate::volume) fn do_unlink(&self, at: Place<'_>) -> FsResult<()> {
        self.check_writable()?;
        let _gate = self.gate.read();
        let _namespace = self.namespace.lock();
        let mut txn = self.meta.txn();
        let mut parent = dir(&txn, at.parent)?;
        let dentry = txn
            .dentry(at.parent, at.name.bytes())?
            .ok_or(FsError::NotFound)?;
        if dentry.kind == FileKind::Directory {
            return Err(FsError::IsADirectory(dentry.child));
        }
        let share = self.share_to_remove(&txn, at)?;
        leave(&mut parent, self.now());
        txn.put_inode(at.parent, &parent);
        txn.delete(Key::dentry(at.parent, at.name.bytes()));
        let gone = self.drop_link(&mut txn, dentry.child)?;
        self.note_marks(&mut txn, share, [entry_mark(at)]);
        txn.apply();
        gone.settle(self);
        Ok(())
    }

    pub(in crate::volume) fn do_rmdir(&self, at: Place<'_>) -> FsResult<()> {
        self.check_writable()?;
        let _gate = self.gate.read();
        let _namespace = self.namespace.lock();
        let mut txn = self.meta.txn();
        let mut parent = dir(&txn, at.parent)?;
        let dentry = txn
            .dentry(at.parent, at.name.bytes())?
            .ok_or(FsError::NotFound)?;
        let child = dir(&txn, dentry.child)?;
        if child.dir().is_some_and(|d| d.entries > 0) {
            return Err(FsError::NotEmpty(dentry.child));
        }
        self.check_no_share_root(&txn, dentry.child)?;
        let share = self.share_to_remove(&txn, at)?;
        leave(&mut parent, self.now());
        parent.nlink = parent.nlink.saturating_sub(1);
        txn.put_inode(at.parent, &parent);
        txn.delete(Key::dentry(at.parent, at.name.bytes()));
        let gone = self.drop_link(&mut txn, dentry.child)?;
        self.note_marks(&mut txn, share, [entry_mark(at)]);
        txn.apply();
        gone.settle(self);
        Ok(())
    }

    pub(in crate::volume) fn now(&self) -> Timestamp {
        self.options.clock.now()
    }
}

fn new_node(ino: Ino, file: (FileBody, FileKey), row: &InodeRow) -> Node {
    let base = ContentRow {
        size: 0,
        mtime: row.mtime,
        ctime: row.ctime,
        map: MapId::NONE,
        blocks: 0,
    };
    let node = Node::new(ino, file, base);
    let privileged = row.is_privileged();
    node.privileged
        .store(privileged, std::sync::atomic::Ordering::Relaxed);
    node
}

/// That a name means something else now.
pub(in crate::volume) fn entry_mark(at: Place<'_>) -> Mark {
    Mark::Entry(at.parent, at.name.bytes().into())
}

/// The inode, which must be a directory.
pub(super) fn dir(txn: &Txn<'_>, ino: Ino) -> FsResult<InodeRow> {
    let row = txn.inode(ino)?;
    if row.kind == FileKind::Directory {
        Ok(row)
    } else {
        Err(FsError::NotADirectory(ino))
    }
}

/// A directory that can take new entries: one that has not been removed.
pub(in crate::volume) fn live_dir(txn: &Txn<'_>, ino: Ino) -> FsResult<InodeRow> {
    let row = dir(txn, ino)?;
    if row.nlink == 0 {
        Err(FsError::NotFound)
    } else {
        Ok(row)
    }
}

/// A new entry comes into a directory; returns its cookie.
pub(in crate::volume) fn enter(parent: &mut InodeRow, now: Timestamp) -> u64 {
    parent.mtime = now;
    parent.ctime = now;
    let Some(d) = parent.dir_mut() else { return 0 };
    d.entries += 1;
    d.next_cookie += 1;
    d.next_cookie - 1
}

/// An entry leaves a directory.
pub(in crate::volume) fn leave(parent: &mut InodeRow, now: Timestamp) {
    parent.mtime = now;
    parent.ctime = now;
    if let Some(d) = parent.dir_mut() {
        d.entries = d.entries.saturating_sub(1);
    }
}

/// Applies the parent's default ACL to a new inode, or else the umask.
fn inherit_acl(
    txn: &mut Txn<'_>,
    (ino, row): (Ino, &mut InodeRow),
    (parent_ino, parent): (Ino, &InodeRow),
    caller: &Caller,
) -> FsResult<()> {
    let default = if parent.xattr_bytes == 0 {
        None
    } else {
        txn.get(&Key::xattr(parent_ino, acl::DEFAULT), |b| Ok(b.to_vec()))?
    };
    let Some(default) = default else {
        row.perm &= !(caller.umask as u16 & 0o777);
        return Ok(());
    };
    if let Some(list) = Acl::parse(&default)? {
        let access = list.inherited(row.perm);
        row.perm = (row.perm & 0o7000) | access.perm();
        if !access.is_minimal() {
            put_new_xattr(txn, (ino, row), acl::ACCESS, &access.encode());
        }
    }
    if row.kind == FileKind::Directory {
        put_new_xattr(txn, (ino, row), acl::DEFAULT, &default);
    }
    Ok(())
}

fn put_new_xattr(txn: &mut Txn<'_>, (ino, row): (Ino, &mut InodeRow), name: &[u8], value: &[u8]) {
    row.xattr_bytes += (name.len() + value.len()) as u32;
    txn.put(Key::xattr(ino, name), value.into());
}
