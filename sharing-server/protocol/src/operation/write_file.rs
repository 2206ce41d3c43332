//! Another content of a file: which leaves changed, and in which packs their blocks are.

use keyfold_crypto::{KeyId, LeafHash, MAX_LEAVES};

use super::Mtime;
use crate::cbor::{Decoded, Encoded, Reader, Writer, require};
use crate::ids::{BlobId, ContentRoot, NodeId, OperationId};
use crate::limits;
use crate::pack::PackKey;

/// A pack, and what opens its descriptors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackRef {
    /// The pack.
    pub blob: BlobId,
    /// Its key.
    pub key: PackKey,
}

impl Encoded for PackRef {
    const LIMIT: usize = 80;

    fn write(&self, w: &mut Writer) {
        w.array(2);
        self.blob.write(w);
        w.bytes(self.key.secret());
    }

    fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        r.array(2)?;
        Ok(Self {
            blob: BlobId::read(r)?,
            key: PackKey::from_bytes(r.fixed()?),
        })
    }
}

/// A leaf of which some blocks are others now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChangedLeaf {
    /// Its place in the file.
    pub index: u64,
    /// Its hash after the change; zeros when no block is left.
    pub hash: LeafHash,
    /// Blocks that have another content.
    pub written: u64,
    /// Blocks that are holes now.
    pub holes: u64,
    /// Which of the operation's packs has what was written; 0 when nothing was.
    pub pack: u32,
    /// The slot of the first block written; 0 when nothing was.
    pub slot: u32,
}

impl Encoded for ChangedLeaf {
    const LIMIT: usize = 80;

    fn write(&self, w: &mut Writer) {
        w.array(6);
        w.uint(self.index);
        w.bytes(&self.hash.0);
        w.bytes(&self.written.to_le_bytes());
        w.bytes(&self.holes.to_le_bytes());
        w.uint(u64::from(self.pack));
        w.uint(u64::from(self.slot));
    }

    fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        r.array(6)?;
        let leaf = Self {
            index: r.uint_up_to(MAX_LEAVES - 1)?,
            hash: LeafHash(r.fixed()?),
            written: u64::from_le_bytes(r.fixed()?),
            holes: u64::from_le_bytes(r.fixed()?),
            pack: r.uint_up_to(limits::WRITE_PACKS as u64 - 1)? as u32,
            slot: r.uint_up_to(limits::PACK_BLOCKS as u64 - 1)? as u32,
        };
        let last = leaf.slot as usize + leaf.written.count_ones() as usize;
        require(leaf.written & leaf.holes == 0 && last <= limits::PACK_BLOCKS)?;
        require(leaf.written != 0 || (leaf.pack == 0 && leaf.slot == 0))?;
        Ok(leaf)
    }
}

/// Another content of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteFile {
    /// Which file.
    pub node: NodeId,
    /// The version that it was written over.
    pub base: OperationId,
    /// Bytes of the file.
    pub size: u64,
    /// Root over its content.
    pub root: ContentRoot,
    /// Its stamp.
    pub mtime: Mtime,
    /// The keys that seal what was written, ascending.
    pub keys: Vec<KeyId>,
    /// The packs that have it.
    pub packs: Vec<PackRef>,
    /// Leaves that changed, ascending.
    pub leaves: Vec<ChangedLeaf>,
}

impl WriteFile {
    pub(super) const ITEMS: usize = 8;

    pub(super) fn write(&self, w: &mut Writer) {
        self.node.write(w);
        self.base.write(w);
        w.uint(self.size);
        w.bytes(&self.root.0);
        self.mtime.write(w);
        w.array(self.keys.len());
        for key in &self.keys {
            w.bytes(&key.0);
        }
        w.list(&self.packs);
        w.list(&self.leaves);
    }

    pub(super) fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        let mut write = Self {
            node: NodeId::read(r)?,
            base: OperationId::read(r)?,
            size: r.uint()?,
            root: ContentRoot(r.fixed()?),
            mtime: Mtime::read(r)?,
            keys: Vec::new(),
            packs: Vec::new(),
            leaves: Vec::new(),
        };
        for _ in 0..r.length(limits::FILE_KEYS)? {
            write.keys.push(KeyId(r.fixed()?));
        }
        write.packs = r.list(limits::WRITE_PACKS)?;
        write.leaves = r.list(limits::CHANGED_LEAVES)?;
        require(write.keys.windows(2).all(|pair| pair[0] < pair[1]))?;
        require(
            write
                .leaves
                .windows(2)
                .all(|pair| pair[0].index < pair[1].index),
        )?;
        let packs = write.packs.len();
        let named = |leaf: &ChangedLeaf| leaf.written == 0 || (leaf.pack as usize) < packs;
        require(write.leaves.iter().all(named))?;
        let writes = write.leaves.iter().any(|leaf| leaf.written != 0);
        require(writes != write.keys.is_empty())?;
        Ok(write)
    }
}
