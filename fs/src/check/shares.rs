//! Shares: that nodes and inodes say the same of one another, and that marks and blobs belong to a
//! share that there is.

use std::collections::{BTreeMap, BTreeSet};

use super::findings::{Findings, Subject};
use super::report::FindingKind as Kind;
use super::tree::Tree;
use crate::layout::{
    BlobId, BlobNameRow, BlobRow, DentryRow, Mark, MemberRow, NodeId, NodeRow, RemoteBlock,
    ShareNumber, ShareRow, Standing, Within,
};
use crate::meta::ScannedRow;
use crate::vfs::{FileKind, Ino};

/// An inode that says which node it is.
struct Member {
    ino: Ino,
    row: MemberRow,
    /// The node says so, too.
    confirmed: bool,
}

/// What a share is the subtree of, or where its single file lies.
struct Root {
    dir: Ino,
    name: Option<Box<[u8]>>,
}

/// Where the root of a share is in another.
struct Point {
    within: Within,
    /// The other has a node that says so, too.
    confirmed: bool,
    /// It has a name there.
    placed: bool,
}

/// A local number that says which blob it is.
struct BlobName {
    number: u64,
    row: BlobNameRow,
    confirmed: bool,
}

/// Shares as far as they were read: some bytes for each node and blob.
#[derive(Default)]
pub(super) struct Shares {
    /// By number; the root, where the share has not ended.
    roots: BTreeMap<u64, Option<Root>>,
    /// Where single files lie, by directory and name.
    places: BTreeMap<Ino, BTreeMap<Box<[u8]>, ShareNumber>>,
    /// Nodes of shares of a single file, whose names were not found yet.
    unplaced: BTreeSet<Ino>,
    /// Roots of shares within others.
    points: BTreeMap<Ino, Point>,
    members: Vec<Member>,
    blobs: Vec<BlobName>,
}

impl Shares {
    /// Takes a row of the share table.
    pub(super) fn share(&mut self, row: &ScannedRow<'_>, findings: &mut Findings) {
        match ShareRow::decode(row.value) {
            Ok(share) if row.key.a > 0 => {
                let number = ShareNumber(row.key.a);
                let root = share.root.map(|dir| Root {
                    dir,
                    name: share.name.clone(),
                });
                self.roots.insert(number.0, root);
                if let (Some(dir), Some(within)) = (share.root, share.within) {
                    let point = Point {
                        within,
                        confirmed: false,
                        placed: false,
                    };
                    self.points.insert(dir, point);
                }
                if let (Some(dir), Some(name)) = (share.root, share.name)
                    && self
                        .places
                        .entry(dir)
                        .or_default()
                        .insert(name, number)
                        .is_some()
                {
                    let what = "two shares are of the file of one name".to_owned();
                    findings.add(Kind::Share, Subject::Inode(dir), what);
                }
            }
            _ => {
                let what = format!("the row of share {} cannot be read", row.key.a);
                findings.add(Kind::BadRow, Subject::Volume, what);
            }
        }
    }

    /// Takes a row of the table of nodes. Those of the way back come first, by inode.
    pub(super) fn node(&mut self, row: &ScannedRow<'_>, tree: &Tree, findings: &mut Findings) {
        let share = ShareNumber(row.key.a);
        if share == ShareNumber::BACK {
            return self.member(row, findings);
        }
        let node = <[u8; 16]>::try_from(row.key.name()).map(NodeId);
        let (Ok(node), Ok(found)) = (node, NodeRow::decode(row.value)) else {
            let what = format!("a node of share {} cannot be read", share.0);
            findings.add(Kind::BadRow, Subject::Volume, what);
            return;
        };
        let ino = found.ino;
        if (ino, found.standing) == (Ino(0), Standing::Gone) && self.is_live(share) {
            // It left the share.
            return;
        }
        let here = Within { share, point: node };
        if found.standing == Standing::Here
            && let Some(point) = self.points.get_mut(&ino)
            && point.within == here
            && !point.confirmed
        {
            point.confirmed = true;
            return;
        }
        let mut add = |what| findings.add(Kind::Share, Subject::Inode(ino), what);
        if !self.is_live(share) {
            add(format!("it is a node of share {}, which is none", share.0));
        }
        if found.standing == Standing::Here && tree.kind(ino).is_none() {
            add(format!(
                "it is a node of share {} and does not exist",
                share.0
            ));
        }
        let root = self.roots.get(&share.0).and_then(Option::as_ref);
        let whole = root.filter(|root| root.name.is_none());
        if (node == NodeId::ROOT) != whole.is_some_and(|root| root.dir == ino) {
            add(format!("it is the root of share {}, or is not", share.0));
        }
        if found.standing == Standing::Here && root.is_some() && whole.is_none() {
            self.unplaced.insert(ino);
        }
        let said = MemberRow { share, node };
        let member = self.members.binary_search_by_key(&ino, |m| m.ino);
        match member.map(|at| &mut self.members[at]) {
            Ok(member) if member.row == said && !member.confirmed => member.confirmed = true,
            _ => add(format!(
                "it is a node of share {} and says otherwise",
                share.0
            )),
        }
    }

    fn member(&mut self, row: &ScannedRow<'_>, findings: &mut Findings) {
        let ino = row.key.name().try_into().map(u64::from_be_bytes).map(Ino);
        let (Ok(ino), Ok(found)) = (ino, MemberRow::decode(row.value)) else {
            let what = "a row that says which node an inode is cannot be read".to_owned();
            findings.add(Kind::BadRow, Subject::Volume, what);
            return;
        };
        self.members.push(Member {
            ino,
            row: found,
            confirmed: false,
        });
    }

    /// All nodes were taken.
    pub(super) fn end_nodes(&self, findings: &mut Findings) {
        for member in self.members.iter().filter(|m| !m.confirmed) {
            let share = member.row.share.0;
            let what = format!("it says that it is a node of share {share}, which has none such");
            findings.add(Kind::Share, Subject::Inode(member.ino), what);
        }
        for (root, point) in &self.points {
            let share = point.within.share;
            if !point.confirmed || !self.is_live(share) {
                let what = format!(
                    "it is to be a point of share {}, which has none such",
                    share.0
                );
                findings.add(Kind::Share, Subject::Inode(*root), what);
            }
        }
        for (share, root) in &self.roots {
            let Some(root) = root else { continue };
            let of = root.name.is_none().then_some(ShareNumber(*share));
            if self.share_of(root.dir) != of {
                let what =
                    format!("it is the root of share {share} and no node of it, or has its file");
                findings.add(Kind::Share, Subject::Inode(root.dir), what);
            }
        }
    }

    /// All names were taken.
    pub(super) fn end_names(&self, tree: &Tree, findings: &mut Findings) {
        let mut add = |ino, what: &str| {
            findings.add(Kind::Share, Subject::Inode(ino), what.to_owned());
        };
        for dir in self.places.keys() {
            if tree.kind(*dir) != Some(FileKind::Directory) {
                add(*dir, "a file in it is shared, and it is no directory");
            }
        }
        for ino in self
            .points
            .iter()
            .filter(|(_, p)| !p.placed)
            .map(|(i, _)| i)
        {
            add(*ino, "it is a point of a share, and does not lie in it");
        }
        for ino in &self.unplaced {
            add(
                *ino,
                "it is a file that is shared by itself, and not where that lies",
            );
        }
    }

    /// Takes a row of the outbox.
    pub(super) fn mark(&self, row: &ScannedRow<'_>, findings: &mut Findings) {
        let share = ShareNumber(row.key.a);
        if Mark::decode(row.value).is_err() {
            let what = format!("a mark of share {} cannot be read", share.0);
            findings.add(Kind::BadRow, Subject::Volume, what);
        }
        if !self.is_live(share) {
            let what = format!("there is a mark of share {}, which is none", share.0);
            findings.add(Kind::Share, Subject::Volume, what);
        }
    }

    /// Takes a row of the table of blobs. Those of the way back come first, by number.
    pub(super) fn blob(&mut self, row: &ScannedRow<'_>, findings: &mut Findings) {
        let share = ShareNumber(row.key.a);
        let key = row.key.name();
        if share == ShareNumber::BACK {
            let number = key.try_into().map(u64::from_be_bytes);
            if let (Ok(number), Ok(row)) = (number, BlobNameRow::decode(row.value)) {
                self.blobs.push(BlobName {
                    number,
                    row,
                    confirmed: false,
                });
                return;
            }
        }
        let blob = <[u8; 32]>::try_from(key).map(BlobId);
        let (Ok(blob), Ok(found)) = (blob, BlobRow::decode(row.value)) else {
            let what = format!("a blob of share {} cannot be read", share.0);
            findings.add(Kind::BadRow, Subject::Volume, what);
            return;
        };
        let said = BlobNameRow { share, blob };
        let name = self.blobs.binary_search_by_key(&found.number, |b| b.number);
        match name.map(|at| &mut self.blobs[at]) {
            Ok(name) if name.row == said && self.roots.contains_key(&share.0) => {
                name.confirmed = true;
            }
            _ => {
                let what = format!("blob {} of share {} has no number", found.number, share.0);
                findings.add(Kind::Share, Subject::Volume, what);
            }
        }
    }

    /// All blobs were taken.
    pub(super) fn end_blobs(&self, findings: &mut Findings) {
        for blob in self.blobs.iter().filter(|b| !b.confirmed) {
            let what = format!("blob {} is of no share", blob.number);
            findings.add(Kind::Share, Subject::Volume, what);
        }
    }

    /// Takes a row of the dentry table, after all nodes.
    pub(super) fn dentry(&mut self, row: &ScannedRow<'_>, findings: &mut Findings) {
        let parent = Ino(row.key.a);
        let place = self.places.get(&parent);
        let place = place.and_then(|names| names.get(row.key.name())).copied();
        let Some(share) = place.or_else(|| self.share_of(parent)) else {
            return;
        };
        let Ok(dentry) = DentryRow::decode(row.value) else {
            return;
        };
        if place.is_some() {
            self.unplaced.remove(&dentry.child);
        }
        if let Some(point) = self.points.get_mut(&dentry.child)
            && point.within.share == share
        {
            point.placed = true;
            return;
        }
        if self.share_of(dentry.child) != Some(share) {
            let what = format!("it lies in share {} and is no node of it", share.0);
            findings.add(Kind::Share, Subject::Inode(dentry.child), what);
        }
    }

    /// Whether there is such a blob.
    pub(super) fn has_blob(&self, block: RemoteBlock) -> bool {
        let found = self.blobs.binary_search_by_key(&block.blob, |b| b.number);
        found.is_ok_and(|at| self.blobs[at].confirmed)
    }

    /// The highest number of a blob.
    pub(super) fn highest_blob(&self) -> u64 {
        self.blobs.last().map_or(0, |b| b.number)
    }

    fn is_live(&self, share: ShareNumber) -> bool {
        self.roots.get(&share.0).is_some_and(Option::is_some)
    }

    fn share_of(&self, ino: Ino) -> Option<ShareNumber> {
        let at = self.members.binary_search_by_key(&ino, |m| m.ino).ok()?;
        Some(self.members[at].row.share)
    }
}
