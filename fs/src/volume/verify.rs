//! Verifying the metadata as a whole: that its rows together are those of the last commit.
//!
//! A page of the database verifies by itself, and an older version of it does too. What such a
//! page changes shows only in the sum over all rows, and in the trees of the database, through
//! which rows are found. Both are gone over in one snapshot, of the moment it begins.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use keyfold_crypto::StateHash;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::{Failure, Volume, VolumeError};
use crate::error::FsError;
use crate::events::EventKind;
use crate::meta::{Scanner, Table};

/// Bytes of metadata that are verified before the vault is served, unless asked otherwise: a
/// fraction of what trying a password takes, and some 100 000 files' worth.
const SMALL: u64 = 16 << 20;

/// When the metadata is verified.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Verify {
    /// Before the volume is served if that takes no time to speak of, otherwise beside.
    #[default]
    BySize,
    /// Before the volume is served: it does not open unless it verifies.
    First,
    /// While the volume is served.
    Later,
    /// Not at all: whoever opens it checks it.
    Never,
}

/// How far verifying the metadata is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verification {
    /// It was not asked for, or was stopped.
    Unverified,
    /// It goes on.
    Verifying,
    /// All rows are those of the commit that was the last when it began.
    Verified,
    /// They are not.
    Damaged,
}

/// What verifying came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Verified,
    Damaged(EventKind),
    Failed(FsError),
    Stopped,
}

/// The state of verifying, for `status`.
pub(super) struct Progress(Mutex<Verification>);

impl Default for Progress {
    fn default() -> Self {
        Self(Mutex::new(Verification::Unverified))
    }
}

impl Progress {
    pub(super) fn now(&self) -> Verification {
        *self.0.lock()
    }

    fn set(&self, to: Verification) {
        *self.0.lock() = to;
    }
}

impl Volume {
    /// Verifies the database, which lies at `path`, as the options say.
    ///
    /// # Errors
    /// When the metadata is verified first, and is not as it was committed.
    pub(super) fn begin_verifying(volume: &Arc<Self>, path: &Path) -> Result<(), VolumeError> {
        let small = || std::fs::metadata(path).is_ok_and(|d| d.len() <= SMALL);
        match volume.options.verify {
            Verify::Never => Ok(()),
            Verify::BySize if small() => volume.verify_first(path),
            Verify::First => volume.verify_first(path),
            Verify::BySize | Verify::Later => Self::verify_beside(volume),
        }
    }

    fn verify_first(&self, path: &Path) -> Result<(), VolumeError> {
        match self.verify() {
            Outcome::Verified | Outcome::Stopped => Ok(()),
            Outcome::Damaged(_) => Err(VolumeError::damaged(
                path,
                "its rows are not those of the last commit: older ones were put back, or it was \
                 altered",
            )),
            Outcome::Failed(e) => Err(VolumeError::DatabaseFailed {
                path: path.to_owned(),
                why: e.to_string(),
            }),
        }
    }

    fn verify_beside(volume: &Arc<Self>) -> Result<(), VolumeError> {
        volume.progress.set(Verification::Verifying);
        let v = Arc::clone(volume);
        let thread = std::thread::Builder::new().name("kf-verify".into());
        let thread = thread.spawn(move || match v.verify() {
            Outcome::Verified | Outcome::Stopped => {}
            Outcome::Damaged(_) => drop(v.fail(Failure::Altered)),
            Outcome::Failed(_) => drop(v.fail(Failure::Database)),
        })?;
        *volume.verifier.lock() = Some(thread);
        Ok(())
    }

    /// Stops verifying, so that nothing holds on to the database. Called before closing it.
    pub(super) fn stop_verifying(&self) {
        self.stop_verifying.store(true, Ordering::Release);
        let Some(thread) = self.verifier.lock().take() else {
            return;
        };
        while !thread.is_finished() {
            // What is between two statements misses it, so it is asked for until it has stopped.
            self.meta.interrupt_scan();
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        drop(thread.join());
    }

    /// Waits until verifying has come to its end.
    pub fn verified(&self) -> Verification {
        if let Some(thread) = self.verifier.lock().take() {
            drop(thread.join());
        }
        self.progress.now()
    }

    /// Whether all rows are those of the last commit, and the database's trees are whole.
    pub(super) fn is_verified(&self) -> bool {
        self.verify() == Outcome::Verified
    }

    fn verify(&self) -> Outcome {
        self.progress.set(Verification::Verifying);
        let outcome = self.verify_rows(&self.meta.scanner());
        self.progress.set(match outcome {
            Outcome::Verified => Verification::Verified,
            Outcome::Damaged(_) => Verification::Damaged,
            Outcome::Failed(_) | Outcome::Stopped => Verification::Unverified,
        });
        if let Outcome::Damaged(kind) = outcome {
            self.note_metadata(kind);
        }
        outcome
    }

    fn verify_rows(&self, scanner: &Scanner) -> Outcome {
        match self.try_verify(scanner) {
            Ok(true) => Outcome::Verified,
            Ok(false) => Outcome::Damaged(EventKind::State),
            Err(_) if self.stop_verifying.load(Ordering::Acquire) => Outcome::Stopped,
            Err(e) => match self.meta.judged(e) {
                FsError::MetadataTampered => Outcome::Damaged(EventKind::DatabasePage),
                e => Outcome::Failed(e),
            },
        }
    }

    /// Whether the trees of the database are whole and its rows are those of its state.
    fn try_verify(&self, scanner: &Scanner) -> Result<bool, FsError> {
        let stopped = || self.stop_verifying.load(Ordering::Acquire);
        let _snapshot = scanner.snapshot()?;
        if stopped() || !scanner.bad_structure()?.is_empty() {
            return if stopped() {
                Err(FsError::Busy)
            } else {
                Ok(false)
            };
        }
        let Ok(Some(state)) = scanner.state() else {
            return Ok(false);
        };
        let key = self.vault.master().state_hash_key();
        let mut sum = StateHash::default();
        for table in Table::ALL {
            if stopped() {
                return Err(FsError::Busy);
            }
            scanner.each(table, &mut |row| {
                let name = row.key.hash_bytes();
                sum.add(&key.row(row.key.table as u8, &name, row.value));
            })?;
        }
        Ok(sum == StateHash::from_bytes(state.hash))
    }
}
