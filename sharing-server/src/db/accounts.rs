//! Accounts, their key chains, books and pins.

use keyfold_protocol::cbor::Encoded;
use keyfold_protocol::chain::SignedEntry;
use keyfold_protocol::ids::{ChainRoot, EntryHash, Nonce, Time, VaultId};
use keyfold_protocol::names::{Email, UserName};
use keyfold_protocol::wire::{AdminUser, Standing};

use super::{DbError, Row, Tx, values};

/// An account as it stands.
#[derive(Debug, Clone)]
pub(crate) struct Account {
    pub(crate) root: ChainRoot,
    pub(crate) name: UserName,
    pub(crate) email: Email,
    pub(crate) email_verified: bool,
    pub(crate) standing: Standing,
    pub(crate) disabled: bool,
    pub(crate) deleted: bool,
    pub(crate) quota: u64,
    pub(crate) used: u64,
    pub(crate) created: Time,
    pub(crate) last_event: u64,
}

/// What a login is checked with, and what it opens.
#[derive(Clone)]
pub(crate) struct Credentials {
    pub(crate) salt: [u8; 32],
    pub(crate) rounds: u32,
    pub(crate) mac: [u8; 32],
    /// HMAC of what proves a login by password.
    pub(crate) auth: [u8; 32],
    /// HMAC of what proves a login by recovery key.
    pub(crate) recovery_auth: [u8; 32],
    pub(crate) root_password: Vec<u8>,
    pub(crate) root_recovery: Vec<u8>,
}

const COLUMNS: &str = "root, name, email, email_verified, standing, disabled, deleted, quota, used,
    created, last_event";

fn read(row: &Row<'_>) -> Result<Account, DbError> {
    Ok(Account {
        root: ChainRoot(row.fixed(0)?),
        name: row.name(1)?,
        email: row.name(2)?,
        email_verified: row.flag(3)?,
        standing: standing(row.u64(4)?),
        disabled: row.flag(5)?,
        deleted: row.flag(6)?,
        quota: row.u64(7)?,
        used: row.u64(8)?,
        created: Time(row.u64(9)?),
        last_event: row.u64(10)?,
    })
}

fn standing(number: u64) -> Standing {
    match number {
        2 => Standing::Admin,
        1 => Standing::Auditor,
        _ => Standing::User,
    }
}

fn standing_number(standing: Standing) -> u64 {
    match standing {
        Standing::User => 0,
        Standing::Auditor => 1,
        Standing::Admin => 2,
    }
}

pub(crate) fn by_root(tx: &Tx<'_>, root: &ChainRoot) -> Result<Option<Account>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM account WHERE root = $1");
    tx.row(&sql, values![root], read)
}

/// Deleted ones too: a name is never given twice.
pub(crate) fn by_name(tx: &Tx<'_>, name: &UserName) -> Result<Option<Account>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM account WHERE name = $1");
    tx.row(&sql, values![name], read)
}

/// The account that has proved this address and is in use.
pub(crate) fn by_email(tx: &Tx<'_>, email: &Email) -> Result<Option<Account>, DbError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM account
         WHERE email = $1 AND email_verified = 1 AND deleted = 0 ORDER BY created, name LIMIT 1"
    );
    tx.row(&sql, values![email], read)
}

pub(crate) fn credentials(tx: &Tx<'_>, root: &ChainRoot) -> Result<Option<Credentials>, DbError> {
    let sql = "SELECT salt, rounds, mac, auth, recovery_auth, root_password, root_recovery
        FROM account WHERE root = $1";
    tx.row(sql, values![root], |row| {
        Ok(Credentials {
            salt: row.fixed(0)?,
            rounds: u32::try_from(row.u64(1)?).unwrap_or(u32::MAX),
            mac: row.fixed(2)?,
            auth: row.fixed(3)?,
            recovery_auth: row.fixed(4)?,
            root_password: row.bytes(5)?,
            root_recovery: row.bytes(6)?,
        })
    })
}

pub(crate) fn insert(
    tx: &Tx<'_>,
    account: &Account,
    credentials: &Credentials,
) -> Result<(), DbError> {
    let sql = "INSERT INTO account (root, name, email, email_verified, standing, disabled, deleted,
        quota, used, created, salt, rounds, mac, auth, recovery_auth, root_password, root_recovery,
        book_generation, book, last_event)
        VALUES ($1, $2, $3, $4, $5, 0, 0, $6, 0, $7, $8, $9, $10, $11, $12, $13, $14, 0, $15, 0)";
    let none: &[u8] = &[];
    tx.execute(
        sql,
        values![
            &account.root,
            &account.name,
            &account.email,
            u64::from(account.email_verified),
            standing_number(account.standing),
            account.quota,
            account.created,
            &credentials.salt,
            u64::from(credentials.rounds),
            &credentials.mac,
            &credentials.auth,
            &credentials.recovery_auth,
            &credentials.root_password,
            &credentials.root_recovery,
            none,
        ],
    )?;
    Ok(())
}

pub(crate) fn set_credentials(
    tx: &Tx<'_>,
    root: &ChainRoot,
    new: &Credentials,
) -> Result<(), DbError> {
    let sql = "UPDATE account SET salt = $2, rounds = $3, mac = $4, auth = $5, recovery_auth = $6,
        root_password = $7, root_recovery = $8 WHERE root = $1";
    let rounds = u64::from(new.rounds);
    tx.execute(
        sql,
        values![
            root,
            &new.salt,
            rounds,
            &new.mac,
            &new.auth,
            &new.recovery_auth,
            &new.root_password,
            &new.root_recovery,
        ],
    )?;
    Ok(())
}

pub(crate) fn set_roots(
    tx: &Tx<'_>,
    root: &ChainRoot,
    password: &[u8],
    recovery: &[u8],
) -> Result<(), DbError> {
    let sql = "UPDATE account SET root_password = $2, root_recovery = $3 WHERE root = $1";
    tx.execute(sql, values![root, password, recovery])?;
    Ok(())
}

pub(crate) fn verify_email(tx: &Tx<'_>, root: &ChainRoot) -> Result<(), DbError> {
    let sql = "UPDATE account SET email_verified = 1 WHERE root = $1";
    tx.execute(sql, values![root])?;
    Ok(())
}

/// What is known of a deleted account: that its name was given.
pub(crate) fn delete(tx: &Tx<'_>, root: &ChainRoot) -> Result<(), DbError> {
    let none: &[u8] = &[];
    let zeros = &[0; 32];
    let sql = "UPDATE account SET deleted = 1, email = 'deleted@invalid.invalid',
        email_verified = 0, standing = 0, auth = $2, recovery_auth = $2, salt = $2, mac = $2,
        root_password = $3, root_recovery = $3, book = $3 WHERE root = $1";
    tx.execute(sql, values![root, zeros, none])?;
    for sql in [
        "DELETE FROM session WHERE root = $1",
        "DELETE FROM pin WHERE root = $1",
        "DELETE FROM event WHERE root = $1",
        "DELETE FROM mail_token WHERE root = $1",
        "DELETE FROM receipt WHERE root = $1",
        "DELETE FROM request WHERE root = $1",
        "DELETE FROM second_factor WHERE root = $1",
        "DELETE FROM recovery_code WHERE root = $1",
    ] {
        tx.execute(sql, values![root])?;
    }
    Ok(())
}

/// Changes what an account stores, if it stays within its quota: `false` if it would not.
pub(crate) fn charge(tx: &Tx<'_>, root: &ChainRoot, bytes: u64) -> Result<bool, DbError> {
    let sql = "UPDATE account SET used = used + $2 WHERE root = $1 AND used + $2 <= quota";
    Ok(tx.execute(sql, values![root, bytes])? == 1)
}

pub(crate) fn refund(tx: &Tx<'_>, root: &ChainRoot, bytes: u64) -> Result<(), DbError> {
    let sql = "UPDATE account SET used = CASE WHEN used > $2 THEN used - $2 ELSE 0 END
        WHERE root = $1";
    tx.execute(sql, values![root, bytes])?;
    Ok(())
}

pub(crate) fn append_entry(
    tx: &Tx<'_>,
    root: &ChainRoot,
    signed: &SignedEntry,
) -> Result<(), DbError> {
    let entry = signed.unverified();
    let sql = "INSERT INTO chain_entry (root, seq, entry, signed) VALUES ($1, $2, $3, $4)";
    let (hash, bytes) = (entry.hash(), signed.encode());
    tx.execute(sql, values![root, entry.seq, &hash, &bytes])?;
    Ok(())
}

/// The entries of a chain with their signatures, first entry first.
pub(crate) fn chain(tx: &Tx<'_>, root: &ChainRoot) -> Result<Vec<SignedEntry>, DbError> {
    let sql = "SELECT signed FROM chain_entry WHERE root = $1 ORDER BY seq";
    tx.rows(sql, values![root], |row| {
        SignedEntry::decode(&row.bytes(0)?).map_err(|_| super::value::odd(0))
    })
}

/// The entry of a chain with this hash.
pub(crate) fn entry(
    tx: &Tx<'_>,
    root: &ChainRoot,
    entry: &EntryHash,
) -> Result<Option<SignedEntry>, DbError> {
    let sql = "SELECT signed FROM chain_entry WHERE root = $1 AND entry = $2";
    tx.row(sql, values![root, entry], |row| {
        SignedEntry::decode(&row.bytes(0)?).map_err(|_| super::value::odd(0))
    })
}

pub(crate) fn head_entry(tx: &Tx<'_>, root: &ChainRoot) -> Result<Option<EntryHash>, DbError> {
    let sql = "SELECT entry FROM chain_entry WHERE root = $1 ORDER BY seq DESC LIMIT 1";
    tx.row(sql, values![root], |row| Ok(EntryHash(row.fixed(0)?)))
}

pub(crate) fn book(tx: &Tx<'_>, root: &ChainRoot) -> Result<Option<(u64, Vec<u8>)>, DbError> {
    let sql = "SELECT book_generation, book FROM account WHERE root = $1";
    tx.row(sql, values![root], |row| Ok((row.u64(0)?, row.bytes(1)?)))
}

/// Replaces the book of the generation before; `false` if that is not the one there.
pub(crate) fn put_book(
    tx: &Tx<'_>,
    root: &ChainRoot,
    generation: u64,
    sealed: &[u8],
) -> Result<bool, DbError> {
    let sql = "UPDATE account SET book_generation = $2, book = $3
        WHERE root = $1 AND book_generation + 1 = $2";
    Ok(tx.execute(sql, values![root, generation, sealed])? == 1)
}

pub(crate) fn pin(
    tx: &Tx<'_>,
    root: &ChainRoot,
    vault: &VaultId,
) -> Result<Option<(u64, Vec<u8>)>, DbError> {
    let sql = "SELECT counter, sealed FROM pin WHERE root = $1 AND vault = $2";
    tx.row(sql, values![root, vault], |row| {
        Ok((row.u64(0)?, row.bytes(1)?))
    })
}

pub(crate) fn pins(tx: &Tx<'_>, root: &ChainRoot) -> Result<u64, DbError> {
    tx.number("SELECT COUNT(*) FROM pin WHERE root = $1", values![root])
}

/// Sets a pin that does not go back; `false` if it would.
pub(crate) fn put_pin(
    tx: &Tx<'_>,
    root: &ChainRoot,
    vault: &VaultId,
    (counter, sealed): (u64, &[u8]),
) -> Result<bool, DbError> {
    let sql = "INSERT INTO pin (root, vault, counter, sealed) VALUES ($1, $2, $3, $4)
        ON CONFLICT (root, vault) DO UPDATE SET counter = excluded.counter,
        sealed = excluded.sealed WHERE pin.counter <= excluded.counter";
    Ok(tx.execute(sql, values![root, vault, counter, sealed])? == 1)
}

/// Notes that an act was taken; `false` if it was before.
pub(crate) fn take_act(
    tx: &Tx<'_>,
    root: &ChainRoot,
    nonce: &Nonce,
    time: Time,
) -> Result<bool, DbError> {
    let sql = "INSERT INTO act (root, nonce, time) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
    Ok(tx.execute(sql, values![root, nonce, time])? == 1)
}

pub(crate) fn forget_acts(tx: &Tx<'_>, before: Time) -> Result<(), DbError> {
    tx.execute("DELETE FROM act WHERE time < $1", values![before])?;
    Ok(())
}

pub(crate) fn all(tx: &Tx<'_>) -> Result<Vec<AdminUser>, DbError> {
    let sql = format!("SELECT {COLUMNS} FROM account WHERE deleted = 0 ORDER BY name");
    tx.rows(&sql, &[], |row| {
        let account = read(row)?;
        Ok(AdminUser {
            user: account.name,
            standing: account.standing,
            disabled: account.disabled,
            quota: account.quota,
            used: account.used,
            created: account.created,
        })
    })
}

pub(crate) fn set_standing(
    tx: &Tx<'_>,
    root: &ChainRoot,
    standing: Standing,
) -> Result<(), DbError> {
    let sql = "UPDATE account SET standing = $2 WHERE root = $1";
    tx.execute(sql, values![root, standing_number(standing)])?;
    Ok(())
}

pub(crate) fn set_disabled(tx: &Tx<'_>, root: &ChainRoot, disabled: bool) -> Result<(), DbError> {
    let sql = "UPDATE account SET disabled = $2 WHERE root = $1";
    tx.execute(sql, values![root, u64::from(disabled)])?;
    Ok(())
}

pub(crate) fn set_quota(tx: &Tx<'_>, root: &ChainRoot, quota: u64) -> Result<(), DbError> {
    let sql = "UPDATE account SET quota = $2 WHERE root = $1";
    tx.execute(sql, values![root, quota])?;
    Ok(())
}

/// Roots of all accounts in use.
pub(crate) fn roots(tx: &Tx<'_>) -> Result<Vec<ChainRoot>, DbError> {
    let sql = "SELECT root FROM account WHERE deleted = 0 AND disabled = 0";
    tx.rows(sql, &[], |row| Ok(ChainRoot(row.fixed(0)?)))
}
