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

use parking_lot::{MutexGuard, RwLock};

use crate::error::{FsError, FsResult};
use crate::layout::BadLayout;
use crate::vfs::Ino;

#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod key;
mod record;
mod row_cache;
mod rows;
mod scan;
mod schema;
mod sqlite;

pub(crate) use key::{Key, Table};
pub(crate) use record::Record;
use row_cache::RowCache;
pub(crate) use rows::{RowChange, RowMap, Rows, Txn};
pub(crate) use scan::{ScannedRow, Scanner};
pub(crate) use sqlite::{CommitFailure, Mode, OpenFailure, Readers, Writer, log_path};

/// The rows of an open volume.
pub(crate) struct Meta {
    maps: RwLock<Maps>,
    readers: Readers,
    cache: RowCache,
}

#[derive(Default)]
struct Maps {
    active: RowMap,
    frozen: Option<Arc<RowMap>>,
    /// Counts freezes. What was read from the database before one may not be cached after it.
    epoch: u64,
}

/// A row, or that there is none.
type RowImage<'a> = Option<&'a [u8]>;

impl Maps {
    /// The row put over the database's, or that it is deleted, where either is the case.
    fn overlay(&self, key: &Key) -> Option<RowImage<'_>> {
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
            cache: RowCache::new(),
        }
    }

    /// Calls `f` with the row's current bytes.
    pub(crate) fn read<R>(&self, key: &Key, f: impl FnOnce(Option<&[u8]>) -> R) -> FsResult<R> {
        let epoch = {
            let maps = self.maps.read();
            if let Some(row) = maps.overlay(key) {
                return Ok(f(row));
            }
            if let Some(row) = self.cache.get(key) {
                return Ok(f(row.as_deref()));
            }
            maps.epoch
        };
        if !RowCache::holds(key.table) {
            return self.readers.with(|c| c.get(key, f));
        }
        let row: Option<Arc<[u8]>> = self.readers.with(|c| c.get(key, |r| r.map(Arc::from)))?;
        {
            let maps = self.maps.read();
            if maps.epoch == epoch {
                self.cache.put(key.clone(), row.clone());
            }
        }
        Ok(f(row.as_deref()))
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

    /// All rows of a small table that has one key column.
    pub(crate) fn whole(&self, table: Table) -> FsResult<Rows> {
        let maps = self.maps.read();
        let keys = 0..=i64::MAX as u64;
        let mut rows = self
            .readers
            .with(|c| c.stored(table, keys, usize::MAX >> 1))?;
        for map in maps.frozen.as_deref().into_iter().chain([&maps.active]) {
            for (key, row) in map.table(table) {
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

    /// Takes the active rows of a table out, for the commit that is being written.
    pub(crate) fn take(&self, table: Table) -> Rows {
        self.maps.write().active.take(table)
    }

    /// Puts rows back that [`Meta::take`] took and that were not written.
    pub(crate) fn give_back(&self, rows: &Rows) {
        let mut maps = self.maps.write();
        for (key, row) in rows {
            maps.active.put(key.clone(), Some(row.clone()));
        }
    }

    fn apply(&self, rows: impl IntoIterator<Item = (Key, Option<Box<[u8]>>)>) {
        let mut maps = self.maps.write();
        for (key, row) in rows {
            maps.active.put(key, row);
        }
    }

    /// Whether there are rows that the database does not have.
    pub(crate) fn holds_rows(&self) -> bool {
        let maps = self.maps.read();
        maps.frozen.is_some() || maps.active.bytes() > 0
    }

    /// Bytes of memory the active rows take.
    pub(crate) fn active_bytes(&self) -> usize {
        self.maps.read().active.bytes()
    }

    /// The rows put since the journal last had them; `None` when they are too many for it.
    pub(crate) fn take_unjournaled(&self) -> Option<Vec<RowChange>> {
        self.maps.write().active.take_unjournaled()
    }

    /// The journal does not have these active rows after all.
    pub(crate) fn give_back_unjournaled(&self, rows: &[RowChange]) {
        let mut maps = self.maps.write();
        for (key, _) in rows {
            maps.active.note_unjournaled(key);
        }
    }

    /// Makes the active rows the frozen ones. Called by the holder of the commit lock, when no
    /// rows are frozen.
    pub(crate) fn freeze(&self) -> Arc<RowMap> {
        let mut maps = self.maps.write();
        debug_assert!(maps.frozen.is_none());
        let frozen = Arc::new(std::mem::take(&mut maps.active));
        maps.frozen = Some(Arc::clone(&frozen));
        maps.epoch += 1;
        frozen
    }

    /// The frozen rows and `others` are durable: the database answers for them now.
    pub(crate) fn drop_frozen<'a>(
        &self,
        others: impl Iterator<Item = (&'a Key, &'a Option<Box<[u8]>>)>,
    ) {
        if let Some(frozen) = self.maps.read().frozen.clone() {
            self.cache.take_over(frozen.iter());
            self.cache.note_commit(frozen.bytes());
        }
        self.cache.take_over(others);
        let dropped = self.maps.write().frozen.take();
        drop(dropped);
    }

    /// Gives up cached rows in whose way memory cannot go back to the system, when nothing was committed
    /// since the last call. Returns whether it did.
    pub(crate) fn come_to_rest(&self) -> bool {
        let epoch = self.maps.read().epoch;
        self.cache.come_to_rest(epoch)
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

    /// An error that says that a page was altered, or that the disk failed if none was.
    pub(crate) fn judged(&self, error: FsError) -> FsError {
        self.readers.judged(error)
    }

    /// Makes what goes over everything fail.
    pub(crate) fn interrupt_scan(&self) {
        self.readers.interrupt_scan();
    }

    /// The connection for going over everything that is committed.
    pub(crate) fn scanner(&self) -> MutexGuard<'_, Scanner> {
        self.readers.scanner()
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
