//! A share's tree in memory, and the rules by which content records change it.
//!
//! A record's operations are applied all or none. What is not applicable makes the whole record
//! void: it keeps its place in the log and changes nothing. The tree is a function of the log alone,
//! so every client that applied the same records has the same one, and snapshots can be compared.

mod content;
mod encoding;
mod node;
mod single;
mod staging;

use std::collections::{BTreeMap, BTreeSet};

use keyfold_crypto::{HashLabel, labelled_hash};

use crate::cbor::Encoded;
use crate::ids::{BlobId, Epoch, NodeId, OperationId, Seq, TreeHash};
use crate::limits;
use crate::log::Void;
use crate::names::{EntryName, Message, Title};
use crate::operation::{Operation, Shape};

pub use encoding::encode_node;
pub use node::{FileContent, FileKeyRow, Kind, Node, Piece, TreeLeaf};
use staging::Staging;

/// What a content record is applied with.
#[derive(Debug, Clone, Copy)]
pub struct At<'a> {
    /// The record's place.
    pub seq: Seq,
    /// The epoch in force there.
    pub epoch: Epoch,
    /// Blobs that the record adds.
    pub added: &'a [BlobId],
    /// Blobs that the record drops.
    pub dropped: &'a [BlobId],
}

/// What came of a content record that is not void.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TreeChange {
    /// Nodes that are others now, or gone.
    pub nodes: BTreeSet<NodeId>,
    /// What was said.
    pub messages: Vec<Message>,
    /// Blobs that the record drops although files still need them: an event, and to be revived.
    pub dropped_in_use: Vec<BlobId>,
}

/// A share's tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    description: Option<(Title, Shape)>,
    nodes: BTreeMap<NodeId, Node>,
    /// Files that need each blob.
    needed: BTreeMap<BlobId, u32>,
    /// Ids of operations within the replay window.
    recent: BTreeMap<Seq, Vec<OperationId>>,
    seen: BTreeSet<OperationId>,
}

impl Default for Tree {
    fn default() -> Self {
        Self {
            description: None,
            nodes: BTreeMap::from([(NodeId::ROOT, Node::root())]),
            needed: BTreeMap::new(),
            recent: BTreeMap::new(),
            seen: BTreeSet::new(),
        }
    }
}

impl Tree {
    /// Applies the operations of a content record.
    pub fn apply(&mut self, at: At<'_>, operations: &[Operation]) -> Result<TreeChange, Void> {
        let mut staging = Staging::new(self, at);
        for operation in operations {
            staging.apply(operation)?;
        }
        let staged = staging.finish();
        if self.nodes.len() + staged.nodes.len() > limits::NODES {
            return Err(Void::TooMany);
        }
        Ok(self.install(at, staged))
    }

    fn install(&mut self, at: At<'_>, staged: staging::Staged) -> TreeChange {
        let mut change = TreeChange {
            messages: staged.messages,
            ..TreeChange::default()
        };
        if let Some(description) = staged.description {
            self.description = Some(description);
        }
        for (id, node) in staged.nodes {
            change.nodes.insert(id);
            self.put(id, node);
        }
        self.remember(at.seq, staged.seen);
        let in_use = |blob: &&BlobId| self.needed.contains_key(*blob);
        change.dropped_in_use = at.dropped.iter().filter(in_use).copied().collect();
        change
    }

    fn put(&mut self, id: NodeId, node: Option<Node>) {
        if let Some(new) = &node {
            new.blobs()
                .for_each(|blob| *self.needed.entry(blob).or_default() += 1);
        }
        let old = match node {
            Some(node) => self.nodes.insert(id, node),
            None => self.nodes.remove(&id),
        };
        for blob in old.iter().flat_map(Node::blobs) {
            self.release(blob);
        }
    }

    fn release(&mut self, blob: BlobId) {
        if let Some(count) = self.needed.get_mut(&blob) {
            *count -= 1;
            if *count == 0 {
                self.needed.remove(&blob);
            }
        }
    }

    fn remember(&mut self, seq: Seq, seen: Vec<OperationId>) {
        self.seen.extend(seen.iter().copied());
        if !seen.is_empty() {
            self.recent.insert(seq, seen);
        }
        let oldest = Seq(seq.0.saturating_sub(limits::REPLAY_WINDOW));
        let kept = self.recent.split_off(&oldest);
        for id in std::mem::replace(&mut self.recent, kept).values().flatten() {
            self.seen.remove(id);
        }
    }

    /// This tree, in which some nodes are as another has them, or as missing as there; and of some
    /// files the content and stamp. None where that does not hang together.
    pub fn but_for(
        &self,
        other: &Self,
        whole: &BTreeSet<NodeId>,
        contents: &BTreeSet<NodeId>,
    ) -> Option<Self> {
        let mut tree = self.clone();
        if !whole.is_empty() {
            tree.nodes.retain(|id, _| !whole.contains(id));
            for id in whole {
                let node = other.nodes.get(id).cloned();
                tree.nodes.extend(node.map(|node| (*id, node)));
            }
            for (id, node) in &mut tree.nodes {
                if let Kind::Directory(entries) = &mut node.kind {
                    *entries = self.entries_but_for(other, whole, *id)?;
                }
            }
            tree.needed.clear();
            tree.join().ok()?;
        }
        for id in contents {
            let (Some(old), Some(new)) = (tree.nodes.get(id), other.nodes.get(id)) else {
                continue;
            };
            if let (Kind::File(_), Kind::File(content)) = (&old.kind, &new.kind) {
                let node = Node {
                    kind: Kind::File(content.clone()),
                    mtime: new.mtime,
                    ..old.clone()
                };
                tree.put(*id, Some(node));
            }
        }
        Some(tree)
    }

    fn entries_but_for(
        &self,
        other: &Self,
        whole: &BTreeSet<NodeId>,
        dir: NodeId,
    ) -> Option<BTreeMap<EntryName, NodeId>> {
        let of = |tree: &Self| tree.node(dir).and_then(Node::entries).cloned();
        let mut entries = of(self).unwrap_or_default();
        entries.retain(|_, child| !whole.contains(child));
        for (name, child) in of(other).unwrap_or_default() {
            if whole.contains(&child) && entries.insert(name, child).is_some() {
                return None;
            }
        }
        Some(entries)
    }

    /// What the share is called, and what it is.
    pub fn description(&self) -> Option<&(Title, Shape)> {
        self.description.as_ref()
    }

    /// A node.
    pub fn node(&self, id: NodeId) -> Option<&Node> {
        self.nodes.get(&id)
    }

    /// All nodes, by ascending id.
    pub fn nodes(&self) -> impl Iterator<Item = (NodeId, &Node)> {
        self.nodes.iter().map(|(id, node)| (*id, node))
    }

    /// Whether a file needs a blob.
    pub fn needs(&self, blob: &BlobId) -> bool {
        self.needed.contains_key(blob)
    }

    /// Blobs that files need.
    pub fn needed_blobs(&self) -> impl Iterator<Item = BlobId> {
        self.needed.keys().copied()
    }

    /// Hash of the whole tree.
    pub fn hash(&self) -> TreeHash {
        TreeHash(labelled_hash(HashLabel::TREE, &self.encode()))
    }
}
