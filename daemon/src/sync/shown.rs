//! What is seen of a share beside the content of its files: of a tree that a log makes, and of a
//! volume. Both in the same form, so that they can be compared.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

use keyfold_fs::error::{FsError, FsResult};
use keyfold_fs::layout as engine;
use keyfold_fs::share::{EntryView, NodeView, ShareInfo};
use keyfold_fs::vfs::{FileKind, Ino, Timestamp};
use keyfold_fs::volume::Volume;
use keyfold_protocol::ids::{NodeId, OperationId, ShareId};
use keyfold_protocol::names::{EntryName, LinkTarget, XattrName};
use keyfold_protocol::operation::{Mode, Mtime, What};
use keyfold_protocol::tree::{Kind, Tree};

use super::points::Points;

/// A name in a directory.
pub(super) type Place = (NodeId, EntryName);

/// A node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) what: What,
    /// The owner's rwx bits; of symlinks and of the root always 7.
    pub(super) mode: u8,
    /// Of all but the root and share points.
    pub(super) mtime: Option<Mtime>,
    pub(super) xattrs: BTreeMap<XattrName, Vec<u8>>,
    pub(super) names: BTreeSet<Place>,
    /// The version of a file's content; [`LOCAL`] where it is not one that others know.
    pub(super) version: OperationId,
}

impl Shown {
    /// Where another share is: of that, only its name is said.
    fn point(share: ShareId) -> Self {
        Self {
            what: What::SharePoint(share),
            mode: 7,
            mtime: None,
            xattrs: BTreeMap::new(),
            names: BTreeSet::new(),
            version: OperationId::NONE,
        }
    }
}

/// Nodes by id.
pub(super) type Nodes = BTreeMap<NodeId, Shown>;

/// Stands for content that was not sent.
pub(super) const LOCAL: OperationId = OperationId([0xff; 16]);

/// What a volume has.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) nodes: Nodes,
    pub(super) inos: BTreeMap<NodeId, Ino>,
    /// Names that are not sent, with the directories that they are in, if they are text that shows as it
    /// is: devices, those that other shares have, of which nothing is shown here, and symlinks of others
    /// that only this volume has.
    pub(super) unsent: Vec<(NodeId, Option<EntryName>)>,
}

impl Seen {
    /// How many names are not sent.
    pub(super) fn kept_back(&self) -> u64 {
        self.unsent.len() as u64
    }

    /// Directories that have such names.
    pub(super) fn stay(&self) -> BTreeSet<NodeId> {
        self.unsent.iter().map(|(dir, _)| *dir).collect()
    }
}

pub(super) fn engine_node(id: NodeId) -> engine::NodeId {
    engine::NodeId(id.0)
}

pub(super) fn timestamp(mtime: Mtime) -> Timestamp {
    Timestamp {
        secs: mtime.seconds,
        nanos: mtime.nanoseconds,
    }
}

pub(super) fn mtime(stamp: Timestamp) -> Mtime {
    Mtime {
        seconds: stamp.secs,
        nanoseconds: stamp.nanos.min(999_999_999),
    }
}

pub(super) fn mode(bits: u8) -> Mode {
    Mode::new(bits & 7).unwrap_or_else(|_| unreachable!("three bits are below eight"))
}

/// What a tree has; of other shares where they are, if that is shown.
pub(super) fn of_tree(tree: &Tree, points: &Points) -> Nodes {
    let mut nodes = Nodes::new();
    for (id, node) in tree.nodes() {
        let what = match &node.kind {
            Kind::File(_) => What::File,
            Kind::Directory(_) => What::Directory,
            Kind::Symlink(target) => What::Symlink(target.clone()),
            Kind::SharePoint(share) if points.contains(&id) => {
                nodes.insert(id, Shown::point(*share));
                continue;
            }
            Kind::SharePoint(_) => continue,
        };
        let plain = matches!(what, What::Symlink(_)) || id == NodeId::ROOT;
        nodes.insert(
            id,
            Shown {
                mode: if plain { 7 } else { node.mode.bits() },
                mtime: (id != NodeId::ROOT).then_some(node.mtime),
                what,
                xattrs: node.xattrs.clone(),
                names: BTreeSet::new(),
                version: node.content().map_or(OperationId::NONE, |c| c.version),
            },
        );
    }
    for (parent, node) in tree.nodes() {
        for (name, child) in node.entries().into_iter().flatten() {
            if let Some(child) = nodes.get_mut(child) {
                child.names.insert((parent, name.clone()));
            }
        }
    }
    nodes
}

/// Where a share is in a volume.
#[derive(Debug, Clone)]
pub(super) struct Root {
    /// Its root directory, or the one that its single file lies in.
    pub(super) dir: Ino,
    /// The name of that file.
    pub(super) single: Option<EntryName>,
}

impl Root {
    pub(super) fn of(info: &ShareInfo) -> FsResult<Self> {
        let name = |name: &[u8]| std::str::from_utf8(name).ok()?.parse().ok();
        let single = match info.name.as_deref() {
            Some(bytes) => Some(name(bytes).ok_or(FsError::Inconsistent(info.root))?),
            None => None,
        };
        Ok(Self {
            dir: info.root,
            single,
        })
    }

    fn view(&self, volume: &Volume) -> FsResult<Shown> {
        if self.single.is_none() {
            return Ok(shown(&volume.view_node(self.dir)?, NodeId::ROOT));
        }
        // The directory that the file lies in is none of the share's.
        Ok(Shown {
            what: What::Directory,
            mode: 7,
            mtime: None,
            xattrs: BTreeMap::new(),
            names: BTreeSet::new(),
            version: OperationId::NONE,
        })
    }

    /// What a directory of the share has.
    fn entries(&self, volume: &Volume, dir: Ino) -> FsResult<Vec<EntryView>> {
        match &self.single {
            Some(name) => {
                let file = volume.view_entry(dir, name.as_str().as_bytes())?;
                Ok(file.into_iter().collect())
            }
            None => volume.view_entries(dir),
        }
    }
}

/// What a volume has in a share. Content is taken for what the base has, unless it is marked.
pub(super) fn of_volume(
    volume: &Volume,
    root: &Root,
    (base, points): (&Tree, &Points),
    marked: &BTreeSet<Ino>,
) -> FsResult<Seen> {
    let mut seen = Seen::default();
    let version = |id: NodeId, ino: Ino| {
        let known = base.node(id).and_then(|node| node.content());
        match known {
            Some(content) if !marked.contains(&ino) => content.version,
            _ => LOCAL,
        }
    };
    seen.nodes.insert(NodeId::ROOT, root.view(volume)?);
    seen.inos.insert(NodeId::ROOT, root.dir);
    let mut left = vec![(root.dir, NodeId::ROOT)];
    while let Some((dir, parent)) = left.pop() {
        for entry in root.entries(volume, dir)? {
            let id = NodeId(entry.node.0);
            let name = std::str::from_utf8(&entry.name).ok();
            let name: Option<EntryName> = name.and_then(|name| name.parse().ok());
            let is_free = |name: &EntryName| {
                share_point(base, parent, name).is_none_or(|point| points.contains(&point))
            };
            let travels = travels(entry.kind) && !is_barred(volume, base, &entry)?;
            let name = match name {
                Some(name) if travels && is_free(&name) => name,
                name => {
                    seen.unsent.push((parent, name));
                    continue;
                }
            };
            let node = match (seen.nodes.entry(id), entry.point) {
                (Entry::Occupied(node), _) => node.into_mut(),
                (Entry::Vacant(vacant), Some(share)) => {
                    vacant.insert(Shown::point(ShareId(share.0)))
                }
                (Entry::Vacant(vacant), None) => {
                    let mut node = shown(&volume.view_node(entry.ino)?, id);
                    if node.what == What::File {
                        node.version = version(id, entry.ino);
                    }
                    seen.inos.insert(id, entry.ino);
                    if entry.kind == FileKind::Directory {
                        left.push((entry.ino, id));
                    }
                    vacant.insert(node)
                }
            };
            node.names.insert((parent, name));
        }
    }
    Ok(seen)
}

/// The node of the other share that has a name.
fn share_point(tree: &Tree, parent: NodeId, name: &EntryName) -> Option<NodeId> {
    let child = tree.node(parent)?.entries()?.get(name)?;
    let kind = &tree.node(*child)?.kind;
    matches!(kind, Kind::SharePoint(_)).then_some(*child)
}

/// The other shares in a directory, shown or not.
pub(super) fn share_points(tree: &Tree, directory: NodeId) -> Vec<(EntryName, NodeId)> {
    let entries = tree.node(directory).and_then(|node| node.entries());
    let names = entries.into_iter().flatten().map(|(name, _)| name);
    let points = names.filter_map(|name| {
        let node = share_point(tree, directory, name)?;
        Some((name.clone(), node))
    });
    points.collect()
}

fn travels(kind: FileKind) -> bool {
    matches!(
        kind,
        FileKind::Regular | FileKind::Directory | FileKind::Symlink
    )
}

/// Whether this is a symlink of somebody else that is not followed here, and that the others do not have
/// any more. Sent, it would be one of this account, which its other devices follow.
fn is_barred(volume: &Volume, base: &Tree, entry: &EntryView) -> FsResult<bool> {
    if entry.kind != FileKind::Symlink || base.node(NodeId(entry.node.0)).is_some() {
        return Ok(false);
    }
    Ok(volume.view_node(entry.ino)?.perm & 0o444 == 0)
}

fn shown(view: &NodeView, id: NodeId) -> Shown {
    let target = view.target.as_deref().and_then(link_target);
    let what = match (view.kind, target) {
        (FileKind::Symlink, Some(target)) => What::Symlink(target),
        (FileKind::Directory, _) => What::Directory,
        _ => What::File,
    };
    let plain = matches!(what, What::Symlink(_)) || id == NodeId::ROOT;
    Shown {
        mode: if plain {
            7
        } else {
            ((view.perm >> 6) & 7) as u8
        },
        mtime: (id != NodeId::ROOT).then(|| mtime(view.mtime)),
        what,
        xattrs: view.xattrs.iter().filter_map(xattr).collect(),
        names: BTreeSet::new(),
        version: OperationId::NONE,
    }
}

fn link_target(target: &[u8]) -> Option<LinkTarget> {
    std::str::from_utf8(target).ok()?.parse().ok()
}

fn xattr((name, value): &(Vec<u8>, Vec<u8>)) -> Option<(XattrName, Vec<u8>)> {
    let name = std::str::from_utf8(name).ok()?.parse().ok()?;
    Some((name, value.clone()))
}
