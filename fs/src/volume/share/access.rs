//! Whether a share may be changed here, and telling whoever syncs shares that one was.

use std::sync::Arc;

use crate::error::{FsError, FsResult};
use crate::layout::{DentryRow, Mark, MemberRow, ShareNumber};
use crate::meta::{Key, Table, Txn};
use crate::share::{Access, Noticed, ShareInfo};
use crate::vfs::Ino;
use crate::volume::Volume;
use crate::volume::ops::MAX_DEPTH;

impl Volume {
    /// Says whether programs may change a share. Not kept: whoever syncs the share says so each time
    /// the volume is opened. Changes of others come all the same. Returns what they could do before.
    pub fn set_share_access(&self, share: ShareNumber, access: Access) -> Access {
        let mut refused = self.shares.refused.write();
        let was_refused = match access {
            Access::Full => refused.remove(&share),
            Access::ReadOnly => !refused.insert(share),
        };
        if was_refused {
            Access::ReadOnly
        } else {
            Access::Full
        }
    }

    /// Says whom to tell of marks that are new.
    pub fn set_noticed(&self, noticed: Option<Arc<dyn Noticed>>) {
        *self.shares.noticed.write() = noticed;
    }

    /// How many marks of a share the outbox has.
    ///
    /// # Errors
    /// Those of the metadata.
    pub fn pending_marks(&self, share: ShareNumber) -> FsResult<u64> {
        Ok(self.meta.range(Table::Outbox, share.0)?.len() as u64)
    }

    /// Whether the outbox of a share has marks of anything but the content of files that are open for
    /// writing, which may have another content in a moment.
    ///
    /// # Errors
    /// Those of the metadata.
    pub fn has_settled_marks(&self, share: ShareNumber) -> FsResult<bool> {
        for row in self.meta.range(Table::Outbox, share.0)?.values() {
            match Mark::decode(row).map_err(|_| FsError::Database)? {
                Mark::Content(ino) if self.handles.any_writer(ino) => {}
                _ => return Ok(true),
            }
        }
        Ok(false)
    }

    /// Somebody who could write to a file has closed it.
    pub(in crate::volume) fn note_closed(&self, ino: Ino) {
        if !self.may_have_shares() || self.handles.any_writer(ino) {
            return;
        }
        // Where the row cannot be read, whoever syncs looks in time.
        if let Ok(Some(member)) = self.meta.get(&Key::member(ino), MemberRow::decode) {
            self.notice(member.share);
        }
    }

    /// Where a share is, from the root on: its directory, or its single file.
    ///
    /// # Errors
    /// Those of [`Volume::path_of_directory`].
    pub fn path_of_share(&self, info: &ShareInfo) -> FsResult<Vec<u8>> {
        let mut path = self.path_of_directory(info.root)?;
        if let Some(name) = &info.name {
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(name);
        }
        Ok(path)
    }

    /// Where a directory is, from the root on.
    ///
    /// # Errors
    /// [`FsError::Stale`] when it is nowhere any more, [`FsError::NotADirectory`], and those of the
    /// metadata.
    pub fn path_of_directory(&self, ino: Ino) -> FsResult<Vec<u8>> {
        let _gate = self.gate.read();
        let _namespace = self.namespace.lock();
        let (mut at, mut names) = (ino, Vec::new());
        while at != Ino::ROOT {
            let (parent, name) = self.place_of_directory(at)?;
            names.push(name);
            if names.len() > MAX_DEPTH {
                return Err(FsError::Inconsistent(ino));
            }
            at = parent;
        }
        names.reverse();
        Ok(names.join(&b'/'))
    }

    /// The name of a directory, and what that is in. Called holding `namespace`.
    pub(super) fn place_of_directory(&self, ino: Ino) -> FsResult<(Ino, Vec<u8>)> {
        let row = self.inode(ino)?;
        let parent = row.dir().ok_or(FsError::NotADirectory(ino))?.parent;
        let name = self.name_in(parent, ino)?.ok_or(FsError::Stale(ino))?;
        Ok((parent, name))
    }

    fn name_in(&self, dir: Ino, child: Ino) -> FsResult<Option<Vec<u8>>> {
        let row = self.inode(dir)?;
        let last = row.dir().ok_or(FsError::Inconsistent(dir))?.next_cookie;
        let mut from = 0;
        loop {
            let listed = self.meta.list(dir, from, last)?;
            let Some(end) = listed.last().map(|row| row.cookie) else {
                return Ok(None);
            };
            for row in &listed {
                let dentry = DentryRow::decode(&row.value);
                if dentry.map_err(|_| FsError::Inconsistent(dir))?.child == child {
                    return Ok(Some(row.name.to_vec()));
                }
            }
            from = end;
        }
    }

    /// A mark was added that nobody took up yet.
    pub(super) fn notice(&self, share: ShareNumber) {
        if let Some(noticed) = &*self.shares.noticed.read() {
            noticed.marked(share);
        }
    }

    /// The share that something is in whose names or attributes are to be changed.
    ///
    /// # Errors
    /// [`FsError::ReadOnly`] when that share may not be changed here, [`FsError::AccessDenied`] when it
    /// is locked.
    pub(in crate::volume) fn share_to_change(
        &self,
        txn: &Txn<'_>,
        ino: Ino,
    ) -> FsResult<Option<ShareNumber>> {
        let share = self.member(txn, ino)?.map(|member| member.share);
        self.check_access(share)
    }

    /// # Errors
    /// [`FsError::ReadOnly`] when the file is in a share that may not be changed here.
    pub(super) fn check_file_access(&self, ino: Ino) -> FsResult<()> {
        let member = self.meta.get(&Key::member(ino), MemberRow::decode)?;
        self.check_access(member.map(|member| member.share))?;
        Ok(())
    }

    pub(super) fn check_access(&self, share: Option<ShareNumber>) -> FsResult<Option<ShareNumber>> {
        match share {
            Some(share) if share.is_locked() => Err(FsError::AccessDenied),
            Some(share) if self.shares.refused.read().contains(&share) => Err(FsError::ReadOnly),
            _ => Ok(share),
        }
    }
}
