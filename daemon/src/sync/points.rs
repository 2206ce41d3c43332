//! Share points: names in a share that mean the root of another one of this account.
//!
//! They count only where the account is alone in the share, and where it is certain that it made them: a
//! member of a share is not to say what another share is called here, nor where it is. Any other is a name
//! of which nothing is shown.

use std::collections::BTreeSet;
use std::sync::Arc;

use keyfold_fs::error::{FsError, FsResult};
use keyfold_fs::layout::ShareId as EngineShareId;
use keyfold_fs::share::{Outdated, ShareInfo, ShareNumber, Standing};
use keyfold_fs::vfs::{Caller, FileKind, Ino, Name, Place as VfsPlace, Vfs};
use keyfold_protocol::ids::{Epoch, NodeId, ShareId};
use keyfold_protocol::tree::{FileContent, Kind, Tree};

use super::kept::KeptShare;
use super::shown::engine_node;
use super::unsent::numbered;
use super::{ShareSync, SyncError};
use crate::sharing::Shared;

/// Share points that are shown.
pub(super) type Points = BTreeSet<NodeId>;

/// Names tried for a share whose point is gone.
const SAME_NAME: u32 = 1000;

/// What the parent of a share had of the files that began in it.
pub(super) struct Former {
    pub(super) share: ShareId,
    tree: Arc<Tree>,
    epoch: Epoch,
}

impl Former {
    /// What it had of a file, and the epoch in which that was.
    pub(super) fn file(&self, node: NodeId) -> Option<(&FileContent, Epoch)> {
        let content = self.tree.node(node)?.content()?;
        Some((content, self.epoch))
    }
}

/// The share points of a tree.
fn points(tree: &Tree) -> impl Iterator<Item = (NodeId, ShareId)> {
    tree.nodes().filter_map(|(id, node)| match &node.kind {
        Kind::SharePoint(share) => Some((id, *share)),
        _ => None,
    })
}

/// Whether a share is another, or lies in that.
fn lies_within(shares: &[ShareInfo], mut inner: ShareNumber, outer: ShareNumber) -> bool {
    for _ in 0..=shares.len() {
        if inner == outer {
            return true;
        }
        let info = shares.iter().find(|info| info.number == inner);
        match info.and_then(|info| info.within) {
            Some(within) => inner = within.share,
            None => return false,
        }
    }
    true
}

impl ShareSync<'_, '_> {
    /// The points of a tree that the volume has, or had until the others know.
    pub(super) fn known_points(&self, tree: &Tree) -> FsResult<Points> {
        let mut known = Points::new();
        for (id, _) in points(tree) {
            if self
                .volume
                .share_node(self.share, engine_node(id))?
                .is_some()
            {
                known.insert(id);
            }
        }
        Ok(known)
    }

    /// The points of a tree that the volume is to have.
    pub(super) fn wanted_points(&self, tree: &Tree) -> FsResult<Points> {
        let mut wanted = self.known_points(tree)?;
        if !self.is_alone() {
            return Ok(wanted);
        }
        let shares = self.volume.shares()?;
        let mut shown: BTreeSet<ShareId> = BTreeSet::new();
        for (id, share) in points(tree) {
            let is_new = !wanted.contains(&id) && self.base.node(id).is_none();
            let here = shares.iter().find(|info| info.id == EngineShareId(share.0));
            let may_come = here.is_none_or(|info| {
                let is_free = info.within.is_none() && info.name.is_none();
                is_free && !lies_within(&shares, self.share, info.number)
            });
            if is_new && may_come && self.shared.makers().is_own(id) && shown.insert(share) {
                wanted.insert(id);
            }
        }
        Ok(wanted)
    }

    /// Whether nobody but this account takes part.
    fn is_alone(&self) -> bool {
        let own = self.shared.session().keys().account.root;
        let roster = self.shared.log().roster();
        roster.is_some_and(|roster| roster.members.keys().all(|root| *root == own))
    }

    /// Points here of which the others do not know, while not all that is behind them was sent: until then
    /// nothing but this share has it.
    pub(super) fn unbegun_points(&self) -> FsResult<Vec<NodeId>> {
        let mut unbegun = Vec::new();
        for info in self.volume.shares()? {
            if let Some(within) = info.within.filter(|within| within.share == self.share) {
                let point = NodeId(within.point.0);
                if self.base.node(point).is_none() && !KeptShare::of(&info).begun {
                    unbegun.push(point);
                }
            }
        }
        Ok(unbegun)
    }

    /// What the parent of this share had, while not all of it was sent.
    pub(super) async fn former(&self) -> Result<Option<Former>, SyncError> {
        if self.position.begun {
            return Ok(None);
        }
        let shares = self.volume.shares()?;
        let own = shares.iter().find(|info| info.number == self.share);
        let within = own.and_then(|info| info.within);
        let parent = within.and_then(|w| shares.iter().find(|info| info.number == w.share));
        let Some(parent) = parent else {
            return Ok(None);
        };
        let brought = KeptShare::of(parent).brought(&self.volume.share_nodes(parent.number)?);
        // Who was taken out meanwhile is known to the server first.
        let log = Shared::open(self.shared.session(), ShareId(parent.id.0)).await?;
        let roster = log.log().roster();
        Ok(match (brought, roster) {
            (Ok(brought), Some(roster)) => Some(Former {
                share: ShareId(parent.id.0),
                tree: brought.reached,
                epoch: roster.epoch,
            }),
            _ => None,
        })
    }

    /// Moves shares out whose points the others removed: they are shares like any other of this account.
    pub(super) fn part_gone(&mut self) -> FsResult<()> {
        let base = Arc::clone(&self.base);
        for (id, share) in points(&base) {
            if self.head.node(id).is_some() {
                continue;
            }
            let row = self.volume.share_node(self.share, engine_node(id))?;
            if !row.is_some_and(|row| row.standing == Standing::Here) {
                continue;
            }
            let shares = self.volume.shares()?;
            let info = shares.iter().find(|info| info.id.0 == share.0);
            if let Some(info) = info.filter(|info| info.within.is_some()) {
                self.part(info)?;
            }
        }
        Ok(())
    }

    fn part(&mut self, info: &ShareInfo) -> FsResult<()> {
        let path = self.volume.path_of_directory(info.root)?;
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let name = String::from_utf8_lossy(name).into_owned();
        let user = self.shared.session().keys().account.user.to_string();
        let mut dir = Ino::ROOT;
        for name in ["Shared", &user] {
            match self.directory(dir, name)? {
                Some(found) => dir = found,
                // Something is in the way: it comes as near as it can.
                None => break,
            }
        }
        for number in 1..=SAME_NAME {
            let name = numbered(&name, number);
            let to = place(dir, &name)?;
            match self.volume.part_share(info.number, to) {
                Err(FsError::Exists) => {}
                parted => {
                    self.outdated.extend(parted?);
                    return Ok(());
                }
            }
        }
        Err(FsError::Exists)
    }

    /// The directory of this name, made where it is missing; none where it is something else.
    fn directory(&mut self, parent: Ino, name: &str) -> FsResult<Option<Ino>> {
        let root = self.volume.getattr(self.root.dir)?;
        let caller = Caller {
            uid: root.uid,
            gid: root.gid,
            umask: 0o022,
        };
        let at = place(parent, name)?;
        let entry = match self.volume.mkdir(&caller, at, 0o755) {
            Err(FsError::Exists) => self.volume.lookup(at)?,
            made => {
                let name = Outdated::Entry(parent, name.as_bytes().to_vec());
                self.outdated.extend([Outdated::Inode(parent), name]);
                made?
            }
        };
        self.volume.forget(entry.attr.ino, 1);
        let is_shared = self.volume.share_member(entry.attr.ino)?.is_some();
        let is_directory = entry.attr.kind == FileKind::Directory;
        Ok((is_directory && !is_shared).then_some(entry.attr.ino))
    }
}

fn place(parent: Ino, name: &str) -> FsResult<VfsPlace<'_>> {
    Ok(VfsPlace {
        parent,
        name: Name::new(name.as_bytes())?,
    })
}
