//! Segment files: where sealed blocks are appended, read, punched and deleted.
//!
//! Space is reserved before a write is acknowledged, against slots of segments that are already
//! allocated on disk, so an acknowledged write does not meet a full disk later. A slot is handed
//! out once and never again.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, PosixFadviseAdvice, fallocate, posix_fadvise};
use parking_lot::Mutex;
use quick_cache::sync::Cache;

use crate::error::{FsError, FsResult};
use crate::layout::{BLOCK_SIZE, SEGMENT_SLOTS, SegmentId, Slot};

/// Segment files kept open for reading.
const OPEN_FILES: usize = 256;
/// The smallest piece of disk worth a segment, in slots (1 MiB).
const LEAST_SLOTS: u32 = 256;

/// The path of a segment within the vault directory.
pub(crate) fn segment_path(vault: &Path, id: SegmentId) -> PathBuf {
    vault.join("segments").join(format!("{:06}", id.0))
}

/// Consecutive slots handed out for writing.
pub(crate) struct Run {
    pub(crate) first: Slot,
    pub(crate) count: u32,
    file: Arc<File>,
}

/// A segment being filled.
struct Filling {
    id: SegmentId,
    file: Arc<File>,
    next: u32,
    capacity: u32,
}

#[derive(Default)]
struct Allocation {
    /// Segments with free slots; the first is appended to.
    filling: VecDeque<Filling>,
    /// Free slots in `filling`.
    free: u64,
    /// Of these, promised to dirty blocks.
    reserved: u64,
    next_id: u64,
}

/// The segments of an open vault.
pub(crate) struct Segments {
    vault: PathBuf,
    allocation: Mutex<Allocation>,
    files: Cache<SegmentId, Arc<File>>,
    /// Written since their last sync.
    unsynced: Mutex<Unsynced>,
}

#[derive(Default)]
struct Unsynced {
    files: BTreeMap<SegmentId, Arc<File>>,
    directory: bool,
}

impl Segments {
    /// The segments of the vault at `vault`; new ones are numbered from `next_id`.
    pub(crate) fn new(vault: &Path, next_id: u64) -> Self {
        Self {
            vault: vault.to_owned(),
            allocation: Mutex::new(Allocation {
                next_id,
                ..Allocation::default()
            }),
            files: Cache::new(OPEN_FILES),
            unsynced: Mutex::default(),
        }
    }

    /// The number the next new segment gets.
    pub(crate) fn next_id(&self) -> u64 {
        self.allocation.lock().next_id
    }

    /// Slots allocated on disk and promised to nobody.
    pub(crate) fn free_slots(&self) -> u64 {
        let a = self.allocation.lock();
        a.free.saturating_sub(a.reserved)
    }

    /// The segments that are still appended to.
    pub(crate) fn filling(&self) -> Vec<SegmentId> {
        self.allocation
            .lock()
            .filling
            .iter()
            .map(|f| f.id)
            .collect()
    }

    /// Promises `slots` slots on disk.
    ///
    /// # Errors
    /// [`FsError::NoSpace`] when the disk has no room for them.
    pub(crate) fn reserve(&self, slots: u64) -> FsResult<()> {
        if slots == 0 {
            // What shrinks needs no room, and more may be promised already than there is.
            return Ok(());
        }
        let mut a = self.allocation.lock();
        let wanted = a.reserved + slots;
        self.extend(&mut a, wanted)?;
        a.reserved += slots;
        Ok(())
    }

    /// Allocates segments until there are `wanted` free slots.
    fn extend(&self, a: &mut Allocation, wanted: u64) -> FsResult<()> {
        while wanted > a.free {
            let missing = (wanted - a.free).max(u64::from(LEAST_SLOTS));
            let filling = self.make(a.next_id, missing)?;
            a.next_id += 1;
            a.free += u64::from(filling.capacity);
            a.filling.push_back(filling);
        }
        Ok(())
    }

    /// Promises anew what was taken and could not be written, whether there is room or not: what
    /// was accepted has its claim before anything else.
    pub(crate) fn promise_again(&self, slots: u64) {
        self.allocation.lock().reserved += slots;
    }

    /// Takes a promise back.
    pub(crate) fn release(&self, slots: u64) {
        let mut a = self.allocation.lock();
        debug_assert!(a.reserved >= slots);
        a.reserved = a.reserved.saturating_sub(slots);
    }

    /// Allocates a new segment file; on a nearly full disk a shorter one.
    fn make(&self, id: u64, wanted: u64) -> FsResult<Filling> {
        let id = SegmentId(u32::try_from(id).map_err(|_| FsError::NoSpace)?);
        let path = segment_path(&self.vault, id);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        let mut capacity = SEGMENT_SLOTS;
        loop {
            let bytes = i64::from(capacity) * BLOCK_SIZE as i64;
            match fallocate(&file, FallocateFlags::empty(), 0, bytes) {
                // A filesystem that cannot allocate ahead gives no promise, but works.
                Ok(()) | Err(Errno::EOPNOTSUPP) => break,
                Err(Errno::EINTR) => {}
                Err(Errno::ENOSPC | Errno::EDQUOT)
                    if capacity > LEAST_SLOTS && u64::from(capacity) / 2 >= wanted =>
                {
                    capacity /= 2;
                    // What a failed call did allocate is given back.
                    file.set_len(0)?;
                }
                Err(e) => {
                    drop(std::fs::remove_file(&path));
                    return Err(io::Error::from(e).into());
                }
            }
        }
        self.unsynced.lock().directory = true;
        let file = Arc::new(file);
        self.files.insert(id, Arc::clone(&file));
        Ok(Filling {
            id,
            file,
            next: 0,
            capacity,
        })
    }

    /// Stops appending to segments for which `is_over`, told the slots handed out, holds, as far as
    /// what is promised allows: what they have allocated ahead is given back, and what is dead in
    /// them can be.
    pub(crate) fn retire(&self, is_over: impl Fn(SegmentId, u32) -> bool) -> io::Result<()> {
        let mut a = self.allocation.lock();
        while let Some(f) = a.filling.front() {
            let unused = u64::from(f.capacity - f.next);
            if a.free - unused < a.reserved || !is_over(f.id, f.next) {
                break;
            }
            f.file.set_len(u64::from(f.next) * BLOCK_SIZE as u64)?;
            a.free -= unused;
            a.filling.pop_front();
        }
        Ok(())
    }

    /// Hands out `slots` reserved slots, in as few runs as the segments allow.
    pub(crate) fn take(&self, slots: u32) -> FsResult<Vec<Run>> {
        let mut a = self.allocation.lock();
        // More is promised than is free only after writing found no room.
        self.extend(&mut a, u64::from(slots))?;
        let mut runs = Vec::with_capacity(1);
        let mut left = slots;
        while left > 0 {
            let Some(f) = a.filling.front_mut() else {
                debug_assert!(false, "slots are reserved before they are taken");
                return Err(FsError::NoSpace);
            };
            let count = left.min(f.capacity - f.next);
            if count > 0 {
                let first = Slot {
                    segment: f.id,
                    index: f.next,
                };
                runs.push(Run {
                    first,
                    count,
                    file: Arc::clone(&f.file),
                });
                f.next += count;
                left -= count;
            }
            if f.next == f.capacity {
                a.filling.pop_front();
            }
        }
        a.free -= u64::from(slots);
        a.reserved = a.reserved.saturating_sub(u64::from(slots));
        Ok(runs)
    }

    /// Writes a run's blocks and starts their way to the disk.
    pub(crate) fn write(&self, run: &Run, data: &[u8]) -> FsResult<()> {
        debug_assert_eq!(data.len(), run.count as usize * BLOCK_SIZE);
        let offset = u64::from(run.first.index) * BLOCK_SIZE as u64;
        run.file.write_all_at(data, offset)?;
        self.unsynced
            .lock()
            .files
            .insert(run.first.segment, Arc::clone(&run.file));
        start_writeback(&run.file, offset, data.len());
        Ok(())
    }

    /// Whether anything was written since the last [`Segments::sync`].
    pub(crate) fn is_synced(&self) -> bool {
        let u = self.unsynced.lock();
        u.files.is_empty() && !u.directory
    }

    /// Makes all that was written durable. After an error nothing is known to be durable, and a
    /// later success would not mean it: the caller turns the volume read-only.
    pub(crate) fn sync(&self) -> FsResult<()> {
        let unsynced = std::mem::take(&mut *self.unsynced.lock());
        for file in unsynced.files.values() {
            file.sync_data()?;
        }
        if unsynced.directory {
            File::open(self.vault.join("segments"))?.sync_all()?;
        }
        Ok(())
    }

    /// Reads slots from `first` on until `buf` is full. A segment that is missing or too short
    /// gives [`io::ErrorKind::UnexpectedEof`].
    pub(crate) fn read(&self, first: Slot, buf: &mut [u8]) -> io::Result<()> {
        let offset = u64::from(first.index) * BLOCK_SIZE as u64;
        self.file(first.segment)?.read_exact_at(buf, offset)
    }

    /// Like [`Segments::read`], and the kernel does not read on from there.
    pub(crate) fn read_alone(&self, first: Slot, buf: &mut [u8]) -> io::Result<()> {
        let offset = u64::from(first.index) * BLOCK_SIZE as u64;
        let file = self.open(first.segment)?;
        // Advice only: a failure changes nothing.
        let _ = posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_RANDOM);
        file.read_exact_at(buf, offset)
    }

    fn file(&self, id: SegmentId) -> io::Result<Arc<File>> {
        if let Some(file) = self.files.get(&id) {
            return Ok(file);
        }
        let file = Arc::new(self.open(id)?);
        self.files.insert(id, Arc::clone(&file));
        Ok(file)
    }

    fn open(&self, id: SegmentId) -> io::Result<File> {
        File::open(segment_path(&self.vault, id)).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => io::ErrorKind::UnexpectedEof.into(),
            _ => e,
        })
    }

    /// Gives a dead run back to the disk. The run is named by no map, committed or pending.
    pub(crate) fn punch(&self, first: Slot, slots: u32) -> io::Result<()> {
        let file = OpenOptions::new()
            .write(true)
            .open(segment_path(&self.vault, first.segment))?;
        let offset = i64::from(first.index) * BLOCK_SIZE as i64;
        let length = i64::from(slots) * BLOCK_SIZE as i64;
        let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        match fallocate(&file, flags, offset, length) {
            Ok(()) | Err(Errno::EOPNOTSUPP) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    /// Deletes a segment that no map names.
    pub(crate) fn delete(&self, id: SegmentId) -> io::Result<()> {
        self.files.remove(&id);
        match std::fs::remove_file(segment_path(&self.vault, id)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    /// Gives back what was allocated ahead and not used.
    pub(crate) fn close(&self) -> io::Result<()> {
        let mut a = self.allocation.lock();
        for f in a.filling.drain(..) {
            if f.next == 0 {
                self.delete(f.id)?;
            } else {
                f.file.set_len(u64::from(f.next) * BLOCK_SIZE as u64)?;
            }
        }
        a.free = 0;
        Ok(())
    }
}

fn start_writeback(file: &File, offset: u64, length: usize) {
    use std::os::fd::AsRawFd;
    // SAFETY: the descriptor is open, and the call only starts I/O on the file's own pages.
    #[allow(unsafe_code, reason = "no safe wrapper for sync_file_range(2) exists")]
    unsafe {
        libc::sync_file_range(
            file.as_raw_fd(),
            offset as i64,
            length as i64,
            libc::SYNC_FILE_RANGE_WRITE,
        );
    }
}
