//! Sessions and tokens that were mailed: stored as hashes.

use keyfold_protocol::ids::{ChainRoot, DeviceId, Time};
use keyfold_protocol::names::{DeviceName, Email};
use keyfold_protocol::wire::Device;

use super::{DbError, Tx, values};

/// SHA-256 of a token of 256 random bits: it cannot be guessed from that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct TokenHash(pub(crate) [u8; 32]);

/// A session in force.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    pub(crate) token: TokenHash,
    pub(crate) root: ChainRoot,
    pub(crate) device: DeviceId,
    pub(crate) device_name: DeviceName,
    pub(crate) last_seen: Time,
    pub(crate) expires: Time,
}

pub(crate) fn insert(tx: &Tx<'_>, session: &Session) -> Result<(), DbError> {
    let sql = "INSERT INTO session (token, root, device, device_name, since, last_seen, expires)
        VALUES ($1, $2, $3, $4, $5, $5, $6)";
    tx.execute(
        sql,
        values![
            &session.token.0,
            &session.root,
            &session.device,
            &session.device_name,
            session.last_seen,
            session.expires,
        ],
    )?;
    Ok(())
}

pub(crate) fn find(tx: &Tx<'_>, token: TokenHash, now: Time) -> Result<Option<Session>, DbError> {
    let sql = "SELECT root, device, device_name, last_seen, expires FROM session
        WHERE token = $1 AND expires > $2";
    tx.row(sql, values![&token.0, now], |row| {
        Ok(Session {
            token,
            root: ChainRoot(row.fixed(0)?),
            device: DeviceId(row.fixed(1)?),
            device_name: row.name(2)?,
            last_seen: Time(row.u64(3)?),
            expires: Time(row.u64(4)?),
        })
    })
}

pub(crate) fn touch(
    tx: &Tx<'_>,
    token: TokenHash,
    now: Time,
    expires: Time,
) -> Result<(), DbError> {
    let sql = "UPDATE session SET last_seen = $2, expires = $3 WHERE token = $1";
    tx.execute(sql, values![&token.0, now, expires])?;
    Ok(())
}

pub(crate) fn end(tx: &Tx<'_>, token: TokenHash) -> Result<(), DbError> {
    tx.execute("DELETE FROM session WHERE token = $1", values![&token.0])?;
    Ok(())
}

pub(crate) fn end_all(tx: &Tx<'_>, root: &ChainRoot) -> Result<(), DbError> {
    tx.execute("DELETE FROM session WHERE root = $1", values![root])?;
    Ok(())
}

/// Ends the sessions of a device; how many there were.
pub(crate) fn end_device(
    tx: &Tx<'_>,
    root: &ChainRoot,
    device: &DeviceId,
) -> Result<usize, DbError> {
    let sql = "DELETE FROM session WHERE root = $1 AND device = $2";
    tx.execute(sql, values![root, device])
}

/// Keeps the newest sessions of an account.
pub(crate) fn end_oldest(tx: &Tx<'_>, root: &ChainRoot, kept: u64) -> Result<(), DbError> {
    let sql = "DELETE FROM session WHERE root = $1 AND token NOT IN
        (SELECT token FROM session WHERE root = $1 ORDER BY last_seen DESC, token LIMIT $2)";
    tx.execute(sql, values![root, kept])?;
    Ok(())
}

/// Devices with a session, each once.
pub(crate) fn devices(
    tx: &Tx<'_>,
    root: &ChainRoot,
    now: Time,
    asking: &DeviceId,
) -> Result<Vec<Device>, DbError> {
    let sql = "SELECT device, MAX(device_name), MIN(since), MAX(last_seen) FROM session
        WHERE root = $1 AND expires > $2 GROUP BY device ORDER BY MIN(since), device";
    tx.rows(sql, values![root, now], |row| {
        let device = DeviceId(row.fixed(0)?);
        Ok(Device {
            device,
            name: row.name(1)?,
            since: Time(row.u64(2)?),
            last_seen: Time(row.u64(3)?),
            current: device == *asking,
        })
    })
}

pub(crate) fn forget_expired(tx: &Tx<'_>, now: Time) -> Result<(), DbError> {
    tx.execute("DELETE FROM session WHERE expires <= $1", values![now])?;
    tx.execute("DELETE FROM mail_token WHERE expires <= $1", values![now])?;
    Ok(())
}

/// What a mailed token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MailKind {
    /// Proves an address.
    Verify,
    /// Lets somebody register.
    Invite,
    /// Good for nothing.
    Nothing,
}

/// A token that was mailed.
#[derive(Debug, Clone)]
pub(crate) struct MailToken {
    pub(crate) token: TokenHash,
    pub(crate) kind: MailKind,
    pub(crate) email: Email,
    pub(crate) root: Option<ChainRoot>,
    pub(crate) created: Time,
    pub(crate) expires: Time,
}

pub(crate) fn insert_mail_token(tx: &Tx<'_>, mail: &MailToken) -> Result<(), DbError> {
    let sql = "INSERT INTO mail_token (token, kind, email, root, created, expires)
        VALUES ($1, $2, $3, $4, $5, $6)";
    tx.execute(
        sql,
        values![
            &mail.token.0,
            mail.kind as u64,
            &mail.email,
            mail.root.as_ref(),
            mail.created,
            mail.expires,
        ],
    )?;
    Ok(())
}

/// What a token that was taken is for: an account, or somebody who has none yet.
pub(crate) struct Taken {
    pub(crate) root: Option<ChainRoot>,
}

/// Takes a token: nobody takes it again.
pub(crate) fn take_mail_token(
    tx: &Tx<'_>,
    token: TokenHash,
    kind: MailKind,
    now: Time,
) -> Result<Option<Taken>, DbError> {
    let sql = "SELECT root FROM mail_token WHERE token = $1 AND kind = $2 AND expires > $3";
    let found = tx.row(sql, values![&token.0, kind as u64, now], |row| {
        let root = row.optional_bytes(0)?;
        let root = root.and_then(|root| root.try_into().ok()).map(ChainRoot);
        Ok(Taken { root })
    })?;
    tx.execute("DELETE FROM mail_token WHERE token = $1", values![&token.0])?;
    Ok(found)
}

/// Mails of a kind to an address since a time.
pub(crate) fn mails_since(
    tx: &Tx<'_>,
    kind: MailKind,
    email: &Email,
    since: Time,
) -> Result<u64, DbError> {
    let sql = "SELECT COUNT(*) FROM mail_token WHERE email = $1 AND kind = $2 AND created > $3";
    tx.number(sql, values![email, kind as u64, since])
}
