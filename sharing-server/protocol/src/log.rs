//! A share's log, applied: a pure function of its records in order and of one's own keys.
//!
//! What the server alone can have done (a bad signature, a broken chain, a grant that the record
//! does not list) stops the log. What a member signed although it may not stand there is void: it
//! keeps its place, has no effect, and names its author. All who apply the same records find the
//! same ones void, whatever keys they have.

mod kept;
mod outcome;
mod rules;
mod verdict;
mod words;

use std::collections::BTreeMap;

use keyfold_crypto::{EpochKey, KemKey};

use crate::cbor::{DecodeError, Encoded};
use crate::chain::KeyEntry;
use crate::exchange::Delivered;
use crate::grant::Grant;
use crate::ids::{ChainRoot, EntryHash, Epoch, RecordHash, Seq, ShareId, Time};
use crate::names::UserName;
use crate::operation::ContentBody;
use crate::record::{Kind, Record};
use crate::roster::{Member, NewEpoch, Role, Roster, RosterBody};
use crate::snapshot::SnapshotBody;

pub use outcome::{Applied, Event, Outcome, Stop, Void};
pub use rules::{Proposal, admit, begin, follow, rotation_due};
pub use verdict::{HeadVerdict, ReceiptVerdict};

/// Who applies a log.
#[derive(Debug, Clone)]
pub struct Own {
    /// His name.
    pub user: UserName,
    /// Who he is.
    pub root: ChainRoot,
    /// His keys, by the chain entry that they belong to.
    pub keys: BTreeMap<EntryHash, KemKey>,
}

/// A share as its log says.
#[derive(Debug, Clone)]
pub struct Log {
    own: Own,
    share: ShareId,
    /// Records of which nothing is known any more but what came of them: those before the others.
    forgotten: u64,
    records: Vec<RecordHash>,
    roster: Option<Roster>,
    roster_record: RecordHash,
    roster_time: Time,
    rotation_due: bool,
    /// Keys of everybody who ever was a member.
    entries: BTreeMap<EntryHash, KeyEntry>,
    epochs: BTreeMap<Epoch, EpochKey>,
    begun: BTreeMap<Epoch, NewEpoch>,
    voids: BTreeMap<Seq, Void>,
}

impl Log {
    /// The log of a share before its first record.
    pub fn new(own: Own, share: ShareId) -> Self {
        Self {
            own,
            share,
            forgotten: 0,
            records: Vec::new(),
            roster: None,
            roster_record: RecordHash::NONE,
            roster_time: Time(0),
            rotation_due: false,
            entries: BTreeMap::new(),
            epochs: BTreeMap::new(),
            begun: BTreeMap::new(),
            voids: BTreeMap::new(),
        }
    }

    /// Applies the next record, with the grant that came with it for us.
    pub fn apply(&mut self, record: &Record, grant: Option<&Grant>) -> Result<Applied, Stop> {
        let header = &record.header;
        if header.seq != self.next_seq() {
            return Err(Stop::OutOfOrder);
        }
        if !record.body_fits() {
            return Err(Stop::Body);
        }
        let role;
        let (outcome, events) = match &self.roster {
            None => {
                role = Some(Role::Owner);
                self.begin(record, grant)?
            }
            Some(roster) => {
                let author = self.author(record)?.clone();
                record
                    .verify(&author.identity)
                    .map_err(|_| Stop::Signature)?;
                self.check_chain(record)?;
                let admitted = admit(roster, self.roster_record, self.roster_time, header);
                role = admitted.ok().map(|member| member.role);
                match admitted {
                    Err(void) => (Outcome::Void(void), Vec::new()),
                    Ok(_) if header.kind == Kind::Roster => {
                        self.apply_roster(record, &author, grant)?
                    }
                    Ok(_) => (self.read_body(record)?, Vec::new()),
                }
            }
        };
        if let Outcome::Void(void) = outcome {
            self.voids.insert(header.seq, void);
        }
        let hash = header.hash();
        self.records.push(hash);
        Ok(Applied {
            seq: header.seq,
            record: hash,
            author: header.author.clone(),
            role,
            outcome,
            events,
        })
    }

    /// Applies what a pull brought, in whatever order it came. What was applied before is passed
    /// over, unless it is another record now: that is a fork. What does not follow yet is left out.
    pub fn absorb(&mut self, pulled: &[Delivered]) -> Result<Vec<Applied>, Stop> {
        let mut sorted: Vec<&Delivered> = pulled.iter().collect();
        sorted.sort_by_key(|delivered| delivered.record.header.seq);
        let mut applied = Vec::new();
        for delivered in sorted {
            let header = &delivered.record.header;
            match self.record_at(header.seq) {
                Some(known) if known == header.hash() => {}
                Some(_) => return Err(Stop::Fork),
                None if header.seq < Seq(self.forgotten) => {}
                None if header.seq > self.next_seq() => break,
                None => applied.push(self.apply(&delivered.record, delivered.grant.as_ref())?),
            }
        }
        Ok(applied)
    }

    /// The body of a record applied before, for which there was no key or no body then.
    pub fn reread(&self, record: &Record) -> Result<Outcome, Stop> {
        let header = &record.header;
        if self.record_at(header.seq) != Some(header.hash()) {
            return Err(Stop::Fork);
        }
        if !record.body_fits() {
            return Err(Stop::Body);
        }
        match self.voids.get(&header.seq) {
            Some(void) => Ok(Outcome::Void(*void)),
            None if header.kind == Kind::Roster => Ok(Outcome::Roster),
            None => self.read_body(record),
        }
    }

    fn begin(
        &mut self,
        record: &Record,
        grant: Option<&Grant>,
    ) -> Result<(Outcome, Vec<Event>), Stop> {
        if record.header.hash().share() != self.share {
            return Err(Stop::Genesis);
        }
        let body = record.body().ok_or(Stop::Body)?;
        let body = RosterBody::decode(body).map_err(newer_or(Stop::Genesis))?;
        let roster = begin(&record.header, &body).map_err(|_| Stop::Genesis)?;
        let author =
            rules::member(&roster, record.header.author.root).map_err(|_| Stop::Genesis)?;
        let key = author.key.clone();
        record.verify(&key.identity).map_err(|_| Stop::Signature)?;
        let events = self.take_roster(record, &body, roster, &key, grant)?;
        Ok((Outcome::Roster, events))
    }

    /// The key that a record says it is signed with, of somebody who was a member once.
    fn author(&self, record: &Record) -> Result<&KeyEntry, Stop> {
        let author = &record.header.author;
        let entry = self.entries.get(&author.entry).ok_or(Stop::UnknownAuthor)?;
        if entry.root == author.root && entry.user == author.user {
            Ok(entry)
        } else {
            Err(Stop::UnknownAuthor)
        }
    }

    fn check_chain(&self, record: &Record) -> Result<(), Stop> {
        let last = self.records.last().copied();
        if record.header.share != self.share || Some(record.header.previous) != last {
            return Err(Stop::Chain);
        }
        Ok(())
    }

    fn apply_roster(
        &mut self,
        record: &Record,
        author: &KeyEntry,
        grant: Option<&Grant>,
    ) -> Result<(Outcome, Vec<Event>), Stop> {
        let body = record.body().ok_or(Stop::Body)?;
        let body = match RosterBody::decode(body) {
            Ok(body) => body,
            Err(DecodeError::UnknownVersion) => return Err(Stop::UnknownVersion),
            Err(DecodeError::Malformed) => return Ok((Outcome::Void(Void::Malformed), Vec::new())),
        };
        let before = self.roster.as_ref().ok_or(Stop::Genesis)?;
        match follow(before, &record.header, &body) {
            Err(void) => Ok((Outcome::Void(void), Vec::new())),
            Ok(roster) => {
                let events = self.take_roster(record, &body, roster, author, grant)?;
                Ok((Outcome::Roster, events))
            }
        }
    }

    /// Takes a roster over, and our key of its epoch.
    fn take_roster(
        &mut self,
        record: &Record,
        body: &RosterBody,
        roster: Roster,
        author: &KeyEntry,
        grant: Option<&Grant>,
    ) -> Result<Vec<Event>, Stop> {
        self.refuse_false_self(&roster)?;
        let mut events = Vec::new();
        let listed = body.grants.iter().find(|(root, _)| *root == self.own.root);
        let ours = match (listed, grant) {
            (Some((_, hash)), Some(grant)) if grant.hash() == *hash => Some(grant),
            (Some(_), None) => {
                events.push(Event::GrantWithheld);
                None
            }
            (None, None) => None,
            (_, Some(_)) => return Err(Stop::ForgedGrant),
        };
        let key = ours.map(|grant| self.unwrap(record, &roster, author, grant));
        self.rotation_due = rules::rotation_due(self.rotation_due, author, body);
        for member in roster.members.values() {
            self.entries.insert(member.key.entry, member.key.clone());
        }
        if let Some(epoch) = &body.epoch {
            self.begun.insert(roster.epoch, epoch.clone());
        }
        match key {
            Some(Ok(key)) => events.extend(self.take_key(roster.epoch, key)),
            Some(Err(())) => events.push(Event::BadGrant),
            None => {}
        }
        // A reader who leaves cannot end the time of others by a clock of his own.
        let before = self.roster.as_ref().unwrap_or(&roster);
        if rules::member(before, author.root).is_ok_and(|author| author.role == Role::Owner) {
            self.roster_time = self.roster_time.max(record.header.time);
        }
        self.roster_record = record.header.hash();
        self.roster = Some(roster);
        Ok(events)
    }

    /// A roster that names us with keys that are not ours, or somebody else by our name.
    fn refuse_false_self(&self, roster: &Roster) -> Result<(), Stop> {
        let own = &self.own;
        let false_self = |member: &Member| {
            let key = &member.key;
            if key.root == own.root {
                !own.keys.contains_key(&key.entry)
            } else {
                key.user == own.user
            }
        };
        if roster.members.values().any(false_self) {
            return Err(Stop::NotOurKey);
        }
        Ok(())
    }

    fn unwrap(
        &self,
        record: &Record,
        roster: &Roster,
        author: &KeyEntry,
        grant: &Grant,
    ) -> Result<EpochKey, ()> {
        let us = rules::member(roster, self.own.root).map_err(|_| ())?;
        let key = self.own.keys.get(&us.key.entry).ok_or(())?;
        let context = roster.grant_context(record.header.share, us, author);
        grant
            .unwrap(key, &context, &roster.commitment)
            .map_err(|_| ())
    }

    /// Keeps a key, and those of earlier epochs that it opens.
    fn take_key(&mut self, epoch: Epoch, key: EpochKey) -> Option<Event> {
        self.epochs.insert(epoch, key);
        let mut at = epoch;
        while let Some(begun) = self.begun.get(&at) {
            let key = self.epochs.get(&at)?;
            let earlier = Epoch(at.0.checked_sub(1)?);
            let opened = begun.open_previous(key, self.share, at)?;
            let commitment = self.begun.get(&earlier).map(|begun| begun.commitment)?;
            match opened {
                Ok(key) if key.verify(&commitment).is_ok() => {
                    if self.epochs.insert(earlier, key).is_some() {
                        return None;
                    }
                }
                _ => return Some(Event::BadPreviousKey),
            }
            at = earlier;
        }
        None
    }

    fn read_body(&self, record: &Record) -> Result<Outcome, Stop> {
        if record.body().is_none() {
            return Ok(Outcome::Pruned);
        }
        let Some(key) = self.epochs.get(&record.header.epoch) else {
            return Ok(Outcome::Unreadable);
        };
        let Ok(body) = record.open_body(key) else {
            return Ok(Outcome::Void(Void::Unopened));
        };
        let read = match record.header.kind {
            Kind::Content => ContentBody::decode(&body).map(Outcome::Content),
            Kind::Snapshot => SnapshotBody::decode(&body).map(Outcome::Snapshot),
            Kind::Roster => Ok(Outcome::Roster),
        };
        match read {
            Ok(Outcome::Snapshot(body)) if !self.snapshot_fits(record, &body) => {
                Ok(Outcome::Void(Void::WrongSnapshot))
            }
            Ok(outcome) => Ok(outcome),
            Err(DecodeError::UnknownVersion) => Err(Stop::UnknownVersion),
            Err(DecodeError::Malformed) => Ok(Outcome::Void(Void::Malformed)),
        }
    }

    /// A snapshot is of the record before it, and its blobs are among those it adds.
    fn snapshot_fits(&self, record: &Record, body: &SnapshotBody) -> bool {
        let added = |blob| record.header.added.binary_search(blob).is_ok();
        body.seq.next() == record.header.seq
            && self.record_at(body.seq) == Some(body.record)
            && body.chunks.iter().all(added)
    }
}

fn newer_or(stop: Stop) -> impl Fn(DecodeError) -> Stop {
    move |error| match error {
        DecodeError::UnknownVersion => Stop::UnknownVersion,
        DecodeError::Malformed => stop,
    }
}
