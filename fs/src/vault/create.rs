//! Making a vault: all of it, or nothing.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use keyfold_crypto::{MasterKey, Password, RecoveryKey, Rounds};

use super::directory::{
    Copy, LOCK, VaultDir, existing_directory, looks_like_a_vault, make_directory, sync_directory,
};
use super::error::{Action, VaultError};
use super::slot::{Slot, SlotId, SlotLabel, SlotOwner};
use super::superblock::{Superblock, VaultId};
use super::{CopyHealth, UnlockedVault};

/// Number of the password slot of a new vault.
const FIRST_PASSWORD: SlotId = SlotId(1);
/// Number of the recovery slot of a new vault.
const FIRST_RECOVERY: SlotId = SlotId(2);

/// How much work guessing a password shall cost.
#[derive(Debug, Clone, Copy)]
pub enum KdfCost {
    /// As many rounds as take this long on this machine, and never fewer than the floor.
    Calibrated(Duration),
    /// This many rounds.
    Fixed(Rounds),
}

impl Default for KdfCost {
    fn default() -> Self {
        Self::Calibrated(Duration::from_millis(750))
    }
}

impl KdfCost {
    pub(super) fn rounds(self) -> Rounds {
        match self {
            Self::Calibrated(target) => Rounds::calibrate(target),
            Self::Fixed(rounds) => rounds,
        }
    }
}

/// What a new vault is made with.
pub struct CreateOptions {
    /// The password of its first slot.
    pub password: Password,
    /// What guessing that password costs.
    pub cost: KdfCost,
}

impl UnlockedVault {
    /// Makes a vault in the directory `path`, which is new or empty, and lets `format` put the
    /// volume's metadata into it.
    ///
    /// `format` has to make durable what it writes. The superblock is written after it, so what a
    /// crash leaves behind is never taken for a vault. When anything fails, everything that was
    /// made is removed, and a directory that existed is as it was.
    pub fn create<E, F>(
        path: &Path,
        options: &CreateOptions,
        format: F,
    ) -> Result<(Self, RecoveryKey), E>
    where
        E: From<VaultError>,
        F: FnOnce(&Self) -> Result<(), E>,
    {
        let place = Place::find(path)?;
        let (keys, recovery) = new_keys(options)?;
        let mut site = Site::make(place)?;
        let vault = build(&mut site, keys)?;
        format(&vault)?;
        site.sync_parent()?;
        vault
            .dir
            .replace_copies(&vault.superblock.to_json(), Copy::Primary)
            .map_err(VaultError::or_not_in_force)?;
        site.keep();
        Ok((vault, recovery))
    }
}

fn build(site: &mut Site, keys: (MasterKey, Superblock)) -> Result<UnlockedVault, VaultError> {
    let dir = site.claim()?;
    dir.make_parts()?;
    dir.sync()?;
    let (master, superblock) = keys;
    let opened_with = FIRST_PASSWORD;
    Ok(UnlockedVault {
        master,
        superblock,
        health: CopyHealth::default(),
        opened_with,
        dir,
        found: CopyHealth::default(),
        pin: None,
    })
}

fn new_keys(options: &CreateOptions) -> Result<((MasterKey, Superblock), RecoveryKey), VaultError> {
    let mut id = [0; 16];
    keyfold_crypto::fill_random(&mut id)?;
    let vault = VaultId(id);
    let master = MasterKey::generate()?;
    let recovery = RecoveryKey::generate()?;
    let owner = |id, label| SlotLabel::new(label).map(|label| SlotOwner { vault, id, label });
    let password = owner(FIRST_PASSWORD, "password")?;
    let recovering = owner(FIRST_RECOVERY, "recovery key")?;
    let slots = vec![
        Slot::for_password(password, &options.password, options.cost.rounds(), &master)?,
        Slot::for_recovery(recovering, &recovery, &master)?,
    ];
    let superblock = Superblock::blank(vault).successor(slots, &master)?;
    Ok(((master, superblock), recovery))
}

/// Where a vault can be made.
enum Place {
    /// A name that is free, in a directory that exists.
    Free(PathBuf),
    /// A directory that is empty.
    Empty(PathBuf),
}

impl Place {
    fn find(path: &Path) -> Result<Self, VaultError> {
        match path.metadata() {
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Self::free(path),
            Err(e) => return Err(VaultError::io(Action::Open, path, e)),
        }
        let path = existing_directory(path)?;
        if looks_like_a_vault(&path) {
            return Err(VaultError::AlreadyAVault { path });
        }
        let mut entries =
            fs::read_dir(&path).map_err(|e| VaultError::io(Action::Read, &path, e))?;
        if entries.next().is_some() {
            Err(VaultError::NotEmpty { path })
        } else {
            Ok(Self::Empty(path))
        }
    }

    fn free(path: &Path) -> Result<Self, VaultError> {
        let Some(name) = path.file_name() else {
            return Err(VaultError::NotFound {
                path: path.to_path_buf(),
            });
        };
        let parent = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        Ok(Self::Free(existing_directory(parent)?.join(name)))
    }
}

/// A vault under construction. Dropping it removes all that was made, unless it is kept.
struct Site {
    path: PathBuf,
    /// Permissions to give back to a directory that existed; `None` for one made here.
    permissions: Option<Permissions>,
    /// Whether what is in the directory was made here.
    claimed: bool,
    kept: bool,
}

impl Site {
    fn make(place: Place) -> Result<Self, VaultError> {
        let (path, permissions) = match place {
            Place::Free(path) => {
                make_directory(&path).map_err(|e| VaultError::io(Action::Create, &path, e))?;
                (path, None)
            }
            Place::Empty(path) => {
                let metadata = path
                    .metadata()
                    .map_err(|e| VaultError::io(Action::Open, &path, e))?;
                (path, Some(metadata.permissions()))
            }
        };
        Ok(Self {
            path,
            permissions,
            claimed: false,
            kept: false,
        })
    }

    fn claim(&mut self) -> Result<VaultDir, VaultError> {
        let dir = VaultDir::claim(self.path.clone())?;
        self.claimed = true;
        fs::set_permissions(&self.path, Permissions::from_mode(0o700))
            .map_err(|e| VaultError::io(Action::Write, &self.path, e))?;
        Ok(dir)
    }

    fn sync_parent(&self) -> Result<(), VaultError> {
        match (&self.permissions, self.path.parent()) {
            (None, Some(parent)) => sync_directory(parent),
            _ => Ok(()),
        }
    }

    fn keep(&mut self) {
        self.kept = true;
    }

    /// The lock file goes last: while it is there, nobody else can claim the directory, so nothing
    /// of theirs is removed.
    fn clear(&self) {
        for entry in fs::read_dir(&self.path).into_iter().flatten().flatten() {
            let path = entry.path();
            if entry.file_name() == LOCK {
                continue;
            }
            let _ = if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                fs::remove_dir_all(path)
            } else {
                fs::remove_file(path)
            };
        }
        let _ = fs::remove_file(self.path.join(LOCK));
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if self.kept {
            return;
        }
        if self.claimed {
            self.clear();
        }
        let _ = match &self.permissions {
            None => fs::remove_dir(&self.path),
            Some(permissions) if self.claimed => {
                fs::set_permissions(&self.path, permissions.clone())
            }
            Some(_) => Ok(()),
        };
    }
}
