//! Whoever syncs a share, as little of it as tests need: what the others know, and a store of blobs.
//!
//! It looks at nothing but what marks name, so a mark that is missing shows as a tree that differs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use keyfold_crypto::{KeyId, Sealed, Tag, leaf_hash};
use keyfold_fs::share::{
    Applied, At, Blob, BlobId, BlobKey, BlockChange, Change, Changes, Fetch, Fetched, Kept,
    LeafChange, Lies, Mark, NodeId, Owner, Spare, SpareBlock, Unfetched, Wanted, What, Written,
};
use keyfold_fs::vfs::{FileKind, Ino, Timestamp};
use parking_lot::Mutex;

use crate::site::Site;

type Name = (NodeId, Vec<u8>);

/// A block as the others know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Known {
    blob: BlobId,
    slot: u32,
    tag: Tag,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) what: Option<What>,
    pub(crate) perm: u16,
    pub(crate) mtime: Timestamp,
    pub(crate) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(crate) names: BTreeSet<Name>,
    pub(crate) size: u64,
    keys: BTreeSet<KeyId>,
    blocks: BTreeMap<u64, Known>,
}

/// Blobs that were sent.
#[derive(Default)]
pub(crate) struct Store {
    pub(crate) blobs: Mutex<BTreeMap<BlobId, Vec<Fetched>>>,
    pub(crate) fetched: Mutex<u64>,
    pub(crate) down: Mutex<bool>,
    /// Gives other bytes than it was given.
    pub(crate) lies: Mutex<bool>,
}

impl Fetch for Store {
    fn fetch(&self, wanted: &[Wanted]) -> Vec<Result<Vec<Fetched>, Unfetched>> {
        wanted.iter().map(|wanted| self.of_one(wanted)).collect()
    }
}

impl Store {
    fn of_one(&self, wanted: &Wanted) -> Result<Vec<Fetched>, Unfetched> {
        if *self.down.lock() {
            return Err(Unfetched);
        }
        let blobs = self.blobs.lock();
        let blob = blobs.get(&wanted.blob.id).ok_or(Unfetched)?;
        *self.fetched.lock() += wanted.blocks.len() as u64;
        let mut found: Vec<Fetched> = wanted
            .blocks
            .iter()
            .map(|(_, slot)| blob[*slot as usize].clone())
            .collect();
        if *self.lies.lock() {
            for block in &mut found {
                block.ciphertext[9] ^= 1;
            }
        }
        Ok(found)
    }
}

/// What all members know of a share.
pub(crate) struct Partner {
    pub(crate) nodes: BTreeMap<NodeId, Node>,
    pub(crate) store: Arc<Store>,
    blobs: u64,
    /// Whether receivers are told tweaks and tags, or get them with the data.
    pub(crate) tell_tags: bool,
}

/// Changes as they go out, and the marks that they stand for.
pub(crate) struct Sent {
    pub(crate) changes: Changes,
    confirmed: Vec<u64>,
}

impl Partner {
    pub(crate) fn new() -> Self {
        let root = Node {
            what: Some(What::Directory),
            ..Node::default()
        };
        Self {
            nodes: BTreeMap::from([(NodeId::ROOT, root)]),
            store: Arc::default(),
            blobs: 0,
            tell_tags: true,
        }
    }

    /// Sends what changed at `from`: what the others are to apply, and what they know from now on.
    pub(crate) fn push(&mut self, from: &Site) -> Sent {
        let taken = from.v().take_marks(from.share).unwrap();
        let old = std::mem::take(&mut self.nodes);
        let mut new = old.clone();
        let mut changes = Changes {
            owner: Owner { uid: 0, gid: 0 },
            ..Changes::default()
        };
        let marks: BTreeSet<Mark> = taken.iter().map(|m| m.mark.clone()).collect();
        let mut looked: BTreeMap<NodeId, Ino> = BTreeMap::new();
        for mark in &marks {
            if let Mark::Entry(dir, name) = mark {
                look_at_entry(from, (*dir, name), &mut new, &mut looked);
            }
        }
        let mut writes = Vec::new();
        for mark in &marks {
            let (Mark::Attributes(ino) | Mark::Content(ino) | Mark::Entry(ino, _)) = mark;
            let node = from.member(*ino).filter(|node| new.contains_key(node));
            let Some(node) = node.filter(|node| is_here(from, *node)) else {
                continue;
            };
            looked.insert(node, *ino);
            if matches!(mark, Mark::Content(_)) && old.contains_key(&node) {
                writes.push((node, *ino));
            }
        }
        for (node, ino) in &looked {
            if new.contains_key(node) {
                let of = new.get_mut(node).unwrap();
                attributes(from, *ino, of);
                if of.what == Some(What::File) && !old.contains_key(node) {
                    writes.push((*node, *ino));
                }
            }
        }
        new.retain(|id, node| *id == NodeId::ROOT || !node.names.is_empty());
        names(&old, &new, &mut changes.list);
        writes.sort_unstable();
        writes.dedup();
        for (node, ino) in writes {
            if let Some(of) = new.get_mut(&node) {
                let names = old.get(&node).map(|was| was.names.iter().map(at).collect());
                let written = (node, names.unwrap_or_default());
                self.content((from, ino), written, of, &mut changes);
            }
        }
        for (id, node) in &new {
            let was = old.get(id).cloned().unwrap_or_default();
            attribute_changes(*id, &was, node, &mut changes.list);
        }
        self.nodes = new;
        Sent {
            changes,
            confirmed: taken.iter().map(|m| m.number).collect(),
        }
    }

    /// What was sent is known to the others: marks and nodes that are gone go.
    pub(crate) fn confirm(&self, from: &Site, sent: &Sent, applied: u8) {
        let gone = from.v().share_nodes(from.share).unwrap();
        let gone = gone
            .into_iter()
            .filter(|n| n.standing == keyfold_fs::share::Standing::Gone)
            .filter(|n| !self.nodes.contains_key(&n.node));
        let kept = Kept {
            share: Some([applied].into()),
            nodes: gone.map(|n| (n.node, None)).collect(),
            confirmed: sent.confirmed.clone(),
        };
        from.v().keep_of_share(from.share, &kept).unwrap();
    }

    /// Where the others have the blocks of a file.
    pub(crate) fn spare(&self, node: NodeId) -> Spare {
        let known = &self.nodes[&node].blocks;
        let ids: BTreeSet<BlobId> = known.values().map(|known| known.blob).collect();
        let blob = |id| Blob {
            id,
            key: BlobKey::from_bytes([5; 32]),
            size: 0,
            state: 0,
        };
        let block = |(block, known): (&u64, &Known)| SpareBlock {
            block: *block,
            blob: known.blob,
            slot: known.slot,
            tag: known.tag,
        };
        Spare {
            node,
            blobs: ids.into_iter().map(blob).collect(),
            blocks: known.iter().map(block).collect(),
        }
    }

    fn content(
        &mut self,
        (from, ino): (&Site, Ino),
        (id, names): (NodeId, Vec<At>),
        node: &mut Node,
        changes: &mut Changes,
    ) {
        let view = from.v().view_content(ino).unwrap();
        for key in view.keys() {
            if node.keys.insert(key.id()) {
                let key = key.clone();
                changes.list.push(Change::AddKey { node: id, key });
            }
        }
        let mut number = [0; 32];
        self.blobs += 1;
        number[..8].copy_from_slice(&self.blobs.to_le_bytes());
        let mut blob = (BlobId(number), Vec::new());
        let mut leaves: BTreeMap<u32, LeafChange> = BTreeMap::new();
        let mut present = BTreeSet::new();
        for leaf in view.leaves() {
            let mut tags = [None; 64];
            for block in &leaf.blocks {
                let at = u64::from(leaf.index) * 64 + u64::from(block.position);
                present.insert(at);
                let known = node.blocks.get(&at).copied();
                if let Lies::Remote(in_blob, slot) = block.lies {
                    let known = known.expect("it came from there");
                    assert_eq!((known.blob, known.slot), (in_blob, slot));
                    tags[usize::from(block.position)] = Some(known.tag);
                    continue;
                }
                let (sealed, key) = block.sealed.unwrap();
                tags[usize::from(block.position)] = Some(sealed.tag);
                if known.is_some_and(|known| known.tag == sealed.tag) {
                    continue;
                }
                let mut ciphertext = Box::new([0; 4096]);
                view.read(leaf.index, block.position, &mut ciphertext)
                    .unwrap();
                let change = self.sent_block(&mut blob, (sealed, key), ciphertext);
                node.blocks.insert(at, change.1);
                let change = BlockChange {
                    position: block.position,
                    ..change.0
                };
                leaf_of(&mut leaves, at).blocks.push(change);
            }
            if let Some(hash) = leaf.hash {
                assert_eq!(hash, leaf_hash(u64::from(leaf.index), &tags));
            }
        }
        let holes: Vec<u64> = node.blocks.keys().copied().collect();
        for at in holes.into_iter().filter(|at| !present.contains(at)) {
            node.blocks.remove(&at);
            leaf_of(&mut leaves, at).holes |= 1 << (at % 64);
        }
        node.size = view.size();
        if !blob.1.is_empty() {
            changes.blobs.push(Blob {
                id: blob.0,
                key: BlobKey::from_bytes([5; 32]),
                size: blob.1.len() as u64 * 4096,
                state: 0,
            });
            self.store.blobs.lock().insert(blob.0, blob.1);
        }
        changes.list.push(Change::Write(Written {
            node: id,
            names,
            size: view.size(),
            mtime: view.mtime(),
            leaves: leaves.into_values().collect(),
        }));
    }

    fn sent_block(
        &self,
        (id, blocks): &mut (BlobId, Vec<Fetched>),
        (sealed, key): (Sealed, KeyId),
        ciphertext: Box<[u8; 4096]>,
    ) -> (BlockChange, Known) {
        let slot = blocks.len() as u32;
        blocks.push(Fetched {
            sealed,
            key,
            ciphertext,
        });
        let change = BlockChange {
            position: 0,
            blob: *id,
            slot,
            sealed: self.tell_tags.then_some((sealed, key)),
        };
        let known = Known {
            blob: *id,
            slot,
            tag: sealed.tag,
        };
        (change, known)
    }
}

impl Sent {
    /// Applies what was sent.
    pub(crate) fn apply(&self, to: &Site, applied: u8) -> Applied {
        let mut changes = self.changes.clone();
        changes.kept.share = Some([applied].into());
        to.v().apply_to_share(to.share, &changes).unwrap()
    }

    #[track_caller]
    pub(crate) fn apply_now(&self, to: &Site, applied: u8) {
        let result = self.apply(to, applied);
        assert!(matches!(result, Applied::Done(_)), "{result:?}");
    }
}

fn look_at_entry(
    from: &Site,
    (dir, name): (Ino, &[u8]),
    new: &mut BTreeMap<NodeId, Node>,
    looked: &mut BTreeMap<NodeId, Ino>,
) {
    let Some(parent) = from.member(dir).filter(|node| is_here(from, *node)) else {
        // The directory is gone: whatever it had was removed or moved before.
        if let Some(parent) = from.member(dir) {
            let at = (parent, name.to_vec());
            lose(new, &at);
        }
        return;
    };
    let at = (parent, name.to_vec());
    lose(new, &at);
    let Some(found) = from.v().view_entry(dir, name).unwrap() else {
        return;
    };
    if !matches!(
        found.kind,
        FileKind::Regular | FileKind::Directory | FileKind::Symlink
    ) {
        return;
    }
    new.entry(found.node).or_default().names.insert(at);
    looked.insert(found.node, found.ino);
}

fn lose(nodes: &mut BTreeMap<NodeId, Node>, at: &Name) {
    for node in nodes.values_mut() {
        node.names.remove(at);
    }
}

fn is_here(site: &Site, node: NodeId) -> bool {
    let info = site.v().share_node(site.share, node).unwrap();
    info.is_some_and(|info| info.standing == keyfold_fs::share::Standing::Here)
}

fn leaf_of(leaves: &mut BTreeMap<u32, LeafChange>, block: u64) -> &mut LeafChange {
    let index = (block / 64) as u32;
    leaves.entry(index).or_insert_with(|| LeafChange {
        index,
        blocks: Vec::new(),
        holes: 0,
    })
}

/// Reads what a node is, beside its content.
fn attributes(from: &Site, ino: Ino, node: &mut Node) {
    let view = from.v().view_node(ino).unwrap();
    node.what = Some(match view.kind {
        FileKind::Directory => What::Directory,
        FileKind::Symlink => What::Symlink(view.target.unwrap()),
        _ => What::File,
    });
    node.perm = view.perm & 0o777;
    node.mtime = view.mtime;
    let user = |(name, _): &(Vec<u8>, Vec<u8>)| name.starts_with(b"user.");
    node.xattrs = view.xattrs.into_iter().filter(user).collect();
}

fn attribute_changes(id: NodeId, was: &Node, is: &Node, list: &mut Vec<Change>) {
    if (was.perm, was.mtime) != (is.perm, is.mtime) || is.what == Some(What::Directory) {
        list.push(Change::SetAttributes {
            node: id,
            perm: (id != NodeId::ROOT).then_some(is.perm),
            mtime: Some(is.mtime),
        });
    }
    let names: BTreeSet<_> = was.xattrs.keys().chain(is.xattrs.keys()).collect();
    for name in names {
        if was.xattrs.get(name) != is.xattrs.get(name) {
            list.push(Change::SetXattr {
                node: id,
                name: name.clone(),
                value: is.xattrs.get(name).cloned(),
            });
        }
    }
}

fn at((parent, name): &Name) -> At {
    At {
        parent: *parent,
        name: name.clone(),
    }
}

fn aside(node: NodeId) -> At {
    At {
        parent: NodeId::ROOT,
        name: format!(".aside-{:?}", node.0).into_bytes(),
    }
}

/// What makes the old names the new ones: whatever moves is put aside first.
fn names(old: &BTreeMap<NodeId, Node>, new: &BTreeMap<NodeId, Node>, list: &mut Vec<Change>) {
    let none = BTreeSet::new();
    let names_in = |tree: &BTreeMap<NodeId, Node>, id| {
        tree.get(&id)
            .map_or(none.clone(), |n: &Node| n.names.clone())
    };
    let mut moving = BTreeSet::new();
    for (id, node) in new {
        if *id == NodeId::ROOT || names_in(old, *id) == node.names {
            continue;
        }
        moving.insert(*id);
        match old.get(id).and_then(|was| was.names.first()) {
            None => list.push(Change::Make {
                at: aside(*id),
                node: *id,
                what: node.what.clone().unwrap(),
                perm: node.perm,
                mtime: node.mtime,
            }),
            Some(name) => list.push(Change::Rename {
                from: at(name),
                to: aside(*id),
            }),
        }
    }
    // Of what moves all other names go; what is gone goes from the leaves up.
    for id in &moving {
        for name in names_in(old, *id).iter().skip(1) {
            list.push(Change::Remove { at: at(name) });
        }
    }
    let depth = |id: &NodeId| {
        let mut at = *id;
        let mut depth = 0;
        while let Some((parent, _)) = old.get(&at).and_then(|n| n.names.first()) {
            (at, depth) = (*parent, depth + 1);
        }
        depth
    };
    let gone = old.keys().filter(|id| !new.contains_key(id));
    let mut gone: Vec<_> = gone.map(|id| (depth(id), *id)).collect();
    gone.sort_unstable_by(|a, b| b.cmp(a));
    for (_, id) in gone {
        for name in names_in(old, id) {
            list.push(Change::Remove { at: at(&name) });
        }
    }
    for id in moving {
        let names = &new[&id].names;
        for (n, name) in names.iter().enumerate() {
            list.push(if n == 0 {
                Change::Rename {
                    from: aside(id),
                    to: at(name),
                }
            } else {
                Change::Link {
                    at: at(name),
                    node: id,
                }
            });
        }
    }
}
