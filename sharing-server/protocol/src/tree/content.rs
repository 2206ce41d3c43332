//! How the content of a file changes.

use std::collections::{BTreeMap, BTreeSet};

use keyfold_crypto::{BLOCK_SIZE, KeyId, LEAF_BLOCKS, LeafHash, content_root};
use zeroize::Zeroizing;

use super::At;
use super::node::{FileContent, FileKeyRow, Piece, TreeLeaf};
use crate::ids::{BlobId, ContentRoot, Epoch, OperationId};
use crate::limits;
use crate::log::Void;
use crate::operation::{ChangedLeaf, MoveBlocks, PackRef, WriteFile};

/// Pieces of a leaf, at most: one for each block.
pub(super) const PIECES: usize = LEAF_BLOCKS;

impl FileContent {
    pub(super) fn introduce(
        &mut self,
        key: KeyId,
        secret: &Zeroizing<[u8; 32]>,
        epoch: Epoch,
    ) -> Result<(), Void> {
        if self.keys.contains_key(&key) {
            return Err(Void::KeyKnown);
        }
        if self.keys.len() >= limits::FILE_KEYS {
            return Err(Void::TooMany);
        }
        let secret = secret.clone();
        self.keys.insert(key, FileKeyRow { secret, epoch });
        Ok(())
    }

    pub(super) fn write(
        &mut self,
        write: &WriteFile,
        version: OperationId,
        at: &At<'_>,
        needed: &dyn Fn(BlobId) -> bool,
    ) -> Result<(), Void> {
        if write.base != self.version {
            return Err(Void::WrongBase);
        }
        for key in &write.keys {
            match self.keys.get(key) {
                None => return Err(Void::UnknownKey),
                Some(row) if row.epoch != at.epoch => return Err(Void::KeyOfEarlierEpoch),
                Some(_) => {}
            }
        }
        self.check_packs(&write.packs, at, needed)?;
        for leaf in &write.leaves {
            self.change_leaf(leaf, write)?;
        }
        let end = write.size.div_ceil((LEAF_BLOCKS * BLOCK_SIZE) as u64);
        self.leaves.split_off(&end);
        self.keep_needed_packs(&write.packs);
        let leaves: Vec<(u64, LeafHash)> = self
            .leaves
            .iter()
            .map(|(i, leaf)| (*i, leaf.hash))
            .collect();
        let root = content_root(&write.node.file(), write.size, &leaves).map(ContentRoot);
        if root != Some(write.root) {
            return Err(Void::WrongContentRoot);
        }
        self.version = version;
        self.size = write.size;
        self.root = write.root;
        Ok(())
    }

    /// Has blocks lie elsewhere. Nothing else changes.
    pub(super) fn move_blocks(
        &mut self,
        moved: &MoveBlocks,
        at: &At<'_>,
        needed: &dyn Fn(BlobId) -> bool,
    ) -> Result<(), Void> {
        self.check_packs(&moved.packs, at, needed)?;
        for change in &moved.leaves {
            let pack = moved.packs.get(change.pack as usize);
            let piece = Piece {
                blob: pack.ok_or(Void::UnknownBlob)?.blob,
                slot: change.slot,
                named: change.moved,
                live: change.moved,
            };
            let leaf = self.leaves.get_mut(&change.index);
            let pieces = &mut leaf.ok_or(Void::NoSuchBlock)?.pieces;
            let there = pieces.iter().fold(0, |all, piece| all | piece.live);
            if change.moved & !there != 0 {
                return Err(Void::NoSuchBlock);
            }
            overlay(pieces, change.moved);
            pieces.push(piece);
        }
        self.keep_needed_packs(&moved.packs);
        Ok(())
    }

    /// The packs of an operation are ones that the share has, under the keys that the file knows.
    fn check_packs(
        &self,
        packs: &[PackRef],
        at: &At<'_>,
        needed: &dyn Fn(BlobId) -> bool,
    ) -> Result<(), Void> {
        for pack in packs {
            let known = at.added.binary_search(&pack.blob).is_ok() || needed(pack.blob);
            let same_key = self
                .packs
                .get(&pack.blob)
                .is_none_or(|key| *key == pack.key);
            if !known || !same_key {
                return Err(Void::UnknownBlob);
            }
        }
        Ok(())
    }

    fn change_leaf(&mut self, change: &ChangedLeaf, write: &WriteFile) -> Result<(), Void> {
        let gone = change.written | change.holes;
        let mut pieces: Vec<Piece> = self
            .leaves
            .remove(&change.index)
            .map_or_else(Vec::new, |leaf| leaf.pieces);
        overlay(&mut pieces, gone);
        if change.written != 0 {
            let pack = write
                .packs
                .get(change.pack as usize)
                .ok_or(Void::UnknownBlob)?;
            pieces.push(Piece {
                blob: pack.blob,
                slot: change.slot,
                named: change.written,
                live: change.written,
            });
        }
        debug_assert!(pieces.len() <= PIECES, "live blocks of pieces are disjoint");
        // The hash is zeros exactly when no block is left.
        if pieces.is_empty() != (change.hash == LeafHash::EMPTY) {
            return Err(Void::WrongContentRoot);
        }
        if !pieces.is_empty() {
            let hash = change.hash;
            self.leaves.insert(change.index, TreeLeaf { hash, pieces });
        }
        Ok(())
    }

    fn keep_needed_packs(&mut self, new: &[PackRef]) {
        let pieces = self.leaves.values().flat_map(|leaf| &leaf.pieces);
        let named: BTreeSet<BlobId> = pieces.map(|piece| piece.blob).collect();
        let mut packs = BTreeMap::new();
        let all = new.iter().map(|pack| (&pack.blob, &pack.key));
        for (blob, key) in self.packs.iter().chain(all) {
            if named.contains(blob) {
                packs.insert(*blob, key.clone());
            }
        }
        self.packs = packs;
    }
}

/// These blocks of a leaf are elsewhere from now on, or nowhere.
fn overlay(pieces: &mut Vec<Piece>, gone: u64) {
    for piece in pieces.iter_mut() {
        piece.live &= !gone;
    }
    pieces.retain(|piece| piece.live != 0);
}
