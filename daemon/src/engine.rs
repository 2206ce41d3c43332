//! The volume engine as the command line and the daemon use it.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use keyfold_fs::check::{self, CheckOptions, CheckReport, Progress, ReadData};
use keyfold_fs::error::{FsError, FsResult};
use keyfold_fs::layout::ImageKind;
use keyfold_fs::repair::{self, RepairError, RepairOptions, RepairReport};
use keyfold_fs::vault::{UnlockedVault, VaultError};
use keyfold_fs::vfs::{FileRange, Vfs};
use keyfold_fs::volume::{
    AccountChange, AccountSlot, BarredSymlinks, Verification, Verify, Volume, VolumeError,
    VolumeOptions,
};
use parking_lot::{Mutex, MutexGuard};
use zeroize::Zeroizing;

use crate::cli::exit::Exit;
use crate::control::Snapshot;
use crate::control_dir::Owner;
use crate::snapshot_dir::WithSnapshots;

/// How a volume is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct EngineOptions {
    /// Bound on data not yet written, in bytes; `None` for the engine's own.
    pub(crate) dirty_limit: Option<u64>,
    /// When its metadata is verified.
    pub(crate) verify: Verify,
    /// Time between automatic snapshots, if any are to be made.
    pub(crate) snapshot_interval: Option<Duration>,
    /// What becomes of symlinks of others that may lead out of their share.
    pub(crate) foreign_symlinks: BarredSymlinks,
}

/// Why the engine failed as a whole.
#[derive(Debug)]
pub(crate) enum EngineError {
    /// The vault directory.
    Vault(VaultError),
    /// The volume in it.
    Volume(VolumeError),
    /// A check could not be carried out.
    Check(FsError),
    /// Nothing was repaired.
    Repair(RepairError),
}

/// An open volume.
pub(crate) struct Engine {
    volume: Arc<Volume>,
    /// One change of what is kept of the account at a time.
    account: Mutex<()>,
}

impl Engine {
    /// Puts an empty volume into a new vault.
    pub(crate) fn format(vault: &UnlockedVault) -> Result<(), EngineError> {
        Volume::format(vault).map_err(EngineError::Volume)
    }

    /// Opens the volume in `vault`.
    pub(crate) fn open(vault: UnlockedVault, wanted: EngineOptions) -> Result<Self, EngineError> {
        let mut options = VolumeOptions {
            verify: wanted.verify,
            image_interval: wanted.snapshot_interval,
            barred_symlinks: wanted.foreign_symlinks,
            ..VolumeOptions::default()
        };
        if let Some(limit) = wanted.dirty_limit {
            options.dirty_limit = usize::try_from(limit).unwrap_or(usize::MAX);
        }
        let volume = Volume::open(vault, options).map_err(EngineError::Volume)?;
        Ok(Self::of(volume))
    }

    fn of(volume: Arc<Volume>) -> Self {
        Self {
            volume,
            account: Mutex::new(()),
        }
    }

    /// Repairs the volume in `vault`, which nobody uses.
    pub(crate) fn repair(
        vault: UnlockedVault,
        options: &RepairOptions,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<RepairReport, EngineError> {
        repair::repair(vault, options, progress).map_err(EngineError::Repair)
    }

    /// The volume itself, for who syncs its shares.
    pub(crate) fn volume(&self) -> &Arc<Volume> {
        &self.volume
    }

    /// Its files.
    pub(crate) fn vfs(&self) -> Arc<dyn Vfs> {
        Arc::clone(&self.volume) as Arc<dyn Vfs>
    }

    /// Reads by the cipher implementation that had no part in sealing, for content that leaves
    /// the vault.
    pub(crate) fn read_reference(&self, at: FileRange, buf: &mut [u8]) -> FsResult<usize> {
        self.volume.read_reference(at, buf)
    }

    /// Its state, for people and programs.
    pub(crate) fn status(&self) -> serde_json::Value {
        // Figures and words always have a form in JSON.
        serde_json::to_value(self.volume.status()).unwrap_or_default()
    }

    /// What verifying its metadata came to; waits for that.
    pub(crate) fn verified(&self) -> Verification {
        self.volume.verified()
    }

    /// Verifies it, while it is used or not.
    pub(crate) fn check(
        &self,
        read_data: ReadData,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<CheckReport, EngineError> {
        check::check(&self.volume, &CheckOptions { read_data }, progress)
            .map_err(EngineError::Check)
    }

    /// Its files, and under `.keyfold/snapshots` those of its snapshots, which belong to `owner`.
    pub(crate) fn vfs_with_snapshots(&self, owner: Owner) -> Arc<dyn Vfs> {
        Arc::new(WithSnapshots::new(Arc::clone(&self.volume), owner))
    }

    /// The snapshots, oldest first.
    pub(crate) fn snapshots(&self) -> Vec<Snapshot> {
        self.volume.images().into_iter().map(Into::into).collect()
    }

    /// Keeps the volume as it is now, by default under a name made of the time.
    pub(crate) fn keep_snapshot(&self, name: Option<&str>) -> FsResult<Snapshot> {
        self.volume
            .keep_image(ImageKind::Snapshot, name)
            .map(Into::into)
    }

    /// The snapshot of this name, of a volume that was opened for reading.
    pub(crate) fn snapshot(&self, name: &str) -> FsResult<Self> {
        let images = self.volume.images();
        let named = images.iter().find(|i| i.name == name);
        let volume = self.volume.image(named.ok_or(FsError::NotFound)?.id)?;
        Ok(Self::of(volume))
    }

    /// Deletes the snapshot of this name.
    pub(crate) fn delete_snapshot(&self, name: &str) -> FsResult<()> {
        let images = self.volume.images();
        let named = images
            .iter()
            .find(|i| i.name == name && i.kind != ImageKind::Hold);
        self.volume.drop_image(named.ok_or(FsError::NotFound)?.id)
    }

    /// A value of the user's account.
    pub(crate) fn account_value(&self, slot: AccountSlot) -> FsResult<Option<Zeroizing<Vec<u8>>>> {
        self.volume.account_value(slot)
    }

    /// Keeps others from changing values of the account between a look at one and its change.
    pub(crate) fn account_change(&self) -> MutexGuard<'_, ()> {
        self.account.lock()
    }

    /// Puts values of the user's account, all or none, durably.
    pub(crate) fn put_account_values(&self, changes: &[AccountChange<'_>]) -> FsResult<()> {
        self.volume.put_account_values(changes)
    }

    /// Makes a directory that is the vault as it is now, to be copied.
    pub(crate) fn hold(&self) -> FsResult<PathBuf> {
        self.volume.hold()
    }

    /// Ends the hold, if there is one.
    pub(crate) fn end_hold(&self) -> FsResult<()> {
        self.volume.end_hold()
    }

    /// Makes everything durable and closes it.
    pub(crate) fn close(&self) -> Result<(), EngineError> {
        self.volume.close().map_err(EngineError::Volume)
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // Stops its threads, which hold it; whoever wants to know how it went closes it himself.
        let _ = self.volume.close();
    }
}

impl From<&EngineError> for Exit {
    fn from(error: &EngineError) -> Self {
        match error {
            EngineError::Vault(e) => e.into(),
            EngineError::Check(e) => e.into(),
            EngineError::Repair(e) => match e {
                RepairError::NoImage { .. } | RepairError::Altered { .. } => Self::Damaged,
                RepairError::NotThisImage { .. } => Self::NoSuchPath,
                RepairError::Volume(e) => volume_exit(e),
                RepairError::Io(e) => Self::from_io(e, Self::Disk),
                RepairError::Rows(e) => e.into(),
            },
            EngineError::Volume(e) => volume_exit(e),
        }
    }
}

fn volume_exit(error: &VolumeError) -> Exit {
    match error {
        VolumeError::DatabaseMissing(_)
        | VolumeError::DatabaseDamaged { .. }
        | VolumeError::SegmentMissing(_)
        | VolumeError::SegmentShort { .. } => Exit::Damaged,
        VolumeError::NotAsSeen(e) => e.into(),
        VolumeError::DatabaseFailed { .. } => Exit::Disk,
        VolumeError::NoSpace(_) => Exit::NoSpace,
        VolumeError::Io(source) => Exit::from_io(source, Exit::Disk),
        VolumeError::NotCommitted(e) => e.into(),
    }
}

impl From<VaultError> for EngineError {
    fn from(e: VaultError) -> Self {
        Self::Vault(e)
    }
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vault(e) => e.fmt(f),
            Self::Volume(e) => e.fmt(f),
            Self::Repair(e) => e.fmt(f),
            Self::Check(e) => write!(f, "the check could not be carried out: {e}"),
        }
    }
}
