//! The vault: a directory that holds a volume's ciphertext, and the keys that open it.
//!
//! A vault passes through three states, each a type: a [`VaultDir`] is locked against other
//! daemons; a [`LockedVault`] has a superblock that is parsed and believed by nobody yet; an
//! [`UnlockedVault`] has the master key, and a superblock that this key authenticates.
//!
//! The superblock is what is hard: it must survive a crash at any moment of a change, so there are
//! two copies of which one is whole at all times; and it is read before there is any key, so every
//! part of it is bounded first and distrusted until the master key has confirmed it.

mod copies;
mod create;
mod directory;
mod error;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod header;
mod pin;
mod slot;
mod slots;
mod superblock;
mod unlock;
mod wire;

pub use copies::CopyHealth;
pub use create::{CreateOptions, KdfCost};
pub use directory::{Access, VaultDir};
pub use error::{Action, Damage, Facility, Part, Unlike, VaultError};
pub use header::{HeaderBackup, backup_header, read_header, restore_header};
pub use pin::Rollback;
pub use slot::{SLOT_LIMIT, Secret, Slot, SlotId, SlotKind, SlotLabel};
pub use superblock::{
    CIPHER_SUITE, FORMAT_VERSION, KDF, Revision, SEGMENT_SIZE, Superblock, VaultId,
};
pub use unlock::{LockedVault, read_master};
pub use wire::Timestamp;

use std::fmt;

use keyfold_crypto::MasterKey;

/// A vault whose master key is known and whose superblock is authentic. Holds the vault's lock.
pub struct UnlockedVault {
    master: MasterKey,
    superblock: Superblock,
    health: CopyHealth,
    opened_with: SlotId,
    dir: VaultDir,
    /// What was wrong with the copies when the vault was unlocked.
    found: CopyHealth,
    /// What it is held to, once it is.
    pin: Option<pin::Pin>,
}

impl UnlockedVault {
    /// The key from which all others of the vault derive.
    pub fn master(&self) -> &MasterKey {
        &self.master
    }

    /// The authentic superblock.
    pub fn superblock(&self) -> &Superblock {
        &self.superblock
    }

    /// The vault's directory.
    pub fn dir(&self) -> &VaultDir {
        &self.dir
    }

    /// Identity of the vault.
    pub fn id(&self) -> VaultId {
        self.superblock.vault_id()
    }

    /// What the vault was opened for.
    pub fn access(&self) -> Access {
        self.dir.access()
    }

    /// The slot that opened the vault.
    pub fn opened_with(&self) -> SlotId {
        self.opened_with
    }

    /// What was found wrong with a superblock copy while the other was used. Changing any slot,
    /// or [`UnlockedVault::heal`], replaces both.
    pub fn health(&self) -> &CopyHealth {
        &self.health
    }

    /// What was found wrong with the superblock copies at first, mended since or not.
    pub fn found(&self) -> &CopyHealth {
        &self.found
    }
}

impl fmt::Debug for UnlockedVault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("UnlockedVault")
            .field("id", &self.id())
            .field("opened_with", &self.opened_with)
            .field("health", &self.health)
            .finish_non_exhaustive()
    }
}
