//! The database schema of format version 1. Opening compares it with what is stored, to the
//! letter: a database with another schema is not one that this program wrote.

use super::key::{Second, Table};

/// Number kept in `PRAGMA user_version`.
pub(super) const USER_VERSION: i32 = 1;

/// The statements that make the schema, each as `SQLite` stores it.
pub(super) fn statements() -> Vec<String> {
    let mut out: Vec<String> = Table::ALL.iter().map(|t| create(*t)).collect();
    out.push("CREATE TABLE state(id INTEGER PRIMARY KEY, v BLOB NOT NULL)".into());
    out.push("CREATE UNIQUE INDEX dentry_cookie ON dentry(parent, cookie)".into());
    out
}

fn create(table: Table) -> String {
    let (name, a, second) = table.columns();
    match (table, second) {
        (Table::Dentry, _) => format!(
            "CREATE TABLE {name}({a} INTEGER NOT NULL, name BLOB NOT NULL, \
             cookie INTEGER NOT NULL, v BLOB NOT NULL, PRIMARY KEY({a}, name)) WITHOUT ROWID"
        ),
        (_, Second::None) => {
            format!("CREATE TABLE {name}({a} INTEGER PRIMARY KEY, v BLOB NOT NULL)")
        }
        (_, Second::Int(b)) => format!(
            "CREATE TABLE {name}({a} INTEGER NOT NULL, {b} INTEGER NOT NULL, v BLOB NOT NULL, \
             PRIMARY KEY({a}, {b})) WITHOUT ROWID"
        ),
        (_, Second::Bytes(b)) => format!(
            "CREATE TABLE {name}({a} INTEGER NOT NULL, {b} BLOB NOT NULL, v BLOB NOT NULL, \
             PRIMARY KEY({a}, {b})) WITHOUT ROWID"
        ),
    }
}

/// The SQL texts used on one table.
pub(super) struct TableSql {
    pub(super) get: String,
    pub(super) put: String,
    pub(super) delete: String,
    pub(super) range: String,
    pub(super) stored: String,
}

impl TableSql {
    pub(super) fn new(table: Table) -> Self {
        let (name, a, second) = table.columns();
        let b = match second {
            Second::None => None,
            Second::Int(b) | Second::Bytes(b) => Some(b),
        };
        let selected = b.unwrap_or("NULL");
        let matches = b.map_or(format!("{a} = ?1"), |b| format!("{a} = ?1 AND {b} = ?2"));
        let put = match (table, b) {
            (Table::Dentry, _) => {
                format!(
                    "INSERT OR REPLACE INTO {name}({a}, name, cookie, v) VALUES(?1, ?2, ?4, ?3)"
                )
            }
            (_, None) => format!("INSERT OR REPLACE INTO {name}({a}, v) VALUES(?1, ?2)"),
            (_, Some(b)) => {
                format!("INSERT OR REPLACE INTO {name}({a}, {b}, v) VALUES(?1, ?2, ?3)")
            }
        };
        let order = b.map_or(a.to_owned(), |b| format!("{a}, {b}"));
        Self {
            get: format!("SELECT v FROM {name} WHERE {matches}"),
            put,
            delete: format!("DELETE FROM {name} WHERE {matches}"),
            range: format!("SELECT {a}, {selected}, v FROM {name} WHERE {a} = ?1"),
            stored: format!(
                "SELECT {a}, {selected}, v FROM {name} WHERE {a} BETWEEN ?1 AND ?2 \
                 ORDER BY {order} LIMIT ?3"
            ),
        }
    }
}

/// Selects every row of a table in key order: both key columns, cookie, value.
pub(super) fn all(table: Table) -> String {
    let (name, a, second) = table.columns();
    let cookie = if table == Table::Dentry {
        "cookie"
    } else {
        "NULL"
    };
    match second {
        Second::None => format!("SELECT {a}, NULL, {cookie}, v FROM {name} ORDER BY {a}"),
        Second::Int(b) | Second::Bytes(b) => {
            format!("SELECT {a}, {b}, {cookie}, v FROM {name} ORDER BY {a}, {b}")
        }
    }
}

/// Entries of a directory in cookie order.
pub(super) const LIST: &str = "SELECT cookie, name, v FROM dentry \
     WHERE parent = ?1 AND cookie > ?2 AND cookie <= ?3 ORDER BY cookie LIMIT ?4";
