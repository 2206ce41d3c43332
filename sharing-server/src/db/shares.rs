//! Shares and who takes part in them.

use std::collections::BTreeMap;

use keyfold_crypto::{EpochCommitment, IdentityPublic, KemPublic};
use keyfold_protocol::chain::KeyEntry;
use keyfold_protocol::error_code::HeadReply;
use keyfold_protocol::ids::{
    ChainRoot, EntryHash, Epoch, Nonce, RecordHash, RosterVersion, Seq, ShareId, Time,
};
use keyfold_protocol::roster::{Member, Role, Roster};

use super::value::odd;
use super::{DbError, Row, Tx, values};

/// A share's log as far as it goes, without its members.
#[derive(Debug, Clone)]
pub(crate) struct Share {
    pub(crate) id: ShareId,
    pub(crate) deleted: bool,
    pub(crate) creator: ChainRoot,
    pub(crate) nonce: Nonce,
    pub(crate) head: HeadReply,
    pub(crate) roster_record: RecordHash,
    /// The latest time of a roster record by an owner.
    pub(crate) roster_time: Time,
    pub(crate) version: RosterVersion,
    pub(crate) epoch: Epoch,
    pub(crate) commitment: EpochCommitment,
    pub(crate) rotation_due: bool,
    pub(crate) snapshot: Option<Seq>,
    pub(crate) retention: u64,
}

const COLUMNS: &str = "id, deleted, creator, nonce, head_seq, head, roster_record, roster_time,
    version, epoch, commitment, rotation_due, snapshot, retention";

fn read(row: &Row<'_>) -> Result<Share, DbError> {
    Ok(Share {
        id: ShareId(row.fixed(0)?),
        deleted: row.flag(1)?,
        creator: ChainRoot(row.fixed(2)?),
        nonce: Nonce(row.fixed(3)?),
        head: HeadReply {
            seq: Seq(row.u64(4)?),
            record: RecordHash(row.fixed(5)?),
        },
        roster_record: RecordHash(row.fixed(6)?),
        roster_time: Time(row.u64(7)?),
        version: RosterVersion(row.u64(8)?),
        epoch: Epoch(row.u64(9)?),
        commitment: EpochCommitment(row.fixed(10)?),
        rotation_due: row.flag(11)?,
        snapshot: row.optional_u64(12)?.map(Seq),
        retention: row.u64(13)?,
    })
}

/// Deleted ones too: a share never begins twice.
pub(crate) fn find(tx: &Tx<'_>, id: &ShareId) -> Result<Option<Share>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM share WHERE id = $1");
    tx.row(&sql, values![id], read)
}

pub(crate) fn insert(tx: &Tx<'_>, share: &Share) -> Result<(), DbError> {
    let sql = "INSERT INTO share (id, deleted, creator, nonce, head_seq, head, roster_record,
        roster_time, version, epoch, commitment, rotation_due, snapshot, retention)
        VALUES ($1, 0, $2, $3, $4, $5, $6, $7, $8, $9, $10, 0, NULL, $11)";
    tx.execute(
        sql,
        values![
            &share.id,
            &share.creator,
            &share.nonce.0,
            share.head.seq,
            &share.head.record,
            &share.roster_record,
            share.roster_time,
            share.version,
            share.epoch,
            &share.commitment.0,
            share.retention,
        ],
    )?;
    Ok(())
}

/// Moves the head from the record `before`: `false` if that is not the head.
pub(crate) fn advance(tx: &Tx<'_>, share: &Share, before: &RecordHash) -> Result<bool, DbError> {
    let sql = "UPDATE share SET head_seq = $3, head = $4, roster_record = $5, roster_time = $6,
        version = $7, epoch = $8, commitment = $9, rotation_due = $10, snapshot = $11
        WHERE id = $1 AND head = $2 AND deleted = 0";
    let changed = tx.execute(
        sql,
        values![
            &share.id,
            before,
            share.head.seq,
            &share.head.record,
            &share.roster_record,
            share.roster_time,
            share.version,
            share.epoch,
            &share.commitment.0,
            u64::from(share.rotation_due),
            share.snapshot,
        ],
    )?;
    Ok(changed == 1)
}

pub(crate) fn set_rotation_due(tx: &Tx<'_>, id: &ShareId) -> Result<(), DbError> {
    let sql = "UPDATE share SET rotation_due = 1 WHERE id = $1";
    tx.execute(sql, values![id])?;
    Ok(())
}

pub(crate) fn set_retention(tx: &Tx<'_>, id: &ShareId, seconds: u64) -> Result<(), DbError> {
    let sql = "UPDATE share SET retention = $2 WHERE id = $1";
    tx.execute(sql, values![id, seconds])?;
    Ok(())
}

/// Forgets all of a share but that it was there. Its objects are doomed by `blobs::doom_share`.
pub(crate) fn delete(tx: &Tx<'_>, id: &ShareId) -> Result<(), DbError> {
    for sql in [
        "UPDATE share SET deleted = 1 WHERE id = $1",
        "DELETE FROM member WHERE share = $1",
        "DELETE FROM record_grant WHERE share = $1",
        "DELETE FROM record WHERE share = $1",
        "DELETE FROM receipt WHERE share = $1",
        "DELETE FROM request WHERE share = $1",
        "DELETE FROM audience WHERE hash IN (SELECT hash FROM publication WHERE share = $1)",
        "DELETE FROM publication WHERE share = $1",
    ] {
        tx.execute(sql, values![id])?;
    }
    Ok(())
}

pub(crate) fn role_number(role: Role) -> u64 {
    match role {
        Role::Reader => 0,
        Role::Writer => 1,
        Role::Owner => 2,
    }
}

fn role(number: u64, column: usize) -> Result<Role, DbError> {
    match number {
        0 => Ok(Role::Reader),
        1 => Ok(Role::Writer),
        2 => Ok(Role::Owner),
        _ => Err(odd(column)),
    }
}

const MEMBER: &str = "root, user_name, entry, entry_seq, identity, kem, role, expires";

fn read_member(row: &Row<'_>) -> Result<Member, DbError> {
    Ok(Member {
        key: KeyEntry {
            root: ChainRoot(row.fixed(0)?),
            user: row.name(1)?,
            entry: EntryHash(row.fixed(2)?),
            seq: row.u64(3)?,
            identity: IdentityPublic(row.fixed(4)?),
            kem: KemPublic::from_slice(&row.bytes(5)?).map_err(|_| odd(5))?,
        },
        role: role(row.u64(6)?, 6)?,
        expires: row.optional_u64(7)?.map(Time),
    })
}

pub(crate) fn member(
    tx: &Tx<'_>,
    share: &ShareId,
    root: &ChainRoot,
) -> Result<Option<Member>, DbError> {
    let sql = format!("SELECT {MEMBER} FROM member WHERE share = $1 AND root = $2");
    tx.row(&sql, values![share, root], read_member)
}

pub(crate) fn roster(tx: &Tx<'_>, share: &Share) -> Result<Roster, DbError> {
    let sql = format!("SELECT {MEMBER} FROM member WHERE share = $1");
    let members = tx.rows(&sql, values![&share.id], read_member)?;
    let members: BTreeMap<_, _> = members.into_iter().map(|m| (m.key.root, m)).collect();
    Ok(Roster {
        nonce: share.nonce,
        version: share.version,
        epoch: share.epoch,
        commitment: share.commitment,
        creator: share.creator,
        members,
    })
}

pub(crate) fn put_member(tx: &Tx<'_>, share: &ShareId, member: &Member) -> Result<(), DbError> {
    let sql = "INSERT INTO member (share, root, user_name, entry, entry_seq, identity, kem, role,
        expires) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
        ON CONFLICT (share, root) DO UPDATE SET entry = excluded.entry,
        entry_seq = excluded.entry_seq, identity = excluded.identity, kem = excluded.kem,
        role = excluded.role, expires = excluded.expires";
    let key = &member.key;
    tx.execute(
        sql,
        values![
            share,
            &key.root,
            &key.user,
            &key.entry,
            key.seq,
            &key.identity.0,
            key.kem.as_bytes(),
            role_number(member.role),
            member.expires,
        ],
    )?;
    Ok(())
}

pub(crate) fn remove_member(tx: &Tx<'_>, share: &ShareId, root: &ChainRoot) -> Result<(), DbError> {
    let sql = "DELETE FROM member WHERE share = $1 AND root = $2";
    tx.execute(sql, values![share, root])?;
    let sql = "DELETE FROM receipt WHERE share = $1 AND root = $2";
    tx.execute(sql, values![share, root])?;
    Ok(())
}

/// Shares of a member.
pub(crate) fn of(tx: &Tx<'_>, root: &ChainRoot) -> Result<Vec<(Share, Member)>, DbError> {
    let sql = "SELECT share FROM member WHERE root = $1 ORDER BY share";
    let ids = tx.rows(sql, values![root], |row| Ok(ShareId(row.fixed(0)?)))?;
    let mut found = Vec::new();
    for id in ids {
        if let (Some(share), Some(member)) = (find(tx, &id)?, member(tx, &id, root)?) {
            found.push((share, member));
        }
    }
    Ok(found)
}

/// Whether somebody's time has passed.
pub(crate) fn has_expired(tx: &Tx<'_>, share: &ShareId, now: Time) -> Result<bool, DbError> {
    let sql = "SELECT COUNT(*) FROM member WHERE share = $1 AND expires <= $2";
    Ok(tx.number(sql, values![share, now])? > 0)
}

pub(crate) fn owners(tx: &Tx<'_>, share: &ShareId) -> Result<Vec<ChainRoot>, DbError> {
    let sql = "SELECT root FROM member WHERE share = $1 AND role = 2";
    tx.rows(sql, values![share], |row| Ok(ChainRoot(row.fixed(0)?)))
}
