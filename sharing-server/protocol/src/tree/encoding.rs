//! The canonical bytes of a tree, as snapshots hold them and hashes cover them.
//!
//! ```text
//! tree    = head || node...                                        nodes by ascending id
//! head    = [1, [title, shape] or null, [[seq, [operation id(16)...]]...], number of nodes]
//! node    = [id(16), mode, mtime, [[xattr, value]...], what]
//! what    = [0, version(16), size, root(32), [[key id(16), secret(32), epoch]...],
//!            [[blob(32), pack key(32)]...], [[index, hash(32), [piece...]]...]]
//!         | [1, [[name, node(16)]...]] | [2, target] | [3, share(32)]
//! piece   = [pack, slot, named(8), live(8)]
//! ```
//!
//! Everything in lists ascends: ids, names, keys, packs, leaves; pieces are oldest first.

use std::collections::{BTreeMap, BTreeSet};

use keyfold_crypto::{KeyId, LeafHash, MAX_LEAVES};
use zeroize::Zeroizing;

use super::Tree;
use super::content::PIECES;
use super::node::{FileContent, FileKeyRow, Kind, Node, Piece, TreeLeaf};
use crate::cbor::{DecodeError, Decoded, Encoded, Reader, Writer, require};
use crate::ids::{BlobId, ContentRoot, Epoch, NodeId, OperationId, Seq, ShareId};
use crate::limits;
use crate::names::{EntryName, LinkTarget, Title, XattrName};
use crate::operation::{Mode, Mtime, Shape};
use crate::pack::PackKey;

/// The bytes of one node.
pub fn encode_node(id: NodeId, node: &Node) -> Vec<u8> {
    let mut w = Writer::default();
    write_node(&mut w, id, node);
    w.finish()
}

impl Tree {
    /// What comes before the nodes in the bytes of the tree.
    pub fn encode_head(&self) -> Vec<u8> {
        let mut w = Writer::default();
        self.write_head(&mut w);
        w.finish()
    }

    /// The tree of its bytes, kept apart: those before the nodes, and those of the nodes by ascending
    /// id. Fails as decoding them does.
    pub fn assemble<'a>(head: &[u8], nodes: impl IntoIterator<Item = &'a [u8]>) -> Decoded<Self> {
        let mut bytes = Zeroizing::new(head.to_vec());
        nodes
            .into_iter()
            .for_each(|node| bytes.extend_from_slice(node));
        Self::decode(&bytes)
    }

    fn write_head(&self, w: &mut Writer) {
        w.array(4);
        w.uint(1);
        w.optional(self.description.as_ref(), |w, (title, shape)| {
            w.array(2);
            title.write(w);
            shape.write(w);
        });
        w.array(self.recent.len());
        for (seq, ids) in &self.recent {
            w.array(2);
            seq.write(w);
            w.list(ids);
        }
        w.uint(self.nodes.len() as u64);
    }
}

impl Encoded for Tree {
    const LIMIT: usize = limits::CHUNKS * limits::CHUNK_BYTES;

    fn write(&self, w: &mut Writer) {
        self.write_head(w);
        for (id, node) in &self.nodes {
            write_node(w, *id, node);
        }
    }

    fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        r.array(4)?;
        r.version()?;
        let description = r.optional(|r| {
            r.array(2)?;
            Ok((Title::read(r)?, Shape::read(r)?))
        })?;
        let mut recent = BTreeMap::new();
        for _ in 0..r.length(limits::REPLAY_WINDOW as usize + 1)? {
            r.array(2)?;
            let seq = Seq::read(r)?;
            insert(&mut recent, seq, r.list(limits::OPERATIONS)?)?;
        }
        let count = r.uint_up_to(limits::NODES as u64)?;
        let mut nodes = BTreeMap::new();
        for _ in 0..count {
            let (id, node) = read_node(r)?;
            insert(&mut nodes, id, node)?;
        }
        let seen: BTreeSet<OperationId> = recent.values().flatten().copied().collect();
        require(seen.len() == recent.values().map(Vec::len).sum::<usize>())?;
        let mut tree = Self {
            description,
            nodes,
            needed: BTreeMap::new(),
            recent,
            seen,
        };
        tree.join()?;
        Ok(tree)
    }
}

/// Inserts a key that must be greater than all before.
fn insert<K: Ord, V>(map: &mut BTreeMap<K, V>, key: K, value: V) -> Decoded<()> {
    require(map.last_key_value().is_none_or(|(last, _)| *last < key))?;
    map.insert(key, value);
    Ok(())
}

impl Tree {
    /// Finds out names, parents and needed blobs, and that everything hangs together: each node has
    /// a name, a directory exactly one, and all can be reached from the root.
    pub(super) fn join(&mut self) -> Decoded<()> {
        let root = self
            .nodes
            .get(&NodeId::ROOT)
            .ok_or(DecodeError::Malformed)?;
        require(root.entries().is_some())?;
        let mut names: BTreeMap<NodeId, u32> = BTreeMap::new();
        let mut parents: BTreeMap<NodeId, NodeId> = BTreeMap::new();
        let mut open = vec![NodeId::ROOT];
        while let Some(id) = open.pop() {
            let entries = self.nodes.get(&id).and_then(Node::entries);
            for child in entries.ok_or(DecodeError::Malformed)?.values() {
                let node = self.nodes.get(child).ok_or(DecodeError::Malformed)?;
                let count = names.entry(*child).or_default();
                *count += 1;
                require(*count == 1 || node.content().is_some())?;
                if node.entries().is_some() {
                    require(*child != NodeId::ROOT)?;
                    parents.insert(*child, id);
                    open.push(*child);
                }
            }
        }
        require(names.len() + 1 == self.nodes.len())?;
        for (id, node) in &mut self.nodes {
            node.names = names.get(id).copied().unwrap_or(0);
            node.parent = parents.get(id).copied();
            for blob in node.blobs() {
                *self.needed.entry(blob).or_default() += 1;
            }
        }
        Ok(())
    }
}

fn write_node(w: &mut Writer, id: NodeId, node: &Node) {
    w.array(5);
    id.write(w);
    node.mode.write(w);
    node.mtime.write(w);
    w.array(node.xattrs.len());
    for (name, value) in &node.xattrs {
        w.array(2);
        name.write(w);
        w.bytes(value);
    }
    match &node.kind {
        Kind::File(content) => write_content(w, content),
        Kind::Directory(entries) => {
            w.array(2);
            w.uint(1);
            w.array(entries.len());
            for (name, child) in entries {
                w.array(2);
                name.write(w);
                child.write(w);
            }
        }
        Kind::Symlink(target) => {
            w.array(2);
            w.uint(2);
            target.write(w);
        }
        Kind::SharePoint(share) => {
            w.array(2);
            w.uint(3);
            share.write(w);
        }
    }
}

fn read_node(r: &mut Reader<'_>) -> Decoded<(NodeId, Node)> {
    r.array(5)?;
    let id = NodeId::read(r)?;
    let mode = Mode::read(r)?;
    let mtime = Mtime::read(r)?;
    let mut xattrs = BTreeMap::new();
    for _ in 0..r.length(limits::XATTRS)? {
        r.array(2)?;
        let name = XattrName::read(r)?;
        insert(&mut xattrs, name, r.bytes(limits::XATTR_BYTES)?.to_vec())?;
    }
    let kind = match (r.length(7)?, r.uint()?) {
        (7, 0) => Kind::File(read_content(r, id)?),
        (2, 1) => {
            let mut entries = BTreeMap::new();
            for _ in 0..r.length(limits::NODES)? {
                r.array(2)?;
                let name = EntryName::read(r)?;
                insert(&mut entries, name, NodeId::read(r)?)?;
            }
            Kind::Directory(entries)
        }
        (2, 2) => Kind::Symlink(LinkTarget::read(r)?),
        (2, 3) => Kind::SharePoint(ShareId::read(r)?),
        _ => return Err(DecodeError::Malformed),
    };
    let mut node = Node::new(kind, mode, mtime);
    node.xattrs = xattrs;
    Ok((id, node))
}

fn write_content(w: &mut Writer, content: &FileContent) {
    w.array(7);
    w.uint(0);
    content.version.write(w);
    w.uint(content.size);
    w.bytes(&content.root.0);
    w.array(content.keys.len());
    for (key, row) in &content.keys {
        w.array(3);
        w.bytes(&key.0);
        w.bytes(row.secret.as_slice());
        row.epoch.write(w);
    }
    w.array(content.packs.len());
    for (blob, key) in &content.packs {
        w.array(2);
        blob.write(w);
        w.bytes(key.secret());
    }
    let number: BTreeMap<BlobId, u64> = content.packs.keys().copied().zip(0..).collect();
    w.array(content.leaves.len());
    for (index, leaf) in &content.leaves {
        w.array(3);
        w.uint(*index);
        w.bytes(&leaf.hash.0);
        w.array(leaf.pieces.len());
        for piece in &leaf.pieces {
            w.array(4);
            w.uint(number.get(&piece.blob).copied().unwrap_or_default());
            w.uint(u64::from(piece.slot));
            w.bytes(&piece.named.to_le_bytes());
            w.bytes(&piece.live.to_le_bytes());
        }
    }
}

fn read_content(r: &mut Reader<'_>, id: NodeId) -> Decoded<FileContent> {
    let mut content = FileContent {
        version: OperationId::read(r)?,
        size: r.uint()?,
        root: ContentRoot(r.fixed()?),
        keys: BTreeMap::new(),
        packs: BTreeMap::new(),
        leaves: BTreeMap::new(),
    };
    for _ in 0..r.length(limits::FILE_KEYS)? {
        r.array(3)?;
        let key = KeyId(r.fixed()?);
        let row = FileKeyRow {
            secret: Zeroizing::new(r.fixed()?),
            epoch: Epoch::read(r)?,
        };
        insert(&mut content.keys, key, row)?;
    }
    for _ in 0..r.length(MAX_LEAVES as usize)? {
        r.array(2)?;
        let blob = BlobId::read(r)?;
        insert(&mut content.packs, blob, PackKey::from_bytes(r.fixed()?))?;
    }
    let blobs: Vec<BlobId> = content.packs.keys().copied().collect();
    let mut named = BTreeSet::new();
    for _ in 0..r.length(MAX_LEAVES as usize)? {
        r.array(3)?;
        let index = r.uint_up_to(MAX_LEAVES - 1)?;
        let leaf = read_leaf(r, &blobs)?;
        named.extend(leaf.pieces.iter().map(|piece| piece.blob));
        insert(&mut content.leaves, index, leaf)?;
    }
    let leaves: Vec<(u64, LeafHash)> = content
        .leaves
        .iter()
        .map(|(i, leaf)| (*i, leaf.hash))
        .collect();
    let root = keyfold_crypto::content_root(&id.file(), content.size, &leaves);
    require(root == Some(content.root.0) && named.len() == blobs.len())?;
    Ok(content)
}

fn read_leaf(r: &mut Reader<'_>, blobs: &[BlobId]) -> Decoded<TreeLeaf> {
    let hash = LeafHash(r.fixed()?);
    let mut leaf = TreeLeaf {
        hash,
        pieces: Vec::new(),
    };
    let mut live = 0;
    for _ in 0..r.length(PIECES)? {
        r.array(4)?;
        let pack = r.uint_up_to(MAX_LEAVES)? as usize;
        let piece = Piece {
            blob: *blobs.get(pack).ok_or(DecodeError::Malformed)?,
            slot: r.uint_up_to(limits::PACK_BLOCKS as u64 - 1)? as u32,
            named: u64::from_le_bytes(r.fixed()?),
            live: u64::from_le_bytes(r.fixed()?),
        };
        let last = piece.slot as usize + piece.named.count_ones() as usize;
        let fresh = piece.live != 0 && piece.live & !piece.named == 0 && live & piece.live == 0;
        require(fresh && last <= limits::PACK_BLOCKS)?;
        live |= piece.live;
        leaf.pieces.push(piece);
    }
    require(hash != LeafHash::EMPTY && !leaf.pieces.is_empty())?;
    Ok(leaf)
}
