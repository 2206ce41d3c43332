//! Changing who can open a vault. The master key and the data stay as they are.

use keyfold_crypto::{Password, RecoveryKey};

use super::create::KdfCost;
use super::directory::{Access, Copy};
use super::error::{Damage, VaultError};
use super::slot::{SLOT_LIMIT, Slot, SlotId, SlotKind, SlotLabel, SlotOwner};
use super::superblock::Superblock;
use super::{CopyHealth, UnlockedVault};

impl UnlockedVault {
    /// The key slots.
    pub fn slots(&self) -> &[Slot] {
        self.superblock.slots()
    }

    /// Adds a slot for another password.
    pub fn add_password(
        &mut self,
        label: SlotLabel,
        password: &Password,
        cost: KdfCost,
    ) -> Result<SlotId, VaultError> {
        let owner = self.new_slot(label)?;
        let id = owner.id;
        let slot = Slot::for_password(owner, password, cost.rounds(), &self.master)?;
        self.append(slot)?;
        Ok(id)
    }

    /// Adds a slot for a new recovery key, which is shown to the user once and kept nowhere.
    pub fn add_recovery(&mut self, label: SlotLabel) -> Result<(SlotId, RecoveryKey), VaultError> {
        let owner = self.new_slot(label)?;
        let id = owner.id;
        let recovery = RecoveryKey::generate()?;
        let slot = Slot::for_recovery(owner, &recovery, &self.master)?;
        self.append(slot)?;
        Ok((id, recovery))
    }

    /// Gives a password slot another password. The old one no longer opens the vault; it still
    /// opens a copy of the superblock that someone kept from before.
    pub fn change_password(
        &mut self,
        slot: SlotId,
        new: &Password,
        cost: KdfCost,
    ) -> Result<(), VaultError> {
        self.require_writable()?;
        let mut slots = self.slots().to_vec();
        let old = slots
            .iter_mut()
            .find(|known| known.id() == slot && known.kind() == SlotKind::Password)
            .ok_or(VaultError::NoSuchSlot { slot })?;
        let vault = self.superblock.vault_id();
        let owner = SlotOwner {
            vault,
            id: slot,
            label: old.label().clone(),
        };
        *old = Slot::for_password(owner, new, cost.rounds(), &self.master)?;
        self.install(slots)
    }

    /// Removes a slot, but never the last one.
    pub fn remove_slot(&mut self, slot: SlotId) -> Result<(), VaultError> {
        self.require_writable()?;
        if !self.slots().iter().any(|known| known.id() == slot) {
            return Err(VaultError::NoSuchSlot { slot });
        }
        if self.slots().len() == 1 {
            return Err(VaultError::LastSlot { slot });
        }
        let rest = self
            .slots()
            .iter()
            .filter(|known| known.id() != slot)
            .cloned()
            .collect();
        self.install(rest)
    }

    /// Replaces a superblock copy that was found damaged, missing or stale. Does nothing when both
    /// are sound.
    pub fn heal(&mut self) -> Result<(), VaultError> {
        if self.health.is_sound() {
            return Ok(());
        }
        self.require_writable()?;
        self.write(self.superblock.clone())
    }

    fn new_slot(&self, label: SlotLabel) -> Result<SlotOwner, VaultError> {
        self.require_writable()?;
        if self.slots().len() >= SLOT_LIMIT {
            return Err(VaultError::TooManySlots { limit: SLOT_LIMIT });
        }
        Ok(SlotOwner {
            vault: self.superblock.vault_id(),
            id: self.superblock.free_slot_id(),
            label,
        })
    }

    fn append(&mut self, slot: Slot) -> Result<(), VaultError> {
        let slots = self.slots().iter().cloned().chain([slot]).collect();
        self.install(slots)
    }

    fn install(&mut self, slots: Vec<Slot>) -> Result<(), VaultError> {
        let next = self.superblock.successor(slots, &self.master)?;
        let written = self.write(next);
        if matches!(written, Ok(()) | Err(VaultError::HalfWritten { .. }))
            && let Err(error) = self.pin_superblock()
        {
            // The next use of the vault pins it.
            tracing::warn!(%error, "the change of the superblock could not be pinned");
        }
        written
    }

    /// Writes both copies. What the first copy holds on disk is what this vault holds in memory,
    /// even when the second could not be replaced.
    fn write(&mut self, next: Superblock) -> Result<(), VaultError> {
        let first = self.health.worse();
        let written = self.dir.replace_copies(&next.to_json(), first);
        self.health = match (&written, first) {
            (Ok(()), _) => CopyHealth::default(),
            (Err(VaultError::HalfWritten { .. }), Copy::Primary) => CopyHealth {
                primary: None,
                backup: Some(Damage::Stale),
            },
            (Err(VaultError::HalfWritten { .. }), Copy::Backup) => CopyHealth {
                primary: Some(Damage::Stale),
                backup: None,
            },
            (Err(_), _) => return written,
        };
        self.superblock = next;
        written
    }

    fn require_writable(&self) -> Result<(), VaultError> {
        match self.dir.access() {
            Access::ReadWrite => Ok(()),
            Access::ReadOnly => Err(VaultError::ReadOnlyDirectory {
                path: self.dir.path().to_path_buf(),
            }),
        }
    }
}
