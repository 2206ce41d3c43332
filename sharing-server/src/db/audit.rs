//! The rows of the audit log.

use keyfold_protocol::ids::Time;

use super::value::odd;
use super::{DbError, Row, Tx, values};

/// An entry as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) number: u64,
    pub(crate) time: Time,
    pub(crate) act: String,
    pub(crate) user: Option<String>,
    pub(crate) subject: String,
    pub(crate) hash: [u8; 32],
    /// Over number and hash. Entries that servers before this one wrote have none.
    pub(crate) signature: Option<[u8; 64]>,
}

const COLUMNS: &str = "number, time, act, user_name, subject, hash, signature FROM audit";

fn read(row: &Row<'_>) -> Result<Entry, DbError> {
    let user = row.optional_text(3)?;
    let signature = row.optional_bytes(6)?.map(<[u8; 64]>::try_from);
    Ok(Entry {
        number: row.u64(0)?,
        time: Time(row.u64(1)?),
        act: row.text(2)?,
        user,
        subject: row.text(4)?,
        hash: row.fixed(5)?,
        signature: signature.transpose().map_err(|_| odd(6))?,
    })
}

pub(crate) fn last(tx: &Tx<'_>) -> Result<Option<Entry>, DbError> {
    let sql = format!("SELECT {COLUMNS} ORDER BY number DESC LIMIT 1");
    tx.row(&sql, &[], read)
}

pub(crate) fn from(tx: &Tx<'_>, number: u64, limit: u64) -> Result<Vec<Entry>, DbError> {
    let sql = format!("SELECT {COLUMNS} WHERE number >= $1 ORDER BY number LIMIT $2");
    tx.rows(&sql, values![number, limit], read)
}

pub(crate) fn insert(tx: &Tx<'_>, entry: &Entry) -> Result<(), DbError> {
    let sql = "INSERT INTO audit (number, time, act, user_name, subject, hash, signature)
        VALUES ($1, $2, $3, $4, $5, $6, $7)";
    tx.execute(
        sql,
        values![
            entry.number,
            entry.time,
            entry.act.as_str(),
            entry.user.as_deref(),
            entry.subject.as_str(),
            &entry.hash,
            entry.signature.as_ref(),
        ],
    )?;
    Ok(())
}
