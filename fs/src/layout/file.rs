//! Rows of a regular file beside its inode: its content half, its keys, its blocks in the
//! database.

use keyfold_crypto::KeyId;

use super::bytes::{Reader, Writer};
use super::{BLOCK_SIZE, BadLayout, BlockIndex, MapId};
use crate::vfs::{Ino, Timestamp};

/// The content half of a regular file; a file without one is empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ContentRow {
    /// Size in bytes.
    pub size: u64,
    /// Last change of the content.
    pub mtime: Timestamp,
    /// When the content half last changed.
    pub ctime: Timestamp,
    /// The block map.
    pub map: MapId,
    /// Blocks that are not holes.
    pub blocks: u64,
}

impl ContentRow {
    /// Its bytes: `size(8) mtime(12) ctime(12) map(8) blocks(8)`.
    pub fn encode(&self) -> Box<[u8]> {
        let mut w = Writer::default();
        w.u64(self.size);
        w.time(self.mtime);
        w.time(self.ctime);
        w.u64(self.map.0);
        w.u64(self.blocks);
        w.done()
    }

    /// Reads its bytes.
    ///
    /// # Errors
    /// [`BadLayout`] for anything `encode` does not produce.
    pub fn decode(bytes: &[u8]) -> Result<Self, BadLayout> {
        let mut r = Reader(bytes);
        let row = Self {
            size: r.u64()?,
            mtime: r.time()?,
            ctime: r.time()?,
            map: MapId(r.u64()?),
            blocks: r.u64()?,
        };
        r.end()?;
        if row.size > crate::vfs::FILE_MAX || row.map.0 >> 37 != 0 {
            return Err(BadLayout);
        }
        Ok(row)
    }
}

/// One of a file's keys: `key id(16) secret(32)`.
pub struct FileKeyRow;

impl FileKeyRow {
    /// The bytes of `key`.
    pub fn encode(key: &keyfold_crypto::FileKey) -> Box<[u8]> {
        let mut w = Writer::default();
        w.bytes(&key.id().0);
        w.bytes(key.secret());
        w.done()
    }

    /// Reads a key.
    ///
    /// # Errors
    /// [`BadLayout`] for anything but 48 bytes.
    pub fn decode(bytes: &[u8]) -> Result<keyfold_crypto::FileKey, BadLayout> {
        let mut r = Reader(bytes);
        let key = keyfold_crypto::FileKey::from_parts(KeyId(r.array()?), r.array()?);
        r.end()?;
        Ok(key)
    }
}

/// A block kept in the database: `inode(8) block(8)`, then its ciphertext.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockRow {
    /// The inode it belongs to.
    pub ino: Ino,
    /// Its position there.
    pub block: BlockIndex,
    /// 4096 bytes.
    pub ciphertext: Box<[u8]>,
}

impl BlockRow {
    /// Its bytes.
    pub fn encode(ino: Ino, block: BlockIndex, ciphertext: &[u8]) -> Box<[u8]> {
        let mut w = Writer::default();
        w.u64(ino.0);
        w.u64(block.0);
        w.bytes(ciphertext);
        w.done()
    }

    /// Reads its bytes.
    ///
    /// # Errors
    /// [`BadLayout`] for anything `encode` does not produce.
    pub fn decode(bytes: &[u8]) -> Result<Self, BadLayout> {
        let mut r = Reader(bytes);
        let (ino, block) = (Ino(r.u64()?), BlockIndex(r.u64()?));
        let ciphertext: Box<[u8]> = r.rest().into();
        if ciphertext.len() != BLOCK_SIZE {
            return Err(BadLayout);
        }
        Ok(Self {
            ino,
            block,
            ciphertext,
        })
    }
}
