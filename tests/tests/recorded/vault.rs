//! A vault that opens without the cost of a password.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use keyfold_crypto::{Password, Rounds};
use keyfold_fs::clock::{Clock, TestClock};
use keyfold_fs::vault::{
    Access, CreateOptions, KdfCost, LockedVault, Secret, UnlockedVault, VaultError,
};
use keyfold_fs::volume::{Volume, VolumeError, VolumeOptions};

/// The floor for new vaults.
const ROUNDS: u32 = 600_000;

/// Opens a vault, and copies of it.
pub struct Key(Secret);

impl Key {
    /// What opens the vault.
    pub fn secret(&self) -> &Secret {
        &self.0
    }
}

/// Why a vault does not open.
#[derive(Debug)]
pub struct Refused(pub String);

impl From<VaultError> for Refused {
    fn from(e: VaultError) -> Self {
        Self(format!("the vault does not open: {e} ({e:?})"))
    }
}

impl From<VolumeError> for Refused {
    fn from(e: VolumeError) -> Self {
        Self(format!("the volume does not open: {e} ({e:?})"))
    }
}

/// Makes an empty vault.
pub fn create(path: &Path) -> Key {
    let options = CreateOptions {
        password: Password::new("correct horse".to_owned()),
        cost: KdfCost::Fixed(Rounds::new(ROUNDS).unwrap()),
    };
    let format = |vault: &UnlockedVault| Volume::format(vault).map_err(Refused::from);
    let (vault, recovery) = UnlockedVault::create(path, &options, format).unwrap();
    drop(vault);
    Key(Secret::Recovery(recovery))
}

/// How a volume commits by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timer {
    /// Not at all.
    Off,
    /// All the time.
    Busy,
}

/// Locks the vault at `path`.
///
/// A program that a test in another thread starts has every open file for a moment, and with it
/// the lock of a vault that was closed meanwhile.
pub fn lock(path: &Path) -> Result<LockedVault, VaultError> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        match LockedVault::open(path, Access::ReadWrite) {
            Err(VaultError::InUse { .. }) if Instant::now() < deadline => std::thread::yield_now(),
            other => return other,
        }
    }
}

/// Opens the volume of the vault at `path`.
pub fn open(
    path: &Path,
    key: &Key,
    (clock, timer): (&Arc<TestClock>, Timer),
) -> Result<Arc<Volume>, Refused> {
    let vault = lock(path)?.unlock(&key.0)?;
    let options = VolumeOptions {
        dirty_limit: 8 << 20,
        commit_interval: match timer {
            Timer::Off => Duration::from_hours(1),
            Timer::Busy => Duration::from_millis(3),
        },
        flushers: 1,
        clock: Arc::clone(clock) as Arc<dyn Clock>,
        ..VolumeOptions::default()
    };
    Ok(Volume::open(vault, options)?)
}

/// Brings a missing or stale copy of the superblock back, as mounting does.
pub fn heal(path: &Path, key: &Key) -> Result<(), Refused> {
    Ok(lock(path)?.unlock(&key.0)?.heal()?)
}

/// Copies a directory.
pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target: PathBuf = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
