//! Making snapshots: so that whoever is given the share later, or begins anew, has where to begin.

use keyfold_protocol::cbor::Encoded;
use keyfold_protocol::ids::Epoch;
use keyfold_protocol::pack::blob_id;
use keyfold_protocol::record::Kind;
use keyfold_protocol::roster::Role;
use keyfold_protocol::snapshot::SnapshotPlace;

use super::ShareSync;
use super::error::SyncError;
use crate::sharing::{Appended, SharingError};

/// Records after which there is to be another snapshot.
const RECORDS: u64 = 512;
/// How often a snapshot is made anew because others wrote meanwhile. The next round tries again.
const ATTEMPTS: usize = 3;

impl ShareSync<'_, '_> {
    /// Whether a snapshot is to be made here: by an owner, whose snapshots are begun from, where
    /// newcomers have none that they can open, or much was written since the last.
    fn snapshot_is_due(&self) -> bool {
        let log = self.shared.log();
        let (Some(Role::Owner), Some((head, _))) = (log.role(), log.head()) else {
            return false;
        };
        let opened = self.newest.as_ref().map_or(Epoch(1), |newest| newest.epoch);
        let last = self.newest.as_ref().map_or(0, |newest| newest.seq.0);
        log.readable_from() > Some(opened) || head.0 >= last + RECORDS || self.newest_is_lost()
    }

    /// Makes a snapshot, if one is due. Called while all records are applied.
    pub(super) async fn snapshot_if_due(&mut self) -> Result<(), SyncError> {
        for _ in 0..ATTEMPTS {
            if !self.snapshot_is_due() || !self.unapplied.is_empty() {
                return Ok(());
            }
            if self.make_snapshot().await? == Appended::Done {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Makes a snapshot of the share as it is.
    pub(crate) async fn make_snapshot(&mut self) -> Result<Appended, SyncError> {
        let log = self.shared.log();
        let roster = log.roster().ok_or(SharingError::NotAMember)?;
        let (seq, record) = log.head().ok_or(SharingError::NotAMember)?;
        let place = SnapshotPlace {
            share: self.shared.id(),
            epoch: roster.epoch,
            seq,
            record,
        };
        let key = log.epoch_key(roster.epoch);
        let (body, chunks) = place.seal(&self.head, key.ok_or(SharingError::NoEpochKey)?)?;
        let remote = self.shared.session().remote();
        for chunk in &chunks {
            remote.put_blob(place.share, blob_id(chunk), chunk).await?;
        }
        let mut added = body.chunks.clone();
        added.sort_unstable();
        let older = self.newest.as_ref().map(|newest| newest.chunks.clone());
        let mut dropped = older.unwrap_or_default();
        if self.shared.log().role() != Some(Role::Owner) {
            // What is begun from stays.
            dropped.clear();
        }
        dropped.sort_unstable();
        let append = self
            .shared
            .draft(Kind::Snapshot, &body.encode(), (added, dropped))?;
        let appended = self.shared.append_content(&append).await;
        self.absorb().await?;
        Ok(appended?)
    }
}
