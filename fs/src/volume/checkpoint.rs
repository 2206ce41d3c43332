//! Checkpoints: what the log has is copied into the database, so that it stays bounded.

use super::{Failure, Volume};
use crate::error::{FsError, FsResult};
use crate::meta::{CommitFailure, Writer};

impl Volume {
    /// Brings a long log back to its start. On a full disk it stays as it is: a commit that gives
    /// space back must not wait for room, and until there is some only such are accepted.
    pub(super) fn bound_log(&self, writer: &Writer) -> FsResult<()> {
        let mut bounded = writer.bound_log();
        if bounded == Err(CommitFailure::NoSpace) && self.space.release_reserve() {
            bounded = writer.bound_log();
        }
        match bounded {
            Ok(()) => Ok(()),
            Err(CommitFailure::NoSpace) => {
                self.space.note_full();
                Ok(())
            }
            Err(e) => Err(self.checkpoint_failed(e)),
        }
    }

    /// Copies the log into the database, as far as readers and the room on the disk allow.
    pub(super) fn copy_log(&self, writer: &Writer) -> FsResult<()> {
        match writer.checkpoint_passively() {
            // What the log has stays there until there is room.
            Ok(()) | Err(CommitFailure::NoSpace) => Ok(()),
            Err(e) => Err(self.checkpoint_failed(e)),
        }
    }

    /// What a failed checkpoint means: a full disk is tried again later, all else is the end.
    pub(super) fn checkpoint_failed(&self, failure: CommitFailure) -> FsError {
        match failure {
            CommitFailure::NoSpace => {
                self.space.note_full();
                FsError::NoSpace
            }
            CommitFailure::Tampered | CommitFailure::Failed => self.fail(Failure::Database),
        }
    }
}
