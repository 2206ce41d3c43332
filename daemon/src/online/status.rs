//! What `status` tells of shares.

use keyfold_fs::share::ShareInfo;
use keyfold_protocol::roster::Role;
use serde::{Deserialize, Serialize};

use super::desk::{Desk, Known, State};

/// What `status` tells of shares.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct SharingStatus {
    /// Whether the server answered last.
    connected: bool,
    error: Option<String>,
    shares: Vec<ShareStatus>,
    offered: Vec<OfferedStatus>,
}

/// A share of the volume.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ShareStatus {
    id: String,
    /// Where it is in the mount.
    path: Option<String>,
    role: Option<Role>,
    state: State,
    /// Changes that were not sent.
    waiting: u64,
    /// Names that cannot be sent.
    kept_back: u64,
    error: Option<String>,
    /// Rounds that ended well: who asks for one sees this rise.
    rounds: u64,
}

/// A share that waits to be accepted.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct OfferedStatus {
    id: String,
    owner: String,
    name: String,
    why: String,
}

impl Desk {
    /// What is known now.
    pub(crate) fn status(&self) -> SharingStatus {
        let volume = self.engine.volume();
        let shares = volume.shares().unwrap_or_default();
        let known = |info: &ShareInfo| {
            self.board(|board| board.shares.get(&info.number).cloned())
                .unwrap_or_default()
        };
        let shares = shares.iter().map(|info| self.share(info, known(info)));
        let shares = shares.collect();
        self.board(|board| SharingStatus {
            connected: board.connected,
            error: board.error.clone(),
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
        })
    }

    fn share(&self, info: &ShareInfo, known: Known) -> ShareStatus {
        let volume = self.engine.volume();
        let path = volume.path_of_directory(info.root).ok();
        ShareStatus {
            id: keyfold_protocol::ids::ShareId(info.id.0).to_string(),
            path: path.map(|path| String::from_utf8_lossy(&path).into_owned()),
            role: known.role,
            state: known.state,
            waiting: volume.pending_marks(info.number).unwrap_or(0),
            kept_back: known.kept_back,
            error: known.error,
            rounds: known.rounds,
        }
    }

    /// What is known of one share.
    pub(super) fn status_of(&self, info: &ShareInfo) -> ShareStatus {
        let known = self.board(|board| board.shares.get(&info.number).cloned());
        self.share(info, known.unwrap_or_default())
    }
}
