//! Sealing and opening of 4 KiB blocks: AES-256-XTS, then HMAC-SHA-256 over the ciphertext.
//!
//! The tag covers ciphertext(4096) || tweak(16) || trailer, where the trailer is label(8) ||
//! suite(u32 LE) || file id(16) || block index(u64 LE) || key id(16). All widths are fixed, so the
//! encoding is injective. Where a block lies is not covered: blocks are moved and shared as they
//! are.

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::mac::HmacKey;
use crate::random::fill_random;
use crate::sha256x16;
use crate::xts::Xts;
use crate::{CryptoError, FileId, FileKey, KeyId, RandomError, Tag, Tweak, schedule};

/// Bytes in a block, on disk and in memory.
pub const BLOCK_SIZE: usize = 4096;

/// What follows the ciphertext under the tag.
pub(crate) const TAIL: usize = 16 + 8 + 4 + 16 + 8 + 16;

/// Blocks worked on before the next: what stays in the nearest cache and fills the wide hash.
const BATCH: usize = 16;

/// How blocks are sealed. There is one suite; a vault that names another needs a newer build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Suite {
    /// AES-256-XTS with HMAC-SHA-256 over the ciphertext.
    XtsHmac,
}

impl Suite {
    /// The name in the superblock.
    pub fn name(self) -> &'static str {
        match self {
            Self::XtsHmac => "AES-256-XTS+HMAC-SHA-256",
        }
    }

    /// Fails with [`CryptoError::UnknownVersion`].
    pub fn from_name(name: &str) -> Result<Self, CryptoError> {
        if name == Self::XtsHmac.name() {
            Ok(Self::XtsHmac)
        } else {
            Err(CryptoError::UnknownVersion)
        }
    }

    /// The number under every block tag.
    fn number(self) -> u32 {
        match self {
            Self::XtsHmac => 1,
        }
    }
}

/// What has to be kept beside a block's ciphertext. Nothing in it is secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sealed {
    /// Fresh for every write.
    pub tweak: Tweak,
    /// Over the ciphertext and everything it is bound to.
    pub tag: Tag,
}

impl Default for Sealed {
    /// All zero: a place to seal into.
    fn default() -> Self {
        Self {
            tweak: Tweak([0; 16]),
            tag: Tag([0; 32]),
        }
    }
}

/// A file key expanded for sealing and opening; shared between threads.
pub struct BlockCipher {
    key: KeyId,
    xts: Xts,
    mac: HmacKey,
    /// For the reference path only, which shares no code with `mac`.
    mac_secret: Zeroizing<[u8; 32]>,
}

impl BlockCipher {
    pub(crate) fn new(key: &FileKey) -> Self {
        let mac_secret = schedule::file_mac(key);
        Self {
            key: key.id(),
            xts: Xts::new(&schedule::file_xts(key)),
            mac: HmacKey::new(mac_secret.as_slice()),
            mac_secret,
        }
    }

    /// Id of the file key this was made from.
    pub fn key_id(&self) -> KeyId {
        self.key
    }

    /// Seals whole blocks in place, each under a fresh random tweak. `data` holds one block for
    /// every index, and `out` takes what must be kept for each. Lengths that do not belong
    /// together are refused. On an error `data` is still the plaintext and `out` is worthless.
    pub fn seal_run(
        &self,
        file: &FileId,
        indexes: &[u64],
        data: &mut [u8],
        out: &mut [Sealed],
    ) -> Result<(), RandomError> {
        let (blocks, rest) = data.as_chunks_mut::<BLOCK_SIZE>();
        let fits = rest.is_empty() && blocks.len() == indexes.len() && out.len() == indexes.len();
        debug_assert!(fits, "data, indexes and out hold the same number of blocks");
        if !fits {
            return Err(RandomError);
        }
        fresh_tweaks(out)?;
        self.seal_with_tweaks(file, indexes, blocks, out);
        Ok(())
    }

    /// Seals under the tweaks already in `out`. All have one length.
    fn seal_with_tweaks(
        &self,
        file: &FileId,
        indexes: &[u64],
        blocks: &mut [[u8; BLOCK_SIZE]],
        out: &mut [Sealed],
    ) {
        let batches = blocks
            .chunks_mut(BATCH)
            .zip(indexes.chunks(BATCH))
            .zip(out.chunks_mut(BATCH));
        for ((blocks, indexes), out) in batches {
            let mut batch = Batch::default();
            for (index, sealed) in indexes.iter().zip(&*out) {
                batch.push(*sealed, self.tail(file, *index, &sealed.tweak));
            }
            self.xts.encrypt(batch.tweaks(), blocks);
            let tags = self.tags(blocks, &batch);
            for (sealed, tag) in out.iter_mut().zip(tags) {
                sealed.tag = Tag(tag);
            }
        }
    }

    /// Opens whole blocks in place: verifies every tag, and only then decrypts. `data` holds one
    /// block for every item. On any mismatch nothing is decrypted, `data` is zeroed and the error
    /// is [`CryptoError::Tampered`]; [`CryptoError::Malformed`] when the lengths do not belong
    /// together.
    pub fn open_run(
        &self,
        file: &FileId,
        items: &[(u64, Sealed)],
        data: &mut [u8],
    ) -> Result<(), CryptoError> {
        let (blocks, rest) = data.as_chunks_mut::<BLOCK_SIZE>();
        let fits = rest.is_empty() && blocks.len() == items.len();
        debug_assert!(fits, "data and items hold the same number of blocks");
        if !fits {
            data.fill(0);
            return Err(CryptoError::Malformed);
        }
        if !self.verify(file, items, blocks) {
            data.fill(0);
            return Err(CryptoError::Tampered);
        }
        for (blocks, items) in blocks.chunks_mut(BATCH).zip(items.chunks(BATCH)) {
            let mut tweaks = [[0; 16]; BATCH];
            for (tweak, (_, sealed)) in tweaks.iter_mut().zip(items) {
                *tweak = sealed.tweak.0;
            }
            self.xts.decrypt(&tweaks[..items.len()], blocks);
        }
        Ok(())
    }

    /// Whether every tag fits its block.
    fn verify(&self, file: &FileId, items: &[(u64, Sealed)], blocks: &[[u8; BLOCK_SIZE]]) -> bool {
        blocks
            .chunks(BATCH)
            .zip(items.chunks(BATCH))
            .all(|(blocks, items)| {
                let mut batch = Batch::default();
                for (index, sealed) in items {
                    batch.push(*sealed, self.tail(file, *index, &sealed.tweak));
                }
                let tags = self.tags(blocks, &batch);
                // One comparison for all, in constant time: the tags' differences are collected.
                let differences = items.iter().zip(&tags).map(|((_, sealed), tag)| {
                    let words = sealed.tag.0.as_chunks().0.iter().zip(tag.as_chunks().0);
                    words.fold(0, |sum, (a, b)| {
                        sum | (u64::from_ne_bytes(*a) ^ u64::from_ne_bytes(*b))
                    })
                });
                differences.fold(0, |sum, one| sum | one).ct_eq(&0).into()
            })
    }

    /// Opens one block through the `xts-mode` and `hmac` crates alone: another way to the data,
    /// for export and check. Same results as [`Self::open_run`], slower.
    pub fn open_block_reference(
        &self,
        file: &FileId,
        index: u64,
        sealed: &Sealed,
        block: &mut [u8; BLOCK_SIZE],
    ) -> Result<(), CryptoError> {
        let verified = Hmac::<Sha256>::new_from_slice(self.mac_secret.as_slice())
            .map(|mac| {
                mac.chain_update(block.as_slice()).chain_update(self.tail(
                    file,
                    index,
                    &sealed.tweak,
                ))
            })
            .is_ok_and(|mac| mac.verify_slice(&sealed.tag.0).is_ok());
        if !verified {
            block.fill(0);
            return Err(CryptoError::Tampered);
        }
        self.xts
            .reference()
            .decrypt_sector(block, sealed.tweak.0.into());
        Ok(())
    }

    /// Tags of at most [`BATCH`] blocks of ciphertext.
    fn tags(&self, blocks: &[[u8; BLOCK_SIZE]], batch: &Batch) -> [[u8; 32]; BATCH] {
        if let Some(tags) = sha256x16::block_tags(&self.mac, blocks, batch.tails()) {
            return tags;
        }
        let mut tags = [[0; 32]; BATCH];
        for ((tag, block), tail) in tags.iter_mut().zip(blocks).zip(batch.tails()) {
            *tag = self.mac.mac(&[block, tail]);
        }
        tags
    }

    fn tail(&self, file: &FileId, index: u64, tweak: &Tweak) -> [u8; TAIL] {
        let mut tail = [0; TAIL];
        let mut rest = tail.as_mut_slice();
        for field in [
            tweak.0.as_slice(),
            &schedule::BLOCK_TRAILER,
            &Suite::XtsHmac.number().to_le_bytes(),
            &file.0,
            &index.to_le_bytes(),
            &self.key.0,
        ] {
            let (place, after) = rest.split_at_mut(field.len());
            place.copy_from_slice(field);
            rest = after;
        }
        tail
    }
}

impl fmt::Debug for BlockCipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockCipher")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

/// What up to [`BATCH`] blocks are worked on with.
struct Batch {
    count: usize,
    tweaks: [[u8; 16]; BATCH],
    tails: [[u8; TAIL]; BATCH],
}

impl Default for Batch {
    fn default() -> Self {
        Self {
            count: 0,
            tweaks: [[0; 16]; BATCH],
            tails: [[0; TAIL]; BATCH],
        }
    }
}

impl Batch {
    fn push(&mut self, sealed: Sealed, tail: [u8; TAIL]) {
        self.tweaks[self.count] = sealed.tweak.0;
        self.tails[self.count] = tail;
        self.count += 1;
    }

    fn tweaks(&self) -> &[[u8; 16]] {
        &self.tweaks[..self.count]
    }

    fn tails(&self) -> &[[u8; TAIL]] {
        &self.tails[..self.count]
    }
}

/// Puts a random tweak into every item.
fn fresh_tweaks(out: &mut [Sealed]) -> Result<(), RandomError> {
    for some in out.chunks_mut(64) {
        let mut bytes = [0; 64 * 16];
        fill_random(&mut bytes[..some.len() * 16])?;
        for (sealed, tweak) in some.iter_mut().zip(bytes.as_chunks().0) {
            sealed.tweak = Tweak(*tweak);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
