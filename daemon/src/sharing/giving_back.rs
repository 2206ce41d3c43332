//! Giving a server back what it lost: records of which its log is the beginning, as they are.
//!
//! It is done unasked, as it takes nothing from anybody: a record has one place, and only its author
//! can have signed it. Who goes back to an older log on purpose gets what he had, and whoever has less
//! than a server says waits. Another record at a known place is a fork, and nothing is sent.

use keyfold_protocol::cbor::Encoded;
use keyfold_protocol::error_code::ErrorCode;
use keyfold_protocol::exchange::{Append, Delivered};
use keyfold_protocol::ids::Seq;
use keyfold_protocol::limits;
use keyfold_protocol::log::Applied;
use keyfold_protocol::record::Kind;
use keyfold_protocol::roster::{Role, RosterBody};

use super::error::SharingError;
use super::{Shared, not_a_member};
use crate::account::{ShareHead, Standing};
use crate::remote::RemoteError;

impl Shared<'_, '_> {
    /// From now on records are kept as they are.
    pub(super) fn keep_records(&mut self) -> Result<(), SharingError> {
        self.records = Some(Vec::new());
        self.standing = self.session.kept().standing(self.id())?;
        Ok(())
    }

    /// Takes records that were applied, to be kept with the head.
    pub(super) fn note_records(&mut self, applied: &[Applied], delivered: &[Delivered]) {
        let Some(records) = &mut self.records else {
            return;
        };
        for one in applied {
            let mut delivered = delivered.iter();
            let whole = delivered.find(|delivered| {
                delivered.record.header.seq == one.seq && delivered.record.body().is_some()
            });
            records.extend(whole.map(|delivered| Append {
                record: delivered.record.clone(),
                grants: delivered.grant.iter().cloned().collect(),
            }));
        }
    }

    pub(super) fn take_records(&mut self) -> Vec<Append> {
        self.records
            .as_mut()
            .map(std::mem::take)
            .unwrap_or_default()
    }

    /// Whether the server may lack content that it had.
    pub(crate) fn is_in_doubt(&self) -> bool {
        self.standing == Standing::InDoubt
    }

    /// Notes that it lacks nothing, as far as is known.
    pub(crate) fn is_whole(&mut self) -> Result<(), SharingError> {
        self.stands(Standing::Whole)
    }

    fn stands(&mut self, standing: Standing) -> Result<(), SharingError> {
        self.standing = standing;
        Ok(self.session.kept().put_standing(self.id(), standing)?)
    }

    /// After which record, and up to which, the server was given records again since this was asked
    /// last.
    pub(crate) fn take_given_back(&mut self) -> Option<(Seq, Seq)> {
        self.given_back.take()
    }

    /// Somebody else may have given the records back: then what this device said that it saw is lost all
    /// the same.
    pub(super) fn doubt_by(&mut self, pinned: Option<ShareHead>) -> Result<(), SharingError> {
        let Some(pinned) = pinned else { return Ok(()) };
        let known = self.receipts.len() < limits::RECEIPTS;
        if self.records.is_none() || self.is_in_doubt() || !known || self.left_receipt(pinned.seq) {
            return Ok(());
        }
        self.stands(Standing::InDoubt)
    }

    /// Whether a log that ends there is shorter than the one that was applied. That may have been kept
    /// before it was applied here.
    pub(super) fn is_short(&self, head: Seq, pinned: Option<ShareHead>) -> bool {
        let pinned = pinned.filter(|_| self.records.is_some());
        self.log.next_seq() > head.next() || pinned.is_some_and(|pinned| pinned.seq > head)
    }

    /// Appends again what the server has not any more after this record.
    pub(super) async fn give_back(
        &mut self,
        after: Seq,
        pinned: Option<ShareHead>,
    ) -> Result<(), SharingError> {
        if self.records.is_none() || self.log.role() < Some(Role::Writer) {
            return Err(SharingError::LostRecords(after));
        }
        let lost = self.lost_records(after, pinned)?;
        self.stands(Standing::InDoubt)?;
        for append in lost {
            let header = &append.record.header;
            if !is_whole(&append) {
                let author = header.author.user.clone();
                return Err(SharingError::LostRecord(header.seq, author));
            }
            match self.session.remote().restore(self.id(), &append).await {
                Ok(_) => {}
                // Another record may have come there: the next look tells.
                Err(error) if error.code() == Some(ErrorCode::HeadMoved) => return Ok(()),
                Err(error) => return Err(not_a_member(error)),
            }
            self.given_back = Some((after, header.seq));
        }
        Ok(())
    }

    /// The records after this one that lead to the last that is known, in order.
    fn lost_records(
        &self,
        after: Seq,
        pinned: Option<ShareHead>,
    ) -> Result<Vec<Append>, SharingError> {
        let later = pinned.filter(|pinned| pinned.seq >= self.log.next_seq());
        let later = later.map(|pinned| (pinned.seq, pinned.record));
        let last = later.or(self.log.head());
        let (mut seq, mut record) = last.ok_or(SharingError::LostRecords(after))?;
        let mut lost = Vec::new();
        while seq > after {
            let kept = self.session.kept().record(self.id(), (seq, record))?;
            let append = kept.ok_or(SharingError::LostRecords(after))?;
            record = append.record.header.previous;
            seq = Seq(seq.0 - 1);
            lost.push(append);
        }
        lost.reverse();
        Ok(lost)
    }

    /// Whether the server may have lost the share as a whole, which this account made.
    pub(super) fn may_begin_again(&self, error: &RemoteError) -> bool {
        let creator = self.log.roster().map(|roster| roster.creator);
        error.code() == Some(ErrorCode::NotFound)
            && self.records.is_some()
            && creator == Some(self.log.own().root)
    }

    /// Begins the share again with its first record, where that was kept. A server that knows of its end
    /// refuses.
    pub(super) async fn begin_again(
        &mut self,
        pinned: Option<ShareHead>,
    ) -> Result<(), SharingError> {
        let first = self.log.record_at(Seq(0));
        let first = first.ok_or(SharingError::NotAMember)?;
        let kept = self.session.kept().record(self.id(), (Seq(0), first))?;
        let first = kept.ok_or(SharingError::NotAMember)?;
        match self.session.remote().create_share(&first).await {
            Ok(_) => self.give_back(Seq(0), pinned).await,
            Err(error) if error.code().is_some_and(|code| code.status() < 500) => {
                Err(SharingError::NotAMember)
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Whether all is there that the server wants with a record.
fn is_whole(append: &Append) -> bool {
    if append.record.header.kind != Kind::Roster {
        return true;
    }
    let body = append.record.body().map(RosterBody::decode);
    body.is_some_and(|body| body.is_ok_and(|body| append.grants_fit(&body)))
}
