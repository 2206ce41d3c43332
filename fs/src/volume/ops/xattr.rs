//! Extended attributes.

use std::sync::atomic::Ordering;

use crate::error::{FsError, FsResult};
use crate::layout::InodeRow;
use crate::meta::{Key, Table, Txn};
use crate::vfs::{FileKind, Ino, XattrMode};
use crate::volume::Volume;
use crate::volume::acl::{self, Acl};

/// Longest attribute name, in bytes.
const NAME_MAX: usize = 255;
/// Largest attribute value, in bytes.
const VALUE_MAX: usize = 64 << 10;
/// Most bytes of all attributes of an inode, names included.
const TOTAL_MAX: usize = 1 << 20;

/// Whether an attribute was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    /// It was.
    Made,
    /// There was nothing to change.
    Nothing,
}

impl Volume {
    pub(in crate::volume) fn do_setxattr(
        &self,
        ino: Ino,
        (name, value): (&[u8], &[u8]),
        mode: XattrMode,
    ) -> FsResult<()> {
        check_name(name)?;
        if value.len() > VALUE_MAX {
            return Err(FsError::AttributeTooLarge);
        }
        self.check_may_grow()?;
        self.change_xattrs(ino, |txn, row| {
            let exists = txn.get(&Key::xattr(ino, name), |_| Ok(()))?.is_some();
            match (mode, exists) {
                (XattrMode::Create, true) => return Err(FsError::Exists),
                (XattrMode::Replace, false) => return Err(FsError::NoAttribute),
                _ => {}
            }
            match name {
                acl::ACCESS => set_access_acl(txn, (ino, row), value),
                acl::DEFAULT => set_default_acl(txn, (ino, row), value),
                _ => put(txn, (ino, row), name, value).map(|()| Change::Made),
            }
        })
    }

    pub(in crate::volume) fn do_removexattr(&self, ino: Ino, name: &[u8]) -> FsResult<()> {
        check_name(name)?;
        self.check_writable()?;
        self.change_xattrs(ino, |txn, row| {
            if remove(txn, (ino, row), name)? == Change::Nothing {
                if name == acl::ACCESS || name == acl::DEFAULT {
                    return Ok(Change::Nothing);
                }
                return Err(FsError::NoAttribute);
            }
            Ok(Change::Made)
        })
    }

    fn change_xattrs(
        &self,
        ino: Ino,
        change: impl FnOnce(&mut Txn<'_>, &mut InodeRow) -> FsResult<Change>,
    ) -> FsResult<()> {
        self.wait_for_rows()?;
        let _gate = self.gate.read();
        let _namespace = self.namespace.lock();
        let mut txn = self.meta.txn();
        let mut row = txn.inode(ino)?;
        if change(&mut txn, &mut row)? == Change::Nothing {
            return Ok(());
        }
        row.ctime = self.now();
        txn.put_inode(ino, &row);
        self.note_attributes(&mut txn, ino)?;
        txn.apply();
        if let Some(node) = self.nodes.get(ino) {
            let privileged = row.is_privileged();
            node.privileged.store(privileged, Ordering::Relaxed);
        }
        Ok(())
    }

    pub(in crate::volume) fn do_getxattr(&self, ino: Ino, name: &[u8]) -> FsResult<Vec<u8>> {
        check_name(name)?;
        if self.inode(ino)?.xattr_bytes == 0 {
            return Err(FsError::NoAttribute);
        }
        self.meta
            .get(&Key::xattr(ino, name), |v| Ok(v.to_vec()))?
            .ok_or(FsError::NoAttribute)
    }

    pub(in crate::volume) fn do_listxattr(&self, ino: Ino) -> FsResult<Vec<u8>> {
        if self.inode(ino)?.xattr_bytes == 0 {
            return Ok(Vec::new());
        }
        let mut names = Vec::new();
        for key in self.meta.range(Table::Xattr, ino.0)?.into_keys() {
            names.extend_from_slice(key.name());
            names.push(0);
        }
        Ok(names)
    }
}

fn check_name(name: &[u8]) -> FsResult<()> {
    if name.is_empty() || name.len() > NAME_MAX || name.contains(&0) {
        return Err(FsError::InvalidArgument);
    }
    let prefixed = [b"user.".as_slice(), b"trusted.", b"security."]
        .iter()
        .any(|p| name.len() > p.len() && name.starts_with(p));
    if prefixed || name == acl::ACCESS || name == acl::DEFAULT {
        Ok(())
    } else {
        Err(FsError::NotSupported)
    }
}

/// Sets an attribute that others set, where that can be.
pub(in crate::volume) fn put_xattr(
    txn: &mut Txn<'_>,
    of: (Ino, &mut InodeRow),
    name: &[u8],
    value: &[u8],
) -> FsResult<()> {
    check_name(name)?;
    if value.len() > VALUE_MAX {
        return Err(FsError::AttributeTooLarge);
    }
    put(txn, of, name, value)
}

/// Removes an attribute, if it is there.
pub(in crate::volume) fn remove_xattr(
    txn: &mut Txn<'_>,
    of: (Ino, &mut InodeRow),
    name: &[u8],
) -> FsResult<()> {
    check_name(name)?;
    remove(txn, of, name).map(drop)
}

fn put(
    txn: &mut Txn<'_>,
    (ino, row): (Ino, &mut InodeRow),
    name: &[u8],
    value: &[u8],
) -> FsResult<()> {
    let key = Key::xattr(ino, name);
    let old = txn.get(&key, |v| Ok(name.len() + v.len()))?.unwrap_or(0);
    let total = row.xattr_bytes as usize - old + name.len() + value.len();
    if total > TOTAL_MAX {
        return Err(FsError::AttributeTooLarge);
    }
    row.xattr_bytes = total as u32;
    txn.put(key, value.into());
    Ok(())
}

fn remove(txn: &mut Txn<'_>, (ino, row): (Ino, &mut InodeRow), name: &[u8]) -> FsResult<Change> {
    let key = Key::xattr(ino, name);
    let Some(len) = txn.get(&key, |v| Ok(v.len()))? else {
        return Ok(Change::Nothing);
    };
    row.xattr_bytes -= (name.len() + len) as u32;
    txn.delete(key);
    Ok(Change::Made)
}

/// An access ACL that says no more than permission bits becomes permission bits.
fn set_access_acl(
    txn: &mut Txn<'_>,
    (ino, row): (Ino, &mut InodeRow),
    value: &[u8],
) -> FsResult<Change> {
    if row.kind == FileKind::Symlink {
        return Err(FsError::NotSupported);
    }
    let Some(list) = Acl::parse(value)? else {
        return remove(txn, (ino, row), acl::ACCESS);
    };
    row.perm = (row.perm & 0o7000) | list.perm();
    if list.is_minimal() {
        remove(txn, (ino, row), acl::ACCESS)?;
        return Ok(Change::Made);
    }
    put(txn, (ino, row), acl::ACCESS, &list.encode()).map(|()| Change::Made)
}

fn set_default_acl(
    txn: &mut Txn<'_>,
    (ino, row): (Ino, &mut InodeRow),
    value: &[u8],
) -> FsResult<Change> {
    if row.kind != FileKind::Directory {
        let empty = value.len() <= 4;
        return if empty {
            Ok(Change::Nothing)
        } else {
            Err(FsError::AccessDenied)
        };
    }
    match Acl::parse(value)? {
        Some(list) => put(txn, (ino, row), acl::DEFAULT, &list.encode()).map(|()| Change::Made),
        None => remove(txn, (ino, row), acl::DEFAULT),
    }
}
