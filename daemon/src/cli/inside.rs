//! Looking into a vault that is not mounted.

use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use keyfold_fs::error::FsError;
use keyfold_fs::vault::{Access, LockedVault, UnlockedVault, VaultError};
use keyfold_fs::vfs::{Attr, FileKind, Ino, Name, Place, Vfs};
use keyfold_fs::volume::Verify;

use crate::cli::args::LookArgs;
use crate::cli::error::CliError;
use crate::cli::secret::UnlockArgs;
use crate::control::snapshot_failed;
use crate::engine::{Engine, EngineOptions};
use crate::mount::harden;
use crate::mount::pins;
use crate::mount_table;

/// Opens the volume in the vault at `path` for reading.
pub(crate) fn open(path: &Path, unlock: &UnlockArgs, verify: Verify) -> Result<Engine, CliError> {
    open_for(path, unlock, (Access::ReadOnly, verify))
}

/// Opens for reading what is to be looked at: the volume, or one of its snapshots.
pub(crate) fn look(path: &Path, look: &LookArgs, verify: Verify) -> Result<Engine, CliError> {
    let engine = open(path, &look.unlock, verify)?;
    let Some(name) = &look.snapshot else {
        return Ok(engine);
    };
    engine.snapshot(name).map_err(|error| CliError::Volume {
        vault: path.to_path_buf(),
        error,
        why: snapshot_failed("open the snapshot", error).message,
    })
}

/// Opens the volume in the vault at `path`.
pub(crate) fn open_for(
    path: &Path,
    unlock: &UnlockArgs,
    (access, verify): (Access, Verify),
) -> Result<Engine, CliError> {
    // A core file of this process could hold the keys; without the limit it is only unlikely.
    let _ = harden::forbid_core_dumps();
    let locked = LockedVault::open(path, access).map_err(|e| hint(path, e))?;
    let secret = unlock.obtain()?.to_secret()?;
    let mut vault = locked.unlock(&secret)?;
    vault.hold_to_pin(&pins::directory(), unlock.rollback())?;
    let options = EngineOptions {
        verify,
        ..EngineOptions::default()
    };
    Ok(Engine::open(vault, options)?)
}

/// Unlocks a vault to be repaired.
pub(crate) fn unlock_for_repair(
    path: &Path,
    unlock: &UnlockArgs,
) -> Result<UnlockedVault, CliError> {
    // A core file of this process could hold the keys; without the limit it is only unlikely.
    let _ = harden::forbid_core_dumps();
    let locked = LockedVault::open_for_repair(path).map_err(|e| hint(path, e))?;
    let secret = unlock.obtain()?.to_secret()?;
    let mut vault = locked.unlock(&secret)?;
    vault.hold_to_pin(&pins::directory(), unlock.rollback())?;
    Ok(vault)
}

/// Tells where a vault in use is mounted.
pub(crate) fn hint(path: &Path, error: VaultError) -> CliError {
    if let VaultError::InUse { .. } = error
        && let Ok(place) = mount_table::locate(path)
        && let Ok(mounts) = mount_table::mounts()
        && let Some(mount) = mounts
            .into_iter()
            .find(|m| m.is_keyfold() && m.source == place)
    {
        return CliError::Mounted {
            vault: place,
            point: mount.point,
        };
    }
    error.into()
}

/// An object of a volume, found by its path. Forgotten when dropped.
pub(crate) struct Found<'a> {
    vfs: &'a dyn Vfs,
    attr: Attr,
    held: bool,
}

impl<'a> Found<'a> {
    /// Finds `path`, which counts from the root whether it starts with `/` or not. Follows no
    /// symbolic links: they belong to the mounted tree.
    pub(crate) fn find(vfs: &'a dyn Vfs, path: &Path) -> Result<Self, CliError> {
        let wrong = |error| CliError::Inside {
            path: path.to_path_buf(),
            error,
        };
        let mut here = vec![Self::root(vfs).map_err(wrong)?];
        for component in path.components() {
            match component {
                Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
                Component::ParentDir => {
                    if here.len() > 1 {
                        here.pop();
                    }
                }
                Component::Normal(name) => {
                    let Some(parent) = here.last() else { break };
                    parent.require(FileKind::Directory, path)?;
                    let parent = parent.ino();
                    here.push(Self::child(vfs, parent, name.as_bytes()).map_err(wrong)?);
                }
            }
        }
        here.pop().ok_or_else(|| wrong(FsError::NotFound))
    }

    fn root(vfs: &'a dyn Vfs) -> Result<Self, FsError> {
        Ok(Self {
            vfs,
            attr: vfs.getattr(Ino::ROOT)?,
            held: false,
        })
    }

    /// The entry `name` of the directory `parent`.
    pub(crate) fn child(vfs: &'a dyn Vfs, parent: Ino, name: &[u8]) -> Result<Self, FsError> {
        let at = Place {
            parent,
            name: Name::new(name)?,
        };
        Ok(Self {
            vfs,
            attr: vfs.lookup(at)?.attr,
            held: true,
        })
    }

    /// Its attributes.
    pub(crate) fn attr(&self) -> &Attr {
        &self.attr
    }

    /// Its number.
    pub(crate) fn ino(&self) -> Ino {
        self.attr.ino
    }

    /// Fails unless it is of this kind.
    pub(crate) fn require(&self, kind: FileKind, path: &Path) -> Result<(), CliError> {
        let error = match (kind, self.attr.kind) {
            (wanted, found) if wanted == found => return Ok(()),
            (FileKind::Directory, _) => FsError::NotADirectory(self.ino()),
            (_, FileKind::Directory) => FsError::IsADirectory(self.ino()),
            _ => FsError::WrongKind(self.ino()),
        };
        Err(CliError::Inside {
            path: PathBuf::from(path),
            error,
        })
    }
}

impl Drop for Found<'_> {
    fn drop(&mut self) {
        if self.held {
            self.vfs.forget(self.attr.ino, 1);
        }
    }
}
