//! What a vault keeps of its user's account on a sharing server: sealed values, a slot each.
//!
//! The engine does not know what they mean. A value is sealed under the master key's account key,
//! for its vault and its slot, so that none is taken for another's. Values are part of the same
//! commits as everything else.

use keyfold_crypto::{Context, Label, SealKey, open, seal};
use zeroize::Zeroizing;

use super::Volume;
use super::commit::Scope;
use crate::error::{FsError, FsResult};
use crate::meta::Key;
use crate::vault::VaultId;

/// Bytes of the longest value.
pub const ACCOUNT_VALUE_MAX: usize = 2 << 20;

/// Where a value is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AccountSlot(pub u32);

/// A value to be put, or with `None` deleted.
pub type AccountChange<'a> = (AccountSlot, Option<&'a [u8]>);

impl Volume {
    /// The value in a slot.
    ///
    /// # Errors
    /// [`FsError::MetadataTampered`] for what was not sealed for this vault and slot.
    pub fn account_value(&self, slot: AccountSlot) -> FsResult<Option<Zeroizing<Vec<u8>>>> {
        let row = self.meta.read(&key(slot), |row| row.map(<[u8]>::to_vec))?;
        let open = |row: Vec<u8>| open_row(&self.account_key(), self.vault.id(), slot, &row);
        row.map(open).transpose()
    }

    /// Puts values, all or none; they are durable when this returns.
    ///
    /// # Errors
    /// [`FsError::InvalidArgument`] for a value beyond [`ACCOUNT_VALUE_MAX`].
    pub fn put_account_values(&self, changes: &[AccountChange<'_>]) -> FsResult<()> {
        self.check_may_grow()?;
        let account = self.account_key();
        let mut rows = Vec::with_capacity(changes.len());
        for (slot, value) in changes {
            rows.push((*slot, self.sealed(&account, *slot, *value)?));
        }
        self.wait_for_rows()?;
        {
            let _gate = self.gate.read();
            let mut txn = self.meta.txn();
            for (slot, row) in rows {
                match row {
                    Some(row) => txn.put(key(slot), row),
                    None => txn.delete(key(slot)),
                }
            }
            txn.apply();
        }
        self.commit(&Scope::Everything)
    }

    fn sealed(
        &self,
        account: &SealKey,
        slot: AccountSlot,
        value: Option<&[u8]>,
    ) -> FsResult<Option<Box<[u8]>>> {
        let Some(value) = value else { return Ok(None) };
        if value.len() > ACCOUNT_VALUE_MAX {
            return Err(FsError::InvalidArgument);
        }
        let sealed = seal(account, &context(self.vault.id(), slot), value);
        let sealed = sealed.map_err(|_| FsError::Disk(libc::EIO))?;
        Ok(Some(sealed.into()))
    }

    fn account_key(&self) -> SealKey {
        self.vault.master().account_key()
    }

    /// Whether a row of the table is a value of this vault.
    pub(crate) fn is_account_value(&self, slot: u64, row: &[u8]) -> bool {
        u32::try_from(slot).is_ok_and(|slot| {
            let slot = AccountSlot(slot);
            open_row(&self.account_key(), self.vault.id(), slot, row).is_ok()
        })
    }
}

fn key(slot: AccountSlot) -> Key {
    Key::account(u64::from(slot.0))
}

fn context(vault: VaultId, slot: AccountSlot) -> Context {
    Context::new(Label::ACCOUNT_VALUE)
        .bytes(&vault.0)
        .u64(u64::from(slot.0))
}

fn open_row(
    account: &SealKey,
    vault: VaultId,
    slot: AccountSlot,
    row: &[u8],
) -> FsResult<Zeroizing<Vec<u8>>> {
    open(account, &context(vault, slot), row).map_err(|_| FsError::MetadataTampered)
}
