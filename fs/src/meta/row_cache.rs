//! Committed rows kept in memory, and keys known to have none.
//!
//! A commit by the writer empties the page caches of all readers, so without this every fsync
//! would make the next look-ups decrypt their pages again.

use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::key::{Key, Table};

/// Bytes the cache may take.
const CAPACITY: u64 = 24 << 20;
/// Rows the cache is laid out for.
const EXPECTED_ROWS: usize = 100_000;
/// What a row costs beside its bytes.
const OVERHEAD: u64 = 128;

/// A row, or that there is none.
type CachedRow = Option<Arc<[u8]>>;

#[derive(Clone)]
struct Bytes;

impl Weighter<Key, CachedRow> for Bytes {
    fn weight(&self, key: &Key, row: &CachedRow) -> u64 {
        OVERHEAD + key.name().len() as u64 + row.as_ref().map_or(0, |r| r.len() as u64)
    }
}

pub(super) struct RowCache(Cache<Key, CachedRow, Bytes>);

impl RowCache {
    pub(super) fn new() -> Self {
        Self(Cache::with_weighter(EXPECTED_ROWS, CAPACITY, Bytes))
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
        self.0.get(key)
    }

    pub(super) fn put(&self, key: Key, row: CachedRow) {
        self.0.insert(key, row);
    }

    /// Keeps the rows that a commit wrote, and forgets those it deleted: few are asked for again.
    pub(super) fn take_over<'a>(
        &self,
        rows: impl Iterator<Item = (&'a Key, &'a Option<Box<[u8]>>)>,
    ) {
        for (key, row) in rows.filter(|(k, _)| Self::holds(k.table)) {
            match row {
                Some(row) => self.put(key.clone(), Some(Arc::from(&**row))),
                None => drop(self.0.remove(key)),
            }
        }
    }
}
