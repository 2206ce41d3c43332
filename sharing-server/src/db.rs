//! The database: one small layer, and behind it all SQL of the server.
//!
//! There is one SQL text for every database: numbered parameters (`$1`), compare-and-swap by
//! `UPDATE ... WHERE`, and nothing that only one database understands outside the schema. A
//! transaction is a closure that blocks; it runs on a thread of its own, never on the runtime's.

pub(crate) mod accounts;
pub(crate) mod audit;
pub(crate) mod blobs;
pub(crate) mod events;
pub(crate) mod figures;
pub(crate) mod offers;
pub(crate) mod records;
pub(crate) mod schema;
pub(crate) mod second_factors;
pub(crate) mod sessions;
pub(crate) mod shares;
pub(crate) mod throttle;
mod value;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::{Connection, OpenFlags};

pub(crate) use value::{Row, Value, values};

/// How long a statement waits for another process.
const BUSY: Duration = Duration::from_secs(10);
/// Idle connections that are kept for reading.
const READERS: usize = 8;
/// Statements that a connection keeps prepared.
const STATEMENTS: usize = 256;

/// Why the database did not do what it should.
#[derive(Debug)]
pub enum DbError {
    /// It did not answer in time, or the server is ending.
    Busy,
    /// It holds what this server cannot have written, or it failed. Says no value of a row.
    Failed(String),
    /// It was made by a newer server.
    Newer,
}

impl fmt::Display for DbError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy => f.write_str("the database is busy"),
            Self::Failed(why) => write!(f, "the database failed: {why}"),
            Self::Newer => f.write_str("the database was made by a newer keyfold-server"),
        }
    }
}

impl std::error::Error for DbError {}

impl From<rusqlite::Error> for DbError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode::{DatabaseBusy, DatabaseLocked};
        match error.sqlite_error_code() {
            Some(DatabaseBusy | DatabaseLocked) => Self::Busy,
            // Messages of SQLite name tables and columns, never values.
            _ => Self::Failed(error.to_string()),
        }
    }
}

/// The database, shared by all who use it.
#[derive(Clone)]
pub(crate) struct Db(Arc<Inner>);

struct Inner {
    path: PathBuf,
    writer: Mutex<Connection>,
    readers: Mutex<Vec<Connection>>,
}

impl Db {
    /// Makes the database of a new server.
    pub(crate) fn create(path: &Path) -> Result<(), DbError> {
        let connection = connect(path, OpenFlags::SQLITE_OPEN_CREATE)?;
        schema::migrate(&connection)
    }

    /// Opens a database and brings its schema up to date.
    pub(crate) fn open(path: &Path) -> Result<Self, DbError> {
        let writer = connect(path, OpenFlags::empty())?;
        schema::migrate(&writer)?;
        Ok(Self(Arc::new(Inner {
            path: path.to_owned(),
            writer: Mutex::new(writer),
            readers: Mutex::new(Vec::new()),
        })))
    }

    /// Runs a transaction that may change something: committed if `work` succeeds, else undone.
    pub(crate) async fn write<T, E>(
        &self,
        work: impl FnOnce(&Tx<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<DbError> + Send + 'static,
    {
        let inner = Arc::clone(&self.0);
        blocking(move || in_transaction(&inner.writer.lock(), "BEGIN IMMEDIATE", work)).await
    }

    /// Runs a transaction that sees one moment and changes nothing.
    pub(crate) async fn read<T, E>(
        &self,
        work: impl FnOnce(&Tx<'_>) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<DbError> + Send + 'static,
    {
        let inner = Arc::clone(&self.0);
        blocking(move || {
            let idle = inner.readers.lock().pop();
            let connection = match idle {
                Some(connection) => connection,
                None => connect(&inner.path, OpenFlags::empty())?,
            };
            let result = in_transaction(&connection, "BEGIN", work);
            let mut readers = inner.readers.lock();
            if readers.len() < READERS {
                readers.push(connection);
            }
            result
        })
        .await
    }

    /// Runs a transaction of a command, outside the runtime.
    pub(crate) fn write_now<T, E: From<DbError>>(
        &self,
        work: impl FnOnce(&Tx<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        in_transaction(&self.0.writer.lock(), "BEGIN IMMEDIATE", work)
    }

    /// Writes a copy of the database, as at one moment, to a file that must not exist.
    pub(crate) fn copy_to(&self, target: &Path) -> Result<(), DbError> {
        let target = target.to_str().ok_or(DbError::Failed("path".into()))?;
        let writer = self.0.writer.lock();
        writer.execute("VACUUM INTO $1", [target])?;
        Ok(())
    }
}

async fn blocking<T, E>(work: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T, E>
where
    T: Send + 'static,
    E: From<DbError> + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) if error.is_cancelled() => Err(DbError::Busy.into()),
        Err(_) => Err(DbError::Failed("a transaction panicked".into()).into()),
    }
}

fn connect(path: &Path, more: OpenFlags) -> Result<Connection, DbError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX | more;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.execute_batch(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;
         PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON; PRAGMA temp_store = MEMORY;
         PRAGMA secure_delete = ON;",
    )?;
    Ok(connection)
}

fn in_transaction<T, E: From<DbError>>(
    connection: &Connection,
    begin: &str,
    work: impl FnOnce(&Tx<'_>) -> Result<T, E>,
) -> Result<T, E> {
    let guard = Undo::begin(connection, begin)?;
    let value = work(&Tx {
        connection,
        #[cfg(test)]
        statements: std::cell::RefCell::default(),
    })?;
    guard.commit()?;
    Ok(value)
}

/// Undoes the transaction when dropped: after an error, and after a panic.
struct Undo<'a>(&'a Connection);

impl<'a> Undo<'a> {
    fn begin(connection: &'a Connection, begin: &str) -> Result<Self, DbError> {
        connection.execute_batch(begin)?;
        Ok(Self(connection))
    }

    fn commit(self) -> Result<(), DbError> {
        Ok(self.0.execute_batch("COMMIT")?)
    }
}

impl Drop for Undo<'_> {
    fn drop(&mut self) {
        if !self.0.is_autocommit() {
            let undone = self.0.execute_batch("ROLLBACK");
            debug_assert!(undone.is_ok(), "a transaction that is open can be undone");
        }
    }
}

/// A transaction.
pub(crate) struct Tx<'a> {
    connection: &'a Connection,
    /// What was run, for tests of how much is done.
    #[cfg(test)]
    pub(crate) statements: std::cell::RefCell<Vec<String>>,
}

impl Tx<'_> {
    fn prepare(
        &self,
        sql: &str,
        values: &[Value<'_>],
    ) -> Result<rusqlite::CachedStatement<'_>, DbError> {
        #[cfg(test)]
        self.statements.borrow_mut().push(sql.to_owned());
        let mut statement = self.connection.prepare_cached(sql)?;
        bind(&mut statement, values)?;
        Ok(statement)
    }

    /// Runs a statement; how many rows it changed.
    pub(crate) fn execute(&self, sql: &str, values: &[Value<'_>]) -> Result<usize, DbError> {
        let mut statement = self.prepare(sql, values)?;
        Ok(statement.raw_execute()?)
    }

    /// All rows of a query.
    pub(crate) fn rows<T>(
        &self,
        sql: &str,
        values: &[Value<'_>],
        read: impl Fn(&Row<'_>) -> Result<T, DbError>,
    ) -> Result<Vec<T>, DbError> {
        let mut statement = self.prepare(sql, values)?;
        let mut rows = statement.raw_query();
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            found.push(read(&Row(row))?);
        }
        Ok(found)
    }

    /// The first row of a query, if there is one.
    pub(crate) fn row<T>(
        &self,
        sql: &str,
        values: &[Value<'_>],
        read: impl Fn(&Row<'_>) -> Result<T, DbError>,
    ) -> Result<Option<T>, DbError> {
        let mut statement = self.prepare(sql, values)?;
        let mut rows = statement.raw_query();
        rows.next()?.map(|row| read(&Row(row))).transpose()
    }

    /// The number that a query answers, 0 without a row.
    pub(crate) fn number(&self, sql: &str, values: &[Value<'_>]) -> Result<u64, DbError> {
        let found = self.row(sql, values, |row| row.u64_or(0, 0))?;
        Ok(found.unwrap_or(0))
    }
}

fn bind(
    statement: &mut rusqlite::CachedStatement<'_>,
    values: &[Value<'_>],
) -> Result<(), DbError> {
    for (place, value) in values.iter().enumerate() {
        let name = format!("${}", place + 1);
        let Some(index) = statement.parameter_index(&name)? else {
            return Err(DbError::Failed(format!("no parameter {name}")));
        };
        statement.raw_bind_parameter(index, value)?;
    }
    Ok(())
}
