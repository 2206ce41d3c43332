//! A vault in a temporary directory, and filesystems to keep one on.

use std::fs;
use std::path::{Path, PathBuf};

use keyfold_crypto::{Password, RecoveryKey, Rounds};
use keyfold_fs::vault::{
    Access, CreateOptions, KdfCost, LockedVault, Secret, UnlockedVault, VaultError,
};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use tempfile::TempDir;

pub(crate) const PASSWORD: &str = "correct horse";

/// The cheapest cost a vault can have.
pub(crate) fn cheap() -> KdfCost {
    KdfCost::Fixed(Rounds::new(Rounds::FLOOR).unwrap())
}

pub(crate) fn password(text: &str) -> Password {
    Password::new(text.to_owned())
}

pub(crate) fn options() -> CreateOptions {
    CreateOptions {
        password: password(PASSWORD),
        cost: cheap(),
    }
}

/// Stands in for formatting the volume.
pub(crate) fn put_database(vault: &UnlockedVault) -> Result<(), VaultError> {
    fs::write(vault.dir().meta_db(), [0; 4096]).map_err(|_| VaultError::NoSpace {
        path: vault.dir().meta_db(),
    })
}

pub(crate) fn create_at(path: &Path) -> Result<(UnlockedVault, RecoveryKey), VaultError> {
    UnlockedVault::create(path, &options(), put_database)
}

/// A closed vault and what opens it.
pub(crate) struct Fixture {
    pub(crate) path: PathBuf,
    pub(crate) words: String,
    /// Where the vault is, with room for more beside it.
    pub(crate) around: TempDir,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let around = tempfile::tempdir().unwrap();
        let path = around.path().join("vault");
        let (_, recovery) = create_at(&path).unwrap();
        Self {
            path,
            words: recovery.to_words().to_string(),
            around,
        }
    }

    pub(crate) fn locked(&self) -> Result<LockedVault, VaultError> {
        LockedVault::open(&self.path, Access::ReadWrite)
    }

    pub(crate) fn open(&self, with: &str) -> Result<UnlockedVault, VaultError> {
        self.locked()?.unlock(&Secret::Password(password(with)))
    }

    /// Opens with the recovery key, which takes no time.
    pub(crate) fn recover(&self) -> Result<UnlockedVault, VaultError> {
        self.locked()?
            .unlock(&Secret::Recovery(RecoveryKey::parse(&self.words).unwrap()))
    }

    pub(crate) fn primary(&self) -> PathBuf {
        self.path.join("superblock.json")
    }

    pub(crate) fn backup(&self) -> PathBuf {
        self.path.join("superblock.bak")
    }

    pub(crate) fn write_both(&self, bytes: &[u8]) {
        fs::write(self.primary(), bytes).unwrap();
        fs::write(self.backup(), bytes).unwrap();
    }
}

pub(crate) fn names_in(path: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// A tmpfs of its own, unmounted even when the test fails.
pub(crate) struct SmallDisk {
    pub(crate) root: PathBuf,
    _directory: TempDir,
}

impl SmallDisk {
    /// `limits` as in tmpfs(5): `size=64k,nr_inodes=20`.
    pub(crate) fn new(limits: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().to_path_buf();
        mount(
            Some("tmpfs"),
            &root,
            Some("tmpfs"),
            MsFlags::empty(),
            Some(limits),
        )
        .unwrap();
        Self {
            root,
            _directory: directory,
        }
    }

    pub(crate) fn make_read_only(&self) {
        let flags = MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        mount(None::<&str>, &self.root, None::<&str>, flags, None::<&str>).unwrap();
    }

    /// Takes all space that is left.
    pub(crate) fn fill(&self) -> PathBuf {
        use std::io::Write;
        let path = self.root.join("filler");
        let mut filler = fs::File::create(&path).unwrap();
        while filler.write_all(&[0; 4096]).is_ok() {}
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = umount2(&self.root, MntFlags::MNT_DETACH);
    }
}
