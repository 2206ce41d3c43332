//! The volume engine as the command line and the daemon use it.

use std::fmt;
use std::sync::Arc;

use keyfold_fs::check::{self, CheckOptions, CheckReport, Progress, ReadData};
use keyfold_fs::error::{FsError, FsResult};
use keyfold_fs::vault::{UnlockedVault, VaultError};
use keyfold_fs::vfs::{FileRange, Vfs};
use keyfold_fs::volume::{Verification, Verify, Volume, VolumeError, VolumeOptions};

use crate::cli::exit::Exit;

/// How a volume is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct EngineOptions {
    /// Bound on data not yet written, in bytes; `None` for the engine's own.
    pub(crate) dirty_limit: Option<u64>,
    /// When its metadata is verified.
    pub(crate) verify: Verify,
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
}

/// An open volume.
pub(crate) struct Engine {
    volume: Arc<Volume>,
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
            ..VolumeOptions::default()
        };
        if let Some(limit) = wanted.dirty_limit {
            options.dirty_limit = usize::try_from(limit).unwrap_or(usize::MAX);
        }
        let volume = Volume::open(vault, options).map_err(EngineError::Volume)?;
        Ok(Self { volume })
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
            EngineError::Check(e) | EngineError::Volume(VolumeError::NotCommitted(e)) => e.into(),
            EngineError::Volume(e) => match e {
                VolumeError::DatabaseMissing(_)
                | VolumeError::DatabaseDamaged { .. }
                | VolumeError::SegmentMissing(_)
                | VolumeError::SegmentShort { .. } => Self::Damaged,
                VolumeError::NotAsSeen(e) => e.into(),
                VolumeError::DatabaseFailed { .. } => Self::Disk,
                VolumeError::NoSpace(_) => Self::NoSpace,
                VolumeError::Io(source) => Self::from_io(source, Self::Disk),
                VolumeError::NotCommitted(e) => e.into(),
            },
        }
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
            Self::Check(e) => write!(f, "the check could not be carried out: {e}"),
        }
    }
}
