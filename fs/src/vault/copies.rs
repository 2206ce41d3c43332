//! The two superblock copies as found on disk, and which of them to believe.

use std::path::Path;

use keyfold_crypto::MasterKey;

use super::directory::{Copy, VaultDir, read_bounded};
use super::error::{Damage, VaultError};
use super::superblock::{Parsed, Superblock};

/// What is wrong with each superblock copy of a vault; `None` when it is as it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CopyHealth {
    /// `superblock.json`.
    pub primary: Option<Damage>,
    /// `superblock.bak`.
    pub backup: Option<Damage>,
}

impl CopyHealth {
    /// Whether both copies are intact and say the same.
    pub fn is_sound(&self) -> bool {
        *self == Self::default()
    }

    /// The copy to replace first: never the only good one.
    pub(super) fn worse(&self) -> Copy {
        if self.primary.is_none() && self.backup.is_some() {
            Copy::Backup
        } else {
            Copy::Primary
        }
    }
}

/// One copy: what it says, or why it says nothing.
type Found = Result<Box<Superblock>, Damage>;

/// Both copies, parsed and bounded, believed by nobody yet.
#[derive(Debug)]
pub(super) struct Copies {
    primary: Found,
    backup: Found,
}

impl Copies {
    /// Reads both copies. At least one of them parses.
    pub(super) fn read(dir: &VaultDir) -> Result<Self, VaultError> {
        Self::choose(dir.path(), Copy::ALL.map(|copy| dir.read_copy(copy)))
    }

    /// As [`Copies::read`], of a directory that is not locked. A copy is replaced by renaming, so
    /// each is read whole even while it changes.
    pub(super) fn read_unlocked(vault: &Path) -> Result<Self, VaultError> {
        Self::choose(
            vault,
            Copy::ALL.map(|copy| read_bounded(&vault.join(copy.name()))),
        )
    }

    pub(super) fn choose(
        vault: &Path,
        bytes: [Result<Vec<u8>, Damage>; 2],
    ) -> Result<Self, VaultError> {
        let [primary, backup] = bytes.map(|bytes| match bytes {
            Ok(bytes) => Superblock::parse(&bytes),
            Err(damage) => Parsed::Damaged(damage),
        });
        refuse_newer(vault, &primary, &backup)?;
        let copies = Self {
            primary: found(primary),
            backup: found(backup),
        };
        match (&copies.primary, &copies.backup) {
            (Err(primary), Err(backup)) => Err(VaultError::SuperblockDamaged {
                path: vault.to_path_buf(),
                primary: *primary,
                backup: *backup,
            }),
            _ => Ok(copies),
        }
    }

    pub(super) fn get(&self, copy: Copy) -> &Found {
        match copy {
            Copy::Primary => &self.primary,
            Copy::Backup => &self.backup,
        }
    }

    /// The copies that parsed, the primary one first.
    pub(super) fn usable(&self) -> impl Iterator<Item = (Copy, &Superblock)> {
        Copy::ALL
            .into_iter()
            .filter_map(|copy| Some((copy, &**self.get(copy).as_ref().ok()?)))
    }

    /// The usable copy of the highest revision, the primary one of two equals.
    pub(super) fn newest(&self) -> Option<(Copy, &Superblock)> {
        // `max_by_key` gives the last of equals.
        self.usable()
            .collect::<Vec<_>>()
            .into_iter()
            .rev()
            .max_by_key(|(_, s)| s.revision())
    }

    /// Turns every copy that none of these keys authenticates into a damaged one.
    pub(super) fn distrust_unless_signed_by(&mut self, masters: &[MasterKey]) {
        for found in [&mut self.primary, &mut self.backup] {
            let authentic = |s: &Superblock| masters.iter().any(|master| s.verify(master).is_ok());
            if found
                .as_ref()
                .is_ok_and(|superblock| !authentic(superblock))
            {
                *found = Err(Damage::NotAuthentic);
            }
        }
    }

    /// What is wrong with each copy, given the one that was chosen.
    pub(super) fn health(&self, chosen: &Superblock) -> CopyHealth {
        let judge = |copy: &Found| match copy {
            Err(damage) => Some(*damage),
            Ok(found) if found.vault_id() != chosen.vault_id() => Some(Damage::OtherVault),
            Ok(found) if found.same_as(chosen) => None,
            Ok(_) => Some(Damage::Stale),
        };
        CopyHealth {
            primary: judge(&self.primary),
            backup: judge(&self.backup),
        }
    }
}

fn found(parsed: Parsed) -> Found {
    match parsed {
        Parsed::Usable(superblock) => Ok(superblock),
        Parsed::Newer { version, .. } => Err(Damage::Newer(version)),
        Parsed::Damaged(damage) => Err(damage),
    }
}

/// A copy of a newer version is the truth unless the other copy, of this version, has a revision
/// at least as high: an upgrade raises the revision, an edited version number does not.
fn refuse_newer(vault: &Path, primary: &Parsed, backup: &Parsed) -> Result<(), VaultError> {
    for (copy, other) in [(primary, backup), (backup, primary)] {
        let Parsed::Newer { version, revision } = copy else {
            continue;
        };
        let outdone = match other {
            Parsed::Usable(other) => revision.is_some_and(|theirs| theirs <= other.revision()),
            Parsed::Newer { .. } | Parsed::Damaged(_) => false,
        };
        if !outdone {
            return Err(VaultError::NewerFormat {
                path: vault.to_path_buf(),
                found: *version,
            });
        }
    }
    Ok(())
}
