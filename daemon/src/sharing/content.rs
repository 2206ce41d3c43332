//! What content records say, and appending them.

use keyfold_protocol::cbor::Encoded;
use keyfold_protocol::error_code::ErrorCode;
use keyfold_protocol::exchange::{Append, Delivered};
use keyfold_protocol::ids::{BlobId, Epoch, RecordHash, Seq, ShareId};
use keyfold_protocol::log::{Applied, Outcome, Void};
use keyfold_protocol::operation::{ContentBody, Operation};
use keyfold_protocol::record::{Header, Kind, Record};

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
    /// The epoch in force there.
    pub(crate) epoch: Epoch,
    /// Blobs that it adds.
    pub(crate) added: Vec<BlobId>,
    /// Blobs that it drops.
    pub(crate) dropped: Vec<BlobId>,
    /// What it does; none where its key is not known here.
    pub(crate) operations: Option<Vec<Operation>>,
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

/// Adds the content records among those that were applied.
pub(super) fn collect(
    content: &mut Vec<ContentRecord>,
    applied: &[Applied],
    delivered: &[Delivered],
) {
    for one in applied {
        let operations = match &one.outcome {
            Outcome::Content(body) => Some(body.operations.clone()),
            Outcome::Unreadable | Outcome::Pruned => None,
            Outcome::Roster | Outcome::Snapshot(_) | Outcome::Void(_) => continue,
        };
        let header = delivered
            .iter()
            .map(|delivered| &delivered.record.header)
            .find(|header| header.seq == one.seq);
        let Some(header) = header.filter(|header| header.kind == Kind::Content) else {
            continue;
        };
        content.push(ContentRecord {
            seq: one.seq,
            record: one.record,
            epoch: header.epoch,
            added: header.added.clone(),
            dropped: header.dropped.clone(),
            operations,
        });
    }
}

/// The content records among those that were applied whose key was not known at their place.
pub(super) fn unread(applied: &[Applied], delivered: &[Delivered]) -> Vec<Record> {
    let unread = applied
        .iter()
        .filter(|one| matches!(one.outcome, Outcome::Unreadable));
    let record = |one: &Applied| {
        let mut records = delivered.iter().map(|delivered| &delivered.record);
        records.find(|record| record.header.seq == one.seq).cloned()
    };
    unread.filter_map(record).collect()
}

impl<'s, 'a> Shared<'s, 'a> {
    /// Reads what came before the key to it did: a grant gives whole epochs, from their beginning.
    pub(super) fn reread(&mut self, unread: &[Record]) -> Result<(), SharingError> {
        for record in unread {
            let outcome = self.log.reread(record).map_err(SharingError::Stopped)?;
            let seq = record.header.seq;
            let mut content = self.content.iter_mut().flatten();
            match outcome {
                Outcome::Content(body) => {
                    if let Some(known) = content.find(|known| known.seq == seq) {
                        known.operations = Some(body.operations);
                    }
                }
                Outcome::Void(void) => {
                    self.log.note_void(seq, void);
                    // Without effect for everybody, so it is none of the content.
                    self.content
                        .iter_mut()
                        .for_each(|content| content.retain(|c| c.seq != seq));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// A share whose content records are kept until they are taken.
    pub(crate) async fn open_with_content(
        session: &'s Session<'a>,
        share: ShareId,
    ) -> Result<Self, SharingError> {
        let mut shared = Self::empty(session, share);
        shared.content = Some(Vec::new());
        shared.pull().await?;
        Ok(shared)
    }

    /// Content records applied since they were taken last.
    pub(crate) fn take_content(&mut self) -> Vec<ContentRecord> {
        self.content
            .as_mut()
            .map(std::mem::take)
            .unwrap_or_default()
    }

    /// Notes that a record turned out not to be applicable to the tree.
    pub(crate) fn note_void(&mut self, seq: Seq, void: Void) {
        self.log.note_void(seq, void);
    }

    /// The session that it is synced by.
    pub(crate) fn session(&self) -> &'s Session<'a> {
        self.session
    }

    /// A content record that follows the log as it is now.
    pub(crate) fn draft_content(&self, outgoing: Outgoing) -> Result<Append, SharingError> {
        let roster = self.roster()?;
        let (seq, previous) = self.log.head().ok_or(SharingError::NotAMember)?;
        let keys = self.session.keys();
        let own = roster.members.get(&keys.account.root);
        let entry = own.ok_or(SharingError::NotAMember)?.key.entry;
        let mut header = Header {
            kind: Kind::Content,
            seq: seq.next(),
            previous,
            roster: self.log.roster_record(),
            epoch: roster.epoch,
            added: outgoing.added,
            dropped: outgoing.dropped,
            ..draft::header(self.session, self.id())
        };
        header.author.entry = entry;
        let identity = keys.identity_of(entry);
        let identity = identity.ok_or(SharingError::MayNot(Void::KeySuperseded))?;
        let key = self.log.epoch_key(roster.epoch);
        let key = key.ok_or(SharingError::NoEpochKey)?;
        let body = ContentBody {
            operations: outgoing.operations,
        };
        Ok(Append {
            record: Record::seal(header, &body.encode(), key, identity)?,
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
            Err(error) if error.code() == Some(ErrorCode::HeadMoved) => self.pull().await?,
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
