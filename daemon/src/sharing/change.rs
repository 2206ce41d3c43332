//! Changing who takes part: one record each, decided anew whenever somebody else came first.

use keyfold_protocol::error_code::ErrorCode;
use keyfold_protocol::exchange::Append;
use keyfold_protocol::ids::{ChainRoot, RecordHash, RequestHash, Seq, Time};
use keyfold_protocol::log::Log;
use keyfold_protocol::names::UserName;
use keyfold_protocol::roster::{Change, Member, Role, Roster};

use super::draft::{self, Rotation};
use super::error::SharingError;
use super::{Shared, not_a_member};
use crate::account::{AccountError, Person, Session, now};

/// How often a change is decided anew.
const ATTEMPTS: usize = 16;

/// What has to be done, as the log is now.
pub(super) enum Step {
    /// Nothing: it is so already.
    Done,
    /// A record with these changes.
    Append(Vec<Change>, Rotation),
}

/// What somebody new can read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reads {
    /// What is written from now on, and what a snapshot under the new epoch shows.
    FromNow,
    /// What was written in the present epoch.
    ThisEpoch,
    /// What was written in the present epoch and the one before, and as far back as epochs were begun
    /// so.
    Before,
}

/// When somebody's access ends by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ends {
    /// As was said before.
    AsBefore,
    /// Then.
    At(Time),
    /// Never.
    Never,
}

/// Somebody to be added.
#[derive(Debug, Clone)]
pub(crate) struct Newcomer {
    /// Who, as known and compared.
    pub(crate) person: Person,
    /// What he may do.
    pub(crate) role: Role,
    /// Until when.
    pub(crate) expires: Option<Time>,
    /// What he can read.
    pub(crate) reads: Reads,
    /// The request that this approves.
    pub(crate) request: Option<RequestHash>,
}

impl Newcomer {
    fn rotation(&self) -> Rotation {
        match self.reads {
            Reads::FromNow => Rotation::FromNow,
            Reads::ThisEpoch => Rotation::Stay,
            Reads::Before => Rotation::WithHistory,
        }
    }

    /// What makes him what he is to be, of what he is.
    fn changes(&self, known: Option<&Member>) -> Vec<Change> {
        let key = self.person.chain.key();
        let Some(known) = known else {
            return vec![Change::Add {
                user: key.user,
                chain: self.person.entries.clone(),
                role: self.role,
                expires: self.expires,
                request: self.request,
            }];
        };
        let expired = known.expired(now());
        let mut changes = Vec::new();
        if known.role < self.role {
            changes.push(Change::Role(key.root, self.role));
        }
        if expired || (known.role < self.role && known.expires != self.expires) {
            changes.push(Change::Expiry(key.root, self.expires));
        }
        changes
    }
}

impl<'s, 'a> Shared<'s, 'a> {
    /// Begins a share with this account alone.
    #[cfg(test)]
    pub(crate) async fn create(session: &'s Session<'a>) -> Result<Self, SharingError> {
        Self::create_by(session, &Self::draft_first(session)?).await
    }

    /// The first record of a new share, whose hash is the share's id.
    pub(crate) fn draft_first(session: &'s Session<'a>) -> Result<Append, SharingError> {
        draft::first(session)
    }

    /// Begins a share with its first record. The same record again is success.
    pub(crate) async fn create_by(
        session: &'s Session<'a>,
        first: &Append,
    ) -> Result<Self, SharingError> {
        session.remote().create_share(first).await?;
        let share = first.record.header.hash().share();
        session
            .kept()
            .put_records(share, std::slice::from_ref(first))?;
        Self::open_with_content(session, share, None).await
    }

    /// Adds somebody. Done already is success, but not with another role.
    pub(crate) async fn add(&mut self, newcomer: &Newcomer) -> Result<(), SharingError> {
        self.add_all(std::slice::from_ref(newcomer)).await
    }

    /// Adds people, at once.
    ///
    /// # Errors
    /// [`SharingError::HasPoint`] when somebody is new and another share lies in this one, which he would
    /// not be in.
    pub(crate) async fn add_all(&mut self, newcomers: &[Newcomer]) -> Result<(), SharingError> {
        let has_point = self.has_point()?;
        self.change(&|log| {
            let members = &roster(log)?.members;
            let (mut changes, mut rotation) = (Vec::new(), Rotation::Stay);
            for newcomer in newcomers {
                let known = members.get(&newcomer.person.root());
                if known.is_none() && has_point {
                    return Err(SharingError::HasPoint);
                }
                changes.extend(newcomer.changes(known));
                if known.is_none() {
                    rotation = newcomer.rotation();
                }
            }
            Ok(if changes.is_empty() {
                Step::Done
            } else {
                Step::Append(changes, rotation)
            })
        })
        .await
    }

    /// Removes somebody: what is written from then on is under a key that he does not have.
    pub(crate) async fn remove(&mut self, root: ChainRoot) -> Result<(), SharingError> {
        self.remove_all(&[root]).await
    }

    /// Removes people, at once.
    pub(crate) async fn remove_all(&mut self, roots: &[ChainRoot]) -> Result<(), SharingError> {
        self.change(&|log| {
            let members = &roster(log)?.members;
            let there = roots.iter().filter(|root| members.contains_key(*root));
            let changes: Vec<Change> = there.copied().map(Change::Remove).collect();
            if changes.is_empty() {
                return Ok(Step::Done);
            }
            Ok(Step::Append(changes, Rotation::FromNow))
        })
        .await
    }

    /// Gives somebody another role, for as long as that is said.
    pub(crate) async fn set_role(
        &mut self,
        root: ChainRoot,
        role: Role,
        ends: Ends,
    ) -> Result<(), SharingError> {
        self.change(&|log| {
            let member = roster(log)?.members.get(&root);
            let member = member.ok_or(SharingError::NotAMember)?;
            let mut changes = Vec::new();
            let until = match ends {
                Ends::AsBefore => member.expires,
                Ends::At(time) => Some(time),
                Ends::Never => None,
            };
            if until != member.expires {
                changes.push(Change::Expiry(root, until));
            }
            if member.role != role {
                // Nobody is an owner for a while, not even between two changes.
                let at = if role == Role::Owner {
                    changes.len()
                } else {
                    0
                };
                changes.insert(at, Change::Role(root, role));
            }
            Ok(if changes.is_empty() {
                Step::Done
            } else {
                Step::Append(changes, Rotation::Stay)
            })
        })
        .await
    }

    /// Takes part no longer.
    pub(crate) async fn leave(mut self) -> Result<(), SharingError> {
        let own = self.log.own().root;
        let left = self
            .change(&|log| {
                if roster(log)?.members.contains_key(&own) {
                    return Ok(Step::Append(vec![Change::Leave], Rotation::Stay));
                }
                Ok(Step::Done)
            })
            .await;
        match left {
            // The server tells nothing of a share to who has left it.
            Err(SharingError::NotAMember) => Ok(()),
            other => other,
        }
    }

    /// Whether somebody left, lost a device or expired since the epoch began.
    pub(crate) fn rotation_due(&self) -> bool {
        let roster = self.log.roster();
        let expired = |roster: &Roster| roster.members.values().any(|m| m.expired(now()));
        self.log.rotation_due() || roster.is_some_and(expired)
    }

    /// When this account's time passes, or of an owner that of the next member, whom he takes out then.
    pub(crate) fn next_expiry(&self) -> Option<Time> {
        let roster = self.log.roster()?;
        let own = self.log.own().root;
        let owner = self.log.role() == Some(Role::Owner);
        let members = roster.members.iter();
        let concerns = members.filter(|(root, _)| owner || **root == own);
        concerns.filter_map(|(_, member)| member.expires).min()
    }

    /// Begins another epoch, if that is due.
    pub(crate) async fn rotate(&mut self) -> Result<(), SharingError> {
        self.change(&|log| {
            let expired = roster(log)?.members.values().any(|m| m.expired(now()));
            if !log.rotation_due() && !expired {
                return Ok(Step::Done);
            }
            Ok(Step::Append(Vec::new(), Rotation::FromNow))
        })
        .await
    }

    /// Whether the roster has older keys of this account, and this vault can bring the newest in.
    pub(crate) fn own_key_is_due(&self) -> bool {
        let keys = self.session.keys();
        let roster = self.log.roster();
        let member = roster.and_then(|roster| roster.members.get(&keys.account.root));
        let entry = member.map(|member| member.key.entry);
        entry.is_some_and(|entry| entry != keys.account.entry && keys.identity_of(entry).is_some())
    }

    /// Puts this account's newest keys into the roster; where it is an owner, with a new epoch, so that
    /// a lost device reads nothing that is written from then on.
    pub(crate) async fn renew_own_key(&mut self) -> Result<(), SharingError> {
        let keys = self.session.keys();
        let own = keys.account.root;
        self.change(&|log| {
            let member = roster(log)?.members.get(&own);
            let member: &Member = member.ok_or(SharingError::NotAMember)?;
            if member.key.entry == keys.account.entry {
                return Ok(Step::Done);
            }
            let later = keys
                .chain
                .iter()
                .filter(|entry| entry.unverified().seq > member.key.seq);
            let change = Change::MemberKey(own, later.cloned().collect());
            let rotation = match member.role {
                Role::Owner => Rotation::FromNow,
                Role::Reader | Role::Writer => Rotation::Stay,
            };
            Ok(Step::Append(vec![change], rotation))
        })
        .await
    }

    /// The member of this name.
    pub(crate) fn member(&self, user: &UserName) -> Result<&Member, SharingError> {
        let mut members = self.roster()?.members.values();
        let member = members.find(|member| member.key.user == *user);
        member.ok_or_else(|| SharingError::NoSuchMember(user.clone()))
    }

    /// Appends what `decide` says, until it is there, or says that it is done.
    pub(super) async fn change(
        &mut self,
        decide: &dyn Fn(&Log) -> Result<Step, SharingError>,
    ) -> Result<(), SharingError> {
        // What was done by others meanwhile is known first: done is said only of the share as it is.
        self.pull().await?;
        for _ in 0..ATTEMPTS {
            let (changes, rotation) = match decide(&self.log)? {
                Step::Done => return Ok(()),
                Step::Append(changes, rotation) => (changes, rotation),
            };
            // A key that was made for this attempt goes with it, when the attempt fails.
            let append = draft::next(self.session, &self.log, changes, rotation)?;
            let record = append.record.header.hash();
            // Nobody else ever has all its grants.
            let kept = self.session.kept();
            kept.put_records(self.id(), std::slice::from_ref(&append))?;
            let sent = self.session.remote().append(self.id(), &append).await;
            match sent {
                Ok(_) => return self.pull().await,
                Err(error) if error.code() == Some(ErrorCode::HeadMoved) => self.pull().await?,
                Err(error) if error.may_have_arrived() => {
                    self.pull().await.map_err(|_| SharingError::from(error))?;
                    if self.has(record, append.record.header.seq) {
                        return Ok(());
                    }
                }
                Err(error) => return Err(not_a_member(error)),
            }
        }
        Err(SharingError::Busy)
    }

    /// Whether another share of this account lies in this one here.
    fn has_point(&self) -> Result<bool, SharingError> {
        let volume = self.session.kept().engine().volume();
        let shares = volume.shares().map_err(AccountError::Kept)?;
        let own = shares.iter().find(|info| info.id.0 == self.id().0);
        let Some(own) = own.map(|info| info.number) else {
            return Ok(false);
        };
        let mut within = shares.iter().filter_map(|info| info.within);
        Ok(within.any(|within| within.share == own))
    }

    fn has(&self, record: RecordHash, seq: Seq) -> bool {
        self.log.record_at(seq) == Some(record)
    }
}

fn roster(log: &Log) -> Result<&Roster, SharingError> {
    log.roster().ok_or(SharingError::NotAMember)
}
