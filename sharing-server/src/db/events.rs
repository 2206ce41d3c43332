//! Events: numbered for each account under its row, so that no number is missed.

use keyfold_protocol::ids::{ChainRoot, RequestHash, ShareId};
use keyfold_protocol::wire::{Event, EventKind};

use super::value::odd;
use super::{DbError, Tx, values};

/// Events that are kept for each account.
const KEPT: u64 = 1024;

const KINDS: [EventKind; 6] = [
    EventKind::Share,
    EventKind::Membership,
    EventKind::Publication,
    EventKind::Request,
    EventKind::Account,
    EventKind::Reset,
];

/// Numbers an event for an account, if there is one with this root.
pub(crate) fn note(tx: &Tx<'_>, root: &ChainRoot, event: &Event) -> Result<(), DbError> {
    // The update locks the account's row until the transaction ends.
    let sql = "UPDATE account SET last_event = last_event + 1 WHERE root = $1 AND deleted = 0";
    if tx.execute(sql, values![root])? == 0 {
        return Ok(());
    }
    let kind = KINDS.iter().position(|kind| *kind == event.kind);
    let kind = kind.unwrap_or(KINDS.len() - 1) as u64;
    let sql = "INSERT INTO event (root, number, kind, share, request)
        SELECT $1, last_event, $2, $3, $4 FROM account WHERE root = $1";
    tx.execute(
        sql,
        values![root, kind, event.share.as_ref(), event.request.as_ref()],
    )?;
    let sql = "DELETE FROM event WHERE root = $1 AND number + $2 <=
        (SELECT last_event FROM account WHERE root = $1)";
    tx.execute(sql, values![root, KEPT])?;
    Ok(())
}

/// Events after a number.
pub(crate) fn after(
    tx: &Tx<'_>,
    root: &ChainRoot,
    number: u64,
) -> Result<Vec<(u64, Event)>, DbError> {
    let sql = "SELECT number, kind, share, request FROM event
        WHERE root = $1 AND number > $2 ORDER BY number";
    tx.rows(sql, values![root, number], |row| {
        let kind = KINDS.get(row.u64(1)? as usize).ok_or_else(|| odd(1))?;
        let share = row.optional_bytes(2)?.map(<[u8; 32]>::try_from);
        let request = row.optional_bytes(3)?.map(<[u8; 32]>::try_from);
        let event = Event {
            kind: *kind,
            share: share.transpose().map_err(|_| odd(2))?.map(ShareId),
            request: request.transpose().map_err(|_| odd(3))?.map(RequestHash),
        };
        Ok((row.u64(0)?, event))
    })
}
