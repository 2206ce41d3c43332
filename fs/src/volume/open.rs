//! Making, opening and closing a volume.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::{Condvar, Mutex, RwLock};

use super::commit::{Committer, Scope};
use super::journal::{journal_key, replay};
use super::{
    Counters, Handles, Nodes, References, Requests, Space, Volume, VolumeOptions, WriteBehind,
};
use crate::clock::{Clock, SystemClock};
use crate::data::{Journal, LeafCache, Segments, journal_path, segment_path};
use crate::error::FsError;
use crate::layout::{
    BLOCK_SIZE, DirBody, InodeBody, InodeRow, MapId, SegmentId, SegmentRow, Slot, StateRow,
    decode_u64,
};
use crate::meta::{CommitFailure, Key, Meta, Mode, OpenFailure, Readers, Table, Writer};
use crate::vault::{Access, UnlockedVault};
use crate::vfs::{FileKind, Ino};

/// Connections for looking up; a few more than there are cores to use them.
const READERS: usize = 4;

/// Why a volume could not be made, opened or closed.
#[derive(Debug)]
pub enum VolumeError {
    /// The metadata database is missing.
    DatabaseMissing(PathBuf),
    /// The metadata database does not belong to this vault, or was altered.
    DatabaseDamaged {
        /// Its file.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The metadata database could not be read or written.
    DatabaseFailed {
        /// Its file.
        path: PathBuf,
        /// What the database said.
        why: String,
    },
    /// A segment is missing.
    SegmentMissing(PathBuf),
    /// A segment is shorter than what was committed to it.
    SegmentShort {
        /// Its file.
        path: PathBuf,
        /// Bytes it must have at least.
        expected: u64,
        /// Bytes it has.
        found: u64,
    },
    /// The disk is full.
    NoSpace(PathBuf),
    /// The operating system refused.
    Io(io::Error),
    /// What was written last could not be made durable.
    NotCommitted(FsError),
}

impl fmt::Display for VolumeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DatabaseMissing(p) => {
                write!(
                    f,
                    "the metadata database {} is missing; restore the vault from a backup",
                    p.display()
                )
            }
            Self::DatabaseDamaged { path, why } => write!(
                f,
                "the metadata database {} is damaged or not this vault's: {why}; restore the \
                 vault from a backup",
                path.display()
            ),
            Self::DatabaseFailed { path, why } => {
                write!(f, "the metadata database {} failed: {why}", path.display())
            }
            Self::SegmentMissing(p) => write!(
                f,
                "the segment {} is missing; put it back, or mount with --read-only to save the \
                 files that do not need it",
                p.display()
            ),
            Self::SegmentShort {
                path,
                expected,
                found,
            } => write!(
                f,
                "the segment {} has {found} bytes of {expected}; put it back from a backup, or \
                 mount with --read-only to save the files that do not need it",
                path.display()
            ),
            Self::NoSpace(p) => write!(f, "no space left on the disk of {}", p.display()),
            Self::Io(e) => write!(f, "{e}"),
            Self::NotCommitted(e) => write!(f, "the last changes could not be stored: {e}"),
        }
    }
}

impl std::error::Error for VolumeError {}

impl From<io::Error> for VolumeError {
    fn from(e: io::Error) -> Self {
        Self::Io(e)
    }
}

fn open_failure(path: &Path, failure: OpenFailure) -> VolumeError {
    let path = path.to_owned();
    match failure {
        OpenFailure::Missing => VolumeError::DatabaseMissing(path),
        OpenFailure::Damaged(why) => VolumeError::DatabaseDamaged { path, why },
        OpenFailure::NoSpace => VolumeError::NoSpace(path),
        OpenFailure::Refused(e) => VolumeError::Io(e),
        OpenFailure::Failed(e) => VolumeError::DatabaseFailed {
            path,
            why: e.to_string(),
        },
    }
}

/// The database as a volume reads it: in place, or a private copy where there is something to
/// recover and the vault is not to be changed.
struct Database {
    path: PathBuf,
    mode: Mode,
    copy: Option<PrivateCopy>,
}

struct PrivateCopy(PathBuf);

impl Drop for PrivateCopy {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

impl Database {
    fn of(vault: &UnlockedVault) -> Result<Self, VolumeError> {
        let path = vault.dir().meta_db();
        if !path.exists() {
            return Err(VolumeError::DatabaseMissing(path));
        }
        if vault.access() == Access::ReadWrite {
            return Ok(Self {
                path,
                mode: Mode::ReadWrite,
                copy: None,
            });
        }
        let log = log_of(&path);
        let length = |path: &Path| std::fs::metadata(path).map_or(0, |m| m.len());
        if length(&log) == 0 && length(&journal_path(vault.dir().path())) == 0 {
            return Ok(Self {
                path,
                mode: Mode::Immutable,
                copy: None,
            });
        }
        let copy = private_directory()?;
        let copied = copy.0.join("meta.db");
        std::fs::copy(&path, &copied)?;
        if length(&log) > 0 {
            std::fs::copy(&log, log_of(&copied))?;
        }
        Ok(Self {
            path: copied,
            mode: Mode::ReadWrite,
            copy: Some(copy),
        })
    }
}

fn log_of(database: &Path) -> PathBuf {
    let mut log = database.as_os_str().to_owned();
    log.push("-wal");
    log.into()
}

fn private_directory() -> Result<PrivateCopy, VolumeError> {
    let base = std::env::var_os("XDG_RUNTIME_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let mut random = [0; 16];
    keyfold_crypto::fill_random(&mut random)
        .map_err(|_| io::Error::from_raw_os_error(libc::EIO))?;
    let path = base.join(format!(
        "keyfold-{}",
        data_encoding::HEXLOWER.encode(&random)
    ));
    std::fs::DirBuilder::new().mode(0o700).create(&path)?;
    Ok(PrivateCopy(path))
}

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
        let database = Database::of(&vault)?;
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
            .ok_or_else(|| VolumeError::DatabaseDamaged {
                path: shown.clone(),
                why: "it has no state",
            })?;
        let meta = Meta::new(readers);
        let mut freed = BTreeSet::new();
        if let Some(writer) = &mut writer {
            let records = Journal::read(vault.dir().path(), &journal_key(&vault), state.commit)?;
            if !records.is_empty() {
                let replayed = replay(&records, &meta, (writer, state))?;
                (state, freed) = (replayed.state, replayed.freed);
            }
        }
        let writer = writer.filter(|_| vault.access() == Access::ReadWrite);
        let volume = Self::assemble(vault, options, (meta, writer), state);
        if let Some(copy) = database.copy {
            // Opened files stay readable; nothing of the copy outlives the process.
            drop(copy);
        }
        volume.load(&shown)?;
        volume.committer.lock().reclaim.note_freed(freed);
        volume.check_segments()?;
        let volume = Arc::new(volume);
        if !volume.is_read_only() {
            volume.recover()?;
            Self::start(&volume)?;
        }
        Ok(volume)
    }

    fn assemble(
        vault: UnlockedVault,
        options: VolumeOptions,
        (meta, writer): (Meta, Option<Writer>),
        state: StateRow,
    ) -> Self {
        let path = vault.dir().path().to_owned();
        Self {
            meta,
            segments: Segments::new(&path, state.next_segment),
            leaf_cache: LeafCache::new(),
            nodes: Nodes::default(),
            handles: Handles::default(),
            references: References::default(),
            orphans: Mutex::default(),
            counters: Counters::from(&state),
            write_behind: WriteBehind::new(options.dirty_limit),
            space: Space::new(&path),
            committer: Mutex::new(Committer::new(writer, state)),
            requests: Mutex::new(Requests::default()),
            renamed: Mutex::default(),
            gate: RwLock::new(()),
            namespace: Mutex::new(()),
            readers: RwLock::new(()),
            failure: Mutex::new(None),
            failed: false.into(),
            tampered: 0.into(),
            stop: Mutex::new(false),
            stopped: Condvar::new(),
            threads: Mutex::default(),
            vault,
            options,
        }
    }

    /// Reads what the committer keeps in memory.
    fn load(&self, shown: &Path) -> Result<(), VolumeError> {
        let damaged = || VolumeError::DatabaseDamaged {
            path: shown.to_owned(),
            why: "a row of it cannot be read",
        };
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
        Ok(())
    }

    /// Compares every segment with what was committed to it. A volume opened for reading is
    /// opened all the same: reading says what is missing.
    fn check_segments(&self) -> Result<(), VolumeError> {
        let vault = self.path().to_owned();
        for (id, row) in &self.committer.lock().segments {
            if row.live() == 0 {
                continue;
            }
            let path = segment_path(&vault, *id);
            let expected = u64::from(row.committed) * BLOCK_SIZE as u64;
            let problem = match std::fs::metadata(&path) {
                Ok(m) if m.len() >= expected => continue,
                Ok(m) => VolumeError::SegmentShort {
                    path,
                    expected,
                    found: m.len(),
                },
                Err(e) if e.kind() == io::ErrorKind::NotFound => VolumeError::SegmentMissing(path),
                Err(e) => VolumeError::Io(e),
            };
            if !self.is_read_only() {
                return Err(problem);
            }
            tracing::error!(segment = id.0, "segment missing or short");
            self.tampered
                .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        }
        Ok(())
    }

    /// Finishes what the last use left undone. All of it may be done again after a crash.
    fn recover(&self) -> Result<(), VolumeError> {
        // SQLite syncs the directory for the name of its log, and does not look whether it could.
        std::fs::File::open(self.path())?.sync_all()?;
        self.open_journal();
        self.space.restore_reserve();
        self.delete_unknown_segments()?;
        self.shorten_segments()?;
        let mut c = self.committer.lock();
        if c.segments.values().any(|s| s.live() == 0) {
            c.reclaim.note_left_over();
        }
        drop(c);
        let freed = self
            .meta
            .stored(Table::Freed, 0..=i64::MAX as u64, usize::MAX >> 1)
            .map_err(VolumeError::NotCommitted)?;
        {
            let mut c = self.committer.lock();
            for (key, row) in freed {
                let count = decode_u64(&row).unwrap_or(0) as u32;
                let first = Slot {
                    segment: SegmentId(key.a as u32),
                    index: key.number() as u32,
                };
                let dead = c.segments.get(&first.segment).is_some_and(|s| {
                    (first.index..first.index.saturating_add(count))
                        .all(|slot| slot < s.committed && !s.is_live(slot))
                });
                if dead {
                    self.punch(&mut c, first, count);
                } else {
                    self.meta.put(key, None);
                }
            }
        }
        let orphans = std::mem::take(&mut *self.orphans.lock());
        for ino in orphans {
            self.purge_orphan(ino).map_err(VolumeError::NotCommitted)?;
        }
        Ok(())
    }

    /// Deletes segment files that nothing committed lies in: leftovers of a crash.
    fn delete_unknown_segments(&self) -> Result<(), VolumeError> {
        let c = self.committer.lock();
        for entry in std::fs::read_dir(self.path().join("segments"))? {
            let entry = entry?;
            let id = entry
                .file_name()
                .to_str()
                .and_then(|n| n.parse::<u32>().ok());
            if let Some(id) = id
                && !c.segments.contains_key(&SegmentId(id))
            {
                self.segments.delete(SegmentId(id))?;
            }
        }
        Ok(())
    }

    /// Gives back what was allocated ahead and not used before a crash.
    fn shorten_segments(&self) -> Result<(), VolumeError> {
        for (id, row) in &self.committer.lock().segments {
            let path = segment_path(self.path(), *id);
            let committed = u64::from(row.committed) * BLOCK_SIZE as u64;
            if std::fs::metadata(&path).is_ok_and(|m| m.len() > committed) {
                std::fs::OpenOptions::new()
                    .write(true)
                    .open(&path)?
                    .set_len(committed)?;
            }
        }
        Ok(())
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
        Ok(())
    }

    /// Makes everything durable and stops. Operations after this fail with
    /// [`FsError::ReadOnly`].
    ///
    /// # Errors
    /// When the last changes could not be stored. Everything an fsync confirmed is safe.
    pub fn close(&self) -> Result<(), VolumeError> {
        self.stop_timer();
        if self.is_read_only() {
            return Ok(());
        }
        let result = self.close_committed();
        self.write_behind.stop();
        for thread in std::mem::take(&mut *self.threads.lock()) {
            drop(thread.join());
        }
        let mut c = self.committer.lock();
        if let Some(writer) = c.writer.take()
            && result.is_ok()
        {
            // Both only tidy up: everything is durable already.
            let _ = c.journal.take().map(Journal::close);
            let _ = writer.checkpoint_all();
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
        self.write_behind.stop();
        for thread in std::mem::take(&mut *self.threads.lock()) {
            drop(thread.join());
        }
        self.committer.lock().writer = None;
    }
}
