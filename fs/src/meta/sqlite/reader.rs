//! Connections that read.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use keyfold_crypto::DatabaseKey;
use parking_lot::{Mutex, MutexGuard};
use rusqlite::types::{ToSql, ValueRef};
use rusqlite::{Connection, ErrorCode, InterruptHandle, Row};

use super::{Mode, OpenFailure, check_schema, connect, get, log_path, read_state, sql};
use crate::error::{FsError, FsResult};
use crate::layout::StateRow;
use crate::meta::ListedRow;
use crate::meta::key::{Key, Table, Tail};
use crate::meta::rows::Rows;
use crate::meta::scan::{ScannedRow, Scanner, SharedScanner};
use crate::meta::schema::LIST;
use crate::vfs::Ino;

/// KiB of pages that each reader may keep.
const READER_CACHE_KIB: i64 = 6 * 1024;

fn failed(e: &rusqlite::Error) -> FsError {
    match e.sqlite_error_code() {
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => FsError::MetadataTampered,
        code => {
            tracing::error!(?code, "metadata database failed");
            FsError::Database
        }
    }
}

/// Read connections, so that several threads can look up at once.
pub(crate) struct Readers {
    pool: Vec<Mutex<Option<Reader>>>,
    scanner: SharedScanner,
    opening: Opening,
    /// A page was found altered.
    altered: AtomicBool,
}

/// What a read connection is made of.
struct Opening {
    path: PathBuf,
    key: DatabaseKey,
    mode: Mode,
}

impl Opening {
    fn reader(&self) -> Result<Reader, OpenFailure> {
        let connection = connect(&self.path, &self.key, self.mode, READER_CACHE_KIB)?;
        check_schema(&connection)?;
        connection.execute_batch("PRAGMA query_only = ON")?;
        Ok(Reader(connection))
    }

    /// Whether every byte can be read, and not every page verifies.
    fn is_altered(&self) -> bool {
        let can_be_read = |path: &Path| {
            File::open(path).and_then(|mut file| io::copy(&mut file, &mut io::sink()))
        };
        let readable = can_be_read(&self.path).is_ok()
            && match can_be_read(&log_path(&self.path)) {
                Err(e) => e.kind() == io::ErrorKind::NotFound,
                Ok(_) => true,
            };
        readable
            && !self.reader().is_ok_and(|reader| {
                reader
                    .complaints("PRAGMA quick_check")
                    .is_ok_and(|c| c.is_empty())
            })
    }
}

pub(in crate::meta) struct Reader(Connection);

impl Readers {
    /// At most `count` connections, of which each but the first is opened when it is needed.
    pub(crate) fn open(
        path: &Path,
        key: DatabaseKey,
        mode: Mode,
        count: usize,
    ) -> Result<Self, OpenFailure> {
        let path = path.to_owned();
        let opening = Opening { path, key, mode };
        let mut pool = vec![Mutex::new(Some(opening.reader()?))];
        pool.resize_with(count, Mutex::default);
        let scanner = SharedScanner::new(opening.reader()?);
        Ok(Self {
            pool,
            scanner,
            opening,
            altered: AtomicBool::new(false),
        })
    }

    /// Makes what the scanner does fail.
    pub(in crate::meta) fn interrupt_scan(&self) {
        self.scanner.interrupt();
    }

    /// The connection for what takes long.
    pub(crate) fn scanner(&self) -> MutexGuard<'_, Scanner> {
        self.scanner.take(|| self.opening.reader().ok())
    }

    /// The state of the last commit.
    pub(crate) fn state(&self) -> Result<Option<StateRow>, OpenFailure> {
        match &*self.any() {
            Some(reader) => reader.state(),
            None => self.opening.reader()?.state(),
        }
    }

    /// A connection that could not read a page takes it for an altered one and answers nothing
    /// any more, so another takes its place.
    pub(in crate::meta) fn with<R>(&self, f: impl FnOnce(&Reader) -> FsResult<R>) -> FsResult<R> {
        let mut place = self.any();
        let reader = match place.take() {
            Some(reader) => reader,
            None => self.opening.reader().map_err(|_| FsError::Database)?,
        };
        let result = f(&reader);
        if !matches!(result, Err(FsError::Database | FsError::MetadataTampered)) {
            *place = Some(reader);
        }
        drop(place);
        result.map_err(|e| self.judged(e))
    }

    /// An error that says that a page was altered, or that the disk failed if none was: a page that
    /// could not be read looks altered to the connection that wanted it.
    pub(in crate::meta) fn judged(&self, error: FsError) -> FsError {
        if error != FsError::MetadataTampered || self.altered.load(Ordering::Relaxed) {
            return error;
        }
        if self.opening.is_altered() {
            self.altered.store(true, Ordering::Relaxed);
            return error;
        }
        tracing::error!("metadata could not be read");
        FsError::Database
    }

    /// A free connection, or the first to become free.
    fn any(&self) -> MutexGuard<'_, Option<Reader>> {
        self.pool
            .iter()
            .find_map(Mutex::try_lock)
            .unwrap_or_else(|| self.pool[0].lock())
    }
}

impl Reader {
    pub(in crate::meta) fn execute(&self, text: &str) -> FsResult<()> {
        self.0.execute_batch(text).map_err(|e| failed(&e))
    }

    pub(in crate::meta) fn state(&self) -> Result<Option<StateRow>, OpenFailure> {
        read_state(&self.0)
    }

    /// The lines that a check of the database's own gives, except that all is well.
    pub(in crate::meta) fn complaints(&self, pragma: &str) -> FsResult<Vec<String>> {
        let read = || -> rusqlite::Result<Vec<String>> {
            let mut statement = self.0.prepare(pragma)?;
            let lines = statement.query_map([], |row| row.get(0))?;
            lines
                .filter(|line| !matches!(line, Ok(line) if line == "ok"))
                .collect()
        };
        read().map_err(|e| failed(&e))
    }

    pub(in crate::meta) fn has_schema(&self) -> bool {
        check_schema(&self.0).is_ok()
    }

    /// Stops what the connection does, from another thread.
    pub(in crate::meta) fn interrupter(&self) -> InterruptHandle {
        self.0.get_interrupt_handle()
    }

    /// Calls `f` with each row that `text` selects: two key columns, cookie and value. A value
    /// that is not bytes is passed as none.
    pub(in crate::meta) fn each(
        &self,
        (table, text): (Table, &str),
        f: &mut dyn FnMut(&ScannedRow<'_>),
    ) -> FsResult<()> {
        let mut read = || -> rusqlite::Result<()> {
            let mut statement = self.0.prepare_cached(text)?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let cookie = match row.get_ref(2)? {
                    ValueRef::Integer(n) => Some(n as u64),
                    _ => None,
                };
                let value = row.get_ref(3)?.as_blob().unwrap_or_default();
                f(&ScannedRow {
                    key: key(table, row)?,
                    cookie,
                    value,
                });
            }
            Ok(())
        };
        read().map_err(|e| failed(&e))
    }

    pub(in crate::meta) fn get<R>(
        &self,
        key: &Key,
        f: impl FnOnce(Option<&[u8]>) -> R,
    ) -> FsResult<R> {
        get(&self.0, key, f).map_err(|e| failed(&e))
    }

    pub(in crate::meta) fn range(&self, table: Table, a: u64) -> FsResult<Rows> {
        self.rows(&sql(table).range, table, &[&(a as i64)])
    }

    pub(in crate::meta) fn stored(
        &self,
        table: Table,
        keys: std::ops::RangeInclusive<u64>,
        limit: usize,
    ) -> FsResult<Rows> {
        let (first, last) = (
            *keys.start() as i64,
            (*keys.end()).min(i64::MAX as u64) as i64,
        );
        self.rows(&sql(table).stored, table, &[&first, &last, &(limit as i64)])
    }

    fn rows(&self, text: &str, table: Table, params: &[&dyn ToSql]) -> FsResult<Rows> {
        let read = || -> rusqlite::Result<Rows> {
            let mut statement = self.0.prepare_cached(text)?;
            let mut rows = statement.query(params)?;
            let mut out = Rows::new();
            while let Some(row) = rows.next()? {
                out.insert(key(table, row)?, row.get_ref(2)?.as_blob()?.into());
            }
            Ok(out)
        };
        read().map_err(|e| failed(&e))
    }

    pub(in crate::meta) fn list(
        &self,
        dir: Ino,
        from: u64,
        last: u64,
        limit: usize,
    ) -> FsResult<Vec<ListedRow>> {
        let read = || -> rusqlite::Result<Vec<ListedRow>> {
            let mut statement = self.0.prepare_cached(LIST)?;
            let last = last.min(i64::MAX as u64) as i64;
            let mut rows = statement.query((dir.0 as i64, from as i64, last, limit as i64))?;
            let mut out = Vec::new();
            while let Some(row) = rows.next()? {
                out.push(ListedRow {
                    cookie: row.get::<_, i64>(0)? as u64,
                    name: row.get_ref(1)?.as_blob()?.into(),
                    value: row.get_ref(2)?.as_blob()?.into(),
                });
            }
            Ok(out)
        };
        read().map_err(|e| failed(&e))
    }
}

/// The key of a row that was selected with its two key columns first.
fn key(table: Table, row: &Row<'_>) -> rusqlite::Result<Key> {
    let b = match row.get_ref(1)? {
        ValueRef::Integer(n) => Tail::Int(n as u64),
        ValueRef::Blob(b) => Tail::Bytes(b.into()),
        _ => Tail::None,
    };
    let a = row.get::<_, i64>(0)? as u64;
    Ok(Key { table, a, b })
}
