//! Memory that was used for dirty blocks goes back to the system.

use std::sync::atomic::{AtomicU64, Ordering};

/// Pages sealed since the last return beyond which one is worth its time (64 MiB).
const WORTHWHILE: u64 = 16_384;

/// Counts what was allocated for dirty pages and freed again.
#[derive(Default)]
pub(super) struct Returned(AtomicU64);

impl Returned {
    pub(super) fn add(&self, pages: u64) {
        self.0.fetch_add(pages, Ordering::Relaxed);
    }

    /// Gives free memory back to the system, if much was freed since the last time. The
    /// allocator by itself keeps it, scattered as it is.
    pub(super) fn give_back(&self) {
        if self.0.load(Ordering::Relaxed) < WORTHWHILE {
            return;
        }
        self.0.store(0, Ordering::Relaxed);
        #[cfg(target_env = "gnu")]
        // SAFETY: malloc_trim(3) only releases memory that is free, and is thread-safe.
        #[allow(unsafe_code, reason = "no safe wrapper for malloc_trim(3) exists")]
        unsafe {
            libc::malloc_trim(0);
        }
    }
}
