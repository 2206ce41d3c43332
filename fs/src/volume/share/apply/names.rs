//! Names, attributes and keys: what is in rows alone.

use keyfold_crypto::{FileId, FileKey};

use super::Apply;
use crate::error::{FsError, FsResult};
use crate::layout::{
    DentryRow, DirBody, FileBody, FileKeyRow, InodeBody, InodeRow, KeyIndex, MemberRow, NodeId,
    NodeRow, Standing,
};
use crate::meta::Key;
use crate::share::{At, Outdated, What};
use crate::vfs::{FileKind, Ino, LINK_MAX, Name, Place, TARGET_MAX, Timestamp};
use crate::volume::ops::{
    FIRST_COOKIE, change_access_acl, check_not_within, enter, leave, live_dir, put_xattr,
    remove_xattr,
};
use crate::volume::share::{leave_share, put_node};

impl Apply<'_> {
    /// The inode of a node that is there, and no share point.
    pub(super) fn ino(&self, node: NodeId) -> FsResult<Ino> {
        let key = Key::share_node(self.share, node);
        match self.txn.get(&key, NodeRow::decode)? {
            Some(row) if row.standing == Standing::Here && self.is_own(row.ino)? => Ok(row.ino),
            _ => Err(FsError::NotFound),
        }
    }

    /// Where a name of the share lies. The root of a share of a single file has one name.
    pub(super) fn place<'n>(&self, at: &'n At) -> FsResult<Place<'n>> {
        let place = self.place_or_aside(at)?;
        match &self.single {
            Some((_, name)) if *at.name != **name => Err(FsError::InvalidArgument),
            _ => Ok(place),
        }
    }

    /// The same, or beside the single file.
    fn place_or_aside<'n>(&self, at: &'n At) -> FsResult<Place<'n>> {
        let parent = match &self.single {
            Some((dir, _)) if at.parent == NodeId::ROOT => *dir,
            Some(_) => return Err(FsError::InvalidArgument),
            None => self.ino(at.parent)?,
        };
        Ok(Place {
            parent,
            name: Name::new(&at.name)?,
        })
    }

    fn entry(&self, at: Place<'_>) -> FsResult<DentryRow> {
        let dentry = self.txn.dentry(at.parent, at.name.bytes())?;
        dentry.ok_or(FsError::NotFound)
    }

    pub(super) fn note_entry(&mut self, at: Place<'_>) {
        let outdated = &mut self.effects.outdated;
        outdated.insert(Outdated::Entry(at.parent, at.name.bytes().into()));
        outdated.insert(Outdated::Inode(at.parent));
    }

    pub(super) fn note_inode(&mut self, ino: Ino) {
        self.effects.outdated.insert(Outdated::Inode(ino));
    }

    /// Puts a name that is free into a directory.
    fn put_entry(&mut self, at: Place<'_>, (child, kind): (Ino, FileKind)) -> FsResult<()> {
        let mut parent = live_dir(&self.txn, at.parent)?;
        if self.txn.dentry(at.parent, at.name.bytes())?.is_some() {
            return Err(FsError::Exists);
        }
        let cookie = enter(&mut parent, self.now);
        parent.nlink += u32::from(kind == FileKind::Directory);
        self.txn.put_inode(at.parent, &parent);
        let dentry = DentryRow {
            child,
            cookie,
            kind,
        };
        self.txn.put_dentry(at.parent, at.name.bytes(), dentry);
        self.note_entry(at);
        Ok(())
    }

    pub(super) fn make(
        &mut self,
        at: &At,
        (node, what): (NodeId, &What),
        attributes: (u16, Timestamp),
    ) -> FsResult<()> {
        if let What::Point(id) = what {
            return self.make_point(at, (node, *id), attributes);
        }
        let at = self.place(at)?;
        if self.single.is_some() && *what != What::File {
            return Err(FsError::InvalidArgument);
        }
        let key = Key::share_node(self.share, node);
        if self.txn.get(&key, NodeRow::decode)?.is_some() {
            return Err(FsError::Exists);
        }
        let ino = self.volume.counters.new_ino();
        let (kind, body) = self.body((ino, node), at.parent, what)?;
        self.put_new(at, (ino, kind, body), attributes)?;
        put_node(&mut self.txn, (self.share, node), ino);
        if kind == FileKind::Regular {
            self.effects.made.insert(ino);
        }
        Ok(())
    }

    /// Puts a new inode under a name that is free.
    pub(super) fn put_new(
        &mut self,
        at: Place<'_>,
        (ino, kind, body): (Ino, FileKind, InodeBody),
        (perm, mtime): (u16, Timestamp),
    ) -> FsResult<()> {
        self.put_entry(at, (ino, kind))?;
        let row = InodeRow {
            kind,
            perm: perm & 0o777,
            uid: self.owner.uid,
            gid: self.owner.gid,
            nlink: if kind == FileKind::Directory { 2 } else { 1 },
            rdev: 0,
            atime: mtime,
            mtime,
            ctime: self.now,
            btime: self.now,
            xattr_bytes: 0,
            body,
        };
        self.txn.put_inode(ino, &row);
        self.effects.count += 1;
        Ok(())
    }

    fn body(
        &mut self,
        (ino, node): (Ino, NodeId),
        parent: Ino,
        what: &What,
    ) -> FsResult<(FileKind, InodeBody)> {
        Ok(match what {
            What::Directory => {
                let body = DirBody {
                    parent,
                    next_cookie: FIRST_COOKIE,
                    entries: 0,
                };
                (FileKind::Directory, InodeBody::Directory(body))
            }
            What::File => {
                // A file always has a key of its own; those of the share come after it.
                let key = FileKey::generate().map_err(|_| FsError::Disk(libc::EIO))?;
                self.txn
                    .put(Key::file_key(ino, 0), FileKeyRow::encode(&key));
                let id = FileId(node.0);
                (FileKind::Regular, InodeBody::File(FileBody { id, keys: 1 }))
            }
            What::Symlink(target) => {
                if !(1..=TARGET_MAX).contains(&target.len()) || target.contains(&0) {
                    return Err(FsError::InvalidArgument);
                }
                (
                    FileKind::Symlink,
                    InodeBody::Symlink(target.as_slice().into()),
                )
            }
            What::Point(_) => return Err(FsError::InvalidArgument),
        })
    }

    pub(super) fn link(&mut self, at: &At, node: NodeId) -> FsResult<()> {
        let (at, ino) = (self.place(at)?, self.ino(node)?);
        if self.single.is_some() {
            return Err(FsError::InvalidArgument);
        }
        let mut row = self.txn.inode(ino)?;
        if row.kind == FileKind::Directory {
            return Err(FsError::IsADirectory(ino));
        }
        if row.nlink >= LINK_MAX {
            return Err(FsError::TooManyLinks(ino));
        }
        self.put_entry(at, (ino, row.kind))?;
        row.nlink += 1;
        row.ctime = self.now;
        self.txn.put_inode(ino, &row);
        self.note_inode(ino);
        Ok(())
    }

    pub(super) fn remove(&mut self, at: &At) -> FsResult<()> {
        let at = self.place(at)?;
        let dentry = self.entry(at)?;
        let ino = dentry.child;
        let mut row = self.txn.inode(ino)?;
        if row.dir().is_some_and(|d| d.entries > 0) {
            return Err(FsError::NotEmpty(ino));
        }
        let directory = dentry.kind == FileKind::Directory;
        let mut parent = self.txn.inode(at.parent)?;
        leave(&mut parent, self.now);
        parent.nlink -= u32::from(directory);
        self.txn.put_inode(at.parent, &parent);
        self.txn.delete(Key::dentry(at.parent, at.name.bytes()));
        row.nlink = if directory {
            0
        } else {
            row.nlink.saturating_sub(1)
        };
        row.ctime = self.now;
        self.txn.put_inode(ino, &row);
        self.note_entry(at);
        self.note_inode(ino);
        if row.nlink == 0 {
            self.forget(ino)?;
        }
        Ok(())
    }

    /// An inode lost its last name, which the others know.
    fn forget(&mut self, ino: Ino) -> FsResult<()> {
        let member = self.volume.member(&self.txn, ino)?;
        let MemberRow { share, node } = member.ok_or(FsError::Inconsistent(ino))?;
        if share != self.share {
            // The root of another share, which is parted before its point goes.
            return Err(FsError::Busy);
        }
        self.txn.delete(Key::member(ino));
        self.txn.delete(Key::share_node(self.share, node));
        self.effects.removed.insert(ino, node);
        Ok(())
    }

    pub(super) fn rename(&mut self, from: &At, to: &At) -> FsResult<()> {
        let (here, there) = (self.place(from)?, self.place_or_aside(to)?);
        let source = self.entry(here)?;
        if self.single.is_some() {
            return self.move_aside((here, source), there);
        }
        let directory = source.kind == FileKind::Directory;
        if directory {
            check_not_within(&self.txn, there.parent, source.child)?;
        }
        if let Some(target) = self.txn.dentry(there.parent, there.name.bytes())? {
            if target.child == source.child {
                return Err(FsError::Exists);
            }
            match (directory, target.kind == FileKind::Directory) {
                (true, false) => return Err(FsError::NotADirectory(target.child)),
                (false, true) => return Err(FsError::IsADirectory(target.child)),
                _ => self.remove(to)?,
            }
        }
        live_dir(&self.txn, there.parent)?;
        let gone = self
            .volume
            .replace(&mut self.txn, (here, source), (there, None))?;
        debug_assert!(gone.is_nothing());
        self.note_entry(here);
        self.note_entry(there);
        self.note_inode(source.child);
        Ok(())
    }

    /// Moves the single file beside its place, where it is a file of its own.
    fn move_aside(
        &mut self,
        (here, source): (Place<'_>, DentryRow),
        there: Place<'_>,
    ) -> FsResult<()> {
        let taken = self.txn.dentry(there.parent, there.name.bytes())?.is_some();
        if taken || self.volume.single_at(there).is_some() {
            return Err(FsError::Exists);
        }
        let volume = self.volume;
        let gone = volume.replace(&mut self.txn, (here, source), (there, None))?;
        debug_assert!(gone.is_nothing());
        leave_share(&mut self.txn, source.child)?;
        self.note_entry(here);
        self.note_entry(there);
        self.note_inode(source.child);
        Ok(())
    }

    pub(super) fn set_attributes(
        &mut self,
        node: NodeId,
        perm: Option<u16>,
        mtime: Option<Timestamp>,
    ) -> FsResult<()> {
        let ino = self.ino(node)?;
        let mut row = self.txn.inode(ino)?;
        row.ctime = self.now;
        if let Some(perm) = perm {
            // Bits of a directory concern this machine only; those of a file give privileges.
            let kept = if row.kind == FileKind::Directory {
                0o7000
            } else {
                0
            };
            row.perm = (row.perm & kept) | (perm & 0o777);
            change_access_acl(&mut self.txn, (ino, &mut row))?;
        }
        match mtime {
            Some(t) if t.nanos > 999_999_999 => return Err(FsError::InvalidArgument),
            Some(t) if row.kind == FileKind::Regular => {
                let content = self.effects.contents.entry(ino).or_default();
                content.mtime = Some(t);
            }
            Some(t) => row.mtime = t,
            None => {}
        }
        self.txn.put_inode(ino, &row);
        self.note_inode(ino);
        Ok(())
    }

    pub(super) fn set_xattr(
        &mut self,
        node: NodeId,
        name: &[u8],
        value: Option<&[u8]>,
    ) -> FsResult<()> {
        if !name.starts_with(b"user.") {
            return Err(FsError::InvalidArgument);
        }
        let ino = self.ino(node)?;
        let mut row = self.txn.inode(ino)?;
        match value {
            Some(value) => put_xattr(&mut self.txn, (ino, &mut row), name, value)?,
            None => remove_xattr(&mut self.txn, (ino, &mut row), name)?,
        }
        row.ctime = self.now;
        self.txn.put_inode(ino, &row);
        self.note_inode(ino);
        Ok(())
    }

    pub(super) fn add_key(&mut self, node: NodeId, key: &FileKey) -> FsResult<()> {
        let ino = self.ino(node)?;
        let mut row = self.txn.inode(ino)?;
        let mut file = row.file().ok_or(FsError::WrongKind(ino))?;
        for known in self.keys(ino)? {
            if known.id() == key.id() {
                return if known.secret() == key.secret() {
                    Ok(())
                } else {
                    Err(FsError::InvalidArgument)
                };
            }
        }
        let index = file.keys;
        file.keys += 1;
        row.body = InodeBody::File(file);
        self.txn.put_inode(ino, &row);
        let bytes = FileKeyRow::encode(key);
        self.txn.put(Key::file_key(ino, index), bytes);
        self.effects
            .keys
            .insert(ino, (KeyIndex(index), key.clone()));
        Ok(())
    }

    /// The keys of a file, by index.
    pub(super) fn keys(&self, ino: Ino) -> FsResult<Vec<FileKey>> {
        let file = self.txn.inode(ino)?.file().ok_or(FsError::WrongKind(ino))?;
        let key = |index| {
            let key = Key::file_key(ino, index);
            let row = self.txn.get(&key, FileKeyRow::decode)?;
            row.ok_or(FsError::Inconsistent(ino))
        };
        (0..file.keys).map(key).collect()
    }
}
