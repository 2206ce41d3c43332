//! Publications and requests.

use keyfold_protocol::cbor::Encoded;
use keyfold_protocol::ids::{ChainRoot, PublicationHash, RequestHash, ShareId, Time};
use keyfold_protocol::names::{Slug, UserName};
use keyfold_protocol::publication::{Audience, Publication};
use keyfold_protocol::request::Request;
use keyfold_protocol::signed::Signed;
use keyfold_protocol::wire::RequestState;

use super::{DbError, Row, Tx, values};

/// A publication as it stands.
#[derive(Debug, Clone)]
pub(crate) struct Offer {
    pub(crate) hash: PublicationHash,
    pub(crate) share: ShareId,
    pub(crate) serial: u64,
    pub(crate) owner: ChainRoot,
    pub(crate) owner_name: UserName,
    pub(crate) bytes: Vec<u8>,
}

const NOBODY: u64 = 0;
const EVERYONE: u64 = 1;
const USERS: u64 = 2;

const COLUMNS: &str = "p.hash, p.share, p.serial, p.owner, a.name, p.bytes
    FROM publication p JOIN account a ON a.root = p.owner";

/// In force, of an owner who still is one, and meant for the user $1.
const OFFERED: &str = "p.current = 1 AND p.audience <> 0 AND a.deleted = 0 AND a.disabled = 0
    AND EXISTS (SELECT 1 FROM member m WHERE m.share = p.share AND m.root = p.owner AND m.role = 2)
    AND (p.audience = 1 OR a.name = $1
         OR EXISTS (SELECT 1 FROM audience u WHERE u.hash = p.hash AND u.user_name = $1))";

fn read(row: &Row<'_>) -> Result<Offer, DbError> {
    Ok(Offer {
        hash: PublicationHash(row.fixed(0)?),
        share: ShareId(row.fixed(1)?),
        serial: row.u64(2)?,
        owner: ChainRoot(row.fixed(3)?),
        owner_name: row.name(4)?,
        bytes: row.bytes(5)?,
    })
}

/// The last publication of a share, whether it still offers something or not.
pub(crate) fn current(tx: &Tx<'_>, share: &ShareId) -> Result<Option<Offer>, DbError> {
    let sql = format!("SELECT {COLUMNS} WHERE p.share = $1 AND p.current = 1");
    tx.row(&sql, values![share], read)
}

pub(crate) fn by_hash(tx: &Tx<'_>, hash: &PublicationHash) -> Result<Option<Offer>, DbError> {
    let sql = format!("SELECT {COLUMNS} WHERE p.hash = $1");
    tx.row(&sql, values![hash], read)
}

/// Whether a publication is in force and meant for a user.
pub(crate) fn is_offered(
    tx: &Tx<'_>,
    hash: &PublicationHash,
    user: &UserName,
) -> Result<bool, DbError> {
    let sql = format!("SELECT {COLUMNS} WHERE {OFFERED} AND p.hash = $2");
    Ok(tx.row(&sql, values![user, hash], read)?.is_some())
}

/// Whether a publication, in force or not, was meant for a user.
pub(crate) fn was_offered(
    tx: &Tx<'_>,
    hash: &PublicationHash,
    user: &UserName,
) -> Result<bool, DbError> {
    let sql = "SELECT COUNT(*) FROM publication p WHERE p.hash = $1 AND (p.audience = 1
        OR EXISTS (SELECT 1 FROM audience u WHERE u.hash = p.hash AND u.user_name = $2))";
    Ok(tx.number(sql, values![hash, user])? > 0)
}

/// All that is offered to a user by others.
pub(crate) fn offered(tx: &Tx<'_>, user: &UserName) -> Result<Vec<Offer>, DbError> {
    let sql = format!("SELECT {COLUMNS} WHERE {OFFERED} ORDER BY a.name, p.slug LIMIT 4096");
    tx.rows(&sql, values![user], read)
}

/// What an address names, if it is offered to a user.
pub(crate) fn by_slug(
    tx: &Tx<'_>,
    user: &UserName,
    owner: &UserName,
    slug: &Slug,
) -> Result<Option<Offer>, DbError> {
    let sql = format!("SELECT {COLUMNS} WHERE {OFFERED} AND a.name = $2 AND p.slug = $3");
    tx.row(&sql, values![user, owner, slug], read)
}

/// Whether an owner's slug names another share of his.
pub(crate) fn slug_taken(
    tx: &Tx<'_>,
    owner: &ChainRoot,
    slug: &Slug,
    share: &ShareId,
) -> Result<bool, DbError> {
    let sql = "SELECT COUNT(*) FROM publication WHERE owner = $1 AND slug = $2 AND share <> $3
        AND current = 1 AND audience <> 0";
    Ok(tx.number(sql, values![owner, slug, share])? > 0)
}

/// Puts a publication in place of the one before.
pub(crate) fn publish(tx: &Tx<'_>, signed: &Signed<Publication>) -> Result<(), DbError> {
    let publication = signed.unverified();
    let sql = "UPDATE publication SET current = 0 WHERE share = $1";
    tx.execute(sql, values![&publication.share])?;
    let audience = match &publication.audience {
        Audience::Nobody => NOBODY,
        Audience::Everyone => EVERYONE,
        Audience::Users(_) => USERS,
    };
    let sql = "INSERT INTO publication (hash, share, serial, owner, slug, audience, current, bytes)
        VALUES ($1, $2, $3, $4, $5, $6, 1, $7)";
    let (hash, bytes) = (publication.hash(), signed.encode());
    tx.execute(
        sql,
        values![
            &hash,
            &publication.share,
            publication.serial,
            &publication.owner,
            &publication.slug,
            audience,
            &bytes,
        ],
    )?;
    if let Audience::Users(users) = &publication.audience {
        let sql = "INSERT INTO audience (hash, user_name) VALUES ($1, $2)";
        for user in users {
            tx.execute(sql, values![&hash, user])?;
        }
    }
    Ok(())
}

/// A request as it stands.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) share: ShareId,
    pub(crate) root: ChainRoot,
    pub(crate) received: Time,
    pub(crate) expires: Time,
    pub(crate) state: RequestState,
    pub(crate) bytes: Vec<u8>,
    pub(crate) decision: Option<Vec<u8>>,
}

const ASKED: &str = "share, root, received, expires, state, bytes, decision FROM request";

fn read_asked(row: &Row<'_>) -> Result<Asked, DbError> {
    Ok(Asked {
        share: ShareId(row.fixed(0)?),
        root: ChainRoot(row.fixed(1)?),
        received: Time(row.u64(2)?),
        expires: Time(row.u64(3)?),
        state: match row.u64(4)? {
            0 => RequestState::Open,
            1 => RequestState::Granted,
            2 => RequestState::Denied,
            _ => RequestState::Withdrawn,
        },
        bytes: row.bytes(5)?,
        decision: row.optional_bytes(6)?,
    })
}

pub(crate) fn asked(tx: &Tx<'_>, hash: &RequestHash) -> Result<Option<Asked>, DbError> {
    let sql = format!("SELECT {ASKED} WHERE hash = $1");
    tx.row(&sql, values![hash], read_asked)
}

pub(crate) fn ask(
    tx: &Tx<'_>,
    signed: &Signed<Request>,
    share: &ShareId,
    now: Time,
) -> Result<(), DbError> {
    let request = signed.unverified();
    let sql =
        "INSERT INTO request (hash, publication, share, root, received, expires, state, bytes)
        VALUES ($1, $2, $3, $4, $5, $6, 0, $7)";
    let (hash, bytes) = (request.hash(), signed.encode());
    tx.execute(
        sql,
        values![
            &hash,
            &request.publication,
            share,
            &request.root,
            now,
            request.expires,
            &bytes,
        ],
    )?;
    Ok(())
}

/// Requests by somebody to a share that wait for an answer.
pub(crate) fn waiting(
    tx: &Tx<'_>,
    root: &ChainRoot,
    share: &ShareId,
    now: Time,
) -> Result<u64, DbError> {
    let sql = "SELECT COUNT(*) FROM request
        WHERE root = $1 AND share = $2 AND state = 0 AND expires > $3";
    tx.number(sql, values![root, share, now])
}

/// Requests to shares that somebody owns.
pub(crate) fn incoming(tx: &Tx<'_>, owner: &ChainRoot) -> Result<Vec<Asked>, DbError> {
    let sql = format!(
        "SELECT {ASKED} WHERE share IN (SELECT share FROM member WHERE root = $1 AND role = 2)
         ORDER BY received, hash LIMIT 1024"
    );
    tx.rows(&sql, values![owner], read_asked)
}

pub(crate) fn outgoing(tx: &Tx<'_>, root: &ChainRoot) -> Result<Vec<Asked>, DbError> {
    let sql = format!("SELECT {ASKED} WHERE root = $1 ORDER BY received, hash LIMIT 1024");
    tx.rows(&sql, values![root], read_asked)
}

/// Ends a request that is open; `false` if it is not.
pub(crate) fn end_request(
    tx: &Tx<'_>,
    hash: &RequestHash,
    state: RequestState,
    decision: Option<&[u8]>,
) -> Result<bool, DbError> {
    let number: u64 = match state {
        RequestState::Granted => 1,
        RequestState::Denied => 2,
        RequestState::Withdrawn => 3,
        RequestState::Open | RequestState::Expired => return Ok(false),
    };
    let sql = "UPDATE request SET state = $2, decision = $3 WHERE hash = $1 AND state = 0";
    Ok(tx.execute(sql, values![hash, number, decision])? == 1)
}

/// Forgets requests that ended or expired long ago.
pub(crate) fn forget_requests(tx: &Tx<'_>, before: Time) -> Result<(), DbError> {
    let sql = "DELETE FROM request WHERE expires < $1 AND received < $1";
    tx.execute(sql, values![before])?;
    Ok(())
}
