//! A map leaf: where blocks lie and what seals them.

use keyfold_crypto::{Sealed, Tag, Tweak};

use super::bytes::Reader;
use super::{BadLayout, ENTRY_BYTES, KeyIndex, LEAF_BLOCKS, RemoteBlock, SegmentId, Slot};

/// Where a block lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Place {
    /// Nowhere: it reads as zeros.
    Hole,
    /// In a segment.
    Segment(Slot),
    /// In the `block` table, under this id.
    Database(u64),
    /// In a blob of a sharing server. Tweak, tag and key of such a block may not be known here: then
    /// they are zeros.
    Remote(RemoteBlock),
}

impl Place {
    const TAG_SHIFT: u32 = 56;

    fn to_u64(self) -> u64 {
        match self {
            Self::Hole => 0,
            Self::Segment(s) => {
                (1 << Self::TAG_SHIFT) | (u64::from(s.segment.0) << 14) | u64::from(s.index)
            }
            Self::Database(id) => (2 << Self::TAG_SHIFT) | id,
            Self::Remote(block) => (3 << Self::TAG_SHIFT) | block.to_bits(),
        }
    }

    fn from_u64(v: u64) -> Result<Self, BadLayout> {
        let payload = v & ((1 << Self::TAG_SHIFT) - 1);
        match v >> Self::TAG_SHIFT {
            0 if payload == 0 => Ok(Self::Hole),
            1 if payload >> 46 == 0 => Ok(Self::Segment(Slot {
                segment: SegmentId((payload >> 14) as u32),
                index: (payload & 0x3fff) as u32,
            })),
            2 => Ok(Self::Database(payload)),
            3 => Ok(Self::Remote(RemoteBlock::from_bits(payload))),
            _ => Err(BadLayout),
        }
    }
}

/// What a map leaf holds for one block: `place(8) tweak(16) tag(32) key index(4)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockEntry {
    /// Where the ciphertext lies.
    pub place: Place,
    /// Tweak and tag of the ciphertext.
    pub sealed: Sealed,
    /// Which of the file's keys sealed it.
    pub key: KeyIndex,
}

impl BlockEntry {
    /// The entry of a block that was never written.
    pub const HOLE: Self = Self {
        place: Place::Hole,
        sealed: Sealed {
            tweak: Tweak([0; 16]),
            tag: Tag([0; 32]),
        },
        key: KeyIndex(0),
    };

    fn encode_into(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.place.to_u64().to_le_bytes());
        out.extend_from_slice(&self.sealed.tweak.0);
        out.extend_from_slice(&self.sealed.tag.0);
        out.extend_from_slice(&self.key.0.to_le_bytes());
    }

    fn decode(bytes: &[u8]) -> Result<Self, BadLayout> {
        let mut r = Reader(bytes);
        let entry = Self {
            place: Place::from_u64(r.u64()?)?,
            sealed: Sealed {
                tweak: Tweak(r.array()?),
                tag: Tag(r.array()?),
            },
            key: KeyIndex(r.u32()?),
        };
        r.end()?;
        if entry.place == Place::Hole && entry != Self::HOLE {
            return Err(BadLayout);
        }
        Ok(entry)
    }
}

/// A map leaf: up to 64 entries, ending at its last used one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Leaf(Vec<BlockEntry>);

impl Leaf {
    /// The entry at `position`.
    pub fn get(&self, position: u8) -> BlockEntry {
        self.0
            .get(usize::from(position))
            .copied()
            .unwrap_or(BlockEntry::HOLE)
    }

    /// Replaces the entry at `position`.
    pub fn set(&mut self, position: u8, entry: BlockEntry) {
        let at = usize::from(position);
        if at >= self.0.len() {
            if entry == BlockEntry::HOLE {
                return;
            }
            self.0.resize(at + 1, BlockEntry::HOLE);
        }
        self.0[at] = entry;
        while self.0.last() == Some(&BlockEntry::HOLE) {
            self.0.pop();
        }
    }

    /// Used entries with their positions.
    pub fn used(&self) -> impl Iterator<Item = (u8, &BlockEntry)> {
        self.0
            .iter()
            .enumerate()
            .map(|(i, e)| (i as u8, e))
            .filter(|(_, e)| **e != BlockEntry::HOLE)
    }

    /// No entry is used.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Its bytes: the entries one after the other.
    pub fn encode(&self) -> Box<[u8]> {
        let mut out = Vec::with_capacity(self.0.len() * ENTRY_BYTES);
        for e in &self.0 {
            e.encode_into(&mut out);
        }
        out.into_boxed_slice()
    }

    /// Reads its bytes.
    ///
    /// # Errors
    /// [`BadLayout`] for anything `encode` does not produce.
    pub fn decode(bytes: &[u8]) -> Result<Self, BadLayout> {
        if !bytes.len().is_multiple_of(ENTRY_BYTES)
            || bytes.len() > LEAF_BLOCKS as usize * ENTRY_BYTES
        {
            return Err(BadLayout);
        }
        let entries = bytes
            .chunks_exact(ENTRY_BYTES)
            .map(BlockEntry::decode)
            .collect::<Result<Vec<_>, _>>()?;
        if entries.last() == Some(&BlockEntry::HOLE) {
            return Err(BadLayout);
        }
        Ok(Self(entries))
    }
}
