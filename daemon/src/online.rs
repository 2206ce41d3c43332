//! Shares of a mounted volume, kept the same as on their server by a thread of their own.
//!
//! Nothing that programs do in the mount waits for this thread, and it waits for nothing of them but
//! what any operation waits for in the volume. It is told of changes by a bell, looks at the server
//! every moment, and ends when the mount does, whatever is under way: all of it can be done again.

mod attributes;
mod connection;
mod crew;
mod desk;
mod ending;
mod error;
mod folders;
mod giving;
mod history;
mod notice;
mod offers;
mod paths;
mod pause;
mod placing;
mod publishing;
mod status;
mod storage;
mod taking_back;
mod tending;
mod told;
mod within;

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use keyfold_fs::share::Access;
use keyfold_protocol::ids::ShareId;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::account::{AccountError, Kept};
use crate::cli::exit::Exit;
use crate::control_dir::Owner;
use crate::engine::Engine;
use crate::remote::RemoteError;
use crate::sync::Fetcher;
use storage::Keeper;

pub(crate) use desk::{Caches, Desk, State};
pub(crate) use error::FolderError;
pub(crate) use folders::{folder, roster};
pub(crate) use history::HistoryShown;
pub(crate) use paths::path_of;
pub(crate) use publishing::offer;
pub(crate) use status::{FolderStatus, ShareStatus, SharingStatus};
pub(crate) use storage::{HereStatus, storage};

/// Whoever syncs, and what it is told by.
pub(crate) struct Online {
    desk: Arc<Desk>,
    running: Mutex<Running>,
}

/// Whoever syncs, if anybody does.
#[derive(Default)]
struct Running {
    /// Brings what is read. It may wait for a thread that is about to begin.
    fetcher: Option<Arc<Fetcher>>,
    threads: Vec<JoinHandle<()>>,
    /// Ends the first of them.
    stop: Option<Arc<Notify>>,
}

impl Online {
    /// Makes ready what a volume needs before it is served: shares that this account may only read
    /// are not written to from the first moment on, and where it is to be synced, who reads what is not
    /// here waits for that to begin.
    pub(crate) fn prepare(
        engine: &Arc<Engine>,
        cache_limit: Option<u64>,
        will_sync: bool,
    ) -> Result<Self, AccountError> {
        let volume = engine.volume();
        let read_only = Kept::in_vault(engine).read_only()?;
        for info in volume.shares().map_err(AccountError::Kept)? {
            if read_only.contains(&ShareId(info.id.0)) {
                volume.set_share_access(info.number, Access::ReadOnly);
            }
        }
        let desk = Arc::new(Desk::new(
            Arc::clone(engine),
            Owner::of_process(),
            cache_limit,
        ));
        let mut running = Running::default();
        if will_sync && is_logged_in(engine).unwrap_or(false) {
            let fetcher = new_fetcher()?;
            bring_by(&desk, &fetcher);
            running.fetcher = Some(fetcher);
        }
        Ok(Self {
            desk,
            running: Mutex::new(running),
        })
    }

    /// What it is told by.
    pub(crate) fn desk(&self) -> &Arc<Desk> {
        &self.desk
    }

    /// Begins, if the vault has an account that is logged in.
    pub(crate) fn start(&self, caches: Arc<dyn Caches>) -> io::Result<()> {
        self.desk.set_caches(caches);
        let mut running = self.running.lock();
        let begun = self.begin(&mut running);
        if begun.is_err() {
            self.halt(&mut running, None);
        }
        begun
    }

    /// Ends it, whatever is under way.
    pub(crate) fn stop(&self) {
        self.halt(&mut self.running.lock(), None);
    }

    /// Does something about the account while nobody else uses it. Whatever it is afterwards, shares are
    /// synced with that. Who reads meanwhile waits.
    pub(crate) fn apart<T>(&self, work: impl FnOnce(&Engine) -> T) -> T {
        let mut running = self.running.lock();
        let was_running = !running.threads.is_empty();
        let waiting = Fetcher::new().ok().filter(|_| was_running);
        self.halt(&mut running, waiting.map(Arc::new));
        let done = {
            let _alone = self.desk.account.write();
            work(&self.desk.engine)
        };
        if let Err(error) = self.begin(&mut running) {
            tracing::error!(%error, "shares are not synced");
        }
        done
    }

    /// Does something with the account as it is, beside others.
    pub(crate) fn beside<T>(&self, work: impl FnOnce(&Engine) -> T) -> T {
        let _shared = self.desk.account.read();
        work(&self.desk.engine)
    }

    /// Begins in a mount that can be written to, with the account that the vault has now.
    fn begin(&self, running: &mut Running) -> io::Result<()> {
        let logged_in = is_logged_in(&self.desk.engine);
        if matches!(logged_in, Ok(false)) && offers::remove_all(&self.desk).is_err() {
            tracing::warn!("what was offered stays shown");
        }
        let logged_in = logged_in.unwrap_or_else(|error| {
            tracing::error!(code = Exit::from(&error).code(), "shares are not synced");
            false
        });
        if !logged_in || !self.desk.has_caches() {
            self.halt(running, None);
            return Ok(());
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let fetcher = match running.fetcher.take().map_or_else(new_fetcher, Ok) {
            Ok(fetcher) => fetcher,
            Err(error) => return Err(io::Error::other(error.to_string())),
        };
        let volume = self.desk.engine.volume();
        bring_by(&self.desk, &fetcher);
        running.fetcher = Some(Arc::clone(&fetcher));
        running.threads.push(Keeper::start(&self.desk, &fetcher)?);
        volume.set_noticed(Some(Arc::clone(&self.desk) as Arc<_>));
        let (desk, stop) = (Arc::clone(&self.desk), Arc::new(Notify::new()));
        running.stop = Some(Arc::clone(&stop));
        let thread = thread::Builder::new()
            .name("keyfold-sync".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        () = stop.notified() => {}
                        () = connection::keep(&desk, &fetcher) => {}
                    }
                });
                runtime.shutdown_background();
            })?;
        running.threads.push(thread);
        self.desk.set_syncs(true);
        Ok(())
    }

    /// Ends syncing. Who reads waits for `next`, if there is one.
    fn halt(&self, running: &mut Running, next: Option<Arc<Fetcher>>) {
        let volume = self.desk.engine.volume();
        volume.set_fetch(next.clone().map(|next| next as Arc<_>));
        self.desk.set_fetcher(None);
        let before = std::mem::take(running);
        running.fetcher = next;
        if let Some(fetcher) = before.fetcher {
            fetcher.end();
        }
        self.desk.keeper.end();
        volume.set_noticed(None);
        if let Some(stop) = before.stop {
            stop.notify_one();
        }
        for thread in before.threads {
            if thread.join().is_err() {
                tracing::error!("a thread that syncs shares panicked");
            }
        }
        self.desk.set_syncs(false);
    }
}

/// Has what is read and not here brought by `fetcher`.
fn bring_by(desk: &Desk, fetcher: &Arc<Fetcher>) {
    let volume = desk.engine.volume();
    volume.set_fetch(Some(Arc::clone(fetcher) as Arc<_>));
    desk.set_fetcher(Some(Arc::clone(fetcher)));
}

fn new_fetcher() -> Result<Arc<Fetcher>, RemoteError> {
    Fetcher::new().map(Arc::new)
}

fn is_logged_in(engine: &Engine) -> Result<bool, AccountError> {
    let kept = Kept::in_vault(engine);
    Ok(kept.profile()?.is_some() && kept.keys()?.is_some() && kept.token()?.is_some())
}
