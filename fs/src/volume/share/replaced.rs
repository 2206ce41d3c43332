//! Files whose content others replaced, or whose names they took away, while whoever serves programs may have
//! cached what was before: he is told later, and a program that opens the file in between would read what is
//! not there any more, and write over what is.
//!
//! So the first opening after a replacement fails with [`FsError::Stale`]: the kernel then looks the name up
//! again, which brings the attributes, and opens once more by itself. From then on openings say that nothing
//! cached is to be kept, for as long as several that began together may take. Where a file is opened again
//! without being looked at, as through `/proc/self/fd`, the second opening succeeds.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustc_hash::FxHashMap;

use crate::error::{FsError, FsResult};
use crate::vfs::Ino;

/// How long openings drop what is cached, from the first on.
const DROPS: Duration = Duration::from_secs(1);

/// What became of a file since others replaced its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Since {
    /// Nothing: its attributes may be known as they were.
    Replaced,
    /// An opening was refused.
    Refused,
    /// Its attributes were asked for.
    Looked,
    /// It was opened first at this time.
    Opened(Instant),
}

/// Files that others replaced. It is asked by every look at an inode, so that there are none is known
/// without a lock. The lock is the last of all: none is taken under it.
#[derive(Default)]
pub(in crate::volume) struct Replaced {
    count: AtomicUsize,
    files: Mutex<FxHashMap<Ino, Since>>,
}

impl Replaced {
    fn change<T>(&self, change: impl FnOnce(&mut FxHashMap<Ino, Since>) -> T) -> T {
        let mut files = self.files.lock();
        let done = change(&mut files);
        self.count.store(files.len(), Ordering::Release);
        done
    }

    fn is_empty(&self) -> bool {
        self.count.load(Ordering::Acquire) == 0
    }

    /// A file that may be cached gets another content, or its names are another's. Called under its content
    /// lock or that of names, before it is so: who asks for attributes later has the new ones.
    pub(super) fn note(&self, ino: Ino) {
        self.change(|files| files.insert(ino, Since::Replaced));
    }

    /// Attributes are about to be read.
    pub(in crate::volume) fn looked(&self, ino: Ino) {
        if self.is_empty() {
            return;
        }
        if let Some(since) = self.files.lock().get_mut(&ino)
            && !matches!(since, Since::Opened(_))
        {
            *since = Since::Looked;
        }
    }

    /// A file was opened, and is not replaced while it is.
    ///
    /// # Errors
    /// [`FsError::Stale`] when it was replaced since it was looked at.
    pub(in crate::volume) fn opened(&self, ino: Ino) -> FsResult<()> {
        if self.is_empty() {
            return Ok(());
        }
        let now = Instant::now();
        self.change(|files| match files.get_mut(&ino) {
            Some(since @ Since::Replaced) => {
                *since = Since::Refused;
                Err(FsError::Stale(ino))
            }
            Some(Since::Opened(first)) if now.duration_since(*first) > DROPS => {
                files.remove(&ino);
                Ok(())
            }
            None | Some(Since::Opened(_)) => Ok(()),
            Some(since) => {
                *since = Since::Opened(now);
                Ok(())
            }
        })
    }

    /// Whether what is cached of a file that was just opened is to be dropped.
    pub(in crate::volume) fn drops(&self, ino: Ino) -> bool {
        !self.is_empty() && self.files.lock().contains_key(&ino)
    }

    /// Nobody knows of a file any more.
    pub(in crate::volume) fn forget(&self, ino: Ino) {
        if !self.is_empty() {
            self.change(|files| files.remove(&ino));
        }
    }
}
