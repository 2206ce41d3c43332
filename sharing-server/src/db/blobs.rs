//! What is known of blobs. Their bytes are objects, of which none is ever written twice.

use keyfold_protocol::ids::{BlobId, ChainRoot, Seq, ShareId, Time};
use keyfold_protocol::wire::DroppedBlob;

use super::{DbError, Row, Tx, values};

/// A blob, or what there is of it.
#[derive(Debug, Clone)]
pub(crate) struct Blob {
    pub(crate) size: u64,
    pub(crate) received: u64,
    /// Where its bytes are, once all are there, durable and hashed.
    pub(crate) object: Option<String>,
    pub(crate) payer: ChainRoot,
}

impl Blob {
    /// The object that holds all of it, and its size.
    pub(crate) fn whole(self) -> Option<(String, u64)> {
        self.object.map(|object| (object, self.size))
    }
}

/// A piece that came on its own.
#[derive(Debug, Clone)]
pub(crate) struct Piece {
    pub(crate) length: u64,
    pub(crate) object: String,
}

fn read(row: &Row<'_>) -> Result<Blob, DbError> {
    Ok(Blob {
        size: row.u64(0)?,
        received: row.u64(1)?,
        object: row.optional_text(2)?,
        payer: ChainRoot(row.fixed(3)?),
    })
}

pub(crate) fn find(tx: &Tx<'_>, share: &ShareId, id: &BlobId) -> Result<Option<Blob>, DbError> {
    let sql = "SELECT size, received, object, payer FROM blob
        WHERE share = $1 AND id = $2";
    tx.row(sql, values![share, id], read)
}

pub(crate) fn is_complete(tx: &Tx<'_>, share: &ShareId, id: &BlobId) -> Result<bool, DbError> {
    let sql = "SELECT COUNT(*) FROM blob WHERE share = $1 AND id = $2 AND object IS NOT NULL";
    Ok(tx.number(sql, values![share, id])? == 1)
}

/// Begins a blob of which nothing is there yet.
pub(crate) fn begin(
    tx: &Tx<'_>,
    (share, id): (&ShareId, &BlobId),
    (size, payer): (u64, &ChainRoot),
    now: Time,
) -> Result<(), DbError> {
    let sql = "INSERT INTO blob (share, id, size, received, object, payer, created)
        VALUES ($1, $2, $3, 0, NULL, $4, $5)";
    tx.execute(sql, values![share, id, size, payer, now])?;
    Ok(())
}

/// Takes a piece that begins where the last ended; `false` if it does not.
pub(crate) fn add_piece(
    tx: &Tx<'_>,
    (share, id): (&ShareId, &BlobId),
    start: u64,
    piece: &Piece,
) -> Result<bool, DbError> {
    let sql = "UPDATE blob SET received = received + $4
        WHERE share = $1 AND id = $2 AND received = $3 AND object IS NULL";
    if tx.execute(sql, values![share, id, start, piece.length])? != 1 {
        return Ok(false);
    }
    let sql = "INSERT INTO piece (share, id, start, length, object) VALUES ($1, $2, $3, $4, $5)";
    tx.execute(
        sql,
        values![share, id, start, piece.length, piece.object.as_str()],
    )?;
    Ok(true)
}

pub(crate) fn pieces(tx: &Tx<'_>, share: &ShareId, id: &BlobId) -> Result<Vec<Piece>, DbError> {
    let sql = "SELECT length, object FROM piece WHERE share = $1 AND id = $2 ORDER BY start";
    tx.rows(sql, values![share, id], |row| {
        Ok(Piece {
            length: row.u64(0)?,
            object: row.text(1)?,
        })
    })
}

/// Names the object that holds all of a blob; `false` if there is one already.
pub(crate) fn complete(
    tx: &Tx<'_>,
    share: &ShareId,
    id: &BlobId,
    object: &str,
) -> Result<bool, DbError> {
    let sql = "UPDATE blob SET object = $3, received = size
        WHERE share = $1 AND id = $2 AND object IS NULL";
    if tx.execute(sql, values![share, id, object])? != 1 {
        return Ok(false);
    }
    doom_pieces(tx, share, id)?;
    Ok(true)
}

/// Forgets pieces; their objects go later.
pub(crate) fn doom_pieces(tx: &Tx<'_>, share: &ShareId, id: &BlobId) -> Result<(), DbError> {
    let sql = "INSERT INTO doomed (object) SELECT object FROM piece WHERE share = $1 AND id = $2
        ON CONFLICT DO NOTHING";
    tx.execute(sql, values![share, id])?;
    let sql = "DELETE FROM piece WHERE share = $1 AND id = $2";
    tx.execute(sql, values![share, id])?;
    Ok(())
}

/// Forgets a blob; its objects go later. What its payer gets back is for the caller to say.
pub(crate) fn doom(tx: &Tx<'_>, share: &ShareId, id: &BlobId) -> Result<(), DbError> {
    doom_pieces(tx, share, id)?;
    let sql = "INSERT INTO doomed (object) SELECT object FROM blob
        WHERE share = $1 AND id = $2 AND object IS NOT NULL ON CONFLICT DO NOTHING";
    tx.execute(sql, values![share, id])?;
    let sql = "DELETE FROM blob WHERE share = $1 AND id = $2";
    tx.execute(sql, values![share, id])?;
    Ok(())
}

pub(crate) fn all_of(tx: &Tx<'_>, share: &ShareId) -> Result<Vec<BlobId>, DbError> {
    let sql = "SELECT id FROM blob WHERE share = $1";
    tx.rows(sql, values![share], |row| Ok(BlobId(row.fixed(0)?)))
}

/// A record at `seq` names the blob.
pub(crate) fn name(tx: &Tx<'_>, share: &ShareId, id: &BlobId, seq: Seq) -> Result<(), DbError> {
    let sql = "UPDATE blob SET added_at = $3, dropped_at = NULL, dropped_time = NULL
        WHERE share = $1 AND id = $2";
    tx.execute(sql, values![share, id, seq])?;
    Ok(())
}

/// The record at `seq` drops the blob, if there is one that is named.
pub(crate) fn drop_named(
    tx: &Tx<'_>,
    (share, id): (&ShareId, &BlobId),
    seq: Seq,
    now: Time,
) -> Result<(), DbError> {
    let sql = "UPDATE blob SET dropped_at = $3, dropped_time = $4
        WHERE share = $1 AND id = $2 AND added_at IS NOT NULL AND dropped_at IS NULL";
    tx.execute(sql, values![share, id, seq, now])?;
    Ok(())
}

/// Keeps a blob that was dropped; `false` if it was not, or is gone.
pub(crate) fn revive(tx: &Tx<'_>, share: &ShareId, id: &BlobId) -> Result<bool, DbError> {
    let sql = "UPDATE blob SET dropped_at = NULL, dropped_time = NULL
        WHERE share = $1 AND id = $2 AND dropped_at IS NOT NULL";
    Ok(tx.execute(sql, values![share, id])? == 1)
}

pub(crate) fn is_dropped(tx: &Tx<'_>, share: &ShareId, id: &BlobId) -> Result<bool, DbError> {
    let sql = "SELECT COUNT(*) FROM blob
        WHERE share = $1 AND id = $2 AND dropped_at IS NOT NULL";
    Ok(tx.number(sql, values![share, id])? == 1)
}

pub(crate) fn dropped(
    tx: &Tx<'_>,
    share: &ShareId,
    retention: u64,
) -> Result<Vec<DroppedBlob>, DbError> {
    let sql = "SELECT id, dropped_at, dropped_time FROM blob
        WHERE share = $1 AND dropped_at IS NOT NULL ORDER BY dropped_at, id";
    tx.rows(sql, values![share], |row| {
        Ok(DroppedBlob {
            blob: BlobId(row.fixed(0)?),
            dropped_at: Seq(row.u64(1)?),
            until: Time(row.u64(2)?.saturating_add(retention)),
        })
    })
}

/// Blobs whose time is over: dropped longer ago than their share keeps them, or never named by a
/// record and begun before `unnamed`.
pub(crate) fn overdue(
    tx: &Tx<'_>,
    now: Time,
    unnamed: Time,
    limit: u64,
) -> Result<Vec<(ShareId, BlobId)>, DbError> {
    let sql = "SELECT b.share, b.id FROM blob b JOIN share s ON s.id = b.share
        WHERE (b.dropped_time IS NOT NULL AND b.dropped_time + s.retention <= $1)
        OR (b.added_at IS NULL AND b.created <= $2) LIMIT $3";
    tx.rows(sql, values![now, unnamed, limit], |row| {
        Ok((ShareId(row.fixed(0)?), BlobId(row.fixed(1)?)))
    })
}

/// An object that was written and that nothing names.
pub(crate) fn doom_object(tx: &Tx<'_>, object: &str) -> Result<(), DbError> {
    let sql = "INSERT INTO doomed (object) VALUES ($1) ON CONFLICT DO NOTHING";
    tx.execute(sql, values![object])?;
    Ok(())
}

pub(crate) fn doomed(tx: &Tx<'_>, limit: u64) -> Result<Vec<String>, DbError> {
    let sql = "SELECT object FROM doomed ORDER BY object LIMIT $1";
    tx.rows(sql, values![limit], |row| row.text(0))
}

pub(crate) fn forget_doomed(tx: &Tx<'_>, object: &str) -> Result<(), DbError> {
    tx.execute("DELETE FROM doomed WHERE object = $1", values![object])?;
    Ok(())
}

/// Bytes of a share's blobs.
pub(crate) fn used(tx: &Tx<'_>, share: &ShareId) -> Result<u64, DbError> {
    let sql = "SELECT SUM(size) FROM blob WHERE share = $1 AND object IS NOT NULL";
    tx.number(sql, values![share])
}

/// Every object that a blob or a piece names.
pub(crate) fn objects(tx: &Tx<'_>) -> Result<Vec<String>, DbError> {
    let sql = "SELECT object FROM blob WHERE object IS NOT NULL UNION SELECT object FROM piece";
    tx.rows(sql, &[], |row| row.text(0))
}
