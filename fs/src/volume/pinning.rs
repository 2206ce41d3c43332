//! Telling the pin of the vault what was committed, now and then.

use std::time::{Duration, Instant};

use super::Volume;

/// Time between two pins. What was committed since the last one can be taken away unnoticed.
const INTERVAL: Duration = Duration::from_secs(30);

/// What was pinned last.
#[derive(Default)]
pub(super) struct Pinned {
    commit: Option<u64>,
    tried: Option<Instant>,
    /// That it failed was told.
    told: bool,
}

impl Volume {
    /// Pins the last commit, unless one was pinned a short while ago. Waits for no commit.
    pub(super) fn pin_in_time(&self) {
        let tried = self.pinned.lock().tried;
        if tried.is_none_or(|at| at.elapsed() >= INTERVAL) {
            self.pin();
        }
    }

    /// Pins the last commit, which is durable.
    pub(super) fn pin(&self) {
        if !self.vault.is_held_to_pin() {
            return;
        }
        let state = self.committer.lock().state;
        // Holding no lock that `status` needs: where the pin lies may be slow.
        let stored = self.vault.pin_state(&state);
        let mut pinned = self.pinned.lock();
        pinned.tried = Some(Instant::now());
        match stored {
            Ok(()) => {
                pinned.commit = Some(state.commit);
                pinned.told = false;
            }
            Err(error) => {
                if !std::mem::replace(&mut pinned.told, true) {
                    tracing::warn!(%error, "the last commit could not be pinned");
                }
            }
        }
    }

    /// Number of the commit that was pinned last.
    pub(super) fn pinned_commit(&self) -> Option<u64> {
        self.pinned.lock().commit
    }
}
