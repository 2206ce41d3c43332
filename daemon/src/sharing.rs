//! Shares as their rosters say: who takes part, who asks to, and how that changes.
//!
//! What a server hands out is applied by the rules of the log alone, and held against what this vault
//! applied before. Every change is one record, appended only where it was made for: whoever comes
//! second looks at what came first and decides again.

mod arrival;
mod change;
mod commands;
mod content;
mod draft;
mod error;
mod giving_back;
mod groups;
mod inbox;
mod makers;
mod members;
mod offers;
mod revoking;
mod stub;
#[cfg(test)]
pub(crate) mod tests;
mod title;

use std::fmt;

use keyfold_protocol::chain::KeyEntry;
use keyfold_protocol::error_code::ErrorCode;
use keyfold_protocol::exchange::Append;
use keyfold_protocol::ids::{RecordHash, Seq, ShareId};
use keyfold_protocol::limits;
use keyfold_protocol::log::{Event, HeadVerdict, Log, Outcome, Own, ReceiptVerdict, Stop, Void};
use keyfold_protocol::names::UserName;
use keyfold_protocol::receipt::Receipt;
use keyfold_protocol::roster::{Role, Roster};
use keyfold_protocol::signed::Signed;
use keyfold_protocol::wire::PullQuery;

use crate::account::{AccountError, Session, ShareHead, Standing, now};
use crate::remote::RemoteError;

pub(crate) use arrival::{Arrival, entry_name};
pub(crate) use change::{Ends, Newcomer, Reads};
pub(crate) use commands::{
    Done, InboxShown, MembersShown, PersonShown, Reply, ShareShown, after, carry_out, people,
};
pub(crate) use content::{Appended, ContentRecord, Outgoing, Said};
pub(crate) use error::SharingError;
pub(crate) use groups::{GroupShown, in_group};
pub(crate) use inbox::{
    InboxItem, Terms, approve, deny, gather, inbox, note_shown, trusted, withdraw,
};
pub(crate) use makers::Makers;
pub(crate) use offers::{Offer, Wish, publish, request, unpublish, verify_publication};
pub(crate) use revoking::{remove_deleted, revoke};
pub(crate) use stub::{Asked, Stub};

/// What a role is called.
pub(crate) fn role_name(role: Role) -> &'static str {
    match role {
        Role::Reader => "reader",
        Role::Writer => "writer",
        Role::Owner => "owner",
    }
}

/// What there is to say of somebody who was removed.
pub(crate) fn removed(user: &UserName) -> String {
    format!(
        "{user} is no member any more. What is written from now on is under a new key; what was \
         there before, {user} may have kept."
    )
}

/// Pulls of one reading: a server that says that there is more and gives nothing is not believed.
const PULLS: usize = 64 << 10;

/// What is wrong with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Something beside what it does.
    Event(Event),
    /// It has no effect.
    Void(Void),
}

/// Something to tell the user of a record. Of a withheld grant or snapshot it is the server's doing, of
/// anything else its author's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Notice {
    /// Its place.
    pub(crate) seq: Seq,
    /// Who wrote it.
    pub(crate) author: UserName,
    /// What is wrong.
    pub(crate) what: Trouble,
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "record {} of {}: ", self.seq.0, self.author)?;
        match self.what {
            Trouble::Event(event) => event.fmt(f),
            Trouble::Void(void) => write!(f, "without effect, as {void}"),
        }
    }
}

/// A share, applied up to its head.
pub(crate) struct Shared<'s, 'a> {
    session: &'s Session<'a>,
    log: Log,
    receipts: Vec<Signed<Receipt>>,
    /// What to tell the user of what was applied.
    events: Vec<(Seq, Event)>,
    /// The same with who did it, and void records, until they are taken.
    told: Vec<Notice>,
    /// What content records say, where somebody wants to know.
    content: Option<Vec<ContentRecord>>,
    /// Whose symlinks those are that came since this was opened.
    makers: Makers,
    /// Bodies of content and snapshots before this place are not pulled.
    bodies_from: Option<Seq>,
    /// Records as they are, to be kept with the head; none where they are not kept.
    records: Option<Vec<Append>>,
    standing: Standing,
    /// After which record, and up to which, the server was given records again, until that is told.
    given_back: Option<(Seq, Seq)>,
}

/// Who applies logs for this session.
fn own(session: &Session<'_>) -> Own {
    let account = &session.keys().account;
    let now = (account.entry, account.kem.clone());
    Own {
        user: account.user.clone(),
        root: account.root,
        keys: account.earlier.iter().cloned().chain([now]).collect(),
    }
}

impl<'s, 'a> Shared<'s, 'a> {
    /// A share of which the session is a member.
    pub(crate) async fn open(
        session: &'s Session<'a>,
        share: ShareId,
    ) -> Result<Self, SharingError> {
        let mut shared = Self::empty(session, share);
        shared.pull().await?;
        Ok(shared)
    }

    fn empty(session: &'s Session<'a>, share: ShareId) -> Self {
        Self {
            session,
            log: Log::new(own(session), share),
            receipts: Vec::new(),
            events: Vec::new(),
            told: Vec::new(),
            content: None,
            makers: Makers::default(),
            // Rosters are always whole.
            bodies_from: Some(Seq(limits::NUMBER)),
            records: None,
            standing: Standing::Whole,
            given_back: None,
        }
    }

    /// Which share.
    pub(crate) fn id(&self) -> ShareId {
        self.log.share()
    }

    /// What its log says.
    pub(crate) fn log(&self) -> &Log {
        &self.log
    }

    /// Whose symlinks those are that came since this was opened.
    pub(crate) fn makers(&self) -> &Makers {
        &self.makers
    }

    /// What there was to tell the user of records applied here.
    pub(crate) fn events(&self) -> &[(Seq, Event)] {
        &self.events
    }

    /// What there is to tell the user since this was asked last.
    pub(crate) fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.told)
    }

    /// Notes what there is to tell of a record.
    pub(crate) fn note(&mut self, seq: Seq, author: &UserName, what: Trouble) {
        match what {
            Trouble::Event(event) => self.events.push((seq, event)),
            Trouble::Void(void) => self.log.note_void(seq, void),
        }
        let author = author.clone();
        self.told.push(Notice { seq, author, what });
    }

    /// Who made it.
    pub(crate) fn creator(&self) -> Result<&KeyEntry, SharingError> {
        let roster = self.roster()?;
        let creator = roster.members.get(&roster.creator);
        Ok(&creator.ok_or(SharingError::NotAMember)?.key)
    }

    fn roster(&self) -> Result<&Roster, SharingError> {
        self.log.roster().ok_or(SharingError::NotAMember)
    }

    /// Applies what is new, holds it against what this vault and other devices saw, and leaves a
    /// receipt.
    pub(crate) async fn pull(&mut self) -> Result<(), SharingError> {
        let pinned = self.session.kept().head(self.id())?;
        let mut given_back = false;
        for _ in 0..PULLS {
            let from = self.log.head().map_or(Seq(0), |(seq, _)| seq.next());
            let query = PullQuery {
                from,
                limit: None,
                bodies_from: self.bodies_from,
            };
            let pulled = self.session.remote().pull(self.id(), &query).await;
            let pulled = match pulled {
                Err(error) if !given_back && self.may_begin_again(&error) => {
                    given_back = true;
                    self.begin_again(pinned).await?;
                    continue;
                }
                pulled => pulled.map_err(not_a_member)?,
            };
            let before = self.log.head();
            let applied = match self.log.absorb(&pulled.records) {
                Ok(applied) => applied,
                Err(stop) => return Err(self.stopped(stop).await),
            };
            self.makers.note(self.log.own().root, &applied);
            if let Some(content) = &mut self.content {
                content::collect(content, &applied, &pulled.records);
            }
            self.note_records(&applied, &pulled.records);
            for record in applied {
                let (seq, author) = (record.seq, &record.author.user);
                for event in record.events {
                    self.note(seq, author, Trouble::Event(event));
                }
                if let Outcome::Void(void) = record.outcome {
                    self.note(seq, author, Trouble::Void(void));
                }
            }
            self.receipts = pulled.receipts;
            match self.log.compare(pulled.head_seq, pulled.head) {
                HeadVerdict::Behind | HeadVerdict::Same
                    if self.is_short(pulled.head_seq, pinned) =>
                {
                    if std::mem::replace(&mut given_back, true) {
                        // It said that it has them, and does not show them.
                        return Err(SharingError::Withheld);
                    }
                    self.give_back(pulled.head_seq, pinned).await?;
                }
                HeadVerdict::Same => {
                    self.hold_to(pinned)?;
                    self.doubt_by(pinned)?;
                    return self.saw().await;
                }
                HeadVerdict::Fork => return Err(SharingError::Fork(pulled.head_seq)),
                HeadVerdict::Behind => return Err(SharingError::LostRecords(pulled.head_seq)),
                HeadVerdict::Ahead if self.log.head() == before => break,
                HeadVerdict::Ahead => {}
            }
        }
        Err(SharingError::Withheld)
    }

    /// Pulls after the server refused content because others were first: it has to show who.
    async fn pull_moved(&mut self) -> Result<(), SharingError> {
        let before = self.log.head();
        self.pull().await?;
        if self.log.head() == before {
            return Err(SharingError::Withheld);
        }
        Ok(())
    }

    /// A log that stops at a key of ours that we do not know may be right: keys may be newer.
    async fn stopped(&self, stop: Stop) -> SharingError {
        let user = self.session.keys().account.user.clone();
        let newer = match (&stop, self.session.person(&user).await) {
            (Stop::NotOurKey, Ok(own)) => {
                let head = own.chain.key();
                head.root == self.session.keys().account.root
                    && head.entry != self.session.keys().account.entry
            }
            _ => false,
        };
        if newer {
            AccountError::OlderKeys.into()
        } else {
            SharingError::Stopped(stop)
        }
    }

    /// The chain leads through what this vault applied before.
    fn hold_to(&self, pinned: Option<ShareHead>) -> Result<(), SharingError> {
        let Some(pinned) = pinned else { return Ok(()) };
        match self.log.record_at(pinned.seq) {
            Some(record) if record == pinned.record => Ok(()),
            Some(_) => Err(SharingError::Fork(pinned.seq)),
            None => Err(SharingError::LostRecords(pinned.seq)),
        }
    }

    /// Compares with what other devices saw, and says what this one has seen.
    async fn saw(&mut self) -> Result<(), SharingError> {
        for receipt in &self.receipts {
            if self.log.check_receipt(receipt) == ReceiptVerdict::Fork {
                return Err(SharingError::ForkSeen(receipt.unverified().seq));
            }
        }
        let Some((seq, record)) = self.log.head() else {
            return Err(SharingError::Withheld);
        };
        let share = self.id();
        let records = self.take_records();
        self.session
            .kept()
            .put_head(ShareHead { share, seq, record }, &records)?;
        if self.log.role().is_none() || self.left_receipt(seq) {
            return Ok(());
        }
        let receipt = self.receipt(seq, record);
        match self.session.remote().put_receipt(&receipt).await {
            // A newer one is there already, or we are no member any more.
            Err(error)
                if matches!(
                    error.code(),
                    Some(ErrorCode::Conflict | ErrorCode::NotFound)
                ) =>
            {
                Ok(())
            }
            other => Ok(other?),
        }
    }

    fn left_receipt(&self, seq: Seq) -> bool {
        let device = self.session.account().profile().device;
        let own = |receipt: &&Signed<Receipt>| receipt.unverified().device == device;
        let left = self.receipts.iter().find(own);
        left.is_some_and(|receipt| receipt.unverified().seq >= seq)
    }

    fn receipt(&self, seq: Seq, record: RecordHash) -> Signed<Receipt> {
        let account = &self.session.keys().account;
        let receipt = Receipt {
            share: self.id(),
            seq,
            record,
            device: self.session.account().profile().device,
            root: account.root,
            entry: account.entry,
            time: now(),
        };
        Signed::sign(receipt, &account.identity)
    }
}

/// A share that one may not know of is one of which one is no member.
fn not_a_member(error: RemoteError) -> SharingError {
    match error.code() {
        Some(ErrorCode::NotFound) => SharingError::NotAMember,
        _ => error.into(),
    }
}

/// The share that is meant by its path in the vault, its id, or the beginning of that.
pub(crate) async fn find(session: &Session<'_>, named: &str) -> Result<ShareId, SharingError> {
    let volume = session.kept().engine().volume();
    for info in volume.shares().map_err(AccountError::Kept)? {
        let path = volume.path_of_share(&info);
        if path.is_ok_and(|path| path == named.trim_matches('/').as_bytes()) {
            return Ok(ShareId(info.id.0));
        }
    }
    let shares = session.remote().shares().await?.shares;
    let meant = |share: &ShareId| !named.is_empty() && share.to_string().starts_with(named);
    let mut meant = shares.iter().map(|item| item.share).filter(meant);
    match (meant.next(), meant.next()) {
        (Some(share), None) => Ok(share),
        (None, _) => Err(SharingError::NoSuchShare),
        (Some(_), Some(_)) => Err(SharingError::Ambiguous),
    }
}

/// Does what is due in all shares of this account: its newest keys are put into rosters, and where it is
/// an owner and somebody left, another epoch begins.
pub(crate) async fn tend(session: &Session<'_>) -> Result<(), SharingError> {
    let mut failed = Ok(());
    for item in session.remote().shares().await?.shares {
        // One that cannot be reached keeps the others from nothing.
        failed = failed.and(tend_one(session, item.share).await);
    }
    failed
}

async fn tend_one(session: &Session<'_>, share: ShareId) -> Result<(), SharingError> {
    let mut shared = Shared::open(session, share).await?;
    shared.renew_own_key().await?;
    if shared.log().role() == Some(Role::Owner) && shared.rotation_due() {
        shared.rotate().await?;
    }
    Ok(())
}
