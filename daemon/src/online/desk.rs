//! What the thread that syncs shares and everybody else tell each other.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use keyfold_fs::layout::ShareId as EngineShareId;
use keyfold_fs::share::{Noticed, Outdated, ShareInfo, ShareNumber};
use keyfold_protocol::ids::{ChainRoot, ShareId, Time};
use keyfold_protocol::names::UserName;
use keyfold_protocol::roster::Role;
use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::giving::Awaited;
use super::storage::Keeper;
use crate::control_dir::Owner;
use crate::engine::Engine;
use crate::sharing::{InboxItem, Stub};
use crate::sync::{Fetcher, Progress};

/// Where a share stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// It was not looked at since the volume was mounted.
    #[default]
    Starting,
    /// It is being brought up to date.
    Syncing,
    /// Files are being sent.
    Uploading,
    /// Everything is where it belongs.
    Synced,
    /// What others changed waits for files that are in use here.
    Busy,
    /// It failed; it is tried again.
    Failing,
    /// This account is no member any more.
    Removed,
}

impl State {
    /// What it is called.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Syncing => "syncing",
            Self::Uploading => "uploading",
            Self::Synced => "synced",
            Self::Busy => "busy",
            Self::Failing => "failing",
            Self::Removed => "removed",
        }
    }
}

/// What is known of a share.
#[derive(Debug, Clone, Default)]
pub(crate) struct Known {
    pub(crate) state: State,
    pub(crate) role: Option<Role>,
    /// Who made it.
    pub(crate) creator: Option<(UserName, ChainRoot)>,
    /// Who takes part, by name.
    pub(crate) members: Vec<(UserName, Role)>,
    /// Why the last attempt failed.
    pub(crate) error: Option<String>,
    /// What is wrong with records that were applied since the volume was mounted, and what lies beside a
    /// single file; the newest last.
    pub(crate) trouble: VecDeque<String>,
    /// Names that are not sent.
    pub(crate) kept_back: u64,
    /// When somebody's access ends next.
    pub(crate) next_expiry: Option<Time>,
    /// Where changes are that may not be sent any more.
    pub(crate) unsent: Option<String>,
    /// Rounds that began and ended well.
    pub(crate) rounds: u64,
    /// Whether one has begun and not ended.
    pub(crate) running: bool,
    /// How far sending is.
    pub(crate) progress: Arc<Progress>,
}

/// Records of which it is told what is wrong.
const TROUBLE: usize = 20;

impl Known {
    /// Where it stands now.
    pub(super) fn state_now(&self) -> State {
        match (self.state, self.progress.now()) {
            (State::Starting | State::Syncing | State::Synced, Some(_)) => State::Uploading,
            (state, _) => state,
        }
    }

    /// Notes what is wrong with a record, or what else there is to know.
    pub(super) fn note_trouble(&mut self, what: String) {
        if self.trouble.contains(&what) {
            return;
        }
        if self.trouble.len() == TROUBLE {
            self.trouble.pop_front();
        }
        self.trouble.push_back(what);
    }
}

/// A share that somebody gave this account and that waits to be accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Offered {
    pub(crate) owner: String,
    pub(crate) name: String,
    /// Why it is not there by itself.
    pub(crate) why: String,
    /// Of what may only be asked for: what stands for it once it is accepted.
    pub(crate) stub: Option<Stub>,
}

/// What is known of all of them.
#[derive(Default)]
pub(crate) struct Board {
    pub(crate) shares: BTreeMap<ShareNumber, Known>,
    pub(crate) offered: BTreeMap<ShareId, Offered>,
    /// What others ask for, the newest last, as it was verified last.
    pub(crate) requests: Vec<InboxItem>,
    /// What invitations to shares wait for.
    pub(super) awaited: Vec<Awaited>,
    /// Whether the server answered last.
    pub(crate) connected: bool,
    /// Why it did not.
    pub(crate) error: Option<String>,
}

/// Calls the one who tends a share.
#[derive(Debug, Default)]
pub(super) struct Bell {
    notify: Notify,
    /// There is something that need not wait for more of the same.
    urgent: AtomicBool,
}

impl Bell {
    /// Something changed here, and more may change in a moment.
    fn changed_here(&self) {
        self.notify.notify_one();
    }

    /// Something changed at the server, or is to be looked at now.
    pub(super) fn look_now(&self) {
        self.urgent.store(true, Ordering::Release);
        self.notify.notify_one();
    }

    /// Waits to be called. Returns whether it is urgent.
    pub(super) async fn called(&self) -> bool {
        self.notify.notified().await;
        self.urgent.swap(false, Ordering::AcqRel)
    }
}

/// Whoever caches anything of the volume, and is told what to ask for again.
pub(crate) trait Caches: Send + Sync {
    /// These are to be asked for again. Returns at once.
    fn outdated(&self, what: Vec<Outdated>);
}

/// What the thread that syncs shares and everybody else tell each other.
pub(crate) struct Desk {
    pub(super) engine: Arc<Engine>,
    pub(super) owner: Owner,
    /// Calls whoever looks at the list of shares.
    pub(super) list: Notify,
    /// Held exclusively by who may change the account, shared by commands that use it.
    pub(super) account: RwLock<()>,
    /// Whether anybody syncs anything.
    syncs: AtomicBool,
    bells: Mutex<BTreeMap<ShareNumber, Arc<Bell>>>,
    /// Shares that somebody tends.
    tended: Mutex<BTreeSet<EngineShareId>>,
    /// Shares that are just being begun: the server may not know them yet.
    beginning: Mutex<BTreeSet<EngineShareId>>,
    board: Mutex<Board>,
    /// Requests that the user was shown, until that is kept.
    pub(super) displayed: Mutex<Option<Vec<InboxItem>>>,
    caches: Mutex<Option<Arc<dyn Caches>>>,
    fetcher: Mutex<Option<Arc<Fetcher>>>,
    /// Brings what is to stay, and gives up what is too much.
    pub(super) keeper: Keeper,
}

impl Desk {
    pub(super) fn new(engine: Arc<Engine>, owner: Owner, cache_limit: Option<u64>) -> Self {
        Self {
            engine,
            owner,
            list: Notify::new(),
            account: RwLock::new(()),
            syncs: AtomicBool::new(false),
            bells: Mutex::default(),
            tended: Mutex::default(),
            beginning: Mutex::default(),
            board: Mutex::default(),
            displayed: Mutex::default(),
            caches: Mutex::default(),
            fetcher: Mutex::default(),
            keeper: Keeper::with_limit(cache_limit),
        }
    }

    /// Who brings blocks, while anybody does.
    pub(super) fn fetcher(&self) -> Option<Arc<Fetcher>> {
        self.fetcher.lock().clone()
    }

    /// Says who does.
    pub(super) fn set_fetcher(&self, fetcher: Option<Arc<Fetcher>>) {
        *self.fetcher.lock() = fetcher;
    }

    /// Notes whether somebody syncs from now on.
    pub(super) fn set_syncs(&self, syncs: bool) {
        self.syncs.store(syncs, Ordering::Relaxed);
        if !syncs {
            self.board(|board| {
                board.connected = false;
                board.error = None;
                board.offered.clear();
                board.requests.clear();
            });
        }
    }

    /// Whether somebody does.
    pub(super) fn syncs(&self) -> bool {
        self.syncs.load(Ordering::Relaxed)
    }

    /// The bell of a share.
    pub(super) fn bell(&self, share: ShareNumber) -> Arc<Bell> {
        Arc::clone(self.bells.lock().entry(share).or_default())
    }

    /// Notes that a share is being begun or ended, until that is dropped.
    pub(super) fn beginning(&self, share: EngineShareId) -> Beginning<'_> {
        self.beginning.lock().insert(share);
        Beginning { desk: self, share }
    }

    /// Whether a share is being begun or ended: whoever does that puts it into the volume or out of it.
    pub(super) fn is_beginning(&self, share: EngineShareId) -> bool {
        self.beginning.lock().contains(&share)
    }

    /// Has everything looked at now.
    pub(crate) fn look_now(&self) {
        self.list.notify_one();
        for bell in self.bells.lock().values() {
            bell.look_now();
        }
    }

    /// Reads or changes what is known.
    pub(crate) fn board<T>(&self, look: impl FnOnce(&mut Board) -> T) -> T {
        look(&mut self.board.lock())
    }

    /// Notes something of a share.
    pub(super) fn note(&self, share: ShareNumber, note: impl FnOnce(&mut Known)) {
        note(self.board.lock().shares.entry(share).or_default());
    }

    /// Nobody tends anything: a connection begins.
    pub(super) fn begin(&self) {
        self.tended.lock().clear();
    }

    /// Whether somebody tends a share.
    pub(super) fn is_tended(&self, share: EngineShareId) -> bool {
        self.tended.lock().contains(&share)
    }

    /// Somebody tends a share from now on, unless somebody does already.
    pub(super) fn begins_to_tend(&self, share: EngineShareId) -> bool {
        self.tended.lock().insert(share)
    }

    /// A share is none of this volume any more. Its number may be another's by now.
    pub(super) fn forget(&self, share: &ShareInfo) {
        self.tended.lock().remove(&share.id);
        let shares = self.engine.volume().shares().unwrap_or_default();
        if shares.iter().all(|info| info.number != share.number) {
            self.bells.lock().remove(&share.number);
            self.board.lock().shares.remove(&share.number);
        }
    }

    /// Whether the mount can be written to, so that shares can be synced.
    pub(super) fn has_caches(&self) -> bool {
        self.caches.lock().is_some()
    }

    pub(super) fn set_caches(&self, caches: Arc<dyn Caches>) {
        *self.caches.lock() = Some(caches);
    }

    /// Tells whoever caches anything.
    pub(crate) fn outdated(&self, what: Vec<Outdated>) {
        let caches = self.caches.lock().clone();
        if what.is_empty() {
            return;
        }
        if let Some(caches) = caches {
            caches.outdated(what);
        }
        self.keeper.look();
    }
}

/// A share is being begun or ended.
pub(super) struct Beginning<'d> {
    desk: &'d Desk,
    share: EngineShareId,
}

impl Drop for Beginning<'_> {
    fn drop(&mut self) {
        self.desk.beginning.lock().remove(&self.share);
    }
}

impl Noticed for Desk {
    fn marked(&self, share: ShareNumber) {
        if let Some(bell) = self.bells.lock().get(&share) {
            bell.changed_here();
        }
    }
}
