//! Records, grants and receipts.

use keyfold_protocol::cbor::Encoded;
use keyfold_protocol::grant::Grant;
use keyfold_protocol::ids::{ChainRoot, RecordHash, Seq, ShareId};
use keyfold_protocol::limits;
use keyfold_protocol::receipt::Receipt;
use keyfold_protocol::record::{Kind, Record};
use keyfold_protocol::signed::Signed;

use super::value::odd;
use super::{DbError, Tx, values};

/// Puts a record at its place, whose bytes `payer` pays for.
pub(crate) fn insert(
    tx: &Tx<'_>,
    share: &ShareId,
    record: &Record,
    payer: &ChainRoot,
) -> Result<u64, DbError> {
    let sql = "INSERT INTO record (share, seq, hash, kind, payer, bytes)
        VALUES ($1, $2, $3, $4, $5, $6)";
    let (bytes, hash) = (record.encode(), record.header.hash());
    let kind: u64 = match record.header.kind {
        Kind::Roster => 0,
        Kind::Content => 1,
        Kind::Snapshot => 2,
    };
    tx.execute(
        sql,
        values![share, record.header.seq, &hash, kind, payer, &bytes],
    )?;
    Ok(bytes.len() as u64)
}

pub(crate) fn find(
    tx: &Tx<'_>,
    share: &ShareId,
    record: &RecordHash,
) -> Result<Option<Seq>, DbError> {
    let sql = "SELECT seq FROM record WHERE share = $1 AND hash = $2";
    tx.row(sql, values![share, record], |row| Ok(Seq(row.u64(0)?)))
}

/// Lengths of records from a place on, to choose how many fit.
pub(crate) fn lengths(
    tx: &Tx<'_>,
    share: &ShareId,
    from: Seq,
    limit: u64,
) -> Result<Vec<(Seq, u64)>, DbError> {
    let sql = "SELECT seq, LENGTH(bytes) FROM record WHERE share = $1 AND seq >= $2
        ORDER BY seq LIMIT $3";
    tx.rows(sql, values![share, from, limit], |row| {
        Ok((Seq(row.u64(0)?), row.u64(1)?))
    })
}

/// A record as it was appended.
pub(crate) fn get(tx: &Tx<'_>, share: &ShareId, seq: Seq) -> Result<Record, DbError> {
    let sql = "SELECT bytes FROM record WHERE share = $1 AND seq = $2";
    let bytes = tx.row(sql, values![share, seq], |row| row.bytes(0))?;
    let bytes = bytes.ok_or_else(|| odd(0))?;
    Record::decode(&bytes).map_err(|_| odd(0))
}

pub(crate) fn insert_grant(
    tx: &Tx<'_>,
    share: &ShareId,
    seq: Seq,
    grant: &Grant,
) -> Result<(), DbError> {
    let sql = "INSERT INTO record_grant (share, seq, recipient, bytes) VALUES ($1, $2, $3, $4)";
    let bytes = grant.encode();
    tx.execute(sql, values![share, seq, &grant.recipient, &bytes])?;
    Ok(())
}

pub(crate) fn grant(
    tx: &Tx<'_>,
    share: &ShareId,
    seq: Seq,
    recipient: &ChainRoot,
) -> Result<Option<Grant>, DbError> {
    let sql = "SELECT bytes FROM record_grant WHERE share = $1 AND seq = $2 AND recipient = $3";
    tx.row(sql, values![share, seq, recipient], |row| {
        Grant::decode(&row.bytes(0)?).map_err(|_| odd(0))
    })
}

/// Who paid for the records of a share, and for how many bytes.
pub(crate) fn payments(tx: &Tx<'_>, share: &ShareId) -> Result<Vec<(ChainRoot, u64)>, DbError> {
    let sql = "SELECT payer, SUM(LENGTH(bytes)) FROM record WHERE share = $1 GROUP BY payer";
    tx.rows(sql, values![share], |row| {
        Ok((ChainRoot(row.fixed(0)?), row.u64(1)?))
    })
}

/// Keeps the last receipt of a device; `false` if a later one is there.
pub(crate) fn put_receipt(tx: &Tx<'_>, signed: &Signed<Receipt>) -> Result<bool, DbError> {
    let sql = "INSERT INTO receipt (share, root, device, seq, bytes) VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (share, root, device) DO UPDATE SET seq = excluded.seq,
        bytes = excluded.bytes WHERE receipt.seq <= excluded.seq";
    let receipt = signed.unverified();
    let bytes = signed.encode();
    let changed = tx.execute(
        sql,
        values![
            &receipt.share,
            &receipt.root,
            &receipt.device,
            receipt.seq,
            &bytes
        ],
    )?;
    Ok(changed == 1)
}

/// The last of every device, the most recent places first.
pub(crate) fn receipts(tx: &Tx<'_>, share: &ShareId) -> Result<Vec<Signed<Receipt>>, DbError> {
    let sql = "SELECT bytes FROM receipt WHERE share = $1 ORDER BY seq DESC, root, device LIMIT $2";
    tx.rows(sql, values![share, limits::RECEIPTS as u64], |row| {
        Signed::decode(&row.bytes(0)?).map_err(|_| odd(0))
    })
}
