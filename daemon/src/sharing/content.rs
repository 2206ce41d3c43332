//! What content records say, and appending them.

use keyfold_protocol::cbor::Encoded;
use keyfold_protocol::error_code::ErrorCode;
use keyfold_protocol::exchange::{Append, Delivered};
use keyfold_protocol::ids::{BlobId, Epoch, RecordHash, Seq, ShareId, Time};
use keyfold_protocol::log::{Applied, Log, Outcome, Void};
use keyfold_protocol::names::UserName;
use keyfold_protocol::operation::{ContentBody, Operation};
use keyfold_protocol::record::{Header, Kind, Record};
use keyfold_protocol::roster::Role;
use keyfold_protocol::snapshot::SnapshotBody;
use keyfold_protocol::wire::PullQuery;

use super::error::SharingError;
use super::{Shared, draft, not_a_member};
use crate::account::Session;

/// A record of the log, as whoever keeps the tree applies it.
#[derive(Debug, Clone)]
pub(crate) struct ContentRecord {
    /// Its place.
    pub(crate) seq: Seq,
    /// Its hash.
    pub(crate) record: RecordHash,
    /// What it is.
    pub(crate) kind: Kind,
    /// Who wrote it.
    pub(crate) author: UserName,
    /// When, by his clock.
    pub(crate) time: Time,
    /// What its author might do there.
    pub(crate) role: Option<Role>,
    /// The epoch in force there.
    pub(crate) epoch: Epoch,
    /// Blobs that it adds.
    pub(crate) added: Vec<BlobId>,
    /// Blobs that it drops.
    pub(crate) dropped: Vec<BlobId>,
    /// What it says.
    pub(crate) said: Said,
}

/// What a record says of the tree.
#[derive(Debug, Clone)]
pub(crate) enum Said {
    /// How it changes.
    Operations(Vec<Operation>),
    /// What it is.
    Snapshot(SnapshotBody),
    /// Nothing: it is of another kind, or void.
    Nothing,
    /// Its key is not known here.
    Unreadable,
    /// Its body was not asked for.
    Pruned,
}

/// What is to be appended.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outgoing {
    /// Applied in order.
    pub(crate) operations: Vec<Operation>,
    /// Blobs that come with it, ascending.
    pub(crate) added: Vec<BlobId>,
    /// Blobs that nothing needs any more, ascending.
    pub(crate) dropped: Vec<BlobId>,
}

/// What came of appending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Appended {
    /// It is there.
    Done,
    /// Others were first: what they wrote is to be looked at.
    Moved,
}

/// Adds the records among those that were applied that say something of the tree or its blobs.
pub(super) fn collect(
    content: &mut Vec<ContentRecord>,
    applied: &[Applied],
    delivered: &[Delivered],
) {
    for one in applied {
        let header = delivered
            .iter()
            .map(|delivered| &delivered.record.header)
            .find(|header| header.seq == one.seq);
        let Some(header) = header else { continue };
        let said = said(&one.outcome);
        if matches!(said, Said::Nothing) && header.dropped.is_empty() {
            continue;
        }
        content.push(ContentRecord {
            seq: one.seq,
            record: one.record,
            kind: header.kind,
            author: one.author.user.clone(),
            time: header.time,
            role: one.role,
            epoch: header.epoch,
            added: header.added.clone(),
            dropped: header.dropped.clone(),
            said,
        });
    }
}

fn said(outcome: &Outcome) -> Said {
    match outcome {
        Outcome::Content(body) => Said::Operations(body.operations.clone()),
        Outcome::Snapshot(body) => Said::Snapshot(body.clone()),
        Outcome::Roster | Outcome::Void(_) => Said::Nothing,
        Outcome::Unreadable => Said::Unreadable,
        Outcome::Pruned => Said::Pruned,
    }
}

impl<'s, 'a> Shared<'s, 'a> {
    /// A share whose content records are kept until they are taken; their bodies from a place on.
    pub(crate) async fn open_with_content(
        session: &'s Session<'a>,
        share: ShareId,
        bodies_from: Option<Seq>,
    ) -> Result<Self, SharingError> {
        let shared = Self::empty(session, share);
        shared.with_content(bodies_from).await
    }

    /// The same, of which the vault keeps the records as they are.
    pub(crate) async fn open_to_keep(
        session: &'s Session<'a>,
        share: ShareId,
        bodies_from: Option<Seq>,
    ) -> Result<Self, SharingError> {
        let mut shared = Self::empty(session, share);
        shared.keep_records()?;
        shared.with_content(bodies_from).await
    }

    async fn with_content(mut self, bodies_from: Option<Seq>) -> Result<Self, SharingError> {
        self.content = Some(Vec::new());
        self.bodies_from = bodies_from;
        self.pull().await?;
        self.bodies_from = None;
        Ok(self)
    }

    /// A share as it was kept, whose content records are kept until they are taken. Nothing is asked of
    /// the server yet.
    pub(crate) fn resume(session: &'s Session<'a>, share: ShareId, kept: &[u8]) -> Option<Self> {
        let log = Log::resume(super::own(session), kept).ok()?;
        let mut shared = Self::empty(session, share);
        shared.content = Some(Vec::new());
        shared.bodies_from = None;
        shared.keep_records().ok()?;
        (log.share() == share).then(|| {
            shared.log = log;
            shared
        })
    }

    /// Whether it can be learned what a record says, where that is not known yet.
    pub(crate) fn can_learn(&self, record: &ContentRecord) -> bool {
        match record.said {
            Said::Pruned => true,
            // The key may have come with a later record.
            Said::Unreadable => self.log.epoch_key(record.epoch).is_some(),
            Said::Operations(_) | Said::Snapshot(_) | Said::Nothing => false,
        }
    }

    /// Learns what a record says.
    pub(crate) async fn learn(&self, record: &mut ContentRecord) -> Result<(), SharingError> {
        self.learn_some(std::slice::from_mut(record), Some(1)).await
    }

    /// Learns what these records say, which ascend.
    pub(crate) async fn learn_all(
        &self,
        records: &mut [ContentRecord],
    ) -> Result<(), SharingError> {
        self.learn_some(records, None).await
    }

    async fn learn_some(
        &self,
        records: &mut [ContentRecord],
        limit: Option<u64>,
    ) -> Result<(), SharingError> {
        let first = records.iter().find(|record| self.can_learn(record));
        let last = records.iter().rfind(|record| self.can_learn(record));
        let (Some(mut from), Some(last)) = (first.map(|r| r.seq), last.map(|r| r.seq)) else {
            return Ok(());
        };
        while from <= last {
            let query = PullQuery {
                from,
                limit,
                bodies_from: None,
            };
            let pulled = self.session.remote().pull(self.id(), &query).await;
            let before = from;
            for delivered in &pulled.map_err(not_a_member)?.records {
                let seq = delivered.record.header.seq;
                let known = records.binary_search_by_key(&seq, |record| record.seq);
                let known = known.ok().and_then(|index| records.get_mut(index));
                if let Some(known) = known.filter(|known| self.can_learn(known)) {
                    let outcome = self.log.reread(&delivered.record);
                    known.said = said(&outcome.map_err(SharingError::Stopped)?);
                }
                from = from.max(seq.next());
            }
            if from == before {
                return Err(SharingError::Withheld);
            }
        }
        if records.iter().any(|record| self.can_learn(record)) {
            return Err(SharingError::Withheld);
        }
        Ok(())
    }

    /// Content records applied since they were taken last.
    pub(crate) fn take_content(&mut self) -> Vec<ContentRecord> {
        self.content
            .as_mut()
            .map(std::mem::take)
            .unwrap_or_default()
    }

    /// The session that it is synced by.
    pub(crate) fn session(&self) -> &'s Session<'a> {
        self.session
    }

    /// A content record that follows the log as it is now.
    pub(crate) fn draft_content(&self, outgoing: Outgoing) -> Result<Append, SharingError> {
        let body = ContentBody {
            operations: outgoing.operations,
        };
        let blobs = (outgoing.added, outgoing.dropped);
        self.draft(Kind::Content, &body.encode(), blobs)
    }

    /// A record with a sealed body that follows the log as it is now. It adds and drops these blobs,
    /// both ascending.
    pub(crate) fn draft(
        &self,
        kind: Kind,
        body: &[u8],
        (added, dropped): (Vec<BlobId>, Vec<BlobId>),
    ) -> Result<Append, SharingError> {
        let roster = self.roster()?;
        let (seq, previous) = self.log.head().ok_or(SharingError::NotAMember)?;
        let keys = self.session.keys();
        let own = roster.members.get(&keys.account.root);
        let entry = own.ok_or(SharingError::NotAMember)?.key.entry;
        let mut header = Header {
            kind,
            seq: seq.next(),
            previous,
            roster: self.log.roster_record(),
            epoch: roster.epoch,
            added,
            dropped,
            ..draft::header(self.session, self.id())
        };
        header.author.entry = entry;
        let identity = keys.identity_of(entry);
        let identity = identity.ok_or(SharingError::MayNot(Void::KeySuperseded))?;
        let key = self.log.epoch_key(roster.epoch);
        let key = key.ok_or(SharingError::NoEpochKey)?;
        Ok(Append {
            record: Record::seal(header, body, key, identity)?,
            grants: Vec::new(),
        })
    }

    /// Appends a record, and pulls what is there then. A lost reply is looked for in the log.
    pub(crate) async fn append_content(
        &mut self,
        append: &Append,
    ) -> Result<Appended, SharingError> {
        let header = &append.record.header;
        let (seq, record) = (header.seq, header.hash());
        match self.session.remote().append(self.id(), append).await {
            Ok(_) => self.pull().await?,
            Err(error) if error.code() == Some(ErrorCode::HeadMoved) => self.pull_moved().await?,
            Err(error) if error.may_have_arrived() => {
                self.pull().await.map_err(|_| SharingError::from(error))?;
            }
            Err(error) => return Err(not_a_member(error)),
        }
        if self.log.record_at(seq) == Some(record) {
            return Ok(Appended::Done);
        }
        Ok(Appended::Moved)
    }
}
