//! The head: what the log makes, from what was kept or from a snapshot on.
//!
//! Whoever has the tree before a record applies it, and compares each snapshot with the tree: one that
//! is another is told, and has no effect. Whoever has not, because he was given the share later or has
//! nothing kept yet, begins from the newest snapshot that an owner wrote. He cannot know whether it is
//! what the log makes, and takes the owner's word for it, who has given him all he has of the share:
//! keys, members and roles. A snapshot of anybody else is compared, and never begun from, so that a
//! writer cannot show newcomers what nobody else sees.

use std::collections::BTreeSet;
use std::sync::Arc;

use keyfold_protocol::log::Event;
use keyfold_protocol::operation::Action;
use keyfold_protocol::record::Kind;
use keyfold_protocol::roster::Role;
use keyfold_protocol::snapshot::SnapshotBody;
use keyfold_protocol::tree::{At, Tree};

use super::ShareSync;
use super::arrived::Arrived;
use super::error::SyncError;
use super::kept::NewestSnapshot;
use super::repack::Turn;
use crate::sharing::{ContentRecord, Said, Trouble};

/// Whether a record says that blocks lie elsewhere.
fn moves(record: &ContentRecord) -> bool {
    let Said::Operations(operations) = &record.said else {
        return false;
    };
    let mut actions = operations.iter().map(|operation| &operation.action);
    actions.any(|action| matches!(action, Action::Move(_)))
}

impl ShareSync<'_, '_> {
    /// Applies records to the head, and notices our own.
    pub(super) async fn absorb(&mut self) -> Result<(), SyncError> {
        let content = self.shared.take_content();
        let known = self.position.seq;
        let new = content.into_iter().filter(|one| Some(one.seq) > known);
        self.unapplied.extend(new);
        while let Some(mut record) = self.unapplied.pop_front() {
            let unknown = matches!(record.said, Said::Unreadable | Said::Pruned);
            if unknown && record.kind == Kind::Content {
                self.unapplied.push_front(record);
                self.jump().await?;
                continue;
            }
            // Whoever cannot open a snapshot misses nothing by that.
            if self.shared.can_learn(&record)
                && let Err(error) = self.shared.learn(&mut record).await
            {
                self.unapplied.push_front(record);
                return Err(error.into());
            }
            self.advance(&record)?;
        }
        if Arc::ptr_eq(&self.reached, &self.head) {
            self.position.seq = self.head_seq;
            self.log = self.shared.log().keep();
        }
        self.packs
            .know([Arc::clone(&self.base), Arc::clone(&self.head)]);
        Ok(())
    }

    fn advance(&mut self, record: &ContentRecord) -> Result<(), SyncError> {
        let own = self
            .in_flight
            .as_ref()
            .map(|own| own.append.record.header.hash());
        let own = self.in_flight.take_if(|_| own == Some(record.record));
        self.head_seq = Some(record.seq);
        match &record.said {
            Said::Operations(operations) => {
                self.sweep.written_by(if own.is_some() {
                    Turn::Ours
                } else {
                    Turn::Others
                });
                let at = At {
                    seq: record.seq,
                    epoch: record.epoch,
                    added: &record.added,
                    dropped: &record.dropped,
                };
                if let Err(void) = Arc::make_mut(&mut self.head).apply(at, operations) {
                    self.note(record, Trouble::Void(void));
                    if own.is_some() {
                        return Err(SyncError::Void(void));
                    }
                }
            }
            Said::Snapshot(body) if body.tree != self.head.hash() => {
                self.note(record, Trouble::Event(Event::FalseSnapshot));
            }
            Said::Snapshot(body) => self.note_snapshot(record, body),
            Said::Nothing | Said::Unreadable | Said::Pruned => {}
        }
        self.look_at_dropped(record);
        if let Some(own) = own {
            self.position.begun |= own.last;
            if own.last {
                // Records name all of them.
                *self.arrived.lock() = Arrived::default();
            }
            // The volume is brought to where blocks lie now, as by anybody's record.
            if !moves(record) {
                // It was made over the base, and of what is in the volume.
                self.position.seq = self.head_seq;
                let head = Arc::clone(&self.head);
                self.keep_reached(&head, own.marks)?;
            }
        }
        Ok(())
    }

    fn note(&mut self, record: &ContentRecord, what: Trouble) {
        self.shared.note(record.seq, &record.author, what);
    }

    fn note_snapshot(&mut self, record: &ContentRecord, body: &SnapshotBody) {
        if record.role == Some(Role::Owner) {
            self.newest = Some(NewestSnapshot {
                seq: record.seq,
                epoch: record.epoch,
                chunks: body.chunks.clone(),
            });
        }
    }

    /// Blobs that a record drops and that are needed: they are to stay.
    fn look_at_dropped(&mut self, record: &ContentRecord) {
        let newest = self.newest.as_ref();
        let needed = record.dropped.iter().filter(|blob| {
            self.head.needs(blob) || newest.is_some_and(|newest| newest.chunks.contains(blob))
        });
        let before = self.revive.len();
        self.revive.extend(needed);
        if self.revive.len() > before {
            self.note(record, Trouble::Event(Event::DroppedInUse));
        }
    }

    /// Goes on from the newest snapshot among the records, of what comes before which not all can be
    /// read.
    async fn jump(&mut self) -> Result<(), SyncError> {
        for index in (0..self.unapplied.len()).rev() {
            let unusable = &self.unusable;
            let begins = |record: &&mut ContentRecord| {
                let by_owner = record.role == Some(Role::Owner);
                record.kind == Kind::Snapshot && by_owner && !unusable.contains(&record.seq)
            };
            let Some(record) = self.unapplied.get_mut(index).filter(begins) else {
                continue;
            };
            self.shared.learn(record).await?;
            let (seq, epoch) = (record.seq, record.epoch);
            let author = record.author.clone();
            let Said::Snapshot(body) = record.said.clone() else {
                continue;
            };
            match self.shared.open_snapshot(epoch, &body).await? {
                Ok(tree) => {
                    self.begin_from(index, tree);
                    return Ok(());
                }
                Err(why) => {
                    self.unusable.insert(seq);
                    self.shared.note(seq, &author, Trouble::Event(why));
                }
            }
        }
        let records = self.unapplied.make_contiguous();
        if !records.iter().any(|record| self.shared.can_learn(record)) {
            return Err(SyncError::NoHistory);
        }
        Ok(self.shared.learn_all(records).await?)
    }

    fn begin_from(&mut self, index: usize, tree: Tree) {
        let skipped: Vec<ContentRecord> = self.unapplied.drain(..=index).collect();
        let own = self
            .in_flight
            .as_ref()
            .map(|own| own.append.record.header.hash());
        if skipped.iter().any(|record| Some(record.record) == own) {
            // What it said is in the tree; its marks are looked at anew.
            self.in_flight = None;
        }
        self.head = Arc::new(tree);
        if let Some(record) = skipped.last() {
            self.head_seq = Some(record.seq);
            if let Said::Snapshot(body) = &record.said {
                self.note_snapshot(record, body);
            }
        }
    }

    /// Has blobs that are needed kept.
    pub(super) async fn revive_needed(&mut self) -> Result<(), SyncError> {
        if self.shared.log().role() < Some(Role::Writer) {
            self.revive.clear();
        }
        let blobs: Vec<_> = self.revive.iter().copied().collect();
        for part in blobs.chunks(keyfold_protocol::limits::BLOB_LIST) {
            let remote = self.shared.session().remote();
            remote.revive_blobs(self.shared.id(), part).await?;
        }
        self.revive = BTreeSet::new();
        Ok(())
    }
}
