//! Commands and options about shares: what the daemon is told, and the vault that it is about.

use std::path::PathBuf;

use clap::Args;

use super::Where;
use crate::cli::secret::UnlockArgs;
use crate::control;

#[derive(Debug, Args)]
pub(crate) struct MembersArgs {
    #[command(flatten)]
    pub(super) what: control::Members,
    /// The vault, or where it is mounted
    vault: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    unlock: UnlockArgs,
}

impl MembersArgs {
    pub(super) fn at(&self) -> Where<'_> {
        Where {
            vault: &self.vault,
            unlock: &self.unlock,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct RoleArgs {
    #[command(flatten)]
    pub(super) what: control::RoleOf,
    /// The vault, or where it is mounted
    vault: PathBuf,
    #[command(flatten)]
    unlock: UnlockArgs,
}

impl RoleArgs {
    pub(super) fn at(&self) -> Where<'_> {
        Where {
            vault: &self.vault,
            unlock: &self.unlock,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct GroupArgs {
    #[command(flatten)]
    pub(super) what: control::GroupOf,
    /// The vault, or where it is mounted
    #[arg(long)]
    vault: PathBuf,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
    #[command(flatten)]
    unlock: UnlockArgs,
}

impl GroupArgs {
    pub(super) fn at(&self) -> Where<'_> {
        Where {
            vault: &self.vault,
            unlock: &self.unlock,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct LeaveArgs {
    #[command(flatten)]
    pub(super) what: control::Leave,
    /// The vault, or where it is mounted
    vault: PathBuf,
    #[command(flatten)]
    unlock: UnlockArgs,
}

impl LeaveArgs {
    pub(super) fn at(&self) -> Where<'_> {
        Where {
            vault: &self.vault,
            unlock: &self.unlock,
        }
    }
}
