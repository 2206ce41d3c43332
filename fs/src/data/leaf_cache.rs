//! Decoded map leaves as the database holds them, kept for the files being read.
//!
//! A leaf enters and changes only under the content lock of the inode that owns its map, so a
//! cached leaf is never older than the content it is read with.

use std::sync::Arc;

use quick_cache::sync::Cache;

use crate::error::{FsError, FsResult};
use crate::layout::{Leaf, LeafIndex, MapId};
use crate::meta::{Key, Meta};
use crate::vfs::Ino;

/// Leaves kept; each is up to 4.5 KiB and maps 256 KiB.
const CAPACITY: usize = 6144;

pub(crate) struct LeafCache(Cache<u64, Arc<Leaf>>);

impl LeafCache {
    pub(crate) fn new() -> Self {
        Self(Cache::new(CAPACITY))
    }

    /// The leaf of a committed map. The caller holds the content lock of `ino`.
    pub(crate) fn get(
        &self,
        meta: &Meta,
        (ino, map): (Ino, MapId),
        leaf: LeafIndex,
    ) -> FsResult<Arc<Leaf>> {
        if map == MapId::NONE {
            return Ok(Arc::default());
        }
        let key = map.leaf_key(leaf);
        if let Some(found) = self.0.get(&key) {
            return Ok(found);
        }
        let row = meta
            .get(&Key::leaf(map, leaf), Leaf::decode)
            .map_err(|e| match e {
                FsError::Inconsistent(_) => FsError::Inconsistent(ino),
                other => other,
            })?;
        let found = Arc::new(row.unwrap_or_default());
        self.0.insert(key, Arc::clone(&found));
        Ok(found)
    }

    /// The leaf was committed anew; without it, the next look-up asks the row store. The caller
    /// holds the content lock of the map's inode.
    pub(crate) fn replace(&self, map: MapId, leaf: LeafIndex, new: Option<Arc<Leaf>>) {
        let key = map.leaf_key(leaf);
        match new {
            Some(new) => self.0.insert(key, new),
            None => drop(self.0.remove(&key)),
        }
    }
}
