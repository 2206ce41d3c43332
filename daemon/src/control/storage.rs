//! Commands about what of shares lies in the vault, and what others have of it.

use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};

/// What to do with what lies here or at the server.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case")]
pub(crate) enum StorageCommand {
    /// Bring all of it here, and keep it.
    Keep(Keep),
    /// Give up what the server has.
    Free(Free),
    /// Tell how much is here.
    Here(Here),
}

/// Bring all of a shared file or folder here, and keep it.
#[derive(Debug, Clone, PartialEq, Eq, Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Keep {
    /// The file or folder
    pub(crate) path: String,
}

/// Give up what of a shared file or folder the server has.
#[derive(Debug, Clone, PartialEq, Eq, Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Free {
    /// The file or folder
    pub(crate) path: String,
}

/// Tell how much of a shared file or folder is here.
#[derive(Debug, Clone, PartialEq, Eq, Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Here {
    /// The file or folder
    pub(crate) path: String,
}

impl StorageCommand {
    pub(super) const KNOWN: &str = "keep PATH, free PATH, here PATH";

    /// Whether it only looks.
    pub(super) fn changes_nothing(&self) -> bool {
        matches!(self, Self::Here(_))
    }
}
