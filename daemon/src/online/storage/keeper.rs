//! A thread that brings here what is to stay, and gives up what is used least where a limit says so.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use keyfold_fs::error::FsError;
use keyfold_fs::layout::BLOCK_SIZE;
use keyfold_fs::vfs::Ino;
use keyfold_fs::volume::Volume;
use parking_lot::{Condvar, Mutex};

use super::{files_below, presence};
use crate::account::Kept;
use crate::online::desk::Desk;
use crate::sync::Fetcher;

/// Time between two looks at how much is here, where there is a limit.
const LOOK: Duration = Duration::from_secs(10);
/// Time until what could not be brought is tried again.
const AGAIN: Duration = Duration::from_secs(5);
/// Files that are brought side by side.
const AT_ONCE: usize = 4;

/// What the thread is told.
#[derive(Default)]
struct Told {
    look: bool,
    ended: bool,
    error: Option<String>,
}

/// The thread, and what it is told.
#[derive(Default)]
pub(in crate::online) struct Keeper {
    told: Mutex<Told>,
    called: Condvar,
    /// Bytes that blocks of shares which the server has may take here.
    limit: Option<u64>,
}

impl Keeper {
    pub(in crate::online) fn with_limit(limit: Option<u64>) -> Self {
        Self {
            limit,
            ..Self::default()
        }
    }

    /// Has it look at what is here.
    pub(in crate::online) fn look(&self) {
        self.told.lock().look = true;
        self.called.notify_all();
    }

    /// Ends it, wherever it is.
    pub(in crate::online) fn end(&self) {
        self.told.lock().ended = true;
        self.called.notify_all();
    }

    /// Why it could not bring all, the last time.
    pub(super) fn error(&self) -> Option<String> {
        self.told.lock().error.clone()
    }

    fn goes_on(&self) -> bool {
        !self.told.lock().ended
    }

    /// Waits to be called, or until it is time. Returns whether it goes on.
    fn wait(&self, pause: Option<Duration>) -> bool {
        let over = pause.map(|pause| Instant::now() + pause);
        let mut told = self.told.lock();
        while !told.look && !told.ended {
            match over {
                Some(over) if self.called.wait_until(&mut told, over).timed_out() => break,
                Some(_) => {}
                None => self.called.wait(&mut told),
            }
        }
        told.look = false;
        !told.ended
    }

    /// Begins the thread.
    pub(in crate::online) fn start(
        desk: &Arc<Desk>,
        fetcher: &Arc<Fetcher>,
    ) -> std::io::Result<JoinHandle<()>> {
        let (desk, fetcher) = (Arc::clone(desk), Arc::clone(fetcher));
        desk.keeper.told.lock().ended = false;
        thread::Builder::new()
            .name("keyfold-keep".to_owned())
            .spawn(move || {
                let keeper = &desk.keeper;
                let mut pause = Some(Duration::ZERO);
                while keeper.wait(pause) {
                    let began = Instant::now();
                    let work = Work {
                        desk: &desk,
                        fetcher: &fetcher,
                    };
                    let error = work.bring().err();
                    let failed = error.is_some();
                    keeper.told.lock().error = error.map(|error| error.to_string());
                    if work.stay_below().is_err() {
                        tracing::warn!("what is used least could not be given up");
                    }
                    // Looking is not to be what is done most of the time.
                    let look = LOOK.max(began.elapsed() * 20);
                    pause = match keeper.limit {
                        _ if failed => Some(AGAIN),
                        Some(_) => Some(look),
                        None => None,
                    };
                }
            })
    }
}

/// One look.
struct Work<'d> {
    desk: &'d Desk,
    fetcher: &'d Fetcher,
}

impl Work<'_> {
    fn volume(&self) -> &Arc<Volume> {
        self.desk.engine.volume()
    }

    /// Files that are to stay.
    fn staying(&self) -> Result<BTreeSet<Ino>, FsError> {
        let volume = self.volume();
        let staying = Kept::in_vault(&self.desk.engine).staying();
        let mut files = BTreeSet::new();
        let shares = volume.shares()?;
        for one in staying.unwrap_or_default() {
            let share = shares.iter().find(|info| info.id.0 == one.share.0);
            let Some(share) = share else { continue };
            let node = keyfold_fs::share::NodeId(one.node.0);
            let Some(info) = volume.share_node(share.number, node)? else {
                continue;
            };
            if info.standing == keyfold_fs::share::Standing::Here {
                let kind = volume.view_node(info.ino)?.kind;
                files.extend(files_below(volume, (info.ino, kind))?);
            }
        }
        Ok(files)
    }

    /// Brings what is to stay.
    fn bring(&self) -> Result<(), FsError> {
        let volume = self.volume();
        let mut missing = Vec::new();
        for ino in self.staying()? {
            if presence(volume, ino)?.remote > 0 {
                missing.push(ino);
            }
        }
        let missing = Mutex::new(missing);
        let failed = Mutex::new(None);
        thread::scope(|scope| {
            for _ in 0..AT_ONCE.min(missing.lock().len()) {
                scope.spawn(|| {
                    while let (Some(ino), true) = (missing.lock().pop(), self.goes_on()) {
                        match volume.fetch_file(ino, &mut |_| self.goes_on()) {
                            Ok(()) | Err(FsError::Stale(_)) => {}
                            Err(error) => {
                                *failed.lock() = Some(error);
                                return;
                            }
                        }
                    }
                });
            }
        });
        failed.into_inner().map_or(Ok(()), Err)
    }

    fn goes_on(&self) -> bool {
        self.desk.keeper.goes_on()
    }

    /// Gives up what was used least, until what the server has and is here as well takes no more than the
    /// limit.
    fn stay_below(&self) -> Result<(), FsError> {
        let Some(limit) = self.desk.keeper.limit else {
            return Ok(());
        };
        let volume = self.volume();
        let staying = self.staying()?;
        let used = volume.last_used();
        let mut here = 0;
        let mut all = BTreeMap::new();
        for share in volume.shares()? {
            for ino in files_below(volume, (share.root, keyfold_fs::vfs::FileKind::Directory))? {
                let presence = presence(volume, ino)?;
                let bytes = presence.blocks.saturating_sub(presence.remote) * BLOCK_SIZE as u64;
                here += bytes;
                if bytes > 0 && !staying.contains(&ino) && !volume.is_open(ino) {
                    let last = used.get(&ino).copied().unwrap_or(0);
                    all.insert((last, ino), share.clone());
                }
            }
        }
        let mut there = BTreeSet::new();
        for ((_, ino), share) in all {
            if here <= limit || !self.goes_on() {
                break;
            }
            let gone = self.fetcher.free((volume, &share), ino, &mut there);
            match gone {
                Ok(blocks) => here = here.saturating_sub(blocks * BLOCK_SIZE as u64),
                Err(Some(error)) => return Err(error),
                // The server does not answer.
                Err(None) => break,
            }
        }
        Ok(())
    }
}
