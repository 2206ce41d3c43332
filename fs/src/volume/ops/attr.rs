//! Attributes.

use std::sync::atomic::Ordering;

use crate::error::{FsError, FsResult};
use crate::layout::{ContentRow, InodeBody, InodeRow};
use crate::meta::{Key, Txn};
use crate::vfs::{Attr, FileKind, Handle, Ino, SetAttr, SetTime, Timestamp};
use crate::volume::acl::{self, Acl};
use crate::volume::{BarredSymlinks, Volume};

/// Size reported for a directory, in bytes.
const DIRECTORY_SIZE: u64 = 4096;
/// Units of `Attr::blocks` in a block.
const UNITS: u64 = 8;
/// A file capability, which a write takes away as it does setuid.
pub(in crate::volume) const CAPABILITY: &[u8] = b"security.capability";

impl Volume {
    pub(in crate::volume) fn do_getattr(&self, ino: Ino) -> FsResult<Attr> {
        self.shares.replaced.looked(ino);
        let row = self.inode(ino)?;
        self.attr(ino, &row)
    }

    /// Both halves of an inode as attributes.
    pub(in crate::volume) fn attr(&self, ino: Ino, row: &InodeRow) -> FsResult<Attr> {
        let mut attr = Attr {
            ino,
            kind: row.kind,
            perm: row.perm,
            nlink: row.nlink,
            uid: row.uid,
            gid: row.gid,
            rdev: row.rdev,
            size: 0,
            blocks: 0,
            atime: row.atime,
            mtime: row.mtime,
            ctime: row.ctime,
            btime: row.btime,
        };
        if row.kind == FileKind::Directory && self.is_locked(ino) {
            attr.perm = Self::LOCKED_PERM;
        }
        match &row.body {
            InodeBody::File(_) => self.content_attr(ino, &mut attr)?,
            InodeBody::Directory(_) => (attr.size, attr.blocks) = (DIRECTORY_SIZE, UNITS),
            InodeBody::Symlink(target) => attr.size = target.len() as u64,
            InodeBody::Special => {}
        }
        Ok(attr)
    }

    fn content_attr(&self, ino: Ino, attr: &mut Attr) -> FsResult<()> {
        let (size, blocks, mtime, ctime) = if let Some(node) = self.nodes.get(ino) {
            let content = node.content.read();
            (
                content.head.size,
                content.blocks(),
                content.head.mtime,
                content.head.ctime,
            )
        } else {
            match self.meta.get(&Key::content(ino), ContentRow::decode)? {
                Some(c) => (c.size, c.blocks, c.mtime, c.ctime),
                None => return Ok(()),
            }
        };
        (attr.size, attr.blocks, attr.mtime) = (size, blocks * UNITS, mtime);
        attr.ctime = attr.ctime.max(ctime);
        Ok(())
    }

    pub(in crate::volume) fn do_readlink(&self, ino: Ino) -> FsResult<Vec<u8>> {
        let row = self.inode(ino)?;
        let InodeBody::Symlink(target) = row.body else {
            return Err(FsError::WrongKind(ino));
        };
        match self.options.barred_symlinks {
            BarredSymlinks::Refused if row.perm & 0o444 == 0 => Err(FsError::AccessDenied),
            _ => Ok(target.into()),
        }
    }

    pub(in crate::volume) fn do_setattr(
        &self,
        ino: Ino,
        handle: Option<Handle>,
        set: &SetAttr,
    ) -> FsResult<Attr> {
        self.check_writable()?;
        if let Some(size) = set.size {
            if let Some(handle) = handle
                && !self.handles.file(handle)?.mode.write
            {
                return Err(FsError::BadHandle);
            }
            self.resize(ino, size)?;
        }
        let row = {
            let _gate = self.gate.read();
            let _namespace = self.namespace.lock();
            let mut txn = self.meta.txn();
            let mut row = txn.inode(ino)?;
            self.share_to_change(&txn, ino)?;
            self.set_owner_and_mode(&mut txn, (ino, &mut row), set)?;
            self.set_times(&mut txn, (ino, &mut row), set)?;
            txn.put_inode(ino, &row);
            self.note_attributes(&mut txn, ino)?;
            txn.apply();
            row
        };
        self.attr(ino, &row)
    }

    fn set_owner_and_mode(
        &self,
        txn: &mut Txn<'_>,
        (ino, row): (Ino, &mut InodeRow),
        set: &SetAttr,
    ) -> FsResult<()> {
        if set.uid.is_some() || set.gid.is_some() {
            row.uid = set.uid.unwrap_or(row.uid);
            row.gid = set.gid.unwrap_or(row.gid);
            clear_privileges(txn, (ino, row))?;
        }
        if set.size.is_some() {
            clear_privileges(txn, (ino, row))?;
        }
        if let Some(perm) = set.perm {
            row.perm = perm & 0o7777;
            change_access_acl(txn, (ino, row))?;
        }
        if *set != SetAttr::default() {
            row.ctime = self.now();
        }
        self.note_privileges(ino, row);
        Ok(())
    }

    fn note_privileges(&self, ino: Ino, row: &InodeRow) {
        if let Some(node) = self.nodes.get(ino) {
            let privileged = row.is_privileged();
            node.privileged.store(privileged, Ordering::Relaxed);
        }
    }

    /// Explicit times of content belong to the content half, as writes do.
    fn set_times(
        &self,
        txn: &mut Txn<'_>,
        (ino, row): (Ino, &mut InodeRow),
        set: &SetAttr,
    ) -> FsResult<()> {
        let now = self.now();
        let time = |t: SetTime| match t {
            SetTime::Now => now,
            SetTime::At(t) => t,
        };
        if let Some(t) = set.atime {
            row.atime = valid(time(t))?;
        }
        let Some(mtime) = set.mtime.map(time) else {
            return Ok(());
        };
        let mtime = valid(mtime)?;
        if row.kind != FileKind::Regular {
            row.mtime = mtime;
            return Ok(());
        }
        if self.nodes.get(ino).is_none() && txn.content(ino)?.is_none() {
            // Nothing was ever written: the inode row still stands for both halves.
            row.mtime = mtime;
        }
        let node = self.node(ino)?;
        {
            let mut content = node.content.write();
            content.head.mtime = mtime;
            content.head.changed = true;
        }
        self.write_behind.note_changed(&node);
        self.nodes.put_back(node);
        Ok(())
    }

    /// A write went to a file with setuid, setgid or a capability: takes them away.
    pub(super) fn drop_privileges(&self, ino: Ino) -> FsResult<()> {
        let _gate = self.gate.read();
        let _namespace = self.namespace.lock();
        let mut txn = self.meta.txn();
        let mut row = txn.inode(ino)?;
        let before = row.clone();
        clear_privileges(&mut txn, (ino, &mut row))?;
        if row != before {
            row.ctime = self.now();
            txn.put_inode(ino, &row);
            self.note_attributes(&mut txn, ino)?;
            txn.apply();
        }
        self.note_privileges(ino, &row);
        Ok(())
    }
}

fn valid(t: Timestamp) -> FsResult<Timestamp> {
    if t.nanos > 999_999_999 {
        Err(FsError::InvalidArgument)
    } else {
        Ok(t)
    }
}

/// As the kernel does for write, truncate and chown: setuid goes, setgid goes where the group
/// may execute (else it means mandatory locking), capabilities go.
pub(in crate::volume) fn clear_privileges(
    txn: &mut Txn<'_>,
    (ino, row): (Ino, &mut InodeRow),
) -> FsResult<()> {
    if row.kind == FileKind::Directory {
        return Ok(());
    }
    row.perm &= !0o4000;
    if row.perm & 0o010 != 0 {
        row.perm &= !0o2000;
    }
    if row.xattr_bytes > 0 {
        let key = Key::xattr(ino, CAPABILITY);
        if let Some(len) = txn.get(&key, |v| Ok(v.len()))? {
            row.xattr_bytes -= (CAPABILITY.len() + len) as u32;
            txn.delete(key);
        }
    }
    Ok(())
}

/// Keeps the access ACL in step after a change of the mode.
pub(in crate::volume) fn change_access_acl(
    txn: &mut Txn<'_>,
    (ino, row): (Ino, &mut InodeRow),
) -> FsResult<()> {
    if row.xattr_bytes == 0 {
        return Ok(());
    }
    let key = Key::xattr(ino, acl::ACCESS);
    let stored = txn.get(&key, |v| Ok(v.to_vec()))?;
    if let Some(list) = stored.map(|v| Acl::parse(&v)).transpose()?.flatten() {
        txn.put(key, list.with_perm(row.perm).encode().into());
    }
    Ok(())
}
