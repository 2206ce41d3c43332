//! The hash over a file's content: a tree over the tags of its blocks.
//!
//! ```text
//! leaf(i)  = SHA-256(0x00 || i (u64 LE) || 64 x (0x00 hole, or 0x01 || tag(32)))
//! node     = SHA-256(0x01 || left(32) || right(32))
//! root     = SHA-256(0x02 || file id(16) || size (u64 LE) || top(32))
//! ```
//!
//! A leaf of holes only, and a node above two of those, is 32 zero bytes and costs nothing, so that
//! a sparse file costs what it holds. The tree has the least height at which it has room for the
//! leaves of `size`; a file of no bytes has the top of zeros. Where blocks lie never enters it.

use crate::hashing::sha256;
use crate::{FileId, Tag};

/// Blocks of a leaf.
pub const LEAF_BLOCKS: usize = 64;
/// Leaves of a file, at most: 16 TiB.
pub const MAX_LEAVES: u64 = 1 << 26;
const LEAF_BYTES: u64 = (LEAF_BLOCKS * crate::BLOCK_SIZE) as u64;

/// Hash of one leaf or node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct LeafHash(pub [u8; 32]);

impl LeafHash {
    /// Of a leaf without any block.
    pub const EMPTY: Self = Self([0; 32]);
}

/// Hash of the leaf at `index`. Blocks beyond `tags` are holes.
pub fn leaf_hash(index: u64, tags: &[Option<Tag>]) -> LeafHash {
    debug_assert!(tags.len() <= LEAF_BLOCKS, "a leaf has 64 blocks");
    if tags.iter().all(Option::is_none) {
        return LeafHash::EMPTY;
    }
    let mut bytes = Vec::with_capacity(9 + LEAF_BLOCKS * 33);
    bytes.push(0);
    bytes.extend_from_slice(&index.to_le_bytes());
    for at in 0..LEAF_BLOCKS {
        match tags.get(at).copied().flatten() {
            Some(tag) => {
                bytes.push(1);
                bytes.extend_from_slice(&tag.0);
            }
            None => bytes.push(0),
        }
    }
    LeafHash(sha256(&[&bytes]))
}

/// The root over a file of `size` bytes whose leaves with any block are `leaves`, ascending and each
/// once. `None` when they are not, or lie beyond the size, or the size is beyond 16 TiB.
pub fn content_root(file: &FileId, size: u64, leaves: &[(u64, LeafHash)]) -> Option<[u8; 32]> {
    let count = size.div_ceil(LEAF_BYTES);
    let ascending = leaves.windows(2).all(|pair| pair[0].0 < pair[1].0);
    let within = leaves.last().is_none_or(|(last, _)| *last < count);
    if count > MAX_LEAVES || !ascending || !within {
        return None;
    }
    let mut level = leaves.to_vec();
    let height = count.max(1).next_power_of_two().ilog2();
    for _ in 0..height {
        level = level
            .chunk_by(|left, right| left.0 / 2 == right.0 / 2)
            .map(|pair| (pair[0].0 / 2, above(pair)))
            .collect();
    }
    let top = level.first().map_or(LeafHash::EMPTY, |(_, hash)| *hash);
    Some(sha256(&[&[2], &file.0, &size.to_le_bytes(), &top.0]))
}

/// The node above one or two neighbours, of which the first may be the right one.
fn above(pair: &[(u64, LeafHash)]) -> LeafHash {
    let mut halves = [LeafHash::EMPTY; 2];
    for (index, hash) in pair {
        halves[(index % 2) as usize] = *hash;
    }
    if halves == [LeafHash::EMPTY; 2] {
        return LeafHash::EMPTY;
    }
    LeafHash(sha256(&[&[1], &halves[0].0, &halves[1].0]))
}

#[cfg(test)]
mod tests;
