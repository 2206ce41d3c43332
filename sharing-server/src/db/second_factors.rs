//! What codes of a second factor are checked with.

use keyfold_protocol::ids::ChainRoot;

use super::{DbError, Tx, values};

/// The second factor of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SecondFactor {
    /// Makes its secret unlike one before.
    pub(crate) nonce: [u8; 16],
    /// Whether logins need it.
    pub(crate) confirmed: bool,
}

pub(crate) fn find(tx: &Tx<'_>, root: &ChainRoot) -> Result<Option<SecondFactor>, DbError> {
    let sql = "SELECT nonce, confirmed FROM second_factor WHERE root = $1";
    tx.row(sql, values![root], |row| {
        Ok(SecondFactor {
            nonce: row.fixed(0)?,
            confirmed: row.flag(1)?,
        })
    })
}

/// Puts a second factor in place of one that was not confirmed.
pub(crate) fn begin(tx: &Tx<'_>, root: &ChainRoot, nonce: &[u8; 16]) -> Result<(), DbError> {
    let sql = "INSERT INTO second_factor (root, nonce, confirmed, last_step) VALUES ($1, $2, 0, 0)
        ON CONFLICT (root) DO UPDATE SET nonce = excluded.nonce, last_step = 0
        WHERE second_factor.confirmed = 0";
    tx.execute(sql, values![root, nonce])?;
    Ok(())
}

/// Takes the code of a step; `false` if it or a later one was taken.
pub(crate) fn take_step(tx: &Tx<'_>, root: &ChainRoot, step: u64) -> Result<bool, DbError> {
    let sql = "UPDATE second_factor SET last_step = $2 WHERE root = $1 AND last_step < $2";
    Ok(tx.execute(sql, values![root, step])? == 1)
}

/// Logins need it from now on.
pub(crate) fn confirm(tx: &Tx<'_>, root: &ChainRoot) -> Result<(), DbError> {
    let sql = "UPDATE second_factor SET confirmed = 1 WHERE root = $1";
    tx.execute(sql, values![root])?;
    Ok(())
}

/// Forgets it, and its recovery codes.
pub(crate) fn end(tx: &Tx<'_>, root: &ChainRoot) -> Result<(), DbError> {
    for sql in [
        "DELETE FROM second_factor WHERE root = $1",
        "DELETE FROM recovery_code WHERE root = $1",
    ] {
        tx.execute(sql, values![root])?;
    }
    Ok(())
}

pub(crate) fn add_recovery_code(
    tx: &Tx<'_>,
    root: &ChainRoot,
    code: &[u8; 32],
) -> Result<(), DbError> {
    let sql = "INSERT INTO recovery_code (root, code) VALUES ($1, $2)";
    tx.execute(sql, values![root, code])?;
    Ok(())
}

/// Takes a recovery code; `false` if there is none such.
pub(crate) fn take_recovery_code(
    tx: &Tx<'_>,
    root: &ChainRoot,
    code: &[u8; 32],
) -> Result<bool, DbError> {
    let sql = "DELETE FROM recovery_code WHERE root = $1 AND code = $2";
    Ok(tx.execute(sql, values![root, code])? == 1)
}

pub(crate) fn recovery_codes(tx: &Tx<'_>, root: &ChainRoot) -> Result<u64, DbError> {
    let sql = "SELECT COUNT(*) FROM recovery_code WHERE root = $1";
    tx.number(sql, values![root])
}
