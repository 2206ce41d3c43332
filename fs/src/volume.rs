//! An open vault: [`Volume`] implements [`crate::vfs::Vfs`] over encrypted metadata and segments.
//!
//! # Locks
//! In this order, each only while the ones before it are held or free:
//! 0. of images: the hold, the one that is being made or dropped, one that is opened;
//! 1. `committer`: one commit at a time;
//! 2. `gate`: held shared by every operation while it changes memory, exclusively by a commit
//!    for the moment it takes its cut. Never taken twice by one thread;
//! 3. `namespace`: one namespace operation at a time, from its first read to its last put;
//! 4. the shard of a node table, then a node's `content`;
//! 5. the places of shares; the marks of shares;
//! 6. the row maps, then a reader connection;
//! 7. the allocation of segments, the list of changed files, files that others replaced, queues and
//!    counters.
//!
//! `readers` is held shared from resolving a block to having read it, and exclusively (for a
//! moment, holding nothing else but `committer`) before freed space is given back. Nobody waits
//! for the disk's sync or for room holding any of 2 to 7.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard, RwLock};

use crate::clock::{Clock, SystemClock};
use crate::data::{LeafCache, ReadAhead, Segments};
use crate::error::{FsError, FsResult};
use crate::events::SecurityEvents;
use crate::layout::{ContentRow, FileKeyRow, ImageId, InodeRow, MapId, StateRow};
use crate::meta::{Key, Meta};
use crate::vault::{Access, UnlockedVault};
use crate::vfs::{FileKind, Ino};

mod account;
mod acl;
mod checkpoint;
mod commit;
mod content;
mod flush;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod images;
mod inspect;
mod install;
mod journal;
mod memory;
mod node;
mod open;
mod ops;
mod pinning;
mod reclaim;
mod share;
mod space;
mod status;
mod verify;
mod vfs;

pub use account::{ACCOUNT_VALUE_MAX, AccountChange, AccountSlot};
pub use images::ImageInfo;
pub(crate) use images::{copy_durably, image_files, image_path};
pub use open::VolumeError;
pub use share::ContentView;
pub use status::{VolumeState, VolumeStatus};
pub use verify::{Verification, Verify};

use commit::{Committer, Requests, Scope};
use flush::WriteBehind;
use images::Images;
use node::{Handles, Node, NodeLeaves, Nodes, References};
use pinning::Pinned;
use share::Shares;
use space::Space;
use verify::Progress;

/// How a volume is opened.
#[derive(Clone)]
pub struct VolumeOptions {
    /// Most plaintext that waits in memory to be sealed, in bytes.
    pub dirty_limit: usize,
    /// Bytes of rows that may wait in memory for a commit, map leaves of changed files among them.
    /// From half of it on a commit is begun before its time.
    pub rows_limit: usize,
    /// Time between commits nobody asked for.
    pub commit_interval: Duration,
    /// Time between images of the metadata that are made without being asked for, if any are.
    pub image_interval: Option<Duration>,
    /// Threads that seal and append.
    pub flushers: usize,
    /// Source of time stamps.
    pub clock: Arc<dyn Clock>,
    /// When the metadata is verified.
    pub verify: Verify,
    /// What becomes of symlinks that nobody may read.
    pub barred_symlinks: BarredSymlinks,
}

impl Default for VolumeOptions {
    fn default() -> Self {
        Self {
            dirty_limit: 256 << 20,
            rows_limit: 48 << 20,
            commit_interval: Duration::from_secs(5),
            image_interval: None,
            flushers: 2,
            clock: Arc::new(SystemClock),
            verify: Verify::default(),
            barred_symlinks: BarredSymlinks::default(),
        }
    }
}

impl VolumeOptions {
    /// For who verifies the volume himself.
    pub(crate) fn unverified() -> Self {
        Self {
            verify: Verify::Never,
            ..Self::default()
        }
    }
}

/// What becomes of symlinks that nobody may read: those that others made in a share and that whoever
/// applied that does not trust. A program makes none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BarredSymlinks {
    /// Reading one, and so following it, gives [`FsError::AccessDenied`].
    #[default]
    Refused,
    /// They are like any other.
    Followed,
}

/// Why a volume turned read-only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// A block could not be written.
    Write(FsError),
    /// Written blocks could not be made durable.
    Sync(FsError),
    /// A commit could not be prepared or written.
    Commit(FsError),
    /// The metadata database failed.
    Database,
    /// The metadata is not what was committed.
    Altered,
}

impl Failure {
    pub(crate) fn error(self) -> FsError {
        match self {
            Self::Write(e) | Self::Sync(e) | Self::Commit(e) => e,
            Self::Database => FsError::Database,
            Self::Altered => FsError::MetadataTampered,
        }
    }
}

/// Numbers handed out while the volume is open, and totals.
#[derive(Default)]
struct Counters {
    next_ino: AtomicU64,
    next_map: AtomicU64,
    next_block: AtomicU64,
    inodes: AtomicU64,
}

impl Counters {
    fn from(state: &StateRow) -> Self {
        Self {
            next_ino: state.next_ino.into(),
            next_map: state.next_map.into(),
            next_block: state.next_block.into(),
            inodes: state.inodes.into(),
        }
    }

    fn new_ino(&self) -> Ino {
        Ino(self.next_ino.fetch_add(1, Ordering::Relaxed))
    }

    fn new_map(&self) -> MapId {
        MapId(self.next_map.fetch_add(1, Ordering::Relaxed))
    }

    fn new_block(&self) -> u64 {
        self.next_block.fetch_add(1, Ordering::Relaxed)
    }

    fn fill(&self, state: &mut StateRow) {
        state.next_ino = self.next_ino.load(Ordering::Relaxed);
        state.next_map = self.next_map.load(Ordering::Relaxed);
        state.next_block = self.next_block.load(Ordering::Relaxed);
    }
}

/// An open vault.
pub struct Volume {
    vault: Arc<UnlockedVault>,
    access: Access,
    options: VolumeOptions,
    meta: Meta,
    segments: Segments,
    ahead: ReadAhead,
    leaf_cache: LeafCache,
    nodes: Nodes,
    handles: Handles,
    references: References,
    /// Inodes without a name that somebody still has.
    orphans: Mutex<BTreeSet<Ino>>,
    counters: Counters,
    write_behind: WriteBehind,
    space: Space,
    images: Images,
    shares: Shares,
    committer: Mutex<Committer>,
    requests: Mutex<Requests>,
    /// Files renamed over others since the last commit: the next one takes their content along.
    renamed: Mutex<BTreeSet<Ino>>,
    gate: RwLock<()>,
    namespace: Mutex<()>,
    readers: RwLock<()>,
    failure: Mutex<Option<Failure>>,
    failed: AtomicBool,
    /// Those of an image are also those of the volume that keeps it.
    events: Arc<SecurityEvents>,
    /// The image that this volume shows.
    image: Option<ImageId>,
    pinned: Mutex<Pinned>,
    progress: Progress,
    verifier: Mutex<Option<JoinHandle<()>>>,
    stop_verifying: AtomicBool,
    stop: Mutex<bool>,
    stopped: Condvar,
    /// A commit was asked for before its time, and no cut was taken since.
    hurried: AtomicBool,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Volume {
    /// The vault directory.
    pub fn path(&self) -> &Path {
        self.vault.dir().path()
    }

    /// The vault this volume was opened from.
    pub fn vault(&self) -> &UnlockedVault {
        &self.vault
    }

    fn is_read_only(&self) -> bool {
        self.access == Access::ReadOnly
    }

    /// # Errors
    /// [`FsError::ReadOnly`] when nothing may change: opened so, or after a failure.
    fn check_writable(&self) -> FsResult<()> {
        if self.is_read_only() || self.failed.load(Ordering::Acquire) {
            return Err(FsError::ReadOnly);
        }
        Ok(())
    }

    /// # Errors
    /// Those of `check_writable`, and [`FsError::NoSpace`] while the disk is full.
    fn check_may_grow(&self) -> FsResult<()> {
        self.check_writable()?;
        if self.space.is_full() {
            self.make_room()?;
        }
        self.space.check()
    }

    /// Gives back what is dead, on a disk that is full, and what only automatic images name. Waits,
    /// and is called holding no lock.
    fn make_room(&self) -> FsResult<()> {
        self.drop_automatic();
        self.segments.retire(|_, _| true)?;
        self.commit(&Scope::Everything)
    }

    /// Promises slots, after making room where that helps.
    fn reserve(&self, slots: u64) -> FsResult<()> {
        match self.segments.reserve(slots) {
            Err(FsError::NoSpace) => {
                self.make_room()?;
                self.segments.reserve(slots)
            }
            other => other,
        }
    }

    fn failure(&self) -> Option<Failure> {
        if self.failed.load(Ordering::Acquire) {
            *self.failure.lock()
        } else {
            None
        }
    }

    /// Turns the volume read-only; the first reason stays.
    fn fail(&self, failure: Failure) -> FsError {
        let mut reason = self.failure.lock();
        if reason.is_none() {
            if failure != Failure::Altered {
                self.note_of(failure.error());
            }
            tracing::error!(?failure, "the volume is read-only from here on");
            *reason = Some(failure);
        }
        self.failed.store(true, Ordering::Release);
        failure.error()
    }

    fn leaves(&self, ino: Ino) -> NodeLeaves<'_> {
        NodeLeaves {
            ino,
            meta: &self.meta,
            cache: &self.leaf_cache,
        }
    }

    /// The node of a regular file; whoever takes one gives it to `Nodes::put_back` when done.
    fn node(&self, ino: Ino) -> FsResult<Arc<Node>> {
        self.nodes.get_or_load(ino, || {
            let row = self.inode(ino)?;
            let Some(file) = row.file() else {
                return Err(match row.kind {
                    FileKind::Directory => FsError::IsADirectory(ino),
                    _ => FsError::WrongKind(ino),
                });
            };
            let last = Key::file_key(ino, file.keys.saturating_sub(1));
            let key = self.meta.get(&last, FileKeyRow::decode)?;
            let key = key.ok_or(FsError::Inconsistent(ino))?;
            let content = self.meta.get(&Key::content(ino), ContentRow::decode)?;
            let node = Node::new(
                ino,
                (file, key),
                content.unwrap_or_else(|| empty_content(&row)),
            );
            let privileged = row.is_privileged();
            node.privileged.store(privileged, Ordering::Relaxed);
            Ok(node)
        })
    }

    fn inode(&self, ino: Ino) -> FsResult<InodeRow> {
        self.meta
            .get(&Key::inode(ino), InodeRow::decode)?
            .ok_or(FsError::Stale(ino))
    }

    /// Commits everything at intervals, until the volume closes.
    fn run_timer(&self) {
        loop {
            if self.wait_for_timer() == Stop::Now {
                return;
            }
            self.hurried.store(false, Ordering::Release);
            self.write_behind.pages.trim();
            self.ahead.trim();
            if self.failure().is_some() {
                continue;
            }
            // A failure is kept in the volume's state; a full disk is tried again next time.
            let _ = self.commit_and_clean();
            if self.meta.come_to_rest() {
                memory::return_to_system();
            }
            self.pin_in_time();
            self.end_abandoned_hold();
        }
    }

    /// Waits until a commit is due: after the interval and a lull in syncing, or when it is hurried.
    fn wait_for_timer(&self) -> Stop {
        let mut stop = self.stop.lock();
        let mut pause = self.options.commit_interval;
        let mut seen = None;
        for _ in 0..=LULLS {
            if *stop || self.hurried.load(Ordering::Acquire) {
                break;
            }
            self.stopped.wait_for(&mut stop, pause);
            // No lock is taken inside that of `stop`.
            let syncs = MutexGuard::unlocked(&mut stop, || self.requests.lock().ticket);
            if seen == Some(syncs) {
                break;
            }
            (seen, pause) = (Some(syncs), LULL);
        }
        if *stop { Stop::Now } else { Stop::Later }
    }

    fn commit_and_clean(&self) -> FsResult<()> {
        if self.space.is_full() {
            self.drop_automatic();
            self.segments.retire(|_, _| true)?;
        }
        let before = self.committer.lock().state.commit;
        self.commit(&Scope::Everything)?;
        let mut committer = self.committer.lock();
        let changed = committer.state.commit != before;
        if !changed {
            committer.note_quiet();
        }
        if !committer.wrote_much() || self.is_cleaning_urgent(&committer) {
            self.clean(&mut committer)?;
        }
        if changed {
            self.retire_dead(&committer)?;
        }
        drop(committer);
        Ok(())
    }

    /// Wakes the timer before its time, once for each cut.
    fn hurry(&self) {
        if self.hurried.load(Ordering::Acquire) || self.hurried.swap(true, Ordering::AcqRel) {
            return;
        }
        // The timer looks before it waits: with the lock it has not looked yet, or waits.
        drop(self.stop.lock());
        self.stopped.notify_all();
    }
}

/// Whether the timer's thread ends.
#[derive(PartialEq, Eq)]
enum Stop {
    Now,
    Later,
}

/// A program that syncs again and again pauses at least this long when it is done for now.
const LULL: Duration = Duration::from_millis(20);
/// Most times that a timed commit is put off for one: it would make syncing wait. One second.
const LULLS: usize = 50;

/// The content half of a file that was never written.
fn empty_content(row: &InodeRow) -> ContentRow {
    ContentRow {
        size: 0,
        mtime: row.mtime,
        ctime: row.ctime,
        map: MapId::NONE,
        blocks: 0,
    }
}
