//! Share points that others made, by devices of this account.

use super::Apply;
use crate::error::{FsError, FsResult};
use crate::layout::{
    DirBody, InodeBody, MemberRow, NodeId, NodeRow, ShareId, ShareNumber, ShareRow, Within,
};
use crate::meta::Key;
use crate::share::{At, Outdated};
use crate::vfs::{FileKind, Ino, Place, Timestamp};
use crate::volume::ops::FIRST_COOKIE;
use crate::volume::share::begin::next_open;
use crate::volume::share::point::put_point;
use crate::volume::share::put_node;

impl Apply<'_> {
    /// Makes a name the root of another share: of one that is here and in no other, or of one that begins
    /// here, empty.
    pub(super) fn make_point(
        &mut self,
        at: &At,
        (point, id): (NodeId, ShareId),
        attributes: (u16, Timestamp),
    ) -> FsResult<()> {
        let at = self.place(at)?;
        let key = Key::share_node(self.share, point);
        let taken = self.txn.get(&key, NodeRow::decode)?.is_some();
        if self.single.is_some() || taken || !self.effects.points.insert(id) {
            return Err(FsError::InvalidArgument);
        }
        let shares = self.volume.each_share()?;
        let known = shares
            .iter()
            .find(|(_, row)| row.id == id && row.root.is_some());
        let (number, row, root) = if let Some((number, row)) = known {
            (*number, row.clone(), self.bring_root(*number, row, at)?)
        } else {
            let begun = self.effects.points.len() as u64 - 1;
            let number = ShareNumber(next_open(&shares).0 + begun);
            let root = self.make_root(number, at, attributes)?;
            let row = ShareRow {
                id,
                root: Some(root),
                name: None,
                within: None,
                data: Box::default(),
            };
            (number, row, root)
        };
        let within = Within {
            share: self.share,
            point,
        };
        put_point(&mut self.txn, within, root);
        let row = ShareRow {
            within: Some(within),
            ..row
        };
        self.txn.put(Key::share(number), row.encode());
        Ok(())
    }

    /// Moves the root of a share that is here.
    fn bring_root(&mut self, number: ShareNumber, row: &ShareRow, to: Place<'_>) -> FsResult<Ino> {
        let root = row.root.ok_or(FsError::NotFound)?;
        if number.is_locked() || row.name.is_some() || row.within.is_some() {
            return Err(FsError::Busy);
        }
        let (dir, name) = self.volume.move_root(&mut self.txn, root, to)?;
        let outdated = &mut self.effects.outdated;
        outdated.extend([Outdated::Entry(dir, name), Outdated::Inode(dir)]);
        self.note_entry(to);
        self.note_inode(root);
        Ok(root)
    }

    /// Makes the root of a share that is not here.
    fn make_root(
        &mut self,
        number: ShareNumber,
        at: Place<'_>,
        attributes: (u16, Timestamp),
    ) -> FsResult<Ino> {
        let root = self.volume.counters.new_ino();
        let body = InodeBody::Directory(DirBody {
            parent: at.parent,
            next_cookie: FIRST_COOKIE,
            entries: 0,
        });
        self.put_new(at, (root, FileKind::Directory, body), attributes)?;
        put_node(&mut self.txn, (number, NodeId::ROOT), root);
        Ok(root)
    }

    /// Whether an inode is a node of this share, and not the root of another behind a point of it.
    pub(super) fn is_own(&self, ino: Ino) -> FsResult<bool> {
        let member = self.txn.get(&Key::member(ino), MemberRow::decode)?;
        Ok(member.is_some_and(|member| member.share == self.share))
    }
}
