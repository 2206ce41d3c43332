//! The connection that writes, and its log.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use keyfold_crypto::{DatabaseKey, StateHash, StateHashKey};
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{CachedStatement, Connection, ErrorCode};

use super::{Mode, OpenFailure, check_schema, connect, get_with, log_path, sql};
use crate::layout::{DentryRow, StateRow};
use crate::meta::key::{Key, Table, Tail};
use crate::meta::schema;

/// KiB of pages that the writer may keep.
const WRITER_CACHE_KIB: i64 = 16 * 1024;
/// The write-ahead log is brought back to its start beyond this many pages (8 MiB).
const LOG_LIMIT: u64 = 2048;
/// The write-ahead log is copied into the database in the background beyond this many.
const LOG_PASSIVE: u64 = 1024;
/// Bytes of the log that are written ahead with zeros, which are no frames: syncing a commit
/// within them need not wait for the journal of the filesystem beneath to store a new size.
const LOG_AHEAD: usize = 8 << 20;
/// How long a commit waits for readers before it leaves the log as it is.
const LOG_PATIENCE: std::time::Duration = std::time::Duration::from_millis(50);

/// Why a commit failed. Nothing of it is in the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CommitFailure {
    /// The disk is full.
    NoSpace,
    /// A page of the database does not verify.
    Tampered,
    /// The disk or the database failed.
    Failed,
}

impl From<rusqlite::Error> for CommitFailure {
    fn from(e: rusqlite::Error) -> Self {
        tracing::error!(code = ?e.sqlite_error_code(), "metadata database failed");
        match e.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::NoSpace,
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => Self::Tampered,
            _ => Self::Failed,
        }
    }
}

/// The one connection that writes. Owned by the holder of the commit lock.
pub(crate) struct Writer {
    connection: Connection,
    log: PathBuf,
    hash_key: StateHashKey,
}

impl Writer {
    /// Makes a new database with its first state.
    pub(crate) fn create(
        path: &Path,
        key: &DatabaseKey,
        hash_key: StateHashKey,
    ) -> Result<Self, OpenFailure> {
        // The database takes the mode of an existing file; its log takes that of the database.
        std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        let writer = Self::connect(path, key, Mode::Create, hash_key)?;
        writer
            .connection
            .execute_batch("PRAGMA journal_mode = WAL; BEGIN IMMEDIATE")?;
        for statement in schema::statements() {
            writer.connection.execute_batch(&statement)?;
        }
        writer
            .connection
            .pragma_update(None, "user_version", schema::USER_VERSION)?;
        writer.connection.execute_batch("COMMIT")?;
        Ok(writer)
    }

    /// Opens the database and brings what the last user left in the log into it, durably.
    pub(crate) fn open(
        path: &Path,
        key: &DatabaseKey,
        hash_key: StateHashKey,
    ) -> Result<Self, OpenFailure> {
        if !path.exists() {
            return Err(OpenFailure::Missing);
        }
        let writer = Self::connect(path, key, Mode::ReadWrite, hash_key)?;
        check_schema(&writer.connection)?;
        writer.checkpoint("TRUNCATE")?;
        writer.extend_log();
        Ok(writer)
    }

    fn connect(
        path: &Path,
        key: &DatabaseKey,
        mode: Mode,
        hash_key: StateHashKey,
    ) -> Result<Self, OpenFailure> {
        let connection = connect(path, key, mode, WRITER_CACHE_KIB)?;
        // Only emptying the log waits for anybody: for readers, of which a check may take long.
        connection.busy_timeout(LOG_PATIENCE)?;
        Ok(Self {
            connection,
            log: log_path(path),
            hash_key,
        })
    }

    /// Writes `rows` and the state that follows from them, in one durable transaction. `state`
    /// carries the counters in, and the commit number and hash in and out.
    pub(crate) fn commit<'a>(
        &mut self,
        rows: impl Iterator<Item = (&'a Key, &'a Option<Box<[u8]>>)>,
        state: &mut StateRow,
    ) -> Result<(), CommitFailure> {
        let mut next = *state;
        next.commit += 1;
        let transaction = self
            .connection
            .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let mut hash = StateHash::from_bytes(next.hash);
        // Rows come in the order of their tables, so each table's statements are looked up once.
        let mut statements = None;
        for (key, row) in rows {
            let statements = match &mut statements {
                Some((table, statements)) if *table == key.table => statements,
                _ => {
                    let found = Statements::of(&transaction, key.table)?;
                    &mut statements.insert((key.table, found)).1
                }
            };
            let row = (key, row.as_deref());
            let change = statements.write(&self.hash_key, &mut hash, row)?;
            if key.table == Table::Inode {
                next.inodes = next.inodes.saturating_add_signed(change);
            }
        }
        drop(statements);
        next.hash = hash.to_bytes();
        transaction
            .prepare_cached("INSERT OR REPLACE INTO state(id, v) VALUES(0, ?1)")?
            .execute((&*next.encode(),))?;
        transaction.commit()?;
        *state = next;
        Ok(())
    }

    /// Writes the empty log ahead. A disk without room for it only makes commits slower.
    fn extend_log(&self) {
        let Ok(mut log) = std::fs::OpenOptions::new().write(true).open(&self.log) else {
            return;
        };
        if log.write_all(&vec![0; LOG_AHEAD]).is_err() {
            let _ = log.set_len(0);
        }
    }

    /// Keeps the write-ahead log bounded; called between commits.
    pub(crate) fn bound_log(&self) -> Result<(), CommitFailure> {
        if self.log_pages() > LOG_LIMIT {
            self.checkpoint("RESTART").map_err(CommitFailure::from)?;
        }
        Ok(())
    }

    /// Copies the log into the database, as far as readers allow.
    pub(crate) fn checkpoint_passively(&self) -> Result<(), CommitFailure> {
        if self.log_pages() > LOG_PASSIVE {
            self.checkpoint("PASSIVE").map_err(CommitFailure::from)?;
        }
        Ok(())
    }

    /// Copies all of the log into the database and empties it.
    pub(crate) fn checkpoint_all(&self) -> Result<(), CommitFailure> {
        self.checkpoint("TRUNCATE").map_err(CommitFailure::from)
    }

    /// Copies all of the log into the database, so that its file alone is the last commit.
    /// Returns whether it is: readers of older commits prevent it.
    pub(crate) fn settle(&self) -> Result<bool, CommitFailure> {
        let text = "PRAGMA wal_checkpoint(FULL)";
        let settled = self.connection.query_row(text, [], |r| {
            let (busy, frames, copied): (i64, i64, i64) = (r.get(0)?, r.get(1)?, r.get(2)?);
            Ok(busy == 0 && frames == copied)
        });
        settled.map_err(CommitFailure::from)
    }

    /// Pages in the log since it was last at its start.
    fn log_pages(&self) -> u64 {
        let counted = self
            .connection
            .query_row("PRAGMA wal_checkpoint(NOOP)", [], |r| r.get::<_, i64>(1));
        counted.map_or(0, |pages| pages.max(0) as u64)
    }

    fn checkpoint(&self, mode: &str) -> rusqlite::Result<()> {
        self.connection
            .query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |_| Ok(()))
    }
}

/// What writes rows of one table.
struct Statements<'c> {
    get: CachedStatement<'c>,
    put: CachedStatement<'c>,
    delete: CachedStatement<'c>,
}

impl<'c> Statements<'c> {
    fn of(connection: &'c Connection, table: Table) -> rusqlite::Result<Self> {
        let sql = sql(table);
        Ok(Self {
            get: connection.prepare_cached(&sql.get)?,
            put: connection.prepare_cached(&sql.put)?,
            delete: connection.prepare_cached(&sql.delete)?,
        })
    }

    /// Writes a row. Returns by how many rows its table grew.
    fn write(
        &mut self,
        hash_key: &StateHashKey,
        hash: &mut StateHash,
        (key, row): (&Key, Option<&[u8]>),
    ) -> rusqlite::Result<i64> {
        let table = key.table as u8;
        let key_bytes = key.hash_bytes();
        let existed = get_with(&mut self.get, key, |old| {
            if old == row {
                return None;
            }
            if let Some(old) = old {
                hash.remove(&hash_key.row(table, &key_bytes, old));
            }
            Some(old.is_some())
        })?;
        let Some(existed) = existed else { return Ok(0) };
        let a = key.a as i64;
        let tail = match &key.b {
            Tail::None => None,
            Tail::Int(n) => Some(ValueRef::Integer(*n as i64)),
            Tail::Bytes(b) => Some(ValueRef::Blob(b)),
        };
        let tail = tail.map(ToSqlOutput::Borrowed);
        match (row, tail) {
            (Some(row), tail) => {
                hash.add(&hash_key.row(table, &key_bytes, row));
                match (tail, key.table) {
                    (Some(b), Table::Dentry) => {
                        let cookie = DentryRow::decode(row).map_or(0, |d| d.cookie) as i64;
                        self.put.execute((a, b, row, cookie))?;
                    }
                    (Some(b), _) => {
                        self.put.execute((a, b, row))?;
                    }
                    (None, _) => {
                        self.put.execute((a, row))?;
                    }
                }
            }
            (None, Some(b)) => {
                self.delete.execute((a, b))?;
            }
            (None, None) => {
                self.delete.execute((a,))?;
            }
        }
        Ok(i64::from(row.is_some()) - i64::from(existed))
    }
}
