//! Packs that arrived at the server and that no record names yet.
//!
//! A pack cannot be made again: its key is random. So whoever begins again after sending broke off looks
//! here, by what a leaf has to be, before he sends its blocks. The server keeps such packs for a week.

use std::collections::{BTreeMap, BTreeSet};

use keyfold_crypto::LeafHash;
use keyfold_protocol::cbor::{Decoded, Encoded, Reader, Writer};
use keyfold_protocol::ids::{BlobId, NodeId};
use keyfold_protocol::limits;
use keyfold_protocol::operation::PackRef;
use keyfold_protocol::pack::PackKey;

/// Leaves that are kept, at most: those of 16 GiB.
const LEAVES: usize = 64 << 10;

/// Blocks of a leaf that lie in a pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ArrivedLeaf {
    pub(super) node: NodeId,
    pub(super) index: u64,
    /// What the leaf is with them.
    pub(super) hash: LeafHash,
    /// Which blocks they are.
    pub(super) written: u64,
    /// The slot of the first.
    pub(super) slot: u32,
}

/// Packs that arrived, and what is in them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Arrived {
    packs: BTreeMap<BlobId, PackKey>,
    leaves: BTreeMap<(NodeId, u64), (BlobId, ArrivedLeaf)>,
}

impl Arrived {
    pub(super) fn is_empty(&self) -> bool {
        self.packs.is_empty()
    }

    /// Notes a pack.
    pub(super) fn add(&mut self, pack: &PackRef, leaves: Vec<ArrivedLeaf>) {
        if self.leaves.len() + leaves.len() > LEAVES {
            *self = Self::default();
        }
        self.packs.insert(pack.blob, pack.key.clone());
        let leaves = leaves.into_iter();
        self.leaves
            .extend(leaves.map(|leaf| ((leaf.node, leaf.index), (pack.blob, leaf))));
    }

    /// Where these blocks of a leaf lie, if they do, and the slot of the first.
    pub(super) fn find(
        &self,
        (node, index): (NodeId, u64),
        (hash, written): (LeafHash, u64),
    ) -> Option<(PackRef, u32)> {
        let (blob, leaf) = self.leaves.get(&(node, index))?;
        let key = self.packs.get(blob)?.clone();
        let same = leaf.hash == hash && leaf.written == written;
        same.then_some((PackRef { blob: *blob, key }, leaf.slot))
    }

    /// The packs.
    pub(super) fn blobs(&self) -> Vec<BlobId> {
        self.packs.keys().copied().collect()
    }

    /// Forgets packs that are not there.
    pub(super) fn forget(&mut self, missing: &[BlobId]) {
        let missing: BTreeSet<&BlobId> = missing.iter().collect();
        self.packs.retain(|blob, _| !missing.contains(blob));
        self.leaves.retain(|_, (blob, _)| !missing.contains(blob));
    }
}

impl Encoded for ArrivedLeaf {
    const LIMIT: usize = 128;

    fn write(&self, w: &mut Writer) {
        w.array(5);
        self.node.write(w);
        w.uint(self.index);
        w.bytes(&self.hash.0);
        w.bytes(&self.written.to_le_bytes());
        w.uint(u64::from(self.slot));
    }

    fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        r.array(5)?;
        Ok(Self {
            node: NodeId::read(r)?,
            index: r.uint()?,
            hash: LeafHash(r.fixed()?),
            written: u64::from_le_bytes(r.fixed()?),
            slot: r.uint_up_to(limits::PACK_BLOCKS as u64 - 1)? as u32,
        })
    }
}

/// A pack with its leaves, as it is kept.
struct Kept(PackRef, Vec<ArrivedLeaf>);

impl Encoded for Kept {
    const LIMIT: usize = 1 << 30;

    fn write(&self, w: &mut Writer) {
        w.array(2);
        self.0.write(w);
        w.list(&self.1);
    }

    fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        r.array(2)?;
        Ok(Self(PackRef::read(r)?, r.list(LEAVES)?))
    }
}

impl Encoded for Arrived {
    const LIMIT: usize = 1 << 30;

    fn write(&self, w: &mut Writer) {
        let mut all: BTreeMap<BlobId, Vec<ArrivedLeaf>> = BTreeMap::new();
        for (blob, leaf) in self.leaves.values() {
            all.entry(*blob).or_default().push(leaf.clone());
        }
        let kept = self.packs.iter().map(|(blob, key)| {
            let (blob, key) = (*blob, key.clone());
            Kept(PackRef { blob, key }, all.remove(&blob).unwrap_or_default())
        });
        let kept: Vec<Kept> = kept.collect();
        w.list(&kept);
    }

    fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        let mut arrived = Self::default();
        for Kept(pack, of_pack) in r.list::<Kept>(LEAVES)? {
            arrived.add(&pack, of_pack);
        }
        Ok(arrived)
    }
}
