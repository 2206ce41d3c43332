//! Bringing blocks for whoever reads.
//!
//! It has a connection and a thread of its own, so whoever reads waits for nothing but the server; and
//! for that only while it is not known that it does not answer.

use std::collections::BTreeMap;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use keyfold_fs::share::{Fetch, Fetched, Unfetched, Wanted};
use keyfold_protocol::ids::ShareId;
use parking_lot::{Condvar, Mutex};
use tokio::runtime::Runtime;

use super::packs::Packs;
use crate::remote::{Remote, RemoteError};

/// How long somebody waits for a share to be opened that the server was not asked for yet.
const OPENING: Duration = Duration::from_secs(20);

/// Brings blocks of all shares of a volume.
pub(crate) struct Fetcher {
    known: Mutex<Known>,
    /// Tells of whatever becomes known.
    changed: Condvar,
    runtime: Option<Runtime>,
}

#[derive(Default)]
struct Known {
    remote: Option<Remote>,
    shares: BTreeMap<ShareId, Arc<Packs>>,
    /// Whether the server is known not to answer.
    cut_off: bool,
    /// Whether nobody is to wait any more.
    ended: bool,
}

impl Fetcher {
    /// One that knows no server and no share yet.
    pub(crate) fn new() -> Result<Self, RemoteError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("keyfold-fetch")
            .enable_all()
            .build();
        Ok(Self {
            known: Mutex::default(),
            changed: Condvar::new(),
            runtime: Some(runtime.map_err(|e| RemoteError::Setup(e.to_string()))?),
        })
    }

    fn know(&self, what: impl FnOnce(&mut Known)) {
        what(&mut self.known.lock());
        self.changed.notify_all();
    }

    /// Blocks are brought from this server, over a connection that nobody else uses.
    pub(crate) fn set_remote(&self, remote: Remote) {
        self.know(|known| known.remote = Some(remote));
    }

    /// Blocks of this share are brought by these.
    pub(crate) fn add(&self, packs: &Arc<Packs>) {
        self.know(|known| drop(known.shares.insert(packs.share, Arc::clone(packs))));
    }

    /// Says whether the server answers: while it does not, nobody waits for it.
    pub(crate) fn set_cut_off(&self, cut_off: bool) {
        self.know(|known| known.cut_off = cut_off);
    }

    /// Brings nothing any more.
    pub(crate) fn end(&self) {
        self.know(|known| known.ended = true);
    }

    /// Who brings blocks of a share, as soon as that is known.
    fn source(&self, share: ShareId) -> Option<(Remote, Arc<Packs>)> {
        let over = Instant::now() + OPENING;
        let mut known = self.known.lock();
        loop {
            if known.cut_off || known.ended {
                return None;
            }
            if let (Some(remote), Some(packs)) = (&known.remote, known.shares.get(&share)) {
                return Some((remote.clone(), Arc::clone(packs)));
            }
            if self.changed.wait_until(&mut known, over).timed_out() {
                return None;
            }
        }
    }
}

impl Fetch for Fetcher {
    fn fetch(&self, wanted: &Wanted) -> Result<Vec<Fetched>, Unfetched> {
        let (remote, packs) = self.source(ShareId(wanted.share.0)).ok_or(Unfetched)?;
        let runtime = self.runtime.as_ref().ok_or(Unfetched)?;
        let wanted = wanted.clone();
        let (sender, brought) = mpsc::sync_channel(1);
        runtime.spawn(async move {
            // Nobody may be waiting any more.
            let _ = sender.send(packs.bring(&remote, &wanted).await);
        });
        // A task that is dropped takes its sender along.
        let brought = brought.recv().map_err(|_| Unfetched)?;
        brought.map_err(|_| Unfetched)
    }
}

impl Drop for Fetcher {
    fn drop(&mut self) {
        // Whoever drops it last may be within a runtime himself, which must not wait for another.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
