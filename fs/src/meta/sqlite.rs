//! The database file: `SQLCipher` through `rusqlite`, one writer and a few readers.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use keyfold_crypto::DatabaseKey;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, Statement};

use super::key::{Key, Table, Tail};
use super::schema::{self, TableSql};
use crate::layout::StateRow;

mod reader;
mod writer;

pub(super) use reader::Reader;
pub(crate) use reader::Readers;
pub(super) use rusqlite::InterruptHandle as Interrupter;
pub(crate) use writer::{CommitFailure, Writer};

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

/// The write-ahead log of a database.
pub(crate) fn log_path(database: &Path) -> PathBuf {
    let mut log = database.as_os_str().to_owned();
    log.push("-wal");
    log.into()
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
    // Plans depend on no parameter; without this a statement over a range is compiled anew at
    // each use.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
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

fn get<R>(
    connection: &Connection,
    key: &Key,
    f: impl FnOnce(Option<&[u8]>) -> R,
) -> rusqlite::Result<R> {
    let mut statement = connection.prepare_cached(&sql(key.table).get)?;
    get_with(&mut statement, key, f)
}

/// [`get`] with the statement for the key's table.
fn get_with<R>(
    statement: &mut Statement<'_>,
    key: &Key,
    f: impl FnOnce(Option<&[u8]>) -> R,
) -> rusqlite::Result<R> {
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

fn read_state(connection: &Connection) -> Result<Option<StateRow>, OpenFailure> {
    let row: Option<Vec<u8>> = connection
        .query_row("SELECT v FROM state WHERE id = 0", [], |r| r.get(0))
        .optional()?;
    row.map(|r| StateRow::decode(&r))
        .transpose()
        .map_err(|_| OpenFailure::Damaged("its state row cannot be read"))
}
