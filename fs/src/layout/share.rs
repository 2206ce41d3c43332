//! Rows of shares: what is shared, which node of a share an inode is, what waits to be sent, and
//! where data lies that is not here.

use zeroize::Zeroizing;

use super::BadLayout;
use super::bytes::{Reader, Writer};
use crate::vfs::{Ino, Name};

/// A share's number in this volume, from 1 on. In keys of the tables `share_node` and `blob` zero
/// stands for the way back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShareNumber(pub u64);

impl ShareNumber {
    /// In keys: not a share, but the way back from a local number.
    pub(crate) const BACK: Self = Self(0);
    /// From here on: shares that this account was not given. Of such a one there is the root alone,
    /// which nobody can open.
    pub(crate) const FIRST_LOCKED: Self = Self(1 << 32);

    /// Whether nobody can open the share's root.
    pub fn is_locked(self) -> bool {
        self >= Self::FIRST_LOCKED
    }
}

/// A share, the same for all its members: hash of its first record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShareId(pub [u8; 32]);

/// A node of a share, the same for all its members. Of a regular file it is the file id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub [u8; 16]);

impl NodeId {
    /// The share's root directory.
    pub const ROOT: Self = Self([0; 16]);
}

/// A blob of a sharing server: hash of its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobId(pub [u8; 32]);

/// A share of this volume: `share id(32) root inode(8)`, then bytes of whoever syncs it. In a share of a
/// single file the highest bit of the inode is set, and `length(4) name` follow it; in one that lies
/// within another the next bit, and `share(8) node(16)` follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareRow {
    /// The share.
    pub id: ShareId,
    /// Its root directory, or the one that its single file lies in; none once the share has ended and
    /// only its blobs are still named.
    pub root: Option<Ino>,
    /// The name of its single file there.
    pub name: Option<Box<[u8]>>,
    /// Where it lies within another share; never that of a single file.
    pub within: Option<Within>,
    /// Of whoever syncs it.
    pub data: Box<[u8]>,
}

/// Where the root of a share is in another share, its parent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Within {
    /// The parent.
    pub share: ShareNumber,
    /// The node there that stands for the root.
    pub point: NodeId,
}

impl ShareRow {
    /// Set in the number of an inode: the share is that of a single file.
    const SINGLE: u64 = 1 << 63;
    /// Likewise: the share lies within another.
    const WITHIN: u64 = 1 << 62;

    /// Its bytes.
    pub fn encode(&self) -> Box<[u8]> {
        let mut w = Writer::default();
        w.bytes(&self.id.0);
        let root = self.root.map_or(0, |ino| ino.0);
        match (&self.name, &self.within) {
            (Some(name), _) => {
                w.u64(root | Self::SINGLE);
                w.u32(name.len() as u32);
                w.bytes(name);
            }
            (None, Some(within)) => {
                w.u64(root | Self::WITHIN);
                w.u64(within.share.0);
                w.bytes(&within.point.0);
            }
            (None, None) => w.u64(root),
        }
        w.bytes(&self.data);
        w.done()
    }

    /// Reads its bytes.
    ///
    /// # Errors
    /// [`BadLayout`] for anything `encode` does not produce.
    pub fn decode(bytes: &[u8]) -> Result<Self, BadLayout> {
        let mut r = Reader(bytes);
        let (id, root) = (ShareId(r.array()?), r.u64()?);
        let (single, inner) = (root & Self::SINGLE != 0, root & Self::WITHIN != 0);
        let root = root & !(Self::SINGLE | Self::WITHIN);
        let root = Some(Ino(root)).filter(|ino| ino.0 != 0);
        let name = if single { Some(name(&mut r)?) } else { None };
        let within = if inner { Some(within(&mut r)?) } else { None };
        if (single && inner) || ((single || inner) && root.is_none()) {
            return Err(BadLayout);
        }
        Ok(Self {
            id,
            root,
            name,
            within,
            data: r.rest().into(),
        })
    }
}

/// A name and its length before it.
fn name(r: &mut Reader<'_>) -> Result<Box<[u8]>, BadLayout> {
    let length = r.u32()? as usize;
    let (name, rest) = r.0.split_at_checked(length).ok_or(BadLayout)?;
    r.0 = rest;
    Name::new(name).map_err(|_| BadLayout)?;
    Ok(name.into())
}

fn within(r: &mut Reader<'_>) -> Result<Within, BadLayout> {
    Ok(Within {
        share: ShareNumber(r.u64()?),
        point: NodeId(r.array()?),
    })
}

/// Whether a node's inode is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Standing {
    /// It has a name.
    Here,
    /// It was removed, and whoever syncs the share has not said that the others know.
    Gone,
}

/// A node of a share: `inode(8) standing(4: 0 here, 1 gone)`, then bytes of whoever syncs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeRow {
    /// The inode that it is, or was; of a share point the root of the other share; zero once that left
    /// the share.
    pub ino: Ino,
    /// Whether it still is.
    pub standing: Standing,
    /// Of whoever syncs it.
    pub data: Box<[u8]>,
}

impl NodeRow {
    /// Its bytes.
    pub fn encode(&self) -> Box<[u8]> {
        let mut w = Writer::default();
        w.u64(self.ino.0);
        w.u32(match self.standing {
            Standing::Here => 0,
            Standing::Gone => 1,
        });
        w.bytes(&self.data);
        w.done()
    }

    /// Reads its bytes.
    ///
    /// # Errors
    /// [`BadLayout`] for anything `encode` does not produce.
    pub fn decode(bytes: &[u8]) -> Result<Self, BadLayout> {
        let mut r = Reader(bytes);
        Ok(Self {
            ino: Ino(r.u64()?),
            standing: match r.u32()? {
                0 => Standing::Here,
                1 => Standing::Gone,
                _ => return Err(BadLayout),
            },
            data: r.rest().into(),
        })
    }
}

/// Which node of which share an inode is: `share(8) node(16)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MemberRow {
    /// The share.
    pub share: ShareNumber,
    /// The node.
    pub node: NodeId,
}

impl MemberRow {
    /// Its bytes.
    pub fn encode(&self) -> Box<[u8]> {
        let mut w = Writer::default();
        w.u64(self.share.0);
        w.bytes(&self.node.0);
        w.done()
    }

    /// Reads its bytes.
    ///
    /// # Errors
    /// [`BadLayout`] for anything `encode` does not produce.
    pub fn decode(bytes: &[u8]) -> Result<Self, BadLayout> {
        let mut r = Reader(bytes);
        let row = Self {
            share: ShareNumber(r.u64()?),
            node: NodeId(r.array()?),
        };
        r.end()?;
        Ok(row)
    }
}

/// Something in a share that has changed and was not sent: `kind(4) inode(8)`, then a name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mark {
    /// Mode, time stamps or extended attributes of an inode.
    Attributes(Ino),
    /// Content of a regular file.
    Content(Ino),
    /// What a name in a directory means.
    Entry(Ino, Box<[u8]>),
}

impl Mark {
    /// Its bytes.
    pub fn encode(&self) -> Box<[u8]> {
        let (kind, ino, name): (u32, Ino, &[u8]) = match self {
            Self::Attributes(ino) => (1, *ino, &[]),
            Self::Content(ino) => (2, *ino, &[]),
            Self::Entry(ino, name) => (3, *ino, name),
        };
        let mut w = Writer::default();
        w.u32(kind);
        w.u64(ino.0);
        w.bytes(name);
        w.done()
    }

    /// Reads its bytes.
    ///
    /// # Errors
    /// [`BadLayout`] for anything `encode` does not produce.
    pub fn decode(bytes: &[u8]) -> Result<Self, BadLayout> {
        let mut r = Reader(bytes);
        let (kind, ino, name) = (r.u32()?, Ino(r.u64()?), r.rest());
        match (kind, name.is_empty()) {
            (1, true) => Ok(Self::Attributes(ino)),
            (2, true) => Ok(Self::Content(ino)),
            (3, false) => Ok(Self::Entry(ino, name.into())),
            _ => Err(BadLayout),
        }
    }
}

/// The key that opens a blob's descriptors.
#[derive(Clone, PartialEq, Eq)]
pub struct BlobKey(Zeroizing<[u8; 32]>);

impl BlobKey {
    /// The key as it was stored. Wipe the original.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes, for storing in the encrypted database and for opening the blob only.
    pub fn secret(&self) -> &[u8; 32] {
        &self.0
    }
}

impl std::fmt::Debug for BlobKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BlobKey(..)")
    }
}

/// A blob that blocks lie in: `local number(8) state(4) size(8) key(32)`. The state is that of
/// whoever syncs the share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobRow {
    /// What places of blocks call it, below 2^46.
    pub number: u64,
    /// Of whoever syncs the share.
    pub state: u32,
    /// Its length in bytes.
    pub size: u64,
    /// What opens its descriptors.
    pub key: BlobKey,
}

impl BlobRow {
    /// Its bytes.
    pub fn encode(&self) -> Box<[u8]> {
        let mut w = Writer::default();
        w.u64(self.number);
        w.u32(self.state);
        w.u64(self.size);
        w.bytes(self.key.secret());
        w.done()
    }

    /// Reads its bytes.
    ///
    /// # Errors
    /// [`BadLayout`] for anything `encode` does not produce.
    pub fn decode(bytes: &[u8]) -> Result<Self, BadLayout> {
        let mut r = Reader(bytes);
        let row = Self {
            number: r.u64()?,
            state: r.u32()?,
            size: r.u64()?,
            key: BlobKey::from_bytes(r.array()?),
        };
        r.end()?;
        if row.number > RemoteBlock::LAST_BLOB {
            return Err(BadLayout);
        }
        Ok(row)
    }
}

/// Which blob of which share has a local number: `share(8) blob id(32)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BlobNameRow {
    /// The share.
    pub share: ShareNumber,
    /// The blob.
    pub blob: BlobId,
}

impl BlobNameRow {
    /// Its bytes.
    pub fn encode(&self) -> Box<[u8]> {
        let mut w = Writer::default();
        w.u64(self.share.0);
        w.bytes(&self.blob.0);
        w.done()
    }

    /// Reads its bytes.
    ///
    /// # Errors
    /// [`BadLayout`] for anything `encode` does not produce.
    pub fn decode(bytes: &[u8]) -> Result<Self, BadLayout> {
        let mut r = Reader(bytes);
        let row = Self {
            share: ShareNumber(r.u64()?),
            blob: BlobId(r.array()?),
        };
        r.end()?;
        Ok(row)
    }
}

/// A block in a blob: what a remote place holds, `blob * 2^10 + slot` in 56 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RemoteBlock {
    /// The blob's local number.
    pub blob: u64,
    /// The block's number in the blob, below 1024.
    pub slot: u32,
}

impl RemoteBlock {
    const SLOT_BITS: u32 = 10;
    /// The highest local number of a blob.
    pub const LAST_BLOB: u64 = (1 << 46) - 1;
    /// Blocks that can be told apart in a blob.
    pub const SLOTS: u32 = 1 << Self::SLOT_BITS;

    /// The 56 bits of a place. Blob and slot are within their limits.
    pub fn to_bits(self) -> u64 {
        (self.blob << Self::SLOT_BITS) | u64::from(self.slot)
    }

    /// Reads the 56 bits of a place.
    pub fn from_bits(bits: u64) -> Self {
        Self {
            blob: bits >> Self::SLOT_BITS,
            slot: (bits & u64::from(Self::SLOTS - 1)) as u32,
        }
    }
}
