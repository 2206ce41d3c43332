//! What a volume says about itself.

use std::sync::atomic::Ordering;

use serde::Serialize;

use super::{Failure, Verification, Volume};
use crate::error::{FsError, FsResult};
use crate::events::SecurityEvent;
use crate::vfs::Stats;

/// Whether changes are accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum VolumeState {
    /// Everything is accepted.
    ReadWrite,
    /// Opened for reading.
    OpenedReadOnly,
    /// The disk is full: what shrinks is accepted.
    Full,
    /// A failure made it read-only.
    Failed,
}

/// A volume's state in figures.
#[derive(Debug, Clone, Serialize)]
pub struct VolumeStatus {
    /// Whether changes are accepted.
    pub state: VolumeState,
    /// Why it failed, where it did.
    pub reason: Option<String>,
    /// Number of the last commit.
    pub commit: u64,
    /// Something waits for the next commit.
    pub uncommitted: bool,
    /// Plaintext that waits to be sealed, in bytes.
    pub dirty_bytes: u64,
    /// Inodes in use.
    pub inodes: u64,
    /// Data of all files as last committed, in bytes.
    pub data_bytes: u64,
    /// Segment files.
    pub segments: u64,
    /// Bytes of segments that committed files name.
    pub live_bytes: u64,
    /// Kept images of the metadata, snapshots among them.
    pub images: u64,
    /// Bytes of segments that only such images name.
    pub held_back_bytes: u64,
    /// Open files.
    pub open_files: u64,
    /// Files in memory: open, or waiting for the next commit.
    pub files_in_memory: u64,
    /// Whether all metadata together is what was committed.
    pub verification: Verification,
    /// The last commit that is known outside the vault, where it is held to that.
    pub pinned_commit: Option<u64>,
    /// How often something stored did not verify.
    pub security_events: u64,
    /// What that was: the last ones, oldest first.
    pub events: Vec<SecurityEvent>,
}

impl Volume {
    /// The volume's state.
    pub fn status(&self) -> VolumeStatus {
        let failure = self.failure();
        let state = match failure {
            _ if self.is_read_only() => VolumeState::OpenedReadOnly,
            Some(_) => VolumeState::Failed,
            None if self.space.is_full() => VolumeState::Full,
            None => VolumeState::ReadWrite,
        };
        let reason = failure.map(|f| match f {
            Failure::Write(e) => format!("writing a segment failed: {e}"),
            Failure::Sync(e) => format!("syncing a segment failed: {e}"),
            Failure::Commit(e) => format!("a commit failed: {e}"),
            Failure::Database => "the metadata database failed".to_owned(),
            Failure::Altered => {
                "the metadata is not what was committed; `keyfold check` tells more".to_owned()
            }
        });
        let c = self.committer.lock();
        VolumeStatus {
            state,
            reason,
            commit: c.state.commit,
            uncommitted: !self.is_settled(),
            dirty_bytes: self.write_behind.dirty_pages() * crate::layout::BLOCK_SIZE as u64,
            inodes: self.counters.inodes.load(Ordering::Relaxed),
            data_bytes: c.state.blocks * crate::layout::BLOCK_SIZE as u64,
            segments: c.segments.len() as u64,
            live_bytes: c
                .segments
                .values()
                .map(|s| u64::from(s.live()))
                .sum::<u64>()
                * crate::layout::BLOCK_SIZE as u64,
            images: self.images.count() as u64,
            held_back_bytes: c.held.back(&c.segments) * crate::layout::BLOCK_SIZE as u64,
            open_files: self.handles.open_files() as u64,
            files_in_memory: self.nodes.count() as u64,
            verification: self.progress.now(),
            pinned_commit: self.pinned_commit(),
            security_events: self.events.total(),
            events: self.events.list(),
        }
    }

    pub(super) fn do_statfs(&self) -> FsResult<Stats> {
        let disk = nix::sys::statvfs::statvfs(self.path())
            .map_err(|e| FsError::from(std::io::Error::from(e)))?;
        let unit = disk.fragment_size();
        let scale = |blocks: u64| blocks * unit / crate::layout::BLOCK_SIZE as u64;
        let ahead = self.segments.free_slots();
        let files = self.counters.inodes.load(Ordering::Relaxed);
        Ok(Stats {
            block_size: crate::layout::BLOCK_SIZE as u32,
            blocks: scale(disk.blocks()),
            free: scale(disk.blocks_free()) + ahead,
            available: scale(disk.blocks_available()) + ahead,
            files,
            files_free: u64::from(u32::MAX),
        })
    }
}
