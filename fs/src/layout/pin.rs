//! What is kept outside a vault of what was last seen of it.

use super::BadLayout;
use super::bytes::{Reader, Writer};

/// What was last seen of a vault: `commit(8) state(32) revision(8) superblock(32)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PinRow {
    /// Number of the last commit; 0 while none is known.
    pub commit: u64,
    /// That commit and the state hash under a key of their own, never the hash itself.
    pub state: [u8; 32],
    /// Revision of the superblock.
    pub revision: u64,
    /// Authentication code of the superblock.
    pub superblock: [u8; 32],
}

impl PinRow {
    /// Its bytes.
    pub fn encode(&self) -> Box<[u8]> {
        let mut w = Writer::default();
        w.u64(self.commit);
        w.bytes(&self.state);
        w.u64(self.revision);
        w.bytes(&self.superblock);
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
            state: r.array()?,
            revision: r.u64()?,
            superblock: r.array()?,
        };
        r.end()?;
        Ok(row)
    }
}
