//! Committed rows kept in memory, and keys known to have none.
//!
//! A commit by the writer empties the page caches of all readers, so without this every fsync
//! would make the next look-ups decrypt their pages again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::key::{Key, Table};

/// Bytes the cache may take.
const CAPACITY: u64 = 24 << 20;
/// Rows the cache is laid out for.
const EXPECTED_ROWS: usize = 100_000;
/// What a row costs beside its bytes.
const OVERHEAD: u64 = 128;

/// Bytes of committed rows after which the rows that are kept lie scattered: each among what many others
/// took, so that most of the memory around them is free and cannot go back to the system.
const SCATTERED: usize = 8 << 20;

/// A row, or that there is none.
type CachedRow = Option<Arc<[u8]>>;

#[derive(Clone)]
struct Bytes;

impl Weighter<Key, CachedRow> for Bytes {
    fn weight(&self, key: &Key, row: &CachedRow) -> u64 {
        OVERHEAD + key.name().len() as u64 + row.as_ref().map_or(0, |r| r.len() as u64)
    }
}

pub(super) struct RowCache {
    rows: Cache<Key, CachedRow, Bytes>,
    /// Bytes of rows that were committed since it was empty.
    committed: AtomicUsize,
    /// That the calls of [`RowCache::come_to_rest`] hold against each other.
    commits: AtomicU64,
}

impl RowCache {
    pub(super) fn new() -> Self {
        Self {
            rows: Cache::with_weighter(EXPECTED_ROWS, CAPACITY, Bytes),
            committed: AtomicUsize::new(0),
            commits: AtomicU64::new(0),
        }
    }

    /// Forgets all rows, if they lie scattered, and there was no commit since the last call. Returns
    /// whether it did: the system can have the memory back then. Calls tell how many commits there
    /// were.
    pub(super) fn come_to_rest(&self, commits: u64) -> bool {
        let quiet = self.commits.swap(commits, Ordering::Relaxed) == commits;
        if !quiet || self.committed.load(Ordering::Relaxed) < SCATTERED {
            return false;
        }
        self.committed.store(0, Ordering::Relaxed);
        self.rows.clear();
        true
    }

    /// Notes that so many bytes of rows were committed.
    pub(super) fn note_commit(&self, bytes: usize) {
        self.committed.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Whether rows of `table` are kept: those that are looked up by themselves.
    pub(super) fn holds(table: Table) -> bool {
        matches!(
            table,
            Table::Inode
                | Table::Content
                | Table::Dentry
                | Table::Xattr
                | Table::FileKey
                | Table::ShareNode
        )
    }

    /// The row, or that there is none, where either is known.
    pub(super) fn get(&self, key: &Key) -> Option<CachedRow> {
        self.rows.get(key)
    }

    pub(super) fn put(&self, key: Key, row: CachedRow) {
        self.rows.insert(key, row);
    }

    /// Keeps the rows that a commit wrote, and forgets those it deleted: few are asked for again.
    pub(super) fn take_over<'a>(
        &self,
        rows: impl Iterator<Item = (&'a Key, &'a Option<Box<[u8]>>)>,
    ) {
        for (key, row) in rows.filter(|(k, _)| Self::holds(k.table)) {
            match row {
                Some(row) => self.put(key.clone(), Some(Arc::from(&**row))),
                None => drop(self.rows.remove(key)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vfs::Ino;

    #[test]
    fn scattered_rows_are_given_up_at_rest_and_only_then() {
        let cache = RowCache::new();
        let key = Key::inode(Ino(7));
        let row: CachedRow = Some(Arc::from([1].as_slice()));
        cache.put(key.clone(), row.clone());
        cache.note_commit(SCATTERED - 1);
        assert!(!cache.come_to_rest(1));
        assert!(!cache.come_to_rest(1), "few rows came and went");
        cache.note_commit(1);
        assert!(!cache.come_to_rest(2), "there was a commit since");
        assert_eq!(cache.get(&key), Some(row));
        assert!(cache.come_to_rest(2));
        assert_eq!(cache.get(&key), None);
        assert!(!cache.come_to_rest(2), "nothing is scattered any more");
    }
}
