//! Bringing blocks for whoever reads.
//!
//! It has a connection and a thread of its own, so whoever reads waits for nothing but the server. One
//! deadline is over all that he waits for. When it passes, the server is taken for one that does not
//! answer: nobody waits for it any more, until whoever looks after the connection had an answer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use keyfold_fs::error::FsError;
use keyfold_fs::share::{Fetch, Fetched, ShareInfo, Unfetched, Wanted};
use keyfold_fs::vfs::Ino;
use keyfold_fs::volume::Volume;
use keyfold_protocol::ids::{BlobId, NodeId, ShareId};
use parking_lot::{Condvar, Mutex};
use tokio::runtime::Runtime;
use tokio::sync::{Notify, Semaphore, watch};

use super::packs::{PackError, Packs};
use crate::cli::exit::Exit;
use crate::remote::{Remote, RemoteError};

/// How long somebody waits who reads.
const PATIENCE: Duration = Duration::from_secs(10);
/// Parts that are brought at once, of up to 1 MiB each.
const AT_ONCE: usize = 8;

/// Brings blocks of all shares of a volume.
pub(crate) struct Fetcher {
    known: Mutex<Known>,
    /// Tells of whatever becomes known.
    changed: Condvar,
    runtime: Option<Runtime>,
    turns: Arc<Semaphore>,
    /// Those of what nobody waits for yet.
    ahead: Arc<Semaphore>,
    /// Whether nobody is to wait any more.
    ended: watch::Sender<bool>,
    /// Tells that the server did not answer.
    silent: Notify,
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
            turns: Arc::new(Semaphore::new(AT_ONCE)),
            ahead: Arc::new(Semaphore::new(AT_ONCE / 2)),
            ended: watch::Sender::new(false),
            silent: Notify::new(),
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
        self.ended.send_replace(true);
    }

    /// Waits until the server did not answer somebody who read. It is to be looked at then.
    pub(crate) async fn fell_silent(&self) {
        self.silent.notified().await;
    }

    fn falls_silent(&self) {
        self.set_cut_off(true);
        self.silent.notify_one();
    }

    /// Who brings blocks of a share, as soon as that is known.
    fn source(&self, share: ShareId, over: Instant) -> Option<(Remote, Arc<Packs>)> {
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

    /// Has all of it brought, each part by itself. What does not come in time may come all the same,
    /// for nobody.
    fn bring(
        &self,
        (remote, packs): &(Remote, Arc<Packs>),
        wanted: &[Wanted],
    ) -> Option<mpsc::Receiver<(usize, Brought)>> {
        let runtime = self.runtime.as_ref()?;
        let (sender, receiver) = mpsc::channel();
        for (number, one) in wanted.iter().enumerate() {
            let (remote, packs, one) = (remote.clone(), Arc::clone(packs), one.clone());
            let (sender, turns) = (sender.clone(), Arc::clone(&self.turns));
            let mut ended = self.ended.subscribe();
            runtime.spawn(async move {
                let bring = async {
                    // Nobody closes it.
                    let _turn = turns.acquire().await;
                    packs.bring(&remote, &one).await
                };
                tokio::select! {
                    _ = ended.wait_for(|ended| *ended) => {}
                    // Nobody may be waiting any more.
                    brought = bring => drop(sender.send((number, brought))),
                }
            });
        }
        Some(receiver)
    }

    /// Asks for what whoever read these will want next.
    fn read_on(&self, (remote, packs): &(Remote, Arc<Packs>), wanted: &[Wanted]) {
        let node = wanted.first().map(|one| NodeId(one.node.0));
        let (Some(runtime), Some(node)) = (&self.runtime, node) else {
            return;
        };
        for piece in packs.read_on(wanted) {
            let (remote, packs) = (remote.clone(), Arc::clone(packs));
            let turns = Arc::clone(&self.ahead);
            let mut ended = self.ended.subscribe();
            runtime.spawn(async move {
                let load = async {
                    let _turn = turns.acquire().await;
                    packs.load(&remote, (node, &piece)).await
                };
                tokio::select! {
                    _ = ended.wait_for(|ended| *ended) => {}
                    // Where it failed, whoever wants it asks again.
                    _ = load => {}
                }
            });
        }
    }
}

/// Giving up what the server has.
impl Fetcher {
    /// Gives up the blocks of a file that the server has. Returns how many. Packs in `there` were seen at
    /// the server before.
    ///
    /// # Errors
    /// Those of the volume; nothing where the server does not answer, or nobody knows the share yet.
    pub(crate) fn free(
        &self,
        (volume, share): (&Arc<Volume>, &ShareInfo),
        ino: Ino,
        there: &mut BTreeSet<BlobId>,
    ) -> Result<u64, Option<FsError>> {
        let over = Instant::now() + PATIENCE;
        let source = self.source(ShareId(share.id.0), over);
        let (remote, packs) = source.ok_or(None)?;
        let runtime = self.runtime.as_ref().ok_or(None)?;
        let member = volume.share_member(ino)?;
        let Some((number, node)) = member.filter(|(number, _)| *number == share.number) else {
            return Ok(0);
        };
        if volume.is_written(ino) {
            return Ok(0);
        }
        let view = volume.view_content(ino)?;
        let spare = packs.spare(&remote, (NodeId(node.0), &view), there);
        let mut ended = self.ended.subscribe();
        let spare = runtime.block_on(async {
            tokio::select! {
                _ = ended.wait_for(|ended| *ended) => None,
                spare = spare => Some(spare),
            }
        });
        let Some(spare) = spare else {
            return Err(None);
        };
        // The slots are not held any more when they are given up.
        drop(view);
        match spare {
            Ok(spare) if spare.blocks.is_empty() => Ok(0),
            Ok(spare) => Ok(volume.free_blocks(number, &spare)?),
            Err(PackError::Remote(error)) if error.is_silence() => {
                self.falls_silent();
                Err(None)
            }
            // It is not there, or not what it should be: what is here stays.
            Err(_) => Ok(0),
        }
    }
}

/// What came of a part.
type Brought = Result<Vec<Fetched>, PackError>;

impl Fetch for Fetcher {
    fn fetch(&self, wanted: &[Wanted]) -> Vec<Result<Vec<Fetched>, Unfetched>> {
        let over = Instant::now() + PATIENCE;
        let mut all: Vec<Result<Vec<Fetched>, Unfetched>> =
            wanted.iter().map(|_| Err(Unfetched)).collect();
        // All that one reader wants is of one file.
        let share = wanted.first().map(|one| ShareId(one.share.0));
        let Some(source) = share.and_then(|share| self.source(share, over)) else {
            return all;
        };
        let Some(receiver) = self.bring(&source, wanted) else {
            return all;
        };
        for _ in wanted {
            let left = over.saturating_duration_since(Instant::now());
            // A task that is dropped takes its sender along.
            let Ok((number, brought)) = receiver.recv_timeout(left) else {
                tracing::warn!("the server does not give in time what somebody reads");
                self.falls_silent();
                return all;
            };
            match brought {
                Ok(blocks) => all[number] = Ok(blocks),
                Err(PackError::Remote(error)) => {
                    // What it says may name people.
                    let code = Exit::from(&error).code();
                    tracing::warn!(code, "the server does not give what somebody reads");
                    if error.is_silence() {
                        self.falls_silent();
                        return all;
                    }
                }
                Err(PackError::Malformed) => {
                    tracing::warn!("what the server gives is not what somebody reads");
                }
            }
        }
        if all.iter().all(Result::is_ok) {
            self.read_on(&source, wanted);
        }
        all
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
