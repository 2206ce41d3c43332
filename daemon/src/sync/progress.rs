//! How far sending is, for whoever asks.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

/// Files that are being sent. Of a file that changed in part all bytes count: they are looked through.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    files: AtomicU64,
    files_done: AtomicU64,
    bytes: AtomicU64,
    bytes_done: AtomicU64,
}

/// The same at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
pub(crate) struct Transfer {
    /// Files to be sent, and those of them that others can have.
    pub(crate) files: u64,
    pub(crate) files_done: u64,
    /// Their bytes, and those that are at the server.
    pub(crate) bytes: u64,
    pub(crate) bytes_done: u64,
}

impl Progress {
    /// Sending begins, of so many files and bytes.
    pub(super) fn begin(&self, files: u64, bytes: u64) {
        self.bytes_done.store(0, Ordering::Relaxed);
        self.files_done.store(0, Ordering::Relaxed);
        self.bytes.store(bytes, Ordering::Relaxed);
        self.files.store(files, Ordering::Relaxed);
    }

    pub(super) fn add_bytes(&self, bytes: u64) {
        self.bytes_done.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn add_files(&self, files: u64) {
        self.files_done.fetch_add(files, Ordering::Relaxed);
    }

    /// Nothing is being sent.
    pub(super) fn end(&self) {
        self.begin(0, 0);
    }

    /// Where it is; nothing while nothing is being sent.
    pub(crate) fn now(&self) -> Option<Transfer> {
        let load = |number: &AtomicU64| number.load(Ordering::Relaxed);
        let (files, bytes) = (load(&self.files), load(&self.bytes));
        (files > 0).then(|| Transfer {
            files,
            files_done: load(&self.files_done).min(files),
            bytes,
            // Files may have grown meanwhile.
            bytes_done: load(&self.bytes_done).min(bytes),
        })
    }
}
