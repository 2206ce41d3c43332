//! Going over everything that is committed, on a connection of its own.

use parking_lot::{Mutex, MutexGuard};

use super::key::{Key, Table};
use super::rows::Rows;
use super::schema;
use super::sqlite::{Interrupter, OpenFailure, Reader};
use crate::error::FsResult;
use crate::layout::StateRow;

/// A row as it is passed by.
pub(crate) struct ScannedRow<'a> {
    pub(crate) key: Key,
    /// The column beside key and value that directory entries have.
    pub(crate) cookie: Option<u64>,
    pub(crate) value: &'a [u8],
}

/// A read connection for what takes long: it may hold a snapshot without anybody waiting for it.
pub(crate) struct Scanner(Reader);

/// While it lives, the scanner sees one commit only. Until then the log cannot be emptied, so it
/// is not kept longer than rows are gone over.
pub(crate) struct Snapshot<'a>(&'a Scanner);

impl Drop for Snapshot<'_> {
    fn drop(&mut self) {
        // A connection that fails here fails at its next statement too.
        let _ = self.0.0.execute("ROLLBACK");
    }
}

impl Scanner {
    pub(super) fn new(reader: Reader) -> Self {
        Self(reader)
    }

    /// Holds on to the last commit.
    pub(crate) fn snapshot(&self) -> FsResult<Snapshot<'_>> {
        self.0.execute("BEGIN")?;
        let snapshot = Snapshot(self);
        // The transaction begins with the first read.
        self.0.execute("SELECT 1 FROM state")?;
        Ok(snapshot)
    }

    /// The counters and the state hash, where there are any.
    pub(crate) fn state(&self) -> Result<Option<StateRow>, OpenFailure> {
        self.0.state()
    }

    /// Checks the authentication of every page of the file; says what is wrong. A connection
    /// that reads such a page answers nothing from then on.
    pub(crate) fn bad_pages(&self) -> FsResult<Vec<String>> {
        self.0.complaints("PRAGMA cipher_integrity_check")
    }

    /// Checks the structure of the tables and their indexes; says what is wrong.
    pub(crate) fn bad_structure(&self) -> FsResult<Vec<String>> {
        self.0.complaints("PRAGMA integrity_check")
    }

    /// Whether the tables are those of the format.
    pub(crate) fn has_schema(&self) -> bool {
        self.0.has_schema()
    }

    /// Calls `f` with each row of a table, in key order.
    pub(crate) fn each(&self, table: Table, f: &mut dyn FnMut(&ScannedRow<'_>)) -> FsResult<()> {
        self.0.each((table, &schema::all(table)), f)
    }

    /// Calls `f` with the row's bytes.
    pub(crate) fn get<R>(&self, key: &Key, f: impl FnOnce(Option<&[u8]>) -> R) -> FsResult<R> {
        self.0.get(key, f)
    }

    /// All rows of `table` whose first key column is `a`.
    pub(crate) fn range(&self, table: Table, a: u64) -> FsResult<Rows> {
        self.0.range(table, a)
    }

    /// At most `limit` rows of a table with first key columns in `keys`.
    pub(crate) fn stored(
        &self,
        table: Table,
        keys: std::ops::RangeInclusive<u64>,
        limit: usize,
    ) -> FsResult<Rows> {
        self.0.stored(table, keys, limit)
    }
}

/// The scanner of an open volume: one check at a time has it.
pub(super) struct SharedScanner {
    scanner: Mutex<Scanner>,
    /// Of the connection that the scanner has.
    interrupter: Mutex<Interrupter>,
}

impl SharedScanner {
    pub(super) fn new(reader: Reader) -> Self {
        Self {
            interrupter: Mutex::new(reader.interrupter()),
            scanner: Mutex::new(Scanner::new(reader)),
        }
    }

    /// The scanner, with a connection made by `fresh` where its own answers nothing any more.
    pub(super) fn take(&self, fresh: impl FnOnce() -> Option<Reader>) -> MutexGuard<'_, Scanner> {
        let mut scanner = self.scanner.lock();
        if !scanner.has_schema()
            && let Some(reader) = fresh()
        {
            *self.interrupter.lock() = reader.interrupter();
            *scanner = Scanner::new(reader);
        }
        scanner
    }

    /// Makes what it does at this moment fail.
    pub(super) fn interrupt(&self) {
        self.interrupter.lock().interrupt();
    }
}
