//! Counters of what may not happen too often.

use keyfold_protocol::ids::Time;

use super::{DbError, Tx, values};

/// How often a subject was counted in the window that `now` lies in.
pub(crate) fn count(
    tx: &Tx<'_>,
    subject: &[u8; 32],
    window: u64,
    now: Time,
) -> Result<u64, DbError> {
    let sql = "SELECT count FROM throttle WHERE subject = $1 AND since + $2 > $3";
    tx.number(sql, values![subject, window, now])
}

/// Counts a subject.
pub(crate) fn note(tx: &Tx<'_>, subject: &[u8; 32], window: u64, now: Time) -> Result<(), DbError> {
    let sql = "INSERT INTO throttle (subject, since, count) VALUES ($1, $3, 1)
        ON CONFLICT (subject) DO UPDATE SET
        count = CASE WHEN throttle.since + $2 > $3 THEN throttle.count + 1 ELSE 1 END,
        since = CASE WHEN throttle.since + $2 > $3 THEN throttle.since ELSE $3 END";
    tx.execute(sql, values![subject, window, now])?;
    Ok(())
}

pub(crate) fn forget(tx: &Tx<'_>, before: Time) -> Result<(), DbError> {
    tx.execute("DELETE FROM throttle WHERE since < $1", values![before])?;
    Ok(())
}
