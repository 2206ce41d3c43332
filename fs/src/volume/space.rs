//! The reserve: preallocated disk space that lets a commit succeed on a full disk.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};

use crate::error::{FsError, FsResult};

/// Bytes set aside: more than the rows of one commit take in the log.
const RESERVE: i64 = 16 << 20;

pub(super) struct Space {
    path: PathBuf,
    present: AtomicBool,
    full: AtomicBool,
}

impl Space {
    pub(super) fn new(vault: &Path) -> Self {
        Self {
            path: vault.join("reserve"),
            present: AtomicBool::new(false),
            full: AtomicBool::new(false),
        }
    }

    /// A commit met a full disk: only what shrinks is accepted until the reserve is back.
    pub(super) fn note_full(&self) {
        self.full.store(true, Ordering::Release);
    }

    pub(super) fn is_full(&self) -> bool {
        self.full.load(Ordering::Acquire)
    }

    /// Frees the reserve. Returns whether there was one.
    pub(super) fn release_reserve(&self) -> bool {
        self.note_full();
        if !self.present.swap(false, Ordering::AcqRel) {
            return false;
        }
        OpenOptions::new()
            .write(true)
            .truncate(true)
            .open(&self.path)
            .is_ok()
    }

    /// Sets the reserve aside, where the disk has room for it again.
    pub(super) fn restore_reserve(&self) {
        if self.present.load(Ordering::Acquire) || self.set_aside().is_ok() {
            self.present.store(true, Ordering::Release);
            self.full.store(false, Ordering::Release);
        }
    }

    fn set_aside(&self) -> FsResult<()> {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&self.path)?;
        match fallocate(&file, FallocateFlags::empty(), 0, RESERVE) {
            Ok(()) | Err(Errno::EOPNOTSUPP) => Ok(()),
            Err(e) => {
                let _ = file.set_len(0);
                Err(std::io::Error::from(e).into())
            }
        }
    }

    /// # Errors
    /// [`FsError::NoSpace`] while only shrinking operations are accepted.
    pub(super) fn check(&self) -> FsResult<()> {
        if self.is_full() {
            Err(FsError::NoSpace)
        } else {
            Ok(())
        }
    }
}
