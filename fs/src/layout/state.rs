//! The volume's own rows: its counters, and single numbers.

use super::BadLayout;
use super::bytes::{Reader, Writer};

/// The volume's counters, written with every commit:
/// `commit next_ino next_map next_block next_segment inodes blocks` (8 each), `state hash(32)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateRow {
    /// Number of this commit.
    pub commit: u64,
    /// The next new inode.
    pub next_ino: u64,
    /// The next new block map.
    pub next_map: u64,
    /// The next new block in the database.
    pub next_block: u64,
    /// The next new segment.
    pub next_segment: u64,
    /// Inodes in use.
    pub inodes: u64,
    /// Blocks that are not holes, of all files.
    pub blocks: u64,
    /// Keyed multiset hash over all other rows.
    pub hash: [u8; 32],
}

impl StateRow {
    /// Its bytes.
    pub fn encode(&self) -> Box<[u8]> {
        let mut w = Writer::default();
        for v in [
            self.commit,
            self.next_ino,
            self.next_map,
            self.next_block,
            self.next_segment,
            self.inodes,
            self.blocks,
        ] {
            w.u64(v);
        }
        w.bytes(&self.hash);
        w.done()
    }

    /// Reads its bytes.
    ///
    /// # Errors
    /// [`BadLayout`] for anything `encode` does not produce.
    pub fn decode(bytes: &[u8]) -> Result<Self, BadLayout> {
        let mut r = Reader(bytes);
        let row = Self {
            commit: r.u64()?,
            next_ino: r.u64()?,
            next_map: r.u64()?,
            next_block: r.u64()?,
            next_segment: r.u64()?,
            inodes: r.u64()?,
            blocks: r.u64()?,
            hash: r.array()?,
        };
        r.end()?;
        Ok(row)
    }
}

/// A count or position as a row of its own.
pub(crate) fn encode_u64(v: u64) -> Box<[u8]> {
    v.to_le_bytes().into()
}

/// Reads what [`encode_u64`] wrote.
pub(crate) fn decode_u64(bytes: &[u8]) -> Result<u64, BadLayout> {
    bytes
        .try_into()
        .map(u64::from_le_bytes)
        .map_err(|_| BadLayout)
}
