//! From a locked vault to an unlocked one: which secret opens what, and which copy is believed.

use std::path::Path;

use keyfold_crypto::{MasterKey, SlotKeys};

use super::UnlockedVault;
use super::copies::{Copies, CopyHealth};
use super::directory::{Access, Copy, VaultDir, make_directory};
use super::error::{Damage, Part, VaultError};
use super::slot::{Attempt, Secret, Slot, SlotId};
use super::superblock::{Superblock, VaultId};

/// A vault whose directory is locked and whose superblock parses, but is not authenticated.
#[derive(Debug)]
pub struct LockedVault {
    dir: VaultDir,
    copies: Copies,
}

/// What a secret opened.
pub(super) struct Opened {
    /// The slot it opened in each copy.
    slots: Vec<(Copy, SlotId)>,
    /// The key it gave in each of them: the same one, unless the copies are of two vaults.
    pub(super) masters: Vec<MasterKey>,
    /// Whether some slot took the secret but held an altered key.
    altered: bool,
}

impl LockedVault {
    /// Opens the vault directory at `path` and takes its lock.
    pub fn open(path: &Path, access: Access) -> Result<Self, VaultError> {
        let dir = VaultDir::open(path, access)?;
        let copies = Copies::read(&dir)?;
        Ok(Self { dir, copies })
    }

    /// Opens the vault directory at `path` to be changed, though it may have lost its database.
    pub fn open_for_repair(path: &Path) -> Result<Self, VaultError> {
        let dir = VaultDir::open_without(path, Part::Database)?;
        let copies = Copies::read(&dir)?;
        Ok(Self { dir, copies })
    }

    /// The vault's directory.
    pub fn dir(&self) -> &VaultDir {
        &self.dir
    }

    /// What the newest superblock copy claims. Anyone who can write the directory can make it
    /// claim anything: fit for showing, and for nothing else.
    pub fn unverified(&self) -> Option<&Superblock> {
        self.copies.newest().map(|(_, superblock)| superblock)
    }

    /// Identity the vault claims to have; unverified.
    pub fn claimed_id(&self) -> Option<VaultId> {
        self.unverified().map(Superblock::vault_id)
    }

    /// Unlocks the vault. Takes as long as the slots' key derivation: about a second for each
    /// password slot tried.
    ///
    /// The newest authentic copy decides: a password that was changed does not open the vault
    /// through an older copy.
    pub fn unlock(mut self, secret: &Secret) -> Result<UnlockedVault, VaultError> {
        let opened = try_slots(&self.copies, secret);
        if opened.masters.is_empty() && !opened.altered {
            return Err(VaultError::WrongSecret {
                path: self.dir.path().to_path_buf(),
            });
        }
        self.copies.distrust_unless_signed_by(&opened.masters);
        let Some((chosen, superblock)) = self.copies.newest() else {
            return Err(self.damaged(CopyHealth::default()));
        };
        let superblock = superblock.clone();
        let health = self.copies.health(&superblock);
        if [health.primary, health.backup].contains(&Some(Damage::OtherVault)) {
            return Err(self.damaged(health));
        }
        let slot = opened
            .slots
            .iter()
            .find(|(copy, _)| *copy == chosen)
            .map(|(_, slot)| *slot);
        let master = opened
            .masters
            .into_iter()
            .find(|master| superblock.verify(master).is_ok());
        let (Some(opened_with), Some(master)) = (slot, master) else {
            return Err(VaultError::WrongSecret {
                path: self.dir.path().to_path_buf(),
            });
        };
        restore_empty_parts(&self.dir);
        let dir = self.dir;
        Ok(UnlockedVault {
            master,
            superblock,
            health,
            opened_with,
            dir,
            found: health,
            pin: None,
        })
    }

    fn damaged(&self, health: CopyHealth) -> VaultError {
        let why = |copy, judged: Option<Damage>| match self.copies.get(copy) {
            Err(damage) => *damage,
            Ok(_) => judged.unwrap_or(Damage::OtherVault),
        };
        VaultError::SuperblockDamaged {
            path: self.dir.path().to_path_buf(),
            primary: why(Copy::Primary, health.primary),
            backup: why(Copy::Backup, health.backup),
        }
    }
}

/// The master key of a vault that another process may serve, and which vault it is of.
///
/// Takes no lock and changes nothing: who has the key this way may tell that process that he has it, and
/// has no business with the vault's other parts.
pub fn read_master(path: &Path, secret: &Secret) -> Result<(VaultId, MasterKey), VaultError> {
    let dir = VaultDir::beside(path)?;
    let copies = Copies::read(&dir)?;
    let vault = LockedVault { dir, copies }.unlock(secret)?;
    Ok((vault.id(), vault.master))
}

/// Tries the secret on the slots of each copy until one of the copy's slots opens.
pub(super) fn try_slots(copies: &Copies, secret: &Secret) -> Opened {
    let mut opened = Opened {
        slots: Vec::new(),
        masters: Vec::new(),
        altered: false,
    };
    // Deriving is what takes the time, and the copies nearly always hold the same slots.
    let mut derived: Vec<(&Slot, SlotKeys)> = Vec::new();
    for (copy, superblock) in copies.usable() {
        let vault = superblock.vault_id();
        for slot in superblock.slots() {
            let at = match derived
                .iter()
                .position(|(known, _)| known.shares_keys_with(slot))
            {
                Some(at) => at,
                None => match slot.keys(secret) {
                    Some(keys) => {
                        derived.push((slot, keys));
                        derived.len() - 1
                    }
                    None => continue,
                },
            };
            match slot.attempt(&vault, &derived[at].1) {
                Attempt::Opened(master) => {
                    opened.slots.push((copy, slot.id()));
                    opened.masters.push(master);
                    break;
                }
                Attempt::Altered => opened.altered = true,
                Attempt::Refused => {}
            }
        }
    }
    opened
}

/// Makes `images/` again where a copying program dropped it for being empty. Best effort: a vault
/// on a full disk must open, and who keeps an image reports the missing directory.
fn restore_empty_parts(dir: &VaultDir) {
    if dir.access() == Access::ReadWrite {
        let _ = make_directory(&dir.images());
    }
}
