//! The same content of a file in other packs: so that packs of which little is needed can go.

use keyfold_crypto::MAX_LEAVES;

use super::PackRef;
use crate::cbor::{Decoded, Encoded, Reader, Writer, require};
use crate::ids::NodeId;
use crate::limits;

/// A leaf of which some blocks lie elsewhere now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MovedLeaf {
    /// Its place in the file.
    pub index: u64,
    /// The blocks that lie elsewhere, at least one.
    pub moved: u64,
    /// Which of the operation's packs has them.
    pub pack: u32,
    /// The slot of the first.
    pub slot: u32,
}

impl Encoded for MovedLeaf {
    const LIMIT: usize = 40;

    fn write(&self, w: &mut Writer) {
        w.array(4);
        w.uint(self.index);
        w.bytes(&self.moved.to_le_bytes());
        w.uint(u64::from(self.pack));
        w.uint(u64::from(self.slot));
    }

    fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        r.array(4)?;
        let leaf = Self {
            index: r.uint_up_to(MAX_LEAVES - 1)?,
            moved: u64::from_le_bytes(r.fixed()?),
            pack: r.uint_up_to(limits::WRITE_PACKS as u64 - 1)? as u32,
            slot: r.uint_up_to(limits::PACK_BLOCKS as u64 - 1)? as u32,
        };
        let last = leaf.slot as usize + leaf.moved.count_ones() as usize;
        require(leaf.moved != 0 && last <= limits::PACK_BLOCKS)?;
        Ok(leaf)
    }
}

/// Blocks of a file that lie elsewhere now, as they are: version, size, stamp and hashes stay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MoveBlocks {
    /// Which file.
    pub node: NodeId,
    /// The packs that have them.
    pub packs: Vec<PackRef>,
    /// Leaves of which some do, ascending.
    pub leaves: Vec<MovedLeaf>,
}

impl MoveBlocks {
    pub(super) const ITEMS: usize = 3;

    pub(super) fn write(&self, w: &mut Writer) {
        self.node.write(w);
        w.list(&self.packs);
        w.list(&self.leaves);
    }

    pub(super) fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        let moved = Self {
            node: NodeId::read(r)?,
            packs: r.list(limits::WRITE_PACKS)?,
            leaves: r.list(limits::CHANGED_LEAVES)?,
        };
        let ascend = |pair: &[MovedLeaf]| pair[0].index < pair[1].index;
        require(!moved.leaves.is_empty() && moved.leaves.windows(2).all(ascend))?;
        let packs = moved.packs.len();
        let named = |leaf: &MovedLeaf| (leaf.pack as usize) < packs;
        require(moved.leaves.iter().all(named))?;
        Ok(moved)
    }
}
