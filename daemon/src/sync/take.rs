//! What others changed, as changes of a volume.

use std::collections::{BTreeMap, BTreeSet};

use keyfold_crypto::{FileKey, LEAF_BLOCKS};
use keyfold_fs::layout::{self as engine, BlobKey};
use keyfold_fs::share::{At, Blob, BlockChange, Change, Changes, LeafChange, What, Written};
use keyfold_protocol::ids::{BlobId, NodeId};
use keyfold_protocol::names::LinkTarget;
use keyfold_protocol::operation as protocol;
use keyfold_protocol::tree::{FileContent, Tree, TreeLeaf};

use super::names::{Step, steps};
use super::shown::{Nodes, Place, Shown, engine_node, timestamp};
use super::waits::Waits;
use crate::sharing::Makers;

/// What a volume has, and what it is to have.
pub(super) struct Taking<'a> {
    /// Names and attributes that are here.
    pub(super) here: &'a Nodes,
    /// Those that are to be.
    pub(super) want: &'a Nodes,
    /// The tree whose contents are here.
    pub(super) base: &'a Tree,
    /// The tree whose contents are to be.
    pub(super) head: &'a Tree,
    /// Files whose content here is given up, with the leaves that it has.
    pub(super) reset: &'a BTreeMap<NodeId, Vec<u64>>,
    /// Files whose content here stays.
    pub(super) stays: &'a BTreeSet<NodeId>,
    /// Of these the content stays as it is here, too: they are in use.
    pub(super) waits: &'a Waits,
    /// Whose symlinks those are that are new.
    pub(super) makers: &'a Makers,
}

pub(super) fn at(place: &Place) -> At {
    At {
        parent: engine_node(place.0),
        name: place.1.as_str().as_bytes().to_vec(),
    }
}

impl Taking<'_> {
    /// The changes.
    pub(super) fn changes(&self) -> Changes {
        let mut changes = Changes::default();
        let mut stamped = BTreeSet::new();
        for step in steps(self.here, self.want) {
            stamped.extend(directories(&step));
            changes.list.extend(self.name(&step));
        }
        for (id, node) in self.want {
            self.attributes((*id, node), &stamped, &mut changes.list);
        }
        let mut blobs = BTreeMap::new();
        let taken = self.head.nodes().filter(|(id, _)| !self.waits.contains(id));
        for (id, node) in taken {
            if let (Some(content), Some(want)) = (node.content(), self.want.get(&id)) {
                self.content((id, want), content, (&mut changes.list, &mut blobs));
            }
        }
        changes.blobs = blobs.into_values().collect();
        changes
    }

    fn name(&self, step: &Step) -> Option<Change> {
        Some(match step {
            Step::Make(id, to) => {
                let node = self.want.get(id)?;
                let stamp = self.head.node(*id).map(|node| node.mtime);
                let stamp = node.mtime.or(stamp);
                Change::Make {
                    at: at(to),
                    node: engine_node(*id),
                    what: what(&node.what),
                    perm: match &node.what {
                        protocol::What::Symlink(target)
                            if !self.makers.is_own(*id) && may_lead_out(target) =>
                        {
                            0
                        }
                        _ => permissions(node),
                    },
                    mtime: stamp.map(timestamp).unwrap_or_default(),
                }
            }
            Step::Link(id, to) => Change::Link {
                at: at(to),
                node: engine_node(*id),
            },
            Step::Rename(_, from, to) => Change::Rename {
                from: at(from),
                to: at(to),
            },
            Step::Remove(_, from) => Change::Remove { at: at(from) },
        })
    }

    /// `stamped` are directories whose stamps the changes of names have changed.
    fn attributes(
        &self,
        (id, node): (NodeId, &Shown),
        stamped: &BTreeSet<NodeId>,
        list: &mut Vec<Change>,
    ) {
        let here = self.here.get(&id);
        let perm = here.filter(|here| here.mode != node.mode);
        let perm = perm.map(|_| permissions(node));
        let differs = here.is_some_and(|here| here.mtime != node.mtime) || stamped.contains(&id);
        let stamp = node.mtime.filter(|_| differs);
        if perm.is_some() || stamp.is_some() {
            list.push(Change::SetAttributes {
                node: engine_node(id),
                perm,
                mtime: stamp.map(timestamp),
            });
        }
        let none = BTreeMap::new();
        let old = here.map_or(&none, |here| &here.xattrs);
        let names: BTreeSet<_> = old.keys().chain(node.xattrs.keys()).collect();
        for name in names {
            let value = node.xattrs.get(name);
            if old.get(name) != value {
                list.push(Change::SetXattr {
                    node: engine_node(id),
                    name: name.as_str().as_bytes().to_vec(),
                    value: value.cloned(),
                });
            }
        }
    }

    fn content(
        &self,
        (id, want): (NodeId, &Shown),
        new: &FileContent,
        (list, blobs): (&mut Vec<Change>, &mut BTreeMap<BlobId, Blob>),
    ) {
        let here = self.here.get(&id);
        let base = self.base.node(id).and_then(|node| node.content());
        let base = base.filter(|_| here.is_some());
        keys(id, (base, new), list);
        let reset = self.reset.get(&id);
        if let (Some(base), None) = (base, reset)
            && is_same(base, new)
        {
            if base.leaves != new.leaves {
                moved(id, (base, new), (list, blobs));
            }
            return;
        }
        let nothing = here.is_none() && new.size == 0 && new.leaves.is_empty();
        if nothing || self.stays.contains(&id) {
            return;
        }
        let old = base.filter(|_| reset.is_none());
        let mut indexes: BTreeSet<u64> = new.leaves.keys().copied().collect();
        indexes.extend(old.into_iter().flat_map(|old| old.leaves.keys()));
        indexes.extend(reset.into_iter().flatten());
        let whole = reset.is_some();
        let leaves = indexes.into_iter().filter_map(|index| {
            let old = old.and_then(|old| old.leaves.get(&index));
            leaf_change(
                index,
                old.filter(|_| !whole),
                new.leaves.get(&index),
                whole_holes(whole),
            )
        });
        let leaves: Vec<LeafChange> = leaves.collect();
        name_blobs(&leaves, new, blobs);
        let names = here.map(|here| here.names.iter().map(at).collect());
        list.push(Change::Write(Written {
            node: engine_node(id),
            names: names.unwrap_or_default(),
            size: new.size,
            mtime: timestamp(want.mtime.unwrap_or(protocol::Mtime {
                seconds: 0,
                nanoseconds: 0,
            })),
            leaves,
        }));
    }
}

/// Whether two versions of a file have the same content, wherever it lies.
pub(super) fn is_same(one: &FileContent, other: &FileContent) -> bool {
    (one.size, one.root) == (other.size, other.root)
}

/// Blocks of a file whose content stays that lie elsewhere.
fn moved(
    id: NodeId,
    (base, new): (&FileContent, &FileContent),
    (list, blobs): (&mut Vec<Change>, &mut BTreeMap<BlobId, Blob>),
) {
    let leaves = new.leaves.iter().filter_map(|(index, leaf)| {
        let old = base.leaves.get(index);
        leaf_change(*index, old, Some(leaf), 0)
    });
    let leaves: Vec<LeafChange> = leaves.collect();
    name_blobs(&leaves, new, blobs);
    list.push(Change::Move {
        node: engine_node(id),
        leaves,
    });
}

/// Adds the blobs in which blocks lie.
fn name_blobs(leaves: &[LeafChange], new: &FileContent, blobs: &mut BTreeMap<BlobId, Blob>) {
    for block in leaves.iter().flat_map(|leaf| &leaf.blocks) {
        let blob = BlobId(block.blob.0);
        if let Some(key) = new.packs.get(&blob) {
            blobs.entry(blob).or_insert_with(|| Blob {
                id: block.blob,
                key: BlobKey::from_bytes(*key.secret()),
                size: 0,
                state: 0,
            });
        }
    }
}

/// Directories that have other names after a step.
fn directories(step: &Step) -> [NodeId; 2] {
    match step {
        Step::Make(_, at) | Step::Link(_, at) | Step::Remove(_, at) => [at.0, at.0],
        Step::Rename(_, from, to) => [from.0, to.0],
    }
}

/// Keys that are new here. The last seals what is written here from now on.
fn keys(id: NodeId, (base, new): (Option<&FileContent>, &FileContent), list: &mut Vec<Change>) {
    let known = |key| base.is_some_and(|base| base.keys.contains_key(key));
    let mut keys: Vec<_> = new.keys.iter().filter(|(key, _)| !known(key)).collect();
    keys.sort_by_key(|(key, row)| (row.epoch, **key));
    for (key, row) in keys {
        list.push(Change::AddKey {
            node: engine_node(id),
            key: FileKey::from_parts(*key, *row.secret),
        });
    }
}

/// Which blocks of a leaf become holes that nothing is known of.
fn whole_holes(whole: bool) -> u64 {
    if whole { u64::MAX } else { 0 }
}

/// Where the newest content of a block of a leaf lies.
pub(super) fn place(leaf: Option<&TreeLeaf>, position: u8) -> Option<(BlobId, u32)> {
    let mut pieces = leaf?.pieces.iter();
    pieces.find_map(|piece| Some((piece.blob, piece.slot_of(position)?)))
}

fn leaf_change(
    index: u64,
    old: Option<&TreeLeaf>,
    new: Option<&TreeLeaf>,
    mut holes: u64,
) -> Option<LeafChange> {
    let mut blocks = Vec::new();
    for position in 0..LEAF_BLOCKS as u8 {
        let bit = 1_u64 << position;
        match (place(old, position), place(new, position)) {
            (old, Some((blob, slot))) => {
                holes &= !bit;
                if old != Some((blob, slot)) {
                    blocks.push(BlockChange {
                        position,
                        blob: engine::BlobId(blob.0),
                        slot,
                        sealed: None,
                    });
                }
            }
            (Some(_), None) => holes |= bit,
            (None, None) => {}
        }
    }
    let index = u32::try_from(index).ok()?;
    (holes != 0 || !blocks.is_empty()).then_some(LeafChange {
        index,
        blocks,
        holes,
    })
}

fn what(what: &protocol::What) -> What {
    match what {
        protocol::What::File => What::File,
        protocol::What::Directory => What::Directory,
        protocol::What::Symlink(target) => What::Symlink(target.as_str().as_bytes().to_vec()),
        protocol::What::SharePoint(share) => What::Point(engine::ShareId(share.0)),
    }
}

/// Whether a symlink may lead out of its share, wherever in it that lies: by moving it, or a directory
/// above it, or by another symlink on its way, `..` leads further up than its number tells.
fn may_lead_out(target: &LinkTarget) -> bool {
    let target = target.as_str();
    target.starts_with('/') || target.split('/').any(|name| name == "..")
}

/// Of a mode only the owner's bits travel, and only he has any here.
fn permissions(node: &Shown) -> u16 {
    if matches!(node.what, protocol::What::Symlink(_)) {
        0o777
    } else {
        u16::from(node.mode) << 6
    }
}
