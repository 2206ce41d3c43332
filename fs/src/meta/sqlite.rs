//! The database file: `SQLCipher` through `rusqlite`, one writer and a few readers.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use keyfold_crypto::{DatabaseKey, StateHash, StateHashKey};
use parking_lot::{Mutex, MutexGuard};
use rusqlite::config::DbConfig;
use rusqlite::types::{ToSql, Value, ValueRef};
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension};

use super::ListedRow;
use super::key::{Key, Table, Tail};
use super::rows::Rows;
use super::scan::{ScannedRow, Scanner, SharedScanner};
use super::schema::{self, LIST, TableSql};
use crate::error::{FsError, FsResult};
use crate::layout::{DentryRow, StateRow};
use crate::vfs::Ino;

/// KiB of pages that each reader, and the writer, may keep.
const READER_CACHE_KIB: i64 = 6 * 1024;
const WRITER_CACHE_KIB: i64 = 16 * 1024;
/// The write-ahead log is brought back to its start beyond this.
const LOG_LIMIT: u64 = 8 << 20;
/// The write-ahead log is copied into the database in the background beyond this.
const LOG_PASSIVE: u64 = 4 << 20;
/// Bytes of the log that are written ahead with zeros, which are no frames: syncing a commit
/// within them need not wait for the journal of the filesystem beneath to store a new size.
const LOG_AHEAD: usize = 8 << 20;

/// How long a commit waits for readers before it leaves the log as it is.
const LOG_PATIENCE: std::time::Duration = std::time::Duration::from_millis(50);

/// Why the database could not be opened.
#[derive(Debug)]
pub(crate) enum OpenFailure {
    /// There is no database file.
    Missing,
    /// It is not the database of this vault, or it was altered.
    Damaged(&'static str),
    /// The disk is full.
    NoSpace,
    /// The operating system refused.
    Refused(std::io::Error),
    /// It could not be read or written.
    Failed(rusqlite::Error),
}

impl From<std::io::Error> for OpenFailure {
    fn from(e: std::io::Error) -> Self {
        match e.raw_os_error() {
            Some(libc::ENOSPC | libc::EDQUOT) => Self::NoSpace,
            _ => Self::Refused(e),
        }
    }
}

impl From<rusqlite::Error> for OpenFailure {
    fn from(e: rusqlite::Error) -> Self {
        match e.sqlite_error_code() {
            Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
                Self::Damaged("it does not verify under this vault's key")
            }
            Some(ErrorCode::DiskFull) => Self::NoSpace,
            _ => Self::Failed(e),
        }
    }
}

/// Why a commit failed. Nothing of it is in the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CommitFailure {
    /// The disk is full.
    NoSpace,
    /// The disk or the database failed.
    Failed,
}

impl From<rusqlite::Error> for CommitFailure {
    fn from(e: rusqlite::Error) -> Self {
        tracing::error!(code = ?e.sqlite_error_code(), "metadata database failed");
        match e.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::NoSpace,
            _ => Self::Failed,
        }
    }
}

fn failed(e: &rusqlite::Error) -> FsError {
    tracing::error!(code = ?e.sqlite_error_code(), "metadata database failed");
    FsError::Database
}

fn sql(table: Table) -> &'static TableSql {
    static SQL: OnceLock<Vec<TableSql>> = OnceLock::new();
    let all = SQL.get_or_init(|| Table::ALL.iter().map(|t| TableSql::new(*t)).collect());
    &all[table as usize - 1]
}

/// How the database file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Made anew.
    Create,
    /// Read and written.
    ReadWrite,
    /// Read, on a medium that nobody writes; the log is known to be empty.
    Immutable,
}

fn connect(
    path: &Path,
    key: &DatabaseKey,
    mode: Mode,
    cache: i64,
) -> Result<Connection, OpenFailure> {
    let flags = match mode {
        Mode::Create => OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE,
        Mode::ReadWrite => OpenFlags::SQLITE_OPEN_READ_WRITE,
        Mode::Immutable => OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI,
    } | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = match mode {
        Mode::Immutable => Connection::open_with_flags(immutable_uri(path), flags)?,
        _ => Connection::open_with_flags_and_vfs(path, flags, c"unix-excl")?,
    };
    let hex = data_encoding::HEXLOWER.encode(key.expose());
    let pragma = zeroize::Zeroizing::new(format!("PRAGMA key = \"x'{hex}'\""));
    drop(zeroize::Zeroizing::new(hex));
    connection.execute_batch(&pragma)?;
    connection.execute_batch(
        "PRAGMA cipher_page_size = 4096; PRAGMA cipher_hmac_algorithm = HMAC_SHA256; \
         PRAGMA cipher_log_level = NONE;",
    )?;
    connection.execute_batch(&format!(
        "PRAGMA cache_size = -{cache}; PRAGMA cache_spill = OFF; PRAGMA temp_store = MEMORY; \
         PRAGMA mmap_size = 0; PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON; \
         PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0;"
    ))?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_prepared_statement_cache_capacity(96);
    Ok(connection)
}

fn immutable_uri(path: &Path) -> PathBuf {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let mut uri = b"file:".to_vec();
    for b in path.as_os_str().as_bytes() {
        match b {
            b'%' | b'?' | b'#' => uri.extend_from_slice(format!("%{b:02x}").as_bytes()),
            _ => uri.push(*b),
        }
    }
    uri.extend_from_slice(b"?immutable=1");
    PathBuf::from(std::ffi::OsString::from_vec(uri))
}

fn check_schema(connection: &Connection) -> Result<(), OpenFailure> {
    let version: i32 = connection.query_row("PRAGMA user_version", [], |r| r.get(0))?;
    let mut found: Vec<String> = connection
        .prepare("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")?
        .query_map([], |r| r.get(0))?
        .collect::<Result<_, _>>()?;
    let mut expected = schema::statements();
    found.sort_unstable();
    expected.sort_unstable();
    if version != schema::USER_VERSION || found != expected {
        return Err(OpenFailure::Damaged(
            "its tables are not those of this format",
        ));
    }
    Ok(())
}

/// Read connections, so that several threads can look up at once.
pub(crate) struct Readers {
    pool: Vec<Mutex<Option<Reader>>>,
    scanner: SharedScanner,
    opening: Opening,
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
}

pub(super) struct Reader(Connection);

impl Readers {
    /// Opens `count` connections.
    pub(crate) fn open(
        path: &Path,
        key: DatabaseKey,
        mode: Mode,
        count: usize,
    ) -> Result<Self, OpenFailure> {
        let path = path.to_owned();
        let opening = Opening { path, key, mode };
        let pool = (0..count)
            .map(|_| opening.reader().map(Some).map(Mutex::new))
            .collect::<Result<Vec<_>, OpenFailure>>()?;
        let scanner = SharedScanner::new(opening.reader()?);
        Ok(Self {
            pool,
            scanner,
            opening,
        })
    }

    /// The connection for what takes long.
    pub(super) fn scanner(&self) -> MutexGuard<'_, Scanner> {
        let mut scanner = self.scanner.take();
        if !scanner.has_schema()
            && let Ok(fresh) = self.opening.reader()
        {
            *scanner = Scanner::new(fresh);
        }
        scanner
    }

    /// A connection that could not read a page takes it for an altered one and answers nothing
    /// any more, so another takes its place.
    pub(super) fn with<R>(&self, f: impl FnOnce(&Reader) -> FsResult<R>) -> FsResult<R> {
        let mut place = self.any();
        let reader = match place.take() {
            Some(reader) => reader,
            None => self.opening.reader().map_err(|_| FsError::Database)?,
        };
        let result = f(&reader);
        if !matches!(result, Err(FsError::Database)) {
            *place = Some(reader);
        }
        result
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
    pub(super) fn execute(&self, text: &str) -> FsResult<()> {
        self.0.execute_batch(text).map_err(|e| failed(&e))
    }

    pub(super) fn state(&self) -> Result<Option<StateRow>, OpenFailure> {
        read_state(&self.0)
    }

    /// The lines that a check of the database's own gives, except that all is well.
    pub(super) fn complaints(&self, pragma: &str) -> FsResult<Vec<String>> {
        let read = || -> rusqlite::Result<Vec<String>> {
            let mut statement = self.0.prepare(pragma)?;
            let lines = statement.query_map([], |row| row.get(0))?;
            lines
                .filter(|line| !matches!(line, Ok(line) if line == "ok"))
                .collect()
        };
        read().map_err(|e| failed(&e))
    }

    pub(super) fn has_schema(&self) -> bool {
        check_schema(&self.0).is_ok()
    }

    /// Calls `f` with each row that `text` selects: two key columns, cookie and value. A value
    /// that is not bytes is passed as none.
    pub(super) fn each(
        &self,
        (table, text): (Table, &str),
        f: &mut dyn FnMut(&ScannedRow<'_>),
    ) -> FsResult<()> {
        let mut read = || -> rusqlite::Result<()> {
            let mut statement = self.0.prepare_cached(text)?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let b = match row.get_ref(1)? {
                    ValueRef::Integer(n) => Tail::Int(n as u64),
                    ValueRef::Blob(b) => Tail::Bytes(b.into()),
                    _ => Tail::None,
                };
                let a = row.get::<_, i64>(0)? as u64;
                let cookie = match row.get_ref(2)? {
                    ValueRef::Integer(n) => Some(n as u64),
                    _ => None,
                };
                let value = row.get_ref(3)?.as_blob().unwrap_or_default();
                f(&ScannedRow {
                    key: Key { table, a, b },
                    cookie,
                    value,
                });
            }
            Ok(())
        };
        read().map_err(|e| failed(&e))
    }

    pub(super) fn get<R>(&self, key: &Key, f: impl FnOnce(Option<&[u8]>) -> R) -> FsResult<R> {
        get(&self.0, key, f).map_err(|e| failed(&e))
    }

    pub(super) fn range(&self, table: Table, a: u64) -> FsResult<Rows> {
        self.rows(&sql(table).range, table, &[&(a as i64)])
    }

    pub(super) fn stored(
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
                let b = match row.get_ref(1)? {
                    ValueRef::Integer(n) => Tail::Int(n as u64),
                    ValueRef::Blob(b) => Tail::Bytes(b.into()),
                    _ => Tail::None,
                };
                let key = Key {
                    table,
                    a: row.get::<_, i64>(0)? as u64,
                    b,
                };
                out.insert(key, row.get_ref(2)?.as_blob()?.into());
            }
            Ok(out)
        };
        read().map_err(|e| failed(&e))
    }

    pub(super) fn list(
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

fn get<R>(
    connection: &Connection,
    key: &Key,
    f: impl FnOnce(Option<&[u8]>) -> R,
) -> rusqlite::Result<R> {
    let mut statement = connection.prepare_cached(&sql(key.table).get)?;
    let mut rows = match &key.b {
        Tail::None => statement.query((key.a as i64,))?,
        Tail::Int(n) => statement.query((key.a as i64, *n as i64))?,
        Tail::Bytes(b) => statement.query((key.a as i64, &**b))?,
    };
    match rows.next()? {
        Some(row) => Ok(f(Some(row.get_ref(0)?.as_blob()?))),
        None => Ok(f(None)),
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
        let mut log = path.as_os_str().to_owned();
        log.push("-wal");
        Ok(Self {
            connection,
            log: log.into(),
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
        for (key, row) in rows {
            let change = write_row(
                &transaction,
                &self.hash_key,
                &mut hash,
                (key, row.as_deref()),
            )?;
            if key.table == Table::Inode {
                next.inodes = next.inodes.saturating_add_signed(change);
            }
        }
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
        if std::fs::metadata(&self.log).map_or(0, |m| m.len()) > LOG_LIMIT
            && self.log_frames() * 4096 > LOG_LIMIT
        {
            self.checkpoint("RESTART").map_err(CommitFailure::from)?;
        }
        Ok(())
    }

    /// Copies the log into the database, as far as readers allow.
    pub(crate) fn checkpoint_passively(&self) -> Result<(), CommitFailure> {
        if self.log_frames() * 4096 > LOG_PASSIVE {
            self.checkpoint("PASSIVE").map_err(CommitFailure::from)?;
        }
        Ok(())
    }

    /// Copies all of the log into the database and empties it.
    pub(crate) fn checkpoint_all(&self) -> Result<(), CommitFailure> {
        self.checkpoint("TRUNCATE").map_err(CommitFailure::from)
    }

    fn log_frames(&self) -> u64 {
        let mut frames = 0;
        let counted = self
            .connection
            .query_row("PRAGMA wal_checkpoint(NOOP)", [], |r| {
                frames = r.get::<_, i64>(1)?.max(0) as u64;
                Ok(())
            });
        if counted.is_err() { 0 } else { frames }
    }

    fn checkpoint(&self, mode: &str) -> rusqlite::Result<()> {
        self.connection
            .query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |_| Ok(()))
    }
}

fn read_state(connection: &Connection) -> Result<Option<StateRow>, OpenFailure> {
    let row: Option<Vec<u8>> = connection
        .query_row("SELECT v FROM state WHERE id = 0", [], |r| r.get(0))
        .optional()?;
    row.map(|r| StateRow::decode(&r))
        .transpose()
        .map_err(|_| OpenFailure::Damaged("its state row cannot be read"))
}

impl Readers {
    /// The state of the last commit.
    pub(crate) fn state(&self) -> Result<Option<StateRow>, OpenFailure> {
        match &*self.any() {
            Some(reader) => reader.state(),
            None => self.opening.reader()?.state(),
        }
    }
}

/// Writes a row. Returns by how many rows its table grew.
fn write_row(
    connection: &Connection,
    hash_key: &StateHashKey,
    hash: &mut StateHash,
    (key, row): (&Key, Option<&[u8]>),
) -> rusqlite::Result<i64> {
    let table = key.table as u8;
    let key_bytes = key.hash_bytes();
    let existed = get(connection, key, |old| {
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
        Tail::Int(n) => Some(Value::Integer(*n as i64)),
        Tail::Bytes(b) => Some(Value::Blob(b.to_vec())),
    };
    match (row, tail) {
        (Some(row), tail) => {
            hash.add(&hash_key.row(table, &key_bytes, row));
            let mut put = connection.prepare_cached(&sql(key.table).put)?;
            match (tail, key.table) {
                (Some(b), Table::Dentry) => {
                    let cookie = DentryRow::decode(row).map_or(0, |d| d.cookie) as i64;
                    put.execute((a, b, row, cookie))?;
                }
                (Some(b), _) => {
                    put.execute((a, b, row))?;
                }
                (None, _) => {
                    put.execute((a, row))?;
                }
            }
        }
        (None, Some(b)) => {
            connection
                .prepare_cached(&sql(key.table).delete)?
                .execute((a, b))?;
        }
        (None, None) => {
            connection
                .prepare_cached(&sql(key.table).delete)?
                .execute((a,))?;
        }
    }
    Ok(i64::from(row.is_some()) - i64::from(existed))
}
