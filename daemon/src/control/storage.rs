//! Commands about what of shares lies in the vault, and what others have of it.

use std::time::Duration;

use clap::{Args, Subcommand};
use serde::{Deserialize, Serialize};

use super::words::Word;

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
    /// Tell what it was before, or bring that back.
    History(History),
    /// End that it can be known.
    Purge(Purge),
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

/// Tell what a shared file was, or what was removed from a shared folder, or bring it back.
#[derive(Debug, Clone, PartialEq, Eq, Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct History {
    /// The file or folder
    pub(crate) path: String,
    /// Bring entry N of the list back, as a new file
    #[arg(long, value_name = "N")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) restore: Option<u64>,
    /// Where to put it; nothing is written over
    #[arg(long, value_name = "DEST", requires = "restore")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) to: Option<String>,
    /// Bring back all files that were removed from the folder within this time, where they were
    #[arg(long, value_name = "TIME", conflicts_with = "restore")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) undelete: Option<Word<Duration>>,
    /// Let the server keep what is overwritten or removed in this share for so long
    #[arg(long, value_name = "TIME", conflicts_with_all = ["restore", "undelete"])]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) retention: Option<Word<Duration>>,
}

/// End that earlier versions can be had.
#[derive(Debug, Clone, PartialEq, Eq, Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Purge {
    /// The file, or the folder with all that is and was in it
    pub(crate) path: String,
}

impl History {
    /// Whether it is to do something.
    pub(crate) fn acts(&self) -> bool {
        self.restore.is_some() || self.undelete.is_some() || self.retention.is_some()
    }
}

impl StorageCommand {
    pub(super) const KNOWN: &str = "keep PATH, free PATH, here PATH, history PATH [--restore N [--to DEST] \
                                    | --undelete TIME | --retention TIME], purge PATH";

    /// Whether it only looks.
    pub(super) fn changes_nothing(&self) -> bool {
        match self {
            Self::Here(_) => true,
            Self::History(wanted) => !wanted.acts(),
            Self::Keep(_) | Self::Free(_) | Self::Purge(_) => false,
        }
    }
}
