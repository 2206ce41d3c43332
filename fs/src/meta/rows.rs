//! Rows held in memory: the map of a running transaction and the rows of one operation.

use std::collections::BTreeMap;

use super::Meta;
use super::key::{Key, Table, Tail};
use crate::error::{FsError, FsResult};
use crate::layout::{BadLayout, ContentRow, DentryRow, InodeRow};
use crate::vfs::Ino;

/// Rows by key; what is read from a store.
pub(crate) type Rows = BTreeMap<Key, Box<[u8]>>;

/// A row put, or with `None` deleted.
pub(crate) type RowChange = (Key, Option<Box<[u8]>>);

/// Row images by key; `None` deletes.
#[derive(Default, Clone)]
pub(crate) struct RowMap {
    rows: BTreeMap<Key, Option<Box<[u8]>>>,
    /// Where the map's own directory entries stand in listings.
    cookies: BTreeMap<(u64, u64), Box<[u8]>>,
    bytes: usize,
    /// Keys put since the journal last had them; `None` when they became too many to keep.
    unjournaled: Unjournaled,
}

#[derive(Clone)]
struct Unjournaled(Option<Vec<Key>>);

impl Default for Unjournaled {
    fn default() -> Self {
        Self(Some(Vec::new()))
    }
}

/// Keys of rows to journal that are kept.
const JOURNAL_KEYS: usize = 512;
/// Rows and their bytes up to which the journal may have a whole map, when the keys are not known.
/// A record of so many is written in a fraction of the time that the database takes for them; one
/// that finds no room in the journal is a commit after all.
const JOURNAL_MAP_ROWS: usize = 250_000;
const JOURNAL_MAP_BYTES: usize = 4 << 20;

/// What a row costs beside its bytes: tree node, key, allocation headers.
const ROW_OVERHEAD: usize = 112;

/// Owners of slots belong to commits: what the journal holds lies in no slot.
fn is_journaled(key: &Key) -> bool {
    key.table != Table::RunOwner
}

impl RowMap {
    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn get(&self, key: &Key) -> Option<&Option<Box<[u8]>>> {
        self.rows.get(key)
    }

    pub(crate) fn put(&mut self, key: Key, row: Option<Box<[u8]>>) {
        self.note_unjournaled(&key);
        if key.table == Table::Dentry {
            if let Some(Some(old)) = self.rows.get(&key)
                && let Ok(old) = DentryRow::decode(old)
            {
                self.cookies.remove(&(key.a, old.cookie));
            }
            if let Some(Ok(new)) = row.as_deref().map(DentryRow::decode) {
                self.cookies.insert((key.a, new.cookie), key.name().into());
            }
        }
        let size = ROW_OVERHEAD + row.as_ref().map_or(0, |r| r.len());
        self.bytes += size;
        if let Some(old) = self.rows.insert(key, row) {
            self.bytes -= ROW_OVERHEAD + old.map_or(0, |r| r.len());
        }
    }

    /// Takes the rows of `table` out, except deletions.
    pub(crate) fn take(&mut self, table: Table) -> Rows {
        let taken: Rows = self
            .table(table)
            .filter_map(|(key, row)| Some((key.clone(), row.clone()?)))
            .collect();
        for (key, row) in &taken {
            self.bytes -= ROW_OVERHEAD + row.len();
            self.rows.remove(key);
        }
        taken
    }

    pub(super) fn note_unjournaled(&mut self, key: &Key) {
        if !is_journaled(key) {
            return;
        }
        match &mut self.unjournaled.0 {
            Some(keys) if keys.len() < JOURNAL_KEYS => keys.push(key.clone()),
            _ => self.unjournaled.0 = None,
        }
    }

    /// At least the rows put since the last call; `None` when they are too many for a record.
    pub(crate) fn take_unjournaled(&mut self) -> Option<Vec<RowChange>> {
        let Some(keys) = &mut self.unjournaled.0 else {
            return self.take_whole();
        };
        let mut keys = std::mem::take(keys);
        keys.sort_unstable();
        keys.dedup();
        let rows = &self.rows;
        Some(
            keys.into_iter()
                .filter_map(|k| rows.get(&k).cloned().map(|row| (k, row)))
                .collect(),
        )
    }

    /// All rows, for a record.
    fn take_whole(&mut self) -> Option<Vec<RowChange>> {
        let bytes = self.bytes - ROW_OVERHEAD * self.rows.len();
        if self.rows.len() > JOURNAL_MAP_ROWS || bytes > JOURNAL_MAP_BYTES {
            return None;
        }
        self.unjournaled = Unjournaled::default();
        let rows = self.rows.iter().filter(|(key, _)| is_journaled(key));
        Some(rows.map(|(key, row)| (key.clone(), row.clone())).collect())
    }

    /// Takes over the rows of a newer map.
    pub(crate) fn absorb(&mut self, newer: Self) {
        for (key, row) in newer.rows {
            self.put(key, row);
        }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Key, &Option<Box<[u8]>>)> {
        self.rows.iter()
    }

    /// Rows of `table` with first key column `a`.
    pub(crate) fn of(
        &self,
        table: Table,
        a: u64,
    ) -> impl Iterator<Item = (&Key, &Option<Box<[u8]>>)> {
        let first = Key {
            table,
            a,
            b: Tail::None,
        };
        self.rows
            .range(first..)
            .take_while(move |(k, _)| k.table == table && k.a == a)
    }

    /// Rows of `table`.
    pub(crate) fn table(&self, table: Table) -> impl Iterator<Item = (&Key, &Option<Box<[u8]>>)> {
        let first = Key {
            table,
            a: 0,
            b: Tail::None,
        };
        self.rows
            .range(first..)
            .take_while(move |(k, _)| k.table == table)
    }

    /// Cookies and names of the map's own entries of `dir` with `from < cookie <= last`.
    pub(crate) fn listed(
        &self,
        dir: Ino,
        from: u64,
        last: u64,
    ) -> impl Iterator<Item = (u64, &[u8])> {
        let range = (dir.0, from.saturating_add(1))..=(dir.0, last.max(from.saturating_add(1)));
        self.cookies
            .range(range)
            .filter(move |((_, c), _)| *c > from && *c <= last)
            .map(|((_, c), name)| (*c, &**name))
    }
}

/// The rows of one operation: reads see its own puts, nobody else does until [`Txn::apply`].
pub(crate) struct Txn<'a> {
    meta: &'a Meta,
    rows: BTreeMap<Key, Option<Box<[u8]>>>,
}

impl<'a> Txn<'a> {
    pub(super) fn new(meta: &'a Meta) -> Self {
        Self {
            meta,
            rows: BTreeMap::new(),
        }
    }

    /// Decodes a row as this operation sees it.
    pub(crate) fn get<T>(
        &self,
        key: &Key,
        decode: impl FnOnce(&[u8]) -> Result<T, BadLayout>,
    ) -> FsResult<Option<T>> {
        match self.rows.get(key) {
            Some(row) => row
                .as_deref()
                .map(decode)
                .transpose()
                .map_err(|BadLayout| FsError::Inconsistent(Ino(key.a))),
            None => self.meta.get(key, decode),
        }
    }

    pub(crate) fn put(&mut self, key: Key, row: Box<[u8]>) {
        self.rows.insert(key, Some(row));
    }

    pub(crate) fn delete(&mut self, key: Key) {
        self.rows.insert(key, None);
    }

    /// The inode, which must exist.
    pub(crate) fn inode(&self, ino: Ino) -> FsResult<InodeRow> {
        self.get(&Key::inode(ino), InodeRow::decode)?
            .ok_or(FsError::Stale(ino))
    }

    pub(crate) fn put_inode(&mut self, ino: Ino, row: &InodeRow) {
        self.put(Key::inode(ino), row.encode());
    }

    pub(crate) fn content(&self, ino: Ino) -> FsResult<Option<ContentRow>> {
        self.get(&Key::content(ino), ContentRow::decode)
    }

    pub(crate) fn dentry(&self, parent: Ino, name: &[u8]) -> FsResult<Option<DentryRow>> {
        self.get(&Key::dentry(parent, name), DentryRow::decode)
    }

    pub(crate) fn put_dentry(&mut self, parent: Ino, name: &[u8], row: DentryRow) {
        self.put(Key::dentry(parent, name), row.encode());
    }

    /// All rows of `table` with first key column `a`, as stored before this operation.
    pub(crate) fn range(&self, table: Table, a: u64) -> FsResult<Rows> {
        self.meta.range(table, a)
    }

    /// Makes the operation visible, whole.
    pub(crate) fn apply(self) {
        self.meta.apply(self.rows);
    }
}
