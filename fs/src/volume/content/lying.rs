//! Where the blocks of a file lie, leaf by leaf.

use super::{Content, Leaves, Source};
use crate::error::FsResult;
use crate::layout::{BlockEntry, BlockIndex, LEAF_BLOCKS, LeafIndex};

/// Sealed blocks of a leaf.
type OfLeaf = (LeafIndex, Vec<(BlockIndex, BlockEntry)>);

impl Content {
    /// The sealed blocks of the first leaf at or after `from` that may have any data.
    pub(in crate::volume) fn sealed_from(
        &self,
        from: LeafIndex,
        leaves: &impl Leaves,
    ) -> FsResult<Option<OfLeaf>> {
        let Some(leaf) = self.next_leaf(from, leaves)? else {
            return Ok(None);
        };
        let mut sealed = Vec::new();
        for position in 0..LEAF_BLOCKS as u8 {
            let block = leaf.block(position);
            if let Source::Sealed(entry) = self.source(block, leaves)? {
                sealed.push((block, entry));
            }
        }
        Ok(Some((leaf, sealed)))
    }
}
