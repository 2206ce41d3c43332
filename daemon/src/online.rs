//! Shares of a mounted volume, kept the same as on their server by a thread of their own.
//!
//! Nothing that programs do in the mount waits for this thread, and it waits for nothing of them but
//! what any operation waits for in the volume. It is told of changes by a bell, looks at the server
//! every moment, and ends when the mount does, whatever is under way: all of it can be done again.

mod connection;
mod crew;
mod desk;
mod folders;
mod history;
mod paths;
mod pause;
mod placing;
mod status;
mod storage;
mod tending;

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use keyfold_fs::share::Access;
use keyfold_protocol::ids::ShareId;
use parking_lot::Mutex;

use crate::account::{AccountError, Kept};
use crate::cli::exit::Exit;
use crate::control_dir::Owner;
use crate::engine::Engine;
use crate::sync::Fetcher;
use storage::Keeper;

pub(crate) use desk::{Caches, Desk, State};
pub(crate) use folders::{FolderError, folder, roster};
pub(crate) use history::HistoryShown;
pub(crate) use status::{FolderStatus, ShareStatus, SharingStatus};
pub(crate) use storage::{HereStatus, storage};

/// The thread, and what it is told by.
pub(crate) struct Online {
    desk: Arc<Desk>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Online {
    /// Makes ready what a volume needs before it is served: shares that this account may only read
    /// are not written to from the first moment on.
    pub(crate) fn prepare(
        engine: &Arc<Engine>,
        cache_limit: Option<u64>,
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
        Ok(Self {
            desk,
            threads: Mutex::default(),
        })
    }

    /// What it is told by.
    pub(crate) fn desk(&self) -> &Arc<Desk> {
        &self.desk
    }

    /// Begins, if the vault has an account that is logged in.
    pub(crate) fn start(&self, caches: Arc<dyn Caches>) -> io::Result<()> {
        self.desk.set_caches(caches);
        match is_logged_in(&self.desk.engine) {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(error) => {
                tracing::error!(code = Exit::from(&error).code(), "shares are not synced");
                return Ok(());
            }
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let fetcher = match Fetcher::new() {
            Ok(fetcher) => Arc::new(fetcher),
            Err(error) => return Err(io::Error::other(error.to_string())),
        };
        let volume = self.desk.engine.volume();
        volume.set_fetch(Some(Arc::clone(&fetcher) as Arc<_>));
        self.desk.set_fetcher(Some(Arc::clone(&fetcher)));
        let keeper = Keeper::start(&self.desk, &fetcher)?;
        let desk = Arc::clone(&self.desk);
        self.desk
            .engine
            .volume()
            .set_noticed(Some(Arc::clone(&self.desk) as Arc<_>));
        let thread = thread::Builder::new()
            .name("keyfold-sync".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    tokio::select! {
                        () = desk.stop.notified() => {}
                        () = connection::keep(&desk, &fetcher) => {}
                    }
                });
                runtime.shutdown_background();
            })?;
        self.threads.lock().push(thread);
        self.threads.lock().push(keeper);
        self.desk.begin_syncing();
        Ok(())
    }

    /// Ends it, whatever is under way.
    pub(crate) fn stop(&self) {
        let volume = self.desk.engine.volume();
        if let Some(fetcher) = self.desk.set_fetcher(None) {
            fetcher.end();
        }
        self.desk.keeper.end();
        self.desk.stop.notify_one();
        volume.set_noticed(None);
        for thread in std::mem::take(&mut *self.threads.lock()) {
            if thread.join().is_err() {
                tracing::error!("a thread that syncs shares panicked");
            }
        }
        volume.set_fetch(None);
    }
}

fn is_logged_in(engine: &Engine) -> Result<bool, AccountError> {
    let kept = Kept::in_vault(engine);
    Ok(kept.profile()?.is_some() && kept.keys()?.is_some() && kept.token()?.is_some())
}
