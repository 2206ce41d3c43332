//! Packs: blobs of file data. Sealed descriptors first, then the blocks as they lie on disk.
//!
//! ```text
//! pack       = "kfp1" || count (u32 LE) || sealed descriptors (81 + 64 x count) || 4096 x count
//! descriptor = tweak(16) || tag(32) || key id(16)
//! ```
//!
//! The descriptors are sealed under a random key of the pack, which the operation that names the
//! pack has; so a pack can go from one share to another as it is. File and place of a block are
//! under its tag, and in the operation.

use std::ops::Range;

use keyfold_crypto::{
    BLOCK_SIZE, Context, CryptoError, KeyId, Label, RandomError, SealKey, Sealed, Tag, Tweak,
    fill_random, open, seal, sha256,
};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::cbor::{DecodeError, Decoded, require};
use crate::ids::BlobId;
use crate::limits;

const MAGIC: [u8; 4] = *b"kfp1";
const FRONT: usize = 8;
const DESCRIPTOR: usize = 64;
const SEALING: usize = 81;

/// Key of one pack's descriptors.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct PackKey([u8; 32]);

impl PackKey {
    /// A fresh random key.
    pub fn generate() -> Result<Self, RandomError> {
        let mut key = Self([0; 32]);
        fill_random(&mut key.0)?;
        Ok(key)
    }

    /// The key as it was stored. Wipe the original.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes, for sealed bodies only.
    pub fn secret(&self) -> &[u8; 32] {
        &self.0
    }

    fn seal_key(&self) -> SealKey {
        SealKey::from_bytes(self.0)
    }
}

impl std::fmt::Debug for PackKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PackKey(..)")
    }
}

/// What there is to know of a block beside its ciphertext.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Descriptor {
    /// Tweak and tag.
    pub sealed: Sealed,
    /// The file key that seals it.
    pub key: KeyId,
}

/// Id of a blob: SHA-256 of its bytes.
pub fn blob_id(bytes: &[u8]) -> BlobId {
    BlobId(sha256(&[bytes]))
}

/// The number of blocks of a pack, from its first eight bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PackFront(u32);

impl PackFront {
    /// Bytes that are needed to begin with.
    pub const BYTES: usize = FRONT;

    /// Reads the first bytes of a pack.
    pub fn decode(front: [u8; FRONT]) -> Decoded<Self> {
        let [m0, m1, m2, m3, count @ ..] = front;
        require([m0, m1, m2, m3] == MAGIC)?;
        let count = u32::from_le_bytes(count);
        require(count > 0 && count as usize <= limits::PACK_BLOCKS)?;
        Ok(Self(count))
    }

    /// The first bytes.
    pub fn encode(self) -> [u8; FRONT] {
        let mut out = [0; FRONT];
        out[..4].copy_from_slice(&MAGIC);
        out[4..].copy_from_slice(&self.0.to_le_bytes());
        out
    }

    /// Blocks in the pack.
    pub fn blocks(self) -> u32 {
        self.0
    }

    /// Where the sealed descriptors are.
    pub fn descriptors(self) -> Range<usize> {
        FRONT..FRONT + SEALING + DESCRIPTOR * self.0 as usize
    }

    /// Where the block at `slot` is, if there is one.
    pub fn block(self, slot: u32) -> Option<Range<usize>> {
        let start = self.descriptors().end + BLOCK_SIZE * slot as usize;
        (slot < self.0).then_some(start..start + BLOCK_SIZE)
    }

    /// Bytes of the whole pack.
    pub fn length(self) -> usize {
        self.descriptors().end + BLOCK_SIZE * self.0 as usize
    }

    fn context(self) -> Context {
        Context::new(Label::PACK).u64(u64::from(self.0))
    }

    /// Opens the sealed descriptors. Fails with [`CryptoError::Tampered`].
    pub fn open(self, key: &PackKey, sealed: &[u8]) -> Result<Vec<Descriptor>, CryptoError> {
        let plain = open(&key.seal_key(), &self.context(), sealed)?;
        let (descriptors, rest) = plain.as_chunks::<DESCRIPTOR>();
        if !rest.is_empty() || descriptors.len() != self.0 as usize {
            return Err(CryptoError::Malformed);
        }
        Ok(descriptors.iter().map(Descriptor::decode).collect())
    }
}

impl Descriptor {
    fn decode(bytes: &[u8; DESCRIPTOR]) -> Self {
        let mut it = Self {
            sealed: Sealed {
                tweak: Tweak([0; 16]),
                tag: Tag([0; 32]),
            },
            key: KeyId([0; 16]),
        };
        it.sealed.tweak.0.copy_from_slice(&bytes[..16]);
        it.sealed.tag.0.copy_from_slice(&bytes[16..48]);
        it.key.0.copy_from_slice(&bytes[48..]);
        it
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.sealed.tweak.0);
        out.extend_from_slice(&self.sealed.tag.0);
        out.extend_from_slice(&self.key.0);
    }
}

/// Why a pack could not be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PackError {
    /// Blocks and descriptors do not belong together, or there are none or too many.
    Shape,
    /// No random bytes.
    Random,
}

/// Makes a pack of ciphertext blocks and what there is to know of each.
pub fn pack(key: &PackKey, blocks: &[(Descriptor, &[u8])]) -> Result<Vec<u8>, PackError> {
    let fits = (1..=limits::PACK_BLOCKS).contains(&blocks.len())
        && blocks.iter().all(|(_, data)| data.len() == BLOCK_SIZE);
    if !fits {
        return Err(PackError::Shape);
    }
    let front = PackFront(blocks.len() as u32);
    let mut descriptors = Vec::with_capacity(blocks.len() * DESCRIPTOR);
    for (descriptor, _) in blocks {
        descriptor.write(&mut descriptors);
    }
    let sealed =
        seal(&key.seal_key(), &front.context(), &descriptors).map_err(|_| PackError::Random)?;
    let mut out = Vec::with_capacity(front.length());
    out.extend_from_slice(&front.encode());
    out.extend_from_slice(&sealed);
    for (_, data) in blocks {
        out.extend_from_slice(data);
    }
    Ok(out)
}

/// Descriptors and ciphertext blocks of a whole pack.
pub fn unpack<'a>(
    key: &PackKey,
    bytes: &'a [u8],
) -> Decoded<Vec<(Descriptor, &'a [u8; BLOCK_SIZE])>> {
    let front = bytes.first_chunk().ok_or(DecodeError::Malformed)?;
    let front = PackFront::decode(*front)?;
    require(bytes.len() == front.length())?;
    let descriptors = front
        .open(key, &bytes[front.descriptors()])
        .map_err(|_| DecodeError::Malformed)?;
    let (blocks, _) = bytes[front.descriptors().end..].as_chunks::<BLOCK_SIZE>();
    Ok(descriptors.into_iter().zip(blocks).collect())
}
