//! Extended attributes and, among them, access control lists.

use super::acl::Acl;
use super::state::{Body, Inode, State};
use crate::error::{FsError, FsResult};
use crate::vfs::{Ino, Timestamp, XattrMode};

/// Longest attribute name, in bytes.
const NAME_MAX: usize = 255;
/// Longest value, in bytes.
const VALUE_MAX: usize = 64 << 10;
/// Most bytes of names and values an inode can have.
const TOTAL_MAX: usize = 1 << 20;

const ACCESS: &[u8] = b"system.posix_acl_access";
const DEFAULT: &[u8] = b"system.posix_acl_default";

/// What a name asks for.
enum Wanted {
    Access,
    Default,
    Plain,
}

fn wanted(name: &[u8]) -> FsResult<Wanted> {
    if name.is_empty() || name.len() > NAME_MAX || name.contains(&0) {
        return Err(FsError::InvalidArgument);
    }
    match name {
        ACCESS => Ok(Wanted::Access),
        DEFAULT => Ok(Wanted::Default),
        _ => {
            let spaces = [b"user.".as_slice(), b"trusted.", b"security."];
            if spaces.iter().any(|space| name.starts_with(space)) {
                Ok(Wanted::Plain)
            } else {
                Err(FsError::NotSupported)
            }
        }
    }
}

/// Whether an inode was changed at all: taking away a list that is not there does not.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Changed {
    Yes,
    No,
}

impl Changed {
    fn between(old: Option<&Acl>, new: Option<&Acl>) -> Self {
        if old.is_none() && new.is_none() {
            Self::No
        } else {
            Self::Yes
        }
    }

    fn mark(self, inode: &mut Inode, now: Timestamp) {
        if self == Self::Yes {
            inode.ctime = now;
        }
    }
}

impl State {
    pub(super) fn setxattr(
        &mut self,
        ino: Ino,
        name: &[u8],
        value: &[u8],
        mode: XattrMode,
    ) -> FsResult<()> {
        let now = self.now;
        let inode = self.inode_mut(ino)?;
        let changed = match wanted(name)? {
            Wanted::Access => set_access(inode, Acl::decode(value)?)?,
            Wanted::Default => set_default(inode, Acl::decode(value)?)?,
            Wanted::Plain => set_plain(inode, name, value, mode)?,
        };
        changed.mark(inode, now);
        Ok(())
    }

    pub(super) fn getxattr(&self, ino: Ino, name: &[u8]) -> FsResult<Vec<u8>> {
        let inode = self.inode(ino)?;
        let value = match wanted(name)? {
            Wanted::Access => inode.acl.as_ref().map(Acl::encode),
            Wanted::Default => inode.default_acl.as_ref().map(Acl::encode),
            Wanted::Plain => inode.xattrs.get(name).cloned(),
        };
        value.ok_or(FsError::NoAttribute)
    }

    pub(super) fn listxattr(&self, ino: Ino) -> FsResult<Vec<u8>> {
        let inode = self.inode(ino)?;
        let mut names: Vec<&[u8]> = inode.xattrs.keys().map(Vec::as_slice).collect();
        names.extend(inode.acl.as_ref().map(|_| ACCESS));
        names.extend(inode.default_acl.as_ref().map(|_| DEFAULT));
        Ok(names
            .iter()
            .flat_map(|name| name.iter().copied().chain([0]))
            .collect())
    }

    pub(super) fn removexattr(&mut self, ino: Ino, name: &[u8]) -> FsResult<()> {
        let now = self.now;
        let inode = self.inode_mut(ino)?;
        let changed = match wanted(name)? {
            Wanted::Access => set_access(inode, None)?,
            Wanted::Default => set_default(inode, None)?,
            Wanted::Plain => {
                inode.xattrs.remove(name).ok_or(FsError::NoAttribute)?;
                Changed::Yes
            }
        };
        changed.mark(inode, now);
        Ok(())
    }
}

/// Without a list the mode stays as it is.
fn set_access(inode: &mut Inode, acl: Option<Acl>) -> FsResult<Changed> {
    if matches!(inode.body, Body::Symlink(_)) {
        return Err(FsError::NotSupported);
    }
    if let Some(acl) = &acl {
        acl.check()?;
        inode.perm = acl.applied_to(inode.perm);
    }
    let changed = Changed::between(inode.acl.as_ref(), acl.as_ref());
    inode.acl = acl.filter(|acl| !acl.is_minimal());
    Ok(changed)
}

fn set_default(inode: &mut Inode, acl: Option<Acl>) -> FsResult<Changed> {
    match (&inode.body, &acl) {
        (Body::Symlink(_), _) => return Err(FsError::NotSupported),
        (Body::Directory(_), Some(acl)) => acl.check()?,
        (_, Some(_)) => return Err(FsError::AccessDenied),
        (_, None) => {}
    }
    let changed = Changed::between(inode.default_acl.as_ref(), acl.as_ref());
    inode.default_acl = acl;
    Ok(changed)
}

fn set_plain(inode: &mut Inode, name: &[u8], value: &[u8], mode: XattrMode) -> FsResult<Changed> {
    if value.len() > VALUE_MAX {
        return Err(FsError::AttributeTooLarge);
    }
    let old = inode.xattrs.get(name);
    match (mode, old) {
        (XattrMode::Create, Some(_)) => return Err(FsError::Exists),
        (XattrMode::Replace, None) => return Err(FsError::NoAttribute),
        _ => {}
    }
    let others = inode
        .xattrs
        .iter()
        .filter(|(key, _)| key.as_slice() != name);
    let taken: usize = others.map(|(key, value)| key.len() + value.len()).sum();
    if taken + name.len() + value.len() > TOTAL_MAX {
        return Err(FsError::AttributeTooLarge);
    }
    inode.xattrs.insert(name.to_vec(), value.to_vec());
    Ok(Changed::Yes)
}
