//! Making, opening and closing a volume.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex, RwLock};

use super::commit::{Committer, Scope};
use super::journal::{journal_key, replay};
use super::{
    Counters, Handles, Images, Nodes, Progress, References, Requests, Shares, Space, Volume,
    VolumeOptions, WriteBehind,
};
use crate::clock::{Clock, SystemClock};
use crate::data::{Journal, LeafCache, ReadAhead, Segments};
use crate::error::FsError;
use crate::events::EventKind;
use crate::layout::{
    DirBody, ImageId, InodeBody, InodeRow, MapId, SegmentId, SegmentRow, StateRow,
};
use crate::meta::{CommitFailure, Key, Meta, Mode, Readers, Table, Writer};
use crate::vault::{Access, UnlockedVault};
use crate::vfs::{FileKind, Ino};

mod database;
mod error;
mod recover;

use super::images::image_names;
use database::Database;
pub use error::VolumeError;
use error::open_failure;

/// Connections for looking up; a few more than there are cores to use them.
const READERS: usize = 4;
/// Connections for looking up in an image.
const IMAGE_READERS: usize = 2;

impl Volume {
    /// Makes the empty volume of a new vault: its database with the root directory, which
    /// belongs to the effective user.
    ///
    /// # Errors
    /// When the database cannot be made; what was made of it stays for the caller to remove.
    pub fn format(vault: &UnlockedVault) -> Result<(), VolumeError> {
        let path = vault.dir().meta_db();
        let master = vault.master();
        let mut writer = Writer::create(&path, &master.meta_db_key(), master.state_hash_key())
            .map_err(|e| open_failure(&path, e))?;
        let now = SystemClock.now();
        let root = InodeRow {
            kind: FileKind::Directory,
            perm: 0o700,
            uid: nix::unistd::geteuid().as_raw(),
            gid: nix::unistd::getegid().as_raw(),
            nlink: 2,
            rdev: 0,
            atime: now,
            mtime: now,
            ctime: now,
            btime: now,
            xattr_bytes: 0,
            body: InodeBody::Directory(DirBody {
                parent: Ino::ROOT,
                next_cookie: super::ops::FIRST_COOKIE,
                entries: 0,
            }),
        };
        let mut state = StateRow {
            commit: 0,
            next_ino: Ino::ROOT.0 + 1,
            next_map: 1,
            next_block: 1,
            next_segment: 1,
            inodes: 0,
            blocks: 0,
            hash: [0; 32],
        };
        let rows = [(Key::inode(Ino::ROOT), Some(root.encode()))];
        let full = |e| match e {
            CommitFailure::NoSpace => VolumeError::NoSpace(path.clone()),
            CommitFailure::Tampered => VolumeError::NotCommitted(FsError::MetadataTampered),
            CommitFailure::Failed => VolumeError::NotCommitted(FsError::Database),
        };
        writer
            .commit(rows.iter().map(|(k, v)| (k, v)), &mut state)
            .map_err(full)?;
        writer.checkpoint_all().map_err(full)
    }

    /// Opens the volume of a vault.
    ///
    /// # Errors
    /// When the vault is damaged or the system refuses; nothing has been changed then.
    pub fn open(vault: UnlockedVault, options: VolumeOptions) -> Result<Arc<Self>, VolumeError> {
        let access = vault.access();
        let vault = Arc::new(vault);
        Self::open_shared((Arc::clone(&vault), access), options).map_err(|e| match e {
            VolumeError::DatabaseDamaged { path, why, .. } => VolumeError::DatabaseDamaged {
                path,
                why,
                images: image_names(&vault),
            },
            other => other,
        })
    }

    /// Brings the database of a vault up to what the log and the journal have, and does nothing
    /// else that opening does.
    pub(crate) fn settle_database(vault: &UnlockedVault) -> Result<(), VolumeError> {
        let path = vault.dir().meta_db();
        let failed = |e| open_failure(&path, e);
        let (key, hash_key) = (
            vault.master().meta_db_key(),
            vault.master().state_hash_key(),
        );
        let mut writer = Writer::open(&path, &key, hash_key).map_err(failed)?;
        let readers = Readers::open(&path, key, Mode::ReadWrite, 1).map_err(failed)?;
        let state = readers.state().map_err(failed)?;
        let state = state.ok_or_else(|| VolumeError::damaged(&path, "it has no state"))?;
        let meta = Meta::new(readers);
        let records = Journal::read(vault.dir().path(), &journal_key(vault), state.commit)?;
        if !records.is_empty() {
            replay(&records, &meta, (&mut writer, state))?;
        }
        drop(meta);
        writer
            .checkpoint_all()
            .map_err(|_| VolumeError::NotCommitted(FsError::Database))?;
        // The commit made its records void.
        Ok(Journal::clear(vault.dir().path())?)
    }

    /// Opens the volume of a vault that others have too, with this or less access than it has.
    pub(crate) fn open_shared(
        (vault, access): (Arc<UnlockedVault>, Access),
        options: VolumeOptions,
    ) -> Result<Arc<Self>, VolumeError> {
        let database = Database::of(&vault, access)?;
        let shown = vault.dir().meta_db();
        let master = vault.master();
        let key = master.meta_db_key();
        let mut writer = (database.mode == Mode::ReadWrite)
            .then(|| Writer::open(&database.path, &key, master.state_hash_key()))
            .transpose()
            .map_err(|e| open_failure(&shown, e))?;
        let readers = Readers::open(&database.path, key, database.mode, READERS)
            .map_err(|e| open_failure(&shown, e))?;
        let mut state = readers
            .state()
            .map_err(|e| open_failure(&shown, e))?
            .ok_or_else(|| VolumeError::damaged(&shown, "it has no state"))?;
        vault
            .compare_state(&state)
            .map_err(VolumeError::NotAsSeen)?;
        let meta = Meta::new(readers);
        let mut freed = BTreeSet::new();
        if let Some(writer) = &mut writer {
            let records = Journal::read(vault.dir().path(), &journal_key(&vault), state.commit)?;
            if !records.is_empty() {
                let replayed = replay(&records, &meta, (writer, state))?;
                (state, freed) = (replayed.state, replayed.freed);
            }
        }
        let writer = writer.filter(|_| access == Access::ReadWrite);
        let volume = Self::assemble((vault, access), options, (meta, writer), state);
        let volume = Arc::new(volume);
        if let Some(copy) = database.copy {
            // Opened files stay readable; nothing of the copy outlives the process.
            drop(copy);
        }
        volume.note_found();
        // Before anything is made good: what an older row calls free may be in use.
        Self::begin_verifying(&volume, &shown)?;
        let ready = volume.make_ready(&shown, freed);
        let ready = ready.and_then(|()| {
            if volume.is_read_only() {
                return Ok(());
            }
            Self::start(&volume)
        });
        ready.inspect_err(|_| volume.stop_verifying())?;
        // The state of a private copy is durable nowhere.
        if !volume.is_read_only() || database.mode == Mode::Immutable {
            volume.pin();
        }
        Ok(volume)
    }

    fn make_ready(&self, shown: &Path, freed: BTreeSet<SegmentId>) -> Result<(), VolumeError> {
        self.load(shown)?;
        self.committer.lock().reclaim.note_freed(freed);
        self.check_segments()?;
        if self.is_read_only() {
            return Ok(());
        }
        self.recover()
    }

    /// Tells what unlocking met and could do without.
    fn note_found(&self) {
        let found = self.vault.found();
        let copies = [found.primary, found.backup];
        for kind in copies.into_iter().filter_map(EventKind::of_copy) {
            self.events.note(kind);
        }
        if self.vault.is_accepted() {
            self.events.note(EventKind::RollbackAccepted);
        }
    }

    /// Opens the volume as an image of its database shows it, for reading. The vault stays
    /// locked while it is open.
    pub(crate) fn open_image(
        vault: &Arc<UnlockedVault>,
        path: &Path,
        options: VolumeOptions,
    ) -> Result<Arc<Self>, VolumeError> {
        Self::open_copy((vault, path), options, |_| {})
    }

    /// Like [`Volume::open_image`], of an image that a volume keeps, to which it tells its
    /// security events.
    pub(super) fn open_image_of(
        &self,
        (id, path): (ImageId, &Path),
        options: VolumeOptions,
    ) -> Result<Arc<Self>, VolumeError> {
        Self::open_copy((&self.vault, path), options, |image| {
            image.events = Arc::clone(&self.events);
            image.image = Some(id);
        })
    }

    fn open_copy(
        (vault, path): (&Arc<UnlockedVault>, &Path),
        options: VolumeOptions,
        belong: impl FnOnce(&mut Self),
    ) -> Result<Arc<Self>, VolumeError> {
        let failed = |e| open_failure(path, e);
        let key = vault.master().meta_db_key();
        let readers = Readers::open(path, key, Mode::Immutable, IMAGE_READERS).map_err(failed)?;
        let state = readers.state().map_err(failed)?;
        let state = state.ok_or_else(|| VolumeError::damaged(path, "it has no state"))?;
        let vault = (Arc::clone(vault), Access::ReadOnly);
        let mut volume = Self::assemble(vault, options, (Meta::new(readers), None), state);
        belong(&mut volume);
        let volume = Arc::new(volume);
        Self::begin_verifying(&volume, path)?;
        volume.load(path).inspect_err(|_| volume.stop_verifying())?;
        Ok(volume)
    }

    fn assemble(
        (vault, access): (Arc<UnlockedVault>, Access),
        options: VolumeOptions,
        (meta, writer): (Meta, Option<Writer>),
        state: StateRow,
    ) -> Self {
        let path = vault.dir().path().to_owned();
        Self {
            meta,
            segments: Segments::new(&path, state.next_segment),
            ahead: ReadAhead::new(&path),
            leaf_cache: LeafCache::new(),
            nodes: Nodes::default(),
            handles: Handles::default(),
            references: References::default(),
            orphans: Mutex::default(),
            counters: Counters::from(&state),
            write_behind: WriteBehind::new(options.dirty_limit),
            space: Space::new(&path),
            images: Images::default(),
            shares: Shares::default(),
            committer: Mutex::new(Committer::new(writer, state)),
            requests: Mutex::new(Requests::default()),
            renamed: Mutex::default(),
            gate: RwLock::new(()),
            namespace: Mutex::new(()),
            readers: RwLock::new(()),
            failure: Mutex::new(None),
            failed: false.into(),
            events: Arc::default(),
            image: None,
            pinned: Mutex::default(),
            progress: Progress::default(),
            verifier: Mutex::default(),
            stop_verifying: false.into(),
            stop: Mutex::new(false),
            stopped: Condvar::new(),
            hurried: false.into(),
            threads: Mutex::default(),
            vault,
            access,
            options,
        }
    }

    /// Reads what the committer keeps in memory.
    fn load(&self, shown: &Path) -> Result<(), VolumeError> {
        let damaged = || VolumeError::damaged(shown, "a row of it cannot be read");
        let all = |table| {
            self.meta
                .stored(table, 0..=i64::MAX as u64, usize::MAX >> 1)
                .map_err(|_| damaged())
        };
        let mut c = self.committer.lock();
        for (key, row) in all(Table::Segment)? {
            let id = SegmentId(u32::try_from(key.a).map_err(|_| damaged())?);
            c.segments
                .insert(id, SegmentRow::decode(&row).map_err(|_| damaged())?);
        }
        c.database_blocks = all(Table::Block)?.into_keys().map(|k| k.a).collect();
        c.trims = all(Table::Trim)?.into_keys().map(|k| MapId(k.a)).collect();
        *self.orphans.lock() = all(Table::Orphan)?.into_keys().map(|k| Ino(k.a)).collect();
        drop(c);
        self.load_shares().map_err(|_| damaged())?;
        self.load_images().map_err(|_| damaged())
    }

    fn start(volume: &Arc<Self>) -> Result<(), VolumeError> {
        let mut threads = volume.threads.lock();
        for n in 0..volume.options.flushers {
            let v = Arc::clone(volume);
            let name = format!("kf-flush-{n}");
            threads.push(
                std::thread::Builder::new()
                    .name(name)
                    .spawn(move || v.flusher())?,
            );
        }
        let v = Arc::clone(volume);
        let timer = std::thread::Builder::new().name("kf-commit".into());
        threads.push(timer.spawn(move || v.run_timer())?);
        if let Some(interval) = volume.options.image_interval {
            let v = Arc::clone(volume);
            let keeper = std::thread::Builder::new().name("kf-images".into());
            threads.push(keeper.spawn(move || v.run_image_keeper(interval))?);
        }
        Ok(())
    }

    /// Makes everything durable and stops. Operations after this fail with
    /// [`FsError::ReadOnly`].
    ///
    /// # Errors
    /// When the last changes could not be stored. Everything an fsync confirmed is safe.
    pub fn close(&self) -> Result<(), VolumeError> {
        self.stop_timer();
        self.stop_verifying();
        self.close_images();
        if self.is_read_only() {
            return Ok(());
        }
        self.keep_on_closing();
        let result = self.close_committed();
        self.write_behind.stop();
        for thread in std::mem::take(&mut *self.threads.lock()) {
            drop(thread.join());
        }
        let writer = self.committer.lock().writer.take();
        if let Some(writer) = writer
            && result.is_ok()
        {
            self.pin();
            // These only tidy up: everything is durable already.
            let _ = self.committer.lock().journal.take().map(Journal::close);
            if !self.committer.lock().still {
                let _ = writer.checkpoint_all();
            }
            let _ = self.segments.close();
        }
        self.failed
            .store(true, std::sync::atomic::Ordering::Release);
        result
    }

    fn close_committed(&self) -> Result<(), VolumeError> {
        if let Some(failure) = self.failure() {
            let lost = !self.is_settled();
            return if lost {
                Err(VolumeError::NotCommitted(failure.error()))
            } else {
                Ok(())
            };
        }
        for ino in self.orphans.lock().clone() {
            if !self.references.any(ino) || self.handles.open_files() == 0 {
                self.purge_orphan(ino).map_err(VolumeError::NotCommitted)?;
            }
        }
        if !self.is_settled() {
            self.commit(&Scope::Everything)
                .map_err(VolumeError::NotCommitted)?;
        }
        // What the commit freed is given back by one more.
        if !self.is_settled() {
            self.commit(&Scope::Everything)
                .map_err(VolumeError::NotCommitted)?;
        }
        Ok(())
    }

    fn stop_timer(&self) {
        *self.stop.lock() = true;
        self.stopped.notify_all();
    }

    /// Stops without committing, as a crash would: what was not committed is lost.
    #[cfg(any(test, feature = "model"))]
    pub fn crash(&self) {
        self.fail(super::Failure::Commit(FsError::Disk(libc::EIO)));
        self.stop_timer();
        self.stop_verifying();
        self.close_images();
        self.write_behind.stop();
        for thread in std::mem::take(&mut *self.threads.lock()) {
            drop(thread.join());
        }
        self.committer.lock().writer = None;
    }
}
