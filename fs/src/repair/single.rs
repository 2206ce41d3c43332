//! Files that are shared by themselves: what is at their places is in the share, and nothing else is.

use super::mend::Mend;
use crate::check::{FindingKind as Kind, Subject};
use crate::error::FsResult;
use crate::layout::{DentryRow, MemberRow, NodeRow, ShareNumber, ShareRow, Standing};
use crate::meta::{Key, Table};
use crate::vfs::Ino;

impl Mend<'_> {
    /// Parts shares of a single file from files that are elsewhere now. Whoever syncs such a share finds
    /// its file removed; the file is there.
    pub(super) fn single_files(&mut self) -> FsResult<()> {
        let mut singles = Vec::new();
        self.scanner.each(Table::Share, &mut |row| {
            if let Ok(ShareRow {
                root: Some(dir),
                name: Some(name),
                ..
            }) = ShareRow::decode(row.value)
            {
                singles.push((ShareNumber(row.key.a), dir, name));
            }
        })?;
        for (share, dir, name) in singles {
            let there = self.row(&Key::dentry(dir, &name), DentryRow::decode)?;
            self.part(share, there.map(|dentry| dentry.child))?;
        }
        Ok(())
    }

    fn part(&mut self, share: ShareNumber, there: Option<Ino>) -> FsResult<()> {
        for (key, row) in self.scanner.range(Table::ShareNode, share.0)? {
            let Ok(node) = NodeRow::decode(&row) else {
                continue;
            };
            let ino = node.ino;
            if node.standing == Standing::Gone || there == Some(ino) {
                continue;
            }
            let back = Key::member(ino);
            let member = self.row(&back, MemberRow::decode)?;
            if member.is_some_and(|m| m.share == share && m.node.0 == *key.name()) {
                self.delete(back);
            }
            let left = NodeRow {
                ino: Ino(0),
                standing: Standing::Gone,
                ..node
            };
            self.put(key, left.encode());
            let what = format!(
                "it was shared by itself and is not where that was; share {} has none now",
                share.0
            );
            self.note(Kind::Share, Subject::Inode(ino), what);
        }
        Ok(())
    }

    /// A row as it is to be; none where it is missing or cannot be read.
    fn row<R, E>(&self, key: &Key, decode: impl Fn(&[u8]) -> Result<R, E>) -> FsResult<Option<R>> {
        let read = |row: Option<&[u8]>| row.and_then(|row| decode(row).ok());
        match self.rows.get(key) {
            Some(row) => Ok(read(row.as_deref())),
            None => self.scanner.get(key, read),
        }
    }
}
