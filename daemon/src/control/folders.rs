//! Commands about folders of a mount.

use std::time::Duration;

use clap::{Args, Subcommand};
use keyfold_protocol::account::Fingerprint;
use keyfold_protocol::names::UserName;
use keyfold_protocol::roster::Role;
use serde::{Deserialize, Serialize};

use super::whom::Whom;
use super::words::Word;

/// What to do with a folder.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case")]
pub(crate) enum FolderCommand {
    /// Give somebody a folder or a file.
    Share(Share),
    /// Take it back.
    Unshare(Unshare),
    /// Take what somebody gives.
    Accept(Accept),
    /// Tell where a folder stands.
    Folder(Folder),
    /// Look at the server now.
    Look(Look),
}

/// Give somebody a folder or a file.
#[derive(Debug, Clone, PartialEq, Eq, Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Share {
    /// The folder or file
    pub(crate) path: String,
    /// To whom: a user, @GROUP for everybody in it, or an e-mail address, which is invited if nobody
    /// has it
    pub(crate) user: Whom,
    /// Let him write, too
    #[arg(long)]
    #[serde(default)]
    pub(crate) write: bool,
    /// Let him also decide who takes part
    #[arg(long, conflicts_with = "write")]
    #[serde(default)]
    pub(crate) owner: bool,
    /// Let him also read what was written under earlier keys, as far as this account has them
    #[arg(long)]
    #[serde(default)]
    pub(crate) with_history: bool,
    /// End the access after this time, such as 30d
    #[arg(long, value_name = "TIME")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) expires: Option<Word<Duration>>,
    /// His fingerprint, as he gave it
    #[arg(long, value_name = "K7QD-...")]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) key: Option<Word<Fingerprint>>,
}

impl Share {
    /// What he may do.
    pub(crate) fn role(&self) -> Role {
        match (self.owner, self.write) {
            (true, _) => Role::Owner,
            (false, true) => Role::Writer,
            (false, false) => Role::Reader,
        }
    }
}

/// Take a folder or a file back.
#[derive(Debug, Clone, PartialEq, Eq, Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Unshare {
    /// The folder or file
    pub(crate) path: String,
    /// From whom
    #[arg(required_unless_present_any = ["all", "end"])]
    pub(crate) user: Option<UserName>,
    /// From everybody
    #[arg(long, conflicts_with = "user")]
    #[serde(default)]
    pub(crate) all: bool,
    /// From everybody, and end the share: the server deletes it with its history, and the folder or file
    /// stays here as an ordinary one. Other devices keep what they have read
    #[arg(long, conflicts_with_all = ["user", "all"])]
    #[serde(default)]
    pub(crate) end: bool,
}

/// Take what somebody gives.
#[derive(Debug, Clone, PartialEq, Eq, Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Accept {
    /// Which: OWNER, OWNER/NAME, or the id of the share or the beginning of it
    #[arg(value_name = "OWNER[/NAME]")]
    pub(crate) share: String,
}

/// Tell where a folder stands.
#[derive(Debug, Clone, PartialEq, Eq, Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Folder {
    /// The folder or file, or something in it
    pub(crate) path: String,
}

/// Look at the server now.
#[derive(Debug, Clone, PartialEq, Eq, Args, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Look {}

impl FolderCommand {
    pub(super) const KNOWN: &str = "share PATH USER|@GROUP|EMAIL [--write | --owner] [--expires TIME] [--key KEY], unshare PATH \
                                    USER | --all | --end, accept OWNER[/NAME], folder PATH, look";

    /// Whether it only looks.
    pub(super) fn changes_nothing(&self) -> bool {
        match self {
            Self::Share(_) | Self::Unshare(_) | Self::Accept(_) => false,
            Self::Folder(_) | Self::Look(_) => true,
        }
    }
}
