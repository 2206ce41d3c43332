//! Rows of a segment: what of it is live, and whose blocks it holds.

use super::bytes::{Reader, Writer};
use super::{BadLayout, BlockIndex, SEGMENT_SLOTS};
use crate::vfs::Ino;

/// What is known of a segment: `committed slots(4)`, then one bit a slot for what is live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentRow {
    /// Slots that committed maps have ever named: the file is at least this long.
    pub committed: u32,
    bits: Vec<u64>,
}

impl Default for SegmentRow {
    fn default() -> Self {
        Self {
            committed: 0,
            bits: vec![0; SEGMENT_SLOTS as usize / 64],
        }
    }
}

impl SegmentRow {
    /// Whether a committed map names the slot.
    pub fn is_live(&self, slot: u32) -> bool {
        self.bits[slot as usize / 64] >> (slot % 64) & 1 == 1
    }

    /// Marks a slot as named by a map.
    pub fn set_live(&mut self, slot: u32) {
        self.bits[slot as usize / 64] |= 1 << (slot % 64);
        self.committed = self.committed.max(slot + 1);
    }

    /// Marks a slot as named by no map.
    pub fn set_dead(&mut self, slot: u32) {
        self.bits[slot as usize / 64] &= !(1 << (slot % 64));
    }

    /// Number of live slots.
    pub fn live(&self) -> u32 {
        self.bits.iter().map(|w| w.count_ones()).sum()
    }

    /// The dead run that `slot` lies in, within the committed length: first slot and length.
    pub fn dead_run(&self, slot: u32) -> (u32, u32) {
        let mut first = slot;
        while first > 0 && !self.is_live(first - 1) {
            first -= 1;
        }
        let mut end = slot;
        while end < self.committed && !self.is_live(end) {
            end += 1;
        }
        (first, end - first)
    }

    /// Marks as live what is live in `other` too.
    pub fn add(&mut self, other: &Self) {
        self.committed = self.committed.max(other.committed);
        for (word, more) in self.bits.iter_mut().zip(&other.bits) {
            *word |= more;
        }
    }

    /// Number of slots that are live here and not in `other`.
    pub fn live_beyond(&self, other: &Self) -> u32 {
        let words = self.bits.iter().zip(&other.bits);
        words.map(|(word, less)| (word & !less).count_ones()).sum()
    }

    /// Its bytes, without the words after the last committed slot.
    pub fn encode(&self) -> Box<[u8]> {
        let mut w = Writer::default();
        w.u32(self.committed);
        for word in &self.bits[..(self.committed as usize).div_ceil(64)] {
            w.u64(*word);
        }
        w.done()
    }

    /// Reads its bytes.
    ///
    /// # Errors
    /// [`BadLayout`] for anything `encode` does not produce.
    pub fn decode(bytes: &[u8]) -> Result<Self, BadLayout> {
        let mut r = Reader(bytes);
        let committed = r.u32()?;
        if committed > SEGMENT_SLOTS {
            return Err(BadLayout);
        }
        let mut row = Self {
            committed,
            ..Self::default()
        };
        for word in &mut row.bits[..(committed as usize).div_ceil(64)] {
            *word = r.u64()?;
        }
        r.end()?;
        let tail = committed % 64;
        if tail != 0 && row.bits[committed as usize / 64] >> tail != 0 {
            return Err(BadLayout);
        }
        Ok(row)
    }
}

/// Whose blocks a stretch of slots holds: consecutive blocks of one inode.
/// `inode(8) first block(8) count(4)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunOwner {
    /// The inode.
    pub ino: Ino,
    /// The block in the first slot.
    pub first: BlockIndex,
    /// How many slots.
    pub count: u32,
}

impl RunOwner {
    /// The bytes of the owners of consecutive runs.
    pub fn encode_all(runs: &[Self]) -> Box<[u8]> {
        let mut w = Writer::default();
        for run in runs {
            w.u64(run.ino.0);
            w.u64(run.first.0);
            w.u32(run.count);
        }
        w.done()
    }

    /// Reads the owners of consecutive runs.
    ///
    /// # Errors
    /// [`BadLayout`] for anything `encode_all` does not produce.
    pub fn decode_all(bytes: &[u8]) -> Result<Vec<Self>, BadLayout> {
        let mut r = Reader(bytes);
        let mut runs = Vec::with_capacity(bytes.len() / 20);
        while !r.0.is_empty() {
            let run = Self {
                ino: Ino(r.u64()?),
                first: BlockIndex(r.u64()?),
                count: r.u32()?,
            };
            if run.count > SEGMENT_SLOTS {
                return Err(BadLayout);
            }
            runs.push(run);
        }
        Ok(runs)
    }
}
