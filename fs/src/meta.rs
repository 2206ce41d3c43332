//! The metadata store: an encrypted `SQLite` database, and over it the rows not yet in it.
//!
//! `SQLite` never holds the only copy of live state. An operation collects its rows in a
//! [`Txn`] and applies them to the *active* map at its end, all or none. A commit *freezes* the
//! active map, and operations go on in a new one; the committer writes the frozen rows in one
//! transaction and drops them once it is durable. Reads look in the active map, then in the
//! frozen one, then in the database, so what they see never depends on how far a commit is.
//!
//! Lock order: `maps` before any reader connection; the writer connection is taken only by the
//! holder of the commit lock.

use std::sync::Arc;

use parking_lot::RwLock;

use crate::error::{FsError, FsResult};
use crate::layout::BadLayout;
use crate::vfs::Ino;

mod key;
mod rows;
mod schema;
mod sqlite;

pub(crate) use key::{Key, Table};
pub(crate) use rows::{RowMap, Rows, Txn};
pub(crate) use sqlite::{CommitFailure, Mode, OpenFailure, Readers, Writer};

/// The rows of an open volume.
pub(crate) struct Meta {
    maps: RwLock<Maps>,
    readers: Readers,
}

#[derive(Default)]
struct Maps {
    active: RowMap,
    frozen: Option<Arc<RowMap>>,
}

impl Maps {
    /// `None`: not overlaid; `Some(None)`: deleted.
    fn overlay(&self, key: &Key) -> Option<Option<&[u8]>> {
        self.active
            .get(key)
            .or_else(|| self.frozen.as_ref().and_then(|f| f.get(key)))
            .map(Option::as_deref)
    }
}

/// A directory entry as a listing sees it.
pub(crate) struct ListedRow {
    pub(crate) cookie: u64,
    pub(crate) name: Box<[u8]>,
    pub(crate) value: Box<[u8]>,
}

impl Meta {
    /// Opens the store of a vault directory for reading; [`Writer`] is the other half.
    pub(crate) fn new(readers: Readers) -> Self {
        Self {
            maps: RwLock::default(),
            readers,
        }
    }

    /// Calls `f` with the row's current bytes.
    pub(crate) fn read<R>(&self, key: &Key, f: impl FnOnce(Option<&[u8]>) -> R) -> FsResult<R> {
        {
            let maps = self.maps.read();
            if let Some(row) = maps.overlay(key) {
                return Ok(f(row));
            }
        }
        self.readers.with(|c| c.get(key, f))
    }

    /// Decodes the row, if there is one.
    pub(crate) fn get<T>(
        &self,
        key: &Key,
        decode: impl FnOnce(&[u8]) -> Result<T, BadLayout>,
    ) -> FsResult<Option<T>> {
        self.read(key, |row| row.map(decode).transpose())?
            .map_err(|BadLayout| FsError::Inconsistent(Ino(key.a)))
    }

    /// All rows of `table` whose first key column is `a`, in key order.
    pub(crate) fn range(&self, table: Table, a: u64) -> FsResult<Rows> {
        let maps = self.maps.read();
        let mut rows: Rows = self.readers.with(|c| c.range(table, a))?;
        for map in maps.frozen.as_deref().into_iter().chain([&maps.active]) {
            for (key, row) in map.of(table, a) {
                match row {
                    Some(bytes) => rows.insert(key.clone(), bytes.clone()),
                    None => rows.remove(key),
                };
            }
        }
        Ok(rows)
    }

    /// Rows of a directory with `from < cookie <= last`, in cookie order, some at a time: an
    /// empty answer is the end.
    pub(crate) fn list(&self, dir: Ino, from: u64, last: u64) -> FsResult<Vec<ListedRow>> {
        const BATCH: usize = 256;
        let mut from = from;
        loop {
            let maps = self.maps.read();
            let stored = self.readers.with(|c| c.list(dir, from, last, BATCH))?;
            let end = if stored.len() == BATCH {
                stored[BATCH - 1].cookie
            } else {
                last
            };
            let mut listed: Vec<ListedRow> = stored
                .into_iter()
                .filter(|r| maps.overlay(&Key::dentry(dir, &r.name)).is_none())
                .collect();
            for map in [Some(&maps.active), maps.frozen.as_deref()]
                .into_iter()
                .flatten()
            {
                for (cookie, name) in map.listed(dir, from, end) {
                    let key = Key::dentry(dir, name);
                    let shadowed = !std::ptr::eq(map, &raw const maps.active)
                        && maps.active.get(&key).is_some();
                    if let (false, Some(Some(value))) = (shadowed, map.get(&key)) {
                        listed.push(ListedRow {
                            cookie,
                            name: name.into(),
                            value: value.clone(),
                        });
                    }
                }
            }
            if !listed.is_empty() || end >= last {
                listed.sort_unstable_by_key(|r| r.cookie);
                return Ok(listed);
            }
            from = end;
        }
    }

    /// Starts an operation's rows.
    pub(crate) fn txn(&self) -> Txn<'_> {
        Txn::new(self)
    }

    /// Puts one row by itself.
    pub(crate) fn put(&self, key: Key, row: Option<Box<[u8]>>) {
        self.maps.write().active.put(key, row);
    }

    fn apply(&self, rows: impl IntoIterator<Item = (Key, Option<Box<[u8]>>)>) {
        let mut maps = self.maps.write();
        for (key, row) in rows {
            maps.active.put(key, row);
        }
    }

    /// Bytes of memory the active rows take.
    pub(crate) fn active_bytes(&self) -> usize {
        self.maps.read().active.bytes()
    }

    /// Makes the active rows the frozen ones. Called by the holder of the commit lock, when no
    /// rows are frozen.
    pub(crate) fn freeze(&self) -> Arc<RowMap> {
        let mut maps = self.maps.write();
        debug_assert!(maps.frozen.is_none());
        let frozen = Arc::new(std::mem::take(&mut maps.active));
        maps.frozen = Some(Arc::clone(&frozen));
        frozen
    }

    /// The frozen rows are durable: the database answers for them now.
    pub(crate) fn drop_frozen(&self) {
        let dropped = self.maps.write().frozen.take();
        drop(dropped);
    }

    /// The frozen rows could not be written and belong to the next commit.
    pub(crate) fn thaw(&self) {
        let mut maps = self.maps.write();
        if let Some(frozen) = maps.frozen.take() {
            let newer = std::mem::take(&mut maps.active);
            let mut merged = Arc::try_unwrap(frozen).unwrap_or_else(|shared| (*shared).clone());
            merged.absorb(newer);
            maps.active = merged;
        }
    }

    /// Rows of a table straight from the database, with first key columns in `keys`, at most
    /// `limit`. For tables that only the committer writes.
    pub(crate) fn stored(
        &self,
        table: Table,
        keys: std::ops::RangeInclusive<u64>,
        limit: usize,
    ) -> FsResult<Rows> {
        self.readers.with(|c| c.stored(table, keys, limit))
    }
}
