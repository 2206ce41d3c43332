//! Keeping the superblock elsewhere, and bringing it back. Neither needs the password.

use std::fs;
use std::path::{Path, PathBuf};

use super::copies::Copies;
use super::directory::{
    Copy, VaultDir, existing_directory, looks_like_a_vault, read_bounded, sync_directory, write_new,
};
use super::error::{Action, Damage, Part, VaultError};
use super::superblock::{Parsed, Revision, Superblock, VaultId};

/// The most replaced copies that are kept.
const KEPT_LIMIT: u32 = 9999;

/// A superblock that was copied out of or into a vault. Its authentication code was not checked:
/// that takes the master key, and happens whenever the vault is unlocked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderBackup {
    /// Identity the superblock claims.
    pub vault: VaultId,
    /// How often it had been changed.
    pub revision: Revision,
    /// On backup: whether both copies in the vault were intact and equal. If they were not,
    /// unlock the vault once and back up again. On restore always true.
    pub copies_agree: bool,
    /// Where the copies that a restore replaced are kept.
    pub kept: Vec<PathBuf>,
}

/// What the newest superblock copy of the vault claims, authenticated by nothing: fit for showing.
///
/// Takes no lock, so that a mounted vault can be shown.
pub fn read_header(vault: &Path) -> Result<Superblock, VaultError> {
    let vault = existing_directory(vault)?;
    if !looks_like_a_vault(&vault) {
        return Err(VaultError::NotAVault { path: vault });
    }
    let copies = Copies::read_unlocked(&vault)?;
    let newest = copies.newest().map(|(_, superblock)| superblock.clone());
    newest.ok_or(VaultError::NotAVault { path: vault })
}

/// Writes the vault's superblock to the new file `to`, readable by its owner only.
///
/// Takes no lock: copies are replaced whole, so a mounted vault can be backed up. Whoever has the
/// backup and a password that was valid when it was made can read the vault.
pub fn backup_header(vault: &Path, to: &Path) -> Result<HeaderBackup, VaultError> {
    let vault = existing_directory(vault)?;
    if !looks_like_a_vault(&vault) {
        return Err(VaultError::NotAVault { path: vault });
    }
    let copies = Copies::read_unlocked(&vault)?;
    let Some((_, newest)) = copies.newest() else {
        return Err(VaultError::NotAVault { path: vault });
    };
    write_new(to, &newest.to_json())?;
    sync_directory(&parent_of(to)?)?;
    Ok(HeaderBackup {
        vault: newest.vault_id(),
        revision: newest.revision(),
        copies_agree: copies.health(newest).is_sound(),
        kept: Vec::new(),
    })
}

/// Replaces both superblock copies of the vault by the backup in `from`, and keeps what was there
/// as `superblock.replaced-N`.
///
/// The backup must parse and be of the same vault as any copy that still parses. Passwords become
/// those of the time of the backup. Its authentication code is checked at the next unlock.
pub fn restore_header(vault: &Path, from: &Path) -> Result<HeaderBackup, VaultError> {
    let dir = VaultDir::open_without(vault, Part::Superblock)?;
    let backup = read_backup(from)?;
    for copy in Copy::ALL {
        if let Ok(Parsed::Usable(present)) = dir.read_copy(copy).map(|b| Superblock::parse(&b))
            && present.vault_id() != backup.vault_id()
        {
            return Err(VaultError::OtherVault {
                path: from.to_path_buf(),
            });
        }
    }
    let kept = keep_present(&dir)?;
    // A stale copy is an error here: should its revision be higher, it is what would be believed.
    dir.replace_copies(&backup.to_json(), Copy::Primary)
        .map_err(VaultError::or_not_in_force)?;
    Ok(HeaderBackup {
        vault: backup.vault_id(),
        revision: backup.revision(),
        copies_agree: true,
        kept,
    })
}

fn read_backup(from: &Path) -> Result<Box<Superblock>, VaultError> {
    let path = fs::canonicalize(from).map_err(|e| VaultError::io(Action::Open, from, e))?;
    let bytes = read_bounded(&path).map_err(|why| VaultError::BadHeader {
        path: from.to_path_buf(),
        why,
    })?;
    match Superblock::parse(&bytes) {
        Parsed::Usable(superblock) => Ok(superblock),
        Parsed::Newer { version, .. } => Err(VaultError::NewerFormat {
            path: from.to_path_buf(),
            found: version,
        }),
        Parsed::Damaged(why) => Err(VaultError::BadHeader {
            path: from.to_path_buf(),
            why,
        }),
    }
}

/// Keeps what is at the copies' names. What cannot be read as a superblock is moved, not copied.
fn keep_present(dir: &VaultDir) -> Result<Vec<PathBuf>, VaultError> {
    let mut kept = Vec::new();
    let mut seen = Vec::new();
    for copy in Copy::ALL {
        match dir.read_copy(copy) {
            Ok(bytes) if seen.contains(&bytes) => {}
            Ok(bytes) => {
                kept.push(keep_bytes(dir, &bytes)?);
                seen.push(bytes);
            }
            Err(Damage::Absent) => {}
            Err(_) => {
                let to = free_name(dir)?;
                let path = dir.copy_path(copy);
                fs::rename(&path, &to).map_err(|e| VaultError::io(Action::Rename, &path, e))?;
                kept.push(to);
            }
        }
    }
    dir.sync()?;
    Ok(kept)
}

fn keep_bytes(dir: &VaultDir, bytes: &[u8]) -> Result<PathBuf, VaultError> {
    let to = free_name(dir)?;
    write_new(&to, bytes)?;
    Ok(to)
}

/// The vault's lock is held, so a name that is free stays free.
fn free_name(dir: &VaultDir) -> Result<PathBuf, VaultError> {
    (1..=KEPT_LIMIT)
        .map(|n| dir.path().join(format!("superblock.replaced-{n}")))
        .find(|path| path.symlink_metadata().is_err())
        .ok_or_else(|| VaultError::Exists {
            path: dir.path().join("superblock.replaced"),
        })
}

fn parent_of(path: &Path) -> Result<PathBuf, VaultError> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => existing_directory(parent),
        _ => existing_directory(Path::new(".")),
    }
}
