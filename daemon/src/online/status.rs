//! What `status` tells of shares.

use keyfold_fs::share::ShareInfo;
use keyfold_fs::vfs::Ino;
use keyfold_protocol::ids::ShareId;
use keyfold_protocol::roster::Role;
use serde::{Deserialize, Serialize};

use super::desk::{Desk, Known, State};
use super::giving::Awaited;
use super::paths;
use crate::account::{Invitation, Kept};
use crate::sharing::role_name;

/// What `status` tells of shares.
#[derive(Debug, Clone, Serialize, Deserialize, Default)]
pub(crate) struct SharingStatus {
    /// Whether the server answered last.
    pub(crate) connected: bool,
    /// Why it did not.
    pub(crate) error: Option<String>,
    /// Those of the volume.
    pub(crate) shares: Vec<ShareStatus>,
    /// Those that wait to be accepted.
    pub(crate) offered: Vec<OfferedStatus>,
}

/// A share of the volume.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct ShareStatus {
    pub(crate) id: String,
    /// Where it is in the mount.
    pub(crate) path: Option<String>,
    pub(crate) role: Option<Role>,
    pub(crate) state: State,
    /// Changes that were not sent.
    pub(crate) waiting: u64,
    /// Names that cannot be sent.
    pub(crate) kept_back: u64,
    /// Where changes are that may not be sent any more.
    pub(crate) unsent: Option<String>,
    /// Why the last attempt failed.
    pub(crate) error: Option<String>,
    /// Who is to be taken out as soon as the server answers; `*` for everybody else.
    pub(crate) revoking: Vec<String>,
    /// Who was invited and is not given it yet.
    pub(crate) invited: Vec<InvitedStatus>,
    /// What is wrong with records that were applied since the volume was mounted, the newest last.
    pub(crate) trouble: Vec<String>,
    /// Rounds that ended well: whoever asks for one sees this rise.
    pub(crate) rounds: u64,
    /// Whether one has begun and not ended.
    pub(crate) running: bool,
}

/// Somebody who was invited by his address.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct InvitedStatus {
    email: String,
    /// Who registered with it, as the server says.
    user: Option<String>,
    waits_for: String,
}

impl InvitedStatus {
    fn new(invitation: &Invitation, user: Option<String>) -> Self {
        let waits_for = match &user {
            None => "somebody who registers with that address".to_owned(),
            Some(user) => {
                format!("`keyfold trust {user}`: compare the safety words with whom you invited")
            }
        };
        Self {
            email: invitation.email.to_string(),
            user,
            waits_for,
        }
    }
}

/// A share that waits to be accepted.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct OfferedStatus {
    id: String,
    owner: String,
    name: String,
    why: String,
}

/// Where a folder stands.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct FolderStatus {
    /// As it was asked for.
    pub(crate) path: String,
    /// The share that it is or lies in.
    pub(crate) share: Option<ShareStatus>,
}

impl Desk {
    /// What is known now; nothing of a volume without shares that nobody syncs.
    pub(crate) fn status(&self) -> Option<SharingStatus> {
        let volume = self.engine.volume();
        let shares = volume.shares().unwrap_or_default();
        let syncs = self.syncs();
        if shares.is_empty() && !syncs {
            return None;
        }
        let shares = shares.iter().map(|info| self.status_of(info));
        let shares = shares.collect();
        let idle = "nobody is logged in to an account, so shares are not synced";
        let idle = (!syncs).then(|| idle.to_owned());
        Some(self.board(|board| {
            SharingStatus {
                connected: board.connected,
                error: board.error.clone().or(idle),
                shares,
                offered: board
                    .offered
                    .iter()
                    .map(|(id, offered)| OfferedStatus {
                        id: id.to_string(),
                        owner: offered.owner.clone(),
                        name: offered.name.clone(),
                        why: offered.why.clone(),
                    })
                    .collect(),
            }
        }))
    }

    fn share(&self, info: &ShareInfo, known: Known) -> ShareStatus {
        let volume = self.engine.volume();
        let path = volume.path_of_directory(info.root).ok();
        let id = ShareId(info.id.0);
        ShareStatus {
            id: id.to_string(),
            path: path.map(|path| String::from_utf8_lossy(&path).into_owned()),
            role: known.role,
            state: known.state,
            waiting: volume.pending_marks(info.number).unwrap_or(0),
            kept_back: known.kept_back,
            unsent: known.unsent,
            revoking: self.revoking(id),
            invited: self.invited(id),
            error: known.error,
            trouble: known.trouble.into(),
            rounds: known.rounds,
            running: known.running,
        }
    }

    fn revoking(&self, share: ShareId) -> Vec<String> {
        let queued = Kept::in_vault(&self.engine).revocations();
        let queued = queued.unwrap_or_default().into_iter();
        let of = queued.filter(|one| one.share == share);
        of.map(|one| {
            one.user
                .map_or_else(|| "*".to_owned(), |user| user.to_string())
        })
        .collect()
    }

    fn invited(&self, share: ShareId) -> Vec<InvitedStatus> {
        let kept = Kept::in_vault(&self.engine).invitations();
        let kept = kept.unwrap_or_default().into_iter();
        let of = kept.filter(|one| one.share == share);
        of.map(|one| {
            let known = self.board(|board| {
                let mut awaited = board.awaited.iter();
                let same =
                    |known: &&Awaited| known.share == share && known.email == one.email.as_str();
                awaited.find(same)?.user.clone()
            });
            InvitedStatus::new(&one, known)
        })
        .collect()
    }

    /// What is known of an inode that is in a share, by the name of an attribute.
    pub(crate) fn attribute(&self, ino: Ino, name: &[u8]) -> Option<String> {
        let info = paths::share_at(self.engine.volume(), ino).ok()??;
        let known = self.board(|board| board.shares.get(&info.number).cloned());
        let known = known.unwrap_or_default();
        let waits = || self.engine.volume().has_settled_marks(info.number);
        match name {
            b"state" if known.state == State::Synced && waits().unwrap_or(true) => {
                Some(State::Syncing.word().to_owned())
            }
            b"state" => Some(known.state.word().to_owned()),
            b"share" => Some(ShareId(info.id.0).to_string()),
            b"role" => known.role.map(|role| role_name(role).to_owned()),
            _ => None,
        }
    }

    /// What is known of one share.
    pub(super) fn status_of(&self, info: &ShareInfo) -> ShareStatus {
        let known = self.board(|board| board.shares.get(&info.number).cloned());
        self.share(info, known.unwrap_or_default())
    }
}
