//! What `status` tells of shares.

use keyfold_fs::share::ShareInfo;
use keyfold_protocol::account::{Address, fingerprint, read_fingerprint};
use keyfold_protocol::ids::ShareId;
use keyfold_protocol::roster::Role;
use serde::{Deserialize, Serialize};

use super::desk::{Desk, Known, State};
use super::giving::Awaited;
use crate::account::{Invitation, Kept};
use crate::sharing::{Asked, Stub};
use crate::sync::Transfer;

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
    /// What can be asked for.
    #[serde(default)]
    pub(crate) locked: Vec<LockedStatus>,
    /// How many requests of others wait for an answer.
    #[serde(default)]
    pub(crate) requests: usize,
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
    /// How far sending is, while files are being sent.
    #[serde(default)]
    pub(crate) sending: Option<Transfer>,
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

impl ShareStatus {
    /// How many rounds have ended well once one has that begins from now on: what runs already may have
    /// begun before what is waited for.
    pub(crate) fn next_round(&self) -> u64 {
        self.rounds + 1 + u64::from(self.running)
    }
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

/// Something that can be asked for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct LockedStatus {
    /// Where it is in the mount.
    pub(crate) path: Option<String>,
    /// `locked`, or `requested`.
    pub(crate) state: String,
    pub(crate) owner: String,
    pub(crate) title: String,
    /// What to ask with.
    pub(crate) address: Option<String>,
    /// What became of asking.
    pub(crate) asked: Option<String>,
    /// What is waited for.
    pub(crate) waits_for: Option<String>,
}

/// Where a folder stands.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct FolderStatus {
    /// As it was asked for.
    pub(crate) path: String,
    /// The share that it is or lies in.
    pub(crate) share: Option<ShareStatus>,
    /// What it stands for, where that was not given.
    #[serde(default)]
    pub(crate) locked: Option<LockedStatus>,
}

impl Desk {
    /// What is known now; nothing of a volume without shares that nobody syncs.
    pub(crate) fn status(&self) -> Option<SharingStatus> {
        let volume = self.engine.volume();
        let shares = volume.shares().unwrap_or_default();
        let syncs = self.syncs();
        let locked = volume.locked_shares().unwrap_or_default();
        if shares.is_empty() && locked.is_empty() && !syncs {
            return None;
        }
        let locked = locked.iter().filter_map(|info| self.locked(info)).collect();
        let shares = shares.iter().map(|info| self.status_of(info));
        let shares = shares.collect();
        let idle = "nobody is logged in to an account, so shares are not synced";
        let idle = (!syncs).then(|| idle.to_owned());
        Some(self.board(|board| {
            SharingStatus {
                connected: board.connected,
                error: board.error.clone().or(idle),
                shares,
                locked,
                requests: board.requests.len(),
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
        let path = volume.path_of_share(info).ok();
        let id = ShareId(info.id.0);
        ShareStatus {
            id: id.to_string(),
            path: path.map(|path| String::from_utf8_lossy(&path).into_owned()),
            role: known.role,
            state: known.state_now(),
            sending: known.progress.now(),
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

    /// What is known of something that was not given.
    pub(super) fn locked(&self, info: &ShareInfo) -> Option<LockedStatus> {
        let stub = Stub::of(info)?;
        let path = self.engine.volume().path_of_directory(info.root).ok();
        let owner = stub.owner.to_string();
        let waits_for = match stub.asked {
            Asked::Waiting => Some(format!("the answer of {owner}")),
            Asked::Granted => Some(format!("a device of {owner}")),
            _ => None,
        };
        Some(LockedStatus {
            path: path.map(|path| String::from_utf8_lossy(&path).into_owned()),
            state: stub.asked.state().to_owned(),
            title: stub.offer().title.to_string(),
            address: self.address_of(&stub),
            asked: stub.asked.word().map(str::to_owned),
            waits_for,
            owner,
        })
    }

    /// What to ask for something with. It has the fingerprint of an owner who was verified.
    pub(super) fn address_of(&self, stub: &Stub) -> Option<String> {
        let kept = Kept::in_vault(&self.engine);
        let profile = kept.profile().ok()??;
        let owner = stub.offer().owner;
        let book = kept.book().ok()?.book;
        let is_verified = book.contacts.iter().any(|contact| contact.root == owner);
        let known = is_verified.then(|| read_fingerprint(&fingerprint(owner)).ok());
        let address = Address {
            fingerprint: known.flatten(),
            ..stub.address(profile.server.address.host())
        };
        Some(address.to_string())
    }

    /// What is known of one share.
    pub(super) fn status_of(&self, info: &ShareInfo) -> ShareStatus {
        self.share(info, self.known(info))
    }

    /// What whoever tends a share noted.
    pub(super) fn known(&self, info: &ShareInfo) -> Known {
        let known = self.board(|board| board.shares.get(&info.number).cloned());
        known.unwrap_or_default()
    }
}
